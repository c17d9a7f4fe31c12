// SPDX-License-Identifier: Apache-2.0
/* The memory of allocated blocks, given to the system and got again.
 *
 * The frames stay the area's all the time: their bits, their states, their units in `held`.
 * So nobody has to be kept out, and nothing that was taken can be lost to anybody else while
 * the memory is away.  Whose turn it is says the block's word: part and return are refused
 * to all but one. (cma.h, A8; frame/block.h, B4)
 */
#include "cma/cma.h"

/* The units of block number i of the row. */
static struct cma_run block_of(const struct kl_cma *area, struct cma_run row, uint32_t i)
{
    uint32_t per_block = area->zone->block_frames >> area->order;

    return (struct cma_run){row.first + i * per_block, per_block};
}

/* A row of whole blocks; how many, 0: it is not. */
static uint32_t blocks_of(const struct kl_cma *area, kl_pfn first, uint32_t frames,
                          struct cma_run *row)
{
    uint32_t all = area->zone->block_frames;

    if (frames % all || kl_pfn_nr(first) % all || !cma_row_of(area, first, frames, row))
        return 0;
    return frames / all;
}

static bool is_pinned(const struct kl_cma *area, struct cma_run row)
{
    for (uint32_t u = row.first; u < row.first + row.n; u++)
        if (kli_f_pins(kli_state(area->zone, cma_nr(area, u))) > 0)
            return true;
    return false;
}

static bool is_allocated(const struct kl_cma *area, struct cma_run row)
{
    return cma_are(area->held, row, true) && cma_are(area->kept, row, false);
}

/* Allocated units, none of them away, are; false: they aren't such. */
static bool set_away(struct kl_cma *area, struct cma_run row)
{
    bool ok;

    cma_lock(area);
    ok = is_allocated(area, row) && cma_are(area->away, row, false);
    if (ok) {
        cma_set(area->away, row);
        area->naway += row.n;
    }
    cma_unlock(area);
    return ok;
}

static void clear_away(struct kl_cma *area, struct cma_run row)
{
    cma_lock(area);
    cma_clear(area->away, row);
    area->naway -= row.n;
    cma_unlock(area);
}

static int give_block(struct kl_cma *area, struct cma_run units)
{
    enum { TRIES = 4 }; /* of somebody's short fence, or a look */
    struct kl_zone *zone = area->zone;
    int err = -KL_EBUSY;

    for (unsigned i = 0; i < TRIES && err == -KL_EBUSY && !is_pinned(area, units); i++) {
        if (i > 0)
            zone->host.relax(zone->host.ctx, i);
        err = kli_part_with(zone, kli_block_of(zone, cma_nr(area, units.first)));
    }
    return err;
}

int kl_cma_give_back(struct kl_cma *area, kl_pfn first, uint32_t frames, uint32_t *given)
{
    struct cma_run row;
    uint32_t n = blocks_of(area, first, frames, &row), done = 0;
    int err = 0;

    *given = 0;
    if (n == 0 || !set_away(area, row))
        return -KL_EINVAL;
    while (done < n && !err) {
        err = give_block(area, block_of(area, row, done));
        done += err == 0;
    }
    if (err) {
        uint32_t from = block_of(area, row, done).first;

        clear_away(area, (struct cma_run){from, row.first + row.n - from});
    }
    *given = done << area->zone->block_order;
    return err;
}

/* 0 also when its memory is there. */
static int get_block(struct kl_cma *area, struct cma_run units)
{
    struct kl_zone *zone = area->zone;
    bool away;
    int err;

    cma_lock(area);
    away = cma_bit(area->away, units.first);
    cma_unlock(area);
    if (!away)
        return 0;
    err = kli_return_to(zone, kli_block_of(zone, cma_nr(area, units.first)));
    if (!err)
        clear_away(area, units);
    return err;
}

int kl_cma_get_back(struct kl_cma *area, kl_pfn first, uint32_t frames)
{
    struct cma_run row;
    uint32_t n = blocks_of(area, first, frames, &row);
    bool ok = n > 0;
    int err = 0;

    if (ok) {
        cma_lock(area);
        ok = is_allocated(area, row);
        cma_unlock(area);
    }
    for (uint32_t i = 0; i < n && ok && !err; i++)
        err = get_block(area, block_of(area, row, i));
    return ok ? err : -KL_EINVAL;
}
