// SPDX-License-Identifier: Apache-2.0
/* cmd_migration.c - `klotski migration`: the switch of experiments. */
#include "cli.h"

#include <json-c/json.h>
#include <string.h>

static int run_migration(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    struct json_object *reply;

    int rc = cli_parse(self, argc, argv, NULL, NULL, &args);
    if (rc != CLI_GO)
        return rc;
    bool on = args.nrest == 1 && strcmp(args.rest[0], "on") == 0;
    if (!on && !(args.nrest == 1 && strcmp(args.rest[0], "off") == 0))
        return cli_usage(self, "on or off?");
    struct json_object *request = cli_op("migration");
    json_object_object_add(request, "on", json_object_new_boolean(on));
    rc = cli_ask(self, &args, CLI_SOON, request, &reply);
    if (rc != CLI_GO)
        return rc;
    cli_done("migration is %s", on ? "on" : "off");
    if (!args.json)
        printf("migration is %s\n", on ? "on" : "off");
    json_object_put(reply);
    return CLI_OK;
}

const struct cli_command cli_cmd_migration = {
    .name = "migration",
    .synopsis = "on|off [--name NAME|--socket PATH] [--json]",
    .brief = "turn moving of frames on or off, for experiments",
    .help = "Off, no frame is moved, so that only blocks which happen to be free as a whole can\n"
            "be taken.  This is the control of an experiment, to see what migration is worth;\n"
            "there is no other reason to turn it off.  On at first.\n",
    .run = run_migration,
};
