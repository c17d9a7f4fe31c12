// SPDX-License-Identifier: Apache-2.0
/* A test owner, held apart from the library's own ones: items, each of which is
 * one allocation with known contents.  It checks from its side of the contract
 * that exactly one of {migrated, put back, freed} follows each isolation. */
#ifndef TESTS_MOVER_H
#define TESTS_MOVER_H

#include "support/fixture.h"

#include <pthread.h>

enum { MOVER_ITEMS = 4096, MOVER_HOLD = 8 };

struct item {
    kl_pfn pfn; /* all zero: there is none; changes as it moves */
    unsigned order;
    uint64_t seed;
    bool here; /* for the thread that allocates and frees it: there is one */
    bool isolated;
    bool pinned;
    unsigned held; /* objects' pins of it, for the thread that allocates and frees it */
};

struct mover {
    struct kl_zone *zone;
    kl_owner_id owner;
    pthread_mutex_t lock;
    void (*poll)(void); /* how to wait for the lock; NULL: asleep */
    struct item item[MOVER_ITEMS];
    uint64_t seeds;
    /* Behaviour, in per cent of the calls. */
    atomic_int refuse, busy, fail, fail_prepare;
    /* Outcomes, from the callbacks' side. */
    uint64_t isolated, migrated, put_back, freed;
    uint64_t late;      /* callbacks for a frame that was gone when they came */
    const char *broken; /* the first breach of the contract */
    struct rng rng;
};

enum mover_kind { MOVER_SINGLE, MOVER_BATCH, MOVER_ASYNC };

void mover_open(struct mover *m, struct kl_zone *zone, enum mover_kind kind);
/* Frees all items, unregisters, and asserts the contract. */
void mover_close(struct mover *m);

int mover_alloc(struct mover *m, unsigned i, unsigned order, unsigned flags);
/* true: it was there, and its contents were right. */
bool mover_free(struct mover *m, unsigned i);
/* The item is gone for its owner; its frame is the caller's, who frees it with no
 * lock held.  All zero: it was gone, or is pinned. */
kl_pfn mover_disown(struct mover *m, unsigned i);
bool mover_right(struct mover *m, unsigned i);
/* Fills the zone with movable frames and frees all but every `keep`th frame. */
void mover_scatter(struct mover *m, unsigned keep);
/* The item that lives in frame nr; there must be one. */
unsigned mover_at(const struct mover *m, uint32_t nr);
/* Every item is right. */
void mover_all_right(struct mover *m);
int mover_pin(struct mover *m, unsigned i);
void mover_unpin(struct mover *m, unsigned i);
/* Pins these items, which are there, as one object; lets it go. */
int mover_hold(struct mover *m, const unsigned *items, unsigned n, kl_pin_id *pin);
void mover_let_go(struct mover *m, const unsigned *items, unsigned n, kl_pin_id pin);
/* Settles them first, wherever they are. */
int mover_settle(struct mover *m, const unsigned *items, unsigned n, enum kl_mode mode);

#endif
