// SPDX-License-Identifier: Apache-2.0
#include "stall.h"

#include "klotski/klotski.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 64 << 20, ORDER = 9, SLEEPERS = 8, OBJECTS = 256, SUB = 16, BUCKETS = 64 * SUB };

struct stall {
    enum stall_where where;
    unsigned ms;
    uint64_t least;
    struct kl_linux_backing *memory;
    struct kl_zone *zone;
    kl_owner_id sleeper, plain;
    kl_pfn frame[SLEEPERS];
    struct kl_zs *pool;
    kl_handle object[OBJECTS];
    struct kl_zs_pin pin;
    kl_pfn first; /* of the block that is emptied */
    atomic_bool asleep, over;
    _Atomic uint64_t ops;
    uint64_t bucket[BUCKETS], max_ns, rng;
};

static _Thread_local uint64_t *waits; /* of the thread that is timed */
static struct kl_host host;

static void count_relax(void *ctx, unsigned round)
{
    if (waits)
        ++*waits;
    kl_linux_host()->relax(ctx, round);
}

static void count_wait(void *ctx, const uint32_t *word, uint32_t seen, uint64_t timeout_ns)
{
    if (waits)
        ++*waits;
    kl_linux_host()->wait(ctx, word, seen, timeout_ns);
}

static uint64_t now_ns(void)
{
    return kl_linux_host()->now_ns(NULL);
}

/* Once; whoever is called later does not sleep. */
static void sleep_here(struct stall *s)
{
    uint64_t until = now_ns() + (uint64_t)s->ms * 1000000;

    if (atomic_load(&s->over))
        return;
    atomic_store(&s->asleep, true);
    while (now_ns() < until || atomic_load(&s->ops) < s->least)
        usleep(1000);
    atomic_store(&s->over, true);
    atomic_store(&s->asleep, false);
}

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct stall *s = ctx;

    (void)frame, (void)mode;
    if (s->where == STALL_ISOLATE)
        sleep_here(s);
    return true;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct stall *s = ctx;
    uint64_t i = kl_frame_private(s->zone, src);

    (void)mode;
    if (s->where == STALL_MIGRATE)
        sleep_here(s);
    kl_frame_copy(s->zone, dst, src);
    kl_frame_set_private(s->zone, dst, i);
    s->frame[i] = dst;
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

static int prepare(void *ctx, const kl_pfn *frames, size_t n, enum kl_mode mode)
{
    struct stall *s = ctx;

    (void)frames, (void)n, (void)mode;
    if (s->where == STALL_PREPARE)
        sleep_here(s);
    return 0;
}

static void finish(void *ctx, const kl_pfn *frames, size_t n)
{
    (void)ctx, (void)frames, (void)n;
}

static const struct kl_owner_ops sleepy = {
    .size = sizeof(sleepy),
    .name = "sleeper",
    .isolate = isolate,
    .migrate = migrate,
    .putback = putback,
    .prepare = prepare,
    .finish = finish,
};

static int open_zone(struct stall *s)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = BYTES, .block_order = ORDER};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = &host, .flags = KL_ZONE_POPULATE};
    int err = kl_linux_backing_create(&memory, &s->memory);

    if (err)
        return err;
    host = *kl_linux_host();
    host.relax = count_relax;
    host.wait = count_wait;
    config.backing = kl_linux_backing_get(s->memory);
    err = kl_zone_create(&config, &s->zone);
    if (!err)
        err = kl_owner_register(s->zone, &sleepy, s, &s->sleeper);
    if (!err)
        err = kl_owner_register(s->zone, NULL, NULL, &s->plain);
    return err ? err : kl_zs_create(s->zone, NULL, &s->pool);
}

static uint32_t below(struct stall *s, uint32_t n)
{
    s->rng ^= s->rng << 13;
    s->rng ^= s->rng >> 7;
    s->rng ^= s->rng << 17;
    return (uint32_t)((s->rng >> 32) * n >> 32);
}

/* The frame in which an object begins. */
static kl_pfn frame_of(struct stall *s, const struct kl_zs_pin *pin)
{
    size_t len;
    const char *base = kl_frame_addr(s->zone, kl_zone_pfn(s->zone, 0)),
               *at = kl_zs_run(pin, 0, &len);

    return kl_zone_pfn(s->zone, (uint32_t)((size_t)(at - base) / kl_zone_frame_bytes(s->zone)));
}

/* Sleepers stand in one block; objects are all over the pool. */
static int fill(struct stall *s)
{
    kl_pfn stands = {0};
    int err = 0;

    for (uint64_t i = 0; i < SLEEPERS && !err; i++) {
        err = kl_frame_alloc(s->zone, 0, s->sleeper, KL_MOVABLE, &s->frame[i]);
        if (!err)
            kl_frame_set_private(s->zone, s->frame[i], i);
    }
    for (unsigned i = 0; i < OBJECTS && !err; i++)
        err = kl_zs_malloc(s->pool, 32 + below(s, 4000), 0, &s->object[i]);
    if (err)
        return err;
    stands = s->frame[0];
    if (s->where == STALL_READ) {
        err = kl_zs_begin(s->pool, s->object[0], &s->pin);
        if (err)
            return err;
        stands = frame_of(s, &s->pin);
    }
    s->first = kl_zone_pfn(s->zone, kl_pfn_nr(stands) >> ORDER << ORDER);
    return 0;
}

/* Empties the block.  With a reader it goes on and on, until that one has gone. */
static void *move(void *arg)
{
    struct stall *s = arg;
    int err;

    do {
        err = kl_contig_alloc_at(s->zone, s->plain, s->first, 1u << ORDER, KL_SYNC, NULL);
    } while (err && s->where == STALL_READ && !atomic_load(&s->over));
    if (!err)
        kl_contig_free(s->zone, s->plain, s->first, 1u << ORDER);
    return NULL;
}

static void *read_long(void *arg)
{
    struct stall *s = arg;

    sleep_here(s);
    kl_zs_end(&s->pin);
    return NULL;
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned log = 63u - (unsigned)__builtin_clzll(ns | SUB);

    return (log - 4) * SUB + (unsigned)((ns >> (log - 4)) & (SUB - 1));
}

static uint64_t quantile(const struct stall *s, uint64_t ops, unsigned percent)
{
    uint64_t sum = 0;
    unsigned b = 0;

    while (b + 1 < BUCKETS && (sum += s->bucket[b]) * 100 < ops * percent)
        b++;
    return (uint64_t)(SUB + b % SUB + 1) << (b / SUB); /* its upper end */
}

/* One operation; object 0 is the one that stays open. */
static int one(struct stall *s, unsigned what)
{
    unsigned i = 1 + below(s, OBJECTS - 1);
    char buf[32] = "as good as anything else";
    static kl_pfn pfn;

    switch (what) {
    case 0:
        return kl_frame_alloc(s->zone, 0, s->plain, 0, &pfn);
    case 1:
        return kl_frame_free(s->zone, s->plain, pfn);
    case 2:
        return kl_zs_read(s->pool, s->object[i], 0, buf, sizeof(buf));
    case 3:
        return kl_zs_write(s->pool, s->object[i], 0, buf, sizeof(buf));
    default:
        break;
    }
    i = kl_zs_free(s->pool, s->object[i]) ? 0 : i;
    return i ? kl_zs_malloc(s->pool, 32 + below(s, 4000), 0, &s->object[i]) : -KL_ESTALE;
}

static int work(struct stall *s, struct stall_result *result)
{
    int err = 0;
    uint64_t mine; /* waits of one operation, counted if the sleep goes on behind it */

    while (!atomic_load(&s->asleep))
        usleep(100);
    waits = &mine;
    for (unsigned n = 0; !err && atomic_load(&s->asleep); n++) {
        uint64_t since = now_ns(), ns;

        mine = 0;
        err = one(s, n % 5);
        ns = now_ns() - since;
        result->waits += atomic_load(&s->asleep) ? mine : 0;
        s->bucket[bucket_of(ns)]++;
        s->max_ns = ns > s->max_ns ? ns : s->max_ns;
        atomic_fetch_add(&s->ops, 1);
    }
    waits = NULL;
    if (!err) /* a frame may still be allocated */
        for (unsigned n = (unsigned)(s->ops % 5); n == 1; n = 0)
            err = one(s, 1);
    atomic_store(&s->ops, s->ops + s->least); /* an error ends the sleep too */
    return err;
}

static int stalled(struct stall *s, struct stall_result *result)
{
    pthread_t mover, reader = {0};
    int err;

    if (pthread_create(&mover, NULL, move, s))
        return -KL_ENOMEM;
    if (s->where == STALL_READ && pthread_create(&reader, NULL, read_long, s))
        return -KL_ENOMEM;
    err = work(s, result);
    if (s->where == STALL_READ)
        pthread_join(reader, NULL);
    pthread_join(mover, NULL);
    result->ops = s->ops - s->least;
    result->p50_ns = quantile(s, result->ops, 50);
    result->p99_ns = quantile(s, result->ops, 99);
    result->max_ns = s->max_ns;
    return err;
}

static void close_zone(struct stall *s)
{
    if (s->pool)
        kl_zs_destroy(s->pool);
    for (unsigned i = 0; i < SLEEPERS; i++) {
        if (s->frame[i].v)
            kl_frame_free(s->zone, s->sleeper, s->frame[i]);
    }
    if (s->zone) {
        kl_owner_unregister(s->zone, s->sleeper);
        kl_owner_unregister(s->zone, s->plain);
        kl_zone_destroy(s->zone);
    }
    if (s->memory)
        kl_linux_backing_destroy(s->memory);
}

const char *stall_name(enum stall_where where)
{
    static const char *const name[] = {"isolate", "prepare", "migrate", "read"};

    return name[where];
}

int stall_run(enum stall_where where, unsigned ms, uint64_t least, struct stall_result *result)
{
    static struct stall s;
    int err;

    memset(&s, 0, sizeof(s));
    memset(result, 0, sizeof(*result));
    s.where = where;
    s.ms = ms;
    s.least = least;
    s.rng = 88172645463325252u;
    err = open_zone(&s);
    if (!err)
        err = fill(&s);
    if (!err)
        err = stalled(&s, result);
    close_zone(&s);
    return err;
}
