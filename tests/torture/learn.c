// SPDX-License-Identifier: Apache-2.0
/* Pools that learn their classes while everything else goes on, round after round for
 * KLOTSKI_TORTURE_SECONDS (default 5); in each the pool and the store are new:
 *
 *   keepers   two threads allocate objects whose sizes are much alike, write, read, pin
 *             and free them, more and more of them
 *   writers   two threads write blocks of a store that compress to much the same, read
 *             and discard them
 *   mixers    two threads compact both, move frames, take blocks and lend them, step; in
 *             every second round memory for metadata is refused now and then
 *
 * Each content is checked whenever it is looked at, and all of it at the end of a round,
 * when everything is recounted. */
#include "support/crash.h"
#include "support/shake.h"
#include "support/torture.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { ZONE_BLOCKS = 96, BLOCK_ORDER = 6, LIMIT_FRAMES = 4096, BLOCK = 4096 };
enum { OBJECTS = 1200, BLOCKS = 2400, STEPS = 6000, SIDES = 2, THREADS = 3 * SIDES };

static struct fixture f;
static struct kl_zs *pool;
static struct kl_store *store;
static atomic_bool over;
static bool faults;
static _Atomic uint64_t moved, given;
static unsigned pools, stores; /* that have learned */

struct object {
    kl_handle handle;
    uint32_t size; /* 0: none */
    uint64_t seed;
};
static struct object object[SIDES][OBJECTS];
static uint64_t seed_of[BLOCKS]; /* 0: zero */

/* What may happen to a store where memory is refused. */
static bool is_refusal(int err)
{
    return (err == -KL_ENOMEM || err == -KL_ENOSPC) && faults;
}

/* --- objects ----------------------------------------------------------------------- */

static void object_new(struct object *o, struct rng *rng, char *buf)
{
    uint32_t size = 900 + rng_below(rng, 120) + rng_below(rng, 120);
    int err = kl_zs_malloc(pool, size, rng_below(rng, 8) ? 0 : KL_NOWAIT, &o->handle);

    torture_expect(err == 0 || err == -KL_ENOMEM, "a malloc failed oddly"); /* KL_NOWAIT, too */
    if (err)
        return;
    o->size = size;
    o->seed = rng->state;
    fill_bytes(buf, size, o->seed);
    err = kl_zs_write(pool, o->handle, 0, buf, size);
    torture_expect(err == 0, "a write failed");
}

static void object_check(const struct object *o, char *buf)
{
    torture_expect(kl_zs_read(pool, o->handle, 0, buf, o->size) == 0, "a read failed");
    torture_expect(bytes_are(buf, o->size, o->seed), "an object is wrong");
}

static void object_free(struct object *o)
{
    torture_expect(kl_zs_free(pool, o->handle) == 0, "a free failed");
    torture_expect(kl_zs_free(pool, o->handle) == -KL_ESTALE, "a double free went through");
    o->size = 0;
}

/* It is freed while it is pinned: the end of the pin ends it. */
static void object_pin(struct object *o)
{
    struct kl_zs_pin pin;

    if (kl_zs_begin(pool, o->handle, &pin) != 0) {
        torture_expect(false, "a begin failed");
        return;
    }
    torture_expect(pin.bytes >= o->size, "a class is too small for its object");
    object_free(o);
    kl_zs_end(&pin);
}

static void *keeper(void *arg)
{
    unsigned side = (unsigned)(uintptr_t)arg;
    struct rng rng = rng_new(1 + side);
    char buf[BLOCK];

    for (unsigned i = 0; i < STEPS; i++) {
        struct object *o = &object[side][rng_below(&rng, OBJECTS)];
        unsigned what = rng_below(&rng, 16);

        if (o->size == 0)
            object_new(o, &rng, buf);
        else if (what == 0)
            object_pin(o);
        else if (what < 4)
            object_free(o);
        else
            object_check(o, buf);
    }
    return NULL;
}

/* --- blocks ------------------------------------------------------------------------ */

/* Two thirds of it and more is zero, the rest does not compress. */
static void block_make(char *buf, uint64_t seed)
{
    memset(buf, 0, BLOCK);
    if (seed)
        fill_bytes(buf, 1000 + seed % 32, seed);
}

static void block_check(unsigned block, char *buf)
{
    char want[BLOCK];
    int err = kl_store_read(store, block, 0, buf, BLOCK);

    torture_expect(err == 0 || (err == -KL_ENOMEM && faults), "a block can't be read");
    block_make(want, seed_of[block]);
    torture_expect(err || memcmp(buf, want, BLOCK) == 0, "a block is wrong");
}

static void block_write(unsigned block, uint64_t seed, char *buf)
{
    int err;

    block_make(buf, seed);
    err = seed ? kl_store_write(store, block, 0, buf, BLOCK)
               : kl_store_discard(store, block, 0, BLOCK);
    torture_expect(err == 0 || is_refusal(err), "a block can't be written");
    if (!err)
        seed_of[block] = seed;
}

static void *writer(void *arg)
{
    unsigned side = (unsigned)(uintptr_t)arg;
    struct rng rng = rng_new(11 + side);
    char buf[BLOCK];

    for (unsigned i = 0; i < STEPS; i++) {
        unsigned block = side + SIDES * rng_below(&rng, BLOCKS / SIDES);
        unsigned what = rng_below(&rng, 8);

        if (what < 5)
            block_write(block, what ? rng.state | 1 : 0, buf);
        else
            block_check(block, buf);
    }
    return NULL;
}

/* --- in their way ------------------------------------------------------------------ */

static void take_and_lend(struct rng *rng)
{
    struct kl_report r = {.size = sizeof(r)};
    uint32_t n = 1 + rng_below(rng, ZONE_BLOCKS / 8);

    if (kl_zone_give_back(f.zone, n, (enum kl_mode)rng_below(rng, 3), &r) != 0)
        return;
    atomic_fetch_add(&given, n);
    torture_expect(kl_zone_lend(f.zone, n) == 0, "what was taken can't be lent");
}

static void *mixer(void *arg)
{
    struct rng rng = rng_new(21 + (uintptr_t)arg);
    struct timespec nap = {.tv_nsec = 100000};

    while (!atomic_load(&over)) {
        struct kl_step step = {.size = sizeof(step), .budget = 100, .flags = KL_STEP_WANTED};
        struct kl_report r = {.size = sizeof(r)};

        switch (rng_below(&rng, 6)) {
        case 0:
            (void)kl_zs_compact(pool, rng_below(&rng, 300));
            break;
        case 1:
            (void)kl_store_compact(store, rng_below(&rng, 300));
            break;
        case 2:
            take_and_lend(&rng);
            break;
        case 3:
            (void)kl_zone_step(f.zone, &step, NULL);
            break;
        default:
            shake_block(f.zone, rng_below(&rng, ZONE_BLOCKS), (enum kl_mode)rng_below(&rng, 3), &r);
            atomic_fetch_add(&moved, r.migrated);
            break;
        }
        if (faults)
            fault_set(FAULT_META, 1 + (int)rng_below(&rng, 8));
        nanosleep(&nap, NULL);
    }
    return NULL;
}

/* --- rounds ------------------------------------------------------------------------ */

static void open_round(void)
{
    struct kl_codec codec;
    struct kl_zs_config zs = {
        .size = sizeof(zs), .limit_frames = LIMIT_FRAMES, .typical_bytes = BLOCK};
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = BLOCKS,
                                     .block_bytes = BLOCK,
                                     .limit_bytes = (uint64_t)LIMIT_FRAMES * 4096,
                                     .codec = &codec};

    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_zs_create(f.zone, &zs, &pool), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    memset(object, 0, sizeof(object));
    memset(seed_of, 0, sizeof(seed_of));
}

static bool has_learned(struct kl_zs *zs)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(zs, &s);
    return s.learned;
}

static void recount(void)
{
    assert_zs_ok(pool);
    assert_store_ok(store);
    assert_zone_ok(f.zone);
}

static void close_round(void)
{
    struct kl_zs_stats s = {.size = sizeof(s)};
    char buf[BLOCK];

    fault_set(FAULT_META, 0);
    faults = false; /* from now on nothing may fail */
    recount();
    for (unsigned i = 0; i < BLOCKS; i++)
        block_check(i, buf);
    for (unsigned i = 0; i < SIDES * OBJECTS; i++) {
        struct object *o = &object[i % SIDES][i / SIDES];

        if (o->size == 0)
            continue;
        object_check(o, buf);
        object_free(o);
    }
    assert_true(kl_zs_compact(pool, 0) >= 0);
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.objects, 0);
    assert_int_equal(s.frames, 0); /* nothing lies in classes that have retired */
    recount();
    assert_int_equal(kl_zs_destroy(pool), 0);
    assert_int_equal(kl_store_destroy(store), 0);
}

static void play_round(void)
{
    static void *(*const body[])(void *) = {keeper, keeper, writer, writer, mixer, mixer};
    pthread_t thread[THREADS];

    atomic_store(&over, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, body[i], (void *)(i % SIDES)), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        if (i == 2 * SIDES)
            atomic_store(&over, true);
        pthread_join(thread[i], NULL);
    }
}

static const char *missing(void)
{
    const struct torture_count counts[] = {
        {pools, "no pool learned"},
        {stores, "no store learned"},
        {atomic_load(&moved), "nothing was moved"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static void learned_while_everything_goes_on(void **state)
{
    unsigned rounds = 0;

    (void)state;
    crash_watch();
    fixture_open(&f, ZONE_BLOCKS, BLOCK_ORDER, 0);
    while (torture_goes_on(missing)) {
        faults = rounds % 2;
        open_round();
        play_round();
        pools += has_learned(pool);
        stores += has_learned(kl_store_zs(store));
        close_round();
        rounds++;
    }
    print_message("# %u rounds, %u pools and %u stores learned, %llu moves, %llu blocks taken\n",
                  rounds, pools, stores, (unsigned long long)atomic_load(&moved),
                  (unsigned long long)atomic_load(&given));
    fixture_close(&f);
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(learned_while_everything_goes_on)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
