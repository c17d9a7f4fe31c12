// SPDX-License-Identifier: Apache-2.0
/* The hardened build: what is written beyond an object is found, and what was freed is
 * gone from the zone's memory.  Who finds it ends the process: so in a child that has a
 * zone of its own, whose host says what it was told.  Without -Dhardened=true there are
 * no guards, and that they cost nothing is all that is tested. */
#include "klotski/store.h"
#include "support/objects.h"
#include "support/shake.h"
#include "zs/direct.h"
#include "zs/guard.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 8, FATAL = 42 };

/* --- what ends the process -------------------------------------------------- */

static char *said; /* shared with the child */

static void say_and_exit(void *ctx, const char *what, const char *file, int line)
{
    (void)ctx, (void)file, (void)line;
    snprintf(said, 256, "%s", what);
    _exit(FATAL);
}

static void host_says(struct kl_host *host)
{
    fixture_one_cpu(host); /* entries in their order */
    host->fatal = say_and_exit;
}

/* Does the scene in a child; it must end there, with each of these in its last words. */
static void assert_ends(void (*scene)(void), const char *what, const char *by)
{
    int status;
    pid_t child;

    said = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(said != MAP_FAILED);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        fixture_host = host_says;
        scene();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != FATAL)
        fail_msg("not found: status %x", (unsigned)status);
    if (!strstr(said, what) || !strstr(said, by))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", said, what, by);
    munmap(said, 256);
}

static void check(bool ok)
{
    if (!ok)
        _exit(1); /* the scene itself went wrong */
}

static kl_handle new_object(struct kl_zs *pool, size_t size)
{
    kl_handle h;

    check(kl_zs_malloc(pool, size, 0, &h) == 0);
    return h;
}

/* One byte behind the end, in place. */
static void overflow(struct kl_zs *pool, kl_handle h, bool end)
{
    struct kl_zs_pin pin;
    size_t len;
    char *last;

    check(kl_zs_begin(pool, h, &pin) == 0);
    last = kl_zs_run(&pin, pin.bytes - 1, &len);
    check(last && len == 1);
    last[1] ^= 1;
    if (end) {
        kl_zs_end(&pin);
    } else { /* and out of its hands without a look */
        zs_users_drop(zs_page(pool, zs_place_page(pin.priv[0])));
        atomic_fetch_sub(zs_entry(pool, (uint32_t)(h.v >> 32)), UINT64_C(1) << 37);
    }
}

static struct fixture child_zone;

static void overflow_and_end(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);

    new_object(pool, 100);
    overflow(pool, new_object(pool, 100), true);
}

static void overflow_and_free(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h = new_object(pool, 3000);

    overflow(pool, h, false);
    kl_zs_free(pool, h);
}

static void overflow_and_read(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h = new_object(pool, 3000);
    char buf[8];

    overflow(pool, h, false);
    kl_zs_read(pool, h, 0, buf, sizeof(buf));
}

static void overflow_and_write(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h = new_object(pool, 3000);

    overflow(pool, h, false);
    kl_zs_write(pool, h, 0, "x", 1);
}

/* The largest object has a guard, too: in the next frame of its chain. */
static void overflow_of_the_largest(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h = new_object(pool, KL_ZS_MAX_SIZE);
    struct kl_zs_pin pin;
    struct zspage *page;
    size_t len;

    check(kl_zs_object_size(pool, h) == KL_ZS_MAX_SIZE);
    check(kl_zs_begin(pool, h, &pin) == 0);
    page = zs_page(pool, zs_place_page(pin.priv[0]));
    *(char *)zs_object_run(pool, page, pin.bytes, &len) ^= 1;
    kl_zs_end(&pin);
}

static void overflow_and_compact(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h[400];

    for (int i = 0; i < 400; i++)
        h[i] = new_object(pool, 500);
    for (int i = 0; i < 400; i++) {
        if (i % 5)
            kl_zs_free(pool, h[i]);
        else
            overflow(pool, h[i], false);
    }
    kl_zs_compact(pool, 0);
}

/* Written after it was freed: the next one that gets the slot is told. */
static void written_after_free(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h = new_object(pool, 100);
    struct kl_zs_pin pin;
    size_t len;
    char *run;

    new_object(pool, 100); /* so that the zspage stays */
    check(kl_zs_begin(pool, h, &pin) == 0);
    run = kl_zs_run(&pin, 50, &len);
    kl_zs_end(&pin);
    check(kl_zs_free(pool, h) == 0);
    *run = 1;
    check(kl_zs_check(pool, NULL) == -KL_EIO);
    new_object(pool, 100);
}

static kli_word table[8];

static struct kl_zs *open_direct(struct fixture *f)
{
    struct kl_zs *pool;

    memset(table, 0, sizeof(table));
    fixture_open(f, BLOCKS, 6, 0);
    check(zs_create_direct(f->zone, NULL, table, 8, &pool) == 0);
    return pool;
}

/* (D2) In a direct pool nothing else would notice. */
static void freed_twice(void)
{
    struct kl_zs *pool = open_direct(&child_zone);
    uint64_t name[2];

    for (uint32_t i = 0; i < 2; i++)
        check(zs_direct_put(pool, i, "contents", 8, 0, &name[i]) == 0);
    zs_direct_free(pool, 0, name[0]);
    zs_direct_free(pool, 0, name[0]);
}

/* (D1) Nor this. */
static void freed_by_another_index(void)
{
    struct kl_zs *pool = open_direct(&child_zone);
    uint64_t name;

    check(zs_direct_put(pool, 3, "contents", 8, 0, &name) == 0);
    zs_direct_free(pool, 4, name);
}

static void a_pool_that_is_none(void)
{
    struct kl_zs *pool = pool_open(&child_zone, BLOCKS, 0);
    kl_handle h;

#if KL_HARDENED
    pool->mark ^= 1; /* as in memory that somebody else has by now */
#endif
    kl_zs_malloc(pool, 8, 0, &h);
}

#define FOUND(name, scene, what, by)                                                               \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assert_ends(scene, what, by);                                                              \
    }

FOUND(found_by_the_end_of_a_pin, overflow_and_end, "object 1 of up to 1", "the end of a pin")
FOUND(found_by_free, overflow_and_free, "object 0 of up to 3", "by free")
FOUND(found_by_read, overflow_and_read, "overwritten beyond its end", "by read")
FOUND(found_by_write, overflow_and_write, "overwritten beyond its end", "by write")
FOUND(found_by_compaction, overflow_and_compact, "overwritten beyond its end", "by compaction")
FOUND(found_behind_the_largest, overflow_of_the_largest, "of up to 65536 bytes", "the end of")
FOUND(found_when_the_slot_is_taken, written_after_free, "while it was free", "by malloc")
FOUND(found_a_double_free, freed_twice, "object 0", "by free")
FOUND(found_a_foreign_free, freed_by_another_index, "object 4", "by free")
FOUND(found_a_pool_that_is_none, a_pool_that_is_none, "a pool that is not destroyed", "mark")

/* --- and what stays within it ----------------------------------------------- */

/* The recount says it, changes nothing, and the host is not told. */
static void the_recount_says_it(void **state)
{
    struct fixture f;
    const char *what = NULL;
    struct kl_zs *pool;
    kl_handle h;

    (void)state;
    pool = pool_open(&f, BLOCKS, 0);
    h = new_object(pool, 100);
    overflow(pool, h, false);
    assert_int_equal(kl_zs_check(pool, &what), -KL_EIO);
    assert_string_equal(what, "an object was overwritten beyond its end");
    overflow(pool, h, false); /* the same bit: right again */
    assert_int_equal(kl_zs_free(pool, h), 0);
    pool_close(&f, pool);
}

/* How often these bytes are in the zone's memory, at any place. */
static unsigned times_in_memory(struct fixture *f, const void *bytes, size_t n)
{
    const struct kl_backing *backing = kl_linux_backing_get(f->memory);
    const char *at = backing->base, *end = at + ((uint64_t)BLOCKS << 18);
    unsigned found = 0;

    while ((at = memmem(at, (size_t)(end - at), bytes, n)) != NULL) {
        found++;
        at++;
    }
    return found;
}

static const char secret[] = "a secret that nobody should find";

static void freed_contents_are_gone(void **state)
{
    struct fixture f;
    struct kl_zs *pool;
    kl_handle h[60];

    (void)state;
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    for (int i = 0; i < 60; i++) {
        h[i] = new_object(pool, sizeof(secret));
        assert_int_equal(kl_zs_write(pool, h[i], 0, secret, sizeof(secret)), 0);
    }
    assert_int_equal(times_in_memory(&f, secret, sizeof(secret)), 60);
    for (int i = 0; i < 60; i += 2)
        assert_int_equal(kl_zs_free(pool, h[i]), 0);
    if (KL_HARDENED)
        assert_int_equal(times_in_memory(&f, secret, sizeof(secret)), 30);
    assert_zs_ok(pool);
    for (int i = 1; i < 60; i += 2)
        assert_int_equal(kl_zs_free(pool, h[i]), 0);
    if (KL_HARDENED)
        assert_int_equal(times_in_memory(&f, secret, sizeof(secret)), 0);
    else
        assert_true(times_in_memory(&f, secret, sizeof(secret)) > 0); /* it would be found */
    pool_close(&f, pool);
}

/* Of moved frames and objects, and of a pool that is destroyed, nothing stays. */
static void moved_contents_are_in_one_place(void **state)
{
    struct fixture f;
    struct kl_zs *pool;
    kl_handle h[2000];
    unsigned n = 0;

    (void)state;
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    for (int i = 0; i < 2000; i++) {
        h[i] = new_object(pool, 200);
        assert_int_equal(kl_zs_write(pool, h[i], 0, secret, sizeof(secret)), 0);
    }
    for (int i = 0; i < 2000; i++) {
        if (i % 7)
            assert_int_equal(kl_zs_free(pool, h[i]), 0);
        else
            n++;
    }
    assert_true(times_in_memory(&f, secret, sizeof(secret)) <= n); /* some cross frames */
    for (uint32_t block = 0; block < BLOCKS; block++) {
        struct kl_report r = {.size = sizeof(r)};

        shake_block(f.zone, block, KL_SYNC, &r);
        assert_true(times_in_memory(&f, secret, sizeof(secret)) <= n);
    }
    assert_true(kl_zs_compact(pool, 0) > 0);
    assert_in_range(times_in_memory(&f, secret, sizeof(secret)), n / 2, n);
    assert_zs_ok(pool);
    assert_int_equal(kl_zs_destroy(pool), 0);
    assert_int_equal(times_in_memory(&f, secret, sizeof(secret)), 0);
    fixture_close(&f);
}

/* A guard moves with its object: all looks are content after everything moved. */
static void guards_move_with_objects(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, BLOCKS, 0);
    kl_handle h[600];
    char buf[3000];

    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        h[i] = new_object(pool, 1 + i * 5);
        fill_bytes(buf, 1 + i * 5, i);
        assert_int_equal(kl_zs_write(pool, h[i], 0, buf, 1 + i * 5), 0);
    }
    for (unsigned i = 0; i < 600; i++) {
        if (i % 3)
            assert_int_equal(kl_zs_free(pool, h[i]), 0);
    }
    kl_zs_compact(pool, 0);
    for (uint32_t block = 0; block < BLOCKS; block++) {
        struct kl_report r = {.size = sizeof(r)};

        shake_block(f.zone, block, KL_SYNC, &r);
    }
    assert_zs_ok(pool);
    for (unsigned i = 0; i < 600; i += 3) {
        assert_int_equal(kl_zs_read(pool, h[i], 0, buf, 1 + i * 5), 0);
        assert_true(bytes_are(buf, 1 + i * 5, i));
        assert_int_equal(kl_zs_free(pool, h[i]), 0);
    }
    pool_close(&f, pool);
}

/* Every size up to the largest is served, and holds what was asked for. */
static void sizes_are_as_without(void **state)
{
    struct fixture f;
    struct kl_zs *pool = pool_open(&f, BLOCKS, 0);
    struct kl_zs_stats s = {.size = sizeof(s)};
    kl_handle h;

    (void)state;
    assert_int_equal(ZS_GUARD_BYTES, KL_HARDENED ? 8 : 0);
    for (size_t size = 1; size <= KL_ZS_MAX_SIZE; size += 1 + size / 9) {
        assert_int_equal(kl_zs_malloc(pool, size, 0, &h), 0);
        assert_in_range(kl_zs_object_size(pool, h), size, KL_ZS_MAX_SIZE);
        assert_int_equal(kl_zs_free(pool, h), 0);
    }
    assert_int_equal(kl_zs_malloc(pool, KL_ZS_MAX_SIZE + 1, 0, &h), -KL_EINVAL);
    kl_zs_get_stats(pool, &s);
    assert_true(s.huge_class_size < KL_ZS_MAX_SIZE);
    pool_close(&f, pool);
}

/* A store with guards: its blocks' contents are gone when they are discarded. */
static void discarded_blocks_are_gone(void **state)
{
    struct kl_codec codec;
    struct kl_store_config config = {
        .size = sizeof(config), .blocks = 64, .block_bytes = 4096, .codec = &codec};
    static char plain[4096];
    struct kl_store *store;
    struct fixture f;

    (void)state;
    assert_int_equal(kl_linux_codec("lz4", 0, &codec), 0);
    fixture_open(&f, BLOCKS, 6, KL_ZONE_POPULATE);
    assert_int_equal(kl_store_create(f.zone, &config, &store), 0);
    fill_bytes(plain, sizeof(plain), 7); /* does not compress: kept as it is */
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(kl_store_write(store, i, 0, plain, sizeof(plain)), 0);
    assert_true(times_in_memory(&f, plain, 64) > 50);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(kl_store_discard(store, i, 0, 4096), 0);
    assert_int_equal(times_in_memory(&f, plain, 64), 0);
    assert_store_ok(store);
    assert_int_equal(kl_store_destroy(store), 0);
    fixture_close(&f);
}

#define EVERYWHERE                                                                                 \
    cmocka_unit_test(freed_contents_are_gone), cmocka_unit_test(guards_move_with_objects),         \
        cmocka_unit_test(sizes_are_as_without)

int main(void)
{
    const struct CMUnitTest plain[] = {EVERYWHERE};
    const struct CMUnitTest hardened[] = {
        EVERYWHERE,
        cmocka_unit_test(found_by_the_end_of_a_pin),
        cmocka_unit_test(found_by_free),
        cmocka_unit_test(found_by_read),
        cmocka_unit_test(found_by_write),
        cmocka_unit_test(found_by_compaction),
        cmocka_unit_test(found_behind_the_largest),
        cmocka_unit_test(found_when_the_slot_is_taken),
        cmocka_unit_test(found_a_double_free),
        cmocka_unit_test(found_a_foreign_free),
        cmocka_unit_test(found_a_pool_that_is_none),
        cmocka_unit_test(the_recount_says_it),
        cmocka_unit_test(moved_contents_are_in_one_place),
        cmocka_unit_test(discarded_blocks_are_gone),
    };

    return KL_HARDENED ? cmocka_run_group_tests(hardened, NULL, NULL)
                       : cmocka_run_group_tests(plain, NULL, NULL);
}
