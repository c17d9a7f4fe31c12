// SPDX-License-Identifier: Apache-2.0
/* The pass over the block words finds what looking at every window finds. */
#include "move/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after those */
#include <cmocka.h>

enum { ORDER = 9, ALL = 1 << ORDER, MOST = 700 };

static kli_word words[MOST];
static uint64_t seed;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 20) % n;
}

/* How many of 1000 blocks are absent, stuck, fenced, free; the others have some free. */
struct mix {
    uint32_t absent, stuck, fenced, free;
};

static void lay(const struct mix *mix, uint32_t blocks)
{
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t r = below(1000), at = mix->absent;
        uint64_t word = below(ALL);

        if (r < at)
            word = KLI_B_ABSENT | (below(50) ? 0 : KLI_B_FENCED);
        else if (r < (at += mix->stuck))
            word = below(ALL) + (1 + below(ALL)) * KLI_B_STUCK;
        else if (r < (at += mix->fenced))
            word |= KLI_B_FENCED;
        else if (r < at + mix->free)
            word = ALL | (below(5) ? 0 : KLI_B_UNMOVABLE);
        atomic_store(&words[b], word);
    }
}

static bool avoids(const struct kli_search *search, uint32_t block)
{
    for (unsigned i = 0; i < search->avoid.n; i++) {
        if (search->avoid.nr[i] >> ORDER == block)
            return true;
    }
    return false;
}

/* Frames of the window that need not be moved; UINT32_MAX: it can't be had. */
static uint32_t idle_in(const struct kli_search *search, uint32_t first, uint32_t m)
{
    uint32_t idle = 0, absent = 0;

    for (uint32_t b = first; b < first + m; b++) {
        uint64_t word = atomic_load(&words[b]);

        if (kli_b_stuck(word) > 0 || (word & KLI_B_FENCED) || avoids(search, b))
            return UINT32_MAX;
        absent += (word & KLI_B_ABSENT) != 0;
        idle += (word & KLI_B_ABSENT) ? ALL : kli_b_free(word);
    }
    return absent > search->spare || (search->run->idle && idle < m * ALL) ? UINT32_MAX : idle;
}

static uint32_t by_looking(const struct kli_search *search, uint32_t m, uint32_t stride)
{
    uint32_t best = 0, found = UINT32_MAX;

    for (uint32_t first = 0; first + m <= search->end; first += stride) {
        uint32_t idle = idle_in(search, first, m);

        if (idle != UINT32_MAX && (found == UINT32_MAX || idle > best)) {
            best = idle;
            found = first;
        }
    }
    return found;
}

static void search_once(struct kl_zone *zone, uint32_t blocks)
{
    struct kli_run run = {.zone = zone, .idle = below(3) == 0};
    struct kli_search search = {.run = &run, .end = below(4) ? blocks : 1 + below(blocks)};
    uint32_t m = 1 + below(below(2) ? 8 : blocks), stride = 1u << below(7), first, want;

    search.spare = below(3) ? below(blocks) : 0;
    for (unsigned n = below(3) ? 0 : below(KLI_TRIES + 1); search.avoid.n < n; search.avoid.n++)
        search.avoid.nr[search.avoid.n] = below(blocks << ORDER);
    want = by_looking(&search, m, stride);
    assert_int_equal(kli_pass(&search, m, stride, &first), want != UINT32_MAX);
    if (want != UINT32_MAX)
        assert_int_equal(first, want << ORDER);
}

static void finds_what_looking_finds(void **state)
{
    static const struct mix mixes[] = {
        {0, 0, 0, 0},   {0, 20, 0, 0},       {1000, 0, 0, 0},  {300, 0, 0, 0},
        {0, 1, 1, 0},   {300, 50, 20, 430},  {20, 0, 0, 960},  {0, 0, 0, 1000},
        {0, 500, 0, 0}, {100, 100, 10, 100}, {400, 0, 0, 600}, {0, 2, 0, 990},
    };
    struct kl_zone zone = {.block = words, .block_order = ORDER, .block_frames = ALL};

    (void)state;
    seed = 88172645463325252u;
    for (unsigned i = 0; i < 6000; i++) {
        uint32_t blocks = 1 + below(MOST);

        zone.blocks = blocks;
        lay(&mixes[i % (sizeof(mixes) / sizeof(mixes[0]))], blocks);
        search_once(&zone, blocks);
    }
}

/* Of two that are as good the first; and what begins where it may. */
static void the_first_of_equals(void **state)
{
    struct kl_zone zone = {
        .block = words, .block_order = ORDER, .block_frames = ALL, .blocks = MOST};
    struct kli_run run = {.zone = &zone};
    struct kli_search search = {.run = &run, .end = MOST};
    uint32_t first;

    (void)state;
    for (uint32_t b = 0; b < MOST; b++)
        atomic_store(&words[b], 100);
    assert_true(kli_pass(&search, 7, 1, &first));
    assert_int_equal(first, 0);
    atomic_store(&words[401], 101);
    assert_true(kli_pass(&search, 7, 1, &first));
    assert_int_equal(first, 395u << ORDER);
    assert_true(kli_pass(&search, 7, 4, &first));
    assert_int_equal(first, 396u << ORDER);
    atomic_store(&words[401], KLI_B_STUCK | 101);
    assert_true(kli_pass(&search, 1, 1, &first));
    assert_int_equal(first, 0);
    assert_false(kli_pass(&search, 402, 1, &first));
    assert_true(kli_pass(&search, 401, 1, &first));
    assert_int_equal(first, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_looking_finds),
        cmocka_unit_test(the_first_of_equals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
