// SPDX-License-Identifier: Apache-2.0
/* cmd_stop.c - `klotski stop`: ends a disk, whose contents are lost with it. */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS 60000

/* The process that answers on the socket: a descriptor of it, so that a number
 * which is used again can't be meant. */
static int process_of(const struct cli_command *self, int sock, uint64_t *pid, int *pidfd)
{
    struct json_object *reply;

    int rc = cli_request(sock, cli_op("stat"), &reply, NULL);
    if (rc != CLI_GO)
        return rc;
    rc = cli_judge(self, reply);
    *pid = cli_get_u64(cli_get(reply, "disk"), "pid");
    json_object_put(reply);
    if (rc != CLI_GO)
        return rc;
    *pidfd = (int)syscall(SYS_pidfd_open, (pid_t)*pid, 0);
    if (*pid != 0 && *pidfd >= 0)
        return CLI_GO;
    cli_error("process %" PRIu64 " of the disk: %s", *pid, strerror(errno));
    return CLI_FAIL;
}

static int end_process(uint64_t pid, int pidfd)
{
    struct pollfd waiting = {.fd = pidfd, .events = POLLIN};
    int n;

    if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) != 0 && errno != ESRCH) {
        cli_error("cannot end process %" PRIu64 ": %s", pid, strerror(errno));
        return CLI_FAIL;
    }
    do {
        n = poll(&waiting, 1, STOP_TIMEOUT_MS);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        return CLI_GO;
    cli_error("process %" PRIu64 " has not ended after %d s", pid, STOP_TIMEOUT_MS / 1000);
    return CLI_FAIL;
}

static int run_stop(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    struct cli_disk disk;
    uint64_t pid;
    int sock, pidfd = -1;

    int rc = cli_parse(self, argc, argv, NULL, NULL, &args);
    if (rc == CLI_GO)
        rc = cli_disk_argument(self, &args);
    if (rc == CLI_GO)
        rc = cli_open(args.disk, &disk, &sock);
    if (rc != CLI_GO)
        return rc;
    rc = process_of(self, sock, &pid, &pidfd);
    close(sock);
    if (rc == CLI_GO)
        rc = end_process(pid, pidfd);
    if (pidfd >= 0)
        close(pidfd);
    if (rc != CLI_GO)
        return rc;
    cli_disk_remove(&disk);
    if (!args.json)
        printf("disk '%s' has ended\n", disk.name);
    return CLI_OK;
}

const struct cli_command cli_cmd_stop = {
    .name = "stop",
    .synopsis = "[NAME]",
    .brief = "end a disk; what is on it is lost",
    .help = "Sends SIGTERM to the disk's process and waits until it has ended.  A RAM disk keeps\n"
            "nothing: copy what you want to keep first (nbdcopy).\n",
    .run = run_stop,
};
