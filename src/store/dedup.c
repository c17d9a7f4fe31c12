// SPDX-License-Identifier: Apache-2.0
/* Duplicate detection: a block that equals one that is there shares its object.
 *
 * Hints say which entry may have contents of a hash.  They are a cache and may be wrong
 * in any way: who follows one compares every byte.  So they are never taken back, only
 * replaced, and need no lock.  A hint is half of the hash and an index + 1; its set of
 * eight is found by the other half.
 *
 * A duplicate of a block that has an object to itself makes a shared entry of it: the
 * object is claimed, compared, put once more for the entry, and the block's word
 * replaced.  Whoever can't have the claim now stores its block for itself.
 *
 * (U1) What is shared was compared while nobody could change it: the object was claimed,
 *      or held by a reference (H3).
 */
#include "base/trace.h"
#include "store/entry.h"
#include "store/store.h"

enum { WAYS = 8 };

/* Room for hints: five for four blocks. */
size_t store_hints(const struct kl_store *store)
{
    return (size_t)(store->blocks * 5 / 4 / WAYS + 1) * WAYS;
}

static kli_word *set_of(const struct kl_store *store, uint64_t hash)
{
    uint64_t sets = store_hints(store) / WAYS;

    return &store->hint[((uint32_t)hash * sets >> 32) * WAYS];
}

static uint64_t hint_of(uint64_t hash, uint64_t index)
{
    return (hash >> 32 << 32) | (index + 1);
}

/* Another block of these contents will find this one. */
static void remember(struct kl_store *store, uint64_t hash, uint64_t index)
{
    uint64_t hint = hint_of(hash, index);
    kli_word *set = set_of(store, hash);

    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t was = atomic_load_explicit(&set[i], memory_order_relaxed);

        if (was == hint)
            return;
        if (was == 0 && atomic_compare_exchange_strong(&set[i], &was, hint))
            return;
    }
    atomic_store_explicit(&set[index % WAYS], hint, memory_order_relaxed);
}

/* Of an object that can't change: claimed, or of an entry that we have. */
static bool equals(struct kl_store *store, uint64_t index, uint64_t word,
                   struct store_context *context, const void *plain)
{
    return store_load(store, index, word, context, context->other) == 0 &&
           memcmp(context->other, plain, store->block_bytes) == 0;
}

static bool share_entry(struct kl_store *store, uint64_t index, struct store_context *context,
                        const void *plain, uint64_t *word)
{
    bool equal = false, again;

    if (!store_shared_get(store, index, word))
        return false;
    KLI_TRACE_STEP(st_share_got, index, *word, 0);
    do { /* its object may move, but is there */
        uint64_t object = atomic_load_explicit(&store->table[index], memory_order_acquire);

        equal = equals(store, index, object, context, plain);
        again = !equal && ((atomic_load(&store->table[index]) ^ object) & ~STORE_W_NOTES);
    } while (again);
    if (!equal)
        store_shared_put(store, *word);
    return equal;
}

/* The claimed object of `index`, which is in context, becomes a shared one. */
static bool make_shared(struct kl_store *store, uint64_t index, uint64_t seen, uint64_t hash,
                        struct store_context *context, uint64_t *word)
{
    bool raw = store_kind(seen) == KL_STORE_RAW;

    KLI_TRACE_STEP(st_share_equal, index, seen, 0);
    if (store_shared_new(store, seen, raw ? context->other : context->packed, word) != 0) {
        zs_direct_unclaim(store->zs, (uint32_t)index, seen);
        return false;
    }
    remember(store, hash, store_shared_index(*word));
    KLI_TRACE_STEP(st_share_made, index, seen, *word);
    store_replace(store, index, seen, *word); /* drops that reference if it fails */
    return true;
}

static bool share_block(struct kl_store *store, uint64_t index, uint64_t hash,
                        struct store_context *context, const void *plain, uint64_t *word)
{
    uint64_t seen = atomic_load_explicit(&store->table[index], memory_order_acquire);

    if (!store_has_object(seen) || !zs_direct_claim(store->zs, (uint32_t)index, seen))
        return false;
    if (equals(store, index, seen, context, plain)) /* U1 */
        return make_shared(store, index, seen, hash, context, word);
    zs_direct_unclaim(store->zs, (uint32_t)index, seen);
    return false;
}

/* A word for `block` with these contents that are there already: *word is a reference
 * then.  If there are none, they will be found here from now on. */
bool store_find_equal(struct kl_store *store, uint64_t block, struct store_context *context,
                      const void *plain, uint64_t *word)
{
    uint64_t hash = store->hash(plain, store->block_bytes);
    kli_word *set = set_of(store, hash);

    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t hint = atomic_load_explicit(&set[i], memory_order_relaxed);
        uint64_t index = (uint32_t)hint - 1;
        bool found;

        if (hint == 0 || hint >> 32 != hash >> 32 || index == block)
            continue;
        if (index >= store->blocks)
            found = share_entry(store, index, context, plain, word);
        else
            found = share_block(store, index, hash, context, plain, word);
        if (!found)
            continue;
        store_tick(store, STORE_DUPLICATES);
        return true;
    }
    remember(store, hash, block);
    return false;
}
