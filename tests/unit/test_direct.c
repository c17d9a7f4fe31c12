// SPDX-License-Identifier: Apache-2.0
/* Direct pools (zs/direct.h): a user's table of words that are a pool's entries.
 *
 * The user here keeps a seed in bits 38-63 of a word, from which size and contents of
 * its object follow: so each copy says by itself whether it is whole.  Where something is
 * to happen in the middle of something else, it is done by a hook at a trace point, which
 * debug builds have. */
#include "support/midcopy.h"
#include "support/shake.h"
#include "zs/direct.h"
#include "zs/zs.h"

#include <pthread.h>
#include <string.h>

enum { MOST = 4000, BLOCKS = 24 };

static struct fixture f;
static struct kl_zs *pool;
static kli_word *table;
static uint32_t entries;

static void open_table(uint32_t n, const struct kl_zs_config *config)
{
    fixture_open(&f, BLOCKS, 6, 0);
    entries = n;
    table = calloc(n, sizeof(*table));
    assert_non_null(table);
    assert_int_equal(zs_create_direct(f.zone, config, table, n, &pool), 0);
}

static void close_table(void)
{
    assert_zs_ok(pool);
    assert_int_equal(kl_zs_destroy(pool), 0);
    free((void *)table);
    fixture_close(&f);
}

static uint64_t objects(void)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(pool, &s);
    return s.objects;
}

static uint64_t seed_of(uint64_t word)
{
    return word >> ZS_W_USER_BITS;
}

static uint32_t size_of(uint64_t seed)
{
    return 1 + (uint32_t)(seed * 7919 % MOST);
}

static int try_put(uint32_t index, uint64_t seed, uint64_t *word)
{
    char buf[MOST];
    uint64_t name;
    int err;

    fill_bytes(buf, size_of(seed), seed);
    err = zs_direct_put(pool, index, buf, size_of(seed), 0, &name);
    if (err == 0) {
        assert_int_equal(name & ~ZS_W_NAME, 0);
        assert_true(name & ZS_W_OBJECT);
        *word = name | seed << ZS_W_USER_BITS;
    }
    return err;
}

/* An object for this entry that nobody knows yet. */
static uint64_t put(uint32_t index, uint64_t seed)
{
    uint64_t word;

    assert_int_equal(try_put(index, seed, &word), 0);
    return word;
}

static void swap_in(uint32_t index, uint64_t word)
{
    zs_direct_free(pool, index, atomic_exchange(&table[index], word));
}

static uint64_t set(uint32_t index, uint64_t seed)
{
    uint64_t word = put(index, seed);

    swap_in(index, word);
    return word;
}

enum { RIGHT = 0, WRONG = 1 }; /* or an error */

static int get(uint32_t index, uint64_t word)
{
    char buf[MOST];
    uint64_t seed = seed_of(word);
    int err = zs_direct_get(pool, index, word, buf, size_of(seed));

    return err ? err : bytes_are(buf, size_of(seed), seed) ? RIGHT : WRONG;
}

static uint64_t now(uint32_t index)
{
    return atomic_load(&table[index]);
}

static void all_right(void)
{
    for (uint32_t i = 0; i < entries; i++) {
        if (now(i) & ZS_W_OBJECT)
            assert_int_equal(get(i, now(i)), RIGHT);
    }
}

/* Something that happens once at a trace point, in the thread that comes there. */
static enum kli_trace_point when;
static void (*what)(uint32_t index);
static unsigned happened;

static void hook(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    void (*now_do)(uint32_t) = what;

    (void)a, (void)b;
    if (point != when || !now_do)
        return;
    what = NULL; /* what is done there may come here again */
    happened++;
    now_do((uint32_t)c);
}

static void happens_at(enum kli_trace_point point, void (*fn)(uint32_t index))
{
    when = point;
    what = fn;
    happened = 0;
#if KL_DEBUG
    atomic_store(&kli_trace_hook, hook);
#else
    (void)hook;
    skip();
#endif
}

static void nothing_more_happens(void)
{
#if KL_DEBUG
    atomic_store(&kli_trace_hook, NULL);
#endif
}

/* --- one after the other ---------------------------------------------------- */

static void a_life_of_an_object(void **state)
{
    uint64_t first, second;

    (void)state;
    open_table(10, NULL);
    first = set(3, 5);
    assert_int_equal(get(3, first), RIGHT);
    assert_true(zs_direct_size(pool, first) >= size_of(5));
    assert_int_equal(zs_direct_size(pool, 0), 0);
    assert_int_equal(objects(), 1);
    assert_true(zs_direct_frames(pool) > 0);
    second = set(3, 6);
    assert_int_equal(get(3, second), RIGHT);
    assert_int_equal(get(3, first), -KL_ESTALE);
    assert_int_equal(get(4, second), -KL_ESTALE); /* not that one's */
    assert_int_equal(objects(), 1);
    swap_in(3, 0);
    assert_int_equal(get(3, second), -KL_ESTALE);
    zs_direct_free(pool, 3, 0); /* a word without an object */
    zs_direct_free(pool, 3, seed_of(second) << ZS_W_USER_BITS);
    assert_int_equal(objects(), 0);
    zs_direct_free(pool, 7, put(7, 1)); /* never swapped in */
    assert_int_equal(objects(), 0);
    assert_int_equal(zs_direct_frames(pool), 0);
    close_table();
}

/* Tables of one entry, and of regions that are longer than one, the last one cut off. */
static void tables_of_all_sizes(void **state)
{
    static const uint32_t sizes[] = {1, 2, 32768, 32769, 65537, 100003};

    (void)state;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const uint32_t n = sizes[i], places[] = {0, n / 3, n / 2, n - n / 5 - 1, n - 1};

        open_table(n, NULL);
        assert_true(zs_back(pool, n - 1) < ZS_SLOT_LIVE);
        for (unsigned k = 0; k < 5; k++)
            set(places[k], k);
        assert_zs_ok(pool);
        for (uint32_t k = 0; k < n && k < 600; k++)
            set(k, 11); /* all of a size */
        for (uint32_t k = 0; k < n && k < 600; k += 2)
            swap_in(k, 0);
        if (n > 600)
            assert_true(kl_zs_compact(pool, 0) > 0);
        assert_zs_ok(pool);
        all_right();
        for (uint32_t k = 0; k < n; k++)
            swap_in(k, 0);
        assert_int_equal(objects(), 0);
        close_table();
    }
}

static void changes_user_bits(uint32_t index)
{
    uint64_t word = now(index), seed = seed_of(word) ^ 1;

    assert_true(atomic_compare_exchange_strong(&table[index], &word,
                                               (word & ((UINT64_C(1) << ZS_W_USER_BITS) - 1)) |
                                                   seed << ZS_W_USER_BITS));
}

static void claims_against_overwrites(void **state)
{
    uint64_t word, next, other;

    (void)state;
    open_table(4, NULL);
    word = set(0, 10);
    assert_true(zs_direct_claim(pool, 0, word));
    assert_false(zs_direct_claim(pool, 0, word));
    assert_int_equal(now(0), word | ZS_W_CLAIMED);
    assert_int_equal(get(0, word), RIGHT); /* others read meanwhile */
    zs_direct_unclaim(pool, 0, word);
    assert_int_equal(now(0), word);
    assert_int_equal(get(0, word), RIGHT);

    assert_true(zs_direct_claim(pool, 0, word)); /* and commits */
    next = put(0, 11);
    assert_true((next ^ word) & ZS_W_PLACE); /* the place is not used again before */
    assert_true(zs_direct_commit(pool, 0, word, next));
    assert_int_equal(get(0, next), RIGHT);
    assert_int_equal(objects(), 1);
    assert_false(zs_direct_claim(pool, 0, word));

    assert_true(zs_direct_claim(pool, 0, next)); /* overwritten meanwhile: unclaim frees */
    other = set(0, 12);
    assert_int_equal(objects(), 2);
    assert_true((other ^ next) & ZS_W_PLACE);
    zs_direct_unclaim(pool, 0, next);
    assert_int_equal(objects(), 1);
    assert_int_equal(get(0, other), RIGHT);

    assert_true(zs_direct_claim(pool, 0, other)); /* and so does a commit that is too late */
    word = put(0, 13);
    swap_in(0, 0);
    assert_false(zs_direct_commit(pool, 0, other, word));
    assert_int_equal(now(0), 0);
    zs_direct_free(pool, 0, word);
    assert_int_equal(objects(), 0);
    close_table();
}

/* Bits 38-63 may change while somebody has a claim. */
static void user_bits_change_under_a_claim(void **state)
{
    uint64_t word, next;

    (void)state;
    open_table(1, NULL);
    word = set(0, 20);
    assert_true(zs_direct_claim(pool, 0, word));
    changes_user_bits(0);
    assert_int_equal(get(0, word), -KL_ESTALE); /* the word is another one */
    zs_direct_unclaim(pool, 0, word);
    assert_int_equal(now(0) & ZS_W_NAME, word & ZS_W_NAME);
    assert_false(now(0) & ZS_W_CLAIMED);
    assert_int_equal(seed_of(now(0)), 21);
    assert_true(zs_direct_claim(pool, 0, word)); /* by the name */
    changes_user_bits(0);
    next = put(0, 22);
    assert_true(zs_direct_commit(pool, 0, word, next));
    assert_int_equal(now(0), next); /* as a whole */
    assert_int_equal(objects(), 1);
    close_table();
}

/* --- the same name again ---------------------------------------------------- */

static uint64_t old_word;

/* Frees the object and puts another one in its place: the same name, and the same bits
 * all over, but other contents. */
static void other_contents_same_word(uint32_t index)
{
    uint64_t seed = seed_of(old_word), name;
    char buf[MOST];

    (void)index;
    swap_in(0, 0);
    fill_bytes(buf, size_of(seed), seed + 1000000);
    assert_int_equal(zs_direct_put(pool, 0, buf, size_of(seed), 0, &name), 0);
    assert_int_equal(name, old_word & ZS_W_NAME);
    swap_in(0, old_word);
}

/* Twice: at the end the word says the truth again. */
static void there_and_back(uint32_t index)
{
    other_contents_same_word(index);
    swap_in(0, 0);
    assert_int_equal(set(0, seed_of(old_word)), old_word);
}

static void another_seed_same_name(uint32_t index)
{
    uint64_t seed = seed_of(old_word) + MOST; /* of the same size */

    (void)index;
    swap_in(0, 0);
    assert_int_equal(set(0, seed) & ZS_W_NAME, old_word & ZS_W_NAME);
}

static void only_frees(uint32_t index)
{
    (void)index;
    swap_in(0, 0);
}

static void frees_and_reuses_for_another(uint32_t index)
{
    (void)index;
    swap_in(0, 0);
    assert_int_equal(set(1, seed_of(old_word) + MOST) & ZS_W_NAME, old_word & ZS_W_NAME);
}

static void moves_frames(uint32_t index)
{
    (void)index;
    for (uint32_t block = 0; block < BLOCKS; block++) {
        struct kl_report r = {.size = sizeof(r)};

        shake_block(f.zone, block, KL_SYNC, &r);
    }
}

/* Which contents the copy has, after all that: those of before, those of after, or
 * ESTALE; never a mixture. */
static bool old_or_new(int got, uint32_t size)
{
    char buf[MOST];

    if (got == RIGHT || got == -KL_ESTALE)
        return true;
    return zs_direct_get(pool, 0, old_word, buf, size) == 0 &&
           bytes_are(buf, size, seed_of(old_word) + 1000000);
}

static void the_same_name_again(void **state)
{
    uint32_t size = size_of(30);
    char buf[MOST];

    (void)state;
    open_table(2, NULL);
    old_word = set(0, 30);
    set(1, 31); /* keeps its zspage there, if it is of the same class */
    another_seed_same_name(0);
    assert_int_equal(get(0, old_word), -KL_ESTALE);
    assert_int_equal(get(0, now(0)), RIGHT);
    swap_in(0, 0);
    assert_int_equal(set(0, 30), old_word);
    other_contents_same_word(0); /* the word can't tell; what it names now is whole */
    assert_int_equal(zs_direct_get(pool, 0, old_word, buf, size), 0);
    assert_true(bytes_are(buf, size, 30 + 1000000));
    close_table();
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

            open_table(2, NULL);
            old_word = set(0, 40);
            happens_at(points[p], events[i]);
            got = get(0, old_word);
            nothing_more_happens();
            assert_int_equal(happened, 1);
            assert_true(old_or_new(got, size_of(40)));
            if (events[i] == moves_frames || events[i] == there_and_back)
                assert_int_equal(got, RIGHT);
            if (events[i] == other_contents_same_word)
                assert_int_equal(got, WRONG); /* whole, and the new one */
            if (p == 0 &&
                (events[i] == frees_and_reuses_for_another || events[i] == another_seed_same_name))
                assert_int_equal(got, -KL_ESTALE);
            close_table();
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
    char other[MOST], *buf;
    uint64_t seed = 3;

    (void)state;
    while (size_of(seed) < 3900)
        seed++;
    open_table(2, NULL);
    old_word = set(0, seed);
    fill_bytes(other, size_of(seed), seed + 1000000);
    buf = midcopy_begin(b_reuses_the_place) + 2000; /* 2096 bytes before, the rest after */
    assert_int_equal(zs_direct_get(pool, 0, old_word, buf, size_of(seed)), 0);
    assert_memory_equal(buf, other, size_of(seed));
    assert_true(midcopy_end());
    close_table();
}

/* --- object compaction ------------------------------------------------------ */

enum { MANY = 1200, KEEP = 5, CROWD = 77 };

/* Objects of one size, most of which are freed again. */
static void make_sparse(void)
{
    for (uint32_t i = 0; i < MANY; i++)
        set(i, CROWD + (uint64_t)i * MOST);
    for (uint32_t i = 0; i < MANY; i++) {
        if (i % KEEP)
            swap_in(i, 0);
    }
}

static void compaction_moves_objects(void **state)
{
    static uint64_t before[MANY];
    struct kl_zs_stats s = {.size = sizeof(s)};
    uint64_t loose, unmoved = 0;
    int64_t freed;

    (void)state;
    open_table(MANY + 1, NULL);
    make_sparse();
    loose = put(MANY, CROWD); /* no entry names it: it stays where it is */
    for (uint32_t i = 0; i < MANY; i++)
        before[i] = now(i);
    for (uint32_t i = 0; i < MANY; i += 4 * KEEP) /* and so do these */
        assert_true(zs_direct_claim(pool, i, now(i)));
    freed = kl_zs_compact(pool, 0);
    assert_true(freed > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        if (i % (4 * KEEP) == 0 && before[i]) {
            assert_int_equal(now(i), before[i] | ZS_W_CLAIMED);
            zs_direct_unclaim(pool, i, before[i]);
        }
        assert_int_equal(seed_of(now(i)), seed_of(before[i]));
        unmoved += now(i) == before[i] && before[i];
        if (before[i] && now(i) != before[i])
            assert_int_equal(get(i, before[i]), -KL_ESTALE);
    }
    assert_true(unmoved < MANY / KEEP);
    swap_in(MANY, loose);
    all_right();
    assert_int_equal(objects(), MANY / KEEP + 1);
    assert_zs_ok(pool);
    kl_zs_compact(pool, 0);
    kl_zs_get_stats(pool, &s);
    assert_int_equal(s.freeable_frames, 0);
    all_right();
    close_table();
}

static uint32_t touched;

static void touches(uint32_t index)
{
    touched = index;
    assert_true(now(index) & ZS_W_CLAIMED);
    assert_false(zs_direct_claim(pool, index, now(index) & ~ZS_W_CLAIMED));
    changes_user_bits(index);
}

static void overwrites(uint32_t index)
{
    uint64_t old = atomic_exchange(&table[index], UINT64_C(0));

    touched = index;
    assert_true(old & ZS_W_CLAIMED);
    zs_direct_free(pool, index, old); /* leaves it to the claimer */
}

/* What the user does while his object is being moved stays done. */
static void users_while_objects_move(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_compact_claimed,
                                                  KLI_T_zs_compact_copied};
    uint64_t before;

    (void)state;
    for (unsigned p = 0; p < 2; p++) {
        open_table(MANY, NULL);
        make_sparse();
        happens_at(points[p], touches);
        before = kl_zs_compact(pool, 1) >= 0 ? objects() : 0;
        assert_int_equal(happened, 1);
        assert_int_equal(before, MANY / KEEP);
        assert_int_equal(seed_of(now(touched)), (CROWD + (uint64_t)touched * MOST) ^ 1);
        assert_false(now(touched) & ZS_W_CLAIMED);
        changes_user_bits(touched);
        assert_int_equal(get(touched, now(touched)), RIGHT);
        happens_at(points[p], overwrites);
        kl_zs_compact(pool, 0);
        nothing_more_happens();
        assert_int_equal(happened, 1);
        assert_int_equal(now(touched), 0);
        assert_int_equal(objects(), MANY / KEEP - 1);
        all_right();
        close_table();
    }
}

/* Within a zspage, where nothing is left to move elsewhere. */
static void users_while_objects_slide(void **state)
{
    static const enum kli_trace_point points[] = {KLI_T_zs_compact_claimed,
                                                  KLI_T_zs_compact_copied};

    (void)state;
    for (unsigned p = 0; p < 2; p++) {
        open_table(8, NULL);
        for (uint32_t i = 0; i < 8; i++)
            set(i, 3990 + i * (uint64_t)MOST); /* a frame each, about */
        for (uint32_t i = 0; i < 5; i++)
            swap_in(i, 0);
        happens_at(points[p], overwrites);
        assert_true(kl_zs_compact(pool, 0) > 0);
        nothing_more_happens();
        assert_int_equal(happened, 1);
        assert_int_equal(objects(), 2);
        all_right();
        close_table();
    }
}

/* --- failures --------------------------------------------------------------- */

static void every_allocation_fails_once(void **state)
{
    uint64_t word;
    int err;

    (void)state;
    fixture_open(&f, BLOCKS, 6, 0);
    table = calloc(9, sizeof(*table));
    for (int nth = 1;; nth++) {
        fault_set(FAULT_META, nth);
        err = zs_create_direct(f.zone, NULL, table, 9, &pool);
        fault_set(FAULT_META, 0);
        assert_zone_ok(f.zone);
        if (err == 0)
            break;
        assert_int_equal(err, -KL_ENOMEM);
        assert_true(nth < 20);
    }
    assert_int_equal(kl_zs_destroy(pool), 0);
    free((void *)table);
    fixture_close(&f);
    for (int which = FAULT_META; which <= FAULT_POPULATE; which++) {
        int nth = 0;

        do {
            open_table(9, NULL);
            fault_set((enum fault)which, ++nth);
            err = try_put(1, 3991, &word);
            if (err == 0)
                swap_in(1, word);
            fault_set((enum fault)which, 0);
            assert_zs_ok(pool);
            assert_zone_ok(f.zone);
            assert_int_equal(objects(), err ? 0 : 1);
            assert_true(err == 0 || err == -KL_ENOMEM);
            set(1, 3991);
            all_right();
            close_table();
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
    open_table(1500, NULL);
    for (uint32_t i = 0; i < 1500; i++) {
        fault_set(FAULT_META, 1);
        if (try_put(i, i, &word)) {
            assert_zs_ok(pool);
            assert_zone_ok(f.zone);
            fault_set(FAULT_META, 0);
            word = put(i, i);
            failed++;
        }
        fault_set(FAULT_META, 0);
        swap_in(i, word);
    }
    assert_true(failed >= 2);
    assert_int_equal(objects(), 1500);
    all_right();
    close_table();
}

static void the_limit_refuses(void **state)
{
    const struct kl_zs_config config = {.size = sizeof(config), .name = "few", .limit_frames = 4};
    uint64_t word = 0;
    uint32_t n = 0;
    int err = 0;

    (void)state;
    open_table(50, &config);
    for (; n < 50 && !(err = try_put(n, 3990, &word)); n++)
        swap_in(n, word);
    assert_int_equal(err, -KL_ENOSPC);
    assert_in_range(n, 4, 49);
    assert_int_equal(objects(), n);
    assert_zs_ok(pool);
    swap_in(0, 0);
    set(n, 3990);
    all_right();
    close_table();
}

/* --- two threads ------------------------------------------------------------ */

enum { SHARED = 12, ROUNDS = 6000 };
static atomic_uint next_seed, bad;
static atomic_bool stop;

/* Replaces what it claimed, or gives the claim up. */
static void replace(struct rng *rng, uint32_t index, uint64_t seed)
{
    uint64_t seen = now(index), word;

    if (!(seen & ZS_W_OBJECT) || !zs_direct_claim(pool, index, seen))
        return;
    if (rng_below(rng, 2) || try_put(index, seed, &word)) {
        zs_direct_unclaim(pool, index, seen);
        return;
    }
    if (!zs_direct_commit(pool, index, seen, word))
        zs_direct_free(pool, index, word);
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
            swap_in(index, 0);
            break;
        case 1:
            if (try_put(index, seed, &word) == 0)
                swap_in(index, word);
            break;
        case 2:
            replace(&rng, index, seed);
            break;
        default:
            word = now(index) & ~ZS_W_CLAIMED;
            if ((word & ZS_W_OBJECT) && get(index, word) == WRONG)
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

        kl_zs_compact(pool, 1 + rng_below(&rng, 5));
        shake_block(f.zone, rng_below(&rng, BLOCKS), KL_SYNC_LIGHT, &r);
    }
    return NULL;
}

static void users_and_a_mover(void **state)
{
    pthread_t thread[3];

    (void)state;
    open_table(SHARED, NULL);
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
    all_right();
    for (uint32_t i = 0; i < SHARED; i++)
        swap_in(i, 0);
    assert_int_equal(objects(), 0); /* each was freed once */
    close_table();
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
        cmocka_unit_test(compaction_moves_objects),
        cmocka_unit_test(users_while_objects_move),
        cmocka_unit_test(users_while_objects_slide),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(growing_fails_again_and_again),
        cmocka_unit_test(the_limit_refuses),
        cmocka_unit_test(users_and_a_mover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
