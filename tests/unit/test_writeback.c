// SPDX-License-Identifier: Apache-2.0
/* Write-back: what leaves memory, and what comes back. */
#include "support/away.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Four times as much as memory has room for; all of it is there. */
static void holds_more_than_its_limit(void **state)
{
    static struct scene s;

    (void)state;
    for (unsigned flags = 0; flags <= KL_TARGET_NEEDS_FLUSH; flags++) {
        scene_open(&s, 8 << 20, flags, AWAY_DEFAULT);
        for (uint64_t b = 0; b < BLOCKS; b++) {
            assert_int_equal(put(&s, b, 0), 0);
            assert_true(frame_bytes(&s) <= ROOM);
        }
        for (uint64_t b = 0; b < BLOCKS; b++) {
            assert_block(&s, b, 0);
            assert_true(frame_bytes(&s) <= ROOM);
        }
        assert_true(figures(&s).blocks > BLOCKS / 2);
        assert_true(figures(&s).waited > 0);
        assert_int_equal(figures(&s).failed_reads, 0);
        assert_int_equal(figures(&s).state, KL_WRITEBACK_OK);
        assert_true(!flags == !atomic_load(&s.fake.flushes));
        scene_close(&s);
    }
}

/* Overwritten, patched, discarded while they are away; and what they used is free. */
static void changes_of_blocks_that_are_away(void **state)
{
    static struct scene s;
    char want[BLOCK], got[BLOCK];

    (void)state;
    scene_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    fill(&s, 100);
    assert_int_equal(kl_store_writeback_now(s.store, 100, 0), 100);
    assert_int_equal(figures(&s).blocks, 100);
    assert_int_equal(frame_bytes(&s), 0);
    assert_true(figures(&s).used_bytes >= 100 * 2048);
    assert_int_equal(kl_store_kind(s.store, 7), KL_STORE_WRITTEN);
    assert_int_equal(put(&s, 1, 5), 0);
    assert_int_equal(kl_store_write(s.store, 2, 100, "klotski", 7), 0);
    assert_int_equal(kl_store_discard(s.store, 3, 0, BLOCK), 0);
    assert_int_equal(kl_store_discard(s.store, 4, 50, 60), 0);
    assert_int_equal(figures(&s).read, 2); /* the parts: a whole one is not read first */
    assert_int_equal(figures(&s).blocks, 96);
    assert_block(&s, 1, 5);
    make(want, 2, 0);
    memcpy(want + 100, "klotski", 7);
    assert_int_equal(kl_store_read(s.store, 2, 0, got, BLOCK), 0);
    assert_memory_equal(want, got, BLOCK);
    make(want, 4, 0);
    memset(want + 50, 0, 60);
    assert_int_equal(kl_store_read(s.store, 4, 0, got, BLOCK), 0);
    assert_memory_equal(want, got, BLOCK);
    assert_int_equal(kl_store_kind(s.store, 3), KL_STORE_HOLE);
    for (uint64_t b = 5; b < 100; b++)
        assert_block(&s, b, 0);
    assert_block(&s, 0, 0);
    assert_int_equal(figures(&s).read_back, 98); /* there was room for all */
    assert_int_equal(figures(&s).blocks, 0);
    assert_int_equal(figures(&s).used_bytes, 0);
    scene_close(&s);
}

static void step_until_away(struct scene *s, uint64_t blocks)
{
    for (unsigned i = 0; i < 3000 && figures(s).blocks < blocks; i++) {
        struct kl_step step = {.size = sizeof(step), .budget = 64, .flags = KL_STEP_WANTED};

        if (kl_zone_step(s->f.zone, &step, NULL) != -KL_EAGAIN || step.again_ns > 0)
            usleep(10000);
    }
}

/* With pressure of the machine: far below the share, and only when cold things shall go;
 * never what was used since the last tick. */
static void cold_blocks_go_under_pressure(void **state)
{
    static struct scene s;

    (void)state;
    scene_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    fill(&s, 100);
    assert_int_equal(kl_store_age(s.store, 0), 0);
    for (uint64_t b = 0; b < 10; b++)
        assert_block(&s, b, 0);
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_IDLE, 0), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct kl_step step = {.size = sizeof(step), .budget = 64, .flags = KL_STEP_WANTED};

        kl_zone_step(s.f.zone, &step, NULL);
    }
    assert_int_equal(figures(&s).blocks + figures(&s).pending, 0);
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_COLD, 0), 0);
    step_until_away(&s, 90);
    assert_int_equal(figures(&s).blocks, 90);
    settle(&s);
    assert_int_equal(figures(&s).blocks, 90); /* the others are in use */
    for (uint64_t b = 0; b < 10; b++)
        assert_true(kl_store_kind(s.store, b) != KL_STORE_WRITTEN);
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_NONE, 0), 0);
    for (uint64_t b = 0; b < 100; b++)
        assert_block(&s, b, 0);
    scene_close(&s);
}

/* What is free again goes back to the target, and nothing that is in use. */
static void trims(void **state)
{
    static struct scene s;

    (void)state;
    scene_open(&s, 8 << 20, KL_TARGET_CAN_TRIM, AWAY_DEFAULT);
    fill(&s, 300);
    assert_int_equal(kl_store_writeback_now(s.store, 300, 0), 300);
    settle(&s);
    assert_int_equal(atomic_load(&s.fake.trims), 0);
    for (uint64_t b = 0; b < 300; b += 1 + (b >= 200 && b % 2))
        assert_int_equal(kl_store_discard(s.store, b, 0, BLOCK), 0);
    settle(&s);
    settle(&s);
    assert_true(atomic_load(&s.fake.trims) >= 2); /* 200 blocks are 600 KB */
    assert_store_ok(s.store);
    for (uint64_t b = 202; b < 300; b += 2)
        assert_block(&s, b, 0);
    fill(&s, 300);
    assert_int_equal(kl_store_writeback_now(s.store, 300, 0), 300);
    for (uint64_t b = 0; b < 300; b++)
        assert_block(&s, b, 0);
    scene_close(&s);
}

/* Old ones first, noise before others when it shall be; none when frames are few. */
static void the_policy(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct scene s;

    (void)state;
    config.flags = KL_WRITEBACK_RAW;
    config.age = 2;
    scene_open(&s, 8 << 20, 0, config);
    fill(&s, 150);
    kl_store_age(s.store, 0);
    kl_store_age(s.store, 0);
    kl_store_age(s.store, 0);
    assert_int_equal(kl_store_writeback(s.store, 0), UINT64_MAX); /* below the share */
    assert_int_equal(figures(&s).written, 0);
    for (uint64_t b = 150; frame_bytes(&s) < ROOM * 85 / 100; b++)
        assert_int_equal(put(&s, b, 0), 0);
    settle(&s);
    assert_true(figures(&s).written > 0);
    kl_store_compact(s.store, 0);
    assert_true(frame_bytes(&s) <= ROOM * 72 / 100 && frame_bytes(&s) > ROOM / 2);
    for (uint64_t b = 150; b < BLOCKS; b++)
        assert_true(kl_store_kind(s.store, b) != KL_STORE_WRITTEN);
    scene_close(&s);

    scene_open(&s, 8 << 20, 0, config);
    for (uint64_t b = 0; frame_bytes(&s) < ROOM * 85 / 100; b++)
        assert_int_equal(put(&s, b, 0), 0);
    settle(&s);
    assert_int_equal(figures(&s).written, 0); /* all are young */
    kl_store_age(s.store, 0);
    settle(&s);
    assert_true(figures(&s).written > 0);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_true(kl_store_kind(s.store, b) != KL_STORE_WRITTEN || b % 3 == 0);
    scene_close(&s);
}

static void the_rate_is_bounded(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct scene s;
    uint64_t start, ns;

    (void)state;
    config.bytes_per_second = 1 << 20;
    scene_open(&s, 8 << 20, 0, config);
    fill(&s, 100);
    start = kl_linux_host()->now_ns(NULL);
    assert_int_equal(kl_store_writeback_now(s.store, 100, 0), 100);
    ns = kl_linux_host()->now_ns(NULL) - start;
    /* All but what was allowed at once, and the last one. */
    assert_true(ns / 1000 >= (figures(&s).written_bytes - 60000) * 1000000 / (1 << 20));
    scene_close(&s);
}

/* In a file: all there, and no file is left; none that is somebody's is taken. */
static void in_a_file(void **state)
{
    char path[] = "/tmp/klotski-target.XXXXXX", buf[BLOCK];
    struct kl_linux_target *target, *other;
    struct scene s;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, "mine", 4), 4);
    assert_int_equal(kl_linux_target_create(path, 1 << 20, &target), -KL_EEXIST);
    assert_int_equal(pread(fd, buf, 5, 0), 4);
    close(fd);
    unlink(path);
    assert_int_equal(kl_linux_target_create(path, 0, &target), -KL_EINVAL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(kl_linux_target_create("/tmp", 1 << 20, &target), -KL_EIO);
    assert_int_equal(kl_linux_target_create("/nowhere/at/all", 1 << 20, &target), -KL_ENOENT);
    assert_int_equal(kl_linux_target_create(path, 8 << 20, &target), 0);
    assert_int_equal(kl_linux_target_create(path, 8 << 20, &other), -KL_EBUSY);
    scene_open_on(&s, kl_linux_target_get(target), AWAY_DEFAULT);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_int_equal(put(&s, b, 0), 0);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_block(&s, b, 0);
    assert_true(figures(&s).read > BLOCKS / 2);
    assert_int_equal(truncate(path, 0), 0); /* as if it had been lost */
    for (uint64_t b = 0; b < BLOCKS; b++) {
        if (kl_store_kind(s.store, b) == KL_STORE_WRITTEN)
            assert_int_equal(kl_store_read(s.store, b, 0, buf, BLOCK), -KL_EIO);
        else
            assert_block(&s, b, 0);
    }
    assert_store_ok(s.store);
    assert_int_equal(kl_store_destroy(s.store), 0);
    fixture_close(&s.f);
    kl_linux_target_destroy(target);
    assert_int_equal(access(path, F_OK), -1);
}

static void bad_configs(void **state)
{
    static struct scene s;
    struct kl_target target;
    struct kl_writeback_stats stats = {.size = sizeof(stats)};
    struct kl_store *other;
    struct kl_codec c;
    struct kl_store_config store = {
        .size = sizeof(store), .blocks = 10, .block_bytes = BLOCK, .codec = &c};

    (void)state;
    scene_open(&s, 1 << 20, 0, AWAY_DEFAULT);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_create(s.f.zone, &store, &other), 0);
    target = s.fake.target;
    for (int i = 0; i < 9; i++) {
        struct kl_writeback_config config = AWAY_DEFAULT;

        config.target = &target;
        target = s.fake.target;
        if (i == 0)
            config.size--;
        if (i == 1)
            config.target = NULL;
        if (i == 2)
            config.start_percent = 101;
        if (i == 3)
            config.stop_percent = 81;
        if (i == 4)
            config.age = 4;
        if (i == 5)
            config.flags = 2;
        if (i == 6)
            config.bytes = 4608 - 512;
        if (i == 7)
            target.cancel = NULL;
        if (i == 8)
            target.bytes = 4096;
        assert_int_equal(kl_store_writeback_start(other, &config), -KL_EINVAL);
    }
    kl_store_writeback_stats(other, &stats);
    assert_int_equal(stats.state, KL_WRITEBACK_OFF);
    assert_int_equal(kl_store_writeback(other, 0), UINT64_MAX);
    assert_int_equal(kl_store_writeback_now(other, 1, 0), 0);
    for (int nth = 1; nth <= 2; nth++) {
        struct kl_writeback_config config = AWAY_DEFAULT;

        config.target = &s.fake.target;
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_store_writeback_start(other, &config), -KL_ENOMEM);
        assert_int_equal(kl_store_writeback_start(s.store, &config), -KL_EEXIST);
        fault_set(FAULT_META, 0);
        assert_store_ok(other);
    }
    assert_int_equal(kl_store_destroy(other), 0);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_more_than_its_limit),
        cmocka_unit_test(changes_of_blocks_that_are_away),
        cmocka_unit_test(cold_blocks_go_under_pressure),
        cmocka_unit_test(trims),
        cmocka_unit_test(the_policy),
        cmocka_unit_test(the_rate_is_bounded),
        cmocka_unit_test(in_a_file),
        cmocka_unit_test(bad_configs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
