// SPDX-License-Identifier: Apache-2.0
/* Fixed buffers of io_uring: every call and its errors. */
#include "support/ringpool.h"

#include <string.h>

enum { PAGE = RINGPOOL_PAGE, BUFFERS = RINGPOOL_BUFFERS };

/* ---- create and destroy ---- */

static int create(struct kl_uring_config config)
{
    struct kl_uring_pool *made = NULL;
    int err = kl_uring_pool_create(rp.f.zone, &rp.ring, &config, &made);

    assert_int_equal(err == 0, made != NULL);
    if (!err)
        assert_int_equal(kl_uring_pool_destroy(made), 0);
    return err;
}

static void what_a_pool_can_not_be(void **state)
{
    struct kl_uring_config c = ringpool_usual;

    (void)state;
    ringpool_ring(0);
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, NULL, &rp.pool), -KL_EINVAL);
    assert_int_equal(kl_uring_pool_create(rp.f.zone, NULL, &ringpool_usual, &rp.pool), -KL_EINVAL);
    c.size--;
    assert_int_equal(create(c), -KL_EINVAL);
    for (unsigned i = 0; i < 2; i++) {
        c = ringpool_usual;
        c.buffers = i ? 16385 : 0;
        assert_int_equal(create(c), -KL_EINVAL);
    }
    static const size_t sizes[] = {0, PAGE - 1, PAGE / 2, 3 * PAGE, 32 * PAGE};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        c = ringpool_usual;
        c.bytes = sizes[i];
        assert_int_equal(create(c), -KL_EINVAL);
    }
    c = ringpool_usual;
    c.flags = 2;
    assert_int_equal(create(c), -KL_EINVAL);
    c = ringpool_usual;
    c.first = 1; /* whose table? */
    assert_int_equal(create(c), -KL_EINVAL);
    c = ringpool_usual;
    c.buffers = 8 * 16 + 1; /* more than the zone has */
    assert_int_equal(create(c), -KL_ENOMEM);
    assert_zone_ok(rp.f.zone);
    assert_int_equal(create(ringpool_usual), 0);
    assert_int_equal(kl_uring_pool_destroy(NULL), 0);
    ringpool_close_ring();
}

static void a_zone_without_addresses(void **state)
{
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_backing offsets;
    struct kl_zone *zone;

    (void)state;
    ringpool_ring(0);
    assert_int_equal(kl_backing_offsets(&offsets, 1 << 20, 12, 4), 0);
    config.backing = &offsets;
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    assert_int_equal(kl_uring_pool_create(zone, &rp.ring, &ringpool_usual, &rp.pool), -KL_ENOTSUP);
    assert_int_equal(kl_zone_destroy(zone), 0);
    ringpool_close_ring();
}

/* Another table; two pools of two sizes in one that is there. */
static void tables_that_are_there(void **state)
{
    struct kl_uring_config c = ringpool_usual;
    struct kl_uring_pool *other;
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    ringpool_ring(0);
    c.flags = KL_URING_TABLE_THERE;
    c.first = 4;
    assert_int_equal(create(c), -KL_ENOENT);
    assert_int_equal(io_uring_register_buffers_sparse(&rp.ring, 4 + 2 * BUFFERS), 0);
    assert_int_equal(create(ringpool_usual), -KL_EEXIST);
    c.first = 5 + BUFFERS;
    assert_int_equal(create(c), -KL_ERANGE);
    c.first = UINT32_MAX;
    assert_int_equal(create(c), -KL_ERANGE);
    c.first = 4;
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, &c, &rp.pool), 0);
    c.first = 4 + BUFFERS;
    c.bytes = 4 * PAGE;
    assert_int_equal(kl_uring_pool_create(rp.f.zone, &rp.ring, &c, &other), 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(kl_uring_get(other, &buf), 0);
        assert_int_equal(kl_uring_begin(other, buf, KL_ASYNC, &io), 0);
        assert_in_range(io.slot, 4 + BUFFERS, 3 + 2 * BUFFERS);
        assert_int_equal(io.bytes, 4 * PAGE);
        assert_int_equal(kl_uring_end(other, buf), 0);
        assert_int_equal(kl_uring_end(rp.pool, buf), -KL_EINVAL); /* not that one's */
        assert_int_equal(kl_uring_put(other, buf), 0);
    }
    buf = ringpool_get(&io);
    assert_in_range(io.slot, 4, 3 + BUFFERS);
    assert_ringpool_works(buf, 0, true);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    assert_int_equal(kl_uring_pool_destroy(rp.pool), 0);
    assert_int_equal(kl_uring_pool_destroy(other), 0);
    assert_true(rings_pinned() <= 0);
    assert_int_equal(io_uring_unregister_buffers(&rp.ring), 0); /* left to its owner */
    ringpool_close_ring();
}

/* Whatever fails on the way, nothing is left, and the ring has no table. */
static void create_fails_at_every_step(void **state)
{
    int n;

    (void)state;
    ringpool_ring(0);
    for (n = 1;; n++) {
        int err;

        fault_set(FAULT_META, n);
        err = create(ringpool_usual);
        if (!fault_due(FAULT_META))
            assert_int_equal(err, -KL_ENOMEM);
        assert_zone_ok(rp.f.zone);
        if (fault_due(FAULT_META)) {
            assert_int_equal(err, 0);
            break;
        }
    }
    fault_set(FAULT_META, 0);
    assert_true(n > 3);
    rings_fail(0, 0, 1, -ENOMEM);
    assert_int_equal(create(ringpool_usual), -KL_ENOMEM);
    rings_fail(0, 0, 1, -EINVAL); /* Linux before 5.19 */
    assert_int_equal(create(ringpool_usual), -KL_ENOTSUP);
    rings_fail(0, 0, 1, -EPERM);
    assert_int_equal(create(ringpool_usual), -KL_ENOTSUP);
    assert_int_equal(create(ringpool_usual), 0);
    ringpool_close_ring();
}

static void destroy_refuses_what_is_in_use(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    buf = ringpool_get(&io);
    assert_int_equal(kl_uring_pool_destroy(rp.pool), -KL_EBUSY);
    ringpool_start(buf, &io);
    assert_int_equal(kl_uring_pool_destroy(rp.pool), -KL_EBUSY);
    ringpool_finish(7);
    assert_ringpool_ok(rp.pool);
    assert_ringpool_works(buf, 7, true);
    assert_int_equal(rings_move(rp.f.zone, io.addr, KL_ASYNC, NULL), 0);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
}

/* ---- names ---- */

static void names_that_are_wrong(void **state)
{
    kl_uring_buf buf[BUFFERS] = {{0}}, one, foreign;
    struct kl_uring_io io;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    for (unsigned i = 0; i < BUFFERS; i++)
        buf[i] = ringpool_get(&io);
    assert_int_equal(kl_uring_get(rp.pool, &one), -KL_EAGAIN);
    assert_int_equal(ringpool_stats().got, BUFFERS);

    foreign = (kl_uring_buf){buf[0].v ^ UINT64_C(1) << 48};
    assert_int_equal(kl_uring_begin(rp.pool, foreign, KL_ASYNC, &io), -KL_EINVAL);
    assert_int_equal(kl_uring_end(rp.pool, foreign), -KL_EINVAL);
    assert_int_equal(kl_uring_put(rp.pool, foreign), -KL_EINVAL);
    foreign = (kl_uring_buf){(buf[0].v & ~UINT64_C(0xffffff)) | (BUFFERS + 1)};
    assert_int_equal(kl_uring_begin(rp.pool, foreign, KL_ASYNC, &io), -KL_EINVAL);
    assert_int_equal(kl_uring_end(rp.pool, foreign), -KL_EINVAL);
    assert_int_equal(kl_uring_put(rp.pool, foreign), -KL_EINVAL);
    assert_int_equal(kl_uring_put(rp.pool, (kl_uring_buf){0}), -KL_EINVAL);
    assert_int_equal(kl_uring_begin(rp.pool, buf[0], (enum kl_mode)3, &io), -KL_EINVAL);

    assert_int_equal(kl_uring_end(rp.pool, buf[0]), -KL_EINVAL); /* nothing begun */
    assert_int_equal(kl_uring_begin(rp.pool, buf[0], KL_ASYNC, &io), 0);
    assert_int_equal(kl_uring_put(rp.pool, buf[0]), -KL_EBUSY);
    assert_int_equal(kl_uring_end(rp.pool, buf[0]), 0);
    assert_int_equal(kl_uring_end(rp.pool, buf[0]), -KL_EINVAL); /* twice */
    assert_int_equal(kl_uring_put(rp.pool, buf[0]), 0);
    assert_int_equal(kl_uring_put(rp.pool, buf[0]), -KL_ESTALE);
    assert_int_equal(kl_uring_begin(rp.pool, buf[0], KL_ASYNC, &io), -KL_ESTALE);
    assert_int_equal(kl_uring_end(rp.pool, buf[0]), -KL_ESTALE);
    assert_int_equal(kl_uring_get(rp.pool, &one), 0); /* the same one under another name */
    assert_int_equal(one.v & 0xffffff, buf[0].v & 0xffffff);
    assert_int_equal(kl_uring_begin(rp.pool, buf[0], KL_ASYNC, &io), -KL_ESTALE);
    buf[0] = one;
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(kl_uring_put(rp.pool, buf[i]), 0);
    ringpool_close();
}

static void so_many_requests_of_one(void **state)
{
    struct kl_uring_io io;
    kl_uring_buf buf;

    (void)state;
    ringpool_open(&ringpool_usual, 0);
    buf = ringpool_get(&io);
    for (unsigned i = 0; i < 65535; i++)
        assert_int_equal(kl_uring_begin(rp.pool, buf, KL_ASYNC, &io), 0);
    assert_int_equal(kl_uring_begin(rp.pool, buf, KL_SYNC, &io), -KL_ENOSPC);
    assert_int_equal(ringpool_stats().in_flight, 65535);
    assert_int_equal(ringpool_stats().busy, 1);
    for (unsigned i = 0; i < 65535; i++)
        assert_int_equal(kl_uring_end(rp.pool, buf), 0);
    assert_int_equal(kl_uring_put(rp.pool, buf), 0);
    ringpool_close();
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
    };

    return rings_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
