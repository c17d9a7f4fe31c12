// SPDX-License-Identifier: Apache-2.0
/* Which window of frames is the cheapest to empty. */
#ifndef KLI_MOVE_WINDOW_H
#define KLI_MOVE_WINDOW_H

#include "move/run.h"

/* Frames that stood in the way once are not tried again in the same call. */
enum { KLI_TRIES = 8 };
struct kli_avoid {
    uint32_t nr[KLI_TRIES];
    unsigned n;
};

struct kli_window {
    uint32_t first;
    uint32_t n;
};

/* An area's own search (area.c): what it keeps of its frames counts as free, since it lets
 * go of that when a window is fenced.  A bit a unit of 2^shift frames, from frame `first`
 * on, where a block begins. */
struct kli_area {
    const kli_word *kept;
    uint32_t first;
    unsigned shift;
};

/* What is looked for. */
struct kli_search {
    struct kli_run *run;
    const struct kli_area *area; /* NULL: the window is not an area's */
    bool movable;                /* for movable frames: areas' blocks will do */
    uint32_t begin;              /* the window lies in or behind this block, */
    uint32_t n;                  /* frames */
    uint32_t align;              /* of the first one's number */
    uint32_t end;                /* and below this one */
    unsigned tries;              /* windows that are tried at most */
    bool idle;                   /* nothing may be moved: no owner is called */
    bool keep_soft;              /* no memory is got beyond the soft limit */
    bool fenced;                 /* out: the run has kept others out of a block */
    uint32_t spare;              /* absent blocks for which memory may be got */
    struct kli_avoid avoid;
};

/* A window of n frames with few frames to move and none that is stuck, fenced or
 * not to be had: the cheapest one that begins where a block does or lies in one
 * block; only when there is none of those, the cheapest of all.
 * -KL_EBUSY: there is none (somebody is blamed).  -KL_ENOMEM: no metadata. */
int kli_window_find(struct kli_search *search, struct kli_window *window);

/* pass.c: the first of the windows of m whole blocks, from multiples of `stride` blocks (a
 * power of two), that have the most idle frames.  false: something is in the way of all. */
bool kli_pass(const struct kli_search *search, uint32_t m, uint32_t stride, uint32_t *first);

/* classify.c: is nothing in the block in the way, and if not so, what; a bit a frame of
 * the block, set: no window may have it. */
bool kli_is_clear(const struct kli_search *search, uint32_t block);
void kli_classify_block(const struct kli_search *search, uint32_t block, uint64_t *never);

static inline size_t kli_never_bytes(const struct kl_zone *zone)
{
    return (size_t)kli_div_up(zone->block_frames, 64) * sizeof(uint64_t);
}

/* Is it a block of an area, where the window must not be? (block.h, B6) */
static inline bool kli_is_barred(const struct kli_search *search, uint64_t word)
{
    return (word & KLI_B_CMA) && !search->area && !search->movable;
}

/* area.c: the same as kli_window_find's, for an area's search; how many frames of a
 * range the area keeps. */
bool kli_area_window(const struct kli_search *search, uint64_t *never, uint32_t *first);
uint32_t kli_area_kept(const struct kli_search *search, uint32_t nr, uint32_t n);

/* slide.c: the cheapest of all windows in the blocks [from, to).  never: room for
 * a block.  Returns its cost, UINT32_MAX when there is none. */
uint32_t kli_slide(const struct kli_search *search, uint32_t from, uint32_t to, uint64_t *never,
                   uint32_t *first);

#endif
