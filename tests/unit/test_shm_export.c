// SPDX-License-Identifier: Apache-2.0
/* Objects that another process has: what it can do, and what it can't, also one of another
 * user that is hostile; and the end, whatever it does meanwhile. */
#include "support/shmdev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 20, BYTES = PAGES * PAGE - 100, NOBODY = 65534 };

static struct fixture f;
static struct kl_shm *shm;
static char buf[PAGES * PAGE];

static void open_all(unsigned blocks)
{
    fixture_open(&f, blocks, 4, 0);
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
}

static void close_all(void)
{
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

static struct kl_linux_export *give(kl_shm_id id, unsigned flags, int peer, int *fd)
{
    struct kl_linux_export_config config = {.size = sizeof(config), .flags = flags, .peer = peer};
    struct kl_linux_export *e = NULL;

    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, fd), 0);
    return e;
}

static struct kl_shm_stats stats(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return s;
}

static bool reads(int fd, const char *what, off_t at)
{
    char got[16] = {0};

    return pread(fd, got, strlen(what), at) == (ssize_t)strlen(what) && strcmp(got, what) == 0;
}

static void a_writable_one(void **state)
{
    struct kl_linux_export *e;
    kl_shm_id id;
    char *map;
    int fd;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 1);
    e = give(id, KL_LINUX_EXPORT_WRITE, -1, &fd);
    assert_int_equal(stats().away_bytes, PAGES * PAGE);
    assert_int_equal(stats().frames, 0);
    assert_int_equal(pread(fd, buf, BYTES, 0), BYTES);
    assert_true(bytes_are(buf, BYTES, 1));
    map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    memcpy(map + 5000, "from there", sizeof("from there"));
    assert_int_equal(kl_shm_read(shm, id, 5000, buf, 10), 0);
    assert_memory_equal(buf, "from there", 10);
    assert_int_equal(kl_shm_write(shm, id, 9000, "from here", 9), 0);
    assert_memory_equal(map + 9000, "from here", 9);
    assert_int_equal(ftruncate(fd, 2 * PAGES * PAGE), -1); /* sealed */
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), -1);
    assert_false(kl_linux_export_is_gone(e));
    assert_int_equal(kl_linux_export_end(e), 0);
    assert_int_equal(kl_shm_read(shm, id, 5000, buf, 10), 0);
    assert_memory_equal(buf, "from there", 10);
    assert_int_equal(pread(fd, buf, 1, 0), 0); /* empty */
    assert_int_equal(stats().away_bytes, 0);
    munmap(map, PAGES * PAGE);
    close(fd);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Nobody writes it but the library, through whatever door. */
static void a_read_only_one(void **state)
{
    struct kl_linux_export *e;
    kl_shm_id id;
    char path[40], *map;
    int fd, again;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 2);
    e = give(id, 0, -1, &fd);
    map = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_true(bytes_are(map, BYTES, 2));
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(mprotect(map, PAGE, PROT_READ | PROT_WRITE), -1);
    assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR); /* root, and the same user after a chmod, may */
    if (again >= 0) {
        assert_int_equal(pwrite(again, "x", 1, 0), -1);
        assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0),
                         MAP_FAILED);
        assert_int_equal(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), -1);
        close(again);
    }
    assert_int_equal(kl_shm_write(shm, id, PAGE - 2, "news", 4), 0);
    assert_memory_equal(map + PAGE - 2, "news", 4);
    assert_true(reads(fd, "news", PAGE - 2));
    assert_int_equal(kl_linux_export_end(e), 0);
    assert_int_equal(kl_shm_read(shm, id, PAGE - 2, buf, 4), 0);
    assert_memory_equal(buf, "news", 4);
    munmap(map, PAGES * PAGE);
    close(fd);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Shortened under our feet: errors and zeroes, no signal, and it comes back. */
static void one_that_was_cut_off(void **state)
{
    (void)state;
    for (unsigned writable = 0; writable < 2; writable++) {
        struct kl_linux_export *e;
        char path[40];
        kl_shm_id id;
        int fd, again;

        open_all(8);
        id = shm_filled(shm, BYTES, 3);
        e = give(id, writable, -1, &fd);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        again = open(path, O_RDWR);
        if (again < 0) { /* not root: the same user can change the mode first */
            assert_int_equal(fchmod(fd, 0600), 0);
            again = open(path, O_RDWR);
        }
        assert_true(again >= 0);
        assert_int_equal(ftruncate(again, PAGE), 0);
        assert_int_equal(kl_shm_read(shm, id, 0, buf, BYTES), 0);
        assert_int_equal(buf[PAGE], 0);
        assert_int_equal(kl_shm_write(shm, id, 3 * PAGE, "x", 1), -KL_EIO);
        assert_int_equal(kl_linux_export_end(e), 0);
        assert_int_equal(kl_shm_read(shm, id, 0, buf, BYTES), 0);
        assert_true(bytes_are(buf, PAGE, 3));
        for (unsigned i = PAGE; i < BYTES; i++)
            assert_int_equal(buf[i], 0);
        close(again);
        close(fd);
        assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        close_all();
    }
}

/* ---- peers ---- */

/* In the child: an odd one, of another user where that is possible. */
static void become_another(void)
{
    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(90);
}

static bool hostile_here(int fd, bool writable)
{
    char path[40];
    int again;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR);
    if (!writable && again >= 0 && getuid() == NOBODY)
        return false; /* X3 */
    if (!writable && (fchmod(fd, 0777) == 0 && getuid() == NOBODY))
        return false;
    if (ftruncate(fd, 1 << 30) == 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
        return false;
    if (!writable && getuid() == NOBODY && ftruncate(fd, 0) == 0)
        return false;
    fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
    lseek(fd, -1, SEEK_END);
    return true;
}

/* Writes, cuts, punches, maps again, for ever; ends by a signal only. */
static void rage(int fd, bool writable)
{
    unsigned n = 0;

    if (!hostile_here(fd, writable))
        _exit(91);
    for (;; n++) {
        char *map =
            mmap(NULL, PAGES * PAGE, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
            _exit(92);
        if (writable) {
            if (n % 7 == 3)
                fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE * (n % 19), PAGE);
            pwrite(fd, "garbage", 7, n % BYTES);
            map[n % BYTES] = 'g'; /* SIGBUS when it was taken back */
        } else {
            n += (unsigned)*(volatile char *)&map[n % BYTES] & 1;
        }
        munmap(map, PAGES * PAGE);
    }
}

/* What a peer that keeps the descriptor sees after the end: nothing. */
static bool nothing_left(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_size == 0 && st.st_blocks == 0 &&
           (ftruncate(fd, PAGE) != 0 || geteuid() != 0 || st.st_size == 0) &&
           pread(fd, buf, 1, 0) <= 0;
}

static void pause_us(unsigned us)
{
    usleep(us);
}

/* Killed at any moment, or not at all: the end always comes, and nothing leaks. */
static void hostile_peers(void **state)
{
    struct rng rng = rng_new(77);

    (void)state;
    open_all(8);
    for (unsigned round = 0; round < 40; round++) {
        bool writable = round % 2, kill_first = round % 4 < 2;
        kl_shm_id id = shm_filled(shm, BYTES, round),
                  neighbour = shm_filled(shm, BYTES, 1000 + round);
        struct kl_linux_export *e;
        int fd, ends[2], status;
        pid_t pid;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        e = give(id, writable ? KL_LINUX_EXPORT_WRITE : 0, ends[0], &fd);
        pid = fork();
        if (pid == 0) {
            close(ends[0]);
            signal(SIGBUS, SIG_DFL); /* not cmocka's */
            become_another();
            rage(fd, writable);
        }
        close(ends[1]);
        pause_us(rng_below(&rng, 3000));
        if (kill_first) {
            kill(pid, SIGKILL);
            while (!kl_linux_export_is_gone(e))
                pause_us(100);
        }
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(kl_shm_read(shm, id, 0, buf, BYTES), 0);
            if (!writable)
                assert_true(bytes_are(buf, BYTES, round));
        }
        assert_int_equal(kl_linux_export_end(e), 0);
        assert_true(nothing_left(fd));
        if (!writable)
            assert_true(shm_is_filled(shm, id, BYTES, round));
        assert_true(shm_is_filled(shm, neighbour, BYTES, 1000 + round));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status))
            assert_int_equal(WEXITSTATUS(status), 92); /* it could not map any more */
        else
            assert_true(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGBUS);
        close(fd);
        close(ends[0]);
        assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        assert_int_equal(kl_shm_object_destroy(shm, neighbour), 0);
        assert_int_equal(stats().away_blocks, 0);
        assert_shm_ok(shm);
    }
    close_all();
}

/* A socket that hangs up, a process that ends, a socket with garbage in it. */
static void when_the_peer_is_gone(void **state)
{
    struct kl_linux_export *e;
    kl_shm_id id;
    int fd, ends[2], pidfd;
    pid_t pid;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 5);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    e = give(id, 0, ends[0], &fd);
    assert_int_equal(write(ends[1], "garbage", 7), 7);
    assert_false(kl_linux_export_is_gone(e));
    close(ends[1]);
    assert_true(kl_linux_export_is_gone(e));
    assert_int_equal(kl_linux_export_end(e), 0);
    close(ends[0]);
    close(fd);
    pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        e = give(id, 0, pidfd, &fd);
        close(pidfd);
        assert_false(kl_linux_export_is_gone(e));
        kill(pid, SIGKILL);
        for (unsigned i = 0; i < 100000 && !kl_linux_export_is_gone(e); i++)
            pause_us(100);
        assert_true(kl_linux_export_is_gone(e));
        assert_int_equal(kl_linux_export_end(e), 0);
        close(fd);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(shm_is_filled(shm, id, BYTES, 5));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

static unsigned descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Refused, with nothing left: no descriptor, no charge. */
static void refused(void **state)
{
    struct kl_linux_export_config config = {.size = sizeof(config), .peer = -1};
    struct kl_linux_export *e = NULL;
    unsigned before;
    kl_shm_id id, empty;
    kl_pin_id pin;
    int fd = -1;

    (void)state;
    open_all(2);
    id = shm_filled(shm, BYTES, 1);
    assert_int_equal(kl_shm_object_create(shm, 0, 0, &empty), 0);
    before = descriptors();
    assert_int_equal(kl_linux_export_create(shm, empty, &config, &e, &fd), -KL_EINVAL);
    assert_int_equal(kl_linux_export_create(shm, (kl_shm_id){0}, &config, &e, &fd), -KL_ESTALE);
    assert_int_equal(kl_linux_export_create(shm, id, NULL, &e, &fd), -KL_EINVAL);
    config.flags = 2;
    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, &fd), -KL_EINVAL);
    config.flags = 0;
    config.peer = 250; /* no such descriptor */
    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, &fd), -KL_EINVAL);
    config.peer = -1;
    /* 20 of 32 pages are in use: no two blocks to pay with. */
    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, &fd), -KL_ENOMEM);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), 0);
    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, &fd), -KL_EBUSY);
    assert_int_equal(kl_shm_unpin(shm, id, pin), 0);
    assert_null(e);
    assert_int_equal(fd, -1);
    assert_int_equal(descriptors(), before);
    assert_int_equal(stats().away_bytes, 0);
    assert_int_equal(stats().away_blocks, 0);
    assert_true(shm_is_filled(shm, id, BYTES, 1));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, empty), 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writable_one),        cmocka_unit_test(a_read_only_one),
        cmocka_unit_test(one_that_was_cut_off),  cmocka_unit_test(hostile_peers),
        cmocka_unit_test(when_the_peer_is_gone), cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
