// SPDX-License-Identifier: Apache-2.0
/* klotski/inspect.h - looking at a zone; nothing here changes it.
 *
 * Figures are read while others work: each one is true at some moment, not all
 * at the same one.  kl_zone_check alone wants the zone quiet.
 */
#ifndef KLOTSKI_INSPECT_H
#define KLOTSKI_INSPECT_H

#include "shrinker.h"
#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Calls of one kind since the zone's creation.  Asked: with arguments that are valid;
 * less the sum of the others they are under way. */
struct kl_run_stats {
    uint64_t asked;
    uint64_t succeeded;
    uint64_t again; /* -KL_EAGAIN: the budget ended it */
    uint64_t nomem; /* -KL_ENOMEM */
    uint64_t busy;  /* -KL_EBUSY */
    uint64_t other; /* what the backing answered */
};

struct kl_zone_stats {
    size_t size; /* sizeof(struct kl_zone_stats), set by the caller */
    uint32_t frames;
    uint32_t blocks;
    uint32_t size_blocks; /* that it may have now, given ones included (kl_zone_resize) */
    uint32_t frame_bytes;
    uint32_t present_blocks; /* with memory */
    uint32_t given_blocks;   /* given back and not lent again */
    uint32_t free_frames;    /* in present blocks */
    uint32_t used_frames;
    uint32_t stuck_frames; /* used, and unmovable or pinned */
    uint32_t free_blocks;  /* present and free as a whole */
    uint32_t fenced_blocks;
    uint64_t metadata_bytes; /* the zone's own */
    uint64_t charged_bytes;  /* present blocks and all metadata (kl_zone_set_limits) */
    uint64_t scanned;        /* counters since creation, as the kernel's compact_* */
    uint64_t isolated;
    uint64_t migrated;
    uint64_t failed;
    uint64_t put_back;
    uint64_t freed_isolated;
    uint64_t stalls; /* times that an allocation waited for a fence */
    uint64_t blocks_given;
    uint64_t blocks_populated;
    uint64_t mixed;                /* allocations that went into a block of the other kind */
    uint64_t slow;                 /* that found nothing at once and looked further */
    uint64_t compacted;            /* of these: that got a run of frames by compaction */
    uint64_t refused;              /* that failed */
    struct kl_run_stats compact;   /* kl_zone_compact */
    struct kl_run_stats contig;    /* kl_contig_alloc, kl_contig_alloc_at */
    struct kl_run_stats give_back; /* kl_zone_give_back */
    uint32_t wanted;               /* enum kl_zone_wanted, now */
    uint32_t pressure_level;       /* enum kl_pressure_level, now */
    uint64_t pressure_calls;       /* kl_zone_pressure, but for the end of it */
    uint64_t pressure_pieces;      /* steps that gave back for it, or tried */
    uint64_t pressure_bytes;       /* that went back to the system in them */
};
void kl_zone_get_stats(struct kl_zone *zone, struct kl_zone_stats *stats);

/* Per owner: frames, counted by a walk over all of the zone's, and the counters of
 * struct kl_zone_stats since the owner's registration, whose names are as there.  A run
 * adds what it has done when it ends (earlier in zones of more than 16 owners). */
struct kl_owner_stats {
    size_t size; /* set by the caller */
    char name[32];
    uint64_t frames;
    uint64_t pinned;
    uint64_t movable;
    uint64_t isolated; /* now */
    uint64_t scanned;
    uint64_t isolations; /* each one ended, or will end, as one of the next three */
    uint64_t migrated;
    uint64_t put_back;
    uint64_t freed_isolated;
    uint64_t failed; /* moves that the owner refused for good; put back then, too */
    uint64_t stalls; /* its allocations that waited for a fence, and how often */
};
/* -KL_ENOENT: no such owner. */
int kl_owner_get_stats(struct kl_zone *zone, kl_owner_id owner, struct kl_owner_stats *stats);

/* Who has what: a row an owner, and what is nobody's.  In frames
 *
 *   sum of the rows' frames + other + free + absent + given + withheld == frames
 *
 * at all times, and in bytes charged == present blocks + the two kinds of metadata.
 * The name of an owner that has just left may be empty. */
struct kl_budget_row {
    kl_owner_id owner;
    char name[32];
    uint64_t frames;
    uint64_t movable; /* of these */
    uint64_t pinned;
    uint64_t idle;       /* as its own shrinkers count (klotski/shrinker.h) */
    uint64_t soft, hard; /* its share (klotski/share.h); 0: no bound */
    uint64_t refused;    /* allocations, for that */
};
struct kl_budget {
    size_t size;              /* sizeof(struct kl_budget), set by the caller */
    uint32_t owners;          /* registered; the first `max` of them have rows */
    uint64_t frames;          /* of the zone */
    uint64_t other_frames;    /* of owners without a row */
    uint64_t free_frames;     /* of present blocks, those in the CPUs' caches included */
    uint64_t absent_frames;   /* without memory, may be populated */
    uint64_t given_frames;    /* taken by somebody, until they are lent again */
    uint64_t withheld_frames; /* beyond the zone's size (kl_zone_resize) */
    uint64_t charged_bytes;   /* as in kl_zone_stats */
    uint64_t zone_metadata_bytes;
    uint64_t other_metadata_bytes; /* of pools, stores, shares and so on */
};
/* One pass over the frames in use.  rows may be NULL when max is 0.  Calls the shrinkers'
 * count, each under its own locks; from a shrinker's callback `idle` is 0.  Thread-safe. */
void kl_zone_get_budget(struct kl_zone *zone, struct kl_budget *budget, struct kl_budget_row *rows,
                        size_t max);

/* Per shrinker, since it was registered. */
struct kl_shrinker_stats {
    size_t size; /* sizeof(struct kl_shrinker_stats), set by the caller */
    char name[32];
    uint32_t seeks;
    uint64_t calls;    /* of scan */
    uint64_t asked;    /* objects, the sum of nr_to_scan */
    uint64_t freed;    /* objects, as scan said */
    uint64_t stops;    /* scans that ended with KL_SHRINK_STOP */
    uint64_t deferred; /* objects carried over to the next round */
    uint64_t works;    /* calls of work */
};
/* -KL_ENOENT: no such shrinker. */
int kl_shrinker_get_stats(struct kl_zone *zone, kl_shrinker_id id, struct kl_shrinker_stats *stats);

/* Free runs by order, as a buddy allocator would have them on its free lists (what
 * /proc/buddyinfo shows): aligned runs of 2^order frames, each counted once, at the
 * greatest order that it has.  Up to the order of a block they lie within one block;
 * beyond it they are whole free blocks next to one another.  Counted are frames of
 * present blocks that nobody has, those in the CPUs' caches included; not what could
 * still be populated. */
#define KL_ORDERS 32
struct kl_free_runs {
    size_t size;             /* sizeof(struct kl_free_runs), set by the caller */
    uint32_t orders;         /* the zone has orders 0 to orders - 1 */
    uint64_t frames;         /* in all these runs */
    uint64_t run[KL_ORDERS]; /* how many, by order */
};
/* One pass over the blocks, and over the bits of those partly used.  Thread-safe. */
void kl_zone_get_free_runs(struct kl_zone *zone, struct kl_free_runs *runs);

/* Two indexes for requests of 2^order frames, in thousandths, as the kernel's
 * extfrag/unusable_index and extfrag/extfrag_index in debugfs; what they mean says
 * Documentation/admin-guide/sysctl/vm.rst (extfrag_threshold), the formulas are Gorman
 * and Healy's (Supporting Superpage Allocation without Additional Hardware Support, ISMM
 * 2008).  With F free frames in R runs, of which S runs of 2^order can be cut:
 *
 *   unusable        (F - S * 2^order) / F        the part of the free memory that such
 *                   a request can't use: 0 to 1000; 1000 when nothing is free
 *   fragmentation   1 - (1 + F / 2^order) / R    why such a request fails: towards 0
 *                   for want of memory, towards 1000 because it is in pieces; -1000 when
 *                   it would not fail (S > 0); never below 0 else
 *
 * Of runs that were counted before, or of a zone, which counts them first.
 * -KL_EINVAL: the zone has no such order; *index is as it was.  Thread-safe. */
int kl_runs_unusable_index(const struct kl_free_runs *runs, unsigned order, int *index);
int kl_runs_fragmentation_index(const struct kl_free_runs *runs, unsigned order, int *index);
int kl_zone_unusable_index(struct kl_zone *zone, unsigned order, int *index);
int kl_zone_fragmentation_index(struct kl_zone *zone, unsigned order, int *index);

/* One byte a frame. */
enum kl_frame_kind {
    KL_FRAME_ABSENT = 0, /* its block has no memory */
    KL_FRAME_FREE = 1,
    KL_FRAME_MOVABLE = 2,
    KL_FRAME_UNMOVABLE = 3,
    KL_FRAME_PINNED = 4,
    KL_FRAME_ISOLATED = 5,
};
/* Kinds of `n` frames from number `first` into map.  -KL_ERANGE: outside. */
int kl_zone_map(struct kl_zone *zone, uint32_t first, uint32_t n, uint8_t *map);

/* One pageblock. */
struct kl_block_info {
    uint32_t free;
    uint32_t used;
    uint32_t stuck;
    bool present;
    bool fenced;
    bool unmovable; /* kind of the block */
    bool cma;       /* of an area (klotski/cma.h) */
};
int kl_zone_block_info(struct kl_zone *zone, kl_block block, struct kl_block_info *info);

/* Recounts bits, words and descriptors; 0, or -KL_EIO with the first broken
 * invariant in *what (may be NULL).  Only while nothing else runs. */
int kl_zone_check(struct kl_zone *zone, const char **what);

#ifdef __cplusplus
}
#endif
#endif
