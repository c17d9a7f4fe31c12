// SPDX-License-Identifier: Apache-2.0
/* worker.c - compaction in the background, and the clients' own work.
 *
 * A step has four parts, the first three, if asked for, only when they can gain something:
 *   1. objects: more than HIGH per cent of the pool's frames could be freed;
 *      until LOW per cent, BUDGET objects at a time;
 *   2. frames: sparse blocks hold at least two blocks' worth of free frames, and
 *      more than SPARSE per cent of the frames in use; never waits (KL_ASYNC);
 *   3. blocks that are free as a whole go back to the system, but for one;
 *   4. what the zone's clients want (idle tracking, recompression, write-back), in
 *      WORK_STEPS at most; also between steps, when the zone says that it is wanted.
 *
 * Steps are NAP_MIN apart while they gain something; each one that does not
 * doubles that, up to NAP_MAX.  There are no locks: an eventfd ends a nap.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "worker.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

#define MS UINT64_C(1000000)

struct kli_worker {
    struct kli_worker_config config;
    pthread_t thread;
    int wake; /* an eventfd */
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

    kl_zs_get_stats(kl_store_zs(worker->config.store), &stats);
    return exceeds(stats.freeable_frames, stats.frames, percent);
}

/* True when frames were freed. */
static bool compact_objects(struct kli_worker *worker)
{
    bool gained = false;

    if (!freeable(worker, HIGH))
        return false;
    while (!atomic_load(&worker->stop) && freeable(worker, LOW)) {
        if (kl_store_compact(worker->config.store, OBJECT_BUDGET) <= 0)
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

    kl_zone_get_stats(worker->config.zone, &stats);
    block = stats.frames / stats.blocks;
    sparse = stats.free_blocks * block;
    sparse = sparse < stats.free_frames ? stats.free_frames - sparse : 0;
    if (sparse < 2 * block || !exceeds(sparse, stats.used_frames, SPARSE))
        return false;
    kl_zone_compact(worker->config.zone, KL_ASYNC, FRAME_BUDGET, &report);
    return report.blocks > 0;
}

static bool compact(struct kli_worker *worker)
{
    bool gained = compact_objects(worker);

    if (!atomic_load(&worker->stop))
        gained |= compact_frames(worker);
    return (kl_zone_trim(worker->config.zone, KEEP_BLOCKS) > 0) | gained;
}

/* Nanoseconds until there is more to do. */
static uint64_t do_work(struct kli_worker *worker)
{
    struct kl_step work = {.size = sizeof(work), .budget = WORK_BUDGET, .flags = KL_STEP_WANTED};
    int err = -KL_EAGAIN;

    for (int i = 0; i < WORK_STEPS && err == -KL_EAGAIN && !atomic_load(&worker->stop); i++) {
        work.again_ns = 0;
        err = kl_zone_step(worker->config.zone, &work, NULL);
        if (work.again_ns > 0)
            break;
    }
    if (worker->config.watch)
        worker->config.watch(worker->config.watched);
    return err == -KL_EAGAIN ? work.again_ns : UINT64_MAX;
}

static uint64_t now_ns(void)
{
    return kl_linux_host()->now_ns(NULL);
}

/* Sleeps, unless something is wanted, or it is the end. */
static void nap(struct kli_worker *worker, uint64_t ns)
{
    struct pollfd wake = {.fd = worker->wake, .events = POLLIN};
    uint64_t wakes;

    if (poll(&wake, 1, (int)((ns + 999999) / 1000000)) > 0)
        (void)!read(worker->wake, &wakes, sizeof(wakes));
}

static void *worker_main(void *arg)
{
    struct kli_worker *worker = arg;
    uint64_t ms = NAP_MIN_MS, due = now_ns() + ms * MS, work;

    while (!atomic_load(&worker->stop)) {
        uint64_t now = now_ns();

        work = do_work(worker);
        if (work == 0)
            work = now_ns() - now; /* no more than half of a CPU */
        now = now_ns();
        if (now >= due) {
            ms = worker->config.compact && compact(worker) ? NAP_MIN_MS : ms * 2;
            if (ms > NAP_MAX_MS)
                ms = NAP_MAX_MS;
            now = now_ns();
            due = now + ms * MS;
        }
        if (!atomic_load(&worker->stop))
            nap(worker, work < due - now ? work : due - now);
    }
    return NULL;
}

static void kick(void *ctx)
{
    struct kli_worker *worker = ctx;
    uint64_t one = 1;

    (void)!write(worker->wake, &one, sizeof(one));
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
    if (worker->wake >= 0)
        close(worker->wake);
    free(worker);
}

int kli_worker_start(const struct kli_worker_config *config, struct kli_worker **out)
{
    struct kli_worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return -KL_ENOMEM;
    worker->config = *config;
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->wake < 0 || thread_start(worker) != 0) {
        worker_free(worker);
        return -KL_ENOMEM;
    }
    (void)kl_zone_set_kick(config->zone, kick, worker);
    *out = worker;
    return 0;
}

void kli_worker_stop(struct kli_worker *worker)
{
    if (!worker)
        return;
    (void)kl_zone_set_kick(worker->config.zone, NULL, NULL);
    atomic_store(&worker->stop, true);
    kick(worker);
    pthread_join(worker->thread, NULL);
    worker_free(worker);
}
