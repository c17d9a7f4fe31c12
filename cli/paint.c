// SPDX-License-Identifier: Apache-2.0
/* paint.c - draws a zone: blocks as bars, frames as dots.
 *
 * A present block is a bar as high as the block is full, from violet (sparse) to
 * yellow (dense).  What matters more than fullness has a sign of its own: fenced
 * before stuck before free before taken (an area's, without memory) before absent.  Every sign can
 * be told apart without colour, and again in plain ASCII.
 */
#include "paint.h"

#include <string.h>

#define MAX_ROWS 32 /* more cells than that many rows: several blocks a cell */
#define FOLD     4  /* so many rows, or lines, of absent blocks are one */

enum cell { ABSENT, FREE, FILLED, STUCK, FENCED, TAKEN };

/* Signs of the cells but FILLED. */
static const char *const signs_utf8[] = {"\u00b7", "_", "", "\u00d7", "#", "="};
static const char *const signs_ascii[] = {".", "_", "", "x", "#", "="};
static const unsigned sign_colours[] = {240, 245, 0, 196, 201, 37};

/* Bars by eighths, and the same in ASCII by tenths. */
static const char *const bars[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                   "\u2585", "\u2586", "\u2587", "\u2588"};
static const unsigned bar_colours[] = {61, 67, 31, 37, 36, 72, 113, 185};
static const char *const digits[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

static void put(FILE *out, const struct paint_style *style, unsigned colour, const char *text)
{
    if (style->colour)
        fprintf(out, "\033[38;5;%um%s\033[0m", colour, text);
    else
        fputs(text, out);
}

static unsigned cells_per_row(const struct paint_style *style)
{
    unsigned room = style->width > 6 ? style->width - 6 : 1;
    unsigned row = 8;

    while (row * 2 <= room && row < 64)
        row *= 2;
    return row;
}

size_t paint_blocks_per_cell(const struct paint_style *style, size_t n)
{
    size_t group = 1;

    while ((n + group - 1) / group > (size_t)cells_per_row(style) * MAX_ROWS)
        group *= 2;
    return group;
}

/* What a group of blocks looks like together; the absent ones do not count
 * unless all are. */
static enum cell cell_of(const struct paint_block *blocks, size_t n, double *full)
{
    uint64_t used = 0, all = 0;
    bool stuck = false, taken = false;

    for (size_t i = 0; i < n; i++) {
        if (blocks[i].fenced)
            return FENCED;
        taken |= blocks[i].area && !blocks[i].present;
        if (!blocks[i].present)
            continue;
        used += blocks[i].used;
        all += (uint64_t)blocks[i].used + blocks[i].free;
        stuck |= blocks[i].stuck > 0;
    }
    if (stuck)
        return STUCK;
    if (all == 0)
        return taken ? TAKEN : ABSENT;
    *full = (double)used / (double)all;
    return used == 0 ? FREE : FILLED;
}

static void put_bar(FILE *out, const struct paint_style *style, double full)
{
    size_t eighth = (size_t)(full * 7.999);
    size_t tenth = (size_t)(full * 9.0 + 0.5); /* 0 and 9: at the ends only */

    put(out, style, bar_colours[eighth], style->ascii ? digits[tenth] : bars[eighth]);
}

static void put_cell(FILE *out, const struct paint_style *style, enum cell cell, double full)
{
    if (cell == FILLED)
        put_bar(out, style, full);
    else
        put(out, style, sign_colours[cell], (style->ascii ? signs_ascii : signs_utf8)[cell]);
}

/* How many blocks from `first` on are absent. */
static size_t absent_run(const struct paint_block *blocks, size_t first, size_t end)
{
    size_t i = first;

    while (i < end && !blocks[i].present && !blocks[i].fenced && !blocks[i].area)
        i++;
    return i - first;
}

static void paint_row(FILE *out, const struct paint_style *style, const struct paint_block *blocks,
                      size_t n, size_t group)
{
    for (size_t i = 0; i < n; i += group) {
        double full = 0;
        enum cell cell = cell_of(blocks + i, n - i < group ? n - i : group, &full);
        put_cell(out, style, cell, full);
    }
    fputc('\n', out);
}

void paint_blocks(FILE *out, const struct paint_style *style, const struct paint_block *blocks,
                  size_t n)
{
    size_t group = paint_blocks_per_cell(style, n);
    size_t row = (size_t)cells_per_row(style) * group;

    for (size_t start = 0; start < n; start += row) {
        size_t absent = absent_run(blocks, start, n) / row * row;
        fprintf(out, "%5zu ", start);
        if (absent >= FOLD * row) { /* nothing to see in very many rows */
            fprintf(out, "absent, and so to %zu\n", start + absent - 1);
            start += absent - row;
            continue;
        }
        paint_row(out, style, blocks + start, n - start < row ? n - start : row, group);
    }
}

/* Before something of so many columns: a gap, or the next line if it has no room. */
static void legend_room(FILE *out, const struct paint_style *style, unsigned *column, unsigned gap,
                        size_t wide)
{
    if (*column > 6 && *column + gap + wide > style->width) {
        fputc('\n', out);
        *column = 0;
    }
    if (*column == 0)
        gap = 6;
    fprintf(out, "%*s", (int)gap, "");
    *column += gap + (unsigned)wide;
}

static void legend_words(FILE *out, const struct paint_style *style, const char *text)
{
    unsigned column = 0;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        legend_room(out, style, &column, 1, len);
        fwrite(text, 1, len, out);
        text += len + strspn(text + len, " ");
    }
    fputc('\n', out);
}

static void key(FILE *out, const struct paint_style *style, unsigned *column, enum cell cell,
                const char *what)
{
    legend_room(out, style, column, 2, strlen(what) + (cell == FILLED ? 9 : 2));
    if (cell == FILLED)
        for (int i = 0; i < 8; i++)
            put_bar(out, style, (i + 0.5) / 8);
    else
        put_cell(out, style, cell, 0);
    fprintf(out, " %s", what);
}

void paint_blocks_legend(FILE *out, const struct paint_style *style, size_t n, bool areas)
{
    size_t group = paint_blocks_per_cell(style, n);
    unsigned column = 0;

    key(out, style, &column, ABSENT, "absent");
    key(out, style, &column, FREE, "free");
    key(out, style, &column, FILLED, "sparse to dense");
    key(out, style, &column, STUCK, "stuck");
    key(out, style, &column, FENCED, "fenced");
    if (areas)
        key(out, style, &column, TAKEN, "taken of the area");
    fputc('\n', out);
    if (group > 1)
        fprintf(out, "      a cell is %zu blocks\n", group);
}

void paint_areas(FILE *out, const struct paint_block *blocks, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        size_t taken = 0;

        for (end = i; end < n && blocks[end].area; end++)
            taken += !blocks[end].present;
        if (end > i)
            fprintf(out, "      area: blocks %zu to %zu, %zu of them taken\n", i, end - 1, taken);
        end += end == i;
    }
}

/* ---- frames ------------------------------------------------------------ */

/* Dots of a Braille cell from the first frame to the eighth: down the left
 * column, then down the right one. */
static const unsigned char dots[8] = {0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80};

/* Kinds as in enum kl_frame_kind: '0' absent, '1' free, '2' movable,
 * '3' unmovable, '4' pinned, '5' isolated. */
static unsigned frames_colour(const char *kinds, size_t n)
{
    unsigned colour = 113;

    for (size_t i = 0; i < n; i++) {
        if (kinds[i] == '3' || kinds[i] == '4')
            return 196;
        if (kinds[i] == '5')
            colour = 201;
    }
    return colour;
}

static void put_frames(FILE *out, const struct paint_style *style, const char *kinds, size_t n)
{
    unsigned pattern = 0, used = 0;

    for (size_t i = 0; i < n; i++)
        if (kinds[i] >= '2') {
            pattern |= dots[i];
            used++;
        }
    /* U+2800 + pattern, in UTF-8 */
    const char cell[4] = {'\xe2', (char)(0xa0 | (pattern >> 6)), (char)(0x80 | (pattern & 0x3f))};
    const char *count = used == 0 ? "." : digits[used];
    put(out, style, frames_colour(kinds, n), style->ascii ? count : cell);
}

static void frames_line(FILE *out, const struct paint_style *style, const char *kinds, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        put_frames(out, style, kinds + i, n - i < 8 ? n - i : 8);
}

static void block_note(FILE *out, const struct paint_block *block)
{
    uint64_t all = (uint64_t)block->used + block->free;

    if (all > 0)
        fprintf(out, " %3.0f %%%s", 100.0 * block->used / (double)all, block->fenced ? " #" : "");
}

static void paint_one(FILE *out, const struct paint_style *style, const struct paint_block *block,
                      const char *kinds, size_t per_block)
{
    size_t room = style->width > 21 ? style->width - 14 : 8;
    size_t per_line = room >= 64 ? 512 : room >= 32 ? 256 : 64;

    for (size_t i = 0; i < per_block; i += per_line) {
        size_t left = per_block - i;
        if (i > 0)
            fputs("\n      ", out);
        frames_line(out, style, kinds + i, left < per_line ? left : per_line);
    }
    block_note(out, block);
    fputc('\n', out);
}

void paint_frames(FILE *out, const struct paint_style *style, const struct paint_block *blocks,
                  size_t first, size_t end, const char *kinds, size_t per_block)
{
    for (size_t b = first; b < end; b++) {
        size_t absent = absent_run(blocks, b, end);
        fprintf(out, "%5zu ", b);
        if (absent >= FOLD) {
            fprintf(out, "absent, and so to %zu\n", b + absent - 1);
            b += absent - 1;
        } else if (absent > 0) {
            fputs("absent\n", out);
        } else {
            paint_one(out, style, &blocks[b], kinds + b * per_block, per_block);
        }
    }
}

void paint_frames_legend(FILE *out, const struct paint_style *style)
{
    static const struct {
        unsigned colour;
        const char *what;
    } kinds[] = {{113, "movable"}, {201, "isolated"}, {196, "unmovable or pinned"}};
    unsigned column = 0;

    legend_words(out, style,
                 style->ascii ? "a sign is 8 frames: how many of them are used, '.' none"
                              : "a dot is a used frame, 8 frames a cell");
    for (size_t i = 0; style->colour && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        legend_room(out, style, &column, 2, strlen(kinds[i].what));
        put(out, style, kinds[i].colour, kinds[i].what);
    }
    if (style->colour)
        fputc('\n', out);
}
