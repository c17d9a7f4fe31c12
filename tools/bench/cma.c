// SPDX-License-Identifier: Apache-2.0
/* cmabench cycles|feasible|false|place [N [SEED]] - areas for contiguous ranges; for
 * bench/cma.sh.
 *
 * cycles: a zone of 192 MiB, an area of 80 MiB in it, and tenants who fill 60 % of what is
 * not the range.  A cycle allocates a range of 64 MiB (or of 1 to 64 MiB, uniformly),
 * releases it, and lets the tenants replace as much of what they have outside of the area as
 * it lacks to be 80 % full, by files of 2 MiB: if nothing is kept, these go there.  The same with
 * deferred free off and on; times are CPU time of the allocation alone (any contents), and of the
 * tenants.  Then the same with tenants who want more than there is elsewhere, so that what is kept
 * goes to them. place: what it brings that movable frames go into the area first: an elastic zone,
 * tenants and unmovable frames that grow by turns, ranges between. */
#include "cma.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FRAME = 4096, MIB = 256 /* frames */, AREA = 80 * MIB, RANGE = 64 * MIB, FILE_FRAMES = 512 };

struct bench b;

/* ---- the zone and its tenants ---- */

uint32_t below(uint32_t n)
{
    b.random ^= b.random << 13;
    b.random ^= b.random >> 7;
    b.random ^= b.random << 17;
    return (uint32_t)(((b.random >> 32) * n) >> 32);
}

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
    b.tenant[id - 1].pfn = dst;
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

static void open_on(const struct kl_backing *backing)
{
    const struct kl_owner_ops ops = {.size = sizeof(ops),
                                     .name = "tenants",
                                     .isolate = isolate,
                                     .migrate = migrate,
                                     .putback = putback};
    const struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = backing};

    b.tenants = 0;
    b.tenant = need((size_t)b.frames * sizeof(*b.tenant));
    must(kl_zone_create(&config, &b.zone), "zone");
    must(kl_owner_register(b.zone, &ops, NULL, &b.owner), "owner");
}

void bench_open(uint32_t frames, unsigned block_order)
{
    struct kl_backing backing;

    if (!b.memory) {
        b.memory = mmap(NULL, (size_t)CMA_ZONE_FRAMES * FRAME, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (b.memory == MAP_FAILED)
            die("no memory");
    }
    b.frames = frames;
    b.block_order = block_order;
    must(kl_backing_memory(&backing, b.memory, (uint64_t)frames * FRAME, 12, block_order),
         "memory");
    open_on(&backing);
}

void bench_area(unsigned i, uint32_t first, uint32_t frames, uint64_t defer_bytes)
{
    const struct kl_cma_config config = {.size = sizeof(config),
                                         .name = "bench",
                                         .base = kl_zone_pfn(b.zone, first),
                                         .frames = frames,
                                         .defer_bytes = defer_bytes};

    must(kl_cma_create(b.zone, &config, &b.area[i]), "area");
}

struct kl_cma_stats area_stats(unsigned i)
{
    struct kl_cma_stats s = {.size = sizeof(s)};

    kl_cma_get_stats(b.area[i], &s);
    return s;
}

bool tenant_add(uint32_t i, unsigned flags)
{
    struct tenant *t = &b.tenant[i];
    uint64_t id = (uint64_t)i + 1;

    if (kl_frame_alloc(b.zone, 0, b.owner, KL_MOVABLE | flags, &t->pfn) != 0)
        return false;
    kl_frame_set_private(b.zone, t->pfn, id);
    memcpy(kl_frame_addr(b.zone, t->pfn), &id, sizeof(id));
    b.tenants = i >= b.tenants ? i + 1 : b.tenants;
    return true;
}

void tenant_drop(uint32_t i)
{
    struct tenant *t = &b.tenant[i];
    uint64_t id = (uint64_t)i + 1;

    if (t->pfn.v == 0)
        return;
    if (memcmp(kl_frame_addr(b.zone, t->pfn), &id, sizeof(id)) != 0)
        die("a frame is damaged");
    if (t->pinned)
        must(kl_frame_unpin(b.zone, b.owner, t->pfn), "unpin");
    must(kl_frame_free(b.zone, b.owner, t->pfn), "free");
    *t = (struct tenant){.pinned = false};
}

void bench_close(void)
{
    for (uint32_t i = 0; i < b.tenants; i++)
        tenant_drop(i);
    for (unsigned i = 0; i < CMA_AREAS; i++) {
        if (b.area[i])
            must(kl_cma_check(b.area[i], NULL) ? -KL_EIO : kl_cma_destroy(b.area[i]), "area's end");
        b.area[i] = NULL;
    }
    must(kl_zone_check(b.zone, NULL), "recount");
    must(kl_owner_unregister(b.zone, b.owner), "owner's end");
    must(kl_zone_destroy(b.zone), "zone's end");
    free(b.tenant);
}

/* ---- cycles ---- */

struct cycles {
    uint64_t alloc_ns, tenants_ns, moved, refused, tenants, inside; /* sums */
    uint32_t files;
    struct kl_cma_stats area;
};

static bool in_area(kl_pfn pfn)
{
    return kl_pfn_nr(pfn) >= b.frames - AREA;
}

static uint32_t inside(void)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < b.tenants; i++)
        n += in_area(b.tenant[i].pfn);
    return n;
}

/* Files are rows of tenants; some are there and some not. */
static bool is_read(uint32_t file)
{
    return b.tenant[(size_t)file * FILE_FRAMES].pfn.v != 0;
}

static uint32_t drop_files(const uint32_t *order, uint32_t files, uint32_t n)
{
    for (uint32_t i = 0; i < files && n > 0; i++) {
        if (!is_read(order[i]) || in_area(b.tenant[(size_t)order[i] * FILE_FRAMES].pfn))
            continue;
        for (uint32_t f = order[i] * FILE_FRAMES; f < (order[i] + 1) * FILE_FRAMES; f++)
            tenant_drop(f);
        n--;
    }
    return n;
}

static void read_files(const uint32_t *order, uint32_t files, uint32_t n, struct cycles *sum)
{
    for (uint32_t i = files; i > 0 && n > 0; i--) {
        if (is_read(order[i - 1]))
            continue;
        for (uint32_t f = order[i - 1] * FILE_FRAMES; f < (order[i - 1] + 1) * FILE_FRAMES; f++) {
            sum->refused += !tenant_add(f, 0);
            sum->inside += in_area(b.tenant[f].pfn);
        }
        sum->tenants += FILE_FRAMES;
        n--;
    }
}

/* As many files as lack for the area to be 80 % full: so many, of those outside and at
 * random, are dropped and others read; or read first, if they grow. */
static void replace(struct cycles *sum, bool grow)
{
    uint32_t full = AREA / 5 * 4, in = inside(), files = b.frames / FILE_FRAMES;
    uint32_t n = in < full ? (full - in) / FILE_FRAMES : 0, *order = shuffled(files, below(9999));
    uint64_t start = cpu_ns();

    if (grow) {
        n = (uint32_t)(n < files - sum->files ? n : files - sum->files);
        read_files(order, files, n, sum);
        drop_files(order, files, n);
    } else {
        n -= drop_files(order, files, n);
        read_files(order, files, n, sum);
    }
    sum->tenants_ns += cpu_ns() - start;
    free(order);
}

static void one_cycle(struct cycles *sum, bool uniform, unsigned flags, bool grow)
{
    uint32_t n = uniform ? (1 + below(64)) * MIB : RANGE;
    struct kl_report report = {.size = sizeof(report)};
    kl_pfn first;
    uint64_t start = cpu_ns();

    must(kl_cma_alloc(b.area[0], n, MIB, flags, KL_SYNC, &first, &report), "a range");
    sum->alloc_ns += cpu_ns() - start;
    sum->moved += report.migrated;
    must(kl_cma_release(b.area[0], first, n), "release");
    replace(sum, grow);
}

/* full: files, in per cent of what the zone has beside a range. */
static struct cycles run_cycles(uint64_t defer, bool uniform, unsigned flags, uint32_t full,
                                uint32_t n)
{
    uint32_t files = (CMA_ZONE_FRAMES - RANGE) / 100 * full / FILE_FRAMES;
    struct cycles sum = {.files = files}, warm = {.files = files};
    bool grow = full > 90;

    bench_open(CMA_ZONE_FRAMES, 9);
    bench_area(0, b.frames - AREA, AREA, defer);
    for (uint32_t i = 0; i < files * FILE_FRAMES; i++) {
        if (!tenant_add(i, 0))
            die("no room for the tenants");
    }
    for (uint32_t i = 0; i < 3; i++)
        one_cycle(&warm, uniform, flags, grow);
    for (uint32_t i = 0; i < n; i++)
        one_cycle(&sum, uniform, flags, grow);
    sum.area = area_stats(0);
    bench_close();
    return sum;
}

static double part(uint64_t a, uint64_t of)
{
    return of ? (double)a / (double)of : 0;
}

static void print_cycles(const char *what, const struct cycles *c, uint32_t n)
{
    printf("  %-4s alloc %9.1f us, %7.0f moved, tenants: %5.0f ns each, %4.1f %% in the area, "
           "%" PRIu64 " refused; %" PRIu64 " exact, %" PRIu64 " partial, %" PRIu64 " missed\n",
           what, (double)c->alloc_ns / n / 1e3, part(c->moved, n), part(c->tenants_ns, c->tenants),
           100 * part(c->inside, c->tenants), c->refused, c->area.exact, c->area.partial,
           c->area.missed);
}

/* Alternately off and on, so that both meet the same machine. */
static void compare(const char *name, bool uniform, unsigned flags, uint32_t full, uint32_t n)
{
    enum { RUNS = 3 };
    double ratio[RUNS], tenants[RUNS];
    struct cycles off = {0}, on = {0};

    for (unsigned i = 0; i < RUNS; i++) {
        off = run_cycles(0, uniform, flags, full, n);
        on = run_cycles(UINT64_MAX, uniform, flags, full, n);
        ratio[i] = part(off.alloc_ns, on.alloc_ns);
        tenants[i] = part(on.tenants_ns, on.tenants) / part(off.tenants_ns, off.tenants);
    }
    printf("%s, tenants fill %" PRIu32 " %% of the rest, %" PRIu32 " cycles:\n", name, full, n);
    print_cycles("off", &off, n);
    print_cycles("on", &on, n);
    printf("RATIO cma.%s %.3g\n", name, median(ratio, RUNS));
    printf("RATIO cma.%s_tenants_time %.3f\n", name, median(tenants, RUNS));
    printf("RATIO cma.%s_tenants_refused %" PRIu64 "\n", name, on.refused - off.refused);
}

static void cycles(uint32_t n)
{
    compare("deferred_speedup", false, KL_CMA_ANY_CONTENTS, 60, n);
    compare("deferred_speedup_uniform", true, KL_CMA_ANY_CONTENTS, 60, n);
    compare("deferred_speedup_zeroed", false, 0, 60, n);
    compare("deferred_speedup_needed", false, KL_CMA_ANY_CONTENTS, 99, n);
}

/* ---- where movable frames go ---- */

static void place(uint32_t rounds)
{
    const struct kl_linux_backing_config config = {
        .size = sizeof(config), .kind = KL_LINUX_MEMFD, .bytes = (uint64_t)CMA_ZONE_FRAMES * FRAME};
    struct kl_zone_stats s = {.size = sizeof(s)};
    struct kl_linux_backing *backing;
    kl_pfn *stuck = need((size_t)CMA_ZONE_FRAMES * sizeof(*stuck)), first;
    uint32_t nstuck = 0, tenants = 0, most = 0;

    b.frames = CMA_ZONE_FRAMES;
    must(kl_linux_backing_create(&config, &backing), "backing");
    open_on(kl_linux_backing_get(backing));
    bench_area(0, b.frames - RANGE, RANGE, 0);
    for (uint32_t r = 0; r < rounds; r++) {
        for (uint32_t i = 0; i < 100 * MIB / rounds && tenant_add(tenants, 0); i++)
            tenants++;
        for (uint32_t i = 0; i < 60 * MIB / rounds; i++)
            nstuck += kl_frame_alloc(b.zone, 0, b.owner, 0, &stuck[nstuck]) == 0;
        kl_zone_get_stats(b.zone, &s);
        most = s.present_blocks > most ? s.present_blocks : most;
        if (kl_cma_alloc(b.area[0], 8 * MIB, 1, KL_CMA_ANY_CONTENTS, KL_SYNC, &first, NULL) == 0)
            must(kl_cma_release(b.area[0], first, 8 * MIB), "release");
        if (r == rounds / 2)
            printf("  half way: %" PRIu32 " blocks have memory, %" PRIu32 " frames in use\n",
                   s.present_blocks, s.used_frames);
    }
    printf("  in the end: %" PRIu32 " blocks at most, mixed %" PRIu64 ", moved by ranges %" PRIu64
           ", by all %" PRIu64 ", refused %" PRIu64 ", unmovable frames %" PRIu32 "\n",
           most, s.mixed, area_stats(0).migrated, s.migrated, s.refused, nstuck);
    while (nstuck > 0)
        must(kl_frame_free(b.zone, b.owner, stuck[--nstuck]), "free");
    free(stuck);
    bench_close();
    kl_linux_backing_destroy(backing);
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 20;

    b.random = (argc > 3 ? strtoull(argv[3], NULL, 10) : 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    if (argc < 2 || n == 0)
        die("usage: cmabench cycles|feasible|false|place [N [SEED]]");
    if (strcmp(argv[1], "cycles") == 0)
        cycles(n);
    else if (strcmp(argv[1], "feasible") == 0)
        run_feasible(n);
    else if (strcmp(argv[1], "false") == 0)
        run_false_failures(n);
    else if (strcmp(argv[1], "place") == 0)
        place(n);
    else
        die("%s?", argv[1]);
    return 0;
}
