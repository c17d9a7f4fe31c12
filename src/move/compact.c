// SPDX-License-Identifier: Apache-2.0
/* Compaction: the sparsest blocks are emptied into the densest, as long as that
 * frees whole blocks.
 *
 * A block with stuck frames can't be freed and is never a source.  It stops when
 * the denser blocks have no room for all of the next source.
 */
#include "move/run.h"

/* Frames that may still go into targets, by the plan. */
static uint64_t room_in_use(struct kli_run *run)
{
    uint64_t room = 0;

    for (uint32_t i = 0; i < run->plan.n; i++) {
        uint32_t free = kli_b_free(kli_block_word(run->zone, run->plan.block[i]));

        if (free < run->zone->block_frames)
            room += free;
    }
    return room;
}

static int compact_run(struct kli_run *run, uint32_t budget)
{
    uint32_t all = run->zone->block_frames;
    uint64_t room = room_in_use(run);

    run->want = KLI_WANT_OWN_KIND; /* never a free block */
    for (uint32_t i = 0; i < run->plan.n; i++) {
        uint32_t block = run->plan.block[i];
        uint64_t word = kli_block_word(run->zone, block);
        uint32_t free = kli_b_free(word);
        int err;

        if (!kli_b_open(word) || free == all || kli_b_stuck(word) > 0)
            continue;
        if (room < all) /* its own free frames, and room for what it holds */
            return 0;
        if (budget && run->report.migrated >= budget)
            return -KL_EAGAIN;
        run->lowest = i + 1;
        err = kli_evacuate_block(run, block);
        if (err == -KL_ENOMEM)
            return 0;
        if (err)
            continue;
        kli_unfence(run, block);
        run->report.blocks++;
        room -= all;
    }
    return 0;
}

int kl_zone_compact(struct kl_zone *zone, enum kl_mode mode, uint32_t budget,
                    struct kl_report *report)
{
    struct kli_run run;
    int err;

    if (report)
        *report = (struct kl_report){.size = sizeof(*report)};
    if ((unsigned)mode > KL_SYNC)
        return -KL_EINVAL;
    kli_run_asked(zone, KLI_RUN_COMPACT);
    kli_run_begin(&run, zone, mode);
    err = kli_plan(&run);
    if (!err)
        err = compact_run(&run, budget);
    kli_run_end(&run, report);
    return kli_run_ended(zone, KLI_RUN_COMPACT, err);
}
