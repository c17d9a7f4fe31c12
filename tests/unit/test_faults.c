// SPDX-License-Identifier: Apache-2.0
/* Every failure once: one scene that uses all modules, in which the first, the second,
 * the third ... request for metadata, for memory, and to give memory back fails.
 * After each step of it all that was there is there, and every recount holds. */
#include "support/mover.h"

#include <string.h>

enum { BLOCKS = 16, ITEMS = 200, STORED = 64, BLOCK_BYTES = 4096 };

static struct fixture f;
static struct mover m;
static struct kl_zs *pool;
static struct kl_store *store;
static unsigned failures;

static void check_all(void)
{
    assert_zone_ok(f.zone);
    if (pool)
        assert_zs_ok(pool);
    if (store)
        assert_store_ok(store);
    mover_all_right(&m);
}

/* A step may fail, for want of what was refused, and leaves everything whole. */
static bool step(int err)
{
    if (err < 0 && err != -KL_ENOMEM && err != -KL_EIO && err != -KL_ENOSPC && err != -KL_EBUSY)
        fail_msg("a failure that was injected became %s", kl_err_name(err));
    failures += err < 0;
    check_all();
    return err >= 0;
}

static void make_parts(void)
{
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = STORED, .block_bytes = BLOCK_BYTES, .codec = &codec};

    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    if (!step(kl_zs_create(f.zone, NULL, &pool)))
        pool = NULL;
    if (!step(kl_store_create(f.zone, &config, &store)))
        store = NULL;
}

/* What was written is read again; what was refused reads as before. */
static void use_store(void)
{
    static char buf[BLOCK_BYTES], back[BLOCK_BYTES], zero[BLOCK_BYTES];

    for (uint64_t i = 0; store && i < STORED; i++) {
        int err;

        memset(buf, 0, sizeof(buf));
        fill_bytes(buf, sizeof(buf) / 2, i + 1);
        err = kl_store_write(store, i, 0, buf, BLOCK_BYTES);
        failures += err < 0;
        if (kl_store_read(store, i, 0, back, BLOCK_BYTES) == 0)
            assert_memory_equal(back, err ? zero : buf, BLOCK_BYTES);
    }
    check_all();
}

static void use_pool(void)
{
    kl_handle handle[40];
    unsigned n = 0;

    while (pool && n < 40 && step(kl_zs_malloc(pool, 100 + n * 40, 0, &handle[n])))
        n++;
    if (pool)
        step(kl_zs_compact(pool, 0) < 0 ? -KL_EBUSY : 0);
    while (n > 0)
        assert_int_equal(kl_zs_free(pool, handle[--n]), 0);
}

static void move_things(void)
{
    struct kl_zone_limits limits = {.size = sizeof(limits), .hard = UINT64_C(1) << 30};
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn first, unit;

    if (step(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r)))
        assert_int_equal(kl_contig_free(f.zone, m.owner, first, 64), 0);
    if (step(kl_frame_alloc(f.zone, 7, m.owner, 0, &unit)))
        assert_int_equal(kl_frame_free(f.zone, m.owner, unit), 0);
    step(kl_zone_compact(f.zone, KL_SYNC, 0, &r));
    step(kl_zone_discard(f.zone, 0) < 0 ? -KL_EIO : 0);
    step(kl_zone_trim(f.zone, 1));
    if (step(kl_zone_give_back(f.zone, 2, KL_SYNC, &r)))
        assert_int_equal(kl_zone_lend(f.zone, 2), 0);
    if (step(kl_zone_resize(f.zone, BLOCKS - 1, KL_SYNC, &r)))
        step(kl_zone_resize(f.zone, BLOCKS, KL_SYNC, &r));
    step(kl_zone_set_limits(f.zone, &limits));
}

static void pin_things(void)
{
    struct kl_pin_config why = {.size = sizeof(why), .object = 7, .why = "a test"};
    kl_pin_id pin[12];
    unsigned n = 0;

    for (unsigned i = 0; i < ITEMS && n < 12; i++) {
        if (m.item[i].here && step(kl_pin_begin(f.zone, m.owner, &why, &m.item[i].pfn, 1, &pin[n])))
            n++;
    }
    while (n > 0)
        assert_int_equal(kl_pin_end(f.zone, m.owner, pin[--n]), 0);
    check_all();
}

/* Returns whether anything failed. */
static bool play(enum fault which, int nth)
{
    failures = 0;
    pool = NULL;
    store = NULL;
    fixture_open(&f, BLOCKS, 6, 0);
    mover_open(&m, f.zone, MOVER_BATCH);
    fault_set(which, nth);
    make_parts();
    for (unsigned i = 0; i < ITEMS; i++)
        failures += mover_alloc(&m, i, i % 3, KL_MOVABLE) != 0;
    for (unsigned i = 0; i < ITEMS; i += 2) {
        if (m.item[i].here)
            assert_true(mover_free(&m, i));
    }
    use_store();
    use_pool();
    move_things();
    pin_things();
    fault_set(which, 0);
    check_all();
    assert_int_equal(kl_store_destroy(store), 0);
    assert_int_equal(kl_zs_destroy(pool), 0);
    mover_close(&m);
    fixture_close(&f);
    return failures > 0;
}

static void every_failure_once(void **state)
{
    static const int most[FAULTS] = {
        [FAULT_META] = 150, [FAULT_POPULATE] = 40, [FAULT_RELEASE] = 40, [FAULT_DISCARD] = 120};

    (void)state;
    assert_false(play(FAULT_META, 0)); /* without a fault nothing fails */
    for (int which = 0; which < FAULTS; which++) {
        unsigned failed = 0;

        for (int nth = 1; nth <= most[which]; nth++)
            failed += play((enum fault)which, nth);
        assert_true(failed > 0);
        assert_false(play((enum fault)which, most[which])); /* all there are were tried */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failure_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
