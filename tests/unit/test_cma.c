// SPDX-License-Identifier: Apache-2.0
/* Areas: shapes, who may be in them, ranges, their contents, who is in the way. */
#include "frame/zone.h"
#include "support/area.h"

static void fill_zone(void)
{
    for (unsigned i = 0; mover_alloc(&m, i, 0, KL_MOVABLE) == 0; i++)
        assert_true(i < MOVER_ITEMS - 1);
}

static void bad_configs(void **state)
{
    struct kl_cma_config c;
    struct kl_cma *second = NULL;

    (void)state;
    open_all(0, 0, 0);
    c = config_at(0, PER);
    assert_int_equal(kl_cma_create(f.zone, &c, NULL), -KL_EINVAL);
    assert_int_equal(kl_cma_create(f.zone, NULL, &second), -KL_EINVAL);
#define BAD(member, value)                                                                         \
    c = config_at(0, PER);                                                                         \
    c.member = value;                                                                              \
    assert_int_equal(kl_cma_create(f.zone, &c, &second), -KL_EINVAL)
    BAD(size, 1);
    BAD(name, NULL);
    BAD(base, kl_zone_pfn(f.zone, 1));
    BAD(base, (kl_pfn){7});
    BAD(frames, 0);
    BAD(frames, PER - 1);
    BAD(frames, BLOCKS * PER + PER);
    BAD(align, 3);
    BAD(align, 64); /* with a base */
    BAD(order_per_bit, 7);
#undef BAD
    c = config_at(BLOCKS * PER - PER, 2 * PER);
    assert_int_equal(kl_cma_create(f.zone, &c, &second), -KL_EINVAL);
    c = config_at(2 * PER, 3 * PER);
    assert_int_equal(kl_cma_create(f.zone, &c, &second), -KL_EEXIST);
    assert_null(second);
    close_all();
}

/* Several, each where it fits; not over what can't move. */
static void areas_anywhere(void **state)
{
    struct kl_cma_config c;
    struct kl_cma_stats s = {.size = sizeof(s)};
    struct kl_cma *more[3];
    kl_pfn stuck;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, 0, &stuck), 0);
    c = config_at(0, PER);
    c.base = (kl_pfn){0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(kl_cma_create(f.zone, &c, &more[i]), 0);
    assert_int_equal(kl_cma_create(f.zone, &c, &more[0]), -KL_EBUSY);
    c.base = kl_zone_pfn(f.zone, kl_frame_block(f.zone, stuck).v * PER);
    if (c.base.v) /* block 0 has a number that is not all zero */
        assert_int_equal(kl_cma_create(f.zone, &c, &more[0]), -KL_EBUSY);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(kl_zone_cma_stats(f.zone, i, &s), 0);
    assert_int_equal(s.frames, PER);
    assert_int_equal(kl_zone_cma_stats(f.zone, 4, &s), -KL_ENOENT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kl_cma_destroy(more[i]), 0);
    assert_int_equal(kl_frame_free(f.zone, m.owner, stuck), 0);
    close_all();
}

/* Every way in for what can't move, with nothing left but the area. */
static void unmovable_frames_keep_out(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn got[AREA], one;
    unsigned n = 0;

    (void)state;
    open_all(0, 0, 0);
    while (kl_frame_alloc(f.zone, 0, m.owner, n % 2 ? KL_ATOMIC : 0, &got[n]) == 0) {
        assert_true(kl_pfn_nr(got[n]) < AREA);
        n++;
    }
    assert_int_equal(n, AREA); /* and not one less */
    assert_int_equal(kl_frame_alloc(f.zone, 6, m.owner, 0, &one), -KL_ENOMEM);
    assert_int_equal(kl_frame_alloc(f.zone, 7, m.owner, 0, &one), -KL_ENOMEM);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 8, 1, KL_SYNC, &one, &r), -KL_EBUSY);
    assert_int_equal(
        kl_contig_alloc_at(f.zone, m.owner, kl_zone_pfn(f.zone, AREA + 3), 2, KL_SYNC, &r),
        -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_AREA);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0); /* but these may */
    assert_true(kl_pfn_nr(m.item[0].pfn) >= AREA);
    assert_int_equal(mover_alloc(&m, 1, 3, KL_MOVABLE), 0);
    while (n > 0)
        assert_int_equal(kl_frame_free(f.zone, m.owner, got[--n]), 0);
    close_all();
}

/* What can't move finds room though movable frames are everywhere but in the area. */
static void movable_frames_make_room(void **state)
{
    kl_pfn range, one;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(alloc(AREA, 1, &range), 0);
    fill_zone();
    release(range, AREA);
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, 0, &one), 0);
    assert_true(kl_pfn_nr(one) < AREA);
    mover_all_right(&m);
    assert_int_equal(kl_frame_free(f.zone, m.owner, one), 0);
    close_all();
}

/* A movable frame in the area does not become an unmovable one there (src/pool). */
static void handed_frames_keep_out(void **state)
{
    uint64_t pass;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_true(kl_pfn_nr(m.item[0].pfn) >= AREA);
    pass = kli_f_pass(0, m.owner.v, true, m.owner.v, false);
    assert_int_equal(kli_frame_hand(f.zone, kl_pfn_nr(m.item[0].pfn), pass), -KL_EBUSY);
    assert_area_ok();
    assert_true(mover_free(&m, 0));
    close_all();
}

static void long_pins_keep_out(void **state)
{
    struct kl_pin_config why = {.size = sizeof(why), .object = 1, .why = "a test"};
    kl_pin_id pin;
    kl_pfn first;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_true(kl_pfn_nr(m.item[0].pfn) >= AREA); /* the area comes first */
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &why, &m.item[0].pfn, 1, &pin), -KL_EAGAIN);
    assert_area_ok();
    assert_int_equal(mover_settle(&m, (unsigned[]){0}, 1, KL_SYNC), 0);
    assert_true(kl_pfn_nr(m.item[0].pfn) < AREA);
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &why, &m.item[0].pfn, 1, &pin), 0);
    assert_int_equal(alloc(AREA, 1, &first), 0);
    release(first, AREA);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
    close_all();
}

/* The area's memory stays where it is. */
static void blocks_stay(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct kl_block_info info;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(kl_zone_trim(f.zone, 0), 4);
    assert_int_equal(kl_zone_give_back(f.zone, 4, KL_SYNC, &r), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_AREA);
    assert_int_equal(kl_zone_lend(f.zone, 4), 0);
    assert_int_equal(kl_zone_resize(f.zone, 4, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_resize(f.zone, 3, KL_SYNC, NULL), -KL_EBUSY);
    assert_int_equal(kl_zone_resize(f.zone, BLOCKS, KL_SYNC, NULL), 0);
    for (uint32_t b = 4; b < BLOCKS; b++) {
        assert_int_equal(kl_zone_block_info(f.zone, (kl_block){b}, &info), 0);
        assert_true(info.present && info.cma);
    }
    close_all();
}

/* Ranges of any shape, from a full zone; nobody else is in them. */
static void ranges(void **state)
{
    static const struct {
        uint32_t frames, align;
    } cases[] = {{1, 1}, {3, 1}, {17, 4}, {64, 64}, {100, 32}, {128, 1}, {130, 64}, {200, 128}};

    (void)state;
    for (unsigned order = 0; order < 3; order++) {
        for (unsigned c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
            uint32_t n = cases[c].frames, all = (n + (1u << order) - 1) >> order << order;
            kl_pfn first;

            open_all(order, 0, 0);
            mover_scatter(&m, 2);
            assert_int_equal(alloc(n, cases[c].align, &first), 0);
            assert_int_equal(kl_pfn_nr(first) % cases[c].align, 0);
            assert_in_range(kl_pfn_nr(first), AREA, 2 * AREA - all);
            assert_int_equal(stats().allocated_frames, all);
            assert_true(stats().migrated > 0 || n < 4);
            memset(kl_frame_addr(f.zone, first), 0xee, (size_t)all * FRAME);
            mover_all_right(&m);
            assert_area_ok();
            release(first, n);
            assert_int_equal(stats().allocated_frames, 0);
            close_all();
        }
    }
}

/* Only what is the area's and allocated, in whole units, once. */
static void wrong_releases(void **state)
{
    kl_pfn first, other;

    (void)state;
    open_all(2, 1 << 20, 0);
    assert_int_equal(alloc(64, 64, &first), 0);
#define NO(nr, n) assert_int_equal(kl_cma_release(area, kl_zone_pfn(f.zone, nr), n), -KL_EINVAL)
    NO(kl_pfn_nr(first), 0);
    NO(kl_pfn_nr(first), 65);
    NO(kl_pfn_nr(first) + 1, 4); /* within a unit */
    NO(kl_pfn_nr(first) - 4, 8);
    NO(AREA - 4, 8);
    NO(0, 4);
    NO(2 * AREA - 4, 8);
#undef NO
    assert_int_equal(kl_cma_release(area, (kl_pfn){0}, 4), -KL_EINVAL);
    assert_int_equal(kl_cma_release(area, (kl_pfn){kl_pfn_nr(first)}, 4), -KL_EINVAL);
    assert_int_equal(stats().allocated_frames, 64);
    assert_int_equal(stats().refused, 9);
    other = kl_zone_pfn(f.zone, kl_pfn_nr(first) + 8);
    release(other, 8);
    assert_int_equal(kl_cma_release(area, other, 8), -KL_EINVAL); /* it is kept */
    assert_int_equal(kl_cma_release(area, first, 64), -KL_EINVAL);
    assert_int_equal(stats().allocated_frames, 56);
    release(first, 8);
    release(kl_zone_pfn(f.zone, kl_pfn_nr(first) + 16), 46); /* rounded up */
    assert_int_equal(stats().kept_frames, 64);
    close_all();
}

/* Exactly there: from what is kept, from a mixture, over movable frames; not over others. */
static void exactly_there(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn at, first;

    (void)state;
    open_all(0, 1 << 20, 0);
    mover_scatter(&m, 2);
    at = kl_zone_pfn(f.zone, AREA + 10);
    assert_int_equal(kl_cma_alloc_at(area, at, 100, 0, KL_SYNC, &r), 0);
    assert_true(r.migrated >= 49);
    assert_int_equal(alloc_at(AREA, 11, &r), -KL_EBUSY);
    assert_int_equal(kl_pfn_nr(r.culprit), AREA + 10);
    assert_string_equal(r.culprit_name, "cma test");
    release(at, 100);
    assert_int_equal(alloc_at(AREA + 20, 10, &r), 0);
    assert_int_equal(r.migrated, 0);
    assert_int_equal(stats().kept_frames, 90);
    assert_int_equal(alloc_at(AREA + 30, 100, &r), 0);
    assert_int_equal(stats().kept_frames, 10);
    assert_int_equal(stats().returned_window, 80);
    assert_int_equal(kl_cma_alloc_at(area, at, 0, 0, KL_SYNC, &r), -KL_EINVAL);
    assert_int_equal(alloc_at(0, 1, &r), -KL_EINVAL);
    assert_int_equal(alloc_at(2 * AREA - 1, 2, &r), -KL_EINVAL);
    assert_int_equal(kl_cma_alloc(area, 1, 3, 0, KL_SYNC, &first, &r), -KL_EINVAL);
    assert_int_equal(kl_cma_alloc(area, 1, 1, 2, KL_SYNC, &first, &r), -KL_EINVAL);
    assert_int_equal(kl_cma_alloc(area, AREA + 1, 1, 0, KL_SYNC, &first, &r), -KL_EINVAL);
    mover_all_right(&m);
    release(kl_zone_pfn(f.zone, AREA + 20), 110);
    close_all();
}

static bool all_zero(kl_pfn first, uint32_t frames)
{
    const char *mem = kl_frame_addr(f.zone, first);

    return mem[0] == 0 && memcmp(mem, mem + 1, (size_t)frames * FRAME - 1) == 0;
}

/* Whatever was there, unless it does not matter. */
static void contents(void **state)
{
    kl_pfn first, again;

    (void)state;
    open_all(0, 1 << 20, 0);
    mover_scatter(&m, 2);
    assert_int_equal(alloc(64, 1, &first), 0);
    assert_true(all_zero(first, 64));
    memset(kl_frame_addr(f.zone, first), 0xaa, 64 * FRAME);
    release(first, 64);
    assert_int_equal(kl_cma_alloc(area, 64, 1, KL_CMA_ANY_CONTENTS, KL_ASYNC, &again, NULL), 0);
    assert_int_equal(again.v, first.v);
    assert_false(all_zero(again, 64));
    release(again, 64);
    assert_int_equal(alloc(30, 1, &again), 0);
    assert_int_equal(again.v, first.v);
    assert_true(all_zero(again, 30));
    release(again, 30);
    close_all();
}

/* What the area has allocated leaves no such row: no room elsewhere would help. */
static void no_row_is_not_no_room(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn own, first;
    unsigned item = 0;

    (void)state;
    open_all(0, 0, 0);
    own = kl_zone_pfn(f.zone, AREA + AREA / 2);
    assert_int_equal(alloc_at(AREA + AREA / 2, 1, NULL), 0);
    while (mover_alloc(&m, item, 0, KL_MOVABLE) == 0)
        item++;
    assert_int_equal(kl_cma_alloc(area, AREA / 2 + 1, 1, 0, KL_SYNC, &first, &r), -KL_EBUSY);
    assert_int_equal(r.culprit.v, own.v);
    assert_int_equal(kl_cma_alloc(area, AREA / 2, 1, 0, KL_SYNC, &first, &r), -KL_ENOMEM);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_ROOM);
    assert_int_equal(kl_cma_alloc(area, 1, 1, 0, KL_SYNC, NULL, &r), -KL_EINVAL);
    release(own, 1);
    close_all();
}

/* Somebody else's pin rather than the area's own range is in the way. */
static void who_is_in_the_way(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn own, first;
    unsigned item;

    (void)state;
    open_all(0, 1 << 20, 0);
    assert_int_equal(alloc_at(kl_pfn_nr(own = kl_zone_pfn(f.zone, AREA)), 40, NULL), 0);
    for (item = 0;
         mover_alloc(&m, item, 0, KL_MOVABLE) == 0 && kl_pfn_nr(m.item[item].pfn) < AREA + 80;)
        item++;
    assert_int_equal(mover_pin(&m, item), 0);
    assert_int_equal(kl_cma_alloc(area, AREA - 40, 1, 0, KL_SYNC, &first, &r), -KL_EBUSY);
    assert_int_equal(r.culprit.v, m.item[item].pfn.v);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
    assert_int_equal(kl_cma_alloc_at(area, m.item[item].pfn, 2, 0, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit.v, m.item[item].pfn.v);
    mover_unpin(&m, item);
    assert_int_equal(kl_cma_alloc(area, AREA, 1, 0, KL_SYNC, &first, &r), -KL_EBUSY);
    assert_int_equal(kl_pfn_nr(r.culprit), AREA);
    assert_string_equal(r.culprit_name, "cma test");
    assert_int_equal(kl_cma_destroy(area), -KL_EBUSY);
    release(own, 40);
    close_all();
}

/* A zone of offsets: ranges, and whoever is in them moves by its owner's hands. */
static void offsets_and_the_callers_memory(void **state)
{
    static char mem[4 * PER * FRAME] __attribute__((aligned(4096)));

    (void)state;
    for (int offsets = 0; offsets < 2; offsets++) {
        struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
        struct kl_cma_config c = {
            .size = sizeof(c), .name = "d", .frames = 2 * PER, .defer_bytes = 1 << 20};
        struct kl_backing b;
        struct kl_zone *zone;
        kl_pfn first, again;

        assert_int_equal(offsets ? kl_backing_offsets(&b, sizeof(mem), 12, 6)
                                 : kl_backing_memory(&b, mem, sizeof(mem), 12, 6),
                         0);
        config.backing = &b;
        assert_int_equal(kl_zone_create(&config, &zone), 0);
        assert_int_equal(kl_cma_create(zone, &c, &area), 0);
        memset(mem, 0x55, sizeof(mem));
        assert_int_equal(alloc(100, 4, &first), 0);
        assert_int_equal(kl_frame_offset(zone, first), (uint64_t)kl_pfn_nr(first) * FRAME);
        assert_int_equal(mem[kl_frame_offset(zone, first)], offsets ? 0x55 : 0);
        assert_int_equal(kl_cma_release(area, first, 100), 0);
        assert_int_equal(alloc(100, 4, &again), 0);
        assert_int_equal(again.v, first.v);
        assert_int_equal(kl_zone_destroy(zone), -KL_EBUSY);
        assert_int_equal(kl_cma_destroy(area), -KL_EBUSY);
        assert_int_equal(kl_cma_release(area, first, 100), 0);
        assert_int_equal(kl_cma_destroy(area), 0);
        assert_int_equal(kl_zone_check(zone, NULL), 0);
        assert_int_equal(kl_zone_destroy(zone), 0);
    }
}

/* Each request for metadata and for memory fails once; afterwards all is as before. */
static void every_failure_once(void **state)
{
    unsigned failures = 0;

    (void)state;
    for (int which = FAULT_META; which <= FAULT_POPULATE; which++) {
        for (int nth = 1; nth < 12; nth++) {
            struct kl_cma_config c;
            kl_pfn first;
            int err;

            fixture_open(&f, BLOCKS, 6, 0);
            mover_open(&m, f.zone, MOVER_SINGLE);
            for (unsigned i = 0; i < 150; i++)
                assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
            c = config_at(2 * PER, AREA);
            c.defer_bytes = 20 * FRAME;
            fault_set((enum fault)which, nth);
            err = kl_cma_create(f.zone, &c, &area);
            assert_zone_ok(f.zone);
            if (err) {
                assert_int_equal(err, -KL_ENOMEM);
                failures++;
                fault_set((enum fault)which, 0);
                assert_int_equal(kl_cma_create(f.zone, &c, &area), 0);
            }
            for (unsigned i = 0; i < 6; i++) {
                err = alloc(30 + i * 30, 1, &first);
                assert_true(err == 0 || err == -KL_ENOMEM);
                failures += err != 0;
                assert_area_ok();
                if (err == 0)
                    release(first, 30 + i * 30);
                assert_area_ok();
            }
            fault_set((enum fault)which, 0);
            mover_all_right(&m);
            close_all();
        }
    }
    assert_in_range(failures, 10, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configs),
        cmocka_unit_test(areas_anywhere),
        cmocka_unit_test(unmovable_frames_keep_out),
        cmocka_unit_test(movable_frames_make_room),
        cmocka_unit_test(handed_frames_keep_out),
        cmocka_unit_test(long_pins_keep_out),
        cmocka_unit_test(blocks_stay),
        cmocka_unit_test(ranges),
        cmocka_unit_test(wrong_releases),
        cmocka_unit_test(exactly_there),
        cmocka_unit_test(contents),
        cmocka_unit_test(no_row_is_not_no_room),
        cmocka_unit_test(who_is_in_the_way),
        cmocka_unit_test(offsets_and_the_callers_memory),
        cmocka_unit_test(every_failure_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
