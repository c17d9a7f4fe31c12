// SPDX-License-Identifier: Apache-2.0
/* replay_print.h - what `klotski replay` shows: one or two runs of a trace, side
 * by side, and what the zone looked like at the end. */
#ifndef REPLAY_PRINT_H
#define REPLAY_PRINT_H

#include "replay/replay.h"

#include "paint.h"

struct replay_column {
    bool migration;
    bool oracle;
    struct replay_result result;
    struct paint_block *blocks; /* result.blocks of them, at the end; or NULL */
};

void replay_print_table(const struct replay_trace *trace, const struct replay_column *column,
                        unsigned n);
/* The first failures of a run, and who was in the way. */
void replay_print_failures(const struct replay_column *column);
void replay_print_json(const struct replay_trace *trace, const struct replay_column *column,
                       unsigned n);

#endif
