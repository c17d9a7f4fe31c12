// SPDX-License-Identifier: Apache-2.0
/* Buffers: made, freed, looked up, used. */
#include "heap/heap.h"

/* What is asked for, in frames. */
struct size {
    uint32_t frames;
    unsigned order; /* of one allocation; unless it is a range */
    bool range;
};

static bool size_of(const struct kl_zone *zone, uint64_t bytes, struct size *size)
{
    uint64_t frames =
        (bytes >> zone->frame_shift) + ((bytes & ((UINT64_C(1) << zone->frame_shift) - 1)) != 0);

    if (frames == 0 || frames > zone->frames)
        return false;
    size->range = frames > zone->block_frames;
    size->order = 0;
    while (!size->range && UINT64_C(1) << size->order < frames)
        size->order++;
    size->frames = size->range ? (uint32_t)frames : 1u << size->order;
    return true;
}

static bool flags_ok(const struct kl_zone *zone, const struct size *size, unsigned flags)
{
    const unsigned known = KL_MOVABLE | KL_ZERO | KL_NOWAIT | KL_ATOMIC | KL_NO_SHRINK | KL_NO_MOVE;
    const unsigned not_range = KL_ZERO | KL_NOWAIT | KL_ATOMIC | KL_NO_MOVE;

    if ((flags & ~known) || ((flags & KL_ZERO) && !zone->backing.base))
        return false;
    return !size->range || !(flags & not_range);
}

static int get_frames(struct kl_heap *heap, const struct size *size, unsigned flags, kl_pfn *pfn)
{
    struct kl_zone *zone = heap->zone;

    if (size->range)
        return kl_contig_alloc(zone, heap->owner, size->frames, zone->block_frames, KL_SYNC, pfn,
                               NULL);
    return kl_frame_alloc(zone, size->order, heap->owner, flags | KL_MOVABLE, pfn);
}

int kl_heap_alloc(struct kl_heap *heap, uint64_t bytes, unsigned flags, void *user,
                  kl_buffer_id *buffer)
{
    struct heap_slot *slot;
    struct size size;
    uint32_t index;
    uint64_t seen;
    kl_pfn pfn;
    int err;

    if (!size_of(heap->zone, bytes, &size) || !flags_ok(heap->zone, &size, flags))
        return -KL_EINVAL;
    err = kli_heap_slot_take(heap, &index);
    if (err)
        return err;
    err = get_frames(heap, &size, flags, &pfn);
    if (err) {
        kli_heap_slot_put(heap, index);
        return err;
    }
    slot = kli_heap_slot(heap, index);
    atomic_store_explicit(&slot->user, user, memory_order_relaxed);
    atomic_store_explicit(&slot->frames, size.frames, memory_order_relaxed);
    atomic_fetch_add(&heap->buffers, 1);
    atomic_fetch_add_explicit(&heap->frames, size.frames, memory_order_relaxed);
    KLI_REQUIRE(&heap->zone->host,
                kli_apply(&slot->word, size.range ? heap_e_open_range : heap_e_open, kl_pfn_nr(pfn),
                          &seen));
    *buffer = kli_heap_id(heap, index, seen);
    if (!size.range) /* from now on it may be isolated */
        kl_frame_set_private(heap->zone, pfn, (uint64_t)index + 1);
    return 0;
}

static void let_go(struct kl_heap *heap)
{
    atomic_fetch_add_explicit(&heap->lets_go, 1, memory_order_relaxed);
}

int kl_heap_free(struct kl_heap *heap, kl_buffer_id buffer)
{
    struct heap_slot *slot;
    uint32_t frames;
    uint64_t seen;
    kl_pfn pfn;
    int err = kli_heap_find(heap, buffer, &slot);

    if (err)
        return err;
    frames = atomic_load_explicit(&slot->frames, memory_order_relaxed);
    if (!kli_apply(&slot->word, heap_e_free, heap_id_generation(buffer), &seen))
        return heap_is(seen, heap_id_generation(buffer)) ? -KL_EBUSY : -KL_ESTALE;
    pfn = kli_pfn(heap->zone, heap_nr(seen));
    if (heap_state(seen) == HEAP_RANGE)
        err = kl_contig_free(heap->zone, heap->owner, pfn, frames);
    else
        err = kl_frame_free(heap->zone, heap->owner, pfn); /* H3 */
    KLI_REQUIRE(&heap->zone->host, err == 0);
    if (heap_state(seen) == HEAP_HELD)
        heap_count(heap, HEAP_C_FREED, 1);
    let_go(heap);
    atomic_fetch_sub_explicit(&heap->frames, frames, memory_order_relaxed);
    kli_heap_slot_put(heap, (uint32_t)buffer.v); /* P4 */
    atomic_fetch_sub(&heap->buffers, 1);
    return 0;
}

int kl_heap_where(struct kl_heap *heap, kl_buffer_id buffer, uint64_t *offset, uint64_t *bytes)
{
    struct heap_slot *slot;
    uint32_t frames;
    uint64_t word;
    int err = kli_heap_find(heap, buffer, &slot);

    if (err)
        return err;
    frames = atomic_load_explicit(&slot->frames, memory_order_acquire);
    word = atomic_fetch_or(&slot->word, 0); /* after that, so that it is of this buffer */
    if (!heap_is(word, heap_id_generation(buffer)))
        return -KL_ESTALE;
    if (offset)
        *offset = heap_offset(heap, heap_nr(word));
    if (bytes)
        *bytes = heap_offset(heap, frames);
    return 0;
}

/* Marks it, and pins its frame so that its block counts it.  -KL_EBUSY: it is on its way, or
 * the framework has not let go of it yet. */
static int try_use(struct kl_heap *heap, struct heap_slot *slot, uint64_t generation,
                   uint64_t *word)
{
    int err = 0;

    if (!kli_apply(&slot->word, heap_e_use, generation, word)) {
        if (!heap_is(*word, generation))
            return -KL_ESTALE;
        return heap_users(*word) == HEAP_MOST_USERS ? -KL_ENOSPC : -KL_EBUSY;
    }
    if (heap_state(*word) == HEAP_AT_REST)
        err = kl_frame_pin(heap->zone, heap->owner, kli_pfn(heap->zone, heap_nr(*word)));
    if (err)
        kli_apply(&slot->word, heap_e_unuse, generation, NULL);
    else
        atomic_fetch_add_explicit(&heap->uses, 1, memory_order_relaxed);
    return err;
}

/* Until the moves that it is in have ended, or the time is over. */
static int use_patiently(struct kl_heap *heap, struct heap_slot *slot, uint64_t generation,
                         uint64_t patience_ns, uint64_t *word)
{
    const uint64_t NAP_NS = 500000; /* the framework lets go after it has said so */
    const struct kl_host *host = &heap->zone->host;
    uint64_t since = host->now_ns(host->ctx);
    int err;

    atomic_fetch_add(&heap->waiters, 1);
    for (;;) {
        uint32_t ends = atomic_load(&heap->ends);

        err = try_use(heap, slot, generation, word);
        if (err != -KL_EBUSY || host->now_ns(host->ctx) - since >= patience_ns)
            break;
        host->wait(host->ctx, (const uint32_t *)&heap->ends, ends, NAP_NS);
    }
    atomic_fetch_sub(&heap->waiters, 1);
    return err;
}

int kl_heap_use(struct kl_heap *heap, kl_buffer_id buffer, enum kl_mode mode, uint64_t *offset)
{
    static const uint64_t patience_ns[] = {
        [KL_ASYNC] = 0, [KL_SYNC_LIGHT] = 5000000, [KL_SYNC] = 200000000};
    uint64_t generation = heap_id_generation(buffer), word;
    struct heap_slot *slot;
    int err = kli_heap_find(heap, buffer, &slot);

    if ((unsigned)mode > KL_SYNC)
        err = -KL_EINVAL;
    if (err)
        return err;
    err = try_use(heap, slot, generation, &word);
    if (err == -KL_EBUSY && patience_ns[mode] > 0)
        err = use_patiently(heap, slot, generation, patience_ns[mode], &word);
    if (!err && offset)
        *offset = heap_offset(heap, heap_nr(word));
    return err;
}

/* The pin first: there are never more of them than users. */
int kl_heap_unuse(struct kl_heap *heap, kl_buffer_id buffer)
{
    uint64_t generation = heap_id_generation(buffer), word;
    struct heap_slot *slot;
    int err = kli_heap_find(heap, buffer, &slot);

    if (err)
        return err;
    word = atomic_load(&slot->word);
    if (!heap_is(word, generation))
        return -KL_ESTALE;
    if (heap_users(word) == 0)
        return -KL_EINVAL;
    if (heap_state(word) == HEAP_AT_REST)
        err = kl_frame_unpin(heap->zone, heap->owner, kli_pfn(heap->zone, heap_nr(word)));
    if (err || !kli_apply(&slot->word, heap_e_unuse, generation, &word))
        return -KL_EINVAL;
    atomic_fetch_sub_explicit(&heap->uses, 1, memory_order_relaxed);
    if (heap_users(word) == 1)
        let_go(heap);
    return 0;
}
