// SPDX-License-Identifier: Apache-2.0
/* Zspages: made, filed in their fullness group, and freed.
 *
 * Freeing needs every frame's lock, so that no callback can be under way for one
 * of them (Z2), and nobody inside.  Both are only tried: what fails goes on the
 * deferred list, which malloc, free, compact and destroy drain.
 */
#include "zs/zs.h"

bool zs_users_try(struct zspage *page)
{
    uint32_t users = atomic_load_explicit(&page->users, memory_order_relaxed);

    do {
        if (users & ZS_WRITER)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&page->users, &users, users + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

void zs_users_drop(struct zspage *page)
{
    atomic_fetch_sub_explicit(&page->users, 1, memory_order_release);
}

bool zs_writer_try(struct zspage *page)
{
    uint32_t none = 0;

    return atomic_compare_exchange_strong_explicit(&page->users, &none, ZS_WRITER,
                                                   memory_order_acquire, memory_order_relaxed);
}

void zs_writer_drop(struct zspage *page)
{
    atomic_store_explicit(&page->users, 0, memory_order_release);
}

static unsigned group_of(const struct zs_class *class, const struct zspage *page)
{
    if (page->live == class->objects)
        return ZS_FULL;
    return page->live == 0 ? 0 : (unsigned)kli_min(10, 1 + page->live * 10u / class->objects);
}

/* Files it by its fullness now. */
void zs_page_list(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    unsigned group = group_of(class, page);
    uint32_t head = class->list[group];

    page->group = (uint8_t)group;
    page->next = head;
    page->prev = 0;
    if (head)
        zs_page(pool, head)->prev = page->id;
    class->list[group] = page->id;
    class->count[group]++;
}

void zs_page_unlist(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    if (page->prev)
        zs_page(pool, page->prev)->next = page->next;
    else
        class->list[page->group] = page->next;
    if (page->next)
        zs_page(pool, page->next)->prev = page->prev;
    class->count[page->group]--;
}

/* Moves it to the group that its fullness says, if it is filed at all. (Z1) */
void zs_page_refile(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    if (page->isolated || page->flags || page->group == group_of(class, page))
        return;
    zs_page_unlist(pool, class, page);
    zs_page_list(pool, class, page);
}

/* The page has a free slot. (Z4) */
uint32_t zs_slot_take(struct zs_class *class, struct zspage *page, uint32_t handle)
{
    uint32_t slot = page->free_slot;

    page->free_slot = (uint16_t)zs_slots(page, class)[slot];
    zs_slots(page, class)[slot] = ZS_SLOT_LIVE | handle;
    page->live++;
    class->live++;
    return slot;
}

/* true: it was the last object, the page is EMPTY and the caller's to bury. */
bool zs_slot_free(struct kl_zs *pool, struct zs_class *class, struct zspage *page, uint32_t slot)
{
    zs_slots(page, class)[slot] = page->free_slot;
    page->free_slot = (uint16_t)slot;
    page->live--;
    class->live--;
    if (page->live > 0) {
        zs_page_refile(pool, class, page);
        return false;
    }
    if (!page->isolated && !page->flags)
        zs_page_unlist(pool, class, page);
    page->flags |= ZS_EMPTY;
    return true;
}

static uint32_t granules(const struct zs_class *class)
{
    size_t bytes = sizeof(struct zspage) + ((size_t) class->chain + class->objects) * 4;

    return (uint32_t)kli_div_up(bytes, 64);
}

/* A descriptor with all slots free; not known to anybody. (Z3) */
static struct zspage *descriptor_new(struct kl_zs *pool, struct zs_class *class)
{
    struct zspage *page = NULL;
    uint32_t id = 0;
    int err = 0;

    kli_lock_take(&pool->host, &class->lock);
    id = class->free_descriptors;
    if (id) {
        page = zs_page(pool, id);
        class->free_descriptors = page->next;
    }
    kli_lock_drop(&pool->host, &class->lock);
    if (!page) {
        kli_lock_take(&pool->host, &pool->arena_lock);
        err = zs_table_grow(pool, &pool->arena, granules(class), &id);
        kli_lock_drop(&pool->host, &pool->arena_lock);
        if (err)
            return NULL;
        page = zs_page(pool, id);
    }
    page->id = id;
    page->class_index = (uint16_t) class->index;
    page->live = 0;
    page->isolated = 0;
    page->flags = 0;
    page->free_slot = 0;
    for (uint32_t i = 0; i < class->objects; i++)
        zs_slots(page, class)[i] = i + 1 < class->objects ? i + 1 : ZS_NO_SLOT;
    return page;
}

static void descriptor_free(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                            bool was_counted)
{
    kli_lock_take(&pool->host, &class->lock);
    page->next = class->free_descriptors;
    class->free_descriptors = page->id;
    class->zspages -= was_counted;
    kli_lock_drop(&pool->host, &class->lock);
}

static kl_pfn frame_of(const struct kl_zs *pool, struct zspage *page, uint32_t i)
{
    return kl_zone_pfn(pool->zone, atomic_load_explicit(&page->frame[i], memory_order_relaxed));
}

static int get_frames(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                      unsigned flags)
{
    for (uint32_t i = 0; i < class->chain; i++) {
        kl_pfn pfn;
        int err = kl_frame_alloc(pool->zone, 0, pool->owner, KL_MOVABLE | flags, &pfn);

        if (err) {
            while (i-- > 0)
                kl_frame_free(pool->zone, pool->owner, frame_of(pool, page, i));
            return err;
        }
        atomic_store_explicit(&page->frame[i], kl_pfn_nr(pfn), memory_order_relaxed);
    }
    return 0;
}

/* A descriptor with its frames. */
static int page_new(struct kl_zs *pool, struct zs_class *class, unsigned flags,
                    struct zspage **page)
{
    int err;

    *page = descriptor_new(pool, class);
    if (!*page)
        return -KL_ENOMEM;
    err = get_frames(pool, class, *page, flags);
    if (err)
        descriptor_free(pool, class, *page, false);
    return err;
}

/* Never over the limit, not even for a moment: others would be refused. */
static bool charge(struct kl_zs *pool, uint32_t chain)
{
    uint64_t frames = atomic_load(&pool->frames);

    do {
        if (chain > pool->limit_frames || frames > pool->limit_frames - chain)
            return false;
    } while (!atomic_compare_exchange_weak(&pool->frames, &frames, frames + chain));
    return true;
}

/* A new zspage, filed as empty.  No lock is held. */
int zs_page_create(struct kl_zs *pool, struct zs_class *class, unsigned flags)
{
    struct zspage *page;
    int err;

    if (!charge(pool, class->chain))
        return -KL_ENOSPC;
    err = page_new(pool, class, flags, &page);
    if (err) {
        atomic_fetch_sub(&pool->frames, class->chain);
        return err;
    }
    kli_lock_take(&pool->host, &class->lock);
    for (uint32_t i = 0; i < class->chain; i++) /* Z2: isolate waits for the class lock */
        kl_frame_set_private(pool->zone, frame_of(pool, page, i), ((uint64_t)page->id << 8) | i);
    class->zspages++;
    zs_page_list(pool, class, page);
    kli_lock_drop(&pool->host, &class->lock);
    return 0;
}

static bool lock_frames(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    for (uint32_t i = 0; i < class->chain; i++) {
        if (kl_frame_trylock(pool->zone, pool->owner, frame_of(pool, page, i)))
            continue;
        while (i-- > 0)
            kl_frame_unlock(pool->zone, frame_of(pool, page, i));
        return false;
    }
    return true;
}

/* An EMPTY page that belongs to this thread; false: not now. */
static bool try_bury(struct kl_zs *pool, struct zspage *page)
{
    struct zs_class *class = zs_class_of(pool, page);

    KLI_TRACE_STEP(zs_bury_begin, pool->tag, page->id, class->chain);
    if (!zs_writer_try(page))
        return false;
    KLI_TRACE_STEP(zs_bury_alone, pool->tag, page->id, class->chain);
    if (!lock_frames(pool, class, page)) {
        zs_writer_drop(page);
        return false;
    }
    KLI_TRACE_STEP(zs_bury_locked, pool->tag, page->id, class->chain);
    for (uint32_t i = 0; i < class->chain; i++) {
        kl_pfn pfn = frame_of(pool, page, i);

        KLI_REQUIRE(&pool->host, kl_frame_free(pool->zone, pool->owner, pfn) == 0);
        kl_frame_unlock(pool->zone, pfn);
    }
    zs_writer_drop(page);
    atomic_fetch_sub(&pool->frames, class->chain);
    KLI_TRACE(zs_buried, pool->tag, page->id, class->chain);
    descriptor_free(pool, class, page, true);
    return true;
}

/* Frees an EMPTY page now, or defers it.  How many frames were freed. */
uint32_t zs_page_bury(struct kl_zs *pool, struct zspage *page)
{
    uint32_t id = page->id, chain = zs_class_of(pool, page)->chain;

    if (try_bury(pool, page))
        return chain;
    kli_lock_take(&pool->host, &pool->deferred_lock);
    page->next = pool->deferred;
    pool->deferred = id;
    atomic_fetch_add(&pool->deferred_count, 1);
    kli_lock_drop(&pool->host, &pool->deferred_lock);
    KLI_TRACE(zs_deferred, pool->tag, id, chain);
    return 0;
}

/* One try for each that waits now; returns the frames that were freed. */
uint64_t zs_drain_deferred(struct kl_zs *pool)
{
    uint64_t freed = 0;
    uint32_t id;

    if (atomic_load_explicit(&pool->deferred_count, memory_order_relaxed) == 0)
        return 0;
    kli_lock_take(&pool->host, &pool->deferred_lock);
    id = pool->deferred;
    pool->deferred = 0;
    kli_lock_drop(&pool->host, &pool->deferred_lock);
    while (id) {
        struct zspage *page = zs_page(pool, id);

        id = page->next;
        atomic_fetch_sub(&pool->deferred_count, 1);
        freed += zs_page_bury(pool, page);
    }
    return freed;
}
