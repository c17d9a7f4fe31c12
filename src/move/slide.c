// SPDX-License-Identifier: Apache-2.0
/* The cheapest of all windows, wherever it begins.
 *
 * Frames that are in the way cut the range into clear runs; a window lies in one of
 * them.  Only blocks that have something stuck in them are looked at frame by frame.
 * In a run that is long enough a number of places are weighed by their bits, the first
 * and the last one among them, so that a window is found whenever there is one, and
 * the cheapest one nearly.
 *
 * Frames come and go meanwhile: what is found is a hint, as with any window.
 */
#include "move/window.h"

struct slide {
    const struct kli_search *search;
    uint64_t clear; /* where the run began that is going on */
    uint32_t best;
    uint32_t first;
};

/* Blocks of a window for which memory must be got. */
static uint32_t absents_in(const struct kl_zone *zone, uint32_t first, uint32_t n)
{
    uint32_t absents = 0;

    for (uint32_t b = kli_block_of(zone, first); b <= kli_block_of(zone, first + n - 1); b++)
        absents += (kli_block_word(zone, b) & KLI_B_ABSENT) != 0;
    return absents;
}

static void weigh(struct slide *s, uint32_t first)
{
    const struct kl_zone *zone = s->search->run->zone;
    uint32_t n = s->search->n, cost = kli_bits_used(zone, first, n);

    cost -= (uint32_t)kli_min(cost, kli_area_kept(s->search, first, n));
    if (cost >= s->best || absents_in(zone, first, n) > s->search->spare)
        return;
    s->best = cost;
    s->first = first;
}

/* The run [s->clear, end) is over. */
static void end_run(struct slide *s, uint64_t end)
{
    uint64_t align = s->search->align, n = s->search->n;
    uint64_t places = n < s->search->run->zone->block_frames ? 64 : 8; /* weighing takes longer */
    uint64_t from = kli_align_up(s->clear, align), last, step;

    if (from + n > end)
        return;
    last = (end - n) & ~(align - 1);
    step = kli_align_up(kli_max(1, (last - from) / places), align);
    for (uint64_t at = from; at < last && s->best > 0; at += step)
        weigh(s, (uint32_t)at);
    if (s->best > 0)
        weigh(s, (uint32_t)last);
}

static void look_into(struct slide *s, uint32_t block, uint64_t *never)
{
    const struct kl_zone *zone = s->search->run->zone;
    uint64_t first = (uint64_t)block << zone->block_order;

    kli_classify_block(s->search, block, never);
    for (uint32_t at = 0; at < zone->block_frames; at += 64) {
        for (uint64_t bits = never[at / 64]; bits; bits &= bits - 1) {
            uint64_t stuck = first + at + kli_lowest(bits);

            end_run(s, stuck);
            s->clear = stuck + 1;
        }
    }
}

uint32_t kli_slide(const struct kli_search *search, uint32_t from, uint32_t to, uint64_t *never,
                   uint32_t *first)
{
    struct slide s = {.search = search,
                      .clear = (uint64_t)from << search->run->zone->block_order,
                      .best = UINT32_MAX};

    for (uint32_t b = from; b < to && s.best > 0; b++) {
        if (!kli_is_clear(search, b))
            look_into(&s, b, never);
    }
    end_run(&s, (uint64_t)to << search->run->zone->block_order);
    *first = s.first;
    return s.best;
}
