// SPDX-License-Identifier: Apache-2.0
/* In the middle of a copy: a buffer whose second half can't be touched, until somebody
 * does who copies into it; he stands there while another thread acts, and then goes on. */
#ifndef TESTS_MIDCOPY_H
#define TESTS_MIDCOPY_H

#include "support/fixture.h"

/* Two pages; the one test of a program that uses it has it to itself. */
char *midcopy_begin(void (*act)(void));
/* true: somebody came by, and `act` was done then. */
bool midcopy_end(void);

#endif
