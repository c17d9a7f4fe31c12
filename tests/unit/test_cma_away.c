// SPDX-License-Identifier: Apache-2.0
/* Memory of an area's ranges that is given to the system and got again: figures, whose
 * memory it is meanwhile, what fails and is tried again, and others at the same time. */
#include "cma/cma.h"
#include "frame/look.h"
#include "support/area.h"

#define MEMORY ((uint64_t)BLOCKS * PER * FRAME)

static struct kl_zone_stats zone_stats(void)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f.zone, &s);
    return s;
}

static void assert_away(uint32_t blocks)
{
    struct kl_zone_stats s = zone_stats();
    struct kl_budget b = {.size = sizeof(b)};

    kl_zone_get_budget(f.zone, &b, NULL, 0);
    assert_area_ok();
    assert_int_equal(stats().given_frames, blocks * PER);
    assert_int_equal(s.given_blocks, blocks);
    assert_int_equal(s.present_blocks, BLOCKS - blocks);
    assert_int_equal(b.given_frames, blocks * PER);
    assert_true(kl_linux_backing_resident(f.memory) <= MEMORY - (uint64_t)blocks * PER * FRAME);
}

static int give(kl_pfn first, uint32_t frames, uint32_t *given)
{
    return kl_cma_give_back(area, first, frames, given);
}

static void there_and_back(void **state)
{
    uint64_t charged[2];
    uint32_t given;
    kl_pfn range;
    struct kl_block_info info;

    (void)state;
    open_all(0, 0, 0);
    for (unsigned i = 0; i < 6 * PER; i++) /* into the area first */
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < 6 * PER; i += 2)
        assert_true(mover_free(&m, i));
    assert_int_equal(alloc(2 * PER, PER, &range), 0);
    charged[0] = zone_stats().charged_bytes;
    assert_int_equal(give(range, 2 * PER, &given), 0);
    assert_int_equal(given, 2 * PER);
    assert_away(2);
    charged[1] = zone_stats().charged_bytes;
    assert_int_equal(charged[0] - charged[1], 2 * PER * FRAME);
    assert_int_equal(kl_zone_block_info(f.zone, kl_frame_block(f.zone, range), &info), 0);
    assert_true(info.cma && !info.present && !info.fenced);
    assert_int_equal(stats().allocated_frames, 2 * PER);
    mover_all_right(&m);

    assert_int_equal(kl_cma_release(area, range, 2 * PER), -KL_EINVAL); /* not as long */
    assert_int_equal(kl_cma_release(area, range, 1), -KL_EINVAL);
    assert_int_equal(give(range, PER, &given), -KL_EINVAL); /* not twice */
    assert_int_equal(kl_cma_destroy(area), -KL_EBUSY);
    assert_int_equal(kl_zone_lend(f.zone, 1), -KL_EINVAL); /* nor is it a lease of the zone's */

    assert_int_equal(kl_cma_get_back(area, range, PER), 0); /* a part first */
    assert_away(1);
    assert_int_equal(kl_cma_get_back(area, range, 2 * PER), 0);
    assert_int_equal(kl_cma_get_back(area, range, 2 * PER), 0); /* nothing to do */
    assert_away(0);
    assert_int_equal(zone_stats().charged_bytes, charged[0]);
    release(range, 2 * PER);
    close_all();
}

static void bad_ranges(void **state)
{
    uint32_t given = 7;
    kl_pfn range, next;

    (void)state;
    open_all(0, AREA * (uint64_t)FRAME, 0);
    assert_int_equal(alloc(2 * PER, PER, &range), 0);
    next = kl_zone_pfn(f.zone, kl_pfn_nr(range) + 1);
    assert_int_equal(give(range, PER - 1, &given), -KL_EINVAL);
    assert_int_equal(given, 0);
    assert_int_equal(give(range, 0, &given), -KL_EINVAL);
    assert_int_equal(give(next, PER, &given), -KL_EINVAL);
    assert_int_equal(give(kl_zone_pfn(f.zone, 0), PER, &given), -KL_EINVAL);
    assert_int_equal(give(range, 3 * PER, &given), -KL_EINVAL); /* one block is not allocated */
    assert_int_equal(give((kl_pfn){7}, PER, &given), -KL_EINVAL);
    assert_int_equal(kl_cma_get_back(area, next, PER), -KL_EINVAL);
    release(range, 2 * PER);
    assert_int_equal(give(range, PER, &given), -KL_EINVAL); /* kept */
    assert_int_equal(kl_cma_get_back(area, range, PER), -KL_EINVAL);
    assert_away(0);
    close_all();
}

/* The system refuses to take the second block: the first one is given, the rest as before. */
static void release_fails(void **state)
{
    uint32_t given;
    kl_pfn range;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(alloc(3 * PER, PER, &range), 0);
    fault_set(FAULT_RELEASE, 2);
    assert_int_not_equal(give(range, 3 * PER, &given), 0);
    fault_set(FAULT_RELEASE, 0);
    assert_int_equal(given, PER);
    assert_away(1);
    release(kl_zone_pfn(f.zone, kl_pfn_nr(range) + PER), 2 * PER);
    assert_int_equal(kl_cma_get_back(area, range, PER), 0);
    release(range, PER);
    close_all();
}

/* Who copies what was there before, or has a frame pinned, needs the memory a while longer. */
static void somebody_is_there(void **state)
{
    kl_owner_id owner;
    uint32_t given;
    kl_pfn range, last;
    kli_look *look;

    (void)state;
    open_all(0, 0, 0);
    owner = area->owner;
    assert_int_equal(alloc(2 * PER, PER, &range), 0);
    look = kli_look_begin(f.zone);
    assert_int_equal(give(range, 2 * PER, &given), -KL_EBUSY);
    assert_int_equal(given, 0);
    kli_look_end(look);
    assert_away(0);
    last = kl_zone_pfn(f.zone, kl_pfn_nr(range) + 2 * PER - 1);
    assert_int_equal(kl_frame_pin(f.zone, owner, last), 0);
    assert_int_equal(give(range, 2 * PER, &given), -KL_EBUSY);
    assert_int_equal(given, PER);
    assert_int_equal(kl_frame_unpin(f.zone, owner, last), 0);
    assert_away(1);
    assert_int_equal(give(kl_zone_pfn(f.zone, kl_pfn_nr(range) + PER), PER, &given), 0);
    assert_away(2);
    assert_int_equal(kl_cma_get_back(area, range, 2 * PER), 0);
    release(range, 2 * PER);
    close_all();
}

/* The system has no memory: what it lacks stays given and allocated, until it has. */
static void populate_fails(void **state)
{
    uint32_t given;
    kl_pfn range, other;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(alloc(3 * PER, PER, &range), 0);
    assert_int_equal(give(range, 3 * PER, &given), 0);
    for (unsigned nth = 1; nth <= 2; nth++) {
        fault_set(FAULT_POPULATE, (int)nth);
        assert_int_equal(kl_cma_get_back(area, range, 3 * PER), -KL_ENOMEM);
        fault_set(FAULT_POPULATE, 0);
        assert_away(nth == 1 ? 3 : 2);
        assert_int_equal(kl_cma_release(area, range, 3 * PER), -KL_EINVAL);
        assert_int_equal(alloc(2 * PER, PER, &other), -KL_EBUSY); /* nobody has its place */
    }
    assert_int_equal(kl_cma_get_back(area, range, 3 * PER), 0);
    assert_away(0);
    release(range, 3 * PER);
    assert_int_equal(alloc(AREA, PER, &range), 0);
    release(range, AREA);
    close_all();
}

/* Others may have charged what it has left free below the limit. */
static void the_limit_holds(void **state)
{
    struct kl_zone_limits limits = {.size = sizeof(limits)};
    uint32_t given;
    kl_pfn range;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(alloc(2 * PER, PER, &range), 0);
    assert_int_equal(give(range, 2 * PER, &given), 0);
    limits.hard = zone_stats().charged_bytes + PER * FRAME;
    assert_int_equal(kl_zone_set_limits(f.zone, &limits), 0);
    assert_int_equal(kl_cma_get_back(area, range, 2 * PER), -KL_ENOMEM);
    assert_away(1);
    limits.hard = 0;
    assert_int_equal(kl_zone_set_limits(f.zone, &limits), 0);
    assert_int_equal(kl_cma_get_back(area, range, 2 * PER), 0);
    assert_away(0);
    release(range, 2 * PER);
    close_all();
}

/* Everything else goes on around the hole, and nothing goes into it. */
static void others_keep_out(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn range, one;
    uint32_t given, nr;

    (void)state;
    open_all(0, 0, 0);
    assert_int_equal(alloc(2 * PER, PER, &range), 0);
    nr = kl_pfn_nr(range);
    assert_int_equal(give(range, 2 * PER, &given), 0);
    for (unsigned i = 0; mover_alloc(&m, i, 0, KL_MOVABLE) == 0; i++)
        assert_true(kl_pfn_nr(m.item[i].pfn) < nr || kl_pfn_nr(m.item[i].pfn) >= nr + 2 * PER);
    assert_true(kl_frame_alloc(f.zone, 7, m.owner, KL_MOVABLE, &one) != 0);
    assert_int_equal(alloc_at(nr, PER, &r), -KL_EBUSY);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, range, 1, KL_SYNC, &r), -KL_ENOMEM);
    for (unsigned i = 0; i < 6 * PER; i += 2)
        assert_true(mover_free(&m, i));
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, range, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_AREA);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), 0);
    assert_true(kl_zone_trim(f.zone, 0) >= 0);
    assert_true(kl_zone_discard(f.zone, 0) >= 0);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), 0);
    assert_int_equal(zone_stats().given_blocks, 3);
    assert_int_equal(kl_zone_lend(f.zone, 1), 0);
    assert_int_equal(zone_stats().given_blocks, 2);
    assert_area_ok();
    mover_all_right(&m);
    assert_int_equal(kl_cma_get_back(area, range, 2 * PER), 0);
    release(range, 2 * PER);
    close_all();
}

/* ---- at the same time ---- */

static atomic_bool over;
static atomic_uint rounds, broken;

static void *take_and_give(void *ctx)
{
    uint32_t blocks = (uint32_t)(uintptr_t)ctx, given;
    kl_pfn range;

    while (!atomic_load(&over)) {
        if (kl_cma_alloc(area, blocks * PER, PER, KL_CMA_ANY_CONTENTS, KL_SYNC, &range, NULL))
            continue;
        kl_cma_give_back(area, range, blocks * PER, &given); /* all of it, some, or nothing */
        if (kl_cma_release(area, range, blocks * PER) == 0 && given > 0)
            atomic_fetch_add(&broken, 1);
        if (given == 0)
            continue; /* it was released just now */
        while (kl_cma_get_back(area, range, blocks * PER) != 0)
            continue;
        if (kl_cma_release(area, range, blocks * PER) != 0)
            atomic_fetch_add(&broken, 1);
        atomic_fetch_add(&rounds, 1);
    }
    return NULL;
}

static void *tend(void *ctx)
{
    (void)ctx;
    while (!atomic_load(&over)) {
        if (kl_zone_trim(f.zone, 1) < 0 || kl_zone_discard(f.zone, 0) < 0)
            atomic_fetch_add(&broken, 1);
        kl_zone_compact(f.zone, KL_ASYNC, 0, NULL);
        kl_cma_defer(area, 2 * PER * FRAME, 1000);
    }
    return NULL;
}

static void with_others(void **state)
{
    enum { ROUNDS = 300, ITEMS = 3 * PER };
    pthread_t thread[3];
    unsigned i = 0;

    (void)state;
    open_all(0, 2 * PER * FRAME, 0);
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&thread[0], NULL, take_and_give, (void *)1), 0);
    assert_int_equal(pthread_create(&thread[1], NULL, take_and_give, (void *)2), 0);
    assert_int_equal(pthread_create(&thread[2], NULL, tend, NULL), 0);
    for (; atomic_load(&rounds) < ROUNDS; i = (i + 1) % ITEMS) {
        if (m.item[i].here && !mover_free(&m, i))
            atomic_fetch_add(&broken, 1);
        mover_alloc(&m, i, 0, KL_MOVABLE);
    }
    atomic_store(&over, true);
    for (i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&broken), 0);
    mover_all_right(&m);
    assert_int_equal(stats().given_frames, 0);
    kl_cma_defer(area, 0, 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),    cmocka_unit_test(bad_ranges),
        cmocka_unit_test(release_fails),     cmocka_unit_test(populate_fails),
        cmocka_unit_test(the_limit_holds),   cmocka_unit_test(others_keep_out),
        cmocka_unit_test(somebody_is_there), cmocka_unit_test(with_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
