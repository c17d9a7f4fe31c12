// SPDX-License-Identifier: Apache-2.0
/* klotski/contig.h - large blocks: compaction, contiguous ranges, giving back.
 *
 * What contiguity means depends on the backing.  hugetlb: physically contiguous
 * within one huge page, which is the block; several blocks are not adjacent.
 * memfd: contiguous in the zone's address space only; the gain is memory that
 * goes back in whole blocks.  A bare machine's memory, and offsets into a device's:
 * truly contiguous.
 *
 * Nothing here may be called from an owner's callback.  Everything may be called
 * from several threads at a time: a block that is being emptied is fenced, and
 * whoever meets a fence chooses other blocks.
 *
 * On failure everything is restored: fences, isolation, counts and ownership.
 * Frames that were moved already stay where they are now.
 */
#ifndef KLOTSKI_CONTIG_H
#define KLOTSKI_CONTIG_H

#include "movable.h"
#include "pin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What can be in the way: name, value, what it says. */
#define KL_IN_WAYS(X)                                                                              \
    X(NOTHING, 0, "nothing")                                                                       \
    X(UNMOVABLE, 1, "unmovable")                                                                   \
    X(PINNED, 2, "pinned")                                                                         \
    X(BUSY, 3, "busy: being moved, locked or about to go")                                         \
    X(REFUSED, 4, "its owner does not let it go")                                                  \
    X(FENCED, 5, "being emptied by somebody else")                                                 \
    X(NO_MIGRATION, 6, "migration is off")                                                         \
    X(GIVEN, 7, "given back to the system")                                                        \
    X(NO_ROOM, 8, "too little room elsewhere")                                                     \
    X(AREA, 9, "of an area for contiguous ranges")

enum kl_in_way {
#define KL_IN_WAY_ENUM(name, value, text) KL_IN_WAY_##name = (value),
    KL_IN_WAYS(KL_IN_WAY_ENUM)
#undef KL_IN_WAY_ENUM
};

/* The name ("PINNED") and the words for one of these.  Never NULL.  Thread-safe. */
const char *kl_in_way_name(uint32_t kind);
const char *kl_in_way_text(uint32_t kind);

/* One that is in the way.  Of a pin with a name (klotski/pin.h): object, since, why.
 * Of a frame whose owner does not let it go: why, if the owner explains. */
struct kl_obstacle {
    kl_pfn frame;   /* the allocation's first one; all zero: all of the block, or nobody */
    kl_block block; /* KL_IN_WAY_NO_ROOM: none */
    uint32_t order; /* it has 2^order frames */
    uint32_t kind;  /* enum kl_in_way */
    uint32_t pins;
    kl_owner_id owner; /* 0: nobody */
    char owner_name[32];
    uint64_t object;
    uint64_t since_ns; /* by the host's clock; 0: not known */
    char why[KL_WHY_BYTES];
};

/* What a run did and, when it failed, who was in the way. */
struct kl_report {
    size_t size;       /* sizeof(struct kl_report), set by the caller */
    uint32_t blocks;   /* blocks emptied as a whole (not by kl_contig_alloc) */
    uint32_t isolated; /* isolations, each of which ended as one of the next three */
    uint32_t migrated; /* units moved (a unit is one allocation of 2^order frames) */
    uint32_t put_back; /* isolated, not moved */
    uint32_t freed;    /* freed by their owner while isolated */
    uint32_t failed;   /* moves that an owner refused for good */
    uint32_t scanned;  /* frames looked at */
    kl_pfn culprit;    /* a frame that could not be moved; all zero when none */
    kl_owner_id culprit_owner;
    char culprit_name[32];  /* its owner's name */
    kl_block culprit_block; /* where that is, or the block that was fenced */
    uint32_t culprit_order; /* and what follows: as in struct kl_obstacle; */
    uint32_t culprit_kind;  /* NOTHING when the metadata or the backing failed */
    uint32_t culprit_pins;
    uint64_t culprit_object;
    uint64_t culprit_since_ns;
    char culprit_why[KL_WHY_BYTES];
};

/* Empties n blocks, the cheapest ones without unmovable or pinned frames, and
 * gives their memory back to the system.  All or nothing.  The zone will not
 * populate that many blocks again until kl_zone_lend.  Blocks that have no memory count
 * first.
 * Room is what is free: shrinkers are not asked, so that what they could free (purgeable
 * objects, caches) is no room.  kl_zone_shrink (klotski/shrinker.h) before it makes it some.
 * -KL_EINVAL: n is 0 or more than the zone has; mode.
 * -KL_ENOMEM: too few free frames outside of those blocks.
 * -KL_EBUSY: too few blocks can be emptied: pins, or migration is off.
 * report may be NULL.  May wait as mode says. */
int kl_zone_give_back(struct kl_zone *zone, uint32_t n, enum kl_mode mode,
                      struct kl_report *report);

/* The system lends n given-back blocks again (of those that this caller gave: the
 * zone keeps one count).  They are populated when needed.
 * -KL_EINVAL: fewer than n are given back. */
int kl_zone_lend(struct kl_zone *zone, uint32_t n);

/* Sets how many blocks the zone may have, 1 to kl_zone_blocks().  Shrinking empties
 * blocks and gives them back, as kl_zone_give_back does; growing lets the zone
 * populate as many more again, when it needs them.  Blocks that were given back for
 * somebody else count as the zone's own and are never touched: only kl_zone_lend
 * brings them back.  Failing, the size is what it was.  Resizes, give-backs and
 * lends may run at the same time.
 * -KL_EINVAL: blocks is 0 or more than the zone was created with.
 * -KL_ENOMEM, -KL_EBUSY: as kl_zone_give_back; only a zone that shrinks.
 * report may be NULL.  May wait as mode says.
 * As the kernel's memory hotplug: offline_pages and online_pages, in blocks. */
int kl_zone_resize(struct kl_zone *zone, uint32_t blocks, enum kl_mode mode,
                   struct kl_report *report);

/* Gives blocks that are free as a whole back to the system, but for keep of
 * them; they are populated again on demand.  Moves nothing.  Returns how many,
 * or a negative error. */
int kl_zone_trim(struct kl_zone *zone, uint32_t keep);

/* Lets the memory of free frames go that lie in blocks partly used, where the backing can do
 * that (kl_backing.discard): of about `most` frames (0: no bound; about: a block is
 * finished).  The blocks stay present, limits and statistics count them as before, and a
 * frame's memory comes back by itself when the frame is used: so an allocation may meet
 * the system's lack of memory where it is used, and not where it is made.  For a zone that is
 * left alone for a while.  Each block is fenced for a moment.  May wait for the system.
 * Returns how many frames were free so, also those whose memory went before; -KL_ENOTSUP:
 * the backing has no discard; or the error of the first discard that failed.
 * As the kernel's free page reporting. */
int64_t kl_zone_discard(struct kl_zone *zone, uint32_t most);

/* Empties sparse blocks into dense ones until no block can be gained or about
 * budget frames were moved (0: no bound; about: a batch of 32 is finished).  Returns 0,
 * or -KL_EAGAIN when the budget ended it: a block that was half emptied is the first
 * one of the next call.  Stops early, without an error, at what can't be moved. */
int kl_zone_compact(struct kl_zone *zone, enum kl_mode mode, uint32_t budget,
                    struct kl_report *report);

/* A contiguous range of `frames` frames whose first one's number is a multiple
 * of `align` (a power of two).  The frames belong to `owner` as unmovable ones,
 * contents undefined.
 * -KL_EINVAL: frames is 0, more than the zone has, or align no power of two; mode; no such
 * owner.
 * -KL_ENOMEM, -KL_EBUSY: as kl_zone_give_back. */
int kl_contig_alloc(struct kl_zone *zone, kl_owner_id owner, uint32_t frames, uint32_t align,
                    enum kl_mode mode, kl_pfn *first, struct kl_report *report);

/* The same, but exactly the range that begins at frame `first`.
 * -KL_EINVAL: it is not within the zone, or not below the owner's bound.
 * -KL_EBUSY: something in it can't be moved.  -KL_ENOMEM: too little room outside. */
int kl_contig_alloc_at(struct kl_zone *zone, kl_owner_id owner, kl_pfn first, uint32_t frames,
                       enum kl_mode mode, struct kl_report *report);

/* Frees a range, or a part of one, of kl_contig_alloc.  -KL_EINVAL: a frame of
 * it is not one of this owner's; nothing is freed then. */
int kl_contig_free(struct kl_zone *zone, kl_owner_id owner, kl_pfn first, uint32_t frames);

#ifdef __cplusplus
}
#endif
#endif
