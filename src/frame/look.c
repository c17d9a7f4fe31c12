// SPDX-License-Identifier: Apache-2.0
/* Waiting for the end of looks (look.h). */
#include "frame/look.h"

enum { ROUNDS = 100 }; /* some tens of milliseconds */

static bool none_in(struct kl_zone *zone, uint32_t phase)
{
    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++) {
        for (unsigned round = 0; atomic_load(&zone->hint[cpu].lookers[phase]) > 0; round++) {
            if (round == ROUNDS)
                return false;
            zone->host.relax(zone->host.ctx, round);
        }
    }
    return true;
}

bool kli_looks_over(struct kl_zone *zone)
{
    uint32_t phase;
    bool over;

    kli_lock_take(&zone->host, &zone->looks_lock);
    phase = atomic_load(&zone->look_phase) & 1;
    over = none_in(zone, !phase);
    if (over) {
        atomic_fetch_add(&zone->look_phase, 1);
        kli_full_fence();
        over = none_in(zone, phase);
    }
    kli_lock_drop(&zone->host, &zone->looks_lock);
    return over;
}
