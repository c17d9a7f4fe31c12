// SPDX-License-Identifier: Apache-2.0
/* generate.h - writes traces that are modelled on what programs do.  doc/TRACE.md
 * says what was observed, and where.  The same kind, seed and size make the same
 * trace on every machine. */
#ifndef REPLAY_GENERATE_H
#define REPLAY_GENERATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct replay_kind {
    const char *name;
    const char *brief;
    uint32_t frame_bytes, block_order;
    uint32_t blocks; /* when nothing else is asked for */
};

/* Ends with a NULL name. */
extern const struct replay_kind replay_kinds[];

const struct replay_kind *replay_find_kind(const char *name);

enum { REPLAY_MIN_GENERATED = 8 }; /* blocks */

/* false: no memory, or blocks is out of range for the kind (then nothing is
 * written).  Whether `out` took it all is for the caller to see. */
bool replay_generate(FILE *out, const struct replay_kind *kind, uint32_t blocks, uint32_t seed);

#endif
