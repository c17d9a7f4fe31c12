// SPDX-License-Identifier: Apache-2.0
/* klotski/shrinker.h - who can free something when frames are short.
 *
 * After the kernel's shrinker interface.  Whoever keeps objects that can be freed
 * and made again, or frames that lie idle, registers a shrinker:
 *
 *   count   how many objects could be freed now.  Cheap, and may be a guess.
 *   scan    looks at up to nr_to_scan of them and frees those that it can.
 *   work    may be absent: does some of its own background work, when it is wanted.
 *
 * An idle frame counts as one object; what else an object is, is the shrinker's own
 * affair: work is shared out in proportion to the counts.
 *
 * Who is asked for how much.  Shrinkers with seeks == 0 lose nothing by giving (idle
 * frames of a pool, ranges whose free is deferred): they are asked first, for all
 * that is wanted.  Then each of the others is asked for
 *
 *   (count >> priority) * 4 / seeks
 *
 * in calls of `batch`; priority goes from 12 down to 0, at which all it has is asked
 * for, whatever its seeks.  What is less than a batch, or could not be scanned, is carried over to
 * the next time, 2 * count at most.
 *
 * A shrinker that lies does no harm but takes time, within bounds: in one round no
 * more than 64 objects a frame of the zone are asked for; 1024 scans in a row that
 * freed nothing, or one that says it looked at nothing, end its turn.
 *
 * Thread safety: everything here may be called from any thread, at the same time.
 * count and scan may run on many threads at once, also of one shrinker; work is called
 * by kl_zone_step (klotski/step.h) and so by one thread at a time in a zone.  They are
 * called with no lock of Klotski's held that anybody waits for, but perhaps with
 * locks of the caller's that wants a frame: take your own by try only, unless mode
 * is other than KL_ASYNC and nobody allocates frames with them held.
 *
 * Within a callback
 *   kl_frame_free, kl_zs_free, ...   yes: that is what it is for
 *   kl_frame_alloc                   with KL_NOWAIT
 *   kl_shrinker_register             yes
 *   kl_shrinker_unregister           yes, it does not wait then; see there
 *   kl_shrinker_want                 yes
 *   kl_zone_shrink                   -KL_EBUSY: there is one round a thread
 *   kl_frame_alloc within work       asks no shrinker, for that reason
 */
#ifndef KLOTSKI_SHRINKER_H
#define KLOTSKI_SHRINKER_H

#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KL_SHRINK_STOP          UINT64_MAX       /* scan: no more just now */
#define KL_SHRINK_EMPTY         (UINT64_MAX - 1) /* count: there are no objects at all */
#define KL_WORK_DONE            UINT64_MAX       /* work: not before it is wanted */
#define KL_SHRINK_PRIORITY      12u              /* the first and mildest one */
#define KL_SHRINK_DEFAULT_SEEKS 2u

/* What a callback is told, afresh with each call. */
struct kl_shrink {
    size_t size; /* sizeof(struct kl_shrink) */

    /* scan: how many objects to look at.  Before the call nr_scanned is the same; a
     * scan that looked at fewer, or at more, says so there. */
    uint64_t nr_to_scan;
    uint64_t nr_scanned;

    unsigned priority; /* 12 to 0: the lower, the worse */
    enum kl_mode mode; /* how long the callback may wait */
    unsigned flags;    /* enum kl_alloc_flags of the one who wants frames, or 0 */
};

enum kl_shrinker_flags {
    /* What it frees must come back from elsewhere, as written blocks do: with pressure of
     * the machine (klotski/pressure.h) it is asked last, and its count is not idle memory.
     * Its objects need not be frames.  Not with seeks == 0. */
    KL_SHRINKER_COLD = 1u << 0,
};

struct kl_shrinker_ops {
    size_t size;      /* sizeof(struct kl_shrinker_ops) */
    const char *name; /* for statistics; the first 31 characters are copied */

    /* How dear an object is to make again: KL_SHRINK_DEFAULT_SEEKS for most, more for
     * dearer ones, 0: costs nothing. */
    unsigned seeks;
    uint32_t batch; /* objects a scan; 0: 128 */
    unsigned flags; /* enum kl_shrinker_flags */

    /* Objects that could be freed; 0: none now; KL_SHRINK_EMPTY: none at all, and
     * work carried over is forgotten.  nr_to_scan and nr_scanned are 0. */
    uint64_t (*count)(void *ctx, const struct kl_shrink *shrink);

    /* Objects that were freed (0 too), or KL_SHRINK_STOP: nothing more can be done
     * now; the rest is carried over.  More than nr_to_scan may be freed. */
    uint64_t (*scan)(void *ctx, struct kl_shrink *shrink);

    /* May be NULL.  Does about `budget` units (frames or objects; UINT32_MAX: no bound) of
     * its own background work.  Returns the nanoseconds after which it wants to be called
     * again: 0: at once, there is more; KL_WORK_DONE: when it is wanted (below).
     * It is called by a step of the zone: after kl_shrinker_want, or when the time it
     * named has come; not before, and once a step, so that others get their turn. */
    uint64_t (*work)(void *ctx, uint32_t budget);

    /* Whose frames it frees, if they are one owner's; all zero: nobody's in particular.  With
     * a share (klotski/share.h) it is asked first when that owner has too much.  Unregister
     * the shrinker before the owner.  (Since 0.1: an ops that ends before this is fine.) */
    kl_owner_id owner;
};

/* A registered shrinker; all zero names none.  Never the same again after it was
 * unregistered (but after 2^24 more in the same place). */
typedef struct kl_shrinker_id {
    uint64_t v;
} kl_shrinker_id;

/* Registers a shrinker of the zone; ops is copied.  Callbacks may begin before this
 * returns; *id is set by then.  A zone with shrinkers can't be destroyed.
 * -KL_EINVAL: ops without size, name, count or scan, or with an unknown flag, or
 * KL_SHRINKER_COLD of one that loses nothing.
 * -KL_ENOSPC: the zone has 64.  -KL_ENOMEM: no metadata. */
int kl_shrinker_register(struct kl_zone *zone, const struct kl_shrinker_ops *ops, void *ctx,
                         kl_shrinker_id *id);

/* After 0 no callback of it runs and none will.
 * Waits, without a bound, until the callbacks that run have returned: hold no lock
 * that they take.  Between two calls a turn ends early when somebody waits so.
 * Within a callback of any shrinker of this zone it never waits: while a callback of
 * the one to be unregistered runs (its own is always running) it is -KL_EBUSY, and
 * the shrinker stays registered.
 * -KL_ENOENT: not a shrinker of this zone, or unregistered before. */
int kl_shrinker_unregister(struct kl_zone *zone, kl_shrinker_id id);

/* Its work is wanted: kicks whoever does the zone's steps (klotski/step.h), once until
 * the work is begun.  Work that was to be done later is done now.
 * From any thread, also with locks held, in a callback, or in the middle of a free: it
 * waits for nothing, takes no lock, and calls nothing but the kick.  Cheap when it is
 * wanted already: a few loads.
 * What work shall see change before: under a lock that work takes, or by a sequentially
 * consistent atomic.  Then a want is never lost, also when work is just ending.
 * -KL_EINVAL: it has no work.  -KL_ENOENT: not a shrinker of this zone, or unregistered. */
int kl_shrinker_want(struct kl_zone *zone, kl_shrinker_id id);

/* Has shrinkers free until `frames` more frames are free than when it began, or all
 * was tried: rounds of all priorities, beginning with the mildest.  Returns how many
 * more are free then, less than `frames` perhaps (others allocate and free, too).
 * Waits as the callbacks do, which are told the mode.  Not to be called from an
 * owner's callback.
 * -KL_EINVAL: no such mode.  -KL_EBUSY: called from a shrinker's callback. */
int64_t kl_zone_shrink(struct kl_zone *zone, uint32_t frames, enum kl_mode mode);

#ifdef __cplusplus
}
#endif
#endif
