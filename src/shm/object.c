// SPDX-License-Identifier: Apache-2.0
/* Objects: their places, names, lives. (object.h, L1-L3)
 *
 * A place is never given back before the kl_shm goes, so a name that is stale leads to a place
 * whose generation is another one, and nowhere else.
 */
#include "shm/shm.h"

enum { INDEX_BITS = 24 };

static unsigned chunk_of(uint64_t index)
{
    unsigned log2 = 63 - (unsigned)__builtin_clzll(index + (UINT64_C(1) << SHM_CHUNK0_LOG2));

    return log2 - SHM_CHUNK0_LOG2;
}

static uint64_t first_of(unsigned chunk)
{
    return (UINT64_C(1) << (chunk + SHM_CHUNK0_LOG2)) - (UINT64_C(1) << SHM_CHUNK0_LOG2);
}

static size_t chunk_bytes(unsigned chunk)
{
    return sizeof(struct kli_shm_object) << (chunk + SHM_CHUNK0_LOG2);
}

struct kli_shm_object *kli_shm_at(const struct kl_shm *shm, uint64_t index)
{
    unsigned chunk = chunk_of(index);
    struct kli_shm_object *first;

    if (chunk >= SHM_CHUNKS)
        return NULL;
    first = atomic_load_explicit(&shm->chunk[chunk], memory_order_acquire);
    return first ? first + (index - first_of(chunk)) : NULL;
}

kl_shm_id kli_shm_id(const struct kl_shm *shm, const struct kli_shm_object *object)
{
    uint64_t life = atomic_load(&object->life);

    return (kl_shm_id){(object->index + UINT64_C(1)) | kli_l_generation(life) << INDEX_BITS |
                       shm->tag << 48};
}

/* Where the name leads, and the generation that has to be there. */
static struct kli_shm_object *place_of(const struct kl_shm *shm, kl_shm_id id, uint64_t *generation)
{
    uint64_t index = kli_field(id.v, 0, INDEX_BITS);

    *generation = kli_field(id.v, INDEX_BITS, 24);
    return id.v >> 48 == shm->tag && index > 0 ? kli_shm_at(shm, index - 1) : NULL;
}

struct kli_shm_object *kli_shm_visit(struct kl_shm *shm, kl_shm_id id)
{
    uint64_t generation;
    struct kli_shm_object *object = place_of(shm, id, &generation);

    return object && kli_apply(&object->life, kli_l_visit, generation, NULL) ? object : NULL;
}

bool kli_shm_visit_this(struct kli_shm_object *object)
{
    uint64_t generation = kli_l_generation(atomic_load(&object->life));

    return kli_apply(&object->life, kli_l_visit, generation, NULL);
}

/* ---- the end ---- */

static void put_free(struct kl_shm *shm, struct kli_shm_object *object)
{
    KLI_REQUIRE(&shm->host, kli_apply(&object->life, kli_l_end, 0, NULL));
    kli_lock_take(&shm->host, &shm->lock);
    object->next = shm->free;
    shm->free = object;
    kli_lock_drop(&shm->host, &shm->lock);
    atomic_fetch_sub(&shm->objects, 1);
}

/* All frames that can be freed now; then the object, or it waits for a sweep. */
static void end(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t pages = kli_shm_capacity(object);

    for (uint32_t i = 0; i < pages && atomic_load(&object->here) > 0; i++)
        kli_shm_drop(shm, object, i, false);
    if (atomic_load(&object->here) > 0) {
        kli_lock_take(&shm->host, &shm->lock);
        object->next = shm->ending;
        shm->ending = object;
        atomic_fetch_add(&shm->nending, 1);
        kli_lock_drop(&shm->host, &shm->lock);
        return;
    }
    kli_shm_free_tables(shm, object);
    kli_shm_abandon(shm, object);
    KLI_TRACE(shm_ended, shm->tag, object->index, 0);
    put_free(shm, object);
}

static void begin_end(struct kl_shm *shm, struct kli_shm_object *object)
{
    KLI_TRACE_STEP(shm_ending, shm->tag, object->index, 0);
    kli_shm_unlist(shm, object);
    end(shm, object);
}

void kli_shm_sweep(struct kl_shm *shm)
{
    struct kli_shm_object *object, *next;

    if (atomic_load(&shm->nending) == 0)
        return;
    kli_lock_take(&shm->host, &shm->lock);
    object = shm->ending;
    shm->ending = NULL;
    atomic_store(&shm->nending, 0);
    kli_lock_drop(&shm->host, &shm->lock);
    for (; object; object = next) {
        next = object->next;
        end(shm, object);
    }
}

/* Takes the edge that may be the one which leaves nobody. (L2) */
static bool depart(struct kl_shm *shm, struct kli_shm_object *object, kli_edge *edge, uint64_t arg)
{
    uint64_t seen;
    struct kli_step step = kli_take(&object->life, edge, arg, &seen);

    if (!step.ok)
        return false;
    if (kli_l_is_ending(step.next))
        begin_end(shm, object);
    return true;
}

void kli_shm_leave(struct kl_shm *shm, struct kli_shm_object *object)
{
    KLI_REQUIRE(&shm->host, depart(shm, object, kli_l_leave, 0));
}

/* ---- the public face ---- */

/* A free place, or a new one; NULL: its chunk is missing, or there are no more. */
static struct kli_shm_object *take_place(struct kl_shm *shm, unsigned *chunk)
{
    struct kli_shm_object *object;

    kli_lock_take(&shm->host, &shm->lock);
    *chunk = chunk_of(shm->used);
    object = shm->free;
    if (object) {
        shm->free = object->next;
    } else if (shm->used < SHM_MAX_OBJECTS) {
        object = kli_shm_at(shm, shm->used);
        if (object)
            object->index = shm->used++;
    }
    kli_lock_drop(&shm->host, &shm->lock);
    return object;
}

static bool add_chunk(struct kl_shm *shm, unsigned chunk)
{
    struct kli_shm_object *mem = kl_zone_meta_alloc(shm->zone, chunk_bytes(chunk)), *none = NULL;

    if (!mem)
        return false;
    if (!atomic_compare_exchange_strong(&shm->chunk[chunk], &none, mem))
        kl_zone_meta_free(shm->zone, mem, chunk_bytes(chunk)); /* somebody was faster */
    return true;
}

static int new_object(struct kl_shm *shm, struct kli_shm_object **object)
{
    unsigned chunk;

    kli_shm_sweep(shm);
    while (!(*object = take_place(shm, &chunk))) {
        if (chunk >= SHM_CHUNKS || atomic_load(&shm->objects) >= SHM_MAX_OBJECTS)
            return -KL_ENOSPC;
        if (!add_chunk(shm, chunk))
            return -KL_ENOMEM;
    }
    KLI_REQUIRE(&shm->host, kli_apply(&(*object)->life, kli_l_make, 0, NULL));
    atomic_fetch_add(&shm->objects, 1);
    return 0;
}

int kl_shm_object_create(struct kl_shm *shm, uint64_t bytes, unsigned flags, kl_shm_id *id)
{
    const unsigned known = KL_NOWAIT | KL_ATOMIC | KL_NO_SHRINK | KL_NO_MOVE;
    struct kli_shm_object *object;
    int err;

    if ((flags & ~known) || !id)
        return -KL_EINVAL;
    if (kli_shm_too_large(shm, bytes))
        return -KL_ERANGE;
    err = new_object(shm, &object);
    if (err)
        return err;
    object->flags = flags;
    atomic_store(&object->use, 0);
    atomic_store(&object->generation, 0);
    err = kli_shm_grow(shm, object, kli_shm_pages_of(shm, bytes));
    if (err) {
        put_free(shm, object);
        return err;
    }
    atomic_store(&object->bytes, bytes);
    atomic_store(&object->pages, kli_shm_pages_of(shm, bytes));
    *id = kli_shm_id(shm, object);
    KLI_REQUIRE(&shm->host, kli_apply(&object->life, kli_l_publish, 0, NULL));
    return 0;
}

int kl_shm_object_destroy(struct kl_shm *shm, kl_shm_id id)
{
    uint64_t generation;
    struct kli_shm_object *object = place_of(shm, id, &generation);

    if (!object || !depart(shm, object, kli_l_destroy, generation))
        return -KL_ESTALE;
    kli_shm_sweep(shm);
    return 0;
}

int kl_shm_get(struct kl_shm *shm, kl_shm_id id)
{
    uint64_t generation, seen;
    struct kli_shm_object *object = place_of(shm, id, &generation);

    if (!object)
        return -KL_ESTALE;
    if (kli_apply(&object->life, kli_l_get, generation, &seen))
        return 0;
    return kli_l_generation(seen) == generation && kli_l_state(seen) == KLI_L_ALIVE ? -KL_ENOSPC
                                                                                    : -KL_ESTALE;
}

int kl_shm_put(struct kl_shm *shm, kl_shm_id id)
{
    uint64_t generation;
    struct kli_shm_object *object = place_of(shm, id, &generation);

    if (object && depart(shm, object, kli_l_put, generation))
        return 0;
    object = kli_shm_visit(shm, id);
    if (!object)
        return -KL_ESTALE;
    kli_shm_leave(shm, object);
    return -KL_EINVAL;
}

/* At the very end: no object is left. */
void kli_shm_free_objects(struct kl_shm *shm)
{
    for (unsigned i = 0; i < SHM_CHUNKS; i++)
        kl_zone_meta_free(shm->zone, atomic_load(&shm->chunk[i]), chunk_bytes(i));
}
