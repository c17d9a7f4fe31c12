// SPDX-License-Identifier: Apache-2.0
/* Every failure once, of the tenants of a zone: page pools, an area with deferred free, shares
 * and pressure in one scene, in which the first, the second, the third ... request for metadata,
 * for memory, to give memory back, or to discard it fails, and each zeroing.
 * After each step of it all that was there is there, and every recount holds. */
#include "support/mover.h"
#include "support/units.h"

#include <string.h>

enum { BLOCKS = 16, PER = 64, FRAME = 4096, ITEMS = 300, UNITS = 12, POOLS = 2, MOST = 400 };
enum { FAULT_ZERO = FAULTS, ALL_FAULTS };

static struct fixture f;
static struct mover m;
static struct kl_pool *pool[POOLS];
static const unsigned orders[POOLS] = {1, 0};
static struct kl_cma *area;
static kl_owner_id user;
static int zero_countdown;

static void set_fault(unsigned which, int nth)
{
    if (which == FAULT_ZERO)
        zero_countdown = nth;
    else
        fault_set((enum fault)which, nth);
}

static bool is_due(unsigned which)
{
    return which == FAULT_ZERO ? zero_countdown > 0 : fault_due((enum fault)which);
}

static int zero(void *ctx, kl_pfn pfn, unsigned order)
{
    (void)ctx;
    if (zero_countdown > 0 && --zero_countdown == 0)
        return -KL_EIO;
    memset(kl_frame_addr(f.zone, pfn), 0, (size_t)FRAME << order);
    return 0;
}

static void check_all(void)
{
    const char *what = NULL;

    assert_zone_ok(f.zone);
    for (unsigned i = 0; i < POOLS; i++) {
        if (pool[i])
            assert_pool_ok(pool[i]);
    }
    if (area && kl_cma_check(area, &what))
        fail_msg("broken: %s", what);
    mover_all_right(&m);
}

/* A step may fail, for want of what was refused, and leaves everything whole. */
static bool step(int64_t err)
{
    if (err < 0 && err != -KL_ENOMEM && err != -KL_EIO && err != -KL_ENOSPC && err != -KL_EBUSY)
        fail_msg("a failure that was injected became %s", kl_err_name((int)err));
    check_all();
    return err >= 0;
}

static void make_parts(void)
{
    const struct kl_pool_config configs[POOLS] = {
        {.size = sizeof(configs[0]), .order = 1, .low = 4, .high = 8, .limit = 40, .zero = zero},
        {.size = sizeof(configs[0]),
         .owner = user,
         .kind = KL_POOL_UNCACHED,
         .low_below = 4 * PER,
         .limit = 6,
         .zero = zero},
    };
    const struct kl_cma_config c = {.size = sizeof(c),
                                    .name = "test",
                                    .base = kl_zone_pfn(f.zone, 8 * PER),
                                    .frames = 4 * PER,
                                    .defer_bytes = UINT64_MAX};

    for (unsigned i = 0; i < POOLS; i++) {
        if (!step(kl_pool_create(f.zone, &configs[i], &pool[i])))
            pool[i] = NULL;
    }
    if (!step(kl_cma_create(f.zone, &c, &area)))
        area = NULL;
}

static void set_shares(uint64_t frames)
{
    const struct kl_share share = {.size = sizeof(share), .soft = frames / 2, .hard = frames};

    step(kl_owner_set_share(f.zone, user, &share));
    step(kl_owner_set_share(f.zone, m.owner, &share));
    if (pool[0])
        step(kl_owner_set_share(f.zone, kl_pool_owner(pool[0]), &share));
}

/* Low ones, too; what is got is zero, and a free succeeds whatever fails. */
static void use_pool(unsigned p)
{
    kl_pfn unit[UNITS];
    unsigned n = 0;

    if (!pool[p])
        return;
    step(kl_pool_prefill(pool[p], 0, 5));
    while (n < UNITS && step(kl_pool_alloc(pool[p], p && n % 2 ? KL_POOL_LOW : 0, &unit[n]))) {
        assert_true(unit_is_zero(f.zone, unit[n], orders[p]));
        unit_fill(f.zone, unit[n++], orders[p]);
    }
    while (n > 0)
        assert_int_equal(kl_pool_free(pool[p], unit[--n]), 0);
    check_all();
}

static void use_area(void)
{
    kl_pfn big, small;

    if (!area)
        return;
    if (step(kl_cma_alloc(area, 100, 1, 0, KL_SYNC, &big, NULL)))
        assert_int_equal(kl_cma_release(area, big, 100), 0);
    if (step(kl_cma_alloc(area, 20, 4, 0, KL_SYNC, &small, NULL)))
        assert_int_equal(kl_cma_release(area, small, 20), 0);
    check_all();
    if (step(kl_cma_alloc(area, 200, 1, 0, KL_SYNC, &big, NULL))) { /* more than is kept */
        assert_int_equal(kl_cma_release(area, big, 60), 0);
        check_all();
        assert_int_equal(kl_cma_release(area, kl_zone_pfn(f.zone, kl_pfn_nr(big) + 60), 140), 0);
    }
    check_all();
}

static void fill(void)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        if (!m.item[i].here)
            (void)mover_alloc(&m, i, i % 3, KL_MOVABLE);
    }
    for (unsigned i = 0; i < ITEMS; i += 2) {
        if (m.item[i].here)
            assert_true(mover_free(&m, i));
    }
    check_all();
}

/* Some steps, as long as they say that there is more at once. */
static void press(enum kl_pressure_level level)
{
    assert_int_equal(kl_zone_pressure(f.zone, level, 0), 0);
    for (unsigned i = 0; i < 40; i++) {
        struct kl_step s = {.size = sizeof(s), .budget = 64, .flags = KL_STEP_WANTED};
        int err = kl_zone_step(f.zone, &s, NULL);

        step(err == -KL_EAGAIN ? 0 : err);
        if (err == 0 || s.again_ns > 0)
            break;
    }
}

/* Returns whether the fault came. */
static bool play(unsigned which, int nth)
{
    bool came;

    memset(pool, 0, sizeof(pool));
    area = NULL;
    fixture_open(&f, BLOCKS, 6, 0);
    mover_open(&m, f.zone, MOVER_BATCH);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &user), 0);
    set_fault(which, nth);
    make_parts();
    fill();
    set_shares(900);
    for (unsigned i = 0; i < 2; i++) {
        use_pool(0);
        use_area();
        use_pool(1);
        step(kl_zone_discard(f.zone, 0));
        fill();
        press(i ? KL_PRESSURE_COLD : KL_PRESSURE_IDLE);
        set_shares(300); /* less than the items: refused, or kept */
    }
    press(KL_PRESSURE_NONE);
    if (area)
        kl_cma_defer(area, 0, 0);
    for (unsigned i = 0; i < POOLS; i++) {
        if (pool[i])
            kl_pool_trim(pool[i], 1);
    }
    step(kl_zone_trim(f.zone, 0));
    came = !is_due(which);
    set_fault(which, 0);
    check_all();
    for (unsigned i = 0; i < POOLS; i++)
        assert_int_equal(kl_pool_destroy(pool[i]), 0);
    assert_int_equal(kl_cma_destroy(area), 0);
    mover_close(&m);
    assert_int_equal(kl_owner_unregister(f.zone, user), 0); /* nothing is charged any more */
    fixture_close(&f);
    return came;
}

static void every_failure_once(void **state)
{
    (void)state;
    for (unsigned which = 0; which < ALL_FAULTS; which++) {
        int nth = 1;

        while (nth < MOST && play(which, nth))
            nth++;
        print_message("# %d of sort %u\n", nth - 1, which);
        assert_true(nth > 1);
        assert_true(nth < MOST); /* all there are were tried */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failure_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
