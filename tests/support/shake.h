// SPDX-License-Identifier: Apache-2.0
/* Moves frames for the sake of moving them: the library itself moves no more than
 * it must. */
#ifndef TESTS_SHAKE_H
#define TESTS_SHAKE_H

#include "support/fixture.h"

/* Empties the block into others, as far as it goes; *report adds up. */
void shake_block(struct kl_zone *zone, uint32_t block, enum kl_mode mode, struct kl_report *report);

#endif
