// SPDX-License-Identifier: Apache-2.0
/* Reads, writes and discards of blocks, and how a word is swapped.
 *
 * (I1) A write of a whole block neither reads nor decompresses what it replaces.
 * (I2) A context is taken when it is needed: holes, patterns and whole raw blocks are
 *      read, and patterns written, without one.
 */
#include "base/trace.h"
#include "store/entry.h"
#include "store/store.h"

static bool range_ok(const struct kl_store *store, uint64_t block, uint32_t offset, uint32_t len)
{
    return block < store->blocks && offset <= store->block_bytes &&
           len <= store->block_bytes - offset;
}

/* An access: the block is young again. */
static void touch(struct kl_store *store, uint64_t block, uint64_t seen)
{
    if (store_age(seen) > 0)
        kli_apply(&store->table[block], store_w_touch, 0, NULL);
}

static int load_part(struct kl_store *store, uint64_t block, uint64_t word,
                     struct store_context *context, uint32_t offset, void *buf, uint32_t len)
{
    int err;

    if (len == store->block_bytes)
        return store_load(store, block, word, context, buf);
    if (store_is_pattern(word)) {
        store_fill(buf, store_pattern(word), offset, len);
        return 0;
    }
    if (!context)
        return STORE_NEEDS_CONTEXT;
    err = store_load(store, block, word, context, context->plain);
    if (err == 0)
        memcpy(buf, context->plain + offset, len);
    return err;
}

/* The block as it is at one moment; *seen is its word then. */
static int read_now(struct kl_store *store, uint64_t block, struct store_context *context,
                    uint32_t offset, void *buf, uint32_t len, uint64_t *seen)
{
    int err;

    do {
        *seen = atomic_load_explicit(&store->table[block], memory_order_acquire);
        err = load_part(store, block, *seen, context, offset, buf, len);
    } while (err == -KL_ESTALE);
    if (err == 0)
        touch(store, block, *seen);
    return err;
}

static int read_here(struct kl_store *store, uint64_t block, uint32_t offset, void *buf,
                     uint32_t len, uint64_t *seen)
{
    int err = read_now(store, block, NULL, offset, buf, len, seen); /* I2 */
    struct store_context *context;

    if (err != STORE_NEEDS_CONTEXT)
        return err;
    context = store_context_get(store);
    if (!context)
        return -KL_ENOMEM;
    err = read_now(store, block, context, offset, buf, len, seen);
    store_context_put(context);
    return err;
}

int kl_store_read(struct kl_store *store, uint64_t block, uint32_t offset, void *buf, uint32_t len)
{
    uint64_t seen;
    int err;

    if (!range_ok(store, block, offset, len))
        return -KL_ERANGE;
    store_tick(store, STORE_READS);
    do {
        err = read_here(store, block, offset, buf, len, &seen);
        if (err == STORE_AWAY)
            err = store_read_away(store, block, seen, offset, buf, len);
    } while (err == -KL_ESTALE);
    return err;
}

/* This word is out, or never came in: whatever it stood for goes.  (S2: what comes in was
 * counted before) */
void store_drop(struct kl_store *store, uint64_t index, uint64_t old)
{
    store_count(store, index, old, -1);
    if (store_kind(old) == KL_STORE_SHARED)
        store_shared_put(store, old);
    else if (store_kind(old) == KL_STORE_WRITTEN)
        store_written_free(store, old);
    else
        zs_direct_free(store->zs, (uint32_t)index, old);
}

static void swap(struct kl_store *store, uint64_t block, uint64_t word)
{
    uint64_t old;

    store_count(store, block, word, 1);
    KLI_TRACE_STEP(st_swap, block, word, 0);
    old = atomic_exchange_explicit(&store->table[block], word, memory_order_acq_rel);
    store_drop(store, block, old);
}

/* Claims the object of the block, if it has one; *seen is its word. */
static void claim(struct kl_store *store, uint64_t block, uint64_t *seen)
{
    for (unsigned round = 0;; round++) {
        *seen = atomic_load_explicit(&store->table[block], memory_order_acquire);
        if (!store_has_object(*seen) || zs_direct_claim(store->zs, (uint32_t)block, *seen))
            return;
        if (*seen & ZS_W_CLAIMED)
            store->host.relax(store->host.ctx, round);
    }
}

/* Replaces what was claimed; false: it is another one now, and next is not in. */
bool store_replace(struct kl_store *store, uint64_t index, uint64_t seen, uint64_t next)
{
    bool in;

    store_count(store, index, next, 1);
    if (store_has_object(seen))
        in = zs_direct_commit(store->zs, (uint32_t)index, seen, next);
    else
        in = atomic_compare_exchange_strong(&store->table[index], &(uint64_t){seen}, next);
    if (in && store_has_object(seen))
        store_count(store, index, seen, -1); /* the commit has freed it */
    else
        store_drop(store, index, in ? seen : next);
    return in;
}

static void patch(char *plain, uint32_t offset, const void *buf, uint32_t len)
{
    if (buf)
        memcpy(plain + offset, buf, len);
    else
        memset(plain + offset, 0, len);
}

/* buf NULL: zeroes.  What somebody wrote meanwhile is patched again. */
static int write_part(struct kl_store *store, struct store_context *context, uint64_t block,
                      uint32_t offset, const void *buf, uint32_t len)
{
    uint64_t word, seen;
    int err;

    store_tick(store, STORE_PARTS);
    do {
        claim(store, block, &seen);
        err = store_load(store, block, seen, context, context->plain);
        if (err == 0) {
            patch(context->plain, offset, buf, len);
            err = store_make(store, block, context, context->plain, &word);
        }
        if (err && store_has_object(seen))
            zs_direct_unclaim(store->zs, (uint32_t)block, seen);
        if (err && err != -KL_ESTALE)
            return err;
    } while (err || !store_replace(store, block, seen, word));
    return 0;
}

static int write_with(struct kl_store *store, struct store_context *context, uint64_t block,
                      uint32_t offset, const void *buf, uint32_t len)
{
    uint64_t word;
    int err;

    if (!buf || len < store->block_bytes)
        return context ? write_part(store, context, block, offset, buf, len) : STORE_NEEDS_CONTEXT;
    err = store_make(store, block, context, buf, &word); /* I1 */
    if (err == 0)
        swap(store, block, word);
    return err;
}

static int write_here(struct kl_store *store, uint64_t block, uint32_t offset, const void *buf,
                      uint32_t len)
{
    int err = write_with(store, NULL, block, offset, buf, len); /* I2 */
    struct store_context *context;

    if (err != STORE_NEEDS_CONTEXT)
        return err;
    context = store_context_get(store);
    if (!context)
        return -KL_ENOMEM;
    err = write_with(store, context, block, offset, buf, len);
    store_context_put(context);
    return err;
}

/* A part of a block that is on the target: that comes back first.  No room: others go,
 * if there is a target.  No context is held meanwhile. (T7 of writeback.h) */
static int write_any(struct kl_store *store, uint64_t block, uint32_t offset, const void *buf,
                     uint32_t len)
{
    uint64_t until = 0;
    bool again;
    int err;

    do {
        again = false;
        err = write_here(store, block, offset, buf, len);
        if (err == STORE_AWAY) {
            err = store_bring_back(store, block);
            again = err == 0;
        }
        if (err == -KL_ENOSPC)
            again = store_make_room(store, &until);
    } while (again);
    if (err == -KL_ENOSPC)
        store_tick(store, STORE_REFUSED);
    return err;
}

int kl_store_write(struct kl_store *store, uint64_t block, uint32_t offset, const void *buf,
                   uint32_t len)
{
    if (!range_ok(store, block, offset, len))
        return -KL_ERANGE;
    if (!buf && len > 0)
        return -KL_EINVAL;
    store_tick(store, STORE_WRITES);
    return len == 0 ? 0 : write_any(store, block, offset, buf, len);
}

int kl_store_discard(struct kl_store *store, uint64_t block, uint32_t offset, uint32_t len)
{
    if (!range_ok(store, block, offset, len))
        return -KL_ERANGE;
    store_tick(store, STORE_DISCARDS);
    if (len == 0)
        return 0;
    if (len < store->block_bytes)
        return write_any(store, block, offset, NULL, len);
    swap(store, block, 0);
    return 0;
}

static bool forget(struct kl_store *store, uint64_t index, void *arg)
{
    (void)arg;
    if (index < store->blocks && atomic_load_explicit(&store->table[index], memory_order_relaxed))
        swap(store, index, 0);
    return true;
}

uint64_t kl_store_reset(struct kl_store *store, uint64_t blocks)
{
    return store_sweep(store, &store->reset_cursor, blocks, forget, NULL);
}
