// SPDX-License-Identifier: Apache-2.0
/* Page pools for KLOTSKI_TORTURE_SECONDS (default 5), all in one zone:
 *
 *   users     two threads get units of three pools (single frames, cached; larger ones,
 *             cached with low ones and marks; uncached), search them for secrets, write
 *             their name over them, look whether it is still there, give them back, to the
 *             pool, to another pool of the same owner, or to the zone
 *   tenant    a thread allocates and frees movable frames, so that idle units go astray
 *   changer   trims, prefills, asks for figures; makes and destroys a pool of its own
 *   takers    two threads give blocks back, lend them, compact, take contiguous ranges and
 *             write secrets into them
 *   stepper   shrinks the zone, and does its background work
 *
 * Whatever is handed out is zero, and nobody else's: the name of its user stays in it.
 */
#include "support/mover.h"
#include "support/torture.h"
#include "support/units.h"

#include <string.h>

enum { ZONE_BLOCKS = 24, ORDER = 6, POOLS = 4, HELD = 60 };

static struct fixture f;
static kl_owner_id shared;
static struct kl_pool *pools[POOLS];
static const unsigned orders[POOLS] = {0, 3, 1, 0};
static _Atomic uint64_t moved, given, ranges, names;

struct held {
    kl_pfn pfn;
    uint64_t name; /* 0: none */
};

static void write_name(const struct held *h, unsigned order)
{
    uint64_t *mem = kl_frame_addr(f.zone, h->pfn);

    for (size_t i = 0; i < (4096u << order) / 8; i++)
        mem[i] = h->name;
    kl_frame_set_private(f.zone, h->pfn, h->name);
}

static bool has_name(const struct held *h, unsigned order)
{
    const uint64_t *mem = kl_frame_addr(f.zone, h->pfn);
    size_t n = (4096u << order) / 8;

    return mem[0] == h->name && memcmp(mem, mem + 1, (n - 1) * 8) == 0 &&
           kl_frame_private(f.zone, h->pfn) == h->name;
}

static void get(struct held *h, unsigned p, struct rng *rng)
{
    static const unsigned flags[] = {0, KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK, KL_NO_MOVE};
    unsigned flag = flags[rng_below(rng, 5)];
    int err;

    if (p == 1 && rng_below(rng, 3) == 0)
        flag |= KL_POOL_LOW;
    err = kl_pool_alloc(pools[p], flag, &h->pfn);
    torture_expect(err == 0 || err == -KL_ENOMEM, "an alloc failed oddly");
    if (err)
        return;
    torture_expect(!(flag & KL_POOL_LOW) || kl_pfn_nr(h->pfn) + 8 <= 4 << ORDER,
                   "a low one is high");
    torture_expect(unit_is_zero(f.zone, h->pfn, orders[p]), "somebody else's data");
    /* Small ones, too, so that a stale private word may look like a slot's. */
    h->name = atomic_fetch_add(&names, 1) % (rng_below(rng, 2) ? 100 : UINT64_MAX) + 1;
    write_name(h, orders[p]);
}

static void put(struct held *h, unsigned p, struct rng *rng)
{
    unsigned to = p == 0 || p == 3 ? 3 * rng_below(rng, 2) : p; /* 0 and 3 have one owner */
    int err;

    torture_expect(has_name(h, orders[p]), "somebody else has it, too");
    if (rng_below(rng, 10) == 0)
        err = kl_frame_free(f.zone, kl_pool_owner(pools[p]), h->pfn);
    else
        err = kl_pool_free(pools[to], h->pfn);
    torture_expect(err == 0, "a free failed");
    h->name = 0;
}

static void *users(void *arg)
{
    static struct held all[2][POOLS][HELD];
    uintptr_t me = (uintptr_t)arg;
    struct rng rng = rng_new(me);

    while (torture_on()) {
        unsigned p = rng_below(&rng, POOLS);
        struct held *h = &all[me][p][rng_below(&rng, HELD)];

        if (h->name == 0)
            get(h, p, &rng);
        else if (rng_below(&rng, 4) == 0)
            torture_expect(has_name(h, orders[p]), "a unit in use has changed");
        else
            put(h, p, &rng);
    }
    for (unsigned p = 0; p < POOLS; p++) {
        for (unsigned i = 0; i < HELD; i++) {
            if (all[me][p][i].name)
                put(&all[me][p][i], p, &rng);
        }
    }
    return NULL;
}

static struct mover m;

static void *tenant(void *arg)
{
    enum { ITEMS = 400 };
    static bool here[ITEMS];
    struct rng rng = rng_new(400);

    (void)arg;
    while (torture_on()) {
        unsigned i = rng_below(&rng, ITEMS);

        if (!here[i]) {
            here[i] = mover_alloc(&m, i, rng_below(&rng, 3), KL_MOVABLE | KL_NO_SHRINK) == 0;
        } else if (rng_below(&rng, 2)) {
            torture_expect(mover_right(&m, i), "an item is wrong");
        } else {
            torture_expect(mover_free(&m, i), "an item was wrong when it was freed");
            here[i] = false;
        }
    }
    return NULL;
}

static void whole_life(struct rng *rng)
{
    const struct kl_pool_config config = {.size = sizeof(config),
                                          .order = rng_below(rng, 3),
                                          .limit = 1 + rng_below(rng, 40),
                                          .kind = (enum kl_pool_kind)rng_below(rng, 2),
                                          .low_below = rng_below(rng, 2) ? 4 << ORDER : 0};
    struct kl_pool *pool;
    kl_pfn pfn[20];
    unsigned n = 0;
    int err = kl_pool_create(f.zone, &config, &pool);

    torture_expect(err == 0, "a pool can't be made");
    if (err)
        return;
    (void)kl_pool_prefill(pool, KL_NO_SHRINK, config.limit / 2);
    while (n < 20 && kl_pool_alloc(pool, KL_NOWAIT, &pfn[n]) == 0)
        torture_expect(unit_is_zero(f.zone, pfn[n++], config.order), "somebody else's data");
    while (n > 0) {
        unit_fill(f.zone, pfn[--n], config.order);
        torture_expect(kl_pool_free(pool, pfn[n]) == 0, "a free failed");
    }
    torture_expect(kl_pool_destroy(pool) == 0, "a pool can't be destroyed");
}

static void *changer(void *arg)
{
    struct rng rng = rng_new(100);

    (void)arg;
    while (torture_on()) {
        struct kl_pool *pool = pools[rng_below(&rng, POOLS)];
        struct kl_pool_stats s = {.size = sizeof(s)};
        int err;

        switch (rng_below(&rng, 4)) {
        case 0:
            kl_pool_trim(pool, rng_below(&rng, 50));
            break;
        case 1:
            err = kl_pool_prefill(pool, rng_below(&rng, 2) ? KL_NOWAIT : 0, rng_below(&rng, 40));
            torture_expect(err == 0 || err == -KL_ENOMEM || err == -KL_ENOSPC,
                           "a prefill failed oddly");
            break;
        case 2:
            kl_pool_get_stats(pool, &s);
            torture_expect(s.spoiled <= s.moved + 1, "figures are odd");
            break;
        case 3:
            whole_life(&rng);
            break;
        }
    }
    return NULL;
}

static void take_range(struct rng *rng, kl_owner_id owner, struct kl_report *r)
{
    uint32_t n = 1 + rng_below(rng, 100);
    kl_pfn first;

    if (kl_contig_alloc(f.zone, owner, n, 1u << rng_below(rng, 6), (enum kl_mode)rng_below(rng, 3),
                        &first, r) != 0)
        return;
    memset(kl_frame_addr(f.zone, first), 0xa5, (size_t)n * 4096);
    torture_expect(kl_contig_free(f.zone, owner, first, n) == 0, "a range can't be freed");
    atomic_fetch_add(&ranges, 1);
}

static void *taker(void *arg)
{
    struct rng rng = rng_new(200 + (uintptr_t)arg);
    kl_owner_id owner;
    uint32_t held = 0;

    kl_owner_register(f.zone, NULL, NULL, &owner);
    while (torture_on()) {
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        struct kl_report r = {.size = sizeof(r)};
        uint32_t n = 1 + rng_below(&rng, ZONE_BLOCKS / 4);

        switch (rng_below(&rng, 4)) {
        case 0:
            if (kl_zone_give_back(f.zone, n, mode, &r) == 0) {
                held += n;
                atomic_fetch_add(&given, n);
            }
            break;
        case 1:
            if (held > 0 && kl_zone_lend(f.zone, held) == 0)
                held = 0;
            break;
        case 2:
            kl_zone_compact(f.zone, mode, rng_below(&rng, 200), &r);
            break;
        case 3:
            take_range(&rng, owner, &r);
            break;
        }
        torture_expect_outcomes(&r);
        atomic_fetch_add(&moved, r.migrated);
    }
    if (held > 0)
        torture_expect(kl_zone_lend(f.zone, held) == 0, "what was taken can't be lent");
    torture_expect(kl_owner_unregister(f.zone, owner) == 0, "a range was left");
    return NULL;
}

static void *stepper(void *arg)
{
    struct rng rng = rng_new(300);

    (void)arg;
    while (torture_on()) {
        struct kl_step step = {.size = sizeof(step), .budget = 1 + rng_below(&rng, 100)};

        if (rng_below(&rng, 8) == 0)
            (void)kl_zone_shrink(f.zone, rng_below(&rng, 100), (enum kl_mode)rng_below(&rng, 3));
        else
            (void)kl_zone_step(f.zone, &step, NULL);
    }
    return NULL;
}

static void open_pools(void)
{
    struct kl_pool_config configs[POOLS] = {
        {.owner = shared, .limit = 200},
        {.order = 3, .low_below = 4 << ORDER, .low = 4, .high = 8, .limit = 30},
        {.order = 1, .kind = KL_POOL_UNCACHED, .limit = 40},
        {.owner = shared, .limit = 3},
    };

    for (unsigned p = 0; p < POOLS; p++) {
        configs[p].size = sizeof(configs[p]);
        assert_int_equal(kl_pool_create(f.zone, &configs[p], &pools[p]), 0);
    }
}

static struct kl_pool_stats all_pools(void)
{
    struct kl_pool_stats sum = {.size = sizeof(sum)};

    for (unsigned p = 0; p < POOLS; p++) {
        struct kl_pool_stats s = pool_stats(pools[p]);

        sum.hits += s.hits;
        sum.hot += s.hot;
        sum.misses += s.misses;
        sum.moved += s.moved;
        sum.put_back += s.put_back;
        sum.lent_astray += s.lent_astray;
        sum.shrunk += s.shrunk;
    }
    return sum;
}

static const char *missing(void)
{
    struct kl_pool_stats sum = all_pools();
    const struct torture_count counts[] = {
        {sum.hits, "no idle unit was used again"},
        {sum.moved, "no unit was moved"},
        {sum.shrunk, "no unit was given to a shrinker"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static void pools_at_work(void **state)
{
    static void *(*const bodies[])(void *) = {users, users, tenant, changer, taker, taker, stepper};
    struct kl_pool_stats sum;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &shared), 0);
    open_pools();
    mover_open(&m, f.zone, MOVER_SINGLE);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    sum = all_pools();
    for (unsigned p = 0; p < POOLS; p++)
        assert_pool_ok(pools[p]);
    assert_zone_ok(f.zone);
    print_message("# %llu operations; %llu hits, %llu hot, %llu misses, %llu units moved, "
                  "%llu put back, %llu lent astray, %llu shrunk; %llu blocks, %llu ranges taken\n",
                  torture_ops(), (unsigned long long)sum.hits, (unsigned long long)sum.hot,
                  (unsigned long long)sum.misses, (unsigned long long)sum.moved,
                  (unsigned long long)sum.put_back, (unsigned long long)sum.lent_astray,
                  (unsigned long long)sum.shrunk, (unsigned long long)atomic_load(&given),
                  (unsigned long long)atomic_load(&ranges));
    for (unsigned p = 0; p < POOLS; p++)
        assert_int_equal(kl_pool_destroy(pools[p]), 0);
    mover_close(&m);
    assert_int_equal(kl_owner_unregister(f.zone, shared), 0);
    fixture_close(&f);
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pools_at_work)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
