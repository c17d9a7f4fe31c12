// SPDX-License-Identifier: Apache-2.0
/* Background work in steps, and the kick that says when one is wanted.
 *
 * The kick stands behind a gate (base/gate.h): set is claim, write, open; taking it
 * away closes the gate and waits for those inside, which are on their way to an eventfd.
 */
#include "klotski/step.h"
#include "reclaim/reclaim.h"

static const uint64_t FIRST_PAUSE_NS = 10000000;
enum { MOST_BACK_OFF = 9 };

/* What is wanted still, until its end mark is reached. */
static uint32_t still_wanted(struct kl_zone *zone, uint32_t wanted)
{
    if ((wanted & KLI_WANTED_FRAMES) && kli_available(zone) >= atomic_load(&zone->marks.high))
        wanted &= ~(uint32_t)KLI_WANTED_FRAMES;
    if ((wanted & KLI_WANTED_BLOCKS) && kli_waste(zone) <= atomic_load(&zone->marks.waste_stop))
        wanted &= ~(uint32_t)KLI_WANTED_BLOCKS;
    if ((wanted & KLI_WANTED_BYTES) && !kli_over_soft(zone, 0))
        wanted &= ~(uint32_t)KLI_WANTED_BYTES;
    return wanted;
}

/* Asks the shrinkers, more urgently when that brought nothing. */
static bool shrink_some(struct kl_zone *zone, const struct kl_step *step)
{
    const struct kli_shrink_ask ask = {
        .stage = KLI_STAGE_ALL,
        .priority = KL_SHRINK_PRIORITY - zone->urgency,
        .want = step->budget ? step->budget : zone->frames,
        .mode = KL_ASYNC,
    };
    bool freed = kli_shrink(zone, &ask) > 0;

    if (freed)
        zone->urgency = 0;
    else if (zone->urgency < KL_SHRINK_PRIORITY)
        zone->urgency++;
    return freed || zone->urgency < KL_SHRINK_PRIORITY;
}

/* Returns whether anything was done; *err is the compaction's. */
static bool work(struct kl_zone *zone, const struct kl_step *step, uint32_t wanted,
                 struct kl_report *report, int *err)
{
    bool done = false;

    *err = 0;
    if (wanted & KLI_WANTED_BYTES)
        done |= kl_zone_trim(zone, 0) > 0;
    if ((wanted & (KLI_WANTED_FRAMES | KLI_WANTED_BYTES)) && still_wanted(zone, wanted))
        done |= shrink_some(zone, step);
    if (wanted == 0 || (still_wanted(zone, wanted) & ~(uint32_t)KLI_WANTED_FRAMES)) {
        *err = kl_zone_compact(zone, KL_ASYNC, step->budget, report);
        done |= report->migrated > 0;
    }
    return done;
}

/* Nothing was done: the next step waits longer. */
static uint64_t back_off(struct kl_zone *zone)
{
    uint64_t pause = FIRST_PAUSE_NS << zone->back_off;

    if (zone->back_off < MOST_BACK_OFF)
        zone->back_off++;
    return pause;
}

/* The bits that are done with go down; what became wanted since stays, or comes again:
 * who saw the bit up did not kick.  What is done with begins mildly the next time. */
static int conclude(struct kl_zone *zone, struct kl_step *step, uint32_t wanted, bool done, int err)
{
    uint32_t left = still_wanted(zone, wanted), now;

    if (done)
        zone->back_off = 0;
    if (wanted == 0)
        return err;
    atomic_fetch_and(&zone->wanted, ~(wanted & ~left));
    now = kli_wanted(zone);
    left |= atomic_fetch_or(&zone->wanted, now) | now;
    if (!(left & (KLI_WANTED_FRAMES | KLI_WANTED_BYTES)))
        zone->urgency = 0;
    if (left == 0) {
        zone->back_off = 0;
        return 0;
    }
    if (!done)
        step->again_ns = back_off(zone);
    return -KL_EAGAIN;
}

int kl_zone_step(struct kl_zone *zone, struct kl_step *step, struct kl_report *report)
{
    struct kl_report ours = {.size = sizeof(ours)};
    uint32_t wanted;
    bool done;
    int err;

    if (!step || step->size != sizeof(*step))
        return -KL_EINVAL;
    step->again_ns = 0;
    if (atomic_exchange(&zone->stepping, true))
        return -KL_EBUSY;
    wanted = atomic_fetch_or(&zone->wanted, kli_wanted(zone)) | kli_wanted(zone);
    done = work(zone, step, wanted, &ours, &err);
    err = conclude(zone, step, wanted, done, err);
    atomic_store(&zone->stepping, false);
    if (report)
        *report = ours;
    return err;
}

int kl_zone_set_kick(struct kl_zone *zone, void (*kick)(void *ctx), void *ctx)
{
    struct kli_gate *gate = &zone->kick.gate;

    if (!kick)
        return kli_gate_close(&zone->host, gate, KLI_G_ANY, true);
    if (!kli_apply(&gate->word, kli_g_claim, 0, NULL))
        return -KL_EEXIST;
    zone->kick.call = kick; /* G1 */
    zone->kick.ctx = ctx;
    kli_apply(&gate->word, kli_g_open, 0, NULL);
    atomic_fetch_or(&zone->wanted, kli_wanted(zone));
    if (atomic_load(&zone->wanted)) /* since before there was anybody to kick */
        kli_kick(zone);
    return 0;
}
