// SPDX-License-Identifier: Apache-2.0
/* Pins of objects: all or none, who may end them, what the table knows. */
#include "frame/zone.h"
#include "support/mover.h"

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
    assert_int_equal(f.zone->pins.used, 0);
    assert_ptr_equal(f.zone->pins.slot, f.zone->pins.few); /* nothing is held */
    fixture_close(&f);
}

static int begin(uint64_t object, const char *why, const kl_pfn *frames, size_t n, kl_pin_id *pin)
{
    struct kl_pin_config config = {.size = sizeof(config), .object = object, .why = why};

    return kl_pin_begin(f.zone, m.owner, &config, frames, n, pin);
}

static uint32_t stuck(void)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(f.zone, &s);
    return s.stuck_frames;
}

/* The two kinds count together, and neither ends the other's. */
static void two_kinds_of_pins(void **state)
{
    kl_pin_id pin;
    kl_pfn pfn;

    (void)state;
    open_all(2, 6);
    assert_int_equal(mover_alloc(&m, 0, 2, KL_MOVABLE), 0);
    pfn = m.item[0].pfn;
    assert_int_equal(kl_frame_unpin(f.zone, m.owner, pfn), -KL_EINVAL);
    assert_int_equal(begin(7, "io", &pfn, 1, &pin), 0);
    assert_int_equal(stuck(), 4);
    assert_int_equal(kl_frame_unpin(f.zone, m.owner, pfn), -KL_EINVAL); /* not begun by pin */
    assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), -KL_EBUSY);
    assert_int_equal(kl_frame_pin(f.zone, m.owner, pfn), 0);
    assert_int_equal(stuck(), 4);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
    assert_int_equal(stuck(), 4);
    assert_int_equal(kl_frame_free(f.zone, m.owner, pfn), -KL_EBUSY);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), -KL_ESTALE);
    assert_int_equal(kl_frame_unpin(f.zone, m.owner, pfn), 0);
    assert_int_equal(stuck(), 0);
    assert_int_equal(kl_frame_unpin(f.zone, m.owner, pfn), -KL_EINVAL);
    close_all();
}

/* An isolated frame in the middle: none is pinned then. */
static void all_or_none(void **state)
{
    kl_pfn frames[9];
    kl_pin_id pin = {0};

    (void)state;
    open_all(2, 6);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(mover_alloc(&m, i, i % 3, i % 2 ? KL_MOVABLE : 0), 0);
        frames[i] = m.item[i].pfn;
    }
    for (unsigned bad = 1; bad < 9; bad += 2) {
        kli_word *word = &f.zone->frame[kl_pfn_nr(frames[bad])].state;
        uint32_t before = stuck();

        assert_true(kli_apply(word, kli_f_trylock, 0, NULL));
        assert_true(kli_apply(word, kli_f_isolate, 0, NULL));
        assert_int_equal(begin(1, "io", frames, 9, &pin), -KL_EBUSY);
        assert_true(kli_apply(word, kli_f_release, 0, NULL));
        assert_true(kli_apply(word, kli_f_unlock, 0, NULL));
        assert_zone_ok(f.zone);
        assert_int_equal(stuck(), before);
    }
    assert_int_equal(pin.v, 0);
    for (unsigned bad = 0; bad < 9; bad++) { /* not a frame; a frame of nobody's */
        kl_pfn good = frames[bad];

        frames[bad] = (kl_pfn){12345};
        assert_int_equal(begin(1, "io", frames, 9, &pin), -KL_EINVAL);
        frames[bad] = kl_zone_pfn(f.zone, 127);
        assert_int_equal(begin(1, "io", frames, 9, &pin), -KL_EINVAL);
        frames[bad] = good;
        assert_zone_ok(f.zone);
    }
    assert_int_equal(begin(1, "io", frames, 9, &pin), 0);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(kl_frame_free(f.zone, m.owner, frames[i]), -KL_EBUSY);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
    close_all();
}

/* Every piece of metadata missing once: the record, the larger table. */
static void no_metadata(void **state)
{
    kl_pin_id pin[40], more;
    kl_pfn pfn;

    (void)state;
    open_all(2, 6);
    assert_int_equal(mover_alloc(&m, 0, 0, KL_MOVABLE), 0);
    pfn = m.item[0].pfn;
    for (unsigned i = 0; i < 40; i++) {
        bool grows = f.zone->pins.free == 0;

        for (int nth = 1; nth <= 1 + grows; nth++) {
            fault_set(FAULT_META, nth);
            assert_int_equal(begin(i, "io", &pfn, 1, &more), -KL_ENOMEM);
            assert_zone_ok(f.zone);
        }
        assert_int_equal(begin(i, "io", &pfn, 1, &pin[i]), 0);
    }
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(kl_pin_end(f.zone, m.owner, pin[(i * 7) % 40]), 0);
    close_all();
}

/* Whoever may not end it does not, and nothing happens. */
static void only_its_owner_ends_it(void **state)
{
    struct fixture g;
    kl_owner_id other, there;
    kl_pin_id pin, foreign, wrong;
    kl_pfn frames[3], elsewhere;
    struct kl_pin_config config = {.size = sizeof(config), .why = ""};

    (void)state;
    open_all(2, 6);
    fixture_open(&g, 2, 6, 0);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &other), 0);
    assert_int_equal(kl_owner_register(g.zone, NULL, NULL, &there), 0);
    assert_int_equal(kl_frame_alloc(g.zone, 0, there, 0, &elsewhere), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
        frames[i] = m.item[i].pfn;
    }
    assert_int_equal(begin(1, "io", frames, 3, &pin), 0);
    assert_int_equal(kl_pin_begin(g.zone, there, &config, &elsewhere, 1, &foreign), 0);
    assert_int_equal(kl_pin_begin(f.zone, other, &config, frames, 3, &wrong), -KL_EINVAL);
    assert_int_equal(kl_pin_end(f.zone, other, pin), -KL_EINVAL);
    assert_int_equal(kl_pin_end(f.zone, m.owner, foreign), -KL_ESTALE);
    assert_int_equal(kl_pin_end(f.zone, m.owner, (kl_pin_id){0}), -KL_ESTALE);
    for (unsigned bit = 0; bit < 64; bit++) {
        wrong = (kl_pin_id){pin.v ^ UINT64_C(1) << bit};
        assert_int_equal(kl_pin_end(f.zone, m.owner, wrong), -KL_ESTALE);
    }
    assert_int_equal(stuck(), 3);
    assert_int_equal(kl_owner_unregister(f.zone, m.owner), -KL_EBUSY);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
    assert_int_equal(begin(1, "io", frames, 1, &wrong), 0); /* the slot again */
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), -KL_ESTALE);
    assert_int_equal(kl_pin_end(f.zone, m.owner, wrong), 0);
    assert_int_equal(kl_pin_end(g.zone, there, foreign), 0);
    assert_int_equal(kl_frame_free(g.zone, there, elsewhere), 0);
    assert_int_equal(kl_owner_unregister(g.zone, there), 0);
    assert_int_equal(kl_owner_unregister(f.zone, other), 0);
    fixture_close(&g);
    close_all();
}

static void bad_arguments(void **state)
{
    struct kl_pin_config config = {.size = sizeof(config), .why = "io"};
    kl_pin_id pin = {0};
    kl_pfn pfn;

    (void)state;
    open_all(2, 6);
    assert_int_equal(mover_alloc(&m, 0, 1, KL_MOVABLE), 0);
    pfn = m.item[0].pfn;
    assert_int_equal(kl_pin_begin(f.zone, m.owner, NULL, &pfn, 1, &pin), -KL_EINVAL);
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, NULL, 1, &pin), -KL_EINVAL);
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &pfn, 0, &pin), -KL_EINVAL);
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &pfn, 1, NULL), -KL_EINVAL);
    assert_int_equal(kl_pin_begin(f.zone, (kl_owner_id){0}, &config, &pfn, 1, &pin), -KL_EINVAL);
    assert_int_equal(kl_pin_begin(f.zone, (kl_owner_id){9}, &config, &pfn, 1, &pin), -KL_EINVAL);
    config.flags = 1;
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &pfn, 1, &pin), -KL_EINVAL);
    config = (struct kl_pin_config){.size = sizeof(config)};
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &pfn, 1, &pin), -KL_EINVAL);
    config = (struct kl_pin_config){.size = sizeof(config) - 1, .why = "io"};
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &pfn, 1, &pin), -KL_EINVAL);
    config.size++;
    pfn = kl_zone_pfn(f.zone, kl_pfn_nr(pfn) + 1); /* a tail */
    assert_int_equal(kl_pin_begin(f.zone, m.owner, &config, &pfn, 1, &pin), -KL_EINVAL);
    assert_int_equal(pin.v, 0);
    assert_int_equal(stuck(), 0);
    close_all();
}

/* The longest of several, with its reason, cut where it is too long. */
static void the_table_knows_why(void **state)
{
    const char *longer = "a reason that goes on for more than the forty-eight bytes that there are";
    struct kli_pin_info info;
    kl_pfn frames[64], twice[2];
    kl_pin_id pin[3];

    (void)state;
    open_all(2, 6);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(mover_alloc(&m, i, 0, KL_MOVABLE), 0);
        frames[i] = m.item[i].pfn;
    }
    assert_int_equal(begin(UINT64_MAX, longer, frames, 64, &pin[0]), 0);
    assert_int_equal(begin(2, "later", frames + 10, 1, &pin[1]), 0);
    twice[0] = twice[1] = frames[20];
    assert_int_equal(begin(3, "twice", twice, 2, &pin[2]), 0);
    assert_zone_ok(f.zone);
    assert_true(kli_pin_find(f.zone, kl_pfn_nr(frames[10]), &info));
    assert_int_equal(info.object, UINT64_MAX);
    assert_memory_equal(info.why, longer, KL_WHY_BYTES - 1);
    assert_int_equal(info.why[KL_WHY_BYTES - 1], 0);
    assert_true(info.since_ns > 0);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin[0]), 0);
    assert_true(kli_pin_find(f.zone, kl_pfn_nr(frames[10]), &info));
    assert_string_equal(info.why, "later");
    assert_int_equal(info.object, 2);
    assert_false(kli_pin_find(f.zone, kl_pfn_nr(frames[11]), &info));
    assert_true(kli_pin_find(f.zone, kl_pfn_nr(frames[20]), &info));
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin[2]), 0);
    assert_int_equal(stuck(), 1);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin[1]), 0);
    close_all();
}

/* Many, begun and ended in any order; the zone is recounted as they go. */
static void many_pins(void **state)
{
    enum { ITEMS = 200, PINS = 700 };
    struct rng rng = rng_new(11);
    static kl_pin_id pin[PINS];

    (void)state;
    memset(pin, 0, sizeof(pin));
    open_all(8, 6);
    for (unsigned i = 0; i < ITEMS; i++)
        assert_int_equal(mover_alloc(&m, i, rng_below(&rng, 2), KL_MOVABLE), 0);
    for (unsigned step = 0; step < 6000; step++) {
        kl_pin_id *one = &pin[rng_below(&rng, PINS)];
        kl_pfn frames[20];
        unsigned n = 1 + rng_below(&rng, 20), from = rng_below(&rng, ITEMS - 20);

        for (unsigned i = 0; i < n; i++)
            frames[i] = m.item[from + i].pfn;
        if (one->v) {
            assert_int_equal(kl_pin_end(f.zone, m.owner, *one), 0);
            assert_int_equal(kl_pin_end(f.zone, m.owner, *one), -KL_ESTALE);
            *one = (kl_pin_id){0};
        } else {
            assert_int_equal(begin(step, "io", frames, n, one), 0);
        }
        if (step % 500 == 0)
            assert_zone_ok(f.zone);
    }
    for (unsigned i = 0; i < PINS; i++) {
        if (pin[i].v)
            assert_int_equal(kl_pin_end(f.zone, m.owner, pin[i]), 0);
    }
    assert_int_equal(stuck(), 0);
    close_all();
}

static bool in_unmovable_block(unsigned i)
{
    struct kl_block_info info;

    assert_int_equal(kl_zone_block_info(f.zone, kl_frame_block(f.zone, m.item[i].pfn), &info), 0);
    return info.unmovable;
}

/* The frames of every tenth item leave the movable blocks; pinned there, they are in
 * nobody's way: all but two blocks can be given back. */
static void long_pins_settle_apart(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_pfn frames[30], now[30];
    kl_pin_id pin;

    (void)state;
    open_all(8, 6);
    mover_scatter(&m, 4);
    for (unsigned i = 0; i < 30; i++)
        frames[i] = m.item[mover_at(&m, 16 * i)].pfn;
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 30, KL_SYNC, &r), -KL_ENOMEM);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_ROOM); /* no block is free yet */
    assert_zone_ok(f.zone);
    assert_int_equal(kl_zone_compact(f.zone, KL_SYNC, 0, NULL), 0);
    for (unsigned i = 0, at = 0; i < MOVER_ITEMS && at < 30; i++) {
        if (m.item[i].here)
            frames[at++] = m.item[i].pfn;
    }
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 30, KL_SYNC, &r), 0);
    assert_int_equal(r.migrated, 30);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NOTHING);
    assert_int_equal(stuck(), 0); /* movable as before */
    assert_zone_ok(f.zone);
    for (unsigned i = 0, at = 0; i < MOVER_ITEMS && at < 30; i++) {
        if (!m.item[i].here)
            continue;
        assert_true(in_unmovable_block(i));
        now[at++] = m.item[i].pfn;
    }
    assert_int_equal(kl_pin_settle(f.zone, m.owner, now, 30, KL_SYNC, &r), 0);
    assert_int_equal(r.migrated, 0); /* there already */
    assert_int_equal(begin(1, "io", now, 30, &pin), 0);
    assert_int_equal(stuck(), 30);
    assert_int_equal(kl_zone_give_back(f.zone, 6, KL_SYNC, &r), 0);
    mover_all_right(&m);
    assert_int_equal(kl_zone_lend(f.zone, 6), 0);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
    close_all();
}

static void settling_that_fails(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_owner_id plain;
    kl_pfn frames[3];
    kl_pin_id pin;

    (void)state;
    open_all(4, 6);
    assert_int_equal(kl_owner_register(f.zone, NULL, NULL, &plain), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(mover_alloc(&m, i, i, KL_MOVABLE), 0);
        frames[i] = m.item[i].pfn;
    }
    assert_int_equal(kl_pin_settle(f.zone, plain, frames, 3, KL_SYNC, NULL), -KL_EINVAL);
    assert_int_equal(kl_pin_settle(f.zone, m.owner, NULL, 3, KL_SYNC, NULL), -KL_EINVAL);
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 0, KL_SYNC, NULL), -KL_EINVAL);
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 3, (enum kl_mode)3, NULL), -KL_EINVAL);
    frames[1] = (kl_pfn){7};
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 3, KL_SYNC, NULL), -KL_EINVAL);
    frames[1] = m.item[1].pfn;
    kl_zone_set_migration(f.zone, false);
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 3, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_NO_MIGRATION);
    kl_zone_set_migration(f.zone, true);
    assert_int_equal(begin(5, "a device", &frames[1], 1, &pin), 0);
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 3, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit.v, frames[1].v);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_PINNED);
    assert_int_equal(r.culprit_object, 5);
    assert_int_equal(r.culprit_order, 1);
    assert_string_equal(r.culprit_why, "a device");
    assert_true(r.culprit_since_ns > 0);
    assert_int_equal(r.isolated, r.migrated + r.put_back + r.freed);
    assert_zone_ok(f.zone);
    assert_int_equal(kl_pin_end(f.zone, m.owner, pin), 0);
    atomic_store(&m.refuse, 100);
    frames[2] = m.item[2].pfn; /* order 2, still where it was or apart by now */
    assert_int_equal(kl_pin_settle(f.zone, m.owner, &frames[1], 1, KL_ASYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    atomic_store(&m.refuse, 0);
    assert_int_equal(kl_pin_settle(f.zone, m.owner, frames, 3, KL_ASYNC, &r), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_true(in_unmovable_block(i));
    mover_all_right(&m);
    assert_int_equal(kl_owner_unregister(f.zone, plain), 0);
    close_all();
}

static void edges_of_the_pins(void **state)
{
    uint64_t w = kli_f_make(0, 7, KLI_F_KIND | KLI_F_MOVABLE), most;

    (void)state;
    assert_false(kli_f_unpin_object(w, 7).ok);
    w = kli_f_pin_object(w, 7).next;
    assert_false(kli_f_pin_object(w, 8).ok);
    assert_false(kli_f_unpin_object(w, 8).ok);
    assert_false(kli_f_unpin(w, 7).ok);
    assert_false(kli_f_free(w, 7).ok);
    assert_true(kli_f_stuck(w));
    assert_false(kli_f_isolate(w | KLI_F_LOCKED, 0).ok); /* F3 */
    assert_true(kli_f_pin(w, 7).ok);
    assert_int_equal(kli_f_pins(kli_f_pin(w, 7).next), 2);
    most = w + KLI_F_OBJECT_PIN * (KLI_F_MAX_OBJECT_PINS - 1);
    assert_false(kli_f_pin_object(most, 7).ok);
    assert_int_equal(kli_f_object_pins(most), KLI_F_MAX_OBJECT_PINS);
    assert_true(kli_f_pin(most, 7).ok);
    assert_int_equal(kli_f_unpin_object(w, 7).next, kli_f_make(0, 7, KLI_F_KIND | KLI_F_MOVABLE));
    assert_false(kli_f_pin_object(w | KLI_F_ISOLATED, 7).ok);
}

/* Movable frames in a block of the other kind. */
static void edges_apart(void **state)
{
    uint64_t w = 64, ask = kli_b_ask(4, true, KLI_WANT_APART, 64);

    (void)state;
    assert_false(kli_b_reserve(w, ask).ok); /* not in use */
    w = kli_b_reserve(w, kli_b_ask(4, true, KLI_WANT_APART_FREE, 64)).next;
    assert_true(w & KLI_B_UNMOVABLE);
    assert_int_equal(kli_b_free(w), 60);
    assert_int_equal(kli_b_stuck(w), 0);
    assert_int_equal(kli_b_stuck(kli_b_reserve(w, ask).next), 0);
    assert_false(kli_b_reserve(w, kli_b_ask(4, true, KLI_WANT_APART_FREE, 64)).ok);
    assert_int_equal(kli_b_stuck(kli_b_reserve(w, kli_b_ask(4, true, KLI_WANT_OWN_KIND, 64)).next),
                     4);
    assert_false(kli_b_reserve(w & ~KLI_B_UNMOVABLE, ask).ok); /* of movable kind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_kinds_of_pins),   cmocka_unit_test(all_or_none),
        cmocka_unit_test(no_metadata),         cmocka_unit_test(only_its_owner_ends_it),
        cmocka_unit_test(bad_arguments),       cmocka_unit_test(the_table_knows_why),
        cmocka_unit_test(many_pins),           cmocka_unit_test(long_pins_settle_apart),
        cmocka_unit_test(settling_that_fails), cmocka_unit_test(edges_of_the_pins),
        cmocka_unit_test(edges_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
