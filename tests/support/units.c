// SPDX-License-Identifier: Apache-2.0
#include "support/units.h"

#include <string.h>

enum { SECRET = 0xa5 };

void assert_pool_ok(struct kl_pool *pool)
{
    const char *what = "nothing said";

    if (kl_pool_check(pool, &what) != 0)
        fail_msg("broken: %s", what);
}

struct kl_pool_stats pool_stats(struct kl_pool *pool)
{
    struct kl_pool_stats s = {.size = sizeof(s)};

    kl_pool_get_stats(pool, &s);
    return s;
}

struct kl_pool *unit_pool(struct kl_zone *zone, unsigned order, enum kl_pool_kind kind,
                          uint32_t limit)
{
    const struct kl_pool_config config = {
        .size = sizeof(config), .name = "units", .order = order, .kind = kind, .limit = limit};
    struct kl_pool *pool;

    assert_int_equal(kl_pool_create(zone, &config, &pool), 0);
    return pool;
}

static size_t bytes_of(struct kl_zone *zone, unsigned order)
{
    return kl_zone_frame_bytes(zone) << order;
}

bool unit_is_zero(struct kl_zone *zone, kl_pfn pfn, unsigned order)
{
    const unsigned char *mem = kl_frame_addr(zone, pfn);

    return mem[0] == 0 && memcmp(mem, mem + 1, bytes_of(zone, order) - 1) == 0;
}

void unit_fill(struct kl_zone *zone, kl_pfn pfn, unsigned order)
{
    memset(kl_frame_addr(zone, pfn), SECRET, bytes_of(zone, order));
}

size_t unit_secrets(struct kl_zone *zone, kl_pfn pfn, unsigned order)
{
    const unsigned char *mem = kl_frame_addr(zone, pfn);
    size_t n = 0;

    for (size_t i = 0; i < bytes_of(zone, order); i++)
        n += mem[i] == SECRET;
    return n;
}

void units_get(struct kl_zone *zone, struct kl_pool *pool, unsigned order, kl_pfn *pfn, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(kl_pool_alloc(pool, 0, &pfn[i]), 0);
        assert_true(unit_is_zero(zone, pfn[i], order)); /* also: nobody else has filled it */
        assert_int_equal(kl_frame_private(zone, pfn[i]), 0);
        unit_fill(zone, pfn[i], order);
        kl_frame_set_private(zone, pfn[i], UINT64_MAX - i);
    }
}

void units_put(struct kl_pool *pool, const kl_pfn *pfn, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(kl_pool_free(pool, pfn[i]), 0);
}

void zone_fill(struct kl_zone *zone)
{
    uint32_t frames = kl_zone_frames(zone), n = 0;
    kl_pfn *pfn = calloc(frames, sizeof(*pfn));
    kl_owner_id owner;

    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    while (n < frames && kl_frame_alloc(zone, 0, owner, KL_NO_SHRINK, &pfn[n]) == 0)
        unit_fill(zone, pfn[n++], 0);
    while (n > 0)
        assert_int_equal(kl_frame_free(zone, owner, pfn[--n]), 0);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    free(pfn);
}

void units_work(struct kl_zone *zone)
{
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};

    for (unsigned i = 0; i < 1000; i++) {
        int err = kl_zone_step(zone, &step, NULL);

        if (err == 0 || (err == -KL_EAGAIN && step.again_ns > 0))
            return;
        assert_int_equal(err, -KL_EAGAIN);
    }
    fail_msg("the work has no end");
}
