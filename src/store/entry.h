// SPDX-License-Identifier: Apache-2.0
/* The word of a block.
 *
 *   bits 60-61  kind (enum kl_store_kind)
 *   SAME        bits 0-31: the pattern of four bytes that is repeated
 *   COMPRESSED  bits 0-27 index and 28-43 generation of the handle, 44-59 bytes
 *   RAW         likewise, without bytes
 *   HOLE        all zero
 */
#ifndef KLI_STORE_ENTRY_H
#define KLI_STORE_ENTRY_H

#include "klotski/store.h"
#include "klotski/zsmalloc.h"

static inline enum kl_store_kind store_kind(uint64_t word)
{
    return (enum kl_store_kind)(word >> 60);
}

static inline uint32_t store_pattern(uint64_t word)
{
    return (uint32_t)word;
}

static inline uint32_t store_bytes(uint64_t word)
{
    return (uint32_t)((word >> 44) & 0xffff);
}

static inline bool store_has_object(uint64_t word)
{
    return store_kind(word) >= KL_STORE_COMPRESSED;
}

static inline kl_handle store_handle(uint64_t word, uint64_t tag)
{
    uint64_t index = word & 0xfffffff, generation = (word >> 28) & 0xffff;

    return (kl_handle){(index << 32) | (generation << 16) | tag};
}

static inline uint64_t store_word(enum kl_store_kind kind, kl_handle handle, uint32_t bytes)
{
    return ((uint64_t)kind << 60) | ((uint64_t)bytes << 44) | (((handle.v >> 16) & 0xffff) << 28) |
           (handle.v >> 32);
}

static inline uint64_t store_same(uint32_t pattern)
{
    return pattern ? ((uint64_t)KL_STORE_SAME << 60) | pattern : 0;
}

#endif
