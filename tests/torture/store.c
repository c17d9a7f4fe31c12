// SPDX-License-Identifier: Apache-2.0
/* A store and a pool that many threads tear at, for KLOTSKI_TORTURE_SECONDS (default 5), and
 * every read is judged by what was written, and when:
 *
 *   told      each block has one writer, who writes all of it, some sectors, or discards. Of
 *             each sector there is a history: what is in it, and what is about to be. A
 *             reader's sector must be one of those between the last one that was there
 *             for certain before the read, and the first one that can't be there after it
 *   fought    blocks that several writers write, wholly: what is read is one of the writes
 *   objects   slots of handles whose contents the handle says; one thread frees and allocates,
 *             others read with handles that they saw a moment ago: right bytes, or
 *             -KL_ESTALE. Slots fill and drain, so that zspages grow and are cut
 *   mixers    compact, recompress, make older, move frames, take blocks of memory and
 *             lend them, write blocks back, do the zone's steps, at random
 *   resetter  discards everything, while the writers wait
 *   weather   the write-back target is slow, full, fails, lies, stalls, is gone, and comes back;
 *             only then may it be said that a block can't be read, and never for good
 *
 * The store's limit is met now and then, and so is the target's.  At the end all is recounted,
 * and what remains of the told blocks is compared exactly. */
#include "support/mover.h"
#include "support/shake.h"
#include "support/torture.h"
#include "support/weather.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { BLOCK = 4096, SECTOR = 512, SECTORS = BLOCK / SECTOR };
enum { TOLD = 96, FOUGHT = 24, BLOCKS = TOLD + FOUGHT, HISTORY = 256 };
enum { WRITERS = 3, SEEN = 32, SLOTS = 600, ZONE_BLOCKS = 24, BLOCK_ORDER = 5 };
enum { LIMIT_FRAMES = 76 };  /* of the store: not always enough */
enum { TARGET_UNITS = 700 }; /* nor are these */

static struct fixture f;
static struct kl_zs *pool;
static struct kl_store *store;
static struct fake_target target;
static struct weather weather = {.target = &target};
static pthread_mutex_t writing[WRITERS];
static _Atomic uint64_t away, resets, refused, blind, stale, moved, given;

/* What a sector has: a kind of contents, and a number for those that differ. */
struct sector {
    _Atomic uint32_t id[HISTORY];   /* by time, modulo */
    _Atomic uint32_t sure, started; /* times */
};
static struct sector told[TOLD][SECTORS];

/* Nothing, one pattern, incompressible or compressible ones that others have too, and
 * ones of its own of both sorts. */
static void sector_fill(char *buf, uint32_t id, unsigned block, unsigned sector)
{
    uint64_t own = ((uint64_t)id << 16 | block << 4 | sector) * 0x9e3779b97f4a7c15u;

    switch (id % 8) {
    case 0:
        memset(buf, 0, SECTOR);
        return;
    case 1:
        memset(buf, 0x55, SECTOR);
        return;
    case 2:
    case 3:
        own = (id / 8 % 16) * 16 + sector;
        break;
    default:
        break;
    }
    fill_bytes(buf, SECTOR, own);
    for (unsigned i = 0; i < SECTOR && id % 2; i++)
        buf[i] = (char)(buf[i] & (0x31 | (id & 0xe)));
    if (id % 8 == 7)
        memset(buf + 128 + id % 256, 7, 128);
}

static bool sector_is(const char *buf, uint32_t id, unsigned block, unsigned sector)
{
    char want[SECTOR];

    sector_fill(want, id, block, sector);
    return memcmp(buf, want, SECTOR) == 0;
}

/* The writer's: one more time, at which the sector has these contents. */
static void about_to_be(struct sector *s, uint32_t id)
{
    uint32_t time = atomic_load(&s->started) + 1;

    atomic_store(&s->id[time % HISTORY], id);
    atomic_store(&s->started, time);
}

static void is_now(struct sector *s)
{
    atomic_store(&s->sure, atomic_load(&s->started));
}

static uint32_t id_now(struct sector *s)
{
    return atomic_load(&s->id[atomic_load(&s->sure) % HISTORY]);
}

static int put_sectors(unsigned block, unsigned from, unsigned n, uint32_t id)
{
    char buf[BLOCK];

    for (unsigned i = 0; i < n; i++)
        sector_fill(buf + i * SECTOR, id, block, from + i);
    if (id == 0)
        return kl_store_discard(store, block, from * SECTOR, n * SECTOR);
    return kl_store_write(store, block, from * SECTOR, buf, n * SECTOR);
}

static void write_told(struct rng *rng, unsigned writer, uint32_t *next)
{
    unsigned block = writer + WRITERS * rng_below(rng, TOLD / WRITERS), from = 0, n = SECTORS;
    uint32_t id = rng_below(rng, 8) ? ++*next : 0, before[SECTORS];
    uint64_t then;
    int err;

    if (rng_below(rng, 3) == 0) {
        from = rng_below(rng, SECTORS);
        n = 1 + rng_below(rng, SECTORS - from);
    }
    for (unsigned i = from; i < from + n; i++) {
        before[i] = id_now(&told[block][i]);
        about_to_be(&told[block][i], id);
    }
    then = weather_now(&weather);
    err = put_sectors(block, from, n, id);
    torture_expect(err == -KL_ENOSPC || err == -KL_ENOMEM || weather_may(&weather, then, err),
                   "a write failed oddly");
    atomic_fetch_add_explicit(&refused, err != 0, memory_order_relaxed);
    for (unsigned i = from; i < from + n; i++) {
        if (err)
            about_to_be(&told[block][i], before[i]);
        is_now(&told[block][i]);
    }
}

static void judge_sector(const char *buf, unsigned block, unsigned i, uint32_t from)
{
    struct sector *s = &told[block][i];
    uint32_t to = atomic_load(&s->started);

    if (to - from > HISTORY / 2) {
        atomic_fetch_add_explicit(&blind, 1, memory_order_relaxed);
        return; /* too long ago to know */
    }
    for (uint32_t time = from; time != to + 1; time++) {
        if (sector_is(buf, atomic_load(&s->id[time % HISTORY]), block, i))
            return;
    }
    if (atomic_load(&s->started) - from > HISTORY / 2)
        return;
    torture_expect(false, "a sector has contents of another time, or none");
}

static void read_told(struct rng *rng)
{
    unsigned block = rng_below(rng, TOLD), from = 0, n = SECTORS;
    uint32_t sure[SECTORS];
    uint64_t then = weather_now(&weather);
    char buf[BLOCK];
    int err;

    if (rng_below(rng, 3) == 0) {
        from = rng_below(rng, SECTORS);
        n = 1 + rng_below(rng, SECTORS - from);
    }
    for (unsigned i = from; i < from + n; i++)
        sure[i] = atomic_load(&told[block][i].sure);
    err = kl_store_read(store, block, from * SECTOR, buf, n * SECTOR);
    torture_expect(err == -KL_ENOMEM || weather_may(&weather, then, err), "a block can't be read");
    atomic_fetch_add_explicit(&away, err == -KL_EIO || err == -KL_ETIMEDOUT, memory_order_relaxed);
    for (unsigned i = from; i < from + n && !err; i++)
        judge_sector(buf + (i - from) * SECTOR, block, i, sure[i]);
}

/* All sectors of one write; the contents are those of block 0. */
static void write_fought(struct rng *rng)
{
    unsigned block = TOLD + rng_below(rng, FOUGHT);
    uint32_t id = 1 + rng_below(rng, 4000);
    char buf[BLOCK];
    int err;

    for (unsigned i = 0; i < SECTORS; i++)
        sector_fill(buf + i * SECTOR, id, 0, i);
    memcpy(buf + BLOCK - sizeof(id), &id, sizeof(id));
    err = kl_store_write(store, block, 0, buf, BLOCK);
    torture_expect(err == 0 || err == -KL_ENOSPC || err == -KL_ENOMEM, "a write failed oddly");
    atomic_fetch_add_explicit(&refused, err != 0, memory_order_relaxed);
}

static void read_fought(struct rng *rng)
{
    unsigned block = TOLD + rng_below(rng, FOUGHT);
    char buf[BLOCK], want[BLOCK];
    uint64_t then = weather_now(&weather);
    uint32_t id;
    int err = kl_store_read(store, block, 0, buf, BLOCK);

    torture_expect(err == -KL_ENOMEM || weather_may(&weather, then, err), "a block can't be read");
    if (err)
        return;
    memcpy(&id, buf + BLOCK - sizeof(id), sizeof(id));
    for (unsigned i = 0; i < SECTORS; i++)
        sector_fill(want + i * SECTOR, id, 0, i);
    memcpy(want + BLOCK - sizeof(id), &id, sizeof(id));
    torture_expect(memcmp(buf, want, BLOCK) == 0, "a block is a mixture");
}

static void *writer(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    struct rng rng = rng_new(1000 + me);
    uint32_t next = me * 1000;

    while (torture_on()) {
        if (rng_below(&rng, 4) == 0) {
            write_fought(&rng);
            continue;
        }
        pthread_mutex_lock(&writing[me]);
        write_told(&rng, me, &next);
        pthread_mutex_unlock(&writing[me]);
    }
    return NULL;
}

static void reset_all(void)
{
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_mutex_lock(&writing[i]);
    for (unsigned i = 0; i < TOLD * SECTORS; i++)
        about_to_be(&told[i / SECTORS][i % SECTORS], 0);
    torture_expect(kl_store_reset(store, 0) == 0, "a reset does not end");
    for (unsigned i = 0; i < TOLD * SECTORS; i++)
        is_now(&told[i / SECTORS][i % SECTORS]);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_mutex_unlock(&writing[i]);
    atomic_fetch_add(&resets, 1);
}

static void *resetter(void *arg)
{
    struct rng rng = rng_new(5000);

    (void)arg;
    while (torture_on()) {
        struct timespec nap = {.tv_nsec = 1000000 + (long)rng_below(&rng, 400000000)};

        nanosleep(&nap, NULL);
        reset_all();
    }
    return NULL;
}

static void *sky(void *arg)
{
    struct rng rng = rng_new(6000);

    (void)arg;
    while (torture_on()) {
        struct timespec nap = {.tv_nsec = (long)rng_below(&rng, 12000000)};

        weather_change(&weather, &rng);
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static _Atomic uint64_t slots[SLOTS];

/* With a handle that was there a moment ago: it is among the last that this thread saw. */
static void read_slot(struct rng *rng, kl_handle *seen, char *buf)
{
    kl_handle h = seen[rng_below(rng, SEEN)];
    int err;

    seen[rng_below(rng, SEEN)].v =
        atomic_load_explicit(&slots[rng_below(rng, SLOTS)], memory_order_acquire);

    if (!h.v)
        return;
    err = kl_zs_read(pool, h, 0, buf, 24);
    torture_expect(err == 0 || err == -KL_ESTALE || err == -KL_EAGAIN, "an object can't be read");
    torture_expect(err || bytes_are(buf, 24, h.v), "an object is another one's");
    atomic_fetch_add_explicit(&stale, err == -KL_ESTALE, memory_order_relaxed);
}

static void *reader(void *arg)
{
    struct rng rng = rng_new(2000 + (uintptr_t)arg);
    kl_handle seen[SEEN] = {{0}};
    char buf[24];

    while (torture_on()) {
        unsigned what = rng_below(&rng, 8);

        if (what < 4)
            read_told(&rng);
        else if (what < 5)
            read_fought(&rng);
        else
            read_slot(&rng, seen, buf);
    }
    return NULL;
}

static void fill_slot(_Atomic uint64_t *slot, struct rng *rng, char *buf)
{
    size_t size = 24 + rng_below(rng, rng_below(rng, 7) ? 700 : 5000);
    kl_handle h;
    int err = kl_zs_malloc(pool, size, 0, &h);

    if (err)
        return;
    fill_bytes(buf, size, h.v);
    torture_expect(kl_zs_write(pool, h, 0, buf, size) == 0, "an object can't be written");
    atomic_store_explicit(slot, h.v, memory_order_release);
}

static void drain_slot(_Atomic uint64_t *slot)
{
    kl_handle h = {atomic_exchange(slot, 0)};

    if (h.v)
        torture_expect(kl_zs_free(pool, h) == 0, "an object can't be freed");
}

/* Fills a half of the slots and drains it, some of it at random between. */
static void *objects(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg % 2, half = SLOTS / 2, phase = 0;
    struct rng rng = rng_new(3000 + me);
    static char bufs[2][8192];

    while (torture_on()) {
        _Atomic uint64_t *slot = &slots[me * half + rng_below(&rng, half)];
        bool full = atomic_load(slot) != 0, filling = phase++ / 2000 % 2 == 0;

        if (full && rng_below(&rng, filling ? 8 : 2) == 0)
            drain_slot(slot);
        else if (!full && rng_below(&rng, filling ? 1 : 8) == 0)
            fill_slot(slot, &rng, bufs[me]);
    }
    for (unsigned i = 0; i < half; i++)
        drain_slot(&slots[me * half + i]);
    return NULL;
}

static void mix_memory(struct rng *rng)
{
    enum kl_mode mode = (enum kl_mode)rng_below(rng, 3);
    struct kl_report r = {.size = sizeof(r)};

    if (rng_below(rng, 3) == 0 && kl_zone_give_back(f.zone, 1 + rng_below(rng, 3), mode, &r) == 0) {
        atomic_fetch_add(&given, 1);
        while (kl_zone_lend(f.zone, 1) == 0)
            ;
    } else {
        shake_block(f.zone, rng_below(rng, ZONE_BLOCKS), mode, &r);
        if (rng_below(rng, 3) == 0)
            (void)kl_zone_trim(f.zone, rng_below(rng, 4));
        if (rng_below(rng, 3) == 0)
            (void)kl_zone_discard(f.zone, rng_below(rng, 200));
    }
    atomic_fetch_add(&moved, r.migrated);
}

static void mix(struct rng *rng)
{
    struct kl_step step = {.size = sizeof(step), .budget = 64, .flags = KL_STEP_WANTED};
    int64_t n = 0;

    switch (rng_below(rng, 10)) {
    case 0:
        n = kl_zs_compact(pool, 1 + rng_below(rng, 300));
        break;
    case 1:
        n = kl_store_compact(store, 1 + rng_below(rng, 300));
        break;
    case 2:
        (void)kl_store_age(store, rng_below(rng, 2 * BLOCKS));
        break;
    case 3:
        n = kl_store_recompress(store, 1 + rng_below(rng, BLOCKS));
        break;
    case 4:
        (void)kl_store_writeback(store, rng_below(rng, 20));
        break;
    case 5:
        n = kl_store_writeback_now(store, 1 + rng_below(rng, 20), rng_below(rng, 4));
        break;
    case 6:
        (void)kl_zone_step(f.zone, &step, NULL);
        break;
    default:
        mix_memory(rng);
        break;
    }
    torture_expect(n >= 0 || n == -KL_EAGAIN || n == -KL_ENOSPC || n == -KL_ENOMEM,
                   "compaction or recompression fails");
}

static void *mixer(void *arg)
{
    struct rng rng = rng_new(4000 + (uintptr_t)arg);

    while (torture_on())
        mix(&rng);
    return NULL;
}

static void open_target(void)
{
    struct kl_writeback_config config = {.size = sizeof(config),
                                         .target = &target.target,
                                         .start_percent = 70,
                                         .stop_percent = 55,
                                         .age = 1,
                                         .flags = KL_WRITEBACK_RAW,
                                         .timeout_ns = 20000000};

    fake_target_open(&target, TARGET_UNITS * KL_TARGET_UNIT,
                     KL_TARGET_NEEDS_FLUSH | KL_TARGET_CAN_TRIM);
    assert_int_equal(kl_store_writeback_start(store, &config), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_mutex_init(&writing[i], NULL);
}

static void open_all(void)
{
    struct kl_codec codec, dense;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = BLOCKS,
                                     .block_bytes = BLOCK,
                                     .codec = &codec,
                                     .limit_bytes = LIMIT_FRAMES * 4096,
                                     .recompress = &dense,
                                     .recompress_age = 1,
                                     .idle_ns = 2000000,
                                     .flags = KL_STORE_DEDUP,
                                     .hash = kl_linux_hash};

    fixture_open(&f, ZONE_BLOCKS, BLOCK_ORDER, 0);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_linux_codec("zstd", 1, &dense), 0);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    open_target();
}

static void check_told(void)
{
    char buf[BLOCK];

    for (unsigned block = 0; block < TOLD; block++) {
        int err;

        do { /* the timeout is short, and the machine may be slow */
            err = kl_store_read(store, block, 0, buf, BLOCK);
        } while (err == -KL_ETIMEDOUT);
        assert_int_equal(err, 0);
        for (unsigned i = 0; i < SECTORS; i++)
            assert_true(sector_is(buf + i * SECTOR, id_now(&told[block][i]), block, i));
    }
}

/* Until the target has answered everything. */
static struct kl_writeback_stats close_target(void)
{
    struct kl_writeback_stats stats = {.size = sizeof(stats)};

    do {
        kl_store_writeback(store, 1);
        kl_store_writeback_stats(store, &stats);
    } while (stats.pending > 0);
    return stats;
}

static void close_all(void)
{
    struct kl_writeback_stats back = close_target();
    struct kl_zs_stats zs = {.size = sizeof(zs)};

    assert_zs_ok(pool);
    assert_zs_ok(kl_store_zs(store));
    assert_store_ok(store);
    assert_zone_ok(f.zone);
    check_told();
    assert_int_equal(kl_store_compact(store, 0) < 0, 0);
    assert_store_ok(store);
    check_told();
    kl_zs_get_stats(pool, &zs);
    assert_int_equal(zs.objects, 0);
    assert_int_equal(kl_zs_destroy(pool), 0);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(&f);
    fake_target_close(&target);
    print_message(
        "# %llu written, %llu read, %llu back, %llu failed, %llu overwritten, %llu lies\n",
        (unsigned long long)back.written, (unsigned long long)back.read,
        (unsigned long long)back.read_back, (unsigned long long)back.failed_writes,
        (unsigned long long)back.overwritten, (unsigned long long)back.lost);
}

static const char *target_missing(const struct kl_writeback_stats *s)
{
    const struct torture_count counts[] = {
        {s->written, "no block left memory"},
        {s->read, "no block was read on the target"},
        {s->read_back, "no block came back to memory"},
        {s->failed_writes, "no write to the target failed"},
        {s->overwritten, "no block was changed on its way out"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static const char *missing(void)
{
    struct kl_writeback_stats s = {.size = sizeof(s)};
    const struct torture_count counts[] = {
        {atomic_load(&moved), "nothing was moved"},
        {atomic_load(&given), "no block of memory was given back"},
        {atomic_load(&stale), "no handle was stale"},
    };
    const char *what = torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));

    kl_store_writeback_stats(store, &s);
    return what ? what : target_missing(&s);
}

static void reads_see_what_was_written(void **state)
{
    static void *(*const bodies[])(void *) = {writer, writer, writer,  reader,   reader,
                                              reader, reader, objects, objects,  mixer,
                                              mixer,  mixer,  mixer,   resetter, sky};

    (void)state;
    open_all();
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    close_all();
    print_message(
        "# %llu operations, %llu moves, %llu given, %llu refused, %llu stale, %llu blind\n",
        torture_ops(), (unsigned long long)atomic_load(&moved),
        (unsigned long long)atomic_load(&given), (unsigned long long)atomic_load(&refused),
        (unsigned long long)atomic_load(&stale), (unsigned long long)atomic_load(&blind));
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_see_what_was_written)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
