// SPDX-License-Identifier: Apache-2.0
/* Moments of the objects: what one thread would do in the midst of another's call is done
 * there, at a trace point of that call, or in a callback; and words that a batch finds in
 * other hands.  Each of these went wrong once. */
#include "klotski/cma.h"
#include "shm/shm.h"
#include "support/moment.h"
#include "support/shmdev.h"

#include <stdio.h>
#include <string.h>

enum { PAGE = 4096 };

static struct fixture f;
static struct kl_shm *shm;
static kl_shm_id id;
static char buf[8 * PAGE];
static int answer;

static void open_all(unsigned blocks, unsigned order)
{
    fixture_host = moment_clock;
    fixture_open(&f, blocks, order, KL_ZONE_POPULATE);
    fixture_host = NULL;
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
}

static void close_all(void)
{
    moments_came();
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

static kl_shm_id make_filled(uint64_t bytes, uint64_t seed)
{
    kl_shm_id object;

    assert_int_equal(kl_shm_object_create(shm, bytes, 0, &object), 0);
    fill_bytes(buf, bytes, seed);
    assert_int_equal(kl_shm_write(shm, object, 0, buf, bytes), 0);
    return object;
}

static struct kl_shm_stats stats(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return s;
}

static struct kl_shm_info info(void)
{
    struct kl_shm_info i = {.size = sizeof(i)};

    assert_int_equal(kl_shm_object_info(shm, id, &i), 0);
    return i;
}

/* ---- purge ---- */

static void purge(void)
{
    assert_true(kl_zone_shrink(f.zone, 8, KL_ASYNC) >= 0);
    assert_int_equal(info().purged, 1);
}

static void purge_and_want(void)
{
    purge();
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), -KL_ENODATA);
}

/* Dropped and wanted again between two pages of one copy: it says so. */
static void dropped_between_two_pages(void **state)
{
    (void)state;
    open_all(4, 4);
    for (unsigned writes = 0; writes < 2; writes++) {
        id = make_filled(2 * PAGE, 1);
        assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
        moment_at(0, KLI_T_shm_left, 1, purge_and_want);
        assert_int_equal(writes ? kl_shm_write(shm, id, 0, buf, 2 * PAGE)
                                : kl_shm_read(shm, id, 0, buf, 2 * PAGE),
                         -KL_ENODATA);
        moments_came();
        assert_int_equal(kl_shm_read(shm, id, 0, buf, 2 * PAGE), 0);
        assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    }
    close_all();
}

static void read_and_purge_between(void)
{
    moment_at(1, KLI_T_shm_left, 1, purge);
    answer = kl_shm_read(shm, id, 0, buf, 2 * PAGE);
}

/* A page that was dropped, and is in use for longer than anybody waits: it was dropped. */
static void dropped_and_in_use(void **state)
{
    static char other[2 * PAGE];

    (void)state;
    open_all(4, 4);
    id = make_filled(2 * PAGE, 1);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    moment_at(0, KLI_T_shm_entered, 1, read_and_purge_between);
    assert_int_equal(kl_shm_write(shm, id, PAGE, other, PAGE), -KL_ENODATA);
    assert_int_equal(answer, -KL_ENODATA);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), -KL_ENODATA);
    assert_int_equal(info().frames, 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

static void offer(void)
{
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
}

/* Wanted while somebody else offers it: it is on the list, or it isn't purgeable. */
static void offered_while_wanted(void **state)
{
    (void)state;
    open_all(4, 4);
    id = make_filled(2 * PAGE, 1);
    offer();
    moment_at(0, KLI_T_shm_want, 1, offer);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), 0);
    assert_shm_ok(shm);
    assert_int_equal(stats().purgeable_frames, 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* ---- elsewhere ---- */

static struct shelf {
    char bytes[8 * PAGE];
    bool released;
} shelf;

static int shelf_read(void *ctx, uint64_t offset, void *to, size_t n)
{
    memcpy(to, ((struct shelf *)ctx)->bytes + offset, n);
    return 0;
}

static int shelf_write(void *ctx, uint64_t offset, const void *from, size_t n)
{
    memcpy(((struct shelf *)ctx)->bytes + offset, from, n);
    return 0;
}

static void shelf_release(void *ctx)
{
    ((struct shelf *)ctx)->released = true;
}

static const struct kl_shm_place on_shelf = {.size = sizeof(on_shelf),
                                             .bytes = 8 * PAGE,
                                             .read = shelf_read,
                                             .write = shelf_write,
                                             .release = shelf_release};

static void destroy_and_move_in(void)
{
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_move_in(shm, id), 0);
    assert_true(shelf.released);
}

/* A read that is under way is a user: it has the contents still. */
static void destroyed_and_back_in_the_midst_of_a_read(void **state)
{
    (void)state;
    open_all(4, 4);
    id = make_filled(3 * PAGE, 1);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
    moment_at(0, KLI_T_shm_left, 1, destroy_and_move_in);
    memset(buf, 0, sizeof(buf));
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 3 * PAGE), 0);
    assert_true(bytes_are(buf, 3 * PAGE, 1));
    assert_int_equal(stats().objects, 0);
    close_all();
}

static bool is_zero(uint64_t offset, size_t n)
{
    static const char zeroes[2 * PAGE];

    memset(buf, 1, n);
    return kl_shm_read(shm, id, offset, buf, n) == 0 && memcmp(buf, zeroes, n) == 0;
}

/* Who has whole pages, a peer or a device, may write behind the end: what is added is zero. */
static void zero_when_it_grows(void **state)
{
    struct kl_shm_run run;
    kl_pin_id pin;
    uint64_t next;

    (void)state;
    open_all(4, 4);
    id = make_filled(100, 1);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
    memset(shelf.bytes + 100, 'x', PAGE - 100);
    assert_int_equal(kl_shm_move_in(shm, id), 0);
    assert_int_equal(kl_shm_resize(shm, id, 2 * PAGE), 0);
    assert_true(is_zero(100, 2 * PAGE - 100));
    assert_int_equal(kl_shm_resize(shm, id, 50), 0);
    assert_int_equal(kl_shm_pin(shm, id, "a device", &pin), 0);
    assert_int_equal(kl_shm_sg(shm, id, 0, &run, 1, &next), 1);
    memset(kl_frame_addr(f.zone, run.first), 'y', PAGE);
    assert_int_equal(kl_shm_unpin(shm, id, pin), 0);
    assert_int_equal(kl_shm_resize(shm, id, PAGE), 0);
    assert_true(is_zero(50, PAGE - 50));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Sums that would wrap. */
static void a_place_larger_than_the_zone(void **state)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - PAGE, UINT64_C(1) << 63,
                                     (UINT64_C(16) * PAGE) << 32, 5 * 16 * PAGE};
    kl_shm_id other;

    (void)state;
    open_all(4, 4);
    other = make_filled(PAGE, 2);
    assert_int_equal(kl_shm_move_out(shm, other, &on_shelf, &shelf), 0);
    id = make_filled(PAGE, 1);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct kl_shm_place place = on_shelf;

        place.bytes = sizes[i];
        assert_int_equal(kl_shm_move_out(shm, id, &place, &shelf), -KL_ENOMEM);
        assert_int_equal(stats().away_bytes, 8 * PAGE);
        assert_int_equal(stats().away_blocks, 1);
        assert_shm_ok(shm);
    }
    assert_int_equal(kl_shm_move_in(shm, other), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, other), 0);
    close_all();
}

/* ---- batches ---- */

/* A driver of one object, which looks where it is whenever it may. */
static struct {
    int refuses;
    unsigned prepared, finished;
    int sg; /* what kl_shm_sg said in the last finish */
    uint64_t away;
} driver;

static int ask(void)
{
    struct kl_shm_run run;
    uint64_t next;

    return kl_shm_sg(shm, id, 0, &run, 1, &next);
}

static int prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    (void)objects, (void)n, (void)mode;
    driver.prepared++;
    driver.away = stats().away_bytes;
    return driver.refuses;
}

static void finish(const struct kl_shm_ref *objects, size_t n)
{
    (void)objects, (void)n;
    driver.finished++;
    driver.sg = ask();
}

static const struct kl_shm_ops ops = {
    .size = sizeof(ops), .name = "driver", .prepare = prepare, .finish = finish};

static kl_shm_device_id device;

static void open_driver(unsigned blocks, unsigned order, unsigned pages)
{
    open_all(blocks, order);
    memset(&driver, 0, sizeof(driver));
    assert_int_equal(kl_shm_device_register(shm, &ops, NULL, &device), 0);
    id = make_filled((uint64_t)pages * PAGE, 1);
    assert_int_equal(kl_shm_attach(shm, id, device, NULL), 0);
}

static void close_driver(void)
{
    assert_int_equal(kl_shm_detach(shm, id), 0);
    assert_int_equal(kl_shm_device_unregister(shm, device), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

static struct kli_shm_object *object(void)
{
    return kli_shm_at(shm, 0);
}

static kl_pfn frame_of(uint32_t page)
{
    return kl_zone_pfn(f.zone, kli_p_nr(atomic_load(kli_shm_page(object(), page))));
}

/* Two batches of other threads, by the framework's calls. */
static kl_pfn batch[2][1];

static void begin_batch(void)
{
    assert_int_equal(kli_shm_prepare(shm, batch[0], 1, KL_SYNC), 0);
}

/* An activity that begins with a batch: where its frames are is told when they are there. */
static void active_in_the_midst_of_a_batch(void **state)
{
    (void)state;
    open_driver(4, 4, 1);
    batch[0][0] = batch[1][0] = frame_of(0);
    moment_at(0, KLI_T_shm_active, 1, begin_batch);
    assert_int_equal(kl_shm_activate(shm, id, KL_SYNC), 0);
    assert_int_equal(driver.prepared, 1);
    assert_int_equal(ask(), -KL_EBUSY);
    assert_int_equal(kli_shm_prepare(shm, batch[1], 1, KL_SYNC), 0);
    kli_shm_finish(shm, batch[0], 1);
    assert_int_equal(driver.sg, -KL_EBUSY); /* the other one has it */
    kli_shm_finish(shm, batch[1], 1);
    assert_int_equal(driver.sg, 1);
    assert_int_equal(ask(), 1);
    assert_int_equal(kl_shm_deactivate(shm, id), 0);
    close_driver();
}

/* Somebody has the page for himself when its batch is refused, and gives it up again. */
static void refused_in_other_hands(void **state)
{
    kli_word *word;
    uint32_t nr;

    (void)state;
    open_driver(4, 4, 1);
    word = kli_shm_page(object(), 0);
    batch[0][0] = frame_of(0);
    nr = kl_pfn_nr(batch[0][0]);
    assert_true(kli_apply(word, kli_p_isolate, nr, NULL));
    assert_true(kli_apply(word, kli_p_grab, nr, NULL));
    driver.refuses = -KL_EBUSY;
    assert_int_equal(kli_shm_prepare(shm, batch[0], 1, KL_SYNC), 0);
    assert_true(kli_apply(word, kli_p_keep, 0, NULL));
    assert_true(atomic_load(word) & KLI_P_REFUSED);
    kli_shm_finish(shm, batch[0], 1);
    assert_true(kli_apply(word, kli_p_putback, nr, NULL));
    assert_int_equal(driver.finished, 0);
    close_driver();
}

/* Frames of another owner, half of each block but that of frame nr. */
static unsigned half_fill(kl_owner_id owner, uint32_t nr, kl_pfn *fill)
{
    unsigned n = 0, kept = 0;

    while (kl_frame_alloc(f.zone, 0, owner, KL_NOWAIT, &fill[n]) == 0)
        n++;
    for (unsigned i = 0; i < n; i++) {
        if (kl_pfn_nr(fill[i]) % 16 >= 8 || kl_pfn_nr(fill[i]) / 16 == nr / 16)
            assert_int_equal(kl_frame_free(f.zone, owner, fill[i]), 0);
        else
            fill[kept++] = fill[i];
    }
    return kept;
}

/* Figures are told at any time, within a callback too: the block that is given back for what
 * goes out is the driver's. */
static void stats_in_a_callback(void **state)
{
    kl_shm_id other;
    kl_owner_id plain;
    kl_pfn fill[64];
    unsigned n;

    (void)state;
    open_driver(4, 4, 1);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &plain), 0);
    n = half_fill(plain, kl_pfn_nr(frame_of(0)), fill);
    other = make_filled(PAGE, 2);
    assert_int_equal(kl_shm_move_out(shm, other, &on_shelf, &shelf), 0);
    assert_true(driver.prepared > 0);
    assert_int_equal(driver.away, 0);
    assert_int_equal(stats().away_bytes, 8 * PAGE);
    while (n-- > 0)
        assert_int_equal(kl_frame_free(f.zone, plain, fill[n]), 0);
    assert_int_equal(kl_owner_unregister(f.zone, plain), 0);
    assert_int_equal(kl_shm_move_in(shm, other), 0);
    assert_int_equal(kl_shm_object_destroy(shm, other), 0);
    close_driver();
}

static void destroy(void)
{
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
}

/* Ended while a run has its frame locked: it goes with the run, and nobody has to ask. */
static void destroyed_while_isolated(void **state)
{
    kl_owner_id plain;
    kl_pfn first;

    (void)state;
    open_all(4, 4);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &plain), 0);
    id = make_filled(PAGE, 1);
    first = frame_of(0);
    moment_at(0, KLI_T_isolate_asked, 1, destroy);
    kl_contig_alloc_at(f.zone, plain, first, 1, KL_SYNC_LIGHT, NULL);
    assert_int_equal(stats().objects, 0);
    assert_int_equal(stats().frames, 0);
    kl_contig_free(f.zone, plain, first, 1);
    assert_int_equal(kl_owner_unregister(f.zone, plain), 0);
    close_all();
}

/* ---- the rest ---- */

/* In an area nothing stays: who can't leave it isn't pinned, and that is "busy". */
static void pinned_in_an_area(void **state)
{
    struct kl_cma_config config = {.size = sizeof(config), .name = "area", .frames = 3 * 16};
    kl_pfn fill[16];
    struct kl_cma *area;
    kl_owner_id plain;
    kl_pin_id pin;

    (void)state;
    open_all(4, 4);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &plain), 0);
    assert_int_equal(kl_contig_alloc_at(f.zone, plain, kl_zone_pfn(f.zone, 0), 16, KL_SYNC, NULL),
                     0);
    for (uint32_t i = 0; i < 16; i++)
        fill[i] = kl_zone_pfn(f.zone, i);
    config.base = kl_zone_pfn(f.zone, 16);
    assert_int_equal(kl_cma_create(f.zone, &config, &area), 0);
    id = make_filled(PAGE, 1);
    assert_true(kl_pfn_nr(frame_of(0)) >= 16);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), -KL_EBUSY);
    assert_int_equal(kl_contig_free(f.zone, plain, fill[0], 16), 0);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), 0);
    assert_true(kl_pfn_nr(frame_of(0)) < 16);
    assert_int_equal(kl_shm_unpin(shm, id, pin), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_cma_destroy(area), 0);
    assert_int_equal(kl_owner_unregister(f.zone, plain), 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropped_between_two_pages),
        cmocka_unit_test(dropped_and_in_use),
        cmocka_unit_test(offered_while_wanted),
        cmocka_unit_test(destroyed_and_back_in_the_midst_of_a_read),
        cmocka_unit_test(zero_when_it_grows),
        cmocka_unit_test(a_place_larger_than_the_zone),
        cmocka_unit_test(active_in_the_midst_of_a_batch),
        cmocka_unit_test(refused_in_other_hands),
        cmocka_unit_test(stats_in_a_callback),
        cmocka_unit_test(destroyed_while_isolated),
        cmocka_unit_test(pinned_in_an_area),
    };

    if (!KL_DEBUG) {
        puts("1..0 # SKIP trace points call tests in debug builds only");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
