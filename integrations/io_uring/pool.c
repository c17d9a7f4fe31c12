// SPDX-License-Identifier: Apache-2.0
/* Create and destroy.
 *
 * create: metadata -> kl_shm and its device -> table -> each buffer: object, attach,
 *         activate (its frame is made, and stays), place, slot, released
 * destroy: all buffers HELD for good (D3: no migration is between prepare and finish of
 *         one, and none gets in), or all as they were -> slots -> table -> objects -> rest
 *
 * Buffers are HELD from the beginning until they are complete, so that what create itself
 * moves, to make room, leaves them alone.
 */
#include "pool.h"

#include <liburing.h>

/* ---- create ---- */

static int order_of(const struct kl_zone *zone, size_t bytes)
{
    size_t frame = kl_zone_frame_bytes(zone);

    for (int order = 0; frame << order <= kl_zone_block_bytes(zone); order++) {
        if (frame << order == bytes)
            return order;
    }
    return -KL_EINVAL;
}

static int validate(const struct kl_zone *zone, const struct io_uring *ring,
                    const struct kl_uring_config *config)
{
    int order;

    if (!ring || !config || config->size != sizeof(*config))
        return -KL_EINVAL;
    if (config->flags & ~(unsigned)KL_URING_TABLE_THERE)
        return -KL_EINVAL;
    if (config->buffers == 0 || config->buffers > KLI_URING_MAX)
        return -KL_EINVAL;
    if (!(config->flags & KL_URING_TABLE_THERE) && config->first != 0)
        return -KL_EINVAL;
    if (config->first > KLI_URING_MAX - config->buffers)
        return -KL_ERANGE;
    order = order_of(zone, config->bytes);
    if (order < 0)
        return order;
    return kl_frame_addr(zone, kl_zone_pfn(zone, 0)) ? order : -KL_ENOTSUP;
}

static size_t buffers_bytes(const struct kl_uring_pool *pool)
{
    return pool->n * sizeof(struct kli_uring_buffer);
}

static size_t free_bytes(const struct kl_uring_pool *pool)
{
    return pool->words * sizeof(uint64_t);
}

static void free_pool(struct kl_uring_pool *pool)
{
    struct kl_zone *zone = pool->zone;

    if (pool->buffer)
        kl_zone_meta_free(zone, pool->buffer, buffers_bytes(pool));
    if (pool->free)
        kl_zone_meta_free(zone, (void *)pool->free, free_bytes(pool));
    kl_zone_meta_free(zone, pool, sizeof(*pool));
}

static uint64_t next_tag(void)
{
    static _Atomic uint64_t last;

    return atomic_fetch_add(&last, 1) % 0xffff + 1;
}

static struct kl_uring_pool *new_pool(struct kl_zone *zone, const struct io_uring *ring,
                                      const struct kl_uring_config *config)
{
    struct kl_uring_pool *pool = kl_zone_meta_alloc(zone, sizeof(*pool));

    if (!pool)
        return NULL;
    pool->zone = zone;
    pool->host = kl_zone_host(zone);
    pool->ring = ring->ring_fd;
    pool->n = config->buffers;
    pool->words = (pool->n + KLI_URING_BITS - 1) / KLI_URING_BITS;
    pool->tag = next_tag();
    pool->bytes = config->bytes;
    pool->wait_ns = UINT64_C(1000000) * (config->wait_ms ? config->wait_ms : KLI_URING_WAIT_MS);
    pool->is_table_ours = !(config->flags & KL_URING_TABLE_THERE);
    pool->issuer = (ring->flags & IORING_SETUP_SINGLE_ISSUER) ? kli_uring_thread() : 0;
    pool->reap = config->reap;
    pool->ctx = config->ctx;
    pool->buffer = kl_zone_meta_alloc(zone, buffers_bytes(pool));
    pool->free = kl_zone_meta_alloc(zone, free_bytes(pool));
    if (!pool->buffer || !pool->free) {
        free_pool(pool);
        return NULL;
    }
    for (unsigned i = 0; i < pool->n; i++) {
        pool->buffer[i].slot = config->first + i;
        atomic_init(&pool->buffer[i].word, KLI_B_HELD);
    }
    return pool;
}

/* Its frame, which stays: the object is neither purged nor resized. */
static int fill_once(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    struct kl_shm_run run;
    uint64_t next;
    int err = kl_shm_activate(pool->shm, buffer->object, KL_SYNC);

    if (err)
        return err;
    err = kl_shm_sg(pool->shm, buffer->object, 0, &run, 1, &next);
    if (err == 1) {
        buffer->pfn = run.first;
        buffer->addr = kl_frame_addr(pool->zone, run.first);
        kli_uring_slot_follow(pool, buffer); /* or it is used without */
    }
    kl_shm_deactivate(pool->shm, buffer->object);
    return err == 1 ? 0 : err < 0 ? err : -KL_EBUSY;
}

/* A batch that began meanwhile is waited for by the next activation. */
static int fill(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    enum { TRIES = 8 };
    int err = -KL_EBUSY;

    for (unsigned i = 0; i < TRIES && err == -KL_EBUSY; i++)
        err = fill_once(pool, buffer);
    return err;
}

static int make_buffer(struct kl_uring_pool *pool, unsigned i)
{
    struct kli_uring_buffer *buffer = &pool->buffer[i];
    int err = kl_shm_object_create(pool->shm, pool->bytes, 0, &buffer->object);

    if (!err)
        err = kl_shm_attach(pool->shm, buffer->object, pool->device, buffer);
    if (!err)
        err = fill(pool, buffer);
    if (err)
        return err;
    kli_uring_release(buffer);
    atomic_fetch_or(&pool->free[i / KLI_URING_BITS], UINT64_C(1) << i % KLI_URING_BITS);
    pool->made++;
    return 0;
}

static int make_objects(struct kl_uring_pool *pool, const struct kl_uring_config *config,
                        unsigned order)
{
    struct kl_shm_config objects = {.size = sizeof(objects), .order = order};
    int err;

    objects.name = config->name ? config->name : "io_uring";
    err = kl_shm_create(pool->zone, &objects, &pool->shm);
    if (err)
        return err;
    err = kl_shm_device_register(pool->shm, &kli_uring_ops, pool, &pool->device);
    for (unsigned i = 0; i < pool->n && !err; i++)
        err = make_buffer(pool, i);
    return err;
}

/* ---- destroy ---- */

/* Callbacks of migrations under way end by themselves. */
static void end_objects(struct kl_uring_pool *pool)
{
    for (unsigned i = 0; i < pool->n; i++) {
        if (pool->buffer[i].object.v)
            kl_shm_object_destroy(pool->shm, pool->buffer[i].object);
    }
    for (unsigned i = 0; kl_shm_device_unregister(pool->shm, pool->device) == -KL_EBUSY; i++)
        pool->host->relax(pool->host->ctx, i);
    for (unsigned i = 0; kl_shm_destroy(pool->shm) == -KL_EBUSY; i++)
        pool->host->relax(pool->host->ctx, i);
}

/* A migration that has it is waited for. */
static int close_buffer(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    const struct kl_host *host = pool->host;
    uint64_t since = host->now_ns(host->ctx), seen, now;

    for (;;) {
        uint32_t released = atomic_load(&pool->released);

        if (kli_uring_apply(&buffer->word, kli_b_close, 0, &seen))
            return 0;
        now = host->now_ns(host->ctx);
        if ((seen & KLI_B_GOT) || now - since >= KLI_URING_BEGIN_NS)
            return -KL_EBUSY;
        host->wait(host->ctx, (const uint32_t *)&pool->released, released,
                   KLI_URING_BEGIN_NS - (now - since));
    }
}

static void open_first(struct kl_uring_pool *pool, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        kli_uring_release(&pool->buffer[i]);
    kli_uring_wake(pool);
}

static int close_all(struct kl_uring_pool *pool)
{
    for (unsigned i = 0; i < pool->made; i++) {
        int err = close_buffer(pool, &pool->buffer[i]);

        if (err) {
            open_first(pool, i);
            return err;
        }
    }
    return 0;
}

static void empty_slots(struct kl_uring_pool *pool)
{
    for (unsigned i = 0; i < pool->n; i++)
        kli_uring_slot_empty(pool, &pool->buffer[i]);
    if (pool->is_table_ours)
        kli_uring_table_destroy(pool);
}

/* All buffers are HELD. */
static void end_all(struct kl_uring_pool *pool)
{
    empty_slots(pool);
    if (pool->shm)
        end_objects(pool);
    free_pool(pool);
}

int kl_uring_pool_destroy(struct kl_uring_pool *pool)
{
    int err;

    if (!pool)
        return 0;
    if (pool->issuer && pool->issuer != kli_uring_thread())
        return -KL_EINVAL;
    err = close_all(pool);
    if (err)
        return err;
    end_all(pool);
    return 0;
}

/* ---- the rest of create ---- */

int kl_uring_pool_create(struct kl_zone *zone, struct io_uring *ring,
                         const struct kl_uring_config *config, struct kl_uring_pool **out)
{
    int order = validate(zone, ring, config), err;
    struct kl_uring_pool *pool;

    if (order < 0)
        return order;
    pool = new_pool(zone, ring, config);
    if (!pool)
        return -KL_ENOMEM;
    err = pool->is_table_ours ? kli_uring_table_create(pool) : kli_uring_table_try(pool);
    if (err) {
        free_pool(pool);
        return err;
    }
    err = make_objects(pool, config, (unsigned)order);
    if (err) {
        (void)close_all(pool); /* nobody has got one: it waits for migrations */
        end_all(pool);
        return err;
    }
    *out = pool;
    return 0;
}
