// SPDX-License-Identifier: Apache-2.0
/* Figures of a pool, and its recount. */
#include "pool.h"

#include <string.h>

static void count(const struct kl_uring_pool *pool, struct kl_uring_stats *s)
{
    for (unsigned i = 0; i < pool->n; i++) {
        uint64_t word = atomic_load(&pool->buffer[i].word);

        s->got += (word & KLI_B_GOT) != 0;
        s->busy += kli_b_ios(word) > 0;
        s->in_flight += kli_b_ios(word);
        s->fixed += (word & KLI_B_FIXED) != 0;
        s->stuck += atomic_load_explicit(&pool->buffer[i].stuck, memory_order_relaxed);
    }
}

void kl_uring_get_stats(struct kl_uring_pool *pool, struct kl_uring_stats *stats)
{
    struct kl_uring_stats s = {.buffers = pool->n};

    count(pool, &s);
    s.moved = atomic_load(&pool->moved);
    s.unfixed = atomic_load(&pool->unfixed);
    s.plain = atomic_load(&pool->plain);
    s.held_off = atomic_load(&pool->held_off);
    s.refused = atomic_load(&pool->refused);
    s.refused_own = atomic_load(&pool->refused_own);
    s.refused_issuer = atomic_load(&pool->refused_issuer);
    s.size = stats->size < sizeof(s) ? stats->size : sizeof(s);
    memcpy(stats, &s, s.size);
}

/* The first thing that is wrong with one of them; NULL: nothing. */
static const char *wrong_with(struct kl_uring_pool *pool, unsigned i)
{
    struct kli_uring_buffer *buffer = &pool->buffer[i];
    uint64_t word = atomic_load(&buffer->word);
    bool is_free = atomic_load(&pool->free[i / KLI_URING_BITS]) >> i % KLI_URING_BITS & 1;
    struct kl_shm_info info = {.size = sizeof(info)};

    if (is_free != !(word & KLI_B_GOT))
        return "U4: a buffer's bit and its word differ";
    if (!(word & KLI_B_GOT) && kli_b_ios(word) > 0)
        return "D1: a buffer that nobody has is busy";
    if (word & KLI_B_HELD)
        return "D3: a buffer is held, and nobody moves it";
    if (atomic_load(&buffer->mover))
        return "U1: a buffer has a mover, and no batch";
    if (buffer->addr != kl_frame_addr(pool->zone, buffer->pfn))
        return "U2: a buffer is not where it is used";
    if ((word & KLI_B_FIXED) && atomic_load(&buffer->stuck))
        return "U3: a slot that is used is stuck";
    if (kl_shm_object_info(pool->shm, buffer->object, &info) != 0 || info.frames == 0 ||
        !info.attached)
        return "U1: a buffer has no frame, or no hooks";
    return NULL;
}

int kl_uring_pool_check(struct kl_uring_pool *pool, const char **what)
{
    const char *wrong = NULL;

    for (unsigned i = 0; i < pool->n && !wrong; i++)
        wrong = wrong_with(pool, i);
    if (!wrong && kl_shm_check(pool->shm, &wrong) != 0 && !wrong)
        wrong = "the objects are broken";
    if (wrong && what)
        *what = wrong;
    return wrong ? -KL_EIO : 0;
}
