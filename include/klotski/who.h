// SPDX-License-Identifier: Apache-2.0
/* klotski/who.h - who is in the way: what stands between a zone and a request, asked
 * before it is made.
 *
 * Nothing here changes anything, and nothing waits.  Owners may be asked to explain
 * (klotski/movable.h), so do not call this within a callback, nor with an owner's
 * lock held.  The answer is true at one moment of each frame, not at the same one of
 * all: what is in nobody's way any more when the list is made is left out.
 *
 * Costs: a look at every frame of the zone, and a few bytes of metadata a block.
 * Thread safety: everything may run together with everything.
 */
#ifndef KLOTSKI_WHO_H
#define KLOTSKI_WHO_H

#include "contig.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_who {
    size_t size;      /* sizeof(struct kl_who), set by the caller */
    uint32_t found;   /* obstacles: allocations, or whole blocks; 0: none */
    uint32_t listed;  /* of them, in the list */
    uint32_t to_move; /* frames there that would have to be moved */
    uint64_t room;    /* frames for them outside: free ones, and those of absent blocks */
    bool lacks_room;  /* room is less than to_move */
    kl_pfn first;     /* the window; kl_zone_who_blocks: all zero */
    uint32_t frames;  /* of the window, or the blocks */
};

/* A contiguous range of `frames` frames whose first number is a multiple of `align`
 * (a power of two), as kl_contig_alloc takes it: the window with the fewest obstacles,
 * and those, up to max of them, in ascending order.  list may be NULL if max is 0.
 * -KL_EINVAL: frames is 0 or more than the zone has, align is no power of two; who is
 * NULL or of another size.  -KL_ENOMEM: no metadata. */
int kl_zone_who(struct kl_zone *zone, uint32_t frames, uint32_t align, struct kl_who *who,
                struct kl_obstacle *list, size_t max);

/* Any n whole blocks, as kl_zone_give_back takes them: those with the fewest
 * obstacles, and of those the ones with least in them.  Blocks without memory count
 * first.  -KL_EINVAL: n is 0 or more than the zone has.  -KL_ENOMEM: no metadata. */
int kl_zone_who_blocks(struct kl_zone *zone, uint32_t n, struct kl_who *who,
                       struct kl_obstacle *list, size_t max);

/* What keeps an owner from being unregistered, or a zone from being destroyed: the
 * owner's allocations (0: anybody's), as obstacles of whatever kind they are; movable
 * ones as KL_IN_WAY_NOTHING.  -KL_ENOENT: no such owner. */
int kl_owner_who(struct kl_zone *zone, kl_owner_id owner, struct kl_who *who,
                 struct kl_obstacle *list, size_t max);

#ifdef __cplusplus
}
#endif
#endif
