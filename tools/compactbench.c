// SPDX-License-Identifier: Apache-2.0
/* compactbench throughput|moves [LAYOUTS [SEED]] - for bench/compact.sh.
 *
 *   throughput  a zone of 256 MiB, half full at random, is compacted; memcpy copies
 *               the same frames to the same places in the same order.  The owner has
 *               no work of its own.  Then the same with a zsmalloc pool as owner,
 *               whose frames memcpy copies in the order of before.
 *   moves       many small zones are compacted; how many frames moved, and how many
 *               would have done for as many free blocks
 *
 * All memory is resident.  Before each measurement as much other memory is gone
 * through, so that no cache helps the one that comes second.
 */
#include "klotski/klotski.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FRAME = 4096, ROUNDS = 5 };

struct pair {
    uint32_t dst, src;
};

static struct {
    struct kl_zone *zone;
    kl_owner_id owner;
    char *memory, *other;
    uint32_t blocks, order, frames;
    struct pair *pair; /* the moves of a run */
    uint32_t pairs;
    uint64_t random;
} b;

static void require(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "compactbench: %s\n", what);
    exit(1);
}

static uint32_t below(uint32_t n)
{
    b.random ^= b.random << 13;
    b.random ^= b.random >> 7;
    b.random ^= b.random << 17;
    return (uint32_t)(((b.random >> 32) * n) >> 32);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* ---- an owner that only copies, and the zone ------------------------------- */

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)frame, (void)mode;
    return true;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)mode;
    kl_frame_copy(b.zone, dst, src);
    b.pair[b.pairs++] = (struct pair){kl_pfn_nr(dst), kl_pfn_nr(src)};
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

static char *area(size_t bytes)
{
    void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    require(mem != MAP_FAILED, "no memory");
    memset(mem, 1, bytes);
    return mem;
}

static void set_shape(uint32_t blocks, uint32_t order)
{
    b.blocks = blocks;
    b.order = order;
    b.frames = blocks << order;
    b.memory = area((size_t)b.frames * FRAME);
    b.pair = calloc(b.frames, sizeof(*b.pair));
    require(b.pair != NULL, "no memory");
}

static void open_zone(void)
{
    struct kl_backing backing = {.size = sizeof(backing),
                                 .base = b.memory,
                                 .bytes = (uint64_t)b.frames * FRAME,
                                 .frame_shift = 12,
                                 .block_order = b.order};
    struct kl_zone_config config = {.size = sizeof(config),
                                    .host = kl_linux_host(),
                                    .backing = &backing,
                                    .flags = KL_ZONE_POPULATE};
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "test",
                               .isolate = isolate,
                               .migrate = migrate,
                               .putback = putback};

    require(kl_zone_create(&config, &b.zone) == 0, "no zone");
    require(kl_owner_register(b.zone, &ops, NULL, &b.owner) == 0, "no owner");
    b.pairs = 0;
}

/* Fills the zone; the frame with number nr is then freed unless keep says so. */
static void lay_out(bool (*keep)(uint32_t nr))
{
    kl_pfn pfn;

    while (kl_frame_alloc(b.zone, 0, b.owner, KL_MOVABLE | KL_NOWAIT, &pfn) == 0)
        ;
    for (uint32_t nr = 0; nr < b.frames; nr++) {
        if (!keep(nr))
            require(kl_frame_free(b.zone, b.owner, kl_zone_pfn(b.zone, nr)) == 0,
                    "a free was refused");
    }
}

/* Frees whatever is there, pinned or not, and the zone. */
static void close_zone(void)
{
    const char *what = NULL;

    require(kl_zone_check(b.zone, &what) == 0, what ? what : "the recount is wrong");
    for (uint32_t nr = 0; nr < b.frames; nr++) {
        kl_pfn pfn = kl_zone_pfn(b.zone, nr);

        while (kl_frame_unpin(b.zone, b.owner, pfn) == 0)
            ;
        kl_frame_free(b.zone, b.owner, pfn);
    }
    require(kl_owner_unregister(b.zone, b.owner) == 0 && kl_zone_destroy(b.zone) == 0,
            "the zone is not empty");
}

/* ---- throughput -------------------------------------------------------------- */

static bool every_other(uint32_t nr)
{
    (void)nr;
    return below(2) == 0;
}

static void forget_caches(void)
{
    size_t bytes = (size_t)b.frames * FRAME;

    for (size_t i = 0; i < bytes; i += 64)
        b.other[i]++;
}

static double copy_ns(void)
{
    uint64_t start;

    forget_caches();
    start = cpu_ns();
    for (uint32_t i = 0; i < b.pairs; i++)
        memcpy(b.memory + (size_t)b.pair[i].dst * FRAME, b.memory + (size_t)b.pair[i].src * FRAME,
               FRAME);
    return (double)(cpu_ns() - start) / b.pairs;
}

static double compact_ns(struct kl_report *report)
{
    uint64_t start;

    *report = (struct kl_report){.size = sizeof(*report)};
    forget_caches();
    start = cpu_ns();
    require(kl_zone_compact(b.zone, KL_SYNC, 0, report) == 0, "not compacted");
    require(report->migrated > 0, "nothing moved");
    return (double)(cpu_ns() - start) / report->migrated;
}

/* Objects of a third of a frame and some, freed in runs, so that whole chains go. */
static struct kl_zs *fill_pool(void)
{
    enum { BYTES = 1500, RUN = 64 };
    uint32_t most = b.frames * 2, n = 0;
    kl_handle *object = calloc(most, sizeof(*object));
    struct kl_zs *pool;

    require(object && kl_zs_create(b.zone, NULL, &pool) == 0, "no pool");
    while (n < most && kl_zs_malloc(pool, BYTES, KL_NOWAIT, &object[n]) == 0)
        n++;
    for (uint32_t i = 0; i + RUN < n; i += RUN) {
        bool drop = below(2) == 0;

        for (uint32_t j = i; drop && j < i + RUN; j++)
            kl_zs_free(pool, object[j]);
    }
    free(object);
    return pool;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, c = *(const double *)y;

    return (a > c) - (a < c);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), by_value);
    return values[ROUNDS / 2];
}

static void throughput(void)
{
    double test[ROUNDS], pool[ROUNDS];

    set_shape(128, 9);
    b.other = area((size_t)b.frames * FRAME);
    for (int round = 0; round < ROUNDS; round++) {
        struct kl_report report;
        struct kl_zs *zs;
        double ours, peer;

        open_zone();
        lay_out(every_other);
        ours = compact_ns(&report);
        peer = copy_ns();
        test[round] = peer / ours;
        printf("test owner: %" PRIu32 " frames, %.0f ns each; memcpy %.0f ns\n", report.migrated,
               ours, peer);
        close_zone();
        open_zone();
        zs = fill_pool();
        ours = compact_ns(&report);
        require(kl_zs_destroy(zs) == 0, "the pool is in use");
        pool[round] = peer / ours;
        printf("zsmalloc:   %" PRIu32 " frames, %.0f ns each\n", report.migrated, ours);
        close_zone();
    }
    printf("FIGURES %.3f %.3f\n", median(test), median(pool));
}

/* ---- moves ------------------------------------------------------------------- */

enum layout { RANDOM, CLUSTERED, EVEN, STEPS, STUCK, LAYOUTS };

static const char *const names[LAYOUTS] = {
    [RANDOM] = "random",
    [CLUSTERED] = "clustered (each block full or sparse)",
    [EVEN] = "adversarial: all blocks alike",
    [STEPS] = "adversarial: one more frame a block",
    [STUCK] = "random, with pinned frames",
};

static struct {
    enum layout layout;
    uint32_t full; /* per cent */
    uint32_t in_block[64];
} plan;

static void draw_plan(enum layout layout)
{
    uint32_t all = 1u << b.order;

    plan.layout = layout;
    plan.full = 5 + below(91);
    for (uint32_t i = 0; i < b.blocks; i++) {
        if (layout == CLUSTERED)
            plan.in_block[i] = below(100) < plan.full ? all - below(all / 8) : below(all / 8);
        else if (layout == EVEN)
            plan.in_block[i] = all * plan.full / 100;
        else
            plan.in_block[i] = (i * all / b.blocks * plan.full / 60) % (all + 1);
    }
}

static bool planned(uint32_t nr)
{
    uint32_t all = 1u << b.order, place = nr % all;

    if (plan.layout == RANDOM || plan.layout == STUCK)
        return below(100) < plan.full;
    return place * 37 % all < plan.in_block[nr / all]; /* 37: spread over the block */
}

static void pin_some(void)
{
    for (uint32_t i = b.blocks / 4; i > 0; i--)
        kl_frame_pin(b.zone, b.owner, kl_zone_pfn(b.zone, below(b.frames)));
}

/* Used frames of a block; STUCK_BLOCK more when one of them can't move. */
#define STUCK_BLOCK (1u << 20)

static uint32_t look_at(const uint8_t *map)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < 1u << b.order; i++) {
        used += map[i] != KL_FRAME_FREE;
        if (map[i] != KL_FRAME_FREE && map[i] != KL_FRAME_MOVABLE)
            used |= STUCK_BLOCK;
    }
    return used;
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, c = *(const uint32_t *)y;

    return (a > c) - (a < c);
}

struct optimum {
    uint32_t free_blocks; /* the most that can be had */
    uint32_t moves[65];   /* the least that leave n blocks free */
};

/* Blocks are emptied sparsest first, but those with stuck frames, as long as what
 * was in them fits into the rest. */
static struct optimum find_optimum(void)
{
    static uint8_t map[64 << 6];
    uint32_t used[64] = {0}, all = 1u << b.order, room = 0, moves = 0;
    struct optimum best = {0};

    require(b.frames <= sizeof(map) && kl_zone_map(b.zone, 0, b.frames, map) == 0, "no map");
    for (uint32_t i = 0; i < b.blocks; i++) {
        used[i] = look_at(map + (size_t)i * all);
        room += all - used[i] % STUCK_BLOCK;
    }
    qsort(used, b.blocks, sizeof(used[0]), by_number);
    for (uint32_t i = 0; i < b.blocks && used[i] < STUCK_BLOCK; i++) {
        moves += used[i];
        if (room < (best.free_blocks + 1) * all) /* what is free in the rest, and moves */
            break;
        best.moves[++best.free_blocks] = moves;
    }
    return best;
}

struct tally {
    uint64_t moved, least, gained, possible;
};

static void compact_one(enum layout layout, struct tally *t)
{
    struct kl_report report = {.size = sizeof(report)};
    struct kl_zone_stats after = {.size = sizeof(after)};
    struct optimum best;

    draw_plan(layout);
    open_zone();
    lay_out(planned);
    if (layout == STUCK)
        pin_some();
    best = find_optimum();
    require(kl_zone_compact(b.zone, KL_SYNC, 0, &report) == 0, "not compacted");
    kl_zone_get_stats(b.zone, &after);
    require(after.free_blocks <= best.free_blocks, "better than the best");
    t->moved += report.migrated;
    t->least += best.moves[after.free_blocks];
    t->gained += after.free_blocks;
    t->possible += best.free_blocks;
    close_zone();
}

static void moves(uint32_t layouts, uint64_t seed)
{
    struct tally sum = {0};

    set_shape(32, 6);
    printf("%-40s %10s %10s %22s\n", "layout", "moved", "least", "blocks free, possible");
    for (int layout = 0; layout < LAYOUTS; layout++) {
        struct tally t = {0};

        for (uint32_t i = 0; i < layouts; i++) {
            b.random =
                (seed << 32 | (i * LAYOUTS + (uint32_t)layout + 1)) * UINT64_C(0x9e3779b97f4a7c15);
            compact_one((enum layout)layout, &t);
        }
        printf("%-40s %10" PRIu64 " %10" PRIu64 " %11" PRIu64 " %10" PRIu64 "\n", names[layout],
               t.moved, t.least, t.gained, t.possible);
        sum.moved += t.moved;
        sum.least += t.least;
        sum.gained += t.gained;
        sum.possible += t.possible;
    }
    printf("FIGURES %.4f %.4f\n", (double)sum.moved / (double)sum.least,
           (double)sum.gained / (double)sum.possible);
}

int main(int argc, char **argv)
{
    uint32_t layouts = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

    require(argc > 1 && layouts > 0, "usage: compactbench throughput|moves [LAYOUTS [SEED]]");
    b.random = seed * UINT64_C(0x9e3779b97f4a7c15);
    if (strcmp(argv[1], "throughput") == 0)
        throughput();
    else
        moves(layouts, seed);
    free(b.pair);
    return 0;
}
