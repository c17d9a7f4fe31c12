// SPDX-License-Identifier: Apache-2.0
/* Objects that a pool keeps at hand (zs/kept.c): reused with new handles, never in the way
 * of memory that is wanted back. */
#include "support/cpus.h"
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
    struct kl_zs *pool = open_pool(&f, 0);
    struct kl_zs_pin pin;
    kl_handle old, next, forged;
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
    for (int i = 0; i < 100 && kept(pool) > 0; i++) /* whichever CPU has it */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_handles_are_stale),
        cmocka_unit_test(compaction_ends_them),
        cmocka_unit_test(background_work_ends_them),
        cmocka_unit_test(a_full_pool_gives_them_up),
        cmocka_unit_test(stacks_are_closed_while_they_are_drained),
        cmocka_unit_test(drained_while_they_change_hands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
