// SPDX-License-Identifier: Apache-2.0
/* The operations that the two actors play.  None of them asserts: they run in
 * threads, and the scene is judged when both have ended. */
#include "interleave/scene.h"

#include <string.h>

static void op_give(struct scene *s, unsigned who)
{
    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] = kl_zone_give_back(s->zone, 1, KL_SYNC_LIGHT, &s->report[who]);
}

/* The owner's isolate says no, from now on. */
static void op_give_refused(struct scene *s, unsigned who)
{
    atomic_store(&s->m->refuse, 100);
    op_give(s, who);
}

/* The owner's migrate fails for good. */
static void op_give_failing(struct scene *s, unsigned who)
{
    atomic_store(&s->m->fail, 100);
    op_give(s, who);
}

/* When enough blocks have no memory, they would do. */
static void op_give_two(struct scene *s, unsigned who)
{
    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] = kl_zone_give_back(s->zone, 2, KL_ASYNC, &s->report[who]);
}

static void op_compact(struct scene *s, unsigned who)
{
    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] = kl_zone_compact(s->zone, KL_ASYNC, 0, &s->report[who]);
}

static void op_contig(struct scene *s, unsigned who)
{
    uint32_t n = 1u << SCENE_ORDER;

    s->report[who].size = sizeof(s->report[who]);
    s->ret[who] =
        kl_contig_alloc(s->zone, s->plain, n, n, KL_SYNC_LIGHT, &s->range[who], &s->report[who]);
    s->range_n[who] = s->ret[who] == 0 ? n : 0;
    if (s->range_n[who]) /* it is his */
        memset(kl_frame_addr(s->zone, s->range[who]), 0xee, n * kl_zone_frame_bytes(s->zone));
}

/* Part of a block: the subject and the pair stand in it. */
static void op_contig_part(struct scene *s, unsigned who)
{
    s->report[who].size = sizeof(s->report[who]);
    s->range[who] = kl_zone_pfn(s->zone, 0);
    s->ret[who] =
        kl_contig_alloc_at(s->zone, s->plain, s->range[who], 4, KL_ASYNC, &s->report[who]);
    s->range_n[who] = s->ret[who] == 0 ? 4 : 0;
}

/* In the last block, which may have no memory yet. */
static void op_contig_last(struct scene *s, unsigned who)
{
    uint32_t n = 4;

    s->report[who].size = sizeof(s->report[who]);
    s->range[who] = kl_zone_pfn(s->zone, (3u << SCENE_ORDER) + 8);
    s->ret[who] =
        kl_contig_alloc_at(s->zone, s->plain, s->range[who], n, KL_ASYNC, &s->report[who]);
    s->range_n[who] = s->ret[who] == 0 ? n : 0;
}

static void op_trim(struct scene *s, unsigned who)
{
    s->ret[who] = kl_zone_trim(s->zone, 0);
}

static void op_discard(struct scene *s, unsigned who)
{
    int64_t frames = kl_zone_discard(s->zone, 0);

    s->ret[who] = frames < 0 ? (int)frames : 0;
}

/* A pin of the owner's own that has no lock around it: wait for its end. */
static int free_frame(struct scene *s, kl_pfn pfn)
{
    int err;

    while ((err = kl_frame_free(s->zone, s->m->owner, pfn)) == -KL_EBUSY)
        stage_poll_owner();
    return err;
}

static int free_item(struct scene *s, unsigned i)
{
    kl_pfn pfn = mover_disown(s->m, i);

    return pfn.v ? free_frame(s, pfn) : -KL_ESTALE;
}

static void op_free(struct scene *s, unsigned who)
{
    s->ret[who] = free_item(s, s->subject);
}

static void op_free_pair(struct scene *s, unsigned who)
{
    s->ret[who] = free_item(s, s->pair);
}

/* With the frame's lock held: then no callback is on its way. */
static void op_free_locked(struct scene *s, unsigned who)
{
    kl_pfn pfn = mover_disown(s->m, s->subject);
    bool locked = pfn.v && kl_frame_trylock(s->zone, s->m->owner, pfn);

    s->ret[who] = pfn.v ? free_frame(s, pfn) : -KL_ESTALE;
    if (locked)
        kl_frame_unlock(s->zone, pfn);
}

/* Under the owner's lock, as the header says. */
static void op_pin(struct scene *s, unsigned who)
{
    s->ret[who] = mover_pin(s->m, s->subject);
    s->pins[who] += s->ret[who] == 0;
}

/* Without it: the frame may be anybody's by now, but nothing breaks. */
static void op_pin_bare(struct scene *s, unsigned who)
{
    kl_pfn pfn = kl_zone_pfn(s->zone, 0);

    s->ret[who] = kl_frame_pin(s->zone, s->m->owner, pfn);
    if (s->ret[who] == 0)
        s->ret[who] = kl_frame_unpin(s->zone, s->m->owner, pfn);
}

static void op_pin_none(struct scene *s, unsigned who)
{
    s->ret[who] = kl_frame_pin(s->zone, s->m->owner, kl_zone_pfn(s->zone, 1));
    if (s->ret[who] == 0)
        s->ret[who] = kl_frame_unpin(s->zone, s->m->owner, kl_zone_pfn(s->zone, 1));
}

/* Of the pin that was there from the beginning. */
static void op_unpin(struct scene *s, unsigned who)
{
    (void)who;
    s->pinned = false;
    mover_unpin(s->m, s->subject);
}

static void op_lock(struct scene *s, unsigned who)
{
    kl_pfn pfn = kl_zone_pfn(s->zone, 0);

    s->ret[who] = 0;
    if (kl_frame_trylock(s->zone, s->m->owner, pfn))
        kl_frame_unlock(s->zone, pfn);
}

static void op_alloc(struct scene *s, unsigned who)
{
    s->ret[who] = mover_alloc(s->m, (SCENE_BLOCKS << SCENE_ORDER) + 2 + who, 0, KL_MOVABLE);
}

static void op_alloc_pair(struct scene *s, unsigned who)
{
    s->ret[who] = mover_alloc(s->m, (SCENE_BLOCKS << SCENE_ORDER) + 4 + who, 1, KL_MOVABLE);
}

/* A whole block; there may be none before somebody is done. */
static void op_alloc_block(struct scene *s, unsigned who)
{
    kl_pfn pfn;

    s->ret[who] = kl_frame_alloc(s->zone, SCENE_ORDER, s->plain, 0, &pfn);
    if (s->ret[who] == 0)
        s->ret[who] = kl_frame_free(s->zone, s->plain, pfn);
}

/* More than there ever is. */
static void op_alloc_large(struct scene *s, unsigned who)
{
    kl_pfn pfn;

    s->ret[who] = kl_frame_alloc(s->zone, SCENE_ORDER + 1, s->plain, 0, &pfn);
    if (s->ret[who] == 0)
        s->ret[who] = kl_frame_free(s->zone, s->plain, pfn);
}

/* Everything is freed, and the owner goes. */
static void op_leave(struct scene *s, unsigned who)
{
    mover_unpin(s->m, s->stuck);
    for (unsigned i = 0; i < (SCENE_BLOCKS << SCENE_ORDER) + 2u; i++)
        free_item(s, i);
    s->ret[who] = kl_owner_unregister(s->zone, s->m->owner);
    s->left |= s->ret[who] == 0;
}

static void free_object(struct scene *s, unsigned who, unsigned i)
{
    s->ret[who] = kl_zs_free(s->pool, s->object[i].handle);
    if (s->ret[who] == 0)
        s->object[i].there = false;
}

static void op_zs_free(struct scene *s, unsigned who)
{
    free_object(s, who, 0);
}

static void op_zs_free_one(struct scene *s, unsigned who)
{
    free_object(s, who, 9); /* alone in its zspage; compaction would move it */
}

static void op_zs_free_big(struct scene *s, unsigned who)
{
    free_object(s, who, 1);
}

static void read_object(struct scene *s, unsigned who, unsigned i)
{
    const struct object *o = &s->object[i];
    char buf[4096];

    s->ret[who] = kl_zs_read(s->pool, o->handle, 0, buf, o->size);
    if (s->ret[who] == 0 && !bytes_are(buf, o->size, o->seed))
        s->broken = "a reader saw something else";
}

static void op_zs_read(struct scene *s, unsigned who)
{
    read_object(s, who, 0);
}

static void op_zs_read_one(struct scene *s, unsigned who)
{
    read_object(s, who, 9);
}

/* In place, with the object pinned. */
static void open_object(struct scene *s, unsigned who, unsigned i)
{
    const struct object *o = &s->object[i];
    struct kl_zs_pin pin;
    char buf[4096];
    size_t n;

    s->ret[who] = kl_zs_begin(s->pool, o->handle, &pin);
    if (s->ret[who])
        return;
    for (size_t at = 0; at < o->size; at += n) {
        const void *run = kl_zs_run(&pin, at, &n);

        n = n < o->size - at ? n : o->size - at;
        memcpy(buf + at, run, n);
    }
    kl_zs_end(&pin);
    if (!bytes_are(buf, o->size, o->seed))
        s->broken = "a pinned object is something else";
}

static void op_zs_open(struct scene *s, unsigned who)
{
    open_object(s, who, 0);
}

static void op_zs_open_one(struct scene *s, unsigned who)
{
    open_object(s, who, 9);
}

static void op_zs_write(struct scene *s, unsigned who)
{
    struct object *o = &s->object[2];
    char buf[4096];

    fill_bytes(buf, o->size, 500 + who);
    s->ret[who] = kl_zs_write(s->pool, o->handle, 0, buf, o->size);
    o->seed = 500 + who;
}

static void op_zs_malloc(struct scene *s, unsigned who)
{
    struct object *o = &s->object[10 + who];
    char buf[4096];

    fill_bytes(buf, 2048, 600 + who);
    s->ret[who] = kl_zs_malloc(s->pool, 2048, 0, &o->handle);
    if (s->ret[who] != 0)
        return;
    s->ret[who] = kl_zs_write(s->pool, o->handle, 0, buf, 2048);
    o->size = 2048;
    o->seed = 600 + who;
    o->there = true;
}

static void op_zs_compact(struct scene *s, unsigned who)
{
    int64_t freed = kl_zs_compact(s->pool, 0);

    s->ret[who] = freed < 0 ? (int)freed : 0;
}

/* Idle pools give their frames; object compaction is one of the ways. */
static void op_shrink(struct scene *s, unsigned who)
{
    int64_t freed = kl_zone_shrink(s->zone, 1, KL_SYNC_LIGHT);

    s->ret[who] = freed < 0 ? (int)freed : 0;
}

static void op_zs_destroy(struct scene *s, unsigned who)
{
    s->ret[who] = kl_zs_destroy(s->pool);
    if (s->ret[who] != 0)
        return;
    s->pool = NULL;
    for (unsigned i = 0; i < SCENE_OBJECTS; i++)
        s->object[i].there = false;
}

#define BUSY  -KL_EBUSY, -KL_ENOMEM, -KL_EAGAIN
#define STALE -KL_ESTALE, -KL_EBUSY
#define PIN   -KL_EBUSY, -KL_EINVAL
#define ZFAIL -KL_ESTALE, -KL_EAGAIN
#define GONE  -KL_ESTALE, -KL_EBUSY, -KL_ENOMEM

const struct op ops[] = {
    {"give",
     FRAMES | SPARE | BATCH | ABSENT | ZS | STORE | DEDUP | AWAY | AREA | POOL,
     op_give,
     {BUSY},
     false},
    {"give two", ABSENT, op_give_two, {BUSY}, false},
    {"give, refused", FRAMES, op_give_refused, {BUSY}, false},
    {"give, failing", FRAMES | BATCH, op_give_failing, {BUSY}, false},
    {"compact",
     FRAMES | SPARE | BATCH | ABSENT | ZS | STORE | DEDUP | AWAY | AREA | POOL | SHARE,
     op_compact,
     {BUSY},
     false},
    {"contig",
     FRAMES | SPARE | BATCH | ABSENT | ZS | STORE | DEDUP | AWAY | AREA | POOL,
     op_contig,
     {BUSY},
     false},
    {"contig part", FRAMES | SHARE | POOL, op_contig_part, {BUSY}, false},
    {"contig last", ABSENT | SPARE, op_contig_last, {BUSY}, false},
    {"trim",
     FRAMES | SPARE | ABSENT | ZS | STORE | DEDUP | AWAY | AREA | POOL,
     op_trim,
     {0},
     false},
    {"free", FRAMES | BATCH | AREA | SHARE, op_free, {STALE}, false},
    {"free pair", FRAMES | SHARE, op_free_pair, {STALE}, false},
    {"free locked", FRAMES, op_free_locked, {STALE}, false},
    {"pin", FRAMES | BATCH | AREA | SHARE, op_pin, {PIN}, false},
    {"pin bare", FRAMES, op_pin_bare, {PIN}, false},
    {"pin none", FRAMES, op_pin_none, {PIN}, false},
    {"unpin", FRAMES, op_unpin, {0}, true},
    {"lock", FRAMES | BATCH | AREA, op_lock, {0}, false},
    {"alloc", FRAMES | ABSENT | SHARE, op_alloc, {-KL_ENOMEM}, false},
    {"alloc pair", FRAMES | ABSENT | SHARE, op_alloc_pair, {-KL_ENOMEM}, false},
    {"alloc block", FRAMES | SPARE | ABSENT | AREA, op_alloc_block, {-KL_ENOMEM}, false},
    {"alloc large", FRAMES, op_alloc_large, {-KL_ENOMEM}, false},
    {"leave", FRAMES | BATCH, op_leave, {-KL_EBUSY}, false},
    {"zs free", ZS, op_zs_free, {ZFAIL}, false},
    {"zs free one", ZS, op_zs_free_one, {ZFAIL}, false},
    {"zs free big", ZS, op_zs_free_big, {ZFAIL}, false},
    {"zs read", ZS, op_zs_read, {ZFAIL}, false},
    {"zs read one", ZS, op_zs_read_one, {ZFAIL}, false},
    {"zs open", ZS, op_zs_open, {ZFAIL}, false},
    {"zs open one", ZS, op_zs_open_one, {ZFAIL}, false},
    {"zs write", ZS, op_zs_write, {ZFAIL}, false},
    {"zs malloc", ZS, op_zs_malloc, {-KL_ENOMEM}, false},
    {"zs compact", ZS | STORE | DEDUP | AWAY, op_zs_compact, {-KL_EAGAIN}, false},
    {"shrink", ZS | STORE | DEDUP | AWAY | AREA | POOL | SHM, op_shrink, {0}, false},
    {"st write", STORE, op_st_write, {-KL_ENOSPC}, false},
    {"st write one", STORE, op_st_write_one, {-KL_ENOSPC}, false},
    {"st write two", STORE, op_st_write_two, {-KL_ENOSPC}, false},
    {"st write new", STORE, op_st_write_new, {-KL_ENOSPC}, false},
    {"st move one", STORE, op_st_move_one, {-KL_ENOSPC}, false},
    {"st part", STORE, op_st_part, {-KL_ENOSPC}, false},
    {"st part one", STORE, op_st_part_one, {-KL_ENOSPC}, false},
    {"st part two", STORE, op_st_part_two, {-KL_ENOSPC}, false},
    {"st read", STORE, op_st_read, {0}, false},
    {"st read one", STORE, op_st_read_one, {0}, false},
    {"st read two", STORE, op_st_read_two, {0}, false},
    {"st discard", STORE, op_st_discard, {0}, false},
    {"st discard one", STORE, op_st_discard_one, {0}, false},
    {"st discard two", STORE, op_st_discard_two, {0}, false},
    {"st recompress", STORE | DEDUP | AWAY, op_st_recompress, {-KL_ENOSPC}, false},
    {"dd join", DEDUP, op_dd_join, {-KL_ENOSPC}, false},
    {"dd join two", DEDUP, op_dd_join_two, {-KL_ENOSPC}, false},
    {"dd join one", DEDUP, op_dd_join_one, {-KL_ENOSPC}, false},
    {"dd differ", DEDUP, op_dd_differ, {-KL_ENOSPC}, false},
    {"dd cycle", DEDUP, op_dd_cycle, {0}, false},
    {"dd write", DEDUP, op_dd_write, {-KL_ENOSPC}, false},
    {"dd write two", DEDUP, op_dd_write_two, {-KL_ENOSPC}, false},
    {"dd write one", DEDUP, op_dd_write_one, {-KL_ENOSPC}, false},
    {"dd part", DEDUP, op_dd_part, {-KL_ENOSPC}, false},
    {"dd part two", DEDUP, op_dd_part_two, {-KL_ENOSPC}, false},
    {"dd part one", DEDUP, op_dd_part_one, {-KL_ENOSPC}, false},
    {"dd read", DEDUP, op_dd_read, {0}, false},
    {"dd read two", DEDUP, op_dd_read_two, {0}, false},
    {"dd read one", DEDUP, op_dd_read_one, {0}, false},
    {"dd discard", DEDUP, op_dd_discard, {0}, false},
    {"dd discard one", DEDUP, op_dd_discard_one, {0}, false},
    {"wb out", AWAY, op_wb_out, {0}, false},
    {"wb step", AWAY, op_wb_step, {0}, false},
    {"wb swap", AWAY, op_wb_swap, {-KL_ENOSPC}, false},
    {"wb write", AWAY, op_wb_write, {-KL_ENOSPC}, false},
    {"wb write away", AWAY, op_wb_write_away, {-KL_ENOSPC}, false},
    {"wb part", AWAY, op_wb_part, {-KL_ENOSPC}, false},
    {"wb part away", AWAY, op_wb_part_away, {-KL_ENOSPC}, false},
    {"wb read", AWAY, op_wb_read, {0}, false},
    {"wb read away", AWAY, op_wb_read_away, {0}, false},
    {"wb discard", AWAY, op_wb_discard, {0}, false},
    {"wb discard away", AWAY, op_wb_discard_away, {0}, false},
    {"discard", FRAMES | AREA | POOL, op_discard, {0}, false},
    {"ar alloc", AREA, op_ar_alloc, {BUSY}, false},
    {"ar alloc big", AREA, op_ar_alloc_big, {BUSY}, false},
    {"ar alloc at", AREA, op_ar_alloc_at, {BUSY}, false},
    {"ar alloc mixed", AREA, op_ar_alloc_mixed, {BUSY}, false},
    {"ar release", AREA, op_ar_release, {-KL_EINVAL}, false},
    {"ar release part", AREA, op_ar_release_part, {-KL_EINVAL}, false},
    {"ar off", AREA, op_ar_off, {0}, false},
    {"ar take", AREA, op_ar_take, {-KL_ENOMEM}, false},
    {"ar take run", AREA, op_ar_take_run, {-KL_ENOMEM}, false},
    {"ar unmovable", AREA, op_ar_unmovable, {-KL_ENOMEM}, false},
    {"pl alloc", POOL, op_pl_alloc, {-KL_ENOMEM}, false},
    {"pl cycle", POOL, op_pl_cycle, {-KL_ENOMEM}, false},
    {"pl free", POOL, op_pl_free, {0}, false},
    {"pl zero", POOL, op_pl_zero, {0}, false},
    {"pl prefill", POOL, op_pl_prefill, {-KL_ENOMEM}, false},
    {"pl trim", POOL, op_pl_trim, {0}, false},
    {"sh lower", SHARE, op_sh_lower, {-KL_EBUSY}, false},
    {"sh lift", SHARE, op_sh_lift, {0}, false},
    {"sm give", SHM, op_sm_give, {BUSY}, false},
    {"sm write", SHM, op_sm_write, {GONE}, false},
    {"sm read", SHM, op_sm_read, {GONE}, false},
    {"sm pin", SHM, op_sm_pin, {GONE}, false},
    {"sm run", SHM, op_sm_run, {GONE, -KL_ENOENT}, false},
    {"sm attach", SHM, op_sm_attach, {-KL_EBUSY, -KL_EEXIST, -KL_ENOENT, -KL_ESTALE}, false},
    {"sm sleep", SHM, op_sm_sleep, {-KL_EBUSY, -KL_ENOENT}, false},
    {"sm unregister", SHM, op_sm_unregister, {-KL_EBUSY, -KL_ENOENT}, false},
    {"sm destroy", SHM, op_sm_destroy, {GONE}, false},
    {"sm offer", SHM, op_sm_offer, {-KL_EBUSY}, false},
    {"sm want", SHM, op_sm_want, {-KL_EBUSY, -KL_ENODATA}, false},
    {"sm write offered", SHM, op_sm_write_offered, {-KL_ENODATA, -KL_EBUSY}, false},
    {"sm read offered", SHM, op_sm_read_offered, {-KL_ENODATA, -KL_EBUSY}, false},
    {"sm resize", SHM, op_sm_resize, {-KL_EBUSY}, false},
    {"sm write sized", SHM, op_sm_write_sized, {-KL_ERANGE, -KL_EBUSY}, false},
    {"sm out", SHM, op_sm_out, {-KL_EBUSY}, false},
    {"sm in", SHM, op_sm_in, {-KL_EBUSY, -KL_ENOENT}, false},
    {"sm write away", SHM, op_sm_write_away, {-KL_EBUSY}, false},
    {"sm read away", SHM, op_sm_read_away, {-KL_EBUSY}, false},
    {"zs destroy", ZS, op_zs_destroy, {-KL_EBUSY}, false},
};
const unsigned ops_n = sizeof(ops) / sizeof(ops[0]);

const struct op *op_named(const char *name)
{
    for (unsigned i = 0; i < ops_n; i++) {
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    }
    fail_msg("no operation is called %s", name);
    return NULL;
}
