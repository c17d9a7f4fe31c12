// SPDX-License-Identifier: Apache-2.0
/* The state word of a frame: its fields, its states, and every edge.
 *
 *   bit  0 LOCKED    the frame lock
 *   bit  1 MOVABLE   may be isolated; cleared for good when it is freed or moved
 *   bit  2 ISOLATED  promised to a migration
 *   bit  3 DYING     freed by its owner, waits for the last reference or unlock
 *   bit  4 HEAD      first frame of an allocation; set as long as it is one
 *   bit  5 KIND      was allocated movable (decides how its block counts it); only
 *                    a hand over changes it
 *   bits  6-10       order
 *   bit  11 CHARGED  counted in its owner's share (share.h)
 *   bits 12-23       pins without a name (kl_frame_pin)
 *   bits 24-31       owner
 *   bits 32-47       references; the owner's own is one
 *   bits 48-63       pins of objects, each of which pin.c has in its table
 *
 * A free frame and the tail of an allocation have a zero word.
 *
 *             alloc                  lock, isolate                 lock
 *   (zero) ----------> allocated -----------------> isolated -------------.
 *      ^    (movable    |  ^  ^                      |   |                |
 *      |    or not,     |  |  '----------------------'   | free           | migrate
 *      |    pinned      |  |     putback: release        | (owner)        | succeeds:
 *      |    or not)     |  |                             v                | moved
 *      |                |  |                      dying, isolated         |
 *      |                |  '- publish (dst)              | release        |
 *      |                | free                           v                |
 *      |                '---------------------------> dying <-------------'
 *      '-------------------------------------------------'
 *               last put or unlock: the word becomes zero
 *
 * hand: an allocated frame gets another owner, or becomes movable or unmovable, as
 * pools do with frames that are idle or in use (hand.c).
 *
 * Invariants
 * (F1) DYING excludes MOVABLE.
 * (F2) ISOLATED is set and cleared under LOCKED only.
 * (F3) pins > 0 excludes ISOLATED, whichever of the two kinds they are.
 * (F4) references are 0 only while LOCKED and DYING.
 * (F5) whoever makes the word zero, and nobody else, frees the bits.
 * (F6) a movable frame is handed over only while it is not LOCKED and not ISOLATED: so
 *      no callback of its old owner is under way, and none begins.
 */
#ifndef KLI_FRAME_STATE_H
#define KLI_FRAME_STATE_H

#include "base/word.h"

#define KLI_F_LOCKED   UINT64_C(0x01)
#define KLI_F_MOVABLE  UINT64_C(0x02)
#define KLI_F_ISOLATED UINT64_C(0x04)
#define KLI_F_DYING    UINT64_C(0x08)
#define KLI_F_HEAD     UINT64_C(0x10)
#define KLI_F_KIND     UINT64_C(0x20)

#define KLI_F_CHARGED    (UINT64_C(1) << 11)
#define KLI_F_PIN        (UINT64_C(1) << 12)
#define KLI_F_REF        (UINT64_C(1) << 32)
#define KLI_F_OBJECT_PIN (UINT64_C(1) << 48)

enum {
    KLI_F_MAX_PINS = 4095,
    KLI_F_MAX_OBJECT_PINS = 65535,
    KLI_F_MAX_REFS = 65535,
    KLI_MAX_OWNERS = 256
};

static inline unsigned kli_f_order(uint64_t w)
{
    return (unsigned)kli_field(w, 6, 5);
}

static inline unsigned kli_f_bare_pins(uint64_t w)
{
    return (unsigned)kli_field(w, 12, 12);
}

static inline unsigned kli_f_object_pins(uint64_t w)
{
    return (unsigned)kli_field(w, 48, 16);
}

/* All of them: each keeps the frame where it is. */
static inline unsigned kli_f_pins(uint64_t w)
{
    return kli_f_bare_pins(w) + kli_f_object_pins(w);
}

static inline unsigned kli_f_owner(uint64_t w)
{
    return (unsigned)kli_field(w, 24, 8);
}

static inline unsigned kli_f_refs(uint64_t w)
{
    return (unsigned)kli_field(w, 32, 16);
}

/* The word of a new allocation. */
static inline uint64_t kli_f_make(unsigned order, unsigned owner, uint64_t flags)
{
    return KLI_F_HEAD | KLI_F_REF | flags | ((uint64_t)order << 6) | ((uint64_t)owner << 24);
}

/* In its block, a frame that can't move counts as stuck. */
static inline bool kli_f_stuck(uint64_t w)
{
    return (w & KLI_F_HEAD) && (!(w & KLI_F_KIND) || kli_f_pins(w) > 0);
}

/* A word that nobody holds any more becomes zero. (F4, F5) */
static inline struct kli_step kli_f_settle(uint64_t w)
{
    bool dead = kli_f_refs(w) == 0 && !(w & KLI_F_LOCKED);

    return KLI_STEP(dead ? 0 : w);
}

/* The framework takes a reference, unless there is none. */
static inline struct kli_step kli_f_get(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_F_HEAD) || (w & KLI_F_DYING) || kli_f_refs(w) == KLI_F_MAX_REFS)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_F_REF);
}

static inline struct kli_step kli_f_put(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_f_refs(w) == 0)
        return KLI_REFUSED;
    return kli_f_settle(w - KLI_F_REF);
}

/* arg: the owner that must still have it, or 0. */
static inline struct kli_step kli_f_trylock(uint64_t w, uint64_t arg)
{
    if (!(w & KLI_F_HEAD) || (w & KLI_F_LOCKED))
        return KLI_REFUSED;
    if (arg != 0 && (kli_f_owner(w) != arg || (w & KLI_F_DYING)))
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_F_LOCKED);
}

static inline struct kli_step kli_f_unlock(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_F_LOCKED))
        return KLI_REFUSED;
    return kli_f_settle(w & ~KLI_F_LOCKED);
}

static inline struct kli_step kli_f_isolate(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_F_LOCKED) || !(w & KLI_F_MOVABLE) || (w & KLI_F_ISOLATED) || kli_f_pins(w) > 0)
        return KLI_REFUSED; /* F2, F3 */
    return KLI_STEP(w | KLI_F_ISOLATED);
}

/* The end of an isolation, whatever became of the frame. */
static inline struct kli_step kli_f_release(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_F_LOCKED) || !(w & KLI_F_ISOLATED))
        return KLI_REFUSED;
    return KLI_STEP(w & ~KLI_F_ISOLATED);
}

/* The source of a successful migration: the owner's reference went to dst. */
static inline struct kli_step kli_f_moved(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_F_LOCKED) || !(w & KLI_F_ISOLATED) || (w & KLI_F_DYING))
        return KLI_REFUSED;
    return KLI_STEP(((w & ~(KLI_F_ISOLATED | KLI_F_MOVABLE | KLI_F_CHARGED)) | KLI_F_DYING) -
                    KLI_F_REF); /* the charge goes with the identity */
}

/* arg: its owner, in whose share it is counted from now on. */
static inline struct kli_step kli_f_charge(uint64_t w, uint64_t arg)
{
    if (!(w & KLI_F_HEAD) || (w & (KLI_F_DYING | KLI_F_CHARGED)) || kli_f_owner(w) != arg)
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_F_CHARGED);
}

/* The destination becomes an ordinary movable frame, unlocked; unless its new
 * owner has freed it already, which it may as soon as its migrate is done. */
static inline struct kli_step kli_f_publish(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_F_LOCKED) || (w & KLI_F_MOVABLE))
        return KLI_REFUSED;
    if (w & KLI_F_DYING)
        return kli_f_settle(w & ~KLI_F_LOCKED);
    return KLI_STEP((w & ~KLI_F_LOCKED) | KLI_F_MOVABLE);
}

/* An allocation that its owner alone has, unlocked and without pins. */
static inline bool kli_f_quiet(uint64_t w)
{
    uint64_t any =
        KLI_F_MOVABLE | KLI_F_KIND | UINT64_C(31) << 6 | KLI_F_CHARGED | UINT64_C(255) << 24;

    return (w & ~any) == (KLI_F_HEAD | KLI_F_REF);
}

/* The owner (arg) frees it. (F1) */
static inline struct kli_step kli_f_free(uint64_t w, uint64_t arg)
{
    if (kli_f_quiet(w) && kli_f_owner(w) == arg)
        return KLI_STEP(0); /* what the rest says, too: sooner */
    if (!(w & KLI_F_HEAD) || (w & KLI_F_DYING) || kli_f_owner(w) != arg || kli_f_pins(w) > 0)
        return KLI_REFUSED;
    return kli_f_settle(((w & ~KLI_F_MOVABLE) | KLI_F_DYING) - KLI_F_REF);
}

/* May the owner (arg) pin it now? (F3) */
static inline bool kli_f_pinnable(uint64_t w, uint64_t arg)
{
    return (w & KLI_F_HEAD) && !(w & (KLI_F_DYING | KLI_F_ISOLATED)) && kli_f_owner(w) == arg;
}

/* A hand over: between which owners, and of which kind it is before and after. */
static inline uint64_t kli_f_pass(unsigned order, unsigned from, bool was_movable, unsigned to,
                                  bool movable)
{
    return from | (uint64_t)to << 8 | (uint64_t)order << 16 | (uint64_t)was_movable << 21 |
           (uint64_t)movable << 22;
}

/* arg: kli_f_pass; bit 23: it is counted in its new owner's share.  Whoever looks at it may keep a
 * reference, or the lock of an unmovable one. (F6) */
static inline struct kli_step kli_f_hand(uint64_t w, uint64_t arg)
{
    const uint64_t kind = KLI_F_KIND | KLI_F_MOVABLE;
    uint64_t was = kli_field(arg, 21, 1) ? kind : 0, is = kli_field(arg, 22, 1) ? kind : 0;

    if (!(w & KLI_F_HEAD) || (w & (KLI_F_DYING | KLI_F_ISOLATED)) || (w & kind) != was ||
        kli_f_owner(w) != kli_field(arg, 0, 8) || kli_f_order(w) != kli_field(arg, 16, 5) ||
        kli_f_pins(w) > 0 || (was && (w & KLI_F_LOCKED)))
        return KLI_REFUSED;
    w &= ~(kind | KLI_F_CHARGED | UINT64_C(255) << 24);
    return KLI_STEP(w | is | (kli_field(arg, 23, 1) ? KLI_F_CHARGED : 0) |
                    kli_field(arg, 8, 8) << 24);
}

static inline struct kli_step kli_f_pin(uint64_t w, uint64_t arg)
{
    if (!kli_f_pinnable(w, arg) || kli_f_bare_pins(w) == KLI_F_MAX_PINS)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_F_PIN);
}

/* Never one of an object's. */
static inline struct kli_step kli_f_unpin(uint64_t w, uint64_t arg)
{
    if (!(w & KLI_F_HEAD) || kli_f_owner(w) != arg || kli_f_bare_pins(w) == 0)
        return KLI_REFUSED;
    return KLI_STEP(w - KLI_F_PIN);
}

static inline struct kli_step kli_f_pin_object(uint64_t w, uint64_t arg)
{
    if (!kli_f_pinnable(w, arg) || kli_f_object_pins(w) == KLI_F_MAX_OBJECT_PINS)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_F_OBJECT_PIN);
}

static inline struct kli_step kli_f_unpin_object(uint64_t w, uint64_t arg)
{
    if (!(w & KLI_F_HEAD) || kli_f_owner(w) != arg || kli_f_object_pins(w) == 0)
        return KLI_REFUSED;
    return KLI_STEP(w - KLI_F_OBJECT_PIN);
}

#endif
