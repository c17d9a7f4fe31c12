// SPDX-License-Identifier: Apache-2.0
/* The pool as an owner: its frames are isolated, migrated and put back.
 *
 * The frame is locked by the framework in all three, and movable: its private word
 * names a descriptor that is in use (Z2).  With readers inside a migration gives
 * way.  In async mode isolation only tries the class lock; the end of an isolation
 * takes it, for moments.
 */
#include "zs/guard.h"
#include "zs/zs.h"

static struct zspage *page_of(struct kl_zs *pool, kl_pfn frame, uint32_t *place)
{
    uint64_t priv = kl_frame_private(pool->zone, frame);

    *place = (uint32_t)(priv & 0xff);
    return priv ? zs_page(pool, (uint32_t)(priv >> 8)) : NULL;
}

static bool lock_class(struct kl_zs *pool, struct zs_class *class, enum kl_mode mode)
{
    if (mode == KL_ASYNC)
        return kli_spin_try(&pool->host, &class->lock);
    zs_class_lock(pool, class);
    return true;
}

/* The first isolated frame takes the zspage off its list; the others count. */
static bool zs_isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct kl_zs *pool = ctx;
    uint32_t place;
    struct zspage *page = page_of(pool, frame, &place);
    struct zs_class *class;

    if (!page || atomic_load(&pool->dying))
        return false; /* not part of a zspage yet, or no more */
    class = zs_class_of(pool, page);
    KLI_TRACE_STEP(zs_isolate_begin, pool->tag, kl_pfn_nr(frame), page->id);
    if (!lock_class(pool, class, mode)) {
        KLI_TRACE(zs_isolate_refused, pool->tag, kl_pfn_nr(frame), page->id);
        return false;
    }
    if (page->isolated == 0 && !(page->flags & ZS_EMPTY))
        zs_page_unlist(pool, class, page);
    page->isolated++;
    zs_class_unlock(pool, class);
    KLI_TRACE(zs_isolated, pool->tag, kl_pfn_nr(frame), page->id);
    return true;
}

/* The last one files the zspage by its fullness now, if there is anything in it. */
static void end_isolation(struct kl_zs *pool, struct zspage *page)
{
    struct zs_class *class = zs_class_of(pool, page);

    zs_class_lock(pool, class);
    KLI_REQUIRE(&pool->host, page->isolated > 0);
    page->isolated--;
    if (page->isolated == 0 && !(page->flags & ZS_EMPTY))
        zs_page_list(pool, class, page);
    zs_class_unlock(pool, class);
}

static bool keep_readers_out(struct kl_zs *pool, struct zspage *page, enum kl_mode mode)
{
    static const unsigned rounds[] = {[KL_ASYNC] = 1, [KL_SYNC_LIGHT] = 8, [KL_SYNC] = 16};

    for (unsigned i = 0; i < rounds[mode]; i++) {
        if (zs_writer_try(page))
            return true;
        if (i + 1 == rounds[mode])
            break;
        KLI_TRACE(stall_zspage, pool->tag, page->id, i);
        pool->host.relax(pool->host.ctx, i);
    }
    return false;
}

static int zs_migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct kl_zs *pool = ctx;
    uint32_t place;
    struct zspage *page = page_of(pool, src, &place);
    int err;

    KLI_TRACE_STEP(zs_migrate_begin, pool->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    if (!keep_readers_out(pool, page, mode)) {
        KLI_TRACE(zs_gave_way, pool->tag, kl_pfn_nr(src), page->id);
        return -KL_EAGAIN;
    }
    KLI_TRACE_STEP(zs_migrate_alone, pool->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    err = kl_frame_copy(pool->zone, dst, src);
    if (err) {
        zs_writer_drop(page);
        return err;
    }
    KLI_TRACE_STEP(zs_migrate_copied, pool->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    kl_frame_set_private(pool->zone, dst, kl_frame_private(pool->zone, src));
    atomic_store_explicit(&page->frame[place], kl_pfn_nr(dst), memory_order_relaxed);
    zs_guard_wipe_frame(pool, src);
    KLI_TRACE_STEP(zs_migrate_chained, pool->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    zs_writer_drop(page);
    KLI_TRACE_STEP(zs_migrate_open, pool->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    end_isolation(pool, page);
    atomic_fetch_add_explicit(&pool->frames_migrated, 1, memory_order_relaxed);
    KLI_TRACE(zs_migrated, pool->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    return 0;
}

static void zs_putback(void *ctx, kl_pfn frame)
{
    struct kl_zs *pool = ctx;
    uint32_t place;
    struct zspage *page = page_of(pool, frame, &place);

    KLI_TRACE_STEP(zs_putback_begin, pool->tag, kl_pfn_nr(frame), page->id);
    end_isolation(pool, page);
    KLI_TRACE(zs_putback, pool->tag, kl_pfn_nr(frame), page->id);
}

/* With the frame's lock, for moments: then its descriptor is in use. (Z2) */
static bool zs_explain(void *ctx, kl_pfn frame, char *text, size_t bytes)
{
    struct kl_zs *pool = ctx;
    const char *reason = NULL;
    struct zspage *page;
    uint32_t place;

    if (!kl_frame_trylock(pool->zone, pool->owner, frame))
        return false;
    page = page_of(pool, frame, &place);
    if (page && (atomic_load(&page->users) & ZS_USERS))
        reason = "read open";
    kl_frame_unlock(pool->zone, frame);
    if (reason)
        kli_text(text, bytes, reason);
    return reason;
}

const struct kl_owner_ops zs_owner_ops = {
    .size = sizeof(zs_owner_ops),
    .name = "zsmalloc",
    .isolate = zs_isolate,
    .migrate = zs_migrate,
    .putback = zs_putback,
    .explain = zs_explain,
};
