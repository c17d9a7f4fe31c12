// SPDX-License-Identifier: Apache-2.0
/* Buffers that move: the owner's callbacks.
 *
 * isolate and putback are edges of the buffer's word.  migrate is called when the contents are
 * there already: by kli_arrive at the end of a pass.  A run's moves go to the engine in batches
 * of their own (migrate_batch), and are reported with the batch.
 */
#include "heap/heap.h"

/* The slot that the frame's private word names; NULL: it has just been allocated. */
static struct heap_slot *slot_at(const struct kl_heap *heap, kl_pfn frame, uint32_t *index)
{
    uint64_t priv = kl_frame_private(heap->zone, frame);

    if (priv == 0)
        return NULL;
    *index = (uint32_t)(priv - 1);
    return kli_heap_slot(heap, *index);
}

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct kl_heap *heap = ctx;
    uint32_t index;
    struct heap_slot *slot = slot_at(heap, frame, &index);

    (void)mode;
    if (!slot || !kli_apply(&slot->word, heap_e_hold, kl_pfn_nr(frame), NULL))
        return false;
    heap_count(heap, HEAP_C_ISOLATED, 1);
    return true;
}

void kli_heap_moves_ended(struct kl_heap *heap)
{
    const struct kl_host *host = &heap->zone->host;

    atomic_fetch_add(&heap->ends, 1);
    if (atomic_load(&heap->waiters) > 0)
        host->wake(host->ctx, (const uint32_t *)&heap->ends, true);
}

/* Not when it was freed: then its word names another place, or none. (H4) */
static void putback(void *ctx, kl_pfn frame)
{
    struct kl_heap *heap = ctx;
    uint32_t index;
    struct heap_slot *slot = slot_at(heap, frame, &index);

    KLI_REQUIRE(&heap->zone->host, slot != NULL);
    if (kli_apply(&slot->word, heap_e_release, kl_pfn_nr(frame), NULL)) {
        heap_count(heap, HEAP_C_PUT_BACK, 1);
        kli_heap_moves_ended(heap);
    }
}

static void describe(const struct kl_heap *heap, const struct heap_slot *slot, uint32_t index,
                     uint64_t word, kl_pfn dst, kl_pfn src, struct kl_heap_move *move)
{
    uint32_t frames = atomic_load_explicit(&slot->frames, memory_order_acquire);

    *move = (struct kl_heap_move){
        .buffer = kli_heap_id(heap, index, word),
        .user = atomic_load_explicit(&slot->user, memory_order_acquire),
        .dst = heap_offset(heap, kl_pfn_nr(dst)),
        .src = heap_offset(heap, kl_pfn_nr(src)),
        .bytes = heap_offset(heap, frames),
    };
}

/* What is held at src; false: it was freed. */
static bool describe_held(struct kl_heap *heap, kl_pfn dst, kl_pfn src, struct kl_heap_move *move)
{
    uint32_t index;
    struct heap_slot *slot = slot_at(heap, src, &index);
    uint64_t word;

    if (!slot)
        return false;
    word = atomic_load(&slot->word);
    if (!heap_is_at(word, HEAP_HELD, kl_pfn_nr(src)))
        return false;
    describe(heap, slot, index, word, dst, src, move);
    return atomic_fetch_or(&slot->word, 0) == word; /* it was of this buffer */
}

enum kl_heap_choice kli_heap_choose(struct kl_heap *heap, kl_pfn dst, kl_pfn src,
                                    struct kl_copy *copy, bool *gone)
{
    enum kl_heap_choice choice = KL_HEAP_COPY;
    struct kl_heap_move move;

    *gone = !describe_held(heap, dst, src, &move);
    if (*gone)
        return KL_HEAP_IGNORE;
    *copy = (struct kl_copy){move.dst, move.src, move.bytes};
    if (heap->ops.choose)
        choice = heap->ops.choose(heap->ctx, &move);
    if (choice == KL_HEAP_DESTROY) {
        *gone = true;
        if (kl_heap_free(heap, move.buffer) != 0)
            return KL_HEAP_IGNORE; /* freed meanwhile */
        heap_count(heap, HEAP_C_DESTROYED, 1);
    } else if (choice != KL_HEAP_COPY) {
        choice = KL_HEAP_IGNORE;
        heap_count(heap, HEAP_C_IGNORED, 1);
    }
    return choice;
}

/* The contents are at dst: the buffer lives there from now on.  -KL_EAGAIN: it was freed, or is
 * about to be. */
static int land(struct kl_heap *heap, kl_pfn dst, kl_pfn src)
{
    uint32_t index, to = kl_pfn_nr(dst), from = kl_pfn_nr(src);
    struct heap_slot *slot = slot_at(heap, src, &index);
    struct kl_heap_move move;

    if (!slot || !describe_held(heap, dst, src, &move))
        return -KL_EAGAIN;
    kl_frame_set_private(heap->zone, dst, (uint64_t)index + 1);
    if (!kli_apply(&slot->word, heap_e_land, (uint64_t)from << 32 | to, NULL))
        return -KL_EAGAIN;
    heap_count(heap, HEAP_C_MOVED, 1);
    heap_count(heap, HEAP_C_MOVED_FRAMES, move.bytes >> heap->zone->frame_shift);
    if (heap->ops.moved)
        heap->ops.moved(heap->ctx, &move);
    kli_apply(&slot->word, heap_e_settle, to, NULL); /* unless it was freed there */
    return 0;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)mode;
    return land(ctx, dst, src);
}

static struct kl_heap_batch *claim_batch(struct kl_heap *heap)
{
    for (unsigned i = 0; i < HEAP_RUNS; i++) {
        if (heap_batch_step(&heap->run[i].word, HEAP_B_FREE, HEAP_B_CLAIMED))
            return &heap->run[i];
    }
    return NULL;
}

/* Those that are to be copied go into the batch, as pending. */
static void fill(struct kl_heap_batch *batch, struct kl_move *moves, size_t n)
{
    batch->n = 0;
    for (size_t i = 0; i < n; i++) {
        struct kl_move *move = &moves[i];
        bool gone;
        enum kl_heap_choice choice =
            kli_heap_choose(batch->heap, move->dst, move->src, &batch->copy[batch->n], &gone);

        if (choice != KL_HEAP_COPY) {
            move->result = gone ? -KL_EAGAIN : -KL_EBUSY;
            continue;
        }
        move->result = KL_PENDING;
        batch->at[batch->n++] = move;
    }
}

/* How many are pending. */
static size_t send_some(struct kl_heap *heap, struct kl_move *moves, size_t n)
{
    struct kl_heap_batch *batch = claim_batch(heap);
    size_t pending;
    int err = 0;

    for (size_t i = 0; i < n && !batch; i++)
        moves[i].result = -KL_EAGAIN;
    if (!batch)
        return 0;
    fill(batch, moves, n);
    pending = batch->n;
    if (pending > 0) {
        err = kli_heap_send(batch);
        if (!err)
            return pending;
    }
    for (size_t i = 0; i < pending; i++)
        batch->at[i]->result = err;
    KLI_REQUIRE(&heap->zone->host, heap_batch_step(&batch->word, HEAP_B_CLAIMED, HEAP_B_FREE));
    return 0;
}

static size_t migrate_batch(void *ctx, struct kl_move *moves, size_t n, enum kl_mode mode)
{
    size_t pending = 0;

    (void)mode;
    for (size_t i = 0; i < n; i += KLI_BATCH)
        pending += send_some(ctx, moves + i, kli_min(KLI_BATCH, n - i));
    return pending;
}

/* A run's batch.  A move whose end was told is its run's again. */
static void run_done(struct kl_heap_batch *batch, int result)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        struct kl_move *move = batch->at[i];

        kl_move_done(move, result ? result : land(batch->heap, move->dst, move->src));
    }
    kli_heap_moves_ended(batch->heap);
    heap_batch_step(&batch->word, HEAP_B_DONE, HEAP_B_FREE); /* P2 */
}

int kli_heap_send(struct kl_heap_batch *batch)
{
    struct kl_heap *heap = batch->heap;
    const struct kl_host *host = &heap->zone->host;
    int err;

    KLI_REQUIRE(host, heap_batch_step(&batch->word, HEAP_B_CLAIMED, HEAP_B_SENT));
    heap_count(heap, HEAP_C_BATCHES, 1);
    err = heap->ops.submit(heap->ctx, batch->copy, batch->n, batch);
    if (err == 0)
        return 0; /* it may be over, and another's */
    KLI_REQUIRE(host, heap_batch_step(&batch->word, HEAP_B_SENT, HEAP_B_CLAIMED));
    atomic_fetch_sub_explicit(&heap->count[HEAP_C_BATCHES], 1, memory_order_relaxed);
    heap_count(heap, HEAP_C_REFUSED, 1);
    return err < 0 ? err : -KL_EINVAL;
}

void kl_heap_done(struct kl_heap_batch *batch, int result)
{
    struct kl_heap *heap = batch->heap;
    bool batch_was_sent = heap_batch_step(&batch->word, HEAP_B_SENT, HEAP_B_DONE);

    KLI_REQUIRE(&heap->zone->host, batch_was_sent); /* or it is reported twice */
    if (result > 0)
        result = -KL_EIO;
    if (result)
        heap_count(heap, HEAP_C_FAILED, 1);
    if (batch->move)
        kli_heap_pass_done(batch, result);
    else
        run_done(batch, result);
}

/* Words for a report. */
static bool explain(void *ctx, kl_pfn frame, char *text, size_t bytes)
{
    const struct kl_heap *heap = ctx;
    uint32_t index;
    struct heap_slot *slot = slot_at(heap, frame, &index);
    uint64_t word = slot ? atomic_load(&slot->word) : 0;

    if (heap_state(word) == HEAP_EMPTY || heap_nr(word) != kl_pfn_nr(frame))
        return false;
    if (heap_users(word) > 0)
        kli_text(text, bytes, "in use by the device");
    else if (heap_state(word) != HEAP_AT_REST)
        kli_text(text, bytes, "being copied");
    else
        return false;
    return true;
}

int kli_heap_owner_register(struct kl_heap *heap)
{
    const struct kl_owner_ops ops = {
        .size = sizeof(ops),
        .name = heap->ops.name ? heap->ops.name : "heap",
        .isolate = isolate,
        .migrate = migrate,
        .putback = putback,
        .migrate_batch = migrate_batch,
        .explain = explain,
    };

    return kl_owner_register(heap->zone, &ops, heap, &heap->owner);
}
