// SPDX-License-Identifier: Apache-2.0
/* What is kept of an area: pieces and the runs that they make.  All of it with the lock;
 * cma.h has the invariants. */
#include "cma/cma.h"

static kli_word *stamp_of(const struct kl_cma *area, uint32_t unit)
{
    return &area->zone->frame[cma_nr(area, unit)].priv;
}

/* A piece begins here. */
static void cut(struct kl_cma *area, uint32_t unit, uint64_t since)
{
    cma_set(area->cut, (struct cma_run){unit, 1});
    atomic_store_explicit(stamp_of(area, unit), since, memory_order_relaxed);
}

static uint64_t since_of(const struct kl_cma *area, uint32_t begin)
{
    return atomic_load_explicit(stamp_of(area, begin), memory_order_relaxed);
}

/* Allocated units become kept ones. */
void cma_keep(struct kl_cma *area, struct cma_run run, uint64_t now)
{
    cma_set(area->kept, run);
    cut(area, run.first, now);
    area->nkept += run.n;
    kli_kept_add(area->zone, (uint64_t)run.n << area->order);
}

/* Kept units are not kept any more; what is left behind them stays as old as it was. */
void cma_unkeep(struct kl_cma *area, struct cma_run run)
{
    uint32_t end = run.first + run.n;

    if (end < area->units && cma_bit(area->kept, end) && !cma_bit(area->cut, end))
        cut(area, end, since_of(area, cma_last_set(area->cut, end - 1))); /* A2 */
    cma_clear(area->kept, run);
    cma_clear(area->cut, run);
    area->nkept -= run.n;
}

/* Where in a run the first place at this alignment is; UINT32_MAX: n do not fit. */
static uint32_t place_in(const struct kl_cma *area, struct cma_run run, uint32_t n, uint32_t align)
{
    uint64_t nr = kli_align_up(cma_nr(area, run.first), align);
    uint64_t unit = (nr - area->first) >> area->order;

    return unit + n <= (uint64_t)run.first + run.n ? (uint32_t)unit : UINT32_MAX;
}

bool cma_fit(const struct kl_cma *area, uint32_t n, uint32_t align, struct cma_run *at,
             uint32_t *run_units)
{
    uint32_t best = UINT32_MAX, end = area->units, from = 0;

    while (area->nkept >= n && best > n) {
        struct cma_run run = {.first = cma_next(area->kept, from, end, true)};
        uint32_t unit;

        if (run.first == end)
            break;
        from = cma_next(area->kept, run.first, end, false);
        run.n = from - run.first;
        unit = run.n < best ? place_in(area, run, n, align) : UINT32_MAX;
        if (unit == UINT32_MAX)
            continue;
        *at = (struct cma_run){unit, n};
        best = run.n;
    }
    *run_units = best;
    return best < UINT32_MAX;
}

/* The piece that begins there. */
static struct cma_run piece_at(const struct kl_cma *area, uint32_t begin)
{
    uint32_t to = cma_next(area->kept, begin, area->units, false);

    to = cma_next(area->cut, begin + 1, to, true);
    return (struct cma_run){begin, to - begin};
}

bool cma_oldest(const struct kl_cma *area, struct cma_run *piece, uint64_t *since)
{
    uint32_t oldest = area->units, at;

    for (at = cma_next(area->cut, 0, area->units, true); at < area->units;
         at = cma_next(area->cut, at + 1, area->units, true)) {
        if (oldest < area->units && since_of(area, at) >= *since)
            continue;
        oldest = at;
        *since = since_of(area, at);
    }
    if (oldest < area->units)
        *piece = piece_at(area, oldest);
    return oldest < area->units;
}

void cma_give_row(struct kl_cma *area, struct cma_run row, enum cma_why why)
{
    struct kl_zone *zone = area->zone;
    uint64_t frames = (uint64_t)row.n << area->order;

    cma_unkeep(area, row);
    kli_free_run(zone, area->owner.v, cma_nr(area, row.first), row.n, area->order);
    cma_clear(area->held, row);
    area->nheld -= row.n;
    kli_kept_given(zone, frames);
    cma_count(area, (enum cma_count)(CMA_RETURNED + why), frames);
    KLI_TRACE(cma_returned, KLI_TAG(zone), cma_nr(area, row.first), frames);
}

uint32_t cma_give_end(struct kl_cma *area, struct cma_run piece, uint32_t most, enum cma_why why)
{
    uint32_t end = piece.first + piece.n, a_block = area->zone->block_frames >> area->order;
    uint32_t begin = (end - 1) / a_block * a_block; /* A4 */
    struct cma_run row;

    begin = (uint32_t)kli_max(begin, end - kli_min(most, piece.n));
    row = (struct cma_run){begin, end - begin};
    cma_give_row(area, row, why);
    return row.n;
}
