// SPDX-License-Identifier: Apache-2.0
/* A gate: who calls a callback goes in and out by it, who takes the callback away
 * shuts it and waits until the last one is out.
 *
 *   bits  0-31  users  callers inside
 *   bits 32-33  state
 *   bits 40-63  generation, one more with every claim
 *
 *          claim            open          shut                end (users == 0)
 *   FREE --------> CLAIMED ------> OPEN ---------> LEAVING --------------------> FREE
 *                                  |  ^  enter,            leave
 *                                  |  '- leave               (FREE)
 *                                  '---------------------------^
 *                                    quit (users == 0)
 *
 * Invariants
 * (G1) What stands behind a gate is written in CLAIMED, by the one who claimed it,
 *      and read by users; so it does not change while anybody reads it.
 * (G2) users rises in OPEN only; hence FREE means that nobody is inside, and nobody
 *      comes in with the generation that was.
 * (G3) Who shuts waits for `ends`, which changes after the last user has left.  That
 *      user still touches the gate and wakes: the gate's memory must outlive the
 *      call of every user, not only its stay inside.
 */
#ifndef KLI_BASE_GATE_H
#define KLI_BASE_GATE_H

#include "base/check.h"
#include "base/word.h"

enum kli_gate_state { KLI_G_FREE, KLI_G_CLAIMED, KLI_G_OPEN, KLI_G_LEAVING };

struct kli_gate {
    kli_word word;
    _Atomic uint32_t ends;
};

#define KLI_G_STATE      (UINT64_C(1) << 32)
#define KLI_G_GENERATION (UINT64_C(1) << 40)
#define KLI_G_ANY        UINT64_MAX /* instead of a generation */

static inline uint32_t kli_g_users(uint64_t w)
{
    return (uint32_t)w;
}

static inline enum kli_gate_state kli_g_state(uint64_t w)
{
    return (enum kli_gate_state)kli_field(w, 32, 2);
}

static inline uint64_t kli_g_generation(uint64_t w)
{
    return kli_field(w, 40, 24);
}

/* Is it open, and of this generation? */
static inline bool kli_g_is(uint64_t w, uint64_t generation)
{
    return kli_g_state(w) == KLI_G_OPEN &&
           (generation == KLI_G_ANY || kli_g_generation(w) == generation);
}

static inline struct kli_step kli_g_claim(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_g_state(w) != KLI_G_FREE)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_G_GENERATION + KLI_G_CLAIMED * KLI_G_STATE); /* wraps */
}

static inline struct kli_step kli_g_open(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_g_state(w) != KLI_G_CLAIMED)
        return KLI_REFUSED;
    return KLI_STEP(w + (KLI_G_OPEN - KLI_G_CLAIMED) * KLI_G_STATE);
}

static inline struct kli_step kli_g_enter(uint64_t w, uint64_t generation)
{
    return kli_g_is(w, generation) ? KLI_STEP(w + 1) : KLI_REFUSED; /* G2 */
}

static inline struct kli_step kli_g_leave(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_g_users(w) > 0 ? KLI_STEP(w - 1) : KLI_REFUSED;
}

static inline struct kli_step kli_g_shut(uint64_t w, uint64_t generation)
{
    if (!kli_g_is(w, generation))
        return KLI_REFUSED;
    return KLI_STEP(w + (KLI_G_LEAVING - KLI_G_OPEN) * KLI_G_STATE);
}

static inline struct kli_step kli_g_end(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_g_state(w) != KLI_G_LEAVING || kli_g_users(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(w - KLI_G_LEAVING * KLI_G_STATE);
}

static inline struct kli_step kli_g_quit(uint64_t w, uint64_t generation)
{
    if (!kli_g_is(w, generation) || kli_g_users(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(w - KLI_G_OPEN * KLI_G_STATE);
}

static inline bool kli_gate_enter(struct kli_gate *gate, uint64_t generation)
{
    return kli_apply(&gate->word, kli_g_enter, generation, NULL);
}

/* For a user who stays long: does somebody wait for the end of it? */
static inline bool kli_gate_is_leaving(struct kli_gate *gate)
{
    return kli_g_state(atomic_load_explicit(&gate->word, memory_order_relaxed)) == KLI_G_LEAVING;
}

/* gate.c */
void kli_gate_leave(const struct kl_host *host, struct kli_gate *gate);
/* From OPEN to FREE.  wait: until the last user is out, without a bound.
 * -KL_ENOENT: it is not open, or of another generation.
 * -KL_EBUSY: somebody is inside, and not to wait; nothing changed. */
int kli_gate_close(const struct kl_host *host, struct kli_gate *gate, uint64_t generation,
                   bool wait);

#endif
