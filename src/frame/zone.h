// SPDX-License-Identifier: Apache-2.0
/* The zone's private shape, for src/frame and the floors above it.
 *
 * Everything that changes is atomic; the zone has one lock, for registration of
 * owners.  Fields marked (c) are constant from creation on.
 */
#ifndef KLI_FRAME_ZONE_H
#define KLI_FRAME_ZONE_H

#include "base/bits.h"
#include "base/check.h"
#include "base/gate.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/trace.h"
#include "frame/block.h"
#include "frame/state.h"
#include "klotski/movable.h"
#include "klotski/pin.h"

struct kli_frame {
    kli_word state;
    kli_word priv; /* the owner's */
};

enum { KLI_ORDERS = 19 }; /* of a block, 0 to 18 */

/* Runs that move frames, and how they end. */
enum kli_run_kind { KLI_RUN_COMPACT, KLI_RUN_CONTIG, KLI_RUN_GIVE_BACK, KLI_RUNS };
enum kli_run_end {
    KLI_RUN_ASKED, /* not ended yet, or as one of the next */
    KLI_RUN_DONE,
    KLI_RUN_AGAIN,
    KLI_RUN_NOMEM,
    KLI_RUN_BUSY,
    KLI_RUN_OTHER,
    KLI_RUN_ENDS
};

enum kli_counter {
    KLI_C_SCANNED,
    KLI_C_ISOLATED,
    KLI_C_MIGRATED,
    KLI_C_FAILED,
    KLI_C_PUT_BACK,
    KLI_C_FREED,
    KLI_C_STALLS,
    KLI_OWNER_COUNTERS, /* those before are kept per owner, too */
    KLI_C_GIVEN = KLI_OWNER_COUNTERS,
    KLI_C_POPULATED,
    KLI_C_MIXED,
    KLI_C_SLOW,
    KLI_C_COMPACTED,
    KLI_C_REFUSED,
    KLI_C_RUNS, /* by kind and end of the run */
    KLI_COUNTERS = KLI_C_RUNS + KLI_RUNS * KLI_RUN_ENDS
};

/* share.h */
struct kli_stock;
struct kli_share {
    atomic_bool counted;
    _Atomic(struct kli_stock *) stocks; /* one a CPU; NULL: there never was a share */
    _Atomic uint64_t used;              /* frames, A1 */
    _Atomic uint64_t soft, hard;        /* frames; UINT64_MAX: none */
    _Atomic uint64_t refused;           /* allocations */
};

enum { KLI_OWNER_FREE, KLI_OWNER_REGISTERED, KLI_OWNER_LEAVING };

enum { KLI_NAME = 32 }; /* of an owner, as in the public structures */

struct kli_owner {
    _Atomic uint32_t used;
    _Atomic uint32_t calls; /* prepares that have not had their finish */
    bool movable;
    _Atomic uint32_t end;                /* its frames are in blocks below this one: O5 */
    _Atomic uint32_t quick_end;          /* the same; 0: each allocation is counted */
    _Atomic uint32_t name[KLI_NAME / 4]; /* its own copy: O4 of owner.c */
    struct kl_owner_ops ops;
    void *ctx;
    _Atomic uint32_t term; /* goes up with each registration, by two: O4 */
    _Atomic uint64_t counter[KLI_OWNER_COUNTERS];
    struct kli_share share;
};

/* What a CPU remembers; a line of its own. */
struct kli_cpu_hint {
    _Alignas(64) _Atomic uint32_t block[2]; /* where it allocated last, by kind */
    _Atomic int64_t free;                   /* not in zone->free yet */
    atomic_bool cache_busy;                 /* the lock of its caches (cache.c) */
    _Atomic uint32_t lookers[2];            /* by phase (look.h) */
};

/* index.c: the blocks of one class; the summaries of six levels cover 2^36. */
enum { KLI_INDEX_LEVELS = 6 };
struct kli_index {
    kli_word *level[KLI_INDEX_LEVELS];
    uint32_t words[KLI_INDEX_LEVELS];
    unsigned levels;
};

/* What the floors above keep with a zone: made when it is first needed, freed with the
 * zone, which stays while there are users. */
struct kli_annex {
    size_t bytes; /* of all of it; this struct is its beginning */
    _Atomic uint32_t users;
};

/* What is called when background work becomes wanted (klotski/step.h). */
struct kli_kick {
    struct kli_gate gate;
    void (*call)(void *ctx);
    void *ctx;
};

/* As struct kl_zone_marks. */
struct kli_marks {
    _Atomic uint32_t reserve, low, high, waste_start, waste_stop, waste_blocks, spare_blocks;
};

/* reclaim/pressure.c (E1) */
struct kli_pressure {
    _Atomic uint32_t level; /* enum kl_pressure_level */
    _Atomic uint32_t calls, seen;
    _Atomic uint64_t returned; /* bytes that went back for pressure, ever */
    _Atomic uint64_t goal;     /* of returned: then cold things are left alone */
    _Atomic uint64_t due, tried;
    _Atomic uint64_t pieces;
    atomic_bool fresh; /* there was none before: no back-off of the last time holds */
    uint32_t back_off;
};

/* kept.c: who keeps frames at hand that nobody uses, and gives them when others need them:
 * `give` from anywhere an allocation may come from, so it waits for nothing but a spin
 * lock that is a leaf, and calls nobody. */
enum { KLI_KEEPERS = 16 };
struct kli_keeper {
    struct kli_gate gate;
    void (*give)(void *ctx, uint64_t frames, unsigned order);
    void *ctx;
};
struct kli_keepers {
    struct kli_keeper at[KLI_KEEPERS];
    _Atomic uint64_t frames; /* of all of them */
    _Atomic uint64_t given;  /* how often some became free */
};

/* pin.c: objects that are pinned; under the lock. */
struct kli_pin;
struct kli_pin_slot {
    struct kli_pin *pin; /* NULL: a free slot, the next one of which is */
    uint32_t next;       /* this one's number + 1 */
};
enum { KLI_PINS_INLINE = 8 };
struct kli_pins {
    struct kli_lock lock;
    struct kli_pin_slot *slot; /* the few ones within, or metadata of the host's */
    uint32_t slots, free, used, serial;
    struct kli_pin_slot few[KLI_PINS_INLINE];
};

struct kl_zone {
    struct kl_host host;       /* (c) */
    struct kl_backing backing; /* (c) */
    uint32_t frames;           /* (c) */
    uint32_t blocks;           /* (c) */
    uint32_t block_frames;     /* (c) */
    unsigned frame_shift;      /* (c) */
    unsigned block_order;      /* (c) */
    size_t metadata_bytes;     /* (c) its own */
    uint64_t tag;              /* (c) in the high half of every kl_pfn */

    struct kli_frame *frame; /* one a frame */
    kli_word *bits;          /* one bit a frame, set = allocated */
    kli_word *block;         /* one word a block */
    kli_word *index_mem;
    struct kli_index index[KLI_CLASSES]; /* (c), but for the words */
    struct kli_cpu_hint *hint;           /* one a CPU */
    struct kl_cpu_stack *cache;          /* two a CPU: movable, unmovable */
    kli_word budget;                     /* present blocks, given blocks << 32 */
    kli_word away;                       /* who keeps the given blocks (size.h) */
    _Atomic uint32_t parted;             /* blocks that areas have given (cma/away.c) */
    _Atomic int64_t free;                /* frames free in open blocks, but for what CPUs hold */
    kli_word charge;                     /* bytes held (limit.c) */
    _Atomic uint64_t soft, hard;         /* limits; UINT64_MAX: none */
    _Atomic int64_t blocks_in[KLI_CLASSES + 1]; /* by class */
    struct kli_marks marks;
    _Atomic uint32_t wanted; /* background work, enum kl_zone_wanted */
    atomic_bool stepping;    /* one does it; the next five are his */
    uint32_t back_off;       /* fruitless steps in a row */
    uint32_t resting;        /* what was wanted and could not be helped, */
    uint64_t rest_until;     /* until then */
    struct kli_pressure pressure;
    unsigned urgency;           /* how far below KL_SHRINK_PRIORITY shrinkers are asked */
    _Atomic uint32_t holds;     /* who keeps frames out of reach for a while */
    _Atomic uint32_t hold_ends; /* changes when one of them let go; waited on */
    _Atomic uint32_t seekers;   /* those of them that look for a window on the slow path */
    _Atomic uint32_t seeks;     /* ends of those that found none */
    atomic_bool migration_off;
    _Atomic uint64_t counter[KLI_COUNTERS];

    _Atomic(struct kli_annex *) annex; /* reclaim's */
    struct kli_kick kick;

    _Atomic uint32_t look_phase;
    struct kli_lock looks_lock; /* who waits for lookers */

    struct kli_pins pins;
    struct kli_keepers keepers;
    _Atomic uint32_t areas;      /* of src/cma */
    struct kli_lock limits_lock; /* who sets limits or marks */
    struct kli_lock owners_lock;
    _Atomic uint32_t shares;                /* owners that are counted */
    struct kli_owner owner[KLI_MAX_OWNERS]; /* 0 is nobody */
};

static inline void kli_count(struct kl_zone *zone, enum kli_counter counter, uint64_t n)
{
    atomic_fetch_add_explicit(&zone->counter[counter], n, memory_order_relaxed);
}

/* Background work is wanted.  From anywhere, locks or not; never blocks. */
static inline void kli_kick(struct kl_zone *zone)
{
    struct kli_kick *kick = &zone->kick;

    if (!kli_gate_enter(&kick->gate, KLI_G_ANY))
        return;
    kick->call(kick->ctx);
    kli_gate_leave(&zone->host, &kick->gate);
}

/* n of the first KLI_OWNER_COUNTERS, for an owner and for the zone. */
static inline void kli_count_owner(struct kl_zone *zone, unsigned owner, enum kli_counter counter,
                                   uint64_t n)
{
    atomic_fetch_add_explicit(&zone->owner[owner].counter[counter], n, memory_order_relaxed);
    kli_count(zone, counter, n);
}

static inline kl_pfn kli_pfn(const struct kl_zone *zone, uint32_t nr)
{
    return (kl_pfn){zone->tag | nr};
}

/* As trace points name the zone. */
#define KLI_TAG(zone) ((zone)->tag >> 32)

/* Is it a frame of this zone? */
static inline bool kli_pfn_ok(const struct kl_zone *zone, kl_pfn pfn)
{
    return (pfn.v & ~UINT64_C(0xffffffff)) == zone->tag && kl_pfn_nr(pfn) < zone->frames;
}

static inline uint32_t kli_block_of(const struct kl_zone *zone, uint32_t nr)
{
    return nr >> zone->block_order;
}

static inline uint64_t kli_block_bytes(const struct kl_zone *zone)
{
    return (uint64_t)zone->block_frames << zone->frame_shift;
}

/* Only where there is a base. */
static inline void *kli_addr(const struct kl_zone *zone, uint32_t nr)
{
    return (char *)zone->backing.base + ((size_t)nr << zone->frame_shift);
}

static inline uint64_t kli_state(const struct kl_zone *zone, uint32_t nr)
{
    return atomic_load_explicit(&zone->frame[nr].state, memory_order_acquire);
}

/* zone.c: the head of the allocation that covers nr, or nr itself. */
uint32_t kli_head_of(const struct kl_zone *zone, uint32_t nr);

static inline uint64_t kli_block_word(const struct kl_zone *zone, uint32_t block)
{
    return atomic_load_explicit(&zone->block[block], memory_order_acquire);
}

static inline unsigned kli_cpu(const struct kl_zone *zone)
{
    unsigned cpu = zone->host.cpu(zone->host.ctx);

    return cpu < zone->host.ncpus ? cpu : 0;
}

/* index.c: the one way to change a block's word, and blocks by class. */
bool kli_block_step(struct kl_zone *zone, uint32_t block, kli_edge *edge, uint64_t arg);
uint32_t kli_index_next(const struct kl_zone *zone, enum kli_class class, uint32_t from);
uint64_t kli_index_words(uint32_t blocks);
void kli_index_init(struct kl_zone *zone);
void kli_free_add(struct kl_zone *zone, int64_t n);
uint64_t kli_free_frames(const struct kl_zone *zone);

/* limit.c */
bool kli_charge(struct kl_zone *zone, uint64_t bytes);
void kli_uncharge(struct kl_zone *zone, uint64_t bytes);
bool kli_over_soft(struct kl_zone *zone, uint64_t bytes);
bool kli_may_take(const struct kl_zone *zone, uint32_t n);

/* watch.c */
uint64_t kli_wasted(const struct kl_zone *zone);
bool kli_waste_is_over(const struct kl_zone *zone);
bool kli_spare_is_over(const struct kl_zone *zone);
uint64_t kli_available(struct kl_zone *zone);
uint32_t kli_wanted(struct kl_zone *zone);
void kli_watch(struct kl_zone *zone);

/* bitmap.c: runs of bits in one block. */
bool kli_bits_have(const struct kl_zone *zone, uint32_t block, unsigned order);
void kli_bits_runs(const struct kl_zone *zone, uint32_t block, uint32_t *runs);
bool kli_bits_take(struct kl_zone *zone, uint32_t block, unsigned order, uint32_t *nr);
bool kli_bits_take_outside(struct kl_zone *zone, uint32_t block, unsigned order, uint32_t not_nr,
                           uint32_t not_n, uint32_t *nr);
bool kli_bits_take_at(struct kl_zone *zone, uint32_t nr, uint32_t n);
void kli_bits_clear(struct kl_zone *zone, uint32_t nr, uint32_t n);
uint32_t kli_bits_used(const struct kl_zone *zone, uint32_t nr, uint32_t n);
bool kli_bits_moving(const struct kl_zone *zone, uint32_t block, uint64_t word);

/* cache.c: single frames kept at hand; in and out: cache.h. */
void kli_cache_init(struct kl_zone *zone);
bool kli_cache_drain(struct kl_zone *zone);
uint32_t kli_cache_count(struct kl_zone *zone, uint32_t block, bool unmovable);
uint32_t kli_cache_list(struct kl_zone *zone, uint32_t from, uint32_t *nr, uint32_t most);

/* share.c: frames with CHARGED are gone. */
void kli_share_uncharge(struct kl_zone *zone, unsigned owner, uint64_t n);

/* alloc.c: bits with their reservation in the block's word. */
uint32_t kli_reserve_singles(struct kl_zone *zone, uint32_t block, bool unmovable, uint32_t most,
                             uint32_t *nr);
void kli_bits_put(struct kl_zone *zone, uint32_t nr, uint32_t n, bool unmovable);
void kli_free_run(struct kl_zone *zone, unsigned owner, uint32_t nr, uint32_t units,
                  unsigned order);

/* kept.c: frames begin to be kept, are their keeper's to hand out, or are free (K2). */
int kli_keeper_register(struct kl_zone *zone, void (*give)(void *ctx, uint64_t, unsigned order),
                        void *ctx, unsigned *id);
void kli_keeper_unregister(struct kl_zone *zone, unsigned id);
void kli_kept_add(struct kl_zone *zone, uint64_t frames);
void kli_kept_used(struct kl_zone *zone, uint64_t frames);
void kli_kept_given(struct kl_zone *zone, uint64_t frames);
bool kli_kept_give(struct kl_zone *zone, uint64_t frames, unsigned order, uint64_t *given);
static inline uint64_t kli_kept_frames(const struct kl_zone *zone)
{
    return atomic_load(&zone->keepers.frames);
}
static inline uint64_t kli_kept_now(const struct kl_zone *zone)
{
    return atomic_load(&zone->keepers.given);
}

/* alloc.c: one attempt to allocate, without waiting and without callbacks. */
struct kli_ask {
    unsigned order;
    unsigned owner;
    uint64_t flags; /* of the state word */
    bool unmovable;
    bool populate;  /* get memory for absent blocks */
    bool over_soft; /* also beyond the soft limit */
    uint32_t end;   /* blocks below this one */
};
bool kli_frame_take(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr);
/* Is there more than the reserve, or can it be got? */
bool kli_reserve_allows(struct kl_zone *zone, const struct kli_ask *ask);

/* alloc.c: allocation in one given block; flags: state bits of the new word. */
bool kli_alloc_in(struct kl_zone *zone, uint32_t block, unsigned order, unsigned owner,
                  uint64_t flags, enum kli_want want, uint32_t *nr);
/* In a block that the caller has fenced, outside of a range. */
bool kli_alloc_beside(struct kl_zone *zone, uint32_t block, unsigned order, unsigned owner,
                      uint64_t flags, uint32_t not_nr, uint32_t not_n, uint32_t *nr);
/* The word of a new allocation, whose bits are taken.  Acquire: what its last user did
 * is before what the next one does. (cache.c, C5) */
static inline void kli_name_frame(struct kl_zone *zone, uint32_t nr, unsigned order, unsigned owner,
                                  uint64_t flags)
{
    struct kli_frame *frame = &zone->frame[nr];

    KLI_REQUIRE(&zone->host, atomic_load_explicit(&frame->state, memory_order_acquire) == 0);
    atomic_store_explicit(&frame->priv, 0, memory_order_relaxed);
    atomic_store_explicit(&frame->state, kli_f_make(order, owner, flags), memory_order_release);
}
/* Applies an edge that may be the last one, and frees the frame if it was. */
bool kli_settle(struct kl_zone *zone, uint32_t nr, kli_edge *edge, uint64_t arg);

/* present.c: blocks that come and go.
 * Between hold and let_go an allocation about to fail waits instead: frames are
 * fenced, or memory for them is on its way.  gained: there may be more now. */
void kli_hold(struct kl_zone *zone);
void kli_let_go(struct kl_zone *zone, bool gained);
int kli_populate(struct kl_zone *zone, uint32_t block);
bool kli_populate_one(struct kl_zone *zone, uint32_t end, uint32_t *block);
uint32_t kli_populatable(struct kl_zone *zone, bool over_soft);
int kli_release_block(struct kl_zone *zone, uint32_t block, bool given);
int kli_part_with(struct kl_zone *zone, uint32_t block);
int kli_return_to(struct kl_zone *zone, uint32_t block);
uint32_t kli_give_absent(struct kl_zone *zone, uint32_t n);
int kli_lend(struct kl_zone *zone, uint32_t n);

/* backing.c: 0, or what is wrong with it. */
int kli_backing_check(const struct kl_backing *b);

/* hand.c: an allocation gets another owner or kind; pass: kli_f_pass. */
int kli_frame_hand(struct kl_zone *zone, uint32_t nr, uint64_t pass);

/* pin.c: what the table knows of a pinned frame; false: no object has pinned it. */
struct kli_pin_info {
    uint64_t object;
    uint64_t since_ns;
    char why[KL_WHY_BYTES];
};
void kli_pins_init(struct kl_zone *zone);
bool kli_pin_find(struct kl_zone *zone, uint32_t nr, struct kli_pin_info *info);
/* A recount of a zone at rest: NULL, or what is broken. */
const char *kli_pins_check(struct kl_zone *zone);

/* owner.c: a frame becomes stuck with its first pin, and free to move with the last
 * unpin; word: the state before.  Then the owner's callbacks, while a frame of it is
 * held. */
void kli_count_stuck(struct kl_zone *zone, uint32_t nr, uint64_t word, kli_edge *edge);
/* edge: kli_f_pin, or kli_f_pin_object; errors as kl_frame_pin. */
int kli_frame_pin(struct kl_zone *zone, kl_owner_id owner, kli_edge *edge, kl_pfn frame);
static inline const struct kli_owner *kli_owner(const struct kl_zone *zone, unsigned id)
{
    return &zone->owner[id];
}
/* Of whoever has the slot, with nothing held; empty while that changes. (O4) */
void kli_owner_name(const struct kl_zone *zone, unsigned id, char name[KLI_NAME]);
static inline bool kli_owner_is(const struct kl_zone *zone, unsigned id)
{
    return id > 0 && id < KLI_MAX_OWNERS &&
           atomic_load(&zone->owner[id].used) == KLI_OWNER_REGISTERED;
}

#endif
