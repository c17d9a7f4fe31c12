// SPDX-License-Identifier: Apache-2.0
/* The store's background work, done by the steps of the zone (klotski/step.h).
 *
 *            a tick is due              all are older             all were looked at
 *   WAITING --------------> AGEING --------------------> COLD ------------------------> WAITING
 *                                   (no second compressor: WAITING)
 *
 * (K1) One thread at a time works, so its state needs no care.
 * (K2) A call looks at WORDS words for each unit of its budget, and packs no more blocks
 *      than a PACK_SHARE of it.
 */
#include "klotski/writeback.h"
#include "store/store.h"

enum { WORDS = 16, PACK_SHARE = 32, COLD_PIECE = 64 };

enum stage { WAITING, AGEING, COLD };

static uint64_t now_ns(const struct kl_store *store)
{
    return store->host.now_ns(store->host.ctx);
}

/* True when this round is over; also when there is no room: the next tick tries again. */
static bool recompress_some(struct kl_store *store, uint64_t words, uint64_t packs)
{
    struct store_cold done = {.left = 1};

    for (uint64_t looked = 0; looked < words && done.tried < packs; looked += COLD_PIECE) {
        int err = store_recompress(store, COLD_PIECE, &done);

        if (err || done.left == 0)
            return true;
    }
    return false;
}

static void begin_tick(struct kl_store *store)
{
    uint64_t now = now_ns(store);

    if (now < store->tick_due)
        return;
    store->tick_due = now + store->idle_ns;
    store->stage = AGEING;
}

static uint64_t idle_work(struct kl_store *store, uint32_t budget)
{
    uint64_t words = (uint64_t)budget * WORDS, now;

    if (store->idle_ns == 0)
        return KL_WORK_DONE;
    if (store->stage == WAITING)
        begin_tick(store);
    else if (store->stage == COLD && recompress_some(store, words, budget / PACK_SHARE + 1))
        store->stage = WAITING;
    if (store->stage == AGEING && kl_store_age(store, words) == 0)
        store->stage = store->has_second ? COLD : WAITING;
    if (store->stage != WAITING)
        return 0;
    now = now_ns(store);
    return now < store->tick_due ? store->tick_due - now : 0;
}

static uint64_t work(void *ctx, uint32_t budget)
{
    uint64_t again = kli_min(idle_work(ctx, budget), store_contexts_rest(ctx));

    return kli_min(again, kl_store_writeback(ctx, 0));
}

/* Cold blocks, which leave memory soon, when the target has them: those that are on their
 * way are told as freed.  What lies idle in the pool behind is the pool's shrinker's. */
static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    (void)shrink;
    return store_cold_blocks(ctx);
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    uint64_t begun = store_cold_begin(ctx, shrink->nr_to_scan, shrink->priority);

    shrink->nr_scanned = begun;
    return begun > 0 ? begun : KL_SHRINK_STOP;
}

int store_work_begin(struct kl_store *store)
{
    const struct kl_shrinker_ops ops = {.size = sizeof(ops),
                                        .name = "store",
                                        .seeks = 4 * KL_SHRINK_DEFAULT_SEEKS,
                                        .flags = KL_SHRINKER_COLD,
                                        .count = count,
                                        .scan = scan,
                                        .work = work};
    bool needed = store->idle_ns > 0 || atomic_load(&store->writeback);
    int err;

    store->tick_due = now_ns(store) + store->idle_ns;
    err = kl_shrinker_register(store->zone, &ops, store, &store->shrinker);
    if (err)
        return needed ? err : 0;
    return needed ? kl_shrinker_want(store->zone, store->shrinker) : 0;
}

int store_work_end(struct kl_store *store)
{
    int err = store->shrinker.v ? kl_shrinker_unregister(store->zone, store->shrinker) : 0;

    if (!err)
        store->shrinker = (kl_shrinker_id){0};
    return err;
}
