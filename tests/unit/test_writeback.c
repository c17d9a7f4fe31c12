// SPDX-License-Identifier: Apache-2.0
/* Write-back: what leaves memory, and what comes back. */
#include "support/away.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Four times as much as memory has room for; all of it is there. */
static void holds_more_than_its_limit(void **state)
{
    static struct away s;

    (void)state;
    for (unsigned flags = 0; flags <= KL_TARGET_NEEDS_FLUSH; flags++) {
        away_open(&s, 8 << 20, flags, AWAY_DEFAULT);
        for (uint64_t b = 0; b < BLOCKS; b++) {
            assert_int_equal(away_put(&s, b, 0), 0);
            assert_true(away_frame_bytes(&s) <= ROOM);
        }
        for (uint64_t b = 0; b < BLOCKS; b++) {
            assert_away(&s, b, 0);
            assert_true(away_frame_bytes(&s) <= ROOM);
        }
        assert_true(away_figures(&s).blocks > BLOCKS / 2);
        assert_true(away_figures(&s).waited > 0);
        assert_int_equal(away_figures(&s).failed_reads, 0);
        assert_int_equal(away_figures(&s).state, KL_WRITEBACK_OK);
        assert_true(!flags == !atomic_load(&s.fake.flushes));
        away_close(&s);
    }
}

/* Overwritten, patched, discarded while they are away; and what they used is free. */
static void changes_of_blocks_that_are_away(void **state)
{
    static struct away s;
    char want[BLOCK], got[BLOCK];

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    away_fill(&s, 100);
    assert_int_equal(kl_store_writeback_now(s.store, 100, 0), 100);
    assert_int_equal(away_figures(&s).blocks, 100);
    assert_int_equal(away_frame_bytes(&s), 0);
    assert_true(away_figures(&s).used_bytes >= 100 * 2048);
    assert_int_equal(kl_store_kind(s.store, 7), KL_STORE_WRITTEN);
    assert_int_equal(away_put(&s, 1, 5), 0);
    assert_int_equal(kl_store_write(s.store, 2, 100, "klotski", 7), 0);
    assert_int_equal(kl_store_discard(s.store, 3, 0, BLOCK), 0);
    assert_int_equal(kl_store_discard(s.store, 4, 50, 60), 0);
    assert_int_equal(away_figures(&s).read, 2); /* the parts: a whole one is not read first */
    assert_int_equal(away_figures(&s).blocks, 96);
    assert_away(&s, 1, 5);
    away_make(want, 2, 0);
    memcpy(want + 100, "klotski", sizeof("klotski") - 1);
    assert_int_equal(kl_store_read(s.store, 2, 0, got, BLOCK), 0);
    assert_memory_equal(want, got, BLOCK);
    away_make(want, 4, 0);
    memset(want + 50, 0, 60);
    assert_int_equal(kl_store_read(s.store, 4, 0, got, BLOCK), 0);
    assert_memory_equal(want, got, BLOCK);
    assert_int_equal(kl_store_kind(s.store, 3), KL_STORE_HOLE);
    for (uint64_t b = 5; b < 100; b++)
        assert_away(&s, b, 0);
    assert_away(&s, 0, 0);
    assert_int_equal(away_figures(&s).read_back, 98); /* there was room for all */
    assert_int_equal(away_figures(&s).blocks, 0);
    assert_int_equal(away_figures(&s).used_bytes, 0);
    away_close(&s);
}

static void step_until_away(struct away *s, uint64_t blocks)
{
    for (unsigned i = 0; i < 3000 && away_figures(s).blocks < blocks; i++) {
        struct kl_step step = {.size = sizeof(step), .budget = 64, .flags = KL_STEP_WANTED};

        if (kl_zone_step(s->f.zone, &step, NULL) != -KL_EAGAIN || step.again_ns > 0)
            usleep(10000);
    }
}

/* With pressure of the machine: far below the share, and only when cold things shall go;
 * what was used since the last tick only when it is told how much is lacking. */
static void cold_blocks_go_under_pressure(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    away_fill(&s, 100);
    assert_int_equal(kl_store_age(s.store, 0), 0);
    for (uint64_t b = 0; b < 10; b++)
        assert_away(&s, b, 0);
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_IDLE, 0), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct kl_step step = {.size = sizeof(step), .budget = 64, .flags = KL_STEP_WANTED};

        kl_zone_step(s.f.zone, &step, NULL);
    }
    assert_int_equal(away_figures(&s).blocks + away_figures(&s).pending, 0);
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_COLD, 0), 0);
    step_until_away(&s, 90);
    assert_int_equal(away_figures(&s).blocks, 90);
    away_settle(&s);
    assert_int_equal(away_figures(&s).blocks, 90); /* the others are in use */
    for (uint64_t b = 0; b < 10; b++)
        assert_true(kl_store_kind(s.store, b) != KL_STORE_WRITTEN);
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_COLD, 64 << 20), 0);
    step_until_away(&s, 100);
    assert_int_equal(away_figures(&s).blocks, 100); /* unless somebody lacks so much */
    assert_int_equal(kl_zone_pressure(s.f.zone, KL_PRESSURE_NONE, 0), 0);
    for (uint64_t b = 0; b < 100; b++)
        assert_away(&s, b, 0);
    away_close(&s);
}

/* What is free again goes back to the target, and nothing that is in use. */
static void trims(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, 8 << 20, KL_TARGET_CAN_TRIM, AWAY_DEFAULT);
    away_fill(&s, 300);
    assert_int_equal(kl_store_writeback_now(s.store, 300, 0), 300);
    away_settle(&s);
    assert_int_equal(atomic_load(&s.fake.trims), 0);
    for (uint64_t b = 0; b < 300; b += 1 + (b >= 200 && b % 2))
        assert_int_equal(kl_store_discard(s.store, b, 0, BLOCK), 0);
    away_settle(&s);
    away_settle(&s);
    assert_true(atomic_load(&s.fake.trims) >= 2); /* 200 blocks are 600 KB */
    assert_store_ok(s.store);
    for (uint64_t b = 202; b < 300; b += 2)
        assert_away(&s, b, 0);
    away_fill(&s, 300);
    assert_int_equal(kl_store_writeback_now(s.store, 300, 0), 300);
    for (uint64_t b = 0; b < 300; b++)
        assert_away(&s, b, 0);
    away_close(&s);
}

/* Old ones first, noise before others when it shall be; none when frames are few. */
static void the_policy(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;

    (void)state;
    config.flags = KL_WRITEBACK_RAW;
    config.age = 2;
    away_open(&s, 8 << 20, 0, config);
    away_fill(&s, 150);
    kl_store_age(s.store, 0);
    kl_store_age(s.store, 0);
    kl_store_age(s.store, 0);
    assert_int_equal(kl_store_writeback(s.store, 0), UINT64_MAX); /* below the share */
    assert_int_equal(away_figures(&s).written, 0);
    for (uint64_t b = 150; away_frame_bytes(&s) < ROOM * 85 / 100; b++)
        assert_int_equal(away_put(&s, b, 0), 0);
    away_settle(&s);
    assert_true(away_figures(&s).written > 0);
    kl_store_compact(s.store, 0);
    assert_true(away_frame_bytes(&s) <= ROOM * 72 / 100 && away_frame_bytes(&s) > ROOM / 2);
    for (uint64_t b = 150; b < BLOCKS; b++)
        assert_true(kl_store_kind(s.store, b) != KL_STORE_WRITTEN);
    away_close(&s);

    away_open(&s, 8 << 20, 0, config);
    for (uint64_t b = 0; away_frame_bytes(&s) < ROOM * 85 / 100; b++)
        assert_int_equal(away_put(&s, b, 0), 0);
    away_settle(&s);
    assert_int_equal(away_figures(&s).written, 0); /* all are young */
    kl_store_age(s.store, 0);
    away_settle(&s);
    assert_true(away_figures(&s).written > 0);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_true(kl_store_kind(s.store, b) != KL_STORE_WRITTEN || b % 3 == 0);
    away_close(&s);
}

static bool is_away(struct away *s, uint64_t block)
{
    return kl_store_kind(s->store, block) == KL_STORE_WRITTEN;
}

static void tick(struct away *s)
{
    assert_int_equal(kl_store_age(s->store, 0), 0);
}

/* Also when others were good enough before the last tick. */
static void the_oldest_go_first(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    away_fill(&s, 100);
    tick(&s);
    assert_int_equal(kl_store_writeback_now(s.store, 10, 1), 10);
    tick(&s);
    for (uint64_t b = 10; b < 50; b++)
        assert_away(&s, b, 0);
    tick(&s);
    assert_int_equal(kl_store_writeback_now(s.store, 40, 1), 40);
    for (uint64_t b = 10; b < 90; b++)
        assert_int_equal(is_away(&s, b), b >= 50);
    away_close(&s);
}

/* Frames that compaction can free are not over the share. */
static void what_can_be_free_is_free(void **state)
{
    static struct away s;
    uint64_t n = 0;

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    while (away_frame_bytes(&s) < ROOM * 95 / 100) /* several in a frame */
        assert_int_equal(away_put(&s, 1 + 3 * n++, 0), 0);
    for (int i = 0; i < 3; i++)
        tick(&s);
    for (uint64_t i = 0; i < n; i += 2)
        assert_int_equal(kl_store_discard(s.store, 1 + 3 * i, 0, BLOCK), 0);
    assert_true(away_frame_bytes(&s) > ROOM * 85 / 100);
    (void)kl_store_writeback(s.store, 0);
    assert_int_equal(away_figures(&s).pending + away_figures(&s).written, 0);
    away_close(&s);
}

/* Between the two shares blocks are read where they are; below both they come back. */
static void back_only_where_there_is_room(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;
    uint64_t n = 0;

    (void)state;
    config.start_percent = 90;
    config.stop_percent = 40;
    away_open(&s, 8 << 20, 0, config);
    away_fill(&s, 30);
    assert_int_equal(kl_store_writeback_now(s.store, 30, 0), 30);
    for (n = 30; away_frame_bytes(&s) < ROOM * 60 / 100; n++)
        assert_int_equal(away_put(&s, n, 0), 0);
    for (uint64_t b = 0; b < 30; b++)
        assert_away(&s, b, 0);
    assert_int_equal(away_figures(&s).read_back, 0);
    assert_int_equal(away_figures(&s).blocks, 30);
    while (n-- > 30)
        assert_int_equal(kl_store_discard(s.store, n, 0, BLOCK), 0);
    for (uint64_t b = 0; b < 30; b++)
        assert_away(&s, b, 0);
    assert_int_equal(away_figures(&s).read_back, 30);
    assert_int_equal(away_figures(&s).blocks, 0);
    away_close(&s);
}

/* Nobody asks for it: when frames come to be over the share, the zone's next step does it. */
static void frames_call_for_it(void **state)
{
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};
    static struct away s;
    uint64_t n = 0;

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    while (away_frame_bytes(&s) < ROOM / 2)
        assert_int_equal(away_put(&s, n++, 0), 0);
    for (int i = 0; i < 3; i++)
        tick(&s);
    for (int i = 0; i < 4; i++)
        (void)kl_zone_step(s.f.zone, &step, NULL);
    assert_int_equal(away_figures(&s).written_bytes, 0);
    while (away_frame_bytes(&s) < ROOM * 95 / 100)
        assert_int_equal(away_put(&s, n++, 0), 0);
    for (int i = 0; i < 20 && away_figures(&s).written_bytes == 0; i++)
        (void)kl_zone_step(s.f.zone, &step, NULL); /* compaction may be what comes first */
    assert_true(away_figures(&s).written_bytes > 0);
    away_close(&s);
}

static void the_rate_is_bounded(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;
    uint64_t start, ns;

    (void)state;
    config.bytes_per_second = 1 << 20;
    away_open(&s, 8 << 20, 0, config);
    away_fill(&s, 100);
    start = kl_linux_host()->now_ns(NULL);
    assert_int_equal(kl_store_writeback_now(s.store, 100, 0), 100);
    ns = kl_linux_host()->now_ns(NULL) - start;
    /* All but what was allowed at once, and the last one. */
    assert_true(ns / 1000 >= (away_figures(&s).written_bytes - 60000) * 1000000 / (1 << 20));
    away_close(&s);
}

/* In a file: all there, and no file is left; none that is somebody's is taken. */
static void in_a_file(void **state)
{
    char path[] = "/tmp/klotski-target.XXXXXX", buf[BLOCK];
    struct kl_linux_target *target, *other;
    struct away s;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, "mine", 4), 4);
    assert_int_equal(kl_linux_target_create(path, 1 << 20, &target), -KL_EEXIST);
    assert_int_equal(pread(fd, buf, 5, 0), 4);
    close(fd);
    unlink(path);
    assert_int_equal(kl_linux_target_create(path, 0, &target), -KL_EINVAL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(kl_linux_target_create("/tmp", 1 << 20, &target), -KL_EINVAL);
    assert_int_equal(kl_linux_target_create("/nowhere/at/all", 1 << 20, &target), -KL_ENOENT);
    assert_int_equal(kl_linux_target_create(path, 8 << 20, &target), 0);
    assert_int_equal(kl_linux_target_create(path, 8 << 20, &other), -KL_EBUSY);
    away_open_on(&s, kl_linux_target_get(target), AWAY_DEFAULT);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_int_equal(away_put(&s, b, 0), 0);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_away(&s, b, 0);
    assert_true(away_figures(&s).read > BLOCKS / 2);
    assert_int_equal(truncate(path, 0), 0); /* as if it had been lost */
    for (uint64_t b = 0; b < BLOCKS; b++) {
        if (kl_store_kind(s.store, b) == KL_STORE_WRITTEN)
            assert_int_equal(kl_store_read(s.store, b, 0, buf, BLOCK), -KL_EIO);
        else
            assert_away(&s, b, 0);
    }
    assert_store_ok(s.store);
    assert_int_equal(kl_store_destroy(s.store), 0);
    fixture_close(&s.f);
    kl_linux_target_destroy(target);
    assert_int_equal(access(path, F_OK), -1);
}

/* A file that was there stays, and gives its room on the disk back. */
static void a_file_that_was_there(void **state)
{
    char path[] = "/tmp/klotski-target.XXXXXX";
    struct kl_linux_target *target;
    struct stat st;
    struct away s;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(kl_linux_target_create(path, 8 << 20, &target), 0);
    away_open_on(&s, kl_linux_target_get(target), AWAY_DEFAULT);
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_int_equal(away_put(&s, b, 0), 0);
    assert_int_equal(kl_store_destroy(s.store), 0);
    fixture_close(&s.f);
    kl_linux_target_destroy(target);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_nlink, 1);
    close(fd);
    unlink(path);
}

static void bad_configs(void **state)
{
    static struct away s;
    struct kl_target target;
    struct kl_writeback_stats stats = {.size = sizeof(stats)};
    struct kl_store *other;
    struct kl_codec c;
    struct kl_store_config store = {
        .size = sizeof(store), .blocks = 10, .block_bytes = BLOCK, .codec = &c};

    (void)state;
    away_open(&s, 1 << 20, 0, AWAY_DEFAULT);
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
    away_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_more_than_its_limit),
        cmocka_unit_test(changes_of_blocks_that_are_away),
        cmocka_unit_test(cold_blocks_go_under_pressure),
        cmocka_unit_test(trims),
        cmocka_unit_test(the_policy),
        cmocka_unit_test(the_oldest_go_first),
        cmocka_unit_test(what_can_be_free_is_free),
        cmocka_unit_test(back_only_where_there_is_room),
        cmocka_unit_test(frames_call_for_it),
        cmocka_unit_test(the_rate_is_bounded),
        cmocka_unit_test(in_a_file),
        cmocka_unit_test(a_file_that_was_there),
        cmocka_unit_test(bad_configs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
