// SPDX-License-Identifier: Apache-2.0
/* Idle units of a page pool that move: nothing is copied, they are filed by where they are
 * then, and nobody gets one in flight. */
#include "pool/pool.h"
#include "support/meanwhile.h"
#include "support/units.h"

#include <string.h>

enum { BLOCKS = 8, BLOCK = 64, N = 8, ORDER = 1 };

static struct fixture f;
static struct kl_pool *pool;
static kl_owner_id taker;

static void open_all(enum kl_pool_kind kind)
{
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    pool = unit_pool(f.zone, ORDER, kind, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &taker), 0);
}

static void close_all(void)
{
    assert_pool_ok(pool);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_pool_destroy(pool), 0);
    assert_int_equal(kl_owner_unregister(f.zone, taker), 0);
    fixture_close(&f);
}

/* Where the i-th idle unit of a list is; all zero: there is none. */
static kl_pfn idle_at(unsigned list, unsigned i)
{
    for (uint32_t s = 0; s < pool->shares; s++) {
        uint32_t at = pool->share[s].head[list];

        for (; at != POOL_NONE; at = pool->slot[at].next) {
            if (i-- == 0)
                return kl_zone_pfn(f.zone, pool->slot[at].nr);
        }
    }
    return (kl_pfn){0};
}

/* Whoever is in this block goes elsewhere. */
static int empty_block(kl_block block, enum kl_mode mode)
{
    kl_pfn first = kl_zone_pfn(f.zone, block.v * BLOCK);
    struct kl_report r = {.size = sizeof(r)};
    int err = kl_contig_alloc_at(f.zone, taker, first, BLOCK, mode, &r);

    assert_int_equal(r.isolated, r.migrated + r.put_back + r.freed);
    if (!err)
        assert_int_equal(kl_contig_free(f.zone, taker, first, BLOCK), 0);
    return err;
}

/* As above, but the zone's other frames are told apart from the units'. */
static void nothing_is_copied(void **state)
{
    kl_pfn pfn[N];
    size_t copied = 0;

    (void)state;
    open_all(KL_POOL_CACHED);
    units_get(f.zone, pool, ORDER, pfn, N);
    for (uint32_t nr = 0; nr < BLOCKS * BLOCK; nr++) {
        if (kl_frame_block(f.zone, kl_zone_pfn(f.zone, nr)).v != kl_frame_block(f.zone, pfn[0]).v)
            memset(kl_frame_addr(f.zone, kl_zone_pfn(f.zone, nr)), 0x11, 4096);
    }
    units_put(pool, pfn, N);
    assert_int_equal(empty_block(kl_frame_block(f.zone, pfn[0]), KL_SYNC), 0);
    assert_int_equal(pool_stats(pool).moved, N);
    assert_int_equal(pool_stats(pool).spoiled, 0);
    for (unsigned i = 0; i < N; i++) {
        kl_pfn now = idle_at(POOL_DIRTY | POOL_ASTRAY, i);

        assert_true(now.v != 0);
        copied += unit_secrets(f.zone, now, ORDER);
    }
    assert_int_equal(copied, 0);
    units_get(f.zone, pool, ORDER, pfn, N);
    assert_int_equal(pool_stats(pool).hot, N);
    units_put(pool, pfn, N);
    close_all();
}

static void a_zeroed_one_that_moved_is_dirty(void **state)
{
    kl_pfn pfn[N];

    (void)state;
    fixture_host = fixture_one_cpu; /* all units in one block */
    open_all(KL_POOL_CACHED);
    fixture_host = NULL;
    zone_fill(f.zone);
    assert_int_equal(kl_pool_prefill(pool, 0, N), 0);
    assert_int_equal(empty_block(kl_frame_block(f.zone, idle_at(0, 0)), KL_SYNC), 0);
    assert_int_equal(pool_stats(pool).moved, N);
    assert_int_equal(pool_stats(pool).spoiled, N);
    assert_int_equal(pool_stats(pool).zeroed, 0);
    assert_int_equal(pool_stats(pool).dirty, N);
    assert_pool_ok(pool);
    units_get(f.zone, pool, ORDER, pfn, N / 2);
    units_work(f.zone);
    units_get(f.zone, pool, ORDER, pfn + N / 2, N / 2);
    assert_int_equal(pool_stats(pool).hits, N / 2);
    assert_int_equal(pool_stats(pool).hot, N / 2);
    units_put(pool, pfn, N);
    close_all();
}

static void uncached_ones_stay(void **state)
{
    kl_pfn pfn[N];

    (void)state;
    open_all(KL_POOL_UNCACHED);
    units_get(f.zone, pool, ORDER, pfn, N);
    units_put(pool, pfn, N);
    assert_int_equal(empty_block(kl_frame_block(f.zone, pfn[0]), KL_SYNC), -KL_EBUSY);
    assert_int_equal(pool_stats(pool).moved, 0);
    units_work(f.zone);
    assert_int_equal(pool_stats(pool).zeroed, N);
    units_get(f.zone, pool, ORDER, pfn, N);
    assert_int_equal(pool_stats(pool).hits, N);
    units_put(pool, pfn, N);
    close_all();
}

/* From a block of unmovable frames to one of movable frames: astray, and handed out last. */
static void one_astray_is_handed_out_last(void **state)
{
    kl_pfn pfn[2 * N];

    (void)state;
    open_all(KL_POOL_CACHED);
    assert_int_equal(kl_pool_prefill(pool, 0, N), 0);
    assert_int_equal(empty_block(kl_frame_block(f.zone, idle_at(0, 0)), KL_SYNC), 0);
    assert_int_equal(pool_stats(pool).astray, N);
    units_work(f.zone);
    assert_int_equal(kl_pool_prefill(pool, 0, 2 * N), 0);
    units_get(f.zone, pool, ORDER, pfn, N);
    assert_int_equal(pool_stats(pool).astray, N);
    assert_int_equal(pool_stats(pool).lent_astray, 0);
    units_get(f.zone, pool, ORDER, pfn + N, N);
    assert_int_equal(pool_stats(pool).astray, 0);
    assert_int_equal(pool_stats(pool).lent_astray, N);
    units_put(pool, pfn, 2 * N);
    assert_int_equal(pool_stats(pool).astray, N);
    close_all();
}

/* High and low go by where a unit is now. */
static void a_move_files_by_the_destination(void **state)
{
    struct kl_pool_config config = {
        .size = sizeof(config), .order = ORDER, .low_below = 2 * BLOCK, .limit = 64};
    struct kl_pool_stats s;
    uint32_t low = 0;

    (void)state;
    open_all(KL_POOL_CACHED);
    assert_int_equal(kl_pool_destroy(pool), 0);
    assert_int_equal(kl_pool_create(f.zone, &config, &pool), 0);
    assert_int_equal(kl_pool_prefill(pool, KL_POOL_LOW, N), 0);
    assert_int_equal(pool_stats(pool).low, N);
    for (unsigned b = 0; b < 2; b++)
        assert_int_equal(empty_block((kl_block){b}, KL_SYNC), 0);
    s = pool_stats(pool);
    assert_int_equal(s.dirty, N);
    for (uint32_t nr = 0; nr < BLOCKS * BLOCK; nr++) {
        uint64_t word = kli_state(f.zone, nr);

        low += kli_f_owner(word) == pool->idle.v && nr < 2 * BLOCK;
    }
    assert_int_equal(s.low, low);
    assert_true(s.moved >= N);
    close_all();
}

/* ---- the callbacks by themselves ----------------------------------------- */

/* The posted patch locked, in its callback, a frame that its caller had locked; its
 * putback was empty and lost the frame.  What isolate does putback undoes: all figures
 * and lists are as before, for zeroed and dirty ones, and nobody touches the lock. */
static void isolate_and_putback_are_symmetric(void **state)
{
    const struct kl_owner_ops *ops;
    kl_pfn pfn[N];

    (void)state;
    open_all(KL_POOL_CACHED);
    assert_int_equal(kl_pool_prefill(pool, 0, 2 * N), 0);
    units_get(f.zone, pool, ORDER, pfn, N);
    units_put(pool, pfn, N); /* half of them dirty */
    ops = &kli_owner(f.zone, pool->idle.v)->ops;
    for (unsigned list = 0; list <= POOL_DIRTY; list += POOL_DIRTY) {
        for (unsigned i = 0; i < N; i++) {
            struct kl_pool_stats before = pool_stats(pool), now;
            kl_pfn one = idle_at(list, i);

            assert_true(kl_frame_trylock(f.zone, pool->idle, one));
            assert_true(ops->isolate(pool, one, KL_ASYNC));
            assert_false(ops->isolate(pool, one, KL_ASYNC)); /* never twice */
            now = pool_stats(pool);
            assert_int_equal(now.isolated, 1);
            assert_int_equal(now.zeroed + now.dirty, before.zeroed + before.dirty - 1);
            ops->putback(pool, one);
            assert_false(kl_frame_trylock(f.zone, pool->idle, one)); /* it is locked still */
            kl_frame_unlock(f.zone, one);
            now = pool_stats(pool);
            assert_int_equal(now.put_back, before.put_back + 1);
            now.put_back--;
            assert_memory_equal(&now, &before, sizeof(now));
            assert_pool_ok(pool);
        }
    }
    units_get(f.zone, pool, ORDER, pfn, N);
    assert_int_equal(pool_stats(pool).hot, 0);
    assert_int_equal(pool_stats(pool).misses, 0); /* none is lost */
    units_put(pool, pfn, N);
    close_all();
}

/* What the private word says of a frame that has just come back is the user's: it may be
 * anything, also the number of another unit's slot. */
static void isolate_believes_no_stale_word(void **state)
{
    const struct kl_owner_ops *ops;
    kl_pfn one, other;

    (void)state;
    open_all(KL_POOL_CACHED);
    assert_int_equal(kl_pool_prefill(pool, 0, 2), 0);
    ops = &kli_owner(f.zone, pool->idle.v)->ops;
    one = idle_at(0, 0);
    other = idle_at(0, 1);
    assert_true(kl_frame_trylock(f.zone, pool->idle, one));
    for (uint64_t word = 0; word < pool->limit + 3u; word++) {
        uint64_t right = kl_frame_private(f.zone, one);

        if (word == right)
            continue;
        kl_frame_set_private(f.zone, one, word);
        assert_false(ops->isolate(pool, one, KL_SYNC));
        kl_frame_set_private(f.zone, one, right);
    }
    kl_frame_unlock(f.zone, one);
    assert_int_equal(pool_stats(pool).zeroed, 2);
    assert_true(other.v != one.v);
    close_all();
}

static kl_pfn pinned;

static void pin_it(void)
{
    pinned = idle_at(0, 0); /* not the one that was just isolated: any that is listed */
    for (uint32_t i = 0; i < pool->limit; i++) {
        if (pool->slot[i].list == POOL_ISOLATED)
            pinned = kl_zone_pfn(f.zone, pool->slot[i].nr);
    }
    assert_int_equal(kl_frame_pin(f.zone, pool->idle, pinned), 0);
}

/* The framework's own putback: pinned between isolate and the mark. */
static void a_migration_that_fails_loses_nothing(void **state)
{
    (void)state;
    if (!KL_DEBUG)
        skip();
    fixture_host = meanwhile_host;
    open_all(KL_POOL_CACHED);
    assert_int_equal(kl_pool_prefill(pool, 0, N), 0);
    meanwhile(KLI_T_isolate_asked, 1, pin_it);
    assert_int_equal(empty_block(kl_frame_block(f.zone, idle_at(0, 0)), KL_ASYNC), -KL_EBUSY);
    assert_true(meanwhile_end());
    assert_int_equal(kl_frame_unpin(f.zone, pool->idle, pinned), 0);
    assert_true(pool_stats(pool).put_back >= 1);
    assert_int_equal(pool_stats(pool).isolated, 0);
    assert_int_equal(pool_stats(pool).zeroed + pool_stats(pool).dirty, N);
    close_all();
    fixture_host = NULL;
}

/* Whoever holds a frame's lock, giving does not wait for him: he frees it. */
static void shrinking_waits_for_no_frame_lock(void **state)
{
    kl_pfn one;

    (void)state;
    open_all(KL_POOL_CACHED);
    for (int way = 0; way < 2; way++) {
        struct kl_zone_stats s = {.size = sizeof(s)};

        assert_int_equal(kl_pool_prefill(pool, 0, N), 0);
        one = idle_at(0, 3);
        assert_true(kl_frame_trylock(f.zone, pool->idle, one));
        if (way == 0)
            assert_int_equal(kl_pool_trim(pool, 0), N);
        else
            assert_true(kl_zone_shrink(f.zone, N << ORDER, KL_SYNC) >= (N - 1) << ORDER);
        assert_int_equal(pool_stats(pool).zeroed, 0);
        kl_zone_get_stats(f.zone, &s);
        assert_int_equal(s.used_frames, 1 << ORDER);
        kl_frame_unlock(f.zone, one);
        kl_zone_get_stats(f.zone, &s);
        assert_int_equal(s.used_frames, 0);
    }
    close_all();
}

/* ---- in the middle of a migration ---------------------------------------- */

static kl_pfn got[64];
static unsigned n_got, bad;

static void take_all(void)
{
    while (n_got < 64 && kl_pool_alloc(pool, KL_NOWAIT, &got[n_got]) == 0) {
        bad += !unit_is_zero(f.zone, got[n_got], ORDER);
        unit_fill(f.zone, got[n_got++], ORDER);
        if (pool_stats(pool).zeroed + pool_stats(pool).dirty == 0)
            break;
    }
}

static void trim_all(void)
{
    kl_pool_trim(pool, 0);
}

static void work_all(void)
{
    kli_pool_work(pool, UINT32_MAX);
}

static void fill_up(void)
{
    (void)kl_pool_prefill(pool, KL_NOWAIT, 2 * N);
}

static void take_and_give(void)
{
    take_all();
    while (n_got > 0)
        bad += kl_pool_free(pool, got[--n_got]) != 0;
}

static void at_each_point(void (*act)(void), enum kl_mode mode)
{
    kl_pfn pfn[N];
    unsigned begun = 0;

    for (unsigned point = 0; point < KLI_TRACE_COUNT; point++) {
        for (unsigned nth = 1; nth <= 2; nth++) {
            int err;

            n_got = bad = 0;
            open_all(KL_POOL_CACHED);
            assert_int_equal(kl_pool_prefill(pool, 0, 2 * N), 0);
            units_get(f.zone, pool, ORDER, pfn, N);
            units_put(pool, pfn, N);
            zone_fill(f.zone);
            meanwhile(point, nth, act);
            err = empty_block(kl_frame_block(f.zone, pfn[0]), mode);
            begun += meanwhile_end();
            assert_true(err == 0 || err == -KL_EBUSY || err == -KL_ENOMEM);
            assert_int_equal(bad, 0);
            assert_pool_ok(pool);
            assert_zone_ok(f.zone);
            for (unsigned i = 0; i < n_got; i++) { /* nobody has moved or touched it */
                assert_int_equal(unit_secrets(f.zone, got[i], ORDER), 4096u << ORDER);
                assert_int_equal(kl_pool_free(pool, got[i]), 0);
            }
            units_get(f.zone, pool, ORDER, pfn, N);
            units_put(pool, pfn, N);
            close_all();
        }
    }
    assert_true(begun > 30);
}

static void nobody_gets_one_in_flight(void **state)
{
    static void (*const acts[])(void) = {take_all, trim_all, work_all, fill_up, take_and_give};

    (void)state;
    if (!KL_DEBUG)
        skip();
    fixture_host = meanwhile_host;
    for (unsigned a = 0; a < sizeof(acts) / sizeof(acts[0]); a++) {
        for (unsigned mode = KL_ASYNC; mode <= KL_SYNC; mode += 2)
            at_each_point(acts[a], (enum kl_mode)mode);
    }
    fixture_host = NULL;
}

static struct kl_pool *second;

/* Whatever is idle in the first pool comes to lie idle in another one of the same owner. */
static void change_pools(void)
{
    for (unsigned i = 0; i < N; i++) {
        if (kl_pool_alloc(pool, KL_NOWAIT, &got[i]) == 0)
            bad += kl_pool_free(second, got[i]) != 0;
    }
}

/* A run looks at a unit of one pool, and chooses a destination for its owner; when it has the
 * lock, the unit is another pool's. */
static void a_unit_that_changed_pools_is_let_be(void **state)
{
    static const unsigned points[] = {KLI_T_isolate_got, KLI_T_isolate_target};
    kl_pfn pfn[N];

    (void)state;
    if (!KL_DEBUG)
        skip();
    fixture_host = meanwhile_host;
    for (unsigned p = 0; p < 2; p++) {
        struct kl_pool_config config = {.size = sizeof(config), .order = ORDER, .limit = N};

        bad = 0;
        open_all(KL_POOL_CACHED);
        assert_int_equal(kl_pool_destroy(pool), 0);
        config.owner = taker;
        assert_int_equal(kl_pool_create(f.zone, &config, &pool), 0);
        assert_int_equal(kl_pool_create(f.zone, &config, &second), 0);
        units_get(f.zone, pool, ORDER, pfn, N);
        units_put(pool, pfn, N);
        meanwhile(points[p], 1, change_pools);
        assert_int_equal(empty_block(kl_frame_block(f.zone, pfn[0]), KL_SYNC), 0);
        assert_true(meanwhile_end());
        assert_int_equal(bad, 0);
        assert_int_equal(pool_stats(pool).dirty, 0);
        assert_int_equal(pool_stats(second).dirty, N);
        assert_int_equal(pool_stats(second).moved, N); /* a round later */
        assert_pool_ok(second);
        assert_int_equal(kl_pool_destroy(second), 0);
        close_all();
    }
    fixture_host = NULL;
}

static kl_block home;

static void emptied(void)
{
    (void)empty_block(home, KL_SYNC);
}

/* The other way round: a migration in the middle of what the pool does. */
static void a_migration_in_the_middle(void **state)
{
    static void (*const acts[])(void) = {take_all, trim_all, work_all, fill_up, take_and_give};
    kl_pfn pfn[N];

    (void)state;
    if (!KL_DEBUG)
        skip();
    fixture_host = meanwhile_host;
    for (unsigned a = 0; a < sizeof(acts) / sizeof(acts[0]); a++) {
        unsigned begun = 0;

        for (unsigned point = 0; point <= MEANWHILE_CPU; point++) {
            n_got = bad = 0;
            open_all(KL_POOL_CACHED);
            assert_int_equal(kl_pool_prefill(pool, 0, 2 * N), 0);
            units_get(f.zone, pool, ORDER, pfn, N);
            units_put(pool, pfn, N);
            home = kl_frame_block(f.zone, pfn[0]);
            meanwhile(point, 1, emptied);
            acts[a]();
            begun += meanwhile_end();
            assert_int_equal(bad, 0);
            for (unsigned i = 0; i < n_got; i++) {
                assert_int_equal(unit_secrets(f.zone, got[i], ORDER), 4096u << ORDER);
                assert_int_equal(kl_pool_free(pool, got[i]), 0);
            }
            close_all();
        }
        assert_true(begun > 0);
    }
    fixture_host = NULL;
}

static void destroy_pool(void)
{
    assert_int_equal(kl_pool_destroy(pool), 0);
}

/* One that its user has freed, when there was no slot for it, is there until whoever looks at
 * it has done so: destroy waits for that, and takes it for nobody's. */
static void destroy_waits_for_who_looks(void **state)
{
    kl_pfn unit[N + 1];
    uint32_t nr;

    (void)state;
    if (!KL_DEBUG)
        skip();
    fixture_host = meanwhile_host;
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    pool = unit_pool(f.zone, ORDER, KL_POOL_CACHED, N);
    for (unsigned i = 0; i <= N; i++)
        assert_int_equal(kl_pool_alloc(pool, 0, &unit[i]), 0);
    nr = kl_pfn_nr(unit[N]);
    assert_true(kli_apply(&f.zone->frame[nr].state, kli_f_get, 0, NULL));
    for (unsigned i = 0; i <= N; i++)
        assert_int_equal(kl_pool_free(pool, unit[i]), 0);
    assert_true(kli_state(f.zone, nr) & KLI_F_DYING);
    meanwhile(MEANWHILE_NEVER, 1, destroy_pool);
    meanwhile_now();
    assert_false(meanwhile_over());
    assert_true(kli_settle(f.zone, nr, kli_f_put, 0));
    assert_true(meanwhile_end());
    assert_true(meanwhile_over());
    fixture_close(&f);
    fixture_host = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_copied),
        cmocka_unit_test(a_zeroed_one_that_moved_is_dirty),
        cmocka_unit_test(uncached_ones_stay),
        cmocka_unit_test(one_astray_is_handed_out_last),
        cmocka_unit_test(a_move_files_by_the_destination),
        cmocka_unit_test(isolate_and_putback_are_symmetric),
        cmocka_unit_test(isolate_believes_no_stale_word),
        cmocka_unit_test(a_migration_that_fails_loses_nothing),
        cmocka_unit_test(shrinking_waits_for_no_frame_lock),
        cmocka_unit_test(nobody_gets_one_in_flight),
        cmocka_unit_test(a_unit_that_changed_pools_is_let_be),
        cmocka_unit_test(a_migration_in_the_middle),
        cmocka_unit_test(destroy_waits_for_who_looks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
