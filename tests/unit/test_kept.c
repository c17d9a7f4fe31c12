// SPDX-License-Identifier: Apache-2.0
/* Objects that a pool keeps at hand (zs/kept.c): reused with new handles, never in the way
 * of memory that is wanted back. */
#include "support/cpus.h"
#include "support/fixture.h"
#include "zs/entry.h"
#include "zs/kept.h"

#include <pthread.h>
#include <stdlib.h>

enum { N = 64, SIZE = 1000 };

static struct kl_zs *open_pool(struct fixture *f, uint64_t limit_frames)
{
    struct kl_zs_config config = {
        .size = sizeof(config), .name = "kept", .limit_frames = limit_frames};
    struct kl_zs *pool;

    fixture_open(f, 512, 6, 0);
    assert_int_equal(kl_zs_create(f->zone, &config, &pool), 0);
    if (!pool->kept) { /* no sequences, or too many CPUs for a pool of this size */
        assert_int_equal(kl_zs_destroy(pool), 0);
        fixture_close(f);
        skip();
    }
    return pool;
}

static struct kl_zs *open_soft(struct fixture *f)
{
    struct kl_zs *pool;

    fixture_host = cpus_soft;
    cpus_soft_on(0);
    fixture_open(f, 512, 6, 0);
    fixture_host = NULL;
    assert_int_equal(kl_zs_create(f->zone, NULL, &pool), 0);
    if (!pool->kept) { /* the hardened build */
        assert_int_equal(kl_zs_destroy(pool), 0);
        fixture_close(f);
        skip();
    }
    return pool;
}

static void close_pool(struct fixture *f, struct kl_zs *pool)
{
    assert_zs_ok(pool);
    assert_int_equal(kl_zs_destroy(pool), 0);
    fixture_close(f);
}

static uint64_t kept(struct kl_zs *pool)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < pool->nclasses; i++)
        n += zs_kept_count(pool, i);
    return n;
}

static struct kl_zs_stats stats(struct kl_zs *pool)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(pool, &s);
    return s;
}

static void old_handles_are_stale(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    struct kl_zs_pin pin;
    kl_handle old, next = {0}, forged;
    char c = 1;

    (void)state;
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &old), 0);
    assert_int_equal(kl_zs_free(pool, old), 0);
    assert_int_equal(kept(pool), 1);
    assert_int_equal(stats(pool).objects, 0);
    assert_zs_ok(pool);
    forged = (kl_handle){old.v + (1u << 16)}; /* the generation that the next one will have */
    for (int i = 0; i < 2; i++) {
        kl_handle h = i ? forged : old;

        assert_int_equal(kl_zs_free(pool, h), -KL_ESTALE);
        assert_int_equal(kl_zs_read(pool, h, 0, &c, 1), -KL_ESTALE);
        assert_int_equal(kl_zs_write(pool, h, 0, &c, 1), -KL_ESTALE);
        assert_int_equal(kl_zs_begin(pool, h, &pin), -KL_ESTALE);
    }
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &next), 0);
    assert_int_equal(next.v, forged.v);
    assert_int_equal(kl_zs_read(pool, old, 0, &c, 1), -KL_ESTALE);
    assert_int_equal(kl_zs_write(pool, next, 0, &c, 1), 0);
    close_pool(&f, pool);
}

static void compaction_ends_them(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    kl_handle h[N];
    uint64_t frames;

    (void)state;
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h[i]), 0);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(kl_zs_free(pool, h[i]), 0);
    assert_true(kept(pool) > 0);
    assert_true(kept(pool) < N);
    frames = stats(pool).frames;
    assert_true(frames > 0);
    assert_int_equal(kl_zs_compact(pool, 0), frames);
    assert_int_equal(kept(pool), 0);
    assert_int_equal(stats(pool).frames, 0);
    close_pool(&f, pool);
}

/* Not while they come and go, but some time later. */
static void background_work_ends_them(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    kl_handle h;

    (void)state;
    assert_true(zs_kept_rest(pool) == KL_WORK_DONE);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h), 0);
        assert_int_equal(kl_zs_free(pool, h), 0);
        assert_true(zs_kept_rest(pool) < KL_WORK_DONE); /* from now on */
        assert_int_equal(kept(pool), 1);
        pool->kept_due = 1;
        assert_true(zs_kept_rest(pool) == KL_WORK_DONE);
        assert_int_equal(kept(pool), 0);
        assert_int_equal(stats(pool).frames, 0);
    }
    close_pool(&f, pool);
}

/* The pool is full of what is kept, but for other sizes. */
static void a_full_pool_gives_them_up(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 512 * 64 - 1);
    kl_handle h, last = {0};
    unsigned n = 0;

    (void)state;
    while (kl_zs_malloc(pool, KL_ZS_MAX_SIZE, 0, &h) == 0) {
        last = h;
        n++;
    }
    assert_true(n > 100);
    assert_int_equal(kl_zs_free(pool, last), 0);
    assert_true(kept(pool) > 0);
    for (unsigned i = 0; i < 3; i++) /* there may be room for one or two */
        assert_int_equal(kl_zs_malloc(pool, 30000, 0, &h), 0);
    assert_int_equal(kept(pool), 0);
    close_pool(&f, pool);
}

/* On a processor whose stacks are just being drained: somebody frees, and mallocs. */
static struct {
    bool (*fence)(void *ctx, unsigned cpu);
    struct kl_zs *pool; /* NULL: nobody does */
    kl_handle h;
    unsigned times;
} between;

static bool fence_and_meddle(void *ctx, unsigned cpu)
{
    struct kl_zs *pool = between.pool;
    bool ok = between.fence(ctx, cpu);
    uint64_t n;

    if (!pool)
        return ok;
    between.pool = NULL;
    between.times++;
    n = kept(pool);
    assert_true(n > 0);
    cpus_soft_on(cpu);
    assert_int_equal(kl_zs_free(pool, between.h), 0);
    assert_int_equal(kept(pool), n); /* it did not enter */
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &between.h), 0);
    assert_int_equal(kept(pool), n); /* nor did one leave */
    cpus_soft_on(0);
    between.pool = pool;
    return ok;
}

static void meddled_host(struct kl_host *host)
{
    cpus_soft(host);
    between.fence = host->cpu_fence;
    host->cpu_fence = fence_and_meddle;
}

/* K3 */
static void stacks_are_closed_while_they_are_drained(void **state)
{
    struct fixture f;
    struct kl_zs *pool;
    kl_handle h[4];

    (void)state;
    fixture_host = meddled_host;
    pool = open_pool(&f, 0);
    for (int fails = 1; fails >= 0; fails--) {
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h[i]), 0);
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &between.h), 0);
        for (unsigned i = 0; i < 4; i++) { /* each processor keeps one */
            cpus_soft_on(i);
            assert_int_equal(kl_zs_free(pool, h[i]), 0);
        }
        cpus_soft_on(0);
        assert_int_equal(kept(pool), 4);
        between.pool = pool;
        between.times = 0;
        cpus_soft_fence_fails(fails);
        assert_true(kl_zs_compact(pool, 0) >= 0);
        cpus_soft_fence_fails(false);
        assert_int_equal(between.times, 4);
        assert_int_equal(kept(pool), fails ? 4 : 0); /* without a fence they stay */
        between.pool = NULL;
        assert_zs_ok(pool);
        assert_true(kl_zs_compact(pool, 0) >= 0);
        assert_int_equal(kept(pool), 0);
        assert_int_equal(kl_zs_free(pool, between.h), 0); /* open again */
        assert_int_equal(kept(pool), 1);
        assert_int_equal(kl_zs_compact(pool, 0), 1);
        assert_int_equal(stats(pool).frames, 0);
    }
    fixture_host = NULL;
    close_pool(&f, pool);
}

struct lane {
    struct kl_zs *pool;
    uint64_t seed;
};

/* Each object says whose it is, in all its bytes. */
static void *churn(void *arg)
{
    struct lane *lane = arg;
    struct rng rng = rng_new(lane->seed);
    kl_handle h[N] = {{0}};
    uint64_t seed[N];
    char buf[SIZE];

    for (int i = 0; i < 30000; i++) {
        unsigned k = rng_below(&rng, N);

        if (h[k].v) {
            if (kl_zs_read(lane->pool, h[k], 0, buf, SIZE) || !bytes_are(buf, SIZE, seed[k]) ||
                kl_zs_free(lane->pool, h[k]))
                abort();
            h[k].v = 0;
            continue;
        }
        seed[k] = lane->seed * 1000000 + (uint64_t)i;
        fill_bytes(buf, SIZE, seed[k]);
        if (kl_zs_malloc(lane->pool, SIZE, 0, &h[k]) || kl_zs_write(lane->pool, h[k], 0, buf, SIZE))
            abort();
    }
    for (unsigned k = 0; k < N; k++) {
        if (h[k].v && kl_zs_free(lane->pool, h[k]))
            abort();
    }
    return NULL;
}

static void drained_while_they_change_hands(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    struct lane lane[3];
    pthread_t thread[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        lane[i] = (struct lane){pool, i + 1};
        assert_int_equal(pthread_create(&thread[i], NULL, churn, &lane[i]), 0);
    }
    for (int i = 0; i < 300; i++)
        assert_true(kl_zs_compact(pool, 0) >= 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_zs_ok(pool);
    assert_int_equal(stats(pool).objects, 0);
    assert_true(kl_zs_compact(pool, 0) >= 0);
    assert_int_equal(stats(pool).frames, 0);
    close_pool(&f, pool);
}

/* --- processors that the test has in its hands ------------------------------- */

static uint32_t class_of(struct kl_zs *pool)
{
    return zs_class_for(pool, SIZE)->index;
}

static uint32_t on_cpu(struct kl_zs *pool, unsigned cpu)
{
    return zs_kept_of(pool, class_of(pool))[cpu * KL_CPU_STACKS].n;
}

static void freed_on_another_cpu(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    kl_handle h, again;

    (void)state;
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h), 0);
    cpus_soft_on(1);
    assert_int_equal(kl_zs_free(pool, h), 0);
    assert_int_equal(on_cpu(pool, 0), 0);
    assert_int_equal(on_cpu(pool, 1), 1);
    for (unsigned cpu = 0; cpu < CPUS_SOFT; cpu++) { /* again, from anywhere */
        cpus_soft_on(cpu);
        assert_int_equal(kl_zs_free(pool, h), -KL_ESTALE);
        assert_int_equal(kept(pool), 1);
    }
    assert_zs_ok(pool);
    cpus_soft_on(0);
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &again), 0);
    assert_true(again.v >> 32 != h.v >> 32); /* what CPU 1 has is not CPU 0's */
    cpus_soft_on(1);
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &again), 0);
    assert_int_equal(again.v >> 32, h.v >> 32);
    assert_true(again.v != h.v);
    assert_int_equal(kl_zs_free(pool, h), -KL_ESTALE);
    assert_int_equal(kl_zs_free(pool, again), 0);
    close_pool(&f, pool);
}

/* Pinned, it is not kept when it is freed, but ends with its last pin. */
static void a_pinned_object_is_not_kept(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    struct kl_zs_pin pin;
    kl_handle h;

    (void)state;
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h), 0);
    assert_int_equal(kl_zs_begin(pool, h, &pin), 0);
    assert_int_equal(kl_zs_free(pool, h), 0);
    assert_int_equal(kl_zs_free(pool, h), -KL_ESTALE);
    assert_int_equal(kept(pool), 0);
    assert_int_equal(stats(pool).objects, 1);
    kl_zs_end(&pin);
    assert_int_equal(kept(pool), 0);
    assert_int_equal(stats(pool).objects, 0);
    close_pool(&f, pool);
}

/* What a CPU may keep follows the class: more slots, at once; fewer, when it is drained. */
static void they_keep_a_share_of_the_class(void **state)
{
    enum { MANY = 4096 };
    static kl_handle h[MANY];
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    struct kl_cpu_stack *stack = zs_kept_of(pool, class_of(pool));
    uint32_t few = stack->limit;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h[i]), 0);
    for (unsigned cpu = 0; cpu < CPUS_SOFT; cpu++)
        assert_int_equal(stack[cpu * KL_CPU_STACKS].limit, KL_CPU_ENTRIES);
    assert_true(few < KL_CPU_ENTRIES);
    for (unsigned i = 0; i < MANY; i++) {
        cpus_soft_on(i % CPUS_SOFT);
        assert_int_equal(kl_zs_free(pool, h[i]), 0);
    }
    assert_int_equal(kept(pool), CPUS_SOFT * KL_CPU_ENTRIES);
    assert_zs_ok(pool);
    assert_true(kl_zs_compact(pool, 0) > 0);
    assert_int_equal(kept(pool), 0);
    assert_true(kl_zs_compact(pool, 0) == 0);
    assert_int_equal(stack->limit, few);
    close_pool(&f, pool);
}

/* The stacks stay whole, and closed to the drainer; destroy takes what is in them. */
static void a_fence_that_fails_drains_nothing(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    uint64_t freed = 0;
    kl_handle h[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h[i]), 0);
    assert_int_equal(kl_zs_free(pool, h[0]), 0);
    cpus_soft_fence_fails(true);
    assert_int_equal(zs_kept_drain(pool, true, &freed), 0);
    cpus_soft_fence_fails(false);
    assert_int_equal(on_cpu(pool, 0), 1);
    assert_zs_ok(pool);
    assert_int_equal(kl_zs_free(pool, h[1]), 0); /* it is open again */
    assert_int_equal(on_cpu(pool, 0), 2);
    close_pool(&f, pool);
}

/* Handles of objects that two CPUs allocate in turn share no cache line. */
static void each_cpu_has_lines_of_its_own(void **state)
{
    enum { MANY = 400, LINE = 8 };
    static unsigned char owner[MANY * 4];
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    kl_handle h;

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        unsigned cpu = i % CPUS_SOFT;
        uint32_t line;

        cpus_soft_on(cpu);
        assert_int_equal(kl_zs_malloc(pool, 100 + i, 0, &h), 0);
        line = (uint32_t)(h.v >> 32) / LINE;
        assert_in_range(line, 0, sizeof(owner) - 1);
        assert_true(owner[line] == 0 || owner[line] == cpu + 1);
        owner[line] = (unsigned char)(cpu + 1);
    }
    close_pool(&f, pool);
}

/* Free handles go from one CPU's stock to the pool and on to another one's: there are
 * never many more of them than there were objects. */
static void handles_go_round(void **state)
{
    enum { MANY = 2000, ROUNDS = 8 };
    static kl_handle h[MANY];
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            cpus_soft_on(round % CPUS_SOFT);
            assert_int_equal(kl_zs_malloc(pool, SIZE + i % 64, 0, &h[i]), 0);
        }
        for (unsigned i = 0; i < MANY; i++) {
            cpus_soft_on((round + 1) % CPUS_SOFT);
            assert_int_equal(kl_zs_free(pool, h[i]), 0);
        }
        assert_true(kl_zs_compact(pool, 0) >= 0);
        assert_zs_ok(pool);
    }
    assert_in_range(pool->handles.used, MANY, MANY + MANY / 4);
    close_pool(&f, pool);
}

/* No memory for new handles: the object's slot is not lost. */
static void no_memory_for_handles(void **state)
{
    enum { ENTRIES = 1024 }; /* of the table's first chunk */
    static kl_handle h[ENTRIES];
    struct fixture f;
    struct kl_zs *pool = open_soft(&f);
    kl_handle more;

    (void)state;
    for (unsigned i = 0; i < ENTRIES; i++)
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &h[i]), 0);
    assert_int_equal(pool->handles.used, ENTRIES);
    for (int i = 0; i < 2; i++) {
        fault_set(FAULT_META, 1);
        assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &more), -KL_ENOMEM);
        fault_set(FAULT_META, 0);
        assert_zs_ok(pool);
        assert_zone_ok(f.zone);
    }
    assert_int_equal(stats(pool).objects, ENTRIES);
    assert_int_equal(kl_zs_malloc(pool, SIZE, 0, &more), 0);
    close_pool(&f, pool);
}

/* --- two threads free the same object: one of them does ----------------------- */

static struct {
    struct kl_zs *pool;
    kl_handle handle;
    pthread_barrier_t barrier;
    atomic_uint freed, stale;
} race;

enum { RACES = 2000 };

static void *racer(void *arg)
{
    unsigned cpu = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < RACES; i++) {
        int err;

        cpus_soft_on(cpu);
        if (cpu == 0 && kl_zs_malloc(race.pool, SIZE, 0, &race.handle))
            abort();
        pthread_barrier_wait(&race.barrier);
        err = kl_zs_free(race.pool, race.handle);
        atomic_fetch_add(err == 0 ? &race.freed : &race.stale, err == 0 || err == -KL_ESTALE);
        pthread_barrier_wait(&race.barrier);
    }
    return NULL;
}

static void one_of_two_frees_is_stale(void **state)
{
    struct fixture f;
    pthread_t other;

    (void)state;
    race.pool = open_soft(&f);
    pthread_barrier_init(&race.barrier, NULL, 2);
    assert_int_equal(pthread_create(&other, NULL, racer, (void *)1), 0);
    racer((void *)0);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&race.barrier);
    assert_int_equal(race.freed, RACES);
    assert_int_equal(race.stale, RACES);
    assert_int_equal(stats(race.pool).objects, 0);
    close_pool(&f, race.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_handles_are_stale),
        cmocka_unit_test(compaction_ends_them),
        cmocka_unit_test(background_work_ends_them),
        cmocka_unit_test(a_full_pool_gives_them_up),
        cmocka_unit_test(stacks_are_closed_while_they_are_drained),
        cmocka_unit_test(drained_while_they_change_hands),
        cmocka_unit_test(freed_on_another_cpu),
        cmocka_unit_test(a_pinned_object_is_not_kept),
        cmocka_unit_test(they_keep_a_share_of_the_class),
        cmocka_unit_test(a_fence_that_fails_drains_nothing),
        cmocka_unit_test(each_cpu_has_lines_of_its_own),
        cmocka_unit_test(handles_go_round),
        cmocka_unit_test(no_memory_for_handles),
        cmocka_unit_test(one_of_two_frees_is_stale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
