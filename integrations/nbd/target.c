// SPDX-License-Identifier: Apache-2.0
/* target.c - a write-back target behind libnbd.
 *
 * One thread has the handle; nobody else calls libnbd.  Others put requests into a queue
 * and wake it.
 *
 *            negotiated                    lost, silent, or smaller than it was
 *   CONNECTING ---------> READY ------------------------------------------> AWAY
 *     ^   '-- refused, or not within the time --> AWAY                       |
 *     '----------------------------------------- after a pause, longer each time
 *
 * 1. Requests are taken in READY only; elsewhere they are -KL_EAGAIN.
 * 2. What was under way when the connection went: reads -KL_EAGAIN; writes and trims
 *    -KL_ECANCELED, for a server may still do what it has received.
 * 3. `flying` and the handle are the thread's; the mutex guards the rest, and is held over
 *    no call.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "target.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND     UINT64_C(1000000000)
#define CONNECT_NS (10 * SECOND)
#define SILENT_NS  (60 * SECOND)
#define PAUSE_MIN  (SECOND / 10)
#define PAUSE_MAX  (5 * SECOND)

enum state { AWAY, CONNECTING, READY };

struct kli_nbd {
    struct kl_target target;
    char *uri;
    pthread_t thread;
    bool running;
    int wake;
    /* The thread's */
    struct nbd_handle *handle;
    struct kl_target_io *flying;
    uint64_t since;    /* of CONNECTING, or of the last sign of life */
    uint64_t retry_at; /* of AWAY */
    uint64_t pause;
    /* Under the mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum state state;
    bool tried; /* once at least */
    bool stop;
    struct kl_target_io *first, **last;
    char text[96];
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void set_state(struct kli_nbd *nbd, enum state state, const char *text)
{
    pthread_mutex_lock(&nbd->mutex);
    nbd->state = state;
    nbd->tried |= state != CONNECTING;
    if (text)
        snprintf(nbd->text, sizeof(nbd->text), "%s", text);
    pthread_cond_broadcast(&nbd->changed);
    pthread_mutex_unlock(&nbd->mutex);
}

static int lost(const struct kl_target_io *io)
{
    return io->op == KL_TARGET_WRITE || io->op == KL_TARGET_TRIM ? -KL_ECANCELED : -KL_EAGAIN;
}

static int answer(const struct kl_target_io *io, int error)
{
    switch (error) {
    case 0:
        return 0;
    case ENOSPC:
        return -KL_ENOSPC;
    case ENOTCONN:
    case ECONNRESET:
    case EPIPE:
        return lost(io);
    case ESHUTDOWN:
        return -KL_EAGAIN;
    default:
        return -KL_EIO;
    }
}

static void land(struct kli_nbd *nbd, struct kl_target_io *io, int err)
{
    struct kl_target_io **at = &nbd->flying;

    while (*at && *at != io)
        at = &(*at)->next;
    if (!*at)
        return; /* it has landed before */
    *at = io->next;
    io->done(io, err);
}

static int completed(void *user, int *error)
{
    struct kl_target_io *io = user;

    land((struct kli_nbd *)(uintptr_t)io->priv, io, answer(io, *error));
    return 1;
}

/* Into the handle. */
static void send_one(struct kli_nbd *nbd, struct kl_target_io *io)
{
    nbd_completion_callback done = {.callback = completed, .user_data = io};
    int64_t cookie;

    io->priv = (uint64_t)(uintptr_t)nbd;
    io->next = nbd->flying;
    if (!nbd->flying)
        nbd->since = now_ns();
    nbd->flying = io;
    switch (io->op) {
    case KL_TARGET_READ:
        cookie = nbd_aio_pread(nbd->handle, io->buf, io->bytes, io->offset, done, 0);
        break;
    case KL_TARGET_WRITE:
        cookie = nbd_aio_pwrite(nbd->handle, io->buf, io->bytes, io->offset, done, 0);
        break;
    case KL_TARGET_FLUSH:
        cookie = nbd_aio_flush(nbd->handle, done, 0);
        break;
    default:
        cookie = nbd_aio_trim(nbd->handle, io->bytes, io->offset, done, 0);
        break;
    }
    if (cookie == -1)
        land(nbd, io, lost(io));
}

static struct kl_target_io *take_queue(struct kli_nbd *nbd)
{
    struct kl_target_io *list;

    pthread_mutex_lock(&nbd->mutex);
    list = nbd->first;
    nbd->first = NULL;
    nbd->last = &nbd->first;
    pthread_mutex_unlock(&nbd->mutex);
    return list;
}

static void send_queue(struct kli_nbd *nbd)
{
    struct kl_target_io *next, *io = take_queue(nbd);

    for (; io; io = next) {
        next = io->next;
        send_one(nbd, io);
    }
}

/* The connection is over: so is all that was asked. */
static void leave(struct kli_nbd *nbd, const char *why)
{
    struct kl_target_io *next, *io;

    set_state(nbd, AWAY, why);
    nbd_close(nbd->handle); /* lands those under way, or forgets them */
    nbd->handle = NULL;
    while (nbd->flying)
        land(nbd, nbd->flying, lost(nbd->flying));
    for (io = take_queue(nbd); io; io = next) {
        next = io->next;
        io->done(io, -KL_EAGAIN); /* it never was sent */
    }
    nbd->retry_at = now_ns() + nbd->pause;
    nbd->pause = nbd->pause * 2 < PAUSE_MAX ? nbd->pause * 2 : PAUSE_MAX;
}

/* libnbd's last words, without the name of the function. */
static const char *last_words(void)
{
    const char *error = nbd_get_error(), *colon = error ? strstr(error, ": ") : NULL;

    return colon ? colon + 2 : error ? error : "connection lost";
}

static void connect_again(struct kli_nbd *nbd)
{
    nbd->handle = nbd_create();
    if (!nbd->handle) {
        nbd->retry_at = now_ns() + nbd->pause;
        set_state(nbd, AWAY, last_words());
        return;
    }
    nbd->since = now_ns();
    set_state(nbd, CONNECTING, NULL);
    if (nbd_aio_connect_uri(nbd->handle, nbd->uri) == -1)
        leave(nbd, last_words());
}

/* What the server has: at first it is taken as it is, later it must be as much. */
static const char *negotiated(struct kli_nbd *nbd)
{
    int64_t bytes = nbd_get_size(nbd->handle);

    if (bytes < 0)
        return last_words();
    if (nbd_is_read_only(nbd->handle) == 1)
        return "the server's disk is read-only";
    if (nbd->target.bytes == 0) {
        nbd->target.bytes = (uint64_t)bytes / KL_TARGET_UNIT * KL_TARGET_UNIT;
        nbd->target.flags = (nbd_can_flush(nbd->handle) == 1 ? KL_TARGET_NEEDS_FLUSH : 0) |
                            (nbd_can_trim(nbd->handle) == 1 ? KL_TARGET_CAN_TRIM : 0);
    }
    if ((uint64_t)bytes < nbd->target.bytes || bytes < (int64_t)KL_TARGET_UNIT)
        return "the server's disk is too small";
    return NULL;
}

/* What has become of the connection. */
static void look(struct kli_nbd *nbd)
{
    bool ready = nbd->state == READY; /* only this thread changes it */

    if (nbd_aio_is_dead(nbd->handle) == 1 || nbd_aio_is_closed(nbd->handle) == 1) {
        leave(nbd, ready ? "connection lost" : last_words());
    } else if (!ready && nbd_aio_is_connecting(nbd->handle) == 0) {
        const char *why = negotiated(nbd);

        if (why) {
            leave(nbd, why);
            return;
        }
        nbd->pause = PAUSE_MIN;
        set_state(nbd, READY, nbd->uri);
    } else if (!ready && now_ns() > nbd->since + CONNECT_NS) {
        leave(nbd, "no answer to a connection");
    } else if (nbd->flying && now_ns() > nbd->since + SILENT_NS) {
        leave(nbd, "no answer for a minute");
    }
}

/* Until something happens. */
static void wait_and_serve(struct kli_nbd *nbd)
{
    struct pollfd fds[2] = {{.fd = nbd->wake, .events = POLLIN}, {.fd = -1}};
    uint64_t wakes, now = now_ns();
    unsigned direction = 0;
    int ms = nbd->flying || nbd->state == CONNECTING ? 1000 : -1;

    if (nbd->handle) {
        direction = nbd_aio_get_direction(nbd->handle);
        fds[1].fd = nbd_aio_get_fd(nbd->handle);
        if (direction & LIBNBD_AIO_DIRECTION_READ)
            fds[1].events |= POLLIN;
        if (direction & LIBNBD_AIO_DIRECTION_WRITE)
            fds[1].events |= POLLOUT;
    } else {
        ms = nbd->retry_at > now ? (int)((nbd->retry_at - now) / 1000000) + 1 : 0;
    }
    if (poll(fds, 2, ms) < 0)
        return;
    if (fds[0].revents & POLLIN)
        (void)!read(nbd->wake, &wakes, sizeof(wakes));
    if (!nbd->handle || !fds[1].revents)
        return;
    nbd->since = nbd->state == READY && fds[1].revents & POLLIN ? now_ns() : nbd->since;
    if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
        nbd_aio_notify_read(nbd->handle);
    else if (fds[1].revents)
        nbd_aio_notify_write(nbd->handle);
}

static bool stopped(struct kli_nbd *nbd)
{
    bool stop;

    pthread_mutex_lock(&nbd->mutex);
    stop = nbd->stop;
    pthread_mutex_unlock(&nbd->mutex);
    return stop;
}

static void *nbd_main(void *arg)
{
    struct kli_nbd *nbd = arg;

    while (!stopped(nbd)) {
        if (!nbd->handle && now_ns() >= nbd->retry_at)
            connect_again(nbd);
        if (nbd->handle)
            look(nbd);
        if (nbd->handle && nbd->state == READY)
            send_queue(nbd);
        wait_and_serve(nbd);
    }
    if (nbd->handle)
        leave(nbd, "ended");
    return NULL;
}

static void wake_up(struct kli_nbd *nbd)
{
    uint64_t one = 1;

    (void)!write(nbd->wake, &one, sizeof(one));
}

static int target_submit(void *ctx, struct kl_target_io *io)
{
    struct kli_nbd *nbd = ctx;
    bool taken;

    pthread_mutex_lock(&nbd->mutex);
    taken = nbd->state == READY && !nbd->stop;
    if (taken) {
        io->next = NULL;
        *nbd->last = io;
        nbd->last = &io->next;
    }
    pthread_mutex_unlock(&nbd->mutex);
    if (taken)
        wake_up(nbd);
    return taken ? 0 : -KL_EAGAIN;
}

static void target_cancel(void *ctx)
{
    struct kli_nbd *nbd = ctx;

    pthread_mutex_lock(&nbd->mutex);
    nbd->stop = true;
    pthread_mutex_unlock(&nbd->mutex);
    if (!nbd->running)
        return;
    wake_up(nbd);
    pthread_join(nbd->thread, NULL);
    nbd->running = false;
}

static int target_status(void *ctx, char *text, size_t bytes)
{
    struct kli_nbd *nbd = ctx;
    bool ready;

    pthread_mutex_lock(&nbd->mutex);
    ready = nbd->state == READY;
    snprintf(text, bytes, "%s", nbd->text);
    pthread_mutex_unlock(&nbd->mutex);
    return ready ? 0 : -KL_EAGAIN;
}

static bool start_thread(struct kli_nbd *nbd)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    nbd->running = pthread_create(&nbd->thread, NULL, nbd_main, nbd) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return nbd->running;
}

/* For the first connection, or the first failure. */
static bool wait_for_first(struct kli_nbd *nbd)
{
    bool ready;

    pthread_mutex_lock(&nbd->mutex);
    while (!nbd->tried)
        pthread_cond_wait(&nbd->changed, &nbd->mutex);
    ready = nbd->state == READY;
    pthread_mutex_unlock(&nbd->mutex);
    return ready;
}

int kli_nbd_open(const char *uri, struct kli_nbd **out, char *why, size_t why_bytes)
{
    struct kli_nbd *nbd = calloc(1, sizeof(*nbd));

    snprintf(why, why_bytes, "no memory");
    if (!nbd)
        return -1;
    nbd->uri = strdup(uri);
    nbd->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    nbd->last = &nbd->first;
    nbd->pause = PAUSE_MIN;
    pthread_mutex_init(&nbd->mutex, NULL);
    pthread_cond_init(&nbd->changed, NULL);
    if (nbd->uri && nbd->wake >= 0 && start_thread(nbd) && wait_for_first(nbd)) {
        nbd->target.size = sizeof(nbd->target);
        nbd->target.ctx = nbd;
        nbd->target.submit = target_submit;
        nbd->target.cancel = target_cancel;
        nbd->target.status = target_status;
        *out = nbd;
        return 0;
    }
    if (nbd->running)
        target_status(nbd, why, why_bytes);
    kli_nbd_close(nbd);
    return -1;
}

void kli_nbd_close(struct kli_nbd *nbd)
{
    if (!nbd)
        return;
    target_cancel(nbd);
    if (nbd->wake >= 0)
        close(nbd->wake);
    pthread_cond_destroy(&nbd->changed);
    pthread_mutex_destroy(&nbd->mutex);
    free(nbd->uri);
    free(nbd);
}

const struct kl_target *kli_nbd_target(const struct kli_nbd *nbd)
{
    return &nbd->target;
}
