// SPDX-License-Identifier: Apache-2.0
/* What the tests of io_uring share: rings, pipes as files whose answer comes when the test
 * wants it, moves of one buffer, and registrations that fail.  The program is linked with
 * --wrap=io_uring_register_buffers_update_tag and --wrap=io_uring_register_buffers_sparse. */
#ifndef TESTS_RINGS_H
#define TESTS_RINGS_H

#include "klotski/uring.h"
#include "support/fixture.h"

#include <liburing.h>

/* May this process use io_uring, as new as needed?  Else says why not: exit 77. */
bool rings_there(void);

/* Registrations from now on: so many fail that fill a slot, that empty one, that make a
 * table, with that error (a negative errno). */
void rings_fail(int fills, int empties, int tables, int err);

/* The next registration of more than n slots does n of them, and says so; 0: none.  What
 * was set before: 0 when it has happened. */
unsigned rings_short(unsigned n);

/* How much this process has pinned, by the kernel's figures, in bytes; -1: it doesn't say. */
int64_t rings_pinned(void);

/* The number of the frame that lies there. */
uint32_t rings_frame(const struct kl_zone *zone, const void *addr);
/* Empties the block where addr is, by a contiguous range that is freed again; what
 * that said. */
int rings_move(struct kl_zone *zone, const void *addr, enum kl_mode mode, struct kl_report *report);

/* Submits a read or write of a buffer that was begun, and a number for its CQE. */
void rings_read(struct io_uring *ring, int fd, const struct kl_uring_io *io, unsigned n,
                uint64_t offset, uint64_t name);
void rings_write(struct io_uring *ring, int fd, const struct kl_uring_io *io, unsigned n,
                 uint64_t offset, uint64_t name);
/* Waits for one; its result. */
int rings_wait(struct io_uring *ring, uint64_t *name);

#endif
