// SPDX-License-Identifier: Apache-2.0
/* Direct pools: the user's own table of words is the pool's table of entries, so that
 * an object costs no second word.  For floors above; the store is the one that is.
 *
 *   bits  0-35  where the object is: the pool's
 *   bit  36     OBJECT: there is one; else bits 0-35 are the user's, too
 *   bit  37     CLAIMED: one thread has the object to itself: it moves it, or is about
 *               to replace it.  The object's place is not used again before that ends
 *   bits 38-63  the user's
 *
 *              swap in                    swap out (the swapper frees the object)
 *   put ----------------> resting ----------------------------------------> free
 *                          |   ^
 *                   claim  |   | unclaim, or moved (other bits 0-35)
 *                          v   |
 *                         CLAIMED ---------------------------------------> free
 *                               commit, or swap out by somebody else (in both the
 *                               claimer frees the object)
 *
 * Users change words by compare-and-swap, or exchange them; bits 0-37 of a word with an
 * object only as a whole.  Bits 38-63 may change at any time, also of a claimed word.
 *
 * (D1) An object is named by one word at most, and only by that of its own index.
 * (D2) Who swapped a word out calls zs_direct_free with it: once, whatever it was.
 * (D3) Equal bits 0-36 while CLAIMED by the same thread: the same object.  Without a
 *      claim it may be another one by now (freed, and its place used again).
 */
#ifndef KLI_ZS_DIRECT_H
#define KLI_ZS_DIRECT_H

#include "base/word.h"
#include "klotski/zsmalloc.h"

#define ZS_W_PLACE     ((UINT64_C(1) << 36) - 1)
#define ZS_W_OBJECT    (UINT64_C(1) << 36)
#define ZS_W_CLAIMED   (UINT64_C(1) << 37)
#define ZS_W_NAME      (ZS_W_PLACE | ZS_W_OBJECT)
#define ZS_W_USER_BITS 38

static inline struct kli_step zs_w_claim(uint64_t w, uint64_t name)
{
    if ((w & (ZS_W_NAME | ZS_W_CLAIMED)) != name)
        return KLI_REFUSED;
    return KLI_STEP(w | ZS_W_CLAIMED);
}

/* name: what was claimed. */
static inline struct kli_step zs_w_unclaim(uint64_t w, uint64_t name)
{
    if ((w & (ZS_W_NAME | ZS_W_CLAIMED)) != (name | ZS_W_CLAIMED))
        return KLI_REFUSED;
    return KLI_STEP(w & ~ZS_W_CLAIMED);
}

/* A pool whose entries are table[0] to table[n - 1], all zero now; it is borrowed. No
 * handles: malloc, free, read, write and pins are not for it. */
int zs_create_direct(struct kl_zone *zone, const struct kl_zs_config *config, kli_word *table,
                     uint32_t n, struct kl_zs **pool);

/* A new object with these contents for the word of this index; *name is its bits 0-36.
 * Nobody knows it until the caller swaps it in.  Errors as of kl_zs_malloc. */
int zs_direct_put(struct kl_zs *pool, uint32_t index, const void *bytes, uint32_t n, unsigned flags,
                  uint64_t *name);

/* The first n bytes of the object that this word named.  -KL_ESTALE: the word of this
 * index is another one by now, or the object is elsewhere: look again. */
int zs_direct_get(struct kl_zs *pool, uint32_t index, uint64_t word, void *buf, uint32_t n);

/* (D2) Also for a word that never was swapped in. */
void zs_direct_free(struct kl_zs *pool, uint32_t index, uint64_t word);

/* Claims the object of this word; false: claimed by somebody, or the word is another. */
bool zs_direct_claim(struct kl_zs *pool, uint32_t index, uint64_t word);

/* The end of a claim.  unclaim leaves the object where it is, unless it was swapped
 * out meanwhile.  commit puts `next` in its place and frees it; false: the object was
 * swapped out meanwhile (and is freed), `next` is not in. */
void zs_direct_unclaim(struct kl_zs *pool, uint32_t index, uint64_t word);
bool zs_direct_commit(struct kl_zs *pool, uint32_t index, uint64_t word, uint64_t next);

/* Frames that the pool has now: a load, no more. */
uint64_t zs_direct_frames(const struct kl_zs *pool);

/* What the object of this word can hold; 0: none.  Only while nothing else runs. */
size_t zs_direct_size(struct kl_zs *pool, uint64_t word);

#endif
