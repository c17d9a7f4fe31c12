// SPDX-License-Identifier: Apache-2.0
/* lease.c - memory that was taken from a zone, handed to another process.
 *
 * The file is fresh, so it shows nothing of the zone and of its tenants, and
 * sealed before anybody else gets it:
 *   F_SEAL_GROW   no memory can be added behind its end;
 *   F_SEAL_SEAL   no F_SEAL_SHRINK can be added, so the lessor can always
 *                 truncate it to nothing.  Its pages are freed then, whoever
 *                 has it open or mapped, and a touch of an old mapping raises
 *                 SIGBUS.
 *
 * Two limits, both the kernel's.  Pages that the peer has pinned for a device
 * or for io_uring leave the file at once but are free only when they are
 * unpinned.  And a *huge page* file grows, in spite of the seal, by a writable
 * mmap of it: a peer that keeps the descriptor can so get huge pages that are
 * free, charged to itself, just as mmap(MAP_HUGETLB) gives them to it without
 * any descriptor.  The lease's own memory is returned in any case.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int kl_linux_lease_create(const struct kl_linux_backing *like, uint64_t bytes, int *fd)
{
    const struct kl_backing *backing;
    uint64_t block;
    int file;
    int err;

    if (!like || !fd || bytes == 0)
        return -KL_EINVAL;
    backing = kl_linux_backing_get(like);
    block = (uint64_t)1 << (backing->frame_shift + backing->block_order);
    if (bytes & (block - 1) || bytes > backing->bytes)
        return -KL_EINVAL;
    file = kli_memfile_create(kl_linux_backing_kind(like), bytes, true);
    if (file < 0)
        return file;
    err = kli_memfile_populate(file, kli_linux_backing_memory(like), 0, bytes);
    if (!err && fcntl(file, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) != 0)
        err = kli_linux_error(errno);
    if (err) {
        close(file);
        return err;
    }
    *fd = file;
    return 0;
}

int kl_linux_lease_revoke(int fd)
{
    int err = 0;

    if (fd < 0)
        return -KL_EINVAL;
    while (ftruncate(fd, 0) != 0) {
        if (errno == EINTR)
            continue;
        err = kli_linux_error(errno);
        break;
    }
    close(fd);
    return err;
}
