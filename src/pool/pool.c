// SPDX-License-Identifier: Apache-2.0
/* A pool's beginning and end.
 *
 * All metadata is one piece, got at creation: the pool, its shares, its slots.  So nothing
 * later can fail for want of metadata.
 */
#include "pool/pool.h"

enum { SLOTS_LEAST = 64, PART = 16, COARSE_MOST = 16 };

static uint64_t default_limit(const struct kl_zone *zone, unsigned order)
{
    return kli_max(1, (zone->frames / PART) >> order);
}

static bool config_ok(const struct kl_zone *zone, const struct kl_pool_config *c)
{
    if (!c || c->size != sizeof(*c) || c->order > zone->block_order ||
        (c->kind != KL_POOL_CACHED && c->kind != KL_POOL_UNCACHED))
        return false;
    if (c->owner.v != 0 && !kli_owner_is(zone, c->owner.v))
        return false;
    if (c->low_below > zone->frames || (c->low_below != 0 && c->low_below < zone->block_frames))
        return false;
    if (!c->zero && !zone->backing.base)
        return false;
    return c->low <= c->high && c->limit <= zone->frames >> c->order &&
           c->high <= (c->limit ? c->limit : default_limit(zone, c->order));
}

static size_t bytes_of(uint32_t shares, uint32_t limit)
{
    return kli_align_up(sizeof(struct kl_pool), 64) + shares * sizeof(struct pool_share) +
           limit * sizeof(struct pool_slot);
}

static void init(struct kl_pool *pool, struct kl_zone *zone, const struct kl_pool_config *c)
{
    pool->zone = zone;
    pool->host = zone->host;
    pool->order = c->order;
    pool->cached = c->kind == KL_POOL_CACHED;
    pool->lends_own = c->owner.v == 0;
    pool->user = c->owner;
    pool->low_below = c->low_below;
    pool->low = c->low;
    pool->high = c->high;
    pool->coarse = (int32_t)kli_min(COARSE_MOST, kli_max(1, c->low / 8 / kli_max(1, pool->shares)));
    pool->zero = c->zero;
    pool->ctx = c->ctx;
    pool->slots_each = (uint32_t)kli_div_up(pool->limit, pool->shares);
    pool->share = (void *)((char *)pool + kli_align_up(sizeof(*pool), 64));
    pool->slot = (void *)(pool->share + pool->shares);
    kli_pool_lists_init(pool);
}

/* The owner's bound holds for idle units, too. */
static uint32_t bound_of(const struct kl_zone *zone, kl_owner_id owner)
{
    uint32_t end = owner.v ? kli_owner(zone, owner.v)->end : zone->blocks;

    return end == zone->blocks ? 0 : end << zone->block_order;
}

static uint32_t low_bound(const struct kl_pool *pool, uint32_t bound)
{
    return bound != 0 && bound < pool->low_below ? bound : pool->low_below;
}

static int register_all(struct kl_pool *pool, const char *name)
{
    uint32_t bound = bound_of(pool->zone, pool->user);
    struct kl_owner_ops plain = {.size = sizeof(plain), .name = name};
    int err = kli_pool_idle_register(pool, name, bound);

    if (!err && pool->lends_own)
        err = kl_owner_register(pool->zone, &plain, NULL, &pool->user);
    plain.below = low_bound(pool, bound);
    if (!err && pool->low_below > 0)
        err = kl_owner_register(pool->zone, &plain, NULL, &pool->low_owner);
    return err ? err : kli_pool_shrinker_register(pool, name);
}

/* Somebody who looks at a frame of it may have a reference for a moment. */
static void unregister(struct kl_pool *pool, kl_owner_id owner)
{
    for (unsigned round = 0; owner.v && kl_owner_unregister(pool->zone, owner) == -KL_EBUSY;
         round++)
        pool->host.relax(pool->host.ctx, round);
}

/* No unit is idle, none of ours in use, no callback runs. */
static void dismantle(struct kl_pool *pool)
{
    unregister(pool, pool->idle);
    unregister(pool, pool->low_owner);
    if (pool->lends_own)
        unregister(pool, pool->user);
    kl_zone_meta_free(pool->zone, pool, pool->bytes);
}

int kl_pool_create(struct kl_zone *zone, const struct kl_pool_config *config, struct kl_pool **out)
{
    uint32_t limit, shares;
    struct kl_pool *pool;
    int err;

    if (!out || !config_ok(zone, config))
        return -KL_EINVAL;
    limit = config->limit ? config->limit : (uint32_t)default_limit(zone, config->order);
    shares = (uint32_t)kli_max(1, kli_min(zone->host.ncpus, limit / SLOTS_LEAST));
    pool = kl_zone_meta_alloc(zone, bytes_of(shares, limit));
    if (!pool)
        return -KL_ENOMEM;
    pool->bytes = bytes_of(shares, limit);
    pool->limit = limit;
    pool->shares = shares;
    init(pool, zone, config);
    err = register_all(pool, config->name ? config->name : "pool");
    if (err) {
        dismantle(pool);
        return err;
    }
    if (pool->low > 0)
        kli_pool_want(pool);
    *out = pool;
    return 0;
}

/* Does the block hold a unit in use?  One that is free but for somebody who is just looking
 * at it is not.  What is absent or free as a whole is not looked at. */
static bool is_in(const struct kl_pool *pool, uint32_t block)
{
    const struct kl_zone *zone = pool->zone;
    uint64_t word = kli_block_word(zone, block);
    uint32_t nr = block << zone->block_order, end = nr + zone->block_frames;

    if ((word & KLI_B_ABSENT) || kli_b_free(word) == zone->block_frames)
        return false;
    for (; nr < end; nr++) {
        word = kli_state(zone, nr);
        if ((word & KLI_F_HEAD) && !(word & KLI_F_DYING) && kli_f_owner(word) == pool->user.v)
            return true;
    }
    return false;
}

static bool anything_in_use(const struct kl_pool *pool)
{
    for (uint32_t b = 0; pool->lends_own && b < pool->zone->blocks; b++) {
        if (is_in(pool, b))
            return true;
    }
    return false;
}

/* Isolated units come back, as moved or as put back.  Nothing takes a slot any more, so
 * when all are free, all is over. */
static void drain(struct kl_pool *pool)
{
    for (unsigned round = 0;; round++) {
        uint32_t room = 0;

        kli_pool_drop(pool, UINT64_MAX);
        for (uint32_t s = 0; s < pool->shares; s++) {
            kli_spin_take(&pool->host, &pool->share[s].lock);
            room += atomic_load_explicit(&pool->share[s].room, memory_order_relaxed);
            kli_spin_drop(&pool->host, &pool->share[s].lock);
        }
        if (room == pool->limit)
            return;
        pool->host.relax(pool->host.ctx, round);
    }
}

int kl_pool_destroy(struct kl_pool *pool)
{
    int err;

    if (!pool)
        return 0;
    if (anything_in_use(pool))
        return -KL_EBUSY;
    err = kl_shrinker_unregister(pool->zone, pool->shrinker);
    if (err)
        return err;
    drain(pool);
    dismantle(pool);
    return 0;
}
