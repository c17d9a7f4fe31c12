// SPDX-License-Identifier: Apache-2.0
/* Areas with everything at once, for KLOTSKI_TORTURE_SECONDS (default 5):
 *
 *   rangers   three threads allocate ranges of two areas, anywhere or at an address,
 *             write to them, release them whole or in parts, and try wrong releases
 *   items     two threads allocate, free and pin frames of test owners, movable or not,
 *             with all flags, from within every shortage
 *   takers    give blocks back and lend them, compact, take other ranges, resize
 *   keeper    turns deferred free on and off, with caps and ages; steps; shrinks
 *
 * No frame is two users' (a table says whose it is), contents are as they were written, and
 * zero where that was promised.  At the end everything is recounted. */
#include "support/mover.h"
#include "support/torture.h"

#include <string.h>

enum {
    BLOCKS = 40,
    PER = 64,
    FRAMES = BLOCKS * PER,
    FRAME = 4096,
    ITEMS = 900,
    RANGES = 20,
    AREAS = 2
};

static struct fixture f;
static struct kl_cma *area[AREAS];
static uint32_t base[AREAS] = {4 * PER, 20 * PER}, size[AREAS] = {8 * PER, 12 * PER};
static struct mover movers[2];
static _Atomic uint64_t got, failed;
static _Atomic uint32_t user[FRAMES]; /* of a range; 0: nobody's */

/* ---- rangers ---- */

struct range {
    unsigned area;
    uint32_t nr, n;
    uint64_t seed;
};

static char *mem_of(uint32_t nr)
{
    return kl_frame_addr(f.zone, kl_zone_pfn(f.zone, nr));
}

static void range_enter(const struct range *r, uint32_t id, bool zeroed)
{
    static const char zero[FRAME];

    for (uint32_t i = r->nr; i < r->nr + r->n; i++) {
        torture_expect(atomic_exchange(&user[i], id) == 0, "a frame is in two ranges");
        if (zeroed)
            torture_expect(memcmp(mem_of(i), zero, FRAME) == 0, "a range is not zero");
        fill_bytes(mem_of(i), FRAME, r->seed + i);
    }
}

/* Part of a range, its own again before it goes. */
static void range_leave(struct range *r, uint32_t id, uint32_t from, uint32_t n)
{
    for (uint32_t i = r->nr + from; i < r->nr + from + n; i++) {
        torture_expect(bytes_are(mem_of(i), FRAME, r->seed + i), "a range is damaged");
        torture_expect(atomic_exchange(&user[i], 0) == id, "a range was lost");
    }
    torture_expect(kl_cma_release(area[r->area], kl_zone_pfn(f.zone, r->nr + from), n) == 0,
                   "a release was refused");
}

static void range_new(struct range *r, uint32_t id, struct rng *rng)
{
    struct kl_report report = {.size = sizeof(report)};
    enum kl_mode mode = (enum kl_mode)rng_below(rng, 3);
    unsigned any = rng_below(rng, 2) ? KL_CMA_ANY_CONTENTS : 0, unit;
    kl_pfn first;
    int err;

    *r = (struct range){.area = rng_below(rng, AREAS), .seed = rng->state};
    unit = r->area == 0 ? 1 : 4;
    r->n = unit * (1 + rng_below(rng, rng_below(rng, 4) ? 20 : 160) / unit);
    if (rng_below(rng, 3)) {
        err =
            kl_cma_alloc(area[r->area], r->n, 1u << rng_below(rng, 7), any, mode, &first, &report);
    } else {
        first = kl_zone_pfn(f.zone,
                            base[r->area] + rng_below(rng, (size[r->area] - r->n) / unit) * unit);
        err = kl_cma_alloc_at(area[r->area], first, r->n, any, mode, &report);
    }
    torture_expect(err == 0 || err == -KL_EBUSY || err == -KL_ENOMEM, "a range failed oddly");
    torture_expect_outcomes(&report);
    atomic_fetch_add(err ? &failed : &got, 1);
    r->nr = kl_pfn_nr(first);
    if (err)
        r->n = 0;
    else
        range_enter(r, id, !any);
}

/* Whole, or its head, or all but a piece of it. */
static void range_shorten(struct range *r, uint32_t id, struct rng *rng)
{
    uint32_t unit = r->area == 0 ? 1 : 4,
             part = r->n / unit > 1 ? rng_below(rng, r->n / unit) * unit : 0;

    if (part == 0) {
        range_leave(r, id, 0, r->n);
        r->n = 0;
    } else if (rng_below(rng, 2)) {
        range_leave(r, id, 0, part);
        r->nr += part;
        r->n -= part;
    } else {
        range_leave(r, id, r->n - part, part);
        r->n -= part;
    }
}

static void *ranger(void *arg)
{
    struct range ranges[RANGES] = {{0}};
    struct rng rng = rng_new((uintptr_t)arg);
    uint32_t id = (uint32_t)(uintptr_t)arg + 1;

    while (torture_on()) {
        struct range *r = &ranges[rng_below(&rng, RANGES)];

        if (r->n == 0)
            range_new(r, id, &rng);
        else if (rng_below(&rng, 8) == 0) /* what is not its to release, or not in one piece */
            torture_expect(kl_cma_release(area[r->area], kl_zone_pfn(f.zone, base[r->area] - 4),
                                          8) == -KL_EINVAL,
                           "a release beyond the area went through");
        else
            range_shorten(r, id, &rng);
    }
    for (unsigned i = 0; i < RANGES; i++) {
        if (ranges[i].n > 0)
            range_leave(&ranges[i], id, 0, ranges[i].n);
    }
    return NULL;
}

/* ---- items ---- */

static void *items(void *arg)
{
    static const unsigned flags[] = {0, KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK, KL_NO_MOVE};
    struct mover *m = &movers[(uintptr_t)arg & 1];
    struct rng rng = rng_new(50 + (uintptr_t)arg);

    while (torture_on()) {
        unsigned i = rng_below(&rng, ITEMS), order = rng_below(&rng, 10) ? 0 : rng_below(&rng, 4);
        bool movable = rng_below(&rng, 16);
        int err;

        if (!m->item[i].here) {
            err = mover_alloc(m, i, order, flags[rng_below(&rng, 5)] | (movable ? KL_MOVABLE : 0));
            torture_expect(err == 0 || err == -KL_ENOMEM, "an allocation failed oddly");
            if (err == 0 && !movable) { /* never moves, so it can be looked at */
                uint32_t nr = kl_pfn_nr(m->item[i].pfn);

                for (unsigned a = 0; a < AREAS; a++)
                    torture_expect(nr < base[a] || nr >= base[a] + size[a],
                                   "an unmovable frame is in an area");
            }
        } else if (m->item[i].pinned) {
            mover_unpin(m, i);
        } else if (rng_below(&rng, 40) == 0) {
            err = mover_pin(m, i);
            torture_expect(err == 0 || err == -KL_EBUSY, "a pin failed oddly");
        } else if (rng_below(&rng, 2)) {
            torture_expect(mover_free(m, i), "an item was wrong when it was freed");
        } else {
            torture_expect(mover_right(m, i), "an item is wrong");
        }
    }
    return NULL;
}

/* ---- the others ---- */

static void *taker(void *arg)
{
    struct rng rng = rng_new(400 + (uintptr_t)arg);
    kl_owner_id owner;
    uint32_t held = 0;
    kl_pfn first;

    kl_owner_register(f.zone, NULL, NULL, &owner);
    while (torture_on()) {
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        uint32_t n = 1 + rng_below(&rng, 6);

        switch (rng_below(&rng, 5)) {
        case 0:
            held += kl_zone_give_back(f.zone, n, mode, NULL) == 0 ? n : 0;
            break;
        case 1:
            if (held > 0 && kl_zone_lend(f.zone, held) == 0)
                held = 0;
            break;
        case 2:
            kl_zone_compact(f.zone, mode, rng_below(&rng, 300), NULL);
            (void)kl_zone_trim(f.zone, rng_below(&rng, 4));
            break;
        case 3:
            n = 1 + rng_below(&rng, 100);
            if (kl_contig_alloc(f.zone, owner, n, 1, mode, &first, NULL) == 0)
                torture_expect(kl_contig_free(f.zone, owner, first, n) == 0,
                               "a range can't be freed");
            break;
        default:
            (void)kl_zone_resize(f.zone, BLOCKS - n + 1, mode, NULL);
            break;
        }
    }
    if (held > 0)
        torture_expect(kl_zone_lend(f.zone, held) == 0, "what was taken can't be lent");
    torture_expect(kl_owner_unregister(f.zone, owner) == 0, "a range was left");
    return NULL;
}

static void *keeper(void *arg)
{
    struct timespec nap = {.tv_nsec = 200000};
    struct rng rng = rng_new(700);

    (void)arg;
    while (torture_on()) {
        struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED, .budget = 100};
        struct kl_cma *one = area[rng_below(&rng, AREAS)];
        struct kl_cma_stats s = {.size = sizeof(s)};

        switch (rng_below(&rng, 4)) {
        case 0:
            kl_cma_defer(one, (uint64_t)rng_below(&rng, 300) * FRAME, rng_below(&rng, 3) * 500000);
            break;
        case 1:
            kl_cma_defer(one, rng_below(&rng, 3) ? UINT64_MAX : 0, 0);
            break;
        case 2:
            torture_expect(kl_zone_shrink(f.zone, rng_below(&rng, 50), KL_ASYNC) >= 0,
                           "a shrink failed");
            break;
        default:
            kl_cma_get_stats(one, &s);
            torture_expect(s.allocated_frames + s.kept_frames + s.available_frames == s.frames,
                           "figures make no sense");
        }
        (void)kl_zone_step(f.zone, &step, NULL);
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void open_all(void)
{
    fixture_open(&f, BLOCKS, 6, 0);
    for (unsigned i = 0; i < AREAS; i++) {
        struct kl_cma_config c = {.size = sizeof(c),
                                  .name = i ? "second" : "first",
                                  .base = kl_zone_pfn(f.zone, base[i]),
                                  .frames = size[i],
                                  .order_per_bit = i * 2,
                                  .defer_bytes = UINT64_MAX};

        assert_int_equal(kl_cma_create(f.zone, &c, &area[i]), 0);
        mover_open(&movers[i], f.zone, i ? MOVER_ASYNC : MOVER_BATCH);
        atomic_store(&movers[i].refuse, 5);
        atomic_store(&movers[i].busy, 10);
        atomic_store(&movers[i].fail, 2);
    }
}

static void close_all(void)
{
    const char *what = NULL;

    for (unsigned i = 0; i < AREAS; i++) {
        kl_cma_defer(area[i], UINT64_MAX, 0);
        if (kl_cma_check(area[i], &what))
            fail_msg("broken: %s", what);
    }
    assert_zone_ok(f.zone);
    for (unsigned i = 0; i < AREAS; i++)
        mover_close(&movers[i]);
    for (unsigned i = 0; i < AREAS; i++) {
        struct kl_cma_stats s = {.size = sizeof(s)};

        kl_cma_get_stats(area[i], &s);
        assert_int_equal(s.allocated_frames, 0);
        assert_int_equal(kl_cma_destroy(area[i]), 0);
    }
    fixture_close(&f);
}

static const char *area_missing(const struct kl_cma_stats *s)
{
    const struct torture_count counts[] = {
        {s->exact + s->partial, "no range of what was kept"},
        {s->missed, "no range of a window"},
        {s->migrated, "nothing was moved"},
        {s->returned_need, "nothing that was kept was needed"},
        {s->returned_window, "no window took what was kept"},
        {s->returned_cap, "no cap was met"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static const char *missing(void)
{
    const char *what = NULL;

    for (unsigned i = 0; i < AREAS && !what; i++) {
        struct kl_cma_stats s = {.size = sizeof(s)};

        kl_cma_get_stats(area[i], &s);
        what = area_missing(&s);
    }
    if (!what && atomic_load(&got) == 0)
        what = "no range was to be had";
    if (!what && atomic_load(&failed) == 0)
        what = "every range was to be had";
    return what;
}

static void everything_at_once(void **state)
{
    static void *(*const bodies[])(void *) = {ranger, ranger, items, items, ranger, taker, keeper};

    (void)state;
    open_all();
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    close_all();
    print_message("# %llu operations, %llu ranges, %llu not to be had\n", torture_ops(),
                  (unsigned long long)atomic_load(&got), (unsigned long long)atomic_load(&failed));
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
