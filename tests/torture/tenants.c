// SPDX-License-Identifier: Apache-2.0
/* All tenants in one zone, for KLOTSKI_TORTURE_SECONDS (default 5):
 *
 *   users     two threads get units of four page pools, cached ones, low ones, an uncached
 *             one whose zeroing fails now and then; two pools have one owner
 *   rangers   two threads allocate ranges of two areas, and release them, whole or in parts
 *   items     two threads allocate, free and pin frames of test owners, shortly or as objects
 *   lives     a thread makes a zsmalloc pool, fills it until it learns, checks and ends it
 *   keeper    a thread writes, reads, discards and writes back blocks of a store, whose target is
 *             slow, full, fails, lies, stalls, is gone
 *   takers    two threads give back, lend, resize, compact, discard, trim, take ranges, make an
 *             area of their own for a moment
 *   tuner     changes shares, marks, pressure, and how areas keep what is released
 *   guests    a thread registers shrinkers that lie, and takes them away
 *   faults    every second quarter of a second metadata, memory, its return or its discard is
 *             refused now and then
 * and a worker does the zone's steps.
 *
 * No frame has two users (a table says whose it is), every content is as it was written,
 * pools' units and areas' ranges are zero, and at the end everything is recounted. */
#include "torture/tenants.h"

#include "support/shake.h"
#include "support/units.h"
#include "support/weather.h"

#include <string.h>
#include <time.h>

enum { STORED = 300, BLOCK = 4096, TARGET_UNITS = 2000, GUESTS = 6 };

struct fixture f;
struct kl_pool *pools[POOLS];
const unsigned orders[POOLS] = {0, 2, 1, 0};
struct kl_cma *area[AREAS];
const uint32_t base[AREAS] = {8 * PER, 40 * PER}, size[AREAS] = {8 * PER, 12 * PER};
struct mover movers[2];
_Atomic uint64_t names, learned, got[GOT];

static kl_owner_id shared;
static struct kl_store *store;
static struct fake_target target;
static struct weather weather = {.target = &target};
static atomic_bool calm;
static _Atomic uint64_t refusals; /* times that they began or ended; odd: they are on */
static _Atomic uint64_t moved, kept, scans;
static _Atomic uint32_t user[FRAMES]; /* 0: nobody */

void enter(uint32_t nr, uint32_t n, uint32_t who)
{
    for (uint32_t i = nr; i < nr + n; i++)
        torture_expect(atomic_exchange(&user[i], who) == 0, "a frame has two users");
}

void leave(uint32_t nr, uint32_t n, uint32_t who)
{
    for (uint32_t i = nr; i < nr + n; i++)
        torture_expect(atomic_exchange(&user[i], 0) == who, "a frame was another's");
}

/* ---- a store ---- */

static uint64_t seed_of[STORED]; /* 0: zero */

static void block_make(char *buf, uint64_t seed)
{
    memset(buf, 0, BLOCK);
    if (seed)
        fill_bytes(buf, seed % 8 ? 1000 + seed % 64 : BLOCK, seed % 4096 + 1);
}

static int block_check(unsigned block)
{
    char buf[BLOCK], want[BLOCK];
    uint64_t then = weather_now(&weather);
    int err = kl_store_read(store, block, 0, buf, BLOCK);

    torture_expect(err == -KL_ENOMEM || weather_may(&weather, then, err), "a block can't be read");
    block_make(want, seed_of[block]);
    torture_expect(err || memcmp(buf, want, BLOCK) == 0, "a block is wrong");
    return err;
}

static void block_write(unsigned block, uint64_t seed)
{
    uint64_t then = weather_now(&weather);
    char buf[BLOCK];
    int err;

    block_make(buf, seed);
    err = seed ? kl_store_write(store, block, 0, buf, BLOCK)
               : kl_store_discard(store, block, 0, BLOCK);
    torture_expect(err == -KL_ENOSPC || err == -KL_ENOMEM || weather_may(&weather, then, err),
                   "a block can't be written");
    if (!err)
        seed_of[block] = seed;
    atomic_fetch_add_explicit(&got[GOT_BLOCKS], err == 0, memory_order_relaxed);
}

static void *keeper(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);

    while (torture_on()) {
        unsigned block = rng_below(&rng, STORED), what = rng_below(&rng, 16);

        if (what < 8)
            block_write(block, what ? rng.state | 1 : 0);
        else if (what < 14)
            (void)block_check(block);
        else if (what == 14)
            (void)kl_store_age(store, rng_below(&rng, STORED));
        else if (rng_below(&rng, 10))
            (void)kl_store_compact(store, 1 + rng_below(&rng, 100));
        else
            (void)kl_store_writeback_now(store, 1 + rng_below(&rng, 20), rng_below(&rng, 2));
    }
    return NULL;
}

/* ---- those in their way ---- */

static void take_range(struct rng *rng, kl_owner_id owner, uint32_t me, struct kl_report *r)
{
    uint32_t n = 1 + rng_below(rng, 100);
    kl_pfn first;

    if (kl_contig_alloc(f.zone, owner, n, 1u << rng_below(rng, 6), (enum kl_mode)rng_below(rng, 3),
                        &first, r) != 0)
        return;
    enter(kl_pfn_nr(first), n, me);
    memset(kl_frame_addr(f.zone, first), 0xa5, (size_t)n * FRAME);
    leave(kl_pfn_nr(first), n, me);
    torture_expect(kl_contig_free(f.zone, owner, first, n) == 0, "a range can't be freed");
}

/* An area that comes and goes, anywhere. */
static void area_life(struct rng *rng, uint32_t me)
{
    const struct kl_cma_config c = {.size = sizeof(c),
                                    .name = "guest",
                                    .frames = 2 * PER,
                                    .order_per_bit = rng_below(rng, 3),
                                    .defer_bytes = rng_below(rng, 2) ? UINT64_MAX : 0};
    struct kl_cma *guest;
    kl_pfn first;
    int err = kl_cma_create(f.zone, &c, &guest);

    torture_expect(err == 0 || err == -KL_EBUSY || err == -KL_ENOMEM, "no area, oddly");
    if (err)
        return;
    if (kl_cma_alloc(guest, 60, 1, 0, (enum kl_mode)rng_below(rng, 3), &first, NULL) == 0) {
        enter(kl_pfn_nr(first), 60, me);
        memset(kl_frame_addr(f.zone, first), 0xb6, 60 * FRAME);
        leave(kl_pfn_nr(first), 60, me);
        torture_expect(kl_cma_release(guest, first, 60) == 0, "a release was refused");
    }
    torture_expect(kl_cma_destroy(guest) == 0, "an area can't end");
}

static void shake(struct rng *rng, uint32_t *held, kl_owner_id owner, uint32_t me)
{
    enum kl_mode mode = (enum kl_mode)rng_below(rng, 3);
    struct kl_report r = {.size = sizeof(r)};
    uint64_t then = atomic_load(&refusals);
    uint32_t n = 1 + rng_below(rng, 8);

    switch (rng_below(rng, 9)) {
    case 0:
        *held += kl_zone_give_back(f.zone, n, mode, &r) == 0 ? n : 0;
        break;
    case 1:
        if (*held > 0 && kl_zone_lend(f.zone, *held) == 0)
            *held = 0;
        break;
    case 2:
        (void)kl_zone_compact(f.zone, mode, rng_below(rng, 300), &r);
        break;
    case 3:
        (void)kl_zone_trim(f.zone, rng_below(rng, 4));
        break;
    case 4:
        take_range(rng, owner, me, &r);
        break;
    case 5:
        (void)kl_zone_resize(f.zone, ZONE_BLOCKS - n + 1, mode, &r);
        break;
    case 6:
        torture_expect(kl_zone_discard(f.zone, rng_below(rng, 500)) >= 0 || then % 2 ||
                           atomic_load(&refusals) != then,
                       "a discard failed");
        break;
    case 7:
        area_life(rng, me);
        break;
    default:
        shake_block(f.zone, rng_below(rng, ZONE_BLOCKS), mode, &r);
        break;
    }
    torture_expect(r.isolated == r.migrated + r.put_back + r.freed, "an isolation has no outcome");
    atomic_fetch_add(&moved, r.migrated);
}

static void *takers(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg + 1, held = 0;
    struct timespec nap = {.tv_nsec = 100000};
    struct rng rng = rng_new(me);
    kl_owner_id owner;

    torture_expect(kl_owner_register(f.zone, NULL, NULL, &owner) == 0, "no owner");
    while (torture_on()) {
        shake(&rng, &held, owner, me);
        nanosleep(&nap, NULL);
    }
    torture_expect(held == 0 || kl_zone_lend(f.zone, held) == 0, "can't be lent again");
    torture_expect(kl_owner_unregister(f.zone, owner) == 0, "a range was left");
    return NULL;
}

static void change_share(struct rng *rng)
{
    const kl_owner_id owners[] = {shared, movers[0].owner, movers[1].owner,
                                  kl_pool_owner(pools[1])};
    struct kl_share share = {.size = sizeof(share)};
    int err;

    if (rng_below(rng, 3)) {
        share.hard = 1 + rng_below(rng, 1500);
        share.soft = rng_below(rng, (uint32_t)share.hard);
    }
    err = kl_owner_set_share(f.zone, owners[rng_below(rng, 4)], &share);
    torture_expect(err == 0 || err == -KL_EBUSY, "an odd answer to a share");
}

static void change_marks(struct rng *rng)
{
    struct kl_zone_marks marks = {.size = sizeof(marks)};

    kl_zone_get_marks(f.zone, &marks);
    marks.reserve = rng_below(rng, 3) ? 0 : rng_below(rng, 100);
    marks.low = marks.reserve + rng_below(rng, 100);
    marks.high = marks.low + rng_below(rng, 100);
    torture_expect(kl_zone_set_marks(f.zone, &marks) == 0, "marks were refused");
}

static void *tuner(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);
    struct timespec nap = {.tv_nsec = 200000};

    while (torture_on()) {
        struct kl_cma *one = area[rng_below(&rng, AREAS)];
        struct kl_cma_stats s = {.size = sizeof(s)};

        switch (rng_below(&rng, 7)) {
        case 0:
            change_share(&rng);
            break;
        case 1:
            kl_zone_pressure(f.zone, (enum kl_pressure_level)rng_below(&rng, 3),
                             rng_below(&rng, 1 << 20));
            break;
        case 2:
            kl_cma_defer(one, rng_below(&rng, 300) * FRAME, rng_below(&rng, 3) * 500000u);
            break;
        case 3:
            kl_cma_defer(one, rng_below(&rng, 3) ? UINT64_MAX : 0, 0);
            break;
        case 4:
            change_marks(&rng);
            break;
        case 5:
            torture_expect(kl_zone_shrink(f.zone, rng_below(&rng, 50), KL_ASYNC) >= 0, "refused");
            break;
        default:
            kl_cma_get_stats(one, &s);
            torture_expect(s.allocated_frames + s.kept_frames + s.available_frames == s.frames,
                           "figures make no sense");
            atomic_fetch_add(&kept, s.kept_frames);
        }
        nanosleep(&nap, NULL);
    }
    kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0);
    return NULL;
}

/* What a shrinker says, which has nothing. */
static uint64_t lie(void *ctx)
{
    static const uint64_t lies[] = {0, 5, 5000, UINT64_C(1) << 40, KL_SHRINK_EMPTY};

    torture_expect(*(atomic_bool *)ctx, "a callback of one that is gone");
    return lies[atomic_fetch_add(&scans, 1) % 5];
}

static uint64_t guest_count(void *ctx, const struct kl_shrink *shrink)
{
    (void)shrink;
    return lie(ctx);
}

static uint64_t guest_scan(void *ctx, struct kl_shrink *shrink)
{
    (void)shrink;
    return lie(ctx);
}

static void *guests(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);
    struct timespec nap = {.tv_nsec = 300000};
    atomic_bool here[GUESTS] = {false};
    kl_shrinker_id id[GUESTS] = {{0}};

    for (bool on = true; on;) {
        unsigned i = rng_below(&rng, GUESTS);
        struct kl_shrinker_ops ops = {.size = sizeof(ops), .name = "guest", .count = guest_count};

        on = torture_on();
        ops.scan = guest_scan;
        ops.seeks = rng_below(&rng, 3);
        ops.owner = rng_below(&rng, 2) ? shared : (kl_owner_id){0};
        for (unsigned k = 0; k < GUESTS; k++) {
            if ((on && k != i) || !here[k])
                continue;
            torture_expect(kl_shrinker_unregister(f.zone, id[k]) == 0, "can't be unregistered");
            here[k] = false;
        }
        if (on && rng_below(&rng, 2)) {
            here[i] = true;
            if (kl_shrinker_register(f.zone, &ops, &here[i], &id[i]) != 0)
                here[i] = false;
        }
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void *refuser(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);
    struct timespec nap = {.tv_nsec = 500000};

    for (unsigned i = 0; torture_on(); i++) {
        if (i % 500 == 0)
            atomic_fetch_add(&refusals, 1);
        if (i % 1000 < 500)
            fault_set((enum fault)rng_below(&rng, FAULTS), 1 + (int)rng_below(&rng, 10));
        for (unsigned k = 0; i % 1000 == 499 && k < FAULTS; k++)
            fault_set((enum fault)k, 0);
        nanosleep(&nap, NULL);
    }
    for (unsigned k = 0; k < FAULTS; k++)
        fault_set((enum fault)k, 0);
    return NULL;
}

static void *sky(void *arg)
{
    struct rng rng = rng_new((uintptr_t)arg);

    while (torture_on()) {
        struct timespec nap = {.tv_nsec = (long)rng_below(&rng, 12000000)};

        weather_change(&weather, &rng);
        nanosleep(&nap, NULL);
    }
    return NULL;
}

/* ---- all of it ---- */

static int flaky_zero(void *ctx, kl_pfn pfn, unsigned order)
{
    (void)ctx;
    if (!atomic_load(&calm) && atomic_fetch_add(&names, 1) % 16 == 0)
        return -KL_EIO;
    memset(kl_frame_addr(f.zone, pfn), 0, (size_t)FRAME << order);
    return 0;
}

static void open_pools(void)
{
    struct kl_pool_config configs[POOLS] = {
        {.owner = shared, .limit = 200},
        {.order = 2, .low_below = 20 * PER, .low = 4, .high = 8, .limit = 30},
        {.order = 1, .kind = KL_POOL_UNCACHED, .limit = 40, .zero = flaky_zero},
        {.owner = shared, .limit = 3},
    };

    for (unsigned p = 0; p < POOLS; p++) {
        configs[p].size = sizeof(configs[p]);
        assert_int_equal(kl_pool_create(f.zone, &configs[p], &pools[p]), 0);
    }
}

static void open_areas(void)
{
    for (unsigned i = 0; i < AREAS; i++) {
        struct kl_cma_config c = {.size = sizeof(c),
                                  .name = i ? "second" : "first",
                                  .base = kl_zone_pfn(f.zone, base[i]),
                                  .frames = size[i],
                                  .order_per_bit = i * 2,
                                  .defer_bytes = UINT64_MAX};

        assert_int_equal(kl_cma_create(f.zone, &c, &area[i]), 0);
        mover_open(&movers[i], f.zone, i ? MOVER_ASYNC : MOVER_BATCH);
        atomic_store(&movers[i].refuse, 5);
        atomic_store(&movers[i].busy, 10);
        atomic_store(&movers[i].fail, 2);
    }
}

static void open_store(void)
{
    struct kl_codec codec;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = STORED,
                                     .block_bytes = BLOCK,
                                     .codec = &codec,
                                     .limit_bytes = 90 * FRAME,
                                     .idle_ns = 2000000,
                                     .flags = KL_STORE_DEDUP,
                                     .hash = kl_linux_hash};
    struct kl_writeback_config back = {.size = sizeof(back),
                                       .target = &target.target,
                                       .start_percent = 70,
                                       .stop_percent = 55,
                                       .age = 1,
                                       .flags = KL_WRITEBACK_RAW,
                                       .timeout_ns = 20000000};

    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    fake_target_open(&target, TARGET_UNITS * KL_TARGET_UNIT,
                     KL_TARGET_NEEDS_FLUSH | KL_TARGET_CAN_TRIM);
    assert_int_equal(kl_store_writeback_start(store, &back), 0);
}

/* The walk of a first share wants its owner not to allocate. */
static void first_shares(void)
{
    const kl_owner_id owners[] = {shared, movers[0].owner, movers[1].owner,
                                  kl_pool_owner(pools[1])};
    const struct kl_share share = {.size = sizeof(share), .soft = FRAMES, .hard = FRAMES};

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(kl_owner_set_share(f.zone, owners[i], &share), 0);
}

static void check_store(void)
{
    struct kl_writeback_stats back = {.size = sizeof(back)};

    for (unsigned i = 0; i < STORED; i++) {
        int err;

        do { /* the timeout is short, and the machine may be slow */
            err = block_check(i);
        } while (err == -KL_ETIMEDOUT);
        assert_int_equal(err, 0);
    }
    do {
        kl_store_writeback(store, 1);
        kl_store_writeback_stats(store, &back);
    } while (back.pending > 0);
    assert_zs_ok(kl_store_zs(store));
    assert_store_ok(store);
}

static void check_all(void)
{
    const char *what = NULL;

    for (unsigned p = 0; p < POOLS; p++)
        assert_pool_ok(pools[p]);
    for (unsigned i = 0; i < AREAS; i++) {
        if (kl_cma_check(area[i], &what))
            fail_msg("broken: %s", what);
        mover_all_right(&movers[i]);
    }
    for (unsigned i = 0; i < FRAMES; i++)
        assert_int_equal(atomic_load(&user[i]), 0);
    check_store();
    assert_zone_ok(f.zone);
}

static void close_all(void)
{
    assert_int_equal(kl_store_destroy(store), 0);
    fake_target_close(&target);
    for (unsigned p = 0; p < POOLS; p++)
        assert_int_equal(kl_pool_destroy(pools[p]), 0);
    for (unsigned i = 0; i < AREAS; i++) {
        mover_close(&movers[i]);
        assert_int_equal(kl_cma_destroy(area[i]), 0);
    }
    assert_int_equal(kl_owner_unregister(f.zone, shared), 0);
    fixture_close(&f);
}

static const char *pool_missing(struct kl_pool *pool)
{
    struct kl_pool_stats s = pool_stats(pool);
    const struct torture_count counts[] = {
        {s.returned, "no unit came back to a pool"},
        {s.shrunk + s.trimmed, "no idle unit was freed"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static const char *kind_missing(const struct kl_writeback_stats *back)
{
    const struct torture_count counts[] = {
        {got[GOT_UNITS], "no unit of a pool"},
        {got[GOT_RANGES], "no range of an area"},
        {got[GOT_ITEMS], "no item"},
        {got[GOT_BLOCKS], "no block of the store was written"},
        {back->written, "no block left memory"},
        {back->read, "no block was read on the target"},
        {moved, "nothing was moved"},
        {kept, "no area kept anything"},
        {scans, "no guest was asked"},
        {learned, "no pool learned"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static const char *missing(void)
{
    struct kl_writeback_stats back = {.size = sizeof(back)};
    const char *what = NULL;

    kl_store_writeback_stats(store, &back);
    for (unsigned p = 0; p < POOLS && !what; p++)
        what = pool_missing(pools[p]);
    return what ? what : kind_missing(&back);
}

static void all_tenants_in_one_zone(void **state)
{
    static void *(*const bodies[])(void *) = {users, users,  rangers, rangers, items,
                                              items, lives,  keeper,  takers,  takers,
                                              tuner, guests, refuser, sky};
    struct kl_linux_worker_config worker_config = {.size = sizeof(worker_config), .percent = 50};
    struct kl_linux_worker *worker;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &shared), 0);
    open_pools();
    open_areas();
    open_store();
    first_shares();
    assert_int_equal(kl_linux_worker_create(f.zone, &worker_config, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    kl_linux_worker_destroy(worker);
    atomic_store(&calm, true);
    check_all();
    close_all();
    print_message("# %llu operations: %llu units, %llu ranges, %llu items, %llu blocks; "
                  "%llu pools learned, %llu moved, %llu scans\n",
                  torture_ops(), (unsigned long long)got[GOT_UNITS],
                  (unsigned long long)got[GOT_RANGES], (unsigned long long)got[GOT_ITEMS],
                  (unsigned long long)got[GOT_BLOCKS], (unsigned long long)learned,
                  (unsigned long long)moved, (unsigned long long)scans);
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_tenants_in_one_zone)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
