// SPDX-License-Identifier: Apache-2.0
/* The size of a zone: shrinking, growing, and who keeps which blocks. */
#include "frame/size.h"
#include "support/mover.h"

#include <string.h>

enum { BLOCKS = 16, ORDER = 6, ALL = 64 };

static struct mover m;

static struct kl_zone_stats stats(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s;
}

/* As many single frames as the zone has room for, as items from `from` on. */
static unsigned fill(unsigned from)
{
    while (mover_alloc(&m, from, 0, KL_MOVABLE) == 0)
        from++;
    return from;
}

static void edges_of_the_size(void **state)
{
    uint64_t w = kli_z_lease(0, 5).next;

    (void)state;
    assert_false(kli_z_lend(w, 6).ok);
    assert_false(kli_z_resize(w, 3).ok); /* nothing was given for it */
    assert_false(kli_z_resize(w, 3 | UINT64_C(2) << 32).ok);
    w = kli_z_resize(w, 3 | UINT64_C(3) << 32).next;
    assert_int_equal(kli_z_withheld(w), 3);
    assert_int_equal(kli_z_leased(w), 5);
    assert_false(kli_z_resize(w, 5 | UINT64_C(1) << 32).ok);
    w = kli_z_resize(w, 5 | UINT64_C(4) << 32).next; /* two are left over */
    assert_int_equal(kli_z_withheld(w), 5);
    w = kli_z_resize(w, 0).next;
    assert_int_equal(w, 5);
    assert_false(kli_z_lend(w, 6).ok); /* Z2 */
    assert_int_equal(kli_z_lend(w, 5).next, 0);
    w = kli_z_resize(0, UINT32_MAX | (uint64_t)UINT32_MAX << 32).next;
    assert_int_equal(kli_z_withheld(w), UINT32_MAX);
}

static void refuses_bad_sizes(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    fixture_open(&f, BLOCKS, ORDER, 0);
    assert_int_equal(kl_zone_resize(f.zone, 0, KL_SYNC, &r), -KL_EINVAL);
    assert_int_equal(kl_zone_resize(f.zone, BLOCKS + 1, KL_SYNC, &r), -KL_EINVAL);
    assert_int_equal(kl_zone_resize(f.zone, 4, (enum kl_mode)3, &r), -KL_EINVAL);
    assert_int_equal(stats(f.zone).size_blocks, BLOCKS);
    assert_int_equal(kl_zone_resize(f.zone, BLOCKS, KL_SYNC, NULL), 0);
    fixture_close(&f);
}

/* A zone over much more addresses than it may use at first. */
static void starts_small_and_grows(void **state)
{
    const unsigned many = sizeof(size_t) == 4 ? 1 << 12 : 1 << 17; /* 1 GiB, 32 GiB */
    struct fixture f;
    unsigned n;

    (void)state;
    assert_int_equal(fixture_try_size(&f, many, ORDER, 0, 3), 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_blocks(f.zone), many);
    assert_int_equal(stats(f.zone).size_blocks, 3);
    n = fill(0);
    assert_int_equal(n, 3 * ALL);
    assert_int_equal(kl_linux_backing_resident(f.memory), n * 4096);
    assert_int_equal(kl_zone_lend(f.zone, 1), -KL_EINVAL); /* nothing was given */
    assert_int_equal(kl_zone_resize(f.zone, 7, KL_ASYNC, NULL), 0);
    assert_int_equal(fill(n), 7 * ALL);
    assert_int_equal(kl_zone_resize(f.zone, 6, KL_SYNC, NULL), -KL_ENOMEM); /* it is full */
    assert_int_equal(stats(f.zone).size_blocks, 7);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

static void populates_its_size_only(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(fixture_try_size(&f, BLOCKS, ORDER, KL_ZONE_POPULATE, 5), 0);
    assert_int_equal(stats(f.zone).present_blocks, 5);
    assert_int_equal(kl_linux_backing_resident(f.memory), 5 * ALL * 4096);
    fixture_close(&f);
    for (int nth = 1; nth <= 5; nth++) {
        fault_set(FAULT_POPULATE, nth);
        assert_int_equal(fixture_try_size(&f, BLOCKS, ORDER, KL_ZONE_POPULATE, 5), -KL_ENOMEM);
    }
    assert_int_equal(fixture_try_size(&f, BLOCKS, ORDER, 0, BLOCKS + 1), -KL_EINVAL);
}

/* What is in the way is moved; memory goes, by the system's figure; the zone keeps to
 * its size until it grows. */
static void shrinking_moves_what_is_there(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    fixture_open(&f, BLOCKS, ORDER, 0);
    mover_open(&m, f.zone, MOVER_BATCH);
    mover_scatter(&m, 4); /* a quarter of all frames */
    assert_int_equal(kl_zone_resize(f.zone, 4, KL_SYNC, &r), 0);
    assert_int_equal(r.blocks, 12);
    assert_int_equal(r.migrated, 12 * ALL / 4);
    assert_int_equal(kl_linux_backing_resident(f.memory), 4 * ALL * 4096);
    assert_int_equal(stats(f.zone).size_blocks, 4);
    assert_int_equal(stats(f.zone).given_blocks, 0);
    assert_int_equal(mover_alloc(&m, 3000, 0, KL_MOVABLE), -KL_ENOMEM);
    mover_all_right(&m);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_resize(f.zone, 6, KL_SYNC, &r), 0);
    assert_int_equal(r.blocks, 0);
    assert_int_equal(fill(3000), 3000 + 2 * ALL);
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* What was given back for somebody else stays away, whatever the size becomes. */
static void leases_are_not_lent_by_growing(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, BLOCKS, ORDER, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_zone_give_back(f.zone, 4, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_resize(f.zone, 6, KL_SYNC, NULL), 0);
    assert_int_equal(stats(f.zone).present_blocks, 2);
    assert_int_equal(stats(f.zone).given_blocks, 4);
    assert_int_equal(kl_zone_resize(f.zone, 3, KL_SYNC, NULL), -KL_EBUSY); /* 2 + 4 leased */
    assert_int_equal(kl_zone_lend(f.zone, 5), -KL_EINVAL); /* not what the resize withholds */
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_resize(f.zone, BLOCKS, KL_SYNC, NULL), 0);
    assert_int_equal(fill(0), 12 * ALL);
    assert_int_equal(stats(f.zone).given_blocks, 4);
    assert_int_equal(kl_zone_lend(f.zone, 5), -KL_EINVAL);
    assert_int_equal(kl_zone_lend(f.zone, 4), 0);
    assert_int_equal(fill(12 * ALL), BLOCKS * ALL);
    mover_close(&m);
    fixture_close(&f);
}

/* A shrink that can't be has changed nothing. */
static void a_failed_shrink_leaves_the_size(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct fixture f;

    (void)state;
    fixture_open(&f, BLOCKS, ORDER, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    mover_scatter(&m, 8);
    for (unsigned b = 0; b < BLOCKS - 2; b++) /* a pin in all blocks but two */
        assert_int_equal(mover_pin(&m, mover_at(&m, b * ALL)), 0);
    assert_int_equal(kl_zone_resize(f.zone, BLOCKS - 3, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_owner.v, m.owner.v);
    for (int nth = 1; nth <= 2; nth++) {
        fault_set(FAULT_RELEASE, nth);
        assert_int_equal(kl_zone_resize(f.zone, BLOCKS - 2, KL_SYNC, &r), -KL_EIO);
        assert_zone_ok(f.zone);
        assert_int_equal(stats(f.zone).size_blocks, BLOCKS);
        assert_int_equal(kl_zone_lend(f.zone, 1), -KL_EINVAL);
        mover_all_right(&m);
    }
    fault_set(FAULT_RELEASE, 0);
    for (int nth = 1, err = -1; err; nth++) { /* every allocation of metadata */
        fault_set(FAULT_META, nth);
        err = kl_zone_resize(f.zone, BLOCKS - 2, KL_SYNC, &r);
        assert_true(err == 0 || err == -KL_ENOMEM);
        assert_zone_ok(f.zone);
        assert_int_equal(stats(f.zone).size_blocks, err ? BLOCKS : BLOCKS - 2);
        assert_true(nth < 10);
    }
    mover_all_right(&m);
    mover_close(&m);
    fixture_close(&f);
}

/* Everybody at once: every resize that succeeds has made the size what it was asked
 * for, and leases stay whose they are. */
static struct fixture shared;
static _Atomic int odd;

static void *resizer(void *arg)
{
    struct rng rng = rng_new(60 + (uintptr_t)arg);

    for (int i = 0; i < 300; i++) {
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        int err = kl_zone_resize(shared.zone, 4 + rng_below(&rng, BLOCKS - 3), mode, NULL);

        if (err && err != -KL_EBUSY && err != -KL_ENOMEM)
            atomic_fetch_add(&odd, 1);
    }
    return NULL;
}

static void *lessor(void *arg)
{
    struct rng rng = rng_new(70 + (uintptr_t)arg);
    uint32_t held = 0;

    for (int i = 0; i < 400; i++) {
        uint32_t n = 1 + rng_below(&rng, 3);

        if (held == 0 && kl_zone_give_back(shared.zone, n, KL_SYNC_LIGHT, NULL) == 0)
            held = n;
        else if (held > 0 && kl_zone_lend(shared.zone, held) == 0)
            held = 0;
        else if (held > 0)
            atomic_fetch_add(&odd, 1); /* its own can always be lent */
    }
    if (held > 0 && kl_zone_lend(shared.zone, held) != 0)
        atomic_fetch_add(&odd, 1);
    return NULL;
}

static void resizes_at_a_time(void **state)
{
    static void *(*const bodies[])(void *) = {resizer, resizer, resizer, lessor, lessor};
    enum { THREADS = sizeof(bodies) / sizeof(bodies[0]) };
    pthread_t thread[THREADS];

    (void)state;
    fixture_open(&shared, BLOCKS, ORDER, 0);
    mover_open(&m, shared.zone, MOVER_SINGLE);
    mover_scatter(&m, 16);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, bodies[i], (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(odd, 0);
    mover_all_right(&m);
    assert_zone_ok(shared.zone);
    assert_int_equal(stats(shared.zone).given_blocks, 0);
    assert_int_equal(kl_zone_resize(shared.zone, 5, KL_SYNC, NULL), 0);
    assert_int_equal(stats(shared.zone).size_blocks, 5);
    assert_int_equal(kl_zone_resize(shared.zone, BLOCKS, KL_SYNC, NULL), 0);
    mover_close(&m);
    fixture_close(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_of_the_size),
        cmocka_unit_test(refuses_bad_sizes),
        cmocka_unit_test(starts_small_and_grows),
        cmocka_unit_test(populates_its_size_only),
        cmocka_unit_test(shrinking_moves_what_is_there),
        cmocka_unit_test(leases_are_not_lent_by_growing),
        cmocka_unit_test(a_failed_shrink_leaves_the_size),
        cmocka_unit_test(resizes_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
