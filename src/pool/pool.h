// SPDX-License-Identifier: Apache-2.0
/* A pool's private shape, and its protocol.
 *
 * An idle unit is an allocation of the pool's own owner (`idle`), movable if the pool is
 * cached; one in use is unmovable and of the user's owner.  What a unit is, its frame's
 * state word says, and one edge takes it from one to the other (frame/hand.c).  The pool
 * remembers idle units only: each has a slot, which is on a list.
 *
 *                     rest (free, prefill, refill)
 *      in use ------------------------------------> LISTED: dirty or zeroed
 *   (no slot, <------------------------------------   |  ^       |  ^
 *    not ours)        lend (alloc)                    |  |       |  | dirty: begin; zeroed,
 *                                             isolate |  |       v  | or dirty again: end
 *      the zone <---- drop (trim, shrink,             |  |     ZEROING
 *                     destroy) from LISTED            v  | putback: as it was
 *                                                  ISOLATED; migrate: dst, dirty
 *
 * A pool is cut into shares, one a CPU about; a slot belongs to one share for good, and
 * a share's slots and lists change under its lock.  A CPU begins with its own share, and
 * looks at the others when that has nothing, or no slot.
 *
 * Invariants
 * (P1) A slot is FREE, on one list, ISOLATED or ZEROING; nr is the unit's first frame but
 *      for FREE ones.  Each unit of `idle` has one slot, and its frame's private word is
 *      the slot's number + 1, but for moments within the share's lock, and of units that
 *      were just dropped.
 * (P2) A unit is lent under the share's lock, from a list, by the edge: a frame that is
 *      locked or isolated is not (F6 of frame/state.h), so an alloc never gets a frame in
 *      flight, and when it is off the list it is not movable any more.
 * (P3) A callback has its frame locked: so the unit stays the pool's while it runs, but
 *      for being dropped.  What the private word says is a guess (it may have been the
 *      user's until now); the slot decides: is it this frame's, and on a list?  A migrate
 *      or putback finds it ISOLATED, for nothing takes an isolated unit from its slot.
 * (P4) On a zeroed list are units only that are zero from end to end.  What is given
 *      back, or was moved, is filed as dirty.  A unit gets from dirty to zeroed by the
 *      zeroing of all of it, while it is in nobody's reach: ZEROING with the frame locked,
 *      or lent.  If that is cut short, it is dirty.
 * (P5) migrate touches no contents.
 * (P6) The slots are the limit: what finds none goes to the zone.
 * (P7) Under a share's lock nothing is called but edges, tries, and kicks: no host that
 *      waits, no callbacks, no zeroing; of shares, one at a time.
 *
 * (P8) `wanted` goes up with a want of the shrinker's work, when something has become
 *      dirty or the pool was found short; work takes it down before it looks at the
 *      shares, under their locks.  Who has filed under a lock looks at `wanted` after, so
 *      either he sees it down, or work sees what he filed.
 *
 * May run together: everything but destroy.
 */
#ifndef KLI_POOL_POOL_H
#define KLI_POOL_POOL_H

#include "base/mem.h"
#include "frame/zone.h"
#include "klotski/pool.h"
#include "klotski/shrinker.h"

/* A list by what its units are; best first: allocations take from the lowest one. */
enum {
    POOL_LOW = 1,
    POOL_ASTRAY = 2,
    POOL_DIRTY = 4,
    POOL_LISTS = 8,
    POOL_FREE = POOL_LISTS, /* a slot that is on none */
    POOL_ISOLATED,
    POOL_ZEROING,
};

/* Sets of lists, a bit each. */
#define POOL_IN_ZEROED 0x0fu
#define POOL_IN_DIRTY  0xf0u
#define POOL_IN_ASTRAY 0xccu
#define POOL_IN_LOW    0xaau
#define POOL_IN_ANY    0xffu

#define POOL_NONE UINT32_MAX

enum pool_counter {
    POOL_C_HITS,
    POOL_C_HOT,
    POOL_C_MISSES,
    POOL_C_FAILED,
    POOL_C_RETURNED,
    POOL_C_BEYOND,
    POOL_C_REFILLED,
    POOL_C_ZEROED_IDLE,
    POOL_C_ZERO_FAILED,
    POOL_C_MOVED,
    POOL_C_SPOILED,
    POOL_C_PUT_BACK,
    POOL_C_LENT_ASTRAY,
    POOL_C_TRIMMED,
    POOL_C_SHRUNK,
    POOL_COUNTERS
};

struct pool_slot {
    uint32_t nr;
    uint32_t next, prev; /* slots; of a free one: next */
    uint16_t list;       /* or one of those after POOL_LISTS */
    uint16_t was;        /* of an isolated one: the list it was on */
};

/* All but `have` and the numbers, which others peek at, is touched with the lock held. */
struct pool_share {
    _Alignas(64) struct kli_lock lock;
    _Atomic uint32_t have;                    /* which lists are not empty, a bit each */
    _Atomic uint32_t n[POOL_LISTS];           /* on each */
    _Atomic uint32_t isolated, zeroing, room; /* slots: that are so, and free ones */
    uint32_t head[POOL_LISTS];
    uint32_t free;   /* slots */
    int32_t balance; /* listed, and not in pool->idle yet */
    _Atomic uint64_t count[POOL_COUNTERS];
};

struct kl_pool {
    struct kl_zone *zone; /* all these are constant */
    struct kl_host host;
    unsigned order;
    bool cached;
    bool lends_own; /* no owner was given */
    kl_owner_id idle, user, low_owner;
    uint32_t low_below, limit, low, high;
    uint32_t shares, slots_each;
    int32_t coarse; /* how far `idle` may be off, of one share */
    int (*zero)(void *ctx, kl_pfn pfn, unsigned order);
    void *ctx;
    size_t bytes; /* of this and what follows it */
    struct pool_share *share;
    struct pool_slot *slot;

    _Alignas(64) kl_shrinker_id shrinker;
    atomic_bool wanted;                    /* P8 */
    bool refilling;                        /* work's: it is under low, and not at high again */
    _Atomic int64_t idle_about;            /* listed units; only if there are marks */
    _Atomic uint64_t shrunk_ns;            /* when the shrinker gave something last */
    _Atomic uint64_t count[POOL_COUNTERS]; /* what is not counted with a share */
};

static inline uint32_t pool_unit(const struct kl_pool *pool)
{
    return 1u << pool->order;
}

static inline struct pool_share *pool_share_of(struct kl_pool *pool, uint32_t slot)
{
    return &pool->share[slot / pool->slots_each];
}

/* With the share's lock. */
static inline void pool_count(struct pool_share *share, enum pool_counter what)
{
    uint64_t n = atomic_load_explicit(&share->count[what], memory_order_relaxed);

    atomic_store_explicit(&share->count[what], n + 1, memory_order_relaxed);
}

/* Without it. */
static inline void pool_tally(struct kl_pool *pool, enum pool_counter what, uint64_t n)
{
    atomic_fetch_add_explicit(&pool->count[what], n, memory_order_relaxed);
}

/* Edges' arguments. */
static inline uint64_t pool_pass_lend(const struct kl_pool *pool)
{
    return kli_f_pass(pool->order, pool->idle.v, pool->cached, pool->user.v, false);
}

static inline uint64_t pool_pass_rest(const struct kl_pool *pool, kl_owner_id from)
{
    return kli_f_pass(pool->order, from.v, false, pool->idle.v, pool->cached);
}

/* list.c, with the share's lock */
void kli_pool_link(struct kl_pool *pool, struct pool_share *share, uint32_t i, unsigned list);
void kli_pool_unlink(struct kl_pool *pool, struct pool_share *share, uint32_t i, unsigned to);
void kli_pool_slot_free(struct kl_pool *pool, struct pool_share *share, uint32_t i);
uint32_t kli_pool_slot_take(struct kl_pool *pool, struct pool_share *share);
void kli_pool_lists_init(struct kl_pool *pool);
/* without */
unsigned kli_pool_place(const struct kl_pool *pool, uint32_t nr);
uint64_t kli_pool_listed(const struct kl_pool *pool, unsigned lists);
struct pool_share *kli_pool_own_share(struct kl_pool *pool);
struct pool_share *kli_pool_next_share(struct kl_pool *pool, struct pool_share *share);
static inline bool pool_has(const struct pool_share *share, unsigned lists)
{
    return atomic_load_explicit(&share->have, memory_order_relaxed) & lists;
}

/* alloc.c: makes a unit of `from` idle; where: 0, or POOL_DIRTY.  -KL_ENOSPC: no slot. */
int kli_pool_rest(struct kl_pool *pool, uint32_t nr, kl_owner_id from, unsigned where);
/* One of the zone's, zeroed, of *owner. */
int kli_pool_get_new(struct kl_pool *pool, unsigned flags, uint32_t *nr, kl_owner_id *owner);

/* zero.c */
int kli_pool_zero(struct kl_pool *pool, uint32_t nr);
/* 0: one was zeroed.  -KL_ENOENT: there is none.  -KL_EAGAIN: those there are, are
 * locked.  Else what config->zero said. */
int kli_pool_zero_one(struct kl_pool *pool, unsigned lists);
uint64_t kli_pool_work(void *ctx, uint32_t budget);
void kli_pool_want(struct kl_pool *pool);

/* shrink.c */
uint64_t kli_pool_drop(struct kl_pool *pool, uint64_t units);
int kli_pool_shrinker_register(struct kl_pool *pool, const char *name);

/* move.c */
int kli_pool_idle_register(struct kl_pool *pool, const char *name, uint32_t below);

#endif
