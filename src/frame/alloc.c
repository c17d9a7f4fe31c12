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
 * When all that fails while somebody holds frames back (blocks that are being
 * emptied, or populated), it waits for the end of that, unless told not to.
 */
#include "frame/zone.h"

static const uint64_t MAX_WAIT_NS = UINT64_C(2000000000);

struct ask {
    unsigned order;
    unsigned owner;
    uint64_t flags; /* of the state word */
    bool unmovable;
    uint32_t end; /* blocks below this one */
};

static void give_back_reservation(struct kl_zone *zone, uint32_t block, uint32_t n, bool unmovable)
{
    kli_block_step(zone, block, kli_b_put, n | (unmovable ? n * KLI_B_STUCK : 0));
}

static void name_frame(struct kl_zone *zone, uint32_t nr, unsigned order, unsigned owner,
                       uint64_t flags)
{
    atomic_store_explicit(&zone->frame[nr].priv, 0, memory_order_relaxed);
    atomic_store_explicit(&zone->frame[nr].state, kli_f_make(order, owner, flags),
                          memory_order_release);
}

bool kli_alloc_in(struct kl_zone *zone, uint32_t block, unsigned order, unsigned owner,
                  uint64_t flags, enum kli_want want, uint32_t *nr)
{
    bool unmovable = !(flags & KLI_F_KIND);
    uint64_t ask = kli_b_ask(1u << order, unmovable, want, zone->block_frames);

    if (!kli_block_step(zone, block, kli_b_reserve, ask))
        return false;
    if (!kli_bits_take(zone, block, order, nr)) {
        give_back_reservation(zone, block, 1u << order, unmovable);
        return false;
    }
    name_frame(zone, *nr, order, owner, flags);
    return true;
}

bool kli_alloc_beside(struct kl_zone *zone, uint32_t block, unsigned order, unsigned owner,
                      uint64_t flags, uint32_t not_nr, uint32_t not_n, uint32_t *nr)
{
    if (!kli_block_step(zone, block, kli_b_lodge, UINT64_C(1) << order))
        return false;
    if (!kli_bits_take_outside(zone, block, order, not_nr, not_n, nr)) {
        give_back_reservation(zone, block, 1u << order, false);
        return false;
    }
    name_frame(zone, *nr, order, owner, flags);
    return true;
}

/* As many as `most` single frames of a block that is in use and of this kind. */
uint32_t kli_reserve_singles(struct kl_zone *zone, uint32_t block, bool unmovable, uint32_t most,
                             uint32_t *nr)
{
    uint64_t ask = kli_b_ask(most, unmovable, KLI_WANT_OWN_KIND, zone->block_frames);
    uint32_t n = 0;

    if (!kli_block_step(zone, block, kli_b_reserve, ask))
        return 0;
    while (n < most && kli_bits_take(zone, block, 0, &nr[n]))
        n++;
    if (n < most)
        give_back_reservation(zone, block, most - n, unmovable);
    return n;
}

void kli_frame_gone(struct kl_zone *zone, uint32_t nr, uint64_t last)
{
    bool unmovable = !(last & KLI_F_KIND);

    if (kli_f_order(last) == 0 && kli_cache_put(zone, nr, unmovable))
        return;
    kli_bits_put(zone, nr, 1u << kli_f_order(last), unmovable);
}

void kli_bits_put(struct kl_zone *zone, uint32_t nr, uint32_t n, bool unmovable)
{
    kli_bits_clear(zone, nr, n);
    give_back_reservation(zone, kli_block_of(zone, nr), n, unmovable);
}

bool kli_settle(struct kl_zone *zone, uint32_t nr, kli_edge *edge, uint64_t arg)
{
    uint64_t seen;

    if (!kli_apply(&zone->frame[nr].state, edge, arg, &seen))
        return false;
    if (edge(seen, arg).next == 0)
        kli_frame_gone(zone, nr, seen); /* F5 */
    return true;
}

static bool try_block(struct kl_zone *zone, uint32_t block, const struct ask *ask,
                      enum kli_want want, uint32_t *nr)
{
    return kli_alloc_in(zone, block, ask->order, ask->owner, ask->flags, want, nr);
}

static _Atomic uint32_t *hint_of(struct kl_zone *zone, const struct ask *ask)
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
static bool search_range(struct kl_zone *zone, const struct ask *ask, struct look *look,
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
static bool search(struct kl_zone *zone, const struct ask *ask, struct look look, uint32_t *nr)
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
static bool search_own(struct kl_zone *zone, const struct ask *ask, uint32_t most, uint32_t *nr)
{
    struct look look = {class_of(ask->unmovable), KLI_WANT_OWN_KIND, most};

    return ask->order < zone->block_order && search(zone, ask, look, nr);
}

static bool search_free(struct kl_zone *zone, const struct ask *ask, uint32_t *nr)
{
    return search(zone, ask, (struct look){KLI_CLASS_FREE, KLI_WANT_WHOLE_FREE, UINT32_MAX}, nr);
}

/* Mixing; and in the end every block, in case the index is behind. (index.c, I3) */
static bool search_any(struct kl_zone *zone, const struct ask *ask, uint32_t *nr)
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

static bool populate_and_search(struct kl_zone *zone, const struct ask *ask, uint32_t *nr)
{
    uint32_t block;

    while (kli_populate_one(zone, ask->end, &block)) {
        if (try_block(zone, block, ask, KLI_WANT_WHOLE_FREE, nr) || search_free(zone, ask, nr))
            return true;
    }
    return false;
}

/* The block that this CPU used last, even if it has become free as a whole. */
static bool try_last(struct kl_zone *zone, const struct ask *ask, uint32_t *nr)
{
    uint32_t block = atomic_load_explicit(hint_of(zone, ask), memory_order_relaxed);

    return block < ask->end && (try_block(zone, block, ask, KLI_WANT_OWN_KIND, nr) ||
                                try_block(zone, block, ask, KLI_WANT_WHOLE_FREE, nr));
}

static bool search_present(struct kl_zone *zone, const struct ask *ask, uint32_t *nr)
{
    enum { FEW = 16 };

    return search_own(zone, ask, FEW, nr) || search_free(zone, ask, nr) ||
           search_own(zone, ask, UINT32_MAX, nr);
}

static bool alloc_once(struct kl_zone *zone, const struct ask *ask, unsigned flags, uint32_t *nr)
{
    uint64_t word;

    if (ask->order == 0 && ask->end == zone->blocks && kli_cache_get(zone, ask->unmovable, nr)) {
        name_frame(zone, *nr, 0, ask->owner, ask->flags);
        return true;
    }
    if (try_last(zone, ask, nr) || search_present(zone, ask, nr))
        return true;
    if (kli_cache_drain(zone) && search_present(zone, ask, nr))
        return true;
    if (!(flags & KL_ATOMIC) && populate_and_search(zone, ask, nr))
        return true;
    if (!search_any(zone, ask, nr))
        return false;
    word = kli_block_word(zone, kli_block_of(zone, *nr));
    if (!(word & KLI_B_UNMOVABLE) == ask->unmovable)
        kli_count(zone, KLI_C_MIXED, 1);
    return true;
}

/* Waits until one who holds frames back lets go; false when there is nobody. */
static bool wait_for_holds(struct kl_zone *zone, uint32_t ends)
{
    enum { NAP_NS = 50000000 }; /* frames may also become free without a word */

    if (atomic_load(&zone->holds) == 0)
        return atomic_load(&zone->hold_ends) != ends; /* one let go meanwhile */
    kli_count(zone, KLI_C_STALLS, 1);
    zone->host.wait(zone->host.ctx, (const uint32_t *)&zone->hold_ends, ends, NAP_NS);
    return true;
}

static bool alloc_waiting(struct kl_zone *zone, const struct ask *ask, unsigned flags, uint32_t *nr)
{
    const struct kl_host *host = &zone->host;
    uint64_t since = 0;

    for (;;) {
        uint32_t ends = atomic_load(&zone->hold_ends);

        if (alloc_once(zone, ask, flags, nr))
            return true;
        if (flags & (KL_NOWAIT | KL_ATOMIC))
            return false;
        if (since == 0)
            since = host->now_ns(host->ctx);
        if (host->now_ns(host->ctx) - since > MAX_WAIT_NS || !wait_for_holds(zone, ends))
            return false;
    }
}

int kl_frame_alloc(struct kl_zone *zone, unsigned order, kl_owner_id owner, unsigned flags,
                   kl_pfn *pfn)
{
    bool movable = flags & KL_MOVABLE;
    struct ask ask = {order, owner.v, movable ? KLI_F_KIND | KLI_F_MOVABLE : 0, !movable, 0};
    uint32_t nr;

    if (flags & ~(unsigned)(KL_MOVABLE | KL_ZERO | KL_NOWAIT | KL_ATOMIC))
        return -KL_EINVAL;
    if (order > zone->block_order || !kli_owner_is(zone, owner.v) ||
        (movable && !kli_owner(zone, owner.v)->movable))
        return -KL_EINVAL;
    ask.end = kli_owner(zone, owner.v)->end;
    if (movable && (flags & KL_ZERO)) /* nobody may move it before it is zeroed */
        ask.flags = KLI_F_KIND | KLI_F_LOCKED;
    if (!alloc_waiting(zone, &ask, flags, &nr))
        return -KL_ENOMEM;
    if (flags & KL_ZERO) {
        memset(kli_addr(zone, nr), 0, (size_t)1 << (zone->frame_shift + order));
        if (movable)
            kli_settle(zone, nr, kli_f_publish, 0);
    }
    *pfn = kli_pfn(zone, nr);
    return 0;
}

int kl_frame_free(struct kl_zone *zone, kl_owner_id owner, kl_pfn pfn)
{
    uint64_t word;

    if (!kli_pfn_ok(zone, pfn))
        return -KL_EINVAL;
    if (kli_settle(zone, kl_pfn_nr(pfn), kli_f_free, owner.v))
        return 0;
    word = kli_state(zone, kl_pfn_nr(pfn));
    return kli_f_owner(word) == owner.v && kli_f_pins(word) > 0 ? -KL_EBUSY : -KL_EINVAL;
}
