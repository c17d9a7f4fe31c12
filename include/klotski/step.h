// SPDX-License-Identifier: Apache-2.0
/* klotski/step.h - background work, by whoever has time for it.
 *
 * A zone has no thread.  Its background work is done in steps, each with a budget, by
 * the program: from its event loop, from a thread of its own, or not at all.  The kick
 * says when there is something to do.  kl_linux_worker (klotski/linux.h) makes of that
 * a descriptor to poll, or a thread.
 *
 * Thread safety: everything here may be called from any thread, at the same time;
 * nothing from a callback.
 */
#ifndef KLOTSKI_STEP_H
#define KLOTSKI_STEP_H

#include "contig.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kl_step_flags {
    KL_STEP_WANTED = 1u << 0, /* when nothing is wanted, do nothing */
};

struct kl_step {
    size_t size;       /* sizeof(struct kl_step) */
    uint32_t budget;   /* frames to move, or objects to shrink, about; 0: no bound */
    unsigned flags;    /* enum kl_step_flags, or 0 */
    uint64_t again_ns; /* out, with -KL_EAGAIN: not before so long; 0: at once */
};

/* One step of what is wanted, by the zone's marks and its soft limit (klotski/zone.h),
 * and by its clients (klotski/shrinker.h):
 *
 *   frames are short     shrinkers are asked, each time more urgently
 *   over the soft limit  free blocks go back to the system; then as above and below
 *   blocks are wasted    compaction, in KL_ASYNC, until about `budget` frames were moved
 *   blocks are spare     those beyond go back to the system, one in 32 units of the budget
 *
 *   pressure             idle memory goes back to the system (klotski/pressure.h)
 *   clients want work    each whose time has come is called once, with the budget
 *
 * When nothing is wanted it compacts all the same, as far as the budget goes, unless
 * KL_STEP_WANTED.  A step that got nothing done for the zone backs off: 10 ms until the
 * next one, then 20, 40, up to 5.12 s; clients that want work in the meantime get it,
 * and the rest waits on.
 * What was done is in the zone; a block that is half empty is the first one next time.
 *
 * 0: nothing more is wanted.  -KL_EAGAIN: call again, after again_ns: the earliest of
 * its own back-off and the times that clients named.
 * -KL_EBUSY: another thread is in a step.
 * -KL_EINVAL: step is NULL or of another size, or no such flag.  -KL_ENOMEM: no metadata
 * for a compaction that nothing wanted; one that is wanted is tried again; again_ns is
 * when a client wants to be called then, 0 if none does.
 * report, of the compaction, may be NULL.  Calls owners and shrinkers. */
int kl_zone_step(struct kl_zone *zone, struct kl_step *step, struct kl_report *report);

/* Sets what is called when background work becomes wanted: from any thread, several
 * at a time, perhaps with locks held and in the middle of an allocation.  It must not
 * block nor call Klotski; writing to an eventfd is what it is made for.  When work is
 * wanted already it is called from within this.
 * NULL takes it away: waits until no call runs (they are short), and after 0 none will.
 * A zone with a kick can't be destroyed.
 * -KL_EEXIST: there is one.  -KL_ENOENT: there is none to take away. */
int kl_zone_set_kick(struct kl_zone *zone, void (*kick)(void *ctx), void *ctx);

#ifdef __cplusplus
}
#endif
#endif
