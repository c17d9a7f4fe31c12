// SPDX-License-Identifier: Apache-2.0
/* The memory behind a zone: the caller's own, of every shape, and none that has an
 * address here. */
#include "frame/zone.h"
#include "support/device.h"

#include <string.h>
#include <sys/mman.h>

#define MIB ((uint64_t)1 << 20)

static const unsigned shifts[] = {12, 14, 16, 21};

static _Alignas(2 * 1024 * 1024) unsigned char array[32 << 20];

static void refuses_impossible_memory(void **state)
{
    static const struct {
        uint64_t bytes;
        unsigned at, shift, order;
        int err;
    } bad[] = {
        {0, 0, 12, 9, -KL_EINVAL},
        {2 * MIB + 4096, 0, 12, 9, -KL_EINVAL},
        {2 * MIB, 2048, 12, 9, -KL_EINVAL},
        {2 * MIB, 4096, 14, 0, -KL_EINVAL},
        {2 * MIB, 0, 11, 9, -KL_EINVAL},
        {4 * MIB, 0, 22, 0, -KL_EINVAL},
        {UINT64_C(1) << 31, 0, 12, 19, -KL_EINVAL},
        {UINT64_MAX - 4095, 0, 12, 0, -KL_ERANGE}, /* both too many and too far */
        {UINT64_C(1) << 44, 0, 12, 0, -KL_ERANGE}, /* 2^32 frames */
    };
    const struct kl_backing before = {.bytes = 77};
    struct kl_backing b = before;

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(
            kl_backing_memory(&b, array + bad[i].at, bad[i].bytes, bad[i].shift, bad[i].order),
            bad[i].err);
        if (bad[i].at == 0)
            assert_int_equal(kl_backing_offsets(&b, bad[i].bytes, bad[i].shift, bad[i].order),
                             bad[i].err);
    }
    assert_int_equal(kl_backing_memory(&b, NULL, 2 * MIB, 12, 9), -KL_EINVAL);
    assert_int_equal(kl_backing_memory(NULL, array, 2 * MIB, 12, 9), -KL_EINVAL);
    assert_int_equal(kl_backing_offsets(NULL, 2 * MIB, 12, 9), -KL_EINVAL);
    assert_int_equal(kl_backing_memory(&b, (void *)(UINTPTR_MAX - 0x1fffff), 4 * MIB, 12, 9),
                     -KL_ERANGE);
    assert_memory_equal(&b, &before, sizeof(b));
}

static struct kl_zone *zone_on(const struct kl_backing *backing, uint32_t size)
{
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = backing, .blocks = size};
    struct kl_zone *zone = NULL;

    assert_int_equal(kl_zone_create(&config, &zone), 0);
    return zone;
}

static bool all_zero(const unsigned char *at, size_t n)
{
    return at[0] == 0 && memcmp(at, at + 1, n - 1) == 0;
}

/* An allocation of each order lies where its number says, aligned, and holds what is
 * written at its ends; what is zeroed is zero.  (If the memory is there at all: the
 * zone itself does not look.) */
static void use_zone(struct kl_zone *zone, unsigned char *base, bool there)
{
    size_t frame = kl_zone_frame_bytes(zone);
    kl_owner_id owner;
    kl_pfn pfn;

    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    for (unsigned order = 0; order <= zone->block_order; order++) {
        size_t bytes = frame << order;
        unsigned char *at;

        assert_int_equal(kl_frame_alloc(zone, order, owner, 0, &pfn), 0);
        at = kl_frame_addr(zone, pfn);
        assert_ptr_equal(at, base + kl_frame_offset(zone, pfn));
        assert_int_equal((at - base) % bytes, 0);
        if (there)
            at[0] = at[bytes - 1] = 0x5a;
        assert_int_equal(kl_frame_free(zone, owner, pfn), 0);
    }
    assert_int_equal(kl_frame_alloc(zone, zone->block_order + 1, owner, 0, &pfn), 0); /* all */
    assert_int_equal(kl_owner_unregister(zone, owner), -KL_EBUSY);
    assert_int_equal(kl_frame_free(zone, owner, pfn), 0);
    assert_int_equal(kl_frame_alloc(zone, zone->block_order + 2, owner, 0, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(zone, 0, owner, there ? KL_ZERO : 0, &pfn), 0);
    assert_true(!there || all_zero(kl_frame_addr(zone, pfn), frame));
    assert_int_equal(kl_zone_give_back(zone, 1, KL_SYNC, NULL), 0);
    assert_int_equal(kl_zone_lend(zone, 1), 0);
    assert_int_equal(kl_frame_free(zone, owner, pfn), 0);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    assert_zone_ok(zone);
    assert_int_equal(kl_zone_destroy(zone), 0);
}

static void shape(unsigned shift, unsigned order)
{
    uint64_t block = UINT64_C(1) << (shift + order), bytes = 2 * block;
    bool mapped = bytes > sizeof(array) && bytes <= UINT64_C(1) << 33;
    unsigned char *base = array, *map = NULL;
    struct kl_backing b;

    if (bytes > SIZE_MAX / 4)
        return;   /* a machine without so many addresses */
    if (mapped) { /* addresses only: hardly any of it is touched */
        map = mmap(NULL, bytes + 2 * MIB, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_ptr_not_equal(map, MAP_FAILED);
        (void)madvise(map, bytes + 2 * MIB, MADV_NOHUGEPAGE); /* a kernel may have none */
        base = map + (-(uintptr_t)map & (2 * MIB - 1));
    }
    assert_int_equal(kl_backing_memory(&b, base, bytes, shift, order), 0);
    assert_int_equal(kl_backing_memory(&b, base, bytes + block / 2, shift, order), -KL_EINVAL);
    use_zone(zone_on(&b, 0), base, mapped || bytes <= sizeof(array));
    if (mapped)
        munmap(map, bytes + 2 * MIB);
}

/* Base pages of 4 KiB to 2 MiB, blocks of 1 to 2^18 of them. */
static void every_shape(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
        for (unsigned order = 0; order <= 18; order++)
            shape(shifts[i], order);
    }
}

static void *no_memory(void *ctx, size_t bytes)
{
    (void)ctx, (void)bytes;
    return NULL;
}

static void creation_says_what_is_wrong(void **state)
{
    struct kl_zone_config config = {.size = sizeof(config)};
    struct kl_host host = *kl_linux_host();
    struct kl_zone *zone = NULL;
    struct kl_backing b;

    (void)state;
    assert_int_equal(kl_backing_offsets(&b, 16 * MIB, 12, 9), 0);
    config.backing = &b;
    config.host = &host;
    config.blocks = 9;
    assert_int_equal(kl_zone_create(&config, &zone), -KL_EINVAL);
    config.blocks = 8;
    host.meta_alloc = no_memory;
    assert_int_equal(kl_zone_create(&config, &zone), -KL_ENOMEM);
    assert_null(zone);
}

/* ---- offsets only ------------------------------------------------------ */

static void frames_without_addresses(void **state)
{
    struct kl_backing b;
    struct kl_zone *zone, *other;
    struct kl_zone_stats s = {.size = sizeof(s)};
    struct kl_zs *pool = NULL;
    struct kl_store *store = NULL;
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 16, .block_bytes = 4096, .codec = &codec};
    kl_owner_id owner;
    kl_pfn pfn[3];

    (void)state;
    assert_int_equal(kl_backing_offsets(&b, 16 * MIB, 12, 9), 0);
    zone = zone_on(&b, 0);
    other = zone_on(&b, 0);
    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    assert_int_equal(kl_frame_alloc(zone, 0, owner, KL_ZERO, &pfn[0]), -KL_EINVAL);
    kl_zone_get_stats(zone, &s);
    assert_int_equal(s.used_frames, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(kl_frame_alloc(zone, i == 2, owner, 0, &pfn[i]), 0);
    assert_null(kl_frame_addr(zone, pfn[0]));
    assert_int_equal(kl_frame_offset(zone, pfn[1]), (uint64_t)kl_pfn_nr(pfn[1]) * 4096);
    assert_true(kl_frame_offset(other, pfn[1]) == UINT64_MAX);
    assert_true(kl_frame_offset(zone, (kl_pfn){0}) == UINT64_MAX);
    assert_int_equal(kl_frame_copy(zone, pfn[0], pfn[1]), -KL_ENOTSUP);
    assert_int_equal(kl_frame_copy(zone, pfn[0], pfn[2]), -KL_EINVAL);
    assert_int_equal(kl_zs_create(zone, NULL, &pool), -KL_ENOTSUP);
    assert_null(pool);
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    assert_int_equal(kl_store_create(zone, &config, &store), -KL_ENOTSUP);
    assert_null(store);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(kl_frame_free(zone, owner, pfn[i]), 0);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    assert_zone_ok(zone);
    assert_int_equal(kl_zone_destroy(zone), 0);
    assert_int_equal(kl_zone_destroy(other), 0);
}

static void copy_refuses(void **state)
{
    struct fixture f;
    kl_owner_id owner;
    kl_pfn a, b, big, tail, free_one;

    (void)state;
    fixture_open(&f, 2, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 0, &a), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, KL_ZERO, &b), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 2, owner, 0, &big), 0);
    tail = kl_zone_pfn(f.zone, kl_pfn_nr(big) + 1);
    free_one = kl_zone_pfn(f.zone, 127);
    fill_bytes(kl_frame_addr(f.zone, a), 4096, 5);
    assert_int_equal(kl_frame_copy(f.zone, b, big), -KL_EINVAL);
    assert_int_equal(kl_frame_copy(f.zone, b, tail), -KL_EINVAL);
    assert_int_equal(kl_frame_copy(f.zone, tail, b), -KL_EINVAL);
    assert_int_equal(kl_frame_copy(f.zone, b, free_one), -KL_EINVAL);
    assert_int_equal(kl_frame_copy(f.zone, b, b), -KL_EINVAL);
    assert_int_equal(kl_frame_copy(f.zone, b, (kl_pfn){0}), -KL_EINVAL);
    assert_true(all_zero(kl_frame_addr(f.zone, b), 4096));
    assert_int_equal(kl_frame_copy(f.zone, b, a), 0);
    assert_true(bytes_are(kl_frame_addr(f.zone, b), 4096, 5));
    assert_int_equal(kl_frame_free(f.zone, owner, a), 0);
    assert_int_equal(kl_frame_free(f.zone, owner, b), 0);
    assert_int_equal(kl_frame_free(f.zone, owner, big), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    fixture_close(&f);
}

/* Metadata of one zone, so that its resident pages can be counted. */
static void *meta;
static size_t meta_bytes;

static void *count_meta(void *ctx, size_t bytes)
{
    void *mem = kl_linux_host()->meta_alloc(ctx, bytes);

    if (bytes > 64 * MIB) {
        meta = mem;
        meta_bytes = bytes;
    }
    return mem;
}

/* Also pages that were only read count. */
static uint64_t resident(void)
{
    size_t pages = meta_bytes / 4096;
    unsigned char *vec = malloc(pages);
    uint64_t n = 0;

    assert_non_null(vec);
    assert_int_equal(mincore(meta, pages * 4096, vec), 0);
    for (size_t i = 0; i < pages; i++)
        n += vec[i] & 1;
    free(vec);
    return n * 4096;
}

/* 1 TiB in frames of 4 KiB: descriptors of what is not used are not looked at, by
 * creation, unregistration, statistics or destruction. */
static void a_tebibyte_of_offsets(void **state)
{
    struct kl_host host = *kl_linux_host();
    struct kl_backing b;
    struct kl_zone_config config = {.size = sizeof(config), .host = &host, .backing = &b};
    struct kl_owner_stats os = {.size = sizeof(os)};
    struct kl_zone_stats s = {.size = sizeof(s)};
    struct kl_zone *zone = NULL;
    kl_owner_id owner, other;
    kl_pfn pfn[64], far;
    uint64_t since = host.now_ns(host.ctx);

    (void)state;
    host.meta_alloc = count_meta;
    assert_int_equal(kl_backing_offsets(&b, UINT64_C(1) << 40, 12, 9), 0);
    if (sizeof(size_t) == 4) { /* 4 GiB of descriptors */
        assert_int_equal(kl_zone_create(&config, &zone), -KL_ENOMEM);
        return;
    }
    assert_int_equal(kl_zone_create(&config, &zone), 0);
    print_message("# created in %llu us\n",
                  (unsigned long long)(host.now_ns(host.ctx) - since) / 1000);
    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    assert_int_equal(kl_owner_register(zone, NULL, NULL, &other), 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(kl_frame_alloc(zone, i % 10, owner, 0, &pfn[i]), 0);
    far = kl_zone_pfn(zone, (1u << 28) - 1);
    assert_true(kl_frame_offset(zone, far) == (UINT64_C(1) << 40) - 4096);
    assert_int_equal(kl_zone_give_back(zone, 1000, KL_SYNC, NULL), 0);
    kl_zone_get_stats(zone, &s);
    assert_int_equal(s.present_blocks, (1 << 19) - 1000);
    os.size = sizeof(os);
    assert_int_equal(kl_owner_get_stats(zone, owner, &os), 0);
    assert_int_equal(os.frames, 6 * 1023 + 15);
    assert_int_equal(kl_owner_unregister(zone, owner), -KL_EBUSY);
    assert_int_equal(kl_owner_unregister(zone, other), 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(kl_frame_free(zone, owner, pfn[i]), 0);
    since = host.now_ns(host.ctx);
    assert_int_equal(kl_owner_unregister(zone, owner), 0);
    assert_true(resident() < 64 * MIB);
    assert_int_equal(kl_zone_lend(zone, 1000), 0);
    assert_int_equal(kl_zone_destroy(zone), 0);
    print_message("# unregistered and destroyed in %llu us\n",
                  (unsigned long long)(host.now_ns(host.ctx) - since) / 1000);
}

/* ---- a device's memory, moved by its engine ---------------------------- */

static struct device device;

static void device_all_right(struct device *d)
{
    for (unsigned i = 0; i < DEVICE_ITEMS; i++)
        assert_true(!d->item[i].pfn.v || device_right(d, i));
}

/* Every fourth frame of the zone is in use. */
static void device_scatter(struct device *d)
{
    unsigned n = kl_zone_frames(d->zone);

    for (unsigned i = 0; i < n; i++)
        assert_int_equal(device_alloc(d, i, 0, KL_MOVABLE), 0);
    for (unsigned i = 0; i < n; i++) {
        if (kl_pfn_nr(d->item[i].pfn) % 4)
            assert_true(device_free(d, i));
    }
}

static void an_engine_moves_everything(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct device *d = &device;
    kl_owner_id owner;
    kl_pfn first;

    (void)state;
    device_open(d, 16, 6, 0);
    device_scatter(d);
    atomic_store(&d->busy, 20);
    assert_int_equal(kl_zone_give_back(d->zone, 8, KL_SYNC, &r), 0);
    assert_int_equal(r.blocks, 8);
    assert_int_equal(r.migrated, 8 * 16);
    device_all_right(d);
    assert_int_equal(kl_zone_compact(d->zone, KL_SYNC, 0, &r), 0);
    assert_true(r.migrated > 0);
    device_all_right(d);
    assert_int_equal(kl_owner_register(d->zone, NULL, NULL, &owner), 0);
    assert_int_equal(kl_contig_alloc(d->zone, owner, 150, 8, KL_SYNC, &first, &r), 0);
    memset(d->memory + kl_frame_offset(d->zone, first), 0xee, (size_t)150 << 12);
    device_all_right(d);
    assert_true(d->pended >= d->migrated);
    assert_int_equal(kl_contig_free(d->zone, owner, first, 150), 0);
    assert_int_equal(kl_owner_unregister(d->zone, owner), 0);
    assert_int_equal(kl_zone_lend(d->zone, 8), 0);
    device_close(d);
}

/* The engine fails at everything: nothing has moved, nothing is lost. */
static void an_engine_that_fails(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct device *d = &device;

    (void)state;
    device_open(d, 8, 6, 0);
    device_scatter(d);
    atomic_store(&d->fail, 100);
    assert_int_equal(kl_zone_give_back(d->zone, 2, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.migrated, 0);
    assert_true(r.failed > 0);
    assert_int_equal(r.culprit_owner.v, d->owner.v);
    assert_int_equal(d->migrated, 0);
    device_all_right(d);
    assert_zone_ok(d->zone);
    atomic_store(&d->fail, 0);
    assert_int_equal(kl_zone_resize(d->zone, 2, KL_SYNC, &r), 0);
    device_all_right(d);
    device_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_impossible_memory),
        cmocka_unit_test(every_shape),
        cmocka_unit_test(creation_says_what_is_wrong),
        cmocka_unit_test(frames_without_addresses),
        cmocka_unit_test(copy_refuses),
        cmocka_unit_test(a_tebibyte_of_offsets),
        cmocka_unit_test(an_engine_moves_everything),
        cmocka_unit_test(an_engine_that_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
