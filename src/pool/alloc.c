// SPDX-License-Identifier: Apache-2.0
/* Units out and in: alloc, free, prefill.
 *
 * An alloc takes the best unit that is idle: a zeroed one before a dirty one, then one in a
 * block of the right kind, then a high one; its own CPU's before the others'.  Then it asks
 * the zone.  A share whose lock is taken is passed by, and asked again, waiting, before the
 * next best is looked for.
 */
#include "pool/pool.h"

enum { TRIES = 4 }; /* units that are in flight, of a list, before it is given up */

static const unsigned KNOWN = KL_NOWAIT | KL_ATOMIC | KL_NO_SHRINK | KL_NO_MOVE | KL_POOL_LOW;

static bool flags_ok(const struct kl_pool *pool, unsigned flags)
{
    return !(flags & ~KNOWN) && (!(flags & KL_POOL_LOW) || pool->low_below > 0);
}

static unsigned lists_of(unsigned flags)
{
    return (flags & KL_POOL_LOW) ? POOL_IN_LOW : POOL_IN_ANY;
}

/* A unit off this list, the user's from now on. (P2) */
static bool lend(struct kl_pool *pool, struct pool_share *share, unsigned list, uint32_t *nr)
{
    uint32_t i = share->head[list];

    for (unsigned t = 0; t < TRIES && i != POOL_NONE; t++, i = pool->slot[i].next) {
        *nr = pool->slot[i].nr;
        if (kli_frame_hand(pool->zone, *nr, pool_pass_lend(pool)) != 0)
            continue;
        KLI_TRACE_STEP(pool_lent, KLI_TAG(pool->zone), *nr, list);
        kli_pool_unlink(pool, share, i, POOL_FREE);
        pool_count(share, list & POOL_DIRTY ? POOL_C_HOT : POOL_C_HITS);
        if (list & POOL_ASTRAY)
            pool_count(share, POOL_C_LENT_ASTRAY);
        atomic_store_explicit(&pool->zone->frame[*nr].priv, 0, memory_order_relaxed);
        return true;
    }
    return false;
}

/* Of all shares, beginning with the CPU's own; may_wait: also for their locks.  *passed: one
 * that has something was passed by. */
static bool lend_round(struct kl_pool *pool, unsigned list, bool may_wait, bool *passed,
                       uint32_t *nr)
{
    struct pool_share *share = kli_pool_own_share(pool);
    bool got = false;

    for (uint32_t s = 0; s < pool->shares && !got; s++, share = kli_pool_next_share(pool, share)) {
        if (!pool_has(share, 1u << list))
            continue;
        if (may_wait) {
            kli_spin_take(&pool->host, &share->lock);
        } else if (!kli_spin_try(&pool->host, &share->lock)) {
            *passed = true;
            continue;
        }
        got = lend(pool, share, list, nr);
        kli_spin_drop(&pool->host, &share->lock);
    }
    return got;
}

/* Of any of these lists, the best first: which it was, or POOL_LISTS. */
static unsigned lend_best(struct kl_pool *pool, unsigned lists, uint32_t *nr)
{
    unsigned list = 0;

    for (; list < POOL_LISTS; list++) {
        bool passed = false;

        if ((lists & 1u << list) && (lend_round(pool, list, false, &passed, nr) ||
                                     (passed && lend_round(pool, list, true, &passed, nr))))
            break;
    }
    return list;
}

/* Fresh ones are unmovable, so they lie in blocks for such. */
int kli_pool_get_new(struct kl_pool *pool, unsigned flags, uint32_t *nr, kl_owner_id *owner)
{
    kl_pfn pfn;
    int err;

    *owner = (flags & KL_POOL_LOW) ? pool->low_owner : pool->user;
    err = kl_frame_alloc(pool->zone, pool->order, *owner, flags & ~(unsigned)KL_POOL_LOW, &pfn);
    if (err)
        return err;
    *nr = kl_pfn_nr(pfn);
    err = kli_pool_zero(pool, *nr);
    if (err)
        (void)kl_frame_free(pool->zone, *owner, pfn);
    return err;
}

static int alloc_new(struct kl_pool *pool, unsigned flags, uint32_t *nr)
{
    kl_owner_id owner;
    int err = kli_pool_get_new(pool, flags, nr, &owner);

    pool_tally(pool, POOL_C_MISSES, 1);
    if (pool->low > 0)
        kli_pool_want(pool);
    if (err) {
        pool_tally(pool, POOL_C_FAILED, 1);
        return err;
    }
    KLI_TRACE_STEP(pool_got, KLI_TAG(pool->zone), *nr, owner.v);
    if (owner.v != pool->user.v)
        err = kli_frame_hand(pool->zone, *nr,
                             kli_f_pass(pool->order, owner.v, false, pool->user.v, false));
    if (err == -KL_ENOMEM) { /* the user's share */
        (void)kl_frame_free(pool->zone, owner, kli_pfn(pool->zone, *nr));
        pool_tally(pool, POOL_C_FAILED, 1);
        return err;
    }
    KLI_REQUIRE(&pool->host, err == 0); /* it is ours alone */
    return 0;
}

/* A dirty one that is the user's by now. */
static int clean(struct kl_pool *pool, uint32_t nr)
{
    int err;

    KLI_TRACE_STEP(pool_hot, KLI_TAG(pool->zone), nr, POOL_DIRTY);
    err = kli_pool_zero(pool, nr);
    if (err)
        (void)kl_pool_free(pool, kli_pfn(pool->zone, nr));
    return err;
}

int kl_pool_alloc(struct kl_pool *pool, unsigned flags, kl_pfn *pfn)
{
    unsigned list;
    uint32_t nr;
    int err = 0;

    if (!pfn || !flags_ok(pool, flags))
        return -KL_EINVAL;
    list = lend_best(pool, lists_of(flags), &nr);
    if (list == POOL_LISTS)
        err = alloc_new(pool, flags, &nr);
    else if (list & POOL_DIRTY)
        err = clean(pool, nr);
    if (err)
        return err;
    KLI_TRACE(pool_alloc, KLI_TAG(pool->zone), nr, list);
    *pfn = kli_pfn(pool->zone, nr);
    return 0;
}

/* In this share; its lock is held. */
static int rest_here(struct kl_pool *pool, struct pool_share *share, uint32_t nr, kl_owner_id from,
                     unsigned where)
{
    uint32_t i = kli_pool_slot_take(pool, share);
    int err;

    if (i == POOL_NONE)
        return -KL_ENOSPC;
    KLI_TRACE_STEP(pool_slot, KLI_TAG(pool->zone), nr, from.v);
    err = kli_frame_hand(pool->zone, nr, pool_pass_rest(pool, from));
    if (err) {
        kli_pool_slot_free(pool, share, i);
        return err;
    }
    KLI_TRACE_STEP(pool_rested, KLI_TAG(pool->zone), nr, from.v);
    pool->slot[i].nr = nr;
    atomic_store_explicit(&pool->zone->frame[nr].priv, i + 1, memory_order_relaxed); /* P1 */
    kli_pool_link(pool, share, i, where | kli_pool_place(pool, nr));
    return 0;
}

/* A share that has no slot is passed by, the locks of the others are held for moments. (P6) */
int kli_pool_rest(struct kl_pool *pool, uint32_t nr, kl_owner_id from, unsigned where)
{
    struct pool_share *share = kli_pool_own_share(pool);
    int err = -KL_ENOSPC;

    for (uint32_t s = 0; s < pool->shares && err == -KL_ENOSPC; s++) {
        if (atomic_load_explicit(&share->room, memory_order_relaxed) > 0) {
            kli_spin_take(&pool->host, &share->lock);
            err = rest_here(pool, share, nr, from, where);
            if (!err && where == POOL_DIRTY)
                pool_count(share, POOL_C_RETURNED);
            kli_spin_drop(&pool->host, &share->lock);
        }
        share = kli_pool_next_share(pool, share);
    }
    return err;
}

/* Is it what we lend?  What goes to the zone must be that, too. */
static bool is_unit(const struct kl_pool *pool, uint32_t nr)
{
    uint64_t word = kli_state(pool->zone, nr);

    return (word & KLI_F_HEAD) && !(word & KLI_F_KIND) && kli_f_order(word) == pool->order &&
           kli_f_owner(word) == pool->user.v;
}

int kl_pool_free(struct kl_pool *pool, kl_pfn pfn)
{
    int err;

    if (!kli_pfn_ok(pool->zone, pfn))
        return -KL_EINVAL;
    err = kli_pool_rest(pool, kl_pfn_nr(pfn), pool->user, POOL_DIRTY);
    KLI_TRACE(pool_free, KLI_TAG(pool->zone), kl_pfn_nr(pfn), err);
    if (err == 0) {
        kli_pool_want(pool);                             /* P8 */
    } else if (err == -KL_ENOSPC || err == -KL_ENOMEM) { /* no slot, or the idle ones' share */
        if (!is_unit(pool, kl_pfn_nr(pfn)))
            return -KL_EINVAL;
        err = kl_frame_free(pool->zone, pool->user, pfn);
        if (!err)
            pool_tally(pool, POOL_C_BEYOND, 1);
    }
    return err;
}

/* One more zeroed unit. */
static int fill_one(struct kl_pool *pool, unsigned flags)
{
    kl_owner_id owner;
    uint32_t nr;
    int err = kli_pool_zero_one(pool, lists_of(flags));

    if (err != -KL_ENOENT && err != -KL_EAGAIN)
        return err;
    err = kli_pool_get_new(pool, flags, &nr, &owner);
    if (err)
        return err;
    err = kli_pool_rest(pool, nr, owner, 0);
    if (err)
        (void)kl_frame_free(pool->zone, owner, kli_pfn(pool->zone, nr));
    else
        pool_tally(pool, POOL_C_REFILLED, 1);
    return err;
}

int kl_pool_prefill(struct kl_pool *pool, unsigned flags, uint32_t units)
{
    unsigned lists = lists_of(flags) & POOL_IN_ZEROED;
    int err = 0;

    if (!flags_ok(pool, flags))
        return -KL_EINVAL;
    if (units > pool->limit)
        return -KL_ENOSPC;
    for (uint32_t i = 0; i < units && !err && kli_pool_listed(pool, lists) < units; i++)
        err = fill_one(pool, flags);
    return err;
}

kl_owner_id kl_pool_owner(const struct kl_pool *pool)
{
    return pool->user;
}
