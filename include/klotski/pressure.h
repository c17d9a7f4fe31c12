// SPDX-License-Identifier: Apache-2.0
/* klotski/pressure.h - the machine is short of memory: give some back.
 *
 * A zone keeps memory at hand that nobody uses: idle frames of pools, ranges whose free
 * is deferred, objects that could lie closer, free frames in blocks partly used, spare
 * blocks.  Who knows that the machine is short (kl_linux_pressure of klotski/linux.h, a
 * supervisor, a hypervisor's balloon) says so here, and the zone's steps (klotski/step.h)
 * give back:
 *
 *   KL_PRESSURE_IDLE  what is idle, all of it: shrinkers that lose nothing, then those that
 *                     pack, then compaction, and every free block, spare ones too
 *   KL_PRESSURE_COLD  the same; and when nothing of that is left, what can be got again
 *                     from elsewhere (KL_SHRINKER_COLD, klotski/shrinker.h): a store's cold
 *                     blocks go to its write-back target; when it has none and `bytes` says
 *                     how much is lacking, warmer ones, the coldest first
 *
 * This goes on as long as the pressure does, piece by piece, each with a step's budget;
 * pieces that bring nothing are tried again after 10 ms, then 20, 40, up to 5.12 s.  The
 * zone may populate blocks again at any time: an allocation does not fail for pressure.
 *
 * After the kernel's memory.reclaim of a cgroup and its balloon drivers.
 */
#ifndef KLOTSKI_PRESSURE_H
#define KLOTSKI_PRESSURE_H

#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kl_pressure_level {
    KL_PRESSURE_NONE = 0,
    KL_PRESSURE_IDLE = 1,
    KL_PRESSURE_COLD = 2,
};

/* From now on there is this much pressure, until the next call says something else.
 * bytes: for KL_PRESSURE_COLD, how much shall go back to the system, counted from this call,
 * before cold things are left alone; 0: no bound.  What is idle goes whatever it is.
 * Kicks whoever does the zone's steps.  Called again at the same level it makes the zone
 * look again, but not more often than ten times a second while there is nothing to be had.
 * From any thread, also with locks held; not from the kick.  Waits for nothing.
 * -KL_EINVAL: no such level. */
int kl_zone_pressure(struct kl_zone *zone, enum kl_pressure_level level, uint64_t bytes);

/* What was said last. */
enum kl_pressure_level kl_zone_pressure_level(const struct kl_zone *zone);

#ifdef __cplusplus
}
#endif
#endif
