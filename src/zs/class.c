// SPDX-License-Identifier: Apache-2.0
/* The table of size classes.
 *
 * For each size, the shortest chain that wastes less than 1/64 of itself, or else
 * the one that wastes least.  Sizes that get the same (frames, objects) share a
 * class, which has the largest of them.
 */
#include "zs/zs.h"

struct shape {
    uint32_t chain;
    uint32_t objects;
};

/* Steps between sizes: fine where objects are small, 1/64 where they are large. */
static uint32_t step_after(uint32_t size)
{
    return size < 4096 ? ZS_ALIGN : size < 16384 ? 64 : 256;
}

static uint32_t max_chain(size_t frame_bytes)
{
    uint32_t frames = (uint32_t)((size_t)2 * KL_ZS_MAX_SIZE / frame_bytes);

    return (uint32_t)kli_min(ZS_MAX_CHAIN, kli_max(2, frames));
}

static struct shape best_shape(uint32_t size, size_t frame_bytes)
{
    struct shape best = {0, 0};
    uint64_t best_waste = 0;

    for (uint32_t n = 1; n <= max_chain(frame_bytes); n++) {
        uint64_t bytes = n * frame_bytes, objects = bytes / size, waste = bytes - objects * size;

        if (objects == 0)
            continue;
        if (best.chain == 0 || waste * best.chain < best_waste * n) {
            best = (struct shape){n, (uint32_t)objects};
            best_waste = waste;
        }
        if (waste * 64 < bytes)
            break;
    }
    return best;
}

/* Goes over all sizes; with classes NULL only counts. */
static uint32_t fill(struct kl_zs *pool, struct zs_class *classes)
{
    size_t frame_bytes = (size_t)1 << pool->frame_shift;
    struct shape last = {0, 0};
    uint32_t n = 0, low = 0;

    for (uint32_t size = ZS_ALIGN; size <= KL_ZS_MAX_SIZE; size += step_after(size)) {
        struct shape shape = best_shape(size, frame_bytes);

        if (n == 0 || shape.chain != last.chain || shape.objects != last.objects)
            n++;
        last = shape;
        if (!classes)
            continue;
        classes[n - 1].index = n - 1;
        classes[n - 1].size = size;
        classes[n - 1].chain = shape.chain;
        classes[n - 1].objects = shape.objects;
        for (; low < size / ZS_ALIGN; low++)
            pool->class_of[low] = (uint16_t)(n - 1);
    }
    return n;
}

static size_t lookup_bytes(void)
{
    return KL_ZS_MAX_SIZE / ZS_ALIGN * sizeof(uint16_t);
}

int zs_classes_create(struct kl_zs *pool)
{
    pool->nclasses = fill(pool, NULL);
    pool->class_of = pool->host.meta_alloc(pool->host.ctx, lookup_bytes());
    pool->classes = pool->host.meta_alloc(pool->host.ctx, pool->nclasses * sizeof(struct zs_class));
    if (!pool->class_of || !pool->classes)
        return -KL_ENOMEM;
    fill(pool, pool->classes);
    for (uint32_t i = 0; i < pool->nclasses; i++)
        kli_lock_init(&pool->classes[i].lock, KLI_RANK_ZS_CLASS);
    pool->metadata_bytes += lookup_bytes() + pool->nclasses * sizeof(struct zs_class);
    return 0;
}

void zs_classes_free(struct kl_zs *pool)
{
    if (pool->class_of)
        pool->host.meta_free(pool->host.ctx, pool->class_of, lookup_bytes());
    if (pool->classes)
        pool->host.meta_free(pool->host.ctx, pool->classes,
                             pool->nclasses * sizeof(struct zs_class));
}
