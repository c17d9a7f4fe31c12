// SPDX-License-Identifier: Apache-2.0
/* Recompression of cold blocks: what has not been read or written for some ticks is
 * packed by the second compressor, which is slower and denser.
 *
 * The object is claimed, read, packed and replaced.  Readers go on meanwhile; who
 * overwrites the block wins, and who writes a part of it waits.
 *
 * (C1) A block that the second compressor gains nothing on is TRIED, and left alone until
 *      it is written.
 */
#include "store/entry.h"
#include "store/store.h"

struct cold {
    struct store_context *context;
    struct store_cold *done;
    int err; /* why the sweep ended early */
};

static bool due(const struct kl_store *store, uint64_t word)
{
    return store_has_object(word) && store_age(word) >= store->recompress_age &&
           store_codec(word) == 0 && !(word & (STORE_W_TRIED | ZS_W_CLAIMED));
}

/* The claimed object, denser; *next is nobody's yet.  -KL_EAGAIN: nothing is gained. */
static int make_denser(struct kl_store *store, uint64_t index, struct store_context *context,
                       uint64_t word, uint64_t *next)
{
    int n, err = store_load(store, index, word, context, context->plain);

    if (err)
        return err;
    n = store_pack(store, context, 1, context->plain, (uint32_t)store_payload(store, word));
    if (n <= 0)
        return n < 0 ? n : -KL_EAGAIN;
    err = store_put(store, index, KL_STORE_COMPRESSED, context->packed, (uint32_t)n, next);
    *next = store_with_codec(*next, 1) | (word & STORE_W_AGE);
    return err;
}

/* C1 */
static void in_vain(struct kl_store *store, uint64_t index, uint64_t word)
{
    kli_apply(&store->table[index], store_w_tried, word & ZS_W_NAME, NULL);
    store_tick(store, STORE_IN_VAIN);
}

static bool recompress(struct kl_store *store, uint64_t index, void *arg)
{
    uint64_t word = atomic_load_explicit(&store->table[index], memory_order_acquire);
    struct cold *cold = arg;
    uint64_t next = 0, saved;
    int err;

    if (!due(store, word) || !zs_direct_claim(store->zs, (uint32_t)index, word))
        return true;
    cold->done->tried++;
    err = make_denser(store, index, cold->context, word, &next);
    if (err == 0) {
        saved = store_payload(store, word) - store_payload(store, next);
        if (store_replace(store, index, word, next)) {
            store_tick(store, STORE_RECOMPRESSED);
            store_add(store, STORE_SAVED, saved);
            cold->done->saved += saved;
        }
        return true;
    }
    if (err == -KL_EAGAIN)
        in_vain(store, index, word);
    else if (err == -KL_ENOSPC || err == -KL_ENOMEM)
        cold->err = err;
    zs_direct_unclaim(store->zs, (uint32_t)index, word);
    return cold->err == 0;
}

int store_recompress(struct kl_store *store, uint64_t budget, struct store_cold *done)
{
    struct cold cold = {.context = store_context_get(store), .done = done};

    if (!cold.context)
        return -KL_ENOMEM;
    done->left = store_sweep(store, &store->cold_cursor, budget, recompress, &cold);
    store_context_put(cold.context);
    return cold.err;
}

int64_t kl_store_recompress(struct kl_store *store, uint64_t blocks)
{
    struct store_cold done = {0};
    int err;

    if (!store->has_second)
        return -KL_ENOTSUP;
    err = store_recompress(store, blocks, &done);
    return err ? err : (int64_t)done.saved;
}
