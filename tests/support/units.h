// SPDX-License-Identifier: Apache-2.0
/* Units of a page pool, for its tests: secrets written into them, and a search for any. */
#ifndef TESTS_UNITS_H
#define TESTS_UNITS_H

#include "support/fixture.h"

void assert_pool_ok(struct kl_pool *pool);
struct kl_pool_stats pool_stats(struct kl_pool *pool);
/* A pool of these; fields that are 0 as the config says. */
struct kl_pool *unit_pool(struct kl_zone *zone, unsigned order, enum kl_pool_kind kind,
                          uint32_t limit);

/* Every byte of it. */
bool unit_is_zero(struct kl_zone *zone, kl_pfn pfn, unsigned order);
void unit_fill(struct kl_zone *zone, kl_pfn pfn, unsigned order);
/* How many bytes of it are the secret. */
size_t unit_secrets(struct kl_zone *zone, kl_pfn pfn, unsigned order);

/* Takes n units, each of them all zero and none of them another's, and fills them with
 * secrets. */
void units_get(struct kl_zone *zone, struct kl_pool *pool, unsigned order, kl_pfn *pfn, unsigned n);
void units_put(struct kl_pool *pool, const kl_pfn *pfn, unsigned n);
/* All frames of the zone that are free get secrets. */
void zone_fill(struct kl_zone *zone);
/* The pool's background work, until there is none. */
void units_work(struct kl_zone *zone);

#endif
