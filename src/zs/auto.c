// SPDX-License-Identifier: Apache-2.0
/* Automatic compaction: object compaction that begins by itself when much can be gained,
 * in the steps of the zone (klotski/step.h).
 *
 *          more than start % freeable          so it is
 *   IDLE ---------------------------> WANTED -----------> RUNNING
 *     ^                                 | it is not          |
 *     '---------------------------------'--------------------'
 *                       stop % reached; or nothing more moves, at less than start %
 *
 * What could be freed is known to the pool but roughly: each class tells what it has, at the
 * end of its lock, when that has changed by a few slots; so malloc and free compare two
 * numbers that they have at hand.  Work counts anew.
 *
 * (A1) class->told is under the class lock; pool->freeable is the sum of them, but for what
 *      is on its way there.
 * (A2) A class that has not told has as many free slots as when it told last, and fewer
 *      than class->lump more or less.
 * (A3) Who tells adds to the sum, then looks at the state; work sets IDLE, then looks at the
 *      sum.  Both are sequentially consistent: one of the two sees the other's.
 * (A4) The state leaves IDLE by one who tells; else it is work's, which is called by one
 *      thread at a time.  So nobody wants what rests because it can't be helped now.
 */
#include "zs/zs.h"

enum { DEFAULT_START = 5, DEFAULT_STOP = 2, LEAST_FRAMES = 32, LEAST_SLOTS = 4 };
enum { IDLE, WANTED, RUNNING }; /* auto_state */

static const uint64_t FIRST_PAUSE_NS = 10000000;
enum { MOST_BACK_OFF = 7 };

int zs_auto_configure(struct kl_zs *pool, const struct kl_zs_config *config)
{
    pool->auto_start = config ? config->auto_start_percent : 0;
    pool->auto_stop = config ? config->auto_stop_percent : 0;
    if (pool->auto_start == 0 && pool->auto_stop == 0) {
        pool->auto_start = DEFAULT_START;
        pool->auto_stop = DEFAULT_STOP;
    }
    return pool->auto_stop > pool->auto_start || pool->auto_stop > 100 ? -KL_EINVAL : 0;
}

void zs_auto_class(const struct kl_zs *pool, struct zs_class *class)
{
    uint64_t frame = UINT64_C(1) << pool->frame_shift;

    class->lump = (uint32_t)kli_max(LEAST_SLOTS, kli_div_up(frame, class->size));
    class->tell_below = 0;
    class->tell_above = zs_auto_on(pool) ? class->lump : UINT64_MAX;
}

static uint64_t share(const struct kl_zs *pool, uint32_t percent)
{
    return atomic_load_explicit(&pool->frames, memory_order_relaxed) * percent / 100;
}

static bool is_much(const struct kl_zs *pool, int64_t freeable)
{
    return freeable > (int64_t)kli_max(LEAST_FRAMES, share(pool, pool->auto_start));
}

static bool leave_idle(struct kl_zs *pool)
{
    uint32_t idle = IDLE;

    return atomic_load(&pool->auto_state) == IDLE &&
           atomic_compare_exchange_strong(&pool->auto_state, &idle, WANTED);
}

/* With the class lock: how much more the class has than it told. (A2) */
static int64_t tell(struct kl_zs *pool, struct zs_class *class)
{
    uint64_t slots = class->ready - class->live, freeable = zs_class_freeable(pool, class);
    int64_t by = (int64_t)freeable - (int64_t) class->told;

    class->told = freeable;
    class->tell_above = slots + class->lump;
    class->tell_below = slots > class->lump ? slots - class->lump : 0;
    return by;
}

void zs_auto_tell(struct kl_zs *pool, struct zs_class *class)
{
    int64_t by = tell(pool, class);

    kli_spin_drop(&pool->host, &class->lock);
    if (by && is_much(pool, atomic_fetch_add(&pool->freeable, by) + by) &&
        leave_idle(pool)) /* A3 */
        kl_shrinker_want(pool->zone, pool->shrinker);
}

/* Frames that could be freed, by asking every class. */
static uint64_t recount(struct kl_zs *pool)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < pool->nclasses; i++) {
        struct zs_class *class = &pool->classes[i];
        int64_t by;

        zs_class_lock(pool, class);
        by = tell(pool, class);
        sum += class->told;
        kli_spin_drop(&pool->host, &class->lock);
        if (by)
            atomic_fetch_add(&pool->freeable, by);
    }
    return sum;
}

static uint64_t rest(struct kl_zs *pool)
{
    pool->auto_back_off = 0;
    atomic_store(&pool->auto_state, IDLE); /* A3 */
    return is_much(pool, atomic_load(&pool->freeable)) && leave_idle(pool) ? 0 : KL_WORK_DONE;
}

/* It is much, and nothing of it can be had now: what is pinned, mostly. */
static uint64_t back_off(struct kl_zs *pool)
{
    uint64_t pause = FIRST_PAUSE_NS << pool->auto_back_off;

    if (pool->auto_back_off < MOST_BACK_OFF)
        pool->auto_back_off++;
    return pause;
}

/* Some of it; how long until the next. */
static uint64_t compact_some(struct kl_zs *pool, uint32_t budget, uint64_t freeable, uint64_t stop)
{
    struct zs_goal goal = {.budget = budget,
                           .frames = freeable - stop,
                           .may_wait = true,
                           .keep = pool->auto_in_round,
                           .at = pool->auto_at};
    int64_t freed = zs_compact(pool, &goal);

    if (freed < 0) /* somebody else does it */
        return FIRST_PAUSE_NS;
    pool->auto_at = goal.at;
    pool->auto_in_round = !goal.all;
    pool->auto_gained |= freed > 0;
    if (!goal.all)
        return 0;
    if (pool->auto_gained) {
        pool->auto_back_off = 0;
        pool->auto_gained = false;
        return 0;
    }
    return is_much(pool, (int64_t)freeable) ? back_off(pool) : rest(pool);
}

uint64_t zs_auto_work(void *ctx, uint32_t budget)
{
    struct kl_zs *pool = ctx;
    uint32_t state = atomic_load(&pool->auto_state);
    uint64_t freeable, stop;

    if (state == IDLE) /* a want of one who was here before (reclaim/work.c, M2) */
        return KL_WORK_DONE;
    freeable = recount(pool);
    stop = share(pool, pool->auto_stop);
    if (freeable <= stop || (state == WANTED && !is_much(pool, (int64_t)freeable)))
        return rest(pool);
    if (state == WANTED) {
        atomic_store(&pool->auto_state, RUNNING);
        atomic_fetch_add_explicit(&pool->auto_runs, 1, memory_order_relaxed);
        pool->auto_gained = pool->auto_in_round = false;
    }
    return compact_some(pool, budget, freeable, stop);
}
