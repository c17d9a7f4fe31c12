// SPDX-License-Identifier: Apache-2.0
/* The pool's public face: create, destroy, malloc, free, read, write, pins. */
#include "zs/entry.h"
#include "zs/guard.h"
#include "zs/kept.h"
#include "zs/zs.h"

/* A handle: index << 32 | generation << 16 | tag. */
static kl_handle handle_make(const struct kl_zs *pool, uint32_t index, uint64_t generation)
{
    return (kl_handle){((uint64_t)index << 32) | (generation << 16) | pool->tag};
}

static uint32_t handle_index(kl_handle handle)
{
    return (uint32_t)(handle.v >> 32);
}

static uint64_t handle_generation(kl_handle handle)
{
    return (handle.v >> 16) & 0xffff;
}

/* NULL: not a handle of this pool. */
static kli_word *entry_of(const struct kl_zs *pool, kl_handle handle)
{
    zs_guard_pool(pool);
    if ((handle.v & 0xffff) != pool->tag || handle_index(handle) >> 28)
        return NULL;
    return zs_entry(pool, handle_index(handle));
}

static void free_pool(struct kl_zs *pool)
{
    struct kl_zone *zone = pool->zone;

    zs_learn_free(pool);
    zs_kept_free(pool);
    zs_guard_end(pool);
    zs_classes_free(pool);
    zs_handles_free(pool);
    zs_table_free(pool, &pool->arena);
    kl_zone_meta_free(zone, pool, sizeof(*pool));
}

static void init_pool(struct kl_zs *pool, struct kl_zone *zone, const struct kl_host *host)
{
    static _Atomic uint32_t pools;
    size_t frame_bytes = kl_zone_frame_bytes(zone);

    pool->zone = zone;
    pool->host = *host;
    pool->frame_shift = kli_lowest(frame_bytes);
    pool->tag = 1 + (atomic_fetch_add(&pools, 1) % 0xffff);
    pool->handles.log2 = ZS_ENTRY_LOG2;
    pool->handles.max = ZS_MAX_HANDLES;
    pool->arena.log2 = ZS_GRANULE_LOG2;
    pool->arena.max = ZS_MAX_PAGES;
    pool->arena.used = 1; /* id 0 is none */
    pool->metadata_bytes = sizeof(*pool);
    kli_lock_init(&pool->kept_lock, KLI_RANK_ZS_KEPT);
    kli_lock_init(&pool->handles_lock, KLI_RANK_ZS_HANDLES);
    kli_lock_init(&pool->arena_lock, KLI_RANK_ZS_ARENA);
    kli_lock_init(&pool->deferred_lock, KLI_RANK_ZS_DEFERRED);
}

/* Last, for it is asked from now on. */
static int register_shrinker(struct kl_zs *pool, const char *name)
{
    int err = zs_shrinker_register(pool, name);

    if (err)
        kl_owner_unregister(pool->zone, pool->owner);
    return err;
}

/* Regions of entries that fifteen bits can name. (back.c) */
static void set_direct(struct kl_zs *pool, kli_word *table, uint32_t n)
{
    pool->direct = table;
    pool->arena.noted = !table; /* zs_page_class: who keeps objects at hand wants them */
    pool->direct_n = n;
    while (n > 0 && (n - 1) >> pool->direct_shift >= ZS_SLOT_LIVE)
        pool->direct_shift++;
}

int zs_create(struct kl_zone *zone, const struct kl_zs_config *config, kli_word *direct,
              uint32_t direct_n, struct kl_zs **out)
{
    const struct kl_host *host = kl_zone_host(zone);
    struct kl_owner_ops ops = zs_owner_ops;
    struct kl_zs *pool;
    int err;

    if ((config && config->size != sizeof(*config)) || kl_zone_frame_bytes(zone) > KL_ZS_MAX_SIZE)
        return -KL_EINVAL;
    if (config && (config->typical_bytes > KL_ZS_MAX_SIZE ||
                   (config->flags & ~(unsigned)KL_ZS_FIXED_CLASSES)))
        return -KL_EINVAL;
    if (!kl_frame_addr(zone, kl_zone_pfn(zone, 0)))
        return -KL_ENOTSUP; /* offsets only */
    if (config && config->name)
        ops.name = config->name;
    pool = kl_zone_meta_alloc(zone, sizeof(*pool));
    if (!pool)
        return -KL_ENOMEM;
    init_pool(pool, zone, host);
    zs_guard_begin(pool);
    set_direct(pool, direct, direct_n);
    pool->limit_frames = config && config->limit_frames ? config->limit_frames : UINT64_MAX;
    pool->typical_bytes = config ? config->typical_bytes : 0;
    pool->fixed_classes = config && (config->flags & KL_ZS_FIXED_CLASSES);
    err = zs_auto_configure(pool, config);
    if (!err)
        err = zs_classes_create(pool);
    if (!err)
        err = zs_handles_create(pool);
    if (!err) {
        zs_kept_create(pool);
        zs_learn_create(pool);
    }
    if (!err)
        err = kl_owner_register(zone, &ops, pool, &pool->owner);
    if (!err)
        err = register_shrinker(pool, ops.name);
    if (err) {
        free_pool(pool);
        return err;
    }
    *out = pool;
    return 0;
}

int kl_zs_create(struct kl_zone *zone, const struct kl_zs_config *config, struct kl_zs **pool)
{
    return zs_create(zone, config, NULL, 0, pool);
}

static bool anything_pinned(const struct kl_zs *pool)
{
    for (uint32_t i = 0; i < pool->handles.used; i++) {
        kli_word *entry = zs_entry(pool, i);
        unsigned pins = entry ? zs_e_pins(atomic_load(entry)) : 0;

        if (pins > 0 && pins <= ZS_PINS_MAX)
            return true;
    }
    return false;
}

/* Buries whatever is filed; what is isolated comes back and is buried later. */
static uint32_t bury_class(struct kl_zs *pool, struct zs_class *class)
{
    uint32_t left;

    for (unsigned group = 0; group < ZS_GROUPS; group++) {
        for (;;) {
            struct zspage *page = NULL;

            zs_class_lock(pool, class);
            if (class->list[group]) {
                page = zs_page(pool, class->list[group]);
                zs_page_unlist(pool, class, page);
                page->flags |= ZS_EMPTY;
            }
            zs_class_unlock(pool, class);
            if (!page)
                break;
            zs_page_bury(pool, page);
        }
    }
    zs_class_lock(pool, class);
    left = class->zspages;
    zs_class_unlock(pool, class);
    return left;
}

int kl_zs_destroy(struct kl_zs *pool)
{
    uint32_t left = 1;

    if (!pool)
        return 0;
    zs_guard_pool(pool);
    if (anything_pinned(pool) || zs_shrinker_unregister(pool))
        return -KL_EBUSY;
    atomic_store(&pool->dying, true); /* nothing is isolated from now on */
    for (unsigned round = 0; left > 0; round++) {
        left = 0;
        zs_drain_deferred(pool);
        for (uint32_t i = 0; i < pool->nclasses; i++)
            left += bury_class(pool, &pool->classes[i]);
        if (left > 0)
            pool->host.relax(pool->host.ctx, round);
    }
    for (unsigned round = 0; kl_owner_unregister(pool->zone, pool->owner) == -KL_EBUSY; round++)
        pool->host.relax(pool->host.ctx, round); /* the framework still has frames */
    free_pool(pool);
    return 0;
}

/* None is kept at hand.  Apart, so that who finds one saves no registers for this. */
static __attribute__((noinline)) int malloc_new(struct kl_zs *pool, size_t size, unsigned flags,
                                                kl_handle *handle)
{
    struct zs_taken taken;
    kli_word *entry;
    uint64_t freed = 0;
    int err = zs_take(pool, size, 0, flags, KL_HARDENED, &taken);

    if (err && zs_kept_drain(pool, !(flags & KL_NOWAIT), &freed) > 0)
        err = zs_take(pool, size, 0, flags, KL_HARDENED, &taken);
    if (err)
        return err;
    if (KL_HARDENED) {
        zs_guard_new(pool, taken.page, taken.slot, taken.handle);
        zs_users_drop(taken.page);
    }
    entry = zs_entry(pool, taken.handle);
    *handle = handle_make(pool, taken.handle, zs_e_generation(atomic_load(entry)));
    kli_apply_alone(entry, zs_e_place, zs_place(taken.page->id, taken.slot)); /* E1 */
    return 0;
}

int kl_zs_malloc(struct kl_zs *pool, size_t size, unsigned flags, kl_handle *handle)
{
    uint32_t index;
    uint64_t e;

    zs_guard_pool(pool);
    if (size == 0 || size > KL_ZS_MAX_SIZE || (flags & ~(unsigned)KL_NOWAIT))
        return -KL_EINVAL;
    if (pool->direct)
        return -KL_ENOTSUP;
    if (!zs_kept_take(pool, zs_class_number(pool, size + ZS_GUARD_BYTES), &index, &e))
        return malloc_new(pool, size, flags, handle);
    *handle = handle_make(pool, index, zs_e_generation(e));
    return 0;
}

/* It is not kept at hand.  Apart, as malloc_new. */
static __attribute__((noinline)) int free_it(struct kl_zs *pool, kl_handle handle)
{
    uint64_t seen;

    if (!kli_apply(zs_entry(pool, handle_index(handle)), zs_e_free, handle_generation(handle),
                   &seen))
        return -KL_ESTALE;
    KLI_TRACE_STEP(zs_free_marked, pool->tag, handle_index(handle), zs_e_pins(seen));
    if (zs_e_pins(seen) == 0)
        zs_object_gone(pool, handle_index(handle));
    return 0;
}

int kl_zs_free(struct kl_zs *pool, kl_handle handle)
{
    kli_word *entry = entry_of(pool, handle);
    enum zs_kept kept;
    int err = 0;

    if (!entry)
        return -KL_ESTALE;
    kept = zs_keep(pool, entry, handle_index(handle), handle_generation(handle));
    if (kept == ZS_NO_ROOM)
        zs_object_gone(pool, handle_index(handle));
    else if (kept == ZS_NOT_MINE)
        err = free_it(pool, handle);
    zs_drain_deferred_soon(pool);
    return err;
}

/* The end of a pin of the entry; the last one of a freed object completes that. */
static void unpin_entry(struct kl_zs *pool, uint32_t index)
{
    uint64_t seen;

    KLI_REQUIRE(&pool->host, kli_apply(zs_entry(pool, index), zs_e_unpin, 0, &seen));
    if ((seen & ZS_E_DYING) && zs_e_pins(seen) == 1)
        zs_object_gone(pool, index);
}

static int pin_entry(struct kl_zs *pool, kl_handle handle, uint64_t *e)
{
    kli_word *entry = entry_of(pool, handle);

    if (!entry)
        return -KL_ESTALE;
    for (unsigned round = 0; !kli_apply(entry, zs_e_pin, handle_generation(handle), e); round++) {
        if (!zs_e_valid(*e, handle_generation(handle)))
            return -KL_ESTALE;
        if (zs_e_pins(*e) == ZS_PINS_MAX)
            return -KL_EAGAIN;
        KLI_TRACE(stall_entry, pool->tag, handle_index(handle), round);
        pool->host.relax(pool->host.ctx, round); /* being moved */
    }
    return 0;
}

/* Pins the object and its zspage; *e is the entry's word.  A zspage that has as many
 * users as it can is not waited for: they may all be this thread's. */
static int pin(struct kl_zs *pool, kl_handle handle, uint64_t *e)
{
    struct zspage *page;
    int err = pin_entry(pool, handle, e);

    if (err)
        return err;
    page = zs_page(pool, zs_place_page(*e));
    KLI_TRACE_STEP(zs_pinned, pool->tag, handle_index(handle), page->id);
    for (unsigned round = 0; !zs_users_try(page); round++) {
        if (zs_users_full(page)) {
            unpin_entry(pool, handle_index(handle));
            return -KL_EAGAIN;
        }
        KLI_TRACE(stall_zspage, pool->tag, page->id, round);
        pool->host.relax(pool->host.ctx, round); /* a frame of it is being moved */
    }
    KLI_TRACE_STEP(zs_inside, pool->tag, handle_index(handle), page->id);
    return 0;
}

static void unpin(struct kl_zs *pool, uint32_t index, uint64_t e)
{
    KLI_TRACE_STEP(zs_unpin_begin, pool->tag, index, zs_place_page(e));
    zs_users_drop(zs_page(pool, zs_place_page(e)));
    KLI_TRACE_STEP(zs_unpin_left, pool->tag, index, zs_place_page(e));
    unpin_entry(pool, index);
}

/* Reads and writes retry a full pin count, for a while: most pins are short. */
static int pin_patiently(struct kl_zs *pool, kl_handle handle, uint64_t *e)
{
    enum { ROUNDS = 100 };
    int err;

    for (unsigned i = 0; (err = pin(pool, handle, e)) == -KL_EAGAIN && i < ROUNDS; i++)
        pool->host.relax(pool->host.ctx, i);
    return err;
}

static bool in_object(size_t size, size_t offset, size_t len)
{
    return offset <= size && len <= size - offset;
}

/* With the object pinned: what a look could not do. */
static int transfer(struct kl_zs *pool, kl_handle handle, size_t offset, void *out, const void *in,
                    size_t len)
{
    struct zspage *page;
    size_t at;
    uint64_t e;
    int err = pin_patiently(pool, handle, &e);

    if (err)
        return err;
    page = zs_page(pool, zs_place_page(e));
    at = (size_t)zs_class_of(pool, page)->size * zs_place_slot(e) + offset;
    zs_guard_look(pool, page, zs_place_slot(e), handle_index(handle), in ? "write" : "read");
    if (!in_object(zs_holds(zs_class_of(pool, page)), offset, len))
        err = -KL_ERANGE;
    else if (in)
        zs_object_fill(pool, page, at, in, len);
    for (size_t done = 0, n; !err && out && done < len; done += n) {
        const char *run = zs_object_run(pool, page, at + done, &n);

        n = kli_min(n, len - done);
        memcpy((char *)out + done, run, n);
    }
    unpin(pool, handle_index(handle), e);
    return err;
}

int kl_zs_read(struct kl_zs *pool, kl_handle handle, size_t offset, void *buf, size_t len)
{
    enum { LOOKS = 4 };
    kli_word *entry = entry_of(pool, handle);

    for (unsigned i = 0; entry && i < LOOKS; i++) {
        uint64_t e = atomic_load_explicit(entry, memory_order_acquire);

        if (!zs_e_valid(e, handle_generation(handle)))
            return -KL_ESTALE;
        if (!in_object(zs_holds(zs_class_of(pool, zs_page(pool, zs_place_page(e)))), offset, len))
            return -KL_ERANGE;
        if (zs_copy_out(pool, entry, handle_index(handle), e, ZS_E_PINS, offset, buf, len))
            return 0;
    }
    return transfer(pool, handle, offset, buf, NULL, len);
}

int kl_zs_write(struct kl_zs *pool, kl_handle handle, size_t offset, const void *buf, size_t len)
{
    return transfer(pool, handle, offset, NULL, buf, len);
}

size_t kl_zs_object_size(struct kl_zs *pool, kl_handle handle)
{
    struct kl_zs_pin p;
    size_t size;

    if (kl_zs_begin(pool, handle, &p))
        return 0;
    size = p.bytes;
    kl_zs_end(&p);
    return size;
}

int kl_zs_begin(struct kl_zs *pool, kl_handle handle, struct kl_zs_pin *p)
{
    uint64_t e;
    int err = pin(pool, handle, &e);

    if (err)
        return err;
    *p = (struct kl_zs_pin){.pool = pool, .handle = handle, .priv = {e, 0}};
    p->bytes = zs_holds(zs_class_of(pool, zs_page(pool, zs_place_page(e))));
    return 0;
}

void *kl_zs_run(const struct kl_zs_pin *p, size_t offset, size_t *len)
{
    struct zspage *page = zs_page(p->pool, zs_place_page(p->priv[0]));
    void *run;

    if (offset >= p->bytes) {
        *len = 0;
        return NULL;
    }
    run = zs_object_run(
        p->pool, page,
        (size_t)zs_class_of(p->pool, page)->size * zs_place_slot(p->priv[0]) + offset, len);
    *len = kli_min(*len, p->bytes - offset);
    return run;
}

void kl_zs_end(struct kl_zs_pin *p)
{
    zs_guard_look(p->pool, zs_page(p->pool, zs_place_page(p->priv[0])), zs_place_slot(p->priv[0]),
                  handle_index(p->handle), "the end of a pin");
    unpin(p->pool, handle_index(p->handle), p->priv[0]);
    zs_drain_deferred(p->pool);
}
