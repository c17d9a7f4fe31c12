// SPDX-License-Identifier: Apache-2.0
/* listener.h - the socket file of a control server. */
#ifndef KLI_LISTENER_H
#define KLI_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A listening, non-blocking socket at path, mode 0600.  The descriptor, or an
 * error as kli_control_start, with why in words.  dev and ino name the file. */
int kli_listener_open(const char *path, dev_t *dev, ino_t *ino, char *why, size_t why_bytes);

/* Could one be opened there?  Changes nothing. */
int kli_listener_probe(const char *path, char *why, size_t why_bytes);

/* Unlinks path if it is still that file, and closes the socket. */
void kli_listener_close(int listener, const char *path, dev_t dev, ino_t ino);

/* The peer is this process's user, or root. */
bool kli_listener_peer_allowed(int sock);

#endif
