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
#include "klotski/shrinker.h"
#include "klotski/store.h"
#include "klotski/zsmalloc.h"

enum { STORE_CODECS = 2 };
enum { STORE_PIECE = 1024 }; /* words that a sweep takes at a time */
enum {
    STORE_NEEDS_CONTEXT = 1,
    STORE_AWAY = 2
}; /* not done: for want of a context; the block
    * is on the target */

/* A compressor context with its buffers, used by one thread at a time. */
struct store_context {
    _Alignas(64) atomic_bool busy;
    bool used; /* since somebody saw to it that idle ones go */
    void *codec[STORE_CODECS];
    char *plain;  /* one block */
    char *packed; /* one compressed block */
    char *other;  /* one block, for comparisons; NULL without duplicate detection */
};

enum store_counter {
    STORE_COMPRESSED,
    STORE_RAW,
    STORE_SAME,
    STORE_SHARED,
    STORE_WRITTEN,
    STORE_SECOND,         /* by the second compressor */
    STORE_SHARED_OBJECTS, /* shared entries in use */
    STORE_PAYLOAD,
    STORE_NOW, /* those above say what is there; the others what has happened */
    STORE_READS = STORE_NOW,
    STORE_WRITES,
    STORE_PARTS,
    STORE_DISCARDS,
    STORE_REFUSED,
    STORE_RECOMPRESSED,
    STORE_IN_VAIN,
    STORE_SAVED,
    STORE_DUPLICATES,
    STORE_COUNTERS
};

/* Of one CPU. */
struct store_counts {
    _Alignas(64) _Atomic uint64_t n[STORE_COUNTERS];
};

struct store_writeback;

struct kl_store {
    struct kl_zone *zone;
    struct kl_host host;
    struct kl_zs *zs;
    struct kl_codec codec[STORE_CODECS];
    bool has_second;
    unsigned recompress_age; /* ticks */
    uint64_t blocks;
    uint32_t block_bytes;
    uint64_t limit_bytes;
    uint32_t auto_start, auto_stop; /* automatic compaction, per cent */
    bool fixed_classes;
    kli_word *table;                               /* one word a block, then one a shared entry */
    uint64_t entries;                              /* words */
    uint64_t (*hash)(const void *bytes, size_t n); /* NULL: no duplicate detection */
    kli_word *hint;                                /* dedup.c */
    kli_word *refs;                                /* one a shared entry: references, generation */
    _Atomic uint64_t shared_free;                  /* head of the list */
    _Atomic uint64_t shared_fresh;                 /* the first that never was used */
    struct store_context *contexts;
    unsigned ncontexts;
    _Atomic unsigned live_contexts; /* that have memory */
    _Atomic uint64_t metadata_bytes;
    struct store_counts *counts; /* one set a CPU */
    _Atomic uint64_t peak_frames;
    uint64_t idle_ns; /* a tick; 0: blocks don't age by themselves */
    kl_shrinker_id shrinker;
    uint64_t tick_due; /* work.c's own */
    uint64_t rest_due; /* context.c's */
    int stage;
    _Atomic uint64_t age_cursor; /* of the sweeps under way */
    _Atomic uint64_t cold_cursor;
    _Atomic uint64_t reset_cursor;
    _Atomic uint64_t ticks;
    struct store_writeback *_Atomic writeback; /* NULL: there is no target */
};

/* store.c: memory for metadata, counted. */
void *store_meta_get(struct kl_store *store, size_t bytes);
void store_meta_put(struct kl_store *store, void *mem, size_t bytes);

/* context.c */
struct store_context *store_context_get(struct kl_store *store);
void store_context_put(struct store_context *context);
void *store_codec_context(struct kl_store *store, struct store_context *context, unsigned which);
int store_contexts_create(struct kl_store *store);
void store_contexts_free(struct kl_store *store);
uint64_t store_contexts_rest(struct kl_store *store);

/* block.c: a block's contents, out of and into a word. */
void store_fill(void *plain, uint32_t pattern, uint32_t offset, uint32_t bytes);
int store_load(struct kl_store *store, uint64_t index, uint64_t word, struct store_context *context,
               void *plain);
int store_unpack(struct kl_store *store, uint64_t word, struct store_context *context,
                 const void *packed, void *plain);
int store_make(struct kl_store *store, uint64_t index, struct store_context *context,
               const void *plain, uint64_t *word);
int store_pack(struct kl_store *store, struct store_context *context, unsigned which,
               const void *plain, uint32_t most);
int store_put(struct kl_store *store, uint64_t index, enum kl_store_kind kind, const void *bytes,
              uint32_t n, uint64_t *word);
int store_find_free(struct kl_store *store);

/* shared.c */
static inline kli_word *store_refs(const struct kl_store *store, uint64_t index)
{
    return &store->refs[index - store->blocks];
}
int store_shared_new(struct kl_store *store, uint64_t like, const void *bytes, uint64_t *word);
bool store_shared_get(struct kl_store *store, uint64_t index, uint64_t *word);
void store_shared_put(struct kl_store *store, uint64_t word);
int store_shared_load(struct kl_store *store, uint64_t block, uint64_t word,
                      struct store_context *context, void *plain);

/* dedup.c */
size_t store_hints(const struct kl_store *store);
bool store_find_equal(struct kl_store *store, uint64_t block, struct store_context *context,
                      const void *plain, uint64_t *word);

/* io.c: words that are swapped. */
bool store_replace(struct kl_store *store, uint64_t index, uint64_t seen, uint64_t next);
void store_drop(struct kl_store *store, uint64_t index, uint64_t old);

/* count.c */
void store_add(struct kl_store *store, enum store_counter which, uint64_t n);
void store_tick(struct kl_store *store, enum store_counter which);
uint64_t store_sum(const struct kl_store *store, enum store_counter which);
uint64_t store_payload(const struct kl_store *store, uint64_t word);
void store_weigh(const struct kl_store *store, uint64_t index, uint64_t word,
                 uint64_t n[STORE_COUNTERS]);
void store_count(struct kl_store *store, uint64_t index, uint64_t word, int sign);

/* writeback.c, wb_*.c */
void store_writeback_end(struct kl_store *store);
bool store_make_room(struct kl_store *store, uint64_t *until);
void store_watch_frames(struct kl_store *store, uint64_t frames);
/* For the shrinker: blocks that could be written back, as its count; and has some of them
 * written, the oldest first, at mild priorities only those of the config's age: how many. */
uint64_t store_cold_blocks(struct kl_store *store);
uint64_t store_cold_begin(struct kl_store *store, uint64_t blocks, unsigned priority);
void store_written_free(struct kl_store *store, uint64_t word);
int store_read_away(struct kl_store *store, uint64_t block, uint64_t word, uint32_t offset,
                    void *buf, uint32_t len);
int store_bring_back(struct kl_store *store, uint64_t block);
const char *store_writeback_check(struct kl_store *store);

/* age.c */
uint64_t store_sweep(struct kl_store *store, _Atomic uint64_t *cursor, uint64_t budget,
                     bool (*each)(struct kl_store *store, uint64_t index, void *arg), void *arg);

/* cold.c.  What was done is added up; left is of the sweep. */
struct store_cold {
    uint64_t tried;
    uint64_t saved; /* bytes */
    uint64_t left;  /* words */
};
int store_recompress(struct kl_store *store, uint64_t budget, struct store_cold *done);

/* work.c */
int store_work_begin(struct kl_store *store);
int store_work_end(struct kl_store *store);

#endif
