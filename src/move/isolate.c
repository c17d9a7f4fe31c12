// SPDX-License-Identifier: Apache-2.0
/* Isolation of one allocation, step by step as the kernel does it:
 *
 *   get a reference unless there is none -> look at the kind without the lock ->
 *   reserve a destination -> lock (try, or wait within a bound) -> look again ->
 *   the owner's isolate -> mark isolated -> unlock, reference kept.
 *
 * An owner that refuses before its isolate (KLI_STUCK) ends what the run wanted to empty.
 * Whatever fails undoes what came before it, in reverse.
 */
#include "move/run.h"

bool kli_lock_frame(struct kl_zone *zone, uint32_t nr, enum kl_mode mode)
{
    static const unsigned rounds[] = {[KL_ASYNC] = 1, [KL_SYNC_LIGHT] = 8, [KL_SYNC] = 32};

    for (unsigned i = 0; i < rounds[mode]; i++) {
        if (kli_apply(&zone->frame[nr].state, kli_f_trylock, 0, NULL))
            return true;
        if (i + 1 == rounds[mode])
            break;
        KLI_TRACE(stall_frame, KLI_TAG(zone), nr, i);
        zone->host.relax(zone->host.ctx, i);
    }
    return false;
}

/* Frees a destination that was not used; it is locked and nobody knows it. */
void kli_drop_target(struct kl_zone *zone, kl_pfn dst)
{
    uint32_t nr = kl_pfn_nr(dst);

    kli_settle(zone, nr, kli_f_free, kli_f_owner(kli_state(zone, nr)));
    kli_settle(zone, nr, kli_f_unlock, 0);
}

static enum kli_found look(uint64_t word)
{
    if (!(word & KLI_F_KIND) || kli_f_pins(word) > 0)
        return KLI_STUCK;
    if (!(word & KLI_F_MOVABLE) || (word & KLI_F_ISOLATED))
        return KLI_BUSY;
    return KLI_ISOLATED;
}

/* The owner's turn, with the frame locked; ends with the mark or without a trace.  seen:
 * the word for which the destination was chosen; it may have been handed over since. */
static enum kli_found ask_owner(struct kli_run *run, uint32_t nr, uint64_t seen)
{
    struct kl_zone *zone = run->zone;
    uint64_t word = kli_state(zone, nr);
    unsigned id = kli_f_owner(word);
    const struct kli_owner *owner = kli_owner(zone, id);
    kl_pfn pfn = kli_pfn(zone, nr);
    enum kli_found found = look(word);

    if (found != KLI_ISOLATED)
        return found;
    if (id != kli_f_owner(seen))
        return KLI_BUSY;
    if (owner->ops.refuses && owner->ops.refuses(owner->ctx, pfn, run->mode)) {
        KLI_TRACE(isolate_refused, KLI_TAG(zone), nr, id);
        kli_blame_owner(run, nr, word);
        return KLI_STUCK;
    }
    if (!owner->ops.isolate(owner->ctx, pfn, run->mode)) {
        KLI_TRACE(isolate_refused, KLI_TAG(zone), nr, id);
        return KLI_BUSY;
    }
    KLI_TRACE_STEP(isolate_asked, KLI_TAG(zone), nr, id);
    if (kli_apply(&zone->frame[nr].state, kli_f_isolate, 0, NULL)) {
        KLI_TRACE_STEP(isolate_marked, KLI_TAG(zone), nr, id);
        return KLI_ISOLATED;
    }
    KLI_TRACE(isolate_overtaken, KLI_TAG(zone), nr, id);
    if (kli_state(zone, nr) & KLI_F_MOVABLE)
        owner->ops.putback(owner->ctx, pfn); /* pinned in between */
    return KLI_BUSY;
}

/* Not while it is leaving: its walk may be past the destination. (owner.c, O2) */
static bool owner_stays(struct kl_zone *zone, uint32_t dst)
{
    uint64_t word = atomic_fetch_or(&zone->frame[dst].state, 0); /* the store, in order */

    atomic_fetch_or(&zone->block[kli_block_of(zone, dst)], 0); /* and the reservation */
    return kli_owner_is(zone, kli_f_owner(word));
}

/* With a reference held: everything up to the mark. */
static enum kli_found isolate_held(struct kli_run *run, uint32_t nr, struct kl_move *move)
{
    struct kl_zone *zone = run->zone;
    uint64_t word = kli_state(zone, nr);
    enum kli_found found = look(word);
    uint32_t dst;

    if (found != KLI_ISOLATED)
        return found;
    if (!kli_target(run, kli_f_order(word), kli_f_owner(word), &dst))
        return KLI_NO_ROOM;
    *move = (struct kl_move){.dst = kli_pfn(zone, dst), .src = kli_pfn(zone, nr)};
    KLI_TRACE_STEP(isolate_target, KLI_TAG(zone), nr, dst);
    found = KLI_BUSY;
    if (owner_stays(zone, dst) && kli_lock_frame(zone, nr, run->mode)) {
        KLI_TRACE_STEP(isolate_locked, KLI_TAG(zone), nr, dst);
        found = ask_owner(run, nr, word);
        kli_settle(zone, nr, kli_f_unlock, 0);
        KLI_TRACE_STEP(isolate_unlocked, KLI_TAG(zone), nr, found);
    }
    if (found != KLI_ISOLATED)
        kli_drop_target(zone, move->dst);
    return found;
}

enum kli_found kli_isolate(struct kli_run *run, uint32_t nr, struct kl_move *move)
{
    struct kl_zone *zone = run->zone;
    enum kli_found found;
    uint64_t seen;
    bool held;

    KLI_TRACE(isolate_begin, KLI_TAG(zone), nr, run->mode);
    held = kli_apply(&zone->frame[nr].state, kli_f_get, 0, &seen);
    kli_tally(run, kli_f_owner(seen), KLI_C_SCANNED);
    if (!held)
        return (seen & KLI_F_HEAD) ? KLI_BUSY : KLI_NOTHING;
    KLI_TRACE_STEP(isolate_got, KLI_TAG(zone), nr, kli_f_owner(seen));
    found = isolate_held(run, nr, move);
    if (found == KLI_ISOLATED) { /* the reference is kept */
        kli_tally(run, kli_f_owner(seen), KLI_C_ISOLATED);
    } else {
        if (found == KLI_STUCK)
            kli_blame(run, nr, kli_state(zone, nr));
        KLI_TRACE_STEP(isolate_undone, KLI_TAG(zone), nr, found);
        kli_settle(zone, nr, kli_f_put, 0);
    }
    KLI_TRACE(isolate_end, KLI_TAG(zone), nr, found);
    return found;
}
