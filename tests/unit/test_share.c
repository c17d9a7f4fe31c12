// SPDX-License-Identifier: Apache-2.0
/* Shares of owners: the hard bound is exact, the soft one decides who is asked first; what
 * moves is counted once; and the table of who has what. */
#include "support/mover.h"

#include "frame/share.h"
#include "reclaim/reclaim.h"
#include "support/shake.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum {
    ZONE_BLOCKS = 16,
    ORDER = 6,
    BLOCK_FRAMES = 1 << ORDER,
    FRAMES = ZONE_BLOCKS * BLOCK_FRAMES
};

static struct fixture f;
static struct mover m;

/* An owner with frames that its shrinker frees from the end. */
struct tenant {
    kl_owner_id owner;
    kl_shrinker_id shrinker;
    pthread_mutex_t lock;
    kl_pfn pfn[FRAMES];
    unsigned n;
    uint64_t asked;
};

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct tenant *t = ctx;

    (void)shrink;
    return t->n;
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    struct tenant *t = ctx;
    uint64_t n = 0;

    t->asked += shrink->nr_to_scan;
    for (; t->n > 0 && n < shrink->nr_to_scan; n++)
        assert_int_equal(kl_frame_free(f.zone, t->owner, t->pfn[--t->n]), 0);
    return n;
}

static struct kl_shrinker_ops ops_of(const struct tenant *t, unsigned seeks)
{
    return (struct kl_shrinker_ops){.size = sizeof(struct kl_shrinker_ops),
                                    .name = "tenant",
                                    .seeks = seeks,
                                    .count = count,
                                    .scan = scan,
                                    .owner = t->owner};
}

static void tenant_open(struct tenant *t, int seeks)
{
    memset(t, 0, sizeof(*t));
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &t->owner), 0);
    if (seeks >= 0) {
        struct kl_shrinker_ops ops = ops_of(t, (unsigned)seeks);

        assert_int_equal(kl_shrinker_register(f.zone, &ops, t, &t->shrinker), 0);
    }
}

static void tenant_close(struct tenant *t)
{
    if (t->shrinker.v)
        assert_int_equal(kl_shrinker_unregister(f.zone, t->shrinker), 0);
    while (t->n > 0)
        assert_int_equal(kl_frame_free(f.zone, t->owner, t->pfn[--t->n]), 0);
    assert_int_equal(kl_owner_unregister(f.zone, t->owner), 0);
}

static int get(struct tenant *t, unsigned flags)
{
    kl_pfn pfn;
    int err = kl_frame_alloc(f.zone, 0, t->owner, flags, &pfn);

    if (!err)
        t->pfn[t->n++] = pfn;
    return err;
}

static void get_many(struct tenant *t, unsigned n)
{
    while (n-- > 0)
        assert_int_equal(get(t, KL_NO_SHRINK), 0);
}

static int set(kl_owner_id owner, uint64_t soft, uint64_t hard)
{
    const struct kl_share share = {.size = sizeof(share), .soft = soft, .hard = hard};

    return kl_owner_set_share(f.zone, owner, &share);
}

static uint64_t refused(const struct tenant *t)
{
    return atomic_load(&f.zone->owner[t->owner.v].share.refused);
}

static int setup(void **state)
{
    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

static void refuses_bad_shares(void **state)
{
    struct kl_share share = {.size = sizeof(share), .soft = 11, .hard = 10};
    struct tenant t;

    (void)state;
    tenant_open(&t, -1);
    assert_int_equal(kl_owner_set_share(f.zone, t.owner, NULL), -KL_EINVAL);
    assert_int_equal(kl_owner_set_share(f.zone, t.owner, &share), -KL_EINVAL);
    share.soft = share.size--;
    assert_int_equal(kl_owner_set_share(f.zone, t.owner, &share), -KL_EINVAL);
    assert_int_equal(set((kl_owner_id){0}, 1, 2), -KL_ENOENT);
    assert_int_equal(set((kl_owner_id){(uint16_t)(t.owner.v + 1)}, 1, 2), -KL_ENOENT);
    assert_int_equal(set((kl_owner_id){300}, 1, 2), -KL_ENOENT);
    fault_set(FAULT_META, 1);
    assert_int_equal(set(t.owner, 1, 2), -KL_ENOMEM);
    fault_set(FAULT_META, 0);
    get_many(&t, 10); /* it has no share still */
    assert_zone_ok(f.zone);
    tenant_close(&t);
}

/* To the frame: singles, runs, ranges, with and without KL_ZERO. */
static void hard_is_exact(void **state)
{
    struct tenant t;
    kl_pfn run, range;

    (void)state;
    tenant_open(&t, -1);
    get_many(&t, 100);
    assert_int_equal(set(t.owner, 0, 99), -KL_EBUSY); /* it has more, and nobody frees it */
    assert_int_equal(get(&t, 0), 0);                  /* so no bound was set */
    assert_int_equal(set(t.owner, 0, 150), 0);
    assert_zone_ok(f.zone);
    for (unsigned i = 101; i < 150; i++)
        assert_int_equal(get(&t, i % 3 ? 0 : KL_ZERO), 0);
    assert_int_equal(get(&t, 0), -KL_ENOMEM);
    assert_int_equal(get(&t, KL_NOWAIT), -KL_ENOMEM);
    assert_int_equal(get(&t, KL_ATOMIC), -KL_ENOMEM);
    assert_int_equal(refused(&t), 3);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(kl_frame_free(f.zone, t.owner, t.pfn[--t.n]), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 4, t.owner, 0, &run), -KL_ENOMEM);
    assert_int_equal(kl_frame_alloc(f.zone, 3, t.owner, 0, &run), 0);
    assert_int_equal(kl_contig_alloc(f.zone, t.owner, 2, 1, KL_SYNC, &range, NULL), -KL_ENOMEM);
    assert_int_equal(kl_contig_alloc(f.zone, t.owner, 1, 1, KL_SYNC, &range, NULL), 0);
    assert_int_equal(get(&t, 0), -KL_ENOMEM);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_contig_free(f.zone, t.owner, range, 1), 0);
    assert_int_equal(kl_frame_free(f.zone, t.owner, run), 0);
    assert_int_equal(set(t.owner, 0, 140), -KL_EBUSY);
    assert_int_equal(set(t.owner, 0, 141), 0);
    assert_int_equal(get(&t, 0), -KL_ENOMEM);
    assert_int_equal(set(t.owner, 0, 0), 0); /* none any more */
    get_many(&t, 200);
    assert_zone_ok(f.zone);
    tenant_close(&t);
}

static void two_cpus(struct kl_host *host)
{
    fixture_one_cpu(host);
    host->ncpus = 2;
}

/* What a CPU keeps for the next allocation keeps nobody from having it. */
static void stocks_refuse_nobody(void **state)
{
    struct tenant t;
    kl_pfn range;

    (void)state;
    fixture_host = two_cpus; /* with many there is no stock within such a bound */
    tenant_open(&t, -1);
    fixture_host = NULL;
    assert_int_equal(set(t.owner, 0, 900), 0);
    get_many(&t, 1);
    assert_true(atomic_load(&f.zone->owner[t.owner.v].share.used) > 1); /* a stock is there */
    assert_int_equal(kli_share_used(f.zone, t.owner.v), 1);
    assert_int_equal(kl_contig_alloc(f.zone, t.owner, 900, 1, KL_SYNC, &range, NULL), -KL_ENOMEM);
    assert_int_equal(kl_contig_alloc(f.zone, t.owner, 899, 1, KL_SYNC, &range, NULL), 0);
    assert_int_equal(get(&t, 0), -KL_ENOMEM);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_contig_free(f.zone, t.owner, range, 899), 0);
    tenant_close(&t);
}

/* An allocation that fails for another reason, and an owner that goes: nothing is left. */
static void what_fails_is_not_counted(void **state)
{
    struct tenant t, other;
    kl_pfn run;

    (void)state;
    tenant_open(&t, -1);
    tenant_open(&other, -1);
    assert_int_equal(set(t.owner, 0, FRAMES), 0);
    get_many(&other, FRAMES);
    assert_int_equal(get(&t, KL_NO_SHRINK), -KL_ENOMEM);
    assert_int_equal(kl_contig_alloc(f.zone, t.owner, 64, 1, KL_ASYNC, &run, NULL), -KL_ENOMEM);
    assert_int_equal(refused(&t), 0);
    assert_int_equal(kli_share_used(f.zone, t.owner.v), 0);
    assert_zone_ok(f.zone);
    tenant_close(&t);
    tenant_open(&t, -1); /* the same place, with no share */
    while (other.n > 0)
        kl_frame_free(f.zone, other.owner, other.pfn[--other.n]);
    get_many(&t, 300);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_owner_unregister(f.zone, t.owner), -KL_EBUSY);
    tenant_close(&t);
    tenant_close(&other);
}

/* At the hard bound its own shrinkers are asked, and nobody else's. */
static void own_shrinkers_make_room(void **state)
{
    struct tenant t, other;

    (void)state;
    tenant_open(&t, 2);
    tenant_open(&other, 0);
    get_many(&other, 50);
    assert_int_equal(set(t.owner, 0, 100), 0);
    get_many(&t, 100);
    assert_int_equal(get(&t, KL_NO_SHRINK), -KL_ENOMEM);
    assert_int_equal(get(&t, KL_NOWAIT), -KL_ENOMEM);
    assert_int_equal(t.asked, 0);
    assert_int_equal(get(&t, 0), 0);
    assert_true(t.asked > 0);
    assert_int_equal(other.asked, 0);
    assert_in_range(t.n, 1, 100);
    get_many(&t, 100 - t.n);
    assert_int_equal(set(t.owner, 0, 30), 0); /* and when the bound is lowered */
    assert_true(t.n <= 30);
    assert_int_equal(other.n, 50);
    assert_zone_ok(f.zone);
    tenant_close(&t);
    tenant_close(&other);
}

/* Frames are short: who has too much gives it first, however dear; the others only if that
 * does not do. */
static void who_has_too_much_is_asked_first(void **state)
{
    struct tenant greedy, modest;

    (void)state;
    tenant_open(&modest, 0);
    tenant_open(&greedy, 8);
    assert_int_equal(set(modest.owner, 400, 0), 0);
    assert_int_equal(set(greedy.owner, 500, 0), 0);
    get_many(&modest, 300);
    get_many(&greedy, FRAMES - 300);
    assert_int_equal(kl_zone_shrink(f.zone, 100, KL_SYNC), 100);
    assert_int_equal(modest.n, 300);
    assert_int_equal(greedy.n, FRAMES - 300 - 100);
    assert_true(kl_zone_shrink(f.zone, 200, KL_SYNC) >= 200); /* 124 too many, and then */
    assert_in_range(greedy.n, 1, 500);
    assert_true(modest.n < 300);
    assert_zone_ok(f.zone);
    tenant_close(&greedy);
    tenant_close(&modest);
}

/* A shrinker from before owners could be named; one that names nobody who has a share. */
static void shrinkers_without_an_owner(void **state)
{
    struct kl_shrinker_ops ops;
    struct tenant t;

    (void)state;
    tenant_open(&t, -1);
    ops = ops_of(&t, 2);
    ops.size = offsetof(struct kl_shrinker_ops, owner);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &t, &t.shrinker), 0);
    assert_int_equal(set(t.owner, 10, 100), 0);
    get_many(&t, 100);
    assert_int_equal(get(&t, 0), -KL_ENOMEM); /* it is not known as its own */
    assert_int_equal(t.asked, 0);
    assert_int_equal(kl_shrinker_unregister(f.zone, t.shrinker), 0);
    ops.size--;
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &t, &t.shrinker), -KL_EINVAL);
    t.shrinker.v = 0;
    tenant_close(&t);
}

/* Movable frames stay counted once, however often they move, are put back, or freed on the
 * way; also when the share comes first. */
static void moves_change_nothing(void **state)
{
    struct kl_report report = {.size = sizeof(report)};

    (void)state;
    mover_open(&m, f.zone, MOVER_BATCH);
    for (unsigned i = 0; i < FRAMES / 2; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < FRAMES / 2; i += 3)
        assert_true(mover_free(&m, i));
    assert_int_equal(set(m.owner, 0, FRAMES / 2), 0);
    atomic_store(&m.busy, 20);
    atomic_store(&m.fail, 20);
    for (unsigned b = 0; b < ZONE_BLOCKS; b++)
        shake_block(f.zone, b, KL_SYNC_LIGHT, &report);
    assert_true(report.migrated > 100);
    assert_zone_ok(f.zone);
    assert_int_equal(kli_share_used(f.zone, m.owner.v), FRAMES / 2 - (FRAMES / 2 + 2) / 3);
    mover_all_right(&m);
    mover_close(&m);
}

/* A frame that is handed to another owner, as pools do, is counted where it is then. */
static void handed_over(void **state)
{
    struct tenant from, to;
    uint32_t nr[3];

    (void)state;
    tenant_open(&from, -1);
    tenant_open(&to, -1);
    get_many(&from, 3);
    for (unsigned i = 0; i < 3; i++)
        nr[i] = kl_pfn_nr(from.pfn[i]);
    assert_int_equal(set(from.owner, 0, 3), 0);
    assert_int_equal(set(to.owner, 0, 1), 0);
    assert_int_equal(
        kli_frame_hand(f.zone, nr[0], kli_f_pass(0, from.owner.v, true, to.owner.v, false)),
        -KL_EINVAL); /* it is not movable */
    assert_int_equal(
        kli_frame_hand(f.zone, nr[0], kli_f_pass(0, from.owner.v, false, to.owner.v, false)), 0);
    assert_int_equal(
        kli_frame_hand(f.zone, nr[1], kli_f_pass(0, from.owner.v, false, to.owner.v, false)),
        -KL_ENOMEM);
    assert_int_equal(kli_share_used(f.zone, from.owner.v), 2);
    assert_int_equal(kli_share_used(f.zone, to.owner.v), 1);
    assert_zone_ok(f.zone);
    assert_int_equal(
        kli_frame_hand(f.zone, nr[0], kli_f_pass(0, to.owner.v, false, from.owner.v, false)), 0);
    assert_int_equal(kli_share_used(f.zone, from.owner.v), 3);
    assert_zone_ok(f.zone);
    tenant_close(&from);
    tenant_close(&to);
}

/* ---- the table ---- */

static struct kl_budget budget(struct kl_budget_row *rows, size_t max)
{
    struct kl_budget b = {.size = sizeof(b)};

    kl_zone_get_budget(f.zone, &b, rows, max);
    return b;
}

static uint64_t sum_of(const struct kl_budget *b, const struct kl_budget_row *rows, size_t n)
{
    uint64_t sum =
        b->other_frames + b->free_frames + b->absent_frames + b->given_frames + b->withheld_frames;

    for (size_t i = 0; i < n && i < b->owners; i++)
        sum += rows[i].frames;
    return sum;
}

/* Every frame is in one row, every byte in another; and the zone's own figures agree. */
static void the_table_adds_up(void **state)
{
    struct kl_zone_stats zone = {.size = sizeof(zone)};
    struct tenant t, idle, none;
    struct kl_budget_row row[4];
    struct kl_budget b;
    kl_pin_id pin;
    kl_pfn large;

    (void)state;
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(mover_hold(&m, (const unsigned[]){1, 2, 3}, 3, &pin), 0);
    tenant_open(&t, -1);
    tenant_open(&idle, 0);
    tenant_open(&none, 2);
    assert_int_equal(set(t.owner, 150, 192), 0);
    get_many(&t, 64);
    assert_int_equal(kl_frame_alloc(f.zone, ORDER + 1, t.owner, 0, &large), 0); /* two blocks */
    assert_int_equal(get(&t, 0), -KL_ENOMEM);
    get_many(&idle, 20);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_resize(f.zone, ZONE_BLOCKS - 1, KL_SYNC, NULL), 0);
    b = budget(row, 4);
    kl_zone_get_stats(f.zone, &zone);
    assert_int_equal(b.owners, 4);
    assert_int_equal(b.frames, FRAMES);
    assert_int_equal(sum_of(&b, row, 4), FRAMES);
    assert_int_equal(b.free_frames, zone.free_frames);
    assert_int_equal(b.given_frames, 2 * BLOCK_FRAMES);
    assert_int_equal(b.withheld_frames, BLOCK_FRAMES);
    assert_int_equal(b.absent_frames,
                     (ZONE_BLOCKS - 3 - zone.present_blocks) * (uint64_t)BLOCK_FRAMES);
    assert_int_equal(b.other_frames, 0);
    assert_string_equal(row[0].name, "mover");
    assert_int_equal(row[0].frames, 100);
    assert_int_equal(row[0].movable, 100);
    assert_int_equal(row[0].pinned, 3);
    assert_int_equal(row[1].frames, 192);
    assert_int_equal(row[1].movable, 0);
    assert_int_equal(row[1].soft, 150);
    assert_int_equal(row[1].hard, 192);
    assert_int_equal(row[1].refused, 1);
    assert_int_equal(row[1].idle, 0);
    assert_int_equal(row[2].idle, 20);
    assert_int_equal(row[2].hard, 0);
    assert_int_equal(row[3].frames, 0);
    assert_int_equal(b.charged_bytes, zone.charged_bytes);
    assert_int_equal(b.charged_bytes, zone.present_blocks * kl_zone_block_bytes(f.zone) +
                                          b.zone_metadata_bytes + b.other_metadata_bytes);
    assert_int_equal(b.zone_metadata_bytes, zone.metadata_bytes);
    assert_true(b.other_metadata_bytes > 0); /* stocks */
    b = budget(row, 1);
    assert_int_equal(b.owners, 4);
    assert_int_equal(b.other_frames, 192 + 20);
    assert_int_equal(sum_of(&b, row, 1), FRAMES);
    b = budget(NULL, 0);
    assert_int_equal(b.other_frames, 312);
    assert_int_equal(kl_zone_resize(f.zone, ZONE_BLOCKS, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_lend(f.zone, 2), 0);
    assert_int_equal(kl_frame_free(f.zone, t.owner, large), 0);
    mover_let_go(&m, (const unsigned[]){1, 2, 3}, 3, pin);
    tenant_close(&t);
    tenant_close(&idle);
    tenant_close(&none);
    mover_close(&m);
}

/* ---- threads ---- */

static atomic_bool stop;
static atomic_uint live; /* frames that the owner has, as its users count */
static _Atomic uint32_t bound, over, pairs;
static _Atomic uint32_t changes; /* of bound; odd: one is under way */

/* live is raised after an allocation and lowered before a free, so it is never too high.  It
 * is compared with the bound only if that was the same all the while. */
static void had_one_more(void)
{
    uint32_t seen = atomic_load(&changes);
    bool is_more = atomic_fetch_add(&live, 1) + 1 > atomic_load(&bound);

    if (is_more && !(seen & 1) && atomic_load(&changes) == seen)
        atomic_fetch_add(&over, 1);
}

static atomic_uint streams;

static void *user(void *arg)
{
    struct tenant *t = arg;
    enum { MOST = 200 };
    struct rng rng = rng_new(atomic_fetch_add(&streams, 1));
    kl_pfn pfn[MOST];
    unsigned n = 0;

    while (!atomic_load(&stop)) {
        unsigned flags = rng_below(&rng, 8) ? 0 : KL_NOWAIT;

        if (n < MOST && rng_below(&rng, 3) > 0 &&
            kl_frame_alloc(f.zone, 0, t->owner, flags, &pfn[n]) == 0) {
            n++;
            had_one_more();
        } else if (n > 0) {
            atomic_fetch_sub(&live, 1);
            kl_frame_free(f.zone, t->owner, pfn[--n]);
        }
        atomic_fetch_add(&pairs, 1);
    }
    while (n > 0) {
        atomic_fetch_sub(&live, 1);
        kl_frame_free(f.zone, t->owner, pfn[--n]);
    }
    return NULL;
}

/* Many get and put while the bound changes: never a frame over it. */
static void never_over_the_bound(void **state)
{
    enum { THREADS = 4 };
    struct rng rng = rng_new(7);
    pthread_t thread[THREADS];
    struct tenant t;

    (void)state;
    tenant_open(&t, -1);
    atomic_store(&bound, 400);
    assert_int_equal(set(t.owner, 0, 400), 0);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, user, &t), 0);
    while (atomic_load(&pairs) < 300000) {
        struct kl_budget_row row;
        struct kl_budget table = budget(&row, 1);
        uint32_t next = 100 + rng_below(&rng, 500);
        int err;

        assert_int_equal(sum_of(&table, &row, 1), FRAMES); /* whatever happens meanwhile */
        atomic_fetch_add(&changes, 1);
        err = set(t.owner, next / 2, next);
        assert_true(err == 0 || err == -KL_EBUSY);
        if (!err)
            atomic_store(&bound, next);
        atomic_fetch_add(&changes, 1);
        usleep(50);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(over, 0);
    assert_true(refused(&t) > 0);
    assert_int_equal(kli_share_used(f.zone, t.owner.v), 0);
    assert_zone_ok(f.zone);
    assert_int_equal(set(t.owner, 0, 77), 0); /* all of it is to be had again */
    get_many(&t, 77);
    assert_int_equal(get(&t, 0), -KL_ENOMEM);
    tenant_close(&t);
}

static void *shaker(void *arg)
{
    struct kl_report report = {.size = sizeof(report)};
    struct rng rng = rng_new(99);

    (void)arg;
    while (!atomic_load(&stop))
        shake_block(f.zone, rng_below(&rng, ZONE_BLOCKS), KL_ASYNC, &report);
    return NULL;
}

/* The first share while its frames move, and some are freed on the way. */
static void a_first_share_while_frames_move(void **state)
{
    pthread_t thread[2];

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        mover_open(&m, f.zone, MOVER_SINGLE);
        for (unsigned i = 0; i < FRAMES / 2; i++)
            assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
        for (unsigned i = 0; i < FRAMES / 2; i += 2)
            assert_true(mover_free(&m, i));
        atomic_store(&stop, false);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, shaker, NULL), 0);
        for (unsigned i = 1; i < 40; i += 2)
            mover_free(&m, i);
        assert_int_equal(set(m.owner, 10, 0), 0);
        for (unsigned i = 41; i < 80; i += 2)
            mover_free(&m, i);
        atomic_store(&stop, true);
        for (unsigned i = 0; i < 2; i++)
            pthread_join(thread[i], NULL);
        kl_zone_trim(f.zone, 0);
        assert_zone_ok(f.zone); /* A1: what is counted is what is there */
        mover_close(&m);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refuses_bad_shares),
        TEST(hard_is_exact),
        TEST(stocks_refuse_nobody),
        TEST(what_fails_is_not_counted),
        TEST(own_shrinkers_make_room),
        TEST(who_has_too_much_is_asked_first),
        TEST(shrinkers_without_an_owner),
        TEST(moves_change_nothing),
        TEST(handed_over),
        TEST(the_table_adds_up),
        TEST(never_over_the_bound),
        TEST(a_first_share_while_frames_move),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
