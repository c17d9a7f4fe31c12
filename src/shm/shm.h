// SPDX-License-Identifier: Apache-2.0
/* The objects of a zone: what the files of this folder share.
 *
 * Who may be where (the words: page.h, object.h):
 *   a call      visits its object, so that it doesn't end; enters a page to copy, so that the
 *               page doesn't change; holds no lock then
 *   a callback  has its frame locked by the framework, and so the page and its object (E2);
 *               prepare and finish have nothing locked, and visit
 *   the end     of an object is one thread's (L2).  Frames that somebody has locked are left
 *               to kli_shm_sweep, which creates, destroys, scans, finish and kl_shm_destroy
 *               call; and to their own callbacks, which free what is DOOMED
 *
 * Locks, outermost first:
 *   budget   one settles how many blocks are given back for places; held over
 *            kl_zone_give_back, so taken with nothing held, and never in a callback
 *   frame lock
 *   lock     a leaf, for moments: lists of objects, batches, pins; attachments.  Nothing is
 *            called under it, so callbacks and scans of the shrinker may take it
 *
 * Waits: for a page that is being changed (2 s, as long as an allocation may take), for a
 * batch (200 ms), for a frame's lock (a few looks; then it is left to the sweep).
 */
#ifndef KLI_SHM_SHM_H
#define KLI_SHM_SHM_H

#include "frame/zone.h"
#include "klotski/contig.h"
#include "klotski/shm.h"
#include "klotski/shrinker.h"
#include "shm/object.h"
#include "shm/page.h"

enum {
    SHM_TABLES = 26,     /* of an object's pages, each at least as large as those before */
    SHM_TABLE_LEAST = 8, /* pages */
    SHM_CHUNKS = 19,     /* of objects, each twice the one before */
    SHM_CHUNK0_LOG2 = 6,
    SHM_MAX_OBJECTS = (1 << 24) - 1,
    SHM_DEVICES = 32,
    SHM_BATCH = 32, /* frames, at most */
};

#define SHM_WAIT_PAGE_NS  UINT64_C(2000000000)
#define SHM_WAIT_BATCH_NS UINT64_C(200000000)

struct kli_shm_pages {
    kli_word *word;
    uint32_t first, n;
};

struct kli_shm_pin {
    struct kli_shm_pin *next;
    kl_pin_id id;
};

struct kli_shm_object {
    kli_word life, use;
    uint32_t index; /* (c) */
    unsigned flags; /* of allocations */
    _Atomic uint64_t bytes;
    _Atomic uint32_t pages; /* of its bytes */
    _Atomic uint32_t here;  /* pages with a frame; the last access of who frees it */
    _Atomic uint64_t generation;
    struct kli_shm_pages table[SHM_TABLES]; /* fixed from `tables` going up on */
    _Atomic uint32_t tables;
    void *data; /* of its device's; under U3 */

    struct kli_shm_object *next; /* free, or ending: under the lock, as are the next */
    struct kli_shm_object *older, *newer;
    bool is_offered;
    uint32_t offered; /* pages that it counts as purgeable */
    struct kli_shm_pin *pins;

    struct kl_shm_place place; /* AWAY or WHOLE */
    void *place_ctx;
    uint64_t charged;
};

/* busy: bit 0 asleep, then batches << 1; who sleeps has none. */
struct kli_shm_device {
    struct kli_gate gate; /* attached objects are inside */
    kli_word busy;
    struct kl_shm_ops ops;
    char name[32];
    void *ctx;
};

/* One call of prepare, until its finish; found by its frames, which are one thread's. */
struct kli_shm_batch {
    struct kli_shm_batch *next;
    const kl_pfn *key;
    uint32_t n;
    struct kli_shm_item {
        struct kli_shm_object *object;
        kl_shm_id id;
        uint32_t device; /* + 1; 0: none */
        bool is_in;      /* counted in, and its device prepared */
        bool is_asked;
    } item[SHM_BATCH];
};

struct kl_shm {
    struct kl_zone *zone;
    struct kl_host host;
    kl_owner_id owner;
    unsigned order; /* of a page */
    unsigned shift; /* of a page's bytes */
    uint64_t tag;   /* of ids, 16 bits */
    char name[32];  /* of the owner, and of the shrinker */
    kl_shrinker_id shrinker;

    struct kli_lock lock;
    _Atomic(struct kli_shm_object *) chunk[SHM_CHUNKS];
    uint32_t used; /* objects that there ever were */
    struct kli_shm_object *free, *ending;
    _Atomic uint32_t nending;
    struct kli_shm_object *oldest, *newest; /* purgeable */
    _Atomic uint64_t offered;
    struct kli_shm_batch *batches, *spare;
    struct kli_shm_device device[SHM_DEVICES];

    struct kli_lock budget;
    _Atomic uint64_t away_bytes;  /* changed under budget, as is the next */
    _Atomic uint32_t away_blocks; /* given back for them */

    _Atomic uint64_t objects, here, migrated, purged, refused, prepared;
};

static inline uint32_t kli_shm_pages_of(const struct kl_shm *shm, uint64_t bytes)
{
    uint64_t rest = bytes & ((UINT64_C(1) << shm->shift) - 1);

    return (uint32_t)(bytes >> shm->shift) + (rest != 0);
}

/* So many pages at most that their number, and one more, is one of 32 bits. */
static inline bool kli_shm_too_large(const struct kl_shm *shm, uint64_t bytes)
{
    return bytes >> shm->shift >= UINT32_MAX - 1;
}

/* object.c */
struct kli_shm_object *kli_shm_at(const struct kl_shm *shm, uint64_t index);
kl_shm_id kli_shm_id(const struct kl_shm *shm, const struct kli_shm_object *object);
/* NULL: stale. */
struct kli_shm_object *kli_shm_visit(struct kl_shm *shm, kl_shm_id id);
/* One that is named otherwise; false: it is about to end. */
bool kli_shm_visit_this(struct kli_shm_object *object);
void kli_shm_leave(struct kl_shm *shm, struct kli_shm_object *object);
/* Ends those that could not be ended before.  Never waits. */
void kli_shm_sweep(struct kl_shm *shm);
/* Their chunks, at the very end. */
void kli_shm_free_objects(struct kl_shm *shm);

/* page.c */
kli_word *kli_shm_page(const struct kli_shm_object *object, uint32_t page);
uint32_t kli_shm_capacity(const struct kli_shm_object *object);
int kli_shm_grow(struct kl_shm *shm, struct kli_shm_object *object, uint32_t pages);
void kli_shm_free_tables(struct kl_shm *shm, struct kli_shm_object *object);
enum kli_shm_touch { SHM_LOOK, SHM_FILL };
/* Enters a page.  0, or an error; SHM_LOOK: 1, not entered: it was never written. */
int kli_shm_enter(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page,
                  enum kli_shm_touch touch);
void kli_shm_exit(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page);
/* Doomed, and no more than that. */
void kli_shm_doom(const struct kli_shm_object *object, uint32_t page);
/* Frees its frame; is_locked: by the framework, for us.  false: not now, DOOMED. */
bool kli_shm_drop(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page, bool is_locked);
/* Drops from `from` up to `to`, and waits until they are gone, bounded. */
bool kli_shm_drop_all(struct kl_shm *shm, struct kli_shm_object *object, uint32_t from,
                      uint32_t to);
/* With the page MOVING: frees the frame; false: somebody has it locked, for long. */
bool kli_shm_free_frame(struct kl_shm *shm, uint32_t nr);
bool kli_shm_new_frame(struct kl_shm *shm, const struct kli_shm_object *object, uint32_t page,
                       kl_pfn *pfn);
int kli_shm_populate(struct kl_shm *shm, struct kli_shm_object *object);

/* Relaxes; false: `ns` have passed since *since (0 at first). */
bool kli_shm_wait(const struct kl_shm *shm, uint64_t *since, unsigned round, uint64_t ns);

/* migrate.c */
extern const struct kl_owner_ops kli_shm_owner_ops;
/* The page that the frame belongs to; NULL: none. */
kli_word *kli_shm_page_of(struct kl_shm *shm, kl_pfn frame, struct kli_shm_object **object,
                          uint32_t *page);

/* batch.c */
int kli_shm_prepare(void *ctx, const kl_pfn *frames, size_t n, enum kl_mode mode);
void kli_shm_finish(void *ctx, const kl_pfn *frames, size_t n);
void kli_shm_free_batches(struct kl_shm *shm);

/* device.c */
bool kli_shm_device_enter(struct kli_shm_device *device);
void kli_shm_device_exit(struct kli_shm_device *device);
/* The device's part of the end of an object. */
void kli_shm_abandon(struct kl_shm *shm, struct kli_shm_object *object);
bool kli_shm_is_asleep(const struct kli_shm_device *device);

/* pin.c: what a refused edge of `use` means. */
int kli_shm_refusal(uint64_t use);

/* purge.c */
extern const struct kl_shrinker_ops kli_shm_shrinker_ops;
/* PURGEABLE: its contents are lost from now on, and its owner waits until purge_end.
 * false: it isn't (any more). */
bool kli_shm_purge(struct kl_shm *shm, struct kli_shm_object *object);
void kli_shm_purge_end(struct kl_shm *shm, struct kli_shm_object *object);
void kli_shm_unlist(struct kl_shm *shm, struct kli_shm_object *object);

#endif
