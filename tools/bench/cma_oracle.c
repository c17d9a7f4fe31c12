// SPDX-License-Identifier: Apache-2.0
/* Areas against an oracle, as tests/unit/test_cma_oracle.c does it in small: zones of
 * 16 blocks of 512 frames, 50 to 98 % full, two areas in them.
 *
 * feasible: ranges of orders 3, 9, 10, 11 and of random shapes.  Before each one the layout is
 * frozen, and every place looked at.  The bound of a request is 20 us and the time in
 * which memcpy copies as many frames as it moved (as tools/contigbench.c has it).
 * false: what fails while ranges are kept is asked again with deferred free off and nothing
 * kept; what succeeds then was a false failure. */
#include "cma.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ORDER = 9,
    PER = 512,
    BLOCKS = 16,
    FRAMES = BLOCKS * PER,
    HELD = 24,
    SHAPES = 5,
    COPIES = 512
};

static const uint32_t at_block[CMA_AREAS] = {3, 8};
static uint32_t blocks[CMA_AREAS];

static struct held {
    struct kl_cma *area; /* NULL: none */
    kl_pfn first;
    uint32_t n;
} held[HELD];

static void drop_held(struct held *h)
{
    if (h->area)
        must(kl_cma_release(h->area, h->first, h->n), "release");
    h->area = NULL;
}

static void lay_out(bool small)
{
    static const uint32_t pins[] = {0, 1, 5, 20}; /* in 1000 */
    uint32_t full = 50 + below(49), pin = pins[below(4)];

    bench_open(FRAMES, ORDER);
    for (unsigned i = 0; i < CMA_AREAS; i++) {
        blocks[i] = small ? 1 : 4 * (i + 1);
        bench_area(i, at_block[i] * PER, blocks[i] * PER, UINT64_MAX);
    }
    for (uint32_t i = 0; i < FRAMES && tenant_add(i, KL_NOWAIT); i++)
        ;
    for (uint32_t i = 0; i < b.tenants; i++) {
        if (below(100) >= full)
            tenant_drop(i);
        else if (below(1000) < pin)
            b.tenant[i].pinned = kl_frame_pin(b.zone, b.owner, b.tenant[i].pfn) == 0;
    }
}

static void clear(void)
{
    for (unsigned i = 0; i < HELD; i++)
        drop_held(&held[i]);
    bench_close();
}

/* A range comes and another goes, so that some are kept. */
static void stir(void)
{
    struct held *h = &held[below(HELD)];
    unsigned i = below(CMA_AREAS);
    uint32_t n = 1 + below(below(2) ? 40 : PER);

    drop_held(h);
    if (kl_cma_alloc(b.area[i], n, 1, KL_CMA_ANY_CONTENTS, KL_SYNC, &h->first, NULL) == 0)
        *h = (struct held){b.area[i], h->first, n};
    if (below(2))
        drop_held(&held[below(HELD)]);
}

/* ---- ranges, whenever they can ---- */

static bool is_held(uint32_t nr)
{
    for (unsigned i = 0; i < HELD; i++) {
        uint32_t first = kl_pfn_nr(held[i].first);

        if (held[i].area && nr >= first && nr < first + held[i].n)
            return true;
    }
    return false;
}

/* Only areas have unmovable frames here: those that nobody holds are kept, and free. */
static bool feasible(unsigned i, uint32_t n, uint32_t align)
{
    static uint8_t map[FRAMES];
    uint32_t room = 0, run = 0, end = (at_block[i] + blocks[i]) * PER;
    bool place = false;

    must(kl_zone_map(b.zone, 0, FRAMES, map), "map");
    for (uint32_t nr = 0; nr < FRAMES; nr++) {
        bool unused = map[nr] == KL_FRAME_FREE || (map[nr] == KL_FRAME_UNMOVABLE && !is_held(nr));

        room += unused;
        map[nr] = unused || map[nr] == KL_FRAME_MOVABLE;
    }
    for (uint32_t nr = at_block[i] * PER; nr < end; nr++) {
        run = map[nr] ? run + 1 : 0;
        place |= run >= n && (nr + 1) / align * align >= align &&
                 (nr + 1 - n) / align * align >= nr + 1 - run;
    }
    return place && room >= n;
}

static struct {
    uint64_t asked, feasible, done;
    double *over;
    size_t overs;
} tally[SHAPES];

static double copy_ns;

static void measure_copy(void)
{
    double ns[9];

    for (int run = 0; run < 9; run++) {
        uint64_t start;
        uint32_t at[COPIES];

        for (int i = 0; i < COPIES; i++)
            at[i] = below(FRAMES);
        start = cpu_ns();
        for (int i = 0; i < COPIES; i++)
            memcpy(b.memory + (size_t)(FRAMES + at[i]) * PAGE, b.memory + (size_t)at[i] * PAGE,
                   PAGE);
        ns[run] = (double)(cpu_ns() - start) / COPIES;
    }
    copy_ns = median(ns, 9);
}

static void request(unsigned shape, uint32_t n, uint32_t align)
{
    struct kl_report report = {.size = sizeof(report)};
    unsigned i = below(CMA_AREAS);
    struct kl_cma *area = b.area[i];
    uint64_t start;
    kl_pfn first;
    bool could;
    int err;

    if (n > blocks[i] * PER)
        return;
    could = feasible(i, n, align);
    start = cpu_ns();
    err = kl_cma_alloc(area, n, align, KL_CMA_ANY_CONTENTS, KL_SYNC, &first, &report);
    start = cpu_ns() - start;
    tally[shape].asked++;
    tally[shape].feasible += could;
    tally[shape].done += could && err == 0;
    if (could != (err == 0))
        fprintf(stderr, "%" PRIu32 " at %" PRIu32 ": %s\n", n, align, kl_err_name(err));
    if (err)
        return;
    tally[shape].over[tally[shape].overs++] = (double)start / (20000.0 + copy_ns * report.migrated);
    must(kl_cma_release(area, first, n), "release");
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, c = *(const double *)y;

    return (a > c) - (a < c);
}

static double quantile(double *values, size_t n, unsigned percent)
{
    qsort(values, n, sizeof(*values), by_value);
    return n ? values[n * percent / 100] : 0;
}

static void print_feasible(double *all)
{
    static const char *const names[SHAPES] = {"order 3", "order 9", "order 10", "order 11",
                                              "random"};
    uint64_t could = 0, done = 0;
    size_t n = 0;

    printf("%-10s %8s %20s %24s\n", "range", "asked", "feasible and done",
           "over bound: median, p99");
    for (unsigned s = 0; s < SHAPES; s++) {
        could += tally[s].feasible;
        done += tally[s].done;
        memcpy(all + n, tally[s].over, tally[s].overs * sizeof(*all));
        n += tally[s].overs;
        printf("%-10s %8" PRIu64 " %9" PRIu64 " of %7" PRIu64 " %18.2f %5.2f\n", names[s],
               tally[s].asked, tally[s].done, tally[s].feasible,
               quantile(tally[s].over, tally[s].overs, 50),
               quantile(tally[s].over, tally[s].overs, 99));
    }
    printf("memcpy takes %.0f ns a frame\n", copy_ns);
    printf("RATIO cma.success_when_feasible %.4f\n", could ? (double)done / (double)could : 1);
    printf("RATIO cma.p99_over_copy_bound %.3f\n", quantile(all, n, 99));
}

void run_feasible(uint32_t layouts)
{
    static const uint32_t order[SHAPES - 1] = {3, 9, 10, 11};

    for (unsigned s = 0; s < SHAPES; s++)
        tally[s].over = need((size_t)layouts * sizeof(double));
    for (uint32_t l = 0; l < layouts; l++) {
        lay_out(false);
        if (l % 100 == 0)
            measure_copy();
        for (unsigned s = 0; s < SHAPES; s++) {
            stir();
            if (s < SHAPES - 1)
                request(s, 1u << order[s], order[s] < ORDER ? 1u << order[s] : PER);
            else
                request(s, 1 + below(4 * PER), 1u << below(10));
        }
        clear();
    }
    print_feasible(need((size_t)layouts * SHAPES * sizeof(double)));
}

/* ---- nothing fails for what is kept ---- */

enum { TENANT, UNMOVABLE, CONTIG, GIVE, RANGE, WHATS };
struct ask {
    unsigned what, order, flags, area;
    uint32_t n, align, tenant;
};

static int try_frames(const struct ask *q, unsigned flags)
{
    kl_pfn first;
    int err = kl_frame_alloc(b.zone, q->order, b.owner, q->flags | flags, &first);

    if (!err)
        must(kl_frame_free(b.zone, b.owner, first), "free");
    return err;
}

/* Once; what succeeds is undone, but a tenant's frame stays. */
static int try(const struct ask *q)
{
    kl_pfn first;
    int err;

    switch (q->what) {
    case TENANT:
        if (q->order > 0)
            return try_frames(q, KL_MOVABLE);
        return b.tenant[q->tenant].pfn.v || tenant_add(q->tenant, q->flags) ? 0 : -KL_ENOMEM;
    case UNMOVABLE:
        return try_frames(q, 0);
    case CONTIG:
        err = kl_contig_alloc(b.zone, b.owner, q->n, q->align, KL_SYNC, &first, NULL);
        if (!err)
            must(kl_contig_free(b.zone, b.owner, first, q->n), "free");
        return err;
    case GIVE:
        err = kl_zone_give_back(b.zone, 1, KL_SYNC, NULL);
        if (!err)
            must(kl_zone_lend(b.zone, 1), "lend");
        return err;
    default:
        err = kl_cma_alloc(b.area[q->area], q->n, q->align, KL_CMA_ANY_CONTENTS, KL_SYNC, &first,
                           NULL);
        if (!err)
            must(kl_cma_release(b.area[q->area], first, q->n), "release");
        return err;
    }
}

static struct ask any_ask(void)
{
    static const unsigned flags[] = {0, KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK};

    return (struct ask){.what = below(3) ? TENANT : below(WHATS),
                        .order = below(4) ? 0 : below(ORDER + 1),
                        .flags = flags[below(4)],
                        .area = below(CMA_AREAS),
                        .n = 1 + below(PER),
                        .align = 1u << below(ORDER),
                        .tenant = below(FRAMES)};
}

static bool fails_falsely(const struct ask *q)
{
    bool fails;

    for (unsigned i = 0; i < CMA_AREAS; i++)
        kl_cma_defer(b.area[i], 0, 0);
    fails = try(q) == 0;
    for (unsigned i = 0; i < CMA_AREAS; i++)
        kl_cma_defer(b.area[i], UINT64_MAX, 0);
    return fails;
}

void run_false_failures(uint32_t layouts)
{
    uint64_t asked[WHATS] = {0}, failed[WHATS] = {0}, falsely[WHATS] = {0}, sum = 0;
    static const char *const names[WHATS] = {"movable", "unmovable", "contiguous", "give back",
                                             "ranges"};

    for (uint32_t l = 0; l < layouts; l++) {
        lay_out(l % 2);
        for (unsigned i = 0; i < 400; i++) {
            struct ask q = any_ask();
            bool bad;

            stir();
            bad = try(&q) != 0;
            asked[q.what]++;
            failed[q.what] += bad;
            falsely[q.what] += bad && fails_falsely(&q);
        }
        clear();
    }
    for (unsigned w = 0; w < WHATS; w++) {
        printf("%-10s %8" PRIu64 " asked, %8" PRIu64 " failed, %" PRIu64 " of them falsely\n",
               names[w], asked[w], failed[w], falsely[w]);
        sum += falsely[w];
    }
    printf("RATIO cma.false_failures %" PRIu64 "\n", sum);
}
