// SPDX-License-Identifier: Apache-2.0
/* Setting the limits and marks that frame/limit.c keeps; one at a time. */
#include "frame/zone.h"
#include "klotski/contig.h"

static uint64_t or_none(uint64_t bytes)
{
    return bytes ? bytes : UINT64_MAX;
}

/* It holds from now on, if it can be kept. */
static int set_hard(struct kl_zone *zone, uint64_t hard)
{
    uint64_t before = atomic_exchange(&zone->hard, hard); /* L1 */

    if (atomic_load(&zone->charge) > hard)
        kl_zone_trim(zone, 0);
    if (atomic_load(&zone->charge) <= hard)
        return 0;
    atomic_store(&zone->hard, before);
    return -KL_EBUSY;
}

int kl_zone_set_limits(struct kl_zone *zone, const struct kl_zone_limits *limits)
{
    int err;

    if (!limits || limits->size != sizeof(*limits) ||
        (limits->soft && or_none(limits->hard) < limits->soft))
        return -KL_EINVAL;
    kli_lock_take(&zone->host, &zone->limits_lock);
    kli_hold(zone); /* what it forbids for a moment may be had when it is refused */
    err = set_hard(zone, or_none(limits->hard));
    if (!err)
        atomic_store(&zone->soft, or_none(limits->soft));
    kli_let_go(zone, true);
    kli_lock_drop(&zone->host, &zone->limits_lock);
    if (!err)
        kli_watch(zone);
    return err;
}

int kl_zone_set_marks(struct kl_zone *zone, const struct kl_zone_marks *marks)
{
    if (!marks || marks->size != sizeof(*marks) || marks->reserve > zone->frames ||
        marks->low > marks->high || marks->high > zone->frames ||
        marks->waste_stop > marks->waste_start || marks->waste_start > 1000 ||
        marks->waste_blocks > zone->blocks || marks->spare_blocks > zone->blocks)
        return -KL_EINVAL;
    kli_lock_take(&zone->host, &zone->limits_lock);
    atomic_store(&zone->marks.reserve, marks->reserve);
    atomic_store(&zone->marks.low, marks->low);
    atomic_store(&zone->marks.high, marks->high);
    atomic_store(&zone->marks.waste_start, marks->waste_start);
    atomic_store(&zone->marks.waste_stop, marks->waste_stop);
    atomic_store(&zone->marks.waste_blocks, marks->waste_blocks);
    atomic_store(&zone->marks.spare_blocks, marks->spare_blocks);
    kli_lock_drop(&zone->host, &zone->limits_lock);
    kli_watch(zone);
    return 0;
}

void kl_zone_get_marks(const struct kl_zone *zone, struct kl_zone_marks *marks)
{
    const struct kl_zone_marks ours = {
        .size = sizeof(ours),
        .reserve = atomic_load(&zone->marks.reserve),
        .low = atomic_load(&zone->marks.low),
        .high = atomic_load(&zone->marks.high),
        .waste_start = atomic_load(&zone->marks.waste_start),
        .waste_stop = atomic_load(&zone->marks.waste_stop),
        .waste_blocks = atomic_load(&zone->marks.waste_blocks),
        .spare_blocks = atomic_load(&zone->marks.spare_blocks),
    };

    kli_stats_out(marks, &ours, sizeof(ours));
}
