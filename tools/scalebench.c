// SPDX-License-Identifier: Apache-2.0
/* scalebench GIB - times a zone of so many GiB; for bench/scale.sh.
 *
 * The zone has no memory (offsets only, frames of 4 KiB, blocks of 2 MiB): what is
 * timed is the bookkeeping, whose metadata is real (0.4 % of the size where it is
 * used).  Every block is half full, which half being random.
 *
 * Prints three figures of CPU time:
 *   ns a get and put of a single frame, in sets of 4096 that are put in random order
 *   ns a get and put of 8 frames, the same
 *   ms that a request for 64 MiB takes which can't be had, migration being off: every
 *      window of the zone is looked at, and nothing is moved
 */
#include "klotski/klotski.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SET = 4096, ROUNDS = 100, SEARCHES = 21, FRAME_SHIFT = 12, BLOCK_ORDER = 9 };

static struct kl_zone *zone;
static kl_owner_id owner;
static uint64_t seed = 88172645463325252u;

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % n;
}

/* An owner that could be moved, and never is. */
static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)frame, (void)mode;
    return true;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)dst, (void)src, (void)mode;
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

static bool open_zone(uint64_t gib)
{
    const struct kl_owner_ops ops = {.size = sizeof(ops),
                                     .name = "scale",
                                     .isolate = isolate,
                                     .migrate = migrate,
                                     .putback = putback};
    struct kl_backing backing;
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = &backing};

    return kl_backing_offsets(&backing, gib << 30, FRAME_SHIFT, BLOCK_ORDER) == 0 &&
           kl_zone_create(&config, &zone) == 0 && kl_owner_register(zone, &ops, NULL, &owner) == 0;
}

static void must(int err)
{
    if (err == 0)
        return;
    fprintf(stderr, "scalebench: %s\n", kl_err_text(err));
    exit(1);
}

static void half_fill(void)
{
    uint32_t halves = 2 * kl_zone_blocks(zone);
    kl_pfn *half = malloc(halves * sizeof(*half));

    if (!half)
        exit(1);
    for (uint32_t i = 0; i < halves; i++)
        must(kl_frame_alloc(zone, BLOCK_ORDER - 1, owner, KL_MOVABLE | KL_NOWAIT, &half[i]));
    for (uint32_t i = 0; i < halves; i += 2)
        must(kl_frame_free(zone, owner, half[i + below(2)]));
    free(half);
}

static double pair_ns(unsigned order)
{
    static kl_pfn set[SET];
    uint64_t since = cpu_ns();

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < SET; i++)
            must(kl_frame_alloc(zone, order, owner, KL_MOVABLE | KL_NOWAIT, &set[i]));
        for (unsigned i = SET; i > 0; i--) {
            unsigned k = below(i);

            must(kl_frame_free(zone, owner, set[k]));
            set[k] = set[i - 1];
        }
    }
    return (double)(cpu_ns() - since) / ((double)ROUNDS * SET);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double search_ms(void)
{
    const uint32_t n = 64u << (20 - FRAME_SHIFT);
    double ms[SEARCHES];
    kl_pfn first;

    kl_zone_set_migration(zone, false);
    for (unsigned i = 0; i < SEARCHES; i++) {
        uint64_t since = cpu_ns();
        int err = kl_contig_alloc(zone, owner, n, 1u << BLOCK_ORDER, KL_ASYNC, &first, NULL);

        ms[i] = (double)(cpu_ns() - since) / 1e6;
        if (err != -KL_EBUSY)
            must(err ? err : -KL_EINVAL);
    }
    qsort(ms, SEARCHES, sizeof(ms[0]), by_size);
    return ms[SEARCHES / 2];
}

int main(int argc, char **argv)
{
    uint64_t gib = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    double single, eight;

    if (gib == 0 || gib > 1024 || !open_zone(gib))
        return 2;
    half_fill();
    single = pair_ns(0);
    eight = pair_ns(3);
    printf("%.2f %.2f %.4f\n", single, eight, search_ms());
    return 0;
}
