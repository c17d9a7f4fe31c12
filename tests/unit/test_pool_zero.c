// SPDX-License-Identifier: Apache-2.0
/* Nobody sees what another wrote: the whole zone and every unit are filled with secrets,
 * and every unit that a pool hands out is searched, whatever its memory went through. */
#include "pool/pool.h"
#include "support/units.h"

#include <string.h>

enum { BLOCKS = 8, BLOCK = 64, N = 12, ORDER = 2, BYTES = 4096 << ORDER };

static struct fixture f;
static struct kl_pool *pool;
static kl_owner_id other;
static kl_pfn pfn[2 * N];

static void open_all(enum kl_pool_kind kind)
{
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    zone_fill(f.zone);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &other), 0);
    pool = unit_pool(f.zone, ORDER, kind, 2 * N);
}

/* Idle: half of them zeroed, half dirty and full of secrets. */
static void make_idle(void)
{
    units_get(f.zone, pool, ORDER, pfn, N);
    units_put(pool, pfn, N);
    assert_int_equal(kl_pool_prefill(pool, 0, N / 2), 0);
    units_get(f.zone, pool, ORDER, pfn, N);
    units_put(pool, pfn, N / 2);
    units_work(f.zone);
    units_put(pool, pfn + N / 2, N / 2);
    assert_int_equal(pool_stats(pool).zeroed, N / 2);
    assert_int_equal(pool_stats(pool).dirty, N / 2);
}

/* All that is idle, and as many of the zone's. */
static void search_all(void)
{
    assert_pool_ok(pool);
    assert_zone_ok(f.zone);
    units_get(f.zone, pool, ORDER, pfn, 2 * N);
    units_put(pool, pfn, 2 * N);
    units_work(f.zone);
    assert_pool_ok(pool);
    units_get(f.zone, pool, ORDER, pfn, 2 * N);
    units_put(pool, pfn, 2 * N);
}

static void close_all(void)
{
    assert_pool_ok(pool);
    assert_int_equal(kl_pool_destroy(pool), 0);
    assert_int_equal(kl_owner_unregister(f.zone, other), 0);
    fixture_close(&f);
}

static void moved(void)
{
    struct kl_report r = {.size = sizeof(r)};

    for (unsigned b = 0; b < BLOCKS; b++) {
        kl_pfn first = kl_zone_pfn(f.zone, b * BLOCK);

        if (kl_contig_alloc_at(f.zone, other, first, BLOCK, KL_SYNC, &r) != 0)
            continue;
        memset(kl_frame_addr(f.zone, first), 0xa5, (size_t)BLOCK * 4096);
        assert_int_equal(kl_contig_free(f.zone, other, first, BLOCK), 0);
    }
}

static void trimmed(void)
{
    kl_pool_trim(pool, N / 3);
    zone_fill(f.zone);
    assert_int_equal(kl_pool_prefill(pool, 0, N), 0);
}

static void shrunk(void)
{
    assert_true(kl_zone_shrink(f.zone, (N / 2) << ORDER, KL_SYNC) >= 0);
    zone_fill(f.zone);
}

static void given_and_populated(void)
{
    assert_int_equal(kl_zone_give_back(f.zone, BLOCKS - 2, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_lend(f.zone, BLOCKS - 2), 0);
}

static void freed_by_the_user(void)
{
    kl_pfn mine[N];

    units_get(f.zone, pool, ORDER, mine, N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(kl_frame_free(f.zone, kl_pool_owner(pool), mine[i]), 0);
}

/* Not the pool's at first: got elsewhere, and given to it. */
static void donated(void)
{
    kl_pfn mine;

    assert_int_equal(kl_frame_alloc(f.zone, ORDER, kl_pool_owner(pool), 0, &mine), 0);
    unit_fill(f.zone, mine, ORDER);
    assert_int_equal(kl_pool_free(pool, mine), 0);
}

static void put_back(void)
{
    const struct kl_owner_ops *ops = &kli_owner(f.zone, pool->idle.v)->ops;
    kl_pfn held[2 * N];
    unsigned n = 0;

    for (uint32_t i = 0; i < pool->limit && pool->cached; i++) {
        kl_pfn one = kl_zone_pfn(f.zone, pool->slot[i].nr);

        if (pool->slot[i].list >= POOL_LISTS || !kl_frame_trylock(f.zone, pool->idle, one))
            continue;
        assert_true(ops->isolate(pool, one, KL_SYNC));
        held[n++] = one;
    }
    units_get(f.zone, pool, ORDER, pfn, 2); /* none of those */
    while (n > 0) {
        ops->putback(pool, held[--n]);
        kl_frame_unlock(f.zone, held[n]);
    }
    units_put(pool, pfn, 2);
}

static void nothing(void)
{
}

static void no_path_leaks(void **state)
{
    static void (*const paths[])(void) = {
        nothing, moved, trimmed, shrunk, given_and_populated, freed_by_the_user, donated, put_back,
    };
    enum { PATHS = sizeof(paths) / sizeof(paths[0]) };

    (void)state;
    for (unsigned kind = KL_POOL_CACHED; kind <= KL_POOL_UNCACHED; kind++) {
        for (unsigned one = 0; one < PATHS; one++) {
            for (unsigned next = 0; next < PATHS; next++) { /* and one after the other */
                open_all((enum kl_pool_kind)kind);
                make_idle();
                if (kind == KL_POOL_CACHED || paths[one] != given_and_populated)
                    paths[one]();
                if (kind == KL_POOL_CACHED || paths[next] != given_and_populated)
                    paths[next]();
                search_all();
                close_all();
            }
        }
    }
}

/* ---- zeroing that is cut short, or met ------------------------------------ */

static struct {
    int err;       /* what it says, after half of the unit */
    unsigned meet; /* how often something is done with the pool in the middle */
    unsigned calls;
    unsigned short_ones;
} z;

static int zero(void *ctx, kl_pfn unit, unsigned order)
{
    unsigned char *mem = kl_frame_addr(f.zone, unit);
    kl_pfn mine;

    (void)ctx;
    assert_int_equal(order, ORDER);
    z.calls++;
    memset(mem, 0, BYTES / 2);
    if (z.meet > 0) {
        unsigned left = z.meet - 1;

        z.meet = 0; /* not within itself */
        assert_int_equal(kl_pool_alloc(pool, 0, &mine), 0);
        assert_true(mine.v != unit.v);
        assert_true(unit_is_zero(f.zone, mine, ORDER));
        unit_fill(f.zone, mine, ORDER);
        assert_int_equal(kl_pool_free(pool, mine), 0);
        moved();
        kl_pool_trim(pool, 1);
        z.meet = left;
    }
    if (z.err) {
        z.short_ones++;
        return z.err;
    }
    memset(mem + BYTES / 2, 0, BYTES / 2);
    return 0;
}

static void open_with_zero(void)
{
    const struct kl_pool_config config = {
        .size = sizeof(config), .order = ORDER, .limit = 2 * N, .zero = zero};

    memset(&z, 0, sizeof(z));
    open_all(KL_POOL_CACHED);
    assert_int_equal(kl_pool_destroy(pool), 0);
    assert_int_equal(kl_pool_create(f.zone, &config, &pool), 0);
}

static void zeroing_cut_short_leaves_it_dirty(void **state)
{
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};
    struct kl_pool_stats s;
    kl_pfn one;

    (void)state;
    fixture_host = fixture_no_time;
    open_with_zero();
    fixture_host = NULL;
    make_idle();
    z.err = -KL_EIO;
    kl_pool_trim(pool, N / 2); /* the dirty ones are gone, the others are used up */
    units_get(f.zone, pool, ORDER, pfn, N / 2);
    units_put(pool, pfn, N / 2);
    assert_int_equal(kl_pool_alloc(pool, 0, &one), -KL_EIO);
    assert_int_equal(kl_pool_prefill(pool, 0, 1), -KL_EIO);
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), -KL_EAGAIN);
    assert_true(step.again_ns > 0); /* and it does not spin */
    s = pool_stats(pool);
    assert_int_equal(s.dirty, N / 2);
    assert_int_equal(s.zeroed, 0);
    assert_int_equal(s.zero_failed, z.short_ones);
    assert_int_equal(z.short_ones, 3);
    assert_pool_ok(pool);
    kl_pool_trim(pool, 0);
    assert_int_equal(kl_pool_alloc(pool, 0, &one), -KL_EIO); /* a fresh one */
    assert_zone_ok(f.zone);
    z.err = 0;
    search_all();
    close_all();
}

static void zeroing_that_is_met_is_whole(void **state)
{
    (void)state;
    open_with_zero();
    make_idle();
    units_get(f.zone, pool, ORDER, pfn, N);
    units_put(pool, pfn, N);
    z.meet = 3;
    units_work(f.zone);
    assert_int_equal(z.meet, 0);
    assert_int_equal(pool_stats(pool).zeroing, 0);
    search_all();
    close_all();
}

/* ---- no address ----------------------------------------------------------- */

static unsigned char device[BLOCKS * BLOCK * 4096];
static struct kl_zone *far_zone;

static int fill_by_device(void *ctx, kl_pfn unit, unsigned order)
{
    (void)ctx;
    memset(device + kl_frame_offset(far_zone, unit), 0, (size_t)4096 << order);
    return 0;
}

static void a_device_zeroes_where_there_is_no_address(void **state)
{
    struct kl_pool_config config = {.size = sizeof(config), .order = ORDER};
    struct kl_zone_config zone = {.size = sizeof(zone), .host = kl_linux_host()};
    struct kl_backing backing;
    struct kl_pool *p;
    kl_pfn unit[N];

    (void)state;
    assert_int_equal(kl_backing_offsets(&backing, sizeof(device), 12, 6), 0);
    zone.backing = &backing;
    assert_int_equal(kl_zone_create(&zone, &far_zone), 0);
    assert_int_equal(kl_pool_create(far_zone, &config, &p), -KL_EINVAL); /* nobody zeroes */
    config.zero = fill_by_device;
    assert_int_equal(kl_pool_create(far_zone, &config, &p), 0);
    memset(device, 0xa5, sizeof(device));
    for (int round = 0; round < 4; round++) {
        for (unsigned i = 0; i < N; i++) {
            unsigned char *mem;

            assert_int_equal(kl_pool_alloc(p, 0, &unit[i]), 0);
            mem = device + kl_frame_offset(far_zone, unit[i]);
            for (unsigned b = 0; b < BYTES; b++)
                assert_int_equal(mem[b], 0);
            memset(mem, 0xa5, BYTES);
        }
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(kl_pool_free(p, unit[i]), 0);
        if (round == 1)
            units_work(far_zone);
        if (round == 2) {
            units_work(far_zone);
            assert_int_equal(kl_zone_give_back(far_zone, BLOCKS - 1, KL_SYNC, NULL), 0);
            assert_int_equal(kl_zone_lend(far_zone, BLOCKS - 1), 0);
        }
    }
    assert_true(pool_stats(p).hits > 0);
    assert_pool_ok(p);
    assert_int_equal(kl_pool_destroy(p), 0);
    assert_zone_ok(far_zone);
    assert_int_equal(kl_zone_destroy(far_zone), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_path_leaks),
        cmocka_unit_test(zeroing_cut_short_leaves_it_dirty),
        cmocka_unit_test(zeroing_that_is_met_is_whole),
        cmocka_unit_test(a_device_zeroes_where_there_is_no_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
