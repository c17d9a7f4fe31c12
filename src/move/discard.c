// SPDX-License-Identifier: Apache-2.0
/* Letting the memory of free frames go that lie in blocks partly used.
 *
 * A block is fenced, and when nobody is on his way in any more its clear bits are of frames
 * that nobody will have before the fence is lifted (N1).  Their memory goes while they are
 * free; to the zone nothing has changed.
 *
 * (N1) A fenced block whose free is its clear bits: nobody is between the two (block.h,
 *      B1: else there were more clear bits), nobody comes in (B3).  free is read before the
 *      bits.  So a bit that is clear stays clear, and others may become clear.
 * (N2) A look (frame/look.h) may still read a frame that is free by now: that would bring the
 *      memory back, or find that there is none.  So the clear bits are noted, then looks are
 *      waited for, then the frames noted go; what became clear since is left alone.  If a look
 *      lasts, the rest of the block is passed by.
 *
 * May run with anything: it is one more who fences.  It asks no owner, so what is in use and
 * what CPUs keep at hand stays.
 */
#include "frame/look.h"
#include "klotski/contig.h"

enum { SPAN = 1024 }; /* frames that looks are waited for at a time */

/* What was clear of frames [first, end). */
struct noted {
    uint32_t first, end;
    uint64_t bits[SPAN / 64];
};

static void note(const struct kl_zone *zone, struct noted *n, uint32_t first, uint32_t end)
{
    n->first = first;
    n->end = (uint32_t)kli_min(end, (uint64_t)(first / 64) * 64 + SPAN);
    for (uint32_t i = first / 64; i <= (n->end - 1) / 64; i++)
        n->bits[i - first / 64] = atomic_load_explicit(&zone->bits[i], memory_order_acquire);
}

static bool was_clear(const struct noted *n, uint32_t nr)
{
    return !(n->bits[nr / 64 - n->first / 64] >> nr % 64 & 1);
}

static bool nobody_on_the_way(const struct kl_zone *zone, uint32_t block) /* N1 */
{
    uint32_t free = kli_b_free(kli_block_word(zone, block));
    uint32_t used = kli_bits_used(zone, block << zone->block_order, zone->block_frames);

    return free + used == zone->block_frames;
}

/* Each run of them that was clear.  Adds up the frames. */
static int discard_runs(struct kl_zone *zone, const struct noted *n, int64_t *frames)
{
    uint32_t at = n->first, first;
    int err = 0;

    while (!err && at < n->end) {
        for (first = at; at < n->end && was_clear(n, at); at++)
            continue;
        if (at > first) {
            err = zone->backing.discard(zone->backing.ctx, (uint64_t)first << zone->frame_shift,
                                        (uint64_t)(at - first) << zone->frame_shift);
            *frames += err ? 0 : at - first;
        }
        at++; /* in use */
    }
    return err;
}

/* The block is fenced. (N1, N2) */
static int discard_free(struct kl_zone *zone, uint32_t block, int64_t *frames)
{
    uint32_t at = block << zone->block_order, end = at + zone->block_frames;
    struct noted noted = {0};
    int err = 0;

    for (; !err && at < end; at = noted.end) {
        note(zone, &noted, at, end);
        if (!kli_looks_over(zone))
            break;
        err = discard_runs(zone, &noted, frames);
    }
    return err;
}

static int discard_in(struct kl_zone *zone, uint32_t block, int64_t *frames)
{
    int err = 0;

    KLI_TRACE_STEP(fence_begin, KLI_TAG(zone), block, KL_ASYNC);
    if (!kli_block_step(zone, block, kli_b_fence, 0))
        return 0;
    KLI_TRACE(fence_set, KLI_TAG(zone), block, KL_ASYNC);
    if (nobody_on_the_way(zone, block))
        err = discard_free(zone, block, frames);
    KLI_TRACE_STEP(fence_lift, KLI_TAG(zone), block, KL_ASYNC);
    kli_block_step(zone, block, kli_b_unfence, 0);
    KLI_TRACE(fence_lifted, KLI_TAG(zone), block, KL_ASYNC);
    return err;
}

/* From `block` on, the next block that is partly free. */
static uint32_t next_partly_free(const struct kl_zone *zone, uint32_t block)
{
    uint32_t movable = kli_index_next(zone, KLI_CLASS_MOVABLE, block);
    uint32_t unmovable = kli_index_next(zone, KLI_CLASS_UNMOVABLE, block);

    return movable < unmovable ? movable : unmovable;
}

int64_t kl_zone_discard(struct kl_zone *zone, uint32_t most)
{
    int64_t frames = 0;
    int err = 0;

    if (!zone->backing.discard)
        return -KL_ENOTSUP;
    kli_hold(zone);
    kli_cache_drain(zone);
    for (uint32_t b = next_partly_free(zone, 0);
         b != UINT32_MAX && !err && (most == 0 || frames < most); b = next_partly_free(zone, b + 1))
        err = discard_in(zone, b, &frames);
    kli_let_go(zone, true);
    return err ? err : frames;
}
