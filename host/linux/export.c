// SPDX-License-Identifier: Apache-2.0
/* export.c - objects in files of their own, for peers that are not trusted.
 *
 * The file is fresh and fully allocated, and sealed before anybody else gets it:
 *   F_SEAL_GROW          no memory can be added behind its end
 *   F_SEAL_SEAL          no F_SEAL_SHRINK can be added, so that we can always truncate it
 *   F_SEAL_FUTURE_WRITE  (read-only) nobody writes it but through the one mapping that was
 *                        there before: ours
 *
 * (X1) The peer's descriptor is another open file than ours, so that flags and position
 *      of ours are nobody else's.
 * (X2) We never touch the file's pages by an address: a peer that can shorten it would raise
 *      SIGBUS here.  They are read by pread, written by pwrite, or, where that is sealed,
 *      by process_vm_writev to ourselves, or through a pipe: all of these return an error.
 * (X3) A read-only file has mode 0400, so that its descriptor is not opened again for
 *      writing, and so can't be truncated, by another user.
 *
 * The end: contents are read back page by page, then the file is truncated, which takes its
 * pages from whoever has them mapped, and closed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "export.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* ---- the place ---- */

static int place_read(void *ctx, uint64_t offset, void *to, size_t n)
{
    const struct kl_linux_export *e = ctx;

    while (n > 0) {
        ssize_t got = pread(e->file, to, n, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -KL_EIO;
        if (got == 0) { /* cut off */
            memset(to, 0, n);
            return 0;
        }
        to = (char *)to + got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* read(2) says EFAULT, too.  For where process_vm_writev is not to be had. */
static ssize_t write_by_pipe(char *to, const void *from, size_t n)
{
    int ends[2];
    ssize_t put;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    put = write(ends[1], from, n);
    if (put > 0)
        put = read(ends[0], to, (size_t)put);
    close(ends[0]);
    close(ends[1]);
    return put;
}

/* One call's worth; X2. */
static ssize_t write_some(const struct kl_linux_export *e, uint64_t offset, const void *from,
                          size_t n)
{
    struct iovec ours = {.iov_base = (void *)(uintptr_t)from, .iov_len = n}, theirs;
    ssize_t put;

    if (!e->map)
        return pwrite(e->file, from, n, (off_t)offset);
    if (offset > e->bytes || n > e->bytes - offset) {
        errno = EFBIG;
        return -1;
    }
    theirs = (struct iovec){.iov_base = e->map + offset, .iov_len = n};
    put = process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0);
    if (put < 0 && (errno == ENOSYS || errno == EPERM))
        put = write_by_pipe(theirs.iov_base, from, n);
    return put;
}

static int place_write(void *ctx, uint64_t offset, const void *from, size_t n)
{
    const struct kl_linux_export *e = ctx;

    while (n > 0) {
        ssize_t put = write_some(e, offset, from, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return -KL_EIO;
        from = (const char *)from + put;
        offset += (uint64_t)put;
        n -= (size_t)put;
    }
    return 0;
}

/* The map and the file, once. */
static void close_file(struct kl_linux_export *e)
{
    if (e->map)
        munmap(e->map, e->bytes);
    if (e->file >= 0) {
        while (ftruncate(e->file, 0) != 0 && errno == EINTR)
            ;
        close(e->file);
    }
    e->map = NULL;
    e->file = -1;
}

/* The holder may go on at once when it finds this. */
static void place_release(void *ctx)
{
    struct kl_linux_export *e = ctx;

    close_file(e);
    atomic_store(&e->is_back, true);
}

int kli_export_take_back(struct kl_linux_export *e)
{
    int err = atomic_load(&e->is_back) ? 0 : kl_shm_move_in(e->shm, e->object);

    return atomic_load(&e->is_back) ? 0 : err; /* the program may have called that itself */
}

void kli_export_free(struct kl_linux_export *e)
{
    close_file(e);
    if (e->peer >= 0)
        close(e->peer);
    free(e);
}

/* ---- making it ---- */

static int map_ours(struct kl_linux_export *e)
{
    void *map = mmap(NULL, e->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, e->file, 0);

    if (map == MAP_FAILED)
        return kli_linux_error(errno);
    e->map = map;
    if (madvise(map, e->bytes, MADV_DONTDUMP) != 0 || madvise(map, e->bytes, MADV_DONTFORK) != 0)
        return kli_linux_error(errno);
    return 0;
}

static int make_file(struct kl_linux_export *e, bool writable)
{
    const struct kli_memory ordinary = {.kind = KL_LINUX_MEMFD};
    int seals = F_SEAL_GROW | F_SEAL_SEAL | (writable ? 0 : F_SEAL_FUTURE_WRITE);
    int err;

    e->file = kli_memfile_create(KL_LINUX_MEMFD, e->bytes, true);
    if (e->file < 0)
        return e->file;
    err = kli_memfile_populate(e->file, &ordinary, 0, e->bytes);
    if (!err && !writable)
        err = map_ours(e);
    if (err)
        return err;
    if (fchmod(e->file, writable ? 0600 : 0400) != 0 || fcntl(e->file, F_ADD_SEALS, seals) != 0)
        return errno == EINVAL ? -KL_ENOTSUP : kli_linux_error(errno);
    return 0;
}

/* X1 */
static int open_again(const struct kl_linux_export *e, bool writable, int *fd)
{
    char path[40];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", e->file);
    *fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (*fd >= 0)
        return 0;
    return errno == ENOENT ? -KL_ENOTSUP : kli_linux_error(errno);
}

/* A socket hangs up; a pidfd becomes readable. */
static int watch(struct kl_linux_export *e, int peer)
{
    struct stat st;

    if (peer < 0)
        return 0;
    if (fstat(peer, &st) != 0)
        return -KL_EINVAL;
    e->gone = S_ISSOCK(st.st_mode) ? POLLRDHUP : POLLIN;
    e->peer = fcntl(peer, F_DUPFD_CLOEXEC, 0);
    return e->peer < 0 ? kli_linux_error(errno) : 0;
}

static int prepare(struct kl_linux_export *e, const struct kl_linux_export_config *config, int *fd)
{
    struct kl_shm_info info = {.size = sizeof(info)};
    uint64_t page = kl_shm_page_bytes(e->shm);
    bool writable = config->flags & KL_LINUX_EXPORT_WRITE;
    int err = kl_shm_object_info(e->shm, e->object, &info);

    if (err)
        return err;
    if (info.bytes == 0 || info.bytes > INT64_MAX - page)
        return -KL_EINVAL;
    e->bytes = (info.bytes + page - 1) & ~(page - 1);
    if (e->bytes > SIZE_MAX)
        return -KL_ENOMEM;
    err = watch(e, config->peer);
    if (!err)
        err = make_file(e, writable);
    if (!err)
        err = open_again(e, writable, fd);
    return err || !config->peers ? err : kli_peers_add(config->peers, e);
}

static bool config_ok(const struct kl_linux_export_config *config, bool has_holder)
{
    return config->size == sizeof(*config) && !(config->flags & ~(unsigned)KL_LINUX_EXPORT_WRITE) &&
           (config->peers ? config->peer >= 0 : has_holder);
}

int kl_linux_export_create(struct kl_shm *shm, kl_shm_id object,
                           const struct kl_linux_export_config *config,
                           struct kl_linux_export **out, int *fd)
{
    struct kl_shm_place place = {
        .size = sizeof(place), .read = place_read, .write = place_write, .release = place_release};
    struct kl_linux_export *e;
    int theirs = -1, err;

    if (!shm || !config || !fd || !config_ok(config, out != NULL))
        return -KL_EINVAL;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -KL_ENOMEM;
    *e = (struct kl_linux_export){
        .shm = shm, .object = object, .file = -1, .peer = -1, .has_holder = out != NULL};
    err = prepare(e, config, &theirs);
    if (!err) {
        place.bytes = e->bytes;
        err = kl_shm_move_out(shm, object, &place, e);
    }
    if (err) {
        if (theirs >= 0)
            close(theirs);
        kli_peers_remove(e);
        kli_export_free(e);
        return err;
    }
    if (out)
        *out = e;
    *fd = theirs;
    kli_peers_watch(e);
    return 0;
}

bool kl_linux_export_is_gone(const struct kl_linux_export *e)
{
    struct pollfd poll_one = {.fd = e->peer, .events = e->gone};

    return e->peer >= 0 && poll(&poll_one, 1, 0) == 1;
}

int kl_linux_export_end(struct kl_linux_export *e)
{
    int err;

    if (!e)
        return -KL_EINVAL;
    if (e->peers)
        return kli_peers_end(e);
    err = kli_export_take_back(e);
    if (!err)
        kli_export_free(e);
    return err;
}
