// SPDX-License-Identifier: Apache-2.0
/* pool.h - what the files of this folder share.
 *
 *   word.h    a buffer's states and edges (D1-D4)
 *   pool.c    create and destroy
 *   buffer.c  get, put, begin, end: the fast path
 *   move.c    the pool as a device: prepare, migrate, finish
 *   slot.c    the ring's table of buffers: all calls of io_uring_register
 *   stats.c   figures and the recount
 *
 * A move of a buffer
 *
 *   prepare   hold, mover = this thread -> wait until ios == 0      too late: release, "busy"
 *   migrate   (of those that this thread has) the library copies -> pfn is the new one
 *   finish    addr follows pfn -> the slot follows addr -> fixed or not -> release, wake
 *
 * (U1) A batch's three calls come from one thread, which has one batch at a time.  Another
 *      batch may have the same buffer, isolated anew between migrate and finish of the first:
 *      it finds it HELD by another thread, and answers "again".
 * (U2) The slot follows before HELD goes. So no request is ever made for a place where the
 *      buffer isn't, and the old frame is unpinned before the run gives its block back.
 * (U3) A slot that can't be filled is emptied; one that can't be emptied is STUCK: never
 *      used, tried again at the next move or fix.
 * (U4) A set bit of `free` names a buffer that nobody has; one that nobody has and that has
 *      no bit is on its way between the two.
 *
 * No locks.  Sleepers: a migration on `ended` (D1), users on `released`.  Each is counted up
 * after the word has changed and before the wake, and looked at before the word.
 */
#ifndef KLI_URING_POOL_H
#define KLI_URING_POOL_H

#include "klotski/uring.h"
#include "word.h"

enum {
    KLI_URING_MAX = 1 << 14,
    KLI_URING_BATCH = 32, /* updated together */
    KLI_URING_WAIT_MS = 100,
    KLI_URING_BITS = 64, /* of a word of `free` */
};

#define KLI_URING_BEGIN_NS UINT64_C(2000000000)

/* A cache line: who works with a buffer writes to no other's. */
struct kli_uring_buffer {
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uintptr_t reaper; /* the thread of its last end; a hint */
    _Atomic uintptr_t mover;  /* whose batch has it HELD; 0: none */
    char *addr;               /* D2, as are the next */
    kl_pfn pfn;
    _Atomic bool stuck;
    unsigned slot;
    kl_shm_id object;
};

struct kl_uring_pool {
    struct kl_zone *zone;
    const struct kl_host *host;
    int ring;                        /* its descriptor */
    struct kli_uring_buffer *buffer; /* n of them */
    _Atomic uint64_t *free;          /* a bit each; U4 */
    unsigned made;                   /* of them are complete, the first ones */
    unsigned n, words;               /* of buffers, and of `free` */
    uint64_t tag;                    /* of names */
    size_t bytes;                    /* of a buffer */
    uint64_t wait_ns;                /* of a migration, for I/O */
    bool is_table_ours;              /* and goes with the pool */
    uintptr_t issuer;                /* the only thread that may register; 0: any */
    struct kl_shm *shm;
    kl_shm_device_id device;
    void (*reap)(void *ctx);
    void *ctx;

    _Atomic uint32_t hint; /* a word of `free` */
    _Atomic uint32_t ended, released;
    _Atomic uint64_t moved, unfixed, plain, held_off, refused, refused_own, refused_issuer;
};

/* A number of this thread that no other one has which runs now. */
uintptr_t kli_uring_thread(void);

/* buffer.c: the end of a hold, for one and for all who wait. */
void kli_uring_release(struct kli_uring_buffer *buffer);
void kli_uring_wake(struct kl_uring_pool *pool);

/* move.c */
extern const struct kl_shm_ops kli_uring_ops;

/* slot.c: the kernel's errors are said in Klotski's. */
int kli_uring_table_create(struct kl_uring_pool *pool);
/* One that is there: have our slots a place in it? */
int kli_uring_table_try(struct kl_uring_pool *pool);
void kli_uring_table_destroy(struct kl_uring_pool *pool);
/* The slot gets the place where the buffer, which is HELD, is now; or is emptied. (U3)
 * 0, or the kernel's error: the buffer is not FIXED then. */
int kli_uring_slot_follow(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer);
/* The same for up to KLI_URING_BATCH; sorts them. */
void kli_uring_slots_follow(struct kl_uring_pool *pool, struct kli_uring_buffer **buffer,
                            unsigned n);
int kli_uring_slot_empty(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer);

#endif
