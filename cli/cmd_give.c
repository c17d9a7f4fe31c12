// SPDX-License-Identifier: Apache-2.0
/* cmd_give.c - `klotski give`: ends what `klotski take` began. */
#include "cli.h"

#include <json-c/json.h>

static int set_all(void *ctx, const char *value)
{
    (void)value;
    *(bool *)ctx = true;
    return CLI_GO;
}

static int run_give(const struct cli_command *self, int argc, char **argv)
{
    static const struct cli_option options[] = {{"all", false, set_all}, {NULL, false, NULL}};
    bool all = false;
    struct cli_args args;
    struct json_object *reply;
    uint64_t id = 0;
    char bytes[CLI_TEXT];

    int rc = cli_parse(self, argc, argv, options, &all, &args);
    if (rc != CLI_GO)
        return rc;
    if (args.nrest > 1 || (all && args.nrest > 0))
        return cli_usage(self, "one ID, or --all");
    if (args.nrest == 1 && !cli_parse_number(args.rest[0], 1, INT64_MAX, &id))
        return cli_usage(self, "not an ID: %s", args.rest[0]);
    if (args.nrest == 0 && !all)
        return cli_usage(self, "which one?  klotski stat lists them; --all for all");
    struct json_object *request = cli_op("give");
    json_object_object_add(request, "id", json_object_new_int64((int64_t)id));
    rc = cli_ask(self, &args, request, &reply);
    if (rc != CLI_GO)
        return rc;
    if (!args.json)
        printf("%s lent to the disk again\n", cli_bytes(cli_get_u64(reply, "bytes"), bytes));
    json_object_put(reply);
    return CLI_OK;
}

const struct cli_command cli_cmd_give = {
    .name = "give",
    .synopsis = "ID|--all [--name NAME] [--json]",
    .brief = "lend taken memory to the disk again",
    .help = "Ends what `klotski take` has begun: ID is the number that it printed, --all means\n"
            "everything that is taken.  The disk may then use that much memory again.\n",
    .run = run_give,
};
