// SPDX-License-Identifier: Apache-2.0
/* Is background work wanted?  A look at a few sums of the zone, taken whenever a CPU
 * has allocated or freed some frames (index.c, kli_free_add), when a block has become
 * free as a whole, and when memory is got.
 *
 * zone->wanted says what is.  A bit goes up here, with a kick; it goes down in a
 * step (reclaim/step.c) that has found its end mark reached.  So there is one kick
 * until the work is done, however long that takes.
 *
 * Waste ends at another mark than it begins at, and compaction gains whole blocks, so it
 * does not begin again at once.  Spare blocks have one mark: memory for a block is got only
 * when none is free as a whole, and goes back only when more than the spare ones are; those
 * are between.
 */
#include "frame/zone.h"

static uint32_t mark(const _Atomic uint32_t *mark)
{
    return atomic_load_explicit(mark, memory_order_relaxed);
}

static int64_t whole_blocks(const struct kl_zone *zone)
{
    return atomic_load_explicit(&zone->blocks_in[KLI_CLASS_FREE], memory_order_relaxed);
}

/* Of areas: they are neither wasted nor spare. */
static int64_t area_blocks(const struct kl_zone *zone)
{
    return atomic_load_explicit(&zone->blocks_in[KLI_CLASS_CMA], memory_order_relaxed);
}

/* Frames that are free in blocks partly used. */
uint64_t kli_wasted(const struct kl_zone *zone)
{
    int64_t free = (int64_t)kli_free_frames(zone); /* in a small zone, CPUs hold much of it */

    free -= (whole_blocks(zone) + area_blocks(zone)) * zone->block_frames;
    return free > 0 ? (uint64_t)free : 0;
}

/* Of all frames that are present. */
static uint32_t thousandths(const struct kl_zone *zone, uint64_t frames)
{
    uint64_t present = (uint32_t)atomic_load_explicit(&zone->budget, memory_order_relaxed);

    if (present == 0)
        return 0;
    return (uint32_t)kli_min(1000, frames * 1000 / (present * zone->block_frames));
}

/* Not enough for as many blocks as it shall be worth it for. */
static bool is_little(const struct kl_zone *zone, uint64_t frames)
{
    return frames < kli_max(1, mark(&zone->marks.waste_blocks)) * (uint64_t)zone->block_frames;
}

static bool waste_begins(const struct kl_zone *zone)
{
    uint32_t start = mark(&zone->marks.waste_start);
    uint64_t frames = start ? kli_wasted(zone) : 0;

    return start && !is_little(zone, frames) && thousandths(zone, frames) >= start;
}

bool kli_waste_is_over(const struct kl_zone *zone)
{
    uint64_t frames = kli_wasted(zone);

    return is_little(zone, frames) || thousandths(zone, frames) <= mark(&zone->marks.waste_stop);
}

bool kli_spare_is_over(const struct kl_zone *zone)
{
    uint32_t spare = mark(&zone->marks.spare_blocks);

    return spare == 0 || whole_blocks(zone) <= (int64_t)spare || !zone->backing.release;
}

/* Frames that are free, or could be without anybody's help. */
uint64_t kli_available(struct kl_zone *zone)
{
    return kli_free_frames(zone) + kli_kept_frames(zone) +
           (uint64_t)kli_populatable(zone, true) * zone->block_frames;
}

uint32_t kli_wanted(struct kl_zone *zone)
{
    uint32_t low = mark(&zone->marks.low), wanted = 0;

    if (low && kli_available(zone) < low)
        wanted |= KL_WANTED_FRAMES;
    if (waste_begins(zone))
        wanted |= KL_WANTED_BLOCKS;
    if (kli_over_soft(zone, 0))
        wanted |= KL_WANTED_BYTES;
    if (!kli_spare_is_over(zone))
        wanted |= KL_WANTED_SPARE;
    return wanted;
}

void kli_watch(struct kl_zone *zone)
{
    uint32_t wanted = kli_wanted(zone);

    if ((wanted & ~atomic_load(&zone->wanted)) &&
        (wanted & ~atomic_fetch_or(&zone->wanted, wanted)))
        kli_kick(zone);
}
