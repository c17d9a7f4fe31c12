// SPDX-License-Identifier: Apache-2.0
/* A device's memory for KLOTSKI_TORTURE_SECONDS (default 5): a zone of offsets, whose
 * frames an engine moves asynchronously on its own thread.
 *
 *   users     two threads allocate, check and free items; the engine is busy and
 *             fails at random
 *   ranges    a thread takes contiguous ranges and overwrites them
 *   takers    two threads give blocks back, lend them, resize and compact
 *
 * Contents are checked in the device's memory whenever they are looked at.
 */
#include "support/device.h"
#include "support/torture.h"

#include <string.h>

enum { ZONE_BLOCKS = 32, ORDER = 6, FIRST_SIZE = 24, ITEMS = 500 };

static struct device d;
static _Atomic uint64_t taken, ranges, resizes;

static void *users(void *arg)
{
    unsigned first = (unsigned)(uintptr_t)arg * ITEMS;
    struct rng rng = rng_new((uintptr_t)arg);
    bool here[ITEMS] = {false};

    while (torture_on()) {
        unsigned k = rng_below(&rng, ITEMS), i = first + k;

        if (!here[k]) {
            int err = device_alloc(&d, i, rng_below(&rng, 10) ? 0 : rng_below(&rng, 4),
                                   rng_below(&rng, 50) ? KL_MOVABLE : 0);

            torture_expect(err == 0 || err == -KL_ENOMEM, "an allocation failed oddly");
            here[k] = err == 0;
        } else if (rng_below(&rng, 3) == 0) {
            torture_expect(device_free(&d, i), "an item was wrong when it was freed");
            here[k] = false;
        } else {
            torture_expect(device_right(&d, i), "an item is wrong");
        }
    }
    return NULL;
}

static void *range_taker(void *arg)
{
    struct rng rng = rng_new(100);
    kl_owner_id owner;

    (void)arg;
    kl_owner_register(d.zone, NULL, NULL, &owner);
    while (torture_on()) {
        uint32_t n = 1 + rng_below(&rng, 200), align = 1u << rng_below(&rng, 7);
        struct kl_report r = {.size = sizeof(r)};
        kl_pfn first;

        if (kl_contig_alloc(d.zone, owner, n, align, (enum kl_mode)rng_below(&rng, 3), &first,
                            &r) == 0) {
            memset(d.memory + kl_frame_offset(d.zone, first), 0xee, (size_t)n * 4096);
            torture_expect(kl_contig_free(d.zone, owner, first, n) == 0, "a range can't be freed");
            atomic_fetch_add(&ranges, 1);
        }
        torture_expect_outcomes(&r);
    }
    torture_expect(kl_owner_unregister(d.zone, owner) == 0, "a range was left");
    return NULL;
}

static void *taker(void *arg)
{
    struct rng rng = rng_new(200 + (uintptr_t)arg);
    uint32_t held = 0;

    while (torture_on()) {
        enum kl_mode mode = (enum kl_mode)rng_below(&rng, 3);
        struct kl_report r = {.size = sizeof(r)};
        uint32_t n = 1 + rng_below(&rng, ZONE_BLOCKS / 4);

        switch (rng_below(&rng, 4)) {
        case 0:
            if (kl_zone_give_back(d.zone, n, mode, &r) == 0) {
                held += n;
                atomic_fetch_add(&taken, n);
            }
            break;
        case 1:
            if (held > 0 && kl_zone_lend(d.zone, held) == 0)
                held = 0;
            break;
        case 2:
            kl_zone_compact(d.zone, mode, rng_below(&rng, 300), &r);
            break;
        case 3:
            n = ZONE_BLOCKS - rng_below(&rng, ZONE_BLOCKS / 2);
            if (kl_zone_resize(d.zone, n, mode, &r) == 0)
                atomic_fetch_add(&resizes, 1);
            break;
        }
        torture_expect_outcomes(&r);
    }
    if (held > 0)
        torture_expect(kl_zone_lend(d.zone, held) == 0, "what was taken can't be lent");
    return NULL;
}

static const char *missing(void)
{
    bool moved;

    pthread_mutex_lock(&d.lock);
    moved = d.migrated > 0;
    pthread_mutex_unlock(&d.lock);
    return moved ? NULL : "nothing was moved";
}

static void a_device_at_work(void **state)
{
    static void *(*const bodies[])(void *) = {users, users, range_taker, taker, taker};

    (void)state;
    device_open(&d, ZONE_BLOCKS, ORDER, FIRST_SIZE);
    atomic_store(&d.busy, 15);
    atomic_store(&d.fail, 2);
    torture_run(bodies, sizeof(bodies) / sizeof(bodies[0]), missing);
    print_message("# %llu operations, %llu moves, %llu blocks taken, %llu ranges, %llu resizes\n",
                  torture_ops(), (unsigned long long)d.migrated,
                  (unsigned long long)atomic_load(&taken), (unsigned long long)atomic_load(&ranges),
                  (unsigned long long)atomic_load(&resizes));
    assert_true(d.pended >= d.migrated);
    device_close(&d);
    assert_int_equal(torture_wrong(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_device_at_work)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
