// SPDX-License-Identifier: Apache-2.0
/* Handles: new ones, retired ones, and the end of an object.
 *
 * Free entries are reused first in, first out, so that a generation comes round
 * as late as can be.
 */
#include "zs/entry.h"
#include "zs/zs.h"

static kli_word *entry_at(const struct kl_zs *pool, uint32_t index)
{
    return zs_table_at(&pool->handles, index);
}

/* An entry that is claimed by the caller. */
int zs_handle_new(struct kl_zs *pool, uint32_t *index)
{
    kli_word *entry;
    int err = 0;

    kli_lock_take(&pool->host, &pool->handles_lock);
    if (pool->handle_first) {
        *index = pool->handle_first - 1;
        entry = entry_at(pool, *index);
        pool->handle_first = zs_e_page(atomic_load_explicit(entry, memory_order_relaxed));
        kli_apply(entry, zs_e_new, 0, NULL);
    } else if (pool->handles.used == ZS_MAX_HANDLES) {
        err = -KL_ENOMEM;
    } else {
        err = zs_table_grow(pool, &pool->handles, 1, index);
        if (err == 0)
            atomic_store_explicit(entry_at(pool, *index),
                                  zs_e_with_pins(UINT64_C(1) << 48, ZS_PINS_CLAIMED),
                                  memory_order_relaxed);
    }
    kli_lock_drop(&pool->host, &pool->handles_lock);
    return err;
}

/* Gives up a claimed entry. */
void zs_handle_release(struct kl_zs *pool, uint32_t index)
{
    KLI_REQUIRE(&pool->host, kli_apply(entry_at(pool, index), zs_e_retire, 0, NULL));
    kli_lock_take(&pool->host, &pool->handles_lock);
    if (pool->handle_first)
        kli_apply(entry_at(pool, pool->handle_last - 1), zs_e_chain, (uint64_t)index + 1, NULL);
    else
        pool->handle_first = index + 1;
    pool->handle_last = index + 1;
    kli_lock_drop(&pool->host, &pool->handles_lock);
}

/* The end of an object whose entry this thread has claimed. */
void zs_object_gone(struct kl_zs *pool, uint32_t index)
{
    uint64_t e = atomic_load_explicit(entry_at(pool, index), memory_order_acquire);
    struct zspage *page = zs_page(pool, zs_e_page(e));
    struct zs_class *class = zs_class_of(pool, page);
    bool empty;

    kli_lock_take(&pool->host, &class->lock);
    empty = zs_slot_free(pool, class, page, zs_e_slot(e));
    kli_lock_drop(&pool->host, &class->lock);
    zs_handle_release(pool, index);
    if (empty)
        zs_page_bury(pool, page);
}
