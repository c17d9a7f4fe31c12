// SPDX-License-Identifier: Apache-2.0
/* host.c - this process as the core's machine: metadata from malloc or mmap,
 * futexes, the processor's number, the clock.
 *
 * Thread safety: everything may run together.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define META_ALIGN     64u
#define META_MMAP_FROM (64u << 10) /* large tables cost memory only where touched */

#define NS_PER_SEC UINT64_C(1000000000)

static void *host_meta_alloc(void *ctx, size_t bytes)
{
    void *mem;

    (void)ctx;
    if (bytes == 0 || bytes > SIZE_MAX - META_ALIGN)
        return NULL;
    if (bytes >= META_MMAP_FROM) {
        mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return mem == MAP_FAILED ? NULL : mem;
    }
    bytes = (bytes + META_ALIGN - 1) & ~(size_t)(META_ALIGN - 1);
    mem = aligned_alloc(META_ALIGN, bytes);
    if (mem)
        memset(mem, 0, bytes);
    return mem;
}

static void host_meta_free(void *ctx, void *mem, size_t bytes)
{
    (void)ctx;
    if (!mem)
        return;
    if (bytes >= META_MMAP_FROM)
        munmap(mem, bytes);
    else
        free(mem);
}

/* Whole pages of it.  A private page that was given up reads as zero. */
static void host_meta_idle(void *ctx, void *mem, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), mask = ~(page - 1);
    uintptr_t from = ((uintptr_t)mem + page - 1) & mask, to = ((uintptr_t)mem + bytes) & mask;

    (void)ctx;
    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED); /* else it just stays */
}

static uint64_t host_now_ns(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* A 32-bit machine has two calls: for a time_t of 32 bits, and of 64. */
#ifdef SYS_futex_time64
#define FUTEX_CALL (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#else
#define FUTEX_CALL SYS_futex
#endif

static void host_wait(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    uint64_t seconds = timeout_ns / NS_PER_SEC;
    struct timespec limit = {
        .tv_sec = seconds < INT32_MAX ? (time_t)seconds : INT32_MAX,
        .tv_nsec = (long)(timeout_ns % NS_PER_SEC),
    };

    (void)ctx;
    syscall(FUTEX_CALL, word, FUTEX_WAIT_PRIVATE, seen, timeout_ns == UINT64_MAX ? NULL : &limit,
            NULL, 0);
}

static void host_wake(void *ctx, const uint32_t *word, bool all)
{
    (void)ctx;
    syscall(FUTEX_CALL, word, FUTEX_WAKE_PRIVATE, all ? INT_MAX : 1, NULL, NULL, 0);
}

static void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* First spin, then yield, then sleep: 16 us and doubling, 1 ms at most. */
static void host_relax(void *ctx, unsigned round)
{
    enum { SPIN_ROUNDS = 6, YIELD_ROUNDS = 16, SLEEP_SHIFT_MAX = 6 };
    struct timespec nap = {0};

    (void)ctx;
    if (round < SPIN_ROUNDS) {
        for (unsigned i = 0; i < 1u << round; i++)
            cpu_pause();
        return;
    }
    if (round < YIELD_ROUNDS) {
        sched_yield();
        return;
    }
    round -= YIELD_ROUNDS;
    nap.tv_nsec = 16000L << (round < SLEEP_SHIFT_MAX ? round : SLEEP_SHIFT_MAX);
    nanosleep(&nap, NULL);
}

static void host_fatal(void *ctx, const char *what, const char *file, int line)
{
    (void)ctx;
    fprintf(stderr, "klotski: %s:%d: broken invariant: %s\n", file, line, what);
    abort();
}

static unsigned host_ncpus;

static unsigned host_cpu(void *ctx)
{
    int cpu = sched_getcpu();

    (void)ctx;
    return cpu < 0 || (unsigned)cpu >= host_ncpus ? 0 : (unsigned)cpu;
}

/* Every thread has its own byte. */
static uintptr_t host_thread(void *ctx)
{
    static _Thread_local char mine;

    (void)ctx;
    return (uintptr_t)&mine;
}

static struct kl_host host = {
    .size = sizeof(host),
    .meta_alloc = host_meta_alloc,
    .meta_free = host_meta_free,
    .meta_idle = host_meta_idle,
    .cpu = host_cpu,
    .thread = host_thread,
    .now_ns = host_now_ns,
    .wait = host_wait,
    .wake = host_wake,
    .relax = host_relax,
    .fatal = host_fatal,
};

static void host_init(void)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);

    host_ncpus = n < 1 ? 1 : (unsigned)n;
    host.ncpus = host_ncpus;
    kli_rseq_offer(&host);
}

const struct kl_host *kl_linux_host(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, host_init);
    return &host;
}
