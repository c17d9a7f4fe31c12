// SPDX-License-Identifier: Apache-2.0
/* svg.h - a picture of a zone as SVG.  Pure: figures in, text out, the same text for
 * the same figures. */
#ifndef SVG_H
#define SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a frame can be, in the order in which a cell is filled from its bottom. */
enum svg_kind {
    SVG_UNMOVABLE, /* and pinned, where they are not told apart */
    SVG_PINNED,
    SVG_ISOLATED,
    SVG_MOVABLE,
    SVG_FREE,
    SVG_ABSENT,
    SVG_KINDS
};

#define SVG_CELLS  2048 /* in a picture, at most */
#define SVG_BLOCKS 256  /* of which every frame can be drawn, at most */
#define SVG_FRAMES 512  /* of such a block, at most */

/* A block, or several. */
struct svg_cell {
    uint64_t frames[SVG_KINDS];
    bool fenced; /* one of them is being emptied */
    bool area;   /* one of them is an area's */
};

struct svg_zone {
    const char *name; /* any text */
    const char *backing;
    uint64_t frame_bytes;
    uint64_t per_block; /* frames */
    uint64_t blocks;
    uint64_t per_cell; /* blocks; the last cell may have fewer */
    const struct svg_cell *cell;
    size_t cells;
    const enum svg_kind *frame;  /* every frame's kind, or NULL: too many of them */
    uint64_t taken;              /* blocks that somebody has taken */
    bool indexed;                /* the next two are known */
    int unusable, fragmentation; /* for whole blocks, in thousandths */
};

/* Can every frame be drawn? */
bool svg_frames_fit(uint64_t blocks, uint64_t per_block);

void svg_paint(FILE *out, const struct svg_zone *zone);

#endif
