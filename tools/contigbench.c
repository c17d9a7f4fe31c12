// SPDX-License-Identifier: Apache-2.0
/* contigbench single|mixed [LAYOUTS [SEED]] - contiguous ranges in many small zones;
 * for bench/contig.sh.
 *
 * A layout: a zone of 16 blocks of 512 frames, 50 to 98 % full of frames of a test
 * owner (single ones, or units of 1 to 8 frames) and of a zsmalloc pool, some of
 * them pinned or unmovable.  Ranges of orders 3, 9, 10, 11 and of random shapes are
 * asked for, first without migration and then with it, each given back at once.
 * Before each one an oracle looks at the frozen layout.
 *
 * The bound of a request is 20 us and the time in which memcpy copies as many frames
 * as it moved, between random places of as much memory, measured now and then.
 */
#include "cli/replay/oracle.h"
#include "klotski/klotski.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME = 4096,
    BLOCK_ORDER = 9,
    BLOCKS = 16,
    FRAMES = BLOCKS << BLOCK_ORDER,
    OBJECTS = 1024,
    SHAPES = 5, /* the last one is random */
    COPIES = 512,
};

struct unit {
    kl_pfn pfn; /* all zero: none */
    unsigned order;
    bool pinned, movable;
};

struct tally {
    uint64_t asked, feasible, feasible_done, done;
};

static struct {
    struct kl_zone *zone;
    kl_owner_id owner;
    struct kl_zs *pool;
    struct unit unit[FRAMES];
    kl_handle object[OBJECTS];
    unsigned objects;
    char *memory, *copy;
    uint64_t random;
    struct tally tally[2][SHAPES]; /* by migration off, on */
    double *over[SHAPES];          /* each request's time over its bound */
    size_t overs[SHAPES];
    double copy_ns; /* of a frame */
    bool mixed;
    unsigned told; /* failures of what is feasible */
    uint32_t more; /* frames that moved beside the first ones of units */
} b;

static void require(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "contigbench: %s\n", what);
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

/* ---- the test owner: one thread, so it needs no lock ----------------------- */

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)mode;
    return kl_frame_private(b.zone, frame) != 0;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    uint64_t id = kl_frame_private(b.zone, src);

    (void)ctx, (void)mode;
    kl_frame_copy(b.zone, dst, src);
    kl_frame_set_private(b.zone, dst, id);
    b.unit[id - 1].pfn = dst;
    b.more += (1u << b.unit[id - 1].order) - 1;
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

/* The first and last word of each frame say whose it is. */
static void stamp(kl_pfn pfn, unsigned frames, uint64_t id)
{
    char *mem = kl_frame_addr(b.zone, pfn);

    for (unsigned i = 0; i < frames; i++) {
        memcpy(mem + (size_t)i * FRAME, &id, sizeof(id));
        memcpy(mem + (size_t)(i + 1) * FRAME - sizeof(id), &id, sizeof(id));
    }
}

static bool stamped(const struct unit *u, uint64_t id)
{
    const char *mem = kl_frame_addr(b.zone, u->pfn);
    bool good = true;

    for (unsigned i = 0; i < 1u << u->order; i++)
        good &= memcmp(mem + (size_t)i * FRAME, &id, sizeof(id)) == 0 &&
                memcmp(mem + (size_t)(i + 1) * FRAME - sizeof(id), &id, sizeof(id)) == 0;
    return good;
}

/* ---- a layout --------------------------------------------------------------- */

static void open_zone(void)
{
    struct kl_backing backing = {.size = sizeof(backing),
                                 .base = b.memory,
                                 .bytes = (uint64_t)FRAMES * FRAME,
                                 .frame_shift = 12,
                                 .block_order = BLOCK_ORDER};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = &backing};
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "test",
                               .isolate = isolate,
                               .migrate = migrate,
                               .putback = putback};

    config.flags = KL_ZONE_POPULATE;
    require(kl_zone_create(&config, &b.zone) == 0, "no zone");
    require(kl_owner_register(b.zone, &ops, NULL, &b.owner) == 0, "no owner");
    require(kl_zs_create(b.zone, NULL, &b.pool) == 0, "no pool");
}

static bool add_unit(uint32_t i)
{
    struct unit *u = &b.unit[i];

    *u = (struct unit){.movable = below(400) != 0, .order = b.mixed ? below(4) : 0};
    if (kl_frame_alloc(b.zone, u->order, b.owner, KL_NOWAIT | (u->movable ? KL_MOVABLE : 0),
                       &u->pfn) != 0)
        return false;
    kl_frame_set_private(b.zone, u->pfn, (uint64_t)i + 1);
    stamp(u->pfn, 1u << u->order, (uint64_t)i + 1);
    return true;
}

static void add_object(void)
{
    kl_handle handle;
    uint64_t id = b.objects + 1;

    if (b.objects == OBJECTS || kl_zs_malloc(b.pool, 32 + below(3000), KL_NOWAIT, &handle) != 0)
        return;
    require(kl_zs_write(b.pool, handle, 0, &id, sizeof(id)) == 0, "an object can't be written");
    b.object[b.objects++] = handle;
}

/* Fills the zone and frees at random; what is left may be pinned. */
static void fill(void)
{
    uint32_t full = 50 + below(49), n = 0;
    static const uint32_t pins[] = {0, 1, 5, 20}; /* in 1000 */
    uint32_t pin = pins[below(4)];

    memset(b.unit, 0, sizeof(b.unit));
    memset(b.object, 0, sizeof(b.object));
    b.objects = 0;
    for (; n < FRAMES && add_unit(n); n++) {
        if (below(8) == 0)
            add_object();
    }
    for (uint32_t i = 0; i < n; i++) {
        if (below(100) >= full) {
            require(kl_frame_free(b.zone, b.owner, b.unit[i].pfn) == 0, "a free was refused");
            b.unit[i].pfn = (kl_pfn){0};
        } else if (below(1000) < pin) {
            b.unit[i].pinned = kl_frame_pin(b.zone, b.owner, b.unit[i].pfn) == 0;
        }
    }
    for (uint32_t i = 0; i < b.objects; i++) {
        if (below(100) >= full && kl_zs_free(b.pool, b.object[i]) == 0)
            b.object[i] = (kl_handle){0};
    }
}

/* Looks at all contents and lets go of everything. */
static void clear(void)
{
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct unit *u = &b.unit[i];

        if (u->pfn.v == 0)
            continue;
        require(stamped(u, (uint64_t)i + 1), "a frame is damaged");
        if (u->pinned)
            kl_frame_unpin(b.zone, b.owner, u->pfn);
        kl_frame_free(b.zone, b.owner, u->pfn);
    }
    for (uint64_t i = 0, id; i < b.objects; i++) {
        if (b.object[i].v != 0)
            require(kl_zs_read(b.pool, b.object[i], 0, &id, sizeof(id)) == 0 && id == i + 1,
                    "an object is damaged");
    }
    require(kl_zone_check(b.zone, NULL) == 0, "the recount is wrong");
    require(kl_zs_destroy(b.pool) == 0 && kl_owner_unregister(b.zone, b.owner) == 0 &&
                kl_zone_destroy(b.zone) == 0,
            "the zone is not empty");
}

/* ---- requests --------------------------------------------------------------- */

static bool feasible(uint32_t n, uint32_t align, bool move)
{
    static uint8_t map[FRAMES], order[FRAMES];
    struct replay_layout layout = {.frames = FRAMES,
                                   .block_order = BLOCK_ORDER,
                                   .map = map,
                                   .order = b.mixed ? order : NULL,
                                   .may_move = move};

    kl_zone_map(b.zone, 0, FRAMES, map);
    memset(order, 0, sizeof(order)); /* the pool's are single */
    for (uint32_t i = 0; b.mixed && i < FRAMES; i++) {
        uint32_t nr = kl_pfn_nr(b.unit[i].pfn);

        if (b.unit[i].pfn.v == 0)
            continue;
        memset(order + nr, UINT8_MAX, (size_t)1 << b.unit[i].order);
        order[nr] = (uint8_t)b.unit[i].order;
    }
    return replay_feasible_contig(&layout, n, align) == 1;
}

static void request(unsigned shape, uint32_t n, uint32_t align, bool move, uint32_t layout)
{
    struct kl_report report = {.size = sizeof(report)};
    struct tally *t = &b.tally[move][shape];
    bool could = feasible(n, align, move);
    kl_pfn first;
    uint64_t start;
    int err;

    b.more = 0;
    start = cpu_ns();
    err = kl_contig_alloc(b.zone, b.owner, n, align, KL_SYNC, &first, &report);
    start = cpu_ns() - start;
    t->asked++;
    t->done += err == 0;
    t->feasible += could;
    t->feasible_done += could && err == 0;
    if (could && err && b.told++ < 5)
        fprintf(stderr, "layout %" PRIu32 ": %" PRIu32 " at %" PRIu32 " is feasible, but %s\n",
                layout, n, align, kl_err_name(err));
    if (err)
        return;
    if (move)
        b.over[shape][b.overs[shape]++] =
            (double)start / (20000.0 + b.copy_ns * (report.migrated + b.more));
    stamp(first, n, 0);
    require(kl_contig_free(b.zone, b.owner, first, n) == 0, "a range can't be freed");
}

static void run_layout(uint32_t layout)
{
    static const uint32_t order[SHAPES - 1] = {3, 9, 10, 11};
    uint32_t random_n = 1 + below(2048), random_align = 1u << below(10);

    open_zone();
    fill();
    for (int move = 0; move < 2; move++) {
        kl_zone_set_migration(b.zone, move);
        for (unsigned s = 0; s < SHAPES - 1; s++)
            request(s, 1u << order[s], order[s] < 9 ? 1u << order[s] : 512, move, layout);
        request(SHAPES - 1, random_n, random_align, move, layout);
    }
    clear();
}

/* ---- memcpy ------------------------------------------------------------------ */

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, c = *(const double *)y;

    return (a > c) - (a < c);
}

/* The median of some runs between random places of two areas of the zone's size. */
static void measure_copy(void)
{
    double ns[9];

    for (int run = 0; run < 9; run++) {
        uint32_t from[COPIES], to[COPIES];
        uint64_t start;

        for (int i = 0; i < COPIES; i++) {
            from[i] = below(FRAMES);
            to[i] = below(FRAMES);
        }
        start = cpu_ns();
        for (int i = 0; i < COPIES; i++)
            memcpy(b.copy + (size_t)to[i] * FRAME, b.memory + (size_t)from[i] * FRAME, FRAME);
        ns[run] = (double)(cpu_ns() - start) / COPIES;
    }
    qsort(ns, 9, sizeof(ns[0]), by_value);
    b.copy_ns = ns[4];
}

/* ---- the whole --------------------------------------------------------------- */

static double part(uint64_t of, uint64_t all)
{
    return all ? (double)of / (double)all : 1;
}

/* Sorts; 0 of nothing. */
static double quantile(double *values, size_t n, unsigned percent)
{
    qsort(values, n, sizeof(*values), by_value);
    return n ? values[n * percent / 100] : 0;
}

static void print_table(void)
{
    static const char *const names[SHAPES] = {"order 3", "order 9", "order 10", "order 11",
                                              "random"};

    printf("%-10s %8s %14s %11s %20s %24s\n", "range", "asked", "without moves", "with moves",
           "feasible and done", "over bound: median, p99");
    for (unsigned s = 0; s < SHAPES; s++) {
        const struct tally *off = &b.tally[0][s], *on = &b.tally[1][s];

        printf("%-10s %8" PRIu64 " %13.1f%% %10.1f%% %9" PRIu64 " of %7" PRIu64 " %18.2f %5.2f\n",
               names[s], on->asked, 100 * part(off->done, off->asked),
               100 * part(on->done, on->asked), on->feasible_done, on->feasible,
               quantile(b.over[s], b.overs[s], 50), quantile(b.over[s], b.overs[s], 99));
    }
}

static double success(void)
{
    uint64_t feasible_all = 0, done = 0;

    for (unsigned s = 0; s < SHAPES; s++) {
        for (int move = 0; move < 2; move++) {
            feasible_all += b.tally[move][s].feasible;
            done += b.tally[move][s].feasible_done;
        }
    }
    return part(done, feasible_all);
}

/* All requests' in one row, at the front. */
static size_t gather(double *all, uint32_t layouts)
{
    size_t n = 0;

    for (int s = 0; s < SHAPES; s++) {
        memmove(all + n, all + (size_t)s * layouts, b.overs[s] * sizeof(*all));
        n += b.overs[s];
    }
    return n;
}

static char *area(void)
{
    void *mem = mmap(NULL, (size_t)FRAMES * FRAME, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    require(mem != MAP_FAILED, "no memory");
    memset(mem, 1, (size_t)FRAMES * FRAME);
    return mem;
}

int main(int argc, char **argv)
{
    uint32_t layouts = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    double *all, p99;

    require(argc > 1 && layouts > 0, "usage: contigbench single|mixed [LAYOUTS [SEED]]");
    all = calloc((size_t)layouts * SHAPES, sizeof(*all));
    b.mixed = strcmp(argv[1], "mixed") == 0;
    b.memory = area();
    b.copy = area();
    for (int s = 0; s < SHAPES; s++) {
        b.over[s] = all + (size_t)s * layouts;
        require(all != NULL, "no memory");
    }
    for (uint32_t i = 0; i < layouts; i++) {
        b.random = (seed << 32 | (i + 1)) * UINT64_C(0x9e3779b97f4a7c15);
        if (i % 100 == 0)
            measure_copy();
        if (i % 1000 == 0 && isatty(STDERR_FILENO))
            fprintf(stderr, "%" PRIu32 " of %" PRIu32 " layouts\r", i, layouts);
        run_layout(i);
    }
    print_table();
    p99 = quantile(all, gather(all, layouts), 99);
    printf("memcpy takes %.0f ns a frame\n", b.copy_ns);
    printf("FIGURES %.4f %.3f\n", success(), p99);
    free(all);
    return 0;
}
