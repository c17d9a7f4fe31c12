// SPDX-License-Identifier: Apache-2.0
/* Buffers as users have them: get, put, and the two steps around each request. */
#include "pool.h"

#include <liburing.h>

uintptr_t kli_uring_thread(void)
{
    static _Thread_local char here;

    return (uintptr_t)&here;
}

/* NULL: not one of this pool. */
static struct kli_uring_buffer *buffer_of(const struct kl_uring_pool *pool, kl_uring_buf buf)
{
    uint64_t i = buf.v & 0xffffff;

    return i > 0 && i <= pool->n && buf.v >> 48 == pool->tag ? &pool->buffer[i - 1] : NULL;
}

static uint64_t generation_of(kl_uring_buf buf)
{
    return buf.v >> 24 & 0xffffff;
}

/* ---- waiting ---- */

void kli_uring_release(struct kli_uring_buffer *buffer)
{
    kli_uring_apply(&buffer->word, kli_b_release, 0, NULL);
}

void kli_uring_wake(struct kl_uring_pool *pool)
{
    atomic_fetch_add(&pool->released, 1);
    pool->host->wake(pool->host->ctx, (const uint32_t *)&pool->released, true);
}

/* A migration waits for it. */
static void quiet(struct kl_uring_pool *pool)
{
    atomic_fetch_add(&pool->ended, 1);
    pool->host->wake(pool->host->ctx, (const uint32_t *)&pool->ended, true);
}

/* ---- get and put ---- */

static void set_free(struct kl_uring_pool *pool, unsigned i)
{
    atomic_fetch_or(&pool->free[i / KLI_URING_BITS], UINT64_C(1) << i % KLI_URING_BITS);
}

/* Takes one whose bit is set; its bit is ours from then on. */
static bool take_bit(struct kl_uring_pool *pool, unsigned i)
{
    uint64_t bit = UINT64_C(1) << i % KLI_URING_BITS;

    return atomic_fetch_and(&pool->free[i / KLI_URING_BITS], ~bit) & bit;
}

static bool get_one(struct kl_uring_pool *pool, unsigned i, bool held_too, kl_uring_buf *buf)
{
    uint64_t seen;

    if (!take_bit(pool, i))
        return false;
    if (!kli_uring_apply(&pool->buffer[i].word, kli_b_get, held_too, &seen)) {
        set_free(pool, i);
        return false;
    }
    seen = kli_b_generation(seen + KLI_B_GENERATION);
    buf->v = (i + UINT64_C(1)) | seen << 24 | pool->tag << 48;
    return true;
}

static bool get_from(struct kl_uring_pool *pool, unsigned word, bool held_too, kl_uring_buf *buf)
{
    uint64_t bits = atomic_load_explicit(&pool->free[word], memory_order_relaxed);

    for (; bits; bits &= bits - 1) {
        unsigned i = word * KLI_URING_BITS + (unsigned)__builtin_ctzll(bits);

        if (get_one(pool, i, held_too, buf)) {
            atomic_store_explicit(&pool->hint, word, memory_order_relaxed);
            return true;
        }
    }
    return false;
}

int kl_uring_get(struct kl_uring_pool *pool, kl_uring_buf *buf)
{
    unsigned first = atomic_load_explicit(&pool->hint, memory_order_relaxed);

    for (int held_too = 0; held_too < 2; held_too++) {
        for (unsigned i = 0; i < pool->words; i++) {
            if (get_from(pool, (first + i) % pool->words, held_too, buf))
                return 0;
        }
    }
    return -KL_EAGAIN;
}

int kl_uring_put(struct kl_uring_pool *pool, kl_uring_buf buf)
{
    struct kli_uring_buffer *buffer = buffer_of(pool, buf);
    uint64_t seen;

    if (!buffer)
        return -KL_EINVAL;
    if (!kli_uring_apply(&buffer->word, kli_b_put, generation_of(buf), &seen))
        return kli_b_is_of(seen, generation_of(buf)) ? -KL_EBUSY : -KL_ESTALE;
    set_free(pool, (unsigned)(buffer - pool->buffer));
    return 0;
}

/* ---- begin and end ---- */

/* It was refused: sleeps until a migration lets go of something.  0: try again. */
static int wait_released(struct kl_uring_pool *pool, uint32_t seen, uint64_t *since)
{
    uint64_t now = pool->host->now_ns(pool->host->ctx);

    if (*since == 0)
        *since = now;
    if (now - *since >= KLI_URING_BEGIN_NS)
        return -KL_EBUSY;
    pool->host->wait(pool->host->ctx, (const uint32_t *)&pool->released, seen,
                     KLI_URING_BEGIN_NS - (now - *since));
    return 0;
}

static int refusal(uint64_t seen, uint64_t generation)
{
    if (!kli_b_is_of(seen, generation))
        return -KL_ESTALE;
    return (seen & KLI_B_HELD) ? -KL_EAGAIN : -KL_ENOSPC;
}

static int count_in(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer,
                    uint64_t generation, enum kl_mode mode, uint64_t *word)
{
    uint64_t since = 0;

    for (;;) {
        uint32_t released = atomic_load(&pool->released);
        int err;

        if (kli_uring_apply(&buffer->word, kli_b_begin, generation, word))
            return 0;
        err = refusal(*word, generation);
        if (err != -KL_EAGAIN)
            return err;
        if (since == 0)
            atomic_fetch_add_explicit(&pool->held_off, 1, memory_order_relaxed);
        if (mode == KL_ASYNC)
            return err;
        err = wait_released(pool, released, &since);
        if (err)
            return err;
    }
}

int kl_uring_begin(struct kl_uring_pool *pool, kl_uring_buf buf, enum kl_mode mode,
                   struct kl_uring_io *io)
{
    struct kli_uring_buffer *buffer = buffer_of(pool, buf);
    uint64_t word;
    int err;

    if (!buffer || (unsigned)mode > KL_SYNC)
        return -KL_EINVAL;
    err = count_in(pool, buffer, generation_of(buf), mode, &word);
    if (err)
        return err;
    io->addr = buffer->addr; /* D2 */
    io->bytes = pool->bytes;
    io->slot = (word & KLI_B_FIXED) ? (int)buffer->slot : -1;
    if (io->slot < 0)
        atomic_fetch_add_explicit(&pool->plain, 1, memory_order_relaxed);
    return 0;
}

int kl_uring_end(struct kl_uring_pool *pool, kl_uring_buf buf)
{
    struct kli_uring_buffer *buffer = buffer_of(pool, buf);
    uint64_t seen;

    if (!buffer)
        return -KL_EINVAL;
    atomic_store_explicit(&buffer->reaper, kli_uring_thread(), memory_order_relaxed);
    if (!kli_uring_apply(&buffer->word, kli_b_end, generation_of(buf), &seen))
        return kli_b_is_of(seen, generation_of(buf)) ? -KL_EINVAL : -KL_ESTALE;
    if ((seen & KLI_B_HELD) && kli_b_ios(seen) == 1)
        quiet(pool);
    return 0;
}

/* ---- requests ---- */

static bool is_beyond(const struct kl_uring_io *io, size_t at, unsigned n)
{
    return at > io->bytes || n > io->bytes - at;
}

int kl_uring_prep_read(struct io_uring_sqe *sqe, int fd, const struct kl_uring_io *io, size_t at,
                       unsigned n, uint64_t offset)
{
    char *to;

    if (is_beyond(io, at, n))
        return -KL_ERANGE;
    to = (char *)io->addr + at;
    if (io->slot >= 0)
        io_uring_prep_read_fixed(sqe, fd, to, n, offset, io->slot);
    else
        io_uring_prep_read(sqe, fd, to, n, offset);
    return 0;
}

int kl_uring_prep_write(struct io_uring_sqe *sqe, int fd, const struct kl_uring_io *io, size_t at,
                        unsigned n, uint64_t offset)
{
    const char *from;

    if (is_beyond(io, at, n))
        return -KL_ERANGE;
    from = (const char *)io->addr + at;
    if (io->slot >= 0)
        io_uring_prep_write_fixed(sqe, fd, from, n, offset, io->slot);
    else
        io_uring_prep_write(sqe, fd, from, n, offset);
    return 0;
}
