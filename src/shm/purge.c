// SPDX-License-Identifier: Apache-2.0
/* Purgeable objects: dropped when frames are short, the one that was offered first first.
 *
 * (G1) An object is on the list from its offer on, until its owner wants it again, or it
 *      ends; shm->offered is the sum of what those on it had when they were offered.
 * (G2) Who purges sets PURGED first (U2).  Pages that somebody uses are DOOMED and go with
 *      the last one out; a page that comes in after that goes when the owner wants the
 *      object again.
 */
#include "shm/shm.h"

/* ---- the list; under the lock ---- */

static void unlist(struct kl_shm *shm, struct kli_shm_object *object)
{
    if (!object->is_offered)
        return;
    *(object->older ? &object->older->newer : &shm->oldest) = object->newer;
    *(object->newer ? &object->newer->older : &shm->newest) = object->older;
    object->is_offered = false;
    atomic_fetch_sub(&shm->offered, object->offered);
}

static void list(struct kl_shm *shm, struct kli_shm_object *object)
{
    if (object->is_offered)
        return;
    object->older = shm->newest;
    object->newer = NULL;
    *(shm->newest ? &shm->newest->newer : &shm->oldest) = object;
    shm->newest = object;
    object->is_offered = true;
    object->offered = atomic_load(&object->here);
    atomic_fetch_add(&shm->offered, object->offered);
}

void kli_shm_unlist(struct kl_shm *shm, struct kli_shm_object *object)
{
    kli_lock_take(&shm->host, &shm->lock);
    unlist(shm, object);
    kli_lock_drop(&shm->host, &shm->lock);
}

/* ---- purging ---- */

/* No lock, no wait: from callbacks, too. */
bool kli_shm_purge(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint64_t seen;

    if (!kli_apply(&object->use, kli_u_purge, 0, &seen))
        return false;
    if (!(seen & KLI_U_PURGED))
        atomic_fetch_add_explicit(&shm->purged, 1, memory_order_relaxed);
    KLI_TRACE_STEP(shm_purging, shm->tag, object->index, 0);
    return true;
}

void kli_shm_purge_end(struct kl_shm *shm, struct kli_shm_object *object)
{
    KLI_REQUIRE(&shm->host, kli_apply(&object->use, kli_u_purge_end, 0, NULL));
}

/* The oldest one that lives, visited and off the list; NULL: none, or the lock is held. */
static struct kli_shm_object *take_oldest(struct kl_shm *shm)
{
    struct kli_shm_object *object;

    if (!kli_lock_try(&shm->host, &shm->lock))
        return NULL;
    object = shm->oldest;
    if (object && !kli_shm_visit_this(object))
        object = NULL; /* about to end, and to leave the list */
    if (object)
        unlist(shm, object);
    kli_lock_drop(&shm->host, &shm->lock);
    return object;
}

/* How many pages have gone. */
static uint64_t drop_contents(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t pages = kli_shm_capacity(object);
    uint64_t before = atomic_load(&object->here), after;

    for (uint32_t i = 0; i < pages && atomic_load(&object->here) > 0; i++)
        kli_shm_drop(shm, object, i, false);
    after = atomic_load(&object->here);
    return before > after ? before - after : 0;
}

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct kl_shm *shm = ctx;

    (void)shrink;
    return atomic_load(&shm->offered) << shm->order;
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    struct kl_shm *shm = ctx;
    uint64_t freed = 0;

    kli_shm_sweep(shm);
    while (freed < shrink->nr_to_scan) {
        struct kli_shm_object *object = take_oldest(shm);

        if (!object)
            return freed > 0 ? freed : KL_SHRINK_STOP;
        if (kli_shm_purge(shm, object)) {
            uint64_t pages = drop_contents(shm, object);

            KLI_TRACE(shm_purged, shm->tag, object->index, pages);
            kli_shm_purge_end(shm, object);
            freed += pages << shm->order;
        }
        kli_shm_leave(shm, object);
    }
    return freed;
}

/* Priced as page cache: somebody has to make the contents again. */
const struct kl_shrinker_ops kli_shm_shrinker_ops = {
    .size = sizeof(kli_shm_shrinker_ops),
    .seeks = KL_SHRINK_DEFAULT_SEEKS,
    .batch = 32, /* whole objects go: not too many at a time */
    .count = count,
    .scan = scan,
};

/* ---- the public face ---- */

static int offer(struct kl_shm *shm, struct kli_shm_object *object)
{
    int err = 0;

    kli_lock_take(&shm->host, &shm->lock);
    if (kli_apply(&object->use, kli_u_offer, 0, NULL))
        list(shm, object); /* G1 */
    else
        err = -KL_EBUSY;
    kli_lock_drop(&shm->host, &shm->lock);
    return err;
}

/* WHOLE while what is left of the old contents goes. */
static int tidy(struct kl_shm *shm, struct kli_shm_object *object)
{
    if (!kli_shm_drop_all(shm, object, 0, kli_shm_capacity(object))) {
        kli_apply(&object->use, kli_u_whole_end, 0, NULL);
        return -KL_EBUSY;
    }
    atomic_fetch_add(&object->generation, 1); /* U2 */
    KLI_TRACE_STEP(shm_tidied, shm->tag, object->index, 0);
    KLI_REQUIRE(&shm->host, kli_apply(&object->use, kli_u_wanted, 0, NULL));
    return -KL_ENODATA;
}

/* Off the list, and the edge: as one, for an offer may come at any time. (G1) */
static bool want_once(struct kl_shm *shm, struct kli_shm_object *object, uint64_t *seen)
{
    bool ok;

    kli_lock_take(&shm->host, &shm->lock);
    unlist(shm, object);
    ok = kli_apply(&object->use, kli_u_want, 0, seen);
    kli_lock_drop(&shm->host, &shm->lock);
    return ok;
}

static int want(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint64_t since = 0, seen;

    KLI_TRACE_STEP(shm_want, shm->tag, object->index, 0);
    for (unsigned round = 0; !want_once(shm, object, &seen); round++) {
        if ((seen & KLI_U_WHOLE) || !kli_shm_wait(shm, &since, round, SHM_WAIT_PAGE_NS))
            return -KL_EBUSY;
    }
    return (seen & KLI_U_PURGED) ? tidy(shm, object) : 0;
}

int kl_shm_set_purgeable(struct kl_shm *shm, kl_shm_id id, bool on)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    int err;

    if (!object)
        return -KL_ESTALE;
    err = on ? offer(shm, object) : want(shm, object);
    kli_shm_leave(shm, object);
    return err;
}
