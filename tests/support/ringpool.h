// SPDX-License-Identifier: Apache-2.0
/* A zone of 8 blocks of 16 frames, a ring, a pool of fixed buffers of one frame, and a pipe:
 * a request that is to be in flight reads from it, and is answered when the test writes. */
#ifndef TESTS_RINGPOOL_H
#define TESTS_RINGPOOL_H

#include "support/rings.h"

enum { RINGPOOL_PAGE = 4096, RINGPOOL_BUFFERS = 6 };

struct ringpool {
    struct fixture f;
    struct io_uring ring;
    struct kl_uring_pool *pool;
    int pipes[2];
};
extern struct ringpool rp;

extern const struct kl_uring_config ringpool_usual;

/* All but the pool; flags of io_uring_setup(2). */
void ringpool_ring(unsigned flags);
void ringpool_open(const struct kl_uring_config *config, unsigned flags);
void assert_ringpool_ok(struct kl_uring_pool *which);
/* The ring has no table any more: another one may be made. */
void ringpool_close_ring(void);
void ringpool_close(void);
struct kl_uring_stats ringpool_stats(void);
/* A buffer, and where it is. */
kl_uring_buf ringpool_get(struct kl_uring_io *io);
/* A read of a pipe that has nothing: in flight until answered. */
void ringpool_start(kl_uring_buf buf, struct kl_uring_io *io);
/* With bytes of that seed. */
void ringpool_answer(uint64_t seed);
/* The same; the request is waited for, and ended. */
void ringpool_finish(uint64_t seed);
/* A request of it from now on finds what was read before, and reads and writes rightly. */
void assert_ringpool_works(kl_uring_buf buf, uint64_t seed, bool fixed);

#endif
