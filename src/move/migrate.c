// SPDX-License-Identifier: Apache-2.0
/* Migration of isolated frames: every isolation ends here, as exactly one of
 * migrated, put back, freed.
 *
 * Source and destination are locked while the owner's migrate runs: the source by
 * us, now; the destination since it was reserved.  Frames of one owner go
 * together, so that its prepare and migrate_batch see all of them.
 */
#include "frame/share.h"
#include "move/run.h"

/* What kl_move.priv points to while the owner has the moves. */
struct landing {
    _Atomic uint32_t done;
};

void kl_move_done(struct kl_move *move, int result)
{
    struct landing *landing = move->priv;

    move->result = result;
    atomic_fetch_add_explicit(&landing->done, 1, memory_order_release);
}

static void wait_landed(struct kl_zone *zone, struct landing *landing, size_t pending)
{
    for (unsigned i = 0; atomic_load_explicit(&landing->done, memory_order_acquire) < pending;
         i++) {
        KLI_TRACE(stall_landing, KLI_TAG(zone), pending, i);
        zone->host.relax(zone->host.ctx, i);
    }
}

static const struct kli_owner *owner_of(struct kl_zone *zone, kl_pfn pfn)
{
    return kli_owner(zone, kli_f_owner(kli_state(zone, kl_pfn_nr(pfn))));
}

static void unlock_and_put(struct kl_zone *zone, uint32_t src)
{
    kli_settle(zone, src, kli_f_unlock, 0);
    kli_settle(zone, src, kli_f_put, 0);
}

/* Not moved: the owner gets it back, unless it freed it. */
static void put_back_locked(struct kli_run *run, const struct kl_move *move)
{
    struct kl_zone *zone = run->zone;
    uint32_t src = kl_pfn_nr(move->src), dst = kl_pfn_nr(move->dst);
    unsigned id = kli_f_owner(kli_state(zone, src));
    const struct kli_owner *owner = kli_owner(zone, id);

    KLI_TRACE(putback_begin, KLI_TAG(zone), src, dst);
    if (kli_state(zone, src) & KLI_F_MOVABLE) {
        KLI_TRACE_STEP(putback_call, KLI_TAG(zone), src, dst);
        owner->ops.putback(owner->ctx, move->src);
        kli_tally(run, id, KLI_C_PUT_BACK);
        KLI_TRACE_STEP(putback_called, KLI_TAG(zone), src, dst);
    } else {
        kli_tally(run, id, KLI_C_FREED);
        KLI_TRACE(putback_freed, KLI_TAG(zone), src, dst);
    }
    kli_drop_target(zone, move->dst);
    KLI_TRACE_STEP(putback_dropped, KLI_TAG(zone), src, dst);
    KLI_REQUIRE(&zone->host, kli_apply(&zone->frame[src].state, kli_f_release, 0, NULL));
    KLI_TRACE_STEP(putback_released, KLI_TAG(zone), src, dst);
    unlock_and_put(zone, src);
    KLI_TRACE(putback_end, KLI_TAG(zone), src, dst);
}

/* Owners hold a frame's lock for moments only, so this wait ends. */
static void lock_source(struct kl_zone *zone, uint32_t src)
{
    for (unsigned i = 0; !kli_apply(&zone->frame[src].state, kli_f_trylock, 0, NULL); i++) {
        KLI_TRACE(stall_frame, KLI_TAG(zone), src, i);
        zone->host.relax(zone->host.ctx, i);
    }
}

static void put_back(struct kli_run *run, const struct kl_move *move)
{
    lock_source(run->zone, kl_pfn_nr(move->src));
    put_back_locked(run, move);
}

/* Contents and identity are in dst: it goes on as the owner's frame.  false: the
 * owner freed src in the meantime, and that is what happened to it. */
static bool commit(struct kli_run *run, const struct kl_move *move)
{
    struct kl_zone *zone = run->zone;
    uint32_t src = kl_pfn_nr(move->src), dst = kl_pfn_nr(move->dst);
    uint64_t word;

    kli_share_before(zone, src);
    if (!kli_apply(&zone->frame[src].state, kli_f_moved, 0, &word))
        return false;
    KLI_TRACE_STEP(migrate_moved, KLI_TAG(zone), src, dst);
    kli_share_carry(zone, word, dst);
    atomic_store_explicit(&zone->frame[src].priv, 0, memory_order_relaxed);
    KLI_REQUIRE(&zone->host, kli_settle(zone, dst, kli_f_publish, 0));
    KLI_TRACE_STEP(migrate_published, KLI_TAG(zone), src, dst);
    kli_tally(run, kli_f_owner(kli_state(zone, src)), KLI_C_MIGRATED);
    unlock_and_put(zone, src);
    KLI_TRACE(migrate_end, KLI_TAG(zone), src, dst);
    return true;
}

static enum kli_found conclude(struct kli_run *run, const struct kl_move *move)
{
    uint32_t src = kl_pfn_nr(move->src);
    bool again = move->result == -KL_EAGAIN;
    uint64_t word;

    KLI_REQUIRE(&run->zone->host, move->result != KL_PENDING);
    KLI_TRACE(migrate_result, KLI_TAG(run->zone), src, move->result);
    if (move->result == 0 && commit(run, move))
        return KLI_ISOLATED;
    word = kli_state(run->zone, src);
    again |= !(word & KLI_F_MOVABLE); /* freed: nothing has failed */
    if (!again) {
        kli_tally(run, kli_f_owner(word), KLI_C_FAILED);
        kli_blame_owner(run, src, word);
    }
    put_back_locked(run, move);
    return again ? KLI_BUSY : KLI_STUCK;
}

static void call_migrate(struct kli_run *run, const struct kli_owner *owner, struct kl_move *moves,
                         size_t n)
{
    struct landing landing = {0};

    if (!owner->ops.migrate_batch) {
        for (size_t i = 0; i < n; i++)
            moves[i].result = owner->ops.migrate(owner->ctx, moves[i].dst, moves[i].src, run->mode);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        moves[i].priv = &landing;
        moves[i].result = -KL_EIO; /* if the owner forgets one */
    }
    wait_landed(run->zone, &landing, owner->ops.migrate_batch(owner->ctx, moves, n, run->mode));
}

/* Locks the sources; those that are freed or stay locked end here.  Returns how
 * many are left, at the front. */
static size_t lock_sources(struct kli_run *run, struct kl_move *moves, size_t n)
{
    struct kl_zone *zone = run->zone;
    size_t left = 0;

    for (size_t i = 0; i < n; i++) {
        struct kl_move move = moves[i];
        uint32_t src = kl_pfn_nr(move.src), dst = kl_pfn_nr(move.dst);

        if (!kli_lock_frame(zone, src, run->mode)) {
            KLI_TRACE(migrate_unlockable, KLI_TAG(zone), src, dst);
            put_back(run, &move);
            continue;
        }
        KLI_TRACE_STEP(migrate_locked, KLI_TAG(zone), src, dst);
        if (!(kli_state(zone, src) & KLI_F_MOVABLE))
            put_back_locked(run, &move);
        else
            moves[left++] = move;
    }
    return left;
}

static enum kli_found worse(enum kli_found a, enum kli_found b)
{
    return a > b ? a : b;
}

static enum kli_found migrate_prepared(struct kli_run *run, const struct kli_owner *owner,
                                       struct kl_move *moves, size_t n)
{
    enum kli_found found = KLI_ISOLATED;
    size_t left = lock_sources(run, moves, n);

    if (left < n)
        found = KLI_BUSY;
    if (left > 0) {
        KLI_TRACE(migrate_call, KLI_TAG(run->zone), kl_pfn_nr(moves[0].src), left);
        call_migrate(run, owner, moves, left);
    }
    for (size_t i = 0; i < left; i++)
        found = worse(found, conclude(run, &moves[i]));
    return found;
}

static void put_back_all(struct kli_run *run, const struct kl_move *moves, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put_back(run, &moves[i]);
}

/* With prepare and finish around.  The owner is counted in while its frames are
 * isolated, and out when finish is done. (owner.c, O3) */
static enum kli_found migrate_with_prepare(struct kli_run *run, struct kli_owner *owner,
                                           struct kl_move *moves, size_t n)
{
    enum kli_found found = KLI_BUSY;
    kl_pfn frames[KLI_BATCH];
    int err;

    for (size_t i = 0; i < n; i++)
        frames[i] = moves[i].src;
    atomic_fetch_add(&owner->calls, 1);
    KLI_TRACE(prepare_begin, KLI_TAG(run->zone), kl_pfn_nr(frames[0]), n);
    err = owner->ops.prepare(owner->ctx, frames, n, run->mode);
    KLI_TRACE(prepare_end, KLI_TAG(run->zone), kl_pfn_nr(frames[0]), err);
    if (err < 0) {
        put_back_all(run, moves, n);
    } else {
        found = migrate_prepared(run, owner, moves, n);
        owner->ops.finish(owner->ctx, frames, n);
    }
    atomic_fetch_sub(&owner->calls, 1);
    return found;
}

/* The frames of one owner. */
static enum kli_found migrate_group(struct kli_run *run, struct kl_move *moves, size_t n)
{
    uint64_t word = kli_state(run->zone, kl_pfn_nr(moves[0].dst));
    struct kli_owner *owner = &run->zone->owner[kli_f_owner(word)];

    KLI_TRACE(migrate_begin, KLI_TAG(run->zone), kl_pfn_nr(moves[0].src), n);
    if (owner->ops.prepare)
        return migrate_with_prepare(run, owner, moves, n);
    return migrate_prepared(run, owner, moves, n);
}

enum kli_found kli_migrate(struct kli_run *run, struct kl_move *moves, size_t n)
{
    enum kli_found found = KLI_ISOLATED;
    size_t end;

    for (size_t at = 0; at < n; at = end) {
        const struct kli_owner *owner = owner_of(run->zone, moves[at].dst);

        for (end = at + 1; end < n && owner_of(run->zone, moves[end].dst) == owner;)
            end++;
        found = worse(found, migrate_group(run, moves + at, end - at));
    }
    return found;
}

void kli_arrive(struct kli_run *run, struct kl_move *moves, size_t n)
{
    struct kl_zone *zone = run->zone;

    for (size_t i = 0; i < n; i++) {
        struct kl_move *move = &moves[i];
        const struct kli_owner *owner = owner_of(zone, move->dst);

        lock_source(zone, kl_pfn_nr(move->src));
        if (move->result == 0 && (kli_state(zone, kl_pfn_nr(move->src)) & KLI_F_MOVABLE))
            move->result = owner->ops.migrate(owner->ctx, move->dst, move->src, run->mode);
        conclude(run, move);
    }
}
