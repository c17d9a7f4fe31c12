// SPDX-License-Identifier: Apache-2.0
/* The scene of objects, all in block 0: one of a driver, whose device looks at it through its
 * scatter list while it is active; one that is purgeable; one that goes elsewhere and whose
 * size changes; one that is elsewhere.  Pages are filled with one letter each, a written one
 * with another: so who reads sees a whole page of either, and zeroes only where something was
 * dropped. */
#include "klotski/shm.h"
#include "interleave/scene.h"

#include <string.h>

enum { O_BLOCK = 1 << SCENE_ORDER, PAGE = 4096, PAGES = 2, WRITTEN = 'W' };
enum { DEVICE, PURGE, SIZE, PLACE, OBJECTS };

static struct play {
    kl_shm_id id[OBJECTS];
    kl_shm_device_id device;
    pthread_mutex_t lock; /* the driver's; no point is passed under it */
    bool active, mapped, cut, again;
    struct kl_shm_run run[PAGES];
    int runs;
    char place[OBJECTS][PAGES * PAGE];
    bool away[OBJECTS], gone[OBJECTS];
} play;

/* ---- contents ---- */

/* The letter that the page is full of; 1: more than one. */
static char letter_of(const char *page)
{
    if (memcmp(page, page + 1, PAGE - 1) != 0)
        return 1;
    return *page;
}

static bool is_right(char letter, unsigned object, bool may_be_zero)
{
    return letter == (char)('a' + object) || letter == WRITTEN || (may_be_zero && letter == 0);
}

static void check_pages(struct scene *s, const char *pages, unsigned object, bool may_be_zero)
{
    for (unsigned i = 0; i < PAGES; i++) {
        if (!is_right(letter_of(pages + (size_t)i * PAGE), object, may_be_zero))
            s->broken = "a page of an object is not what was written";
    }
}

/* ---- the driver ---- */

/* Under its lock. */
static void map(struct scene *s)
{
    uint64_t next;

    play.runs = kl_shm_sg(s->shm, play.id[DEVICE], 0, play.run, PAGES, &next);
    play.mapped = play.runs > 0;
    if (play.mapped && next != PAGES)
        s->broken = "a scatter list that is too short";
}

static int prepare(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode)
{
    struct scene *s = objects[0].device;

    (void)mode;
    for (size_t i = 0; i < n; i++) {
        if (objects[i].data != &play)
            s->broken = "prepare for another object";
    }
    pthread_mutex_lock(&play.lock);
    play.mapped = false;
    pthread_mutex_unlock(&play.lock);
    return 0;
}

static void finish(const struct kl_shm_ref *objects, size_t n)
{
    (void)n;
    pthread_mutex_lock(&play.lock);
    if (play.active)
        map(objects[0].device);
    pthread_mutex_unlock(&play.lock);
}

static const struct kl_shm_ops driver = {
    .size = sizeof(driver), .name = "scene", .prepare = prepare, .finish = finish};

/* The device works: on what its scatter list says. */
static void look(struct scene *s)
{
    char pages[PAGES * PAGE] = {0}; /* which no page is full of here */
    size_t at = 0;

    pthread_mutex_lock(&play.lock);
    for (int i = 0; play.mapped && i < play.runs; i++) {
        memcpy(pages + at, kl_frame_addr(s->zone, play.run[i].first),
               (size_t)play.run[i].frames * PAGE);
        at += (size_t)play.run[i].frames * PAGE;
    }
    if (play.mapped)
        check_pages(s, pages, DEVICE, false);
    pthread_mutex_unlock(&play.lock);
}

/* ---- a place ---- */

static int place_read(void *ctx, uint64_t offset, void *to, size_t n)
{
    memcpy(to, (char *)ctx + offset, n);
    return 0;
}

static int place_write(void *ctx, uint64_t offset, const void *from, size_t n)
{
    memcpy((char *)ctx + offset, from, n);
    return 0;
}

/* Whoever uses it now finds something else. */
static void place_release(void *ctx)
{
    memset(ctx, '!', (size_t)PAGES * PAGE);
}

static int move_out(struct scene *s, unsigned object)
{
    const struct kl_shm_place place = {
        .size = sizeof(place), .read = place_read, .write = place_write, .release = place_release};
    int err = kl_shm_move_out(s->shm, play.id[object], &place, play.place[object]);

    play.away[object] |= err == 0;
    return err;
}

static int move_in(struct scene *s, unsigned object)
{
    int err = kl_shm_move_in(s->shm, play.id[object]);

    if (err == 0)
        play.away[object] = false;
    return err;
}

/* ---- the scene ---- */

static void free_some(struct scene *s, uint32_t from, uint32_t to)
{
    for (uint32_t nr = from; nr < to; nr++)
        assert_true(mover_free(s->m, mover_at(s->m, nr)));
    assert_int_equal(kl_zone_trim(s->zone, UINT32_MAX), 0);
}

static void make_object(struct scene *s, unsigned object)
{
    char pages[PAGES * PAGE];

    memset(pages, 'a' + (int)object, sizeof(pages));
    assert_int_equal(kl_shm_object_create(s->shm, sizeof(pages), 0, &play.id[object]), 0);
    assert_int_equal(kl_shm_write(s->shm, play.id[object], 0, pages, sizeof(pages)), 0);
}

void objects_open(struct scene *s)
{
    memset(&play, 0, sizeof(play));
    pthread_mutex_init(&play.lock, NULL);
    s->stuck = mover_at(s->m, 3 * O_BLOCK - 1);
    assert_int_equal(mover_pin(s->m, s->stuck), 0);
    free_some(s, 0, O_BLOCK);
    assert_int_equal(kl_shm_create(s->zone, NULL, &s->shm), 0);
    assert_int_equal(kl_shm_device_register(s->shm, &driver, s, &play.device), 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        make_object(s, i);
    assert_int_equal(kl_shm_attach(s->shm, play.id[DEVICE], play.device, &play), 0);
    assert_int_equal(kl_shm_set_purgeable(s->shm, play.id[PURGE], true), 0);
    assert_int_equal(move_out(s, PLACE), 0);
    free_some(s, O_BLOCK, O_BLOCK + 4);
    free_some(s, 2 * O_BLOCK, 2 * O_BLOCK + 3);
    free_some(s, 3 * O_BLOCK, 3 * O_BLOCK + 3);
}

/* ---- operations ---- */

/* The driver's object is there while its device may look: in KL_SYNC. */
void op_sm_give(struct scene *s, unsigned who)
{
    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] = kl_zone_give_back(s->zone, 1, KL_SYNC, &s->report[who]);
}

static int write_object(struct scene *s, unsigned object)
{
    char pages[PAGES * PAGE];

    memset(pages, WRITTEN, sizeof(pages));
    return kl_shm_write(s->shm, play.id[object], 0, pages, sizeof(pages));
}

static int read_object(struct scene *s, unsigned object, bool may_be_zero)
{
    char pages[PAGES * PAGE];
    int err = kl_shm_read(s->shm, play.id[object], 0, pages, sizeof(pages));

    if (err == 0)
        check_pages(s, pages, object, may_be_zero);
    return err;
}

void op_sm_write(struct scene *s, unsigned who)
{
    s->ret[who] = write_object(s, DEVICE);
}

void op_sm_read(struct scene *s, unsigned who)
{
    s->ret[who] = read_object(s, DEVICE, false);
}

void op_sm_pin(struct scene *s, unsigned who)
{
    struct kl_shm_run run[PAGES];
    char pages[PAGES * PAGE];
    kl_pin_id pin;
    uint64_t next;
    size_t at = 0;
    int runs, err = kl_shm_pin(s->shm, play.id[DEVICE], "a play", &pin);

    s->ret[who] = err;
    if (err)
        return;
    runs = kl_shm_sg(s->shm, play.id[DEVICE], 0, run, PAGES, &next);
    if (runs < 0 && runs != -KL_EBUSY) /* active as well, and a batch is leaving */
        s->ret[who] = runs;
    if (kl_shm_get(s->shm, play.id[DEVICE]) == 0) /* something to stand at */
        kl_shm_put(s->shm, play.id[DEVICE]);
    read_object(s, DEVICE, false);
    for (int i = 0; i < runs; i++) {
        memcpy(pages + at, kl_frame_addr(s->zone, run[i].first), (size_t)run[i].frames * PAGE);
        at += (size_t)run[i].frames * PAGE;
    }
    if (runs > 0)
        check_pages(s, pages, DEVICE, false);
    err = kl_shm_unpin(s->shm, play.id[DEVICE], pin);
    s->ret[who] = err ? err : s->ret[who];
}

/* Active, mapped, looked at, and over.  Of two one is the device's. */
void op_sm_run(struct scene *s, unsigned who)
{
    int err = kl_shm_activate(s->shm, play.id[DEVICE], KL_SYNC);

    s->ret[who] = err;
    if (err)
        return;
    pthread_mutex_lock(&play.lock);
    play.active = true;
    map(s);
    pthread_mutex_unlock(&play.lock);
    write_object(s, DEVICE);
    look(s);
    pthread_mutex_lock(&play.lock);
    play.active = play.mapped = false;
    pthread_mutex_unlock(&play.lock);
    s->ret[who] = kl_shm_deactivate(s->shm, play.id[DEVICE]);
}

void op_sm_attach(struct scene *s, unsigned who)
{
    int err = kl_shm_detach(s->shm, play.id[DEVICE]);

    s->ret[who] = err;
    if (err == 0)
        s->ret[who] = kl_shm_attach(s->shm, play.id[DEVICE], play.device, &play);
}

void op_sm_sleep(struct scene *s, unsigned who)
{
    s->ret[who] = kl_shm_device_sleep(s->shm, play.device, true);
    if (s->ret[who] == 0)
        s->ret[who] = kl_shm_device_sleep(s->shm, play.device, false);
}

/* Only once the object is gone, or just detached; then it is there again. */
void op_sm_unregister(struct scene *s, unsigned who)
{
    s->ret[who] = kl_shm_device_unregister(s->shm, play.device);
    if (s->ret[who] == 0)
        s->ret[who] = kl_shm_device_register(s->shm, &driver, s, &play.device);
}

void op_sm_destroy(struct scene *s, unsigned who)
{
    s->ret[who] = kl_shm_object_destroy(s->shm, play.id[DEVICE]);
    play.gone[DEVICE] |= s->ret[who] == 0;
}

void op_sm_offer(struct scene *s, unsigned who)
{
    s->ret[who] = kl_shm_set_purgeable(s->shm, play.id[PURGE], true);
}

/* It is his again, and he uses it: nobody drops that. */
void op_sm_want(struct scene *s, unsigned who)
{
    s->ret[who] = kl_shm_set_purgeable(s->shm, play.id[PURGE], false);
    if (s->ret[who] == 0 || s->ret[who] == -KL_ENODATA)
        play.again |= write_object(s, PURGE) == 0;
}

void op_sm_write_offered(struct scene *s, unsigned who)
{
    s->ret[who] = write_object(s, PURGE);
}

/* Both pages are there, or both have gone; unless somebody writes. */
void op_sm_read_offered(struct scene *s, unsigned who)
{
    char pages[PAGES * PAGE];

    s->ret[who] = kl_shm_read(s->shm, play.id[PURGE], 0, pages, sizeof(pages));
    if (s->ret[who] != 0)
        return;
    check_pages(s, pages, PURGE, true);
    if (!pages[0] != !pages[PAGE] && s->op[!who] != op_named("sm write offered"))
        s->broken = "half of what was dropped";
}

/* A page is cut off, and comes back as zeroes. */
void op_sm_resize(struct scene *s, unsigned who)
{
    s->ret[who] = kl_shm_resize(s->shm, play.id[SIZE], PAGE / 2);
    if (s->ret[who] == 0)
        s->ret[who] = kl_shm_resize(s->shm, play.id[SIZE], (uint64_t)PAGES * PAGE);
}

void op_sm_write_sized(struct scene *s, unsigned who)
{
    s->ret[who] = write_object(s, SIZE);
}

void op_sm_out(struct scene *s, unsigned who)
{
    s->ret[who] = move_out(s, SIZE);
}

void op_sm_in(struct scene *s, unsigned who)
{
    s->ret[who] = move_in(s, PLACE);
}

void op_sm_write_away(struct scene *s, unsigned who)
{
    s->ret[who] = write_object(s, PLACE);
}

void op_sm_read_away(struct scene *s, unsigned who)
{
    s->ret[who] = read_object(s, PLACE, false);
}

/* ---- cues ---- */

void objects_cut(struct scene *s)
{
    play.cut = true;
    (void)kl_shm_resize(s->shm, play.id[SIZE], PAGE / 2);
    (void)kl_shm_resize(s->shm, play.id[SIZE], (uint64_t)PAGES * PAGE);
}

void objects_sleep(struct scene *s, bool asleep)
{
    (void)kl_shm_device_sleep(s->shm, play.device, asleep);
}

/* ---- the verdict ---- */

static bool wrote(const struct scene *s, const char *op)
{
    return (s->op[0] == op_named(op) && s->ret[0] == 0) ||
           (s->op[1] == op_named(op) && s->ret[1] == 0);
}

/* What is left of the page whose end was cut off in the midst of it. */
static bool is_half(const char *page)
{
    static const char zeroes[PAGE];

    return memcmp(page, page + 1, PAGE / 2 - 1) == 0 &&
           memcmp(page + PAGE / 2, zeroes, PAGE / 2) == 0;
}

static void judge_sized(struct scene *s)
{
    char pages[PAGES * PAGE];
    bool resized =
        play.cut || s->op[0] == op_named("sm resize") || s->op[1] == op_named("sm resize");

    if (kl_shm_read(s->shm, play.id[SIZE], 0, pages, sizeof(pages)) != 0) {
        if (!resized)
            s->broken = "an object can't be read";
        return;
    }
    if (resized && is_half(pages) && is_right(pages[0], SIZE, false)) {
        if (!is_right(letter_of(pages + PAGE), SIZE, true))
            s->broken = "a page that was cut off is something else";
        return;
    }
    check_pages(s, pages, SIZE, resized);
}

static bool is_written(struct scene *s, unsigned object)
{
    char pages[PAGES * PAGE], written[PAGES * PAGE];

    memset(written, WRITTEN, sizeof(written));
    return kl_shm_read(s->shm, play.id[object], 0, pages, sizeof(pages)) == 0 &&
           memcmp(pages, written, sizeof(pages)) == 0;
}

void objects_judge(struct scene *s)
{
    const char *what = NULL;
    int err;

    if (kl_shm_check(s->shm, &what) != 0)
        fail_msg("%s; %s", what, stage_now);
    if (!play.gone[DEVICE] && read_object(s, DEVICE, false) != 0)
        s->broken = "the driver's object can't be read";
    err = read_object(s, PLACE, false);
    if (err)
        s->broken = "an object that was elsewhere can't be read";
    if ((wrote(s, "sm write away") && !is_written(s, PLACE)) ||
        (wrote(s, "sm write") && !play.gone[DEVICE] && !is_written(s, DEVICE)))
        s->broken = "a write is lost";
    judge_sized(s);
    if (play.again && s->op[0] != op_named("sm offer") && s->op[1] != op_named("sm offer") &&
        !is_written(s, PURGE))
        s->broken = "what was written later is dropped";
}

void objects_undo(struct scene *s)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (play.away[i] && move_in(s, i) != 0)
            fail_msg("an object doesn't come back; %s", stage_now);
    }
}

void objects_close(struct scene *s)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (!play.gone[i])
            assert_int_equal(kl_shm_object_destroy(s->shm, play.id[i]), 0);
    }
    if (kl_shm_device_unregister(s->shm, play.device) != 0)
        fail_msg("a device stays; %s", stage_now);
    if (kl_shm_destroy(s->shm) != 0)
        fail_msg("objects stay; %s", stage_now);
    s->shm = NULL;
    pthread_mutex_destroy(&play.lock);
}
