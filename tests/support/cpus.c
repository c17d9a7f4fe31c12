// SPDX-License-Identifier: Apache-2.0
#include "support/cpus.h"

#include <pthread.h>
#include <sched.h>

static struct {
    pthread_mutex_t lock;
    _Atomic uint64_t age; /* sequences and fences that took effect */
} soft[CPUS_SOFT] = {
    {.lock = PTHREAD_MUTEX_INITIALIZER},
    {.lock = PTHREAD_MUTEX_INITIALIZER},
    {.lock = PTHREAD_MUTEX_INITIALIZER},
    {.lock = PTHREAD_MUTEX_INITIALIZER},
};

static _Thread_local unsigned here;
static _Thread_local unsigned shake;
static _Thread_local struct rng rng;
static _Atomic uint64_t aborts;
static atomic_bool fence_fails;

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static unsigned soft_cpu(void *ctx)
{
    (void)ctx;
    return here;
}

static bool shaken(void)
{
    return shake > 0 && rng_below(&rng, shake) == 0;
}

static struct kl_cpu_stack *on_this(struct kl_cpu_stack *stack, unsigned ncpus)
{
    if (ncpus != CPUS_SOFT)
        abort(); /* in any thread: no assertion of cmocka's */
    return stack + (size_t)KL_CPU_STACKS * here;
}

/* The end of a sequence on a processor whose age was `age` at its beginning. */
static bool commit(unsigned cpu, uint64_t age, struct kl_cpu_stack *stack, uint32_t n,
                   const uint32_t *entry)
{
    bool ok;

    pthread_mutex_lock(&soft[cpu].lock);
    ok = atomic_load(&soft[cpu].age) == age;
    if (ok) {
        if (entry)
            store(&stack->entry[n - 1], *entry);
        store(&stack->n, n);
        atomic_fetch_add(&soft[cpu].age, 1);
    } else {
        atomic_fetch_add(&aborts, 1);
    }
    pthread_mutex_unlock(&soft[cpu].lock);
    return ok;
}

static uint32_t soft_pop(void *ctx, struct kl_cpu_stack *stack, unsigned ncpus)
{
    uint64_t age;
    uint32_t limit, n, entry;

    (void)ctx;
    if (shaken())
        here = rng_below(&rng, CPUS_SOFT);
    stack = on_this(stack, ncpus);
    age = atomic_load(&soft[here].age);
    limit = load(&stack->limit);
    n = load(&stack->n);
    if (n == 0 || n > limit)
        return KL_CPU_NONE;
    entry = load(&stack->entry[n - 1]);
    if (shaken())
        sched_yield();
    return commit(here, age, stack, n - 1, NULL) ? entry : KL_CPU_NONE;
}

static bool soft_push(void *ctx, struct kl_cpu_stack *stack, unsigned ncpus, uint32_t number)
{
    uint64_t age;
    uint32_t limit, n;

    (void)ctx;
    if (shaken())
        here = rng_below(&rng, CPUS_SOFT);
    stack = on_this(stack, ncpus);
    age = atomic_load(&soft[here].age);
    limit = load(&stack->limit);
    n = load(&stack->n);
    if (n >= limit)
        return false;
    if (shaken())
        sched_yield();
    return commit(here, age, stack, n + 1, &number);
}

static bool soft_fence(void *ctx, unsigned cpu)
{
    (void)ctx;
    if (atomic_load(&fence_fails))
        return false;
    pthread_mutex_lock(&soft[cpu].lock);
    atomic_fetch_add(&soft[cpu].age, 1);
    pthread_mutex_unlock(&soft[cpu].lock);
    return true;
}

void cpus_locked(struct kl_host *host)
{
    host->cpu_pop = NULL;
    host->cpu_push = NULL;
    host->cpu_fence = NULL;
}

void cpus_soft(struct kl_host *host)
{
    host->ncpus = CPUS_SOFT;
    host->cpu = soft_cpu;
    host->cpu_pop = soft_pop;
    host->cpu_push = soft_push;
    host->cpu_fence = soft_fence;
}

void cpus_soft_on(unsigned cpu)
{
    here = cpu;
}

void cpus_soft_shake(unsigned one_in, uint64_t stream)
{
    shake = one_in;
    rng = rng_new(stream);
}

uint64_t cpus_soft_aborts(void)
{
    return atomic_load(&aborts);
}

void cpus_soft_fence_fails(bool fails)
{
    atomic_store(&fence_fails, fails);
}
