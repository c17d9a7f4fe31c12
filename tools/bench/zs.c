// SPDX-License-Identifier: Apache-2.0
/* zsbench - objects of the sizes of compressed pages; for bench/zs.sh.
 *
 * usage: zsbench speed klotski|malloc THREADS CORPUS MIB
 *        zsbench bytes klotski|malloc up|down CORPUS MIB
 *
 * malloc is whatever is preloaded.  Sizes are drawn from what lz4 makes of the corpus's
 * pages of 4 KiB, the same for both.
 *
 * speed: MIB of objects are live, shared evenly by the threads, each on a CPU of its
 *   own.  A random one is freed and another one of a random size is allocated.  Only
 *   allocation: nobody touches what was allocated, but for what the allocator itself
 *   does.  Prints ns a pair of free and malloc, the median of rounds: CPU time of the one
 *   thread; of two the clock's, so that waiting counts.
 *
 * bytes: MIB of objects of the smaller half of the sizes (up) or of the larger half
 *   (down); a random 7/8 of them is freed, and as many bytes as before are live again
 *   with objects of the other half.  Every byte is written.  Prints what the system says that it
 * takes beyond what the process had before: after a pause (QUIET_MS, 1000), which for Klotski is an
 * event loop's, and for a peer is followed by its own call that gives unused memory back; then
 * after compaction that was asked for (a peer has none: the same again); and the bytes that are
 * live. Klotski's: its memory file, and all else that the process grew by (metadata).
 */
#include "kit.h"

#include "klotski/klotski.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <lz4.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUND = 20000, ROUNDS = 31, THREADS_MAX = 2 };

struct sizes {
    uint16_t *size;
    uint32_t n;
    double mean;
};

static struct arena arena;
static struct kl_zs *pool; /* NULL: malloc */

union object {
    kl_handle handle;
    void *mem;
};

static void get(union object *object, size_t size)
{
    if (pool)
        must(kl_zs_malloc(pool, size, 0, &object->handle), "malloc");
    else if (!(object->mem = malloc(size)))
        die("malloc failed");
}

static void put(union object *object)
{
    if (pool)
        must(kl_zs_free(pool, object->handle), "free");
    else
        free(object->mem);
}

static void fill(union object *object, size_t size)
{
    static const unsigned char data[2 * PAGE] = {1};

    if (pool)
        must(kl_zs_write(pool, object->handle, 0, data, size), "write");
    else
        memcpy(object->mem, data, size);
}

/* Not from malloc, which is measured. */
static void *map(size_t bytes)
{
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (mem == MAP_FAILED)
        die("no memory for %zu bytes", bytes);
    return mem;
}

static struct sizes sizes_of(const char *path)
{
    struct corpus corpus = corpus_map(path);
    struct sizes sizes = {.size = map((size_t)corpus.pages * sizeof(uint16_t))};
    double sum = 0;

    for (uint32_t i = 0; i < corpus.pages; i++) {
        char out[LZ4_COMPRESSBOUND(PAGE)];
        int n;

        if (same_filled(corpus_page(&corpus, i)))
            continue;
        n = LZ4_compress_default((const char *)corpus_page(&corpus, i), out, PAGE, sizeof(out));
        sizes.size[sizes.n] = (uint16_t)(n < PAGE ? n : PAGE);
        sum += sizes.size[sizes.n++];
    }
    if (sizes.n < 2)
        die("%s: nothing but pages of one word", path);
    sizes.mean = sum / sizes.n;
    munmap((void *)(uintptr_t)corpus.page, (size_t)corpus.pages * PAGE);
    return sizes;
}

static uint16_t pick(const struct sizes *sizes, uint64_t *state)
{
    return sizes->n ? sizes->size[rng_next(state) % sizes->n] : 1;
}

static void pool_open(uint64_t bytes)
{
    arena = arena_open(bytes);
    must(kl_zs_create(arena.zone, NULL, &pool), "pool");
}

/* ---- speed -------------------------------------------------------------- */

struct speed {
    const struct sizes *sizes;
    unsigned threads;
    uint32_t live; /* objects of a thread */
    pthread_barrier_t barrier;
    double ns[ROUNDS]; /* a pair of one thread */
};

struct step {
    uint32_t object;
    uint32_t size;
};

struct lane {
    struct speed *speed;
    unsigned number;
};

static void pairs(union object *objects, const struct step *steps)
{
    for (unsigned i = 0; i < ROUND; i++) {
        put(&objects[steps[i].object]);
        get(&objects[steps[i].object], steps[i].size);
    }
}

static void *lane_run(void *arg)
{
    struct lane *lane = arg;
    struct speed *speed = lane->speed;
    const uint32_t live = speed->live | 1;
    union object *objects = map(live * sizeof(*objects));
    struct step *steps = map(ROUND * sizeof(*steps));
    uint64_t state = 88172645463325252u + lane->number, since;
    uint64_t (*clock)(void) = speed->threads == 1 ? cpu_ns : now_ns;

    stay_on(lane->number);
    for (uint32_t i = 0; i < live; i++)
        get(&objects[i], pick(speed->sizes, &state));
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < ROUND; i++)
            steps[i] = (struct step){
                .object = (uint32_t)(rng_next(&state) % live),
                .size = pick(speed->sizes, &state),
            };
        pthread_barrier_wait(&speed->barrier);
        since = clock();
        pairs(objects, steps);
        pthread_barrier_wait(&speed->barrier);
        if (lane->number == 0)
            speed->ns[round] = (double)(clock() - since) / ROUND;
    }
    return NULL;
}

static void speed(const struct sizes *sizes, unsigned threads, uint64_t bytes)
{
    struct speed run = {.sizes = sizes,
                        .threads = threads,
                        .live = (uint32_t)((double)bytes / sizes->mean / threads) + 1};
    pthread_t thread[THREADS_MAX];
    struct lane lane[THREADS_MAX];

    pthread_barrier_init(&run.barrier, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        lane[i] = (struct lane){.speed = &run, .number = i};
        if (pthread_create(&thread[i], NULL, lane_run, &lane[i]) != 0)
            die("no thread");
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("%.1f\n", median(run.ns, ROUNDS));
}

/* ---- bytes -------------------------------------------------------------- */

/* What jemalloc and mimalloc have for it. */
static void give_unused_back(void)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t) =
        (int (*)(const char *, void *, size_t *, void *, size_t))dlsym(RTLD_DEFAULT, "mallctl");
    void (*collect)(bool) = (void (*)(bool))dlsym(RTLD_DEFAULT, "mi_collect");

    if (mallctl) {
        mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
        mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096: all of them */
    }
    if (collect)
        collect(true);
}

static uint64_t resident(void)
{
    return anonymous_bytes() + (pool ? kl_linux_backing_resident(arena.backing) : 0);
}

static void settle(void)
{
    if (pool) {
        arena_settle(&arena);
    } else {
        usleep((useconds_t)(quiet_ns() / 1000));
        give_unused_back();
    }
}

static void compact(void)
{
    int64_t freed;

    if (!pool)
        return;
    do
        freed = kl_zs_compact(pool, 0);
    while (freed > 0);
    must(freed < 0 ? (int)freed : 0, "compaction of objects");
    arena_compact(&arena);
}

struct heap {
    union object *object;
    uint16_t *size;
    uint32_t n;
    uint64_t bytes;
    size_t most;
};

static void grow(struct heap *heap, const struct sizes *sizes, uint64_t bytes, uint64_t *state)
{
    while (heap->bytes < bytes) {
        uint16_t size = pick(sizes, state);

        if (heap->n == heap->most)
            die("more objects than expected");
        get(&heap->object[heap->n], size);
        fill(&heap->object[heap->n], size);
        heap->size[heap->n++] = size;
        heap->bytes += size;
    }
}

static void shrink(struct heap *heap, uint32_t to, uint64_t *state)
{
    while (heap->n > to) {
        uint32_t i = (uint32_t)(rng_next(state) % heap->n);

        put(&heap->object[i]);
        heap->bytes -= heap->size[i];
        heap->object[i] = heap->object[--heap->n];
        heap->size[i] = heap->size[heap->n];
    }
}

static int by_size(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* The smaller or the larger half. */
static struct sizes half(const struct sizes *sizes, bool larger)
{
    uint32_t n = sizes->n / 2;

    return (struct sizes){.size = sizes->size + (larger ? n : 0), .n = larger ? sizes->n - n : n};
}

static void bytes(struct sizes *sizes, bool up, uint64_t live, bool ours)
{
    struct heap heap;
    struct sizes first, second;
    uint64_t state = 88172645463325252u, before, quiet;
    size_t most;

    qsort(sizes->size, sizes->n, sizeof(sizes->size[0]), by_size);
    first = half(sizes, !up);
    second = half(sizes, up);
    most = live / (sizes->size[sizes->n / 16] + 1u) + 4096;
    heap = (struct heap){.object = map(most * sizeof(union object)),
                         .size = map(most * sizeof(uint16_t)),
                         .most = most};
    before = resident();
    if (ours)
        pool_open(2 * live + (16 << 20)); /* nothing is short */
    grow(&heap, &first, live, &state);
    shrink(&heap, heap.n / 8, &state);
    grow(&heap, &second, live, &state);
    settle();
    quiet = resident() - before;
    compact();
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", quiet, resident() - before, heap.bytes);
}

static int usage(void)
{
    fputs("usage: zsbench speed klotski|malloc THREADS CORPUS MIB\n"
          "       zsbench bytes klotski|malloc up|down CORPUS MIB\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    bool is_bytes = argc == 6 && strcmp(argv[1], "bytes") == 0;
    uint64_t live = argc == 6 ? strtoull(argv[5], NULL, 10) << 20 : 0;
    unsigned threads = argc == 6 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    struct sizes sizes;
    bool ours;

    if (live == 0 || live > 1u << 30 || !(is_bytes || strcmp(argv[1], "speed") == 0))
        return usage();
    ours = strcmp(argv[2], "klotski") == 0;
    if (!(ours || strcmp(argv[2], "malloc") == 0) ||
        !(is_bytes || (threads > 0 && threads <= THREADS_MAX)))
        return usage();
    sizes = sizes_of(argv[4]);
    if (is_bytes) {
        bytes(&sizes, strcmp(argv[3], "up") == 0, live, ours);
    } else {
        if (ours)
            pool_open(live + live / 4 + (16 << 20));
        speed(&sizes, threads, live);
    }
    return 0;
}
