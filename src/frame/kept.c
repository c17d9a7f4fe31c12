// SPDX-License-Identifier: Apache-2.0
/* Frames that somebody keeps for later though nobody uses them (areas with deferred free,
 * src/cma), and gives when they are needed.  To the zone they look allocated.
 *
 * Unlike a shrinker's scan, `give` may be called from the middle of anything: by an
 * allocation that may not wait, in a callback, with locks held.  So no allocation fails
 * for want of frames that are merely kept.
 *
 * (K1) A keeper gives with its own leaf lock held: what it takes off its list is free in
 *      the zone before it drops the lock.
 * (K2) It then raises `given`, and then lowers `frames`, all sequentially consistent.
 * (K3) So who reads `given`, tries and fails, and calls kept_give, finds one of: frames
 *      that are kept still (it gets them), `given` changed (it tries again), or neither:
 *      then nothing was kept when it tried, or its keeper has used it since.
 *
 * A keeper stands behind a gate (base/gate.h).
 */
#include "frame/zone.h"

int kli_keeper_register(struct kl_zone *zone, void (*give)(void *, uint64_t, unsigned), void *ctx,
                        unsigned *id)
{
    for (unsigned i = 0; i < KLI_KEEPERS; i++) {
        struct kli_keeper *k = &zone->keepers.at[i];

        if (!kli_apply(&k->gate.word, kli_g_claim, 0, NULL))
            continue;
        k->give = give;
        k->ctx = ctx;
        *id = i;
        kli_apply(&k->gate.word, kli_g_open, 0, NULL);
        return 0;
    }
    return -KL_ENOSPC;
}

/* It keeps nothing any more.  Waits for those inside. */
void kli_keeper_unregister(struct kl_zone *zone, unsigned id)
{
    KLI_REQUIRE(&zone->host,
                kli_gate_close(&zone->host, &zone->keepers.at[id].gate, KLI_G_ANY, true) == 0);
}

void kli_kept_add(struct kl_zone *zone, uint64_t frames)
{
    atomic_fetch_add(&zone->keepers.frames, frames);
}

void kli_kept_used(struct kl_zone *zone, uint64_t frames)
{
    atomic_fetch_sub(&zone->keepers.frames, frames);
}

void kli_kept_given(struct kl_zone *zone, uint64_t frames)
{
    uint64_t given = atomic_fetch_add(&zone->keepers.given, 1) + 1; /* K2 */

    (void)given;
    KLI_TRACE_STEP(kept_raised, KLI_TAG(zone), frames, given);
    atomic_fetch_sub(&zone->keepers.frames, frames);
}

/* Has about so many frames given, in runs of 2^order where there are such.  true: it is
 * worth another attempt, after one that failed; *given: kli_kept_now before that. (K3) */
bool kli_kept_give(struct kl_zone *zone, uint64_t frames, unsigned order, uint64_t *given)
{
    uint64_t before = *given;

    KLI_TRACE_STEP(kept_begin, KLI_TAG(zone), frames, order);
    for (unsigned i = 0; i < KLI_KEEPERS && kli_kept_frames(zone) > 0; i++) {
        struct kli_keeper *k = &zone->keepers.at[i];

        if (!kli_gate_enter(&k->gate, KLI_G_ANY))
            continue;
        k->give(k->ctx, frames, order);
        kli_gate_leave(&zone->host, &k->gate);
        KLI_TRACE_STEP(kept_gave, KLI_TAG(zone), frames, order);
        if (kli_kept_now(zone) != before)
            break;
    }
    *given = kli_kept_now(zone);
    return *given != before;
}
