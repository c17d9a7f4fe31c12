// SPDX-License-Identifier: Apache-2.0
/* klotski/movable.h - owners, and how their frames are moved.
 *
 * The contract is that of the kernel's movable_operations (driver-page
 * migration, 2015 and after):
 *
 *   isolate   the owner promises not to hand the frame out again until it is
 *             migrated or put back.  It may free it meanwhile.
 *   migrate   contents and identity go from src to dst.
 *   putback   undoes isolate.
 *
 * Exactly one of {migrated, put back, freed} follows each isolation; a frame is
 * never isolated twice.  For a frame that the owner freed while it was isolated
 * no callback begins any more.  One that has just begun may be about to take the
 * owner's lock: under it, the owner sees that the frame is not its own any more,
 * and answers false, an error, or does nothing.  (Or the owner frees with the
 * frame's lock held, kl_frame_trylock: then no callback is on its way.)
 *
 * Locks: every callback is called with the frames it names locked by the
 * framework (do not lock them again) and with no other lock of Klotski held.
 * A callback may take the owner's own locks and may call kl_frame_free and
 * kl_frame_alloc (with KL_NOWAIT) but no function that moves frames.
 *
 * An owner of buffers, each of which is one frame; buf->pfn and buf->moving belong
 * to buf->lock, the private word of the frame is the buffer's address:
 *
 *   isolate:  buf = private(frame); none yet: return false (it has just been
 *             allocated).  Lock.  In use, or buf->pfn is not frame: return false.
 *             buf->moving = true.  Unlock, return true.
 *   migrate:  Lock.  buf->pfn is not src: unlock, return an error (it was freed).
 *             kl_frame_copy(dst, src), or however the contents get there;
 *             set_private(dst, buf); buf->pfn = dst;
 *             buf->moving = false.  Unlock, return 0.
 *   putback:  Lock.  buf->moving = false.  Unlock.
 *   use:      Lock.  buf->moving: unlock and wait, or unlock and allocate another.
 *             Mark it in use.  Unlock.  Now it stays where it is.
 *   free:     Lock.  kl_frame_free(buf->pfn); buf->pfn = none.  Unlock.
 *
 * A migrate that keeps answering -KL_EAGAIN is asked again until nothing has moved
 * for 5 ms (KL_SYNC_LIGHT) or 200 ms (KL_SYNC); in KL_ASYNC three times.
 */
#ifndef KLOTSKI_MOVABLE_H
#define KLOTSKI_MOVABLE_H

#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One move of a batch.  `result` says what became of it:
 *   0            dst has contents and identity, src is blank and nobody's
 *   -KL_EAGAIN   busy; nothing changed; may be tried again (bounded)
 *   other < 0    permanent for this run; nothing changed
 *   KL_PENDING   under way; kl_move_done will be called */
struct kl_move {
    kl_pfn dst;
    kl_pfn src;
    int result;
    void *priv; /* the framework's own */
};

#define KL_PENDING 1

struct kl_owner_ops {
    size_t size;      /* sizeof(struct kl_owner_ops) */
    const char *name; /* for statistics; the first 31 characters are copied */

    /* Called with the frame locked and a reference held.  false: not now. */
    bool (*isolate)(void *ctx, kl_pfn frame, enum kl_mode mode);

    /* Both frames locked.  As `result` above, but never KL_PENDING. */
    int (*migrate)(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode);

    /* The frame is locked. */
    void (*putback)(void *ctx, kl_pfn frame);

    /* Optional, instead of migrate: n moves at once, all frames locked.  Sets
     * every result and returns how many of them it set to KL_PENDING (before
     * anybody could finish them).  Those are finished by kl_move_done, from any
     * thread; their frames stay locked, and the caller waits, until then. */
    size_t (*migrate_batch)(void *ctx, struct kl_move *moves, size_t n, enum kl_mode mode);

    /* Optional pair: before any of these frames is locked for its migration, and
     * after the last one is unlocked.  The place to wait for a device.  A prepare
     * that fails (negative) puts the frames back; finish is not called then. */
    int (*prepare)(void *ctx, const kl_pfn *frames, size_t n, enum kl_mode mode);
    void (*finish)(void *ctx, const kl_pfn *frames, size_t n);

    /* The highest pfn, as a bound: its frames, also after a move, have numbers
     * below this one.  0: anywhere.  Rounded down to whole blocks. */
    uint32_t below;

    /* Optional: is there a reason why this frame can't be moved just now?  If so,
     * says it in a few words ("read open"), at most `bytes` with their end, and
     * returns true.  Called with a reference held and nothing locked, so that it may
     * be the owner's no more; must not wait.  For reports only. */
    bool (*explain)(void *ctx, kl_pfn frame, char *text, size_t bytes);

    /* Optional: is it certain now that a run of this mode can't move the frame, however often it
     * asks?  Called before isolate, with the frame locked; must not wait.  true is "busy": the
     * run gives up what it wanted to empty, at once, and explain says why. */
    bool (*refuses)(void *ctx, kl_pfn frame, enum kl_mode mode);
};

/* Registers an owner.  ops == NULL or without callbacks: its frames are
 * unmovable.  ops is copied.  -KL_EINVAL: some but not all of isolate, putback
 * and one of the two migrates, or below is not 0 and less than a block.  -KL_ENOSPC: 255 owners are
 * registered. */
int kl_owner_register(struct kl_zone *zone, const struct kl_owner_ops *ops, void *ctx,
                      kl_owner_id *owner);

/* -KL_EBUSY while a frame of it is allocated or isolated.  -KL_EINVAL: no such owner.
 * After 0 no callback runs and none will.  The owner allocates nothing meanwhile. */
int kl_owner_unregister(struct kl_zone *zone, kl_owner_id owner);

/* Reports a pending move done with 0 or a negative error.  Once per move. */
void kl_move_done(struct kl_move *move, int result);

/* The frame lock, for owners: whoever holds it keeps every callback off the
 * frame.  trylock: false when somebody holds it, or the frame is not this
 * owner's any more.  Never blocks. */
bool kl_frame_trylock(struct kl_zone *zone, kl_owner_id owner, kl_pfn frame);
void kl_frame_unlock(struct kl_zone *zone, kl_pfn frame);

/* A pin keeps the frame where it is.  Counted; call it under the owner's lock
 * that its isolate takes too.  Pins are for an object of the owner, which knows
 * where the object is now.  These are the short kind, without a name or a reason:
 * a few instructions, for moments.  What lasts is pinned as an object
 * (klotski/pin.h).  Both count together: a frame stays as long as one of either is
 * left; but unpin ends only what pin began.
 * pin: -KL_EBUSY when the frame is isolated (it may be moving: wait for the end
 * of the migration in your own callback and pin what the object has then),
 * -KL_EINVAL when it is not this owner's, -KL_ENOSPC after 4095 pins of one frame.
 * A pin that comes right after your isolate, before the framework has marked the
 * frame, succeeds: the frame is put back then.
 * unpin: -KL_EINVAL when it is not pinned. */
int kl_frame_pin(struct kl_zone *zone, kl_owner_id owner, kl_pfn frame);
int kl_frame_unpin(struct kl_zone *zone, kl_owner_id owner, kl_pfn frame);

/* For migrate: copies the 2^order frames of src to those of dst.
 * -KL_EINVAL: not two allocations of this zone, of one order.
 * -KL_ENOTSUP: the zone has offsets only; nobody but the owner can copy there. */
int kl_frame_copy(struct kl_zone *zone, kl_pfn dst, kl_pfn src);

#ifdef __cplusplus
}
#endif
#endif
