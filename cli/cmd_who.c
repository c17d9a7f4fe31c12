// SPDX-License-Identifier: Apache-2.0
/* cmd_who.c - `klotski who`: what stands between a disk's memory and a take, before it
 * is made. */
#include "cli.h"

#include <inttypes.h>
#include <json-c/json.h>

struct who_options {
    uint64_t align; /* bytes; 0: whole blocks, wherever they are */
};

static int set_align(void *ctx, const char *value)
{
    struct who_options *who = ctx;

    if (cli_parse_size(value, &who->align) && who->align > 0 &&
        (who->align & (who->align - 1)) == 0)
        return CLI_GO;
    cli_error("--align: not a size that is a power of two: %s", value);
    return CLI_USAGE;
}

static struct json_object *who_request(uint64_t bytes, uint64_t align)
{
    struct json_object *request = cli_op("who");

    json_object_object_add(request, "bytes", json_object_new_uint64(bytes));
    if (align > 0)
        json_object_object_add(request, "align", json_object_new_uint64(align));
    return request;
}

static void say_room(struct json_object *reply)
{
    char moved[CLI_TEXT], room[CLI_TEXT];

    cli_count(cli_get_u64(reply, "to_move"), moved);
    cli_count(cli_get_u64(reply, "room"), room);
    if (cli_get_bool(reply, "lacks_room"))
        printf("  too little room elsewhere: %s frames would move, and %s are free\n", moved, room);
    else
        printf("  %s frames would move; %s are free elsewhere\n", moved, room);
}

static void say_who(struct json_object *reply)
{
    struct json_object *obstacles = cli_get(reply, "obstacles");
    uint64_t found = cli_get_u64(reply, "found");
    char bytes[CLI_TEXT];

    cli_bytes(cli_get_u64(reply, "bytes"), bytes);
    if (cli_get(reply, "first") != NULL)
        printf("%s from frame %" PRIu64 " on: ", bytes, cli_get_u64(reply, "first"));
    else
        printf("%s (%" PRIu64 " blocks): ", bytes, cli_get_u64(reply, "blocks"));
    if (found > 0)
        printf("%" PRIu64 " in the way\n", found);
    else
        puts(cli_get_bool(reply, "lacks_room") ? "no frame is in the way"
                                               : "nothing is in the way");
    for (size_t i = 0; i < cli_length(obstacles); i++)
        cli_print_obstacle(stdout, "", json_object_array_get_idx(obstacles, i));
    if (found > cli_length(obstacles))
        printf("  and %" PRIu64 " more\n", found - cli_length(obstacles));
    say_room(reply);
}

static int run_who(const struct cli_command *self, int argc, char **argv)
{
    static const struct cli_option options[] = {{"align", true, set_align}, {NULL, false, NULL}};
    struct who_options who = {0};
    struct json_object *reply;
    struct cli_args args;
    uint64_t bytes;

    int rc = cli_parse(self, argc, argv, options, &who, &args);
    if (rc != CLI_GO)
        return rc;
    if (args.nrest != 1)
        return cli_usage(self, args.nrest == 0 ? "how much?" : "one size, please");
    if (!cli_parse_size(args.rest[0], &bytes) || bytes == 0)
        return cli_usage(self, "not a size: %s", args.rest[0]);
    rc = cli_ask(self, &args, CLI_LONG, who_request(bytes, who.align), &reply);
    if (rc != CLI_GO)
        return rc;
    if (!args.json)
        say_who(reply);
    rc = cli_get_u64(reply, "found") > 0 || cli_get_bool(reply, "lacks_room") ? CLI_FAIL : CLI_OK;
    json_object_put(reply);
    return rc;
}

const struct cli_command cli_cmd_who = {
    .name = "who",
    .synopsis = "SIZE [--align A] [--name NAME|--socket PATH] [--json]",
    .brief = "who is in the way of taking that much",
    .help = "Says what stands between SIZE and `klotski take SIZE`, and changes nothing: of the\n"
            "blocks with the fewest obstacles, each frame that can't be moved, whose it is,\n"
            "and, if it is pinned, since when and what for; and whether there is room for what\n"
            "would have to move.\n"
            "\n"
            "  --align A   a range in one piece that begins at a multiple of A, a power of two\n"
            "\n"
            "Exit status: 0 when nothing is in the way, 1 when something is.\n",
    .run = run_who,
};
