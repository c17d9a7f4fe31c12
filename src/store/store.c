// SPDX-License-Identifier: Apache-2.0
/* The store's public face: create, destroy, read, write, discard. */
#include "store/store.h"
#include "store/entry.h"
#include "zs/direct.h"

enum { MIN_BLOCK = 4096, MAX_BLOCK = 65536 };

static bool codec_ok(const struct kl_codec *codec)
{
    return codec && codec->size == sizeof(*codec) && codec->name && codec->context_create &&
           codec->context_destroy && codec->compress && codec->decompress;
}

static bool config_ok(const struct kl_store_config *c)
{
    return c && c->size == sizeof(*c) && c->blocks > 0 && c->blocks <= (UINT64_C(1) << 28) &&
           kli_is_pow2(c->block_bytes) && c->block_bytes >= MIN_BLOCK &&
           c->block_bytes <= MAX_BLOCK && codec_ok(c->codec);
}

static void free_store(struct kl_store *store)
{
    struct kl_zone *zone = store->zone;

    store_contexts_free(store);
    if (store->table)
        kl_zone_meta_free(zone, store->table, store->entries * sizeof(kli_word));
    kl_zone_meta_free(zone, store, sizeof(*store));
}

static int create_parts(struct kl_store *store)
{
    size_t frame_bytes = kl_zone_frame_bytes(store->zone);
    struct kl_zs_config zs = {.size = sizeof(zs), .name = "store"};
    int err = store_contexts_create(store);

    if (err)
        return err;
    store->table = kl_zone_meta_alloc(store->zone, store->entries * sizeof(kli_word));
    if (!store->table)
        return -KL_ENOMEM;
    store->metadata_bytes += sizeof(*store) + store->entries * sizeof(kli_word);
    if (store->limit_bytes)
        zs.limit_frames = kli_max(1, store->limit_bytes / frame_bytes);
    return zs_create_direct(store->zone, &zs, store->table, (uint32_t)store->entries, &store->zs);
}

int kl_store_create(struct kl_zone *zone, const struct kl_store_config *config,
                    struct kl_store **out)
{
    const struct kl_host *host = kl_zone_host(zone);
    struct kl_store *store;
    int err;

    if (!config_ok(config))
        return -KL_EINVAL;
    store = kl_zone_meta_alloc(zone, sizeof(*store));
    if (!store)
        return -KL_ENOMEM;
    store->zone = zone;
    store->host = *host;
    store->codec = *config->codec;
    store->blocks = config->blocks;
    store->entries = config->blocks;
    store->block_bytes = config->block_bytes;
    store->limit_bytes = config->limit_bytes;
    err = create_parts(store);
    if (err) {
        free_store(store);
        return err;
    }
    *out = store;
    return 0;
}

int kl_store_destroy(struct kl_store *store)
{
    int err;

    if (!store)
        return 0;
    err = kl_zs_destroy(store->zs);
    if (err == 0)
        free_store(store);
    return err;
}

static bool range_ok(const struct kl_store *store, uint64_t block, uint32_t offset, uint32_t len)
{
    return block < store->blocks && offset <= store->block_bytes &&
           len <= store->block_bytes - offset;
}

static void tick(struct kl_store *store, enum store_counter which)
{
    atomic_fetch_add_explicit(&store->counter[which], 1, memory_order_relaxed);
}

/* An access: the block is young again. */
static void touch(struct kl_store *store, uint64_t block, uint64_t seen)
{
    if (store_age(seen) > 0)
        kli_apply(&store->table[block], store_w_touch, 0, NULL);
}

/* The block as it is at one moment; *seen is its word then. */
static int load_now(struct kl_store *store, uint64_t block, struct store_context *context,
                    void *plain, uint64_t *seen)
{
    int err;

    do {
        *seen = atomic_load_explicit(&store->table[block], memory_order_acquire);
        err = store_load(store, block, *seen, context, plain);
    } while (err == -KL_ESTALE);
    touch(store, block, *seen);
    return err;
}

int kl_store_read(struct kl_store *store, uint64_t block, uint32_t offset, void *buf, uint32_t len)
{
    struct store_context *context;
    uint64_t seen;
    int err;

    if (!range_ok(store, block, offset, len))
        return -KL_ERANGE;
    tick(store, STORE_READS);
    context = store_context_get(store);
    if (!context)
        return -KL_ENOMEM;
    if (len == store->block_bytes) {
        err = load_now(store, block, context, buf, &seen);
    } else {
        err = load_now(store, block, context, context->plain, &seen);
        if (err == 0)
            memcpy(buf, context->plain + offset, len);
    }
    store_context_put(context);
    return err;
}

/* What is to be stored is in; the word that it replaced is out. (S2: what comes in was
 * counted before) */
static void swapped_out(struct kl_store *store, uint64_t block, uint64_t old)
{
    store_count(store, old, -1);
    zs_direct_free(store->zs, (uint32_t)block, old);
}

static int write_whole(struct kl_store *store, struct store_context *context, uint64_t block,
                       const void *buf)
{
    uint64_t word, old;
    int err = store_make(store, block, context, buf, &word);

    if (err)
        return err;
    store_count(store, word, 1);
    old = atomic_exchange_explicit(&store->table[block], word, memory_order_acq_rel);
    swapped_out(store, block, old);
    return 0;
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
static bool replace(struct kl_store *store, uint64_t block, uint64_t seen, uint64_t next)
{
    bool in;

    store_count(store, next, 1);
    if (store_has_object(seen))
        in = zs_direct_commit(store->zs, (uint32_t)block, seen, next);
    else
        in = atomic_compare_exchange_strong(&store->table[block], &(uint64_t){seen}, next);
    if (in)
        store_count(store, seen, -1);
    else
        swapped_out(store, block, next);
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
    } while (err || !replace(store, block, seen, word));
    return 0;
}

static int write_any(struct kl_store *store, uint64_t block, uint32_t offset, const void *buf,
                     uint32_t len)
{
    struct store_context *context = store_context_get(store);
    int err;

    if (!context)
        return -KL_ENOMEM;
    if (buf && len == store->block_bytes)
        err = write_whole(store, context, block, buf);
    else
        err = write_part(store, context, block, offset, buf, len);
    store_context_put(context);
    if (err == -KL_ENOSPC)
        tick(store, STORE_REFUSED);
    return err;
}

int kl_store_write(struct kl_store *store, uint64_t block, uint32_t offset, const void *buf,
                   uint32_t len)
{
    if (!range_ok(store, block, offset, len))
        return -KL_ERANGE;
    if (!buf && len > 0)
        return -KL_EINVAL;
    tick(store, STORE_WRITES);
    return len == 0 ? 0 : write_any(store, block, offset, buf, len);
}

int kl_store_discard(struct kl_store *store, uint64_t block, uint32_t offset, uint32_t len)
{
    uint64_t old;

    if (!range_ok(store, block, offset, len))
        return -KL_ERANGE;
    tick(store, STORE_DISCARDS);
    if (len == 0)
        return 0;
    if (len < store->block_bytes)
        return write_any(store, block, offset, NULL, len);
    old = atomic_exchange_explicit(&store->table[block], 0, memory_order_acq_rel);
    swapped_out(store, block, old);
    return 0;
}

int kl_store_kind(struct kl_store *store, uint64_t block)
{
    if (block >= store->blocks)
        return -KL_ERANGE;
    return (int)store_kind(atomic_load_explicit(&store->table[block], memory_order_relaxed));
}

int64_t kl_store_compact(struct kl_store *store, uint32_t budget)
{
    return kl_zs_compact(store->zs, budget);
}

struct kl_zs *kl_store_zs(struct kl_store *store)
{
    return store->zs;
}
