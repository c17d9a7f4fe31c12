// SPDX-License-Identifier: Apache-2.0
/* The clients' own background work: who wants it, when, and calling it.
 *
 * A want is a bit of the client's place in the zone's table, a deadline is a time there
 * (K5, K6 of reclaim.h).  kl_shrinker_want may run in the middle of anything, so it
 * enters no gate and takes no lock.
 *
 * A want and what was done before it
 * (M1) Who wants looks at the bit after it has changed what work will look at; the step
 *      takes the bit down before it calls work.  So either the step's look comes after
 *      the change, or who wants finds the bit down.
 * (M2) A want of one that is gone, or is just going, may set the bit of who comes next
 *      in its place: that one's work is called once too often.
 *
 * A bit or time of a place whose gate is not open is of one that is gone, and ignored.
 */
#include "reclaim/reclaim.h"

static uint64_t bit_of(const struct kli_shrinkers *all, const struct kli_shrinker *s)
{
    return UINT64_C(1) << (s - all->at);
}

int kl_shrinker_want(struct kl_zone *zone, kl_shrinker_id id)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_shrinker *s = kli_shrinker_find(zone, id);
    uint64_t bit;

    if (!s || !kli_g_is(atomic_load(&s->gate.word), kli_shrinker_generation(id)))
        return -KL_ENOENT;
    bit = bit_of(all, s);
    if (!(atomic_load(&all->able) & bit))
        return -KL_EINVAL;
    if ((atomic_load(&all->wanting) & bit) || (atomic_fetch_or(&all->wanting, bit) & bit)) /* M1 */
        return 0;
    if (!(atomic_fetch_or(&zone->wanted, KL_WANTED_WORK) & KL_WANTED_WORK)) /* K5 */
        kli_kick(zone);
    return 0;
}

static uint64_t now_ns(const struct kl_zone *zone)
{
    return zone->host.now_ns(zone->host.ctx);
}

static bool is_open(struct kli_shrinker *s)
{
    return kli_g_is(atomic_load(&s->gate.word), KLI_G_ANY);
}

/* How long until this one is to be called. */
static uint64_t due_in(struct kli_shrinkers *all, struct kli_shrinker *s, uint64_t now)
{
    uint64_t due = atomic_load(&s->due);
    bool wanted = atomic_load(&all->wanting) & bit_of(all, s);

    if ((!wanted && due == KLI_WORK_NEVER) || !is_open(s))
        return KLI_WORK_NEVER;
    return wanted || due <= now ? 0 : due - now;
}

uint64_t kli_work_in(struct kl_zone *zone)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    uint64_t now, in = KLI_WORK_NEVER;

    if (!all || atomic_load(&all->able) == 0)
        return in;
    now = now_ns(zone);
    for (unsigned i = 0; i < KLI_SHRINKERS && in > 0; i++)
        in = kli_min(in, due_in(all, &all->at[i], now));
    return in;
}

/* One call; the gate is entered. */
static void call(struct kl_zone *zone, struct kli_shrinker *s, uint32_t budget)
{
    uint64_t pause = s->ops.work(s->ctx, budget), now = now_ns(zone);

    atomic_fetch_add_explicit(&s->works, 1, memory_order_relaxed);
    atomic_store(&s->due, pause < KLI_WORK_NEVER - now ? now + pause : KLI_WORK_NEVER);
}

void kli_work(struct kl_zone *zone, uint32_t budget)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_round round;
    uint64_t now = now_ns(zone);

    if (!all || !kli_round_begin(zone, all, &round)) /* K2 */
        return;
    for (unsigned i = 0; i < KLI_SHRINKERS; i++) {
        struct kli_shrinker *s = &all->at[i];

        if (due_in(all, s, now) > 0)
            continue;
        atomic_fetch_and(&all->wanting, ~bit_of(all, s)); /* K5, M1 */
        if (!kli_gate_enter(&s->gate, KLI_G_ANY))
            continue;
        if (s->ops.work)
            call(zone, s, budget ? budget : UINT32_MAX);
        kli_gate_leave(&zone->host, &s->gate);
    }
    kli_round_end(zone, all, &round);
}
