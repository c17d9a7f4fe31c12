// SPDX-License-Identifier: Apache-2.0
/* The recount of a pool at rest: each slot, each list, each unit's frame, and the contents
 * of what should be zero. */
#include "pool/pool.h"

static const char *check_frame(struct kl_pool *pool, uint32_t i)
{
    uint32_t nr = pool->slot[i].nr;
    uint64_t kind = pool->cached ? KLI_F_KIND | KLI_F_MOVABLE : 0;

    if ((kli_state(pool->zone, nr) & ~KLI_F_CHARGED) != kli_f_make(pool->order, pool->idle.v, kind))
        return "an idle unit's frame is not as it should be";
    if (kl_frame_private(pool->zone, kli_pfn(pool->zone, nr)) != (uint64_t)i + 1)
        return "an idle unit's frame does not name its slot"; /* P1 */
    return NULL;
}

static const char *check_zero(const struct kl_pool *pool, uint32_t nr)
{
    size_t words = ((size_t)1 << (pool->zone->frame_shift + pool->order)) / sizeof(uint64_t);
    const uint64_t *mem = pool->zone->backing.base ? kli_addr(pool->zone, nr) : NULL;

    for (size_t w = 0; mem && w < words; w++) {
        if (mem[w] != 0)
            return "a zeroed unit is not zero"; /* P4 */
    }
    return NULL;
}

/* One list; *n: how many are on it. */
static const char *check_list(struct kl_pool *pool, uint32_t s, unsigned list, uint32_t *n)
{
    const struct pool_share *share = &pool->share[s];
    uint32_t prev = POOL_NONE;

    *n = 0;
    for (uint32_t i = share->head[list]; i != POOL_NONE; prev = i, i = pool->slot[i].next) {
        const struct pool_slot *slot = &pool->slot[i];
        const char *broken;

        if (i >= pool->limit || pool_share_of(pool, i) != share || slot->list != list ||
            slot->prev != prev || ++*n > pool->limit)
            return "a list is broken";
        if ((list & ~(unsigned)POOL_DIRTY) != kli_pool_place(pool, slot->nr))
            return "a unit is on a list of another place";
        broken = check_frame(pool, i);
        if (!broken && !(list & POOL_DIRTY))
            broken = check_zero(pool, slot->nr);
        if (broken)
            return broken;
    }
    if (*n != atomic_load(&share->n[list]) || (*n > 0) != pool_has(share, 1u << list))
        return "a list is not counted right";
    return NULL;
}

static const char *check_share(struct kl_pool *pool, uint32_t s, uint64_t *all)
{
    const struct pool_share *share = &pool->share[s];
    uint32_t n;
    const char *broken;

    for (unsigned list = 0; list < POOL_LISTS; list++) {
        broken = check_list(pool, s, list, &n);
        if (broken)
            return broken;
        *all += n;
    }
    if (atomic_load(&share->isolated) != 0 || atomic_load(&share->zeroing) != 0)
        return "a unit is isolated, or being zeroed, at rest";
    n = 0;
    for (uint32_t i = share->free; i != POOL_NONE; i = pool->slot[i].next) {
        if (i >= pool->limit || pool->slot[i].list != POOL_FREE || ++n > pool->limit)
            return "free slots are broken";
    }
    if (n != atomic_load(&share->room))
        return "free slots are not counted right";
    *all += n;
    return NULL;
}

/* Frames of the idle owner, by their words: none without a slot. */
static uint64_t idle_units(const struct kl_pool *pool)
{
    uint64_t n = 0;

    for (uint32_t nr = 0; nr < pool->zone->frames; nr++) {
        uint64_t word = kli_state(pool->zone, nr);

        n += (word & KLI_F_HEAD) && kli_f_owner(word) == pool->idle.v;
    }
    return n;
}

int kl_pool_check(struct kl_pool *pool, const char **what)
{
    const char *broken = NULL;
    uint64_t slots = 0;

    for (uint32_t s = 0; s < pool->shares && !broken; s++)
        broken = check_share(pool, s, &slots);
    if (!broken && slots != pool->limit)
        broken = "a slot is lost";
    if (!broken && idle_units(pool) != kli_pool_listed(pool, POOL_IN_ANY))
        broken = "an idle unit has no slot";
    if (broken && what)
        *what = broken;
    return broken ? -KL_EIO : 0;
}
