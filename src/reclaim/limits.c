// SPDX-License-Identifier: Apache-2.0
/* Setting the limits and marks that frame/limit.c keeps. */
#include "frame/zone.h"
#include "klotski/contig.h"

static uint64_t or_none(uint64_t bytes)
{
    return bytes ? bytes : UINT64_MAX;
}

int kl_zone_set_limits(struct kl_zone *zone, const struct kl_zone_limits *limits)
{
    uint64_t before, hard;

    if (!limits || limits->size != sizeof(*limits) ||
        (limits->soft && or_none(limits->hard) < limits->soft))
        return -KL_EINVAL;
    hard = or_none(limits->hard);
    before = atomic_exchange(&zone->hard, hard); /* it does not grow from now on */
    if (atomic_load(&zone->charge) > hard)
        kl_zone_trim(zone, 0);
    if (atomic_load(&zone->charge) > hard) {
        atomic_compare_exchange_strong(&zone->hard, &hard, before);
        return -KL_EBUSY;
    }
    atomic_store(&zone->soft, or_none(limits->soft));
    kli_watch(zone);
    return 0;
}

int kl_zone_set_marks(struct kl_zone *zone, const struct kl_zone_marks *marks)
{
    if (!marks || marks->size != sizeof(*marks) || marks->reserve > zone->frames ||
        marks->low > marks->high || marks->high > zone->frames ||
        marks->waste_stop > marks->waste_start || marks->waste_start > 1000)
        return -KL_EINVAL;
    atomic_store(&zone->marks.reserve, marks->reserve);
    atomic_store(&zone->marks.low, marks->low);
    atomic_store(&zone->marks.high, marks->high);
    atomic_store(&zone->marks.waste_start, marks->waste_start);
    atomic_store(&zone->marks.waste_stop, marks->waste_stop);
    kli_watch(zone);
    return 0;
}
