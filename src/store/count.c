// SPDX-License-Identifier: Apache-2.0
/* The store's counters, one set a CPU, so that threads share no line of them.  Only
 * their sums mean anything: a block may come in on one CPU and go out on another. */
#include "store/entry.h"
#include "store/store.h"

void store_add(struct kl_store *store, enum store_counter which, uint64_t n)
{
    struct store_counts *mine = &store->counts[store->host.cpu(store->host.ctx)];

    atomic_fetch_add_explicit(&mine->n[which], n, memory_order_relaxed);
}

void store_tick(struct kl_store *store, enum store_counter which)
{
    store_add(store, which, 1);
}

/* While others count it may miss a word that comes in and see it go out: not below 0. */
uint64_t store_sum(const struct kl_store *store, enum store_counter which)
{
    uint64_t sum = 0;

    for (unsigned cpu = 0; cpu < store->host.ncpus; cpu++)
        sum += atomic_load_explicit(&store->counts[cpu].n[which], memory_order_relaxed);
    return (int64_t)sum < 0 ? 0 : sum;
}

/* Bytes of payload that this word stands for. */
uint64_t store_payload(const struct kl_store *store, uint64_t word)
{
    if (!store_has_object(word))
        return 0;
    return store_kind(word) == KL_STORE_RAW ? store->block_bytes : store_bytes(word);
}

static void count_kind(uint64_t *n, uint64_t word)
{
    static const enum store_counter kinds[] = {
        [KL_STORE_SAME] = STORE_SAME,       [KL_STORE_COMPRESSED] = STORE_COMPRESSED,
        [KL_STORE_RAW] = STORE_RAW,         [KL_STORE_SHARED] = STORE_SHARED,
        [KL_STORE_WRITTEN] = STORE_WRITTEN,
    };

    if (word)
        n[kinds[store_kind(word)]]++;
}

/* What this word adds to the counters that say what is there now. */
void store_weigh(const struct kl_store *store, uint64_t index, uint64_t word,
                 uint64_t n[STORE_COUNTERS])
{
    if (index < store->blocks)
        count_kind(n, word);
    else
        n[STORE_SHARED_OBJECTS] += store_has_object(word);
    n[STORE_SECOND] += store_has_object(word) && store_codec(word) == 1;
    n[STORE_PAYLOAD] += store_payload(store, word);
}

/* (S2) sign: 1 for a word that came in, -1 for one that went out. */
void store_count(struct kl_store *store, uint64_t index, uint64_t word, int sign)
{
    uint64_t n[STORE_COUNTERS] = {0};

    if (!word)
        return;
    store_weigh(store, index, word, n);
    for (unsigned i = 0; i < STORE_NOW; i++) {
        if (n[i])
            store_add(store, i, (uint64_t)(int64_t)sign * n[i]);
    }
}
