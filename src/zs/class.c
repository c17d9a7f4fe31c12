// SPDX-License-Identifier: Apache-2.0
/* The table of size classes.
 *
 * Up to 4096 bytes there is a size every 16 bytes.  Each gets the shortest chain
 * that wastes less than 1/64 of itself, or else the one that wastes least, and
 * sizes with the same (frames, objects) share a class, which has the largest.
 *
 * Above, sizes are chosen so that they fill a chain exactly: from one to the next
 * smaller by 1/40 to 1/24, whatever has the shortest chain.  More classes would
 * waste less within objects, but each class has a zspage that is half full.
 */
#include "zs/zs.h"

enum { SMALL_MAX = 4096 };

struct shape {
    uint32_t size;
    uint32_t chain;
    uint32_t objects;
};

static uint32_t max_chain(size_t frame_bytes)
{
    uint32_t frames = (uint32_t)((size_t)KL_ZS_MAX_SIZE / frame_bytes);

    return (uint32_t)kli_min(ZS_MAX_CHAIN, kli_max(2, frames));
}

static struct shape small_shape(uint32_t size, size_t frame_bytes)
{
    struct shape best = {0};
    uint64_t best_waste = 0;

    for (uint32_t n = 1; n <= max_chain(frame_bytes); n++) {
        uint64_t bytes = n * frame_bytes, objects = bytes / size, waste = bytes - objects * size;

        if (best.chain == 0 || waste * best.chain < best_waste * n) {
            best = (struct shape){size, n, (uint32_t)objects};
            best_waste = waste;
        }
        if (waste * 64 < bytes)
            break;
    }
    return best;
}

/* The largest size of at most `most` bytes that fills a chain of n frames. */
static struct shape filling(uint32_t n, size_t frame_bytes, uint32_t most)
{
    uint64_t bytes = n * frame_bytes, objects = kli_div_up(bytes, most);

    return (struct shape){(uint32_t)(bytes / objects) & ~(ZS_ALIGN - 1u), n, (uint32_t)objects};
}

/* The next class below `above`: a size within reach that has the shortest chain,
 * or else the largest one. */
static struct shape large_shape(uint32_t above, size_t frame_bytes)
{
    uint32_t most = above - above / 40, least = above - above / 24;
    struct shape largest = {0};

    for (uint32_t n = 1; n <= max_chain(frame_bytes); n++) {
        struct shape shape = filling(n, frame_bytes, most);

        if (shape.size >= least)
            return shape;
        if (shape.size > largest.size)
            largest = shape;
    }
    return largest;
}

static struct shape largest_shape(size_t frame_bytes)
{
    uint32_t chain = (uint32_t)kli_div_up(KL_ZS_MAX_SIZE, frame_bytes);

    return filling(chain, frame_bytes, KL_ZS_MAX_SIZE);
}

static struct shape next_shape(uint32_t above, size_t frame_bytes)
{
    struct shape shape = {0};

    if (above > SMALL_MAX)
        shape = large_shape(above, frame_bytes);
    if (shape.size > SMALL_MAX)
        return shape;
    return small_shape((uint32_t)kli_min(SMALL_MAX, above - ZS_ALIGN), frame_bytes);
}

/* Goes down all sizes; with classes NULL only counts.  classes[n - 1] is the
 * largest class. */
static uint32_t fill(const struct kl_zs *pool, struct zs_class *classes, uint32_t n)
{
    size_t frame_bytes = (size_t)1 << pool->frame_shift;
    struct shape shape = largest_shape(frame_bytes), last = {0};
    uint32_t found = 0;

    for (;; shape = next_shape(last.size, frame_bytes)) {
        if (shape.chain != last.chain || shape.objects != last.objects) {
            found++;
            if (classes)
                classes[n - found] = (struct zs_class){
                    .size = shape.size, .chain = shape.chain, .objects = shape.objects};
        }
        if (shape.size == ZS_ALIGN)
            return found;
        last = shape;
    }
}

static void number(struct kl_zs *pool)
{
    uint32_t low = 0;

    for (uint32_t i = 0; i < pool->nclasses; i++) {
        pool->classes[i].index = i;
        kli_lock_init(&pool->classes[i].lock, KLI_RANK_ZS_CLASS);
        for (; low < pool->classes[i].size / ZS_ALIGN; low++)
            pool->class_of[low] = (uint16_t)i;
    }
}

static size_t lookup_bytes(void)
{
    return KL_ZS_MAX_SIZE / ZS_ALIGN * sizeof(uint16_t);
}

int zs_classes_create(struct kl_zs *pool)
{
    pool->nclasses = fill(pool, NULL, 0);
    pool->class_of = kl_zone_meta_alloc(pool->zone, lookup_bytes());
    pool->classes = kl_zone_meta_alloc(pool->zone, pool->nclasses * sizeof(struct zs_class));
    if (!pool->class_of || !pool->classes)
        return -KL_ENOMEM;
    fill(pool, pool->classes, pool->nclasses);
    number(pool);
    pool->metadata_bytes += lookup_bytes() + pool->nclasses * sizeof(struct zs_class);
    return 0;
}

void zs_classes_free(struct kl_zs *pool)
{
    if (pool->class_of)
        kl_zone_meta_free(pool->zone, pool->class_of, lookup_bytes());
    if (pool->classes)
        kl_zone_meta_free(pool->zone, pool->classes, pool->nclasses * sizeof(struct zs_class));
}
