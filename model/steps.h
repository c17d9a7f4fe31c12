// SPDX-License-Identifier: Apache-2.0
/* The C of the model: one step is one edge of src/frame applied to one word, as
 * kli_apply does it, and then a look at every invariant.
 *
 * kli_apply's load, edge and compare-and-swap are one step here: when the swap
 * succeeds the word was the one that the edge saw, and a refusal is of a word that
 * was there.  So are the bitmap's changes, each of one word.
 *
 * Beside the words stands what they are checked against: who holds a lock, a mark,
 * a fence (the number of the thread plus one), and what the owner knows of its
 * objects, which is in owner.h.
 */
#ifndef KLI_MODEL_STEPS_H
#define KLI_MODEL_STEPS_H

#include "edges.h"

/* What the owner knows; under its lock. */
struct owner {
    uint8_t lock;            /* the thread that has it, plus one */
    uint8_t used;            /* LEAVING: it is being unregistered; GONE: it was */
    uint8_t home[OBJECTS];   /* the frame that the object lives in, plus one */
    uint8_t coming[OBJECTS]; /* a frame for it is being allocated */
    uint8_t pinned[OBJECTS];
    uint8_t promised[OBJECTS]; /* isolated, in the owner's eyes */
};

struct zone {
    uint64_t frame[FRAMES];
    uint64_t block[BLOCKS];
    uint8_t bits;
    uint8_t locker[FRAMES];
    uint8_t isolator[FRAMES];
    uint8_t fencer[BLOCKS];
    struct owner owner;
};

/* What a step found out. */
struct result {
    uint8_t ok;
    uint8_t sticks;    /* the first pin, the last unpin: frames that count as stuck, or no more */
    uint8_t gone;      /* frames that nobody holds any more */
    uint8_t gone_kind; /* UNMOVABLE or MOVABLE */
};

extern void (*uerror)(char *what); /* of pan: ends the search with this error */

static void require(bool holds, const char *what)
{
    if (!holds)
        uerror((char *)what);
}

/* ---- invariants ---- */

static unsigned mask_of(unsigned nr, unsigned n)
{
    return ((1u << n) - 1) << nr;
}

static void check_frame(const struct zone *z, unsigned nr)
{
    uint64_t w = z->frame[nr];
    unsigned n = 1u << kli_f_order(w);

    if (w == 0)
        return;
    require(w & KLI_F_HEAD, "a word that is neither zero nor a head's");
    require(n <= 2 && nr % n == 0, "an allocation is not aligned to its order");
    require((z->bits & mask_of(nr, n)) == mask_of(nr, n), "F5: bits are lost under a frame");
    require(n == 1 || z->frame[nr + 1] == 0, "a tail has a word");
    require(!(w & KLI_F_DYING) || !(w & KLI_F_MOVABLE), "F1: a dying frame is movable");
    require(!(w & KLI_F_ISOLATED) || kli_f_pins(w) == 0, "F3: a pinned frame is isolated");
    require(kli_f_refs(w) > 0 || ((w & KLI_F_LOCKED) && (w & KLI_F_DYING)),
            "F4: a frame without references is alive");
    require(!(w & KLI_F_LOCKED) == !z->locker[nr], "a lock without a holder");
    require(!(w & KLI_F_ISOLATED) == !z->isolator[nr], "a mark without a migration");
}

static unsigned used_in(const struct zone *z, unsigned b)
{
    return (unsigned)__builtin_popcount(z->bits & mask_of(b * BLOCK_FRAMES, BLOCK_FRAMES));
}

static void check_block(const struct zone *z, unsigned b)
{
    enum { MOST_LATE = 4 }; /* unpins that may be on their way to the count */
    uint64_t w = z->block[b];
    unsigned used = used_in(z, b);

    require(kli_b_free(w) + used <= BLOCK_FRAMES, "B1: free is more than the clear bits");
    require(kli_b_stuck(w) <= BLOCK_FRAMES + MOST_LATE, "stuck is below zero");
    require(w < KLI_B_ABSENT << 1, "a block's word ran over");
    require(!(w & KLI_B_ABSENT) || (kli_b_free(w) == 0 && kli_b_stuck(w) == 0 && used == 0),
            "B4: an absent block is not empty");
    require(!(w & KLI_B_FENCED) == !z->fencer[b], "a fence without its run");
}

/* Seen from outside of the owner's lock: who lives somewhere really does. */
static void check_object(const struct zone *z, unsigned o)
{
    unsigned home = z->owner.home[o];
    uint64_t w;

    if (home == 0)
        return;
    w = z->frame[home - 1];
    require((w & KLI_F_HEAD) && !(w & KLI_F_DYING), "an object lost its frame");
    require(kli_f_pins(w) >= z->owner.pinned[o], "a pin is lost");
    for (unsigned other = 0; other < o; other++)
        require(z->owner.home[other] != home, "two objects in one frame");
}

static void check(const struct zone *z)
{
    for (unsigned nr = 0; nr < FRAMES; nr++)
        check_frame(z, nr);
    for (unsigned b = 0; b < BLOCKS; b++)
        check_block(z, b);
    for (unsigned o = 0; o < OBJECTS && z->owner.lock == 0; o++)
        check_object(z, o);
    for (unsigned nr = 0; nr < FRAMES && z->owner.used == GONE; nr++)
        require(z->frame[nr] == 0, "a frame of an owner that is gone");
}

/* ---- steps ---- */

/* Whose turn it is to take that edge, and what else the edge has to leave alone. */
static void judge_frame(struct zone *z, int edge, unsigned nr, uint64_t old, uint64_t new, int who)
{
    bool holder = z->locker[nr] == who + 1;

    if (edge == F_UNLOCK || edge == F_ISOLATE || edge == F_RELEASE || edge == F_MOVED ||
        edge == F_PUBLISH)
        require(holder, "a step under the lock by another than its holder");
    if (edge == F_RELEASE || edge == F_MOVED)
        require(z->isolator[nr] == who + 1, "another's isolation is ended");
    if (edge == F_ISOLATE)
        require(z->isolator[nr] == 0, "isolated twice");
    if ((old ^ new) & KLI_F_ISOLATED)
        require((old & KLI_F_LOCKED) && holder, "F2: the mark changes without the lock");
    if (edge == F_HAND) {
        require(!(old & KLI_F_MOVABLE) || z->locker[nr] == 0, "F6: handed over under a lock");
        require(kli_f_pins(old) == 0, "a pinned frame is handed over");
    }
    if (edge == F_FREE)
        require(kli_f_pins(old) == 0, "a pinned frame is freed");
    if (edge == F_TRYLOCK)
        z->locker[nr] = (uint8_t)(who + 1);
    else if (!(new &KLI_F_LOCKED))
        z->locker[nr] = 0;
    if (edge == F_ISOLATE)
        z->isolator[nr] = (uint8_t)(who + 1);
    else if (!(new &KLI_F_ISOLATED))
        z->isolator[nr] = 0;
}

static struct result step_frame(struct zone *z, int edge, unsigned nr, uint64_t arg, int who)
{
    uint64_t old = z->frame[nr];
    struct kli_step step = frame_edge[edge](old, arg);
    struct result r = {.ok = step.ok};

    if (!step.ok) {
        require(edge != F_FREE || kli_f_pins(old) > 0, "a free is refused");
        return r;
    }
    z->frame[nr] = step.next;
    judge_frame(z, edge, nr, old, step.next, who);
    if (((edge == F_PIN || edge == F_PIN_OBJECT) && kli_f_pins(old) == 0) ||
        ((edge == F_UNPIN || edge == F_UNPIN_OBJECT) && kli_f_pins(old) == 1))
        r.sticks = (old & KLI_F_KIND) ? (uint8_t)(1u << kli_f_order(old)) : 0;
    if (step.next == 0) {
        r.gone = (uint8_t)(1u << kli_f_order(old));
        r.gone_kind = (old & KLI_F_KIND) ? MOVABLE : UNMOVABLE;
    }
    check(z);
    return r;
}

static void judge_block(struct zone *z, int edge, unsigned b, uint64_t old, uint64_t new, int who)
{
    bool fencer = z->fencer[b] == who + 1;

    if (!kli_b_open(old) && edge != B_VACATE)
        require(kli_b_free(new) >= kli_b_free(old) || fencer, "B3: free falls behind a fence");
    if (edge == B_UNFENCE || edge == B_CLAIM || edge == B_VACATE || edge >= B_ARRIVED)
        require(fencer, "another's fence is used");
    if (edge == B_FENCE || edge == B_SUMMON) {
        require(z->fencer[b] == 0, "fenced twice");
        z->fencer[b] = (uint8_t)(who + 1);
    } else if (!(new &KLI_B_FENCED)) {
        z->fencer[b] = 0;
    }
    if (edge == B_VACATE) { /* B2 */
        require(used_in(z, b) == 0, "a vacated block has bits");
        for (unsigned i = 0; i < BLOCK_FRAMES; i++)
            require(z->frame[b * BLOCK_FRAMES + i] == 0, "a vacated block has somebody in it");
    }
}

static uint64_t settled(int edge)
{
    if (edge == B_ARRIVED)
        return BLOCK_FRAMES;
    return edge == B_STAYED ? KLI_B_FENCED | BLOCK_FRAMES : KLI_B_ABSENT;
}

static bool step_block(struct zone *z, int edge, unsigned b, uint64_t arg, int who)
{
    uint64_t old = z->block[b];
    struct kli_step step;

    if (edge == B_CLAIM)
        arg |= (uint64_t)BLOCK_FRAMES << 20;
    step = block_edge[edge](old, edge >= B_ARRIVED ? settled(edge) : arg);
    if (step.ok) {
        z->block[b] = step.next;
        judge_block(z, edge, b, old, step.next, who);
        check(z);
    }
    return step.ok;
}

/* ---- arguments and looks ---- */

static uint64_t ask(unsigned order, int kind)
{
    return kli_b_ask(1u << order, kind == UNMOVABLE, KLI_WANT_ANY, BLOCK_FRAMES);
}

static uint64_t counts(unsigned n, int kind)
{
    return n | (kind == UNMOVABLE ? n * KLI_B_STUCK : 0);
}

static bool sees(uint64_t w, int what)
{
    switch (what) {
    case MAY_ISOLATE: /* isolate.c, look() */
        return (w & KLI_F_KIND) && kli_f_pins(w) == 0 && (w & KLI_F_MOVABLE) &&
               (!(w & KLI_F_ISOLATED) || BREAK == ISOLATE_TWICE);
    case IS_MOVABLE:
        return w & KLI_F_MOVABLE;
    case IS_PAIR:
        return kli_f_order(w) == 1;
    default: /* IS_OWNED: owner.c, is_busy() */
        return (w & KLI_F_HEAD) && kli_f_owner(w) == OWNER;
    }
}

/* ---- the bitmap, and the store that ends an allocation ---- */

/* An aligned run of clear bits in the block, or NOWHERE. */
static unsigned take_bits(struct zone *z, unsigned b, unsigned order)
{
    unsigned first = b * BLOCK_FRAMES, n = 1u << order;

    for (unsigned nr = first; nr < first + BLOCK_FRAMES; nr += n) {
        if (!(z->bits & mask_of(nr, n))) {
            z->bits |= (uint8_t)mask_of(nr, n);
            check(z);
            return nr;
        }
    }
    return NOWHERE;
}

static bool take_bits_at(struct zone *z, unsigned nr, unsigned n)
{
    if (z->bits & mask_of(nr, n))
        return false;
    z->bits |= (uint8_t)mask_of(nr, n);
    check(z);
    return true;
}

static void clear_bits(struct zone *z, unsigned nr, unsigned n)
{
    require((z->bits & mask_of(nr, n)) == mask_of(nr, n), "F5: bits are freed twice");
    z->bits &= (uint8_t)~mask_of(nr, n);
    check(z);
}

static void name_frame(struct zone *z, unsigned nr, unsigned order, int kind, int who)
{
    static const uint64_t flags[] = {[UNMOVABLE] = 0,
                                     [MOVABLE] = KLI_F_KIND | KLI_F_MOVABLE,
                                     [TARGET] = KLI_F_KIND | KLI_F_LOCKED};

    require(z->frame[nr] == 0, "F5: a frame in use is allocated");
    z->frame[nr] = kli_f_make(order, OWNER, flags[kind]);
    if (kind == TARGET)
        z->locker[nr] = (uint8_t)(who + 1);
    check(z);
}

/* ---- beginning and end ---- */

static void begin(struct zone *z)
{
    for (unsigned b = 0; b < BLOCKS; b++)
        z->block[b] = BLOCK_FRAMES;
}

static void check_resting_frame(const struct zone *z, unsigned nr, unsigned *used, unsigned *stuck)
{
    uint64_t w = z->frame[nr];

    if (w == 0)
        return;
    require(!(w & KLI_F_LOCKED), "a frame is locked at the end");
    require(!(w & KLI_F_ISOLATED), "a frame is isolated at the end");
    require(!(w & KLI_F_DYING), "a frame is dying at the end");
    require(kli_f_refs(w) == 1, "a reference is left at the end");
    require(!(w & KLI_F_KIND) == !(w & KLI_F_MOVABLE), "a destination is left at the end");
    *used += 1u << kli_f_order(w);
    *stuck += kli_f_stuck(w) ? 1u << kli_f_order(w) : 0;
}

/* When every thread is done: what kl_zone_check would recount. */
static void end(const struct zone *z)
{
    require(z->owner.lock == 0, "the owner's lock is held at the end");
    for (unsigned o = 0; o < OBJECTS; o++)
        require(!z->owner.promised[o], "an isolation without an outcome");
    for (unsigned b = 0; b < BLOCKS; b++) {
        uint64_t w = z->block[b];
        unsigned used = 0, stuck = 0;

        for (unsigned i = 0; i < BLOCK_FRAMES; i++)
            check_resting_frame(z, b * BLOCK_FRAMES + i, &used, &stuck);
        require(!(w & KLI_B_FENCED), "a block is fenced at the end");
        require(used_in(z, b) == used, "bits are lost at the end");
        require((w & KLI_B_ABSENT) || kli_b_free(w) + used == BLOCK_FRAMES,
                "frames are lost at the end");
        require(kli_b_stuck(w) == stuck, "stuck is wrong at the end");
    }
}

#endif
