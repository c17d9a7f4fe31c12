// SPDX-License-Identifier: Apache-2.0
/* Registrations that fail: the buffers are used by ordinary requests, nothing is lost. */
#include "support/ringpool.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = RINGPOOL_PAGE, BUFFERS = RINGPOOL_BUFFERS };

/* One moves while so many fail; is it fixed afterwards? */
static void move_while(int fills, int empties, bool fixed, unsigned stuck)
{
    struct kl_uring_stats before;
    struct kl_uring_io io;
    kl_uring_buf buf;

    ringpool_open(&ringpool_usual, 0);
    buf = ringpool_get(&io);
    assert_ringpool_works(buf, 0, true);
    rings_fail(fills, empties, 0, -ENOMEM);
    before = ringpool_stats();
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
    rings_fail(0, 0, 0, 0);
    assert_true(ringpool_stats().moved > before.moved);
    assert_int_equal(BUFFERS - ringpool_stats().fixed, fixed ? 0 : ringpool_stats().unfixed);
    assert_int_equal(ringpool_stats().unfixed > 0, !fixed);
    assert_int_equal(ringpool_stats().stuck, stuck);
    assert_ringpool_ok(rp.pool);
    for (unsigned i = 0; i < BUFFERS; i++) {
        struct kl_uring_io one;

        if (i > 0)
            buf = ringpool_get(&one);
        assert_ringpool_works(buf, i ? 0 : 102, fixed || i >= ringpool_stats().unfixed);
        assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    }
    assert_int_equal(kl_uring_pool_fix(rp.pool), 0);
    assert_int_equal(ringpool_stats().fixed, BUFFERS);
    assert_int_equal(ringpool_stats().stuck, 0);
    ringpool_close();
}

static void a_registration_fails_once(void **state)
{
    (void)state;
    move_while(1, 0, true, 0);
}

static void a_registration_fails(void **state)
{
    (void)state;
    move_while(3 * BUFFERS, 0, false, 0); /* together, alone, and when it was emptied */
}

static void and_the_slot_can_not_be_emptied(void **state)
{
    (void)state;
    move_while(2 * BUFFERS, BUFFERS, false, BUFFERS);
}

/* Slots that follow one another are updated together, and the kernel did the first ones. */
static void together_and_done_in_part(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    buf = ringpool_get(&io);
    for (unsigned n = 1; n < BUFFERS; n++) {
        rings_short(n);
        assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, &io), 0);
        assert_int_equal(kl_uring_end(rp.pool, buf), 0);
        assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
        assert_int_equal(rings_short(0), 0); /* it happened */
        assert_int_equal(ringpool_stats().fixed, BUFFERS);
        assert_int_equal(ringpool_stats().unfixed, 0);
        assert_int_equal(ringpool_stats().moved, n * BUFFERS);
        assert_ringpool_works(buf, n > 1 ? 102 : 0, true);
    }
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

/* A pool without any registration works, with ordinary requests. */
static void none_can_be_registered(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    ringpool_ring(0);
    rings_fail(2 * BUFFERS, 0, 0, -ENOMEM);
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, &ringpool_usual, &rp.pool), 0);
    assert_int_equal(ringpool_stats().fixed, 0);
    buf = ringpool_get(&io);
    assert_ringpool_works(buf, 0, false);
    assert_true(ringpool_stats().plain > 0);
    rings_fail(1, 1, 0, -ENOMEM);
    assert_int_equal(kl_uring_pool_fix(rp.pool), 1);
    assert_int_equal(kl_uring_pool_fix(rp.pool), 0);
    assert_ringpool_works(buf, 102, true);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

/* In a process of its own: as many are fixed as the limit allows, the others work. */
static void limited(void)
{
    struct rlimit limit = {2 * PAGE, 2 * PAGE};
    uid_t user = 100000 + (uid_t)getpid(); /* whose rings have all been taken down */
    struct kl_uring_io io;
    kl_uring_buf buf[BUFFERS];

    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
        (geteuid() == 0 && (setresgid(user, user, user) || setresuid(user, user, user))))
        _exit(77);
    ringpool_open(&ringpool_usual, 0);
    if (ringpool_stats().fixed == BUFFERS)
        _exit(77); /* nobody counts here */
    assert_in_range(ringpool_stats().fixed, 0, 2);
    for (unsigned i = 0; i < BUFFERS; i++)
        buf[i] = ringpool_get(&io);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(kl_uring_begin(rp.pool, buf[i], KL_ASYNC, &io), 0);
        assert_int_equal(kl_uring_end(rp.pool, buf[i]), 0);
        assert_ringpool_works(buf[i], 0, io.slot >= 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(kl_uring_begin(rp.pool, buf[i % BUFFERS], KL_ASYNC, &io), 0);
        assert_int_equal(kl_uring_end(rp.pool, buf[i % BUFFERS]), 0);
        assert_int_equal(rings_move(rp.f.zone, io.addr, KL_SYNC, NULL), 0);
    }
    assert_in_range(ringpool_stats().fixed, 0, 2);
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(kl_uring_put(rp.pool, buf[i]), 0);
    ringpool_close();
}

static void little_memory_may_be_locked(void **state)
{
    int status;
    pid_t child;

    (void)state;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        limited();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("# skipped: no limit of locked memory can be had here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_registration_fails_once),
        cmocka_unit_test(a_registration_fails),
        cmocka_unit_test(and_the_slot_can_not_be_emptied),
        cmocka_unit_test(together_and_done_in_part),
        cmocka_unit_test(none_can_be_registered),
        cmocka_unit_test(little_memory_may_be_locked),
    };

    return rings_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
