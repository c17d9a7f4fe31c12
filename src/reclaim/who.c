// SPDX-License-Identifier: Apache-2.0
/* Who is in the way: the list, and the questions.  See who.h for the invariants. */
#include "reclaim/who.h"

/* Counts one more; where it goes in the list, or NULL. */
static struct kl_obstacle *next(struct kli_list *list)
{
    if (list->who->found++ >= list->max)
        return NULL;
    return &list->list[list->who->listed++];
}

static void add_block(struct kli_list *list, uint32_t block, enum kl_in_way kind)
{
    struct kl_obstacle *o = next(list);

    if (o)
        *o = (struct kl_obstacle){.block = {block}, .order = list->zone->block_order, .kind = kind};
}

enum kl_in_way kli_way_now(struct kl_zone *zone, uint32_t nr, uint64_t word, char *text,
                           size_t bytes)
{
    enum kl_in_way way = kli_in_way(zone, word);

    text[0] = '\0';
    if (way == KL_IN_WAY_REFUSED && !kli_explain(zone, nr, text, bytes))
        return KL_IN_WAY_NOTHING;
    return way;
}

/* What passes within a few naps is in nobody's way. (W2) */
static enum kl_in_way way_for_long(struct kl_zone *zone, uint32_t nr, uint64_t *word, char *text,
                                   size_t bytes)
{
    enum { NAPS = 6 };
    enum kl_in_way way = KL_IN_WAY_NOTHING;

    for (unsigned i = 0; i < NAPS; i++) {
        *word = kli_state(zone, nr);
        way = (*word & KLI_F_HEAD) ? kli_way_now(zone, nr, *word, text, bytes) : KL_IN_WAY_NOTHING;
        if (way != KL_IN_WAY_BUSY && way != KL_IN_WAY_REFUSED)
            return way;
        zone->host.relax(zone->host.ctx, i);
    }
    return way;
}

/* An allocation, of which n frames are there. */
static void list_unit(struct kli_list *list, uint32_t nr, uint32_t n)
{
    char text[KL_WHY_BYTES];
    struct kl_obstacle *o;
    uint64_t word;
    enum kl_in_way way = way_for_long(list->zone, nr, &word, text, sizeof(text));

    if (way == KL_IN_WAY_NOTHING) {
        list->who->to_move += (word & KLI_F_HEAD) ? n : 0;
        return;
    }
    o = next(list);
    if (o)
        kli_describe(list->zone, nr, word, way, o);
    if (o && way == KL_IN_WAY_REFUSED)
        memcpy(o->why, text, sizeof(o->why));
}

/* A block as a whole: fenced, or without memory. */
static bool list_whole(struct kli_list *list, uint32_t block)
{
    uint64_t word = kli_block_word(list->zone, block);

    if (word & KLI_B_FENCED) {
        add_block(list, block, KL_IN_WAY_FENCED);
        return true;
    }
    if (word & KLI_B_CMA) { /* whatever is in it */
        add_block(list, block, KL_IN_WAY_AREA);
        return true;
    }
    if (!(word & KLI_B_ABSENT))
        return false;
    if (list->spare > 0)
        list->spare--;
    else
        add_block(list, block, KL_IN_WAY_GIVEN);
    return true;
}

/* From nr on, in one block; a unit that began before it was listed there. */
static void list_in_block(struct kli_list *list, uint32_t nr, uint32_t end)
{
    const struct kl_zone *zone = list->zone;

    while (nr < end) {
        uint64_t word = kli_state(zone, nr);
        uint64_t n = (word & KLI_F_HEAD) ? UINT64_C(1) << kli_f_order(word) : 1;

        n = kli_min(n, end - nr);
        if (word & KLI_F_HEAD)
            list_unit(list, nr, (uint32_t)n);
        else
            list->free_there++;
        nr += (uint32_t)n;
    }
}

/* The unit that has begun before nr and covers it; where it ends, or nr. */
static uint64_t covered_to(const struct kl_zone *zone, uint32_t nr, uint32_t *head)
{
    uint64_t word;

    *head = kli_head_of(zone, nr);
    if (*head == nr)
        return nr;
    word = kli_state(zone, *head);
    return (word & KLI_F_HEAD) ? *head + (UINT64_C(1) << kli_f_order(word)) : nr;
}

void kli_list_range(struct kli_list *list, uint32_t first, uint32_t n)
{
    const struct kl_zone *zone = list->zone;
    uint64_t end = (uint64_t)first + n, at = first;

    while (at < end) {
        uint32_t block = kli_block_of(zone, (uint32_t)at), nr = (uint32_t)at, head;
        uint64_t next = kli_min(end, (uint64_t)(block + 1) << zone->block_order), to;

        if (!list_whole(list, block)) {
            to = kli_min(covered_to(zone, nr, &head), end);
            if (to > at && at == first) /* else it was listed where it begins */
                list_unit(list, head, (uint32_t)(to - at));
            if (to < next)
                list_in_block(list, (uint32_t)to, (uint32_t)next);
        }
        at = next;
    }
}

static bool list_ok(const struct kl_who *who, const struct kl_obstacle *list, size_t max)
{
    return who && who->size == sizeof(*who) && (list || max == 0);
}

static struct kli_list begin(struct kl_zone *zone, struct kl_who *who, struct kl_obstacle *list,
                             size_t max)
{
    *who = (struct kl_who){.size = sizeof(*who)};
    return (struct kli_list){
        .zone = zone, .list = list, .max = max, .who = who, .spare = kli_populatable(zone, true)};
}

/* Frames that what has to move could go to: those free elsewhere, with the ones that
 * CPUs keep at hand, and so many more. */
static void set_room(struct kli_list *list, uint64_t more)
{
    struct kl_zone *zone = list->zone;
    uint64_t free = kli_free_frames(zone) + kli_cache_count(zone, UINT32_MAX, false) +
                    kli_cache_count(zone, UINT32_MAX, true);

    list->who->room = more + (free > list->free_there ? free - list->free_there : 0);
    list->who->lacks_room = list->who->room < list->who->to_move;
}

int kl_zone_who(struct kl_zone *zone, uint32_t frames, uint32_t align, struct kl_who *who,
                struct kl_obstacle *obstacles, size_t max)
{
    struct kli_list list;
    uint32_t first;
    int err;

    if (!list_ok(who, obstacles, max) || frames == 0 || frames > zone->frames ||
        !kli_is_pow2(align))
        return -KL_EINVAL;
    err = kli_fewest_window(zone, frames, align, &first);
    if (err)
        return err;
    list = begin(zone, who, obstacles, max);
    kli_list_range(&list, first, frames);
    who->first = kli_pfn(zone, first);
    who->frames = frames;
    set_room(&list, (uint64_t)list.spare << zone->block_order);
    return 0;
}

int kl_zone_who_blocks(struct kl_zone *zone, uint32_t n, struct kl_who *who,
                       struct kl_obstacle *obstacles, size_t max)
{
    const struct kl_host *host = &zone->host;
    uint32_t *blocks, left;
    struct kli_list list;
    size_t bytes;
    int err;

    if (!list_ok(who, obstacles, max) || n == 0 || n > zone->blocks)
        return -KL_EINVAL;
    list = begin(zone, who, obstacles, max);
    left = n - (uint32_t)kli_min(n, list.spare);
    list.spare = 0; /* they count as given, and nothing may go there */
    err = left > 0 ? kli_fewest_blocks(zone, left, &blocks, &bytes) : 0;
    if (err)
        return err;
    for (uint32_t i = 0; i < left; i++)
        kli_list_range(&list, blocks[i] << zone->block_order, zone->block_frames);
    if (left > 0)
        host->meta_free(host->ctx, blocks, bytes);
    who->frames = n << zone->block_order;
    set_room(&list, 0);
    return 0;
}

int kl_owner_who(struct kl_zone *zone, kl_owner_id owner, struct kl_who *who,
                 struct kl_obstacle *obstacles, size_t max)
{
    struct kli_list list;

    if (owner.v != 0 && !kli_owner_is(zone, owner.v))
        return -KL_ENOENT;
    if (!list_ok(who, obstacles, max))
        return -KL_EINVAL;
    list = begin(zone, who, obstacles, max);
    for (uint32_t nr = 0; nr < zone->frames; nr++) {
        uint64_t word = kli_state(zone, nr);
        enum kl_in_way way = kli_in_way(zone, word);
        struct kl_obstacle *o;

        if (!(word & KLI_F_HEAD) || (owner.v != 0 && kli_f_owner(word) != owner.v))
            continue;
        if (way == KL_IN_WAY_REFUSED || way == KL_IN_WAY_NO_MIGRATION)
            way = KL_IN_WAY_NOTHING;
        o = next(&list);
        if (o)
            kli_describe(zone, nr, word, way, o);
        who->frames += 1u << kli_f_order(word);
    }
    return 0;
}
