// SPDX-License-Identifier: Apache-2.0
/* Which blocks to empty and which to fill: one pass over the block words, sorted
 * by how much is used (a counting sort).  Sources are taken from the sparse end,
 * targets from the dense end.
 *
 * The plan is a hint: words change while a run goes on, and every step looks at
 * the word again.
 */
#include "move/empty.h"

static uint32_t used_of(const struct kl_zone *zone, uint64_t word)
{
    return zone->block_frames - kli_b_free(word);
}

/* Turns counts into the first place of each. */
static void accumulate(uint32_t *place, uint32_t n)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t count = place[i];

        place[i] = sum;
        sum += count;
    }
}

/* One look at each block, so that both passes of the sort agree. */
static uint32_t snapshot(struct kl_zone *zone, uint32_t *used, uint32_t *count, uint64_t *free)
{
    uint32_t n = 0;

    for (uint32_t b = 0; b < zone->blocks; b++) {
        uint64_t word = kli_block_word(zone, b);

        used[b] = UINT32_MAX;
        if (!kli_b_open(word))
            continue;
        used[b] = used_of(zone, word);
        count[used[b]]++;
        *free += kli_b_free(word);
        n++;
    }
    return n;
}

static int build(struct kl_zone *zone, struct kli_plan *plan)
{
    const struct kl_host *host = &zone->host;
    size_t blocks_bytes = (size_t)zone->blocks * sizeof(uint32_t);
    uint32_t kinds = zone->block_frames + 1, *used = host->meta_alloc(host->ctx, blocks_bytes);

    if (!used)
        return -KL_ENOMEM;
    plan->bytes = blocks_bytes + kinds * sizeof(uint32_t);
    plan->block = host->meta_alloc(host->ctx, plan->bytes);
    if (plan->block) {
        plan->end = plan->block + zone->blocks;
        plan->n = snapshot(zone, used, plan->end, &plan->free);
        accumulate(plan->end, kinds);
        for (uint32_t b = 0; b < zone->blocks; b++) {
            if (used[b] != UINT32_MAX)
                plan->block[plan->end[used[b]]++] = b;
        }
    }
    host->meta_free(host->ctx, used, blocks_bytes);
    return plan->block ? 0 : -KL_ENOMEM;
}

/* Areas' blocks to the beginning, where targets are taken last; the others keep their
 * order.  From behind, so that none is written over. */
static void areas_first(struct kli_run *run)
{
    uint32_t *block = run->plan.block, at = run->plan.n;

    for (uint32_t i = run->plan.n; i-- > 0;) {
        uint32_t moved = block[i];

        if (kli_block_word(run->zone, moved) & KLI_B_CMA)
            continue;
        block[i] = block[--at];
        block[at] = moved;
    }
    for (unsigned order = 0; order <= run->zone->block_order; order++)
        run->target[order] = run->plan.n;
}

int kli_plan(struct kli_run *run)
{
    const struct kl_zone *zone = run->zone;

    if (run->plan.block)
        return 0;
    if (build(run->zone, &run->plan) != 0)
        return -KL_ENOMEM;
    for (unsigned order = 0; order <= zone->block_order; order++) /* fuller ones have no room */
        run->target[order] = run->plan.end[zone->block_frames - (1u << order)];
    if (run->out_of_areas)
        areas_first(run);
    return 0;
}

void kli_plan_free(struct kli_run *run)
{
    const struct kl_host *host = &run->zone->host;

    if (run->plan.block)
        host->meta_free(host->ctx, run->plan.block, run->plan.bytes);
    run->plan.block = NULL;
}

static bool target_in(struct kli_run *run, uint32_t block, unsigned order, unsigned owner,
                      uint32_t *nr)
{
    return block < kli_owner(run->zone, owner)->end &&
           kli_alloc_in(run->zone, block, order, owner, KLI_F_LOCKED | KLI_F_KIND, run->want, nr);
}

/* From the dense end; blocks that had no room for this order are not asked again. */
static bool target_planned(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    for (uint32_t i = run->target[order]; i-- > run->lowest;) {
        if (target_in(run, run->plan.block[i], order, owner, nr))
            return true;
        if (run->plan.block[i] < kli_owner(run->zone, owner)->end)
            run->target[order] = i;
    }
    return false;
}

/* Beside the window, in its first or last block. */
static bool target_beside(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    uint32_t edge[2];

    if (run->keep_n == 0)
        return false;
    edge[0] = kli_block_of(run->zone, run->keep_nr);
    edge[1] = kli_block_of(run->zone, run->keep_nr + run->keep_n - 1);
    for (int i = 0; i < 2; i++) {
        if (edge[i] < kli_owner(run->zone, owner)->end &&
            kli_alloc_beside(run->zone, edge[i], order, owner, KLI_F_LOCKED | KLI_F_KIND,
                             run->keep_nr, run->keep_n, nr))
            return true;
    }
    return false;
}

/* A block that has got memory since: the next ones go there, too. */
static void add_to_plan(struct kli_run *run, uint32_t block)
{
    if (run->plan.n == run->zone->blocks)
        return; /* one of them came twice */
    run->plan.block[run->plan.n++] = block;
    for (unsigned order = 0; order <= run->zone->block_order; order++)
        run->target[order] = run->plan.n;
}

bool kli_target(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    uint32_t end = kli_owner(run->zone, owner)->end, block;
    uint64_t given = kli_kept_now(run->zone);

    if (run->emptier)
        return kli_empty_target(run->emptier, order, nr);
    if (run->want == KLI_WANT_APART)
        return kli_target_apart(run, order, owner, nr);
    if (kli_plan(run) != 0)
        return false;
    if (target_planned(run, order, owner, nr))
        return true;
    do {
        run->target[order] = run->plan.n; /* frames may have become free behind us */
        if (target_planned(run, order, owner, nr))
            return true;
    } while (run->want == KLI_WANT_ANY &&
             kli_kept_give(run->zone, UINT64_C(1) << order, order, &given));
    while (run->may_populate && kli_populatable(run->zone, !run->keep_soft) > 0 &&
           kli_populate_one(run->zone, end, &block)) {
        add_to_plan(run, block);
        if (target_in(run, block, order, owner, nr))
            return true;
    }
    return target_beside(run, order, owner, nr) || kli_make_room(run, order, owner, nr);
}
