// SPDX-License-Identifier: Apache-2.0
/* Trace points: one list, one macro, three uses.
 *
 *   KL_USDT=1    (meson option usdt) each point is a USDT probe of the provider
 *                klotski: one nop, and a note that tells perf, bpftrace and stap
 *                where it is and where its three arguments lie
 *   KL_DEBUG=1   kli_trace_hook, if it is set, is called with the point's number
 *                and arguments; tests stop threads there
 *   else         nothing, but the arguments are still type-checked
 *
 * (T1) An argument is a value that is at hand anyhow: a local variable or a
 *      constant of the zone; never a call, never an atomic load.
 * (T2) STEP points exist in debug builds only: they stand on paths where even a
 *      nop is too much, and between two atomic steps that nobody would trace.
 * (T3) Nothing of an order-0 allocation and free that the CPU's cache serves is a
 *      PROBE.
 * (T4) A hook may stop its thread, so a point within a lock is one where others
 *      may have to wait; tests/interleave knows which ones.
 *
 * sys/sdt.h is the one header from outside that src/ includes, here and only where
 * the option is on; the freestanding core is built without it.
 */
#ifndef KLI_BASE_TRACE_H
#define KLI_BASE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef KL_DEBUG
#define KL_DEBUG 0
#endif
#ifndef KL_USDT
#define KL_USDT 0
#endif

#if KL_USDT
#include <sys/sdt.h>
#endif

/* X(what, group, name, its three arguments).  zone: the tag, which is the upper
 * half of every kl_pfn; frame, dst: numbers of frames; pool: the handles' tag.
 * entry, block, shared: numbers of a store's entries; word: what stands there;
 * unit: of the write-back target.  shm: bits 48-63 of its ids; object, page: their numbers.
 * found: enum kli_found; stage: enum kli_at; err: 0 or a negative error.
 * tests/layers/check_probes.sh reads these lines: one point a line. */
#define KLI_TRACE_POINTS(X)                                                                        \
    X(PROBE, ALLOC, alloc_stage, "zone", "order", "stage")                                         \
    X(PROBE, ALLOC, alloc_failed, "zone", "order", "owner")                                        \
    X(STEP, ALLOC, alloc_reserved, "zone", "block", "frames")                                      \
    X(STEP, ALLOC, alloc_taken, "zone", "frame", "order")                                          \
    X(STEP, FREE, free_begin, "zone", "frame", "owner")                                            \
    X(PROBE, FREE, free_dying, "zone", "frame", "owner")                                           \
    X(STEP, FREE, free_gone, "zone", "frame", "order")                                             \
    X(STEP, FREE, free_bits, "zone", "frame", "frames")                                            \
    X(STEP, FREE, free_counted, "zone", "frame", "frames")                                         \
    X(STEP, PIN, pin_begin, "zone", "frame", "owner")                                              \
    X(STEP, PIN, pin_marked, "zone", "frame", "owner")                                             \
    X(PROBE, PIN, pin_done, "zone", "frame", "owner")                                              \
    X(PROBE, PIN, pin_refused, "zone", "frame", "owner")                                           \
    X(STEP, PIN, unpin_begin, "zone", "frame", "owner")                                            \
    X(STEP, PIN, unpin_marked, "zone", "frame", "owner")                                           \
    X(PROBE, PIN, unpin_done, "zone", "frame", "owner")                                            \
    X(PROBE, ISOLATE, isolate_begin, "zone", "frame", "mode")                                      \
    X(STEP, ISOLATE, isolate_got, "zone", "frame", "owner")                                        \
    X(STEP, ISOLATE, isolate_target, "zone", "frame", "dst")                                       \
    X(STEP, ISOLATE, isolate_locked, "zone", "frame", "dst")                                       \
    X(STEP, ISOLATE, isolate_asked, "zone", "frame", "owner")                                      \
    X(PROBE, ISOLATE, isolate_refused, "zone", "frame", "owner")                                   \
    X(STEP, ISOLATE, isolate_marked, "zone", "frame", "owner")                                     \
    X(PROBE, ISOLATE, isolate_overtaken, "zone", "frame", "owner")                                 \
    X(STEP, ISOLATE, isolate_unlocked, "zone", "frame", "found")                                   \
    X(STEP, ISOLATE, isolate_undone, "zone", "frame", "found")                                     \
    X(PROBE, ISOLATE, isolate_end, "zone", "frame", "found")                                       \
    X(PROBE, MIGRATE, migrate_begin, "zone", "frame", "count")                                     \
    X(PROBE, MIGRATE, prepare_begin, "zone", "frame", "count")                                     \
    X(PROBE, MIGRATE, prepare_end, "zone", "frame", "err")                                         \
    X(STEP, MIGRATE, migrate_locked, "zone", "frame", "dst")                                       \
    X(PROBE, MIGRATE, migrate_unlockable, "zone", "frame", "dst")                                  \
    X(PROBE, MIGRATE, migrate_call, "zone", "frame", "count")                                      \
    X(PROBE, MIGRATE, migrate_result, "zone", "frame", "err")                                      \
    X(STEP, MIGRATE, migrate_moved, "zone", "frame", "dst")                                        \
    X(STEP, MIGRATE, migrate_published, "zone", "frame", "dst")                                    \
    X(PROBE, MIGRATE, migrate_end, "zone", "frame", "dst")                                         \
    X(PROBE, PUTBACK, putback_begin, "zone", "frame", "dst")                                       \
    X(STEP, PUTBACK, putback_call, "zone", "frame", "dst")                                         \
    X(PROBE, PUTBACK, putback_freed, "zone", "frame", "dst")                                       \
    X(STEP, PUTBACK, putback_called, "zone", "frame", "dst")                                       \
    X(STEP, PUTBACK, putback_dropped, "zone", "frame", "dst")                                      \
    X(STEP, PUTBACK, putback_released, "zone", "frame", "dst")                                     \
    X(PROBE, PUTBACK, putback_end, "zone", "frame", "dst")                                         \
    X(STEP, FENCE, fence_begin, "zone", "block", "mode")                                           \
    X(PROBE, FENCE, fence_set, "zone", "block", "mode")                                            \
    X(PROBE, FENCE, fence_refused, "zone", "block", "mode")                                        \
    X(STEP, FENCE, fence_lift, "zone", "block", "mode")                                            \
    X(PROBE, FENCE, fence_lifted, "zone", "block", "mode")                                         \
    X(STEP, FENCE, claim_begin, "zone", "frame", "frames")                                         \
    X(STEP, FENCE, claim_counted, "zone", "frame", "frames")                                       \
    X(STEP, FENCE, claim_taken, "zone", "frame", "frames")                                         \
    X(PROBE, FENCE, claim_refused, "zone", "frame", "frames")                                      \
    X(STEP, INDEX, block_stepped, "zone", "block", "free")                                         \
    X(STEP, INDEX, index_mend, "zone", "block", "class")                                           \
    X(PROBE, PRESENT, populate_begin, "zone", "block", "0")                                        \
    X(STEP, PRESENT, populate_summoned, "zone", "block", "0")                                      \
    X(PROBE, PRESENT, populate_end, "zone", "block", "err")                                        \
    X(PROBE, PRESENT, release_begin, "zone", "block", "given")                                     \
    X(STEP, PRESENT, release_vacated, "zone", "block", "given")                                    \
    X(STEP, PRESENT, release_looked, "zone", "block", "over")                                      \
    X(PROBE, PRESENT, release_end, "zone", "block", "err")                                         \
    X(PROBE, RUN, evacuate_begin, "zone", "frame", "frames")                                       \
    X(PROBE, RUN, evacuate_round, "zone", "frame", "idle")                                         \
    X(PROBE, RUN, evacuate_end, "zone", "frame", "err")                                            \
    X(PROBE, RUN, compact_begin, "zone", "mode", "budget")                                         \
    X(PROBE, RUN, compact_end, "zone", "blocks", "err")                                            \
    X(PROBE, RUN, contig_begin, "zone", "frames", "align")                                         \
    X(PROBE, RUN, contig_window, "zone", "frame", "frames")                                        \
    X(PROBE, RUN, contig_end, "zone", "frames", "err")                                             \
    X(PROBE, RUN, shrink_begin, "zone", "want", "priority")                                        \
    X(PROBE, RUN, shrink_end, "zone", "freed", "priority")                                         \
    X(PROBE, RUN, give_begin, "zone", "blocks", "mode")                                            \
    X(PROBE, RUN, give_end, "zone", "blocks", "err")                                               \
    X(PROBE, CMA, cma_alloc_begin, "zone", "frames", "align")                                      \
    X(STEP, CMA, cma_missed, "zone", "units", "align")                                             \
    X(STEP, CMA, cma_window, "zone", "frame", "err")                                               \
    X(PROBE, CMA, cma_alloc_end, "zone", "frame", "err")                                           \
    X(PROBE, CMA, cma_release, "zone", "frame", "frames")                                          \
    X(PROBE, CMA, cma_returned, "zone", "frame", "frames")                                         \
    X(STEP, CMA, cma_gave, "zone", "units", "why")                                                 \
    X(STEP, CMA, kept_begin, "zone", "frames", "order")                                            \
    X(STEP, CMA, kept_raised, "zone", "frames", "given")                                           \
    X(STEP, CMA, kept_gave, "zone", "frames", "order")                                             \
    X(STEP, POOL, pool_lent, "zone", "frame", "list")                                              \
    X(STEP, POOL, pool_hot, "zone", "frame", "list")                                               \
    X(STEP, POOL, pool_got, "zone", "frame", "owner")                                              \
    X(PROBE, POOL, pool_alloc, "zone", "frame", "list")                                            \
    X(STEP, POOL, pool_slot, "zone", "frame", "owner")                                             \
    X(STEP, POOL, pool_rested, "zone", "frame", "owner")                                           \
    X(PROBE, POOL, pool_free, "zone", "frame", "err")                                              \
    X(STEP, POOL, pool_zeroing, "zone", "frame", "slot")                                           \
    X(STEP, POOL, pool_unlocked, "zone", "frame", "slot")                                          \
    X(PROBE, POOL, pool_zeroed, "zone", "frame", "err")                                            \
    X(STEP, POOL, pool_guessed, "zone", "frame", "slot")                                           \
    X(STEP, POOL, pool_filing, "zone", "frame", "slot")                                            \
    X(PROBE, POOL, pool_moved, "zone", "frame", "dst")                                             \
    X(STEP, POOL, pool_off, "zone", "frame", "units")                                              \
    X(PROBE, POOL, pool_trim, "zone", "units", "keep")                                             \
    X(PROBE, POOL, pool_shrunk, "zone", "units", "order")                                          \
    X(STEP, SHARE, share_look, "zone", "frames", "hard")                                           \
    X(STEP, SHARE, share_raised, "zone", "frames", "used")                                         \
    X(STEP, SHARE, share_drained, "zone", "frames", "0")                                           \
    X(STEP, SHARE, share_set, "zone", "owner", "hard")                                             \
    X(PROBE, STALL, stall_alloc, "zone", "holds", "order")                                         \
    X(PROBE, STALL, stall_frame, "zone", "frame", "round")                                         \
    X(PROBE, STALL, stall_landing, "zone", "pending", "round")                                     \
    X(PROBE, STALL, stall_entry, "pool", "handle", "round")                                        \
    X(PROBE, STALL, stall_zspage, "pool", "zspage", "round")                                       \
    X(STEP, ZS, zs_isolate_begin, "pool", "frame", "zspage")                                       \
    X(PROBE, ZS, zs_isolated, "pool", "frame", "zspage")                                           \
    X(PROBE, ZS, zs_isolate_refused, "pool", "frame", "zspage")                                    \
    X(STEP, ZS, zs_migrate_begin, "pool", "frame", "dst")                                          \
    X(PROBE, ZS, zs_gave_way, "pool", "frame", "zspage")                                           \
    X(STEP, ZS, zs_migrate_alone, "pool", "frame", "dst")                                          \
    X(STEP, ZS, zs_migrate_copied, "pool", "frame", "dst")                                         \
    X(STEP, ZS, zs_migrate_chained, "pool", "frame", "dst")                                        \
    X(STEP, ZS, zs_migrate_open, "pool", "frame", "dst")                                           \
    X(PROBE, ZS, zs_migrated, "pool", "frame", "dst")                                              \
    X(STEP, ZS, zs_putback_begin, "pool", "frame", "zspage")                                       \
    X(PROBE, ZS, zs_putback, "pool", "frame", "zspage")                                            \
    X(STEP, ZS, zs_pinned, "pool", "handle", "zspage")                                             \
    X(STEP, ZS, zs_inside, "pool", "handle", "zspage")                                             \
    X(STEP, ZS, zs_look_begun, "pool", "zspage", "puts")                                           \
    X(STEP, ZS, zs_look_found, "pool", "zspage", "at")                                             \
    X(STEP, ZS, zs_look_copied, "pool", "zspage", "puts")                                          \
    X(STEP, ZS, zs_unpin_begin, "pool", "handle", "zspage")                                        \
    X(STEP, ZS, zs_unpin_left, "pool", "handle", "zspage")                                         \
    X(STEP, ZS, zs_free_marked, "pool", "handle", "pins")                                          \
    X(STEP, ZS, zs_grow, "pool", "class", "flags")                                                 \
    X(STEP, ZS, zs_stocked, "pool", "class", "frames")                                             \
    X(STEP, ZS, zs_put, "pool", "zspage", "slot")                                                  \
    X(STEP, ZS, zs_claimed, "pool", "entry", "zspage")                                             \
    X(STEP, ZS, zs_out, "pool", "zspage", "slot")                                                  \
    X(STEP, ZS, zs_bury_begin, "pool", "zspage", "frames")                                         \
    X(STEP, ZS, zs_bury_alone, "pool", "zspage", "frames")                                         \
    X(STEP, ZS, zs_bury_locked, "pool", "zspage", "frames")                                        \
    X(PROBE, ZS, zs_buried, "pool", "zspage", "frames")                                            \
    X(PROBE, ZS, zs_deferred, "pool", "zspage", "frames")                                          \
    X(PROBE, ZS, zs_compact_begin, "pool", "budget", "frames")                                     \
    X(STEP, ZS, zs_compact_source, "pool", "zspage", "live")                                       \
    X(STEP, ZS, zs_compact_claimed, "pool", "zspage", "handle")                                    \
    X(STEP, ZS, zs_compact_copied, "pool", "zspage", "handle")                                     \
    X(STEP, ZS, zs_compact_slid, "pool", "zspage", "handle")                                       \
    X(STEP, ZS, zs_cut_locked, "pool", "zspage", "frames")                                         \
    X(PROBE, ZS, zs_compact_end, "pool", "moved", "freed")                                         \
    X(STEP, SHM, shm_entered, "shm", "object", "page")                                             \
    X(STEP, SHM, shm_left, "shm", "object", "page")                                                \
    X(STEP, SHM, shm_claimed, "shm", "object", "page")                                             \
    X(STEP, SHM, shm_filled, "shm", "object", "page")                                              \
    X(STEP, SHM, shm_doomed, "shm", "object", "page")                                              \
    X(STEP, SHM, shm_reaping, "shm", "object", "frame")                                            \
    X(STEP, SHM, shm_reaped, "shm", "object", "frame")                                             \
    X(STEP, SHM, shm_emptied, "shm", "object", "frame")                                            \
    X(STEP, SHM, shm_ending, "shm", "object", "0")                                                 \
    X(PROBE, SHM, shm_ended, "shm", "object", "0")                                                 \
    X(STEP, SHM, shm_cut, "shm", "object", "pages")                                                \
    X(STEP, SHM, shm_settled, "shm", "object", "pages")                                            \
    X(STEP, SHM, shm_pinned, "shm", "object", "err")                                               \
    X(STEP, SHM, shm_active, "shm", "object", "mode")                                              \
    X(STEP, SHM, shm_attaching, "shm", "object", "device")                                         \
    X(STEP, SHM, shm_detached, "shm", "object", "device")                                          \
    X(STEP, SHM, shm_purging, "shm", "object", "0")                                                \
    X(PROBE, SHM, shm_purged, "shm", "object", "pages")                                            \
    X(STEP, SHM, shm_want, "shm", "object", "0")                                                   \
    X(STEP, SHM, shm_tidied, "shm", "object", "0")                                                 \
    X(STEP, SHM, shm_counted_in, "shm", "objects", "mode")                                         \
    X(PROBE, SHM, shm_prepared, "shm", "objects", "mode")                                          \
    X(PROBE, SHM, shm_finish, "shm", "objects", "0")                                               \
    X(STEP, SHM, shm_counted_out, "shm", "objects", "0")                                           \
    X(STEP, SHM, shm_alone, "shm", "frame", "page")                                                \
    X(STEP, SHM, shm_copied, "shm", "frame", "dst")                                                \
    X(PROBE, SHM, shm_migrated, "shm", "frame", "dst")                                             \
    X(PROBE, SHM, shm_refused, "shm", "frame", "page")                                             \
    X(STEP, SHM, shm_paid, "shm", "object", "bytes")                                               \
    X(STEP, SHM, shm_out_page, "shm", "object", "page")                                            \
    X(STEP, SHM, shm_out_freed, "shm", "object", "page")                                           \
    X(PROBE, SHM, shm_out_end, "shm", "object", "err")                                             \
    X(STEP, SHM, shm_in_frames, "shm", "object", "pages")                                          \
    X(STEP, SHM, shm_in_alone, "shm", "object", "pages")                                           \
    X(STEP, SHM, shm_in_page, "shm", "object", "page")                                             \
    X(PROBE, SHM, shm_in_end, "shm", "object", "err")                                              \
    X(STEP, STORE, st_share_equal, "entry", "word", "0")                                           \
    X(STEP, STORE, st_share_made, "entry", "word", "shared")                                       \
    X(STEP, STORE, st_share_got, "entry", "shared", "0")                                           \
    X(STEP, STORE, st_swap, "block", "word", "0")                                                  \
    X(STEP, STORE, st_shared_pop, "head", "next", "0")                                             \
    X(STEP, STORE, st_shared_push, "entry", "head", "0")                                           \
    X(STEP, STORE, st_shared_filled, "entry", "word", "0")                                         \
    X(STEP, STORE, st_shared_born, "entry", "refs", "0")                                           \
    X(STEP, STORE, st_shared_last, "entry", "refs", "0")                                           \
    X(STEP, STORE, st_shared_gone, "entry", "word", "0")                                           \
    X(STEP, STORE, st_shared_look, "block", "word", "0")                                           \
    X(STEP, STORE, st_shared_read, "block", "word", "err")                                         \
    X(STEP, STORE, wb_marked, "block", "serial", "0")                                              \
    X(STEP, STORE, wb_copied, "block", "word", "unit")                                             \
    X(STEP, STORE, wb_found, "unit", "units", "0")                                                 \
    X(STEP, STORE, wb_leave, "block", "word", "unit")                                              \
    X(STEP, STORE, wb_left, "block", "word", "unit")                                               \
    X(STEP, STORE, wb_in_vain, "block", "unit", "units")                                           \
    X(STEP, STORE, wb_free, "unit", "units", "0")                                                  \
    X(STEP, STORE, wb_fetch, "block", "word", "0")                                                 \
    X(STEP, STORE, wb_shown, "block", "word", "0")                                                 \
    X(STEP, STORE, wb_fetched, "block", "word", "err")                                             \
    X(STEP, STORE, wb_right, "block", "word", "err")                                               \
    X(STEP, STORE, wb_back, "block", "word", "next")

/* How far an allocation has had to go: alloc_stage. */
enum kli_at {
    KLI_AT_SEARCH = 1, /* blocks of its kind, and whole free ones */
    KLI_AT_DRAIN,      /* what the caches of all CPUs hold */
    KLI_AT_POPULATE,   /* an absent block */
    KLI_AT_MIX,        /* a block of the other kind */
    KLI_AT_IDLE,       /* shrinkers that lose nothing by it */
    KLI_AT_COMPACT,    /* a window is emptied */
    KLI_AT_SOFT,       /* beyond the soft limit */
    KLI_AT_SHRINK,     /* all shrinkers */
    KLI_AT_WAIT,       /* for somebody who holds frames back */
};

enum kli_trace_point {
#define KLI_TRACE_NUMBER(what, group, name, a, b, c) KLI_T_##name,
    KLI_TRACE_POINTS(KLI_TRACE_NUMBER)
#undef KLI_TRACE_NUMBER
        KLI_TRACE_COUNT
};

typedef void kli_trace_fn(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c);

static inline void kli_trace_nothing(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
}

#if KL_DEBUG
extern _Atomic(kli_trace_fn *) kli_trace_hook; /* NULL: none */

static inline void kli_trace_call(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    kli_trace_fn *hook = atomic_load_explicit(&kli_trace_hook, memory_order_acquire);

    if (hook)
        hook(point, a, b, c);
}
#define KLI_TRACE_CALL(name, a, b, c)                                                              \
    kli_trace_call(KLI_T_##name, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c))
#else
#define KLI_TRACE_CALL(name, a, b, c)                                                              \
    do {                                                                                           \
        if (0)                                                                                     \
            kli_trace_nothing((uint64_t)(a), (uint64_t)(b), (uint64_t)(c));                        \
    } while (0)
#endif

#if KL_USDT
#define KLI_TRACE_USDT(name, a, b, c) DTRACE_PROBE3(klotski, name, a, b, c)
#else
#define KLI_TRACE_USDT(name, a, b, c)                                                              \
    do {                                                                                           \
    } while (0)
#endif

/* A PROBE of the list. */
#define KLI_TRACE(name, a, b, c)                                                                   \
    do {                                                                                           \
        KLI_TRACE_CALL(name, a, b, c);                                                             \
        KLI_TRACE_USDT(name, a, b, c);                                                             \
    } while (0)

/* A STEP of the list. (T2) */
#define KLI_TRACE_STEP(name, a, b, c) KLI_TRACE_CALL(name, a, b, c)

#endif
