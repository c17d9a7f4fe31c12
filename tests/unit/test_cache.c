// SPDX-License-Identifier: Apache-2.0
/* The per-CPU caches of single frames: by the core's lock, by the host's sequences,
 * and by sequences that the tests see through; drained while others use them.
 *
 * The tests take a kind of host as their state.
 */
#include "frame/cache.h"
#include "support/cpus.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

struct kind {
    void (*host)(struct kl_host *host);
    bool soft;
};

static void as_it_is(struct kl_host *host)
{
    (void)host;
}

static struct kind locked = {cpus_locked, false};
static struct kind soft = {cpus_soft, true};
static struct kind sequences = {as_it_is, false};

enum { BLOCKS = 4, ORDER = 6, FRAMES = BLOCKS << ORDER };

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)frame, (void)mode;
    return false;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    (void)ctx, (void)dst, (void)src, (void)mode;
    return -KL_EBUSY;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

/* Frames of both kinds are its own, none moves. */
static kl_owner_id stiff_owner(struct kl_zone *zone)
{
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "stiff",
                               .isolate = isolate,
                               .migrate = migrate,
                               .putback = putback};
    kl_owner_id owner;

    assert_int_equal(kl_owner_register(zone, &ops, NULL, &owner), 0);
    return owner;
}

static kl_owner_id open_with(struct fixture *f, void **state)
{
    const struct kind *kind = *state;

    if (kind == &sequences && !kl_linux_host()->cpu_pop)
        skip();
    fixture_host = kind->host;
    fixture_open(f, BLOCKS, ORDER, KL_ZONE_POPULATE);
    return stiff_owner(f->zone);
}

static void close_with(struct fixture *f, kl_owner_id owner)
{
    assert_int_equal(kl_owner_unregister(f->zone, owner), 0);
    fixture_close(f);
    fixture_host = NULL;
}

static uint32_t cached(struct kl_zone *zone)
{
    return kli_cache_count(zone, UINT32_MAX, false) + kli_cache_count(zone, UINT32_MAX, true);
}

static uint32_t free_frames(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s.free_frames;
}

/* Where this thread may run; every test begins and ends there. */
static cpu_set_t allowed;

static int remember_cpus(void **state)
{
    (void)state;
    return sched_getaffinity(0, sizeof(allowed), &allowed);
}

static int back_to_all_cpus(void **state)
{
    (void)state;
    cpus_soft_on(0);
    cpus_soft_shake(0, 0);
    return sched_setaffinity(0, sizeof(allowed), &allowed);
}

/* The nth allowed processor, round and round. */
static cpu_set_t one_cpu(unsigned n)
{
    cpu_set_t one;
    int cpu = 0;

    CPU_ZERO(&one);
    n %= (unsigned)CPU_COUNT(&allowed);
    while (!CPU_ISSET(cpu, &allowed) || n-- > 0)
        cpu++;
    CPU_SET(cpu, &one);
    return one;
}

/* This thread runs on processor n of its kind from now on. */
static void run_on(const struct kind *kind, unsigned n)
{
    cpu_set_t one = one_cpu(n);

    if (kind->soft)
        cpus_soft_on(n);
    else if (n >= (unsigned)CPU_COUNT(&allowed))
        skip();
    else
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static kl_pfn get(struct kl_zone *zone, kl_owner_id owner, unsigned flags)
{
    kl_pfn pfn;

    assert_int_equal(kl_frame_alloc(zone, 0, owner, flags, &pfn), 0);
    return pfn;
}

static void keeps_frames_at_hand(void **state)
{
    struct fixture f;
    kl_owner_id owner;
    kl_pfn a, b;

    run_on(*state, 0);
    owner = open_with(&f, state);
    a = get(f.zone, owner, 0);
    b = get(f.zone, owner, 0);
    assert_int_equal(cached(f.zone), KL_CPU_ENTRIES / 2 - 1);
    assert_int_equal(free_frames(f.zone), FRAMES - 2); /* cached ones are free */
    assert_int_equal(kl_frame_free(f.zone, owner, b), 0);
    assert_int_equal(kl_frame_free(f.zone, owner, b), -KL_EINVAL);
    assert_int_equal(cached(f.zone), KL_CPU_ENTRIES / 2);
    assert_int_equal(get(f.zone, owner, 0).v, b.v); /* the last one is the first */
    assert_zone_ok(f.zone);
    assert_true(kli_cache_drain(f.zone));
    assert_int_equal(cached(f.zone), 0);
    assert_false(kli_cache_drain(f.zone));
    assert_zone_ok(f.zone);
    assert_int_equal(kl_frame_free(f.zone, owner, a), 0); /* it is open again */
    assert_int_equal(cached(f.zone), 1);
    assert_int_equal(kl_frame_free(f.zone, owner, b), 0);
    close_with(&f, owner);
}

static void keeps_the_kinds_apart(void **state)
{
    struct fixture f;
    kl_owner_id owner;
    kl_pfn stuck, movable;

    run_on(*state, 0);
    owner = open_with(&f, state);
    stuck = get(f.zone, owner, 0);
    movable = get(f.zone, owner, KL_MOVABLE);
    assert_int_equal(kl_frame_free(f.zone, owner, stuck), 0);
    assert_int_equal(kl_frame_free(f.zone, owner, movable), 0);
    assert_int_equal(kli_cache_count(f.zone, UINT32_MAX, true), 1);
    assert_int_equal(kli_cache_count(f.zone, UINT32_MAX, false), 1);
    assert_zone_ok(f.zone);
    assert_int_equal(get(f.zone, owner, KL_MOVABLE | KL_ZERO).v, movable.v);
    assert_int_equal(get(f.zone, owner, KL_ZERO).v, stuck.v);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_frame_free(f.zone, owner, stuck), 0);
    assert_int_equal(kl_frame_free(f.zone, owner, movable), 0);
    close_with(&f, owner);
}

static uint32_t get_all(struct kl_zone *zone, kl_owner_id owner, kl_pfn *pfn)
{
    uint32_t n = 0;

    while (n < FRAMES && kl_frame_alloc(zone, 0, owner, KL_NOWAIT, &pfn[n]) == 0)
        n++;
    return n;
}

static void put_all(struct kl_zone *zone, kl_owner_id owner, const kl_pfn *pfn, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(kl_frame_free(zone, owner, pfn[i]), 0);
}

static void is_full_at_some_point(void **state)
{
    struct fixture f;
    kl_owner_id owner;
    kl_pfn pfn[FRAMES];

    run_on(*state, 0);
    owner = open_with(&f, state);
    assert_int_equal(get_all(f.zone, owner, pfn), FRAMES);
    put_all(f.zone, owner, pfn, KL_CPU_ENTRIES + 9);
    assert_int_equal(cached(f.zone), KL_CPU_ENTRIES);
    assert_int_equal(free_frames(f.zone), KL_CPU_ENTRIES + 9);
    assert_zone_ok(f.zone);
    put_all(f.zone, owner, pfn + KL_CPU_ENTRIES + 9, FRAMES - KL_CPU_ENTRIES - 9);
    close_with(&f, owner);
}

/* Somebody who finds nothing gets what other processors keep. */
static void finds_what_others_keep(void **state)
{
    struct fixture f;
    kl_owner_id owner;
    kl_pfn pfn[FRAMES], extra;

    run_on(*state, 1);
    owner = open_with(&f, state);
    assert_int_equal(get_all(f.zone, owner, pfn), FRAMES);
    put_all(f.zone, owner, pfn, 20);
    assert_int_equal(cached(f.zone), 20);
    run_on(*state, 0);
    for (int i = 0; i < 20; i++)
        pfn[i] = get(f.zone, owner, i % 2 ? KL_MOVABLE : 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, KL_NOWAIT, &extra), -KL_ENOMEM);
    assert_int_equal(cached(f.zone), 0);
    put_all(f.zone, owner, pfn, FRAMES);
    close_with(&f, owner);
}

/* ---- threads that get and put, a drainer, and one who disturbs ---- */

enum { WORKERS = 3, SLOTS = 100, OPS = 60000 };

struct storm {
    struct kl_zone *zone;
    kl_owner_id owner;
    pthread_t worker[WORKERS];
    bool signals; /* they abort real sequences only */
    _Atomic unsigned begun, done;
    _Atomic uint64_t wrong, got;
};

struct slot {
    kl_pfn pfn;
    uint64_t mark;
    unsigned order;
    bool here;
};

/* The nth of the words that are written and looked at: two a frame. */
static uint64_t *word_of(const struct storm *storm, const struct slot *slot, unsigned n)
{
    return (uint64_t *)kl_frame_addr(storm->zone, slot->pfn) + n / 2 * 512 + n % 2 * 511;
}

/* Fills the frames; nobody else writes into them before they are freed.  Now and then
 * two frames in one: as single frames they have another past. */
static void take(struct storm *storm, struct slot *slot, struct rng *rng)
{
    unsigned flags = KL_NOWAIT | (rng_below(rng, 2) ? KL_MOVABLE : 0);

    slot->order = rng_below(rng, 6) == 0;
    if (kl_frame_alloc(storm->zone, slot->order, storm->owner, flags, &slot->pfn) != 0)
        return;
    slot->here = true;
    slot->mark = rng->state;
    for (unsigned i = 0; i < 2u << slot->order; i++)
        *word_of(storm, slot, i) = slot->mark;
    atomic_fetch_add_explicit(&storm->got, 1, memory_order_relaxed);
}

static void drop(struct storm *storm, struct slot *slot)
{
    bool right = true;

    for (unsigned i = 0; i < 2u << slot->order; i++)
        right &= *word_of(storm, slot, i) == slot->mark;
    if (!right || kl_frame_free(storm->zone, storm->owner, slot->pfn) != 0)
        atomic_fetch_add(&storm->wrong, 1);
    slot->here = false;
}

static void *work(void *arg)
{
    struct storm *storm = arg;
    struct slot slot[SLOTS] = {0};
    uint64_t stream = 100 + atomic_fetch_add(&storm->begun, 1);
    struct rng rng = rng_new(stream);

    cpus_soft_shake(8, stream);
    for (int i = 0; i < OPS; i++) {
        struct slot *one = &slot[rng_below(&rng, SLOTS)];

        if (one->here)
            drop(storm, one);
        else
            take(storm, one, &rng);
        if (rng_below(&rng, 64) == 0)
            sched_yield();
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slot[i].here)
            drop(storm, &slot[i]);
    }
    atomic_fetch_add(&storm->done, 1);
    return NULL;
}

static void nothing(int sig)
{
    (void)sig;
}

/* Signals, and another processor, for one worker after the other. */
static void disturb(struct storm *storm, unsigned round)
{
    cpu_set_t one = one_cpu(round / WORKERS);
    pthread_t worker = storm->worker[round % WORKERS];

    if (storm->signals)
        pthread_kill(worker, SIGUSR1);
    if (round % 16 < WORKERS)
        pthread_setaffinity_np(worker, sizeof(one), &one);
}

static void run_storm(struct storm *storm, bool disturbed)
{
    struct sigaction act = {.sa_handler = nothing, .sa_flags = SA_RESTART}, old;

    sigaction(SIGUSR1, &act, &old);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&storm->worker[i], NULL, work, storm), 0);
    for (unsigned round = 0; atomic_load(&storm->done) < WORKERS; round++) {
        if (disturbed)
            disturb(storm, round);
        if (!disturbed || round % 16 == 0)
            kli_cache_drain(storm->zone);
        assert_true(free_frames(storm->zone) <= FRAMES);
    }
    for (int i = 0; i < WORKERS; i++)
        pthread_join(storm->worker[i], NULL);
    sigaction(SIGUSR1, &old, NULL);
}

static void storm_of(void **state, bool disturbed)
{
    struct fixture f;
    struct storm storm = {0};
    kl_pfn pfn[FRAMES];

    storm.owner = open_with(&f, state);
    storm.zone = f.zone;
    storm.signals = *state == &sequences;
    run_storm(&storm, disturbed);
    assert_int_equal(storm.wrong, 0);
    assert_true(storm.got > OPS);
    assert_zone_ok(f.zone);
    assert_int_equal(free_frames(f.zone), FRAMES);
    assert_int_equal(get_all(f.zone, storm.owner, pfn), FRAMES); /* none is lost */
    assert_zone_ok(f.zone);
    put_all(f.zone, storm.owner, pfn, FRAMES);
    close_with(&f, storm.owner);
}

static void is_drained_in_use(void **state)
{
    uint64_t before = cpus_soft_aborts();

    storm_of(state, false);
    if (*state == &soft)
        assert_true(cpus_soft_aborts() > before);
}

static void bears_signals_and_migration(void **state)
{
    storm_of(state, true);
}

/* ---- the host's part ---- */

static void leaves_a_cache_that_it_cannot_fence(void **state)
{
    struct fixture f;
    kl_owner_id owner;
    kl_pfn a;

    run_on(*state, 0);
    owner = open_with(&f, state);
    a = get(f.zone, owner, 0);
    assert_int_equal(kl_frame_free(f.zone, owner, a), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    cpus_soft_fence_fails(true);
    assert_false(kli_cache_drain(f.zone));
    assert_int_equal(cached(f.zone), 1);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_destroy(f.zone), -KL_EBUSY);
    owner = stiff_owner(f.zone);
    assert_int_equal(get(f.zone, owner, 0).v, a.v); /* it is open */
    cpus_soft_fence_fails(false);
    assert_int_equal(kl_frame_free(f.zone, owner, a), 0);
    close_with(&f, owner);
}

static void without_fence(struct kl_host *host)
{
    cpus_soft(host);
    host->cpu_fence = NULL;
}

static void without_pop(struct kl_host *host)
{
    cpus_soft(host);
    host->cpu_pop = NULL;
}

static void only_push(struct kl_host *host)
{
    without_pop(host);
    host->cpu_fence = NULL;
}

static void wants_all_or_none_of_them(void **state)
{
    void (*const half[])(struct kl_host *) = {without_fence, without_pop, only_push};
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(half) / sizeof(half[0]); i++) {
        fixture_host = half[i];
        assert_int_equal(fixture_try(&f, BLOCKS, ORDER, 0), -KL_EINVAL);
    }
    fixture_host = NULL;
}

int main(void)
{
#define EACH(test)                                                                                 \
    {#test "/locked", test, NULL, back_to_all_cpus, &locked},                                      \
        {#test "/soft", test, NULL, back_to_all_cpus, &soft},                                      \
    {                                                                                              \
#test "/sequences", test, NULL, back_to_all_cpus, &sequences                               \
    }
    const struct CMUnitTest tests[] = {
        EACH(keeps_frames_at_hand),
        EACH(keeps_the_kinds_apart),
        EACH(is_full_at_some_point),
        EACH(finds_what_others_keep),
        EACH(is_drained_in_use),
        EACH(bears_signals_and_migration),
        {"leaves_a_cache_that_it_cannot_fence", leaves_a_cache_that_it_cannot_fence, NULL,
         back_to_all_cpus, &soft},
        {"wants_all_or_none_of_them", wants_all_or_none_of_them, NULL, NULL, NULL},
    };

    return cmocka_run_group_tests(tests, remember_cpus, NULL);
}
