// SPDX-License-Identifier: Apache-2.0
/* Objects kept at hand, per CPU and class.
 *
 * Where the host has stacks without locks (klotski/host.h), an object that is freed goes
 * on its CPU's stack of its class as it is, slot and entry; a malloc takes it from there:
 * neither touches the class, its lock, or a zspage.  What a pair touches that is not at
 * hand is the freed handle's entry, which changes by one compare-and-swap, and no other
 * atomic step is taken.  The class of a zspage is noted beside the descriptors, two bytes
 * for two granules, which stay in the caches where descriptors do not, and are not
 * written when others fill and empty the zspage. (Z5)
 *
 * A kept object counts as live in its zspage, and object compaction can't move it: so
 * whoever wants memory back drains first.  All CPUs together keep no more of a class than
 * an eighth of its slots, or LEAST each; and their stacks, which are metadata, are a 512th
 * of what the pool may have.  Direct pools have none: their entries are their users'; and
 * so has a hardened build, where what is free is wiped (guard.h).  A class that has
 * retired (learn.c) keeps nothing, but what was on its way when it did.
 *
 * None is kept for long: background work ends them all (klotski/step.h) some time after
 * one was kept first, and again.
 *
 * (K1) A kept object's entry is claimed and DYING, has its place, and belongs to who has
 *      its index: the stack.
 * (K2) Its generation was raised by the step that freed it; who takes it reads that with
 *      acquire.  So what the last user did with the object is
 *      before what the next one does, and handles of the last user are stale.  A read
 *      that overlaps both sees another generation at its end (read.c).
 * (K3) A drainer has the lock (against another drainer), closes the stacks of a CPU, and
 *      calls cpu_fence; then they are its own.  (frame/cache.c, C3)
 * (K4) An open stack's limit is its class's keeps; both change with the kept lock held.  So
 *      nobody opens what a drainer has closed.  keeps grows with the class, at once, and
 *      falls when somebody drains; 0: the class has retired.
 */
#include "zs/kept.h"

enum { PART = 8, METADATA_PART = 512, LEAST = 2, MOST = KL_CPU_ENTRIES };
static const uint64_t REST_NS = 250000000;

static size_t stack_bytes(const struct kl_zs *pool, uint32_t classes)
{
    size_t pairs = (size_t)kli_div_up(classes, KL_CPU_STACKS);

    return pairs * pool->host.ncpus * KL_CPU_STACKS * sizeof(struct kl_cpu_stack);
}

static struct kl_cpu_stack *stack_of(const struct kl_zs *pool, uint32_t class, unsigned cpu)
{
    return zs_kept_of(pool, class) + (size_t)cpu * KL_CPU_STACKS;
}

static uint32_t look(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* How many objects a CPU may keep of a class that has so many slots. */
static uint32_t room(const struct kl_zs *pool, uint64_t slots)
{
    return (uint32_t)kli_min(MOST, kli_max(LEAST, slots / PART / pool->host.ncpus));
}

static void set_limit(struct kl_zs *pool, uint32_t class, unsigned cpu, uint32_t limit)
{
    __atomic_store_n(&stack_of(pool, class, cpu)->limit, limit, __ATOMIC_RELEASE);
}

static uint32_t keeps(const struct kl_zs *pool, uint32_t class)
{
    return atomic_load_explicit(&pool->classes[class].keeps, memory_order_relaxed);
}

static void close_all(struct kl_zs *pool, unsigned cpu)
{
    for (uint32_t i = 0; i < pool->nclasses; i++)
        set_limit(pool, i, cpu, 0);
}

static void open_all(struct kl_zs *pool, unsigned cpu)
{
    for (uint32_t i = 0; i < pool->nclasses; i++)
        set_limit(pool, i, cpu, keeps(pool, i));
}

/* New classes, which nobody has used yet. */
static void open_new(struct kl_zs *pool, uint32_t first)
{
    for (uint32_t i = first; i < pool->nclasses; i++)
        atomic_store(&pool->classes[i].keeps, LEAST);
    for (unsigned cpu = 0; cpu < pool->host.ncpus; cpu++)
        open_all(pool, cpu);
}

/* A pool goes without where they would cost too much, or can't be had. */
void zs_kept_create(struct kl_zs *pool)
{
    uint64_t bytes = zs_most_frames(pool) << pool->frame_shift;

    if (KL_HARDENED || pool->direct || !pool->host.cpu_push ||
        stack_bytes(pool, pool->nclasses) > bytes / METADATA_PART)
        return;
    pool->kept = kl_zone_meta_alloc(pool->zone, stack_bytes(pool, pool->room));
    if (!pool->kept)
        return;
    atomic_fetch_add(&pool->metadata_bytes, stack_bytes(pool, pool->room));
    open_new(pool, 0);
}

void zs_kept_free(struct kl_zs *pool)
{
    if (pool->kept)
        kl_zone_meta_free(pool->zone, pool->kept, stack_bytes(pool, pool->room));
}

/* Objects of a class that are kept, about; exact while nothing else runs. */
uint64_t zs_kept_count(const struct kl_zs *pool, uint32_t class)
{
    uint64_t n = 0;

    for (unsigned cpu = 0; pool->kept && cpu < pool->host.ncpus; cpu++)
        n += look(&stack_of(pool, class, cpu)->n);
    return n;
}

/* The stack is ours. (K3) */
static uint32_t empty(struct kl_zs *pool, struct kl_cpu_stack *stack, uint64_t *freed)
{
    uint32_t n = look(&stack->n);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = look(&stack->entry[i]);
        kli_word *entry = zs_entry(pool, index);

        KLI_REQUIRE(&pool->host,
                    zs_e_is_kept(atomic_load_explicit(entry, memory_order_acquire))); /* K1 */
        *freed += zs_object_gone(pool, index);
    }
    __atomic_store_n(&stack->n, 0, __ATOMIC_RELAXED);
    return n;
}

static bool any_on(const struct kl_zs *pool, unsigned cpu)
{
    for (uint32_t i = 0; i < pool->nclasses; i++) {
        if (look(&stack_of(pool, i, cpu)->n) > 0)
            return true;
    }
    return false;
}

static uint64_t drain_cpu(struct kl_zs *pool, unsigned cpu, uint64_t *freed)
{
    uint64_t n = 0;

    if (!any_on(pool, cpu)) {
        open_all(pool, cpu);
        return 0;
    }
    close_all(pool, cpu);
    if (pool->host.cpu_fence(pool->host.ctx, cpu)) {
        for (uint32_t i = 0; i < pool->nclasses; i++)
            n += empty(pool, stack_of(pool, i, cpu), freed);
    }
    open_all(pool, cpu);
    return n;
}

/* By what the classes are now; with the kept lock. */
static void fit_all(struct kl_zs *pool)
{
    for (uint32_t i = 0; i < pool->nclasses; i++) {
        struct zs_class *class = &pool->classes[i];

        zs_class_lock(pool, class);
        atomic_store_explicit(&class->keeps, zs_is_retired(class) ? 0 : room(pool, class->ready),
                              memory_order_relaxed);
        zs_class_unlock(pool, class);
    }
}

/* The class has got more slots, and has so many now; no lock is held.  Not while somebody
 * drains: he fits them all. (K4) */
void zs_kept_fit(struct kl_zs *pool, struct zs_class *class, uint64_t slots)
{
    uint32_t limit = room(pool, slots);

    if (!pool->kept || limit <= keeps(pool, class->index) ||
        !kli_lock_try(&pool->host, &pool->kept_lock))
        return;
    if (!zs_is_retired(class)) {
        atomic_store_explicit(&class->keeps, limit, memory_order_relaxed);
        for (unsigned cpu = 0; cpu < pool->host.ncpus; cpu++)
            set_limit(pool, class->index, cpu, limit);
    }
    kli_lock_drop(&pool->host, &pool->kept_lock);
}

/* The pool has more classes from now on, which may keep objects, too; not while somebody
 * drains, who has closed those that he knows. (K3) */
void zs_kept_extend(struct kl_zs *pool, uint32_t nclasses)
{
    uint32_t first = pool->nclasses;

    kli_lock_take(&pool->host, &pool->kept_lock);
    atomic_store(&pool->nclasses, nclasses);
    if (pool->kept)
        open_new(pool, first);
    kli_lock_drop(&pool->host, &pool->kept_lock);
}

/* Ends all that is kept; no lock is held.  How many objects there were: none also when
 * somebody else is at it and the caller may not wait.  *freed grows by frames. */
uint64_t zs_kept_drain(struct kl_zs *pool, bool may_wait, uint64_t *freed)
{
    uint64_t n = 0;

    if (!pool->kept)
        return 0;
    if (may_wait)
        kli_lock_take(&pool->host, &pool->kept_lock);
    else if (!kli_lock_try(&pool->host, &pool->kept_lock))
        return 0;
    fit_all(pool);
    for (unsigned cpu = 0; cpu < pool->host.ncpus; cpu++)
        n += drain_cpu(pool, cpu, freed);
    kli_lock_drop(&pool->host, &pool->kept_lock);
    return n;
}

/* There is something to end, which nobody knows yet. */
void zs_kept_want(struct kl_zs *pool)
{
    if (!atomic_exchange(&pool->kept_wanted, true) && pool->shrinker.v)
        (void)kl_shrinker_want(pool->zone, pool->shrinker);
}

/* What was pushed before kept_wanted went down is seen from now on; who pushes later sees it
 * down and wants anew.  Without the fences each might miss the other's store. */
static bool settle_cpus(struct kl_zs *pool)
{
    bool all = true;

    for (unsigned cpu = 0; pool->kept && cpu < pool->host.ncpus; cpu++)
        all &= pool->host.cpu_fence(pool->host.ctx, cpu);
    return all;
}

/* Background work, of one thread at a time; when to call again. */
uint64_t zs_kept_rest(struct kl_zs *pool)
{
    uint64_t now = pool->host.now_ns(pool->host.ctx), freed = 0;

    if (!atomic_load(&pool->kept_wanted))
        return KL_WORK_DONE;
    if (pool->kept_due == 0)
        pool->kept_due = now + REST_NS;
    if (now < pool->kept_due)
        return pool->kept_due - now;
    pool->kept_due = 0;
    atomic_store(&pool->kept_wanted, false); /* before: what is kept from now on wants anew */
    if (!settle_cpus(pool))
        zs_kept_want(pool);
    zs_kept_drain(pool, true, &freed);
    return KL_WORK_DONE;
}
