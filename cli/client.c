// SPDX-License-Identifier: Apache-2.0
/* client.c - asks a running disk on its control socket. */
#include "cli.h"

#include "integrations/control/wire.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <unistd.h>

int cli_open(const char *name, struct cli_disk *disk, int *sock)
{
    int rc = cli_disk_find(name, disk);
    if (rc != CLI_GO)
        return rc;
    *sock = kli_wire_connect(disk->control);
    if (*sock >= 0)
        return CLI_GO;
    if (*sock == -KL_ENOENT || *sock == -KL_ESTALE) {
        cli_error("no disk '%s' is running (nobody answers at %s)", disk->name, disk->control);
        return CLI_NO_DISK;
    }
    cli_error("cannot connect to %s: %s", disk->control, kl_err_text(*sock));
    return CLI_FAIL;
}

int cli_request(int sock, struct json_object *request, struct json_object **reply, int *fd)
{
    char *text = NULL;

    if (fd != NULL)
        *fd = -1;
    int err = kli_wire_call(sock, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN),
                            &text, fd);
    json_object_put(request);
    if (err < 0) {
        if (err == -KL_ECANCELED)
            cli_error("the disk closed the connection without an answer");
        else
            cli_error("no answer from the disk: %s", kl_err_text(err));
        return CLI_FAIL;
    }
    *reply = json_tokener_parse(text);
    free(text);
    if (*reply != NULL && json_object_is_type(*reply, json_type_object))
        return CLI_GO;
    cli_error("the disk's answer is not JSON");
    json_object_put(*reply);
    *reply = NULL;
    if (fd != NULL && *fd >= 0)
        close(*fd);
    return CLI_FAIL;
}

int cli_judge(const struct cli_command *cmd, struct json_object *reply)
{
    struct json_object *culprit = cli_get(reply, "culprit");

    if (cli_get_bool(reply, "ok"))
        return CLI_GO;
    fprintf(stderr, "klotski %s: %s (%s)\n", cmd->name, cli_get_str(reply, "message"),
            cli_get_str(reply, "error"));
    if (culprit != NULL)
        fprintf(stderr,
                "  in the way: frame %" PRIu64 " in block %" PRIu64 ", which belongs to '%s'\n",
                cli_get_u64(culprit, "frame"), cli_get_u64(culprit, "block"),
                cli_get_str(culprit, "owner"));
    return CLI_FAIL;
}

int cli_ask(const struct cli_command *cmd, const struct cli_args *args, struct json_object *request,
            struct json_object **reply)
{
    struct cli_disk disk;
    int sock;

    int rc = cli_open(args->disk, &disk, &sock);
    if (rc != CLI_GO) {
        json_object_put(request);
        return rc;
    }
    rc = cli_request(sock, request, reply, NULL);
    close(sock);
    if (rc != CLI_GO)
        return rc;
    if (args->json)
        cli_print_json(*reply);
    rc = cli_judge(cmd, *reply);
    if (rc != CLI_GO)
        json_object_put(*reply);
    return rc;
}

struct json_object *cli_op(const char *name)
{
    struct json_object *request = json_object_new_object();

    json_object_object_add(request, "op", json_object_new_string(name));
    return request;
}

void cli_print_json(struct json_object *reply)
{
    puts(json_object_to_json_string_ext(reply,
                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

struct json_object *cli_get(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    if (object == NULL || !json_object_is_type(object, json_type_object))
        return NULL;
    json_object_object_get_ex(object, name, &value);
    return value;
}

uint64_t cli_get_u64(struct json_object *object, const char *name)
{
    return json_object_get_uint64(cli_get(object, name));
}

int64_t cli_get_i64(struct json_object *object, const char *name)
{
    return json_object_get_int64(cli_get(object, name));
}

bool cli_get_bool(struct json_object *object, const char *name)
{
    return json_object_get_boolean(cli_get(object, name));
}

const char *cli_get_str(struct json_object *object, const char *name)
{
    const char *text = json_object_get_string(cli_get(object, name));

    return text != NULL ? text : "";
}
