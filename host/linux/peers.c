// SPDX-License-Identifier: Apache-2.0
/* peers.c - looks out for the peers of exports: what one had comes back when it is gone.
 *
 *         watch             look, its holder         contents back
 *   NEW ---------> WATCHED ------------------> ENDING --------------> ENDED, or freed
 *                   ^   ^                      |    |
 *             timer |   '----------------------'    | not now: no frames, or somebody copies
 *                   |       not now, and not gone   |
 *                  DUE <----------------------------'
 *
 * (Y1) States change under the lock.  Who makes ENDING has the export alone until it makes it
 *      something else; its holder's end waits for that.
 * (Y2) An export is in the list and its peer in the set, with the export's address, from
 *      NEW on until it leaves both under the lock.  So an address that the set gives under the
 *      lock is that of an export.
 * (Y3) A peer that hung up is told of once (EPOLLONESHOT), until the export is WATCHED again.
 * (Y4) While one is DUE the timer is set, or readable: for 10 ms to 1 s, longer each time that
 *      an end fails.  When it goes off they are WATCHED, and told of at once.
 * (Y5) An export without a holder is freed by who finds its contents back; one with a
 *      holder by the holder.
 *
 * Locks: one a set, for moments; never over the copying or the program's callback.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "export.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { AT_ONCE = 16 };

#define FIRST_NS   UINT64_C(10000000)
#define LONGEST_NS UINT64_C(1000000000)
#define NS_PER_SEC UINT64_C(1000000000)

struct kl_linux_peers {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* an export is ENDING no more */
    int set;
    int timer; /* in it, without an address */
    struct kl_linux_export *first;
    uint64_t again_ns;                 /* Y4; 0: not set */
    struct kl_linux_peers_stats stats; /* watched and due are counted when asked */
    void (*ended)(void *ctx, struct kl_shm *shm, kl_shm_id object);
    void *ctx;
};

/* ---- list and set; under the lock ---- */

static void set_timer(struct kl_linux_peers *p, uint64_t ns)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)}};

    timerfd_settime(p->timer, 0, &at, NULL);
}

/* Y3 */
static int arm(struct kl_linux_peers *p, struct kl_linux_export *e, int op)
{
    struct epoll_event event = {.events = (uint32_t)e->gone | EPOLLONESHOT, .data = {.ptr = e}};

    return epoll_ctl(p->set, op, e->peer, &event) == 0 ? 0 : errno;
}

static void enlist(struct kl_linux_peers *p, struct kl_linux_export *e)
{
    e->next = p->first;
    e->prev = NULL;
    if (p->first)
        p->first->prev = e;
    p->first = e;
}

static void unlist(struct kl_linux_peers *p, struct kl_linux_export *e)
{
    epoll_ctl(p->set, EPOLL_CTL_DEL, e->peer, NULL);
    *(e->prev ? &e->prev->next : &p->first) = e->next;
    if (e->next)
        e->next->prev = e->prev;
}

int kli_peers_add(struct kl_linux_peers *p, struct kl_linux_export *e)
{
    int err;

    pthread_mutex_lock(&p->lock);
    err = arm(p, e, EPOLL_CTL_ADD);
    if (!err) {
        e->peers = p;
        enlist(p, e);
    }
    pthread_mutex_unlock(&p->lock);
    return err == EPERM ? -KL_EINVAL : err ? kli_linux_error(err) : 0;
}

void kli_peers_remove(struct kl_linux_export *e)
{
    struct kl_linux_peers *p = e->peers;

    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    unlist(p, e);
    pthread_mutex_unlock(&p->lock);
}

void kli_peers_watch(struct kl_linux_export *e)
{
    struct kl_linux_peers *p = e->peers;

    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    e->state = KLI_EXPORT_WATCHED;
    arm(p, e, EPOLL_CTL_MOD); /* it may have been told of while it was NEW */
    pthread_mutex_unlock(&p->lock);
}

/* ---- ending one ---- */

/* Y4.  Under the lock. */
static void put_off(struct kl_linux_peers *p, struct kl_linux_export *e)
{
    e->state = KLI_EXPORT_DUE;
    if (p->again_ns == 0)
        p->again_ns = FIRST_NS;
    set_timer(p, p->again_ns);
    p->again_ns = p->again_ns * 2 < LONGEST_NS ? p->again_ns * 2 : LONGEST_NS;
}

static void leave_ending(struct kl_linux_peers *p, struct kl_linux_export *e, int err)
{
    pthread_mutex_lock(&p->lock);
    if (err) {
        p->stats.failed++;
        put_off(p, e);
    } else {
        p->stats.ended++;
        p->stats.bytes += e->bytes;
        p->again_ns = 0;
        e->state = KLI_EXPORT_ENDED;
        if (!e->has_holder)
            unlist(p, e);
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* One that this has made ENDING; false: not now. */
static bool end(struct kl_linux_peers *p, struct kl_linux_export *e)
{
    struct kl_shm *shm = e->shm;
    kl_shm_id object = e->object;
    bool has_holder = e->has_holder;
    int err = kli_export_take_back(e);

    leave_ending(p, e, err); /* and the holder may free it (Y5) */
    if (err)
        return false;
    if (!has_holder)
        kli_export_free(e);
    if (p->ended)
        p->ended(p->ctx, shm, object);
    return true;
}

/* Waits while a look is at it; then it is this one's.  What it was. */
static enum kli_export_state claim_for_holder(struct kl_linux_peers *p, struct kl_linux_export *e)
{
    enum kli_export_state was;

    pthread_mutex_lock(&p->lock);
    while (e->state == KLI_EXPORT_ENDING)
        pthread_cond_wait(&p->changed, &p->lock);
    was = e->state;
    e->state = KLI_EXPORT_ENDING;
    pthread_mutex_unlock(&p->lock);
    return was;
}

int kli_peers_end(struct kl_linux_export *e)
{
    struct kl_linux_peers *p = e->peers;
    enum kli_export_state was = claim_for_holder(p, e);
    int err = kli_export_take_back(e);

    pthread_mutex_lock(&p->lock);
    if (!err) {
        unlist(p, e);
    } else if (was == KLI_EXPORT_DUE) {
        put_off(p, e);
    } else {
        e->state = KLI_EXPORT_WATCHED;
        arm(p, e, EPOLL_CTL_MOD);
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (!err)
        kli_export_free(e);
    return err;
}

/* ---- looking ---- */

/* Those that are due are looked at as if they had hung up just now.  Under the lock. */
static void try_again(struct kl_linux_peers *p)
{
    uint64_t times;

    if (read(p->timer, &times, sizeof(times)) < 0)
        return;
    for (struct kl_linux_export *e = p->first; e; e = e->next) {
        if (e->state != KLI_EXPORT_DUE)
            continue;
        e->state = KLI_EXPORT_WATCHED;
        arm(p, e, EPOLL_CTL_MOD);
    }
}

/* Those whose peers have hung up, some of them, ENDING from now on. */
static int claim_gone(struct kl_linux_peers *p, struct kl_linux_export *gone[AT_ONCE])
{
    struct epoll_event event[AT_ONCE];
    int ready, n = 0;

    pthread_mutex_lock(&p->lock);
    ready = epoll_wait(p->set, event, AT_ONCE, 0);
    for (int i = 0; i < ready; i++) {
        struct kl_linux_export *e = event[i].data.ptr;

        if (!e) {
            try_again(p);
        } else if (e->state == KLI_EXPORT_WATCHED) {
            e->state = KLI_EXPORT_ENDING;
            p->stats.gone += !e->was_gone;
            e->was_gone = true;
            gone[n++] = e;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

int kl_linux_peers_look(struct kl_linux_peers *p)
{
    struct kl_linux_export *gone[AT_ONCE];
    int n = claim_gone(p, gone), ended = 0;

    for (int i = 0; i < n; i++)
        ended += end(p, gone[i]);
    return ended;
}

int kl_linux_peers_fd(const struct kl_linux_peers *p)
{
    return p->set;
}

void kl_linux_peers_get_stats(struct kl_linux_peers *p, struct kl_linux_peers_stats *stats)
{
    struct kl_linux_peers_stats now;

    pthread_mutex_lock(&p->lock);
    now = p->stats;
    for (const struct kl_linux_export *e = p->first; e; e = e->next) {
        now.watched += e->state != KLI_EXPORT_ENDED;
        now.due += e->state == KLI_EXPORT_DUE;
    }
    pthread_mutex_unlock(&p->lock);
    now.size = stats->size < sizeof(now) ? stats->size : sizeof(now);
    if (now.size >= sizeof(now.size)) /* else it was forgotten */
        memcpy(stats, &now, now.size);
}

/* ---- the set ---- */

static int open_set(struct kl_linux_peers *p)
{
    struct epoll_event event = {.events = EPOLLIN};

    p->set = epoll_create1(EPOLL_CLOEXEC);
    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (p->set < 0 || p->timer < 0 || epoll_ctl(p->set, EPOLL_CTL_ADD, p->timer, &event) != 0)
        return kli_linux_error(errno);
    return 0;
}

static void free_set(struct kl_linux_peers *p)
{
    if (p->timer >= 0)
        close(p->timer);
    if (p->set >= 0)
        close(p->set);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int kl_linux_peers_create(const struct kl_linux_peers_config *config, struct kl_linux_peers **peers)
{
    struct kl_linux_peers *p;
    int err;

    if (!peers || (config && config->size != sizeof(*config)))
        return -KL_EINVAL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -KL_ENOMEM;
    if (config) {
        p->ended = config->ended;
        p->ctx = config->ctx;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    err = open_set(p);
    if (err)
        free_set(p);
    else
        *peers = p;
    return err;
}

static bool has_holders(struct kl_linux_peers *p)
{
    bool has = false;

    pthread_mutex_lock(&p->lock);
    for (const struct kl_linux_export *e = p->first; e; e = e->next)
        has |= e->has_holder;
    pthread_mutex_unlock(&p->lock);
    return has;
}

/* Nobody looks any more: all that are left are WATCHED or DUE. */
int kl_linux_peers_destroy(struct kl_linux_peers *p)
{
    if (!p)
        return 0;
    if (has_holders(p))
        return -KL_EBUSY;
    while (p->first) {
        int err = kli_peers_end(p->first);

        if (err)
            return err;
    }
    free_set(p);
    return 0;
}
