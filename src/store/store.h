// SPDX-License-Identifier: Apache-2.0
/* The store's private shape.
 *
 * One word a block says what it is and where (entry.h): the entry of its object in a
 * direct pool.  A write makes a new object and swaps the word, then frees the old one;
 * a reader whose object is freed or moved under it gets -KL_ESTALE and looks at the word
 * again.  A write of a part claims the object while it reads it, so that the word it
 * replaces is the one it read; who wants to do the same waits for it, who overwrites
 * the block does not.
 *
 * (S1) An object is named by at most one word, and by one from its swap in to its
 *      swap out.
 * (S2) The counts by kind are never below what is there: up before a swap in, down
 *      after a swap out.
 */
#ifndef KLI_STORE_STORE_H
#define KLI_STORE_STORE_H

#include "base/bits.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/word.h"
#include "klotski/store.h"
#include "klotski/zsmalloc.h"

/* A compressor context with its buffers, used by one thread at a time. */
struct store_context {
    _Alignas(64) atomic_bool busy;
    void *codec;
    char *plain;  /* one block */
    char *packed; /* one compressed block */
};

enum store_counter {
    STORE_COMPRESSED,
    STORE_RAW,
    STORE_SAME,
    STORE_SHARED,
    STORE_WRITTEN,
    STORE_PAYLOAD,
    STORE_READS,
    STORE_WRITES,
    STORE_DISCARDS,
    STORE_REFUSED,
    STORE_COUNTERS
};

enum { STORE_PIECE = 1024 }; /* words that a sweep takes at a time */

struct kl_store {
    struct kl_zone *zone;
    struct kl_host host;
    struct kl_zs *zs;
    struct kl_codec codec;
    uint64_t blocks;
    uint32_t block_bytes;
    uint64_t limit_bytes;
    kli_word *table; /* one word a block */
    uint64_t entries;
    struct store_context *contexts;
    unsigned ncontexts;
    _Atomic uint64_t metadata_bytes;
    _Atomic uint64_t counter[STORE_COUNTERS];
    _Atomic uint64_t age_cursor;
    _Atomic uint64_t ticks;
};

/* context.c */
struct store_context *store_context_get(struct kl_store *store);
void store_context_put(struct store_context *context);
int store_contexts_create(struct kl_store *store);
void store_contexts_free(struct kl_store *store);

/* block.c: a block's contents, out of and into a word. */
int store_load(struct kl_store *store, uint64_t block, uint64_t word, struct store_context *context,
               void *plain);
int store_make(struct kl_store *store, uint64_t block, struct store_context *context,
               const void *plain, uint64_t *word);
void store_count(struct kl_store *store, uint64_t word, int sign);
int store_find_free(struct kl_store *store);

/* age.c */
uint64_t store_sweep(struct kl_store *store, _Atomic uint64_t *cursor, uint64_t budget,
                     bool (*each)(struct kl_store *store, uint64_t index, void *arg), void *arg);

#endif
