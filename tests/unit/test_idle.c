// SPDX-License-Identifier: Apache-2.0
/* Idle tracking: ages of blocks, ticks in pieces, an access in between. */
#include "support/fixture.h"

#include <pthread.h>
#include <string.h>

enum { BLOCK = 4096, BLOCKS = 5000, USED = 200 };

static struct kl_store *open_store(struct fixture *f)
{
    static char buf[BLOCK];
    struct kl_codec c;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = BLOCKS, .block_bytes = BLOCK, .codec = &c};
    struct kl_store *store;

    fixture_open(f, 64, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_create(f->zone, &config, &store), 0);
    for (uint64_t b = 0; b < USED; b++) {
        memset(buf, 0, BLOCK);
        fill_bytes(buf, b % 2 ? BLOCK : BLOCK / 2, b);
        assert_int_equal(kl_store_write(store, b, 0, buf, BLOCK), 0);
    }
    return store;
}

static void close_store(struct fixture *f, struct kl_store *store)
{
    assert_store_ok(store);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(f);
}

static void ages_rise_to_three(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);
    struct kl_store_stats s = {.size = sizeof(s)};
    static char buf[BLOCK];

    (void)state;
    for (int tick = 0; tick <= 5; tick++) {
        for (uint64_t b = 0; b < USED; b++)
            assert_int_equal(kl_store_block_age(store, b), tick < 3 ? tick : 3);
        assert_int_equal(kl_store_block_age(store, USED), 0); /* a hole */
        assert_int_equal(kl_store_age(store, 0), 0);
    }
    kl_store_get_stats(store, &s);
    assert_int_equal(s.ticks, 6);
    assert_int_equal(kl_store_block_age(store, BLOCKS), -KL_ERANGE);
    assert_int_equal(kl_store_read(store, 1, 100, buf, 10), 0);
    assert_int_equal(kl_store_read(store, 2, 0, buf, BLOCK), 0);
    assert_int_equal(kl_store_write(store, 3, 5, "x", 1), 0);
    assert_int_equal(kl_store_write(store, 4, 0, buf, BLOCK), 0);
    assert_int_equal(kl_store_discard(store, 5, 0, BLOCK), 0);
    for (uint64_t b = 0; b < USED; b++)
        assert_int_equal(kl_store_block_age(store, b), b >= 1 && b <= 5 ? 0 : 3);
    close_store(&f, store);
}

static void a_tick_goes_in_pieces(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);

    (void)state;
    for (uint64_t left = BLOCKS; left > 0;) {
        uint64_t next = left < 70 ? 0 : left - 70;

        assert_int_equal(kl_store_age(store, 70), next);
        left = next;
        for (uint64_t b = 0; b < USED; b++)
            assert_int_equal(kl_store_block_age(store, b), b < BLOCKS - left);
    }
    assert_int_equal(kl_store_age(store, 100), BLOCKS - 100);
    assert_int_equal(kl_store_block_age(store, 99), 2);
    assert_int_equal(kl_store_block_age(store, 100), 1);
    close_store(&f, store);
}

static void *read_all(void *arg)
{
    char buf[BLOCK];

    for (int i = 0; i < 20; i++) {
        for (uint64_t b = 0; b < USED; b++) {
            if (kl_store_read(arg, b, 0, buf, BLOCK) != 0 || !bytes_are(buf, BLOCK / 2, b))
                abort();
        }
    }
    return NULL;
}

/* Ages change under readers, and nothing else of the word does. */
static void readers_and_ticks(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);
    pthread_t reader;

    (void)state;
    pthread_create(&reader, NULL, read_all, store);
    for (int i = 0; i < 200; i++)
        kl_store_age(store, 1 + (uint64_t)i * 7);
    pthread_join(reader, NULL);
    read_all(store);
    for (uint64_t b = 0; b < USED; b++)
        assert_int_equal(kl_store_block_age(store, b), 0);
    close_store(&f, store);
}

static _Atomic uint64_t clock_ns;

static uint64_t our_now(void *ctx)
{
    (void)ctx;
    return atomic_load(&clock_ns);
}

static void use_our_clock(struct kl_host *host)
{
    host->now_ns = our_now;
}

/* Steps until nothing is wanted just now; when the next one is. */
static uint64_t steps(struct fixture *f, uint32_t budget)
{
    struct kl_step step = {.size = sizeof(step), .budget = budget, .flags = KL_STEP_WANTED};
    int n = 0;

    do {
        assert_true(n++ < 10000);
        assert_int_equal(kl_zone_step(f->zone, &step, NULL), -KL_EAGAIN);
    } while (step.again_ns == 0);
    return step.again_ns;
}

/* Ticks, and recompression after them, by the zone's steps alone. */
static void steps_do_it(void **state)
{
    enum { TICK = 1000000 };
    struct kl_codec lz4, zstd;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = BLOCKS,
                                     .block_bytes = BLOCK,
                                     .codec = &lz4,
                                     .recompress = &zstd,
                                     .idle_ns = TICK};
    struct kl_store_stats s = {.size = sizeof(s)};
    struct kl_store *store;
    struct fixture f;
    char buf[BLOCK];

    (void)state;
    atomic_store(&clock_ns, TICK * 7);
    fixture_host = use_our_clock;
    fixture_open(&f, 64, 6, 0);
    fixture_host = NULL;
    assert_int_equal(kl_linux_codec("lz4", 0, &lz4), 0);
    assert_int_equal(kl_linux_codec("zstd", 1, &zstd), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    for (uint64_t b = 0; b < USED; b++) { /* six bits of eight */
        fill_bytes(buf, BLOCK, b);
        for (int i = 0; i < BLOCK; i++)
            buf[i] = (char)(' ' + (buf[i] & 63));
        assert_int_equal(kl_store_write(store, b, 0, buf, BLOCK), 0);
    }
    assert_int_equal(steps(&f, 100), TICK);
    assert_int_equal(kl_store_block_age(store, 0), 0);
    atomic_fetch_add(&clock_ns, TICK / 4);
    assert_int_equal(steps(&f, 100), TICK - TICK / 4);
    for (int tick = 1; tick <= 4; tick++) {
        atomic_fetch_add(&clock_ns, TICK);
        assert_int_equal(kl_store_read(store, 5, 0, buf, BLOCK), 0);
        assert_int_equal(steps(&f, 1 + 50 * (uint32_t)tick), TICK);
        kl_store_get_stats(store, &s);
        assert_int_equal(s.ticks, tick);
        assert_int_equal(s.recompressions, tick < 2 ? 0 : USED - 1);
        assert_int_equal(kl_store_block_age(store, 5), 1);
        assert_int_equal(kl_store_block_age(store, 6), tick < 3 ? tick : 3);
    }
    close_store(&f, store);
}

/* A zone whose places for shrinkers run out says so, and nothing is left of the store. */
static void no_place_for_work(void **state)
{
    struct kl_codec lz4;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 1, .block_bytes = BLOCK, .codec = &lz4, .idle_ns = 1};
    struct kl_store *store[64];
    struct fixture f;
    int n = 0, err;

    (void)state;
    fixture_open(&f, 64, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &lz4), 0);
    while ((err = kl_store_create(f.zone, &config, &store[n])) == 0)
        n++;
    assert_int_equal(err, -KL_ENOSPC);
    assert_int_equal(n, 32); /* two shrinkers each */
    while (n > 0)
        assert_int_equal(kl_store_destroy(store[--n]), 0);
    for (n = 1; n < 20; n++) {
        fault_set(FAULT_META, n);
        err = kl_store_create(f.zone, &config, &store[0]);
        fault_set(FAULT_META, 0);
        assert_true(err == 0 || err == -KL_ENOMEM);
        if (err == 0)
            assert_int_equal(kl_store_destroy(store[0]), 0);
    }
    assert_int_equal(err, 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages_rise_to_three), cmocka_unit_test(a_tick_goes_in_pieces),
        cmocka_unit_test(readers_and_ticks),  cmocka_unit_test(steps_do_it),
        cmocka_unit_test(no_place_for_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
