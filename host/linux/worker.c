// SPDX-License-Identifier: Apache-2.0
/* worker.c - a zone's background work behind a descriptor, or in a thread.
 *
 * `wake` is a timer's descriptor, readable while a step is wanted.  The kick sets it to
 * go off at once, a step after which there is something to do later to go off then.
 * `pending` is the time that it is set to, or about to be, so that many kicks before a
 * step are one.
 *
 * (W1) A step first drains the descriptor, then clears `pending`, then works.  A kick
 *      that comes before the clearing is served by this step, one that comes after it
 *      sets the timer again.
 * (W4) `pending` only falls until a step clears it.  Who lowers it sets the timer, and
 *      again while it finds `pending` lower: the last one to set it sets the earliest.
 * (W2) After kl_zone_set_kick(NULL) no kick runs: only then the descriptor is closed.
 * (W3) The thread accounts all its processor time to the pause that follows, so that
 *      it takes `percent` of a CPU at most, whatever the steps cost.
 * (W5) The thread calls `quiet` at most once between two of its steps.
 * (W6) It keeps to no share while there is pressure: then it works as long as steps get
 *      something done.  Where nothing is to be had, the steps back off.
 *
 * The thread sleeps in poll: on `wake` and `halt`, and the descriptors of pressure and peers if
 * it watches these; or in a pause on `halt` and the pressure's, which ends it.
 * `halt` is readable from the moment that somebody wants the thread to end.
 * (W7) The thread cannot wait for its own end: stop refuses, and destroy is a fault.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <klotski/step.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_BUDGET  512u
#define DEFAULT_PERCENT 10u
#define LOWEST_NICE     19
#define NS_PER_SEC      UINT64_C(1000000000)
#define NS_PER_MS       UINT64_C(1000000)
#define BUSY_NS         NS_PER_MS

/* What the timer is set to, else a time. */
#define IDLE    UINT64_MAX
#define NOW     UINT64_C(0)
#define MOST_NS UINT64_C(1000000000000000000) /* 31 years, within any time_t */

struct kl_linux_worker {
    struct kl_zone *zone;
    uint32_t budget;
    unsigned percent;
    unsigned flags; /* of each step */
    void (*stepped)(void *ctx);
    void (*quiet)(void *ctx);
    int quiet_ms;
    void *ctx;
    struct kl_linux_pressure *pressure;
    struct kl_linux_peers *peers;
    bool hurries;  /* the thread's own: it has raised itself, or tried */
    char name[16]; /* what the kernel keeps of a thread's name */
    int wake;
    int halt;
    _Atomic uint64_t pending; /* of CLOCK_MONOTONIC */
    pthread_t thread;
    bool running; /* start, stop and destroy are one thread's at a time */
    _Atomic uint64_t steps;
    _Atomic uint64_t kicks;
    _Atomic uint64_t cpu_ns;
    _Atomic uint64_t paused_ns;
};

/* The worker whose thread this is. */
static _Thread_local const struct kl_linux_worker *works_for;

/* Never blocks: nobody writes often enough to fill it. */
static void signal_fd(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

/* Was there anything? */
static bool drain_fd(int fd)
{
    uint64_t n;
    ssize_t got;

    while ((got = read(fd, &n, sizeof(n))) < 0 && errno == EINTR)
        continue;
    return got > 0;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* The descriptor becomes readable then; NOW: at once. */
static void set_timer(int fd, uint64_t then)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(then / NS_PER_SEC), .tv_nsec = (long)(then % NS_PER_SEC)}};

    if (then == NOW)
        at.it_value.tv_nsec = 1; /* 0 would switch it off */
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Then, or earlier if somebody wants it earlier. (W4) */
static void want_step(struct kl_linux_worker *worker, uint64_t then)
{
    uint64_t set = atomic_load(&worker->pending);

    do {
        if (set <= then)
            return;
    } while (!atomic_compare_exchange_weak(&worker->pending, &set, then));
    for (;; then = set) {
        set_timer(worker->wake, then);
        set = atomic_load(&worker->pending);
        if (set >= then)
            return;
    }
}

static void want_step_later(struct kl_linux_worker *worker, uint64_t after_ns)
{
    want_step(worker, clock_ns(CLOCK_MONOTONIC) + (after_ns < MOST_NS ? after_ns : MOST_NS));
}

static void kicked(void *ctx)
{
    struct kl_linux_worker *worker = ctx;

    atomic_fetch_add_explicit(&worker->kicks, 1, memory_order_relaxed);
    want_step(worker, NOW);
}

static bool config_ok(const struct kl_linux_worker_config *config)
{
    return config->size == sizeof(*config) && config->percent <= 100 &&
           (!config->quiet || config->quiet_ns > 0) && !(config->flags & ~(unsigned)KL_STEP_WANTED);
}

/* Rounded up, as poll has it. */
static int to_ms(uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);

    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static struct kl_linux_worker *worker_new(struct kl_zone *zone,
                                          const struct kl_linux_worker_config *config)
{
    struct kl_linux_worker *worker = calloc(1, sizeof(*worker));
    const char *name = config && config->name ? config->name : "klotski";

    if (!worker)
        return NULL;
    worker->zone = zone;
    atomic_store(&worker->pending, IDLE);
    worker->budget = config && config->budget ? config->budget : DEFAULT_BUDGET;
    worker->percent = config && config->percent ? config->percent : DEFAULT_PERCENT;
    worker->flags = config ? config->flags : 0;
    worker->stepped = config ? config->stepped : NULL;
    worker->ctx = config ? config->ctx : NULL;
    worker->quiet = config ? config->quiet : NULL;
    worker->quiet_ms = config ? to_ms(config->quiet_ns) : 0;
    worker->pressure = config ? config->pressure : NULL;
    worker->peers = config ? config->peers : NULL;
    strncpy(worker->name, name, sizeof(worker->name) - 1);
    worker->wake = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    worker->halt = worker->wake < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return worker;
}

static void worker_free(struct kl_linux_worker *worker)
{
    if (worker->wake >= 0)
        close(worker->wake);
    if (worker->halt >= 0)
        close(worker->halt);
    free(worker);
}

int kl_linux_worker_create(struct kl_zone *zone, const struct kl_linux_worker_config *config,
                           struct kl_linux_worker **out)
{
    struct kl_linux_worker *worker;
    int err;

    if (!zone || !out || (config && !config_ok(config)))
        return -KL_EINVAL;
    worker = worker_new(zone, config);
    if (!worker)
        return -KL_ENOMEM;
    err = worker->halt < 0 ? kli_linux_error(errno) : kl_zone_set_kick(zone, kicked, worker);
    if (err) {
        worker_free(worker);
        return err;
    }
    *out = worker;
    return 0;
}

void kl_linux_worker_destroy(struct kl_linux_worker *worker)
{
    if (!worker)
        return;
    if (kl_linux_worker_stop(worker) == -KL_EBUSY)
        kl_linux_host()->fatal(NULL, "a worker's own thread destroys it", __FILE__, __LINE__);
    kl_zone_set_kick(worker->zone, NULL, NULL); /* W2 */
    worker_free(worker);
}

int kl_linux_worker_fd(const struct kl_linux_worker *worker)
{
    return worker->wake;
}

int kl_linux_worker_step(struct kl_linux_worker *worker)
{
    struct kl_step step = {.size = sizeof(step), .budget = worker->budget, .flags = worker->flags};
    bool readable = drain_fd(worker->wake);
    int err;

    /* W1; it was the time that came, not a kick nor the caller's own idea */
    if (atomic_exchange(&worker->pending, IDLE) != NOW && readable)
        step.flags |= KL_STEP_WANTED;
    err = kl_zone_step(worker->zone, &step, NULL);
    atomic_fetch_add_explicit(&worker->steps, 1, memory_order_relaxed);
    if (err == -KL_EBUSY) /* another thread's, which this kick may have come too late for */
        want_step_later(worker, BUSY_NS);
    else if (step.again_ns)
        want_step_later(worker, step.again_ns);
    else if (err == -KL_EAGAIN)
        want_step(worker, NOW);
    if (worker->stepped)
        worker->stepped(worker->ctx);
    return err;
}

uint64_t kli_worker_pause(uint64_t cpu_ns, unsigned percent)
{
    return cpu_ns / percent * (100 - percent) + cpu_ns % percent * (100 - percent) / percent;
}

static bool is_short(const struct kl_linux_worker *worker)
{
    return kl_zone_pressure_level(worker->zone) != KL_PRESSURE_NONE;
}

static int pressure_fd(const struct kl_linux_worker *worker)
{
    return worker->pressure ? kl_linux_pressure_fd(worker->pressure) : -1;
}

static int peers_fd(const struct kl_linux_worker *worker)
{
    return worker->peers ? kl_linux_peers_fd(worker->peers) : -1;
}

/* Sleeps for so long, or until there is pressure; false: the thread shall end. */
static bool nap(const struct kl_linux_worker *worker, uint64_t ns)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC), end = now + ns;
    struct pollfd fd[2] = {{.fd = worker->halt, .events = POLLIN},
                           {.fd = pressure_fd(worker), .events = POLLIN}};

    for (; now < end && !is_short(worker); now = clock_ns(CLOCK_MONOTONIC)) {
        struct timespec left = {.tv_sec = (time_t)((end - now) / NS_PER_SEC),
                                .tv_nsec = (long)((end - now) % NS_PER_SEC)};

        if (ppoll(fd, 2, &left, NULL) <= 0)
            continue;
        if (fd[0].revents)
            return false;
        kl_linux_pressure_look(worker->pressure);
    }
    return true;
}

/* How long poll may wait: until `then`; IDLE: for ever. */
static int wait_ms(uint64_t then)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    if (then == IDLE)
        return -1;
    return then > now ? to_ms(then - now) : 0;
}

/* Sleeps until a step is wanted, looking out for pressure and peers; false: the thread shall
 * end. */
static bool sleep_until_wanted(const struct kl_linux_worker *worker)
{
    struct pollfd fd[4] = {{.fd = worker->halt, .events = POLLIN},
                           {.fd = worker->wake, .events = POLLIN},
                           {.fd = pressure_fd(worker), .events = POLLIN},
                           {.fd = peers_fd(worker), .events = POLLIN}};
    uint64_t quiet = IDLE;

    if (worker->quiet)
        quiet = clock_ns(CLOCK_MONOTONIC) + (uint64_t)worker->quiet_ms * NS_PER_MS;
    for (;;) {
        int ready = poll(fd, 4, wait_ms(quiet));

        if (ready < 0) /* EINTR: a debugger */
            continue;
        if (ready == 0 && worker->quiet) {
            worker->quiet(worker->ctx); /* W5 */
            quiet = IDLE;
            continue;
        }
        if (fd[0].revents)
            return false;
        if (fd[2].revents)
            kl_linux_pressure_look(worker->pressure); /* its kick makes `wake` readable */
        if (fd[3].revents)
            kl_linux_peers_look(worker->peers);
        if (fd[1].revents)
            return true;
    }
}

/* While there is pressure: the thread's nice value is the process's, if it may. (W6) */
static bool hurry(struct kl_linux_worker *worker)
{
    bool now = is_short(worker);

    if (now != worker->hurries)
        setpriority(PRIO_PROCESS, 0, now ? 0 : LOWEST_NICE);
    worker->hurries = now;
    return now;
}

/* Pays for the processor time since *since; false: the thread shall end. */
static bool pay(struct kl_linux_worker *worker, uint64_t *since)
{
    uint64_t now = clock_ns(CLOCK_THREAD_CPUTIME_ID), used = now - *since;
    uint64_t pause = hurry(worker) ? 0 : kli_worker_pause(used, worker->percent);

    *since = now;
    if (!nap(worker, pause))
        return false;
    atomic_fetch_add_explicit(&worker->cpu_ns, used, memory_order_relaxed);
    atomic_fetch_add_explicit(&worker->paused_ns, pause, memory_order_relaxed);
    return true;
}

static void *work(void *arg)
{
    struct kl_linux_worker *worker = arg;
    uint64_t since = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    works_for = worker;
    pthread_setname_np(pthread_self(), worker->name);
    setpriority(PRIO_PROCESS, 0, LOWEST_NICE); /* of this thread alone, on Linux */
    while (sleep_until_wanted(worker)) {
        kl_linux_worker_step(worker);
        if (!pay(worker, &since)) /* W3 */
            break;
    }
    return NULL;
}

int kl_linux_worker_start(struct kl_linux_worker *worker)
{
    sigset_t all, before;
    int err;

    if (worker->running)
        return -KL_EEXIST;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
    err = pthread_create(&worker->thread, NULL, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return -KL_ENOMEM;
    worker->running = true;
    return 0;
}

int kl_linux_worker_stop(struct kl_linux_worker *worker)
{
    if (works_for == worker) /* W7 */
        return -KL_EBUSY;
    if (!worker->running)
        return -KL_ENOENT;
    signal_fd(worker->halt);
    pthread_join(worker->thread, NULL);
    drain_fd(worker->halt);
    worker->running = false;
    return 0;
}

void kl_linux_worker_get_stats(const struct kl_linux_worker *worker,
                               struct kl_linux_worker_stats *stats)
{
    struct kl_linux_worker_stats ours = {
        .size = sizeof(ours),
        .kicks = atomic_load(&worker->kicks),
        .steps = atomic_load(&worker->steps),
        .cpu_ns = atomic_load(&worker->cpu_ns),
        .paused_ns = atomic_load(&worker->paused_ns),
    };
    if (stats->size < ours.size)
        ours.size = stats->size;
    if (ours.size >= sizeof(ours.size)) /* else it was forgotten */
        memcpy(stats, &ours, ours.size);
}
