// SPDX-License-Identifier: Apache-2.0
/* Slots of buffers: a table that grows and never moves, and its free slots.
 *
 * Two stacks: slots are taken from `old`, and freed onto `fresh`; when old is empty, fresh
 * becomes old.  So a slot is used again only after all others that were free with it, which
 * makes it rare that a generation comes round again.
 *
 * (S1) The head of a stack is index + 1 of its first slot, and above that a count of changes,
 *      so that a head that came back is told from one that stayed.  A slot's memory stays, so a
 *      look at the `next` of one that has gone meanwhile is harmless.
 */
#include "heap/heap.h"

static uint32_t head_of(uint64_t word)
{
    return (uint32_t)word;
}

static uint64_t with_head(uint64_t word, uint32_t head)
{
    return ((word >> 32) + 1) << 32 | head;
}

static unsigned chunk_of(uint32_t index)
{
    return 31u - (unsigned)__builtin_clz(index / HEAP_FIRST_CHUNK + 1);
}

static uint32_t first_of(unsigned chunk)
{
    return (uint32_t)(HEAP_FIRST_CHUNK * ((UINT64_C(1) << chunk) - 1));
}

static size_t chunk_bytes(unsigned chunk)
{
    return ((size_t)HEAP_FIRST_CHUNK << chunk) * sizeof(struct heap_slot);
}

/* NULL: there is none yet. */
struct heap_slot *kli_heap_slot(const struct kl_heap *heap, uint32_t index)
{
    unsigned chunk = chunk_of(index);
    struct heap_slot *first;

    if (chunk >= HEAP_CHUNKS)
        return NULL;
    first = atomic_load_explicit(&heap->chunk[chunk], memory_order_acquire);
    return first ? first + (index - first_of(chunk)) : NULL;
}

/* How many there are. */
uint32_t kli_heap_slots(const struct kl_heap *heap)
{
    unsigned chunk = 0;

    while (chunk < HEAP_CHUNKS && atomic_load_explicit(&heap->chunk[chunk], memory_order_acquire))
        chunk++;
    return first_of(chunk);
}

static void push(struct kl_heap *heap, kli_word *stack, uint32_t index)
{
    struct heap_slot *slot = kli_heap_slot(heap, index);
    uint64_t word = atomic_load(stack);

    do {
        atomic_store_explicit(&slot->next, head_of(word), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(stack, &word, with_head(word, index + 1)));
}

static bool pop(struct kl_heap *heap, kli_word *stack, uint32_t *index)
{
    uint64_t word = atomic_load(stack);
    uint32_t next;

    do {
        if (head_of(word) == 0)
            return false;
        *index = head_of(word) - 1;
        next = atomic_load_explicit(&kli_heap_slot(heap, *index)->next, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(stack, &word, with_head(word, next))); /* S1 */
    return true;
}

/* fresh becomes old, unless somebody has filled that. */
static bool turn_over(struct kl_heap *heap)
{
    uint64_t fresh = atomic_load(&heap->fresh), old = atomic_load(&heap->old);
    uint32_t at, next;

    do {
        if (head_of(fresh) == 0)
            return head_of(atomic_load(&heap->old)) != 0;
    } while (!atomic_compare_exchange_weak(&heap->fresh, &fresh, with_head(fresh, 0)));
    if (head_of(old) == 0 &&
        atomic_compare_exchange_strong(&heap->old, &old, with_head(old, head_of(fresh))))
        return true;
    for (at = head_of(fresh); at != 0; at = next) {
        next = atomic_load_explicit(&kli_heap_slot(heap, at - 1)->next, memory_order_relaxed);
        push(heap, &heap->old, at - 1);
    }
    return true;
}

/* One more chunk, the first slot of which is the caller's. */
static int grow(struct kl_heap *heap, uint32_t *index)
{
    unsigned chunk = chunk_of(kli_heap_slots(heap));
    struct heap_slot *none = NULL, *slots;
    uint32_t first = first_of(chunk);

    if (chunk >= HEAP_CHUNKS)
        return -KL_ENOMEM;
    slots = kl_zone_meta_alloc(heap->zone, chunk_bytes(chunk));
    if (!slots)
        return -KL_ENOMEM;
    if (!atomic_compare_exchange_strong(&heap->chunk[chunk], &none, slots)) {
        kl_zone_meta_free(heap->zone, slots, chunk_bytes(chunk));
        return -KL_EAGAIN;
    }
    for (uint32_t i = (uint32_t)HEAP_FIRST_CHUNK << chunk; i-- > 1;)
        push(heap, &heap->old, first + i);
    *index = first;
    return 0;
}

/* -KL_ENOMEM: no metadata. */
int kli_heap_slot_take(struct kl_heap *heap, uint32_t *index)
{
    int err = -KL_EAGAIN;

    while (err == -KL_EAGAIN) {
        if (pop(heap, &heap->old, index))
            return 0;
        if (!turn_over(heap))
            err = grow(heap, index);
    }
    return err;
}

void kli_heap_slot_put(struct kl_heap *heap, uint32_t index)
{
    push(heap, &heap->fresh, index);
}

void kli_heap_slots_free(struct kl_heap *heap)
{
    for (unsigned c = 0; c < HEAP_CHUNKS; c++) {
        struct heap_slot *slots = atomic_load(&heap->chunk[c]);

        if (slots)
            kl_zone_meta_free(heap->zone, slots, chunk_bytes(c));
    }
}

/* index | generation << 32 | tag << 48 */
kl_buffer_id kli_heap_id(const struct kl_heap *heap, uint32_t index, uint64_t word)
{
    return (kl_buffer_id){index | (uint64_t)heap_generation(word) << 32 |
                          (uint64_t)heap->tag << 48};
}

int kli_heap_find(const struct kl_heap *heap, kl_buffer_id id, struct heap_slot **slot)
{
    *slot = id.v >> 48 == heap->tag ? kli_heap_slot(heap, (uint32_t)id.v) : NULL;
    return *slot ? 0 : -KL_EINVAL;
}
