// SPDX-License-Identifier: Apache-2.0
/* What the parts of the torture of all tenants (tenants.c) share. */
#ifndef TESTS_TENANTS_H
#define TESTS_TENANTS_H

#include "support/mover.h"
#include "support/torture.h"

enum { ZONE_BLOCKS = 80, PER = 64, FRAMES = ZONE_BLOCKS * PER, FRAME = 4096 };
enum { POOLS = 4, AREAS = 2 };
enum { GOT_UNITS, GOT_RANGES, GOT_ITEMS, GOT_BLOCKS, GOT };

extern struct fixture f;
extern struct kl_pool *pools[POOLS]; /* 0 and 3 have one owner */
extern const unsigned orders[POOLS];
extern struct kl_cma *area[AREAS];
extern const uint32_t base[AREAS], size[AREAS];
extern struct mover movers[2];
extern _Atomic uint64_t names, learned, got[GOT];

/* Of what does not move: nobody else has it from now on; and so it was. */
void enter(uint32_t nr, uint32_t n, uint32_t who);
void leave(uint32_t nr, uint32_t n, uint32_t who);

/* tenants_bodies.c: threads; users and rangers by their number, items of movers[number % 2]. */
void *users(void *arg);
void *rangers(void *arg);
void *items(void *arg);
void *lives(void *arg);

#endif
