// SPDX-License-Identifier: Apache-2.0
/* Single frames kept at hand, per CPU and kind.
 *
 * A cached frame has its bit set and is not in its block's free count, as if it
 * were allocated, but has a zero state word; an unmovable one stays counted as
 * stuck.  So a block with cached frames is not empty: whoever empties blocks
 * drains the caches first, and again while something is missing.
 *
 * (C1) A cache is touched with its lock held.  The lock is tried, never waited
 *      for, but by drain; it is held for a few instructions.
 * (C2) What is freed in a fenced block does not enter a cache.  (It may, if the
 *      fence is just going up: hence "again".)
 */
#include "frame/zone.h"

static bool lock(struct kli_cache *cache)
{
    return !atomic_exchange_explicit(&cache->busy, true, memory_order_acquire);
}

static void unlock(struct kli_cache *cache)
{
    atomic_store_explicit(&cache->busy, false, memory_order_release);
}

/* Fills an empty stack with frames of the CPU's last block. */
static void refill(struct kl_zone *zone, struct kli_stack *stack, bool unmovable, uint32_t block)
{
    stack->n = kli_reserve_singles(zone, block, unmovable, KLI_CACHE / 2, stack->nr);
}

bool kli_cache_get(struct kl_zone *zone, bool unmovable, uint32_t *nr)
{
    unsigned cpu = kli_cpu(zone);
    struct kli_cache *cache = &zone->cache[cpu];
    struct kli_stack *stack = &cache->stack[unmovable];
    bool got;

    if (!lock(cache))
        return false;
    if (stack->n == 0)
        refill(zone, stack, unmovable,
               atomic_load_explicit(&zone->hint[cpu].block[unmovable], memory_order_relaxed));
    got = stack->n > 0;
    if (got)
        *nr = stack->nr[--stack->n];
    unlock(cache);
    return got;
}

bool kli_cache_put(struct kl_zone *zone, uint32_t nr, bool unmovable)
{
    struct kli_cache *cache = &zone->cache[kli_cpu(zone)];
    struct kli_stack *stack = &cache->stack[unmovable];
    bool put;

    if (!kli_b_open(kli_block_word(zone, kli_block_of(zone, nr)))) /* C2 */
        return false;
    if (!lock(cache))
        return false;
    put = stack->n < KLI_CACHE;
    if (put)
        stack->nr[stack->n++] = nr;
    unlock(cache);
    return put;
}

static void drain_stack(struct kl_zone *zone, struct kli_stack *stack, bool unmovable)
{
    while (stack->n > 0)
        kli_bits_put(zone, stack->nr[--stack->n], 1, unmovable);
}

/* true: there was something. */
bool kli_cache_drain(struct kl_zone *zone)
{
    bool any = false;

    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++) {
        struct kli_cache *cache = &zone->cache[cpu];

        for (unsigned round = 0; !lock(cache); round++)
            zone->host.relax(zone->host.ctx, round);
        any |= cache->stack[0].n + cache->stack[1].n > 0;
        drain_stack(zone, &cache->stack[0], false);
        drain_stack(zone, &cache->stack[1], true);
        unlock(cache);
    }
    return any;
}

/* Cached frames of one block, for recounts; of all blocks: UINT32_MAX. */
uint32_t kli_cache_count(struct kl_zone *zone, uint32_t block, bool unmovable)
{
    uint32_t n = 0;

    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++) {
        struct kli_cache *cache = &zone->cache[cpu];
        struct kli_stack *stack = &cache->stack[unmovable];

        for (unsigned round = 0; !lock(cache); round++)
            zone->host.relax(zone->host.ctx, round);
        for (uint32_t i = 0; i < stack->n; i++)
            n += block == UINT32_MAX || kli_block_of(zone, stack->nr[i]) == block;
        unlock(cache);
    }
    return n;
}

/* Keeps nr in a sorted list of the lowest `most`, n of which it has; how many then. */
static uint32_t insert(uint32_t *list, uint32_t n, uint32_t most, uint32_t nr)
{
    uint32_t at;

    if (n == most && list[n - 1] <= nr)
        return n;
    n -= n == most;
    for (at = n; at > 0 && list[at - 1] > nr; at--)
        list[at] = list[at - 1];
    list[at] = nr;
    return n + 1;
}

/* The lowest cached frames from number `from` on, in ascending order: how many. */
uint32_t kli_cache_list(struct kl_zone *zone, uint32_t from, uint32_t *nr, uint32_t most)
{
    uint32_t n = 0;

    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++) {
        struct kli_cache *cache = &zone->cache[cpu];

        for (unsigned round = 0; !lock(cache); round++)
            zone->host.relax(zone->host.ctx, round);
        for (uint32_t i = 0; i < 2 * KLI_CACHE; i++) {
            const struct kli_stack *stack = &cache->stack[i / KLI_CACHE];

            if (i % KLI_CACHE < stack->n && stack->nr[i % KLI_CACHE] >= from)
                n = insert(nr, n, most, stack->nr[i % KLI_CACHE]);
        }
        unlock(cache);
    }
    return n;
}
