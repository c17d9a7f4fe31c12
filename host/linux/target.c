// SPDX-License-Identifier: Apache-2.0
/* A write-back target in a file or on a block device.
 *
 * Two threads serve: one reads, the other does all else, so that a write that takes its
 * time holds up no read.  A file begins with a page that says what it is: so one that
 * was left behind can be told from somebody's data.
 *
 * Locks: the mutex guards the two queues and `stop`; it is held over no system call.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "klotski/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 4096, READER = 0, WRITER = 1 };

static const char mark[] = "klotski write-back file; of no use once its disk has ended\n";

struct queue {
    struct kl_linux_target *target;
    pthread_t thread;
    pthread_cond_t work;
    struct kl_target_io *first, **last;
};

struct kl_linux_target {
    struct kl_target target;
    int fd;
    char *path;
    bool device;
    bool created;     /* the file, */
    bool ours;        /* or it was there, and is for us to empty */
    unsigned threads; /* that run */
    pthread_mutex_t mutex;
    bool stop;
    struct queue queue[2];
};

/* All of it, or the error. */
static int transfer(const struct kl_linux_target *t, const struct kl_target_io *io)
{
    uint32_t done = 0;

    while (done < io->bytes) {
        off_t at = (off_t)(HEAD + io->offset + done);
        char *buf = (char *)io->buf + done;
        ssize_t n = io->op == KL_TARGET_READ ? pread(t->fd, buf, io->bytes - done, at)
                                             : pwrite(t->fd, buf, io->bytes - done, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && (errno == ENOSPC || errno == EDQUOT) ? -KL_ENOSPC : -KL_EIO;
        done += (uint32_t)n;
    }
    return 0;
}

static int trim(const struct kl_linux_target *t, const struct kl_target_io *io)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    return fallocate(t->fd, mode, (off_t)(HEAD + io->offset), (off_t)io->bytes) == 0 ? 0 : -KL_EIO;
}

static int serve(const struct kl_linux_target *t, const struct kl_target_io *io)
{
    switch (io->op) {
    case KL_TARGET_FLUSH:
        return fdatasync(t->fd) == 0 ? 0 : -KL_EIO;
    case KL_TARGET_TRIM:
        return trim(t, io);
    default:
        return transfer(t, io);
    }
}

static struct kl_target_io *take(struct queue *q)
{
    struct kl_target_io *io = q->first;

    q->first = io->next;
    if (!q->first)
        q->last = &q->first;
    return io;
}

/* After stop what still waits is given up; a request under way is finished first. */
static void *queue_main(void *arg)
{
    struct queue *q = arg;
    struct kl_linux_target *t = q->target;

    pthread_mutex_lock(&t->mutex);
    for (;;) {
        struct kl_target_io *io;
        bool stop;

        while (!q->first && !t->stop)
            pthread_cond_wait(&q->work, &t->mutex);
        if (!q->first)
            break;
        io = take(q);
        stop = t->stop;
        pthread_mutex_unlock(&t->mutex);
        io->done(io, stop ? -KL_ECANCELED : serve(t, io));
        pthread_mutex_lock(&t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
}

static int target_submit(void *ctx, struct kl_target_io *io)
{
    struct kl_linux_target *t = ctx;
    struct queue *q = &t->queue[io->op == KL_TARGET_READ ? READER : WRITER];
    int err = 0;

    pthread_mutex_lock(&t->mutex);
    if (t->stop) {
        err = -KL_ECANCELED;
    } else {
        io->next = NULL;
        *q->last = io;
        q->last = &io->next;
        pthread_cond_signal(&q->work);
    }
    pthread_mutex_unlock(&t->mutex);
    return err;
}

static void target_cancel(void *ctx)
{
    struct kl_linux_target *t = ctx;
    unsigned threads = t->threads;

    pthread_mutex_lock(&t->mutex);
    t->stop = true;
    t->threads = 0;
    for (int i = 0; i < 2; i++)
        pthread_cond_signal(&t->queue[i].work);
    pthread_mutex_unlock(&t->mutex);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(t->queue[i].thread, NULL);
}

static int target_status(void *ctx, char *text, size_t bytes)
{
    const struct kl_linux_target *t = ctx;

    snprintf(text, bytes, "%s", t->path);
    return 0;
}

/* Our own, or nothing in it yet. */
static int look_at_file(const struct kl_linux_target *t, off_t size)
{
    char head[sizeof(mark)] = "";

    if (size == 0)
        return 0;
    if (pread(t->fd, head, sizeof(mark) - 1, 0) != (ssize_t)sizeof(mark) - 1 ||
        memcmp(head, mark, sizeof(mark) - 1) != 0)
        return -KL_EEXIST;
    return 0;
}

static int size_file(struct kl_linux_target *t, uint64_t bytes, off_t size)
{
    int err = look_at_file(t, size);

    if (err)
        return err;
    if (bytes == 0)
        return -KL_EINVAL;
    t->ours = true;
    if (ftruncate(t->fd, 0) != 0 || ftruncate(t->fd, (off_t)(HEAD + bytes)) != 0)
        return errno == EFBIG || errno == ENOSPC ? -KL_ENOSPC : -KL_EIO;
    if (pwrite(t->fd, mark, sizeof(mark) - 1, 0) != (ssize_t)sizeof(mark) - 1)
        return errno == ENOSPC ? -KL_ENOSPC : -KL_EIO;
    t->target.bytes = bytes;
    t->target.flags = KL_TARGET_CAN_TRIM;
    return 0;
}

/* A device is the user's to name: nothing on it says whose it is. */
static int size_device(struct kl_linux_target *t, uint64_t bytes)
{
    uint64_t there = 0;

    if (ioctl(t->fd, BLKGETSIZE64, &there) != 0 || there <= HEAD || bytes > there - HEAD)
        return -KL_EINVAL;
    t->device = true;
    t->target.bytes = bytes ? bytes : there - HEAD;
    return 0;
}

static int open_file(struct kl_linux_target *t, const char *path, uint64_t bytes)
{
    struct stat st;

    t->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    t->created = t->fd >= 0;
    if (t->fd < 0 && errno == EEXIST) {
        bool device = stat(path, &st) == 0 && S_ISBLK(st.st_mode);

        t->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (device ? O_EXCL : 0));
    }
    if (t->fd < 0)
        return errno == EBUSY                        ? -KL_EBUSY
               : errno == ENOENT || errno == ENOTDIR ? -KL_ENOENT
               : errno == EISDIR                     ? -KL_EINVAL
                                                     : -KL_EIO;
    if (fstat(t->fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        return -KL_EINVAL;
    if (flock(t->fd, LOCK_EX | LOCK_NB) != 0)
        return -KL_EBUSY;
    return S_ISBLK(st.st_mode) ? size_device(t, bytes) : size_file(t, bytes, st.st_size);
}

static int start_threads(struct kl_linux_target *t)
{
    sigset_t all, old;
    int err = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; t->threads < 2 && !err; t->threads += !err) {
        struct queue *q = &t->queue[t->threads];

        err = pthread_create(&q->thread, NULL, queue_main, q);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err ? -KL_ENOMEM : 0;
}

static struct kl_linux_target *new_target(const char *path)
{
    struct kl_linux_target *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->fd = -1;
    t->path = strdup(path);
    pthread_mutex_init(&t->mutex, NULL);
    for (int i = 0; i < 2; i++) {
        t->queue[i].target = t;
        t->queue[i].last = &t->queue[i].first;
        pthread_cond_init(&t->queue[i].work, NULL);
    }
    t->target = (struct kl_target){.size = sizeof(t->target),
                                   .ctx = t,
                                   .submit = target_submit,
                                   .cancel = target_cancel,
                                   .status = target_status};
    return t;
}

int kl_linux_target_create(const char *path, uint64_t bytes, struct kl_linux_target **target)
{
    struct kl_linux_target *t;
    int err;

    if (!path || !target || bytes > (UINT64_C(1) << 62))
        return -KL_EINVAL;
    t = new_target(path);
    if (!t)
        return -KL_ENOMEM;
    err = t->path ? open_file(t, path, bytes / KL_TARGET_UNIT * KL_TARGET_UNIT) : -KL_ENOMEM;
    if (!err)
        err = start_threads(t);
    if (err)
        kl_linux_target_destroy(t);
    else
        *target = t;
    return err;
}

const struct kl_target *kl_linux_target_get(const struct kl_linux_target *target)
{
    return &target->target;
}

void kl_linux_target_destroy(struct kl_linux_target *t)
{
    if (!t)
        return;
    target_cancel(t);
    if (t->created)
        unlink(t->path);
    else if (t->ours)
        (void)!ftruncate(t->fd, 0); /* failing, its blocks stay, and are of no use */
    if (t->fd >= 0)
        close(t->fd);
    for (int i = 0; i < 2; i++)
        pthread_cond_destroy(&t->queue[i].work);
    pthread_mutex_destroy(&t->mutex);
    free(t->path);
    free(t);
}
