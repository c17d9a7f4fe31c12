// SPDX-License-Identifier: Apache-2.0
/* The scene of an area with deferred free: blocks 0 and 1 of the zone, in units of two
 * frames.
 *
 *   0        the subject; up to 7 movable frames
 *   8..15    kept, released as two pieces
 *   16..23   allocated
 *   24..27   free
 *   28..31   kept
 *
 * The other two blocks are full of movable frames, but for three.  So whoever takes more is
 * served from what is kept, and must be, whoever runs beside him but takes frames himself.
 */
#include "interleave/scene.h"
#include "klotski/cma.h"

#include <string.h>

enum { A_BLOCK = 1 << SCENE_ORDER, ALL = SCENE_BLOCKS * A_BLOCK, IN_AREA = 2 * A_BLOCK, TAKES = 8 };

static kl_pfn at(const struct scene *s, uint32_t nr)
{
    return kl_zone_pfn(s->zone, nr);
}

static void free_some(struct scene *s, uint32_t from, uint32_t to)
{
    for (uint32_t nr = from; nr < to; nr++)
        assert_true(mover_free(s->m, mover_at(s->m, nr)));
    assert_int_equal(kl_zone_trim(s->zone, UINT32_MAX), 0);
}

static void occupy(struct scene *s, uint32_t from, uint32_t frames, bool keep)
{
    assert_int_equal(kl_cma_alloc_at(s->area, at(s, from), frames, 0, KL_ASYNC, NULL), 0);
    if (keep)
        assert_int_equal(kl_cma_release(s->area, at(s, from), frames), 0);
}

void area_open(struct scene *s)
{
    struct kl_cma_config config = {.size = sizeof(config),
                                   .name = "scene",
                                   .base = at(s, 0),
                                   .frames = IN_AREA,
                                   .order_per_bit = 1,
                                   .defer_bytes = UINT64_MAX};
    struct kl_cma_stats stats = {.size = sizeof(stats)};

    assert_int_equal(kl_cma_create(s->zone, &config, &s->area), 0);
    s->subject = mover_at(s->m, 0);
    s->stuck = mover_at(s->m, 3 * A_BLOCK - 1);
    assert_int_equal(mover_pin(s->m, s->stuck), 0);
    free_some(s, 8, 2 * A_BLOCK);
    occupy(s, 8, 4, false);
    occupy(s, 12, 4, false);
    occupy(s, 16, 8, false);
    occupy(s, 28, 4, true);
    assert_int_equal(kl_cma_release(s->area, at(s, 8), 4), 0);
    assert_int_equal(kl_cma_release(s->area, at(s, 12), 4), 0);
    free_some(s, 2 * A_BLOCK, 2 * A_BLOCK + 1);
    free_some(s, 3 * A_BLOCK, 3 * A_BLOCK + 2);
    kl_cma_get_stats(s->area, &stats);
    assert_int_equal(stats.kept_frames, 12);
}

/* ---- operations ---- */

static bool all_are(const struct scene *s, uint32_t nr, uint32_t n, char c)
{
    const char *mem = kl_frame_addr(s->zone, at(s, nr));
    size_t bytes = n * kl_zone_frame_bytes(s->zone);

    return mem[0] == c && memcmp(mem, mem + 1, bytes - 1) == 0;
}

/* It is zero, and his from now on. */
static void got(struct scene *s, unsigned who, kl_pfn first, uint32_t frames)
{
    s->mine[who] = first;
    s->mine_n[who] = s->ret[who] == 0 ? frames : 0;
    if (s->ret[who])
        return;
    if (!all_are(s, kl_pfn_nr(first), frames, 0))
        s->broken = "a range is not zero";
    memset(kl_frame_addr(s->zone, first), 0x40 + (int)who, frames * kl_zone_frame_bytes(s->zone));
}

static void alloc(struct scene *s, unsigned who, uint32_t frames, enum kl_mode mode)
{
    kl_pfn first = {0};

    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] = kl_cma_alloc(s->area, frames, frames, 0, mode, &first, &s->report[who]);
    got(s, who, first, frames);
}

static void alloc_at(struct scene *s, unsigned who, uint32_t nr, uint32_t frames)
{
    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] = kl_cma_alloc_at(s->area, at(s, nr), frames, 0, KL_ASYNC, &s->report[who]);
    got(s, who, at(s, nr), frames);
}

/* From what is kept. */
void op_ar_alloc(struct scene *s, unsigned who)
{
    alloc(s, who, 4, KL_ASYNC);
}

/* A whole block: others move, and what is kept there goes back. */
void op_ar_alloc_big(struct scene *s, unsigned who)
{
    alloc(s, who, A_BLOCK, KL_SYNC_LIGHT);
}

/* All of it kept, a piece of a run. */
void op_ar_alloc_at(struct scene *s, unsigned who)
{
    alloc_at(s, who, 12, 4);
}

/* Partly kept, partly others' frames. */
void op_ar_alloc_mixed(struct scene *s, unsigned who)
{
    alloc_at(s, who, 6, 4);
}

void op_ar_release(struct scene *s, unsigned who)
{
    s->ret[who] = kl_cma_release(s->area, at(s, 16), 8);
}

void op_ar_release_part(struct scene *s, unsigned who)
{
    s->ret[who] = kl_cma_release(s->area, at(s, 18), 3);
}

void op_ar_off(struct scene *s, unsigned who)
{
    s->ret[who] = 0;
    kl_cma_defer(s->area, 0, 0);
}

/* More than is free; never waits. */
void op_ar_take(struct scene *s, unsigned who)
{
    s->ret[who] = 0;
    for (unsigned i = 0; i < TAKES && s->ret[who] == 0; i++)
        s->ret[who] = mover_alloc(s->m, ALL + 8 + who * TAKES + i, 0, KL_MOVABLE | KL_ATOMIC);
}

/* The only such run is kept. */
void op_ar_take_run(struct scene *s, unsigned who)
{
    s->ret[who] = mover_alloc(s->m, ALL + 8 + 2 * TAKES + who, 3, KL_MOVABLE | KL_ATOMIC);
}

/* Never from the area. */
void op_ar_unmovable(struct scene *s, unsigned who)
{
    kl_pfn pfn;

    s->ret[who] = kl_frame_alloc(s->zone, 0, s->plain, KL_ATOMIC, &pfn);
    if (s->ret[who] != 0)
        return;
    if (kl_pfn_nr(pfn) < IN_AREA)
        s->broken = "an unmovable frame in an area";
    s->ret[who] = kl_frame_free(s->zone, s->plain, pfn);
}

/* ---- the verdict ---- */

static bool begins_with(const struct op *op, const char *with)
{
    return strncmp(op->name, with, strlen(with)) == 0;
}

/* Does it take or move frames, or fence blocks? */
static bool interferes(const struct op *op)
{
    static const char *const does[] = {"give",  "compact", "contig",   "trim",        "discard",
                                       "alloc", "ar take", "ar alloc", "ar unmovable"};
    bool any = false;

    for (unsigned i = 0; i < sizeof(does) / sizeof(does[0]); i++)
        any |= begins_with(op, does[i]);
    return any;
}

/* Nothing fails that would succeed if nothing were kept. */
static bool must_succeed(const struct op *op, const struct op *beside)
{
    bool keeps = beside == op_named("ar off") || beside == op_named("shrink") ||
                 begins_with(beside, "ar release");

    return (keeps && begins_with(op, "ar alloc")) ||
           (!interferes(beside) && (begins_with(op, "ar take") || op == op_named("ar alloc") ||
                                    op == op_named("ar alloc at")));
}

void area_judge(struct scene *s)
{
    const struct op *release = op_named("ar release");

    for (unsigned who = 0; who < 2; who++) {
        const struct op *op = s->op[who], *beside = s->op[!who];

        if (s->ret[who] != 0 && must_succeed(op, beside))
            fail_msg("\"%s\" fails (%d) for what is kept; %s", op->name, s->ret[who], stage_now);
        if (s->ret[who] != 0 && begins_with(op, "ar release") && !begins_with(beside, "ar release"))
            fail_msg("a release is refused; %s", stage_now);
        if (s->mine_n[who] &&
            !all_are(s, kl_pfn_nr(s->mine[who]), s->mine_n[who], (char)(0x40 + who)))
            fail_msg("a range has another user; %s", stage_now);
    }
    if (begins_with(s->op[0], "ar release") && begins_with(s->op[1], "ar release") &&
        (s->ret[0] == 0) == (s->ret[1] == 0) && (s->op[0] == release || s->op[1] == release))
        fail_msg("of two releases not exactly one is done; %s", stage_now);
}

/* What is allocated is released, unit by unit. */
void area_undo(struct scene *s)
{
    struct kl_cma_stats stats = {.size = sizeof(stats)};

    for (uint32_t nr = 0; nr < IN_AREA; nr += 2)
        (void)kl_cma_release(s->area, at(s, nr), 2);
    kl_cma_get_stats(s->area, &stats);
    if (stats.allocated_frames != 0)
        fail_msg("something of the area stays allocated; %s", stage_now);
}

void area_close(struct scene *s)
{
    if (kl_cma_destroy(s->area) != 0)
        fail_msg("an area stays; %s", stage_now);
    s->area = NULL;
}
