// SPDX-License-Identifier: Apache-2.0
/* How every torture begins and ends: threads that go on for KLOTSKI_TORTURE_SECONDS
 * (default 5), and say what is wrong without stopping. */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include "support/fixture.h"

/* In a thread, before each of its operations, which are counted: shall it go on? */
bool torture_on(void);
/* Wrong things are counted, and the first of them told. */
void torture_expect(bool ok, const char *what);

/* Runs them all, each with its number as its argument, until the time is over and they
 * have returned. */
void torture_run(void *(*const *bodies)(void *arg), unsigned n);
/* After the recounts; to be zero. */
uint64_t torture_wrong(void);
unsigned long long torture_ops(void);

#endif
