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

/* Does a batch of this thread have it? (U1) */
static bool is_mine(struct kli_uring_buffer *buffer)
{
    return atomic_load_explicit(&buffer->mover, memory_order_relaxed) == kli_uring_thread();
}

static void let_go(struct kli_uring_buffer *buffer)
{
    atomic_store_explicit(&buffer->mover, 0, memory_order_relaxed);
    kli_uring_release(buffer);
}

static void refuse(struct kl_uring_pool *pool, size_t n)
{
    atomic_fetch_add_explicit(&pool->refused, n, memory_order_relaxed);
}

/* Would this thread wait for its own requests?  Only if nobody else ends them: a hint. */
static bool is_own(const struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    return !pool->reap && !is_quiet(buffer) &&
           atomic_load_explicit(&buffer->reaper, memory_order_relaxed) == kli_uring_thread();
}

enum held { HELD_NOT, HELD_BY_OTHERS, HELD_HERE };

static enum held hold(struct kl_uring_pool *pool, struct kli_uring_buffer *buffer, bool may_wait)
{
    uint64_t seen;

    if (!kli_uring_apply(&buffer->word, kli_b_hold, may_wait, &seen)) {
        refuse(pool, 1);
        return (seen & KLI_B_HELD) ? HELD_BY_OTHERS : HELD_NOT;
    }
    atomic_store_explicit(&buffer->mover, kli_uring_thread(), memory_order_relaxed);
    if (!is_own(pool, buffer))
        return HELD_HERE;
    let_go(buffer);
    refuse(pool, 1);
    atomic_fetch_add_explicit(&pool->refused_own, 1, memory_order_relaxed);
    return HELD_NOT;
}

static bool all_quiet(const struct kl_shm_ref *refs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_mine(of(&refs[i])) && !is_quiet(of(&refs[i])))
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
static size_t settle(struct kl_uring_pool *pool, const struct kl_shm_ref *refs, size_t n)
{
    size_t held = 0;

    for (size_t i = 0; i < n; i++) {
        struct kli_uring_buffer *buffer = of(&refs[i]);

        if (!is_mine(buffer))
            continue;
        if (is_quiet(buffer)) {
            held++;
            continue;
        }
        let_go(buffer);
        refuse(pool, 1);
    }
    return held;
}

static int prepare(const struct kl_shm_ref *refs, size_t n, enum kl_mode mode)
{
    struct kl_uring_pool *pool = refs[0].device;
    size_t held = 0, others = 0;

    if (pool->issuer && pool->issuer != kli_uring_thread()) {
        refuse(pool, n);
        atomic_fetch_add_explicit(&pool->refused_issuer, n, memory_order_relaxed);
        return -KL_EBUSY;
    }
    for (size_t i = 0; i < n; i++) {
        enum held how = hold(pool, of(&refs[i]), mode == KL_SYNC);

        held += how == HELD_HERE;
        others += how == HELD_BY_OTHERS;
    }
    if (held > 0 && mode == KL_SYNC) {
        wait_quiet(pool, refs, n);
        held = settle(pool, refs, n);
    }
    if (held < n)
        kli_uring_wake(pool); /* who waits for one that stays */
    return held + others > 0 ? 0 : -KL_EBUSY;
}

/* One that is not held: busy, or (U1) for a moment only. */
static int migrate(const struct kl_shm_ref *ref, uint64_t page, kl_pfn dst, kl_pfn src,
                   enum kl_mode mode)
{
    const struct kl_uring_pool *pool = ref->device;
    struct kli_uring_buffer *buffer = of(ref);
    int err;

    (void)page, (void)mode;
    if (!is_mine(buffer))
        return is_quiet(buffer) ? -KL_EAGAIN : -KL_EBUSY;
    err = kl_frame_copy(pool->zone, dst, src);
    if (!err)
        buffer->pfn = dst;
    return err;
}

/* It has moved; and its slot has to follow, before it is let go. (U2) */
static bool has_moved(const struct kl_uring_pool *pool, struct kli_uring_buffer *buffer)
{
    char *addr = kl_frame_addr(pool->zone, buffer->pfn);
    bool moved = addr != buffer->addr;

    buffer->addr = addr;
    return moved;
}

static void finish_some(struct kl_uring_pool *pool, const struct kl_shm_ref *refs, size_t n)
{
    struct kli_uring_buffer *moved[KLI_URING_BATCH];
    unsigned nmoved = 0;

    for (size_t i = 0; i < n; i++) {
        if (is_mine(of(&refs[i])) && has_moved(pool, of(&refs[i])))
            moved[nmoved++] = of(&refs[i]);
    }
    kli_uring_slots_follow(pool, moved, nmoved);
    atomic_fetch_add_explicit(&pool->moved, nmoved, memory_order_relaxed);
    for (size_t i = 0; i < n; i++) {
        if (is_mine(of(&refs[i])))
            let_go(of(&refs[i]));
    }
}

static void finish(const struct kl_shm_ref *refs, size_t n)
{
    struct kl_uring_pool *pool = refs[0].device;

    for (size_t i = 0; i < n; i += KLI_URING_BATCH)
        finish_some(pool, refs + i, n - i < KLI_URING_BATCH ? n - i : KLI_URING_BATCH);
    kli_uring_wake(pool);
}

const struct kl_shm_ops kli_uring_ops = {
    .size = sizeof(kli_uring_ops),
    .name = "io_uring",
    .prepare = prepare,
    .finish = finish,
    .migrate = migrate,
};
