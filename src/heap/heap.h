// SPDX-License-Identifier: Apache-2.0
/* A heap's private shape, and its protocol.
 *
 * A buffer is an allocation of the heap's owner and a slot, whose word (state.h) says where it
 * is and who may move it.  A frame's private word is its slot's number + 1.
 *
 * Who may run together
 *
 *   one buffer   use         free              isolate       done: land     putback
 *   use          counted     -KL_EBUSY         refused (H1)  -KL_EBUSY      -KL_EBUSY
 *   free                     one wins          one wins:     one wins:      one wins
 *                                              DYING         H3
 *   isolate                                    frame lock    frame lock     frame lock
 *
 *   pass, pass   the pass's batch word: the second one gets -KL_EAGAIN
 *   pass, run    a frame is isolated once: the run finds it busy, for as long as its mode is
 *                patient; nobody holds back memory for the other (M4 of move/empty.h)
 *   pass, alloc  goes elsewhere while there is an elsewhere (B7 of frame/block.h)
 *
 * Invariants
 * (P1) Between a pass and its done its frames are isolated, their destinations reserved, and
 *      the batch is SENT.  Nothing else is held: no lock, no hold, no fence.
 * (P2) A batch's last step to FREE is the last touch of the heap by who ends it; so a heap whose
 *      batches are all FREE may be destroyed.
 * (P3) What a source held is read by the engine until done: the isolation's reference keeps
 *      the frame, though its buffer be freed.
 * (P4) A slot is for the next buffer when its frame's free has begun: none finds it by the old
 *      frame's private word, by H2.
 * (P5) buffers of a heap == slots not EMPTY, but for who is in between.
 *
 * Locks: none.
 */
#ifndef KLI_HEAP_HEAP_H
#define KLI_HEAP_HEAP_H

#include "heap/state.h"
#include "klotski/heap.h"
#include "move/empty.h"

struct heap_slot {
    kli_word word;
    _Atomic(void *) user;
    _Atomic uint32_t frames;
    _Atomic uint32_t next; /* of the free ones: index + 1; 0: the last */
};

/* slot.c: chunk k has 64 << k of them; none moves or goes while there is the heap. */
enum { HEAP_CHUNKS = 26, HEAP_FIRST_CHUNK = 64 };

enum heap_counter {
    HEAP_C_PASSES,
    HEAP_C_BATCHES,
    HEAP_C_REFUSED,
    HEAP_C_FAILED,
    HEAP_C_ISOLATED,
    HEAP_C_MOVED,
    HEAP_C_MOVED_FRAMES,
    HEAP_C_PUT_BACK,
    HEAP_C_FREED,
    HEAP_C_IGNORED,
    HEAP_C_DESTROYED,
    HEAP_COUNTERS
};

/* Of a pass: move[] and copy[] belong together; of a run: at[] and copy[]. */
struct kl_heap_batch {
    struct kl_heap *heap;
    kli_word word; /* enum heap_batch_state */
    uint32_t n;
    struct kl_move *move; /* NULL: a run's */
    struct kl_move **at;
    struct kl_copy *copy;
};

enum { HEAP_RUNS = 4 }; /* batches of runs under way at a time */

struct kl_heap {
    struct kl_zone *zone; /* all these are constant */
    struct kl_heap_ops ops;
    void *ctx;
    kl_owner_id owner;
    unsigned tag;
    size_t bytes; /* of this and the batches' arrays behind it */

    _Atomic(struct heap_slot *) chunk[HEAP_CHUNKS];
    kli_word old, fresh; /* free slots: those taken next, those freed since */

    _Atomic uint64_t buffers, frames, uses;
    _Atomic uint64_t lets_go;       /* what may make room, or let a block be emptied */
    _Atomic uint32_t ends, waiters; /* of moves; who waits for one */
    _Atomic uint64_t count[HEAP_COUNTERS];

    struct kli_emptier emptier; /* the pass's */
    struct kl_heap_batch pass, run[HEAP_RUNS];
};

static inline void heap_count(struct kl_heap *heap, enum heap_counter what, uint64_t n)
{
    atomic_fetch_add_explicit(&heap->count[what], n, memory_order_relaxed);
}

static inline uint64_t heap_offset(const struct kl_heap *heap, uint32_t nr)
{
    return (uint64_t)nr << heap->zone->frame_shift;
}

/* slot.c */
struct heap_slot *kli_heap_slot(const struct kl_heap *heap, uint32_t index);
uint32_t kli_heap_slots(const struct kl_heap *heap);
int kli_heap_slot_take(struct kl_heap *heap, uint32_t *index);
void kli_heap_slot_put(struct kl_heap *heap, uint32_t index);
void kli_heap_slots_free(struct kl_heap *heap);
kl_buffer_id kli_heap_id(const struct kl_heap *heap, uint32_t index, uint64_t word);
/* -KL_EINVAL: it can't be one of this heap's. */
int kli_heap_find(const struct kl_heap *heap, kl_buffer_id id, struct heap_slot **slot);
static inline uint64_t heap_id_generation(kl_buffer_id id)
{
    return kli_field(id.v, 32, 16);
}

/* move.c: the owner's callbacks. */
int kli_heap_owner_register(struct kl_heap *heap);
/* Asks for a move of an isolated frame; COPY: *copy is filled in.  IGNORE also for one that was
 * freed (*gone). */
enum kl_heap_choice kli_heap_choose(struct kl_heap *heap, kl_pfn dst, kl_pfn src,
                                    struct kl_copy *copy, bool *gone);
/* Moves have ended: who waits for one looks again. */
void kli_heap_moves_ended(struct kl_heap *heap);

/* The same: 0: the engine has it, and it may be over already.  An error: it is CLAIMED again. */
int kli_heap_send(struct kl_heap_batch *batch);

/* pass.c */
void kli_heap_pass_done(struct kl_heap_batch *batch, int result);

#endif
