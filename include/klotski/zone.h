// SPDX-License-Identifier: Apache-2.0
/* klotski/zone.h - a zone and its frames.
 *
 * A zone owns frames, grouped in pageblocks.  A block is present (it has memory)
 * or absent (its memory is the system's).  Each allocated frame has an owner
 * (klotski/movable.h), movable or not; movable and unmovable frames are kept in
 * different blocks while that is possible.
 *
 * A zone grows by itself: an allocation that finds no free frame populates an
 * absent block, unless that many blocks were given back (klotski/contig.h).
 *
 * The allocator follows LLFree (USENIX ATC 2023): a bitmap and one atomic word a
 * block; an allocation reserves in the word and then takes bits, without locks.
 *
 * Thread safety: every function here may be called from any thread, at the same
 * time, except create and destroy of the same zone.
 */
#ifndef KLOTSKI_ZONE_H
#define KLOTSKI_ZONE_H

#include "base.h"
#include "host.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_zone;

enum kl_zone_flags {
    KL_ZONE_POPULATE = 1u << 0,     /* get all memory at creation (of `blocks`), or fail */
    KL_ZONE_NO_MIGRATION = 1u << 1, /* start with migration off */
};

struct kl_zone_config {
    size_t size;                      /* sizeof(struct kl_zone_config) */
    const struct kl_host *host;       /* copied */
    const struct kl_backing *backing; /* copied; its memory must outlive the zone,
                                       * and be this zone's alone */
    unsigned flags;                   /* enum kl_zone_flags */
    uint32_t blocks;                  /* that it may have at first (kl_zone_resize); 0: all */
};

/* -KL_EINVAL: a figure of the config is impossible.  -KL_ENOMEM: no metadata.
 * With KL_ZONE_POPULATE also what the backing's populate said. */
int kl_zone_create(const struct kl_zone_config *config, struct kl_zone **zone);

/* Gives the memory of every block back.  -KL_EBUSY: frames are allocated or
 * owners or shrinkers registered, a kick (klotski/step.h) is set, or blocks are being
 * emptied; the zone is as it was. */
int kl_zone_destroy(struct kl_zone *zone);

/* Shape.  None of these changes during the zone's life. */
size_t kl_zone_frame_bytes(const struct kl_zone *zone);
size_t kl_zone_block_bytes(const struct kl_zone *zone);
uint32_t kl_zone_frames(const struct kl_zone *zone);
uint32_t kl_zone_blocks(const struct kl_zone *zone);

/* The host that the zone was created with, for code built on zones; and the host's
 * memory for metadata, which the zone's limits count.  NULL: none, or the hard limit. */
const struct kl_host *kl_zone_host(const struct kl_zone *zone);
void *kl_zone_meta_alloc(struct kl_zone *zone, size_t bytes);
void kl_zone_meta_free(struct kl_zone *zone, void *mem, size_t bytes);

/* What the zone may hold, in bytes: memory of blocks that are present, and metadata,
 * its own and that of pools and stores in it.  0: no limit.
 * hard is never exceeded: what would is refused (-KL_ENOMEM).  Beyond soft the zone
 * grows only after it has tried to do without, and a step (klotski/shrinker.h) tries
 * to get back below it. */
struct kl_zone_limits {
    size_t size; /* sizeof(struct kl_zone_limits) */
    uint64_t soft;
    uint64_t hard;
};

/* -KL_EINVAL: soft over hard.  -KL_EBUSY: the zone holds more than hard and free
 * blocks don't make up for it; compact or free something first; nothing changed.
 * May wait for the system. */
int kl_zone_set_limits(struct kl_zone *zone, const struct kl_zone_limits *limits);

/* Marks, all 0 (none) at first.  A pair of them says when background work
 * (klotski/step.h) becomes wanted, and when it is done.
 *   reserve      frames that allocations leave to migrations; about, for what the
 *                CPUs' caches hold counts as used
 *   low, high    frames free, or to be had from the system: below low shrinkers are
 *                asked until there are high
 *   waste_start, waste_stop  thousandths of the present frames that are free in blocks
 *                partly used: from waste_start on it compacts, down to waste_stop
 *   waste_blocks  and not for less than this many blocks' worth of such frames; 0: 1
 *   spare_blocks  blocks that stay free as a whole: those beyond go back to the system;
 *                0: none does.  The spare ones are what is got and given without it, so that
 *                memory that comes and goes does not go to and from the system each time */
struct kl_zone_marks {
    size_t size; /* sizeof(struct kl_zone_marks) */
    uint32_t reserve;
    uint32_t low;
    uint32_t high;
    uint32_t waste_start;
    uint32_t waste_stop;
    uint32_t waste_blocks;
    uint32_t spare_blocks;
};

/* Background work that is wanted, and not done yet. */
enum kl_zone_wanted {
    KL_WANTED_FRAMES = 1u << 0,   /* below low */
    KL_WANTED_BLOCKS = 1u << 1,   /* waste: compaction */
    KL_WANTED_BYTES = 1u << 2,    /* beyond the soft limit */
    KL_WANTED_WORK = 1u << 3,     /* clients' own (klotski/shrinker.h) */
    KL_WANTED_SPARE = 1u << 4,    /* more than the spare blocks are free */
    KL_WANTED_PRESSURE = 1u << 5, /* the machine is short (klotski/pressure.h) */
};

/* -KL_EINVAL: more than the zone has, or an end on the wrong side of its beginning. */
int kl_zone_set_marks(struct kl_zone *zone, const struct kl_zone_marks *marks);

/* As they were set; marks->size is set by the caller. */
void kl_zone_get_marks(const struct kl_zone *zone, struct kl_zone_marks *marks);

/* Turns migration off or on (on at first).  Off, nothing is moved and only
 * blocks that are free anyhow can be given back: the control of an experiment. */
void kl_zone_set_migration(struct kl_zone *zone, bool on);

enum kl_alloc_flags {
    KL_MOVABLE = 1u << 0,   /* the owner's callbacks can move it */
    KL_ZERO = 1u << 1,      /* its contents are zero */
    KL_NOWAIT = 1u << 2,    /* do not wait for blocks that are being emptied; always
                             * to be given within a callback or with a lock held;
                             * implies the two at the end */
    KL_ATOMIC = 1u << 3,    /* KL_NOWAIT, and do not populate a block: no system call */
    KL_NO_SHRINK = 1u << 4, /* do not call shrinkers (klotski/shrinker.h) */
    KL_NO_MOVE = 1u << 5,   /* do not call owners: no compaction */
};

/* Allocates 2^order frames, aligned to 2^order, of which *pfn is the first.
 * Contents: undefined unless KL_ZERO, which a zone without addresses can't do.
 * When nothing is free, what it does about it: break up a free block, get memory for
 * an absent one, mix kinds, shrink, compact; then it waits, 2 s at most, while somebody
 * else is emptying blocks.  Callbacks of shrinkers and of owners, of any but the
 * calling thread's locks, may run within; the flags above rule that out.
 * order: up to that of the whole zone; more than a block is always unmovable, and not for
 * KL_ATOMIC.
 * -KL_EINVAL: no such order, no such owner, KL_MOVABLE for more than a block or an owner
 * without callbacks, KL_ZERO where there are only offsets.
 * -KL_ENOMEM: no such run of frames is free. */
int kl_frame_alloc(struct kl_zone *zone, unsigned order, kl_owner_id owner, unsigned flags,
                   kl_pfn *pfn);

/* Frees what kl_frame_alloc returned (the whole of it).  Never waits: while
 * somebody else holds the frame's lock or a reference it is only marked dying,
 * and the last one frees it.  An owner may free a frame that is isolated.
 * -KL_EINVAL: not an allocation of this zone and owner, or freed already.
 * -KL_EBUSY: it is pinned; unpin it first. */
int kl_frame_free(struct kl_zone *zone, kl_owner_id owner, kl_pfn pfn);

/* Where the frame is mapped; NULL if it is not a frame of this zone, or the zone
 * has offsets only.  Valid until the frame moves or is freed: the owner's own lock
 * decides. */
void *kl_frame_addr(const struct kl_zone *zone, kl_pfn pfn);

/* Where the frame is in the backing, in bytes from its beginning; UINT64_MAX if it
 * is not a frame of this zone.  Valid as long as the address would be. */
uint64_t kl_frame_offset(const struct kl_zone *zone, kl_pfn pfn);

/* Eight bytes that belong to the frame's owner, zero after an allocation.  A
 * migration does not carry them over: migrate sets those of dst. */
void kl_frame_set_private(struct kl_zone *zone, kl_pfn pfn, uint64_t value);
uint64_t kl_frame_private(const struct kl_zone *zone, kl_pfn pfn);

/* The frame with number nr of this zone; all zero when nr is outside. */
kl_pfn kl_zone_pfn(const struct kl_zone *zone, uint32_t nr);

/* The pageblock of a frame; block 0 for what is no frame of this zone. */
kl_block kl_frame_block(const struct kl_zone *zone, kl_pfn pfn);

#ifdef __cplusplus
}
#endif
#endif
