// SPDX-License-Identifier: Apache-2.0
/* cma.h - what the parts of cmabench share: a zone of ordinary memory, its tenants, and
 * areas in it.  One thread, so no locks. */
#ifndef BENCH_CMA_H
#define BENCH_CMA_H

#include "kit.h"

#include "klotski/klotski.h"

enum { CMA_ZONE_FRAMES = 192 << 8, CMA_AREAS = 2 }; /* 192 MiB at most */

/* Movable frames, each of which knows its number and has it in its contents. */
struct tenant {
    kl_pfn pfn; /* all zero: none */
    bool pinned;
};

struct bench {
    struct kl_zone *zone;
    kl_owner_id owner;
    struct kl_cma *area[CMA_AREAS];
    uint32_t frames, block_order, tenants; /* tenants: numbers ever used */
    struct tenant *tenant;
    char *memory;
    uint64_t random;
};
extern struct bench b;

void bench_open(uint32_t frames, unsigned block_order);
void bench_close(void); /* looks at all contents first */
void bench_area(unsigned i, uint32_t first, uint32_t frames, uint64_t defer_bytes);
bool tenant_add(uint32_t i, unsigned flags);
void tenant_drop(uint32_t i);
uint32_t below(uint32_t n);
struct kl_cma_stats area_stats(unsigned i);

/* cma_oracle.c: each prints its table and RATIO lines. */
void run_feasible(uint32_t layouts);
void run_false_failures(uint32_t layouts);

#endif
