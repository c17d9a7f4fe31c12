// SPDX-License-Identifier: Apache-2.0
/* helps.h - what the two parts of helpsbench share: two zones with one history, the
 * one with migration off, the other with it on.  One thread, so no locks. */
#ifndef BENCH_HELPS_H
#define BENCH_HELPS_H

#include "kit.h"

#include "klotski/klotski.h"

enum {
    MIB = 256,         /* frames */
    AREA = 96 * MIB,   /* of these */
    RANGE = 64 * MIB,  /* the largest request */
    POOLS = 3,         /* orders 0, 2, 4 */
    USERS = 256,       /* of pools */
    BURST = 128,       /* frames that a user gets at once, at most */
    BLOCKS = 1 << 18,  /* of the store, of 4 KiB */
    CHUNK = 512,       /* operations on the store, between looks */
    USES = 16,         /* users who come or go in a chunk */
    EPOCH = 128,       /* chunks with one aim */
    DEVICE = 8,        /* chunks that a device has a range of the area */
    STEP_BUDGET = 256, /* budget of background work, after each chunk */
};

enum { OFF, ON, WORLDS };
enum { WRITE, TRIM, USE, DRIVE, STEP, KINDS }; /* of ordinary operations */

struct world {
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    struct kl_store *store;
    struct kl_pool *pool[POOLS];
    struct kl_cma *area;
    kl_owner_id owner;
    kl_pfn unit[USERS][BURST]; /* all zero: none */
    uint32_t has[BLOCKS];      /* a page of the corpus and 1; 0: nothing */
    kl_pfn range;              /* the device's */
    uint32_t range_frames;     /* 0: it has none */
    uint64_t ns[KINDS], done[KINDS], refused[KINDS];
    double *ns_each[KINDS]; /* a chunk's, for one operation */
};
extern struct world world[WORLDS];
extern uint32_t zone_frames; /* of each */

struct kl_zone_stats zone_stats(const struct world *w);

/* helps_load.c: the history. */
void load_open(const struct corpus *corpus, uint64_t seed, uint32_t chunks);
void load_fill(void);
void load_chunk(uint32_t chunk);
void load_idle(void);  /* the devices release their ranges */
void load_close(void); /* looks at all contents, and recounts */

#endif
