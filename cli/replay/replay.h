// SPDX-License-Identifier: Apache-2.0
/* replay.h - runs a trace on a zone of its own and says what came of it.
 *
 * The command, the benchmarks and the tests share this; it uses include/klotski
 * only.  One thread runs a trace; several traces may run at a time.
 */
#ifndef REPLAY_REPLAY_H
#define REPLAY_REPLAY_H

#include "trace.h"

#include "klotski/klotski.h"

enum replay_memory {
    REPLAY_MEMFD, /* memory comes and goes in blocks */
    REPLAY_OWN,   /* the caller's: it is always there */
};

struct replay_config {
    bool migration;
    bool oracle; /* ask at each contiguous request and give-back (slower) */
    enum replay_memory memory;
    uint32_t seed; /* of the contents */
    /* Called, unless NULL, when all was run and before anything is cleared up. */
    void (*at_end)(void *ctx, struct kl_zone *zone);
    void *ctx;
};

struct replay_count {
    uint64_t asked;
    uint64_t done;
    uint64_t feasible;      /* of those asked, by the oracle: */
    uint64_t feasible_done; /* and of these done */
    uint64_t ns;            /* CPU time of the thread */
};

/* A request that failed, with who was in the way. */
struct replay_failure {
    uint32_t line;
    struct replay_op op;
    int err;
    bool feasible; /* by the oracle */
    bool blamed;   /* the rest is filled in: */
    uint32_t frame, block;
    char owner[32];
    uint32_t id; /* of its unit, if it is one: UINT32_MAX when not */
};

enum { REPLAY_FAILURES = 8 };

struct replay_result {
    struct replay_count what[REPLAY_WHATS];
    struct replay_count order[REPLAY_MAX_ORDER + 1]; /* allocations */
    uint64_t compacted;                              /* allocations done only after a compaction */
    uint64_t skipped;                                /* operations on what could not be had */
    uint64_t moved;                                  /* frames */
    uint64_t wrong;                                  /* units whose contents were damaged */
    const char *broken; /* the zone's recount, or the contract; NULL: all is well */
    uint32_t blocks, free_blocks, absent_blocks, given_blocks; /* at the end */
    uint32_t free_frames, used_frames, stuck_frames;
    struct replay_failure failure[REPLAY_FAILURES]; /* contig and give, the first ones */
    unsigned failures;
};

/* 0, whatever the requests came to, or a negative error: the zone could not be
 * made, or could not be cleared up again. */
int replay_run(const struct replay_trace *trace, const struct replay_config *config,
               struct replay_result *result);

/* Contents right, recounts right, and nothing feasible failed. */
bool replay_good(const struct replay_result *result);

/* The part of feasible requests (contig and give) that succeeded; 1 if none was. */
double replay_success_when_feasible(const struct replay_result *result);

#endif
