// SPDX-License-Identifier: Apache-2.0
/* Looks: reading frames that may go meanwhile.
 *
 * Who copies out of a frame without a lock may find, when he looks again, that it was
 * the wrong one by then; the copy is thrown away.  But the memory must be there: a read
 * of a hole in a memory file would allocate it again, and end the process where there
 * is none to be had.  So a block's memory goes only when every look has ended that may
 * have found a frame in it.
 *
 * A look counts itself on the line of its CPU, in one of two counters; which one, is the
 * zone's phase.  Who waits, with all frames of the block out of everybody's reach, waits
 * for the counter that the phase does not name, turns the phase, and waits for the other:
 *
 *        phase 0                        phase 1
 *   looks count in [0]   turned    looks count in [1]
 *   wait: [1] == 0      -------->  wait: [0] == 0
 *
 * (L1) A look that began before the wait is counted in one of the two until its end.
 *      One that begins later finds nothing of the block: it counts itself first.
 * (L2) A look makes no call and takes no lock, but it may be slow: the memory that it
 *      copies to may fault.  Hence the wait has a bound, and memory stays if it is
 *      reached.
 *
 * Source: sleepable read-copy-update (McKenney 2006), with counts that are exact.
 */
#ifndef KLI_FRAME_LOOK_H
#define KLI_FRAME_LOOK_H

#include "frame/zone.h"

typedef _Atomic uint32_t kli_look;

static inline kli_look *kli_look_begin(struct kl_zone *zone)
{
    uint32_t phase = atomic_load_explicit(&zone->look_phase, memory_order_relaxed) & 1;
    kli_look *look = &zone->hint[kli_cpu(zone)].lookers[phase];

    atomic_fetch_add(look, 1);
    kli_full_fence();
    return look;
}

static inline void kli_look_end(kli_look *look)
{
    atomic_fetch_sub_explicit(look, 1, memory_order_release);
}

/* false: some look lasts too long. */
bool kli_looks_over(struct kl_zone *zone);

#endif
