// SPDX-License-Identifier: Apache-2.0
/* The pool as a device of its objects: quieted before frames move, told after. (U1-U3)
 *
 * Buffers of a batch are refused one by one: those whose requests don't end in time stay
 * where they are, with "busy", the others move.
 */
#include "pool.h"

static struct kli_uring_buffer *of(const struct kl_shm_ref *ref)
{
    return ref->data;
}

static bool is_quiet(const struct kli_uring_buffer *buffer)
{
    return kli_b_ios(atomic_load_explicit(&((struct kli_uring_buffer *)buffer)->word,
                                          memory_order_acquire)) == 0;
}

static void refuse(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    buffer->moving = false;
    kli_uring_release(buffer);
    atomic_fetch_add_explicit(&pool->refused, 1, memory_order_relaxed);
}

/* Would this thread wait for its own requests?  Only if nobody else ends them: a hint. */
static bool is_own(const struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    return !pool->reap &&
           atomic_load_explicit(&buffer->reaper, memory_order_relaxed) == kli_uring_thread();
}

/* Held ones; those that can't be are not moving. */
static size_t hold_all(struct kl_uring_pool *pool, const struct kl_shm_ref *refs, size_t n,
                       bool may_wait)
{
    size_t held = 0;

    for (size_t i = 0; i < n; i++) {
        struct kli_uring_buffer *buffer = of(&refs[i]);

        buffer->moving = kli_uring_apply(&buffer->word, kli_b_hold, may_wait, NULL);
        if (!buffer->moving) {
            atomic_fetch_add_explicit(&pool->refused, 1, memory_order_relaxed);
        } else if (!is_quiet(buffer) && is_own(pool, buffer)) {
            refuse(pool, buffer);
            atomic_fetch_add_explicit(&pool->refused_own, 1, memory_order_relaxed);
        } else {
            held++;
        }
    }
    return held;
}

static bool all_quiet(const struct kl_shm_ref *refs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (of(&refs[i])->moving && !is_quiet(of(&refs[i])))
            return false;
    }
    return true;
}

static void wait_quiet(struct kl_uring_pool *pool, const struct kl_shm_ref *refs, size_t n)
{
    const struct kl_host *host = pool->host;
    uint64_t now = host->now_ns(host->ctx), until = now + pool->wait_ns;

    for (unsigned round = 0;; round++) {
        uint32_t seen = atomic_load(&pool->ended);

        if (all_quiet(refs, n))
            return;
        now = host->now_ns(host->ctx);
        if (now >= until)
            return;
        if (!pool->reap) {
            host->wait(host->ctx, (const uint32_t *)&pool->ended, seen, until - now);
        } else {
            pool->reap(pool->ctx);
            if (atomic_load(&pool->ended) == seen)
                host->relax(host->ctx, round);
        }
    }
}

/* Those that are not quiet by now stay; how many are. */
static size_t let_go(struct kl_uring_pool *pool, const struct kl_shm_ref *refs, size_t n)
{
    size_t held = 0;

    for (size_t i = 0; i < n; i++) {
        struct kli_uring_buffer *buffer = of(&refs[i]);

        if (!buffer->moving)
            continue;
        if (is_quiet(buffer))
            held++;
        else
            refuse(pool, buffer);
    }
    return held;
}

static int prepare(const struct kl_shm_ref *refs, size_t n, enum kl_mode mode)
{
    struct kl_uring_pool *pool = refs[0].device;
    size_t held;

    if (pool->issuer && pool->issuer != kli_uring_thread()) {
        atomic_fetch_add_explicit(&pool->refused, n, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->refused_issuer, n, memory_order_relaxed);
        return -KL_EBUSY;
    }
    held = hold_all(pool, refs, n, mode == KL_SYNC);
    if (held > 0 && mode == KL_SYNC) {
        wait_quiet(pool, refs, n);
        held = let_go(pool, refs, n);
    }
    if (held < n)
        kli_uring_wake(pool); /* who waits for one that stays */
    return held > 0 ? 0 : -KL_EBUSY;
}

static int migrate(const struct kl_shm_ref *ref, uint64_t page, kl_pfn dst, kl_pfn src,
                   enum kl_mode mode)
{
    const struct kl_uring_pool *pool = ref->device;
    struct kli_uring_buffer *buffer = of(ref);
    int err;

    (void)page, (void)mode;
    if (!buffer->moving)
        return -KL_EBUSY;
    err = kl_frame_copy(pool->zone, dst, src);
    if (!err)
        buffer->pfn = dst;
    return err;
}

/* Where it is now is where the slot says. (U2) */
static void follow(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    char *addr = kl_frame_addr(pool->zone, buffer->pfn);

    buffer->moving = false;
    if (addr != buffer->addr) {
        buffer->addr = addr;
        kli_uring_slot_follow(pool, buffer);
        atomic_fetch_add_explicit(&pool->moved, 1, memory_order_relaxed);
    }
    kli_uring_release(buffer);
}

static void finish(const struct kl_shm_ref *refs, size_t n)
{
    struct kl_uring_pool *pool = refs[0].device;

    for (size_t i = 0; i < n; i++) {
        if (of(&refs[i])->moving)
            follow(pool, of(&refs[i]));
    }
    kli_uring_wake(pool);
}

const struct kl_shm_ops kli_uring_ops = {
    .size = sizeof(kli_uring_ops),
    .name = "io_uring",
    .prepare = prepare,
    .finish = finish,
    .migrate = migrate,
};
