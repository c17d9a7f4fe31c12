// SPDX-License-Identifier: Apache-2.0
/* storebench - how fast a store is beside its compressor alone; for bench/store.sh.
 *
 * usage: storebench CORPUS ROUNDS
 *
 * A store (lz4, blocks of 4 KiB) and, where it is to be had, the kernel's zram hold the
 * corpus, but for its pages of one word, which no compressor sees.  Round after round
 * everybody does the same work, one after the other: BATCH random blocks are read, by
 *   store   kl_store_read
 *   lz4     LZ4_decompress_safe of the same compressed pages, packed in an array
 *   zram    pread of the device, O_DIRECT
 *   one     as store, and
 *   two     by two threads, on CPUs of their own, BATCH blocks each; and both again with
 *           lz4: what two threads can get done here at all
 * and written, each block with a random page of the corpus, by
 *   store   kl_store_write
 *   lz4     LZ4_compress_fast_extState with one state for all, into one buffer
 *   zram    pwrite, O_DIRECT
 * Time is CPU time of the thread, what it spends in the kernel included (zram does its
 * work in the caller), but for one and two: there it is the clock's, so that waiting counts.
 * What is read was read last long before, in all of them: the corpus is larger than the
 * caches.  Ends with the medians of the rounds, ns a block, and of the quotients of each
 * round (0: no zram):
 *   FIGURES read lz4_read zram_read one two one_lz4 two_lz4 write lz4_write zram_write
 *   QUOTIENTS lz4/read zram/read one/two one_lz4/two_lz4 lz4/write zram/write
 * (more is better; two is half of the time in which two blocks are read).
 *
 * usage: storebench lz4 CORPUS
 * Only what lz4 takes for a random page, alone on a CPU: ns to decompress, to compress.
 */
#include "kit.h"
#include "zram.h"

#include "klotski/klotski.h"

#include <errno.h>
#include <lz4.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BATCH = 4096, ROUNDS_MAX = 1000, LZ4_ROUNDS = 31 };
enum {
    READ,
    LZ4_READ,
    ZRAM_READ,
    ONE_READ,
    TWO_READ,
    ONE_LZ4,
    TWO_LZ4,
    WRITE,
    LZ4_WRITE,
    ZRAM_WRITE,
    KINDS
};

static struct corpus corpus;
static uint32_t *page; /* those that are not of one word */
static uint32_t pages;
static uint32_t batch[2][BATCH]; /* blocks, and pages to be written there */

static struct arena arena;
static struct kl_store *store;
static int zram = -1;

/* The peer's compressed pages: block i is at packed + at[i], up to at[i + 1]. */
static char *packed;
static uint64_t *at;
static void *state;

static void draw(uint64_t *seed)
{
    for (unsigned i = 0; i < BATCH; i++) {
        batch[0][i] = (uint32_t)(rng_next(seed) % pages);
        batch[1][i] = (uint32_t)(rng_next(seed) % pages);
    }
}

static const unsigned char *page_of(uint32_t i)
{
    return corpus_page(&corpus, page[i]);
}

static void read_some(const uint32_t *blocks)
{
    unsigned char out[PAGE];

    for (unsigned i = 0; i < BATCH; i++)
        must(kl_store_read(store, blocks[i], 0, out, PAGE), "read");
}

static void decompress_some(const uint32_t *blocks)
{
    char out[PAGE];

    for (unsigned i = 0; i < BATCH; i++) {
        const uint64_t *from = &at[blocks[i]];

        if (LZ4_decompress_safe(packed + from[0], out, (int)(from[1] - from[0]), PAGE) != PAGE)
            die("lz4 does not decompress");
    }
}

static void read_store(void)
{
    read_some(batch[0]);
}

static void read_lz4(void)
{
    decompress_some(batch[0]);
}

struct lane {
    void (*work)(const uint32_t *blocks);
    unsigned number;
};

static void *lane_run(void *arg)
{
    struct lane *lane = arg;

    stay_on(lane->number);
    lane->work(batch[lane->number]);
    return NULL;
}

static void by_two(void (*work)(const uint32_t *blocks))
{
    struct lane lane[2] = {{work, 0}, {work, 1}};
    pthread_t thread[2];

    for (unsigned i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, lane_run, &lane[i]) != 0)
            die("no thread");
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
}

static void read_two(void)
{
    by_two(read_some);
}

static void lz4_two(void)
{
    by_two(decompress_some);
}

static void read_zram(void)
{
    static _Alignas(PAGE) char out[PAGE];

    for (unsigned i = 0; i < BATCH; i++)
        if (pread(zram, out, PAGE, (off_t)batch[0][i] * PAGE) != PAGE)
            die("/dev/zram0: %s", strerror(errno));
}

static void write_store(void)
{
    for (unsigned i = 0; i < BATCH; i++)
        must(kl_store_write(store, batch[0][i], 0, page_of(batch[1][i]), PAGE), "write");
}

static void write_lz4(void)
{
    char out[LZ4_COMPRESSBOUND(PAGE)];

    for (unsigned i = 0; i < BATCH; i++)
        if (LZ4_compress_fast_extState(state, (const char *)page_of(batch[1][i]), out, PAGE,
                                       sizeof(out), 1) == 0)
            die("lz4 does not compress");
}

static void write_zram(void)
{
    for (unsigned i = 0; i < BATCH; i++)
        if (pwrite(zram, page_of(batch[1][i]), PAGE, (off_t)batch[0][i] * PAGE) != PAGE)
            die("/dev/zram0: %s", strerror(errno));
}

static double time_of(unsigned kind, void (*work)(void))
{
    uint64_t (*clock)(void) = kind >= ONE_READ && kind <= TWO_LZ4 ? now_ns : cpu_ns;
    unsigned threads = kind == TWO_READ || kind == TWO_LZ4 ? 2 : 1;
    uint64_t since = clock();

    work();
    return (double)(clock() - since) / (threads * BATCH);
}

/* ---- setting up --------------------------------------------------------- */

static void choose_pages(const char *path)
{
    corpus = corpus_map(path);
    page = need(corpus.pages * sizeof(*page));
    for (uint32_t i = 0; i < corpus.pages; i++)
        if (!same_filled(corpus_page(&corpus, i)))
            page[pages++] = i;
    if (pages < 2)
        die("%s: nothing but pages of one word", path);
}

static void fill_lz4(void)
{
    uint64_t end = 0;

    packed = mmap(NULL, (size_t)pages * LZ4_COMPRESSBOUND(PAGE), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (packed == MAP_FAILED)
        die("no memory");
    at = need((pages + 1) * sizeof(*at));
    state = need((size_t)LZ4_sizeofState());
    for (uint32_t i = 0; i < pages; i++) {
        end += (unsigned)LZ4_compress_default((const char *)page_of(i), packed + end, PAGE,
                                              LZ4_COMPRESSBOUND(PAGE));
        at[i + 1] = end;
    }
}

static void fill_store(void)
{
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = pages, .block_bytes = PAGE, .codec = &codec};

    arena = arena_open(at[pages] + at[pages] / 4 + (16 << 20));
    must(kl_linux_codec("lz4", 0, &codec), "lz4");
    must(kl_store_create(arena.zone, &config, &store), "store");
    for (uint32_t i = 0; i < pages; i++)
        must(kl_store_write(store, i, 0, page_of(i), PAGE), "write");
}

static void fill_zram(void)
{
    const char *why;

    zram = zram_open((uint64_t)pages * PAGE, &why);
    if (zram < 0) {
        printf("no zram: %s\n", why);
        return;
    }
    for (uint32_t i = 0; i < pages; i++)
        if (pwrite(zram, page_of(i), PAGE, (off_t)i * PAGE) != PAGE)
            die("/dev/zram0: %s", strerror(errno));
}

/* ---- measuring ---------------------------------------------------------- */

static double ns[KINDS][ROUNDS_MAX];

/* The median of what `a` took over what `b` took. */
static double quotient(unsigned a, unsigned b, unsigned rounds)
{
    double q[ROUNDS_MAX];

    for (unsigned i = 0; i < rounds; i++)
        q[i] = ns[a][i] / ns[b][i];
    return median(q, rounds);
}

/* Everybody reads before anybody writes, so that all hold the same. */
static void measure(unsigned rounds)
{
    static void (*const work[KINDS])(void) = {
        [READ] = read_store,       [LZ4_READ] = read_lz4, [ZRAM_READ] = read_zram,
        [ONE_READ] = read_store,   [TWO_READ] = read_two, [ONE_LZ4] = read_lz4,
        [TWO_LZ4] = lz4_two,       [WRITE] = write_store, [LZ4_WRITE] = write_lz4,
        [ZRAM_WRITE] = write_zram,
    };
    uint64_t seed = 88172645463325252u;

    for (unsigned phase = 0; phase < 2; phase++) {
        for (unsigned round = 0; round < rounds; round++) {
            draw(&seed);
            for (unsigned kind = phase ? WRITE : READ; kind < (phase ? KINDS : WRITE); kind++)
                if (zram >= 0 || (kind != ZRAM_READ && kind != ZRAM_WRITE))
                    ns[kind][round] = time_of(kind, work[kind]);
        }
    }
}

static void report(unsigned rounds)
{
    static const unsigned pair[][2] = {{LZ4_READ, READ},   {ZRAM_READ, READ},  {ONE_READ, TWO_READ},
                                       {ONE_LZ4, TWO_LZ4}, {LZ4_WRITE, WRITE}, {ZRAM_WRITE, WRITE}};

    printf("QUOTIENTS");
    for (unsigned i = 0; i < sizeof(pair) / sizeof(pair[0]); i++)
        printf(" %.3f", quotient(pair[i][0], pair[i][1], rounds));
    printf("\nFIGURES");
    for (unsigned kind = 0; kind < KINDS; kind++)
        printf(" %.0f", median(ns[kind], rounds));
    putchar('\n');
}

static void only_lz4(void)
{
    uint64_t seed = 88172645463325252u;

    fill_lz4();
    for (unsigned round = 0; round < LZ4_ROUNDS; round++) {
        draw(&seed);
        ns[LZ4_READ][round] = time_of(LZ4_READ, read_lz4);
        ns[LZ4_WRITE][round] = time_of(LZ4_WRITE, write_lz4);
    }
    printf("%.0f %.0f\n", median(ns[LZ4_READ], LZ4_ROUNDS), median(ns[LZ4_WRITE], LZ4_ROUNDS));
}

int main(int argc, char **argv)
{
    unsigned rounds = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;

    if (argc == 3 && strcmp(argv[1], "lz4") == 0) {
        choose_pages(argv[2]);
        only_lz4();
        return 0;
    }
    if (rounds == 0 || rounds > ROUNDS_MAX) {
        fputs("usage: storebench CORPUS ROUNDS\n       storebench lz4 CORPUS\n", stderr);
        return 2;
    }
    choose_pages(argv[1]);
    fill_lz4();
    fill_store();
    fill_zram();
    stay_on(0);
    measure(rounds);
    report(rounds);
    zram_close();
    must(kl_store_destroy(store), "store");
    arena_close(&arena);
    return 0;
}
