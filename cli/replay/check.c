// SPDX-License-Identifier: Apache-2.0
/* check.c - what is live, pinned and given back as a trace goes on.  The table
 * grows with the largest id so far, which has a bound. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum { CONTIG = 0xffff };

bool replay_check_begin(struct replay_check *check, const struct replay_shape *shape)
{
    *check = (struct replay_check){.blocks = shape->blocks, .room = 1024};
    check->live = calloc(check->room, sizeof(*check->live));
    return check->live != NULL;
}

void replay_check_end(struct replay_check *check)
{
    free(check->live);
    *check = (struct replay_check){0};
}

static bool grow(struct replay_check *check, uint32_t id)
{
    uint32_t room = check->room;
    uint16_t *live;

    while (room <= id)
        room *= 2;
    if (room == check->room)
        return true;
    live = realloc(check->live, room * sizeof(*live));
    if (!live)
        return false;
    memset(live + check->room, 0, (room - check->room) * sizeof(*live));
    check->live = live;
    check->room = room;
    return true;
}

static const char *check_new(struct replay_check *check, const struct replay_op *op)
{
    if (!grow(check, op->id))
        return "no memory";
    if (check->live[op->id] != 0)
        return "this id is live already";
    check->live[op->id] = op->what == REPLAY_contig ? CONTIG : 1;
    return NULL;
}

static const char *check_old(struct replay_check *check, const struct replay_op *op)
{
    uint16_t *live = op->id < check->room ? &check->live[op->id] : NULL;

    if (!live || *live == 0)
        return "this id is not live";
    if (op->what == REPLAY_free) {
        if (*live != 1 && *live != CONTIG)
            return "it is pinned";
        *live = 0;
        return NULL;
    }
    if (*live == CONTIG)
        return "ranges are not pinned; they stay where they are";
    if (op->what == REPLAY_unpin && *live == 1)
        return "it is not pinned";
    if (op->what == REPLAY_pin && *live > REPLAY_MAX_PINS)
        return "it is pinned 4095 times already";
    *live = (uint16_t)(op->what == REPLAY_pin ? *live + 1 : *live - 1);
    return NULL;
}

const char *replay_check_op(struct replay_check *check, const struct replay_op *op)
{
    switch (op->what) {
    case REPLAY_alloc:
    case REPLAY_contig:
        return check_new(check, op);
    case REPLAY_give:
        if (op->n > check->blocks - check->given)
            return "the zone has not so many blocks left";
        check->given += op->n;
        return NULL;
    case REPLAY_lend:
        if (op->n > check->given)
            return "more than were given back";
        check->given -= op->n;
        return NULL;
    case REPLAY_compact:
        return NULL;
    default:
        return check_old(check, op);
    }
}
