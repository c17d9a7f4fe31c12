// SPDX-License-Identifier: Apache-2.0
/* test_linux.c - the Linux host, told by the system's own figures: memory that
 * comes and goes, leases that end against the peer's will, compressors that
 * refuse what is broken.
 *
 * Tests of huge pages reserve a few, put the number back, and are skipped where
 * that is not allowed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../host/linux/internal.h"
#include <klotski/klotski.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB         ((uint64_t)1 << 20)
#define BLOCK       (2 * MIB)
#define NR_HUGE     "/proc/sys/vm/nr_hugepages"
#define POOL_FOLDER "/sys/kernel/mm/hugepages"
#define RESERVED    8

/* ---- huge pages for one test ------------------------------------------- */

static long nr_huge_before = -1;
static int pool_lock = -1; /* the pool is one for the machine: one test at a time changes it */

static bool write_nr_huge(long n)
{
    FILE *file = fopen(NR_HUGE, "we");
    bool ok;

    if (!file)
        return false;
    ok = fprintf(file, "%ld\n", n) > 0;
    return fclose(file) == 0 && ok;
}

static int huge_setup(void **state)
{
    int64_t total;

    (void)state;
    pool_lock = open(POOL_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (pool_lock >= 0)
        flock(pool_lock, LOCK_EX);
    total = kl_linux_hugepages_total();
    nr_huge_before = (long)total;
    if (total >= 0 && kl_linux_hugepages_free() < RESERVED)
        write_nr_huge((long)total + RESERVED);
    return 0;
}

static int huge_teardown(void **state)
{
    (void)state;
    if (nr_huge_before >= 0 && kl_linux_hugepages_total() != nr_huge_before)
        write_nr_huge(nr_huge_before);
    if (pool_lock >= 0)
        close(pool_lock);
    return 0;
}

static void need_huge(void)
{
    if (kl_linux_hugepages_free() < RESERVED) {
        print_message("skipped: no huge pages can be reserved here\n");
        skip();
    }
}

static struct kl_linux_backing *backing_of(enum kl_linux_kind kind, uint64_t bytes)
{
    const struct kl_linux_backing_config config = {
        .size = sizeof(config), .kind = kind, .bytes = bytes};
    struct kl_linux_backing *backing = NULL;

    assert_int_equal(kl_linux_backing_create(&config, &backing), 0);
    assert_non_null(backing);
    return backing;
}

/* ---- host -------------------------------------------------------------- */

static void test_meta_is_zero_and_aligned(void **state)
{
    static const size_t sizes[] = {1, 63, 64, 4096, 65535, 65536, 65537, 3 << 20};
    const struct kl_host *host = kl_linux_host();

    (void)state;
    for (int round = 0; round < 2; round++) { /* the second one gets used memory */
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            unsigned char *mem = host->meta_alloc(host->ctx, sizes[i]);

            assert_non_null(mem);
            assert_int_equal((uintptr_t)mem % 64, 0);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(mem[k], 0);
            memset(mem, 0xff, sizes[i]);
            host->meta_free(host->ctx, mem, sizes[i]);
        }
    }
    assert_null(host->meta_alloc(host->ctx, SIZE_MAX));
    if (sizeof(size_t) > 4) /* 2 GiB may well be there for a 32-bit program */
        assert_null(host->meta_alloc(host->ctx, SIZE_MAX / 2));
}

/* Pages of [mem, mem + 4 pages) that have memory. */
static unsigned pages_there(void *mem)
{
    unsigned char there[4];
    unsigned n = 0;

    assert_int_equal(mincore(mem, 4 * 4096, there), 0);
    for (unsigned i = 0; i < 4; i++)
        n += there[i] & 1;
    return n;
}

/* What is idle has no memory, as far as it is whole pages, and reads as zero. */
static void test_meta_idle(void **state)
{
    const struct kl_host *host = kl_linux_host();
    char *mem = host->meta_alloc(host->ctx, MIB);

    (void)state;
    if (sysconf(_SC_PAGESIZE) != 4096)
        skip();
    assert_non_null(mem);
    memset(mem, 7, 4 * 4096);
    memset(mem + 4000, 0, 2 * 4096);
    assert_int_equal(pages_there(mem), 4);
    host->meta_idle(host->ctx, mem + 4000, 2 * 4096);
    assert_int_equal(pages_there(mem), 3);
    for (unsigned i = 0; i < 4 * 4096; i++)
        assert_int_equal(mem[i], i < 4000 || i >= 4000 + 2 * 4096 ? 7 : 0);
    host->meta_idle(host->ctx, mem + 1, 4095); /* no whole page */
    host->meta_idle(host->ctx, mem + 4000, 0);
    assert_int_equal(mem[1], 7);
    mem[4096] = 9; /* it comes back */
    assert_int_equal(mem[4096], 9);
    host->meta_free(host->ctx, mem, MIB);
}

static void test_cpu_and_clock(void **state)
{
    const struct kl_host *host = kl_linux_host();
    uint64_t before = host->now_ns(host->ctx);

    (void)state;
    assert_true(host->ncpus >= 1);
    for (unsigned round = 0; round < 40; round++) {
        assert_true(host->cpu(host->ctx) < host->ncpus);
        host->relax(host->ctx, round);
    }
    host->relax(host->ctx, UINT32_MAX);
    assert_true(host->now_ns(host->ctx) > before);
}

static uint32_t futex_word;

static void *waker(void *arg)
{
    const struct kl_host *host = arg;

    __atomic_store_n(&futex_word, 1, __ATOMIC_SEQ_CST);
    host->wake(host->ctx, &futex_word, true);
    return NULL;
}

static void test_wait_and_wake(void **state)
{
    const struct kl_host *host = kl_linux_host();
    uint64_t start;
    pthread_t thread;

    (void)state;
    futex_word = 0;
    host->wait(host->ctx, &futex_word, 7, UINT64_MAX); /* the word differs: at once */
    start = host->now_ns(host->ctx);
    do
        host->wait(host->ctx, &futex_word, 0, 2000000);
    while (host->now_ns(host->ctx) - start < 2000000);
    assert_int_equal(pthread_create(&thread, NULL, waker, (void *)(uintptr_t)host), 0);
    while (__atomic_load_n(&futex_word, __ATOMIC_SEQ_CST) == 0)
        host->wait(host->ctx, &futex_word, 0, UINT64_MAX); /* ends only by the wake */
    pthread_join(thread, NULL);
    assert_int_equal(futex_word, 1);
}

/* ---- backing ----------------------------------------------------------- */

static void test_backing_refuses(void **state)
{
    struct kl_linux_backing *backing = NULL;
    struct kl_linux_backing_config good = {
        .size = sizeof(good), .kind = KL_LINUX_MEMFD, .bytes = BLOCK};
    struct kl_linux_backing_config bad;

    (void)state;
    assert_int_equal(kl_linux_backing_create(NULL, &backing), -KL_EINVAL);
    assert_int_equal(kl_linux_backing_create(&good, NULL), -KL_EINVAL);
    bad = good;
    bad.size = 1;
    assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_EINVAL);
    bad = good;
    bad.bytes = 0;
    assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_EINVAL);
    if (sizeof(size_t) == 4) { /* more than there are addresses is not cut short */
        bad.bytes = ((uint64_t)1 << 32) + BLOCK;
        assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_ENOMEM);
    }
    bad.bytes = UINT64_MAX;
    assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_EINVAL);
    bad = good;
    bad.kind = (enum kl_linux_kind)4;
    assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_EINVAL);
    bad = good;
    bad.block_order = 19;
    assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_EINVAL);
    bad.kind = KL_LINUX_HUGETLB;
    bad.block_order = 3;
    assert_int_equal(kl_linux_backing_create(&bad, &backing), -KL_EINVAL);
    assert_null(backing);
    kl_linux_backing_destroy(NULL);
}

static void check_comes_and_goes(struct kl_linux_backing *own)
{
    const struct kl_backing *b = kl_linux_backing_get(own);
    unsigned char *base = b->base;

    assert_int_equal((uintptr_t)base % BLOCK, 0);
    assert_int_equal(b->bytes % BLOCK, 0);
    assert_int_equal(b->frame_shift + b->block_order, 21);
    assert_int_equal(kl_linux_backing_resident(own), 0);
    assert_int_equal(b->populate(b->ctx, 0, 2 * BLOCK), 0);
    assert_int_equal(kl_linux_backing_resident(own), 2 * BLOCK);
    memset(base, 0x5a, 2 * BLOCK);
    assert_int_equal(kl_linux_backing_resident(own), 2 * BLOCK);
    assert_int_equal(b->release(b->ctx, 0, BLOCK), 0);
    assert_int_equal(kl_linux_backing_resident(own), BLOCK);
    assert_int_equal(b->populate(b->ctx, 0, BLOCK), 0);
    for (uint64_t i = 0; i < BLOCK; i += 512)
        assert_int_equal(base[i], 0);
    assert_int_equal(base[BLOCK], 0x5a);
    assert_int_equal(b->release(b->ctx, 0, 2 * BLOCK), 0);
    assert_int_equal(kl_linux_backing_resident(own), 0);
}

static void test_memfd_comes_and_goes(void **state)
{
    struct kl_linux_backing *own = backing_of(KL_LINUX_MEMFD, 4 * BLOCK - 1);

    (void)state;
    assert_int_equal(kl_linux_backing_kind(own), KL_LINUX_MEMFD);
    assert_int_equal(kl_linux_backing_get(own)->bytes, 4 * BLOCK);
    check_comes_and_goes(own);
    kl_linux_backing_destroy(own);
}

static void test_memfd_block_order(void **state)
{
    const struct kl_linux_backing_config config = {
        .size = sizeof(config), .kind = KL_LINUX_MEMFD, .bytes = 5000, .block_order = 4};
    struct kl_linux_backing *own = NULL;
    const struct kl_backing *b;

    (void)state;
    assert_int_equal(kl_linux_backing_create(&config, &own), 0);
    b = kl_linux_backing_get(own);
    assert_int_equal(b->block_order, 4);
    assert_int_equal(b->bytes, 65536);
    assert_int_equal(b->populate(b->ctx, 0, 65536), 0);
    assert_int_equal(kl_linux_backing_resident(own), 65536);
    kl_linux_backing_destroy(own);
}

/* A timer that interrupts every system call does not keep populate from its end. */
static void on_alarm(int signal)
{
    (void)signal;
}

static void test_populate_under_signals(void **state)
{
    const struct itimerval often = {.it_interval.tv_usec = 100, .it_value.tv_usec = 100};
    const struct itimerval never = {.it_value.tv_usec = 0};
    struct kl_linux_backing *own = backing_of(KL_LINUX_MEMFD, 64 * MIB);
    const struct kl_backing *b = kl_linux_backing_get(own);
    struct sigaction action = {.sa_handler = on_alarm};
    struct sigaction old;
    int err;

    (void)state;
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    err = b->populate(b->ctx, 0, 64 * MIB);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(err, 0);
    assert_int_equal(kl_linux_backing_resident(own), 64 * MIB);
    kl_linux_backing_destroy(own);
}

static void test_hugetlb_comes_and_goes(void **state)
{
    struct kl_linux_backing *own;
    const struct kl_backing *b;
    int64_t free;

    (void)state;
    need_huge();
    free = kl_linux_hugepages_free();
    own = backing_of(KL_LINUX_HUGETLB, 4 * BLOCK);
    b = kl_linux_backing_get(own);
    assert_int_equal(kl_linux_hugepages_free(), free);
    check_comes_and_goes(own);
    assert_int_equal(kl_linux_hugepages_free(), free);
    assert_int_equal(b->populate(b->ctx, BLOCK, 3 * BLOCK), 0);
    assert_int_equal(kl_linux_hugepages_free(), free - 3);
    assert_int_equal(b->release(b->ctx, 2 * BLOCK, BLOCK), 0);
    assert_int_equal(kl_linux_hugepages_free(), free - 2);
    kl_linux_backing_destroy(own);
    assert_int_equal(kl_linux_hugepages_free(), free);
}

/* A pool that ends in the middle of a range: an error, and no page kept. */
static void test_hugetlb_exhausted(void **state)
{
    struct kl_linux_backing *own;
    const struct kl_backing *b;
    int64_t free;

    (void)state;
    need_huge();
    free = kl_linux_hugepages_free();
    own = backing_of(KL_LINUX_HUGETLB, (uint64_t)(free + 4) * BLOCK);
    b = kl_linux_backing_get(own);
    assert_int_equal(b->populate(b->ctx, 0, BLOCK), 0);
    *(char *)b->base = 1;
    assert_int_equal(b->populate(b->ctx, BLOCK, (uint64_t)(free + 3) * BLOCK), -KL_ENOMEM);
    assert_int_equal(kl_linux_hugepages_free(), free - 1);
    assert_int_equal(kl_linux_backing_resident(own), BLOCK);
    assert_int_equal(*(char *)b->base, 1);
    kl_linux_backing_destroy(own);
    assert_int_equal(kl_linux_hugepages_free(), free);
}

static void test_auto(void **state)
{
    struct kl_linux_backing *own;
    int64_t free;

    (void)state;
    need_huge();
    free = kl_linux_hugepages_free();
    own = backing_of(KL_LINUX_AUTO, (uint64_t)free * BLOCK);
    assert_int_equal(kl_linux_backing_kind(own), KL_LINUX_HUGETLB);
    kl_linux_backing_destroy(own);
    own = backing_of(KL_LINUX_AUTO, (uint64_t)free * BLOCK + 1);
    assert_int_equal(kl_linux_backing_kind(own), KL_LINUX_MEMFD);
    kl_linux_backing_destroy(own);
}

/* The exit status or, as 256 + n, the signal of a child that touches p. */
static int child_touches(volatile char *p)
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL); /* a handler of a sanitizer or of cmocka */
        signal(SIGSEGV, SIG_DFL);
        *p = 1;
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* qemu-user takes MADV_DONTFORK for a hint and drops it. */
static void need_dontfork(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status;

    assert_true(page != MAP_FAILED);
    assert_int_equal(madvise(page, 4096, MADV_DONTFORK), 0);
    status = child_touches(page);
    munmap(page, 4096);
    if (status == 0) {
        print_message("skipped: MADV_DONTFORK has no effect here\n");
        skip();
    }
}

static void test_not_inherited(void **state)
{
    struct kl_linux_backing *own;
    const struct kl_backing *b;

    (void)state;
    need_dontfork();
    own = backing_of(KL_LINUX_MEMFD, BLOCK);
    b = kl_linux_backing_get(own);
    assert_int_equal(b->populate(b->ctx, 0, BLOCK), 0);
    assert_int_equal(child_touches(b->base), 256 + SIGSEGV);
    kl_linux_backing_destroy(own);
}

/* ---- lease ------------------------------------------------------------- */

static uint64_t file_resident(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* A peer's mapping, at an aligned address of our choice: qemu-user, asked to
 * choose, knows nothing of huge pages. */
static volatile char *peer_map(int fd, size_t bytes)
{
    char *hole = mmap(NULL, bytes + BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t head = -(uintptr_t)hole & (BLOCK - 1);
    void *map;

    assert_true(hole != MAP_FAILED);
    munmap(hole, head);
    munmap(hole + head + bytes, BLOCK - head);
    map = mmap(hole + head, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    assert_true(map != MAP_FAILED);
    return map;
}

/* What a peer with a descriptor of its own can't do, before and after. */
static void check_lease_sealed(int peer)
{
    assert_int_equal(ftruncate(peer, (off_t)(8 * BLOCK)), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fallocate(peer, 0, 0, (off_t)(8 * BLOCK)), -1);
    assert_int_equal(fallocate(peer, FALLOC_FL_KEEP_SIZE, 0, (off_t)(8 * BLOCK)), -1);
    assert_int_equal(fcntl(peer, F_ADD_SEALS, F_SEAL_SHRINK), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(peer, F_ADD_SEALS, F_SEAL_WRITE), -1);
}

static void check_lease(enum kl_linux_kind kind)
{
    struct kl_linux_backing *own = backing_of(kind, 4 * BLOCK);
    volatile char *map;
    int fd = -1;
    int peer;

    assert_int_equal(kl_linux_lease_create(own, 2 * BLOCK, &fd), 0);
    assert_int_equal(file_resident(fd), 2 * BLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(kl_linux_backing_resident(own), 0); /* not the zone's file */
    peer = dup(fd);
    check_lease_sealed(peer);
    map = peer_map(peer, 2 * BLOCK);
    assert_int_equal(map[BLOCK], 0);
    map[BLOCK] = 7;
    assert_int_equal(child_touches(map + BLOCK), 0);
    assert_int_equal(kl_linux_lease_revoke(fd), 0);
    assert_int_equal(file_resident(peer), 0);
    assert_int_equal(child_touches(map), 256 + SIGBUS);
    assert_int_equal(child_touches(map + BLOCK), 256 + SIGBUS);
    check_lease_sealed(peer);
    assert_int_equal(ftruncate(peer, (off_t)BLOCK), -1);
    assert_int_equal(file_resident(peer), 0);
    munmap((void *)(uintptr_t)map, 2 * BLOCK);
    close(peer);
    kl_linux_backing_destroy(own);
}

static void test_lease_memfd(void **state)
{
    (void)state;
    check_lease(KL_LINUX_MEMFD);
}

static void test_lease_hugetlb(void **state)
{
    int64_t free;

    (void)state;
    need_huge();
    free = kl_linux_hugepages_free();
    check_lease(KL_LINUX_HUGETLB);
    assert_int_equal(kl_linux_hugepages_free(), free);
}

/* The pages are back while the peer still has the file open and mapped. */
static void test_lease_hugetlb_returned(void **state)
{
    struct kl_linux_backing *own;
    volatile char *map;
    int64_t free;
    int fd = -1;
    int peer;

    (void)state;
    need_huge();
    free = kl_linux_hugepages_free();
    own = backing_of(KL_LINUX_HUGETLB, 4 * BLOCK);
    assert_int_equal(kl_linux_lease_create(own, 4 * BLOCK, &fd), 0);
    assert_int_equal(kl_linux_hugepages_free(), free - 4);
    peer = dup(fd);
    map = peer_map(peer, 4 * BLOCK);
    for (int i = 0; i < 4; i++)
        map[(uint64_t)i * BLOCK] = 1;
    assert_int_equal(kl_linux_lease_revoke(fd), 0);
    assert_int_equal(kl_linux_hugepages_free(), free);
    munmap((void *)(uintptr_t)map, 4 * BLOCK);
    close(peer);
    kl_linux_backing_destroy(own);
}

static void test_lease_refuses(void **state)
{
    struct kl_linux_backing *own = backing_of(KL_LINUX_MEMFD, 2 * BLOCK);
    int fd = -1;

    (void)state;
    assert_int_equal(kl_linux_lease_create(NULL, BLOCK, &fd), -KL_EINVAL);
    assert_int_equal(kl_linux_lease_create(own, BLOCK, NULL), -KL_EINVAL);
    assert_int_equal(kl_linux_lease_create(own, 0, &fd), -KL_EINVAL);
    assert_int_equal(kl_linux_lease_create(own, 1, &fd), -KL_EINVAL);
    assert_int_equal(kl_linux_lease_create(own, BLOCK + 4096, &fd), -KL_EINVAL);
    assert_int_equal(kl_linux_lease_create(own, 3 * BLOCK, &fd), -KL_EINVAL);
    assert_int_equal(fd, -1);
    assert_int_equal(kl_linux_lease_revoke(-1), -KL_EINVAL);
    kl_linux_backing_destroy(own);
}

/* A lease that the pool has no pages for takes none. */
static void test_lease_exhausted(void **state)
{
    struct kl_linux_backing *own;
    int64_t free;
    int fd = -1;

    (void)state;
    need_huge();
    free = kl_linux_hugepages_free();
    own = backing_of(KL_LINUX_HUGETLB, (uint64_t)(free + 2) * BLOCK);
    assert_int_equal(kl_linux_lease_create(own, (uint64_t)(free + 1) * BLOCK, &fd), -KL_ENOMEM);
    assert_int_equal(fd, -1);
    assert_int_equal(kl_linux_hugepages_free(), free);
    kl_linux_backing_destroy(own);
}

/* ---- how much memory there is ------------------------------------------ */

static void test_memory_available(void **state)
{
    int64_t there = kl_linux_memory_available();

    (void)state;
    assert_true(there > 0);
    assert_true(there <= kli_read_number("/proc", "meminfo", "MemTotal:") * 1024);
}

/* A system of files in a folder of its own. */
static void put_file(const char *root, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int system_setup(void **state)
{
    static char root[32];

    snprintf(root, sizeof(root), "/tmp/klotski-root-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put_file(root, "proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    1000 kB\n");
    *state = root;
    return 0;
}

static int system_teardown(void **state)
{
    return nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_memory_without_groups(void **state)
{
    const char *root = *state;

    assert_int_equal(kli_memory_available(root), 1000 * 1024);
    put_file(root, "proc/meminfo", "MemTotal: 9000 kB\n");
    assert_int_equal(kli_memory_available(root), -1); /* it doesn't say */
    put_file(root, "proc/meminfo", "MemAvailable: no\n");
    assert_int_equal(kli_memory_available(root), -1);
}

/* Version 1, and a group that is mounted by itself, as in a container. */
static void test_memory_group_v1(void **state)
{
    const char *root = *state;

    put_file(root, "proc/self/cgroup", "3:cpu:/x\n2:pids,memory:/box/a/b\n0::/\n");
    put_file(root, "proc/self/mountinfo",
             "30 23 0:28 / /g/cpu rw - cgroup cgroup rw,cpu\n"
             "31 23 0:29 /box /g/m rw,noexec shared:4 - cgroup cgroup rw,pids,memory\n");
    put_file(root, "g/m/memory.limit_in_bytes", "9223372036854771712\n");
    put_file(root, "g/m/memory.usage_in_bytes", "5\n");
    assert_int_equal(kli_memory_available(root), 1000 * 1024);
    put_file(root, "g/m/a/b/memory.limit_in_bytes", "900000\n");
    put_file(root, "g/m/a/b/memory.usage_in_bytes", "300000\n");
    assert_int_equal(kli_memory_available(root), 600000);
    put_file(root, "g/m/a/b/memory.stat", "cache 70\ninactive_file 1\ntotal_inactive_file 50000\n");
    assert_int_equal(kli_memory_available(root), 650000); /* cache goes when it must */
    put_file(root, "g/m/a/memory.limit_in_bytes", "100\n");
    put_file(root, "g/m/a/memory.usage_in_bytes", "40\n");
    assert_int_equal(kli_memory_available(root), 60); /* the group above has less */
    put_file(root, "g/m/memory.limit_in_bytes", "4\n");
    assert_int_equal(kli_memory_available(root), 0); /* and the top nothing at all */
}

static void test_memory_group_v2(void **state)
{
    const char *root = *state;

    put_file(root, "proc/self/cgroup", "0::/a/b\n");
    put_file(root, "proc/self/mountinfo", "31 23 0:29 / /sys/fs/cgroup rw - cgroup2 none rw\n");
    put_file(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
    put_file(root, "sys/fs/cgroup/a/b/memory.current", "300000\n");
    assert_int_equal(kli_memory_available(root), 1000 * 1024);
    put_file(root, "sys/fs/cgroup/a/memory.max", "700000\n");
    put_file(root, "sys/fs/cgroup/a/memory.current", "400000\n");
    put_file(root, "sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 500000\n");
    assert_int_equal(kli_memory_available(root), 700000);
    put_file(root, "proc/self/cgroup", "0::/../other\n"); /* outside of what we see */
    assert_int_equal(kli_memory_available(root), 1000 * 1024);
    put_file(root, "proc/self/cgroup", "0::");
    assert_int_equal(kli_memory_available(root), 1000 * 1024);
    put_file(root, "proc/self/mountinfo", "31 23\n\n - \n31 23 0:29 / /x rw - cgroup2\n");
    assert_int_equal(kli_memory_available(root), 1000 * 1024);
}

/* ---- codecs ------------------------------------------------------------ */

enum { CODEC_MAX = 65536, CODEC_ROOM = CODEC_MAX + 4096 };

static uint32_t seed = 12345;

static uint32_t next_random(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Text of few words: compresses to a good third. */
static void fill_words(unsigned char *buf, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t word = next_random() % 200 * 7919;

        for (size_t k = 0; k < 4 + word % 5 && i < n; k++, i++)
            buf[i] = (unsigned char)('a' + (word >> k) % 26);
    }
}

static void fill_noise(unsigned char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = (unsigned char)next_random();
}

struct bench {
    struct kl_codec codec;
    void *context;
    unsigned char src[CODEC_MAX];
    unsigned char packed[CODEC_ROOM];
    unsigned char back[CODEC_ROOM];
};

static struct bench *bench_open(const char *name, int level)
{
    struct bench *b = test_calloc(1, sizeof(*b));

    assert_int_equal(kl_linux_codec(name, level, &b->codec), 0);
    assert_string_equal(b->codec.name, name);
    b->context = b->codec.context_create(&b->codec);
    assert_non_null(b->context);
    return b;
}

static void bench_close(struct bench *b)
{
    b->codec.context_destroy(&b->codec, b->context);
    test_free(b);
}

static size_t pack(struct bench *b, size_t n, size_t room)
{
    return b->codec.compress(&b->codec, b->context, b->packed, room, b->src, n);
}

static bool unpack(struct bench *b, size_t n, const void *packed, size_t size)
{
    return b->codec.decompress(&b->codec, b->context, b->back, n, packed, size);
}

static void check_round_trip(const char *name, int level)
{
    struct bench *b = bench_open(name, level);

    for (size_t n = 4096; n <= CODEC_MAX; n *= 2) {
        size_t size;

        fill_words(b->src, n);
        size = pack(b, n, CODEC_ROOM);
        assert_in_range(size, 1, n - 1);
        assert_int_equal(pack(b, n, size - 1), 0); /* too little room: none, and no harm */
        assert_int_equal(pack(b, n, size), size);
        memset(b->back, 0xee, CODEC_ROOM);
        assert_true(unpack(b, n, b->packed, size));
        assert_memory_equal(b->back, b->src, n);
        assert_int_equal(b->back[n], 0xee);
        fill_noise(b->src, n);
        assert_int_equal(pack(b, n, n - 1), 0);
        size = pack(b, n, CODEC_ROOM);
        assert_in_range(size, n, CODEC_ROOM);
        assert_true(unpack(b, n, b->packed, size));
        assert_memory_equal(b->back, b->src, n);
    }
    bench_close(b);
}

static void test_round_trips(void **state)
{
    (void)state;
    check_round_trip("lz4", 0);
    check_round_trip("lz4", 1);
    check_round_trip("lz4", 4);
    check_round_trip("zstd", 0);
    check_round_trip("zstd", 1);
    check_round_trip("zstd", -5);
    check_round_trip("zstd", 22);
}

/* Cut short, or expected to be another length: refused.  Never past the end. */
static void check_broken(const char *name)
{
    const size_t n = 4096;
    struct bench *b = bench_open(name, 0);
    size_t size;

    fill_words(b->src, n);
    size = pack(b, n, CODEC_ROOM);
    assert_false(unpack(b, n, b->packed, 0));
    for (size_t cut = 1; cut < size; cut++) {
        unsigned char *exact = test_malloc(cut); /* a read past it is seen by a sanitizer */

        memcpy(exact, b->packed, cut);
        assert_false(unpack(b, n, exact, cut));
        test_free(exact);
    }
    assert_false(unpack(b, n - 1, b->packed, size));
    assert_false(unpack(b, n + 1, b->packed, size));
    for (int i = 0; i < 20000; i++) { /* bits flipped: anything, but in bounds */
        size_t at = next_random() % size;
        unsigned char bit = (unsigned char)(1u << next_random() % 8);

        b->packed[at] ^= bit;
        b->back[n] = 0xee;
        unpack(b, n, b->packed, size);
        assert_int_equal(b->back[n], 0xee);
        b->packed[at] ^= bit;
    }
    assert_true(unpack(b, n, b->packed, size)); /* the context is still good */
    assert_memory_equal(b->back, b->src, n);
    bench_close(b);
}

static void test_broken_lz4(void **state)
{
    (void)state;
    check_broken("lz4");
}

static void test_broken_zstd(void **state)
{
    (void)state;
    check_broken("zstd");
}

static void test_codec_refuses(void **state)
{
    struct kl_codec codec = {0};

    (void)state;
    assert_int_equal(kl_linux_codec(NULL, 0, &codec), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("zstd", 0, NULL), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("", 0, &codec), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("lz5", 0, &codec), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("zstd", 23, &codec), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("zstd", INT32_MIN, &codec), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("lz4", -1, &codec), -KL_EINVAL);
    assert_int_equal(kl_linux_codec("lz4", 65538, &codec), -KL_EINVAL);
    assert_null(codec.name);
    assert_int_equal(kl_linux_codec("zstd", 0, &codec), 0);
    assert_int_equal(codec.level, 3);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(codec.level, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meta_is_zero_and_aligned),
        cmocka_unit_test(test_meta_idle),
        cmocka_unit_test(test_cpu_and_clock),
        /* Before there was any thread: after that, qemu-i386 7.2 takes a signal for
         * the end of thread-local storage. */
        cmocka_unit_test(test_populate_under_signals),
        cmocka_unit_test(test_wait_and_wake),
        cmocka_unit_test(test_backing_refuses),
        cmocka_unit_test(test_memfd_comes_and_goes),
        cmocka_unit_test(test_memfd_block_order),
        cmocka_unit_test(test_hugetlb_comes_and_goes),
        cmocka_unit_test(test_hugetlb_exhausted),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_not_inherited),
        cmocka_unit_test(test_lease_memfd),
        cmocka_unit_test(test_lease_hugetlb),
        cmocka_unit_test(test_lease_hugetlb_returned),
        cmocka_unit_test(test_lease_refuses),
        cmocka_unit_test(test_lease_exhausted),
        cmocka_unit_test(test_memory_available),
        cmocka_unit_test_setup_teardown(test_memory_without_groups, system_setup, system_teardown),
        cmocka_unit_test_setup_teardown(test_memory_group_v1, system_setup, system_teardown),
        cmocka_unit_test_setup_teardown(test_memory_group_v2, system_setup, system_teardown),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_broken_lz4),
        cmocka_unit_test(test_broken_zstd),
        cmocka_unit_test(test_codec_refuses),
    };

    return cmocka_run_group_tests_name("linux", tests, huge_setup, huge_teardown);
}
