// SPDX-License-Identifier: Apache-2.0
/* What each frame of a block is to a window: free, to be moved, or in the way. */
#include "move/window.h"

/* Is all of the block out of the question, or all of it free? */
static bool is_uniform(const struct kli_search *search, uint64_t word, uint8_t *place)
{
    bool absent = word & KLI_B_ABSENT;
    bool never = (word & KLI_B_FENCED) || (absent && search->spare == 0) ||
                 kli_b_stuck(word) == search->run->zone->block_frames;

    *place = never ? KLI_PLACE_NEVER : KLI_PLACE_FREE;
    return absent || never;
}

static void classify_units(const struct kli_run *run, uint32_t first, uint8_t *place)
{
    const struct kl_zone *zone = run->zone;
    uint32_t all = zone->block_frames;
    bool moves = !run->idle && !atomic_load(&zone->migration_off);

    for (uint32_t i = 0; i < all;) {
        uint64_t state = kli_state(zone, first + i);
        uint32_t n = (state & KLI_F_HEAD) ? 1u << kli_f_order(state) : 1;
        uint8_t as = !moves || kli_f_stuck(state) ? KLI_PLACE_NEVER : KLI_PLACE_MOVE;

        if ((state & KLI_F_HEAD) && n <= all - i)
            memset(place + i, as, n);
        i += n;
    }
}

void kli_classify_block(const struct kli_search *search, uint32_t block, uint8_t *place)
{
    const struct kl_zone *zone = search->run->zone;
    uint32_t first = block << zone->block_order;
    uint8_t uniform;

    if (is_uniform(search, kli_block_word(zone, block), &uniform)) {
        memset(place, uniform, zone->block_frames);
        return;
    }
    memset(place, KLI_PLACE_FREE, zone->block_frames);
    classify_units(search->run, first, place);
    for (unsigned i = 0; i < search->avoid.n; i++) {
        if (kli_block_of(zone, search->avoid.nr[i]) == block)
            place[search->avoid.nr[i] - first] = KLI_PLACE_NEVER;
    }
}
