// SPDX-License-Identifier: Apache-2.0
/* The edges of src/frame by number, and what each becomes when it is broken. */
#ifndef KLI_MODEL_EDGES_H
#define KLI_MODEL_EDGES_H

#include "frame/block.h"
#include "frame/state.h"
#include "names.h"

#define PINS (UINT64_C(0xfff) * KLI_F_PIN)

static struct kli_step publish_dying(uint64_t w, uint64_t arg)
{
    return (w & KLI_F_DYING) ? KLI_STEP((w & ~KLI_F_LOCKED) | KLI_F_MOVABLE)
                             : kli_f_publish(w, arg);
}

static struct kli_step release_unlocked(uint64_t w, uint64_t arg)
{
    (void)arg;
    return (w & KLI_F_ISOLATED) ? KLI_STEP(w & ~KLI_F_ISOLATED) : KLI_REFUSED;
}

static struct kli_step free_pinned(uint64_t w, uint64_t arg)
{
    struct kli_step step = kli_f_free(w & ~PINS, arg);

    step.next |= step.next ? w & PINS : 0;
    return step;
}

static struct kli_step free_locked(uint64_t w, uint64_t arg)
{
    struct kli_step step = kli_f_free(w, arg);

    return step.ok && kli_f_refs(step.next) == 0 ? KLI_STEP(0) : step;
}

static struct kli_step pin_isolated(uint64_t w, uint64_t arg)
{
    struct kli_step step = kli_f_pin(w & ~KLI_F_ISOLATED, arg);

    step.next |= step.ok ? w & KLI_F_ISOLATED : 0;
    return step;
}

static struct kli_step isolate_twice(uint64_t w, uint64_t arg)
{
    return kli_f_isolate(w & ~KLI_F_ISOLATED, arg);
}

static struct kli_step hand_over(uint64_t w, uint64_t back)
{
    uint64_t hidden = (BREAK == HAND_LOCKED ? KLI_F_LOCKED : 0) | (BREAK == HAND_PINNED ? PINS : 0);
    struct kli_step step = kli_f_hand(w & ~hidden, kli_f_pass(0, OWNER, !back, OWNER, back));

    step.next |= step.ok ? w & hidden : 0;
    return step;
}

static struct kli_step vacate_stuck(uint64_t w, uint64_t all)
{
    return kli_b_vacate(w % KLI_B_STUCK | (w & (KLI_B_FENCED | KLI_B_ABSENT)), all);
}

static struct kli_step fence_twice(uint64_t w, uint64_t arg)
{
    return kli_b_fence(w & ~KLI_B_FENCED, arg);
}

static struct kli_step reserve_fenced(uint64_t w, uint64_t ask)
{
    struct kli_step step = kli_b_reserve(w & ~KLI_B_FENCED, ask);

    step.next |= step.ok ? w & KLI_B_FENCED : 0;
    return step;
}

/* The real edge, unless this is what shall be broken. */
#define EDGE(edge, name, broken_edge) (BREAK == (name) ? (broken_edge) : (edge))

static kli_edge *const frame_edge[] = {
    [F_GET] = kli_f_get,
    [F_PUT] = kli_f_put,
    [F_TRYLOCK] = kli_f_trylock,
    [F_UNLOCK] = kli_f_unlock,
    [F_ISOLATE] = EDGE(kli_f_isolate, ISOLATE_TWICE, isolate_twice),
    [F_RELEASE] = EDGE(kli_f_release, RELEASE_UNLOCKED, release_unlocked),
    [F_MOVED] = kli_f_moved,
    [F_PUBLISH] = EDGE(kli_f_publish, PUBLISH_DYING, publish_dying),
    [F_FREE] = EDGE(EDGE(kli_f_free, FREE_PINNED, free_pinned), ZERO_LOCKED, free_locked),
    [F_PIN] = EDGE(kli_f_pin, PIN_ISOLATED, pin_isolated),
    [F_UNPIN] = kli_f_unpin,
    [F_PIN_OBJECT] = kli_f_pin_object,
    [F_UNPIN_OBJECT] = kli_f_unpin_object,
    [F_HAND] = hand_over,
};

static kli_edge *const block_edge[] = {
    [B_RESERVE] = EDGE(kli_b_reserve, RESERVE_FENCED, reserve_fenced),
    [B_RAISE] = kli_b_put,
    [B_STICK] = kli_b_stick,
    [B_UNSTICK] = kli_b_unstick,
    [B_FENCE] = EDGE(kli_b_fence, FENCE_TWICE, fence_twice),
    [B_UNFENCE] = kli_b_unfence,
    [B_CLAIM] = kli_b_claim,
    [B_VACATE] = EDGE(kli_b_vacate, VACATE_STUCK, vacate_stuck),
    [B_SUMMON] = kli_b_summon,
    [B_ARRIVED] = kli_b_settle,
    [B_LEFT] = kli_b_settle,
    [B_STAYED] = kli_b_settle,
};

#endif
