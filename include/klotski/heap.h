// SPDX-License-Identifier: Apache-2.0
/* klotski/heap.h - buffers in a device's memory, moved by the device's own copy engine.
 *
 * A heap is a client of a zone, mostly of one without addresses (kl_backing_offsets): it hands
 * out buffers by their offset, and the contents are moved by whoever can reach them.  After the
 * defragmentation passes of GPU memory allocators.
 *
 * Two ways to move, by the same engine:
 *
 *   a pass     kl_heap_pass isolates a bounded number of buffers and bytes, asks for each one
 *              (copy, ignore, destroy), hands the copies to the engine's queue as one batch,
 *              and returns.  When the engine reports the batch (kl_heap_done, any thread), the
 *              buffers are at their new places and the old ones are free.  Nobody waits.
 *   a run      kl_contig_alloc, kl_zone_give_back, kl_zone_compact, an allocation that finds no
 *              run of frames: they move buffers, too, and wait for the engine's report, in every
 *              mode (the copy is part of the move, as a memcpy is), and without a bound.  So the
 *              engine must get on without the thread that waits: by a thread of its own, or an
 *              interrupt.  A frame loop that executes its queue and reports by itself would
 *              wait for itself, for ever: it allocates with KL_NOWAIT, nothing of more than a
 *              block, makes no runs, and gets its room by passes.
 *
 * A buffer is at rest, in use (counted), or on its way:
 *
 *            use, unuse                 kl_heap_done(0)      moved() returns
 *              .--.                    .----------------> new place ----------.
 *              v  |                    |                                      |
 *   alloc --> at rest --> on its way --+                                      |
 *              ^           (pass, run) | error, ignored, queue full           |
 *              '-----------------------+--------------------------------------'
 *   free: from everywhere but in use, at once.  The memory of a buffer that was on its way is
 *   used again only after kl_heap_done.
 *
 * Copies of one batch never overlap: sources are memory in use, destinations are free.
 *
 * Rounding: up to a power of two of frames; beyond a block: to frames, in whole blocks' reach,
 * contiguous, beginning where a block does.  See doc/CAVEATS.md for what that costs.
 *
 * Thread safety: everything may be called from any thread, at the same time, but for
 * kl_heap_destroy, and but for two calls for one buffer of which one is its free.  Callbacks run
 * with no lock that the heap or the zone would want again: they may call kl_heap_free,
 * kl_heap_where, kl_heap_use with KL_ASYNC, kl_heap_unuse, and kl_heap_alloc with KL_NOWAIT, but
 * nothing that moves (kl_heap_pass among it).
 */
#ifndef KLOTSKI_HEAP_H
#define KLOTSKI_HEAP_H

#include "contig.h"
#include "movable.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_heap;
struct kl_heap_batch; /* the library's; names a batch that was submitted */

/* A buffer.  32 bits index, 16 generation, 16 tag of the heap: one that is freed, another
 * heap's or made up is an error.  All zero names none. */
typedef struct kl_buffer_id {
    uint64_t v;
} kl_buffer_id;

/* One copy: offsets in the zone's backing. */
struct kl_copy {
    uint64_t dst;
    uint64_t src;
    uint64_t bytes;
};

/* What the owner says to a move. */
enum kl_heap_choice {
    KL_HEAP_COPY,
    KL_HEAP_IGNORE,  /* it stays, and is not asked for again in this pass; a run may, elsewhere */
    KL_HEAP_DESTROY, /* its contents are worth nothing: it is freed, its id stale from now on */
};

struct kl_heap_move {
    kl_buffer_id buffer;
    void *user; /* as given to kl_heap_alloc */
    uint64_t dst;
    uint64_t src;
    uint64_t bytes;
};

enum { KL_HEAP_MOVES = 1024 }; /* copies of one batch at most */

struct kl_heap_ops {
    size_t size;      /* sizeof(struct kl_heap_ops) */
    const char *name; /* for statistics; NULL: "heap" */

    /* Optional (NULL: copy).  May this buffer move, now?  Must not wait.  A block in which one
     * buffer is ignored can't be emptied: a pass leaves it alone as a whole. */
    enum kl_heap_choice (*choose)(void *ctx, const struct kl_heap_move *move);

    /* Queues the copies of one batch, n > 0; they may be made in any order.  `copies` stays
     * valid until kl_heap_done.  Must not wait.
     * 0: kl_heap_done is called for the batch, exactly once, from any thread, perhaps before
     * this returns.  Negative: nothing was queued, and it is not called (-KL_EAGAIN: the queue
     * is full; it may be tried again). */
    int (*submit)(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch);

    /* Optional.  The contents are at dst, where the device uses them from now on; when this
     * returns, src is free, and the buffer can be used again.  Called within kl_heap_done.  Must
     * not wait.  One that another thread frees at this moment may be freed already: its id is
     * stale then. */
    void (*moved)(void *ctx, const struct kl_heap_move *move);
};

/* ops is copied.  The heap registers an owner in the zone, which must outlive it.
 * -KL_EINVAL: ops of another size, or without submit.  -KL_ENOMEM: no metadata (of it, the heap
 * has about 100 KiB and 8 bytes a block).  -KL_ENOSPC: the zone has no room for an owner. */
int kl_heap_create(struct kl_zone *zone, const struct kl_heap_ops *ops, void *ctx,
                   struct kl_heap **heap);

/* NULL: nothing.  -KL_EBUSY: there are buffers, or batches under way, or somebody looks at one
 * of its frames just now; the heap is as it was. */
int kl_heap_destroy(struct kl_heap *heap);

/* The owner of the heap's frames, for kl_owner_set_share and reports.  Don't allocate with it. */
kl_owner_id kl_heap_owner(const struct kl_heap *heap);

/* A buffer of at least so many bytes; contents undefined.  flags: as kl_frame_alloc's, without
 * KL_ZERO where there are only offsets; KL_MOVABLE goes without saying.  Without KL_NO_MOVE (or
 * KL_NOWAIT, which implies it) this may be a run, as above.
 * More than a block: others are moved to make a contiguous range for it, which may wait for the
 * engine; it does not move itself.  Then KL_NOWAIT, KL_ATOMIC, KL_NO_MOVE and KL_ZERO are refused.
 * -KL_EINVAL: bytes is 0 or more than the zone has; flags.  -KL_ENOMEM: no room, no metadata.
 * -KL_EBUSY: more than a block, and something is in the way everywhere. */
int kl_heap_alloc(struct kl_heap *heap, uint64_t bytes, unsigned flags, void *user,
                  kl_buffer_id *buffer);

/* Never waits, also while it is being copied.  -KL_ESTALE: freed already.  -KL_EINVAL: not a
 * buffer of this heap.  -KL_EBUSY: it is in use. */
int kl_heap_free(struct kl_heap *heap, kl_buffer_id buffer);

/* Where it is at this moment; it stays there only while it is in use.  bytes: as rounded.
 * Both may be NULL.  Errors as kl_heap_free's, but -KL_EBUSY. */
int kl_heap_where(struct kl_heap *heap, kl_buffer_id buffer, uint64_t *offset, uint64_t *bytes);

/* The device works on it (counted): it stays where it is, at *offset (may be NULL), until as
 * many kl_heap_unuse.  It is pinned then, as kl_frame_pin does: its block is not emptied.
 * -KL_EBUSY: it is on its way.  KL_SYNC_LIGHT waits for the end of that, 5 ms at most, KL_SYNC
 * 200 ms.  -KL_ENOSPC: 4095 uses.  -KL_EINVAL: mode.  And as kl_heap_where.
 * unuse: -KL_EINVAL, also when it is not in use. */
int kl_heap_use(struct kl_heap *heap, kl_buffer_id buffer, enum kl_mode mode, uint64_t *offset);
int kl_heap_unuse(struct kl_heap *heap, kl_buffer_id buffer);

/* What a pass may do, and what it began. */
struct kl_pass {
    size_t size;        /* sizeof(struct kl_pass), set by the caller */
    uint64_t max_bytes; /* 0: no bound; a larger buffer than this is not moved */
    uint32_t max_moves; /* 0, or more than KL_HEAP_MOVES: that many */

    uint32_t moves;     /* out: copies under way, */
    uint64_t bytes;     /* of so many bytes, as rounded */
    uint32_t ignored;   /* buffers, by choose */
    uint32_t destroyed; /* the same */
};

/* One pass.  Empties the sparsest blocks into the densest, as far as whole blocks are gained;
 * a block that was half emptied by the last pass comes first.  Only blocks in which there are no
 * others' frames.  Asks for no metadata, and never waits.
 * 0: so much is under way now.  No moves, nothing ignored or destroyed: nothing can be gained.
 * -KL_EAGAIN: a pass is under way; or the engine's queue is full, and all was put back.
 * -KL_EINVAL: pass->size.  Or what submit said; all was put back. */
int kl_heap_pass(struct kl_heap *heap, struct kl_pass *pass);

/* The engine's report of a batch.  result: 0, or an error: what is at the destinations is void,
 * and every buffer stays where it was.  Calls moved.  From any thread, also within submit.
 * Once a batch: a second report stops the program (host.fatal), when it is seen. */
void kl_heap_done(struct kl_heap_batch *batch, int result);

struct kl_heap_stats {
    size_t size;      /* sizeof(struct kl_heap_stats), set by the caller */
    uint64_t buffers; /* that there are */
    uint64_t bytes;   /* of them, as rounded */
    uint64_t uses;    /* that have not ended */

    uint64_t passes;      /* that made copies */
    uint64_t batches;     /* submitted, by passes and runs */
    uint64_t refused;     /* not taken by submit */
    uint64_t failed;      /* reported with an error */
    uint64_t moved;       /* buffers */
    uint64_t moved_bytes; /* as rounded */
    uint64_t put_back;    /* buffers that were to move, and didn't; */
    uint64_t freed;       /* or were freed on their way, those destroyed among them */
    uint64_t ignored;     /* by choose */
    uint64_t destroyed;
    uint32_t under_way; /* batches, now */
};

void kl_heap_get_stats(struct kl_heap *heap, struct kl_heap_stats *stats);

/* Recounts a heap that nobody uses just now and without batches under way.  0, or -KL_EIO and in
 * *what (may be NULL) which invariant is broken.  Changes nothing. */
int kl_heap_check(struct kl_heap *heap, const char **what);

#ifdef __cplusplus
}
#endif
#endif
