// SPDX-License-Identifier: Apache-2.0
/* Failures of the original migration of zsmalloc (test_zs_original.c) in whole runs: moves
 * of every chain and class, and races among threads that nobody stops. */
#include "support/cpus.h"
#include "support/meanwhile.h"
#include "support/objects.h"
#include "support/shake.h"
#include "zs/entry.h"
#include "zs/zs.h"

#include <pthread.h>
#include <string.h>

/* Threads for the races: one moves frames without end, the others use objects. */
struct race {
    struct fixture f;
    struct kl_zs *pool;
    atomic_bool stop;
    atomic_uint moves;
};

static void *move_frames(void *arg)
{
    struct race *race = arg;
    struct rng rng = rng_new(99);

    while (!atomic_load(&race->stop)) {
        struct kl_report r = {.size = sizeof(r)};
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);

        shake_block(race->f.zone, rng_below(&rng, kl_zone_blocks(race->f.zone)), mode, &r);
        if (r.isolated != r.migrated + r.put_back + r.freed)
            abort();
        atomic_fetch_add(&race->moves, r.migrated);
    }
    return NULL;
}

static void race_begin(struct race *race, pthread_t *thread)
{
    memset(race, 0, sizeof(*race));
    race->pool = pool_open(&race->f, 64, 0);
    assert_int_equal(pthread_create(thread, NULL, move_frames, race), 0);
}

static void race_end(struct race *race, pthread_t thread)
{
    atomic_store(&race->stop, true);
    pthread_join(thread, NULL);
}

/* CVE-2024: free against migration of the same zspage. */
static void free_racing_migration(void **state)
{
    static struct object o[400];
    struct race race;
    pthread_t thread;

    (void)state;
    race_begin(&race, &thread);
    for (int round = 0; round < 60 || (atomic_load(&race.moves) == 0 && round < 5000); round++) {
        for (unsigned i = 0; i < 400; i++)
            object_put(race.pool, &o[i], 1 + (i * 7919 + (unsigned)round) % 9000, i);
        for (unsigned i = 0; i < 400; i++) {
            unsigned k = i * 269 % 400;

            assert_true(object_right(race.pool, &o[k]));
            assert_int_equal(kl_zs_free(race.pool, o[k].handle), 0);
        }
    }
    race_end(&race, thread);
    assert_true(atomic_load(&race.moves) > 0);
    pool_close(&race.f, race.pool);
}

/* A pool is destroyed while a migration runs; zspages that became empty while
 * they were isolated are not left behind. */
static void destroyed_while_migration_runs(void **state)
{
    static struct object o[300];
    struct race race;
    pthread_t thread;

    (void)state;
    race_begin(&race, &thread);
    for (int round = 0; round < 40; round++) {
        struct kl_zs *pool;

        assert_int_equal(kl_zs_create(race.f.zone, NULL, &pool), 0);
        for (unsigned i = 0; i < 300; i++)
            object_put(pool, &o[i], 1 + i * 23 % 6000, i);
        for (unsigned i = 0; i < 300; i += 2)
            assert_int_equal(kl_zs_free(pool, o[i].handle), 0);
        assert_int_equal(kl_zs_destroy(pool), 0);
    }
    race_end(&race, thread);
    pool_close(&race.f, race.pool);
}

/* A reader maps an object while its frame moves: it never sees the stale frame,
 * which is overwritten at once by whoever gets it. */
static void reader_never_sees_a_stale_frame(void **state)
{
    static struct object o[600], fresh[200];
    struct race race;
    pthread_t thread;

    (void)state;
    race_begin(&race, &thread);
    for (unsigned i = 0; i < 600; i++)
        object_put(race.pool, &o[i], 1 + i * 31 % 8000, i);
    for (int round = 0; round < 150 || (atomic_load(&race.moves) == 0 && round < 5000); round++) {
        for (unsigned i = 0; i < 200; i++) /* fills what becomes free */
            object_put(race.pool, &fresh[i], 500 + i, 100000 + i);
        for (unsigned i = 0; i < 600; i++)
            assert_true(object_right(race.pool, &o[i]));
        for (unsigned i = 0; i < 200; i++)
            assert_int_equal(kl_zs_free(race.pool, fresh[i].handle), 0);
    }
    race_end(&race, thread);
    assert_true(atomic_load(&race.moves) > 0);
    pool_close(&race.f, race.pool);
}

/* A pin stands between isolate and migrate: the frames are put back, nothing
 * moves, and the zspage is filed again. */
static void readers_inside_make_migration_give_way(void **state)
{
    static struct object o[64];
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 2, 0);
    struct kl_report r = {.size = sizeof(r)};
    struct kl_zs_pin pin[2];
    unsigned last = 12; /* objects of 8 frames: the last one is in the second block */

    (void)state;
    for (unsigned i = 0; i <= last; i++)
        object_put(pool, &o[i], 32000, i);
    for (unsigned i = 1; i < last; i++)
        assert_int_equal(kl_zs_free(pool, o[i].handle), 0);
    assert_int_equal(kl_zs_begin(pool, o[0].handle, &pin[0]), 0);
    assert_int_equal(kl_zs_begin(pool, o[last].handle, &pin[1]), 0);
    for (int mode = KL_ASYNC; mode <= KL_SYNC; mode++) {
        assert_int_equal(kl_zone_give_back(f.zone, 1, (enum kl_mode)mode, &r), -KL_EBUSY);
        assert_int_equal(r.migrated, 0);
        assert_true(r.isolated > 0);
        assert_int_equal(r.isolated, r.put_back);
    }
    kl_zs_end(&pin[0]);
    kl_zs_end(&pin[1]);
    assert_zs_ok(pool);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), 0);
    assert_true(object_right(pool, &o[0]));
    assert_true(object_right(pool, &o[last]));
    pool_close(&f, pool);
}

/* More isolated frames in one zspage than a small counter would hold: a chain's
 * worth of them at a time, for the longest chains there are. */
static void isolation_counts_a_whole_chain(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 16, 0);
    struct kl_zs_class_stats c = {.size = sizeof(c)};
    struct kl_zs_stats s = {.size = sizeof(s)};
    struct kl_report r = {.size = sizeof(r)};
    uint32_t longest = 0, size = 0;
    struct object o;

    (void)state;
    kl_zs_get_stats(pool, &s);
    for (uint32_t i = 0; i < s.classes; i++) {
        assert_int_equal(kl_zs_get_class_stats(pool, i, &c), 0);
        if (c.frames_per_zspage > longest) {
            longest = c.frames_per_zspage;
            size = c.object_size;
        }
    }
    assert_int_equal(kl_zs_get_class_stats(pool, s.classes, &c), -KL_ERANGE);
    assert_true(longest >= 16);
    object_put(pool, &o, size, 9);
    for (int round = 0; round < 20; round++) {
        kl_owner_id owner;
        kl_pfn first;

        assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
        assert_int_equal(kl_contig_alloc(f.zone, owner, 15 * 64, 64, KL_SYNC, &first, &r), 0);
        assert_true(object_right(pool, &o));
        assert_zs_ok(pool);
        assert_int_equal(kl_contig_free(f.zone, owner, first, 15 * 64), 0);
        assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    }
    pool_close(&f, pool);
}

/* Where the first object of a frame lies is never computed wrongly: every byte of
 * every object of every class survives that each of its frames moves. */
static void first_objects_of_every_class(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 16, 0);
    struct kl_zs_stats s = {.size = sizeof(s)};
    static struct object o[4096];
    kl_owner_id owner;

    (void)state;
    kl_zs_get_stats(pool, &s);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    for (uint32_t i = 0; i < s.classes; i += 1 + s.classes / 150) {
        struct kl_zs_class_stats c = {.size = sizeof(c)};
        kl_pfn first;

        assert_int_equal(kl_zs_get_class_stats(pool, i, &c), 0);
        for (uint32_t k = 0; k < c.objects_per_zspage; k++)
            object_put(pool, &o[k], c.object_size, k);
        assert_int_equal(kl_contig_alloc(f.zone, owner, 14 * 64, 64, KL_SYNC, &first, NULL), 0);
        for (uint32_t k = 0; k < c.objects_per_zspage; k++) {
            assert_true(object_right(pool, &o[k]));
            assert_int_equal(kl_zs_free(pool, o[k].handle), 0);
        }
        assert_int_equal(kl_contig_free(f.zone, owner, first, 14 * 64), 0);
    }
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    pool_close(&f, pool);
}

/* A try-lock of the class that failed is not undone: isolation in async mode only tries. */
static void no_unlock_of_a_class_that_was_not_locked(void **state)
{
    struct fixture f;
    struct kl_zs *pool;
    struct object o;
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    fixture_host = fixture_one_cpu; /* without stacks: what is freed goes at once */
    pool = pool_open(&f, 8, 0);
    fixture_host = NULL;
    object_put(pool, &o, 12000, 1);
    for (uint32_t i = pool->nclasses; i-- > 0;)
        assert_int_equal(atomic_exchange(&pool->classes[i].lock.word, 1), 0);
    for (uint32_t block = 0; block < 8; block++)
        shake_block(f.zone, block, KL_ASYNC, &r);
    assert_int_equal(r.isolated, 0);
    for (uint32_t i = 0; i < pool->nclasses; i++)
        assert_int_equal(atomic_exchange(&pool->classes[i].lock.word, 0), 1);
    pool_close(&f, pool);
}

/* A generation goes on after 65535 with 0, and touches nothing beside it. */
static void generations_wrap(void **state)
{
    struct fixture f;
    struct kl_zs *pool;
    struct object o;
    kli_word *entry;
    kl_handle before, h;

    (void)state;
    fixture_host = fixture_one_cpu; /* without stacks: what is freed goes at once */
    pool = pool_open(&f, 8, 0);
    fixture_host = NULL;
    object_put(pool, &o, 100, 1);
    entry = zs_entry(pool, (uint32_t)(o.handle.v >> 32));
    atomic_fetch_or(entry, ZS_E_GENERATION);
    before = (kl_handle){o.handle.v | UINT64_C(0xffff) << 16};
    o.handle = before;
    assert_true(object_right(pool, &o));
    assert_int_equal(kl_zs_free(pool, before), 0);
    assert_int_equal(zs_e_generation(atomic_load(entry)), 0);
    assert_int_equal(zs_e_pins(atomic_load(entry)), ZS_PINS_FREE);
    do /* until that entry comes again */
        assert_int_equal(kl_zs_malloc(pool, 100, 0, &h), 0);
    while (h.v >> 32 != before.v >> 32);
    assert_int_equal(h.v >> 16 & 0xffff, 0);
    assert_true(h.v != 0);
    assert_int_equal(kl_zs_free(pool, before), -KL_ESTALE);
    assert_int_equal(kl_zs_free(pool, h), 0);
    assert_int_equal(kl_zs_free(pool, h), -KL_ESTALE);
    pool_close(&f, pool);
}

static struct kl_zs_class_stats class_figures(struct kl_zs *pool, uint32_t index)
{
    struct kl_zs_class_stats c = {.size = sizeof(c)};

    assert_int_equal(kl_zs_get_class_stats(pool, index, &c), 0);
    return c;
}

/* A whole zspage of each class is emptied object by object: it is always in the decile that it
 * has reached, also where that is a whole number of objects. */
static void groups_are_deciles(void **state)
{
    static kl_handle h[ZS_MAX_OBJECTS];
    struct kl_zs *pool;
    struct fixture f;
    unsigned exact = 0;

    (void)state;
    fixture_host = cpus_locked; /* nothing is kept at hand */
    pool = pool_open(&f, 512, 0);
    fixture_host = NULL;
    for (uint32_t i = 0; i < pool->nclasses; i++) {
        uint32_t n = class_figures(pool, i).objects_per_zspage;
        size_t size = class_figures(pool, i).object_size;

        for (uint32_t k = 0; k < n; k++)
            assert_int_equal(kl_zs_malloc(pool, size, 0, &h[k]), 0);
        for (uint32_t k = n; k > 0; k--) {
            uint32_t group = k == n ? ZS_FULL : 1 + 10 * k / n;

            assert_int_equal(class_figures(pool, i).zspages, 1);
            assert_int_equal(class_figures(pool, i).fullness[group], 1);
            exact += 10 * k % n == 0;
            assert_int_equal(kl_zs_free(pool, h[k - 1]), 0);
        }
        assert_int_equal(class_figures(pool, i).zspages, 0);
    }
    assert_true(exact > pool->nclasses);
    pool_close(&f, pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_racing_migration),
        cmocka_unit_test(destroyed_while_migration_runs),
        cmocka_unit_test(reader_never_sees_a_stale_frame),
        cmocka_unit_test(readers_inside_make_migration_give_way),
        cmocka_unit_test(isolation_counts_a_whole_chain),
        cmocka_unit_test(first_objects_of_every_class),
        cmocka_unit_test(no_unlock_of_a_class_that_was_not_locked),
        cmocka_unit_test(generations_wrap),
        cmocka_unit_test(groups_are_deciles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
