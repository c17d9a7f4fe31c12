// SPDX-License-Identifier: Apache-2.0
/* Buffers in a device's memory for KLOTSKI_TORTURE_SECONDS (default 5), moved by an engine on
 * its own thread that is slow, full, fails, and is sometimes done within submit.
 *
 *   users     three threads allocate, use, check and free buffers, large ones among them
 *   passer    one more than there may be at a time make passes, with all bounds; the owner
 *             ignores some moves and destroys some buffers
 *   ranges    a thread takes contiguous ranges, of another owner, and overwrites them
 *   taker     a thread gives blocks back, lends them, resizes and compacts
 *
 * Contents are checked in the device's memory, while a buffer is used, and so stays where it is;
 * and when it is told that it has moved.
 */
#include "support/torture.h"

#include "heap/heap.h"

#include <pthread.h>
#include <string.h>

enum { BLOCKS = 32, ORDER = 6, FIRST_SIZE = 28, FRAME = 4096, ITEMS = 70, USERS = 3, QUEUE = 3 };

/* A buffer's user; a thread's own, but for seed, which says what must be in it. */
struct item {
    kl_buffer_id id;
    bool here;
    _Atomic uint64_t seed; /* 0: it is being made or freed */
};

struct job {
    const struct kl_copy *copies;
    size_t n;
    struct kl_heap_batch *batch;
};

static struct kl_zone *zone;
static struct kl_heap *heap;
static unsigned char *memory;
static struct item items[USERS][ITEMS];
static _Atomic uint64_t seeds = 1, taken, ranges, passes, destroyed, moves;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the queue */
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct job queue[QUEUE];
static unsigned queued;
static bool stop;
static struct rng engine_rng;

static _Thread_local struct rng dice_rng;

static bool dice(unsigned percent)
{
    if (dice_rng.state == 0)
        dice_rng = rng_new(7000 + (uint64_t)(uintptr_t)&dice_rng % 1009);
    return rng_below(&dice_rng, 100) < percent;
}

static void make_copies(const struct job *job)
{
    for (size_t i = 0; i < job->n; i++)
        memcpy(memory + job->copies[i].dst, memory + job->copies[i].src, job->copies[i].bytes);
}

/* With copies that overlap, one would spoil the other; each is looked at against all. */
static void check_apart(const struct job *job)
{
    for (size_t i = 0; i < job->n; i++) {
        const struct kl_copy *a = &job->copies[i];

        for (size_t k = 0; k < job->n && k < 64; k++) {
            const struct kl_copy *b = &job->copies[k];

            torture_expect(a->dst >= b->src + b->bytes || b->src >= a->dst + a->bytes,
                           "a destination is a source");
            torture_expect(k == i || a->dst >= b->dst + b->bytes || b->dst >= a->dst + a->bytes,
                           "two copies have one destination");
        }
    }
}

static void finish(const struct job *job, bool fails)
{
    check_apart(job);
    if (!fails)
        make_copies(job);
    kl_heap_done(job->batch, fails ? -KL_EIO : 0);
}

static void *engine(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct job job;
        unsigned at;

        while (queued == 0 && !stop)
            pthread_cond_wait(&work, &lock);
        if (queued == 0)
            break;
        at = rng_below(&engine_rng, queued); /* in any order */
        job = queue[at];
        queue[at] = queue[--queued];
        pthread_mutex_unlock(&lock);
        if (rng_below(&engine_rng, 20) == 0)
            for (unsigned i = 0; i < 50; i++)
                kl_linux_host()->relax(kl_linux_host()->ctx, i);
        finish(&job, rng_below(&engine_rng, 50) == 0);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int submit(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch)
{
    struct job job = {copies, n, batch};
    int err = -KL_EAGAIN;

    (void)ctx;
    if (dice(10)) {
        finish(&job, false);
        return 0;
    }
    if (dice(2))
        return -KL_EIO;
    pthread_mutex_lock(&lock);
    if (queued < QUEUE) {
        queue[queued++] = job;
        err = 0;
        pthread_cond_signal(&work);
    }
    pthread_mutex_unlock(&lock);
    return err;
}

static enum kl_heap_choice choose(void *ctx, const struct kl_heap_move *move)
{
    struct item *item = move->user;

    (void)ctx;
    if (dice(1))
        return KL_HEAP_IGNORE;
    if (!dice(1))
        return KL_HEAP_COPY;
    atomic_store(&item->seed, 0);
    atomic_fetch_add(&destroyed, 1);
    return KL_HEAP_DESTROY;
}

/* Its first and its last bytes; a free may come in between, and then the seed is another. */
static void moved(void *ctx, const struct kl_heap_move *move)
{
    struct item *item = move->user;
    uint64_t where, seed = atomic_load(&item->seed);

    (void)ctx;
    atomic_fetch_add(&moves, 1);
    torture_expect(kl_heap_use(heap, move->buffer, KL_ASYNC, NULL) != 0,
                   "it is used before everybody knows where it is");
    if (kl_heap_where(heap, move->buffer, &where, NULL) != 0 || seed == 0)
        return;
    torture_expect(where == move->dst, "it is not where it went to");
}

static void make_item(struct item *item, struct rng *rng)
{
    uint64_t frames =
        rng_below(rng, 200)
            ? 1 + rng_below(rng, 1u << rng_below(rng, rng_below(rng, 30) ? 5 : ORDER + 1))
            : (1u << ORDER) + rng_below(rng, 3u << ORDER);
    uint64_t where, bytes, seed = atomic_fetch_add(&seeds, 1);
    int err = kl_heap_alloc(heap, frames * FRAME - rng_below(rng, FRAME), 0, item, &item->id);

    torture_expect(err == 0 || err == -KL_ENOMEM || err == -KL_EBUSY, "an allocation failed oddly");
    item->here = err == 0;
    if (err)
        return;
    err = kl_heap_use(heap, item->id, KL_SYNC, &where);
    if (err == 0) {
        kl_heap_where(heap, item->id, NULL, &bytes);
        fill_bytes(memory + where, bytes, seed);
        atomic_store(&item->seed, seed);
        torture_expect(kl_heap_unuse(heap, item->id) == 0, "it can't be let go");
        return;
    }
    torture_expect(err == -KL_EBUSY || err == -KL_ESTALE, "a use failed oddly");
    item->here = err != -KL_ESTALE;
}

/* Of one that nobody frees meanwhile, but the owner's choice. */
static void look_at(struct item *item, struct rng *rng)
{
    uint64_t where, bytes, seed, again;
    int err = kl_heap_use(heap, item->id, (enum kl_mode)rng_below(rng, 3), &where);

    if (err == -KL_ESTALE) {
        item->here = false;
        return;
    }
    torture_expect(err == 0 || err == -KL_EBUSY, "a use failed oddly");
    if (err)
        return;
    seed = atomic_load(&item->seed);
    torture_expect(kl_heap_where(heap, item->id, &again, &bytes) == 0 && again == where,
                   "it is used, and not where it was");
    torture_expect(seed == 0 || bytes_are(memory + where, bytes, seed), "a buffer is wrong");
    if (seed && rng_below(rng, 4) == 0) {
        seed = atomic_fetch_add(&seeds, 1);
        fill_bytes(memory + where, bytes, seed);
        atomic_store(&item->seed, seed);
    }
    torture_expect(kl_heap_free(heap, item->id) == -KL_EBUSY, "it is freed while it is used");
    torture_expect(kl_heap_unuse(heap, item->id) == 0, "it can't be let go");
}

static void free_item(struct item *item)
{
    int err;

    atomic_store(&item->seed, 0);
    err = kl_heap_free(heap, item->id);
    torture_expect(err == 0 || err == -KL_ESTALE, "a free was refused");
    torture_expect(kl_heap_free(heap, item->id) == -KL_ESTALE, "it is freed twice");
    item->here = false;
}

static void *user(void *arg)
{
    unsigned who = (unsigned)(uintptr_t)arg;
    struct rng rng = rng_new(who);

    while (torture_on()) {
        struct item *item = &items[who][rng_below(&rng, ITEMS)];

        if (!item->here)
            make_item(item, &rng);
        else if (rng_below(&rng, 3) == 0)
            free_item(item);
        else
            look_at(item, &rng);
    }
    return NULL;
}

static void *passer(void *arg)
{
    struct rng rng = rng_new(50 + (uintptr_t)arg);

    while (torture_on()) {
        struct kl_pass pass = {.size = sizeof(pass),
                               .max_bytes = (uint64_t)rng_below(&rng, 100) * FRAME,
                               .max_moves = rng_below(&rng, 60)};
        int err = kl_heap_pass(heap, &pass);

        torture_expect(err == 0 || err == -KL_EAGAIN || err == -KL_EIO, "a pass failed oddly");
        torture_expect(!pass.max_bytes || pass.bytes <= pass.max_bytes, "a pass is too large");
        torture_expect(!pass.max_moves || pass.moves <= pass.max_moves,
                       "a pass has too many moves");
        atomic_fetch_add(&passes, err == 0 && pass.moves > 0);
        kl_linux_host()->relax(kl_linux_host()->ctx, rng_below(&rng, 20));
    }
    return NULL;
}

static void *range_taker(void *arg)
{
    struct rng rng = rng_new(100);
    kl_owner_id owner;

    (void)arg;
    kl_owner_register(zone, NULL, NULL, &owner);
    while (torture_on()) {
        uint32_t n = 1 + rng_below(&rng, 200), align = 1u << rng_below(&rng, 7);
        struct kl_report r = {.size = sizeof(r)};
        kl_pfn first;

        if (kl_contig_alloc(zone, owner, n, align, (enum kl_mode)rng_below(&rng, 3), &first, &r) ==
            0) {
            memset(memory + kl_frame_offset(zone, first), 0xee, (size_t)n * FRAME);
            torture_expect(kl_contig_free(zone, owner, first, n) == 0, "a range can't be freed");
            atomic_fetch_add(&ranges, 1);
        }
        torture_expect_outcomes(&r);
    }
    torture_expect(kl_owner_unregister(zone, owner) == 0, "a range was left");
    return NULL;
}

static void *taker(void *arg)
{
    struct rng rng = rng_new(200 + (uintptr_t)arg);
    uint32_t held = 0;

    while (torture_on()) {
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        struct kl_report r = {.size = sizeof(r)};
        uint32_t n = 1 + rng_below(&rng, BLOCKS / 4);

        switch (rng_below(&rng, 4)) {
        case 0:
            if (kl_zone_give_back(zone, n, mode, &r) == 0) {
                held += n;
                atomic_fetch_add(&taken, n);
            }
            break;
        case 1:
            if (held > 0 && kl_zone_lend(zone, held) == 0)
                held = 0;
            break;
        case 2:
            kl_zone_compact(zone, mode, rng_below(&rng, 300), &r);
            break;
        case 3:
            kl_zone_resize(zone, BLOCKS - rng_below(&rng, BLOCKS / 2), mode, &r);
            break;
        }
        torture_expect_outcomes(&r);
    }
    if (held > 0)
        torture_expect(kl_zone_lend(zone, held) == 0, "what was taken can't be lent");
    return NULL;
}

static void open_all(void)
{
    static const struct kl_heap_ops ops = {
        .size = sizeof(ops), .name = "torture", .choose = choose, .submit = submit, .moved = moved};
    uint64_t bytes = (uint64_t)BLOCKS << (12 + ORDER);
    struct kl_backing backing;
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = &backing, .blocks = FIRST_SIZE};

    engine_rng = rng_new(815);
    assert_int_equal(kl_backing_offsets(&backing, bytes, 12, ORDER), 0);
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    memory = malloc(bytes);
    assert_non_null(memory);
    assert_int_equal(kl_heap_create(zone, &ops, NULL, &heap), 0);
}

static void check_all(void)
{
    const char *what = "";
    struct kl_heap_stats stats = {.size = sizeof(stats)};
    struct kl_zone_stats zs = {.size = sizeof(zs)};

    if (kl_heap_check(heap, &what) != 0)
        fail_msg("heap: %s", what);
    assert_zone_ok(zone);
    kl_heap_get_stats(heap, &stats);
    kl_zone_get_stats(zone, &zs);
    assert_int_equal(stats.under_way, 0);
    assert_int_equal(zs.isolated, zs.migrated + zs.put_back + zs.freed_isolated);
    assert_true(stats.moved >= atomic_load(&moves));
    print_message(
        "# %llu moved, %llu put back, %llu freed on their way, %llu refused, %llu failed\n",
        (unsigned long long)stats.moved, (unsigned long long)stats.put_back,
        (unsigned long long)stats.freed, (unsigned long long)stats.refused,
        (unsigned long long)stats.failed);
}

static void close_all(void)
{
    for (unsigned u = 0; u < USERS; u++)
        for (unsigned i = 0; i < ITEMS; i++)
            if (items[u][i].here)
                free_item(&items[u][i]);
    check_all();
    assert_int_equal(kl_heap_destroy(heap), 0);
    assert_zone_ok(zone);
    assert_int_equal(kl_zone_destroy(zone), 0);
    free(memory);
}

static struct kl_heap_stats stats_now(void)
{
    struct kl_heap_stats stats = {.size = sizeof(stats)};

    kl_heap_get_stats(heap, &stats);
    return stats;
}

/* All that shall have happened. */
static const char *missing(void)
{
    struct kl_heap_stats stats = stats_now();
    const struct torture_count counts[] = {
        {atomic_load(&passes), "no pass moved anything"},
        {atomic_load(&moves), "nothing was moved"},
        {atomic_load(&destroyed), "nothing was destroyed"},
        {atomic_load(&taken), "no block was taken"},
        {atomic_load(&ranges), "no range was taken"},
        {stats.freed, "nothing was freed on its way"},
        {stats.put_back, "nothing was put back"},
        {stats.refused, "the queue was never full"},
        {stats.failed, "the engine never failed"},
        {stats.ignored, "nothing was ignored"},
    };

    return torture_first_zero(counts, sizeof(counts) / sizeof(counts[0]));
}

static void buffers_at_work(void **state)
{
    static void *(*const bodies[])(void *) = {user, user, user, passer, passer, range_taker, taker};
    pthread_t thread;

    (void)state;
    open_all();
    assert_int_equal(pthread_create(&thread, NULL, engine, NULL), 0);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    pthread_mutex_lock(&lock);
    stop = true;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    print_message(
        "# %llu operations, %llu passes, %llu destroyed, %llu blocks taken, %llu ranges\n",
        torture_ops(), (unsigned long long)atomic_load(&passes),
        (unsigned long long)atomic_load(&destroyed), (unsigned long long)atomic_load(&taken),
        (unsigned long long)atomic_load(&ranges));
    close_all();
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(buffers_at_work)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
