// SPDX-License-Identifier: Apache-2.0
/* engine.c - a copy engine in software: a bounded queue of batches, and the thread that
 * executes them.
 *
 * Two rings, of batches and of their copies.  Both only grow at the end of `put` and are
 * emptied at the end of `got`: counters that never wrap, whose remainder is the place.
 *
 *     submit: [ batch | batch | batch ]  ->  thread: copies  ->  done(batch, 0)
 *
 * (C1) got <= put <= got + the ring's size, for batches and for copies.
 * (C2) The places from got to put belong to the queue: the thread reads them without the lock,
 *      nobody writes them until `got` has passed them.
 * (C3) A batch has been checked in full before it is queued: no copy of it reaches beyond
 *      the memory, or overlaps its own source.
 * (C4) done is called without the lock, once for each batch, in the order of submission; `got` of
 *      batches passes it after that, so that who waits for it waits for the report, too.
 *      The copies' places are free before: done may submit again.
 * (C5) The thread ends only when it is to stop and the queue is empty.
 *
 * `lock` is a leaf for whoever submits: nothing else is taken under it.  Any thread may submit at
 * any time, and several wait; create and destroy are one thread's.
 *
 * The rate: a batch is copied in pieces, and after each the thread sleeps until so many bytes
 * may be over.  Without a base only the sleep is left: a model of an engine of that speed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <klotski/heap.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_BATCHES 64u
#define DEFAULT_COPIES  4096u
#define MOST_PLACES     (1u << 24)
#define PIECE           (UINT64_C(1) << 18) /* between two looks at the clock */
#define NS_PER_SEC      UINT64_C(1000000000)

struct queued {
    struct kl_heap_batch *batch;
    uint32_t copies;
};

struct kl_linux_engine {
    unsigned char *base;
    uint64_t bytes;
    uint64_t rate; /* bytes a second; 0: no bound */
    void (*done)(struct kl_heap_batch *batch, int result);
    char name[16]; /* what the kernel keeps of a thread's name */
    pthread_t thread;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t work;  /* something is queued, or it is to stop */
    pthread_cond_t less;  /* a batch was reported */
    struct queued *batch;
    struct kl_copy *copy;
    uint64_t batches, copies;           /* sizes of the rings */
    uint64_t batch_put, batch_got;      /* C1 */
    uint64_t copy_put, copy_got;        /* C1 */
    struct kl_linux_engine_stats stats; /* without queued */
    bool stop;
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    struct timespec then = {.tv_sec = (time_t)(ns / NS_PER_SEC),
                            .tv_nsec = (long)(ns % NS_PER_SEC)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) != 0)
        ;
}

/* ---- what is valid -------------------------------------------------------- */

static bool config_ok(const struct kl_linux_engine_config *config)
{
    if (!config || config->size != sizeof(*config) || config->bytes == 0)
        return false;
    if (config->batches > MOST_PLACES || config->copies > MOST_PLACES)
        return false;
    if (!config->base)
        return config->bytes_per_second > 0;
    return config->bytes <= UINTPTR_MAX - (uintptr_t)config->base;
}

static int check_copy(const struct kl_linux_engine *engine, const struct kl_copy *copy)
{
    uint64_t apart = copy->dst > copy->src ? copy->dst - copy->src : copy->src - copy->dst;

    if (copy->bytes == 0)
        return -KL_EINVAL;
    if (copy->bytes > engine->bytes || copy->dst > engine->bytes - copy->bytes ||
        copy->src > engine->bytes - copy->bytes)
        return -KL_ERANGE;
    return apart < copy->bytes ? -KL_EINVAL : 0;
}

/* C3 */
static int check_batch(const struct kl_linux_engine *engine, const struct kl_copy *copies, size_t n)
{
    if (n == 0)
        return -KL_EINVAL;
    if (n > engine->copies)
        return -KL_ENOSPC;
    for (size_t i = 0; i < n; i++) {
        int err = check_copy(engine, &copies[i]);

        if (err)
            return err;
    }
    return 0;
}

/* ---- the thread ----------------------------------------------------------- */

/* How long so many bytes take at the rate. */
static uint64_t takes_ns(const struct kl_linux_engine *engine, uint64_t bytes)
{
    uint64_t rest = bytes % engine->rate;

    return bytes / engine->rate * NS_PER_SEC +
           (uint64_t)((double)rest * (double)NS_PER_SEC / (double)engine->rate);
}

/* So many bytes of the batch that began at `begin` are over. */
static void keep_rate(const struct kl_linux_engine *engine, uint64_t begin, uint64_t bytes)
{
    if (engine->rate)
        sleep_until(begin + takes_ns(engine, bytes));
}

static uint64_t execute(const struct kl_linux_engine *engine, const struct kl_copy *copy,
                        uint64_t begin, uint64_t before)
{
    for (uint64_t at = 0; at < copy->bytes && engine->base;) {
        uint64_t piece = copy->bytes - at;

        if (engine->rate && piece > PIECE)
            piece = PIECE;
        memcpy(engine->base + copy->dst + at, engine->base + copy->src + at, (size_t)piece);
        at += piece;
        keep_rate(engine, begin, before + at);
    }
    return before + copy->bytes;
}

/* The batch at batch_got; called without the lock. (C2) */
static uint64_t execute_batch(const struct kl_linux_engine *engine, const struct queued *queued,
                              uint64_t first, uint64_t begin)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < queued->copies; i++)
        bytes = execute(engine, &engine->copy[(first + i) % engine->copies], begin, bytes);
    keep_rate(engine, begin, bytes);
    return bytes;
}

/* Takes the lock off and on again. */
static void serve(struct kl_linux_engine *engine)
{
    struct queued queued = engine->batch[engine->batch_got % engine->batches];
    uint64_t first = engine->copy_got, begin, bytes;

    pthread_mutex_unlock(&engine->lock);
    begin = clock_ns(CLOCK_MONOTONIC);
    bytes = execute_batch(engine, &queued, first, begin);
    pthread_mutex_lock(&engine->lock);
    engine->copy_got += queued.copies;
    engine->stats.copies += queued.copies;
    engine->stats.bytes += bytes;
    engine->stats.busy_ns += clock_ns(CLOCK_MONOTONIC) - begin;
    pthread_mutex_unlock(&engine->lock);
    engine->done(queued.batch, 0); /* C4 */
    pthread_mutex_lock(&engine->lock);
    engine->batch_got++;
    engine->stats.batches++;
    engine->stats.cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    pthread_cond_broadcast(&engine->less);
}

static void *work(void *arg)
{
    struct kl_linux_engine *engine = arg;

    pthread_setname_np(pthread_self(), engine->name);
    pthread_mutex_lock(&engine->lock);
    for (;;) {
        while (engine->batch_got == engine->batch_put && !engine->stop)
            pthread_cond_wait(&engine->work, &engine->lock);
        if (engine->batch_got == engine->batch_put)
            break; /* C5 */
        serve(engine);
    }
    pthread_mutex_unlock(&engine->lock);
    return NULL;
}

/* ---- its life ------------------------------------------------------------- */

static struct kl_linux_engine *engine_new(const struct kl_linux_engine_config *config)
{
    struct kl_linux_engine *engine = calloc(1, sizeof(*engine));

    if (!engine)
        return NULL;
    engine->base = config->base;
    engine->bytes = config->bytes;
    engine->rate = config->bytes_per_second;
    engine->done = config->done ? config->done : kl_heap_done;
    engine->batches = config->batches ? config->batches : DEFAULT_BATCHES;
    engine->copies = config->copies ? config->copies : DEFAULT_COPIES;
    strncpy(engine->name, config->name ? config->name : "klotski-copy", sizeof(engine->name) - 1);
    engine->batch = calloc((size_t)engine->batches, sizeof(*engine->batch));
    engine->copy = calloc((size_t)engine->copies, sizeof(*engine->copy));
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->work, NULL);
    pthread_cond_init(&engine->less, NULL);
    return engine;
}

static void engine_free(struct kl_linux_engine *engine)
{
    pthread_cond_destroy(&engine->less);
    pthread_cond_destroy(&engine->work);
    pthread_mutex_destroy(&engine->lock);
    free(engine->copy);
    free(engine->batch);
    free(engine);
}

/* The thread leaves signals to others. */
static bool start(struct kl_linux_engine *engine)
{
    sigset_t all, before;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&engine->thread, NULL, work, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err == 0;
}

int kl_linux_engine_create(const struct kl_linux_engine_config *config,
                           struct kl_linux_engine **out)
{
    struct kl_linux_engine *engine;

    if (!out || !config_ok(config))
        return -KL_EINVAL;
    engine = engine_new(config);
    if (!engine)
        return -KL_ENOMEM;
    if (!engine->batch || !engine->copy || !start(engine)) {
        engine_free(engine);
        return -KL_ENOMEM;
    }
    *out = engine;
    return 0;
}

void kl_linux_engine_destroy(struct kl_linux_engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engine->lock);
    engine->stop = true;
    pthread_cond_signal(&engine->work);
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    engine_free(engine);
}

/* ---- the queue ------------------------------------------------------------ */

/* With the lock held; there is room. */
static void put(struct kl_linux_engine *engine, const struct kl_copy *copies, size_t n,
                struct kl_heap_batch *batch)
{
    uint32_t queued;

    for (size_t i = 0; i < n; i++)
        engine->copy[(engine->copy_put + i) % engine->copies] = copies[i];
    engine->copy_put += n;
    engine->batch[engine->batch_put++ % engine->batches] =
        (struct queued){.batch = batch, .copies = (uint32_t)n};
    queued = (uint32_t)(engine->batch_put - engine->batch_got);
    if (queued > engine->stats.most)
        engine->stats.most = queued;
    pthread_cond_signal(&engine->work);
}

static bool has_room(const struct kl_linux_engine *engine, size_t n)
{
    return engine->batch_put - engine->batch_got < engine->batches &&
           engine->copy_put + n - engine->copy_got <= engine->copies;
}

int kl_linux_engine_submit(struct kl_linux_engine *engine, const struct kl_copy *copies, size_t n,
                           struct kl_heap_batch *batch)
{
    int err = check_batch(engine, copies, n);

    pthread_mutex_lock(&engine->lock);
    if (err) {
        engine->stats.refused++;
    } else if (!has_room(engine, n)) {
        engine->stats.full++;
        err = -KL_EAGAIN;
    } else {
        put(engine, copies, n, batch);
    }
    pthread_mutex_unlock(&engine->lock);
    return err;
}

void kl_linux_engine_wait(struct kl_linux_engine *engine)
{
    uint64_t until;

    pthread_mutex_lock(&engine->lock);
    until = engine->batch_put;
    while (engine->batch_got < until)
        pthread_cond_wait(&engine->less, &engine->lock);
    pthread_mutex_unlock(&engine->lock);
}

void kl_linux_engine_get_stats(struct kl_linux_engine *engine, struct kl_linux_engine_stats *stats)
{
    struct kl_linux_engine_stats ours;

    pthread_mutex_lock(&engine->lock);
    ours = engine->stats;
    ours.queued = (uint32_t)(engine->batch_put - engine->batch_got);
    pthread_mutex_unlock(&engine->lock);
    ours.size = sizeof(ours);
    if (stats->size < ours.size)
        ours.size = stats->size;
    if (ours.size >= sizeof(ours.size)) /* else it was forgotten */
        memcpy(stats, &ours, ours.size);
}
