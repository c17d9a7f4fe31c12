// SPDX-License-Identifier: Apache-2.0
/* test_cli.c - the parts of the `klotski` command that need no disk: amounts,
 * names, options, and the pictures (as text, compared sign by sign).
 *
 * Needs cli/args.c, cli/paint.c, cli/size.c and cli/svg.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/paint.h"
#include "cli/svg.h"

#include <stdlib.h>
#include <string.h>

/* ---- amounts ------------------------------------------------------------ */

static void sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"32K", 32768},
        {"32k", 32768},
        {"128M", UINT64_C(128) << 20},
        {"128MiB", UINT64_C(128) << 20},
        {"2GB", UINT64_C(2) << 30},
        {"9223372036854775807", INT64_MAX},
        {"7E", UINT64_C(7) << 60},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t bytes = 77;
        assert_true(cli_parse_size(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
}

static void what_is_no_size_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "M",
        "-1",
        " 1",
        "1 ",
        "1.5G",
        "0x10",
        "12Q",
        "12Ki",
        "12KiBs",
        "8E",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999K",
    };
    uint64_t bytes = 77;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(cli_parse_size(bad[i], &bytes));
        assert_int_equal(bytes, 77);
    }
}

static void numbers_keep_their_bounds(void **state)
{
    uint64_t value;

    (void)state;
    assert_true(cli_parse_number("20", 20, 1000, &value));
    assert_int_equal(value, 20);
    assert_true(cli_parse_number("1000", 20, 1000, &value));
    assert_false(cli_parse_number("19", 20, 1000, &value));
    assert_false(cli_parse_number("1001", 20, 1000, &value));
    assert_false(cli_parse_number("20x", 20, 1000, &value));
    assert_false(cli_parse_number("", 0, 1000, &value));
}

static void amounts_are_printed(void **state)
{
    char text[CLI_TEXT];

    (void)state;
    assert_string_equal(cli_bytes(0, text), "0 B");
    assert_string_equal(cli_bytes(1023, text), "1023 B");
    assert_string_equal(cli_bytes(32768, text), "32 KiB");
    assert_string_equal(cli_bytes(UINT64_C(1536) << 20, text), "1.50 GiB");
    assert_string_equal(cli_bytes(UINT64_MAX, text), "16.0 EiB");
    assert_string_equal(cli_count(0, text), "0");
    assert_string_equal(cli_count(999, text), "999");
    assert_string_equal(cli_count(1000, text), "1,000");
    assert_string_equal(cli_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
    assert_string_equal(cli_duration(9999, text), "9999 ns");
    assert_string_equal(cli_duration(41200000, text), "41.2 ms");
    assert_int_equal(cli_percent(0, 100), 0);
    assert_int_equal(cli_percent(1, 1000), 1);
    assert_int_equal(cli_percent(999, 1000), 99);
    assert_int_equal(cli_percent(5, 0), 0);
}

/* ---- options ------------------------------------------------------------ */

static const struct cli_command command = {.name = "test", .synopsis = "", .help = ""};

static int set_number(void *ctx, const char *value)
{
    uint64_t number;

    if (!cli_parse_number(value, 0, 9, &number))
        return CLI_USAGE;
    *(int *)ctx = (int)number;
    return CLI_GO;
}

static const struct cli_option options[] = {{"number", true, set_number}, {NULL, false, NULL}};

static int parse(char **argv, int *number, struct cli_args *args)
{
    int argc = 0;

    while (argv[argc] != NULL)
        argc++;
    return cli_parse(&command, argc, argv, options, number, args);
}

static void options_come_in_any_order(void **state)
{
    char *argv[] = {"test", "one", "--json", "--number=7", "two", "--name", "x", NULL};
    struct cli_args args;
    int number = 0;

    (void)state;
    assert_int_equal(parse(argv, &number, &args), CLI_GO);
    assert_int_equal(number, 7);
    assert_true(args.json);
    assert_string_equal(args.disk, "x");
    assert_int_equal(args.nrest, 2);
    assert_string_equal(args.rest[0], "one");
    assert_string_equal(args.rest[1], "two");
}

static void two_dashes_end_the_options(void **state)
{
    char *argv[] = {"test", "1M", "--", "ls", "--json", "--help", NULL};
    struct cli_args args;
    int number = 0;

    (void)state;
    assert_int_equal(parse(argv, &number, &args), CLI_GO);
    assert_false(args.json);
    assert_int_equal(args.nrest, 5);
    assert_string_equal(args.rest[1], "--");
    assert_string_equal(args.rest[4], "--help");
}

/* What follows "--" is executed: nothing of the options may be behind it. */
static void the_rest_ends_where_it_ends(void **state)
{
    char *argv[] = {"test", "2M", "--name", "a", "--", "echo", "x", "y", NULL};
    struct cli_args args;
    int number = 0;

    (void)state;
    assert_int_equal(parse(argv, &number, &args), CLI_GO);
    assert_int_equal(args.nrest, 5);
    assert_string_equal(args.rest[4], "y");
    assert_null(args.rest[5]);
}

static void a_disk_is_named_once(void **state)
{
    char *argv[] = {"test", "--name", "a", "--socket", "b", NULL};
    char *one[] = {"test", "--socket=b", NULL};
    struct cli_args args;
    int number = 0;

    (void)state;
    assert_int_equal(parse(argv, &number, &args), CLI_USAGE);
    assert_int_equal(parse(one, &number, &args), CLI_GO);
    assert_string_equal(args.socket, "b");
    assert_null(args.disk);
}

static void text_is_safe_for_shells_and_uris(void **state)
{
    char word[CLI_QUOTED_MAX], uri[CLI_URI_MAX], longest[CLI_PATH_MAX];

    (void)state;
    assert_string_equal(cli_quote("/run/user/0/a.nbd", word), "/run/user/0/a.nbd");
    assert_string_equal(cli_quote("a b", word), "'a b'");
    assert_string_equal(cli_quote("", word), "''");
    assert_string_equal(cli_quote("it's $x", word), "'it'\\''s $x'");
    assert_string_equal(cli_quote("~", word), "'~'");
    assert_string_equal(cli_uri("/run/a-b_c.nbd", uri), "nbd+unix:///?socket=/run/a-b_c.nbd");
    assert_string_equal(cli_uri("/a b'c\"%&\xc3\xa9", uri),
                        "nbd+unix:///?socket=/a%20b%27c%22%25%26%C3%A9");
    memset(longest, '\'', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(strlen(cli_quote(longest, word)), 4 * (CLI_PATH_MAX - 1) + 2);
    assert_true(strlen(cli_uri(longest, uri)) < CLI_URI_MAX);
}

static void wrong_options_are_refused(void **state)
{
    char *bad[][4] = {
        {"test", "--nothing", NULL},   {"test", "--numbe", "7", NULL}, {"test", "--number", NULL},
        {"test", "--number=x", NULL},  {"test", "--json=1", NULL},     {"test", "-x", NULL},
        {"test", "--number=10", NULL},
    };
    struct cli_args args;
    int number = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse(bad[i], &number, &args), CLI_USAGE);
    assert_int_equal(number, 0);
}

/* ---- pictures ----------------------------------------------------------- */

static struct paint_block block(uint32_t used, uint32_t free)
{
    return (struct paint_block){.used = used, .free = free, .present = true};
}

static char *paint(const struct paint_style *style, const struct paint_block *blocks, size_t n)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    paint_blocks(out, style, blocks, n);
    fclose(out);
    return text;
}

static void every_block_has_its_sign(void **state)
{
    struct paint_style style = {.ascii = true, .width = 80};
    struct paint_block blocks[6] = {
        {.present = false}, block(0, 512),   block(1, 511),
        block(512, 0),      block(256, 256), block(3, 509),
    };
    char *text;

    (void)state;
    blocks[4].fenced = true;
    blocks[4].stuck = 1;
    blocks[5].stuck = 1;
    text = paint(&style, blocks, 6);
    assert_string_equal(text, "    0 ._09#x\n");
    free(text);
    style.ascii = false;
    text = paint(&style, blocks, 6);
    assert_string_equal(text, "    0 ·_▁█#×\n");
    free(text);
}

/* Those of an area, of which some are taken. */
static void areas_are_shown(void **state)
{
    struct paint_style style = {.ascii = true, .width = 80};
    struct paint_block blocks[6] = {block(0, 512), block(512, 0), {.present = false}};
    char *text;
    size_t len;
    FILE *out;

    (void)state;
    for (size_t i = 1; i < 4; i++)
        blocks[i].area = true; /* the second and third of it are taken */
    text = paint(&style, blocks, 6);
    assert_string_equal(text, "    0 _9==..\n");
    free(text);
    out = open_memstream(&text, &len);
    assert_non_null(out);
    paint_areas(out, blocks, 6);
    paint_areas(out, blocks + 4, 2);
    paint_areas(out, blocks + 3, 1);
    fclose(out);
    assert_string_equal(text, "      area: blocks 1 to 3, 2 of them taken\n"
                              "      area: blocks 0 to 0, 1 of them taken\n");
    free(text);
}

static void rows_fit_the_terminal(void **state)
{
    struct paint_style style = {.ascii = true, .width = 80};
    struct paint_block *blocks = calloc(2048, sizeof(*blocks));

    (void)state;
    for (size_t i = 0; i < 2048; i += 3)
        blocks[i] = block(1, 511);
    for (style.width = 20; style.width <= 200; style.width += 9) {
        char *text = paint(&style, blocks, 2048);
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
            assert_in_range(strlen(line), 7, style.width);
        free(text);
    }
    free(blocks);
}

/* In ASCII, so that bytes are columns. */
static void legends_fit_the_terminal(void **state)
{
    struct paint_style style = {.ascii = true};

    (void)state;
    for (style.width = 24; style.width <= 100; style.width++) {
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        assert_non_null(out);
        paint_blocks_legend(out, &style, 16, style.width % 2);
        paint_frames_legend(out, &style);
        fclose(out);
        assert_non_null(strstr(text, "sparse to dense"));
        assert_non_null(strstr(text, "fenced"));
        assert_true(!strstr(text, "taken of the area") == !(style.width % 2));
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
            assert_in_range(strlen(line), 7, style.width < 30 ? 30 : style.width);
        free(text);
    }
}

static void rows_of_nothing_are_folded(void **state)
{
    struct paint_style style = {.ascii = true, .width = 22}; /* rows of 16 */
    struct paint_block blocks[16 * 8] = {0};
    char *text;

    (void)state;
    blocks[0] = block(512, 0);
    blocks[127].fenced = true;
    text = paint(&style, blocks, 16 * 8);
    assert_string_equal(text, "    0 9...............\n"
                              "   16 absent, and so to 111\n"
                              "  112 ...............#\n");
    free(text);
    blocks[64] = block(0, 512);
    text = paint(&style, blocks, 16 * 8);
    assert_string_equal(text, "    0 9...............\n"
                              "   16 ................\n"
                              "   32 ................\n"
                              "   48 ................\n"
                              "   64 _...............\n"
                              "   80 ................\n"
                              "   96 ................\n"
                              "  112 ...............#\n");
    free(text);
    text = paint(&style, blocks + 1, 63); /* the last row is not a whole one */
    assert_string_equal(text, "    0 ................\n"
                              "   16 ................\n"
                              "   32 ................\n"
                              "   48 ...............\n");
    free(text);
}

static size_t cells(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '9';
    return n;
}

static void huge_zones_share_cells(void **state)
{
    struct paint_style style = {.ascii = true, .width = 80};
    size_t n = 4 * 64 * 32;
    struct paint_block *blocks = calloc(n, sizeof(*blocks));
    char *text;

    (void)state;
    assert_int_equal(paint_blocks_per_cell(&style, 2048), 1);
    assert_int_equal(paint_blocks_per_cell(&style, n), 4);
    assert_int_equal(paint_blocks_per_cell(&style, n + 1), 8);
    for (size_t i = 0; i < 8; i++)
        blocks[i] = block(512, 0);
    text = paint(&style, blocks, 64);
    assert_int_equal(cells(text), 8);
    free(text);
    text = paint(&style, blocks, n);
    text[16] = '\0'; /* the first row's start is enough */
    assert_string_equal(text, "    0 99........");
    free(text);
    free(blocks);
}

static void colour_only_when_asked_for(void **state)
{
    struct paint_style style = {.ascii = true, .width = 80, .colour = true};
    struct paint_block one = block(512, 0);
    char *text = paint(&style, &one, 1);

    (void)state;
    assert_non_null(strstr(text, "\033["));
    free(text);
    style.colour = false;
    text = paint(&style, &one, 1);
    assert_null(strchr(text, '\033'));
    free(text);
}

static void frames_are_dots_in_order(void **state)
{
    struct paint_style style = {.width = 80};
    struct paint_block blocks[2] = {block(0, 0), block(9, 7)};
    const char *kinds = "0000000000000000"
                        "2111111122222222";
    char *text = NULL;
    size_t len;
    FILE *out;

    (void)state;
    blocks[0].present = false;
    for (int ascii = 0; ascii < 2; ascii++) {
        style.ascii = ascii == 1;
        out = open_memstream(&text, &len);
        assert_non_null(out);
        paint_frames(out, &style, blocks, 0, 2, kinds, 16);
        fclose(out);
        assert_string_equal(text, style.ascii ? "    0 absent\n    1 18  56 %\n"
                                              : "    0 absent\n    1 ⠁⣿  56 %\n");
        free(text);
    }
}

/* ---- pictures as files --------------------------------------------------- */

static char *drawn(const struct svg_zone *zone)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    svg_paint(out, zone);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(strlen(text), len);
    return text;
}

static unsigned times(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* What tells broken XML from good here: no tool is asked. */
static void assert_xml(const char *text)
{
    assert_int_equal(strncmp(text, "<svg ", 5), 0);
    assert_string_equal(text + strlen(text) - 7, "</svg>\n");
    assert_int_equal(times(text, "<text"), times(text, "</text>"));
    assert_int_equal(times(text, "<title>"), times(text, "</title>"));
    for (const char *at = text; (at = strchr(at, '&')) != NULL; at++)
        assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) || !strncmp(at, "&gt;", 4));
}

static const struct svg_zone small = {
    .name = "x", .backing = "memfd", .frame_bytes = 4096, .per_block = 64, .per_cell = 1};

static void svg_draws_every_frame(void **state)
{
    enum svg_kind frame[128];
    struct svg_cell cell[2] = {{.fenced = true}, {.area = true}};
    struct svg_zone zone = small;

    (void)state;
    for (size_t i = 0; i < 128; i++) {
        frame[i] = i < 64 ? SVG_FREE : SVG_ABSENT;
        if (i >= 3 && i < 37)
            frame[i] = i == 20 ? SVG_PINNED : SVG_MOVABLE;
        cell[i / 64].frames[frame[i]]++;
    }
    zone.blocks = zone.cells = 2;
    zone.cell = cell;
    zone.frame = frame;
    char *text = drawn(&zone), *again = drawn(&zone);
    assert_xml(text);
    assert_string_equal(text, again);
    /* 4 pixels a frame, 32 in a line: 3 to 19, 21 to 31, and 32 to 36 below. */
    assert_non_null(strstr(text, "<path class=\"m\" d=\"M116 192h68v4h-68z"
                                 "M188 192h44v4h-44zM104 196h20v4h-20z\"/>"));
    assert_non_null(strstr(text, "<path class=\"p\" d=\"M184 192h4v4h-4z\"/>"));
    assert_non_null(strstr(text, "<path class=\"a\" d=\"M240.5 192.5h127v7h-127z\"/>"));
    assert_non_null(strstr(text, "<path class=\"x\" d=\"M104.5 192.5h127v7h-127z\"/>"));
    assert_non_null(strstr(text, "<path class=\"r\" d=\"M240.5 192.5h127v7h-127z\"/>"));
    assert_non_null(strstr(text, "In a green frame: an area's."));
    assert_non_null(strstr(text, "25.8 %, 132 KiB")); /* 33 of 128 are movable */
    assert_non_null(strstr(text, "50.0 %, 256 KiB"));
    assert_null(strstr(text, "class=\"u\" d="));
    assert_non_null(strstr(text, "block 0, 1 pinned, 33 movable, 30 free"));
    assert_null(strstr(text, "unusable"));
    free(text);
    free(again);
}

/* 2 TiB in at most SVG_CELLS cells, each filled from the bottom; little is not nothing. */
static void svg_of_a_large_zone(void **state)
{
    struct svg_cell *cell = calloc(SVG_CELLS, sizeof(*cell));
    struct svg_zone zone = small;

    (void)state;
    zone.per_block = 512;
    zone.blocks = UINT64_C(1) << 20;
    zone.per_cell = 512;
    zone.cells = SVG_CELLS;
    zone.cell = cell;
    zone.indexed = true;
    zone.unusable = 1000;
    zone.fragmentation = 1000;
    assert_false(svg_frames_fit(zone.blocks, zone.per_block));
    for (size_t i = 0; i < SVG_CELLS; i++)
        cell[i].frames[i % 2 ? SVG_ABSENT : SVG_FREE] = 512 * 512;
    cell[0].frames[SVG_FREE] -= 512 * 256 + 1;
    cell[0].frames[SVG_MOVABLE] = 512 * 256;
    cell[0].frames[SVG_UNMOVABLE] = 1;
    char *text = drawn(&zone);
    assert_xml(text);
    assert_true(strlen(text) < 100000);
    assert_non_null(strstr(text, "2 TiB of memory"));
    assert_non_null(strstr(text, "<path class=\"u\" d=\"M104 204.5h14v1.5h-14z\"/>"));
    assert_non_null(strstr(text, "<path class=\"m\" d=\"M104 199.0h14v5.5h-14z\"/>"));
    assert_non_null(strstr(text, ">0.1 %, 4 KiB<"));
    assert_non_null(strstr(text, "A tile is 512 blocks, 1 GiB"));
    assert_non_null(strstr(text, "unmovable or pinned"));
    assert_non_null(strstr(text, "100.0 % is in pieces"));
    assert_non_null(strstr(text, "fragmentation index 1.000"));
    free(text);
    free(cell);
}

static void svg_takes_any_name(void **state)
{
    static const struct {
        const char *name, *text;
    } names[] = {
        {"a<b>&\"c\"", "a&lt;b&gt;&amp;\"c\""},
        {"t\tn\n\x7f\x01", "t?n???"},
        {"\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff\xc3", "??"},
        {"\xc0\xaf \xe0\x80\xaf \xed\xa0\x80", "?? ??? ???"},
        {"\xef\xbf\xbe \xf4\x90\x80\x80 \xe2\x82", "??? ???? ??"},
    };
    struct svg_cell cell = {.frames = {[SVG_FREE] = 64}};
    struct svg_zone zone = small;

    (void)state;
    zone.blocks = zone.cells = 1;
    zone.cell = &cell;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char wanted[64];
        zone.name = names[i].name;
        char *text = drawn(&zone);
        snprintf(wanted, sizeof(wanted), "y=\"54\">%s</text>", names[i].text);
        assert_xml(text);
        assert_non_null(strstr(text, wanted));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(what_is_no_size_is_refused),
        cmocka_unit_test(numbers_keep_their_bounds),
        cmocka_unit_test(amounts_are_printed),
        cmocka_unit_test(options_come_in_any_order),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(the_rest_ends_where_it_ends),
        cmocka_unit_test(a_disk_is_named_once),
        cmocka_unit_test(text_is_safe_for_shells_and_uris),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(every_block_has_its_sign),
        cmocka_unit_test(areas_are_shown),
        cmocka_unit_test(rows_fit_the_terminal),
        cmocka_unit_test(legends_fit_the_terminal),
        cmocka_unit_test(rows_of_nothing_are_folded),
        cmocka_unit_test(huge_zones_share_cells),
        cmocka_unit_test(colour_only_when_asked_for),
        cmocka_unit_test(frames_are_dots_in_order),
        cmocka_unit_test(svg_draws_every_frame),
        cmocka_unit_test(svg_of_a_large_zone),
        cmocka_unit_test(svg_takes_any_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
