// SPDX-License-Identifier: Apache-2.0
/* Around a batch of migrations: each device is quieted once.
 *
 *   prepare: the objects of the frames, each once -> counted in (U3, U4) -> each device once,
 *            with its objects -> the frames of those that refused are marked REFUSED
 *   migrate: of a REFUSED one: "busy"
 *   finish:  the batch moves nothing any more (U3) -> each device that was prepared, once
 *            -> counted out
 *
 * (T1) What prepare has counted in, finish counts out: objects, devices, visits.  What ended
 *      meanwhile, and had frames that this batch had locked, is swept then.
 * (T2) A frame is REFUSED by its own batch only: it is isolated for that.
 * (T3) A device that sleeps has no batches. (struct kli_shm_device)
 */
#include "shm/shm.h"

/* ---- records ---- */

static struct kli_shm_batch *new_batch(struct kl_shm *shm, const kl_pfn *key)
{
    struct kli_shm_batch *batch;

    kli_lock_take(&shm->host, &shm->lock);
    batch = shm->spare;
    if (batch)
        shm->spare = batch->next;
    kli_lock_drop(&shm->host, &shm->lock);
    if (!batch)
        batch = kl_zone_meta_alloc(shm->zone, sizeof(*batch));
    if (batch) {
        batch->key = key;
        batch->n = 0;
    }
    return batch;
}

static void file(struct kl_shm *shm, struct kli_shm_batch *batch)
{
    kli_lock_take(&shm->host, &shm->lock);
    batch->next = shm->batches;
    shm->batches = batch;
    kli_lock_drop(&shm->host, &shm->lock);
}

static struct kli_shm_batch *take_out(struct kl_shm *shm, const kl_pfn *key)
{
    struct kli_shm_batch **at = &shm->batches, *batch;

    kli_lock_take(&shm->host, &shm->lock);
    while (*at && (*at)->key != key)
        at = &(*at)->next;
    batch = *at;
    if (batch)
        *at = batch->next;
    kli_lock_drop(&shm->host, &shm->lock);
    return batch;
}

static void put_spare(struct kl_shm *shm, struct kli_shm_batch *batch)
{
    kli_lock_take(&shm->host, &shm->lock);
    batch->next = shm->spare;
    shm->spare = batch;
    kli_lock_drop(&shm->host, &shm->lock);
}

void kli_shm_free_batches(struct kl_shm *shm)
{
    struct kli_shm_batch *batch, *next;

    for (batch = shm->spare; batch; batch = next) {
        next = batch->next;
        kl_zone_meta_free(shm->zone, batch, sizeof(*batch));
    }
}

/* ---- objects ---- */

static struct kli_shm_item *find(struct kli_shm_batch *batch, const struct kli_shm_object *object)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->item[i].object == object)
            return &batch->item[i];
    }
    return NULL;
}

/* Visited, and counted in unless it is active and the batch must not wait. */
static struct kli_shm_item *add(struct kl_shm *shm, struct kli_shm_batch *batch,
                                struct kli_shm_object *object, enum kl_mode mode)
{
    struct kli_shm_item *item = &batch->item[batch->n];

    if (batch->n == SHM_BATCH)
        return NULL;
    if (!kli_shm_visit_this(object))
        return NULL; /* about to end: its frames are dropped, not moved */
    batch->n++;
    *item = (struct kli_shm_item){.object = object, .id = kli_shm_id(shm, object)};
    item->is_in = kli_apply(&object->use, kli_u_batch, mode == KL_SYNC, NULL);
    item->is_asked = !item->is_in;
    item->device = item->is_in ? kli_u_device(atomic_load(&object->use)) : 0;
    return item;
}

/* What the frame's private word says; it is isolated and held, so that is still the same. */
static struct kli_shm_object *object_of(struct kl_shm *shm, kl_pfn frame)
{
    uint64_t priv = kl_frame_private(shm->zone, frame);

    return priv ? kli_shm_at(shm, (priv >> 32) - 1) : NULL;
}

static void count_out(struct kl_shm *shm, struct kli_shm_item *item)
{
    if (item->is_in)
        KLI_REQUIRE(&shm->host, kli_apply(&item->object->use, kli_u_batch_end, 0, NULL));
    item->is_in = false;
}

static void all_moved(struct kl_shm *shm, struct kli_shm_batch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->item[i].is_in)
            KLI_REQUIRE(&shm->host, kli_apply(&batch->item[i].object->use, kli_u_moved, 0, NULL));
    }
}

/* ---- devices ---- */

/* The items of that device from `from` on which are counted in. */
static size_t refs_of(const struct kl_shm *shm, const struct kli_shm_batch *batch, uint32_t from,
                      struct kl_shm_ref *refs)
{
    uint32_t device = batch->item[from].device;
    size_t n = 0;

    for (uint32_t i = from; i < batch->n; i++) {
        const struct kli_shm_item *item = &batch->item[i];

        if (item->device == device && item->is_in)
            refs[n++] = (struct kl_shm_ref){.object = item->id,
                                            .device = shm->device[device - 1].ctx,
                                            .data = item->object->data};
    }
    return n;
}

static int quiet(struct kli_shm_device *device, const struct kl_shm_ref *refs, size_t n,
                 enum kl_mode mode)
{
    int err;

    if (!kli_shm_device_enter(device))
        return -KL_EBUSY; /* asleep */
    err = device->ops.prepare(refs, n, mode);
    if (err)
        kli_shm_device_exit(device);
    return err;
}

/* One device, and all items of it from `from` on. */
static void ask(struct kl_shm *shm, struct kli_shm_batch *batch, uint32_t from, enum kl_mode mode)
{
    uint32_t device = batch->item[from].device;
    struct kl_shm_ref refs[SHM_BATCH];
    size_t n = refs_of(shm, batch, from, refs);
    int err = quiet(&shm->device[device - 1], refs, n, mode);

    if (!err)
        atomic_fetch_add_explicit(&shm->prepared, 1, memory_order_relaxed);
    for (uint32_t i = from; i < batch->n; i++) {
        if (batch->item[i].device != device)
            continue;
        batch->item[i].is_asked = true;
        if (err && batch->item[i].is_in)
            KLI_REQUIRE(&shm->host, kli_apply(&batch->item[i].object->use, kli_u_moved, 0, NULL));
        if (err)
            count_out(shm, &batch->item[i]);
    }
}

/* T2.  The word is looked at while its object is visited. */
static void refuse(struct kl_shm *shm, struct kli_shm_batch *batch, kl_pfn frame)
{
    struct kli_shm_object *object = object_of(shm, frame);
    struct kli_shm_item *item = object ? find(batch, object) : NULL;
    kli_word *word;

    if (!item || item->is_in)
        return;
    word = kli_shm_page(object, (uint32_t)kl_frame_private(shm->zone, frame));
    if (word)
        kli_apply(word, kli_p_refuse, kl_pfn_nr(frame), NULL);
}

int kli_shm_prepare(void *ctx, const kl_pfn *frames, size_t n, enum kl_mode mode)
{
    struct kl_shm *shm = ctx;
    struct kli_shm_batch *batch = new_batch(shm, frames);

    if (!batch)
        return -KL_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct kli_shm_object *object = object_of(shm, frames[i]);

        if (object && !find(batch, object))
            add(shm, batch, object, mode);
    }
    KLI_TRACE_STEP(shm_counted_in, shm->tag, batch->n, mode);
    for (uint32_t i = 0; i < batch->n; i++) {
        if (!batch->item[i].is_asked && batch->item[i].device)
            ask(shm, batch, i, mode);
    }
    for (size_t i = 0; i < n; i++)
        refuse(shm, batch, frames[i]);
    KLI_TRACE(shm_prepared, shm->tag, batch->n, mode);
    file(shm, batch);
    return 0;
}

void kli_shm_finish(void *ctx, const kl_pfn *frames, size_t n)
{
    struct kl_shm *shm = ctx;
    struct kli_shm_batch *batch = take_out(shm, frames);
    struct kl_shm_ref refs[SHM_BATCH];

    (void)n;
    KLI_REQUIRE(&shm->host, batch != NULL);
    all_moved(shm, batch);
    KLI_TRACE(shm_finish, shm->tag, batch->n, 0);
    for (uint32_t i = 0; i < batch->n; i++) {
        uint32_t device = batch->item[i].device;
        size_t of_it;

        if (!device || !batch->item[i].is_in)
            continue;
        of_it = refs_of(shm, batch, i, refs);
        shm->device[device - 1].ops.finish(refs, of_it);
        kli_shm_device_exit(&shm->device[device - 1]);
        for (uint32_t k = i; k < batch->n; k++) {
            if (batch->item[k].device == device)
                count_out(shm, &batch->item[k]);
        }
    }
    for (uint32_t i = 0; i < batch->n; i++) /* T1 */
        count_out(shm, &batch->item[i]);
    KLI_TRACE_STEP(shm_counted_out, shm->tag, batch->n, 0);
    for (uint32_t i = 0; i < batch->n; i++)
        kli_shm_leave(shm, batch->item[i].object);
    put_spare(shm, batch);
    kli_shm_sweep(shm); /* of frames that this batch had locked */
}
