// SPDX-License-Identifier: Apache-2.0
/* picture.c - `klotski map --svg` and `--png`: asks for the zone in so many cells, and
 * for every frame where they can be drawn; what svg.c makes of that goes to files.
 *
 * The replies are of different moments, and of a server that may be another version:
 * what does not fit together is an error, never a wrong picture. */
#include "picture.h"
#include "cli.h"
#include "svg.h"

#include <errno.h>
#include <json-c/json.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_FRAMES (UINT64_C(1) << 32) /* of a zone */

struct text {
    char *data;
    size_t len;
};

/* ---- the figures --------------------------------------------------------- */

/* One of the zone's cells; false: that can't be. */
static bool read_cell(struct json_object *list, size_t i, uint64_t all, struct svg_cell *cell)
{
    struct json_object *item = json_object_array_get_idx(list, i);
    uint64_t n[5] = {0};
    size_t given = cli_length(item);

    if (given != 4 && given != 5) /* 4: of a disk that knows no areas */
        return false;
    for (size_t k = 0; k < given; k++)
        n[k] = json_object_get_uint64(json_object_array_get_idx(item, k));
    if (n[0] > all || n[1] > n[0])
        return false;
    uint64_t used = n[0] - n[1], stuck = n[2] < used ? n[2] : used;
    *cell = (struct svg_cell){.fenced = n[3] > 0, .area = n[4] > 0};
    cell->frames[SVG_UNMOVABLE] = stuck;
    cell->frames[SVG_MOVABLE] = used - stuck;
    cell->frames[SVG_FREE] = n[1];
    cell->frames[SVG_ABSENT] = all - n[0];
    return true;
}

static bool read_shape(struct json_object *map, struct svg_zone *zone)
{
    zone->per_block = cli_get_u64(map, "frames_per_block");
    zone->frame_bytes = cli_get_u64(map, "frame_bytes");
    zone->blocks = cli_get_u64(map, "zone_blocks");
    zone->per_cell = cli_get_u64(map, "blocks_per_cell");
    zone->cells = cli_length(cli_get(map, "cells"));
    return zone->per_block > 0 && zone->blocks > 0 && zone->blocks < MAX_FRAMES &&
           zone->per_block <= MAX_FRAMES / zone->blocks && zone->per_cell > 0 &&
           zone->per_cell < MAX_FRAMES && zone->cells <= SVG_CELLS &&
           zone->cells == (zone->blocks + zone->per_cell - 1) / zone->per_cell;
}

static bool read_cells(struct json_object *map, struct svg_zone *zone, struct svg_cell *cell)
{
    if (!read_shape(map, zone))
        return false;
    for (size_t i = 0; i < zone->cells; i++) {
        uint64_t left = zone->blocks - i * zone->per_cell;
        uint64_t blocks = left < zone->per_cell ? left : zone->per_cell;

        if (!read_cell(cli_get(map, "cells"), i, blocks * zone->per_block, &cell[i]))
            return false;
    }
    zone->cell = cell;
    return true;
}

/* Every frame's kind; the cells get counted again from these. */
static bool read_frames(struct json_object *map, struct svg_zone *zone, struct svg_cell *cell,
                        enum svg_kind *frame)
{
    static const enum svg_kind kinds[] = {SVG_ABSENT,    SVG_FREE,   SVG_MOVABLE,
                                          SVG_UNMOVABLE, SVG_PINNED, SVG_ISOLATED};
    const char *digits = cli_get_str(map, "frames");

    if (strlen(digits) != zone->blocks * zone->per_block ||
        strspn(digits, "012345") != strlen(digits))
        return false;
    for (size_t i = 0; i < zone->cells; i++)
        cell[i] = (struct svg_cell){.fenced = cell[i].fenced, .area = cell[i].area};
    for (size_t i = 0; digits[i] != '\0'; i++) {
        frame[i] = kinds[digits[i] - '0'];
        cell[i / zone->per_block].frames[frame[i]]++;
    }
    zone->frame = frame;
    return true;
}

static void read_stat(struct json_object *stat, struct svg_zone *zone)
{
    struct json_object *figures = cli_get(stat, "zone"), *list = cli_get(figures, "indexes");
    uint64_t order = cli_get_u64(figures, "block_order");

    zone->backing = cli_get_str(cli_get(stat, "disk"), "backing");
    zone->taken = cli_get_u64(figures, "given_blocks");
    for (size_t i = 0; i < cli_length(list); i++) {
        struct json_object *item = json_object_array_get_idx(list, i);

        if (cli_get_u64(item, "order") != order)
            continue;
        zone->unusable = (int)cli_get_i64(item, "unusable");
        zone->fragmentation = (int)cli_get_i64(item, "fragmentation");
        zone->indexed = true;
    }
}

/* ---- asking -------------------------------------------------------------- */

static int ask(const struct cli_command *cmd, int sock, struct json_object *request,
               struct json_object **reply)
{
    int rc = cli_request(sock, CLI_SOON, request, reply, NULL);

    if (rc == CLI_GO)
        rc = cli_judge(cmd, *reply);
    return rc;
}

static int ask_cells(const struct cli_command *cmd, int sock, struct svg_zone *zone,
                     struct svg_cell *cell)
{
    struct json_object *request = cli_op("map"), *map = NULL;

    json_object_object_add(request, "cells", json_object_new_int(SVG_CELLS));
    int rc = ask(cmd, sock, request, &map);
    if (rc == CLI_GO && !read_cells(map, zone, cell)) {
        cli_error("the disk's answer is not a map of cells; it may be older than this command");
        rc = CLI_FAIL;
    }
    json_object_put(map);
    return rc;
}

static int ask_frames(const struct cli_command *cmd, int sock, struct svg_zone *zone,
                      struct svg_cell *cell, enum svg_kind *frame)
{
    struct json_object *request = cli_op("map"), *map = NULL;

    json_object_object_add(request, "frames", json_object_new_boolean(true));
    int rc = ask(cmd, sock, request, &map);
    if (rc == CLI_GO && !read_frames(map, zone, cell, frame)) {
        cli_error("the disk's answer is not a map");
        rc = CLI_FAIL;
    }
    json_object_put(map);
    return rc;
}

/* ---- files --------------------------------------------------------------- */

static bool draw(const struct svg_zone *zone, struct text *svg)
{
    FILE *out = open_memstream(&svg->data, &svg->len);

    if (out == NULL)
        return false;
    svg_paint(out, zone);
    bool whole = !ferror(out);
    return fclose(out) == 0 && whole;
}

/* All that comes from a descriptor. */
static bool read_all(int fd, struct text *text)
{
    FILE *out = open_memstream(&text->data, &text->len);
    char part[65536];
    ssize_t n = 0;

    while (out != NULL && ((n = read(fd, part, sizeof(part))) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            fwrite(part, 1, (size_t)n, out);
    return out != NULL && fclose(out) == 0 && n == 0;
}

static int convert(const int in, const int out[2], pid_t *pid)
{
    static char *const argv[] = {"rsvg-convert", "--zoom=2", "--format=png", NULL};
    posix_spawn_file_actions_t actions;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    int err = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return err;
}

static int make_png(const struct text *svg, struct text *png)
{
    FILE *in = tmpfile();
    int out[2] = {-1, -1}, status = 0;
    pid_t pid;

    if (in == NULL || fwrite(svg->data, 1, svg->len, in) != svg->len || fflush(in) != 0 ||
        fseek(in, 0, SEEK_SET) != 0 || pipe(out) != 0) {
        cli_error("cannot hand the picture to rsvg-convert: %s", strerror(errno));
        if (in != NULL)
            fclose(in);
        return CLI_FAIL;
    }
    int err = convert(fileno(in), out, &pid);
    close(out[1]);
    bool got = err == 0 && read_all(out[0], png);
    close(out[0]);
    fclose(in);
    if (err != 0) {
        cli_error("cannot run rsvg-convert, which makes the PNG (Debian has it in the package "
                  "librsvg2-bin; --svg does without): %s",
                  strerror(err));
        return CLI_FAIL;
    }
    waitpid(pid, &status, 0);
    if (got && status == 0 && png->len > 0)
        return CLI_OK;
    cli_error("rsvg-convert has made no PNG");
    return CLI_FAIL;
}

static int write_file(const char *path, const struct text *text)
{
    char size[CLI_TEXT];

    if (strcmp(path, "-") == 0) {
        fwrite(text->data, 1, text->len, stdout);
        return CLI_OK; /* or cli_flush says otherwise */
    }
    FILE *out = fopen(path, "w");
    bool good = out != NULL && fwrite(text->data, 1, text->len, out) == text->len;
    if (out != NULL && (fclose(out) != 0 || !good))
        good = false;
    if (!good) {
        cli_error("cannot write %s: %s", path, strerror(errno));
        return CLI_FAIL;
    }
    fprintf(stderr, "written: %s (%s)\n", path, cli_bytes(text->len, size));
    return CLI_OK;
}

static int write_files(const struct svg_zone *zone, const char *svg, const char *png)
{
    struct text drawn = {0}, converted = {0};
    int rc = CLI_OK;

    if (!draw(zone, &drawn)) {
        cli_error("no memory for the picture");
        rc = CLI_FAIL;
    }
    if (rc == CLI_OK && png != NULL)
        rc = make_png(&drawn, &converted);
    if (rc == CLI_OK && svg != NULL)
        rc = write_file(svg, &drawn);
    if (rc == CLI_OK && png != NULL)
        rc = write_file(png, &converted);
    free(drawn.data);
    free(converted.data);
    return rc;
}

int cli_picture(const struct cli_command *cmd, int sock, const struct cli_disk *disk,
                const char *svg, const char *png)
{
    struct svg_cell *cell = calloc(SVG_CELLS, sizeof(*cell));
    enum svg_kind *frame = calloc((size_t)SVG_BLOCKS * SVG_FRAMES, sizeof(*frame));
    struct json_object *stat = NULL;
    char name[CLI_PATH_MAX + 16];
    struct svg_zone zone = {.name = name};
    int rc = CLI_FAIL;

    snprintf(name, sizeof(name), "zone of disk %s", disk->name);
    if (cell != NULL && frame != NULL)
        rc = ask_cells(cmd, sock, &zone, cell);
    else
        cli_error("no memory for the picture");
    if (rc == CLI_GO && zone.per_cell == 1 && svg_frames_fit(zone.blocks, zone.per_block))
        rc = ask_frames(cmd, sock, &zone, cell, frame);
    if (rc == CLI_GO)
        rc = ask(cmd, sock, cli_op("stat"), &stat);
    if (rc == CLI_GO) {
        read_stat(stat, &zone);
        rc = write_files(&zone, svg, png);
    }
    json_object_put(stat);
    free(cell);
    free(frame);
    return rc;
}
