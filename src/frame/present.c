// SPDX-License-Identifier: Apache-2.0
/* Blocks that come and go: memory is got from and given back to the system.
 *
 * zone->budget packs two counts, so that they change together:
 * (P1) present + given <= blocks: what was given back is not populated again
 *      until it is lent.
 */
#include "frame/look.h"

static uint32_t present_of(uint64_t budget)
{
    return (uint32_t)budget;
}

static uint32_t given_of(uint64_t budget)
{
    return (uint32_t)(budget >> 32);
}

#define GIVEN_ONE (UINT64_C(1) << 32)

/* A given block is present again. */
static struct kli_step edge_return(uint64_t budget, uint64_t arg)
{
    (void)arg;
    return given_of(budget) < 1 ? KLI_REFUSED : KLI_STEP(budget + 1 - GIVEN_ONE);
}

/* arg: the zone's blocks. (P1) */
static struct kli_step edge_enter(uint64_t budget, uint64_t arg)
{
    if (present_of(budget) + given_of(budget) >= arg)
        return KLI_REFUSED;
    return KLI_STEP(budget + 1);
}

static struct kli_step edge_leave(uint64_t budget, uint64_t given)
{
    return KLI_STEP(budget - 1 + given * GIVEN_ONE);
}

static struct kli_step edge_lend(uint64_t budget, uint64_t n)
{
    return given_of(budget) < n ? KLI_REFUSED : KLI_STEP(budget - n * GIVEN_ONE);
}

/* arg: n << 32 | the zone's blocks; gives as many as are neither. */
static struct kli_step edge_give(uint64_t budget, uint64_t arg)
{
    uint64_t idle = (uint32_t)arg - present_of(budget) - given_of(budget);

    return KLI_STEP(budget + kli_min(arg >> 32, idle) * GIVEN_ONE);
}

void kli_hold(struct kl_zone *zone)
{
    atomic_fetch_add(&zone->holds, 1);
}

void kli_let_go(struct kl_zone *zone, bool gained)
{
    bool last;

    if (gained) /* before the hold ends, or somebody sees neither */
        atomic_fetch_add(&zone->hold_ends, 1);
    last = atomic_fetch_sub(&zone->holds, 1) == 1;
    if (gained || last)
        zone->host.wake(zone->host.ctx, (const uint32_t *)&zone->hold_ends, true);
}

static int backing_call(struct kl_zone *zone, uint32_t block,
                        int (*call)(void *ctx, uint64_t offset, uint64_t bytes))
{
    uint64_t bytes = kli_block_bytes(zone);

    return call ? call(zone->backing.ctx, block * bytes, bytes) : 0;
}

/* Blocks that may still be populated: by what the zone may have, and by the hard limit
 * or, unless that may be passed, by the soft one. */
uint32_t kli_populatable(struct kl_zone *zone, bool over_soft)
{
    uint64_t limit = atomic_load(over_soft ? &zone->hard : &zone->soft);
    uint64_t budget = atomic_load(&zone->budget), charge = atomic_load(&zone->charge);
    uint64_t room = limit > charge ? limit - charge : 0;

    return (uint32_t)kli_min(zone->blocks - present_of(budget) - given_of(budget),
                             room >> (zone->frame_shift + zone->block_order));
}

static int populate_entered(struct kl_zone *zone, uint32_t block)
{
    int err;

    if (kli_block_step(zone, block, kli_b_summon, 0)) {
        KLI_TRACE_STEP(populate_summoned, KLI_TAG(zone), block, 0);
        err = backing_call(zone, block, zone->backing.populate);
        kli_block_step(zone, block, kli_b_settle, err ? KLI_B_ABSENT : zone->block_frames);
    } else {
        err = -KL_EAGAIN;
    }
    if (err)
        kli_apply(&zone->budget, edge_leave, 0, NULL);
    else
        kli_count(zone, KLI_C_POPULATED, 1);
    return err;
}

/* Gets memory for this block, or says why not (-KL_EAGAIN: it is not absent). */
int kli_populate(struct kl_zone *zone, uint32_t block)
{
    int err = -KL_ENOMEM;

    if (kli_populatable(zone, true) == 0)
        return err; /* who waits for memory is not woken for nothing */
    KLI_TRACE(populate_begin, KLI_TAG(zone), block, 0);
    kli_hold(zone);
    if (kli_charge(zone, kli_block_bytes(zone))) {
        if (kli_apply(&zone->budget, edge_enter, zone->blocks, NULL))
            err = populate_entered(zone, block);
        if (err)
            kli_uncharge(zone, kli_block_bytes(zone));
    }
    kli_let_go(zone, err == 0);
    if (!err)
        kli_watch(zone);
    KLI_TRACE(populate_end, KLI_TAG(zone), block, err);
    return err;
}

/* Gets memory for some absent block below `end`; false: none may or can be had. */
bool kli_populate_one(struct kl_zone *zone, uint32_t end, uint32_t *block)
{
    uint32_t b = kli_index_next(zone, KLI_CLASS_ABSENT, 0);

    for (; b < end; b = kli_index_next(zone, KLI_CLASS_ABSENT, b + 1)) {
        int err = kli_populate(zone, b);

        if (err == 0)
            *block = b;
        if (err != -KL_EAGAIN)
            return err == 0;
    }
    return false;
}

/* The block is empty: nobody finds a frame of it from now on. */
static int release_memory(struct kl_zone *zone, uint32_t block)
{
    bool over;

    if (!zone->backing.release)
        return 0;
    over = kli_looks_over(zone);
    KLI_TRACE_STEP(release_looked, KLI_TAG(zone), block, over);
    if (!over)
        return -KL_EBUSY;
    return backing_call(zone, block, zone->backing.release);
}

/* Descriptors of a block that is neither present nor about to be: their states are zero (F5,
 * B4) and only who has got a frame writes one, which takes a populate first.  What an owner has
 * left in priv nobody reads. */
static void idle_descriptors(struct kl_zone *zone, uint32_t block)
{
    uint32_t first = block << zone->block_order;

    if (!zone->host.meta_idle)
        return;
    for (uint32_t i = 0; KL_DEBUG && i < zone->block_frames; i++)
        KLI_ASSERT(&zone->host, kli_state(zone, first + i) == 0);
    zone->host.meta_idle(zone->host.ctx, &zone->frame[first],
                         zone->block_frames * sizeof(zone->frame[0]));
}

/* Gives the memory of a fenced, empty block to the system; ends the fence.
 * On failure the block stays fenced and present. */
int kli_release_block(struct kl_zone *zone, uint32_t block, bool given)
{
    uint64_t all = zone->block_frames;
    int err;

    KLI_TRACE(release_begin, KLI_TAG(zone), block, given);
    if (!kli_block_step(zone, block, kli_b_vacate, all)) {
        KLI_TRACE(release_end, KLI_TAG(zone), block, -KL_EBUSY);
        return -KL_EBUSY;
    }
    KLI_TRACE_STEP(release_vacated, KLI_TAG(zone), block, given);
    err = release_memory(zone, block);
    if (!err)
        idle_descriptors(zone, block);
    kli_block_step(zone, block, kli_b_settle, err ? KLI_B_FENCED | all : KLI_B_ABSENT);
    if (!err) {
        kli_apply(&zone->budget, edge_leave, given, NULL);
        kli_uncharge(zone, kli_block_bytes(zone));
        kli_count(zone, KLI_C_GIVEN, 1);
    }
    KLI_TRACE(release_end, KLI_TAG(zone), block, err);
    return err;
}

/* A block that its area has as a whole: its memory goes, the frames stay the area's.
 * -KL_EBUSY: somebody has fenced it, or looks at it; or what the system says. */
int kli_part_with(struct kl_zone *zone, uint32_t block)
{
    int err = -KL_EBUSY;

    if (!kli_block_step(zone, block, kli_b_fence, 0))
        return err;
    KLI_TRACE(release_begin, KLI_TAG(zone), block, 1);
    if (kli_block_step(zone, block, kli_b_part, zone->block_frames)) {
        KLI_TRACE_STEP(release_vacated, KLI_TAG(zone), block, 1);
        err = release_memory(zone, block);
        if (!err) {
            kli_apply(&zone->budget, edge_leave, 1, NULL);
            atomic_fetch_add(&zone->parted, 1); /* size.h, Z1 */
            kli_uncharge(zone, kli_block_bytes(zone));
            kli_count(zone, KLI_C_GIVEN, 1);
        }
        KLI_REQUIRE(&zone->host, kli_block_step(zone, block, kli_b_parted_end, err != 0));
    } else {
        KLI_REQUIRE(&zone->host, kli_block_step(zone, block, kli_b_unfence, 0));
    }
    KLI_TRACE(release_end, KLI_TAG(zone), block, err);
    return err;
}

static int populate_charged(struct kl_zone *zone, uint32_t block)
{
    int err = -KL_ENOMEM;

    if (kli_charge(zone, kli_block_bytes(zone))) {
        err = backing_call(zone, block, zone->backing.populate);
        if (err)
            kli_uncharge(zone, kli_block_bytes(zone));
    }
    return err;
}

/* And back.  Nobody else can have its place in the budget meanwhile. (P1)
 * -KL_EBUSY: its memory is not away, or on its way; -KL_ENOMEM, or what the system says. */
int kli_return_to(struct kl_zone *zone, uint32_t block)
{
    int err;

    if (!kli_block_step(zone, block, kli_b_return, 0))
        return -KL_EBUSY;
    KLI_TRACE(populate_begin, KLI_TAG(zone), block, 0);
    KLI_TRACE_STEP(populate_summoned, KLI_TAG(zone), block, 0);
    err = populate_charged(zone, block);
    if (!err) {
        KLI_REQUIRE(&zone->host, kli_apply(&zone->budget, edge_return, 0, NULL));
        atomic_fetch_sub(&zone->parted, 1);
        kli_count(zone, KLI_C_POPULATED, 1);
    }
    KLI_REQUIRE(&zone->host, kli_block_step(zone, block, kli_b_parted_end, err == 0));
    KLI_TRACE(populate_end, KLI_TAG(zone), block, err);
    return err;
}

/* Counts up to n blocks that have no memory as given; returns how many. */
uint32_t kli_give_absent(struct kl_zone *zone, uint32_t n)
{
    uint64_t seen, arg = ((uint64_t)n << 32) | zone->blocks;

    kli_apply(&zone->budget, edge_give, arg, &seen);
    return given_of(edge_give(seen, arg).next) - given_of(seen);
}

int kli_lend(struct kl_zone *zone, uint32_t n)
{
    if (!kli_apply(&zone->budget, edge_lend, n, NULL))
        return -KL_EINVAL;
    kli_hold(zone); /* whoever waits looks again */
    kli_let_go(zone, true);
    return 0;
}
