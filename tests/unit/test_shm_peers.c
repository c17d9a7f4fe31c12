// SPDX-License-Identifier: Apache-2.0
/* Exports that end by themselves when their peer is gone: killed at any moment, in the midst of
 * writing; with garbage sent before; while there are no frames for it; with others who end
 * them, too.  What a peer of another user can see that keeps all it has: nothing. */
#include "support/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 20, BYTES = PAGES * PAGE - 100, LONG_MS = 60000 };

static struct fixture f;
static struct kl_shm *shm;
static struct kl_linux_peers *peers;
static char buf[PAGES * PAGE];
static atomic_uint ended;
static _Atomic uint64_t last_ended;

/* What there was before: descriptors, what the zone is charged beside its blocks. */
static unsigned descriptors_before;
static uint64_t charged_before;

static unsigned descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static struct kl_zone_stats zone_stats(void)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f.zone, &s);
    return s;
}

static uint64_t charged(void)
{
    struct kl_zone_stats s = zone_stats();

    return s.charged_bytes - s.present_blocks * (uint64_t)kl_zone_block_bytes(f.zone);
}

static void on_ended(void *ctx, struct kl_shm *of, kl_shm_id object)
{
    assert_ptr_equal(ctx, &f);
    assert_ptr_equal(of, shm);
    atomic_store(&last_ended, object.v);
    atomic_fetch_add(&ended, 1);
}

static void open_all(unsigned blocks)
{
    struct kl_linux_peers_config config = {.size = sizeof(config), .ended = on_ended, .ctx = &f};

    descriptors_before = descriptors();
    fixture_open(&f, blocks, 4, KL_ZONE_POPULATE);
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
    assert_int_equal(kl_linux_peers_create(&config, &peers), 0);
    atomic_store(&ended, 0);
}

/* Nothing is left: no descriptor, no process, no frame. */
static void close_all(void)
{
    assert_int_equal(kl_linux_peers_destroy(peers), 0);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
    assert_int_equal(descriptors(), descriptors_before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* e: NULL: nobody has it. */
static int give(kl_shm_id id, unsigned flags, int peer, struct kl_linux_export **e)
{
    struct kl_linux_export_config config = {
        .size = sizeof(config), .flags = flags, .peer = peer, .peers = peers};
    int fd = -1;

    assert_int_equal(kl_linux_export_create(shm, id, &config, e, &fd), 0);
    return fd;
}

static struct kl_linux_peers_stats stats(void)
{
    struct kl_linux_peers_stats s = {.size = sizeof(s)};

    kl_linux_peers_get_stats(peers, &s);
    return s;
}

static struct kl_shm_stats shm_stats(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return s;
}

static bool is_ready(int ms)
{
    struct pollfd one = {.fd = kl_linux_peers_fd(peers), .events = POLLIN};

    return poll(&one, 1, ms) == 1;
}

/* As an event loop would, until so many have ended in all. */
static void look_until(unsigned n)
{
    while (atomic_load(&ended) < n) {
        assert_true(is_ready(LONG_MS));
        kl_linux_peers_look(peers);
    }
}

/* ---- one peer ---- */

/* Garbage on the socket is nothing; its end is the end. */
static void comes_back_by_itself(void **state)
{
    struct kl_linux_export *e;
    int fd, ends[2];
    kl_shm_id id;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 1);
    charged_before = charged();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fd = give(id, KL_LINUX_EXPORT_WRITE, ends[0], &e);
    fill_bytes(buf, 64, 9);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(send(ends[1], buf, 64, MSG_DONTWAIT), 64);
    assert_false(is_ready(0));
    assert_int_equal(kl_linux_peers_look(peers), 0);
    assert_int_equal(stats().watched, 1);
    assert_int_equal(pwrite(fd, "the peer's", 10, 50), 10);
    close(ends[1]);
    assert_true(is_ready(LONG_MS));
    assert_int_equal(kl_linux_peers_look(peers), 1);
    assert_int_equal(atomic_load(&ended), 1);
    assert_int_equal(atomic_load(&last_ended), id.v);
    assert_false(is_ready(0));
    assert_int_equal(stats().watched, 0);
    assert_int_equal(stats().gone, 1);
    assert_int_equal(stats().ended, 1);
    assert_int_equal(stats().failed, 0);
    assert_int_equal(stats().bytes, PAGES * PAGE);
    assert_int_equal(shm_stats().away_bytes, 0);
    assert_int_equal(charged(), charged_before);
    assert_int_equal(kl_shm_read(shm, id, 50, buf, 10), 0);
    assert_memory_equal(buf, "the peer's", 10);
    assert_int_equal(pread(fd, buf, 1, 0), 0); /* nothing there any more */
    assert_true(kl_linux_export_is_gone(e));
    assert_int_equal(kl_linux_peers_destroy(peers), -KL_EBUSY); /* the program has it */
    assert_int_equal(kl_linux_export_end(e), 0);
    close(ends[0]);
    close(fd);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Nobody has the export; the object is destroyed before, or the set is. */
static void nobody_has_it(void **state)
{
    int fd, ends[2];
    kl_shm_id id;

    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        open_all(8);
        id = shm_filled(shm, BYTES, 2);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
        fd = give(id, 0, ends[0], NULL);
        if (how == 1)
            assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        if (how < 2) {
            close(ends[1]);
            look_until(1);
        } else {
            assert_int_equal(kl_linux_peers_destroy(peers), 0); /* with its peer there */
            peers = NULL;
            close(ends[1]);
        }
        close(ends[0]);
        assert_int_equal(pread(fd, buf, 1, 0), 0);
        close(fd);
        if (how != 1) {
            assert_true(shm_is_filled(shm, id, BYTES, 2));
            assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        }
        assert_int_equal(shm_stats().objects, 0);
        close_all();
    }
}

/* Before its peer is gone, by the program; and while it is at it anyway. */
static void ended_by_the_program(void **state)
{
    struct kl_linux_export *e;
    int fd, ends[2];
    kl_shm_id id;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 3);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    for (unsigned gone = 0; gone < 2; gone++) {
        fd = give(id, 0, ends[0], &e);
        if (gone)
            close(ends[1]);
        assert_int_equal(kl_linux_export_end(e), 0);
        assert_false(is_ready(0));
        assert_int_equal(kl_linux_peers_look(peers), 0);
        close(fd);
    }
    assert_int_equal(stats().ended, 0);
    assert_int_equal(atomic_load(&ended), 0);
    close(ends[0]);
    assert_true(shm_is_filled(shm, id, BYTES, 3));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Nothing has happened. */
static void refused(void **state)
{
    struct kl_linux_export_config config = {.size = sizeof(config), .peer = -1};
    struct kl_linux_peers_config bad = {.size = 1};
    struct kl_linux_peers *none = NULL;
    struct kl_linux_export *e = NULL;
    char name[] = "/tmp/klotski-peers-XXXXXX";
    int fd = -1, file;
    kl_shm_id id;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 4);
    assert_int_equal(kl_linux_peers_create(&bad, &none), -KL_EINVAL);
    assert_int_equal(kl_linux_peers_create(NULL, NULL), -KL_EINVAL);
    assert_int_equal(kl_linux_export_create(shm, id, &config, NULL, &fd), -KL_EINVAL);
    config.peers = peers; /* and nobody to look out for */
    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, &fd), -KL_EINVAL);
    file = mkstemp(name); /* that never hangs up */
    assert_true(file >= 0);
    unlink(name);
    config.peer = file;
    assert_int_equal(kl_linux_export_create(shm, id, &config, &e, &fd), -KL_EINVAL);
    close(file);
    assert_null(e);
    assert_null(none);
    assert_int_equal(fd, -1);
    assert_int_equal(stats().watched, 0);
    assert_int_equal(shm_stats().away_bytes, 0);
    assert_true(shm_is_filled(shm, id, BYTES, 4));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* The hard limit leaves no frames for it: it is tried again by itself until there are. */
static void no_frames_for_it(void **state)
{
    struct kl_zone_limits limits = {.size = sizeof(limits)};
    uint32_t frames = 6 * 16; /* all that are left: the file has two blocks */
    kl_shm_id id, rest;
    int fd, ends[2];

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 5);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fd = give(id, 0, ends[0], NULL);
    assert_int_equal(kl_shm_object_create(shm, (uint64_t)frames * PAGE, 0, &rest), 0);
    for (uint32_t i = 0; i < frames; i++)
        assert_int_equal(kl_shm_write(shm, rest, (uint64_t)i * PAGE, "x", 1), 0);
    limits.hard = zone_stats().charged_bytes;
    assert_int_equal(kl_zone_set_limits(f.zone, &limits), 0);
    close(ends[1]);
    while (stats().failed < 3) {
        assert_true(is_ready(LONG_MS));
        assert_int_equal(kl_linux_peers_look(peers), 0);
    }
    assert_int_equal(stats().due + stats().watched, 2);
    assert_int_equal(stats().gone, 1);
    assert_int_equal(atomic_load(&ended), 0);
    assert_true(shm_is_filled(shm, id, BYTES, 5)); /* from there */
    assert_int_equal(kl_linux_peers_destroy(peers), -KL_ENOMEM);
    limits.hard = 0;
    assert_int_equal(kl_zone_set_limits(f.zone, &limits), 0);
    look_until(1);
    assert_int_equal(stats().due, 0);
    close(ends[0]);
    close(fd);
    assert_true(shm_is_filled(shm, id, BYTES, 5));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, rest), 0);
    close_all();
}

static void by_the_worker(void **state)
{
    struct kl_linux_worker_config config = {.size = sizeof(config)};
    struct kl_linux_worker *worker;
    int fd, ends[2];
    kl_shm_id id;

    (void)state;
    open_all(8);
    id = shm_filled(shm, BYTES, 6);
    config.peers = peers;
    assert_int_equal(kl_linux_worker_create(f.zone, &config, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fd = give(id, 0, ends[0], NULL);
    close(ends[1]);
    while (atomic_load(&ended) < 1)
        usleep(100);
    kl_linux_worker_destroy(worker);
    close(ends[0]);
    close(fd);
    assert_true(shm_is_filled(shm, id, BYTES, 6));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* ---- many ---- */

enum { MANY = 40 };

static atomic_bool over;

static void *looker(void *arg)
{
    while (!atomic_load(&over)) {
        if (is_ready(1))
            kl_linux_peers_look(peers);
    }
    return arg;
}

/* Peers that go, in no order, while two look and the program ends some, gone or not. */
static void many_at_once(void **state)
{
    struct kl_linux_export *e[MANY] = {NULL};
    struct rng rng = rng_new(5);
    int fd[MANY], ends[MANY][2];
    pthread_t thread[2];
    kl_shm_id id[MANY];

    (void)state;
    open_all(256);
    atomic_store(&over, false);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, looker, NULL), 0);
    for (unsigned i = 0; i < MANY; i++) {
        id[i] = shm_filled(shm, BYTES, i);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), 0);
        fd[i] = give(id[i], i & 1, ends[i][0], i % 4 < 2 ? &e[i] : NULL);
        if (rng_below(&rng, 4) == 0) {
            close(ends[i][1]);
            ends[i][1] = -1;
        }
    }
    for (unsigned i = 0; i < MANY; i++) {
        if (ends[i][1] >= 0 && rng_below(&rng, 2))
            close(ends[i][1]), ends[i][1] = -1;
        if (e[i])
            assert_int_equal(kl_linux_export_end(e[i]), 0);
        if (ends[i][1] >= 0)
            close(ends[i][1]);
    }
    while (stats().watched > 0)
        usleep(100);
    atomic_store(&over, true);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_true(stats().ended >= MANY / 2);
    assert_int_equal(atomic_load(&ended), stats().ended);
    for (unsigned i = 0; i < MANY; i++) {
        close(ends[i][0]);
        close(fd[i]);
        assert_true(shm_is_filled(shm, id[i], BYTES, i));
        assert_int_equal(kl_shm_object_destroy(shm, id[i]), 0);
    }
    close_all();
}

/* ---- hostile ones ---- */

/* Killed in the midst of writing, cutting and mapping, by the socket or by the pidfd. */
static void killed_at_any_moment(void **state)
{
    struct rng rng = rng_new(78);

    (void)state;
    open_all(8);
    for (unsigned round = 0; round < 40; round++) {
        kl_shm_id id = shm_filled(shm, BYTES, round),
                  neighbour = shm_filled(shm, BYTES, 1000 + round);
        bool writable = round % 2;
        struct peer peer;
        int fd;

        charged_before = charged();
        peer_start(&peer, round % 4 < 2);
        fd = give(id, writable, peer.watch, NULL);
        peer_send(&peer, fd, PAGES * PAGE, writable);
        usleep(rng_below(&rng, 3000));
        assert_int_equal(kill(peer.pid, SIGKILL), 0);
        look_until(round + 1);
        assert_true(peer_file_is_empty(fd));
        close(fd);
        peer_end(&peer);
        if (!writable)
            assert_true(shm_is_filled(shm, id, BYTES, round));
        assert_true(shm_is_filled(shm, neighbour, BYTES, 1000 + round));
        assert_int_equal(kl_shm_read(shm, id, 0, buf, BYTES), 0);
        assert_int_equal(charged(), charged_before);
        assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        assert_int_equal(kl_shm_object_destroy(shm, neighbour), 0);
        assert_shm_ok(shm);
    }
    close_all();
}

/* It hangs up, and keeps descriptor and mapping: of what is in the zone then it finds
 * nothing, wherever it looks; and what it writes is nowhere. */
static void a_peer_that_stays(void **state)
{
    (void)state;
    for (unsigned writable = 0; writable < 2; writable++) {
        uint64_t secret[2];
        struct peer peer;
        kl_shm_id id, rest;
        int fd, found;

        open_all(8);
        id = shm_filled(shm, BYTES, 7);
        peer_start(&peer, true);
        fd = give(id, writable, peer.watch, NULL);
        peer_send_to_stay(&peer, fd, PAGES * PAGE, writable);
        look_until(1);
        assert_true(peer_secret(secret)); /* which it can't know */
        assert_int_equal(kl_shm_object_create(shm, 6u * 16 * PAGE, 0, &rest), 0);
        for (unsigned at = 0; at < 6u * 16 * PAGE; at += 16)
            assert_int_equal(kl_shm_write(shm, rest, at, secret, 16), 0);
        for (unsigned at = 0; at + 16 <= BYTES; at += 16)
            assert_int_equal(kl_shm_write(shm, id, at, secret, 16), 0);
        found = peer_searches(&peer, secret);
        if (found < 0)
            skip();
        assert_int_equal(found, 0);
        for (unsigned at = 0; at + 16 <= BYTES; at += 16) {
            assert_int_equal(kl_shm_read(shm, id, at, buf, 16), 0);
            assert_memory_equal(buf, secret, 16);
        }
        assert_true(peer_file_is_empty(fd));
        close(fd);
        peer_end(&peer);
        assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        assert_int_equal(kl_shm_object_destroy(shm, rest), 0);
        close_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_by_itself), cmocka_unit_test(nobody_has_it),
        cmocka_unit_test(ended_by_the_program), cmocka_unit_test(refused),
        cmocka_unit_test(no_frames_for_it),     cmocka_unit_test(by_the_worker),
        cmocka_unit_test(many_at_once),         cmocka_unit_test(killed_at_any_moment),
        cmocka_unit_test(a_peer_that_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
