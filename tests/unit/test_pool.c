// SPDX-License-Identifier: Apache-2.0
/* Page pools: what goes in and out, limits, marks, kinds, low and high, the end. */
#include "frame/zone.h"
#include "support/units.h"

#include <string.h>

enum { N = 40 };

static int create(struct kl_zone *zone, struct kl_pool_config config, struct kl_pool **pool)
{
    config.size = sizeof(config);
    return kl_pool_create(zone, &config, pool);
}

static void a_config_is_looked_at(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    const struct kl_pool_config wrong[] = {
        {.size = 1},
        {.order = 7},
        {.kind = (enum kl_pool_kind)2},
        {.owner = {99}},
        {.low = 2, .high = 1},
        {.low = 2, .high = 9, .limit = 8},
        {.low_below = 63},
        {.low_below = 16 * 64 + 1},
        {.limit = 16 * 64 + 1},
    };

    (void)state;
    fixture_open(&f, 16, 6, 0);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct kl_pool_config config = wrong[i];

        config.size = config.size ? config.size : sizeof(config);
        assert_int_equal(kl_pool_create(f.zone, &config, &pool), -KL_EINVAL);
    }
    assert_int_equal(kl_pool_create(f.zone, NULL, &pool), -KL_EINVAL);
    assert_int_equal(create(f.zone, (struct kl_pool_config){0}, NULL), -KL_EINVAL);
    assert_int_equal(create(f.zone, (struct kl_pool_config){0}, &pool), 0);
    assert_int_equal(pool_stats(pool).limit, 64);
    assert_int_equal(kl_pool_alloc(pool, 0, NULL), -KL_EINVAL);
    assert_int_equal(kl_pool_destroy(pool), 0);
    assert_int_equal(kl_pool_destroy(NULL), 0);
    fixture_close(&f);
}

static void hits_misses_and_refills_are_counted(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    struct kl_pool_stats s;
    kl_pfn pfn[8];

    (void)state;
    fixture_open(&f, 16, 6, 0);
    pool = unit_pool(f.zone, 2, KL_POOL_CACHED, 16);
    units_get(f.zone, pool, 2, pfn, 4);
    s = pool_stats(pool);
    assert_int_equal(s.unit_frames, 4);
    assert_int_equal(s.misses, 4);
    assert_int_equal(s.hits + s.hot + s.failed, 0);
    units_put(pool, pfn, 4);
    s = pool_stats(pool);
    assert_int_equal(s.returned, 4);
    assert_int_equal(s.dirty, 4);
    units_get(f.zone, pool, 2, pfn, 1);
    assert_int_equal(pool_stats(pool).hot, 1);
    units_work(f.zone);
    s = pool_stats(pool);
    assert_int_equal(s.zeroed, 3);
    assert_int_equal(s.dirty, 0);
    assert_int_equal(s.zeroed_idle, 3);
    assert_pool_ok(pool);
    units_get(f.zone, pool, 2, pfn + 1, 4);
    s = pool_stats(pool);
    assert_int_equal(s.hits, 3);
    assert_int_equal(s.misses, 5);
    units_put(pool, pfn, 5);
    assert_int_equal(kl_pool_prefill(pool, 0, 8), 0);
    s = pool_stats(pool);
    assert_int_equal(s.zeroed, 8);
    assert_int_equal(s.dirty, 0);
    assert_int_equal(s.refilled, 3);
    assert_int_equal(kl_pool_prefill(pool, 0, 17), -KL_ENOSPC);
    assert_int_equal(kl_pool_trim(pool, 5), 3);
    assert_int_equal(kl_pool_trim(pool, 5), 0);
    s = pool_stats(pool);
    assert_int_equal(s.zeroed, 5);
    assert_int_equal(s.trimmed, 3);
    assert_pool_ok(pool);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* Nothing is ever zeroed on the way while a zeroed one is there. */
static void a_zeroed_one_goes_first(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    kl_pfn pfn[8], dirty[4];

    (void)state;
    fixture_open(&f, 16, 6, 0);
    pool = unit_pool(f.zone, 0, KL_POOL_CACHED, 0);
    units_get(f.zone, pool, 0, dirty, 4);
    assert_int_equal(kl_pool_prefill(pool, 0, 8), 0);
    units_put(pool, dirty, 4);
    units_get(f.zone, pool, 0, pfn, 8);
    assert_int_equal(pool_stats(pool).hits, 8);
    assert_int_equal(pool_stats(pool).hot, 0);
    assert_int_equal(pool_stats(pool).dirty, 4);
    units_put(pool, pfn, 8);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

static void a_free_is_looked_at(void **state)
{
    for (unsigned kind = KL_POOL_CACHED; kind <= KL_POOL_UNCACHED; kind++) {
        for (uint32_t limit = 1; limit <= 2; limit++) {
            struct fixture f;
            struct kl_pool *pool, *other;
            kl_pfn a, b, c, wrong_order, foreign;

            (void)state;
            fixture_open(&f, 16, 6, 0);
            pool = unit_pool(f.zone, 1, (enum kl_pool_kind)kind, limit);
            other = unit_pool(f.zone, 1, KL_POOL_CACHED, 0);
            assert_int_equal(kl_pool_alloc(other, 0, &foreign), 0);
            assert_int_equal(kl_frame_alloc(f.zone, 2, kl_pool_owner(pool), 0, &wrong_order), 0);
            assert_int_equal(kl_pool_alloc(pool, 0, &a), 0);
            assert_int_equal(kl_pool_alloc(pool, 0, &b), 0);
            assert_int_equal(kl_pool_alloc(pool, 0, &c), 0);
            for (int full = 0; full <= 1; full++) {
                struct kl_pool_stats before = pool_stats(pool);

                assert_int_equal(kl_pool_free(pool, foreign), -KL_EINVAL);
                assert_int_equal(kl_pool_free(pool, wrong_order), -KL_EINVAL);
                assert_int_equal(kl_pool_free(pool, (kl_pfn){a.v + 1}), -KL_EINVAL);
                assert_int_equal(kl_pool_free(pool, (kl_pfn){0}), -KL_EINVAL);
                assert_int_equal(kl_pool_free(pool, (kl_pfn){1}), -KL_EINVAL);
                assert_memory_equal(&before, &(struct kl_pool_stats){0}, 0);
                assert_int_equal(pool_stats(pool).dirty, before.dirty);
                if (full == 0) {
                    assert_int_equal(kl_frame_pin(f.zone, kl_pool_owner(pool), a), 0);
                    assert_int_equal(kl_pool_free(pool, a), -KL_EBUSY);
                    assert_int_equal(kl_frame_unpin(f.zone, kl_pool_owner(pool), a), 0);
                    assert_int_equal(kl_pool_free(pool, a), 0);
                    assert_int_equal(kl_pool_free(pool, a), -KL_EINVAL); /* twice */
                    assert_int_equal(kl_frame_free(f.zone, kl_pool_owner(pool), a), -KL_EINVAL);
                    assert_int_equal(kl_pool_free(pool, b), 0);
                }
            }
            assert_int_equal(pool_stats(pool).beyond, limit == 1 ? 1 : 0);
            assert_int_equal(kl_pool_free(pool, b), -KL_EINVAL);
            assert_int_equal(kl_pool_free(pool, c), 0);
            assert_int_equal(pool_stats(pool).dirty, limit);
            assert_int_equal(kl_frame_free(f.zone, kl_pool_owner(pool), wrong_order), 0);
            assert_int_equal(kl_pool_free(other, foreign), 0);
            assert_pool_ok(pool);
            assert_int_equal(kl_pool_destroy(other), 0);
            assert_int_equal(kl_pool_destroy(pool), 0);
            fixture_close(&f);
        }
    }
}

static uint32_t kinds(struct kl_zone *zone, enum kl_frame_kind kind)
{
    uint8_t map[1024];
    uint32_t n = 0;

    assert_int_equal(kl_zone_map(zone, 0, kl_zone_frames(zone), map), 0);
    for (uint32_t i = 0; i < kl_zone_frames(zone); i++)
        n += map[i] == (uint8_t)kind;
    return n;
}

/* The posted patch stored a flag as value 1 and tested it as bit 1: so look at what each
 * of the kinds, and each of the flags, brings about. */
static void each_kind_and_flag_means_what_it_says(void **state)
{
    static const unsigned flags[] = {0, KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK, KL_NO_MOVE};

    (void)state;
    for (unsigned kind = KL_POOL_CACHED; kind <= KL_POOL_UNCACHED; kind++) {
        struct fixture f;
        struct kl_pool *pool;
        kl_pfn pfn[N], one;

        fixture_open(&f, 16, 6, KL_ZONE_POPULATE);
        pool = unit_pool(f.zone, 0, (enum kl_pool_kind)kind, 0);
        units_get(f.zone, pool, 0, pfn, N);
        assert_int_equal(kinds(f.zone, KL_FRAME_UNMOVABLE), N);
        units_put(pool, pfn, N);
        assert_int_equal(kinds(f.zone, KL_FRAME_MOVABLE), kind == KL_POOL_CACHED ? N : 0);
        assert_int_equal(kinds(f.zone, KL_FRAME_UNMOVABLE), kind == KL_POOL_CACHED ? 0 : N);
        assert_pool_ok(pool);
        for (unsigned i = 0; i < 5; i++) {
            assert_int_equal(kl_pool_alloc(pool, flags[i], &one), 0);
            assert_int_equal(kl_pool_free(pool, one), 0);
        }
        assert_int_equal(kl_pool_alloc(pool, KL_MOVABLE, &one), -KL_EINVAL);
        assert_int_equal(kl_pool_alloc(pool, KL_ZERO, &one), -KL_EINVAL);
        assert_int_equal(kl_pool_alloc(pool, KL_POOL_LOW, &one), -KL_EINVAL); /* no low ones */
        assert_int_equal(kl_pool_alloc(pool, 1u << 17, &one), -KL_EINVAL);
        assert_int_equal(kl_pool_prefill(pool, KL_POOL_LOW, 1), -KL_EINVAL);
        assert_int_equal(kl_pool_destroy(pool), 0);
        fixture_close(&f);
    }
}

/* KL_ATOMIC gets no memory from the system, KL_POOL_LOW nothing that is high. */
static void flags_reach_the_zone(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    pool = unit_pool(f.zone, 0, KL_POOL_CACHED, 0);
    assert_int_equal(kl_pool_alloc(pool, KL_ATOMIC, &pfn), -KL_ENOMEM);
    assert_int_equal(pool_stats(pool).failed, 1);
    assert_int_equal(kl_pool_alloc(pool, KL_NOWAIT, &pfn), 0);
    assert_int_equal(kl_pool_free(pool, pfn), 0);
    assert_int_equal(kl_pool_alloc(pool, KL_ATOMIC, &pfn), 0); /* an idle one needs none */
    assert_int_equal(kl_pool_free(pool, pfn), 0);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* Units lie in blocks for unmovable frames, idle or not: they spoil none. */
static void units_lie_where_they_spoil_nothing(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    struct kl_block_info info;
    kl_owner_id owner;
    kl_pfn pfn[N], mine;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 1, owner, 0, &mine), 0);
    pool = unit_pool(f.zone, 1, KL_POOL_CACHED, 0);
    assert_int_equal(kl_pool_prefill(pool, 0, N / 2), 0);
    units_get(f.zone, pool, 1, pfn, N / 2);
    for (unsigned i = 0; i < N / 2; i++)
        assert_int_equal(kl_frame_block(f.zone, pfn[i]).v, kl_frame_block(f.zone, mine).v);
    assert_int_equal(kl_zone_block_info(f.zone, kl_frame_block(f.zone, mine), &info), 0);
    assert_int_equal(info.stuck, N + 2);
    units_put(pool, pfn, N / 2);
    assert_int_equal(kl_zone_block_info(f.zone, kl_frame_block(f.zone, mine), &info), 0);
    assert_int_equal(info.stuck, 2); /* idle units are in nobody's way */
    assert_int_equal(pool_stats(pool).astray, 0);
    assert_int_equal(pool_stats(pool).lent_astray, 0);
    assert_int_equal(kl_frame_free(f.zone, owner, mine), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

static void low_ones_are_low(void **state)
{
    enum { LOW = 4 * 64 + 3 }; /* not at a unit's edge */
    struct fixture f;
    struct kl_pool *pool;
    kl_pfn pfn[600], low;
    unsigned n = 0;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(
        create(f.zone, (struct kl_pool_config){.order = 2, .low_below = LOW, .limit = 256}, &pool),
        0);
    assert_int_equal(kl_pool_prefill(pool, KL_POOL_LOW, 5), 0);
    assert_int_equal(pool_stats(pool).low, 5);
    assert_int_equal(kl_pool_alloc(pool, KL_POOL_LOW, &low), 0);
    assert_int_equal(pool_stats(pool).hits, 1);
    assert_int_equal(kl_pool_free(pool, low), 0);
    while (kl_pool_alloc(pool, KL_POOL_LOW | KL_NO_SHRINK, &pfn[n]) == 0) {
        assert_true(kl_pfn_nr(pfn[n]) + 4 <= LOW);
        assert_true(unit_is_zero(f.zone, pfn[n], 2));
        unit_fill(f.zone, pfn[n++], 2);
    }
    assert_int_equal(n, 64);
    while (kl_pool_alloc(pool, 0, &pfn[n]) == 0)
        assert_true(kl_pfn_nr(pfn[n++]) >= 4 * 64);
    assert_int_equal(n, 256);
    units_put(pool, pfn, n);
    assert_int_equal(pool_stats(pool).low, 64);
    for (n = 0; n < 192; n++) { /* high ones first */
        assert_int_equal(kl_pool_alloc(pool, 0, &pfn[n]), 0);
        assert_true(kl_pfn_nr(pfn[n]) >= 4 * 64);
    }
    assert_int_equal(kl_pool_alloc(pool, 0, &pfn[n++]), 0);
    assert_int_equal(pool_stats(pool).low, 63);
    units_put(pool, pfn, n);
    assert_pool_ok(pool);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

static void marks_refill(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    struct kl_zone_limits limits = {.size = sizeof(limits)};
    kl_pfn pfn[16];

    (void)state;
    fixture_host = fixture_no_time;
    fixture_open(&f, 16, 6, 0);
    fixture_host = NULL;
    assert_int_equal(
        create(f.zone, (struct kl_pool_config){.low = 8, .high = 12, .limit = 20}, &pool), 0);
    units_work(f.zone);
    assert_int_equal(pool_stats(pool).zeroed, 12);
    units_get(f.zone, pool, 0, pfn, 4);
    units_work(f.zone);
    assert_int_equal(pool_stats(pool).zeroed, 8); /* not below low */
    units_get(f.zone, pool, 0, pfn + 4, 1);
    units_work(f.zone);
    assert_int_equal(pool_stats(pool).zeroed, 12);
    assert_int_equal(pool_stats(pool).refilled, 17);
    assert_true(kl_zone_shrink(f.zone, 12, KL_SYNC) >= 0);
    assert_int_equal(pool_stats(pool).zeroed, 0);
    assert_int_equal(pool_stats(pool).shrunk, 12);
    units_work(f.zone);
    assert_int_equal(pool_stats(pool).zeroed, 0); /* not at once */
    units_put(pool, pfn, 5);
    assert_int_equal(kl_pool_destroy(pool), 0);

    limits.soft = 1; /* nor beyond the soft limit */
    assert_int_equal(kl_zone_set_limits(f.zone, &limits), 0);
    assert_int_equal(
        create(f.zone, (struct kl_pool_config){.low = 8, .high = 12, .limit = 20}, &pool), 0);
    units_work(f.zone);
    assert_int_equal(pool_stats(pool).zeroed, 0);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* A refill that the budget ends goes on where it was. */
static void a_refill_in_pieces_reaches_high(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    struct kl_step step = {.size = sizeof(step), .budget = 4, .flags = KL_STEP_WANTED};
    unsigned steps = 0;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(create(f.zone,
                            (struct kl_pool_config){.order = 1, .low = 2, .high = 12, .limit = 20},
                            &pool),
                     0);
    while (kl_zone_step(f.zone, &step, NULL) == -KL_EAGAIN && steps++ < 100)
        assert_int_equal(step.again_ns, 0);
    assert_int_equal(pool_stats(pool).zeroed, 12);
    assert_true(steps >= 6);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* When frames are short idle units go before an allocation fails, and are what they count. */
static void idle_units_go_under_pressure(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    kl_owner_id owner;
    kl_pfn pfn[1024];
    unsigned n = 0;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    pool = unit_pool(f.zone, 3, KL_POOL_CACHED, 64);
    assert_int_equal(kl_pool_prefill(pool, 0, 64), 0);
    while (kl_frame_alloc(f.zone, 0, owner, 0, &pfn[n]) == 0)
        n++;
    assert_int_equal(n, 1024);
    assert_int_equal(pool_stats(pool).zeroed, 0);
    assert_int_equal(pool_stats(pool).shrunk, 64);
    assert_int_equal(kl_pool_alloc(pool, KL_NOWAIT, pfn), -KL_ENOMEM);
    while (n > 0)
        assert_int_equal(kl_frame_free(f.zone, owner, kl_zone_pfn(f.zone, --n)), 0);
    assert_int_equal(kl_pool_prefill(pool, 0, 10), 0);
    assert_int_equal(kl_zone_shrink(f.zone, 20, KL_ASYNC), 24); /* whole units: 3 of 8 */
    assert_int_equal(pool_stats(pool).zeroed, 7);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* The units in use may have an owner of the user's: whose they stay. */
static void units_of_another_owner(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    const struct kl_owner_ops ops = {.size = sizeof(ops), .name = "user", .below = 8 * 64};
    struct kl_owner_stats s = {.size = sizeof(s)};
    kl_owner_id owner;
    kl_pfn pfn[3];

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &owner), 0);
    assert_int_equal(create(f.zone, (struct kl_pool_config){.order = 1, .owner = owner}, &pool), 0);
    assert_int_equal(kl_pool_owner(pool).v, owner.v);
    assert_int_equal(kl_pool_prefill(pool, 0, 8), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kl_pool_alloc(pool, 0, &pfn[i]), 0);
        assert_true(kl_pfn_nr(pfn[i]) < 8 * 64);
    }
    assert_int_equal(kl_owner_get_stats(f.zone, owner, &s), 0);
    assert_int_equal(s.frames, 6);
    assert_int_equal(kl_frame_free(f.zone, owner, pfn[0]), 0); /* by himself */
    assert_int_equal(kl_pool_free(pool, pfn[0]), -KL_EINVAL);
    assert_int_equal(kl_pool_destroy(pool), 0);
    for (unsigned i = 1; i < 3; i++) {
        assert_true(unit_is_zero(f.zone, pfn[i], 1));
        assert_int_equal(kl_frame_free(f.zone, owner, pfn[i]), 0);
    }
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    fixture_close(&f);
}

/* The posted patch: destroy did not drain. */
static void destroy_drains(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    struct kl_zone_stats s = {.size = sizeof(s)};
    kl_pfn pfn[N];

    (void)state;
    fixture_open(&f, 16, 6, 0);
    pool = unit_pool(f.zone, 1, KL_POOL_CACHED, 0);
    units_get(f.zone, pool, 1, pfn, 8);
    units_put(pool, pfn, 7);
    assert_int_equal(kl_pool_destroy(pool), -KL_EBUSY); /* one is in use */
    assert_int_equal(pool_stats(pool).dirty, 7);
    assert_pool_ok(pool);
    units_work(f.zone); /* and it is whole */
    assert_int_equal(pool_stats(pool).zeroed, 7);
    units_put(pool, pfn + 7, 1);
    assert_int_equal(kl_pool_destroy(pool), 0);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.used_frames, 0);
    fixture_close(&f); /* no owner, no shrinker is left: the zone could not be destroyed */
}

/* Each thing that creating needs is refused once; what is left is nothing. */
static void creation_is_undone(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    kl_owner_id owner[256];
    unsigned n = 0;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    for (int nth = 1; nth <= 3; nth++) { /* the pool, the table of shrinkers, none */
        struct kl_zone_stats s = {.size = sizeof(s)};
        int err;

        fault_set(FAULT_META, nth);
        err = create(f.zone, (struct kl_pool_config){.low_below = 64}, &pool);
        fault_set(FAULT_META, 0);
        assert_int_equal(err, nth < 3 ? -KL_ENOMEM : 0);
        assert_zone_ok(f.zone);
        kl_zone_get_stats(f.zone, &s);
        assert_int_equal(s.used_frames, 0);
    }
    assert_int_equal(kl_pool_destroy(pool), 0);
    while (kl_owner_register(f.zone, NULL, NULL, &owner[n]) == 0)
        n++;
    for (unsigned have = 0; have <= 3; have++) { /* it needs three owners */
        int err = create(f.zone, (struct kl_pool_config){.low_below = 64}, &pool);

        assert_int_equal(err, have < 3 ? -KL_ENOSPC : 0);
        if (have < 3)
            assert_int_equal(kl_owner_unregister(f.zone, owner[--n]), 0);
    }
    assert_int_equal(kl_pool_destroy(pool), 0);
    while (n > 0)
        assert_int_equal(kl_owner_unregister(f.zone, owner[--n]), 0);
    fixture_close(&f);
}

static uint64_t no_count(void *ctx, const struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 0;
}

static uint64_t no_scan(void *ctx, struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 0;
}

/* The posted patch forgot the registration it had just made: then nothing is ever moved
 * or given back.  A pool that could not register is none. */
static void the_registration_is_kept(void **state)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "x", .count = no_count, .scan = no_scan};
    struct fixture f;
    struct kl_pool *pool;
    kl_shrinker_id id[64];
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    fixture_open(&f, 16, 6, 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(kl_shrinker_register(f.zone, &ops, NULL, &id[i]), 0);
    assert_int_equal(create(f.zone, (struct kl_pool_config){0}, &pool), -KL_ENOSPC);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(kl_shrinker_unregister(f.zone, id[i]), 0);
    pool = unit_pool(f.zone, 0, KL_POOL_CACHED, 0);
    assert_int_equal(kl_pool_prefill(pool, 0, 20), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 15, KL_SYNC, &r), 0);
    assert_int_equal(kl_zone_lend(f.zone, 15), 0);
    assert_int_equal(kl_zone_shrink(f.zone, 20, KL_SYNC), 20);
    assert_int_equal(pool_stats(pool).shrunk, 20);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* What fails is said: the zone that has nothing, memory that does not come. */
static void errors_are_not_ignored(void **state)
{
    struct fixture f;
    struct kl_pool *pool;
    struct kl_pool_stats s;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 1, 6, 0);
    pool = unit_pool(f.zone, 4, KL_POOL_CACHED, 4);
    for (int i = 0; i < 2; i++) {
        fault_set(FAULT_POPULATE, 1);
        assert_int_equal(i ? kl_pool_alloc(pool, KL_NOWAIT, &pfn)
                           : kl_pool_prefill(pool, KL_NOWAIT, 2),
                         -KL_ENOMEM);
        fault_set(FAULT_POPULATE, 0);
        assert_pool_ok(pool);
        assert_zone_ok(f.zone);
    }
    s = pool_stats(pool);
    assert_int_equal(s.zeroed + s.dirty, 0);
    assert_int_equal(s.failed, 1);
    assert_int_equal(kl_pool_prefill(pool, 0, 4), 0);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

/* F6: which words may be handed over, and what becomes of the rest of the word. */
static void a_hand_over_is_an_edge(void **state)
{
    const uint64_t kind = KLI_F_KIND | KLI_F_MOVABLE, idle = kli_f_make(3, 7, kind);
    const uint64_t used = kli_f_make(3, 9, 0), ref = KLI_F_REF;
    const uint64_t lend = kli_f_pass(3, 7, true, 9, false), rest = kli_f_pass(3, 9, false, 7, true);
    const uint64_t bad_idle[] = {
        0,
        idle | KLI_F_LOCKED,
        idle | KLI_F_ISOLATED,
        idle | KLI_F_DYING,
        idle + KLI_F_PIN,
        idle + KLI_F_OBJECT_PIN,
        idle & ~KLI_F_MOVABLE,
        kli_f_make(3, 8, kind),
        kli_f_make(2, 7, kind),
        used,
    };
    const uint64_t bad_used[] = {
        0,
        used | KLI_F_DYING,
        used + KLI_F_PIN,
        used + KLI_F_OBJECT_PIN,
        kli_f_make(3, 8, 0),
        kli_f_make(4, 9, 0),
        kli_f_make(3, 9, kind),
        idle,
    };

    (void)state;
    assert_true(kli_f_hand(idle, lend).ok);
    assert_int_equal(kli_f_hand(idle, lend).next, used);
    assert_int_equal(kli_f_hand(idle + ref, lend).next, used + ref); /* somebody looks at it */
    assert_int_equal(kli_f_hand(used, rest).next, idle);
    assert_int_equal(kli_f_hand(used + ref, rest).next, idle + ref);
    assert_int_equal(kli_f_hand(used | KLI_F_LOCKED, rest).next, idle | KLI_F_LOCKED);
    assert_int_equal(kli_f_hand(used, kli_f_pass(3, 9, false, 2, false)).next, kli_f_make(3, 2, 0));
    for (unsigned i = 0; i < sizeof(bad_idle) / sizeof(bad_idle[0]); i++)
        assert_false(kli_f_hand(bad_idle[i], lend).ok);
    for (unsigned i = 0; i < sizeof(bad_used) / sizeof(bad_used[0]); i++)
        assert_false(kli_f_hand(bad_used[i], rest).ok);
}

static unsigned failures;

static bool went(int err)
{
    if (err < 0 && err != -KL_ENOMEM && err != -KL_EBUSY && err != -KL_EIO)
        fail_msg("a failure that was injected became %s", kl_err_name(err));
    failures += err < 0;
    return err >= 0;
}

/* Fill, use, move, shrink, give back, with whatever fails in the middle. */
static void one_scene(struct fixture *f)
{
    struct kl_pool *pool;
    kl_pfn pfn[N];
    unsigned n = 0;

    if (!went(create(f->zone, (struct kl_pool_config){.order = 1, .low_below = 128, .limit = N},
                     &pool)))
        return;
    went(kl_pool_prefill(pool, 0, N / 2));
    went(kl_pool_prefill(pool, KL_POOL_LOW, 4));
    while (n < N && went(kl_pool_alloc(pool, 0, &pfn[n]))) {
        assert_true(unit_is_zero(f->zone, pfn[n], 1));
        unit_fill(f->zone, pfn[n++], 1);
    }
    units_put(pool, pfn, n);
    assert_pool_ok(pool);
    assert_zone_ok(f->zone);
    went(kl_zone_compact(f->zone, KL_SYNC, 0, NULL));
    if (went(kl_zone_give_back(f->zone, 12, KL_SYNC, NULL)))
        assert_int_equal(kl_zone_lend(f->zone, 12), 0);
    units_work(f->zone);
    assert_pool_ok(pool);
    assert_zone_ok(f->zone);
    kl_pool_trim(pool, 3);
    assert_pool_ok(pool);
    assert_int_equal(kl_pool_destroy(pool), 0);
}

/* What idle units are counted for is no reason to refuse a free. */
static void a_free_beyond_a_share_goes_to_the_zone(void **state)
{
    const struct kl_share share = {.size = sizeof(share), .hard = 1};
    struct fixture f;
    struct kl_pool *pool;
    kl_owner_id idle;
    kl_pfn pfn[2];

    (void)state;
    fixture_open(&f, 4, 6, 0);
    pool = unit_pool(f.zone, 0, KL_POOL_CACHED, 10);
    units_get(f.zone, pool, 0, pfn, 2);
    assert_int_equal(kl_pool_free(pool, pfn[0]), 0);
    idle.v = (uint16_t)kli_f_owner(kli_state(f.zone, kl_pfn_nr(pfn[0])));
    assert_int_equal(kl_owner_set_share(f.zone, idle, &share), 0);
    assert_int_equal(kl_pool_free(pool, pfn[1]), 0);
    assert_int_equal(pool_stats(pool).dirty, 1);
    assert_int_equal(pool_stats(pool).beyond, 1);
    assert_pool_ok(pool);
    assert_int_equal(kl_pool_destroy(pool), 0);
    fixture_close(&f);
}

static void every_failure_once(void **state)
{
    (void)state;
    for (unsigned fault = 0; fault < FAULTS; fault++) {
        for (int nth = 1; nth <= 12; nth++) {
            struct fixture f;

            fixture_open(&f, 16, 6, 0);
            fault_set((enum fault)fault, nth);
            one_scene(&f);
            fault_set((enum fault)fault, 0);
            one_scene(&f); /* and it goes when nothing fails */
            fixture_close(&f);
        }
    }
    assert_true(failures >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_beyond_a_share_goes_to_the_zone),
        cmocka_unit_test(a_config_is_looked_at),
        cmocka_unit_test(hits_misses_and_refills_are_counted),
        cmocka_unit_test(a_zeroed_one_goes_first),
        cmocka_unit_test(a_free_is_looked_at),
        cmocka_unit_test(each_kind_and_flag_means_what_it_says),
        cmocka_unit_test(flags_reach_the_zone),
        cmocka_unit_test(units_lie_where_they_spoil_nothing),
        cmocka_unit_test(low_ones_are_low),
        cmocka_unit_test(marks_refill),
        cmocka_unit_test(a_refill_in_pieces_reaches_high),
        cmocka_unit_test(idle_units_go_under_pressure),
        cmocka_unit_test(units_of_another_owner),
        cmocka_unit_test(destroy_drains),
        cmocka_unit_test(creation_is_undone),
        cmocka_unit_test(the_registration_is_kept),
        cmocka_unit_test(errors_are_not_ignored),
        cmocka_unit_test(a_hand_over_is_an_edge),
        cmocka_unit_test(every_failure_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
