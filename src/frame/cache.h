// SPDX-License-Identifier: Apache-2.0
/* Single frames kept at hand (cache.c): the first way in and out, inline. */
#ifndef KLI_FRAME_CACHE_H
#define KLI_FRAME_CACHE_H

#include "frame/zone.h"

static inline struct kl_cpu_stack *kli_cache_of(struct kl_zone *zone, unsigned cpu, bool unmovable)
{
    return &zone->cache[(size_t)KL_CPU_STACKS * cpu + unmovable];
}

uint32_t kli_cache_get_slow(struct kl_zone *zone, bool unmovable);
bool kli_cache_put_slow(struct kl_zone *zone, uint32_t nr, bool unmovable);

/* The same by the host's sequence alone, without a refill. */
static inline uint32_t kli_cache_try(struct kl_zone *zone, bool unmovable)
{
    const struct kl_host *host = &zone->host;

    if (!host->cpu_pop)
        return KL_CPU_NONE;
    return host->cpu_pop(host->ctx, kli_cache_of(zone, 0, unmovable), host->ncpus);
}

/* A frame of this kind, with a zero state word, that the caller names; or
 * KL_CPU_NONE. */
static inline uint32_t kli_cache_get(struct kl_zone *zone, bool unmovable)
{
    uint32_t nr = kli_cache_try(zone, unmovable);

    return nr != KL_CPU_NONE ? nr : kli_cache_get_slow(zone, unmovable);
}

/* Takes a frame with a zero state word, or refuses: among the unmovable ones is none of an
 * area's block, where others may not have it. (block.h, B6) */
static inline bool kli_cache_put(struct kl_zone *zone, uint32_t nr, bool unmovable)
{
    const struct kl_host *host = &zone->host;
    uint64_t word = kli_block_word(zone, kli_block_of(zone, nr));

    if (!kli_b_caches(word) || (unmovable && (word & KLI_B_CMA))) /* C2 */
        return false;
    if (host->cpu_push)
        return host->cpu_push(host->ctx, kli_cache_of(zone, 0, unmovable), host->ncpus, nr);
    return kli_cache_put_slow(zone, nr, unmovable);
}

#endif
