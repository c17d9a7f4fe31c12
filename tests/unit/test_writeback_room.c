// SPDX-License-Identifier: Apache-2.0
/* Room on a write-back target, to the unit: what is used again, and when not; and what is
 * not safe on the target stays in memory. */
#include "store/store.h"
#include "support/away.h"

#include <sched.h>
#include <string.h>

enum { NOISE_UNITS = 9, SMALL_UNITS = 2, UNIT = KL_TARGET_UNIT };

/* Noise (every third block of away.c is), and nine units each. */
static void put_noise(struct away *s, uint64_t block, uint64_t version)
{
    assert_int_equal(away_put(s, 3 * block, version), 0);
}

/* A fifth of it noise. */
static void put_small(struct away *s, uint64_t block)
{
    char buf[BLOCK] = {0};

    fill_bytes(buf, BLOCK / 5, block);
    assert_int_equal(kl_store_write(s->store, block, 0, buf, BLOCK), 0);
}

static void unflushed_blocks_stay(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;
    uint64_t frames;

    (void)state;
    config.timeout_ns = 100000000;
    away_open(&s, 8 << 20, KL_TARGET_NEEDS_FLUSH, config);
    away_fill(&s, 20);
    frames = away_frame_bytes(&s);
    atomic_store(&s.fake.fail_flushes, 100);
    while (away_figures(&s).failed_writes < 20) {
        assert_int_equal(kl_store_writeback_now(s.store, 20, 0), 0);
        assert_int_equal(away_figures(&s).blocks, 0);
    }
    assert_int_equal(away_figures(&s).state, KL_WRITEBACK_FAILING);
    assert_int_equal(away_frame_bytes(&s), frames);
    assert_store_ok(s.store);
    atomic_store(&s.fake.fail_flushes, 0);
    while (away_figures(&s).blocks < 20)
        (void)kl_store_writeback_now(s.store, 20, 0);
    assert_int_equal(away_figures(&s).state, KL_WRITEBACK_OK);
    assert_int_equal(atomic_load(&s.fake.unflushed), 0);
    for (uint64_t b = 0; b < 20; b++)
        assert_away(&s, b, 0);
    away_close(&s);
}

/* Full with blocks of one size: what one of them leaves is enough for the next. */
static void what_is_freed_is_used_again(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, 3 * NOISE_UNITS * UNIT, 0, AWAY_DEFAULT);
    for (uint64_t b = 0; b < 4; b++)
        put_noise(&s, b, 0);
    assert_int_equal(kl_store_writeback_now(s.store, 4, 0), 3);
    for (uint64_t round = 1; round < 10; round++) {
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 0);
        assert_int_equal(away_figures(&s).state, KL_WRITEBACK_FULL);
        for (uint64_t b = 0; b < 4; b++) { /* the first that is there is overwritten */
            if (kl_store_kind(s.store, 3 * b) != KL_STORE_WRITTEN)
                continue;
            put_noise(&s, b, 0);
            break;
        }
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
    }
    for (uint64_t b = 0; b < 4; b++)
        assert_away(&s, 3 * b, 0);
    away_close(&s);
}

/* Full for large ones is not full for small ones, nor the other way round. */
static void small_ones_go_where_large_ones_cannot(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, (NOISE_UNITS + SMALL_UNITS) * UNIT, 0, AWAY_DEFAULT);
    put_noise(&s, 0, 0);
    put_noise(&s, 1, 0);
    assert_int_equal(kl_store_writeback_now(s.store, 2, 0), 1);
    put_small(&s, 100);
    for (int i = 0; i < 3; i++) /* whichever is asked first */
        (void)kl_store_writeback_now(s.store, 1, 0);
    assert_int_equal(kl_store_kind(s.store, 100), KL_STORE_WRITTEN);
    assert_int_equal(away_figures(&s).used_bytes, (NOISE_UNITS + SMALL_UNITS) * UNIT);
    away_close(&s);
}

/* The only room begins before where the last run ended, and goes on behind it. */
static void a_run_across_the_cursor(void **state)
{
    static struct away s;

    (void)state;
    away_open(&s, (NOISE_UNITS + 1) * UNIT, 0, AWAY_DEFAULT);
    put_small(&s, 100);
    assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
    assert_int_equal(kl_store_discard(s.store, 100, 0, BLOCK), 0);
    put_noise(&s, 0, 0);
    assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
    assert_away(&s, 0, 0);
    away_close(&s);
}

struct reader {
    struct away *s;
    int err;
    char got[BLOCK];
};

static void *read_first(void *arg)
{
    struct reader *r = arg;

    r->err = kl_store_read(r->s->store, 0, 0, r->got, BLOCK);
    return NULL;
}

/* While a reader waits for the target, the block is written again and again, and each time
 * written back.  Its word must not become what the reader knows, or he would bring back what
 * it was.  (Places and serials come round after 64 rounds.) */
static void a_place_that_is_read_is_not_used_again(void **state)
{
    static struct away s;
    static struct reader r = {.s = &s};
    char want[BLOCK];
    pthread_t thread;
    uint64_t word;

    (void)state;
    away_open(&s, 3 * NOISE_UNITS * UNIT, 0, AWAY_DEFAULT);
    put_noise(&s, 0, 0);
    assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
    word = atomic_load(&s.store->table[0]);
    fake_target_hold(&s.fake, true);
    assert_int_equal(pthread_create(&thread, NULL, read_first, &r), 0);
    while (atomic_load(&s.fake.reads) == 0)
        sched_yield();
    for (uint64_t round = 1; round <= 3 * 64; round++) {
        put_noise(&s, 0, round);
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
        assert_true(atomic_load(&s.store->table[0]) != word);
    }
    fake_target_hold(&s.fake, false);
    pthread_join(thread, NULL);
    assert_int_equal(r.err, 0);
    away_make(want, 0, 3 * 64);
    assert_memory_equal(r.got, want, BLOCK);
    assert_away(&s, 0, 3 * 64);
    away_close(&s);
}

/* What a reader has left is his no more when the target has answered. */
static void who_has_left_holds_no_place(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct away s;
    char buf[BLOCK];

    (void)state;
    config.timeout_ns = 50000000;
    away_open(&s, NOISE_UNITS * UNIT, 0, config);
    put_noise(&s, 0, 0);
    while (away_figures(&s).blocks < 1)
        (void)kl_store_writeback_now(s.store, 1, 0);
    fake_target_stall(&s.fake, true);
    assert_int_equal(kl_store_read(s.store, 0, 0, buf, BLOCK), -KL_ETIMEDOUT);
    assert_int_equal(kl_store_discard(s.store, 0, 0, BLOCK), 0);
    put_noise(&s, 1, 0);
    assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 0); /* there is no other */
    fake_target_stall(&s.fake, false);
    while (away_figures(&s).pending > 0)
        sched_yield();
    for (int i = 0; i < 100 && away_figures(&s).blocks == 0; i++)
        (void)kl_store_writeback_now(s.store, 1, 0);
    assert_int_equal(away_figures(&s).blocks, 1);
    assert_away_soon(&s, 3, 0);
    away_close(&s);
}

/* The reader's time is up as soon as it waits, and the answer comes at this look at the clock. */
static struct {
    struct fake_target *fake; /* of the reader that waits */
    uint64_t passed;
    unsigned looks;
    int err; /* of the answer */
} soon;

static void answer(struct fake_target *fake)
{
    struct kl_target_io *io;

    pthread_mutex_lock(&fake->lock);
    io = fake->held;
    fake->held = NULL;
    pthread_mutex_unlock(&fake->lock);
    io->done(io, soon.err);
}

static uint64_t soon_now(void *ctx)
{
    if (soon.fake && soon.looks > 0 && soon.passed > 0 && --soon.looks == 0)
        answer(soon.fake);
    return kl_linux_host()->now_ns(ctx) + soon.passed;
}

static void soon_wait(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    if (!soon.fake) {
        kl_linux_host()->wait(ctx, word, seen, timeout_ns);
        return;
    }
    while (atomic_load(&soon.fake->reads) == 0)
        sched_yield();
    soon.passed = timeout_ns;
}

static void soon_host(struct kl_host *host)
{
    host->now_ns = soon_now;
    host->wait = soon_wait;
}

/* An answer that comes as the reader leaves: the target is not taken for silent afterwards.
 * (An error to who has left would not end that.) */
static void an_answer_at_the_last_moment(void **state)
{
    static struct away s;
    char buf[BLOCK];

    (void)state;
    for (unsigned looks = 0; looks < 6; looks++) {
        int err;

        memset(&soon, 0, sizeof(soon));
        soon.err = looks ? 0 : -KL_EIO;
        fixture_host = soon_host;
        away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
        fixture_host = NULL;
        put_noise(&s, 0, 0);
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
        fake_target_hold(&s.fake, true);
        soon.fake = &s.fake;
        soon.looks = looks ? looks : 1;
        err = kl_store_read(s.store, 0, 0, buf, BLOCK);
        assert_true(err == 0 || err == -KL_ETIMEDOUT);
        soon.fake = NULL;
        fake_target_hold(&s.fake, false);
        while (away_figures(&s).pending > 0)
            sched_yield();
        assert_int_equal(away_figures(&s).state, KL_WRITEBACK_OK);
        assert_away(&s, 0, 0);
        away_close(&s);
    }
}

/* A block that is overwritten while its reader waits is read from memory, whatever the target
 * says at last, and also if it says nothing. */
static void overwritten_while_it_is_awaited(void **state)
{
    struct kl_writeback_config config = AWAY_DEFAULT;
    static struct reader r;
    static struct away s;
    char want[BLOCK];

    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        pthread_t thread;

        config.timeout_ns = silent ? 3000000000 : AWAY_DEFAULT.timeout_ns;
        away_open(&s, 8 << 20, 0, config);
        r.s = &s;
        put_noise(&s, 0, 0);
        while (away_figures(&s).blocks < 1)
            (void)kl_store_writeback_now(s.store, 1, 0);
        fake_target_stall(&s.fake, true);
        assert_int_equal(pthread_create(&thread, NULL, read_first, &r), 0);
        while (away_figures(&s).pending == 0)
            sched_yield();
        put_noise(&s, 0, 1);
        atomic_store(&s.fake.fail_reads, 100);
        if (!silent)
            fake_target_stall(&s.fake, false);
        pthread_join(thread, NULL);
        assert_int_equal(r.err, 0);
        away_make(want, 0, 1);
        assert_memory_equal(r.got, want, BLOCK);
        assert_int_equal(away_figures(&s).failed_reads, 0);
        away_close(&s);
    }
}

/* What is free is trimmed once; what a trim may still hit is never used. */
static void trims_once_and_never_late(void **state)
{
    enum { N = 300 };
    static struct away s;
    unsigned trims;

    (void)state;
    for (int late = 0; late < 2; late++) {
        away_open(&s, 2 << 20, KL_TARGET_CAN_TRIM, AWAY_DEFAULT);
        atomic_store(&s.fake.give_up_trims, late ? 100 : 0);
        away_fill(&s, N);
        assert_int_equal(kl_store_writeback_now(s.store, N, 0), N);
        assert_int_equal(kl_store_reset(s.store, 0), 0);
        for (int i = 0; i < 50; i++)
            away_settle(&s);
        trims = atomic_load(&s.fake.trims);
        assert_true(trims >= 2);
        for (int i = 0; i < 10; i++)
            away_settle(&s);
        assert_int_equal(atomic_load(&s.fake.trims), trims);
        assert_true(!late == !away_figures(&s).retired_bytes);
        away_fill(&s, N);
        (void)kl_store_writeback_now(s.store, N, 0);
        assert_true(away_figures(&s).blocks > N / 10);
        fake_target_land(&s.fake);
        for (uint64_t b = 0; b < N; b++)
            assert_away(&s, b, 0);
        away_close(&s);
    }
}

static void assert_lost(struct away *s, uint64_t block)
{
    char buf[BLOCK];

    assert_int_equal(kl_store_read(s->store, block, 0, buf, BLOCK), -KL_EIO);
}

/* Two blocks that the serials can't tell from one another have changed places. */
static void another_block_is_seen(void **state)
{
    enum { N = 65, BYTES = NOISE_UNITS * UNIT };
    static struct away s;
    static unsigned char first[BYTES];
    unsigned char *last;

    (void)state;
    away_open(&s, 8 << 20, 0, AWAY_DEFAULT);
    for (uint64_t b = 0; b < N; b++)
        put_noise(&s, b, 0);
    assert_int_equal(kl_store_writeback_now(s.store, N, 0), N);
    last = s.fake.bytes + (size_t)(N - 1) * BYTES;
    memcpy(first, s.fake.bytes, BYTES);
    memcpy(s.fake.bytes, last, BYTES);
    memcpy(last, first, BYTES);
    assert_lost(&s, 0);
    assert_lost(&s, 3 * (N - 1));
    for (uint64_t b = 1; b < N - 1; b++)
        assert_away(&s, 3 * b, 0);
    away_close(&s);
}

/* The target has the data of a store before, and loses those of this one. */
static void another_store_is_seen(void **state)
{
    enum { BYTES = 64 * UNIT };
    static struct away s;
    static unsigned char before[BYTES];

    (void)state;
    for (int second = 0; second < 2; second++) {
        away_open(&s, BYTES, 0, AWAY_DEFAULT);
        if (second)
            memcpy(s.fake.bytes, before, BYTES);
        atomic_store(&s.fake.forget, second);
        put_noise(&s, 0, (uint64_t)second);
        assert_int_equal(kl_store_writeback_now(s.store, 1, 0), 1);
        if (second)
            assert_lost(&s, 0);
        memcpy(before, s.fake.bytes, BYTES);
        away_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unflushed_blocks_stay),
        cmocka_unit_test(what_is_freed_is_used_again),
        cmocka_unit_test(small_ones_go_where_large_ones_cannot),
        cmocka_unit_test(a_run_across_the_cursor),
        cmocka_unit_test(a_place_that_is_read_is_not_used_again),
        cmocka_unit_test(who_has_left_holds_no_place),
        cmocka_unit_test(overwritten_while_it_is_awaited),
        cmocka_unit_test(an_answer_at_the_last_moment),
        cmocka_unit_test(trims_once_and_never_late),
        cmocka_unit_test(another_block_is_seen),
        cmocka_unit_test(another_store_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
