// SPDX-License-Identifier: Apache-2.0
/* iouringbench - fixed buffers of io_uring while their memory moves; for bench/iouring.sh.
 *
 * usage: iouringbench read|pinned|verify BUFFER_BYTES PAIRS FILE
 *        iouringbench copy BUFFER_BYTES PAIRS FILE OUT
 *
 * DEPTH (32) requests at a time, of 2 * DEPTH buffers, over FILE from its beginning to its
 * end, again and again.  A mover, a thread of its own, empties half of the zone by a
 * contiguous range of 64 MiB, then the other half, all the time: so each round moves all
 * buffers.  After each TRIM_EVERY (16) rounds all free blocks go back to the system, and come
 * again.  Phases of MS (200) milliseconds take turns: undisturbed, and with the mover.
 *
 * read, copy: prints five numbers for fixed, then for ordinary requests (-1 as slot):
 *   undisturbed MiB/s; MiB/s with the mover over that; the same but for the time for which the
 *   requests' thread waited for a CPU; the same of its CPU time; all medians of PAIRS
 *   quotients; and MiB/s of buffers moved.
 *   copy writes what was read to OUT.
 * pinned: the same buffers, one a block or more, pinned as one does without hooks: prints what
 *   became of a request for 64 MiB in a row, and of giving half of the blocks back.
 * verify: reads all of FILE with the mover on, compares each byte, by another way, and
 *   prints how many buffers were wrong, how many were read, and how many moved meanwhile.
 */
#include "kit.h"

#include "klotski/klotski.h"
#include "klotski/uring.h"

#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DEPTH = 32,
    BUFFERS = 2 * DEPTH,
    BLOCK = 2 << 20,
    HALF = 64 << 20,
    TRIM_EVERY = 16,
    MAX_PAIRS = 99
};

static struct arena arena;
static struct io_uring ring;
static struct kl_uring_pool *pool;
static size_t bytes;
static int from, to = -1;
static uint64_t chunks; /* of the file */

static uint64_t phase_ns(void)
{
    const char *ms = getenv("MS");

    return (ms ? strtoull(ms, NULL, 10) : 200) * 1000000;
}

static void open_all(const char *path, const char *out)
{
    struct stat st;

    arena = arena_open((uint64_t)2 * HALF);
    must(io_uring_queue_init(DEPTH, &ring, 0), "ring");
    from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) != 0)
        die("%s can't be read", path);
    chunks = (uint64_t)st.st_size / bytes;
    if (chunks == 0)
        die("%s is too short", path);
    to = out ? open(out, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (out && to < 0)
        die("%s can't be written", out);
}

static void open_pool(void)
{
    struct kl_uring_config config = {.size = sizeof(config), .buffers = BUFFERS, .bytes = bytes};

    must(kl_uring_pool_create(arena.zone, &ring, &config, &pool), "buffers");
}

static struct kl_uring_stats figures(void)
{
    struct kl_uring_stats s = {.size = sizeof(s)};

    kl_uring_get_stats(pool, &s);
    return s;
}

/* ---- the mover ---- */

static struct {
    _Atomic bool on, quit;
    _Atomic uint64_t rounds, refused;
} mover;

static int empty_half(kl_owner_id owner, unsigned half, struct kl_report *r)
{
    uint32_t frames = HALF / PAGE;
    kl_pfn first = kl_zone_pfn(arena.zone, half * frames);
    int err = kl_contig_alloc_at(arena.zone, owner, first, frames, KL_SYNC, r);

    if (err)
        return err;
    must(kl_contig_free(arena.zone, owner, first, frames), "range");
    if (atomic_load(&mover.rounds) % TRIM_EVERY == 0)
        return kl_zone_trim(arena.zone, 0) < 0 ? -KL_EIO : 0;
    return 0;
}

static void *moves(void *arg)
{
    kl_owner_id owner;
    unsigned half = 0;

    (void)arg;
    must(kl_owner_register(arena.zone, NULL, NULL, &owner), "owner");
    while (!atomic_load(&mover.quit)) {
        struct kl_report r = {.size = sizeof(r)};

        if (!atomic_load(&mover.on)) {
            usleep(1000);
        } else if (empty_half(owner, half, &r) == 0) {
            atomic_fetch_add(&mover.rounds, 1);
            half = !half;
        } else {
            atomic_fetch_add(&mover.refused, 1);
        }
    }
    must(kl_owner_unregister(arena.zone, owner), "owner's end");
    return NULL;
}

/* ---- requests ---- */

struct flight {
    enum { IDLE, READ, WRITE } phase;
    kl_uring_buf buf;
    struct kl_uring_io io;
    uint64_t chunk;
};

struct load {
    struct flight flight[DEPTH];
    unsigned busy;
    uint64_t next, until; /* chunks, UINT64_MAX: again and again */
    uint64_t done;        /* requests */
    uint64_t wrong;
    bool plain, verify;
    char *expected;
};

static void submit(struct load *l, struct flight *f)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    uint64_t offset = f->chunk * bytes;

    if (l->plain)
        f->io.slot = -1;
    if (f->phase == READ)
        kl_uring_prep_read(sqe, from, &f->io, 0, (unsigned)bytes, offset);
    else
        kl_uring_prep_write(sqe, to, &f->io, 0, (unsigned)bytes, offset);
    io_uring_sqe_set_data(sqe, f);
}

static void start(struct load *l, struct flight *f)
{
    if (l->next == l->until || kl_uring_get(pool, &f->buf) != 0)
        return;
    if (kl_uring_begin(pool, f->buf, l->busy ? KL_ASYNC : KL_SYNC, &f->io) != 0) {
        must(kl_uring_put(pool, f->buf), "put");
        return;
    }
    f->chunk = l->next++ % chunks;
    f->phase = READ;
    if (l->verify)
        memset(f->io.addr, 0xa5, bytes);
    submit(l, f);
    l->busy++;
}

static void compare(struct load *l, const struct flight *f)
{
    ssize_t n = pread(from, l->expected, bytes, (off_t)(f->chunk * bytes));

    l->wrong += n != (ssize_t)bytes || memcmp(l->expected, f->io.addr, bytes) != 0;
}

static void ended(struct load *l, struct flight *f, int res)
{
    if (res != (int)bytes)
        die("a request ended with %d", res);
    l->done++;
    if (l->verify)
        compare(l, f);
    if (f->phase == READ && to >= 0) {
        f->phase = WRITE; /* within the same begin */
        submit(l, f);
        return;
    }
    must(kl_uring_end(pool, f->buf), "end");
    must(kl_uring_put(pool, f->buf), "put");
    f->phase = IDLE;
    l->busy--;
}

static void turn(struct load *l, bool go_on)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    for (unsigned i = 0; i < DEPTH && go_on; i++) {
        if (l->flight[i].phase == IDLE)
            start(l, &l->flight[i]);
    }
    if (l->busy == 0)
        return;
    if (io_uring_submit_and_wait(&ring, 1) < 0)
        die("can't submit");
    io_uring_for_each_cqe(&ring, head, cqe)
    {
        ended(l, io_uring_cqe_get_data(cqe), cqe->res);
        n++;
    }
    io_uring_cq_advance(&ring, n);
}

/* So long this thread has waited for a CPU that others had. */
static uint64_t queued_ns(void)
{
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    unsigned long long ran, queued = 0;

    if (!file || fscanf(file, "%llu %llu", &ran, &queued) != 2)
        queued = 0;
    if (file)
        fclose(file);
    return queued;
}

/* Bytes a second: of wall time, but for that in the queue of a CPU, of CPU time. */
enum { WALL, SERVED, CPU, RATES };

static void phase(struct load *l, bool moving, double rate[RATES])
{
    uint64_t began, cpu, queued, took, done = l->done;

    atomic_store(&mover.on, moving);
    queued = queued_ns();
    began = now_ns();
    cpu = cpu_ns();
    while (now_ns() - began < phase_ns())
        turn(l, true);
    done = (l->done - done) * bytes;
    took = now_ns() - began;
    rate[WALL] = (double)done / (double)took * 1e9;
    rate[CPU] = (double)done / (double)(cpu_ns() - cpu) * 1e9;
    queued = queued_ns() - queued;
    rate[SERVED] = (double)done / (double)(took > queued ? took - queued : 1) * 1e9;
    atomic_store(&mover.on, false);
}

static void drain(struct load *l)
{
    while (l->busy > 0)
        turn(l, false);
}

static void pairs(unsigned n, bool plain)
{
    static double alone[MAX_PAIRS], quotient[RATES][MAX_PAIRS];
    struct load l = {.until = UINT64_MAX, .plain = plain};
    uint64_t moved = figures().moved, took = 0, since;
    double without[RATES], with[RATES];

    for (unsigned i = 0; i < n; i++) {
        phase(&l, false, without);
        since = now_ns();
        phase(&l, true, with);
        took += now_ns() - since;
        alone[i] = without[WALL] / (1 << 20);
        for (int k = 0; k < RATES; k++)
            quotient[k][i] = with[k] / without[k];
    }
    drain(&l);
    moved = (figures().moved - moved) * bytes;
    printf("%.0f", median(alone, n));
    for (int k = 0; k < RATES; k++)
        printf(" %.3f", median(quotient[k], n));
    printf(" %.0f\n", (double)moved / (double)took * 1e9 / (1 << 20));
}

static void verify(void)
{
    struct load l = {.until = 4 * chunks, .verify = true, .expected = need(bytes)};

    atomic_store(&mover.on, true);
    while (l.next < l.until || l.busy > 0)
        turn(&l, true);
    atomic_store(&mover.on, false);
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", l.wrong, l.done, figures().moved);
    free(l.expected);
}

/* ---- without hooks ---- */

static void pin_one(struct kl_shm *shm, unsigned slot)
{
    struct iovec iov = {.iov_len = bytes};
    struct kl_shm_run run;
    uint64_t next;
    kl_shm_id id;
    kl_pin_id pin;
    __u64 tag = 0;

    must(kl_shm_object_create(shm, bytes, 0, &id), "object");
    must(kl_shm_pin(shm, id, "registered with a ring", &pin), "pin");
    if (kl_shm_sg(shm, id, 0, &run, 1, &next) != 1)
        die("no address");
    iov.iov_base = kl_frame_addr(arena.zone, run.first);
    if (io_uring_register_buffers_update_tag(&ring, slot, &iov, &tag, 1) != 1)
        die("can't register");
}

static void say(const char *what, int err, const struct kl_report *r)
{
    printf("%s: %s; in the way: %s, \"%s\"\n", what, kl_err_text(err),
           kl_in_way_text(r->culprit_kind), r->culprit_why);
}

/* All over the zone, in the places that others leave: one a block, or more. */
static void pin_all(struct kl_shm *shm, unsigned order, kl_owner_id owner)
{
    unsigned units = (unsigned)(2 * (uint64_t)HALF / bytes);
    kl_pfn *unit = need(units * sizeof(*unit));

    kl_zone_set_migration(arena.zone, false); /* or pins would gather in few blocks */
    for (unsigned i = 0; i < units; i++)
        must(kl_frame_alloc(arena.zone, order, owner, 0, &unit[i]), "unit");
    for (unsigned i = 0; i < BUFFERS; i++) {
        unsigned at = i * (units / BUFFERS);

        must(kl_frame_free(arena.zone, owner, unit[at]), "unit");
        unit[at].v = 0;
        pin_one(shm, i);
    }
    for (unsigned i = 0; i < units; i++) {
        if (unit[i].v)
            must(kl_frame_free(arena.zone, owner, unit[i]), "unit");
    }
    kl_zone_set_migration(arena.zone, true);
    free(unit);
}

static void pinned(void)
{
    struct kl_shm_config config = {.size = sizeof(config)};
    struct kl_report r = {.size = sizeof(r)};
    struct kl_shm *shm;
    kl_owner_id owner;
    kl_pfn first;
    int err;

    while (kl_zone_frame_bytes(arena.zone) << config.order < bytes)
        config.order++;
    must(kl_shm_create(arena.zone, &config, &shm), "objects");
    must(io_uring_register_buffers_sparse(&ring, BUFFERS), "table");
    must(kl_owner_register(arena.zone, NULL, NULL, &owner), "owner");
    pin_all(shm, config.order, owner);
    err = kl_contig_alloc(arena.zone, owner, HALF / PAGE, 512, KL_SYNC, &first, &r);
    say("64 MiB in a row", err, &r);
    err = kl_zone_give_back(arena.zone, HALF / BLOCK, KL_SYNC, &r);
    say("32 of 64 blocks back", err, &r);
}

static bool is_command(const char *name)
{
    static const char *const names[] = {"read", "copy", "pinned", "verify"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    bool is_copy = argc == 6 && strcmp(argv[1], "copy") == 0;
    pthread_t thread;
    unsigned n;

    n = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if ((argc != 5 && !is_copy) || !is_command(argv[1]) || n == 0 || n > MAX_PAIRS)
        die("usage: iouringbench read|copy|pinned|verify BUFFER_BYTES PAIRS FILE [OUT]");
    bytes = strtoul(argv[2], NULL, 10);
    open_all(argv[4], is_copy ? argv[5] : NULL);
    if (strcmp(argv[1], "pinned") == 0) {
        pinned();
        return 0;
    }
    open_pool();
    if (pthread_create(&thread, NULL, moves, NULL) != 0)
        die("no thread");
    if (strcmp(argv[1], "verify") == 0) {
        verify();
    } else {
        pairs(n, false);
        pairs(n, true);
    }
    atomic_store(&mover.quit, true);
    pthread_join(thread, NULL);
    fprintf(stderr, "%" PRIu64 " halves emptied, %" PRIu64 " refused\n", atomic_load(&mover.rounds),
            atomic_load(&mover.refused));
    must(kl_uring_pool_destroy(pool), "buffers' end");
    io_uring_queue_exit(&ring);
    arena_close(&arena);
    return 0;
}
