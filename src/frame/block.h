// SPDX-License-Identifier: Apache-2.0
/* The word of a pageblock: how much of it is free, and who may come in.
 *
 *   bits  0-19  free   frames that may still be reserved
 *   bits 20-39  stuck  frames that can't move: unmovable or pinned
 *   bit  40 UNMOVABLE  kind of the block; what it is meant for
 *   bit  41 FENCED     being emptied: no allocation enters
 *   bit  42 CMA        of an area (klotski/cma.h): movable frames, and the area's own
 *   bit  43 SHUNNED    being emptied in steps: allocations go elsewhere as long as they can
 *   bit  44 ABSENT     its memory is the system's
 *
 *             fence                  vacate (free == all)
 *   present ---------> fenced ---------------------------> absent, fenced
 *      ^   <---------    |  ^                                |        |
 *      |     unfence     '--' put, claim                     | settle | settle
 *      |                                                     v (ok)   v (failed)
 *      '----------------- absent, fenced <--- summon ---- absent    fenced
 *            settle
 *
 * Invariants
 * (B1) free <= bits that are clear in the block's bitmap: an allocation first
 *      lowers free and then sets bits, a free clears bits and then raises it.
 * (B2) hence free == all means: no allocation, and none on its way.
 * (B3) FENCED or ABSENT: free does not fall, but by the one who fenced it.
 * (B4) ABSENT: free and stuck are 0 and all bits are clear; but with CMA, all frames are
 *      the area's still, unmovable, though their memory is away (part, return).
 * (B5) stuck is raised after a pin and lowered after an unpin: it may be too low for
 *      a moment (the frame is there then, and refuses), or too high, also when the
 *      frame is gone by then.
 * (B6) CMA: nobody but the area takes frames that can't move there (reserve, claim), and
 *      the memory stays (vacate) unless the area parts with it.  It comes only while nothing is
 * stuck there (enroll), and excludes UNMOVABLE; a frame that is to become unmovable is counted
 * before (hand.c).
 * (B7) SHUNNED is advice: who would fail otherwise enters (KLI_WANT_ANY; KLI_WANT_APART, since the
 *      index does not name the block).  Who takes the block as a whole, or its memory, drops it;
 *      hence who lifts it may find it gone.
 */
#ifndef KLI_FRAME_BLOCK_H
#define KLI_FRAME_BLOCK_H

#include "base/word.h"

#define KLI_B_STUCK     (UINT64_C(1) << 20)
#define KLI_B_UNMOVABLE (UINT64_C(1) << 40)
#define KLI_B_FENCED    (UINT64_C(1) << 41)
#define KLI_B_CMA       (UINT64_C(1) << 42)
#define KLI_B_SHUNNED   (UINT64_C(1) << 43)
#define KLI_B_ABSENT    (UINT64_C(1) << 44) /* the highest one: pass.c */

static inline uint32_t kli_b_free(uint64_t w)
{
    return (uint32_t)kli_field(w, 0, 20);
}

static inline uint32_t kli_b_stuck(uint64_t w)
{
    return (uint32_t)kli_field(w, 20, 20);
}

static inline bool kli_b_open(uint64_t w)
{
    return !(w & (KLI_B_FENCED | KLI_B_ABSENT));
}

/* Do frames that are freed there come into CPUs' caches?  Not while it is being emptied. */
static inline bool kli_b_caches(uint64_t w)
{
    return !(w & (KLI_B_FENCED | KLI_B_ABSENT | KLI_B_SHUNNED));
}

/* What a search for a block goes by (index.c). */
enum kli_class {
    KLI_CLASS_MOVABLE,   /* of this kind, partly free */
    KLI_CLASS_UNMOVABLE, /* of this kind, partly free */
    KLI_CLASS_FREE,      /* free as a whole */
    KLI_CLASS_CMA,       /* the same, of an area */
    KLI_CLASS_ABSENT,    /* and nobody gets memory for it yet */
    KLI_CLASSES,         /* none of these: full, fenced, or shunned */
};

static inline enum kli_class kli_b_class(uint64_t w, uint64_t all)
{
    if (w == KLI_B_ABSENT)
        return KLI_CLASS_ABSENT;
    if (!kli_b_open(w) || kli_b_free(w) == 0)
        return KLI_CLASSES;
    if (kli_b_free(w) == all)
        return (w & KLI_B_CMA) ? KLI_CLASS_CMA : KLI_CLASS_FREE;
    if (w & KLI_B_SHUNNED)
        return KLI_CLASSES; /* B7 */
    return (w & KLI_B_UNMOVABLE) ? KLI_CLASS_UNMOVABLE : KLI_CLASS_MOVABLE;
}

/* What an allocation asks of a block. */
enum kli_want {
    KLI_WANT_OWN_KIND = 0,   /* a block of its kind, in use */
    KLI_WANT_WHOLE_FREE = 1, /* a free block, which takes its kind */
    KLI_WANT_ANY = 2,        /* whatever has room: mixing, but in a free block */

    /* The same of an unmovable block, for movable frames that long pins will hold
     * there: until then they do not count as stuck. */
    KLI_WANT_APART = 4,
    KLI_WANT_APART_FREE = 5,
};

/* The argument of kli_b_reserve; unmovable: the kind of block. */
static inline uint64_t kli_b_ask(uint32_t n, bool unmovable, enum kli_want want, uint32_t all)
{
    return n | ((uint64_t)all << 20) | (unmovable ? KLI_B_UNMOVABLE : 0) | ((uint64_t)want << 60);
}

static inline struct kli_step kli_b_reserve(uint64_t w, uint64_t ask)
{
    uint32_t n = (uint32_t)kli_field(ask, 0, 20), all = (uint32_t)kli_field(ask, 20, 20);
    enum kli_want want = (enum kli_want)(ask >> 60 & 3);
    bool same_kind = ((w ^ ask) & KLI_B_UNMOVABLE) == 0, apart = ask >> 62 & 1;

    if (!kli_b_open(w) || kli_b_free(w) < n)
        return KLI_REFUSED;
    if ((w & KLI_B_CMA) && (ask & KLI_B_UNMOVABLE))
        return KLI_REFUSED; /* B6 */
    if (want == KLI_WANT_OWN_KIND &&
        (!same_kind || kli_b_free(w) == all || ((w & KLI_B_SHUNNED) && !apart)))
        return KLI_REFUSED;
    if (want == KLI_WANT_WHOLE_FREE && kli_b_free(w) != all)
        return KLI_REFUSED;
    if (kli_b_free(w) == all)
        w = (w & ~(KLI_B_UNMOVABLE | KLI_B_SHUNNED)) | (ask & KLI_B_UNMOVABLE);
    w -= n;
    return KLI_STEP((ask & KLI_B_UNMOVABLE) && !apart ? w + n * KLI_B_STUCK : w);
}

/* Changes of the two counters; arg: free + (stuck << 20), added or subtracted. */
static inline struct kli_step kli_b_put(uint64_t w, uint64_t arg)
{
    return KLI_STEP(w + kli_field(arg, 0, 20) - (arg & ~UINT64_C(0xfffff)));
}

static inline struct kli_step kli_b_stick(uint64_t w, uint64_t arg)
{
    return KLI_STEP(w + arg);
}

/* The same of frames that won't move from now on: not in an area. (B6) */
static inline struct kli_step kli_b_stick_outside(uint64_t w, uint64_t arg)
{
    return (w & KLI_B_CMA) ? KLI_REFUSED : KLI_STEP(w + arg);
}

static inline struct kli_step kli_b_unstick(uint64_t w, uint64_t arg)
{
    return KLI_STEP(w - arg);
}

static inline struct kli_step kli_b_fence(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_b_open(w) ? KLI_STEP(w | KLI_B_FENCED) : KLI_REFUSED;
}

static inline struct kli_step kli_b_unfence(uint64_t w, uint64_t arg)
{
    (void)arg;
    return (w & KLI_B_FENCED) ? KLI_STEP(w & ~KLI_B_FENCED) : KLI_REFUSED;
}

/* For who empties it in steps; one at a time. (B7) */
static inline struct kli_step kli_b_shun(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_b_open(w) && !(w & KLI_B_SHUNNED) ? KLI_STEP(w | KLI_B_SHUNNED) : KLI_REFUSED;
}

static inline struct kli_step kli_b_unshun(uint64_t w, uint64_t arg)
{
    (void)arg;
    return (w & KLI_B_SHUNNED) ? KLI_STEP(w & ~KLI_B_SHUNNED) : KLI_REFUSED;
}

/* In the argument of kli_b_claim: it is the area of the block that claims. */
#define KLI_B_BY_AREA (UINT64_C(1) << 63)

/* The one who fenced it reserves n frames, which stay unmovable; arg: n | all << 20.
 * A free block takes that kind, but not one of an area. */
static inline struct kli_step kli_b_claim(uint64_t w, uint64_t arg)
{
    uint64_t n = kli_field(arg, 0, 20), all = kli_field(arg, 20, 20);

    if (!(w & KLI_B_FENCED) || (w & KLI_B_ABSENT) || kli_b_free(w) < n ||
        ((w & KLI_B_CMA) && !(arg & KLI_B_BY_AREA)))
        return KLI_REFUSED; /* B6 */
    if (kli_b_free(w) == all && !(w & KLI_B_CMA))
        w |= KLI_B_UNMOVABLE;
    return KLI_STEP(w - n + n * KLI_B_STUCK);
}

/* Is there nobody, and no unpin that has not been counted yet? (B2, B5) */
static inline bool kli_b_empty(uint64_t w, uint64_t all)
{
    return kli_b_free(w) == all && kli_b_stuck(w) == 0;
}

/* The one who fenced it puts n movable frames into it, beside what it empties; arg: as
 * above. */
static inline struct kli_step kli_b_lodge(uint64_t w, uint64_t arg)
{
    uint64_t n = kli_field(arg, 0, 20), all = kli_field(arg, 20, 20);

    if (!(w & KLI_B_FENCED) || (w & KLI_B_ABSENT) || kli_b_free(w) < n)
        return KLI_REFUSED;
    if (kli_b_free(w) == all)
        w &= ~KLI_B_UNMOVABLE;
    return KLI_STEP(w - n);
}

/* An empty fenced block (all: its frames) loses its memory. */
static inline struct kli_step kli_b_vacate(uint64_t w, uint64_t all)
{
    if (!(w & KLI_B_FENCED) || (w & (KLI_B_ABSENT | KLI_B_CMA)) || !kli_b_empty(w, all))
        return KLI_REFUSED;
    return KLI_STEP(KLI_B_FENCED | KLI_B_ABSENT);
}

/* A fenced block becomes an area's; movable frames stay in it. (B6) */
static inline struct kli_step kli_b_enroll(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (!(w & KLI_B_FENCED) || (w & (KLI_B_ABSENT | KLI_B_CMA)) || kli_b_stuck(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP((w | KLI_B_CMA) & ~KLI_B_UNMOVABLE);
}

/* And is any other block again. */
static inline struct kli_step kli_b_dismiss(uint64_t w, uint64_t arg)
{
    (void)arg;
    return (w & KLI_B_CMA) ? KLI_STEP(w & ~KLI_B_CMA) : KLI_REFUSED;
}

/* Has an area parted with its memory? (B4) */
static inline bool kli_b_parted(uint64_t w)
{
    return (w & KLI_B_ABSENT) && (w & KLI_B_CMA);
}

/* The memory of a fenced block, all of which its area has, goes (all: its frames). */
static inline struct kli_step kli_b_part(uint64_t w, uint64_t all)
{
    if (!(w & KLI_B_FENCED) || !(w & KLI_B_CMA) || (w & KLI_B_ABSENT) || kli_b_free(w) > 0 ||
        kli_b_stuck(w) < all)
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_B_ABSENT);
}

/* And is got again: fenced until that has ended. */
static inline struct kli_step kli_b_return(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_b_parted(w) && !(w & KLI_B_FENCED) ? KLI_STEP(w | KLI_B_FENCED) : KLI_REFUSED;
}

/* The end of part or return: is the memory there? */
static inline struct kli_step kli_b_parted_end(uint64_t w, uint64_t there)
{
    if (!kli_b_parted(w) || !(w & KLI_B_FENCED))
        return KLI_REFUSED;
    return KLI_STEP(w & ~(KLI_B_FENCED | (there ? KLI_B_ABSENT : 0)));
}

/* Somebody goes to get memory for an absent block. */
static inline struct kli_step kli_b_summon(uint64_t w, uint64_t arg)
{
    (void)arg;
    return w == KLI_B_ABSENT ? KLI_STEP(w | KLI_B_FENCED) : KLI_REFUSED;
}

/* The end of vacate or summon; arg is the word that it becomes: all (memory came),
 * ABSENT (it went, or did not come), FENCED | all (it did not go). */
static inline struct kli_step kli_b_settle(uint64_t w, uint64_t next)
{
    return w == (KLI_B_FENCED | KLI_B_ABSENT) ? KLI_STEP(next) : KLI_REFUSED;
}

#endif
