// SPDX-License-Identifier: Apache-2.0
#include "support/shmdev.h"

#include <stdlib.h>
#include <string.h>

static void breach(struct shmdev *d, const char *what)
{
    const char *none = NULL;

    atomic_compare_exchange_strong(&d->broken, &none, what);
}

/* The driver's own lock, tried, with a bound: who has it may wait for frames. */
static bool lock_bounded(struct shmdev *d)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (pthread_mutex_trylock(&d->lock) == 0)
            return true;
        sched_yield();
    }
    return false;
}

static int prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    struct shmdev *d = objects[0].device;

    if (atomic_load(&d->refuse) > 0 && atomic_fetch_sub(&d->refuse, 1) > 0)
        return -KL_EAGAIN; /* the library says "busy" all the same */
    if (!lock_bounded(d))
        return -KL_EBUSY;
    for (size_t i = 0; i < n; i++) {
        struct shmdev_object *o = objects[i].data;

        if (objects[i].device != d || o->id.v != objects[i].object.v)
            breach(d, "prepare for another object");
        o->runs = 0; /* off the bus */
    }
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&d->prepared, 1);
    atomic_fetch_add(&d->told, (unsigned)n);
    atomic_fetch_add(&d->waits, mode == KL_SYNC);
    return 0;
}

/* Under the lock. */
static int map(struct shmdev *d, struct shmdev_object *o)
{
    uint64_t next;
    int n = kl_shm_sg(d->shm, o->id, 0, o->run, SHMDEV_RUNS, &next);

    if (n < 0)
        return n;
    o->runs = (unsigned)n;
    if (next * kl_shm_page_bytes(d->shm) < o->bytes)
        breach(d, "a scatter list that is too short");
    return 0;
}

static void finish(const struct kl_shm_ref *objects, size_t n)
{
    struct shmdev *d = objects[0].device;

    pthread_mutex_lock(&d->lock); /* nobody holds it and waits for frames (shmdev_add) */
    for (size_t i = 0; i < n; i++) {
        struct shmdev_object *o = objects[i].data;

        if (o->used)
            map(d, o); /* another batch may have it: then its finish does */
    }
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&d->finished, 1);
}

void shmdev_open(struct shmdev *d, struct kl_shm *shm, bool hooks)
{
    static const struct kl_shm_ops ops = {
        .size = sizeof(ops), .name = "shmdev", .prepare = prepare, .finish = finish};

    memset(d, 0, sizeof(*d));
    d->shm = shm;
    d->hooks = hooks;
    pthread_mutex_init(&d->lock, NULL);
    if (hooks)
        assert_int_equal(kl_shm_device_register(shm, &ops, d, &d->id), 0);
}

void shmdev_close(struct shmdev *d)
{
    for (unsigned i = 0; i < SHMDEV_OBJECTS; i++) {
        if (d->object[i].id.v)
            assert_int_equal(shmdev_remove(d, i), 0);
    }
    if (d->hooks)
        assert_int_equal(kl_shm_device_unregister(d->shm, d->id), 0);
    assert_int_equal(atomic_load(&d->prepared), atomic_load(&d->finished));
    if (atomic_load(&d->broken))
        fail_msg("device: %s", atomic_load(&d->broken));
    pthread_mutex_destroy(&d->lock);
}

/* The device is given the addresses. */
static int use(struct shmdev *d, struct shmdev_object *o)
{
    int err = d->hooks ? kl_shm_attach(d->shm, o->id, d->id, o) : 0;

    if (err)
        return err;
    err = d->hooks ? kl_shm_activate(d->shm, o->id, KL_SYNC)
                   : kl_shm_pin(d->shm, o->id, "a device", &o->pin);
    if (err && d->hooks)
        while (kl_shm_detach(d->shm, o->id) == -KL_EBUSY)
            sched_yield();
    if (err)
        return err;
    pthread_mutex_lock(&d->lock);
    o->used = true;
    if (map(d, o) != 0)
        o->runs = 0; /* on its way: finish maps it */
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static int fill(struct shmdev *d, const struct shmdev_object *o)
{
    void *buf = malloc(o->bytes);
    int err;

    fill_bytes(buf, o->bytes, o->seed);
    err = kl_shm_write(d->shm, o->id, 0, buf, o->bytes);
    free(buf);
    return err;
}

int shmdev_add(struct shmdev *d, unsigned i, uint64_t bytes)
{
    struct shmdev_object *o = &d->object[i];
    kl_shm_id id;
    int err = kl_shm_object_create(d->shm, bytes, 0, &id);

    if (err)
        return err;
    pthread_mutex_lock(&d->lock);
    o->id = id;
    o->bytes = bytes;
    o->seed = id.v;
    o->runs = 0;
    o->used = false;
    pthread_mutex_unlock(&d->lock);
    err = fill(d, o);
    if (!err)
        err = use(d, o);
    if (err) {
        kl_shm_object_destroy(d->shm, id);
        o->id.v = 0;
    }
    return err;
}

int shmdev_remove(struct shmdev *d, unsigned i)
{
    struct shmdev_object *o = &d->object[i];
    int err;

    pthread_mutex_lock(&d->lock);
    o->used = false;
    o->runs = 0;
    pthread_mutex_unlock(&d->lock);
    err = d->hooks ? kl_shm_deactivate(d->shm, o->id) : kl_shm_unpin(d->shm, o->id, o->pin);
    if (err)
        return err;
    while (d->hooks && (err = kl_shm_detach(d->shm, o->id)) == -KL_EBUSY)
        sched_yield();
    if (!err)
        err = kl_shm_object_destroy(d->shm, o->id);
    o->id.v = 0;
    return err;
}

void shmdev_rest(struct shmdev *d, unsigned i)
{
    struct shmdev_object *o = &d->object[i];

    if (kl_shm_deactivate(d->shm, o->id) != 0)
        breach(d, "it was not active");
    sched_yield();
    while (kl_shm_activate(d->shm, o->id, KL_SYNC) != 0)
        sched_yield();
    pthread_mutex_lock(&d->lock);
    if (map(d, o) != 0)
        o->runs = 0; /* on its way: finish maps it */
    pthread_mutex_unlock(&d->lock);
}

/* Under the lock. */
static bool is_right(struct shmdev *d, const struct shmdev_object *o)
{
    size_t frame = kl_zone_frame_bytes(kl_shm_zone(d->shm));
    uint64_t at = 0;
    char *whole = malloc(o->bytes);
    bool right;

    for (unsigned r = 0; r < o->runs && at < o->bytes; r++) {
        uint64_t n = o->run[r].frames * frame;

        n = n < o->bytes - at ? n : o->bytes - at;
        memcpy(whole + at, kl_frame_addr(kl_shm_zone(d->shm), o->run[r].first), n);
        at += n;
    }
    right = at == o->bytes && bytes_are(whole, o->bytes, o->seed);
    free(whole);
    return right;
}

bool shmdev_look(struct shmdev *d, unsigned i)
{
    const struct shmdev_object *o = &d->object[i];
    bool right;

    pthread_mutex_lock(&d->lock);
    right = o->runs == 0 || is_right(d, o); /* quiet: it has nothing to look at */
    pthread_mutex_unlock(&d->lock);
    return right;
}

void assert_shm_ok(struct kl_shm *shm)
{
    const char *what = NULL;

    if (kl_shm_check(shm, &what) != 0)
        fail_msg("broken: %s", what ? what : "but nothing said");
    assert_zone_ok(kl_shm_zone(shm));
}

kl_shm_id shm_filled(struct kl_shm *shm, size_t bytes, uint64_t seed)
{
    char *buf = malloc(bytes);
    kl_shm_id id;

    assert_non_null(buf);
    fill_bytes(buf, bytes, seed);
    assert_int_equal(kl_shm_object_create(shm, bytes, 0, &id), 0);
    assert_int_equal(kl_shm_write(shm, id, 0, buf, bytes), 0);
    free(buf);
    return id;
}

bool shm_is_filled(struct kl_shm *shm, kl_shm_id id, size_t bytes, uint64_t seed)
{
    char *buf = calloc(1, bytes);
    bool right;

    assert_non_null(buf);
    assert_int_equal(kl_shm_read(shm, id, 0, buf, bytes), 0);
    right = bytes_are(buf, bytes, seed);
    free(buf);
    return right;
}
