// SPDX-License-Identifier: Apache-2.0
/* cmd_give.c - `klotski give`: ends what `klotski take` began.
 *
 * A lease that is "held" is memory that a program is using.  --all spares those:
 * they end with their programs.  Leases are ended one by one, by their ids, so
 * that one which is made meanwhile is not meant.
 */
#include "cli.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

struct give_options {
    bool all, force;
};

/* What has come of it. */
struct given {
    uint64_t bytes;
    uint64_t owed; /* by the system, after the last one */
    uint64_t spared, spared_bytes;
};

static int set_all(void *ctx, const char *value)
{
    (void)value;
    ((struct give_options *)ctx)->all = true;
    return CLI_GO;
}

static int set_force(void *ctx, const char *value)
{
    (void)value;
    ((struct give_options *)ctx)->force = true;
    return CLI_GO;
}

static struct json_object *give_request(uint64_t id)
{
    struct json_object *request = cli_op("give");

    json_object_object_add(request, "id", json_object_new_uint64(id));
    return request;
}

/* What the area of the disk still waits for. */
static void say_owed(uint64_t owed)
{
    char bytes[CLI_TEXT];

    if (owed > 0)
        printf("the system has no memory for %s of it now: tried again each second\n",
               cli_bytes(owed, bytes));
}

static int give_one(const struct cli_command *self, const struct cli_args *args, uint64_t id)
{
    struct json_object *reply;
    char bytes[CLI_TEXT];

    int rc = cli_ask(self, args, CLI_SOON, give_request(id), &reply);
    if (rc != CLI_GO)
        return rc;
    uint64_t owed = cli_get_u64(reply, "owed");
    cli_bytes(cli_get_u64(reply, "bytes"), bytes);
    json_object_put(reply);
    cli_done("%s lent to the disk again", bytes);
    if (!args->json) {
        printf("%s lent to the disk again\n", bytes);
        say_owed(owed);
    }
    return CLI_OK;
}

/* Ends those leases that it may; one that has ended by itself is no error. */
static int give_listed(const struct cli_command *self, int sock, struct json_object *leases,
                       bool force, struct given *given)
{
    for (size_t i = 0; i < cli_length(leases); i++) {
        struct json_object *lease = json_object_array_get_idx(leases, i), *reply;
        if (!force && cli_get_bool(lease, "held")) {
            given->spared++;
            given->spared_bytes += cli_get_u64(lease, "bytes");
            continue;
        }
        int rc = cli_request(sock, CLI_SOON, give_request(cli_get_u64(lease, "id")), &reply, NULL);
        if (rc != CLI_GO)
            return rc;
        given->bytes += cli_get_u64(reply, "bytes");
        given->owed = cli_get_u64(reply, "owed");
        rc = strcmp(cli_get_str(reply, "error"), "ENOENT") == 0 ? CLI_GO : cli_judge(self, reply);
        json_object_put(reply);
        if (rc != CLI_GO)
            return rc;
    }
    return CLI_GO;
}

static void say_given(const struct given *given, bool json)
{
    char bytes[CLI_TEXT], spared[CLI_TEXT];

    cli_done("%s lent to the disk again", cli_bytes(given->bytes, bytes));
    if (json) {
        struct json_object *out = json_object_new_object();
        json_object_object_add(out, "ok", json_object_new_boolean(true));
        json_object_object_add(out, "bytes", json_object_new_uint64(given->bytes));
        json_object_object_add(out, "owed", json_object_new_uint64(given->owed));
        json_object_object_add(out, "spared", json_object_new_uint64(given->spared));
        cli_print_json(out);
        json_object_put(out);
        return;
    }
    printf("%s lent to the disk again\n", bytes);
    say_owed(given->owed);
    if (given->spared > 0)
        printf("left: %" PRIu64 " lease%s of running programs (%s); --force takes their memory "
               "away\n",
               given->spared, given->spared == 1 ? "" : "s",
               cli_bytes(given->spared_bytes, spared));
}

static int give_all(const struct cli_command *self, const struct cli_args *args, bool force)
{
    struct given given = {0};
    struct json_object *reply;
    struct cli_disk disk;
    int sock;

    int rc = cli_open(args, &disk, &sock);
    if (rc != CLI_GO)
        return rc;
    rc = cli_request(sock, CLI_SOON, cli_op("stat"), &reply, NULL);
    if (rc == CLI_GO) {
        rc = cli_judge(self, reply);
        if (rc == CLI_GO)
            rc = give_listed(self, sock, cli_get(reply, "leases"), force, &given);
        json_object_put(reply);
    }
    close(sock);
    if (rc != CLI_GO)
        return rc;
    say_given(&given, args->json);
    return CLI_OK;
}

static int run_give(const struct cli_command *self, int argc, char **argv)
{
    static const struct cli_option options[] = {
        {"all", false, set_all}, {"force", false, set_force}, {NULL, false, NULL}};
    struct give_options give = {0};
    struct cli_args args;
    uint64_t id = 0;

    int rc = cli_parse(self, argc, argv, options, &give, &args);
    if (rc != CLI_GO)
        return rc;
    if (args.nrest > 1 || (give.all && args.nrest > 0))
        return cli_usage(self, "one ID, or --all");
    if (args.nrest == 1 && !cli_parse_number(args.rest[0], 1, INT64_MAX, &id))
        return cli_usage(self, "not an ID: %s", args.rest[0]);
    if (give.force && !give.all)
        return cli_usage(self, "--force goes with --all");
    if (args.nrest == 0 && !give.all)
        return cli_usage(self, "which one?  klotski stat lists them; --all for all");
    return give.all ? give_all(self, &args, give.force) : give_one(self, &args, id);
}

const struct cli_command cli_cmd_give = {
    .name = "give",
    .synopsis = "ID|--all [--force] [--name NAME|--socket PATH] [--json]",
    .brief = "lend taken memory to the disk again",
    .help = "Ends what `klotski take` has begun: ID is the number that it printed, --all means\n"
            "everything that is taken and that no program holds.  The disk may then use that\n"
            "much memory again.\n"
            "\n"
            "Memory of a running program (klotski take SIZE -- COMMAND) comes back by itself\n"
            "when that ends.  Its ID, or --all --force, withdraws it now: the program gets\n"
            "SIGBUS when it touches it.\n",
    .run = run_give,
};
