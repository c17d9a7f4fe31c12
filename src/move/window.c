// SPDX-License-Identifier: Apache-2.0
/* The cheapest window.
 *
 * Block words first: they say how much stands in a block and whether any of it is
 * stuck.  A large window that begins where a block does is found by one pass over
 * them (pass.c); a small one in an unmovable block with room, so that ranges stay together,
 * else in a free block, else in the one with least in it.  Only if none of those
 * will do each frame is looked at (slide.c), unless the window is to be of whole
 * blocks, so that a window is found whenever there is one.
 */
#include "move/window.h"

/* Within one block, frame by frame. */
static bool find_in(const struct kli_search *search, uint32_t block, uint64_t *never,
                    uint32_t *first)
{
    return block < search->end && kli_slide(search, block, block + 1, never, first) != UINT32_MAX;
}

/* A window that fits into a block. */
static bool find_small(const struct kli_search *search, uint64_t *never, uint32_t *first)
{
    enum { FEW = 16 };
    const struct kl_zone *zone = search->run->zone;
    uint32_t stride = (uint32_t)kli_max(1, search->align >> zone->block_order), block = 0;

    for (unsigned i = 0; i < FEW; i++, block++) {
        block = kli_index_next(zone, KLI_CLASS_UNMOVABLE, block);
        if (block == UINT32_MAX)
            break;
        if (find_in(search, block, never, first))
            return true;
    }
    return kli_pass(search, 1, stride, first) &&
           find_in(search, kli_block_of(zone, *first), never, first);
}

static bool find(const struct kli_search *search, uint64_t *never, uint32_t *first)
{
    const struct kl_zone *zone = search->run->zone;
    uint32_t m = (uint32_t)kli_div_up(search->n, zone->block_frames);
    uint32_t stride = (uint32_t)kli_max(1, search->align >> zone->block_order);

    if (search->area)
        return kli_area_window(search, never, first);
    if (search->n < zone->block_frames ? find_small(search, never, first)
                                       : kli_pass(search, m, stride, first))
        return true;
    if ((search->n | search->align) % zone->block_frames == 0)
        return false; /* whole blocks, of which all were looked at */
    return kli_slide(search, 0, search->end, never, first) != UINT32_MAX;
}

int kli_window_find(struct kli_search *search, struct kli_window *window)
{
    const struct kl_zone *zone = search->run->zone;
    const struct kl_host *host = &zone->host;
    size_t bytes = kli_never_bytes(zone);
    uint64_t *never = host->meta_alloc(host->ctx, bytes);
    bool found;

    if (!never)
        return -KL_ENOMEM;
    window->n = search->n;
    found = find(search, never, &window->first);
    host->meta_free(host->ctx, never, bytes);
    if (found)
        return 0;
    kli_blame_any(search->run, search->begin, search->end);
    return -KL_EBUSY;
}
