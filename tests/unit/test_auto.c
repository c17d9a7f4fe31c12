// SPDX-License-Identifier: Apache-2.0
/* Automatic compaction of a pool: when it begins, how far it goes, when it lets be. */
#include "support/fixture.h"
#include "zs/zs.h"

#include <pthread.h>
#include <string.h>

#define MS UINT64_C(1000000)

enum { ZONE_BLOCKS = 64, ORDER = 6, OBJECTS = 6000, SIZE = 1000, SLACK = 3 };

static _Atomic uint64_t clock_ns;
static atomic_int kicks;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return atomic_load(&clock_ns);
}

/* What happens while somebody waits for a lock, once. */
static void (*_Atomic meanwhile)(void);

static void relax(void *ctx, unsigned round)
{
    void (*now)(void) = atomic_exchange(&meanwhile, NULL);

    if (now)
        now();
    else
        kl_linux_host()->relax(ctx, round);
}

static void use_our_clock(struct kl_host *host)
{
    host->now_ns = now_ns;
    host->relax = relax;
    host->cpu_pop = NULL; /* nothing is kept at hand, which background work would end, too */
    host->cpu_push = NULL;
    host->cpu_fence = NULL;
}

static void count_kick(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&kicks, 1);
}

struct scene {
    struct fixture f;
    struct kl_zs *pool;
    kl_handle at[OBJECTS]; /* all zero: none */
    unsigned n;
    struct rng rng;
};

static struct scene s;

static void open_scene_with(uint32_t start, uint32_t stop, unsigned flags)
{
    const struct kl_zs_config config = {.size = sizeof(config),
                                        .auto_start_percent = start,
                                        .auto_stop_percent = stop,
                                        .flags = flags};

    s = (struct scene){.rng = rng_new(1)};
    atomic_store(&clock_ns, 1000 * MS);
    atomic_store(&kicks, 0);
    fixture_host = use_our_clock;
    fixture_open(&s.f, ZONE_BLOCKS, ORDER, 0);
    fixture_host = NULL;
    assert_int_equal(kl_zone_set_kick(s.f.zone, count_kick, NULL), 0);
    assert_int_equal(kl_zs_create(s.f.zone, &config, &s.pool), 0);
}

static void open_scene(uint32_t start, uint32_t stop)
{
    open_scene_with(start, stop, 0);
}

static void close_scene(void)
{
    assert_zs_ok(s.pool);
    assert_int_equal(kl_zs_destroy(s.pool), 0);
    assert_int_equal(kl_zone_set_kick(s.f.zone, NULL, NULL), 0);
    fixture_close(&s.f);
}

/* An object knows its index. */
static void put(unsigned i, size_t size)
{
    uint64_t seed = i;

    assert_int_equal(kl_zs_malloc(s.pool, size, 0, &s.at[i]), 0);
    assert_int_equal(kl_zs_write(s.pool, s.at[i], 0, &seed, sizeof(seed)), 0);
}

static void fill(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        put(i, SIZE);
    s.n = n;
}

static void drop(unsigned i)
{
    assert_int_equal(kl_zs_free(s.pool, s.at[i]), 0);
    s.at[i] = (kl_handle){0};
}

/* A random one that is there. */
static void drop_one(void)
{
    unsigned i = rng_below(&s.rng, s.n);

    while (s.at[i].v == 0)
        i = (i + 1) % s.n;
    drop(i);
}

static void all_right(void)
{
    for (unsigned i = 0; i < s.n; i++) {
        uint64_t seed = i + 1;

        if (s.at[i].v == 0)
            continue;
        assert_int_equal(kl_zs_read(s.pool, s.at[i], 0, &seed, sizeof(seed)), 0);
        assert_int_equal(seed, i);
    }
}

static struct kl_zs_stats stats(void)
{
    struct kl_zs_stats stats = {.size = sizeof(stats)};

    kl_zs_get_stats(s.pool, &stats);
    return stats;
}

/* One step of what is wanted; *again: -1 unless it is to be called again. */
static int step(uint32_t budget, int64_t *again)
{
    struct kl_step step = {.size = sizeof(step), .budget = budget, .flags = KL_STEP_WANTED};
    int err = kl_zone_step(s.f.zone, &step, NULL);

    *again = err == -KL_EAGAIN ? (int64_t)step.again_ns : -1;
    return err;
}

/* Steps until none is due; how long it rests then, -1: until it is kicked. */
static int64_t settle(uint32_t budget, unsigned *steps)
{
    int64_t again;

    for (*steps = 1;; ++*steps) {
        int err = step(budget, &again);

        assert_true(err == 0 || err == -KL_EAGAIN);
        if (again != 0)
            return again;
        assert_in_range(*steps, 0, 100000);
    }
}

static unsigned works(void)
{
    struct kl_shrinker_stats t = {.size = sizeof(t)};

    assert_int_equal(kl_shrinker_get_stats(s.f.zone, s.pool->shrinker, &t), 0);
    return (unsigned)t.works;
}

static void bad_settings_are_refused(void **state)
{
    const uint32_t bad[][2] = {{2, 5}, {0, 1}, {200, 101}, {UINT32_MAX, UINT32_MAX}};
    struct kl_zs *pool = NULL;

    (void)state;
    open_scene(0, 0);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct kl_zs_config config = {.size = sizeof(config),
                                      .auto_start_percent = bad[i][0],
                                      .auto_stop_percent = bad[i][1]};
        assert_int_equal(kl_zs_create(s.f.zone, &config, &pool), -KL_EINVAL);
        assert_null(pool);
    }
    close_scene(); /* nothing is left in the zone */
}

/* More than `start` per cent begin it, `stop` per cent end it, each time; beyond that goes
 * a zspage that it has begun with. */
static void from_start_to_stop(uint32_t start, uint32_t stop)
{
    uint32_t chain;
    unsigned steps;

    fill(OBJECTS);
    chain = zs_class_for(s.pool, SIZE)->chain;
    for (unsigned run = 1; run <= 5; run++) {
        struct kl_zs_stats z = stats();

        assert_true(z.freeable_frames * 100 <= z.frames * stop || run == 1);
        for (; atomic_load(&kicks) < (int)run; z = stats()) {
            assert_true(z.freeable_frames * 100 <= (z.frames + 100 * SLACK) * start);
            drop_one();
        }
        assert_true((z.freeable_frames + SLACK) * 100 > z.frames * start);
        for (; z.freeable_frames * 100 <= z.frames * start; z = stats())
            drop_one(); /* what was told is a little more (A2), and work counts anew */
        assert_int_equal(z.automatic_runs, run - 1);
        assert_int_equal(settle(20, &steps), -1);
        assert_true(steps > 1);
        z = stats();
        assert_true(z.freeable_frames * 100 <= z.frames * stop);
        assert_true((z.freeable_frames + chain) * 100 > z.frames * stop);
        assert_int_equal(z.automatic_runs, run);
        assert_int_equal(atomic_load(&kicks), run);
        all_right();
    }
}

static void begins_at_five_and_stops_at_two(void **state)
{
    (void)state;
    for (unsigned fixed = 0; fixed < 2; fixed++) {
        open_scene_with(0, 0, fixed ? KL_ZS_FIXED_CLASSES : 0);
        from_start_to_stop(5, 2);
        assert_int_equal(stats().learned, !fixed); /* objects are in two classes */
        close_scene();
    }
}

static void the_marks_can_be_set(void **state)
{
    (void)state;
    open_scene(20, 10);
    from_start_to_stop(20, 10);
    close_scene();
}

static void off_is_never(void **state)
{
    int64_t again;

    (void)state;
    open_scene(100, 0);
    fill(OBJECTS);
    for (unsigned i = 0; i < OBJECTS * 3 / 4; i++)
        drop_one();
    assert_int_equal(atomic_load(&kicks), 0);
    assert_int_equal(step(20, &again), 0);
    assert_int_equal(kl_shrinker_want(s.f.zone, s.pool->shrinker), 0);
    assert_int_equal(step(20, &again), 0); /* called, for nothing */
    assert_true(stats().freeable_frames > stats().frames / 2);
    assert_int_equal(stats().automatic_runs, 0);
    assert_true(kl_zs_compact(s.pool, 0) > 0); /* who asks still gets it */
    close_scene();
}

/* A store passes them on. */
static void a_store_is_a_pool(void **state)
{
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 16, .block_bytes = 4096, .codec = &codec};
    struct kl_store *store;

    (void)state;
    open_scene(0, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    config.auto_stop_percent = 1;
    assert_int_equal(kl_store_create(s.f.zone, &config, &store), -KL_EINVAL);
    config.auto_start_percent = 30;
    assert_int_equal(kl_store_create(s.f.zone, &config, &store), 0);
    assert_int_equal(kl_store_zs(store)->auto_start, 30);
    assert_int_equal(kl_store_zs(store)->auto_stop, 1);
    assert_int_equal(kl_store_destroy(store), 0);
    close_scene();
}

/* Few objects a step, and as many steps as it takes to get through all the classes. */
static void steps_go_on_where_the_last_ended(void **state)
{
    struct kl_zs_stats z;
    unsigned steps;

    (void)state;
    open_scene(0, 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        put(i, 8 + rng_below(&s.rng, 4000));
    s.n = OBJECTS;
    for (unsigned i = 0; i < OBJECTS * 2 / 3; i++)
        drop_one();
    assert_int_equal(atomic_load(&kicks), 1);
    for (;;) {
        uint64_t moved = stats().objects_moved;
        int64_t again;

        if (step(10, &again) == 0)
            break;
        assert_int_equal(again, 0);
        assert_in_range(stats().objects_moved - moved, 0, 10 + ZS_MAX_OBJECTS);
    }
    z = stats();
    assert_true(z.freeable_frames * 100 <= z.frames * 2);
    assert_int_equal(z.automatic_runs, 1);
    assert_true(works() > 20);
    assert_int_equal(settle(10, &steps), -1);
    assert_int_equal(steps, 1);
    all_right();
    close_scene();
}

/* A pool that is nothing but a few frames is left alone, whatever it does. */
static void a_small_pool_is_left_alone(void **state)
{
    (void)state;
    open_scene(0, 0);
    fill(100);
    for (unsigned round = 0; round < 200; round++) {
        unsigned i = rng_below(&s.rng, 100);

        if (s.at[i].v)
            drop(i);
        else
            put(i, SIZE);
    }
    assert_true(stats().frames > 5);
    assert_int_equal(atomic_load(&kicks), 0);
    assert_int_equal(works(), 0);
    close_scene();
}

/* All that is left is pinned: it is tried less and less often, and goes on by itself. */
static void what_is_pinned_is_left_alone(void **state)
{
    static struct kl_zs_pin pin[OBJECTS];
    int64_t pause, last = 0;
    unsigned steps, before, pauses = 0;

    (void)state;
    open_scene(0, 0);
    fill(OBJECTS);
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (i % 8 == 0)
            assert_int_equal(kl_zs_begin(s.pool, s.at[i], &pin[i]), 0);
        else
            drop(i);
    }
    do {
        pause = settle(50, &steps);
        assert_in_range(pause, 10 * MS, 1280 * MS);
        assert_true(pause == 2 * last || last == 0 || pause == 1280 * (int64_t)MS);
        last = pause;
        before = works();
        assert_int_equal(step(50, &pause), -KL_EAGAIN); /* not yet */
        assert_int_equal(pause, last);
        assert_int_equal(works(), before);
        atomic_fetch_add(&clock_ns, (uint64_t)pause);
    } while (++pauses < 12);
    assert_int_equal(last, 1280 * MS);
    assert_int_equal(atomic_load(&kicks), 1);
    for (unsigned i = 0; i < OBJECTS; i += 8)
        kl_zs_end(&pin[i]);
    assert_int_equal(settle(50, &steps), -1);
    assert_true(steps > 1);
    assert_true(stats().freeable_frames * 100 <= stats().frames * 2);
    assert_int_equal(stats().automatic_runs, 1);
    all_right();
    close_scene();
}

/* Somebody compacts by hand just then: a little later; and there is nothing left to do. */
static void waits_for_who_compacts(void **state)
{
    unsigned steps;

    (void)state;
    open_scene(0, 0);
    fill(OBJECTS);
    while (atomic_load(&kicks) == 0)
        drop_one();
    atomic_store(&s.pool->compacting, true);
    assert_int_equal(settle(50, &steps), 10 * MS);
    atomic_fetch_add(&clock_ns, 10 * MS);
    assert_int_equal(settle(50, &steps), 10 * MS);
    atomic_store(&s.pool->compacting, false);
    assert_true(kl_zs_compact(s.pool, 0) > 0);
    atomic_fetch_add(&clock_ns, 10 * MS);
    assert_int_equal(settle(50, &steps), -1);
    assert_int_equal(steps, 1);
    close_scene();
}

/* Puts back what was dropped, until less than `percent` could be freed. */
static void fill_up(unsigned percent)
{
    for (unsigned i = 0; i < s.n && stats().freeable_frames * 100 > stats().frames * percent; i++)
        if (s.at[i].v == 0)
            put(i, SIZE);
}

/* Wanted, and before the step came it was compacted by hand, or filled up: no run. */
static void a_want_that_is_over(void **state)
{
    unsigned steps;

    (void)state;
    open_scene(0, 0);
    fill(OBJECTS);
    for (int round = 1; round <= 3; round++) {
        uint64_t moved;

        while (atomic_load(&kicks) < round)
            drop_one();
        if (round == 1)
            assert_true(kl_zs_compact(s.pool, 0) > 0);
        else
            fill_up(round == 2 ? 4 : 1);
        moved = stats().objects_moved;
        assert_int_equal(settle(50, &steps), -1);
        assert_int_equal(stats().automatic_runs, 0);
        assert_int_equal(stats().objects_moved, moved);
    }
    close_scene();
}

static void *drop_them(void *arg)
{
    for (unsigned i = 0; i < OBJECTS / 4; i++)
        drop_one();
    return arg;
}

/* By another thread, and then the lock is free. */
static void drop_many(void)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, drop_them, NULL), 0);
    pthread_join(thread, NULL);
    atomic_store(&s.pool->classes[s.pool->nclasses - 1].lock.word, 0);
}

/* Work has counted a class already when much of it is freed, and is about to rest. */
static void wanted_while_it_goes_to_rest(void **state)
{
    unsigned steps;

    (void)state;
    open_scene_with(0, 0, KL_ZS_FIXED_CLASSES); /* the last class is not the objects' */
    fill(OBJECTS);
    while (atomic_load(&kicks) == 0)
        drop_one();
    assert_true(kl_zs_compact(s.pool, 0) > 0);
    assert_true(zs_class_for(s.pool, SIZE)->index < s.pool->nclasses - 1);
    atomic_store(&s.pool->classes[s.pool->nclasses - 1].lock.word, 1); /* where it has to wait */
    atomic_store(&meanwhile, drop_many);
    assert_int_equal(settle(50, &steps), -1);
    assert_null(atomic_load(&meanwhile));
    assert_int_equal(stats().automatic_runs, 1);
    assert_true(stats().freeable_frames * 100 <= stats().frames * 2);
    close_scene();
}

static atomic_bool stop;

static void *keep_stepping(void *arg)
{
    struct kl_step step = {.size = sizeof(step), .budget = 30, .flags = KL_STEP_WANTED};

    while (!atomic_load(&stop))
        kl_zone_step(arg, &step, NULL);
    return NULL;
}

static void destroyed_while_it_runs(void **state)
{
    pthread_t thread[2];
    struct kl_zs *pool;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, keep_stepping, f.zone), 0);
    for (unsigned round = 0; round < 30; round++) {
        static kl_handle at[1000];

        assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &at[i]), 0);
        for (unsigned i = 0; i < 1000; i++)
            if (i % 4)
                assert_int_equal(kl_zs_free(pool, at[i]), 0);
        while (round % 2 && atomic_load(&pool->auto_runs) == 0)
            kl_linux_host()->relax(NULL, 20);
        assert_int_equal(kl_zs_destroy(pool), 0);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    fixture_close(&f);
}

enum { CHURNERS = 3, SHARE = OBJECTS / CHURNERS, CHURN = 20000 };

static void *churn(void *arg)
{
    unsigned who = (unsigned)(uintptr_t)arg;
    struct rng rng = rng_new(who + 2);
    kl_handle *mine = &s.at[who * SHARE];

    for (unsigned i = 0; i < CHURN; i++) {
        kl_handle *at = &mine[rng_below(&rng, SHARE)];
        bool few = i / 2000 % 2; /* it grows, it shrinks */
        int err = 0;

        if (at->v && (few || rng_below(&rng, 8) == 0)) {
            err = kl_zs_free(s.pool, *at);
            *at = (kl_handle){0};
        } else if (!at->v && (!few || rng_below(&rng, 8) == 0)) {
            err = kl_zs_malloc(s.pool, 1 + rng_below(&rng, 4096), 0, at);
        }
        if (err)
            return arg;
    }
    return NULL;
}

/* Kicked or not, with threads at it: what is wanted in the end is not forgotten. */
static void no_want_is_lost(void **state)
{
    pthread_t thread[CHURNERS + 1];
    unsigned steps;

    (void)state;
    open_scene(0, 0);
    for (unsigned round = 0; round < 3; round++) {
        struct kl_zs_stats z;

        atomic_store(&stop, false);
        for (uintptr_t i = 0; i < CHURNERS; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, churn, (void *)i), 0);
        assert_int_equal(pthread_create(&thread[CHURNERS], NULL, keep_stepping, s.f.zone), 0);
        for (unsigned i = 0; i < CHURNERS; i++)
            pthread_join(thread[i], NULL);
        atomic_store(&stop, true);
        pthread_join(thread[CHURNERS], NULL);
        for (int64_t again = 0; again >= 0; atomic_fetch_add(&clock_ns, (uint64_t)again + 1))
            again = settle(30, &steps);
        z = stats();
        assert_true((int64_t)z.freeable_frames - (int64_t)z.classes <=
                    (int64_t)kli_max(32, z.frames * 5 / 100));
        assert_int_equal(atomic_load(&s.pool->auto_state), 0);
        assert_zs_ok(s.pool);
    }
    assert_true(stats().automatic_runs > 0);
    close_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(begins_at_five_and_stops_at_two),
        cmocka_unit_test(the_marks_can_be_set),
        cmocka_unit_test(off_is_never),
        cmocka_unit_test(a_store_is_a_pool),
        cmocka_unit_test(steps_go_on_where_the_last_ended),
        cmocka_unit_test(a_small_pool_is_left_alone),
        cmocka_unit_test(what_is_pinned_is_left_alone),
        cmocka_unit_test(waits_for_who_compacts),
        cmocka_unit_test(a_want_that_is_over),
        cmocka_unit_test(wanted_while_it_goes_to_rest),
        cmocka_unit_test(destroyed_while_it_runs),
        cmocka_unit_test(no_want_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
