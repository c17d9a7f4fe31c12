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

/* What is looked for. */
struct kli_search {
    struct kli_run *run;
    uint32_t n;     /* frames */
    uint32_t align; /* of the first one's number */
    uint32_t end;   /* the window lies below this block */
    bool idle;      /* nothing may be moved: no owner is called */
    bool fenced;    /* out: the run has kept others out of a block */
    uint32_t spare; /* absent blocks for which memory may be got */
    struct kli_avoid avoid;
};

/* A window of n frames with few frames to move and none that is stuck, fenced or
 * not to be had: the cheapest one that begins where a block does or lies in one
 * block; only when there is none of those, the cheapest of all.
 * -KL_EBUSY: there is none (somebody is blamed).  -KL_ENOMEM: no metadata. */
int kli_window_find(struct kli_search *search, struct kli_window *window);

/* classify.c: one byte a frame of the block. */
enum kli_place { KLI_PLACE_FREE, KLI_PLACE_MOVE, KLI_PLACE_NEVER };
void kli_classify_block(const struct kli_search *search, uint32_t block, uint8_t *place);

/* slide.c: the cheapest of all windows, frame by frame, in [from, to).  place: room
 * for two blocks.  Returns its cost, UINT32_MAX when there is none. */
uint32_t kli_slide(const struct kli_search *search, uint32_t from, uint32_t to, uint8_t *place,
                   uint32_t *first);

#endif
