// SPDX-License-Identifier: Apache-2.0
/* Recompression of cold blocks; what reads and writes cost a compressor; the high-water
 * mark and the reset. */
#include "support/codecs.h"
#include "support/crowd.h"
#include "zs/zs.h"

#include <string.h>

enum { BLOCK = 4096, BLOCKS = 3000, USED = 300 };

static struct kl_store *open_store(struct fixture *f, bool second, uint64_t limit)
{
    struct kl_codec lz4 = codec_watched(0, "lz4", 0), zstd = codec_watched(1, "zstd", 3);
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = BLOCKS,
                                     .block_bytes = BLOCK,
                                     .codec = &lz4,
                                     .limit_bytes = limit,
                                     .recompress = second ? &zstd : NULL};
    struct kl_store *store;

    fixture_open(f, 64, 6, 0);
    assert_int_equal(kl_store_create(f->zone, &config, &store), 0);
    return store;
}

/* Three sorts by number: 0 letters of few bits each, which only the second compressor
 * makes shorter; 1 half noise, on which it gains nothing; 2 noise. */
static void make_block(char *buf, uint64_t block, uint64_t version)
{
    uint64_t seed = block + version * 100003;

    fill_bytes(buf, BLOCK, seed);
    if (block % 3 == 1)
        memset(buf + BLOCK / 2, (int)(seed & 0x7f), BLOCK / 2);
    for (int i = 0; i < BLOCK && block % 3 == 0; i++)
        buf[i] = (char)(' ' + (buf[i] & 63));
}

static void write_block(struct kl_store *store, uint64_t block, uint64_t version)
{
    char buf[BLOCK];

    make_block(buf, block, version);
    assert_int_equal(kl_store_write(store, block, 0, buf, BLOCK), 0);
}

static void assert_block(struct kl_store *store, uint64_t block, uint64_t version)
{
    char want[BLOCK], back[BLOCK];

    make_block(want, block, version);
    assert_int_equal(kl_store_read(store, block, 0, back, BLOCK), 0);
    assert_memory_equal(want, back, BLOCK);
}

static void make_old(struct kl_store *store)
{
    assert_int_equal(kl_store_age(store, 0), 0);
    assert_int_equal(kl_store_age(store, 0), 0);
}

static void cold_blocks_are_recompressed(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);
    struct kl_store_stats before, after;

    (void)state;
    for (uint64_t b = 0; b < USED; b++)
        write_block(store, b, 0);
    assert_int_equal(kl_store_age(store, 0), 0);
    assert_int_equal(kl_store_recompress(store, 0), 0); /* not old enough */
    assert_int_equal(kl_store_age(store, 0), 0);
    assert_block(store, 6, 0); /* young again */
    before = crowd_stats(store);
    assert_int_equal(before.raw, USED / 3 * 2);
    assert_true(kl_store_recompress(store, 0) > 0);
    assert_store_ok(store);
    after = crowd_stats(store);
    assert_int_equal(after.recompressions, USED / 3 - 1);
    assert_int_equal(after.recompressed_blocks, USED / 3 - 1);
    assert_int_equal(after.recompressions_in_vain, USED / 3 * 2);
    assert_int_equal(after.raw, USED / 3 + 1);
    assert_int_equal(before.payload_bytes - after.payload_bytes, after.recompression_saved_bytes);
    assert_true(after.recompression_saved_bytes > (USED / 3 - 1) * BLOCK / 5);
    assert_int_equal(kl_store_block_age(store, 0), 2); /* as old as it was */
    assert_int_equal(kl_store_kind(store, 0), KL_STORE_COMPRESSED);
    assert_int_equal(kl_store_kind(store, 6), KL_STORE_RAW);
    for (uint64_t b = 0; b < USED; b++)
        assert_block(store, b, 0);
    crowd_close(&f, store);
}

/* Nor is what the second compressor has done already, however old. */
static void done_only_once(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);

    (void)state;
    write_block(store, 0, 0);
    make_old(store);
    assert_true(kl_store_recompress(store, 0) > 0);
    for (int i = 0; i < 3; i++) {
        make_old(store);
        assert_int_equal(kl_store_recompress(store, 0), 0);
        assert_int_equal(atomic_load(&codec_watch[1].packs), 1);
    }
    assert_int_equal(crowd_stats(store).recompressions_in_vain, 0);
    assert_block(store, 0, 0);
    crowd_close(&f, store);
}

/* What gained nothing is tried again after it was written, and not before. */
static void in_vain_only_once(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);

    (void)state;
    write_block(store, 1, 0);
    write_block(store, 2, 0);
    for (int i = 0; i < 3; i++) {
        make_old(store);
        assert_int_equal(kl_store_recompress(store, 0), 0);
        assert_int_equal(atomic_load(&codec_watch[1].packs), 2);
        assert_block(store, 1, 0);
    }
    assert_int_equal(kl_store_write(store, 2, 7, "x", 1), 0);
    make_old(store);
    assert_int_equal(kl_store_recompress(store, 0), 0);
    assert_int_equal(atomic_load(&codec_watch[1].packs), 3);
    crowd_close(&f, store);
}

static void it_goes_in_pieces(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);

    (void)state;
    for (uint64_t b = 0; b < USED; b++)
        write_block(store, b, 0);
    make_old(store);
    for (uint64_t done = 0; done < USED; done += 30) {
        assert_int_equal(crowd_stats(store).recompressions, done / 3);
        assert_true(kl_store_recompress(store, 30) > 0);
    }
    assert_int_equal(crowd_stats(store).recompressions, USED / 3);
    crowd_close(&f, store);
    store = open_store(&f, false, 0);
    assert_int_equal(kl_store_recompress(store, 0), -KL_ENOTSUP);
    crowd_close(&f, store);
}

/* As many as there is room for: those that the second compressor makes shorter, and then
 * small ones, so that no frame is left. */
static uint64_t fill_up(struct kl_store *store)
{
    char buf[BLOCK];
    uint64_t n = 0;

    do
        make_block(buf, 3 * n, 0);
    while (kl_store_write(store, n, 0, buf, BLOCK) == 0 && ++n < BLOCKS / 2);
    for (uint64_t b = BLOCKS / 2; b < BLOCKS; b++) {
        memset(buf, 0, BLOCK);
        fill_bytes(buf, 200, b);
        if (kl_store_write(store, b, 0, buf, BLOCK) != 0)
            break;
    }
    return n;
}

static void no_room_changes_nothing(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 64 << 12);
    uint64_t n = fill_up(store);

    (void)state;
    assert_in_range(n, KL_HARDENED ? 32 : 64, 64);
    make_old(store);
    atomic_store(&codec_watch[1].no_context, true);
    assert_int_equal(kl_store_recompress(store, 0), -KL_ENOMEM);
    assert_store_ok(store);
    atomic_store(&codec_watch[1].no_context, false);
    kl_store_recompress(store, 0); /* to the end of the sweep */
    assert_int_equal(crowd_stats(store).recompressions, 0);
    assert_int_equal(kl_store_recompress(store, 0), -KL_ENOSPC);
    assert_store_ok(store);
    assert_int_equal(crowd_stats(store).raw, n);
    for (uint64_t b = n - n / 4; b < n; b++)
        assert_int_equal(kl_store_discard(store, b, 0, BLOCK), 0);
    kl_store_recompress(store, 0);
    assert_true(kl_store_recompress(store, 0) > 0);
    assert_true(crowd_stats(store).recompressions > n / 8 * 5);
    crowd_close(&f, store);
}

static void no_metadata_changes_nothing(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);

    (void)state;
    for (uint64_t b = 0; b < 9; b += 3)
        write_block(store, b, 0);
    for (int nth = 1; nth < 8; nth++) {
        int64_t saved;

        make_old(store);
        fault_set(FAULT_META, nth);
        saved = kl_store_recompress(store, 0);
        fault_set(FAULT_META, 0);
        assert_true(saved >= 0 || saved == -KL_ENOSPC || saved == -KL_ENOMEM);
        assert_store_ok(store);
        for (uint64_t b = 0; b < 9; b += 3)
            assert_block(store, b, 0);
        kl_store_recompress(store, BLOCKS); /* whatever is left of this sweep */
    }
    crowd_close(&f, store);
}

static struct kl_store *met;

static void overwrite(void *arg)
{
    write_block(met, *(uint64_t *)arg, 1);
}

static void discard(void *arg)
{
    assert_int_equal(kl_store_discard(met, *(uint64_t *)arg, 0, BLOCK), 0);
}

static void read_it(void *arg)
{
    assert_block(met, *(uint64_t *)arg, 0);
}

static void move_all(void *arg)
{
    (void)arg;
    assert_true(kl_store_compact(met, 0) >= 0);
}

/* Whoever comes between the claim and the commit. */
static void in_the_middle(void **state)
{
    static void (*const what[])(void *arg) = {overwrite, discard, read_it, move_all};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (uint64_t block = 0; block < 3; block++) { /* of each sort */
            struct fixture f;
            char zero[BLOCK] = {0}, back[BLOCK];

            met = open_store(&f, true, 0);
            write_block(met, block, 0);
            make_old(met);
            codec_watch[1].arg = &block;
            codec_watch[1].while_packing = what[i];
            assert_true((kl_store_recompress(met, 0) > 0) == (i > 1 && block == 0));
            assert_null(codec_watch[1].while_packing);
            assert_store_ok(met);
            if (i == 1) {
                assert_int_equal(kl_store_read(met, block, 0, back, BLOCK), 0);
                assert_memory_equal(back, zero, BLOCK);
            } else {
                assert_block(met, block, i == 0);
            }
            assert_int_equal(crowd_stats(met).recompressions, i > 1 && block == 0);
            crowd_close(&f, met);
        }
    }
}

/* (I1), (I2) */
static void what_needs_no_compressor(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);
    char buf[BLOCK], back[BLOCK];

    (void)state;
    memset(buf, 'x', BLOCK);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_store_read(store, 5, 0, back, BLOCK), 0);
    assert_int_equal(kl_store_write(store, 5, 0, buf, BLOCK), 0);
    memset(back, 0, BLOCK);
    assert_int_equal(kl_store_read(store, 5, 0, back, BLOCK), 0);
    assert_memory_equal(buf, back, BLOCK);
    memset(back, 0, BLOCK);
    assert_int_equal(kl_store_read(store, 5, 4093, back, 3), 0);
    assert_memory_equal(back, "xxx\0", 4);
    fault_set(FAULT_META, 0);
    for (int i = 0; i < BLOCK; i++)
        buf[i] = (char)('a' + i % 4);
    assert_int_equal(kl_store_write(store, 5, 0, buf, BLOCK), 0);
    for (uint32_t from = 0; from < 8; from++) {
        for (uint32_t n = 0; n < 20; n++) {
            assert_int_equal(kl_store_read(store, 5, from, back, n), 0);
            assert_memory_equal(back, buf + from, n);
        }
    }
    assert_int_equal(atomic_load(&codec_watch[0].contexts), 0);
    for (uint64_t b = 0; b < 6; b++)
        write_block(store, b, 0);
    make_old(store);
    kl_store_recompress(store, 0);
    for (uint64_t b = 0; b < 6; b++) /* of every kind, over every kind */
        write_block(store, b, 1);
    for (uint64_t b = 0; b < 6; b++)
        write_block(store, (b + 1) % 6, 2);
    assert_block(store, 2, 2);                                     /* raw */
    assert_int_equal(atomic_load(&codec_watch[0].unpacks), 0 + 2); /* the recompression's own */
    assert_int_equal(atomic_load(&codec_watch[1].unpacks), 0);
    assert_int_equal(crowd_stats(store).partial_writes, 0);
    crowd_close(&f, store);
}

static void the_peak_and_the_reset(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, false, 0);
    uint64_t peak;

    (void)state;
    for (uint64_t b = 0; b < USED; b++)
        write_block(store, b, 0);
    peak = crowd_stats(store).frame_bytes;
    assert_int_equal(crowd_stats(store).peak_frame_bytes, peak);
    for (uint64_t left = BLOCKS; left > 0;) {
        uint64_t next = left < 40 ? 0 : left - 40;

        assert_int_equal(kl_store_reset(store, 40), next);
        left = next;
        assert_store_ok(store);
    }
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_int_equal(kl_store_kind(store, b), KL_STORE_HOLE);
    assert_int_equal(crowd_stats(store).frame_bytes, 0);
    assert_int_equal(crowd_stats(store).peak_frame_bytes, peak);
    kl_store_reset_peak(store);
    assert_int_equal(crowd_stats(store).peak_frame_bytes, 0);
    write_block(store, 0, 0);
    assert_int_equal(crowd_stats(store).peak_frame_bytes, crowd_stats(store).frame_bytes);
    crowd_close(&f, store);
}

static void all_at_once(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, true, 0);

    (void)state;
    crowd_run(&(struct crowd){store, 60, 4, make_block, 2, 2});
    crowd_close(&f, store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_blocks_are_recompressed),
        cmocka_unit_test(done_only_once),
        cmocka_unit_test(in_vain_only_once),
        cmocka_unit_test(it_goes_in_pieces),
        cmocka_unit_test(no_room_changes_nothing),
        cmocka_unit_test(no_metadata_changes_nothing),
        cmocka_unit_test(in_the_middle),
        cmocka_unit_test(what_needs_no_compressor),
        cmocka_unit_test(the_peak_and_the_reset),
        cmocka_unit_test(all_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
