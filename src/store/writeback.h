// SPDX-License-Identifier: Apache-2.0
/* Write-back: what its files share.
 *
 *   wb_space.c   units of the target: taken, freed, retired
 *   wb_write.c   a block on its way out
 *   wb_read.c    a block that is read on the target, and brought back
 *   wb_trim.c    units that nobody uses, back to the target
 *   wb_pick.c    which block is next, and whether one shall be
 *   writeback.c  start, end, the steps, statistics
 *
 * A block's way out, by whoever has `busy`, which is only tried, never waited for:
 *
 *         WRITING set in the       done(0)        flushed,          word WRITTEN,
 *         word, bytes copied,                     if needed         object freed
 *   FREE ---------------------> ASKED ---> DONE -----------> SAFE -------------> FREE
 *                                            |    (WRITTEN, then FLUSHING)
 *                                            '-- an error, or WRITING is gone: units freed
 *
 * (T1) WRITING is set by a job of this block only, and there is one job a block.  Every
 *      word with other contents comes without it.  So where it still stands when the
 *      target has answered, the block has the contents that were copied.
 * (T2) Nothing is claimed while the target works.  Only the last step replaces the word;
 *      it passes by a claimed one, and comes again.
 * (T3) Units are taken under `busy`, and freed by who swapped the word out that named
 *      them, with no lock.
 * (T4) A reader of a WRITTEN word shows its units (`first`, `units` of its job) and looks at the
 *      word again before it trusts them.  Shown units are not taken.  So while they are shown, an
 *      equal word is the same one, and what the target says of them is said of it. (W2)
 * (T5) A write that was given up may still take effect: its units are never taken again.
 * (T6) A request and its buffer are the target's until done; a reader that has waited
 *      long enough leaves the job (LEFT), and done frees it.
 * (T7) No context is held while anybody waits for the target.
 */
#ifndef KLI_STORE_WRITEBACK_H
#define KLI_STORE_WRITEBACK_H

#include "klotski/writeback.h"
#include "store/entry.h"
#include "store/store.h"

enum {
    WB_UNIT = KL_TARGET_UNIT,
    WB_WRITES = 64, /* under way at most */
    WB_READS = 64,
    WB_SLOT_BITS = 30, /* of a place: the first unit; six of the job's serial above */
    WB_REGION = 512,   /* units that are trimmed together */
    WB_LEAST = 32,     /* blocks that a write has written back before it tries again */
};

/* Before the bytes on the target. */
struct wb_head {
    uint32_t check;
    uint32_t tag;
    uint32_t block;
    uint32_t serial;
};

enum wb_state { WB_FREE, WB_TAKEN, WB_ASKED, WB_DONE, WB_LEFT, WB_WRITTEN, WB_FLUSHING, WB_SAFE };

struct wb_job {
    struct kl_target_io io; /* the first member */
    struct store_writeback *wb;
    _Atomic uint32_t state; /* readers sleep on it */
    int err;
    _Atomic uint64_t first; /* T4 */
    _Atomic uint64_t units; /* 0: it shows nothing */
    _Atomic uint64_t asked_ns;
    uint64_t block;
    uint64_t word; /* of the object that was copied */
    uint32_t serial;
    char *buf;
};

enum wb_counter {
    WB_C_WRITTEN,
    WB_C_WRITTEN_BYTES,
    WB_C_READ,
    WB_C_READ_BACK,
    WB_C_FAILED_WRITES,
    WB_C_FAILED_READS,
    WB_C_LOST,
    WB_C_OVERWRITTEN,
    WB_C_WAITED,
    WB_C_RETIRED, /* units */
    WB_COUNTERS
};

struct store_writeback {
    struct kl_store *store;
    struct kl_host *host;
    struct kl_target target;
    struct kl_writeback_config config;
    uint32_t tag;

    /* Units */
    _Atomic uint64_t *map; /* a bit set: taken */
    uint64_t units;
    _Atomic uint64_t used;
    _Atomic uint64_t frees; /* times that some were freed */

    /* Of who has busy */
    _Alignas(64) atomic_bool busy;
    uint64_t unit_cursor;
    uint64_t *dirty; /* a bit a region; NULL: the target can't trim */
    uint64_t trim_cursor;
    uint64_t full_at;    /* frees when none were found */
    uint64_t full_units; /* for so many; 0: they were */
    uint64_t block_cursor;
    uint64_t barren; /* blocks looked at since one was good enough */
    uint64_t ticks_seen;
    unsigned level;                         /* least age now */
    bool draining;                          /* between the start and the stop share */
    _Atomic uint64_t next_ns;               /* the rate allows the next write */
    unsigned failed_writes, failed_flushes; /* in a row */
    _Atomic uint64_t retry_ns;              /* not before, for failures; under busy, like next_ns */
    uint32_t serial;
    struct wb_job trim;  /* no block, and no buffer; the state as the others' */
    struct wb_job flush; /* no block; ASKED, DONE as the others */

    _Alignas(64) _Atomic uint32_t events; /* rises with each end of a write or a read */
    atomic_bool watch;                    /* for frames over start_frames */
    uint64_t start_frames;
    _Atomic uint64_t shrinker; /* whose work it is; 0: nobody's */
    _Atomic uint32_t pending;  /* requests under way */
    atomic_bool failing;
    atomic_bool full;
    atomic_bool silent; /* somebody has waited in vain, and nothing was heard since */
    _Atomic uint64_t probe_ns;
    _Atomic uint64_t counter[WB_COUNTERS];
    struct wb_job writes[WB_WRITES];
    struct wb_job reads[WB_READS];
};

static inline struct store_writeback *wb_of(struct kl_store *store)
{
    return atomic_load_explicit(&store->writeback, memory_order_acquire);
}

static inline void wb_tick(struct store_writeback *wb, enum wb_counter which, uint64_t n)
{
    atomic_fetch_add_explicit(&wb->counter[which], n, memory_order_relaxed);
}

static inline uint64_t wb_now(const struct store_writeback *wb)
{
    return wb->host->now_ns(wb->host->ctx);
}

/* Of the block's contents in a word, compressed or raw. */
static inline uint32_t wb_bytes(const struct kl_store *store, uint64_t word)
{
    return store_bytes(word) ? store_bytes(word) : store->block_bytes;
}

static inline uint64_t wb_units(const struct kl_store *store, uint64_t word)
{
    return (sizeof(struct wb_head) + wb_bytes(store, word) + WB_UNIT - 1) / WB_UNIT;
}

static inline uint64_t wb_first(uint64_t word)
{
    return kli_field(word, 0, WB_SLOT_BITS);
}

/* wb_space.c */
bool wb_take(struct store_writeback *wb, uint64_t units, uint64_t *first);
bool wb_take_at(struct store_writeback *wb, uint64_t first, uint64_t units);
void wb_free(struct store_writeback *wb, uint64_t first, uint64_t units);

/* wb_trim.c; with busy */
void wb_trim_some(struct store_writeback *wb);

/* wb_write.c; all with busy */
int wb_begin(struct store_writeback *wb, uint64_t block);
void wb_reap(struct store_writeback *wb);
bool wb_has_job(const struct store_writeback *wb, uint64_t block);

/* wb_pick.c; with busy */
bool wb_pick(struct store_writeback *wb, unsigned least, uint64_t *budget, uint64_t *block);
uint64_t wb_limit(const struct store_writeback *wb);
bool wb_over_share(struct store_writeback *wb);

/* wb_read.c */
uint32_t wb_check(const struct store_writeback *wb, const struct wb_head *head, uint64_t word);
bool wb_has_room(struct store_writeback *wb);
void wb_put_read(struct store_writeback *wb, struct wb_job *job);

/* writeback.c */
void wb_ask(struct wb_job *job, enum kl_target_op op, uint64_t first, uint64_t units);
bool wb_buffer(struct wb_job *job);
bool wb_is_silent(const struct store_writeback *wb);

#endif
