// SPDX-License-Identifier: Apache-2.0
/* cmd_map.c - `klotski map`: reads the map of a zone and has it drawn. */
#include "cli.h"
#include "paint.h"
#include "picture.h"

#include <json-c/json.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct map_options {
    bool ascii, utf8, frames, colour;
    uint64_t width;
    uint64_t first, last;
    bool range;
    const char *svg, *png; /* files, or NULL */
};

static int set_ascii(void *ctx, const char *value)
{
    (void)value;
    ((struct map_options *)ctx)->ascii = true;
    return CLI_GO;
}

static int set_utf8(void *ctx, const char *value)
{
    (void)value;
    ((struct map_options *)ctx)->utf8 = true;
    return CLI_GO;
}

static int set_frames(void *ctx, const char *value)
{
    (void)value;
    ((struct map_options *)ctx)->frames = true;
    return CLI_GO;
}

static int set_colour(void *ctx, const char *value)
{
    (void)value;
    ((struct map_options *)ctx)->colour = true;
    return CLI_GO;
}

static int set_width(void *ctx, const char *value)
{
    struct map_options *map = ctx;

    if (cli_parse_number(value, 20, 1000, &map->width))
        return CLI_GO;
    return cli_usage(&cli_cmd_map, "--width is 20 to 1000, not %s", value);
}

/* "7" or "7-20". */
static int set_blocks(void *ctx, const char *value)
{
    struct map_options *map = ctx;
    char *text = strdup(value);
    char *dash = strchr(text, '-');

    if (dash != NULL)
        *dash = '\0';
    bool good =
        cli_parse_number(text, 0, UINT32_MAX, &map->first) &&
        cli_parse_number(dash != NULL ? dash + 1 : text, map->first, UINT32_MAX, &map->last);
    free(text);
    map->range = true;
    return good ? CLI_GO : cli_usage(&cli_cmd_map, "not a block or a range of them: %s", value);
}

static int set_svg(void *ctx, const char *value)
{
    ((struct map_options *)ctx)->svg = value;
    return CLI_GO;
}

static int set_png(void *ctx, const char *value)
{
    ((struct map_options *)ctx)->png = value;
    return CLI_GO;
}

static const struct cli_option options[] = {
    {"ascii", false, set_ascii},   {"utf8", false, set_utf8},    {"frames", false, set_frames},
    {"colour", false, set_colour}, {"color", false, set_colour}, {"width", true, set_width},
    {"blocks", true, set_blocks},  {"svg", true, set_svg},       {"png", true, set_png},
    {NULL, false, NULL},
};

static unsigned terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

static struct paint_style choose_style(const struct map_options *map)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool plain = (no_colour != NULL && no_colour[0] != '\0') ||
                 (term != NULL && strcmp(term, "dumb") == 0) || !isatty(STDOUT_FILENO);

    return (struct paint_style){
        .colour = map->colour || !plain,
        .ascii = map->ascii || (!map->utf8 && strcmp(nl_langinfo(CODESET), "UTF-8") != 0),
        .width = map->width != 0 ? (unsigned)map->width : terminal_width(),
    };
}

/* NULL when the reply has no blocks. */
static struct paint_block *read_blocks(struct json_object *reply, size_t *n)
{
    struct json_object *list = cli_get(reply, "blocks");

    if (list == NULL || !json_object_is_type(list, json_type_array))
        return NULL;
    *n = json_object_array_length(list);
    struct paint_block *blocks = calloc(*n + 1, sizeof(*blocks));
    for (size_t i = 0; blocks != NULL && i < *n; i++) {
        struct json_object *item = json_object_array_get_idx(list, i);
        blocks[i] = (struct paint_block){
            .free = (uint32_t)cli_get_u64(item, "free"),
            .used = (uint32_t)cli_get_u64(item, "used"),
            .stuck = (uint32_t)cli_get_u64(item, "stuck"),
            .present = cli_get_bool(item, "present"),
            .fenced = cli_get_bool(item, "fenced"),
            .area = cli_get_bool(item, "area"),
        };
    }
    return blocks;
}

static void print_summary(const struct paint_block *blocks, size_t n, uint64_t block_bytes,
                          uint64_t taken)
{
    uint64_t present = 0, whole = 0, used = 0, all = 0, stuck = 0;
    char size[CLI_TEXT];

    for (size_t i = 0; i < n; i++) {
        if (!blocks[i].present)
            continue;
        present++;
        whole += blocks[i].used == 0;
        used += blocks[i].used;
        stuck += blocks[i].stuck;
        all += (uint64_t)blocks[i].used + blocks[i].free;
    }
    printf("%zu blocks of %s: %ju present, of which %ju free as a whole; %ju taken\n"
           "frames in present blocks: %u %% used, %u %% free; %ju stuck\n",
           n, cli_bytes(block_bytes, size), (uintmax_t)present, (uintmax_t)whole, (uintmax_t)taken,
           cli_percent(used, all), all > 0 ? 100 - cli_percent(used, all) : 0, (uintmax_t)stuck);
}

static bool has_areas(const struct paint_block *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (blocks[i].area)
            return true;
    return false;
}

static int draw(const struct map_options *map, struct json_object *reply, uint64_t taken)
{
    struct paint_style style = choose_style(map);
    uint64_t per_block = cli_get_u64(reply, "frames_per_block");
    const char *kinds = cli_get_str(reply, "frames");
    size_t n = 0;

    struct paint_block *blocks = read_blocks(reply, &n);
    if (blocks == NULL || per_block == 0 || (map->frames && strlen(kinds) != n * per_block)) {
        cli_error("the disk's answer is not a map");
        free(blocks);
        return CLI_FAIL;
    }
    if (map->range && map->last >= n) {
        cli_error("there is no block %ju: the zone has %zu, from 0 on", (uintmax_t)map->last, n);
        free(blocks);
        return CLI_FAIL;
    }
    size_t end = map->range ? (size_t)map->last + 1 : n;
    if (map->frames) {
        paint_frames(stdout, &style, blocks, (size_t)map->first, end, kinds, per_block);
        paint_frames_legend(stdout, &style);
    } else {
        paint_blocks(stdout, &style, blocks, n);
        paint_blocks_legend(stdout, &style, n, has_areas(blocks, n));
    }
    paint_areas(stdout, blocks, n);
    print_summary(blocks, n, per_block * cli_get_u64(reply, "frame_bytes"), taken);
    free(blocks);
    return CLI_OK;
}

/* The map, and how many blocks are taken, which it does not show. */
static int show(const struct cli_command *self, const struct map_options *map,
                const struct cli_args *args, int sock)
{
    struct json_object *request = cli_op("map"), *reply, *stat;

    json_object_object_add(request, "frames", json_object_new_boolean(map->frames));
    int rc = cli_request(sock, CLI_SOON, request, &reply, NULL);
    if (rc != CLI_GO)
        return rc;
    if (args->json)
        cli_print_json(reply);
    rc = cli_judge(self, reply);
    if (rc == CLI_GO && args->json)
        rc = CLI_OK;
    if (rc == CLI_GO)
        rc = cli_request(sock, CLI_SOON, cli_op("stat"), &stat, NULL);
    if (rc == CLI_GO) {
        rc = draw(map, reply, cli_get_u64(cli_get(stat, "zone"), "given_blocks"));
        json_object_put(stat);
    }
    json_object_put(reply);
    return rc;
}

/* Options that do not go together. */
static int check(const struct cli_command *self, const struct map_options *map, bool json)
{
    bool picture = map->svg != NULL || map->png != NULL;

    if (map->ascii && map->utf8)
        return cli_usage(self, "--ascii or --utf8, not both");
    if (map->range && !map->frames)
        return cli_usage(self, "--blocks goes with --frames");
    if (picture && (json || map->frames || map->ascii || map->utf8 || map->colour || map->width))
        return cli_usage(self, "--svg and --png go with no other way of drawing");
    if ((map->svg != NULL && map->svg[0] == '\0') || (map->png != NULL && map->png[0] == '\0'))
        return cli_usage(self, "a file has a name");
    return CLI_GO;
}

static int run_map(const struct cli_command *self, int argc, char **argv)
{
    struct map_options map = {0};
    struct cli_args args;
    struct cli_disk disk;
    int sock;

    int rc = cli_parse(self, argc, argv, options, &map, &args);
    if (rc == CLI_GO)
        rc = cli_disk_argument(self, &args);
    if (rc == CLI_GO)
        rc = check(self, &map, args.json);
    if (rc == CLI_GO)
        rc = cli_open(&args, &disk, &sock);
    if (rc != CLI_GO)
        return rc;
    if (map.svg != NULL || map.png != NULL)
        rc = cli_picture(self, sock, &disk, map.svg, map.png);
    else
        rc = show(self, &map, &args, sock);
    close(sock);
    return rc;
}

const struct cli_command cli_cmd_map = {
    .name = "map",
    .synopsis = "[NAME|--socket PATH] [--frames [--blocks A[-B]]] [--ascii|--utf8] [--colour]\n"
                "                   [--width N] [--svg FILE] [--png FILE] [--json]",
    .brief = "a picture of a disk's blocks, or of all their frames",
    .help =
        "One cell a block: a bar as high as the block is full.  An absent block has no memory\n"
        "(never used, or given back), a stuck one holds frames that cannot move, a fenced one\n"
        "is being emptied, one that is an area's and absent is taken.  Below, which blocks are\n"
        "an area's (klotski disk --cma).  Zones of very many blocks have several of them in a "
        "cell.\n"
        "\n"
        "  --frames        every frame, a line a block; with --blocks only block A, or A to B\n"
        "  --ascii, --utf8 plain characters, or not, whatever the locale says\n"
        "  --colour        in colour although it does not go to a terminal\n"
        "  --width N       as if the terminal had N columns (20 to 1000)\n"
        "  --svg FILE      a picture for documents and browsers, of a zone of any size; - is\n"
        "                  the standard output\n"
        "  --png FILE      the same as PNG, by rsvg-convert (Debian: librsvg2-bin)\n"
        "  --json          the map as the disk reports it\n"
        "\n"
        "No colour when NO_COLOR is set.\n",
    .run = run_map,
};
