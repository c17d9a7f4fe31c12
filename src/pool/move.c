// SPDX-License-Identifier: Apache-2.0
/* Idle units that move: the owner's callbacks. (P3, P5)
 *
 * The framework has locked the frames; the callbacks take the share's lock and no other.
 */
#include "pool/pool.h"

/* The slot that the frame's private word names; POOL_NONE: it can't be one. */
static uint32_t slot_of(const struct kl_pool *pool, kl_pfn frame)
{
    uint64_t priv = kl_frame_private(pool->zone, frame);

    return priv > 0 && priv <= pool->limit ? (uint32_t)priv - 1 : POOL_NONE;
}

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct kl_pool *pool = ctx;
    uint32_t i = slot_of(pool, frame);
    struct pool_share *share;
    bool ok;

    if (i == POOL_NONE)
        return false;
    KLI_TRACE_STEP(pool_guessed, KLI_TAG(pool->zone), kl_pfn_nr(frame), i);
    share = pool_share_of(pool, i);
    if (!kli_spin_try(&pool->host, &share->lock)) {
        if (mode == KL_ASYNC)
            return false;
        kli_spin_take(&pool->host, &share->lock);
    }
    ok = pool->slot[i].list < POOL_LISTS && pool->slot[i].nr == kl_pfn_nr(frame); /* P3 */
    if (ok)
        kli_pool_unlink(pool, share, i, POOL_ISOLATED);
    kli_spin_drop(&pool->host, &share->lock);
    return ok;
}

/* The end of an isolation: the unit is at nr and goes on a list. */
static void file(struct kl_pool *pool, uint32_t i, uint32_t nr, bool moved)
{
    struct pool_share *share = pool_share_of(pool, i);
    struct pool_slot *slot = &pool->slot[i];
    unsigned dirty;

    KLI_TRACE_STEP(pool_filing, KLI_TAG(pool->zone), nr, i);
    kli_spin_take(&pool->host, &share->lock);
    dirty = moved ? POOL_DIRTY : slot->was & POOL_DIRTY; /* P4 */
    slot->nr = nr;
    atomic_fetch_sub_explicit(&share->isolated, 1, memory_order_relaxed);
    kli_pool_link(pool, share, i, dirty | kli_pool_place(pool, nr));
    pool_count(share, moved ? POOL_C_MOVED : POOL_C_PUT_BACK);
    if (moved && !(slot->was & POOL_DIRTY))
        pool_count(share, POOL_C_SPOILED);
    kli_spin_drop(&pool->host, &share->lock);
    if (dirty)
        kli_pool_want(pool);
}

/* The slot of an isolated frame: nothing but us ends that. */
static uint32_t isolated_slot(struct kl_pool *pool, kl_pfn frame)
{
    uint32_t i = slot_of(pool, frame);

    KLI_REQUIRE(&pool->host, i != POOL_NONE);
    return i;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct kl_pool *pool = ctx;
    uint32_t i = isolated_slot(pool, src);

    (void)mode;
    kl_frame_set_private(pool->zone, dst, (uint64_t)i + 1);
    file(pool, i, kl_pfn_nr(dst), true);
    KLI_TRACE(pool_moved, KLI_TAG(pool->zone), kl_pfn_nr(src), kl_pfn_nr(dst));
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    struct kl_pool *pool = ctx;

    file(pool, isolated_slot(pool, frame), kl_pfn_nr(frame), false);
}

int kli_pool_idle_register(struct kl_pool *pool, const char *name, uint32_t below)
{
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = name, .below = below};

    if (pool->cached) {
        ops.isolate = isolate;
        ops.migrate = migrate;
        ops.putback = putback;
    }
    return kl_owner_register(pool->zone, &ops, pool, &pool->idle);
}
