// SPDX-License-Identifier: Apache-2.0
/* The table of size classes: planned (plan.c) when the pool is created, with room for some
 * more that are learned (learn.c).
 *
 * The plan is for a pool that is half full, of sizes as prior.c expects them.  A pool
 * that has half or twice as much then wastes little more than with a plan of its own;
 * a small pool has fewer classes, for each has a zspage that is not full. */
#include "zs/guard.h"
#include "zs/plan.h"
#include "zs/zs.h"

_Static_assert((int)ZS_ALIGN == (int)ZS_PLAN_STEP, "counts are by ZS_ALIGN");
_Static_assert((int)ZS_MAX_CHAIN <= (int)ZS_PLAN_CHAIN, "chains that a plan can have");

/* While a pool is created; the plan's own scratch follows. */
struct planning {
    uint32_t counts[ZS_SLOT_SIZES];
    struct zs_shape shapes[ZS_MAX_CLASSES];
};

static size_t planning_bytes(void)
{
    return sizeof(struct planning) + zs_plan_scratch_bytes();
}

static uint32_t plan(const struct kl_zs *pool, struct planning *planning)
{
    uint64_t frames = zs_most_frames(pool);
    struct zs_plan_in in = zs_plan_for(UINT32_C(1) << pool->frame_shift, zs_largest(pool), frames);

    zs_plan_prior(planning->counts, in.largest, zs_typical(pool));
    in.counts = planning->counts;
    return zs_plan(&in, planning->shapes, ZS_MAX_CLASSES, (void *)(planning + 1));
}

void zs_class_init(struct kl_zs *pool, uint32_t i, const struct zs_shape *shape)
{
    struct zs_class *class = &pool->classes[i];

    *class = (struct zs_class){
        .index = i, .size = shape->size, .chain = shape->chain, .objects = shape->objects};
    kli_lock_init(&class->lock, KLI_RANK_ZS_CLASS);
    class->tenth = (uint32_t)kli_div_up(10u << 20, class->objects);
    zs_auto_class(pool, class);
}

static void fill(struct kl_zs *pool, const struct zs_shape *shapes)
{
    uint32_t low = 0;

    for (uint32_t i = 0; i < pool->nclasses; i++) {
        zs_class_init(pool, i, &shapes[i]);
        for (; low < shapes[i].size / ZS_ALIGN; low++)
            pool->class_of[low] = (uint16_t)i;
    }
}

static size_t lookup_bytes(const struct kl_zs *pool)
{
    return zs_largest(pool) / ZS_ALIGN * sizeof(uint16_t);
}

static size_t classes_bytes(const struct kl_zs *pool)
{
    return pool->room * sizeof(struct zs_class);
}

int zs_classes_create(struct kl_zs *pool)
{
    struct planning *planning = kl_zone_meta_alloc(pool->zone, planning_bytes());
    int err = 0;

    if (!planning)
        return -KL_ENOMEM;
    pool->nclasses = plan(pool, planning);
    pool->room = pool->nclasses + zs_learn_room(pool);
    pool->class_of = kl_zone_meta_alloc(pool->zone, lookup_bytes(pool));
    pool->classes = kl_zone_meta_alloc(pool->zone, classes_bytes(pool));
    if (pool->class_of && pool->classes) {
        fill(pool, planning->shapes);
        pool->metadata_bytes += lookup_bytes(pool) + classes_bytes(pool);
    } else {
        err = -KL_ENOMEM;
    }
    kl_zone_meta_free(pool->zone, planning, planning_bytes());
    return err;
}

void zs_classes_free(struct kl_zs *pool)
{
    if (pool->class_of)
        kl_zone_meta_free(pool->zone, pool->class_of, lookup_bytes(pool));
    if (pool->classes)
        kl_zone_meta_free(pool->zone, pool->classes, classes_bytes(pool));
}
