// SPDX-License-Identifier: Apache-2.0
/* wire.h - the frame of the control protocol: one JSON text a line, each way,
 * over a Unix stream socket; a reply may carry one descriptor.
 *
 * Knows nothing of JSON and nothing of zones; the server and the `klotski`
 * command both use it.  Errors are negative enum kl_err values.
 *
 * Thread safety: a line buffer and a socket belong to one thread at a time.
 */
#ifndef KLI_WIRE_H
#define KLI_WIRE_H

#include <klotski/base.h>
#include <sys/un.h>

#define KLI_WIRE_REQUEST_MAX ((size_t)64 << 10)
#define KLI_WIRE_REPLY_MAX   ((size_t)8 << 20)

/* A line that is being received.  All zero but max is an empty one. */
struct kli_wire_line {
    char *data;
    size_t len; /* bytes received */
    size_t cap; /* bytes allocated */
    size_t max; /* bytes of the longest line, without its newline */
};

/* Receives once.  1: a whole line is there; 0: not yet; -KL_EAGAIN: nothing to
 * read now (non-blocking socket); -KL_ECANCELED: the peer closed the connection;
 * -KL_ERANGE: longer than max; -KL_EIO, -KL_ENOMEM.
 * fd, if not NULL: a descriptor that came along replaces *fd (-1 before); any
 * further one is closed.  NULL: every descriptor that came is closed. */
int kli_wire_recv(int sock, struct kli_wire_line *line, int *fd);

/* The next whole line that is in the buffer: its length (without the newline,
 * which becomes a NUL), or -KL_EAGAIN when none is complete. */
int64_t kli_wire_peek(struct kli_wire_line *line);

/* Drops the line of that length that kli_wire_peek found. */
void kli_wire_pop(struct kli_wire_line *line, size_t length);

void kli_wire_line_free(struct kli_wire_line *line);

/* Sends once, as much as the socket takes; fd (or -1) rides on the first byte.
 * Bytes sent, or a negative error as kli_wire_recv.  Never raises SIGPIPE. */
int64_t kli_wire_send(int sock, const char *data, size_t len, int fd);

/* The address of a socket file.  -KL_ERANGE: too long.  -KL_EINVAL: empty. */
int kli_wire_address(const char *path, struct sockaddr_un *address);

/* For clients: connects (blocking).  The socket, or -KL_ENOENT: no such file;
 * -KL_ESTALE: nobody listens there; -KL_EBUSY: not permitted; -KL_EIO. */
int kli_wire_connect(const char *path);
/* What connect's errno means in those terms; -KL_EAGAIN: the queue is full. */
int kli_wire_connect_error(int err);

/* For clients: sends one request (without its newline), waits for the reply.
 * *reply is the caller's to free(), NUL-terminated and without its newline.
 * fd as kli_wire_recv. */
int kli_wire_call(int sock, const char *request, char **reply, int *fd);

#endif
