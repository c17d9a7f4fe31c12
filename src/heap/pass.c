// SPDX-License-Identifier: Apache-2.0
/* A pass: what is moved without anybody waiting.
 *
 *   kl_heap_pass   the batch FREE -> CLAIMED; per block: isolate, choose; CLAIMED -> SENT; submit
 *   kl_heap_done   SENT -> DONE; per move: the identity follows the contents, or it is put back;
 *                  DONE -> FREE
 *
 * The emptier (move/empty.h) belongs to whoever has the batch, which hands it from one half to
 * the other.  After submit the first half looks at nothing of the heap any more.
 */
#include "heap/heap.h"

/* What is under way in the first half. */
struct pass {
    struct kl_heap *heap;
    struct kl_heap_batch *batch;
    struct kl_pass *ask;
    struct kli_run run;
    struct kli_empty_most most;
};

/* Puts back (or ends, when they were freed) n moves of the batch's, from `from` on. */
static void put_back(struct pass *p, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++)
        p->batch->move[i].result = -KL_EAGAIN;
    kli_arrive(&p->run, p->batch->move + from, n);
}

/* Asks for the moves of one block.  Those to be copied stay, in front; the others end here.
 * false: one is to stay where it is. */
static bool choose(struct pass *p, size_t from, size_t *n)
{
    struct kl_heap_batch *batch = p->batch;
    size_t left = from, end = from + *n;

    for (size_t i = from; i < end; i++) {
        struct kl_move move = batch->move[i];
        bool gone;
        enum kl_heap_choice choice =
            kli_heap_choose(p->heap, move.dst, move.src, &batch->copy[left], &gone);

        if (choice == KL_HEAP_COPY) {
            batch->move[i] = batch->move[left];
            batch->move[left++] = move;
            continue;
        }
        p->ask->destroyed += choice == KL_HEAP_DESTROY;
        if (gone)
            continue;
        p->ask->ignored++;
        return false;
    }
    put_back(p, left, end - left);
    *n = left - from;
    if (left == from)
        kli_empty_over(&p->heap->emptier);
    return true;
}

/* Isolates what is to be copied: how many. */
static uint32_t gather(struct pass *p)
{
    enum { VAIN = 64 }; /* blocks that are begun in vain, at most */
    struct kl_heap *heap = p->heap;
    uint32_t n = 0;

    for (unsigned vain = 0; vain < VAIN;) {
        struct kli_empty_most before = p->most;
        size_t some = kli_empty_some(&heap->emptier, &p->run, &p->most, p->batch->move + n),
               all = some;

        if (some == 0)
            break;
        if (choose(p, n, &some)) {
            n += (uint32_t)some;
            continue;
        }
        put_back(p, n, all);
        kli_empty_give_up(&heap->emptier);
        p->most = before;
        vain++;
    }
    return n;
}

static void begin(struct pass *p)
{
    struct kl_heap *heap = p->heap;
    uint32_t moves = p->ask->max_moves;
    uint64_t bytes = p->ask->max_bytes;

    p->ask->moves = p->ask->ignored = p->ask->destroyed = 0;
    p->ask->bytes = 0;
    p->most.moves = moves > 0 && moves < KL_HEAP_MOVES ? moves : KL_HEAP_MOVES;
    p->most.frames = bytes > 0 ? bytes >> heap->zone->frame_shift : UINT64_MAX;
    kli_run_half(&p->run, heap->zone);
    kli_empty_step(&heap->emptier, p->most.frames, atomic_load(&heap->lets_go));
    p->batch->n = gather(p);
    kli_run_half_end(&p->run);
}

static void end(struct kl_heap_batch *batch, bool ok)
{
    kli_empty_settle(&batch->heap->emptier, batch->move, batch->n, ok);
    kli_heap_moves_ended(batch->heap);
}

/* The queue is full, or the engine refuses. */
static void take_back(struct kl_heap_batch *batch)
{
    struct kli_run run;

    kli_run_half(&run, batch->heap->zone);
    for (uint32_t i = 0; i < batch->n; i++)
        batch->move[i].result = -KL_EAGAIN;
    kli_arrive(&run, batch->move, batch->n);
    kli_run_half_end(&run);
    end(batch, false);
}

static uint64_t bytes_of(const struct kl_heap_batch *batch)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < batch->n; i++)
        bytes += batch->copy[i].bytes;
    return bytes;
}

static int send(struct pass *p)
{
    struct kl_heap_batch *batch = p->batch;
    uint32_t n = batch->n;
    uint64_t bytes = bytes_of(batch);
    int err;

    heap_count(p->heap, HEAP_C_PASSES, 1);
    err = kli_heap_send(batch);
    if (err) {
        atomic_fetch_sub_explicit(&p->heap->count[HEAP_C_PASSES], 1, memory_order_relaxed);
        take_back(batch);
        return err;
    }
    p->ask->moves = n;
    p->ask->bytes = bytes;
    return 0;
}

int kl_heap_pass(struct kl_heap *heap, struct kl_pass *pass)
{
    struct pass p = {.heap = heap, .batch = &heap->pass, .ask = pass};
    int err = 0;

    if (!pass || pass->size != sizeof(*pass))
        return -KL_EINVAL;
    if (!heap_batch_step(&heap->pass.word, HEAP_B_FREE, HEAP_B_CLAIMED))
        return -KL_EAGAIN;
    begin(&p);
    if (p.batch->n > 0) {
        err = send(&p);
        if (!err)
            return 0;
    }
    heap_batch_step(&heap->pass.word, HEAP_B_CLAIMED, HEAP_B_FREE);
    return err;
}

void kli_heap_pass_done(struct kl_heap_batch *batch, int result)
{
    struct kli_run run;

    kli_run_half(&run, batch->heap->zone);
    for (uint32_t i = 0; i < batch->n; i++)
        batch->move[i].result = result;
    kli_arrive(&run, batch->move, batch->n);
    kli_run_half_end(&run);
    end(batch, result == 0);
    heap_batch_step(&batch->word, HEAP_B_DONE, HEAP_B_FREE); /* P2 */
}
