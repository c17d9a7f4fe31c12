// SPDX-License-Identifier: Apache-2.0
/* Write-back: what leaves memory, what comes back, and targets that misbehave. */
#include "support/target.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 2000, ROOM = 1 << 20 };

struct scene {
    struct fixture f;
    struct kl_store *store;
    struct fake_target fake;
};

static const struct kl_writeback_config DEFAULT = {.size = sizeof(DEFAULT),
                                                   .timeout_ns = 20000000000};

/* A store of ROOM bytes of frames. */
static void scene_open_on(struct scene *s, const struct kl_target *target,
                          struct kl_writeback_config config)
{
    struct kl_codec c;
    struct kl_store_config store = {.size = sizeof(store),
                                    .blocks = BLOCKS,
                                    .block_bytes = BLOCK,
                                    .codec = &c,
                                    .limit_bytes = ROOM};

    fixture_open(&s->f, 256, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_create(s->f.zone, &store, &s->store), 0);
    config.target = target;
    assert_int_equal(kl_store_writeback_start(s->store, &config), 0);
}

/* And a target of so many. */
static void scene_open(struct scene *s, uint64_t bytes, unsigned flags,
                       struct kl_writeback_config config)
{
    fake_target_open(&s->fake, bytes, flags);
    scene_open_on(s, &s->fake.target, config);
}

static void scene_close(struct scene *s)
{
    assert_store_ok(s->store);
    assert_int_equal(kl_store_destroy(s->store), 0);
    fixture_close(&s->f);
    fake_target_close(&s->fake);
}

static struct kl_writeback_stats figures(struct scene *s)
{
    struct kl_writeback_stats stats = {.size = sizeof(stats)};

    kl_store_writeback_stats(s->store, &stats);
    return stats;
}

static uint64_t frame_bytes(struct scene *s)
{
    struct kl_store_stats stats = {.size = sizeof(stats)};

    kl_store_get_stats(s->store, &stats);
    return stats.frame_bytes;
}

/* Every third block is noise, the others compress to about a half. */
static void make(char *buf, uint64_t block, uint64_t version)
{
    uint64_t seed = block * 1000 + version;

    memset(buf, (int)(seed % 251), BLOCK);
    fill_bytes(buf, block % 3 ? BLOCK / 2 : BLOCK, seed);
}

static int put(struct scene *s, uint64_t block, uint64_t version)
{
    char buf[BLOCK];

    make(buf, block, version);
    return kl_store_write(s->store, block, 0, buf, BLOCK);
}

static void assert_block(struct scene *s, uint64_t block, uint64_t version)
{
    char want[BLOCK], got[BLOCK];

    make(want, block, version);
    assert_int_equal(kl_store_read(s->store, block, 0, got, BLOCK), 0);
    assert_memory_equal(want, got, BLOCK);
}

/* With a timeout that is short, on a machine that may be slow. */
static void assert_block_soon(struct scene *s, uint64_t block, uint64_t version)
{
    char want[BLOCK], got[BLOCK];
    int err;

    do {
        err = kl_store_read(s->store, block, 0, got, BLOCK);
    } while (err == -KL_ETIMEDOUT);
    make(want, block, version);
    assert_int_equal(err, 0);
    assert_memory_equal(want, got, BLOCK);
}

static void fill(struct scene *s, uint64_t blocks)
{
    for (uint64_t b = 0; b < blocks; b++)
        assert_int_equal(put(s, b, 0), 0);
}

/* Until nothing is under way. */
static void settle(struct scene *s)
{
    while (figures(s).pending > 0 || kl_store_writeback(s->store, 0) != UINT64_MAX)
        ;
}

/* Four times as much as memory has room for; all of it is there. */
static void holds_more_than_its_limit(void **state)
{
    static struct scene s;

    (void)state;
    for (unsigned flags = 0; flags <= KL_TARGET_NEEDS_FLUSH; flags++) {
        scene_open(&s, 8 << 20, flags, DEFAULT);
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
    scene_open(&s, 8 << 20, 0, DEFAULT);
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

/* What is free again goes back to the target, and nothing that is in use. */
static void trims(void **state)
{
    static struct scene s;

    (void)state;
    scene_open(&s, 8 << 20, KL_TARGET_CAN_TRIM, DEFAULT);
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
    struct kl_writeback_config config = DEFAULT;
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
    struct kl_writeback_config config = DEFAULT;
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

/* Half of all requests fail: every block stays, here or there. */
static void failing(void **state)
{
    static const int errors[] = {-KL_EIO, -KL_ENOSPC, -KL_EAGAIN, -KL_ECANCELED};
    static struct scene s;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        scene_open(&s, 64 << 20, KL_TARGET_NEEDS_FLUSH, DEFAULT);
        atomic_store(&s.fake.error, errors[i]);
        atomic_store(&s.fake.fail_writes, 50);
        atomic_store(&s.fake.fail_flushes, i % 2 ? 50 : 0);
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_int_equal(put(&s, b, 0), 0);
        assert_true(figures(&s).failed_writes > 0);
        assert_true((figures(&s).retired_bytes > 0) == (errors[i] == -KL_ECANCELED));
        atomic_store(&s.fake.fail_writes, 100);
        while (figures(&s).pending > 0)
            kl_store_writeback_now(s.store, 1, 3);
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_block(&s, b, 0);
        assert_int_equal(figures(&s).failed_reads, 0);
        scene_close(&s);
    }
}

/* Writes that were given up land later, when others lie there or would. */
static void late_writes(void **state)
{
    static struct scene s;

    (void)state;
    scene_open(&s, 4 << 20, 0, DEFAULT);
    atomic_store(&s.fake.give_up, 5);
    for (int round = 0; round < 3; round++) {
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_int_equal(put(&s, b, (uint64_t)round), 0);
        fake_target_land(&s.fake);
        for (uint64_t b = 0; b < BLOCKS / 2; b++)
            assert_block(&s, b, (uint64_t)round);
    }
    assert_true(figures(&s).retired_bytes > 0);
    scene_close(&s);
}

/* A target of no more than 256 KiB: so much more fits, and then no more does. */
static void full(void **state)
{
    static struct scene s;
    uint64_t n = 0;

    (void)state;
    scene_open(&s, 256 << 10, 0, DEFAULT);
    while (put(&s, n, 0) == 0)
        n++;
    assert_int_equal(put(&s, n, 0), -KL_ENOSPC);
    assert_int_equal(figures(&s).state, KL_WRITEBACK_FULL);
    assert_true(n > (ROOM + (200 << 10)) / 2900);
    for (uint64_t b = 0; b < n; b++)
        assert_block(&s, b, 0);
    for (uint64_t b = 0; b < n; b += 2)
        assert_int_equal(kl_store_discard(s.store, b, 0, BLOCK), 0);
    assert_int_equal(put(&s, n, 0), 0);
    for (uint64_t b = 1; b < n; b += 2)
        assert_block(&s, b, 0);
    scene_close(&s);
}

/* It lies once: read again.  It always does, or has lost what it took: an error. */
static void lies(void **state)
{
    static struct scene s;
    char buf[BLOCK];

    (void)state;
    scene_open(&s, 8 << 20, 0, DEFAULT);
    fill(&s, 100);
    assert_int_equal(kl_store_writeback_now(s.store, 60, 0), 60);
    atomic_store(&s.fake.lie, 10);
    for (uint64_t b = 0; b < 100; b++) {
        char want[BLOCK];
        int err = kl_store_read(s.store, b, 0, buf, BLOCK);

        make(want, b, 0);
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
    assert_block(&s, 5, 0); /* it is there still */
    assert_true(figures(&s).lost >= 2);
    memset(s.fake.bytes, 0, s.fake.target.bytes);
    assert_int_equal(kl_store_read(s.store, 7, 0, buf, BLOCK), -KL_EIO);
    assert_int_equal(put(&s, 7, 1), 0); /* can be written anew */
    assert_block(&s, 7, 1);
    scene_close(&s);
}

/* Swapped places, an older version, another store's: none passes. */
static void stale_data(void **state)
{
    static struct scene s;
    char buf[BLOCK];

    (void)state;
    scene_open(&s, 40 * 4608, 0, DEFAULT);
    for (uint64_t b = 0; b < 30; b += 3) /* noise: nine units each */
        assert_int_equal(put(&s, b, 0), 0);
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
        assert_int_equal(put(&s, 9, round), 0);
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
        assert_int_equal(kl_store_read(s.store, 9, 0, buf, BLOCK), -KL_EIO);
    }
    assert_block(&s, 6, 0);
    scene_close(&s);
}

/* It does not answer: what is in memory is read and written, what is there is not, and
 * when it goes on all is well. */
static void stalled(void **state)
{
    struct kl_writeback_config config = DEFAULT;
    static struct scene s;
    char buf[BLOCK];
    int refused = 0;

    (void)state;
    config.timeout_ns = 50000000;
    scene_open(&s, 8 << 20, 0, config);
    fill(&s, 100);
    while (figures(&s).blocks < 50)
        kl_store_writeback_now(s.store, 50 - figures(&s).blocks, 0);
    fake_target_stall(&s.fake, true);
    for (uint64_t b = 0; b < 100; b++) {
        if (kl_store_kind(s.store, b) != KL_STORE_WRITTEN)
            assert_block(&s, b, 0);
        else
            assert_int_equal(kl_store_read(s.store, b, 0, buf, BLOCK), -KL_ETIMEDOUT);
    }
    assert_int_equal(figures(&s).state, KL_WRITEBACK_STALLED);
    assert_true(figures(&s).failed_reads >= 50);
    assert_true(figures(&s).pending <= 20); /* they do not heap up */
    for (uint64_t b = 0; b < 100; b += 10)
        assert_int_equal(put(&s, b, 1), 0);
    assert_int_equal(kl_store_discard(s.store, 5, 0, BLOCK), 0);
    for (uint64_t b = 100; b < 1000; b++)
        refused += put(&s, b, 1) == -KL_ENOSPC;
    assert_true(refused > 0);
    fake_target_stall(&s.fake, false);
    while (figures(&s).pending > 0)
        kl_store_writeback(s.store, 1);
    for (uint64_t b = 0; b < 100; b++) {
        if (b != 5)
            assert_block_soon(&s, b, b % 10 == 0);
    }
    assert_int_equal(figures(&s).state, KL_WRITEBACK_OK);
    fake_target_stall(&s.fake, true); /* and an end with requests under way */
    assert_int_equal(kl_store_writeback_now(s.store, 10, 0), 0);
    assert_true(figures(&s).pending > 0);
    scene_close(&s);
}

/* No connection for a while: reads wait for it, blocks stay. */
static void gone(void **state)
{
    struct kl_writeback_config config = DEFAULT;
    static struct scene s;
    char buf[BLOCK];

    (void)state;
    config.timeout_ns = 50000000;
    scene_open(&s, 8 << 20, 0, config);
    fill(&s, 100);
    while (figures(&s).blocks < 50)
        kl_store_writeback_now(s.store, 1, 0);
    atomic_store(&s.fake.gone, true);
    assert_int_equal(figures(&s).state, KL_WRITEBACK_GONE);
    for (uint64_t b = 0; b < 100; b++) {
        if (kl_store_kind(s.store, b) != KL_STORE_WRITTEN) {
            assert_block(&s, b, 0);
            continue;
        }
        assert_int_equal(kl_store_read(s.store, b, 0, buf, BLOCK), -KL_ETIMEDOUT);
        break;
    }
    assert_int_equal(kl_store_writeback_now(s.store, 10, 0), 0);
    atomic_store(&s.fake.gone, false);
    for (uint64_t b = 0; b < 100; b++)
        assert_block_soon(&s, b, 0);
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
    scene_open_on(&s, kl_linux_target_get(target), DEFAULT);
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
    scene_open(&s, 1 << 20, 0, DEFAULT);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_create(s.f.zone, &store, &other), 0);
    target = s.fake.target;
    for (int i = 0; i < 9; i++) {
        struct kl_writeback_config config = DEFAULT;

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
        struct kl_writeback_config config = DEFAULT;

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

/* No memory for buffers, no room for what comes back: nothing is lost. */
static void failures_undo_themselves(void **state)
{
    static struct scene s;
    char buf[BLOCK];

    (void)state;
    scene_open(&s, 8 << 20, 0, DEFAULT);
    fill(&s, 20);
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
    assert_block(&s, 3, 0);
    fault_set(FAULT_POPULATE, 0);
    assert_store_ok(s.store);
    for (uint64_t b = 0; b < 20; b++)
        assert_block(&s, b, 0);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_more_than_its_limit),
        cmocka_unit_test(changes_of_blocks_that_are_away),
        cmocka_unit_test(trims),
        cmocka_unit_test(the_policy),
        cmocka_unit_test(the_rate_is_bounded),
        cmocka_unit_test(failing),
        cmocka_unit_test(late_writes),
        cmocka_unit_test(full),
        cmocka_unit_test(lies),
        cmocka_unit_test(stale_data),
        cmocka_unit_test(stalled),
        cmocka_unit_test(gone),
        cmocka_unit_test(in_a_file),
        cmocka_unit_test(bad_configs),
        cmocka_unit_test(failures_undo_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
