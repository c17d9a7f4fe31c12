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

    kli_apply(&run->zone->block[kli_block_of(run->zone, part->first)], kli_b_put,
              n | n * KLI_B_STUCK, NULL);
}

/* Takes the bits of the window; -KL_EAGAIN: somebody was on the way in. */
static int claim_window(struct kli_run *run, const struct kli_window *w)
{
    struct kl_zone *zone = run->zone;

    for (uint32_t b = first_block(zone, w); b <= last_block(zone, w); b++) {
        struct kli_window part = part_in(zone, w, b);
        bool counted = kli_apply(&zone->block[b], kli_b_claim, part.n, NULL);

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

static void avoid_culprit(struct kli_run *run, struct kli_avoid *avoid)
{
    if (!run->report.culprit.v)
        return;
    avoid->nr[avoid->n++] = kl_pfn_nr(run->report.culprit);
}

static int contig_run(struct kli_run *run, kl_owner_id owner, uint32_t n, uint32_t align,
                      kl_pfn *first)
{
    enum { RELAX_LONG = 16 };
    struct kli_avoid avoid = {.n = 0};
    int err = -KL_EBUSY;

    run->may_populate = true;
    for (unsigned i = 0; i < sizeof(avoid.nr) / sizeof(avoid.nr[0]); i++) {
        struct kli_window window = {0};

        err = kli_window_find(run, n, align, &avoid, &window);
        if (err)
            return err;
        err = take_window(run, &window, owner);
        if (err == 0) {
            *first = kli_pfn(run->zone, window.first);
            run->report.culprit = (kl_pfn){0};
            return 0;
        }
        if (err == -KL_ENOMEM)
            return err;
        if (err == -KL_EAGAIN) /* somebody else's fence */
            run->zone->host.relax(run->zone->host.ctx, RELAX_LONG + i);
        avoid_culprit(run, &avoid);
        run->report.culprit = (kl_pfn){0};
    }
    return err == -KL_EAGAIN ? -KL_EBUSY : err;
}

int kl_contig_alloc(struct kl_zone *zone, kl_owner_id owner, uint32_t frames, uint32_t align,
                    enum kl_mode mode, kl_pfn *first, struct kl_report *report)
{
    struct kli_run run;
    int err;

    if (report)
        *report = (struct kl_report){.size = sizeof(*report)};
    if (frames == 0 || frames > zone->frames || !kli_is_pow2(align) || (unsigned)mode > KL_SYNC ||
        !kli_owner_is(zone, owner.v))
        return -KL_EINVAL;
    err = kli_run_begin(&run, zone, mode);
    if (err)
        return err;
    err = contig_run(&run, owner, frames, align, first);
    kli_run_end(&run, report);
    return err;
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
