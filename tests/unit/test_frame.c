// SPDX-License-Identifier: Apache-2.0
/* Zone and frames: shapes, orders, kinds, bad input, memory of the system's. */
#include "frame/zone.h"
#include "support/mover.h"

#include <string.h>
#include <time.h>

static kl_owner_id plain_owner(struct kl_zone *zone)
{
    kl_owner_id owner;

    assert_int_equal(kl_owner_register(zone, NULL, NULL, &owner), 0);
    return owner;
}

static void refuses_impossible_zones(void **state)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 4 << 20};
    struct kl_linux_backing *mem;
    struct kl_backing backing;
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_zone *zone = NULL;

    (void)state;
    assert_int_equal(kl_linux_backing_create(&memory, &mem), 0);
    config.backing = &backing;
    for (int i = 0; i < 9; i++) {
        backing = *kl_linux_backing_get(mem);
        config.flags = 0;
        config.size = sizeof(config);
        switch (i) {
        case 0:
            backing.bytes = 0;
            break;
        case 1:
            backing.bytes += 4096;
            break;
        case 2:
            backing.base = (char *)backing.base + 1;
            break;
        case 3:
            backing.frame_shift = 11;
            break;
        case 4:
            backing.block_order = 19;
            break;
        case 5:
            backing.release = NULL;
            break;
        case 6:
            config.flags = 1u << 30;
            break;
        case 8: /* beyond the end of the address space */
            backing.base = (void *)(UINTPTR_MAX - 0x1fffff);
            break;
        case 7:
            config.size--;
            break;
        }
        assert_int_equal(kl_zone_create(&config, &zone), -KL_EINVAL);
        assert_null(zone);
    }
    assert_int_equal(kl_zone_create(NULL, &zone), -KL_EINVAL);
    kl_linux_backing_destroy(mem);
}

static void every_order_until_full(void **state)
{
    struct fixture f;
    kl_owner_id owner;

    (void)state;
    fixture_open(&f, 4, 9, 0);
    owner = plain_owner(f.zone);
    for (unsigned order = 0; order <= 9; order++) {
        uint32_t n = 4 * 512 >> order;
        kl_pfn *pfn = calloc(n, sizeof(*pfn)), more;

        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(kl_frame_alloc(f.zone, order, owner, 0, &pfn[i]), 0);
            assert_int_equal(kl_pfn_nr(pfn[i]) % (1u << order), 0);
            fill_bytes(kl_frame_addr(f.zone, pfn[i]), (size_t)4096 << order, i);
        }
        assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 0, &more), -KL_ENOMEM);
        for (uint32_t i = 0; i < n; i++)
            assert_true(bytes_are(kl_frame_addr(f.zone, pfn[i]), (size_t)4096 << order, i));
        assert_zone_ok(f.zone);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(kl_frame_free(f.zone, owner, pfn[i]), 0);
        free(pfn);
    }
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    fixture_close(&f);
}

static void refuses_bad_frames(void **state)
{
    struct fixture f, g;
    kl_owner_id owner, other, elsewhere;
    kl_pfn pfn, tail, foreign;

    (void)state;
    fixture_open(&f, 2, 9, 0);
    fixture_open(&g, 2, 9, 0);
    owner = plain_owner(f.zone);
    other = plain_owner(f.zone);
    elsewhere = plain_owner(g.zone);
    assert_int_equal(kl_frame_alloc(f.zone, 11, owner, 0, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 0, (kl_owner_id){0}, 0, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 0, (kl_owner_id){77}, 0, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 0, (kl_owner_id){777}, 0, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, KL_MOVABLE, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 1u << 20, &pfn), -KL_EINVAL);
    assert_int_equal(kl_frame_alloc(f.zone, 3, owner, 0, &pfn), 0);
    assert_int_equal(kl_frame_alloc(g.zone, 3, elsewhere, 0, &foreign), 0);
    tail = kl_zone_pfn(f.zone, kl_pfn_nr(pfn) + 1);
    assert_int_equal(kl_frame_free(f.zone, other, pfn), -KL_EINVAL);  /* not its owner */
    assert_int_equal(kl_frame_free(f.zone, owner, tail), -KL_EINVAL); /* not its head */
    assert_int_equal(kl_frame_free(f.zone, owner, foreign), -KL_EINVAL);
    assert_int_equal(kl_frame_free(f.zone, owner, (kl_pfn){0}), -KL_EINVAL);
    assert_null(kl_frame_addr(f.zone, foreign));
    assert_int_equal(kl_zone_pfn(f.zone, 1024).v, 0);
    assert_int_equal(kl_zone_destroy(f.zone), -KL_EBUSY);
    assert_int_equal(kl_owner_unregister(f.zone, owner), -KL_EBUSY);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_frame_free(f.zone, owner, pfn), 0);
    assert_int_equal(kl_frame_free(f.zone, owner, pfn), -KL_EINVAL); /* twice */
    assert_int_equal(kl_frame_free(g.zone, elsewhere, foreign), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), -KL_EINVAL);
    assert_int_equal(kl_owner_unregister(f.zone, other), 0);
    assert_int_equal(kl_owner_unregister(g.zone, elsewhere), 0);
    fixture_close(&f);
    fixture_close(&g);
}

static void zeroed_means_zero(void **state)
{
    static const char zero[4096];
    struct fixture f;
    kl_owner_id owner;
    kl_pfn pfn;

    (void)state;
    fixture_open(&f, 1, 4, 0);
    owner = plain_owner(f.zone);
    for (int round = 0; round < 40; round++) {
        assert_int_equal(kl_frame_alloc(f.zone, 0, owner, KL_ZERO, &pfn), 0);
        assert_memory_equal(kl_frame_addr(f.zone, pfn), zero, sizeof(zero));
        memset(kl_frame_addr(f.zone, pfn), 0x5a, sizeof(zero));
        assert_int_equal(kl_frame_free(f.zone, owner, pfn), 0);
    }
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    fixture_close(&f);
}

/* Movable and unmovable frames keep to different blocks until they can't. */
static void kinds_are_grouped(void **state)
{
    static struct mover m;
    struct fixture f;
    struct kl_zone_stats s = {.size = sizeof(s)};

    (void)state;
    fixture_open(&f, 8, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 6 * 64; i++)
        assert_int_equal(mover_alloc(&m, i, 0, i % 3 ? KL_MOVABLE : 0), 0);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.mixed, 0);
    for (unsigned b = 0; b < 8; b++) {
        struct kl_block_info info;

        assert_int_equal(kl_zone_block_info(f.zone, (kl_block){b}, &info), 0);
        assert_true(info.stuck == 0 || info.stuck == info.used);
    }
    for (unsigned i = 6 * 64; i < 8 * 64; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    kl_zone_get_stats(f.zone, &s);
    assert_int_equal(s.free_frames, 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Memory comes with use and goes back whole, by the system's own figure. */
static void the_system_agrees(void **state)
{
    static struct mover m;
    struct fixture f;

    (void)state;
    fixture_open(&f, 8, 9, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    assert_int_equal(kl_linux_backing_resident(f.memory), 0);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_int_equal(kl_linux_backing_resident(f.memory), 2 << 20);
    for (unsigned i = 1; i < 4 * 512; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    assert_int_equal(kl_linux_backing_resident(f.memory), 8 << 20);
    for (unsigned i = 0; i < 4 * 512; i += 2)
        assert_true(mover_free(&m, i));
    assert_int_equal(kl_zone_trim(f.zone, 0), 0); /* no block is free as a whole */
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), 0);
    assert_int_equal(kl_zone_trim(f.zone, 1), 1);
    assert_int_equal(kl_zone_trim(f.zone, 0), 1);
    assert_int_equal(kl_linux_backing_resident(f.memory), 4 << 20);
    for (unsigned i = 1; i < 4 * 512; i += 2)
        assert_true(mover_right(&m, i));
    mover_close(&m);
    fixture_close(&f);
}

static void populate_fails_cleanly(void **state)
{
    static struct mover m;
    struct fixture f;

    (void)state;
    fixture_open(&f, 4, 6, 0);
    mover_open(&m, f.zone, MOVER_SINGLE);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
    fault_set(FAULT_POPULATE, 1);
    assert_int_equal(mover_alloc(&m, 64, 0, KL_MOVABLE), -KL_ENOMEM);
    assert_zone_ok(f.zone);
    assert_int_equal(mover_alloc(&m, 64, 0, KL_MOVABLE | KL_ATOMIC), -KL_ENOMEM);
    assert_int_equal(mover_alloc(&m, 64, 0, KL_MOVABLE), 0);
    mover_close(&m);
    fixture_close(&f);
}

/* Each allocation of metadata, and the memory of each block, fails once. */
static void creation_fails_cleanly(void **state)
{
    struct fixture f;

    (void)state;
    for (int nth = 1; nth <= 2; nth++) {
        fault_set(FAULT_META, nth);
        assert_int_equal(fixture_try(&f, 4, 6, KL_ZONE_POPULATE), -KL_ENOMEM);
    }
    for (int nth = 1; nth <= 4; nth++) {
        fault_set(FAULT_POPULATE, nth);
        assert_int_equal(fixture_try(&f, 4, 6, KL_ZONE_POPULATE), -KL_ENOMEM);
    }
    assert_int_equal(fixture_try(&f, 4, 6, KL_ZONE_POPULATE), 0);
    assert_int_equal(kl_linux_backing_resident(f.memory), 4 * 64 * 4096);
    fixture_close(&f);
}

/* Threads that share the last block while one of them is still getting its memory:
 * nobody is told that there is none.  (It was, before populating counted as a
 * hold.) */
static struct kl_zone *crowded;
static kl_owner_id crowd;
static _Atomic int refused;

static void *take_a_share(void *arg)
{
    kl_pfn *pfn = arg;

    for (int i = 0; i < 4 * 64 / 4; i++)
        atomic_fetch_add(&refused, kl_frame_alloc(crowded, 0, crowd, 0, &pfn[i]) != 0);
    return NULL;
}

static void nobody_is_refused_while_memory_comes(void **state)
{
    static kl_pfn pfn[4][64];

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct fixture f;
        pthread_t thread[4];

        fixture_open(&f, 4, 6, 0);
        crowded = f.zone;
        crowd = plain_owner(f.zone);
        for (int t = 0; t < 4; t++)
            pthread_create(&thread[t], NULL, take_a_share, pfn[t]);
        for (int t = 0; t < 4; t++)
            pthread_join(thread[t], NULL);
        assert_int_equal(refused, 0);
        for (int t = 0; t < 4; t++) {
            for (int i = 0; i < 64; i++)
                assert_int_equal(kl_frame_free(f.zone, crowd, pfn[t][i]), 0);
        }
        assert_int_equal(kl_owner_unregister(f.zone, crowd), 0);
        fixture_close(&f);
    }
}

/* A long give-back that fails in the end: everybody who waits for it gets a frame
 * then.  Waiters once woke one another until all of them had given up. */
static void *wait_for_a_frame(void *arg)
{
    kl_pfn *pfn = arg;

    atomic_fetch_add(&refused, kl_frame_alloc(crowded, 0, crowd, 0, pfn) != 0);
    return NULL;
}

static void waiters_wait_for_the_end(void **state)
{
    struct timespec nap = {.tv_nsec = 300000000};
    struct fixture f;
    pthread_t thread[8];
    kl_pfn pfn[8];

    (void)state;
    fixture_host = fixture_no_time; /* nobody's is over, however long it takes */
    fixture_open(&f, 2, 6, 0);
    fixture_host = NULL;
    crowded = f.zone;
    crowd = plain_owner(f.zone);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, NULL), 0);
    assert_int_equal(kl_frame_alloc(f.zone, 0, crowd, 0, &pfn[0]), 0);
    assert_int_equal(kl_frame_free(f.zone, crowd, pfn[0]), 0);
    kli_hold(f.zone); /* what a run does */
    assert_true(kli_block_step(f.zone, 0, kli_b_fence, 0));
    for (int t = 0; t < 8; t++)
        pthread_create(&thread[t], NULL, wait_for_a_frame, &pfn[t]);
    nanosleep(&nap, NULL);
    assert_true(kli_block_step(f.zone, 0, kli_b_unfence, 0));
    kli_let_go(f.zone, true);
    for (int t = 0; t < 8; t++)
        pthread_join(thread[t], NULL);
    assert_int_equal(refused, 0);
    for (int t = 0; t < 8; t++)
        assert_int_equal(kl_frame_free(f.zone, crowd, pfn[t]), 0);
    assert_int_equal(kl_owner_unregister(f.zone, crowd), 0);
    assert_int_equal(kl_zone_lend(f.zone, 1), 0);
    fixture_close(&f);
}

/* Edges of the state word, one by one. */
static void edges_of_a_frame(void **state)
{
    uint64_t w = kli_f_make(3, 7, KLI_F_KIND | KLI_F_MOVABLE);

    (void)state;
    assert_int_equal(kli_f_order(w), 3);
    assert_int_equal(kli_f_owner(w), 7);
    assert_false(kli_f_isolate(w, 0).ok); /* not locked */
    assert_false(kli_f_unlock(w, 0).ok);
    assert_false(kli_f_free(w, 8).ok);
    assert_false(kli_f_unpin(w, 7).ok);
    assert_int_equal(kli_f_free(w, 7).next, 0); /* nobody else: gone at once */
    w = kli_f_get(w, 0).next;
    w = kli_f_trylock(w, 7).next;
    assert_false(kli_f_trylock(w, 7).ok);
    w = kli_f_isolate(w, 0).next;
    assert_false(kli_f_isolate(w, 0).ok); /* never twice */
    assert_false(kli_f_pin(w, 7).ok);     /* F3 */
    w = kli_f_unlock(w, 0).next;
    w = kli_f_free(w, 7).next; /* the owner frees it while it is isolated */
    assert_true(w & KLI_F_DYING);
    assert_false(w & KLI_F_MOVABLE);
    assert_false(kli_f_free(w, 7).ok);
    assert_false(kli_f_get(w, 0).ok);
    w = kli_f_trylock(w, 0).next;
    w = kli_f_release(w, 0).next;
    w = kli_f_put(w, 0).next; /* F4: no reference, but locked */
    assert_int_not_equal(w, 0);
    assert_int_equal(kli_f_unlock(w, 0).next, 0);
}

static void edges_of_a_block(void **state)
{
    uint64_t w = 64, ask = kli_b_ask(4, true, KLI_WANT_OWN_KIND, 64);

    (void)state;
    assert_false(kli_b_reserve(w, ask).ok); /* a free block has no kind yet */
    w = kli_b_reserve(w, kli_b_ask(4, true, KLI_WANT_WHOLE_FREE, 64)).next;
    assert_int_equal(kli_b_free(w), 60);
    assert_int_equal(kli_b_stuck(w), 4);
    assert_true(w & KLI_B_UNMOVABLE);
    assert_true(kli_b_reserve(w, ask).ok);
    assert_false(kli_b_reserve(w, kli_b_ask(1, false, KLI_WANT_OWN_KIND, 64)).ok);
    assert_true(kli_b_reserve(w, kli_b_ask(1, false, KLI_WANT_ANY, 64)).ok);
    w = kli_b_fence(w, 0).next;
    assert_false(kli_b_fence(w, 0).ok);
    assert_false(kli_b_reserve(w, ask).ok); /* B3 */
    assert_false(kli_b_vacate(w, 64).ok);
    w = kli_b_put(w, 4 | 4 * KLI_B_STUCK).next;
    assert_false(kli_b_vacate(w + KLI_B_STUCK, 64).ok); /* B5: an unpin to come */
    w = kli_b_vacate(w, 64).next;
    assert_int_equal(kli_b_free(w), 0); /* B4 */
    assert_false(kli_b_summon(w, 0).ok);
    w = kli_b_settle(w, KLI_B_FENCED | 64).next; /* the memory did not go */
    assert_false(kli_b_fence(w, 0).ok);          /* it is still ours */
    w = kli_b_vacate(w, 64).next;
    w = kli_b_settle(w, KLI_B_ABSENT).next;
    assert_false(kli_b_fence(w, 0).ok);
    w = kli_b_summon(w, 0).next;
    assert_int_equal(kli_b_settle(w, 64).next, 64);
}

/* The index over the blocks, at sizes around its powers of 64. */
static void index_of_every_size(void **state)
{
    static const unsigned blocks[] = {1, 2, 63, 64, 65, 129, 4095, 4096, 4097};
    struct rng rng = rng_new(3);
    static kl_pfn pfn[4097 * 2];

    (void)state;
    for (unsigned c = 0; c < sizeof(blocks) / sizeof(blocks[0]); c++) {
        unsigned frames = blocks[c] * 2;
        kl_owner_id owner;
        struct fixture f;
        kl_pfn more;

        fixture_open(&f, blocks[c], 1, 0);
        assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &owner), 0);
        assert_zone_ok(f.zone);
        for (unsigned i = 0; i < frames; i++)
            assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 0, &pfn[i]), 0);
        assert_int_equal(kl_frame_alloc(f.zone, 0, owner, KL_NOWAIT, &more), -KL_ENOMEM);
        assert_zone_ok(f.zone);
        for (unsigned i = 0; i < frames; i++) { /* any one that is free is found */
            unsigned k = rng_below(&rng, frames);

            assert_int_equal(kl_frame_free(f.zone, owner, pfn[k]), 0);
            assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 0, &pfn[k]), 0);
        }
        assert_zone_ok(f.zone);
        for (unsigned i = 0; i < frames; i++)
            assert_int_equal(kl_frame_free(f.zone, owner, pfn[i]), 0);
        assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
        fixture_close(&f);
    }
}

/* An owner with a bound gets nothing above it. */
static void below_a_bound(void **state)
{
    struct kl_owner_ops ops = {.size = sizeof(ops), .name = "low", .below = 63};
    struct fixture f;
    kl_owner_id owner;
    kl_pfn pfn[129];

    (void)state;
    fixture_open(&f, 8, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &owner), -KL_EINVAL);
    ops.below = 190; /* rounded down to two blocks */
    assert_int_equal(kl_owner_register(f.zone, &ops, NULL, &owner), 0);
    for (unsigned i = 0; i < 128; i++) {
        assert_int_equal(kl_frame_alloc(f.zone, 0, owner, 0, &pfn[i]), 0);
        assert_in_range(kl_pfn_nr(pfn[i]), 0, 127);
    }
    assert_int_equal(kl_frame_alloc(f.zone, 0, owner, KL_NOWAIT, &pfn[128]), -KL_ENOMEM);
    assert_int_equal(kl_contig_alloc(f.zone, owner, 1, 1, KL_ASYNC, &pfn[128], NULL), -KL_EBUSY);
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(kl_frame_free(f.zone, owner, pfn[i]), 0);
    assert_int_equal(kl_contig_alloc(f.zone, owner, 128, 1, KL_ASYNC, &pfn[0], NULL), 0);
    assert_int_equal(kl_pfn_nr(pfn[0]), 0);
    assert_int_equal(kl_contig_alloc(f.zone, owner, 129, 1, KL_ASYNC, &pfn[1], NULL), -KL_ENOMEM);
    assert_int_equal(kl_contig_free(f.zone, owner, pfn[0], 128), 0);
    assert_int_equal(kl_owner_unregister(f.zone, owner), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_impossible_zones),
        cmocka_unit_test(every_order_until_full),
        cmocka_unit_test(refuses_bad_frames),
        cmocka_unit_test(zeroed_means_zero),
        cmocka_unit_test(kinds_are_grouped),
        cmocka_unit_test(the_system_agrees),
        cmocka_unit_test(populate_fails_cleanly),
        cmocka_unit_test(creation_fails_cleanly),
        cmocka_unit_test(nobody_is_refused_while_memory_comes),
        cmocka_unit_test(waiters_wait_for_the_end),
        cmocka_unit_test(index_of_every_size),
        cmocka_unit_test(below_a_bound),
        cmocka_unit_test(edges_of_a_frame),
        cmocka_unit_test(edges_of_a_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
