// SPDX-License-Identifier: Apache-2.0
#include "support/torture.h"

#include "support/crash.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { THREADS = 32, TOLD = 20, LONGER = 600 /* seconds */ };

static atomic_bool stop;
static _Atomic uint64_t ops, wrong;

bool torture_on(void)
{
    atomic_fetch_add_explicit(&ops, 1, memory_order_relaxed);
    return !atomic_load_explicit(&stop, memory_order_relaxed);
}

void torture_expect(bool ok, const char *what)
{
    if (!ok && atomic_fetch_add(&wrong, 1) < TOLD)
        fprintf(stderr, "torture: %s\n", what);
}

void torture_expect_outcomes(const struct kl_report *r)
{
    torture_expect(r->isolated == r->migrated + r->put_back + r->freed,
                   "an isolation had no one outcome");
}

const char *torture_first_zero(const struct torture_count *counts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (counts[i].n == 0)
            return counts[i].name;
    }
    return NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

bool torture_goes_on(torture_missing *missing)
{
    static double begin;
    const char *given = getenv("KLOTSKI_TORTURE_SECONDS"), *what;
    double seconds = given ? atoi(given) : 5, passed;

    if (begin == 0)
        begin = now();
    passed = now() - begin;
    if (passed < seconds)
        return true;
    what = missing ? missing() : NULL;
    if (what && passed < seconds + LONGER)
        return true;
    torture_expect(!what, what);
    return false;
}

void torture_run(void *(*const *bodies)(void *arg), unsigned n, torture_missing *missing)
{
    const struct timespec nap = {.tv_nsec = 50000000};
    pthread_t thread[THREADS];

    assert_true(n <= THREADS);
    crash_watch();
    for (uintptr_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, bodies[i], (void *)i), 0);
    while (torture_goes_on(missing))
        nanosleep(&nap, NULL);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
}

uint64_t torture_wrong(void)
{
    return atomic_load(&wrong);
}

unsigned long long torture_ops(void)
{
    return atomic_load(&ops);
}
