// SPDX-License-Identifier: Apache-2.0
/* Frames that go: of a whole zspage, or the last ones of a chain.
 *
 * Freeing needs the frames' locks, so that no callback can be under way for one of them
 * (Z2), and nobody inside.  Both are only tried: an empty zspage that can't go yet is
 * put on the deferred list, which malloc, free, compact and destroy drain.
 */
#include "zs/guard.h"
#include "zs/zs.h"

static kl_pfn frame_of(const struct kl_zs *pool, struct zspage *page, uint32_t i)
{
    return kl_zone_pfn(pool->zone, atomic_load_explicit(&page->frame[i], memory_order_relaxed));
}

static bool lock_frames(struct kl_zs *pool, struct zspage *page, uint32_t first)
{
    for (uint32_t i = first; i < page->frames; i++) {
        if (kl_frame_trylock(pool->zone, pool->owner, frame_of(pool, page, i)))
            continue;
        while (i-- > first)
            kl_frame_unlock(pool->zone, frame_of(pool, page, i));
        return false;
    }
    return true;
}

/* They are locked, and WRITER is ours. */
static void free_frames(struct kl_zs *pool, struct zspage *page, uint32_t first)
{
    for (uint32_t i = first; i < page->frames; i++) {
        kl_pfn pfn = frame_of(pool, page, i);

        if (page->live > 0) /* the pool is being destroyed, or they are zero (G2) */
            zs_guard_wipe_frame(pool, pfn);
        KLI_REQUIRE(&pool->host, kl_frame_free(pool->zone, pool->owner, pfn) == 0);
        kl_frame_unlock(pool->zone, pfn);
    }
    atomic_fetch_sub(&pool->frames, page->frames - first);
}

static void descriptor_free(struct kl_zs *pool, struct zs_class *class, struct zspage *page)
{
    zs_class_lock(pool, class);
    class->zspages--;
    class->frames -= page->frames;
    class->ready -= page->ready;
    page->next = class->free_descriptors;
    class->free_descriptors = page->id;
    zs_class_unlock(pool, class);
}

/* An EMPTY page that belongs to this thread; false: not now. */
static bool try_bury(struct kl_zs *pool, struct zspage *page)
{
    struct zs_class *class = zs_class_of(pool, page);
    uint32_t n = page->frames, id = page->id;

    KLI_TRACE_STEP(zs_bury_begin, pool->tag, id, n);
    if (!zs_writer_try(page))
        return false;
    KLI_TRACE_STEP(zs_bury_alone, pool->tag, id, n);
    if (!lock_frames(pool, page, 0)) {
        zs_writer_drop(page);
        return false;
    }
    KLI_TRACE_STEP(zs_bury_locked, pool->tag, id, n);
    free_frames(pool, page, 0);
    zs_writer_drop(page);
    KLI_TRACE(zs_buried, pool->tag, id, n);
    descriptor_free(pool, class, page);
    return true;
}

/* Frees an EMPTY page now, or defers it.  How many frames were freed. */
uint32_t zs_page_bury(struct kl_zs *pool, struct zspage *page)
{
    uint32_t id = page->id, frames = page->frames;

    if (try_bury(pool, page))
        return frames;
    kli_lock_take(&pool->host, &pool->deferred_lock);
    page->next = pool->deferred;
    pool->deferred = id;
    atomic_fetch_add(&pool->deferred_count, 1);
    kli_lock_drop(&pool->host, &pool->deferred_lock);
    KLI_TRACE(zs_deferred, pool->tag, id, frames);
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

/* The free slots among the first `ready` ones, the lowest one first. (Z4) */
static void thread_slots(const struct zs_class *class, struct zspage *page, uint32_t ready)
{
    uint16_t *slots = zs_slots(page, class);

    page->free_slot = ZS_NO_SLOT;
    page->ready = (uint16_t)ready;
    for (uint32_t slot = ready; slot-- > 0;) {
        if (slots[slot] & ZS_SLOT_LIVE)
            continue;
        slots[slot] = page->free_slot;
        page->free_slot = (uint16_t)slot;
    }
}

/* Leaves the page its first `frames` frames; what is in the others is moved or free,
 * and slots are not threaded.  With the class lock and WRITER, and the page off its
 * list.  How many frames were freed: none, when somebody has the lock of one. */
uint32_t zs_page_cut(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                     uint32_t frames)
{
    uint32_t n = page->frames - frames, had = page->ready;

    if (n > 0 && !lock_frames(pool, page, frames))
        n = 0;
    if (n > 0) {
        KLI_TRACE_STEP(zs_cut_locked, pool->tag, page->id, n);
        free_frames(pool, page, frames);
        page->frames = (uint8_t)frames;
        class->frames -= n;
    }
    thread_slots(class, page, zs_ready_in(pool, class, page->frames));
    class->ready -= had - page->ready;
    return n;
}
