// SPDX-License-Identifier: Apache-2.0
/* Clients' own work done by a worker, when its descriptor says so or in its thread;
 * and a thread that would end itself. */
#include "frame/zone.h"
#include "support/mover.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

enum { ZONE_BLOCKS = 16, ORDER = 6 };

static struct mover m;

static uint64_t none(void *ctx, const struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 0;
}

static uint64_t nothing(void *ctx, struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 0;
}

static uint32_t free_blocks(const struct fixture *f)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f->zone, &s);
    return s.free_blocks;
}

/* Jobs for a client, brought by threads, done by steps when the descriptor says so. */
struct desk {
    struct kl_zone *zone;
    kl_shrinker_id id;
    _Atomic uint64_t brought, done;
    uint64_t calls, unused;
};

static uint64_t do_jobs(void *ctx, uint32_t budget)
{
    struct desk *d = ctx;
    uint64_t brought = atomic_load(&d->brought), done = atomic_load(&d->done);

    d->calls++;
    d->unused += brought == done;
    atomic_store(&d->done, brought - done > budget ? done + budget : brought);
    return brought - done > budget ? 0 : KL_WORK_DONE;
}

enum { JOBS = 20000, BRINGERS = 2 };

static void *bring(void *arg)
{
    struct desk *d = arg;

    for (unsigned i = 0; i < JOBS; i++) {
        atomic_fetch_add(&d->brought, 1);
        if (kl_shrinker_want(d->zone, d->id) != 0)
            return arg;
        if (i % 64 == 0)
            kl_linux_host()->relax(NULL, i / 64);
    }
    return NULL;
}

/* Were a want lost, the descriptor would never be readable again, and this would hang. */
static void no_want_is_lost(void **state)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "desk", .count = none, .scan = nothing, .work = do_jobs};
    const struct kl_linux_worker_config config = {.size = sizeof(config), .budget = 30};
    static struct desk desk[2];
    struct kl_linux_worker *worker;
    struct fixture f;
    pthread_t thread[2 * BRINGERS];

    (void)state;
    fixture_open(&f, 1, 0, 0);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    for (unsigned i = 0; i < 2; i++) {
        desk[i] = (struct desk){.zone = f.zone};
        assert_int_equal(kl_shrinker_register(f.zone, &ops, &desk[i], &desk[i].id), 0);
    }
    for (unsigned i = 0; i < 2 * BRINGERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, bring, &desk[i % 2]), 0);
    while (atomic_load(&desk[0].done) + atomic_load(&desk[1].done) < 2 * BRINGERS * JOBS) {
        struct pollfd fd = {.fd = kl_linux_worker_fd(worker), .events = POLLIN};

        assert_int_equal(poll(&fd, 1, -1), 1);
        kl_linux_worker_step(worker);
    }
    for (unsigned i = 0; i < 2 * BRINGERS; i++) {
        void *failed;

        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    kl_linux_worker_destroy(worker);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(kl_shrinker_unregister(f.zone, desk[i].id), 0);
    fixture_close(&f);
}

struct beat {
    _Atomic unsigned calls, early;
    _Atomic uint64_t due;
};

static uint64_t linux_now(void)
{
    return kl_linux_host()->now_ns(kl_linux_host()->ctx);
}

static uint64_t beat(void *ctx, uint32_t budget)
{
    struct beat *b = ctx;
    uint64_t pause = 3 * MS;

    (void)budget;
    if (linux_now() < atomic_load(&b->due))
        atomic_fetch_add(&b->early, 1);
    atomic_store(&b->due, linux_now() + pause);
    atomic_fetch_add(&b->calls, 1);
    return pause;
}

/* By a program that polls, and by the thread: wanted once, then at its own times. */
static void the_timer_keeps_the_time(void **state)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "beat", .count = none, .scan = nothing, .work = beat};
    static struct beat b;
    struct kl_linux_worker *worker;
    struct kl_linux_worker_stats s = {.size = sizeof(s)};
    struct fixture f;
    kl_shrinker_id id;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 2);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &b, &id), 0);
    assert_int_equal(kl_shrinker_want(f.zone, id), 0);
    while (atomic_load(&b.calls) < 10) {
        struct pollfd fd = {.fd = kl_linux_worker_fd(worker), .events = POLLIN};

        assert_int_equal(poll(&fd, 1, -1), 1);
        assert_int_equal(kl_linux_worker_step(worker), -KL_EAGAIN);
    }
    assert_int_equal(kl_linux_worker_start(worker), 0);
    for (unsigned round = 0; atomic_load(&b.calls) < 20; round++)
        kl_linux_host()->relax(NULL, round);
    kl_linux_worker_get_stats(worker, &s);
    assert_int_equal(s.kicks, 1);
    assert_int_equal(atomic_load(&b.early), 0);
    kl_linux_worker_destroy(worker);
    assert_int_equal(free_blocks(&f), 0); /* and nothing else was done */
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Answers once with a time, and then with one that this test does not live to see. */
static uint64_t soon_then_late(void *ctx, uint32_t budget)
{
    (void)budget;
    return (*(unsigned *)ctx)++ == 0 ? MS : 3600000 * MS;
}

static bool readable(const struct kl_linux_worker *worker, int timeout)
{
    struct pollfd fd = {.fd = kl_linux_worker_fd(worker), .events = POLLIN};

    return poll(&fd, 1, timeout) == 1;
}

/* A want comes before any time; a time that is nobody's any more does nothing. */
static void wants_come_before_times(void **state)
{
    const struct kl_shrinker_ops ops = {.size = sizeof(ops),
                                        .name = "late",
                                        .count = none,
                                        .scan = nothing,
                                        .work = soon_then_late};
    struct kl_linux_worker *worker;
    struct fixture f;
    kl_shrinker_id id;
    unsigned calls = 1;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 2);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &calls, &id), 0);
    for (unsigned i = 2; i <= 4; i++) {
        assert_int_equal(kl_shrinker_want(f.zone, id), 0);
        assert_true(readable(worker, 20000));
        calls = i < 4 ? calls : 0;
        assert_int_equal(kl_linux_worker_step(worker), -KL_EAGAIN);
        assert_int_equal(calls, i < 4 ? i : 1);
        assert_true(i == 4 || !readable(worker, 0));
    }
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    assert_true(readable(worker, -1));
    assert_int_equal(kl_linux_worker_step(worker), 0);
    assert_int_equal(free_blocks(&f), 0);
    assert_int_equal(kl_linux_worker_step(worker), 0); /* of the caller's own idea */
    assert_true(free_blocks(&f) > 0);
    kl_linux_worker_destroy(worker);
    mover_close(&m);
    fixture_close(&f);
}

static struct kl_linux_worker *its_own;
static atomic_int answer;

static void stop_it(void *ctx)
{
    atomic_store(&answer, kl_linux_worker_stop(its_own));
    atomic_fetch_add((atomic_int *)ctx, 1);
}

/* From its own callback the thread can't be stopped: it is told so, and goes on. */
static void stopped_by_itself(void **state)
{
    atomic_int steps = 0;
    const struct kl_linux_worker_config config = {
        .size = sizeof(config), .stepped = stop_it, .ctx = &steps, .percent = 100};
    struct fixture f;

    (void)state;
    fixture_open(&f, 1, 0, 0);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &its_own), 0);
    kl_linux_worker_step(its_own); /* by this thread, and none runs */
    assert_int_equal(answer, -KL_ENOENT);
    assert_int_equal(kl_linux_worker_start(its_own), 0);
    for (int i = 2; i < 4; i++) {
        kli_kick(f.zone);
        for (unsigned round = 0; atomic_load(&steps) < i; round++)
            kl_linux_host()->relax(NULL, round);
        assert_int_equal(answer, -KL_EBUSY);
    }
    assert_int_equal(kl_linux_worker_stop(its_own), 0); /* it ran as before */
    kl_linux_worker_destroy(its_own);
    fixture_close(&f);
}

static void destroy_it(void *ctx)
{
    (void)ctx;
    (void)freopen("/dev/null", "w", stderr);
    kl_linux_worker_destroy(its_own);
}

/* Nor destroyed: that ends the program, before anything is freed. */
static void destroyed_by_itself(void **state)
{
    const struct kl_linux_worker_config config = {.size = sizeof(config), .stepped = destroy_it};
    struct fixture f;
    int status;

    (void)state;
    fixture_open(&f, 1, 0, 0);
    if (fork() == 0) {
        signal(SIGABRT, SIG_DFL);
        if (kl_linux_worker_create(f.zone, &config, &its_own) == 0 &&
            !kl_linux_worker_start(its_own))
            kli_kick(f.zone);
        sleep(60);
        _exit(1);
    }
    assert_true(wait(&status) > 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_want_is_lost),         cmocka_unit_test(the_timer_keeps_the_time),
        cmocka_unit_test(wants_come_before_times), cmocka_unit_test(stopped_by_itself),
        cmocka_unit_test(destroyed_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
