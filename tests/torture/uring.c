// SPDX-License-Identifier: Apache-2.0
/* Fixed buffers of io_uring for KLOTSKI_TORTURE_SECONDS (default 5): no byte of I/O is wrong.
 *
 *   files    two threads, each with a ring and a pool of its own size, write and read chunks
 *            of a file, one through the page cache, one with O_DIRECT; which version a chunk has is
 *            known, and its bytes are made of that
 *   movers   three threads give blocks back and lend them, compact, and take ranges
 *   faults   now and then a registration fails, as does emptying a slot
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_DIRECT */
#endif
#include "support/rings.h"
#include "support/torture.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 40, ORDER = 5, DEPTH = 8, BUFFERS = 24, CHUNKS = 32, PAGE = 4096 };

static struct fixture f;
static _Atomic uint64_t given, ranges;

struct flight {
    kl_uring_buf buf;
    struct kl_uring_io io;
    unsigned chunk;
    uint64_t version; /* that is read, or written */
    bool is_write, flies;
};

struct files {
    struct io_uring ring;
    struct kl_uring_pool *pool;
    int fd;
    size_t bytes;
    uint64_t version[CHUNKS];
    bool busy[CHUNKS]; /* by one request: which version it finds is known */
    struct flight flight[DEPTH];
    struct rng rng;
};

static struct files worker[2];

static uint64_t seed_of(unsigned chunk, uint64_t version)
{
    return version * 1000 + chunk;
}

static int new_file(bool direct)
{
    char path[] = "/var/tmp/klotski-uring-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    assert_true(fd >= 0);
    unlink(path);
    if (direct) /* if the file system has it */
        (void)fcntl(fd, F_SETFL, O_DIRECT);
    return fd;
}

static void open_files(struct files *w, unsigned i)
{
    struct kl_uring_config config = {.size = sizeof(config), .buffers = BUFFERS};

    w->bytes = i ? 16 * PAGE : 2 * PAGE;
    config.bytes = w->bytes;
    config.wait_ms = 50;
    assert_int_equal(io_uring_queue_init(DEPTH, &w->ring, 0), 0);
    assert_int_equal(kl_uring_pool_create(f.zone, &w->ring, &config, &w->pool), 0);
    w->fd = new_file(i == 0);
    w->rng = rng_new(i);
    assert_int_equal(ftruncate(w->fd, (off_t)CHUNKS * (off_t)w->bytes), 0);
}

static void close_files(struct files *w)
{
    const char *what = NULL;

    if (kl_uring_pool_check(w->pool, &what) != 0)
        fail_msg("broken: %s", what ? what : "but nothing said");
    assert_int_equal(kl_uring_pool_destroy(w->pool), 0);
    io_uring_queue_exit(&w->ring);
    close(w->fd);
}

static bool get(struct files *w, struct flight *one)
{
    enum kl_mode mode = KL_ASYNC;

    if (kl_uring_get(w->pool, &one->buf) != 0)
        return false;
    if (kl_uring_begin(w->pool, one->buf, mode, &one->io) == 0)
        return true;
    torture_expect(kl_uring_put(w->pool, one->buf) == 0, "a buffer can't be put back");
    return false;
}

static void start(struct files *w, struct flight *one)
{
    struct io_uring_sqe *sqe;
    uint64_t offset;

    one->chunk = rng_below(&w->rng, CHUNKS);
    if (w->busy[one->chunk] || !get(w, one))
        return;
    w->busy[one->chunk] = one->flies = true;
    one->is_write = rng_below(&w->rng, 3) == 0;
    one->version = w->version[one->chunk] + one->is_write;
    offset = one->chunk * (uint64_t)w->bytes;
    sqe = io_uring_get_sqe(&w->ring);
    if (one->is_write) {
        fill_bytes(one->io.addr, w->bytes, seed_of(one->chunk, one->version));
        kl_uring_prep_write(sqe, w->fd, &one->io, 0, (unsigned)w->bytes, offset);
    } else {
        memset(one->io.addr, 0xa5, w->bytes);
        kl_uring_prep_read(sqe, w->fd, &one->io, 0, (unsigned)w->bytes, offset);
    }
    io_uring_sqe_set_data(sqe, one);
}

static bool is_right(const struct files *w, const struct flight *one)
{
    const char *at = one->io.addr;

    if (one->is_write)
        return true; /* who reads it says */
    if (one->version > 0)
        return bytes_are(at, w->bytes, seed_of(one->chunk, one->version));
    return at[0] == 0 && memcmp(at, at + 1, w->bytes - 1) == 0; /* never written */
}

static void reap(struct files *w, bool wait)
{
    struct io_uring_cqe *cqe;
    struct flight *one;

    if ((wait ? io_uring_wait_cqe(&w->ring, &cqe) : io_uring_peek_cqe(&w->ring, &cqe)) != 0)
        return;
    one = io_uring_cqe_get_data(cqe);
    torture_expect(cqe->res == (int)w->bytes, "a request failed");
    io_uring_cqe_seen(&w->ring, cqe);
    torture_expect(is_right(w, one), "a byte of I/O is wrong");
    w->version[one->chunk] = one->version;
    w->busy[one->chunk] = one->flies = false;
    torture_expect(kl_uring_end(w->pool, one->buf) == 0, "an end was refused");
    torture_expect(kl_uring_put(w->pool, one->buf) == 0, "a put was refused");
}

static bool anything_flies(const struct files *w)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        if (w->flight[i].flies)
            return true;
    }
    return false;
}

static void *files(void *arg)
{
    struct files *w = &worker[(uintptr_t)arg];

    while (torture_on()) {
        for (unsigned i = 0; i < DEPTH; i++) {
            if (!w->flight[i].flies)
                start(w, &w->flight[i]);
        }
        io_uring_submit(&w->ring);
        reap(w, anything_flies(w));
        if (rng_below(&w->rng, 64) == 0)
            kl_uring_pool_fix(w->pool);
        if (rng_below(&w->rng, 500) == 0)
            rings_fail((int)rng_below(&w->rng, 6), (int)rng_below(&w->rng, 3), 0, -ENOMEM);
    }
    while (anything_flies(w))
        reap(w, true);
    return NULL;
}

static void *mover(void *arg)
{
    struct rng rng = rng_new(100 + (uintptr_t)arg);
    kl_owner_id owner;
    uint32_t held = 0;

    kl_owner_register(f.zone, NULL, NULL, &owner);
    while (torture_on()) {
        uint32_t n = 1 + rng_below(&rng, BLOCKS / 3), frames = 1u << ORDER;
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        kl_pfn first = kl_zone_pfn(f.zone, rng_below(&rng, BLOCKS - 8) * frames);

        switch (rng_below(&rng, 4)) {
        case 0:
            if (kl_zone_give_back(f.zone, n, mode, NULL) == 0) {
                held += n;
                atomic_fetch_add(&given, n);
            }
            break;
        case 1:
            if (held > 0 && kl_zone_lend(f.zone, held) == 0)
                held = 0;
            break;
        case 2:
            kl_zone_compact(f.zone, mode, 200, NULL);
            break;
        default:
            n = (1 + rng_below(&rng, 8)) * frames;
            if (kl_contig_alloc_at(f.zone, owner, first, n, mode, NULL) != 0)
                break;
            memset(kl_frame_addr(f.zone, first), 0xee, (size_t)n * PAGE);
            torture_expect(kl_contig_free(f.zone, owner, first, n) == 0, "a range can't be freed");
            atomic_fetch_add(&ranges, 1);
        }
    }
    if (held > 0)
        torture_expect(kl_zone_lend(f.zone, held) == 0, "what was taken can't be lent");
    torture_expect(kl_owner_unregister(f.zone, owner) == 0, "a range was left");
    return NULL;
}

static const char *missing(void)
{
    uint64_t moved = 0;

    for (unsigned i = 0; i < 2; i++) {
        struct kl_uring_stats s = {.size = sizeof(s)};

        kl_uring_get_stats(worker[i].pool, &s);
        moved += s.moved;
    }
    const struct torture_count counts[] = {{moved, "no buffer was moved"},
                                           {atomic_load(&given), "no block was given back"},
                                           {atomic_load(&ranges), "no range was taken"}};

    return torture_first_zero(counts, 3);
}

static void no_byte_is_wrong(void **state)
{
    static void *(*const bodies[])(void *) = {files, files, mover, mover, mover};
    uint64_t moved = 0, held_off = 0, refused = 0;

    (void)state;
    fixture_open(&f, BLOCKS, ORDER, KL_ZONE_POPULATE);
    for (unsigned i = 0; i < 2; i++)
        open_files(&worker[i], i);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    rings_fail(0, 0, 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct kl_uring_stats s = {.size = sizeof(s)};

        kl_uring_get_stats(worker[i].pool, &s);
        moved += s.moved;
        held_off += s.held_off;
        refused += s.refused;
        assert_int_equal(s.in_flight, 0);
        assert_int_equal(kl_uring_pool_fix(worker[i].pool), 0);
        close_files(&worker[i]);
    }
    print_message("# %llu operations, %llu buffers moved, %llu refused, %llu begins held off, "
                  "%llu blocks taken, %llu ranges\n",
                  torture_ops(), (unsigned long long)moved, (unsigned long long)refused,
                  (unsigned long long)held_off, (unsigned long long)atomic_load(&given),
                  (unsigned long long)atomic_load(&ranges));
    fixture_close(&f);
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_byte_is_wrong)};

    return rings_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
