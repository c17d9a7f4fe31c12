// SPDX-License-Identifier: Apache-2.0
/* Classes that are learned from the sizes that come (zs/learn.c): they save what they
 * should, do no harm to other data, and old classes end as their objects are freed. */
#include "support/fixture.h"
#include "zs/direct.h"
#include "zs/zs.h"

#include <pthread.h>
#include <stdlib.h>

enum { BLOCKS = 128, ORDER = 6, LIMIT = 8192, PAGE = 4096, MANY = 12000 };
enum { EARLY = 2000 }; /* objects: it has learned by then */

static struct kl_zs *open_pool(struct fixture *f, unsigned flags)
{
    struct kl_zs_config config = {.size = sizeof(config),
                                  .name = "learn",
                                  .limit_frames = LIMIT,
                                  .typical_bytes = PAGE,
                                  .flags = flags};
    struct kl_zs *pool;

    fixture_open(f, BLOCKS, ORDER, 0);
    assert_int_equal(kl_zs_create(f->zone, &config, &pool), 0);
    return pool;
}

static void close_pool(struct fixture *f, struct kl_zs *pool)
{
    assert_zs_ok(pool);
    assert_int_equal(kl_zs_destroy(pool), 0);
    fixture_close(f);
}

static struct kl_zs_stats stats(struct kl_zs *pool)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(pool, &s);
    return s;
}

static uint32_t narrow(struct rng *rng)
{
    return 880 + rng_below(rng, 61) + rng_below(rng, 61) + rng_below(rng, 61) + rng_below(rng, 61);
}

static uint32_t wide(struct rng *rng)
{
    return 1 + rng_below(rng, PAGE);
}

/* All of one size: that for which the first table is worst. */
static uint32_t record;

static uint32_t records(struct rng *rng)
{
    (void)rng;
    return record;
}

static void choose_record(struct kl_zs *pool)
{
    uint32_t most = 0;

    for (uint32_t size = 800; size <= 1200; size += ZS_ALIGN) {
        const struct zs_class *class = zs_class_for(pool, size);
        uint32_t price = class->chain * PAGE * 1000 / class->objects / (size / 8);

        if (price > most)
            record = size;
        most = price > most ? price : most;
    }
}

struct objects {
    uint32_t n;
    uint32_t size[MANY];
    kl_handle handle[MANY];
};

static void add(struct kl_zs *pool, struct objects *o, uint32_t size)
{
    char bytes[PAGE];

    fill_bytes(bytes, size, o->n);
    assert_int_equal(kl_zs_malloc(pool, size, 0, &o->handle[o->n]), 0);
    assert_int_equal(kl_zs_write(pool, o->handle[o->n], 0, bytes, size), 0);
    o->size[o->n++] = size;
}

static void assert_there(struct kl_zs *pool, const struct objects *o, uint32_t from)
{
    char bytes[PAGE];

    for (uint32_t i = from; i < o->n; i++) {
        assert_int_equal(kl_zs_read(pool, o->handle[i], 0, bytes, o->size[i]), 0);
        assert_true(bytes_are(bytes, o->size[i], i));
    }
}

static struct objects *fill(struct kl_zs *pool, uint32_t (*size)(struct rng *), uint32_t n)
{
    struct objects *o = calloc(1, sizeof(*o));
    struct rng rng = rng_new(7);

    assert_non_null(o);
    while (o->n < n)
        add(pool, o, size(&rng));
    return o;
}

static void end(struct kl_zs *pool, struct objects *o, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        assert_int_equal(kl_zs_free(pool, o->handle[i]), 0);
}

struct row {
    uint32_t classes, retired, zspages;
    uint64_t objects; /* of retired ones, as the last */
};

static struct row look_at_classes(struct kl_zs *pool)
{
    struct kl_zs_class_stats c = {.size = sizeof(c)};
    struct row row = {0};

    for (; kl_zs_get_class_stats(pool, row.classes, &c) == 0; row.classes++) {
        if (!c.retired)
            continue;
        row.retired++;
        row.zspages += c.zspages;
        row.objects += c.objects;
    }
    return row;
}

static void records_of_one_kind_are_learned(void **state)
{
    uint64_t frames[2];

    (void)state;
    for (unsigned fixed = 0; fixed < 2; fixed++) {
        struct fixture f;
        struct kl_zs *pool = open_pool(&f, fixed ? KL_ZS_FIXED_CLASSES : 0);
        uint32_t classes = stats(pool).classes, huge = stats(pool).huge_class_size;
        struct objects *o = fill(pool, narrow, MANY);

        frames[fixed] = stats(pool).frames;
        assert_int_equal(stats(pool).learned, !fixed);
        assert_int_equal(stats(pool).learned_saving_bytes > 0, !fixed);
        assert_int_equal(stats(pool).classes > classes, !fixed);
        assert_int_equal(stats(pool).huge_class_size, huge);
        assert_null(atomic_load(&pool->seen));
        assert_there(pool, o, 0);
        close_pool(&f, pool);
        free(o);
    }
    assert_true(frames[0] * 1000 < frames[1] * 995);
}

static void sizes_of_all_kinds_teach_nothing(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    uint32_t classes = stats(pool).classes;
    struct objects *o = fill(pool, wide, 4000);

    (void)state;
    assert_null(atomic_load(&pool->seen)); /* it has looked */
    assert_int_equal(stats(pool).learned, 0);
    assert_int_equal(stats(pool).learned_saving_bytes, 0);
    assert_int_equal(stats(pool).classes, classes);
    assert_int_equal(look_at_classes(pool).retired, 0);
    close_pool(&f, pool);
    free(o);
}

static uint32_t a_few_records(struct rng *rng)
{
    return rng_below(rng, 5) == 0 ? record : wide(rng);
}

/* There is something to save, but it is less than half a per cent. */
static void little_is_not_worth_it(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    struct objects *o;

    (void)state;
    choose_record(pool);
    o = fill(pool, a_few_records, 4000);
    assert_null(atomic_load(&pool->seen));
    assert_int_equal(stats(pool).learned, 0);
    close_pool(&f, pool);
    free(o);
}

/* Classes full of holes would have to be packed if they retired. */
static void holes_are_not_worth_it(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    struct objects *o;

    (void)state;
    choose_record(pool);
    atomic_store(&pool->learn_at, UINT64_MAX);
    o = fill(pool, records, 4000);
    for (uint32_t i = 0; i < o->n; i += 2)
        assert_int_equal(kl_zs_free(pool, o->handle[i]), 0);
    atomic_store(&pool->learn_at, 1);
    zs_learn(pool);
    assert_null(atomic_load(&pool->seen));
    assert_true(atomic_load(&pool->learn_saving) > 0);
    assert_int_equal(stats(pool).learned, 0);
    close_pool(&f, pool);
    free(o);
}

/* What it learned was true for a while only. */
static void other_sizes_lose_little(void **state)
{
    uint64_t frames[2];

    (void)state;
    for (unsigned fixed = 0; fixed < 2; fixed++) {
        struct fixture f;
        struct kl_zs *pool = open_pool(&f, fixed ? KL_ZS_FIXED_CLASSES : 0);
        struct objects *first = fill(pool, narrow, EARLY), *then;

        assert_int_equal(stats(pool).learned, !fixed);
        end(pool, first, 0, first->n);
        then = fill(pool, wide, 4000);
        kl_zs_compact(pool, 0);
        frames[fixed] = stats(pool).frames;
        assert_there(pool, then, 0);
        close_pool(&f, pool);
        free(first);
        free(then);
    }
    assert_true(frames[0] * 1000 <=
                frames[1] * 1010); /* 1.002; 1.05 and more without old classes */
}

/* What is freed of them is not kept at hand. */
static void assert_retired_keep_nothing(const struct kl_zs *pool)
{
    for (uint32_t i = 0; pool->kept && i < pool->nclasses; i++)
        assert_true(pool->classes[i].retired == (pool->classes[i].keeps == 0));
}

static void old_classes_end_as_they_are_freed(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    struct objects *o;
    struct row row;
    uint64_t had;

    (void)state;
    choose_record(pool);
    o = fill(pool, records, 4000);
    row = look_at_classes(pool);
    had = row.objects;
    assert_int_equal(row.retired, 1);
    assert_retired_keep_nothing(pool);
    assert_int_equal(stats(pool).learned, 1);
    assert_true(row.objects > 0 && row.objects < EARLY);
    for (uint32_t i = 0; i < EARLY; i += 2)
        assert_int_equal(kl_zs_free(pool, o->handle[i]), 0);
    assert_int_equal(stats(pool).learned_moved_bytes, 0);
    assert_true(kl_zs_compact(pool, 0) > 0);
    row = look_at_classes(pool);
    assert_true(row.objects > 0 && row.objects <= had - had / 3);
    assert_true(stats(pool).learned_moved_bytes > 0);
    assert_true(stats(pool).learned_moved_bytes <= had * 1250);
    for (uint32_t i = 1; i < EARLY; i += 2) {
        char bytes[PAGE];

        assert_int_equal(kl_zs_read(pool, o->handle[i], 0, bytes, o->size[i]), 0);
        assert_true(bytes_are(bytes, o->size[i], i));
        assert_int_equal(kl_zs_free(pool, o->handle[i]), 0);
    }
    kl_zs_compact(pool, 0);
    row = look_at_classes(pool);
    assert_int_equal(row.objects, 0);
    assert_int_equal(row.zspages, 0);
    assert_there(pool, o, EARLY);
    assert_retired_keep_nothing(pool);
    close_pool(&f, pool);
    free(o);
}

/* Who must not wait does not plan. */
static void not_with_nowait(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    struct rng rng = rng_new(7);
    kl_handle h;

    (void)state;
    for (unsigned i = 0; i < EARLY; i++)
        assert_int_equal(kl_zs_malloc(pool, narrow(&rng), KL_NOWAIT, &h), 0);
    assert_true(atomic_load(&pool->frames) > atomic_load(&pool->learn_at));
    assert_int_equal(stats(pool).learned, 0);
    while (!stats(pool).learned)
        assert_int_equal(kl_zs_malloc(pool, narrow(&rng), 0, &h), 0);
    close_pool(&f, pool);
}

/* Rather in a class that has retired than not at all. */
static void a_full_pool_uses_retired_classes(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    struct objects *o;
    kl_handle h;
    uint64_t had;
    int err;

    (void)state;
    choose_record(pool);
    o = fill(pool, records, EARLY);
    assert_int_equal(stats(pool).learned, 1);
    while ((err = kl_zs_malloc(pool, record, 0, &h)) == 0)
        continue;
    assert_int_equal(err, -KL_ENOSPC);      /* nor is there room with larger ones */
    for (uint32_t i = 0; i < EARLY; i += 4) /* most of them from before it learned */
        assert_int_equal(kl_zs_free(pool, o->handle[i]), 0);
    had = look_at_classes(pool).objects;
    while (kl_zs_malloc(pool, record, 0, &h) == 0)
        continue;
    assert_true(look_at_classes(pool).objects > had);
    close_pool(&f, pool);
    free(o);
}

static void without_memory_it_stays_as_it_is(void **state)
{
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);
    uint32_t classes = stats(pool).classes;
    struct objects *o;

    (void)state;
    atomic_store(&pool->learn_at, UINT64_MAX); /* when we say so */
    o = fill(pool, narrow, 1500);
    atomic_store(&pool->learn_at, 100);
    fault_set(FAULT_META, 1);
    zs_learn(pool);
    fault_set(FAULT_META, 0);
    assert_int_equal(stats(pool).learned, 0);
    assert_int_equal(stats(pool).classes, classes);
    assert_int_equal(atomic_load(&pool->learn_at), 200); /* later, perhaps */
    assert_zs_ok(pool);

    atomic_store(&pool->learn_at, UINT64_MAX);
    while (atomic_load(&pool->frames) <= LIMIT / 8)
        add(pool, o, 1000);
    atomic_store(&pool->learn_at, LIMIT / 8 + 1); /* too late to try again */
    fault_set(FAULT_META, 1);
    zs_learn(pool);
    fault_set(FAULT_META, 0);
    assert_int_equal(stats(pool).learned, 0);
    assert_null(atomic_load(&pool->seen));
    assert_int_equal(atomic_load(&pool->learn_at), UINT64_MAX);
    assert_there(pool, o, 0);
    close_pool(&f, pool);
    free(o);
}

/* Each time that memory for metadata is asked for from when it is due until it has learned:
 * malloc goes on, or says so, and all is as it was. */
static void each_refusal_on_the_way(void **state)
{
    unsigned refused = 0;

    (void)state;
    for (int nth = 1;; nth++) {
        struct fixture f;
        struct kl_zs *pool = open_pool(&f, 0);
        uint32_t classes = stats(pool).classes;
        struct objects *o;
        kl_handle h;
        bool learned;

        atomic_store(&pool->learn_at, UINT64_MAX);
        o = fill(pool, narrow, 1500);
        atomic_store(&pool->learn_at, 100); /* the next that grows */
        fault_set(FAULT_META, nth);
        while (atomic_load(&pool->learn_at) == 100) {
            int err = kl_zs_malloc(pool, 1000, 0, &h);

            assert_true(err == 0 || err == -KL_ENOMEM);
        }
        learned = stats(pool).learned;
        fault_set(FAULT_META, 0);
        assert_int_equal(stats(pool).classes > classes, learned);
        assert_true(learned || look_at_classes(pool).retired == 0);
        assert_int_equal(atomic_load(&pool->seen) == NULL, learned);
        assert_int_equal(atomic_load(&pool->learn_at), learned ? UINT64_MAX : 200);
        assert_zs_ok(pool);
        assert_zone_ok(f.zone);
        while (!stats(pool).learned)
            add(pool, o, 1000); /* the second time it goes well */
        assert_there(pool, o, 0);
        close_pool(&f, pool);
        free(o);
        if (learned && nth > 8)
            break;
        refused += !learned;
    }
    assert_int_equal(refused, 1); /* there is one that it needs */
}

/* Whatever fails at creation, a pool that came to be works, and tells no one. */
static void without_counts_it_learns_nothing(void **state)
{
    unsigned deaf = 0;

    (void)state;
    for (int nth = 1; nth < 12; nth++) {
        struct kl_zs_config config = {
            .size = sizeof(config), .limit_frames = LIMIT, .typical_bytes = PAGE};
        struct objects *o;
        struct kl_zs *pool;
        struct fixture f;
        int err;

        fixture_open(&f, BLOCKS, ORDER, 0);
        fault_set(FAULT_META, nth);
        err = kl_zs_create(f.zone, &config, &pool);
        fault_set(FAULT_META, 0);
        if (err) {
            assert_int_equal(err, -KL_ENOMEM);
            fixture_close(&f);
            continue;
        }
        deaf += !atomic_load(&pool->seen);
        o = fill(pool, narrow, atomic_load(&pool->seen) ? 10 : EARLY);
        assert_int_equal(stats(pool).learned, 0);
        close_pool(&f, pool);
        free(o);
    }
    assert_int_equal(deaf, 1);
}

/* --- many threads --------------------------------------------------------------- */

enum { THREADS = 3, EACH = 1500 };

struct worker {
    struct kl_zs *pool;
    uint64_t seed;
    pthread_barrier_t *full;
};

static void *allocate(void *arg)
{
    struct worker *w = arg;
    struct rng rng = rng_new(w->seed);
    kl_handle handle[EACH], other;
    uint32_t size[EACH];
    char bytes[PAGE];

    for (uint32_t i = 0; i < EACH; i++) {
        size[i] = narrow(&rng);
        fill_bytes(bytes, size[i], i + (w->seed << 32));
        if (kl_zs_malloc(w->pool, size[i], 0, &handle[i]) ||
            kl_zs_write(w->pool, handle[i], 0, bytes, size[i]))
            abort();
        if (kl_zs_malloc(w->pool, 2000, 0, &other) || kl_zs_free(w->pool, other))
            abort();
    }
    pthread_barrier_wait(w->full);
    for (uint32_t i = 0; i < EACH; i++) {
        if (kl_zs_read(w->pool, handle[i], 0, bytes, size[i]) ||
            !bytes_are(bytes, size[i], i + (w->seed << 32)) || kl_zs_free(w->pool, handle[i]))
            abort();
    }
    return NULL;
}

static void *compact(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < 200; i++)
        kl_zs_compact(w->pool, 50);
    return NULL;
}

static void learned_while_others_allocate(void **state)
{
    struct worker worker[THREADS + 1];
    pthread_t thread[THREADS + 1];
    pthread_barrier_t full;
    struct fixture f;
    struct kl_zs *pool = open_pool(&f, 0);

    (void)state;
    assert_int_equal(pthread_barrier_init(&full, NULL, THREADS), 0);
    for (unsigned i = 0; i <= THREADS; i++) {
        worker[i] = (struct worker){pool, i + 1, &full};
        assert_int_equal(
            pthread_create(&thread[i], NULL, i < THREADS ? allocate : compact, &worker[i]), 0);
    }
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&full);
    assert_int_equal(stats(pool).objects, 0);
    assert_null(atomic_load(&pool->seen));
    assert_int_equal(stats(pool).learned, 1);
    close_pool(&f, pool);
}

/* --- pools without handles ------------------------------------------------------- */

static void direct_pools_learn(void **state)
{
    struct kl_zs_config config = {
        .size = sizeof(config), .limit_frames = LIMIT, .typical_bytes = PAGE};
    kli_word *table = calloc(MANY, sizeof(*table));
    uint32_t *size = calloc(MANY, sizeof(*size));
    char bytes[PAGE];
    struct kl_zs *pool;
    struct fixture f;
    uint64_t name;

    (void)state;
    assert_true(table && size);
    fixture_open(&f, BLOCKS, ORDER, 0);
    assert_int_equal(zs_create_direct(f.zone, &config, table, MANY, &pool), 0);
    choose_record(pool);
    for (uint32_t i = 0; i < 3000; i++) {
        size[i] = record;
        fill_bytes(bytes, size[i], i);
        assert_int_equal(zs_direct_put(pool, i, bytes, size[i], 0, &name), 0);
        atomic_store(&table[i], name);
    }
    assert_int_equal(stats(pool).learned, 1);
    for (uint32_t i = 0; i < 3000; i += 3)
        zs_direct_free(pool, i, atomic_exchange(&table[i], 0));
    kl_zs_compact(pool, 0);
    assert_true(stats(pool).learned_moved_bytes > 0);
    for (uint32_t i = 0; i < 3000; i++) {
        if (i % 3 == 0)
            continue;
        assert_int_equal(zs_direct_get(pool, i, atomic_load(&table[i]), bytes, size[i]), 0);
        assert_true(bytes_are(bytes, size[i], i));
    }
    close_pool(&f, pool);
    free(table);
    free(size);
}

static void flags_are_checked(void **state)
{
    struct kl_zs_config config = {.size = sizeof(config), .flags = 2};
    struct fixture f;
    struct kl_zs *pool;

    (void)state;
    fixture_open(&f, 2, ORDER, 0);
    assert_int_equal(kl_zs_create(f.zone, &config, &pool), -KL_EINVAL);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_one_kind_are_learned),
        cmocka_unit_test(sizes_of_all_kinds_teach_nothing),
        cmocka_unit_test(little_is_not_worth_it),
        cmocka_unit_test(holes_are_not_worth_it),
        cmocka_unit_test(other_sizes_lose_little),
        cmocka_unit_test(old_classes_end_as_they_are_freed),
        cmocka_unit_test(not_with_nowait),
        cmocka_unit_test(a_full_pool_uses_retired_classes),
        cmocka_unit_test(without_memory_it_stays_as_it_is),
        cmocka_unit_test(each_refusal_on_the_way),
        cmocka_unit_test(without_counts_it_learns_nothing),
        cmocka_unit_test(learned_while_others_allocate),
        cmocka_unit_test(direct_pools_learn),
        cmocka_unit_test(flags_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
