// SPDX-License-Identifier: Apache-2.0
/* Allocation of frames, and its slow path.
 *
 * The stages, each of which is followed by another attempt:
 *
 *   fast      a free frame, a free block that is broken up, memory for an absent
 *             block, mixing (frame/alloc.c); no further than the soft limit
 *   idle      shrinkers that lose nothing by it give frames back
 *   compact   for runs of frames: the cheapest window is emptied and taken, within the
 *             soft limit
 *   soft      the other shrinkers are asked mildly; then all of that beyond the limit
 *   shrink    all shrinkers, more and more urgently
 *   compact   again, with what they gave
 *   wait      until somebody who holds frames back (blocks that are being emptied, or
 *             populated) lets go; and for those who are about to take or to put some
 *
 * What the caller rules out by its flags is left out.  Nothing is held between the
 * stages, so that any number of threads may be in any of them.
 */
#include "frame/cache.h"
#include "frame/share.h"
#include "move/take.h"
#include "reclaim/reclaim.h"

static const uint64_t MAX_WAIT_NS = UINT64_C(2000000000);

static bool may_wait(unsigned flags)
{
    return !(flags & (KL_NOWAIT | KL_ATOMIC));
}

/* One allocation on its slow path. */
struct slow {
    struct kl_zone *zone;
    struct kli_ask *ask;
    unsigned flags;
    uint32_t *nr;
    uint32_t own;     /* runs of ours that have ended: nothing to wait for, or to hope from */
    uint32_t seeks;   /* zone->seeks when the last attempt began */
    unsigned vain;    /* waits in a row for nobody but others like us, who found nothing */
    unsigned passing; /* times that others were in passing */
};

/* idle: nothing may be moved for it. */
static bool take_window(struct slow *s, bool idle)
{
    uint32_t n = 1u << s->ask->order;
    struct kli_search search = {.n = n,
                                .align = n,
                                .end = s->ask->end,
                                .idle = idle,
                                .tries = KLI_TRIES,
                                .keep_soft = !s->ask->over_soft};
    struct kli_taker taker = {
        .owner = s->ask->owner, .order = s->ask->order, .flags = s->ask->flags};
    enum kl_mode mode = idle ? KL_ASYNC : KL_SYNC_LIGHT;
    bool got;

    if (!kli_reserve_allows(s->zone, s->ask))
        return false;
    atomic_fetch_add(&s->zone->seekers, 1);
    got = kli_contig(s->zone, &search, NULL, &taker, mode, s->nr, NULL) == 0;
    s->own += search.fenced;
    if (search.fenced && !got)
        atomic_fetch_add(&s->zone->seeks, 1);
    atomic_fetch_sub(&s->zone->seekers, 1);
    return got;
}

/* What is free already; more than a block is a window of free blocks. */
static bool attempt_once(struct slow *s)
{
    if (s->ask->order <= s->zone->block_order)
        return kli_frame_take(s->zone, s->ask, s->nr);
    return s->ask->populate && take_window(s, true);
}

/* Would frames do that somebody keeps at hand (frame/kept.c)?  They are in areas: what can't
 * move may not have them, but for the reserve's sake they count. */
static bool kept_would_do(const struct slow *s)
{
    return !s->ask->unmovable || !kli_may_take(s->zone, 1u << s->ask->order);
}

/* Has any of it become free since *given?  By us, or by others since the last attempt. */
static bool has_kept(struct slow *s, uint64_t *given)
{
    uint64_t before = *given;

    if (kept_would_do(s))
        return kli_kept_give(s->zone, UINT64_C(1) << s->ask->order, s->ask->order, given);
    *given = kli_kept_now(s->zone);
    return *given != before;
}

/* The same, and what is kept, as much of it as it takes. */
static bool attempt(struct slow *s)
{
    uint64_t given = kli_kept_now(s->zone);

    while (!attempt_once(s)) {
        if (!has_kept(s, &given))
            return false;
    }
    return true;
}

/* How much the shrinkers freed; 0 also where the caller does not want them asked. */
static uint64_t shrink(struct slow *s, enum kli_stage stage, unsigned priority)
{
    const struct kli_shrink_ask ask = {
        .stage = stage,
        .priority = priority,
        .want = UINT64_C(1) << s->ask->order,
        .mode = KL_SYNC_LIGHT,
        .flags = s->flags,
    };

    return (s->flags & KL_NO_SHRINK) ? 0 : kli_shrink(s->zone, &ask);
}

/* A single frame is wherever one is free; one that can't move must not be in an area, so
 * that others move in there to make room for it. */
static bool by_compaction(struct slow *s)
{
    if ((s->ask->order == 0 && !(s->ask->unmovable && atomic_load(&s->zone->areas))) ||
        (s->flags & KL_NO_MOVE))
        return false;
    KLI_TRACE(alloc_stage, KLI_TAG(s->zone), s->ask->order, KLI_AT_COMPACT);
    if (!take_window(s, false))
        return false;
    kli_count(s->zone, KLI_C_COMPACTED, 1);
    return true;
}

static bool beyond_soft(struct slow *s)
{
    if (kli_populatable(s->zone, false) == kli_populatable(s->zone, true))
        return false; /* it forbids nothing */
    KLI_TRACE(alloc_stage, KLI_TAG(s->zone), s->ask->order, KLI_AT_SOFT);
    if (shrink(s, KLI_STAGE_ALL, KL_SHRINK_PRIORITY) > 0 && attempt(s))
        return true;
    s->ask->over_soft = true;
    return attempt(s) || by_compaction(s);
}

static bool by_shrinking(struct slow *s)
{
    uint64_t freed = 0;

    KLI_TRACE(alloc_stage, KLI_TAG(s->zone), s->ask->order, KLI_AT_SHRINK);
    for (unsigned i = 0; i <= KL_SHRINK_PRIORITY; i++) {
        uint64_t now = shrink(s, KLI_STAGE_ALL, KL_SHRINK_PRIORITY - i);

        freed += now;
        if (now > 0 && attempt(s))
            return true;
    }
    return freed > 0 && by_compaction(s);
}

/* What is left when the fast path found nothing. */
static bool take_harder(struct slow *s)
{
    KLI_TRACE(alloc_stage, KLI_TAG(s->zone), s->ask->order, KLI_AT_IDLE);
    if (shrink(s, KLI_STAGE_IDLE, KL_SHRINK_PRIORITY) > 0 && attempt(s))
        return true;
    return by_compaction(s) || beyond_soft(s) || by_shrinking(s);
}

/* Is a frame there, or about to be, that an attempt may have missed: between another's
 * reservation and its end, or in a cache?  One will do for a single frame. */
static bool is_missed(const struct slow *s)
{
    struct kl_zone *zone = s->zone;
    bool single = s->ask->order == 0, missed = single && kli_cache_drain(zone);
    uint64_t barred = s->ask->unmovable ? KLI_B_CMA : 0;

    single = single && kli_may_take(zone, 1);
    for (uint32_t b = 0; b < s->ask->end && !missed; b++) {
        uint64_t word = kli_block_word(zone, b);

        missed = (single && kli_b_open(word) && kli_b_free(word) > 0 && !(word & barred)) ||
                 kli_bits_moving(zone, b, word);
    }
    return missed;
}

/* Allocations that fail one and all would wait for each other in turn, until their time
 * is up.  So it is not for long that one waits for others who look for a window, as he
 * does, and find none.  ended: holds of others that ended since the last attempt began. */
static bool is_vain(struct slow *s, uint32_t holds, uint32_t ended)
{
    enum { MOST = 3 };
    uint32_t found_none = atomic_load(&s->zone->seeks) - s->seeks - s->own;
    bool vain = holds <= atomic_load(&s->zone->seekers) && ended <= found_none;

    s->vain = vain ? s->vain + 1 : 0;
    return s->vain > MOST;
}

/* Waits until somebody else who holds frames back lets go; false when there is nobody.
 * ends: zone->hold_ends when the last attempt began. */
static bool wait_for_holds(struct slow *s, uint32_t ends)
{
    enum { NAP_NS = 50000000 }; /* frames may also become free without a word */
    struct kl_zone *zone = s->zone;
    uint32_t holds = atomic_load(&zone->holds);
    uint32_t ended = atomic_load(&zone->hold_ends) - ends - s->own;

    if (holds == 0 && ended == 0) {
        if (!is_missed(s))
            return false;
        zone->host.relax(zone->host.ctx, s->passing++);
        return true;
    }
    if (is_vain(s, holds, ended))
        return false;
    if (holds == 0) /* one let go meanwhile */
        return true;
    ends += s->own;
    kli_count_owner(zone, s->ask->owner, KLI_C_STALLS, 1);
    KLI_TRACE(stall_alloc, KLI_TAG(zone), holds, s->ask->order);
    zone->host.wait(zone->host.ctx, (const uint32_t *)&zone->hold_ends, ends, NAP_NS);
    return true;
}

static void begin_attempt(struct slow *s, uint32_t *ends)
{
    *ends = atomic_load(&s->zone->hold_ends);
    s->seeks = atomic_load(&s->zone->seeks);
    s->own = 0;
}

/* ends: zone->hold_ends before the fast path. */
static bool take_slowly(struct slow *s, uint32_t ends)
{
    const struct kl_host *host = &s->zone->host;
    uint64_t since = host->now_ns(host->ctx);

    kli_count(s->zone, KLI_C_SLOW, 1);
    while (!take_harder(s)) {
        if (host->now_ns(host->ctx) - since > MAX_WAIT_NS || !wait_for_holds(s, ends))
            return false;
        KLI_TRACE(alloc_stage, KLI_TAG(s->zone), s->ask->order, KLI_AT_WAIT);
        begin_attempt(s, &ends);
        s->ask->over_soft = false;
        if (attempt(s))
            return true;
    }
    return true;
}

static bool take(struct kl_zone *zone, struct kli_ask *ask, unsigned flags, uint32_t *nr)
{
    struct slow slow = {.zone = zone, .ask = ask, .flags = flags, .nr = nr};
    uint32_t ends;

    begin_attempt(&slow, &ends);
    if (attempt(&slow) || (may_wait(flags) && take_slowly(&slow, ends)))
        return true;
    kli_count(zone, KLI_C_REFUSED, 1);
    KLI_TRACE(alloc_failed, KLI_TAG(zone), ask->order, ask->owner);
    return false;
}

/* The arguments are right. */
static KLI_NOINLINE int alloc_any(struct kl_zone *zone, unsigned order, kl_owner_id owner,
                                  unsigned flags, kl_pfn *pfn)
{
    bool movable = flags & KL_MOVABLE;
    struct kli_ask ask = {
        .order = order,
        .owner = owner.v,
        .flags = movable ? KLI_F_KIND | KLI_F_MOVABLE : 0,
        .unmovable = !movable,
        .populate = !(flags & KL_ATOMIC),
        .over_soft = !may_wait(flags),
        .end = kli_owner(zone, owner.v)->end,
    };
    uint64_t charged;
    uint32_t nr;

    if (movable && (flags & KL_ZERO)) /* nobody may move it before it is zeroed */
        ask.flags = KLI_F_KIND | KLI_F_LOCKED;
    charged = kli_share_flag(zone, owner.v);
    ask.flags |= charged;
    if (charged && !kli_share_get(zone, owner.v, UINT64_C(1) << order, flags))
        return -KL_ENOMEM;
    if (!take(zone, &ask, flags, &nr)) {
        if (charged)
            kli_share_uncharge(zone, owner.v, UINT64_C(1) << order);
        return -KL_ENOMEM;
    }
    if (flags & KL_ZERO) {
        memset(kli_addr(zone, nr), 0, (size_t)1 << (zone->frame_shift + order));
        if (movable)
            kli_settle(zone, nr, kli_f_publish, 0);
    }
    *pfn = kli_pfn(zone, nr);
    return 0;
}

/* A single frame that is at hand; KL_CPU_NONE: by the long way. */
static inline uint32_t at_hand(struct kl_zone *zone, unsigned order, kl_owner_id owner,
                               unsigned flags)
{
    if (order != 0 || (flags & KL_ZERO) ||
        atomic_load_explicit(&kli_owner(zone, owner.v)->quick_end, memory_order_relaxed) !=
            zone->blocks)
        return KL_CPU_NONE;
    return zone->host.cpu_pop ? kli_cache_try(zone, !(flags & KL_MOVABLE))
                              : kli_cache_get_slow(zone, !(flags & KL_MOVABLE));
}

int kl_frame_alloc(struct kl_zone *zone, unsigned order, kl_owner_id owner, unsigned flags,
                   kl_pfn *pfn)
{
    const unsigned known = KL_MOVABLE | KL_ZERO | KL_NOWAIT | KL_ATOMIC | KL_NO_SHRINK | KL_NO_MOVE;
    bool movable = flags & KL_MOVABLE;
    uint32_t nr;

    if ((flags & ~known) || order > 31 || (1u << order) > zone->frames ||
        !kli_owner_is(zone, owner.v) ||
        (movable && (order > zone->block_order || !kli_owner(zone, owner.v)->movable)) ||
        ((flags & KL_ZERO) && !zone->backing.base))
        return -KL_EINVAL;
    nr = at_hand(zone, order, owner, flags);
    if (nr == KL_CPU_NONE)
        return alloc_any(zone, order, owner, flags, pfn);
    kli_name_frame(zone, nr, 0, owner.v, movable ? KLI_F_KIND | KLI_F_MOVABLE : 0);
    *pfn = kli_pfn(zone, nr);
    return 0;
}
