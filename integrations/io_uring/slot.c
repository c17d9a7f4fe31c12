// SPDX-License-Identifier: Apache-2.0
/* The ring's table of registered buffers.
 *
 * An update (IORING_REGISTER_BUFFERS_UPDATE) of a slot pins the new pages, takes their place,
 * and lets the old ones go when no request uses them.  Old and new count against
 * RLIMIT_MEMLOCK together then.  So when it fails the slot is emptied first, and then
 * filled: what one buffer needs is free in any case but that of another process.
 *
 * Each update waits for the lock of the ring, which a submission has while it copies.  So the
 * buffers of a batch are updated together as far as their slots follow one another.
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
    case -EEXIST:          /* not the single issuer */
    case -EBADF:
        return -KL_EINVAL;
    case -ENXIO:
        return -KL_ENOENT; /* no table */
    default:
        return -KL_ENOTSUP;
    }
}

/* Slots from that one on; how many have it, or an error.  No more of the ring is used here
 * than its descriptor. */
static int update_run(const struct kl_uring_pool *pool, unsigned slot, const struct iovec *iov,
                      unsigned n)
{
    static const __u64 tags[KLI_URING_BATCH];
    struct io_uring ring = {.ring_fd = pool->ring, .enter_ring_fd = pool->ring};

    return io_uring_register_buffers_update_tag(&ring, slot, iov, tags, n);
}

static int update(const struct kl_uring_pool *pool, unsigned slot, void *addr, size_t bytes)
{
    struct iovec iov = {addr, bytes};
    int done = update_run(pool, slot, &iov, 1);

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

/* Those of slots that follow one another, by one call as far as that goes; how many. */
static unsigned follow_run(struct kl_uring_pool *pool, struct kli_uring_buffer *const *buffer,
                           unsigned n)
{
    struct iovec iov[KLI_URING_BATCH];
    unsigned run = 0;
    int done;

    for (; run < n && buffer[run]->slot == buffer[0]->slot + run; run++)
        iov[run] = (struct iovec){buffer[run]->addr, pool->bytes};
    done = update_run(pool, buffer[0]->slot, iov, run);
    for (int i = 0; i < done; i++) {
        atomic_store(&buffer[i]->stuck, false);
        kli_uring_apply(&buffer[i]->word, kli_b_fixed, true, NULL); /* D4 */
    }
    if (done > 0)
        return (unsigned)done;
    kli_uring_slot_follow(pool, buffer[0]); /* the one that failed */
    return 1;
}

void kli_uring_slots_follow(struct kl_uring_pool *pool, struct kli_uring_buffer **buffer,
                            unsigned n)
{
    for (unsigned i = 1; i < n; i++) { /* by slot */
        struct kli_uring_buffer *one = buffer[i];
        unsigned k = i;

        for (; k > 0 && buffer[k - 1]->slot > one->slot; k--)
            buffer[k] = buffer[k - 1];
        buffer[k] = one;
    }
    for (unsigned i = 0; i < n;)
        i += follow_run(pool, buffer + i, n - i);
}

int kl_uring_pool_fix(struct kl_uring_pool *pool)
{
    bool may = !pool->issuer || pool->issuer == kli_uring_thread();
    int left = 0;

    for (unsigned i = 0; i < pool->n; i++) {
        struct kli_uring_buffer *buffer = &pool->buffer[i];

        if (atomic_load(&buffer->word) & KLI_B_FIXED)
            continue;
        if (!may || !kli_uring_apply(&buffer->word, kli_b_hold, false, NULL)) {
            left++;
            continue;
        }
        left += kli_uring_slot_follow(pool, buffer) != 0;
        kli_uring_release(buffer);
    }
    kli_uring_wake(pool);
    return left;
}
