// SPDX-License-Identifier: Apache-2.0
/* Looking at a zone: free runs and the indexes against a count by hand, what is
 * counted of owners and of runs, and statistics of callers older and newer. */
#include "move/run.h"
#include "support/cpus.h"
#include "support/mover.h"

#include <sched.h>
#include <string.h>

static struct mover m;

/* ---- free runs and indexes ---------------------------------------------- */

enum { MOST_FRAMES = 4096 };

static bool all_free(const uint8_t *map, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) {
        if (map[i] != KL_FRAME_FREE)
            return false;
    }
    return true;
}

/* The greatest runs first; what is counted is free no more. */
static void count_by_hand(struct kl_zone *zone, struct kl_free_runs *runs)
{
    static uint8_t map[MOST_FRAMES];
    uint32_t frames = kl_zone_frames(zone);

    assert_true(frames <= MOST_FRAMES);
    assert_int_equal(kl_zone_map(zone, 0, frames, map), 0);
    *runs = (struct kl_free_runs){.size = sizeof(*runs)};
    for (unsigned order = 13; order-- > 0;) {
        uint32_t n = 1u << order;

        if (n <= frames && runs->orders == 0)
            runs->orders = order + 1;
        for (uint32_t at = 0; at + n <= frames; at += n) {
            if (!all_free(map, at, n))
                continue;
            runs->run[order]++;
            runs->frames += n;
            memset(map + at, KL_FRAME_MOVABLE, n);
        }
    }
}

/* How many requests of an order can be cut, one after the other. */
static uint64_t cut(const struct kl_free_runs *runs, unsigned order)
{
    uint64_t n = 0;

    for (unsigned o = order; o < KL_ORDERS; o++) {
        for (uint64_t i = 0; i < runs->run[o]; i++)
            n += UINT64_C(1) << (o - order);
    }
    return n;
}

static void check_indexes(struct kl_zone *zone, const struct kl_free_runs *runs)
{
    uint64_t f = runs->frames, r = cut(runs, 0) ? 0 : 1;

    for (unsigned o = 0; o < KL_ORDERS; o++)
        r += runs->run[o];
    for (unsigned order = 0; order < runs->orders; order++) {
        uint64_t s = cut(runs, order), n = UINT64_C(1) << order;
        int unusable = 7777, fragmentation = 7777, again = 7777;
        double wanted = 1000 * (1 - (1 + (double)f / (double)n) / (double)r);

        assert_int_equal(kl_zone_unusable_index(zone, order, &unusable), 0);
        assert_int_equal(unusable, f ? (f - s * n) * 1000 / f : 1000);
        assert_int_equal(kl_zone_fragmentation_index(zone, order, &fragmentation), 0);
        if (s > 0)
            wanted = -1000;
        else if (wanted < 0 || f == 0)
            wanted = 0;
        assert_true(fragmentation >= wanted - 1 && fragmentation <= wanted + 1);
        assert_int_equal(kl_runs_fragmentation_index(runs, order, &again), 0);
        assert_int_equal(again, fragmentation);
        assert_int_equal(kl_runs_unusable_index(runs, order, &again), 0);
        assert_int_equal(again, unusable);
    }
}

static void check_runs(struct kl_zone *zone)
{
    struct kl_free_runs runs = {.size = sizeof(runs)}, wanted;
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_free_runs(zone, &runs);
    count_by_hand(zone, &wanted);
    assert_int_equal(runs.orders, wanted.orders);
    for (unsigned o = 0; o < KL_ORDERS; o++)
        assert_int_equal(runs.run[o], wanted.run[o]);
    assert_int_equal(runs.frames, wanted.frames);
    kl_zone_get_stats(zone, &s);
    assert_int_equal(runs.frames, s.free_frames);
    check_indexes(zone, &runs);
}

/* Allocations of all orders come and go, blocks come and go, frames lie in caches. */
static void random_layout(unsigned blocks, unsigned order, struct rng *rng)
{
    unsigned items = rng_below(rng, 256) + 1;
    struct fixture f;

    fixture_open(&f, blocks, order, rng_below(rng, 2) ? KL_ZONE_POPULATE : 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < items; i++) {
            if (m.item[i].here)
                mover_free(&m, i);
            else if (rng_below(rng, 3))
                mover_alloc(&m, i, rng_below(rng, 4) ? 0 : rng_below(rng, order + 1),
                            KL_MOVABLE | KL_NOWAIT);
        }
        if (round == 3)
            assert_true(kl_zone_trim(f.zone, rng_below(rng, blocks)) >= 0);
        check_runs(f.zone);
    }
    mover_close(&m);
    check_runs(f.zone);
    fixture_close(&f);
}

static void runs_as_counted_by_hand(void **state)
{
    struct rng rng = rng_new(21);

    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        unsigned order = i % 10;
        unsigned most = 4096u >> order;

        random_layout(1 + rng_below(&rng, most < 40 ? most : 40), order, &rng);
    }
}

/* 64 frames in a block, every other one free, and worked out on paper. */
static void indexes_worked_out(void **state)
{
    static const int unusable[] = {0, 1000, 1000}, fragmentation[] = {-1000, 469, 719};
    struct kl_free_runs runs = {.size = sizeof(runs)};
    struct fixture f;
    int index = 7777;

    (void)state;
    fixture_open(&f, 1, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    kl_zone_get_free_runs(f.zone, &runs);
    assert_int_equal(runs.orders, 7);
    assert_int_equal(runs.run[6], 1);
    assert_int_equal(runs.frames, 64);
    mover_scatter(&m, 2);
    for (unsigned order = 0; order < 3; order++) {
        assert_int_equal(kl_zone_unusable_index(f.zone, order, &index), 0);
        assert_int_equal(index, unusable[order]);
        assert_int_equal(kl_zone_fragmentation_index(f.zone, order, &index), 0);
        assert_int_equal(index, fragmentation[order]);
    }
    mover_close(&m);
    fixture_close(&f);
}

static void nothing_free(void **state)
{
    struct kl_free_runs runs = {.size = sizeof(runs)};
    struct fixture f;
    int index = 7777;

    (void)state;
    fixture_open(&f, 3, 4, 0); /* nothing is present */
    kl_zone_get_free_runs(f.zone, &runs);
    assert_int_equal(runs.frames, 0);
    assert_int_equal(kl_zone_unusable_index(f.zone, 4, &index), 0);
    assert_int_equal(index, 1000);
    assert_int_equal(kl_zone_fragmentation_index(f.zone, 4, &index), 0);
    assert_int_equal(index, 0);
    fixture_close(&f);
}

static void wrong_orders(void **state)
{
    struct kl_free_runs runs = {.size = sizeof(runs)};
    struct fixture f;
    int index = 7777;

    (void)state;
    fixture_open(&f, 3, 4, KL_ZONE_POPULATE); /* 48 frames: orders 0 to 5 */
    assert_int_equal(kl_zone_unusable_index(f.zone, 5, &index), 0);
    index = 7777;
    assert_int_equal(kl_zone_unusable_index(f.zone, 6, &index), -KL_EINVAL);
    assert_int_equal(kl_zone_fragmentation_index(f.zone, 6, &index), -KL_EINVAL);
    assert_int_equal(kl_zone_fragmentation_index(f.zone, UINT32_MAX, &index), -KL_EINVAL);
    kl_zone_get_free_runs(f.zone, &runs);
    runs.size--;
    assert_int_equal(kl_runs_unusable_index(&runs, 0, &index), -KL_EINVAL);
    runs.size++;
    runs.orders = KL_ORDERS + 1;
    assert_int_equal(kl_runs_fragmentation_index(&runs, KL_ORDERS, &index), -KL_EINVAL);
    assert_int_equal(index, 7777);
    fixture_close(&f);
}

/* More frames lie in caches than are listed at a time, on CPUs that are not ours. */
static unsigned any_cpu(void *ctx)
{
    static unsigned next;

    (void)ctx;
    return next++ % 24;
}

static void frames_in_many_caches(void **state)
{
    struct kl_linux_backing_config memory = {.size = sizeof(memory),
                                             .kind = KL_LINUX_MEMFD,
                                             .bytes = UINT64_C(4096) << 12,
                                             .block_order = 9};
    struct kl_zone_config config = {.size = sizeof(config), .flags = KL_ZONE_POPULATE};
    struct kl_host host = *kl_linux_host();
    struct fixture f;

    (void)state;
    host.ncpus = 24;
    host.cpu = any_cpu;
    cpus_locked(&host);
    assert_int_equal(kl_linux_backing_create(&memory, &f.memory), 0);
    config.host = &host;
    config.backing = kl_linux_backing_get(f.memory);
    assert_int_equal(kl_zone_create(&config, &f.zone), 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 3);
    assert_true(kli_cache_count(f.zone, UINT32_MAX, false) > 2 * 256);
    check_runs(f.zone);
    mover_close(&m);
    check_runs(f.zone);
    fixture_close(&f);
}

/* ---- counters of owners and of runs -------------------------------------- */

static struct mover other;

static struct kl_owner_stats of_owner(struct kl_zone *zone, kl_owner_id owner)
{
    struct kl_owner_stats s = {.size = sizeof(s)};

    assert_int_equal(kl_owner_get_stats(zone, owner, &s), 0);
    assert_int_equal(s.size, sizeof(s));
    return s;
}

static struct kl_zone_stats of_zone(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s;
}

/* What the owner saw is what was counted; what it refused to isolate it saw, too. */
static void as_the_owner_saw(const struct mover *mover, const struct kl_owner_stats *s)
{
    assert_int_equal(s->migrated, mover->migrated);
    assert_int_equal(s->freed_isolated, mover->freed);
    assert_true(s->put_back <= mover->put_back); /* and those never marked */
    assert_int_equal(s->isolations, s->migrated + s->put_back + s->freed_isolated);
    assert_true(s->scanned >= s->isolations);
    assert_true(s->failed <= s->put_back);
}

static void owners_add_up(void **state)
{
    struct kl_owner_stats a, b;
    struct kl_zone_stats zone;
    struct fixture f;

    (void)state;
    fixture_open(&f, 16, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_open(&other, f.zone, MOVER_BATCH);
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
        assert_int_equal(mover_alloc(&other, i, 0, KL_MOVABLE), 0);
    }
    for (unsigned i = 0; i < 512; i++) { /* neighbours of two owners stay all over */
        if (i % 4)
            assert_true(mover_free(&m, i) && mover_free(&other, i));
    }
    atomic_store(&m.fail, 20);
    atomic_store(&other.busy, 20);
    for (unsigned i = 0; i < 8; i++)
        kl_zone_compact(f.zone, KL_SYNC_LIGHT, 40, NULL);
    a = of_owner(f.zone, m.owner);
    b = of_owner(f.zone, other.owner);
    zone = of_zone(f.zone);
    as_the_owner_saw(&m, &a);
    as_the_owner_saw(&other, &b);
    assert_true(a.migrated > 0 && b.migrated > 0 && a.failed > 0 && b.put_back > 0);
    assert_int_equal(b.failed, 0);
    assert_int_equal(a.isolations + b.isolations, zone.isolated);
    assert_int_equal(a.migrated + b.migrated, zone.migrated);
    assert_int_equal(a.put_back + b.put_back, zone.put_back);
    assert_int_equal(a.freed_isolated + b.freed_isolated, zone.freed_isolated);
    assert_int_equal(a.failed + b.failed, zone.failed);
    assert_true(a.scanned + b.scanned <= zone.scanned); /* free frames are nobody's */
    assert_int_equal(zone.compact.asked, 8);
    mover_close(&m);
    mover_close(&other);
    fixture_close(&f);
}

/* More owners than a run has places for: nothing is lost. */
static void many_owners(void **state)
{
    enum { OWNERS = 40 };
    static struct mover movers[OWNERS];
    struct kl_zone_stats zone;
    uint64_t scanned = 0, migrated = 0;
    struct fixture f;

    (void)state;
    fixture_open(&f, 16, 6, KL_ZONE_POPULATE);
    for (unsigned i = 0; i < OWNERS; i++)
        mover_open(&movers[i], f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 20 * OWNERS; i++) /* a and a + 16 side by side */
        assert_int_equal(mover_alloc(&movers[i * 16 % 39], i / 39, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < 20 * OWNERS; i++) {
        if (i % 3)
            assert_true(mover_free(&movers[i * 16 % 39], i / 39));
    }
    kl_zone_compact(f.zone, KL_SYNC, 0, NULL);
    for (unsigned i = 0; i < OWNERS; i++) {
        struct kl_owner_stats s = of_owner(f.zone, movers[i].owner);

        as_the_owner_saw(&movers[i], &s);
        scanned += s.scanned;
        migrated += s.migrated;
    }
    zone = of_zone(f.zone);
    assert_int_equal(migrated, zone.migrated);
    assert_true(migrated > OWNERS && scanned <= zone.scanned);
    for (unsigned i = 0; i < OWNERS; i++)
        mover_close(&movers[i]);
    fixture_close(&f);
}

/* A slot's next owner begins with nothing, though a run knew the last one. */
static void next_owner_of_a_slot(void **state)
{
    struct kl_owner_stats s;
    struct kli_run run;
    struct fixture f;
    kl_owner_id id;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 4);
    kl_zone_compact(f.zone, KL_SYNC, 0, NULL);
    assert_true(of_owner(f.zone, m.owner).migrated > 0);
    kli_run_begin(&run, f.zone, KL_ASYNC);
    kli_tally(&run, m.owner.v, KLI_C_SCANNED);
    mover_close(&m);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &id), 0);
    assert_int_equal(id.v, m.owner.v); /* or this has shown nothing */
    kli_run_end(&run, NULL);
    s = of_owner(f.zone, id);
    assert_int_equal(s.scanned + s.isolations + s.migrated + s.stalls, 0);
    assert_int_equal(kl_owner_unregister(f.zone, id), 0);
    assert_int_equal(kl_owner_get_stats(f.zone, id, &s), -KL_ENOENT);
    fixture_close(&f);
}

static void *alloc_one(void *arg)
{
    struct fixture *f = arg;
    kl_pfn pfn;

    assert_int_equal(kl_frame_alloc(f->zone, 0, m.owner, KL_MOVABLE, &pfn), -KL_ENOMEM);
    return NULL;
}

/* A slot whose owner changes, and who asks for the name meanwhile. */
enum { CHANGES = 3000 };
static kl_owner_id changing;
static atomic_bool changed;

static const char *const long_names[] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};

static void *changer(void *zone)
{
    struct kl_owner_ops ops = {.size = sizeof(ops)};
    kl_owner_id id;

    for (unsigned i = 0; i < CHANGES; i++) {
        ops.name = long_names[i % 2];
        assert_int_equal(kl_owner_register(zone, &ops, NULL, &id), 0);
        assert_int_equal(id.v, changing.v);
        assert_int_equal(kl_owner_unregister(zone, id), 0);
    }
    atomic_store(&changed, true);
    return NULL;
}

static bool is_whole(const char *name)
{
    return !name[0] || strcmp(name, long_names[0]) == 0 || strcmp(name, long_names[1]) == 0;
}

static void names_are_whole(void **state)
{
    struct kl_owner_stats s = {.size = sizeof(s)};
    struct kl_budget b = {.size = sizeof(b)};
    struct kl_budget_row row = {.frames = 0};
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = long_names[0]};
    struct kli_owner *owner;
    struct fixture f;
    pthread_t thread;

    (void)state;
    fixture_open(&f, 1, 2, 0);
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &changing), 0);
    owner = &f.zone->owner[changing.v];
    atomic_fetch_add(&owner->term, 1); /* the name is being written */
    assert_int_equal(kl_owner_get_stats(f.zone, changing, &s), 0);
    assert_string_equal(s.name, "");
    atomic_fetch_add(&owner->term, 1);
    assert_int_equal(kl_owner_get_stats(f.zone, changing, &s), 0);
    assert_string_equal(s.name, long_names[0]);
    assert_int_equal(kl_owner_unregister(f.zone, changing), 0);

    atomic_store(&changed, false);
    assert_int_equal(pthread_create(&thread, NULL, changer, f.zone), 0);
    while (!atomic_load(&changed)) {
        if (kl_owner_get_stats(f.zone, changing, &s) == 0)
            assert_true(is_whole(s.name));
        kl_zone_get_budget(f.zone, &b, &row, 1);
        assert_true(is_whole(row.name));
        for (unsigned i = 0; i < 100; i++) {
            kli_owner_name(f.zone, changing.v, s.name);
            assert_true(is_whole(s.name));
        }
    }
    pthread_join(thread, NULL);
    fixture_close(&f);
}

static void stalls_are_the_waiters(void **state)
{
    struct fixture f;
    pthread_t waiter;

    (void)state;
    fixture_open(&f, 2, 4, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_open(&other, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(mover_alloc(&other, i, 0, KL_MOVABLE), 0);
    kli_hold(f.zone);
    assert_int_equal(pthread_create(&waiter, NULL, alloc_one, &f), 0);
    while (of_owner(f.zone, m.owner).stalls == 0)
        sched_yield();
    kli_let_go(f.zone, false);
    assert_int_equal(pthread_join(waiter, NULL), 0);
    assert_int_equal(of_owner(f.zone, m.owner).stalls, of_zone(f.zone).stalls);
    assert_int_equal(of_owner(f.zone, other.owner).stalls, 0);
    mover_close(&m);
    mover_close(&other);
    fixture_close(&f);
}

static void runs_by_their_end(void **state)
{
    struct kl_zone_stats s;
    struct fixture f;
    kl_pfn first;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 2);
    assert_int_equal(kl_zone_give_back(f.zone, 9, KL_SYNC, NULL), -KL_EINVAL); /* no run */
    assert_int_equal(kl_zone_give_back(f.zone, 8, KL_SYNC, NULL), -KL_ENOMEM);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, NULL), 0);
    kl_zone_set_migration(f.zone, false);
    assert_int_equal(kl_zone_give_back(f.zone, 5, KL_SYNC, NULL), -KL_EBUSY);
    kl_zone_set_migration(f.zone, true);
    fault_set(FAULT_RELEASE, 1);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, NULL), -KL_EIO);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), -KL_ENOMEM);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), 0);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 0, 1, KL_SYNC, &first, NULL), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 4, 4, KL_SYNC, &first, NULL), 0);
    assert_zone_ok(f.zone);
    s = of_zone(f.zone);
    assert_int_equal(s.give_back.asked, 5);
    assert_int_equal(s.give_back.succeeded, 2);
    assert_int_equal(s.give_back.nomem, 1);
    assert_int_equal(s.give_back.busy, 1);
    assert_int_equal(s.give_back.other, 1);
    assert_int_equal(s.give_back.again, 0);
    assert_int_equal(s.compact.asked, 2);
    assert_int_equal(s.compact.succeeded, 1);
    assert_int_equal(s.compact.nomem, 1);
    assert_int_equal(s.contig.asked, 1);
    assert_int_equal(s.contig.succeeded, 1);
    assert_int_equal(kl_contig_free(f.zone, m.owner, first, 4), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* ---- callers compiled with other headers --------------------------------- */

static void older_and_newer_callers(void **state)
{
    struct {
        struct kl_zone_stats s;
        uint64_t behind;
    } zone;
    struct kl_owner_stats owner;
    struct fixture f;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    memset(&zone, 0x5a, sizeof(zone));
    zone.s.size = offsetof(struct kl_zone_stats, compact); /* as it was before */
    kl_zone_get_stats(f.zone, &zone.s);
    assert_int_equal(zone.s.size, offsetof(struct kl_zone_stats, compact));
    assert_int_equal(zone.s.frames, 512);
    assert_int_equal(zone.s.compact.asked, UINT64_C(0x5a5a5a5a5a5a5a5a));
    zone.s.size = sizeof(zone);
    kl_zone_get_stats(f.zone, &zone.s);
    assert_int_equal(zone.s.size, sizeof(zone.s));
    assert_int_equal(zone.s.compact.asked, 0);
    assert_int_equal(zone.behind, UINT64_C(0x5a5a5a5a5a5a5a5a));
    memset(&owner, 0x5a, sizeof(owner));
    owner.size = offsetof(struct kl_owner_stats, scanned);
    assert_int_equal(kl_owner_get_stats(f.zone, m.owner, &owner), 0);
    assert_int_equal(owner.frames, 0);
    assert_int_equal(owner.scanned, UINT64_C(0x5a5a5a5a5a5a5a5a));
    owner.size = 0; /* forgotten: nothing is touched */
    owner.frames = 7;
    assert_int_equal(kl_owner_get_stats(f.zone, m.owner, &owner), 0);
    assert_int_equal(owner.frames, 7);
    mover_close(&m);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_as_counted_by_hand),
        cmocka_unit_test(indexes_worked_out),
        cmocka_unit_test(nothing_free),
        cmocka_unit_test(wrong_orders),
        cmocka_unit_test(frames_in_many_caches),
        cmocka_unit_test(owners_add_up),
        cmocka_unit_test(many_owners),
        cmocka_unit_test(next_owner_of_a_slot),
        cmocka_unit_test(names_are_whole),
        cmocka_unit_test(stalls_are_the_waiters),
        cmocka_unit_test(runs_by_their_end),
        cmocka_unit_test(older_and_newer_callers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
