// SPDX-License-Identifier: Apache-2.0
/* Direct pools (zs/direct.h): words of a table that are entries; claims, looks, the same
 * name again, failures. */
#include "support/directpool.h"
#include "support/midcopy.h"
#include "support/shake.h"

#include <string.h>

/* --- one after the other ---------------------------------------------------- */

static void a_life_of_an_object(void **state)
{
    uint64_t first, second;

    (void)state;
    direct_open(10, NULL);
    first = direct_set(3, 5);
    assert_int_equal(direct_get(3, first), RIGHT);
    assert_true(zs_direct_size(direct_pool, first) >= direct_size(5));
    assert_int_equal(zs_direct_size(direct_pool, 0), 0);
    assert_int_equal(direct_objects(), 1);
    assert_true(zs_direct_frames(direct_pool) > 0);
    second = direct_set(3, 6);
    assert_int_equal(direct_get(3, second), RIGHT);
    assert_int_equal(direct_get(3, first), -KL_ESTALE);
    assert_int_equal(direct_get(4, second), -KL_ESTALE); /* not that one's */
    assert_int_equal(direct_objects(), 1);
    direct_swap_in(3, 0);
    assert_int_equal(direct_get(3, second), -KL_ESTALE);
    zs_direct_free(direct_pool, 3, 0); /* a word without an object */
    zs_direct_free(direct_pool, 3, direct_seed(second) << ZS_W_USER_BITS);
    assert_int_equal(direct_objects(), 0);
    zs_direct_free(direct_pool, 7, direct_put(7, 1)); /* never swapped in */
    assert_int_equal(direct_objects(), 0);
    assert_int_equal(zs_direct_frames(direct_pool), 0);
    direct_close();
}

/* Tables of one entry, and of regions that are longer than one, the last one cut off. */
static void tables_of_all_sizes(void **state)
{
    static const uint32_t sizes[] = {1, 2, 32768, 32769, 65537, 100003};

    (void)state;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const uint32_t n = sizes[i], places[] = {0, n / 3, n / 2, n - n / 5 - 1, n - 1};

        direct_open(n, NULL);
        assert_true(zs_back(direct_pool, n - 1) < ZS_SLOT_LIVE);
        for (unsigned k = 0; k < 5; k++)
            direct_set(places[k], k);
        assert_zs_ok(direct_pool);
        for (uint32_t k = 0; k < n && k < 600; k++)
            direct_set(k, 11); /* all of a size */
        for (uint32_t k = 0; k < n && k < 600; k += 2)
            direct_swap_in(k, 0);
        if (n > 600)
            assert_true(kl_zs_compact(direct_pool, 0) > 0);
        assert_zs_ok(direct_pool);
        direct_all_right();
        for (uint32_t k = 0; k < n; k++)
            direct_swap_in(k, 0);
        assert_int_equal(direct_objects(), 0);
        direct_close();
    }
}

static void claims_against_overwrites(void **state)
{
    uint64_t word, next, other;

    (void)state;
    direct_open(4, NULL);
    word = direct_set(0, 10);
    assert_true(zs_direct_claim(direct_pool, 0, word));
    assert_false(zs_direct_claim(direct_pool, 0, word));
    assert_int_equal(direct_now(0), word | ZS_W_CLAIMED);
    assert_int_equal(direct_get(0, word), RIGHT); /* others read meanwhile */
    zs_direct_unclaim(direct_pool, 0, word);
    assert_int_equal(direct_now(0), word);
    assert_int_equal(direct_get(0, word), RIGHT);

    assert_true(zs_direct_claim(direct_pool, 0, word)); /* and commits */
    next = direct_put(0, 11);
    assert_true((next ^ word) & ZS_W_PLACE); /* the place is not used again before */
    assert_true(zs_direct_commit(direct_pool, 0, word, next));
    assert_int_equal(direct_get(0, next), RIGHT);
    assert_int_equal(direct_objects(), 1);
    assert_false(zs_direct_claim(direct_pool, 0, word));

    assert_true(zs_direct_claim(direct_pool, 0, next)); /* overwritten meanwhile: unclaim frees */
    other = direct_set(0, 12);
    assert_int_equal(direct_objects(), 2);
    assert_true((other ^ next) & ZS_W_PLACE);
    zs_direct_unclaim(direct_pool, 0, next);
    assert_int_equal(direct_objects(), 1);
    assert_int_equal(direct_get(0, other), RIGHT);

    assert_true(zs_direct_claim(direct_pool, 0, other)); /* and so does a commit that is too late */
    word = direct_put(0, 13);
    direct_swap_in(0, 0);
    assert_false(zs_direct_commit(direct_pool, 0, other, word));
    assert_int_equal(direct_now(0), 0);
    zs_direct_free(direct_pool, 0, word);
    assert_int_equal(direct_objects(), 0);
    direct_close();
}

/* Bits 38-63 may change while somebody has a claim. */
static void user_bits_change_under_a_claim(void **state)
{
    uint64_t word, next;

    (void)state;
    direct_open(1, NULL);
    word = direct_set(0, 20);
    assert_true(zs_direct_claim(direct_pool, 0, word));
    direct_change(0);
    assert_int_equal(direct_get(0, word), -KL_ESTALE); /* the word is another one */
    zs_direct_unclaim(direct_pool, 0, word);
    assert_int_equal(direct_now(0) & ZS_W_NAME, word & ZS_W_NAME);
    assert_false(direct_now(0) & ZS_W_CLAIMED);
    assert_int_equal(direct_seed(direct_now(0)), 21);
    assert_true(zs_direct_claim(direct_pool, 0, word)); /* by the name */
    direct_change(0);
    next = direct_put(0, 22);
    assert_true(zs_direct_commit(direct_pool, 0, word, next));
    assert_int_equal(direct_now(0), next); /* as a whole */
    assert_int_equal(direct_objects(), 1);
    direct_close();
}

/* --- the same name again ---------------------------------------------------- */

static uint64_t old_word;

/* Frees the object and puts another one in its place: the same name, and the same bits
 * all over, but other contents. */
static void other_contents_same_word(uint32_t index)
{
    uint64_t seed = direct_seed(old_word), name;
    char buf[DIRECT_MOST];

    (void)index;
    direct_swap_in(0, 0);
    fill_bytes(buf, direct_size(seed), seed + 1000000);
    assert_int_equal(zs_direct_put(direct_pool, 0, buf, direct_size(seed), 0, &name), 0);
    assert_int_equal(name, old_word & ZS_W_NAME);
    direct_swap_in(0, old_word);
}

/* Twice: at the end the word says the truth again. */
static void there_and_back(uint32_t index)
{
    other_contents_same_word(index);
    direct_swap_in(0, 0);
    assert_int_equal(direct_set(0, direct_seed(old_word)), old_word);
}

static void another_seed_same_name(uint32_t index)
{
    uint64_t seed = direct_seed(old_word) + DIRECT_MOST; /* of the same size */

    (void)index;
    direct_swap_in(0, 0);
    assert_int_equal(direct_set(0, seed) & ZS_W_NAME, old_word & ZS_W_NAME);
}

static void only_frees(uint32_t index)
{
    (void)index;
    direct_swap_in(0, 0);
}

static void frees_and_reuses_for_another(uint32_t index)
{
    (void)index;
    direct_swap_in(0, 0);
    assert_int_equal(direct_set(1, direct_seed(old_word) + DIRECT_MOST) & ZS_W_NAME,
                     old_word & ZS_W_NAME);
}

static void moves_frames(uint32_t index)
{
    (void)index;
    for (uint32_t block = 0; block < DIRECT_BLOCKS; block++) {
        struct kl_report r = {.size = sizeof(r)};

        shake_block(direct_zone.zone, block, KL_SYNC, &r);
    }
}

/* Which contents the copy has, after all that: those of before, those of after, or
 * ESTALE; never a mixture. */
static bool old_or_new(int got, uint32_t size)
{
    char buf[DIRECT_MOST];

    if (got == RIGHT || got == -KL_ESTALE)
        return true;
    return zs_direct_get(direct_pool, 0, old_word, buf, size) == 0 &&
           bytes_are(buf, size, direct_seed(old_word) + 1000000);
}

static void the_same_name_again(void **state)
{
    uint32_t size = direct_size(30);
    char buf[DIRECT_MOST];

    (void)state;
    direct_open(2, NULL);
    old_word = direct_set(0, 30);
    direct_set(1, 31); /* keeps its zspage there, if it is of the same class */
    another_seed_same_name(0);
    assert_int_equal(direct_get(0, old_word), -KL_ESTALE);
    assert_int_equal(direct_get(0, direct_now(0)), RIGHT);
    direct_swap_in(0, 0);
    assert_int_equal(direct_set(0, 30), old_word);
    other_contents_same_word(0); /* the word can't tell; what it names now is whole */
    assert_int_equal(zs_direct_get(direct_pool, 0, old_word, buf, size), 0);
    assert_true(bytes_are(buf, size, 30 + 1000000));
    direct_close();
}

/* Another object keeps the zspage there. */
static uint64_t set_and_a_neighbour(uint64_t seed)
{
    uint64_t word = direct_set(0, seed), other = direct_set(2, seed + DIRECT_MOST);

    assert_int_equal(zs_place_page(word), zs_place_page(other));
    return word;
}

/* Everything that can happen to the object in the middle of a look, before and after its
 * bytes were copied. */
static void a_look_is_of_one_object(void **state)
{
    static void (*const events[])(uint32_t) = {other_contents_same_word,     there_and_back,
                                               another_seed_same_name,       only_frees,
                                               frees_and_reuses_for_another, moves_frames};
    static const enum kli_trace_point points[] = {KLI_T_zs_look_begun, KLI_T_zs_look_copied};

    (void)state;
    for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        for (unsigned p = 0; p < 2; p++) {
            int got;

            direct_open(3, NULL);
            old_word = set_and_a_neighbour(40);
            direct_happens_at(points[p], events[i]);
            got = direct_get(0, old_word);
            direct_nothing_more();
            assert_int_equal(direct_happened, 1);
            assert_true(old_or_new(got, direct_size(40)));
            if (events[i] == moves_frames || events[i] == there_and_back)
                assert_int_equal(got, RIGHT);
            if (events[i] == other_contents_same_word)
                assert_int_equal(got, WRONG); /* whole, and the new one */
            if (p == 0 &&
                (events[i] == frees_and_reuses_for_another || events[i] == another_seed_same_name))
                assert_int_equal(got, -KL_ESTALE);
            direct_close();
        }
    }
}

/* The same in the middle of the copy: half of it is of the old object, half would be of
 * the new one. */
static void b_reuses_the_place(void)
{
    other_contents_same_word(0);
}

static void a_copy_is_never_a_mixture(void **state)
{
    char other[DIRECT_MOST], *buf;
    uint64_t seed = 3;

    (void)state;
    if (!midcopy_can())
        skip();
    while (direct_size(seed) < 1600 || direct_size(seed) > 1900)
        seed++;
    direct_open(3, NULL);
    old_word = set_and_a_neighbour(seed);
    fill_bytes(other, direct_size(seed), seed + 1000000);
    buf = midcopy_begin(b_reuses_the_place) + 3200; /* 896 bytes before, the rest after */
    assert_int_equal(zs_direct_get(direct_pool, 0, old_word, buf, direct_size(seed)), 0);
    assert_memory_equal(buf, other, direct_size(seed));
    assert_true(midcopy_end());
    direct_close();
}

/* --- failures --------------------------------------------------------------- */

static void every_allocation_fails_once(void **state)
{
    uint64_t word;
    int err;

    (void)state;
    fixture_open(&direct_zone, DIRECT_BLOCKS, 6, 0);
    direct_table = calloc(9, sizeof(*direct_table));
    for (int nth = 1;; nth++) {
        fault_set(FAULT_META, nth);
        err = zs_create_direct(direct_zone.zone, NULL, direct_table, 9, &direct_pool);
        fault_set(FAULT_META, 0);
        assert_zone_ok(direct_zone.zone);
        if (err == 0)
            break;
        assert_int_equal(err, -KL_ENOMEM);
        assert_true(nth < 20);
    }
    assert_int_equal(kl_zs_destroy(direct_pool), 0);
    free((void *)direct_table);
    fixture_close(&direct_zone);
    for (int which = FAULT_META; which <= FAULT_POPULATE; which++) {
        int nth = 0;

        do {
            direct_open(9, NULL);
            fault_set((enum fault)which, ++nth);
            err = direct_try_put(1, 3991, &word);
            if (err == 0)
                direct_swap_in(1, word);
            fault_set((enum fault)which, 0);
            assert_zs_ok(direct_pool);
            assert_zone_ok(direct_zone.zone);
            assert_int_equal(direct_objects(), err ? 0 : 1);
            assert_true(err == 0 || err == -KL_ENOMEM);
            direct_set(1, 3991);
            direct_all_right();
            direct_close();
        } while (err && nth < 20);
        assert_in_range(nth, which == FAULT_META ? 2 : 1, 19);
    }
}

/* As a pool grows: whenever it asks for metadata, it gets none at first. */
static void growing_fails_again_and_again(void **state)
{
    unsigned failed = 0;
    uint64_t word;

    (void)state;
    direct_open(1500, NULL);
    for (uint32_t i = 0; i < 1500; i++) {
        fault_set(FAULT_META, 1);
        if (direct_try_put(i, i, &word)) {
            assert_zs_ok(direct_pool);
            assert_zone_ok(direct_zone.zone);
            fault_set(FAULT_META, 0);
            word = direct_put(i, i);
            failed++;
        }
        fault_set(FAULT_META, 0);
        direct_swap_in(i, word);
    }
    assert_true(failed >= 2);
    assert_int_equal(direct_objects(), 1500);
    direct_all_right();
    direct_close();
}

static void the_limit_refuses(void **state)
{
    const struct kl_zs_config config = {.size = sizeof(config), .name = "few", .limit_frames = 4};
    uint64_t word = 0;
    uint32_t n = 0;
    int err = 0;

    (void)state;
    direct_open(50, &config);
    for (; n < 50 && !(err = direct_try_put(n, 3990, &word)); n++)
        direct_swap_in(n, word);
    assert_int_equal(err, -KL_ENOSPC);
    assert_in_range(n, 4, 49);
    assert_int_equal(direct_objects(), n);
    assert_zs_ok(direct_pool);
    direct_swap_in(0, 0);
    direct_set(n, 3990);
    direct_all_right();
    direct_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_of_an_object),
        cmocka_unit_test(tables_of_all_sizes),
        cmocka_unit_test(claims_against_overwrites),
        cmocka_unit_test(user_bits_change_under_a_claim),
        cmocka_unit_test(the_same_name_again),
        cmocka_unit_test(a_look_is_of_one_object),
        cmocka_unit_test(a_copy_is_never_a_mixture),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(growing_fails_again_and_again),
        cmocka_unit_test(the_limit_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
