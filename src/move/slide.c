// SPDX-License-Identifier: Apache-2.0
/* The cheapest of all windows, frame by frame.
 *
 * A window slides over the range.  Its front and its rear each stand in one block,
 * whose frames they have classified, so that two blocks' worth of memory will do for
 * a zone of any size.  What the rear takes off may differ from what the front put on,
 * for frames come and go meanwhile: the cost is a hint then.  That nothing stands in
 * the way is known from the front alone.
 */
#include "move/window.h"

/* One end of the window. */
struct edge {
    uint8_t *place;
    uint32_t block;
    bool absent;
};

struct slide {
    struct edge front, rear;
    uint64_t clear;  /* no frame from here to the front is in the way */
    int64_t cost;    /* frames to be moved */
    int64_t absents; /* blocks without memory, as a whole or in part */
};

static uint8_t at(const struct kli_search *search, struct edge *edge, uint32_t nr)
{
    const struct kl_zone *zone = search->run->zone;
    uint32_t block = kli_block_of(zone, nr);

    if (edge->block != block) {
        kli_classify_block(search, block, edge->place);
        edge->absent = kli_block_word(zone, block) & KLI_B_ABSENT;
        edge->block = block;
    }
    return edge->place[nr & (zone->block_frames - 1)];
}

static void take_on(const struct kli_search *search, struct slide *s, uint32_t nr, bool first)
{
    uint8_t place = at(search, &s->front, nr);

    if (place == KLI_PLACE_NEVER)
        s->clear = (uint64_t)nr + 1;
    s->cost += place == KLI_PLACE_MOVE;
    if (first || nr % search->run->zone->block_frames == 0)
        s->absents += s->front.absent;
}

static void take_off(const struct kli_search *search, struct slide *s, uint32_t nr)
{
    s->cost -= at(search, &s->rear, nr) == KLI_PLACE_MOVE;
    if ((nr + 1) % search->run->zone->block_frames == 0)
        s->absents -= s->rear.absent;
}

uint32_t kli_slide(const struct kli_search *search, uint32_t from, uint32_t to, uint8_t *place,
                   uint32_t *first)
{
    struct slide s = {
        .front = {place, UINT32_MAX, false},
        .rear = {place + search->run->zone->block_frames, UINT32_MAX, false},
        .clear = from,
    };
    uint32_t n = search->n, best = UINT32_MAX;

    for (uint32_t nr = from; nr < to && best > 0; nr++) {
        uint32_t start = nr + 1 - n;

        take_on(search, &s, nr, nr == from);
        if (nr - from >= n)
            take_off(search, &s, nr - n);
        if (nr - from + 1 < n || start % search->align != 0 || start < s.clear)
            continue;
        if (s.absents <= (int64_t)search->spare && s.cost < (int64_t)best) {
            best = (uint32_t)(s.cost > 0 ? s.cost : 0);
            *first = start;
        }
    }
    return best;
}
