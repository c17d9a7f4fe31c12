// SPDX-License-Identifier: Apache-2.0
/* Figures of a shrinker. */
#include "klotski/inspect.h"
#include "reclaim/reclaim.h"

int kl_shrinker_get_stats(struct kl_zone *zone, kl_shrinker_id id, struct kl_shrinker_stats *stats)
{
    struct kl_shrinker_stats ours;
    struct kli_shrinker *s = kli_shrinker_enter(zone, id);

    if (!s)
        return -KL_ENOENT;
    ours = (struct kl_shrinker_stats){
        .size = sizeof(ours),
        .seeks = s->ops.seeks,
        .calls = atomic_load(&s->calls),
        .asked = atomic_load(&s->asked),
        .freed = atomic_load(&s->freed),
        .stops = atomic_load(&s->stops),
        .works = atomic_load(&s->works),
        .deferred = atomic_load(&s->deferred),
    };
    memcpy(ours.name, s->name, sizeof(ours.name));
    kli_gate_leave(&zone->host, &s->gate);
    kli_stats_out(stats, &ours, sizeof(ours));
    return 0;
}
