// SPDX-License-Identifier: Apache-2.0
/* Registered buffers and the memory under them: with the pool's hooks blocks go back to the
 * system and 64 MiB in a row are had, while I/O runs; pinned instead, neither; and a
 * buffer that is moved behind the kernel's back loses what it reads. */
#include "support/hugepool.h"
#include "support/rings.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum {
    MIB = 1 << 20,
    BLOCK = 2 * MIB,
    BYTES = 64 << 10,
    BUFFERS = 96, /* 6 MiB, scattered over all blocks */
    DEPTH = 16,
    CHUNKS = 64, /* of the file */
    BLOCKS = 48, /* of 2 MiB */
    UNITS = BLOCKS * (BLOCK / BYTES),
};

static struct {
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    enum kl_linux_kind kind;
    struct io_uring ring;
    kl_owner_id owner;
    kl_pfn junk[UNITS]; /* what is not a buffer's */
    unsigned njunk;
} s;

static char *made; /* what the file's chunks have */

static void fill_chunk(char *to, uint64_t chunk)
{
    fill_bytes(to, BYTES, 1000 + chunk);
}

static int new_file(void)
{
    char path[] = "/var/tmp/klotski-uring-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    assert_true(fd >= 0);
    unlink(path);
    made = malloc(BYTES);
    for (unsigned i = 0; i < CHUNKS; i++) {
        fill_chunk(made, i);
        assert_int_equal(pwrite(fd, made, BYTES, (off_t)i * BYTES), BYTES);
    }
    free(made);
    assert_int_equal(fdatasync(fd), 0);
    return fd;
}

static void open_zone(enum kl_linux_kind kind, unsigned blocks)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = kind, .bytes = (uint64_t)blocks * BLOCK};
    struct kl_zone_config config = {.size = sizeof(config), .flags = KL_ZONE_POPULATE};
    struct kl_host host = *kl_linux_host();

    fixture_one_cpu(&host);
    rings_fail(0, 0, 0, 0);
    s.kind = kind;
    assert_int_equal(kl_linux_backing_create(&memory, &s.backing), 0);
    config.host = &host;
    config.backing = kl_linux_backing_get(s.backing);
    assert_int_equal(kl_zone_create(&config, &s.zone), 0);
    assert_int_equal(io_uring_queue_init(2 * DEPTH, &s.ring, 0), 0);
    assert_int_equal(kl_owner_register(s.zone, NULL, NULL, &s.owner), 0);
}

static void close_zone(void)
{
    io_uring_queue_exit(&s.ring);
    assert_zone_ok(s.zone);
    assert_int_equal(kl_owner_unregister(s.zone, s.owner), 0);
    assert_int_equal(kl_zone_destroy(s.zone), 0);
    kl_linux_backing_destroy(s.backing);
}

/* Everything is taken, but for room for n buffers, spread over all blocks. */
static void take_all_but(unsigned n)
{
    unsigned k = 0;

    for (unsigned i = 0; i < UNITS; i++)
        assert_int_equal(kl_frame_alloc(s.zone, 4, s.owner, KL_NO_MOVE, &s.junk[i]), 0);
    for (; k < n; k++)
        assert_int_equal(kl_frame_free(s.zone, s.owner, s.junk[k * UNITS / n]), 0);
    for (k = 0; k < n; k++)
        s.junk[k * UNITS / n] = (kl_pfn){0};
}

static void drop_junk(void)
{
    for (unsigned i = 0; i < UNITS; i++) {
        if (s.junk[i].v)
            assert_int_equal(kl_frame_free(s.zone, s.owner, s.junk[i]), 0);
    }
}

/* What the machine says that the zone has: in its file, and for huge pages what the pool
 * has less, which counts those that the kernel still pins. */
static int64_t machine_has(void)
{
    if (s.kind == KL_LINUX_HUGETLB)
        return (kl_linux_hugepages_total() - kl_linux_hugepages_free()) * (int64_t)BLOCK;
    return (int64_t)kl_linux_backing_resident(s.backing);
}

/* ---- a reader, all the time ---- */

struct reader {
    struct kl_uring_pool *pool;
    int fd;
    _Atomic bool stop;
    _Atomic uint64_t bytes;
    uint64_t wrong;
    kl_uring_buf buf[DEPTH];
    struct kl_uring_io io[DEPTH];
    uint64_t chunk[DEPTH];
    struct rng rng;
};

static bool submit_one(struct reader *r, unsigned i)
{
    struct io_uring_sqe *sqe;

    if (kl_uring_get(r->pool, &r->buf[i]) != 0)
        return false;
    if (kl_uring_begin(r->pool, r->buf[i], KL_ASYNC, &r->io[i]) != 0) {
        kl_uring_put(r->pool, r->buf[i]);
        return false;
    }
    memset(r->io[i].addr, 0xa5, BYTES);
    r->chunk[i] = rng_below(&r->rng, CHUNKS);
    sqe = io_uring_get_sqe(&s.ring);
    kl_uring_prep_read(sqe, r->fd, &r->io[i], 0, BYTES, r->chunk[i] * BYTES);
    sqe->user_data = i;
    return true;
}

static void take_one(struct reader *r, uint64_t i, int res, char *expected)
{
    fill_chunk(expected, r->chunk[i]);
    r->wrong += res != BYTES || memcmp(expected, r->io[i].addr, BYTES) != 0;
    r->wrong += kl_uring_end(r->pool, r->buf[i]) != 0;
    r->wrong += kl_uring_put(r->pool, r->buf[i]) != 0;
    atomic_fetch_add(&r->bytes, BYTES);
}

static void *reads(void *arg)
{
    struct reader *r = arg;
    bool flying[DEPTH] = {false};
    char *expected = malloc(BYTES);
    unsigned n = 0;

    while (n > 0 || !atomic_load(&r->stop)) {
        for (unsigned i = 0; i < DEPTH && !atomic_load(&r->stop); i++) {
            if (!flying[i] && submit_one(r, i)) {
                flying[i] = true;
                n++;
            }
        }
        io_uring_submit(&s.ring);
        if (n > 0) {
            uint64_t i;
            int res = rings_wait(&s.ring, &i);

            take_one(r, i, res, expected);
            flying[i] = false;
            n--;
        }
    }
    free(expected);
    return NULL;
}

/* So much is read from now on, at least. */
static void let_read(struct reader *r, uint64_t bytes)
{
    uint64_t until = atomic_load(&r->bytes) + bytes;

    while (atomic_load(&r->bytes) < until)
        sched_yield();
}

/* ---- with hooks ---- */

/* Where reads are done by the kernel's threads, the last one holds its page for a moment. */
static void machine_gets(int64_t bytes)
{
    for (unsigned i = 0; i < 6000 && machine_has() != bytes; i++)
        usleep(10000);
    assert_int_equal(machine_has(), bytes);
}

static void give_back_and_lend(struct reader *r, uint32_t n, int64_t full)
{
    struct kl_report report = {.size = sizeof(report)};

    assert_int_equal(kl_zone_give_back(s.zone, n, KL_SYNC, &report), 0);
    machine_gets(full - (int64_t)n * BLOCK);
    let_read(r, BYTES);
    machine_gets(full - (int64_t)n * BLOCK);
    assert_int_equal(kl_zone_lend(s.zone, n), 0);
}

/* 64 MiB in a row, from that block on: whatever is there leaves. */
static void take_in_a_row(struct reader *r, uint32_t block)
{
    struct kl_report report = {.size = sizeof(report)};
    kl_pfn first = kl_zone_pfn(s.zone, block * (BLOCK / 4096));

    assert_int_equal(kl_contig_alloc_at(s.zone, s.owner, first, 64 * MIB / 4096, KL_SYNC, &report),
                     0);
    memset(kl_frame_addr(s.zone, first), 0xee, 64 * MIB);
    let_read(r, BYTES);
    assert_int_equal(kl_contig_free(s.zone, s.owner, first, 64 * MIB / 4096), 0);
}

static void with_hooks(enum kl_linux_kind kind)
{
    struct kl_uring_config config = {
        .size = sizeof(config), .buffers = BUFFERS, .bytes = BYTES, .wait_ms = 60000};
    struct kl_uring_stats stats = {.size = sizeof(stats)};
    struct reader r = {.rng = rng_new(3)};
    const char *what = NULL;
    pthread_t thread;
    int64_t full;

    open_zone(kind, BLOCKS);
    full = machine_has();
    assert_true(kind == KL_LINUX_HUGETLB || full == (int64_t)BLOCKS * BLOCK);
    take_all_but(BUFFERS);
    assert_int_equal(kl_uring_pool_create(s.zone, &s.ring, &config, &r.pool), 0);
    drop_junk();
    r.fd = new_file();
    assert_int_equal(pthread_create(&thread, NULL, reads, &r), 0);
    let_read(&r, MIB);
    for (unsigned i = 0; i < 8; i++) {
        give_back_and_lend(&r, BLOCKS - 8, full);
        take_in_a_row(&r, i % 2 * (BLOCKS - 32)); /* and all blocks are there again */
        take_in_a_row(&r, (i + 1) % 2 * (BLOCKS - 32));
    }
    let_read(&r, 4 * MIB);
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
    kl_uring_get_stats(r.pool, &stats);
    print_message("# %llu KiB read, %llu buffers moved, %llu begins held off\n",
                  (unsigned long long)r.bytes / 1024, (unsigned long long)stats.moved,
                  (unsigned long long)stats.held_off);
    assert_int_equal(r.wrong, 0);
    assert_true(stats.moved >= 8 * BUFFERS);
    assert_int_equal(stats.refused, 0);
    assert_int_equal(stats.fixed, BUFFERS);
    if (kind == KL_LINUX_MEMFD && rings_pinned() >= 0)
        assert_int_equal(rings_pinned(), BUFFERS * BYTES);
    assert_int_equal(kl_uring_pool_check(r.pool, &what), 0);
    assert_int_equal(kl_uring_pool_destroy(r.pool), 0);
    close(r.fd);
    close_zone();
}

static void blocks_go_and_come_under_io(void **state)
{
    (void)state;
    with_hooks(KL_LINUX_MEMFD);
}

/* What the kernel pins there is not free: the pool's own figure. */
static void huge_pages_go_and_come_under_io(void **state)
{
    (void)state;
    if (!hugepool_reserve(KL_LINUX_HUGETLB, BLOCKS))
        skip();
    with_hooks(KL_LINUX_HUGETLB);
}

static int put_huge_pages_back(void **state)
{
    (void)state;
    hugepool_restore();
    return 0;
}

/* ---- without them ---- */

struct object {
    kl_shm_id id;
    kl_pin_id pin;
    char *addr;
};

/* An object registered as one would without a pool; its memory is where it was asked to be. */
static void make_object(struct kl_shm *shm, struct object *o, unsigned slot, bool pinned)
{
    struct iovec iov = {.iov_len = BYTES};
    struct kl_shm_run run;
    kl_pin_id pin;
    uint64_t next;
    __u64 tag = 0;

    assert_int_equal(kl_shm_object_create(shm, BYTES, 0, &o->id), 0);
    assert_int_equal(kl_shm_pin(shm, o->id, "registered with a ring", &pin), 0);
    assert_int_equal(kl_shm_sg(shm, o->id, 0, &run, 1, &next), 1);
    iov.iov_base = o->addr = kl_frame_addr(s.zone, run.first);
    assert_int_equal(io_uring_register_buffers_update_tag(&s.ring, slot, &iov, &tag, 1), 1);
    o->pin = pin;
    if (!pinned)
        assert_int_equal(kl_shm_unpin(shm, o->id, pin), 0);
}

static struct kl_shm *open_objects(void)
{
    struct kl_shm_config config = {.size = sizeof(config), .order = 4};
    struct kl_shm *shm;

    assert_int_equal(kl_shm_create(s.zone, &config, &shm), 0);
    assert_int_equal(io_uring_register_buffers_sparse(&s.ring, BUFFERS), 0);
    return shm;
}

/* The same buffers, pinned while they are registered: a device driver without hooks. */
static void pinned_buffers_are_in_the_way(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct object object[BLOCKS];
    struct kl_shm *shm;
    kl_pfn first;

    (void)state;
    open_zone(KL_LINUX_MEMFD, BLOCKS);
    shm = open_objects();
    kl_zone_set_migration(s.zone, false); /* or the pins would gather in few blocks */
    take_all_but(BLOCKS);
    for (unsigned i = 0; i < BLOCKS; i++)
        make_object(shm, &object[i], i, true);
    drop_junk();
    kl_zone_set_migration(s.zone, true);
    assert_int_equal(kl_zone_give_back(s.zone, 24, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
    assert_string_equal(r.culprit_why, "registered with a ring");
    assert_int_equal(kl_contig_alloc(s.zone, s.owner, 64 * MIB / 4096, 512, KL_SYNC, &first, &r),
                     -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
    assert_int_equal(kl_linux_backing_resident(s.backing), (uint64_t)BLOCKS * BLOCK);
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(kl_shm_unpin(shm, object[i].id, object[i].pin), 0);
        assert_int_equal(kl_shm_object_destroy(shm, object[i].id), 0);
    }
    assert_int_equal(kl_shm_destroy(shm), 0);
    close_zone();
}

/* Neither pinned nor with hooks: it moves, the kernel doesn't know, and what is read into
 * the slot lands where the buffer was.  This is what all of this is for. */
static void behind_the_kernels_back_io_is_lost(void **state)
{
    char *expected = malloc(BYTES), *found = malloc(BYTES);
    int fd = new_file();
    struct kl_uring_io io;
    struct object object;
    struct kl_shm *shm;

    (void)state;
    open_zone(KL_LINUX_MEMFD, BLOCKS);
    shm = open_objects();
    make_object(shm, &object, 0, false);
    assert_int_equal(rings_move(s.zone, object.addr, KL_SYNC, NULL), 0);
    io = (struct kl_uring_io){.addr = object.addr, .bytes = BYTES, .slot = 0};
    rings_read(&s.ring, fd, &io, BYTES, 0, 1);
    assert_int_equal(rings_wait(&s.ring, NULL), BYTES); /* all is well, says the kernel */
    fill_chunk(expected, 0);
    assert_int_equal(kl_shm_read(shm, object.id, 0, found, BYTES), 0);
    assert_memory_not_equal(found, expected, BYTES);
    assert_int_equal(kl_shm_object_destroy(shm, object.id), 0);
    assert_int_equal(kl_shm_destroy(shm), 0);
    close(fd);
    close_zone();
    free(expected);
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_go_and_come_under_io),
        cmocka_unit_test_teardown(huge_pages_go_and_come_under_io, put_huge_pages_back),
        cmocka_unit_test(pinned_buffers_are_in_the_way),
        cmocka_unit_test(behind_the_kernels_back_io_is_lost),
    };

    return rings_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
