// SPDX-License-Identifier: Apache-2.0
/* disk.c - where disks have their sockets, and which ones run.
 *
 * A disk NAME is NAME.ctl (control socket), NAME.nbd (NBD socket) and NAME.pid
 * in a folder that belongs to the user alone.  A disk runs when somebody listens at
 * its control socket.  One that was started in another way is known by that
 * socket's path.
 */
#include "cli.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <klotski/base.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool cli_name_valid(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > CLI_NAME_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("_-.", name[i]) == NULL)
            return false;
    return true;
}

static bool join(char out[CLI_PATH_MAX], const char *dir, const char *name, const char *suffix)
{
    int n = snprintf(out, CLI_PATH_MAX, "%s/%s%s", dir, name, suffix);

    return n > 0 && n < CLI_PATH_MAX;
}

/* A relative path is made absolute: nbdkit in the background works in "/". */
static bool rundir_path(char dir[CLI_PATH_MAX])
{
    const char *own = getenv("KLOTSKI_RUNDIR");
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    char here[CLI_PATH_MAX];
    int n;

    if (own != NULL && own[0] == '/')
        n = snprintf(dir, CLI_PATH_MAX, "%s", own);
    else if (own != NULL && own[0] != '\0')
        n = getcwd(here, sizeof(here)) == NULL ? -1
                                               : snprintf(dir, CLI_PATH_MAX, "%s/%s", here, own);
    else if (xdg != NULL && xdg[0] == '/')
        n = snprintf(dir, CLI_PATH_MAX, "%s/klotski", xdg);
    else
        n = snprintf(dir, CLI_PATH_MAX, "/tmp/klotski-%u", (unsigned)geteuid());
    return n > 0 && n < CLI_PATH_MAX - CLI_NAME_MAX - 6;
}

int cli_rundir(char dir[CLI_PATH_MAX], bool create)
{
    struct stat st;

    if (!rundir_path(dir)) {
        cli_error("the path of the folder for sockets is too long; set KLOTSKI_RUNDIR");
        return CLI_FAIL;
    }
    if (create && mkdir(dir, 0700) != 0 && errno != EEXIST) {
        cli_error("cannot make %s: %s", dir, strerror(errno));
        return CLI_FAIL;
    }
    if (lstat(dir, &st) != 0) {
        if (errno == ENOENT)
            return CLI_NO_DISK;
        cli_error("%s: %s", dir, strerror(errno));
        return CLI_FAIL;
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        cli_error("%s is not a folder of this user alone; set KLOTSKI_RUNDIR", dir);
        return CLI_FAIL;
    }
    return CLI_GO;
}

int cli_disk_paths(const char *name, bool create, struct cli_disk *disk)
{
    if (!cli_name_valid(name)) {
        cli_error("not a name of a disk: '%s' (letters, digits, '_', '-', '.', at most %d)%s", name,
                  CLI_NAME_MAX, strchr(name, '/') != NULL ? "; see --socket" : "");
        return CLI_USAGE;
    }
    int rc = cli_rundir(disk->dir, create);
    if (rc == CLI_NO_DISK)
        cli_error("no disk '%s' is running", name);
    if (rc != CLI_GO)
        return rc;
    snprintf(disk->name, sizeof(disk->name), "%s", name);
    if (!join(disk->control, disk->dir, name, ".ctl") ||
        !join(disk->nbd, disk->dir, name, ".nbd") ||
        !join(disk->pidfile, disk->dir, name, ".pid")) {
        cli_error("the path of the folder for sockets is too long; set KLOTSKI_RUNDIR");
        return CLI_FAIL;
    }
    return CLI_GO;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The disk's name if the file is one of those that disks have. */
static bool name_of(const char *file, char name[CLI_NAME_MAX + 1])
{
    static const char *const suffixes[] = {".ctl", ".nbd", ".pid"};
    size_t len = strlen(file);

    if (len <= 4 || len - 4 > CLI_NAME_MAX)
        return false;
    memcpy(name, file, len - 4);
    name[len - 4] = '\0';
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        if (strcmp(file + len - 4, suffixes[i]) == 0)
            return cli_name_valid(name);
    return false;
}

/* Somebody listens at the control socket, whether he answers or not. */
static bool running(const char *name)
{
    struct cli_disk disk;

    if (cli_disk_paths(name, false, &disk) != CLI_GO)
        return false;
    int sock = cli_connect(disk.control);
    if (sock >= 0)
        close(sock);
    return sock >= 0 || sock == -KL_EAGAIN;
}

struct names {
    char (*name)[CLI_NAME_MAX + 1];
    size_t n;
};

static int read_names(const char *dir, struct names *names)
{
    char name[CLI_NAME_MAX + 1];

    DIR *folder = opendir(dir);
    if (folder == NULL) {
        cli_error("%s: %s", dir, strerror(errno));
        return CLI_FAIL;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (!name_of(entry->d_name, name))
            continue;
        void *more = realloc(names->name, (names->n + 1) * sizeof(*names->name));
        if (more == NULL)
            abort();
        names->name = more;
        memcpy(names->name[names->n++], name, sizeof(name));
    }
    closedir(folder);
    if (names->n > 1)
        qsort(names->name, names->n, sizeof(*names->name), by_name);
    return CLI_GO;
}

/* Leaves those that run, each once. */
static void sift(struct names *names, bool clean)
{
    char name[CLI_NAME_MAX + 1] = "";
    struct cli_disk disk;
    size_t kept = 0;

    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->name[i], name) == 0)
            continue;
        memcpy(name, names->name[i], sizeof(name));
        if (running(name))
            memcpy(names->name[kept++], name, sizeof(name));
        else if (clean && cli_disk_paths(name, false, &disk) == CLI_GO)
            cli_disk_clean(&disk, false);
    }
    names->n = kept;
}

int cli_disk_list(bool clean, char (**list)[CLI_NAME_MAX + 1], size_t *n)
{
    struct names names = {0};
    char dir[CLI_PATH_MAX];

    *list = NULL;
    *n = 0;
    int rc = cli_rundir(dir, false);
    if (rc != CLI_GO)
        return rc == CLI_NO_DISK ? CLI_GO : rc;
    rc = read_names(dir, &names);
    if (rc != CLI_GO)
        return rc;
    sift(&names, clean);
    *list = names.name;
    *n = names.n;
    return CLI_GO;
}

static int only_disk(char name[CLI_NAME_MAX + 1])
{
    char(*names)[CLI_NAME_MAX + 1];
    size_t n;

    int rc = cli_disk_list(false, &names, &n);
    if (rc != CLI_GO)
        return rc;
    if (n == 1) {
        memcpy(name, names[0], sizeof(names[0]));
    } else if (n == 0) {
        cli_error("no disk is running; start one with: klotski disk");
        rc = CLI_NO_DISK;
    } else {
        cli_error("%zu disks are running; name one of them:", n);
        for (size_t i = 0; i < n; i++)
            fprintf(stderr, "  %s\n", names[i]);
        rc = CLI_NO_DISK;
    }
    free(names);
    return rc;
}

/* A disk whose control socket is all that is known. */
static int find_by_socket(const char *path, struct cli_disk *disk)
{
    if (path[0] == '\0' || strlen(path) >= CLI_PATH_MAX) {
        cli_error("no path of a socket, or too long: '%s'", path);
        return CLI_USAGE;
    }
    *disk = (struct cli_disk){.dir = ""};
    snprintf(disk->name, sizeof(disk->name), "%s", path);
    snprintf(disk->control, sizeof(disk->control), "%s", path);
    return CLI_GO;
}

int cli_disk_find(const struct cli_args *args, struct cli_disk *disk)
{
    char only[CLI_NAME_MAX + 1];
    const char *name = args->disk;

    if (args->socket != NULL)
        return find_by_socket(args->socket, disk);
    if (name == NULL) {
        int rc = only_disk(only);
        if (rc != CLI_GO)
            return rc;
        name = only;
    }
    return cli_disk_paths(name, false, disk);
}
