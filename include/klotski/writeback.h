// SPDX-License-Identifier: Apache-2.0
/* klotski/writeback.h - blocks of a store that lie elsewhere (zram's write-back).
 *
 * Blocks that nobody has touched for a while, or that do not compress, are written to a
 * target (klotski/target.h) when the store's frames are above a share of its limit, and
 * leave memory.  They come back when they are read, if there is room; else they are read
 * where they are.  A write that finds no room writes other blocks back before it is
 * refused: a store with a limit and a target holds more than the limit.
 *
 * What is promised
 *   - A block leaves memory after the target has said that it is written, and flushed if
 *     it needs that.  A target that is slow, full, or fails loses no block that was not
 *     yet there.
 *   - What is read is what was written, or an error: each block on the target has a
 *     checksum, its number, and the store's mark.  A target that lost or changed it:
 *     -KL_EIO.  (A write that the target acknowledged and then lost, where an older
 *     version of the same block lay in the same place, passes one time in 64.)
 *   - A target that does not answer holds up what needs its data, for `timeout_ns`, then
 *     -KL_ETIMEDOUT; while it is silent such reads fail at once, but for one in ten
 *     seconds.
 *     Blocks in memory are read, and overwritten and discarded wherever they are.
 *   - Where blocks lie is known to the store alone: after its end the target holds nothing.
 *
 * Room on the target is shared out in units of 512 bytes.  A block takes 16 bytes more
 * than its compressed size, rounded up: a quarter of a KiB is lost on average, so blocks
 * of 4 KiB that compress to a half take an eighth more than they need, larger ones less.
 * What was freed is trimmed, 256 KiB at a time, where all of it is free.
 * The map of the units costs a 4096th of the target's size, in memory.
 */
#ifndef KLOTSKI_WRITEBACK_H
#define KLOTSKI_WRITEBACK_H

#include "store.h"
#include "target.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kl_writeback_flags {
    KL_WRITEBACK_RAW = 1u << 0, /* incompressible blocks go at age 1, before all others */
};

struct kl_writeback_config {
    size_t size;                    /* sizeof(struct kl_writeback_config) */
    const struct kl_target *target; /* copied; what it stands for must outlive the store */
    uint64_t bytes;                 /* of the target to use; 0: all, 512 GiB at most */
    unsigned start_percent;         /* of the limit; 0: 80.  Above it, blocks are written */
    unsigned stop_percent;          /* until it is below this one; 0: 70 */
    unsigned age;                   /* ticks of kl_store_age, 1 to 3; 0: 2 */
    unsigned flags;                 /* enum kl_writeback_flags */
    uint64_t bytes_per_second;      /* at most; 0: no bound */
    uint64_t timeout_ns;            /* for what waits for the target; 0: 5 s */
};

/* From now on.  It ends with the store, which waits then for the target's cancel.
 * -KL_EINVAL: a figure is out of range, or the target is too small for one block.
 * -KL_EEXIST: there is one.  -KL_ENOMEM: no metadata. */
int kl_store_writeback_start(struct kl_store *store, const struct kl_writeback_config *config);

/* A piece of the work, never waiting: sees to what the target has done, and while frames
 * are above the share, has up to `blocks` (0: as many as may be under way) more written.
 * Returns the nanoseconds after which it is of use to call again; UINT64_MAX: when there
 * are more frames, or blocks are older.  Thread-safe. */
uint64_t kl_store_writeback(struct kl_store *store, uint32_t blocks);

/* Writes blocks back, whatever the share is, those of at least that age (0 to 3; 0: any),
 * until `blocks` have left memory, or no more can; waits, no longer than the timeout
 * since the last one left.  Returns how many left. */
int64_t kl_store_writeback_now(struct kl_store *store, uint64_t blocks, unsigned age);

enum kl_writeback_state {
    KL_WRITEBACK_OFF = 0, /* there is no target */
    KL_WRITEBACK_OK = 1,
    KL_WRITEBACK_FULL = 2,    /* no room on the target for the last block */
    KL_WRITEBACK_FAILING = 3, /* its last request failed */
    KL_WRITEBACK_STALLED = 4, /* a request is older than the timeout */
    KL_WRITEBACK_GONE = 5,    /* no connection */
};

struct kl_writeback_stats {
    size_t size; /* sizeof(struct kl_writeback_stats), set by the caller */
    enum kl_writeback_state state;
    char text[128];         /* the state, and what the target says of itself */
    uint64_t target_bytes;  /* of the target in use */
    uint64_t used_bytes;    /* where blocks lie, or are being written */
    uint64_t retired_bytes; /* where a write was given up that may still come; not used again */
    uint64_t blocks;        /* on the target now, and not in memory */
    uint64_t pending;       /* requests under way */
    uint64_t written;       /* blocks that left memory, since the start */
    uint64_t written_bytes; /* sent to the target, also in vain */
    uint64_t read;          /* blocks that were read from the target */
    uint64_t read_back;     /* and are in memory again */
    uint64_t failed_writes;
    uint64_t failed_reads; /* reads that ended with -KL_EIO or -KL_ETIMEDOUT */
    uint64_t lost;         /* of these, those that found other data than was written */
    uint64_t overwritten;  /* writes in vain: the block was changed meanwhile */
    uint64_t waited;       /* writes to the store that waited for room */
};
/* Without a target all is 0. */
void kl_store_writeback_stats(struct kl_store *store, struct kl_writeback_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
