// SPDX-License-Identifier: Apache-2.0
/* Marks of a zone: spare blocks that go back to the system, waste that is worth it, and
 * what the zone says of them. */
#include "frame/zone.h"
#include "support/mover.h"

#define MS UINT64_C(1000000)

enum { ZONE_BLOCKS = 32, ORDER = 6, BLOCK = 1 << ORDER };
enum { MARKS_BYTES = offsetof(struct kl_zone_marks, spare_blocks) + sizeof(uint32_t) };

static struct mover m;
static atomic_int kicks;

static void count_kick(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&kicks, 1);
}

static void open_zone(struct fixture *f, unsigned flags)
{
    fixture_open(f, ZONE_BLOCKS, ORDER, flags);
    mover_open(&m, f->zone, MOVER_SINGLE);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(f->zone, count_kick, NULL), 0);
}

static void close_zone(struct fixture *f)
{
    assert_int_equal(kl_zone_set_kick(f->zone, NULL, NULL), 0);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(f);
}

static struct kl_zone_stats stats(const struct fixture *f)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f->zone, &s);
    return s;
}

static void set_marks(struct fixture *f, struct kl_zone_marks marks)
{
    marks.size = sizeof(marks);
    assert_int_equal(kl_zone_set_marks(f->zone, &marks), 0);
}

/* *again: -1 unless it is to be called again. */
static int step(struct fixture *f, uint32_t budget, int64_t *again)
{
    struct kl_step step = {.size = sizeof(step), .budget = budget, .flags = KL_STEP_WANTED};
    int err = kl_zone_step(f->zone, &step, NULL);

    *again = err == -KL_EAGAIN ? (int64_t)step.again_ns : -1;
    return err;
}

/* Steps until none is due; how long it rests then, -1: until it is kicked. */
static int64_t settle(struct fixture *f)
{
    int64_t again = 0;

    for (unsigned i = 0; again == 0; i++) {
        int err = step(f, 64, &again);

        assert_true(err == 0 || err == -KL_EAGAIN);
        assert_in_range(i, 0, 1000);
    }
    return again;
}

static void they_can_be_read(void **state)
{
    const struct kl_zone_marks marks = {sizeof(marks), 1, 2, 3, 40, 30, 6, 7};
    struct kl_zone_marks bad = marks, seen = {.size = sizeof(seen)};
    struct fixture f;

    (void)state;
    open_zone(&f, 0);
    kl_zone_get_marks(f.zone, &seen);
    assert_memory_equal(&seen, (&(struct kl_zone_marks){.size = sizeof(seen)}), MARKS_BYTES);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    bad.spare_blocks = ZONE_BLOCKS + 1;
    assert_int_equal(kl_zone_set_marks(f.zone, &bad), -KL_EINVAL);
    bad.spare_blocks = ZONE_BLOCKS;
    bad.waste_blocks = ZONE_BLOCKS + 1;
    assert_int_equal(kl_zone_set_marks(f.zone, &bad), -KL_EINVAL);
    kl_zone_get_marks(f.zone, &seen);
    assert_memory_equal(&seen, &marks, MARKS_BYTES);
    seen = (struct kl_zone_marks){.size = offsetof(struct kl_zone_marks, high)};
    kl_zone_get_marks(f.zone, &seen); /* of a program that knows fewer */
    assert_int_equal(seen.low, 2);
    assert_int_equal(seen.high, 0);
    close_zone(&f);
}

static void spare_blocks_go_back(void **state)
{
    struct fixture f;
    int64_t again;

    (void)state;
    open_zone(&f, KL_ZONE_POPULATE);
    assert_int_equal(settle(&f), -1);
    assert_int_equal(stats(&f).present_blocks, ZONE_BLOCKS); /* unset: never */
    set_marks(&f, (struct kl_zone_marks){.spare_blocks = 3});
    assert_int_equal(kicks, 1);
    assert_int_equal(stats(&f).wanted, KL_WANTED_SPARE);
    assert_int_equal(step(&f, 32 * 4, &again), -KL_EAGAIN); /* by the budget */
    assert_int_equal(again, 0);
    assert_int_equal(stats(&f).present_blocks, ZONE_BLOCKS - 5);
    assert_int_equal(step(&f, 0, &again), 0); /* without */
    assert_int_equal(stats(&f).present_blocks, 3);
    assert_int_equal(stats(&f).free_blocks, 3);
    assert_int_equal(stats(&f).wanted, 0);
    assert_int_equal(kicks, 1);
    close_zone(&f);
}

/* The last frame of a block brings the kick; the spare ones come and go without. */
static void memory_that_comes_and_goes_stays(void **state)
{
    enum { PAIRS = BLOCK / 2, SPARE = 2, N = SPARE * PAIRS };
    struct fixture f;

    (void)state;
    open_zone(&f, 0);
    set_marks(&f, (struct kl_zone_marks){.spare_blocks = SPARE});
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(mover_alloc(&m, i, 1, KL_MOVABLE), 0);
        for (unsigned i = 0; i < N; i++)
            assert_true(mover_free(&m, i));
        assert_int_equal(stats(&f).present_blocks, SPARE);
        assert_int_equal(kicks, 0);
        assert_int_equal(stats(&f).blocks_populated, SPARE);
    }
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < N + PAIRS; i++)
            assert_int_equal(mover_alloc(&m, i, 1, KL_MOVABLE), 0);
        for (unsigned i = 0; i < N + PAIRS; i++) {
            assert_int_equal(kicks, round - 1);
            assert_true(mover_free(&m, i));
        }
        assert_int_equal(kicks, round);
        assert_int_equal(settle(&f), -1);
        assert_int_equal(stats(&f).present_blocks, SPARE);
        assert_int_equal(stats(&f).blocks_populated, SPARE + round);
    }
    close_zone(&f);
}

/* What the system refuses is tried again, later and later; the rest goes on. */
static void a_release_that_fails(void **state)
{
    struct fixture f;
    int64_t again;

    (void)state;
    open_zone(&f, KL_ZONE_POPULATE);
    set_marks(&f, (struct kl_zone_marks){.spare_blocks = 1});
    for (unsigned i = 0; i < 4; i++) {
        fault_set(FAULT_RELEASE, 1);
        assert_int_equal(step(&f, 0, &again), -KL_EAGAIN);
        assert_int_equal(again, (10 * MS) << i);
        assert_zone_ok(f.zone);
        assert_int_equal(stats(&f).present_blocks, ZONE_BLOCKS);
        assert_int_equal(stats(&f).wanted, KL_WANTED_SPARE);
    }
    fault_set(FAULT_RELEASE, 5); /* some went before it */
    assert_int_equal(step(&f, 0, &again), -KL_EAGAIN);
    assert_int_equal(stats(&f).present_blocks, ZONE_BLOCKS - 4);
    fault_set(FAULT_RELEASE, 0);
    assert_int_equal(settle(&f), -1);
    assert_int_equal(stats(&f).present_blocks, 1);
    assert_int_equal(kicks, 1);
    close_zone(&f);
}

/* `scattered` of the blocks half full, all others full. */
static void fill(struct fixture *f, unsigned scattered)
{
    for (unsigned i = 0; i < ZONE_BLOCKS * BLOCK; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (uint32_t nr = 0; nr < scattered * BLOCK; nr += 2)
        assert_true(mover_free(&m, mover_at(&m, nr)));
    assert_int_equal(kl_zone_trim(f->zone, ZONE_BLOCKS), 0); /* no frame is in a cache */
}

static void little_waste_is_not_worth_it(void **state)
{
    struct fixture f;

    (void)state;
    open_zone(&f, KL_ZONE_POPULATE);
    fill(&f, 8); /* 8 blocks of 32, half of each: 125 thousandths, 4 blocks' worth */
    set_marks(&f, (struct kl_zone_marks){.waste_start = 50, .waste_stop = 10, .waste_blocks = 5});
    assert_int_equal(kicks, 0);
    assert_int_equal(settle(&f), -1);
    assert_int_equal(stats(&f).free_blocks, 0);
    set_marks(&f, (struct kl_zone_marks){.waste_start = 50, .waste_stop = 10, .waste_blocks = 3});
    assert_int_equal(kicks, 1);
    assert_int_equal(stats(&f).wanted, KL_WANTED_BLOCKS);
    assert_int_equal(settle(&f), -1); /* until less than three are to be gained */
    assert_in_range(stats(&f).free_blocks, 2, 3);
    assert_int_equal(stats(&f).wanted, 0);
    assert_int_equal(kicks, 1);
    close_zone(&f);
}

/* Less than a block's worth is no waste, however small the zone has become. */
static void less_than_a_block_is_no_waste(void **state)
{
    struct fixture f;

    (void)state;
    open_zone(&f, 0);
    set_marks(&f, (struct kl_zone_marks){.waste_start = 50, .waste_stop = 10, .spare_blocks = 1});
    for (unsigned i = 0; i < BLOCK; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < BLOCK; i += 2)
        assert_true(mover_free(&m, i));
    assert_int_equal(kl_zone_trim(f.zone, 1), 0);
    assert_int_equal(settle(&f), -1);
    assert_int_equal(kicks, 0);
    close_zone(&f);
}

/* What is freed here and there is packed, and what that frees goes back. */
static void from_waste_to_the_system(void **state)
{
    struct fixture f;

    (void)state;
    open_zone(&f, KL_ZONE_POPULATE);
    fill(&f, ZONE_BLOCKS);
    set_marks(&f, (struct kl_zone_marks){.waste_start = 50, .waste_stop = 10, .spare_blocks = 2});
    assert_int_equal(kicks, 1);
    assert_int_equal(settle(&f), -1);
    assert_in_range(stats(&f).present_blocks, ZONE_BLOCKS / 2 + 2, ZONE_BLOCKS / 2 + 3);
    assert_in_range(stats(&f).free_blocks, 1, 2);
    assert_int_equal(stats(&f).wanted, 0);
    close_zone(&f);
}

/* A backing that has no release: its blocks stay, and nobody tries. */
static void memory_that_can_not_go_back(void **state)
{
    const struct kl_zone_marks marks = {.size = sizeof(marks), .spare_blocks = 1};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_backing backing;
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};
    struct kl_zone *zone;

    (void)state;
    assert_int_equal(kl_backing_offsets(&backing, 8 << (12 + ORDER), 12, ORDER), 0);
    config.backing = &backing;
    assert_null(backing.release);
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(zone, count_kick, NULL), 0);
    assert_int_equal(kl_zone_set_marks(zone, &marks), 0);
    assert_int_equal(kicks, 0);
    assert_int_equal(kl_zone_step(zone, &step, NULL), 0);
    assert_int_equal(kl_zone_set_kick(zone, NULL, NULL), 0);
    assert_int_equal(kl_zone_destroy(zone), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_can_be_read),
        cmocka_unit_test(spare_blocks_go_back),
        cmocka_unit_test(memory_that_comes_and_goes_stays),
        cmocka_unit_test(a_release_that_fails),
        cmocka_unit_test(little_waste_is_not_worth_it),
        cmocka_unit_test(less_than_a_block_is_no_waste),
        cmocka_unit_test(from_waste_to_the_system),
        cmocka_unit_test(memory_that_can_not_go_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
