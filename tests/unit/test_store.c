// SPDX-License-Identifier: Apache-2.0
/* The store: contents, kinds of blocks, limits, failures, two writers. */
#include "store/store.h"
#include "support/fixture.h"
#include "zs/zs.h"

#include <pthread.h>
#include <string.h>

enum { BLOCK = 4096, BLOCKS = 2000 };

static struct kl_store *open_store(struct fixture *f, const char *codec, uint32_t block_bytes,
                                   uint64_t limit)
{
    struct kl_codec c;
    struct kl_store_config config = {.size = sizeof(config),
                                     .blocks = BLOCKS,
                                     .block_bytes = block_bytes,
                                     .codec = &c,
                                     .limit_bytes = limit};
    struct kl_store *store;

    fixture_open(f, 256, 6, 0);
    assert_int_equal(kl_linux_codec(codec, 0, &c), 0);
    assert_int_equal(kl_store_create(f->zone, &config, &store), 0);
    return store;
}

static void close_store(struct fixture *f, struct kl_store *store)
{
    assert_store_ok(store);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(f);
}

/* Half of it compresses away. */
static void make_block(char *buf, uint32_t n, uint64_t seed)
{
    fill_bytes(buf, n / 2, seed);
    memset(buf + n / 2, (int)(seed & 0x7f), n - n / 2);
}

static void round_trip(void **state)
{
    static const uint32_t sizes[] = {4096, 16384, 65536};
    static const char *const codecs[] = {"lz4", "zstd"};
    static char buf[65536], back[65536];

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        uint32_t n = sizes[i % 3];
        struct fixture f;
        struct kl_store *store = open_store(&f, codecs[i / 3], n, 0);
        struct kl_store_stats s = {.size = sizeof(s)};

        for (uint64_t b = 0; b < 100; b++) {
            make_block(buf, n, b);
            assert_int_equal(kl_store_write(store, b * 17, 0, buf, n), 0);
        }
        for (uint64_t b = 0; b < 100; b++) {
            make_block(buf, n, b);
            assert_int_equal(kl_store_read(store, b * 17, 0, back, n), 0);
            assert_memory_equal(buf, back, n);
            assert_int_equal(kl_store_read(store, b * 17, 1000, back, 3000), 0);
            assert_memory_equal(buf + 1000, back, 3000);
        }
        kl_store_get_stats(store, &s);
        assert_int_equal(s.compressed, 100);
        assert_true(s.payload_bytes < 100ull * n * 6 / 10);
        assert_true(s.frame_bytes >= s.payload_bytes);
        close_store(&f, store);
    }
}

static void kinds_of_blocks(void **state)
{
    static char buf[BLOCK], back[BLOCK];
    struct fixture f;
    struct kl_store *store = open_store(&f, "lz4", BLOCK, 0);
    struct kl_store_stats s = {.size = sizeof(s)};

    (void)state;
    memset(back, 1, BLOCK);
    assert_int_equal(kl_store_read(store, 5, 0, back, BLOCK), 0); /* never written */
    assert_memory_equal(buf, back, BLOCK);
    for (int i = 0; i < BLOCK; i++)
        buf[i] = (char)('a' + i % 4);
    assert_int_equal(kl_store_write(store, 5, 0, buf, BLOCK), 0);
    assert_int_equal(kl_store_kind(store, 5), KL_STORE_SAME);
    assert_int_equal(kl_store_read(store, 5, 0, back, BLOCK), 0);
    assert_memory_equal(buf, back, BLOCK);
    fill_bytes(buf, BLOCK, 1); /* noise */
    assert_int_equal(kl_store_write(store, 5, 0, buf, BLOCK), 0);
    assert_int_equal(kl_store_kind(store, 5), KL_STORE_RAW);
    assert_int_equal(kl_store_read(store, 5, 0, back, BLOCK), 0);
    assert_memory_equal(buf, back, BLOCK);
    make_block(buf, BLOCK, 2);
    assert_int_equal(kl_store_write(store, 5, 0, buf, BLOCK), 0);
    assert_int_equal(kl_store_kind(store, 5), KL_STORE_COMPRESSED);
    memset(buf, 0, BLOCK);
    assert_int_equal(kl_store_write(store, 5, 0, buf, BLOCK), 0);
    assert_int_equal(kl_store_kind(store, 5), KL_STORE_HOLE);
    kl_store_get_stats(store, &s);
    assert_int_equal(s.payload_bytes, 0);
    assert_int_equal(s.frame_bytes, 0);
    close_store(&f, store);
}

static void parts_of_blocks(void **state)
{
    static char want[BLOCK], back[BLOCK], piece[BLOCK];
    struct fixture f;
    struct kl_store *store = open_store(&f, "zstd", BLOCK, 0);
    struct rng rng = rng_new(8);

    (void)state;
    for (int i = 0; i < 400; i++) {
        uint32_t from = rng_below(&rng, BLOCK), n = rng_below(&rng, BLOCK - from + 1);

        if (i % 3 == 0) {
            memset(want + from, 0, n);
            assert_int_equal(kl_store_discard(store, 9, from, n), 0);
        } else {
            fill_bytes(piece, n, (uint64_t)i);
            memcpy(want + from, piece, n);
            assert_int_equal(kl_store_write(store, 9, from, piece, n), 0);
        }
        assert_int_equal(kl_store_read(store, 9, 0, back, BLOCK), 0);
        assert_memory_equal(want, back, BLOCK);
    }
    assert_int_equal(kl_store_discard(store, 9, 0, BLOCK), 0);
    assert_int_equal(kl_store_kind(store, 9), KL_STORE_HOLE);
    close_store(&f, store);
}

static void refuses_bad_requests(void **state)
{
    static char buf[BLOCK];
    struct kl_codec c;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 10, .block_bytes = BLOCK, .codec = &c};
    struct kl_store *store, *bad;
    struct fixture f;

    (void)state;
    store = open_store(&f, "lz4", BLOCK, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_read(store, BLOCKS, 0, buf, 1), -KL_ERANGE);
    assert_int_equal(kl_store_read(store, UINT64_MAX, 0, buf, 1), -KL_ERANGE);
    assert_int_equal(kl_store_write(store, 0, 1, buf, BLOCK), -KL_ERANGE);
    assert_int_equal(kl_store_write(store, 0, UINT32_MAX, buf, 2), -KL_ERANGE);
    assert_int_equal(kl_store_write(store, 0, 0, NULL, 2), -KL_EINVAL);
    assert_int_equal(kl_store_discard(store, 0, BLOCK + 1, 0), -KL_ERANGE);
    assert_int_equal(kl_store_kind(store, BLOCKS), -KL_ERANGE);
    for (int i = 0; i < 6; i++) {
        struct kl_store_config broken = config;
        struct kl_codec half = c;

        switch (i) {
        case 0:
            broken.blocks = 0;
            break;
        case 1:
            broken.blocks = (UINT64_C(1) << 28) + 1;
            break;
        case 2:
            broken.block_bytes = 2048;
            break;
        case 3:
            broken.block_bytes = 5000;
            break;
        case 4:
            broken.block_bytes = 131072;
            break;
        case 5:
            half.decompress = NULL;
            broken.codec = &half;
            break;
        }
        assert_int_equal(kl_store_create(f.zone, &broken, &bad), -KL_EINVAL);
    }
    close_store(&f, store);
}

/* A write beyond the limit fails, and everything that was there is still there. */
static void the_limit_holds(void **state)
{
    static char buf[BLOCK], back[BLOCK];
    struct fixture f;
    struct kl_store *store = open_store(&f, "lz4", BLOCK, 1 << 20);
    struct kl_store_stats s = {.size = sizeof(s)};
    uint64_t written = 0;

    (void)state;
    for (;; written++) {
        int err;

        fill_bytes(buf, BLOCK, written);
        err = kl_store_write(store, written, 0, buf, BLOCK);
        if (err) {
            assert_int_equal(err, -KL_ENOSPC);
            break;
        }
    }
    assert_in_range(written, KL_HARDENED ? 200 : 256, 256); /* guards need room, too */
    fill_bytes(buf, BLOCK, 999);                            /* an overwrite needs room for both */
    assert_int_equal(kl_store_write(store, 3, 100, buf, 5), -KL_ENOSPC);
    for (uint64_t b = 0; b < written; b++) {
        fill_bytes(buf, BLOCK, b);
        assert_int_equal(kl_store_read(store, b, 0, back, BLOCK), 0);
        assert_memory_equal(buf, back, BLOCK);
    }
    kl_store_get_stats(store, &s);
    assert_true(s.refused > 0);
    assert_true(s.frame_bytes <= 1 << 20);
    assert_int_equal(kl_store_discard(store, 7, 0, BLOCK), 0);
    fill_bytes(buf, BLOCK, 5555);
    assert_int_equal(kl_store_write(store, 1999, 0, buf, BLOCK), 0);
    close_store(&f, store);
}

/* Each failure of metadata and memory on a write's way leaves the old block. */
static void failures_undo_themselves(void **state)
{
    static char old[BLOCK], buf[BLOCK], back[BLOCK];
    struct fixture f;
    struct kl_store *store, *other;
    struct kl_codec c;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 10, .block_bytes = BLOCK, .codec = &c};

    (void)state;
    store = open_store(&f, "zstd", BLOCK, 0);
    make_block(old, BLOCK, 1);
    assert_int_equal(kl_store_write(store, 0, 0, old, BLOCK), 0);
    fault_set(FAULT_POPULATE, 1);
    for (uint64_t b = 1; b < 200; b++) { /* until the first block is full */
        fill_bytes(buf, BLOCK, b);
        if (kl_store_write(store, b, 0, buf, BLOCK) == 0)
            continue;
        assert_int_equal(kl_store_kind(store, b), KL_STORE_HOLE);
        break;
    }
    assert_int_equal(kl_store_read(store, 0, 0, back, BLOCK), 0);
    assert_memory_equal(old, back, BLOCK);
    assert_store_ok(store);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    for (int nth = 1; nth <= 6; nth++) {
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_store_create(f.zone, &config, &other), -KL_ENOMEM);
        fault_set(FAULT_META, 0);
    }
    assert_int_equal(kl_store_create(f.zone, &config, &other), 0);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_store_write(other, 0, 0, old, BLOCK), -KL_ENOMEM); /* its context */
    for (int nth = 1; nth <= 2; nth++) {
        fault_set(FAULT_META, 1 + nth);
        assert_int_equal(kl_store_write(other, 0, 0, old, BLOCK), nth == 1 ? -KL_ENOSPC : 0);
        fault_set(FAULT_META, 0);
        assert_store_ok(other);
    }
    assert_int_equal(kl_store_destroy(other), 0);
    close_store(&f, store);
}

/* What nobody used between two looks is freed, and made again when it is needed. */
static void idle_contexts_go(void **state)
{
    struct fixture f;
    static char buf[BLOCK], back[BLOCK];
    struct kl_store *store = open_store(&f, "zstd", BLOCK, 0);
    uint64_t without = atomic_load(&store->metadata_bytes);

    (void)state;
    assert_true(store_contexts_rest(store) == KL_WORK_DONE);
    make_block(buf, BLOCK, 7);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(kl_store_write(store, 1, 0, buf, BLOCK), 0);
        assert_true(atomic_load(&store->metadata_bytes) > without);
        store->rest_due = 0;
        assert_true(store_contexts_rest(store) < KL_WORK_DONE); /* it was used */
        assert_true(store->rest_due > 0);
        store->rest_due = UINT64_MAX - 1;
        assert_true(store_contexts_rest(store) < KL_WORK_DONE); /* too early */
        assert_true(atomic_load(&store->metadata_bytes) > without);
        store->rest_due = 0;
        assert_true(store_contexts_rest(store) == KL_WORK_DONE);
        assert_int_equal(atomic_load(&store->metadata_bytes), without);
        assert_int_equal(kl_store_read(store, 1, 0, back, BLOCK), 0);
        assert_memory_equal(buf, back, BLOCK);
        store->rest_due = 0;
        (void)store_contexts_rest(store);
        store->rest_due = 0;
        (void)store_contexts_rest(store);
    }
    close_store(&f, store);
}

struct duel {
    struct kl_store *store;
    char pattern;
    bool partial;
};

static void *write_again_and_again(void *arg)
{
    struct duel *d = arg;
    char buf[BLOCK];

    make_block(buf, BLOCK, (uint64_t)d->pattern);
    for (int i = 0; i < 3000; i++) {
        uint32_t at = d->partial ? (d->pattern == 1 ? 0 : BLOCK / 2) : 0;
        uint32_t n = d->partial ? BLOCK / 2 : BLOCK;

        if (kl_store_write(d->store, 1, at, buf + at, n))
            abort();
    }
    return NULL;
}

/* Two writers of one block end with one of the two, whole; a reader in between
 * never sees a mixture.  Two writers of its halves end with both. */
static void two_writers(void **state)
{
    static char one[BLOCK], two[BLOCK], back[BLOCK];

    (void)state;
    make_block(one, BLOCK, 1);
    make_block(two, BLOCK, 2);
    for (int partial = 0; partial < 2; partial++) {
        struct fixture f;
        struct kl_store *store = open_store(&f, "lz4", BLOCK, 0);
        struct duel a = {store, 1, partial}, b = {store, 2, partial};
        pthread_t ta, tb;

        assert_int_equal(kl_store_write(store, 1, 0, one, BLOCK), 0);
        pthread_create(&ta, NULL, write_again_and_again, &a);
        pthread_create(&tb, NULL, write_again_and_again, &b);
        for (int i = 0; i < 2000 && !partial; i++) {
            assert_int_equal(kl_store_read(store, 1, 0, back, BLOCK), 0);
            assert_true(!memcmp(back, one, BLOCK) || !memcmp(back, two, BLOCK));
        }
        pthread_join(ta, NULL);
        pthread_join(tb, NULL);
        assert_int_equal(kl_store_read(store, 1, 0, back, BLOCK), 0);
        if (partial)
            assert_true(!memcmp(back, one, BLOCK / 2) &&
                        !memcmp(back + BLOCK / 2, two + BLOCK / 2, BLOCK / 2));
        else
            assert_true(!memcmp(back, one, BLOCK) || !memcmp(back, two, BLOCK));
        close_store(&f, store);
    }
}

/* It has no handles: whoever asks for an object there gets none, and the store stays. */
static void its_pool_is_for_nobody_else(void **state)
{
    struct fixture f;
    struct kl_store *store = open_store(&f, "lz4", BLOCK, 0);
    struct kl_zs *pool = kl_store_zs(store);
    kl_handle handle = {0};
    struct kl_zs_pin pin;
    char buf[8];

    (void)state;
    assert_int_equal(kl_zs_malloc(pool, 100, 0, &handle), -KL_ENOTSUP);
    assert_int_equal(handle.v, 0);
    for (uint64_t v = 0; v <= 0xffff; v++) { /* the tag of the pool is among these */
        handle.v = v;
        assert_int_equal(kl_zs_free(pool, handle), -KL_ESTALE);
        assert_int_equal(kl_zs_read(pool, handle, 0, buf, 1), -KL_ESTALE);
        assert_int_equal(kl_zs_begin(pool, handle, &pin), -KL_ESTALE);
    }
    close_store(&f, store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(kinds_of_blocks),
        cmocka_unit_test(parts_of_blocks),
        cmocka_unit_test(refuses_bad_requests),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(failures_undo_themselves),
        cmocka_unit_test(idle_contexts_go),
        cmocka_unit_test(two_writers),
        cmocka_unit_test(its_pool_is_for_nobody_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
