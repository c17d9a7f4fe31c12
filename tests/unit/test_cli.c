// SPDX-License-Identifier: Apache-2.0
/* test_cli.c - the parts of the `klotski` command that need no disk: amounts,
 * names, options, and the pictures (as text, compared sign by sign).
 *
 * Needs cli/args.c, cli/paint.c and cli/size.c. */
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
        paint_blocks_legend(out, &style, 16);
        paint_frames_legend(out, &style);
        fclose(out);
        assert_non_null(strstr(text, "sparse to dense"));
        assert_non_null(strstr(text, "fenced\n"));
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
        cmocka_unit_test(rows_fit_the_terminal),
        cmocka_unit_test(legends_fit_the_terminal),
        cmocka_unit_test(rows_of_nothing_are_folded),
        cmocka_unit_test(huge_zones_share_cells),
        cmocka_unit_test(colour_only_when_asked_for),
        cmocka_unit_test(frames_are_dots_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
