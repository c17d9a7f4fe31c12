// SPDX-License-Identifier: Apache-2.0
/* Reads without a lock, overtaken at the worst moments: a hook does, in the middle of a
 * look, what another thread could do. */
#include "support/fixture.h"

#include "base/trace.h"
#include "frame/look.h"

#include <string.h>

enum { BLOCK = 4096, BLOCKS = 64, B = 3, C = 40 };

static struct kl_store *store;

/* Compresses to the same size, whatever the seed is. */
static void make(char *buf, uint64_t seed)
{
    memset(buf, 0, BLOCK);
    fill_bytes(buf, 1000, seed);
}

static void put(uint64_t block, uint64_t seed)
{
    char buf[BLOCK];

    make(buf, seed);
    assert_int_equal(kl_store_write(store, block, 0, buf, BLOCK), 0);
}

static bool is(const char *buf, uint64_t seed)
{
    char want[BLOCK];

    make(want, seed);
    return memcmp(buf, want, BLOCK) == 0;
}

#if KL_DEBUG
static unsigned found, copied;

/* B goes elsewhere and its place is C's; then, after the copy, all is as it was, B's
 * word bit for bit. */
static void back_and_forth(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    if (point == KLI_T_zs_look_found && found++ == 0) {
        put(B, 7);
        put(C, 8);
    } else if (point == KLI_T_zs_look_copied && copied++ == 0) {
        assert_int_equal(kl_store_discard(store, C, 0, BLOCK), 0);
        put(B, 1);
    }
}
#endif

static void a_place_that_came_back_is_not_trusted(void **state)
{
#if KL_DEBUG
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = BLOCKS, .block_bytes = BLOCK, .codec = &codec};
    struct fixture f;
    char buf[BLOCK];

    (void)state;
    fixture_open(&f, 16, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    for (unsigned i = 0; i < C; i++)
        put(i, i == B ? 1 : 100 + i);
    found = copied = 0;
    atomic_store(&kli_trace_hook, back_and_forth);
    assert_int_equal(kl_store_read(store, B, 0, buf, BLOCK), 0);
    atomic_store(&kli_trace_hook, NULL);
    assert_true(is(buf, 1) || is(buf, 7));
    assert_int_equal(copied, 2); /* the first copy was C's, and was thrown away */
    assert_store_ok(store);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(&f);
#else
    (void)state, (void)is, (void)put;
    skip();
#endif
}

#if KL_DEBUG
static struct kl_zs *pool;
static kl_handle mine, others;

/* It is freed, kept at hand, and somebody else's with other bytes: neither a frame nor a slot
 * of its zspage has changed. */
static void free_and_take(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    char bytes[200];

    (void)a, (void)b, (void)c;
    if (point != KLI_T_zs_look_found || found++ > 0)
        return;
    fill_bytes(bytes, sizeof(bytes), 2);
    assert_int_equal(kl_zs_free(pool, mine), 0);
    assert_int_equal(kl_zs_malloc(pool, sizeof(bytes), 0, &others), 0);
    assert_int_equal(kl_zs_write(pool, others, 0, bytes, sizeof(bytes)), 0);
}
#endif

static void an_object_that_changed_hands_is_stale(void **state)
{
#if KL_DEBUG
    struct fixture f;
    char bytes[200];

    (void)state;
    fixture_open(&f, 64, 9, 0);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    assert_int_equal(kl_zs_malloc(pool, sizeof(bytes), 0, &mine), 0);
    fill_bytes(bytes, sizeof(bytes), 1);
    assert_int_equal(kl_zs_write(pool, mine, 0, bytes, sizeof(bytes)), 0);
    found = 0;
    atomic_store(&kli_trace_hook, free_and_take);
    assert_int_equal(kl_zs_read(pool, mine, 0, bytes, sizeof(bytes)), -KL_ESTALE);
    atomic_store(&kli_trace_hook, NULL);
    assert_int_equal(found, 1);
    assert_int_equal(kl_zs_read(pool, others, 0, bytes, sizeof(bytes)), 0);
    assert_true(bytes_are(bytes, sizeof(bytes), 2));
    assert_int_equal(kl_zs_free(pool, others), 0);
    assert_int_equal(kl_zs_destroy(pool), 0);
    fixture_close(&f);
#else
    (void)state;
    skip();
#endif
}

/* However often it was waited for in vain; later looks are not its matter. (L1) */
static void a_look_is_waited_for_until_it_ends(void **state)
{
    struct fixture f;
    kli_look *look, *later;

    (void)state;
    fixture_open(&f, 4, 4, 0);
    assert_true(kli_looks_over(f.zone));
    for (unsigned phase = 0; phase < 2; phase++) {
        look = kli_look_begin(f.zone);
        for (unsigned i = 0; i < 3; i++)
            assert_false(kli_looks_over(f.zone));
        later = kli_look_begin(f.zone);
        assert_false(kli_looks_over(f.zone));
        kli_look_end(look);
        assert_false(kli_looks_over(f.zone));
        kli_look_end(later);
        assert_true(kli_looks_over(f.zone));
        assert_true(kli_looks_over(f.zone));
        look = kli_look_begin(f.zone); /* the other phase is next */
        kli_look_end(look);
        (void)kli_looks_over(f.zone);
    }
    fixture_close(&f);
}

static struct {
    struct kl_zone *zone;
    kli_look *last; /* begins before the one before it ends */
    unsigned n;
} busy;

static void look_again(void *ctx, unsigned round)
{
    kli_look *next;

    (void)ctx, (void)round;
    if (!busy.last)
        return;
    next = kli_look_begin(busy.zone);
    kli_look_end(busy.last);
    busy.last = next;
    busy.n++;
}

static void relax_by_looking(struct kl_host *host)
{
    host->relax = look_again;
}

/* There is always a look, but no one of them for long: that is waited for. */
static void looks_without_end_are_outlasted(void **state)
{
    struct fixture f;

    (void)state;
    fixture_host = relax_by_looking;
    fixture_open(&f, 4, 4, 0);
    fixture_host = NULL;
    busy.zone = f.zone;
    for (unsigned i = 0; i < 4; i++) {
        busy.last = kli_look_begin(f.zone);
        assert_true(kli_looks_over(f.zone));
        kli_look_end(busy.last);
        busy.last = NULL;
    }
    assert_true(busy.n >= 4);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_that_came_back_is_not_trusted),
        cmocka_unit_test(an_object_that_changed_hands_is_stale),
        cmocka_unit_test(a_look_is_waited_for_until_it_ends),
        cmocka_unit_test(looks_without_end_are_outlasted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
