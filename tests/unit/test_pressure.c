// SPDX-License-Identifier: Apache-2.0
/* Corners of the slow path and of background work: what an adversary would try. */
#include "support/mover.h"

#include "frame/zone.h"

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

static struct mover m;

static _Atomic unsigned kicks;

static void count_kick(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&kicks, 1);
}

static struct kl_zone_stats stats_of(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s;
}

static int limit(struct kl_zone *zone, uint64_t soft, uint64_t hard)
{
    struct kl_zone_limits limits = {.size = sizeof(limits), .soft = soft, .hard = hard};

    return kl_zone_set_limits(zone, &limits);
}

static int step_of(struct kl_zone *zone, uint32_t budget, uint64_t *again_ns)
{
    struct kl_step step = {.size = sizeof(step), .budget = budget};
    int err = kl_zone_step(zone, &step, NULL);

    *again_ns = step.again_ns;
    return err;
}

/* A shrinker that counts how often it is asked, and frees items of the mover. */
struct cache {
    unsigned next, end;
    unsigned counted, scanned;
};

static uint64_t cached(void *ctx, const struct kl_shrink *shrink)
{
    struct cache *c = ctx;

    (void)shrink;
    c->counted++;
    return c->end - c->next;
}

static uint64_t drop(void *ctx, struct kl_shrink *shrink)
{
    struct cache *c = ctx;
    uint64_t freed = 0;

    c->scanned++;
    for (; freed < shrink->nr_to_scan && c->next < c->end; freed++)
        assert_true(mover_free(&m, c->next++));
    return freed;
}

static kl_shrinker_id watch_with(struct kl_zone *zone, struct cache *cache, unsigned seeks)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "cache", .seeks = seeks, .count = cached, .scan = drop};
    kl_shrinker_id id;

    assert_int_equal(kl_shrinker_register(zone, &ops, cache, &id), 0);
    return id;
}

/* Whoever comes to wait when work is wanted already is told so. */
static void a_kick_set_late_is_called(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 300, .waste_stop = 100};
    struct fixture f;
    uint64_t again;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 2);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    assert_int_equal(kicks, 1);
    while (step_of(f.zone, 0, &again) == -KL_EAGAIN)
        continue;
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0); /* nothing is now */
    assert_int_equal(kicks, 1);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Memory that the hard limit forbids is not to be had from the system. */
static void frames_are_short_at_the_hard_limit(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .low = 32, .high = 64};
    struct cache cache = {.end = 192};
    struct fixture f;
    kl_shrinker_id id;
    uint64_t again;

    (void)state;
    fixture_open(&f, 16, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    id = watch_with(f.zone, &cache, 2);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    assert_int_equal(
        limit(f.zone, 0, stats_of(f.zone).charged_bytes + 3 * kl_zone_block_bytes(f.zone)), 0);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    for (unsigned i = 0; i < 192; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(kicks, 1);
    while (step_of(f.zone, 0, &again) == -KL_EAGAIN && again == 0)
        continue;
    assert_in_range(stats_of(f.zone).free_frames, 64, 192);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* A run of frames is made of what is there before the soft limit is passed; and larger
 * units come after the shrinkers, too. */
static void runs_keep_the_soft_limit_while_they_can(void **state)
{
    struct cache cache = {0};
    struct fixture f;
    kl_shrinker_id id;
    kl_pfn pfn[2];

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    id = watch_with(f.zone, &cache, 2);
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < 128; i++) {
        if (kl_pfn_nr(m.item[i].pfn) % 2)
            assert_true(mover_free(&m, i));
    }
    assert_int_equal(limit(f.zone, stats_of(f.zone).charged_bytes, 0), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 3, m.owner, 0, &pfn[0]), 0);
    assert_int_equal(stats_of(f.zone).present_blocks, 2); /* compaction was enough */
    assert_int_equal(cache.scanned + cache.counted, 0);
    assert_int_equal(kl_frame_alloc(f.zone, 7, m.owner, 0, &pfn[1]), 0);
    assert_true(cache.counted > 0); /* asked before it grew */
    assert_int_equal(stats_of(f.zone).present_blocks, 4);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kl_frame_free(f.zone, m.owner, pfn[i]), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* A reserve does not keep large units from a zone that has its memory still to come. */
static void a_reserve_may_be_populated_for(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .reserve = 10};
    struct fixture f;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 9, m.owner, 0, &pfn), -KL_ENOMEM); /* all of it */
    assert_int_equal(kl_frame_alloc(f.zone, 8, m.owner, 0, &pfn), 0);
    assert_in_range(stats_of(f.zone).free_frames, 10, 512);
    assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* However dear its objects, and however few: in the end all are asked for. */
static void dear_objects_are_asked_for_in_the_end(void **state)
{
    struct cache cache = {.end = 10};
    struct fixture f;
    kl_shrinker_id id;
    kl_pfn pfn;
    unsigned n = 0;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    while (mover_alloc(&m, n, 0, KL_MOVABLE) == 0)
        n++;
    id = watch_with(f.zone, &cache, 1000);
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, 0, &pfn), 0);
    assert_int_equal(cache.next, 10);
    assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* A want of metadata does not end background work for good. */
static void steps_go_on_after_a_want_of_metadata(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 300, .waste_stop = 100};
    struct fixture f;
    uint64_t again;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    mover_scatter(&m, 2);
    fault_set(FAULT_META, 1);
    assert_int_equal(step_of(f.zone, 0, &again), -KL_EAGAIN);
    assert_int_equal(again, 10000000);
    assert_int_equal(step_of(f.zone, 0, &again), 0);
    assert_int_equal(again, 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Each spell of want begins mildly, whatever the last one came to. */
static void a_new_want_begins_mildly(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .low = 32, .high = 64};
    struct cache cache = {0};
    struct fixture f;
    kl_shrinker_id id;
    uint64_t again;
    unsigned n = 0;

    (void)state;
    fixture_open(&f, 64, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    for (int round = 0; round < 2; round++) {
        while (mover_alloc(&m, n, 0, KL_MOVABLE | KL_NOWAIT) == 0)
            n++;
        if (round == 1) /* now there is a large cache: a little of it will do */
            cache.end = n;
        else
            cache.next = cache.end = 0;
        id = watch_with(f.zone, &cache, 2);
        for (int i = 0; round == 0 && i < 20; i++)
            assert_int_equal(step_of(f.zone, 0, &again), -KL_EAGAIN);
        if (round == 0) {
            for (unsigned i = 0; i < 512; i++)
                assert_true(mover_free(&m, --n));
            assert_int_equal(step_of(f.zone, 0, &again), 0);
        } else {
            assert_int_equal(step_of(f.zone, 0, &again), -KL_EAGAIN);
            assert_int_equal(again, 0);
            assert_in_range(cache.next, 0, 64);
        }
        assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    }
    mover_close(&m);
    fixture_close(&f);
}

/* A block that is free takes the kind of what moves in. */
static void a_free_block_takes_a_movers_kind(void **state)
{
    struct fixture f;
    kl_pfn stuck[16];
    kl_pfn first;

    (void)state;
    fixture_open(&f, 2, 4, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, 0, &stuck[i]), 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    first = m.item[0].pfn;
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(kl_frame_free(f.zone, m.owner, stuck[i]), 0);
    first = kl_zone_pfn(f.zone, kl_pfn_nr(first) & ~15u);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, first, 16, KL_SYNC, NULL), 0);
    for (uint32_t b = 0; b < 2; b++)
        assert_int_equal(!(kli_block_word(f.zone, b) & KLI_B_UNMOVABLE),
                         b != kl_frame_block(f.zone, first).v);
    assert_int_equal(kl_contig_free(f.zone, m.owner, first, 16), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* ---- a host with many CPUs, on one of which each call is made ---- */

static unsigned this_cpu;

static unsigned cpu(void *ctx)
{
    (void)ctx;
    return this_cpu;
}

/* What CPUs hold back of their counts is not taken for waste. */
static void many_cpus_do_not_look_like_waste(void **state)
{
    enum { CPUS = 64, BLOCKS = 64, ORDER = 9 };
    struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 100, .waste_stop = 50};
    struct kl_host host = *kl_linux_host();
    struct kl_backing backing;
    struct kl_zone_config config = {.size = sizeof(config), .host = &host, .backing = &backing};
    struct kl_zone *zone;
    kl_owner_id owner;
    kl_pfn pfn[CPUS];

    (void)state;
    host.ncpus = CPUS;
    host.cpu = cpu;
    assert_int_equal(kl_backing_offsets(&backing, (uint64_t)BLOCKS << (12 + ORDER), 12, ORDER), 0);
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(zone, count_kick, NULL), 0);
    assert_int_equal(kl_zone_set_marks(zone, &marks), 0);
    for (this_cpu = 0; this_cpu < CPUS; this_cpu++) {
        for (unsigned c = 0; c < CPUS; c++)
            atomic_store(&zone->hint[c].block[1], this_cpu / 4);
        assert_int_equal(kl_frame_alloc(zone, 7, owner, 0, &pfn[this_cpu]), 0);
    }
    this_cpu = 0;
    assert_int_equal(stats_of(zone).free_blocks, BLOCKS - CPUS / 4); /* no waste at all */
    assert_int_equal(kli_wasted(zone), 0);
    kli_watch(zone);
    assert_int_equal(kicks, 0);
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(kl_frame_free(zone, owner, pfn[i]), 0);
    assert_zone_ok(zone);
    assert_int_equal(kl_zone_set_kick(zone, NULL, NULL), 0);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    assert_int_equal(kl_zone_destroy(zone), 0);
}

/* A whole block that comes free in one step was never waste. */
static void a_whole_block_is_not_waste(void **state)
{
    struct kl_zone_marks marks = {.size = sizeof(marks), .waste_start = 100, .waste_stop = 50};
    struct fixture f;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 8, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    atomic_store(&kicks, 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    assert_int_equal(kl_zone_set_marks(f.zone, &marks), 0);
    for (unsigned order = 6; order < 9; order++) {
        assert_int_equal(kl_frame_alloc(f.zone, order, m.owner, 0, &pfn), 0);
        assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), 0);
        assert_int_equal(kicks, 0);
    }
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* ---- a backing whose release lets another one set a limit meanwhile ---- */

static struct rivals {
    struct kl_zone *zone;
    uint64_t hard[2];
    int err[2];
    pthread_t thread;
    _Atomic unsigned releases;
    sem_t second, done;
} rivals;

static void wait_a_while(sem_t *sem)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    sem_timedwait(sem, &until);
}

static void *set_the_second(void *arg)
{
    (void)arg;
    rivals.err[1] = limit(rivals.zone, 0, rivals.hard[1]);
    return NULL;
}

static int release_among_rivals(void *ctx, uint64_t offset, uint64_t bytes)
{
    (void)ctx, (void)offset, (void)bytes;
    switch (atomic_fetch_add(&rivals.releases, 1)) {
    case 0: /* of the first one: let the other come as far as this */
        assert_int_equal(pthread_create(&rivals.thread, NULL, set_the_second, NULL), 0);
        wait_a_while(&rivals.second);
        break;
    case 1: /* of the other, if he comes in: let the first one end */
        sem_post(&rivals.second);
        wait_a_while(&rivals.done);
        break;
    default:
        break;
    }
    return 0;
}

static int populate_nothing(void *ctx, uint64_t offset, uint64_t bytes)
{
    (void)ctx, (void)offset, (void)bytes;
    return 0;
}

/* Two limits that are refused at the same time leave what was. */
static void refused_limits_leave_no_trace(void **state)
{
    enum { BLOCKS = 8, ORDER = 6 };
    struct kl_backing backing;
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = &backing};
    kl_owner_id owner;
    uint64_t block, all;
    kl_pfn pfn[BLOCKS];

    (void)state;
    sem_init(&rivals.second, 0, 0);
    sem_init(&rivals.done, 0, 0);
    assert_int_equal(kl_backing_offsets(&backing, (uint64_t)BLOCKS << (12 + ORDER), 12, ORDER), 0);
    backing.populate = populate_nothing;
    backing.release = release_among_rivals;
    assert_int_equal(kl_zone_create(&config, &rivals.zone), 0);
    assert_int_equal(kl_owner_register(rivals.zone, NULL, NULL, &owner), 0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(kl_frame_alloc(rivals.zone, ORDER, owner, 0, &pfn[i]), 0);
    all = stats_of(rivals.zone).charged_bytes;
    block = kl_zone_block_bytes(rivals.zone);
    for (unsigned i = 4; i < 6; i++)
        assert_int_equal(kl_frame_free(rivals.zone, owner, pfn[i]), 0);
    rivals.hard[0] = all - 4 * block;
    rivals.hard[1] = all - 5 * block / 2;
    rivals.err[0] = limit(rivals.zone, 0, rivals.hard[0]);
    sem_post(&rivals.done);
    pthread_join(rivals.thread, NULL);
    assert_int_equal(rivals.err[0], -KL_EBUSY);
    assert_int_equal(rivals.err[1], -KL_EBUSY);
    for (unsigned i = 4; i < BLOCKS; i++) /* nothing changed: there is no limit */
        assert_int_equal(kl_frame_alloc(rivals.zone, ORDER, owner, 0, &pfn[i]), 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_int_equal(kl_frame_free(rivals.zone, owner, pfn[i]), 0);
    assert_zone_ok(rivals.zone);
    assert_int_equal(kl_owner_unregister(rivals.zone, owner), 0);
    assert_int_equal(kl_zone_destroy(rivals.zone), 0);
}

/* ---- somebody stands between his reservation and its end ---- */

#if KL_DEBUG

static struct standing {
    struct kl_zone *zone;
    kl_owner_id owner;
    int err;
    sem_t there, go;
} standing;

static _Thread_local bool stands;

static void stand(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b;
    if (point == KLI_T_alloc_reserved && stands) {
        stands = false; /* once */
        sem_post(&standing.there);
        sem_wait(&standing.go);
    }
    if (point == KLI_T_alloc_stage && c == KLI_AT_WAIT) /* the other waits: let us go on */
        sem_post(&standing.go);
}

static void *reserve_a_run(void *arg)
{
    kl_pfn pfn;

    (void)arg;
    stands = true;
    standing.err = kl_frame_alloc(standing.zone, 3, standing.owner, KL_NOWAIT, &pfn);
    stands = false;
    sem_post(&standing.there); /* whatever came of it */
    return NULL;
}

/* Another has reserved eight frames, of which we take one: he can't use the others, and
 * until he gives them back they are counted as gone.  A single frame is there for us. */
static void a_reservation_that_fails_is_waited_for(void **state)
{
    struct fixture f;
    pthread_t thread;
    kl_pfn pfn[2];
    int err;

    (void)state;
    sem_init(&standing.there, 0, 0);
    sem_init(&standing.go, 0, 0);
    fixture_open(&f, 1, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (uint32_t nr = 0; nr < 10; nr++) { /* a run of eight, and one more */
        if (nr != 8)
            assert_true(mover_free(&m, mover_at(&m, nr)));
    }
    kli_cache_drain(f.zone);
    standing.zone = f.zone;
    standing.owner = m.owner;
    atomic_store(&kli_trace_hook, stand);
    assert_int_equal(pthread_create(&thread, NULL, reserve_a_run, NULL), 0);
    sem_wait(&standing.there);
    assert_int_equal(kl_frame_alloc(f.zone, 0, m.owner, KL_NOWAIT, &pfn[0]), 0);
    assert_in_range(kl_pfn_nr(pfn[0]), 0, 7);
    err = kl_frame_alloc(f.zone, 0, m.owner, 0, &pfn[1]);
    sem_post(&standing.go);
    pthread_join(thread, NULL);
    atomic_store(&kli_trace_hook, NULL);
    assert_int_equal(standing.err, -KL_ENOMEM);
    assert_int_equal(err, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kl_frame_free(f.zone, m.owner, pfn[i]), 0);
    mover_close(&m);
    fixture_close(&f);
}
#endif

/* ---- several who can't be served ---- */

static void *ask_in_vain(void *arg)
{
    kl_pfn pfn;

    return kl_frame_alloc(arg, 3, m.owner, 0, &pfn) == -KL_ENOMEM ? NULL : arg;
}

/* They don't wait for each other in turn until their time is up. */
static void failing_together_is_quick(void **state)
{
    enum { THREADS = 3 };
    pthread_t thread[THREADS];
    struct fixture f;

    (void)state;
    fixture_open(&f, 4, 6, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 2);
    atomic_store(&m.refuse, 100);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, ask_in_vain, f.zone), 0);
    for (int i = 0; i < THREADS; i++) {
        void *got;

        pthread_join(thread[i], &got);
        assert_null(got);
    }
    assert_in_range(stats_of(f.zone).stalls, 0, 8 * THREADS); /* not 40 each */
    atomic_store(&m.refuse, 0);
    mover_close(&m);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kick_set_late_is_called),
        cmocka_unit_test(frames_are_short_at_the_hard_limit),
        cmocka_unit_test(runs_keep_the_soft_limit_while_they_can),
        cmocka_unit_test(a_reserve_may_be_populated_for),
        cmocka_unit_test(dear_objects_are_asked_for_in_the_end),
        cmocka_unit_test(steps_go_on_after_a_want_of_metadata),
        cmocka_unit_test(a_new_want_begins_mildly),
        cmocka_unit_test(a_free_block_takes_a_movers_kind),
        cmocka_unit_test(many_cpus_do_not_look_like_waste),
        cmocka_unit_test(a_whole_block_is_not_waste),
        cmocka_unit_test(refused_limits_leave_no_trace),
#if KL_DEBUG
        cmocka_unit_test(a_reservation_that_fails_is_waited_for),
#endif
        cmocka_unit_test(failing_together_is_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
