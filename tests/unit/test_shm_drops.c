// SPDX-License-Identifier: Apache-2.0
/* Pages that are to go while somebody has them, or their frames: who finds one later drops it,
 * nobody asking; and calls that fail half-way leave nothing behind. */
#include "shm/shm.h"
#include "support/moment.h"
#include "support/shmdev.h"

#include <stdio.h>
#include <string.h>

enum { PAGE = 4096 };

static struct fixture f;
static struct kl_shm *shm;
static kl_owner_id plain;
static kl_shm_id id;
static char buf[8 * PAGE];

static void open_all(void)
{
    fixture_host = moment_clock;
    fixture_open(&f, 4, 4, KL_ZONE_POPULATE);
    fixture_host = NULL;
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &plain), 0);
    assert_int_equal(kl_shm_object_create(shm, 2 * PAGE, 0, &id), 0);
    fill_bytes(buf, 2 * PAGE, 1);
    assert_int_equal(kl_shm_write(shm, id, 0, buf, 2 * PAGE), 0);
}

static void close_all(void)
{
    moments_came();
    assert_int_equal(kl_owner_unregister(f.zone, plain), 0);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

static void close_with_object(void)
{
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

static struct kl_shm_info info(void)
{
    struct kl_shm_info i = {.size = sizeof(i)};

    assert_int_equal(kl_shm_object_info(shm, id, &i), 0);
    return i;
}

static kl_pfn frame_of(uint32_t page)
{
    return kl_zone_pfn(f.zone, kli_p_nr(atomic_load(kli_shm_page(kli_shm_at(shm, 0), page))));
}

/* The frame is wanted by somebody: 0 when it could be had. */
static int want_frame(kl_pfn frame)
{
    int err = kl_contig_alloc_at(f.zone, plain, frame, 1, KL_SYNC_LIGHT, NULL);

    return err ? err : kl_contig_free(f.zone, plain, frame, 1);
}

static void purge(void)
{
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    assert_true(kl_zone_shrink(f.zone, 8, KL_ASYNC) >= 0);
    assert_int_equal(info().purged, 1);
}

/* The last one out drops the page. */
static void dropped_by_the_last_one_out(void **state)
{
    (void)state;
    open_all();
    moment_at(0, KLI_T_shm_entered, 2, purge);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 2 * PAGE), -KL_ENODATA);
    assert_int_equal(info().frames, 0);
    close_with_object();
}

/* Purged while a run has the frames locked: they are not moved, but go when they are put back. */
static void dropped_by_putback(void **state)
{
    (void)state;
    open_all();
    moment_at(0, KLI_T_migrate_locked, 1, purge);
    want_frame(frame_of(0));
    assert_int_equal(info().frames, 0);
    close_with_object();
}

static kl_pfn locked;

static void unlock(void)
{
    kl_frame_unlock(f.zone, locked);
}

/* A cut that gave up: the size is as it was, the page is to go, and a run drops it. */
static void dropped_by_isolate(void **state)
{
    (void)state;
    open_all();
    locked = frame_of(1);
    assert_true(kl_frame_trylock(f.zone, shm->owner, locked));
    assert_int_equal(kl_shm_resize(shm, id, PAGE), -KL_EBUSY);
    unlock();
    assert_int_equal(info().bytes, 2 * PAGE);
    assert_int_equal(info().frames, 2);
    assert_int_equal(want_frame(locked), 0);
    assert_int_equal(info().frames, 1);
    assert_int_equal(kl_shm_read(shm, id, PAGE, buf, PAGE), 0);
    assert_int_equal(buf[0] | buf[PAGE - 1], 0);
    close_with_object();
}

static int resized;

static void cut(void)
{
    resized = kl_shm_resize(shm, id, PAGE);
}

/* Somebody copies, for longer than a cut waits. */
static void cut_in_use(void **state)
{
    (void)state;
    open_all();
    moment_at(0, KLI_T_shm_entered, 2, cut);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 2 * PAGE), 0);
    assert_true(bytes_are(buf, 2 * PAGE, 1));
    assert_int_equal(resized, -KL_EBUSY);
    assert_int_equal(info().bytes, 2 * PAGE);
    assert_int_equal(info().frames, 1); /* it was the last one out who dropped it */
    close_with_object();
}

/* ---- elsewhere ---- */

static char shelf[20 * PAGE];

static int shelf_read(void *ctx, uint64_t offset, void *to, size_t n)
{
    memcpy(to, (char *)ctx + offset, n);
    return 0;
}

static int shelf_write(void *ctx, uint64_t offset, const void *from, size_t n)
{
    memcpy((char *)ctx + offset, from, n);
    return 0;
}

static void shelf_release(void *ctx)
{
    (void)ctx;
}

static const struct kl_shm_place on_shelf = {.size = sizeof(on_shelf),
                                             .bytes = 2 * PAGE,
                                             .read = shelf_read,
                                             .write = shelf_write,
                                             .release = shelf_release};
static int moved_in;

static void move_in(void)
{
    moved_in = kl_shm_move_in(shm, id);
}

static uint64_t away_blocks(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return s.away_blocks;
}

/* In a zone that is full it gets back the block that was given for it; somebody reads for too
 * long, and all is undone. */
static void back_while_it_is_read(void **state)
{
    kl_pfn fill[64];
    unsigned n = 0;

    (void)state;
    open_all();
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, shelf), 0);
    while (kl_frame_alloc(f.zone, 0, plain, KL_NOWAIT, &fill[n]) == 0)
        n++;
    assert_int_equal(n, 48);
    moment_at(0, KLI_T_shm_entered, 1, move_in);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 2 * PAGE), 0);
    assert_int_equal(moved_in, -KL_EBUSY);
    assert_true(bytes_are(buf, 2 * PAGE, 1));
    assert_int_equal(away_blocks(), 1);
    assert_shm_ok(shm);
    move_in();
    assert_int_equal(moved_in, 0);
    assert_int_equal(away_blocks(), 0);
    while (n-- > 0)
        assert_int_equal(kl_frame_free(f.zone, plain, fill[n]), 0);
    close_with_object();
}

/* There isn't room for it with that block either: the block goes back. */
static void no_room_to_come_back(void **state)
{
    kl_pfn fill[64];
    unsigned n = 0;

    (void)state;
    open_all();
    assert_int_equal(kl_shm_resize(shm, id, 20 * PAGE), 0);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, shelf), 0);
    while (kl_frame_alloc(f.zone, 0, plain, KL_NOWAIT, &fill[n]) == 0)
        n++;
    move_in();
    assert_int_equal(moved_in, -KL_ENOMEM);
    assert_int_equal(away_blocks(), 1);
    assert_shm_ok(shm);
    while (n-- > 0)
        assert_int_equal(kl_frame_free(f.zone, plain, fill[n]), 0);
    move_in();
    assert_int_equal(moved_in, 0);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 2 * PAGE), 0);
    assert_true(bytes_are(buf, 2 * PAGE, 1));
    close_with_object();
}

/* ---- with a device ---- */

static unsigned finished, migrated;
static int detached;

static int prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    (void)objects, (void)n, (void)mode;
    return 0;
}

static void finish(const struct kl_shm_ref *objects, size_t n)
{
    (void)objects, (void)n;
    finished++;
    detached = kl_shm_detach(shm, id); /* as another thread would */
}

static int migrate(const struct kl_shm_ref *object, uint64_t page, kl_pfn dst, kl_pfn src,
                   enum kl_mode mode)
{
    (void)object, (void)page, (void)mode;
    migrated++;
    return kl_frame_copy(f.zone, dst, src);
}

static const struct kl_shm_ops ops = {.size = sizeof(ops),
                                      .name = "driver",
                                      .prepare = prepare,
                                      .finish = finish,
                                      .migrate = migrate};
static kl_shm_device_id device;

static void open_device(void)
{
    open_all();
    finished = migrated = 0;
    assert_int_equal(kl_shm_device_register(shm, &ops, NULL, &device), 0);
    assert_int_equal(kl_shm_attach(shm, id, device, NULL), 0);
}

/* Its device stays until finish has returned. */
static void attached_until_finish(void **state)
{
    (void)state;
    open_device();
    assert_int_equal(want_frame(frame_of(0)), 0);
    assert_int_equal(migrated, 1);
    assert_int_equal(finished, 1);
    assert_int_equal(detached, -KL_EBUSY);
    assert_int_equal(kl_shm_detach(shm, id), 0);
    assert_int_equal(kl_shm_device_unregister(shm, device), 0);
    close_with_object();
}

static void want_first(void)
{
    want_frame(frame_of(0));
}

/* Nobody is there any more: no hook is called, nothing is moved, and all of it goes. */
static void ended_beside_a_run(void **state)
{
    (void)state;
    open_device();
    moment_at(0, KLI_T_shm_ending, 1, want_first);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(migrated + finished, 0);
    assert_int_equal(kl_shm_device_unregister(shm, device), 0);
    close_all();
}

/* An activity that gets no frames is none. */
static void active_without_frames(void **state)
{
    kl_pfn fill[64];
    unsigned n = 0;

    (void)state;
    open_device();
    assert_int_equal(kl_shm_resize(shm, id, 8 * PAGE), 0);
    while (kl_frame_alloc(f.zone, 0, plain, KL_NOWAIT, &fill[n]) == 0)
        n++;
    assert_int_equal(kl_shm_activate(shm, id, KL_SYNC), -KL_ENOMEM);
    assert_int_equal(info().active, 0);
    while (n-- > 0)
        assert_int_equal(kl_frame_free(f.zone, plain, fill[n]), 0);
    assert_int_equal(kl_shm_deactivate(shm, id), -KL_EINVAL);
    assert_int_equal(kl_shm_detach(shm, id), 0);
    assert_int_equal(kl_shm_device_unregister(shm, device), 0);
    close_with_object();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropped_by_the_last_one_out), cmocka_unit_test(dropped_by_putback),
        cmocka_unit_test(dropped_by_isolate),          cmocka_unit_test(cut_in_use),
        cmocka_unit_test(back_while_it_is_read),       cmocka_unit_test(no_room_to_come_back),
        cmocka_unit_test(attached_until_finish),       cmocka_unit_test(ended_beside_a_run),
        cmocka_unit_test(active_without_frames),
    };

    if (!KL_DEBUG) {
        puts("1..0 # SKIP trace points call tests in debug builds only");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
