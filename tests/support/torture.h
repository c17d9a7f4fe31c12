// SPDX-License-Identifier: Apache-2.0
/* How every torture begins and ends: threads that go on for KLOTSKI_TORTURE_SECONDS
 * (default 5), and on until all has happened that shall happen in them; they say what is
 * wrong without stopping.
 *
 * How much a thread gets done in a second is the machine's affair: an emulated one may have
 * threads that hardly run in five.  So a torture never ends by the clock alone. */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include "support/fixture.h"

/* In a thread, before each of its operations, which are counted: shall it go on? */
bool torture_on(void);
/* Wrong things are counted, and the first of them told. */
void torture_expect(bool ok, const char *what);
/* Each isolation of a run had exactly one outcome. */
void torture_expect_outcomes(const struct kl_report *r);

/* Called while the threads run: names something that has not happened yet and shall; NULL:
 * there is nothing. */
typedef const char *torture_missing(void);

struct torture_count {
    uint64_t n;
    const char *name; /* "nothing was moved" */
};
/* The name of the first of them that is 0; NULL: there is none. */
const char *torture_first_zero(const struct torture_count *counts, unsigned n);

/* Runs them all, each with its number as its argument, until the time is over, nothing is
 * missing (NULL: nothing ever is), and they have returned.  What is missing ten minutes after
 * the time counts as wrong. */
void torture_run(void *(*const *bodies)(void *arg), unsigned n, torture_missing *missing);
/* For one with rounds of its own: shall there be another one, since it began? */
bool torture_goes_on(torture_missing *missing);
/* After the recounts; to be zero. */
uint64_t torture_wrong(void);
unsigned long long torture_ops(void);

#endif
