// SPDX-License-Identifier: Apache-2.0
/* A store with write-back to a fake target, and blocks whose contents are known. */
#ifndef TESTS_AWAY_H
#define TESTS_AWAY_H

#include "support/target.h"

enum { BLOCK = 4096, BLOCKS = 2000, ROOM = 1 << 20 };

struct scene {
    struct fixture f;
    struct kl_store *store;
    struct fake_target fake;
};

/* With a timeout that no machine is too slow for. */
extern const struct kl_writeback_config AWAY_DEFAULT;

/* A store of ROOM bytes of frames. */
void scene_open_on(struct scene *s, const struct kl_target *target,
                   struct kl_writeback_config config);
/* And a target of so many. */
void scene_open(struct scene *s, uint64_t bytes, unsigned flags, struct kl_writeback_config config);
void scene_close(struct scene *s);
struct kl_writeback_stats figures(struct scene *s);
uint64_t frame_bytes(struct scene *s);
/* Every third block is noise, the others compress to about a half. */
void make(char *buf, uint64_t block, uint64_t version);
int put(struct scene *s, uint64_t block, uint64_t version);
void assert_block(struct scene *s, uint64_t block, uint64_t version);
/* With a timeout that is short, on a machine that may be slow. */
void assert_block_soon(struct scene *s, uint64_t block, uint64_t version);
void fill(struct scene *s, uint64_t blocks);
/* Until nothing is under way. */
void settle(struct scene *s);

#endif
