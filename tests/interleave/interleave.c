// SPDX-License-Identifier: Apache-2.0
/* Forced interleavings: for every trace point a thread is stopped at it while
 * another one runs each of the operations that may run beside it.
 *
 * `ways` says how each point is reached: by which operation of the first actor, in
 * which scene, with which cues.  A point without a way fails the test.  Each way is
 * played with every operation of its scene by the second actor, several times:
 *
 *   once     the first stands at the point, the second runs from its beginning to
 *            its end, the first goes on
 *   n times  the first stands at the point, the second runs as far as its nth
 *            point that is new to it and stands there; the first runs to its end;
 *            the second goes on
 *
 * so that both orders of every two steps come up.  Whoever provably waits for the
 * one that stands lets it go; `waits` says who may, and why; a wait that is not
 * there fails the test, and so does one that is there and never happens.
 */
#include "interleave/scene.h"

#include "frame/zone.h"
#include "zs/zs.h"

#include <stdio.h>
#include <string.h>

struct way {
    int point;
    enum scene_kind kind;
    const char *op;
    struct cue cue[STAGE_CUES];
};

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* What a third party does in the moment that the cue names. */

static void free_subject(void *arg)
{
    struct scene *s = arg;
    kl_pfn pfn = mover_disown(s->m, s->subject);

    if (pfn.v)
        kl_frame_free(s->zone, s->m->owner, pfn);
}

static void pin_subject(void *arg)
{
    struct scene *s = arg;

    s->pins[0] += mover_pin(s->m, s->subject) == 0;
}

/* Any first frame: the subject's, or its zspage's. */
static void lock_first(void *arg)
{
    struct scene *s = arg;

    kli_apply(&s->zone->frame[0].state, kli_f_trylock, 0, NULL);
}

static void unlock_first(void *arg)
{
    struct scene *s = arg;

    kli_settle(s->zone, 0, kli_f_unlock, 0);
}

static void fence_first(void *arg)
{
    struct scene *s = arg;

    kli_block_step(s->zone, 0, kli_b_fence, 0);
}

static void unfence_first(void *arg)
{
    struct scene *s = arg;

    kli_block_step(s->zone, 0, kli_b_unfence, 0);
}

/* An allocation that was on its way in before the fence: it has the bit. */
static void take_bit(void *arg)
{
    struct scene *s = arg;

    kli_bits_take_at(s->zone, 1, 1);
}

static void drop_bit(void *arg)
{
    struct scene *s = arg;

    kli_bits_clear(s->zone, 1, 1);
}

static void take_class(void *arg)
{
    struct scene *s = arg;
    uint64_t priv = atomic_load(&s->zone->frame[0].priv);

    kli_lock_take(&s->zone->host,
                  &zs_class_of(s->pool, zs_page(s->pool, (uint32_t)(priv >> 8)))->lock);
}

static void drop_class(void *arg)
{
    struct scene *s = arg;
    uint64_t priv = atomic_load(&s->zone->frame[0].priv);

    kli_lock_drop(&s->zone->host,
                  &zs_class_of(s->pool, zs_page(s->pool, (uint32_t)(priv >> 8)))->lock);
}

static void open_reader(void *arg)
{
    struct scene *s = arg;

    s->open = kl_zs_begin(s->pool, s->object[0].handle, &s->pin) == 0;
}

#define T(name) KLI_T_##name
#define C(name, does)                                                                              \
    {                                                                                              \
        KLI_T_##name, does                                                                         \
    }

static const struct way ways[] = {
    {T(alloc_stage), FRAMES, "alloc block", {{0}}},
    {T(alloc_failed), FRAMES, "alloc large", {{0}}},
    {T(alloc_reserved), FRAMES, "alloc", {{0}}},
    {T(alloc_taken), FRAMES, "alloc pair", {{0}}},
    {T(free_begin), FRAMES, "free", {{0}}},
    {T(free_begin), FRAMES, "free pair", {{0}}},
    {T(free_dying), FRAMES, "free locked", {{0}}},
    {T(free_gone), FRAMES, "free", {{0}}},
    {T(free_gone), FRAMES, "free pair", {{0}}},
    {T(free_gone), FRAMES, "free locked", {{0}}},
    {T(free_bits), FRAMES, "free pair", {{0}}},
    {T(free_counted), FRAMES, "free pair", {{0}}},
    {T(pin_begin), FRAMES, "pin", {{0}}},
    {T(pin_begin), FRAMES, "pin bare", {{0}}},
    {T(pin_marked), FRAMES, "pin", {{0}}},
    {T(pin_marked), FRAMES, "pin bare", {{0}}},
    {T(pin_done), FRAMES, "pin", {{0}}},
    {T(pin_done), FRAMES, "pin bare", {{0}}},
    {T(pin_refused), FRAMES, "pin none", {{0}}},
    {T(unpin_begin), FRAMES, "unpin", {{0}}},
    {T(unpin_begin), FRAMES, "pin bare", {{0}}},
    {T(unpin_marked), FRAMES, "unpin", {{0}}},
    {T(unpin_marked), FRAMES, "pin bare", {{0}}},
    {T(unpin_done), FRAMES, "unpin", {{0}}},
    {T(isolate_begin), FRAMES, "give", {{0}}},
    {T(isolate_begin), FRAMES, "contig", {{0}}},
    {T(isolate_got), FRAMES, "give", {{0}}},
    {T(isolate_got), FRAMES, "compact", {{0}}},
    {T(isolate_target), FRAMES, "give", {{0}}},
    {T(isolate_target), FRAMES, "contig part", {{0}}},
    {T(isolate_locked), FRAMES, "give", {{0}}},
    {T(isolate_asked), FRAMES, "give", {{0}}},
    {T(isolate_asked), FRAMES, "compact", {{0}}},
    {T(isolate_refused), FRAMES, "give, refused", {{0}}},
    {T(isolate_marked), FRAMES, "give", {{0}}},
    {T(isolate_overtaken), FRAMES, "give", {C(isolate_asked, pin_subject)}},
    {T(isolate_overtaken), FRAMES, "give", {C(isolate_asked, free_subject)}},
    {T(isolate_unlocked), FRAMES, "give", {{0}}},
    {T(isolate_unlocked), FRAMES, "give, refused", {{0}}},
    {T(isolate_undone), FRAMES, "give, refused", {{0}}},
    {T(isolate_undone), FRAMES, "give", {C(isolate_asked, free_subject)}},
    {T(isolate_end), FRAMES, "give", {{0}}},
    {T(migrate_begin), FRAMES, "give", {{0}}},
    {T(migrate_begin), FRAMES, "contig part", {{0}}},
    {T(prepare_begin), BATCH, "give", {{0}}},
    {T(prepare_end), BATCH, "give", {{0}}},
    {T(migrate_locked), FRAMES, "give", {{0}}},
    {T(migrate_locked), BATCH, "give", {{0}}},
    {T(migrate_unlockable),
     FRAMES,
     "give",
     {C(migrate_begin, lock_first), C(migrate_unlockable, unlock_first)}},
    {T(migrate_call), FRAMES, "give", {{0}}},
    {T(migrate_call), BATCH, "give", {{0}}},
    {T(migrate_result), FRAMES, "give", {{0}}},
    {T(migrate_result), BATCH, "give", {{0}}},
    {T(migrate_result), FRAMES, "give, failing", {{0}}},
    {T(migrate_moved), FRAMES, "give", {{0}}},
    {T(migrate_published), FRAMES, "give", {{0}}},
    {T(migrate_end), FRAMES, "give", {{0}}},
    {T(putback_begin), FRAMES, "give, failing", {{0}}},
    {T(putback_begin), BATCH, "give, failing", {{0}}},
    {T(putback_begin), FRAMES, "give", {C(migrate_begin, free_subject)}},
    {T(putback_call), FRAMES, "give, failing", {{0}}},
    {T(putback_freed), FRAMES, "give", {C(migrate_begin, free_subject)}},
    {T(putback_freed), FRAMES, "give, failing", {C(migrate_result, free_subject)}},
    {T(putback_called), FRAMES, "give, failing", {{0}}},
    {T(putback_called), FRAMES, "give, failing", {C(putback_call, free_subject)}},
    {T(putback_dropped), FRAMES, "give, failing", {{0}}},
    {T(putback_dropped), FRAMES, "give", {C(migrate_begin, free_subject)}},
    {T(putback_released), FRAMES, "give, failing", {{0}}},
    {T(putback_released), FRAMES, "give", {C(migrate_begin, free_subject)}},
    {T(putback_end), FRAMES, "give, failing", {{0}}},
    {T(fence_begin), FRAMES, "give", {{0}}},
    {T(fence_begin), FRAMES, "contig", {{0}}},
    {T(fence_set), FRAMES, "give", {{0}}},
    {T(fence_set), FRAMES, "contig part", {{0}}},
    {T(fence_set), FRAMES, "compact", {{0}}},
    {T(fence_refused),
     FRAMES,
     "contig",
     {C(fence_begin, fence_first), C(fence_refused, unfence_first)}},
    {T(fence_lift), FRAMES, "contig", {{0}}},
    {T(fence_lift), FRAMES, "give, failing", {{0}}},
    {T(fence_lift), FRAMES, "compact", {{0}}},
    {T(fence_lifted), FRAMES, "contig", {{0}}},
    {T(claim_begin), FRAMES, "contig", {{0}}},
    {T(claim_begin), FRAMES, "contig part", {{0}}},
    {T(claim_counted), FRAMES, "contig", {{0}}},
    {T(claim_counted), FRAMES, "contig part", {{0}}},
    {T(claim_taken), FRAMES, "contig", {{0}}},
    {T(claim_taken), FRAMES, "contig part", {{0}}},
    {T(claim_refused),
     FRAMES,
     "contig part",
     {C(claim_counted, take_bit), C(claim_refused, drop_bit)}},
    {T(block_stepped), FRAMES, "give", {{0}}},
    {T(block_stepped), FRAMES, "free pair", {{0}}},
    {T(block_stepped), ABSENT, "contig absent", {{0}}},
    {T(index_mend), FRAMES, "give", {{0}}},
    {T(index_mend), FRAMES, "contig", {{0}}},
    {T(index_mend), ABSENT, "alloc block", {{0}}},
    {T(populate_begin), ABSENT, "contig absent", {{0}}},
    {T(populate_begin), ABSENT, "alloc block", {{0}}},
    {T(populate_summoned), ABSENT, "contig absent", {{0}}},
    {T(populate_summoned), ABSENT, "alloc block", {{0}}},
    {T(populate_end), ABSENT, "contig absent", {{0}}},
    {T(populate_end), ABSENT, "alloc block", {{0}}},
    {T(release_begin), FRAMES, "give", {{0}}},
    {T(release_begin), ABSENT, "give two", {{0}}},
    {T(release_vacated), FRAMES, "give", {{0}}},
    {T(release_vacated), ABSENT, "give two", {{0}}},
    {T(release_end), FRAMES, "give", {{0}}},
    {T(evacuate_begin), FRAMES, "give", {{0}}},
    {T(evacuate_round), FRAMES, "give", {{0}}},
    {T(evacuate_end), FRAMES, "give", {{0}}},
    {T(compact_begin), FRAMES, "compact", {{0}}},
    {T(compact_end), FRAMES, "compact", {{0}}},
    {T(contig_begin), FRAMES, "contig", {{0}}},
    {T(contig_window), FRAMES, "contig", {{0}}},
    {T(contig_end), FRAMES, "contig", {{0}}},
    {T(shrink_begin), ZS, "shrink", {{0}}},
    {T(shrink_end), ZS, "shrink", {{0}}},
    {T(give_begin), FRAMES, "give", {{0}}},
    {T(give_end), FRAMES, "give", {{0}}},
    {T(zs_isolate_begin), ZS, "give", {{0}}},
    {T(zs_isolated), ZS, "give", {{0}}},
    {T(zs_isolate_refused),
     ZS,
     "compact",
     {C(zs_isolate_begin, take_class), C(zs_isolate_refused, drop_class)}},
    {T(isolate_marked), ZS, "give", {{0}}},
    {T(migrate_begin), ZS, "give", {{0}}},
    {T(migrate_locked), ZS, "give", {{0}}},
    {T(migrate_result), ZS, "give", {{0}}},
    {T(migrate_published), ZS, "give", {{0}}},
    {T(migrate_end), ZS, "give", {{0}}},
    {T(zs_migrate_begin), ZS, "give", {{0}}},
    {T(zs_gave_way), ZS, "give", {C(zs_migrate_begin, open_reader)}},
    {T(zs_migrate_alone), ZS, "give", {{0}}},
    {T(zs_migrate_copied), ZS, "give", {{0}}},
    {T(zs_migrate_chained), ZS, "give", {{0}}},
    {T(zs_migrate_open), ZS, "give", {{0}}},
    {T(zs_migrated), ZS, "give", {{0}}},
    {T(zs_putback_begin), ZS, "give", {C(zs_migrate_begin, open_reader)}},
    {T(zs_putback), ZS, "give", {C(zs_migrate_begin, open_reader)}},
    {T(zs_pinned), ZS, "zs read", {{0}}},
    {T(zs_inside), ZS, "zs read", {{0}}},
    {T(zs_inside), ZS, "zs read one", {{0}}},
    {T(zs_unpin_begin), ZS, "zs read", {{0}}},
    {T(zs_unpin_left), ZS, "zs read", {{0}}},
    {T(zs_free_marked), ZS, "zs free", {{0}}},
    {T(zs_free_marked), ZS, "zs free one", {{0}}},
    {T(zs_free_marked), ZS, "zs free big", {{0}}},
    {T(zs_bury_begin), ZS, "zs free", {{0}}},
    {T(zs_bury_begin), ZS, "zs destroy", {{0}}},
    {T(zs_bury_alone), ZS, "zs free", {{0}}},
    {T(zs_bury_locked), ZS, "zs free", {{0}}},
    {T(zs_bury_locked), ZS, "zs destroy", {{0}}},
    {T(zs_buried), ZS, "zs free", {{0}}},
    {T(zs_deferred), ZS, "zs free", {C(zs_bury_begin, lock_first), C(zs_deferred, unlock_first)}},
    {T(zs_compact_begin), ZS, "zs compact", {{0}}},
    {T(zs_compact_source), ZS, "zs compact", {{0}}},
    {T(zs_compact_claimed), ZS, "zs compact", {{0}}},
    {T(zs_compact_copied), ZS, "zs compact", {{0}}},
    {T(zs_compact_end), ZS, "zs compact", {{0}}},
};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

/* STALL points: whoever passes one polls, and is no less stopped there than by the
 * poll; every other point has a way. */
static bool is_stall(int point)
{
    return begins(stage_point_name(point), "stall_");
}

static void every_point_has_a_way(void **state)
{
    bool has[KLI_TRACE_COUNT] = {0};

    (void)state;
    for (unsigned i = 0; i < WAYS; i++)
        has[ways[i].point] = true;
    for (int p = 0; p < KLI_TRACE_COUNT; p++) {
        if (!has[p] && !is_stall(p))
            fail_msg("no scenario stops a thread at %s", stage_point_name(p));
    }
}

/* Operations that their callers must not run beside each other. */
static bool may_run_together(const struct op *a, const struct op *b)
{
    bool za = begins(a->name, "zs "), zb = begins(b->name, "zs ");
    const struct op *destroy = op_named("zs destroy"), *leave = op_named("leave");

    if ((a == destroy && zb) || (b == destroy && za))
        return false; /* zsmalloc.h: all but create and destroy */
    if ((a == leave || b == leave) &&
        (begins(a->name, "alloc") || begins(b->name, "alloc") || a == b))
        return false; /* movable.h: the owner allocates nothing meanwhile */
    return a != b || (strcmp(a->name, "zs write") != 0 && !a->pinned);
}

/* Who may wait for whom, while that one stands at a point; all three by how their
 * names begin.  (What waits for the test owner's own lock is not the library's.) */
static struct wait {
    const char *point, *standing, *waiting;
    bool met;
} waits[] = {
    /* A drain of the CPUs' caches waits for another one. */
    {"block_stepped", "", "give", false},
    {"free_bits", "", "give", false},
    {"free_counted", "", "give", false},
    /* An isolation ends under the frame's lock, which the owner has just now. */
    {"free_", "free locked", "give", false},
    {"free_", "free locked", "contig part", false},
    {"free_", "zs free", "give", false},
    {"zs_bury_locked", "zs free", "give", false},
    /* Object compaction holds the class over the copy of one zspage, and the object. */
    {"zs_compact_", "", "give", false},
    {"zs_compact_", "", "contig", false},
    {"zs_compact_source", "", "zs free one", false},
    {"zs_compact_", "", "zs read one", false},
    /* A reader waits for the copy of its object's frame. */
    {"zs_migrate_alone", "", "zs read", false},
    {"zs_migrate_copied", "", "zs read", false},
    {"zs_migrate_chained", "", "zs read", false},
    /* A pool that is destroyed waits until the framework lets go of its frames. */
    {"alloc_", "", "zs destroy", false},
    {"free_gone", "", "zs destroy", false},
    {"isolate_", "", "zs destroy", false},
    {"migrate_", "", "zs destroy", false},
    {"stall_frame", "", "zs destroy", false},
    {"zs_isolate", "", "zs destroy", false},
    {"zs_migrate", "", "zs destroy", false},
};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

static void note_wait(int point, const struct op *standing, const struct op *waiting)
{
    bool may = false;

    for (unsigned i = 0; i < WAITS; i++) {
        struct wait *w = &waits[i];

        if (begins(stage_point_name(point), w->point) && begins(standing->name, w->standing) &&
            begins(waiting->name, w->waiting))
            may = w->met = true;
    }
    if (!may)
        fail_msg("\"%s\" waits for \"%s\" at %s; %s", waiting->name, standing->name,
                 stage_point_name(point), stage_now);
}

static void set_scene(struct scene *s, const struct way *way, const struct op *a,
                      const struct op *b)
{
    scene_open(s, way->kind);
    s->op[0] = a;
    s->op[1] = b;
    s->pinned = a->pinned || b->pinned;
    if (s->pinned)
        assert_int_equal(mover_pin(s->m, s->subject), 0);
}

/* One play; nth 0: the second runs to its end.  false: it had no nth point. */
static bool play(const struct way *way, const struct op *b, unsigned nth)
{
    const struct op *a = op_named(way->op);
    struct scene s;
    bool stood, let_go; /* the first, by the second: then both ran at a time */

    snprintf(stage_now, sizeof(stage_now), "%s stands at %s, %s runs (stop %u)", a->name,
             stage_point_name(way->point), b->name, nth);
    set_scene(&s, way, a, b);
    if (!stage_start(0, scene_play, &s, way->point, 1, way->cue) && !b->pinned)
        fail_msg("the point is not reached; %s", stage_now);
    stood = stage_start(1, scene_play, &s, nth ? STAGE_ANY : STAGE_NEVER, nth, NULL);
    let_go = atomic_load(&stage[1].waited) || atomic_load(&stage[1].owner_waited);
    stage_finish(stood ? 0 : 1);
    stage_finish(stood ? 1 : 0);
    if (atomic_load(&stage[1].waited))
        note_wait(way->point, a, b);
    if (atomic_load(&stage[0].waited) && !let_go)
        note_wait(stage[1].stopped_at, b, a);
    scene_close(&s);
    return stood;
}

static unsigned play_all(const struct way *way)
{
    const struct op *a = op_named(way->op);
    unsigned plays = 0;

    for (unsigned i = 0; i < ops_n; i++) {
        const struct op *b = &ops[i];
        unsigned nth = 0;

        if (!(b->kinds & way->kind) || !may_run_together(a, b) ||
            (b->pinned && way->cue[0].act)) /* the subject is out of play then */
            continue;
        do {
            plays++;
        } while (play(way, b, nth++) || nth == 1);
    }
    return plays;
}

static void both_orders_of(void **state)
{
    const char *group = *state;
    unsigned plays = 0;

    for (unsigned i = 0; i < WAYS; i++) {
        if ((ways[i].kind == ZS) == begins(group, "zs"))
            plays += play_all(&ways[i]);
    }
    printf("# %u plays\n", plays);
    assert_true(plays > 0);
}

static void every_wait_is_met(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WAITS; i++) {
        if (!waits[i].met)
            fail_msg("\"%s\" never waits for \"%s\" at %s", waits[i].waiting, waits[i].standing,
                     waits[i].point);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point_has_a_way),
        cmocka_unit_test_prestate(both_orders_of, "frames"),
        cmocka_unit_test_prestate(both_orders_of, "zs"),
        cmocka_unit_test(every_wait_is_met),
    };

    if (!KL_DEBUG) {
        puts("1..0 # SKIP trace points stop threads in debug builds only");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
