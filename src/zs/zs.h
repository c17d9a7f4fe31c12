// SPDX-License-Identifier: Apache-2.0
/* zsmalloc's private shape.
 *
 * A zspage is a chain of single frames that holds objects of one class, packed;
 * its descriptor (struct zspage) has the chain, and one slot an object: whose it
 * is, or the next free one.  A handle's entry names (zspage, index, generation);
 * migrating a frame therefore rewrites one place of the chain, no entries.
 *
 * Who may touch what
 *   class lock      the class's lists; of its zspages: live, free slots, slots,
 *                   isolated, flags
 *   zspage->users   > 0: the chain is fixed, objects may be read and written;
 *                   ZS_WRITER: one thread may copy and rewrite the chain, or move
 *                   the objects away
 *   entry           changes by compare-and-swap only (entry.h)
 *
 * Lock order: frame -> class -> (handles, arena, deferred).  Entries are claimed
 * before the class lock by their users, only tried with the class lock held.
 * WRITER is tried under the class lock, never waited for.
 *
 * A zspage's life
 *
 *               last object freed                    frames locked, no users
 *   listed  ------------------------------> EMPTY ----------------------------> gone
 *    |  ^     (off the list, on the          ^
 *    |  | last   deferred list unless        | last object freed
 *    |  | done    it can go at once)         |
 *    v  |                                    |
 *   isolated (off the list; counts) ---------'
 *
 * Invariants
 * (Z1) A zspage is on the list of its fullness group iff isolated == 0, and
 *      neither EMPTY nor COMPACTING.
 * (Z2) Its frames carry its id and their place in the chain as private word, from
 *      before they can be isolated until all of them are locked for freeing.
 *      Hence a callback that runs with such a frame locked and movable may use the
 *      descriptor.
 * (Z3) A descriptor is never given back to the host, nor used for another class,
 *      before the pool is destroyed.
 * (Z4) live + length of the free list == objects of the class.
 */
#ifndef KLI_ZS_ZS_H
#define KLI_ZS_ZS_H

#include "base/bits.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/trace.h"
#include "klotski/movable.h"
#include "klotski/shrinker.h"
#include "klotski/zsmalloc.h"

enum {
    ZS_ALIGN = 8,
    ZS_MAX_CHAIN = 32,
    ZS_MAX_CLASSES = 512,
    ZS_GROUPS = 12, /* 0 empty, 1-10 deciles, 11 full */
    ZS_FULL = 11,
    ZS_CHUNKS = 20,
    ZS_CHUNK0_LOG2 = 10, /* chunk i has 2^(10 + i) elements */
    ZS_MAX_HANDLES = 1 << 28,
};

#define ZS_WRITER    UINT32_C(0x80000000)
#define ZS_SLOT_LIVE UINT32_C(0x80000000)
#define ZS_NO_SLOT   UINT32_C(0xffff)

/* A table that grows in chunks and never moves: an index finds its element. */
struct zs_table {
    _Atomic(char *) chunk[ZS_CHUNKS];
    uint32_t element_bytes;
    uint32_t used; /* elements handed out so far; under the lock of its user */
};

enum zs_flags {
    ZS_EMPTY = 1u << 0,      /* no objects; waits to be freed */
    ZS_COMPACTING = 1u << 1, /* object compaction moves its objects away */
};

struct zspage {
    _Atomic uint32_t users;
    uint32_t id;
    uint32_t next, prev; /* in the list of its group, or next of the deferred list */
    uint16_t class_index;
    uint16_t live;
    uint16_t free_slot;
    uint16_t isolated;
    uint8_t flags;
    uint8_t group;
    _Atomic uint32_t frame[]; /* the chain, then the slots */
};

struct zs_class {
    struct kli_lock lock;
    uint32_t index;
    uint32_t size;
    uint32_t chain;   /* frames a zspage */
    uint32_t objects; /* a zspage */
    uint32_t zspages; /* all of them, isolated and empty ones too */
    uint32_t free_descriptors;
    uint64_t live;
    uint32_t list[ZS_GROUPS]; /* head ids */
    uint32_t count[ZS_GROUPS];
};

struct kl_zs {
    struct kl_zone *zone;
    struct kl_host host;
    kl_owner_id owner;
    kl_shrinker_id shrinker;
    uint64_t tag; /* in place, in the handle's low 16 bits */
    unsigned frame_shift;
    uint32_t typical_bytes; /* what the classes are planned for; 0: nobody knows */
    atomic_bool dying;
    atomic_bool compacting;

    _Atomic(uint64_t) *direct; /* the user's words (direct.h), or NULL */
    uint32_t direct_n;

    struct zs_class *classes;
    uint32_t nclasses;
    uint64_t limit_frames;
    _Atomic uint64_t frames; /* of all zspages */
    uint16_t *class_of;      /* by (size - 1) / ZS_ALIGN */

    struct kli_lock handles_lock;
    struct zs_table handles;            /* of kli_word */
    uint32_t handle_first, handle_last; /* free entries, first in, first out; + 1 */

    struct kli_lock arena_lock;
    struct zs_table arena; /* of 64 bytes; a zspage takes several in a row */

    struct kli_lock deferred_lock;
    uint32_t deferred; /* ids */
    _Atomic uint32_t deferred_count;

    _Atomic uint64_t metadata_bytes;
    _Atomic uint64_t objects_moved;
    _Atomic uint64_t frames_freed;
    _Atomic uint64_t frames_migrated;
};

/* table.c */
void *zs_table_at(const struct zs_table *table, uint32_t index);
int zs_table_grow(struct kl_zs *pool, struct zs_table *table, uint32_t n, uint32_t *first);
void zs_table_free(struct kl_zs *pool, struct zs_table *table);

/* class.c */
int zs_classes_create(struct kl_zs *pool);
void zs_classes_free(struct kl_zs *pool);

/* zspage.c */
static inline struct zspage *zs_page(const struct kl_zs *pool, uint32_t id)
{
    return zs_table_at(&pool->arena, id);
}
static inline uint32_t *zs_slots(struct zspage *page, const struct zs_class *class)
{
    return (uint32_t *)(void *)(page->frame + class->chain);
}
static inline struct zs_class *zs_class_of(struct kl_zs *pool, const struct zspage *page)
{
    return &pool->classes[page->class_index];
}
int zs_page_create(struct kl_zs *pool, struct zs_class *class, unsigned flags);
void zs_page_list(struct kl_zs *pool, struct zs_class *class, struct zspage *page);
void zs_page_unlist(struct kl_zs *pool, struct zs_class *class, struct zspage *page);
void zs_page_refile(struct kl_zs *pool, struct zs_class *class, struct zspage *page);
uint32_t zs_slot_take(struct zs_class *class, struct zspage *page, uint32_t handle);
bool zs_slot_free(struct kl_zs *pool, struct zs_class *class, struct zspage *page, uint32_t slot);
uint32_t zs_page_bury(struct kl_zs *pool, struct zspage *page);
uint64_t zs_drain_deferred(struct kl_zs *pool);

/* users of a zspage */
bool zs_users_try(struct zspage *page);
void zs_users_drop(struct zspage *page);
bool zs_writer_try(struct zspage *page);
void zs_writer_drop(struct zspage *page);

/* object.c: bytes of objects; the chain is fixed by the caller. */
void *zs_object_run(const struct kl_zs *pool, struct zspage *page, size_t at, size_t *len);
void zs_object_copy(struct kl_zs *pool, struct zspage *dst, uint32_t to, struct zspage *src,
                    uint32_t from);

/* handle.c: entries, claimed by one thread or pinned by some. */
int zs_handle_new(struct kl_zs *pool, uint32_t *index);
void zs_handle_release(struct kl_zs *pool, uint32_t index);
void zs_object_gone(struct kl_zs *pool, uint32_t index);

/* compact.c: until `budget` objects were moved or `frames` frames freed. */
struct zs_goal {
    uint32_t budget; /* 0: no bound */
    uint64_t frames;
    bool may_wait; /* for a class lock */
};
int64_t zs_compact(struct kl_zs *pool, const struct zs_goal *goal);
uint64_t zs_class_freeable(const struct zs_class *class);

/* shrinker.c */
int zs_shrinker_register(struct kl_zs *pool, const char *name);
int zs_shrinker_unregister(struct kl_zs *pool);

/* migrate.c */
extern const struct kl_owner_ops zs_owner_ops;

#endif
