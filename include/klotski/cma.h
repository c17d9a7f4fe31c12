// SPDX-License-Identifier: Apache-2.0
/* klotski/cma.h - areas for large contiguous ranges, which movable frames use meanwhile.
 *
 * After the kernel's CMA (mm/cma.c), and the deferred free that was proposed for it in 2023.
 * An area is a row of whole blocks of a zone.  Ranges of it are allocated and released;
 * what is free in it serves movable frames, which move out when a range is wanted.
 * What contiguity means depends on the backing (klotski/contig.h).
 *
 * Who is in an area
 *   movable frames   any owner's.  They go into the area's free blocks before others: the
 *                    area's memory is there anyhow, and what can't move has only the
 *                    other blocks.  So the area costs nobody memory, and a range costs
 *                    moves: about one a frame where the zone is full.
 *   the area's own   what is allocated or kept (below), as unmovable frames of an owner
 *                    that has the area's name.  Their private words are the area's.
 *   nobody else      unmovable frames, other ranges (kl_contig_alloc, larger orders) and
 *                    long pins never enter: kl_pin_begin is -KL_EAGAIN there, after
 *                    kl_pin_settle it isn't.  Short pins (kl_frame_pin) may be in the way
 *                    for as long as they last.
 * An area's blocks are present from its creation to its end: nobody gives them back or
 * trims them, and they do not count as waste.  Only who has allocated whole blocks may give
 * their memory to the system for a while (kl_cma_give_back).
 *
 * Deferred free.  A released range may be kept whole for a while, so that the next
 * allocation finds it without a move.  Kept ranges are looked at before the rest of the
 * area; what is beside one another is one.  Of a range that is larger than what is wanted,
 * head and tail stay kept.  An allocation that none of them can serve gives back those
 * within the window that it takes, and no others.
 * Kept ranges go back to the zone, oldest first, when there are more than `defer_bytes`;
 * when they are older than `defer_ns` (in the zone's steps, klotski/step.h); when a
 * shrinker is asked; and whenever an allocation or a move anywhere in the zone finds no
 * frame: at once, without a callback, KL_ATOMIC ones included.  So keeping them makes no
 * allocation fail.  It may send some elsewhere: a movable frame gets memory for an absent
 * block, or a place among unmovable ones, before a kept range is broken up.
 *
 * Where a range lies: where least has to be moved, and not where it leaves the longest rows.
 * Who wants an area to be full of ranges of one size, a power of two, asks for that as their
 * alignment, with a base that is a multiple of it.
 *
 * Contents: zero, whatever was there, unless KL_CMA_ANY_CONTENTS.  In a zone of offsets
 * they are always undefined.
 *
 * Thread safety: everything here may be called from any thread, at the same time, but
 * create and destroy of the same area.  Nothing may be called from an owner's callback,
 * except kl_cma_release, which waits for nothing, allocates nothing and calls nobody but
 * the zone's kick.
 */
#ifndef KLOTSKI_CMA_H
#define KLOTSKI_CMA_H

#include "contig.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_cma;

struct kl_cma_config {
    size_t size;            /* sizeof(struct kl_cma_config) */
    const char *name;       /* for statistics; the first 27 characters are copied */
    kl_pfn base;            /* its first frame, where a block begins; all zero: anywhere */
    uint32_t frames;        /* whole blocks of them */
    uint32_t align;         /* anywhere: of the first frame's number, a power of two; 0: 1 */
    unsigned order_per_bit; /* it is allocated in units of 2^order frames, a block at most */
    uint64_t defer_bytes;   /* of ranges kept after their release; 0: none are */
    uint64_t defer_ns;      /* how long they are kept; 0: until they are needed */
};

/* Movable frames that are there stay.  Gets memory for blocks that are absent.
 * -KL_EINVAL: a figure of the config is impossible.  -KL_EEXIST: there is an area already.
 * -KL_EBUSY: an unmovable or pinned frame is there; anywhere: everywhere.
 * -KL_ENOMEM: no metadata, or no memory for a block.
 * -KL_ENOSPC: the zone has 16 areas, or no more owners or shrinkers. */
int kl_cma_create(struct kl_zone *zone, const struct kl_cma_config *config, struct kl_cma **area);

/* Kept ranges go back, and its blocks are like others again.
 * -KL_EBUSY: ranges are allocated, or it is called in a shrinker's callback. */
int kl_cma_destroy(struct kl_cma *area);

enum kl_cma_flags {
    KL_CMA_ANY_CONTENTS = 1u << 0, /* need not be zeroed */
};

/* A range of `frames` frames, rounded up to whole units, whose first one's number is a
 * multiple of `align` (a power of two; a unit at least).
 * -KL_EINVAL: frames is 0 or more than the area has; align, flags or mode.
 * -KL_EBUSY: no such range is without frames that are allocated or can't be moved.
 * -KL_ENOMEM: too little room elsewhere for what would have to move, though the area has
 * such a row (what is pinned in it is seen later); or no metadata.
 * report, which may be NULL, says what was moved, and of a failure who is in the way: a
 * frame of somebody else's rather than one that the area has allocated.
 * May wait as mode says. */
int kl_cma_alloc(struct kl_cma *area, uint32_t frames, uint32_t align, unsigned flags,
                 enum kl_mode mode, kl_pfn *first, struct kl_report *report);

/* The same, but exactly the range that begins at `first`, where a unit begins.
 * -KL_EINVAL: also: it is not within the area. */
int kl_cma_alloc_at(struct kl_cma *area, kl_pfn first, uint32_t frames, unsigned flags,
                    enum kl_mode mode, struct kl_report *report);

/* Releases allocated frames, rounded up to whole units: an allocation, a part of one, or
 * several that follow one another.  Never waits, never fails otherwise:
 * -KL_EINVAL: not all of it is the area's and allocated, or it does not begin where a unit
 * does; nothing is released then. */
int kl_cma_release(struct kl_cma *area, kl_pfn first, uint32_t frames);

/* The memory of allocated frames, whole blocks of them, goes to the system; the frames stay
 * allocated, and there is nothing in them to be read or written.  The zone counts the blocks as
 * given and not as present, charges nobody for them, and nobody else can have their places.
 * Block by block: *given frames from `first` on are given then; in case of an error that is
 * less than `frames`, and the rest is as it was.
 * -KL_EINVAL: not whole blocks, or not all of it is allocated, or some of it is given.
 * -KL_EBUSY: a frame is pinned; or somebody has fenced the block or still copies what was
 * there before: later perhaps.  Or what the backing's release says.
 * May wait for a short time. */
int kl_cma_give_back(struct kl_cma *area, kl_pfn first, uint32_t frames, uint32_t *given);

/* Gets memory again for what of this range is given; the contents are undefined.  May be
 * called again with the same range after an error: what has memory by then is passed by, what
 * has not stays given, allocated, and can't be released.
 * -KL_EINVAL: not whole blocks, or not all of it is allocated.
 * -KL_EBUSY: somebody else gives or gets it just now.
 * -KL_ENOMEM: the hard limit; or what the backing's populate says.
 * May wait for the system. */
int kl_cma_get_back(struct kl_cma *area, kl_pfn first, uint32_t frames);

/* How much is kept and how long, from now on (as in the config); kept ranges beyond that go
 * back.  Off: kl_cma_defer(area, 0, 0). */
void kl_cma_defer(struct kl_cma *area, uint64_t defer_bytes, uint64_t defer_ns);

/* All counts but sizes and settings are since the area's creation. */
struct kl_cma_stats {
    size_t size; /* sizeof(struct kl_cma_stats), set by the caller */
    char name[32];
    kl_pfn base;
    uint32_t frames;
    uint32_t order_per_bit;
    uint32_t allocated_frames;
    uint32_t kept_frames;
    uint32_t available_frames; /* neither; movable frames may be there */
    uint32_t largest_frames;   /* the longest row of frames that are not allocated */
    uint64_t defer_bytes;
    uint64_t defer_ns;
    uint64_t allocs;   /* asked, with arguments that are valid */
    uint64_t failed;   /* of these */
    uint64_t releases; /* that were not refused */
    uint64_t refused;  /* releases */
    uint64_t exact;    /* allocations that a kept range served as it was */
    uint64_t partial;  /* that a part of one served */
    uint64_t missed;   /* that none served, though some were kept */
    /* Kept frames that went back, by why. */
    uint64_t returned_need;   /* an allocation or a move found no other frame */
    uint64_t returned_window; /* in the window of an allocation that missed */
    uint64_t returned_age;
    uint64_t returned_cap; /* also with deferred free off */
    uint64_t returned_shrinker;
    uint64_t migrated;     /* allocations (of others) that its ranges have moved */
    uint32_t given_frames; /* of the allocated ones, those whose memory is given back */
};
void kl_cma_get_stats(struct kl_cma *area, struct kl_cma_stats *stats);

/* The same of the zone's areas one after the other, i from 0 on, for whoever does not have
 * them.  -KL_ENOENT: there are no more. */
int kl_zone_cma_stats(struct kl_zone *zone, uint32_t i, struct kl_cma_stats *stats);

/* Recounts the area; 0, or -KL_EIO with the first broken invariant in *what (may be NULL).
 * Only while nothing else runs. */
int kl_cma_check(struct kl_cma *area, const char **what);

#ifdef __cplusplus
}
#endif
#endif
