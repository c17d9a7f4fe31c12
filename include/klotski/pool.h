// SPDX-License-Identifier: Apache-2.0
/* klotski/pool.h - pools of zeroed frames of one order, kept for fast reuse.
 *
 * After ION's page pools (2017), of which dma-buf heaps and TTM have descendants: who
 * gets and gives buffers of the same few sizes all the time keeps what he gave, zeroed,
 * instead of getting and zeroing it anew.  A unit is one allocation of 2^order frames.
 *
 *   kl_pool_alloc   a unit that is idle and zeroed (a hit); else one that is idle and
 *                   dirty, which is zeroed now; else one of the zone (a miss), zeroed
 *   kl_pool_free    the unit lies idle, dirty, until background work zeroes it
 *
 * What the pool hands out is zero, whatever the memory went through.
 *
 * Kinds.  Idle units of a cached pool are movable, and move without a copy: nobody needs
 * what is in them.  They are in nobody's way.  What was zero is dirty after a move.  Idle
 * units of an uncached pool stay where they are, for memory whose mapping is set up for
 * one place.  What is handed out is unmovable, of both kinds.
 *
 * Where units lie.  They are got as unmovable ones, so they lie in blocks that are meant
 * for those, also while they are idle and movable; so handing them out spoils no block.
 * Compaction may take an idle unit to a block of movable frames: such a unit is astray.
 * It is handed out only when no other is there, and counted: it is stuck there then.
 *
 * Low and high.  Units below the frame number `low_below` are low ones, for devices that
 * reach no further.  An allocation takes high ones first, with KL_POOL_LOW low ones only.
 * A unit that moves is filed anew by where it is now.
 *
 * Giving back.  A pool is a shrinker of its zone with seeks 0 (klotski/shrinker.h): idle
 * units go first when frames are short, the dirty ones before the zeroed.  It never holds more than
 * `limit` idle units; what is freed beyond goes to the zone.
 *
 * Background work (klotski/step.h): dirty units are zeroed; and when fewer than `low` are
 * idle, units are got until there are `high`, unless that takes the zone over its soft
 * limit or below its high mark, or the pool was shrunk within the last second.
 *
 * Costs: 16 bytes of metadata a unit of the limit, 256 a CPU.
 *
 * Thread safety: everything may run together with everything but destroy.  An alloc and a
 * free take the lock of one CPU's share of the pool, held for moments; no lock is the
 * whole pool's.
 */
#ifndef KLOTSKI_POOL_H
#define KLOTSKI_POOL_H

#include "movable.h"
#include "shrinker.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_pool;

enum kl_pool_kind {
    KL_POOL_CACHED = 0,   /* movable while idle */
    KL_POOL_UNCACHED = 1, /* never moved */
};

struct kl_pool_config {
    size_t size;            /* sizeof(struct kl_pool_config) */
    const char *name;       /* in statistics; NULL: "pool"; 31 characters are copied */
    unsigned order;         /* a unit is 2^order frames, a block at most */
    enum kl_pool_kind kind; /* of idle units */
    kl_owner_id owner;      /* whose the units are that are handed out; 0: the pool's.
                             * Its bound (klotski/movable.h) holds for all units; it
                             * stays registered as long as the pool is there */
    uint32_t low_below;     /* low units lie below this frame number; 0: there are none */
    uint32_t limit;         /* units that may lie idle; 0: a sixteenth of the zone */
    uint32_t low, high;     /* marks, in idle units, of refilling; 0: it does not refill */

    /* Zeroes a unit, instead of the CPU: by a device, where there are only offsets.  0, or
     * a negative error.  Called from alloc, prefill, and background work, the last with
     * the frame locked; with no other lock.  It may wait, and call the pool but not
     * destroy it. */
    int (*zero)(void *ctx, kl_pfn pfn, unsigned order);
    void *ctx;
};

/* Registers one owner for what is idle, one for what is handed out unless config->owner
 * is, one more for low units if there are any, and a shrinker.
 * -KL_EINVAL: order is over a block's, no such kind or owner, low over high or high over
 * the limit, low_below less than a block or more than the zone, no zero where there are only
 * offsets. -KL_ENOMEM: no metadata.  -KL_ENOSPC: too many owners or shrinkers.  Nothing is left. */
int kl_pool_create(struct kl_zone *zone, const struct kl_pool_config *config,
                   struct kl_pool **pool);

/* Idle units go back to the zone; NULL is none.  Waits for migrations of idle units.
 * Units with an owner of the caller's stay his; else
 * -KL_EBUSY: some are in use.  Also when called from a shrinker's callback while the pool is
 * being shrunk.  The pool is as it was. */
int kl_pool_destroy(struct kl_pool *pool);

/* With the flags of kl_frame_alloc. */
enum kl_pool_flags {
    KL_POOL_LOW = 1u << 16, /* below low_below only */
};

/* A unit, all zero, unmovable, of kl_pool_owner(); *pfn is its first frame.
 * flags: KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK, KL_NO_MOVE as for kl_frame_alloc, which a
 * miss calls, and KL_POOL_LOW.
 * -KL_EINVAL: other flags, or KL_POOL_LOW where there are no low units.
 * -KL_ENOMEM: no unit is idle, and the zone has none.  Or what config->zero said. */
int kl_pool_alloc(struct kl_pool *pool, unsigned flags, kl_pfn *pfn);

/* Takes a unit back: any unmovable allocation of this order and of kl_pool_owner(); its
 * private bytes are lost.  Never waits.  (The owner may as well free it with
 * kl_frame_free: then it goes to the zone.)
 * -KL_EINVAL: it is no such thing, or is free already; nothing is changed.
 * -KL_EBUSY: it is pinned. */
int kl_pool_free(struct kl_pool *pool, kl_pfn pfn);

/* Until that many zeroed units are idle (low ones, with KL_POOL_LOW): zeroes dirty ones,
 * then gets more, with the flags of kl_pool_alloc.
 * -KL_ENOSPC: more than the limit, and nothing was done; or others have filled the pool.
 * Otherwise as kl_pool_alloc; what was got until then stays. */
int kl_pool_prefill(struct kl_pool *pool, unsigned flags, uint32_t units);

/* Gives idle units back to the zone until no more than `keep` are left.  How many. */
uint32_t kl_pool_trim(struct kl_pool *pool, uint32_t keep);

/* Whose the units in use are.  A share of this owner (klotski/share.h) bounds how many are
 * handed out.  Not to be unregistered while there is the pool, which could get nothing
 * from the zone then. */
kl_owner_id kl_pool_owner(const struct kl_pool *pool);

/* In units.  Each figure is true at some moment, not all at the same one. */
struct kl_pool_stats {
    size_t size; /* sizeof(struct kl_pool_stats), set by the caller */
    uint32_t unit_frames;
    uint32_t limit;
    uint32_t zeroed; /* idle now: zeroed, dirty, */
    uint32_t dirty;
    uint32_t low;         /* of these, low ones, */
    uint32_t astray;      /* and those in blocks of movable frames */
    uint32_t isolated;    /* being moved, or about to be */
    uint32_t zeroing;     /* by background work */
    uint64_t hits;        /* allocations that found a zeroed unit; */
    uint64_t hot;         /* an idle one, which they zeroed; */
    uint64_t misses;      /* none, so they asked the zone */
    uint64_t failed;      /* of the misses: in vain */
    uint64_t returned;    /* frees that left the unit idle, */
    uint64_t beyond;      /* or gave it to the zone for the limit */
    uint64_t refilled;    /* units got by background work or prefill */
    uint64_t zeroed_idle; /* units that background work, prefill zeroed */
    uint64_t zero_failed; /* config->zero said no */
    uint64_t moved;       /* idle units, without a copy; */
    uint64_t spoiled;     /* of these: they had been zero */
    uint64_t put_back;    /* isolated and not moved */
    uint64_t lent_astray; /* handed out in a block of movable frames */
    uint64_t trimmed;     /* by kl_pool_trim */
    uint64_t shrunk;      /* by the shrinker */
};
void kl_pool_get_stats(struct kl_pool *pool, struct kl_pool_stats *stats);

/* Recounts the pool, and looks whether what should be zero is; 0, or -KL_EIO with the first
 * broken invariant in *what (may be NULL).  Only while nothing else runs. */
int kl_pool_check(struct kl_pool *pool, const char **what);

#ifdef __cplusplus
}
#endif
#endif
