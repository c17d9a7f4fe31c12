// SPDX-License-Identifier: Apache-2.0
/* paint.h - pictures of a zone for a terminal.  Pure: figures in, text out. */
#ifndef PAINT_H
#define PAINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct paint_block {
    uint32_t free;
    uint32_t used;
    uint32_t stuck;
    bool present;
    bool fenced;
    bool area; /* of an area */
};

struct paint_style {
    bool colour;
    bool ascii;
    unsigned width; /* columns of the terminal */
};

/* One cell a block, or a power of two of blocks when there are very many. */
void paint_blocks(FILE *out, const struct paint_style *style, const struct paint_block *blocks,
                  size_t n);

/* What the cells mean, on as many lines as the width asks for; areas: there are some. */
void paint_blocks_legend(FILE *out, const struct paint_style *style, size_t n, bool areas);

/* Which blocks are an area's, a line a row of them; nothing if none is. */
void paint_areas(FILE *out, const struct paint_block *blocks, size_t n);

/* Every frame of the blocks [first, end): a line a block (more, if the terminal
 * is narrow), eight frames a cell.  kinds: a digit a frame (enum kl_frame_kind),
 * per_block of them a block, from block 0. */
void paint_frames(FILE *out, const struct paint_style *style, const struct paint_block *blocks,
                  size_t first, size_t end, const char *kinds, size_t per_block);
void paint_frames_legend(FILE *out, const struct paint_style *style);

/* Blocks that one cell of paint_blocks stands for. */
size_t paint_blocks_per_cell(const struct paint_style *style, size_t n);

#endif
