// SPDX-License-Identifier: Apache-2.0
/* Everything at once in one zone, for KLOTSKI_TORTURE_SECONDS (default 5):
 *
 *   objects   two threads allocate, free, read, write and pin zsmalloc objects
 *   blocks    two threads write, read and discard blocks of one store
 *   items     a thread allocates, frees and pins frames of a test owner, which
 *             refuses, is busy and fails at random, in all three kinds; some are
 *             pinned together, as one object, after they have settled
 *   asker     asks who is in the way
 *   shaker    moves single blocks' frames; faults are injected as it goes
 *   takers    two threads take blocks from the system's side, lend them, compact,
 *             take contiguous ranges, and resize the zone
 *   compactor moves objects, makes blocks older and recompresses those that are old
 *   writeback has blocks written to a target and does the zone's steps; resets now and then
 *   weather   the target is slow, full, fails, lies, stalls, is gone, and comes back
 *
 * Every content is checked whenever it is looked at; at the end every module's
 * recount runs, and every isolation has had exactly one outcome.
 */
#include "support/torture.h"
#include "support/mover.h"
#include "support/shake.h"
#include "support/weather.h"

#include <string.h>
#include <time.h>

enum { DUPLICATES = 30 };
enum { OBJECTS = 1500, BLOCKS = 400, BLOCK = 4096, ITEMS = 300, ZONE_BLOCKS = 96 };

static struct fixture f;
static struct kl_zs *pool;
static struct kl_store *store;
static struct fake_target target;
static struct weather weather = {.target = &target};
static struct mover movers[3];
static _Atomic uint64_t moves, taken, ranges, held_objects;

struct object {
    kl_handle handle;
    uint32_t size;
    uint64_t seed;
};

static void object_new(struct object *o, struct rng *rng, char *buf)
{
    o->size = 1 + rng_below(rng, rng_below(rng, 20) ? 5000 : KL_ZS_MAX_SIZE);
    o->seed = rng->state;
    if (kl_zs_malloc(pool, o->size, 0, &o->handle) != 0) {
        o->size = 0;
        return;
    }
    fill_bytes(buf, o->size, o->seed);
    torture_expect(kl_zs_write(pool, o->handle, 0, buf, o->size) == 0, "a write failed");
}

static void object_check(struct object *o, char *buf)
{
    torture_expect(kl_zs_read(pool, o->handle, 0, buf, o->size) == 0, "a read failed");
    torture_expect(bytes_are(buf, o->size, o->seed), "an object is wrong");
}

static void object_free(struct object *o)
{
    kl_handle stale = o->handle;

    torture_expect(kl_zs_free(pool, o->handle) == 0, "a free failed");
    torture_expect(kl_zs_free(pool, stale) == -KL_ESTALE, "a double free went through");
    o->size = 0;
}

/* In place, run by run, while it may be freed: the last end completes that. */
static void object_pin(struct object *o, struct rng *rng, char *buf)
{
    struct kl_zs_pin pin;
    size_t at = 0, len;
    char *run;

    if (kl_zs_begin(pool, o->handle, &pin) != 0) {
        torture_expect(false, "a begin failed");
        return;
    }
    for (; at < o->size && (run = kl_zs_run(&pin, at, &len)) != NULL; at += len)
        memcpy(buf + at, run, len < o->size - at ? len : o->size - at);
    torture_expect(bytes_are(buf, o->size, o->seed), "a pinned object is wrong");
    if (rng_below(rng, 2))
        object_free(o);
    kl_zs_end(&pin);
}

static void *objects(void *arg)
{
    struct object *o = calloc(OBJECTS, sizeof(*o));
    char *buf = malloc(KL_ZS_MAX_SIZE + 4096);
    struct rng rng = rng_new((uintptr_t)arg);

    while (torture_on()) {
        struct object *one = &o[rng_below(&rng, OBJECTS)];

        if (one->size == 0)
            object_new(one, &rng, buf);
        else if (rng_below(&rng, 3) == 0)
            object_free(one);
        else if (rng_below(&rng, 4) == 0)
            object_pin(one, &rng, buf);
        else
            object_check(one, buf);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (o[i].size == 0)
            continue;
        object_check(&o[i], buf);
        object_free(&o[i]);
    }
    free(o);
    free(buf);
    return NULL;
}

/* A block says itself what it should be: its number, and a seed.  Those of the few small
 * seeds are the same in every block, and share an object. */
static void block_make(char *buf, uint64_t block, uint64_t seed)
{
    if (seed < DUPLICATES)
        block = 0;
    memset(buf, (int)seed & 0x3f, BLOCK);
    fill_bytes(buf, 16 + seed % 3000 / 8 * 8, seed);
    for (int i = 0; i < BLOCK && seed % 2; i++)
        buf[i] &= 0x3f; /* the second compressor can do better */
    memcpy(buf + BLOCK - 16, &block, 8);
    memcpy(buf + BLOCK - 8, &seed, 8);
}

static void block_check(const char *buf, uint64_t block)
{
    static const char zero[BLOCK];
    char want[BLOCK];
    uint64_t seed;

    if (memcmp(buf, zero, BLOCK) == 0)
        return; /* discarded, or never written */
    memcpy(&seed, buf + BLOCK - 8, 8);
    block_make(want, block, seed);
    torture_expect(memcmp(buf, want, BLOCK) == 0, "a block of the store is a mixture");
}

static void *blocks(void *arg)
{
    struct rng rng = rng_new(100 + (uintptr_t)arg);
    char buf[BLOCK];

    while (torture_on()) {
        uint64_t block = rng_below(&rng, BLOCKS), then = weather_now(&weather);
        unsigned what = rng_below(&rng, 10);
        int err = 0;

        if (what == 0) {
            err = kl_store_discard(store, block, 0, BLOCK);
        } else if (what < 5) {
            block_make(buf, block, what < 3 ? rng_below(&rng, DUPLICATES) : rng.state);
            err = kl_store_write(store, block, 0, buf, BLOCK);
        } else {
            err = kl_store_read(store, block, 0, buf, BLOCK);
            if (err == 0)
                block_check(buf, block);
        }
        if (what < 5)
            torture_expect(err == 0 || err == -KL_ENOSPC || err == -KL_ENOMEM,
                           "the store failed oddly");
        else /* -KL_ENOMEM: no buffer for the target's answer */
            torture_expect(err == -KL_ENOMEM || weather_may(&weather, then, err),
                           "a block can't be read");
    }
    return NULL;
}

/* Objects of several items that one pin holds. */
enum { HOLDS = 24 };
static struct hold {
    struct mover *m; /* NULL: none */
    unsigned item[MOVER_HOLD], n;
    kl_pin_id pin;
} holds[HOLDS];

static void hold_end(struct hold *hold)
{
    for (unsigned i = 0; i < hold->n; i++)
        torture_expect(mover_right(hold->m, hold->item[i]), "a held item is wrong");
    torture_expect(kl_frame_free(f.zone, hold->m->owner, hold->m->item[hold->item[0]].pfn) ==
                       -KL_EBUSY,
                   "a held frame is freed");
    mover_let_go(hold->m, hold->item, hold->n, hold->pin);
    hold->m = NULL;
}

static void hold_begin(struct hold *hold, struct mover *m, struct rng *rng)
{
    kl_pfn before[MOVER_HOLD] = {{0}};
    int err;

    hold->n = 0;
    for (unsigned i = rng_below(rng, ITEMS); i < ITEMS && hold->n < MOVER_HOLD; i++) {
        if (m->item[i].here)
            hold->item[hold->n++] = i;
    }
    if (hold->n == 0)
        return;
    if (rng_below(rng, 2))
        (void)mover_settle(m, hold->item, hold->n, (enum kl_mode)rng_below(rng, 3));
    err = mover_hold(m, hold->item, hold->n, &hold->pin);
    torture_expect(err == 0 || err == -KL_EBUSY || err == -KL_ENOMEM,
                   "a pin of an object failed oddly");
    if (err)
        return;
    hold->m = m;
    atomic_fetch_add(&held_objects, 1);
    for (unsigned i = 0; i < hold->n; i++)
        before[i] = m->item[hold->item[i]].pfn;
    torture_expect(mover_settle(m, hold->item, hold->n, KL_ASYNC) != -KL_EINVAL,
                   "settling failed oddly");
    for (unsigned i = 0; i < hold->n; i++)
        torture_expect(before[i].v == m->item[hold->item[i]].pfn.v, "a held item has moved");
}

static void hold_step(struct mover *m, struct rng *rng)
{
    struct hold *hold = &holds[rng_below(rng, HOLDS)];

    if (hold->m)
        hold_end(hold);
    else
        hold_begin(hold, m, rng);
}

static void item_step(struct mover *m, struct rng *rng)
{
    unsigned i = rng_below(rng, ITEMS);
    struct item *item = &m->item[i];
    int err;

    if (!item->here) {
        err = mover_alloc(m, i, rng_below(rng, 10) ? 0 : rng_below(rng, 4),
                          rng_below(rng, 8) ? KL_MOVABLE : 0);
        torture_expect(err == 0 || err == -KL_ENOMEM, "an allocation failed oddly");
    } else if (item->pinned) {
        mover_unpin(m, i);
    } else if (rng_below(rng, 8) == 0) {
        err = mover_pin(m, i);
        torture_expect(err == 0 || err == -KL_EBUSY, "a pin failed oddly");
    } else if (rng_below(rng, 3) == 0 && item->held == 0) {
        torture_expect(mover_free(m, i), "an item was wrong when it was freed");
    } else {
        torture_expect(mover_right(m, i), "an item is wrong");
    }
}

static void *items(void *arg)
{
    struct rng rng = rng_new(200);

    (void)arg;
    while (torture_on()) {
        item_step(&movers[rng_below(&rng, 3)], &rng);
        if (rng_below(&rng, 20) == 0)
            hold_step(&movers[rng_below(&rng, 3)], &rng);
    }
    for (unsigned i = 0; i < HOLDS; i++) {
        if (holds[i].m)
            hold_end(&holds[i]);
    }
    return NULL;
}

/* Whatever the answer is, it is one. */
static void *asker(void *arg)
{
    static struct kl_obstacle list[64];
    struct timespec nap = {.tv_nsec = 300000};
    struct rng rng = rng_new(600);

    (void)arg;
    while (torture_on()) {
        struct kl_who who = {.size = sizeof(who)};
        int err = rng_below(&rng, 2) ? kl_zone_who(f.zone, 1 + rng_below(&rng, 200),
                                                   1u << rng_below(&rng, 8), &who, list, 64)
                                     : kl_zone_who_blocks(f.zone, 1 + rng_below(&rng, ZONE_BLOCKS),
                                                          &who, list, 64);

        torture_expect(err == 0 || err == -KL_ENOMEM, "a question failed oddly");
        torture_expect(who.listed == (who.found < 64 ? who.found : 64), "a list is cut short");
        for (uint32_t i = 0; i < who.listed; i++)
            torture_expect(list[i].kind > KL_IN_WAY_NOTHING && list[i].kind < KL_IN_WAY_NO_ROOM &&
                               list[i].block.v < ZONE_BLOCKS,
                           "an obstacle makes no sense");
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void add(const struct kl_report *r)
{
    torture_expect_outcomes(r);
    atomic_fetch_add(&moves, r->migrated);
}

static void *shaker(void *arg)
{
    struct rng rng = rng_new(300);

    (void)arg;
    while (torture_on()) {
        struct kl_report r = {.size = sizeof(r)};

        if (rng_below(&rng, 16) == 0)
            fault_set((enum fault)rng_below(&rng, FAULTS), 1 + (int)rng_below(&rng, 20));
        shake_block(f.zone, rng_below(&rng, ZONE_BLOCKS), (enum kl_mode)rng_below(&rng, 3), &r);
        add(&r);
    }
    return NULL;
}

static void take_range(kl_owner_id owner, struct rng *rng, enum kl_mode mode)
{
    uint32_t n = 1 + rng_below(rng, 200), align = 1u << rng_below(rng, 7);
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn first;

    if (kl_contig_alloc(f.zone, owner, n, align, mode, &first, &r) == 0) {
        memset(kl_frame_addr(f.zone, first), 0xee, (size_t)n * 4096);
        torture_expect(kl_pfn_nr(first) % align == 0, "a range is not aligned");
        torture_expect(kl_contig_free(f.zone, owner, first, n) == 0, "a range can't be freed");
        atomic_fetch_add(&ranges, 1);
    }
    add(&r);
}

static void *taker(void *arg)
{
    struct rng rng = rng_new(400 + (uintptr_t)arg);
    kl_owner_id owner;
    uint32_t held = 0;

    kl_owner_register(f.zone, NULL, NULL, &owner);
    while (torture_on()) {
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        struct kl_report r = {.size = sizeof(r)};
        uint32_t n = 1 + rng_below(&rng, ZONE_BLOCKS / 3);

        switch (rng_below(&rng, 5)) {
        case 0:
            if (kl_zone_give_back(f.zone, n, mode, &r) == 0) {
                held += n;
                atomic_fetch_add(&taken, n);
            }
            break;
        case 1:
            if (held > 0 && kl_zone_lend(f.zone, held) == 0)
                held = 0;
            break;
        case 2:
            kl_zone_compact(f.zone, mode, rng_below(&rng, 300), &r);
            (void)kl_zone_trim(f.zone, rng_below(&rng, 4));
            (void)kl_zone_discard(f.zone, rng_below(&rng, 200));
            break;
        case 3:
            take_range(owner, &rng, mode);
            break;
        case 4:
            (void)kl_zone_resize(f.zone, ZONE_BLOCKS - n + 1, mode, &r);
            break;
        }
        add(&r);
    }
    if (held > 0)
        torture_expect(kl_zone_lend(f.zone, held) == 0, "what was taken can't be lent");
    torture_expect(kl_owner_unregister(f.zone, owner) == 0, "a range was left");
    return NULL;
}

static void *compactor(void *arg)
{
    struct rng rng = rng_new(500);
    struct timespec nap = {.tv_nsec = 200000};

    (void)arg;
    while (torture_on()) {
        int64_t freed = kl_zs_compact(pool, rng_below(&rng, 500));

        torture_expect(freed >= 0 || freed == -KL_EAGAIN,
                       "compaction fails"); /* the pool's shrinker */
        (void)kl_store_compact(store, 0);
        kl_store_age(store, 200);
        freed = kl_store_recompress(store, 100);
        torture_expect(freed >= 0 || freed == -KL_ENOSPC || freed == -KL_ENOMEM,
                       "recompression fails");
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void *writeback(void *arg)
{
    struct rng rng = rng_new(700);

    (void)arg;
    while (torture_on()) {
        struct kl_step step = {.size = sizeof(step), .budget = 64, .flags = KL_STEP_WANTED};

        switch (rng_below(&rng, 400) ? rng_below(&rng, 3) : 3) {
        case 0:
            (void)kl_store_writeback(store, 0);
            break;
        case 1:
            (void)kl_store_writeback_now(store, 1 + rng_below(&rng, 60), rng_below(&rng, 3));
            break;
        case 2:
            (void)kl_zone_step(f.zone, &step, NULL);
            break;
        default:
            (void)kl_store_reset(store, 0);
        }
    }
    return NULL;
}

static void *sky(void *arg)
{
    struct rng rng = rng_new(800);

    (void)arg;
    while (torture_on()) {
        struct timespec nap = {.tv_nsec = (long)rng_below(&rng, 12000000)};

        weather_change(&weather, &rng);
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void open_target(void)
{
    struct kl_writeback_config config = {.size = sizeof(config),
                                         .target = &target.target,
                                         .start_percent = 2,
                                         .stop_percent = 1,
                                         .age = 1,
                                         .flags = KL_WRITEBACK_RAW,
                                         .timeout_ns = 20000000};

    fake_target_open(&target, 1 << 20, KL_TARGET_NEEDS_FLUSH | KL_TARGET_CAN_TRIM);
    assert_int_equal(kl_store_writeback_start(store, &config), 0);
}

static void open_all(void)
{
    struct kl_codec codec, dense;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = BLOCKS,
                                     .block_bytes = BLOCK,
                                     .codec = &codec,
                                     .recompress = &dense,
                                     .recompress_age = 1,
                                     .idle_ns = 3000000,
                                     .flags = KL_STORE_DEDUP,
                                     .hash = kl_linux_hash};

    fixture_open(&f, ZONE_BLOCKS, 6, 0);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_linux_codec("zstd", 1, &dense), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    open_target();
    for (unsigned i = 0; i < 3; i++) {
        mover_open(&movers[i], f.zone, (enum mover_kind)i);
        atomic_store(&movers[i].refuse, 10);
        atomic_store(&movers[i].busy, 20);
        atomic_store(&movers[i].fail, 2);
        atomic_store(&movers[i].fail_prepare, 5);
    }
}

/* Every block is read, whatever the target was; until it has answered everything. */
static void close_target(void)
{
    struct kl_writeback_stats stats = {.size = sizeof(stats)};
    char buf[BLOCK];

    for (uint64_t block = 0; block < BLOCKS; block++) {
        int err = kl_store_read(store, block, 0, buf, BLOCK);

        while (err == -KL_ETIMEDOUT)
            err = kl_store_read(store, block, 0, buf, BLOCK);
        assert_int_equal(err, 0);
        block_check(buf, block);
    }
    do {
        kl_store_writeback(store, 1);
        kl_store_writeback_stats(store, &stats);
    } while (stats.pending > 0);
    print_message("# %llu written, %llu read, %llu back, %llu failed\n",
                  (unsigned long long)stats.written, (unsigned long long)stats.read,
                  (unsigned long long)stats.read_back, (unsigned long long)stats.failed_writes);
}

static void close_all(void)
{
    for (int i = 0; i < FAULTS; i++)
        fault_set((enum fault)i, 0);
    close_target();
    assert_zs_ok(pool);
    assert_store_ok(store);
    assert_zone_ok(f.zone);
    for (unsigned i = 0; i < 3; i++)
        mover_close(&movers[i]);
    assert_int_equal(kl_zs_destroy(pool), 0);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(&f);
    fake_target_close(&target);
}

static const char *kind_missing(const struct kl_store_stats *s,
                                const struct kl_writeback_stats *back)
{
    const struct torture_count counts[] = {
        {atomic_load(&moves), "nothing was moved"},
        {atomic_load(&held_objects), "no object was held"},
        {s->recompressions, "no block was recompressed"},
        {s->duplicates, "no duplicate was found"},
        {back->written, "no block left memory"},
        {back->read, "no block was read on the target"},
        {back->failed_writes, "no write to the target failed"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static const char *missing(void)
{
    struct kl_writeback_stats back = {.size = sizeof(back)};
    struct kl_store_stats s = {.size = sizeof(s)};

    kl_store_writeback_stats(store, &back);
    kl_store_get_stats(store, &s);
    return kind_missing(&s, &back);
}

static void everything_at_once(void **state)
{
    static void *(*const bodies[])(void *) = {objects,   objects, blocks,    blocks,
                                              items,     shaker,  taker,     taker,
                                              compactor, asker,   writeback, sky};

    (void)state;
    open_all();
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    close_all();
    print_message("# %llu operations, %llu moves, %llu blocks taken, %llu ranges, %llu held\n",
                  torture_ops(), (unsigned long long)atomic_load(&moves),
                  (unsigned long long)atomic_load(&taken), (unsigned long long)atomic_load(&ranges),
                  (unsigned long long)atomic_load(&held_objects));
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
