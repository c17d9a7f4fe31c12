// SPDX-License-Identifier: Apache-2.0
/* klotski/uring.h - fixed buffers of io_uring that move.
 *
 * A buffer that is registered with a ring (io_uring_register(2), IORING_REGISTER_BUFFERS)
 * is pinned by the kernel: its block can't be given back, and if its frame moved all the
 * same, what a READ_FIXED brings would land in the old frame and be lost.  Here buffers
 * are objects of a zone (klotski/shm.h) and the pool is their device: asked to move some,
 * it waits until no I/O of them is in flight, holds new I/O off, lets the library copy,
 * has the kernel register the new place in the same slot (which unpins the old one), and
 * lets I/O go on.  A library of its own: cc $(pkg-config --cflags --libs klotski-uring liburing).
 *
 *   kl_uring_pool_create(zone, &ring, &config, &pool);
 *   kl_uring_get(pool, &buf);                          a buffer, until put
 *   kl_uring_begin(pool, buf, KL_ASYNC, &io);          it stays where it is, until end
 *   ... fill io.addr, for a write ...
 *   sqe = io_uring_get_sqe(&ring);
 *   kl_uring_prep_read(sqe, fd, &io, 0, n, offset);    or write
 *   io_uring_sqe_set_data(sqe, ...); io_uring_submit(&ring);
 *   ... its CQE was seen; use what is at io.addr ...
 *   kl_uring_end(pool, buf);
 *   kl_uring_put(pool, buf);
 *
 * States of a buffer
 *
 *   free     nobody has it; may move at any time, in any mode
 *   got      a user has it and no I/O: moves as well, its contents with it
 *   busy     between begin and end, counted: stays.  A migration in KL_SYNC waits for the
 *            end, 100 ms (config.wait_ms), and is then answered "busy"; other modes at once
 *   held     a migration has it, or waits for its I/O: begin waits, or says -KL_EAGAIN
 *
 * begin and end are for each request, and every begin has one end: after the last CQE of
 * the request (the one without IORING_CQE_F_MORE), and no matter what that says: short,
 * failed or cancelled (-ECANCELED), the kernel is done with the buffer then; and before
 * that it is not.  A request that is given up before it was submitted is ended, too.
 * The processor's own use of io.addr belongs between begin and end as well.
 *
 * A buffer that can't be registered (RLIMIT_MEMLOCK, no memory in the kernel) is used
 * by ordinary requests at its address: io.slot is -1, and kl_uring_prep_read makes an
 * IORING_OP_READ.  That is slower and never wrong; the statistics say how many.
 * kl_uring_pool_fix tries again.
 *
 * Who waits for whom.  While a migration waits for a busy buffer, somebody must see its
 * CQE and call end:
 *   - Requests are to be submitted before their thread waits for anything: one that begin
 *     has counted and that lies in the submission queue keeps a migration waiting.
 *   - A thread that has begun requests calls begin with KL_ASYNC, and on -KL_EAGAIN takes
 *     another buffer, or submits and sees to its CQEs first.  With KL_SYNC it might wait
 *     for a migration that waits for that thread's own requests, until the migration gives up.
 *   - The thread that sees the CQEs may be the one that migrates (it compacts, or its
 *     allocation does).  Then give the pool a `reap`.  Without it, a buffer whose last end
 *     was that same thread's is "busy" at once: nothing waits for itself.
 *
 * Rings
 *   - IORING_SETUP_SINGLE_ISSUER (and so DEFER_TASKRUN): only the ring's submitter may
 *     register.  It creates the pool, and destroys it; in any other thread's migrations
 *     the buffers are "busy".
 *   - The pool changes its own slots only.  It makes the ring's table of buffers
 *     (sparse, Linux 5.19), or takes a range of slots of one that is there.
 *   - The pool ends before the ring; and requests before that.
 *
 * The kernel unpins the old place in the moment its slot is updated, since no request uses
 * it.  Kernels before 6.13 wait for all requests in the ring that were submitted before with
 * any fixed buffer; until then memory that was given back stays with the kernel.
 *
 * Thread safety: everything here may run together with everything, but kl_uring_pool_create
 * and kl_uring_pool_destroy of the same pool.  Two users of one buffer order themselves.
 * The ring's queues are the caller's: no function here touches them.
 */
#ifndef KLOTSKI_URING_H
#define KLOTSKI_URING_H

#include <klotski/shm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct io_uring;     /* <liburing.h> */
struct io_uring_sqe; /* <linux/io_uring.h> */

struct kl_uring_pool;

/* A buffer that somebody has got.  All zero names none.
 * Bits: 24 index + 1, 24 generation, 16 tag of the pool. */
typedef struct kl_uring_buf {
    uint64_t v;
} kl_uring_buf;

enum kl_uring_flags {
    KL_URING_TABLE_THERE = 1u << 0, /* the ring has a sparse table; first is a slot of it */
};

struct kl_uring_config {
    size_t size;      /* sizeof(struct kl_uring_config) */
    const char *name; /* of the owner of the frames, in reports; NULL: "io_uring" */
    unsigned buffers; /* 1 to 16384, the kernel's limit for a ring */
    size_t bytes;     /* of each: a power of two, from a frame of the zone to a block */
    unsigned flags;   /* enum kl_uring_flags */
    unsigned first;   /* KL_URING_TABLE_THERE: slots first to first + buffers - 1 are the pool's
                       * from now on, whatever was in them; else 0 */
    unsigned wait_ms; /* a migration's wait for I/O, at most; 0: 100 */

    /* May be NULL.  Called by a migration, in its thread, while it waits for I/O: sees to CQEs
     * that are there and calls kl_uring_end, without waiting.  Locks of the program are
     * to be tried only, and nothing here or in Klotski called but kl_uring_end and kl_uring_put. */
    void (*reap)(void *ctx);
    void *ctx;
};

/* All buffers have their frames at once, zero, and stay until the end.  May wait as
 * kl_frame_alloc does; calls shrinkers and owners.
 * -KL_EINVAL: config; or the ring is for a single issuer, and this is not its thread.
 * -KL_ENOTSUP: the zone has no addresses; the kernel has no sparse tables (before 5.19), or
 * does not let this process register.  -KL_EEXIST: the ring has a table already.
 * -KL_ENOENT, -KL_ERANGE: KL_URING_TABLE_THERE, and there is none, or it is too short.
 * -KL_ENOMEM: no frames, no metadata, or the kernel has none for the table.
 * -KL_ENOSPC: the zone has too many owners.
 * With an error nothing is left; slots of a table that was there are empty then. */
int kl_uring_pool_create(struct kl_zone *zone, struct io_uring *ring,
                         const struct kl_uring_config *config, struct kl_uring_pool **pool);

/* Empties the slots, takes the pool's own table from the ring, and frees all memory.  Waits
 * for migrations under way to end.  NULL is nothing.
 * -KL_EBUSY: a buffer is not put back, or busy, or a migration has had it for 2 s;
 * -KL_EINVAL: the ring's single issuer is another thread: all is as it was. */
int kl_uring_pool_destroy(struct kl_uring_pool *pool);

/* A buffer that nobody has; one that no migration has just now, if there is one.  Its
 * contents are what the last user left.  Never waits.
 * -KL_EAGAIN: all are in use, or the last ones just now looked at by others. */
int kl_uring_get(struct kl_uring_pool *pool, kl_uring_buf *buf);
/* Never waits.
 * -KL_EBUSY: it is busy: an end is missing.
 * -KL_ESTALE: put before.  -KL_EINVAL: not a buffer of this pool. */
int kl_uring_put(struct kl_uring_pool *pool, kl_uring_buf buf);

/* Where a buffer is, from begin to end. */
struct kl_uring_io {
    void *addr;
    size_t bytes;
    int slot; /* of the ring's table; -1: not registered */
};

/* Counts a request in: until its end the buffer stays.  One compare-and-swap if nobody
 * moves it.  mode KL_ASYNC: never waits.  Else: for a migration that has the buffer, 2 s.
 * -KL_EAGAIN: a migration has it (KL_ASYNC).  -KL_EBUSY: for longer than that.
 * -KL_ENOSPC: 65535 requests.  -KL_ESTALE: put before.
 * -KL_EINVAL: mode, or not a buffer of this pool. */
int kl_uring_begin(struct kl_uring_pool *pool, kl_uring_buf buf, enum kl_mode mode,
                   struct kl_uring_io *io);
/* Never waits.  One compare-and-swap; wakes a migration that waits for it.
 * -KL_EINVAL: it is not busy: ended twice, or not a buffer of this pool.  (An end too many
 * while another request of the same buffer is in flight can't be told from that one's
 * own: the buffer may move under it.)  -KL_ESTALE: put before. */
int kl_uring_end(struct kl_uring_pool *pool, kl_uring_buf buf);

/* Fills in a request for n bytes of the buffer from `at` on: IORING_OP_READ_FIXED or
 * WRITE_FIXED, or for a buffer without a slot READ or WRITE.  offset is the file's, or
 * (uint64_t)-1 for its position.  Set user data and flags after it.  Thread-safe as the sqe is.
 * -KL_ERANGE: beyond the buffer's end; the sqe is untouched. */
int kl_uring_prep_read(struct io_uring_sqe *sqe, int fd, const struct kl_uring_io *io, size_t at,
                       unsigned n, uint64_t offset);
int kl_uring_prep_write(struct io_uring_sqe *sqe, int fd, const struct kl_uring_io *io, size_t at,
                        unsigned n, uint64_t offset);

/* Tries again to register those that are not: of those that have no I/O and don't move
 * just now; none, when the ring has a single issuer and this is not its thread.  Returns how many
 * are not registered afterwards.  Never waits but for the ring. */
int kl_uring_pool_fix(struct kl_uring_pool *pool);

struct kl_uring_stats {
    size_t size; /* sizeof(struct kl_uring_stats), set by the caller */
    uint32_t buffers;
    uint32_t got;
    uint32_t busy;
    uint32_t in_flight;      /* requests */
    uint32_t fixed;          /* buffers that are registered */
    uint32_t stuck;          /* slots that keep old frames pinned: they could not be emptied */
    uint64_t moved;          /* buffers, ever; as are the next */
    uint64_t unfixed;        /* registrations that failed: ordinary I/O from then on */
    uint64_t plain;          /* requests of buffers that were not registered */
    uint64_t held_off;       /* begins that met a migration */
    uint64_t refused;        /* moves refused: I/O in flight for too long, or in a mode that must
                              * not wait; those of the next two included */
    uint64_t refused_own;    /* by the thread that sees the CQEs */
    uint64_t refused_issuer; /* by another thread than a ring's single issuer */
};
/* Looked up one by one while things go on. */
void kl_uring_get_stats(struct kl_uring_pool *pool, struct kl_uring_stats *stats);

/* Recounts everything of a pool that nobody uses just now and whose frames nobody moves;
 * changes nothing.  0, or -KL_EIO with the first broken invariant in *what (may be NULL). */
int kl_uring_pool_check(struct kl_uring_pool *pool, const char **what);

#ifdef __cplusplus
}
#endif
#endif
