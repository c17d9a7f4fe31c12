// SPDX-License-Identifier: Apache-2.0
/* The failures of the original migration of zsmalloc, each a test of its own.
 *
 * Most are one moment, something that happens while something else stands still
 * (support/meanwhile.h).
 * Trace points are in debug builds; elsewhere those tests skip.  More of them, and races among
 * threads that nobody stops: test_zs_moves.c. */
#include "support/meanwhile.h"
#include "support/midcopy.h"
#include "support/objects.h"
#include "support/shake.h"
#include "zs/entry.h"
#include "zs/zs.h"

#include <string.h>

enum { ZONE_BLOCKS = 8 };

static struct kl_zs_stats stats_of(struct kl_zs *pool)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(pool, &s);
    return s;
}

static uint64_t used_frames(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s.used_frames;
}

/* --- the stage -------------------------------------------------------------- */

static struct fixture f;
static struct kl_zs *pool;
static struct object first, second;

static void both_are_done(void)
{
    assert_true(meanwhile_end());
    assert_true(meanwhile_over());
}

/* Without stacks per CPU: what is freed goes at once. */
static void open_quiet(void)
{
    fixture_host = meanwhile_host;
    pool = pool_open(&f, ZONE_BLOCKS, KL_ZONE_POPULATE);
    fixture_host = NULL;
}

static void open_stage(void)
{
    if (!KL_DEBUG)
        skip();
    open_quiet();
}

static void move_all(void)
{
    struct kl_report r = {.size = sizeof(r)};

    for (uint32_t block = 0; block < ZONE_BLOCKS; block++)
        shake_block(f.zone, block, KL_SYNC, &r);
    assert_int_equal(r.isolated, r.migrated + r.put_back + r.freed);
}

static void free_first(void)
{
    if (kl_zs_free(pool, first.handle) != 0)
        abort();
}

/* Writes over every frame that is free, as their next owners would. */
static void scribble(void)
{
    kl_pfn pfn[ZONE_BLOCKS * 64];
    kl_owner_id owner;
    unsigned n = 0;

    if (kl_owner_register(f.zone, NULL, NULL, &owner))
        abort();
    while (n < ZONE_BLOCKS * 64 &&
           kl_frame_alloc(f.zone, 0, owner, KL_NOWAIT | KL_NO_MOVE | KL_NO_SHRINK, &pfn[n]) == 0)
        memset(kl_frame_addr(f.zone, pfn[n++]), 0xee, 4096);
    while (n > 0)
        kl_frame_free(f.zone, owner, pfn[--n]);
    if (kl_owner_unregister(f.zone, owner))
        abort();
}

/* --- one moment each -------------------------------------------------------- */

/* The last object is freed while frames of its zspage are isolated: nothing is left, and
 * nobody has to come by for that but who frees or compacts next. */
static void an_empty_zspage_is_not_left_behind(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_isolate_asked,    KLI_T_isolate_unlocked,
                                                  KLI_T_zs_migrate_begin, KLI_T_zs_migrate_open,
                                                  KLI_T_zs_migrated,      KLI_T_migrate_published};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        for (unsigned nth = 1; nth <= 3; nth++) {
            open_stage();
            object_put(pool, &first, 12000, 1); /* three frames */
            meanwhile(points[i], nth, free_first);
            move_all();
            both_are_done();
            assert_int_equal(stats_of(pool).objects, 0);
            kl_zs_compact(pool, 0);
            assert_int_equal(stats_of(pool).deferred, 0);
            assert_int_equal(stats_of(pool).zspages, 0);
            assert_int_equal(stats_of(pool).frames, 0);
            assert_int_equal(used_frames(f.zone), 0);
            pool_close(&f, pool);
        }
    }
}

/* Nor one that was made for an object, which took a slot that came free meanwhile. */
static void an_unused_zspage_is_not_left_behind(void **state)
{
    enum { MOST = 128 };
    struct object more[MOST];
    uint32_t at = 0, n;

    (void)state;
    open_stage();
    while (pool->classes[at].chain > 2 || pool->classes[at].objects > MOST)
        at++;
    n = pool->classes[at].objects;
    assert_true(n <= MOST);
    object_put(pool, &first, pool->classes[at].size - ZS_GUARD_BYTES, 1);
    for (uint32_t i = 1; i < n; i++)
        object_put(pool, &more[i], first.size, i + 1);
    assert_int_equal(stats_of(pool).zspages, 1);
    meanwhile(KLI_T_zs_stocked, 1, free_first);
    object_put(pool, &more[0], first.size, 1); /* there is no room for it yet */
    both_are_done();
    assert_int_equal(stats_of(pool).zspages, 2);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(kl_zs_free(pool, more[i].handle), 0);
    kl_zs_compact(pool, 0);
    assert_int_equal(stats_of(pool).zspages, 0);
    assert_int_equal(stats_of(pool).frames, 0);
    pool_close(&f, pool);
}

/* free against migration of the same zspage, which became a CVE: at every step. */
static void free_at_each_step_of_a_migration(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_isolate_begin,  KLI_T_zs_isolated,
                                                  KLI_T_zs_migrate_begin,  KLI_T_zs_migrate_alone,
                                                  KLI_T_zs_migrate_copied, KLI_T_zs_migrate_chained,
                                                  KLI_T_zs_migrate_open,   KLI_T_zs_migrated};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        open_stage();
        object_put(pool, &first, 1500, 1);
        object_put(pool, &second, 1500, 2);
        assert_ptr_equal(object_page(pool, &first), object_page(pool, &second));
        meanwhile(points[i], 1, free_first);
        move_all();
        both_are_done();
        assert_false(object_right(pool, &first));
        assert_true(object_right(pool, &second));
        assert_int_equal(stats_of(pool).objects, 1);
        assert_zs_ok(pool);
        assert_int_equal(kl_zs_free(pool, second.handle), 0);
        kl_zs_compact(pool, 0);
        assert_int_equal(used_frames(f.zone), 0);
        pool_close(&f, pool);
    }
}

static _Atomic int right;

static void read_first(void)
{
    scribble();
    atomic_store(&right, object_right(pool, &first) && object_right_in_place(pool, &first));
}

/* A reader maps an object while its frame moves.  A is the migration. */
static void read_at_each_step_of_a_migration(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_migrate_begin,  KLI_T_zs_migrate_alone,
                                                  KLI_T_zs_migrate_copied, KLI_T_zs_migrate_chained,
                                                  KLI_T_zs_migrate_open,   KLI_T_zs_migrated,
                                                  KLI_T_migrate_published};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        for (unsigned nth = 1; nth <= 2; nth++) {
            open_stage();
            object_put(pool, &first, 7000, 1); /* two frames */
            atomic_store(&right, 0);
            meanwhile(points[i], nth, read_first);
            move_all();
            both_are_done();
            assert_true(atomic_load(&right));
            pool_close(&f, pool);
        }
    }
}

static void move_and_scribble(void)
{
    move_all();
    scribble();
}

/* A is the reader: it found the frame, which then moves, or it has a pin, and it does not. */
static void a_frame_moves_at_each_step_of_a_read(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_look_begun, KLI_T_zs_look_copied,
                                                  KLI_T_zs_pinned, KLI_T_zs_inside,
                                                  KLI_T_zs_unpin_begin};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        open_stage();
        object_put(pool, &first, 7000, 1);
        meanwhile(points[i], 1, move_and_scribble);
        assert_true(i < 2 ? object_right(pool, &first) : object_right_in_place(pool, &first));
        both_are_done();
        assert_true(object_right(pool, &first));
        pool_close(&f, pool);
    }
}

/* The frame moves in the middle of the copy, which goes on from the old one, that is
 * somebody else's by then. */
static void a_frame_moves_in_the_middle_of_a_copy(void **state)
{
    const uint32_t size = 8000;
    char *buf;

    (void)state;
    if (!midcopy_can())
        skip();
    for (uint32_t at = 0; at < 200; at += 40) {
        open_quiet();
        object_put(pool, &first, size, 1);
        buf = midcopy_begin(move_and_scribble);
        assert_int_equal(kl_zs_read(pool, first.handle, 0, buf + at, size), 0);
        assert_true(bytes_are(buf + at, size, 1));
        assert_true(midcopy_end());
        pool_close(&f, pool);
    }
}

static void write_second_seed(void)
{
    char buf[7000];

    fill_bytes(buf, sizeof(buf), 2);
    if (kl_zs_write(pool, first.handle, 0, buf, sizeof(buf)) != 0)
        abort();
}

/* What is written meanwhile is not lost with the old frame. */
static void write_at_each_step_of_a_migration(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_isolated,        KLI_T_zs_migrate_begin,
                                                  KLI_T_zs_migrate_alone,   KLI_T_zs_migrate_copied,
                                                  KLI_T_zs_migrate_chained, KLI_T_zs_migrate_open,
                                                  KLI_T_migrate_published};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        open_stage();
        object_put(pool, &first, 7000, 1);
        meanwhile(points[i], 1, write_second_seed);
        move_all();
        both_are_done();
        first.seed = 2;
        assert_true(object_right(pool, &first));
        pool_close(&f, pool);
    }
}

static void destroy_pool(void)
{
    if (kl_zs_destroy(pool) != 0)
        abort();
}

/* A pool is destroyed while a migration of its frames runs: it waits for its end, at
 * every step, and the migration finds what it needs. */
static void destroyed_at_each_step_of_a_migration(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_isolate_begin,  KLI_T_zs_isolated,
                                                  KLI_T_isolate_unlocked,  KLI_T_zs_migrate_begin,
                                                  KLI_T_zs_migrate_copied, KLI_T_zs_migrate_open,
                                                  KLI_T_migrate_published, KLI_T_zs_migrated};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        for (unsigned nth = 1; nth <= 2; nth++) {
            open_stage();
            object_put(pool, &first, 7000, 1);
            meanwhile(points[i], nth, destroy_pool);
            move_all();
            both_are_done();
            assert_int_equal(used_frames(f.zone), 0);
            fixture_close(&f);
        }
    }
}

/* The review's one point: a list head was looked at before it was initialised.  Frames of
 * a zspage to be are movable, and of no zspage yet: nobody isolates them. */
static void frames_of_no_zspage_yet(void **state)
{
    (void)state;
    open_stage();
    for (unsigned nth = 2; nth <= 8; nth++) {
        meanwhile(MEANWHILE_CPU, nth, move_all);
        object_put(pool, &first, 30000, nth); /* eight frames, got one after the other */
        both_are_done();
        assert_true(object_right(pool, &first));
        assert_zs_ok(pool);
        assert_zone_ok(f.zone);
        move_all();
        assert_true(object_right(pool, &first));
        assert_int_equal(kl_zs_free(pool, first.handle), 0); /* the descriptor is used again */
        /* A zspage that was isolated as soon as it was there is not used, and left. */
        assert_true(kl_zs_compact(pool, 0) >= 0);
        assert_int_equal(used_frames(f.zone), 0);
    }
    pool_close(&f, pool);
}

/* A pool in which nothing was ever allocated. */
static void lists_of_a_fresh_pool(void **state)
{
    struct fixture fresh;
    struct kl_zs *empty = pool_open(&fresh, 2, 0);
    struct kl_zs_class_stats c = {.size = sizeof(c)};

    (void)state;
    assert_zs_ok(empty);
    assert_int_equal(kl_zs_compact(empty, 0), 0);
    assert_int_equal(kl_zone_shrink(fresh.zone, 100, KL_SYNC), 0);
    for (uint32_t i = 0; i < stats_of(empty).classes; i++) {
        assert_int_equal(kl_zs_get_class_stats(empty, i, &c), 0);
        for (unsigned group = 0; group < 12; group++)
            assert_int_equal(c.fullness[group], 0);
        assert_int_equal(c.freeable_frames, 0);
    }
    pool_close(&fresh, empty);
}

static kl_pfn frame_of(const struct object *o, unsigned i)
{
    return kl_zone_pfn(f.zone, atomic_load(&object_page(pool, o)->frame[i]));
}

/* A try-lock that failed is not undone, and those that succeeded before it are. */
static void no_unlock_after_a_failed_try_lock(void **state)
{
    kl_pfn frame[3];

    (void)state;
    open_quiet();
    for (unsigned held = 0; held < 3; held++) {
        object_put(pool, &first, 12000, 1);
        assert_int_equal(object_page(pool, &first)->frames, 3);
        for (unsigned i = 0; i < 3; i++)
            frame[i] = frame_of(&first, i);
        assert_true(kl_frame_trylock(f.zone, pool->owner, frame[held]));
        free_first();
        assert_int_equal(stats_of(pool).deferred, 1);
        for (unsigned i = 0; i < 3; i++) {
            bool free = kl_frame_trylock(f.zone, pool->owner, frame[i]);

            assert_int_equal(free, i != held); /* still ours, and nobody's */
            if (free)
                kl_frame_unlock(f.zone, frame[i]);
        }
        kl_frame_unlock(f.zone, frame[held]);
        kl_zs_compact(pool, 0);
        assert_int_equal(stats_of(pool).deferred, 0);
        assert_int_equal(used_frames(f.zone), 0);
    }
    pool_close(&f, pool);
}

/* Objects of one zspage that is full, and their class. */
static struct object crowd[64];
static unsigned crowd_n;
static struct kl_zs_class_stats crowd_class;

static void fill_a_zspage(void)
{
    uint32_t index;

    object_put(pool, &crowd[0], 1300, 0);
    index = object_page(pool, &crowd[0])->class_index;
    crowd_class.size = sizeof(crowd_class);
    assert_int_equal(kl_zs_get_class_stats(pool, index, &crowd_class), 0);
    crowd_n = crowd_class.objects_per_zspage;
    assert_in_range(crowd_n, 10, 64);
    for (unsigned i = 1; i < crowd_n; i++)
        object_put(pool, &crowd[i], 1300, i);
    assert_ptr_equal(object_page(pool, &crowd[0]), object_page(pool, &crowd[crowd_n - 1]));
    assert_int_equal(kl_zs_get_class_stats(pool, index, &crowd_class), 0);
    assert_int_equal(crowd_class.fullness[11], 1);
}

static void free_half(void)
{
    for (unsigned i = 0; i < crowd_n; i += 2) {
        if (kl_zs_free(pool, crowd[i].handle))
            abort();
    }
}

/* The zspage was full when it was isolated, and half of it was freed meanwhile: it is put
 * back in the list that its fullness now says, where malloc finds its room. */
static void put_back_by_the_fullness_of_now(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_isolated, KLI_T_isolate_unlocked,
                                                  KLI_T_zs_migrate_begin, KLI_T_zs_migrate_open};

    (void)state;
    for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        uint32_t index;

        open_stage();
        fill_a_zspage();
        index = object_page(pool, &crowd[0])->class_index;
        meanwhile(points[i], 1, free_half);
        move_all();
        both_are_done();
        assert_int_equal(kl_zs_get_class_stats(pool, index, &crowd_class), 0);
        assert_int_equal(crowd_class.fullness[11], 0);
        assert_int_equal(crowd_class.fullness[5] + crowd_class.fullness[6], 1); /* a half */
        assert_zs_ok(pool);
        for (unsigned k = 0; k < crowd_n; k += 2)
            object_put(pool, &crowd[k], 1300, k);
        assert_int_equal(stats_of(pool).zspages, 1);
        for (unsigned k = 0; k < crowd_n; k++)
            assert_true(object_right(pool, &crowd[k]));
        pool_close(&f, pool);
    }
}

static void malloc_second(void)
{
    if (kl_zs_malloc(pool, 1300, 0, &second.handle))
        abort();
}

/* Nothing new is allocated in a zspage of which a frame is isolated. */
static void nothing_new_in_an_isolated_zspage(void **state)
{
    (void)state;
    open_stage();
    object_put(pool, &first, 1300, 1);
    meanwhile(KLI_T_isolate_unlocked, 1, malloc_second);
    move_all();
    both_are_done();
    assert_true(object_page(pool, &first) != object_page(pool, &second));
    pool_close(&f, pool);
}

/* More frames of one zspage isolated at a time than a small counter would hold. */
static unsigned most_isolated;

static void count_isolated(enum kli_trace_point point, uint64_t a, uint64_t x, uint64_t c)
{
    (void)a, (void)x;
    if (point == KLI_T_zs_isolated && zs_page(pool, (uint32_t)c)->isolated > most_isolated)
        most_isolated = zs_page(pool, (uint32_t)c)->isolated;
}

static void all_frames_of_a_chain_are_isolated(void **state)
{
    uint32_t longest = 0, index = 0;

    (void)state;
    open_stage();
    for (uint32_t i = 0; i < pool->nclasses; i++) {
        if (pool->classes[i].chain > longest && pool->classes[i].objects < 64) {
            longest = pool->classes[i].chain;
            index = i;
        }
    }
    assert_true(longest >= 16);
    crowd_class.size = sizeof(crowd_class);
    assert_int_equal(kl_zs_get_class_stats(pool, index, &crowd_class), 0);
    crowd_n = crowd_class.objects_per_zspage;
    for (unsigned i = 0; i < crowd_n; i++)
        object_put(pool, &crowd[i], crowd_class.object_size, i);
    assert_int_equal(object_page(pool, &crowd[0])->frames, longest);
    most_isolated = 0;
#if KL_DEBUG
    atomic_store(&kli_trace_hook, count_isolated);
#else
    (void)count_isolated;
#endif
    move_all();
#if KL_DEBUG
    atomic_store(&kli_trace_hook, NULL);
#endif
    assert_int_equal(most_isolated, longest);
    assert_int_equal(object_page(pool, &crowd[0])->isolated, 0);
    for (unsigned i = 0; i < crowd_n; i++)
        assert_true(object_right(pool, &crowd[i]));
    pool_close(&f, pool);
}

/* destroy first takes the pool away from the shrinkers: while it waits for one, nothing
 * of the pool is gone yet ... */
static uint64_t used_at_wait;
static void (*told_wait)(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns);

static void wait_and_look(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    if (used_at_wait == UINT64_MAX)
        used_at_wait = used_frames(f.zone);
    told_wait(ctx, word, seen, timeout_ns);
}

static void host_looks(struct kl_host *host)
{
    meanwhile_host(host);
    told_wait = host->wait;
    host->wait = wait_and_look;
}

static void destroy_waits_for_shrinking_first(void **state)
{
    uint64_t used;

    (void)state;
    if (!KL_DEBUG)
        skip();
    fixture_host = host_looks;
    pool = pool_open(&f, ZONE_BLOCKS, KL_ZONE_POPULATE);
    fixture_host = NULL;
    fill_a_zspage();
    object_put(pool, &first, 1300, 1000); /* in another one: to be moved */
    free_half();
    used = used_frames(f.zone);
    used_at_wait = UINT64_MAX;
    meanwhile(KLI_T_zs_compact_begin, 1, destroy_pool);
    kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC);
    both_are_done();
    assert_true(meanwhile_waited()); /* it did */
    assert_int_equal(used_at_wait, used);
    assert_int_equal(used_frames(f.zone), 0);
    fixture_close(&f);
}

/* ... and then waits for what was deferred. */
static void destroy_waits_for_deferred_work(void **state)
{
    kl_pfn frame;

    (void)state;
    open_stage();
    object_put(pool, &first, 12000, 1);
    frame = frame_of(&first, 1);
    assert_true(kl_frame_trylock(f.zone, pool->owner, frame));
    free_first();
    assert_int_equal(stats_of(pool).deferred, 1);
    meanwhile(MEANWHILE_NEVER, 1, destroy_pool);
    meanwhile_now();
    assert_false(meanwhile_over());
    assert_int_equal(used_frames(f.zone), 3);
    kl_frame_unlock(f.zone, frame);
    both_are_done();
    assert_int_equal(used_frames(f.zone), 0);
    fixture_close(&f);
}

/* A handle names its object wherever it is. */
static void handles_are_indirect(void **state)
{
    kl_handle handle;
    uint64_t word, frame;

    (void)state;
    open_quiet();
    fill_a_zspage();
    object_put(pool, &first, 1300, 1000);
    for (unsigned i = 0; i < 8; i += 2) /* room in the denser one */
        assert_int_equal(kl_zs_free(pool, crowd[i].handle), 0);
    handle = first.handle;
    word = object_word(pool, handle);
    frame = atomic_load(&object_page(pool, &crowd[1])->frame[0]);
    assert_true(kl_zs_compact(pool, 0) > 0); /* the object moves */
    assert_true(object_word(pool, handle) != word);
    assert_true(object_right(pool, &first));
    word = object_word(pool, handle);
    move_all(); /* its frames do, and its entry stays */
    assert_true(atomic_load(&object_page(pool, &crowd[1])->frame[0]) != frame);
    assert_int_equal(object_word(pool, handle), word);
    assert_true(object_right(pool, &first));
    assert_int_equal(kl_zs_free(pool, handle), 0);
    assert_int_equal(kl_zs_free(pool, handle), -KL_ESTALE);
    pool_close(&f, pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_zspage_is_not_left_behind),
        cmocka_unit_test(an_unused_zspage_is_not_left_behind),
        cmocka_unit_test(free_at_each_step_of_a_migration),
        cmocka_unit_test(read_at_each_step_of_a_migration),
        cmocka_unit_test(a_frame_moves_at_each_step_of_a_read),
        cmocka_unit_test(a_frame_moves_in_the_middle_of_a_copy),
        cmocka_unit_test(write_at_each_step_of_a_migration),
        cmocka_unit_test(destroyed_at_each_step_of_a_migration),
        cmocka_unit_test(frames_of_no_zspage_yet),
        cmocka_unit_test(lists_of_a_fresh_pool),
        cmocka_unit_test(no_unlock_after_a_failed_try_lock),
        cmocka_unit_test(put_back_by_the_fullness_of_now),
        cmocka_unit_test(nothing_new_in_an_isolated_zspage),
        cmocka_unit_test(all_frames_of_a_chain_are_isolated),
        cmocka_unit_test(destroy_waits_for_shrinking_first),
        cmocka_unit_test(destroy_waits_for_deferred_work),
        cmocka_unit_test(handles_are_indirect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
