// SPDX-License-Identifier: Apache-2.0
/* One thing in the middle of another: thread A, the test's own, stands at a trace point
 * while thread B does something, and goes on when B has done it, or waits for A: its host
 * is told to relax, or to wait.  So no order hangs the test, and none is left to chance.
 * Trace points are in debug builds. */
#ifndef TESTS_MEANWHILE_H
#define TESTS_MEANWHILE_H

#include "support/fixture.h"

#include "base/trace.h"

/* For fixture_host: who waits says so. */
void meanwhile_host(struct kl_host *host);

/* B acts when A comes to that point for the nth time; or whenever A's host is asked for
 * the processor (any host call that is on a frame's way), with MEANWHILE_CPU. */
enum { MEANWHILE_CPU = KLI_TRACE_COUNT, MEANWHILE_NEVER };
void meanwhile(unsigned point, unsigned nth, void (*act)(void));
/* B acts now. */
void meanwhile_now(void);
bool meanwhile_over(void);   /* B has ended */
bool meanwhile_waited(void); /* B had to wait for something, at some time */
/* Waits for B's end; false: A never came there, and B never began. */
bool meanwhile_end(void);

#endif
