// SPDX-License-Identifier: Apache-2.0
/* Zeroing, and the pool's background work. (P4, P8)
 *
 * A dirty unit that is being zeroed in the background is off its list, and its frame is
 * locked: nobody gets it, nobody moves it.
 */
#include "pool/pool.h"

enum { TRIES = 8, BATCH = 64 };
static const uint64_t BUSY_NS = 1000000;       /* those that are left are being moved */
static const uint64_t FAILED_NS = 100000000;   /* config->zero does not want to */
static const uint64_t RESTING_NS = 1000000000; /* no refill so soon after a shrink, or in vain */

void kli_pool_want(struct kl_pool *pool)
{
    if (!atomic_load(&pool->wanted) && !atomic_exchange(&pool->wanted, true) && pool->shrinker.v)
        (void)kl_shrinker_want(pool->zone, pool->shrinker);
}

/* All of the unit, which is the caller's alone. */
int kli_pool_zero(struct kl_pool *pool, uint32_t nr)
{
    int err = 0;

    if (pool->zero)
        err = pool->zero(pool->ctx, kli_pfn(pool->zone, nr), pool->order);
    else
        memset(kli_addr(pool->zone, nr), 0, (size_t)1 << (pool->zone->frame_shift + pool->order));
    if (err)
        pool_tally(pool, POOL_C_ZERO_FAILED, 1);
    return err;
}

/* A unit of this list, locked and off the list. */
static uint32_t begin_on(struct kl_pool *pool, struct pool_share *share, unsigned list)
{
    uint32_t i = share->head[list];

    for (unsigned t = 0; t < TRIES && i != POOL_NONE; t++, i = pool->slot[i].next) {
        if (kl_frame_trylock(pool->zone, pool->idle, kli_pfn(pool->zone, pool->slot[i].nr))) {
            kli_pool_unlink(pool, share, i, POOL_ZEROING);
            return i;
        }
    }
    return POOL_NONE;
}

/* Always under the lock: a peek without it may miss what was filed before `wanted` was seen
 * to be up. (P8)  *any: there are such units. */
static uint32_t begin(struct kl_pool *pool, struct pool_share *share, unsigned lists, bool *any)
{
    uint32_t have, i = POOL_NONE;

    kli_spin_take(&pool->host, &share->lock);
    have = atomic_load_explicit(&share->have, memory_order_relaxed) & lists & POOL_IN_DIRTY;
    *any = have != 0;
    for (; have && i == POOL_NONE; have &= have - 1)
        i = begin_on(pool, share, kli_lowest(have));
    kli_spin_drop(&pool->host, &share->lock);
    return i;
}

static void end(struct kl_pool *pool, struct pool_share *share, uint32_t i, bool zeroed)
{
    uint32_t nr = pool->slot[i].nr;

    kl_frame_unlock(pool->zone, kli_pfn(pool->zone, nr));
    KLI_TRACE_STEP(pool_unlocked, KLI_TAG(pool->zone), nr, i);
    kli_spin_take(&pool->host, &share->lock);
    atomic_fetch_sub_explicit(&share->zeroing, 1, memory_order_relaxed);
    kli_pool_link(pool, share, i, (zeroed ? 0 : POOL_DIRTY) | kli_pool_place(pool, nr));
    if (zeroed)
        pool_count(share, POOL_C_ZEROED_IDLE);
    kli_spin_drop(&pool->host, &share->lock);
}

int kli_pool_zero_one(struct kl_pool *pool, unsigned lists)
{
    struct pool_share *share = kli_pool_own_share(pool);
    int err = -KL_ENOENT;

    for (uint32_t s = 0; s < pool->shares; s++, share = kli_pool_next_share(pool, share)) {
        bool any;
        uint32_t i = begin(pool, share, lists, &any);

        if (i != POOL_NONE) {
            uint32_t nr = pool->slot[i].nr;

            KLI_TRACE_STEP(pool_zeroing, KLI_TAG(pool->zone), nr, i);
            err = kli_pool_zero(pool, nr);
            end(pool, share, i, err == 0);
            KLI_TRACE(pool_zeroed, KLI_TAG(pool->zone), nr, err);
            return err;
        }
        if (any)
            err = -KL_EAGAIN;
    }
    return err;
}

static bool may_refill(struct kl_pool *pool)
{
    struct kl_zone *zone = pool->zone;
    uint64_t shrunk = atomic_load(&pool->shrunk_ns), now = pool->host.now_ns(pool->host.ctx);
    uint64_t high = atomic_load_explicit(&zone->marks.high, memory_order_relaxed);

    return (shrunk == 0 || now - shrunk >= RESTING_NS) &&
           !kli_over_soft(zone, (uint64_t)pool_unit(pool) << zone->frame_shift) &&
           kli_available(zone) >= high + pool_unit(pool);
}

static int refill_one(struct kl_pool *pool)
{
    kl_owner_id owner;
    uint32_t nr;
    int err;

    if (!may_refill(pool))
        return -KL_ENOMEM;
    err = kli_pool_get_new(pool, KL_NOWAIT | KL_NO_SHRINK | KL_NO_MOVE, &nr, &owner);
    if (err)
        return err;
    err = kli_pool_rest(pool, nr, owner, 0);
    if (err)
        (void)kl_frame_free(pool->zone, owner, kli_pfn(pool->zone, nr));
    else
        pool_tally(pool, POOL_C_REFILLED, 1);
    return err;
}

/* From low to high, as far as the budget goes: 0, or why it ended. */
static int refill(struct kl_pool *pool, uint32_t *left)
{
    int err = 0;

    if (kli_pool_listed(pool, POOL_IN_ANY) < pool->low)
        pool->refilling = true;
    for (; pool->refilling && *left > 0 && !err; --*left) {
        if (kli_pool_listed(pool, POOL_IN_ANY) >= pool->high)
            pool->refilling = false;
        else
            err = refill_one(pool);
    }
    return err;
}

static uint64_t pause_after(int err)
{
    if (err == -KL_EAGAIN)
        return BUSY_NS;
    return err == -KL_ENOMEM || err == -KL_ENOSPC ? RESTING_NS : FAILED_NS;
}

uint64_t kli_pool_work(void *ctx, uint32_t budget)
{
    struct kl_pool *pool = ctx;
    uint32_t left = (uint32_t)kli_div_up(budget, pool_unit(pool));
    int err = 0;

    atomic_store(&pool->wanted, false); /* P8: before any look */
    for (; left > 0 && err == 0; left--)
        err = kli_pool_zero_one(pool, POOL_IN_ANY);
    if (err == -KL_ENOENT) {
        left++;
        err = refill(pool, &left);
    }
    if (err)
        return pause_after(err);
    return left > 0 ? KL_WORK_DONE : 0;
}
