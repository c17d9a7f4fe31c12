// SPDX-License-Identifier: Apache-2.0
/* Pins of whole objects, and where their frames are.
 *
 *   count the pin (U1) -> make missing frames -> settle -> enter all pages, so that none
 *   changes -> kl_pin_begin their frames -> exit -> keep the id with the object
 *
 * (I1) While pages are entered their frames are neither moved nor freed, so the frames
 *      that are pinned are the object's.  A frame that is isolated already refuses the
 *      pin; its migration finds the page in use, and puts it back: wait, and again.
 */
#include "shm/shm.h"

int kli_shm_refusal(uint64_t use)
{
    if (use & KLI_U_PURGED)
        return -KL_ENODATA;
    return (use & KLI_U_NOT_HERE) ? -KL_EBUSY : -KL_ENOSPC;
}

/* ---- frames ---- */

static void exit_first(struct kl_shm *shm, struct kli_shm_object *object, uint32_t n)
{
    while (n-- > 0)
        kli_shm_exit(shm, object, n);
}

static int enter_all(struct kl_shm *shm, struct kli_shm_object *object, kl_pfn *frames, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int err = kli_shm_enter(shm, object, i, SHM_FILL);

        if (err) {
            exit_first(shm, object, i);
            return err;
        }
        frames[i] = kl_zone_pfn(shm->zone, kli_p_nr(atomic_load(kli_shm_page(object, i))));
    }
    return 0;
}

static int pin_once(struct kl_shm *shm, struct kli_shm_object *object, const char *why,
                    kl_pfn *frames, uint32_t n, kl_pin_id *pin)
{
    struct kl_pin_config config = {
        .size = sizeof(config), .object = kli_shm_id(shm, object).v, .why = why};
    int err = enter_all(shm, object, frames, n);

    if (err)
        return err;
    err = kl_pin_begin(shm->zone, shm->owner, &config, frames, n, pin);
    KLI_TRACE_STEP(shm_pinned, shm->tag, object->index, err);
    exit_first(shm, object, n);
    return err;
}

/* Settled as far as there is room: the pin is wanted in any case.  But in an area nothing stays
 * (-KL_EAGAIN): what got there, or could not leave it, is settled again. */
static int pin_frames(struct kl_shm *shm, struct kli_shm_object *object, const char *why,
                      kl_pfn *frames, uint32_t n, kl_pin_id *pin)
{
    bool settle = !(object->flags & (KL_NOWAIT | KL_ATOMIC | KL_NO_MOVE));
    uint64_t since = 0;
    int err = enter_all(shm, object, frames, n);

    if (err)
        return err;
    exit_first(shm, object, n);
    err = -KL_EAGAIN;
    for (unsigned round = 0;; round++) {
        if (err == -KL_EAGAIN && settle)
            kl_pin_settle(shm->zone, shm->owner, frames, n, KL_SYNC_LIGHT, NULL);
        KLI_TRACE_STEP(shm_settled, shm->tag, object->index, n);
        err = pin_once(shm, object, why, frames, n, pin);
        if (err != -KL_EBUSY && err != -KL_EAGAIN)
            return err;
        if (!kli_shm_wait(shm, &since, round, SHM_WAIT_BATCH_NS))
            return -KL_EBUSY;
    }
}

/* ---- the object's own list ---- */

static void keep(struct kl_shm *shm, struct kli_shm_object *object, struct kli_shm_pin *pin)
{
    kli_lock_take(&shm->host, &shm->lock);
    pin->next = object->pins;
    object->pins = pin;
    kli_lock_drop(&shm->host, &shm->lock);
}

static struct kli_shm_pin *take(struct kl_shm *shm, struct kli_shm_object *object, kl_pin_id id)
{
    struct kli_shm_pin **at = &object->pins, *pin;

    kli_lock_take(&shm->host, &shm->lock);
    while (*at && (*at)->id.v != id.v)
        at = &(*at)->next;
    pin = *at;
    if (pin)
        *at = pin->next;
    kli_lock_drop(&shm->host, &shm->lock);
    return pin;
}

static int pin_counted(struct kl_shm *shm, struct kli_shm_object *object, const char *why,
                       kl_pin_id *id)
{
    uint32_t n = atomic_load(&object->pages);
    uint64_t bytes = n * (uint64_t)sizeof(kl_pfn);
    struct kli_shm_pin *pin;
    kl_pfn *frames;
    int err = -KL_ENOMEM;

    if (n == 0 || bytes > SIZE_MAX / 2)
        return -KL_EINVAL;
    pin = kl_zone_meta_alloc(shm->zone, sizeof(*pin));
    frames = pin ? kl_zone_meta_alloc(shm->zone, (size_t)bytes) : NULL;
    if (frames)
        err = pin_frames(shm, object, why, frames, n, &pin->id);
    kl_zone_meta_free(shm->zone, frames, (size_t)bytes);
    if (err) {
        kl_zone_meta_free(shm->zone, pin, sizeof(*pin));
        return err;
    }
    *id = pin->id;
    keep(shm, object, pin);
    return 0;
}

/* ---- the public face ---- */

/* The visit goes on until unpin. */
int kl_shm_pin(struct kl_shm *shm, kl_shm_id id, const char *why, kl_pin_id *pin)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    uint64_t seen;
    int err;

    if (!object)
        return -KL_ESTALE;
    if (!why || !pin)
        err = -KL_EINVAL;
    else if (kli_l_state(atomic_load(&object->life)) != KLI_L_ALIVE)
        err = -KL_ESTALE; /* a new user */
    else if (!kli_apply(&object->use, kli_u_pin, 0, &seen))
        err = kli_shm_refusal(seen);
    else if ((err = pin_counted(shm, object, why, pin)) != 0)
        kli_apply(&object->use, kli_u_unpin, 0, NULL);
    if (err)
        kli_shm_leave(shm, object);
    return err;
}

int kl_shm_unpin(struct kl_shm *shm, kl_shm_id id, kl_pin_id pin_id)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    struct kli_shm_pin *pin;

    if (!object)
        return -KL_ESTALE;
    pin = take(shm, object, pin_id);
    if (pin) {
        KLI_REQUIRE(&shm->host, kl_pin_end(shm->zone, shm->owner, pin_id) == 0);
        kl_zone_meta_free(shm->zone, pin, sizeof(*pin));
        kli_apply(&object->use, kli_u_unpin, 0, NULL);
        kli_shm_leave(shm, object); /* the pin's */
    }
    kli_shm_leave(shm, object);
    return pin ? 0 : -KL_ESTALE;
}

/* ---- the scatter list ---- */

static int64_t list(struct kl_shm *shm, struct kli_shm_object *object, uint64_t page,
                    struct kl_shm_run *run, size_t n, uint64_t *next)
{
    uint32_t pages = atomic_load(&object->pages), frames = 1u << shm->order;
    size_t runs = 0;

    for (; page < pages; page++) {
        uint64_t word = atomic_load(kli_shm_page(object, (uint32_t)page));
        uint32_t nr = kli_p_nr(word);

        if (kli_p_state(word) != KLI_P_HERE)
            return -KL_EBUSY;
        if (runs > 0 && nr == (uint64_t)kl_pfn_nr(run[runs - 1].first) + run[runs - 1].frames &&
            run[runs - 1].frames <= UINT32_MAX - frames) {
            run[runs - 1].frames += frames;
            continue;
        }
        if (runs == n)
            break;
        run[runs++] = (struct kl_shm_run){kl_zone_pfn(shm->zone, nr), frames};
    }
    *next = page;
    return (int64_t)runs;
}

int kl_shm_sg(struct kl_shm *shm, kl_shm_id id, uint64_t page, struct kl_shm_run *run, size_t n,
              uint64_t *next)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    uint64_t use;
    int64_t err;

    if (!object)
        return -KL_ESTALE;
    use = atomic_load(&object->use);
    if (!run || !next || n == 0 || n > INT32_MAX)
        err = -KL_EINVAL;
    else if (page >= atomic_load(&object->pages))
        err = -KL_ERANGE;
    else if (!kli_u_is_held(use) || (kli_u_active(use) > 0 && kli_u_moving(use) > 0))
        err = -KL_EBUSY; /* U3 */
    else
        err = list(shm, object, page, run, n, next);
    kli_shm_leave(shm, object);
    return (int)err;
}
