// SPDX-License-Identifier: Apache-2.0
/* The scene of the tests of areas: a zone of which the second half is an area, a test owner,
 * a clock that a test may set.  One program includes it once. */
#ifndef TESTS_AREA_H
#define TESTS_AREA_H

#include "support/mover.h"

#include <string.h>

enum { BLOCKS = 8, PER = 64, AREA = 4 * PER, FRAME = 4096 }; /* the area: half of the zone */

static struct fixture f;
static struct mover m;
static struct kl_cma *area;
static uint64_t clock_ns; /* 0: the host's */

static inline uint64_t fake_now(void *ctx)
{
    return clock_ns ? clock_ns : kl_linux_host()->now_ns(ctx);
}

static inline void use_fake_clock(struct kl_host *host)
{
    host->now_ns = fake_now;
}

static inline void assert_area_ok(void)
{
    const char *what = NULL;

    if (kl_cma_check(area, &what))
        fail_msg("broken: %s", what);
    assert_zone_ok(f.zone);
}

static inline struct kl_cma_stats stats(void)
{
    struct kl_cma_stats s = {.size = sizeof(s)};

    kl_cma_get_stats(area, &s);
    return s;
}

static inline struct kl_cma_config config_at(uint32_t nr, uint32_t frames)
{
    return (struct kl_cma_config){.size = sizeof(struct kl_cma_config),
                                  .name = "test",
                                  .base = kl_zone_pfn(f.zone, nr),
                                  .frames = frames};
}

/* The area is the second half. */
static inline void open_all(unsigned order_per_bit, uint64_t defer_bytes, uint64_t defer_ns)
{
    struct kl_cma_config c;

    fixture_host = use_fake_clock;
    clock_ns = 0;
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    c = config_at(AREA, AREA);
    c.order_per_bit = order_per_bit;
    c.defer_bytes = defer_bytes;
    c.defer_ns = defer_ns;
    assert_int_equal(kl_cma_create(f.zone, &c, &area), 0);
    mover_open(&m, f.zone, MOVER_BATCH);
}

static inline void close_all(void)
{
    assert_area_ok();
    mover_close(&m);
    assert_int_equal(kl_cma_destroy(area), 0);
    fixture_close(&f);
    fixture_host = NULL;
}

static inline int alloc(uint32_t frames, uint32_t align, kl_pfn *first)
{
    return kl_cma_alloc(area, frames, align, 0, KL_SYNC, first, NULL);
}

static inline int alloc_at(uint32_t nr, uint32_t frames, struct kl_report *r)
{
    return kl_cma_alloc_at(area, kl_zone_pfn(f.zone, nr), frames, 0, KL_SYNC, r);
}

static inline void release(kl_pfn first, uint32_t frames)
{
    assert_int_equal(kl_cma_release(area, first, frames), 0);
}

#endif
