// SPDX-License-Identifier: Apache-2.0
/* Compressor contexts, pooled by CPU: a context of zstd is over 600 KB, and there
 * may be many more threads than CPUs.  Each is made when it is first needed. */
#include "store/store.h"

enum { PER_CPU = 2 };

static void *get_meta(struct kl_store *store, size_t bytes)
{
    void *mem = kl_zone_meta_alloc(store->zone, bytes);

    if (mem)
        atomic_fetch_add(&store->metadata_bytes, bytes);
    return mem;
}

static void put_meta(struct kl_store *store, void *mem, size_t bytes)
{
    if (mem)
        kl_zone_meta_free(store->zone, mem, bytes);
}

int store_contexts_create(struct kl_store *store)
{
    store->ncontexts = store->host.ncpus * PER_CPU;
    store->contexts = get_meta(store, store->ncontexts * sizeof(struct store_context));
    return store->contexts ? 0 : -KL_ENOMEM;
}

void store_contexts_free(struct kl_store *store)
{
    for (unsigned i = 0; store->contexts && i < store->ncontexts; i++) {
        struct store_context *context = &store->contexts[i];

        if (context->codec)
            store->codec.context_destroy(&store->codec, context->codec);
        put_meta(store, context->plain, 2 * (size_t)store->block_bytes);
    }
    put_meta(store, store->contexts, store->ncontexts * sizeof(struct store_context));
}

/* The context is ours: makes what it lacks. */
static bool complete(struct kl_store *store, struct store_context *context)
{
    if (!context->plain) {
        context->plain = get_meta(store, 2 * (size_t)store->block_bytes);
        context->packed = context->plain ? context->plain + store->block_bytes : NULL;
    }
    if (!context->codec)
        context->codec = store->codec.context_create(&store->codec);
    return context->plain && context->codec;
}

static struct store_context *try_get(struct kl_store *store)
{
    unsigned start = store->host.cpu(store->host.ctx) * PER_CPU;

    for (unsigned i = 0; i < store->ncontexts; i++) {
        struct store_context *context = &store->contexts[(start + i) % store->ncontexts];

        if (!atomic_load_explicit(&context->busy, memory_order_relaxed) &&
            !atomic_exchange_explicit(&context->busy, true, memory_order_acquire))
            return context;
    }
    return NULL;
}

/* NULL: no memory for one. */
struct store_context *store_context_get(struct kl_store *store)
{
    struct store_context *context;

    for (unsigned round = 0; !(context = try_get(store)); round++)
        store->host.relax(store->host.ctx, round);
    if (complete(store, context))
        return context;
    store_context_put(context);
    return NULL;
}

void store_context_put(struct store_context *context)
{
    atomic_store_explicit(&context->busy, false, memory_order_release);
}
