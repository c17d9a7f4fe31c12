// SPDX-License-Identifier: Apache-2.0
/* Background work in steps, and the kick that says when one is wanted.
 *
 * A step does what the zone wants by its marks, then what its clients want (work.c).
 *
 * (T1) No bit of zone->wanted stays up after a step that returned 0, but for those set
 *      since, with a kick: who sees a bit up does not kick.
 * (T2) A step that is for the clients' work or for pressure (pressure.c) does nothing else on that
 * occasion: not what nobody wants, nor what was tried in vain and rests until its back-off is over.
 *
 * The kick stands behind a gate (base/gate.h): set is claim, write, open; taking it
 * away closes the gate and waits for those inside, which are on their way to an eventfd.
 */
#include "klotski/step.h"
#include "move/run.h"
#include "reclaim/reclaim.h"

static const uint64_t FIRST_PAUSE_NS = 10000000;
enum { MOST_BACK_OFF = 9 };

/* What is wanted still, until its end mark is reached. */
static uint32_t still_wanted(struct kl_zone *zone, uint32_t wanted)
{
    if ((wanted & KL_WANTED_FRAMES) && kli_available(zone) >= atomic_load(&zone->marks.high))
        wanted &= ~(uint32_t)KL_WANTED_FRAMES;
    if ((wanted & KL_WANTED_BLOCKS) && kli_waste_is_over(zone))
        wanted &= ~(uint32_t)KL_WANTED_BLOCKS;
    if ((wanted & KL_WANTED_BYTES) && !kli_over_soft(zone, 0))
        wanted &= ~(uint32_t)KL_WANTED_BYTES;
    if ((wanted & KL_WANTED_SPARE) && kli_spare_is_over(zone))
        wanted &= ~(uint32_t)KL_WANTED_SPARE;
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

/* What the zone itself wants. */
static const uint32_t MARKS =
    KL_WANTED_FRAMES | KL_WANTED_BLOCKS | KL_WANTED_BYTES | KL_WANTED_SPARE;

/* A step, its own memory. */
struct pass {
    struct kl_zone *zone;
    struct kl_step *step;
    struct kl_report report;
    uint32_t wanted; /* what the step is for */
    uint32_t tried;  /* of MARKS */
    bool done;       /* something, of these */
    int err;         /* of a compaction */
};

/* Blocks beyond the spare ones go back to the system.  To give one costs as much as to move
 * some tens of frames. */
static bool give_some(struct kl_zone *zone, uint32_t budget)
{
    enum { FRAMES_A_BLOCK = 32 };

    if (!still_wanted(zone, KL_WANTED_SPARE))
        return false;
    return kli_pressure_gave(zone, kli_trim(zone, atomic_load(&zone->marks.spare_blocks),
                                            budget ? budget / FRAMES_A_BLOCK + 1 : UINT32_MAX));
}

/* What the zone wants by its marks; nothing at all wanted: compaction all the same. */
static void do_marks(struct pass *p)
{
    struct kl_zone *zone = p->zone;
    uint32_t wanted = p->wanted & MARKS;

    p->tried = wanted;
    if (wanted & KL_WANTED_BYTES)
        p->done |= kli_pressure_gave(zone, kl_zone_trim(zone, 0));
    if ((wanted & (KL_WANTED_FRAMES | KL_WANTED_BYTES)) && still_wanted(zone, wanted))
        p->done |= shrink_some(zone, p->step);
    if (wanted == 0 ||
        (still_wanted(zone, wanted) & (uint32_t)(KL_WANTED_BLOCKS | KL_WANTED_BYTES))) {
        p->err = kl_zone_compact(zone, KL_ASYNC, p->step->budget, &p->report);
        p->done |= p->report.migrated > 0;
    }
    if (wanted & KL_WANTED_SPARE)
        p->done |= give_some(zone, p->step->budget);
}

/* A step for a client's work leaves alone what nobody wants, and what can't be helped
 * until a while from now. */
static bool leave_marks(const struct pass *p)
{
    struct kl_zone *zone = p->zone;
    uint32_t wanted = p->wanted & MARKS;

    if (p->wanted == 0)
        return p->step->flags & KL_STEP_WANTED;
    if (!(p->wanted & (KL_WANTED_WORK | KL_WANTED_PRESSURE)))
        return false;
    if (wanted == 0)
        return true;
    return !(wanted & ~zone->resting) && zone->host.now_ns(zone->host.ctx) < zone->rest_until;
}

static void work(struct pass *p)
{
    if (p->wanted & KL_WANTED_PRESSURE)
        kli_pressure_piece(p->zone, p->step->budget);
    if (!leave_marks(p))
        do_marks(p);
    if (p->wanted & KL_WANTED_WORK)
        kli_work(p->zone, p->step->budget);
}

/* Nothing was done: the next step waits longer. */
static uint64_t back_off(struct kl_zone *zone)
{
    uint64_t pause = FIRST_PAUSE_NS << zone->back_off;

    if (zone->back_off < MOST_BACK_OFF)
        zone->back_off++;
    return pause;
}

/* How long the marks that are left can wait. */
static uint64_t marks_in(struct pass *p, uint32_t left)
{
    struct kl_zone *zone = p->zone;
    uint64_t now = zone->host.now_ns(zone->host.ctx), pause;

    if (p->tried)
        zone->resting = p->done ? 0 : left & p->tried;
    if (left & ~zone->resting) /* there is more to be had, or it is new */
        return 0;
    if (!p->tried) /* left alone */
        return zone->rest_until > now ? zone->rest_until - now : 0;
    pause = back_off(zone);
    zone->rest_until = now + pause;
    return pause;
}

/* The bits that are done with go down; what became wanted since stays, or comes again:
 * who saw the bit up did not kick.  Returns what is wanted. */
static uint32_t take_down(struct pass *p)
{
    struct kl_zone *zone = p->zone;
    uint32_t left = still_wanted(zone, p->wanted & MARKS), now;

    atomic_fetch_and(&zone->wanted, ~(p->wanted & ~left));
    now = kli_wanted(zone) | (kli_work_in(zone) == 0 ? KL_WANTED_WORK : 0);
    return left | atomic_fetch_or(&zone->wanted, now) | now;
}

/* What is done with begins mildly the next time. */
static int conclude(struct pass *p)
{
    struct kl_zone *zone = p->zone;
    uint32_t left = p->wanted ? take_down(p) : 0;
    uint64_t again = (left & KL_WANTED_WORK) ? 0 : kli_work_in(zone);

    again = kli_min(again, kli_pressure_in(zone));
    if (p->done || !(left & MARKS))
        zone->back_off = 0;
    if (!(left & (KL_WANTED_FRAMES | KL_WANTED_BYTES)))
        zone->urgency = 0;
    if (left & MARKS)
        again = kli_min(again, marks_in(p, left & MARKS));
    else
        zone->resting = 0;
    if (p->wanted == 0 && p->err == -KL_EAGAIN)
        again = 0;
    if (again == KLI_WORK_NEVER)
        return p->wanted ? 0 : p->err;
    p->step->again_ns = again;
    return p->wanted || !p->err ? -KL_EAGAIN : p->err;
}

int kl_zone_step(struct kl_zone *zone, struct kl_step *step, struct kl_report *report)
{
    struct pass p = {.zone = zone, .step = step, .report = {.size = sizeof(p.report)}};
    uint32_t wanted;
    int err;

    if (!step || step->size != sizeof(*step) || (step->flags & ~(unsigned)KL_STEP_WANTED))
        return -KL_EINVAL;
    step->again_ns = 0;
    if (atomic_exchange(&zone->stepping, true))
        return -KL_EBUSY;
    wanted = kli_wanted(zone) | (kli_work_in(zone) == 0 ? KL_WANTED_WORK : 0);
    p.wanted = atomic_fetch_or(&zone->wanted, wanted) | wanted;
    if (kli_pressure_in(zone) == 0)
        p.wanted |= KL_WANTED_PRESSURE;
    work(&p);
    err = conclude(&p);
    atomic_store(&zone->stepping, false);
    if (report)
        kli_stats_out(report, &p.report, sizeof(p.report));
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
    if (kli_work_in(zone) < KLI_WORK_NEVER) /* the step says when */
        atomic_fetch_or(&zone->wanted, KL_WANTED_WORK);
    if (atomic_load(&zone->wanted) || kli_pressure_in(zone) < KLI_WORK_NEVER)
        kli_kick(zone); /* since before there was anybody to kick */
    return 0;
}
