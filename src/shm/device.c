// SPDX-License-Identifier: Apache-2.0
/* Devices: their ops, what is attached to them, activity and sleep.
 *
 * (V1) An attached object is inside its device's gate (base/gate.h) until it is detached.
 *      So a device that has one can't be unregistered, and a batch, which keeps the
 *      attachment (U3), finds ops and context as they were registered (G1).
 * (V2) busy has batches only while the device is awake; the two exclude one another in one
 *      word.
 */
#include "shm/shm.h"

enum { ASLEEP = 1, ONE_BATCH = 2 };

static struct kli_step edge_enter(uint64_t w, uint64_t arg)
{
    (void)arg;
    return (w & ASLEEP) ? KLI_REFUSED : KLI_STEP(w + ONE_BATCH);
}

static struct kli_step edge_exit(uint64_t w, uint64_t arg)
{
    (void)arg;
    return w < ONE_BATCH ? KLI_REFUSED : KLI_STEP(w - ONE_BATCH);
}

static struct kli_step edge_sleep(uint64_t w, uint64_t asleep)
{
    return asleep && w >= ONE_BATCH ? KLI_REFUSED : KLI_STEP((w & ~(uint64_t)ASLEEP) | asleep);
}

bool kli_shm_device_enter(struct kli_shm_device *device)
{
    return kli_apply(&device->busy, edge_enter, 0, NULL);
}

void kli_shm_device_exit(struct kli_shm_device *device)
{
    kli_apply(&device->busy, edge_exit, 0, NULL);
}

bool kli_shm_is_asleep(const struct kli_shm_device *device)
{
    return atomic_load(&device->busy) & ASLEEP;
}

/* ---- names ---- */

static kl_shm_device_id name_of(const struct kl_shm *shm, uint32_t i)
{
    uint64_t generation = kli_g_generation(atomic_load(&shm->device[i].gate.word));

    return (kl_shm_device_id){(i + UINT64_C(1)) | generation << 24 | shm->tag << 48};
}

static struct kli_shm_device *device_of(struct kl_shm *shm, kl_shm_device_id id,
                                        uint64_t *generation)
{
    uint64_t i = kli_field(id.v, 0, 24);

    *generation = kli_field(id.v, 24, 24);
    return id.v >> 48 == shm->tag && i > 0 && i <= SHM_DEVICES ? &shm->device[i - 1] : NULL;
}

/* ---- registration ---- */

int kl_shm_device_register(struct kl_shm *shm, const struct kl_shm_ops *ops, void *ctx,
                           kl_shm_device_id *id)
{
    uint32_t i = 0;
    struct kli_shm_device *device;

    if (!ops || !id || ops->size != sizeof(*ops) || !ops->name || !ops->prepare || !ops->finish)
        return -KL_EINVAL;
    while (i < SHM_DEVICES && !kli_apply(&shm->device[i].gate.word, kli_g_claim, 0, NULL))
        i++;
    if (i == SHM_DEVICES)
        return -KL_ENOSPC;
    device = &shm->device[i];
    atomic_store(&device->busy, 0);
    device->ops = *ops;
    device->ctx = ctx;
    kli_text(device->name, sizeof(device->name), ops->name);
    device->ops.name = device->name;
    *id = name_of(shm, i);
    KLI_REQUIRE(&shm->host, kli_apply(&device->gate.word, kli_g_open, 0, NULL));
    return 0;
}

int kl_shm_device_unregister(struct kl_shm *shm, kl_shm_device_id id)
{
    uint64_t generation;
    struct kli_shm_device *device = device_of(shm, id, &generation);

    kli_shm_sweep(shm);
    return device ? kli_gate_close(&shm->host, &device->gate, generation, false) : -KL_ENOENT;
}

int kl_shm_device_sleep(struct kl_shm *shm, kl_shm_device_id id, bool asleep)
{
    uint64_t generation;
    struct kli_shm_device *device = device_of(shm, id, &generation);
    bool ok;

    if (!device || !kli_gate_enter(&device->gate, generation))
        return -KL_ENOENT;
    ok = kli_apply(&device->busy, edge_sleep, asleep, NULL);
    kli_gate_leave(&shm->host, &device->gate);
    return ok ? 0 : -KL_EBUSY;
}

/* ---- attachment ---- */

/* data goes in under the lock, while there is no device to read it for. */
static bool attach_once(struct kl_shm *shm, struct kli_shm_object *object, uint64_t device,
                        void *data, uint64_t *seen)
{
    bool ok = false;

    kli_lock_take(&shm->host, &shm->lock);
    *seen = atomic_load(&object->use);
    if (kli_u_device(*seen) == 0) {
        object->data = data;
        ok = kli_apply(&object->use, kli_u_attach, device, seen);
    }
    kli_lock_drop(&shm->host, &shm->lock);
    return ok;
}

static int attach(struct kl_shm *shm, struct kli_shm_object *object, uint64_t device, void *data)
{
    uint64_t since = 0, seen;

    for (unsigned round = 0; !attach_once(shm, object, device, data, &seen); round++) {
        if (kli_u_device(seen))
            return -KL_EEXIST;
        if (!kli_shm_wait(shm, &since, round, SHM_WAIT_BATCH_NS))
            return -KL_EBUSY;
    }
    return 0;
}

int kl_shm_attach(struct kl_shm *shm, kl_shm_id id, kl_shm_device_id device_id, void *data)
{
    uint64_t generation;
    struct kli_shm_device *device = device_of(shm, device_id, &generation);
    struct kli_shm_object *object;
    int err;

    if (!device || !kli_gate_enter(&device->gate, generation))
        return -KL_ENOENT;
    KLI_TRACE_STEP(shm_attaching, shm->tag, kli_field(id.v, 0, 24) - 1,
                   kli_field(device_id.v, 0, 24));
    object = kli_shm_visit(shm, id);
    err = object ? attach(shm, object, kli_field(device_id.v, 0, 24), data) : -KL_ESTALE;
    if (object)
        kli_shm_leave(shm, object);
    if (err)
        kli_gate_leave(&shm->host, &device->gate);
    return err;
}

int kl_shm_detach(struct kl_shm *shm, kl_shm_id id)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    uint64_t seen;
    int err = 0;

    if (!object)
        return -KL_ESTALE;
    if (kli_apply(&object->use, kli_u_detach, 0, &seen)) {
        KLI_TRACE_STEP(shm_detached, shm->tag, object->index, kli_u_device(seen));
        kli_gate_leave(&shm->host, &shm->device[kli_u_device(seen) - 1].gate); /* V1 */
    } else {
        err = kli_u_device(seen) ? -KL_EBUSY : -KL_ENOENT;
    }
    kli_shm_leave(shm, object);
    return err;
}

/* Nobody has the object but this; no batch, for it would visit. */
void kli_shm_abandon(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t device = kli_u_device(atomic_load(&object->use));

    atomic_store(&object->use, 0);
    if (device)
        kli_gate_leave(&shm->host, &shm->device[device - 1].gate);
}

/* ---- activity ---- */

/* A batch is waited for; what else refuses is an answer. */
static int count_active(struct kl_shm *shm, struct kli_shm_object *object, enum kl_mode mode)
{
    uint64_t since = 0, seen;

    for (unsigned round = 0; !kli_apply(&object->use, kli_u_activate, 0, &seen); round++) {
        if (kli_u_device(seen) == 0)
            return -KL_ENOENT;
        if (kli_u_batches(seen) == 0 || (seen & KLI_U_NOT_HERE))
            return kli_shm_refusal(seen);
        if (mode == KL_ASYNC || !kli_shm_wait(shm, &since, round, SHM_WAIT_BATCH_NS))
            return -KL_EBUSY;
    }
    KLI_TRACE_STEP(shm_active, shm->tag, object->index, mode);
    if (!kli_shm_is_asleep(&shm->device[kli_u_device(seen) - 1]))
        return 0;
    kli_apply(&object->use, kli_u_deactivate, 0, NULL);
    return -KL_EBUSY;
}

/* Counted first: then nobody cuts it off, or drops it, while its frames are made. */
static int activate(struct kl_shm *shm, struct kli_shm_object *object, enum kl_mode mode)
{
    int err = count_active(shm, object, mode);

    if (err)
        return err;
    err = kli_shm_populate(shm, object);
    if (err)
        kli_apply(&object->use, kli_u_deactivate, 0, NULL);
    return err;
}

/* The visit goes on until deactivate. */
int kl_shm_activate(struct kl_shm *shm, kl_shm_id id, enum kl_mode mode)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    int err;

    if (!object)
        return -KL_ESTALE;
    if (kli_l_state(atomic_load(&object->life)) != KLI_L_ALIVE)
        err = -KL_ESTALE; /* a new user */
    else
        err = (unsigned)mode > KL_SYNC ? -KL_EINVAL : activate(shm, object, mode);
    if (err)
        kli_shm_leave(shm, object);
    return err;
}

int kl_shm_deactivate(struct kl_shm *shm, kl_shm_id id)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    bool was;

    if (!object)
        return -KL_ESTALE;
    was = kli_apply(&object->use, kli_u_deactivate, 0, NULL);
    if (was)
        kli_shm_leave(shm, object); /* activate's */
    kli_shm_leave(shm, object);
    return was ? 0 : -KL_EINVAL;
}
