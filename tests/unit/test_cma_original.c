// SPDX-License-Identifier: Apache-2.0
/* Each mistake of the deferred free that was posted for the kernel's CMA in 2023, by its
 * name: what it would break is looked at. */
#include "support/mover.h"

#include <string.h>

enum { BLOCKS = 8, PER = 64, BASE = 2 * PER, AREA = 4 * PER, FRAME = 4096 };

static struct fixture f;
static struct kl_cma *area;
static atomic_uint slept, allocated;

static void *meta_alloc(void *ctx, size_t bytes)
{
    allocated++;
    return kl_linux_host()->meta_alloc(ctx, bytes);
}

static void wait_for(void *ctx, const uint32_t *word, uint32_t seen, uint64_t ns)
{
    slept++;
    kl_linux_host()->wait(ctx, word, seen, ns);
}

static void watch_host(struct kl_host *host)
{
    host->meta_alloc = meta_alloc;
    host->wait = wait_for;
}

static struct kl_cma *add_area(uint32_t nr, uint32_t frames, unsigned order, uint64_t cap)
{
    struct kl_cma_config c = {.size = sizeof(c),
                              .name = "original",
                              .base = kl_zone_pfn(f.zone, nr),
                              .frames = frames,
                              .order_per_bit = order,
                              .defer_bytes = cap};
    struct kl_cma *made;

    assert_int_equal(kl_cma_create(f.zone, &c, &made), 0);
    return made;
}

static void open_all(unsigned order)
{
    fixture_open(&f, BLOCKS, 6, 0);
    area = add_area(BASE, AREA, order, UINT64_MAX);
}

static struct kl_cma_stats stats_of(struct kl_cma *which)
{
    struct kl_cma_stats s = {.size = sizeof(s)};

    kl_cma_get_stats(which, &s);
    return s;
}

static uint32_t kept(void)
{
    return stats_of(area).kept_frames;
}

static void assert_area_ok(void)
{
    const char *what = NULL;

    if (kl_cma_check(area, &what))
        fail_msg("broken: %s", what);
    assert_zone_ok(f.zone);
}

static void close_all(void)
{
    assert_area_ok();
    assert_int_equal(kl_cma_destroy(area), 0);
    fixture_close(&f);
}

static kl_pfn alloc(uint32_t frames, uint32_t align)
{
    kl_pfn first = {0};

    assert_int_equal(kl_cma_alloc(area, frames, align, KL_CMA_ANY_CONTENTS, KL_SYNC, &first, NULL),
                     0);
    return first;
}

static void release(uint32_t nr, uint32_t frames)
{
    assert_int_equal(kl_cma_release(area, kl_zone_pfn(f.zone, nr), frames), 0);
}

/* A scan that is asked in batches of nothing frees nothing. */
static void batch_never_set(void **state)
{
    (void)state;
    open_all(0);
    release(kl_pfn_nr(alloc(AREA, 1)), AREA);
    assert_int_equal(kl_zone_shrink(f.zone, 200, KL_SYNC), 200);
    assert_int_equal(stats_of(area).returned_shrinker, 200);
    close_all();
}

/* Everything that walks, on an area in which nothing was released yet. */
static void list_head_never_initialised(void **state)
{
    struct kl_step step = {.size = sizeof(step)};
    kl_pfn one;

    (void)state;
    open_all(0);
    assert_int_equal(kl_zone_shrink(f.zone, 10, KL_SYNC), 0);
    assert_int_equal(kl_zone_step(f.zone, &step, NULL), 0);
    kl_cma_defer(area, 0, 1);
    kl_cma_defer(area, UINT64_MAX, 0);
    one = alloc(1, 1);
    assert_int_equal(stats_of(area).missed, 0);
    release(kl_pfn_nr(one), 1);
    close_all();
    open_all(0);
    close_all();
}

/* Two areas: each is counted and asked, and one goes without the other. */
static void one_static_shrinker_for_all_areas(void **state)
{
    struct kl_cma *other;
    kl_pfn first;

    (void)state;
    open_all(0);
    other = add_area(BASE + AREA, PER, 0, UINT64_MAX);
    release(kl_pfn_nr(alloc(50, 1)), 50);
    assert_int_equal(kl_cma_alloc(other, 30, 1, 0, KL_SYNC, &first, NULL), 0);
    assert_int_equal(kl_cma_release(other, first, 30), 0);
    assert_int_equal(kl_zone_shrink(f.zone, 60, KL_SYNC), 60);
    assert_int_equal(kept() + stats_of(other).kept_frames, 20);
    assert_int_equal(kl_cma_destroy(other), 0);
    release(kl_pfn_nr(alloc(50, 1)), 50);
    assert_int_equal(kl_zone_shrink(f.zone, 60, KL_SYNC), 50);
    close_all();
}

/* An allocation in the middle of which what the area keeps is given back: in its window,
 * and for the room of what stands in it.  (A debug build stops who takes a lock twice.) */
static void the_lock_taken_twice(void **state)
{
    static struct mover m;
    kl_pfn a, b;

    (void)state;
    open_all(0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    a = alloc(AREA, 1);
    for (unsigned i = 0; mover_alloc(&m, i, 0, KL_MOVABLE) == 0;)
        i++;
    release(BASE, 100);              /* kept */
    for (unsigned i = 0; i < 3; i++) /* movable frames in the area, from what is kept there */
        assert_int_equal(mover_alloc(&m, 3000 + i, 0, KL_MOVABLE | KL_NOWAIT), 0);
    assert_true(kept() > 0 && kept() < 100);
    assert_int_equal(kl_cma_alloc(area, 90, 1, 0, KL_SYNC, &b, NULL), 0);
    mover_all_right(&m);
    assert_area_ok();
    release(kl_pfn_nr(b), 90);
    release(kl_pfn_nr(a) + 100, AREA - 100);
    mover_close(&m);
    close_all();
}

static void *use_area(void *arg)
{
    kl_pfn first = {0};
    bool ok = kl_cma_alloc(area, 3, 1, 0, KL_SYNC, &first, NULL) == 0 &&
              kl_cma_release(area, first, 3) == 0;

    (void)arg;
    return ok ? area : NULL;
}

/* Another thread can use the area: nobody holds its lock, or has opened it twice. */
static void assert_lock_is_free(void)
{
    pthread_t thread;
    void *used;

    assert_int_equal(pthread_create(&thread, NULL, use_area, NULL), 0);
    assert_int_equal(pthread_join(thread, &used), 0);
    assert_non_null(used);
}

/* All the ways out of a call that does nothing. */
static void an_unlock_without_a_lock(void **state)
{
    kl_pfn all, none;

    (void)state;
    open_all(0);
    all = alloc(AREA - 8, 1);
    assert_int_equal(kl_cma_release(area, kl_zone_pfn(f.zone, 0), 1), -KL_EINVAL);
    assert_int_equal(kl_cma_release(area, all, AREA - 7), -KL_EINVAL);
    assert_lock_is_free();
    assert_int_equal(kl_cma_alloc(area, 100, 1, 0, KL_SYNC, &none, NULL), -KL_EBUSY);
    assert_int_equal(kl_cma_alloc_at(area, all, 1, 0, KL_SYNC, NULL), -KL_EBUSY);
    assert_lock_is_free();
    assert_int_equal(kl_cma_destroy(area), -KL_EBUSY);
    assert_lock_is_free();
    release(kl_pfn_nr(all), AREA - 8);
    close_all();
}

/* Whatever a release does, with deferred free on and off, it asks for no memory and sleeps
 * for nobody. */
static void a_sleeping_allocation_in_release(void **state)
{
    static const uint64_t cap[] = {UINT64_MAX, 10 * FRAME, 0};

    (void)state;
    fixture_host = watch_host;
    open_all(0);
    for (unsigned c = 0; c < 3; c++) {
        kl_pfn first = alloc(AREA, 1);

        kl_cma_defer(area, cap[c], 5);
        slept = allocated = 0;
        for (unsigned i = 0; i < AREA; i += 4)
            release(kl_pfn_nr(first) + (i * 12 + i / (AREA / 4) * 4) % AREA, 4);
        assert_int_equal(slept + allocated, 0);
        kl_cma_defer(area, 0, 0);
    }
    close_all();
    fixture_host = NULL;
}

/* One scan that ends many pieces, which were neighbours of one another. */
static void use_after_free_while_walking(void **state)
{
    kl_pfn first;

    (void)state;
    open_all(0);
    first = alloc(AREA, 1);
    for (unsigned i = 0; i < AREA; i++)
        release(kl_pfn_nr(first) + i * 7 % AREA, 1);
    assert_int_equal(kept(), AREA);
    assert_int_equal(kl_zone_shrink(f.zone, AREA - 1, KL_SYNC), AREA - 1);
    assert_area_ok();
    assert_int_equal(kl_zone_shrink(f.zone, AREA, KL_SYNC), 1);
    close_all();
}

/* Released, kept, reused in part, returned: no frame is anybody's twice. */
static void bits_cleared_twice(void **state)
{
    static uint8_t mine[BLOCKS * PER];
    struct rng rng = rng_new(31);

    (void)state;
    open_all(0);
    memset(mine, 0, sizeof(mine));
    for (unsigned round = 0; round < 3000; round++) {
        uint32_t n = 1 + rng_below(&rng, 20), at = BASE + rng_below(&rng, AREA - n), whole = 0;
        kl_pfn first;

        for (uint32_t i = at; i < at + n; i++)
            whole += mine[i];
        if (rng_below(&rng, 50) == 0)
            kl_zone_shrink(f.zone, rng_below(&rng, 60), KL_SYNC);
        /* a release is right if and only if all of it was handed out */
        assert_int_equal(kl_cma_release(area, kl_zone_pfn(f.zone, at), n),
                         whole == n ? 0 : -KL_EINVAL);
        if (whole == n)
            memset(mine + at, 0, n);
        if (kl_cma_alloc(area, n, 1, KL_CMA_ANY_CONTENTS, KL_SYNC, &first, NULL) != 0)
            continue;
        for (uint32_t i = kl_pfn_nr(first); i < kl_pfn_nr(first) + n; i++) {
            assert_int_equal(mine[i], 0);
            mine[i] = 1;
        }
    }
    assert_area_ok();
    for (uint32_t i = BASE; i < BASE + AREA; i++) {
        if (mine[i])
            release(i, 1);
    }
    close_all();
}

/* A kept range that begins right and is too short, or too short behind the alignment. */
static void a_match_that_ignores_the_ranges_end(void **state)
{
    kl_pfn got;

    (void)state;
    open_all(0);
    (void)alloc(AREA, 1);
    release(BASE + 16, 20); /* 16 to 35 */
    assert_int_equal(kl_cma_alloc(area, 21, 1, 0, KL_SYNC, &got, NULL), -KL_EBUSY);
    assert_int_equal(kl_cma_alloc(area, 5, 32, 0, KL_SYNC, &got, NULL), -KL_EBUSY);
    assert_int_equal(kept(), 20);
    assert_int_equal(kl_cma_alloc(area, 4, 32, 0, KL_SYNC, &got, NULL), 0);
    assert_int_equal(kl_pfn_nr(got), BASE + 32);
    assert_int_equal(kept(), 16);
    release(BASE, 16);
    release(BASE + 32, AREA - 32);
    close_all();
}

/* The parts of a range that its reuse leaves are still there to be had. */
static void remainders_leaked(void **state)
{
    (void)state;
    open_all(0);
    release(kl_pfn_nr(alloc(AREA, 1)), AREA);
    for (unsigned i = 0; i < 20; i++) {
        kl_pfn first = alloc(8, 16); /* a tail, or a head and a tail, each time */

        assert_int_equal(kl_pfn_nr(first) % 16, 0);
        assert_int_equal(kept(), AREA - 8);
        release(kl_pfn_nr(first), 8);
    }
    assert_int_equal(kl_zone_shrink(f.zone, 2 * AREA, KL_SYNC), AREA);
    assert_int_equal(stats_of(area).available_frames, AREA);
    close_all();
}

static void order_per_bit_ignored(void **state)
{
    kl_pfn first;

    (void)state;
    open_all(3);
    first = alloc(20, 1); /* three units */
    assert_int_equal(stats_of(area).allocated_frames, 24);
    release(kl_pfn_nr(first), 24);
    assert_int_equal(kept(), 24);
    assert_int_equal(kl_pfn_nr(alloc(9, 1)), kl_pfn_nr(first));
    assert_int_equal(kept(), 8);
    assert_int_equal(kl_zone_shrink(f.zone, 1, KL_SYNC), 8); /* no half unit goes back */
    assert_area_ok();
    release(kl_pfn_nr(first), 9);
    assert_int_equal(kept(), 16);
    close_all();
}

/* With no metadata to be had at all, what is released is there again. */
static void memory_leaked_when_metadata_fails(void **state)
{
    kl_pfn first;

    (void)state;
    open_all(0);
    first = alloc(AREA, 1);
    for (unsigned i = 0; i < AREA; i += 8) {
        fault_set(FAULT_META, 1);
        release(kl_pfn_nr(first) + i * 9 % AREA, 8);
    }
    assert_int_equal(kl_pfn_nr(alloc(AREA, 1)), BASE);
    fault_set(FAULT_META, 1);
    kl_cma_defer(area, 0, 0);
    release(BASE, AREA);
    fault_set(FAULT_META, 0);
    assert_int_equal(stats_of(area).available_frames, AREA);
    close_all();
}

static void *come_and_go(void *arg)
{
    uint32_t n = (uint32_t)(uintptr_t)arg;

    for (unsigned i = 0; i < 2000; i++) {
        kl_pfn first;

        if (kl_cma_alloc(area, n, 1, KL_CMA_ANY_CONTENTS, KL_SYNC, &first, NULL) == 0 &&
            kl_cma_release(area, first, n) != 0)
            return area;
        if (i % 8 == 0)
            kl_zone_shrink(f.zone, 5, KL_SYNC);
    }
    return NULL;
}

static void a_counter_set_to_zero_while_others_add(void **state)
{
    pthread_t thread[3];
    uint32_t left;
    void *broken;

    (void)state;
    open_all(0);
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, come_and_go, (void *)(3 + 5 * i)), 0);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(thread[i], &broken);
        assert_null(broken);
    }
    assert_area_ok(); /* it recounts */
    assert_int_equal(stats_of(area).allocated_frames, 0);
    left = kept();
    assert_int_equal(kl_zone_shrink(f.zone, AREA, KL_SYNC), left);
    assert_int_equal(kept(), 0);
    close_all();
}

static void a_scan_that_refuses_small_requests(void **state)
{
    (void)state;
    open_all(0);
    release(kl_pfn_nr(alloc(40, 1)), 40);
    for (uint32_t left = 40; left > 0; left--) {
        assert_int_equal(kl_zone_shrink(f.zone, 1, KL_SYNC), 1);
        assert_int_equal(kept(), left - 1);
    }
    close_all();
}

static void a_scan_that_underflows(void **state)
{
    (void)state;
    open_all(0);
    release(kl_pfn_nr(alloc(40, 1)), 40);
    assert_int_equal(kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC), 40);
    assert_int_equal(kept(), 0);
    assert_int_equal(kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC), 0);
    assert_int_equal(kept(), 0);
    assert_int_equal(stats_of(area).returned_shrinker, 40);
    close_all();
}

static void a_scan_that_returns_with_the_lock_held(void **state)
{
    kl_pfn first;

    (void)state;
    open_all(0);
    assert_int_equal(kl_zone_shrink(f.zone, 1, KL_SYNC), 0); /* nothing to be had */
    assert_lock_is_free();
    kl_zone_shrink(f.zone, AREA, KL_SYNC);
    first = alloc(10, 1);
    release(kl_pfn_nr(first), 10);
    assert_int_equal(kl_zone_shrink(f.zone, 4, KL_SYNC), 4); /* some of it */
    assert_lock_is_free();
    assert_true(kl_zone_shrink(f.zone, 40, KL_SYNC) >= 6); /* all of it */
    assert_lock_is_free();
    close_all();
}

/* Is there a place for n at this alignment in [from, from + len), and where? */
static uint32_t place(uint32_t from, uint32_t len, uint32_t n, uint32_t align)
{
    uint32_t at = (from + align - 1) / align * align;

    return at + n <= from + len ? at : 0;
}

/* Every small case of offset, length, size and alignment, by another sum. */
static void a_precedence_slip(void **state)
{
    (void)state;
    open_all(0);
    (void)alloc(AREA, 1);
    for (uint32_t from = BASE; from < BASE + 9; from++) {
        for (uint32_t len = 1; len < 12; len++) {
            for (uint32_t n = 1; n < 13; n++) {
                for (uint32_t align = 1; align <= 8; align *= 2) {
                    uint32_t want = place(from, len, n, align);
                    kl_pfn got = {0};
                    int err;

                    release(from, len);
                    err = kl_cma_alloc(area, n, align, KL_CMA_ANY_CONTENTS, KL_ASYNC, &got, NULL);
                    assert_int_equal(err, want ? 0 : -KL_EBUSY);
                    assert_int_equal(kl_pfn_nr(got), want);
                    assert_int_equal(kept(), want ? len - n : len);
                    if (want)
                        release(want, n);
                    assert_int_equal(kl_cma_alloc_at(area, kl_zone_pfn(f.zone, from), len,
                                                     KL_CMA_ANY_CONTENTS, KL_ASYNC, NULL),
                                     0);
                }
            }
        }
    }
    release(BASE, AREA);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_never_set),
        cmocka_unit_test(list_head_never_initialised),
        cmocka_unit_test(one_static_shrinker_for_all_areas),
        cmocka_unit_test(the_lock_taken_twice),
        cmocka_unit_test(an_unlock_without_a_lock),
        cmocka_unit_test(a_sleeping_allocation_in_release),
        cmocka_unit_test(use_after_free_while_walking),
        cmocka_unit_test(bits_cleared_twice),
        cmocka_unit_test(a_match_that_ignores_the_ranges_end),
        cmocka_unit_test(remainders_leaked),
        cmocka_unit_test(order_per_bit_ignored),
        cmocka_unit_test(memory_leaked_when_metadata_fails),
        cmocka_unit_test(a_counter_set_to_zero_while_others_add),
        cmocka_unit_test(a_scan_that_refuses_small_requests),
        cmocka_unit_test(a_scan_that_underflows),
        cmocka_unit_test(a_scan_that_returns_with_the_lock_held),
        cmocka_unit_test(a_precedence_slip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
