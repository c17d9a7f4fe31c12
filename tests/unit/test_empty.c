// SPDX-License-Identifier: Apache-2.0
/* What emptying blocks in steps stands on: shunned blocks, and runs of clear bits. */
#include "support/fixture.h"

#include "frame/zone.h"

enum { ALL = 16 };

static uint64_t ask(enum kli_want want)
{
    return kli_b_ask(1, false, want, ALL);
}

static void shunned_words(void **state)
{
    uint64_t w = ALL - 4, s = kli_b_shun(w, 0).next;

    (void)state;
    assert_int_equal(kli_b_class(w, ALL), KLI_CLASS_MOVABLE);
    assert_true(kli_b_caches(w) && !kli_b_caches(s));
    assert_int_equal(kli_b_class(s, ALL), KLI_CLASSES);
    assert_false(kli_b_shun(s, 0).ok || kli_b_unshun(w, 0).ok);
    assert_false(kli_b_shun(w | KLI_B_FENCED, 0).ok || kli_b_shun(KLI_B_ABSENT, 0).ok);
    assert_int_equal(kli_b_unshun(s, 0).next, w);
    assert_false(kli_b_reserve(s, ask(KLI_WANT_OWN_KIND)).ok); /* B7 */
    assert_true(kli_b_reserve(w, ask(KLI_WANT_OWN_KIND)).ok);
    assert_int_equal(kli_b_reserve(s, ask(KLI_WANT_ANY)).next, s - 1);
    s = kli_b_put(s, 4).next;
    assert_int_equal(kli_b_class(s, ALL), KLI_CLASS_FREE);
    assert_int_equal(kli_b_reserve(s, ask(KLI_WANT_WHOLE_FREE)).next, ALL - 1);
    s = kli_b_fence(s, 0).next;
    assert_int_equal(kli_b_vacate(s, ALL).next, KLI_B_FENCED | KLI_B_ABSENT);
}

/* By hand: as large as they can be, from the largest on. */
static void count_runs(const bool *used, unsigned n, uint32_t *runs)
{
    bool counted[512] = {false};

    for (unsigned order = 10; order-- > 0;) {
        for (unsigned at = 0; at + (1u << order) <= n; at += 1u << order) {
            bool clear = true;

            for (unsigned i = at; i < at + (1u << order); i++)
                clear &= !used[i] && !counted[i];
            for (unsigned i = at; clear && i < at + (1u << order); i++)
                counted[i] = true;
            runs[order] += clear;
        }
    }
}

static void runs_of_clear_bits(void **state)
{
    struct rng rng = rng_new(77);

    (void)state;
    for (unsigned order = 1; order <= 9; order++) {
        struct fixture f;
        unsigned n = 1u << order;

        fixture_open(&f, 4, order, KL_ZONE_POPULATE);
        for (unsigned round = 0; round < 40; round++) {
            uint32_t runs[KLI_ORDERS] = {0}, expected[KLI_ORDERS] = {0}, block = rng_below(&rng, 4);
            unsigned pieces = rng_below(&rng, 20);
            bool used[512] = {false};

            for (unsigned i = 0; i < pieces; i++) {
                unsigned at = rng_below(&rng, n), many = 1 + rng_below(&rng, n / 8 + 1);

                for (; many > 0 && at < n; at++, many--)
                    if (!used[at])
                        used[at] = kli_bits_take_at(f.zone, block * n + at, 1);
            }
            count_runs(used, n, expected);
            kli_bits_runs(f.zone, block, runs);
            assert_memory_equal(runs, expected, sizeof(runs));
            for (unsigned at = 0; at < n; at++)
                if (used[at])
                    kli_bits_clear(f.zone, block * n + at, 1);
        }
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shunned_words),
        cmocka_unit_test(runs_of_clear_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
