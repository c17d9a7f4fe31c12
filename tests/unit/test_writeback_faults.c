// SPDX-License-Identifier: Apache-2.0
/* Write-back to targets that misbehave: late, failing, full, lying, silent, gone. */
#include "support/away.h"

#include <string.h>

/* Half of all requests fail: every block stays, here or there. */
static void failing(void **state)
{
    static const int errors[] = {-KL_EIO, -KL_ENOSPC, -KL_EAGAIN, -KL_ECANCELED};
    static struct away s;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        away_open(&s, 64 << 20, KL_TARGET_NEEDS_FLUSH, AWAY_DEFAULT);
        atomic_store(&s.fake.error, errors[i]);
        atomic_store(&s.fake.fail_writes, 50);
        atomic_store(&s.fake.fail_flushes, i % 2 ? 50 : 0);
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_int_equal(away_put(&s, b, 0), 0);
        assert_true(away_figures(&s).failed_writes > 0);
        assert_true((away_figures(&s).retired_bytes > 0) == (errors[i] == -KL_ECANCELED));
        atomic_store(&s.fake.fail_writes, 100);
        while (away_figures(&s).pending > 0)
            kl_store_writeback_now(s.store, 1, 3);
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_away(&s, b, 0);
        assert_int_equal(away_figures(&s).failed_reads, 0);
        away_close(&s);
    }
}

/* Writes that were given up land later, when others lie there or would. */
static void late_writes(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, 4 << 20, 0, AWAY_DEFAULT);
    atomic_store(&s.fake.give_up, 5);
    for (int round = 0; round < 3; round++) {
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_int_equal(away_put(&s, b, (uint64_t)round), 0);
        fake_target_land(&s.fake);
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_away(&s, b, (uint64_t)round);
    }
    assert_true(away_figures(&s).retired_bytes > 0);
    away_close(&s);
}

/* A target of no more than 256 KiB: so much more fits, and then no more does. */
static void full(void **state)
{
    static struct away s;
    uint64_t n = 0;

    (void)state;
    away_open(&s, 256 << 10, 0, AWAY_DEFAULT);
    while (away_put(&s, n, 0) == 0)
        n++;
    assert_int_equal(away_put(&s, n, 0), -KL_ENOSPC);
    assert_int_equal(away_figures(&s).state, KL_WRITEBACK_FULL);
    assert_true(n > (ROOM + (200 << 10)) / 2900);
    for (uint64_t b = 0; b < n; b++)
        assert_away(&s, b, 0);
    for (uint64_t b = 0; b < n; b += 2)
        assert_int_equal(kl_store_discard(s.store, b, 0, BLOCK), 0);
    assert_int_equal(away_put(&s, n, 0), 0);
    for (uint64_t b = 1; b < n; b += 2)
        assert_away(&s, b, 0);
    away_close(&s);
}

/* It lies once: read again.  It always does, or has lost what it took: an error. */
static void lies(void **state)
{
    static struct away s;
    char buf[BLOCK];

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    away_fill(&s, 100);
    assert_int_equal(kl_store_writeback_now(s.store, 60, 0), 60);
    atomic_store(&s.fake.lie, 10);
    for (uint64_t b = 0; b < 100; b++) {
        char want[BLOCK];
        int err = kl_store_read(s.store, b, 0, buf, BLOCK);

        away_make(want, b, 0);
        if (err == 0)
            assert_memory_equal(want, buf, BLOCK);
        else
            assert_int_equal(err, -KL_EIO); /* three lies in a row */
    }
    atomic_store(&s.fake.lie, 0);
    assert_true(kl_store_writeback_now(s.store, 100, 0) >= 97);
    atomic_store(&s.fake.lie, 100);
    assert_int_equal(kl_store_read(s.store, 5, 0, buf, BLOCK), -KL_EIO);
    assert_int_equal(kl_store_write(s.store, 6, 1, "a", 1), -KL_EIO);
    atomic_store(&s.fake.lie, 0);
    assert_away(&s, 5, 0); /* it is there still */
    assert_true(away_figures(&s).lost >= 2);
    memset(s.fake.bytes, 0, s.fake.target.bytes);
    assert_int_equal(kl_store_read(s.store, 7, 0, buf, BLOCK), -KL_EIO);
    assert_int_equal(away_put(&s, 7, 1), 0); /* can be written anew */
    assert_away(&s, 7, 1);
    away_close(&s);
}

/* Swapped places, an older version, another store's: none passes. */
static void stale_data(void **state)
{
    static struct away s;
    char buf[BLOCK];

    (void)state;
    away_open(&s, 40 * 4608, 0, AWAY_DEFAULT);
    for (uint64_t b = 0; b < 30; b += 3) /* noise: nine units each */
        assert_int_equal(away_put(&s, b, 0), 0);
    assert_int_equal(kl_store_writeback_now(s.store, 10, 0), 10);
    for (int i = 0; i < 9 * 512; i++) { /* the first two change places */
        unsigned char c = s.fake.bytes[i];
        s.fake.bytes[i] = s.fake.bytes[9 * 512 + i];
        s.fake.bytes[9 * 512 + i] = c;
    }
    assert_int_equal(kl_store_read(s.store, 0, 0, buf, BLOCK), -KL_EIO);
    assert_int_equal(kl_store_read(s.store, 3, 0, buf, BLOCK), -KL_EIO);
    /* Blocks are written until one comes to where it lay before; then writes are lost. */
    atomic_store(&s.fake.forget, true);
    for (uint64_t round = 1; round < 40; round++) {
        assert_int_equal(away_put(&s, 9, round), 0);
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
        assert_int_equal(kl_store_read(s.store, 9, 0, buf, BLOCK), -KL_EIO);
    }
    assert_away(&s, 6, 0);
    away_close(&s);
}

/* It does not answer: what is in memory is read and written, what is there is not, and
 * when it goes on all is well. */
static void stalled(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;
    char buf[BLOCK];
    int refused = 0;

    (void)state;
    config.timeout_ns = 50000000;
    away_open(&s, 8 << 20, 0, config);
    away_fill(&s, 100);
    while (away_figures(&s).blocks < 50)
        kl_store_writeback_now(s.store, 50 - away_figures(&s).blocks, 0);
    fake_target_stall(&s.fake, true);
    for (uint64_t b = 0; b < 100; b++) {
        if (kl_store_kind(s.store, b) != KL_STORE_WRITTEN)
            assert_away(&s, b, 0);
        else
            assert_int_equal(kl_store_read(s.store, b, 0, buf, BLOCK), -KL_ETIMEDOUT);
    }
    assert_int_equal(away_figures(&s).state, KL_WRITEBACK_STALLED);
    assert_true(away_figures(&s).failed_reads >= 50);
    assert_true(away_figures(&s).pending <= 20); /* they do not heap up */
    for (uint64_t b = 0; b < 100; b += 10)
        assert_int_equal(away_put(&s, b, 1), 0);
    assert_int_equal(kl_store_discard(s.store, 5, 0, BLOCK), 0);
    for (uint64_t b = 100; b < 1000; b++)
        refused += away_put(&s, b, 1) == -KL_ENOSPC;
    assert_true(refused > 0);
    fake_target_stall(&s.fake, false);
    while (away_figures(&s).pending > 0)
        kl_store_writeback(s.store, 1);
    for (uint64_t b = 0; b < 100; b++) {
        if (b != 5)
            assert_away_soon(&s, b, b % 10 == 0);
    }
    assert_int_equal(away_figures(&s).state, KL_WRITEBACK_OK);
    fake_target_stall(&s.fake, true); /* and an end with requests under way */
    assert_int_equal(kl_store_writeback_now(s.store, 10, 0), 0);
    assert_true(away_figures(&s).pending > 0);
    away_close(&s);
}

/* No connection for a while: reads wait for it, blocks stay. */
static void gone(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;
    char buf[BLOCK];

    (void)state;
    config.timeout_ns = 50000000;
    away_open(&s, 8 << 20, 0, config);
    away_fill(&s, 100);
    while (away_figures(&s).blocks < 50)
        kl_store_writeback_now(s.store, 1, 0);
    atomic_store(&s.fake.gone, true);
    assert_int_equal(away_figures(&s).state, KL_WRITEBACK_GONE);
    for (uint64_t b = 0; b < 100; b++) {
        if (kl_store_kind(s.store, b) != KL_STORE_WRITTEN) {
            assert_away(&s, b, 0);
            continue;
        }
        assert_int_equal(kl_store_read(s.store, b, 0, buf, BLOCK), -KL_ETIMEDOUT);
        break;
    }
    assert_int_equal(kl_store_writeback_now(s.store, 10, 0), 0);
    atomic_store(&s.fake.gone, false);
    for (uint64_t b = 0; b < 100; b++)
        assert_away_soon(&s, b, 0);
    away_close(&s);
}

/* No memory for buffers, no room for what comes back: nothing is lost. */
static void failures_undo_themselves(void **state)
{
    static struct away s;
    char buf[BLOCK];

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    away_fill(&s, 20);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_store_writeback_now(s.store, 5, 0), 0);
    fault_set(FAULT_META, 0);
    assert_store_ok(s.store);
    assert_int_equal(kl_store_writeback_now(s.store, 20, 0), 20);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_store_read(s.store, 3, 0, buf, BLOCK), -KL_ENOMEM);
    fault_set(FAULT_META, 0);
    fault_set(FAULT_POPULATE, 1); /* can't come back, but can be read */
    kl_zone_trim(s.f.zone, 0);
    assert_away(&s, 3, 0);
    fault_set(FAULT_POPULATE, 0);
    assert_store_ok(s.store);
    for (uint64_t b = 0; b < 20; b++)
        assert_away(&s, b, 0);
    away_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing),    cmocka_unit_test(late_writes),
        cmocka_unit_test(full),       cmocka_unit_test(lies),
        cmocka_unit_test(stale_data), cmocka_unit_test(stalled),
        cmocka_unit_test(gone),       cmocka_unit_test(failures_undo_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
