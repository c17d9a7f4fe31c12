// SPDX-License-Identifier: Apache-2.0
/* Steps, the kick, and the worker: a descriptor to poll, or a thread. */
#include "../../host/linux/internal.h"
#include "frame/zone.h"
#include "support/mover.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ZONE_BLOCKS = 32, ORDER = 6 };

static struct mover m;

/* Every fourth frame is used, so that three of four blocks can be gained. */
static void open_scattered(struct fixture *f)
{
    fixture_open(f, ZONE_BLOCKS, ORDER, 0);
    mover_open(&m, f->zone, MOVER_SINGLE);
    mover_scatter(&m, 4);
}

static void close_scattered(struct fixture *f)
{
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(f);
}

static uint32_t free_blocks(const struct fixture *f)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f->zone, &s);
    return s.free_blocks;
}

/* A timer that is due may need a moment to say so: HAS_TO where it has to become readable. */
enum { HAS_TO = 20000 };

static bool readable(const struct kl_linux_worker *worker, int timeout_ms)
{
    struct pollfd fd = {.fd = kl_linux_worker_fd(worker), .events = POLLIN};

    return poll(&fd, 1, timeout_ms) == 1;
}

static struct kl_linux_worker_stats stats_of(const struct kl_linux_worker *worker)
{
    struct kl_linux_worker_stats s = {.size = sizeof(s)};

    kl_linux_worker_get_stats(worker, &s);
    return s;
}

static void steps_keep_to_their_budget(void **state)
{
    struct kl_step step = {.size = sizeof(step), .budget = 20};
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;
    unsigned steps = 1;

    (void)state;
    open_scattered(&f);
    assert_int_equal(kl_zone_step(f.zone, NULL, NULL), -KL_EINVAL);
    step.size--;
    assert_int_equal(kl_zone_step(f.zone, &step, &r), -KL_EINVAL);
    step.size++;
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_zone_step(f.zone, &step, &r), -KL_ENOMEM);
    assert_zone_ok(f.zone);
    for (; kl_zone_step(f.zone, &step, &r) == -KL_EAGAIN; steps++)
        assert_in_range(r.migrated, 20, 20 + 64); /* one block more at most */
    assert_true(steps > 5);
    assert_true(free_blocks(&f) >= ZONE_BLOCKS * 3 / 4 - 1);
    close_scattered(&f);
}

static void count_call(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static void one_kick_a_zone(void **state)
{
    atomic_int calls = 0;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    kli_kick(f.zone);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), -KL_ENOENT);
    assert_int_equal(kl_zone_set_kick(f.zone, count_call, &calls), 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_call, &calls), -KL_EEXIST);
    kli_kick(f.zone);
    kli_kick(f.zone);
    assert_int_equal(calls, 2);
    assert_int_equal(kl_zone_destroy(f.zone), -KL_EBUSY);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    kli_kick(f.zone);
    assert_int_equal(calls, 2);
    fixture_close(&f);
}

/* A kick that is taken away while others call it: what it needs is freed then. */
struct target {
    atomic_bool alive;
    _Atomic uint64_t calls;
};

static _Atomic uint64_t wrong, kicks;
static atomic_bool stop;

static void hit(void *ctx)
{
    struct target *t = ctx;

    if (!atomic_load(&t->alive))
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&t->calls, 1);
}

static void *kick_on(void *arg)
{
    while (!atomic_load(&stop)) {
        kli_kick(arg);
        atomic_fetch_add(&kicks, 1);
    }
    return NULL;
}

static void kicks_against_set(void **state)
{
    struct fixture f;
    pthread_t thread[3];

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, kick_on, f.zone), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct target *t = calloc(1, sizeof(*t));

        atomic_store(&t->alive, true);
        assert_int_equal(kl_zone_set_kick(f.zone, hit, t), 0);
        for (unsigned k = 0; i % 2 && atomic_load(&t->calls) < 5; k++)
            sched_yield();
        assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
        atomic_store(&t->alive, false);
        free(t);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    fixture_close(&f);
}

static void refuses_bad_workers(void **state)
{
    struct kl_linux_worker_config config = {.size = sizeof(config) - 1};
    struct kl_linux_worker *worker, *second;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    assert_int_equal(kl_linux_worker_create(NULL, NULL, &worker), -KL_EINVAL);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, NULL), -KL_EINVAL);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), -KL_EINVAL);
    config.size++;
    config.percent = 101;
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), -KL_EINVAL);
    config.percent = 100;
    config.flags = 2;
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), -KL_EINVAL);
    config.flags = 0;
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &second), -KL_EEXIST);
    assert_int_equal(kl_zone_destroy(f.zone), -KL_EBUSY);
    assert_int_equal(kl_linux_worker_stop(worker), -KL_ENOENT);
    kl_linux_worker_destroy(worker);
    kl_linux_worker_destroy(NULL);
    fixture_close(&f);
}

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Without a descriptor, without the second one, with the kick taken: nothing stays. */
static void creation_undoes_itself(void **state)
{
    struct rlimit limit, less;
    struct kl_linux_worker *worker;
    struct fixture f;
    unsigned before;
    int lowest;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    before = open_files();
    lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &limit);
    for (int room = 0; room < 2; room++) {
        less = limit;
        less.rlim_cur = (rlim_t)lowest + (rlim_t)room;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
        assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), -KL_ENOMEM);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(open_files(), before);
    }
    assert_int_equal(kl_zone_set_kick(f.zone, count_call, NULL), 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), -KL_EEXIST);
    assert_int_equal(open_files(), before);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    fixture_close(&f);
}

static void a_descriptor_to_poll(void **state)
{
    const struct kl_linux_worker_config config = {.size = sizeof(config), .budget = 20};
    struct kl_linux_worker *worker;
    struct fixture f;
    unsigned steps = 0;
    uint64_t n;

    (void)state;
    open_scattered(&f);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_false(readable(worker, 0));
    for (unsigned i = 0; i < 1000; i++)
        kli_kick(f.zone);
    assert_true(readable(worker, HAS_TO));
    assert_int_equal(read(kl_linux_worker_fd(worker), &n, sizeof(n)), sizeof(n));
    assert_int_equal(n, 1); /* written once */
    assert_int_equal(stats_of(worker).kicks, 1000);
    for (steps = 1; kl_linux_worker_step(worker) == -KL_EAGAIN; steps++)
        assert_true(readable(worker, HAS_TO));
    assert_true(steps > 5);
    assert_int_equal(stats_of(worker).steps, steps);
    assert_true(free_blocks(&f) >= ZONE_BLOCKS * 3 / 4 - 1);
    assert_int_equal(kl_linux_worker_step(worker), 0); /* wanted or not */
    kli_kick(f.zone);
    assert_true(readable(worker, HAS_TO));
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_linux_worker_step(worker), -KL_ENOMEM);
    assert_false(readable(worker, 0)); /* until the next kick */
    kli_kick(f.zone);
    assert_true(readable(worker, HAS_TO));
    kl_linux_worker_destroy(worker);
    close_scattered(&f);
}

/* A kick that nothing is behind, and a caller who thinks he knows better. */
static void only_what_is_wanted(void **state)
{
    atomic_int calls = 0;
    const struct kl_linux_worker_config config = {
        .size = sizeof(config), .flags = KL_STEP_WANTED, .stepped = count_call, .ctx = &calls};
    const struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 100};
    struct kl_linux_worker *worker;
    struct fixture f;

    (void)state;
    open_scattered(&f);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    kli_kick(f.zone);
    assert_true(readable(worker, HAS_TO));
    assert_int_equal(kl_linux_worker_step(worker), 0);
    assert_int_equal(kl_linux_worker_step(worker), 0);
    assert_int_equal(free_blocks(&f), 0);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    do {
        assert_true(readable(worker, HAS_TO));
    } while (kl_linux_worker_step(worker) == -KL_EAGAIN);
    assert_true(free_blocks(&f) >= ZONE_BLOCKS / 2);
    assert_int_equal(calls, stats_of(worker).steps);
    kl_linux_worker_destroy(worker);
    close_scattered(&f);
}

/* Steps only when the descriptor says so, while others kick: were a kick lost, it would
 * never be readable again, and this would hang. */
static void no_kick_is_lost(void **state)
{
    struct kl_linux_worker *worker;
    struct fixture f;
    pthread_t thread[2];

    (void)state;
    fixture_open(&f, 1, 0, 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, kick_on, f.zone), 0);
    for (unsigned i = 0; i < 50000; i++) {
        struct pollfd fd = {.fd = kl_linux_worker_fd(worker), .events = POLLIN};

        assert_int_equal(poll(&fd, 1, -1), 1);
        assert_int_equal(kl_linux_worker_step(worker), 0);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    while (readable(worker, 100)) /* the last kick's timer */
        kl_linux_worker_step(worker);
    kli_kick(f.zone);
    assert_true(readable(worker, HAS_TO));
    kl_linux_worker_destroy(worker);
    fixture_close(&f);
}

static void wait_for_blocks(const struct fixture *f, uint32_t n)
{
    for (unsigned round = 0; free_blocks(f) < n; round++)
        kl_linux_host()->relax(NULL, round);
}

static void a_thread_does_it(void **state)
{
    const struct kl_linux_worker_config config = {
        .size = sizeof(config), .budget = 20, .percent = 50};
    struct kl_linux_worker *worker;
    struct kl_linux_worker_stats s = {.size = sizeof(s)};
    struct fixture f;

    (void)state;
    open_scattered(&f);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), -KL_EEXIST);
    assert_int_equal(stats_of(worker).steps, 0); /* nobody has kicked */
    kli_kick(f.zone);
    wait_for_blocks(&f, ZONE_BLOCKS / 2);
    assert_int_equal(kl_linux_worker_stop(worker), 0);
    assert_int_equal(kl_linux_worker_stop(worker), -KL_ENOENT);
    s = stats_of(worker);
    assert_true(s.steps > 5);
    assert_true(s.paused_ns >= s.cpu_ns); /* half of a CPU at most */
    assert_true(s.cpu_ns > 0);
    assert_int_equal(kl_linux_worker_start(worker), 0); /* and again */
    kli_kick(f.zone);
    wait_for_blocks(&f, ZONE_BLOCKS * 3 / 4 - 1);
    kl_linux_worker_destroy(worker); /* with its thread */
    close_scattered(&f);
}

static void wait_for_calls(atomic_int *calls, int n)
{
    for (unsigned round = 0; atomic_load(calls) < n; round++)
        kl_linux_host()->relax(NULL, round);
}

/* Once after the start, once after each step at most; by the thread alone. */
static void quiet_is_said(void **state)
{
    atomic_int quiet = 0;
    struct kl_linux_worker_config config = {
        .size = sizeof(config), .quiet = count_call, .ctx = &quiet};
    struct kl_linux_worker *worker;
    struct fixture f;

    (void)state;
    fixture_open(&f, 1, 0, 0);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), -KL_EINVAL);
    config.quiet_ns = 1; /* a millisecond, really */
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    kl_linux_worker_step(worker);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    wait_for_calls(&quiet, 1);
    assert_int_equal(quiet, 1);
    for (int i = 2; i < 5; i++) {
        kli_kick(f.zone);
        wait_for_calls(&quiet, i);
        assert_int_equal(stats_of(worker).steps, i);
    }
    assert_int_equal(kl_linux_worker_stop(worker), 0);
    assert_int_equal(quiet, 4);
    kl_linux_worker_destroy(worker);
    config.quiet_ns = UINT64_MAX; /* the most that poll can wait */
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    kli_kick(f.zone);
    while (stats_of(worker).steps == 0)
        kl_linux_host()->relax(NULL, 100);
    kl_linux_worker_destroy(worker);
    assert_int_equal(quiet, 4);
    fixture_close(&f);
}

/* The line of /proc of the one other thread. */
static bool other_thread(const char *name, long *nice)
{
    char path[300], line[600] = "";
    DIR *dir = opendir("/proc/self/task");
    bool found = false;
    struct dirent *entry;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL && !found) {
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/stat", entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (!file)
            continue;
        found = fgets(line, sizeof(line), file) && strstr(line, name) &&
                sscanf(strrchr(line, ')') + 1,
                       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %ld",
                       nice) == 1;
        fclose(file);
    }
    closedir(dir);
    return found;
}

static void on_signal(int signo)
{
    (void)signo;
    atomic_fetch_add(&wrong, 1);
}

/* Named, nice, and deaf. */
static void a_thread_behaves(void **state)
{
    const struct kl_linux_worker_config config = {.size = sizeof(config),
                                                  .name = "a name beyond 15 characters"};
    struct sigaction action = {.sa_handler = on_signal}, old;
    struct kl_linux_worker *worker;
    sigset_t set, before;
    struct fixture f;
    long nice = 0;
    int signo;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    sigaction(SIGUSR1, &action, &old);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    for (unsigned i = 0; !other_thread("(a name beyond 1)", &nice) || nice != 19; i++)
        kl_linux_host()->relax(NULL, i);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    assert_false(sigismember(&before, SIGUSR1)); /* start put it back */
    kill(getpid(), SIGUSR1);
    assert_int_equal(sigwait(&set, &signo), 0); /* still there for this thread */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    sigaction(SIGUSR1, &old, NULL);
    assert_int_equal(wrong, 0);
    kl_linux_worker_destroy(worker);
    fixture_close(&f);
}

static void no_thread_to_be_had(void **state)
{
    struct kl_linux_worker *worker;
    pthread_attr_t before, huge;
    sigset_t mask;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    assert_int_equal(pthread_getattr_default_np(&before), 0);
    assert_int_equal(pthread_getattr_default_np(&huge), 0);
    assert_int_equal(pthread_attr_setstacksize(&huge, SIZE_MAX & ~(size_t)0xffffff), 0);
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    assert_int_equal(kl_linux_worker_start(worker), -KL_ENOMEM);
    assert_int_equal(pthread_setattr_default_np(&before), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGUSR1));
    assert_int_equal(kl_linux_worker_stop(worker), -KL_ENOENT);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    kl_linux_worker_destroy(worker);
    pthread_attr_destroy(&huge);
    pthread_attr_destroy(&before);
    fixture_close(&f);
}

/* The pause after so much work is what makes it `percent` of the whole. */
static void pauses(void **state)
{
    (void)state;
    assert_int_equal(kli_worker_pause(1000, 100), 0);
    assert_int_equal(kli_worker_pause(1000, 50), 1000);
    assert_int_equal(kli_worker_pause(1000, 10), 9000);
    assert_int_equal(kli_worker_pause(1000, 1), 99000);
    assert_int_equal(kli_worker_pause(199, 10), 1791);
    assert_int_equal(kli_worker_pause(0, 10), 0);
    assert_int_equal(kli_worker_pause(UINT64_C(1) << 50, 1), (UINT64_C(1) << 50) * 99);
}

/* Kicks and steps from many threads, with and without the worker's own, and workers
 * that come and go meanwhile. */
static void workers_come_and_go(void **state)
{
    const struct kl_linux_worker_config config = {
        .size = sizeof(config), .budget = 1, .percent = 100};
    struct kl_linux_worker *worker;
    struct fixture f;
    pthread_t thread[2];

    (void)state;
    open_scattered(&f);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, kick_on, f.zone), 0);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
        if (i % 3)
            assert_int_equal(kl_linux_worker_start(worker), 0);
        else
            kl_linux_worker_step(worker);
        while (i % 2 && stats_of(worker).steps == 0)
            kl_linux_worker_step(worker);
        if (i % 3 == 1)
            assert_int_equal(kl_linux_worker_stop(worker), 0);
        kl_linux_worker_destroy(worker);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    close_scattered(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_keep_to_their_budget), cmocka_unit_test(one_kick_a_zone),
        cmocka_unit_test(kicks_against_set),          cmocka_unit_test(refuses_bad_workers),
        cmocka_unit_test(creation_undoes_itself),     cmocka_unit_test(a_descriptor_to_poll),
        cmocka_unit_test(only_what_is_wanted),        cmocka_unit_test(no_kick_is_lost),
        cmocka_unit_test(a_thread_does_it),           cmocka_unit_test(a_thread_behaves),
        cmocka_unit_test(no_thread_to_be_had),        cmocka_unit_test(pauses),
        cmocka_unit_test(workers_come_and_go),        cmocka_unit_test(quiet_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
