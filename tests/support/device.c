// SPDX-License-Identifier: Apache-2.0
/* The frame's private word is its item's number + 1.  The lock is the owner's; the
 * engine copies without it, for source and destination are the framework's then. */
#include "support/device.h"

#include <string.h>

static void breach(struct device *d, const char *what)
{
    if (!d->broken)
        d->broken = what;
}

static bool dice(struct device *d, atomic_int *percent)
{
    return (int)rng_below(&d->rng, 100) < atomic_load(percent);
}

static unsigned char *at(const struct device *d, kl_pfn pfn)
{
    return d->memory + kl_frame_offset(d->zone, pfn);
}

static size_t bytes_of(const struct device *d, const struct device_item *item)
{
    return kl_zone_frame_bytes(d->zone) << item->order;
}

/* The item that lives in the frame; NULL when it was freed a moment ago. */
static struct device_item *item_of(struct device *d, kl_pfn pfn)
{
    uint64_t priv = kl_frame_private(d->zone, pfn);

    if (priv > DEVICE_ITEMS)
        breach(d, "a frame with another owner's private word");
    if (priv == 0 || priv > DEVICE_ITEMS || d->item[priv - 1].pfn.v != pfn.v)
        return NULL;
    return &d->item[priv - 1];
}

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct device *d = ctx;
    struct device_item *item;

    (void)mode;
    pthread_mutex_lock(&d->lock);
    item = item_of(d, frame);
    if (item && item->isolated)
        breach(d, "isolated twice");
    if (item) {
        item->isolated = true;
        d->isolated++;
    }
    pthread_mutex_unlock(&d->lock);
    return item != NULL;
}

static void putback(void *ctx, kl_pfn frame)
{
    struct device *d = ctx;
    struct device_item *item;

    pthread_mutex_lock(&d->lock);
    item = item_of(d, frame);
    if (item && !item->isolated)
        breach(d, "put back without isolation");
    if (item) {
        item->isolated = false;
        d->put_back++;
    }
    pthread_mutex_unlock(&d->lock);
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct device *d = ctx;

    (void)mode;
    pthread_mutex_lock(&d->lock);
    breach(d, "a single migrate, though there is one for batches");
    if (kl_frame_copy(d->zone, dst, src) != -KL_ENOTSUP)
        breach(d, "a copy without an address");
    pthread_mutex_unlock(&d->lock);
    return -KL_EIO;
}

/* Every move is the engine's, unless it has no room, or the dice say no. */
static size_t migrate_batch(void *ctx, struct kl_move *moves, size_t n, enum kl_mode mode)
{
    struct device *d = ctx;
    size_t pending = 0;

    (void)mode;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < n; i++) {
        moves[i].result = -KL_EAGAIN;
        if (d->queued == DEVICE_QUEUE || dice(d, &d->busy))
            continue;
        moves[i].result = KL_PENDING;
        d->queue[(d->head + d->queued++) % DEVICE_QUEUE] = &moves[i];
        pending++;
    }
    d->pended += pending;
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
    return pending;
}

/* The copy is made; now the item lives in dst, unless it was freed meanwhile. */
static int arrive(struct device *d, const struct kl_move *move, size_t bytes)
{
    struct device_item *item = item_of(d, move->src);

    if (!item)
        return -KL_EBUSY;
    if (!item->isolated)
        breach(d, "migrated without isolation");
    if (dice(d, &d->fail))
        return -KL_EIO;
    kl_frame_set_private(d->zone, move->dst, kl_frame_private(d->zone, move->src));
    item->pfn = move->dst;
    item->isolated = false;
    d->migrated++;
    memset(at(d, move->src), 0xdd, bytes < 64 ? bytes : 64); /* whoever looks there is wrong */
    return 0;
}

static void make_move(struct device *d, struct kl_move *move)
{
    struct device_item *item;
    size_t bytes = 0;
    int result;

    pthread_mutex_lock(&d->lock);
    item = item_of(d, move->src);
    if (item)
        bytes = bytes_of(d, item);
    pthread_mutex_unlock(&d->lock);
    if (bytes > 0)
        memcpy(at(d, move->dst), at(d, move->src), bytes);
    pthread_mutex_lock(&d->lock);
    result = arrive(d, move, bytes);
    pthread_mutex_unlock(&d->lock);
    kl_move_done(move, result);
}

static void *engine(void *arg)
{
    struct device *d = arg;

    pthread_mutex_lock(&d->lock);
    for (;;) {
        struct kl_move *move;

        while (d->queued == 0 && !d->stop)
            pthread_cond_wait(&d->work, &d->lock);
        if (d->queued == 0)
            break;
        move = d->queue[d->head];
        d->head = (d->head + 1) % DEVICE_QUEUE;
        d->queued--;
        pthread_mutex_unlock(&d->lock);
        make_move(d, move);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

void device_open(struct device *d, unsigned blocks, unsigned order, unsigned size)
{
    static const struct kl_owner_ops ops = {.size = sizeof(ops),
                                            .name = "device",
                                            .isolate = isolate,
                                            .migrate = migrate,
                                            .putback = putback,
                                            .migrate_batch = migrate_batch};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .blocks = size};
    uint64_t bytes = (uint64_t)blocks << (12 + order);
    struct kl_backing backing;

    memset(d, 0, sizeof(*d));
    assert_int_equal(kl_backing_offsets(&backing, bytes, 12, order), 0);
    config.backing = &backing;
    assert_int_equal(kl_zone_create(&config, &d->zone), 0);
    d->memory = malloc(bytes);
    assert_non_null(d->memory);
    d->rng = rng_new(815);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->work, NULL);
    assert_int_equal(kl_owner_register(d->zone, &ops, d, &d->owner), 0);
    assert_int_equal(pthread_create(&d->engine, NULL, engine, d), 0);
}

void device_close(struct device *d)
{
    for (unsigned i = 0; i < DEVICE_ITEMS; i++)
        assert_true(!d->item[i].pfn.v || device_free(d, i));
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->engine, NULL);
    assert_int_equal(kl_owner_unregister(d->zone, d->owner), 0);
    if (d->broken)
        fail_msg("contract: %s", d->broken);
    assert_int_equal(d->isolated, d->migrated + d->put_back + d->freed);
    assert_zone_ok(d->zone);
    assert_int_equal(kl_zone_destroy(d->zone), 0);
    pthread_cond_destroy(&d->work);
    pthread_mutex_destroy(&d->lock);
    free(d->memory);
}

int device_alloc(struct device *d, unsigned i, unsigned order, unsigned flags)
{
    struct device_item *item = &d->item[i];
    kl_pfn pfn;
    int err = kl_frame_alloc(d->zone, order, d->owner, flags, &pfn);

    if (err)
        return err;
    pthread_mutex_lock(&d->lock);
    *item = (struct device_item){.pfn = pfn, .order = order, .seed = ++d->seeds};
    fill_bytes(at(d, pfn), bytes_of(d, item), item->seed);
    kl_frame_set_private(d->zone, pfn, i + 1); /* from now on it may be isolated */
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static bool is_right(const struct device *d, const struct device_item *item)
{
    return bytes_are(at(d, item->pfn), bytes_of(d, item), item->seed);
}

bool device_right(struct device *d, unsigned i)
{
    bool right;

    pthread_mutex_lock(&d->lock);
    right = is_right(d, &d->item[i]);
    pthread_mutex_unlock(&d->lock);
    return right;
}

bool device_free(struct device *d, unsigned i)
{
    struct device_item *item = &d->item[i];
    bool right;

    pthread_mutex_lock(&d->lock);
    right = is_right(d, item);
    if (kl_frame_free(d->zone, d->owner, item->pfn) != 0)
        breach(d, "a free was refused");
    d->freed += item->isolated;
    *item = (struct device_item){0};
    pthread_mutex_unlock(&d->lock);
    return right;
}
