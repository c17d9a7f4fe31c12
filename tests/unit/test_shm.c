// SPDX-License-Identifier: Apache-2.0
/* Objects: contents, sizes, names, pins, what is purgeable, what is elsewhere; and each
 * allocation of theirs failing once. */
#include "support/shmdev.h"

#include <stdio.h>
#include <string.h>

enum { PAGE = 4096 };

static struct fixture f;
static struct kl_shm *shm;
static char buf[64 * PAGE], want[64 * PAGE];

static void open_order(unsigned blocks, unsigned order, unsigned page_order)
{
    struct kl_shm_config config = {.size = sizeof(config), .name = "test", .order = page_order};

    fixture_open(&f, blocks, order, 0);
    assert_int_equal(kl_shm_create(f.zone, &config, &shm), 0);
}

static void open_all(unsigned blocks, unsigned order)
{
    open_order(blocks, order, 0);
}

static void close_all(void)
{
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

static kl_shm_id make(uint64_t bytes)
{
    kl_shm_id id;

    assert_int_equal(kl_shm_object_create(shm, bytes, 0, &id), 0);
    return id;
}

static kl_shm_id make_filled(uint64_t bytes, uint64_t seed)
{
    kl_shm_id id = make(bytes);

    fill_bytes(buf, bytes, seed);
    assert_int_equal(kl_shm_write(shm, id, 0, buf, bytes), 0);
    return id;
}

static bool is_filled(kl_shm_id id, uint64_t bytes, uint64_t seed)
{
    memset(buf, 0, bytes);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, bytes), 0);
    return bytes_are(buf, bytes, seed);
}

static struct kl_shm_info info_of(kl_shm_id id)
{
    struct kl_shm_info info = {.size = sizeof(info)};

    assert_int_equal(kl_shm_object_info(shm, id, &info), 0);
    return info;
}

static struct kl_shm_stats stats(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return s;
}

static void bad_arguments(void **state)
{
    struct kl_shm_config config = {.size = sizeof(config), .order = 7};
    struct kl_shm *none;
    kl_shm_id id = {0};
    kl_pin_id pin;

    (void)state;
    open_all(2, 6);
    assert_int_equal(kl_shm_create(f.zone, &config, &none), -KL_EINVAL);
    config.order = 0;
    config.size--;
    assert_int_equal(kl_shm_create(f.zone, &config, &none), -KL_EINVAL);
    assert_int_equal(kl_shm_create(NULL, NULL, &none), -KL_EINVAL);
    assert_int_equal(kl_shm_object_create(shm, 1, KL_ZERO, &id), -KL_EINVAL);
    assert_int_equal(kl_shm_object_create(shm, UINT64_MAX, 0, &id), -KL_ERANGE);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 1), -KL_ESTALE);
    id = make(PAGE + 1);
    assert_int_equal(kl_shm_read(shm, id, 0, NULL, 1), -KL_EINVAL);
    assert_int_equal(kl_shm_read(shm, id, PAGE, buf, 2), -KL_ERANGE);
    assert_int_equal(kl_shm_write(shm, id, UINT64_MAX, buf, 2), -KL_ERANGE);
    assert_int_equal(kl_shm_read(shm, id, PAGE, buf, 1), 0);
    assert_int_equal(kl_shm_pin(shm, id, NULL, &pin), -KL_EINVAL);
    assert_int_equal(kl_shm_resize(shm, id, UINT64_MAX), -KL_ERANGE);
    assert_int_equal(kl_shm_destroy(shm), -KL_EBUSY);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    id = make(0);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), -KL_EINVAL);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Frames come with the first write, not with a read; what was never written is zero. */
static void allocated_on_first_touch(void **state)
{
    kl_shm_id id;

    (void)state;
    open_all(2, 6);
    id = make(40 * PAGE);
    memset(buf, 1, sizeof(buf));
    memset(want, 0, sizeof(want));
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 40 * PAGE), 0);
    assert_memory_equal(buf, want, 40 * PAGE);
    assert_int_equal(info_of(id).frames, 0);
    assert_int_equal(kl_shm_write(shm, id, 5 * PAGE - 3, "abcdef", 6), 0);
    assert_int_equal(info_of(id).frames, 2);
    memcpy(want + 5 * PAGE - 3, "abcdef", sizeof("abcdef")); /* its end is zero, too */
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 40 * PAGE), 0);
    assert_memory_equal(buf, want, 40 * PAGE);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(stats().frames, 0);
    close_all();
}

/* Writes, reads and sizes at random against an array. */
static void contents_and_sizes(void **state)
{
    static char model[64 * PAGE];

    (void)state;
    for (unsigned order = 0; order <= 3; order += 3) {
        struct rng rng = rng_new(order);
        uint64_t size = 10 * PAGE + 77;
        kl_shm_id id;

        open_order(4, 6, order);
        memset(model, 0, sizeof(model));
        id = make(size);
        for (unsigned step = 0; step < 3000; step++) {
            size_t at = rng_below(&rng, (uint32_t)size), n = rng_below(&rng, (uint32_t)(size - at));

            if (step % 50 == 49) {
                size = 1 + rng_below(&rng, 60 * PAGE);
                assert_int_equal(kl_shm_resize(shm, id, size), 0);
                memset(model + size, 0, sizeof(model) - size);
                assert_shm_ok(shm);
            } else if (rng_below(&rng, 2)) {
                n = n % (2 * PAGE);
                fill_bytes(model + at, n, step);
                assert_int_equal(kl_shm_write(shm, id, at, model + at, n), 0);
            } else {
                assert_int_equal(kl_shm_read(shm, id, at, buf, n), 0);
                assert_memory_equal(buf, model + at, n);
            }
            if (step % 200 == 0)
                assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), 0);
        }
        assert_int_equal(kl_shm_object_destroy(shm, id), 0);
        close_all();
    }
}

static void names_go_stale(void **state)
{
    struct kl_shm *other;
    kl_shm_id id, again, bad;

    (void)state;
    open_all(2, 6);
    assert_int_equal(kl_shm_create(f.zone, NULL, &other), 0);
    id = make_filled(PAGE, 1);
    assert_int_equal(kl_shm_read(other, id, 0, buf, 1), -KL_ESTALE);
    for (unsigned bit = 0; bit < 64; bit++) {
        bad = (kl_shm_id){id.v ^ UINT64_C(1) << bit};
        assert_int_equal(kl_shm_read(shm, bad, 0, buf, 1), -KL_ESTALE);
        assert_int_equal(kl_shm_object_destroy(shm, bad), -KL_ESTALE);
        assert_int_equal(kl_shm_get(shm, bad), -KL_ESTALE);
    }
    assert_true(is_filled(id, PAGE, 1));
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), -KL_ESTALE);
    again = make(PAGE); /* the place again */
    assert_int_not_equal(again.v, id.v);
    assert_int_equal(kl_shm_write(shm, id, 0, "x", 1), -KL_ESTALE);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), -KL_ESTALE);
    assert_int_equal(kl_shm_resize(shm, id, 1), -KL_ESTALE);
    assert_int_equal(kl_shm_object_destroy(shm, again), 0);
    assert_int_equal(kl_shm_destroy(other), 0);
    close_all();
}

/* Users go on; new ones are refused; with the last one it goes. */
static void destroyed_with_users(void **state)
{
    kl_pin_id pin, more;
    kl_shm_id id;

    (void)state;
    open_all(2, 6);
    id = make_filled(3 * PAGE, 2);
    assert_int_equal(kl_shm_put(shm, id), -KL_EINVAL);
    assert_int_equal(kl_shm_get(shm, id), 0);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), -KL_ESTALE);
    assert_int_equal(kl_shm_get(shm, id), -KL_ESTALE);
    assert_int_equal(kl_shm_pin(shm, id, "io", &more), -KL_ESTALE);
    assert_true(is_filled(id, 3 * PAGE, 2));
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), -KL_EBUSY);
    assert_int_equal(kl_shm_put(shm, id), 0);
    assert_true(is_filled(id, 3 * PAGE, 2)); /* the pin is still there */
    assert_int_equal(kl_shm_put(shm, id), -KL_EINVAL);
    assert_int_equal(kl_shm_unpin(shm, id, pin), 0);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 1), -KL_ESTALE);
    assert_int_equal(stats().objects, 0);
    assert_int_equal(stats().frames, 0);
    close_all();
}

/* Pinned, with its reason, in the way; a scatter list that leads to the contents. */
static void pins_with_a_reason(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct kl_shm_run run[3];
    kl_pin_id pin[2];
    kl_shm_id id, other;
    uint64_t next = 0, seen = 0;

    (void)state;
    open_all(4, 4);
    id = make_filled(20 * PAGE, 3);
    other = make_filled(PAGE, 4);
    assert_int_equal(kl_shm_sg(shm, id, 0, run, 3, &next), -KL_EBUSY);
    assert_int_equal(kl_shm_pin(shm, id, "a camera", &pin[0]), 0);
    assert_int_equal(kl_shm_pin(shm, id, "a disk", &pin[1]), 0);
    assert_int_equal(info_of(id).pins, 2);
    assert_int_equal(kl_shm_resize(shm, id, PAGE), -KL_EBUSY);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), -KL_EBUSY);
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
    assert_string_equal(r.culprit_why, "a camera");
    assert_int_equal(r.culprit_object, id.v);
    while (seen < 20) {
        int n = kl_shm_sg(shm, id, seen, run, 3, &next);

        assert_in_range(n, 1, 3);
        for (int i = 0; i < n; i++) {
            fill_bytes(want, 20 * PAGE, 3);
            assert_memory_equal(kl_frame_addr(f.zone, run[i].first), want + seen * PAGE,
                                run[i].frames * PAGE);
            seen += run[i].frames;
        }
        assert_int_equal(seen, next);
    }
    assert_int_equal(kl_shm_sg(shm, id, 20, run, 3, &next), -KL_ERANGE);
    assert_int_equal(kl_shm_unpin(shm, other, pin[0]), -KL_ESTALE);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_unpin(shm, id, pin[0]), 0);
    assert_int_equal(kl_shm_unpin(shm, id, pin[0]), -KL_ESTALE);
    assert_int_equal(kl_shm_unpin(shm, id, pin[1]), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, &r), 0);
    assert_true(is_filled(id, 20 * PAGE, 3));
    assert_int_equal(kl_zone_lend(f.zone, 2), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, other), 0);
    close_all();
}

/* Its owner hears of it, once; then it is usable, and zero. */
static void the_owner_hears_of_a_purge(void **state)
{
    kl_shm_id id;
    kl_pin_id pin;

    (void)state;
    open_all(2, 6);
    id = make_filled(8 * PAGE, 2);
    assert_int_equal(kl_zone_shrink(f.zone, 8, KL_SYNC), 0); /* nothing is purgeable */
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    assert_int_equal(stats().purgeable_frames, 8);
    assert_true(is_filled(id, 8 * PAGE, 2)); /* not dropped yet */
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), 0);
    assert_int_equal(kl_zone_shrink(f.zone, 8, KL_SYNC), 0);
    assert_true(is_filled(id, 8 * PAGE, 2));
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    assert_int_equal(kl_zone_shrink(f.zone, 8, KL_SYNC), 8);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 1), -KL_ENODATA);
    assert_int_equal(kl_shm_write(shm, id, 0, buf, 1), -KL_ENODATA);
    assert_int_equal(kl_shm_resize(shm, id, 1), -KL_ENODATA);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), -KL_ENODATA);
    assert_int_equal(info_of(id).generation, 0);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), -KL_ENODATA);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), 0);
    assert_int_equal(info_of(id).generation, 1);
    memset(want, 0, sizeof(want));
    assert_int_equal(kl_shm_read(shm, id, 0, buf, 8 * PAGE), 0);
    assert_memory_equal(buf, want, 8 * PAGE);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0); /* from the list */
    assert_int_equal(stats().purgeable_frames, 0);
    close_all();
}

/* Those that were offered first. */
static void the_oldest_goes_first(void **state)
{
    enum { N = 40 };
    kl_shm_id id[N];
    unsigned purged = 0;

    (void)state;
    open_all(8, 6);
    for (unsigned i = 0; i < N; i++)
        id[i] = make_filled(8 * PAGE, i);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(kl_shm_set_purgeable(shm, id[(i * 7) % N], true), 0);
    assert_true(kl_zone_shrink(f.zone, 8, KL_SYNC) >= 8);
    while (purged < N && info_of(id[(purged * 7) % N]).purged)
        purged++;
    assert_in_range(purged, 1, N - 1);
    assert_int_equal(stats().purged, purged); /* and no other */
    for (unsigned i = purged; i < N; i++)
        assert_true(is_filled(id[(i * 7) % N], 8 * PAGE, (i * 7) % N));
    assert_shm_ok(shm);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(kl_shm_object_destroy(shm, id[i]), 0);
    close_all();
}

static void purged_instead_of_moved(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_shm_id id, stays;
    kl_owner_id nobody;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 2, 6, KL_ZONE_POPULATE);
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &nobody), 0);
    id = make_filled(30 * PAGE, 1);
    stays = make_filled(10 * PAGE, 2);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    for (uint32_t block = 0; block < 2; block++) {
        pfn = kl_zone_pfn(f.zone, block * 64);
        assert_int_equal(kl_contig_alloc_at(f.zone, nobody, pfn, 64, KL_SYNC, &r), 0);
        assert_in_range(r.migrated, 0, 10); /* none of the purgeable one's */
        assert_int_equal(r.failed, 0);
        assert_int_equal(kl_contig_free(f.zone, nobody, pfn, 64), 0);
    }
    assert_true(info_of(id).purged);
    assert_int_equal(info_of(id).frames, 0);
    assert_true(is_filled(stays, 10 * PAGE, 2));
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), -KL_ENODATA);
    assert_int_equal(info_of(id).frames, 0);
    assert_int_equal(kl_owner_unregister(f.zone, nobody), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, stays), 0);
    close_all();
}

/* ---- elsewhere ---- */

struct shelf {
    char bytes[64 * PAGE];
    int fail_at; /* the nth write or read from now on; 0: none */
    bool released;
};

static int shelf_read(void *ctx, uint64_t offset, void *to, size_t n)
{
    struct shelf *s = ctx;

    if (s->fail_at && --s->fail_at == 0)
        return -KL_EIO;
    memcpy(to, s->bytes + offset, n);
    return 0;
}

static int shelf_write(void *ctx, uint64_t offset, const void *from, size_t n)
{
    struct shelf *s = ctx;

    if (s->fail_at && --s->fail_at == 0)
        return -KL_EIO;
    memcpy(s->bytes + offset, from, n);
    return 0;
}

static void shelf_release(void *ctx)
{
    ((struct shelf *)ctx)->released = true;
}

static struct shelf shelf;
static const struct kl_shm_place on_shelf = {.size = sizeof(on_shelf),
                                             .bytes = 20 * PAGE,
                                             .read = shelf_read,
                                             .write = shelf_write,
                                             .release = shelf_release};

static void away_and_back(void **state)
{
    kl_pin_id pin;
    kl_shm_id id;

    (void)state;
    open_all(8, 4);
    memset(&shelf, 0, sizeof(shelf));
    id = make_filled(18 * PAGE, 1);
    assert_int_equal(kl_shm_resize(shm, id, 20 * PAGE), 0); /* two were never touched */
    assert_int_equal(kl_shm_move_in(shm, id), -KL_ENOENT);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), -KL_EBUSY);
    assert_int_equal(info_of(id).frames, 0);
    assert_int_equal(stats().away_bytes, 20 * PAGE);
    assert_int_equal(stats().away_blocks, 2); /* of 16 pages */
    assert_shm_ok(shm);
    assert_true(is_filled(id, 18 * PAGE, 1));
    assert_int_equal(kl_shm_write(shm, id, PAGE - 1, "xyz", 3), 0);
    assert_memory_equal(shelf.bytes + PAGE - 1, "xyz", 3);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), -KL_EBUSY);
    assert_int_equal(kl_shm_resize(shm, id, PAGE), -KL_EBUSY);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), -KL_EBUSY);
    memcpy(shelf.bytes + 19 * PAGE, "somebody else", 13);
    assert_int_equal(kl_shm_move_in(shm, id), 0);
    assert_true(shelf.released);
    assert_int_equal(stats().away_bytes, 0);
    assert_int_equal(stats().away_blocks, 0);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_read(shm, id, PAGE - 1, buf, 3), 0);
    assert_memory_equal(buf, "xyz", 3);
    assert_int_equal(kl_shm_read(shm, id, 19 * PAGE, buf, 13), 0);
    assert_memory_equal(buf, "somebody else", 13);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

/* Destroyed meanwhile: nobody wants the contents, and no frames are needed. */
static void away_and_destroyed(void **state)
{
    kl_shm_id id;

    (void)state;
    open_all(8, 4);
    memset(&shelf, 0, sizeof(shelf));
    id = make_filled(20 * PAGE, 1);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_false(shelf.released);
    assert_int_equal(kl_shm_move_in(shm, id), 0);
    assert_true(shelf.released);
    assert_int_equal(kl_shm_move_in(shm, id), -KL_ESTALE);
    assert_int_equal(stats().objects, 0);
    close_all();
}

/* Every write of the place fails once, and then the budget: the object is as it was. */
static void away_undone(void **state)
{
    struct kl_zone_limits limits = {.size = sizeof(limits)};
    kl_shm_id id, fill;

    (void)state;
    open_all(8, 4);
    memset(&shelf, 0, sizeof(shelf));
    id = make_filled(20 * PAGE, 1);
    for (int nth = 1; nth <= 20; nth++) {
        shelf.fail_at = nth;
        assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), -KL_EIO);
        assert_false(shelf.released);
        assert_shm_ok(shm);
        assert_int_equal(stats().away_bytes, 0);
        assert_int_equal(stats().away_blocks, 0);
    }
    assert_true(is_filled(id, 20 * PAGE, 1));
    fill = make(100 * PAGE);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(kl_shm_write(shm, fill, (uint64_t)i * PAGE, "x", 1), 0);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf),
                     -KL_ENOMEM); /* no block to give */
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_object_destroy(shm, fill), 0);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
    /* The zone fills up: only the blocks that were given back for it are there for it. */
    fill = make(96 * PAGE);
    for (unsigned i = 0; i < 96; i++)
        assert_int_equal(kl_shm_write(shm, fill, (uint64_t)i * PAGE, "x", 1), 0);
    assert_int_equal(kl_shm_move_in(shm, id), 0);
    assert_true(is_filled(id, 20 * PAGE, 1));
    assert_int_equal(kl_shm_object_destroy(shm, fill), 0);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
    for (unsigned nth = 1; nth <= 1; nth++) {
        fault_set(FAULT_META, (int)nth);
        assert_int_equal(kl_shm_move_in(shm, id), -KL_ENOMEM);
        assert_shm_ok(shm);
        assert_true(is_filled(id, 20 * PAGE, 1));
    }
    shelf.fail_at = 3; /* a page that can't be read is zero */
    assert_int_equal(kl_shm_move_in(shm, id), 0);
    assert_int_equal(kl_shm_read(shm, id, 2 * PAGE, buf, PAGE), 0);
    memset(want, 0, PAGE);
    assert_memory_equal(buf, want, PAGE);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    limits.hard = 0;
    assert_int_equal(kl_zone_set_limits(f.zone, &limits), 0);
    close_all();
}

/* ---- failures ---- */

/* The nth allocation of metadata, or of a block's memory, fails; until none does. */
static void every_allocation_fails_once(void **state)
{
    (void)state;
    for (enum fault which = FAULT_META; which <= FAULT_POPULATE; which++) {
        bool failed = true;

        for (int nth = 1; failed; nth++) {
            kl_shm_id id;
            kl_pin_id pin;
            int err;

            open_all(4, 4);
            failed = false;
            fault_set(which, nth);
            err = kl_shm_object_create(shm, 30 * PAGE, KL_NO_MOVE, &id);
            if (!err) {
                fill_bytes(buf, 30 * PAGE, 1);
                err = kl_shm_write(shm, id, 0, buf, 30 * PAGE);
                failed |= err != 0;
                assert_true(err == 0 || err == -KL_ENOMEM);
                assert_shm_ok(shm);
                err = kl_shm_resize(shm, id, 45 * PAGE);
                failed |= err != 0;
                assert_true(err == 0 || err == -KL_ENOMEM);
                assert_shm_ok(shm);
                err = kl_shm_pin(shm, id, "io", &pin);
                failed |= err != 0;
                assert_true(err == 0 || err == -KL_ENOMEM);
                assert_shm_ok(shm);
                if (!err)
                    assert_int_equal(kl_shm_unpin(shm, id, pin), 0);
                assert_int_equal(kl_shm_object_destroy(shm, id), 0);
            } else {
                assert_int_equal(err, -KL_ENOMEM);
                failed = true;
            }
            assert_true(nth < 100);
            fault_set(which, 0);
            close_all();
        }
    }
}

/* Each request for metadata, for memory, and to give memory back, on the way out and in. */
static void every_step_of_a_trip_fails_once(void **state)
{
    (void)state;
    for (enum fault which = FAULT_META; which < FAULTS; which++) {
        for (unsigned in = 0; in < 2; in++) {
            bool failed = true;

            for (int nth = 1; failed; nth++) {
                kl_shm_id id;
                int err;

                open_all(6, 4);
                memset(&shelf, 0, sizeof(shelf));
                id = make_filled(20 * PAGE, 1);
                if (in)
                    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), 0);
                fault_set(which, nth);
                err = in ? kl_shm_move_in(shm, id) : kl_shm_move_out(shm, id, &on_shelf, &shelf);
                fault_set(which, 0);
                failed = err != 0;
                assert_shm_ok(shm);
                assert_true(is_filled(id, 20 * PAGE, 1));
                assert_int_equal(stats().away_bytes, (in ? err : !err) ? 20 * PAGE : 0);
                assert_int_equal(stats().away_blocks, (in ? err : !err) ? 2 : 0);
                if (info_of(id).away)
                    assert_int_equal(kl_shm_move_in(shm, id), 0);
                assert_true(nth < 100);
                assert_int_equal(kl_shm_object_destroy(shm, id), 0);
                close_all();
            }
        }
    }
}

static void creation_fails(void **state)
{
    bool failed = true;

    (void)state;
    fixture_open(&f, 2, 6, 0);
    for (int nth = 1; failed; nth++) {
        int err;

        fault_set(FAULT_META, nth);
        err = kl_shm_create(f.zone, NULL, &shm);
        failed = err != 0;
        assert_true(err == 0 || err == -KL_ENOMEM);
        assert_zone_ok(f.zone);
    }
    fault_set(FAULT_META, 0);
    close_all();
}

static void without_addresses(void **state)
{
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_backing backing;
    struct kl_zone *zone;
    struct kl_shm_run run[4];
    kl_shm_id id;
    kl_pin_id pin;
    uint64_t next;

    (void)state;
    assert_int_equal(kl_backing_offsets(&backing, 4 << 18, 12, 6), 0);
    config.backing = &backing;
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    assert_int_equal(kl_shm_create(zone, NULL, &shm), 0);
    id = make(5 * PAGE);
    assert_int_equal(kl_shm_write(shm, id, 0, "x", 1), -KL_ENOTSUP);
    assert_int_equal(kl_shm_move_out(shm, id, &on_shelf, &shelf), -KL_ENOTSUP);
    assert_int_equal(kl_shm_pin(shm, id, "io", &pin), 0);
    assert_in_range(kl_shm_sg(shm, id, 0, run, 4, &next), 1, 4);
    assert_int_equal(kl_shm_unpin(shm, id, pin), 0);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_destroy(shm), 0);
    assert_int_equal(kl_zone_destroy(zone), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(allocated_on_first_touch),
        cmocka_unit_test(contents_and_sizes),
        cmocka_unit_test(names_go_stale),
        cmocka_unit_test(destroyed_with_users),
        cmocka_unit_test(pins_with_a_reason),
        cmocka_unit_test(the_owner_hears_of_a_purge),
        cmocka_unit_test(the_oldest_goes_first),
        cmocka_unit_test(purged_instead_of_moved),
        cmocka_unit_test(away_and_back),
        cmocka_unit_test(away_and_destroyed),
        cmocka_unit_test(away_undone),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(every_step_of_a_trip_fails_once),
        cmocka_unit_test(creation_fails),
        cmocka_unit_test(without_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
