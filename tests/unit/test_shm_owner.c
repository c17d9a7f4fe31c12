// SPDX-License-Identifier: Apache-2.0
/* Objects among the owners of a zone: what its figures tell of them, and their share. */
#include "support/shmdev.h"

enum { PAGE = 4096 };

static struct fixture f;

static kl_shm_id make_filled(struct kl_shm *shm, unsigned pages)
{
    kl_shm_id id;

    assert_int_equal(kl_shm_object_create(shm, (uint64_t)pages * PAGE, 0, &id), 0);
    for (unsigned i = 0; i < pages; i++)
        assert_int_equal(kl_shm_write(shm, id, (uint64_t)i * PAGE, "x", 1), 0);
    return id;
}

static struct kl_budget_row row_of(kl_owner_id owner)
{
    struct kl_budget_row row[8] = {{.name = ""}};
    struct kl_budget b = {.size = sizeof(b)};
    unsigned i = 0;

    kl_zone_get_budget(f.zone, &b, row, 8);
    while (i < 7 && row[i].owner.v != owner.v)
        i++;
    return row[i];
}

/* The zone's figures tell what it has, and what of it is idle; beyond its share that goes, and
 * nothing of others'. */
static void among_the_owners(void **state)
{
    struct kl_shm_config config = {.size = sizeof(config), .name = "test"};
    struct kl_share share = {.size = sizeof(share), .hard = 25};
    struct kl_owner_stats s = {.size = sizeof(s)};
    struct kl_shm *shm, *another;
    kl_shm_id id, other, theirs;

    (void)state;
    fixture_open(&f, 4, 4, 0);
    assert_int_equal(kl_shm_create(f.zone, &config, &shm), 0);
    assert_int_equal(kl_shm_create(f.zone, NULL, &another), 0);
    theirs = make_filled(another, 1);
    assert_int_equal(kl_shm_set_purgeable(another, theirs, true), 0);
    id = make_filled(shm, 20);
    assert_int_equal(row_of(kl_shm_owner(shm)).idle, 0);
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    assert_int_equal(kl_owner_get_stats(f.zone, kl_shm_owner(shm), &s), 0);
    assert_string_equal(s.name, "test");
    assert_int_equal(s.frames, 20);
    assert_int_equal(s.movable, 20);
    assert_string_equal(row_of(kl_shm_owner(shm)).name, "test");
    assert_int_equal(row_of(kl_shm_owner(shm)).idle, 20);
    assert_int_equal(row_of(kl_shm_owner(another)).idle, 1);
    assert_int_equal(kl_owner_set_share(f.zone, kl_shm_owner(shm), &share), 0);
    other = make_filled(shm, 10); /* 20 and 10 are more than it may have */
    assert_int_equal(kl_owner_get_stats(f.zone, kl_shm_owner(shm), &s), 0);
    assert_int_equal(s.frames, 10);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), -KL_ENODATA);
    assert_int_equal(row_of(kl_shm_owner(shm)).idle, 0);
    assert_int_equal(row_of(kl_shm_owner(another)).idle, 1);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_object_destroy(shm, other), 0);
    assert_shm_ok(another);
    assert_int_equal(kl_shm_destroy(another), -KL_EBUSY); /* and goes on as before */
    assert_int_equal(row_of(kl_shm_owner(another)).idle, 1);
    assert_int_equal(kl_zone_shrink(f.zone, 1, KL_SYNC), 1);
    assert_int_equal(row_of(kl_shm_owner(another)).idle, 0);
    assert_int_equal(kl_shm_object_destroy(another, theirs), 0);
    assert_int_equal(kl_shm_destroy(another), 0);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

/* What may be dropped does not wait for a device that sleeps. */
static void purgeable_while_its_device_sleeps(void **state)
{
    struct kl_report r = {.size = sizeof(r)};
    kl_shm_id id, filler, stays;
    static struct shmdev dev;
    struct kl_shm *shm;
    kl_pin_id pin;

    (void)state;
    fixture_open(&f, 3, 4, 0);
    assert_int_equal(kl_shm_create(f.zone, NULL, &shm), 0);
    shmdev_open(&dev, shm, true);
    id = make_filled(shm, 4);
    filler = make_filled(shm, 12); /* of the first block */
    stays = make_filled(shm, 4);
    assert_int_equal(kl_shm_pin(shm, stays, "io", &pin), 0);
    assert_int_equal(kl_shm_object_destroy(shm, filler), 0);
    assert_int_equal(kl_shm_attach(shm, id, dev.id, NULL), 0);
    assert_int_equal(kl_shm_device_sleep(shm, dev.id, true), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, &r), -KL_EBUSY);
    assert_int_equal(r.culprit_kind, KL_IN_WAY_REFUSED);
    assert_string_equal(r.culprit_why, "asleep with its device");
    assert_int_equal(kl_shm_set_purgeable(shm, id, true), 0);
    assert_int_equal(kl_zone_give_back(f.zone, 2, KL_SYNC, &r), 0);
    assert_int_equal(kl_shm_set_purgeable(shm, id, false), -KL_ENODATA);
    assert_int_equal(kl_zone_lend(f.zone, 2), 0);
    assert_int_equal(kl_shm_device_sleep(shm, dev.id, false), 0);
    assert_int_equal(kl_shm_object_destroy(shm, id), 0);
    assert_int_equal(kl_shm_unpin(shm, stays, pin), 0);
    assert_int_equal(kl_shm_object_destroy(shm, stays), 0);
    shmdev_close(&dev);
    assert_shm_ok(shm);
    assert_int_equal(kl_shm_destroy(shm), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(among_the_owners),
        cmocka_unit_test(purgeable_while_its_device_sleeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
