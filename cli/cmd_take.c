// SPDX-License-Identifier: Apache-2.0
/* cmd_take.c - `klotski take`: gets memory of a disk back whole.
 *
 * Without a command the memory is the system's until `klotski give`.  With one,
 * the disk sends a descriptor of fresh memory; the command inherits it, and the
 * connection, which this process holds until the command has ended, is the
 * lease: however this process ends, the disk gets its memory back.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <klotski/base.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t child_pid;

static void forward(int sig)
{
    if (child_pid > 0)
        kill((pid_t)child_pid, sig);
}

static void on_signal(int sig, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigemptyset(&action.sa_mask);
    sigaction(sig, &action, NULL);
}

static void run_child(char **command, int fd, const sigset_t *mask)
{
    char number[16];

    on_signal(SIGINT, SIG_DFL);
    on_signal(SIGQUIT, SIG_DFL);
    on_signal(SIGTERM, SIG_DFL);
    on_signal(SIGHUP, SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    fcntl(fd, F_SETFD, 0);
    snprintf(number, sizeof(number), "%d", fd);
    setenv("KLOTSKI_FD", number, 1);
    execvp(command[0], command);
    int err = errno;
    cli_error("cannot run %s: %s", command[0], strerror(err));
    _exit(err == ENOENT ? 127 : 126);
}

/* Runs the command with the descriptor; its exit status, as a shell has it. */
static int run_command(char **command, int fd)
{
    sigset_t all, old;
    int status;

    cli_flush();
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old); /* nothing is lost before child_pid is set */
    pid_t pid = fork();
    if (pid == 0)
        run_child(command, fd, &old);
    child_pid = (sig_atomic_t)pid;
    on_signal(SIGINT, SIG_IGN); /* the terminal sends them to the command too */
    on_signal(SIGQUIT, SIG_IGN);
    on_signal(SIGTERM, forward);
    on_signal(SIGHUP, forward);
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (pid < 0) {
        cli_error("fork: %s", strerror(errno));
        return CLI_FAIL;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return CLI_FAIL;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static struct json_object *take_request(uint64_t bytes, bool with_fd)
{
    struct json_object *request = cli_op("take");

    json_object_object_add(request, "bytes", json_object_new_uint64(bytes));
    if (with_fd)
        json_object_object_add(request, "fd", json_object_new_boolean(true));
    return request;
}

/* What the error means here, where the disk could name no frame. */
static void say_why(struct json_object *reply)
{
    const char *error = cli_get_str(reply, "error");

    if (cli_get_bool(reply, "ok") || cli_get(reply, "culprit") != NULL)
        return;
    if (strcmp(error, "EBUSY") == 0)
        fputs("  too few blocks can be emptied: frames are pinned, or migration is off\n", stderr);
    else if (strcmp(error, "ENOMEM") == 0)
        fputs("  too few frames are free elsewhere for what is in those blocks\n", stderr);
}

/* To stderr when the standard output is the command's. */
static void say_taken(FILE *out, struct json_object *reply)
{
    char bytes[CLI_TEXT], moved[CLI_TEXT], time[CLI_TEXT];

    fprintf(out, "taken: %s (%" PRIu64 " blocks%s), %s frames moved, %s\n",
            cli_bytes(cli_get_u64(reply, "bytes"), bytes), cli_get_u64(reply, "blocks"),
            strcmp(cli_get_str(reply, "from"), "area") == 0 ? " of the area" : "",
            cli_count(cli_get_u64(reply, "migrated"), moved),
            cli_duration(cli_get_u64(reply, "ns"), time));
}

/* Ends the lease.  CLI_FAIL, after a message, when somebody else has done so, or
 * the disk has ended, while the command ran. */
static int give_back(int sock, uint64_t id, const char *command)
{
    struct json_object *request = cli_op("give"), *reply;
    int rc = CLI_OK;

    json_object_object_add(request, "id", json_object_new_uint64(id));
    int err = cli_call(sock, CLI_SOON, request, &reply, NULL);
    if (err == -KL_EAGAIN) {
        cli_error("the disk does not answer; it has the memory again when it does");
        return CLI_OK;
    }
    if (err != 0 || strcmp(cli_get_str(reply, "error"), "ENOENT") == 0) {
        cli_error("the memory was taken back while %s ran", command);
        rc = CLI_FAIL;
    } else if (cli_judge(&cli_cmd_take, reply) != CLI_GO) {
        rc = CLI_FAIL;
    }
    json_object_put(err == 0 ? reply : NULL);
    return rc;
}

static int use_lease(int sock, struct json_object *reply, int fd, char **command, bool json)
{
    if (fd < 0) {
        cli_error("the disk sent no memory along");
        return CLI_FAIL;
    }
    if (json)
        cli_print_json(reply);
    else
        say_taken(stderr, reply);
    int rc = run_command(command, fd);
    close(fd);
    int end = give_back(sock, cli_get_u64(reply, "id"), command[0]);
    return rc == CLI_OK ? end : rc;
}

/* For the system: what ends it is said, and must not be lost. */
static void say_lease(const struct cli_args *args, const struct cli_disk *disk,
                      struct json_object *reply)
{
    char name[CLI_QUOTED_MAX];
    uint64_t id = cli_get_u64(reply, "id");

    cli_done("taken as lease %" PRIu64, id);
    if (args->json) {
        cli_print_json(reply);
        return;
    }
    say_taken(stdout, reply);
    printf("until: klotski give %" PRIu64 " --%s %s\n", id,
           args->socket != NULL ? "socket" : "name", cli_quote(disk->name, name));
}

static int take(const struct cli_command *self, const struct cli_args *args, uint64_t bytes,
                char **command)
{
    struct json_object *reply;
    struct cli_disk disk;
    int sock, fd = -1;

    int rc = cli_open(args, &disk, &sock);
    if (rc != CLI_GO)
        return rc;
    rc = cli_request(sock, CLI_LONG, take_request(bytes, command != NULL), &reply,
                     command != NULL ? &fd : NULL);
    if (rc != CLI_GO) {
        close(sock);
        return rc;
    }
    rc = cli_judge(self, reply);
    say_why(reply);
    if (rc == CLI_GO && command != NULL) {
        rc = use_lease(sock, reply, fd, command, args->json);
    } else if (rc == CLI_GO) {
        say_lease(args, &disk, reply);
        rc = CLI_OK;
    } else if (args->json) {
        cli_print_json(reply);
    }
    close(sock);
    json_object_put(reply);
    return rc;
}

static int run_take(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    uint64_t bytes;
    char **command = NULL;

    int rc = cli_parse(self, argc, argv, NULL, NULL, &args);
    if (rc != CLI_GO)
        return rc;
    if (args.nrest == 0 || strcmp(args.rest[0], "--") == 0)
        return cli_usage(self, "how much?");
    if (!cli_parse_size(args.rest[0], &bytes) || bytes == 0)
        return cli_usage(self, "not a size: %s", args.rest[0]);
    if (args.nrest > 1) {
        if (strcmp(args.rest[1], "--") != 0)
            return cli_usage(self, "what is '%s'?  A command comes after --", args.rest[1]);
        if (args.nrest == 2)
            return cli_usage(self, "no command follows --");
        command = args.rest + 2;
    }
    return take(self, &args, bytes, command);
}

const struct cli_command cli_cmd_take = {
    .name = "take",
    .synopsis = "SIZE [--name NAME|--socket PATH] [--json] [-- COMMAND [ARGUMENTS]]",
    .brief = "get memory of a disk back whole, for the system or for a command",
    .help =
        "Empties as many blocks (huge pages of 2 MiB) as SIZE needs, by moving what is in them,\n"
        "while the disk serves on.  All or nothing.  Of a disk with an area (klotski disk --cma)\n"
        "they are blocks of the area that follow one another, if it has room, else any.\n"
        "\n"
        "Without a command the blocks go back to the system, where any program can have them,\n"
        "until `klotski give`.  With one, the command runs with the memory: the environment\n"
        "variable KLOTSKI_FD is the number of a file descriptor to map.  A shell can put it into\n"
        "arguments:\n"
        "\n"
        "  klotski take 128M -- sh -c 'program --memory /proc/self/fd/$KLOTSKI_FD'\n"
        "\n"
        "The disk gets the memory back when the command ends, even if processes that it has\n"
        "started run on.  The exit status is the command's; 1 if the command has succeeded but\n"
        "the memory was taken back before (klotski give, or the end of the disk).\n"
        "\n"
        "When it fails, it says which frame was in the way, whose it is and why; of a pinned\n"
        "one, for how long and what for.  `klotski who SIZE` says so before.\n",
    .run = run_take,
};
