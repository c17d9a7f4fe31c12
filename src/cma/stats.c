// SPDX-License-Identifier: Apache-2.0
/* Figures of an area, and its recount. */
#include "cma/cma.h"

static uint64_t counter(const struct kl_cma *area, unsigned what)
{
    return atomic_load_explicit(&area->count[what], memory_order_relaxed);
}

uint32_t cma_largest(const struct kl_cma *area)
{
    uint32_t best = 0, row = 0;

    for (uint32_t u = 0; u < area->units; u++) {
        row = cma_bit(area->held, u) && !cma_bit(area->kept, u) ? 0 : row + 1;
        best = row > best ? row : best;
    }
    return best;
}

static void count_units(struct kl_cma *area, struct kl_cma_stats *s)
{
    cma_lock(area);
    s->allocated_frames = (area->nheld - area->nkept) << area->order;
    s->given_frames = area->naway << area->order;
    s->kept_frames = area->nkept << area->order;
    s->available_frames = area->frames - (area->nheld << area->order);
    s->largest_frames = cma_largest(area) << area->order;
    s->defer_bytes = area->cap;
    s->defer_ns = area->age_ns;
    cma_unlock(area);
}

void kl_cma_get_stats(struct kl_cma *area, struct kl_cma_stats *stats)
{
    struct kl_cma_stats s = {
        .size = sizeof(s),
        .base = kli_pfn(area->zone, area->first),
        .frames = area->frames,
        .order_per_bit = area->order,
        .allocs = counter(area, CMA_ALLOCS),
        .failed = counter(area, CMA_FAILED),
        .releases = counter(area, CMA_RELEASES),
        .refused = counter(area, CMA_REFUSED),
        .exact = counter(area, CMA_EXACT),
        .partial = counter(area, CMA_PARTIAL),
        .missed = counter(area, CMA_MISSED),
        .returned_need = counter(area, CMA_RETURNED + CMA_NEED),
        .returned_window = counter(area, CMA_RETURNED + CMA_WINDOW),
        .returned_age = counter(area, CMA_RETURNED + CMA_AGE),
        .returned_cap = counter(area, CMA_RETURNED + CMA_CAP),
        .returned_shrinker = counter(area, CMA_RETURNED + CMA_SHRINKER),
        .migrated = counter(area, CMA_MIGRATED),
    };

    memcpy(s.name, area->name, sizeof(s.name));
    count_units(area, &s);
    kli_stats_out(stats, &s, sizeof(s));
}

/* The keepers of a zone are its areas. */
int kl_zone_cma_stats(struct kl_zone *zone, uint32_t i, struct kl_cma_stats *stats)
{
    for (unsigned at = 0; at < KLI_KEEPERS; at++) {
        struct kli_keeper *k = &zone->keepers.at[at];
        bool is_it;

        if (!kli_gate_enter(&k->gate, KLI_G_ANY))
            continue;
        is_it = k->give == cma_give_for && i-- == 0;
        if (is_it)
            kl_cma_get_stats(k->ctx, stats);
        kli_gate_leave(&zone->host, &k->gate);
        if (is_it)
            return 0;
    }
    return -KL_ENOENT;
}

/* ---- the recount ---- */

/* Do the unit's frames look as its bit says? (A3) */
static bool frames_fit(const struct kl_cma *area, uint32_t unit)
{
    uint64_t word = kli_state(area->zone, cma_nr(area, unit));
    bool ours = (word & KLI_F_HEAD) && kli_f_owner(word) == area->owner.v;

    if (ours != cma_bit(area->held, unit))
        return false;
    return !ours || (kli_f_order(word) == area->order && !(word & KLI_F_KIND));
}

static const char *check_unit(const struct kl_cma *area, uint32_t u)
{
    bool held = cma_bit(area->held, u), kept = cma_bit(area->kept, u), cut = cma_bit(area->cut, u);

    if ((kept && !held) || (cut && !kept))
        return "A1: kept but not held, or a piece of nothing";
    if (cma_bit(area->away, u) && (!held || kept))
        return "A8: given but not allocated";
    if (cma_bit(area->away, u) !=
        kli_b_parted(kli_block_word(area->zone, kli_block_of(area->zone, cma_nr(area, u)))))
        return "A8: the block does not say what the area says";
    if (kept && !cut && (u == 0 || !cma_bit(area->kept, u - 1)))
        return "A2: a run of kept units has no beginning";
    if (!frames_fit(area, u))
        return "A3: the zone does not say what the area says";
    return NULL;
}

static const char *check_sums(struct kl_cma *area)
{
    const struct kl_zone *zone = area->zone;
    uint32_t held = 0, kept = 0, away = 0;

    for (uint32_t u = 0; u < area->units; u++) {
        held += cma_bit(area->held, u);
        kept += cma_bit(area->kept, u);
        away += cma_bit(area->away, u);
    }
    if (held != area->nheld || kept != area->nkept || away != area->naway)
        return "units are miscounted";
    if ((uint64_t)kept << area->order > kli_kept_frames(zone))
        return "A5: the zone does not know all that is kept";
    if ((uint64_t)kept << (area->order + zone->frame_shift) > area->cap)
        return "A6: more is kept than the cap";
    for (uint32_t nr = area->first; nr < area->first + area->frames; nr += zone->block_frames) {
        if (!(kli_block_word(zone, kli_block_of(zone, nr)) & KLI_B_CMA))
            return "a block is not the area's";
    }
    return NULL;
}

int kl_cma_check(struct kl_cma *area, const char **what)
{
    const char *broken = check_sums(area);

    for (uint32_t u = 0; u < area->units && !broken; u++)
        broken = check_unit(area, u);
    if (what)
        *what = broken;
    return broken ? -KL_EIO : 0;
}
