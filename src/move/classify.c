// SPDX-License-Identifier: Apache-2.0
/* Which frames of a block are in the way of a window. */
#include "move/window.h"

static bool is_avoided(const struct kli_search *search, uint32_t block)
{
    for (unsigned i = 0; i < search->avoid.n; i++) {
        if (kli_block_of(search->run->zone, search->avoid.nr[i]) == block)
            return true;
    }
    return false;
}

static bool moves(const struct kli_run *run)
{
    return !run->idle && !atomic_load(&run->zone->migration_off);
}

bool kli_is_clear(const struct kli_search *search, uint32_t block)
{
    const struct kl_zone *zone = search->run->zone;
    uint64_t word = kli_block_word(zone, block);

    if (word & KLI_B_ABSENT)
        return word == KLI_B_ABSENT && search->spare > 0;
    return kli_b_open(word) && kli_b_stuck(word) == 0 && !is_avoided(search, block) &&
           (!search->run->outer || kli_b_free(word) == zone->block_frames) &&
           (moves(search->run) || kli_b_free(word) == zone->block_frames);
}

/* Not to be moved, ever; or by a run within a run, whose outer one has reserved it as
 * a destination and holds its lock. */
static bool is_in_way(const struct kli_run *run, uint64_t state)
{
    return kli_f_stuck(state) || (run->outer && (state & KLI_F_LOCKED));
}

static void mark_units(const struct kli_run *run, uint32_t first, uint8_t *place)
{
    const struct kl_zone *zone = run->zone;
    uint32_t all = zone->block_frames;
    bool any = moves(run);

    for (uint32_t i = 0; i < all;) {
        uint64_t state = kli_state(zone, first + i);
        uint32_t n = (state & KLI_F_HEAD) ? 1u << kli_f_order(state) : 1;

        if ((state & KLI_F_HEAD) && n <= all - i && (!any || is_in_way(run, state)))
            memset(place + i, KLI_PLACE_NEVER, n);
        i += n;
    }
}

void kli_classify_block(const struct kli_search *search, uint32_t block, uint8_t *place)
{
    const struct kl_zone *zone = search->run->zone;
    uint64_t word = kli_block_word(zone, block);
    uint32_t first = block << zone->block_order, all = zone->block_frames;

    if (!kli_b_open(word) || kli_b_stuck(word) == all) { /* perhaps of a unit of many blocks */
        memset(place, KLI_PLACE_NEVER, all);
        return;
    }
    memset(place, KLI_PLACE_OPEN, all);
    mark_units(search->run, first, place);
    for (unsigned i = 0; i < search->avoid.n; i++) {
        if (kli_block_of(zone, search->avoid.nr[i]) == block)
            place[search->avoid.nr[i] - first] = KLI_PLACE_NEVER;
    }
}
