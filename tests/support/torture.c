// SPDX-License-Identifier: Apache-2.0
#include "support/torture.h"

#include "support/crash.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { THREADS = 32, TOLD = 20 };

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

void torture_run(void *(*const *bodies)(void *arg), unsigned n)
{
    const char *seconds = getenv("KLOTSKI_TORTURE_SECONDS");
    struct timespec length = {.tv_sec = seconds ? atoi(seconds) : 5};
    pthread_t thread[THREADS];

    assert_true(n <= THREADS);
    crash_watch();
    for (uintptr_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, bodies[i], (void *)i), 0);
    nanosleep(&length, NULL);
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
