// SPDX-License-Identifier: Apache-2.0
/* The slow path of allocation: limits, the reserve, compaction on demand. */
#include "base/trace.h"
#include "support/mover.h"

#include <string.h>

static struct mover m;

static struct kl_zone_stats stats_of(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s;
}

static int limit(struct kl_zone *zone, uint64_t soft, uint64_t hard)
{
    struct kl_zone_limits limits = {.size = sizeof(limits), .soft = soft, .hard = hard};

    return kl_zone_set_limits(zone, &limits);
}

static void a_hard_limit_is_never_exceeded(void **state)
{
    struct fixture f;
    uint64_t hard, block;
    unsigned n = 0;

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    block = kl_zone_block_bytes(f.zone);
    hard = stats_of(f.zone).charged_bytes + 3 * block + block / 2;
    assert_int_equal(limit(f.zone, hard + 1, hard), -KL_EINVAL);
    assert_int_equal(limit(f.zone, 0, hard), 0);
    while (mover_alloc(&m, n, 0, KL_MOVABLE) == 0) {
        n++;
        assert_in_range(stats_of(f.zone).charged_bytes, 1, hard);
    }
    assert_int_equal(n, 3 * 64);
    assert_int_equal(stats_of(f.zone).present_blocks, 3);
    assert_zone_ok(f.zone);
    assert_int_equal(limit(f.zone, 0, hard - block), -KL_EBUSY); /* all of it is in use */
    assert_int_equal(mover_alloc(&m, n, 0, KL_MOVABLE), -KL_ENOMEM);
    for (unsigned i = 0; i < 128; i++)
        assert_true(mover_free(&m, mover_at(&m, i)));
    assert_int_equal(limit(f.zone, 0, hard - 2 * block), 0); /* free blocks went */
    assert_int_equal(stats_of(f.zone).present_blocks, 1);
    assert_int_equal(limit(f.zone, 0, 0), 0);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(mover_alloc(&m, 1000 + i, 0, KL_MOVABLE), 0);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* Metadata of what is built on a zone counts; what does not fit is refused whole. */
static void metadata_counts(void **state)
{
    struct kl_zs_config config = {.size = sizeof(config), .name = "limited"};
    uint64_t before, taken;
    struct kl_zs *pool;
    struct fixture f;

    (void)state;
    fixture_open(&f, 8, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
    assert_int_equal(kl_zs_destroy(pool), 0); /* the table of shrinkers stays */
    before = stats_of(f.zone).charged_bytes;
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
    taken = stats_of(f.zone).charged_bytes - before;
    assert_in_range(taken, 1000, 1000000);
    assert_int_equal(kl_zs_destroy(pool), 0);
    assert_int_equal(stats_of(f.zone).charged_bytes, before);
    for (uint64_t room = 0; room < taken; room += taken / 7 + 1) {
        assert_int_equal(limit(f.zone, 0, before + room), 0);
        assert_int_equal(kl_zs_create(f.zone, &config, &pool), -KL_ENOMEM);
        assert_int_equal(stats_of(f.zone).charged_bytes, before);
        assert_zone_ok(f.zone);
    }
    fixture_close(&f);
}

/* Beyond the soft limit it goes on, but only when there is nothing else. */
static void a_soft_limit_is_the_last_resort(void **state)
{
    uint64_t block;
    struct fixture f;

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    block = kl_zone_block_bytes(f.zone);
    assert_int_equal(limit(f.zone, stats_of(f.zone).charged_bytes + 2 * block, 0), 0);
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(stats_of(f.zone).slow, 0);
    assert_int_equal(mover_alloc(&m, 128, 0, KL_MOVABLE), 0);
    assert_int_equal(stats_of(f.zone).slow, 1);
    assert_int_equal(mover_alloc(&m, 129, 0, KL_MOVABLE), 0);
    assert_int_equal(stats_of(f.zone).present_blocks, 3);
    mover_close(&m);
    fixture_close(&f);
}

/* Allocations leave the reserve alone, and a range can be made with it. */
static void the_reserve_is_for_migrations(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .reserve = 257};
    struct fixture f;
    unsigned n = 0;
    kl_pfn first;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), -KL_EINVAL);
    marks.reserve = 16;
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    while (mover_alloc(&m, n, 0, KL_MOVABLE) == 0)
        n++;
    assert_in_range(n, 256 - 16 - 32, 256 - 16);
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, KL_NOWAIT, &first), -KL_ENOMEM);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 16, 16, KL_SYNC, &first, NULL), 0);
    mover_all_right(&m);
    assert_int_equal(kl_contig_free(f.zone, m.owner, first, 16), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* A run of frames is made when none is free, unless the caller rules it out. */
static void runs_are_made_on_demand(void **state)
{
    static const unsigned flags[] = {0, KL_MOVABLE, KL_MOVABLE | KL_ZERO};

    (void)state;
    for (unsigned c = 0; c < sizeof(flags) / sizeof(flags[0]); c++) {
        struct fixture f;
        kl_pfn pfn;

        fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
        mover_open(&m, f.zone, MOVER_SINGLE);
        mover_scatter(&m, 2); /* every other frame is free */
        assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, KL_NO_MOVE, &pfn), -KL_ENOMEM);
        assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, KL_NOWAIT, &pfn), -KL_ENOMEM);
        assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, 1u << 30, &pfn), -KL_EINVAL);
        kl_zone_set_migration(f.zone, false);
        assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, flags[c], &pfn), -KL_ENOMEM);
        kl_zone_set_migration(f.zone, true);
        assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, flags[c], &pfn), 0);
        assert_int_equal(kl_pfn_nr(pfn) % 8, 0);
        if (flags[c] & KL_ZERO) {
            static const uint8_t zero[8 * 4096];

            assert_memory_equal(kl_frame_addr(f.zone, pfn), zero, sizeof(zero));
        }
        assert_int_equal(stats_of(f.zone).compacted, 1);
        mover_all_right(&m);
        assert_zone_ok(f.zone);
        assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), 0);
        mover_close(&m);
        fixture_close(&f);
    }
}

/* A cache of the test's: items [next, end) of the mover, freed on demand. */
struct cache {
    unsigned next, end;
    unsigned calls;
    uint64_t isolated; /* the mover's, at the first call */
    const struct cache *other;
    unsigned others; /* the other's calls at the first call */
};

static uint64_t cached(void *ctx, const struct kl_shrink *shrink)
{
    struct cache *c = ctx;

    (void)shrink;
    if (c->calls++ == 0) {
        c->isolated = m.isolated;
        c->others = c->other->calls;
    }
    return c->end - c->next;
}

static uint64_t drop(void *ctx, struct kl_shrink *shrink)
{
    struct cache *c = ctx;
    uint64_t freed = 0;

    for (; freed < shrink->nr_to_scan && c->next < c->end; freed++)
        assert_true(mover_free(&m, c->next++));
    return freed;
}

/* Idle frames, then compaction, then what costs something; as far as is needed. */
static void stages_come_in_order(void **state)
{
    struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "idle", .count = cached, .scan = drop};
    struct cache idle = {0}, dear = {0};
    kl_shrinker_id idle_id, dear_id;
    struct fixture f;
    kl_pfn pfn[3];

    (void)state;
    idle.other = &dear;
    dear.other = &idle;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &idle, &idle_id), 0);
    ops.seeks = KL_SHRINK_DEFAULT_SEEKS;
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &dear, &dear_id), 0);

    mover_scatter(&m, 2); /* room, but no run of 8 */
    assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, 0, &pfn[0]), 0);
    assert_int_equal(idle.calls, 1);
    assert_int_equal(idle.isolated, 0); /* before anything was moved */
    assert_int_equal(dear.calls, 0);    /* and that was enough */
    assert_true(m.isolated > 0);

    for (unsigned i = 1000; mover_alloc(&m, i, 0, KL_MOVABLE | KL_NOWAIT) == 0; i++)
        dear.end = i + 1;
    dear.next = 1000;
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, KL_NO_SHRINK, &pfn[1]), -KL_ENOMEM);
    assert_int_equal(dear.calls, 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, 0, &pfn[1]), 0);
    assert_true(dear.calls > 0);
    assert_int_equal(dear.others, idle.calls - (dear.calls > 1 ? dear.calls - 1 : 0));
    while (dear.next < dear.end - 40) /* what it has now, and what a run of 32 wants */
        assert_true(mover_free(&m, dear.next++));
    assert_int_equal(kl_frame_alloc(f.zone, 5, m.owner, 0, &pfn[2]), 0);

    mover_all_right(&m);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(kl_frame_free(f.zone, m.owner, pfn[i]), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, idle_id), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, dear_id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* A run that can't be made is refused soon: its own attempts at compaction, each of
 * which ends, are nobody to wait for. */
static void does_not_wait_for_itself(void **state)
{
    struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "asked", .count = cached, .scan = drop};
    struct cache asked = {0};
    kl_shrinker_id id;
    struct fixture f;
    kl_pfn pfn;

    (void)state;
    asked.other = &asked;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &asked, &id), 0);
    mover_scatter(&m, 2);
    for (unsigned nr = 0; nr < 256; nr += 8)
        assert_int_equal(mover_pin(&m, mover_at(&m, nr)), 0);
    for (int i = 0; i < 3; i++) {
        asked.calls = 0;
        assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, 0, &pfn), -KL_ENOMEM);
        assert_in_range(asked.calls, 1, 64);
    }
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* More than a block: whole blocks, found free or made so; one allocation. */
static void larger_than_a_block(void **state)
{
    struct kl_owner_stats s = {.size = sizeof(s)};
    uint8_t map[512];
    struct fixture f;
    kl_pfn big, bigger;

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_frame_alloc(f.zone, 10, m.owner, 0, &big), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 7, m.owner, KL_MOVABLE, &big), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 8, m.owner, KL_NOWAIT | KL_ZERO, &big), 0);
    assert_int_equal(kl_pfn_nr(big) % 256, 0);
    assert_zone_ok(f.zone);
    for (unsigned i = 0; i < 256; i += 2) { /* every block has something */
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
        assert_int_equal(mover_alloc(&m, i + 1, 0, KL_MOVABLE), 0);
    }
    for (unsigned i = 0; i < 256; i += 2)
        assert_true(mover_free(&m, i));
    assert_int_equal(kl_frame_alloc(f.zone, 7, m.owner, KL_NO_MOVE, &bigger), -KL_ENOMEM);
    assert_int_equal(kl_frame_alloc(f.zone, 7, m.owner, 0, &bigger), 0);
    assert_int_equal(kl_pfn_nr(bigger) % 128, 0);
    memset(kl_frame_addr(f.zone, bigger), 0xee, 128 * 4096);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_map(f.zone, 0, 512, map), 0);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(map[kl_pfn_nr(big) + i], KL_FRAME_UNMOVABLE);
    assert_int_equal(kl_owner_get_stats(f.zone, m.owner, &s), 0);
    assert_int_equal(s.frames, 256 + 128 + 128);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, big, 64, KL_ASYNC, NULL), -KL_ENOMEM);
    assert_int_equal(kl_contig_free(f.zone, m.owner, big, 1), -KL_EINVAL);
    assert_int_equal(kl_frame_free(f.zone, m.owner, kl_zone_pfn(f.zone, kl_pfn_nr(big) + 64)),
                     -KL_EINVAL);
    assert_int_equal(kl_frame_free(f.zone, m.owner, big), 0);
    assert_int_equal(kl_frame_free(f.zone, m.owner, big), -KL_EINVAL);
    assert_int_equal(kl_frame_free(f.zone, m.owner, bigger), 0);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

#if KL_DEBUG
static _Atomic unsigned runs;

static void count_runs(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    runs += point == KLI_T_contig_begin;
}

/* Its own run that ends is no reason to try once more: nobody else holds anything. */
static void what_cannot_be_had_is_refused_at_once(void **state)
{
    struct fixture f;
    kl_pfn pfn[4 * 64], block;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 4 * 64; i++)
        assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, 0, &pfn[i]), 0);
    for (unsigned i = 0; i < 4 * 64; i++) {
        if (kl_pfn_nr(pfn[i]) % 64 != 5)
            assert_int_equal(kl_frame_free(f.zone, m.owner, pfn[i]), 0);
    }
    atomic_store(&kli_trace_hook, count_runs);
    assert_int_equal(kl_frame_alloc(f.zone, 6, m.owner, 0, &block), -KL_ENOMEM);
    atomic_store(&kli_trace_hook, NULL);
    assert_in_range(runs, 1, 3);
    for (unsigned i = 0; i < 4 * 64; i++) {
        if (kl_pfn_nr(pfn[i]) % 64 == 5)
            assert_int_equal(kl_frame_free(f.zone, m.owner, pfn[i]), 0);
    }
    mover_close(&m);
    fixture_close(&f);
}
#endif

/* ---- background work, by marks ---- */

static unsigned kicks;

static void count_kick(void *ctx)
{
    (void)ctx;
    kicks++;
}

static int step_of(struct kl_zone *zone, uint32_t budget, uint64_t *again_ns)
{
    struct kl_step step = {.size = sizeof(step), .budget = budget};
    int err = kl_zone_step(zone, &step, NULL);

    *again_ns = step.again_ns;
    return err;
}

/* From one mark down to the other, with one kick, in steps that keep their budget. */
static void waste_is_compacted_between_marks(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 300, .waste_stop = 100};
    uint64_t again, moved = 0;
    struct fixture f;
    unsigned steps = 0;
    int err;

    (void)state;
    kicks = 0;
    fixture_open(&f, 32, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    marks.waste_stop = 301;
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), -KL_EINVAL);
    marks.waste_stop = 100;
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    mover_scatter(&m, 2);
    assert_int_equal(kicks, 1);
    do {
        uint64_t before = moved;

        err = step_of(f.zone, 64, &again);
        moved = stats_of(f.zone).migrated;
        assert_true(err == 0 || moved > before);
        assert_in_range(moved - before, 0, 64 + 32); /* the budget, and a batch */
        assert_int_equal(again, 0);
        steps++;
    } while (err == -KL_EAGAIN);
    assert_int_equal(err, 0);
    assert_in_range(steps, 5, 40);
    assert_in_range(stats_of(f.zone).free_blocks, (1024 - 2048 / 10) / 64, 16);
    assert_int_equal(kicks, 1);
    mover_all_right(&m);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* What can't be done is tried less and less often, and at once when it can be. */
static void fruitless_steps_back_off(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 300, .waste_stop = 100};
    uint64_t again, last = 0;
    struct fixture f;

    (void)state;
    fixture_open(&f, 32, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    mover_scatter(&m, 2);
    kl_zone_set_migration(f.zone, false);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(step_of(f.zone, 0, &again), -KL_EAGAIN);
        assert_int_equal(again, i == 0 ? 10000000 : i < 10 ? 2 * last : last);
        last = again;
    }
    kl_zone_set_migration(f.zone, true);
    assert_int_equal(step_of(f.zone, 0, &again), 0);
    assert_int_equal(again, 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Frames short: the shrinkers are asked, ever more urgently, up to the high mark. */
static void low_frames_are_shrunk_for(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .low = 32, .high = 200};
    struct kl_shrinker_ops ops = {.size = sizeof(ops),
                                  .name = "cache",
                                  .seeks = KL_SHRINK_DEFAULT_SEEKS,
                                  .count = cached,
                                  .scan = drop};
    struct cache cache = {.end = 1000}, nobody = {0};
    kl_shrinker_id id;
    uint64_t again = 0;
    struct fixture f;
    int err;

    (void)state;
    kicks = 0;
    cache.other = &nobody;
    fixture_open(&f, 16, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &cache, &id), 0);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(kicks, 1);
    assert_int_equal(cache.calls, 0); /* nobody was in need yet */
    do
        err = step_of(f.zone, 0, &again);
    while (err == -KL_EAGAIN && again == 0);
    assert_int_equal(err, 0);
    assert_in_range(stats_of(f.zone).free_frames, 200, 1000);
    mover_all_right(&m);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Over the soft limit: blocks go back until it is kept again. */
static void the_soft_limit_is_come_back_to(void **state)
{
    struct fixture f;
    uint64_t again;
    int err;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 1024; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < 1024; i++) {
        if (i % 4)
            assert_true(mover_free(&m, i));
    }
    assert_int_equal(
        limit(f.zone, stats_of(f.zone).charged_bytes - 11 * kl_zone_block_bytes(f.zone), 0), 0);
    do
        err = step_of(f.zone, 100, &again);
    while (err == -KL_EAGAIN && again == 0);
    assert_int_equal(err, 0);
    assert_in_range(stats_of(f.zone).present_blocks, 4, 5);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hard_limit_is_never_exceeded),
        cmocka_unit_test(metadata_counts),
        cmocka_unit_test(a_soft_limit_is_the_last_resort),
        cmocka_unit_test(the_reserve_is_for_migrations),
        cmocka_unit_test(runs_are_made_on_demand),
        cmocka_unit_test(stages_come_in_order),
        cmocka_unit_test(does_not_wait_for_itself),
        cmocka_unit_test(larger_than_a_block),
#if KL_DEBUG
        cmocka_unit_test(what_cannot_be_had_is_refused_at_once),
#endif
        cmocka_unit_test(waste_is_compacted_between_marks),
        cmocka_unit_test(fruitless_steps_back_off),
        cmocka_unit_test(low_frames_are_shrunk_for),
        cmocka_unit_test(the_soft_limit_is_come_back_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
