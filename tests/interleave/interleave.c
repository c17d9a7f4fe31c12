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
#include "support/crash.h"
#include "zs/zs.h"

#include <stdio.h>
#include <string.h>

struct way {
    int point;
    enum scene_kind kind;
    const char *op;
    struct cue cue[STAGE_CUES];
    int after; /* not before it has passed this one; or STAGE_NEVER */
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

/* An allocation that stays. */
static void enter_last(void *arg)
{
    struct scene *s = arg;

    s->range[0] = kl_zone_pfn(s->zone, 3u << SCENE_ORDER);
    if (kl_contig_alloc_at(s->zone, s->plain, s->range[0], 4, KL_ASYNC, NULL) == 0)
        s->range_n[0] = 4;
}

static void take_class(void *arg)
{
    struct scene *s = arg;
    uint64_t priv = atomic_load(&s->zone->frame[0].priv);

    kli_spin_take(&s->zone->host,
                  &zs_class_of(s->pool, zs_page(s->pool, (uint32_t)(priv >> 8)))->lock);
}

static void drop_class(void *arg)
{
    struct scene *s = arg;
    uint64_t priv = atomic_load(&s->zone->frame[0].priv);

    kli_spin_drop(&s->zone->host,
                  &zs_class_of(s->pool, zs_page(s->pool, (uint32_t)(priv >> 8)))->lock);
}

static void open_reader(void *arg)
{
    struct scene *s = arg;

    s->open = kl_zs_begin(s->pool, s->object[0].handle, &s->pin) == 0;
}

#define C(name, does)                                                                              \
    {                                                                                              \
        KLI_T_##name, does                                                                         \
    }
#define WAY(name, kind, op)                                                                        \
    {                                                                                              \
        KLI_T_##name, kind, op, {{0}}, STAGE_NEVER                                                 \
    }
#define AFTER(first, name, kind, op)                                                               \
    {                                                                                              \
        KLI_T_##name, kind, op, {{0}}, KLI_T_##first                                               \
    }
#define CUED(name, kind, op, ...)                                                                  \
    {                                                                                              \
        KLI_T_##name, kind, op, {__VA_ARGS__}, STAGE_NEVER                                         \
    }
static const struct way ways[] = {
    WAY(alloc_stage, FRAMES, "alloc block"),
    WAY(alloc_failed, FRAMES, "alloc large"),
    WAY(alloc_reserved, FRAMES, "alloc"),
    WAY(alloc_taken, FRAMES, "alloc pair"),
    WAY(free_begin, FRAMES, "free"),
    WAY(free_begin, FRAMES, "free pair"),
    WAY(free_dying, FRAMES, "free locked"),
    WAY(free_gone, FRAMES, "free"),
    WAY(free_gone, FRAMES, "free pair"),
    WAY(free_gone, FRAMES, "free locked"),
    WAY(free_bits, FRAMES, "free pair"),
    WAY(free_counted, FRAMES, "free pair"),
    WAY(pin_begin, FRAMES, "pin"),
    WAY(pin_begin, FRAMES, "pin bare"),
    WAY(pin_marked, FRAMES, "pin"),
    WAY(pin_marked, FRAMES, "pin bare"),
    WAY(pin_done, FRAMES, "pin"),
    WAY(pin_done, FRAMES, "pin bare"),
    WAY(pin_refused, FRAMES, "pin none"),
    WAY(unpin_begin, FRAMES, "unpin"),
    WAY(unpin_begin, FRAMES, "pin bare"),
    WAY(unpin_marked, FRAMES, "unpin"),
    WAY(unpin_marked, FRAMES, "pin bare"),
    WAY(unpin_done, FRAMES, "unpin"),
    WAY(isolate_begin, FRAMES, "give"),
    WAY(isolate_begin, FRAMES, "contig"),
    WAY(isolate_got, FRAMES, "give"),
    WAY(isolate_got, FRAMES, "compact"),
    WAY(isolate_target, FRAMES, "give"),
    WAY(isolate_target, FRAMES, "contig part"),
    WAY(isolate_locked, FRAMES, "give"),
    WAY(isolate_asked, FRAMES, "give"),
    WAY(isolate_asked, FRAMES, "compact"),
    WAY(isolate_refused, FRAMES, "give, refused"),
    WAY(isolate_marked, FRAMES, "give"),
    CUED(isolate_overtaken, FRAMES, "give", C(isolate_asked, pin_subject)),
    CUED(isolate_overtaken, FRAMES, "give", C(isolate_asked, free_subject)),
    WAY(isolate_unlocked, FRAMES, "give"),
    WAY(isolate_unlocked, FRAMES, "give, refused"),
    WAY(isolate_undone, FRAMES, "give, refused"),
    CUED(isolate_undone, FRAMES, "give", C(isolate_asked, free_subject)),
    WAY(isolate_end, FRAMES, "give"),
    WAY(migrate_begin, FRAMES, "give"),
    WAY(migrate_begin, FRAMES, "contig part"),
    WAY(prepare_begin, BATCH, "give"),
    WAY(prepare_end, BATCH, "give"),
    WAY(migrate_locked, FRAMES, "give"),
    WAY(migrate_locked, BATCH, "give"),
    CUED(migrate_unlockable, FRAMES, "give", C(migrate_begin, lock_first),
         C(migrate_unlockable, unlock_first)),
    WAY(migrate_call, FRAMES, "give"),
    WAY(migrate_call, BATCH, "give"),
    WAY(migrate_result, FRAMES, "give"),
    WAY(migrate_result, BATCH, "give"),
    WAY(migrate_result, FRAMES, "give, failing"),
    WAY(migrate_moved, FRAMES, "give"),
    WAY(migrate_published, FRAMES, "give"),
    WAY(migrate_end, FRAMES, "give"),
    WAY(putback_begin, FRAMES, "give, failing"),
    WAY(putback_begin, BATCH, "give, failing"),
    CUED(putback_begin, FRAMES, "give", C(migrate_begin, free_subject)),
    WAY(putback_call, FRAMES, "give, failing"),
    CUED(putback_freed, FRAMES, "give", C(migrate_begin, free_subject)),
    CUED(putback_freed, FRAMES, "give, failing", C(migrate_result, free_subject)),
    WAY(putback_called, FRAMES, "give, failing"),
    CUED(putback_called, FRAMES, "give, failing", C(putback_call, free_subject)),
    WAY(putback_dropped, FRAMES, "give, failing"),
    CUED(putback_dropped, FRAMES, "give", C(migrate_begin, free_subject)),
    WAY(putback_released, FRAMES, "give, failing"),
    CUED(putback_released, FRAMES, "give", C(migrate_begin, free_subject)),
    WAY(putback_end, FRAMES, "give, failing"),
    WAY(fence_begin, FRAMES, "give"),
    WAY(fence_begin, FRAMES, "contig"),
    WAY(fence_set, FRAMES, "give"),
    WAY(fence_set, FRAMES, "contig part"),
    WAY(fence_set, FRAMES, "compact"),
    WAY(fence_begin, SPARE, "trim"),
    WAY(fence_set, SPARE, "trim"),
    CUED(fence_lifted, SPARE, "trim", C(fence_begin, enter_last)),
    CUED(fence_refused, FRAMES, "contig", C(fence_begin, fence_first),
         C(fence_refused, unfence_first)),
    WAY(fence_lift, FRAMES, "contig"),
    WAY(fence_lift, FRAMES, "give, failing"),
    WAY(fence_lift, FRAMES, "compact"),
    WAY(fence_lifted, FRAMES, "contig"),
    WAY(claim_begin, FRAMES, "contig"),
    WAY(claim_begin, FRAMES, "contig part"),
    WAY(claim_counted, FRAMES, "contig"),
    WAY(claim_counted, FRAMES, "contig part"),
    WAY(claim_taken, FRAMES, "contig"),
    WAY(claim_taken, FRAMES, "contig part"),
    CUED(claim_refused, FRAMES, "contig part", C(claim_counted, take_bit),
         C(claim_refused, drop_bit)),
    WAY(block_stepped, FRAMES, "give"),
    WAY(block_stepped, FRAMES, "free pair"),
    WAY(block_stepped, ABSENT, "contig last"),
    WAY(index_mend, FRAMES, "give"),
    WAY(index_mend, FRAMES, "contig"),
    WAY(index_mend, ABSENT, "alloc block"),
    AFTER(fence_lift, index_mend, FRAMES, "compact"),
    WAY(populate_begin, ABSENT, "contig last"),
    WAY(populate_begin, ABSENT, "alloc block"),
    WAY(populate_summoned, ABSENT, "contig last"),
    WAY(populate_summoned, ABSENT, "alloc block"),
    WAY(populate_end, ABSENT, "contig last"),
    WAY(populate_end, ABSENT, "alloc block"),
    WAY(release_begin, FRAMES, "give"),
    WAY(release_begin, ABSENT, "give two"),
    WAY(release_vacated, FRAMES, "give"),
    WAY(release_vacated, ABSENT, "give two"),
    WAY(release_end, FRAMES, "give"),
    WAY(release_begin, SPARE, "trim"),
    WAY(release_vacated, SPARE, "trim"),
    WAY(release_end, SPARE, "trim"),
    WAY(release_looked, FRAMES, "give"),
    WAY(release_looked, SPARE, "trim"),
    WAY(evacuate_begin, FRAMES, "give"),
    WAY(evacuate_round, FRAMES, "give"),
    WAY(evacuate_end, FRAMES, "give"),
    WAY(compact_begin, FRAMES, "compact"),
    WAY(compact_end, FRAMES, "compact"),
    WAY(contig_begin, FRAMES, "contig"),
    WAY(contig_window, FRAMES, "contig"),
    WAY(contig_end, FRAMES, "contig"),
    WAY(shrink_begin, ZS, "shrink"),
    WAY(shrink_end, ZS, "shrink"),
    WAY(give_begin, FRAMES, "give"),
    WAY(give_end, FRAMES, "give"),
    WAY(zs_isolate_begin, ZS, "give"),
    WAY(zs_isolated, ZS, "give"),
    CUED(zs_isolate_refused, ZS, "compact", C(zs_isolate_begin, take_class),
         C(zs_isolate_refused, drop_class)),
    WAY(isolate_marked, ZS, "give"),
    WAY(migrate_begin, ZS, "give"),
    WAY(migrate_locked, ZS, "give"),
    WAY(migrate_result, ZS, "give"),
    WAY(migrate_published, ZS, "give"),
    WAY(migrate_end, ZS, "give"),
    WAY(zs_migrate_begin, ZS, "give"),
    CUED(zs_gave_way, ZS, "give", C(zs_migrate_begin, open_reader)),
    WAY(zs_migrate_alone, ZS, "give"),
    WAY(zs_migrate_copied, ZS, "give"),
    WAY(zs_migrate_chained, ZS, "give"),
    WAY(zs_migrate_open, ZS, "give"),
    WAY(zs_migrated, ZS, "give"),
    CUED(zs_putback_begin, ZS, "give", C(zs_migrate_begin, open_reader)),
    CUED(zs_putback, ZS, "give", C(zs_migrate_begin, open_reader)),
    WAY(zs_look_begun, ZS, "zs read"),
    WAY(zs_look_begun, ZS, "zs read one"),
    WAY(zs_look_found, ZS, "zs read"),
    WAY(zs_look_found, ZS, "zs read one"),
    WAY(zs_look_copied, ZS, "zs read"),
    WAY(zs_look_copied, ZS, "zs read one"),
    WAY(zs_pinned, ZS, "zs open"),
    WAY(zs_inside, ZS, "zs open"),
    WAY(zs_inside, ZS, "zs open one"),
    WAY(zs_unpin_begin, ZS, "zs open"),
    WAY(zs_unpin_left, ZS, "zs open"),
    WAY(zs_free_marked, ZS, "zs free"),
    WAY(zs_free_marked, ZS, "zs free one"),
    WAY(zs_free_marked, ZS, "zs free big"),
    WAY(zs_bury_begin, ZS, "zs free"),
    WAY(zs_bury_begin, ZS, "zs destroy"),
    WAY(zs_bury_alone, ZS, "zs free"),
    WAY(zs_bury_locked, ZS, "zs free"),
    WAY(zs_bury_locked, ZS, "zs destroy"),
    WAY(zs_buried, ZS, "zs free"),
    CUED(zs_deferred, ZS, "zs free", C(zs_bury_begin, lock_first), C(zs_deferred, unlock_first)),
    WAY(zs_compact_begin, ZS, "zs compact"),
    WAY(zs_compact_source, ZS, "zs compact"),
    WAY(zs_compact_claimed, ZS, "zs compact"),
    WAY(zs_compact_copied, ZS, "zs compact"),
    WAY(zs_compact_end, ZS, "zs compact"),
    WAY(zs_look_begun, STORE, "st read"),
    WAY(zs_look_begun, STORE, "st read one"),
    WAY(zs_look_begun, STORE, "st read two"),
    WAY(zs_look_found, STORE, "st read"),
    WAY(zs_look_found, STORE, "st read one"),
    WAY(zs_look_found, STORE, "st read two"),
    WAY(zs_look_found, STORE, "st part one"),
    WAY(zs_look_copied, STORE, "st read"),
    WAY(zs_look_copied, STORE, "st read one"),
    WAY(zs_look_copied, STORE, "st part two"),
    WAY(zs_grow, STORE, "st write"),
    WAY(zs_grow, STORE, "st write new"),
    WAY(zs_stocked, STORE, "st write"),
    WAY(zs_stocked, STORE, "st write new"),
    WAY(zs_put, STORE, "st write"),
    WAY(zs_put, STORE, "st write one"),
    WAY(zs_put, STORE, "st write new"),
    WAY(zs_put, STORE, "st part"),
    WAY(zs_put, STORE, "st part two"),
    WAY(zs_put, STORE, "st recompress"),
    WAY(zs_claimed, STORE, "st part"),
    WAY(zs_claimed, STORE, "st part one"),
    WAY(zs_claimed, STORE, "st recompress"),
    WAY(zs_out, STORE, "st write"),
    WAY(zs_out, STORE, "st discard"),
    WAY(zs_out, STORE, "st discard one"),
    WAY(zs_out, STORE, "st discard two"),
    WAY(zs_out, STORE, "st part one"),
    WAY(zs_out, STORE, "st recompress"),
    WAY(zs_bury_begin, STORE, "st discard"),
    WAY(zs_bury_alone, STORE, "st discard"),
    WAY(zs_bury_locked, STORE, "st discard"),
    WAY(zs_compact_source, STORE, "zs compact"),
    WAY(zs_compact_claimed, STORE, "zs compact"),
    WAY(zs_compact_copied, STORE, "zs compact"),
    WAY(zs_compact_slid, STORE, "zs compact"),
    WAY(zs_cut_locked, STORE, "zs compact"),
    WAY(zs_migrate_alone, STORE, "give"),
    WAY(zs_migrate_copied, STORE, "give"),
    WAY(zs_migrate_chained, STORE, "give"),
    WAY(zs_migrate_open, STORE, "give"),
    WAY(release_vacated, STORE, "give"),
    WAY(release_looked, STORE, "give"),
    WAY(release_end, STORE, "give"),
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
    /* An allocation that found nothing, for a free that has cleared bits and not counted
     * them yet: it is a moment, and the frames are there then. */
    {"free_bits", "free", "alloc", false},
    /* Nor counts a reservation that may be given back. */
    {"alloc_reserved", "", "alloc", false},
    /* An isolation ends under the frame's lock, which the owner has just now. */
    {"free_", "free locked", "", false},
    {"free_", "zs free", "give", false},
    {"zs_bury_locked", "zs free", "give", false},
    /* Object compaction holds the class over the copy of one zspage, and the object. */
    {"zs_compact_", "", "give", false},
    {"zs_compact_", "", "contig", false},
    {"zs_compact_source", "", "zs free one", false},
    {"zs_compact_", "", "zs open one", false},
    /* A reader waits for the copy of its object's frame. */
    {"zs_migrate_alone", "", "zs read", false},
    {"zs_migrate_copied", "", "zs read", false},
    {"zs_migrate_chained", "", "zs read", false},
    {"zs_migrate_alone", "", "zs open", false},
    {"zs_migrate_copied", "", "zs open", false},
    {"zs_migrate_chained", "", "zs open", false},
    {"zs_migrate_alone", "", "st part", false},
    {"zs_migrate_copied", "", "st part", false},
    {"zs_migrate_chained", "", "st part", false},
    {"zs_migrate_alone", "", "st read", false},
    {"zs_migrate_copied", "", "st read", false},
    {"zs_migrate_chained", "", "st read", false},
    {"zs_migrate_alone", "", "st recompress", false},
    {"zs_migrate_copied", "", "st recompress", false},
    {"zs_migrate_chained", "", "st recompress", false},
    /* Who writes a part of a block waits for who has claimed its object. */
    {"zs_claimed", "st ", "st part", false},
    {"zs_look_", "st part", "st part", false},
    {"zs_put", "st part", "st part", false},
    {"zs_put", "st recompress", "st part", false},
    /* Object compaction holds the class, and WRITER where objects slide. */
    {"zs_compact_", "", "st write", false},
    {"zs_compact_", "", "st part", false},
    {"zs_compact_", "", "st discard", false},
    {"zs_compact_", "", "st move", false},
    {"zs_compact_", "", "st read one", false},
    {"zs_compact_", "", "st recompress", false},
    {"zs_cut_locked", "", "give", false},
    {"zs_cut_locked", "", "contig", false},
    {"zs_cut_locked", "", "st write", false},
    {"zs_cut_locked", "", "st part", false},
    {"zs_cut_locked", "", "st discard", false},
    {"zs_cut_locked", "", "st move", false},
    {"zs_cut_locked", "", "st read one", false},
    {"zs_cut_locked", "", "st recompress", false},
    /* ... also while it frees the frames that it cuts off. */
    {"free_", "zs compact", "st ", false},
    {"free_", "shrink", "st ", false},
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
    if (!stage_start(0, scene_play, &s, way->point, 1, way->after, way->cue) && !b->pinned)
        fail_msg("the point is not reached; %s", stage_now);
    stood = stage_start(1, scene_play, &s, nth ? STAGE_ANY : STAGE_NEVER, nth, STAGE_NEVER, NULL);
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

/* For slow machines: every sixth of the second order's stops. */
static unsigned quickness(void)
{
    const char *quick = getenv("KLOTSKI_INTERLEAVE");

    return quick && strcmp(quick, "quick") == 0 ? 6 : 1;
}

static unsigned play_all(const struct way *way)
{
    const struct op *a = op_named(way->op);
    unsigned plays = 0;

    for (unsigned i = 0; i < ops_n; i++) {
        const struct op *b = &ops[i];
        unsigned nth;

        if (!(b->kinds & way->kind) || !may_run_together(a, b) ||
            (b->pinned && way->cue[0].act)) /* the subject is out of play then */
            continue;
        plays++;
        play(way, b, 0);
        for (nth = 1; play(way, b, nth); nth += quickness())
            plays++;
    }
    return plays;
}

static void both_orders_of(void **state)
{
    const char *group = *state;
    unsigned plays = 0;

    crash_watch();
    for (unsigned i = 0; i < WAYS; i++) {
        if (begins(group, ways[i].kind == STORE ? "store" : ways[i].kind == ZS ? "zs" : "frames"))
            plays += play_all(&ways[i]);
    }
    printf("# %u plays\n", plays);
    assert_true(plays > 0);
}

/* Freed while it was isolated: no callback begins for it any more. */
static void nobody_is_called_for_what_was_freed(void **state)
{
    const struct cue cues[STAGE_CUES] = {C(migrate_begin, free_subject)};
    struct scene s;

    (void)state;
    snprintf(stage_now, sizeof(stage_now), "give, freed at migrate_begin");
    scene_open(&s, FRAMES);
    s.op[0] = op_named("give");
    s.op[1] = op_named("trim");
    stage_start(0, scene_play, &s, STAGE_NEVER, 0, STAGE_NEVER, cues);
    stage_finish(0);
    assert_int_equal(s.ret[0], 0);
    assert_int_equal(s.report[0].freed, 1);
    assert_int_equal(s.m->late, 0);
    scene_close(&s);
}

static void every_wait_is_met(void **state)
{
    (void)state;
    if (quickness() > 1)
        skip();
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
        cmocka_unit_test_prestate(both_orders_of, "store"),
        cmocka_unit_test(nobody_is_called_for_what_was_freed),
        cmocka_unit_test(every_wait_is_met),
    };

    if (!KL_DEBUG) {
        puts("1..0 # SKIP trace points stop threads in debug builds only");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
