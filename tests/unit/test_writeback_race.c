// SPDX-License-Identifier: Apache-2.0
/* Write-back with everything else at once: readers, writers of wholes and parts,
 * discards, ticks, object compaction, frames that move, the zone's steps, a target that
 * answers in any order and fails.  Each thread knows what its blocks must be. */
#include "support/shake.h"
#include "support/target.h"

#include <string.h>

enum { BLOCK = 4096, THREADS = 3, EACH = 300, OPS = 4000, ROOM = 1 << 20 };

static struct fixture f;
static struct kl_store *store;
static struct fake_target fake;
static atomic_bool stop;

/* What a block of this thread is: 0: zeroes. */
static void make(char *buf, uint64_t block, uint64_t version)
{
    memset(buf, 0, BLOCK);
    if (version == 0)
        return;
    memset(buf, (int)(version % 255), BLOCK);
    fill_bytes(buf, block % 3 ? BLOCK / 2 : BLOCK, block * 100000 + version);
}

static void check(const char *want, uint64_t block, uint32_t at, uint32_t n)
{
    char got[BLOCK];
    int err = kl_store_read(store, block, at, got, n);

    if (err || memcmp(got, want + at, n) != 0)
        fail_msg("block %u: %s", (unsigned)block, err ? kl_err_name(err) : "other data");
}

static void *user(void *arg)
{
    uint64_t me = (uint64_t)(uintptr_t)arg;
    char(*want)[BLOCK] = calloc(EACH, BLOCK);
    struct rng rng = rng_new(me);
    char part[BLOCK];

    for (unsigned i = 0; i < OPS; i++) {
        uint32_t which = rng_below(&rng, EACH), at = rng_below(&rng, BLOCK);
        uint32_t n = rng_below(&rng, BLOCK - at) + 1, op = rng_below(&rng, 10);
        uint64_t block = which * THREADS + me;
        int err = 0;

        if (op < 4) {
            check(want[which], block, op ? 0 : at, op ? BLOCK : n);
            continue;
        }
        memcpy(part, want[which], BLOCK);
        if (op < 7) {
            make(part, block, i + 1);
            err = kl_store_write(store, block, 0, part, BLOCK);
        } else if (op < 9) {
            fill_bytes(part + at, n, i);
            err = kl_store_write(store, block, at, part + at, n);
        } else {
            at = i % 2 ? 0 : at;
            n = i % 2 ? BLOCK : n;
            memset(part + at, 0, n);
            err = kl_store_discard(store, block, at, n);
        }
        if (err == 0)
            memcpy(want[which], part, BLOCK);
        else if (err != -KL_ENOSPC)
            fail_msg("block %u: %s", (unsigned)block, kl_err_name(err));
    }
    for (unsigned i = 0; i < EACH; i++)
        check(want[i], i * THREADS + me, 0, BLOCK);
    free(want);
    return NULL;
}

/* Ticks, compaction, moves; and all blocks are read, whatever they are. */
static void *meddler(void *arg)
{
    struct kl_report report = {.size = sizeof(report)};
    char buf[BLOCK];

    (void)arg;
    for (uint32_t i = 0; !atomic_load(&stop); i++) {
        kl_store_age(store, 100);
        kl_store_compact(store, 64);
        shake_block(f.zone, i % kl_zone_blocks(f.zone), KL_ASYNC, &report);
        if (kl_store_read(store, (i * 7) % (THREADS * EACH), 0, buf, BLOCK))
            fail_msg("a read failed");
    }
    return NULL;
}

static void run(unsigned flags, unsigned mode)
{
    struct kl_codec c;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = THREADS * EACH,
                                     .block_bytes = BLOCK,
                                     .codec = &c,
                                     .limit_bytes = ROOM};
    struct kl_writeback_config back = {.size = sizeof(back),
                                       .target = &fake.target,
                                       .start_percent = 50,
                                       .stop_percent = 40,
                                       .age = 1,
                                       .flags = KL_WRITEBACK_RAW,
                                       .timeout_ns = 60000000000};
    struct kl_writeback_stats stats = {.size = sizeof(stats)};
    struct kl_linux_worker_config wc = {.size = sizeof(wc), .percent = 100};
    struct kl_linux_worker *worker;
    pthread_t t[THREADS + 1];

    fixture_open(&f, 64, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    fake_target_open(&fake, 16 << 20, flags);
    atomic_store(&fake.fail_writes, mode ? 20 : 0);
    atomic_store(&fake.give_up, mode ? 1 : 0);
    atomic_store(&fake.fail_reads, mode ? 1 : 0);
    atomic_store(&fake.error, mode ? -KL_EAGAIN : 0);
    assert_int_equal(kl_store_writeback_start(store, &back), 0);
    assert_int_equal(kl_linux_worker_create(f.zone, &wc, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, user, (void *)i);
    pthread_create(&t[THREADS], NULL, meddler, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    atomic_store(&stop, true);
    pthread_join(t[THREADS], NULL);
    kl_store_writeback_stats(store, &stats);
    assert_true(stats.written > 0 && stats.read > 0 && stats.read_back > 0);
    assert_int_equal(stats.failed_reads, 0);
    assert_true(mode == 0 || stats.failed_writes > 0);
    kl_linux_worker_destroy(worker);
    while (stats.pending > 0) {
        kl_store_writeback(store, 1);
        kl_store_writeback_stats(store, &stats);
    }
    assert_store_ok(store);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(&f);
    fake_target_close(&fake);
}

static void a_good_target(void **state)
{
    (void)state;
    run(KL_TARGET_CAN_TRIM, 0);
}

static void one_that_needs_flushes(void **state)
{
    (void)state;
    run(KL_TARGET_NEEDS_FLUSH, 0);
}

static void one_that_fails(void **state)
{
    (void)state;
    run(KL_TARGET_NEEDS_FLUSH | KL_TARGET_CAN_TRIM, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_target),
        cmocka_unit_test(one_that_needs_flushes),
        cmocka_unit_test(one_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
