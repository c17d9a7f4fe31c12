// SPDX-License-Identifier: Apache-2.0
/* cmd_classes.c - `klotski classes`: zsmalloc's table, as the kernel's
 * /sys/kernel/debug/zsmalloc shows its own. */
#include "cli.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

static int set_all(void *ctx, const char *value)
{
    (void)value;
    *(bool *)ctx = true;
    return CLI_GO;
}

/* Zspages by fullness in three columns: under half full, above, full. */
static void fullness(struct json_object *row, uint64_t out[3])
{
    struct json_object *list = cli_get(row, "fullness");

    memset(out, 0, 3 * sizeof(out[0]));
    if (list == NULL || !json_object_is_type(list, json_type_array))
        return;
    size_t n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        size_t column = i + 1 == n ? 2 : i <= n / 2 - 1 ? 0 : 1;
        out[column] += json_object_get_uint64(json_object_array_get_idx(list, i));
    }
}

/* What the zspages' frames have room for: a little more where the last frames of a zspage
 * are still to come. */
static uint64_t room(struct json_object *row)
{
    uint64_t chain = cli_get_u64(row, "frames_per_zspage");

    return chain ? cli_get_u64(row, "frames") * cli_get_u64(row, "objects_per_zspage") / chain : 0;
}

static void print_row(size_t index, struct json_object *row)
{
    uint64_t full[3];

    fullness(row, full);
    printf("%5zu %6" PRIu64 " %8" PRIu64 " %7" PRIu64 " %7" PRIu64 " %7" PRIu64 " %9" PRIu64
           " %9" PRIu64 " %8" PRIu64 " %7" PRIu64 " %8" PRIu64 "\n",
           index, cli_get_u64(row, "object_size"), cli_get_u64(row, "zspages"), full[0], full[1],
           full[2], room(row), cli_get_u64(row, "objects"), cli_get_u64(row, "frames"),
           cli_get_u64(row, "frames_per_zspage"), cli_get_u64(row, "freeable_frames"));
}

static void print_table(struct json_object *classes, bool all)
{
    uint64_t objects = 0, frames = 0, freeable = 0;

    printf("%5s %6s %8s %7s %7s %7s %9s %9s %8s %7s %8s\n", "class", "size", "zspages", "<half",
           ">half", "full", "allocated", "used", "frames", "frames/", "freeable");
    for (size_t i = 0; i < json_object_array_length(classes); i++) {
        struct json_object *row = json_object_array_get_idx(classes, i);
        objects += cli_get_u64(row, "objects");
        freeable += cli_get_u64(row, "freeable_frames");
        frames += cli_get_u64(row, "frames");
        if (cli_get_u64(row, "zspages") > 0 || all)
            print_row(i, row);
    }
    printf("in all: %" PRIu64 " objects in %" PRIu64 " frames, %" PRIu64
           " of which compaction could free\n",
           objects, frames, freeable);
}

static int run_classes(const struct cli_command *self, int argc, char **argv)
{
    static const struct cli_option options[] = {{"all", false, set_all}, {NULL, false, NULL}};
    bool all = false;
    struct cli_args args;
    struct json_object *reply;

    int rc = cli_parse(self, argc, argv, options, &all, &args);
    if (rc == CLI_GO)
        rc = cli_disk_argument(self, &args);
    if (rc != CLI_GO)
        return rc;
    rc = cli_ask(self, &args, CLI_SOON, cli_op("classes"), &reply);
    if (rc != CLI_GO)
        return rc;
    struct json_object *classes = cli_get(reply, "classes");
    rc = CLI_OK;
    if (classes == NULL || !json_object_is_type(classes, json_type_array)) {
        cli_error("the disk's answer is not a table of classes");
        rc = CLI_FAIL;
    } else if (!args.json) {
        print_table(classes, all);
    }
    json_object_put(reply);
    return rc;
}

const struct cli_command cli_cmd_classes = {
    .name = "classes",
    .synopsis = "[NAME|--socket PATH] [--all] [--json]",
    .brief = "zsmalloc's table of size classes",
    .help = "A line a class: size of its objects; zspages, and how full they are; objects that\n"
            "there is room for, and those in use; frames, frames of a whole zspage, and frames\n"
            "that object compaction could free.\n"
            "\n"
            "  --all   classes without zspages too\n",
    .run = run_classes,
};
