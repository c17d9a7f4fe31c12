// SPDX-License-Identifier: Apache-2.0
/* Traces: what is read and what is refused, the oracle against a search through all
 * places, runs, and the generators. */
#include "support/fixture.h"

#include "cli/replay/generate.h"
#include "cli/replay/oracle.h"
#include "cli/replay/replay.h"

#include <stdio.h>
#include <string.h>

#define HEAD "klotski-trace 1 frame=4096 block-order=3 blocks=4\n"

static bool read_text(const char *text, size_t n, struct replay_trace *trace,
                      struct replay_error *error)
{
    FILE *in = fmemopen((void *)(uintptr_t)text, n, "r");
    bool good;

    assert_non_null(in);
    good = replay_read(in, trace, error);
    fclose(in);
    return good;
}

/* ---- reading -------------------------------------------------------------- */

static void reads_every_operation(void **state)
{
    static const char text[] = "# first of all a comment \xc3\xa4\n\n" HEAD
                               "alloc 7 0 m # and one here\n\talloc  8 3   u\npin 7\npin 7\n"
                               "unpin 7\nunpin 7\nfree 7\ncontig 7 17 4\nfree 7\ngive 4\n"
                               "lend 1\nlend 3\ncompact\nend\n# nothing\n\n";
    struct replay_trace t;
    struct replay_error e;

    (void)state;
    assert_true(read_text(text, strlen(text), &t, &e));
    assert_int_equal(t.n, 13);
    assert_int_equal(t.ids, 9);
    assert_int_equal(t.shape.block_order, 3);
    assert_int_equal(t.ops[0].what, REPLAY_alloc);
    assert_int_equal(t.ops[0].line, 4);
    assert_true(t.ops[0].movable);
    assert_false(t.ops[1].movable);
    assert_int_equal(t.ops[1].order, 3);
    assert_int_equal(t.ops[7].n, 17);
    assert_int_equal(t.ops[7].order, 2);
    assert_int_equal(t.ops[9].n, 4);
    assert_string_equal(replay_name(t.ops[12].what), "compact");
    replay_forget(&t);
}

static void refuses_with_line_and_reason(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *why;
    } bad[] = {
        {"#\n", 2, "nothing in the file"},
        {"hello\n", 1, "not a trace"},
        {"klotski-trace\n", 1, "version is missing"},
        {"klotski-trace 2 frame=4096 block-order=3 blocks=4\nend\n", 1, "version"},
        {"klotski-trace 1 frame=4096 blocks=4\n", 1, "a header is"},
        {"klotski-trace 1 frame=4096 blocks=4 block-order=3\n", 1, "'block-order=' is expected"},
        {"klotski-trace 1 frame=4097 block-order=3 blocks=4\n", 1, "power of two"},
        {"klotski-trace 1 frame=2048 block-order=3 blocks=4\n", 1, "not a number from 4096"},
        {"klotski-trace 1 frame=4096 block-order=19 blocks=4\n", 1, "block-order"},
        {"klotski-trace 1 frame=4096 block-order=0 blocks=4\n", 1, "block-order"},
        {"klotski-trace 1 frame=4096 block-order=9 blocks=1048576\n", 1, "16777216 frames"},
        {"klotski-trace 1 frame=2097152 block-order=9 blocks=2048\n", 1, "1 TiB"},
        {HEAD HEAD, 2, "no operation 'klotski-trace'"},
        {HEAD "alloc 1 0 m\n", 3, "not whole"},
        {HEAD "alloc 1 0 m\nen", 3, "no operation 'en'"},
        {HEAD "alloc 1 0 m", 3, "not whole"},
        {HEAD "end\nalloc 1 0 m\n", 3, "follows the end"},
        {HEAD "end 1\n", 2, "no operation 'end'"},
        {HEAD "grab 1\n", 2, "no operation 'grab'"},
        {HEAD "alloc 1 0\n", 2, "followed by 3 words, not 2"},
        {HEAD "alloc 1 0 m m m m\n", 2, "not over 5"},
        {HEAD "alloc 1 0 movable\n", 2, "neither m"},
        {HEAD "alloc 1 4 m\n", 2, "from 0 to 3"},
        {HEAD "alloc -1 0 m\n", 2, "'-1' is not a number"},
        {HEAD "alloc 4194304 0 m\n", 2, "from 0 to 4194303"},
        {HEAD "alloc 99999999999999999999999 0 m\n", 2, "is not a number"},
        {HEAD "alloc 0x1 0 m\n", 2, "is not a number"},
        {HEAD "alloc 1 0 m\nalloc 1 0 m\n", 3, "live already"},
        {HEAD "free 1\n", 2, "not live"},
        {HEAD "free 4194303\n", 2, "not live"},
        {HEAD "alloc 1 0 m\npin 1\nfree 1\n", 4, "it is pinned"},
        {HEAD "alloc 1 0 m\nunpin 1\n", 3, "not pinned"},
        {HEAD "contig 1 8 8\npin 1\n", 3, "ranges are not pinned"},
        {HEAD "contig 1 33 1\n", 2, "from 1 to 32"},
        {HEAD "contig 1 0 1\n", 2, "from 1 to 32"},
        {HEAD "contig 1 8 3\n", 2, "not a power of two"},
        {HEAD "give 5\n", 2, "from 1 to 4"},
        {HEAD "give 3\ngive 2\n", 3, "not so many blocks"},
        {HEAD "lend 1\n", 2, "more than were given"},
        {HEAD "compact 1\n", 2, "followed by 0 words"},
        {HEAD "alloc\0 1 0 m\n", 2, "0x00"},
        {HEAD "alloc 1 0 m\r\n", 2, "0x0d"},
        {HEAD "alloc \xff 0 m\n", 2, "0xff"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct replay_trace t;
        struct replay_error e;
        size_t n = strlen(bad[i].text);

        if (strstr(bad[i].why, "0x00"))
            n += strlen(" 1 0 m\n") + 1;
        assert_false(read_text(bad[i].text, n, &t, &e));
        if (e.line != bad[i].line || !strstr(e.text, bad[i].why))
            fail_msg("line %u, %s: not line %u, %s", e.line, e.text, bad[i].line, bad[i].why);
        assert_null(t.ops);
    }
}

static void has_bounds(void **state)
{
    size_t room = 200000, n;
    char *text = malloc(room);
    struct replay_trace t;
    struct replay_error e;

    (void)state;
    memset(text, ' ', room); /* one endless line */
    assert_false(read_text(text, room, &t, &e));
    assert_non_null(strstr(e.text, "more than 200 characters"));
    memset(text, '#', room); /* a comment may be endless, but there must be a trace */
    assert_false(read_text(text, room, &t, &e));
    n = (size_t)snprintf(text, room, HEAD "alloc 3 0 m\n");
    for (unsigned i = 0; i <= REPLAY_MAX_PINS; i++)
        n += (size_t)snprintf(text + n, room - n, "pin 3\n");
    assert_false(read_text(text, n, &t, &e));
    assert_int_equal(e.line, 2 + REPLAY_MAX_PINS + 1);
    assert_non_null(strstr(e.text, "4095 times"));
    free(text);
}

/* ---- running -------------------------------------------------------------- */

static void run_text(const char *text, const struct replay_config *config,
                     struct replay_result *result)
{
    struct replay_trace t;
    struct replay_error e;

    if (!read_text(text, strlen(text), &t, &e))
        fail_msg("line %u: %s", e.line, e.text);
    assert_int_equal(replay_run(&t, config, result), 0);
    replay_forget(&t);
}

/* Four blocks of eight: one frame in each, so a range of two blocks wants moves. */
static const char scattered[] = HEAD "alloc 0 3 m\nalloc 1 3 m\nalloc 2 3 m\nalloc 3 3 m\n"
                                     "free 0\nalloc 4 0 m\nalloc 14 2 m\n"
                                     "free 1\nalloc 5 0 m\nfree 14\n"
                                     "free 2\nfree 3\n"
                                     "contig 9 16 8\nfree 9\ngive 2\nlend 2\nend\n";

static void counts_what_succeeds(void **state)
{
    struct replay_config config = {.migration = true, .oracle = true};
    struct replay_result r;

    (void)state;
    for (int memory = REPLAY_MEMFD; memory <= REPLAY_OWN; memory++) {
        config.memory = (enum replay_memory)memory;
        run_text(scattered, &config, &r);
        assert_true(replay_good(&r));
        assert_int_equal(r.order[3].asked, 4);
        assert_int_equal(r.order[3].done, 4);
        assert_int_equal(r.order[0].done, 2);
        assert_int_equal(r.what[REPLAY_contig].done, 1);
        assert_int_equal(r.what[REPLAY_contig].feasible_done, 1);
        assert_int_equal(r.what[REPLAY_give].done, 1);
        assert_int_equal(r.what[REPLAY_lend].done, 1);
        assert_int_equal(r.used_frames, 2);
        assert_int_equal(r.failures, 0);
    }
}

/* Nobody moves: who was in the way is said, and what follows is skipped. */
static void says_who_was_in_the_way(void **state)
{
    static const char text[] = HEAD "alloc 0 3 u\nalloc 2 3 m\nalloc 1 2 m\nalloc 7 2 m\n"
                                    "alloc 3 2 m\nalloc 8 2 m\npin 2\npin 7\npin 8\n"
                                    "alloc 5 0 m\nfree 5\nfree 1\nfree 3\ncontig 6 8 8\n"
                                    "free 6\ngive 2\nlend 2\nunpin 2\nend\n";
    struct replay_config config = {.migration = true, .oracle = true};
    struct replay_result r;

    (void)state;
    run_text(text, &config, &r);
    assert_true(replay_good(&r)); /* nothing feasible failed */
    assert_int_equal(r.order[0].asked, 1);
    assert_int_equal(r.order[0].done, 0);
    assert_int_equal(r.skipped, 3);
    assert_int_equal(r.failures, 2);
    assert_int_equal(r.failure[0].line, 15);
    assert_int_equal(r.failure[0].err, -KL_EBUSY);
    assert_true(r.failure[0].blamed);
    assert_string_equal(r.failure[0].owner, "unmovable");
    assert_int_equal(r.failure[0].id, 0);
    assert_int_equal(r.failure[1].op.what, REPLAY_give);
    assert_int_equal(r.stuck_frames, 16);
}

/* The control: with migration off a range comes only from what is free. */
static void nothing_moves_when_off(void **state)
{
    static const char text[] = HEAD "alloc 0 2 m\nalloc 1 2 m\nalloc 2 2 m\nalloc 3 2 m\n"
                                    "alloc 4 2 m\nalloc 5 2 m\nalloc 6 2 m\nalloc 7 2 m\n"
                                    "free 0\nfree 2\nfree 4\nfree 6\ncontig 8 8 8\nalloc 9 3 m\n"
                                    "end\n";
    struct replay_config config = {.oracle = true};
    struct replay_result r;

    (void)state;
    run_text(text, &config, &r);
    assert_true(replay_good(&r));
    assert_int_equal(r.what[REPLAY_contig].done, 0);
    assert_int_equal(r.what[REPLAY_contig].feasible, 0);
    assert_int_equal(r.order[3].done, 0);
    assert_int_equal(r.moved, 0);
    config.migration = true;
    run_text(text, &config, &r);
    assert_int_equal(r.what[REPLAY_contig].done, 1);
    assert_int_equal(r.what[REPLAY_contig].feasible, 1);
    assert_true(r.moved >= 4);
}

static void damage_frame(void *ctx, struct kl_zone *zone)
{
    uint8_t map[32];

    (void)ctx;
    assert_int_equal(kl_zone_map(zone, 0, 32, map), 0);
    for (uint32_t nr = 0; nr < 32; nr++) {
        if (map[nr] == KL_FRAME_MOVABLE) {
            ((char *)kl_frame_addr(zone, kl_zone_pfn(zone, nr)))[4095] ^= 1;
            return;
        }
    }
    fail_msg("no movable frame");
}

static void damage_is_noticed(void **state)
{
    struct replay_config config = {.migration = true, .at_end = damage_frame};
    struct replay_result r;

    (void)state;
    run_text(scattered, &config, &r);
    assert_int_equal(r.wrong, 1);
    assert_false(replay_good(&r));
}

/* Any text: refused with a line and a reason, or it runs to its end. */
static void hostile_text(void **state)
{
    static const char alphabet[] = "0123456789 \n\t#=mualocfrepinunpcontiggivelendcompact-end";
    struct replay_config config = {.migration = true, .oracle = true};
    struct rng rng = rng_new(99);
    unsigned ran = 0, refused = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[sizeof(scattered)];
        struct replay_trace t;
        struct replay_error e;
        size_t n = sizeof(scattered) - 1;

        memcpy(text, scattered, sizeof(text));
        for (uint32_t k = rng_below(&rng, 4); k > 0; k--) {
            char *at = &text[sizeof(HEAD) - 1 + rng_below(&rng, (uint32_t)(n - sizeof(HEAD) + 1))];

            *at = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
            if (rng_below(&rng, 10) == 0)
                *at = (char)rng_below(&rng, 256);
        }
        if (rng_below(&rng, 8) == 0)
            n = rng_below(&rng, (uint32_t)n) + 1;
        if (read_text(text, n, &t, &e)) {
            struct replay_result r;

            if (ran++ % 50 == 0) {
                assert_int_equal(replay_run(&t, &config, &r), 0);
                assert_int_equal(r.wrong, 0);
                assert_null(r.broken);
            }
            replay_forget(&t);
        } else {
            assert_in_range(e.line, 1, 40);
            assert_true(strlen(e.text) > 5);
            refused++;
        }
    }
    assert_in_range(ran, 1000, 19000);
    assert_in_range(refused, 1000, 19000);
}

/* ---- the oracle ------------------------------------------------------------ */

enum { SMALL = 16, SMALL_ORDER = 3 }; /* two blocks of eight */

struct puzzle {
    uint8_t map[SMALL], order[SMALL];
};

static void draw_puzzle(struct rng *rng, struct puzzle *p)
{
    memset(p->order, UINT8_MAX, sizeof(p->order));
    for (uint32_t nr = 0; nr < SMALL;) {
        uint32_t order = rng_below(rng, 4), dice = rng_below(rng, 20), kind;

        while (nr % (1u << order) != 0)
            order--;
        kind = dice < 10 ? KL_FRAME_FREE : dice < 19 ? KL_FRAME_MOVABLE : KL_FRAME_PINNED;
        if (kind == KL_FRAME_MOVABLE)
            p->order[nr] = (uint8_t)order;
        memset(p->map + nr, (int)kind, (size_t)1 << order);
        nr += 1u << order;
    }
}

/* Whether the n units fit into free places of `map`, by trying all.
 * NOLINTNEXTLINE(misc-no-recursion): at most SMALL deep */
static bool place_all(uint8_t map[SMALL], const uint8_t *unit, unsigned n)
{
    uint32_t size = n ? 1u << unit[n - 1] : 0;

    for (uint32_t at = 0; n && at < SMALL; at += size) {
        uint32_t i = 0;
        bool fits;

        while (i < size && map[at + i] == KL_FRAME_FREE)
            i++;
        if (i < size)
            continue;
        memset(map + at, KL_FRAME_MOVABLE, size);
        fits = place_all(map, unit, n - 1);
        memset(map + at, KL_FRAME_FREE, size);
        if (fits)
            return true;
    }
    return n == 0;
}

static bool window_by_search(const struct puzzle *p, uint32_t at, uint32_t n)
{
    uint8_t map[SMALL], unit[SMALL];
    unsigned units = 0;

    memcpy(map, p->map, SMALL);
    for (uint32_t nr = 0; nr < SMALL; nr++) {
        if (nr >= at && nr < at + n && p->map[nr] == KL_FRAME_PINNED)
            return false;
        if (p->order[nr] != UINT8_MAX && nr + (1u << p->order[nr]) > at && nr < at + n)
            unit[units++] = p->order[nr];
    }
    memset(map + at, KL_FRAME_PINNED, n);
    return place_all(map, unit, units);
}

static void oracle_agrees_with_a_search(void **state)
{
    struct rng rng = rng_new(5);
    unsigned feasible = 0, blocks_feasible = 0;

    (void)state;
    for (int i = 0; i < 4000; i++) {
        struct puzzle p;
        struct replay_layout l = {.frames = SMALL,
                                  .block_order = SMALL_ORDER,
                                  .map = p.map,
                                  .order = p.order,
                                  .may_move = true};
        uint32_t n = 1 + rng_below(&rng, 10), align = 1u << rng_below(&rng, 4);
        bool found = false;

        draw_puzzle(&rng, &p);
        for (uint32_t at = 0; at + n <= SMALL && !found; at += align)
            found = window_by_search(&p, at, n);
        assert_int_equal(replay_feasible_contig(&l, n, align), found);
        feasible += found;
        found = window_by_search(&p, 0, 8) || window_by_search(&p, 8, 8);
        if (replay_feasible_give(&l, 1)) /* certain; the reverse is not */
            assert_true(found);
        blocks_feasible += found;
        l.spare = 1; /* a give-back wants no more than that */
        assert_int_equal(replay_feasible_give(&l, 1), 1);
    }
    assert_in_range(feasible, 500, 3500);
    assert_in_range(blocks_feasible, 300, 3500);
}

/* Blocks without memory: as free as any, while there is memory for them. */
static void oracle_knows_absent_blocks(void **state)
{
    struct puzzle p;
    struct replay_layout l = {.frames = SMALL,
                              .block_order = SMALL_ORDER,
                              .map = p.map,
                              .order = p.order,
                              .may_move = true};

    (void)state;
    memset(p.map, KL_FRAME_ABSENT, SMALL);
    memset(p.map, KL_FRAME_MOVABLE, 8);
    memset(p.order, 0, SMALL);
    assert_int_equal(replay_feasible_contig(&l, 8, 8), 0);
    assert_int_equal(replay_feasible_give(&l, 1), 0);
    l.spare = 1;
    assert_int_equal(replay_feasible_contig(&l, 8, 8), 1);
    assert_int_equal(replay_feasible_contig(&l, 9, 1), 0);
    assert_int_equal(replay_feasible_give(&l, 2), 0);
    l.may_move = false;
    assert_int_equal(replay_feasible_contig(&l, 8, 8), 1);
    p.map[3] = KL_FRAME_FREE;
    assert_int_equal(replay_feasible_contig(&l, 9, 1), 0);
}

/* ---- generators ------------------------------------------------------------ */

static char *generated(const struct replay_kind *kind, uint32_t blocks, uint32_t seed, size_t *n)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, n);

    assert_non_null(out);
    assert_true(replay_generate(out, kind, blocks, seed));
    fclose(out);
    return text;
}

static void every_kind_can_be_run(void **state)
{
    (void)state;
    for (const struct replay_kind *kind = replay_kinds; kind->name; kind++) {
        struct replay_config config = {.migration = true, .memory = REPLAY_OWN};
        struct replay_trace t;
        struct replay_error e;
        struct replay_result r;
        size_t n, again_n;
        char *text = generated(kind, 16, 3, &n), *again = generated(kind, 16, 3, &again_n);

        assert_int_equal(n, again_n); /* the same seed, the same trace */
        assert_memory_equal(text, again, n);
        free(again);
        again = generated(kind, 16, 4, &again_n);
        assert_true(n != again_n || memcmp(text, again, n) != 0);
        if (!read_text(text, n, &t, &e))
            fail_msg("%s, line %u: %s", kind->name, e.line, e.text);
        assert_int_equal(replay_run(&t, &config, &r), 0);
        assert_true(replay_good(&r));
        assert_true(r.order[0].done > 500);
        assert_true(r.what[REPLAY_contig].asked > 5);
        assert_true(r.used_frames > 0);
        replay_forget(&t);
        free(text);
        free(again);
    }
    assert_null(replay_find_kind("nothing"));
}

static void sizes_of_kinds_have_bounds(void **state)
{
    const struct replay_kind *kind = replay_find_kind("kv");
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    (void)state;
    assert_false(replay_generate(out, kind, REPLAY_MIN_GENERATED - 1, 1));
    assert_false(replay_generate(out, kind, 4097, 1));
    fclose(out);
    assert_int_equal(n, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_operation),
        cmocka_unit_test(refuses_with_line_and_reason),
        cmocka_unit_test(has_bounds),
        cmocka_unit_test(counts_what_succeeds),
        cmocka_unit_test(says_who_was_in_the_way),
        cmocka_unit_test(nothing_moves_when_off),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(hostile_text),
        cmocka_unit_test(oracle_agrees_with_a_search),
        cmocka_unit_test(oracle_knows_absent_blocks),
        cmocka_unit_test(every_kind_can_be_run),
        cmocka_unit_test(sizes_of_kinds_have_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
