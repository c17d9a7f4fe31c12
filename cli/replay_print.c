// SPDX-License-Identifier: Apache-2.0
/* replay_print.c - the figures of a replay, for people. */
#include "replay_print.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

enum { CELL = 64 };

/* Prints one line: a name, and a cell a column that `write` fills. */
static void row(const char *name, const struct replay_column *column, unsigned n,
                void (*write)(const struct replay_result *r, unsigned arg, char cell[CELL]),
                unsigned arg)
{
    char cell[CELL];

    printf("%-24s", name);
    for (unsigned i = 0; i < n; i++) {
        write(&column[i].result, arg, cell);
        printf(" %22s", cell);
    }
    putchar('\n');
}

static void of(uint64_t done, uint64_t asked, char cell[CELL])
{
    char a[CLI_TEXT], b[CLI_TEXT];

    snprintf(cell, CELL, "%s of %s", cli_count(done, a), cli_count(asked, b));
}

static void order_cell(const struct replay_result *r, unsigned order, char cell[CELL])
{
    of(r->order[order].done, r->order[order].asked, cell);
}

static void what_cell(const struct replay_result *r, unsigned what, char cell[CELL])
{
    of(r->what[what].done, r->what[what].asked, cell);
}

static void feasible_cell(const struct replay_result *r, unsigned what, char cell[CELL])
{
    of(r->what[what].feasible_done, r->what[what].feasible, cell);
}

static void time_cell(const struct replay_result *r, unsigned what, char cell[CELL])
{
    char text[CLI_TEXT];

    snprintf(cell, CELL, "%s", cli_duration(r->what[what].ns, text));
}

enum figure { COMPACTED, MOVED, SKIPPED, WRONG, FREE_BLOCKS, ABSENT_BLOCKS, USED, STUCK };

static uint64_t figure(const struct replay_result *r, unsigned which)
{
    switch ((enum figure)which) {
    case COMPACTED:
        return r->compacted;
    case MOVED:
        return r->moved;
    case SKIPPED:
        return r->skipped;
    case WRONG:
        return r->wrong;
    case FREE_BLOCKS:
        return r->free_blocks;
    case ABSENT_BLOCKS:
        return r->absent_blocks;
    case USED:
        return r->used_frames;
    case STUCK:
        return r->stuck_frames;
    }
    return 0;
}

static void figure_cell(const struct replay_result *r, unsigned which, char cell[CELL])
{
    char text[CLI_TEXT];

    snprintf(cell, CELL, "%s", cli_count(figure(r, which), text));
}

static void success_cell(const struct replay_result *r, unsigned unused, char cell[CELL])
{
    (void)unused;
    snprintf(cell, CELL, "%.4f", replay_success_when_feasible(r));
}

static bool asked(const struct replay_column *column, unsigned what)
{
    return column[0].result.what[what].asked > 0;
}

static void print_large(const struct replay_column *column, unsigned n, unsigned what,
                        const char *name)
{
    char line[48];

    if (!asked(column, what))
        return;
    row(name, column, n, what_cell, what);
    if (column[0].oracle)
        row("  of the feasible ones", column, n, feasible_cell, what);
    snprintf(line, sizeof(line), "  CPU time");
    row(line, column, n, time_cell, what);
}

static void print_header(const struct replay_trace *trace, const struct replay_column *column,
                         unsigned n)
{
    const struct replay_shape *s = &trace->shape;
    char count[CLI_TEXT], size[CLI_TEXT], frame[CLI_TEXT];

    printf("%s operations; %" PRIu32 " blocks of %" PRIu32 " frames of %s: %s\n\n",
           cli_count(trace->n, count), s->blocks, UINT32_C(1) << s->block_order,
           cli_bytes(s->frame_bytes, frame),
           cli_bytes(((uint64_t)s->blocks << s->block_order) * s->frame_bytes, size));
    printf("%-24s", "movability");
    for (unsigned i = 0; i < n; i++)
        printf(" %22s", column[i].migration ? "on" : "off");
    putchar('\n');
}

void replay_print_table(const struct replay_trace *trace, const struct replay_column *column,
                        unsigned n)
{
    char name[48];

    print_header(trace, column, n);
    for (unsigned order = 0; order <= REPLAY_MAX_ORDER; order++) {
        snprintf(name, sizeof(name), "allocations, order %u", order);
        if (column[0].result.order[order].asked > 0)
            row(name, column, n, order_cell, order);
    }
    row("  by compaction", column, n, figure_cell, COMPACTED);
    print_large(column, n, REPLAY_contig, "contiguous ranges");
    print_large(column, n, REPLAY_give, "give-backs");
    if (asked(column, REPLAY_compact))
        row("compactions", column, n, time_cell, REPLAY_compact);
    if (column[0].oracle)
        row("success_when_feasible", column, n, success_cell, 0);
    row("frames moved", column, n, figure_cell, MOVED);
    row("operations skipped", column, n, figure_cell, SKIPPED);
    row("units damaged", column, n, figure_cell, WRONG);
    puts("at the end");
    row("  blocks free", column, n, figure_cell, FREE_BLOCKS);
    row("  blocks without memory", column, n, figure_cell, ABSENT_BLOCKS);
    row("  frames used", column, n, figure_cell, USED);
    row("  of them stuck", column, n, figure_cell, STUCK);
}

static void print_failure(const struct replay_failure *f)
{
    if (f->op.what == REPLAY_contig)
        printf("  line %" PRIu32 ": %" PRIu32 " frames at %" PRIu32 ": ", f->line, f->op.n,
               UINT32_C(1) << f->op.order);
    else
        printf("  line %" PRIu32 ": %" PRIu32 " blocks back: ", f->line, f->op.n);
    printf("%s (%s)", kl_err_name(f->err), kl_err_text(f->err));
    if (f->feasible)
        fputs(", though it is FEASIBLE", stdout);
    if (f->blamed)
        printf("; in the way: frame %" PRIu32 " in block %" PRIu32 ", %s", f->frame, f->block,
               f->owner);
    if (f->blamed && f->id != UINT32_MAX)
        printf(", id %" PRIu32, f->id);
    putchar('\n');
}

void replay_print_failures(const struct replay_column *column)
{
    if (column->result.failures > 0)
        printf("\nthe first failures with movability %s\n", column->migration ? "on" : "off");
    for (unsigned i = 0; i < column->result.failures; i++)
        print_failure(&column->result.failure[i]);
}
