// SPDX-License-Identifier: Apache-2.0
/* Registration of owners, and what an owner may do with its frames besides
 * allocating and freeing them: lock, pin, copy.
 *
 * (O1) An owner's slot is not reused while a state word names it: unregister
 *      walks all words.  So whoever holds a lock or a reference on a frame may
 *      use its owner's callbacks without further ado.
 * (O2) A leaving owner gets no new destinations, or one could appear behind the
 *      walk.  Who reserved one looks at the owner again; mark and walk, words and
 *      look are sequentially consistent, so that one of the two sees the other.
 *      The words are the state's and the block's: the walk passes by a block that
 *      is absent or free as a whole, whose state words are all zero (B1, B4: free
 *      falls before a word names somebody, and rises after it is zero again).
 * (O3) Between prepare and finish nothing of the owner need be held: calls counts.
 * (O4) A name is read with nothing held, so it may be the next owner's while it is read. It is
 *      words, and `term` is odd while they change. Who finds it odd, or another one afterwards,
 *      has read nobody's name: the owner that he wanted is gone.
 * (O5) A run that looks for a destination has a reference on the frame only, which may be handed
 *      over: then the owner that it read in the word may leave, and `end` be the next one's while
 *      it is read.  What is chosen by it is dropped: with the frame locked the run finds that it
 *      is another's (move/isolate.c).
 */
#include "frame/share.h"

static bool has_all(const struct kl_owner_ops *ops)
{
    return ops->isolate && ops->putback && (ops->migrate || ops->migrate_batch);
}

static bool has_none(const struct kl_owner_ops *ops)
{
    return !ops->isolate && !ops->putback && !ops->migrate && !ops->migrate_batch;
}

static bool ops_ok(const struct kl_owner_ops *ops)
{
    return ops->size == sizeof(*ops) && ops->name && (has_all(ops) || has_none(ops)) &&
           !ops->prepare == !ops->finish;
}

static unsigned free_slot(const struct kl_zone *zone)
{
    for (unsigned id = 1; id < KLI_MAX_OWNERS; id++) {
        if (atomic_load(&zone->owner[id].used) == KLI_OWNER_FREE)
            return id;
    }
    return 0;
}

/* With the owners lock. (O4) */
static void set_name(struct kli_owner *owner, const char *name)
{
    char text[KLI_NAME] = {0};
    uint32_t word;

    for (size_t i = 0; name[i] && i + 1 < sizeof(text); i++)
        text[i] = name[i];
    atomic_fetch_add(&owner->term, 1);
    for (size_t i = 0; i < sizeof(text); i += sizeof(word)) {
        memcpy(&word, text + i, sizeof(word));
        atomic_store_explicit(&owner->name[i / sizeof(word)], word, memory_order_release);
    }
    atomic_fetch_add(&owner->term, 1);
}

void kli_owner_name(const struct kl_zone *zone, unsigned id, char name[KLI_NAME])
{
    const struct kli_owner *owner = kli_owner(zone, id);
    uint32_t term = atomic_load(&owner->term), word;

    for (size_t i = 0; i < KLI_NAME; i += sizeof(word)) {
        word = atomic_load_explicit(&owner->name[i / sizeof(word)], memory_order_acquire);
        memcpy(name + i, &word, sizeof(word));
    }
    if (term % 2 || atomic_load(&owner->term) != term)
        memset(name, 0, KLI_NAME);
}

static uint32_t end_block(const struct kl_zone *zone, uint32_t below)
{
    return below == 0 || below > zone->frames ? zone->blocks : below >> zone->block_order;
}

/* From zero, after set_name has raised `term`: a run that still has figures of the slot's last
 * owner drops them. */
static void begin_counting(struct kli_owner *owner)
{
    for (unsigned i = 0; i < KLI_OWNER_COUNTERS; i++)
        atomic_store_explicit(&owner->counter[i], 0, memory_order_relaxed);
}

int kl_owner_register(struct kl_zone *zone, const struct kl_owner_ops *ops, void *ctx,
                      kl_owner_id *owner)
{
    static const struct kl_owner_ops nameless = {.size = sizeof(nameless), .name = "unnamed"};
    unsigned id;

    if (!ops)
        ops = &nameless;
    if (!ops_ok(ops) || (ops->below != 0 && ops->below < zone->block_frames))
        return -KL_EINVAL;
    kli_lock_take(&zone->host, &zone->owners_lock);
    id = free_slot(zone);
    if (id) {
        zone->owner[id].ops = *ops;
        set_name(&zone->owner[id], ops->name);
        zone->owner[id].ctx = ctx;
        zone->owner[id].movable = has_all(ops);
        atomic_store(&zone->owner[id].end, end_block(zone, ops->below));
        atomic_store(&zone->owner[id].quick_end, end_block(zone, ops->below));
        kli_share_reset(zone, id);
        begin_counting(&zone->owner[id]);
        atomic_store(&zone->owner[id].used, KLI_OWNER_REGISTERED);
    }
    kli_lock_drop(&zone->host, &zone->owners_lock);
    *owner = (kl_owner_id){(uint16_t)id};
    return id ? 0 : -KL_ENOSPC;
}

/* Does a state word of the block name the owner? (O2) */
static bool is_in(const struct kl_zone *zone, uint32_t block, unsigned id)
{
    uint64_t word = atomic_load(&zone->block[block]);
    uint32_t nr = block << zone->block_order, end = nr + zone->block_frames;

    if ((word & KLI_B_ABSENT) || kli_b_free(word) == zone->block_frames)
        return false;
    for (; nr < end; nr++) {
        word = atomic_load(&zone->frame[nr].state);
        if ((word & KLI_F_HEAD) && kli_f_owner(word) == id)
            return true;
    }
    return false;
}

static bool is_busy(const struct kl_zone *zone, unsigned id)
{
    for (uint32_t b = 0; b < zone->blocks; b++) {
        if (is_in(zone, b, id))
            return true;
    }
    return atomic_load(&zone->owner[id].calls) > 0; /* O3 */
}

int kl_owner_unregister(struct kl_zone *zone, kl_owner_id owner)
{
    uint32_t registered = KLI_OWNER_REGISTERED;
    bool busy;

    if (owner.v == 0 || owner.v >= KLI_MAX_OWNERS ||
        !atomic_compare_exchange_strong(&zone->owner[owner.v].used, &registered, KLI_OWNER_LEAVING))
        return -KL_EINVAL;
    busy = is_busy(zone, owner.v) || !kli_share_end(zone, owner.v); /* O1 */
    atomic_store(&zone->owner[owner.v].used, busy ? KLI_OWNER_REGISTERED : KLI_OWNER_FREE);
    return busy ? -KL_EBUSY : 0;
}

bool kl_frame_trylock(struct kl_zone *zone, kl_owner_id owner, kl_pfn frame)
{
    return kli_pfn_ok(zone, frame) && owner.v != 0 &&
           kli_apply(&zone->frame[kl_pfn_nr(frame)].state, kli_f_trylock, owner.v, NULL);
}

void kl_frame_unlock(struct kl_zone *zone, kl_pfn frame)
{
    KLI_REQUIRE(&zone->host, kli_pfn_ok(zone, frame));
    KLI_REQUIRE(&zone->host, kli_settle(zone, kl_pfn_nr(frame), kli_f_unlock, 0));
}

/* A frame becomes stuck with its first pin, and free to move with the last unpin. */
void kli_count_stuck(struct kl_zone *zone, uint32_t nr, uint64_t word, kli_edge *edge)
{
    uint64_t n = UINT64_C(1) << kli_f_order(word);

    if (word & KLI_F_KIND)
        kli_block_step(zone, kli_block_of(zone, nr), edge, n * KLI_B_STUCK);
}

int kli_frame_pin(struct kl_zone *zone, kl_owner_id owner, kli_edge *edge, kl_pfn frame)
{
    uint32_t nr = kl_pfn_nr(frame);
    uint64_t seen;

    if (!kli_pfn_ok(zone, frame))
        return -KL_EINVAL;
    KLI_TRACE_STEP(pin_begin, KLI_TAG(zone), nr, owner.v);
    if (!kli_apply(&zone->frame[nr].state, edge, owner.v, &seen)) {
        KLI_TRACE(pin_refused, KLI_TAG(zone), nr, owner.v);
        if (!(seen & KLI_F_HEAD) || (seen & KLI_F_DYING) || kli_f_owner(seen) != owner.v)
            return -KL_EINVAL;
        return (seen & KLI_F_ISOLATED) ? -KL_EBUSY : -KL_ENOSPC;
    }
    KLI_TRACE_STEP(pin_marked, KLI_TAG(zone), nr, owner.v);
    if (kli_f_pins(seen) == 0)
        kli_count_stuck(zone, nr, seen, kli_b_stick);
    KLI_TRACE(pin_done, KLI_TAG(zone), nr, owner.v);
    return 0;
}

int kl_frame_pin(struct kl_zone *zone, kl_owner_id owner, kl_pfn frame)
{
    return kli_frame_pin(zone, owner, kli_f_pin, frame);
}

int kl_frame_unpin(struct kl_zone *zone, kl_owner_id owner, kl_pfn frame)
{
    uint32_t nr = kl_pfn_nr(frame);
    uint64_t seen;

    if (!kli_pfn_ok(zone, frame))
        return -KL_EINVAL;
    KLI_TRACE_STEP(unpin_begin, KLI_TAG(zone), nr, owner.v);
    if (!kli_apply(&zone->frame[nr].state, kli_f_unpin, owner.v, &seen))
        return -KL_EINVAL;
    KLI_TRACE_STEP(unpin_marked, KLI_TAG(zone), nr, owner.v);
    if (kli_f_pins(seen) == 1)
        kli_count_stuck(zone, nr, seen, kli_b_unstick);
    KLI_TRACE(unpin_done, KLI_TAG(zone), nr, owner.v);
    return 0;
}

int kl_frame_copy(struct kl_zone *zone, kl_pfn dst, kl_pfn src)
{
    uint64_t from, to;

    if (!kli_pfn_ok(zone, dst) || !kli_pfn_ok(zone, src) || dst.v == src.v)
        return -KL_EINVAL;
    from = kli_state(zone, kl_pfn_nr(src));
    to = kli_state(zone, kl_pfn_nr(dst));
    if (!(from & KLI_F_HEAD) || !(to & KLI_F_HEAD) || kli_f_order(from) != kli_f_order(to))
        return -KL_EINVAL;
    if (!zone->backing.base)
        return -KL_ENOTSUP;
    memcpy(kli_addr(zone, kl_pfn_nr(dst)), kli_addr(zone, kl_pfn_nr(src)),
           (size_t)1 << (zone->frame_shift + kli_f_order(from)));
    return 0;
}
