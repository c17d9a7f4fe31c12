// SPDX-License-Identifier: Apache-2.0
/* device_oracle.c - what gaining blocks must cost, whoever does it.
 *
 * A block that is not free now and shall be must lose all that is in it.  A buffer of at most a
 * block lies within one block, so that the blocks' costs don't share anything; a block with
 * something that can't move (in use, or a range of more than a block) can't be had.  So n blocks
 * more cost at least what is in the n cheapest of the others: a lower bound, which no plan beats.
 * All that is there must fit into the blocks that are left, by count of bytes.  Whether it fits as
 * it is (a buffer needs a free run of its size) is not asked, nor what has to move to make it fit:
 * so the bound on n may be too high, and the one on bytes too low. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#define STUCK UINT64_MAX

static int by_value(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;

    return (a > c) - (a < c);
}

/* What is in each block, in bytes that would be copied; and in all of them. */
static uint64_t weigh(const struct world *w, uint64_t *cost)
{
    uint64_t all = 0;

    for (uint32_t i = 0; i < w->ids; i++) {
        const struct item *item = &w->item[i];
        uint64_t offset, bytes;

        if (!item->there)
            continue;
        must(kl_heap_where(w->heap, item->id, &offset, &bytes), "where");
        all += bytes;
        for (uint64_t b = offset / w->block_bytes; b <= (offset + bytes - 1) / w->block_bytes;
             b++) {
            if (item->uses > 0 || bytes > w->block_bytes)
                cost[b] = STUCK;
            else if (cost[b] != STUCK)
                cost[b] += bytes;
        }
    }
    return all;
}

struct optimum find_optimum(const struct world *w)
{
    uint64_t cost[BLOCKS] = {0}, sum = 0, all = weigh(w, cost);
    uint32_t n = 0, needed = (uint32_t)((all + w->block_bytes - 1) / w->block_bytes);
    struct optimum best = {0};

    qsort(cost, BLOCKS, sizeof(cost[0]), by_value);
    while (best.free_blocks < BLOCKS && cost[best.free_blocks] == 0)
        best.free_blocks++;
    for (uint32_t i = best.free_blocks; i < BLOCKS; i++) {
        sum = cost[i] == STUCK || BLOCKS - i - 1 < needed ? STUCK : sum + cost[i];
        best.least[++n] = sum;
        if (sum == STUCK)
            break;
    }
    while (n < BLOCKS)
        best.least[++n] = STUCK;
    return best;
}
