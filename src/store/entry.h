// SPDX-License-Identifier: Apache-2.0
/* The word of a block: an entry of a direct pool (zs/direct.h).
 *
 *   bits  0-37  the pool's, where there is an object.  Without one (bits 36 and 37 are 0):
 *               SAME     bits 0-31 are the pattern of four bytes that is repeated
 *               SHARED   bits 0-31 are the index of the shared entry (shared.c), bits 32-35
 *                        and 48-63 its generation
 *               WRITTEN  bits 0-35 are the slot of the write-back target
 *   bits 38-40  kind (enum kl_store_kind)
 *   bit  41     COMPRESSED, WRITTEN: codec; 0 the first, 1 the second
 *   bits 42-43  COMPRESSED, RAW: age, in ticks since the last access, 3 at most
 *   bit  44     COMPRESSED, RAW: TRIED, the second codec gains nothing here
 *   bit  45     COMPRESSED, RAW: WRITING, a copy is on its way to the target (writeback.h)
 *   bits 46-47  0
 *   bits 48-63  COMPRESSED, WRITTEN: bytes; 0 for WRITTEN: a whole block, raw
 *   HOLE        all zero
 *
 * (W1) A word with an object changes by exchange, by commit, or by an edge that touches
 *      age, TRIED and WRITING alone, which may be taken while it is claimed.
 * (W2) A word without an object says its contents by itself: the same 64 bits again are
 *      the same contents again, even if there were others in between.  SHARED and
 *      WRITTEN need a generation for that, or their number must not be used again so soon.
 * (W3) Behind the blocks' words come those of shared entries: with an object, COMPRESSED
 *      or RAW; without one, a link of their list of free ones.
 */
#ifndef KLI_STORE_ENTRY_H
#define KLI_STORE_ENTRY_H

#include "klotski/store.h"
#include "zs/direct.h"

enum {
    STORE_W_KIND_SHIFT = ZS_W_USER_BITS,
    STORE_W_CODEC_SHIFT = 41,
    STORE_W_AGE_SHIFT = 42,
    STORE_W_BYTES_SHIFT = 48,
    STORE_W_AGE_MAX = 3,
};

#define STORE_W_AGE     ((uint64_t)STORE_W_AGE_MAX << STORE_W_AGE_SHIFT)
#define STORE_W_TRIED   (UINT64_C(1) << 44)
#define STORE_W_WRITING (UINT64_C(1) << 45)
/* Not about the contents. */
#define STORE_W_NOTES (STORE_W_AGE | STORE_W_TRIED | STORE_W_WRITING | ZS_W_CLAIMED)

static inline enum kl_store_kind store_kind(uint64_t word)
{
    return (enum kl_store_kind)kli_field(word, STORE_W_KIND_SHIFT, 3);
}

static inline uint32_t store_pattern(uint64_t word)
{
    return (uint32_t)word;
}

static inline uint32_t store_bytes(uint64_t word)
{
    return (uint32_t)kli_field(word, STORE_W_BYTES_SHIFT, 16);
}

static inline bool store_has_object(uint64_t word)
{
    return word & ZS_W_OBJECT;
}

/* HOLE or SAME. */
static inline bool store_is_pattern(uint64_t word)
{
    return store_kind(word) <= KL_STORE_SAME;
}

static inline unsigned store_codec(uint64_t word)
{
    return (unsigned)kli_field(word, STORE_W_CODEC_SHIFT, 1);
}

static inline unsigned store_age(uint64_t word)
{
    return (unsigned)kli_field(word, STORE_W_AGE_SHIFT, 2);
}

/* name: bits 0-37, or what stands there. */
static inline uint64_t store_word(enum kl_store_kind kind, uint64_t name, uint32_t bytes)
{
    return name | (uint64_t)kind << STORE_W_KIND_SHIFT | (uint64_t)bytes << STORE_W_BYTES_SHIFT;
}

static inline uint64_t store_with_codec(uint64_t word, unsigned codec)
{
    return word | (uint64_t)codec << STORE_W_CODEC_SHIFT;
}

static inline uint64_t store_same(uint32_t pattern)
{
    return pattern ? store_word(KL_STORE_SAME, pattern, 0) : 0;
}

static inline uint64_t store_shared_word(uint32_t index, uint32_t generation)
{
    return store_word(KL_STORE_SHARED, index | (uint64_t)(generation & 15) << 32,
                      generation >> 4 & 0xffff);
}

static inline uint64_t store_shared_index(uint64_t word)
{
    return (uint32_t)word;
}

/* An access: refused when the word is young already, so that most write nothing. */
static inline struct kli_step store_w_touch(uint64_t word, uint64_t arg)
{
    (void)arg;
    if (store_age(word) == 0 || !store_has_object(word))
        return KLI_REFUSED;
    return KLI_STEP(word & ~STORE_W_AGE);
}

/* A tick passed. */
static inline struct kli_step store_w_age(uint64_t word, uint64_t arg)
{
    (void)arg;
    if (!store_has_object(word) || store_age(word) == STORE_W_AGE_MAX)
        return KLI_REFUSED;
    return KLI_STEP(word + (UINT64_C(1) << STORE_W_AGE_SHIFT));
}

/* name: bits 0-36 of a word that the caller has claimed. */
static inline struct kli_step store_w_tried(uint64_t word, uint64_t name)
{
    if ((word & (ZS_W_NAME | ZS_W_CLAIMED)) != (name | ZS_W_CLAIMED))
        return KLI_REFUSED;
    return KLI_STEP(word | STORE_W_TRIED);
}

#endif
