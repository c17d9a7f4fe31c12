// SPDX-License-Identifier: Apache-2.0
/* Who is in the way: what reports say of a culprit, and what the queries find. */
#include "frame/zone.h"
#include "support/mover.h"
#include "support/shake.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;
static struct mover m;

static void open_all(unsigned blocks, unsigned order)
{
    fixture_open(&f, blocks, order, KL_ZONE_POPULATE);
    mover_open(&m, f.zone, MOVER_SINGLE);
}

static void close_all(void)
{
    assert_zone_ok(f.zone);
    mover_close(&m);
    fixture_close(&f);
}

static kl_pin_id pin_item(unsigned i, uint64_t object, const char *why)
{
    struct kl_pin_config config = {.size = sizeof(config), .object = object, .why = why};
    kl_pin_id pin;

    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &m.item[i].pfn, 1, &pin), 0);
    return pin;
}

static void unpin(kl_pin_id pin)
{
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
}

/* ---- reports ---- */

/* Each way in which a give-back and a range can fail, and what the report says. */
static void reports_name_the_kind(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pin_id pin[4];
    kl_pfn first;

    (void)state;
    open_all(4, 6);
    mover_scatter(&m, 2);
    for (unsigned b = 0; b < 4; b++)
        pin[b] = pin_item(mover_at(&m, b * 64 + 32), 40 + b, "a fixed buffer");
    for (int range = 0; range < 2; range++) {
        memset(&r, 0xff, sizeof(r));
        assert_int_equal(range ? kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r)
                               : kl_zone_give_back(f.zone, 1, KL_SYNC, &r),
                         -KL_EBUSY);
        assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
        assert_int_equal(kl_pfn_nr(r.culprit), 32);
        assert_int_equal(r.culprit_block.v, 0);
        assert_int_equal(r.culprit_pins, 1);
        assert_int_equal(r.culprit_object, 40);
        assert_string_equal(r.culprit_why, "a fixed buffer");
        assert_string_equal(r.culprit_name, "mover");
        assert_true(r.culprit_since_ns > 0);
        assert_true(r.culprit_since_ns <= kl_linux_host()->now_ns(NULL));
    }
    for (unsigned b = 0; b < 4; b++)
        unpin(pin[b]);
    atomic_store(&m.refuse, 100);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_ASYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    assert_string_equal(r.culprit_why, "refuses everything");
    assert_int_equal(r.culprit_since_ns, 0);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_ASYNC, &first, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    assert_string_equal(r.culprit_why, "refuses everything");
    atomic_store(&m.refuse, 0);
    atomic_store(&m.fail, 100);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    assert_string_equal(r.culprit_why, "");
    atomic_store(&m.fail, 0);
    kl_zone_set_migration(f.zone, false);
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_MIGRATION);
    assert_true(r.culprit.v != 0);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_MIGRATION);
    kl_zone_set_migration(f.zone, true);
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, &r), -KL_ENOMEM);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_ROOM);
    assert_int_equal(r.culprit.v, 0);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 129, 1, KL_SYNC, &first, &r), -KL_ENOMEM);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_ROOM);
    mover_all_right(&m);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_SYNC, &first, &r), 0);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NOTHING);
    assert_int_equal(kl_contig_free(f.zone, m.owner, first, 64), 0);
    close_all();
}

static void fences_and_unmovable_ones(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn first;

    (void)state;
    open_all(2, 6);
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, kl_zone_pfn(f.zone, 0), 1, KL_ASYNC, NULL),
                     0);
    assert_true(kli_block_step(f.zone, 1, kli_b_fence, 0)); /* somebody else's run */
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_ASYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_UNMOVABLE);
    assert_true(kli_block_step(f.zone, 0, kli_b_fence, 0));
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, kl_zone_pfn(f.zone, 64), 64, KL_ASYNC, &r),
                     -KL_ENOMEM); /* nothing is free in open blocks */
    assert_true(kli_block_step(f.zone, 0, kli_b_unfence, 0));
    assert_int_equal(kl_contig_alloc_at(f.zone, m.owner, kl_zone_pfn(f.zone, 64), 60, KL_ASYNC, &r),
                     -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_FENCED);
    assert_int_equal(r.culprit_block.v, 1);
    assert_int_equal(r.culprit.v, 0);
    assert_int_equal(kl_contig_free(f.zone, m.owner, kl_zone_pfn(f.zone, 0), 1), 0);
    assert_true(kli_block_step(f.zone, 0, kli_b_fence, 0));
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_ASYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_FENCED);
    assert_true(kli_block_step(f.zone, 0, kli_b_unfence, 0));
    assert_true(kli_block_step(f.zone, 1, kli_b_unfence, 0));
    assert_int_equal(kl_zone_give_back(f.zone, 1, KL_ASYNC, &r), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_ASYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_GIVEN);
    assert_int_equal(kl_contig_alloc(f.zone, m.owner, 64, 64, KL_ASYNC, &first, &r), 0);
    assert_int_equal(kl_contig_free(f.zone, m.owner, first, 64), 0);
    assert_int_equal(kl_zone_lend(f.zone, 1), 0);
    close_all();
}

static void names_and_words(void **state)
{
    (void)state;
    assert_string_equal(kl_in_way_name(KL_IN_WAY_PINNED), "PINNED");
    assert_string_equal(kl_in_way_text(KL_IN_WAY_PINNED), "pinned");
    assert_string_equal(kl_in_way_name(99), "UNKNOWN");
    for (uint32_t kind = 0; kind <= KL_IN_WAY_NO_ROOM; kind++) {
        assert_true(strlen(kl_in_way_text(kind)) > 0);
        assert_string_not_equal(kl_in_way_name(kind), "UNKNOWN");
    }
}

/* ---- queries ---- */

static struct kl_who who;
static struct kl_obstacle list[600];

static uint32_t ask(uint32_t frames, uint32_t align)
{
    who = (struct kl_who){.size = sizeof(who)};
    assert_int_equal(kl_zone_who(f.zone, frames, align, &who, list, 600), 0);
    return who.found;
}

static uint32_t ask_blocks(uint32_t n)
{
    who = (struct kl_who){.size = sizeof(who)};
    assert_int_equal(kl_zone_who_blocks(f.zone, n, &who, list, 600), 0);
    return who.found;
}

static void the_fewest_are_listed(void **state)
{
    kl_pin_id pin[5];

    (void)state;
    open_all(4, 6);
    mover_scatter(&m, 2);
    assert_int_equal(ask(64, 64), 0);
    assert_int_equal(who.to_move, 32);
    assert_int_equal(who.room, 96);
    assert_false(who.lacks_room);
    assert_int_equal(ask(129, 1), 0);
    assert_true(who.lacks_room);
    for (unsigned b = 0; b < 4; b++)
        pin[b] = pin_item(mover_at(&m, b * 64 + 10), b, b == 2 ? "a device" : "");
    pin[4] = pin_item(mover_at(&m, 2 * 64 + 12), 9, "");
    unpin(pin[2]);
    pin[2] = pin_item(mover_at(&m, 2 * 64 + 12), 7, "later");
    unpin(pin[0]);
    pin[0] = pin_item(mover_at(&m, 4), 1, "first");
    assert_int_equal(kl_frame_pin(f.zone, m.owner, m.item[mover_at(&m, 6)].pfn), 0);
    assert_int_equal(ask(64, 64), 1); /* 1, 2, 3: one each; 0: two */
    assert_int_equal(kl_pfn_nr(who.first), 64);
    assert_int_equal(who.listed, 1);
    assert_int_equal(kl_pfn_nr(list[0].frame), 64 + 10);
    assert_int_equal(list[0].kind, KL_IN_WAY_PINNED);
    assert_int_equal(list[0].object, 1);
    assert_int_equal(ask(256, 1), 5);
    assert_int_equal(kl_pfn_nr(list[0].frame), 4);
    assert_string_equal(list[0].why, "first");
    assert_int_equal(kl_pfn_nr(list[1].frame), 6); /* a pin without a name */
    assert_int_equal(list[1].kind, KL_IN_WAY_PINNED);
    assert_int_equal(list[1].since_ns, 0);
    assert_int_equal(list[1].pins, 1);
    assert_int_equal(kl_pfn_nr(list[3].frame), 2 * 64 + 12);
    assert_int_equal(list[3].pins, 2);
    assert_int_equal(list[3].object, 9); /* the older of the two */
    assert_int_equal(list[3].block.v, 2);
    assert_string_equal(list[3].owner_name, "mover");
    assert_int_equal(list[3].owner.v, m.owner.v);
    who = (struct kl_who){.size = sizeof(who)};
    assert_int_equal(kl_zone_who(f.zone, 256, 1, &who, list, 2), 0);
    assert_int_equal(who.found, 5);
    assert_int_equal(who.listed, 2);
    assert_int_equal(kl_zone_who(f.zone, 256, 1, &who, NULL, 0), 0);
    assert_int_equal(who.found, 5);
    assert_int_equal(ask_blocks(1), 1);
    assert_int_equal(ask_blocks(4), 5);
    assert_int_equal(kl_frame_unpin(f.zone, m.owner, m.item[mover_at(&m, 6)].pfn), 0);
    for (unsigned i = 0; i < 5; i++)
        unpin(pin[i]);
    close_all();
}

enum { BLOCKS = 6, FRAMES = BLOCKS * 64 };

/* In a zone at rest: units in the way of a window, by looking at each of its frames. */
static uint32_t count_in(uint32_t first, uint32_t n)
{
    uint32_t found = 0, last = UINT32_MAX;

    for (uint32_t nr = first; nr < first + n; nr++) {
        uint32_t head = kli_head_of(f.zone, nr);

        found += kli_f_stuck(kli_state(f.zone, head)) && head != last;
        last = head;
    }
    return found;
}

static uint32_t fewest(uint32_t n, uint32_t align)
{
    uint32_t least = UINT32_MAX;

    for (uint32_t first = 0; first + n <= FRAMES; first += align) {
        uint32_t found = count_in(first, n);

        least = found < least ? found : least;
    }
    return least;
}

static uint32_t fewest_in_blocks(uint32_t n)
{
    uint32_t count[BLOCKS], sum = 0;

    for (uint32_t b = 0; b < BLOCKS; b++)
        count[b] = count_in(b * 64, 64);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t best = 0;

        for (uint32_t b = 1; b < BLOCKS; b++)
            best = count[b] < count[best] ? b : best;
        sum += count[best];
        count[best] = UINT32_MAX;
    }
    return sum;
}

static void lay_out(struct rng *rng)
{
    unsigned full = 30 + rng_below(rng, 65);

    for (unsigned i = 0; i < FRAMES; i++)
        (void)mover_alloc(&m, i, rng_below(rng, 4) ? 0 : rng_below(rng, 6),
                          KL_NOWAIT | (rng_below(rng, 40) ? KL_MOVABLE : 0u));
    for (unsigned i = 0; i < FRAMES; i++) {
        if (!m.item[i].here)
            continue;
        if (rng_below(rng, 100) >= full)
            assert_true(mover_free(&m, i));
        else if (rng_below(rng, 100) < 4)
            assert_int_equal(mover_pin(&m, i), 0);
    }
}

/* The fewest by brute force; and what is said to stand in nobody's way can be had. */
static void agrees_with_the_oracle(void **state)
{
    struct rng rng = rng_new(5);
    unsigned had = 0;

    (void)state;
    for (int layout = 0; layout < 60; layout++) {
        open_all(BLOCKS, 6);
        lay_out(&rng);
        for (int try = 0; try < 6; try++) {
            uint32_t n = 1 + rng_below(&rng, 150), align = 1u << rng_below(&rng, 8);
            uint32_t blocks = 1 + rng_below(&rng, BLOCKS), found = ask(n, align);
            kl_pfn first;

            assert_int_equal(found, fewest(n, align));
            assert_int_equal(found, count_in(kl_pfn_nr(who.first), n));
            if (found > 0)
                assert_int_not_equal(
                    kl_contig_alloc(f.zone, m.owner, n, align, KL_SYNC, &first, NULL), 0);
            assert_int_equal(ask_blocks(blocks), fewest_in_blocks(blocks));
            if (who.found > 0 || who.lacks_room) {
                assert_int_not_equal(kl_zone_give_back(f.zone, blocks, KL_SYNC, NULL), 0);
            } else if (kl_zone_give_back(f.zone, blocks, KL_SYNC, NULL) == 0) {
                assert_int_equal(kl_zone_lend(f.zone, blocks), 0);
                had++;
            }
        }
        close_all();
    }
    assert_in_range(had, 20, 359);
}

static void whole_blocks_in_the_way(void **state)
{
    (void)state;
    open_all(4, 6);
    assert_int_equal(kl_zone_give_back(f.zone, 3, KL_SYNC, NULL), 0);
    assert_true(kli_block_step(f.zone, 3, kli_b_fence, 0));
    assert_int_equal(ask_blocks(2), 2);
    assert_int_equal(list[0].kind, KL_IN_WAY_GIVEN);
    assert_int_equal(list[0].frame.v, 0);
    assert_int_equal(list[0].order, 6);
    assert_int_equal(list[1].kind, KL_IN_WAY_FENCED);
    assert_int_equal(list[1].block.v, 3);
    assert_int_equal(ask(128, 64), 2);
    assert_true(kli_block_step(f.zone, 3, kli_b_unfence, 0));
    assert_int_equal(ask(64, 64), 0);
    assert_int_equal(kl_pfn_nr(who.first), 192);
    assert_int_equal(ask(65, 1), 1);
    assert_int_equal(list[0].kind, KL_IN_WAY_GIVEN);
    assert_int_equal(kl_zone_lend(f.zone, 2), 0);
    assert_int_equal(ask(65, 1), 0); /* memory may be got for it */
    assert_int_equal(ask(192, 64), 0);
    assert_int_equal(ask(193, 1), 1);
    assert_int_equal(ask_blocks(3), 0);
    assert_int_equal(ask_blocks(4), 1);
    assert_int_equal(kl_zone_lend(f.zone, 1), 0);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_int_equal(ask_blocks(3), 0);
    kl_zone_set_migration(f.zone, false);
    assert_int_equal(ask_blocks(3), 0);
    assert_int_equal(ask_blocks(4), 1);
    assert_int_equal(list[0].kind, KL_IN_WAY_NO_MIGRATION);
    kl_zone_set_migration(f.zone, true);
    assert_int_equal(ask_blocks(4), 0);
    assert_true(who.lacks_room);
    assert_int_equal(who.to_move, 1);
    close_all();
}

/* An object that is read in place says so, for as long as it is. */
static void zsmalloc_explains(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    struct kl_zs_pin read;
    struct kl_zs *pool;
    kl_handle handle;

    (void)state;
    fixture_open(&f, 2, 6, KL_ZONE_POPULATE);
    assert_int_equal(kl_zs_create(f.zone, NULL, &pool), 0);
    assert_int_equal(kl_zs_malloc(pool, 4096, 0, &handle), 0);
    assert_int_equal(ask(128, 1), 0);
    assert_int_equal(who.to_move, 1);
    assert_int_equal(kl_zs_begin(pool, handle, &read), 0);
    assert_int_equal(ask(128, 1), 1);
    assert_int_equal(list[0].kind, KL_IN_WAY_REFUSED);
    assert_string_equal(list[0].why, "read open");
    assert_string_equal(list[0].owner_name, "zsmalloc");
    assert_int_equal(ask(64, 64), 0); /* not in the other block */
    assert_int_equal(kl_contig_alloc_at(f.zone, list[0].owner,
                                        kl_zone_pfn(f.zone, list[0].block.v * 64), 64, KL_ASYNC,
                                        &r),
                     -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    assert_string_equal(r.culprit_why, "read open");
    kl_zs_end(&read);
    assert_int_equal(ask(128, 1), 0);
    for (uint32_t b = 0; b < 2; b++) /* nor is one open because its frame has moved */
        shake_block(f.zone, b, KL_SYNC, &r);
    assert_true(r.migrated > 0);
    assert_int_equal(ask(128, 1), 0);
    assert_int_equal(kl_zs_destroy(pool), 0);
    fixture_close(&f);
}

static void owners_that_cannot_leave(void **state)
{
    (void)state;
    open_all(2, 6);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    assert_int_equal(mover_alloc(&m, 1, 3, 0), 0);
    who = (struct kl_who){.size = sizeof(who)};
    assert_int_equal(kl_owner_who(f.zone, m.owner, &who, list, 600), 0);
    assert_int_equal(who.found, 2);
    assert_int_equal(who.frames, 9);
    assert_int_equal(list[0].kind + list[1].kind, KL_IN_WAY_NOTHING + KL_IN_WAY_UNMOVABLE);
    assert_int_equal(kl_owner_who(f.zone, (kl_owner_id){0}, &who, list, 1), 0);
    assert_int_equal(who.found, 2);
    assert_int_equal(who.listed, 1);
    assert_int_equal(kl_owner_who(f.zone, (kl_owner_id){77}, &who, list, 1), -KL_ENOENT);
    close_all();
}

static void bad_questions(void **state)
{
    (void)state;
    open_all(2, 6);
    who = (struct kl_who){.size = sizeof(who)};
    assert_int_equal(kl_zone_who(f.zone, 0, 1, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who(f.zone, 129, 1, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who(f.zone, 1, 3, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who(f.zone, 1, 0, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who(f.zone, 1, 1, NULL, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who(f.zone, 1, 1, &who, NULL, 1), -KL_EINVAL);
    assert_int_equal(kl_zone_who_blocks(f.zone, 0, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who_blocks(f.zone, 3, &who, list, 600), -KL_EINVAL);
    who.size--;
    assert_int_equal(kl_zone_who(f.zone, 1, 1, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_zone_who_blocks(f.zone, 1, &who, list, 600), -KL_EINVAL);
    assert_int_equal(kl_owner_who(f.zone, m.owner, &who, list, 600), -KL_EINVAL);
    who.size++;
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_zone_who(f.zone, 1, 1, &who, list, 600), -KL_ENOMEM);
    for (int nth = 1; nth <= 2; nth++) {
        fault_set(FAULT_META, nth);
        assert_int_equal(kl_zone_who_blocks(f.zone, 1, &who, list, 600), -KL_ENOMEM);
        assert_zone_ok(f.zone);
    }
    fault_set(FAULT_META, 0);
    assert_int_equal(ask(1, 1u << 31), 0);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_name_the_kind),  cmocka_unit_test(fences_and_unmovable_ones),
        cmocka_unit_test(names_and_words),        cmocka_unit_test(the_fewest_are_listed),
        cmocka_unit_test(agrees_with_the_oracle), cmocka_unit_test(whole_blocks_in_the_way),
        cmocka_unit_test(zsmalloc_explains),      cmocka_unit_test(owners_that_cannot_leave),
        cmocka_unit_test(bad_questions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
