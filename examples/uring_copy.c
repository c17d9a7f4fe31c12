// SPDX-License-Identifier: Apache-2.0
/* Copies a file through fixed buffers of io_uring, many requests at a time, while their
 * memory may move.
 *
 *   uring_copy [--compact] [--depth N] [--bytes N] FROM TO
 *
 * --compact: a thread gives half of the zone's memory back to the system and takes it
 * again, all the time, so that buffers have to move; without their hooks it could not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* getopt_long */
#endif
#include <klotski/klotski.h>
#include <klotski/uring.h>

#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_DEPTH = 1024, BLOCK = 2 << 20 };

/* A chunk on its way: each read and each write of it is one begin and one end.  Between
 * them its buffer may move, with what is in it. */
enum phase { IDLE, TO_READ, READING, TO_WRITE, WRITING };

struct flight {
    enum phase phase;
    kl_uring_buf buf;
    struct kl_uring_io io;
    uint64_t offset;
    unsigned bytes, done; /* of this phase */
};

static struct {
    struct kl_zone *zone;
    struct kl_uring_pool *pool;
    struct io_uring ring;
    int from, to;
    uint64_t size, next;
    unsigned depth, busy; /* requests in the ring */
    size_t bytes;
    struct flight flight[MAX_DEPTH];
} copy = {.depth = 32, .bytes = 128 << 10};

static _Atomic bool stop;
static sem_t moving; /* the first round is over */
static unsigned long long rounds, refused, moved;

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, kl_err_text(err)); /* Linux's numbers, too */
    exit(1);
}

/* ---- the thread that moves memory ---- */

static void *compact(void *arg)
{
    uint32_t blocks = kl_zone_blocks(copy.zone);
    kl_owner_id owner;

    (void)arg;
    must(kl_owner_register(copy.zone, NULL, NULL, &owner), "owner");
    while (!atomic_load(&stop)) { /* one half, then the other: what is there leaves */
        uint32_t half = blocks / 2 * (BLOCK / 4096);
        kl_pfn first = kl_zone_pfn(copy.zone, rounds % 2 * half);
        struct kl_report r = {.size = sizeof(r)};

        if (kl_contig_alloc_at(copy.zone, owner, first, half, KL_SYNC, &r) == 0) {
            must(kl_contig_free(copy.zone, owner, first, half), "range");
            must(kl_zone_trim(copy.zone, 0) < 0 ? -KL_EIO : 0, "trim");
            rounds++;
        } else {
            refused++;
        }
        moved += r.migrated;
        if (rounds + refused == 1)
            sem_post(&moving);
    }
    must(kl_owner_unregister(copy.zone, owner), "owner's end");
    return NULL;
}

/* ---- the copy ---- */

/* Puts the next request of the chunk into the ring; not if a migration has the buffer just
 * now, or has had it for long: another time. */
static void start(struct flight *f)
{
    /* Who has nothing in the ring may wait: nobody waits for him. */
    int err = kl_uring_begin(copy.pool, f->buf, copy.busy ? KL_ASYNC : KL_SYNC, &f->io);
    unsigned rest = f->bytes - f->done;
    uint64_t at = f->offset + f->done;
    struct io_uring_sqe *sqe;

    if (err == -KL_EAGAIN || err == -KL_EBUSY)
        return;
    must(err, "begin");
    sqe = io_uring_get_sqe(&copy.ring); /* there is one: an entry for each flight */
    if (f->phase == TO_READ)
        must(kl_uring_prep_read(sqe, copy.from, &f->io, f->done, rest, at), "read");
    else
        must(kl_uring_prep_write(sqe, copy.to, &f->io, f->done, rest, at), "write");
    io_uring_sqe_set_data(sqe, f);
    f->phase = f->phase == TO_READ ? READING : WRITING;
    copy.busy++;
}

static void next_chunk(struct flight *f)
{
    uint64_t left = copy.size - copy.next;

    if (left == 0 || kl_uring_get(copy.pool, &f->buf) != 0)
        return;
    f->offset = copy.next;
    f->bytes = (unsigned)(left < copy.bytes ? left : copy.bytes);
    f->done = 0;
    f->phase = TO_READ;
    copy.next += f->bytes;
}

/* Everything that can be on its way is. */
static void start_all(void)
{
    for (unsigned i = 0; i < copy.depth; i++) {
        struct flight *f = &copy.flight[i];

        if (f->phase == IDLE)
            next_chunk(f);
        if (f->phase == TO_READ || f->phase == TO_WRITE)
            start(f);
    }
}

/* The kernel is done with a request, in whatever way: end comes first. */
static void ended(struct flight *f, int res)
{
    must(kl_uring_end(copy.pool, f->buf), "end");
    copy.busy--;
    must(res, f->phase == READING ? "read" : "write");
    if (res == 0) {
        fprintf(stderr, "the file has become shorter\n");
        exit(1);
    }
    f->done += (unsigned)res;
    if (f->done < f->bytes) { /* a short one: the rest */
        f->phase = f->phase == READING ? TO_READ : TO_WRITE;
    } else if (f->phase == READING) {
        f->phase = TO_WRITE;
        f->done = 0;
    } else {
        f->phase = IDLE;
        must(kl_uring_put(copy.pool, f->buf), "put");
    }
}

static bool is_done(void)
{
    for (unsigned i = 0; i < copy.depth; i++) {
        if (copy.flight[i].phase != IDLE)
            return false;
    }
    return copy.next >= copy.size;
}

static void run(void)
{
    while (!is_done()) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;

        start_all();
        if (copy.busy == 0)
            continue; /* all of them were held off */
        must(io_uring_submit_and_wait(&copy.ring, 1), "submit");
        io_uring_for_each_cqe(&copy.ring, head, cqe)
        {
            ended(io_uring_cqe_get_data(cqe), cqe->res);
            n++;
        }
        io_uring_cq_advance(&copy.ring, n);
    }
}

/* ---- around it ---- */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void open_files(const char *from, const char *to)
{
    struct stat st;

    copy.from = open(from, O_RDONLY | O_CLOEXEC);
    if (copy.from < 0 || fstat(copy.from, &st) != 0 || !S_ISREG(st.st_mode)) {
        fprintf(stderr, "%s: not a file that can be read\n", from);
        exit(1);
    }
    copy.to = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, st.st_mode & 0777);
    if (copy.to < 0) {
        perror(to);
        exit(1);
    }
    copy.size = (uint64_t)st.st_size;
}

static struct kl_linux_backing *open_pool(void)
{
    struct kl_linux_backing_config memory = {.size = sizeof(memory), .kind = KL_LINUX_AUTO};
    struct kl_zone_config zone = {.size = sizeof(zone), .host = kl_linux_host()};
    struct kl_uring_config config = {
        .size = sizeof(config), .buffers = 2 * copy.depth, .bytes = copy.bytes};
    struct kl_linux_backing *backing;
    int err;

    memory.bytes = (uint64_t)3 * config.buffers * copy.bytes + (uint64_t)8 * BLOCK;
    must(kl_linux_backing_create(&memory, &backing), "memory");
    zone.backing = kl_linux_backing_get(backing);
    must(kl_zone_create(&zone, &copy.zone), "zone");
    err = io_uring_queue_init(copy.depth, &copy.ring, 0);
    if (err == -KL_ENOTSUP || err == -1 || err == -38) { /* EPERM, ENOSYS */
        fprintf(stderr, "io_uring can't be used here\n");
        exit(77);
    }
    must(err, "ring");
    must(kl_uring_pool_create(copy.zone, &copy.ring, &config, &copy.pool), "buffers");
    return backing;
}

static void report(double took)
{
    struct kl_uring_stats s = {.size = sizeof(s)};

    kl_uring_get_stats(copy.pool, &s);
    printf("%llu bytes in %.3f s: %.0f MiB/s; %u of %u buffers fixed\n",
           (unsigned long long)copy.size, took, (double)copy.size / took / (1 << 20), s.fixed,
           s.buffers);
    if (rounds + refused > 0)
        printf("half of the memory emptied %llu times (%llu refused): buffers moved %llu times, "
               "requests held off %llu times\n",
               rounds, refused, (unsigned long long)s.moved, (unsigned long long)s.held_off);
}

static bool options(int argc, char **argv)
{
    static const struct option names[] = {{"compact", no_argument, NULL, 'c'},
                                          {"depth", required_argument, NULL, 'd'},
                                          {"bytes", required_argument, NULL, 'b'},
                                          {0}};
    bool compacting = false;
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'c')
            compacting = true;
        else if (c == 'd')
            copy.depth = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 'b')
            copy.bytes = strtoul(optarg, NULL, 0);
        else
            exit(2);
    }
    if (argc - optind != 2 || copy.depth == 0 || copy.depth > MAX_DEPTH) {
        fprintf(stderr, "usage: uring_copy [--compact] [--depth 1..1024] [--bytes N] FROM TO\n");
        exit(2);
    }
    return compacting;
}

int main(int argc, char **argv)
{
    bool compacting = options(argc, argv);
    struct kl_linux_backing *backing;
    pthread_t thread;
    double began;

    open_files(argv[optind], argv[optind + 1]);
    backing = open_pool();
    if (compacting) {
        sem_init(&moving, 0, 0);
        if (pthread_create(&thread, NULL, compact, NULL) != 0)
            must(-KL_ENOMEM, "thread");
        while (sem_wait(&moving) != 0)
            continue; /* a signal: EINTR */
    }
    began = seconds();
    run();
    began = seconds() - began;
    atomic_store(&stop, true);
    if (compacting)
        pthread_join(thread, NULL);
    report(began);
    must(kl_uring_pool_destroy(copy.pool), "buffers' end"); /* before the ring */
    io_uring_queue_exit(&copy.ring);
    must(kl_zone_destroy(copy.zone), "zone's end");
    kl_linux_backing_destroy(backing);
    if (close(copy.to) != 0) {
        perror(argv[optind + 1]);
        return 1;
    }
    return 0;
}
