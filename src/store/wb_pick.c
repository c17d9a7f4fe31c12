// SPDX-License-Identifier: Apache-2.0
/* Which block goes next: a clock over the table, the oldest first. */
#include "store/writeback.h"

static bool fits(const struct store_writeback *wb, uint64_t word, unsigned least)
{
    if (!store_has_object(word) || (word & (STORE_W_WRITING | ZS_W_CLAIMED)))
        return false;
    if ((wb->config.flags & KL_WRITEBACK_RAW) && store_kind(word) == KL_STORE_RAW)
        return store_age(word) >= kli_min(1, least);
    return store_age(word) >= least;
}

/* The next block of an age of `least` or more, the older ones first.  false: there is
 * none; or the budget, of words to look at, is spent. */
bool wb_pick(struct store_writeback *wb, unsigned least, uint64_t *budget, uint64_t *block)
{
    struct kl_store *store = wb->store;
    uint64_t ticks = atomic_load_explicit(&store->ticks, memory_order_relaxed);

    if (wb->ticks_seen != ticks || wb->level < least) {
        wb->ticks_seen = ticks;
        wb->level = STORE_W_AGE_MAX;
        wb->barren = 0;
    }
    for (; *budget > 0; --*budget) {
        uint64_t at = wb->block_cursor, word;

        wb->block_cursor = at + 1 < store->blocks ? at + 1 : 0;
        word = atomic_load_explicit(&store->table[at], memory_order_relaxed);
        if (fits(wb, word, wb->level) && !wb_has_job(wb, at)) {
            wb->barren = 0;
            *block = at;
            return true;
        }
        if (++wb->barren < store->blocks)
            continue;
        wb->barren = 0;
        if (wb->level == least) {
            wb->level = STORE_W_AGE_MAX;
            return false;
        }
        wb->level--;
    }
    return false;
}

uint64_t wb_limit(const struct store_writeback *wb)
{
    const struct kl_store *store = wb->store;

    if (store->limit_bytes)
        return store->limit_bytes;
    return (uint64_t)kl_zone_frames(store->zone) * kl_zone_frame_bytes(store->zone);
}

/* Frames that compaction can free are as good as free: but to know how many these are takes
 * every class's lock, so that is asked only where all frames are too many. */
static bool above(const struct store_writeback *wb, unsigned percent)
{
    uint64_t most = wb_limit(wb) / 100 * percent / kl_zone_frame_bytes(wb->store->zone);
    struct kl_zs_stats zs = {.size = sizeof(zs)};

    if (zs_direct_frames(wb->store->zs) <= most)
        return false;
    kl_zs_get_stats(wb->store->zs, &zs);
    return zs.frames - zs.freeable_frames > most;
}

/* From the start share until the stop share. */
bool wb_over_share(struct store_writeback *wb)
{
    wb->draining = above(wb, wb->draining ? wb->config.stop_percent : wb->config.start_percent);
    return wb->draining;
}

bool wb_has_room(struct store_writeback *wb)
{
    return !above(wb, wb->config.stop_percent);
}
