// SPDX-License-Identifier: Apache-2.0
/* Emptying blocks in steps: shunned blocks, runs of clear bits, and what is moved in all. */
#include "support/cpus.h"
#include "support/vram.h"

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
    assert_true(kli_b_reserve(s | KLI_B_UNMOVABLE, kli_b_ask(1, true, KLI_WANT_APART, ALL)).ok);
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

static uint64_t used_bytes(const unsigned *before)
{
    uint64_t frames = 0;

    for (unsigned b = 0; b < kl_zone_blocks(vram.zone); b++)
        frames += vram_used(b) == 0 ? before[b] : 0;
    return frames * VRAM_FRAME;
}

/* Buffers of mixed sizes, freed at random: what was moved is about what stood in the blocks that
 * are empty afterwards, and no block could have been emptied besides. */
static void near_the_optimum(void **state)
{
    enum { WIDE = 64, BIG = 6, N = 2400 };
    static kl_buffer_id id[N];
    uint64_t moved = 0, optimum = 0;

    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        struct rng rng = rng_new(900 + round);
        unsigned before[WIDE], n = 0;
        struct kl_pass pass;

        vram_open(WIDE, BIG);
        vram.at_once = true;
        while (n < N &&
               kl_heap_alloc(vram.heap,
                             (uint64_t)VRAM_FRAME << rng_below(&rng, 1 + rng_below(&rng, BIG)),
                             KL_NOWAIT, &vram, &id[n]) == 0)
            n++;
        for (unsigned i = 0; i < n; i++) {
            if (rng_below(&rng, 100) < 40 + round * 4) {
                vram_free(id[i]);
                id[i--] = id[--n];
            }
        }
        kli_cache_drain(vram.zone);
        for (unsigned b = 0; b < WIDE; b++)
            before[b] = vram_used(b);
        do
            pass = vram_pass((uint64_t)VRAM_FRAME << (BIG + rng_below(&rng, 3)), 0);
        while (pass.moves > 0);
        kli_cache_drain(vram.zone);
        vram_check();
        moved += vram_stats().moved_bytes;
        optimum += used_bytes(before);
        assert_true(vram_stats().moved_bytes * 100 <= used_bytes(before) * 110);
        vram_free_all(id, n);
        vram_close();
    }
    print_message("# moved over optimum: %.4f\n", (double)moved / (double)optimum);
    assert_true(moved > 0 && moved * 100 <= optimum * 105);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shunned_words),
        cmocka_unit_test(runs_of_clear_bits),
        cmocka_unit_test(near_the_optimum),
    };

    fixture_host = cpus_soft; /* one processor: whose cache has which frames is always the same */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
