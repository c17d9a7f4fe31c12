// SPDX-License-Identifier: Apache-2.0
/* Objects that are elsewhere: contents that go out of the zone, and come back.
 *
 *   out: whole (U1) -> pay -> every page alone, and copied (undone when one fails)
 *        -> every frame freed, every page AWAY
 *   in:  whole -> all frames (undone) -> every page alone (undone) -> copied, HERE
 *        -> paid back -> the place released
 *
 * (W1) What can fail comes before the first page is changed.
 * (W2) away_bytes is the sum of what objects that are away are charged; that many bytes are
 *      in the zone's charge, and, at rest, as many blocks as they fill are given back.
 * (W3) Who has entered an AWAY page keeps the place: it is released when all are back.
 */
#include "shm/shm.h"

/* ---- what it costs ---- */

static uint32_t blocks_for(const struct kl_shm *shm, uint64_t bytes)
{
    return (uint32_t)kli_div_up(bytes, kl_zone_block_bytes(shm->zone));
}

/* Under budget: as many blocks given back as `bytes` fill. */
static int balance(struct kl_shm *shm, uint64_t bytes)
{
    uint32_t have = atomic_load(&shm->away_blocks), want = blocks_for(shm, bytes);
    int err = 0;

    if (want > have)
        err = kl_zone_give_back(shm->zone, want - have, KL_SYNC_LIGHT, NULL);
    else if (want < have)
        err = kl_zone_lend(shm->zone, have - want);
    if (!err)
        atomic_store(&shm->away_blocks, want);
    return err;
}

static int pay(struct kl_shm *shm, uint64_t bytes)
{
    uint64_t away;
    int err;

    kli_lock_take(&shm->host, &shm->budget);
    away = atomic_load(&shm->away_bytes);
    if (bytes > shm->zone->backing.bytes || away > shm->zone->backing.bytes - bytes)
        err = -KL_ENOMEM; /* more than there is */
    else
        err = balance(shm, away + bytes);
    if (!err && !kli_charge(shm->zone, bytes)) {
        balance(shm, away);
        err = -KL_ENOMEM;
    }
    if (!err)
        atomic_store(&shm->away_bytes, away + bytes);
    kli_lock_drop(&shm->host, &shm->budget);
    return err;
}

static void pay_back(struct kl_shm *shm, uint64_t bytes)
{
    kli_lock_take(&shm->host, &shm->budget);
    balance(shm, atomic_fetch_sub(&shm->away_bytes, bytes) - bytes);
    kli_lock_drop(&shm->host, &shm->budget);
    kli_uncharge(shm->zone, bytes);
}

/* The blocks that were given back for it may be needed for its frames; until they are
 * there both have their memory.  back: that did not help. */
static void lean(struct kl_shm *shm, uint64_t bytes, bool back)
{
    kli_lock_take(&shm->host, &shm->budget);
    balance(shm, atomic_load(&shm->away_bytes) - (back ? 0 : bytes));
    kli_lock_drop(&shm->host, &shm->budget);
}

/* ---- out ---- */

/* Alone, from EMPTY or HERE. */
static bool grab(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page)
{
    kli_word *word = kli_shm_page(object, page);
    uint64_t since = 0;

    for (unsigned round = 0;; round++) {
        uint64_t seen = atomic_load(word);

        if (seen & KLI_P_DOOMED)
            kli_shm_drop(shm, object, page, false);
        else if (kli_apply(word, kli_p_claim, 0, NULL) ||
                 kli_apply(word, kli_p_grab, kli_p_nr(seen), NULL))
            return true;
        if (!kli_shm_wait(shm, &since, round, SHM_WAIT_PAGE_NS))
            return false;
    }
}

static void let_go(struct kl_shm *shm, struct kli_shm_object *object, uint32_t n)
{
    while (n-- > 0) {
        kli_word *word = kli_shm_page(object, n);

        if (kli_p_state(atomic_load(word)) == KLI_P_BUSY)
            kli_apply(word, kli_p_empty, 0, NULL);
        else
            kli_apply(word, kli_p_keep, 0, NULL);
    }
    (void)shm;
}

static int copy_out(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page)
{
    uint64_t word;

    if (!grab(shm, object, page))
        return -KL_EBUSY;
    word = atomic_load(kli_shm_page(object, page));
    if (kli_p_state(word) == KLI_P_MOVING &&
        object->place.write(object->place_ctx, (uint64_t)page << shm->shift,
                            kli_addr(shm->zone, kli_p_nr(word)), (size_t)1 << shm->shift) != 0) {
        kli_apply(kli_shm_page(object, page), kli_p_keep, 0, NULL);
        return -KL_EIO;
    }
    KLI_TRACE_STEP(shm_out_page, shm->tag, object->index, page);
    return 0;
}

/* Whoever has the frame's lock finds the page in other hands, and drops it. */
static void commit_out(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page)
{
    kli_word *word = kli_shm_page(object, page);
    uint64_t seen = atomic_load(word);

    if (kli_p_state(seen) == KLI_P_MOVING) {
        while (!kli_shm_free_frame(shm, kli_p_nr(seen)))
            ;
        atomic_fetch_sub(&shm->here, 1);
        atomic_fetch_sub(&object->here, 1);
    }
    KLI_TRACE_STEP(shm_out_freed, shm->tag, object->index, page);
    KLI_REQUIRE(&shm->host, kli_apply(word, kli_p_away, 0, NULL));
}

static int go_out(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t pages = atomic_load(&object->pages);
    int err = pay(shm, object->place.bytes);

    if (err)
        return err;
    KLI_TRACE_STEP(shm_paid, shm->tag, object->index, object->place.bytes);
    for (uint32_t i = 0; i < pages; i++) {
        err = copy_out(shm, object, i);
        if (err) {
            let_go(shm, object, i);
            pay_back(shm, object->place.bytes);
            return err;
        }
    }
    for (uint32_t i = 0; i < pages; i++)
        commit_out(shm, object, i);
    object->charged = object->place.bytes;
    return 0;
}

static int move_out(struct kl_shm *shm, struct kli_shm_object *object,
                    const struct kl_shm_place *place, void *ctx)
{
    uint64_t seen;
    int err;

    if (kli_l_state(atomic_load(&object->life)) != KLI_L_ALIVE)
        return -KL_ESTALE; /* a new user */
    if (!kli_apply(&object->use, kli_u_whole, 0, &seen))
        return (seen & KLI_U_PURGED) ? -KL_ENODATA : -KL_EBUSY;
    object->place = *place;
    object->place_ctx = ctx;
    err = go_out(shm, object);
    KLI_TRACE(shm_out_end, shm->tag, object->index, err);
    KLI_REQUIRE(&shm->host, kli_apply(&object->use, kli_u_whole_end, err ? 0 : KLI_U_AWAY, NULL));
    return err;
}

/* The visit goes on until move_in. */
int kl_shm_move_out(struct kl_shm *shm, kl_shm_id id, const struct kl_shm_place *place, void *ctx)
{
    struct kli_shm_object *object;
    int err;

    if (!place || place->size != sizeof(*place) || !place->read || !place->write || !place->release)
        return -KL_EINVAL;
    if (!shm->zone->backing.base)
        return -KL_ENOTSUP;
    object = kli_shm_visit(shm, id);
    if (!object)
        return -KL_ESTALE;
    err = move_out(shm, object, place, ctx);
    if (err)
        kli_shm_leave(shm, object);
    return err;
}

/* ---- in ---- */

static void free_first(struct kl_shm *shm, kl_pfn *frames, uint32_t n)
{
    while (n-- > 0)
        kl_frame_free(shm->zone, shm->owner, frames[n]);
}

/* Without private words: they are nobody's yet. */
static bool alloc_all(struct kl_shm *shm, const struct kli_shm_object *object, kl_pfn *frames,
                      uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (kl_frame_alloc(shm->zone, shm->order, shm->owner, KL_MOVABLE | object->flags,
                           &frames[i]) != 0) {
            free_first(shm, frames, i);
            return false;
        }
    }
    return true;
}

static bool alloc_leaning(struct kl_shm *shm, const struct kli_shm_object *object, kl_pfn *frames,
                          uint32_t n)
{
    if (alloc_all(shm, object, frames, n))
        return true;
    lean(shm, object->charged, false);
    if (alloc_all(shm, object, frames, n))
        return true;
    lean(shm, object->charged, true);
    return false;
}

/* Every page alone: BUSY. */
static bool grab_all(struct kl_shm *shm, struct kli_shm_object *object, uint32_t n)
{
    uint64_t since = 0;

    for (uint32_t i = 0; i < n; i++) {
        for (unsigned round = 0; !kli_apply(kli_shm_page(object, i), kli_p_grab_away, 0, NULL);
             round++) {
            if (kli_shm_wait(shm, &since, round, SHM_WAIT_PAGE_NS))
                continue;
            while (i-- > 0)
                kli_apply(kli_shm_page(object, i), kli_p_away, 0, NULL);
            return false;
        }
    }
    KLI_TRACE_STEP(shm_in_alone, shm->tag, object->index, n);
    return true;
}

static void copy_in(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page, kl_pfn pfn)
{
    size_t n = (size_t)1 << shm->shift;
    void *to = kl_frame_addr(shm->zone, pfn);

    if (object->place.read(object->place_ctx, (uint64_t)page << shm->shift, to, n) != 0)
        memset(to, 0, n);
    kl_frame_set_private(shm->zone, pfn, (uint64_t)(object->index + UINT64_C(1)) << 32 | page);
    atomic_fetch_add(&object->here, 1);
    atomic_fetch_add(&shm->here, 1);
    KLI_REQUIRE(&shm->host,
                kli_apply(kli_shm_page(object, page), kli_p_fill, kl_pfn_nr(pfn), NULL));
    KLI_TRACE_STEP(shm_in_page, shm->tag, object->index, page);
}

static int come_in(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t n = atomic_load(&object->pages);
    size_t bytes = n * sizeof(kl_pfn);
    kl_pfn *frames = kl_zone_meta_alloc(shm->zone, kli_max(bytes, 1));
    int err = -KL_ENOMEM;

    if (frames && alloc_leaning(shm, object, frames, n)) {
        KLI_TRACE_STEP(shm_in_frames, shm->tag, object->index, n);
        err = grab_all(shm, object, n) ? 0 : -KL_EBUSY;
        if (err) {
            free_first(shm, frames, n);
            lean(shm, object->charged, true);
        }
        for (uint32_t i = 0; i < n && !err; i++)
            copy_in(shm, object, i, frames[i]);
    }
    kl_zone_meta_free(shm->zone, frames, kli_max(bytes, 1));
    return err;
}

/* Nobody wants the contents: destroyed, and the only ones there are the stay and this call. */
static int forget(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t n = atomic_load(&object->pages);

    if (!grab_all(shm, object, n))
        return -KL_EBUSY;
    atomic_fetch_add(&object->generation, 1); /* a call that comes just now is told (U2) */
    for (uint32_t i = 0; i < n; i++)
        kli_apply(kli_shm_page(object, i), kli_p_empty, 0, NULL);
    return 0;
}

static bool is_wanted(const struct kli_shm_object *object)
{
    uint64_t life = atomic_load(&object->life);

    return kli_l_state(life) == KLI_L_ALIVE || kli_l_users(life) > 0 || kli_l_visits(life) > 2;
}

static int move_in(struct kl_shm *shm, struct kli_shm_object *object)
{
    struct kl_shm_place place;
    void *ctx;
    int err;

    if (!kli_apply(&object->use, kli_u_whole, KLI_U_AWAY, NULL))
        return (atomic_load(&object->use) & KLI_U_AWAY) ? -KL_EBUSY : -KL_ENOENT;
    err = is_wanted(object) ? come_in(shm, object) : forget(shm, object);
    KLI_TRACE(shm_in_end, shm->tag, object->index, err);
    if (err) {
        KLI_REQUIRE(&shm->host, kli_apply(&object->use, kli_u_whole_end, KLI_U_AWAY, NULL));
        return err;
    }
    place = object->place;
    ctx = object->place_ctx;
    pay_back(shm, object->charged);
    object->charged = 0;
    KLI_REQUIRE(&shm->host, kli_apply(&object->use, kli_u_whole_end, 0, NULL));
    place.release(ctx);         /* W3 */
    kli_shm_leave(shm, object); /* the stay's visit */
    return 0;
}

int kl_shm_move_in(struct kl_shm *shm, kl_shm_id id)
{
    struct kli_shm_object *object = kli_shm_visit(shm, id);
    int err;

    if (!object)
        return -KL_ESTALE;
    err = move_in(shm, object);
    kli_shm_leave(shm, object);
    return err;
}
