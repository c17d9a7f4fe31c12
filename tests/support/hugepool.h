// SPDX-License-Identifier: Apache-2.0
/* Huge pages for a test program: a few are reserved, and the number is put back.  The
 * pool is one for the machine, so a lock keeps test programs apart. */
#ifndef TESTS_HUGEPOOL_H
#define TESTS_HUGEPOOL_H

#include "support/fixture.h"

/* At least n free pages of that kind if they can be had: true.  Else says why not. */
bool hugepool_reserve(enum kl_linux_kind kind, unsigned n);
/* Puts back what was reserved. */
void hugepool_restore(void);

#endif
