// SPDX-License-Identifier: Apache-2.0
/* A block's contents: from a word to plain bytes and back. */
#include "store/entry.h"
#include "store/store.h"

enum { LEAST_GAIN = 64 }; /* bytes; less than that, and it is kept as it is */

#define CONTENTS_BITS                                                                              \
    ~(ZS_W_PLACE | STORE_W_NOTES) /* of an object's word, wherever the object is */

/* The pattern as it is from this offset on. */
void store_fill(void *plain, uint32_t pattern, uint32_t offset, uint32_t bytes)
{
    char turned[sizeof(pattern)];

    if (pattern == 0) {
        memset(plain, 0, bytes);
        return;
    }
    for (uint32_t i = 0; i < sizeof(turned); i++)
        turned[i] = ((const char *)&pattern)[(offset + i) % sizeof(pattern)];
    if (bytes <= sizeof(turned)) {
        memcpy(plain, turned, bytes);
        return;
    }
    memcpy(plain, turned, sizeof(turned));
    for (uint32_t done = sizeof(turned), n; done < bytes; done += n) {
        n = done < bytes - done ? done : bytes - done;
        memcpy((char *)plain + done, plain, n);
    }
}

/* One pattern of four bytes, all over: the block equals itself shifted by four. */
static bool is_same(const void *plain, uint32_t bytes, uint32_t *pattern)
{
    memcpy(pattern, plain, sizeof(*pattern));
    return memcmp(plain, (const char *)plain + sizeof(*pattern), bytes - sizeof(*pattern)) == 0;
}

/* The bytes of an object, or of a block on the target, whose word that is: compressed. */
int store_unpack(struct kl_store *store, uint64_t word, struct store_context *context,
                 const void *packed, void *plain)
{
    const struct kl_codec *codec = &store->codec[store_codec(word)];
    void *own = store_codec_context(store, context, store_codec(word));

    if (!own)
        return -KL_ENOMEM;
    if (!codec->decompress(codec, own, plain, store->block_bytes, packed, store_bytes(word)))
        return -KL_EILSEQ;
    return 0;
}

static int load_object(struct kl_store *store, uint64_t index, uint64_t word,
                       struct store_context *context, void *plain)
{
    bool raw = store_kind(word) == KL_STORE_RAW;
    uint64_t now;
    int err;

    if (!raw && !context)
        return STORE_NEEDS_CONTEXT;
    err = zs_direct_get(store->zs, (uint32_t)index, word, raw ? plain : context->packed,
                        raw ? store->block_bytes : store_bytes(word));
    if (err)
        return err;
    now = atomic_load_explicit(&store->table[index], memory_order_acquire);
    if ((now ^ word) & CONTENTS_BITS)
        return -KL_ESTALE;
    return raw ? 0 : store_unpack(store, word, context, context->packed, plain);
}

/* Of the word that block had.  -KL_ESTALE: it was swapped out meanwhile, or the object
 * moved.  context may be NULL: STORE_NEEDS_CONTEXT, then, if one is needed. */
int store_load(struct kl_store *store, uint64_t index, uint64_t word, struct store_context *context,
               void *plain)
{
    switch (store_kind(word)) {
    case KL_STORE_HOLE:
    case KL_STORE_SAME:
        store_fill(plain, store_pattern(word), 0, store->block_bytes);
        return 0;
    case KL_STORE_RAW:
    case KL_STORE_COMPRESSED:
        return load_object(store, index, word, context, plain);
    case KL_STORE_SHARED:
        return store_shared_load(store, index, word, context, plain);
    case KL_STORE_WRITTEN:
        return STORE_AWAY;
    default:
        return -KL_EILSEQ; /* there is no such word */
    }
}

/* The high-water mark of frames. */
static void note_frames(struct kl_store *store)
{
    uint64_t frames = zs_direct_frames(store->zs);
    uint64_t peak = atomic_load_explicit(&store->peak_frames, memory_order_relaxed);

    while (frames > peak &&
           !atomic_compare_exchange_weak_explicit(&store->peak_frames, &peak, frames,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    store_watch_frames(store, frames);
}

/* An object with these contents; *word is of this kind. */
int store_put(struct kl_store *store, uint64_t index, enum kl_store_kind kind, const void *bytes,
              uint32_t n, uint64_t *word)
{
    uint64_t name;
    int err = zs_direct_put(store->zs, (uint32_t)index, bytes, n, 0, &name);

    if ((err == -KL_ENOSPC || err == -KL_ENOMEM) && store_find_free(store) > 0)
        err = zs_direct_put(store->zs, (uint32_t)index, bytes, n, 0, &name);
    if (err)
        return -KL_ENOSPC;
    note_frames(store);
    *word = store_word(kind, name, kind == KL_STORE_RAW ? 0 : n);
    return 0;
}

/* Compressed in context->packed; 0: to no less than `most` bytes.  -KL_ENOMEM. */
int store_pack(struct kl_store *store, struct store_context *context, unsigned which,
               const void *plain, uint32_t most)
{
    const struct kl_codec *codec = &store->codec[which];
    void *own = store_codec_context(store, context, which);

    if (!own)
        return -KL_ENOMEM;
    if (most <= LEAST_GAIN)
        return 0;
    return (int)codec->compress(codec, own, context->packed, most - LEAST_GAIN, plain,
                                store->block_bytes);
}

/* Makes a word for these contents; nobody knows it yet.  context may be NULL, as above. */
int store_make(struct kl_store *store, uint64_t index, struct store_context *context,
               const void *plain, uint64_t *word)
{
    uint32_t pattern;
    int n;

    if (is_same(plain, store->block_bytes, &pattern)) {
        *word = store_same(pattern);
        return 0;
    }
    if (!context)
        return STORE_NEEDS_CONTEXT;
    if (store->hash && store_find_equal(store, index, context, plain, word))
        return 0;
    n = store_pack(store, context, 0, plain, store->block_bytes);
    if (n < 0)
        return n;
    if (n == 0)
        return store_put(store, index, KL_STORE_RAW, plain, store->block_bytes, word);
    return store_put(store, index, KL_STORE_COMPRESSED, context->packed, (uint32_t)n, word);
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
