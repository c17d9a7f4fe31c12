// SPDX-License-Identifier: Apache-2.0
/* Areas against an oracle, in many small zones:
 *
 * Ranges succeed whenever they can.  The layout is frozen before each request; the
 * requests that looking at every place calls possible are those that succeed.
 *
 * Deferred free makes nothing fail.  Whatever fails while ranges are kept is asked again
 * with deferred free off and nothing kept: then it must fail, too. */
#include "support/mover.h"

#include "cli/replay/oracle.h"

#include <string.h>

enum { BLOCKS = 8, PER = 64, FRAMES = BLOCKS * PER, FRAME = 4096, HELD = 24 };

static struct fixture f;
static struct mover m;
static struct kl_cma *area[2];
static struct range {
    struct kl_cma *area; /* NULL: none */
    kl_pfn first;
    uint32_t n;
} held[HELD];

static void assert_areas_ok(void)
{
    const char *what = NULL;

    for (int i = 0; i < 2; i++) {
        if (area[i] && kl_cma_check(area[i], &what))
            fail_msg("broken: %s", what);
    }
    assert_zone_ok(f.zone);
}

static void add_area(int i, uint32_t block, uint32_t blocks, unsigned order)
{
    struct kl_cma_config c = {.size = sizeof(c),
                              .name = "a",
                              .base = kl_zone_pfn(f.zone, block * PER),
                              .frames = blocks * PER,
                              .order_per_bit = order,
                              .defer_bytes = UINT64_MAX};

    assert_int_equal(kl_cma_create(f.zone, &c, &area[i]), 0);
}

static void close_all(void)
{
    assert_areas_ok();
    mover_all_right(&m);
    for (int i = 0; i < HELD; i++) {
        if (held[i].area)
            assert_int_equal(kl_cma_release(held[i].area, held[i].first, held[i].n), 0);
        held[i].area = NULL;
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kl_cma_destroy(area[i]), 0);
        area[i] = NULL;
    }
    mover_close(&m);
    fixture_close(&f);
}

/* Fills the zone to `full` per cent, and pins a few. */
static void lay_out(struct rng *rng, unsigned full)
{
    for (unsigned i = 0; i < FRAMES; i++) {
        if (mover_alloc(&m, i, 0, KL_MOVABLE) != 0)
            break;
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        if (!m.item[i].here)
            continue;
        if (rng_below(rng, 100) >= full)
            assert_true(mover_free(&m, i));
        else if (rng_below(rng, 100) < 2)
            assert_int_equal(mover_pin(&m, i), 0);
    }
}

/* ---- ranges, whenever they can ---- */

/* To the oracle what is kept is free, and what is not the area's is in the way; it may
 * hold movable frames that stay, and free ones that others move to. */
static bool feasible(const struct kl_cma *kept_in, uint32_t block, uint32_t blocks, uint32_t n,
                     uint32_t align)
{
    uint8_t map[FRAMES];
    uint32_t room = 0, from = block * PER, to = from + blocks * PER;

    (void)kept_in;
    assert_int_equal(kl_zone_map(f.zone, 0, FRAMES, map), 0);
    for (uint32_t nr = 0; nr < FRAMES; nr++) {
        bool kept = map[nr] == KL_FRAME_UNMOVABLE;

        for (int i = 0; i < HELD; i++)
            kept &= !held[i].area || nr < kl_pfn_nr(held[i].first) ||
                    nr >= kl_pfn_nr(held[i].first) + held[i].n;
        if (kept) /* the only unmovable frames are the areas' */
            map[nr] = KL_FRAME_FREE;
        room += map[nr] == KL_FRAME_FREE;
    }
    for (uint32_t at = (from + align - 1) / align * align; at + n <= to; at += align) {
        bool clear = true;

        for (uint32_t nr = at; nr < at + n; nr++)
            clear &= map[nr] == KL_FRAME_FREE || map[nr] == KL_FRAME_MOVABLE;
        if (clear) /* single frames go wherever one is free */
            return room >= n;
    }
    return false;
}

static struct range *free_slot(struct rng *rng)
{
    struct range *r = &held[rng_below(rng, HELD)];

    if (r->area)
        assert_int_equal(kl_cma_release(r->area, r->first, r->n), 0);
    r->area = NULL;
    return r;
}

static void ranges_succeed_whenever_they_can(void **state)
{
    static const uint32_t block[2] = {1, 4}, blocks[2] = {2, 4};
    struct rng rng = rng_new(901);
    unsigned asked = 0, possible = 0, reused = 0;

    (void)state;
    for (int layout = 0; layout < 120; layout++) {
        fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
        mover_open(&m, f.zone, MOVER_SINGLE);
        for (int i = 0; i < 2; i++)
            add_area(i, block[i], blocks[i], 0);
        lay_out(&rng, 40 + rng_below(&rng, 59));
        for (int try = 0; try < 30; try++) {
            uint32_t which = rng_below(&rng, 2), align = 1u << rng_below(&rng, 7);
            uint32_t n = 1 + rng_below(&rng, rng_below(&rng, 2) ? 40 : 200);
            struct kl_cma_stats s = {.size = sizeof(s)};
            struct range *r = free_slot(&rng);
            bool could;
            int err;

            if (n > blocks[which] * PER)
                continue;
            could = feasible(area[which], block[which], blocks[which], n, align);
            err = kl_cma_alloc(area[which], n, align, 0, KL_SYNC, &r->first, NULL);
            if ((err == 0) != could)
                fail_msg("layout %d, try %d: %u at %u is %s but gave %s", layout, try, n, align,
                         err ? "possible" : "impossible", kl_err_name(err));
            if (err == 0)
                *r = (struct range){area[which], r->first, n};
            asked++;
            possible += could;
            kl_cma_get_stats(area[which], &s);
            reused += s.exact + s.partial > 0;
        }
        close_all();
    }
    assert_in_range(possible, asked / 10, asked - asked / 10);
    assert_true(reused > 0);
}

/* ---- nothing fails for it ---- */

/* One of the ways to ask for memory; undone at once unless it is an item's. */
struct request {
    unsigned what, order, flags;
    uint32_t n, align, which;
    unsigned item;
};
enum { ITEM, UNMOVABLE, CONTIG, GIVE, RANGE, RANGE_AT, WHATS };

static struct request any_request(struct rng *rng)
{
    static const unsigned flags[] = {
        0, KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK, KL_NO_MOVE, KL_NO_SHRINK | KL_NO_MOVE};

    return (struct request){.what = rng_below(rng, 3) ? ITEM : rng_below(rng, WHATS),
                            .order = rng_below(rng, 3) ? 0 : rng_below(rng, 7),
                            .flags = flags[rng_below(rng, 6)],
                            .n = 1 + rng_below(rng, 150),
                            .align = 1u << rng_below(rng, 7),
                            .which = rng_below(rng, 2),
                            .item = rng_below(rng, FRAMES)};
}

static int ask(const struct request *q)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn first;
    int err;

    switch (q->what) {
    case ITEM:
        return m.item[q->item].here ? 0 : mover_alloc(&m, q->item, q->order, KL_MOVABLE | q->flags);
    case UNMOVABLE:
        err = kl_frame_alloc(f.zone, q->order, m.owner, q->flags, &first);
        if (!err)
            assert_int_equal(kl_frame_free(f.zone, m.owner, first), 0);
        return err;
    case CONTIG:
        err = kl_contig_alloc(f.zone, m.owner, q->n, q->align, KL_SYNC, &first, &r);
        if (!err)
            assert_int_equal(kl_contig_free(f.zone, m.owner, first, q->n), 0);
        return err;
    case GIVE:
        err = kl_zone_give_back(f.zone, 1, KL_SYNC, &r);
        if (!err)
            assert_int_equal(kl_zone_lend(f.zone, 1), 0);
        return err;
    case RANGE:
        err = kl_cma_alloc(area[q->which], q->n, q->align, 0, KL_SYNC, &first, &r);
        break;
    default:
        first = kl_zone_pfn(f.zone, PER + (q->which ? 3 * PER : 0) + q->item % PER);
        err = kl_cma_alloc_at(area[q->which], first, q->n % PER + 1, 0, KL_SYNC, &r);
        if (!err)
            assert_int_equal(kl_cma_release(area[q->which], first, q->n % PER + 1), 0);
        return err;
    }
    if (!err)
        assert_int_equal(kl_cma_release(area[q->which], first, q->n), 0);
    return err;
}

static uint32_t kept(void)
{
    struct kl_cma_stats s = {.size = sizeof(s)};
    uint32_t sum = 0;

    for (int i = 0; i < 2; i++) {
        kl_cma_get_stats(area[i], &s);
        sum += s.kept_frames;
    }
    return sum;
}

/* A request that failed with ranges kept. */
static void ask_without(const struct request *q, int err)
{
    for (int i = 0; i < 2; i++)
        kl_cma_defer(area[i], 0, 0);
    assert_int_equal(kept(), 0);
    if (ask(q) == 0)
        fail_msg(
            "%s for what goes without deferred free: %u, order %u, flags %u, %u at %u, area %u",
            kl_err_name(err), q->what, q->order, q->flags, q->n, q->align, q->which);
    for (int i = 0; i < 2; i++)
        kl_cma_defer(area[i], UINT64_MAX, 0);
}

static void keep_some(struct rng *rng)
{
    struct range *r = free_slot(rng);
    uint32_t which = rng_below(rng, 2), n = 1 + rng_below(rng, PER);

    if (kl_cma_alloc(area[which], n, 1, 0, KL_SYNC, &r->first, NULL) == 0)
        *r = (struct range){area[which], r->first, n};
    if (rng_below(rng, 2))
        free_slot(rng);
}

static void nothing_fails_for_it(void **state)
{
    struct rng rng = rng_new(902);
    unsigned asked[WHATS] = {0}, failed[WHATS] = {0}, with_kept = 0;

    (void)state;
    for (int layout = 0; layout < 60; layout++) {
        uint32_t small = rng_below(&rng, 2); /* areas of one block, too */

        fixture_open(&f, BLOCKS, 6, rng_below(&rng, 2) ? KL_ZONE_POPULATE : 0);
        mover_open(&m, f.zone, MOVER_BATCH);
        add_area(0, 1, small ? 1 : 3, rng_below(&rng, 3));
        add_area(1, 4, small ? 1 : 3, 0);
        lay_out(&rng, 60 + rng_below(&rng, 40));
        for (int try = 0; try < 300; try++) {
            struct request q = any_request(&rng);
            uint32_t before;
            int err;

            keep_some(&rng);
            if (rng_below(&rng, 3) == 0 && m.item[q.item].here && !m.item[q.item].pinned)
                assert_true(mover_free(&m, q.item));
            before = kept();
            err = ask(&q);
            asked[q.what]++;
            failed[q.what] += err != 0;
            with_kept += before > 0;
            if (err && before > 0 && err != -KL_EINVAL)
                ask_without(&q, err);
        }
        close_all();
    }
    for (int i = 0; i < WHATS; i++) {
        assert_true(asked[i] > 100);
        assert_true(failed[i] > 0);
        assert_true(failed[i] < asked[i]);
    }
    assert_true(with_kept > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_succeed_whenever_they_can),
        cmocka_unit_test(nothing_fails_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
