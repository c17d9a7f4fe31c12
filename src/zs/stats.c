// SPDX-License-Identifier: Apache-2.0
/* Figures of a pool. */
#include "zs/guard.h"
#include "zs/zs.h"

/* The class below the first of one object, in the table that is in use. */
static uint32_t huge_class_size(struct kl_zs *pool)
{
    uint32_t size = 0;

    while (size < KL_ZS_MAX_SIZE) {
        const struct zs_class *class = zs_class_for(pool, size + 1);

        if (class->objects == 1 && size > 0)
            break;
        size = zs_holds(class);
    }
    return size;
}

void kl_zs_get_stats(struct kl_zs *pool, struct kl_zs_stats *stats)
{
    struct kl_zs_stats s = {
        .size = sizeof(s),
        .metadata_bytes = atomic_load(&pool->metadata_bytes),
        .objects_moved = atomic_load(&pool->objects_moved),
        .frames_freed_by_compaction = atomic_load(&pool->frames_freed),
        .frames_migrated = atomic_load(&pool->frames_migrated),
        .automatic_runs = atomic_load(&pool->auto_runs),
        .deferred = atomic_load(&pool->deferred_count),
        .classes = pool->nclasses,
        .huge_class_size = huge_class_size(pool),
        .learned = atomic_load(&pool->learned),
        .learned_saving_bytes = atomic_load(&pool->learned) ? atomic_load(&pool->learn_saving) : 0,
        .learned_moved_bytes = atomic_load(&pool->learn_moved),
    };
    for (uint32_t i = pool->nclasses; i-- > 0;) {
        struct zs_class *class = &pool->classes[i];
        uint64_t live;

        zs_class_lock(pool, class);
        live = class->live - kli_min(class->live, zs_kept_count(pool, i));
        s.objects += live;
        s.object_bytes += live * zs_holds(class);
        s.zspages += class->zspages;
        s.frames += class->frames;
        s.freeable_frames += zs_class_freeable(pool, class);
        zs_class_unlock(pool, class);
    }
    kli_stats_out(stats, &s, sizeof(s));
}

int kl_zs_get_class_stats(struct kl_zs *pool, uint32_t index, struct kl_zs_class_stats *stats)
{
    struct kl_zs_class_stats s = {.size = sizeof(s)};
    struct zs_class *class;

    if (index >= pool->nclasses)
        return -KL_ERANGE;
    class = &pool->classes[index];
    zs_class_lock(pool, class);
    s.object_size = zs_holds(class);
    s.frames_per_zspage = class->chain;
    s.objects_per_zspage = class->objects;
    s.zspages = class->zspages;
    s.objects = class->live - kli_min(class->live, zs_kept_count(pool, index));
    s.freeable_frames = zs_class_freeable(pool, class);
    s.frames = class->frames;
    s.retired = zs_is_retired(class);
    memcpy(s.fullness, class->count, sizeof(s.fullness));
    s.fullness[ZS_FULL] += class->count[ZS_GROWABLE];
    zs_class_unlock(pool, class);
    kli_stats_out(stats, &s, sizeof(s));
    return 0;
}
