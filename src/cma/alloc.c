// SPDX-License-Identifier: Apache-2.0
/* Ranges of an area: from what is kept, else a window that is emptied; and back. */
#include "cma/cma.h"

/* What is asked for. */
struct wish {
    struct kl_cma *area;
    uint32_t units, align; /* align: of a frame's number */
    enum kl_mode mode;
    struct kli_window within; /* where it may be */
    struct kl_report *report; /* never NULL */
};

static uint32_t units_of(const struct kl_cma *area, uint32_t frames)
{
    return (uint32_t)kli_div_up(frames, UINT64_C(1) << area->order);
}

/* ---- what is kept ---- */

/* Kept units are allocated from now on. */
static void reuse(struct kl_cma *area, struct cma_run at)
{
    cma_unkeep(area, at);
    kli_kept_used(area->zone, (uint64_t)at.n << area->order);
}

static bool take_kept(const struct wish *wish, uint32_t *unit)
{
    struct kl_cma *area = wish->area;
    uint32_t run_units;
    struct cma_run at;
    bool any, found;

    cma_lock(area);
    any = area->nkept > 0;
    found = any && cma_fit(area, wish->units, wish->align, &at, &run_units);
    if (found)
        reuse(area, at);
    cma_unlock(area);
    if (found) {
        cma_count(area, run_units == at.n ? CMA_EXACT : CMA_PARTIAL, 1);
        *unit = at.first;
    } else if (any) {
        cma_count(area, CMA_MISSED, 1);
    }
    return found;
}

/* Exactly these, all of which are kept.  *busy: some are allocated. */
static bool take_kept_at(struct kl_cma *area, struct cma_run at, bool *busy)
{
    bool any, found;

    cma_lock(area);
    any = area->nkept > 0;
    found = cma_are(area->kept, at, true);
    *busy = false;
    for (uint32_t i = at.first, end = at.first + at.n; i < end && !found && !*busy; i++) {
        i = cma_next(area->held, i, end, true);
        *busy = i < end && !cma_bit(area->kept, i);
    }
    if (found)
        reuse(area, at);
    cma_unlock(area);
    if (found)
        cma_count(area, CMA_EXACT, 1);
    else if (any && !*busy)
        cma_count(area, CMA_MISSED, 1);
    return found;
}

/* ---- a window ---- */

/* The first frame within that can't move: somebody else's, or else one that the area has
 * allocated. */
static bool blame_one(const struct wish *wish, bool own)
{
    struct kl_cma *area = wish->area;
    struct kl_zone *zone = area->zone;
    const struct kli_window *w = &wish->within;

    for (uint32_t nr = w->first; nr < w->first + w->n; nr++) {
        uint64_t word = kli_state(zone, nr);
        struct kl_obstacle o;

        if (!kli_f_stuck(word) || (kli_f_owner(word) == area->owner.v) != own ||
            (own && cma_bit(area->kept, (nr - area->first) >> area->order)))
            continue;
        kli_describe(zone, nr, word, kli_in_way(zone, word), &o);
        kli_report_culprit(wish->report, &o);
        return true;
    }
    return false;
}

/* Of a failure: somebody else's frame rather than the area's own; the last one that stood in
 * the way of the run, if it was not the area's. */
static void blame(const struct wish *wish)
{
    const struct kl_report *r = wish->report;

    if (r->culprit_kind == KL_IN_WAY_NO_ROOM ||
        (r->culprit.v && r->culprit_owner.v != wish->area->owner.v))
        return;
    if (!blame_one(wish, false) && !r->culprit.v)
        blame_one(wish, true);
}

/* Room elsewhere is looked at first; but what the area itself has allocated may leave no row
 * of that length, and then room is of no help. */
static int why_not(const struct wish *wish, int err)
{
    struct kl_cma *area = wish->area;
    uint32_t largest;

    if (err != -KL_ENOMEM)
        return err;
    cma_lock(area);
    largest = cma_largest(area);
    cma_unlock(area);
    if (largest >= wish->units)
        return err;
    wish->report->culprit_kind = KL_IN_WAY_NOTHING;
    return -KL_EBUSY;
}

/* They are the area's in the zone by now. (A3) */
static void mark_held(struct kl_cma *area, struct cma_run at)
{
    cma_lock(area);
    KLI_ASSERT(&area->zone->host, cma_are(area->held, at, false));
    cma_set(area->held, at);
    area->nheld += at.n;
    cma_unlock(area);
}

/* Has anything that was kept become free since?  With what is on its way just now. (A4) */
static bool has_given(struct kl_cma *area, uint64_t *given)
{
    uint64_t before = *given;

    cma_lock(area);
    *given = kli_kept_now(area->zone);
    cma_unlock(area);
    return *given != before;
}

/* exact: NULL: anywhere.  What became free meanwhile is worth another attempt, and a kept
 * range on its way stands in a window's. (frame/kept.c, K3) */
static int take_window(const struct wish *wish, const struct kli_window *exact, uint32_t *unit)
{
    struct kl_cma *area = wish->area;
    struct kl_zone *zone = area->zone;
    const struct kli_taker taker = {
        .owner = area->owner.v, .order = area->order, .yield = cma_yield, .ctx = area};
    uint64_t given = kli_kept_now(zone);
    uint32_t nr = exact ? exact->first : 0;
    int err;

    KLI_TRACE_STEP(cma_missed, KLI_TAG(zone), wish->units, wish->align);
    do {
        struct kli_search search = {.area = &area->view,
                                    .n = wish->units << area->order,
                                    .align = wish->align,
                                    .begin = area->first >> zone->block_order,
                                    .end = (area->first + area->frames) >> zone->block_order,
                                    .tries = KLI_TRIES};

        err = kli_contig(zone, &search, exact, &taker, wish->mode, &nr, wish->report);
        cma_count(area, CMA_MIGRATED, wish->report->migrated);
        KLI_TRACE_STEP(cma_window, KLI_TAG(zone), nr, err);
    } while (err && has_given(area, &given));
    if (err)
        return err;
    *unit = (nr - area->first) >> area->order;
    mark_held(area, (struct cma_run){*unit, wish->units});
    return 0;
}

/* ---- the public face ---- */

static int finish(const struct wish *wish, uint32_t unit, unsigned flags, int err)
{
    struct kl_cma *area = wish->area;
    struct kl_zone *zone = area->zone;
    uint32_t nr = cma_nr(area, unit);

    KLI_TRACE(cma_alloc_end, KLI_TAG(zone), nr, err);
    if (err) {
        cma_count(area, CMA_FAILED, 1);
        blame(wish);
        return err;
    }
    if (zone->backing.base && !(flags & KL_CMA_ANY_CONTENTS))
        memset(kli_addr(zone, nr), 0, (size_t)wish->units << (area->order + zone->frame_shift));
    return 0;
}

static bool asked_ok(const struct kl_cma *area, uint32_t frames, unsigned flags, enum kl_mode mode)
{
    return frames > 0 && frames <= area->frames && !(flags & ~(unsigned)KL_CMA_ANY_CONTENTS) &&
           (unsigned)mode <= KL_SYNC;
}

int kl_cma_alloc(struct kl_cma *area, uint32_t frames, uint32_t align, unsigned flags,
                 enum kl_mode mode, kl_pfn *first, struct kl_report *report)
{
    struct kl_report own = {.size = sizeof(own)};
    struct wish wish = {
        .area = area, .mode = mode, .within = {area->first, area->frames}, .report = &own};
    uint32_t unit = 0;
    int err = 0;

    kli_report_clear(report);
    if (!first || !asked_ok(area, frames, flags, mode) || !kli_is_pow2(align))
        return -KL_EINVAL;
    wish.units = units_of(area, frames);
    wish.align = (uint32_t)kli_max(align, UINT64_C(1) << area->order);
    cma_count(area, CMA_ALLOCS, 1);
    KLI_TRACE(cma_alloc_begin, KLI_TAG(area->zone), frames, align);
    if (!take_kept(&wish, &unit))
        err = why_not(&wish, take_window(&wish, NULL, &unit));
    err = finish(&wish, unit, flags, err);
    if (report)
        kli_stats_out(report, &own, sizeof(own));
    if (!err)
        *first = kli_pfn(area->zone, cma_nr(area, unit));
    return err;
}

/* A row of whole units that begins with frame `first`; false: it is not the area's. */
bool cma_row_of(const struct kl_cma *area, kl_pfn first, uint32_t frames, struct cma_run *row)
{
    uint32_t nr = kl_pfn_nr(first);

    if (frames == 0 || !kli_pfn_ok(area->zone, first) || nr < area->first ||
        nr - area->first >= area->frames || frames > area->frames - (nr - area->first) ||
        (nr & ((1u << area->order) - 1)))
        return false;
    *row = (struct cma_run){(nr - area->first) >> area->order, units_of(area, frames)};
    return true;
}

int kl_cma_alloc_at(struct kl_cma *area, kl_pfn first, uint32_t frames, unsigned flags,
                    enum kl_mode mode, struct kl_report *report)
{
    struct kl_report own = {.size = sizeof(own)};
    struct wish wish = {.area = area, .align = 1, .mode = mode, .report = &own};
    struct cma_run row;
    bool busy;
    int err = 0;

    kli_report_clear(report);
    if (!asked_ok(area, frames, flags, mode) || !cma_row_of(area, first, frames, &row))
        return -KL_EINVAL;
    wish.units = row.n;
    wish.within = (struct kli_window){cma_nr(area, row.first), row.n << area->order};
    cma_count(area, CMA_ALLOCS, 1);
    KLI_TRACE(cma_alloc_begin, KLI_TAG(area->zone), frames, kl_pfn_nr(first));
    if (!take_kept_at(area, row, &busy))
        err = busy ? -KL_EBUSY : take_window(&wish, &wish.within, &row.first);
    err = finish(&wish, row.first, flags, err);
    if (report)
        kli_stats_out(report, &own, sizeof(own));
    return err;
}

int kl_cma_release(struct kl_cma *area, kl_pfn first, uint32_t frames)
{
    const struct kl_host *host = &area->zone->host;
    struct cma_run row;
    bool ok, want = false;

    if (cma_row_of(area, first, frames, &row)) {
        uint64_t now = host->now_ns(host->ctx);

        cma_lock(area);
        ok = cma_are(area->held, row, true) && cma_are(area->kept, row, false) &&
             cma_are(area->away, row, false);
        if (ok) {
            cma_keep(area, row, now);
            want = area->age_ns > 0 && area->cap > 0 && !area->armed; /* A7 */
            area->armed |= want;
        }
        cma_unlock(area);
    } else {
        ok = false;
    }
    cma_count(area, ok ? CMA_RELEASES : CMA_REFUSED, 1);
    if (!ok)
        return -KL_EINVAL;
    KLI_TRACE(cma_release, KLI_TAG(area->zone), cma_nr(area, row.first), frames);
    cma_give_beyond_cap(area); /* A6 */
    if (want)
        kl_shrinker_want(area->zone, area->shrinker);
    return 0;
}
