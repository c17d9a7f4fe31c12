// SPDX-License-Identifier: Apache-2.0
/* An area as a shrinker of its zone: what it keeps is lost for nothing (seeks 0).  An object
 * is a frame.  Its work is the age of what is kept. */
#include "cma/cma.h"

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct kl_cma *area = ctx;
    uint64_t n;

    (void)shrink;
    cma_lock(area);
    n = (uint64_t)area->nkept << area->order;
    cma_unlock(area);
    return n > 0 ? n : KL_SHRINK_EMPTY;
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    uint64_t given = cma_give(ctx, shrink->nr_to_scan, CMA_SHRINKER);

    return given > 0 ? given : KL_SHRINK_STOP;
}

/* Gives some of what is too old, at most a block of it; in how long there will be more,
 * KL_WORK_DONE: nothing has an age.  With the lock. */
static uint64_t give_old(struct kl_cma *area, uint64_t now, uint32_t most, uint32_t *given)
{
    struct cma_run piece;
    uint64_t since = 0;

    *given = 0;
    area->armed = area->age_ns > 0 && cma_oldest(area, &piece, &since); /* A7 */
    if (!area->armed)
        return KL_WORK_DONE;
    if (now - since < area->age_ns && now >= since)
        return area->age_ns - (now - since);
    *given = most > 0 ? cma_give_end(area, piece, most, CMA_AGE) : 0;
    return 0;
}

static uint64_t work(void *ctx, uint32_t budget)
{
    struct kl_cma *area = ctx;
    const struct kl_host *host = &area->zone->host;
    uint32_t left = (uint32_t)kli_min(kli_max(1, budget >> area->order), area->units), given;
    uint64_t again, now = host->now_ns(host->ctx);

    do {
        cma_lock(area);
        again = give_old(area, now, left, &given);
        cma_unlock(area);
        left -= given;
    } while (given > 0);
    return again;
}

int cma_shrinker_register(struct kl_cma *area)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = area->name, .count = count, .scan = scan, .work = work};

    return kl_shrinker_register(area->zone, &ops, area, &area->shrinker);
}
