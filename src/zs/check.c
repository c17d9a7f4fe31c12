// SPDX-License-Identifier: Apache-2.0
/* The recount of a pool. */
#include "zs/direct.h"
#include "zs/entry.h"
#include "zs/guard.h"
#include "zs/zs.h"

static bool is_resting(const struct kl_zs *pool, uint64_t entry)
{
    return pool->direct ? !(entry & ZS_W_CLAIMED) : zs_e_pins(entry) == 0 || zs_e_is_kept(entry);
}

struct sums {
    uint64_t pages, frames, ready, live, kept;
};

/* A slot, and the entry that names it if it is live. */
static const char *check_slot(struct kl_zs *pool, struct zspage *page, uint32_t i, uint16_t slot,
                              struct sums *sums)
{
    uint16_t back = slot & (ZS_SLOT_LIVE - 1);
    bool is_live = slot & ZS_SLOT_LIVE;
    const kli_word *entry;
    uint32_t index = 0;

    if (is_live) {
        entry = zs_back_find(pool, back, zs_place(page->id, i), &index);
        if (!entry || !is_resting(pool, atomic_load(entry)) || zs_back(pool, index) != back)
            return "a slot and its entry disagree"; /* back.c, B1 */
        sums->kept += !pool->direct && zs_e_is_kept(atomic_load(entry));
    }
    return zs_guard_check(pool, page, i, is_live, index);
}

static const char *check_slots(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                               struct sums *sums)
{
    const uint16_t *slots = zs_slots(page, class);
    uint32_t live = 0, free = 0;

    for (uint32_t i = 0; i < page->ready; i++) {
        const char *broken = check_slot(pool, page, i, slots[i], sums);

        if (broken)
            return broken;
        live += (slots[i] & ZS_SLOT_LIVE) != 0;
    }
    for (uint32_t slot = page->free_slot; slot != ZS_NO_SLOT; free++) {
        if (slot >= page->ready || free > page->ready || (slots[slot] & ZS_SLOT_LIVE))
            return "a free list is broken";
        slot = slots[slot];
    }
    if (live != page->live || live + free != page->ready)
        return "live objects and free slots do not add up"; /* Z4 */
    return NULL;
}

/* The first broken invariant of one zspage, or NULL. */
static const char *check_page(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                              struct sums *sums)
{
    if ((atomic_load(&page->users) & (ZS_WRITER | ZS_USERS)) || page->isolated || page->flags)
        return "a filed zspage is in use, isolated or flagged"; /* Z1 */
    if (page->frames > class->chain || page->ready != zs_ready_in(pool, class, page->frames))
        return "a zspage has slots without frames, or frames without slots"; /* Z4 */
    for (uint32_t i = 0; i < page->frames; i++) {
        uint64_t priv = kl_frame_private(pool->zone, kl_zone_pfn(pool->zone, page->frame[i]));

        if (priv != (((uint64_t)page->id << 8) | i))
            return "a frame does not know its zspage"; /* Z2 */
    }
    if (page->class_index != class->index ||
        (pool->arena.noted && *zs_page_class(pool, page->id) != class->index))
        return "a zspage is of another class than is noted"; /* Z5 */
    return check_slots(pool, class, page, sums);
}

static const char *check_group(struct kl_zs *pool, struct zs_class *class, unsigned group,
                               struct sums *sums)
{
    uint32_t n = 0;

    for (uint32_t id = class->list[group]; id; id = zs_page(pool, id)->next, n++) {
        struct zspage *page = zs_page(pool, id);
        const char *broken = check_page(pool, class, page, sums);

        if (broken)
            return broken;
        if (page->group != group)
            return "a zspage is filed in another group than it thinks";
        sums->live += page->live;
        sums->ready += page->ready;
        sums->frames += page->frames;
    }
    sums->pages += n;
    return n == class->count[group] ? NULL : "a group is miscounted";
}

/* Pages that wait to be freed have no objects, but frames and slots. */
static const char *check_class(struct kl_zs *pool, struct zs_class *class)
{
    struct sums sums = {0};
    const char *broken = NULL;
    uint32_t waiting = atomic_load(&pool->deferred_count);

    for (unsigned group = 0; group < ZS_GROUPS && !broken; group++)
        broken = check_group(pool, class, group, &sums);
    if (broken)
        return broken;
    if (sums.live != class->live)
        return "a class's objects are miscounted";
    if (sums.pages + waiting < class->zspages)
        return "a zspage is lost";
    if (sums.kept != zs_kept_count(pool, class->index))
        return "kept objects are miscounted"; /* K1 */
    if (class->ready - class->live > class->tell_above ||
        class->ready - class->live < class->tell_below)
        return "a class has not told how much is free"; /* auto.c, A2 */
    if (waiting == 0 && (sums.frames != class->frames || sums.ready != class->ready))
        return "a class's frames or slots are miscounted";
    return NULL;
}

static const char *check_lookup(struct kl_zs *pool)
{
    for (uint32_t size = ZS_ALIGN; size <= KL_ZS_MAX_SIZE; size += ZS_ALIGN) {
        const struct zs_class *class = zs_class_for(pool, size);

        if (class->index >= pool->nclasses || zs_holds(class) < size || zs_is_retired(class))
            return "a size has no class";
    }
    return NULL;
}

int kl_zs_check(struct kl_zs *pool, const char **what)
{
    const char *broken = check_lookup(pool);
    uint64_t frames = 0, told = 0;

    for (uint32_t i = 0; i < pool->nclasses && !broken; i++) {
        broken = check_class(pool, &pool->classes[i]);
        frames += pool->classes[i].frames;
        told += pool->classes[i].told;
    }
    if (!broken && frames != atomic_load(&pool->frames))
        broken = "a pool's frames are miscounted";
    if (!broken && (int64_t)told != atomic_load(&pool->freeable))
        broken = "what a pool could free is miscounted"; /* auto.c, A1 */
    if (what)
        *what = broken;
    return broken ? -KL_EIO : 0;
}
