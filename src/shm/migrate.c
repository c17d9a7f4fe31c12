// SPDX-License-Identifier: Apache-2.0
/* The owner's callbacks: pages that move, and those that go instead. */
#include "shm/shm.h"

/* Under the frame's lock, or while the page is isolated and its object visited.  Private
 * words are set before a page names the frame, and stay until the frame is free. */
kli_word *kli_shm_page_of(struct kl_shm *shm, kl_pfn frame, struct kli_shm_object **object,
                          uint32_t *page)
{
    uint64_t priv = kl_frame_private(shm->zone, frame);

    if (priv == 0)
        return NULL; /* it has just been allocated */
    *object = kli_shm_at(shm, (priv >> 32) - 1);
    *page = (uint32_t)priv;
    return *object ? kli_shm_page(*object, *page) : NULL;
}

/* "busy" at once: active where nobody may wait (U4), or its device sleeps (V2).  What becomes
 * so after this is refused by prepare. */
static bool refuses(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct kl_shm *shm = ctx;
    struct kli_shm_object *object;
    uint32_t page, device;
    kli_word *word = kli_shm_page_of(shm, frame, &object, &page);
    uint64_t use, seen = word ? atomic_load(word) : 0;

    if (!kli_p_is_in(seen, kl_pfn_nr(frame)) || (seen & KLI_P_DOOMED))
        return false; /* it is on its way, or about to go */
    use = atomic_load(&object->use);
    device = kli_u_device(use);
    if (device == 0 || (use & KLI_U_PURGEABLE) ||
        ((kli_u_active(use) == 0 || mode == KL_SYNC) &&
         !kli_shm_is_asleep(&shm->device[device - 1])))
        return false;
    atomic_fetch_add_explicit(&shm->refused, 1, memory_order_relaxed);
    return true;
}

/* Purgeable, or doomed before: freed under the framework's lock, if nobody copies. */
static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct kl_shm *shm = ctx;
    uint32_t nr = kl_pfn_nr(frame), page;
    struct kli_shm_object *object;
    kli_word *word = kli_shm_page_of(shm, frame, &object, &page);
    uint64_t seen;

    (void)mode;
    if (!word || !kli_p_is_in(atomic_load(word), nr))
        return false;
    if (kli_shm_purge(shm, object)) {
        kli_shm_doom(object, page);
        kli_shm_purge_end(shm, object); /* the object is there as long as the page is (E2) */
        kli_shm_drop(shm, object, page, true);
        return false;
    }
    if (kli_apply(word, kli_p_isolate, nr, &seen))
        return true;
    if (kli_p_is_in(seen, nr) && (seen & KLI_P_DOOMED))
        kli_shm_drop(shm, object, page, true);
    return false;
}

static void putback(void *ctx, kl_pfn frame)
{
    struct kl_shm *shm = ctx;
    struct kli_shm_object *object;
    uint32_t page;
    kli_word *word = kli_shm_page_of(shm, frame, &object, &page);

    if (!word)
        return;
    kli_apply(word, kli_p_putback, kl_pfn_nr(frame), NULL);
    if (atomic_load(word) & KLI_P_DOOMED)
        kli_shm_drop(shm, object, page, true);
}

/* The page for this migration alone; copies under way are waited for as the mode says. */
static bool grab(struct kl_shm *shm, kli_word *word, uint32_t nr, enum kl_mode mode)
{
    static const unsigned rounds[] = {[KL_ASYNC] = 1, [KL_SYNC_LIGHT] = 8, [KL_SYNC] = 32};

    for (unsigned i = 0; i < rounds[mode]; i++) {
        if (kli_apply(word, kli_p_grab, nr, NULL))
            return true;
        shm->host.relax(shm->host.ctx, i);
    }
    return false;
}

/* Its batch has the device counted in (U3); else the object is about to end. */
static int copy(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page, kl_pfn dst,
                kl_pfn src, enum kl_mode mode)
{
    uint64_t use = atomic_load(&object->use);
    uint32_t device = kli_u_device(use);
    struct kl_shm_ref ref;

    if (kli_u_batches(use) == 0)
        return -KL_EAGAIN;
    if (device == 0 || !shm->device[device - 1].ops.migrate)
        return kl_frame_copy(shm->zone, dst, src);
    ref = (struct kl_shm_ref){.object = kli_shm_id(shm, object),
                              .device = shm->device[device - 1].ctx,
                              .data = object->data};
    return shm->device[device - 1].ops.migrate(&ref, page, dst, src, mode);
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct kl_shm *shm = ctx;
    struct kli_shm_object *object;
    uint32_t page;
    kli_word *word = kli_shm_page_of(shm, src, &object, &page);
    int err;

    if (!word)
        return -KL_EAGAIN;
    if (atomic_load(word) & KLI_P_REFUSED) {
        atomic_fetch_add_explicit(&shm->refused, 1, memory_order_relaxed);
        KLI_TRACE(shm_refused, shm->tag, kl_pfn_nr(src), page);
        return -KL_EBUSY;
    }
    if ((atomic_load(word) & KLI_P_DOOMED) || !grab(shm, word, kl_pfn_nr(src), mode))
        return -KL_EAGAIN;
    KLI_TRACE_STEP(shm_alone, shm->tag, kl_pfn_nr(src), page);
    err = copy(shm, object, page, dst, src, mode);
    if (err) {
        kli_apply(word, kli_p_keep, 0, NULL);
        return err > 0 ? -KL_EBUSY : err;
    }
    KLI_TRACE_STEP(shm_copied, shm->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    kl_frame_set_private(shm->zone, dst, kl_frame_private(shm->zone, src));
    KLI_REQUIRE(&shm->host, kli_apply(word, kli_p_land, kl_pfn_nr(dst), NULL));
    atomic_fetch_add_explicit(&shm->migrated, 1, memory_order_relaxed);
    KLI_TRACE(shm_migrated, shm->tag, kl_pfn_nr(src), kl_pfn_nr(dst));
    return 0;
}

static const char *reason(struct kl_shm *shm, uint64_t use, uint64_t page)
{
    uint32_t device = kli_u_device(use);

    if (kli_p_users(page) > 0)
        return "being read or written";
    if (device && kli_shm_is_asleep(&shm->device[device - 1]))
        return "asleep with its device";
    if (kli_u_active(use) > 0)
        return "active on its device";
    return device ? "its device is not ready to let it move" : NULL;
}

/* The frame is held and not locked: its object may be about to end, so it is visited. */
static bool explain(void *ctx, kl_pfn frame, char *text, size_t bytes)
{
    struct kl_shm *shm = ctx;
    uint64_t priv = kl_frame_private(shm->zone, frame);
    struct kli_shm_object *object = priv ? kli_shm_at(shm, (priv >> 32) - 1) : NULL;
    const char *why = NULL;
    kli_word *word;

    if (!object || !kli_shm_visit_this(object))
        return false;
    word = kli_shm_page(object, (uint32_t)priv);
    if (word)
        why = reason(shm, atomic_load(&object->use), atomic_load(word));
    if (why)
        kli_text(text, bytes, why);
    kli_shm_leave(shm, object);
    return why != NULL;
}

const struct kl_owner_ops kli_shm_owner_ops = {
    .size = sizeof(kli_shm_owner_ops),
    .isolate = isolate,
    .migrate = migrate,
    .putback = putback,
    .prepare = kli_shm_prepare,
    .finish = kli_shm_finish,
    .explain = explain,
    .refuses = refuses,
};
