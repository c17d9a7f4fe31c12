// SPDX-License-Identifier: Apache-2.0
#include "support/moment.h"

static struct moment {
    int at;
    unsigned nth;
    void (*act)(void);
} moment[2];

static void hook(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    for (unsigned i = 0; i < 2; i++) {
        struct moment *m = &moment[i];

        if (m->nth > 0 && m->at == (int)point && --m->nth == 0)
            m->act();
    }
}

void moment_at(unsigned i, int point, unsigned nth, void (*act)(void))
{
    moment[i] = (struct moment){point, nth, act};
#if KL_DEBUG
    atomic_store(&kli_trace_hook, hook);
#else
    (void)hook;
#endif
}

void moments_came(void)
{
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(moment[i].nth, 0);
}

static _Atomic uint64_t clock_ns;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return atomic_load(&clock_ns);
}

static void relax(void *ctx, unsigned round)
{
    (void)ctx, (void)round;
    atomic_fetch_add(&clock_ns, 1000000);
}

void moment_clock(struct kl_host *host)
{
    host->now_ns = now_ns;
    host->relax = relax;
}
