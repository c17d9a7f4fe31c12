// SPDX-License-Identifier: Apache-2.0
/* Free runs by order, as a buddy allocator would have them on its lists, and the
 * two indexes that follow from them.
 *
 * One pass over the block words and, where a block is neither free as a whole nor
 * absent, over its bits.  Numbers go up all the time: a free left half waits until
 * its right half comes by.
 *
 * (X1) A frame is free when its block is present and its bit is clear, or when it
 *      is in a cache (frame/cache.c: its bit is set then).
 * (X2) Aligned runs of 2^o free frames are counted once, at the greatest o.
 * (X3) Bit o of `waiting`: the left half of 2^o frames before this one is free, and
 *      what is right of it has not been seen to the end.
 *
 * Locks: none.  May run together with everything; a frame that changes hands
 * meanwhile is counted as it was, or as it is, or not.
 */
#include "frame/zone.h"
#include "klotski/inspect.h"

enum { AT_ONCE = 256, WORD_ORDER = 6 };

struct pass {
    struct kl_zone *zone;
    struct kl_free_runs runs;
    uint32_t waiting;         /* X3 */
    uint32_t cached[AT_ONCE]; /* in ascending order */
    uint32_t n, at;
    bool all_listed; /* there are no cached frames behind these */
};

static void count_runs(struct pass *pass, unsigned order, uint32_t n)
{
    pass->runs.run[order] += n;
    pass->runs.frames += (uint64_t)n << order;
}

/* The next 2^order frames, number `index` of that size, are free, or not all free. */
static void feed(struct pass *pass, unsigned order, uint32_t index, bool is_free)
{
    for (; index & 1; order++, index >>= 1) {
        bool left = pass->waiting >> order & 1;

        pass->waiting &= ~(1u << order);
        if (left && is_free)
            continue; /* both halves: one of the next order */
        count_runs(pass, order, (uint32_t)left + is_free);
        is_free = false;
    }
    if (is_free)
        pass->waiting |= 1u << order;
}

/* Left halves whose right half would be behind the end of the zone. */
static void finish(struct pass *pass)
{
    for (unsigned order = 0; order < KL_ORDERS; order++)
        count_runs(pass, order, pass->waiting >> order & 1);
}

/* Runs within a word; each bit of `starts` is a free run of the order it is at. */
static void feed_word(struct pass *pass, uint32_t index, uint64_t starts)
{
    static const uint64_t aligned[WORD_ORDER] = {
        UINT64_C(0x5555555555555555), UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
        UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001), 1,
    };
    bool whole = starts == ~UINT64_C(0);

    for (unsigned order = 0; order < WORD_ORDER && starts && !whole; order++) {
        uint64_t pairs = starts & starts >> (1u << order) & aligned[order];

        count_runs(pass, order, kli_popcount(starts & ~(pairs | pairs << (1u << order))));
        starts = pairs;
    }
    feed(pass, WORD_ORDER, index, whole);
}

/* The cached ones of the 64 frames from `first` on.  Called with ascending numbers. */
static uint64_t cached_from(struct pass *pass, uint64_t first)
{
    uint64_t bits = 0;

    for (;;) {
        if (pass->at == pass->n) {
            if (pass->all_listed)
                break;
            pass->n = kli_cache_list(pass->zone, pass->n ? pass->cached[pass->n - 1] + 1 : 0,
                                     pass->cached, AT_ONCE);
            pass->all_listed = pass->n < AT_ONCE;
            pass->at = 0;
            continue;
        }
        if (pass->cached[pass->at] >= first + 64)
            break;
        if (pass->cached[pass->at] >= first)
            bits |= UINT64_C(1) << (pass->cached[pass->at] - first);
        pass->at++;
    }
    return bits;
}

/* X1, but for what the block says. */
static uint64_t free_bits(struct pass *pass, uint32_t index)
{
    uint64_t used = atomic_load_explicit(&pass->zone->bits[index], memory_order_relaxed);

    return ~used | cached_from(pass, (uint64_t)index * 64);
}

static void feed_block(struct pass *pass, uint32_t block)
{
    const struct kl_zone *zone = pass->zone;
    uint64_t word = kli_block_word(zone, block);
    bool whole = kli_b_free(word) == zone->block_frames;
    uint32_t words = zone->block_frames / 64;

    if (whole || (word & KLI_B_ABSENT)) {
        feed(pass, zone->block_order, block, whole);
        return;
    }
    for (uint32_t i = block * words; i < (block + 1) * words; i++)
        feed_word(pass, i, free_bits(pass, i));
}

/* Several blocks in a word. */
static void feed_small_blocks(struct pass *pass, uint32_t index)
{
    const struct kl_zone *zone = pass->zone;
    uint32_t n = 64u >> zone->block_order, first = index * n;
    uint64_t bits = free_bits(pass, index);

    for (uint32_t i = 0; i < n; i++) {
        if (first + i >= zone->blocks || (kli_block_word(zone, first + i) & KLI_B_ABSENT))
            bits &= ~kli_mask(zone->block_frames, i << zone->block_order);
    }
    feed_word(pass, index, bits);
}

void kl_zone_get_free_runs(struct kl_zone *zone, struct kl_free_runs *runs)
{
    struct pass pass = {.zone = zone, .runs = {.size = sizeof(pass.runs)}};

    while (pass.runs.orders < KL_ORDERS && zone->frames >> pass.runs.orders > 0)
        pass.runs.orders++;
    if (zone->block_order >= WORD_ORDER) {
        for (uint32_t b = 0; b < zone->blocks; b++)
            feed_block(&pass, b);
    } else {
        for (uint32_t i = 0; i < kli_div_up(zone->frames, 64); i++)
            feed_small_blocks(&pass, i);
    }
    finish(&pass);
    kli_stats_out(runs, &pass.runs, sizeof(pass.runs));
}

/* Requests of 2^order frames that the free runs would serve. */
static uint64_t suitable(const struct kl_free_runs *runs, unsigned order)
{
    uint64_t n = 0;

    for (unsigned o = order; o < runs->orders; o++)
        n += runs->run[o] << (o - order);
    return n;
}

static bool index_ok(const struct kl_free_runs *runs, unsigned order, const int *index)
{
    return runs->size == sizeof(*runs) && runs->orders <= KL_ORDERS && order < runs->orders &&
           index;
}

int kl_runs_unusable_index(const struct kl_free_runs *runs, unsigned order, int *index)
{
    uint64_t small;

    if (!index_ok(runs, order, index))
        return -KL_EINVAL;
    small = runs->frames - (suitable(runs, order) << order);
    *index = runs->frames ? (int)(small * 1000 / runs->frames) : 1000;
    return 0;
}

int kl_runs_fragmentation_index(const struct kl_free_runs *runs, unsigned order, int *index)
{
    uint64_t n = 0, lack;

    if (!index_ok(runs, order, index))
        return -KL_EINVAL;
    for (unsigned o = 0; o < runs->orders; o++)
        n += runs->run[o];
    if (suitable(runs, order)) {
        *index = -1000;
        return 0;
    }
    lack = n ? (1000 + (runs->frames * 1000 >> order)) / n : 1000;
    *index = lack < 1000 ? 1000 - (int)lack : 0;
    return 0;
}

int kl_zone_unusable_index(struct kl_zone *zone, unsigned order, int *index)
{
    struct kl_free_runs runs = {.size = sizeof(runs)};

    kl_zone_get_free_runs(zone, &runs);
    return kl_runs_unusable_index(&runs, order, index);
}

int kl_zone_fragmentation_index(struct kl_zone *zone, unsigned order, int *index)
{
    struct kl_free_runs runs = {.size = sizeof(runs)};

    kl_zone_get_free_runs(zone, &runs);
    return kl_runs_fragmentation_index(&runs, order, index);
}
