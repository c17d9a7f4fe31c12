// SPDX-License-Identifier: Apache-2.0
/* Handles: new ones, retired ones, and the end of an object.
 *
 * A class keeps some free entries under its own lock, which malloc and free take anyway;
 * the pool has the others, and gives and takes them by the batch.  Free entries are
 * reused first in, first out, so that a generation comes round as late as can be.  An entry
 * that is free, or claimed and no valid handle's, is changed by one thread alone. (E1, E2)
 */
#include "zs/entry.h"
#include "zs/guard.h"
#include "zs/zs.h"

enum { BATCH = 16, MOST = 48 };

static kli_word *entry_at(const struct kl_zs *pool, uint32_t index)
{
    return zs_table_at(&pool->handles, index);
}

/* A chain of free entries: ends are index + 1, 0 is none. */
struct chain {
    uint32_t first, last, n;
};

static void chain_to(struct kl_zs *pool, uint32_t *first, uint32_t *last, const struct chain *more)
{
    if (*first)
        kli_apply_alone(entry_at(pool, *last - 1), zs_e_chain, more->first);
    else
        *first = more->first;
    *last = more->last;
}

static uint32_t next_of(const struct kl_zs *pool, uint32_t end)
{
    uint64_t e = atomic_load_explicit(entry_at(pool, end - 1), memory_order_relaxed);

    return (uint32_t)(e & ZS_E_PLACE);
}

/* Up to n from the beginning of a list. */
static struct chain cut_off(const struct kl_zs *pool, uint32_t *first, uint32_t n)
{
    struct chain chain = {.first = *first};

    while (chain.n < n && *first) {
        chain.last = *first;
        *first = next_of(pool, *first);
        chain.n++;
    }
    return chain;
}

/* With the class lock: an entry that is claimed by the caller; false: there is none. */
bool zs_handle_take(struct kl_zs *pool, struct zs_class *class, uint32_t *index)
{
    if (!class->handle_first)
        return false;
    *index = class->handle_first - 1;
    class->handle_first = next_of(pool, class->handle_first);
    class->handles--;
    kli_apply_alone(entry_at(pool, *index), zs_e_new, 0);
    return true;
}

/* Entries that nobody had before; under the handles lock. */
static int new_ones(struct kl_zs *pool, struct chain *chain)
{
    uint32_t first;
    int err = zs_table_grow(pool, &pool->handles, BATCH, &first);

    if (err)
        return err;
    for (uint32_t i = first; i < first + BATCH; i++) {
        uint32_t next = i + 1 < first + BATCH ? i + 2 : 0;
        uint64_t e = zs_e_with_pins(zs_guard_generation(pool, i) << 48 | next, ZS_PINS_FREE);

        atomic_store_explicit(entry_at(pool, i), e, memory_order_relaxed);
    }
    *chain = (struct chain){first + 1, first + BATCH, BATCH};
    return 0;
}

/* No lock is held. */
int zs_handles_refill(struct kl_zs *pool, struct zs_class *class)
{
    struct chain chain;
    int err = 0;

    kli_lock_take(&pool->host, &pool->handles_lock);
    chain = cut_off(pool, &pool->handle_first, BATCH);
    if (chain.n == 0)
        err = new_ones(pool, &chain);
    else
        kli_apply_alone(entry_at(pool, chain.last - 1), zs_e_chain, 0);
    kli_lock_drop(&pool->host, &pool->handles_lock);
    if (err)
        return err;
    zs_class_lock(pool, class);
    chain_to(pool, &class->handle_first, &class->handle_last, &chain);
    class->handles += chain.n;
    zs_class_unlock(pool, class);
    return 0;
}

/* Too many for one class: the oldest ones are the pool's. */
static void give_some(struct kl_zs *pool, struct zs_class *class)
{
    struct chain chain = cut_off(pool, &class->handle_first, BATCH);

    class->handles -= chain.n;
    kli_apply_alone(entry_at(pool, chain.last - 1), zs_e_chain, 0);
    kli_lock_take(&pool->host, &pool->handles_lock);
    chain_to(pool, &pool->handle_first, &pool->handle_last, &chain);
    kli_lock_drop(&pool->host, &pool->handles_lock);
}

/* With the class lock: gives up a claimed entry. */
void zs_handle_retire(struct kl_zs *pool, struct zs_class *class, uint32_t index)
{
    const struct chain one = {index + 1, index + 1, 1};

    KLI_REQUIRE(&pool->host, kli_apply_alone(entry_at(pool, index), zs_e_retire, 0));
    chain_to(pool, &class->handle_first, &class->handle_last, &one);
    if (++class->handles > (zs_is_retired(class) ? 0 : MOST))
        give_some(pool, class);
}

/* With the class lock, of a class that retires: what it has is the pool's. */
void zs_handles_leave(struct kl_zs *pool, struct zs_class *class)
{
    while (class->handles > 0)
        give_some(pool, class);
}

/* The end of an object whose entry this thread has claimed; how many frames went. */
uint32_t zs_object_gone(struct kl_zs *pool, uint32_t index)
{
    uint64_t e = atomic_load_explicit(entry_at(pool, index), memory_order_acquire);
    struct zspage *page = zs_page(pool, zs_place_page(e));
    struct zs_class *class = zs_class_of(pool, page);
    bool empty;

    zs_guard_free(pool, page, zs_place_slot(e), index);
    zs_class_lock(pool, class);
    empty = zs_slot_free(pool, class, page, zs_place_slot(e));
    zs_handle_retire(pool, class, index);
    zs_class_unlock(pool, class);
    return empty ? zs_page_bury(pool, page) : 0;
}
