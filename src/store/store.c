// SPDX-License-Identifier: Apache-2.0
/* Making and ending a store, and what can be asked of it. */
#include "store/store.h"
#include "store/entry.h"
#include "zs/direct.h"

enum { MIN_BLOCK = 4096, MAX_BLOCK = 65536, DEFAULT_AGE = 2 };

static bool codec_ok(const struct kl_codec *codec)
{
    return codec->size == sizeof(*codec) && codec->name && codec->context_create &&
           codec->context_destroy && codec->compress && codec->decompress;
}

static bool config_ok(const struct kl_store_config *c)
{
    return c && c->size == sizeof(*c) && c->blocks > 0 && c->blocks <= (UINT64_C(1) << 28) &&
           kli_is_pow2(c->block_bytes) && c->block_bytes >= MIN_BLOCK &&
           c->block_bytes <= MAX_BLOCK && c->codec && codec_ok(c->codec) &&
           (!c->recompress || codec_ok(c->recompress)) && c->recompress_age <= STORE_W_AGE_MAX &&
           !(c->flags & ~(unsigned)(KL_STORE_DEDUP | KL_STORE_FIXED_CLASSES)) &&
           (!(c->flags & KL_STORE_DEDUP) || c->hash);
}

void *store_meta_get(struct kl_store *store, size_t bytes)
{
    void *mem = kl_zone_meta_alloc(store->zone, bytes);

    if (mem)
        atomic_fetch_add(&store->metadata_bytes, bytes);
    return mem;
}

void store_meta_put(struct kl_store *store, void *mem, size_t bytes)
{
    if (!mem)
        return;
    atomic_fetch_sub(&store->metadata_bytes, bytes);
    kl_zone_meta_free(store->zone, mem, bytes);
}

static void free_store(struct kl_store *store)
{
    store_contexts_free(store);
    store_meta_put(store, store->hint, store_hints(store) * sizeof(kli_word));
    store_meta_put(store, store->refs, (store->entries - store->blocks) * sizeof(kli_word));
    store_meta_put(store, store->table, store->entries * sizeof(kli_word));
    store_meta_put(store, store->counts, store->host.ncpus * sizeof(struct store_counts));
    kl_zone_meta_free(store->zone, store, sizeof(*store));
}

static int create_parts(struct kl_store *store)
{
    size_t frame_bytes = kl_zone_frame_bytes(store->zone);
    struct kl_zs_config zs = {.size = sizeof(zs), .name = "store"};
    int err = store_contexts_create(store);

    if (err)
        return err;
    store->counts = store_meta_get(store, store->host.ncpus * sizeof(struct store_counts));
    store->table = store_meta_get(store, store->entries * sizeof(kli_word));
    if (!store->counts || !store->table)
        return -KL_ENOMEM;
    if (store->hash) {
        store->hint = store_meta_get(store, store_hints(store) * sizeof(kli_word));
        store->refs = store_meta_get(store, (store->entries - store->blocks) * sizeof(kli_word));
        if (!store->hint || !store->refs)
            return -KL_ENOMEM;
    }
    zs.typical_bytes = store->block_bytes;
    zs.auto_start_percent = store->auto_start;
    zs.auto_stop_percent = store->auto_stop;
    zs.flags = store->fixed_classes ? KL_ZS_FIXED_CLASSES : 0;
    if (store->limit_bytes)
        zs.limit_frames = kli_max(1, store->limit_bytes / frame_bytes);
    return zs_create_direct(store->zone, &zs, store->table, (uint32_t)store->entries, &store->zs);
}

static void configure(struct kl_store *store, const struct kl_store_config *config)
{
    store->codec[0] = *config->codec;
    store->has_second = config->recompress != NULL;
    if (store->has_second)
        store->codec[1] = *config->recompress;
    store->recompress_age = config->recompress_age ? config->recompress_age : DEFAULT_AGE;
    store->idle_ns = config->idle_ns;
    store->blocks = config->blocks;
    store->entries = config->blocks;
    if (config->flags & KL_STORE_DEDUP) {
        store->hash = config->hash;
        store->entries += (config->blocks + 1) / 2; /* each is for two blocks, or more */
        store->shared_fresh = config->blocks;
    }
    store->block_bytes = config->block_bytes;
    store->limit_bytes = config->limit_bytes;
    store->auto_start = config->auto_start_percent;
    store->auto_stop = config->auto_stop_percent;
    store->fixed_classes = config->flags & KL_STORE_FIXED_CLASSES;
}

/* Nobody has used it yet. */
static void abandon(struct kl_store *store)
{
    store_work_end(store);
    if (store->zs)
        kl_zs_destroy(store->zs);
    free_store(store);
}

int kl_store_create(struct kl_zone *zone, const struct kl_store_config *config,
                    struct kl_store **out)
{
    struct kl_store *store;
    int err;

    if (!config_ok(config))
        return -KL_EINVAL;
    store = kl_zone_meta_alloc(zone, sizeof(*store));
    if (!store)
        return -KL_ENOMEM;
    store->zone = zone;
    store->host = *kl_zone_host(zone);
    store->metadata_bytes = sizeof(*store);
    configure(store, config);
    err = create_parts(store);
    if (!err)
        err = store_work_begin(store);
    if (err)
        abandon(store);
    else
        *out = store;
    return err;
}

int kl_store_destroy(struct kl_store *store)
{
    int err;

    if (!store)
        return 0;
    err = store_work_end(store);
    if (err)
        return err;
    err = kl_zs_destroy(store->zs);
    if (err == 0)
        store_writeback_end(store);
    if (err == 0)
        free_store(store);
    else
        (void)store_work_begin(store); /* as it was, but for that there is no promise */
    return err;
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
