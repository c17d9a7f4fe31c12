// SPDX-License-Identifier: Apache-2.0
/* check.h - whether the operations of a trace make sense one after the other
 * (T2, T3 of trace.h).  One thread. */
#ifndef REPLAY_CHECK_H
#define REPLAY_CHECK_H

#include "trace.h"

struct replay_check {
    uint16_t *live; /* by id: 0 not live, else pins + 1; CONTIG a range */
    uint32_t room;
    uint32_t blocks;
    uint32_t given;
};

bool replay_check_begin(struct replay_check *check, const struct replay_shape *shape);
/* NULL, and the operation is counted; or what is wrong with it. */
const char *replay_check_op(struct replay_check *check, const struct replay_op *op);
void replay_check_end(struct replay_check *check);

#endif
