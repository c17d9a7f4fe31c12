// SPDX-License-Identifier: Apache-2.0
/* Pressure of the machine, as a zone hears of it: what goes back, in which order, and that
 * it costs nothing when there is nothing. */
#include "support/mover.h"

#include "reclaim/reclaim.h"

#include "klotski/pressure.h"
#include "klotski/step.h"

#include <pthread.h>
#include <string.h>

enum { ZONE_BLOCKS = 16, ORDER = 6, BLOCK_FRAMES = 1 << ORDER };

static struct mover m;
static struct fixture f;
static _Atomic uint64_t clock_now = 1000000000;
static _Atomic unsigned kicks;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return clock_now;
}

static void stand_still(struct kl_host *host)
{
    host->now_ns = now_ns;
}

static void count_kick(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&kicks, 1);
}

static int setup(void **state)
{
    (void)state;
    fixture_host = stand_still;
    fixture_open(&f, ZONE_BLOCKS, ORDER, KL_ZONE_POPULATE);
    fixture_host = NULL;
    mover_open(&m, f.zone, MOVER_SINGLE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mover_close(&m);
    fixture_close(&f);
    return 0;
}

static struct kl_zone_stats stats(void)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f.zone, &s);
    return s;
}

static int step(uint32_t budget, uint64_t *again)
{
    struct kl_step s = {.size = sizeof(s), .budget = budget, .flags = KL_STEP_WANTED};
    int err = kl_zone_step(f.zone, &s, NULL);

    *again = s.again_ns;
    return err;
}

/* As long as something gets done. */
static unsigned steps(uint32_t budget)
{
    uint64_t again;
    unsigned n = 0;

    while (step(budget, &again) == -KL_EAGAIN && again == 0)
        n++;
    return n;
}

/* Someone with objects; idle ones are frames of the mover. */
struct cache {
    kl_shrinker_id id;
    unsigned next, end; /* items */
    uint64_t count, calls, most;
    uint32_t blocks; /* present at the first scan */
};

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct cache *c = ctx;

    (void)shrink;
    return c->count + (c->end - c->next);
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    struct cache *c = ctx;
    uint64_t n = 0;

    if (c->calls++ == 0)
        c->blocks = stats().present_blocks;
    c->most = shrink->nr_to_scan > c->most ? shrink->nr_to_scan : c->most;
    assert_int_equal(shrink->mode, KL_ASYNC);
    for (; c->next < c->end && n < shrink->nr_to_scan; n++)
        assert_true(mover_free(&m, c->next++));
    for (; c->count > 0 && n < shrink->nr_to_scan; n++)
        c->count--;
    return n;
}

static void cache_open(struct cache *c, unsigned seeks, unsigned flags)
{
    const struct kl_shrinker_ops ops = {.size = sizeof(ops),
                                        .name = "cache",
                                        .seeks = seeks,
                                        .flags = flags,
                                        .count = count,
                                        .scan = scan};

    assert_int_equal(kl_shrinker_register(f.zone, &ops, c, &c->id), 0);
}

static void cache_close(struct cache *c)
{
    assert_int_equal(kl_shrinker_unregister(f.zone, c->id), 0);
}

static void refuses_no_such_level(void **state)
{
    (void)state;
    assert_int_equal(kl_zone_pressure(f.zone, (enum kl_pressure_level)3, 0), -KL_EINVAL);
    assert_int_equal(kl_zone_pressure_level(f.zone), KL_PRESSURE_NONE);
    assert_int_equal(stats().pressure_calls, 0);
}

/* Idle frames, holes in blocks, and spare blocks: a fifth of the blocks is in use, and in
 * the end no more are there. */
static void what_is_idle_goes_back(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .spare_blocks = 2};
    struct cache idle = {.end = 100}, cold = {.count = 50};
    uint64_t before, again;

    (void)state;
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    mover_scatter(&m, 5);
    for (unsigned i = 0; i < 100; i++)
        if (!m.item[i].here)
            assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    cache_open(&idle, 0, 0);
    cache_open(&cold, 2, KL_SHRINKER_COLD);
    before = stats().charged_bytes;
    assert_true(stats().present_blocks >= ZONE_BLOCKS - 2);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
    assert_int_equal(kicks, 1);
    assert_true(stats().wanted & KL_WANTED_PRESSURE);
    assert_true(steps(64) >= 3); /* in pieces */
    assert_int_equal(idle.next, 100);
    assert_true(idle.most <= 64);
    assert_int_equal(cold.calls, 0);
    assert_int_equal(stats().free_blocks, 0);
    assert_int_equal(stats().present_blocks,
                     (stats().used_frames + BLOCK_FRAMES - 1) / BLOCK_FRAMES);
    assert_int_equal(stats().pressure_bytes, before - stats().charged_bytes);
    assert_true(stats().pressure_bytes > 0);
    mover_all_right(&m);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
    assert_int_equal(step(64, &again), 0);
    assert_false(stats().wanted & KL_WANTED_PRESSURE);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    assert_zone_ok(f.zone);
    cache_close(&idle);
    cache_close(&cold);
}

/* Cold things only when all the rest is out, and only until enough is back. */
static void what_is_cold_goes_last(void **state)
{
    struct cache cold = {.end = 6 * BLOCK_FRAMES};

    (void)state;
    for (unsigned i = 0; i < 8 * BLOCK_FRAMES; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    cache_open(&cold, 2, KL_SHRINKER_COLD);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 1), 0);
    steps(64);
    assert_int_equal(cold.calls, 0);
    assert_int_equal(stats().present_blocks, 8);
    /* 3 blocks' worth, of which 0 are idle */
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_COLD, 3 * kl_zone_block_bytes(f.zone)),
                     0);
    clock_now += 100000000;
    steps(64);
    assert_int_equal(cold.blocks, 8);
    assert_in_range(cold.next, 3 * BLOCK_FRAMES, 4 * BLOCK_FRAMES);
    assert_int_equal(stats().present_blocks, 8 - cold.next / BLOCK_FRAMES);
    assert_true(cold.most <= 64);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_COLD, 0), 0); /* no bound */
    clock_now += 100000000;
    steps(64);
    assert_int_equal(cold.next, 6 * BLOCK_FRAMES);
    assert_int_equal(stats().present_blocks, 2);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
    cache_close(&cold);
}

/* Nothing to be had: pauses that double, and calls do not make it busier than ten times a
 * second. */
static void nothing_to_be_had_costs_nothing(void **state)
{
    struct cache barren = {.count = 0};
    uint64_t again, pause = 10000000, pieces;

    (void)state;
    cache_open(&barren, 0, 0);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
    steps(0);
    pieces = stats().pressure_pieces;
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(step(64, &again), -KL_EAGAIN);
        assert_int_equal(again, pause);
        assert_int_equal(stats().pressure_pieces, pieces + i); /* a step too early: nothing */
        clock_now += again;
        pause = pause < 5120000000 ? 2 * pause : pause;
        assert_int_equal(step(64, &again), -KL_EAGAIN);
    }
    pieces = stats().pressure_pieces;
    for (unsigned i = 0; i < 1000; i++) { /* in one second */
        assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
        assert_int_equal(step(64, &again), -KL_EAGAIN);
        clock_now += 1000000;
    }
    assert_in_range(stats().pressure_pieces - pieces, 9, 11);
    barren.count = 10; /* a call finds what has come since soon */
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
    clock_now += 100000000;
    steps(64);
    assert_int_equal(barren.count, 0);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
    assert_int_equal(step(64, &again), 0);
    cache_close(&barren);
}

/* Pauses of the last time are no reason for pauses of this one. */
static void new_pressure_begins_anew(void **state)
{
    uint64_t again;

    (void)state;
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
    steps(0);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(step(64, &again), -KL_EAGAIN);
        clock_now += again;
    }
    assert_true(again > 100000000);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
    clock_now += 6000000000;
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
    assert_int_equal(step(64, &again), -KL_EAGAIN);
    assert_int_equal(step(64, &again), -KL_EAGAIN);
    assert_int_equal(again, 10000000);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
}

/* A kick that is set while there is pressure is called. */
static void whoever_comes_late_is_told(void **state)
{
    (void)state;
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    assert_true(kicks > 0);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
}

/* What fails is left as it was, and tried again. */
static void failures_on_the_way(void **state)
{
    (void)state;
    mover_scatter(&m, 4);
    for (int nth = 1; nth < 12; nth++) {
        assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_IDLE, 0), 0);
        fault_set(nth % 2 ? FAULT_RELEASE : FAULT_META, nth / 2 + 1);
        clock_now += 6000000000;
        steps(16);
        fault_set(FAULT_RELEASE, 0);
        fault_set(FAULT_META, 0);
        assert_zone_ok(f.zone);
        mover_all_right(&m);
    }
    clock_now += 6000000000;
    steps(16);
    assert_int_equal(stats().present_blocks,
                     (stats().used_frames + BLOCK_FRAMES - 1) / BLOCK_FRAMES);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
}

/* ---- allocations meanwhile ---- */

static atomic_bool over;
static _Atomic uint64_t refused, got;

static void *get_and_put(void *arg)
{
    kl_owner_id owner = *(kl_owner_id *)arg;
    kl_pfn pfn[2 * BLOCK_FRAMES];

    while (!atomic_load(&over)) {
        unsigned n = 0;

        for (; n < 2 * BLOCK_FRAMES; n++) {
            if (kl_frame_alloc(f.zone, 0, owner, n % 7 ? 0 : KL_ZERO, &pfn[n]) != 0)
                break;
        }
        atomic_fetch_add(&refused, n < 2 * BLOCK_FRAMES);
        atomic_fetch_add(&got, n);
        while (n > 0)
            kl_frame_free(f.zone, owner, pfn[--n]);
    }
    return NULL;
}

/* While everything goes back as fast as it can, nobody is refused. */
static void allocations_do_not_fail(void **state)
{
    enum { THREADS = 3 };
    pthread_t thread[THREADS];
    kl_owner_id owner;

    (void)state;
    mover_scatter(&m, 4);
    atomic_store(&over, false);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, get_and_put, &owner), 0);
    while (atomic_load(&got) < 100000) {
        uint64_t again;

        assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_COLD, 0), 0);
        clock_now += 100000000;
        step(32, &again);
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0), 0);
    assert_int_equal(refused, 0);
    assert_true(stats().pressure_bytes > 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    mover_all_right(&m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_pressure_begins_anew),
        TEST(refuses_no_such_level),
        TEST(what_is_idle_goes_back),
        TEST(what_is_cold_goes_last),
        TEST(nothing_to_be_had_costs_nothing),
        TEST(whoever_comes_late_is_told),
        TEST(failures_on_the_way),
        TEST(allocations_do_not_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
