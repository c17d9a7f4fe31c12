// SPDX-License-Identifier: Apache-2.0
/* The cheapest window: classify every frame, then slide once over the zone.
 *
 * The two sums of the window (frames to move, frames that can't) are kept as it
 * slides, so that the whole costs one pass, whatever the alignment.
 */
#include "move/window.h"

enum class { FREE = 0, MOVE = 1, NEVER = 2 };

/* One block's frames. */
static void classify_block(struct kli_run *run, uint32_t block, uint8_t *class, bool may_populate)
{
    struct kl_zone *zone = run->zone;
    uint32_t first = block << zone->block_order, end = first + zone->block_frames;
    uint64_t word = kli_block_word(zone, block);
    bool moves = !atomic_load(&zone->migration_off);

    if ((word & KLI_B_FENCED) || ((word & KLI_B_ABSENT) && !may_populate)) {
        memset(class + first, NEVER, zone->block_frames);
        return;
    }
    if (word & KLI_B_ABSENT)
        return;
    for (uint32_t nr = first; nr < end;) {
        uint64_t state = kli_state(zone, nr);
        uint32_t n = (state & KLI_F_HEAD) ? 1u << kli_f_order(state) : 1;
        uint8_t as = !moves || kli_f_stuck(state) ? NEVER : MOVE;

        if ((state & KLI_F_HEAD) && nr + n <= end)
            memset(class + nr, as, n);
        nr += n;
    }
}

static void classify(struct kli_run *run, const struct kli_avoid *avoid, uint8_t *class)
{
    uint32_t spare = kli_populatable(run->zone);

    for (uint32_t b = 0; b < run->zone->blocks; b++)
        classify_block(run, b, class, spare > 0);
    for (unsigned i = 0; i < avoid->n; i++)
        class[avoid->nr[i]] = NEVER;
}

/* The best window by cost; cost is UINT32_MAX when there is none. */
static uint32_t slide(const uint8_t *class, uint32_t frames, uint32_t n, uint32_t align,
                      uint32_t *best)
{
    uint32_t cost = UINT32_MAX, move = 0, never = 0;

    for (uint32_t end = 0; end < frames; end++) {
        move += class[end] == MOVE;
        never += class[end] == NEVER;
        if (end >= n) {
            move -= class[end - n] == MOVE;
            never -= class[end - n] == NEVER;
        }
        if (end + 1 >= n && (end + 1 - n) % align == 0 && never == 0 && move < cost) {
            cost = move;
            *best = end + 1 - n;
        }
    }
    return cost;
}

static void blame_first(struct kli_run *run)
{
    for (uint32_t nr = 0; nr < run->zone->frames && !run->report.culprit.v; nr++) {
        uint64_t word = kli_state(run->zone, nr);

        if (kli_f_stuck(word))
            kli_blame(run, nr, word);
    }
}

int kli_window_find(struct kli_run *run, uint32_t n, uint32_t align, const struct kli_avoid *avoid,
                    struct kli_window *window)
{
    const struct kl_host *host = &run->zone->host;
    uint32_t frames = run->zone->frames, cost;
    uint8_t *class = host->meta_alloc(host->ctx, frames);

    if (!class)
        return -KL_ENOMEM;
    classify(run, avoid, class);
    window->n = n;
    cost = slide(class, frames, n, align, &window->first);
    host->meta_free(host->ctx, class, frames);
    if (cost == UINT32_MAX) {
        blame_first(run);
        return -KL_EBUSY;
    }
    return 0;
}
