// SPDX-License-Identifier: Apache-2.0
/* cmd_list.c - `klotski list`: the disks that run. */
#include "cli.h"

#include <json-c/json.h>
#include <stdlib.h>

static void list_json(char (*names)[CLI_NAME_MAX + 1], size_t n)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < n; i++)
        json_object_array_add(list, json_object_new_string(names[i]));
    cli_print_json(list);
    json_object_put(list);
}

static int run_list(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    char(*names)[CLI_NAME_MAX + 1];
    size_t n;

    int rc = cli_parse(self, argc, argv, NULL, NULL, &args);
    if (rc != CLI_GO)
        return rc;
    if (args.nrest > 0 || args.disk != NULL || args.socket != NULL)
        return cli_usage(self, "it takes no name and no socket");
    rc = cli_disk_list(true, &names, &n);
    if (rc != CLI_GO)
        return rc;
    if (args.json)
        list_json(names, n);
    else
        for (size_t i = 0; i < n; i++)
            puts(names[i]);
    free(names);
    return CLI_OK;
}

const struct cli_command cli_cmd_list = {
    .name = "list",
    .synopsis = "[--json]",
    .brief = "names of the disks that run",
    .help = "One name a line; nothing when no disk runs.  Files that killed disks have left are\n"
            "removed.\n",
    .run = run_list,
};
