// SPDX-License-Identifier: Apache-2.0
/* Objects kept at hand, per CPU and class (kept.c): the way in and out, inline. */
#ifndef KLI_ZS_KEPT_H
#define KLI_ZS_KEPT_H

#include "zs/entry.h"
#include "zs/zs.h"

/* The stack of this class on processor 0, as the host counts (klotski/host.h). */
static inline struct kl_cpu_stack *zs_kept_of(const struct kl_zs *pool, uint32_t class)
{
    size_t pair = class / KL_CPU_STACKS;

    return &pool->kept[pair * pool->host.ncpus * KL_CPU_STACKS + class % KL_CPU_STACKS];
}

enum zs_kept { ZS_NOT_MINE, ZS_KEPT, ZS_NO_ROOM };

/* Frees an object, if it is a valid handle's and rests, and keeps it.  NO_ROOM: it is the
 * caller's, claimed and DYING, and to be ended.  NOT_MINE: nothing was done. */
static inline enum zs_kept zs_keep(struct kl_zs *pool, kli_word *entry, uint32_t index,
                                   uint64_t generation)
{
    uint64_t e = atomic_load_explicit(entry, memory_order_relaxed), seen;
    const uint16_t *class;

    if (!pool->kept || !zs_e_keep(e, generation).ok)
        return ZS_NOT_MINE;
    class = zs_page_class(pool, zs_place_page(e));
    __builtin_prefetch(class); /* it comes while the entry changes */
    if (!kli_apply(entry, zs_e_keep, generation, &seen))
        return ZS_NOT_MINE;
    if (zs_place_page(seen ^ e) != 0) /* moved meanwhile */
        class = zs_page_class(pool, zs_place_page(seen));
    KLI_TRACE_STEP(zs_free_marked, pool->tag, index, 0);
    if (pool->host.cpu_push(pool->host.ctx, zs_kept_of(pool, *class), pool->host.ncpus, index)) {
        if (!atomic_load_explicit(&pool->kept_wanted, memory_order_relaxed))
            zs_kept_want(pool);
        return ZS_KEPT;
    }
    kli_apply_alone(entry, zs_e_end, 0);
    return ZS_NO_ROOM;
}

/* An object of this class, its entry valid with the handle of *e; false: none is kept. */
static inline bool zs_kept_take(struct kl_zs *pool, uint32_t class, uint32_t *index, uint64_t *e)
{
    struct kli_step step;
    kli_word *entry;

    if (!pool->kept)
        return false;
    *index = pool->host.cpu_pop(pool->host.ctx, zs_kept_of(pool, class), pool->host.ncpus);
    if (*index == KL_CPU_NONE)
        return false;
    entry = zs_entry(pool, *index);
    step = zs_e_again(atomic_load_explicit(entry, memory_order_acquire), 0);
    KLI_REQUIRE(&pool->host, step.ok); /* K1 */
    atomic_store_explicit(entry, step.next, memory_order_release);
    *e = step.next;
    return true;
}

#endif
