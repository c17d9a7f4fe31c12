// SPDX-License-Identifier: Apache-2.0
/* Who is in the way of a run, and why.
 *
 * The first frame that is blamed is the one that is reported; a block that somebody
 * else has fenced, or too little room, only where no frame is.
 *
 * (A1) Nothing here changes a frame, but for a reference while its owner explains.
 * (A2) A frame is described with nothing locked but, at most, itself; an owner is
 *      asked to explain with nothing locked at all.
 *
 * What is found out is true at one moment; the frame may be gone by then.
 */
#include "move/run.h"

const char *kl_in_way_name(uint32_t kind)
{
    switch (kind) {
#define CASE(name, value, text)                                                                    \
    case value:                                                                                    \
        return #name;
        KL_IN_WAYS(CASE)
#undef CASE
    default:
        return "UNKNOWN";
    }
}

const char *kl_in_way_text(uint32_t kind)
{
    switch (kind) {
#define CASE(name, value, text)                                                                    \
    case value:                                                                                    \
        return text;
        KL_IN_WAYS(CASE)
#undef CASE
    default:
        return "in the way for a reason that has no name";
    }
}

/* Of a frame that was not moved; word: its state. */
enum kl_in_way kli_in_way(const struct kl_zone *zone, uint64_t word)
{
    if (!(word & KLI_F_KIND))
        return KL_IN_WAY_UNMOVABLE;
    if (kli_f_pins(word) > 0)
        return KL_IN_WAY_PINNED;
    if (atomic_load(&zone->migration_off))
        return KL_IN_WAY_NO_MIGRATION;
    if (!(word & KLI_F_MOVABLE) || (word & (KLI_F_ISOLATED | KLI_F_LOCKED)))
        return KL_IN_WAY_BUSY;
    return KL_IN_WAY_REFUSED;
}

void kli_describe(struct kl_zone *zone, uint32_t nr, uint64_t word, enum kl_in_way kind,
                  struct kl_obstacle *o)
{
    unsigned owner = kli_f_owner(word);
    struct kli_pin_info info;

    *o = (struct kl_obstacle){.frame = kli_pfn(zone, nr),
                              .block = {kli_block_of(zone, nr)},
                              .order = kli_f_order(word),
                              .kind = kind,
                              .pins = kli_f_pins(word),
                              .owner = {(uint16_t)owner}};
    kli_owner_name(zone, owner, o->owner_name);
    if (kli_f_object_pins(word) == 0 || !kli_pin_find(zone, nr, &info))
        return;
    o->object = info.object;
    o->since_ns = info.since_ns;
    memcpy(o->why, info.why, sizeof(o->why));
}

/* The reference keeps the owner: it can't leave before. (owner.c, O1) */
bool kli_explain(struct kl_zone *zone, uint32_t nr, char *text, size_t bytes)
{
    const struct kli_owner *owner;
    bool has_reason = false;

    text[0] = '\0';
    if (!kli_apply(&zone->frame[nr].state, kli_f_get, 0, NULL))
        return false;
    owner = kli_owner(zone, kli_f_owner(kli_state(zone, nr)));
    if (owner->ops.explain)
        has_reason = owner->ops.explain(owner->ctx, kli_pfn(zone, nr), text, bytes);
    text[bytes - 1] = '\0';
    kli_settle(zone, nr, kli_f_put, 0);
    return has_reason;
}

void kli_report_culprit(struct kl_report *r, const struct kl_obstacle *o)
{
    r->culprit = o->frame;
    r->culprit_block = o->block;
    r->culprit_order = o->order;
    r->culprit_kind = o->kind;
    r->culprit_pins = o->pins;
    r->culprit_owner = o->owner;
    r->culprit_object = o->object;
    r->culprit_since_ns = o->since_ns;
    memcpy(r->culprit_name, o->owner_name, sizeof(r->culprit_name));
    memcpy(r->culprit_why, o->why, sizeof(r->culprit_why));
}

static void report(struct kli_run *run, const struct kl_obstacle *o)
{
    kli_report_culprit(&run->report, o);
}

static void blame_as(struct kli_run *run, uint32_t nr, uint64_t word, enum kl_in_way kind)
{
    struct kl_obstacle o;

    if (run->report.culprit.v || !(word & KLI_F_HEAD))
        return;
    kli_describe(run->zone, nr, word, kind, &o);
    report(run, &o);
}

void kli_blame(struct kli_run *run, uint32_t nr, uint64_t word)
{
    blame_as(run, nr, word, kli_in_way(run->zone, word));
}

/* It was isolated, and its owner could not move it. */
void kli_blame_owner(struct kli_run *run, uint32_t nr, uint64_t word)
{
    blame_as(run, nr, word, KL_IN_WAY_REFUSED);
}

void kli_blame_room(struct kli_run *run)
{
    struct kl_obstacle o = {.kind = KL_IN_WAY_NO_ROOM};

    if (!run->report.culprit.v)
        report(run, &o);
}

void kli_absolve(struct kli_run *run)
{
    struct kl_obstacle nobody = {.kind = KL_IN_WAY_NOTHING};

    report(run, &nobody);
}

/* A frame of the block that can't move; or, with migration off, any. */
static void blame_block(struct kli_run *run, uint32_t block, bool any)
{
    uint32_t first = block << run->zone->block_order;

    for (uint32_t i = 0; i < run->zone->block_frames && !run->report.culprit.v; i++) {
        uint64_t word = kli_state(run->zone, first + i);

        if (any || kli_f_stuck(word))
            kli_blame(run, first + i, word);
    }
}

static void blame_whole(struct kli_run *run, uint32_t block, enum kl_in_way kind)
{
    struct kl_obstacle o = {
        .block = {block}, .order = run->zone->block_order, .kind = (uint32_t)kind};

    if (!run->report.culprit.v)
        report(run, &o);
}

void kli_blame_fence(struct kli_run *run, uint32_t block)
{
    blame_whole(run, block, KL_IN_WAY_FENCED);
}

void kli_blame_area(struct kli_run *run, uint32_t block)
{
    blame_whole(run, block, KL_IN_WAY_AREA);
}

/* Nothing could be chosen at all, of these blocks: with migration off that is why; else
 * some frame that can't move; else somebody's fence, an area, or memory that is not to be
 * had. */
void kli_blame_any(struct kli_run *run, uint32_t from, uint32_t to)
{
    const struct kl_zone *zone = run->zone;
    bool off = atomic_load(&zone->migration_off);

    for (uint32_t b = from; b < to && !run->report.culprit.v; b++) {
        uint64_t word = kli_block_word(zone, b);

        if (word & KLI_B_FENCED)
            kli_blame_fence(run, b);
        else if (word & KLI_B_CMA)
            kli_blame_area(run, b);
        else if ((word & KLI_B_ABSENT) && run->report.culprit_kind == KL_IN_WAY_NOTHING)
            blame_whole(run, b, KL_IN_WAY_GIVEN);
        if (word & KLI_B_ABSENT)
            continue;
        if (off ? kli_b_free(word) < zone->block_frames : kli_b_stuck(word) > 0)
            blame_block(run, b, off);
    }
    if (off && run->report.culprit.v)
        run->report.culprit_kind = KL_IN_WAY_NO_MIGRATION;
}

void kli_ask_why(struct kli_run *run)
{
    struct kl_report *r = &run->report;

    if (r->culprit.v && r->culprit_kind == KL_IN_WAY_REFUSED)
        kli_explain(run->zone, kl_pfn_nr(r->culprit), r->culprit_why, sizeof(r->culprit_why));
}
