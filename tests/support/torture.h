// SPDX-License-Identifier: Apache-2.0
/* How every torture begins and ends: threads that go on for KLOTSKI_TORTURE_SECONDS
 * (default 5), and say what is wrong without stopping. */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include "support/fixture.h"

/* What has not happened after so many times the length, will not. */
enum { TORTURE_PATIENCE = 20 };

/* KLOTSKI_TORTURE_SECONDS, or 5. */
unsigned torture_seconds(void);
/* In a thread, before each of its operations, which are counted: shall it go on? */
bool torture_on(void);
/* Wrong things are counted, and the first of them told. */
void torture_expect(bool ok, const char *what);

/* Runs them all, each with its number as its argument, until the time is over and they
 * have returned.  On a slow machine not everything that shall happen has happened then: it goes
 * on, up to TORTURE_PATIENCE times as long, until covered (may be NULL) says so. */
void torture_run(void *(*const *bodies)(void *arg), unsigned n, bool (*covered)(void));
/* After the recounts; to be zero. */
uint64_t torture_wrong(void);
unsigned long long torture_ops(void);

#endif
