// SPDX-License-Identifier: Apache-2.0
/* Other processors than this machine's, for the per-CPU caches: a host is changed
 * before its zone is created (fixture_host). */
#ifndef TESTS_CPUS_H
#define TESTS_CPUS_H

#include "support/fixture.h"

enum { CPUS_SOFT = 4 };

/* Without sequences: the core locks its caches. */
void cpus_locked(struct kl_host *host);

/* CPUS_SOFT processors whose sequences are C that can be seen through: one reads
 * first, may be held up, and takes effect only if no other and no fence came in
 * between on its processor.  A thread is on processor 0 until it says otherwise. */
void cpus_soft(struct kl_host *host);
void cpus_soft_on(unsigned cpu);
/* From now on, in this thread: one call in `one_in` lets others run inside of a
 * sequence, or moves to another processor first; 0: none. */
void cpus_soft_shake(unsigned one_in, uint64_t stream);
/* Sequences of all threads that were given up because somebody came in between. */
uint64_t cpus_soft_aborts(void);

/* From now on fences of soft processors fail, or do not. */
void cpus_soft_fence_fails(bool fails);

#endif
