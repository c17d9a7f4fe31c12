// SPDX-License-Identifier: Apache-2.0
/* Callers whose structs of figures are shorter or longer than the library's: no more is
 * written than both have, and the size says how much that was. */
#include "support/mover.h"

#include "klotski/inspect.h"
#include "klotski/step.h"
#include "klotski/store.h"
#include "klotski/zsmalloc.h"

#include <string.h>

enum { BYTES = 2048, OLD = 0x5a };

static struct mover m;
static struct fixture f;
static struct kl_zs *pool;
static struct kl_store *store;
static kl_shrinker_id shrinker;
static struct kl_linux_worker *worker;

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 0;
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return KL_SHRINK_STOP;
}

static void zs_stats(void *to)
{
    kl_zs_get_stats(pool, to);
}

static void page_pool_stats(void *to)
{
    const struct kl_pool_config config = {.size = sizeof(config)};
    struct kl_pool *units;

    assert_int_equal(kl_pool_create(f.zone, &config, &units), 0);
    kl_pool_get_stats(units, to);
    assert_int_equal(kl_pool_destroy(units), 0);
}

static void class_stats(void *to)
{
    assert_int_equal(kl_zs_get_class_stats(pool, 0, to), 0);
}

static void store_stats(void *to)
{
    kl_store_get_stats(store, to);
}

static void shrinker_stats(void *to)
{
    assert_int_equal(kl_shrinker_get_stats(f.zone, shrinker, to), 0);
}

static void zone_stats(void *to)
{
    kl_zone_get_stats(f.zone, to);
}

static void owner_stats(void *to)
{
    assert_int_equal(kl_owner_get_stats(f.zone, m.owner, to), 0);
}

static void worker_stats(void *to)
{
    kl_linux_worker_get_stats(worker, to);
}

static void contig(void *to)
{
    kl_pfn first;

    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 8, 8, KL_SYNC, &first, to), 0);
    assert_int_equal(kl_contig_free(f.zone, m.owner, first, 8), 0);
}

static void contig_too_large(void *to)
{
    kl_pfn first;

    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 513, 1, KL_SYNC, &first, to), -KL_EINVAL);
}

/* Its owner reaches less than that. */
static void contig_beyond(void *to)
{
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = "low", .below = 64};
    kl_owner_id low;
    kl_pfn first;

    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &low), 0);
    assert_int_equal(kl_contig_alloc(f.zone, low, 65, 1, KL_SYNC, &first, to), -KL_ENOMEM);
    assert_int_equal(kl_owner_unregister(f.zone, low), 0);
}

static void contig_at(void *to)
{
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, kl_zone_pfn(f.zone, 0), 0, KL_SYNC, to),
                     -KL_EINVAL);
}

static void compact(void *to)
{
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, to), 0);
}

static void give_back(void *to)
{
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, to), 0);
    assert_int_equal(kl_zone_lend(f.zone, 1), 0);
}

static void resize(void *to)
{
    assert_int_equal(kl_zone_resize(f.zone, 7, KL_SYNC, to), 0);
    assert_int_equal(kl_zone_resize(f.zone, 8, KL_SYNC, to), 0);
}

static void settle(void *to)
{
    assert_int_equal(kl_pin_settle(f.zone, m.owner, NULL, 0, (enum kl_mode)9, to), -KL_EINVAL);
}

static void step(void *to)
{
    struct kl_step step = {.size = sizeof(step)};

    (void)kl_zone_step(f.zone, &step, to);
}

static const struct getter {
    const char *name;
    void (*get)(void *to);
    size_t bytes; /* of the library's struct */
} getters[] = {
    {"zone", zone_stats, sizeof(struct kl_zone_stats)},
    {"owner", owner_stats, sizeof(struct kl_owner_stats)},
    {"pool", zs_stats, sizeof(struct kl_zs_stats)},
    {"page pool", page_pool_stats, sizeof(struct kl_pool_stats)},
    {"class", class_stats, sizeof(struct kl_zs_class_stats)},
    {"store", store_stats, sizeof(struct kl_store_stats)},
    {"shrinker", shrinker_stats, sizeof(struct kl_shrinker_stats)},
    {"worker", worker_stats, sizeof(struct kl_linux_worker_stats)},
    {"contig", contig, sizeof(struct kl_report)},
    {"contig, too large", contig_too_large, sizeof(struct kl_report)},
    {"contig, beyond its owner's reach", contig_beyond, sizeof(struct kl_report)},
    {"contig at", contig_at, sizeof(struct kl_report)},
    {"compact", compact, sizeof(struct kl_report)},
    {"give back", give_back, sizeof(struct kl_report)},
    {"resize", resize, sizeof(struct kl_report)},
    {"settle", settle, sizeof(struct kl_report)},
    {"step", step, sizeof(struct kl_report)},
};

/* A caller whose struct has `size` bytes. */
static void call(const struct getter *getter, size_t size)
{
    union {
        size_t size;
        unsigned char byte[BYTES];
    } to;
    size_t both = size < getter->bytes ? size : getter->bytes;

    memset(&to, OLD, sizeof(to));
    to.size = size;
    getter->get(&to);
    if (both < sizeof(size)) { /* forgotten: nothing is touched */
        assert_int_equal(to.size, size);
        both = sizeof(size);
    }
    assert_int_equal(to.size, size < sizeof(size) ? size : both);
    for (size_t i = both; i < BYTES; i++) {
        if (to.byte[i] != OLD)
            fail_msg("%s, %zu bytes: byte %zu is written", getter->name, size, i);
    }
    if (both > sizeof(size) && to.byte[both - 1] == OLD)
        fail_msg("%s, %zu bytes: the last one is not", getter->name, size);
}

static void no_more_than_both_have(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof(getters) / sizeof(getters[0]); g++) {
        size_t bytes = getters[g].bytes;

        assert_true(bytes < BYTES);
        call(&getters[g], 0);
        call(&getters[g], sizeof(size_t) - 1);
        for (size_t size = sizeof(size_t); size < bytes; size += 8)
            call(&getters[g], size);
        call(&getters[g], bytes);
        call(&getters[g], bytes + 8);
        call(&getters[g], SIZE_MAX);
    }
}

/* An older caller is told what he knows of. */
static void told_what_it_knows(void **state)
{
    struct kl_report r;
    kl_pfn first;

    (void)state;
    memset(&r, OLD, sizeof(r));
    r.size = offsetof(struct kl_report, culprit);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 512, 1, KL_SYNC, &first, &r), -KL_ENOMEM);
    assert_int_equal(r.size, offsetof(struct kl_report, culprit));
    assert_int_equal(r.migrated, 0);
    assert_int_equal((unsigned char)r.culprit_name[0], OLD);
}

static int open_all(void **state)
{
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 64, .block_bytes = 4096, .codec = &codec};
    struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "cache", .seeks = 2, .count = count, .scan = scan};

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, NULL, &shrinker), 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    kl_linux_worker_destroy(worker);
    assert_int_equal(kl_shrinker_unregister(f.zone, shrinker), 0);
    assert_int_equal(kl_store_destroy(store), 0);
    assert_int_equal(kl_zs_destroy(pool), 0);
    mover_close(&m);
    fixture_close(&f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_both_have),
        cmocka_unit_test(told_what_it_knows),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
