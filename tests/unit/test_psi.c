// SPDX-License-Identifier: Apache-2.0
/* Where pressure is heard of: systems of a few files stand for the kernel's, and this one is
 * asked what it has. */
#include "support/mover.h"

#include "../../host/linux/pressure.h"
#include "klotski/pressure.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ZONE_BLOCKS = 16, ORDER = 6 };

#define GROUP "sys/fs/cgroup/a/b/"

static char root[64];
static struct fixture f;

static void put_file(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/klotski-psi.XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put_file("proc/meminfo", "MemTotal: 16000 kB\nMemFree: 10 kB\nMemAvailable:    15000 kB\n");
    fixture_open(&f, ZONE_BLOCKS, ORDER, KL_ZONE_POPULATE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(kl_zone_pressure_level(f.zone), KL_PRESSURE_NONE);
    fixture_close(&f);
    return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void group_v2(const char *max, const char *current)
{
    put_file("proc/self/cgroup", "0::/a/b\n");
    put_file("proc/self/mountinfo", "31 23 0:29 / /sys/fs/cgroup rw - cgroup2 none rw\n");
    put_file(GROUP "memory.max", max);
    put_file(GROUP "memory.current", current);
}

static int try_open(enum kl_linux_pressure_kind kind, struct kl_linux_pressure **p)
{
    const struct kl_linux_pressure_config config = {
        .size = sizeof(config), .kind = kind, .interval_ms = 20};

    return kli_pressure_create(root, f.zone, &config, p);
}

static struct kl_linux_pressure *open_kind(enum kl_linux_pressure_kind kind)
{
    struct kl_linux_pressure *p = NULL;

    assert_int_equal(try_open(kind, &p), 0);
    return p;
}

static struct kl_linux_pressure_stats stats(struct kl_linux_pressure *p)
{
    struct kl_linux_pressure_stats s = {.size = sizeof(s)};

    kl_linux_pressure_get_stats(p, &s);
    return s;
}

/* The level with so much in use. */
static enum kl_pressure_level level_at(struct kl_linux_pressure *p, const char *current)
{
    put_file(GROUP "memory.current", current);
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).level, kl_zone_pressure_level(f.zone));
    return kl_zone_pressure_level(f.zone);
}

static bool readable(struct kl_linux_pressure *p, int ms)
{
    struct pollfd fd = {.fd = kl_linux_pressure_fd(p), .events = POLLIN};

    return poll(&fd, 1, ms) == 1;
}

static void refuses_what_is_not_there(void **state)
{
    struct kl_linux_pressure_config config = {.size = sizeof(config)};
    struct kl_linux_pressure *p = NULL;

    (void)state;
    assert_int_equal(kl_linux_pressure_create(NULL, NULL, &p), -KL_EINVAL);
    assert_int_equal(kl_linux_pressure_create(f.zone, NULL, NULL), -KL_EINVAL);
    config.size--;
    assert_int_equal(kl_linux_pressure_create(f.zone, &config, &p), -KL_EINVAL);
    config.size++;
    config.kind = (enum kl_linux_pressure_kind)4;
    assert_int_equal(kl_linux_pressure_create(f.zone, &config, &p), -KL_EINVAL);
    assert_int_equal(try_open(KL_LINUX_PRESSURE_PSI, &p), -KL_ENOTSUP);
    put_file("proc/pressure/memory", "some avg10=0.00\n"); /* no file that can be polled */
    assert_int_equal(try_open(KL_LINUX_PRESSURE_PSI, &p), -KL_ENOTSUP);
    assert_int_equal(try_open(KL_LINUX_PRESSURE_CGROUP, &p), -KL_ENOTSUP);
    group_v2("max\n", "5000\n");
    assert_int_equal(try_open(KL_LINUX_PRESSURE_CGROUP, &p), -KL_ENOTSUP);
    group_v2("16384001\n", "5000\n"); /* more than the machine has */
    put_file("proc/meminfo", "MemTotal: 16000 kB\nMemAvailable: 9 kB\n");
    assert_int_equal(try_open(KL_LINUX_PRESSURE_CGROUP, &p), -KL_ENOTSUP);
    put_file("proc/meminfo", "nothing\n");
    put_file(GROUP "memory.max", "max\n");
    assert_int_equal(try_open(KL_LINUX_PRESSURE_AUTO, &p), -KL_ENOTSUP);
    assert_null(p);
    kl_linux_pressure_destroy(NULL);
}

/* An eighth of the limit, a sixteenth, and a quarter more before it is over. */
static void levels_by_what_is_left(void **state)
{
    struct kl_linux_pressure *p;

    (void)state;
    group_v2("800000\n", "100000\n");
    p = open_kind(KL_LINUX_PRESSURE_CGROUP);
    assert_int_equal(stats(p).cgroup, 2);
    assert_int_equal(stats(p).limit_bytes, 800000);
    assert_int_equal(stats(p).room_bytes, 700000);
    assert_true(stats(p).sources & KL_LINUX_BY_CGROUP);
    assert_false(stats(p).sources & KL_LINUX_BY_PSI);
    assert_int_equal(level_at(p, "700000\n"), KL_PRESSURE_NONE);
    assert_int_equal(level_at(p, "700001\n"), KL_PRESSURE_IDLE);
    assert_int_equal(level_at(p, "750000\n"), KL_PRESSURE_IDLE);
    assert_int_equal(level_at(p, "750100\n"), KL_PRESSURE_COLD);
    assert_int_equal(level_at(p, "738000\n"), KL_PRESSURE_COLD);
    assert_int_equal(level_at(p, "737000\n"), KL_PRESSURE_IDLE);
    assert_int_equal(level_at(p, "676000\n"), KL_PRESSURE_IDLE);
    assert_int_equal(level_at(p, "674000\n"), KL_PRESSURE_NONE);
    assert_int_equal(level_at(p, "900000\n"), KL_PRESSURE_COLD); /* lowered below the use */
    assert_int_equal(stats(p).fired, 3);
    put_file(GROUP "memory.stat", "anon 7\ninactive_file 500000\n"); /* cache goes by itself */
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).level, KL_PRESSURE_NONE);
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).fired, 3);
    kl_linux_pressure_destroy(p);
}

/* memory.high counts, and the groups above; the nearest limit of all. */
static void the_nearest_limit(void **state)
{
    struct kl_linux_pressure *p;

    (void)state;
    group_v2("800000\n", "100000\n");
    put_file("sys/fs/cgroup/a/memory.max", "max\n");
    put_file("sys/fs/cgroup/a/memory.current", "200000\n");
    p = open_kind(KL_LINUX_PRESSURE_AUTO);
    assert_int_equal(stats(p).limit_bytes, 800000);
    put_file(GROUP "memory.high", "110000\n");
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).limit_bytes, 110000);
    assert_int_equal(stats(p).level, KL_PRESSURE_IDLE);
    put_file("sys/fs/cgroup/a/memory.max", "201000\n");
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).limit_bytes, 201000);
    assert_int_equal(stats(p).level, KL_PRESSURE_COLD);
    put_file(GROUP "memory.high", "max\n");
    put_file("sys/fs/cgroup/a/memory.max", "max\n");
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).level, KL_PRESSURE_NONE);
    put_file("proc/meminfo", "MemTotal: 16000 kB\nMemAvailable: 400 kB\n"); /* a 40th */
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).limit_bytes, 16000 * 1024);
    assert_int_equal(stats(p).level, KL_PRESSURE_COLD);
    kl_linux_pressure_destroy(p);
    assert_int_equal(kl_zone_pressure_level(f.zone), KL_PRESSURE_NONE); /* told so */
}

static void version_1(void **state)
{
    struct kl_linux_pressure *p;

    (void)state;
    put_file("proc/self/cgroup", "2:pids,memory:/box/a\n0::/\n");
    put_file("proc/self/mountinfo", "31 23 0:29 /box /g/m rw - cgroup cgroup rw,pids,memory\n");
    put_file("g/m/memory.limit_in_bytes", "9223372036854771712\n");
    put_file("g/m/memory.usage_in_bytes", "5\n");
    put_file("g/m/a/memory.limit_in_bytes", "1600000\n");
    put_file("g/m/a/memory.usage_in_bytes", "1300000\n");
    put_file("g/m/a/cgroup.event_control", "");
    put_file("g/m/a/memory.pressure_level", "");
    p = open_kind(KL_LINUX_PRESSURE_AUTO);
    assert_int_equal(stats(p).cgroup, 1);
    assert_int_equal(stats(p).limit_bytes, 1600000);
    assert_int_equal(stats(p).level, KL_PRESSURE_NONE);
    assert_true(stats(p).sources & KL_LINUX_BY_EVENTS); /* both were written */
    put_file("g/m/a/memory.usage_in_bytes", "1450000\n");
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).level, KL_PRESSURE_IDLE);
    kl_linux_pressure_destroy(p);
}

/* What was asked of the kernel: a threshold at seven eighths. */
static void the_threshold_of_version_1(void **state)
{
    char path[128], text[64] = "";
    struct kl_linux_pressure *p;
    unsigned event, file;
    unsigned long mark;
    FILE *control;

    (void)state;
    put_file("proc/self/cgroup", "2:memory:/\n");
    put_file("proc/self/mountinfo", "31 23 0:29 / /g rw - cgroup cgroup rw,memory\n");
    put_file("g/memory.limit_in_bytes", "1600000\n");
    put_file("g/memory.usage_in_bytes", "13000\n");
    put_file("g/cgroup.event_control", ""); /* and no memory.pressure_level */
    p = open_kind(KL_LINUX_PRESSURE_CGROUP);
    snprintf(path, sizeof(path), "%s/g/cgroup.event_control", root);
    control = fopen(path, "re");
    assert_non_null(control);
    assert_non_null(fgets(text, sizeof(text), control));
    fclose(control);
    assert_int_equal(sscanf(text, "%u %u %lu", &event, &file, &mark), 3);
    assert_int_equal(mark, 1400000);
    put_file("g/memory.limit_in_bytes", "800000\n"); /* again, when the limit is another */
    put_file("g/cgroup.event_control", "");
    kl_linux_pressure_look(p);
    control = fopen(path, "re");
    assert_non_null(control);
    assert_non_null(fgets(text, sizeof(text), control));
    fclose(control);
    assert_int_equal(sscanf(text, "%u %u %lu", &event, &file, &mark), 3);
    assert_int_equal(mark, 700000);
    kl_linux_pressure_destroy(p);
}

/* memory.events of version 2 is told at once. */
static void an_event_makes_it_readable(void **state)
{
    const struct kl_linux_pressure_config config = {
        .size = sizeof(config), .kind = KL_LINUX_PRESSURE_CGROUP, .interval_ms = 1000000};
    struct kl_linux_pressure *p = NULL;

    (void)state;
    group_v2("800000\n", "100000\n");
    put_file(GROUP "memory.events", "low 0\nhigh 0\nmax 0\n");
    assert_int_equal(kli_pressure_create(root, f.zone, &config, &p), 0);
    assert_true(stats(p).sources & KL_LINUX_BY_EVENTS);
    assert_false(readable(p, 0));
    put_file(GROUP "memory.current", "790000\n");
    put_file(GROUP "memory.events", "low 0\nhigh 0\nmax 1\n");
    assert_true(readable(p, 20000));
    kl_linux_pressure_look(p);
    assert_false(readable(p, 0));
    assert_int_equal(stats(p).level, KL_PRESSURE_COLD);
    assert_true(stats(p).events > 0);
    kl_linux_pressure_destroy(p);
}

/* Without an event the timer makes it readable. */
static void polling_looks_by_itself(void **state)
{
    struct kl_linux_pressure *p;

    (void)state;
    p = open_kind(KL_LINUX_PRESSURE_POLL);
    assert_int_equal(stats(p).sources, KL_LINUX_BY_POLLING);
    assert_int_equal(stats(p).interval_ms, 20);
    put_file("proc/meminfo", "MemTotal: 16000 kB\nMemAvailable: 900 kB\n");
    assert_true(readable(p, 20000));
    kl_linux_pressure_look(p);
    assert_int_equal(stats(p).level, KL_PRESSURE_IDLE);
    assert_int_equal(stats(p).looks, 2);
    kl_linux_pressure_destroy(p);
}

/* The worker's thread looks, and gives back what is idle. */
static void the_worker_gives_back(void **state)
{
    struct kl_linux_worker_config config = {.size = sizeof(config), .flags = KL_STEP_WANTED};
    struct kl_zone_stats zone = {.size = sizeof(zone)};
    const uint64_t all = ZONE_BLOCKS * kl_zone_block_bytes(f.zone);
    struct kl_linux_worker *worker;

    (void)state;
    group_v2("800000\n", "100000\n");
    config.pressure = open_kind(KL_LINUX_PRESSURE_AUTO);
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    kl_zone_get_stats(f.zone, &zone);
    assert_int_equal(zone.present_blocks, ZONE_BLOCKS);
    put_file(GROUP "memory.current", "790000\n");
    for (unsigned i = 0; i < 2000 && stats(config.pressure).returned_bytes < all; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(stats(config.pressure).returned_bytes, all);
    kl_zone_get_stats(f.zone, &zone);
    assert_int_equal(zone.present_blocks, 0);
    kl_linux_worker_destroy(worker);
    kl_linux_pressure_destroy(config.pressure);
}

/* What this machine has.  A trigger is there, or it is known why not. */
static void this_machine(void **state)
{
    const struct kl_linux_pressure_config config = {.size = sizeof(config),
                                                    .kind = KL_LINUX_PRESSURE_PSI};
    struct kl_linux_pressure *p = NULL;
    int fd = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC), err;
    bool can = fd >= 0 && write(fd, "some 200000 2000000", 20) > 0;

    (void)state;
    if (fd >= 0)
        close(fd);
    err = kl_linux_pressure_create(f.zone, &config, &p);
    assert_int_equal(err, can ? 0 : -KL_ENOTSUP);
    if (!err) {
        assert_int_equal(stats(p).sources & KL_LINUX_BY_PSI, KL_LINUX_BY_PSI);
        assert_true(stats(p).window_ms == 1000 || stats(p).window_ms == 2000);
        assert_int_equal(stats(p).stall_ms, stats(p).window_ms / 10);
        assert_int_equal(stats(p).interval_ms, 0); /* nothing to do, nothing done */
    }
    kl_linux_pressure_destroy(p);
    assert_int_equal(kl_linux_pressure_create(f.zone, NULL, &p), 0);
    assert_true(stats(p).sources);
    kl_linux_pressure_destroy(p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refuses_what_is_not_there),
        TEST(levels_by_what_is_left),
        TEST(the_nearest_limit),
        TEST(version_1),
        TEST(the_threshold_of_version_1),
        TEST(an_event_makes_it_readable),
        TEST(polling_looks_by_itself),
        TEST(the_worker_gives_back),
        TEST(this_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
