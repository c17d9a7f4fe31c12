// SPDX-License-Identifier: Apache-2.0
/* svg.c - draws a zone: what it is, how much of it is what, and where.
 *
 *   title, figures         a line each
 *   shares                 a bar, and a legend with the amounts
 *   cells                  in rows of a power of two, addresses at the left
 *   notes                  what a cell is; how fragmented the free memory is
 *
 * A cell is a block with a square a frame, row by row from its top left, or, where
 * those would be too many, one or more blocks filled from the bottom in proportion.
 * What is the same in all cells is one path, so that the text stays short.  Colours
 * are classes with a light and a dark set; the picture brings its own background.
 */
#include "svg.h"
#include "cli.h"

#include <inttypes.h>
#include <string.h>

#define MARGIN 32u
#define LABEL  72u /* the column of addresses */
#define GRID   1088u
#define WIDTH  (2 * MARGIN + LABEL + GRID)
#define TOP    192u /* of the cells */

#define LEAST    15  /* tenths of a pixel that a kind in a cell has, if it has any */
#define TOOLTIPS 512 /* cells that say what they are when pointed at, at most */

struct grid {
    unsigned columns, rows;
    unsigned x, y; /* from one cell to the next */
    unsigned w, h; /* of a cell */
    unsigned dot;  /* of a frame; 0: cells are filled in proportion */
    unsigned line; /* frames in a line of dots */
};

static const struct {
    const char *class, *name;
} kinds[] = {
    [SVG_UNMOVABLE] = {"u", "unmovable"}, [SVG_PINNED] = {"p", "pinned"},
    [SVG_ISOLATED] = {"i", "isolated"},   [SVG_MOVABLE] = {"m", "movable"},
    [SVG_FREE] = {"f", "free"},           [SVG_ABSENT] = {"a", "no memory"},
};

bool svg_frames_fit(uint64_t blocks, uint64_t per_block)
{
    return blocks <= SVG_BLOCKS && per_block <= SVG_FRAMES;
}

/* ---- text ---------------------------------------------------------------- */

/* Bytes of the character that begins here if XML may have it, else 0. */
static size_t character(const unsigned char *at)
{
    static const unsigned char least[] = {0, 0, 0x80, 0xa0, 0x90};
    size_t n = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;

    if (n == 1)
        return *at >= 0x20 && *at != 0x7f;
    if (n == 0 || *at > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((*at == 0xe0 || *at == 0xf0) && at[1] < least[n])
        return 0; /* longer than it need be */
    if ((*at == 0xed && at[1] >= 0xa0) || (*at == 0xf4 && at[1] >= 0x90) ||
        (*at == 0xef && at[1] == 0xbf && at[2] >= 0xbe))
        return 0; /* half of a pair, beyond the last, or no character */
    return n;
}

/* Any bytes as the text of an element. */
static void put_text(FILE *out, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t n = character(at);
        if (n == 0)
            fputc('?', out);
        else if (*at == '&')
            fputs("&amp;", out);
        else if (*at == '<')
            fputs("&lt;", out);
        else if (*at == '>')
            fputs("&gt;", out);
        else
            fwrite(at, 1, n, out);
        at += n > 0 ? n : 1;
    }
}

static void put_style(FILE *out)
{
    fputs("<style>\n"
          "text{font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-size:13px;"
          "fill:#1c2430}\n"
          ".t{font-size:22px;font-weight:600}.n{fill:#667085}.l{text-anchor:end;font-size:11px}\n"
          ".bg{fill:#fff}.u{fill:#c8402c}.p{fill:#f0a22e}.i{fill:#9955c4}.m{fill:#2563a8}"
          ".f{fill:#dbe3ec}\n"
          ".a{fill:none;stroke:#d3d9e1}.x{fill:none;stroke:#9955c4;stroke-width:2}.r{fill:none;"
          "stroke:#1d8a6b;stroke-width:2}"
          ".h{fill:none;pointer-events:all}\n"
          "@media(prefers-color-scheme:dark){text{fill:#e6ebf2}.n{fill:#94a1b3}.bg{fill:#10151c}"
          ".u{fill:#e8614c}.p{fill:#f3b552}.i{fill:#bd8ae0}.m{fill:#4f97de}.f{fill:#2b3644}"
          ".a{stroke:#303b49}.x{stroke:#bd8ae0}.r{stroke:#43c09c}}\n"
          "</style>\n",
          out);
}

/* ---- where things are ---------------------------------------------------- */

static struct grid lay_out(const struct svg_zone *zone)
{
    struct grid g = {.columns = zone->cells <= 64 ? 8 : zone->cells <= 256 ? 16 : 64};

    g.x = GRID / g.columns;
    if (zone->frame == NULL) {
        g.columns = zone->cells > 256 && zone->cells <= 1024 ? 32 : g.columns;
        g.x = GRID / g.columns;
        g.h = g.x / 2 > 15 ? g.x / 2 - 4 : 14;
        g.w = g.x - (g.x > 40 ? 4 : 3);
    } else {
        g.line = 32;
        g.dot = g.x / g.line;
        g.w = g.dot * g.line;
        g.h = g.dot * (unsigned)((zone->per_block + g.line - 1) / g.line);
    }
    g.y = g.h + g.x - g.w;
    g.rows = (unsigned)((zone->cells + g.columns - 1) / g.columns);
    return g;
}

static unsigned cell_x(const struct grid *g, size_t i)
{
    return MARGIN + LABEL + (unsigned)(i % g->columns) * g->x;
}

static unsigned cell_y(const struct grid *g, size_t i)
{
    return TOP + (unsigned)(i / g->columns) * g->y;
}

static uint64_t sum_of(const uint64_t frames[SVG_KINDS])
{
    uint64_t sum = 0;

    for (int k = 0; k < SVG_KINDS; k++)
        sum += frames[k];
    return sum;
}

/* Edges of a cell's kinds in tenths of a pixel from the bottom up to `full`; what is
 * used is to be seen, however little it is. */
static void stack(const struct svg_cell *cell, uint64_t full, uint64_t edge[SVG_KINDS + 1])
{
    uint64_t all = sum_of(cell->frames), sum = 0;

    edge[0] = 0;
    for (int k = 0; k < SVG_KINDS; k++) {
        sum += cell->frames[k];
        edge[k + 1] = all > 0 ? (uint64_t)((double)full * (double)sum / (double)all + 0.5) : full;
        if (k < SVG_FREE && cell->frames[k] > 0 && edge[k + 1] < edge[k] + LEAST)
            edge[k + 1] = edge[k] + LEAST;
        if (edge[k + 1] < edge[k])
            edge[k + 1] = edge[k];
        if (edge[k + 1] > full)
            edge[k + 1] = full;
    }
}

/* ---- the cells ----------------------------------------------------------- */

/* The part of a cell that is of this kind, filled from the bottom. */
static void put_part(FILE *out, const struct grid *g, const struct svg_cell *cell, size_t i,
                     enum svg_kind kind)
{
    uint64_t edge[SVG_KINDS + 1];

    stack(cell, (uint64_t)g->h * 10, edge);
    uint64_t high = edge[kind + 1] - edge[kind], y = (uint64_t)g->h * 10 - edge[kind + 1];
    if (high > 0)
        fprintf(out, "M%u %.1fh%uv%.1fh-%uz", cell_x(g, i), cell_y(g, i) + (double)y / 10, g->w,
                (double)high / 10, g->w);
}

/* The runs of frames of this kind in a block, line by line. */
static void put_dots(FILE *out, const struct grid *g, const struct svg_zone *zone, size_t i,
                     enum svg_kind kind)
{
    const enum svg_kind *frame = zone->frame + i * zone->per_block;

    for (unsigned at = 0, n; at < zone->per_block; at += n) {
        unsigned column = at % g->line;

        for (n = 1; column + n < g->line && at + n < zone->per_block && frame[at + n] == frame[at];)
            n++;
        if (frame[at] == kind)
            fprintf(out, "M%u %uh%uv%uh-%uz", cell_x(g, i) + column * g->dot,
                    cell_y(g, i) + at / g->line * g->dot, n * g->dot, g->dot, n * g->dot);
    }
}

static void put_kind(FILE *out, const struct grid *g, const struct svg_zone *zone,
                     enum svg_kind kind)
{
    fprintf(out, "<path class=\"%s\" d=\"", kinds[kind].class);
    for (size_t i = 0; i < zone->cells; i++) {
        if (zone->cell[i].frames[kind] == 0)
            continue;
        if (g->dot > 0)
            put_dots(out, g, zone, i, kind);
        else
            put_part(out, g, &zone->cell[i], i, kind);
    }
    fputs("\"/>\n", out);
}

enum outline { IS_ABSENT, IS_AREA, IS_FENCED };

static bool has_outline(const struct svg_cell *cell, enum outline what)
{
    if (what == IS_AREA)
        return cell->area;
    return what == IS_FENCED ? cell->fenced : cell->frames[SVG_ABSENT] > 0;
}

/* Outlines of the cells in which something is absent, an area's or fenced. */
static void put_outlines(FILE *out, const struct grid *g, const struct svg_zone *zone,
                         enum outline what)
{
    static const char *const classes[] = {"a", "r", "x"};
    bool any = false;

    for (size_t i = 0; i < zone->cells; i++) {
        if (!has_outline(&zone->cell[i], what))
            continue;
        if (!any)
            fprintf(out, "<path class=\"%s\" d=\"", classes[what]);
        any = true;
        fprintf(out, "M%u.5 %u.5h%uv%uh-%uz", cell_x(g, i), cell_y(g, i), g->w - 1, g->h - 1,
                g->w - 1);
    }
    if (any)
        fputs("\"/>\n", out);
}

static void put_tooltips(FILE *out, const struct grid *g, const struct svg_zone *zone)
{
    char text[CLI_TEXT];

    for (size_t i = 0; i < zone->cells && zone->cells <= TOOLTIPS; i++) {
        fprintf(out, "<rect class=\"h\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\"><title>",
                cell_x(g, i), cell_y(g, i), g->w, g->h);
        if (zone->per_cell == 1)
            fprintf(out, "block %zu", i);
        else
            fprintf(out, "blocks from %ju on", (uintmax_t)(i * zone->per_cell));
        for (int k = 0; k < SVG_KINDS; k++)
            if (zone->cell[i].frames[k] > 0)
                fprintf(out, ", %s %s", cli_count(zone->cell[i].frames[k], text), kinds[k].name);
        fputs("</title></rect>\n", out);
    }
}

static void put_addresses(FILE *out, const struct grid *g, const struct svg_zone *zone)
{
    uint64_t row = g->columns * zone->per_cell * zone->per_block * zone->frame_bytes;
    unsigned step = 1;
    char text[CLI_TEXT];

    while (step * g->y < 16)
        step *= 2;
    for (unsigned i = 0; i < g->rows; i += step)
        fprintf(out, "<text class=\"n l\" x=\"%u\" y=\"%u\">%s</text>\n", MARGIN + LABEL - 12,
                TOP + i * g->y + (g->h > 16 ? 10 : g->h / 2 + 4),
                i > 0 ? cli_bytes(i * row, text) : "0");
}

/* ---- above and below ----------------------------------------------------- */

static void put_title(FILE *out, const struct svg_zone *zone)
{
    uint64_t block = zone->per_block * zone->frame_bytes;
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT], e[CLI_TEXT];

    fprintf(out, "<text class=\"t\" x=\"%u\" y=\"54\">", MARGIN);
    put_text(out, zone->name);
    fprintf(out,
            "</text>\n<text class=\"n\" x=\"%u\" y=\"78\">%s of memory (%s): %s blocks of %s, "
            "%s frames of %s; %" PRIu64 " blocks taken</text>\n",
            MARGIN, cli_bytes(zone->blocks * block, a), zone->backing, cli_count(zone->blocks, b),
            cli_bytes(block, c), cli_count(zone->blocks * zone->per_block, d),
            cli_bytes(zone->frame_bytes, e), zone->taken);
}

/* The share of the whole, with one decimal, but never 0.0 of something or 100.0 of less
 * than all. */
static double percent(uint64_t part, uint64_t all)
{
    double share = all > 0 ? (double)part * 100 / (double)all : 0;

    if (part > 0 && share < 0.1)
        return 0.1;
    return part < all && share > 99.9 ? 99.9 : share;
}

/* The part of the bar from x on, w wide. */
static void put_share(FILE *out, enum svg_kind kind, double x, double w)
{
    if (kind == SVG_ABSENT && w > 1)
        fprintf(out, "<path class=\"a\" d=\"M%.1f 96.5h%.1fv17h-%.1f\"/>\n", x, w - 0.5, w - 0.5);
    else if (kind != SVG_ABSENT && w > 0)
        fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"96\" width=\"%.1f\" height=\"18\"/>\n",
                kinds[kind].class, x, w);
}

static void put_key(FILE *out, unsigned x, enum svg_kind kind, const char *name, double share,
                    uint64_t bytes)
{
    char text[CLI_TEXT];

    fprintf(out,
            "<rect class=\"%s\" x=\"%u.5\" y=\"132.5\" width=\"13\" height=\"13\" rx=\"3\"/>\n"
            "<text x=\"%u\" y=\"144\">%s</text>\n"
            "<text class=\"n\" x=\"%u\" y=\"163\">%.1f %%, %s</text>\n",
            kinds[kind].class, x, x + 22, name, x + 22, share, cli_bytes(bytes, text));
}

/* Cells do not tell unmovable and pinned frames apart, nor what is isolated. */
static void put_shares(FILE *out, const struct svg_zone *zone, const uint64_t frames[SVG_KINDS])
{
    static const enum svg_kind order[] = {SVG_MOVABLE,  SVG_UNMOVABLE, SVG_PINNED,
                                          SVG_ISOLATED, SVG_FREE,      SVG_ABSENT};
    uint64_t all = sum_of(frames);
    unsigned column = MARGIN;
    double x = MARGIN;

    for (int i = 0; i < SVG_KINDS; i++) {
        enum svg_kind k = order[i];
        const char *name = kinds[k].name;
        double w = all > 0 ? (WIDTH - 2 * MARGIN) * (double)frames[k] / (double)all : 0;

        if (zone->frame == NULL && (k == SVG_PINNED || k == SVG_ISOLATED))
            continue;
        if (zone->frame == NULL && k == SVG_UNMOVABLE)
            name = "unmovable or pinned";
        put_share(out, k, x, w);
        put_key(out, column, k, name, percent(frames[k], all), frames[k] * zone->frame_bytes);
        x += w;
        column += 188;
    }
}

static void put_notes(FILE *out, const struct svg_zone *zone, unsigned y, bool fenced, bool area)
{
    uint64_t block = zone->per_block * zone->frame_bytes;
    char a[CLI_TEXT], b[CLI_TEXT];

    fprintf(out, "<text class=\"n\" x=\"%u\" y=\"%u\">", MARGIN, y);
    if (zone->frame != NULL)
        fprintf(out, "A tile is a block of %s, a dot in it a frame of %s.", cli_bytes(block, a),
                cli_bytes(zone->frame_bytes, b));
    else if (zone->per_cell == 1)
        fprintf(out, "A tile is a block of %s, filled from the bottom.", cli_bytes(block, a));
    else
        fprintf(out, "A tile is %s blocks, %s, filled from the bottom.",
                cli_count(zone->per_cell, a), cli_bytes(zone->per_cell * block, b));
    fprintf(out, "%s%s</text>\n", area ? " In a green frame: an area's." : "",
            fenced ? " In a violet frame: being emptied." : "");
    if (!zone->indexed)
        return;
    fprintf(out,
            "<text class=\"n\" x=\"%u\" y=\"%u\">Of the free memory %d.%d %% is in pieces smaller "
            "than a block (unusable index).",
            MARGIN, y + 20, zone->unusable / 10, zone->unusable % 10);
    if (zone->fragmentation >= 0)
        fprintf(out,
                " No block is free as a whole: fragmentation index %d.%03d (0: too little is "
                "free, 1: it is in pieces).",
                zone->fragmentation / 1000, zone->fragmentation % 1000);
    fputs("</text>\n", out);
}

void svg_paint(FILE *out, const struct svg_zone *zone)
{
    struct grid g = lay_out(zone);
    unsigned bottom = TOP + g.rows * g.y, height = bottom + (zone->indexed ? 68 : 48);
    uint64_t frames[SVG_KINDS] = {0};
    bool fenced = false, area = false;

    for (size_t i = 0; i < zone->cells; i++) {
        for (int k = 0; k < SVG_KINDS; k++)
            frames[k] += zone->cell[i].frames[k];
        fenced |= zone->cell[i].fenced;
        area |= zone->cell[i].area;
    }
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" "
            "height=\"%u\">\n<title>",
            WIDTH, height, WIDTH, height);
    put_text(out, zone->name);
    fputs(": its memory, block by block</title>\n", out);
    put_style(out);
    fprintf(out, "<rect class=\"bg\" width=\"%u\" height=\"%u\" rx=\"12\"/>\n", WIDTH, height);
    put_title(out, zone);
    put_shares(out, zone, frames);
    put_addresses(out, &g, zone);
    put_outlines(out, &g, zone, IS_ABSENT);
    for (int k = 0; k < SVG_ABSENT; k++)
        if (frames[k] > 0)
            put_kind(out, &g, zone, (enum svg_kind)k);
    put_outlines(out, &g, zone, IS_AREA);
    put_outlines(out, &g, zone, IS_FENCED);
    put_tooltips(out, &g, zone);
    put_notes(out, zone, bottom + 28, fenced, area);
    fputs("</svg>\n", out);
}
