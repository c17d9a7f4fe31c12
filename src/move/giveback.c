// SPDX-License-Identifier: Apache-2.0
/* Giving whole blocks back to the system, and being lent them again.
 *
 * All or nothing: blocks that were emptied stay fenced until there are enough of
 * them; only then their memory goes.  Failing, the fences are lifted.
 */
#include "frame/size.h"
#include "move/run.h"

/* Blocks chosen by a give-back; `list` is metadata of the host's. */
struct chosen {
    uint32_t *list;
    uint32_t n;
    uint32_t want;
    size_t bytes;
};

static bool candidate(const struct kl_zone *zone, uint64_t word)
{
    if (!kli_b_open(word) || (word & KLI_B_CMA) || kli_b_stuck(word) > 0)
        return false;
    return kli_b_free(word) == zone->block_frames || !atomic_load(&zone->migration_off);
}

/* Could it be done at all, by the plan?  Nothing is touched yet. */
static int feasible(struct kli_run *run, uint32_t want)
{
    uint64_t used = 0, inside = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < run->plan.n && n < want; i++) {
        uint64_t word = kli_block_word(run->zone, run->plan.block[i]);

        if (!candidate(run->zone, word))
            continue;
        used += run->zone->block_frames - kli_b_free(word);
        inside += kli_b_free(word);
        n++;
    }
    if (n < want) {
        kli_blame_any(run, 0, run->zone->blocks);
        return -KL_EBUSY;
    }
    if (used <= run->plan.free - inside + kli_kept_frames(run->zone))
        return 0;
    kli_blame_room(run);
    return -KL_ENOMEM;
}

/* Fences the cheapest blocks first and all of them at once, so that none of them
 * is filled from another. */
static void fence_cheapest(struct kli_run *run, struct chosen *chosen, uint32_t *next)
{
    while (chosen->n < chosen->want && *next < run->plan.n) {
        uint32_t block = run->plan.block[(*next)++];

        if (candidate(run->zone, kli_block_word(run->zone, block)) && kli_fence(run, block))
            chosen->list[chosen->n++] = block;
    }
}

static int empty_one(struct kli_run *run, uint32_t block)
{
    return kli_evacuate(run, block << run->zone->block_order, run->zone->block_frames);
}

/* Empties every chosen block; one that can't be is replaced by the next cheapest. */
static int empty_chosen(struct kli_run *run, struct chosen *chosen)
{
    uint32_t next = 0, emptied = 0;

    fence_cheapest(run, chosen, &next);
    while (emptied < chosen->n) {
        int err = empty_one(run, chosen->list[emptied]);

        if (err == 0) {
            emptied++;
            continue;
        }
        if (err != -KL_EBUSY)
            return err;
        kli_unfence(run, chosen->list[emptied]);
        chosen->list[emptied] = chosen->list[--chosen->n];
        fence_cheapest(run, chosen, &next);
    }
    return emptied == chosen->want ? 0 : -KL_EBUSY;
}

static void unfence_from(struct kli_run *run, const struct chosen *chosen, uint32_t first)
{
    for (uint32_t i = first; i < chosen->n; i++)
        kli_unfence(run, chosen->list[i]);
}

static int release_chosen(struct kli_run *run, struct chosen *chosen)
{
    for (uint32_t i = 0; i < chosen->n; i++) {
        int err = kli_release_block(run->zone, chosen->list[i], true);

        if (err) {
            unfence_from(run, chosen, i);
            kli_lend(run->zone, i);
            return err;
        }
    }
    run->report.blocks = chosen->n;
    return 0;
}

static int give_present(struct kli_run *run, struct chosen *chosen)
{
    int err = feasible(run, chosen->want);

    if (err)
        return err;
    err = empty_chosen(run, chosen);
    if (err)
        unfence_from(run, chosen, 0);
    else
        err = release_chosen(run, chosen);
    return err;
}

static int give_run(struct kl_zone *zone, uint32_t want, enum kl_mode mode,
                    struct kl_report *report)
{
    const struct kl_host *host = &zone->host;
    struct chosen chosen = {.want = want, .bytes = want * sizeof(uint32_t)};
    struct kli_run run;
    int err = -KL_ENOMEM;

    kli_run_begin(&run, zone, mode);
    chosen.list = host->meta_alloc(host->ctx, chosen.bytes);
    if (chosen.list)
        err = kli_plan(&run);
    if (!err)
        err = give_present(&run, &chosen);
    if (chosen.list)
        host->meta_free(host->ctx, chosen.list, chosen.bytes);
    kli_run_end(&run, report);
    return err;
}

int kli_give(struct kl_zone *zone, uint32_t n, enum kl_mode mode, struct kl_report *report)
{
    uint32_t absent;
    int err = 0;

    kli_run_asked(zone, KLI_RUN_GIVE_BACK);
    KLI_TRACE(give_begin, KLI_TAG(zone), n, mode);
    kli_hold(zone); /* what is counted as given may come back */
    absent = kli_give_absent(zone, n);
    if (absent < n)
        err = give_run(zone, n - absent, mode, report);
    if (err && absent)
        kli_lend(zone, absent);
    kli_let_go(zone, err != 0);
    KLI_TRACE(give_end, KLI_TAG(zone), n, err);
    return kli_run_ended(zone, KLI_RUN_GIVE_BACK, err);
}

int kl_zone_give_back(struct kl_zone *zone, uint32_t n, enum kl_mode mode, struct kl_report *report)
{
    int err;

    kli_report_clear(report);
    if (n == 0 || n > zone->blocks || (unsigned)mode > KL_SYNC)
        return -KL_EINVAL;
    err = kli_give(zone, n, mode, report);
    if (!err)
        kli_apply(&zone->away, kli_z_lease, n, NULL); /* size.h, Z1 */
    return err;
}

int kl_zone_lend(struct kl_zone *zone, uint32_t n)
{
    if (n == 0 || !kli_apply(&zone->away, kli_z_lend, n, NULL))
        return -KL_EINVAL;
    return kli_lend(zone, n);
}

/* Fences a free block and gives its memory back; it may be populated again. */
static bool trim_block(struct kl_zone *zone, uint32_t block, int *err)
{
    uint64_t word = kli_block_word(zone, block);

    if (kli_b_free(word) != zone->block_frames || (word & KLI_B_CMA))
        return false;
    KLI_TRACE_STEP(fence_begin, KLI_TAG(zone), block, KL_ASYNC);
    if (!kli_block_step(zone, block, kli_b_fence, 0))
        return false;
    KLI_TRACE(fence_set, KLI_TAG(zone), block, KL_ASYNC);
    *err = kli_release_block(zone, block, false);
    if (*err == 0)
        return true;
    kli_block_step(zone, block, kli_b_unfence, 0);
    KLI_TRACE(fence_lifted, KLI_TAG(zone), block, KL_ASYNC);
    if (*err == -KL_EBUSY)
        *err = 0; /* somebody was on the way in */
    return false;
}

int kli_trim(struct kl_zone *zone, uint32_t keep, uint32_t most)
{
    uint32_t kept = 0, trimmed = 0;
    int err = 0;

    if (!zone->backing.release)
        return 0;
    kli_hold(zone);
    kli_cache_drain(zone);
    for (uint32_t b = 0; b < zone->blocks && trimmed < most && !err; b++) {
        uint64_t word = kli_block_word(zone, b);

        if (kli_b_free(word) != zone->block_frames || (word & KLI_B_CMA))
            continue;
        if (kept < keep)
            kept++;
        else
            trimmed += trim_block(zone, b, &err);
    }
    kli_let_go(zone, true);
    return err ? err : (int)trimmed;
}

int kl_zone_trim(struct kl_zone *zone, uint32_t keep)
{
    return kli_trim(zone, keep, UINT32_MAX);
}
