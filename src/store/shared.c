// SPDX-License-Identifier: Apache-2.0
/* Shared entries: an object that several blocks have.
 *
 * They are entries of the pool's table behind those of the blocks.  A block's word of kind
 * SHARED names one, and is one of its references.
 *
 *        shared_new            get / put            put of the last one
 *   free ----------> refs = n ------------> ... ------------------------> free
 *
 * A free entry has no object; its word is the link of the list of free ones.
 *
 * (H1) refs is at least the number of words that name the entry: up before such a word
 *      is swapped in, down after it was swapped out.
 * (H2) refs never leaves 0 but in shared_new: who finds an entry by chance, and not by a
 *      reference that he has, may find it gone (shared_get refuses).
 * (H3) While refs > 0 the contents stay the same, though the object may move and may be
 *      recompressed.
 * (H4) Each life of an entry has another generation, so that equal words of blocks mean
 *      equal contents (W2) until 2^20 lives later.
 *
 * No locks.
 */
#include "base/trace.h"
#include "store/entry.h"
#include "store/store.h"

static struct kli_step edge_get(uint64_t word, uint64_t arg)
{
    (void)arg;
    if ((uint32_t)word == 0 || (uint32_t)word == UINT32_MAX)
        return KLI_REFUSED; /* H2 */
    return KLI_STEP(word + 1);
}

static struct kli_step edge_put(uint64_t word, uint64_t arg)
{
    (void)arg;
    if ((uint32_t)word == 0)
        return KLI_REFUSED;
    return KLI_STEP(word - 1);
}

/* The word of a block that has this entry in its present life. */
static uint64_t naming(const struct kl_store *store, uint64_t index)
{
    uint64_t refs = atomic_load_explicit(store_refs(store, index), memory_order_relaxed);

    return store_shared_word((uint32_t)index, (uint32_t)(refs >> 32));
}

/* The list: its head is a tag, which changes with each push, and an index + 1.  An entry is
 * first again only by a push, so an equal head has the same link still. */
static uint32_t pop_free(struct kl_store *store)
{
    uint64_t head = atomic_load_explicit(&store->shared_free, memory_order_acquire), next;

    do {
        if ((uint32_t)head == 0)
            return 0;
        next = atomic_load_explicit(&store->table[(uint32_t)head - 1], memory_order_relaxed);
        next = (uint32_t)next | (head >> 32) << 32;
        KLI_TRACE_STEP(st_shared_pop, head, next, 0);
    } while (!atomic_compare_exchange_weak_explicit(&store->shared_free, &head, next,
                                                    memory_order_acquire, memory_order_acquire));
    return (uint32_t)head;
}

static void push_free(struct kl_store *store, uint64_t index)
{
    uint64_t head = atomic_load_explicit(&store->shared_free, memory_order_relaxed), next;

    do {
        atomic_store_explicit(&store->table[index], (uint32_t)head, memory_order_relaxed);
        next = (index + 1) | ((head >> 32) + 1) << 32;
        KLI_TRACE_STEP(st_shared_push, index, head, 0);
    } while (!atomic_compare_exchange_weak_explicit(&store->shared_free, &head, next,
                                                    memory_order_release, memory_order_relaxed));
}

/* Index + 1 of one that nobody has; 0: there is none. */
static uint32_t take_free(struct kl_store *store)
{
    uint32_t found = pop_free(store);
    uint64_t fresh = atomic_load_explicit(&store->shared_fresh, memory_order_relaxed);

    while (!found && fresh < store->entries) { /* one that never was used */
        if (atomic_compare_exchange_weak_explicit(&store->shared_fresh, &fresh, fresh + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            found = (uint32_t)fresh + 1;
    }
    return found;
}

/* A new entry with two references and an object of these bytes, which are packed as
 * `like` says; *word is how blocks name it.  -KL_ENOSPC: no entry, or no room. */
int store_shared_new(struct kl_store *store, uint64_t like, const void *bytes, uint64_t *word)
{
    uint32_t index = take_free(store);
    uint64_t object, refs;
    int err;

    if (!index)
        return -KL_ENOSPC;
    index--;
    err = store_put(store, index, store_kind(like), bytes, (uint32_t)store_payload(store, like),
                    &object);
    if (err) {
        push_free(store, index);
        return err;
    }
    object = store_with_codec(object, store_codec(like));
    store_count(store, index, object, 1);
    atomic_store_explicit(&store->table[index], object, memory_order_release);
    KLI_TRACE_STEP(st_shared_filled, index, object, 0);
    refs = atomic_load_explicit(store_refs(store, index), memory_order_relaxed);
    refs = ((refs >> 32) + 1) << 32 | 2; /* H4 */
    atomic_store_explicit(store_refs(store, index), refs, memory_order_release);
    KLI_TRACE_STEP(st_shared_born, index, refs, 0);
    *word = naming(store, index);
    return 0;
}

/* A reference for somebody who has none; false: it is gone.  *word is how blocks name it
 * as long as that reference is there. */
bool store_shared_get(struct kl_store *store, uint64_t index, uint64_t *word)
{
    if (!kli_apply(store_refs(store, index), edge_get, 0, NULL))
        return false;
    *word = naming(store, index);
    return true;
}

/* Gives the reference back that this word of a block is. */
void store_shared_put(struct kl_store *store, uint64_t word)
{
    uint64_t index = store_shared_index(word), seen = 0, object;
    bool ok = kli_apply(store_refs(store, index), edge_put, 0, &seen);

    KLI_ASSERT(&store->host, ok); /* H1 */
    if (!ok || (uint32_t)seen > 1)
        return;
    KLI_TRACE_STEP(st_shared_last, index, seen, 0);
    object = atomic_exchange_explicit(&store->table[index], 0, memory_order_acq_rel);
    store_drop(store, index, object);
    KLI_TRACE_STEP(st_shared_gone, index, object, 0);
    push_free(store, index);
}

/* Of the word that block had. */
int store_shared_load(struct kl_store *store, uint64_t block, uint64_t word,
                      struct store_context *context, void *plain)
{
    uint64_t index = store_shared_index(word);
    uint64_t object = atomic_load_explicit(&store->table[index], memory_order_acquire);
    int err = -KL_ESTALE;

    KLI_TRACE_STEP(st_shared_look, block, object, 0);
    if (store_has_object(object))
        err = store_load(store, index, object, context, plain);
    KLI_TRACE_STEP(st_shared_read, block, object, err);
    if (err == STORE_NEEDS_CONTEXT || err == -KL_ENOMEM)
        return err;
    if (atomic_load_explicit(&store->table[block], memory_order_acquire) != word)
        return -KL_ESTALE; /* H3 held until now only if it is the same one */
    if (err == 0 && store_age(object) > 0)
        kli_apply(&store->table[index], store_w_touch, 0, NULL);
    return err;
}
