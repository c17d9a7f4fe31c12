// SPDX-License-Identifier: Apache-2.0
/* Shrinkers that come and go while others are asked, for KLOTSKI_TORTURE_SECONDS
 * (default 5):
 *
 *   keepers   three threads register shrinkers that lie at random, meddle with others
 *             from within their scans, are unregistered and their memory freed
 *   shrinkers three threads ask for frames, in all modes, stages and priorities
 *   hoards    two threads keep frames that their shrinkers free
 *   pool      a thread makes a zsmalloc pool sparse, checks it and destroys it
 *   looker    reads figures of shrinkers that may be gone
 *   wanter    wants work of shrinkers that may be gone, of which a worker's thread and
 *             another one do steps
 *
 * No callback may run for a shrinker that has been unregistered, whose memory is free
 * by then; what is freed is what the shrinkers say; at the end the zone is whole.
 */
#include "reclaim/reclaim.h"
#include "support/torture.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { ZONE_BLOCKS = 64, ORDER = 6, LIARS = 12, HOARD = 400 };

static struct fixture f;
static _Atomic uint64_t scans, registered, works;
/* Ids of shrinkers that are, or were. */
static _Atomic uint64_t known[LIARS * 3];

struct liar {
    kl_shrinker_id id;
    atomic_bool alive;
    _Atomic uint64_t draws; /* many threads draw from it */
};

static uint32_t draw(struct liar *l, uint32_t n)
{
    struct rng rng = {(atomic_fetch_add(&l->draws, 0x9e3779b97f4a7c15u) ^ (uintptr_t)l) | 1};

    rng_below(&rng, n);
    return rng_below(&rng, n);
}

static uint64_t lie(struct liar *l)
{
    static const uint64_t lies[] = {
        0, 1, 128, 5000, UINT64_C(1) << 40, UINT64_MAX - 2, 17, 0, KL_SHRINK_EMPTY, KL_SHRINK_STOP};

    return lies[draw(l, sizeof(lies) / sizeof(lies[0]))];
}

static uint64_t liar_count(void *ctx, const struct kl_shrink *shrink)
{
    struct liar *l = ctx;

    torture_expect(atomic_load(&l->alive), "a count of one that is gone");
    torture_expect(shrink->priority <= KL_SHRINK_PRIORITY, "no such priority");
    return lie(l);
}

static const struct kl_shrinker_ops meddler_ops;

/* One more with this one's memory, for a moment.  Others may be at it when it is to
 * go; those do not wait for us. */
static void meddle(struct liar *l)
{
    kl_shrinker_id id;
    int err = kl_shrinker_unregister(f.zone, l->id);

    torture_expect(err == -KL_EBUSY || err == -KL_ENOENT,
                   "unregistered itself"); /* its keeper waits */
    torture_expect(kl_zone_shrink(f.zone, 1, KL_ASYNC) == -KL_EBUSY, "a round in a round");
    if (kl_shrinker_register(f.zone, &meddler_ops, l, &id) != 0)
        return;
    while ((err = kl_shrinker_unregister(f.zone, id)) == -KL_EBUSY)
        sched_yield();
    torture_expect(err == 0, "a scan can't unregister what it registered");
}

static uint64_t liar_scan(void *ctx, struct kl_shrink *shrink)
{
    struct liar *l = ctx;

    atomic_fetch_add_explicit(&scans, 1, memory_order_relaxed);
    torture_expect(atomic_load(&l->alive), "a scan of one that is gone");
    if (draw(l, 200) == 0)
        meddle(l);
    if (draw(l, 3) == 0)
        memset(shrink, (int)draw(l, 256), sizeof(*shrink));
    return lie(l);
}

static _Atomic unsigned working;

static uint64_t liar_work(void *ctx, uint32_t budget)
{
    struct liar *l = ctx;

    (void)budget;
    atomic_fetch_add_explicit(&works, 1, memory_order_relaxed);
    torture_expect(atomic_fetch_add(&working, 1) == 0, "two work at a time");
    torture_expect(atomic_load(&l->alive), "work of one that is gone");
    if (draw(l, 20) == 0)
        meddle(l);
    torture_expect(atomic_fetch_sub(&working, 1) == 1, "two work at a time");
    return draw(l, 2) ? draw(l, 2000000) : lie(l);
}

static uint64_t meddler_scan(void *ctx, struct kl_shrink *shrink)
{
    struct liar *l = ctx;

    (void)shrink;
    torture_expect(atomic_load(&l->alive), "a scan of a guest that is gone");
    return lie(l);
}

static const struct kl_shrinker_ops liar_ops = {
    .size = sizeof(liar_ops), .name = "liar", .count = liar_count, .scan = liar_scan};
static const struct kl_shrinker_ops meddler_ops = {.size = sizeof(meddler_ops),
                                                   .name = "guest",
                                                   .seeks = 1,
                                                   .count = liar_count,
                                                   .scan = meddler_scan};

static struct liar *liar_open(unsigned place, struct rng *rng)
{
    struct kl_shrinker_ops o = liar_ops;
    struct liar *l = calloc(1, sizeof(*l));

    atomic_store(&l->draws, rng->state);
    atomic_store(&l->alive, true);
    o.seeks = rng_below(rng, 4);
    o.batch = rng_below(rng, 300);
    o.work = rng_below(rng, 4) ? liar_work : NULL;
    o.owner.v = (uint16_t)rng_below(rng, 5); /* somebody's, or nobody's */
    o.flags = o.seeks && rng_below(rng, 3) == 0 ? KL_SHRINKER_COLD : 0;
    if (kl_shrinker_register(f.zone, &o, l, &l->id) != 0) {
        free(l);
        return NULL;
    }
    atomic_fetch_add(&registered, 1);
    atomic_store(&known[place], l->id.v);
    return l;
}

static void liar_close(struct liar *l)
{
    torture_expect(kl_shrinker_unregister(f.zone, l->id) == 0, "can't be unregistered");
    torture_expect(kl_shrinker_unregister(f.zone, l->id) == -KL_ENOENT, "unregistered twice");
    atomic_store(&l->alive, false);
    free(l);
}

static void *keeper(void *arg)
{
    uintptr_t nr = (uintptr_t)arg;
    struct rng rng = rng_new(nr);
    struct liar *liar[LIARS] = {NULL};
    struct timespec nap = {.tv_nsec = 20000};

    while (torture_on()) {
        unsigned i = rng_below(&rng, LIARS);

        nanosleep(&nap, NULL);

        if (liar[i]) {
            liar_close(liar[i]);
            liar[i] = NULL;
        } else {
            liar[i] = liar_open((unsigned)nr * LIARS + i, &rng);
        }
    }
    for (unsigned i = 0; i < LIARS; i++) {
        if (liar[i])
            liar_close(liar[i]);
    }
    return NULL;
}

static void *shrinker(void *arg)
{
    struct rng rng = rng_new(100 + (uintptr_t)arg);

    while (torture_on()) {
        const struct kli_shrink_ask ask = {
            .stage = (enum kli_stage)rng_below(&rng, 2),
            .priority = rng_below(&rng, KL_SHRINK_PRIORITY + 1),
            .want = rng_below(&rng, 500),
            .mode = (enum kl_mode)rng_below(&rng, 3),
        };

        if (rng_below(&rng, 20))
            kli_shrink(f.zone, &ask);
        else
            torture_expect(kl_zone_shrink(f.zone, rng_below(&rng, 300), ask.mode) >= 0, "refused");
    }
    return NULL;
}

/* Frames that are filed in a stack of a lock's own. */
struct hoard {
    pthread_mutex_t lock;
    kl_owner_id owner;
    kl_pfn pfn[HOARD];
    unsigned n, hard;
    uint64_t given, shrunk;
};

static uint64_t hoard_count(void *ctx, const struct kl_shrink *shrink)
{
    struct hoard *h = ctx;
    uint64_t n;

    (void)shrink;
    pthread_mutex_lock(&h->lock);
    n = h->n ? h->n : KL_SHRINK_EMPTY;
    pthread_mutex_unlock(&h->lock);
    return n;
}

static uint64_t hoard_scan(void *ctx, struct kl_shrink *shrink)
{
    struct hoard *h = ctx;
    uint64_t n = 0;

    if (pthread_mutex_trylock(&h->lock) != 0)
        return KL_SHRINK_STOP;
    for (; h->n > 0 && n < shrink->nr_to_scan; n++)
        torture_expect(kl_frame_free(f.zone, h->owner, h->pfn[--h->n]) == 0, "a frame is gone");
    h->shrunk += n;
    pthread_mutex_unlock(&h->lock);
    return n;
}

/* Another share, while shrinkers free; what is had is within it from then on. */
static void hoard_share(struct hoard *h, struct rng *rng)
{
    struct kl_share share = {.size = sizeof(share)};
    int err;

    share.hard = 1 + rng_below(rng, HOARD);
    share.soft = rng_below(rng, (uint32_t)share.hard);
    err = kl_owner_set_share(f.zone, h->owner, &share);
    torture_expect(err == 0 || err == -KL_EBUSY, "an odd answer to a share");
    if (err)
        return;
    pthread_mutex_lock(&h->lock);
    torture_expect(h->n <= share.hard, "more than the share");
    pthread_mutex_unlock(&h->lock);
    h->hard = (unsigned)share.hard;
}

static void hoard_add(struct hoard *h)
{
    kl_pfn pfn;

    if (kl_frame_alloc(f.zone, 0, h->owner, 0, &pfn) != 0)
        return;
    pthread_mutex_lock(&h->lock);
    h->given++;
    h->pfn[h->n++] = pfn;
    torture_expect(h->hard == 0 || h->n <= h->hard, "more than the share");
    pthread_mutex_unlock(&h->lock);
}

static void *hoarder(void *arg)
{
    struct kl_shrinker_ops ops = {
        .size = sizeof(ops), .name = "hoard", .count = hoard_count, .scan = hoard_scan};
    struct hoard *h = calloc(1, sizeof(*h));
    struct rng rng = rng_new(600 + (uintptr_t)arg);
    kl_shrinker_id id;

    pthread_mutex_init(&h->lock, NULL);
    torture_expect(kl_owner_register(f.zone, NULL, NULL, &h->owner) == 0, "no owner");
    ops.seeks = (uintptr_t)arg % 2 ? 2 : 0;
    ops.owner = h->owner;
    while (kl_shrinker_register(f.zone, &ops, h, &id) != 0)
        sched_yield(); /* all places are taken */
    while (torture_on()) {
        bool full;

        if (rng_below(&rng, 64) == 0)
            hoard_share(h, &rng);
        pthread_mutex_lock(&h->lock);
        full = h->n == HOARD;
        pthread_mutex_unlock(&h->lock);
        if (full)
            sched_yield();
        else
            hoard_add(h);
    }
    torture_expect(kl_shrinker_unregister(f.zone, id) == 0, "a hoard can't be unregistered");
    torture_expect(h->given == h->shrunk + h->n, "a frame was lost");
    while (h->n > 0)
        kl_frame_free(f.zone, h->owner, h->pfn[--h->n]);
    torture_expect(kl_owner_unregister(f.zone, h->owner) == 0, "a frame was left");
    free(h);
    return NULL;
}

static void use_pool(struct kl_zs *pool, struct rng *rng)
{
    enum { OBJECTS = 300 };
    kl_handle o[OBJECTS];
    char buf[3000];

    for (unsigned i = 0; i < OBJECTS; i++) {
        uint32_t size = 1 + i * 9;

        if (kl_zs_malloc(pool, size, 0, &o[i]) != 0) {
            o[i].v = 0;
            continue;
        }
        fill_bytes(buf, size, i);
        torture_expect(kl_zs_write(pool, o[i], 0, buf, size) == 0, "a write failed");
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (o[i].v && rng_below(rng, 4))
            torture_expect(kl_zs_free(pool, o[i]) == 0, "a free failed");
        else if (o[i].v)
            torture_expect(kl_zs_read(pool, o[i], 0, buf, 1 + i * 9) == 0 &&
                               bytes_are(buf, 1 + i * 9, i),
                           "an object is wrong");
    }
}

static void *pools(void *arg)
{
    struct rng rng = rng_new(300);

    (void)arg;
    while (torture_on()) {
        struct kl_zs *pool;

        if (kl_zs_create(f.zone, NULL, &pool) != 0) {
            torture_expect(false, "no pool");
            continue;
        }
        for (unsigned i = 0; i < 5; i++)
            use_pool(pool, &rng);
        torture_expect(kl_zs_destroy(pool) == 0, "a pool can't be destroyed");
    }
    return NULL;
}

static void *looker(void *arg)
{
    struct rng rng = rng_new(400);

    (void)arg;
    while (torture_on()) {
        struct kl_shrinker_stats s = {.size = sizeof(s)};
        kl_shrinker_id id = {atomic_load(&known[rng_below(&rng, LIARS * 3)])};

        if (kl_shrinker_get_stats(f.zone, id, &s) == 0)
            torture_expect(strcmp(s.name, "liar") == 0, "another one's figures");
        sched_yield();
    }
    return NULL;
}

static void *wanter(void *arg)
{
    struct rng rng = rng_new(500);

    (void)arg;
    while (torture_on()) {
        struct kl_step step = {.size = sizeof(step), .budget = 8, .flags = KL_STEP_WANTED};
        kl_shrinker_id id = {atomic_load(&known[rng_below(&rng, LIARS * 3)])};
        int err = kl_shrinker_want(f.zone, id);

        torture_expect(err == 0 || err == -KL_ENOENT || err == -KL_EINVAL,
                       "an odd answer to a want");
        if (rng_below(&rng, 16) == 0)
            kl_zone_step(f.zone, &step, NULL);
        sched_yield();
    }
    return NULL;
}

static void *presser(void *arg)
{
    struct rng rng = rng_new(700);
    struct timespec nap = {.tv_nsec = 300000};

    (void)arg;
    while (torture_on()) {
        struct kl_budget_row row[2];
        struct kl_budget b = {.size = sizeof(b)};

        kl_zone_pressure(f.zone, (enum kl_pressure_level)rng_below(&rng, 3), rng_below(&rng, 9));
        kl_zone_get_budget(f.zone, &b, row, 2);
        torture_expect((b.owners > 0 ? row[0].frames : 0) + (b.owners > 1 ? row[1].frames : 0) +
                               b.other_frames + b.free_frames + b.absent_frames ==
                           b.frames,
                       "the table does not add up");
        nanosleep(&nap, NULL);
    }
    kl_zone_pressure(f.zone, KL_PRESSURE_NONE, 0);
    return NULL;
}

static const char *missing(void)
{
    const struct torture_count counts[] = {
        {atomic_load(&scans), "no shrinker was asked"},
        {atomic_load(&works), "no shrinker's work was done"},
        {atomic_load(&registered), "no shrinker came"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static void shrinkers_come_and_go(void **state)
{
    static void *(*const bodies[])(void *) = {keeper,   keeper,   keeper,  shrinker,
                                              shrinker, shrinker, hoarder, hoarder,
                                              pools,    looker,   wanter,  presser};
    struct kl_linux_worker *worker;

    (void)state;
    fixture_open(&f, ZONE_BLOCKS, ORDER, 0);
    assert_int_equal(kl_linux_worker_create(f.zone, NULL, &worker), 0);
    assert_int_equal(kl_linux_worker_start(worker), 0);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    kl_linux_worker_destroy(worker);
    assert_null(kli_shrinkers(f.zone)->rounds);
    assert_int_equal(atomic_load(&kli_shrinkers(f.zone)->annex.users), 0);
    fixture_close(&f);
    print_message("# %llu operations, %llu shrinkers, %llu scans, %llu works\n", torture_ops(),
                  (unsigned long long)atomic_load(&registered),
                  (unsigned long long)atomic_load(&scans), (unsigned long long)atomic_load(&works));
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shrinkers_come_and_go)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
