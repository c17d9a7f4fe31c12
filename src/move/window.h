// SPDX-License-Identifier: Apache-2.0
/* Which window of frames is the cheapest to empty. */
#ifndef KLI_MOVE_WINDOW_H
#define KLI_MOVE_WINDOW_H

#include "move/run.h"

/* Frames that stood in the way once are not tried again in the same call. */
struct kli_avoid {
    uint32_t nr[8];
    unsigned n;
};

struct kli_window {
    uint32_t first;
    uint32_t n;
};

/* The window of n frames, aligned to align, with the fewest frames to move and
 * none that is stuck, fenced or not to be had.
 * -KL_EBUSY: there is none (somebody is blamed).  -KL_ENOMEM: no metadata, or too
 * little room outside of it. */
int kli_window_find(struct kli_run *run, uint32_t n, uint32_t align, const struct kli_avoid *avoid,
                    struct kli_window *window);

#endif
