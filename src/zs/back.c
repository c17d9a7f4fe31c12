// SPDX-License-Identifier: Apache-2.0
/* From an object to its entry, for object compaction alone: fifteen bits say in which
 * region of entries it is, and the region is searched for the one that names the object.
 *
 * In a direct pool all regions are alike.  Handles come into being one after the other:
 * chunk i of their table has 1024 regions of 2^i (table.c).
 *
 * (B1) A slot names one region from when it is taken until it is free, and the entry that
 *      names the object, if there is one, is in it.
 */
#include "zs/direct.h"
#include "zs/zs.h"

enum { BITS = 10 };

uint16_t zs_back(const struct kl_zs *pool, uint32_t index)
{
    uint64_t v = (uint64_t)index + (1u << BITS);
    unsigned chunk;

    if (pool->direct)
        return (uint16_t)(index >> pool->direct_shift);
    chunk = 63u - (unsigned)__builtin_clzll(v) - BITS;
    return (uint16_t)(chunk << BITS | ((v >> chunk) & ((1u << BITS) - 1)));
}

static kli_word *region(const struct kl_zs *pool, uint16_t back, uint32_t *first, uint32_t *n)
{
    unsigned chunk = back >> BITS;

    if (pool->direct) {
        *first = (uint32_t)back << pool->direct_shift;
        *n = (uint32_t)kli_min(UINT32_C(1) << pool->direct_shift, pool->direct_n - *first);
        return pool->direct + *first;
    }
    *first =
        (uint32_t)((((back & ((UINT64_C(1) << BITS) - 1)) | 1u << BITS) << chunk) - (1u << BITS));
    *n = UINT32_C(1) << chunk;
    return zs_entry(pool, *first);
}

/* NULL: no entry names it: not yet, or no more. */
kli_word *zs_back_find(struct kl_zs *pool, uint16_t back, uint64_t place, uint32_t *index)
{
    uint32_t first, n;
    kli_word *entry = region(pool, back, &first, &n);

    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = atomic_load_explicit(&entry[i], memory_order_relaxed);

        if ((word & ZS_W_NAME) != (place | ZS_W_OBJECT))
            continue;
        *index = first + i;
        return &entry[i];
    }
    return NULL;
}
