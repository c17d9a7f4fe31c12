// SPDX-License-Identifier: Apache-2.0
/* Assertion tiers.
 *
 * KLI_REQUIRE  always on: what would corrupt memory if it went on.
 * KLI_ASSERT   in debug builds (KL_DEBUG); still type-checked when off.
 */
#ifndef KLI_BASE_CHECK_H
#define KLI_BASE_CHECK_H

#include "klotski/host.h"

#ifndef KL_DEBUG
#define KL_DEBUG 0
#endif

/* Not on the fast path: kept out of it, whose registers it would take. */
#define KLI_NOINLINE __attribute__((noinline))

#define KLI_REQUIRE(host, cond)                                                                    \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            (host)->fatal((host)->ctx, #cond, __FILE__, __LINE__);                                 \
    } while (0)

#define KLI_ASSERT(host, cond)                                                                     \
    do {                                                                                           \
        if (KL_DEBUG)                                                                              \
            KLI_REQUIRE(host, cond);                                                               \
    } while (0)

#endif
