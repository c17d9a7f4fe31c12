// SPDX-License-Identifier: Apache-2.0
/* The word of a block: an entry of a direct pool (zs/direct.h).
 *
 *   bits  0-37  the pool's, where there is an object; SAME: bits 0-31 are the pattern of
 *               four bytes that is repeated
 *   bits 38-40  kind (enum kl_store_kind)
 *   bits 48-63  COMPRESSED: bytes
 *   HOLE        all zero
 */
#ifndef KLI_STORE_ENTRY_H
#define KLI_STORE_ENTRY_H

#include "klotski/store.h"
#include "zs/direct.h"

static inline enum kl_store_kind store_kind(uint64_t word)
{
    return (enum kl_store_kind)kli_field(word, ZS_W_USER_BITS, 3);
}

static inline uint32_t store_pattern(uint64_t word)
{
    return (uint32_t)word;
}

static inline uint32_t store_bytes(uint64_t word)
{
    return (uint32_t)kli_field(word, 48, 16);
}

static inline bool store_has_object(uint64_t word)
{
    return word & ZS_W_OBJECT;
}

static inline uint64_t store_word(enum kl_store_kind kind, uint64_t name, uint32_t bytes)
{
    return name | (uint64_t)kind << ZS_W_USER_BITS | (uint64_t)bytes << 48;
}

static inline uint64_t store_same(uint32_t pattern)
{
    return pattern ? store_word(KL_STORE_SAME, pattern, 0) : 0;
}

#endif
