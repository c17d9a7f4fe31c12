// SPDX-License-Identifier: Apache-2.0
/* What a zone does not need for a while and lets go without giving it back: memory of free
 * frames in blocks partly used, and descriptors of blocks that have no memory. */
#include "support/mover.h"

#include "frame/cache.h"
#include "frame/look.h"

#include <string.h>

enum { BLOCKS = 8, ORDER = 6, FRAMES = 1 << ORDER, ALL = BLOCKS * FRAMES, KEEP = 4 };

static struct mover m;
static struct fixture f;
static int (*real_discard)(void *ctx, uint64_t offset, uint64_t bytes);
static int fail_at; /* the nth call from now on fails; 0: none does */
static unsigned calls;
static void (*meanwhile)(void); /* in the next call */
static uint32_t watched;        /* a frame; 0: none */
static bool watched_went;

static int discard(void *ctx, uint64_t offset, uint64_t bytes)
{
    void (*act)(void) = meanwhile;

    calls++;
    watched_went |= watched && watched * 4096 >= offset && watched * 4096 < offset + bytes;
    meanwhile = NULL;
    if (act)
        act();
    if (fail_at > 0 && --fail_at == 0)
        return -KL_EIO;
    return real_discard(ctx, offset, bytes);
}

static void open_zone(void)
{
    fixture_open(&f, BLOCKS, ORDER, 0);
    real_discard = f.zone->backing.discard;
    f.zone->backing.discard = discard;
    fail_at = 0;
    calls = 0;
    mover_open(&m, f.zone, MOVER_SINGLE);
}

static void close_zone(void)
{
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

static uint64_t resident(void)
{
    return kl_linux_backing_resident(f.memory) / 4096;
}

static void nothing_is_fenced(void)
{
    for (uint32_t b = 0; b < BLOCKS; b++)
        assert_false(kli_block_word(f.zone, b) & KLI_B_FENCED);
    assert_zone_ok(f.zone);
}

static void free_frames_go_and_come_back(void **state)
{
    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    assert_int_equal(resident(), ALL);
    assert_int_equal(kl_zone_discard(f.zone, 0), ALL - ALL / KEEP);
    assert_int_equal(resident(), ALL / KEEP);
    nothing_is_fenced();
    mover_all_right(&m);
    assert_int_equal(kl_zone_discard(f.zone, 0), ALL - ALL / KEEP); /* again: counted as well */
    for (unsigned i = 0; i < MOVER_ITEMS; i++) {
        if (!m.item[i].here && mover_alloc(&m, i, 0, KL_MOVABLE) != 0)
            break;
    }
    assert_int_equal(resident(), ALL);
    assert_int_equal(kl_zone_discard(f.zone, 0), 0);
    close_zone();
}

static void it_stops_when_it_has_had_enough(void **state)
{
    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    assert_int_equal(kl_zone_discard(f.zone, 1), FRAMES - FRAMES / KEEP);
    assert_int_equal(resident(), ALL - (FRAMES - FRAMES / KEEP));
    assert_int_equal(kl_zone_discard(f.zone, FRAMES), 2 * (FRAMES - FRAMES / KEEP));
    close_zone();
}

/* Blocks that are free as a whole are for kl_zone_trim, and some backings can't. */
static void only_where_it_can(void **state)
{
    (void)state;
    open_zone();
    assert_int_equal(mover_alloc(&m, 0, ORDER, KL_MOVABLE), 0);
    assert_true(mover_free(&m, 0));
    assert_int_equal(kl_zone_discard(f.zone, 0), 0);
    assert_int_equal(resident(), FRAMES);
    f.zone->backing.discard = NULL;
    assert_int_equal(kl_zone_discard(f.zone, 0), -KL_ENOTSUP);
    close_zone();
}

static void one_that_fails_changes_nothing(void **state)
{
    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    for (int nth = 1; nth <= BLOCKS * FRAMES / KEEP; nth += 9) {
        fail_at = nth;
        calls = 0;
        assert_int_equal(kl_zone_discard(f.zone, 0), -KL_EIO);
        assert_int_equal(calls, nth); /* no more of them */
        nothing_is_fenced();
        mover_all_right(&m);
    }
    assert_int_equal(kl_zone_discard(f.zone, 0), ALL - ALL / KEEP);
    close_zone();
}

/* An allocation that has lowered free and not set its bit yet may be about to have any of the
 * clear ones. (N1) */
static void a_block_with_somebody_on_the_way_stays(void **state)
{
    const uint64_t ask = kli_b_ask(1, false, KLI_WANT_ANY, FRAMES);

    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    assert_true(kli_block_step(f.zone, 3, kli_b_reserve, ask));
    assert_int_equal(kl_zone_discard(f.zone, 0), (BLOCKS - 1) * (FRAMES - FRAMES / KEEP));
    assert_true(kli_block_step(f.zone, 3, kli_b_put, 1));
    assert_int_equal(kl_zone_discard(f.zone, 0), ALL - ALL / KEEP);
    nothing_is_fenced();
    close_zone();
}

static void a_block_of_somebody_elses_stays(void **state)
{
    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    assert_true(kli_block_step(f.zone, 5, kli_b_fence, 0));
    assert_int_equal(kl_zone_discard(f.zone, 0), (BLOCKS - 1) * (FRAMES - FRAMES / KEEP));
    assert_true(kli_block_word(f.zone, 5) & KLI_B_FENCED);
    assert_true(kli_block_step(f.zone, 5, kli_b_unfence, 0));
    close_zone();
}

static void a_look_that_lasts_keeps_it(void **state) /* N2 */
{
    kli_look *look;

    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    look = kli_look_begin(f.zone);
    assert_int_equal(kl_zone_discard(f.zone, 0), 0);
    assert_int_equal(calls, 0);
    nothing_is_fenced();
    kli_look_end(look);
    assert_int_equal(kl_zone_discard(f.zone, 0), ALL - ALL / KEEP);
    close_zone();
}

/* Frames that come and go, with contents that are looked at, while others' memory goes. */
static atomic_bool stop;

static void *come_and_go(void *arg)
{
    struct rng rng = rng_new(7);
    uint64_t *wrong = arg;

    while (!atomic_load(&stop)) {
        unsigned i = rng_below(&rng, ALL);

        if (!m.item[i].here)
            (void)mover_alloc(&m, i, rng_below(&rng, 3), KL_MOVABLE);
        else if (!mover_free(&m, i))
            (*wrong)++;
    }
    return NULL;
}

static void nothing_in_use_goes(void **state)
{
    int64_t gone = 0;
    uint64_t wrong = 0;
    pthread_t thread;

    (void)state;
    open_zone();
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&thread, NULL, come_and_go, &wrong), 0);
    for (unsigned i = 0; i < 300 || gone == 0; i++) {
        int64_t n = kl_zone_discard(f.zone, 0);

        assert_true(n >= 0);
        gone += n;
        if (i % 16 == 0)
            assert_true(kl_zone_trim(f.zone, 0) >= 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(wrong, 0);
    nothing_is_fenced();
    close_zone();
}

/* ---- descriptors ------------------------------------------------------------ */

static char *idle_from[2 * BLOCKS];
static size_t idle_bytes[2 * BLOCKS];
static unsigned idles;

static void note_idle(void *ctx, void *mem, size_t bytes)
{
    (void)ctx;
    assert_true(idles < 2 * BLOCKS);
    idle_from[idles] = mem;
    idle_bytes[idles++] = bytes;
    memset(mem, 0, bytes); /* what was in priv is no longer there */
}

static void with_note(struct kl_host *host)
{
    host->meta_idle = note_idle;
}

static void descriptors_of_an_absent_block_are_idle(void **state)
{
    (void)state;
    idles = 0;
    fixture_host = with_note;
    open_zone();
    for (unsigned i = 0; i < ALL; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < ALL; i++)
        assert_true(mover_free(&m, i));
    assert_int_equal(idles, 0);
    assert_int_equal(kl_zone_trim(f.zone, 2), BLOCKS - 2);
    assert_int_equal(idles, BLOCKS - 2);
    for (unsigned i = 0; i < idles; i++) {
        uint32_t first = (uint32_t)((struct kli_frame *)(void *)idle_from[i] - f.zone->frame);

        assert_int_equal(idle_bytes[i], FRAMES * sizeof(struct kli_frame));
        assert_int_equal(first % FRAMES, 0);
        assert_true(kli_block_word(f.zone, first / FRAMES) == KLI_B_ABSENT);
    }
    for (unsigned i = 0; i < ALL; i++) /* and are as good as new */
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_zone_ok(f.zone);
    close_zone();
    fixture_host = NULL;
}

static void a_block_that_stays_keeps_them(void **state)
{
    (void)state;
    idles = 0;
    fixture_host = with_note;
    open_zone();
    assert_int_equal(mover_alloc(&m, 0, ORDER, KL_MOVABLE), 0);
    assert_true(mover_free(&m, 0));
    fault_set(FAULT_RELEASE, 1);
    assert_int_equal(kl_zone_trim(f.zone, 0), -KL_EIO);
    assert_int_equal(idles, 0);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_trim(f.zone, 0), 1);
    assert_int_equal(idles, 1);
    close_zone();
    fixture_host = NULL;
}

static kli_look *look;

static void free_it_while_it_is_read(void)
{
    look = kli_look_begin(f.zone);
    assert_true(mover_free(&m, mover_at(&m, watched)));
    kli_cache_drain(f.zone);
}

/* N2: what becomes free after looks were waited for may be read still. */
static void what_is_read_when_it_becomes_free_stays(void **state)
{
    (void)state;
    open_zone();
    mover_scatter(&m, KEEP);
    watched = 2 * KEEP;
    watched_went = false;
    meanwhile = free_it_while_it_is_read;
    assert_true(kl_zone_discard(f.zone, 1) > 0);
    assert_false(watched_went);
    kli_look_end(look);
    assert_true(kl_zone_discard(f.zone, 1) > 0);
    assert_true(watched_went);
    watched = 0;
    nothing_is_fenced();
    close_zone();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_when_it_becomes_free_stays),
        cmocka_unit_test(free_frames_go_and_come_back),
        cmocka_unit_test(it_stops_when_it_has_had_enough),
        cmocka_unit_test(only_where_it_can),
        cmocka_unit_test(one_that_fails_changes_nothing),
        cmocka_unit_test(a_block_with_somebody_on_the_way_stays),
        cmocka_unit_test(a_block_of_somebody_elses_stays),
        cmocka_unit_test(a_look_that_lasts_keeps_it),
        cmocka_unit_test(nothing_in_use_goes),
        cmocka_unit_test(descriptors_of_an_absent_block_are_idle),
        cmocka_unit_test(a_block_that_stays_keeps_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
