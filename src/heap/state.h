// SPDX-License-Identifier: Apache-2.0
/* The word of a buffer: its states, and every edge.
 *
 *   bits  0-31  nr          its first frame
 *   bits 32-43  users       who keep it where it is
 *   bits 44-46  state
 *   bits 48-63  generation  one more with every free
 *
 *            open                hold                   land
 *   EMPTY ----------> AT_REST ---------> HELD@src ---------------> LANDED@dst
 *     | ^              ^  ^  |              |                          |
 *     | |              |  |  | use, unuse   | release                  | settle
 *     | |              |  '--'              |                          |
 *     | |              '--------------------'--------------------------'
 *     | |  free: from AT_REST with users == 0, HELD, LANDED, RANGE with users == 0
 *     | '----------------------------------------------------------------
 *     |  open_range
 *     '--------------> RANGE   (more than a block: never moves)
 *
 * Invariants
 * (H1) HELD and LANDED exclude users; hence what the device works on is not moved.
 * (H2) An edge of a move names the frame that the framework has isolated.  As long as it has,
 *      no other buffer can be there: so an edge that finds the frame finds the same buffer,
 *      whatever became of its slot meanwhile.
 * (H3) Who makes the word EMPTY frees the frame that it named: of HELD the source, of LANDED the
 *      destination.  The framework frees the other one.
 * (H4) One of {release, land, free} ends HELD.
 */
#ifndef KLI_HEAP_STATE_H
#define KLI_HEAP_STATE_H

#include "base/word.h"

#include <stddef.h>

enum heap_state { HEAP_EMPTY, HEAP_AT_REST, HEAP_HELD, HEAP_LANDED, HEAP_RANGE };

#define HEAP_USER       (UINT64_C(1) << 32)
#define HEAP_STATE      (UINT64_C(1) << 44)
#define HEAP_GENERATION (UINT64_C(1) << 48)

enum { HEAP_MOST_USERS = 4095 };

static inline uint32_t heap_nr(uint64_t w)
{
    return (uint32_t)w;
}

static inline unsigned heap_users(uint64_t w)
{
    return (unsigned)kli_field(w, 32, 12);
}

static inline enum heap_state heap_state(uint64_t w)
{
    return (enum heap_state)kli_field(w, 44, 3);
}

static inline unsigned heap_generation(uint64_t w)
{
    return (unsigned)kli_field(w, 48, 16);
}

static inline uint64_t heap_word(uint64_t w, enum heap_state state, uint32_t nr)
{
    return (w & ~(HEAP_GENERATION - 1)) | state * HEAP_STATE | nr;
}

/* Is there such a buffer? */
static inline bool heap_is(uint64_t w, uint64_t generation)
{
    return heap_state(w) != HEAP_EMPTY && heap_generation(w) == generation;
}

static inline bool heap_is_at(uint64_t w, enum heap_state state, uint64_t nr)
{
    return heap_state(w) == state && heap_nr(w) == nr;
}

/* arg: its first frame. */
static inline struct kli_step heap_e_open(uint64_t w, uint64_t nr)
{
    if (heap_state(w) != HEAP_EMPTY)
        return KLI_REFUSED;
    return KLI_STEP(heap_word(w, HEAP_AT_REST, (uint32_t)nr));
}

static inline struct kli_step heap_e_open_range(uint64_t w, uint64_t nr)
{
    if (heap_state(w) != HEAP_EMPTY)
        return KLI_REFUSED;
    return KLI_STEP(heap_word(w, HEAP_RANGE, (uint32_t)nr));
}

/* The frame (arg) is isolated. (H1) */
static inline struct kli_step heap_e_hold(uint64_t w, uint64_t nr)
{
    if (!heap_is_at(w, HEAP_AT_REST, nr) || heap_users(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(heap_word(w, HEAP_HELD, (uint32_t)nr));
}

/* It was not moved. */
static inline struct kli_step heap_e_release(uint64_t w, uint64_t nr)
{
    if (!heap_is_at(w, HEAP_HELD, nr))
        return KLI_REFUSED;
    return KLI_STEP(heap_word(w, HEAP_AT_REST, (uint32_t)nr));
}

/* The contents are there; arg: src << 32 | dst. (H2) */
static inline struct kli_step heap_e_land(uint64_t w, uint64_t arg)
{
    if (!heap_is_at(w, HEAP_HELD, arg >> 32))
        return KLI_REFUSED;
    return KLI_STEP(heap_word(w, HEAP_LANDED, (uint32_t)arg));
}

/* Everybody knows. */
static inline struct kli_step heap_e_settle(uint64_t w, uint64_t nr)
{
    if (!heap_is_at(w, HEAP_LANDED, nr))
        return KLI_REFUSED;
    return KLI_STEP(heap_word(w, HEAP_AT_REST, (uint32_t)nr));
}

/* arg of these: the generation. */
static inline struct kli_step heap_e_use(uint64_t w, uint64_t generation)
{
    bool here = heap_state(w) == HEAP_AT_REST || heap_state(w) == HEAP_RANGE;

    if (!heap_is(w, generation) || !here || heap_users(w) == HEAP_MOST_USERS)
        return KLI_REFUSED;
    return KLI_STEP(w + HEAP_USER);
}

static inline struct kli_step heap_e_unuse(uint64_t w, uint64_t generation)
{
    if (!heap_is(w, generation) || heap_users(w) == 0)
        return KLI_REFUSED;
    return KLI_STEP(w - HEAP_USER);
}

static inline struct kli_step heap_e_free(uint64_t w, uint64_t generation)
{
    if (!heap_is(w, generation) || heap_users(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP((w & ~(HEAP_GENERATION - 1)) + HEAP_GENERATION); /* wraps */
}

/* The word of a batch: who has it. */
enum heap_batch_state {
    HEAP_B_FREE,
    HEAP_B_CLAIMED, /* one fills it, or puts it back */
    HEAP_B_SENT,    /* the engine has it */
    HEAP_B_DONE,    /* kl_heap_done ends its moves */
};

/* arg: from << 8 | to. */
static inline struct kli_step heap_b_step(uint64_t w, uint64_t arg)
{
    return w == arg >> 8 ? KLI_STEP(arg & 0xff) : KLI_REFUSED;
}

static inline bool heap_batch_step(kli_word *word, enum heap_batch_state from,
                                   enum heap_batch_state to)
{
    return kli_apply(word, heap_b_step, (uint64_t)from << 8 | to, NULL);
}

#endif
