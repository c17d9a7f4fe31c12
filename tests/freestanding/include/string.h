// SPDX-License-Identifier: Apache-2.0
/* All that the core may ask of a C library.  core_freestanding is compiled with
 * this header instead of the system's, so a call of anything else is an error. */
#ifndef KLOTSKI_FREESTANDING_STRING_H
#define KLOTSKI_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t bytes);
void *memmove(void *dst, const void *src, size_t bytes);
void *memset(void *dst, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#endif
