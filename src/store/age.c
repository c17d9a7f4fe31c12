// SPDX-License-Identifier: Apache-2.0
/* How long blocks were not read or written: two bits of a word, raised by ticks, cleared
 * by an access.
 *
 * A sweep goes over the table in pieces; each piece is taken by one thread, so that a
 * sweep looks at each word once, however many do it.
 *
 * (A1) A tick raises an age by one at most, and never beyond 3.
 */
#include "store/entry.h"
#include "store/store.h"

/* Takes the next piece of the sweep, at most `most` words; where it ends.  The last one
 * puts the cursor back to the beginning. */
static uint64_t next_piece(const struct kl_store *store, _Atomic uint64_t *cursor, uint64_t most,
                           uint64_t *from)
{
    uint64_t at = atomic_load_explicit(cursor, memory_order_relaxed), end;

    do {
        end = store->entries - at > most ? at + most : store->entries;
    } while (!atomic_compare_exchange_weak_explicit(cursor, &at, end < store->entries ? end : 0,
                                                    memory_order_relaxed, memory_order_relaxed));
    *from = at;
    return end;
}

/* Calls `each` for up to budget words (0: as many as there are to the end); how many are
 * left in this sweep. */
uint64_t store_sweep(struct kl_store *store, _Atomic uint64_t *cursor, uint64_t budget,
                     bool (*each)(struct kl_store *store, uint64_t index, void *arg), void *arg)
{
    uint64_t at, end;

    if (budget == 0)
        budget = store->entries;
    do {
        end = next_piece(store, cursor, kli_min(budget, STORE_PIECE), &at);
        budget -= end - at;
        for (; at < end; at++) {
            if (!each(store, at, arg))
                return store->entries - at;
        }
    } while (budget > 0 && end < store->entries);
    return store->entries - end;
}

static bool older(struct kl_store *store, uint64_t index, void *arg)
{
    (void)arg;
    kli_apply(&store->table[index], store_w_age, 0, NULL); /* A1 */
    return true;
}

uint64_t kl_store_age(struct kl_store *store, uint64_t budget)
{
    uint64_t left = store_sweep(store, &store->age_cursor, budget, older, NULL);

    if (left == 0)
        atomic_fetch_add_explicit(&store->ticks, 1, memory_order_relaxed);
    return left;
}

int kl_store_block_age(struct kl_store *store, uint64_t block)
{
    uint64_t word;

    if (block >= store->blocks)
        return -KL_ERANGE;
    word = atomic_load_explicit(&store->table[block], memory_order_relaxed);
    if (store_kind(word) == KL_STORE_SHARED)
        word = atomic_load_explicit(&store->table[store_shared_index(word)], memory_order_relaxed);
    return store_has_object(word) ? (int)store_age(word) : 0;
}
