// SPDX-License-Identifier: Apache-2.0
/* Registering and unregistering shrinkers; which threads make a round.
 * Invariants and locks: reclaim.h. */
#include "reclaim/reclaim.h"

/* An id: the zone's tag << 32 | generation << 8 | place + 1. */
static kl_shrinker_id id_make(const struct kl_zone *zone, unsigned place, uint64_t generation)
{
    return (kl_shrinker_id){zone->tag | (generation << 8) | (place + 1)};
}

struct kli_shrinker *kli_shrinker_find(struct kl_zone *zone, kl_shrinker_id id)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    uint64_t place = id.v & 0xff;

    if (!all || (id.v & ~UINT64_C(0xffffffff)) != zone->tag || place == 0 || place > KLI_SHRINKERS)
        return NULL;
    return &all->at[place - 1];
}

struct kli_shrinker *kli_shrinker_enter(struct kl_zone *zone, kl_shrinker_id id)
{
    struct kli_shrinker *s = kli_shrinker_find(zone, id);

    return s && kli_gate_enter(&s->gate, kli_shrinker_generation(id)) ? s : NULL;
}

/* The table, made now if there is none; NULL: no metadata. */
static struct kli_shrinkers *table(struct kl_zone *zone)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_annex *there = NULL;

    if (all)
        return all;
    all = kl_zone_meta_alloc(zone, sizeof(*all));
    if (!all)
        return NULL;
    all->annex.bytes = sizeof(*all);
    kli_lock_init(&all->lock, KLI_RANK_ROUNDS);
    if (atomic_compare_exchange_strong(&zone->annex, &there, &all->annex))
        return all;
    kl_zone_meta_free(zone, all, sizeof(*all)); /* another thread was first */
    return (struct kli_shrinkers *)(void *)there;
}

/* As it was before an owner could be named. */
#define WITHOUT_OWNER offsetof(struct kl_shrinker_ops, owner)

static bool ops_ok(const struct kl_shrinker_ops *ops)
{
    return ops && (ops->size == sizeof(*ops) || ops->size == WITHOUT_OWNER) && ops->name &&
           ops->count && ops->scan && !(ops->flags & ~(unsigned)KL_SHRINKER_COLD) &&
           !(ops->seeks == 0 && (ops->flags & KL_SHRINKER_COLD));
}

/* What it can do, and that nothing is asked of it yet. (K5, K6) */
static void fill_work(struct kli_shrinkers *all, struct kli_shrinker *s)
{
    uint64_t bit = UINT64_C(1) << (s - all->at);

    atomic_store(&s->due, KLI_WORK_NEVER);
    atomic_store(&s->works, 0);
    atomic_fetch_and(&all->wanting, ~bit);
    if (s->ops.work)
        atomic_fetch_or(&all->able, bit);
    else
        atomic_fetch_and(&all->able, ~bit);
}

static void fill(struct kli_shrinker *s, const struct kl_shrinker_ops *ops, void *ctx)
{
    size_t i = 0;

    s->ops = (struct kl_shrinker_ops){0};
    memcpy(&s->ops, ops, ops->size); /* K1 */
    s->ops.batch = ops->batch ? ops->batch : 128;
    s->ctx = ctx;
    for (; ops->name[i] && i + 1 < sizeof(s->name); i++)
        s->name[i] = ops->name[i];
    s->name[i] = '\0';
    s->ops.name = s->name;
    atomic_store(&s->deferred, 0);
    atomic_store(&s->calls, 0);
    atomic_store(&s->asked, 0);
    atomic_store(&s->freed, 0);
    atomic_store(&s->stops, 0);
}

int kl_shrinker_register(struct kl_zone *zone, const struct kl_shrinker_ops *ops, void *ctx,
                         kl_shrinker_id *id)
{
    struct kli_shrinkers *all;

    if (!ops_ok(ops) || !id)
        return -KL_EINVAL;
    all = table(zone);
    if (!all)
        return -KL_ENOMEM;
    atomic_fetch_add(&all->annex.users, 1); /* K4 */
    for (unsigned i = 0; i < KLI_SHRINKERS; i++) {
        struct kli_shrinker *s = &all->at[i];
        uint64_t seen;

        if (!kli_apply(&s->gate.word, kli_g_claim, 0, &seen))
            continue;
        fill(s, ops, ctx);
        fill_work(all, s);
        *id = id_make(zone, i, kli_g_generation(kli_g_claim(seen, 0).next));
        kli_apply(&s->gate.word, kli_g_open, 0, NULL);
        return 0;
    }
    atomic_fetch_sub(&all->annex.users, 1);
    return -KL_ENOSPC;
}

int kl_shrinker_unregister(struct kl_zone *zone, kl_shrinker_id id)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_shrinker *s = kli_shrinker_find(zone, id);
    int err;

    if (!s)
        return -KL_ENOENT;
    err = kli_gate_close(&zone->host, &s->gate, kli_shrinker_generation(id),
                         !kli_in_round(zone, all));
    if (!err)
        atomic_fetch_sub(&all->annex.users, 1); /* K4 */
    return err;
}

static bool listed(const struct kli_shrinkers *all, uintptr_t thread)
{
    for (const struct kli_round *r = all->rounds; r; r = r->next) {
        if (r->thread == thread)
            return true;
    }
    return false;
}

bool kli_in_round(struct kl_zone *zone, struct kli_shrinkers *all)
{
    uintptr_t thread = zone->host.thread(zone->host.ctx);
    bool in;

    kli_lock_take(&zone->host, &all->lock);
    in = listed(all, thread);
    kli_lock_drop(&zone->host, &all->lock);
    return in;
}

bool kli_round_begin(struct kl_zone *zone, struct kli_shrinkers *all, struct kli_round *round)
{
    bool first;

    round->thread = zone->host.thread(zone->host.ctx);
    kli_lock_take(&zone->host, &all->lock);
    first = !listed(all, round->thread);
    if (first) {
        round->next = all->rounds;
        all->rounds = round;
    }
    kli_lock_drop(&zone->host, &all->lock);
    return first;
}

void kli_round_end(struct kl_zone *zone, struct kli_shrinkers *all, struct kli_round *round)
{
    struct kli_round **link = &all->rounds;

    kli_lock_take(&zone->host, &all->lock);
    while (*link != round)
        link = &(*link)->next;
    *link = round->next;
    kli_lock_drop(&zone->host, &all->lock);
}
