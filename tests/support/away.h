// SPDX-License-Identifier: Apache-2.0
/* A store with write-back to a fake target, and blocks whose contents are known. */
#ifndef TESTS_AWAY_H
#define TESTS_AWAY_H

#include "support/target.h"

enum { BLOCK = 4096, BLOCKS = 2000, ROOM = 1 << 20 };

struct away {
    struct fixture f;
    struct kl_store *store;
    struct fake_target fake;
};

/* With a timeout that no machine is too slow for. */
extern const struct kl_writeback_config AWAY_DEFAULT;

/* A store of ROOM bytes of frames. */
void away_open_on(struct away *s, const struct kl_target *target,
                  struct kl_writeback_config config);
/* And a target of so many. */
void away_open(struct away *s, uint64_t bytes, unsigned flags, struct kl_writeback_config config);
void away_close(struct away *s);
struct kl_writeback_stats away_figures(struct away *s);
uint64_t away_frame_bytes(struct away *s);
/* Every third block is noise, the others compress to about a half. */
void away_make(char *buf, uint64_t block, uint64_t version);
int away_put(struct away *s, uint64_t block, uint64_t version);
void assert_away(struct away *s, uint64_t block, uint64_t version);
/* With a timeout that is short, on a machine that may be slow. */
void assert_away_soon(struct away *s, uint64_t block, uint64_t version);
void away_fill(struct away *s, uint64_t blocks);
/* Until nothing is under way. */
void away_settle(struct away *s);

#endif
