// SPDX-License-Identifier: Apache-2.0
/* zsmalloc's private shape.
 *
 * A zspage is a chain of single frames that holds objects of one class, packed.  It gets
 * its frames one after the other, as its slots come into use, so that the last one of a
 * class wastes half a frame and not half a chain; object compaction takes the last ones
 * away again.  Its descriptor (struct zspage) has the chain, and one slot an object.
 *
 * An object has an entry, one word that says where it is: (zspage, slot).  Entries are
 * the pool's own, named by handles (entry.h), or the words of its user's table
 * (direct.h).  Migrating a frame rewrites one place of the chain, no entries.  A slot
 * knows its entry but roughly, by a region of entries that object compaction searches
 * (back.c): two bytes an object.
 *
 * Who may touch what
 *   class lock      the class's lists; of its zspages: live, ready, free slots, slots,
 *                   frames, isolated, flags; told
 *   zspage->users   > 0: the chain is fixed, objects may be read and written;
 *                   ZS_WRITER: one thread may copy and rewrite the chain, move its
 *                   objects away, or free it
 *   entry           changes by compare-and-swap only (entry.h, direct.h)
 *
 * Readers that only copy out take none of these: they look, copy, and look again
 * (read.c).  Hence
 *   - whoever rewrites a chain or frees frames of it holds WRITER, whose end changes
 *     users;
 *   - whoever puts an object into a slot, or wipes one, changes puts before a byte of it
 *     is written;
 *   - a frame that left a chain may still be read: its memory must be there until the
 *     last look is over (frame/look.h).
 *
 * Lock order: frame -> (kept ->) class -> (stock, handles, arena, deferred).  Entries are claimed
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
 * (Z1) A zspage is on the list of its group iff isolated == 0, and neither EMPTY nor
 *      COMPACTING.
 * (Z2) Its frames carry its id and their place in the chain as private word, from
 *      before they can be isolated until they are locked for freeing.
 *      Hence a callback that runs with such a frame locked and movable may use the
 *      descriptor.
 * (Z3) A descriptor is never given back to the host, nor used for another class,
 *      before the pool is destroyed; and its users and puts are never reset.
 * (Z4) live + length of the free list == ready, the slots that the frames hold whole.
 * (Z5) In a pool that is not direct, the note of a zspage's id (zs_page_class) is its
 *      class_index, from before an entry names it, for good.
 */
#ifndef KLI_ZS_ZS_H
#define KLI_ZS_ZS_H

#include "base/bits.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/word.h"
#include "klotski/movable.h"
#include "klotski/shrinker.h"
#include "klotski/zsmalloc.h"

#ifndef KL_HARDENED
#define KL_HARDENED 0
#endif

enum {
    ZS_ALIGN = 8,
    ZS_GUARD_BYTES = KL_HARDENED ? 8 : 0, /* an object (guard.h) */
    ZS_MAX_CHAIN = 32,
    ZS_MAX_OBJECTS = 512, /* a zspage */
    ZS_MAX_CLASSES = 512,
    ZS_GROUPS = 13,
    ZS_FULL = 11,        /* 0 empty, 1-10 deciles, 11 full */
    ZS_GROWABLE = 12,    /* full, but not all of its frames are there yet */
    ZS_GRANULE_LOG2 = 4, /* descriptors, bytes */
    ZS_ENTRY_LOG2 = 3,
    ZS_CHUNKS = 20,
    ZS_CHUNK0_LOG2 = 10, /* chunk i has 2^(10 + i) elements */
    ZS_MAX_PAGES = 1 << 27,
    ZS_MAX_HANDLES = 1 << 28,
};

#define ZS_WRITER    UINT32_C(0x80000000) /* users: bits 0-11 how many; above, a sequence */
#define ZS_USERS     UINT32_C(0xfff)
#define ZS_SLOT_LIVE UINT16_C(0x8000) /* and the region of its entry; else the next free */
#define ZS_NO_SLOT   UINT16_C(0x7fff)

/* Where an object is: bits 0-35 of its entry. */
#define ZS_PLACE_BITS 36
static inline uint64_t zs_place(uint32_t page, uint32_t slot)
{
    return page | (uint64_t)slot << 27;
}
static inline uint32_t zs_place_page(uint64_t entry)
{
    return (uint32_t)kli_field(entry, 0, 27);
}
static inline uint32_t zs_place_slot(uint64_t entry)
{
    return (uint32_t)kli_field(entry, 27, 9);
}

/* A table that grows in chunks and never moves: an index finds its element. */
struct zs_table {
    _Atomic(char *) chunk[ZS_CHUNKS];
    uint32_t log2; /* bytes of an element */
    bool noted;    /* it has notes, two bytes for every two elements */
    uint32_t max;  /* elements */
    uint32_t used; /* elements handed out so far; under the lock of its user */
};

enum zs_flags {
    ZS_EMPTY = 1u << 0,      /* no objects; waits to be freed */
    ZS_COMPACTING = 1u << 1, /* being emptied, and not to be filed, in one hold of the lock */
};

struct zs_shape; /* plan.h */
struct zs_stock; /* handle.c */

struct zspage {
    _Atomic uint32_t users;
    _Atomic uint32_t puts;
    uint32_t id;
    uint32_t next, prev; /* in the list of its group, or next of the deferred list */
    uint16_t class_index;
    uint16_t live;
    uint16_t ready;
    uint16_t free_slot;
    uint8_t isolated;
    uint8_t flags;
    uint8_t group;
    uint8_t frames;           /* that are there, the first ones of the chain */
    _Atomic uint32_t frame[]; /* the chain, then the slots */
};

struct zs_class {
    _Alignas(64) struct kli_lock lock;
    uint32_t index;
    uint32_t size;
    uint32_t chain;   /* frames a zspage */
    uint32_t objects; /* a zspage */
    uint32_t tenth;   /* of 2^20, for an object in a zspage: ten over objects, rounded up */
    uint32_t filled;  /* groups that have a zspage, a bit each */
    uint32_t zspages; /* all of them, isolated and empty ones too */
    uint32_t free_descriptors;
    uint64_t frames; /* of its zspages */
    uint64_t live;
    uint64_t ready;
    uint64_t tell_below, tell_above; /* free slots beyond which it tells (auto.c) */
    uint64_t told;                   /* frames */
    uint32_t lump;
    atomic_bool retired;      /* no size is its any more (learn.c) */
    _Atomic uint32_t keeps;   /* objects, a CPU (kept.c); under the kept lock */
    uint32_t list[ZS_GROUPS]; /* head ids */
    uint32_t count[ZS_GROUPS];
};

struct kl_zs {
    /* What malloc and free look at, and nobody changes often. */
    struct kl_zone *zone;
    struct kl_host host;
    kl_owner_id owner;
    kl_shrinker_id shrinker;
    uint64_t tag; /* in place, in the handle's low 16 bits */
#if KL_HARDENED
    uint64_t secret, mark; /* guard.h */
#endif
    unsigned frame_shift;
    uint32_t typical_bytes; /* what the classes are planned for; 0: nobody knows */
    atomic_bool dying;
    atomic_bool kept_wanted; /* background work knows */
    _Atomic uint32_t deferred_count;

    kli_word *direct; /* the user's words (direct.h), or NULL */
    uint32_t direct_n;
    unsigned direct_shift; /* a region has 2^direct_shift of them */

    struct kl_cpu_stack *kept;  /* free objects at hand (kept.c), or NULL */
    _Atomic uint16_t *class_of; /* by (slot - 1) / ZS_ALIGN */
    struct zs_class *classes;
    _Atomic uint32_t nclasses;
    uint32_t room; /* for so many classes */
    uint64_t limit_frames;
    struct zs_table handles; /* of kli_word */
    struct zs_table arena;   /* of granules; a zspage takes several in a row */
    struct zs_stock *stock;  /* free handles, by CPU (handle.c) */
    unsigned stock_mask;

    /* learn.c */
    _Atomic(uint32_t *) seen; /* objects by slot, as class_of; NULL: not counted */
    uint32_t seen_sizes;
    bool fixed_classes;
    atomic_bool learned;
    _Atomic uint64_t learn_at; /* frames */
    _Atomic uint64_t learn_saving;

    uint32_t auto_start, auto_stop; /* automatic compaction, per cent (auto.c) */

    /* What changes. */
    _Alignas(64) atomic_bool compacting;
    _Atomic uint64_t frames;      /* of all zspages */
    _Atomic int64_t freeable;     /* frames, about (auto.c) */
    _Atomic uint64_t learn_moved; /* bytes out of retired classes */

    struct kli_lock kept_lock;
    uint64_t kept_due; /* its own; 0: not set */

    struct kli_lock handles_lock;
    uint32_t handle_first, handle_last; /* free ones, + 1 */

    struct kli_lock arena_lock;

    struct kli_lock deferred_lock;
    uint32_t deferred; /* ids */

    _Atomic uint32_t auto_state;
    _Atomic uint64_t auto_runs;
    uint32_t auto_at; /* the next four are work's: the class to go on with, */
    unsigned auto_back_off;
    bool auto_gained;   /* in this round over the classes */
    bool auto_in_round; /* it began in an earlier step, which ended what was kept at hand */

    _Atomic uint64_t metadata_bytes;
    _Atomic uint64_t objects_moved;
    _Atomic uint64_t frames_freed;
    _Atomic uint64_t frames_migrated;
};

/* table.c */
static inline unsigned zs_chunk_of(uint32_t index)
{
    uint64_t v = (uint64_t)index + (1u << ZS_CHUNK0_LOG2);

    return ((unsigned)__builtin_clzll(v) ^ 63u) - ZS_CHUNK0_LOG2;
}
static inline uint32_t zs_chunk_first(unsigned chunk)
{
    return (1u << (ZS_CHUNK0_LOG2 + chunk)) - (1u << ZS_CHUNK0_LOG2);
}
static inline char *zs_table_chunk(const struct zs_table *table, unsigned chunk)
{
    return atomic_load_explicit(&table->chunk[chunk], memory_order_acquire);
}
/* NULL: there is no such element (yet).  index < 2^28; log2: of its table. */
static inline void *zs_table_at(const struct zs_table *table, uint32_t index, unsigned log2)
{
    unsigned chunk = zs_chunk_of(index);
    char *mem = zs_table_chunk(table, chunk);

    return mem ? mem + ((size_t)(index - zs_chunk_first(chunk)) << log2) : NULL;
}
/* The note of an element that there is, and of its neighbour. */
static inline uint16_t *zs_table_note(const struct zs_table *table, uint32_t index, unsigned log2)
{
    unsigned chunk = zs_chunk_of(index);
    char *notes = zs_table_chunk(table, chunk) + ((size_t)1 << (log2 + ZS_CHUNK0_LOG2 + chunk));

    return (uint16_t *)(void *)notes + (index - zs_chunk_first(chunk)) / 2;
}
int zs_table_grow(struct kl_zs *pool, struct zs_table *table, uint32_t n, uint32_t *first);
void zs_table_free(struct kl_zs *pool, struct zs_table *table);

/* class.c */
int zs_classes_create(struct kl_zs *pool);
void zs_classes_free(struct kl_zs *pool);
void zs_class_init(struct kl_zs *pool, uint32_t i, const struct zs_shape *shape);

/* The class of slots of so many bytes or the next more. */
static inline uint32_t zs_class_number(const struct kl_zs *pool, size_t slot)
{
    _Atomic uint16_t *of = &pool->class_of[(slot - 1) / ZS_ALIGN];

    return atomic_load_explicit(of, memory_order_acquire);
}
static inline struct zs_class *zs_class_from(struct kl_zs *pool, size_t slot)
{
    return &pool->classes[zs_class_number(pool, slot)];
}
static inline struct zs_class *zs_class_for(struct kl_zs *pool, size_t size)
{
    return zs_class_from(pool, size + ZS_GUARD_BYTES);
}
static inline bool zs_is_retired(const struct zs_class *class)
{
    return atomic_load_explicit(&class->retired, memory_order_relaxed);
}
static inline struct zspage *zs_page(const struct kl_zs *pool, uint32_t id)
{
    return zs_table_at(&pool->arena, id, ZS_GRANULE_LOG2);
}
/* NULL: there is none, not yet. */
static inline kli_word *zs_entry(const struct kl_zs *pool, uint32_t index)
{
    return zs_table_at(&pool->handles, index, ZS_ENTRY_LOG2);
}
/* The index of its class, without a look at it; not in direct pools. */
static inline uint16_t *zs_page_class(const struct kl_zs *pool, uint32_t id)
{
    return zs_table_note(&pool->arena, id, ZS_GRANULE_LOG2);
}
static inline uint16_t *zs_slots(struct zspage *page, const struct zs_class *class)
{
    return (uint16_t *)(void *)(page->frame + class->chain);
}
static inline struct zs_class *zs_class_of(struct kl_zs *pool, const struct zspage *page)
{
    return &pool->classes[page->class_index];
}
static inline void zs_class_lock(struct kl_zs *pool, struct zs_class *class)
{
    kli_spin_take(&pool->host, &class->lock);
}
void zs_auto_tell(struct kl_zs *pool, struct zs_class *class); /* and unlocks */
static inline void zs_class_unlock(struct kl_zs *pool, struct zs_class *class)
{
    uint64_t slots = class->ready - class->live;

    if (slots > class->tell_above || slots < class->tell_below) /* A2 of auto.c */
        zs_auto_tell(pool, class);
    else
        kli_spin_drop(&pool->host, &class->lock);
}

/* Objects that n frames of a chain hold whole, and frames that n objects need. */
uint32_t zs_ready_in(const struct kl_zs *pool, const struct zs_class *class, uint32_t frames);
uint32_t zs_frames_for(const struct kl_zs *pool, const struct zs_class *class, uint32_t objects);

/* list.c: zspages in their groups, slots in their zspage; with the class lock. */
void zs_page_list(struct kl_zs *pool, struct zs_class *class, struct zspage *page);
void zs_page_unlist(struct kl_zs *pool, struct zs_class *class, struct zspage *page);
void zs_page_refile(struct kl_zs *pool, struct zs_class *class, struct zspage *page);
void zs_slots_ready(const struct zs_class *class, struct zspage *page, uint32_t ready);
uint32_t zs_slot_take(struct zs_class *class, struct zspage *page, uint16_t back);
bool zs_slot_free(struct kl_zs *pool, struct zs_class *class, struct zspage *page, uint32_t slot);

/* Frames that the pool may come to have. */
static inline uint64_t zs_most_frames(const struct kl_zs *pool)
{
    return kli_min(pool->limit_frames, kl_zone_frames(pool->zone));
}

/* zspage.c: a slot for a new object, by what there is, or with new frames.  pin: the
 * chain stays fixed until zs_users_drop. */
struct zs_taken {
    struct zspage *page;
    struct zs_class *class; /* a larger one, perhaps, than was asked for */
    uint32_t slot;
    uint32_t handle; /* in a pool that has handles: an entry, claimed */
};
int zs_take(struct kl_zs *pool, size_t size, uint32_t index, unsigned flags, bool pin,
            struct zs_taken *taken);

/* bury.c: frames and zspages that go. */
uint32_t zs_page_bury(struct kl_zs *pool, struct zspage *page);
uint64_t zs_drain_deferred(struct kl_zs *pool);
static inline void zs_drain_deferred_soon(struct kl_zs *pool)
{
    if (atomic_load_explicit(&pool->deferred_count, memory_order_relaxed) > 0)
        zs_drain_deferred(pool);
}
uint32_t zs_page_cut(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                     uint32_t frames);

/* Who looks without a lock sees that what he looks at changes, before it does.  With
 * the class lock, but for hardened builds, which wipe objects without. */
static inline void zs_puts_raise(struct zspage *page)
{
    if (KL_HARDENED)
        atomic_fetch_add(&page->puts, 1);
    else
        atomic_store_explicit(&page->puts,
                              atomic_load_explicit(&page->puts, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    kli_write_fence();
}

/* users of a zspage */
bool zs_users_try(struct zspage *page);
void zs_users_drop(struct zspage *page);
static inline bool zs_users_full(const struct zspage *page)
{
    return (atomic_load_explicit(&page->users, memory_order_relaxed) & (ZS_WRITER | ZS_USERS)) ==
           ZS_USERS;
}
bool zs_writer_try(struct zspage *page);
void zs_writer_drop(struct zspage *page);

/* object.c: bytes of objects; the chain is fixed by the caller. */
void *zs_object_run(const struct kl_zs *pool, struct zspage *page, size_t at, size_t *len);
void zs_object_copy(struct kl_zs *pool, struct zspage *dst, uint32_t to, struct zspage *src,
                    uint32_t from);
void zs_object_fill(struct kl_zs *pool, struct zspage *page, size_t at, const void *bytes,
                    size_t len);

/* read.c: a copy without a lock, of the object that `word` names, if that is still the
 * word of this entry, which is `index`'s, but for some bits.  false: not now, or no more;
 * look at the entry again. */
bool zs_copy_out(struct kl_zs *pool, const kli_word *entry, uint32_t index, uint64_t word,
                 uint64_t but_for, size_t offset, void *buf, size_t len);

/* back.c: from a slot to the entry of its object. */
uint16_t zs_back(const struct kl_zs *pool, uint32_t index);
kli_word *zs_back_find(struct kl_zs *pool, uint16_t back, uint64_t place, uint32_t *index);

/* handle.c: entries, claimed by one thread or pinned by some. */
int zs_handles_create(struct kl_zs *pool);
void zs_handles_free(struct kl_zs *pool);
bool zs_handle_take(struct kl_zs *pool, uint32_t *index);
int zs_handles_refill(struct kl_zs *pool);
void zs_handle_retire(struct kl_zs *pool, uint32_t index);
uint32_t zs_object_gone(struct kl_zs *pool, uint32_t index);

/* pool.c */
int zs_create(struct kl_zone *zone, const struct kl_zs_config *config, kli_word *direct,
              uint32_t direct_n, struct kl_zs **pool);

/* kept.c: free objects at hand. */
void zs_kept_create(struct kl_zs *pool);
void zs_kept_free(struct kl_zs *pool);
uint64_t zs_kept_count(const struct kl_zs *pool, uint32_t class);
void zs_kept_want(struct kl_zs *pool);
uint64_t zs_kept_rest(struct kl_zs *pool);
uint64_t zs_kept_drain(struct kl_zs *pool, bool may_wait, uint64_t *freed);
void zs_kept_fit(struct kl_zs *pool, struct zs_class *class, uint64_t slots);
void zs_kept_extend(struct kl_zs *pool, uint32_t nclasses);

/* learn.c: a better table of classes, once. */
uint32_t zs_learn_room(const struct kl_zs *pool);
void zs_learn_create(struct kl_zs *pool);
void zs_learn_free(struct kl_zs *pool);
bool zs_learn(struct kl_zs *pool);

/* Counts an object of this size; with the lock of its class. (R1, R2) */
static inline void zs_learn_count(struct kl_zs *pool, size_t size)
{
    uint32_t *seen = atomic_load_explicit(&pool->seen, memory_order_relaxed);
    size_t i = (size + ZS_GUARD_BYTES - 1) / ZS_ALIGN;

    if (seen && i < pool->seen_sizes)
        seen[i]++;
}

/* No lock is held; the pool is about to grow.  true: there are other classes now. */
static inline bool zs_learn_if_due(struct kl_zs *pool)
{
    return atomic_load_explicit(&pool->frames, memory_order_relaxed) >=
               atomic_load_explicit(&pool->learn_at, memory_order_relaxed) &&
           zs_learn(pool);
}

/* compact.c: until `budget` objects were moved or `frames` frames freed. */
struct zs_goal {
    uint32_t budget; /* 0: no bound */
    uint64_t frames;
    bool may_wait; /* for a class lock */
    bool keep;     /* what is kept at hand */
    uint32_t at;   /* the class to begin with; out: to go on with */
    bool all;      /* out: neither of them ended it, every class was looked at */
};
int64_t zs_compact(struct kl_zs *pool, struct zs_goal *goal);
uint64_t zs_class_freeable(const struct kl_zs *pool, const struct zs_class *class);

/* auto.c.  configure: -KL_EINVAL.  work: of the shrinker's ops. */
int zs_auto_configure(struct kl_zs *pool, const struct kl_zs_config *config);
void zs_auto_class(const struct kl_zs *pool, struct zs_class *class);
uint64_t zs_auto_work(void *ctx, uint32_t budget);
static inline bool zs_auto_on(const struct kl_zs *pool)
{
    return pool->auto_start < 100;
}

/* shrinker.c */
int zs_shrinker_register(struct kl_zs *pool, const char *name);
int zs_shrinker_unregister(struct kl_zs *pool);

/* migrate.c */
extern const struct kl_owner_ops zs_owner_ops;

#endif
