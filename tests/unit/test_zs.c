// SPDX-License-Identifier: Apache-2.0
/* zsmalloc: sizes, handles, object compaction, migration.  The mistakes that the original
 * made are in test_zs_original.c. */
#include "reclaim/reclaim.h"
#include "support/objects.h"
#include "support/shake.h"
#include "zs/zs.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static void every_size(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 512, 0);
    static struct object o[KL_ZS_MAX_SIZE / 37 + 2];
    struct kl_zs_stats s = {.size = sizeof(s)};
    unsigned n = 0;

    (void)state;
    for (uint32_t size = 1; size <= KL_ZS_MAX_SIZE; size += 37)
        object_put(pool, &o[n++], size, size);
    object_put(pool, &o[n++], KL_ZS_MAX_SIZE, 1);
    for (unsigned i = 0; i < n; i++) {
        assert_true(object_right(pool, &o[i]));
        assert_true(kl_zs_object_size(pool, o[i].handle) >= o[i].size);
    }
    assert_zs_ok(pool);
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.objects, n);
    assert_true(s.object_bytes <= s.frames * 4096);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(kl_zs_free(pool, o[i].handle), 0);
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.objects, 0);
    assert_int_equal(kl_zs_compact(pool, 0), s.frames); /* what was kept at hand */
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.frames, 0);
    pool_close(&f, pool);
}

static void refuses_bad_handles(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 4, 0), *other;
    struct kl_zs_pin pin;
    kl_handle h, foreign;
    char buf[96] = {0};
    size_t bytes;

    (void)state;
    assert_int_equal(kl_zs_create(f.zone, NULL, &other), 0);
    assert_int_equal(kl_zs_malloc(pool, 0, 0, &h), -KL_EINVAL);
    assert_int_equal(kl_zs_malloc(pool, KL_ZS_MAX_SIZE + 1, 0, &h), -KL_EINVAL);
    assert_int_equal(kl_zs_malloc(pool, SIZE_MAX, 0, &h), -KL_EINVAL);
    assert_int_equal(kl_zs_malloc(pool, 8, 1u << 15, &h), -KL_EINVAL);
    assert_int_equal(kl_zs_malloc(pool, 64, 0, &h), 0);
    assert_int_equal(kl_zs_malloc(other, 64, 0, &foreign), 0);
    assert_int_equal(kl_zs_free(pool, foreign), -KL_ESTALE);
    assert_int_equal(kl_zs_read(pool, foreign, 0, buf, 1), -KL_ESTALE);
    assert_int_equal(kl_zs_free(pool, (kl_handle){0}), -KL_ESTALE);
    assert_int_equal(kl_zs_free(pool, (kl_handle){~UINT64_C(0)}), -KL_ESTALE);
    assert_int_equal(kl_zs_free(pool, (kl_handle){h.v + (UINT64_C(1) << 32)}), -KL_ESTALE);
    assert_int_equal(kl_zs_free(pool, (kl_handle){h.v + (UINT64_C(99999) << 32)}), -KL_ESTALE);
    for (uint64_t i = 0; i < 1024; i++) { /* entries that were never used */
        kl_handle forged = {(i << 32) | (h.v & 0xffff)};

        if (forged.v == h.v) /* a hardened build's first generation is any */
            continue;
        assert_int_equal(kl_zs_free(pool, forged), -KL_ESTALE);
        assert_int_equal(kl_zs_read(pool, forged, 0, buf, 1), -KL_ESTALE);
        assert_int_equal(kl_zs_write(pool, forged, 0, buf, 1), -KL_ESTALE);
    }
    bytes = kl_zs_object_size(pool, h);
    assert_in_range(bytes, 64, sizeof(buf) - 1);
    assert_int_equal(kl_zs_read(pool, h, 0, buf, bytes), 0);
    assert_int_equal(kl_zs_read(pool, h, 0, buf, bytes + 1), -KL_ERANGE);
    assert_int_equal(kl_zs_read(pool, h, bytes + 1, buf, 0), -KL_ERANGE);
    assert_int_equal(kl_zs_write(pool, h, 1, buf, SIZE_MAX), -KL_ERANGE);
    assert_int_equal(kl_zs_free(pool, h), 0);
    assert_int_equal(kl_zs_free(pool, h), -KL_ESTALE); /* twice */
    assert_int_equal(kl_zs_write(pool, h, 0, buf, 1), -KL_ESTALE);
    assert_int_equal(kl_zs_begin(pool, h, &pin), -KL_ESTALE);
    assert_int_equal(kl_zs_object_size(pool, h), 0);
    assert_int_equal(kl_zs_destroy(other), 0);
    pool_close(&f, pool);
}

static void begin_is_a_pin_that_nests(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 4, 0);
    struct kl_zs_pin pin[62];
    struct object o;
    size_t len, at = 0;
    kl_handle h;

    (void)state;
    object_put(pool, &o, 10000, 3);
    for (int i = 0; i < 61; i++)
        assert_int_equal(kl_zs_begin(pool, o.handle, &pin[i]), 0);
    assert_int_equal(kl_zs_begin(pool, o.handle, &pin[61]), -KL_EAGAIN);
    assert_int_equal(kl_zs_write(pool, o.handle, 0, &len, 1), -KL_EAGAIN); /* not for ever */
    assert_true(object_right(pool, &o)); /* who only looks needs no pin */
    for (; kl_zs_run(&pin[0], at, &len) != NULL; at += len)
        assert_true(len > 0 && len <= 4096);
    assert_int_equal(at, pin[0].bytes);
    assert_int_equal(kl_zs_destroy(pool), -KL_EBUSY);
    assert_int_equal(kl_zs_free(pool, o.handle), 0); /* the last end completes it */
    assert_int_equal(kl_zs_free(pool, o.handle), -KL_ESTALE);
    assert_int_equal(kl_zs_malloc(pool, 10000, 0, &h), 0);
    for (int i = 0; i < 61; i++)
        kl_zs_end(&pin[i]);
    assert_int_equal(kl_zs_free(pool, h), 0);
    pool_close(&f, pool);
}

/* Whoever holds all pins that a zspage can have, is not to wait for himself. */
static void pins_of_one_zspage_are_bounded(void **state)
{
    enum { OBJECTS = 68, EACH = 61, MOST = 4095 };
    static struct kl_zs_pin pin[OBJECTS * EACH];
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 4, 0);
    struct object o[OBJECTS];
    unsigned n = 0;
    int err = 0;

    (void)state;
    for (unsigned i = 0; i < OBJECTS; i++)
        object_put(pool, &o[i], 8, i);
    while (!err && n < OBJECTS * EACH) {
        err = kl_zs_begin(pool, o[n / EACH].handle, &pin[n]);
        n += !err;
    }
    assert_int_equal(err, -KL_EAGAIN);
    assert_int_equal(n, MOST);
    assert_int_equal(kl_zs_write(pool, o[OBJECTS - 1].handle, 0, &n, 1), -KL_EAGAIN);
    assert_true(object_right(pool, &o[OBJECTS - 1]));
    assert_int_equal(kl_zs_free(pool, o[OBJECTS - 1].handle), 0);
    while (n > 0)
        kl_zs_end(&pin[--n]);
    assert_int_equal(kl_zs_free(pool, o[OBJECTS - 1].handle), -KL_ESTALE);
    pool_close(&f, pool);
}

#if KL_DEBUG
/* At the pool's only step to more frames another thread is faster. */
static struct kl_zs *overtaken;
static kl_handle of_the_other;

static void overtake(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    struct kl_zs *pool = overtaken;

    (void)a, (void)b, (void)c;
    if (point != KLI_T_zs_grow || !pool)
        return;
    overtaken = NULL;
    assert_int_equal(kl_zs_malloc(pool, 64, 0, &of_the_other), 0);
}
#endif

/* The last frame of the limit went to somebody else: his zspage has slots for both. */
static void a_slot_that_another_made_is_no_refusal(void **state)
{
#if KL_DEBUG
    struct kl_zs_config config = {.size = sizeof(config), .limit_frames = 1};
    struct fixture f;
    struct kl_zs *pool;
    kl_handle h;

    (void)state;
    fixture_open(&f, 4, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
    overtaken = pool;
    atomic_store(&kli_trace_hook, overtake);
    assert_int_equal(kl_zs_malloc(pool, 64, 0, &h), 0);
    atomic_store(&kli_trace_hook, NULL);
    assert_null(overtaken);
    assert_int_equal(kl_zs_free(pool, h), 0);
    assert_int_equal(kl_zs_free(pool, of_the_other), 0);
    pool_close(&f, pool);
#else
    (void)state;
    skip();
#endif
}

/* Fills the pool, frees most of it at random: sparse zspages, sparse blocks. */
static unsigned make_sparse(struct kl_zs *pool, struct object *o, unsigned n, unsigned keep)
{
    struct rng rng = rng_new(5);
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++)
        object_put(pool, &o[i], 1 + rng_below(&rng, 9000), i);
    for (unsigned i = 0; i < n; i++) {
        if (rng_below(&rng, keep) == 0)
            o[kept++] = o[i];
        else
            assert_int_equal(kl_zs_free(pool, o[i].handle), 0);
    }
    return kept;
}

static void object_compaction(void **state)
{
    static struct object o[4000];
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 128, 0);
    struct kl_zs_stats before = {.size = sizeof(before)}, after = before;
    unsigned n = make_sparse(pool, o, 4000, 4);
    int64_t freed;

    (void)state;
    kl_zs_get_stats(pool, &before);
    assert_true(before.freeable_frames > 0);
    freed = kl_zs_compact(pool, 0);
    kl_zs_get_stats(pool, &after);
    assert_true(freed > 0);
    assert_int_equal(before.frames - after.frames, freed);
    assert_int_equal(after.freeable_frames, 0);
    for (unsigned i = 0; i < n; i++)
        assert_true(object_right(pool, &o[i]));
    pool_close(&f, pool);
}

/* The pool gives its sparse zspages when the zone is short. */
static void a_pool_is_a_shrinker(void **state)
{
    static struct object o[4000];
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 128, 0);
    struct kl_shrinker_stats shrinker = {.size = sizeof(shrinker)};
    struct kl_zs_stats before = {.size = sizeof(before)}, after = before;
    unsigned n = make_sparse(pool, o, 4000, 4);
    int64_t gained;

    (void)state;
    kl_zs_get_stats(pool, &before);
    gained = kl_zone_shrink(f.zone, 50, KL_ASYNC);
    kl_zs_get_stats(pool, &after);
    assert_true(gained >= 50);
    assert_int_equal(gained, before.frames - after.frames);
    assert_true(after.freeable_frames > 0); /* no more than was wanted, about */
    assert_int_equal(kl_shrinker_get_stats(f.zone, pool->shrinker, &shrinker), 0);
    assert_string_equal(shrinker.name, "zsmalloc");
    assert_int_equal(shrinker.freed, gained);
    gained += kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC);
    kl_zs_get_stats(pool, &after);
    assert_int_equal(gained, before.frames - after.frames);
    assert_int_equal(after.freeable_frames, 0);
    for (unsigned i = 0; i < n; i++)
        assert_true(object_right(pool, &o[i]));
    pool_close(&f, pool);
}

/* In KL_ASYNC a class that somebody is at is passed by, and so is a pool that
 * another thread compacts. */
static void shrinking_async_never_waits(void **state)
{
    static struct object o[400];
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 16, 0);
    struct kl_zs_stats s = {.size = sizeof(s)};
    unsigned n = 0;

    (void)state;
    for (unsigned i = 0; i < 400; i++)
        object_put(pool, &o[i], 1000, i);
    for (unsigned i = 0; i < 400; i++) {
        if (i % 4 == 0)
            o[n++] = o[i];
        else
            assert_int_equal(kl_zs_free(pool, o[i].handle), 0);
    }
    for (uint32_t i = pool->nclasses; i-- > 0;)
        assert_true(atomic_exchange(&pool->classes[i].lock.word, 1) == 0);
    assert_int_equal(kl_zone_shrink(f.zone, UINT32_MAX, KL_ASYNC), 0);
    for (uint32_t i = 0; i < pool->nclasses; i++)
        atomic_store(&pool->classes[i].lock.word, 0);
    atomic_store(&pool->compacting, true);
    assert_int_equal(kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC), 0);
    atomic_store(&pool->compacting, false);
    assert_true(kl_zone_shrink(f.zone, UINT32_MAX, KL_ASYNC) > 0);
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.freeable_frames, 0);
    for (unsigned i = 0; i < n; i++)
        assert_true(object_right(pool, &o[i]));
    pool_close(&f, pool);
}

/* A zone has 64 shrinkers and more pools. */
static void pools_beyond_the_shrinkers(void **state)
{
    enum { POOLS = 70 };
    struct kl_zs *pool[POOLS];
    struct object o;
    struct fixture f;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    for (unsigned i = 0; i < POOLS; i++)
        assert_int_equal(kl_zs_create(f.zone, NULL, &pool[i]), 0);
    assert_int_equal(pool[POOLS - 1]->shrinker.v, 0);
    object_put(pool[POOLS - 1], &o, 100, 1);
    assert_true(object_right(pool[POOLS - 1], &o));
    assert_int_equal(kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC), 0);
    for (unsigned i = 0; i < POOLS; i++)
        assert_int_equal(kl_zs_destroy(pool[i]), 0);
    fixture_close(&f);
}

/* Destroying first takes the pool out of the shrinkers' hands. */
static atomic_bool shrinking;

static void *keep_shrinking(void *arg)
{
    while (atomic_load(&shrinking))
        kl_zone_shrink(arg, UINT32_MAX, KL_SYNC_LIGHT);
    return NULL;
}

static void destroyed_while_it_is_shrunk(void **state)
{
    static struct object o[300];
    struct fixture f;
    struct kl_zs *pool;
    pthread_t thread[2];

    (void)state;
    fixture_open(&f, 64, 6, 0);
    atomic_store(&shrinking, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, keep_shrinking, f.zone);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
        for (unsigned k = make_sparse(pool, o, 300, 4); k-- > 0;)
            assert_true(object_right(pool, &o[k]));
        assert_int_equal(kl_zs_destroy(pool), 0);
    }
    atomic_store(&shrinking, false);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    fixture_close(&f);
}

/* From a callback of another shrinker, while the pool is being shrunk. */
static uint64_t one_object(void *ctx, const struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 1;
}

static uint64_t destroy_pool(void *ctx, struct kl_shrink *shrink)
{
    struct kl_zs *pool = ctx;
    struct kli_shrinker *s = kli_shrinker_enter(pool->zone, pool->shrinker);

    (void)shrink;
    assert_non_null(s);
    assert_int_equal(kl_zs_destroy(pool), -KL_EBUSY);
    kli_gate_leave(&pool->host, &s->gate);
    return 0;
}

static void destroyed_from_a_scan(void **state)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "x", .seeks = 2, .count = one_object, .scan = destroy_pool};
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 16, 0);
    kl_shrinker_id id;
    struct object o;

    (void)state;
    object_put(pool, &o, 100, 1);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, pool, &id), 0);
    assert_int_equal(kl_zone_shrink(f.zone, 1, KL_SYNC), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    assert_true(object_right(pool, &o)); /* as it was */
    pool_close(&f, pool);
}

static void frames_move_under_objects(void **state)
{
    static struct object o[4000];
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 128, 0);
    struct kl_report r = {.size = sizeof(r)};
    unsigned n = make_sparse(pool, o, 4000, 8);
    struct kl_zone_stats s = {.size = sizeof(s)};

    (void)state;
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(kl_zone_give_back(f.zone, 128 - s.used_frames / 64 - 4, KL_SYNC, &r), 0);
    assert_true(r.migrated > 0);
    assert_int_equal(r.isolated, r.migrated + r.put_back + r.freed);
    assert_zs_ok(pool);
    assert_zone_ok(f.zone);
    for (unsigned i = 0; i < n; i++)
        assert_true(object_right(pool, &o[i]));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(kl_zs_free(pool, o[i].handle), 0);
    assert_true(kl_zs_compact(pool, 0) >= 0);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.used_frames, 0);
    pool_close(&f, pool);
}

/* Classes are for the sizes that a pool is told, and fewer in a small pool. */
static void classes_are_planned(void **state)
{
    struct kl_zs_config config = {.size = sizeof(config), .typical_bytes = KL_ZS_MAX_SIZE + 1};
    struct kl_zs_stats s = {.size = sizeof(s)};
    uint32_t classes[3];
    struct fixture f;
    struct kl_zs *pool;

    (void)state;
    fixture_open(&f, 512, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), -KL_EINVAL);
    for (int i = 0; i < 3; i++) {
        uint32_t below = 0;

        config.typical_bytes = i == 2 ? 0 : 4096;
        config.limit_frames = i == 1 ? 512 : 0;
        assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
        kl_zs_get_stats(pool, &s);
        for (uint32_t k = 0; k < s.classes; k++) {
            struct kl_zs_class_stats c = {.size = sizeof(c)};

            assert_int_equal(kl_zs_get_class_stats(pool, k, &c), 0);
            assert_true(c.objects_per_zspage * c.object_size <= c.frames_per_zspage * 4096);
            below += c.object_size <= 4096;
        }
        classes[i] = below;
        assert_int_equal(kl_zs_destroy(pool), 0);
    }
    assert_true(classes[1] < classes[0]);
    assert_true(classes[2] < classes[0]);
    fixture_close(&f);
}

static void the_limit_holds(void **state)
{
    struct kl_zs_config config = {.size = sizeof(config), .name = "small", .limit_frames = 8};
    struct kl_zs_stats s = {.size = sizeof(s)};
    struct fixture f;
    struct kl_zs *pool;
    kl_handle h;
    int err;

    (void)state;
    fixture_open(&f, 4, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
    while ((err = kl_zs_malloc(pool, 4096, 0, &h)) == 0)
        continue;
    assert_int_equal(err, -KL_ENOSPC);
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.frames, 8);
    assert_int_equal(kl_zs_free(pool, h), 0);
    assert_int_equal(kl_zs_malloc(pool, 4096, 0, &h), 0);
    pool_close(&f, pool);
}

/* A small pool has many classes and few frames: free slots of larger classes are
 * used before anything is refused. */
static void a_small_limit_is_used(void **state)
{
    struct kl_zs_config config = {.size = sizeof(config), .name = "small", .limit_frames = 512};
    struct rng rng = rng_new(12);
    struct fixture f;
    struct kl_zs *pool;
    uint64_t bytes = 0;
    uint32_t size;
    kl_handle h;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
    for (int refused = 0; refused < 200;) {
        size = 1 + rng_below(&rng, 4096);
        if (kl_zs_malloc(pool, size, 0, &h) == 0)
            bytes += size;
        else
            refused++;
    }
    assert_true(bytes > 512ull * 4096 * 45 / 100); /* 26 % without, 59 % with them */
    pool_close(&f, pool);
}

/* Somebody who asks for more than the limit does not make others fail. */
static atomic_bool greedy;

static void *ask_for_too_much(void *arg)
{
    kl_handle h;

    while (atomic_load(&greedy)) {
        if (kl_zs_malloc(arg, KL_ZS_MAX_SIZE, 0, &h) == 0)
            abort();
    }
    return NULL;
}

static void the_limit_is_exact(void **state)
{
    struct kl_zs_config config = {.size = sizeof(config), .name = "small", .limit_frames = 8};
    struct fixture f;
    struct kl_zs *pool;
    pthread_t thread;
    kl_handle h;

    (void)state;
    fixture_open(&f, 4, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), 0);
    atomic_store(&greedy, true);
    pthread_create(&thread, NULL, ask_for_too_much, pool);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(kl_zs_malloc(pool, 64, 0, &h), 0);
        assert_int_equal(kl_zs_free(pool, h), 0);
    }
    atomic_store(&greedy, false);
    pthread_join(thread, NULL);
    pool_close(&f, pool);
}

/* No frames, no metadata, one failure at each point: nothing is lost. */
static void failures_undo_themselves(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, 2, 0), *second;
    static struct object o[200];
    unsigned n = 0;
    kl_handle h;

    (void)state;
    for (int nth = 1; nth <= 2; nth++) {
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_zs_malloc(pool, 100, 0, &h), -KL_ENOMEM);
        fault_set(FAULT_META, 0);
        assert_zs_ok(pool);
        assert_zone_ok(f.zone);
    }
    for (int nth = 1; nth <= 4; nth++) { /* the pool, a plan, the lookup, the classes */
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_zs_create(f.zone, NULL, &second), -KL_ENOMEM);
        fault_set(FAULT_META, 0);
        assert_zone_ok(f.zone);
    }
    fault_set(FAULT_POPULATE, 1); /* of the second block */
    while (n < 200 && kl_zs_malloc(pool, 30000, 0, &h) == 0)
        o[n++].handle = h;
    assert_in_range(n, 6, 64 * 4096 / 30000);
    assert_zs_ok(pool);
    assert_zone_ok(f.zone);
    while (n < 200 && kl_zs_malloc(pool, 30000, 0, &h) == 0)
        o[n++].handle = h;
    assert_int_equal(kl_zs_malloc(pool, 30000, 0, &h), -KL_ENOMEM); /* in mid-chain */
    assert_zs_ok(pool);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zs_free(pool, o[0].handle), 0);
    assert_int_equal(kl_zs_malloc(pool, 30000, 0, &h), 0);
    pool_close(&f, pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),
        cmocka_unit_test(refuses_bad_handles),
        cmocka_unit_test(begin_is_a_pin_that_nests),
        cmocka_unit_test(pins_of_one_zspage_are_bounded),
        cmocka_unit_test(a_slot_that_another_made_is_no_refusal),
        cmocka_unit_test(object_compaction),
        cmocka_unit_test(a_pool_is_a_shrinker),
        cmocka_unit_test(shrinking_async_never_waits),
        cmocka_unit_test(pools_beyond_the_shrinkers),
        cmocka_unit_test(destroyed_while_it_is_shrunk),
        cmocka_unit_test(destroyed_from_a_scan),
        cmocka_unit_test(frames_move_under_objects),
        cmocka_unit_test(classes_are_planned),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(a_small_limit_is_used),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(failures_undo_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
