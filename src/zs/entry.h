// SPDX-License-Identifier: Apache-2.0
/* The word of a handle's entry: where its object is, and who uses it.
 *
 *   bits  0-35  where the object is (zs.h); while free: the next free entry + 1
 *   bit  36     OBJECT: there is one, and its place is known
 *   bits 37-42  pins: 0-61 readers and writers; 62 free; 63 claimed by one thread
 *   bit  43     DYING: freed, the last unpin or the claimer completes it
 *   bits 48-63  generation, raised between a free and the next use
 *
 *            place            pin, unpin
 *   claimed -------> resting <----------> pinned
 *     ^ ^              |                    |
 *     | '--------------'  claim (free,      | free: DYING
 *     |                   compaction)       v
 *     |                             pinned and DYING
 *     |  new                                | last unpin
 *   free <----------- claimed, DYING <------'
 *          retire      (there an object is kept, of the next
 *                       generation; again: resting.  kept.c)
 *
 * (E1) Only the claimer changes the place.  (E2) A free entry belongs to whose list it is
 * on: a CPU's, or the pool's (handle.c).  (E3) A handle is valid while its generation is the
 * entry's and the entry has an object and is not DYING.  (E4) Nobody has a handle of a kept
 * object's generation before `again`.
 */
#ifndef KLI_ZS_ENTRY_H
#define KLI_ZS_ENTRY_H

#include "base/word.h"

#define ZS_E_PLACE          ((UINT64_C(1) << 36) - 1)
#define ZS_E_OBJECT         (UINT64_C(1) << 36)
#define ZS_E_NAME           (ZS_E_PLACE | ZS_E_OBJECT)
#define ZS_E_PIN            (UINT64_C(1) << 37)
#define ZS_E_PINS           (UINT64_C(63) << 37)
#define ZS_E_DYING          (UINT64_C(1) << 43)
#define ZS_E_GENERATION     (UINT64_C(0xffff) << 48)
#define ZS_E_GENERATION_ONE (UINT64_C(1) << 48)

enum { ZS_PINS_MAX = 61, ZS_PINS_FREE = 62, ZS_PINS_CLAIMED = 63 };

static inline unsigned zs_e_pins(uint64_t e)
{
    return (unsigned)kli_field(e, 37, 6);
}

static inline uint64_t zs_e_generation(uint64_t e)
{
    return e >> 48;
}

static inline uint64_t zs_e_with_pins(uint64_t e, uint64_t pins)
{
    return (e & ~ZS_E_PINS) | pins * ZS_E_PIN;
}

/* Freed, but kept at hand as it is. (kept.c) */
static inline bool zs_e_is_kept(uint64_t e)
{
    return zs_e_pins(e) == ZS_PINS_CLAIMED && (e & ZS_E_OBJECT) && (e & ZS_E_DYING);
}

/* Is a handle of this generation valid? (E3) */
static inline bool zs_e_valid(uint64_t e, uint64_t generation)
{
    return zs_e_generation(e) == generation && (e & (ZS_E_OBJECT | ZS_E_DYING)) == ZS_E_OBJECT;
}

static inline struct kli_step zs_e_pin(uint64_t e, uint64_t generation)
{
    if (!zs_e_valid(e, generation) || zs_e_pins(e) >= ZS_PINS_MAX)
        return KLI_REFUSED;
    return KLI_STEP(e + ZS_E_PIN);
}

/* The last unpin of a dying object claims it. */
static inline struct kli_step zs_e_unpin(uint64_t e, uint64_t arg)
{
    (void)arg;
    if (zs_e_pins(e) == 0 || zs_e_pins(e) > ZS_PINS_MAX)
        return KLI_REFUSED;
    e -= ZS_E_PIN;
    if (zs_e_pins(e) == 0 && (e & ZS_E_DYING))
        e = zs_e_with_pins(e, ZS_PINS_CLAIMED);
    return KLI_STEP(e);
}

/* The user's free: claims a resting object; else leaves it to its users. */
static inline struct kli_step zs_e_free(uint64_t e, uint64_t generation)
{
    if (!zs_e_valid(e, generation))
        return KLI_REFUSED;
    if (zs_e_pins(e) == 0)
        e = zs_e_with_pins(e, ZS_PINS_CLAIMED);
    return KLI_STEP(e | ZS_E_DYING);
}

/* The user's free of a resting object that is to be kept at hand: the same, and its
 * generation is raised at once. (kept.c, K2) */
static inline struct kli_step zs_e_keep(uint64_t e, uint64_t generation)
{
    const uint64_t looked = ZS_E_GENERATION | ZS_E_OBJECT | ZS_E_DYING | ZS_E_PINS;

    if ((e & looked) != (generation << 48 | ZS_E_OBJECT))
        return KLI_REFUSED;
    return KLI_STEP((e | ZS_E_DYING | ZS_E_PINS) + ZS_E_GENERATION_ONE);
}

/* Its claimer gives it to the next user: it rests, with the handle that nobody had yet. */
static inline struct kli_step zs_e_again(uint64_t e, uint64_t arg)
{
    (void)arg;
    if (!zs_e_is_kept(e))
        return KLI_REFUSED;
    return KLI_STEP(e & ~(ZS_E_DYING | ZS_E_PINS));
}

/* Its claimer ends it instead, which raises the generation. */
static inline struct kli_step zs_e_end(uint64_t e, uint64_t arg)
{
    (void)arg;
    if (!zs_e_is_kept(e))
        return KLI_REFUSED;
    return KLI_STEP(e - ZS_E_GENERATION_ONE);
}

/* Object compaction claims a resting object; name: its place and OBJECT. */
static inline struct kli_step zs_e_claim(uint64_t e, uint64_t name)
{
    if ((e & ZS_E_NAME) != name || zs_e_pins(e) != 0 || (e & ZS_E_DYING))
        return KLI_REFUSED;
    return KLI_STEP(zs_e_with_pins(e, ZS_PINS_CLAIMED));
}

/* The claimer says where the object is, and lets go of it, unless it was freed
 * meanwhile: then it stays claimed, and DYING. */
static inline struct kli_step zs_e_place(uint64_t e, uint64_t place)
{
    if (zs_e_pins(e) != ZS_PINS_CLAIMED)
        return KLI_REFUSED;
    e = (e & (ZS_E_GENERATION | ZS_E_DYING | ZS_E_PINS)) | place | ZS_E_OBJECT;
    return KLI_STEP((e & ZS_E_DYING) ? e : zs_e_with_pins(e, 0));
}

/* The claimer of a dying object, or of one never placed, gives the entry up. */
static inline struct kli_step zs_e_retire(uint64_t e, uint64_t arg)
{
    (void)arg;
    if (zs_e_pins(e) != ZS_PINS_CLAIMED)
        return KLI_REFUSED;
    return KLI_STEP(zs_e_with_pins((e & ZS_E_GENERATION) + (UINT64_C(1) << 48), ZS_PINS_FREE));
}

/* (E2) arg: the next free entry + 1. */
static inline struct kli_step zs_e_chain(uint64_t e, uint64_t next)
{
    if (zs_e_pins(e) != ZS_PINS_FREE)
        return KLI_REFUSED;
    return KLI_STEP((e & (ZS_E_GENERATION | ZS_E_PINS)) | next);
}

static inline struct kli_step zs_e_new(uint64_t e, uint64_t arg)
{
    (void)arg;
    if (zs_e_pins(e) != ZS_PINS_FREE)
        return KLI_REFUSED;
    return KLI_STEP(zs_e_with_pins(e & ZS_E_GENERATION, ZS_PINS_CLAIMED));
}

#endif
