// SPDX-License-Identifier: Apache-2.0
/* Locks of one word.  The sleeping one: spin a little, then sleep on the word.
 *
 * (L1) Ranks rise.  Each thread keeps one bit per rank that it holds.
 */
#include "base/lock.h"

#if KL_DEBUG
static _Thread_local uint32_t held_ranks;

static void rank_enter(const struct kl_host *host, uint32_t rank, bool may_wait)
{
    uint32_t bit = UINT32_C(1) << rank;

    KLI_REQUIRE(host, !may_wait || held_ranks < bit); /* L1 */
    held_ranks |= bit;
}

static void rank_leave(const struct kl_host *host, uint32_t rank)
{
    KLI_REQUIRE(host, (held_ranks & (UINT32_C(1) << rank)) != 0);
    held_ranks &= ~(UINT32_C(1) << rank);
}
#else
static void rank_enter(const struct kl_host *host, uint32_t rank, bool may_wait)
{
    (void)host, (void)rank, (void)may_wait;
}

static void rank_leave(const struct kl_host *host, uint32_t rank)
{
    (void)host, (void)rank;
}
#endif

void kli_lock_init(struct kli_lock *lock, enum kli_rank rank)
{
    atomic_init(&lock->word, 0);
    lock->rank = rank;
}

static bool try_word(struct kli_lock *lock)
{
    uint32_t free_word = 0;

    return atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

bool kli_lock_try(const struct kl_host *host, struct kli_lock *lock)
{
    if (!try_word(lock))
        return false;
    rank_enter(host, lock->rank, false);
    return true;
}

void kli_lock_take(const struct kl_host *host, struct kli_lock *lock)
{
    enum { SPINS = 100 };

    rank_enter(host, lock->rank, true);
    for (int i = 0; i < SPINS; i++) {
        if (try_word(lock))
            return;
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        host->wait(host->ctx, (const uint32_t *)&lock->word, 2, UINT64_MAX);
}

void kli_lock_drop(const struct kl_host *host, struct kli_lock *lock)
{
    rank_leave(host, lock->rank);
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        host->wake(host->ctx, (const uint32_t *)&lock->word, false);
}

bool kli_spin_try(const struct kl_host *host, struct kli_lock *lock)
{
    return kli_lock_try(host, lock);
}

void kli_spin_take(const struct kl_host *host, struct kli_lock *lock)
{
    rank_enter(host, lock->rank, true);
    for (unsigned round = 0; !try_word(lock); round++)
        host->relax(host->ctx, round);
}

void kli_spin_drop(const struct kl_host *host, struct kli_lock *lock)
{
    rank_leave(host, lock->rank);
    atomic_store_explicit(&lock->word, 0, memory_order_release);
}
