// SPDX-License-Identifier: Apache-2.0
/* worker.c - compaction in the background, and the clients' own work.
 *
 * A step has four parts, the first three, if asked for, only when they can gain something:
 *   1. objects: more than HIGH per cent of the pool's frames could be freed;
 *      until LOW per cent, BUDGET objects at a time;
 *   2. frames: sparse blocks hold at least two blocks' worth of free frames, and
 *      more than SPARSE per cent of the frames in use; never waits (KL_ASYNC);
 *   3. blocks that are free as a whole go back to the system, but for one;
 *   4. what the zone's clients want (idle tracking, recompression), in WORK_STEPS at most.
 *
 * Steps are NAP_MIN apart while they gain something; each one that does not
 * doubles that, up to NAP_MAX.
 *
 * Locks: the mutex guards stop alone, and is not held in a step.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
    HIGH = 5,
    LOW = 2,
    SPARSE = 3,
    OBJECT_BUDGET = 4096,
    FRAME_BUDGET = 8192,
    WORK_BUDGET = 1024,
    WORK_STEPS = 64,
    KEEP_BLOCKS = 1,
    NAP_MIN_MS = 200,
    NAP_MAX_MS = 2000,
};

struct kli_worker {
    struct kl_zone *zone;
    struct kl_store *store;
    bool compact;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    atomic_bool stop;
};

/* part is more than percent of whole. */
static bool exceeds(uint64_t part, uint64_t whole, unsigned percent)
{
    return part * 100 > whole * percent;
}

static bool freeable(struct kli_worker *worker, unsigned percent)
{
    struct kl_zs_stats stats = {.size = sizeof(stats)};

    kl_zs_get_stats(kl_store_zs(worker->store), &stats);
    return exceeds(stats.freeable_frames, stats.frames, percent);
}

/* True when frames were freed. */
static bool compact_objects(struct kli_worker *worker)
{
    bool gained = false;

    if (!freeable(worker, HIGH))
        return false;
    while (!atomic_load(&worker->stop) && freeable(worker, LOW)) {
        if (kl_store_compact(worker->store, OBJECT_BUDGET) <= 0)
            break;
        gained = true;
    }
    return gained;
}

/* True when blocks were emptied. */
static bool compact_frames(struct kli_worker *worker)
{
    struct kl_zone_stats stats = {.size = sizeof(stats)};
    struct kl_report report = {.size = sizeof(report)};
    uint64_t block;
    uint64_t sparse;

    kl_zone_get_stats(worker->zone, &stats);
    block = stats.frames / stats.blocks;
    sparse = stats.free_blocks * block;
    sparse = sparse < stats.free_frames ? stats.free_frames - sparse : 0;
    if (sparse < 2 * block || !exceeds(sparse, stats.used_frames, SPARSE))
        return false;
    kl_zone_compact(worker->zone, KL_ASYNC, FRAME_BUDGET, &report);
    return report.blocks > 0;
}

static bool compact(struct kli_worker *worker)
{
    bool gained = compact_objects(worker);

    if (!atomic_load(&worker->stop))
        gained |= compact_frames(worker);
    return (kl_zone_trim(worker->zone, KEEP_BLOCKS) > 0) | gained;
}

/* True when there is more to do. */
static bool do_work(struct kli_worker *worker)
{
    struct kl_step work = {.size = sizeof(work), .budget = WORK_BUDGET, .flags = KL_STEP_WANTED};
    bool more = true;

    for (int i = 0; i < WORK_STEPS && more && !atomic_load(&worker->stop); i++)
        more = kl_zone_step(worker->zone, &work, NULL) == -KL_EAGAIN && work.again_ns == 0;
    return more;
}

static bool step(struct kli_worker *worker)
{
    bool gained = worker->compact && compact(worker);

    return do_work(worker) | gained;
}

/* Sleeps, unless it is the end. */
static void nap(struct kli_worker *worker, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&worker->mutex);
    while (!atomic_load(&worker->stop)) {
        if (pthread_cond_timedwait(&worker->wake, &worker->mutex, &until) != 0)
            break;
    }
    pthread_mutex_unlock(&worker->mutex);
}

static void *worker_main(void *arg)
{
    struct kli_worker *worker = arg;
    unsigned ms = NAP_MIN_MS;

    while (!atomic_load(&worker->stop)) {
        nap(worker, ms);
        if (atomic_load(&worker->stop))
            break;
        ms = step(worker) ? NAP_MIN_MS : ms * 2;
        if (ms > NAP_MAX_MS)
            ms = NAP_MAX_MS;
    }
    return NULL;
}

/* The thread takes no signals: they are the server's. */
static int thread_start(struct kli_worker *worker)
{
    sigset_t all;
    sigset_t old;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

static void worker_free(struct kli_worker *worker)
{
    pthread_cond_destroy(&worker->wake);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}

int kli_worker_start(struct kl_zone *zone, struct kl_store *store, bool compact,
                     struct kli_worker **out)
{
    struct kli_worker *worker = calloc(1, sizeof(*worker));
    pthread_condattr_t attr;

    if (!worker)
        return -KL_ENOMEM;
    worker->zone = zone;
    worker->store = store;
    worker->compact = compact;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (thread_start(worker) != 0) {
        worker_free(worker);
        return -KL_ENOMEM;
    }
    *out = worker;
    return 0;
}

void kli_worker_stop(struct kli_worker *worker)
{
    if (!worker)
        return;
    pthread_mutex_lock(&worker->mutex);
    atomic_store(&worker->stop, true);
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->mutex);
    pthread_join(worker->thread, NULL);
    worker_free(worker);
}
