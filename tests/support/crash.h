// SPDX-License-Identifier: Apache-2.0
/* A long test that dies says where: seed, seconds, signal, address, and the calls that led
 * there, of whatever thread it was.  (cmocka's own handler ends a thread other than
 * the main one with status 255 and not a word.) */
#ifndef TESTS_CRASH_H
#define TESTS_CRASH_H

/* From within the test, for cmocka sets its handlers when a test begins. */
void crash_watch(void);

#endif
