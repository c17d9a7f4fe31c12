// SPDX-License-Identifier: Apache-2.0
/* Allocation of frames, and its slow path.
 *
 * The stages, each of which is followed by another attempt:
 *
 *   fast      a free frame, a free block that is broken up, memory for an absent
 *             block, mixing (frame/alloc.c); no further than the soft limit
 *   soft      beyond the soft limit
 *   compact   for runs of frames: the cheapest window is emptied and taken
 *   wait      until somebody who holds frames back (blocks that are being emptied, or
 *             populated) lets go
 *
 * What the caller rules out by its flags is left out.  Nothing is held between the
 * stages, so that any number of threads may be in any of them.
 */
#include "frame/zone.h"
#include "move/take.h"

static const uint64_t MAX_WAIT_NS = UINT64_C(2000000000);

static bool may_wait(unsigned flags)
{
    return !(flags & (KL_NOWAIT | KL_ATOMIC));
}

static bool by_compaction(struct kl_zone *zone, const struct kli_ask *ask, unsigned flags,
                          uint32_t *nr)
{
    uint32_t n = 1u << ask->order;
    struct kli_search search = {.n = n, .align = n, .end = ask->end};
    struct kli_taker taker = {ask->owner, ask->order, ask->flags};

    if (ask->order == 0 || (flags & KL_NO_MOVE) || !kli_may_take(zone, n))
        return false;
    return kli_contig(zone, &search, NULL, &taker, KL_SYNC_LIGHT, nr, NULL) == 0;
}

/* What is left when the fast path found nothing. */
static bool take_harder(struct kl_zone *zone, struct kli_ask *ask, unsigned flags, uint32_t *nr)
{
    ask->over_soft = true;
    if (kli_over_soft(zone, kli_block_bytes(zone)) && kli_frame_take(zone, ask, nr))
        return true;
    if (!by_compaction(zone, ask, flags, nr))
        return false;
    kli_count(zone, KLI_C_COMPACTED, 1);
    return true;
}

/* Waits until one who holds frames back lets go; false when there is nobody. */
static bool wait_for_holds(struct kl_zone *zone, uint32_t ends)
{
    enum { NAP_NS = 50000000 }; /* frames may also become free without a word */

    if (atomic_load(&zone->holds) == 0)
        return atomic_load(&zone->hold_ends) != ends; /* one let go meanwhile */
    kli_count(zone, KLI_C_STALLS, 1);
    zone->host.wait(zone->host.ctx, (const uint32_t *)&zone->hold_ends, ends, NAP_NS);
    return true;
}

/* ends: zone->hold_ends before the fast path. */
static bool take_slowly(struct kl_zone *zone, struct kli_ask *ask, unsigned flags, uint32_t ends,
                        uint32_t *nr)
{
    const struct kl_host *host = &zone->host;
    uint64_t since = host->now_ns(host->ctx);

    kli_count(zone, KLI_C_SLOW, 1);
    while (!take_harder(zone, ask, flags, nr)) {
        if (host->now_ns(host->ctx) - since > MAX_WAIT_NS || !wait_for_holds(zone, ends))
            return false;
        ends = atomic_load(&zone->hold_ends);
        ask->over_soft = false;
        if (kli_frame_take(zone, ask, nr))
            return true;
    }
    return true;
}

static bool take(struct kl_zone *zone, struct kli_ask *ask, unsigned flags, uint32_t *nr)
{
    uint32_t ends = atomic_load(&zone->hold_ends);

    if (kli_frame_take(zone, ask, nr))
        return true;
    if (may_wait(flags) && take_slowly(zone, ask, flags, ends, nr))
        return true;
    kli_count(zone, KLI_C_REFUSED, 1);
    return false;
}

int kl_frame_alloc(struct kl_zone *zone, unsigned order, kl_owner_id owner, unsigned flags,
                   kl_pfn *pfn)
{
    const unsigned known = KL_MOVABLE | KL_ZERO | KL_NOWAIT | KL_ATOMIC | KL_NO_SHRINK | KL_NO_MOVE;
    bool movable = flags & KL_MOVABLE;
    struct kli_ask ask = {
        .order = order,
        .owner = owner.v,
        .flags = movable ? KLI_F_KIND | KLI_F_MOVABLE : 0,
        .unmovable = !movable,
        .populate = !(flags & KL_ATOMIC),
        .over_soft = !may_wait(flags),
    };
    uint32_t nr;

    if ((flags & ~known) || order > zone->block_order || !kli_owner_is(zone, owner.v) ||
        (movable && !kli_owner(zone, owner.v)->movable))
        return -KL_EINVAL;
    ask.end = kli_owner(zone, owner.v)->end;
    if (movable && (flags & KL_ZERO)) /* nobody may move it before it is zeroed */
        ask.flags = KLI_F_KIND | KLI_F_LOCKED;
    if (!take(zone, &ask, flags, &nr))
        return -KL_ENOMEM;
    if (flags & KL_ZERO) {
        memset(kli_addr(zone, nr), 0, (size_t)1 << (zone->frame_shift + order));
        if (movable)
            kli_settle(zone, nr, kli_f_publish, 0);
    }
    *pfn = kli_pfn(zone, nr);
    return 0;
}
