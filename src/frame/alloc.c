// SPDX-License-Identifier: Apache-2.0
/* The frame allocator.
 *
 * An allocation reserves in a block's word (one compare-and-swap) and then takes
 * bits; who can't find an aligned run gives the reservation back.  A free clears
 * bits and then raises the word (block.h, B1).  No locks.
 *
 * Where it looks, in this order: this CPU's cache (single frames); the block that
 * this CPU used last; a few blocks of its kind in use; a whole free block, which
 * takes its kind; the other blocks of its kind; what the caches of all CPUs hold; an
 * absent block, for which memory is got; a block of the other kind (mixing,
 * counted).  Blocks are found by the index (index.c).
 * A movable frame goes into a free block of an area before another one: the area's memory
 * is there anyhow, and frames that can't move have only the others (klotski/cma.h).
 * What to do when all that fails is not known here: reclaim/alloc.c.
 */
#include "frame/cache.h"

static void give_back_reservation(struct kl_zone *zone, uint32_t block, uint32_t n, bool unmovable)
{
    kli_block_step(zone, block, kli_b_put, n | (unmovable ? n * KLI_B_STUCK : 0));
}

bool kli_alloc_in(struct kl_zone *zone, uint32_t block, unsigned order, unsigned owner,
                  uint64_t flags, enum kli_want want, uint32_t *nr)
{
    bool unmovable = !(flags & KLI_F_KIND);
    uint64_t ask =
        kli_b_ask(1u << order, unmovable || want >= KLI_WANT_APART, want, zone->block_frames);

    if (order > 0 && want != KLI_WANT_WHOLE_FREE &&
        (kli_b_free(kli_block_word(zone, block)) < 1u << order ||
         !kli_bits_have(zone, block, order)))
        return false;
    if (!kli_block_step(zone, block, kli_b_reserve, ask))
        return false;
    KLI_TRACE_STEP(alloc_reserved, KLI_TAG(zone), block, 1u << order);
    if (!kli_bits_take(zone, block, order, nr)) {
        give_back_reservation(zone, block, 1u << order, unmovable);
        return false;
    }
    KLI_TRACE_STEP(alloc_taken, KLI_TAG(zone), *nr, order);
    kli_name_frame(zone, *nr, order, owner, flags);
    return true;
}

bool kli_alloc_beside(struct kl_zone *zone, uint32_t block, unsigned order, unsigned owner,
                      uint64_t flags, uint32_t not_nr, uint32_t not_n, uint32_t *nr)
{
    uint64_t n = UINT64_C(1) << order, all = zone->block_frames;

    if (!kli_block_step(zone, block, kli_b_lodge, n | all << 20))
        return false;
    if (!kli_bits_take_outside(zone, block, order, not_nr, not_n, nr)) {
        give_back_reservation(zone, block, 1u << order, false);
        return false;
    }
    kli_name_frame(zone, *nr, order, owner, flags);
    return true;
}

/* As many as `most` single frames of a block that is in use and of this kind. */
uint32_t kli_reserve_singles(struct kl_zone *zone, uint32_t block, bool unmovable, uint32_t most,
                             uint32_t *nr)
{
    uint64_t ask = kli_b_ask(most, unmovable, KLI_WANT_OWN_KIND, zone->block_frames);
    uint32_t n = 0;

    if (!kli_may_take(zone, most) || !kli_block_step(zone, block, kli_b_reserve, ask))
        return 0;
    while (n < most && kli_bits_take(zone, block, 0, &nr[n]))
        n++;
    if (n < most)
        give_back_reservation(zone, block, most - n, unmovable);
    return n;
}

/* The word of frame nr became zero from `last`: its bits go back. (F5) */
static inline void frame_gone(struct kl_zone *zone, uint32_t nr, uint64_t last)
{
    bool unmovable = !(last & KLI_F_KIND);

    KLI_TRACE_STEP(free_gone, KLI_TAG(zone), nr, kli_f_order(last));
    if (last & KLI_F_CHARGED)
        kli_share_uncharge(zone, kli_f_owner(last), UINT64_C(1) << kli_f_order(last));
    if (kli_f_order(last) == 0 && kli_cache_put(zone, nr, unmovable))
        return;
    kli_bits_put(zone, nr, 1u << kli_f_order(last), unmovable);
}

KLI_NOINLINE
void kli_bits_put(struct kl_zone *zone, uint32_t nr, uint32_t n, bool unmovable)
{
    while (n > 0) { /* by block */
        uint32_t part = (uint32_t)kli_min(n, zone->block_frames);

        kli_bits_clear(zone, nr, part);
        KLI_TRACE_STEP(free_bits, KLI_TAG(zone), nr, part);
        give_back_reservation(zone, kli_block_of(zone, nr), part, unmovable);
        KLI_TRACE_STEP(free_counted, KLI_TAG(zone), nr, part);
        nr += part;
        n -= part;
    }
}

/* Frees `units` allocations of 2^order frames in a row, all of the owner's and unmovable,
 * past the caches; their bits block by block. */
void kli_free_run(struct kl_zone *zone, unsigned owner, uint32_t nr, uint32_t units, unsigned order)
{
    uint32_t step = 1u << order, start = nr, end = nr + units * step;

    for (; nr < end; nr += step) {
        uint64_t seen;
        struct kli_step freed = kli_take(&zone->frame[nr].state, kli_f_free, owner, &seen);

        KLI_REQUIRE(&zone->host, freed.ok);
        if (freed.next == 0 && (seen & KLI_F_CHARGED))
            kli_share_uncharge(zone, owner, step);
        if (freed.next != 0 && nr > start) /* held by somebody: the last one out frees it */
            kli_bits_put(zone, start, nr - start, true);
        if (freed.next != 0) {
            start = nr + step;
        } else if (((nr + step) & (zone->block_frames - 1)) == 0) {
            kli_bits_put(zone, start, nr + step - start, true);
            start = nr + step;
        }
    }
    if (end > start)
        kli_bits_put(zone, start, end - start, true);
}

bool kli_settle(struct kl_zone *zone, uint32_t nr, kli_edge *edge, uint64_t arg)
{
    uint64_t seen;
    struct kli_step step = kli_take(&zone->frame[nr].state, edge, arg, &seen);

    if (step.ok && step.next == 0)
        frame_gone(zone, nr, seen); /* F5 */
    return step.ok;
}

static bool try_block(struct kl_zone *zone, uint32_t block, const struct kli_ask *ask,
                      enum kli_want want, uint32_t *nr)
{
    return kli_alloc_in(zone, block, ask->order, ask->owner, ask->flags, want, nr);
}

static _Atomic uint32_t *hint_of(struct kl_zone *zone, const struct kli_ask *ask)
{
    return &zone->hint[kli_cpu(zone)].block[ask->unmovable];
}

/* A search: which blocks, what of them, and how many are asked at most. */
struct look {
    enum kli_class class;
    enum kli_want want;
    uint32_t most;
};

/* Blocks [from, end) of the class; remembers where it found something. */
static bool search_range(struct kl_zone *zone, const struct kli_ask *ask, struct look *look,
                         uint32_t from, uint32_t end, uint32_t *nr)
{
    uint32_t block = kli_index_next(zone, look->class, from);

    for (; block < end && look->most > 0; look->most--) {
        if (try_block(zone, block, ask, look->want, nr)) {
            atomic_store_explicit(hint_of(zone, ask), block, memory_order_relaxed);
            return true;
        }
        block = kli_index_next(zone, look->class, block + 1);
    }
    return false;
}

/* Goes round once from the hint. */
static bool search(struct kl_zone *zone, const struct kli_ask *ask, struct look look, uint32_t *nr)
{
    uint32_t start = atomic_load_explicit(hint_of(zone, ask), memory_order_relaxed);

    if (start >= ask->end)
        start = 0;
    return search_range(zone, ask, &look, start, ask->end, nr) ||
           search_range(zone, ask, &look, 0, start, nr);
}

static enum kli_class class_of(bool unmovable)
{
    return unmovable ? KLI_CLASS_UNMOVABLE : KLI_CLASS_MOVABLE;
}

/* Blocks of its kind in use: a free frame is in each of them, but a run of frames
 * need not be, so that a free block is broken up after a few of them. */
static bool search_own(struct kl_zone *zone, const struct kli_ask *ask, uint32_t most, uint32_t *nr)
{
    struct look look = {class_of(ask->unmovable), KLI_WANT_OWN_KIND, most};

    return ask->order < zone->block_order && search(zone, ask, look, nr);
}

static bool search_free(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    const struct look area = {KLI_CLASS_CMA, KLI_WANT_WHOLE_FREE, UINT32_MAX};
    const struct look other = {KLI_CLASS_FREE, KLI_WANT_WHOLE_FREE, UINT32_MAX};

    return (!ask->unmovable && search(zone, ask, area, nr)) || search(zone, ask, other, nr);
}

/* Mixing; and in the end every block, in case the index is behind. (index.c, I3) */
static bool search_any(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    struct look look = {class_of(!ask->unmovable), KLI_WANT_ANY, UINT32_MAX};

    if (search(zone, ask, look, nr))
        return true;
    for (uint32_t block = 0; block < ask->end; block++) {
        if (try_block(zone, block, ask, KLI_WANT_ANY, nr))
            return true;
    }
    return false;
}

static bool may_populate(struct kl_zone *zone, const struct kli_ask *ask)
{
    return ask->populate && (ask->over_soft || !kli_over_soft(zone, kli_block_bytes(zone)));
}

static bool populate_and_search(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    uint32_t block;

    while (may_populate(zone, ask) && kli_populate_one(zone, ask->end, &block)) {
        if (try_block(zone, block, ask, KLI_WANT_WHOLE_FREE, nr) || search_free(zone, ask, nr))
            return true;
    }
    return false;
}

/* The block that this CPU used last, even if it has become free as a whole; unless there
 * are areas, which come first then. */
static bool try_last(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    uint32_t block = atomic_load_explicit(hint_of(zone, ask), memory_order_relaxed);
    bool areas = !ask->unmovable && atomic_load_explicit(&zone->areas, memory_order_relaxed) > 0;

    return block < ask->end && (try_block(zone, block, ask, KLI_WANT_OWN_KIND, nr) ||
                                (!areas && try_block(zone, block, ask, KLI_WANT_WHOLE_FREE, nr)));
}

static bool search_present(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    enum { FEW = 16 };

    return search_own(zone, ask, FEW, nr) || search_free(zone, ask, nr) ||
           search_own(zone, ask, UINT32_MAX, nr);
}

/* Allocations leave the reserve alone; more memory may help. (limit.c, L2) */
bool kli_reserve_allows(struct kl_zone *zone, const struct kli_ask *ask)
{
    uint32_t block;

    if (kli_may_take(zone, 1u << ask->order))
        return true;
    kli_cache_drain(zone);
    while (!kli_may_take(zone, 1u << ask->order)) {
        if (!may_populate(zone, ask) || !kli_populate_one(zone, ask->end, &block))
            return false;
    }
    return true;
}

static bool take_uncached(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    enum { DRAINS = 2 }; /* cache.c, C6 */
    uint64_t word;

    if (try_last(zone, ask, nr))
        return true;
    KLI_TRACE(alloc_stage, KLI_TAG(zone), ask->order, KLI_AT_SEARCH);
    if (search_present(zone, ask, nr))
        return true;
    KLI_TRACE(alloc_stage, KLI_TAG(zone), ask->order, KLI_AT_DRAIN);
    for (unsigned round = 0; round < DRAINS && kli_cache_drain(zone); round++) {
        if (search_present(zone, ask, nr))
            return true;
    }
    KLI_TRACE(alloc_stage, KLI_TAG(zone), ask->order, KLI_AT_POPULATE);
    if (populate_and_search(zone, ask, nr))
        return true;
    KLI_TRACE(alloc_stage, KLI_TAG(zone), ask->order, KLI_AT_MIX);
    if (!search_any(zone, ask, nr))
        return false;
    word = kli_block_word(zone, kli_block_of(zone, *nr));
    if (!(word & KLI_B_UNMOVABLE) == ask->unmovable)
        kli_count(zone, KLI_C_MIXED, 1);
    return true;
}

bool kli_frame_take(struct kl_zone *zone, const struct kli_ask *ask, uint32_t *nr)
{
    if (ask->order == 0 && ask->end == zone->blocks) {
        *nr = kli_cache_get(zone, ask->unmovable);
        if (*nr != KL_CPU_NONE) {
            kli_name_frame(zone, *nr, 0, ask->owner, ask->flags);
            return true;
        }
    }
    return kli_reserve_allows(zone, ask) && take_uncached(zone, ask, nr);
}

int kl_frame_free(struct kl_zone *zone, kl_owner_id owner, kl_pfn pfn)
{
    uint32_t nr = kl_pfn_nr(pfn);
    uint64_t seen;
    struct kli_step step;

    if (!kli_pfn_ok(zone, pfn))
        return -KL_EINVAL;
    KLI_TRACE_STEP(free_begin, KLI_TAG(zone), nr, owner.v);
    step = kli_take(&zone->frame[nr].state, kli_f_free, owner.v, &seen);
    if (!step.ok)
        return kli_f_owner(seen) == owner.v && kli_f_pins(seen) > 0 ? -KL_EBUSY : -KL_EINVAL;
    if (step.next == 0)
        frame_gone(zone, nr, seen); /* F5 */
    else
        KLI_TRACE(free_dying, KLI_TAG(zone), nr, owner.v);
    return 0;
}
