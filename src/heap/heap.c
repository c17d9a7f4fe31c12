// SPDX-License-Identifier: Apache-2.0
/* A heap's beginning and end, and what it has counted. */
#include "heap/heap.h"

static _Atomic uint32_t heaps; /* ever */

static bool ops_ok(const struct kl_heap_ops *ops)
{
    return ops && ops->size == sizeof(*ops) && ops->submit;
}

/* The arrays of the batches lie behind the heap. */
static size_t bytes_of(void)
{
    size_t moves = KL_HEAP_MOVES + (size_t)HEAP_RUNS * KLI_BATCH;

    return kli_align_up(sizeof(struct kl_heap), 64) + KL_HEAP_MOVES * sizeof(struct kl_move) +
           moves * sizeof(struct kl_copy) +
           (size_t)HEAP_RUNS * KLI_BATCH * sizeof(struct kl_move *);
}

static void place_batches(struct kl_heap *heap)
{
    char *at = (char *)heap + kli_align_up(sizeof(*heap), 64);

    heap->pass.heap = heap;
    heap->pass.copy = (void *)at;
    at += KL_HEAP_MOVES * sizeof(struct kl_copy);
    heap->pass.move = (void *)at;
    at += KL_HEAP_MOVES * sizeof(struct kl_move);
    for (unsigned i = 0; i < HEAP_RUNS; i++) {
        heap->run[i].heap = heap;
        heap->run[i].copy = (void *)at;
        at += KLI_BATCH * sizeof(struct kl_copy);
        heap->run[i].at = (void *)at;
        at += KLI_BATCH * sizeof(struct kl_move *);
    }
}

int kl_heap_create(struct kl_zone *zone, const struct kl_heap_ops *ops, void *ctx,
                   struct kl_heap **out)
{
    struct kl_heap *heap;
    int err;

    if (!out || !ops_ok(ops))
        return -KL_EINVAL;
    heap = kl_zone_meta_alloc(zone, bytes_of());
    if (!heap)
        return -KL_ENOMEM;
    heap->zone = zone;
    heap->ops = *ops;
    heap->ctx = ctx;
    heap->bytes = bytes_of();
    heap->tag = 1 + atomic_fetch_add(&heaps, 1) % 0xffff;
    place_batches(heap);
    err = kli_heap_owner_register(heap);
    if (err)
        goto no_owner;
    err = kli_empty_init(&heap->emptier, zone, heap->owner.v);
    if (err)
        goto no_emptier;
    *out = heap;
    return 0;

no_emptier:
    kl_owner_unregister(zone, heap->owner);
no_owner:
    kl_zone_meta_free(zone, heap, heap->bytes);
    return err;
}

static uint32_t under_way(const struct kl_heap *heap)
{
    uint32_t n = atomic_load(&heap->pass.word) != HEAP_B_FREE;

    for (unsigned i = 0; i < HEAP_RUNS; i++)
        n += atomic_load(&heap->run[i].word) != HEAP_B_FREE;
    return n;
}

int kl_heap_destroy(struct kl_heap *heap)
{
    enum { PATIENCE = 64 }; /* who looks at a frame may have a reference for a moment */
    struct kl_zone *zone;
    int err;

    if (!heap)
        return 0;
    zone = heap->zone;
    if (atomic_load(&heap->buffers) > 0 || under_way(heap) > 0)
        return -KL_EBUSY;
    for (unsigned round = 0;; round++) {
        err = kl_owner_unregister(zone, heap->owner);
        if (err != -KL_EBUSY || round == PATIENCE)
            break;
        zone->host.relax(zone->host.ctx, round);
    }
    if (err)
        return err;
    kli_empty_free(&heap->emptier);
    kli_heap_slots_free(heap);
    kl_zone_meta_free(zone, heap, heap->bytes);
    return 0;
}

kl_owner_id kl_heap_owner(const struct kl_heap *heap)
{
    return heap->owner;
}

static uint64_t counted(const struct kl_heap *heap, enum heap_counter what)
{
    return atomic_load_explicit(&heap->count[what], memory_order_relaxed);
}

void kl_heap_get_stats(struct kl_heap *heap, struct kl_heap_stats *stats)
{
    struct kl_heap_stats now = {
        .buffers = atomic_load(&heap->buffers),
        .bytes = atomic_load(&heap->frames) << heap->zone->frame_shift,
        .uses = atomic_load(&heap->uses),
        .passes = counted(heap, HEAP_C_PASSES),
        .batches = counted(heap, HEAP_C_BATCHES),
        .refused = counted(heap, HEAP_C_REFUSED),
        .failed = counted(heap, HEAP_C_FAILED),
        .moved = counted(heap, HEAP_C_MOVED),
        .moved_bytes = counted(heap, HEAP_C_MOVED_FRAMES) << heap->zone->frame_shift,
        .put_back = counted(heap, HEAP_C_PUT_BACK),
        .freed = counted(heap, HEAP_C_FREED),
        .ignored = counted(heap, HEAP_C_IGNORED),
        .destroyed = counted(heap, HEAP_C_DESTROYED),
        .under_way = under_way(heap),
    };

    kli_stats_out(stats, &now, sizeof(now));
}
