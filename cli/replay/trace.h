// SPDX-License-Identifier: Apache-2.0
/* trace.h - a trace of allocations, read from a file and checked as a whole.
 *
 * doc/TRACE.md describes the format.  A trace that was read obeys these, so that
 * whoever runs it need not look again:
 *
 * (T1) Every figure is within the bounds below; a unit fits into a block, a range
 *      into the zone.
 * (T2) An id is live when it is freed, pinned or unpinned, and not live when it is
 *      allocated; what is freed is not pinned; only units are pinned.
 * (T3) The blocks given back are at no time more than the zone has, nor those lent
 *      more than were given.
 *
 * What is live here may not be when the trace runs, since an allocation may fail:
 * then what follows for that id is skipped.
 */
#ifndef REPLAY_TRACE_H
#define REPLAY_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define REPLAY_VERSION    1
#define REPLAY_MIN_FRAME  4096u
#define REPLAY_MAX_FRAME  (2u << 20)
#define REPLAY_MAX_ORDER  18u /* of a block, and so of a unit; at least 1 */
#define REPLAY_MAX_BLOCKS (1u << 20)
#define REPLAY_MAX_FRAMES (1u << 24)   /* of the zone */
#define REPLAY_MAX_BYTES  (1ull << 40) /* of the zone */
#define REPLAY_MAX_ID     ((1u << 22) - 1)
#define REPLAY_MAX_PINS   4095u /* of one unit */
#define REPLAY_MAX_OPS    (10u << 20)
#define REPLAY_MAX_LINE   200u /* characters */

/* The one list of operations: name, words that follow it. */
#define REPLAY_OPS(X)                                                                              \
    X(alloc, 3)                                                                                    \
    X(free, 1)                                                                                     \
    X(pin, 1)                                                                                      \
    X(unpin, 1)                                                                                    \
    X(contig, 3)                                                                                   \
    X(give, 1)                                                                                     \
    X(lend, 1)                                                                                     \
    X(compact, 0)

enum replay_what {
#define REPLAY_ENUM(name, words) REPLAY_##name,
    REPLAY_OPS(REPLAY_ENUM)
#undef REPLAY_ENUM
        REPLAY_WHATS
};

struct replay_op {
    uint32_t line; /* of the file */
    uint32_t id;   /* alloc, free, pin, unpin, contig */
    uint32_t n;    /* contig: frames; give, lend: blocks */
    uint8_t what;  /* enum replay_what */
    uint8_t order; /* alloc; contig: the alignment is 2^order frames */
    bool movable;  /* alloc */
};

struct replay_shape {
    uint32_t frame_bytes;
    uint32_t block_order;
    uint32_t blocks;
};

struct replay_trace {
    struct replay_shape shape;
    struct replay_op *ops;
    uint32_t n;
    uint32_t ids; /* all ids are below */
};

struct replay_error {
    uint32_t line; /* 0: it is not about a line */
    char text[160];
};

/* Reads all of `in`.  false: *error says why, and the trace is empty. */
bool replay_read(FILE *in, struct replay_trace *trace, struct replay_error *error);
void replay_forget(struct replay_trace *trace);

/* "alloc"; "?" for what is none. */
const char *replay_name(unsigned what);

/* Whether a zone may have this shape; if not, *why says what is wrong with it. */
bool replay_shape_ok(const struct replay_shape *shape, const char **why);

#endif
