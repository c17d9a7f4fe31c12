// SPDX-License-Identifier: Apache-2.0
/* Kept ranges on their way back to the zone: oldest first, from their ends, so that what
 * stays of a range stays in one piece. */
#include "cma/cma.h"

/* Of the oldest pieces; 0: nothing is kept. */
static uint32_t give_some(struct kl_cma *area, uint32_t most, enum cma_why why)
{
    struct cma_run piece;
    uint64_t since = 0;

    return cma_oldest(area, &piece, &since) ? cma_give_end(area, piece, most, why) : 0;
}

static uint32_t units_for(const struct kl_cma *area, uint64_t frames)
{
    return (uint32_t)kli_min(kli_div_up(frames, UINT64_C(1) << area->order), area->units);
}

uint64_t cma_give(struct kl_cma *area, uint64_t frames, enum cma_why why)
{
    uint32_t want = units_for(area, frames), done = 0, now;

    do {
        cma_lock(area);
        now = done < want ? give_some(area, want - done, why) : 0;
        cma_unlock(area);
        KLI_TRACE_STEP(cma_gave, KLI_TAG(area->zone), now, why);
        done += now;
    } while (now > 0);
    return (uint64_t)done << area->order;
}

/* A6 */
void cma_give_beyond_cap(struct kl_cma *area)
{
    unsigned shift = area->zone->frame_shift + area->order;
    uint32_t now;

    do {
        uint64_t most;

        cma_lock(area);
        most = area->cap >> shift;
        now = area->nkept > most ? give_some(area, area->nkept - (uint32_t)most, CMA_CAP) : 0;
        cma_unlock(area);
        KLI_TRACE_STEP(cma_gave, KLI_TAG(area->zone), now, CMA_CAP);
    } while (now > 0);
}

/* The window's blocks are fenced, so that nobody comes in where these were. */
void cma_yield(void *ctx, const struct kli_window *w)
{
    struct kl_cma *area = ctx;
    uint32_t a_block = area->zone->block_frames >> area->order;
    uint32_t at = (w->first - area->first) >> area->order;
    uint32_t end = at + units_for(area, w->n);

    while (at < end) {
        uint32_t to;

        cma_lock(area);
        at = cma_next(area->kept, at, end, true);
        to = (uint32_t)kli_min(end, (uint64_t)(at / a_block + 1) * a_block);
        to = cma_next(area->kept, at, to, false);
        if (to > at)
            cma_give_row(area, (struct cma_run){at, to - at}, CMA_WINDOW);
        cma_unlock(area);
        KLI_TRACE_STEP(cma_gave, KLI_TAG(area->zone), to - at, CMA_WINDOW);
        at = to;
    }
}

/* Somebody lacks a run of 2^order frames: such a one, if it is kept; else some frames, not
 * one at a time, since each time he has looked everywhere before. */
void cma_give_for(void *ctx, uint64_t frames, unsigned order)
{
    enum { AT_LEAST = 64 };
    struct kl_cma *area = ctx;
    uint32_t n = units_for(area, UINT64_C(1) << order), run_units;
    struct cma_run at;

    cma_lock(area);
    if (order > area->order && order <= area->zone->block_order &&
        cma_fit(area, n, 1u << order, &at, &run_units))
        cma_give_row(area, at, CMA_NEED);
    else
        give_some(area, units_for(area, kli_max(frames, AT_LEAST)), CMA_NEED);
    cma_unlock(area);
}
