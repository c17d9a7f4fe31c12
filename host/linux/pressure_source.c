// SPDX-License-Identifier: Apache-2.0
/* pressure_source.c - where the kernel says that memory is short.
 *
 * PSI: a trigger is written into the open file, which then polls POLLPRI, at most once a
 * window.  A user without CAP_SYS_RESOURCE may only have windows of whole 2 s.
 *
 * cgroup v1: "EVENTFD FILE ARGUMENT" is written to cgroup.event_control; the eventfd tells
 * when the usage passes a threshold, either way, or the group's reclaim gets heavy.
 * cgroup v2: memory.events is told by inotify that it was changed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { STALL_SHARE = 10 }; /* a tenth of the window */
static const unsigned windows_ms[] = {1000, 2000};

int kli_slots_open(struct kli_slots *slots)
{
    *slots = (struct kli_slots){.set = epoll_create1(EPOLL_CLOEXEC)};
    return slots->set < 0 ? kli_linux_error(errno) : 0;
}

static void close_slot(struct kli_slot *slot)
{
    if (slot->kind == KLI_SLOT_NONE)
        return;
    close(slot->fd); /* leaves the set */
    if (slot->file >= 0)
        close(slot->file);
    *slot = (struct kli_slot){0};
}

void kli_slots_close(struct kli_slots *slots)
{
    for (unsigned i = 0; i < KLI_SLOTS; i++)
        close_slot(&slots->slot[i]);
    if (slots->set >= 0)
        close(slots->set);
}

void kli_slots_drop(struct kli_slots *slots, enum kli_slot_kind kind)
{
    for (unsigned i = 0; i < KLI_SLOTS; i++) {
        if (slots->slot[i].kind == kind)
            close_slot(&slots->slot[i]);
    }
}

bool kli_slots_add(struct kli_slots *slots, enum kli_slot_kind kind, int fd, int file)
{
    bool psi = kind == KLI_SLOT_SOME || kind == KLI_SLOT_FULL;
    struct epoll_event event = {.events = psi ? EPOLLPRI : EPOLLIN};
    unsigned i = 0;

    while (i < KLI_SLOTS && slots->slot[i].kind != KLI_SLOT_NONE)
        i++;
    event.data.u32 = i;
    if (i < KLI_SLOTS && fd >= 0 && epoll_ctl(slots->set, EPOLL_CTL_ADD, fd, &event) == 0) {
        slots->slot[i] = (struct kli_slot){kind, fd, file};
        return true;
    }
    if (fd >= 0)
        close(fd);
    if (file >= 0)
        close(file);
    return false;
}

/* One trigger; the first window that the kernel allows. */
static bool trigger(struct kli_slots *slots, const char *path, enum kli_slot_kind kind)
{
    const char *what = kind == KLI_SLOT_SOME ? "some" : "full";
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return false;
    for (size_t i = 0; i < sizeof(windows_ms) / sizeof(windows_ms[0]); i++) {
        unsigned window = windows_ms[i], stall = window / STALL_SHARE;
        char text[64];
        int len = snprintf(text, sizeof(text), "%s %u %u", what, stall * 1000, window * 1000);

        if (write(fd, text, (size_t)len + 1) < 0)
            continue;
        if (!kli_slots_add(slots, kind, fd, -1))
            return false;
        slots->window_ms = window;
        slots->stall_ms = stall;
        return true;
    }
    close(fd);
    return false;
}

bool kli_psi_open(struct kli_slots *slots, const char *path)
{
    bool some = trigger(slots, path, KLI_SLOT_SOME);

    return trigger(slots, path, KLI_SLOT_FULL) || some;
}

static int open_in(const char *folder, const char *name, int flags)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);

    return len > 0 && (size_t)len < sizeof(path) ? open(path, flags | O_CLOEXEC) : -1;
}

/* v1: an event of the file, when `argument` says. */
static bool watch_v1(struct kli_slots *slots, const char *folder, const char *name,
                     const char *argument)
{
    int control = open_in(folder, "cgroup.event_control", O_WRONLY);
    int file = open_in(folder, name, O_RDONLY);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    char text[128];
    int len = snprintf(text, sizeof(text), "%d %d %s", event, file, argument);
    bool ok = control >= 0 && file >= 0 && event >= 0 &&
              write(control, text, (size_t)len) == (ssize_t)len;

    if (control >= 0)
        close(control);
    if (ok)
        return kli_slots_add(slots, KLI_SLOT_GROUP, event, file);
    if (file >= 0)
        close(file);
    if (event >= 0)
        close(event);
    return false;
}

static bool watch_v2(struct kli_slots *slots, const char *folder)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/memory.events", folder);

    if (fd >= 0 && len > 0 && (size_t)len < sizeof(path) &&
        inotify_add_watch(fd, path, IN_MODIFY) >= 0)
        return kli_slots_add(slots, KLI_SLOT_GROUP, fd, -1);
    if (fd >= 0)
        close(fd);
    return false;
}

bool kli_group_watch(struct kli_slots *slots, const struct kli_group *group, uint64_t mark)
{
    char argument[32];
    bool mark_ok;

    kli_slots_drop(slots, KLI_SLOT_GROUP);
    if (group->v2)
        return watch_v2(slots, group->folder);
    snprintf(argument, sizeof(argument), "%llu", (unsigned long long)mark);
    mark_ok = watch_v1(slots, group->folder, "memory.usage_in_bytes", argument);
    return watch_v1(slots, group->folder, "memory.pressure_level", "medium") || mark_ok;
}
