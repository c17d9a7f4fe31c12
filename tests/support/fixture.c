// SPDX-License-Identifier: Apache-2.0
#include "support/fixture.h"

#include <string.h>

static _Atomic int countdown[FAULTS];

void fault_set(enum fault which, int nth)
{
    atomic_store(&countdown[which], nth);
}

bool fault_due(enum fault which)
{
    return atomic_load(&countdown[which]) > 0;
}

static bool fails(enum fault which)
{
    return atomic_load(&countdown[which]) > 0 && atomic_fetch_sub(&countdown[which], 1) == 1;
}

static void *meta_alloc(void *ctx, size_t bytes)
{
    return fails(FAULT_META) ? NULL : kl_linux_host()->meta_alloc(ctx, bytes);
}

static struct kl_backing real;

static int populate(void *ctx, uint64_t offset, uint64_t bytes)
{
    return fails(FAULT_POPULATE) ? -KL_ENOMEM : real.populate(ctx, offset, bytes);
}

static int release(void *ctx, uint64_t offset, uint64_t bytes)
{
    return fails(FAULT_RELEASE) ? -KL_EIO : real.release(ctx, offset, bytes);
}

static int discard(void *ctx, uint64_t offset, uint64_t bytes)
{
    return fails(FAULT_DISCARD) ? -KL_EIO : real.discard(ctx, offset, bytes);
}

void (*fixture_host)(struct kl_host *host);

static unsigned cpu_zero(void *ctx)
{
    (void)ctx;
    return 0;
}

void fixture_one_cpu(struct kl_host *host)
{
    host->cpu = cpu_zero;
    host->cpu_pop = NULL;
    host->cpu_push = NULL;
    host->cpu_fence = NULL;
}

static uint64_t some_time(void *ctx)
{
    (void)ctx;
    return UINT64_C(3600000000000);
}

void fixture_no_time(struct kl_host *host)
{
    host->now_ns = some_time;
}

int fixture_try_size(struct fixture *f, unsigned blocks, unsigned order, unsigned flags,
                     unsigned size)
{
    struct kl_linux_backing_config memory = {.size = sizeof(memory),
                                             .kind = KL_LINUX_MEMFD,
                                             .bytes = (uint64_t)blocks << (12 + order),
                                             .block_order = order};
    struct kl_zone_config config = {.size = sizeof(config), .flags = flags, .blocks = size};
    struct kl_host host = *kl_linux_host();
    struct kl_backing backing;
    int err;

    assert_int_equal(kl_linux_backing_create(&memory, &f->memory), 0);
    real = backing = *kl_linux_backing_get(f->memory);
    host.meta_alloc = meta_alloc;
    if (fixture_host)
        fixture_host(&host);
    backing.populate = populate;
    backing.release = release;
    backing.discard = discard;
    config.host = &host;
    config.backing = &backing;
    err = kl_zone_create(&config, &f->zone);
    if (err) {
        assert_int_equal(kl_linux_backing_resident(f->memory), 0);
        kl_linux_backing_destroy(f->memory);
    }
    return err;
}

int fixture_try(struct fixture *f, unsigned blocks, unsigned order, unsigned flags)
{
    return fixture_try_size(f, blocks, order, flags, 0);
}

void fixture_open(struct fixture *f, unsigned blocks, unsigned order, unsigned flags)
{
    assert_int_equal(fixture_try(f, blocks, order, flags), 0);
}

void fixture_close(struct fixture *f)
{
    for (int i = 0; i < FAULTS; i++)
        fault_set((enum fault)i, 0);
    assert_zone_ok(f->zone);
    assert_int_equal(kl_zone_destroy(f->zone), 0);
    assert_int_equal(kl_linux_backing_resident(f->memory), 0);
    kl_linux_backing_destroy(f->memory);
}

static void assert_ok(int err, const char *what)
{
    if (err)
        fail_msg("broken: %s", what ? what : "but nothing said");
}

void assert_zone_ok(struct kl_zone *zone)
{
    const char *what = NULL;
    int err = kl_zone_check(zone, &what);

    assert_ok(err, what);
}

void assert_zs_ok(struct kl_zs *pool)
{
    const char *what = NULL;
    int err = kl_zs_check(pool, &what);

    assert_ok(err, what);
}

void assert_store_ok(struct kl_store *store)
{
    const char *what = NULL;
    int err = kl_store_check(store, &what);

    assert_ok(err, what);
}

struct rng rng_new(uint64_t stream)
{
    const char *seed = getenv("KLOTSKI_SEED");
    uint64_t base = seed ? strtoull(seed, NULL, 0) : 1;

    return (struct rng){(base * 0x9e3779b97f4a7c15u) ^ ((stream + 1) * 0xbf58476d1ce4e5b9u) ^ 1};
}

uint32_t rng_below(struct rng *rng, uint32_t n)
{
    rng->state ^= rng->state << 13;
    rng->state ^= rng->state >> 7;
    rng->state ^= rng->state << 17;
    return (uint32_t)(((rng->state >> 32) * n) >> 32);
}

static uint64_t word_of(uint64_t seed, size_t i)
{
    uint64_t v = (seed + 1) * 0x9e3779b97f4a7c15u + i * 0xff51afd7ed558ccdu;

    return v ^ (v >> 29);
}

void fill_bytes(void *buf, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = word_of(seed, i);

        memcpy((char *)buf + i, &v, n - i < 8 ? n - i : 8);
    }
}

bool bytes_are(const void *buf, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = word_of(seed, i), got = v;

        memcpy(&got, (const char *)buf + i, n - i < 8 ? n - i : 8);
        if (got != v)
            return false;
    }
    return true;
}
