// SPDX-License-Identifier: Apache-2.0
#include "support/meanwhile.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

static struct {
    unsigned point;
    unsigned passed; /* how often A comes by before */
    void (*act)(void);
    pthread_t thread;
    bool armed, begun;
    atomic_bool over, waits;
} b;
static _Thread_local bool is_b, is_a;

static void come_by(unsigned point)
{
    if (!is_a || !b.armed || point != b.point || b.passed-- > 0)
        return;
    meanwhile_now();
}

static void relax(void *ctx, unsigned round)
{
    if (is_b)
        atomic_store(&b.waits, true);
    kl_linux_host()->relax(ctx, round);
}

static void wait(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    if (is_b)
        atomic_store(&b.waits, true);
    kl_linux_host()->wait(ctx, word, seen, timeout_ns);
}

static unsigned cpu(void *ctx)
{
    come_by(MEANWHILE_CPU);
    return kl_linux_host()->cpu(ctx);
}

/* Frames are cached behind a lock, which asks for the processor first. */
void meanwhile_host(struct kl_host *host)
{
    host->relax = relax;
    host->wait = wait;
    host->cpu = cpu;
    host->cpu_pop = NULL;
    host->cpu_push = NULL;
    host->cpu_fence = NULL;
}

static void *play(void *arg)
{
    (void)arg;
    is_b = true;
    b.act();
    atomic_store(&b.over, true);
    return NULL;
}

void meanwhile_now(void)
{
    b.armed = false;
    b.begun = true;
    if (pthread_create(&b.thread, NULL, play, NULL))
        abort();
    while (!atomic_load(&b.over) && !atomic_load(&b.waits))
        sched_yield();
}

#if KL_DEBUG
static void hook(enum kli_trace_point point, uint64_t x, uint64_t y, uint64_t z)
{
    (void)x, (void)y, (void)z;
    come_by(point);
}
#endif

static void set_hook(bool on)
{
#if KL_DEBUG
    atomic_store(&kli_trace_hook, on ? hook : NULL);
#else
    (void)on;
#endif
}

void meanwhile(unsigned point, unsigned nth, void (*act)(void))
{
    memset(&b, 0, sizeof(b));
    b.point = point;
    b.passed = nth - 1;
    b.act = act;
    b.armed = true;
    is_a = true;
    set_hook(true);
}

bool meanwhile_over(void)
{
    return atomic_load(&b.over);
}

bool meanwhile_waited(void)
{
    return atomic_load(&b.waits);
}

bool meanwhile_end(void)
{
    set_hook(false);
    b.armed = false;
    is_a = false;
    if (b.begun)
        pthread_join(b.thread, NULL);
    return b.begun;
}
