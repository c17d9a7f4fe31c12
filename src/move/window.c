// SPDX-License-Identifier: Apache-2.0
/* The cheapest window.
 *
 * Block words first: they say how much stands in a block and whether any of it is
 * stuck.  A large window that begins where a block does is found by one pass over
 * them; a small one in an unmovable block with room, so that ranges stay together,
 * else in a free block, else in the one with least in it.  Only if none of those
 * will do each frame is looked at (slide.c), unless the window is to be of whole
 * blocks, so that a window is found whenever there is one.
 */
#include "move/window.h"

/* What a block is worth to a window: frames that need not be moved, and above
 * ABSENT_ONE whether memory must be got for it; sums of both fit into one
 * number, since a zone has less than 2^32 of each. */
#define ABSENT_ONE (UINT64_C(1) << 32)

static uint64_t worth(const kli_word *block, uint64_t absent, uint64_t bad, bool *is_bad)
{
    uint64_t w = atomic_load_explicit(block, memory_order_relaxed);

    *is_bad = (w & bad) != 0;
    return (w & KLI_B_ABSENT) ? absent : kli_b_free(w);
}

static bool is_avoided(const struct kli_search *search, uint32_t block)
{
    for (unsigned i = 0; i < search->avoid.n; i++) {
        if (kli_block_of(search->run->zone, search->avoid.nr[i]) == block)
            return true;
    }
    return false;
}

/* Windows of m whole blocks that begin at multiples of `stride` blocks, a power of
 * two: the one with the most idle frames.  What leaves the sum may have changed since
 * it came in: it is a hint.  With migration off all frames must be idle. */
static bool find_blocks(const struct kli_search *search, uint32_t m, uint32_t stride,
                        uint32_t *first)
{
    const uint64_t bad = UINT64_C(0xfffff) * KLI_B_STUCK | KLI_B_FENCED;
    const struct kl_zone *zone = search->run->zone;
    const kli_word *block = zone->block;
    uint64_t most = (uint64_t)zone->block_frames * m, absent = ABSENT_ONE + zone->block_frames;
    uint64_t best = search->run->idle || atomic_load(&zone->migration_off) ? most : 0,
             sum = 0;                                          /* best: at least */
    uint32_t end = search->end, clear = 0, found = UINT32_MAX; /* no bad block from clear on */
    bool avoid = search->avoid.n > 0, is_bad, ignored;

    for (uint32_t b = 0; b < end && (found == UINT32_MAX || best <= most); b++) {
        uint32_t start = b + 1 - m;

        sum += worth(&block[b], absent, bad, &is_bad);
        if (is_bad || (avoid && is_avoided(search, b)))
            clear = b + 1;
        if (b >= m)
            sum -= worth(&block[b - m], absent, bad, &ignored);
        if (sum % ABSENT_ONE >= best && b + 1 >= m && start >= clear &&
            sum / ABSENT_ONE <= search->spare && (start & (stride - 1)) == 0) {
            best = sum % ABSENT_ONE + 1;
            found = start;
        }
    }
    *first = found << zone->block_order;
    return found != UINT32_MAX;
}

/* Within one block, frame by frame. */
static bool find_in(const struct kli_search *search, uint32_t block, uint8_t *place,
                    uint32_t *first)
{
    return block < search->end && kli_slide(search, block, block + 1, place, first) != UINT32_MAX;
}

/* A window that fits into a block. */
static bool find_small(const struct kli_search *search, uint8_t *place, uint32_t *first)
{
    enum { FEW = 16 };
    const struct kl_zone *zone = search->run->zone;
    uint32_t stride = (uint32_t)kli_max(1, search->align >> zone->block_order), block = 0;

    for (unsigned i = 0; i < FEW; i++, block++) {
        block = kli_index_next(zone, KLI_CLASS_UNMOVABLE, block);
        if (block == UINT32_MAX)
            break;
        if (find_in(search, block, place, first))
            return true;
    }
    return find_blocks(search, 1, stride, first) &&
           find_in(search, kli_block_of(zone, *first), place, first);
}

static bool find(const struct kli_search *search, uint8_t *place, uint32_t *first)
{
    const struct kl_zone *zone = search->run->zone;
    uint32_t m = (uint32_t)kli_div_up(search->n, zone->block_frames);
    uint32_t stride = (uint32_t)kli_max(1, search->align >> zone->block_order);

    if (search->n < zone->block_frames ? find_small(search, place, first)
                                       : find_blocks(search, m, stride, first))
        return true;
    if ((search->n | search->align) % zone->block_frames == 0)
        return false; /* whole blocks, of which all were looked at */
    return kli_slide(search, 0, search->end, place, first) != UINT32_MAX;
}

int kli_window_find(struct kli_search *search, struct kli_window *window)
{
    const struct kl_zone *zone = search->run->zone;
    const struct kl_host *host = &zone->host;
    size_t bytes = zone->block_frames;
    uint8_t *place = host->meta_alloc(host->ctx, bytes);
    bool found;

    if (!place)
        return -KL_ENOMEM;
    window->n = search->n;
    found = find(search, place, &window->first);
    host->meta_free(host->ctx, place, bytes);
    if (found)
        return 0;
    kli_blame_any(search->run);
    return -KL_EBUSY;
}
