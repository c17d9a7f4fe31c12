// SPDX-License-Identifier: Apache-2.0
/* A simulated device: memory that only its copy engine touches, frames of a zone
 * that has offsets only, and an owner of them whose moves the engine makes, batched
 * and asynchronously, on a thread of its own.  Items are checked by their contents in
 * the device's memory; the contract of isolation is checked from the owner's side. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include "support/fixture.h"

#include <pthread.h>

enum { DEVICE_ITEMS = 2048, DEVICE_QUEUE = 4096 };

struct device_item {
    kl_pfn pfn; /* all zero: there is none; changes as it moves */
    unsigned order;
    uint64_t seed;
    bool isolated;
};

struct device {
    struct kl_zone *zone;
    kl_owner_id owner;
    unsigned char *memory; /* as large as the zone */
    pthread_mutex_t lock;  /* of all that follows */
    pthread_cond_t work;
    pthread_t engine;
    struct kl_move *queue[DEVICE_QUEUE]; /* a ring */
    unsigned head, queued;
    bool stop;
    struct device_item item[DEVICE_ITEMS];
    uint64_t seeds;
    atomic_int busy, fail; /* per cent of the moves: again, an error of the engine's */
    uint64_t isolated, migrated, put_back, freed, pended;
    const char *broken; /* the first breach of the contract */
    struct rng rng;
};

/* A zone of `blocks` blocks of 2^order frames of 4 KiB without an address, of which
 * it may have `size` at first (0: all), and the device behind it. */
void device_open(struct device *d, unsigned blocks, unsigned order, unsigned size);
/* Frees all items, ends the engine, checks and destroys the zone. */
void device_close(struct device *d);

/* i: the item, which only one thread uses. */
int device_alloc(struct device *d, unsigned i, unsigned order, unsigned flags);
/* true: its contents are right. */
bool device_right(struct device *d, unsigned i);
/* The same, and frees it. */
bool device_free(struct device *d, unsigned i);

#endif
