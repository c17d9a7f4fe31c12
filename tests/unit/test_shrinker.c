// SPDX-License-Identifier: Apache-2.0
/* Shrinkers: who is asked for how much, liars, what a callback may do, and the end of
 * a shrinker while it is asked. */
#include "reclaim/reclaim.h"
#include "support/fixture.h"

#include <pthread.h>
#include <string.h>

enum { ZONE_BLOCKS = 8, ORDER = 6 };

/* A cache that answers as it is told and writes down what it was asked. */
struct cache {
    struct kl_zone *zone;
    kl_shrinker_id id;
    uint64_t count;   /* the answer of count */
    uint64_t answer;  /* of scan; GIVES: as many as asked for, while there are any */
    uint64_t scanned; /* what scan says of nr_scanned; AS_ASKED: nothing */
    uint64_t calls, asked, largest;
    unsigned lowest; /* priority seen */
    enum kl_mode mode;
    unsigned flags;
    void (*inside)(struct cache *c); /* called by scan */
    void *more;
};

#define GIVES    (UINT64_MAX - 10)
#define AS_ASKED (UINT64_MAX - 10)

static uint64_t count(void *ctx, const struct kl_shrink *shrink)
{
    struct cache *c = ctx;

    assert_int_equal(shrink->size, sizeof(*shrink));
    assert_int_equal(shrink->nr_to_scan, 0);
    return c->count;
}

static uint64_t scan(void *ctx, struct kl_shrink *shrink)
{
    struct cache *c = ctx;
    uint64_t n = shrink->nr_to_scan;

    assert_int_equal(shrink->nr_scanned, n);
    c->calls++;
    c->asked += n;
    c->largest = n > c->largest ? n : c->largest;
    c->lowest = shrink->priority;
    c->mode = shrink->mode;
    c->flags = shrink->flags;
    if (c->inside)
        c->inside(c);
    memset(shrink, 0xff, sizeof(*shrink)); /* nobody minds */
    shrink->nr_scanned = c->scanned == AS_ASKED ? n : c->scanned;
    if (c->answer != GIVES)
        return c->answer;
    n = n < c->count ? n : c->count;
    c->count -= n;
    return n;
}

static struct kl_shrinker_ops ops_of(unsigned seeks, uint32_t batch)
{
    return (struct kl_shrinker_ops){.size = sizeof(struct kl_shrinker_ops),
                                    .name = "cache",
                                    .seeks = seeks,
                                    .batch = batch,
                                    .count = count,
                                    .scan = scan};
}

static void cache_open(struct cache *c, struct fixture *f, unsigned seeks, uint64_t objects,
                       uint64_t answer)
{
    struct kl_shrinker_ops ops = ops_of(seeks, 0);

    *c = (struct cache){.zone = f->zone, .count = objects, .answer = answer, .scanned = AS_ASKED};
    assert_int_equal(kl_shrinker_register(f->zone, &ops, c, &c->id), 0);
}

static void cache_close(struct cache *c)
{
    assert_int_equal(kl_shrinker_unregister(c->zone, c->id), 0);
}

static struct kl_shrinker_stats stats_of(const struct cache *c)
{
    struct kl_shrinker_stats s = {.size = sizeof(s)};

    assert_int_equal(kl_shrinker_get_stats(c->zone, c->id, &s), 0);
    assert_int_equal(s.calls, c->calls);
    assert_int_equal(s.asked, c->asked);
    return s;
}

static uint64_t ask(struct fixture *f, enum kli_stage stage, unsigned priority, uint64_t want)
{
    const struct kli_shrink_ask a = {
        .stage = stage, .priority = priority, .want = want, .flags = KL_MOVABLE};

    return kli_shrink(f->zone, &a);
}

static void refuses_bad_shrinkers(void **state)
{
    struct kl_shrinker_ops good = ops_of(2, 0), ops;
    struct kl_shrinker_stats s = {.size = sizeof(s)};
    struct fixture f, g;
    struct cache c, other;
    kl_shrinker_id none = {0}, id;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    fixture_open(&g, ZONE_BLOCKS, ORDER, 0);
    for (int i = 0; i < 7; i++) {
        ops = good;
        if (i == 0)
            ops.size--;
        if (i == 1)
            ops.name = NULL;
        if (i == 2)
            ops.count = NULL;
        if (i == 3)
            ops.scan = NULL;
        if (i == 4)
            ops.flags = 2;
        if (i == 6) {
            ops.flags = KL_SHRINKER_COLD;
            ops.seeks = 0;
        }
        assert_int_equal(kl_shrinker_register(f.zone, i == 5 ? NULL : &ops, NULL, &id), -KL_EINVAL);
    }
    assert_int_equal(kl_shrinker_register(f.zone, &good, NULL, NULL), -KL_EINVAL);
    assert_int_equal(kl_shrinker_unregister(f.zone, none), -KL_ENOENT);
    cache_open(&c, &f, 2, 10, GIVES);
    cache_open(&other, &g, 2, 10, GIVES);
    assert_int_equal(kl_shrinker_unregister(f.zone, none), -KL_ENOENT);
    assert_int_equal(kl_shrinker_unregister(f.zone, other.id), -KL_ENOENT);
    assert_int_equal(kl_shrinker_get_stats(f.zone, other.id, &s), -KL_ENOENT);
    id = (kl_shrinker_id){c.id.v + 200}; /* a place that no table has */
    assert_int_equal(kl_shrinker_unregister(f.zone, id), -KL_ENOENT);
    assert_int_equal(kl_zone_shrink(f.zone, 1, (enum kl_mode)3), -KL_EINVAL);
    assert_int_equal(kl_zone_destroy(f.zone), -KL_EBUSY);
    cache_close(&c);
    assert_int_equal(kl_shrinker_unregister(f.zone, c.id), -KL_ENOENT);
    id = c.id;
    cache_open(&c, &f, 2, 10, GIVES); /* in the same place */
    assert_int_equal(kl_shrinker_unregister(f.zone, id), -KL_ENOENT);
    assert_int_equal(kl_shrinker_get_stats(f.zone, id, &s), -KL_ENOENT);
    cache_close(&c);
    cache_close(&other);
    fixture_close(&f);
    fixture_close(&g);
}

static void a_zone_has_64(void **state)
{
    static struct cache c[KLI_SHRINKERS];
    struct kl_shrinker_ops ops = ops_of(2, 0);
    struct fixture f;
    kl_shrinker_id id;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    for (unsigned i = 0; i < KLI_SHRINKERS; i++)
        cache_open(&c[i], &f, 2, 10, GIVES);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, NULL, &id), -KL_ENOSPC);
    ask(&f, KLI_STAGE_ALL, 0, 1);
    for (unsigned i = 0; i < KLI_SHRINKERS; i++)
        assert_int_equal(c[i].calls, 1);
    cache_close(&c[5]);
    cache_open(&c[5], &f, 2, 10, GIVES);
    for (unsigned i = 0; i < KLI_SHRINKERS; i++)
        cache_close(&c[i]);
    fixture_close(&f);
}

static void without_metadata(void **state)
{
    struct kl_shrinker_ops ops = ops_of(2, 0);
    struct kl_zone_stats before = {.size = sizeof(before)}, after = before;
    struct kl_zs *pool;
    struct cache c;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    kl_zone_get_stats(f.zone, &before);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &c, &c.id), -KL_ENOMEM);
    for (int nth = 1;; nth++) { /* a pool whose shrinker is the last thing it gets */
        int err;

        fault_set(FAULT_META, nth);
        err = kl_zs_create(f.zone, NULL, &pool);
        fault_set(FAULT_META, 0);
        assert_zone_ok(f.zone);
        if (!err)
            break;
        assert_int_equal(err, -KL_ENOMEM);
    }
    assert_int_equal(kl_zs_destroy(pool), 0);
    kl_zone_get_stats(f.zone, &after);
    assert_int_equal(after.metadata_bytes, before.metadata_bytes + sizeof(struct kli_shrinkers));
    fixture_close(&f);
}

static void work_is_shared_by_count_and_seeks(void **state)
{
    struct cache cheap, dear;
    struct fixture f;

    (void)state;
    fixture_open(&f, 64, ORDER, 0); /* 4096 frames: up to 262144 objects are believed */
    cache_open(&cheap, &f, 2, 100000, 0);
    cache_open(&dear, &f, 8, 100000, 0);
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 4, 1), 0);
    /* 100000 >> 4 = 6250; * 4 / 2 = 12500, 97 batches of 128 and 84 left over. */
    assert_int_equal(cheap.asked, 12416);
    assert_int_equal(cheap.largest, 128);
    assert_int_equal(cheap.flags, KL_MOVABLE);
    assert_int_equal(stats_of(&cheap).deferred, 84);
    /* * 4 / 8 = 3125, 24 batches, 53 left over. */
    assert_int_equal(dear.asked, 3072);
    assert_int_equal(stats_of(&dear).deferred, 53);
    /* 84 >> 4 = 5 more to do: 12505, 97 batches again. */
    ask(&f, KLI_STAGE_ALL, 4, 1);
    assert_int_equal(cheap.asked, 2 * 12416);
    assert_int_equal(stats_of(&cheap).deferred, 168);
    /* The mildest: 24 * 4 / 2 = 48, no batch; it adds up, and is done as a batch. */
    ask(&f, KLI_STAGE_ALL, 12, 1);
    assert_int_equal(cheap.asked, 2 * 12416);
    assert_int_equal(stats_of(&cheap).deferred, 168 + 48);
    cache_close(&cheap);
    cache_close(&dear);
    fixture_close(&f);
}

static void a_batch_of_its_own(void **state)
{
    struct kl_shrinker_ops ops = ops_of(4, 10);
    struct cache c = {.count = 95, .answer = GIVES, .scanned = AS_ASKED};
    struct kl_shrinker_stats s;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    c.zone = f.zone;
    ops.name = "a name that is much too long to be kept as a whole";
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &c, &c.id), 0);
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 0, 1000), 90);
    assert_int_equal(c.calls, 9);
    s = stats_of(&c);
    assert_string_equal(s.name, "a name that is much too long to");
    assert_int_equal(s.seeks, 4);
    assert_int_equal(s.freed, 90);
    assert_int_equal(s.deferred, 5);
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 0, 1000), 5); /* all there is: less than a batch */
    cache_close(&c);
    fixture_close(&f);
}

static void idle_ones_are_asked_first(void **state)
{
    struct cache costly, idle;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    cache_open(&costly, &f, 2, 1000, GIVES);
    cache_open(&idle, &f, 0, 300, GIVES);
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 12, 0), 0);
    assert_int_equal(ask(&f, KLI_STAGE_IDLE, 12, 130), 130);
    assert_int_equal(idle.calls, 2); /* 128 and 2 */
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 0, 70), 70);
    assert_int_equal(costly.calls, 0);
    assert_int_equal(ask(&f, KLI_STAGE_IDLE, 0, 1000), 100);
    assert_int_equal(costly.calls, 0);
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 0, 1), 1000);
    assert_int_equal(idle.count + costly.count, 0);
    assert_int_equal(stats_of(&idle).deferred, 0);
    cache_close(&costly);
    cache_close(&idle);
    fixture_close(&f);
}

static void stop_carries_over_and_empty_forgets(void **state)
{
    struct cache c;
    struct fixture f;

    (void)state;
    fixture_open(&f, 64, ORDER, 0);
    cache_open(&c, &f, 2, 1280, KL_SHRINK_STOP);
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 0, 1), 0);
    assert_int_equal(c.calls, 1);
    assert_int_equal(stats_of(&c).stops, 1);
    assert_int_equal(stats_of(&c).deferred, 2560);
    for (int i = 0; i < 10; i++)
        ask(&f, KLI_STAGE_ALL, 0, 1);
    assert_int_equal(stats_of(&c).deferred, 2560); /* bounded: twice the count */
    c.count = 0;
    ask(&f, KLI_STAGE_ALL, 0, 1);
    assert_int_equal(stats_of(&c).deferred, 2560); /* none just now */
    c.count = KL_SHRINK_EMPTY;
    ask(&f, KLI_STAGE_ALL, 0, 1);
    assert_int_equal(stats_of(&c).deferred, 0);
    c.count = KL_SHRINK_STOP; /* not an answer of count: none */
    ask(&f, KLI_STAGE_ALL, 0, 1);
    assert_int_equal(c.calls, 11);
    c.count = 10;
    c.answer = KL_SHRINK_EMPTY; /* nor this one of scan: stop */
    assert_int_equal(ask(&f, KLI_STAGE_ALL, 0, 1), 0);
    assert_int_equal(stats_of(&c).stops, 12);
    cache_close(&c);
    fixture_close(&f);
}

static void liars_are_bounded(void **state)
{
    static const struct {
        uint64_t answer, scanned, most_calls;
    } lies[] = {
        {0, AS_ASKED, 1024},                 /* never frees anything */
        {0, 0, 1},                           /* looks at nothing */
        {0, UINT64_MAX, 1},                  /* has looked at everything */
        {UINT64_MAX - 2, AS_ASKED, 4},       /* has freed more than there can be */
        {1000, AS_ASKED, 66},                /* more than it was asked for */
        {1, 0, 2 * 512 * 64},                /* one at a time */
        {128, AS_ASKED, 2 * 512 * 64 / 128}, /* all it is asked for, for ever */
    };
    struct cache c;
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0); /* 512 frames */
    for (unsigned seeks = 0; seeks < 3; seeks += 2) {
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
            cache_open(&c, &f, seeks, UINT64_MAX - 2, lies[i].answer);
            c.scanned = lies[i].scanned;
            ask(&f, KLI_STAGE_ALL, 0, UINT64_MAX);
            assert_in_range(c.calls, 1, lies[i].most_calls);
            assert_true(stats_of(&c).freed <= 3 * 512 * 64);
            assert_true(stats_of(&c).deferred <= 2 * 512 * 64);
            cache_close(&c);
        }
    }
    assert_zone_ok(f.zone);
    fixture_close(&f);
}

/* What a scan does with others while it runs. */
static void meddle(struct cache *c)
{
    struct cache *others = c->more;
    struct kl_shrinker_ops ops = ops_of(2, 0);

    assert_int_equal(kl_zone_shrink(c->zone, 1, KL_SYNC), -KL_EBUSY);
    assert_int_equal(ask(&(struct fixture){.zone = c->zone}, KLI_STAGE_ALL, 0, 1), 0);
    assert_int_equal(kl_shrinker_unregister(c->zone, c->id), -KL_EBUSY);
    assert_int_equal(kl_shrinker_unregister(c->zone, others[0].id), 0);
    assert_int_equal(kl_shrinker_register(c->zone, &ops, &others[1], &others[1].id), 0);
    c->inside = NULL;
}

static void a_scan_may_meddle(void **state)
{
    struct cache c, others[2];
    struct fixture f;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    cache_open(&c, &f, 2, 10, GIVES);
    cache_open(&others[0], &f, 2, 10, GIVES);
    others[1] = (struct cache){.zone = f.zone, .count = 10, .answer = GIVES, .scanned = AS_ASKED};
    c.inside = meddle;
    c.more = others;
    ask(&f, KLI_STAGE_ALL, 0, 1);
    assert_int_equal(c.calls, 1);
    assert_int_equal(others[0].calls, 0); /* gone before its turn */
    assert_int_equal(others[1].calls, 1); /* in its place */
    cache_close(&c);
    cache_close(&others[1]);
    fixture_close(&f);
}

/* A cache of frames, each of which can go. */
struct hoard {
    struct kl_zone *zone;
    kl_owner_id owner;
    kl_shrinker_id id;
    kl_pfn pfn[1024];
    unsigned n;
    unsigned priorities; /* bits that were seen */
    enum kl_mode mode;
};

static uint64_t hoard_count(void *ctx, const struct kl_shrink *shrink)
{
    struct hoard *h = ctx;

    h->priorities |= 1u << shrink->priority;
    h->mode = shrink->mode;
    return h->n ? h->n : KL_SHRINK_EMPTY;
}

static uint64_t hoard_scan(void *ctx, struct kl_shrink *shrink)
{
    struct hoard *h = ctx;
    uint64_t n = 0;
    kl_pfn pfn;

    assert_int_equal(kl_frame_alloc(h->zone, 0, h->owner, KL_NOWAIT, &pfn), 0);
    assert_int_equal(kl_frame_free(h->zone, h->owner, pfn), 0);
    for (; h->n > 0 && n < shrink->nr_to_scan; n++)
        assert_int_equal(kl_frame_free(h->zone, h->owner, h->pfn[--h->n]), 0);
    return n;
}

static void hoard_fill(struct hoard *h, unsigned n)
{
    while (h->n < n)
        assert_int_equal(kl_frame_alloc(h->zone, 0, h->owner, 0, &h->pfn[h->n++]), 0);
    h->priorities = 0;
}

static void shrinking_a_zone_frees_what_is_wanted(void **state)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "hoard", .seeks = 2, .count = hoard_count, .scan = hoard_scan};
    static struct hoard h;
    struct fixture f;
    int64_t gained;

    (void)state;
    fixture_open(&f, 16, ORDER, KL_ZONE_POPULATE);
    h = (struct hoard){.zone = f.zone};
    assert_int_equal(kl_zone_shrink(f.zone, 5, KL_SYNC), 0); /* nobody there */
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &h.owner), 0);
    assert_int_equal(kl_shrinker_register(f.zone, &ops, &h, &h.id), 0);
    hoard_fill(&h, 1000);
    assert_int_equal(kl_zone_shrink(f.zone, 0, KL_SYNC), 0);
    assert_int_equal(h.priorities, 0);
    gained = kl_zone_shrink(f.zone, 100, KL_SYNC_LIGHT);
    assert_in_range(gained, 100, 700); /* enough, and not everything */
    assert_int_equal(gained, 1000 - h.n);
    assert_int_equal(h.mode, KL_SYNC_LIGHT);
    assert_int_equal(h.priorities & 1, 0);   /* it did not come to that */
    assert_int_equal(h.priorities >> 10, 7); /* it began with the mildest */
    hoard_fill(&h, 1000);
    assert_int_equal(kl_zone_shrink(f.zone, UINT32_MAX, KL_SYNC), 1000);
    assert_int_equal(h.n, 0);
    assert_int_equal(h.priorities, 0x1fff);
    assert_int_equal(kl_shrinker_unregister(f.zone, h.id), 0);
    assert_int_equal(kl_owner_unregister(f.zone, h.owner), 0);
    fixture_close(&f);
}

static void *shrink_thread(void *arg)
{
    struct fixture *f = arg;

    ask(f, KLI_STAGE_ALL, 0, 1);
    return NULL;
}

/* Inside until somebody waits for the end of it: then it is not found any more. */
static void until_unregistered(struct cache *c)
{
    struct kl_shrinker_stats s = {.size = sizeof(s)};

    atomic_store((atomic_int *)c->more, 1);
    for (unsigned round = 0; kl_shrinker_get_stats(c->zone, c->id, &s) == 0; round++)
        kl_linux_host()->relax(NULL, round);
    for (unsigned round = 0; round < 30; round++)
        kl_linux_host()->relax(NULL, round);
    atomic_store((atomic_int *)c->more, 2);
}

static void wait_for(atomic_int *what, int value)
{
    for (unsigned round = 0; atomic_load(what) < value; round++)
        kl_linux_host()->relax(NULL, round);
}

static void unregistering_waits_for_the_scan(void **state)
{
    static atomic_int where;
    struct fixture f;
    struct cache c;
    pthread_t thread;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    cache_open(&c, &f, 2, 1000, 1);
    c.inside = until_unregistered;
    c.more = &where;
    assert_int_equal(pthread_create(&thread, NULL, shrink_thread, &f), 0);
    wait_for(&where, 1);
    cache_close(&c);
    assert_int_equal(atomic_load(&where), 2);
    assert_int_equal(c.calls, 1); /* and it was the last call, though work was left */
    pthread_join(thread, NULL);
    assert_int_equal(c.calls, 1);
    fixture_close(&f);
}

/* Two scans at a time, each of which would unregister the other and itself. */
struct pair {
    struct kl_zone *zone;
    pthread_barrier_t both;
    struct one {
        struct pair *pair;
        kl_shrinker_id id;
        atomic_bool met;
    } one[2];
};

static uint64_t pair_count(void *ctx, const struct kl_shrink *shrink)
{
    (void)ctx, (void)shrink;
    return 1;
}

/* Each thread stays in another one. */
static uint64_t pair_scan(void *ctx, struct kl_shrink *shrink)
{
    struct one *one = ctx;
    struct pair *p = one->pair;

    (void)shrink;
    if (atomic_exchange(&one->met, true))
        return 0;
    pthread_barrier_wait(&p->both);
    assert_int_equal(kl_shrinker_unregister(p->zone, p->one[0].id), -KL_EBUSY);
    assert_int_equal(kl_shrinker_unregister(p->zone, p->one[1].id), -KL_EBUSY);
    pthread_barrier_wait(&p->both);
    return 0;
}

static void scans_that_unregister_each_other(void **state)
{
    const struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "pair", .seeks = 2, .count = pair_count, .scan = pair_scan};
    static struct pair p;
    struct fixture f;
    pthread_t thread;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    p.zone = f.zone;
    pthread_barrier_init(&p.both, NULL, 2);
    for (unsigned i = 0; i < 2; i++) {
        p.one[i].pair = &p;
        assert_int_equal(kl_shrinker_register(f.zone, &ops, &p.one[i], &p.one[i].id), 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, shrink_thread, &f), 0);
    shrink_thread(&f);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(p.one[i].met);
        assert_int_equal(kl_shrinker_unregister(f.zone, p.one[i].id), 0);
    }
    pthread_barrier_destroy(&p.both);
    fixture_close(&f);
}

/* Each edge from each state: allowed where the diagram has it, and nowhere else. */
static void edges_of_a_gate(void **state)
{
    static kli_edge *const edges[] = {kli_g_claim, kli_g_open, kli_g_enter, kli_g_leave,
                                      kli_g_shut,  kli_g_end,  kli_g_quit};
    enum { N = sizeof(edges) / sizeof(edges[0]) };
    static const char *const allowed[] = {
        /* claim, open, enter, leave, shut, end, quit; then with a user inside */
        [KLI_G_FREE] = "c......",
        [KLI_G_CLAIMED] = ".o.....",
        [KLI_G_OPEN] = "..e.s.q",
        [KLI_G_LEAVING] = ".....n."};
    static const char *const inside[] = {[KLI_G_OPEN] = "..els..", [KLI_G_LEAVING] = "...l..."};

    (void)state;
    for (uint64_t st = KLI_G_FREE; st <= KLI_G_LEAVING; st++) {
        uint64_t w = 7 * KLI_G_GENERATION + st * KLI_G_STATE;

        for (unsigned e = 0; e < N; e++) {
            assert_int_equal(edges[e](w, 7).ok, allowed[st][e] != '.');
            if (inside[st % 4] && st >= KLI_G_OPEN)
                assert_int_equal(edges[e](w + 1, 7).ok, inside[st][e] != '.');
        }
        assert_false(kli_g_enter(w, 6).ok);
        assert_false(kli_g_shut(w, 8).ok);
        assert_false(kli_g_quit(w, 8).ok);
        assert_int_equal(kli_g_enter(w, KLI_G_ANY).ok, st == KLI_G_OPEN);
    }
    assert_int_equal(kli_g_claim(UINT64_C(0xffffff) << 40, 0).next, KLI_G_STATE); /* wraps */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_bad_shrinkers),
        cmocka_unit_test(a_zone_has_64),
        cmocka_unit_test(without_metadata),
        cmocka_unit_test(work_is_shared_by_count_and_seeks),
        cmocka_unit_test(a_batch_of_its_own),
        cmocka_unit_test(idle_ones_are_asked_first),
        cmocka_unit_test(stop_carries_over_and_empty_forgets),
        cmocka_unit_test(liars_are_bounded),
        cmocka_unit_test(a_scan_may_meddle),
        cmocka_unit_test(shrinking_a_zone_frees_what_is_wanted),
        cmocka_unit_test(unregistering_waits_for_the_scan),
        cmocka_unit_test(scans_that_unregister_each_other),
        cmocka_unit_test(edges_of_a_gate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
