// SPDX-License-Identifier: Apache-2.0
/* A round over the shrinkers: what each is asked for.
 *
 * Who loses nothing by it (seeks == 0) is asked for all that is wanted.  The others
 * share the work in proportion to what they have: each round takes a part of each
 * cache, the larger the lower the priority, and no cache is emptied because it
 * comes first.  So a round does not end in the middle when enough was freed.
 *
 * Bounds, whatever the callbacks answer
 * (N1) What a turn may ask for: MOST_PER_FRAME objects a frame of the zone.
 * (N2) A scan takes at least one object off that, or ends the turn.
 * (N3) FRUITLESS scans in a row that freed nothing end the turn.
 * (N4) What is carried over is at most twice the count.
 */
#include "frame/share.h"
#include "reclaim/reclaim.h"

enum { MOST_PER_FRAME = 64, FRUITLESS = 1024 };

struct turn {
    struct kl_zone *zone;
    struct kli_shrinker *shrinker;
    const struct kli_shrink_ask *ask;
    uint64_t count;
    uint64_t freed;
};

static struct kl_shrink tell(const struct turn *t, uint64_t n)
{
    return (struct kl_shrink){
        .size = sizeof(struct kl_shrink),
        .nr_to_scan = n,
        .nr_scanned = n,
        .priority = t->ask->priority,
        .mode = t->ask->mode,
        .flags = t->ask->flags,
    };
}

static void tally(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Asks for the count. (N1) */
static void take_count(struct turn *t)
{
    struct kli_shrinker *s = t->shrinker;
    const struct kl_shrink shrink = tell(t, 0);
    uint64_t n = s->ops.count(s->ctx, &shrink);

    if (n == KL_SHRINK_EMPTY)
        atomic_store(&s->deferred, 0);
    t->count = n >= KL_SHRINK_EMPTY ? 0 : kli_min(n, (uint64_t)t->zone->frames * MOST_PER_FRAME);
}

/* One call, n objects; how many of `left` it took off, 0: the turn is over. (N2) */
static uint64_t scan_batch(struct turn *t, uint64_t n, uint64_t left)
{
    struct kli_shrinker *s = t->shrinker;
    struct kl_shrink shrink = tell(t, n);
    uint64_t freed = s->ops.scan(s->ctx, &shrink);

    tally(&s->calls, 1);
    tally(&s->asked, n);
    if (freed >= KL_SHRINK_EMPTY) {
        tally(&s->stops, 1);
        return 0;
    }
    freed = kli_min(freed, (uint64_t)t->zone->frames * MOST_PER_FRAME);
    tally(&s->freed, freed);
    t->freed += freed;
    return kli_min(kli_max(shrink.nr_scanned, freed), left);
}

/* Scans up to `total` objects, the last batch only if it is whole or there are no
 * more objects than that; returns how many of them are done with. */
static uint64_t scan(struct turn *t, uint64_t total, uint64_t whole)
{
    uint64_t done = 0, batch = t->shrinker->ops.batch;
    unsigned fruitless = 0;

    while (done < total && total - done >= kli_min(batch, whole)) {
        uint64_t before = t->freed, left = total - done;
        uint64_t took = scan_batch(t, kli_min(batch, left), left);

        done += took;
        fruitless = t->freed == before ? fruitless + 1 : 0;
        if (took == 0 || fruitless == FRUITLESS) /* N3 */
            break;
        if (kli_gate_is_leaving(&t->shrinker->gate))
            break;
    }
    return done;
}

static void idle_turn(struct turn *t, uint64_t want)
{
    take_count(t);
    scan(t, kli_min(t->count, want), 1);
}

static void costly_turn(struct turn *t)
{
    struct kli_shrinker *s = t->shrinker;
    uint64_t carried, delta, total, done;

    take_count(t);
    if (t->count == 0)
        return;
    carried = atomic_exchange(&s->deferred, 0);
    delta = (t->count >> t->ask->priority) * 4 / s->ops.seeks;
    if (t->ask->priority == 0) /* all of it, however dear */
        delta = kli_max(delta, t->count);
    total = kli_min((carried >> t->ask->priority) + delta, 2 * t->count);
    if (t->ask->most && t->ask->most < total)
        done = scan(t, t->ask->most, 1);
    else
        done = scan(t, total, t->count);
    carried += delta;
    carried -= kli_min(done, carried);
    atomic_fetch_add(&s->deferred, kli_min(carried, 2 * t->count)); /* N4 */
}

/* Is it one of the others, whom this stage asks? */
static bool is_asked(const struct kli_shrinker *s, enum kli_stage stage)
{
    bool cold = s->ops.flags & KL_SHRINKER_COLD;

    if (s->ops.seeks == 0 || stage == KLI_STAGE_IDLE)
        return false;
    return stage == KLI_STAGE_ALL || (stage == KLI_STAGE_COLD) == cold;
}

/* The turns of those that lose nothing (idle), or of the others. */
static uint64_t turns(struct kl_zone *zone, struct kli_shrinkers *all,
                      const struct kli_shrink_ask *ask, bool idle)
{
    uint64_t freed = 0;

    for (unsigned i = 0; i < KLI_SHRINKERS; i++) {
        struct turn t = {.zone = zone, .shrinker = &all->at[i], .ask = ask};

        if (idle && freed >= ask->want)
            break;
        if (!kli_gate_enter(&t.shrinker->gate, KLI_G_ANY))
            continue;
        if (ask->owner && t.shrinker->ops.owner.v != ask->owner)
            ; /* somebody else's */
        else if (idle && t.shrinker->ops.seeks == 0)
            idle_turn(&t, ask->want - freed);
        else if (!idle && is_asked(t.shrinker, ask->stage))
            costly_turn(&t);
        kli_gate_leave(&zone->host, &t.shrinker->gate);
        freed += t.freed;
    }
    return freed;
}

/* The shrinkers of owners that are over their soft share (frame/share.h), for what these
 * have too much: before all others, and so also before what is carried over.  Idle ones, and
 * where the stage has them, the others. */
static uint64_t excess_turns(struct kl_zone *zone, struct kli_shrinkers *all,
                             const struct kli_shrink_ask *ask)
{
    enum { LEAST = 32 };
    uint64_t freed = 0;

    for (unsigned i = 0; i < KLI_SHRINKERS && freed < ask->want; i++) {
        struct turn t = {.zone = zone, .shrinker = &all->at[i], .ask = ask};
        uint64_t excess;

        if (!kli_gate_enter(&t.shrinker->gate, KLI_G_ANY))
            continue;
        excess = t.shrinker->ops.owner.v ? kli_share_excess(zone, t.shrinker->ops.owner.v) : 0;
        if (excess > 0 && (t.shrinker->ops.seeks == 0 || is_asked(t.shrinker, ask->stage))) {
            take_count(&t);
            scan(&t, kli_min(kli_min(t.count, excess), kli_max(ask->want - freed, LEAST)), 1);
        }
        kli_gate_leave(&zone->host, &t.shrinker->gate);
        freed += t.freed;
    }
    return freed;
}

static uint64_t all_turns(struct kl_zone *zone, struct kli_shrinkers *all,
                          const struct kli_shrink_ask *ask)
{
    uint64_t freed = 0;

    if (ask->stage != KLI_STAGE_COLD && ask->owner == 0 && atomic_load(&zone->shares) > 0)
        freed = excess_turns(zone, all, ask);
    if (ask->stage != KLI_STAGE_COLD && freed < ask->want)
        freed += turns(zone, all, ask, true);
    if (ask->stage != KLI_STAGE_IDLE && freed < ask->want)
        freed += turns(zone, all, ask, false);
    return freed;
}

uint64_t kli_shrink(struct kl_zone *zone, const struct kli_shrink_ask *ask)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_round round;
    uint64_t freed;

    KLI_ASSERT(&zone->host, ask->priority <= KL_SHRINK_PRIORITY);
    if (!all || ask->want == 0 || atomic_load(&all->annex.users) == 0 ||
        !kli_round_begin(zone, all, &round))
        return 0;
    KLI_TRACE(shrink_begin, KLI_TAG(zone), ask->want, ask->priority);
    freed = all_turns(zone, all, ask);
    kli_round_end(zone, all, &round);
    KLI_TRACE(shrink_end, KLI_TAG(zone), freed, ask->priority);
    return freed;
}

static uint64_t free_frames(struct kl_zone *zone)
{
    return kli_free_frames(zone) + kli_cache_count(zone, UINT32_MAX, false) +
           kli_cache_count(zone, UINT32_MAX, true);
}

/* Frames that are free beyond `before`. */
static uint64_t gained_since(struct kl_zone *zone, uint64_t before)
{
    uint64_t now = free_frames(zone);

    return now > before ? now - before : 0;
}

int64_t kl_zone_shrink(struct kl_zone *zone, uint32_t frames, enum kl_mode mode)
{
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_shrink_ask ask = {.stage = KLI_STAGE_ALL, .mode = mode};
    uint64_t before, gained = 0;

    if ((unsigned)mode > KL_SYNC)
        return -KL_EINVAL;
    if (!all)
        return 0;
    if (kli_in_round(zone, all))
        return -KL_EBUSY;
    before = free_frames(zone);
    for (unsigned i = 0; i <= KL_SHRINK_PRIORITY && gained < frames; i++) {
        ask.priority = KL_SHRINK_PRIORITY - i;
        ask.want = frames - gained;
        kli_shrink(zone, &ask);
        gained = gained_since(zone, before);
    }
    return (int64_t)gained;
}
