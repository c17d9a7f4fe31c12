// SPDX-License-Identifier: Apache-2.0
/* wire.c - lines and descriptors over a Unix stream socket. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_FIRST 4096u
#define FDS_MAX    8 /* descriptors that are looked at in one message; the kernel drops more */

static int wire_error(int err)
{
    switch (err) {
    case EAGAIN:
        return -KL_EAGAIN;
    case ENOMEM:
    case ENOBUFS:
        return -KL_ENOMEM;
    case EPIPE:
    case ECONNRESET:
        return -KL_ECANCELED;
    default:
        return -KL_EIO;
    }
}

/* Room for at least one byte more; one byte over max is for the newline. */
static int line_grow(struct kli_wire_line *line)
{
    size_t cap = line->cap ? line->cap * 2 : LINE_FIRST;
    char *data;

    if (line->len < line->cap)
        return 0;
    if (line->len > line->max)
        return -KL_ERANGE;
    if (cap > line->max + 1)
        cap = line->max + 1;
    data = realloc(line->data, cap);
    if (!data)
        return -KL_ENOMEM;
    line->data = data;
    line->cap = cap;
    return 0;
}

/* Keeps the first descriptor in *fd, if that is free; closes the others. */
static void take_fds(struct msghdr *message, int *fd)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int got;

            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*fd < 0)
                *fd = got;
            else
                close(got);
        }
    }
}

static ssize_t receive(int sock, char *data, size_t room, int *fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = data, .iov_len = room};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd) { /* without room for them the kernel drops descriptors */
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
    }
    do
        n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n >= 0 && fd)
        take_fds(&message, fd);
    return n;
}

int kli_wire_recv(int sock, struct kli_wire_line *line, int *fd)
{
    int err = line_grow(line);
    ssize_t n;

    if (err)
        return err;
    n = receive(sock, line->data + line->len, line->cap - line->len, fd);
    if (n < 0)
        return wire_error(errno);
    if (n == 0)
        return -KL_ECANCELED;
    line->len += (size_t)n;
    if (memchr(line->data + line->len - n, '\n', (size_t)n))
        return 1;
    return line->len > line->max ? -KL_ERANGE : 0;
}

int64_t kli_wire_peek(struct kli_wire_line *line)
{
    char *end = line->len ? memchr(line->data, '\n', line->len) : NULL;

    if (!end)
        return -KL_EAGAIN;
    *end = '\0';
    return end - line->data;
}

void kli_wire_pop(struct kli_wire_line *line, size_t length)
{
    line->len -= length + 1;
    memmove(line->data, line->data + length + 1, line->len);
}

void kli_wire_line_free(struct kli_wire_line *line)
{
    free(line->data);
    *line = (struct kli_wire_line){.max = line->max};
}

int64_t kli_wire_send(int sock, const char *data, size_t len, int fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof(control.space);
        control.align.cmsg_len = CMSG_LEN(sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
    }
    do
        n = sendmsg(sock, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? wire_error(errno) : n;
}

int kli_wire_address(const char *path, struct sockaddr_un *address)
{
    size_t len = path ? strlen(path) : 0;

    if (len == 0)
        return -KL_EINVAL;
    if (len >= sizeof(address->sun_path))
        return -KL_ERANGE;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, len + 1);
    return 0;
}

int kli_wire_connect_error(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
        return -KL_ENOENT;
    case ECONNREFUSED:
        return -KL_ESTALE;
    case EACCES:
    case EPERM:
        return -KL_EBUSY;
    default:
        return wire_error(err);
    }
}

int kli_wire_connect(const char *path)
{
    struct sockaddr_un address;
    int err = kli_wire_address(path, &address);
    int sock;

    if (err)
        return err;
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -KL_EIO;
    if (connect(sock, (struct sockaddr *)&address, sizeof(address)) != 0) {
        err = kli_wire_connect_error(errno);
        close(sock);
        return err;
    }
    return sock;
}

static int send_all(int sock, const char *data, size_t len)
{
    while (len) {
        int64_t n = kli_wire_send(sock, data, len, -1);

        if (n < 0)
            return (int)n;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int kli_wire_call(int sock, const char *request, char **reply, int *fd)
{
    struct kli_wire_line line = {.max = KLI_WIRE_REPLY_MAX};
    int err = send_all(sock, request, strlen(request));
    int64_t len;

    if (!err)
        err = send_all(sock, "\n", 1);
    while (!err)
        err = kli_wire_recv(sock, &line, fd);
    if (err < 0) {
        kli_wire_line_free(&line);
        return err;
    }
    len = kli_wire_peek(&line);
    if (len < 0 || (size_t)len + 1 != line.len) { /* replies to what nobody asked */
        kli_wire_line_free(&line);
        return -KL_EIO;
    }
    *reply = line.data;
    return 0;
}
