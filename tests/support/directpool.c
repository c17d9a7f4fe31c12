// SPDX-License-Identifier: Apache-2.0
#include "support/directpool.h"

#include <string.h>

struct fixture direct_zone;
struct kl_zs *direct_pool;
kli_word *direct_table;
uint32_t direct_entries;

void direct_open(uint32_t n, const struct kl_zs_config *config)
{
    fixture_open(&direct_zone, DIRECT_BLOCKS, 6, 0);
    direct_entries = n;
    direct_table = calloc(n, sizeof(*direct_table));
    assert_non_null(direct_table);
    assert_int_equal(zs_create_direct(direct_zone.zone, config, direct_table, n, &direct_pool), 0);
}

void direct_close(void)
{
    assert_zs_ok(direct_pool);
    assert_int_equal(kl_zs_destroy(direct_pool), 0);
    free((void *)direct_table);
    fixture_close(&direct_zone);
}

uint64_t direct_objects(void)
{
    struct kl_zs_stats s = {.size = sizeof(s)};

    kl_zs_get_stats(direct_pool, &s);
    return s.objects;
}

uint64_t direct_seed(uint64_t word)
{
    return word >> ZS_W_USER_BITS;
}

uint32_t direct_size(uint64_t seed)
{
    return 1 + (uint32_t)(seed * 7919 % DIRECT_MOST);
}

int direct_try_put(uint32_t index, uint64_t seed, uint64_t *word)
{
    char buf[DIRECT_MOST];
    uint64_t name;
    int err;

    fill_bytes(buf, direct_size(seed), seed);
    err = zs_direct_put(direct_pool, index, buf, direct_size(seed), 0, &name);
    if (err == 0) {
        assert_int_equal(name & ~ZS_W_NAME, 0);
        assert_true(name & ZS_W_OBJECT);
        *word = name | seed << ZS_W_USER_BITS;
    }
    return err;
}

/* An object for this entry that nobody knows yet. */
uint64_t direct_put(uint32_t index, uint64_t seed)
{
    uint64_t word = 0;

    assert_int_equal(direct_try_put(index, seed, &word), 0);
    return word;
}

void direct_swap_in(uint32_t index, uint64_t word)
{
    zs_direct_free(direct_pool, index, atomic_exchange(&direct_table[index], word));
}

uint64_t direct_set(uint32_t index, uint64_t seed)
{
    uint64_t word = direct_put(index, seed);

    direct_swap_in(index, word);
    return word;
}

int direct_get(uint32_t index, uint64_t word)
{
    char buf[DIRECT_MOST];
    uint64_t seed = direct_seed(word);
    int err = zs_direct_get(direct_pool, index, word, buf, direct_size(seed));

    return err ? err : bytes_are(buf, direct_size(seed), seed) ? RIGHT : WRONG;
}

uint64_t direct_now(uint32_t index)
{
    return atomic_load(&direct_table[index]);
}

void direct_all_right(void)
{
    for (uint32_t i = 0; i < direct_entries; i++) {
        if (direct_now(i) & ZS_W_OBJECT)
            assert_int_equal(direct_get(i, direct_now(i)), RIGHT);
    }
}

void direct_change(uint32_t index)
{
    uint64_t word = direct_now(index), seed = direct_seed(word) ^ 1;

    assert_true(atomic_compare_exchange_strong(&direct_table[index], &word,
                                               (word & ((UINT64_C(1) << ZS_W_USER_BITS) - 1)) |
                                                   seed << ZS_W_USER_BITS));
}

/* Something that happens once at a trace point, in the thread that comes there. */
static enum kli_trace_point when;
static void (*what)(uint32_t index);
unsigned direct_happened;

static void hook(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    void (*now_do)(uint32_t) = what;

    (void)a, (void)b;
    if (point != when || !now_do)
        return;
    what = NULL; /* what is done there may come here again */
    direct_happened++;
    now_do((uint32_t)c);
}

void direct_happens_at(enum kli_trace_point point, void (*fn)(uint32_t index))
{
    when = point;
    what = fn;
    direct_happened = 0;
#if KL_DEBUG
    atomic_store(&kli_trace_hook, hook);
#else
    (void)hook;
    skip();
#endif
}

void direct_nothing_more(void)
{
#if KL_DEBUG
    atomic_store(&kli_trace_hook, NULL);
#endif
}
