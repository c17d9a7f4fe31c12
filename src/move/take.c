// SPDX-License-Identifier: Apache-2.0
/* Taking a window of frames.
 *
 * Fence its blocks in ascending order (backing off from all of them when one can't
 * be fenced), empty it, claim its frames, lift the fences.  When a frame turns out
 * not to move, it is remembered and the next best window is tried.
 */
#include "move/take.h"

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

static bool is_movable(const struct kli_taker *taker)
{
    return taker->flags & KLI_F_KIND;
}

/* Is the block of an area, and not to be had by this one? (block.h, B6) */
static bool is_kept_off(struct kli_run *run, const struct kli_taker *taker, uint32_t block)
{
    if (taker->yield || is_movable(taker) || !(kli_block_word(run->zone, block) & KLI_B_CMA))
        return false;
    kli_blame_area(run, block);
    return true;
}

/* Fences every block of the window, absent ones after getting memory for them. */
static int fence_window(struct kli_run *run, const struct kli_window *w,
                        const struct kli_taker *taker)
{
    for (uint32_t b = first_block(run->zone, w); b <= last_block(run->zone, w); b++) {
        int err = 0;

        if (kli_b_parted(kli_block_word(run->zone, b))) {
            kli_blame_area(run, b);
            err = -KL_EBUSY;
        } else if (kli_block_word(run->zone, b) & KLI_B_ABSENT) {
            err = kli_populate(run->zone, b);
        }
        if (err == -KL_ENOMEM)
            kli_blame_room(run);
        if (!err && is_kept_off(run, taker, b)) {
            err = -KL_EBUSY;
        } else if (!err && !kli_fence(run, b)) {
            kli_blame_fence(run, b);
            err = -KL_EAGAIN;
        }
        if (err) {
            unfence_window(run, w, b);
            return err;
        }
    }
    return 0;
}

static void unclaim(struct kl_zone *zone, const struct kli_window *part, bool unmovable)
{
    kli_block_step(zone, kli_block_of(zone, part->first), kli_b_put,
                   part->n | (unmovable ? part->n * KLI_B_STUCK : 0));
}

/* Counts the part and takes its bits; false: somebody was on the way in. */
static bool claim_part(struct kl_zone *zone, const struct kli_window *part,
                       const struct kli_taker *taker)
{
    uint32_t block = kli_block_of(zone, part->first);
    uint64_t arg =
        part->n | (uint64_t)zone->block_frames << 20 | (taker->yield ? KLI_B_BY_AREA : 0);
    bool unmovable = !is_movable(taker);

    KLI_TRACE_STEP(claim_begin, KLI_TAG(zone), part->first, part->n);
    if (!kli_block_step(zone, block, unmovable ? kli_b_claim : kli_b_lodge, arg))
        return false;
    KLI_TRACE_STEP(claim_counted, KLI_TAG(zone), part->first, part->n);
    if (kli_bits_take_at(zone, part->first, part->n)) {
        KLI_TRACE_STEP(claim_taken, KLI_TAG(zone), part->first, part->n);
        return true;
    }
    unclaim(zone, part, unmovable);
    KLI_TRACE(claim_refused, KLI_TAG(zone), part->first, part->n);
    return false;
}

/* The whole window, or -KL_EAGAIN. */
static int claim_window(struct kl_zone *zone, const struct kli_window *w,
                        const struct kli_taker *taker)
{
    for (uint32_t b = first_block(zone, w); b <= last_block(zone, w); b++) {
        struct kli_window part = part_in(zone, w, b);

        if (claim_part(zone, &part, taker))
            continue;
        for (uint32_t back = first_block(zone, w); back < b; back++) {
            part = part_in(zone, w, back);
            kli_bits_clear(zone, part.first, part.n);
            unclaim(zone, &part, !is_movable(taker));
        }
        return -KL_EAGAIN;
    }
    return 0;
}

/* One unit of its order, or single frames. */
static void name_frames(struct kl_zone *zone, const struct kli_window *w,
                        const struct kli_taker *taker)
{
    uint32_t step = 1u << taker->order;

    for (uint32_t nr = w->first; nr < w->first + w->n; nr += step)
        kli_name_frame(zone, nr, taker->order, taker->owner, taker->flags);
}

/* A window whose blocks are fenced: empties and claims it. */
static int take_fenced(struct kli_run *run, const struct kli_window *w,
                       const struct kli_taker *taker)
{
    enum { TRIES = 20 };
    int err = -KL_EAGAIN;

    for (unsigned i = 0; i < TRIES && err == -KL_EAGAIN; i++) {
        err = kli_evacuate(run, w->first, w->n);
        if (err == 0)
            err = claim_window(run->zone, w, taker);
        if (err == -KL_EAGAIN)
            run->zone->host.relax(run->zone->host.ctx, i);
    }
    return err == -KL_EAGAIN ? -KL_EBUSY : err;
}

static int take_window(struct kli_run *run, const struct kli_window *w,
                       const struct kli_taker *taker)
{
    int err;

    kli_absolve(run); /* of the last window */
    err = fence_window(run, w, taker);
    if (err)
        return err;
    if (taker->yield)
        taker->yield(taker->ctx, w);
    run->keep_nr = w->first;
    run->keep_n = w->n;
    err = take_fenced(run, w, taker);
    run->keep_n = 0;
    if (err == 0)
        name_frames(run->zone, w, taker);
    unfence_window(run, w, last_block(run->zone, w) + 1);
    return err;
}

static void avoid_first(struct kli_search *search, const struct kli_window *w)
{
    const struct kl_zone *zone = search->run->zone;

    for (uint32_t nr = w->first; nr < w->first + w->n; nr++) {
        uint32_t head = kli_head_of(zone, nr);

        if (kli_state(zone, head) & KLI_F_HEAD) {
            search->avoid.nr[search->avoid.n++] = nr;
            return;
        }
    }
}

/* What stood in the way is not tried again. */
static void learn(struct kli_search *search, const struct kli_window *window, int err)
{
    struct kli_run *run = search->run;

    if (err == -KL_ENOMEM && search->spare > 0)
        search->spare = 0; /* no memory for absent blocks */
    else if (err == -KL_ENOMEM)
        avoid_first(search, window); /* no room for what stands there; elsewhere perhaps */
    else if (run->report.culprit.v)
        search->avoid.nr[search->avoid.n++] = kl_pfn_nr(run->report.culprit);
}

/* Looks for a window and takes it, and another one if that fails. */
int kli_take_any(struct kli_search *search, const struct kli_taker *taker, uint32_t *first)
{
    enum { RELAX_LONG = 16 };
    const struct kl_host *host = &search->run->zone->host;
    int err = -KL_EBUSY, found;

    search->movable = is_movable(taker);
    for (unsigned i = 0; i < search->tries; i++) {
        struct kli_window window = {0};

        search->run->hopeless = 0; /* other units stand in another window */
        found = kli_window_find(search, &window);
        if (found && err == -KL_ENOMEM) { /* the last one failed for want of room */
            kli_absolve(search->run);
            kli_blame_room(search->run);
            return err;
        }
        if (found)
            return found;
        KLI_TRACE(contig_window, KLI_TAG(search->run->zone), window.first, window.n);
        err = take_window(search->run, &window, taker);
        if (err == 0) {
            *first = window.first;
            return 0;
        }
        if (err == -KL_EAGAIN) /* somebody else's fence */
            host->relax(host->ctx, RELAX_LONG + i);
        learn(search, &window, err);
    }
    return err;
}

int kli_take_exactly(struct kli_run *run, const struct kli_window *w, const struct kli_taker *taker)
{
    static const unsigned tries[] = {[KL_ASYNC] = 1, [KL_SYNC_LIGHT] = 8, [KL_SYNC] = 64};
    const struct kl_host *host = &run->zone->host;
    int err = -KL_EAGAIN;

    for (unsigned i = 0; i < tries[run->mode] && err == -KL_EAGAIN; i++) {
        if (i > 0)
            host->relax(host->ctx, i);
        err = take_window(run, w, taker);
    }
    return err;
}
