// SPDX-License-Identifier: Apache-2.0
/* kit.c - what the benchmarks share. */
#include "kit.h"

#include "klotski/klotski.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_S = 30, WASTE_START = 30, WASTE_STOP = 10, SPARE_BLOCKS = 1 }; /* as of a disk */

void die(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void must(int err, const char *what)
{
    if (err != 0)
        die("%s: %s", what, kl_err_text(err));
}

struct corpus corpus_map(const char *path)
{
    struct corpus corpus = {0};
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *mem;

    if (fd < 0 || fstat(fd, &status) != 0)
        die("%s: %s", path, strerror(errno));
    if (status.st_size < PAGE || status.st_size / PAGE > UINT32_MAX)
        die("%s: no corpus", path);
    corpus.pages = (uint32_t)(status.st_size / PAGE);
    mem = mmap(NULL, (size_t)corpus.pages * PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (mem == MAP_FAILED)
        die("%s: %s", path, strerror(errno));
    corpus.page = mem;
    close(fd);
    return corpus;
}

bool same_filled(const unsigned char *page)
{
    return memcmp(page, page + 8, PAGE - 8) == 0;
}

struct arena arena_open(uint64_t bytes)
{
    struct arena arena = {0};
    const struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = bytes};
    const struct kl_zone_marks marks = {.size = sizeof(marks),
                                        .waste_start = WASTE_START,
                                        .waste_stop = WASTE_STOP,
                                        .spare_blocks = SPARE_BLOCKS};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};

    must(kl_linux_backing_create(&memory, &arena.backing), "backing");
    config.backing = kl_linux_backing_get(arena.backing);
    must(kl_zone_create(&config, &arena.zone), "zone");
    must(kl_zone_set_marks(arena.zone, &marks), "marks");
    return arena;
}

void arena_close(struct arena *arena)
{
    must(kl_zone_destroy(arena->zone), "zone");
    kl_linux_backing_destroy(arena->backing);
}

uint64_t quiet_ns(void)
{
    const char *ms = getenv("QUIET_MS");

    return (ms ? strtoull(ms, NULL, 10) : 1000) * 1000000;
}

void arena_settle(struct arena *arena)
{
    const struct kl_linux_worker_config config = {.size = sizeof(config), .flags = KL_STEP_WANTED};
    struct kl_linux_worker *worker;
    uint64_t begin = now_ns(), last = begin, quiet = quiet_ns(), cap = LONGEST_S * 1000000000ull;
    unsigned steps = 0;

    must(kl_linux_worker_create(arena->zone, &config, &worker), "worker");
    while (now_ns() - last < quiet && now_ns() - begin < cap) {
        struct pollfd poll_fd = {.fd = kl_linux_worker_fd(worker), .events = POLLIN};
        int ms = (int)((quiet - (now_ns() - last)) / 1000000) + 1;

        if (poll(&poll_fd, 1, ms) <= 0)
            continue;
        kl_linux_worker_step(worker);
        last = now_ns();
        steps++;
    }
    kl_linux_worker_destroy(worker);
    fprintf(stderr, "  %u steps in %.1f s until all was quiet\n", steps,
            (double)(last - begin) / 1e9);
}

void arena_compact(struct arena *arena)
{
    must(kl_zone_compact(arena->zone, KL_SYNC, 0, NULL), "compaction of frames");
    if (kl_zone_trim(arena->zone, 0) < 0)
        die("cannot trim");
}

uint64_t rng_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 12;
}

uint32_t *shuffled(uint32_t n, uint64_t seed)
{
    uint32_t *list = need((size_t)n * sizeof(*list));
    uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;

    for (uint32_t i = 0; i < n; i++)
        list[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = (uint32_t)(rng_next(&state) % i), old = list[k];

        list[k] = list[i - 1];
        list[i - 1] = old;
    }
    return list;
}

void *need(size_t bytes)
{
    void *mem = malloc(bytes ? bytes : 1);

    if (!mem)
        die("no memory for %zu bytes", bytes);
    memset(mem, 0, bytes);
    return mem;
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(double *values, size_t n)
{
    qsort(values, n, sizeof(values[0]), by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static cpu_set_t may; /* be used, before anybody was told to stay anywhere */

static void look_at_cpus(void)
{
    if (sched_getaffinity(0, sizeof(may), &may) != 0)
        CPU_ZERO(&may);
}

void stay_on(unsigned cpu)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    cpu_set_t set;

    pthread_once(&once, look_at_cpus);
    for (unsigned i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &may) || cpu-- > 0)
            continue;
        CPU_ZERO(&set);
        CPU_SET(i, &set);
        pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
        return;
    }
}

uint64_t anonymous_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[256];
    uint64_t kib = 0;

    if (!file)
        die("/proc/self/smaps_rollup: %s", strerror(errno));
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "Pss_Anon: %" SCNu64, &kib) == 1)
            break;
    fclose(file);
    return kib << 10;
}
