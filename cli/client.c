// SPDX-License-Identifier: Apache-2.0
/* client.c - asks a running disk on its control socket.
 *
 * A disk may be stopped, or have no place for another client.  So every wait ends:
 * connecting and the quick requests after CLI_PATIENCE_S; before a request that
 * may take long, a quick one shows that somebody is there who answers.
 */
#include "cli.h"

#include "integrations/control/wire.h"
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int cli_connect(const char *path)
{
    const struct timeval patience = {.tv_sec = CLI_PATIENCE_S};
    struct sockaddr_un address;

    int err = kli_wire_address(path, &address);
    if (err < 0)
        return err;
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -KL_EIO;
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); /* connect's too */
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0)
        return sock;
    err = kli_wire_connect_error(errno);
    close(sock);
    return err;
}

int cli_open(const struct cli_args *args, struct cli_disk *disk, int *sock)
{
    int rc = cli_disk_find(args, disk);
    if (rc != CLI_GO)
        return rc;
    *sock = cli_connect(disk->control);
    if (*sock >= 0)
        return CLI_GO;
    if (*sock == -KL_ENOENT || *sock == -KL_ESTALE) {
        cli_error("no disk '%s' is running (nobody answers at %s)", disk->name, disk->control);
        return CLI_NO_DISK;
    }
    if (*sock == -KL_EAGAIN)
        cli_error("the disk '%s' does not answer: it is stopped, or has too many clients",
                  disk->name);
    else
        cli_error("cannot connect to %s: %s", disk->control, kl_err_text(*sock));
    return CLI_FAIL;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Until something can be read, or the moment has come: false. */
static bool readable_until(int sock, int64_t moment)
{
    struct pollfd input = {.fd = sock, .events = POLLIN};

    for (;;) {
        int64_t left = moment - now_ms();
        int n = poll(&input, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static int send_line(int sock, const char *text)
{
    const char *const parts[] = {text, "\n"};

    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(parts[i]);
        for (size_t sent = 0; sent < len;) {
            int64_t n = kli_wire_send(sock, parts[i] + sent, len - sent, -1);
            if (n < 0)
                return (int)n;
            sent += (size_t)n;
        }
    }
    return 0;
}

static int receive_line(int sock, enum cli_wait wait, struct kli_wire_line *line, int *fd)
{
    int64_t moment = now_ms() + CLI_PATIENCE_S * INT64_C(1000);
    bool said = false;
    int got = 0;

    while (got == 0) {
        while (!readable_until(sock, moment)) {
            if (wait == CLI_SOON)
                return -KL_EAGAIN;
            if (!said)
                cli_error("still waiting for the disk; Ctrl-C ends the wait");
            said = true;
            moment = now_ms() + CLI_PATIENCE_S * INT64_C(1000);
        }
        got = kli_wire_recv(sock, line, fd);
    }
    if (got < 0)
        return got;
    int64_t len = kli_wire_peek(line);
    return len >= 0 && (size_t)len + 1 == line->len ? 0 : -KL_EIO; /* more: nobody asked */
}

static int exchange(int sock, enum cli_wait wait, struct json_object *request,
                    struct json_object **reply, int *fd)
{
    struct kli_wire_line line = {.max = KLI_WIRE_REPLY_MAX};

    int err = send_line(sock, json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
    if (err == 0)
        err = receive_line(sock, wait, &line, fd);
    *reply = err == 0 ? json_tokener_parse(line.data) : NULL;
    kli_wire_line_free(&line);
    if (err == 0 && !json_object_is_type(*reply, json_type_object))
        err = -KL_EINVAL;
    if (err == 0)
        return 0;
    json_object_put(*reply);
    *reply = NULL;
    if (fd != NULL && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return err;
}

int cli_call(int sock, enum cli_wait wait, struct json_object *request, struct json_object **reply,
             int *fd)
{
    int err = 0;

    if (fd != NULL)
        *fd = -1;
    if (wait == CLI_LONG) {
        struct json_object *knock = cli_op("stat"), *alive;
        err = exchange(sock, CLI_SOON, knock, &alive, NULL);
        json_object_put(knock);
        json_object_put(alive);
    }
    if (err == 0)
        err = exchange(sock, wait, request, reply, fd);
    json_object_put(request);
    return err;
}

int cli_request(int sock, enum cli_wait wait, struct json_object *request,
                struct json_object **reply, int *fd)
{
    int err = cli_call(sock, wait, request, reply, fd);

    if (err == 0)
        return CLI_GO;
    if (err == -KL_ECANCELED)
        cli_error("the disk closed the connection without an answer");
    else if (err == -KL_EAGAIN)
        cli_error("the disk does not answer: it is stopped, or has too many clients");
    else if (err == -KL_EINVAL)
        cli_error("the disk's answer is not JSON");
    else
        cli_error("no answer from the disk: %s", kl_err_text(err));
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
        cli_print_obstacle(stderr, "in the way: ", culprit);
    return CLI_FAIL;
}

int cli_ask(const struct cli_command *cmd, const struct cli_args *args, enum cli_wait wait,
            struct json_object *request, struct json_object **reply)
{
    struct cli_disk disk;
    int sock;

    int rc = cli_open(args, &disk, &sock);
    if (rc != CLI_GO) {
        json_object_put(request);
        return rc;
    }
    rc = cli_request(sock, wait, request, reply, NULL);
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
