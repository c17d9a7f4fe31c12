// SPDX-License-Identifier: Apache-2.0
/* A device's memory, and a heap in it, whose copy engine works when it is told to: on the test's
 * own thread, so that what comes in between is the test's to say. */
#ifndef TESTS_VRAM_H
#define TESTS_VRAM_H

#include "support/fixture.h"

#include "heap/heap.h"

enum { VRAM_FRAME = 4096, VRAM_JOBS = 16, VRAM_MOST = 4096 };

struct vram_job {
    const struct kl_copy *copies;
    size_t n;
    struct kl_heap_batch *batch;
};

struct vram {
    struct kl_zone *zone;
    struct kl_heap *heap;
    unsigned char *memory; /* as large as the zone */
    struct vram_job job[VRAM_JOBS];
    unsigned jobs;
    bool at_once; /* done within submit */
    int refuses;  /* what submit says, unless it is 0 */
    int result;   /* of the copies */
    atomic_uint submits, copied, told, chosen;
    enum kl_heap_choice choice; /* of every move, */
    kl_buffer_id odd;           /* but of this one's */
    enum kl_heap_choice odd_choice;
    void (*on_choose)(const struct kl_heap_move *move); /* if they are not NULL */
    void (*on_moved)(const struct kl_heap_move *move);
    atomic_uint waits; /* of the library for others: */
    unsigned patience; /* until then passes are left undone */
};

extern struct vram vram;

/* A zone of offsets, of `blocks` blocks of 2^order frames of 4 KiB, and a heap.  Metadata can
 * be made to fail (fault_set); fixture_host changes the host. */
void vram_open(unsigned blocks, unsigned order);
/* Checks both, and that nothing is left. */
void vram_close(void);
/* kl_heap_check and kl_zone_check, and which blocks are shunned. */
void vram_check(void);
/* The engine does all that it has: how many batches. */
unsigned vram_work(void);

/* A buffer of so many frames, filled with what only it has; is that there still? */
kl_buffer_id vram_make(unsigned frames);
bool vram_right(kl_buffer_id id);
void vram_free(kl_buffer_id id);
uint64_t vram_where(kl_buffer_id id);
/* The block that it is in, and how much of a block is in use. */
unsigned vram_block(kl_buffer_id id);
unsigned vram_used(unsigned block);
unsigned vram_whole_blocks(void);

/* Fills `blocks` blocks with single frames, and frees all of them but one in `keep`, from each
 * block's first one on: how many are left. */
unsigned vram_scatter(kl_buffer_id *kept, unsigned blocks, unsigned keep);
/* All of them right; and freed. */
void vram_all_right(const kl_buffer_id *id, unsigned n);
void vram_free_all(const kl_buffer_id *id, unsigned n);

/* A pass with these bounds, which must go well. */
struct kl_pass vram_pass(uint64_t max_bytes, uint32_t max_moves);
struct kl_heap_stats vram_stats(void);

#endif
