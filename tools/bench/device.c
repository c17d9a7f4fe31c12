// SPDX-License-Identifier: Apache-2.0
/* devicebench moves|four|requests|passes|trace games|inference [TICKS [SEED]] - a device's
 * memory with and without moves; for bench/device.sh.  The traces are device_traces.c's.
 *
 *   moves     2 GiB, modelled.  Every 64 ticks the program stops, and passes of at most half
 *             a block gain all blocks that they can.  How many bytes they moved, and
 *             how many any plan must move to gain as many (device_oracle.c).
 *   four      the same, but they gain four blocks, if they can, and end.  What the last pass has
 *             moved out of a fifth one counts as moved, too.
 *   requests  2 GiB, modelled, once with migration off and once on.  With migration a pass of
 *             at most a quarter of a block begins in each tick after which less than two
 *             blocks are free.  Every 64 ticks a buffer of one block is asked for (without: the
 *             allocator's answer; with: passes follow until it fits, or nothing can be
 *             gained), and one of two blocks, for which kl_heap_alloc moves others.  A request has
 *             room where as many frames are free.
 *   passes    512 MiB that are there, copied by the engine of klotski/linux.h; moves on,
 *             budgets in time (PASS_US, 2000).  A pass begins in each tick, and has its end in the
 * next; every 64 ticks they go on until nothing can be gained.  What they took: processor time, and
 * wall time. trace     prints it
 *
 * All contents are looked at.  Ends with a line FIGURES. */
#include "device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELLED, REAL, SHAPES = 2, KEEP = 2 };

static const uint64_t world_bytes[] = {[MODELLED] = UINT64_C(2) << 30, [REAL] = 512 << 20};

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

static double mean(double sum, uint64_t n)
{
    return n ? sum / (double)n : 0;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static uint32_t free_blocks(const struct world *w)
{
    return world_stats(w).free_blocks;
}

/* A pass, to its end. */
static uint64_t pass(struct world *w, uint64_t most)
{
    uint64_t bytes = world_pass_begin(w, most);

    if (bytes > 0)
        world_pass_end(w);
    return bytes;
}

/* What the world holds, and what of it was asked for. */
struct fill {
    double used, asked;
    uint64_t n;
};

static void look(struct fill *fill, const struct world *w)
{
    struct kl_zone_stats s = world_stats(w);

    fill->used += (double)s.used_frames / s.frames;
    fill->asked += (double)w->in_use / FRAME / s.used_frames;
    fill->n++;
}

/* ---- moves ---- */

struct tally {
    uint64_t moved, least, gained, bound, in_vain;
};

static void gain(struct world *w, struct tally *t, uint32_t most)
{
    struct optimum before = find_optimum(w), after = before;
    uint64_t bytes, moved = 0, least;
    uint32_t can = most;

    while (can > 0 && before.least[can] == UINT64_MAX)
        can--;
    while (after.free_blocks < before.free_blocks + most &&
           (bytes = pass(w, w->block_bytes / 2)) > 0) {
        moved += bytes;
        after = find_optimum(w);
    }
    if (after.free_blocks < before.free_blocks)
        die("passes lose blocks");
    least = before.least[after.free_blocks - before.free_blocks];
    if (moved < least)
        die("better than the best");
    t->moved += moved;
    t->least += least;
    t->gained += after.free_blocks - before.free_blocks;
    t->bound += can;
    t->in_vain += after.free_blocks == before.free_blocks ? moved : 0;
}

static void gain_blocks(const struct trace *trace, uint32_t most)
{
    struct tally t = {0};
    struct fill fill = {0};
    struct world w;

    world_open(&w, world_bytes[MODELLED], trace->ids, true, NULL);
    for (size_t i = 0; i < trace->n; i++) {
        world_do(&w, &trace->event[i]);
        if (trace->event[i].op != OP_ASK)
            continue;
        look(&fill, &w);
        gain(&w, &t, most);
    }
    printf("%" PRIu64 " times at %.1f %% in use: %" PRIu64 " blocks gained (bound %" PRIu64
           "), %" PRIu64 " passes, %.0f MiB moved, at least %.0f; %.0f in vain\n",
           fill.n, 100 * mean(fill.used, fill.n), t.gained, t.bound, w.passes, mib(t.moved),
           mib(t.least), mib(t.in_vain));
    printf("buffers refused: %" PRIu64 " of %" PRIu64 "\n", w.refused, w.allocs);
    world_close(&w);
    printf("FIGURES %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", t.moved, t.least, t.gained,
           t.bound);
}

static void moves(const struct trace *trace)
{
    gain_blocks(trace, BLOCKS);
}

static void four(const struct trace *trace)
{
    gain_blocks(trace, 4);
}

/* ---- requests ---- */

struct asked {
    uint64_t asked, room, done, at_once;
};

static bool try_large(struct world *w, uint64_t bytes, unsigned flags)
{
    kl_buffer_id id;
    int err = kl_heap_alloc(w->heap, bytes, flags, NULL, &id);

    if (err && err != -KL_ENOMEM && err != -KL_EBUSY)
        must(err, "large buffer");
    if (err == 0)
        must(kl_heap_free(w->heap, id), "large buffer's end");
    return err == 0;
}

static void ask(struct world *w, unsigned shape, struct asked *a)
{
    uint64_t bytes = w->block_bytes << shape;
    unsigned flags = shape == 0 ? KL_NO_MOVE : 0;
    bool done;

    a->asked++;
    a->room += (uint64_t)world_stats(w).free_frames * FRAME >= bytes;
    done = try_large(w, bytes, flags);
    a->at_once += done;
    while (!done && w->moves && shape == 0 && pass(w, w->block_bytes / 4) > 0)
        done = try_large(w, bytes, flags);
    a->done += done;
}

static void live(struct world *w, const struct trace *trace, struct asked *a, struct fill *fill)
{
    for (size_t i = 0; i < trace->n; i++) {
        const struct event *event = &trace->event[i];

        world_do(w, event);
        if (event->op == OP_TICK && w->moves && free_blocks(w) < KEEP)
            pass(w, w->block_bytes / 4);
        if (event->op != OP_ASK)
            continue;
        look(fill, w);
        for (unsigned shape = 0; shape < SHAPES; shape++)
            ask(w, shape, &a[shape]);
    }
}

static void requests(const struct trace *trace)
{
    struct asked a[2][SHAPES] = {0};
    struct world w;

    for (int on = 0; on < 2; on++) {
        struct fill fill = {0};

        world_open(&w, world_bytes[MODELLED], trace->ids, on, NULL);
        live(&w, trace, a[on], &fill);
        printf(
            "migration %-3s  %.1f %% in use, of which asked for %.1f %%; buffers refused %" PRIu64
            " of %" PRIu64 "; %" PRIu64 " passes moved %.0f MiB\n",
            on ? "on" : "off", 100 * mean(fill.used, fill.n), 100 * mean(fill.asked, fill.n),
            w.refused, w.allocs, w.passes, mib(w.pass_bytes));
        for (unsigned shape = 0; shape < SHAPES; shape++)
            printf("  %3.0f MiB: asked %" PRIu64 ", room for %" PRIu64 ", done %" PRIu64
                   ", at once %" PRIu64 "\n",
                   mib(w.block_bytes << shape), a[on][shape].asked, a[on][shape].room,
                   a[on][shape].done, a[on][shape].at_once);
        world_close(&w);
    }
    printf("FIGURES");
    for (unsigned shape = 0; shape < SHAPES; shape++)
        printf(" %.4f %.4f", part(a[0][shape].done, a[0][shape].asked),
               part(a[1][shape].done, a[1][shape].asked));
    puts("");
}

/* ---- passes ---- */

/* The pass of the last tick has had this tick to get done. */
static void next_pass(struct world *w, struct pace *pace)
{
    if (w->under_way)
        world_pass_end(w);
    world_pass_begin(w, pace_bytes(pace));
}

static void gain_in_time(struct world *w, struct pace *pace)
{
    if (w->under_way)
        world_pass_end(w);
    while (pass(w, pace_bytes(pace)) > 0)
        ;
}

static void say_passes(const struct world *w, struct pace *pace)
{
    double budget = pace->budget_us;
    double cpu = quantile(pace->cpu, pace->n, 99), wall = quantile(pace->wall, pace->n, 99);

    printf(
        "%zu passes of %.0f us, %.2f MiB each; %zu of at least half of the bytes that they might; "
        "uses put off %" PRIu64 "\n",
        pace->passes, budget, mib(w->pass_bytes) / (double)(w->passes ? w->passes : 1), pace->n,
        w->skipped);
    printf("processor time: median %.0f us, p99 %.0f; wall time: median %.0f, p99 %.0f\n",
           quantile(pace->cpu, pace->n, 50), cpu, quantile(pace->wall, pace->n, 50), wall);
    printf("FIGURES %.4f %.4f %.4f %zu\n", cpu / budget, quantile(pace->cpu, pace->n, 50) / budget,
           wall / budget, pace->passes);
}

static void passes(const struct trace *trace)
{
    const char *us = getenv("PASS_US");
    struct pace pace;
    struct world w;

    pace_open(&pace, us ? strtod(us, NULL) : 2000);
    world_open(&w, world_bytes[REAL], trace->ids, true, &pace);
    for (size_t i = 0; i < trace->n; i++) {
        world_do(&w, &trace->event[i]);
        if (trace->event[i].op == OP_TICK)
            next_pass(&w, &pace);
        if (trace->event[i].op == OP_ASK)
            gain_in_time(&w, &pace);
    }
    if (w.under_way)
        world_pass_end(&w);
    say_passes(&w, &pace);
    world_close(&w);
    pace_close(&pace);
}

/* ---- trace ---- */

static void print(const struct trace *trace)
{
    static const char *const name[] = {[OP_ALLOC] = "alloc", [OP_FREE] = "free", [OP_USE] = "use",
                                       [OP_UNUSE] = "unuse", [OP_TICK] = "tick", [OP_ASK] = "ask"};

    for (size_t i = 0; i < trace->n; i++) {
        const struct event *event = &trace->event[i];

        if (event->op == OP_ALLOC)
            printf("alloc %" PRIu32 " %" PRIu64 "\n", event->id, event->bytes);
        else if (event->op == OP_TICK || event->op == OP_ASK)
            puts(name[event->op]);
        else
            printf("%s %" PRIu32 "\n", name[event->op], event->id);
    }
}

static _Noreturn void usage(void)
{
    fputs("usage: devicebench moves|four|requests|passes|trace games|inference [TICKS [SEED]]\n",
          stderr);
    exit(2);
}

static uint32_t number(const char *text)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*end || end == text || v == 0 || v > 1000000)
        usage();
    return (uint32_t)v;
}

int main(int argc, char **argv)
{
    static void (*const run[])(const struct trace *) = {moves, four, requests, passes, print};
    static const char *const runs[] = {"moves", "four", "requests", "passes", "trace"};
    uint32_t ticks = argc > 3 ? number(argv[3]) : 6000;
    uint64_t seed = argc > 4 ? number(argv[4]) : 1, bytes;
    struct trace trace;
    unsigned which = 0;

    if (argc < 3 || argc > 5 ||
        (strcmp(argv[2], "games") != 0 && strcmp(argv[2], "inference") != 0))
        usage();
    while (which < 5 && strcmp(argv[1], runs[which]) != 0)
        which++;
    if (which == 5)
        usage();
    bytes = world_bytes[run[which] == passes ? REAL : MODELLED];
    trace =
        argv[2][0] == 'g' ? trace_games(bytes, ticks, seed) : trace_inference(bytes, ticks, seed);
    run[which](&trace);
    trace_free(&trace);
    return 0;
}
