// SPDX-License-Identifier: Apache-2.0
/* Size classes: what every plan keeps, that it is the best there is, and what sizes it
 * is made for. */
#include "zs/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LARGEST = 65536, BUCKETS = LARGEST / ZS_PLAN_STEP, MOST = 4096 };

static uint32_t counts[BUCKETS], observed[BUCKETS];
static struct zs_shape shapes[MOST], others[MOST];
static struct zs_plan_scratch *scratch;

static int open_scratch(void **state)
{
    (void)state;
    scratch = malloc(zs_plan_scratch_bytes());
    return scratch ? 0 : -1;
}

static int close_scratch(void **state)
{
    (void)state;
    free(scratch);
    return 0;
}

static struct zs_plan_in plan_in(uint32_t frame_bytes, uint64_t pool_bytes)
{
    struct zs_plan_in in = zs_plan_for(frame_bytes, LARGEST, pool_bytes / frame_bytes);

    in.counts = counts;
    return in;
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* (P1), (P2) */
static void assert_sound(const struct zs_plan_in *in, const struct zs_shape *s, uint32_t n)
{
    assert_true(n > 0);
    assert_int_equal(s[n - 1].size, in->largest);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bytes = s[i].chain * in->frame_bytes, used = s[i].objects * s[i].size;

        assert_int_equal(s[i].size % ZS_PLAN_STEP, 0);
        assert_true(s[i].size > (i > 0 ? s[i - 1].size : 0));
        assert_in_range(s[i].objects, 1, in->max_objects);
        assert_true(s[i].chain >= 1);
        assert_true(s[i].chain <= in->max_chain || s[i].objects == 1);
        assert_true(s[i].chain <= ZS_PLAN_CHAIN);
        assert_true(used <= bytes && bytes - used < s[i].size);
    }
}

static void every_plan_is_sound(void **state)
{
    static const uint32_t typical[] = {0, 1, 100, 1000, 4096, 16384, LARGEST};
    static const uint64_t pool[] = {1, 4096, 1 << 16, 1 << 21, 1 << 26, 1 << 30, UINT64_C(1) << 42};

    (void)state;
    for (uint32_t frame = 4096; frame <= LARGEST; frame *= 2) {
        for (unsigned t = 0; t < sizeof(typical) / sizeof(typical[0]); t++) {
            zs_plan_prior(counts, LARGEST, typical[t]);
            for (unsigned i = 0; i < sizeof(pool) / sizeof(pool[0]); i++) {
                struct zs_plan_in in = plan_in(frame, pool[i]);
                uint32_t n = zs_plan(&in, shapes, 512, scratch);

                assert_true(n <= 512);
                assert_sound(&in, shapes, n);
                assert_int_equal(zs_plan(&in, others, 512, scratch), n); /* (P3) */
                assert_memory_equal(shapes, others, n * sizeof(shapes[0]));
            }
        }
    }
}

/* Any prices and counts, also none at all. */
static void odd_input_makes_sound_plans(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct zs_plan_in in = plan_in(4096u << round % 5, UINT64_C(1) << (12 + round % 31));
        uint32_t max = round % 3 == 0 ? 1 + next_random(&seed) % 40 : MOST, n;

        in.max_chain = 1 + next_random(&seed) % ZS_PLAN_CHAIN;
        in.max_objects = 512u >> next_random(&seed) % 10;
        in.reach = next_random(&seed) % 20;
        in.price = (struct zs_plan_price){
            .class_bytes = next_random(&seed) % 500,
            .tail_bytes = next_random(&seed) % (2 * in.frame_bytes),
            .chain_bytes = next_random(&seed) % in.frame_bytes,
            .cross_bytes = next_random(&seed) % 100,
        };
        memset(counts, 0, sizeof(counts));
        for (unsigned i = 0; round % 7 && i < 1u << round % 12; i++)
            counts[next_random(&seed) % BUCKETS] = next_random(&seed) >> (round % 30);
        n = zs_plan(&in, shapes, max, scratch);
        assert_true(n <= max);
        assert_sound(&in, shapes, n);
        zs_plan_waste(&in, shapes, n);
    }
    memset(counts, 0xff, sizeof(counts)); /* the most there can be */
    for (uint64_t pool = 4096; pool < UINT64_C(1) << 45; pool <<= 8) {
        struct zs_plan_in in = plan_in(4096, pool);
        uint32_t n = zs_plan(&in, shapes, MOST, scratch);

        assert_sound(&in, shapes, n);
        assert_true(pool < 1 << 28 || zs_plan_waste(&in, shapes, n) < 40000);
    }
}

/* Nothing is left out for lack of room: if classes cost nothing, all are there, down to
 * the smallest size. */
static void there_is_room_for_every_shape(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < BUCKETS; i++)
        counts[i] = 1;
    for (uint32_t frame = 4096; frame <= LARGEST; frame *= 2) {
        for (uint32_t chain = 1; chain <= ZS_PLAN_CHAIN; chain++) {
            for (uint32_t cross = 0; cross < 20; cross += 4) {
                struct zs_plan_in in = plan_in(frame, UINT64_C(1) << 40);

                in.max_chain = chain;
                in.price = (struct zs_plan_price){.chain_bytes = 1, .cross_bytes = cross};
                assert_true(zs_plan(&in, shapes, MOST, scratch) >= (chain < 32 ? 30 : 600));
                assert_int_equal(shapes[0].size, frame / 512);
            }
        }
    }
}

/* What zs_plan minimises, by the definition: a double may err by less than two tables
 * differ. */
static double cost(const struct zs_plan_in *in, const struct zs_shape *s, uint32_t n)
{
    double sum = 0, bytes = 0, waste = 0;

    for (uint32_t i = 0; i < in->largest / ZS_PLAN_STEP; i++)
        bytes += counts[i] * (ZS_PLAN_STEP * (i + 1) - 3.5);
    for (uint32_t i = 0, b = 0; i < n; i++) {
        double chain = (double)s[i].chain * in->frame_bytes;
        double tail = in->price.tail_bytes + (double)s[i].chain * in->price.chain_bytes;
        double count = 0, expected;

        for (; b < s[i].size / ZS_PLAN_STEP; b++)
            count += counts[b];
        expected = count * (double)in->pool_bytes / bytes;
        sum += expected * (chain + (s[i].chain - 1) * (double)in->price.cross_bytes) / s[i].objects;
        waste += in->price.class_bytes + tail * (expected < 1 ? expected : 1);
    }
    return sum + waste;
}

/* Every table there is: of each of the 8 sizes no class, or one with a chain of 1 to 3
 * frames.  Two bits a size. */
static double best_of(const struct zs_plan_in *in)
{
    double best = 1e300;

    for (uint32_t pick = 0; pick < 1 << 16; pick++) {
        struct zs_shape s[8] = {{0}};
        uint32_t n = 0;

        for (uint32_t i = 0; i < 8; i++) {
            uint32_t size = ZS_PLAN_STEP * (i + 1), chain = pick >> (2 * i) & 3;
            uint32_t objects = chain * in->frame_bytes / size;

            if (chain > 0 && chain <= in->max_chain && objects <= in->max_objects)
                s[n++] = (struct zs_shape){size, (uint16_t)chain, (uint16_t)objects};
        }
        if (n > 0 && s[n - 1].size == in->largest) {
            double got = cost(in, s, n);

            best = got < best ? got : best;
        }
    }
    return best;
}

/* Frames of 64 bytes, objects up to 64: 8 sizes, chains of up to 3. */
static void small_plans_are_the_best(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        struct zs_plan_in in = {
            .frame_bytes = 64,
            .max_chain = 1 + round % 3,
            .max_objects = 8,
            .largest = 64,
            .pool_bytes = UINT64_C(1) << (8 + 2 * (round % 6)),
            .price = {4 * (round % 4), 32, round % 5, round % 3},
            .counts = counts,
        };
        uint32_t n;

        for (unsigned i = 0; i < 8; i++)
            counts[i] = 1 + next_random(&seed) % 1000;
        n = zs_plan(&in, shapes, MOST, scratch);
        assert_sound(&in, shapes, n);
        double got = cost(&in, shapes, n), best = best_of(&in);

        /* prices have 1/256 byte, tails whole units of at least that */
        assert_true(got <= best * 1.002);
        assert_true(got >= best * 0.999);
    }
}

static void small_pools_have_fewer_classes(void **state)
{
    uint32_t last = 0;

    (void)state;
    for (unsigned frame = 4096; frame <= LARGEST; frame *= 4, last = 0) {
        zs_plan_prior(counts, LARGEST, 4096);
        for (uint64_t mib = 2; mib <= 2048; mib *= 4) {
            struct zs_plan_in in = plan_in(frame, mib << 20);
            uint32_t n = zs_plan(&in, shapes, MOST, scratch);

            assert_true(n > last);
            last = n;
        }
    }
}

/* Mean waste of sizes that nobody spoke of, and what a class may waste at most. */
static void other_sizes_are_served_sensibly(void **state)
{
    (void)state;
    zs_plan_prior(counts, LARGEST, 4096);
    for (uint64_t mib = 2; mib <= 1024; mib *= 8) {
        struct zs_plan_in in = plan_in(4096, mib << 20);
        uint32_t n = zs_plan(&in, shapes, MOST, scratch), from = 0;
        double waste = 0;

        for (uint32_t size = 4097, i = 0; size <= LARGEST; size++) {
            while (shapes[i].size < size)
                i++;
            waste += 4096.0 * shapes[i].chain / shapes[i].objects / size - 1;
            from++;
        }
        assert_true(waste / from < (mib > 2 ? 0.05 : 0.08));
        for (uint32_t i = 0, least = 1; i < n; least = shapes[i++].size + 1) {
            if (shapes[i].size > 1024 && shapes[i].objects > 1 && mib > 2)
                assert_true(shapes[i].size <= least + least / 8 + 4 * ZS_PLAN_STEP);
        }
    }
}

/* Objects of 940 to 1060 bytes, in a pool that was told 4096. */
static void learned_plans_waste_less(void **state)
{
    uint64_t blind_waste, learned_waste;
    uint32_t blind, learned;
    struct zs_plan_in in = plan_in(4096, 128 << 20);

    (void)state;
    for (uint32_t i = 940 / 8; i < 1060 / 8; i++)
        observed[i] = 1000;
    zs_plan_prior(counts, LARGEST, 4096);
    blind = zs_plan(&in, shapes, 512, scratch);
    zs_plan_blend(counts, observed, LARGEST, 4096);
    learned = zs_plan(&in, others, 512, scratch);
    assert_sound(&in, others, learned);
    in.counts = observed;
    blind_waste = zs_plan_waste(&in, shapes, blind);
    learned_waste = zs_plan_waste(&in, others, learned);
    assert_true(learned_waste < 7000); /* millionths */
    assert_true(learned_waste + 2000 < blind_waste);
}

static uint64_t sum_bytes(const uint32_t *of)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < BUCKETS; i++)
        sum += of[i] * (uint64_t)(i + 1) * ZS_PLAN_STEP;
    return sum;
}

static void blends_are_mostly_what_was_observed(void **state)
{
    static const uint32_t seen[] = {1, 1000, UINT32_MAX};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        for (uint32_t at = 0; at < BUCKETS; at += BUCKETS / 5) {
            memset(observed, 0, sizeof(observed));
            observed[at] = seen[i];
            zs_plan_blend(counts, observed, LARGEST, 4096);
            uint64_t own = (uint64_t)counts[at] * (at + 1) * ZS_PLAN_STEP, all = sum_bytes(counts);

            assert_true(own < all && all - own <= own / 32);
            assert_true(at == 0 || all - own >= own / 128);
        }
    }
    memset(observed, 0, sizeof(observed)); /* nothing: the prior */
    zs_plan_blend(counts, observed, LARGEST, 4096);
    zs_plan_prior(observed, LARGEST, 4096);
    assert_memory_equal(counts, observed, sizeof(counts));
}

/* What is predicted is what counting gives: a class half used has half a frame more. */
static void waste_is_what_it_says(void **state)
{
    struct zs_shape two[] = {{2048, 1, 2}, {LARGEST, 16, 1}};
    struct zs_plan_in in = plan_in(4096, 1 << 20);

    (void)state;
    memset(observed, 0, sizeof(observed));
    in.counts = observed;
    in.price = (struct zs_plan_price){0};
    in.pool_bytes = 1 << 20;
    observed[2048 / 8 - 1] = 7;
    assert_in_range(zs_plan_waste(&in, two, 2), 1710, 1714); /* 3.5 bytes of 2044.5 */
    observed[2048 / 8 - 1] = 0;
    observed[1024 / 8 - 1] = 7;
    assert_in_range(zs_plan_waste(&in, two, 2), 1006850, 1006870); /* 2048 / 1020.5 - 1 */
    in.price.tail_bytes = 1 << 14;                                 /* of 2^20 */
    assert_in_range(zs_plan_waste(&in, two, 2), 1006850 + 15620, 1006870 + 15630);
    in.price = (struct zs_plan_price){.class_bytes = 1 << 14}; /* no waste of frames */
    assert_in_range(zs_plan_waste(&in, two, 2), 1006850, 1006870);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_plan_is_sound),
        cmocka_unit_test(odd_input_makes_sound_plans),
        cmocka_unit_test(there_is_room_for_every_shape),
        cmocka_unit_test(small_plans_are_the_best),
        cmocka_unit_test(small_pools_have_fewer_classes),
        cmocka_unit_test(other_sizes_are_served_sensibly),
        cmocka_unit_test(learned_plans_waste_less),
        cmocka_unit_test(blends_are_mostly_what_was_observed),
        cmocka_unit_test(waste_is_what_it_says),
    };

    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
