// SPDX-License-Identifier: Apache-2.0
/* A pool as a shrinker: what object compaction could free, and freeing it.
 *
 * It counts and frees frames, those of empty zspages that wait to be freed among them.
 * The count passes a class by whose lock is held, and so does a scan in KL_ASYNC: only
 * locks that are held for moments are waited for then, since nobody else compacts.
 */
#include "zs/zs.h"

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct kl_zs *pool = ctx;
    uint64_t frames = 0;

    (void)shrink;
    if (atomic_load(&pool->frames) == 0)
        return KL_SHRINK_EMPTY;
    for (uint32_t i = 0; i < pool->nclasses; i++) {
        struct zs_class *class = &pool->classes[i];

        if (!kli_spin_try(&pool->host, &class->lock))
            continue;
        frames += zs_class_freeable(pool, class);
        zs_class_unlock(pool, class);
    }
    return frames;
}

/* Less than was asked for was to be had: what is left is in use. */
static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    struct zs_goal goal = {.frames = shrink->nr_to_scan, .may_wait = shrink->mode != KL_ASYNC};
    int64_t freed = zs_compact(ctx, &goal);

    return freed > 0 ? (uint64_t)freed : KL_SHRINK_STOP;
}

static uint64_t work(void *ctx, uint32_t budget)
{
    struct kl_zs *pool = ctx;
    uint64_t again = zs_kept_rest(pool);

    return zs_auto_on(pool) ? kli_min(again, zs_auto_work(pool, budget)) : again;
}

/* A pool that finds no place among the zone's shrinkers does without, and without automatic
 * compaction: it keeps its promises all the same, and kl_zs_compact is still there. */
int zs_shrinker_register(struct kl_zs *pool, const char *name)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops),
        .name = name,
        .seeks = KL_SHRINK_DEFAULT_SEEKS,
        .count = count,
        .scan = scan,
        .work = work,
        .owner = pool->owner,
    };
    int err = kl_shrinker_register(pool->zone, &ops, pool, &pool->shrinker);

    return err == -KL_ENOSPC ? 0 : err;
}

int zs_shrinker_unregister(struct kl_zs *pool)
{
    int err = pool->shrinker.v ? kl_shrinker_unregister(pool->zone, pool->shrinker) : 0;

    if (!err)
        pool->shrinker = (kl_shrinker_id){0};
    return err;
}
