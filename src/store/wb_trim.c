// SPDX-License-Identifier: Apache-2.0
/* Room on the target that nobody uses any more is given back to it, a region at a time.
 *
 * A region's bit in `dirty` is set when something in it is taken.  One that is dirty and
 * has become free as a whole is taken as a whole, so that nothing is written there
 * meanwhile, trimmed, and free again.  Everything with busy.
 */
#include "store/writeback.h"

enum { REGION_WORDS = WB_REGION / 64, LOOK = 256 /* regions a step */ };

static bool is_free(const struct store_writeback *wb, uint64_t region)
{
    for (uint64_t i = 0; i < REGION_WORDS; i++) {
        if (atomic_load(&wb->map[region * REGION_WORDS + i]))
            return false;
    }
    return true;
}

static void end_trim(struct store_writeback *wb)
{
    struct wb_job *job = &wb->trim;

    if (atomic_load_explicit(&job->state, memory_order_acquire) != WB_DONE)
        return;
    if (job->err == -KL_ECANCELED)
        wb_tick(wb, WB_C_RETIRED, WB_REGION); /* T5 */
    else
        wb_free(wb, atomic_load(&job->first), WB_REGION);
    atomic_store(&job->units, 0);
    atomic_store(&job->state, WB_FREE);
}

/* Regions that are not whole at the end of the target are left alone. */
void wb_trim_some(struct store_writeback *wb)
{
    uint64_t regions = wb->units / WB_REGION;

    end_trim(wb);
    if (!wb->dirty || regions == 0 || atomic_load(&wb->trim.state) != WB_FREE)
        return;
    for (unsigned i = 0; i < LOOK; i++) {
        uint64_t region = wb->trim_cursor++ % regions;

        if (!(wb->dirty[region / 64] >> (region % 64) & 1) || !is_free(wb, region) ||
            !wb_take_at(wb, region * WB_REGION, WB_REGION))
            continue;
        wb->dirty[region / 64] &= ~(UINT64_C(1) << (region % 64));
        wb_ask(&wb->trim, KL_TARGET_TRIM, region * WB_REGION, WB_REGION);
        return;
    }
}
