// SPDX-License-Identifier: Apache-2.0
#include "interleave/scene.h"

#include "klotski/cma.h"
#include "klotski/pool.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { FRAMES_N = SCENE_BLOCKS << SCENE_ORDER, BLOCK = 1 << SCENE_ORDER, FRAME = 4096 };

/* A mapping: a search for leaks reads all of a program's variables. */
static char *memory;
static struct mover mover;

static int populate(void *ctx, uint64_t offset, uint64_t bytes)
{
    (void)ctx;
    if (mprotect(memory + offset, bytes, PROT_READ | PROT_WRITE) != 0)
        return -KL_ENOMEM;
    memset(memory + offset, 0, bytes);
    return 0;
}

/* Whoever still reads or writes there dies of it. */
static int release(void *ctx, uint64_t offset, uint64_t bytes)
{
    (void)ctx;
    return mprotect(memory + offset, bytes, PROT_NONE) == 0 ? 0 : -KL_EIO;
}

/* Whoever still counts on what was there finds something else. */
static int discard(void *ctx, uint64_t offset, uint64_t bytes)
{
    (void)ctx;
    memset(memory + offset, 0xdd, bytes);
    return 0;
}

static void say(const char *what)
{
    fail_msg("%s; %s", what, stage_now);
}

static void map_memory(void)
{
    if (memory)
        return;
    memory =
        mmap(NULL, FRAMES_N * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
}

static void open_zone(struct scene *s)
{
    struct kl_backing backing = {.size = sizeof(backing),
                                 .bytes = (uint64_t)FRAMES_N * FRAME,
                                 .frame_shift = 12,
                                 .block_order = SCENE_ORDER,
                                 .populate = populate,
                                 .release = release,
                                 .discard = discard};
    struct kl_zone_config config = {.size = sizeof(config),
                                    .host = stage_host(),
                                    .backing = &backing,
                                    .flags = KL_ZONE_POPULATE};

    map_memory();
    backing.base = memory;
    assert_int_equal(kl_zone_create(&config, &s->zone), 0);
}

/* Frames at hand go back to their blocks. */
static void drain(struct scene *s)
{
    assert_int_equal(kl_zone_trim(s->zone, UINT32_MAX), 0);
}

static void free_from_to(struct scene *s, uint32_t from, uint32_t to)
{
    for (uint32_t nr = from; nr < to; nr++)
        assert_true(mover_free(s->m, mover_at(s->m, nr)));
    drain(s);
}

/* Block 0: frame 0 the subject, 2 and 3 the pair, 5 another one.  The others are
 * denser; one frame of block 2 is pinned. */
static void fill_frames(struct scene *s)
{
    s->subject = mover_at(s->m, 0);
    free_from_to(s, 2, 4);
    s->pair = FRAMES_N;
    assert_int_equal(mover_alloc(s->m, s->pair, 1, KL_MOVABLE), 0);
    assert_int_equal(kl_pfn_nr(s->m->item[s->pair].pfn), 2);
    free_from_to(s, 1, 2);
    free_from_to(s, 4, 5);
    free_from_to(s, 6, BLOCK);
    free_from_to(s, BLOCK, BLOCK + 4);
    free_from_to(s, 2 * BLOCK, 2 * BLOCK + 3);
    s->stuck = mover_at(s->m, 3 * BLOCK - 1);
    assert_int_equal(mover_pin(s->m, s->stuck), 0);
    free_from_to(s, 3 * BLOCK, (s->kind & (FRAMES | BATCH | SHARE)) ? 3 * BLOCK + 3 : 4 * BLOCK);
    if (s->kind == ABSENT)
        assert_int_equal(kl_zone_trim(s->zone, 0), 1);
}

static void put_object(struct scene *s, unsigned i, size_t size)
{
    struct object *o = &s->object[i];
    char buf[FRAME];

    *o = (struct object){.size = size, .seed = 100 + i, .there = true};
    fill_bytes(buf, size, o->seed);
    assert_int_equal(kl_zs_malloc(s->pool, size, 0, &o->handle), 0);
    assert_int_equal(kl_zs_write(s->pool, o->handle, 0, buf, size), 0);
}

/* Block 0: a frame with one object, three frames with four, two frames with two
 * and one objects, which compaction would put together. */
static void fill_objects(struct scene *s)
{
    free_from_to(s, 0, BLOCK);
    assert_int_equal(kl_zs_create(s->zone, NULL, &s->pool), 0);
    put_object(s, 0, 2048);
    for (unsigned i = 1; i < 5; i++)
        put_object(s, i, 3072);
    for (unsigned i = 5; i < 10; i++)
        put_object(s, i, 1024);
    for (unsigned i = 5; i < 7; i++) {
        assert_int_equal(kl_zs_free(s->pool, s->object[i].handle), 0);
        s->object[i].there = false;
    }
    for (unsigned b = 1; b < SCENE_BLOCKS; b++)
        free_from_to(s, b * BLOCK, b * BLOCK + 4);
}

/* Block 0 has the store's frames. */
static void fill_store(struct scene *s)
{
    free_from_to(s, 0, BLOCK);
    if (s->kind == DEDUP)
        dedup_open(s);
    else if (s->kind == AWAY)
        away_scene(s);
    else
        store_open(s);
    for (unsigned b = 1; b < SCENE_BLOCKS; b++)
        free_from_to(s, b * BLOCK, b * BLOCK + 4);
}

void scene_open(struct scene *s, enum scene_kind kind)
{
    memset(s, 0, sizeof(*s));
    s->kind = kind;
    s->m = &mover;
    open_zone(s);
    mover_open(s->m, s->zone, kind == BATCH ? MOVER_BATCH : MOVER_SINGLE);
    s->m->poll = stage_poll_owner;
    assert_int_equal(kl_owner_register(s->zone, NULL, NULL, &s->plain), 0);
    for (unsigned i = 0; i < FRAMES_N; i++)
        assert_int_equal(mover_alloc(s->m, i, 0, KL_MOVABLE), 0);
    if (kind == AREA)
        area_open(s);
    else if (kind == POOL)
        units_open(s);
    else if (kind == SHM)
        objects_open(s);
    else if (kind & (STORE | DEDUP | AWAY))
        fill_store(s);
    else if (kind == ZS)
        fill_objects(s);
    else
        fill_frames(s);
    if (kind == SHARE)
        share_open(s);
    assert_zone_ok(s->zone);
}

void scene_play(void *scene, unsigned who)
{
    struct scene *s = scene;

    s->op[who]->run(s, who);
}

static void check_outcome(struct scene *s, unsigned who)
{
    const struct kl_report *r = &s->report[who];
    bool right = s->ret[who] >= 0;

    for (unsigned i = 0; i < 4; i++)
        right |= s->ret[who] == s->op[who]->may_fail[i];
    if (!right)
        fail_msg("%s ends with %d; %s", s->op[who]->name, s->ret[who], stage_now);
    if (r->isolated != r->migrated + r->put_back + r->freed)
        say("a report does not add up");
}

static void undo(struct scene *s, unsigned who)
{
    if (s->pinned)
        mover_unpin(s->m, s->subject);
    s->pinned = false;
    for (; s->pins[who] > 0; s->pins[who]--)
        mover_unpin(s->m, s->subject);
    if (s->range_n[who])
        assert_int_equal(kl_contig_free(s->zone, s->plain, s->range[who], s->range_n[who]), 0);
}

static void check_objects(struct scene *s)
{
    char buf[FRAME];

    for (unsigned i = 0; i < SCENE_OBJECTS; i++) {
        const struct object *o = &s->object[i];

        if (!o->there)
            continue;
        if (kl_zs_read(s->pool, o->handle, 0, buf, o->size) != 0 ||
            !bytes_are(buf, o->size, o->seed))
            say("an object is not what was written");
    }
}

static void check_all(struct scene *s)
{
    const char *what = NULL;

    if (kl_zone_check(s->zone, &what) != 0 || (s->pool && kl_zs_check(s->pool, &what) != 0) ||
        (s->area && kl_cma_check(s->area, &what) != 0) ||
        (s->units && kl_pool_check(s->units, &what) != 0))
        say(what);
    for (unsigned i = 0; i < FRAMES_N + SCENE_MORE && !s->left; i++) {
        if (s->m->item[i].here && !mover_right(s->m, i))
            say("a frame is not what was written");
    }
    if (s->pool)
        check_objects(s);
    if (s->store && kl_store_check(s->store, &what) != 0)
        say(what);
    if (s->store)
        store_judge(s);
    if (s->m->broken || s->broken)
        say(s->m->broken ? s->m->broken : s->broken);
}

static void close_pool(struct scene *s)
{
    if (s->store ? kl_store_destroy(s->store) != 0 : s->pool && kl_zs_destroy(s->pool) != 0)
        say("a pool stays");
}

void scene_close(struct scene *s)
{
    for (unsigned who = 0; who < 2; who++)
        check_outcome(s, who);
    if (s->area)
        area_judge(s);
    if (s->kind == SHARE)
        share_judge(s);
    if (s->units)
        units_judge(s);
    if (s->shm)
        objects_judge(s);
    for (unsigned who = 0; who < 2; who++)
        undo(s, who);
    if (s->area)
        area_undo(s);
    if (s->units)
        units_undo(s);
    if (s->shm)
        objects_undo(s);
    if (s->open)
        kl_zs_end(&s->pin);
    check_all(s);
    atomic_store(&s->m->fail, 0);
    atomic_store(&s->m->refuse, 0);
    if (kl_zone_compact(s->zone, KL_SYNC, 0, NULL) != 0)
        say("compaction fails at rest");
    check_all(s);
    close_pool(s);
    if (s->area)
        area_close(s);
    if (s->units)
        units_close(s);
    if (s->shm)
        objects_close(s);
    if (!s->left)
        mover_close(s->m);
    else if (s->m->isolated != s->m->migrated + s->m->put_back + s->m->freed)
        say("an isolation did not end as one of three");
    assert_int_equal(kl_owner_unregister(s->zone, s->plain), 0);
    assert_zone_ok(s->zone);
    if (kl_zone_destroy(s->zone) != 0)
        say("something is left in the zone");
}
