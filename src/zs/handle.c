// SPDX-License-Identifier: Apache-2.0
/* Handles: new ones, retired ones, and the end of an object.
 *
 * Each CPU has a stock of free entries, a ring, under a lock that is the CPU's and so
 * free mostly; the pool has the others, chained, and gives and takes them by the batch.
 * New entries come in whole cache lines: entries that share a line belong to objects
 * that one CPU allocates, and so two CPUs that free their own do not wait for each
 * other's lines.  An entry that is freed elsewhere stays there.
 *
 * Free entries are reused first in, first out, so that a generation comes round late.  An
 * entry that is free, or claimed and no valid handle's, is changed by one thread alone.
 * (E1, E2)
 *
 * (H1) A stock has at most STOCK entries, each of them free and on no other list.
 */
#include "zs/entry.h"
#include "zs/guard.h"
#include "zs/zs.h"

enum { LINE = 64 / sizeof(kli_word), BATCH = 2 * LINE, STOCK = 32, MOST_STOCKS = 16 };

struct zs_stock {
    _Alignas(64) struct kli_lock lock;
    unsigned first, n; /* of a ring */
    uint32_t entry[STOCK];
};

_Static_assert((STOCK & (STOCK - 1)) == 0 && STOCK >= BATCH, "a ring, with room for a batch");

static unsigned stocks(const struct kl_zs *pool)
{
    unsigned n = 1;

    while (n < pool->host.ncpus && n < MOST_STOCKS)
        n *= 2;
    return n;
}

int zs_handles_create(struct kl_zs *pool)
{
    size_t bytes = stocks(pool) * sizeof(struct zs_stock);

    if (pool->direct)
        return 0;
    pool->stock = kl_zone_meta_alloc(pool->zone, bytes);
    if (!pool->stock)
        return -KL_ENOMEM;
    atomic_fetch_add(&pool->metadata_bytes, bytes);
    pool->stock_mask = stocks(pool) - 1;
    for (unsigned i = 0; i < stocks(pool); i++)
        kli_lock_init(&pool->stock[i].lock, KLI_RANK_ZS_STOCK);
    return 0;
}

void zs_handles_free(struct kl_zs *pool)
{
    if (pool->stock)
        kl_zone_meta_free(pool->zone, pool->stock, stocks(pool) * sizeof(struct zs_stock));
    zs_table_free(pool, &pool->handles);
}

/* This CPU's, or that of one that shares it; locked. */
static struct zs_stock *stock_lock(struct kl_zs *pool)
{
    struct zs_stock *stock = &pool->stock[pool->host.cpu(pool->host.ctx) & pool->stock_mask];

    kli_spin_take(&pool->host, &stock->lock);
    return stock;
}

static void stock_unlock(struct kl_zs *pool, struct zs_stock *stock)
{
    kli_spin_drop(&pool->host, &stock->lock);
}

static void stock_put(struct zs_stock *stock, uint32_t index)
{
    stock->entry[(stock->first + stock->n++) % STOCK] = index;
}

static uint32_t stock_get(struct zs_stock *stock)
{
    uint32_t index = stock->entry[stock->first];

    stock->first = (stock->first + 1) % STOCK;
    stock->n--;
    return index;
}

/* To the pool's chain; its end is index + 1, 0 is none. */
static void give(struct kl_zs *pool, const uint32_t *index, uint32_t n)
{
    kli_lock_take(&pool->host, &pool->handles_lock);
    for (uint32_t i = 0; i < n; i++) {
        kli_apply_alone(zs_entry(pool, index[i]), zs_e_chain, 0);
        if (pool->handle_first)
            kli_apply_alone(zs_entry(pool, pool->handle_last - 1), zs_e_chain, index[i] + 1);
        else
            pool->handle_first = index[i] + 1;
        pool->handle_last = index[i] + 1;
    }
    kli_lock_drop(&pool->host, &pool->handles_lock);
}

/* Entries that nobody had before; under the handles lock. */
static int new_ones(struct kl_zs *pool, uint32_t *index)
{
    uint32_t first;
    int err = zs_table_grow(pool, &pool->handles, BATCH, &first);

    for (uint32_t i = 0; !err && i < BATCH; i++) {
        uint64_t generation = zs_guard_generation(pool, first + i);

        index[i] = first + i;
        atomic_store_explicit(zs_entry(pool, index[i]),
                              zs_e_with_pins(generation << 48, ZS_PINS_FREE), memory_order_relaxed);
    }
    return err;
}

/* Up to BATCH free entries, which nobody else knows. */
static int get(struct kl_zs *pool, uint32_t *index, uint32_t *n)
{
    int err = 0;

    *n = 0;
    kli_lock_take(&pool->host, &pool->handles_lock);
    while (*n < BATCH && pool->handle_first) {
        uint32_t i = pool->handle_first - 1;
        uint64_t e = atomic_load_explicit(zs_entry(pool, i), memory_order_relaxed);

        pool->handle_first = (uint32_t)(e & ZS_E_PLACE);
        index[(*n)++] = i;
    }
    if (*n == 0) {
        err = new_ones(pool, index);
        *n = err ? 0 : BATCH;
    }
    kli_lock_drop(&pool->host, &pool->handles_lock);
    return err;
}

/* No lock is held.  What others have filled the stock with meanwhile stays. */
int zs_handles_refill(struct kl_zs *pool)
{
    uint32_t index[BATCH], n, done = 0;
    struct zs_stock *stock;
    int err = get(pool, index, &n);

    if (err)
        return err;
    stock = stock_lock(pool);
    while (done < n && stock->n < STOCK)
        stock_put(stock, index[done++]);
    stock_unlock(pool, stock);
    give(pool, index + done, n - done);
    return 0;
}

/* An entry that is claimed by the caller; false: there is none at hand. */
bool zs_handle_take(struct kl_zs *pool, uint32_t *index)
{
    struct zs_stock *stock = stock_lock(pool);
    bool any = stock->n > 0;

    if (any)
        *index = stock_get(stock);
    stock_unlock(pool, stock);
    if (any)
        kli_apply_alone(zs_entry(pool, *index), zs_e_new, 0);
    return any;
}

/* Gives up a claimed entry.  Too many for one CPU: the oldest ones are the pool's. */
void zs_handle_retire(struct kl_zs *pool, uint32_t index)
{
    uint32_t old[BATCH], n = 0;
    struct zs_stock *stock;

    KLI_REQUIRE(&pool->host, kli_apply_alone(zs_entry(pool, index), zs_e_retire, 0));
    stock = stock_lock(pool);
    if (stock->n == STOCK) {
        while (n < BATCH)
            old[n++] = stock_get(stock);
    }
    stock_put(stock, index);
    stock_unlock(pool, stock);
    if (n > 0)
        give(pool, old, n);
}

/* The end of an object whose entry this thread has claimed; how many frames went. */
uint32_t zs_object_gone(struct kl_zs *pool, uint32_t index)
{
    uint64_t e = atomic_load_explicit(zs_entry(pool, index), memory_order_acquire);
    struct zspage *page = zs_page(pool, zs_place_page(e));
    struct zs_class *class = zs_class_of(pool, page);
    bool empty;

    zs_guard_free(pool, page, zs_place_slot(e), index);
    zs_class_lock(pool, class);
    empty = zs_slot_free(pool, class, page, zs_place_slot(e));
    zs_handle_retire(pool, index);
    zs_class_unlock(pool, class);
    return empty ? zs_page_bury(pool, page) : 0;
}
