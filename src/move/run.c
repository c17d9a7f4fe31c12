// SPDX-License-Identifier: Apache-2.0
/* Beginning and end of a run, and its fences. */
#include "move/run.h"

void kli_run_begin(struct kli_run *run, struct kl_zone *zone, enum kl_mode mode)
{
    *run = (struct kli_run){.zone = zone, .mode = mode, .want = KLI_WANT_ANY};
    run->report.size = sizeof(run->report);
    kli_cache_drain(zone);
    kli_hold(zone); /* R1 */
}

/* R4.  The figures of an owner that is gone are the zone's only. */
static void publish_tally(struct kl_zone *zone, struct kli_tally *tally)
{
    struct kli_owner *owner = &zone->owner[tally->owner];
    bool same = tally->begun && atomic_load(&owner->term) == tally->term;

    for (unsigned i = 0; i < KLI_C_STALLS && same; i++) {
        if (tally->n[i])
            atomic_fetch_add_explicit(&owner->counter[i], tally->n[i], memory_order_relaxed);
    }
    *tally = (struct kli_tally){.begun = false};
}

static uint32_t *sum_of(struct kl_report *report, enum kli_counter counter)
{
    static const uint8_t at[] = {
        [KLI_C_SCANNED] = offsetof(struct kl_report, scanned),
        [KLI_C_ISOLATED] = offsetof(struct kl_report, isolated),
        [KLI_C_MIGRATED] = offsetof(struct kl_report, migrated),
        [KLI_C_FAILED] = offsetof(struct kl_report, failed),
        [KLI_C_PUT_BACK] = offsetof(struct kl_report, put_back),
        [KLI_C_FREED] = offsetof(struct kl_report, freed),
    };

    return (uint32_t *)((char *)report + at[counter]);
}

void kli_tally(struct kli_run *run, unsigned owner, enum kli_counter counter)
{
    struct kli_tally *tally = &run->tally[owner % KLI_TALLIES];

    ++*sum_of(&run->report, counter);
    if (owner == 0)
        return;
    if (!tally->begun || tally->owner != owner) {
        publish_tally(run->zone, tally);
        tally->owner = (uint16_t)owner;
        tally->term = atomic_load(&run->zone->owner[owner].term);
        tally->begun = true;
    }
    tally->n[counter]++;
}

static void publish(struct kli_run *run)
{
    for (unsigned i = 0; i < KLI_TALLIES; i++)
        publish_tally(run->zone, &run->tally[i]);
    for (enum kli_counter c = KLI_C_SCANNED; c < KLI_C_STALLS; c++)
        kli_count(run->zone, c, *sum_of(&run->report, c));
}

void kli_run_absorb(struct kli_run *outer, struct kli_run *inner)
{
    for (unsigned i = 0; i < KLI_TALLIES; i++)
        publish_tally(inner->zone, &inner->tally[i]);
    for (enum kli_counter c = KLI_C_SCANNED; c < KLI_C_STALLS; c++)
        *sum_of(&outer->report, c) += *sum_of(&inner->report, c);
    outer->fenced |= inner->fenced;
}

static void count_run(struct kl_zone *zone, enum kli_run_kind kind, enum kli_run_end end)
{
    kli_count(zone, (enum kli_counter)(KLI_C_RUNS + kind * KLI_RUN_ENDS + end), 1);
}

void kli_run_asked(struct kl_zone *zone, enum kli_run_kind kind)
{
    count_run(zone, kind, KLI_RUN_ASKED);
}

int kli_run_ended(struct kl_zone *zone, enum kli_run_kind kind, int err)
{
    switch (err) {
    case 0:
        count_run(zone, kind, KLI_RUN_DONE);
        break;
    case -KL_EAGAIN:
        count_run(zone, kind, KLI_RUN_AGAIN);
        break;
    case -KL_ENOMEM:
        count_run(zone, kind, KLI_RUN_NOMEM);
        break;
    case -KL_EBUSY:
        count_run(zone, kind, KLI_RUN_BUSY);
        break;
    default:
        count_run(zone, kind, KLI_RUN_OTHER);
        break;
    }
    return err;
}

void kli_run_end(struct kli_run *run, struct kl_report *report)
{
    struct kl_zone *zone = run->zone;

    publish(run);
    kli_plan_free(run);
    kli_let_go(zone, run->fenced); /* else nobody missed anything */
    if (report) {
        kli_ask_why(run);
        kli_stats_out(report, &run->report, sizeof(run->report));
    }
}

void kli_run_half(struct kli_run *run, struct kl_zone *zone)
{
    *run = (struct kli_run){.zone = zone, .mode = KL_ASYNC, .want = KLI_WANT_OWN_KIND};
    run->report.size = sizeof(run->report);
}

void kli_run_half_end(struct kli_run *run)
{
    publish(run);
}

bool kli_fence(struct kli_run *run, uint32_t block)
{
    struct kl_zone *zone = run->zone;
    bool set;

    KLI_TRACE_STEP(fence_begin, KLI_TAG(zone), block, run->mode);
    set = kli_block_step(zone, block, kli_b_fence, 0);
    run->fenced |= set;
    if (set)
        KLI_TRACE(fence_set, KLI_TAG(zone), block, run->mode);
    else
        KLI_TRACE(fence_refused, KLI_TAG(zone), block, run->mode);
    return set;
}

void kli_unfence(struct kli_run *run, uint32_t block)
{
    struct kl_zone *zone = run->zone;

    KLI_TRACE_STEP(fence_lift, KLI_TAG(zone), block, run->mode);
    KLI_REQUIRE(&zone->host, kli_block_step(zone, block, kli_b_unfence, 0)); /* R2 */
    KLI_TRACE(fence_lifted, KLI_TAG(zone), block, run->mode);
}
