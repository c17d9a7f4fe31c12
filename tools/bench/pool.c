// SPDX-License-Identifier: Apache-2.0
/* poolbench - page pools; for bench/pool.sh.
 *
 * usage: poolbench hits ORDER UNITS
 *        poolbench mmap ORDER UNITS
 *        poolbench memset UNITS
 *        poolbench moves ORDER UNITS
 *
 * Each prints numbers on one line, medians of rounds, of CPU time on one CPU.
 *
 * hits: UNITS zeroed units of 2^ORDER pages are idle.  All are got, a byte of each page is
 *   written, all are given back; then the pool's background work zeroes them.  ns a unit:
 *   of getting and giving back with the bytes written; of getting alone; of giving back
 *   alone; of the zeroing by background work.
 * mmap: the same by mmap, a byte written to each page, munmap.  ns a unit.
 * memset: ns of a memset of one page, of UNITS pages in turn, and of the same one again and
 *   again.
 * moves: UNITS idle units full of one byte are moved, by giving back the blocks that they
 *   lie in; prints how many moved; how many bytes of theirs are found afterwards in all of
 *   the zone's memory; ns a frame, and ns of a memcpy of a frame.
 */
#include "kit.h"

#include "klotski/klotski.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS = 31, SECRET = 0xa5, OTHER = 0x11, BLOCK = 2 << 20 };

static struct arena arena;
static struct kl_pool *pool;

static uint64_t whole_blocks(uint64_t bytes)
{
    return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

static void touch(char *mem, unsigned order)
{
    for (unsigned i = 0; i < 1u << order; i++)
        *(volatile char *)(mem + (size_t)i * PAGE) = 1;
}

static void open_pool(unsigned order, uint32_t units, uint64_t bytes)
{
    const struct kl_pool_config config = {
        .size = sizeof(config), .name = "bench", .order = order, .limit = 2 * units};

    stay_on(0);
    arena = arena_open(bytes);
    must(kl_pool_create(arena.zone, &config, &pool), "pool");
}

static void close_pool(void)
{
    must(kl_pool_destroy(pool), "pool's end");
    arena_close(&arena);
}

static void work(void)
{
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};

    while (kl_zone_step(arena.zone, &step, NULL) == -KL_EAGAIN && step.again_ns == 0)
        ;
}

static struct kl_pool_stats figures(void)
{
    struct kl_pool_stats s = {.size = sizeof(s)};

    kl_pool_get_stats(pool, &s);
    return s;
}

static void get_all(kl_pfn *pfn, uint32_t units)
{
    for (uint32_t i = 0; i < units; i++)
        must(kl_pool_alloc(pool, 0, &pfn[i]), "alloc");
}

static void put_all(const kl_pfn *pfn, uint32_t units)
{
    for (uint32_t i = 0; i < units; i++)
        must(kl_pool_free(pool, pfn[i]), "free");
}

static void hits(unsigned order, uint32_t units)
{
    double whole[ROUNDS], get[ROUNDS], put[ROUNDS], idle[ROUNDS];
    kl_pfn *pfn = need(units * sizeof(*pfn));

    open_pool(order, units, whole_blocks((uint64_t)units * 2 * PAGE << order));
    must(kl_pool_prefill(pool, 0, units), "prefill");
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t t[5];

        t[0] = cpu_ns();
        get_all(pfn, units);
        t[1] = cpu_ns();
        for (uint32_t i = 0; i < units; i++)
            touch(kl_frame_addr(arena.zone, pfn[i]), order);
        t[2] = cpu_ns();
        put_all(pfn, units);
        t[3] = cpu_ns();
        work();
        t[4] = cpu_ns();
        whole[round] = (double)(t[3] - t[0]) / units;
        get[round] = (double)(t[1] - t[0]) / units;
        put[round] = (double)(t[3] - t[2]) / units;
        idle[round] = (double)(t[4] - t[3]) / units;
    }
    if (figures().hits != (uint64_t)units * ROUNDS || figures().misses || figures().hot)
        die("not every allocation was a hit");
    printf("%.1f %.1f %.1f %.1f\n", median(whole, ROUNDS), median(get, ROUNDS), median(put, ROUNDS),
           median(idle, ROUNDS));
    free(pfn);
    close_pool();
}

static void by_mmap(unsigned order, uint32_t units)
{
    size_t bytes = (size_t)PAGE << order;
    double ns[ROUNDS];

    stay_on(0);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t since = cpu_ns();

        for (uint32_t i = 0; i < units; i++) {
            char *mem =
                mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

            if (mem == MAP_FAILED)
                die("no memory");
            touch(mem, order);
            munmap(mem, bytes);
        }
        ns[round] = (double)(cpu_ns() - since) / units;
    }
    printf("%.1f\n", median(ns, ROUNDS));
}

static void by_memset(uint32_t units)
{
    char *mem = need((size_t)units * PAGE);
    double turn[ROUNDS], again[ROUNDS];

    stay_on(0);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t since = cpu_ns();

        for (uint32_t i = 0; i < units; i++) {
            memset(mem + (size_t)i * PAGE, 0, PAGE);
            __asm__ volatile("" ::: "memory");
        }
        turn[round] = (double)(cpu_ns() - since) / units;
        since = cpu_ns();
        for (uint32_t i = 0; i < units; i++) {
            memset(mem, 0, PAGE);
            __asm__ volatile("" ::: "memory");
        }
        again[round] = (double)(cpu_ns() - since) / units;
    }
    printf("%.1f %.1f\n", median(turn, ROUNDS), median(again, ROUNDS));
    free(mem);
}

/* Bytes of the secret in frames that have memory. */
static uint64_t secrets(void)
{
    uint32_t frames = kl_zone_frames(arena.zone);
    uint8_t *map = need(frames);
    uint64_t n = 0;

    must(kl_zone_map(arena.zone, 0, frames, map), "map");
    for (uint32_t nr = 0; nr < frames; nr++) {
        const unsigned char *mem = kl_frame_addr(arena.zone, kl_zone_pfn(arena.zone, nr));

        for (unsigned i = 0; map[nr] != KL_FRAME_ABSENT && i < PAGE; i++)
            n += mem[i] == SECRET;
    }
    free(map);
    return n;
}

static double copy_ns(uint32_t frames)
{
    char *from = need((size_t)frames * PAGE), *to = need((size_t)frames * PAGE);
    uint64_t since = cpu_ns();

    for (uint32_t i = 0; i < frames; i++)
        memcpy(to + (size_t)i * PAGE, from + (size_t)i * PAGE, PAGE);
    since = cpu_ns() - since;
    free(from);
    free(to);
    return (double)since / frames;
}

/* Memory that comes from the system is not what is measured. */
static void populate_all(void)
{
    uint32_t blocks = kl_zone_blocks(arena.zone), n = 0;
    kl_pfn *pfn = need(blocks * sizeof(*pfn));

    while (n < blocks && kl_frame_alloc(arena.zone, 9, kl_pool_owner(pool), 0, &pfn[n]) == 0)
        n++;
    while (n > 0)
        must(kl_frame_free(arena.zone, kl_pool_owner(pool), pfn[--n]), "free");
    free(pfn);
}

static void moves(unsigned order, uint32_t units)
{
    uint64_t bytes = whole_blocks((uint64_t)units * PAGE << order), spent = 0;
    uint32_t blocks = (uint32_t)(bytes / BLOCK), frames = units << order;
    kl_pfn *pfn = need(units * sizeof(*pfn));

    open_pool(order, units, 2 * bytes);
    populate_all();
    get_all(pfn, units);
    for (uint32_t i = 0; i < units; i++)
        memset(kl_frame_addr(arena.zone, pfn[i]), SECRET, (size_t)PAGE << order);
    if (secrets() != (uint64_t)frames * PAGE)
        die("the secrets are not where they should be");
    put_all(pfn, units);
    for (uint32_t b = 0; b < blocks; b++) { /* each of the blocks that they lie in */
        kl_pfn first = kl_zone_pfn(arena.zone, kl_pfn_nr(pfn[(uint64_t)b * units / blocks]));
        kl_pfn block = kl_zone_pfn(arena.zone, kl_pfn_nr(first) / (BLOCK / PAGE) * (BLOCK / PAGE));
        uint64_t since = cpu_ns();

        must(
            kl_contig_alloc_at(arena.zone, kl_pool_owner(pool), block, BLOCK / PAGE, KL_SYNC, NULL),
            "range");
        spent += cpu_ns() - since;
        must(kl_contig_free(arena.zone, kl_pool_owner(pool), block, BLOCK / PAGE), "range's end");
        for (uint32_t i = 0; i < BLOCK / PAGE; i++) /* what was left behind */
            memset(kl_frame_addr(arena.zone, kl_zone_pfn(arena.zone, kl_pfn_nr(block) + i)), OTHER,
                   PAGE);
    }
    printf("%" PRIu64 " %" PRIu64 " %.1f %.1f\n", figures().moved, secrets(),
           (double)spent / ((double)figures().moved * (1u << order)), copy_ns(frames));
    free(pfn);
    close_pool();
}

static uint32_t number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    return *text && !*end && n <= 1u << 20 ? (uint32_t)n : UINT32_MAX;
}

static _Noreturn void usage(void)
{
    die("usage: poolbench hits ORDER UNITS | mmap ORDER UNITS | memset UNITS | moves ORDER UNITS");
}

int main(int argc, char **argv)
{
    uint32_t a = argc > 2 ? number(argv[2]) : UINT32_MAX, b = argc > 3 ? number(argv[3]) : 1;

    if (argc < 3 || argc > 4 || a == UINT32_MAX || b == UINT32_MAX || b == 0)
        usage();
    if (strcmp(argv[1], "memset") == 0 && argc == 3 && a > 0)
        by_memset(a);
    else if (argc == 4 && a <= 9 && strcmp(argv[1], "hits") == 0)
        hits(a, b);
    else if (argc == 4 && a <= 9 && strcmp(argv[1], "mmap") == 0)
        by_mmap(a, b);
    else if (argc == 4 && a <= 9 && strcmp(argv[1], "moves") == 0)
        moves(a, b);
    else
        usage();
    return 0;
}
