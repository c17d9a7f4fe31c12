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
    uint32_t all = zone->block_frames, kept;

    if (word & KLI_B_ABSENT)
        return word == KLI_B_ABSENT && search->spare > 0;
    kept = kli_area_kept(search, block << zone->block_order, all);
    return kli_b_open(word) && !kli_is_barred(search, word) && kli_b_stuck(word) == kept &&
           !is_avoided(search, block) &&
           ((!search->run->outer && moves(search->run)) || kli_b_free(word) + kept == all);
}

/* A frame is in the way if it is a unit's first one and not `(state & mask) == good`:
 * not to be moved, ever; or by a run within a run, whose outer one has reserved it as a
 * destination and holds its lock; or by nobody now. */
struct sight {
    uint64_t mask, good;
};

static struct sight sight_of(const struct kli_run *run)
{
    const uint64_t pins = UINT64_C(0xfff) * KLI_F_PIN | UINT64_C(0xffff) * KLI_F_OBJECT_PIN;

    if (!moves(run))
        return (struct sight){0, 1};
    return (struct sight){KLI_F_KIND | pins | (run->outer ? KLI_F_LOCKED : 0), KLI_F_KIND};
}

/* Of n <= 64 frames, a bit each.  Nothing to predict: a look at a stuck block is mostly
 * this loop. */
static uint64_t heads_in_way(const struct kli_frame *frame, unsigned n, const struct sight *sight)
{
    uint64_t mask = sight->mask, good = sight->good, bits = 0;

    for (unsigned i = 0; i < n; i++) {
        uint64_t state = atomic_load_explicit(&frame[i].state, memory_order_relaxed);
        uint64_t in_way = (state / KLI_F_HEAD & 1) & ((state & mask) != good);

        bits |= in_way << i;
    }
    return bits;
}

static void mark(uint64_t *never, uint32_t from, uint32_t n)
{
    while (n > 0) {
        uint32_t here = (uint32_t)kli_min(n, 64 - from % 64);

        never[from / 64] |= kli_mask(here, from % 64);
        from += here;
        n -= here;
    }
}

/* Units whose heads are in the way; their tails have no state of their own. */
static void mark_units(const struct kli_run *run, uint32_t first, uint64_t *never)
{
    const struct kl_zone *zone = run->zone;
    struct sight sight = sight_of(run);
    uint32_t all = zone->block_frames;

    for (uint32_t at = 0; at < all; at += 64) {
        unsigned here = (unsigned)kli_min(64, all - at);
        uint64_t heads = heads_in_way(&zone->frame[first + at], here, &sight);

        for (; heads; heads &= heads - 1) {
            uint32_t head = at + kli_lowest(heads);
            uint32_t n = 1u << kli_f_order(kli_state(zone, first + head));

            if (n <= all - head)
                mark(never, head, n);
        }
    }
}

/* What the area keeps is not in its way. */
static void clear_kept(const struct kli_search *search, uint32_t first, uint64_t *never)
{
    const struct kli_area *area = search->area;
    uint32_t all = search->run->zone->block_frames, step, from;

    if (!area || kli_area_kept(search, first, all) == 0)
        return;
    step = 1u << area->shift;
    from = first - area->first;
    for (uint32_t at = 0; at < all && step == 1 && all >= 64; at += 64)
        never[at / 64] &=
            ~atomic_load_explicit(&area->kept[(from + at) / 64], memory_order_relaxed);
    for (uint32_t at = 0; at < all && (step > 1 || all < 64); at++) {
        if (kli_area_kept(search, first + (at >> area->shift << area->shift), step) > 0)
            never[at / 64] &= ~(UINT64_C(1) << at % 64);
    }
}

void kli_classify_block(const struct kli_search *search, uint32_t block, uint64_t *never)
{
    const struct kl_zone *zone = search->run->zone;
    uint64_t word = kli_block_word(zone, block);
    uint32_t first = block << zone->block_order, all = zone->block_frames;

    memset(never, 0, kli_never_bytes(zone));
    if (!kli_b_open(word) || kli_is_barred(search, word) ||
        (kli_b_stuck(word) == all && !search->area)) { /* perhaps of a unit of many blocks */
        mark(never, 0, all);
        return;
    }
    mark_units(search->run, first, never);
    clear_kept(search, first, never);
    for (unsigned i = 0; i < search->avoid.n; i++) {
        if (kli_block_of(zone, search->avoid.nr[i]) == block)
            mark(never, search->avoid.nr[i] - first, 1);
    }
}
