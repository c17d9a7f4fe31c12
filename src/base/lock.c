// SPDX-License-Identifier: Apache-2.0
/* Locks of one word.  The sleeping one: spin a little, then sleep on the word.
 *
 * (L1) Ranks rise.  Each thread keeps one bit per rank that it holds.
 */
#include "base/lock.h"

#if KL_DEBUG
static _Thread_local uint32_t held_ranks;

void kli_rank_enter(const struct kl_host *host, uint32_t rank, bool may_wait)
{
    uint32_t bit = UINT32_C(1) << rank;

    KLI_REQUIRE(host, !may_wait || held_ranks < bit); /* L1 */
    held_ranks |= bit;
}

void kli_rank_leave(const struct kl_host *host, uint32_t rank)
{
    KLI_REQUIRE(host, (held_ranks & (UINT32_C(1) << rank)) != 0);
    held_ranks &= ~(UINT32_C(1) << rank);
}
#endif

void kli_lock_init(struct kli_lock *lock, enum kli_rank rank)
{
    atomic_init(&lock->word, 0);
    lock->rank = rank;
}

bool kli_lock_try(const struct kl_host *host, struct kli_lock *lock)
{
    if (!kli_lock_word_try(lock))
        return false;
    kli_rank_enter(host, lock->rank, false);
    return true;
}

void kli_lock_take(const struct kl_host *host, struct kli_lock *lock)
{
    enum { SPINS = 100 };

    kli_rank_enter(host, lock->rank, true);
    for (int i = 0; i < SPINS; i++) {
        if (kli_lock_word_try(lock))
            return;
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        host->wait(host->ctx, (const uint32_t *)&lock->word, 2, UINT64_MAX);
}

void kli_lock_drop(const struct kl_host *host, struct kli_lock *lock)
{
    kli_rank_leave(host, lock->rank);
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        host->wake(host->ctx, (const uint32_t *)&lock->word, false);
}

void kli_spin_wait(const struct kl_host *host, struct kli_lock *lock)
{
    for (unsigned round = 0;
         atomic_load_explicit(&lock->word, memory_order_relaxed) != 0 || !kli_lock_word_try(lock);
         round++)
        host->relax(host->ctx, round);
}
