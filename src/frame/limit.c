// SPDX-License-Identifier: Apache-2.0
/* How much a zone may take: bytes of memory from the system, and frames of its own.
 *
 * zone->charge is the sum of what the zone holds: blocks that are present (or on
 * their way in or out), and metadata, its own and that of the code built on it.  What
 * a run needs for its own scratch is not charged: it must not fail for want of a
 * limit that it is there to keep.
 *
 * (L1) charge never rises beyond the hard limit: it is raised before the memory is
 *      asked for, by compare-and-swap, and lowered after the memory went.  Whoever
 *      raises it looks at the limit again, whoever lowers the limit looks at charge
 *      afterwards, all sequentially consistent: one of the two sees the other.
 * (L2) Allocations leave the reserve alone; destinations of migrations do not, or a
 *      full zone could never be put in order.  A cached frame counts as used, and two
 *      who look at a time may both go on, so that the reserve may be short by what
 *      the caches hold.
 */
#include "frame/zone.h"

bool kli_charge(struct kl_zone *zone, uint64_t bytes)
{
    uint64_t hard = atomic_load(&zone->hard), old = atomic_load(&zone->charge);

    do {
        if (old + bytes < old || old + bytes > hard)
            return false;
    } while (!atomic_compare_exchange_weak(&zone->charge, &old, old + bytes));
    if (old + bytes <= atomic_load(&zone->hard))
        return true;
    kli_uncharge(zone, bytes); /* it was lowered meanwhile */
    return false;
}

void kli_uncharge(struct kl_zone *zone, uint64_t bytes)
{
    atomic_fetch_sub(&zone->charge, bytes);
}

/* Would that much more be over the soft limit? */
bool kli_over_soft(struct kl_zone *zone, uint64_t bytes)
{
    uint64_t soft = atomic_load_explicit(&zone->soft, memory_order_relaxed);

    return soft != UINT64_MAX && atomic_load(&zone->charge) + bytes > soft;
}

void *kl_zone_meta_alloc(struct kl_zone *zone, size_t bytes)
{
    void *mem;

    if (!kli_charge(zone, bytes))
        return NULL;
    mem = zone->host.meta_alloc(zone->host.ctx, bytes);
    if (!mem)
        kli_uncharge(zone, bytes);
    return mem;
}

void kl_zone_meta_free(struct kl_zone *zone, void *mem, size_t bytes)
{
    if (!mem)
        return;
    zone->host.meta_free(zone->host.ctx, mem, bytes);
    kli_uncharge(zone, bytes);
}

bool kli_may_take(const struct kl_zone *zone, uint32_t n) /* L2 */
{
    uint32_t reserve = atomic_load_explicit(&zone->marks.reserve, memory_order_relaxed);

    return reserve == 0 || kli_free_frames(zone) >= (uint64_t)reserve + n;
}
