// SPDX-License-Identifier: Apache-2.0
/* Contiguous ranges.
 *
 * Find the cheapest window, fence its blocks in ascending order (backing off from
 * all of them when one can't be fenced), empty it, claim its frames, lift the
 * fences.  When a frame turns out not to move, it is remembered and the next best
 * window is tried.
 */
#include "move/window.h"

static uint32_t first_block(const struct kl_zone *zone, const struct kli_window *w)
{
    return kli_block_of(zone, w->first);
}

static uint32_t last_block(const struct kl_zone *zone, const struct kli_window *w)
{
    return kli_block_of(zone, w->first + w->n - 1);
}

/* The part of a window that lies in one block. */
static struct kli_window part_in(const struct kl_zone *zone, const struct kli_window *w,
                                 uint32_t block)
{
    uint32_t from = (uint32_t)kli_max(w->first, (uint64_t)block << zone->block_order);
    uint64_t to = kli_min((uint64_t)w->first + w->n, (uint64_t)(block + 1) << zone->block_order);

    return (struct kli_window){from, (uint32_t)(to - from)};
}

static void unfence_window(struct kli_run *run, const struct kli_window *w, uint32_t end)
{
    for (uint32_t b = first_block(run->zone, w); b < end; b++)
        kli_unfence(run, b);
}

/* Fences every block of the window, absent ones after getting memory for them. */
static int fence_window(struct kli_run *run, const struct kli_window *w)
{
    for (uint32_t b = first_block(run->zone, w); b <= last_block(run->zone, w); b++) {
        int err = 0;

        if (kli_block_word(run->zone, b) & KLI_B_ABSENT)
            err = kli_populate(run->zone, b);
        if (!err && !kli_fence(run, b))
            err = -KL_EAGAIN;
        if (err) {
            unfence_window(run, w, b);
            return err;
        }
    }
    return 0;
}

static void unclaim(struct kli_run *run, const struct kli_window *part)
{
    uint64_t n = part->n;

    kli_block_step(run->zone, kli_block_of(run->zone, part->first), kli_b_put, n | n * KLI_B_STUCK);
}

/* Takes the bits of the window; -KL_EAGAIN: somebody was on the way in. */
static int claim_window(struct kli_run *run, const struct kli_window *w)
{
    struct kl_zone *zone = run->zone;

    for (uint32_t b = first_block(zone, w); b <= last_block(zone, w); b++) {
        struct kli_window part = part_in(zone, w, b);
        bool counted =
            kli_block_step(zone, b, kli_b_claim, part.n | (uint64_t)zone->block_frames << 20);

        if (counted && kli_bits_take_at(zone, part.first, part.n))
            continue;
        if (counted)
            unclaim(run, &part);
        for (uint32_t back = first_block(zone, w); back < b; back++) {
            part = part_in(zone, w, back);
            kli_bits_clear(zone, part.first, part.n);
            unclaim(run, &part);
        }
        return -KL_EAGAIN;
    }
    return 0;
}

static void name_frames(struct kl_zone *zone, const struct kli_window *w, kl_owner_id owner)
{
    for (uint32_t nr = w->first; nr < w->first + w->n; nr++) {
        atomic_store_explicit(&zone->frame[nr].priv, 0, memory_order_relaxed);
        atomic_store_explicit(&zone->frame[nr].state, kli_f_make(0, owner.v, 0),
                              memory_order_release);
    }
}

/* A window whose blocks are fenced: empties and claims it. */
static int take_fenced(struct kli_run *run, const struct kli_window *w)
{
    enum { TRIES = 20 };
    int err = -KL_EAGAIN;

    for (unsigned i = 0; i < TRIES && err == -KL_EAGAIN; i++) {
        err = kli_evacuate(run, w->first, w->n);
        if (err == 0)
            err = claim_window(run, w);
        if (err == -KL_EAGAIN)
            run->zone->host.relax(run->zone->host.ctx, i);
    }
    return err == -KL_EAGAIN ? -KL_EBUSY : err;
}

static int take_window(struct kli_run *run, const struct kli_window *w, kl_owner_id owner)
{
    int err = fence_window(run, w);

    if (err)
        return err;
    run->keep_nr = w->first;
    run->keep_n = w->n;
    err = take_fenced(run, w);
    run->keep_n = 0;
    if (err == 0)
        name_frames(run->zone, w, owner);
    unfence_window(run, w, last_block(run->zone, w) + 1);
    return err;
}

/* What stood in the way is not tried again. */
static void learn(struct kli_search *search, int err)
{
    struct kli_run *run = search->run;

    if (err == -KL_ENOMEM)
        search->spare = 0; /* no memory for absent blocks */
    else if (run->report.culprit.v)
        search->avoid.nr[search->avoid.n++] = kl_pfn_nr(run->report.culprit);
    run->report.culprit = (kl_pfn){0};
}

/* Frames that are free or could be: enough of them is enough, wherever they are. */
static bool has_room(struct kl_zone *zone, uint32_t n)
{
    return kli_free_frames(zone) + (uint64_t)kli_populatable(zone) * zone->block_frames >= n;
}

/* Looks for a window and takes it, and another one if that fails. */
static int take_any(struct kli_search *search, kl_owner_id owner, kl_pfn *first)
{
    enum { RELAX_LONG = 16 };
    const struct kl_host *host = &search->run->zone->host;
    int err = -KL_EBUSY;

    for (unsigned i = 0; i < sizeof(search->avoid.nr) / sizeof(search->avoid.nr[0]); i++) {
        struct kli_window window = {0};

        err = kli_window_find(search, &window);
        if (err)
            return err;
        err = take_window(search->run, &window, owner);
        if (err == 0) {
            *first = kli_pfn(search->run->zone, window.first);
            return 0;
        }
        if (err == -KL_ENOMEM && search->spare == 0)
            return err;
        if (err == -KL_EAGAIN) /* somebody else's fence */
            host->relax(host->ctx, RELAX_LONG + i);
        learn(search, err);
    }
    return err;
}

/* This window and no other. */
static int take_exactly(struct kli_run *run, const struct kli_window *w, kl_owner_id owner)
{
    static const unsigned tries[] = {[KL_ASYNC] = 1, [KL_SYNC_LIGHT] = 8, [KL_SYNC] = 64};
    const struct kl_host *host = &run->zone->host;
    int err = -KL_EAGAIN;

    for (unsigned i = 0; i < tries[run->mode] && err == -KL_EAGAIN; i++) {
        if (i > 0)
            host->relax(host->ctx, i);
        err = take_window(run, w, owner);
    }
    return err;
}

static int contig_run(struct kl_zone *zone, kl_owner_id owner, struct kli_search *search,
                      const struct kli_window *exact, enum kl_mode mode, kl_pfn *first,
                      struct kl_report *report)
{
    struct kli_run run;
    int err;

    kli_run_begin(&run, zone, mode);
    run.may_populate = true;
    search->run = &run;
    search->spare = kli_populatable(zone);
    if (!has_room(zone, exact ? exact->n : search->n))
        err = -KL_ENOMEM;
    else
        err = exact ? take_exactly(&run, exact, owner) : take_any(search, owner, first);
    if (err == 0)
        run.report.culprit = (kl_pfn){0};
    kli_run_end(&run, report);
    return err == -KL_EAGAIN ? -KL_EBUSY : err;
}

int kl_contig_alloc(struct kl_zone *zone, kl_owner_id owner, uint32_t frames, uint32_t align,
                    enum kl_mode mode, kl_pfn *first, struct kl_report *report)
{
    struct kli_search search = {.n = frames, .align = align};

    if (report)
        *report = (struct kl_report){.size = sizeof(*report)};
    if (frames == 0 || frames > zone->frames || !kli_is_pow2(align) || (unsigned)mode > KL_SYNC ||
        !kli_owner_is(zone, owner.v))
        return -KL_EINVAL;
    search.end = kli_owner(zone, owner.v)->end;
    if (frames > (uint64_t)search.end << zone->block_order)
        return -KL_ENOMEM;
    return contig_run(zone, owner, &search, NULL, mode, first, report);
}

int kl_contig_alloc_at(struct kl_zone *zone, kl_owner_id owner, kl_pfn first, uint32_t frames,
                       enum kl_mode mode, struct kl_report *report)
{
    struct kli_window window = {kl_pfn_nr(first), frames};
    struct kli_search search = {.n = frames};

    if (report)
        *report = (struct kl_report){.size = sizeof(*report)};
    if (frames == 0 || !kli_pfn_ok(zone, first) || frames > zone->frames - window.first ||
        (unsigned)mode > KL_SYNC || !kli_owner_is(zone, owner.v) ||
        last_block(zone, &window) >= kli_owner(zone, owner.v)->end)
        return -KL_EINVAL;
    return contig_run(zone, owner, &search, &window, mode, NULL, report);
}

static bool all_are(const struct kl_zone *zone, kl_owner_id owner, uint32_t first, uint32_t n)
{
    uint64_t want = kli_f_make(0, owner.v, 0);

    for (uint32_t nr = first; nr < first + n; nr++) {
        uint64_t word = kli_state(zone, nr) & ~KLI_F_LOCKED;

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
