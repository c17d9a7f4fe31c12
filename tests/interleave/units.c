// SPDX-License-Identifier: Apache-2.0
/* The scene of a pool of frames: in block 0 its idle units, two zeroed and two dirty ones, and
 * free frames; in block 3 two units in use.  Whoever has used a unit leaves a secret there,
 * and nobody finds one. */
#include "interleave/scene.h"
#include "klotski/pool.h"
#include "pool/pool.h"

#include <string.h>

enum { U_BLOCK = 1 << SCENE_ORDER, CYCLE = 6, SECRET = 0x5a };

static void free_some(struct scene *s, uint32_t from, uint32_t to)
{
    for (uint32_t nr = from; nr < to; nr++)
        assert_true(mover_free(s->m, mover_at(s->m, nr)));
    assert_int_equal(kl_zone_trim(s->zone, UINT32_MAX), 0);
}

static void fill(struct scene *s, kl_pfn unit, int c)
{
    memset(kl_frame_addr(s->zone, unit), c, kl_zone_frame_bytes(s->zone));
}

static bool all_are(const struct scene *s, kl_pfn unit, char c)
{
    const char *mem = kl_frame_addr(s->zone, unit);

    return mem[0] == c && memcmp(mem, mem + 1, kl_zone_frame_bytes(s->zone) - 1) == 0;
}

/* Before there is room anywhere else. */
static void hold_two(struct scene *s)
{
    free_some(s, 3 * U_BLOCK, 3 * U_BLOCK + 2);
    for (unsigned who = 0; who < 2; who++) {
        assert_int_equal(kl_frame_alloc(s->zone, 0, s->plain, 0, &s->held[who]), 0);
        assert_in_range(kl_pfn_nr(s->held[who]), 3 * U_BLOCK, 3 * U_BLOCK + 1);
        fill(s, s->held[who], SECRET);
    }
}

void units_open(struct scene *s)
{
    struct kl_pool_config config = {.size = sizeof(config), .owner = s->plain, .limit = 32};
    struct kl_pool_stats stats = {.size = sizeof(stats)};
    kl_pfn unit[4];

    assert_int_equal(kl_pool_create(s->zone, &config, &s->units), 0);
    s->stuck = mover_at(s->m, 3 * U_BLOCK - 1);
    assert_int_equal(mover_pin(s->m, s->stuck), 0);
    hold_two(s);
    free_some(s, 0, U_BLOCK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(kl_pool_alloc(s->units, 0, &unit[i]), 0);
        assert_in_range(kl_pfn_nr(unit[i]), 0, U_BLOCK - 1);
        fill(s, unit[i], SECRET);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(kl_pool_free(s->units, unit[i]), 0);
    assert_int_equal(kl_pool_prefill(s->units, 0, 2), 0);
    free_some(s, U_BLOCK, U_BLOCK + 4);
    free_some(s, 2 * U_BLOCK, 2 * U_BLOCK + 3);
    free_some(s, 3 * U_BLOCK + 2, 3 * U_BLOCK + 5);
    kl_pool_get_stats(s->units, &stats);
    assert_int_equal(stats.zeroed, 2);
    assert_int_equal(stats.dirty, 2);
}

/* ---- operations ---- */

static int take(struct scene *s, unsigned who, kl_pfn *unit)
{
    int err = kl_pool_alloc(s->units, 0, unit);

    if (err)
        return err;
    if (!all_are(s, *unit, 0))
        s->broken = "a unit is not zero";
    fill(s, *unit, 0x40 + (int)who);
    return 0;
}

static int give(struct scene *s, unsigned who, kl_pfn unit)
{
    if (!all_are(s, unit, (char)(0x40 + who)))
        s->broken = "a unit has another user";
    return kl_pool_free(s->units, unit);
}

/* It stays his. */
void op_pl_alloc(struct scene *s, unsigned who)
{
    s->ret[who] = take(s, who, &s->mine[who]);
    s->mine_n[who] = s->ret[who] == 0;
}

/* Zeroed ones, dirty ones, new ones; and all of them back. */
void op_pl_cycle(struct scene *s, unsigned who)
{
    kl_pfn unit[CYCLE];
    unsigned n = 0;

    do
        s->ret[who] = take(s, who, &unit[n]);
    while (s->ret[who] == 0 && ++n < CYCLE);
    while (n > 0) {
        int err = give(s, who, unit[--n]);

        s->ret[who] = err ? err : s->ret[who];
    }
}

/* One that was allocated elsewhere. */
void op_pl_free(struct scene *s, unsigned who)
{
    s->ret[who] = kl_pool_free(s->units, s->held[who]);
    if (s->ret[who] == 0)
        s->held[who] = (kl_pfn){0};
}

void op_pl_zero(struct scene *s, unsigned who)
{
    s->ret[who] = 0;
    (void)kli_pool_work(s->units, 4);
}

void op_pl_prefill(struct scene *s, unsigned who)
{
    s->ret[who] = kl_pool_prefill(s->units, 0, 4);
}

void op_pl_trim(struct scene *s, unsigned who)
{
    s->ret[who] = 0;
    (void)kl_pool_trim(s->units, 1);
}

/* ---- the verdict ---- */

void units_judge(struct scene *s)
{
    for (unsigned who = 0; who < 2; who++) {
        if (s->held[who].v && !all_are(s, s->held[who], SECRET))
            fail_msg("a unit in use has changed; %s", stage_now);
        if (s->mine_n[who] && !all_are(s, s->mine[who], (char)(0x40 + who)))
            fail_msg("a unit has another user; %s", stage_now);
    }
}

void units_undo(struct scene *s)
{
    for (unsigned who = 0; who < 2; who++) {
        if (s->held[who].v)
            assert_int_equal(kl_frame_free(s->zone, s->plain, s->held[who]), 0);
        if (s->mine_n[who])
            assert_int_equal(kl_pool_free(s->units, s->mine[who]), 0);
    }
}

void units_close(struct scene *s)
{
    if (kl_pool_destroy(s->units) != 0)
        fail_msg("a pool stays; %s", stage_now);
    s->units = NULL;
}
