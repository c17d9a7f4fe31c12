// SPDX-License-Identifier: Apache-2.0
/* Beginning and end of a run, its fences, and whom it blames. */
#include "move/run.h"

void kli_run_begin(struct kli_run *run, struct kl_zone *zone, enum kl_mode mode)
{
    *run = (struct kli_run){.zone = zone, .mode = mode, .want = KLI_WANT_ANY};
    run->report.size = sizeof(run->report);
    kli_cache_drain(zone);
    kli_hold(zone); /* R1 */
}

static void publish(const struct kli_run *run)
{
    const struct kl_report *r = &run->report;

    kli_count(run->zone, KLI_C_SCANNED, r->scanned);
    kli_count(run->zone, KLI_C_ISOLATED, r->isolated);
    kli_count(run->zone, KLI_C_MIGRATED, r->migrated);
    kli_count(run->zone, KLI_C_FAILED, r->failed);
    kli_count(run->zone, KLI_C_PUT_BACK, r->put_back);
    kli_count(run->zone, KLI_C_FREED, r->freed);
}

void kli_run_end(struct kli_run *run, struct kl_report *report)
{
    struct kl_zone *zone = run->zone;

    publish(run);
    kli_plan_free(run);
    kli_let_go(zone, true);
    if (report)
        *report = run->report;
}

/* The first frame that could not be moved is the one that is reported. */
void kli_blame(struct kli_run *run, uint32_t nr, uint64_t word)
{
    unsigned owner = kli_f_owner(word);

    if (run->report.culprit.v || !(word & KLI_F_HEAD))
        return;
    run->report.culprit = kli_pfn(run->zone, nr);
    run->report.culprit_owner = (kl_owner_id){(uint16_t)owner};
    memcpy(run->report.culprit_name, kli_owner(run->zone, owner)->name,
           sizeof(run->report.culprit_name));
}

/* Blames a stuck frame of the block, if there is one. */
void kli_blame_block(struct kli_run *run, uint32_t block)
{
    uint32_t first = block << run->zone->block_order;

    for (uint32_t nr = first; nr < first + run->zone->block_frames; nr++) {
        uint64_t word = kli_state(run->zone, nr);

        if (kli_f_stuck(word)) {
            kli_blame(run, nr, word);
            return;
        }
    }
}

bool kli_fence(struct kli_run *run, uint32_t block)
{
    return kli_block_step(run->zone, block, kli_b_fence, 0);
}

void kli_unfence(struct kli_run *run, uint32_t block)
{
    KLI_REQUIRE(&run->zone->host, kli_block_step(run->zone, block, kli_b_unfence, 0)); /* R2 */
}
