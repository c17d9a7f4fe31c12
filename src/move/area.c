// SPDX-License-Identifier: Apache-2.0
/* An area's windows: the cheapest one in the area's own blocks (src/cma).
 *
 * As for any window: whole blocks first, by their words; a small one within a block, where
 * the area has other ranges already, so that they stay together; then frame by frame
 * (slide.c), so that one is found whenever there is one.  What the area keeps for later
 * counts as free: in a block whose stuck frames are all kept nothing is in the way.
 *
 * What is found is a hint, as with any window (pass.c, W2).
 */
#include "move/window.h"

/* Bits [from, from + n) that are set. */
static uint32_t count_bits(const kli_word *bits, uint32_t from, uint32_t n)
{
    uint32_t sum = 0;

    while (n > 0) {
        uint32_t here = (uint32_t)kli_min(n, 64 - from % 64);

        sum += kli_popcount(atomic_load_explicit(&bits[from / 64], memory_order_relaxed) &
                            kli_mask(here, from % 64));
        from += here;
        n -= here;
    }
    return sum;
}

uint32_t kli_area_kept(const struct kli_search *search, uint32_t nr, uint32_t n)
{
    const struct kli_area *area = search->area;
    uint32_t from, to;

    if (!area)
        return 0;
    from = (nr - area->first) >> area->shift;
    to = (uint32_t)kli_div_up(nr - area->first + n, UINT64_C(1) << area->shift);
    return count_bits(area->kept, from, to - from) << area->shift;
}

/* Frames of a clear block that have to be moved. */
static uint32_t cost_of(const struct kli_search *search, uint32_t block)
{
    const struct kl_zone *zone = search->run->zone;
    uint32_t all = zone->block_frames, idle = kli_b_free(kli_block_word(zone, block));

    idle += kli_area_kept(search, block << zone->block_order, all);
    return idle < all ? all - idle : 0;
}

/* The cheapest window of m whole blocks, from multiples of stride. */
static bool pass(const struct kli_search *search, uint32_t m, uint32_t stride, uint32_t *block)
{
    uint64_t sum = 0, best = UINT64_MAX;
    uint32_t run = 0; /* clear blocks in a row */

    *block = 0;
    for (uint32_t b = search->begin; b < search->end && best > 0; b++) {
        if (!kli_is_clear(search, b)) {
            run = 0;
            sum = 0;
            continue;
        }
        sum += cost_of(search, b);
        if (run++ >= m)
            sum -= kli_min(sum, cost_of(search, b - m));
        if (run >= m && (b + 1 - m) % stride == 0 && sum < best) {
            best = sum;
            *block = b + 1 - m;
        }
    }
    return best < UINT64_MAX;
}

/* Blocks in which the area has ranges; a few of them. */
static bool find_beside(const struct kli_search *search, uint64_t *never, uint32_t *first)
{
    enum { FEW = 16 };
    const struct kl_zone *zone = search->run->zone;
    unsigned tried = 0;

    for (uint32_t b = search->begin; b < search->end && tried < FEW; b++) {
        uint64_t word = kli_block_word(zone, b);
        uint32_t kept = kli_area_kept(search, b << zone->block_order, zone->block_frames);

        if (kli_b_stuck(word) == kept || zone->block_frames - kli_b_stuck(word) + kept < search->n)
            continue;
        tried++;
        if (kli_slide(search, b, b + 1, never, first) != UINT32_MAX)
            return true;
    }
    return false;
}

static bool find_whole(const struct kli_search *search, uint64_t *never, uint32_t *first)
{
    const struct kl_zone *zone = search->run->zone;
    uint32_t m = (uint32_t)kli_div_up(search->n, zone->block_frames), block;
    uint32_t stride = (uint32_t)kli_max(1, search->align >> zone->block_order);

    if (!pass(search, m, stride, &block))
        return false;
    *first = block << zone->block_order;
    if (search->n >= zone->block_frames)
        return true;
    return kli_slide(search, block, block + 1, never, first) != UINT32_MAX;
}

bool kli_area_window(const struct kli_search *search, uint64_t *never, uint32_t *first)
{
    bool small = search->n < search->run->zone->block_frames;

    return (small && find_beside(search, never, first)) || find_whole(search, never, first) ||
           kli_slide(search, search->begin, search->end, never, first) != UINT32_MAX;
}
