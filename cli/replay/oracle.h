// SPDX-License-Identifier: Apache-2.0
/* oracle.h - what is possible in a zone whose layout is frozen, found out by
 * looking at every place; slow, and independent of how the library looks.
 *
 * A contiguous range is feasible when there is an aligned window without a frame
 * that is unmovable, pinned or isolated, and every unit that reaches into it fits,
 * whole and aligned, into free frames outside of it; all of them at a time.
 * Moving yet others to make room for them is not thought of.
 *
 * A give-back is feasible when enough blocks have no memory, or when the blocks
 * without stuck frames that have the fewest in use can be emptied into the rest.
 * (With units larger than a frame another choice might fit where this one does
 * not: "feasible" is certain, "not feasible" is not.)
 *
 * Thread safety: pure, but for malloc.
 */
#ifndef REPLAY_ORACLE_H
#define REPLAY_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

struct replay_layout {
    uint32_t frames;
    uint32_t block_order;
    const uint8_t *map;   /* enum kl_frame_kind, one a frame (kl_zone_map) */
    const uint8_t *order; /* of the movable unit whose first frame this is, else
                           * UINT8_MAX.  NULL: all are single frames */
    uint32_t spare;       /* blocks without memory that may get some */
    bool may_move;        /* false: only what is free anyhow */
};

/* 1 feasible, 0 not, -1 no memory to find out. */
int replay_feasible_contig(const struct replay_layout *layout, uint32_t n, uint32_t align);
int replay_feasible_give(const struct replay_layout *layout, uint32_t blocks);

#endif
