// SPDX-License-Identifier: Apache-2.0
/* Direct pools (direct.h). */
#include "zs/direct.h"
#include "zs/guard.h"
#include "zs/zs.h"

int zs_create_direct(struct kl_zone *zone, const struct kl_zs_config *config, kli_word *table,
                     uint32_t n, struct kl_zs **pool)
{
    return zs_create(zone, config, table, n, pool);
}

int zs_direct_put(struct kl_zs *pool, uint32_t index, const void *bytes, uint32_t n, unsigned flags,
                  uint64_t *name)
{
    struct zs_taken taken;
    int err = zs_take(pool, n, index, flags, true, &taken);

    if (err)
        return err;
    zs_guard_new(pool, taken.page, taken.slot, index);
    zs_object_fill(pool, taken.page, (size_t)taken.class->size * taken.slot, bytes, n);
    *name = zs_place(taken.page->id, taken.slot) | ZS_W_OBJECT;
    zs_users_drop(taken.page);
    KLI_TRACE_STEP(zs_put, pool->tag, taken.page->id, taken.slot);
    return 0;
}

int zs_direct_get(struct kl_zs *pool, uint32_t index, uint64_t word, void *buf, uint32_t n)
{
    const kli_word *entry = &pool->direct[index];

    for (unsigned round = 0; !zs_copy_out(pool, entry, index, word, ZS_W_CLAIMED, 0, buf, n);
         round++) {
        if ((atomic_load_explicit(entry, memory_order_acquire) ^ word) & ~ZS_W_CLAIMED)
            return -KL_ESTALE;
        KLI_TRACE(stall_zspage, pool->tag, zs_place_page(word), round);
        pool->host.relax(pool->host.ctx, round); /* a frame of it is being moved */
    }
    return 0;
}

static void end_object(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    struct zspage *page = zs_page(pool, zs_place_page(word));
    struct zs_class *class = zs_class_of(pool, page);
    bool empty;

    KLI_TRACE_STEP(zs_out, pool->tag, page->id, zs_place_slot(word));
    zs_guard_free(pool, page, zs_place_slot(word), index);
    zs_class_lock(pool, class);
    empty = zs_slot_free(pool, class, page, zs_place_slot(word));
    zs_class_unlock(pool, class);
    if (empty)
        zs_page_bury(pool, page);
    zs_drain_deferred(pool);
}

void zs_direct_free(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    if ((word & ZS_W_OBJECT) && !(word & ZS_W_CLAIMED))
        end_object(pool, index, word);
}

bool zs_direct_claim(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    if (!kli_apply(&pool->direct[index], zs_w_claim, word & ZS_W_NAME, NULL))
        return false;
    KLI_TRACE_STEP(zs_claimed, pool->tag, index, zs_place_page(word));
    return true;
}

void zs_direct_unclaim(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    if (!kli_apply(&pool->direct[index], zs_w_unclaim, word & ZS_W_NAME, NULL))
        end_object(pool, index, word);
}

bool zs_direct_commit(struct kl_zs *pool, uint32_t index, uint64_t word, uint64_t next)
{
    uint64_t name = (word & ZS_W_NAME) | ZS_W_CLAIMED, seen = atomic_load(&pool->direct[index]);
    bool in = false;

    while (!in && (seen & (ZS_W_NAME | ZS_W_CLAIMED)) == name)
        in = atomic_compare_exchange_weak(&pool->direct[index], &seen, next);
    end_object(pool, index, word);
    return in;
}

size_t zs_direct_size(struct kl_zs *pool, uint64_t word)
{
    struct zspage *page = (word & ZS_W_OBJECT) ? zs_page(pool, zs_place_page(word)) : NULL;

    return page ? zs_holds(zs_class_of(pool, page)) : 0;
}

uint64_t zs_direct_frames(const struct kl_zs *pool)
{
    return atomic_load_explicit(&pool->frames, memory_order_relaxed);
}
