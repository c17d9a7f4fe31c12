// SPDX-License-Identifier: Apache-2.0
/* The word of one buffer: its states, and every edge.
 *
 *   bits  0-15 ios         requests between begin and end
 *   bit  16    GOT         a user has it
 *   bit  17    HELD        a migration has it, or kl_uring_pool_fix, create or destroy
 *   bit  18    FIXED       its slot has the place where it is
 *   bits 24-47 generation  one more with every get
 *
 *            get                begin                begin
 *   FREE ------------> GOT --------------> BUSY(1) ---------> BUSY(n)
 *     ^                | ^                 |    ^               |
 *     '---- put -------' '----- end -------'    '----- end -----'
 *
 * HELD is beside these.  hold may come in any of them (KL_SYNC; who holds waits then until
 * ios is 0), or only with ios == 0.
 *
 * (D1) ios rises only while not HELD, and GOT; so once ios is 0 under HELD it stays so
 *      until release.
 * (D2) Place, slot and mover of a buffer are changed only by who has it HELD, with
 *      ios == 0; and read by others only between begin and end.
 * (D3) One at a time has HELD, and gives it up: by release, or by fixed / unfixed.
 * (D4) FIXED: the kernel has pinned exactly where the buffer is, in its slot.
 *
 * Every edge is a compare-and-swap that acquires and releases: what the processor did in
 * the buffer before an end is seen by who holds it, what a migration wrote is seen by
 * the next begin.
 */
#ifndef KLI_URING_WORD_H
#define KLI_URING_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define KLI_B_IO         (UINT64_C(1) << 0)
#define KLI_B_GOT        (UINT64_C(1) << 16)
#define KLI_B_HELD       (UINT64_C(1) << 17)
#define KLI_B_FIXED      (UINT64_C(1) << 18)
#define KLI_B_GENERATION (UINT64_C(1) << 24)
#define KLI_B_MAX_IOS    0xffffu

static inline uint32_t kli_b_ios(uint64_t w)
{
    return (uint32_t)(w & KLI_B_MAX_IOS);
}

static inline uint32_t kli_b_generation(uint64_t w)
{
    return (uint32_t)(w >> 24) & 0xffffff;
}

/* Got by who has this generation. */
static inline bool kli_b_is_of(uint64_t w, uint64_t generation)
{
    return (w & KLI_B_GOT) && kli_b_generation(w) == generation;
}

/* An edge: the word after it in *next, or false. */
typedef bool kli_uring_edge(uint64_t w, uint64_t arg, uint64_t *next);

/* held_too: one that is being moved will do. */
static inline bool kli_b_get(uint64_t w, uint64_t held_too, uint64_t *next)
{
    uint64_t generation = (w + KLI_B_GENERATION) & (UINT64_C(0xffffff) * KLI_B_GENERATION);

    *next = (w & (KLI_B_GENERATION - 1)) | generation | KLI_B_GOT;
    return !(w & KLI_B_GOT) && (held_too || !(w & KLI_B_HELD));
}

static inline bool kli_b_put(uint64_t w, uint64_t generation, uint64_t *next)
{
    *next = w & ~KLI_B_GOT;
    return kli_b_is_of(w, generation) && kli_b_ios(w) == 0;
}

/* D1 */
static inline bool kli_b_begin(uint64_t w, uint64_t generation, uint64_t *next)
{
    *next = w + KLI_B_IO;
    return kli_b_is_of(w, generation) && !(w & KLI_B_HELD) && kli_b_ios(w) < KLI_B_MAX_IOS;
}

static inline bool kli_b_end(uint64_t w, uint64_t generation, uint64_t *next)
{
    *next = w - KLI_B_IO;
    return kli_b_is_of(w, generation) && kli_b_ios(w) > 0;
}

/* D3.  busy_too: who holds waits for its requests. */
static inline bool kli_b_hold(uint64_t w, uint64_t busy_too, uint64_t *next)
{
    *next = w | KLI_B_HELD;
    return !(w & KLI_B_HELD) && (busy_too || kli_b_ios(w) == 0);
}

/* For good: nobody has it. */
static inline bool kli_b_close(uint64_t w, uint64_t arg, uint64_t *next)
{
    (void)arg;
    *next = w | KLI_B_HELD;
    return !(w & (KLI_B_HELD | KLI_B_GOT));
}

static inline bool kli_b_release(uint64_t w, uint64_t arg, uint64_t *next)
{
    (void)arg;
    *next = w & ~KLI_B_HELD;
    return (w & KLI_B_HELD) != 0;
}

/* D4: what the slot has is said while it is HELD. */
static inline bool kli_b_fixed(uint64_t w, uint64_t fixed, uint64_t *next)
{
    *next = fixed ? w | KLI_B_FIXED : w & ~KLI_B_FIXED;
    return (w & KLI_B_HELD) != 0;
}

/* *seen (may be NULL) is the word before the step, or the one that refused it. */
static inline bool kli_uring_apply(_Atomic uint64_t *word, kli_uring_edge *edge, uint64_t arg,
                                   uint64_t *seen)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed), next = 0;
    bool ok;

    do {
        ok = edge(old, arg, &next);
    } while (ok && !atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                          memory_order_relaxed));
    if (seen)
        *seen = old;
    return ok;
}

#endif
