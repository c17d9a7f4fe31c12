// SPDX-License-Identifier: Apache-2.0
#include "interleave/stage.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* More polls than any bounded wait of the library makes. */
enum { BLOCKED = 400, DEADLOCK = 20000000 };
static const uint64_t TICK_NS = 1000000;

struct actor stage[2];
char stage_now[256];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static _Thread_local struct actor *self;
static _Atomic uint64_t clock_ns;

const char *stage_point_name(int point)
{
#define NAME(what, group, name, a, b, c) #name,
    static const char *const name[] = {KLI_TRACE_POINTS(NAME)};
#undef NAME

    return point < 0 || point >= KLI_TRACE_COUNT ? "-" : name[point];
}

static void play_cues(struct actor *me, int point)
{
    for (int i = 0; me->cue && i < STAGE_CUES; i++) {
        if (!me->cue[i].act || me->cue[i].at != point || me->cued[i])
            continue;
        me->cued[i] = true;
        self = NULL; /* a third party, who is not stopped */
        me->cue[i].act(me->arg);
        self = me;
    }
}

static bool is_stop(struct actor *me, int point)
{
    bool new = !me->seen[point];

    me->seen[point] = true;
    me->news += new;
    if (me->after >= 0 && !me->seen[me->after])
        return false;
    if (me->stop == STAGE_ANY)
        return new && me->news == me->nth;
    return me->stop == point && ++me->hits == me->nth;
}

static void stand(struct actor *me, int point)
{
    pthread_mutex_lock(&lock);
    me->stopped_at = point;
    atomic_store(&me->stands, true);
    pthread_cond_broadcast(&changed);
    while (!me->open)
        pthread_cond_wait(&changed, &lock);
    atomic_store(&me->stands, false);
    pthread_mutex_unlock(&lock);
}

static void hook(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    struct actor *me = self;

    (void)a, (void)b, (void)c;
    if (!me)
        return;
    play_cues(me, (int)point);
    if (is_stop(me, (int)point))
        stand(me, (int)point);
}

static void open_gate(struct actor *actor)
{
    pthread_mutex_lock(&lock);
    actor->open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void poll(bool for_owner)
{
    struct actor *me = self;
    unsigned polls;

    atomic_fetch_add(&clock_ns, TICK_NS);
    if (!me) {
        sched_yield();
        return;
    }
    polls = atomic_fetch_add(&me->polls, 1);
    if (polls == DEADLOCK) {
        fprintf(stderr, "nobody goes on: %s\n", stage_now);
        abort();
    }
    if (!atomic_load(&me->other->stands)) {
        sched_yield();
    } else if (polls > BLOCKED) {
        atomic_store(for_owner ? &me->owner_waited : &me->waited, true);
        open_gate(me->other);
    }
}

void stage_poll_owner(void)
{
    poll(true);
}

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return atomic_load(&clock_ns);
}

static void host_wait(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    (void)ctx, (void)word, (void)seen;
    if (timeout_ns != UINT64_MAX)
        atomic_fetch_add(&clock_ns, timeout_ns);
    poll(false);
}

static void host_wake(void *ctx, const uint32_t *word, bool all)
{
    (void)ctx, (void)word, (void)all;
}

static void host_relax(void *ctx, unsigned round)
{
    (void)ctx, (void)round;
    poll(false);
}

static unsigned host_cpu(void *ctx)
{
    (void)ctx;
    return self ? self->cpu : 0;
}

static void host_fatal(void *ctx, const char *what, const char *file, int line)
{
    (void)ctx;
    fprintf(stderr, "%s:%d: broken invariant: %s; %s\n", file, line, what, stage_now);
    abort();
}

const struct kl_host *stage_host(void)
{
    static struct kl_host host;

    host = *kl_linux_host();
    host.ncpus = 2;
    host.cpu = host_cpu;
    host.cpu_pop = NULL; /* whose processor is the real one */
    host.cpu_push = NULL;
    host.cpu_fence = NULL;
    host.now_ns = now_ns;
    host.wait = host_wait;
    host.wake = host_wake;
    host.relax = host_relax;
    host.fatal = host_fatal;
    return &host;
}

static void *actor_main(void *arg)
{
    self = arg;
    self->run(self->arg, self->cpu);
    pthread_mutex_lock(&lock);
    self->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

bool stage_start(unsigned who, void (*run)(void *arg, unsigned cpu), void *arg, int stop,
                 unsigned nth, int after, const struct cue *cue)
{
    struct actor *actor = &stage[who];
    bool stands;

#if KL_DEBUG
    atomic_store(&kli_trace_hook, hook);
#else
    (void)hook;
#endif
    memset(actor, 0, sizeof(*actor));
    actor->cpu = who;
    actor->other = &stage[!who];
    actor->run = run;
    actor->arg = arg;
    actor->stop = stop;
    actor->nth = nth;
    actor->after = after;
    actor->cue = cue;
    actor->stopped_at = -1;
    assert_int_equal(pthread_create(&actor->thread, NULL, actor_main, actor), 0);
    pthread_mutex_lock(&lock);
    while (actor->stopped_at < 0 && !actor->done)
        pthread_cond_wait(&changed, &lock);
    stands = !actor->done;
    pthread_mutex_unlock(&lock);
    return stands;
}

void stage_finish(unsigned who)
{
    open_gate(&stage[who]);
    pthread_join(stage[who].thread, NULL);
}
