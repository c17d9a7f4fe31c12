// SPDX-License-Identifier: Apache-2.0
/* A pool's figures. */
#include "pool/pool.h"

static uint64_t sum(const struct kl_pool *pool, enum pool_counter what)
{
    uint64_t n = atomic_load_explicit(&pool->count[what], memory_order_relaxed);

    for (uint32_t s = 0; s < pool->shares; s++)
        n += atomic_load_explicit(&pool->share[s].count[what], memory_order_relaxed);
    return n;
}

void kl_pool_get_stats(struct kl_pool *pool, struct kl_pool_stats *stats)
{
    struct kl_pool_stats s = {
        .size = sizeof(s),
        .unit_frames = pool_unit(pool),
        .limit = pool->limit,
        .zeroed = (uint32_t)kli_pool_listed(pool, POOL_IN_ZEROED),
        .dirty = (uint32_t)kli_pool_listed(pool, POOL_IN_DIRTY),
        .low = (uint32_t)kli_pool_listed(pool, POOL_IN_LOW),
        .astray = (uint32_t)kli_pool_listed(pool, POOL_IN_ASTRAY),
        .hits = sum(pool, POOL_C_HITS),
        .hot = sum(pool, POOL_C_HOT),
        .misses = sum(pool, POOL_C_MISSES),
        .failed = sum(pool, POOL_C_FAILED),
        .returned = sum(pool, POOL_C_RETURNED),
        .beyond = sum(pool, POOL_C_BEYOND),
        .refilled = sum(pool, POOL_C_REFILLED),
        .zeroed_idle = sum(pool, POOL_C_ZEROED_IDLE),
        .zero_failed = sum(pool, POOL_C_ZERO_FAILED),
        .moved = sum(pool, POOL_C_MOVED),
        .spoiled = sum(pool, POOL_C_SPOILED),
        .put_back = sum(pool, POOL_C_PUT_BACK),
        .lent_astray = sum(pool, POOL_C_LENT_ASTRAY),
        .trimmed = sum(pool, POOL_C_TRIMMED),
        .shrunk = sum(pool, POOL_C_SHRUNK),
    };

    for (uint32_t i = 0; i < pool->shares; i++) {
        s.isolated += atomic_load_explicit(&pool->share[i].isolated, memory_order_relaxed);
        s.zeroing += atomic_load_explicit(&pool->share[i].zeroing, memory_order_relaxed);
    }
    kli_stats_out(stats, &s, sizeof(s));
}
