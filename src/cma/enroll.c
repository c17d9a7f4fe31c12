// SPDX-License-Identifier: Apache-2.0
/* Blocks begin to be an area's: one after the other each is got memory for if it has
 * none, fenced, looked at, and opened again; what is movable in it stays.  (block.h, B6)
 * If one can't be had, those before it are let go. */
#include "cma/cma.h"

/* -KL_EAGAIN: somebody else has fenced it, or it has just gone. */
static int try_one(struct kl_zone *zone, uint32_t block)
{
    uint64_t word = kli_block_word(zone, block);
    bool done;

    if (word & KLI_B_CMA)
        return -KL_EEXIST;
    if (word & KLI_B_ABSENT) {
        int err = kli_populate(zone, block);

        if (err)
            return err;
    }
    kli_cache_drain(zone); /* what can't move is cached, too */
    if (!kli_block_step(zone, block, kli_b_fence, 0))
        return -KL_EAGAIN;
    done = kli_block_step(zone, block, kli_b_enroll, 0);
    KLI_REQUIRE(&zone->host, kli_block_step(zone, block, kli_b_unfence, 0));
    return done ? 0 : -KL_EBUSY;
}

static int enroll_one(struct kl_zone *zone, uint32_t block)
{
    enum { TRIES = 64 };
    int err = -KL_EAGAIN;

    for (unsigned i = 0; i < TRIES && err == -KL_EAGAIN; i++) {
        if (i > 0)
            zone->host.relax(zone->host.ctx, i);
        err = try_one(zone, block);
    }
    return err == -KL_EAGAIN ? -KL_EBUSY : err;
}

void cma_dismiss(struct kl_zone *zone, uint32_t block, uint32_t blocks)
{
    for (uint32_t b = block; b < block + blocks; b++)
        KLI_REQUIRE(&zone->host, kli_block_step(zone, b, kli_b_dismiss, 0));
}

int cma_enroll(struct kl_zone *zone, uint32_t block, uint32_t blocks)
{
    int err = 0;

    kli_hold(zone);
    for (uint32_t b = block; b < block + blocks && !err; b++) {
        err = enroll_one(zone, b);
        if (err)
            cma_dismiss(zone, block, b - block);
    }
    kli_let_go(zone, true);
    return err;
}

/* By its words; somebody may come in before it is enrolled. */
static bool would_do(const struct kl_zone *zone, uint32_t block, uint32_t blocks)
{
    for (uint32_t b = block; b < block + blocks; b++) {
        uint64_t word = kli_block_word(zone, b);

        if ((word & (KLI_B_CMA | KLI_B_FENCED)) || kli_b_stuck(word) > 0)
            return false;
    }
    return true;
}

/* From the zone's end on: allocations begin at the other one. */
int cma_enroll_any(struct kl_zone *zone, uint32_t blocks, uint32_t stride, uint32_t *block)
{
    uint32_t at = (zone->blocks - blocks) / stride * stride;
    int err = -KL_EBUSY;

    kli_cache_drain(zone);
    for (;; at -= stride) {
        if (would_do(zone, at, blocks))
            err = cma_enroll(zone, at, blocks);
        if (err == 0 || at < stride)
            break;
    }
    *block = at;
    return err == -KL_EEXIST ? -KL_EBUSY : err;
}
