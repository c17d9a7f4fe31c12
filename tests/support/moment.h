// SPDX-License-Identifier: Apache-2.0
/* What one thread would do in the midst of another's call, done there: at a trace point that
 * the call passes, on its own thread.  Debug builds only. */
#ifndef TESTS_MOMENT_H
#define TESTS_MOMENT_H

#include "base/trace.h"
#include "support/fixture.h"

/* At the nth passing of the point from now on, once; i: 0 or 1, two may be awaited. */
void moment_at(unsigned i, int point, unsigned nth, void (*act)(void));
/* Both have come, or were not awaited. */
void moments_came(void);
/* For fixture_host: time passes with each wait of the library, a millisecond, and not else. */
void moment_clock(struct kl_host *host);

#endif
