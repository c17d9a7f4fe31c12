// SPDX-License-Identifier: Apache-2.0
/* klotski/share.h - how much of a zone an owner may have.
 *
 * All owners of a zone share its frames, and the first to come gets them.  An owner with a
 * share has a soft and a hard bound, in frames, as a memory cgroup's low and max:
 *
 *   hard  is never exceeded.  An allocation that would is refused (-KL_ENOMEM), after the
 *         owner's own shrinkers were asked, if the caller's flags allow that.
 *   soft  beyond it, its shrinkers are asked before those of others when frames are short,
 *         for what it has too much; only if that is not enough, all are asked.
 *
 * Which shrinkers are an owner's own, they say when they are registered (klotski/shrinker.h).
 *
 * Of a pool (klotski/pool.h) what is handed out is its owner's; what lies idle is the pool's,
 * and counts for nobody.
 *
 * Owners without a share pay nothing for this.  With one, an allocation counts itself: by a
 * small stock of each CPU, and exactly near the bounds.  Frames that migrate stay counted
 * once.  What the zone itself reserves as a destination is not counted.
 */
#ifndef KLOTSKI_SHARE_H
#define KLOTSKI_SHARE_H

#include "movable.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_share {
    size_t size;   /* sizeof(struct kl_share) */
    uint64_t soft; /* frames; 0: no bound */
    uint64_t hard;
};

/* Sets or changes an owner's share; all 0: it has none any more, though it goes on being
 * counted.  The frames that it has are counted by a walk over the zone when the first share
 * is set: it allocates nothing during that call, from a pool either; frees and migrations may go
 * on, and at any later one allocations, too.  One thread at a time sets an owner's share.  When it
 * has more than hard, its shrinkers are asked: not from a callback, nor with their locks held.
 * -KL_EINVAL: share is NULL or of another size, or soft over hard.  -KL_ENOENT: no such
 * owner.  -KL_ENOMEM: no metadata.  -KL_EBUSY: it has more than hard, and its shrinkers don't
 * free enough.  Failing, the bounds are what they were. */
int kl_owner_set_share(struct kl_zone *zone, kl_owner_id owner, const struct kl_share *share);

#ifdef __cplusplus
}
#endif
#endif
