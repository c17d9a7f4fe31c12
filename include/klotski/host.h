// SPDX-License-Identifier: Apache-2.0
/* klotski/host.h - what the core asks of the machine that it runs on, and the
 * memory behind a zone.
 *
 * The core calls nothing else but memcpy, memset, memmove and memcmp.  On Linux
 * kl_linux_host() and kl_linux_backing_create() (klotski/linux.h) fill these in;
 * a bare machine fills them in by hand.
 *
 * Every callback may be called from any thread at any time between the creation
 * and the destruction of the zone, and must not call back into Klotski.
 */
#ifndef KLOTSKI_HOST_H
#define KLOTSKI_HOST_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A small stack of numbers that belongs to one processor; see cpu_pop.
 *
 * The stacks of all processors are one array: those of processor c are the
 * elements c * KL_CPU_STACKS to c * KL_CPU_STACKS + KL_CPU_STACKS - 1, each of 128
 * bytes.  limit is 0 (closed) or KL_CPU_ENTRIES (open); entry[0] to entry[n - 1]
 * are in the stack. */
enum { KL_CPU_STACKS = 2, KL_CPU_ENTRIES = 30 };

struct kl_cpu_stack {
    uint32_t limit;
    uint32_t n;
    uint32_t entry[KL_CPU_ENTRIES];
};

#define KL_CPU_NONE UINT32_MAX /* no number */

struct kl_host {
    size_t size; /* sizeof(struct kl_host) */
    void *ctx;
    unsigned ncpus; /* at least 1 */

    /* Zeroed memory for metadata, aligned to 64 bytes; NULL when there is none.
     * Never called with a lock held that a migration needs, but for an owner's own
     * one over kl_pin_begin: it must not wait for a migration. */
    void *(*meta_alloc)(void *ctx, size_t bytes);
    void (*meta_free)(void *ctx, void *mem, size_t bytes);

    /* All of this part of a piece of metadata is zero, and is likely to stay so for long:
     * the memory under it may go, if it goes on reading as zero and comes back when it
     * is written.  Others may read it meanwhile, nobody writes it.  NULL: can't be done. */
    void (*meta_idle)(void *ctx, void *mem, size_t bytes);

    /* The processor that this thread runs on, below ncpus.  A hint: wrong is
     * slow, never unsafe. */
    unsigned (*cpu)(void *ctx);

    /* A number that no other thread has which runs now; a machine without threads
     * answers with its processor's number + 1. */
    uintptr_t (*thread)(void *ctx);

    /* Nanoseconds that never go back. */
    uint64_t (*now_ns)(void *ctx);

    /* Sleep while *word == seen, for timeout_ns at most (UINT64_MAX: no bound);
     * may return early.  wake: one sleeper or all.  As futex(2). */
    void (*wait)(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns);
    void (*wake)(void *ctx, const uint32_t *word, bool all);

    /* Let somebody else run; round counts the calls in this wait, from 0. */
    void (*relax)(void *ctx, unsigned round);

    /* An invariant is broken: say so and do not return. */
    void (*fatal)(void *ctx, const char *what, const char *file, int line);

    /* Stacks without locks: all three, or all NULL, and the core locks them.
     *
     * pop and push take processor 0's stack, find out the processor that they run
     * on (it must be below ncpus, else they refuse), and work on that one's stack
     * of the same index, as a sequence that happens as a whole or not at all:
     *   pop    if 1 <= n <= limit: n falls by one, the result is entry[n]
     *   push   if n < limit:       entry[n] = number, n rises by one
     * and otherwise, or for reasons of their own, KL_CPU_NONE or false, with
     * nothing changed.  limit is read in the same sequence, before n (acquire).
     * Nobody else on that processor may come in between: restartable sequences of
     * Linux, interrupts off on a bare machine.  What one sequence stored the next
     * one on the same processor sees; more order than that is not asked for.
     *
     * fence: no sequence on that processor that began before the call changes
     * anything after it; those that begin later see all that the caller stored
     * before the call, and the caller sees all that earlier ones stored.
     * false: it can't be done now, and nothing is known. */
    uint32_t (*cpu_pop)(void *ctx, struct kl_cpu_stack *stack, unsigned ncpus);
    bool (*cpu_push)(void *ctx, struct kl_cpu_stack *stack, unsigned ncpus, uint32_t number);
    bool (*cpu_fence)(void *ctx, unsigned cpu);
};

/* The memory behind a zone: `bytes` at `base`, in blocks of
 * 2^(frame_shift + block_order) bytes, which is also the alignment of `bytes`.
 *
 * base == NULL: offsets only.  The memory has no address here (a device's, another
 * machine's); the zone hands frames out by their offset (kl_frame_offset) and never
 * touches them.  Their owners move the contents, best in batches and asynchronously
 * (migrate_batch and KL_PENDING, klotski/movable.h).
 *
 * Ownership: the zone borrows it; it must outlive the zone.  One zone at a time:
 * two zones on one backing would hand out the same memory twice, and nothing here
 * can notice it. */
struct kl_backing {
    size_t size; /* sizeof(struct kl_backing) */
    void *ctx;
    void *base; /* where the zone is mapped, aligned to a frame; NULL: offsets only */
    uint64_t bytes;
    unsigned frame_shift; /* 12 (4 KiB) to 21 (2 MiB) */
    unsigned block_order; /* frames of a block: 2^block_order, 0 to 18 */

    /* Get memory for a range of whole blocks (zeroed), or give it back to the
     * system.  0 or a negative error; a populate that fails has changed nothing.
     * NULL: the memory is always there and is not given back. */
    int (*populate)(void *ctx, uint64_t offset, uint64_t bytes);
    int (*release)(void *ctx, uint64_t offset, uint64_t bytes);

    /* Nobody needs the contents of a range of whole frames, which belong to a block that has
     * memory: it may go, and comes back by itself where it is written or read; until then it
     * may read as anything.  An error has changed nothing.  NULL: can't be done. */
    int (*discard)(void *ctx, uint64_t offset, uint64_t bytes);
};

/* Fills in a backing of memory that the caller has: an array, a mapping, a bare
 * machine's RAM.  It is all there and stays (no populate, no release: set both
 * afterwards where memory comes and goes).  Thread-safe; neither waits nor calls.
 * -KL_EINVAL: a pointer is NULL, base is not aligned to a frame, bytes is 0 or no
 * multiple of a block, frame_shift is not 12 to 21 or block_order not 0 to 18.
 * -KL_ERANGE: more frames than 2^32 - 2, or beyond the end of the address space.
 * *backing is not touched then. */
int kl_backing_memory(struct kl_backing *backing, void *base, uint64_t bytes, unsigned frame_shift,
                      unsigned block_order);

/* The same without addresses.  A block must fit into a size_t (-KL_ERANGE). */
int kl_backing_offsets(struct kl_backing *backing, uint64_t bytes, unsigned frame_shift,
                       unsigned block_order);

#ifdef __cplusplus
}
#endif
#endif
