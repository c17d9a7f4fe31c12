// SPDX-License-Identifier: Apache-2.0
/* Clients' own background work: wanted, due at a time, and together with the zone's. */
#include "frame/zone.h"
#include "reclaim/reclaim.h"
#include "support/mover.h"

#include <pthread.h>

#define MS UINT64_C(1000000)

enum { ZONE_BLOCKS = 16, ORDER = 6 };

static struct mover m;
static _Atomic uint64_t clock_ns;
static atomic_int kicks;

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return atomic_load(&clock_ns);
}

static void use_our_clock(struct kl_host *host)
{
    host->now_ns = now_ns;
}

static void count_kick(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&kicks, 1);
}

/* A client that writes down how it was called and answers as it is told. */
struct client {
    struct kl_zone *zone;
    kl_shrinker_id id;
    uint64_t answer;
    unsigned calls, counted;
    uint32_t budget;
    void (*inside)(struct client *c);
};

static uint64_t none(void *ctx, const struct kl_shrink *shrink)
{
    (void)shrink;
    ((struct client *)ctx)->counted++;
    return 0;
}

static uint64_t nothing(void *ctx, struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 0;
}

static uint64_t work(void *ctx, uint32_t budget)
{
    struct client *c = ctx;

    c->calls++;
    c->budget = budget;
    if (c->inside)
        c->inside(c);
    return c->answer;
}

static void client_open(struct client *c, struct kl_zone *zone, uint64_t answer)
{
    const struct kl_shrinker_ops ops = {.size = sizeof(ops),
                                        .name = "client",
                                        .seeks = 1,
                                        .count = none,
                                        .scan = nothing,
                                        .work = work};

    *c = (struct client){.zone = zone, .answer = answer};
    assert_int_equal(kl_shrinker_register(zone, &ops, c, &c->id), 0);
}

static void want(struct client *c)
{
    assert_int_equal(kl_shrinker_want(c->zone, c->id), 0);
}

static void client_close(struct client *c)
{
    struct kl_shrinker_stats s = {.size = sizeof(s)};

    assert_int_equal(kl_shrinker_get_stats(c->zone, c->id, &s), 0);
    assert_int_equal(s.works, c->calls);
    assert_int_equal(kl_shrinker_unregister(c->zone, c->id), 0);
    assert_int_equal(kl_shrinker_want(c->zone, c->id), -KL_ENOENT);
}

/* Half of the frames are free, none of the blocks; the clock stands at one second. */
static void open_scattered(struct fixture *f)
{
    atomic_store(&clock_ns, 1000 * MS);
    atomic_store(&kicks, 0);
    fixture_host = use_our_clock;
    fixture_open(f, ZONE_BLOCKS, ORDER, KL_ZONE_POPULATE);
    fixture_host = NULL;
    mover_open(&m, f->zone, MOVER_SINGLE);
    mover_scatter(&m, 2);
    assert_int_equal(kl_zone_set_kick(f->zone, count_kick, NULL), 0);
}

static void close_scattered(struct fixture *f)
{
    assert_int_equal(kl_zone_set_kick(f->zone, NULL, NULL), 0);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(f);
}

static uint32_t free_blocks(const struct fixture *f)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f->zone, &s);
    return s.free_blocks;
}

/* A step of 20 units; *again: -1 unless it is to be called again. */
static int step(struct fixture *f, unsigned flags, int64_t *again)
{
    struct kl_step step = {.size = sizeof(step), .budget = 20, .flags = flags};
    int err = kl_zone_step(f->zone, &step, NULL);

    *again = err == -KL_EAGAIN ? (int64_t)step.again_ns : -1;
    return err;
}

/* A step when work is due: nothing else is done. */
static int64_t work_step(struct fixture *f)
{
    int64_t again;
    int err = step(f, 0, &again);

    assert_true(err == 0 || err == -KL_EAGAIN);
    assert_int_equal(free_blocks(f), 0);
    return again;
}

static void wants_of_nobody_are_refused(void **state)
{
    const struct kl_shrinker_ops idle = {
        .size = sizeof(idle), .name = "idle", .count = none, .scan = nothing};
    struct fixture f;
    struct client c;
    kl_shrinker_id id, bad = {0};

    (void)state;
    open_scattered(&f);
    assert_int_equal(kl_shrinker_want(f.zone, bad), -KL_ENOENT); /* no table yet */
    client_open(&c, f.zone, KL_WORK_DONE);
    assert_int_equal(kl_shrinker_want(f.zone, bad), -KL_ENOENT);
    bad.v = c.id.v + (1 << 8);
    assert_int_equal(kl_shrinker_want(f.zone, bad), -KL_ENOENT);
    client_close(&c);
    assert_int_equal(kl_shrinker_register(f.zone, &idle, &c, &id), 0); /* in its place */
    assert_int_equal(kl_shrinker_want(f.zone, c.id), -KL_ENOENT);
    assert_int_equal(kl_shrinker_want(f.zone, id), -KL_EINVAL);
    assert_int_equal(kl_shrinker_unregister(f.zone, id), 0);
    assert_int_equal(kicks, 0);
    close_scattered(&f);
}

static void one_kick_until_it_is_done(void **state)
{
    struct fixture f;
    struct client c;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, KL_WORK_DONE);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < 5; i++)
            want(&c);
        assert_int_equal(kicks, round);
        assert_int_equal(work_step(&f), -1);
        assert_int_equal(c.calls, round);
        assert_int_equal(c.budget, 20);
    }
    client_close(&c);
    close_scattered(&f);
}

static void a_time_is_kept(void **state)
{
    struct fixture f;
    struct client c;
    int64_t again;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, 800 * MS);
    want(&c);
    assert_int_equal(work_step(&f), 800 * MS);
    assert_int_equal(c.calls, 1);
    atomic_fetch_add(&clock_ns, 799 * MS);
    assert_int_equal(step(&f, KL_STEP_WANTED, &again), -KL_EAGAIN);
    assert_int_equal(again, MS);
    assert_int_equal(c.calls, 1); /* not before its time */
    assert_int_equal(free_blocks(&f), 0);
    atomic_fetch_add(&clock_ns, MS);
    assert_int_equal(work_step(&f), 800 * MS);
    assert_int_equal(c.calls, 2);
    atomic_fetch_add(&clock_ns, 10 * MS);
    want(&c); /* before its time; that is over then */
    c.answer = 5 * MS;
    assert_int_equal(work_step(&f), 5 * MS);
    assert_int_equal(c.calls, 3);
    atomic_fetch_add(&clock_ns, 500 * MS); /* late is as good */
    c.answer = UINT64_MAX - 1;             /* beyond all time */
    assert_int_equal(work_step(&f), -1);
    assert_int_equal(c.calls, 4);
    assert_int_equal(kicks, 2);
    client_close(&c);
    close_scattered(&f);
}

static void each_has_its_turn(void **state)
{
    struct fixture f;
    struct client c[3];

    (void)state;
    open_scattered(&f);
    client_open(&c[0], f.zone, 0); /* never has enough */
    client_open(&c[1], f.zone, 30 * MS);
    client_open(&c[2], f.zone, 20 * MS);
    want(&c[0]);
    want(&c[1]);
    assert_int_equal(kicks, 1);
    for (unsigned i = 1; i <= 10; i++) {
        assert_int_equal(work_step(&f), 0);
        assert_int_equal(c[0].calls, i);
        assert_int_equal(c[1].calls, 1);
    }
    want(&c[2]);
    assert_int_equal(work_step(&f), 0);
    assert_int_equal(c[2].calls, 1);
    assert_int_equal(kicks, 1); /* work was wanted all the time */
    c[0].answer = KL_WORK_DONE;
    assert_int_equal(work_step(&f), 20 * MS); /* the earlier one */
    atomic_fetch_add(&clock_ns, 20 * MS);
    assert_int_equal(work_step(&f), 10 * MS);
    assert_int_equal(c[2].calls, 2);
    assert_int_equal(c[1].calls, 1);
    for (unsigned i = 0; i < 3; i++)
        client_close(&c[i]);
    close_scattered(&f);
}

/* In the middle of its work: wants some more, can't leave, and asks no shrinker. */
static void meddle(struct client *c)
{
    struct kl_step again = {.size = sizeof(again)};

    assert_int_equal(kl_shrinker_unregister(c->zone, c->id), -KL_EBUSY);
    assert_int_equal(kl_zone_shrink(c->zone, 1, KL_SYNC), -KL_EBUSY);
    assert_int_equal(kl_zone_step(c->zone, &again, NULL), -KL_EBUSY);
    want(c);
    want(c);
    c->inside = NULL;
}

static void wanted_in_the_middle_is_not_lost(void **state)
{
    struct fixture f;
    struct client c;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, KL_WORK_DONE);
    c.inside = meddle;
    want(&c);
    assert_int_equal(work_step(&f), 0);
    assert_int_equal(work_step(&f), -1);
    assert_int_equal(c.calls, 2);
    assert_int_equal(kicks, 1);
    client_close(&c);
    close_scattered(&f);
}

/* What one that is gone wanted keeps nobody from being kicked. */
static void the_gone_want_nothing(void **state)
{
    struct fixture f;
    struct client c, other;
    int64_t again;

    (void)state;
    open_scattered(&f);
    client_open(&other, f.zone, KL_WORK_DONE);
    client_open(&c, f.zone, 10 * MS);
    want(&c);
    assert_int_equal(work_step(&f), 10 * MS);
    client_close(&c);
    assert_int_equal(step(&f, KL_STEP_WANTED, &again), 0); /* no time any more */
    client_open(&c, f.zone, 0);
    atomic_fetch_add(&clock_ns, 10 * MS);
    assert_int_equal(step(&f, KL_STEP_WANTED, &again), 0); /* nor that of the last one there */
    want(&c);
    client_close(&c);
    assert_int_equal(kicks, 2);
    assert_int_equal(work_step(&f), -1);
    want(&other);
    assert_int_equal(kicks, 3);
    assert_int_equal(work_step(&f), -1);
    assert_int_equal(other.calls, 1);
    assert_int_equal(c.calls, 0);
    client_open(&c, f.zone, 0);
    want(&c);
    client_close(&c);
    client_open(&c, f.zone, 0); /* in the same place, where nobody wants it */
    assert_int_equal(work_step(&f), -1);
    assert_int_equal(c.calls, 0);
    client_close(&c);
    client_close(&other);
    close_scattered(&f);
}

/* A want that is late meets another one in its place, who can't work. (M2) */
static void a_late_want_of_another(void **state)
{
    const struct kl_shrinker_ops idle = {
        .size = sizeof(idle), .name = "idle", .seeks = 1, .count = none, .scan = nothing};
    struct client c = {0}, worker;
    struct kli_shrinker *place;
    struct fixture f;

    (void)state;
    open_scattered(&f);
    client_open(&worker, f.zone, KL_WORK_DONE);
    assert_int_equal(kl_shrinker_register(f.zone, &idle, &c, &c.id), 0);
    assert_int_equal(kl_shrinker_want(f.zone, c.id), -KL_EINVAL);
    place = kli_shrinker_find(f.zone, c.id);
    atomic_fetch_or(&kli_shrinkers(f.zone)->wanting, UINT64_C(1)
                                                         << (place - kli_shrinkers(f.zone)->at));
    want(&worker);
    assert_int_equal(work_step(&f), -1);
    assert_int_equal(worker.calls, 1);
    assert_int_equal(atomic_load(&kli_shrinkers(f.zone)->wanting), 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, c.id), 0);
    client_close(&worker);
    close_scattered(&f);
}

/* A step without a bound says so. */
static void no_bound_is_a_large_budget(void **state)
{
    struct kl_step all = {.size = sizeof(all), .flags = KL_STEP_WANTED};
    struct fixture f;
    struct client c;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, KL_WORK_DONE);
    want(&c);
    assert_int_equal(kl_zone_step(f.zone, &all, NULL), 0);
    assert_int_equal(c.calls, 1);
    assert_int_equal(c.budget, UINT32_MAX);
    client_close(&c);
    close_scattered(&f);
}

/* A step that nothing wants compacts all the same, and still says when work is due. */
static void a_time_outlasts_other_steps(void **state)
{
    struct fixture f;
    struct client c;
    int64_t again;
    struct kl_step s = {.size = sizeof(s), .budget = 20};

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, 50 * MS);
    want(&c);
    assert_int_equal(work_step(&f), 50 * MS);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_zone_step(f.zone, &s, NULL), -KL_ENOMEM);
    assert_int_equal(s.again_ns, 50 * MS);
    s.flags = 2;
    assert_int_equal(kl_zone_step(f.zone, &s, NULL), -KL_EINVAL);
    for (unsigned i = 0; step(&f, 0, &again) == -KL_EAGAIN && again == 0; i++)
        assert_in_range(i, 0, 1000);
    assert_int_equal(again, 50 * MS);
    assert_true(free_blocks(&f) >= ZONE_BLOCKS / 2 - 1);
    assert_int_equal(c.calls, 1);
    client_close(&c);
    assert_int_equal(step(&f, 0, &again), 0);
    close_scattered(&f);
}

/* Who comes to wait is told of a time that was named before. */
static void a_kick_set_late_learns_the_time(void **state)
{
    struct fixture f;
    struct client c;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, 50 * MS);
    want(&c);
    assert_int_equal(work_step(&f), 50 * MS);
    assert_int_equal(kl_zone_set_kick(f.zone, NULL, NULL), 0);
    assert_int_equal(kl_zone_set_kick(f.zone, count_kick, NULL), 0);
    assert_int_equal(kicks, 2);
    assert_int_equal(work_step(&f), 50 * MS);
    assert_int_equal(c.calls, 1);
    client_close(&c);
    close_scattered(&f);
}

static void marks(struct fixture *f, uint32_t low, uint32_t waste)
{
    const struct kl_zone_marks marks = {
        .size = sizeof(marks), .low = low, .high = low, .waste_start = waste};

    assert_int_equal(kl_zone_set_marks(f->zone, &marks), 0);
}

/* What can't be helped is not tried more often because a client works; what is newly
 * wanted is. */
static void back_off_goes_on(void **state)
{
    struct fixture f;
    struct client c;
    int64_t again;
    unsigned asked;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, 4 * MS);
    marks(&f, ZONE_BLOCKS << ORDER, 0); /* more than it will ever have free */
    do
        assert_int_equal(step(&f, 0, &again), -KL_EAGAIN);
    while (again == 0);
    assert_int_equal(again, 10 * MS);
    assert_int_equal(kicks, 1);
    asked = c.counted;
    want(&c);
    for (int64_t left = again - 4 * (int64_t)MS; left > 0; left -= 4 * (int64_t)MS) {
        assert_int_equal(work_step(&f), 4 * MS);
        atomic_fetch_add(&clock_ns, 4 * MS);
    }
    assert_int_equal(c.counted, asked);
    c.answer = 100 * MS;
    assert_in_range(work_step(&f), 0, 4 * MS); /* its own time, not the client's */
    atomic_fetch_add(&clock_ns, 4 * MS);
    want(&c);
    assert_int_equal(step(&f, 0, &again), -KL_EAGAIN);
    assert_true(c.counted > asked);
    assert_true(again >= 20 * (int64_t)MS); /* twice as long, or the client's 100 ms */
    want(&c);
    marks(&f, ZONE_BLOCKS << ORDER, 100);
    assert_int_equal(step(&f, 0, &again), -KL_EAGAIN); /* BLOCKS is new */
    assert_int_equal(again, 0);
    assert_true(free_blocks(&f) > 0);
    marks(&f, 0, 0);
    client_close(&c);
    close_scattered(&f);
}

static atomic_int where;

static void until_it_is_closed(struct client *c)
{
    struct kl_shrinker_stats s = {.size = sizeof(s)};

    atomic_store(&where, 1);
    for (unsigned round = 0; kl_shrinker_get_stats(c->zone, c->id, &s) == 0; round++)
        kl_linux_host()->relax(NULL, round);
    for (unsigned round = 0; round < 30; round++)
        kl_linux_host()->relax(NULL, round);
    assert_int_equal(kl_shrinker_want(c->zone, c->id), -KL_ENOENT);
    atomic_store(&where, 2);
}

static void *step_thread(void *arg)
{
    int64_t again;

    assert_int_equal(step(arg, 0, &again), 0);
    return NULL;
}

static void unregistering_waits_for_the_work(void **state)
{
    struct fixture f;
    struct client c;
    pthread_t thread;

    (void)state;
    open_scattered(&f);
    client_open(&c, f.zone, 0);
    c.inside = until_it_is_closed;
    atomic_store(&where, 0);
    want(&c);
    assert_int_equal(pthread_create(&thread, NULL, step_thread, &f), 0);
    for (unsigned round = 0; atomic_load(&where) < 1; round++)
        kl_linux_host()->relax(NULL, round);
    assert_int_equal(kl_shrinker_unregister(f.zone, c.id), 0);
    assert_int_equal(atomic_load(&where), 2);
    pthread_join(thread, NULL);
    assert_int_equal(c.calls, 1);
    close_scattered(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wants_of_nobody_are_refused),
        cmocka_unit_test(one_kick_until_it_is_done),
        cmocka_unit_test(a_time_is_kept),
        cmocka_unit_test(each_has_its_turn),
        cmocka_unit_test(wanted_in_the_middle_is_not_lost),
        cmocka_unit_test(the_gone_want_nothing),
        cmocka_unit_test(a_late_want_of_another),
        cmocka_unit_test(no_bound_is_a_large_budget),
        cmocka_unit_test(a_time_outlasts_other_steps),
        cmocka_unit_test(a_kick_set_late_learns_the_time),
        cmocka_unit_test(back_off_goes_on),
        cmocka_unit_test(unregistering_waits_for_the_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
