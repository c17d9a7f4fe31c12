// SPDX-License-Identifier: Apache-2.0
/* pressure.h - what pressure.c and pressure_source.c share.
 *
 * All descriptors are in one epoll set, which is itself pollable.  A source is a slot:
 * what it is, and the descriptors that go with it. */
#ifndef KLI_LINUX_PRESSURE_H
#define KLI_LINUX_PRESSURE_H

#include "internal.h"

/* Of PSI: "some" and "full" of the machine and of the group; of the group: a threshold and
 * a level (v1), or memory.events (v2). */
enum kli_slot_kind { KLI_SLOT_NONE, KLI_SLOT_TIMER, KLI_SLOT_SOME, KLI_SLOT_FULL, KLI_SLOT_GROUP };
enum { KLI_SLOTS = 8 };

struct kli_slot {
    enum kli_slot_kind kind; /* NONE: free */
    int fd;                  /* in the set */
    int file;                /* must stay open with it; -1: none */
};

struct kli_slots {
    int set;
    struct kli_slot slot[KLI_SLOTS];
    unsigned window_ms, stall_ms; /* of PSI */
};

/* -KL_ENOMEM */
int kli_slots_open(struct kli_slots *slots);
void kli_slots_close(struct kli_slots *slots);
void kli_slots_drop(struct kli_slots *slots, enum kli_slot_kind kind);
/* fd and file are its own from now on, also when it fails. */
bool kli_slots_add(struct kli_slots *slots, enum kli_slot_kind kind, int fd, int file);

/* Triggers in this file of PSI's; true: at least one is at work. */
bool kli_psi_open(struct kli_slots *slots, const char *path);

/* The kernel says when use of the group passes `mark` bytes (v1), or when it is at its limit
 * (v2).  What was there before for a group is dropped. */
bool kli_group_watch(struct kli_slots *slots, const struct kli_group *group, uint64_t mark);

/* pressure.c: for tests, a system whose files are below root. */
int kli_pressure_create(const char *root, struct kl_zone *zone,
                        const struct kl_linux_pressure_config *config,
                        struct kl_linux_pressure **pressure);

#endif
