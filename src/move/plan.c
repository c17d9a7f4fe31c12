// SPDX-License-Identifier: Apache-2.0
/* Which blocks to empty and which to fill: one pass over the block words, sorted
 * by how much is used (a counting sort).  Sources are taken from the sparse end,
 * targets from the dense end.
 *
 * The plan is a hint: words change while a run goes on, and every step looks at
 * the word again.
 */
#include "move/run.h"

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

int kli_plan_build(struct kl_zone *zone, struct kli_plan *plan)
{
    const struct kl_host *host = &zone->host;
    uint32_t kinds = zone->block_frames + 1;
    size_t scratch_bytes = ((size_t)kinds + zone->blocks) * sizeof(uint32_t);
    uint32_t *place = host->meta_alloc(host->ctx, scratch_bytes);

    *plan = (struct kli_plan){.bytes = zone->blocks * sizeof(uint32_t)};
    plan->block = host->meta_alloc(host->ctx, plan->bytes);
    if (place && plan->block) {
        uint32_t *used = place + kinds;

        plan->n = snapshot(zone, used, place, &plan->free);
        accumulate(place, kinds);
        for (uint32_t b = 0; b < zone->blocks; b++) {
            if (used[b] != UINT32_MAX)
                plan->block[place[used[b]]++] = b;
        }
    } else {
        kli_plan_free(zone, plan);
    }
    if (place)
        host->meta_free(host->ctx, place, scratch_bytes);
    return plan->block ? 0 : -KL_ENOMEM;
}

void kli_plan_free(struct kl_zone *zone, struct kli_plan *plan)
{
    if (plan->block)
        zone->host.meta_free(zone->host.ctx, plan->block, plan->bytes);
    plan->block = NULL;
}

static bool target_in(struct kli_run *run, uint32_t block, unsigned order, unsigned owner,
                      uint32_t *nr)
{
    return kli_alloc_in(run->zone, block, order, owner, KLI_F_LOCKED | KLI_F_KIND, run->want, nr);
}

/* From the dense end; blocks that had no room for one frame are not asked again. */
static bool target_planned(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    for (uint32_t i = run->target; i-- > run->lowest;) {
        if (target_in(run, run->plan.block[i], order, owner, nr))
            return true;
        if (order == 0)
            run->target = i;
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
        if (kli_alloc_beside(run->zone, edge[i], order, owner, KLI_F_LOCKED | KLI_F_KIND,
                             run->keep_nr, run->keep_n, nr))
            return true;
    }
    return false;
}

bool kli_target(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    uint32_t block;

    if (target_planned(run, order, owner, nr))
        return true;
    run->target = run->plan.n; /* frames may have become free behind us */
    if (target_planned(run, order, owner, nr))
        return true;
    while (run->may_populate && kli_populate_one(run->zone, &block)) {
        if (target_in(run, block, order, owner, nr))
            return true;
    }
    return target_beside(run, order, owner, nr);
}
