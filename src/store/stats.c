// SPDX-License-Identifier: Apache-2.0
/* Figures of a store. */
#include "store/entry.h"
#include "store/store.h"

static void counters(const struct kl_store *store, struct kl_store_stats *s)
{
    s->compressed = store_sum(store, STORE_COMPRESSED);
    s->raw = store_sum(store, STORE_RAW);
    s->same = store_sum(store, STORE_SAME);
    s->shared = store_sum(store, STORE_SHARED);
    s->written = store_sum(store, STORE_WRITTEN);
    s->recompressed_blocks = store_sum(store, STORE_SECOND);
    s->payload_bytes = store_sum(store, STORE_PAYLOAD);
    s->reads = store_sum(store, STORE_READS);
    s->writes = store_sum(store, STORE_WRITES);
    s->partial_writes = store_sum(store, STORE_PARTS);
    s->discards = store_sum(store, STORE_DISCARDS);
    s->refused = store_sum(store, STORE_REFUSED);
    s->shared_objects = store_sum(store, STORE_SHARED_OBJECTS);
    s->duplicates = store_sum(store, STORE_DUPLICATES);
    s->recompressions = store_sum(store, STORE_RECOMPRESSED);
    s->recompressions_in_vain = store_sum(store, STORE_IN_VAIN);
    s->recompression_saved_bytes = store_sum(store, STORE_SAVED);
}

void kl_store_get_stats(struct kl_store *store, struct kl_store_stats *s)
{
    uint64_t frame_bytes = kl_zone_frame_bytes(store->zone);
    struct kl_zs_stats zs = {.size = sizeof(zs)};
    struct kl_store_stats now = {
        .blocks = store->blocks,
        .block_bytes = store->block_bytes,
        .limit_bytes = store->limit_bytes,
        .ticks = atomic_load_explicit(&store->ticks, memory_order_relaxed),
        .peak_frame_bytes =
            atomic_load_explicit(&store->peak_frames, memory_order_relaxed) * frame_bytes,
    };

    kl_zs_get_stats(store->zs, &zs);
    now.frame_bytes = zs.frames * frame_bytes;
    now.peak_frame_bytes = kli_max(now.peak_frame_bytes, now.frame_bytes);
    now.metadata_bytes = atomic_load(&store->metadata_bytes) + zs.metadata_bytes;
    counters(store, &now);
    kli_stats_out(s, &now, sizeof(now));
}

void kl_store_reset_peak(struct kl_store *store)
{
    atomic_store_explicit(&store->peak_frames, zs_direct_frames(store->zs), memory_order_relaxed);
}
