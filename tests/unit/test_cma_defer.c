// SPDX-License-Identifier: Apache-2.0
/* Deferred free: what is kept, its reuse, and how it goes back. */
#include "support/area.h"

#include "frame/cache.h"
#include "frame/share.h"

/* Exact before partial, the smallest that fits; head and tail stay; neighbours are one. */
static void kept_ranges_are_reused(void **state)
{
    kl_pfn all, small, part, big;

    (void)state;
    open_all(0, 1 << 20, 0);
    assert_int_equal(alloc_at(kl_pfn_nr(all = kl_zone_pfn(f.zone, AREA)), AREA, NULL), 0);
    release(kl_zone_pfn(f.zone, AREA + 5), 60); /* 5 to 64 */
    release(kl_zone_pfn(f.zone, AREA + 100), 20);
    assert_int_equal(stats().largest_frames, 60);
    assert_int_equal(alloc(20, 1, &small), 0);
    assert_int_equal(kl_pfn_nr(small), AREA + 100);
    assert_int_equal(stats().exact, 1);
    release(small, 20);
    assert_int_equal(alloc(8, 8, &small), 0); /* 104: the smaller of the two */
    assert_int_equal(kl_pfn_nr(small), AREA + 104);
    assert_int_equal(alloc(32, 32, &part), 0); /* 32 to 63, head 5, tail 64 */
    assert_int_equal(kl_pfn_nr(part), AREA + 32);
    assert_int_equal(stats().partial, 2);
    assert_int_equal(stats().kept_frames, 80 - 40);
    assert_area_ok();
    release(kl_zone_pfn(f.zone, AREA + 65), 35); /* between the two: one run from 64 to 103 */
    assert_int_equal(alloc(40, 1, &big), 0);
    assert_int_equal(kl_pfn_nr(big), AREA + 64);
    assert_int_equal(stats().exact, 2);
    assert_int_equal(stats().missed, 0);
    assert_int_equal(alloc(28, 1, &big), -KL_EBUSY); /* 27 and 8 are left */
    assert_int_equal(stats().missed, 1);
    assert_int_equal(stats().kept_frames, 27 + 8); /* in vain, and kept */
    release(all, 5);
    release(part, 32);
    release(big, 40);
    release(small, 8);
    release(kl_zone_pfn(f.zone, AREA + 120), AREA - 120);
    close_all();
}

/* An allocation that misses gives back what is in its window, and nothing else. */
static void a_miss_gives_back_what_it_needs(void **state)
{
    kl_pfn a, b, c;

    (void)state;
    open_all(0, 1 << 20, 0);
    assert_int_equal(alloc_at(kl_pfn_nr(a = kl_zone_pfn(f.zone, AREA)), 20, NULL), 0);
    assert_int_equal(alloc_at(kl_pfn_nr(b = kl_zone_pfn(f.zone, AREA + 140)), 20, NULL), 0);
    release(a, 20);
    release(b, 20);
    assert_int_equal(stats().kept_frames, 40);
    assert_int_equal(alloc(2 * PER, PER, &c), 0);
    assert_int_equal(stats().missed, 1);
    assert_int_equal(stats().kept_frames + stats().returned_window, 40);
    assert_true(stats().kept_frames >= 20);
    release(c, 2 * PER);
    close_all();
}

static void the_cap_holds(void **state)
{
    kl_pfn a, b;

    (void)state;
    open_all(0, 50 * FRAME, 0);
    clock_ns = 1000;
    assert_int_equal(alloc(30, 1, &a), 0);
    assert_int_equal(alloc(30, 1, &b), 0);
    release(a, 30);
    clock_ns = 2000;
    release(b, 30);
    assert_int_equal(stats().kept_frames, 50);
    assert_int_equal(stats().returned_cap, 10);
    assert_area_ok();
    assert_int_equal(kl_cma_alloc_at(area, b, 30, 0, KL_SYNC, NULL), 0); /* the younger is whole */
    assert_int_equal(stats().exact, 1);
    release(b, 30);
    kl_cma_defer(area, 5 * FRAME, 0);
    assert_int_equal(stats().kept_frames, 5);
    kl_cma_defer(area, 0, 0);
    assert_int_equal(stats().kept_frames, 0);
    assert_int_equal(alloc(AREA, 1, &a), 0);
    release(a, AREA); /* off: nothing is kept */
    assert_int_equal(stats().kept_frames, 0);
    assert_int_equal(stats().available_frames, AREA);
    close_all();
}

/* Work is wanted when something is kept, says when, and gives back what is old. */
static void the_age_is_kept(void **state)
{
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};
    kl_pfn a, b;

    (void)state;
    open_all(0, 1 << 20, 1000);
    clock_ns = 5000;
    assert_int_equal(alloc(30, 1, &a), 0);
    assert_int_equal(alloc(30, 1, &b), 0);
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), 0);
    release(a, 30);
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), -KL_EAGAIN);
    assert_int_equal(step.again_ns, 1000);
    clock_ns = 5600;
    release(b, 30);
    assert_int_equal(alloc(10, 1, &a), 0); /* of the older one; what is left stays as old */
    clock_ns = 6000;
    step.budget = 15;
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), -KL_EAGAIN);
    assert_int_equal(step.again_ns, 0);
    assert_int_equal(stats().returned_age, 15);
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), -KL_EAGAIN);
    assert_int_equal(step.again_ns, 600);
    assert_int_equal(stats().returned_age, 20);
    assert_int_equal(stats().kept_frames, 30);
    clock_ns = 6600;
    step.budget = 0;
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), 0); /* and nothing more is wanted */
    assert_int_equal(stats().returned_age, 50);
    release(a, 10);
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), -KL_EAGAIN);
    kl_cma_defer(area, 1 << 20, 10);
    clock_ns = 6700;
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), 0);
    assert_int_equal(stats().kept_frames, 0);
    close_all();
}

/* The area's shrinker counts what it keeps, and gives what it says. */
static void the_shrinker_is_honest(void **state)
{
    kl_pfn a;

    (void)state;
    open_all(0, 1 << 20, 0);
    assert_int_equal(alloc(100, 1, &a), 0);
    release(a, 100);
    assert_int_equal(kl_zone_shrink(f.zone, 30, KL_SYNC), 30);
    assert_int_equal(stats().kept_frames, 70);
    assert_int_equal(stats().returned_shrinker, 30);
    assert_area_ok();
    assert_int_equal(kl_zone_shrink(f.zone, 1000, KL_SYNC), 70);
    assert_int_equal(kl_zone_shrink(f.zone, 1, KL_SYNC), 0);
    assert_int_equal(stats().returned_shrinker, 100);
    close_all();
}

/* Another thread has given what was kept, in the midst of an attempt that fails. */
static int populate_gives(void *ctx, uint64_t offset, uint64_t bytes)
{
    (void)ctx, (void)offset, (void)bytes;
    kl_cma_defer(area, 0, 0);
    return -KL_ENOMEM;
}

/* K3, of what can't be in an area and lacks the reserve only. */
static void what_others_gave_counts_for_the_reserve(void **state)
{
    enum { USED = 3 * PER - 10 };
    struct kl_zone_marks marks = {.size = sizeof(marks)};
    kl_pfn first, pfn;

    (void)state;
    open_all(0, UINT64_MAX, 0);
    assert_int_equal(alloc(AREA, 1, &first), 0);
    release(first, AREA);
    for (unsigned i = 0; i < USED; i++) {
        assert_int_equal(mover_alloc(&m, i, 0, 0), 0);
        kli_cache_drain(f.zone); /* no CPU keeps any, and a fourth block stays free */
    }
    assert_int_equal(kl_zone_trim(f.zone, 0), 1); /* one block is absent */
    kli_cache_drain(f.zone);
    kl_zone_get_marks(f.zone, &marks);
    marks.reserve = (uint32_t)kli_free_frames(f.zone);
    marks.low = marks.high = marks.reserve;
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    f.zone->backing.populate = populate_gives;
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, KL_NOWAIT, &pfn), 0);
    assert_int_equal(stats().kept_frames, 0);
    assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), 0);
    close_all();
}

/* Frames that an area has when its owner gets a share go back to the zone one day. */
static void a_share_of_an_area_is_given_back(void **state)
{
    const struct kl_share share = {.size = sizeof(share), .hard = AREA};
    kl_owner_id owner;
    kl_pfn first;

    (void)state;
    open_all(0, UINT64_MAX, 0);
    assert_int_equal(alloc(PER, 1, &first), 0);
    owner.v = (uint16_t)kli_f_owner(kli_state(f.zone, kl_pfn_nr(first)));
    assert_int_equal(kl_owner_set_share(f.zone, owner, &share), 0);
    assert_int_equal(kli_share_used(f.zone, owner.v), PER);
    release(first, PER);
    kl_cma_defer(area, 0, 0);
    assert_int_equal(kli_share_used(f.zone, owner.v), 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_others_gave_counts_for_the_reserve),
        cmocka_unit_test(a_share_of_an_area_is_given_back),
        cmocka_unit_test(kept_ranges_are_reused),
        cmocka_unit_test(a_miss_gives_back_what_it_needs),
        cmocka_unit_test(the_cap_holds),
        cmocka_unit_test(the_age_is_kept),
        cmocka_unit_test(the_shrinker_is_honest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
