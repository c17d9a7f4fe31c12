// SPDX-License-Identifier: Apache-2.0
/* Recounts a heap that nobody uses just now: slots against frames against sums. */
#include "heap/heap.h"

struct tally {
    uint64_t buffers, frames, uses, free;
    const char *broken;
};

static void expect(struct tally *t, bool ok, const char *what)
{
    if (!ok && !t->broken)
        t->broken = what;
}

static void check_one(const struct kl_heap *heap, uint32_t nr, uint32_t frames, unsigned users,
                      uint64_t index, struct tally *t)
{
    const struct kl_zone *zone = heap->zone;
    uint64_t word = kli_state(zone, nr);

    expect(t, (word & KLI_F_MOVABLE) && UINT64_C(1) << kli_f_order(word) == frames,
           "a buffer's frames are not of its size, or not movable");
    expect(t, kl_frame_private(zone, kli_pfn(zone, nr)) == index + 1,
           "a frame does not name its buffer's slot");
    expect(t, kli_f_bare_pins(word) == users, "a buffer has not as many pins as users");
}

static void check_range(const struct kl_heap *heap, uint32_t nr, uint32_t frames, struct tally *t)
{
    for (uint32_t i = 0; i < frames; i++) {
        uint64_t word = kli_state(heap->zone, nr + i);

        expect(t, kli_f_owner(word) == heap->owner.v && !(word & KLI_F_MOVABLE),
               "a frame of a range is another's, or movable");
    }
}

static void check_slot(const struct kl_heap *heap, uint32_t index, struct tally *t)
{
    const struct heap_slot *slot = kli_heap_slot(heap, index);
    uint64_t word = atomic_load(&slot->word);
    uint32_t nr = heap_nr(word), frames = atomic_load(&slot->frames);

    if (heap_state(word) == HEAP_EMPTY) {
        expect(t, (word & (HEAP_GENERATION - 1)) == 0, "an empty slot has users, or a frame");
        return;
    }
    t->buffers++;
    t->frames += frames;
    t->uses += heap_users(word);
    expect(t, heap_state(word) == HEAP_AT_REST || heap_state(word) == HEAP_RANGE,
           "H4: a buffer is on its way, and nothing is");
    if (frames == 0 || nr >= heap->zone->frames || frames > heap->zone->frames - nr) {
        expect(t, false, "a buffer is not within the zone");
        return;
    }
    expect(t, kli_f_owner(kli_state(heap->zone, nr)) == heap->owner.v,
           "a buffer's frame is another's");
    if (heap_state(word) == HEAP_RANGE)
        check_range(heap, nr, frames, t);
    else
        check_one(heap, nr, frames, heap_users(word), index, t);
}

static void count_free(const struct kl_heap *heap, const kli_word *stack, uint32_t slots,
                       struct tally *t)
{
    uint32_t at = (uint32_t)atomic_load(stack);

    for (; at != 0 && t->free <= slots; t->free++)
        at = atomic_load(&kli_heap_slot(heap, at - 1)->next);
}

int kl_heap_check(struct kl_heap *heap, const char **what)
{
    uint32_t slots = kli_heap_slots(heap);
    struct tally t = {.broken = NULL};

    for (uint32_t i = 0; i < slots; i++)
        check_slot(heap, i, &t);
    count_free(heap, &heap->old, slots, &t);
    count_free(heap, &heap->fresh, slots, &t);
    expect(&t, t.free + t.buffers == slots, "P5: a slot is neither free nor a buffer");
    expect(&t, t.buffers == atomic_load(&heap->buffers), "P5: buffers are miscounted");
    expect(&t, t.frames == atomic_load(&heap->frames), "buffers' frames are miscounted");
    expect(&t, t.uses == atomic_load(&heap->uses), "uses are miscounted");
    expect(&t, atomic_load(&heap->pass.word) == HEAP_B_FREE, "P1: a pass is under way");
    expect(&t,
           atomic_load(&heap->count[HEAP_C_ISOLATED]) ==
               atomic_load(&heap->count[HEAP_C_MOVED]) +
                   atomic_load(&heap->count[HEAP_C_PUT_BACK]) +
                   atomic_load(&heap->count[HEAP_C_FREED]),
           "H4: an isolation did not end as exactly one of moved, put back, freed");
    if (what)
        *what = t.broken;
    return t.broken ? -KL_EIO : 0;
}
