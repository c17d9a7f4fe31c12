// SPDX-License-Identifier: Apache-2.0
#include "support/ringpool.h"

#include <string.h>
#include <unistd.h>

struct ringpool rp;

const struct kl_uring_config ringpool_usual = {.size = sizeof(ringpool_usual),
                                               .buffers = RINGPOOL_BUFFERS,
                                               .bytes = RINGPOOL_PAGE,
                                               .wait_ms = 20};

void ringpool_ring(unsigned flags)
{
    fixture_host = fixture_one_cpu;
    fixture_open(&rp.f, 8, 4, KL_ZONE_POPULATE);
    assert_int_equal(io_uring_queue_init(16, &rp.ring, flags), 0);
    assert_int_equal(pipe(rp.pipes), 0);
    rings_fail(0, 0, 0, 0);
}

void ringpool_open(const struct kl_uring_config *config, unsigned flags)
{
    ringpool_ring(flags);
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, config, &rp.pool), 0);
}

void assert_ringpool_ok(struct kl_uring_pool *which)
{
    const char *what = NULL;

    if (kl_uring_pool_check(which, &what) != 0)
        fail_msg("broken: %s", what ? what : "but nothing said");
    assert_zone_ok(rp.f.zone);
}

void ringpool_close_ring(void)
{
    assert_int_equal(io_uring_register_buffers_sparse(&rp.ring, 1), 0);
    io_uring_queue_exit(&rp.ring);
    close(rp.pipes[0]);
    close(rp.pipes[1]);
    fixture_close(&rp.f);
}

void ringpool_close(void)
{
    assert_ringpool_ok(rp.pool);
    assert_int_equal(kl_uring_pool_destroy(rp.pool), 0);
    ringpool_close_ring();
}

struct kl_uring_stats ringpool_stats(void)
{
    struct kl_uring_stats s = {.size = sizeof(s)};

    kl_uring_get_stats(rp.pool, &s);
    return s;
}

kl_uring_buf ringpool_get(struct kl_uring_io *io)
{
    kl_uring_buf buf;

    assert_int_equal(kl_uring_get(rp.pool, &buf), 0);
    assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, io), 0);
    assert_int_equal(kl_uring_end(rp.pool, buf), 0);
    return buf;
}

void ringpool_start(kl_uring_buf buf, struct kl_uring_io *io)
{
    assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, io), 0);
    rings_read(&rp.ring, rp.pipes[0], io, RINGPOOL_PAGE, (uint64_t)-1, buf.v);
}

void ringpool_answer(uint64_t seed)
{
    char bytes[RINGPOOL_PAGE];

    fill_bytes(bytes, RINGPOOL_PAGE, seed);
    assert_int_equal(write(rp.pipes[1], bytes, RINGPOOL_PAGE), RINGPOOL_PAGE);
}

void ringpool_finish(uint64_t seed)
{
    uint64_t name;

    ringpool_answer(seed);
    assert_int_equal(rings_wait(&rp.ring, &name), RINGPOOL_PAGE);
    assert_int_equal(kl_uring_end(rp.pool, (kl_uring_buf){name}), 0);
}

void assert_ringpool_works(kl_uring_buf buf, uint64_t seed, bool fixed)
{
    struct kl_uring_io io;
    char back[RINGPOOL_PAGE];

    assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, &io), 0);
    assert_int_equal(io.slot >= 0, fixed);
    if (seed)
        assert_true(bytes_are(io.addr, RINGPOOL_PAGE, seed));
    ringpool_answer(101);
    rings_read(&rp.ring, rp.pipes[0], &io, RINGPOOL_PAGE, (uint64_t)-1, 1);
    assert_int_equal(rings_wait(&rp.ring, NULL), RINGPOOL_PAGE);
    assert_true(bytes_are(io.addr, RINGPOOL_PAGE, 101));
    fill_bytes(io.addr, RINGPOOL_PAGE, 102);
    rings_write(&rp.ring, rp.pipes[1], &io, RINGPOOL_PAGE, (uint64_t)-1, 1);
    assert_int_equal(rings_wait(&rp.ring, NULL), RINGPOOL_PAGE);
    assert_int_equal(read(rp.pipes[0], back, RINGPOOL_PAGE), RINGPOOL_PAGE);
    assert_true(bytes_are(back, RINGPOOL_PAGE, 102));
    assert_int_equal(kl_uring_end(rp.pool, buf), 0);
}
