// SPDX-License-Identifier: Apache-2.0
/* Another process that is given a descriptor, of another user (65534) where that is possible,
 * and hostile.  It has nothing of this one's but two sockets: one that is watched, one to talk
 * with the test. */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include "support/shmdev.h"

#include <sys/types.h>

struct peer {
    pid_t pid;
    int watch; /* a socket, which it sends garbage to, or a pidfd */
    int talk;
};

void peer_start(struct peer *p, bool by_socket);
/* Kills it, and waits for its end. */
void peer_end(struct peer *p);

/* A file of so many bytes that it writes to, cuts, punches, maps again, until it dies. */
void peer_send(struct peer *p, int fd, size_t bytes, bool writable);
/* It maps it, looks at it, hangs up the socket that is watched, and stays. */
void peer_send_to_stay(struct peer *p, int fd, size_t bytes, bool writable);

/* Random; it is not told to a peer but by: */
bool peer_secret(uint64_t secret[2]);
/* One that stays tries its old mapping, new ones, writing, and what it can think of of this
 * process; and looks for the secret in all its memory.  How often it got at anything; -1: it
 * can't search here. */
int peer_searches(struct peer *p, const uint64_t secret[2]);

/* What whoever keeps the descriptor sees after the end. */
bool peer_file_is_empty(int fd);

#endif
