// SPDX-License-Identifier: Apache-2.0
/* Contiguous ranges: what is asked, and the run that takes it (take.c). */
#include "frame/share.h"
#include "move/take.h"

/* Frames that are free or could be: enough of them is enough, wherever they are. */
static bool has_room(struct kl_zone *zone, const struct kli_search *search, uint32_t n)
{
    return kli_free_frames(zone) + kli_kept_frames(zone) +
               (uint64_t)search->spare * zone->block_frames >=
           n;
}

int kli_contig(struct kl_zone *zone, struct kli_search *search, const struct kli_window *exact,
               const struct kli_taker *taker, enum kl_mode mode, uint32_t *first,
               struct kl_report *report)
{
    uint32_t n = exact ? exact->n : search->n;
    struct kli_run run;
    int err;

    KLI_TRACE(contig_begin, KLI_TAG(zone), n, mode);
    kli_run_begin(&run, zone, mode);
    run.may_populate = true;
    run.idle = search->idle;
    search->run = &run;
    run.keep_soft = search->keep_soft;
    run.out_of_areas = taker->yield != NULL; /* or the next range moves them again */
    search->spare = kli_populatable(zone, !search->keep_soft);
    if (!has_room(zone, search, n)) {
        kli_blame_room(&run);
        err = -KL_ENOMEM;
    } else {
        err = exact ? kli_take_exactly(&run, exact, taker) : kli_take_any(search, taker, first);
    }
    if (err == 0)
        kli_absolve(&run);
    search->fenced = run.fenced;
    search->run = NULL;
    kli_run_end(&run, report);
    KLI_TRACE(contig_end, KLI_TAG(zone), n, err);
    return err == -KL_EAGAIN ? -KL_EBUSY : err;
}

/* Within the owner's share; its shrinkers are not asked here. */
static int contig_charged(struct kl_zone *zone, struct kli_search *search,
                          const struct kli_window *exact, struct kli_taker *taker,
                          enum kl_mode mode, uint32_t *first, struct kl_report *report)
{
    const struct kl_report no_room = {.size = sizeof(no_room), .culprit_kind = KL_IN_WAY_NO_ROOM};
    uint32_t n = exact ? exact->n : search->n;
    int err;

    taker->flags = kli_share_flag(zone, taker->owner);
    if (taker->flags && !kli_share_charge(zone, taker->owner, n)) {
        atomic_fetch_add(&zone->owner[taker->owner].share.refused, 1);
        if (report)
            kli_stats_out(report, &no_room, sizeof(no_room));
        return -KL_ENOMEM;
    }
    err = kli_contig(zone, search, exact, taker, mode, first, report);
    if (err && taker->flags)
        kli_share_uncharge(zone, taker->owner, n);
    return err;
}

int kl_contig_alloc(struct kl_zone *zone, kl_owner_id owner, uint32_t frames, uint32_t align,
                    enum kl_mode mode, kl_pfn *first, struct kl_report *report)
{
    struct kli_search search = {.n = frames, .align = align, .tries = KLI_TRIES};
    const struct kl_report no_room = {.size = sizeof(no_room), .culprit_kind = KL_IN_WAY_NO_ROOM};
    struct kli_taker taker = {.owner = owner.v};
    uint32_t nr;
    int err;

    kli_report_clear(report);
    if (frames == 0 || frames > zone->frames || !kli_is_pow2(align) || (unsigned)mode > KL_SYNC ||
        !kli_owner_is(zone, owner.v))
        return -KL_EINVAL;
    search.end = kli_owner(zone, owner.v)->end;
    if (frames > (uint64_t)search.end << zone->block_order) {
        if (report)
            kli_stats_out(report, &no_room, sizeof(no_room));
        return -KL_ENOMEM;
    }
    kli_run_asked(zone, KLI_RUN_CONTIG);
    err = contig_charged(zone, &search, NULL, &taker, mode, &nr, report);
    if (err == 0)
        *first = kli_pfn(zone, nr);
    return kli_run_ended(zone, KLI_RUN_CONTIG, err);
}

int kl_contig_alloc_at(struct kl_zone *zone, kl_owner_id owner, kl_pfn first, uint32_t frames,
                       enum kl_mode mode, struct kl_report *report)
{
    struct kli_window window = {kl_pfn_nr(first), frames};
    struct kli_search search = {.n = frames};
    struct kli_taker taker = {.owner = owner.v};
    int err;

    kli_report_clear(report);
    if (frames == 0 || !kli_pfn_ok(zone, first) || frames > zone->frames - window.first ||
        (unsigned)mode > KL_SYNC || !kli_owner_is(zone, owner.v) ||
        kli_block_of(zone, window.first + frames - 1) >= kli_owner(zone, owner.v)->end)
        return -KL_EINVAL;
    kli_run_asked(zone, KLI_RUN_CONTIG);
    err = contig_charged(zone, &search, &window, &taker, mode, NULL, report);
    return kli_run_ended(zone, KLI_RUN_CONTIG, err);
}

static bool all_are(const struct kl_zone *zone, kl_owner_id owner, uint32_t first, uint32_t n)
{
    uint64_t want = kli_f_make(0, owner.v, 0);

    for (uint32_t nr = first; nr < first + n; nr++) {
        uint64_t word = kli_state(zone, nr) & ~(KLI_F_LOCKED | KLI_F_CHARGED);

        if ((word & ~(UINT64_C(0xffff) << 32)) != (want & ~(UINT64_C(0xffff) << 32)))
            return false; /* whatever its references are */
    }
    return true;
}

int kl_contig_free(struct kl_zone *zone, kl_owner_id owner, kl_pfn first, uint32_t frames)
{
    uint32_t nr = kl_pfn_nr(first);

    if (frames == 0 || !kli_pfn_ok(zone, first) || frames > zone->frames - nr ||
        !kli_owner_is(zone, owner.v) || !all_are(zone, owner, nr, frames))
        return -KL_EINVAL;
    for (uint32_t i = 0; i < frames; i++)
        kl_frame_free(zone, owner, kli_pfn(zone, nr + i));
    return 0;
}
