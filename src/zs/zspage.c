// SPDX-License-Identifier: Apache-2.0
/* A slot for a new object: in the fullest zspage that has one; else in one that gets
 * more frames; else in a new one.
 *
 * Frames and descriptors are got with no lock held; by the time they are there somebody
 * else's may have been put to use: what is not needed goes back, and one looks again.
 */
#include "zs/guard.h"
#include "zs/zs.h"

bool zs_users_try(struct zspage *page)
{
    uint32_t users = atomic_load_explicit(&page->users, memory_order_relaxed);

    do {
        if ((users & ZS_WRITER) || (users & ZS_USERS) == ZS_USERS)
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
    uint32_t users = atomic_load_explicit(&page->users, memory_order_relaxed);

    do {
        if (users & (ZS_WRITER | ZS_USERS))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&page->users, &users, users | ZS_WRITER,
                                                    memory_order_acquire, memory_order_relaxed));
    kli_write_fence();
    return true;
}

/* Nobody else changes it meanwhile. */
void zs_writer_drop(struct zspage *page)
{
    uint32_t users = atomic_load_explicit(&page->users, memory_order_relaxed);

    atomic_store_explicit(&page->users, (users + ZS_USERS + 1) & ~ZS_WRITER, memory_order_release);
}

uint32_t zs_ready_in(const struct kl_zs *pool, const struct zs_class *class, uint32_t frames)
{
    return (uint32_t)kli_min(class->objects, ((uint64_t)frames << pool->frame_shift) / class->size);
}

uint32_t zs_frames_for(const struct kl_zs *pool, const struct zs_class *class, uint32_t objects)
{
    uint64_t bytes = (uint64_t)objects * class->size;

    return (uint32_t)((bytes + (UINT64_C(1) << pool->frame_shift) - 1) >> pool->frame_shift);
}

static uint32_t granules(const struct zs_class *class)
{
    size_t bytes = sizeof(struct zspage) + (size_t) class->chain * sizeof(uint32_t) +
                   (size_t) class->objects * sizeof(uint16_t);

    return (uint32_t)kli_div_up(bytes, 1u << ZS_GRANULE_LOG2);
}

/* Not known to anybody.  What a look reads is set but once. (Z3) */
static struct zspage *descriptor_new(struct kl_zs *pool, struct zs_class *class)
{
    struct zspage *page = NULL;
    uint32_t id;
    int err;

    zs_class_lock(pool, class);
    id = class->free_descriptors;
    if (id) {
        page = zs_page(pool, id);
        class->free_descriptors = page->next;
    }
    zs_class_unlock(pool, class);
    if (page)
        return page;
    kli_lock_take(&pool->host, &pool->arena_lock);
    err = zs_table_grow(pool, &pool->arena, granules(class), &id);
    kli_lock_drop(&pool->host, &pool->arena_lock);
    if (err)
        return NULL;
    page = zs_page(pool, id);
    page->id = id;
    page->class_index = (uint16_t) class->index;
    if (pool->arena.noted)
        *zs_page_class(pool, id) = page->class_index; /* Z5 */
    return page;
}

/* Frames, and perhaps a descriptor, that are not in use yet. */
struct stock {
    struct zspage *page;
    uint32_t n;
    kl_pfn pfn[ZS_MAX_CHAIN];
};

/* Never over the limit, not even for a moment: others would be refused. */
static bool charge(struct kl_zs *pool, uint32_t n)
{
    uint64_t frames = atomic_load(&pool->frames);

    do {
        if (n > pool->limit_frames || frames > pool->limit_frames - n)
            return false;
    } while (!atomic_compare_exchange_weak(&pool->frames, &frames, frames + n));
    return true;
}

static void put_stock(struct kl_zs *pool, struct zs_class *class, struct stock *stock)
{
    uint32_t n = stock->n;

    while (stock->n > 0)
        kl_frame_free(pool->zone, pool->owner, stock->pfn[--stock->n]);
    atomic_fetch_sub(&pool->frames, n); /* now they may be had again, not before */
    if (!stock->page)
        return;
    zs_class_lock(pool, class);
    stock->page->next = class->free_descriptors;
    class->free_descriptors = stock->page->id;
    zs_class_unlock(pool, class);
}

static int get_frames(struct kl_zs *pool, uint32_t n, unsigned flags, struct stock *stock)
{
    int err = 0;

    flags |= KL_MOVABLE | (KL_HARDENED ? KL_ZERO : 0); /* G2 */
    if (!charge(pool, n))
        return -KL_ENOSPC;
    while (!err && stock->n < n) {
        err = kl_frame_alloc(pool->zone, 0, pool->owner, flags, &stock->pfn[stock->n]);
        stock->n += err == 0;
    }
    if (err)
        atomic_fetch_sub(&pool->frames, n - stock->n); /* the rest goes with the stock */
    return err;
}

/* Frames that the zspage needs for its next slot. */
static uint32_t wants(const struct kl_zs *pool, const struct zs_class *class,
                      const struct zspage *page)
{
    return page ? zs_frames_for(pool, class, page->ready + 1u) - page->frames
                : zs_frames_for(pool, class, 1);
}

static struct zspage *growable(const struct kl_zs *pool, const struct zs_class *class)
{
    uint32_t id = class->list[ZS_GROWABLE];

    return id ? zs_page(pool, id) : NULL;
}

/* n frames of the stock are the page's from now on, the class lock is held. (Z2) */
static void attach(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                   struct stock *stock, uint32_t n)
{
    uint32_t had = page->ready;

    for (; n > 0; n--) {
        kl_pfn pfn = stock->pfn[--stock->n];

        atomic_store_explicit(&page->frame[page->frames], kl_pfn_nr(pfn), memory_order_relaxed);
        kl_frame_set_private(pool->zone, pfn, (uint64_t)page->id << 8 | page->frames);
        page->frames++;
        class->frames++;
    }
    zs_slots_ready(class, page, zs_ready_in(pool, class, page->frames));
    class->ready += page->ready - had;
}

static void open_page(struct zs_class *class, struct zspage *page)
{
    page->live = 0;
    page->ready = 0;
    page->free_slot = ZS_NO_SLOT;
    page->isolated = 0;
    page->flags = 0;
    page->frames = 0;
    class->zspages++;
}

/* Puts the stock to use, as far as it is needed still: not if the class has retired. */
static void use_stock(struct kl_zs *pool, struct zs_class *class, struct stock *stock)
{
    struct zspage *page;
    uint64_t slots;
    bool needed;
    uint32_t n;

    zs_class_lock(pool, class);
    page = growable(pool, class);
    n = wants(pool, class, page);
    needed = n <= stock->n && !zs_is_retired(class); /* R4 */
    if (page && needed) {
        attach(pool, class, page, stock, n);
        zs_page_refile(pool, class, page);
    } else if (needed && stock->page) {
        page = stock->page;
        stock->page = NULL;
        open_page(class, page);
        attach(pool, class, page, stock, n);
        zs_page_list(pool, class, page);
    }
    slots = class->ready;
    zs_class_unlock(pool, class);
    zs_kept_fit(pool, class, slots);
}

/* More slots for the class.  0: look again, though others may have taken them. */
static int grow(struct kl_zs *pool, struct zs_class *class, unsigned flags)
{
    struct stock stock = {0};
    struct zspage *page;
    uint32_t n;
    int err = 0;

    KLI_TRACE_STEP(zs_grow, pool->tag, class->index, flags);
    zs_class_lock(pool, class);
    page = growable(pool, class);
    n = wants(pool, class, page);
    zs_class_unlock(pool, class);
    if (!page) {
        stock.page = descriptor_new(pool, class);
        err = stock.page ? 0 : -KL_ENOMEM;
    }
    if (!err)
        err = get_frames(pool, n, flags, &stock);
    KLI_TRACE_STEP(zs_stocked, pool->tag, class->index, stock.n);
    if (!err)
        use_stock(pool, class, &stock);
    put_stock(pool, class, &stock);
    return err;
}

static struct zspage *fullest(const struct kl_zs *pool, const struct zs_class *class)
{
    uint32_t filled = class->filled & ((1u << ZS_FULL) - 1);

    return filled ? zs_page(pool, class->list[31 - __builtin_clz(filled)]) : NULL;
}

enum found { TAKEN, NO_SLOT, NO_HANDLE, OTHER_CLASS };

/* In the fullest page that has room.  size: what the class is looked at for, which is
 * counted; 0: for want of a better one, even if it has retired. (R1, R4) */
static enum found take_one(struct kl_zs *pool, struct zs_class *class, uint32_t index, bool pin,
                           size_t size, struct zs_taken *taken)
{
    enum found found = NO_SLOT;
    struct zspage *page;

    zs_class_lock(pool, class);
    page = fullest(pool, class);
    if (size && zs_is_retired(class))
        found = OTHER_CLASS;
    else if (page)
        found = pool->direct || zs_handle_take(pool, &taken->handle) ? TAKEN : NO_HANDLE;
    if (found == TAKEN) {
        if (!pool->direct)
            index = taken->handle;
        *taken = (struct zs_taken){.page = page, .class = class, .handle = index};
        taken->slot = zs_slot_take(class, page, zs_back(pool, index));
        zs_page_refile(pool, class, page);
        if (size)
            zs_learn_count(pool, size);
        if (pin) /* on a list: nobody has WRITER (Z1) */
            KLI_REQUIRE(&pool->host, zs_users_try(page));
    }
    zs_class_unlock(pool, class);
    return found;
}

static bool take_in(struct kl_zs *pool, struct zs_class *class, uint32_t index, bool pin,
                    struct zs_taken *taken)
{
    enum found found = take_one(pool, class, index, pin, 0, taken);

    if (found == NO_HANDLE && zs_handles_refill(pool) == 0)
        found = take_one(pool, class, index, pin, 0, taken);
    return found == TAKEN;
}

/* No frames for a zspage of its class: a free slot will do that others have made meanwhile, or
 * one of a larger object's, up to twice the size; else one of a class that has retired.
 * Better some waste than a refusal while there is room. */
static bool take_any(struct kl_zs *pool, const struct zs_class *class, uint32_t index, bool pin,
                     struct zs_taken *taken)
{
    uint32_t most = (uint32_t)kli_min(UINT64_C(2) * class->size, zs_largest(pool));
    struct zs_class *other;

    for (uint32_t slot = class->size; slot <= most; slot = other->size + 1) {
        other = zs_class_from(pool, slot);
        if (other->size <= most && take_in(pool, other, index, pin, taken))
            return true;
    }
    for (uint32_t i = 0; i < pool->nclasses; i++) {
        other = &pool->classes[i];
        if (zs_is_retired(other) && other->size >= class->size && other->size <= most &&
            take_in(pool, other, index, pin, taken))
            return true;
    }
    return false;
}

int zs_take(struct kl_zs *pool, size_t size, uint32_t index, unsigned flags, bool pin,
            struct zs_taken *taken)
{
    for (;;) {
        struct zs_class *class = zs_class_for(pool, size);
        enum found found = take_one(pool, class, index, pin, size, taken);
        int err;

        if (found == TAKEN)
            return 0;
        if (found == OTHER_CLASS ||
            (found == NO_SLOT && !(flags & KL_NOWAIT) && zs_learn_if_due(pool)))
            continue;
        if (found == NO_SLOT)
            zs_drain_deferred(pool);
        err = found == NO_SLOT ? grow(pool, class, flags) : zs_handles_refill(pool);
        if (err && found == NO_SLOT && take_any(pool, class, index, pin, taken))
            return 0;
        if (err)
            return err;
    }
}
