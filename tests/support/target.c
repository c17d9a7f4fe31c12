// SPDX-License-Identifier: Apache-2.0
#include "support/target.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static bool happens(struct fake_target *t, atomic_int *percent)
{
    return (int)rng_below(&t->rng, 100) < atomic_load(percent);
}

enum { TRIMMED = 0xee };

static void keep_late(struct fake_target *t, const struct kl_target_io *io)
{
    struct fake_late *late;

    late = &t->late[t->nlate++];
    late->offset = io->offset;
    late->n = io->bytes;
    late->bytes = malloc(io->bytes);
    if (io->op == KL_TARGET_WRITE)
        memcpy(late->bytes, io->buf, io->bytes);
    else
        memset(late->bytes, TRIMMED, io->bytes);
    atomic_fetch_add(&t->given_up, 1);
}

static int serve_write(struct fake_target *t, struct kl_target_io *io)
{
    int error = atomic_load(&t->error);

    atomic_fetch_add(&t->writes, 1);
    if (happens(t, &t->fail_writes))
        return error ? error : -KL_EIO;
    if (t->nlate < FAKE_LATE && happens(t, &t->give_up)) {
        keep_late(t, io);
        return -KL_ECANCELED;
    }
    if (!atomic_load(&t->forget))
        memcpy(t->bytes + io->offset, io->buf, io->bytes);
    atomic_fetch_add(&t->unflushed, 1);
    return 0;
}

static int serve_read(struct fake_target *t, struct kl_target_io *io)
{
    int error = atomic_load(&t->error);

    atomic_fetch_add(&t->reads, 1);
    if (happens(t, &t->fail_reads))
        return error ? error : -KL_EIO;
    memcpy(io->buf, t->bytes + io->offset, io->bytes);
    if (happens(t, &t->lie))
        ((unsigned char *)io->buf)[rng_below(&t->rng, 16 + 100)] ^=
            (unsigned char)(1u << rng_below(&t->rng, 8));
    return 0;
}

/* With the lock. */
static int serve(struct fake_target *t, struct kl_target_io *io)
{
    switch (io->op) {
    case KL_TARGET_WRITE:
        return serve_write(t, io);
    case KL_TARGET_READ:
        return serve_read(t, io);
    case KL_TARGET_FLUSH:
        atomic_fetch_add(&t->flushes, 1);
        if (happens(t, &t->fail_flushes))
            return -KL_EIO;
        atomic_store(&t->unflushed, 0);
        return 0;
    default:
        atomic_fetch_add(&t->trims, 1);
        if (t->nlate < FAKE_LATE && happens(t, &t->give_up_trims)) {
            keep_late(t, io);
            return -KL_ECANCELED;
        }
        memset(t->bytes + io->offset, TRIMMED, io->bytes);
        return 0;
    }
}

/* Any of them. */
static struct kl_target_io *take(struct fake_target *t)
{
    unsigned skip = rng_below(&t->rng, t->n);
    struct kl_target_io **at = &t->first, *io;

    while (skip-- > 0)
        at = &(*at)->next;
    io = *at;
    *at = io->next;
    t->n--;
    return io;
}

/* With the lock, which is let go meanwhile. */
static void wait_a_little(struct fake_target *t)
{
    int delay = atomic_load(&t->delay_us);
    struct timespec nap = {.tv_nsec = delay > 0 ? rng_below(&t->rng, (uint32_t)delay) * 1000L : 0};

    if (delay == 0)
        return;
    pthread_mutex_unlock(&t->lock);
    nanosleep(&nap, NULL);
    pthread_mutex_lock(&t->lock);
}

static void *target_main(void *arg)
{
    struct fake_target *t = arg;

    pthread_mutex_lock(&t->lock);
    for (;;) {
        struct kl_target_io *io;
        int err;

        while (!t->stop && (!t->first || atomic_load(&t->stalled)))
            pthread_cond_wait(&t->work, &t->lock);
        if (t->stop)
            break;
        wait_a_little(t);
        if (t->stop || atomic_load(&t->stalled))
            continue;
        io = take(t);
        err = serve(t, io);
        if (io->op == KL_TARGET_READ && err == 0 && atomic_load(&t->holding)) {
            io->next = t->held;
            t->held = io;
            continue;
        }
        pthread_mutex_unlock(&t->lock);
        io->done(io, err);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int target_submit(void *ctx, struct kl_target_io *io)
{
    struct fake_target *t = ctx;

    if (atomic_load(&t->gone))
        return -KL_EAGAIN;
    if (io->op <= KL_TARGET_WRITE && (io->offset % KL_TARGET_UNIT || io->bytes % KL_TARGET_UNIT ||
                                      io->bytes == 0 || io->offset + io->bytes > t->target.bytes))
        abort();
    pthread_mutex_lock(&t->lock);
    io->next = t->first;
    t->first = io;
    t->n++;
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static void target_cancel(void *ctx)
{
    struct fake_target *t = ctx;
    struct kl_target_io *io;

    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    while ((io = t->first)) {
        t->first = io->next;
        io->done(io, -KL_ECANCELED);
    }
    fake_target_hold(t, false);
}

static int target_status(void *ctx, char *text, size_t bytes)
{
    struct fake_target *t = ctx;

    snprintf(text, bytes, "a fake");
    return atomic_load(&t->gone) ? -KL_EAGAIN : 0;
}

void fake_target_open(struct fake_target *t, uint64_t bytes, unsigned flags)
{
    memset(t, 0, sizeof(*t));
    t->target = (struct kl_target){.size = sizeof(t->target),
                                   .ctx = t,
                                   .bytes = bytes,
                                   .flags = flags,
                                   .submit = target_submit,
                                   .cancel = target_cancel,
                                   .status = target_status};
    t->bytes = calloc(1, bytes);
    t->rng = rng_new(77);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    if (pthread_create(&t->thread, NULL, target_main, t))
        abort();
}

void fake_target_close(struct fake_target *t)
{
    for (unsigned i = 0; i < t->nlate; i++)
        free(t->late[i].bytes);
    free(t->bytes);
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->lock);
}

void fake_target_stall(struct fake_target *t, bool stalled)
{
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->stalled, stalled);
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
}

void fake_target_hold(struct fake_target *t, bool hold)
{
    struct kl_target_io *held, *next;

    pthread_mutex_lock(&t->lock);
    atomic_store(&t->holding, hold);
    held = t->held;
    t->held = NULL;
    pthread_mutex_unlock(&t->lock);
    for (; held; held = next) {
        next = held->next;
        held->done(held, 0);
    }
}

void fake_target_land(struct fake_target *t)
{
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < t->nlate; i++) {
        memcpy(t->bytes + t->late[i].offset, t->late[i].bytes, t->late[i].n);
        free(t->late[i].bytes);
    }
    t->nlate = 0;
    pthread_mutex_unlock(&t->lock);
}
