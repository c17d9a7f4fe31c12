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
    uint64_t mixed;     /* allocations that went into a block of the other kind */
    uint64_t slow;      /* that found nothing at once and looked further */
    uint64_t compacted; /* of these: that got a run of frames by compaction */
    uint64_t refused;   /* that failed */
};
void kl_zone_get_stats(struct kl_zone *zone, struct kl_zone_stats *stats);

/* Per owner, counted by a walk over all frames. */
struct kl_owner_stats {
    size_t size; /* set by the caller */
    char name[32];
    uint64_t frames;
    uint64_t pinned;
    uint64_t movable;
    uint64_t isolated;
};
/* -KL_ENOENT: no such owner. */
int kl_owner_get_stats(struct kl_zone *zone, kl_owner_id owner, struct kl_owner_stats *stats);

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
};
/* -KL_ENOENT: no such shrinker. */
int kl_shrinker_get_stats(struct kl_zone *zone, kl_shrinker_id id, struct kl_shrinker_stats *stats);

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
};
int kl_zone_block_info(struct kl_zone *zone, kl_block block, struct kl_block_info *info);

/* Recounts bits, words and descriptors; 0, or -KL_EIO with the first broken
 * invariant in *what (may be NULL).  Only while nothing else runs. */
int kl_zone_check(struct kl_zone *zone, const char **what);

#ifdef __cplusplus
}
#endif
#endif
