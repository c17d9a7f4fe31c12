// SPDX-License-Identifier: Apache-2.0
/* Compressor contexts, pooled by CPU: a context of zstd is over 600 KB, and there
 * may be many more threads than CPUs.  Each is made when it is first needed, and of
 * the two compressors only what is needed; one that nobody used for a while goes. */
#include "store/store.h"

enum { PER_CPU = 2 };
static const uint64_t REST_NS = 500000000;

int store_contexts_create(struct kl_store *store)
{
    store->ncontexts = store->host.ncpus * PER_CPU;
    store->contexts = store_meta_get(store, store->ncontexts * sizeof(struct store_context));
    return store->contexts ? 0 : -KL_ENOMEM;
}

static size_t buffer_bytes(const struct kl_store *store)
{
    return (store->hash ? 3 : 2) * (size_t)store->block_bytes;
}

/* The context is ours, or nobody else is left. */
static void empty(struct kl_store *store, struct store_context *context)
{
    for (unsigned which = 0; which < STORE_CODECS; which++) {
        if (context->codec[which])
            store->codec[which].context_destroy(&store->codec[which], context->codec[which]);
        context->codec[which] = NULL;
    }
    if (!context->plain)
        return;
    store_meta_put(store, context->plain, buffer_bytes(store));
    context->plain = NULL;
    atomic_fetch_sub(&store->live_contexts, 1);
}

void store_contexts_free(struct kl_store *store)
{
    for (unsigned i = 0; store->contexts && i < store->ncontexts; i++)
        empty(store, &store->contexts[i]);
    store_meta_put(store, store->contexts, store->ncontexts * sizeof(struct store_context));
}

static bool try_one(struct store_context *context)
{
    return !atomic_load_explicit(&context->busy, memory_order_relaxed) &&
           !atomic_exchange_explicit(&context->busy, true, memory_order_acquire);
}

/* Background work: contexts that were not used between two calls go.  When to call again. */
uint64_t store_contexts_rest(struct kl_store *store)
{
    uint64_t now = store->host.now_ns(store->host.ctx);

    if (atomic_load(&store->live_contexts) == 0)
        return KL_WORK_DONE;
    if (now < store->rest_due)
        return store->rest_due - now;
    for (unsigned i = 0; i < store->ncontexts; i++) {
        struct store_context *context = &store->contexts[i];

        if (!try_one(context))
            continue;
        if (!context->used)
            empty(store, context);
        context->used = false;
        store_context_put(context);
    }
    store->rest_due = now + REST_NS;
    return atomic_load(&store->live_contexts) > 0 ? REST_NS : KL_WORK_DONE;
}

static struct store_context *try_get(struct kl_store *store)
{
    unsigned start = store->host.cpu(store->host.ctx) * PER_CPU;

    for (unsigned i = 0; i < store->ncontexts; i++) {
        struct store_context *context = &store->contexts[(start + i) % store->ncontexts];

        if (try_one(context))
            return context;
    }
    return NULL;
}

/* Buffers for a context that has none. */
static void complete(struct kl_store *store, struct store_context *context)
{
    context->plain = store_meta_get(store, buffer_bytes(store));
    if (!context->plain)
        return;
    context->packed = context->plain + store->block_bytes;
    if (store->hash)
        context->other = context->packed + store->block_bytes;
    if (atomic_fetch_add(&store->live_contexts, 1) == 0 && store->shrinker.v)
        (void)kl_shrinker_want(store->zone, store->shrinker);
}

/* NULL: no memory for one. */
struct store_context *store_context_get(struct kl_store *store)
{
    struct store_context *context;

    for (unsigned round = 0; !(context = try_get(store)); round++)
        store->host.relax(store->host.ctx, round);
    if (!context->plain)
        complete(store, context);
    context->used = true;
    if (context->plain)
        return context;
    store_context_put(context);
    return NULL;
}

void store_context_put(struct store_context *context)
{
    atomic_store_explicit(&context->busy, false, memory_order_release);
}

/* The compressor's own, of the context that the caller has; NULL: no memory for it. */
void *store_codec_context(struct kl_store *store, struct store_context *context, unsigned which)
{
    if (!context->codec[which])
        context->codec[which] = store->codec[which].context_create(&store->codec[which]);
    return context->codec[which];
}
