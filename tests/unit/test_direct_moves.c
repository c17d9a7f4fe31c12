// SPDX-License-Identifier: Apache-2.0
/* Direct pools (zs/direct.h) in motion: object compaction with a user in the middle of it,
 * and users in two threads with a mover. */
#include "support/directpool.h"
#include "support/shake.h"

#include <pthread.h>

/* --- object compaction ------------------------------------------------------ */

enum { MANY = 1200, KEEP = 5, CROWD = 77 };

/* Objects of one size, most of which are freed again. */
static void make_sparse(void)
{
    for (uint32_t i = 0; i < MANY; i++)
        direct_set(i, CROWD + (uint64_t)i * DIRECT_MOST);
    for (uint32_t i = 0; i < MANY; i++) {
        if (i % KEEP)
            direct_swap_in(i, 0);
    }
}

static void compaction_moves_objects(void **state)
{
    static uint64_t before[MANY];
    struct kl_zs_stats s = {.size = sizeof(s)};
    uint64_t loose, unmoved = 0;
    int64_t freed;

    (void)state;
    direct_open(MANY + 1, NULL);
    make_sparse();
    loose = direct_put(MANY, CROWD); /* no entry names it: it stays where it is */
    for (uint32_t i = 0; i < MANY; i++)
        before[i] = direct_now(i);
    for (uint32_t i = 0; i < MANY; i += 4 * KEEP) /* and so do these */
        assert_true(zs_direct_claim(direct_pool, i, direct_now(i)));
    freed = kl_zs_compact(direct_pool, 0);
    assert_true(freed > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        if (i % (4 * KEEP) == 0 && before[i]) {
            assert_int_equal(direct_now(i), before[i] | ZS_W_CLAIMED);
            zs_direct_unclaim(direct_pool, i, before[i]);
        }
        assert_int_equal(direct_seed(direct_now(i)), direct_seed(before[i]));
        unmoved += direct_now(i) == before[i] && before[i];
        if (before[i] && direct_now(i) != before[i])
            assert_int_equal(direct_get(i, before[i]), -KL_ESTALE);
    }
    assert_true(unmoved < MANY / KEEP);
    direct_swap_in(MANY, loose);
    direct_all_right();
    assert_int_equal(direct_objects(), MANY / KEEP + 1);
    assert_zs_ok(direct_pool);
    kl_zs_compact(direct_pool, 0);
    kl_zs_get_stats(direct_pool, &s);
    assert_int_equal(s.freeable_frames, 0);
    direct_all_right();
    direct_close();
}

static uint32_t touched;

static void touches(uint32_t index)
{
    touched = index;
    assert_true(direct_now(index) & ZS_W_CLAIMED);
    assert_false(zs_direct_claim(direct_pool, index, direct_now(index) & ~ZS_W_CLAIMED));
    direct_change(index);
}

static void overwrites(uint32_t index)
{
    uint64_t old = atomic_exchange(&direct_table[index], UINT64_C(0));

    touched = index;
    assert_true(old & ZS_W_CLAIMED);
    zs_direct_free(direct_pool, index, old); /* leaves it to the claimer */
}

/* What the user does while his object is being moved stays done. */
static void users_while_objects_move(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_compact_claimed,
                                                  KLI_T_zs_compact_copied};
    uint64_t before;

    (void)state;
    for (unsigned p = 0; p < 2; p++) {
        direct_open(MANY, NULL);
        make_sparse();
        direct_happens_at(points[p], touches);
        before = kl_zs_compact(direct_pool, 1) >= 0 ? direct_objects() : 0;
        assert_int_equal(direct_happened, 1);
        assert_int_equal(before, MANY / KEEP);
        assert_int_equal(direct_seed(direct_now(touched)),
                         (CROWD + (uint64_t)touched * DIRECT_MOST) ^ 1);
        assert_false(direct_now(touched) & ZS_W_CLAIMED);
        direct_change(touched);
        assert_int_equal(direct_get(touched, direct_now(touched)), RIGHT);
        direct_happens_at(points[p], overwrites);
        kl_zs_compact(direct_pool, 0);
        direct_nothing_more();
        assert_int_equal(direct_happened, 1);
        assert_int_equal(direct_now(touched), 0);
        assert_int_equal(direct_objects(), MANY / KEEP - 1);
        direct_all_right();
        direct_close();
    }
}

/* Within a zspage, where nothing is left to move elsewhere. */
static void users_while_objects_slide(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_compact_claimed, KLI_T_zs_compact_slid};

    (void)state;
    for (unsigned p = 0; p < 2; p++) {
        direct_open(8, NULL);
        for (uint32_t i = 0; i < 8; i++)
            direct_set(i, 3990 + i * (uint64_t)DIRECT_MOST); /* a frame each, about */
        for (uint32_t i = 0; i < 5; i++)
            direct_swap_in(i, 0);
        direct_happens_at(points[p], overwrites);
        assert_true(kl_zs_compact(direct_pool, 0) > 0);
        direct_nothing_more();
        assert_int_equal(direct_happened, 1);
        assert_int_equal(direct_objects(), 2);
        direct_all_right();
        direct_close();
    }
}

/* --- two threads ------------------------------------------------------------ */

enum { SHARED = 12, ROUNDS = 6000 };
static atomic_uint next_seed, bad;
static atomic_bool stop;

/* Replaces what it claimed, or gives the claim up. */
static void replace(struct rng *rng, uint32_t index, uint64_t seed)
{
    uint64_t seen = direct_now(index), word;

    if (!(seen & ZS_W_OBJECT) || !zs_direct_claim(direct_pool, index, seen))
        return;
    if (rng_below(rng, 2) || direct_try_put(index, seed, &word)) {
        zs_direct_unclaim(direct_pool, index, seen);
        return;
    }
    if (!zs_direct_commit(direct_pool, index, seen, word))
        zs_direct_free(direct_pool, index, word);
}

static void *user(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);
    uint64_t word;

    for (int i = 0; i < ROUNDS; i++) {
        uint32_t index = rng_below(&rng, SHARED);
        uint64_t seed = atomic_fetch_add(&next_seed, 1);

        switch (rng_below(&rng, 6)) {
        case 0:
            direct_swap_in(index, 0);
            break;
        case 1:
            if (direct_try_put(index, seed, &word) == 0)
                direct_swap_in(index, word);
            break;
        case 2:
            replace(&rng, index, seed);
            break;
        default:
            word = direct_now(index) & ~ZS_W_CLAIMED;
            if ((word & ZS_W_OBJECT) && direct_get(index, word) == WRONG)
                atomic_fetch_add(&bad, 1);
        }
    }
    return NULL;
}

static void *mover(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);

    while (!atomic_load(&stop)) {
        struct kl_report r = {.size = sizeof(r)};

        kl_zs_compact(direct_pool, 1 + rng_below(&rng, 5));
        shake_block(direct_zone.zone, rng_below(&rng, DIRECT_BLOCKS), KL_SYNC_LIGHT, &r);
    }
    return NULL;
}

static void users_and_a_mover(void **state)
{
    pthread_t thread[3];

    (void)state;
    direct_open(SHARED, NULL);
    atomic_store(&stop, false);
    atomic_store(&bad, 0);
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, user, (void *)(i + 1)), 0);
    assert_int_equal(pthread_create(&thread[2], NULL, mover, (void *)(uintptr_t)9), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    atomic_store(&stop, true);
    pthread_join(thread[2], NULL);
    assert_int_equal(atomic_load(&bad), 0);
    direct_all_right();
    for (uint32_t i = 0; i < SHARED; i++)
        direct_swap_in(i, 0);
    assert_int_equal(direct_objects(), 0); /* each was freed once */
    direct_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compaction_moves_objects),
        cmocka_unit_test(users_while_objects_move),
        cmocka_unit_test(users_while_objects_slide),
        cmocka_unit_test(users_and_a_mover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
