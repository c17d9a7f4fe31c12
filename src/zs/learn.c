// SPDX-License-Identifier: Apache-2.0
/* Re-learning the table of classes, once, from the sizes that were asked for.
 *
 *   counting ------> planned ------> learned   the first table, and classes of its own
 *      |   ^            |                      where there were many objects
 *      |   '- too few   '----------> fixed     it would not pay, or there is no memory
 *      '--- a quarter is full -----> fixed
 *
 * A pool is planned for sizes that nobody knows (prior.c).  While it is filled to a thirty-
 * second part of what it may have, malloc counts what sizes come, where it takes a slot
 * under its class's lock.  The next malloc that would make the pool grow plans anew, in
 * less than a millisecond, with no lock held.
 *
 * What changes.  The new plan is right only as long as the sizes stay what they were.  So
 * classes of the first table stay where few objects of their sizes were seen: they cost
 * nothing as long as nobody uses them.  Classes of the new plan come where many were
 * seen; the others of the first table retire.  So who learned from one kind of data and
 * gets another has about what the first table would have: learning from narrow records and
 * then filling a pool with programs cost 0.16 %, and 4 % without this.
 *
 * Nobody moves an object for that: the true size of one is not known.  A retired class gets
 * no new objects, but as a last resort; object compaction packs what is left of it as it is
 * freed.  Holes that the class has when it retires are worth nothing any more: less than
 * a frame of them is lost, more are filled by objects that move.  What is saved, without
 * what is lost, must be four times the bytes that move, and LEAST_PPM of what the pool is
 * planned for.
 *
 * Sizes are those of slots here: in a hardened build each has its guard's bytes (guard.h).
 *
 * (R1) A size's count is under the lock of the class that serves it, until counting has
 *      ended; class_of changes only after that.
 * (R2) Who finds pool->seen under a class lock may count until he drops the lock: counts
 *      are freed after seen was NULL and each class was locked once.
 * (R3) A new class is whole before nclasses counts it, and before class_of names it; and
 *      class_of names it before the one that it replaces retires.
 * (R4) A class retires under its lock, and so does he look who takes a slot of it, or
 *      gives it frames: from then on it gets no frames, and no objects but those that
 *      find room nowhere else.  What was kept of it at hand is ended after that; what is
 *      kept meanwhile, by one who did not know yet, by background work (kept.c).
 * (R5) Whatever class_of says or said is a class whose objects are large enough: so who
 *      takes what is kept at hand need not know.
 * (R6) learn_at is taken by one thread: the one who learns.  No table changes twice.
 */
#include "zs/guard.h"
#include "zs/plan.h"
#include "zs/zs.h"

enum { NEW = UINT16_MAX };
enum {
    PART = 32,             /* of the most frames: enough was seen */
    LAST_PART = 4,         /* too late for it to pay */
    LEAST_BYTES = 8 << 20, /* of a pool that learns */
    LEAST_OBJECTS = 512,   /* seen */
    FEW = 8,               /* objects seen of a class: not worth a better one */
    LEAST_PPM = 5000,      /* saved */
    TIMES_MOVED = 4,       /* the same over the bytes that move */
    MORE = 4,              /* classes more than planned: one part in so many */
};

static const uint64_t NEVER = UINT64_MAX;

/* While it learns; the plan's scratch follows. */
struct learning {
    uint32_t seen[ZS_SLOT_SIZES];
    uint32_t counts[ZS_SLOT_SIZES];
    struct zs_shape old[ZS_MAX_CLASSES], planned[ZS_MAX_CLASSES], merged[2 * ZS_MAX_CLASSES];
    uint16_t from[2 * ZS_MAX_CLASSES]; /* the class of a merged shape, or NEW */
    bool stays[ZS_MAX_CLASSES];        /* of the old ones */
    uint32_t nold, nplanned, nmerged, added;
};

static size_t learning_bytes(void)
{
    return sizeof(struct learning) + zs_plan_scratch_bytes();
}

static size_t seen_bytes(const struct kl_zs *pool)
{
    return pool->seen_sizes * sizeof(uint32_t);
}

/* How many classes it may come to have beyond those planned at creation. */
uint32_t zs_learn_room(const struct kl_zs *pool)
{
    if (pool->fixed_classes || zs_most_frames(pool) < (uint64_t)LEAST_BYTES >> pool->frame_shift)
        return 0;
    return pool->nclasses / MORE;
}

/* Without memory for the counts it goes without. */
void zs_learn_create(struct kl_zs *pool)
{
    uint32_t *seen;

    atomic_store(&pool->learn_at, NEVER);
    if (pool->room == pool->nclasses)
        return;
    pool->seen_sizes =
        (uint32_t)kli_div_up(pool->typical_bytes ? zs_typical(pool) : zs_largest(pool), ZS_ALIGN);
    seen = kl_zone_meta_alloc(pool->zone, seen_bytes(pool));
    if (!seen)
        return;
    pool->metadata_bytes += seen_bytes(pool);
    atomic_store(&pool->seen, seen);
    atomic_store(&pool->learn_at, zs_most_frames(pool) / PART);
}

/* Nothing else runs. */
void zs_learn_free(struct kl_zs *pool)
{
    uint32_t *seen = atomic_load(&pool->seen);

    if (seen)
        kl_zone_meta_free(pool->zone, seen, seen_bytes(pool));
}

/* --- what was seen ----------------------------------------------------------- */

static uint64_t seen_between(const struct learning *l, uint32_t above, uint32_t size)
{
    uint64_t n = 0;

    for (uint32_t i = above / ZS_ALIGN; i < size / ZS_ALIGN; i++)
        n += l->seen[i];
    return n;
}

/* The counts so far, and the first table; how many objects were seen. */
static uint64_t look_at_counts(struct kl_zs *pool, struct learning *l)
{
    const uint32_t *seen = atomic_load(&pool->seen);
    uint32_t i = 0;

    for (l->nold = 0; l->nold < pool->nclasses; l->nold++) {
        struct zs_class *class = &pool->classes[l->nold];

        l->old[l->nold] =
            (struct zs_shape){class->size, (uint16_t) class->chain, (uint16_t) class->objects};
        zs_class_lock(pool, class); /* R1 */
        for (; i < kli_min(class->size / ZS_ALIGN, pool->seen_sizes); i++)
            l->seen[i] = seen[i];
        zs_class_unlock(pool, class);
    }
    return seen_between(l, 0, zs_largest(pool));
}

/* (R2) */
static void stop_counting(struct kl_zs *pool)
{
    uint32_t *seen = atomic_exchange(&pool->seen, NULL);

    for (uint32_t i = 0; i < pool->nclasses; i++) {
        zs_class_lock(pool, &pool->classes[i]);
        zs_class_unlock(pool, &pool->classes[i]);
    }
    kl_zone_meta_free(pool->zone, seen, seen_bytes(pool));
    atomic_fetch_sub(&pool->metadata_bytes, seen_bytes(pool));
}

/* --- the new table ----------------------------------------------------------- */

static void put(struct learning *l, struct zs_shape shape, uint32_t from)
{
    if (from == NEW)
        l->added++;
    else
        l->stays[from] = true;
    l->merged[l->nmerged] = shape;
    l->from[l->nmerged++] = (uint16_t)from;
}

/* Old classes of whose sizes few were seen, planned ones of whose many were.  Both tables
 * end with the largest size, which has its old class always. */
static void merge(struct learning *l)
{
    uint32_t p = 0, below_old = 0, below_planned = 0;

    for (uint32_t i = 0; i < l->nold;) {
        const struct zs_shape *old = &l->old[i], *planned = &l->planned[p];
        bool reached = p < l->nplanned && planned->size <= old->size;
        bool wanted = reached && seen_between(l, below_planned, planned->size) >= FEW;
        bool same = reached && planned->size == old->size;

        if (reached) {
            below_planned = planned->size;
            p++;
        }
        if (reached && !same) {
            if (wanted)
                put(l, *planned, NEW);
            continue;
        }
        if (i + 1 == l->nold || seen_between(l, below_old, old->size) < FEW ||
            (wanted && planned->chain == old->chain))
            put(l, *old, i);
        else if (wanted)
            put(l, *planned, NEW);
        below_old = old->size;
        i++;
    }
}

/* What comes of a class's free slots when it retires: nobody fills those of its last frame;
 * objects move, if there are more. */
static void count_loss(struct kl_zs *pool, struct zs_class *class, uint64_t *lost, uint64_t *moved)
{
    uint64_t holes;

    zs_class_lock(pool, class);
    holes = class->ready - class->live;
    if (zs_class_freeable(pool, class) > 0)
        *moved += kli_min(holes, class->live) * class->size;
    else
        *lost += holes * class->size;
    zs_class_unlock(pool, class);
}

static bool pays(struct kl_zs *pool, const struct learning *l, const struct zs_plan_in *in)
{
    uint64_t before = zs_plan_waste(in, l->old, l->nold), lost = 0, moved = 0;
    uint64_t after = zs_plan_waste(in, l->merged, l->nmerged), saved;

    if (before <= after || l->added > pool->room - l->nold)
        return false;
    saved = in->pool_bytes / 1000000 * (before - after);
    for (uint32_t i = 0; i < l->nold; i++) {
        if (!l->stays[i])
            count_loss(pool, &pool->classes[i], &lost, &moved);
    }
    saved -= kli_min(saved, lost);
    atomic_store(&pool->learn_saving, saved);
    return saved >= in->pool_bytes / 1000000 * LEAST_PPM && saved >= TIMES_MOVED * moved;
}

static bool plan(struct kl_zs *pool, struct learning *l)
{
    struct zs_plan_in in =
        zs_plan_for(UINT32_C(1) << pool->frame_shift, zs_largest(pool), zs_most_frames(pool));

    zs_plan_blend(l->counts, l->seen, in.largest, zs_typical(pool));
    in.counts = l->counts;
    l->nplanned = zs_plan(&in, l->planned, ZS_MAX_CLASSES, (void *)(l + 1));
    merge(l);
    in.counts = l->seen;
    return pays(pool, l, &in);
}

/* --- putting it to use ------------------------------------------------------- */

static void retire(struct kl_zs *pool, struct zs_class *class)
{
    zs_class_lock(pool, class);
    atomic_store_explicit(&class->retired, true, memory_order_relaxed);
    zs_class_unlock(pool, class);
}

static void put_to_use(struct kl_zs *pool, struct learning *l)
{
    uint32_t n = l->nold, low = 0;
    uint64_t freed = 0;

    for (uint32_t i = 0; i < l->nmerged; i++) {
        if (l->from[i] != NEW)
            continue;
        zs_class_init(pool, n, &l->merged[i]);
        l->from[i] = (uint16_t)n++;
    }
    zs_kept_extend(pool, n); /* R3 */
    for (uint32_t i = 0; i < l->nmerged; i++) {
        for (; low < l->merged[i].size / ZS_ALIGN; low++)
            atomic_store_explicit(&pool->class_of[low], l->from[i], memory_order_release);
    }
    for (uint32_t i = 0; i < l->nold; i++) {
        if (!l->stays[i])
            retire(pool, &pool->classes[i]);
    }
    atomic_store(&pool->learned, true);
    zs_kept_drain(pool, true, &freed);
}

/* The pool has learn_at frames.  true: it has learned. */
bool zs_learn(struct kl_zs *pool)
{
    uint64_t at = atomic_load(&pool->learn_at);
    bool later = at <= zs_most_frames(pool) / LAST_PART / 2, learned = false;
    struct learning *l;

    if (atomic_load(&pool->frames) < at ||
        !atomic_compare_exchange_strong(&pool->learn_at, &at, NEVER)) /* R6 */
        return false;
    l = kl_zone_meta_alloc(pool->zone, learning_bytes());
    if (l && look_at_counts(pool, l) >= LEAST_OBJECTS) {
        stop_counting(pool);
        learned = plan(pool, l);
        if (learned)
            put_to_use(pool, l);
    } else if (later) {
        atomic_store(&pool->learn_at, 2 * at);
    } else {
        stop_counting(pool);
    }
    if (l)
        kl_zone_meta_free(pool->zone, l, learning_bytes());
    return learned;
}
