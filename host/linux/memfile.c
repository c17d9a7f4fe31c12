// SPDX-License-Identifier: Apache-2.0
/* memfile.c - memory files: create, populate, release.
 *
 * fallocate is interrupted by signals and then undoes what it did, so a long
 * range under a profiler's timer would never end: ranges are populated in steps
 * of 2 MiB, or one huge page, each of which is tried again by itself.
 *
 * Thread safety: everything may run together; ranges must not overlap.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Huge pages of 2^shift bytes, as <linux/memfd.h> encodes the size. */
#define MEMFD_HUGE(shift) ((shift) << 26)

int kli_linux_error(int err)
{
    switch (err) {
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
        return -KL_ENOMEM;
    case EINVAL:
        return -KL_EINVAL;
    case ENODEV:
    case ENOSYS:
    case EOPNOTSUPP:
        return -KL_ENOTSUP;
    default:
        return -KL_EIO;
    }
}

static int file_open(enum kl_linux_kind kind, bool sealable)
{
    bool huge = kli_huge_bytes(kind) != 0;
    unsigned flags = MFD_CLOEXEC;
    int fd;

    if (kind == KL_LINUX_HUGETLB)
        flags |= MFD_HUGETLB | MEMFD_HUGE(KLI_HUGE_SHIFT);
    if (kind == KL_LINUX_HUGETLB_1G)
        flags |= MFD_HUGETLB | MEMFD_HUGE(KLI_HUGE_SHIFT_1G);
    if (sealable)
        flags |= MFD_ALLOW_SEALING;
    fd = memfd_create(huge ? "klotski-huge" : "klotski", flags);
    if (fd < 0 && huge && errno != ENOMEM && errno != EMFILE && errno != ENFILE)
        return -KL_ENOTSUP; /* no pool of that size, or not for us */
    return fd < 0 ? kli_linux_error(errno) : fd;
}

int kli_memfile_create(enum kl_linux_kind kind, uint64_t bytes, bool sealable)
{
    int fd = file_open(kind, sealable);
    int err;

    if (fd < 0)
        return fd;
    while (ftruncate(fd, (off_t)bytes) != 0) {
        if (errno == EINTR)
            continue;
        err = errno == EFBIG ? -KL_EINVAL : kli_linux_error(errno);
        close(fd);
        return err;
    }
    return fd;
}

static int file_allocate(int fd, int mode, uint64_t offset, uint64_t bytes)
{
    while (fallocate(fd, mode, (off_t)offset, (off_t)bytes) != 0) {
        if (errno != EINTR)
            return kli_linux_error(errno);
    }
    return 0;
}

static int populate(int fd, uint64_t step, uint64_t offset, uint64_t bytes)
{
    uint64_t done = 0;

    while (done < bytes) {
        uint64_t n = bytes - done < step ? bytes - done : step;
        int err = file_allocate(fd, 0, offset + done, n);

        if (err) {
            kli_memfile_release(fd, offset, done + n); /* huge pages stay after a failure */
            return err;
        }
        done += n;
    }
    return 0;
}

int kli_memfile_populate(int fd, const struct kli_memory *memory, uint64_t offset, uint64_t bytes)
{
    uint64_t page = kli_huge_bytes(memory->kind);
    struct kli_numa_policy before;
    int err = kli_numa_enter(memory->numa, &before);

    if (err)
        return err;
    err = populate(fd, page ? page : KLI_HUGE_BYTES, offset, bytes);
    kli_numa_leave(memory->numa, &before);
    return err;
}

int kli_memfile_release(int fd, uint64_t offset, uint64_t bytes)
{
    return file_allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
}
