// SPDX-License-Identifier: Apache-2.0
#include "support/rings.h"

#include <stdio.h>
#include <string.h>

/* ---- registrations that fail ---- */

int __real_io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off,
                                                const struct iovec *iovecs, const __u64 *tags,
                                                unsigned nr);
int __wrap_io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off,
                                                const struct iovec *iovecs, const __u64 *tags,
                                                unsigned nr);
int __real_io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr);
int __wrap_io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr);

static _Atomic unsigned short_by;
static _Atomic int fail_fills, fail_empties, fail_tables, fail_with;

void rings_fail(int fills, int empties, int tables, int err)
{
    atomic_store(&fail_with, err);
    atomic_store(&fail_fills, fills);
    atomic_store(&fail_empties, empties);
    atomic_store(&fail_tables, tables);
}

unsigned rings_short(unsigned n)
{
    return atomic_exchange(&short_by, n);
}

static bool fails(_Atomic int *left)
{
    return atomic_load(left) > 0 && atomic_fetch_sub(left, 1) > 0;
}

int __wrap_io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off,
                                                const struct iovec *iovecs, const __u64 *tags,
                                                unsigned nr)
{
    if (fails(iovecs[0].iov_base ? &fail_fills : &fail_empties))
        return atomic_load(&fail_with);
    if (atomic_load(&short_by) > 0 && nr > atomic_load(&short_by))
        nr = atomic_exchange(&short_by, 0);
    return __real_io_uring_register_buffers_update_tag(ring, off, iovecs, tags, nr);
}

int __wrap_io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr)
{
    if (fails(&fail_tables))
        return atomic_load(&fail_with);
    return __real_io_uring_register_buffers_sparse(ring, nr);
}

/* ---- the machine ---- */

bool rings_there(void)
{
    struct io_uring ring;
    int err = io_uring_queue_init(2, &ring, 0);

    if (err == 0) {
        err = __real_io_uring_register_buffers_sparse(&ring, 1);
        io_uring_queue_exit(&ring);
    }
    if (err < 0)
        print_message("# skipped: io_uring can't be used here: %s\n", strerror(-err));
    return err >= 0;
}

int64_t rings_pinned(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    long long kib = -1;
    char line[256];

    while (file && kib < 0 && fgets(line, sizeof(line), file))
        (void)sscanf(line, "VmPin: %lld", &kib);
    if (file)
        fclose(file);
    return kib < 0 ? -1 : kib * 1024;
}

/* ---- moves ---- */

uint32_t rings_frame(const struct kl_zone *zone, const void *addr)
{
    const char *base = kl_frame_addr(zone, kl_zone_pfn(zone, 0));

    return (uint32_t)((size_t)((const char *)addr - base) / kl_zone_frame_bytes(zone));
}

int rings_move(struct kl_zone *zone, const void *addr, enum kl_mode mode, struct kl_report *report)
{
    uint32_t frames = (uint32_t)(kl_zone_block_bytes(zone) / kl_zone_frame_bytes(zone));
    kl_pfn first = kl_zone_pfn(zone, rings_frame(zone, addr) / frames * frames);
    kl_owner_id owner;
    int err;

    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    err = kl_contig_alloc_at(zone, owner, first, frames, mode, report);
    if (!err)
        assert_int_equal(kl_contig_free(zone, owner, first, frames), 0);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    return err;
}

/* ---- requests ---- */

static void submit(struct io_uring *ring, struct io_uring_sqe *sqe, int err, uint64_t name)
{
    assert_int_equal(err, 0);
    sqe->user_data = name;
    assert_int_equal(io_uring_submit(ring), 1);
}

void rings_read(struct io_uring *ring, int fd, const struct kl_uring_io *io, unsigned n,
                uint64_t offset, uint64_t name)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    submit(ring, sqe, kl_uring_prep_read(sqe, fd, io, 0, n, offset), name);
}

void rings_write(struct io_uring *ring, int fd, const struct kl_uring_io *io, unsigned n,
                 uint64_t offset, uint64_t name)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    submit(ring, sqe, kl_uring_prep_write(sqe, fd, io, 0, n, offset), name);
}

int rings_wait(struct io_uring *ring, uint64_t *name)
{
    struct io_uring_cqe *cqe;
    int res;

    while ((res = io_uring_wait_cqe(ring, &cqe)) == -EINTR)
        ;
    assert_int_equal(res, 0);
    res = cqe->res;
    if (name)
        *name = cqe->user_data;
    io_uring_cqe_seen(ring, cqe);
    return res;
}
