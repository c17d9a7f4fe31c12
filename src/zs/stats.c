// SPDX-License-Identifier: Apache-2.0
/* Figures of a pool, and its recount. */
#include "zs/entry.h"
#include "zs/zs.h"

void kl_zs_get_stats(struct kl_zs *pool, struct kl_zs_stats *stats)
{
    struct kl_zs_stats s = {
        .size = sizeof(s),
        .metadata_bytes = atomic_load(&pool->metadata_bytes),
        .objects_moved = atomic_load(&pool->objects_moved),
        .frames_freed_by_compaction = atomic_load(&pool->frames_freed),
        .frames_migrated = atomic_load(&pool->frames_migrated),
        .deferred = atomic_load(&pool->deferred_count),
        .classes = pool->nclasses,
        .huge_class_size = KL_ZS_MAX_SIZE,
    };
    for (uint32_t i = pool->nclasses; i-- > 0;) {
        struct zs_class *class = &pool->classes[i];

        kli_lock_take(&pool->host, &class->lock);
        s.objects += class->live;
        s.object_bytes += class->live * class->size;
        s.zspages += class->zspages;
        s.frames += (uint64_t) class->zspages * class->chain;
        s.freeable_frames += zs_class_freeable(class);
        kli_lock_drop(&pool->host, &class->lock);
        if (class->objects == 1 && i > 0)
            s.huge_class_size = pool->classes[i - 1].size;
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
    kli_lock_take(&pool->host, &class->lock);
    s.object_size = class->size;
    s.frames_per_zspage = class->chain;
    s.objects_per_zspage = class->objects;
    s.zspages = class->zspages;
    s.objects = class->live;
    s.freeable_frames = zs_class_freeable(class);
    memcpy(s.fullness, class->count, sizeof(s.fullness));
    kli_lock_drop(&pool->host, &class->lock);
    kli_stats_out(stats, &s, sizeof(s));
    return 0;
}

/* The first broken invariant of one zspage, or NULL. */
static const char *check_page(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    uint32_t live = 0, free = 0;

    if (atomic_load(&page->users) || page->isolated || page->flags)
        return "a filed zspage is in use, isolated or flagged"; /* Z1 */
    for (uint32_t i = 0; i < class->objects; i++) {
        uint32_t slot = zs_slots(page, class)[i];
        kli_word *entry;
        uint64_t e;

        if (!(slot & ZS_SLOT_LIVE))
            continue;
        live++;
        entry = zs_table_at(&pool->handles, slot & ~ZS_SLOT_LIVE);
        e = entry ? atomic_load(entry) : 0;
        if (!entry || zs_e_page(e) != page->id || zs_e_slot(e) != i || zs_e_pins(e) != 0)
            return "a slot and its entry disagree";
    }
    for (uint32_t slot = page->free_slot; slot != ZS_NO_SLOT; free++) {
        if (slot >= class->objects || free > class->objects)
            return "a free list is broken";
        slot = zs_slots(page, class)[slot];
    }
    if (live != page->live || live + free != class->objects)
        return "live objects and free slots do not add up"; /* Z4 */
    for (uint32_t i = 0; i < class->chain; i++) {
        uint64_t priv = kl_frame_private(pool->zone, kl_zone_pfn(pool->zone, page->frame[i]));

        if (priv != (((uint64_t)page->id << 8) | i))
            return "a frame does not know its zspage"; /* Z2 */
    }
    return NULL;
}

static const char *check_class(struct kl_zs *pool, struct zs_class *class)
{
    uint32_t pages = 0;
    uint64_t live = 0;

    for (unsigned group = 0; group < ZS_GROUPS; group++) {
        uint32_t n = 0;

        for (uint32_t id = class->list[group]; id; id = zs_page(pool, id)->next, n++) {
            struct zspage *page = zs_page(pool, id);
            const char *broken = check_page(pool, class, page);

            if (broken)
                return broken;
            if (page->group != group)
                return "a zspage is filed in another group than it thinks";
            live += page->live;
        }
        if (n != class->count[group])
            return "a group is miscounted";
        pages += n;
    }
    if (live != class->live)
        return "a class's objects are miscounted";
    return pages + atomic_load(&pool->deferred_count) < class->zspages ? "a zspage is lost" : NULL;
}

int kl_zs_check(struct kl_zs *pool, const char **what)
{
    const char *broken = NULL;

    for (uint32_t i = 0; i < pool->nclasses && !broken; i++)
        broken = check_class(pool, &pool->classes[i]);
    if (what)
        *what = broken;
    return broken ? -KL_EIO : 0;
}
