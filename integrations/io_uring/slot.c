// SPDX-License-Identifier: Apache-2.0
/* The ring's table of registered buffers.
 *
 * An update (IORING_REGISTER_BUFFERS_UPDATE) of a slot pins the new pages, takes their place,
 * and lets the old ones go when no request uses them.  Old and new count against
 * RLIMIT_MEMLOCK together then.  So when it fails the slot is emptied first, and then
 * filled: what one buffer needs is free in any case but that of another process.
 */
#include "pool.h"

#include <errno.h>
#include <liburing.h>

static int said(int err)
{
    switch (err) {
    case -ENOMEM:
        return -KL_ENOMEM;
    case -EBUSY:
        return -KL_EEXIST; /* a table is there */
    case -EEXIST:
        return -KL_EINVAL; /* not the single issuer */
    case -EBADF:
        return -KL_EINVAL;
    case -ENXIO:
        return -KL_ENOENT; /* no table */
    default:
        return -KL_ENOTSUP;
    }
}

/* No more of the ring is used here than its descriptor. */
static int update(const struct kl_uring_pool *pool, unsigned slot, void *addr, size_t bytes)
{
    struct io_uring ring = {.ring_fd = pool->ring, .enter_ring_fd = pool->ring};
    struct iovec iov = {addr, bytes};
    __u64 tag = 0;
    int done = io_uring_register_buffers_update_tag(&ring, slot, &iov, &tag, 1);

    return done == 1 ? 0 : done < 0 ? done : -EINVAL;
}

int kli_uring_table_create(struct kl_uring_pool *pool)
{
    struct io_uring ring = {.ring_fd = pool->ring, .enter_ring_fd = pool->ring};
    int err = io_uring_register_buffers_sparse(&ring, pool->n);

    return err < 0 ? said(err) : 0;
}

/* The last slot says whether there are so many, and whether we may. */
int kli_uring_table_try(struct kl_uring_pool *pool)
{
    int err = update(pool, pool->buffer[pool->n - 1].slot, NULL, 0);

    return err == -EINVAL ? -KL_ERANGE : err ? said(err) : 0;
}

void kli_uring_table_destroy(struct kl_uring_pool *pool)
{
    struct io_uring ring = {.ring_fd = pool->ring, .enter_ring_fd = pool->ring};

    io_uring_unregister_buffers(&ring);
}

int kli_uring_slot_empty(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    int err = update(pool, buffer->slot, NULL, 0);

    buffer->stuck = err != 0;
    if (!err)
        kli_uring_apply(&buffer->word, kli_b_fixed, false, NULL);
    return err ? said(err) : 0;
}

int kli_uring_slot_follow(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    int err = update(pool, buffer->slot, buffer->addr, pool->bytes);

    if (err && kli_uring_slot_empty(pool, buffer) == 0)
        err = update(pool, buffer->slot, buffer->addr, pool->bytes);
    if (!err)
        buffer->stuck = false;
    else
        atomic_fetch_add_explicit(&pool->unfixed, 1, memory_order_relaxed);
    kli_uring_apply(&buffer->word, kli_b_fixed, err == 0, NULL); /* D4 */
    return err ? said(err) : 0;
}

int kl_uring_pool_fix(struct kl_uring_pool *pool)
{
    int left = 0;

    for (unsigned i = 0; i < pool->n; i++) {
        struct kli_uring_buffer *buffer = &pool->buffer[i];

        if (atomic_load(&buffer->word) & KLI_B_FIXED)
            continue;
        if (!kli_uring_apply(&buffer->word, kli_b_hold, false, NULL)) {
            left++;
            continue;
        }
        left += kli_uring_slot_follow(pool, buffer) != 0;
        kli_uring_release(buffer);
    }
    kli_uring_wake(pool);
    return left;
}
