// SPDX-License-Identifier: Apache-2.0
/* Objects under everything at once, for KLOTSKI_TORTURE_SECONDS (default 5):
 *
 *   drivers   three threads, each with a device of its own: objects come and go, attach and
 *             detach, are active, are looked at by the device through its scatter list;
 *             the device sleeps, refuses, is unregistered and registered again
 *   pinners   pin any driver's objects, in mid-batch perhaps, and unpin them; get and put
 *   tenants   objects without a device: written, read, resized, purgeable, elsewhere
 *   movers    compact, give back, lend, make contiguous ranges, in all modes
 *   shrinker  wants frames; a worker's thread does the steps
 *
 * Contents are checked by their seeds all the while, a device's by its scatter list
 * while it has one; at the end everything is recounted.
 */
#include "support/shmdev.h"
#include "support/torture.h"

#include <string.h>

enum { PAGE = 4096, BLOCKS = 48, ORDER = 5, DRIVERS = 3, OBJECTS = 12, TENANTS = 8 };

static struct fixture f;
static struct kl_shm *shm;
static struct shmdev dev[DRIVERS];
static _Atomic uint64_t known[DRIVERS * OBJECTS]; /* ids that are, or were */
static _Atomic uint64_t looks, pins, purges, trips;

static bool is_ok(int err)
{
    return err == 0 || err == -KL_ENOMEM || err == -KL_EBUSY;
}

/* ---- drivers ---- */

static void driver_step(struct shmdev *d, unsigned nr, struct rng *rng)
{
    unsigned i = rng_below(rng, OBJECTS);
    struct shmdev_object *o = &d->object[i];

    switch (rng_below(rng, 12)) {
    case 0:
        if (o->id.v) {
            torture_expect(shmdev_remove(d, i) == 0, "an object can't be removed");
            break;
        }
        torture_expect(is_ok(shmdev_add(d, i, 1 + rng_below(rng, 6 * PAGE))), "no new object");
        if (o->id.v)
            atomic_store(&known[nr * OBJECTS + i], o->id.v);
        break;
    case 1:
        atomic_store(&d->refuse, (int)rng_below(rng, 3));
        break;
    case 2: {
        int err = kl_shm_device_sleep(shm, d->id, true);

        torture_expect(err == 0 || err == -KL_EBUSY, "an odd answer to sleep");
        if (err == 0)
            sched_yield();
        if (err == 0)
            torture_expect(kl_shm_device_sleep(shm, d->id, false) == 0, "it does not wake up");
        break;
    }
    case 3:
        if (o->id.v)
            torture_expect(kl_shm_device_unregister(shm, d->id) == -KL_EBUSY,
                           "unregistered with an object");
        break;
    case 4:
    case 5:
        if (o->id.v)
            shmdev_rest(d, i);
        break;
    default:
        if (o->id.v) {
            torture_expect(shmdev_look(d, i), "the device sees something else");
            atomic_fetch_add(&looks, 1);
        }
        break;
    }
}

static void *driver(void *arg)
{
    unsigned nr = (unsigned)(uintptr_t)arg;
    struct rng rng = rng_new(nr);

    shmdev_open(&dev[nr], shm, true);
    for (unsigned n = 0; torture_on(); n++) {
        if (n % 2000 == 1999) {
            shmdev_close(&dev[nr]);
            shmdev_open(&dev[nr], shm, true);
        }
        driver_step(&dev[nr], nr, &rng);
    }
    shmdev_close(&dev[nr]);
    return NULL;
}

/* ---- others' hands on the same objects ---- */

static bool is_gone_or_ok(int err)
{
    return is_ok(err) || err == -KL_ESTALE || err == -KL_ENODATA;
}

static void *pinner(void *arg)
{
    struct rng rng = rng_new(100 + (uintptr_t)arg);

    while (torture_on()) {
        kl_shm_id id = {atomic_load(&known[rng_below(&rng, DRIVERS * OBJECTS)])};
        struct kl_shm_run run[4];
        kl_pin_id pin;
        uint64_t next;
        int err;

        if (rng_below(&rng, 3) == 0) {
            err = kl_shm_get(shm, id);
            torture_expect(is_gone_or_ok(err), "an odd answer to get");
            sched_yield();
            if (!err)
                torture_expect(kl_shm_put(shm, id) == 0, "a reference is gone");
            continue;
        }
        err = kl_shm_pin(shm, id, "torture", &pin);
        torture_expect(is_gone_or_ok(err), "an odd answer to pin");
        if (err)
            continue;
        err = kl_shm_sg(shm, id, 0, run, 4, &next);
        torture_expect(err > 0 || err == -KL_EBUSY, "no scatter list of a pinned object");
        sched_yield();
        torture_expect(kl_shm_unpin(shm, id, pin) == 0, "a pin is gone");
        atomic_fetch_add(&pins, 1);
    }
    return NULL;
}

/* ---- tenants ---- */

struct shelf {
    char bytes[8 * PAGE];
};

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
    free(ctx);
}

static const struct kl_shm_place on_shelf = {.size = sizeof(on_shelf),
                                             .bytes = 8 * PAGE,
                                             .read = shelf_read,
                                             .write = shelf_write,
                                             .release = shelf_release};

struct tenant {
    kl_shm_id id;
    uint64_t bytes, seed;
    bool written, purgeable, away;
};

static void tenant_write(struct tenant *t, struct rng *rng)
{
    char buf[8 * PAGE];
    int err;

    t->seed = rng->state;
    fill_bytes(buf, t->bytes, t->seed);
    err = kl_shm_write(shm, t->id, 0, buf, t->bytes);
    torture_expect(is_ok(err) || (err == -KL_ENODATA && t->purgeable), "an odd answer to write");
    t->written = err == 0;
}

static void tenant_read(const struct tenant *t)
{
    char buf[8 * PAGE];
    int err = kl_shm_read(shm, t->id, 0, buf, t->bytes);

    torture_expect(is_ok(err) || (err == -KL_ENODATA && t->purgeable), "an odd answer to read");
    if (err == 0 && t->written)
        torture_expect(bytes_are(buf, t->bytes, t->seed), "contents are wrong");
}

static void tenant_purgeable(struct tenant *t)
{
    int err = kl_shm_set_purgeable(shm, t->id, !t->purgeable);

    torture_expect(is_ok(err) || (err == -KL_ENODATA && t->purgeable), "an odd answer to madvise");
    if (err == -KL_ENODATA) {
        t->written = false;
        atomic_fetch_add(&purges, 1);
    }
    if (err != -KL_EBUSY)
        t->purgeable = !t->purgeable;
}

static void tenant_trip(struct tenant *t)
{
    struct shelf *shelf;
    int err;

    if (t->away) {
        err = kl_shm_move_in(shm, t->id);
        t->away = err != 0;
    } else {
        shelf = calloc(1, sizeof(*shelf));
        err = kl_shm_move_out(shm, t->id, &on_shelf, shelf);
        t->away = err == 0;
        if (err)
            free(shelf);
        else
            atomic_fetch_add(&trips, 1);
    }
    torture_expect(is_ok(err) || (err == -KL_ENODATA && t->purgeable), "an odd answer to a move");
}

static void tenant_new(struct tenant *t, struct rng *rng)
{
    *t = (struct tenant){.bytes = 1 + rng_below(rng, 8 * PAGE)};
    if (kl_shm_object_create(shm, t->bytes, 0, &t->id) != 0)
        t->id.v = 0;
}

/* Refused, what was to be cut off may be zero. */
static void tenant_resize(struct tenant *t, uint64_t bytes)
{
    int err = kl_shm_resize(shm, t->id, bytes);

    if (err == 0) {
        t->written &= bytes <= t->bytes;
        t->bytes = bytes;
    } else if (err == -KL_EBUSY) {
        t->written &= bytes >= t->bytes;
    }
}

static void tenant_end(struct tenant *t)
{
    kl_shm_id id = t->id;
    int err;

    torture_expect(kl_shm_object_destroy(shm, id) == 0, "can't be destroyed");
    while (t->away && (err = kl_shm_move_in(shm, id)) != 0) {
        torture_expect(is_ok(err), "an odd answer to the last move");
        if (!is_ok(err))
            break;
    }
    t->id.v = 0;
}

static void *tenants(void *arg)
{
    struct rng rng = rng_new(200 + (uintptr_t)arg);
    struct tenant tenant[TENANTS] = {{{0}, 0, 0, false, false, false}};

    while (torture_on()) {
        struct tenant *t = &tenant[rng_below(&rng, TENANTS)];
        uint64_t bytes = 1 + rng_below(&rng, 8 * PAGE);

        if (!t->id.v) {
            tenant_new(t, &rng);
            continue;
        }
        switch (rng_below(&rng, 10)) {
        case 0:
            tenant_end(t);
            break;
        case 1:
            tenant_resize(t, bytes);
            break;
        case 2:
            tenant_purgeable(t);
            break;
        case 3:
            tenant_trip(t);
            break;
        case 4:
        case 5:
            tenant_write(t, &rng);
            break;
        default:
            tenant_read(t);
            break;
        }
    }
    for (unsigned i = 0; i < TENANTS; i++) {
        if (tenant[i].id.v)
            tenant_end(&tenant[i]);
    }
    return NULL;
}

/* ---- those who want blocks ---- */

static void want_blocks(kl_owner_id owner, struct rng *rng)
{
    enum kl_mode mode = (enum kl_mode)rng_below(rng, 3);
    uint32_t n = 1 + rng_below(rng, 4);
    kl_pfn first;

    switch (rng_below(rng, 3)) {
    case 0:
        kl_zone_compact(f.zone, mode, rng_below(rng, 200), NULL);
        break;
    case 1:
        if (kl_zone_give_back(f.zone, n, mode, NULL) == 0)
            torture_expect(kl_zone_lend(f.zone, n) == 0, "blocks are not lent again");
        break;
    default:
        if (kl_contig_alloc(f.zone, owner, n << ORDER, 1u << ORDER, mode, &first, NULL) == 0)
            torture_expect(kl_contig_free(f.zone, owner, first, n << ORDER) == 0,
                           "a range is gone");
        break;
    }
}

static void *mover(void *arg)
{
    struct rng rng = rng_new(300 + (uintptr_t)arg);
    kl_owner_id owner;

    torture_expect(kl_owner_register(f.zone, NULL, NULL, &owner) == 0, "no owner");
    while (torture_on())
        want_blocks(owner, &rng);
    torture_expect(kl_owner_unregister(f.zone, owner) == 0, "a range was left");
    return NULL;
}

static void *shrinker(void *arg)
{
    struct rng rng = rng_new(400);

    (void)arg;
    while (torture_on()) {
        torture_expect(kl_zone_shrink(f.zone, rng_below(&rng, 20), KL_ASYNC) >= 0, "refused");
        for (unsigned i = 0; i < 50; i++)
            sched_yield();
    }
    return NULL;
}

static const char *kind_missing(const struct kl_shm_stats *s)
{
    const struct torture_count counts[] = {
        {s->migrated, "nothing was moved"},
        {s->batches, "there was no batch"},
        {atomic_load(&pins), "nothing was pinned"},
        {atomic_load(&purges), "nothing was purged"},
        {atomic_load(&trips), "no object went elsewhere and came back"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static const char *missing(void)
{
    struct kl_shm_stats s = {.size = sizeof(s)};

    kl_shm_get_stats(shm, &s);
    return kind_missing(&s);
}

static void objects_under_everything(void **state)
{
    static void *(*const bodies[])(void *) = {driver,  driver,  driver, pinner, pinner,
                                              tenants, tenants, mover,  mover,  shrinker};
    struct kl_shm_stats s = {.size = sizeof(s)};
    struct kl_linux_worker *worker;

    (void)state;
    fixture_open(&f, BLOCKS, ORDER, 0);
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    kl_linux_worker_destroy(worker);
    kl_shm_get_stats(shm, &s);
    print_message(
        "# %llu operations, %llu looks, %llu pins, %llu purges, %llu trips; %llu moved in "
        "%llu batches, %llu refused\n",
        torture_ops(), (unsigned long long)atomic_load(&looks),
        (unsigned long long)atomic_load(&pins), (unsigned long long)atomic_load(&purges),
        (unsigned long long)atomic_load(&trips), (unsigned long long)s.migrated,
        (unsigned long long)s.batches, (unsigned long long)s.refused);
    assert_int_equal(s.frames, 0);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(objects_under_everything)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
