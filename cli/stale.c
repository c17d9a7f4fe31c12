// SPDX-License-Identifier: Apache-2.0
/* stale.c - what disks leave when they are killed, and how to tell.
 *
 * Files are left over when nobody listens at either socket and the process of the
 * pid file is gone.  Processes are told by what they were started with, since
 * numbers come again.  Whoever starts or clears up a disk holds the folder's lock.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <klotski/base.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_lock(const char *dir, bool wait)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[CLI_PATH_MAX + 8];

    snprintf(path, sizeof(path), "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fcntl(fd, wait ? F_SETLKW : F_SETLK, &whole) == 0)
        return fd;
    if (wait || fd < 0)
        cli_error("%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Of two paths of which one may be relative only the last parts are compared. */
static bool same_socket(const char *given, const char *path)
{
    if (given[0] == '/' && path[0] == '/')
        return strcmp(given, path) == 0;
    return strcmp(base_of(given), base_of(path)) == 0;
}

bool cli_serves(uint64_t pid, const struct cli_disk *disk)
{
    static const char key[] = "control=";
    char path[40], *word = NULL;
    size_t room = 0;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cmdline", pid);
    FILE *words = pid != 0 ? fopen(path, "re") : NULL;
    if (words == NULL)
        return false;
    while (!found && getdelim(&word, &room, '\0', words) > 0)
        found = strncmp(word, key, sizeof(key) - 1) == 0 &&
                same_socket(word + sizeof(key) - 1, disk->control);
    free(word);
    fclose(words);
    return found;
}

uint64_t cli_disk_pid(const struct cli_disk *disk)
{
    char text[24] = "";
    uint64_t pid;

    FILE *file = disk->pidfile[0] != '\0' ? fopen(disk->pidfile, "re") : NULL;
    if (file == NULL)
        return 0;
    bool got = fgets(text, sizeof(text), file) != NULL;
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    if (!got || !cli_parse_number(text, 1, INT32_MAX, &pid) || !cli_serves(pid, disk))
        return 0;
    return pid;
}

/* Whoever cannot be asked may be there. */
static bool nobody_at(const char *path)
{
    int sock = cli_connect(path);

    if (sock >= 0)
        close(sock);
    return sock == -KL_ENOENT || sock == -KL_ESTALE;
}

static bool is_left_over(const struct cli_disk *disk)
{
    return (access(disk->control, F_OK) == 0 || access(disk->nbd, F_OK) == 0 ||
            access(disk->pidfile, F_OK) == 0) &&
           cli_disk_pid(disk) == 0 && nobody_at(disk->control) && nobody_at(disk->nbd);
}

bool cli_disk_clean(const struct cli_disk *disk, bool wait)
{
    if (disk->dir[0] == '\0' || !is_left_over(disk))
        return false;
    int lock = cli_lock(disk->dir, wait);
    if (lock < 0)
        return false;
    bool still = is_left_over(disk); /* with the lock, so that no disk is starting */
    if (still)
        cli_disk_remove(disk);
    close(lock);
    return still;
}

void cli_disk_remove(const struct cli_disk *disk)
{
    if (disk->dir[0] == '\0')
        return;
    unlink(disk->control);
    unlink(disk->nbd);
    unlink(disk->pidfile);
}
