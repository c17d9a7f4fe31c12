// SPDX-License-Identifier: Apache-2.0
/* Duplicate detection: equal blocks share one object, others never do. */
#include "store/store.h"
#include "support/codecs.h"
#include "support/crowd.h"
#include "zs/zs.h"

#include <string.h>

enum { BLOCK = 4096, BLOCKS = 1000 };

static const char part[] = {'p', 'a', 'r', 't', 's'};

static uint64_t always_one(const void *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    return 1;
}

static struct kl_store *open_like(struct fixture *f, const struct kl_store_config *like)
{
    struct kl_codec lz4 = codec_watched(0, "lz4", 0), zstd = codec_watched(1, "zstd", 3);
    struct kl_store_config config = *like;
    struct kl_store *store;

    config.size = sizeof(config);
    config.blocks = config.blocks ? config.blocks : BLOCKS;
    config.block_bytes = BLOCK;
    config.codec = &lz4;
    config.recompress = &zstd;
    config.flags = KL_STORE_DEDUP;
    config.hash = config.hash ? config.hash : kl_linux_hash;
    fixture_open(f, 64, 6, 0);
    assert_int_equal(kl_store_create(f->zone, &config, &store), 0);
    return store;
}

static struct kl_store *open_store(struct fixture *f)
{
    return open_like(f, &(struct kl_store_config){0});
}

/* By its remainder: half noise; noise that only the second compressor makes shorter; noise. */
static void make_block(char *buf, uint64_t version)
{
    fill_bytes(buf, BLOCK, version + 1);
    if (version % 3 == 0)
        memset(buf + BLOCK / 2, 'x', BLOCK / 2);
    for (int i = 0; i < BLOCK && version % 3 == 1; i++)
        buf[i] = (char)(' ' + (buf[i] & 63));
}

static void write_block(struct kl_store *store, uint64_t block, uint64_t version)
{
    char buf[BLOCK];

    make_block(buf, version);
    assert_int_equal(kl_store_write(store, block, 0, buf, BLOCK), 0);
}

static void assert_block(struct kl_store *store, uint64_t block, uint64_t version)
{
    char want[BLOCK], back[BLOCK];

    make_block(want, version);
    assert_int_equal(kl_store_read(store, block, 0, back, BLOCK), 0);
    assert_memory_equal(want, back, BLOCK);
}

static void equal_blocks_share(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);
    uint64_t payload;

    (void)state;
    for (uint64_t b = 0; b < 10; b++)
        write_block(store, b, b);
    payload = crowd_stats(store).payload_bytes;
    assert_int_equal(crowd_stats(store).shared, 0);
    for (uint64_t b = 10; b < 100; b++)
        write_block(store, b, b % 10);
    assert_store_ok(store);
    assert_int_equal(crowd_stats(store).shared, 100);
    assert_int_equal(crowd_stats(store).shared_objects, 10);
    assert_int_equal(crowd_stats(store).duplicates, 90);
    assert_int_equal(crowd_stats(store).payload_bytes, payload);
    assert_int_equal(atomic_load(&codec_watch[0].packs), 10);
    for (uint64_t b = 0; b < 100; b++) {
        assert_int_equal(kl_store_kind(store, b), KL_STORE_SHARED);
        assert_block(store, b, b % 10);
    }
    for (uint64_t b = 0; b < 100; b++) { /* the last one out takes the object along */
        if (b % 2)
            write_block(store, b, 1000 + b);
        else
            assert_int_equal(kl_store_discard(store, b, 0, BLOCK), 0);
        assert_store_ok(store);
        for (uint64_t other = b + 1; other < 100; other += 13)
            assert_block(store, other, other % 10);
    }
    assert_int_equal(crowd_stats(store).shared, 0);
    assert_int_equal(crowd_stats(store).shared_objects, 0);
    assert_int_equal(kl_store_reset(store, 0), 0);
    assert_int_equal(crowd_stats(store).payload_bytes, 0);
    assert_int_equal(crowd_stats(store).frame_bytes, 0);
    crowd_close(&f, store);
}

static void written_again_is_not_shared(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);

    (void)state;
    for (int i = 0; i < 3; i++) {
        write_block(store, 0, 0);
        assert_int_equal(kl_store_kind(store, 0), KL_STORE_COMPRESSED);
        assert_int_equal(crowd_stats(store).shared_objects, 0);
        assert_int_equal(crowd_stats(store).duplicates, 0);
    }
    crowd_close(&f, store);
}

/* Of a shared object that has all the references it can count, nobody gets one more. */
static void references_do_not_wrap(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);
    kli_word *refs = &store->refs[0];

    (void)state;
    for (uint64_t b = 0; b < 3; b++)
        write_block(store, b, 0);
    assert_int_equal((uint32_t)atomic_load(refs), 3);
    atomic_fetch_add(refs, UINT32_MAX - 3);
    write_block(store, 3, 0);
    assert_int_equal((uint32_t)atomic_load(refs), UINT32_MAX);
    assert_int_equal(kl_store_kind(store, 3), KL_STORE_COMPRESSED);
    atomic_fetch_sub(refs, UINT32_MAX - 3);
    for (uint64_t b = 0; b < 4; b++)
        assert_block(store, b, 0);
    crowd_close(&f, store);
}

#if KL_DEBUG
static struct kl_store *met_in_look;

/* Once, in the first look: the object is elsewhere, and denser. */
static void recompress_it(enum kli_trace_point point, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    if (point != KLI_T_zs_look_begun)
        return;
    atomic_store(&kli_trace_hook, NULL);
    assert_true(kl_store_recompress(met_in_look, 0) > 0);
}
#endif

static void a_shared_object_that_moves_is_found(void **state)
{
#if KL_DEBUG
    struct fixture f;

    (void)state;
    met_in_look = open_store(&f);
    for (uint64_t b = 0; b < 2; b++)
        write_block(met_in_look, b, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kl_store_age(met_in_look, 0), 0);
    atomic_store(&kli_trace_hook, recompress_it);
    write_block(met_in_look, 2, 1);
    assert_null(atomic_load(&kli_trace_hook));
    assert_int_equal(kl_store_kind(met_in_look, 2), KL_STORE_SHARED);
    assert_int_equal(crowd_stats(met_in_look).shared_objects, 1);
    for (uint64_t b = 0; b < 3; b++)
        assert_block(met_in_look, b, 1);
    crowd_close(&f, met_in_look);
#else
    (void)state;
    skip(); /* trace points stop threads in debug builds only */
#endif
}

/* A part that is written or discarded changes one block, and the others don't see it. */
static void parts_of_shared_blocks(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);
    char want[BLOCK], back[BLOCK];

    (void)state;
    for (uint64_t version = 0; version < 3; version++) {
        for (uint64_t b = 0; b < 3; b++)
            write_block(store, b, version);
        assert_int_equal(kl_store_write(store, 1, 100, part, sizeof(part)), 0);
        assert_int_equal(kl_store_discard(store, 2, 7, 9), 0);
        assert_block(store, 0, version);
        make_block(want, version);
        memcpy(want + 100, part, sizeof(part));
        assert_int_equal(kl_store_read(store, 1, 0, back, BLOCK), 0);
        assert_memory_equal(want, back, BLOCK);
        make_block(want, version);
        memset(want + 7, 0, 9);
        assert_int_equal(kl_store_read(store, 2, 0, back, BLOCK), 0);
        assert_memory_equal(want, back, BLOCK);
        make_block(want, version);
        assert_int_equal(kl_store_write(store, 2, 7, want + 7, 9), 0); /* equal again */
        assert_int_equal(kl_store_kind(store, 2), KL_STORE_SHARED);
        assert_store_ok(store);
    }
    crowd_close(&f, store);
}

/* With a hash that says nothing, every hint leads to another block. */
static void collisions_are_seen(void **state)
{
    struct fixture f;
    struct kl_store *store = open_like(&f, &(struct kl_store_config){.hash = always_one});
    struct rng rng = rng_new(3);
    uint64_t version[40] = {0};

    (void)state;
    for (uint64_t b = 0; b < 40; b++)
        write_block(store, b, 0);
    for (int i = 0; i < 1500; i++) {
        uint64_t b = rng_below(&rng, 40);

        version[b] = rng_below(&rng, 12);
        write_block(store, b, version[b]);
        if (i % 50 == 0)
            assert_store_ok(store);
    }
    for (uint64_t b = 0; b < 40; b++)
        assert_block(store, b, version[b]);
    assert_true(crowd_stats(store).duplicates > 100);
    assert_true(crowd_stats(store).shared > 0);
    crowd_close(&f, store);
}

static void shared_objects_are_recompressed(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f);
    uint64_t before;

    (void)state;
    for (uint64_t b = 0; b < 30; b++)
        write_block(store, b, b % 3);
    before = crowd_stats(store).payload_bytes;
    kl_store_age(store, 0);
    kl_store_age(store, 0);
    assert_int_equal(kl_store_block_age(store, 4), 2);
    assert_block(store, 3, 0);
    assert_int_equal(kl_store_block_age(store, 0), 0); /* what one reads is young for all */
    assert_int_equal(kl_store_block_age(store, 4), 2);
    assert_true(kl_store_recompress(store, 0) > 0);
    assert_int_equal(crowd_stats(store).recompressions, 1);
    assert_true(crowd_stats(store).payload_bytes < before);
    assert_store_ok(store);
    for (uint64_t b = 0; b < 30; b++)
        assert_block(store, b, b % 3);
    write_block(store, 99, 1); /* equals what the second compressor has */
    assert_int_equal(kl_store_kind(store, 99), KL_STORE_SHARED);
    assert_block(store, 99, 1);
    crowd_close(&f, store);
}

static void no_more_entries(void **state)
{
    struct fixture f;
    struct kl_store *store = open_like(&f, &(struct kl_store_config){.blocks = 6});

    (void)state;
    for (uint64_t b = 0; b < 6; b++) /* three pairs, which is all */
        write_block(store, b, b / 2);
    assert_int_equal(crowd_stats(store).shared_objects, 3);
    write_block(store, 1, 7);
    write_block(store, 3, 7); /* would need a fourth */
    assert_int_equal(kl_store_kind(store, 3), KL_STORE_COMPRESSED + 1 - (7 % 3 == 0));
    assert_int_equal(crowd_stats(store).shared_objects, 3);
    assert_store_ok(store);
    write_block(store, 0, 8); /* one is free again */
    write_block(store, 5, 7);
    assert_int_equal(kl_store_kind(store, 5), KL_STORE_SHARED);
    assert_block(store, 1, 7);
    assert_block(store, 3, 7);
    assert_block(store, 5, 7);
    crowd_close(&f, store);
}

static struct kl_store *met;

static void overwrite_first(void *arg)
{
    (void)arg;
    write_block(met, 0, 40);
}

static void discard_first(void *arg)
{
    (void)arg;
    assert_int_equal(kl_store_discard(met, 0, 0, BLOCK), 0);
}

static void compact_all(void *arg)
{
    (void)arg;
    assert_true(kl_store_compact(met, 0) >= 0);
}

static void write_another(void *arg)
{
    (void)arg;
    write_block(met, 2, 0);
}

static void nobody(void *arg)
{
    (void)arg;
}

/* Somebody comes while a block is compared with another one that has its object to itself,
 * or with a shared one. */
static void in_the_middle_of_a_comparison(void **state)
{
    static void (*const what[])(void *arg) = {nobody, overwrite_first, discard_first, compact_all,
                                              write_another};

    (void)state;
    for (unsigned shared = 0; shared < 2; shared++) {
        for (unsigned i = 0; i < 5; i++) {
            struct fixture f;

            met = open_store(&f);
            write_block(met, 0, 0);
            if (shared) { /* with one reference */
                write_block(met, 1, 0);
                assert_int_equal(kl_store_discard(met, 1, 0, BLOCK), 0);
            }
            codec_watch[0].while_unpacking = what[i];
            write_block(met, 1, 0);
            assert_null(codec_watch[0].while_unpacking);
            assert_store_ok(met);
            assert_int_equal(kl_store_kind(met, 1), KL_STORE_SHARED);
            assert_block(met, 1, 0);
            if (i == 1)
                assert_block(met, 0, 40);
            else
                assert_int_equal(kl_store_kind(met, 0), i == 2 ? KL_STORE_HOLE : KL_STORE_SHARED);
            assert_int_equal(crowd_stats(met).shared_objects, 1);
            if (i == 4)
                assert_block(met, 2, 0);
            crowd_close(&f, met);
        }
    }
}

/* Blocks 0 and 1 share the same entry again, in another life of it. */
static void reuse_the_entry(void *arg)
{
    (void)arg;
    for (uint64_t b = 0; b < 2; b++)
        assert_int_equal(kl_store_discard(met, b, 0, BLOCK), 0);
    for (uint64_t b = 0; b < 2; b++)
        write_block(met, b, 3);
}

static void a_reader_sees_a_reused_entry(void **state)
{
    struct fixture f;
    char want[BLOCK], back[BLOCK];

    (void)state;
    for (int patched = 0; patched < 2; patched++) {
        met = open_store(&f);
        write_block(met, 0, 0);
        write_block(met, 1, 0);
        codec_watch[0].while_unpacking = reuse_the_entry;
        make_block(want, 3);
        if (patched) {
            assert_int_equal(kl_store_write(met, 0, 5, part, sizeof(part)), 0);
            memcpy(want + 5, part, sizeof(part));
            assert_int_equal(kl_store_read(met, 0, 0, back, BLOCK), 0);
            assert_memory_equal(want, back, BLOCK);
        } else {
            assert_block(met, 0, 3);
        }
        assert_null(codec_watch[0].while_unpacking);
        assert_block(met, 1, 3);
        crowd_close(&f, met);
    }
}

/* Metadata runs out somewhere in the making of a store, and of a shared entry. */
static void no_metadata(void **state)
{
    struct kl_codec lz4;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = 10,
                                     .block_bytes = BLOCK,
                                     .codec = &lz4,
                                     .flags = KL_STORE_DEDUP,
                                     .hash = kl_linux_hash};
    struct kl_store *store;
    struct fixture f;
    int err = -KL_ENOMEM, nth = 0;

    (void)state;
    fixture_open(&f, 64, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &lz4), 0);
    while (err == -KL_ENOMEM) {
        fault_set(FAULT_META, ++nth);
        err = kl_store_create(f.zone, &config, &store);
        fault_set(FAULT_META, 0);
    }
    assert_true(nth > 7);
    for (nth = 1; nth < 10; nth++) {
        char buf[BLOCK];

        make_block(buf, (uint64_t)nth);
        assert_int_equal(kl_store_write(store, 0, 0, buf, BLOCK), 0);
        fault_set(FAULT_META, nth);
        err = kl_store_write(store, 1, 0, buf, BLOCK);
        fault_set(FAULT_META, 0);
        assert_true(err == 0 || err == -KL_ENOSPC || err == -KL_ENOMEM);
        assert_store_ok(store);
        assert_block(store, 0, (uint64_t)nth);
        if (err == 0)
            assert_block(store, 1, (uint64_t)nth);
    }
    assert_int_equal(kl_store_destroy(store), 0);
    config.hash = NULL;
    assert_int_equal(kl_store_create(f.zone, &config, &store), -KL_EINVAL);
    config.flags = 1u << 7;
    assert_int_equal(kl_store_create(f.zone, &config, &store), -KL_EINVAL);
    fixture_close(&f);
}

/* At the limit a duplicate of a shared block needs no room; one of a block that has its
 * object to itself does, and everything is as it was when there is none. */
static void no_room(void **state)
{
    struct fixture f;
    struct kl_store *store = open_like(&f, &(struct kl_store_config){.limit_bytes = 32 << 12});
    char buf[BLOCK];
    uint64_t n = 0;

    (void)state;
    write_block(store, 500, 2);
    write_block(store, 501, 2);
    do /* noise: a frame each, and what a guard needs */
        make_block(buf, 3 * n + 5);
    while (kl_store_write(store, n, 0, buf, BLOCK) == 0 && ++n < 500);
    assert_in_range(n, KL_HARDENED ? 15 : 31, 31);
    for (int i = 0; i < 2; i++) {
        make_block(buf, 3 * 7 + 5);
        assert_int_equal(kl_store_write(store, 600, 0, buf, BLOCK), -KL_ENOSPC);
        assert_store_ok(store);
        assert_int_equal(kl_store_kind(store, 7), KL_STORE_RAW);
        assert_block(store, 7, 3 * 7 + 5);
        write_block(store, 601 + (uint64_t)i, 2);
        assert_block(store, 601 + (uint64_t)i, 2);
    }
    assert_int_equal(crowd_stats(store).refused, 1 + 2);
    assert_int_equal(kl_store_discard(store, 3, 0, BLOCK), 0);
    write_block(store, 600, 3 * 7 + 5);
    assert_int_equal(kl_store_kind(store, 7), KL_STORE_SHARED);
    crowd_close(&f, store);
}

/* A version is the same one in every block. */
static void make_any(char *buf, uint64_t block, uint64_t version)
{
    (void)block;
    make_block(buf, version);
}

static void all_at_once(void **state)
{
    static uint64_t (*const hash[])(const void *bytes, size_t n) = {kl_linux_hash, always_one};

    (void)state;
    for (int h = 0; h < 2; h++) {
        struct fixture f;
        struct kl_store *store = open_like(&f, &(struct kl_store_config){.hash = hash[h]});

        crowd_run(&(struct crowd){store, 24, 6, make_any, 3, 1});
        assert_true(crowd_stats(store).duplicates > 100);
        crowd_close(&f, store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_blocks_share),
        cmocka_unit_test(written_again_is_not_shared),
        cmocka_unit_test(references_do_not_wrap),
        cmocka_unit_test(a_shared_object_that_moves_is_found),
        cmocka_unit_test(parts_of_shared_blocks),
        cmocka_unit_test(collisions_are_seen),
        cmocka_unit_test(shared_objects_are_recompressed),
        cmocka_unit_test(no_more_entries),
        cmocka_unit_test(in_the_middle_of_a_comparison),
        cmocka_unit_test(a_reader_sees_a_reused_entry),
        cmocka_unit_test(no_metadata),
        cmocka_unit_test(no_room),
        cmocka_unit_test(all_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
