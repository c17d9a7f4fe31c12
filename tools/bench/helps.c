// SPDX-License-Identifier: Apache-2.0
/* helpsbench CORPUS CHUNKS [SEED [MIB]] - what large requests gain from movability; for
 * bench/helps.sh.
 *
 * Two zones of 448 MiB (or so many) live through one history (helps_load.c), the one with migration
 * off, the other with it on: a store of 4 KiB blocks that are overwritten and trimmed at random,
 * the corpus their contents; three page pools (orders 0, 2, 4) whose users come and go; an area of
 * 96 MiB, from which a device has ranges of 1 to 16 MiB for a while.  The zones are 60 to 95 %
 * full, and step in the background.  Every 8 chunks of 512 operations both are asked for
 *
 *   order3   16 times 32 KiB, held together, by kl_frame_alloc
 *   order9   4 times 2 MiB
 *   range    64 MiB by kl_contig_alloc
 *   area     64 MiB by kl_cma_alloc
 *
 * and get it all back.  A request has room where as many frames are free in the zone (in the
 * area, or anywhere for what must leave it): without that nobody could serve it.
 *
 * Prints tables, then for gnuplot lines
 *   AGE operations full_off full_on {asked done_off done_on} of each shape
 * of a twentieth of the history each, and RATIO lines. */
#include "helps.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER3, ORDER9, CONTIG, IN_AREA, SHAPES, AGES = 20, PROBE = 8 };

static const char *const shape_name[SHAPES] = {"order3", "order9", "range", "area"};
static const uint32_t shape_times[SHAPES] = {16, 4, 1, 1};
static const uint32_t shape_frames[SHAPES] = {8, 512, RANGE, RANGE};

/* Of one shape in one world. */
struct tally {
    uint64_t asked, room, done, moved;
    double *ns, *vain; /* of each that was done; and that was not */
};
static struct tally tally[WORLDS][SHAPES];
static struct age {
    uint64_t ops, asked[SHAPES], done[WORLDS][SHAPES], probes;
    double full[WORLDS];
} age[AGES];

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

static double part(uint64_t a, uint64_t of)
{
    return of ? (double)a / (double)of : 0;
}

/* ---- requests ---- */

static int ask(struct world *w, unsigned shape, kl_pfn *first)
{
    switch (shape) {
    case ORDER3:
        return kl_frame_alloc(w->zone, 3, w->owner, 0, first);
    case ORDER9:
        return kl_frame_alloc(w->zone, 9, w->owner, 0, first);
    case CONTIG:
        return kl_contig_alloc(w->zone, w->owner, RANGE, 512, KL_SYNC, first, NULL);
    default:
        return kl_cma_alloc(w->area, RANGE, 512, KL_CMA_ANY_CONTENTS, KL_SYNC, first, NULL);
    }
}

static void give(struct world *w, unsigned shape, kl_pfn first)
{
    if (shape == CONTIG)
        must(kl_contig_free(w->zone, w->owner, first, RANGE), "a range's end");
    else if (shape == IN_AREA)
        must(kl_cma_release(w->area, first, RANGE), "release");
    else
        must(kl_frame_free(w->zone, w->owner, first), "free");
}

static void probe(struct world *w, struct tally *t, unsigned shape, struct age *a)
{
    kl_pfn held[16];
    uint32_t n = 0;

    for (uint32_t i = 0; i < shape_times[shape]; i++) {
        struct kl_zone_stats before = zone_stats(w);
        uint64_t start = cpu_ns(), ns;
        int err = ask(w, shape, &held[n]);

        ns = cpu_ns() - start;
        if (err != 0 && err != -KL_ENOMEM && err != -KL_EBUSY)
            must(err, shape_name[shape]);
        t->asked++;
        t->room += before.free_frames >= shape_frames[shape];
        t->moved += zone_stats(w).migrated - before.migrated;
        if (err == 0)
            t->ns[t->done++] = (double)ns;
        else
            t->vain[t->asked - t->done - 1] = (double)ns;
        a->done[w == &world[ON]][shape] += err == 0;
        n += err == 0;
    }
    while (n > 0)
        give(w, shape, held[--n]);
}

static void probe_all(struct age *a)
{
    load_idle();
    for (unsigned i = 0; i < WORLDS; i++) {
        struct kl_zone_stats s = zone_stats(&world[i]);

        a->full[i] += 100 * part(s.used_frames, zone_frames);
        for (unsigned shape = 0; shape < SHAPES; shape++)
            probe(&world[i], &tally[i][shape], shape, a);
    }
    for (unsigned shape = 0; shape < SHAPES; shape++)
        a->asked[shape] += shape_times[shape];
    a->probes++;
}

/* ---- what is printed ---- */

static void print_shape(unsigned shape)
{
    printf("%s, %" PRIu64 " asked:\n", shape_name[shape], tally[ON][shape].asked);
    for (unsigned i = 0; i < WORLDS; i++) {
        struct tally *t = &tally[i][shape];

        printf("  %-3s %5.1f %% done (room for %5.1f %%); us: %8.1f median, %8.1f p99; in vain "
               "%8.1f median; %7.1f moved each\n",
               i == ON ? "on" : "off", 100 * part(t->done, t->asked), 100 * part(t->room, t->asked),
               quantile(t->ns, t->done, 50) / 1e3, quantile(t->ns, t->done, 99) / 1e3,
               quantile(t->vain, t->asked - t->done, 50) / 1e3, part(t->moved, t->asked));
    }
    for (unsigned i = 0; i < WORLDS; i++)
        printf("RATIO helps.%s_%s %.4f\n", shape_name[shape], i == ON ? "on" : "off",
               part(tally[i][shape].done, tally[i][shape].asked));
}

static const char *const kind_name[KINDS] = {"write", "trim", "pool", "device", "step"};

/* Of the quotients on over off of the chunks that have both. */
static double quotient(unsigned kind, uint32_t chunks)
{
    double *all = need((size_t)chunks * sizeof(*all)), middle;
    size_t n = 0;

    for (uint32_t i = 0; i < chunks; i++) {
        double off = world[OFF].ns_each[kind][i], on = world[ON].ns_each[kind][i];

        if (off > 0 && on > 0)
            all[n++] = on / off;
    }
    middle = quantile(all, n, 50);
    free(all);
    return middle;
}

static void print_costs(uint32_t chunks)
{
    uint64_t ns[WORLDS] = {0}, by_requests = 0, ops = world[ON].done[WRITE] + world[ON].done[TRIM];

    printf("ordinary operations: ns each off, on; refused off, on\n");
    for (unsigned k = 0; k < KINDS; k++) {
        const struct world *off = &world[OFF], *on = &world[ON];

        printf("  %-6s %9" PRIu64 " done: %9.0f %9.0f; %8" PRIu64 " %8" PRIu64 "\n", kind_name[k],
               on->done[k], part(off->ns[k], off->done[k]), part(on->ns[k], on->done[k]),
               off->refused[k], on->refused[k]);
        ns[OFF] += off->ns[k];
        ns[ON] += on->ns[k];
        if (k < DRIVE)
            printf("RATIO helps.%s_time %.3f\n", kind_name[k], quotient(k, chunks));
    }
    for (unsigned shape = 0; shape < SHAPES; shape++)
        by_requests += tally[ON][shape].moved;
    printf("moved: %" PRIu64 " by these requests, %" PRIu64 " by all; a frame's memcpy is copied "
           "with each\n",
           by_requests, zone_stats(&world[ON]).migrated);
    printf("RATIO helps.all_time %.3f\n", part(ns[ON], ns[OFF]));
    printf("RATIO helps.moved_per_operation %.3f\n",
           part(zone_stats(&world[ON]).migrated - by_requests, ops));
    for (unsigned k = WRITE; k <= DRIVE; k += k == WRITE ? 2 : 1)
        printf("RATIO helps.%s_refused_off %.5f\nRATIO helps.%s_refused_on %.5f\n", kind_name[k],
               part(world[OFF].refused[k], world[OFF].done[k]), kind_name[k],
               part(world[ON].refused[k], world[ON].done[k]));
}

static void print_ages(void)
{
    for (const struct age *a = age; a < age + AGES; a++) {
        if (a->probes == 0)
            continue;
        printf("AGE %" PRIu64 " %.1f %.1f", a->ops, a->full[OFF] / (double)a->probes,
               a->full[ON] / (double)a->probes);
        for (unsigned s = 0; s < SHAPES; s++)
            printf(" %" PRIu64 " %" PRIu64 " %" PRIu64, a->asked[s], a->done[OFF][s],
                   a->done[ON][s]);
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    uint32_t chunks = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    unsigned long mib = argc > 4 ? strtoul(argv[4], NULL, 10) : 448;
    struct corpus corpus;

    if (argc < 3 || argc > 5 || chunks == 0 || chunks > 1000000 || seed == 0 || mib < 160 ||
        mib > 448 || mib % 2 > 0)
        die("usage: helpsbench CORPUS CHUNKS [SEED [MIB]], 160 to 448 MiB");
    zone_frames = (uint32_t)mib * MIB;
    corpus = corpus_map(argv[1]);
    for (unsigned i = 0; i < WORLDS * SHAPES; i++) {
        struct tally *t = &tally[i / SHAPES][i % SHAPES];

        t->ns = need((size_t)(chunks / PROBE + 1) * shape_times[i % SHAPES] * sizeof(double));
        t->vain = need((size_t)(chunks / PROBE + 1) * shape_times[i % SHAPES] * sizeof(double));
    }
    load_open(&corpus, seed * UINT64_C(0x9e3779b97f4a7c15) | 1, chunks);
    load_fill();
    for (uint32_t i = 0; i < chunks; i++) {
        struct age *a = &age[(uint64_t)i * AGES / chunks];

        load_chunk(i);
        a->ops = (uint64_t)(i + 1) * CHUNK;
        if (i % PROBE == PROBE - 1)
            probe_all(a);
    }
    for (unsigned shape = 0; shape < SHAPES; shape++)
        print_shape(shape);
    print_costs(chunks);
    print_ages();
    load_close();
    return 0;
}
