// SPDX-License-Identifier: Apache-2.0
/* Objects in use by a device: with hooks their blocks can be emptied, without they can't;
 * states, batches, and how long a device lives. */
#include "support/shmdev.h"

#include <string.h>

enum { PAGE = 4096, OBJECTS = 40 };

static struct fixture f;
static struct kl_shm *shm;
static struct shmdev dev;

static unsigned cpu_zero(void *ctx)
{
    (void)ctx;
    return 0;
}

/* Objects that are made one after the other are in one block, on whatever processor. */
static void one_processor(struct kl_host *host)
{
    host->cpu = cpu_zero;
    host->cpu_pop = NULL;
    host->cpu_push = NULL;
    host->cpu_fence = NULL;
}

static void open_all(unsigned blocks, unsigned order, bool hooks)
{
    fixture_host = one_processor;
    fixture_open(&f, blocks, order, KL_ZONE_POPULATE);
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
    shmdev_open(&dev, shm, hooks);
}

static void close_all(void)
{
    shmdev_close(&dev);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

static struct kl_shm_stats stats(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return s;
}

static bool all_right(void)
{
    char buf[16 * PAGE];

    for (unsigned i = 0; i < SHMDEV_OBJECTS; i++) {
        const struct shmdev_object *o = &dev.object[i];

        if (!o->id.v)
            continue;
        if (!shmdev_look(&dev, i) || o->runs == 0 ||
            kl_shm_read(shm, o->id, 0, buf, o->bytes) != 0 || !bytes_are(buf, o->bytes, o->seed))
            return false;
    }
    return true;
}

/* Objects all over the zone, between others that go: every block has some of them. */
static void scatter(void)
{
    kl_shm_id between[OBJECTS];
    char junk[8 * PAGE] = {1};

    for (unsigned i = 0; i < OBJECTS; i++) {
        assert_int_equal(shmdev_add(&dev, i, (uint64_t)(1 + i % 4) * PAGE), 0);
        assert_int_equal(kl_shm_object_create(shm, sizeof(junk), 0, &between[i]), 0);
        assert_int_equal(kl_shm_write(shm, between[i], 0, junk, sizeof(junk)), 0);
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        assert_int_equal(kl_shm_object_destroy(shm, between[i]), 0);
}

static uint32_t in_use_blocks(void)
{
    uint32_t n = 0;

    for (uint32_t b = 0; b < kl_zone_blocks(f.zone); b++) {
        struct kl_block_info info = {0};

        assert_int_equal(kl_zone_block_info(f.zone, (kl_block){b}, &info), 0);
        n += info.present && info.free < 16;
    }
    return n;
}

/* All registered with the device and in use: blocks are given back, a contiguous range is
 * made, in the same zone; no byte is wrong, and the device was quiet whenever one moved. */
static void with_hooks_blocks_can_be_emptied(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_owner_id owner;
    kl_pfn pfn;

    (void)state;
    open_all(28, 4, true);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    scatter();
    assert_in_range(in_use_blocks(), 24, 28);
    assert_int_equal(kl_contig_alloc(f.zone, owner, 64, 64, KL_SYNC, &pfn, &r), 0);
    assert_true(r.migrated > 0);
    assert_true(all_right());
    assert_int_equal(kl_zone_give_back(f.zone, 12, KL_SYNC, &r), 0);
    assert_true(r.migrated > 0);
    assert_true(all_right());
    assert_true(atomic_load(&dev.prepared) > 0);
    assert_int_equal(stats().batches, atomic_load(&dev.prepared));
    assert_true(stats().migrated > atomic_load(&dev.prepared)); /* once a batch */
    assert_shm_ok(shm);
    assert_int_equal(kl_contig_free(f.zone, owner, pfn, 64), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    assert_int_equal(kl_zone_lend(f.zone, 12), 0);
    close_all();
}

/* The same objects, pinned, as without hooks a driver has to. */
static void without_hooks_they_can_not(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_owner_id owner;
    kl_pfn pfn;

    (void)state;
    open_all(28, 4, false);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    kl_zone_set_migration(f.zone, false); /* what settles apart would hide it */
    scatter();
    kl_zone_set_migration(f.zone, true);
    assert_int_equal(kl_zone_give_back(f.zone, 12, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
    assert_string_equal(r.culprit_why, "a device");
    assert_int_equal(kl_contig_alloc(f.zone, owner, 64, 64, KL_SYNC, &pfn, &r), -KL_EBUSY);
    assert_int_equal(stats().migrated, 0);
    assert_true(all_right());
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    close_all();
}

/* Modes that must not wait: refused at once, without a word to the driver. */
static void active_is_busy_unless_sync(void **state)
{
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    for (int mode = KL_ASYNC; mode <= KL_SYNC; mode++) {
        int err;

        open_all(4, 4, true);
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(shmdev_add(&dev, i, 3 * PAGE), 0);
        assert_int_equal(in_use_blocks(), 2);
        for (unsigned i = 0; i < 8; i += 2)
            assert_int_equal(shmdev_remove(&dev, i), 0);
        err = kl_zone_give_back(f.zone, 3, (enum kl_mode)mode, &r);
        if (mode == KL_SYNC) {
            assert_int_equal(err, 0);
            assert_true(atomic_load(&dev.waits) > 0);
            assert_int_equal(kl_zone_lend(f.zone, 3), 0);
        } else {
            assert_int_equal(err, -KL_EBUSY);
            assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
            assert_string_equal(r.culprit_why, "active on its device");
            assert_int_equal(r.isolated, 0);
            assert_in_range(r.scanned, 1, 4 * 16); /* once, up to the first one of each block */
            assert_int_equal(atomic_load(&dev.prepared), 0);
            assert_true(stats().refused > 0);
            for (unsigned i = 1; i < 8; i += 2) /* idle, they move in any mode */
                assert_int_equal(kl_shm_deactivate(shm, dev.object[i].id), 0);
            assert_int_equal(kl_zone_give_back(f.zone, 3, (enum kl_mode)mode, &r), 0);
            assert_int_equal(atomic_load(&dev.waits), 0);
            assert_int_equal(kl_zone_lend(f.zone, 3), 0);
            for (unsigned i = 1; i < 8; i += 2)
                assert_int_equal(kl_shm_activate(shm, dev.object[i].id, KL_ASYNC), 0);
        }
        assert_shm_ok(shm);
        close_all();
    }
}

/* "busy", at once, and whoever asks knows why; awake they move. */
static void asleep_is_busy(void **state)
{
    struct kl_report r = {.size = sizeof(r)};

    (void)state;
    open_all(4, 4, true);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(shmdev_add(&dev, i, 3 * PAGE), 0);
    for (unsigned i = 0; i < 8; i += 2)
        assert_int_equal(shmdev_remove(&dev, i), 0);
    assert_int_equal(kl_shm_device_sleep(shm, dev.id, true), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    assert_string_equal(r.culprit_why, "asleep with its device");
    assert_int_equal(r.isolated, 0);
    assert_int_equal(atomic_load(&dev.prepared), 0);
    assert_int_equal(kl_shm_activate(shm, dev.object[1].id, KL_SYNC), -KL_EBUSY);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_device_sleep(shm, dev.id, false), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, &r), 0);
    assert_true(all_right());
    assert_int_equal(kl_zone_lend(f.zone, 3), 0);
    close_all();
}

/* The block of the device's first object. */
static kl_pfn first_block(uint32_t frames)
{
    uint32_t at = kl_pfn_nr(dev.object[0].run[0].first);

    return kl_zone_pfn(f.zone, at - at % frames);
}

static int empty_block(uint32_t frames, kl_pfn first)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_owner_id owner;
    int err;

    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    err = kl_contig_alloc_at(f.zone, owner, first, frames, KL_SYNC, &r);
    if (!err)
        assert_int_equal(kl_contig_free(f.zone, owner, first, frames), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    return err;
}

/* A driver that refuses once, whatever it says: the run ends with "busy", and nothing
 * has happened; the next one succeeds. */
static void a_prepare_that_fails(void **state)
{
    (void)state;
    open_all(4, 4, true);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(shmdev_add(&dev, i, 3 * PAGE), 0);
    atomic_store(&dev.refuse, 1);
    assert_int_equal(empty_block(16, first_block(16)), -KL_EBUSY);
    assert_int_equal(atomic_load(&dev.prepared), 0);
    assert_int_equal(stats().migrated, 0);
    assert_true(stats().refused > 0);
    assert_true(all_right());
    assert_shm_ok(shm);
    assert_int_equal(empty_block(16, first_block(16)), 0);
    assert_int_equal(stats().migrated, 12);
    assert_true(all_right());
    close_all();
}

/* Two devices, an object without one, in the same batch: each device hears of its own,
 * once; one that refuses keeps its own only. */
static void devices_in_one_batch(void **state)
{
    static struct shmdev other;
    char buf[PAGE] = {7};
    kl_shm_id plain;
    kl_pfn first;

    (void)state;
    open_all(4, 6, true);
    shmdev_open(&other, shm, true);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(shmdev_add(&dev, i, 2 * PAGE), 0);
        assert_int_equal(shmdev_add(&other, i, 2 * PAGE), 0);
    }
    assert_int_equal(kl_shm_object_create(shm, PAGE, 0, &plain), 0);
    assert_int_equal(kl_shm_write(shm, plain, 0, buf, PAGE), 0);
    atomic_store(&other.refuse, 1);
    first = first_block(64);
    assert_int_equal(empty_block(64, first), -KL_EBUSY);
    assert_int_equal(atomic_load(&dev.prepared), 1);
    assert_int_equal(atomic_load(&dev.told), 5);
    assert_int_equal(atomic_load(&other.prepared), 0);
    assert_int_equal(stats().migrated, 11);
    assert_int_equal(stats().refused, 10);
    assert_int_equal(empty_block(64, first), 0); /* whence the others have moved */
    assert_int_equal(atomic_load(&other.prepared), 1);
    assert_int_equal(atomic_load(&other.told), 5);
    assert_int_equal(atomic_load(&dev.prepared), 1); /* its frames had moved before */
    assert_true(all_right());
    for (unsigned i = 0; i < 5; i++)
        assert_true(shmdev_look(&other, i) && other.object[i].runs > 0);
    assert_int_equal(kl_shm_object_destroy(shm, plain), 0);
    shmdev_close(&other);
    close_all();
}

/* Each piece of metadata that a run needs, missing once. */
static void no_metadata_for_a_batch(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    bool failed = true;

    (void)state;
    for (int nth = 1; failed; nth++) {
        int err;

        open_all(4, 4, true);
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(shmdev_add(&dev, i, 3 * PAGE), 0);
        for (unsigned i = 0; i < 8; i += 2)
            assert_int_equal(shmdev_remove(&dev, i), 0);
        fault_set(FAULT_META, nth);
        err = kl_zone_give_back(f.zone, 3, KL_SYNC, &r);
        fault_set(FAULT_META, 0);
        assert_true(err == 0 || err == -KL_ENOMEM || err == -KL_EBUSY);
        assert_true(all_right());
        assert_shm_ok(shm);
        failed = err != 0 || nth < 6;
        assert_true(nth < 50);
        if (!err)
            assert_int_equal(kl_zone_lend(f.zone, 3), 0);
        close_all();
    }
}

static int no_prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    (void)objects, (void)n, (void)mode;
    return 0;
}

static void no_finish(const struct kl_shm_ref *objects, size_t n)
{
    (void)objects, (void)n;
}

/* Refused until nothing of it is left. */
static void how_long_a_device_lives(void **state)
{
    struct kl_shm_ops ops = {.size = sizeof(ops), .name = "x", .prepare = no_prepare};
    kl_shm_device_id one, ids[40];
    kl_shm_id id;
    unsigned n = 0;
    int x;

    (void)state;
    open_all(2, 6, true);
    assert_int_equal(kl_shm_device_register(shm, &ops, &x, &one), -KL_EINVAL);
    ops.finish = no_finish;
    assert_int_equal(kl_shm_device_register(shm, &ops, &x, &one), 0);
    assert_int_equal(kl_shm_object_create(shm, PAGE, 0, &id), 0);
    assert_int_equal(kl_shm_activate(shm, id, KL_SYNC), -KL_ENOENT);
    assert_int_equal(kl_shm_detach(shm, id), -KL_ENOENT);
    assert_int_equal(kl_shm_attach(shm, id, (kl_shm_device_id){0}, NULL), -KL_ENOENT);
    assert_int_equal(kl_shm_attach(shm, id, one, &x), 0);
    assert_int_equal(kl_shm_attach(shm, id, dev.id, &x), -KL_EEXIST);
    assert_int_equal(kl_shm_device_unregister(shm, one), -KL_EBUSY);
    assert_int_equal(kl_shm_activate(shm, id, KL_SYNC), 0);
    assert_int_equal(kl_shm_resize(shm, id, 2), -KL_EBUSY);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), -KL_EBUSY);
    assert_int_equal(kl_shm_detach(shm, id), -KL_EBUSY);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0); /* the activity is a user */
    assert_int_equal(kl_shm_device_unregister(shm, one), -KL_EBUSY);
    assert_int_equal(kl_shm_destroy(shm), -KL_EBUSY);
    assert_int_equal(kl_shm_deactivate(shm, id), 0); /* gone, and detached with that */
    assert_int_equal(kl_shm_deactivate(shm, id), -KL_ESTALE);
    assert_int_equal(kl_shm_device_unregister(shm, one), 0);
    assert_int_equal(kl_shm_device_unregister(shm, one), -KL_ENOENT);
    assert_int_equal(kl_shm_device_sleep(shm, one, true), -KL_ENOENT);
    while (kl_shm_device_register(shm, &ops, &x, &ids[n]) == 0)
        n++;
    assert_int_equal(n, 31);
    for (unsigned i = 0; i < n; i++) {
        assert_int_not_equal(ids[i].v, one.v); /* though one of them has its place */
        assert_int_equal(kl_shm_device_unregister(shm, ids[i]), 0);
    }
    close_all();
}

/* What a driver, or anybody, tries between prepare and finish. */
static struct {
    kl_shm_id id, plain, doomed;
    kl_shm_device_id device, other;
    unsigned calls;
} mid;

static int prepare_mid(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    (void)mode;
    mid.calls++;
    assert_int_equal(n, 1);
    assert_int_equal(objects[0].object.v, mid.id.v);
    assert_ptr_equal(objects[0].device, &mid);
    assert_ptr_equal(objects[0].data, &dev);
    assert_int_equal(kl_shm_detach(shm, mid.id), -KL_EBUSY);
    assert_int_equal(kl_shm_device_unregister(shm, mid.device), -KL_EBUSY);
    assert_int_equal(kl_shm_device_sleep(shm, mid.device, true), -KL_EBUSY);
    assert_int_equal(kl_shm_activate(shm, mid.id, KL_ASYNC), -KL_EBUSY);
    assert_int_equal(kl_shm_attach(shm, mid.plain, mid.other, NULL), -KL_EBUSY); /* in the batch */
    assert_int_equal(kl_shm_resize(shm, mid.doomed, PAGE), 0);   /* isolated frames are freed */
    assert_int_equal(kl_shm_object_destroy(shm, mid.doomed), 0); /* goes when the batch is over */
    return 0;
}

/* Attachment, activity and sleep wait for the end of a batch; an object may go in it. */
static void in_mid_batch(void **state)
{
    struct kl_shm_ops ops = {
        .size = sizeof(ops), .name = "mid", .prepare = prepare_mid, .finish = no_finish};
    struct kl_report r = {.size = sizeof(r)};
    char buf[3 * PAGE] = {1};
    kl_owner_id owner;
    kl_pfn first;
    kl_pin_id pin;
    struct kl_shm_run run;
    uint64_t next;

    (void)state;
    open_all(2, 6, true);
    memset(&mid, 0, sizeof(mid));
    mid.other = dev.id;
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    assert_int_equal(kl_shm_device_register(shm, &ops, &mid, &mid.device), 0);
    assert_int_equal(kl_shm_object_create(shm, PAGE, 0, &mid.id), 0);
    assert_int_equal(kl_shm_object_create(shm, PAGE, 0, &mid.plain), 0);
    assert_int_equal(kl_shm_object_create(shm, 3 * PAGE, 0, &mid.doomed), 0);
    assert_int_equal(kl_shm_write(shm, mid.id, 0, buf, PAGE), 0);
    assert_int_equal(kl_shm_write(shm, mid.plain, 0, buf, PAGE), 0);
    assert_int_equal(kl_shm_write(shm, mid.doomed, 0, buf, 3 * PAGE), 0);
    assert_int_equal(kl_shm_attach(shm, mid.id, mid.device, &dev), 0);
    assert_int_equal(kl_shm_activate(shm, mid.id, KL_SYNC), 0);
    assert_int_equal(kl_shm_sg(shm, mid.id, 0, &run, 1, &next), 1);
    assert_int_equal(kl_shm_deactivate(shm, mid.id), 0);
    first = kl_zone_pfn(f.zone, kl_pfn_nr(run.first) & ~63u);
    assert_int_equal(kl_contig_alloc_at(f.zone, owner, first, 64, KL_SYNC, &r), 0);
    assert_int_equal(mid.calls, 1);
    assert_int_equal(r.migrated, 3);
    assert_int_equal(r.freed, 2);
    assert_int_equal(kl_shm_read(shm, mid.doomed, 0, buf, 1), -KL_ESTALE);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_pin(shm, mid.plain, "io", &pin), 0);
    assert_int_equal(kl_shm_unpin(shm, mid.plain, pin), 0);
    assert_int_equal(kl_contig_free(f.zone, owner, first, 64), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    assert_int_equal(kl_shm_detach(shm, mid.id), 0);
    assert_int_equal(kl_shm_device_unregister(shm, mid.device), 0);
    assert_int_equal(kl_shm_object_destroy(shm, mid.id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, mid.plain), 0);
    close_all();
}

static atomic_bool has_lock, let_go;

/* Holds the driver's lock, and would wait for frames. */
static void *lock_holder(void *arg)
{
    pthread_mutex_lock(&dev.lock);
    atomic_store(&has_lock, true);
    while (!atomic_load(&let_go))
        sched_yield();
    pthread_mutex_unlock(&dev.lock);
    return arg;
}

/* The driver's lock is held by one who waits: prepare gives up, within its bound, and the
 * run is over; nothing waits in a circle. */
static void lock_inversion(void **state)
{
    pthread_t thread;
    kl_pfn first;

    (void)state;
    open_all(4, 4, true);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(shmdev_add(&dev, i, 3 * PAGE), 0);
    first = first_block(16);
    atomic_store(&has_lock, false);
    atomic_store(&let_go, false);
    assert_int_equal(pthread_create(&thread, NULL, lock_holder, NULL), 0);
    while (!atomic_load(&has_lock))
        sched_yield();
    assert_int_equal(empty_block(16, first), -KL_EBUSY);
    atomic_store(&let_go, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stats().migrated, 0);
    assert_int_equal(empty_block(16, first), 0);
    assert_true(all_right());
    close_all();
}

static atomic_int moved;

static int by_engine(const struct kl_shm_ref *object, uint64_t page, kl_pfn dst, kl_pfn src,
                     enum kl_mode mode)
{
    (void)object, (void)mode;
    assert_int_equal(page, 0);
    if (atomic_fetch_add(&moved, 1) < 2)
        return -KL_EAGAIN;
    return kl_frame_copy(f.zone, dst, src);
}

/* The device moves the contents itself, and is asked again when it says so. */
static void by_the_devices_own_means(void **state)
{
    struct kl_shm_ops ops = {.size = sizeof(ops),
                             .name = "engine",
                             .prepare = no_prepare,
                             .finish = no_finish,
                             .migrate = by_engine};
    kl_shm_device_id engine;
    char buf[PAGE];
    kl_shm_id id;

    (void)state;
    open_all(2, 6, true);
    assert_int_equal(kl_shm_device_register(shm, &ops, NULL, &engine), 0);
    assert_int_equal(kl_shm_object_create(shm, PAGE, 0, &id), 0);
    fill_bytes(buf, PAGE, 5);
    assert_int_equal(kl_shm_write(shm, id, 0, buf, PAGE), 0);
    assert_int_equal(kl_shm_attach(shm, id, engine, NULL), 0);
    for (unsigned i = 0; i < 2; i++) { /* one of them has it */
        struct kl_report r = {.size = sizeof(r)};
        kl_owner_id owner;
        int err;

        assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
        err = kl_contig_alloc_at(f.zone, owner, kl_zone_pfn(f.zone, 64 * i), 64, KL_SYNC, &r);
        assert_int_equal(err, 0);
        assert_int_equal(kl_contig_free(f.zone, owner, kl_zone_pfn(f.zone, 64 * i), 64), 0);
        assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    }
    assert_true(atomic_load(&moved) >= 3);
    memset(buf, 0, PAGE);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, PAGE), 0);
    assert_true(bytes_are(buf, PAGE, 5));
    assert_int_equal(kl_shm_detach(shm, id), 0);
    assert_int_equal(kl_shm_device_unregister(shm, engine), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_hooks_blocks_can_be_emptied),
        cmocka_unit_test(without_hooks_they_can_not),
        cmocka_unit_test(active_is_busy_unless_sync),
        cmocka_unit_test(asleep_is_busy),
        cmocka_unit_test(a_prepare_that_fails),
        cmocka_unit_test(devices_in_one_batch),
        cmocka_unit_test(no_metadata_for_a_batch),
        cmocka_unit_test(how_long_a_device_lives),
        cmocka_unit_test(in_mid_batch),
        cmocka_unit_test(lock_inversion),
        cmocka_unit_test(by_the_devices_own_means),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
