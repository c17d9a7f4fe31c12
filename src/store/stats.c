// SPDX-License-Identifier: Apache-2.0
/* Figures of a store, and its recount. */
#include "store/entry.h"
#include "store/store.h"

static uint64_t counter(const struct kl_store *store, enum store_counter which)
{
    return atomic_load_explicit(&store->counter[which], memory_order_relaxed);
}

void kl_store_get_stats(struct kl_store *store, struct kl_store_stats *stats)
{
    struct kl_store_stats s;
    struct kl_zs_stats zs = {.size = sizeof(zs)};

    kl_zs_get_stats(store->zs, &zs);
    s = (struct kl_store_stats){
        .size = sizeof(s),
        .blocks = store->blocks,
        .block_bytes = store->block_bytes,
        .limit_bytes = store->limit_bytes,
        .compressed = counter(store, STORE_COMPRESSED),
        .raw = counter(store, STORE_RAW),
        .same = counter(store, STORE_SAME),
        .payload_bytes = counter(store, STORE_PAYLOAD),
        .frame_bytes = zs.frames * kl_zone_frame_bytes(store->zone),
        .metadata_bytes = atomic_load(&store->metadata_bytes) + zs.metadata_bytes,
        .reads = counter(store, STORE_READS),
        .writes = counter(store, STORE_WRITES),
        .discards = counter(store, STORE_DISCARDS),
        .refused = counter(store, STORE_REFUSED),
    };
    kli_stats_out(stats, &s, sizeof(s));
}

int kl_store_check(struct kl_store *store, const char **what)
{
    uint64_t n[STORE_COUNTERS] = {0}, objects = 0;
    struct kl_zs_stats zs = {.size = sizeof(zs)};
    const char *broken = NULL;
    int err = kl_zs_check(store->zs, what);

    if (err)
        return err;
    for (uint64_t block = 0; block < store->blocks; block++) {
        uint64_t word = atomic_load(&store->table[block]);
        enum kl_store_kind kind = store_kind(word);
        uint64_t bytes = kind == KL_STORE_RAW ? store->block_bytes : store_bytes(word);

        n[STORE_SAME] += kind == KL_STORE_SAME;
        n[STORE_COMPRESSED] += kind == KL_STORE_COMPRESSED;
        n[STORE_RAW] += kind == KL_STORE_RAW;
        if (!store_has_object(word))
            continue;
        objects++;
        n[STORE_PAYLOAD] += bytes;
        if (zs_direct_size(store->zs, word) < bytes)
            broken = "a block's object is gone or too small"; /* S1 */
    }
    for (unsigned i = STORE_COMPRESSED; i <= STORE_PAYLOAD; i++) {
        if (n[i] != counter(store, i))
            broken = "blocks are miscounted"; /* S2 */
    }
    kl_zs_get_stats(store->zs, &zs);
    if (zs.objects != objects)
        broken = "an object is lost";
    if (what)
        *what = broken;
    return broken ? -KL_EIO : 0;
}
