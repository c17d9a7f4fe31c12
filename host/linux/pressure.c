// SPDX-License-Identifier: Apache-2.0
/* pressure.c - looks out for a shortage of memory, and tells the zone.
 *
 * Two things say how bad it is: what is left of the nearest limit, read from the kernel's
 * files (memory.c), and stalls, of which PSI's triggers tell.  The level is the worse of
 * the two.
 *
 *   room of the limit     more than 1/8 (machine 1/16): none    less: IDLE
 *                                                               less than half of that: COLD
 *   stalls in the last    none: none                            some: IDLE
 *   two windows                                                 full: COLD
 *
 * (X1) Every look reads what is left, whatever brought it about; events only say when.
 * (X2) The level falls only when a quarter more than the mark is left again, so that what
 *      was given back does not end it at once.
 * (X3) A timer goes off after `interval` where there is a limit to watch, and ten times as
 *      often while there is pressure: it may get worse fast.  Else the kernel wakes us or nobody.
 * (X4) The lock is over a look and over the reading of figures; a leaf, but for what
 *      kl_zone_pressure calls, which is the kick.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pressure.h"

#include <klotski/inspect.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_MS = 1000, GROUP_SHARE = 8, MACHINE_SHARE = 16, MOST_MS = 1000000, OFTEN = 10 };

#define NS_PER_MS UINT64_C(1000000)

/* A limit, and what is left of it. */
struct limit {
    struct kli_room room; /* -1, -1: there is none */
    unsigned version;     /* of the group whose it is; 0: the machine's memory */
    struct kli_group group;
};

struct kl_linux_pressure {
    struct kl_zone *zone;
    enum kl_linux_pressure_kind kind;
    char root[PATH_MAX];
    unsigned interval_ms;
    struct kli_group group[2]; /* this process's own, by version */
    bool has_group[2];
    bool psi;
    pthread_mutex_t lock; /* X4 */
    struct kli_slots slots;
    int timer;
    unsigned set_ms; /* what it is set to; 0: off */

    struct limit nearest, watched; /* by the last look; whose marks the kernel tells of */
    bool tells;
    enum kl_pressure_level level;
    enum kl_pressure_level stall; /* until then */
    uint64_t stall_until;
    uint64_t stalls, events, looks, fired;
    uint64_t returned_before;
};

static const struct limit no_limit = {.room = {-1, -1}};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

static uint64_t mark_of(const struct limit *limit)
{
    return (uint64_t)limit->room.limit / (limit->version ? GROUP_SHARE : MACHINE_SHARE);
}

/* What is left, in thousandths of the mark. */
static uint64_t nearness(const struct limit *limit)
{
    uint64_t mark = limit->room.limit > 0 ? mark_of(limit) : 0;

    if (limit->room.limit < 0)
        return UINT64_MAX;
    return mark ? (uint64_t)((double)limit->room.room * 1000 / (double)mark) : 0;
}

static void take_nearer(struct limit *best, const struct limit *other)
{
    if (nearness(other) < nearness(best))
        *best = *other;
}

/* The nearest of the groups' limits, from our own one up; one above the machine's memory
 * is none. */
static void look_at_groups(struct kl_linux_pressure *p, int64_t machine, struct limit *best)
{
    for (unsigned v = 0; v < 2; v++) {
        struct limit one = {.version = v + 1, .group = p->group[v]};

        if (!p->has_group[v])
            continue;
        do {
            one.room = kli_memory_group_room(&one.group);
            if (machine <= 0 || one.room.limit < machine)
                take_nearer(best, &one);
        } while (kli_memory_group_up(&one.group));
    }
}

/* Has the kernel tell when the use of a group passes its mark; again when that is another. */
static void watch(struct kl_linux_pressure *p, const struct limit *limit)
{
    if (p->kind == KL_LINUX_PRESSURE_POLL ||
        (limit->room.limit == p->watched.room.limit &&
         strcmp(limit->group.folder, p->watched.group.folder) == 0))
        return;
    p->watched = *limit;
    kli_slots_drop(&p->slots, KLI_SLOT_GROUP);
    p->tells =
        limit->room.limit > 0 &&
        kli_group_watch(&p->slots, &limit->group, (uint64_t)limit->room.limit - mark_of(limit));
}

/* X1 */
static void look_at_limits(struct kl_linux_pressure *p)
{
    struct limit machine = {.room = kli_memory_machine_room(p->root)};

    p->nearest = no_limit;
    if (p->kind != KL_LINUX_PRESSURE_PSI) {
        look_at_groups(p, machine.room.limit, &p->nearest);
        watch(p, &p->nearest);
    }
    if (p->kind == KL_LINUX_PRESSURE_AUTO || p->kind == KL_LINUX_PRESSURE_POLL)
        take_nearer(&p->nearest, &machine);
}

/* By what is left. (X2) */
static enum kl_pressure_level level_by_room(const struct kl_linux_pressure *p)
{
    uint64_t left = nearness(&p->nearest);

    if (left < (p->level == KL_PRESSURE_COLD ? 625u : 500u))
        return KL_PRESSURE_COLD;
    return left < (p->level >= KL_PRESSURE_IDLE ? 1250u : 1000u) ? KL_PRESSURE_IDLE
                                                                 : KL_PRESSURE_NONE;
}

/* How much shall come back before cold blocks are left alone: what is missing to the mark,
 * or where only stalls say so, a sixteenth of what the zone has. */
static uint64_t wanted_bytes(struct kl_linux_pressure *p)
{
    struct kl_zone_stats zone = {.size = sizeof(zone)};
    uint64_t mark = p->nearest.room.limit > 0 ? mark_of(&p->nearest) : 0;

    if (level_by_room(p) == KL_PRESSURE_COLD && mark > (uint64_t)p->nearest.room.room)
        return mark - (uint64_t)p->nearest.room.room;
    kl_zone_get_stats(p->zone, &zone);
    return zone.charged_bytes / 16 + 1;
}

/* X3 */
static void set_timer(struct kl_linux_pressure *p)
{
    bool looks = p->watched.room.limit > 0 || p->kind == KL_LINUX_PRESSURE_CGROUP || !p->psi;
    unsigned often = p->interval_ms / OFTEN ? p->interval_ms / OFTEN : 1;
    unsigned ms = p->level ? often : looks ? p->interval_ms : 0;
    struct itimerspec at = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}};

    if (ms == p->set_ms)
        return;
    at.it_interval = at.it_value;
    timerfd_settime(p->timer, 0, &at, NULL);
    p->set_ms = ms;
}

/* stalled: there was an event of PSI just now. */
static void judge(struct kl_linux_pressure *p, bool stalled)
{
    enum kl_pressure_level level, before = p->level;

    look_at_limits(p);
    p->looks++;
    level = level_by_room(p);
    if (now_ns() < p->stall_until && p->stall > level)
        level = p->stall;
    if (level != KL_PRESSURE_NONE || before != KL_PRESSURE_NONE)
        kl_zone_pressure(p->zone, level, level == KL_PRESSURE_COLD ? wanted_bytes(p) : 0);
    p->fired += level > before || (stalled && level != KL_PRESSURE_NONE);
    p->level = level;
    set_timer(p);
}

static void stall(struct kl_linux_pressure *p, enum kl_pressure_level level)
{
    uint64_t now = now_ns();

    if (now >= p->stall_until || level > p->stall)
        p->stall = level;
    p->stall_until = now + p->slots.window_ms * (2 * NS_PER_MS);
    p->stalls++;
}

static void empty(int fd)
{
    char text[4096];

    while (read(fd, text, sizeof(text)) > 0)
        continue;
}

/* true: a stall. */
static bool heard(struct kl_linux_pressure *p, const struct epoll_event *event)
{
    struct kli_slot *slot = &p->slots.slot[event->data.u32];

    switch (slot->kind) {
    case KLI_SLOT_SOME:
    case KLI_SLOT_FULL:
        if (event->events & EPOLLERR) { /* the group is gone */
            kli_slots_drop(&p->slots, slot->kind);
            p->psi = false;
            return false;
        }
        stall(p, slot->kind == KLI_SLOT_SOME ? KL_PRESSURE_IDLE : KL_PRESSURE_COLD);
        return true;
    case KLI_SLOT_GROUP:
        p->events++;
        empty(slot->fd);
        return false;
    default:
        empty(slot->fd);
        return false;
    }
}

void kl_linux_pressure_look(struct kl_linux_pressure *p)
{
    struct epoll_event event[KLI_SLOTS];
    bool stalled = false;
    int n;

    pthread_mutex_lock(&p->lock);
    n = epoll_wait(p->slots.set, event, KLI_SLOTS, 0);
    for (int i = 0; i < n; i++)
        stalled |= heard(p, &event[i]);
    judge(p, stalled);
    pthread_mutex_unlock(&p->lock);
}

static void open_psi(struct kl_linux_pressure *p)
{
    char path[PATH_MAX];
    int len;

    len = snprintf(path, sizeof(path), "%s/proc/pressure/memory", p->root);
    p->psi = len > 0 && (size_t)len < sizeof(path) && kli_psi_open(&p->slots, path);
    if (!p->has_group[1] || strlen(p->group[1].folder) <= p->group[1].top)
        return; /* the top group's is the machine's */
    len = snprintf(path, sizeof(path), "%s/memory.pressure", p->group[1].folder);
    if (len > 0 && (size_t)len < sizeof(path))
        p->psi |= kli_psi_open(&p->slots, path);
}

static int open_sources(struct kl_linux_pressure *p)
{
    bool by_psi = p->kind == KL_LINUX_PRESSURE_AUTO || p->kind == KL_LINUX_PRESSURE_PSI;

    for (unsigned v = 0; v < 2; v++)
        p->has_group[v] = kli_memory_group(p->root, v == 1, &p->group[v]);
    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!kli_slots_add(&p->slots, KLI_SLOT_TIMER, p->timer, -1))
        return -KL_ENOMEM;
    if (by_psi)
        open_psi(p);
    judge(p, false);
    if (p->kind == KL_LINUX_PRESSURE_PSI)
        return p->psi ? 0 : -KL_ENOTSUP;
    return p->nearest.room.limit > 0 || p->psi ? 0 : -KL_ENOTSUP;
}

int kli_pressure_create(const char *root, struct kl_zone *zone,
                        const struct kl_linux_pressure_config *config,
                        struct kl_linux_pressure **out)
{
    struct kl_zone_stats stats = {.size = sizeof(stats)};
    struct kl_linux_pressure *p;
    int err;

    if (!zone || !out ||
        (config &&
         (config->size != sizeof(*config) || (unsigned)config->kind > KL_LINUX_PRESSURE_POLL ||
          config->interval_ms > MOST_MS)))
        return -KL_EINVAL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -KL_ENOMEM;
    p->zone = zone;
    p->kind = config ? config->kind : KL_LINUX_PRESSURE_AUTO;
    p->interval_ms = config && config->interval_ms ? config->interval_ms : DEFAULT_MS;
    p->nearest = p->watched = no_limit;
    snprintf(p->root, sizeof(p->root), "%s", root);
    pthread_mutex_init(&p->lock, NULL);
    kl_zone_get_stats(zone, &stats);
    p->returned_before = stats.pressure_bytes;
    err = kli_slots_open(&p->slots);
    if (!err)
        err = open_sources(p);
    if (err) {
        kl_linux_pressure_destroy(p);
        return err;
    }
    *out = p;
    return 0;
}

int kl_linux_pressure_create(struct kl_zone *zone, const struct kl_linux_pressure_config *config,
                             struct kl_linux_pressure **pressure)
{
    return kli_pressure_create("", zone, config, pressure);
}

void kl_linux_pressure_destroy(struct kl_linux_pressure *p)
{
    if (!p)
        return;
    kl_zone_pressure(p->zone, KL_PRESSURE_NONE, 0);
    kli_slots_close(&p->slots);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int kl_linux_pressure_fd(const struct kl_linux_pressure *p)
{
    return p->slots.set;
}

static unsigned sources(const struct kl_linux_pressure *p)
{
    unsigned s = p->psi ? KL_LINUX_BY_PSI : 0;

    if (p->watched.room.limit > 0 || (p->nearest.version && p->nearest.room.limit > 0))
        s |= KL_LINUX_BY_CGROUP;
    if (p->tells)
        s |= KL_LINUX_BY_EVENTS;
    return p->set_ms ? s | KL_LINUX_BY_POLLING : s;
}

void kl_linux_pressure_get_stats(struct kl_linux_pressure *p, struct kl_linux_pressure_stats *stats)
{
    struct kl_zone_stats zone = {.size = sizeof(zone)};
    struct kl_linux_pressure_stats ours = {.size = sizeof(ours)};

    kl_zone_get_stats(p->zone, &zone);
    pthread_mutex_lock(&p->lock);
    ours.sources = sources(p);
    ours.level = p->level;
    ours.cgroup = p->watched.room.limit > 0 ? p->watched.version : p->nearest.version;
    ours.window_ms = p->psi ? p->slots.window_ms : 0;
    ours.stall_ms = p->psi ? p->slots.stall_ms : 0;
    ours.interval_ms = p->set_ms;
    ours.limit_bytes = p->nearest.room.limit > 0 ? (uint64_t)p->nearest.room.limit : 0;
    ours.room_bytes = p->nearest.room.limit > 0 ? (uint64_t)p->nearest.room.room : 0;
    ours.stalls = p->stalls;
    ours.events = p->events;
    ours.looks = p->looks;
    ours.fired = p->fired;
    ours.returned_bytes = zone.pressure_bytes - p->returned_before;
    pthread_mutex_unlock(&p->lock);
    if (stats->size < ours.size)
        ours.size = stats->size;
    if (ours.size >= sizeof(ours.size)) /* else it was forgotten */
        memcpy(stats, &ours, ours.size);
}
