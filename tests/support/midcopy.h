// SPDX-License-Identifier: Apache-2.0
/* In the middle of a copy: a buffer whose second half can't be touched, until somebody
 * does who copies into it; he stands there while another thread acts, and then goes on. */
#ifndef TESTS_MIDCOPY_H
#define TESTS_MIDCOPY_H

#include "support/fixture.h"

/* false: not here.  Of two threads of an i386 program, qemu's user mode gives the one that
 * returns from a signal the other one's thread-local variables (one table of segments for
 * both); so what is in the middle of a copy can't go on. */
bool midcopy_can(void);

/* Two pages; the one test of a program that uses it has it to itself. */
char *midcopy_begin(void (*act)(void));
/* true: somebody came by, and `act` was done then. */
bool midcopy_end(void);

#endif
