// SPDX-License-Identifier: Apache-2.0
/* The bitmap: one bit a frame, set while it is allocated.
 *
 * A taker owns the bits that it set, whatever the counts say.  Every change is a
 * compare-and-swap (or a fetch-and) on one word; a run over several words is
 * taken word by word and rolled back when one is not free.
 */
#include "frame/zone.h"

/* The bits of word `index` that lie in [nr, nr + n). */
static uint64_t word_mask(uint32_t index, uint32_t nr, uint32_t n)
{
    uint64_t from = kli_max(nr, (uint64_t)index * 64);
    uint64_t to = kli_min((uint64_t)nr + n, (uint64_t)index * 64 + 64);

    return kli_mask((unsigned)(to - from), (unsigned)(from % 64));
}

/* Positions at which an aligned run of 2^order clear bits begins (order < 6). */
static uint64_t run_starts(uint64_t used, unsigned order)
{
    static const uint64_t aligned[6] = {
        ~UINT64_C(0),
        UINT64_C(0x5555555555555555),
        UINT64_C(0x1111111111111111),
        UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001),
        UINT64_C(0x0000000100000001),
    };
    uint64_t clear = ~used;

    for (unsigned o = 0; o < order; o++)
        clear &= clear >> (1u << o);
    return clear & aligned[order];
}

static bool take_in_word(struct kl_zone *zone, uint32_t index, uint64_t within, unsigned order,
                         uint32_t *nr)
{
    uint64_t used = atomic_load_explicit(&zone->bits[index], memory_order_relaxed);

    for (;;) {
        uint64_t starts = run_starts(used | ~within, order);
        unsigned at;

        if (starts == 0)
            return false;
        at = kli_lowest(starts);
        if (atomic_compare_exchange_weak_explicit(&zone->bits[index], &used,
                                                  used | kli_mask(1u << order, at),
                                                  memory_order_acq_rel, memory_order_relaxed)) {
            *nr = index * 64 + at;
            return true;
        }
    }
}

/* Sets exactly the bits [nr, nr + n), which must all be clear. */
bool kli_bits_take_at(struct kl_zone *zone, uint32_t nr, uint32_t n)
{
    uint32_t first = nr / 64, last = (nr + n - 1) / 64;

    for (uint32_t i = first; i <= last; i++) {
        uint64_t mask = word_mask(i, nr, n);
        uint64_t used = atomic_load_explicit(&zone->bits[i], memory_order_relaxed);

        do {
            if (used & mask) {
                if (i > first)
                    kli_bits_clear(zone, nr, i * 64 - nr);
                return false;
            }
        } while (!atomic_compare_exchange_weak_explicit(
            &zone->bits[i], &used, used | mask, memory_order_acq_rel, memory_order_relaxed));
    }
    return true;
}

static bool all_clear(const struct kl_zone *zone, uint32_t nr, uint32_t n)
{
    for (uint32_t i = nr / 64; i < (nr + n) / 64; i++) {
        if (atomic_load_explicit(&zone->bits[i], memory_order_relaxed))
            return false;
    }
    return true;
}

/* Is there an aligned run of 2^order clear bits just now?  Cheaper to ask than to try. */
bool kli_bits_have(const struct kl_zone *zone, uint32_t block, unsigned order)
{
    uint32_t first = block << zone->block_order, n = zone->block_frames;

    for (uint32_t at = first; order >= 6 && at < first + n; at += 1u << order) {
        if (all_clear(zone, at, 1u << order))
            return true;
    }
    for (uint32_t i = first / 64; order < 6 && i <= (first + n - 1) / 64; i++) {
        uint64_t used = atomic_load_explicit(&zone->bits[i], memory_order_relaxed);

        if (run_starts(used | ~word_mask(i, first, n), order))
            return true;
    }
    return false;
}

/* The bits of runs of 2^order that begin at `starts`. */
static uint64_t run_bits(uint64_t starts, unsigned order)
{
    for (unsigned o = 0; o < order; o++)
        starts |= starts << (1u << o);
    return starts;
}

/* Order, in words, of the largest aligned run of clear words that begins at `index`. */
static unsigned clear_words(const struct kl_zone *zone, uint32_t index, uint32_t end)
{
    unsigned order = 0;

    while (index % (2u << order) == 0 && index + (2u << order) <= end &&
           all_clear(zone, (index + (1u << order)) * 64, 64u << order))
        order++;
    return order;
}

/* Adds the block's runs of clear bits, each as large and aligned as it can be, to runs[order]. */
void kli_bits_runs(const struct kl_zone *zone, uint32_t block, uint32_t *runs)
{
    uint32_t first = block << zone->block_order, n = zone->block_frames;
    uint32_t end = (uint32_t)kli_div_up((uint64_t)first + n, 64);

    for (uint32_t i = first / 64; i < end;) {
        uint64_t within = word_mask(i, first, n);
        uint64_t used = atomic_load_explicit(&zone->bits[i], memory_order_relaxed) | ~within;

        if (used == 0) {
            unsigned order = clear_words(zone, i, end);

            runs[6 + order]++;
            i += 1u << order;
            continue;
        }
        for (unsigned o = 6; o-- > 0;) {
            uint64_t starts = run_starts(used, o);

            runs[o] += kli_popcount(starts);
            used |= run_bits(starts, o);
        }
        i++;
    }
}

/* Takes an aligned run of 2^order bits anywhere in the block. */
bool kli_bits_take(struct kl_zone *zone, uint32_t block, unsigned order, uint32_t *nr)
{
    uint32_t first = block << zone->block_order, n = zone->block_frames;

    if (order >= 6) {
        for (uint32_t at = first; at < first + n; at += 1u << order) {
            if (kli_bits_take_at(zone, at, 1u << order)) {
                *nr = at;
                return true;
            }
        }
        return false;
    }
    for (uint32_t i = first / 64; i <= (first + n - 1) / 64; i++) {
        if (take_in_word(zone, i, word_mask(i, first, n), order, nr))
            return true;
    }
    return false;
}

/* The bits of word `index` that lie in a block and not in [not_nr, not_nr + not_n). */
static uint64_t mask_outside(uint32_t index, uint64_t block_mask, uint32_t not_nr, uint32_t not_n)
{
    uint64_t from = kli_max(not_nr, (uint64_t)index * 64);
    uint64_t to = kli_min((uint64_t)not_nr + not_n, (uint64_t)index * 64 + 64);

    return from < to ? block_mask & ~word_mask(index, not_nr, not_n) : block_mask;
}

/* The same as kli_bits_take, but outside of [not_nr, not_nr + not_n). */
bool kli_bits_take_outside(struct kl_zone *zone, uint32_t block, unsigned order, uint32_t not_nr,
                           uint32_t not_n, uint32_t *nr)
{
    uint32_t first = block << zone->block_order, n = zone->block_frames;

    for (uint32_t at = first; order >= 6 && at < first + n; at += 1u << order) {
        bool apart = at + (1u << order) <= not_nr || at >= not_nr + not_n;

        if (apart && kli_bits_take_at(zone, at, 1u << order)) {
            *nr = at;
            return true;
        }
    }
    for (uint32_t i = first / 64; order < 6 && i <= (first + n - 1) / 64; i++) {
        uint64_t within = mask_outside(i, word_mask(i, first, n), not_nr, not_n);

        if (take_in_word(zone, i, within, order, nr))
            return true;
    }
    return false;
}

void kli_bits_clear(struct kl_zone *zone, uint32_t nr, uint32_t n)
{
    for (uint32_t i = nr / 64; i <= (nr + n - 1) / 64; i++)
        atomic_fetch_and_explicit(&zone->bits[i], ~word_mask(i, nr, n), memory_order_acq_rel);
}

uint32_t kli_bits_used(const struct kl_zone *zone, uint32_t nr, uint32_t n)
{
    uint32_t used = 0;

    for (uint32_t i = nr / 64; i <= (nr + n - 1) / 64; i++)
        used += kli_popcount(atomic_load_explicit(&zone->bits[i], memory_order_relaxed) &
                             word_mask(i, nr, n));
    return used;
}

/* Is somebody between the block's word and its bits, on the way in or out? (block.h, B1)
 * What he has reserved and does not find an aligned run for he gives back. */
bool kli_bits_moving(const struct kl_zone *zone, uint32_t block, uint64_t word)
{
    uint32_t used = kli_bits_used(zone, block << zone->block_order, zone->block_frames);

    return kli_b_open(word) && kli_b_free(word) + used < zone->block_frames;
}
