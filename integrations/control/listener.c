// SPDX-License-Identifier: Apache-2.0
/* listener.c - the socket file of a control server.
 *
 * A file that a killed server left behind is replaced, one where somebody
 * answers is not, and nothing that is no socket is ever unlinked.  Between the
 * look and the bind the folder is locked (flock), so of two servers that start
 * at once, one wins and the other one finds it answering.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "listener.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 16

static int folder_open(const char *path, char *why, size_t why_bytes)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int dir;

    snprintf(copy, sizeof(copy), "%s", path);
    dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        return dir;
    snprintf(why, why_bytes, "%s: cannot open its folder: %s", path, strerror(errno));
    return -KL_EIO;
}

/* The folder of path, opened and locked; waits a second for others at most. */
static int folder_lock(const char *path, char *why, size_t why_bytes)
{
    const struct timespec nap = {.tv_nsec = 10000000};
    int dir = folder_open(path, why, why_bytes);

    if (dir < 0)
        return dir;
    for (int i = 0; i < 100; i++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0)
            return dir;
        nanosleep(&nap, NULL);
    }
    close(dir);
    snprintf(why, why_bytes, "%s: somebody else holds a lock on its folder", path);
    return -KL_EIO;
}

/* 0: nothing is at path, or a socket that nobody listens on (*stale). */
static int look(const char *path, bool *stale, char *why, size_t why_bytes)
{
    struct stat st;
    int sock;

    *stale = false;
    if (lstat(path, &st) != 0)
        return 0; /* bind will say if anything is wrong */
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, why_bytes, "%s: is there already and is no socket", path);
        return -KL_EEXIST;
    }
    sock = kli_wire_connect(path);
    *stale = sock == -KL_ESTALE;
    if (*stale || sock == -KL_ENOENT)
        return 0;
    if (sock >= 0)
        close(sock);
    snprintf(why, why_bytes, "%s: a server is using this socket", path);
    return -KL_EEXIST;
}

/* Makes room at path: 0, or -KL_EEXIST. */
static int replace_stale(const char *path, char *why, size_t why_bytes)
{
    bool stale;
    int err = look(path, &stale, why, why_bytes);

    if (!err && stale && unlink(path) != 0) {
        snprintf(why, why_bytes, "%s: cannot be replaced: %s", path, strerror(errno));
        return -KL_EIO;
    }
    return err;
}

static int check_address(const char *path, struct sockaddr_un *address, char *why, size_t why_bytes)
{
    int err = kli_wire_address(path, address);

    if (err)
        snprintf(why, why_bytes, "the path of the control socket is %s",
                 err == -KL_ERANGE ? "too long" : "empty");
    return err;
}

static int bind_at(const struct sockaddr_un *address, dev_t *dev, ino_t *ino, char *why,
                   size_t why_bytes)
{
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    /* The mode of the socket becomes that of the file: no moment of a wider one,
     * and no umask, which is the whole process's. */
    if (sock >= 0 && fchmod(sock, 0600) == 0 &&
        bind(sock, (const struct sockaddr *)address, sizeof(*address)) == 0) {
        if (listen(sock, BACKLOG) == 0 && lstat(address->sun_path, &st) == 0) {
            *dev = st.st_dev;
            *ino = st.st_ino;
            return sock;
        }
        unlink(address->sun_path);
    }
    snprintf(why, why_bytes, "%s: %s", address->sun_path, strerror(errno));
    if (sock >= 0)
        close(sock);
    return -KL_EIO;
}

int kli_listener_open(const char *path, dev_t *dev, ino_t *ino, char *why, size_t why_bytes)
{
    struct sockaddr_un address;
    int err = check_address(path, &address, why, why_bytes);
    int listener;
    int dir;

    if (err)
        return err;
    dir = folder_lock(path, why, why_bytes);
    if (dir < 0)
        return dir;
    err = replace_stale(path, why, why_bytes);
    listener = err ? err : bind_at(&address, dev, ino, why, why_bytes);
    close(dir);
    return listener;
}

int kli_listener_probe(const char *path, char *why, size_t why_bytes)
{
    struct sockaddr_un address;
    int err = check_address(path, &address, why, why_bytes);
    bool stale;
    int dir;

    if (err)
        return err;
    dir = folder_open(path, why, why_bytes);
    if (dir < 0)
        return dir;
    close(dir);
    return look(path, &stale, why, why_bytes);
}

void kli_listener_close(int listener, const char *path, dev_t dev, ino_t ino)
{
    struct stat st;

    if (lstat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino)
        unlink(path);
    close(listener);
}

bool kli_listener_peer_allowed(int sock)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    return peer.uid == geteuid() || peer.uid == 0;
}
