// SPDX-License-Identifier: Apache-2.0
/* Areas: what a unit of one is, and what is kept.
 *
 * A unit is 2^order frames.  To the zone, the units that an area has are unmovable
 * allocations of the area's owner; whose they are besides say four bitmaps:
 *
 *   held   the area has the unit: allocated or kept
 *   kept   it was released and not given back
 *   cut    a piece of what is kept begins here
 *   away   allocated; its memory is given to the system, or on its way there or back
 *
 *              taken from the zone             release
 *   free ----------------------------> held ------------> held, kept
 *    ^  (window fenced, emptied, claimed)  <------------   |  |
 *    |                                       reuse         |  |
 *    '-----------------------------------------------------'  '-- split: cut where the
 *      give: freed in the zone, then the bits go                  rest begins
 *
 * A release goes through `kept` always; with deferred free off the cap is 0, and it goes on
 * to the zone at once.  Pieces are what was released in one call, less what was taken from
 * them; each has the time of its release in the private word of its first frame.  Pieces
 * that touch are one run for who looks for a range.  So nothing is allocated, whatever
 * is kept, and a release can't fail for that.
 *
 * Invariants
 * (A1) kept is within held, cut within kept.
 * (A2) A kept unit whose predecessor is not kept is cut.
 * (A3) A unit is held if and only if its frames are the owner's in the zone, but between a
 *      claim and its mark, when nobody knows the range.
 * (A4) All changes of bits, and a kept unit's way to the zone, are under the lock, at most
 *      a block at a time: who has the lock sees no unit on its way. (frame/kept.c, K1)
 * (A5) zone->keepers.frames has the kept frames of all areas.
 * (A6) With the lock dropped by whoever raised it, kept frames are within the cap, or
 *      somebody is giving them back until they are.
 * (A8) away is within held, apart from kept, and of whole blocks: who sets it under the lock,
 *      of units that were allocated, may step the blocks' words (block.h, part).  At rest
 *      it is what the words say.  So no release takes what is away.
 * (A7) `armed`: work will be called (reclaim/work.c).  What is kept with an age and finds
 *      it down sets it, and then wants work.
 *
 * Locks: the area's, rank CMA, is a leaf that is spun for; held over one look through the
 * bitmaps or the way of one block's units to the zone, never over a callback, a move, a
 * zeroing, or a call of the host's but the clock and the zone's kick.
 * Runs (kl_cma_alloc) hold nothing but their fences.
 *
 * | meets      | alloc, kept | alloc, window | release | give |
 * | alloc, kept | lock | the window is not empty: the next one | lock | lock |
 * | alloc, window | | fences | nothing in common | gives under its fence |
 */
#ifndef KLI_CMA_CMA_H
#define KLI_CMA_CMA_H

#include "klotski/cma.h"
#include "klotski/shrinker.h"
#include "move/take.h"

enum cma_why { CMA_NEED, CMA_WINDOW, CMA_AGE, CMA_CAP, CMA_SHRINKER, CMA_WHYS };

enum cma_count {
    CMA_ALLOCS,
    CMA_FAILED,
    CMA_RELEASES,
    CMA_REFUSED,
    CMA_EXACT,
    CMA_PARTIAL,
    CMA_MISSED,
    CMA_MIGRATED,
    CMA_RETURNED, /* by why */
    CMA_COUNTS = CMA_RETURNED + CMA_WHYS
};

struct kl_cma {
    struct kl_zone *zone; /* these are constant */
    uint32_t first, frames, units;
    unsigned order;
    kl_owner_id owner;
    kl_shrinker_id shrinker;
    unsigned keeper;
    size_t bytes; /* of all this */
    char name[32];
    struct kli_area view; /* for windows: kept, without the lock */

    struct kli_lock lock;
    kli_word *held, *kept, *cut, *away;
    uint32_t nheld, nkept, naway; /* units */
    uint64_t cap;                 /* bytes */
    uint64_t age_ns;              /* 0: none */
    bool armed;                   /* A7 */

    _Atomic uint64_t count[CMA_COUNTS];
};

/* A row of units. */
struct cma_run {
    uint32_t first;
    uint32_t n;
};

static inline void cma_count(struct kl_cma *area, enum cma_count what, uint64_t n)
{
    atomic_fetch_add_explicit(&area->count[what], n, memory_order_relaxed);
}

static inline void cma_lock(struct kl_cma *area)
{
    kli_spin_take(&area->zone->host, &area->lock);
}

static inline void cma_unlock(struct kl_cma *area)
{
    kli_spin_drop(&area->zone->host, &area->lock);
}

static inline uint32_t cma_nr(const struct kl_cma *area, uint32_t unit)
{
    return area->first + (unit << area->order);
}

/* bits.c: rows of bits; from and to are units, to may be the number of all. */
bool cma_bit(const kli_word *bits, uint32_t at);
void cma_set(kli_word *bits, struct cma_run run);
void cma_clear(kli_word *bits, struct cma_run run);
/* Are all of the row as `set` says? */
bool cma_are(const kli_word *bits, struct cma_run run, bool set);
/* The first one from `from` on that is set, or clear; `to`: none. */
uint32_t cma_next(const kli_word *bits, uint32_t from, uint32_t to, bool set);
/* The last one at or before `at` that is set; there is one. */
uint32_t cma_last_set(const kli_word *bits, uint32_t at);

/* alloc.c: a row of whole units that begins with frame `first`; false: not the area's. */
bool cma_row_of(const struct kl_cma *area, kl_pfn first, uint32_t frames, struct cma_run *row);

/* keep.c: what is kept, with the lock. */
void cma_keep(struct kl_cma *area, struct cma_run run, uint64_t now);
void cma_unkeep(struct kl_cma *area, struct cma_run run);
/* The smallest run of what is kept in which n units at this alignment (of frames'
 * numbers) have a place; false: there is none. */
bool cma_fit(const struct kl_cma *area, uint32_t n, uint32_t align, struct cma_run *at,
             uint32_t *run_units);
/* The piece that was released first, and when; false: nothing is kept. */
bool cma_oldest(const struct kl_cma *area, struct cma_run *piece, uint64_t *since);
/* This row of kept units, which lies in one block, goes back to the zone. */
void cma_give_row(struct kl_cma *area, struct cma_run row, enum cma_why why);
/* The last units of this piece, `most` and one block of them at most; how many. */
uint32_t cma_give_end(struct kl_cma *area, struct cma_run piece, uint32_t most, enum cma_why why);

/* give.c: the ways back; without the lock.  Frames that went. */
uint64_t cma_give(struct kl_cma *area, uint64_t frames, enum cma_why why);
void cma_give_beyond_cap(struct kl_cma *area);
/* What of a window is kept. (kli_taker.yield) */
void cma_yield(void *ctx, const struct kli_window *w);
/* For the zone's keepers (frame/kept.c). */
void cma_give_for(void *ctx, uint64_t frames, unsigned order);

/* stats.c: the longest row of units that are not allocated; with the lock. */
uint32_t cma_largest(const struct kl_cma *area);

/* shrinker.c */
int cma_shrinker_register(struct kl_cma *area);

/* enroll.c: blocks begin and cease to be an area's.  Errors as kl_cma_create. */
int cma_enroll(struct kl_zone *zone, uint32_t block, uint32_t blocks);
int cma_enroll_any(struct kl_zone *zone, uint32_t blocks, uint32_t stride, uint32_t *block);
void cma_dismiss(struct kl_zone *zone, uint32_t block, uint32_t blocks);

#endif
