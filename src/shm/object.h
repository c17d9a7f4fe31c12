// SPDX-License-Identifier: Apache-2.0
/* The two words of an object: how long it lives, and what is done with it.
 *
 * life: bits 0-19 visits (calls under way, pins, activities, stays elsewhere), 20-35 users
 * (references), 36-37 state, 40-63 generation, one more with every create.
 *
 *          create          publish           destroy            last visit, last user
 *   FREE ---------> MAKING -------> ALIVE -----------> DYING -----------------> ENDING --.
 *     ^                |              \--------- (nobody is there) ------------^         |
 *     '----------------'----------------------- end (its frames are free) ---------------'
 *
 * (L1) A visit needs ALIVE, or DYING with somebody there; a new user needs ALIVE.
 * (L2) Exactly one thread makes ENDING; it ends the object, or puts it on the list of
 *      those whose frames somebody else has locked just now.
 * (L3) Objects' memory goes with the kl_shm: only their tables of pages go sooner, when all
 *      frames are free. (page.h, E2)
 *
 * use: bits 0-15 pins, 16-31 active, 32-38 batches, 39-45 moving (batches that are not at
 * their finish yet), 46 PURGEABLE, 47 PURGED, 48 AWAY, 49 WHOLE, 50-55 device + 1,
 * 56-63 purgers.
 *
 * (U1) WHOLE (somebody changes the object as a whole: resize, move out, move in) excludes
 *      pins and active; so do PURGEABLE, PURGED and AWAY.
 * (U2) PURGED is set before the first page is dropped, and the generation is one more before
 *      it goes.  So a copy that finds at its end neither PURGED nor, then, another generation
 *      than at its beginning was of contents that were there.  Who drops or dooms a page because of
 * that is a purger, and the owner gets the object back when there is none: so nothing is dropped
 * that was written later. (U3) A batch counts itself in before prepare, and out after finish.  Its
 * device stays, and no activity and no attachment begins meanwhile.  Counted in without a device,
 *      too: an attachment that comes while frames are on their way would not know it.
 *      What is active has addresses to tell while no batch of it is moving: so who asks
 *      right after an activity that began beside a batch, or in the finish of one of two,
 *      is not told what is about to change.
 * (U4) In modes other than KL_SYNC no batch gets into what is active.
 */
#ifndef KLI_SHM_OBJECT_H
#define KLI_SHM_OBJECT_H

#include "base/word.h"

/* ---- life ---- */

enum kli_life { KLI_L_FREE, KLI_L_MAKING, KLI_L_ALIVE, KLI_L_ENDING_OR_DYING };

#define KLI_L_VISIT      (UINT64_C(1) << 0)
#define KLI_L_USER       (UINT64_C(1) << 20)
#define KLI_L_STATE      (UINT64_C(1) << 36)
#define KLI_L_GENERATION (UINT64_C(1) << 40)
#define KLI_L_PEOPLE     ((UINT64_C(1) << 36) - 1)

static inline uint32_t kli_l_visits(uint64_t w)
{
    return (uint32_t)kli_field(w, 0, 20);
}

static inline uint32_t kli_l_users(uint64_t w)
{
    return (uint32_t)kli_field(w, 20, 16);
}

static inline enum kli_life kli_l_state(uint64_t w)
{
    return (enum kli_life)kli_field(w, 36, 2);
}

static inline uint64_t kli_l_generation(uint64_t w)
{
    return kli_field(w, 40, 24);
}

/* Nobody is there and nobody will come: ENDING. */
static inline bool kli_l_is_ending(uint64_t w)
{
    return kli_l_state(w) == KLI_L_ENDING_OR_DYING && (w & KLI_L_PEOPLE) == 0;
}

static inline struct kli_step kli_l_make(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_l_state(w) != KLI_L_FREE)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_L_GENERATION + KLI_L_MAKING * KLI_L_STATE); /* wraps */
}

static inline struct kli_step kli_l_publish(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_l_state(w) != KLI_L_MAKING)
        return KLI_REFUSED;
    return KLI_STEP(w + (KLI_L_ALIVE - KLI_L_MAKING) * KLI_L_STATE);
}

/* From MAKING, or ENDING. */
static inline struct kli_step kli_l_end(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_l_state(w) != KLI_L_MAKING && !kli_l_is_ending(w))
        return KLI_REFUSED;
    return KLI_STEP(w & ~(UINT64_C(3) * KLI_L_STATE));
}

/* L1.  arg: the generation. */
static inline struct kli_step kli_l_visit(uint64_t w, uint64_t generation)
{
    bool there = kli_l_state(w) == KLI_L_ALIVE ||
                 (kli_l_state(w) == KLI_L_ENDING_OR_DYING && (w & KLI_L_PEOPLE) != 0);

    if (!there || kli_l_generation(w) != generation || kli_l_visits(w) == 0xfffff)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_L_VISIT);
}

static inline struct kli_step kli_l_leave(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_l_visits(w) > 0 ? KLI_STEP(w - KLI_L_VISIT) : KLI_REFUSED;
}

static inline struct kli_step kli_l_get(uint64_t w, uint64_t generation)
{
    if (kli_l_state(w) != KLI_L_ALIVE || kli_l_generation(w) != generation ||
        kli_l_users(w) == 0xffff)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_L_USER);
}

static inline struct kli_step kli_l_put(uint64_t w, uint64_t generation)
{
    if (kli_l_generation(w) != generation || kli_l_state(w) < KLI_L_ALIVE || kli_l_users(w) == 0)
        return KLI_REFUSED;
    return KLI_STEP(w - KLI_L_USER);
}

static inline struct kli_step kli_l_destroy(uint64_t w, uint64_t generation)
{
    if (kli_l_state(w) != KLI_L_ALIVE || kli_l_generation(w) != generation)
        return KLI_REFUSED;
    return KLI_STEP(w + (KLI_L_ENDING_OR_DYING - KLI_L_ALIVE) * KLI_L_STATE);
}

/* ---- use ---- */

#define KLI_U_PIN       (UINT64_C(1) << 0)
#define KLI_U_ACTIVE    (UINT64_C(1) << 16)
#define KLI_U_BATCH     (UINT64_C(1) << 32)
#define KLI_U_MOVING    (UINT64_C(1) << 39)
#define KLI_U_PURGEABLE (UINT64_C(1) << 46)
#define KLI_U_PURGED    (UINT64_C(1) << 47)
#define KLI_U_AWAY      (UINT64_C(1) << 48)
#define KLI_U_WHOLE     (UINT64_C(1) << 49)
#define KLI_U_DEVICE    (UINT64_C(1) << 50)
#define KLI_U_PURGER    (UINT64_C(1) << 56)

static inline uint32_t kli_u_pins(uint64_t w)
{
    return (uint32_t)kli_field(w, 0, 16);
}

static inline uint32_t kli_u_active(uint64_t w)
{
    return (uint32_t)kli_field(w, 16, 16);
}

static inline uint32_t kli_u_batches(uint64_t w)
{
    return (uint32_t)kli_field(w, 32, 7);
}

static inline uint32_t kli_u_moving(uint64_t w)
{
    return (uint32_t)kli_field(w, 39, 7);
}

/* + 1; 0: none. */
static inline uint32_t kli_u_device(uint64_t w)
{
    return (uint32_t)kli_field(w, 50, 6);
}

static inline uint32_t kli_u_purgers(uint64_t w)
{
    return (uint32_t)kli_field(w, 56, 8);
}

static inline bool kli_u_is_held(uint64_t w)
{
    return kli_u_pins(w) > 0 || kli_u_active(w) > 0;
}

#define KLI_U_NOT_HERE (KLI_U_PURGEABLE | KLI_U_PURGED | KLI_U_AWAY | KLI_U_WHOLE)

static inline struct kli_step kli_u_pin(uint64_t w, uint64_t arg)
{
    (void)arg;
    if ((w & KLI_U_NOT_HERE) || kli_u_pins(w) == 0xffff)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_U_PIN);
}

static inline struct kli_step kli_u_unpin(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_u_pins(w) > 0 ? KLI_STEP(w - KLI_U_PIN) : KLI_REFUSED;
}

/* U1, U3 */
static inline struct kli_step kli_u_activate(uint64_t w, uint64_t arg)
{
    (void)arg;
    if ((w & KLI_U_NOT_HERE) || kli_u_batches(w) > 0 || kli_u_device(w) == 0 ||
        kli_u_active(w) == 0xffff)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_U_ACTIVE);
}

static inline struct kli_step kli_u_deactivate(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_u_active(w) > 0 ? KLI_STEP(w - KLI_U_ACTIVE) : KLI_REFUSED;
}

/* may_wait: the batch's mode is KL_SYNC. (U4) */
static inline struct kli_step kli_u_batch(uint64_t w, uint64_t may_wait)
{
    if ((kli_u_active(w) > 0 && !may_wait) || kli_u_batches(w) == 0x7f)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_U_BATCH + KLI_U_MOVING);
}

/* Its frames are where they will be; its finish is about to begin. */
static inline struct kli_step kli_u_moved(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_u_moving(w) > 0 ? KLI_STEP(w - KLI_U_MOVING) : KLI_REFUSED;
}

/* After that. */
static inline struct kli_step kli_u_batch_end(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_u_batches(w) > kli_u_moving(w) ? KLI_STEP(w - KLI_U_BATCH) : KLI_REFUSED;
}

static inline struct kli_step kli_u_attach(uint64_t w, uint64_t device)
{
    if (kli_u_device(w) != 0 || kli_u_batches(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(w + device * KLI_U_DEVICE);
}

static inline struct kli_step kli_u_detach(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_u_device(w) == 0 || kli_u_batches(w) > 0 || kli_u_active(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(w - kli_u_device(w) * KLI_U_DEVICE);
}

/* away: whether it is there that it shall be.  U1 */
static inline struct kli_step kli_u_whole(uint64_t w, uint64_t away)
{
    uint64_t was = KLI_U_NOT_HERE & ~(away ? KLI_U_AWAY : 0);

    if (kli_u_is_held(w) || (w & was) || (away && !(w & KLI_U_AWAY)))
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_U_WHOLE);
}

/* arg: KLI_U_AWAY, or 0, from now on. */
static inline struct kli_step kli_u_whole_end(uint64_t w, uint64_t away)
{
    if (!(w & KLI_U_WHOLE))
        return KLI_REFUSED;
    return KLI_STEP((w & ~(KLI_U_WHOLE | KLI_U_AWAY)) | away);
}

static inline struct kli_step kli_u_offer(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_u_is_held(w) || (w & (KLI_U_AWAY | KLI_U_WHOLE)))
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_U_PURGEABLE);
}

static inline struct kli_step kli_u_purge(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_U_PURGEABLE) || (w & KLI_U_WHOLE) || kli_u_purgers(w) == 0xff)
        return KLI_REFUSED;
    return KLI_STEP((w | KLI_U_PURGED) + KLI_U_PURGER);
}

static inline struct kli_step kli_u_purge_end(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_u_purgers(w) > 0 ? KLI_STEP(w - KLI_U_PURGER) : KLI_REFUSED;
}

/* Not purgeable any more.  While PURGED is being tidied up it is WHOLE. */
static inline struct kli_step kli_u_want(uint64_t w, uint64_t arg)
{
    (void)arg;
    if ((w & KLI_U_WHOLE) || kli_u_purgers(w) > 0)
        return KLI_REFUSED;
    if (w & KLI_U_PURGED)
        return KLI_STEP(w | KLI_U_WHOLE);
    return KLI_STEP(w & ~KLI_U_PURGEABLE);
}

/* The end of that. */
static inline struct kli_step kli_u_wanted(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_U_WHOLE) || !(w & KLI_U_PURGED))
        return KLI_REFUSED;
    return KLI_STEP(w & ~(KLI_U_WHOLE | KLI_U_PURGED | KLI_U_PURGEABLE));
}

#endif
