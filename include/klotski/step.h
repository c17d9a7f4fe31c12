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

struct kl_step {
    size_t size;     /* sizeof(struct kl_step) */
    uint32_t budget; /* frames to move, about; 0: no bound */
};

/* One step: compaction, in KL_ASYNC, that ends when about `budget` frames were moved.
 * 0: nothing more is wanted.  -KL_EAGAIN: the budget ended it, call again.
 * -KL_EINVAL: step is NULL or of another size.  -KL_ENOMEM: no metadata.
 * report may be NULL. */
int kl_zone_step(struct kl_zone *zone, const struct kl_step *step, struct kl_report *report);

/* Sets what is called when background work becomes wanted: from any thread, several
 * at a time, perhaps with locks held and in the middle of an allocation.  It must not
 * block nor call Klotski; writing to an eventfd is what it is made for.
 * NULL takes it away: waits until no call runs (they are short), and after 0 none will.
 * A zone with a kick can't be destroyed.
 * -KL_EEXIST: there is one.  -KL_ENOENT: there is none to take away. */
int kl_zone_set_kick(struct kl_zone *zone, void (*kick)(void *ctx), void *ctx);

#ifdef __cplusplus
}
#endif
#endif
