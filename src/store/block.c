// SPDX-License-Identifier: Apache-2.0
/* A block's contents: from a word to plain bytes and back. */
#include "store/entry.h"
#include "store/store.h"

enum { LEAST_GAIN = 64 }; /* bytes; less than that, and it is kept raw */

static void fill(void *plain, uint32_t pattern, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += sizeof(pattern))
        memcpy((char *)plain + i, &pattern, sizeof(pattern));
}

/* One pattern of four bytes, all over: the block equals itself shifted by four. */
static bool is_same(const void *plain, uint32_t bytes, uint32_t *pattern)
{
    memcpy(pattern, plain, sizeof(*pattern));
    return memcmp(plain, (const char *)plain + sizeof(*pattern), bytes - sizeof(*pattern)) == 0;
}

/* Of the word that block had; -KL_ESTALE: it was swapped out meanwhile, or the object
 * moved. */
int store_load(struct kl_store *store, uint64_t block, uint64_t word, struct store_context *context,
               void *plain)
{
    uint32_t index = (uint32_t)block;
    int err;

    switch (store_kind(word)) {
    case KL_STORE_HOLE:
    case KL_STORE_SAME:
        fill(plain, store_pattern(word), store->block_bytes);
        return 0;
    case KL_STORE_RAW:
        return zs_direct_get(store->zs, index, word, plain, store->block_bytes);
    case KL_STORE_COMPRESSED:
        break;
    default:
        return -KL_EILSEQ; /* no such word is made yet */
    }
    err = zs_direct_get(store->zs, index, word, context->packed, store_bytes(word));
    if (err)
        return err;
    if (!store->codec.decompress(&store->codec, context->codec, plain, store->block_bytes,
                                 context->packed, store_bytes(word)))
        return -KL_EILSEQ;
    return 0;
}

static int put_object(struct kl_store *store, uint64_t block, enum kl_store_kind kind,
                      const void *bytes, uint32_t n, uint64_t *word)
{
    uint64_t name;
    int err = zs_direct_put(store->zs, (uint32_t)block, bytes, n, 0, &name);

    if ((err == -KL_ENOSPC || err == -KL_ENOMEM) && store_find_free(store) > 0)
        err = zs_direct_put(store->zs, (uint32_t)block, bytes, n, 0, &name);
    if (err)
        return -KL_ENOSPC;
    *word = store_word(kind, name, kind == KL_STORE_RAW ? 0 : n);
    return 0;
}

/* Makes a word for these contents; nobody knows it yet. */
int store_make(struct kl_store *store, uint64_t block, struct store_context *context,
               const void *plain, uint64_t *word)
{
    uint32_t pattern;
    size_t n;

    if (is_same(plain, store->block_bytes, &pattern)) {
        *word = store_same(pattern);
        return 0;
    }
    n = store->codec.compress(&store->codec, context->codec, context->packed,
                              store->block_bytes - LEAST_GAIN, plain, store->block_bytes);
    if (n == 0)
        return put_object(store, block, KL_STORE_RAW, plain, store->block_bytes, word);
    return put_object(store, block, KL_STORE_COMPRESSED, context->packed, (uint32_t)n, word);
}

/* (S2) sign: 1 for a word that came in, -1 for one that went out. */
void store_count(struct kl_store *store, uint64_t word, int sign)
{
    static const enum store_counter kinds[] = {
        [KL_STORE_SAME] = STORE_SAME,       [KL_STORE_COMPRESSED] = STORE_COMPRESSED,
        [KL_STORE_RAW] = STORE_RAW,         [KL_STORE_SHARED] = STORE_SHARED,
        [KL_STORE_WRITTEN] = STORE_WRITTEN,
    };
    enum kl_store_kind kind = store_kind(word);
    uint64_t bytes = kind == KL_STORE_RAW ? store->block_bytes : store_bytes(word);

    if (kind == KL_STORE_HOLE)
        return;
    atomic_fetch_add_explicit(&store->counter[kinds[kind]], (uint64_t)(int64_t)sign,
                              memory_order_relaxed);
    if (store_has_object(word))
        atomic_fetch_add_explicit(&store->counter[STORE_PAYLOAD], (uint64_t)(int64_t)sign * bytes,
                                  memory_order_relaxed);
}

/* Out of room: object compaction may find some.  Frames that it freed. */
int store_find_free(struct kl_store *store)
{
    int64_t freed = kl_zs_compact(store->zs, 0);

    if (freed == -KL_EAGAIN) { /* somebody is at it: as good as done */
        store->host.relax(store->host.ctx, 20);
        return 1;
    }
    return freed > 0;
}
