// SPDX-License-Identifier: Apache-2.0
/* Creation, the end, figures. */
#include "shm/shm.h"

static struct kl_shm *make(struct kl_zone *zone, unsigned order)
{
    struct kl_shm *shm = kl_zone_meta_alloc(zone, sizeof(*shm));

    if (!shm)
        return NULL;
    shm->zone = zone;
    shm->host = zone->host;
    shm->order = order;
    shm->shift = zone->frame_shift + order;
    kli_lock_init(&shm->lock, KLI_RANK_SHM);
    kli_lock_init(&shm->budget, KLI_RANK_SHM_BUDGET);
    return shm;
}

static void unmake(struct kl_shm *shm)
{
    kli_shm_free_batches(shm);
    kli_shm_free_objects(shm);
    kl_zone_meta_free(shm->zone, shm, sizeof(*shm));
}

/* Its own shrinker; without a place among those it does without. */
static int enroll_shrinker(struct kl_shm *shm)
{
    struct kl_shrinker_ops ops = kli_shm_shrinker_ops;
    int err;

    ops.name = shm->name;
    ops.owner = shm->owner;
    err = kl_shrinker_register(shm->zone, &ops, shm, &shm->shrinker);
    return err == -KL_ENOSPC ? 0 : err;
}

/* As an owner of frames and as a shrinker. */
static int enroll(struct kl_shm *shm, const char *name)
{
    struct kl_owner_ops owner = kli_shm_owner_ops;
    int err;

    kli_text(shm->name, sizeof(shm->name), name);
    owner.name = shm->name;
    err = kl_owner_register(shm->zone, &owner, shm, &shm->owner);
    if (err)
        return err;
    shm->tag = (KLI_TAG(shm->zone) * 31 + shm->owner.v) & 0xffff;
    err = enroll_shrinker(shm);
    if (err)
        kl_owner_unregister(shm->zone, shm->owner);
    return err;
}

/* The shrinker first, since it names the owner. */
static int withdraw(struct kl_shm *shm)
{
    int err = shm->shrinker.v ? kl_shrinker_unregister(shm->zone, shm->shrinker) : 0;

    if (err)
        return err;
    shm->shrinker = (kl_shrinker_id){0};
    err = kl_owner_unregister(shm->zone, shm->owner);
    if (err) /* as it was; or, without metadata, with no shrinker */
        enroll_shrinker(shm);
    return err;
}

int kl_shm_create(struct kl_zone *zone, const struct kl_shm_config *config, struct kl_shm **out)
{
    static const struct kl_shm_config usual = {.size = sizeof(usual)};
    struct kl_shm *shm;
    int err;

    if (!config)
        config = &usual;
    if (!zone || !out || config->size != sizeof(*config) || config->order > zone->block_order)
        return -KL_EINVAL;
    shm = make(zone, config->order);
    if (!shm)
        return -KL_ENOMEM;
    err = enroll(shm, config->name ? config->name : "shm");
    if (err) {
        unmake(shm);
        return err;
    }
    *out = shm;
    return 0;
}

static bool has_devices(const struct kl_shm *shm)
{
    for (unsigned i = 0; i < SHM_DEVICES; i++) {
        if (kli_g_state(atomic_load(&shm->device[i].gate.word)) != KLI_G_FREE)
            return true;
    }
    return false;
}

int kl_shm_destroy(struct kl_shm *shm)
{
    int err;

    kli_shm_sweep(shm);
    if (atomic_load(&shm->objects) > 0 || has_devices(shm))
        return -KL_EBUSY;
    err = withdraw(shm);
    if (err)
        return err;
    unmake(shm);
    return 0;
}

struct kl_zone *kl_shm_zone(const struct kl_shm *shm)
{
    return shm->zone;
}

kl_owner_id kl_shm_owner(const struct kl_shm *shm)
{
    return shm->owner;
}

size_t kl_shm_page_bytes(const struct kl_shm *shm)
{
    return (size_t)1 << shm->shift;
}

int kl_shm_object_info(struct kl_shm *shm, kl_shm_id id, struct kl_shm_info *info)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    struct kl_shm_info now = {.size = sizeof(now)};
    uint64_t use;

    if (!object)
        return -KL_ESTALE;
    use = atomic_load(&object->use);
    now.bytes = atomic_load(&object->bytes);
    now.frames = (uint64_t)atomic_load(&object->here) << shm->order;
    now.generation = atomic_load(&object->generation);
    now.users = kli_l_users(atomic_load(&object->life));
    now.pins = kli_u_pins(use);
    now.active = kli_u_active(use);
    now.attached = kli_u_device(use) > 0;
    now.purgeable = (use & KLI_U_PURGEABLE) != 0;
    now.purged = (use & KLI_U_PURGED) != 0;
    now.away = (use & KLI_U_AWAY) != 0;
    kli_shm_leave(shm, object);
    kli_stats_out(info, &now, sizeof(now));
    return 0;
}

void kl_shm_get_stats(struct kl_shm *shm, struct kl_shm_stats *stats)
{
    struct kl_shm_stats now = {.size = sizeof(now)};

    now.objects = atomic_load(&shm->objects);
    now.frames = atomic_load(&shm->here) << shm->order;
    now.purgeable_frames = atomic_load(&shm->offered) << shm->order;
    now.away_bytes = atomic_load(&shm->away_bytes);
    now.away_blocks = atomic_load(&shm->away_blocks);
    now.migrated = atomic_load(&shm->migrated);
    now.purged = atomic_load(&shm->purged);
    now.refused = atomic_load(&shm->refused);
    now.batches = atomic_load(&shm->prepared);
    kli_stats_out(stats, &now, sizeof(now));
}
