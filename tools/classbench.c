// SPDX-License-Identifier: Apache-2.0
/* classbench - how much of a pool's frames tables of size classes waste.
 *
 *   classbench [--zstd] [--block BYTES] [--frame BYTES] [--classes MIB] FILE
 *
 * FILE is cut in blocks, which are compressed (lz4, or zstd at level 1) as the store
 * does it: a block of one repeated word costs nothing, one that gains less than 64
 * bytes is kept raw.  For pools of several sizes (MiB of blocks, picked evenly from
 * the file, several times each if it has fewer) it counts the frames that each table
 * needs for the sizes that came out, and prints what is over them, in per cent.
 *
 *   kernel    a size every 16 bytes to 4 KiB, chains to 8, 8 bytes a handle
 *   fixed     a size every 16 bytes to 4 KiB, then 2.5 % to 4 %; the shortest chain
 *             that wastes under 1/64 of itself (Klotski's before it had a program)
 *   blind     zs_plan for the prior: what a pool has that is told its block size and
 *             that so much is its limit, half of which it is planned for
 *   learned   zs_plan for these very sizes
 *   blind/w, learned/w   the same, planned as though a last zspage had all its frames
 *
 * Each is counted twice: `whole`, where the last zspage of a class has all its frames,
 * and `grown`, where it has those that its objects need. */
#include "zs/plan.h"

#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

enum { LARGEST = 65536, BUCKETS = LARGEST / ZS_PLAN_STEP, LEAST_GAIN = 64, MOST_CLASSES = 8192 };

struct table {
    struct zs_shape shape[MOST_CLASSES];
    uint32_t n;
    uint32_t extra;    /* bytes an object has beside its own */
    uint32_t raw_from; /* objects as large or larger take a frame */
};

static struct {
    bool zstd;
    uint32_t block, frame;
    unsigned show;
    const char *path;
} options = {.block = 4096, .frame = 4096};

static uint32_t *sizes; /* of every block that has an object */
static uint64_t nsizes, blocks;

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "classbench: %s\n", what);
    exit(1);
}

/* --- what comes out of the compressor --------------------------------------- */

static bool is_same(const char *block)
{
    return memcmp(block, block + 4, options.block - 4) == 0;
}

static uint32_t packed_size(const char *block, char *out, ZSTD_CCtx *context)
{
    size_t room = options.block - LEAST_GAIN, n;

    if (!options.zstd) {
        n = (size_t)LZ4_compress_default(block, out, (int)options.block, (int)room);
    } else {
        n = ZSTD_compressCCtx(context, out, room, block, options.block, 1);
        if (ZSTD_isError(n))
            n = 0;
    }
    return n > 0 ? (uint32_t)n : options.block;
}

static void read_file(void)
{
    FILE *file = fopen(options.path, "rb");
    char *block = malloc(options.block), *out = malloc(options.block);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    uint64_t room = 0;

    if (!file || !block || !out || !context)
        die("cannot open the file, or no memory");
    while (fread(block, options.block, 1, file) == 1) {
        blocks++;
        if (is_same(block))
            continue;
        if (nsizes == room) {
            room = room ? 2 * room : 1 << 16;
            sizes = realloc(sizes, room * sizeof(*sizes));
            if (!sizes)
                die("no memory");
        }
        sizes[nsizes++] = packed_size(block, out, context);
    }
    if (nsizes == 0)
        die("the file has no block that needs memory");
    ZSTD_freeCCtx(context);
    free(out);
    free(block);
    fclose(file);
}

/* --- tables ------------------------------------------------------------------ */

static struct zs_shape shape_of(uint32_t size, uint32_t chain)
{
    return (struct zs_shape){size, (uint16_t)chain, (uint16_t)(chain * options.frame / size)};
}

/* Sizes ascend; one with the same chain and objects as the last takes its place. */
static void add(struct table *t, struct zs_shape shape)
{
    struct zs_shape *last = &t->shape[t->n ? t->n - 1 : 0];

    if (t->n && last->chain == shape.chain && last->objects == shape.objects)
        *last = shape;
    else
        t->shape[t->n++] = shape;
}

/* The chain that leaves least over, the shortest of those. */
static uint32_t least_left(uint32_t size, uint32_t most)
{
    uint32_t best = 0, best_left = 0;

    for (uint32_t n = 1; n <= most; n++) {
        uint32_t left = n * options.frame % size;

        if (size <= n * options.frame && (best == 0 || left < best_left)) {
            best = n;
            best_left = left;
        }
    }
    return best;
}

static void kernel_table(struct table *t)
{
    t->n = 0;
    t->extra = 8;
    for (uint32_t size = 32; size <= options.frame; size += options.frame / 256)
        add(t, shape_of(size, least_left(size, 8)));
    t->raw_from = t->shape[t->n - 1].size; /* raw: those with a frame of their own */
    for (uint32_t i = t->n; i-- > 0 && t->shape[i].objects == t->shape[i].chain;)
        t->raw_from = i > 0 ? t->shape[i - 1].size - 7 : 1;
    for (uint32_t size = 2 * options.frame; size <= LARGEST; size += options.frame)
        add(t, shape_of(size, size / options.frame));
}

static uint32_t fixed_chain(uint32_t size)
{
    uint32_t most = LARGEST / options.frame < 2 ? 2 : LARGEST / options.frame, best = 0;
    uint64_t best_left = 0;

    for (uint32_t n = 1; n <= most; n++) {
        uint64_t left = size > n * options.frame ? n * options.frame : n * options.frame % size;

        if (best == 0 || left * best < best_left * n) {
            best = n;
            best_left = left;
        }
        if (left * 64 < (uint64_t)n * options.frame)
            break;
    }
    return best;
}

/* Above 4 KiB: the largest size that fills a short chain, 1/40 to 1/24 below. */
static struct zs_shape fixed_next(uint32_t above)
{
    uint32_t most = above - above / 40, least = above - above / 24;
    struct zs_shape largest = {0};

    for (uint32_t n = 1; n <= 16 && n * options.frame <= LARGEST; n++) {
        uint32_t objects = (n * options.frame + most - 1) / most;
        struct zs_shape shape = {n * options.frame / objects & ~15u, (uint16_t)n,
                                 (uint16_t)objects};

        if (shape.size >= least)
            return shape;
        if (shape.size > largest.size)
            largest = shape;
    }
    return largest;
}

static void fixed_table(struct table *t)
{
    struct zs_shape down[512];
    uint32_t n = 0;

    t->n = t->extra = t->raw_from = 0;
    for (uint32_t size = 16; size <= 4096; size += 16)
        add(t, shape_of(size, fixed_chain(size)));
    down[n++] = shape_of(LARGEST, LARGEST / options.frame);
    for (; n < 512 && (down[n] = fixed_next(down[n - 1].size)).size > 4096; n++)
        continue;
    while (n-- > 0)
        add(t, down[n]);
}

static double plan_table(struct table *t, const struct zs_plan_in *in)
{
    struct zs_plan_scratch *scratch = malloc(zs_plan_scratch_bytes());
    struct timespec from, to;

    if (!scratch)
        die("no memory");
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    t->n = zs_plan(in, t->shape, MOST_CLASSES, scratch);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    t->extra = t->raw_from = 0;
    free(scratch);
    return (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
}

/* --- counting ---------------------------------------------------------------- */

static uint64_t pool_objects(uint64_t mib)
{
    return kli_max(1, (mib << 20) / options.block * nsizes / blocks);
}

static uint32_t object(uint64_t i, uint64_t n)
{
    return sizes[i * nsizes / n];
}

static uint64_t payload(uint64_t n)
{
    uint64_t bytes = 0;

    for (uint64_t i = 0; i < n; i++)
        bytes += object(i, n);
    return bytes;
}

/* Per cent over the payload: whole chains, and frames as they are needed. */
static void waste(const struct table *t, uint64_t n, double out[2])
{
    static uint32_t class_of[LARGEST + 1];
    static uint64_t count[MOST_CLASSES];
    uint64_t frames[2] = {0}, bytes = payload(n);

    for (uint32_t size = 1, i = 0; size <= LARGEST; size++) {
        i += size > t->shape[i].size;
        class_of[size] = i;
    }
    memset(count, 0, sizeof(count));
    for (uint64_t i = 0; i < n; i++) {
        uint32_t size = object(i, n) + t->extra;

        if (t->raw_from && object(i, n) >= t->raw_from && size <= options.frame + t->extra)
            size = options.frame;
        count[class_of[size]]++;
    }
    for (uint32_t i = 0; i < t->n; i++) {
        const struct zs_shape *s = &t->shape[i];
        uint64_t full = count[i] / s->objects, rest = count[i] % s->objects;

        frames[0] += (full + (rest > 0)) * s->chain;
        frames[1] += full * s->chain + (rest * s->size + options.frame - 1) / options.frame;
    }
    for (int i = 0; i < 2; i++)
        out[i] = 100.0 * ((double)(frames[i] * options.frame) / (double)bytes - 1);
}

static void print_row(const char *name, const struct table *t, uint64_t n, double ms)
{
    double out[2];

    waste(t, n, out);
    printf("  %-9s %6.2f %% whole %6.2f %% grown %5u classes", name, out[0], out[1], t->n);
    if (ms > 0)
        printf("  planned in %.2f ms", ms);
    printf("\n");
}

static void print_plan(const char *name, const struct zs_plan_in *in, uint64_t n, bool show)
{
    static struct table t;
    struct zs_plan_in whole = *in;
    char text[16];
    double ms = plan_table(&t, in);

    print_row(name, &t, n, ms);
    for (uint32_t i = 0; show && i < t.n; i++)
        printf("    %5u: %2u frames, %3u objects\n", t.shape[i].size, t.shape[i].chain,
               t.shape[i].objects);
    whole.price.tail_bytes = 0;
    whole.price.chain_bytes = options.frame / 2;
    ms = plan_table(&t, &whole);
    snprintf(text, sizeof(text), "%s/w", name);
    print_row(text, &t, n, ms);
}

static void bench(uint64_t mib)
{
    static uint32_t counts[BUCKETS];
    static struct table t;
    uint64_t n = pool_objects(mib);
    struct zs_plan_in in;

    printf("%" PRIu64 " MiB: %.1f MiB in %" PRIu64 " objects\n", mib,
           (double)payload(n) / (1 << 20), n);
    kernel_table(&t);
    print_row("kernel", &t, n, 0);
    fixed_table(&t);
    print_row("fixed", &t, n, 0);
    zs_plan_prior(counts, LARGEST, options.block);
    in = zs_plan_for(options.frame, LARGEST, (mib << 20) / options.frame);
    in.counts = counts;
    print_plan("blind", &in, n, mib == options.show);
    memset(counts, 0, sizeof(counts));
    for (uint64_t i = 0; i < n; i++)
        counts[(object(i, n) - 1) / ZS_PLAN_STEP]++;
    in.pool_bytes = payload(n);
    print_plan("learned", &in, n, false);
}

static uint32_t number(const char *text)
{
    char *end;
    unsigned long v = text ? strtoul(text, &end, 10) : 0;

    if (!text || *end || v == 0 || v > LARGEST)
        die("not a number from 1 to 65536");
    return (uint32_t)v;
}

int main(int argc, char **argv)
{
    static const uint64_t mib[] = {2, 16, 64, 256, 1024};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--zstd") == 0)
            options.zstd = true;
        else if (strcmp(argv[i], "--block") == 0)
            options.block = number(argv[++i]);
        else if (strcmp(argv[i], "--frame") == 0)
            options.frame = number(argv[++i]);
        else if (strcmp(argv[i], "--classes") == 0)
            options.show = number(argv[++i]);
        else
            options.path = argv[i];
    }
    if (!options.path || !kli_is_pow2(options.block) || options.block < 4096 ||
        !kli_is_pow2(options.frame) || options.frame < 4096)
        die("usage: classbench [--zstd] [--block BYTES] [--frame BYTES] [--classes MIB] FILE");
    read_file();
    for (size_t i = 0; i < sizeof(mib) / sizeof(mib[0]); i++)
        bench(mib[i]);
    return 0;
}
