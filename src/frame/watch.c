// SPDX-License-Identifier: Apache-2.0
/* Is background work wanted?  A look at a few sums of the zone, taken whenever a CPU
 * has allocated or freed some frames (index.c, kli_free_add) and when memory is got.
 *
 * zone->wanted says what is.  A bit goes up here, with a kick; it goes down in a
 * step (reclaim/step.c) that has found its end mark reached.  So there is one kick
 * until the work is done, however long that takes.
 */
#include "frame/zone.h"

/* Frames that are free in blocks partly used, in thousandths of all that are present. */
uint32_t kli_waste(const struct kl_zone *zone)
{
    int64_t whole = atomic_load_explicit(&zone->blocks_in[KLI_CLASS_FREE], memory_order_relaxed);
    int64_t free = (int64_t)kli_free_frames(zone); /* in a small zone, CPUs hold much of it */
    uint64_t present = (uint32_t)atomic_load_explicit(&zone->budget, memory_order_relaxed);

    free -= whole * zone->block_frames;
    if (free <= 0 || present == 0)
        return 0;
    return (uint32_t)kli_min(1000, (uint64_t)free * 1000 / (present * zone->block_frames));
}

/* Frames that are free, or could be without anybody's help. */
uint64_t kli_available(struct kl_zone *zone)
{
    return kli_free_frames(zone) + (uint64_t)kli_populatable(zone, true) * zone->block_frames;
}

static uint32_t mark(const _Atomic uint32_t *mark)
{
    return atomic_load_explicit(mark, memory_order_relaxed);
}

uint32_t kli_wanted(struct kl_zone *zone)
{
    uint32_t low = mark(&zone->marks.low), start = mark(&zone->marks.waste_start);
    uint32_t wanted = 0;

    if (low && kli_available(zone) < low)
        wanted |= KLI_WANTED_FRAMES;
    if (start && kli_waste(zone) >= start)
        wanted |= KLI_WANTED_BLOCKS;
    if (kli_over_soft(zone, 0))
        wanted |= KLI_WANTED_BYTES;
    return wanted;
}

void kli_watch(struct kl_zone *zone)
{
    uint32_t wanted = kli_wanted(zone);

    if ((wanted & ~atomic_load(&zone->wanted)) &&
        (wanted & ~atomic_fetch_or(&zone->wanted, wanted)))
        kli_kick(zone);
}
