// SPDX-License-Identifier: Apache-2.0
/* Compaction: the sparsest blocks are emptied into the densest, as long as that
 * frees whole blocks.
 *
 * A block with stuck frames can't be freed, and one of an area is not gained by that: they
 * are never a source, and the first to be
 * filled.  It stops when the others have no room for all of the next source.
 */
#include "move/run.h"

/* Frames that may still go into targets, by the plan. */
static uint64_t room_in_use(struct kli_run *run)
{
    uint64_t room = 0;

    for (uint32_t i = 0; i < run->plan.n; i++) {
        uint64_t word = kli_block_word(run->zone, run->plan.block[i]);

        if (kli_b_class(word, run->zone->block_frames) == KLI_CLASS_MOVABLE)
            room += kli_b_free(word);
    }
    return room;
}

static bool stays(uint64_t word)
{
    return (word & KLI_B_CMA) || kli_b_stuck(word) > 0;
}

static bool is_source(const struct kl_zone *zone, uint64_t word)
{
    return kli_b_open(word) && !stays(word) && kli_b_free(word) < zone->block_frames;
}

/* What can't be emptied is filled first, however sparse it is: to the plan's end with
 * it.  The others keep their order. */
static void stuck_last(struct kli_run *run)
{
    uint32_t *block = run->plan.block, n = 0;

    for (uint32_t i = 0; i < run->plan.n; i++) {
        uint32_t moved = block[i];

        if (stays(kli_block_word(run->zone, moved)))
            continue;
        block[i] = block[n];
        block[n++] = moved;
    }
    for (unsigned order = 0; order <= run->zone->block_order; order++)
        run->target[order] = run->plan.n;
}

static int compact_run(struct kli_run *run)
{
    uint32_t all = run->zone->block_frames;
    uint64_t room = room_in_use(run);

    stuck_last(run);
    run->want = KLI_WANT_OWN_KIND; /* never a free block */
    for (uint32_t i = 0; i < run->plan.n; i++) {
        uint32_t block = run->plan.block[i];
        uint64_t word = kli_block_word(run->zone, block);
        uint64_t own = (word & (KLI_B_UNMOVABLE | KLI_B_SHUNNED)) ? 0 : kli_b_free(word);
        int err;

        if (!is_source(run->zone, word))
            continue;
        if (room < own + all - kli_b_free(word)) /* what it holds must fit elsewhere */
            return 0;
        run->lowest = i + 1;
        err = kli_evacuate_block(run, block);
        if (err == -KL_EAGAIN)
            return err;
        if (err == -KL_ENOMEM)
            return 0;
        if (err)
            continue;
        kli_unfence(run, block);
        run->report.blocks++;
        room -= own + all - kli_b_free(word);
    }
    return 0;
}

int kl_zone_compact(struct kl_zone *zone, enum kl_mode mode, uint32_t budget,
                    struct kl_report *report)
{
    struct kli_run run;
    uint32_t blocks;
    int err;

    kli_report_clear(report);
    if ((unsigned)mode > KL_SYNC)
        return -KL_EINVAL;
    kli_run_asked(zone, KLI_RUN_COMPACT);
    KLI_TRACE(compact_begin, KLI_TAG(zone), mode, budget);
    kli_run_begin(&run, zone, mode);
    run.budget = budget;
    err = kli_plan(&run);
    if (!err)
        err = compact_run(&run);
    blocks = run.report.blocks;
    kli_run_end(&run, report);
    KLI_TRACE(compact_end, KLI_TAG(zone), blocks, err);
    return kli_run_ended(zone, KLI_RUN_COMPACT, err);
}
