// SPDX-License-Identifier: Apache-2.0
/* tenant.h - whom the frames of a trace belong to: a movable owner with callbacks,
 * as klotski/movable.h has its example, and an unmovable one.  Units are known by
 * their id, and each is filled with bytes of its own, which are looked at again
 * when it is freed.
 *
 * (N1) A unit's pfn and `moving` change under the lock only; a movable frame's
 *      private word is its unit's id + 1 from its allocation on.
 * (N2) A unit that is pinned is never `moving`.
 *
 * The lock is the owner's own: the callbacks take it, with frames locked by the
 * framework; nobody who holds it waits for a frame.  Functions that name units are
 * for one thread; the callbacks come from any.
 */
#ifndef REPLAY_TENANT_H
#define REPLAY_TENANT_H

#include "klotski/klotski.h"

#include <pthread.h>

enum replay_unit_kind {
    REPLAY_NONE = 0,
    REPLAY_MOVABLE = 1,
    REPLAY_UNMOVABLE = 2,
    REPLAY_RANGE = 3, /* from kl_contig_alloc: unmovable */
};

struct replay_unit {
    kl_pfn pfn;      /* all zero: there is none */
    uint32_t frames; /* a power of two, but for ranges */
    uint32_t seed;   /* of its contents */
    uint16_t pins;
    uint8_t kind; /* enum replay_unit_kind */
    bool moving;
};

struct replay_tenant {
    struct kl_zone *zone;
    kl_owner_id movable, unmovable;
    pthread_mutex_t lock;
    struct replay_unit *unit; /* by id */
    uint32_t ids;
    uint32_t seed;      /* of the next unit's contents */
    uint64_t moved;     /* frames */
    uint64_t wrong;     /* units whose contents were not what they should be */
    const char *breach; /* of the contract, as seen from the callbacks; or NULL */
};

/* 0 or a negative error. */
int replay_tenant_open(struct replay_tenant *t, struct kl_zone *zone, uint32_t ids, uint32_t seed);
/* Frees, after a look, all that is left.  -KL_EIO: something was not let go. */
int replay_tenant_close(struct replay_tenant *t);

/* As kl_frame_alloc, kl_contig_alloc; the unit `id`, which is none, gets it. */
int replay_alloc(struct replay_tenant *t, uint32_t id, unsigned order, bool movable);
int replay_contig(struct replay_tenant *t, uint32_t id, uint32_t frames, uint32_t align,
                  struct kl_report *report);
/* The unit is there and, for these two, not a range. */
int replay_pin(struct replay_tenant *t, uint32_t id);
int replay_unpin(struct replay_tenant *t, uint32_t id);
/* Looks at the contents, then frees. */
int replay_free(struct replay_tenant *t, uint32_t id);

/* For the oracle: of each frame of the zone the order of the movable unit that
 * begins there, or UINT8_MAX. */
void replay_orders(const struct replay_tenant *t, uint8_t *order);

#endif
