// SPDX-License-Identifier: Apache-2.0
/* framecopy.c - how long memcpy takes for N frames of 4 KiB, as a migration
 * would meet them: from random places in memory of 2 MiB blocks that are to be
 * emptied, to random places elsewhere, all of it resident.
 *
 * usage: framecopy FRAMES ZONE-MIB TAKEN-MIB [hugetlb]
 * Prints the median of some runs in nanoseconds. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define FRAME 4096u
#define RUNS  9

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The first n of a random order of the numbers from `from` to `to` - 1. */
static uint32_t *choose(uint32_t n, uint32_t from, uint32_t to, uint64_t *state)
{
    uint32_t count = to - from;
    uint32_t *list = malloc(((size_t)count + 1) * sizeof(*list));

    if (list == NULL)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        list[i] = from + i;
    for (uint32_t i = 0; i < n && i < count; i++) {
        uint32_t j = i + (uint32_t)(random_next(state) % (count - i)), old = list[i];
        list[i] = list[j];
        list[j] = old;
    }
    return list;
}

static unsigned char *map_zone(size_t bytes, bool hugetlb)
{
    int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE | (hugetlb ? MAP_HUGETLB : 0);
    void *zone = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (zone == MAP_FAILED) {
        fprintf(stderr, "framecopy: %zu bytes: %s\n", bytes, strerror(errno));
        return NULL;
    }
    memset(zone, 1, bytes);
    return zone;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void measure(unsigned char *zone, uint32_t n, const uint32_t *from, const uint32_t *to)
{
    uint64_t ns[RUNS];

    for (int run = 0; run < RUNS; run++) {
        uint64_t start = now_ns();
        for (uint32_t i = 0; i < n; i++)
            memcpy(zone + (size_t)to[i] * FRAME, zone + (size_t)from[i] * FRAME, FRAME);
        ns[run] = now_ns() - start;
    }
    qsort(ns, RUNS, sizeof(ns[0]), by_value);
    printf("%" PRIu64 "\n", ns[RUNS / 2]);
}

int main(int argc, char **argv)
{
    uint64_t state = 88172645463325252u;

    if (argc < 4) {
        fputs("usage: framecopy FRAMES ZONE-MIB TAKEN-MIB [hugetlb]\n", stderr);
        return 2;
    }
    unsigned long n = strtoul(argv[1], NULL, 10), zone_mib = strtoul(argv[2], NULL, 10),
                  taken_mib = strtoul(argv[3], NULL, 10);
    if (zone_mib > 65536 || taken_mib >= zone_mib || n > taken_mib * 256 ||
        n > (zone_mib - taken_mib) * 256) {
        fputs("framecopy: that many frames do not fit\n", stderr);
        return 2;
    }
    uint32_t border = (uint32_t)taken_mib * 256, end = (uint32_t)zone_mib * 256;
    unsigned char *zone =
        map_zone((size_t)zone_mib << 20, argc > 4 && strcmp(argv[4], "hugetlb") == 0);
    uint32_t *from = choose((uint32_t)n, 0, border, &state);
    uint32_t *to = choose((uint32_t)n, border, end, &state);
    bool good = zone != NULL && from != NULL && to != NULL;
    if (good)
        measure(zone, (uint32_t)n, from, to);
    free(from);
    free(to);
    return good ? 0 : 1;
}
