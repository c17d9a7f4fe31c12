// SPDX-License-Identifier: Apache-2.0
/* The store's recount: it changes nothing. */
#include "store/entry.h"
#include "store/store.h"

/* S1 and W2; n adds up what is there. */
static const char *check_word(struct kl_store *store, uint64_t index, uint64_t n[STORE_COUNTERS])
{
    uint64_t word = atomic_load(&store->table[index]);

    store_weigh(store, index, word, n);
    if (word & ZS_W_CLAIMED)
        return "an object is claimed still";
    if (!store_has_object(word) && index >= store->blocks)
        return NULL; /* W3 */
    if (!store_has_object(word))
        return (word & STORE_W_NOTES) ? "a block without an object has an age" : NULL; /* W2 */
    if (zs_direct_size(store->zs, word) < store_payload(store, word))
        return "a block's object is gone or too small"; /* S1 */
    return NULL;
}

/* n counts the references by entry; W2 */
static const char *count_references(struct kl_store *store, uint32_t *n)
{
    for (uint64_t block = 0; block < store->blocks; block++) {
        uint64_t word = atomic_load(&store->table[block]), refs;

        if (store_kind(word) != KL_STORE_SHARED)
            continue;
        if (store_shared_index(word) < store->blocks || store_shared_index(word) >= store->entries)
            return "a block shares what is no shared entry";
        refs = atomic_load(store_refs(store, store_shared_index(word)));
        if (store_shared_word((uint32_t)word, (uint32_t)(refs >> 32)) != word)
            return "a block shares an entry of another life"; /* H4 */
        n[store_shared_index(word) - store->blocks]++;
    }
    return NULL;
}

/* H1, H2 */
static const char *check_references(struct kl_store *store, const uint32_t *n)
{
    uint64_t fresh = atomic_load(&store->shared_fresh), free = 0;

    for (uint64_t i = store->blocks; i < store->entries; i++) {
        uint32_t refs = (uint32_t)atomic_load(store_refs(store, i));

        if (refs != n[i - store->blocks])
            return "references of a shared entry are miscounted";
        if ((refs > 0) != store_has_object(atomic_load(&store->table[i])))
            return "a shared entry has no object, or an object has no reference";
        free += refs == 0 && i < fresh;
    }
    for (uint64_t at = (uint32_t)atomic_load(&store->shared_free); at; free--) {
        if (at <= store->blocks || at > fresh || free == 0)
            return "the list of free shared entries is broken";
        at = (uint32_t)atomic_load(&store->table[at - 1]);
    }
    return free ? "a free shared entry is on no list" : NULL;
}

static int check_shared(struct kl_store *store, const char **broken)
{
    size_t bytes = (size_t)(store->entries - store->blocks) * sizeof(uint32_t);
    uint32_t *n = kl_zone_meta_alloc(store->zone, bytes);

    if (!n)
        return -KL_ENOMEM;
    *broken = count_references(store, n);
    if (!*broken)
        *broken = check_references(store, n);
    kl_zone_meta_free(store->zone, n, bytes);
    return 0;
}

static const char *check_words(struct kl_store *store)
{
    uint64_t n[STORE_COUNTERS] = {0}, objects = 0;
    struct kl_zs_stats zs = {.size = sizeof(zs)};

    for (uint64_t i = 0; i < store->entries; i++) {
        const char *broken = check_word(store, i, n);

        if (broken)
            return broken;
        objects += store_has_object(atomic_load(&store->table[i]));
    }
    for (unsigned i = 0; i < STORE_NOW; i++) {
        if (n[i] != store_sum(store, i))
            return "blocks are miscounted"; /* S2 */
    }
    kl_zs_get_stats(store->zs, &zs);
    if (zs.objects != objects)
        return "an object is lost";
    return NULL;
}

int kl_store_check(struct kl_store *store, const char **what)
{
    const char *broken;
    int err = kl_zs_check(store->zs, what);

    if (err)
        return err;
    broken = check_words(store);
    if (!broken)
        broken = store_writeback_check(store);
    if (!broken && store->hash) {
        err = check_shared(store, &broken);
        if (err)
            return err;
    }
    if (what)
        *what = broken;
    return broken ? -KL_EIO : 0;
}
