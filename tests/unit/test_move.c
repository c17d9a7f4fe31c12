// SPDX-License-Identifier: Apache-2.0
/* Owners, migration, compaction, giving back. */
#include "support/mover.h"
#include "support/shake.h"

#include <string.h>
#include <time.h>

static struct mover m;

static void gives_blocks_back_whole(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};
    struct kl_zone_stats s = {.size = sizeof(s)};
    unsigned free_item = 0;

    fixture_open(&f, 8, 9, 0);
    mover_open(&m, f.zone, (enum mover_kind)(uintptr_t)*state);
    mover_scatter(&m, 4);
    assert_int_equal(kl_linux_backing_resident(f.memory), 16 << 20);
    assert_int_equal(kl_zone_trim(f.zone, 0), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 6, KL_SYNC, &r), 0);
    assert_int_equal(r.blocks, 6);
    assert_int_equal(r.migrated, 6 * 128);
    assert_int_equal(kl_linux_backing_resident(f.memory), 4 << 20);
    mover_all_right(&m);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.given_blocks, 6);
    assert_int_equal(s.migrated, 6 * 128);
    assert_zone_ok(f.zone);
    /* What was given does not come back by itself ... */
    for (unsigned i = 0; i < 4096; i++)
        free_item = m.item[i].pfn.v ? free_item : i;
    assert_int_equal(mover_alloc(&m, free_item, 0, KL_MOVABLE), -KL_ENOMEM);
    assert_int_equal(kl_zone_lend(f.zone, 7), -KL_EINVAL);
    assert_int_equal(kl_zone_lend(f.zone, 6), 0);
    assert_int_equal(mover_alloc(&m, free_item, 0, KL_MOVABLE), 0); /* ... but when it is lent */
    mover_close(&m);
    fixture_close(&f);
}

static void refuses_bad_requests(void **state)
{
    struct fixture f;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_give_back(f.zone, 0, KL_SYNC, NULL), -KL_EINVAL);
    assert_int_equal(kl_zone_give_back(f.zone, 5, KL_SYNC, NULL), -KL_EINVAL);
    assert_int_equal(kl_zone_give_back(f.zone, 1, (enum kl_mode)7, NULL), -KL_EINVAL);
    assert_int_equal(kl_zone_lend(f.zone, 0), -KL_EINVAL);
    assert_int_equal(kl_zone_lend(f.zone, 1), -KL_EINVAL);
    assert_int_equal(kl_zone_compact(f.zone, (enum kl_mode)3, 0, NULL), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 0, 1, KL_SYNC, &pfn, NULL), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 257, 1, KL_SYNC, &pfn, NULL), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 8, 3, KL_SYNC, &pfn, NULL), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 8, 0, KL_SYNC, &pfn, NULL), -KL_EINVAL);
    assert_int_equal(kl_contig_alloc(f.zone, (kl_owner_id){9}, 8, 1, KL_SYNC, &pfn, NULL),
                     -KL_EINVAL);
    assert_int_equal(kl_frame_pin(f.zone, m.owner, kl_zone_pfn(f.zone, 3)), -KL_EINVAL);
    assert_int_equal(kl_frame_unpin(f.zone, m.owner, kl_zone_pfn(f.zone, 3)), -KL_EINVAL);
    assert_zone_ok(f.zone);
    mover_close(&m);
    fixture_close(&f);
}

/* One pinned frame in every block: nothing can be taken, and somebody is named. */
static void one_pin_in_every_block(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};
    struct kl_zone_stats s = {.size = sizeof(s)};
    kl_pfn first;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 8);
    for (unsigned nr = 0; nr < 256; nr += 64)
        assert_int_equal(mover_pin(&m, mover_at(&m, nr)), 0);
    assert_int_equal(kl_frame_free(f.zone, m.owner, kl_zone_pfn(f.zone, 64)), -KL_EBUSY);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(kl_frame_block(f.zone, r.culprit).v, kl_pfn_nr(r.culprit) / 64);
    assert_int_equal(r.culprit_owner.v, m.owner.v);
    assert_string_equal(r.culprit_name, "mover");
    assert_int_equal(kl_pfn_nr(r.culprit) % 64, 0);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r), -KL_EBUSY);
    assert_int_equal(kl_linux_backing_resident(f.memory), 4 * 64 * 4096);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.stuck_frames, 4);
    assert_zone_ok(f.zone);
    mover_unpin(&m, mover_at(&m, 64));
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), 0);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

static void migration_off_fails(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_NO_MIGRATION);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 4);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.isolated, 0);
    kl_zone_set_migration(f.zone, true);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, &r), 0);
    mover_close(&m);
    fixture_close(&f);
}

static void too_little_room_fails(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    fixture_open(&f, 4, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_ENOMEM);
    assert_int_equal(r.migrated, 0);
    assert_zone_ok(f.zone);
    mover_close(&m);
    fixture_close(&f);
}

/* Absent blocks are given first, and cost nothing. */
static void absent_blocks_go_first(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 7, KL_SYNC, &r), 0);
    assert_int_equal(r.blocks, 0);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_ENOMEM);
    assert_int_equal(kl_zone_lend(f.zone, 7), 0);
    mover_close(&m);
    fixture_close(&f);
}

static void release_fails_cleanly(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, 4, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 8);
    fault_set(FAULT_RELEASE, 2); /* the second of three */
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, NULL), -KL_EIO);
    assert_zone_ok(f.zone);
    fault_set(FAULT_RELEASE, 1);
    assert_int_equal(kl_zone_trim(f.zone, 0), -KL_EIO);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, NULL), 0);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* Every allocation of metadata on the way fails once; all is as it was. */
static void metadata_fails_cleanly(void **state)
{
    struct fixture f;
    kl_pfn first;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 8);
    for (int nth = 1; nth <= 3; nth++) {
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, NULL), -KL_ENOMEM);
        fault_set(FAULT_META, 0);
        assert_zone_ok(f.zone);
    }
    fault_set(FAULT_META, 1); /* what finds the window; the plan's it asks for again */
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, NULL), -KL_ENOMEM);
    for (int nth = 2; nth <= 3; nth++) {
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, NULL), 0);
        fault_set(FAULT_META, 0);
        assert_zone_ok(f.zone);
        assert_int_equal(kl_contig_free(f.zone, m.owner, first, 64), 0);
        mover_all_right(&m);
    }
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), -KL_ENOMEM);
    assert_zone_ok(f.zone);
    mover_close(&m);
    fixture_close(&f);
}

/* Owners that refuse, are busy or fail: cleanly undone, contents untouched. */
static void difficult_owners(void **state)
{
    atomic_int *knobs[] = {&m.refuse, &m.busy, &m.fail, &m.fail_prepare};

    (void)state;
    for (unsigned kind = MOVER_SINGLE; kind <= MOVER_ASYNC; kind++) {
        for (unsigned k = 0; k < 4; k++) {
            struct kl_report r = {.size = sizeof(r)};
            struct fixture f;

            if (k == 3 && kind == MOVER_SINGLE)
                continue;
            fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
            mover_open(&m, f.zone, (enum mover_kind)kind);
            mover_scatter(&m, 4);
            atomic_store(knobs[k], 100);
            assert_int_equal(kl_zone_give_back(f.zone, 2, KL_ASYNC, &r), -KL_EBUSY);
            assert_int_equal(r.migrated, 0);
            assert_int_equal(r.isolated, r.put_back);
            assert_int_equal(r.culprit_owner.v, m.owner.v);
            assert_zone_ok(f.zone);
            atomic_store(knobs[k], k == 2 ? 0 : 50);
            assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, &r), 0);
            assert_int_equal(r.isolated, r.put_back + r.migrated);
            mover_all_right(&m);
            mover_close(&m);
            fixture_close(&f);
        }
    }
}

static void compacts_to_the_optimum(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};
    struct kl_zone_stats s = {.size = sizeof(s)};

    (void)state;
    fixture_open(&f, 16, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 4);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 16, &r), -KL_EAGAIN); /* a budget */
    assert_true(r.migrated >= 16 && r.migrated < 64);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, &r), 0);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.used_frames, 256);
    assert_int_equal(s.free_blocks, 12);
    assert_int_equal(s.migrated, 12 * 16); /* what stood in the blocks that are free now */
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* Allocations of several frames move as one. */
static void higher_orders_move(void **state)
{
    struct fixture f;
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    fixture_open(&f, 6, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_ASYNC);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(mover_alloc(&m, i, i % 4, KL_MOVABLE), 0);
    for (unsigned i = 0; i < 40; i += 3)
        assert_true(mover_free(&m, i));
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, &r), 0);
    mover_all_right(&m);
    assert_zone_ok(f.zone);
    mover_close(&m);
    fixture_close(&f);
}

/* The owner frees a frame while it is isolated: no callback any more. */
static kl_owner_id freeing_owner;
static struct kl_zone *freeing_zone;
static unsigned late_callbacks;

static bool isolate_and_free(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)mode;
    assert_int_equal(kl_frame_free(freeing_zone, freeing_owner, frame), 0);
    return true;
}

static int late_migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)dst, (void)src, (void)mode;
    late_callbacks++;
    return 0;
}

static void late_putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
    late_callbacks++;
}

/* Two blocks full of one owner's frames, but for those freed: `first` and `second`
 * are left in the two. */
static void full_but(struct fixture *f, const struct kl_owner_ops *ops, uint32_t first,
                     uint32_t second)
{
    kl_pfn pfn;

    fixture_open(f, 2, 6, KL_ZONE_POPULATE);
    freeing_zone = f->zone;
    late_callbacks = 0;
    assert_int_equal(kl_owner_register(f->zone, ops, NULL, &freeing_owner), 0);
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(kl_frame_alloc(f->zone, 0, freeing_owner, KL_MOVABLE, &pfn), 0);
    for (uint32_t nr = 0; nr < 128; nr++) {
        if (nr % 64 < 64 - (nr < 64 ? first : second))
            assert_int_equal(kl_frame_free(f->zone, freeing_owner, kl_zone_pfn(f->zone, nr)), 0);
    }
}

/* Whatever is left of them goes, wherever it is. */
static void close_full(struct fixture *f)
{
    for (uint32_t nr = 0; nr < 128; nr++)
        (void)kl_frame_free(f->zone, freeing_owner, kl_zone_pfn(f->zone, nr));
    assert_int_equal(kl_owner_unregister(f->zone, freeing_owner), 0);
    fixture_close(f);
}

static void freed_while_isolated(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "freeing",
                               .isolate = isolate_and_free,
                               .migrate = late_migrate,
                               .putback = late_putback};
    struct fixture f;

    (void)state;
    full_but(&f, &ops, 64, 63);
    (void)kl_zone_give_back(f.zone, 1, KL_SYNC, NULL);
    (void)kl_zone_compact(f.zone, KL_SYNC, 0, NULL);
    assert_int_equal(late_callbacks, 0);
    assert_zone_ok(f.zone);
    close_full(&f);
}

/* The owner frees the destination before the framework has let go of it: found by
 * the torture test, when the framework insisted on a living destination. */
static int migrate_and_free(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)src, (void)mode;
    assert_int_equal(kl_frame_free(freeing_zone, freeing_owner, dst), 0);
    return 0;
}

static bool isolate_always(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)frame, (void)mode;
    return true;
}

static void freed_before_it_is_published(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "hasty",
                               .isolate = isolate_always,
                               .migrate = migrate_and_free,
                               .putback = late_putback};
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    full_but(&f, &ops, 32, 28);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), 0);
    assert_int_equal(r.migrated, 28);
    assert_zone_ok(f.zone);
    close_full(&f);
}

/* The owner frees the source, with a pfn that it read a moment ago, while its
 * migrate is under way: freed is what happened, and nothing breaks. */
static int migrate_a_freed_one(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)dst, (void)mode;
    assert_int_equal(kl_frame_free(freeing_zone, freeing_owner, src), 0);
    return 0;
}

static void freed_under_its_migrate(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "careless",
                               .isolate = isolate_always,
                               .migrate = migrate_a_freed_one,
                               .putback = late_putback};
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    full_but(&f, &ops, 32, 28);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), 0);
    assert_int_equal(r.freed, 28);
    assert_int_equal(r.failed + r.put_back + r.migrated, 0);
    assert_int_equal(late_callbacks, 0);
    assert_zone_ok(f.zone);
    close_full(&f);
}

/* An owner whose finish is still to come can't leave, though it has no frame. */
static int leave_result;

static void *try_to_leave(void *arg)
{
    (void)arg;
    for (uint32_t nr = 0; nr < 128; nr++)
        (void)kl_frame_free(freeing_zone, freeing_owner, kl_zone_pfn(freeing_zone, nr));
    leave_result = kl_owner_unregister(freeing_zone, freeing_owner);
    return NULL;
}

static int copy_it(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)mode;
    return kl_frame_copy(freeing_zone, dst, src);
}

static int prepare_nothing(void *ctx, const kl_pfn *frames, size_t n, enum kl_mode mode)
{
    (void)ctx, (void)frames, (void)n, (void)mode;
    return 0;
}

static void finish_late(void *ctx, const kl_pfn *frames, size_t n)
{
    pthread_t thread;

    (void)ctx, (void)frames, (void)n;
    pthread_create(&thread, NULL, try_to_leave, NULL);
    pthread_join(thread, NULL);
}

static void no_leaving_before_finish(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "leaving",
                               .isolate = isolate_always,
                               .migrate = copy_it,
                               .putback = late_putback,
                               .prepare = prepare_nothing,
                               .finish = finish_late};
    struct fixture f;

    (void)state;
    full_but(&f, &ops, 4, 2);
    leave_result = 1;
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, NULL), 0);
    assert_int_equal(leave_result, -KL_EBUSY);
    assert_int_equal(kl_owner_unregister(f.zone, freeing_owner), 0);
    fixture_close(&f);
}

/* An owner with one frame, which moves to and fro: it is never told that it has
 * none.  (The walk over the words could be passed by the frame.) */
static atomic_bool shaking;

static void *shake_on(void *arg)
{
    struct kl_report r = {.size = sizeof(r)};

    (void)arg;
    while (atomic_load(&shaking)) {
        shake_block(freeing_zone, 0, KL_SYNC, &r);
        shake_block(freeing_zone, 1, KL_SYNC, &r);
    }
    return NULL;
}

static void no_leaving_with_a_moving_frame(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "moving",
                               .isolate = isolate_always,
                               .migrate = copy_it,
                               .putback = late_putback};
    struct fixture f;
    pthread_t thread;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 2, 6, KL_ZONE_POPULATE);
    freeing_zone = f.zone;
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &freeing_owner), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, freeing_owner, KL_MOVABLE, &pfn), 0);
    atomic_store(&shaking, true);
    pthread_create(&thread, NULL, shake_on, NULL);
    for (int i = 0; i < 200000; i++) {
        if (kl_owner_unregister(f.zone, freeing_owner) != -KL_EBUSY)
            fail_msg("left with a frame, at try %d", i);
    }
    atomic_store(&shaking, false);
    pthread_join(thread, NULL);
    close_full(&f);
}

/* Two at a time whose memory will not go: each lifts its own fences only. */
static void *give_and_lend(void *arg)
{
    struct fixture *f = arg;

    while (atomic_load(&shaking)) {
        fault_set(FAULT_RELEASE, 1);
        if (kl_zone_give_back(f->zone, 2, KL_SYNC, NULL) == 0)
            (void)kl_zone_lend(f->zone, 2);
        (void)kl_zone_trim(f->zone, 0);
    }
    return NULL;
}

static void failed_releases_keep_their_fences(void **state)
{
    struct timespec nap = {.tv_nsec = 400000000};
    pthread_t thread[3];
    struct fixture f;

    (void)state;
    fixture_open(&f, 6, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 8);
    atomic_store(&shaking, true);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, give_and_lend, &f);
    nanosleep(&nap, NULL);
    atomic_store(&shaking, false);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    fault_set(FAULT_RELEASE, 0);
    assert_zone_ok(f.zone);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* The name is the library's own: the owner's may go as soon as it is registered. */
static void names_are_copied(void **state)
{
    char *name = strdup("a name that is longer than what is kept of it");
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = name};
    struct kl_report r = {.size = sizeof(r)};
    struct kl_owner_stats s = {.size = sizeof(s)};
    struct fixture f;
    kl_owner_id owner;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 1, 6, KL_ZONE_POPULATE);
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &owner), 0);
    free(name);
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 0, &pfn), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_string_equal(r.culprit_name, "a name that is longer than what");
    assert_int_equal(kl_owner_get_stats(f.zone, owner, &s), 0);
    assert_string_equal(s.name, r.culprit_name);
    assert_int_equal(kl_frame_free(f.zone, owner, pfn), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    fixture_close(&f);
}

static void owners_are_checked(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = "half", .migrate = late_migrate};
    struct fixture f;
    kl_owner_id owner, all[255];

    (void)state;
    fixture_open(&f, 1, 4, 0);
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &owner), -KL_EINVAL);
    ops.size--;
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &owner), -KL_EINVAL);
    for (unsigned i = 0; i < 255; i++)
        assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &all[i]), 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), -KL_ENOSPC);
    assert_int_equal(kl_zone_destroy(f.zone), -KL_EBUSY);
    for (unsigned i = 0; i < 255; i++)
        assert_int_equal(kl_owner_unregister(f.zone, all[i]), 0);
    fixture_close(&f);
}

/* A block with a pin can't be emptied, so it is filled, though it is the sparsest. */
static void stuck_blocks_are_filled_first(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned nr = 1; nr < 64; nr++) /* one frame in block 0, 20 in 1, all in 2, 60 in 3 */
        assert_true(mover_free(&m, mover_at(&m, nr)));
    for (unsigned nr = 64; nr < 108; nr++)
        assert_true(mover_free(&m, mover_at(&m, nr)));
    for (unsigned nr = 192; nr < 196; nr++)
        assert_true(mover_free(&m, mover_at(&m, nr)));
    assert_int_equal(mover_pin(&m, mover_at(&m, 0)), 0);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, &r), 0);
    assert_int_equal(r.blocks, 1);
    assert_int_equal(r.migrated, 20);
    assert_zone_ok(f.zone);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"gives_back_single", gives_blocks_back_whole, NULL, NULL, (void *)MOVER_SINGLE},
        {"gives_back_batch", gives_blocks_back_whole, NULL, NULL, (void *)MOVER_BATCH},
        {"gives_back_async", gives_blocks_back_whole, NULL, NULL, (void *)MOVER_ASYNC},
        cmocka_unit_test(refuses_bad_requests),
        cmocka_unit_test(one_pin_in_every_block),
        cmocka_unit_test(migration_off_fails),
        cmocka_unit_test(too_little_room_fails),
        cmocka_unit_test(absent_blocks_go_first),
        cmocka_unit_test(release_fails_cleanly),
        cmocka_unit_test(metadata_fails_cleanly),
        cmocka_unit_test(difficult_owners),
        cmocka_unit_test(compacts_to_the_optimum),
        cmocka_unit_test(higher_orders_move),
        cmocka_unit_test(freed_while_isolated),
        cmocka_unit_test(freed_before_it_is_published),
        cmocka_unit_test(freed_under_its_migrate),
        cmocka_unit_test(no_leaving_before_finish),
        cmocka_unit_test(no_leaving_with_a_moving_frame),
        cmocka_unit_test(failed_releases_keep_their_fences),
        cmocka_unit_test(names_are_copied),
        cmocka_unit_test(owners_are_checked),
        cmocka_unit_test(stuck_blocks_are_filled_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
