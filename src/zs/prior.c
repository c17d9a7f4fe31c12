// SPDX-License-Identifier: Apache-2.0
/* What sizes a pool is planned for.
 *
 * The prior: a pool that is told its largest common size expects as many bytes of
 * every size from a quarter of that on, less and less below (in proportion to the
 * size's square), and a thirty-second each of that very size (what was kept as it is)
 * and of all the sizes above.  A pool that is told nothing expects as many bytes of
 * each octave from 1 KiB on.  tools/classbench.c compares that with tables that were
 * made for the very data: for 1 GiB of 4 KiB blocks the difference was 0.06 % of the
 * compressed bytes at most, for 16 MiB 1.1 %.
 *
 * The blend: what was observed, and a sixty-fourth of the prior. */
#include "zs/plan.h"

enum {
    KNEE = 1024,       /* of a pool that is told nothing */
    SPIKE = 32,        /* one part in so many */
    ABOVE = 32,        /* the same */
    PRIOR = 64,        /* of a blend, the same */
    ALL_LOG2 = 30,     /* objects in a blend */
    RATIO_BITS = 20,   /* of its fraction */
    POOL_CHAINS = 32,  /* a pool has at least as many of the longest chains */
    CLASS_BYTES = 256, /* descriptor and lookup */
};

static uint64_t size_of(uint32_t bucket)
{
    return ((uint64_t)bucket + 1) * ZS_PLAN_STEP;
}

static uint64_t bytes_of(const uint32_t *counts, uint32_t n)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n; i++)
        bytes += counts[i] * size_of(i);
    return bytes;
}

/* As many bytes in each octave from the knee on. */
static void expect_anything(uint32_t *counts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t size = size_of(i), knee = KNEE;

        if (size < knee)
            counts[i] = (uint32_t)((UINT64_C(1) << 44) / (knee * knee) * size / knee);
        else
            counts[i] = (uint32_t)((UINT64_C(1) << 44) / (size * size));
    }
}

/* As many bytes of each size from the knee to the last below `common`. */
static void expect_up_to(uint32_t *counts, uint32_t common)
{
    uint64_t knee = ZS_PLAN_STEP + size_of(common) / 4;

    for (uint32_t i = 0; i <= common; i++) {
        uint64_t size = size_of(i);

        if (size < knee)
            counts[i] = (uint32_t)((size << 30) / (knee * knee));
        else
            counts[i] = (uint32_t)((UINT64_C(1) << 30) / size);
    }
}

void zs_plan_prior(uint32_t *counts, uint32_t largest, uint32_t typical)
{
    uint32_t n = largest / ZS_PLAN_STEP, common = (typical - 1) / ZS_PLAN_STEP;
    uint64_t bytes;

    if (typical == 0 || typical > largest) {
        expect_anything(counts, n);
        return;
    }
    expect_up_to(counts, common);
    bytes = bytes_of(counts, common + 1);
    counts[common] += (uint32_t)(bytes / SPIKE / size_of(common));
    for (uint32_t i = common + 1; i < n; i++)
        counts[i] = (uint32_t)(bytes / ABOVE / (n - common) / size_of(i));
}

void zs_plan_blend(uint32_t *counts, const uint32_t *observed, uint32_t largest, uint32_t typical)
{
    uint32_t n = largest / ZS_PLAN_STEP;
    uint64_t all = 0, prior, ratio, bytes = 0;
    int up = 0;

    zs_plan_prior(counts, largest, typical);
    prior = bytes_of(counts, n);
    for (uint32_t i = 0; i < n; i++)
        all += observed[i];
    if (all == 0 || prior == 0)
        return;
    for (; all >> (ALL_LOG2 + 1); all >>= 1)
        up--;
    for (; !(all >> ALL_LOG2); all <<= 1)
        up++;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t seen = up >= 0 ? (uint64_t)observed[i] << up : observed[i] >> -up;

        bytes += seen * size_of(i);
    }
    ratio = (bytes / PRIOR << RATIO_BITS) / prior;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t seen = up >= 0 ? (uint64_t)observed[i] << up : observed[i] >> -up;

        counts[i] = (uint32_t)(seen + (counts[i] * ratio >> RATIO_BITS));
    }
}

struct zs_plan_in zs_plan_for(uint32_t frame_bytes, uint32_t largest, uint64_t frames)
{
    uint64_t chain = kli_max(1, kli_min(frames / POOL_CHAINS, ZS_PLAN_CHAIN));

    frames = kli_min(frames, UINT32_MAX);
    return (struct zs_plan_in){
        .frame_bytes = frame_bytes,
        .max_chain = (uint32_t)chain,
        .max_objects = ZS_PLAN_OBJECTS,
        .largest = largest,
        .pool_bytes = frames * frame_bytes / 2,
        .reach = 8,
        .price = {.class_bytes = CLASS_BYTES,
                  .tail_bytes = frame_bytes / 2,
                  .chain_bytes = frame_bytes / 64,
                  .cross_bytes = 4},
    };
}
