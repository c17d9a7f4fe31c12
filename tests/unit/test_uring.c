// SPDX-License-Identifier: Apache-2.0
/* Fixed buffers of io_uring: every call and its errors, and moves one by one.  Requests that
 * are to be in flight read from a pipe, which answers when the test writes to it. */
#include "support/rings.h"

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, BUFFERS = 6, FOREVER_MS = 3600 * 1000 };

static struct fixture f;
static struct io_uring ring;
static struct kl_uring_pool *pool;
static int pipes[2];

static const struct kl_uring_config usual = {
    .size = sizeof(usual), .buffers = BUFFERS, .bytes = PAGE, .wait_ms = 20};

static void open_ring(unsigned flags)
{
    fixture_host = rings_one_cpu;
    fixture_open(&f, 8, 4, KL_ZONE_POPULATE);
    assert_int_equal(io_uring_queue_init(16, &ring, flags), 0);
    assert_int_equal(pipe(pipes), 0);
    rings_fail(0, 0, 0, 0);
}

static void open_pool(const struct kl_uring_config *config, unsigned flags)
{
    open_ring(flags);
    assert_int_equal(kl_uring_pool_create(f.zone, &ring, config, &pool), 0);
}

static void assert_pool_ok(struct kl_uring_pool *which)
{
    const char *what = NULL;

    if (kl_uring_pool_check(which, &what) != 0)
        fail_msg("broken: %s", what ? what : "but nothing said");
    assert_zone_ok(f.zone);
}

/* The ring has no table any more: another one may be made. */
static void close_ring(void)
{
    assert_int_equal(io_uring_register_buffers_sparse(&ring, 1), 0);
    io_uring_queue_exit(&ring);
    close(pipes[0]);
    close(pipes[1]);
    fixture_close(&f);
}

static void close_pool(void)
{
    assert_pool_ok(pool);
    assert_int_equal(kl_uring_pool_destroy(pool), 0);
    close_ring();
}

static struct kl_uring_stats stats(void)
{
    struct kl_uring_stats s = {.size = sizeof(s)};

    kl_uring_get_stats(pool, &s);
    return s;
}

/* A buffer, and where it is. */
static kl_uring_buf get(struct kl_uring_io *io)
{
    kl_uring_buf buf;

    assert_int_equal(kl_uring_get(pool, &buf), 0);
    assert_int_equal(kl_uring_begin(pool, buf, KL_ASYNC, io), 0);
    assert_int_equal(kl_uring_end(pool, buf), 0);
    return buf;
}

/* A read of a pipe that has nothing: in flight until answered. */
static void start(kl_uring_buf buf, struct kl_uring_io *io)
{
    assert_int_equal(kl_uring_begin(pool, buf, KL_ASYNC, io), 0);
    rings_read(&ring, pipes[0], io, PAGE, (uint64_t)-1, buf.v);
}

static void answer(uint64_t seed)
{
    char bytes[PAGE];

    fill_bytes(bytes, PAGE, seed);
    assert_int_equal(write(pipes[1], bytes, PAGE), PAGE);
}

static void finish(uint64_t seed)
{
    uint64_t name;

    answer(seed);
    assert_int_equal(rings_wait(&ring, &name), PAGE);
    assert_int_equal(kl_uring_end(pool, (kl_uring_buf){name}), 0);
}

/* A request of it from now on finds what was read before, and reads and writes rightly. */
static void assert_works(kl_uring_buf buf, uint64_t seed, bool fixed)
{
    struct kl_uring_io io;
    char back[PAGE];

    assert_int_equal(kl_uring_begin(pool, buf, KL_ASYNC, &io), 0);
    assert_int_equal(io.slot >= 0, fixed);
    if (seed)
        assert_true(bytes_are(io.addr, PAGE, seed));
    answer(101);
    rings_read(&ring, pipes[0], &io, PAGE, (uint64_t)-1, 1);
    assert_int_equal(rings_wait(&ring, NULL), PAGE);
    assert_true(bytes_are(io.addr, PAGE, 101));
    fill_bytes(io.addr, PAGE, 102);
    rings_write(&ring, pipes[1], &io, PAGE, (uint64_t)-1, 1);
    assert_int_equal(rings_wait(&ring, NULL), PAGE);
    assert_int_equal(read(pipes[0], back, PAGE), PAGE);
    assert_true(bytes_are(back, PAGE, 102));
    assert_int_equal(kl_uring_end(pool, buf), 0);
}

/* ---- create and destroy ---- */

static int create(struct kl_uring_config config)
{
    struct kl_uring_pool *made = NULL;
    int err = kl_uring_pool_create(f.zone, &ring, &config, &made);

    assert_int_equal(err == 0, made != NULL);
    if (!err)
        assert_int_equal(kl_uring_pool_destroy(made), 0);
    return err;
}

static void what_a_pool_can_not_be(void **state)
{
    struct kl_uring_config c = usual;

    (void)state;
    open_ring(0);
    assert_int_equal(kl_uring_pool_create(f.zone, &ring, NULL, &pool), -KL_EINVAL);
    assert_int_equal(kl_uring_pool_create(f.zone, NULL, &usual, &pool), -KL_EINVAL);
    c.size--;
    assert_int_equal(create(c), -KL_EINVAL);
    for (unsigned i = 0; i < 2; i++) {
        c = usual;
        c.buffers = i ? 16385 : 0;
        assert_int_equal(create(c), -KL_EINVAL);
    }
    static const size_t sizes[] = {0, PAGE - 1, PAGE / 2, 3 * PAGE, 32 * PAGE};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        c = usual;
        c.bytes = sizes[i];
        assert_int_equal(create(c), -KL_EINVAL);
    }
    c = usual;
    c.flags = 2;
    assert_int_equal(create(c), -KL_EINVAL);
    c = usual;
    c.first = 1; /* whose table? */
    assert_int_equal(create(c), -KL_EINVAL);
    c = usual;
    c.buffers = 8 * 16 + 1; /* more than the zone has */
    assert_int_equal(create(c), -KL_ENOMEM);
    assert_zone_ok(f.zone);
    assert_int_equal(create(usual), 0);
    assert_int_equal(kl_uring_pool_destroy(NULL), 0);
    close_ring();
}

static void a_zone_without_addresses(void **state)
{
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_backing offsets;
    struct kl_zone *zone;

    (void)state;
    open_ring(0);
    assert_int_equal(kl_backing_offsets(&offsets, 1 << 20, 12, 4), 0);
    config.backing = &offsets;
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    assert_int_equal(kl_uring_pool_create(zone, &ring, &usual, &pool), -KL_ENOTSUP);
    assert_int_equal(kl_zone_destroy(zone), 0);
    close_ring();
}

/* Another table; two pools of two sizes in one that is there. */
static void tables_that_are_there(void **state)
{
    struct kl_uring_config c = usual;
    struct kl_uring_pool *other;
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    open_ring(0);
    c.flags = KL_URING_TABLE_THERE;
    c.first = 4;
    assert_int_equal(create(c), -KL_ENOENT);
    assert_int_equal(io_uring_register_buffers_sparse(&ring, 4 + 2 * BUFFERS), 0);
    assert_int_equal(create(usual), -KL_EEXIST);
    c.first = 5 + BUFFERS;
    assert_int_equal(create(c), -KL_ERANGE);
    c.first = UINT32_MAX;
    assert_int_equal(create(c), -KL_ERANGE);
    c.first = 4;
    assert_int_equal(kl_uring_pool_create(f.zone, &ring, &c, &pool), 0);
    c.first = 4 + BUFFERS;
    c.bytes = 4 * PAGE;
    assert_int_equal(kl_uring_pool_create(f.zone, &ring, &c, &other), 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(kl_uring_get(other, &buf), 0);
        assert_int_equal(kl_uring_begin(other, buf, KL_ASYNC, &io), 0);
        assert_in_range(io.slot, 4 + BUFFERS, 3 + 2 * BUFFERS);
        assert_int_equal(io.bytes, 4 * PAGE);
        assert_int_equal(kl_uring_end(other, buf), 0);
        assert_int_equal(kl_uring_end(pool, buf), -KL_EINVAL); /* not that one's */
        assert_int_equal(kl_uring_put(other, buf), 0);
    }
    buf = get(&io);
    assert_in_range(io.slot, 4, 3 + BUFFERS);
    assert_works(buf, 0, true);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    assert_int_equal(kl_uring_pool_destroy(pool), 0);
    assert_int_equal(kl_uring_pool_destroy(other), 0);
    assert_true(rings_pinned() <= 0);
    assert_int_equal(io_uring_unregister_buffers(&ring), 0); /* left to its owner */
    close_ring();
}

/* Whatever fails on the way, nothing is left, and the ring has no table. */
static void create_fails_at_every_step(void **state)
{
    int n;

    (void)state;
    open_ring(0);
    for (n = 1;; n++) {
        int err;

        fault_set(FAULT_META, n);
        err = create(usual);
        if (!fault_due(FAULT_META))
            assert_int_equal(err, -KL_ENOMEM);
        assert_zone_ok(f.zone);
        if (fault_due(FAULT_META)) {
            assert_int_equal(err, 0);
            break;
        }
    }
    fault_set(FAULT_META, 0);
    assert_true(n > 3);
    rings_fail(0, 0, 1, -ENOMEM);
    assert_int_equal(create(usual), -KL_ENOMEM);
    rings_fail(0, 0, 1, -EINVAL); /* Linux before 5.19 */
    assert_int_equal(create(usual), -KL_ENOTSUP);
    rings_fail(0, 0, 1, -EPERM);
    assert_int_equal(create(usual), -KL_ENOTSUP);
    assert_int_equal(create(usual), 0);
    close_ring();
}

static void destroy_refuses_what_is_in_use(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    open_pool(&usual, 0);
    buf = get(&io);
    assert_int_equal(kl_uring_pool_destroy(pool), -KL_EBUSY);
    start(buf, &io);
    assert_int_equal(kl_uring_pool_destroy(pool), -KL_EBUSY);
    finish(7);
    assert_pool_ok(pool);
    assert_works(buf, 7, true);
    assert_int_equal(rings_move(f.zone, io.addr, KL_ASYNC, NULL), 0);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

/* ---- names ---- */

static void names_that_are_wrong(void **state)
{
    kl_uring_buf buf[BUFFERS], one, foreign;
    struct kl_uring_io io;

    (void)state;
    open_pool(&usual, 0);
    for (unsigned i = 0; i < BUFFERS; i++)
        buf[i] = get(&io);
    assert_int_equal(kl_uring_get(pool, &one), -KL_EAGAIN);
    assert_int_equal(stats().got, BUFFERS);

    foreign = (kl_uring_buf){buf[0].v ^ UINT64_C(1) << 48};
    assert_int_equal(kl_uring_begin(pool, foreign, KL_ASYNC, &io), -KL_EINVAL);
    assert_int_equal(kl_uring_end(pool, foreign), -KL_EINVAL);
    assert_int_equal(kl_uring_put(pool, foreign), -KL_EINVAL);
    foreign = (kl_uring_buf){(buf[0].v & ~UINT64_C(0xffffff)) | (BUFFERS + 1)};
    assert_int_equal(kl_uring_begin(pool, foreign, KL_ASYNC, &io), -KL_EINVAL);
    assert_int_equal(kl_uring_end(pool, foreign), -KL_EINVAL);
    assert_int_equal(kl_uring_put(pool, foreign), -KL_EINVAL);
    assert_int_equal(kl_uring_put(pool, (kl_uring_buf){0}), -KL_EINVAL);
    assert_int_equal(kl_uring_begin(pool, buf[0], (enum kl_mode)3, &io), -KL_EINVAL);

    assert_int_equal(kl_uring_end(pool, buf[0]), -KL_EINVAL); /* nothing begun */
    assert_int_equal(kl_uring_begin(pool, buf[0], KL_ASYNC, &io), 0);
    assert_int_equal(kl_uring_put(pool, buf[0]), -KL_EBUSY);
    assert_int_equal(kl_uring_end(pool, buf[0]), 0);
    assert_int_equal(kl_uring_end(pool, buf[0]), -KL_EINVAL); /* twice */
    assert_int_equal(kl_uring_put(pool, buf[0]), 0);
    assert_int_equal(kl_uring_put(pool, buf[0]), -KL_ESTALE);
    assert_int_equal(kl_uring_begin(pool, buf[0], KL_ASYNC, &io), -KL_ESTALE);
    assert_int_equal(kl_uring_end(pool, buf[0]), -KL_ESTALE);
    assert_int_equal(kl_uring_get(pool, &one), 0); /* the same one under another name */
    assert_int_equal(one.v & 0xffffff, buf[0].v & 0xffffff);
    assert_int_equal(kl_uring_begin(pool, buf[0], KL_ASYNC, &io), -KL_ESTALE);
    buf[0] = one;
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(kl_uring_put(pool, buf[i]), 0);
    close_pool();
}

static void so_many_requests_of_one(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    open_pool(&usual, 0);
    buf = get(&io);
    for (unsigned i = 0; i < 65535; i++)
        assert_int_equal(kl_uring_begin(pool, buf, KL_ASYNC, &io), 0);
    assert_int_equal(kl_uring_begin(pool, buf, KL_SYNC, &io), -KL_ENOSPC);
    assert_int_equal(stats().in_flight, 65535);
    assert_int_equal(stats().busy, 1);
    for (unsigned i = 0; i < 65535; i++)
        assert_int_equal(kl_uring_end(pool, buf), 0);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

static void requests_that_are_filled_in(void **state)
{
    struct io_uring_sqe sqe = {0}, untouched;
    struct kl_uring_io io = {.addr = &sqe, .bytes = PAGE, .slot = 3};

    (void)state;
    assert_int_equal(kl_uring_prep_read(&sqe, 5, &io, 512, 1024, 4096), 0);
    assert_int_equal(sqe.opcode, IORING_OP_READ_FIXED);
    assert_int_equal(sqe.buf_index, 3);
    assert_int_equal(sqe.fd, 5);
    assert_int_equal(sqe.addr, (uintptr_t)io.addr + 512);
    assert_int_equal(sqe.len, 1024);
    assert_int_equal(sqe.off, 4096);
    assert_int_equal(kl_uring_prep_write(&sqe, 5, &io, 0, PAGE, 0), 0);
    assert_int_equal(sqe.opcode, IORING_OP_WRITE_FIXED);
    io.slot = -1;
    assert_int_equal(kl_uring_prep_read(&sqe, 5, &io, PAGE, 0, 0), 0);
    assert_int_equal(sqe.opcode, IORING_OP_READ);
    assert_int_equal(kl_uring_prep_write(&sqe, 5, &io, 0, 1, 0), 0);
    assert_int_equal(sqe.opcode, IORING_OP_WRITE);
    untouched = sqe;
    assert_int_equal(kl_uring_prep_read(&sqe, 6, &io, 1, PAGE, 0), -KL_ERANGE);
    assert_int_equal(kl_uring_prep_write(&sqe, 6, &io, PAGE + 1, 0, 0), -KL_ERANGE);
    assert_int_equal(kl_uring_prep_write(&sqe, 6, &io, SIZE_MAX, 2, 0), -KL_ERANGE);
    assert_memory_equal(&sqe, &untouched, sizeof(sqe));
}

/* ---- moves ---- */

/* In flight for longer than the bound: it stays, the report says what it met, new
 * requests go on at once; afterwards it moves, with what was read. */
static void a_busy_buffer_stays(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct kl_uring_io io, then;
    kl_uring_buf buf;

    (void)state;
    open_pool(&usual, 0);
    assert_int_equal(kl_uring_get(pool, &buf), 0);
    start(buf, &io);
    for (int mode = KL_ASYNC; mode <= KL_SYNC; mode++) {
        assert_int_equal(rings_move(f.zone, io.addr, (enum kl_mode)mode, &r), -KL_EBUSY);
        assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
        assert_string_equal(r.culprit_name, "io_uring");
        assert_int_equal(kl_pfn_nr(r.culprit), rings_frame(f.zone, io.addr));
        assert_int_equal(kl_uring_begin(pool, buf, KL_ASYNC, &then), 0);
        assert_ptr_equal(then.addr, io.addr);
        assert_int_equal(kl_uring_end(pool, buf), 0);
    }
    assert_true(stats().refused >= 3);
    finish(5);
    assert_true(bytes_are(io.addr, PAGE, 5));
    assert_int_equal(rings_move(f.zone, io.addr, KL_ASYNC, &r), 0);
    assert_true(r.migrated > 0);
    assert_int_equal(kl_uring_begin(pool, buf, KL_ASYNC, &then), 0);
    assert_ptr_not_equal(then.addr, io.addr);
    assert_int_equal(then.slot, io.slot);
    memset(io.addr, 0, PAGE); /* nobody's any more */
    assert_int_equal(kl_uring_end(pool, buf), 0);
    assert_works(buf, 5, true);
    assert_int_equal(rings_pinned(), rings_pinned() < 0 ? -1 : BUFFERS * PAGE);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

/* The others of its batch move all the same. */
static void one_that_is_busy_keeps_no_other(void **state)
{
    struct kl_uring_io io, now;
    kl_uring_buf buf[BUFFERS];
    const void *was[BUFFERS];
    unsigned moved = 0;

    (void)state;
    open_pool(&usual, 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        buf[i] = get(&io);
        was[i] = io.addr;
    }
    start(buf[0], &io);
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), -KL_EBUSY);
    for (unsigned i = 1; i < BUFFERS; i++) {
        assert_int_equal(kl_uring_begin(pool, buf[i], KL_ASYNC, &now), 0);
        moved += now.addr != was[i];
        assert_int_equal(kl_uring_end(pool, buf[i]), 0);
    }
    assert_true(moved > 0);
    finish(6);
    assert_true(bytes_are(io.addr, PAGE, 6));
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_works(buf[i], i ? 0 : 6, true);
        assert_int_equal(kl_uring_put(pool, buf[i]), 0);
    }
    close_pool();
}

/* A user that begins until a migration has the buffer, and then lets its request end. */
static void *ends_it(void *arg)
{
    const kl_uring_buf *buf = arg;
    struct kl_uring_io io;

    while (kl_uring_begin(pool, *buf, KL_ASYNC, &io) == 0) {
        kl_uring_end(pool, *buf);
        sched_yield();
    }
    finish(8);
    return NULL;
}

static void a_migration_waits_for_the_end(void **state)
{
    struct kl_uring_config patient = usual;
    struct kl_uring_io io;
    kl_uring_buf buf;
    pthread_t thread;

    (void)state;
    patient.wait_ms = FOREVER_MS;
    open_pool(&patient, 0);
    assert_int_equal(kl_uring_get(pool, &buf), 0);
    start(buf, &io);
    assert_int_equal(pthread_create(&thread, NULL, ends_it, &buf), 0);
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(stats().refused, 0);
    assert_true(stats().held_off > 0);
    assert_works(buf, 8, true);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

static kl_uring_buf reaped_buf;
static const void *reaped_from;

/* begin waits until the move is over, and tells the new place. */
static void *begins_in_sync(void *arg)
{
    struct kl_uring_io io;

    (void)arg;
    if (kl_uring_begin(pool, reaped_buf, KL_SYNC, &io) != 0 || io.addr == reaped_from)
        return (void *)"begin in KL_SYNC";
    if (!bytes_are(io.addr, PAGE, 9))
        return (void *)"the contents";
    return kl_uring_end(pool, reaped_buf) == 0 ? NULL : (void *)"end";
}

static pthread_t beginner;
static unsigned reaps;

/* Within the migration, in its thread. */
static void reap(void *ctx)
{
    assert_ptr_equal(ctx, &reaps);
    if (reaps++ == 0)
        assert_int_equal(pthread_create(&beginner, NULL, begins_in_sync, NULL), 0);
    if (stats().held_off == 1 && stats().in_flight == 1)
        finish(9);
}

static void the_migrating_thread_reaps(void **state)
{
    struct kl_uring_config reaping = usual;
    struct kl_uring_io io;
    void *wrong;

    (void)state;
    reaping.wait_ms = FOREVER_MS;
    reaping.reap = reap;
    reaping.ctx = &reaps;
    reaps = 0;
    open_pool(&reaping, 0);
    reaped_buf = get(&io); /* so the last end is this thread's */
    reaped_from = io.addr;
    start(reaped_buf, &io);
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), 0);
    assert_int_equal(pthread_join(beginner, &wrong), 0);
    if (wrong)
        fail_msg("%s", (const char *)wrong);
    assert_int_equal(stats().refused_own, 0);
    assert_works(reaped_buf, 9, true);
    assert_int_equal(kl_uring_put(pool, reaped_buf), 0);
    close_pool();
}

/* Without reap it would wait for itself: it is told at once. */
static void nobody_waits_for_himself(void **state)
{
    struct kl_uring_config patient = usual;
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    patient.wait_ms = FOREVER_MS;
    open_pool(&patient, 0);
    buf = get(&io);
    start(buf, &io);
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), -KL_EBUSY);
    assert_true(stats().refused_own > 0);
    finish(3);
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), 0);
    assert_works(buf, 3, true);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

/* ---- rings for one thread ---- */

static void *moves_elsewhere(void *arg)
{
    return (void *)(intptr_t)rings_move(f.zone, arg, KL_SYNC, NULL);
}

static void *creates_elsewhere(void *arg)
{
    struct kl_uring_pool *made;

    (void)arg;
    return (void *)(intptr_t)kl_uring_pool_create(f.zone, &ring, &usual, &made);
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

static void a_single_issuer(void **state)
{
    struct io_uring probe;
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    if (io_uring_queue_init(2, &probe, IORING_SETUP_SINGLE_ISSUER) != 0) {
        print_message("# skipped: this kernel has no IORING_SETUP_SINGLE_ISSUER\n");
        skip();
    }
    io_uring_queue_exit(&probe);
    open_ring(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    assert_int_equal(elsewhere(creates_elsewhere, NULL), -KL_EINVAL);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_uring_pool_create(f.zone, &ring, &usual, &pool), 0);
    buf = get(&io);
    assert_int_equal(elsewhere(moves_elsewhere, io.addr), -KL_EBUSY);
    assert_true(stats().refused_issuer > 0);
    assert_works(buf, 0, true);
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), 0);
    assert_true(stats().moved > 0);
    assert_works(buf, 102, true);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    assert_int_equal(elsewhere(destroys_elsewhere, pool), -KL_EINVAL);
    close_pool();
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
    open_pool(&usual, 0);
    assert_int_equal(kl_uring_get(pool, &buf), 0);
    start(buf, &io);
    assert_int_equal(write(pipes[1], "short", 5), 5);
    assert_int_equal(rings_wait(&ring, &name), 5);
    assert_memory_equal(io.addr, "short", 5);
    assert_int_equal(kl_uring_end(pool, buf), 0);

    start(buf, &io);
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_cancel64(sqe, buf.v, 0);
    sqe->user_data = 0;
    assert_int_equal(io_uring_submit(&ring), 1);
    for (unsigned i = 0; i < 2; i++) {
        res = rings_wait(&ring, &name);
        if (name == buf.v) {
            assert_true(res == -ECANCELED || res == -EINTR);
            assert_int_equal(kl_uring_end(pool, buf), 0);
        }
    }
    assert_int_equal(stats().in_flight, 0);
    assert_int_equal(rings_move(f.zone, io.addr, KL_ASYNC, NULL), 0);
    assert_works(buf, 0, true);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

/* ---- registrations that fail ---- */

/* One moves while so many fail; is it fixed afterwards? */
static void move_while(int fills, int empties, bool fixed, unsigned stuck)
{
    struct kl_uring_stats before;
    struct kl_uring_io io;
    kl_uring_buf buf;

    open_pool(&usual, 0);
    buf = get(&io);
    assert_works(buf, 0, true);
    rings_fail(fills, empties, 0, -ENOMEM);
    before = stats();
    assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), 0);
    rings_fail(0, 0, 0, 0);
    assert_true(stats().moved > before.moved);
    assert_int_equal(BUFFERS - stats().fixed, fixed ? 0 : stats().unfixed);
    assert_int_equal(stats().unfixed > 0, !fixed);
    assert_int_equal(stats().stuck, stuck);
    assert_pool_ok(pool);
    for (unsigned i = 0; i < BUFFERS; i++) {
        struct kl_uring_io one;

        if (i > 0)
            buf = get(&one);
        assert_works(buf, i ? 0 : 102, fixed || i >= stats().unfixed);
        assert_int_equal(kl_uring_put(pool, buf), 0);
    }
    assert_int_equal(kl_uring_pool_fix(pool), 0);
    assert_int_equal(stats().fixed, BUFFERS);
    assert_int_equal(stats().stuck, 0);
    close_pool();
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

/* A pool without any registration works, with ordinary requests. */
static void none_can_be_registered(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    open_ring(0);
    rings_fail(2 * BUFFERS, 0, 0, -ENOMEM);
    assert_int_equal(kl_uring_pool_create(f.zone, &ring, &usual, &pool), 0);
    assert_int_equal(stats().fixed, 0);
    buf = get(&io);
    assert_works(buf, 0, false);
    assert_true(stats().plain > 0);
    rings_fail(1, 1, 0, -ENOMEM);
    assert_int_equal(kl_uring_pool_fix(pool), 1);
    assert_int_equal(kl_uring_pool_fix(pool), 0);
    assert_works(buf, 102, true);
    assert_int_equal(kl_uring_put(pool, buf), 0);
    close_pool();
}

/* In a process of its own: as many are fixed as the limit allows, the others work. */
static void limited(void)
{
    struct rlimit limit = {2 * PAGE, 2 * PAGE};
    struct kl_uring_io io;
    kl_uring_buf buf[BUFFERS];

    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
        (geteuid() == 0 && (setresgid(54321, 54321, 54321) || setresuid(54321, 54321, 54321))))
        _exit(77);
    open_pool(&usual, 0);
    if (stats().fixed == BUFFERS)
        _exit(77); /* nobody counts here */
    assert_in_range(stats().fixed, 0, 2);
    for (unsigned i = 0; i < BUFFERS; i++)
        buf[i] = get(&io);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(kl_uring_begin(pool, buf[i], KL_ASYNC, &io), 0);
        assert_int_equal(kl_uring_end(pool, buf[i]), 0);
        assert_works(buf[i], 0, io.slot >= 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(kl_uring_begin(pool, buf[i % BUFFERS], KL_ASYNC, &io), 0);
        assert_int_equal(kl_uring_end(pool, buf[i % BUFFERS]), 0);
        assert_int_equal(rings_move(f.zone, io.addr, KL_SYNC, NULL), 0);
    }
    assert_in_range(stats().fixed, 0, 2);
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(kl_uring_put(pool, buf[i]), 0);
    close_pool();
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
        cmocka_unit_test(what_a_pool_can_not_be),
        cmocka_unit_test(a_zone_without_addresses),
        cmocka_unit_test(tables_that_are_there),
        cmocka_unit_test(create_fails_at_every_step),
        cmocka_unit_test(destroy_refuses_what_is_in_use),
        cmocka_unit_test(names_that_are_wrong),
        cmocka_unit_test(so_many_requests_of_one),
        cmocka_unit_test(requests_that_are_filled_in),
        cmocka_unit_test(a_busy_buffer_stays),
        cmocka_unit_test(one_that_is_busy_keeps_no_other),
        cmocka_unit_test(a_migration_waits_for_the_end),
        cmocka_unit_test(the_migrating_thread_reaps),
        cmocka_unit_test(nobody_waits_for_himself),
        cmocka_unit_test(a_single_issuer),
        cmocka_unit_test(short_reads_and_cancelled_ones),
        cmocka_unit_test(a_registration_fails_once),
        cmocka_unit_test(a_registration_fails),
        cmocka_unit_test(and_the_slot_can_not_be_emptied),
        cmocka_unit_test(none_can_be_registered),
        cmocka_unit_test(little_memory_may_be_locked),
    };

    return rings_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
