// SPDX-License-Identifier: Apache-2.0
/* Fixed buffers of io_uring that move one by one, with requests in flight: who waits for
 * whom, and who does not. */
#include "support/ringpool.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = RINGPOOL_PAGE, BUFFERS = RINGPOOL_BUFFERS, FOREVER_MS = 3600 * 1000 };

/* ---- moves ---- */

/* In flight for longer than the bound: it stays, the report says what it met, new
 * requests go on at once; afterwards it moves, with what was read. */
static void a_busy_buffer_stays(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct kl_uring_io io, then;
    kl_uring_buf buf;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    assert_int_equal(kl_uring_get(rp.pool, &buf), 0);
    ringpool_start(buf, &io);
    for (int mode = KL_ASYNC; mode <= KL_SYNC; mode++) {
        assert_int_equal(rings_move(rp.f.zone, io.addr, (enum kl_mode)mode, &r), -KL_EBUSY);
        assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
        assert_string_equal(r.culprit_name, "io_uring");
        assert_int_equal(kl_pfn_nr(r.culprit), rings_frame(rp.f.zone, io.addr));
        assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, &then), 0);
        assert_ptr_equal(then.addr, io.addr);
        assert_int_equal(kl_uring_end(rp.pool, buf), 0);
    }
    assert_true(ringpool_stats().refused >= 3);
    ringpool_finish(5);
    assert_true(bytes_are(io.addr, PAGE, 5));
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_ASYNC, &r), 0);
    assert_true(r.migrated > 0);
    assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, &then), 0);
    assert_ptr_not_equal(then.addr, io.addr);
    assert_int_equal(then.slot, io.slot);
    memset(io.addr, 0, PAGE); /* nobody's any more */
    assert_int_equal(kl_uring_end(rp.pool, buf), 0);
    assert_ringpool_works(buf, 5, true);
    assert_int_equal(rings_pinned(), rings_pinned() < 0 ? -1 : BUFFERS * PAGE);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

/* The others of its batch move all the same. */
static void one_that_is_busy_keeps_no_other(void **state)
{
    struct kl_uring_io io, now;
    kl_uring_buf buf[BUFFERS];
    const void *was[BUFFERS] = {NULL};
    unsigned moved = 0;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        buf[i] = ringpool_get(&io);
        was[i] = io.addr;
    }
    ringpool_start(buf[0], &io);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), -KL_EBUSY);
    for (unsigned i = 1; i < BUFFERS; i++) {
        assert_int_equal(kl_uring_begin(rp.pool, buf[i], KL_ASYNC, &now), 0);
        moved += now.addr != was[i];
        assert_int_equal(kl_uring_end(rp.pool, buf[i]), 0);
    }
    assert_true(moved > 0);
    ringpool_finish(6);
    assert_true(bytes_are(io.addr, PAGE, 6));
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_ringpool_works(buf[i], i ? 0 : 6, true);
        assert_int_equal(kl_uring_put(rp.pool, buf[i]), 0);
    }
    ringpool_close();
}

/* A user that begins until a migration has the buffer, and then lets its request end. */
static void *ends_it(void *arg)
{
    const kl_uring_buf *buf = arg;
    struct kl_uring_io io;

    while (kl_uring_begin(rp.pool, *buf, KL_ASYNC, &io) == 0) {
        kl_uring_end(rp.pool, *buf);
        sched_yield();
    }
    ringpool_finish(8);
    return NULL;
}

static void a_migration_waits_for_the_end(void **state)
{
    struct kl_uring_config patient = ringpool_usual;
    struct kl_uring_io io;
    kl_uring_buf buf;
    pthread_t thread;

    (void)state;
    patient.wait_ms = FOREVER_MS;
    ringpool_open(&patient, 0);
    assert_int_equal(kl_uring_get(rp.pool, &buf), 0);
    ringpool_start(buf, &io);
    assert_int_equal(pthread_create(&thread, NULL, ends_it, &buf), 0);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(ringpool_stats().refused, 0);
    assert_true(ringpool_stats().held_off > 0);
    assert_ringpool_works(buf, 8, true);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

static kl_uring_buf reaped_buf;
static const void *reaped_from;

/* begin waits until the move is over, and tells the new place. */
static void *begins_in_sync(void *arg)
{
    struct kl_uring_io io;
    int err;

    (void)arg;
    do /* two seconds are its bound */
        err = kl_uring_begin(rp.pool, reaped_buf, KL_SYNC, &io);
    while (err == -KL_EBUSY);
    if (err != 0 || io.addr == reaped_from)
        return (void *)"begin in KL_SYNC";
    if (!bytes_are(io.addr, PAGE, 9))
        return (void *)"the contents";
    return kl_uring_end(rp.pool, reaped_buf) == 0 ? NULL : (void *)"end";
}

static pthread_t beginner;
static unsigned reaps;

/* Within the migration, in its thread. */
static void reap(void *ctx)
{
    assert_ptr_equal(ctx, &reaps);
    if (reaps++ == 0)
        assert_int_equal(pthread_create(&beginner, NULL, begins_in_sync, NULL), 0);
    if (ringpool_stats().held_off > 0 && ringpool_stats().in_flight == 1)
        ringpool_finish(9);
}

static void the_migrating_thread_reaps(void **state)
{
    struct kl_uring_config reaping = ringpool_usual;
    struct kl_uring_io io;
    void *wrong;

    (void)state;
    reaping.wait_ms = FOREVER_MS;
    reaping.reap = reap;
    reaping.ctx = &reaps;
    reaps = 0;
    ringpool_open(&reaping, 0);
    reaped_buf = ringpool_get(&io); /* so the last end is this thread's */
    reaped_from = io.addr;
    ringpool_start(reaped_buf, &io);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
    assert_int_equal(pthread_join(beginner, &wrong), 0);
    if (wrong)
        fail_msg("%s", (const char *)wrong);
    assert_int_equal(ringpool_stats().refused_own, 0);
    assert_ringpool_works(reaped_buf, 9, true);
    assert_int_equal(kl_uring_put(rp.pool, reaped_buf), 0);
    ringpool_close();
}

/* Without reap it would wait for itself: it is told at once. */
static void nobody_waits_for_himself(void **state)
{
    struct kl_uring_config patient = ringpool_usual;
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    patient.wait_ms = FOREVER_MS;
    ringpool_open(&patient, 0);
    buf = ringpool_get(&io);
    ringpool_start(buf, &io);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), -KL_EBUSY);
    assert_true(ringpool_stats().refused_own > 0);
    ringpool_finish(3);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
    assert_ringpool_works(buf, 3, true);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

/* ---- rings for one thread ---- */

static void *moves_elsewhere(void *arg)
{
    return (void *)(intptr_t)rings_move(rp.f.zone, arg, KL_SYNC, NULL);
}

static void *creates_elsewhere(void *arg)
{
    struct kl_uring_pool *made;

    (void)arg;
    return (void *)(intptr_t)kl_uring_pool_create(rp.f.zone, &rp.ring, &ringpool_usual, &made);
}

static void *destroys_elsewhere(void *arg)
{
    return (void *)(intptr_t)kl_uring_pool_destroy(arg);
}

static int elsewhere(void *(*what)(void *), void *arg)
{
    pthread_t thread;
    void *said;

    assert_int_equal(pthread_create(&thread, NULL, what, arg), 0);
    assert_int_equal(pthread_join(thread, &said), 0);
    return (int)(intptr_t)said;
}

static void *fixes_elsewhere(void *pool)
{
    return (void *)(intptr_t)kl_uring_pool_fix(pool);
}

static void a_single_issuer(void **state)
{
    const unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    struct io_uring probe;
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    if (io_uring_queue_init(2, &probe, flags) != 0) {
        print_message("# skipped: this kernel has no IORING_SETUP_SINGLE_ISSUER\n");
        skip();
    }
    io_uring_queue_exit(&probe);
    ringpool_ring(flags);
    assert_int_equal(elsewhere(creates_elsewhere, NULL), -KL_EINVAL);
    assert_zone_ok(rp.f.zone);
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, &ringpool_usual, &rp.pool), 0);
    buf = ringpool_get(&io);
    assert_int_equal(elsewhere(moves_elsewhere, io.addr), -KL_EBUSY);
    assert_true(ringpool_stats().refused_issuer > 0);
    assert_ringpool_works(buf, 0, true);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
    assert_true(ringpool_stats().moved > 0);
    assert_ringpool_works(buf, 102, true);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    assert_int_equal(elsewhere(destroys_elsewhere, rp.pool), -KL_EINVAL);
    ringpool_close();
}

/* Another thread may not register: it says how many are not, and leaves them as they were. */
static void fixed_by_a_single_issuer(void **state)
{
    const unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    struct io_uring probe;

    (void)state;
    if (io_uring_queue_init(2, &probe, flags) != 0) {
        print_message("# skipped: this kernel has no IORING_SETUP_SINGLE_ISSUER\n");
        skip();
    }
    io_uring_queue_exit(&probe);
    ringpool_ring(flags);
    rings_fail(4, 0, 0, -ENOMEM); /* two buffers, with an empty slot too */
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, &ringpool_usual, &rp.pool), 0);
    assert_int_equal(ringpool_stats().unfixed, 2);
    assert_int_equal(elsewhere(fixes_elsewhere, rp.pool), 2);
    assert_int_equal(ringpool_stats().stuck, 0);
    assert_int_equal(ringpool_stats().unfixed, 2);
    assert_ringpool_ok(rp.pool);
    assert_int_equal(kl_uring_pool_fix(rp.pool), 0);
    assert_int_equal(elsewhere(fixes_elsewhere, rp.pool), 0);
    ringpool_close();
}

/* ---- results ---- */

static void short_reads_and_cancelled_ones(void **state)
{
    struct kl_uring_io io;
    struct io_uring_sqe *sqe;
    kl_uring_buf buf;
    uint64_t name;
    int res;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    assert_int_equal(kl_uring_get(rp.pool, &buf), 0);
    ringpool_start(buf, &io);
    assert_int_equal(write(rp.pipes[1], "short", 5), 5);
    assert_int_equal(rings_wait(&rp.ring, &name), 5);
    assert_memory_equal(io.addr, "short", 5);
    assert_int_equal(kl_uring_end(rp.pool, buf), 0);

    ringpool_start(buf, &io);
    sqe = io_uring_get_sqe(&rp.ring);
    io_uring_prep_cancel64(sqe, buf.v, 0);
    sqe->user_data = 0;
    assert_int_equal(io_uring_submit(&rp.ring), 1);
    for (unsigned i = 0; i < 2; i++) {
        res = rings_wait(&rp.ring, &name);
        if (name == buf.v) {
            assert_true(res == -ECANCELED || res == -EINTR);
            assert_int_equal(kl_uring_end(rp.pool, buf), 0);
        }
    }
    assert_int_equal(ringpool_stats().in_flight, 0);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_ASYNC, NULL), 0);
    assert_ringpool_works(buf, 0, true);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_buffer_stays),
        cmocka_unit_test(one_that_is_busy_keeps_no_other),
        cmocka_unit_test(a_migration_waits_for_the_end),
        cmocka_unit_test(the_migrating_thread_reaps),
        cmocka_unit_test(nobody_waits_for_himself),
        cmocka_unit_test(a_single_issuer),
        cmocka_unit_test(fixed_by_a_single_issuer),
        cmocka_unit_test(short_reads_and_cancelled_ones),
    };

    return rings_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
