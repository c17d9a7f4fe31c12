// SPDX-License-Identifier: Apache-2.0
/* hash.c - a hash for duplicate detection: XXH3, faster than the memory that it reads. */
#include "internal.h"

#include <xxhash.h>

uint64_t kl_linux_hash(const void *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}
