// SPDX-License-Identifier: Apache-2.0
/* Shrinkers: the table of a zone, rounds over it, and the clients' own work.
 *
 * The table is made with the first registration and goes with the zone.  Each of its
 * places has a gate (base/gate.h): a round goes through the gate of one shrinker at a
 * time, for the call of count and the calls of scan, and holds nothing else.
 *
 * Invariants
 * (K1) ops, name and ctx of a place are written between the gate's claim and open.
 * (K2) A thread makes one round of a zone at a time: it is listed in `rounds`
 *      meanwhile.  Hence a callback can't bring about another round, and
 *      unregistering within one can be told from unregistering outside, which waits.
 * (K3) The lock guards `rounds` alone; it is a leaf, held for a few instructions and
 *      never over a callback.
 * (K4) annex.users counts the places that are not FREE; the zone stays while there
 *      are any.
 *
 * (K5) `wanting` has a bit for each place whose work was asked for and not yet begun; a
 *      bit goes down before the call, so that what is wanted in the middle of it comes
 *      again.  Whoever sets a bit sets KL_WANTED_WORK of the zone after it, and kicks
 *      when that was down; a step takes KL_WANTED_WORK down before its last look at bits.
 * (K6) `due` is the step's, but that it is set to WORK_NEVER in CLAIMED.  `able` says
 *      which places' ops have work; it is right from a place's open on.
 *
 * Rounds, registering, unregistering and wants may all run together, on many threads;
 * work is called by the zone's step alone, one client after the other.
 */
#ifndef KLI_RECLAIM_RECLAIM_H
#define KLI_RECLAIM_RECLAIM_H

#include "base/gate.h"
#include "frame/zone.h"
#include "klotski/shrinker.h"

enum { KLI_SHRINKERS = 64 }; /* one bit each in `wanting` */
#define KLI_WORK_NEVER UINT64_MAX

struct kli_shrinker {
    struct kli_gate gate;
    struct kl_shrinker_ops ops; /* K1 */
    void *ctx;
    char name[32];
    _Atomic uint64_t deferred; /* objects carried over */
    _Atomic uint64_t calls;    /* of scan */
    _Atomic uint64_t asked;
    _Atomic uint64_t freed;
    _Atomic uint64_t stops;
    _Atomic uint64_t due;   /* K6: when work is to be called, of host.now_ns */
    _Atomic uint64_t works; /* calls of work */
};

struct kli_round {
    uintptr_t thread;
    struct kli_round *next;
};

struct kli_shrinkers {
    struct kli_annex annex; /* first: the zone frees it */
    struct kli_lock lock;   /* K3 */
    struct kli_round *rounds;
    kli_word wanting, able; /* K5, K6 */
    struct kli_shrinker at[KLI_SHRINKERS];
};

/* shrinker.c */
static inline struct kli_shrinkers *kli_shrinkers(struct kl_zone *zone)
{
    return (struct kli_shrinkers *)(void *)atomic_load_explicit(&zone->annex, memory_order_acquire);
}
/* Where the shrinker is, or was.  NULL: not one of this zone. */
struct kli_shrinker *kli_shrinker_find(struct kl_zone *zone, kl_shrinker_id id);
static inline uint64_t kli_shrinker_generation(kl_shrinker_id id)
{
    return kli_field(id.v, 8, 24);
}
/* The shrinker, entered: leave its gate.  NULL: there is no such. */
struct kli_shrinker *kli_shrinker_enter(struct kl_zone *zone, kl_shrinker_id id);
/* K2; false: this thread is in a round of the zone. */
bool kli_round_begin(struct kl_zone *zone, struct kli_shrinkers *all, struct kli_round *round);
void kli_round_end(struct kl_zone *zone, struct kli_shrinkers *all, struct kli_round *round);
bool kli_in_round(struct kl_zone *zone, struct kli_shrinkers *all);

/* shrink.c: one round, for the slow path. */
enum kli_stage {
    KLI_STAGE_IDLE, /* only those that lose nothing */
    KLI_STAGE_ALL,  /* those first, then the others */
    KLI_STAGE_PACK, /* the same without the cold ones */
    KLI_STAGE_COLD, /* only those (KL_SHRINKER_COLD) */
};

struct kli_shrink_ask {
    enum kli_stage stage;
    unsigned priority; /* KL_SHRINK_PRIORITY to 0 */
    uint64_t want;     /* frames; those of the idle stage are asked for no more, and
                        * when they have freed as many the others are not asked */
    uint64_t most;     /* objects that one of the others is asked for at most; 0: no bound */
    enum kl_mode mode;
    unsigned flags; /* enum kl_alloc_flags of who asks */
    unsigned owner; /* only the shrinkers of this one; 0: all */
};

/* Returns how many objects were freed, as the shrinkers say; 0 within a callback. */
uint64_t kli_shrink(struct kl_zone *zone, const struct kli_shrink_ask *ask);

/* share.c: charges n frames, if need be after the owner's own shrinkers freed some. */
bool kli_share_get(struct kl_zone *zone, unsigned owner, uint64_t n, unsigned flags);

/* pressure.c, for the step.  How long until a piece is to be done; KLI_WORK_NEVER: there
 * is no pressure. */
uint64_t kli_pressure_in(struct kl_zone *zone);
void kli_pressure_piece(struct kl_zone *zone, uint32_t budget);
/* A step gave so many blocks back, or failed: counts them if there is pressure; n > 0. */
bool kli_pressure_gave(struct kl_zone *zone, int n);

/* work.c, for the step.  How long until a client's work is to be called: 0: now;
 * KLI_WORK_NEVER: when somebody wants it. */
uint64_t kli_work_in(struct kl_zone *zone);
/* One call of each whose time has come. */
void kli_work(struct kl_zone *zone, uint32_t budget);

#endif
