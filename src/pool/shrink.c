// SPDX-License-Identifier: Apache-2.0
/* Giving idle units back to the zone: trim, the shrinker, the end.
 *
 * A unit that is off its list is in nobody's reach but the framework's, which may have its
 * frame locked to look at it: then the free only marks it, and nobody waits.
 */
#include "pool/pool.h"

enum { BATCH = 32 };

/* What others would rather keep comes last. */
static const unsigned ORDER[] = {
    POOL_IN_DIRTY & POOL_IN_ASTRAY,
    POOL_IN_DIRTY,
    POOL_IN_ZEROED &POOL_IN_ASTRAY,
    POOL_IN_ZEROED,
};

/* Up to n units off these lists. */
static uint32_t take_off(struct kl_pool *pool, struct pool_share *share, unsigned lists, uint32_t n,
                         uint32_t *nr)
{
    uint32_t have, got = 0;

    kli_spin_take(&pool->host, &share->lock);
    while (got < n &&
           (have = atomic_load_explicit(&share->have, memory_order_relaxed) & lists) != 0) {
        uint32_t i = share->head[kli_lowest(have)];

        nr[got++] = pool->slot[i].nr;
        kli_pool_unlink(pool, share, i, POOL_FREE);
    }
    kli_spin_drop(&pool->host, &share->lock);
    return got;
}

static uint64_t drop_from(struct kl_pool *pool, struct pool_share *share, unsigned lists,
                          uint64_t units)
{
    uint32_t nr[BATCH], n;
    uint64_t sum = 0;

    do {
        n = take_off(pool, share, lists, (uint32_t)kli_min(BATCH, units - sum), nr);
        for (uint32_t i = 0; i < n; i++) {
            KLI_TRACE_STEP(pool_off, KLI_TAG(pool->zone), nr[i], n);
            KLI_REQUIRE(&pool->host, kl_frame_free(pool->zone, pool->idle,
                                                   kli_pfn(pool->zone, nr[i])) == 0); /* P1 */
        }
        sum += n;
    } while (n > 0 && sum < units);
    return sum;
}

/* Up to so many idle units go to the zone: how many. */
uint64_t kli_pool_drop(struct kl_pool *pool, uint64_t units)
{
    uint64_t sum = 0;

    for (unsigned o = 0; o < sizeof(ORDER) / sizeof(ORDER[0]); o++) {
        for (uint32_t s = 0; s < pool->shares && sum < units; s++) {
            if (pool_has(&pool->share[s], ORDER[o]))
                sum += drop_from(pool, &pool->share[s], ORDER[o], units - sum);
        }
    }
    return sum;
}

uint32_t kl_pool_trim(struct kl_pool *pool, uint32_t keep)
{
    uint64_t idle = kli_pool_listed(pool, POOL_IN_ANY);
    uint64_t n = idle > keep ? kli_pool_drop(pool, idle - keep) : 0;

    pool_tally(pool, POOL_C_TRIMMED, n);
    KLI_TRACE(pool_trim, KLI_TAG(pool->zone), n, keep);
    return (uint32_t)n;
}

/* Frames: an idle frame is one object. */
static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct kl_pool *pool = ctx;

    (void)shrink;
    return kli_pool_listed(pool, POOL_IN_ANY) << pool->order;
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    struct kl_pool *pool = ctx;
    uint64_t n = kli_pool_drop(pool, kli_div_up(shrink->nr_to_scan, pool_unit(pool)));

    if (n == 0)
        return KL_SHRINK_STOP;
    atomic_store(&pool->shrunk_ns, pool->host.now_ns(pool->host.ctx));
    pool_tally(pool, POOL_C_SHRUNK, n);
    KLI_TRACE(pool_shrunk, KLI_TAG(pool->zone), n, pool->order);
    return n << pool->order;
}

int kli_pool_shrinker_register(struct kl_pool *pool, const char *name)
{
    const struct kl_shrinker_ops ops = {.size = sizeof(ops),
                                        .name = name,
                                        .count = count,
                                        .scan = scan,
                                        .work = kli_pool_work,
                                        .owner = pool->idle};

    return kl_shrinker_register(pool->zone, &ops, pool, &pool->shrinker);
}
