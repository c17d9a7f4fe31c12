// SPDX-License-Identifier: Apache-2.0
/* The compiler's own limits.h reaches for the system's; these are the ones that
 * the core may use, from what the compiler predefines. */
#ifndef KLOTSKI_FREESTANDING_LIMITS_H
#define KLOTSKI_FREESTANDING_LIMITS_H

#define CHAR_BIT   __CHAR_BIT__
#define INT_MAX    __INT_MAX__
#define INT_MIN    (-INT_MAX - 1)
#define UINT_MAX   (INT_MAX * 2U + 1U)
#define LONG_MAX   __LONG_MAX__
#define ULONG_MAX  (LONG_MAX * 2UL + 1UL)
#define LLONG_MAX  __LONG_LONG_MAX__
#define ULLONG_MAX (LLONG_MAX * 2ULL + 1ULL)

#endif
