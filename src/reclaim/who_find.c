// SPDX-License-Identifier: Apache-2.0
/* Where the fewest stand in the way: a window slides over the zone, or blocks are
 * counted and sorted.
 *
 * The window's front and rear each stand in one block, whose frames they have
 * classified; what the rear takes off may differ from what the front put on, for
 * frames come and go meanwhile (W2).
 */
#include "reclaim/who.h"

enum place { FREE, MOVE, HEAD, TAIL }; /* HEAD, TAIL: of one in the way */

struct end {
    uint8_t *place;
    uint32_t block;
    bool absent;
};

struct window {
    struct kl_zone *zone;
    uint32_t n, align, spare;
    struct end front, rear;
    int64_t heads, move, absent;
    int64_t best, best_move; /* heads, and then frames to move */
};

static void mark(uint8_t *place, uint32_t n, bool in_way, bool begins)
{
    memset(place, in_way ? TAIL : MOVE, n);
    if (in_way && begins)
        place[0] = HEAD;
}

/* The rest of a unit that began in another block. */
static uint32_t mark_rest(struct kl_zone *zone, uint32_t first, uint8_t *place)
{
    uint32_t head = kli_head_of(zone, first);
    uint64_t word = kli_state(zone, head), end = head + (UINT64_C(1) << kli_f_order(word));

    if (head == first || !(word & KLI_F_HEAD) || end <= first)
        return 0;
    end = kli_min(end - first, zone->block_frames);
    mark(place, (uint32_t)end, true, false); /* such large ones can't move */
    return (uint32_t)end;
}

static void classify_units(struct kl_zone *zone, uint32_t first, uint8_t *place)
{
    uint32_t all = zone->block_frames, i = mark_rest(zone, first, place);
    char text[KL_WHY_BYTES];

    while (i < all) {
        uint64_t word = kli_state(zone, first + i);
        uint32_t n = (uint32_t)kli_min(UINT64_C(1) << kli_f_order(word), all - i);
        enum kl_in_way way;

        if (word & KLI_F_HEAD) {
            way = kli_way_now(zone, first + i, word, text, sizeof(text));
            mark(place + i, n, way != KL_IN_WAY_NOTHING && way != KL_IN_WAY_BUSY, true);
        }
        i += (word & KLI_F_HEAD) ? n : 1;
    }
}

/* true: it is absent, and could be populated. */
static bool classify(struct kl_zone *zone, uint32_t block, uint32_t spare, uint8_t *place)
{
    uint64_t word = kli_block_word(zone, block);

    memset(place, FREE, zone->block_frames);
    if ((word & (KLI_B_FENCED | KLI_B_CMA)) || ((word & KLI_B_ABSENT) && spare == 0)) {
        mark(place, zone->block_frames, true, true);
        return false;
    }
    if (word & KLI_B_ABSENT)
        return true;
    classify_units(zone, block << zone->block_order, place);
    return false;
}

static uint8_t at(struct window *w, struct end *end, uint32_t nr)
{
    uint32_t block = kli_block_of(w->zone, nr);

    if (end->block != block) {
        end->absent = classify(w->zone, block, w->spare, end->place);
        end->block = block;
    }
    return end->place[nr & (w->zone->block_frames - 1)];
}

static void put_on(struct window *w, uint32_t nr)
{
    uint8_t place = at(w, &w->front, nr);

    w->heads += place == HEAD;
    w->move += place == MOVE;
    w->absent += w->front.absent && (nr & (w->zone->block_frames - 1)) == 0;
}

static void take_off(struct window *w, uint32_t nr)
{
    uint8_t place = at(w, &w->rear, nr);

    w->heads -= place == HEAD;
    w->move -= place == MOVE;
    w->absent -= w->rear.absent && ((nr + 1) & (w->zone->block_frames - 1)) == 0;
}

/* Is the window that begins there better than the best so far? */
static bool is_better(struct window *w, uint32_t start)
{
    int64_t absent = w->absent - (int64_t)w->spare;
    int64_t in_way = w->heads + (at(w, &w->rear, start) == TAIL) + (absent > 0 ? absent : 0);

    if (in_way > w->best || (in_way == w->best && w->move >= w->best_move))
        return false;
    w->best = in_way;
    w->best_move = w->move;
    return true;
}

/* There is always one: at 0. */
static void slide(struct window *w, uint32_t *first)
{
    for (uint32_t nr = 0; nr < w->zone->frames; nr++) {
        uint32_t start = nr + 1 - w->n;

        put_on(w, nr);
        if (nr >= w->n)
            take_off(w, nr - w->n);
        if (nr + 1 >= w->n && (start & (w->align - 1)) == 0 && is_better(w, start)) {
            *first = start;
            if (w->best <= 0 && w->best_move <= 0)
                break;
        }
    }
}

int kli_fewest_window(struct kl_zone *zone, uint32_t n, uint32_t align, uint32_t *first)
{
    const struct kl_host *host = &zone->host;
    size_t bytes = (size_t)2 * zone->block_frames;
    uint8_t *place = host->meta_alloc(host->ctx, bytes);
    struct window w = {.zone = zone,
                       .n = n,
                       .align = align,
                       .spare = kli_populatable(zone, true),
                       .front = {place, UINT32_MAX, false},
                       .best = INT64_MAX,
                       .best_move = INT64_MAX};

    if (!place)
        return -KL_ENOMEM;
    w.rear = (struct end){place + zone->block_frames, UINT32_MAX, false};
    slide(&w, first);
    host->meta_free(host->ctx, place, bytes);
    return 0;
}

/* ---- blocks ---- */

struct candidate {
    uint32_t in_way;
    uint32_t used;
    uint32_t block;
};

static bool by_cost(const struct candidate *a, const struct candidate *b)
{
    if (a->in_way != b->in_way)
        return a->in_way < b->in_way;
    return a->used != b->used ? a->used < b->used : a->block < b->block;
}

static bool by_block(const struct candidate *a, const struct candidate *b)
{
    return a->block < b->block;
}

typedef bool less(const struct candidate *a, const struct candidate *b);

static void sift(struct candidate *c, uint32_t at, uint32_t n, less *before)
{
    struct candidate moved = c[at];
    uint64_t child;

    for (; (child = 2 * (uint64_t)at + 1) < n; at = (uint32_t)child) {
        if (child + 1 < n && before(&c[child], &c[child + 1]))
            child++;
        if (!before(&moved, &c[child]))
            break;
        c[at] = c[child];
    }
    c[at] = moved;
}

static void heap_sort(struct candidate *c, uint32_t n, less *before)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift(c, i, n, before);
    for (uint32_t end = n; end > 1; end--) {
        struct candidate last = c[end - 1];

        c[end - 1] = c[0];
        c[0] = last;
        sift(c, 0, end - 1, before);
    }
}

/* Blocks that were given back come last: nothing that moves makes up for them. */
static struct candidate weigh(struct kl_zone *zone, uint32_t block, uint8_t *place)
{
    struct candidate c = {.block = block, .used = zone->block_frames};

    if (kli_block_word(zone, block) == KLI_B_ABSENT) {
        c.in_way = UINT32_MAX;
        return c;
    }
    classify(zone, block, 0, place);
    for (uint32_t i = 0; i < zone->block_frames; i++) {
        c.in_way += place[i] == HEAD;
        c.used -= place[i] == FREE;
    }
    c.in_way += place[0] == TAIL;
    return c;
}

/* One piece of scratch: the candidates, then the places of a block's frames. */
int kli_fewest_blocks(struct kl_zone *zone, uint32_t n, uint32_t **blocks, size_t *bytes)
{
    const struct kl_host *host = &zone->host;
    size_t all = zone->blocks * sizeof(struct candidate), scratch = all + zone->block_frames;
    struct candidate *c = host->meta_alloc(host->ctx, scratch);

    if (!c)
        return -KL_ENOMEM;
    *bytes = n * sizeof(**blocks);
    *blocks = host->meta_alloc(host->ctx, *bytes);
    if (*blocks) {
        for (uint32_t b = 0; b < zone->blocks; b++)
            c[b] = weigh(zone, b, (uint8_t *)c + all);
        heap_sort(c, zone->blocks, by_cost);
        heap_sort(c, n, by_block);
        for (uint32_t i = 0; i < n; i++)
            (*blocks)[i] = c[i].block;
    }
    host->meta_free(host->ctx, c, scratch);
    return *blocks ? 0 : -KL_ENOMEM;
}
