// SPDX-License-Identifier: Apache-2.0
/* Contiguous ranges: shapes, pins, room, and that they succeed whenever they can. */
#include "support/mover.h"

#include "cli/replay/oracle.h"

#include <string.h>

static struct mover m;

static void contiguous_ranges(void **state)
{
    static const struct {
        uint32_t frames, align;
    } cases[] = {{1, 1}, {3, 1}, {17, 4}, {64, 64}, {100, 32}, {128, 1}, {200, 64}, {320, 128}};

    (void)state;
    for (unsigned c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct kl_report r = {.size = sizeof(r)};
        struct fixture f;
        kl_pfn first;

        fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
        mover_open(&m, f.zone, MOVER_BATCH);
        mover_scatter(&m, 5);
        assert_int_equal(
            kl_contig_alloc(f.zone, m.owner, cases[c].frames, cases[c].align, KL_SYNC, &first, &r),
            0);
        assert_int_equal(kl_pfn_nr(first) % cases[c].align, 0);
        memset(kl_frame_addr(f.zone, first), 0xee, cases[c].frames * 4096u);
        mover_all_right(&m); /* nobody else lives there */
        assert_zone_ok(f.zone);
        assert_int_equal(kl_contig_free(f.zone, m.owner, first, cases[c].frames + 1), -KL_EINVAL);
        assert_int_equal(kl_contig_free(f.zone, m.owner, first, 1), 0);
        assert_int_equal(kl_contig_free(f.zone, m.owner, first, cases[c].frames), -KL_EINVAL);
        if (cases[c].frames > 1)
            assert_int_equal(kl_contig_free(f.zone, m.owner,
                                            kl_zone_pfn(f.zone, kl_pfn_nr(first) + 1),
                                            cases[c].frames - 1),
                             0);
        assert_zone_ok(f.zone);
        mover_close(&m);
        fixture_close(&f);
    }
}

/* Around a pin: the only window without one is found, wherever it is. */
static void finds_the_only_window(void **state)
{
    (void)state;
    for (unsigned hole = 0; hole < 8; hole++) {
        struct kl_report r = {.size = sizeof(r)};
        struct fixture f;
        kl_pfn first;

        fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
        mover_open(&m, f.zone, MOVER_SINGLE);
        mover_scatter(&m, 2);
        for (unsigned b = 0; b < 8; b++) {
            if (b != hole)
                assert_int_equal(mover_pin(&m, mover_at(&m, b * 64 + 32)), 0);
        }
        assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r), 0);
        assert_int_equal(kl_pfn_nr(first), hole * 64);
        assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r), -KL_EBUSY);
        assert_int_equal(kl_contig_free(f.zone, m.owner, kl_zone_pfn(f.zone, hole * 64), 64), 0);
        mover_all_right(&m);
        mover_close(&m);
        fixture_close(&f);
    }
}

/* The last free frames are in the window's own blocks, beside it: they will do. */
static void room_beside_the_window(void **state)
{
    struct fixture f;
    kl_pfn first;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned nr = 100; nr < 116; nr++) /* 16 free, half of them where they count */
        assert_true(mover_free(&m, mover_at(&m, nr)));
    for (unsigned nr = 0; nr < 256; nr++) { /* and only one place for 16 at 16 */
        if (nr % 16 == 15 && nr != 111)
            assert_int_equal(mover_pin(&m, mover_at(&m, nr)), 0);
    }
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 16, 16, KL_SYNC, &first, NULL), 0);
    assert_int_equal(kl_pfn_nr(first), 96);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 1, 1, KL_SYNC, &first, NULL), -KL_ENOMEM);
    mover_all_right(&m);
    assert_int_equal(kl_contig_free(f.zone, m.owner, kl_zone_pfn(f.zone, 96), 16), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Exactly this range: what stands in it moves out, a pin or the bound refuses. */
static void takes_exactly_this_range(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;
    kl_pfn at;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 3);
    at = kl_zone_pfn(f.zone, 100);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, at, 150, KL_SYNC, &r), 0);
    assert_in_range(r.migrated, 49, 51);
    memset(kl_frame_addr(f.zone, at), 0xee, 150 * 4096u);
    mover_all_right(&m);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, at, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(kl_pfn_nr(r.culprit), 100);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_contig_free(f.zone, m.owner, at, 150), 0);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, at, 413, KL_SYNC, &r), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, (kl_pfn){7}, 1, KL_SYNC, &r), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, at, 0, KL_SYNC, &r), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, at, 412, KL_SYNC, &r), -KL_ENOMEM);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* Small ranges share blocks, and leave the others to movable frames. */
static void small_ranges_stay_together(void **state)
{
    kl_pfn first[16];
    struct fixture f;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(kl_contig_alloc(f.zone, m.owner, 8, 8, KL_SYNC, &first[i], NULL), 0);
    for (unsigned i = 1; i < 16; i++)
        assert_int_equal(kl_pfn_nr(first[i]) / 64, kl_pfn_nr(first[0]) / 64 + i / 8);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(kl_contig_free(f.zone, m.owner, first[i], 8), 0);
    mover_close(&m);
    fixture_close(&f);
}

enum { BLOCKS = 8, FRAMES = BLOCKS * 64 };

/* Fills the zone to `full` per cent and pins a few. */
static void lay_out(struct rng *rng, unsigned full)
{
    for (unsigned i = 0; i < FRAMES; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < FRAMES; i++) {
        if (rng_below(rng, 100) >= full)
            assert_true(mover_free(&m, i));
        else if (rng_below(rng, 100) < 2)
            assert_int_equal(mover_pin(&m, i), 0);
    }
}

static void succeeds_whenever_it_can(void **state)
{
    struct rng rng = rng_new(77);
    unsigned possible = 0;

    (void)state;
    for (int layout = 0; layout < 150; layout++) {
        uint8_t map[FRAMES];
        struct replay_layout frozen = {
            .frames = FRAMES, .block_order = 6, .map = map, .may_move = true};
        struct fixture f;

        fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
        mover_open(&m, f.zone, MOVER_SINGLE);
        lay_out(&rng, 50 + rng_below(&rng, 49));
        for (int try = 0; try < 6; try++) {
            uint32_t n = 1 + rng_below(&rng, 130), align = 1u << rng_below(&rng, 7);
            kl_pfn first;
            int err;

            assert_int_equal(kl_zone_map(f.zone, 0, FRAMES, map), 0);
            err = kl_contig_alloc(f.zone, m.owner, n, align, KL_SYNC, &first, NULL);
            if ((err == 0) != (replay_feasible_contig(&frozen, n, align) == 1))
                fail_msg("layout %d: %u at %u is %s but gave %s", layout, n, align,
                         err ? "possible" : "impossible", kl_err_name(err));
            mover_all_right(&m);
            if (err == 0)
                assert_int_equal(kl_contig_free(f.zone, m.owner, first, n), 0);
            possible += err == 0;
        }
        mover_close(&m);
        fixture_close(&f);
    }
    assert_in_range(possible, 100, 890);
}

/* Units of one to eight frames: there is room for them outside, but not in runs, until
 * others have moved. */
static void room_is_made_for_larger_units(void **state)
{
    struct rng rng = rng_new(78);

    (void)state;
    for (int layout = 0; layout < 100; layout++) {
        struct kl_zone_stats s = {.size = sizeof(s)};
        struct kl_report r = {.size = sizeof(r)};
        struct fixture f;
        kl_pfn first;
        int err;

        fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
        mover_open(&m, f.zone, MOVER_BATCH);
        for (unsigned i = 0; mover_alloc(&m, i, rng_below(&rng, 4), KL_MOVABLE | KL_NOWAIT) == 0;)
            i++;
        for (unsigned i = 0; i < FRAMES; i++) {
            if (m.item[i].here && rng_below(&rng, 100) < 25)
                assert_true(mover_free(&m, i));
        }
        kl_zone_get_stats(f.zone, &s);
        err = kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r);
        if ((err == 0) != (s.free_frames >= 64))
            fail_msg("layout %d: %u frames free, %s", layout, s.free_frames, kl_err_name(err));
        mover_all_right(&m);
        assert_zone_ok(f.zone);
        if (err == 0)
            assert_int_equal(kl_contig_free(f.zone, m.owner, first, 64), 0);
        mover_close(&m);
        fixture_close(&f);
    }
}

/* What stands in the window fits into one block that has no memory yet. */
static void room_in_an_absent_block(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    fixture_open(&f, 4, 6, 0);
    mover_open(&m, f.zone, MOVER_BATCH);
    for (unsigned i = 0; i < 192; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, kl_zone_pfn(f.zone, 0), 64, KL_SYNC, &r),
                     0);
    assert_int_equal(r.migrated, 64);
    mover_all_right(&m);
    assert_int_equal(kl_contig_free(f.zone, m.owner, kl_zone_pfn(f.zone, 0), 64), 0);
    mover_close(&m);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_in_an_absent_block),  cmocka_unit_test(contiguous_ranges),
        cmocka_unit_test(finds_the_only_window),    cmocka_unit_test(room_beside_the_window),
        cmocka_unit_test(takes_exactly_this_range), cmocka_unit_test(small_ranges_stay_together),
        cmocka_unit_test(succeeds_whenever_it_can), cmocka_unit_test(room_is_made_for_larger_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
