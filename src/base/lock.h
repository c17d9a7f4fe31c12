// SPDX-License-Identifier: Apache-2.0
/* A sleeping lock of one word, and the order in which locks are taken.
 *
 * Lock order, outermost first.  In debug builds a thread that takes a lock whose
 * rank is not above all those it holds is stopped (L1); a try-lock may be taken
 * in any order, since it never waits.
 *
 *   SHM_BUDGET    what objects that are elsewhere cost; over giving blocks back
 *   frame lock    a bit of the frame's state word (frame/state.h); framework and
 *                 owners only try it, or wait bounded with nothing else held
 *   entry         a bit of a handle's word (zs/entry.h); tried only
 *   ZS_KEPT       who drains objects that a pool keeps at hand
 *   ZS_CLASS      one size class of a pool
 *   ZS_STOCK      free handles of a pool that a CPU has
 *   ZS_HANDLES    the others
 *   ZS_ARENA      descriptors of a pool
 *   ZS_DEFERRED   empty zspages that wait
 *   POOL          a CPU's share of a pool of frames
 *   STORE_CONTEXT compressor contexts
 *   SHM           lists of objects, batches and pins; attachments (shm/shm.h)
 *   ZONE_OWNERS   registration of owners
 *   ROUNDS        which threads make a round over the shrinkers
 *   ZONE_PINS     the table of pinned objects; the owner's own lock is held
 *   LIMITS        setting a zone's limits and marks; over a trim, which takes none of these
 *                 but the next
 *   LOOKS         waiting until nobody looks at memory that is to go (frame/look.h)
 *   CMA           bits of an area; with any other held, since who keeps frames gives them
 *                 in the middle of anything (frame/kept.c)
 */
#ifndef KLI_BASE_LOCK_H
#define KLI_BASE_LOCK_H

#include "base/check.h"

#include <stdatomic.h>

enum kli_rank {
    KLI_RANK_SHM_BUDGET = 1,
    KLI_RANK_ZS_KEPT,
    KLI_RANK_ZS_CLASS,
    KLI_RANK_ZS_STOCK,
    KLI_RANK_ZS_HANDLES,
    KLI_RANK_ZS_ARENA,
    KLI_RANK_ZS_DEFERRED,
    KLI_RANK_POOL,
    KLI_RANK_STORE_CONTEXT,
    KLI_RANK_SHM,
    KLI_RANK_ZONE_OWNERS,
    KLI_RANK_ROUNDS,
    KLI_RANK_ZONE_PINS,
    KLI_RANK_LIMITS,
    KLI_RANK_LOOKS,
    KLI_RANK_CMA,
};

struct kli_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody may sleep */
    uint32_t rank;
};

void kli_lock_init(struct kli_lock *lock, enum kli_rank rank);
void kli_lock_take(const struct kl_host *host, struct kli_lock *lock);
bool kli_lock_try(const struct kl_host *host, struct kli_lock *lock);
void kli_lock_drop(const struct kl_host *host, struct kli_lock *lock);

/* The same for a lock that is held for moments and taken often: who waits relaxes
 * (klotski/host.h), and nobody is woken, which spares the holder an atomic step. */
void kli_spin_wait(const struct kl_host *host, struct kli_lock *lock);

#if KL_DEBUG
void kli_rank_enter(const struct kl_host *host, uint32_t rank, bool may_wait);
void kli_rank_leave(const struct kl_host *host, uint32_t rank);
#else
static inline void kli_rank_enter(const struct kl_host *host, uint32_t rank, bool may_wait)
{
    (void)host, (void)rank, (void)may_wait;
}

static inline void kli_rank_leave(const struct kl_host *host, uint32_t rank)
{
    (void)host, (void)rank;
}
#endif

static inline bool kli_lock_word_try(struct kli_lock *lock)
{
    uint32_t free_word = 0;

    return atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void kli_spin_take(const struct kl_host *host, struct kli_lock *lock)
{
    kli_rank_enter(host, lock->rank, true);
    if (!kli_lock_word_try(lock))
        kli_spin_wait(host, lock);
}

static inline bool kli_spin_try(const struct kl_host *host, struct kli_lock *lock)
{
    return kli_lock_try(host, lock);
}

static inline void kli_spin_drop(const struct kl_host *host, struct kli_lock *lock)
{
    kli_rank_leave(host, lock->rank);
    atomic_store_explicit(&lock->word, 0, memory_order_release);
}

#endif
