// SPDX-License-Identifier: Apache-2.0
/* cmd_compact.c - `klotski compact`: packs a disk's memory. */
#include "cli.h"

#include <json-c/json.h>

static int run_compact(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    struct json_object *reply;
    char objects[CLI_TEXT], freed[CLI_TEXT], moved[CLI_TEXT], blocks[CLI_TEXT], time[CLI_TEXT];

    int rc = cli_parse(self, argc, argv, NULL, NULL, &args);
    if (rc == CLI_GO)
        rc = cli_disk_argument(self, &args);
    if (rc != CLI_GO)
        return rc;
    rc = cli_ask(self, &args, CLI_LONG, cli_op("compact"), &reply);
    if (rc != CLI_GO)
        return rc;
    cli_done("compacted");
    if (!args.json)
        printf("objects: %s moved, %s frames freed; frames: %s moved; blocks: %s given back; %s\n",
               cli_count(cli_get_u64(reply, "objects_moved"), objects),
               cli_count(cli_get_u64(reply, "zs_frames_freed"), freed),
               cli_count(cli_get_u64(reply, "migrated"), moved),
               cli_count(cli_get_u64(reply, "blocks_trimmed"), blocks),
               cli_duration(cli_get_u64(reply, "ns"), time));
    json_object_put(reply);
    return CLI_OK;
}

const struct cli_command cli_cmd_compact = {
    .name = "compact",
    .synopsis = "[NAME|--socket PATH] [--json]",
    .brief = "pack a disk's memory densely, and return what becomes free",
    .help = "Moves objects into fewer frames, then frames into fewer blocks, and returns blocks\n"
            "that are free as a whole to the system.  The disk serves meanwhile; it also does\n"
            "this by itself, a little at a time.\n",
    .run = run_compact,
};
