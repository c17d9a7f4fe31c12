// SPDX-License-Identifier: Apache-2.0
/* launch.c - starts nbdkit with the plugin and waits until the disk answers.
 *
 * In the background nbdkit forks by itself once its socket is bound, and its
 * first process ends; what goes wrong before that is on stderr.  The plugin's
 * control socket comes up a moment later and is what "ready" means here.  In the
 * foreground nbdkit is this process's child and ends with it.
 *
 * Either way nbdkit has a session of its own, so that a Ctrl-C does not reach it
 * and kill(-child) does, and inherits the writing end of a pipe: when the reading
 * end says "hung up" no process of it is left, whoever their parent is.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <klotski/base.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TIMEOUT_MS 60000 /* thousands of huge pages take their time */
#define START_STEP_MS    20

static volatile sig_atomic_t interrupted; /* by this signal */
static volatile sig_atomic_t forward_to;  /* nbdkit, once it serves */

static const char plugin_file[] = "nbdkit-klotski-plugin.so";

/* The plugin of the tree that this program was built in, or that was installed with
 * it, else the one that nbdkit knows by its name. */
static const char *find_plugin(char path[PATH_MAX])
{
    static const char *const places[] = {"", "../integrations/", "../integrations/nbdkit/",
                                         CLI_PLUGIN_PLACE};
    const char *own = getenv("KLOTSKI_PLUGIN");
    char self[PATH_MAX];

    if (own != NULL && own[0] != '\0')
        return own;
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return "klotski";
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    slash[1] = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int len = snprintf(path, PATH_MAX, "%s%s%s", self, places[i], plugin_file);
        if (len > 0 && len < PATH_MAX && access(path, R_OK) == 0)
            return path;
    }
    return "klotski";
}

/* Does not return. */
static void run_nbdkit(const struct launch *launch)
{
    char *argv[LAUNCH_MAX_ARGS * 2 + 16], control[CLI_PATH_MAX + 16], path[PATH_MAX];
    const char *nbdkit = getenv("NBDKIT");
    int n = 0;

    if (nbdkit == NULL || nbdkit[0] == '\0')
        nbdkit = "nbdkit";
    argv[n++] = (char *)nbdkit;
    if (launch->foreground)
        argv[n++] = "--exit-with-parent";
    argv[n++] = "--unix";
    argv[n++] = (char *)launch->disk->nbd;
    argv[n++] = "--pidfile";
    argv[n++] = (char *)launch->disk->pidfile;
    for (int i = 0; i < launch->nextra && i < LAUNCH_MAX_ARGS; i++)
        argv[n++] = launch->extra[i];
    argv[n++] = (char *)find_plugin(path);
    for (unsigned i = 0; i < launch->nsettings; i++)
        argv[n++] = launch->settings[i];
    snprintf(control, sizeof(control), "control=%s", launch->disk->control);
    argv[n++] = control;
    argv[n] = NULL;
    execvp(nbdkit, argv);
    int err = errno;
    cli_error("cannot run %s: %s%s", nbdkit, strerror(err),
              err == ENOENT ? " (package nbdkit)" : "");
    _exit(CLI_FAIL);
}

/* As a shell has it; after a message when a signal was the reason. */
static int wait_exit(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return CLI_FAIL;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    cli_error("nbdkit ended by signal %d", WTERMSIG(status));
    return CLI_FAIL;
}

static bool alive(const struct launch *launch)
{
    struct pollfd held = {.fd = launch->lives, .events = 0};

    return poll(&held, 1, 0) == 0;
}

/* Whether the control socket answers a stat. */
static bool answers(const struct cli_disk *disk, struct json_object **stat)
{
    int sock = cli_connect(disk->control);

    if (sock < 0)
        return false;
    int err = cli_call(sock, CLI_SOON, cli_op("stat"), stat, NULL);
    close(sock);
    return err == 0;
}

static int wait_ready(struct launch *launch, struct json_object **stat)
{
    struct timespec step = {.tv_nsec = START_STEP_MS * 1000000L};

    for (int waited = 0; waited < START_TIMEOUT_MS; waited += START_STEP_MS) {
        if (answers(launch->disk, stat))
            return CLI_GO;
        if (interrupted != 0) {
            cli_error("interrupted");
            return 128 + (int)interrupted;
        }
        if (!alive(launch)) {
            cli_error("nbdkit ended while the disk was starting%s",
                      launch->foreground ? "" : "; --foreground shows why");
            return CLI_FAIL;
        }
        nanosleep(&step, NULL);
    }
    cli_error("the disk does not answer at %s", launch->disk->control);
    return CLI_FAIL;
}

static void abandon(struct launch *launch)
{
    struct timespec step = {.tv_nsec = START_STEP_MS * 1000000L};

    kill(-launch->child, SIGTERM);
    for (int waited = 0; alive(launch) && waited < START_TIMEOUT_MS; waited += START_STEP_MS)
        nanosleep(&step, NULL);
    if (alive(launch))
        kill(-launch->child, SIGKILL);
    cli_disk_remove(launch->disk);
}

static int not_running(const struct cli_disk *disk)
{
    int sock = cli_connect(disk->control);
    if (sock < 0 && sock != -KL_EAGAIN)
        sock = cli_connect(disk->nbd);
    if (sock < 0 && sock != -KL_EAGAIN && cli_disk_pid(disk) == 0)
        return CLI_GO;
    if (sock >= 0)
        close(sock);
    cli_error("a disk '%s' is running; choose another --name", disk->name);
    return CLI_FAIL;
}

static void on_signal(int sig)
{
    interrupted = sig;
    if (forward_to > 0)
        kill((pid_t)forward_to, SIGTERM);
}

static void catch_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* Forks; the child becomes nbdkit. */
static int spawn(struct launch *launch)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        cli_error("pipe: %s", strerror(errno));
        return CLI_FAIL;
    }
    cli_flush();
    catch_signals(on_signal);
    launch->child = fork();
    if (launch->child == 0) {
        catch_signals(SIG_DFL);
        setsid();
        fcntl(ends[1], F_SETFD, 0);
        run_nbdkit(launch);
    }
    close(ends[1]);
    launch->lives = ends[0];
    if (launch->child > 0)
        return CLI_GO;
    cli_error("fork: %s", strerror(errno));
    return CLI_FAIL;
}

static int start_locked(struct launch *launch, struct json_object **stat)
{
    int rc = not_running(launch->disk);
    if (rc != CLI_GO)
        return rc;
    cli_disk_remove(launch->disk);
    rc = spawn(launch);
    if (rc != CLI_GO)
        return rc;
    if (!launch->foreground && wait_exit(launch->child) != 0) {
        cli_error("the disk was not started");
        cli_disk_remove(launch->disk);
        return CLI_FAIL;
    }
    rc = wait_ready(launch, stat);
    if (rc != CLI_GO)
        abandon(launch);
    return rc;
}

int launch_start(struct launch *launch, struct json_object **stat)
{
    int lock = cli_lock(launch->disk->dir, true);
    if (lock < 0)
        return CLI_FAIL;
    int rc = start_locked(launch, stat);
    close(lock);
    return rc;
}

int launch_wait(struct launch *launch)
{
    forward_to = (sig_atomic_t)launch->child;
    if (interrupted != 0)
        kill(launch->child, SIGTERM);
    int rc = wait_exit(launch->child);
    forward_to = 0;
    cli_disk_remove(launch->disk);
    return rc == 0 ? CLI_OK : CLI_FAIL;
}
