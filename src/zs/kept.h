// SPDX-License-Identifier: Apache-2.0
/* Objects kept at hand, per CPU and class (kept.c): the way in and out, inline. */
#ifndef KLI_ZS_KEPT_H
#define KLI_ZS_KEPT_H

#include "zs/entry.h"
#include "zs/zs.h"

/* The stack of this class on processor 0, as the host counts (klotski/host.h). */
static inline struct kl_cpu_stack *zs_kept_of(const struct kl_zs *pool,
                                              const struct zs_class *class)
{
    size_t pair = class->index / KL_CPU_STACKS;

    return &pool->kept[pair * pool->host.ncpus * KL_CPU_STACKS + class->index % KL_CPU_STACKS];
}

/* Keeps an object that was freed, whose entry is the caller's; false: there is no room. */
static inline bool zs_keep(struct kl_zs *pool, uint32_t index)
{
    kli_word *entry = zs_table_at(&pool->handles, index);
    uint64_t e = atomic_load_explicit(entry, memory_order_relaxed);
    const struct zs_class *class = zs_class_of(pool, zs_page(pool, zs_place_page(e)));

    if (!pool->kept || zs_is_retired(class))
        return false;
    atomic_store_explicit(entry, e + ZS_E_GENERATION_ONE, memory_order_release); /* K2 */
    if (pool->host.cpu_push(pool->host.ctx, zs_kept_of(pool, class), pool->host.ncpus, index)) {
        if (!atomic_load_explicit(&pool->kept_wanted, memory_order_relaxed))
            zs_kept_want(pool);
        return true;
    }
    atomic_store_explicit(entry, e, memory_order_relaxed);
    return false;
}

/* An object of this class, its entry valid with the handle of *e; false: none is kept. */
static inline bool zs_kept_take(struct kl_zs *pool, const struct zs_class *class, uint32_t *index,
                                uint64_t *e)
{
    kli_word *entry;

    if (!pool->kept)
        return false;
    *index = pool->host.cpu_pop(pool->host.ctx, zs_kept_of(pool, class), pool->host.ncpus);
    if (*index == KL_CPU_NONE)
        return false;
    entry = zs_table_at(&pool->handles, *index);
    *e = atomic_load_explicit(entry, memory_order_acquire);
    KLI_REQUIRE(&pool->host, zs_e_is_kept(*e)); /* K1 */
    *e = zs_e_with_pins(*e & ~ZS_E_DYING, 0);
    atomic_store_explicit(entry, *e, memory_order_release);
    return true;
}

#endif
