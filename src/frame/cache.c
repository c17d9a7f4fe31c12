// SPDX-License-Identifier: Apache-2.0
/* Single frames kept at hand, per CPU and kind.
 *
 * A cached frame has its bit set and is not in its block's free count, as if it
 * were allocated, but has a zero state word; an unmovable one stays counted as
 * stuck.  So a block with cached frames is not empty: whoever empties blocks
 * drains the caches first, and again while something is missing.
 *
 * The caches of a CPU are two stacks in the host's layout (klotski/host.h).  Where
 * the host has cpu_pop and cpu_push, a get and a put are one of these; else they
 * are done under the CPU's lock, which is tried: who doesn't get it goes the long
 * way, to the block's word.  (cache.h has the first way, inline.)
 *
 * (C1) limit is KL_CPU_ENTRIES but while somebody has closed the stack; only one
 *      who has the CPU's lock closes it, and opens it again before the lock goes.
 * (C2) What is freed in a fenced or shunned block does not enter a cache.  (It may, if the
 *      fence is just going up: hence "again".)
 * (C3) With the host's sequences n and the entries are theirs.  A drainer takes the
 *      lock (against another drainer), closes the stack, calls cpu_fence, and then
 *      has it for itself: what ran before the fence has ended or will not happen,
 *      what runs after it sees the stack closed.  When it can't fence, it opens the
 *      stack again and leaves it alone.
 * (C4) Without them n and the entries are touched with the lock held.
 * (C5) An entry is a frame that nobody else has.  Who puts it there has stored zero
 *      in its state word with release: a free by its last step, a refill by a store
 *      of its own, for the frame may have been the tail of another's allocation,
 *      known to be free by the bitmap alone.  Who gets the entry reads that zero with
 *      acquire (kli_name_frame; a drainer, before it clears the bit).  Hence what the last user did
 * with the frame is before what the next one does, without any order from the cache; and a frame
 *      that is handed out twice is found.
 * (C6) A refill holds the CPU's lock, so that a drainer waits for the frames that
 *      are on their way into a cache.  They may enter another CPU's by then.
 *
 * Only a drainer waits for the lock, which is held for a few instructions, or while
 * two stacks are drained or one is refilled.
 */
#include "frame/cache.h"

static bool try_lock(struct kl_zone *zone, unsigned cpu)
{
    return !atomic_exchange_explicit(&zone->hint[cpu].cache_busy, true, memory_order_acquire);
}

static void lock(struct kl_zone *zone, unsigned cpu)
{
    for (unsigned round = 0; !try_lock(zone, cpu); round++)
        zone->host.relax(zone->host.ctx, round);
}

static void unlock(struct kl_zone *zone, unsigned cpu)
{
    atomic_store_explicit(&zone->hint[cpu].cache_busy, false, memory_order_release);
}

/* Single looks at what the host's sequences may be changing. */
static uint32_t look(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void set(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

void kli_cache_init(struct kl_zone *zone)
{
    for (size_t i = 0; i < (size_t)KL_CPU_STACKS * zone->host.ncpus; i++)
        zone->cache[i].limit = KL_CPU_ENTRIES;
}

/* With the lock (C4). */
static uint32_t pop(struct kl_cpu_stack *stack)
{
    uint32_t n = look(&stack->n);

    if (n == 0)
        return KL_CPU_NONE;
    set(&stack->n, n - 1);
    return look(&stack->entry[n - 1]);
}

static bool push(struct kl_cpu_stack *stack, uint32_t nr)
{
    uint32_t n = look(&stack->n);

    if (n == KL_CPU_ENTRIES)
        return false;
    set(&stack->entry[n], nr);
    set(&stack->n, n + 1);
    return true;
}

static bool put_locked(struct kl_zone *zone, uint32_t nr, bool unmovable)
{
    unsigned cpu = kli_cpu(zone);
    bool put;

    if (!try_lock(zone, cpu))
        return false;
    put = push(kli_cache_of(zone, cpu, unmovable), nr);
    unlock(zone, cpu);
    return put;
}

/* Into the stack of whichever CPU this thread is on by now; else back to the block. */
static void put_spare(struct kl_zone *zone, unsigned cpu, uint32_t nr, bool unmovable)
{
    const struct kl_host *host = &zone->host;
    struct kl_cpu_stack *first = kli_cache_of(zone, 0, unmovable);
    bool put;

    atomic_store_explicit(&zone->frame[nr].state, 0, memory_order_release); /* C5 */
    put = host->cpu_push ? host->cpu_push(host->ctx, first, host->ncpus, nr)
                         : push(kli_cache_of(zone, cpu, unmovable), nr);
    if (!put)
        kli_bits_put(zone, nr, 1, unmovable);
}

/* Frames of the CPU's last block: one for the caller, the others for the cache. (C6) */
static uint32_t refill(struct kl_zone *zone, unsigned cpu, bool unmovable)
{
    enum { SOME = KL_CPU_ENTRIES / 2 };
    _Atomic uint32_t *hint = &zone->hint[cpu].block[unmovable];
    uint32_t block = atomic_load_explicit(hint, memory_order_relaxed);
    uint32_t some[SOME], n = kli_reserve_singles(zone, block, unmovable, SOME, some);

    for (uint32_t i = n; i > 1; i--) /* the lowest gets on top */
        put_spare(zone, cpu, some[i - 1], unmovable);
    return n > 0 ? some[0] : KL_CPU_NONE;
}

uint32_t kli_cache_get_slow(struct kl_zone *zone, bool unmovable)
{
    unsigned cpu = kli_cpu(zone);
    uint32_t nr;

    if (!try_lock(zone, cpu))
        return KL_CPU_NONE;
    nr = zone->host.cpu_pop ? KL_CPU_NONE : pop(kli_cache_of(zone, cpu, unmovable));
    if (nr == KL_CPU_NONE)
        nr = refill(zone, cpu, unmovable);
    unlock(zone, cpu);
    return nr;
}

bool kli_cache_put_slow(struct kl_zone *zone, uint32_t nr, bool unmovable)
{
    return !zone->host.cpu_push && put_locked(zone, nr, unmovable);
}

/* Empties a stack that is the caller's alone. (C3, C4) */
static void empty(struct kl_zone *zone, struct kl_cpu_stack *stack, bool unmovable)
{
    uint32_t nr;

    while ((nr = pop(stack)) != KL_CPU_NONE) {
        KLI_REQUIRE(&zone->host, kli_state(zone, nr) == 0); /* C5 */
        kli_bits_put(zone, nr, 1, unmovable);
    }
}

static void set_limits(struct kl_zone *zone, unsigned cpu, uint32_t limit)
{
    for (unsigned kind = 0; kind < KL_CPU_STACKS; kind++)
        __atomic_store_n(&kli_cache_of(zone, cpu, kind)->limit, limit, __ATOMIC_RELEASE);
}

/* true: the CPU's stacks are the caller's, until set_limits. (C1, C3) */
static bool close_stacks(struct kl_zone *zone, unsigned cpu)
{
    if (!zone->host.cpu_fence)
        return true;
    set_limits(zone, cpu, 0);
    return zone->host.cpu_fence(zone->host.ctx, cpu);
}

static bool drain_cpu(struct kl_zone *zone, unsigned cpu)
{
    struct kl_cpu_stack *movable = kli_cache_of(zone, cpu, false);
    struct kl_cpu_stack *unmovable = kli_cache_of(zone, cpu, true);
    bool any = !try_lock(zone, cpu); /* then a refill may be under way (C6) */

    if (any)
        lock(zone, cpu);
    if (look(&movable->n) + look(&unmovable->n) > 0 && close_stacks(zone, cpu)) {
        any |= look(&movable->n) + look(&unmovable->n) > 0;
        empty(zone, movable, false);
        empty(zone, unmovable, true);
    }
    set_limits(zone, cpu, KL_CPU_ENTRIES);
    unlock(zone, cpu);
    return any;
}

/* true: there was something, or it was on its way; then a second drain may find more. */
bool kli_cache_drain(struct kl_zone *zone)
{
    bool any = false;

    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++)
        any |= drain_cpu(zone, cpu);
    return any;
}

/* Cached frames of one block, for recounts of a zone at rest; of all blocks
 * (UINT32_MAX): as it was at some moment. */
uint32_t kli_cache_count(struct kl_zone *zone, uint32_t block, bool unmovable)
{
    uint32_t count = 0;

    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++) {
        struct kl_cpu_stack *stack = kli_cache_of(zone, cpu, unmovable);
        uint32_t n = look(&stack->n);

        if (block == UINT32_MAX) {
            count += n;
            continue;
        }
        for (uint32_t i = 0; i < n; i++)
            count += kli_block_of(zone, look(&stack->entry[i])) == block;
    }
    return count;
}

/* Keeps nr in a sorted list of the lowest `most`, n of which it has; how many then. */
static uint32_t insert(uint32_t *list, uint32_t n, uint32_t most, uint32_t nr)
{
    uint32_t at;

    if (n == most && list[n - 1] <= nr)
        return n;
    n -= n == most;
    for (at = n; at > 0 && list[at - 1] > nr; at--)
        list[at] = list[at - 1];
    list[at] = nr;
    return n + 1;
}

/* The lowest cached frames from number `from` on, in ascending order: how many.  While
 * others get and put, one may be missing, or be there twice. */
uint32_t kli_cache_list(struct kl_zone *zone, uint32_t from, uint32_t *nr, uint32_t most)
{
    uint32_t n = 0;

    for (size_t i = 0; i < (size_t)KL_CPU_STACKS * zone->host.ncpus; i++) {
        const struct kl_cpu_stack *stack = &zone->cache[i];
        uint32_t have = look(&stack->n);

        for (uint32_t e = 0; e < have; e++) {
            uint32_t one = look(&stack->entry[e]);

            if (one >= from)
                n = insert(nr, n, most, one);
        }
    }
    return n;
}
