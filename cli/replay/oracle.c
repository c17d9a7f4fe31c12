// SPDX-License-Identifier: Apache-2.0
/* oracle.c - the frozen layout, asked.
 *
 * Room is counted in chunks: the largest aligned powers of two of free frames, as
 * a buddy allocator has them.  Units are powers of two, too, so filling chunks
 * with the largest units first finds a place for all of them if there is one.
 */
#include "oracle.h"

#include "klotski/inspect.h"

#include <stdlib.h>
#include <string.h>

enum { ORDERS = 19 };

struct book {
    const struct replay_layout *l;
    uint32_t per_block;
    uint32_t blocks;
    uint32_t *stuck;        /* frames before this one that can't move, ... */
    uint32_t *moves;        /* and that can and would have to */
    uint64_t chunk[ORDERS]; /* of all blocks with memory */
};

static bool is_free(uint8_t kind)
{
    return kind == KL_FRAME_FREE || kind == KL_FRAME_ABSENT;
}

static bool absent(const struct book *b, uint32_t block)
{
    return b->l->map[(uint64_t)block * b->per_block] == KL_FRAME_ABSENT;
}

/* Adds the chunks of a block, counting [from, to) as used. */
static void add_chunks(const struct book *b, uint32_t block, uint32_t from, uint32_t to,
                       uint64_t chunk[ORDERS])
{
    uint32_t first = block * b->per_block, end = first + b->per_block;

    for (uint32_t nr = first, n; nr < end; nr += n) {
        unsigned order = 0;

        n = 1;
        if (!is_free(b->l->map[nr]) || (nr >= from && nr < to))
            continue;
        for (uint32_t run = 1;; order++) { /* as long as the buddy is free, too */
            uint32_t all = 2u << order;

            if (order == b->l->block_order || nr % all != 0)
                break;
            while (run < all && is_free(b->l->map[nr + run]) && (nr + run < from || nr + run >= to))
                run++;
            if (run < all)
                break;
        }
        chunk[order]++;
        n = 1u << order;
    }
}

static bool book_open(struct book *b, const struct replay_layout *l)
{
    *b = (struct book){.l = l, .per_block = 1u << l->block_order};
    b->blocks = l->frames >> l->block_order;
    b->stuck = calloc((size_t)l->frames + 1, sizeof(*b->stuck));
    b->moves = calloc((size_t)l->frames + 1, sizeof(*b->moves));
    if (!b->stuck || !b->moves)
        return false;
    for (uint32_t nr = 0; nr < l->frames; nr++) {
        bool moves = l->map[nr] == KL_FRAME_MOVABLE;

        b->moves[nr + 1] = b->moves[nr] + moves;
        b->stuck[nr + 1] = b->stuck[nr] + (!moves && !is_free(l->map[nr]));
    }
    for (uint32_t block = 0; block < b->blocks; block++) {
        if (!absent(b, block))
            add_chunks(b, block, 0, 0, b->chunk);
    }
    return true;
}

static void book_close(struct book *b)
{
    free(b->stuck);
    free(b->moves);
}

/* The first frame of the movable unit that nr is in. */
static uint32_t head_of(const struct replay_layout *l, uint32_t nr)
{
    for (unsigned order = 0; l->order && order <= l->block_order; order++) {
        uint32_t head = nr >> order << order;

        if (l->map[head] == KL_FRAME_MOVABLE && l->order[head] != UINT8_MAX &&
            head + (1u << l->order[head]) > nr)
            return head;
    }
    return nr;
}

/* Counts the movable units that reach into [from, to), by order. */
static void add_units(const struct replay_layout *l, uint32_t from, uint32_t to,
                      uint64_t unit[ORDERS])
{
    uint32_t nr = from;

    if (l->map[from] == KL_FRAME_MOVABLE)
        nr = head_of(l, from);
    while (nr < to) {
        unsigned order = 0;

        if (l->map[nr] == KL_FRAME_MOVABLE) {
            order = l->order ? l->order[nr] : 0;
            unit[order]++;
        }
        nr += 1u << order;
    }
}

static bool fits(const uint64_t unit[ORDERS], const uint64_t chunk[ORDERS])
{
    uint64_t room = 0;

    for (unsigned order = ORDERS; order-- > 0;) {
        room = room * 2 + chunk[order];
        if (room < unit[order])
            return false;
        room -= unit[order];
    }
    return true;
}

/* ---- contiguous ranges ---------------------------------------------------- */

/* Whether what is in the window fits outside; spare: blocks that may get memory
 * beside those of the window. */
static bool empties(const struct book *b, uint32_t from, uint32_t to, uint32_t spare)
{
    uint64_t unit[ORDERS] = {0}, chunk[ORDERS];

    memcpy(chunk, b->chunk, sizeof(chunk));
    chunk[b->l->block_order] += spare;
    for (uint32_t block = from / b->per_block; block <= (to - 1) / b->per_block; block++) {
        uint64_t before[ORDERS] = {0};

        if (!absent(b, block))
            add_chunks(b, block, 0, 0, before);
        for (unsigned order = 0; order < ORDERS; order++)
            chunk[order] -= before[order];
        add_chunks(b, block, from, to, chunk);
    }
    add_units(b->l, from, to, unit);
    return fits(unit, chunk);
}

static bool window(const struct book *b, uint32_t from, uint32_t to)
{
    uint32_t no_memory = 0, moves = b->moves[to] - b->moves[from];

    if (b->stuck[to] - b->stuck[from] > 0 || (moves > 0 && !b->l->may_move))
        return false;
    for (uint32_t block = from / b->per_block; block <= (to - 1) / b->per_block; block++)
        no_memory += absent(b, block);
    if (no_memory > b->l->spare)
        return false;
    return moves == 0 || empties(b, from, to, b->l->spare - no_memory);
}

int replay_feasible_contig(const struct replay_layout *l, uint32_t n, uint32_t align)
{
    struct book b;
    int found = -1;

    if (book_open(&b, l)) {
        found = 0;
        for (uint64_t at = 0; at + n <= l->frames && !found; at += align)
            found = window(&b, (uint32_t)at, (uint32_t)at + n);
    }
    book_close(&b);
    return found;
}

/* ---- give-backs ----------------------------------------------------------- */

struct candidate {
    uint32_t used;
    uint32_t block;
};

static int by_use(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->used != y->used)
        return x->used < y->used ? -1 : 1;
    return x->block < y->block ? -1 : x->block > y->block;
}

/* Blocks that could be emptied, the cheapest first. */
static uint32_t candidates(const struct book *b, struct candidate *list)
{
    uint32_t n = 0;

    for (uint32_t block = 0; block < b->blocks; block++) {
        uint32_t from = block * b->per_block, to = from + b->per_block;
        uint32_t used = b->moves[to] - b->moves[from];

        if (!absent(b, block) && b->stuck[to] == b->stuck[from] && (used == 0 || b->l->may_move))
            list[n++] = (struct candidate){used, block};
    }
    qsort(list, n, sizeof(*list), by_use);
    return n;
}

int replay_feasible_give(const struct replay_layout *l, uint32_t blocks)
{
    uint64_t unit[ORDERS] = {0};
    struct candidate *list;
    struct book b;
    int found = -1;

    if (blocks <= l->spare)
        return 1;
    blocks -= l->spare;
    list = malloc(((l->frames >> l->block_order) + 1) * sizeof(*list));
    if (book_open(&b, l) && list) {
        found = candidates(&b, list) >= blocks;
        for (uint32_t i = 0; found && i < blocks; i++) {
            uint32_t from = list[i].block * b.per_block;
            uint64_t before[ORDERS] = {0};

            add_chunks(&b, list[i].block, 0, 0, before);
            for (unsigned order = 0; order < ORDERS; order++)
                b.chunk[order] -= before[order];
            add_units(l, from, from + b.per_block, unit);
        }
        found = found && fits(unit, b.chunk);
    }
    book_close(&b);
    free(list);
    return found;
}
