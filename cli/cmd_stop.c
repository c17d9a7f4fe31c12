// SPDX-License-Identifier: Apache-2.0
/* cmd_stop.c - `klotski stop`: ends a disk, whose contents are lost with it.
 *
 * Which process that is the disk says itself.  One that does not answer is found
 * by its pid file, or by who listens at its socket, and has to have been started
 * with that socket: no other process is ever sent a signal.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <klotski/base.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS 60000

/* The process that the disk says it is; 0: no answer. */
static uint64_t pid_by_reply(int sock)
{
    struct json_object *reply;

    if (cli_call(sock, CLI_SOON, cli_op("stat"), &reply, NULL) != 0)
        return 0;
    uint64_t pid = cli_get_bool(reply, "ok") ? cli_get_u64(cli_get(reply, "disk"), "pid") : 0;
    json_object_put(reply);
    return pid;
}

/* The process that began to listen; 0: it was not started for this disk. */
static uint64_t pid_by_socket(int sock, const struct cli_disk *disk)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid <= 0)
        return 0;
    return cli_serves((uint64_t)peer.pid, disk) ? (uint64_t)peer.pid : 0;
}

static int no_such_disk(const struct cli_disk *disk)
{
    bool cleaned = cli_disk_clean(disk, true);

    cli_error("no disk '%s' is running (nobody answers at %s)%s", disk->name, disk->control,
              cleaned ? "; what it had left is removed" : "");
    return CLI_NO_DISK;
}

static int find_process(const struct cli_disk *disk, uint64_t *pid)
{
    int sock = cli_connect(disk->control);

    *pid = sock >= 0 ? pid_by_reply(sock) : 0;
    if (*pid == 0)
        *pid = cli_disk_pid(disk);
    if (*pid == 0 && sock >= 0)
        *pid = pid_by_socket(sock, disk);
    if (sock >= 0)
        close(sock);
    if (*pid != 0)
        return CLI_GO;
    if (sock == -KL_ENOENT || sock == -KL_ESTALE)
        return no_such_disk(disk);
    if (sock < 0 && sock != -KL_EAGAIN)
        cli_error("cannot connect to %s: %s", disk->control, kl_err_text(sock));
    else
        cli_error("the disk '%s' does not answer, and its process cannot be told", disk->name);
    return CLI_FAIL;
}

static int await_end(uint64_t pid, int pidfd)
{
    struct pollfd waiting = {.fd = pidfd, .events = POLLIN};
    int n;

    if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) != 0 && errno != ESRCH) {
        cli_error("cannot end process %" PRIu64 ": %s", pid, strerror(errno));
        return CLI_FAIL;
    }
    syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0); /* a stopped one takes no TERM */
    do {
        n = poll(&waiting, 1, STOP_TIMEOUT_MS);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        return CLI_GO;
    cli_error("process %" PRIu64 " has not ended after %d s", pid, STOP_TIMEOUT_MS / 1000);
    return CLI_FAIL;
}

/* By a descriptor, so that a number which is used again can't be meant. */
static int end_process(uint64_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);

    if (pidfd < 0 && errno == ESRCH)
        return CLI_GO;
    if (pidfd < 0) {
        cli_error("process %" PRIu64 " of the disk: %s", pid, strerror(errno));
        return CLI_FAIL;
    }
    int rc = await_end(pid, pidfd);
    close(pidfd);
    return rc;
}

static int run_stop(const struct cli_command *self, int argc, char **argv)
{
    struct cli_args args;
    struct cli_disk disk;
    uint64_t pid;

    int rc = cli_parse(self, argc, argv, NULL, NULL, &args);
    if (rc == CLI_GO)
        rc = cli_disk_argument(self, &args);
    if (rc == CLI_GO)
        rc = cli_disk_find(&args, &disk);
    if (rc == CLI_GO)
        rc = find_process(&disk, &pid);
    if (rc == CLI_GO)
        rc = end_process(pid);
    if (rc != CLI_GO)
        return rc;
    cli_disk_clean(&disk, true);
    cli_done("disk '%s' has ended", disk.name);
    if (!args.json)
        printf("disk '%s' has ended\n", disk.name);
    return CLI_OK;
}

const struct cli_command cli_cmd_stop = {
    .name = "stop",
    .synopsis = "[NAME|--socket PATH]",
    .brief = "end a disk; what is on it is lost",
    .help = "Sends SIGTERM to the disk's process, even if that does not answer, and waits until\n"
            "it has ended.  A RAM disk keeps nothing: copy what you want to keep first (nbdcopy).\n"
            "What a killed disk of that name has left is removed.\n",
    .run = run_stop,
};
