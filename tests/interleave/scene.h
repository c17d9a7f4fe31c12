// SPDX-License-Identifier: Apache-2.0
/* What the two actors play in: a small zone whose first block is the one that a
 * run empties, with a subject in its first frame, and the operations on it.
 *
 * After each play the scene is closed: the owner's contract, the contents of
 * everything that is left, the recounts of zone and pool; and what is left can be
 * moved once more, so that nobody holds anything still. */
#ifndef TESTS_INTERLEAVE_SCENE_H
#define TESTS_INTERLEAVE_SCENE_H

#include "interleave/stage.h"
#include "support/mover.h"

enum scene_kind {
    FRAMES = 1 << 0, /* the subject is a frame of a test owner */
    BATCH = 1 << 1,  /* the same; the owner takes batches, with prepare and finish */
    ABSENT = 1 << 2, /* the same, and the last block has no memory */
    SPARE = 1 << 3,  /* the same, and the last block is free */
    ZS = 1 << 4,     /* the subject is the only object of a zspage of one frame */
    STORE = 1 << 5,  /* the same, and the object is a store's block 0 (store.c) */
    DEDUP = 1 << 6,  /* a store whose blocks share objects (dedup.c) */
    AWAY = 1 << 7,   /* a store with a write-back target (away.c) */
    POOL = 1 << 9,   /* a pool of frames (units.c) */
    SHARE = 1 << 10, /* as FRAMES; the owner has a share (share.c) */
    AREA = 1 << 8,   /* as FRAMES, in an area that keeps ranges (area.c) */
    SHM = 1 << 11,   /* objects of a driver, and others (shm.c) */
};

enum { SCENE_BLOCKS = 4, SCENE_ORDER = 4, SCENE_OBJECTS = 12, SCENE_MORE = 32 };
enum { STORE_BLOCKS = 15, STORE_BLOCK = 4096, STORE_SECTORS = 8, COMMON = 1000 };

struct object {
    kl_handle handle;
    size_t size;
    uint64_t seed;
    bool there;
};

/* What an operation does to one block of the store. */
struct effect {
    unsigned block, from, n, begin, end; /* sectors; whole: from begin to end, and zeroes */
    bool whole, read;
    uint64_t seed; /* 0: zeroes */
};

struct scene {
    enum scene_kind kind;
    struct kl_zone *zone;
    struct mover *m;
    kl_owner_id plain;      /* an owner without callbacks */
    unsigned subject, pair; /* items: a single frame, two frames */
    unsigned stuck;         /* an item that is pinned, in block 2 */
    bool pinned;            /* the subject, from the beginning */
    bool left;              /* the test owner has gone */
    struct kl_zs *pool;
    struct object object[SCENE_OBJECTS];
    struct kl_store *store;                      /* the pool is its */
    uint64_t model[STORE_BLOCKS][STORE_SECTORS]; /* seeds, before the play */
    struct kl_zs_pin pin;
    bool open; /* pin is */
    struct kl_cma *area;
    uint64_t has; /* frames of the test owner, when it got its share */
    struct kl_pool *units;
    struct kl_shm *shm;
    kl_pfn held[2]; /* units in use, one for each; all zero: given back */
    /* By actor. */
    const struct op *op[2];
    int ret[2];
    struct kl_report report[2];
    kl_pfn range[2];
    uint32_t range_n[2];
    unsigned pins[2];
    kl_pfn mine[2]; /* of the area, or the pool of frames */
    uint32_t mine_n[2];
    struct effect effect[2], second[2];
    char got[2][STORE_BLOCK];
    const char *broken;
};

struct op {
    const char *name;
    unsigned kinds; /* of scenes, in which it is tried against all others */
    void (*run)(struct scene *s, unsigned who);
    int may_fail[4]; /* errors that are right, whatever goes on beside it */
    bool pinned;     /* wants the subject pinned before */
};
extern const struct op ops[];
extern const unsigned ops_n;

void scene_open(struct scene *s, enum scene_kind kind);
void scene_close(struct scene *s);
void scene_play(void *scene, unsigned who);
const struct op *op_named(const char *name);

/* store.c: a store of this scene's size, and what its blocks have. */
void blocks_open(struct scene *s, const struct kl_store_config *config);
void blocks_put(struct scene *s, unsigned block, unsigned from, unsigned to, uint64_t seed);
void blocks_drop(struct scene *s, unsigned block);
/* What an actor does, and its effect. */
void blocks_write(struct scene *s, unsigned who, unsigned block, unsigned begin, unsigned end,
                  uint64_t seed);
void blocks_part(struct scene *s, unsigned who, unsigned block, unsigned sector);
void blocks_read(struct scene *s, unsigned who, unsigned block);
void blocks_discard(struct scene *s, unsigned who, unsigned block);
void store_open(struct scene *s);
/* With both operations done, and nothing changed since. */
void store_judge(struct scene *s);
void op_st_write(struct scene *s, unsigned who);
void op_st_write_one(struct scene *s, unsigned who);
void op_st_write_two(struct scene *s, unsigned who);
void op_st_write_new(struct scene *s, unsigned who);
void op_st_move_one(struct scene *s, unsigned who);
void op_st_part(struct scene *s, unsigned who);
void op_st_part_one(struct scene *s, unsigned who);
void op_st_part_two(struct scene *s, unsigned who);
void op_st_read(struct scene *s, unsigned who);
void op_st_read_one(struct scene *s, unsigned who);
void op_st_read_two(struct scene *s, unsigned who);
void op_st_discard(struct scene *s, unsigned who);
void op_st_discard_one(struct scene *s, unsigned who);
void op_st_discard_two(struct scene *s, unsigned who);
void op_st_recompress(struct scene *s, unsigned who);

/* dedup.c */
void dedup_open(struct scene *s);
void op_dd_join(struct scene *s, unsigned who);
void op_dd_join_two(struct scene *s, unsigned who);
void op_dd_join_one(struct scene *s, unsigned who);
void op_dd_differ(struct scene *s, unsigned who);
void op_dd_cycle(struct scene *s, unsigned who);
void op_dd_write(struct scene *s, unsigned who);
void op_dd_write_two(struct scene *s, unsigned who);
void op_dd_write_one(struct scene *s, unsigned who);
void op_dd_part(struct scene *s, unsigned who);
void op_dd_part_two(struct scene *s, unsigned who);
void op_dd_part_one(struct scene *s, unsigned who);
void op_dd_read(struct scene *s, unsigned who);
void op_dd_read_two(struct scene *s, unsigned who);
void op_dd_read_one(struct scene *s, unsigned who);
void op_dd_discard(struct scene *s, unsigned who);
void op_dd_discard_one(struct scene *s, unsigned who);

/* away.c */
void away_scene(struct scene *s);
void op_wb_out(struct scene *s, unsigned who);
void op_wb_step(struct scene *s, unsigned who);
void op_wb_swap(struct scene *s, unsigned who);
void op_wb_write(struct scene *s, unsigned who);
void op_wb_write_away(struct scene *s, unsigned who);
void op_wb_part(struct scene *s, unsigned who);
void op_wb_part_away(struct scene *s, unsigned who);
void op_wb_read(struct scene *s, unsigned who);
void op_wb_read_away(struct scene *s, unsigned who);
void op_wb_discard(struct scene *s, unsigned who);
void op_wb_discard_away(struct scene *s, unsigned who);

/* area.c */
void area_open(struct scene *s);
/* With both done; then what they have goes back, and the area ends. */
void area_judge(struct scene *s);
void area_undo(struct scene *s);
void area_close(struct scene *s);
void op_ar_alloc(struct scene *s, unsigned who);
void op_ar_alloc_big(struct scene *s, unsigned who);
void op_ar_alloc_at(struct scene *s, unsigned who);
void op_ar_alloc_mixed(struct scene *s, unsigned who);
void op_ar_release(struct scene *s, unsigned who);
void op_ar_release_part(struct scene *s, unsigned who);
void op_ar_off(struct scene *s, unsigned who);
void op_ar_take(struct scene *s, unsigned who);
void op_ar_take_run(struct scene *s, unsigned who);
void op_ar_unmovable(struct scene *s, unsigned who);

/* units.c */
void units_open(struct scene *s);
void units_judge(struct scene *s);
void units_undo(struct scene *s);
void units_close(struct scene *s);
void op_pl_alloc(struct scene *s, unsigned who);
void op_pl_cycle(struct scene *s, unsigned who);
void op_pl_free(struct scene *s, unsigned who);
void op_pl_zero(struct scene *s, unsigned who);
void op_pl_prefill(struct scene *s, unsigned who);
void op_pl_trim(struct scene *s, unsigned who);

/* share.c */
void share_open(struct scene *s);
void share_judge(struct scene *s);
void op_sh_lower(struct scene *s, unsigned who);
void op_sh_lift(struct scene *s, unsigned who);

/* shm.c */
void objects_open(struct scene *s);
void objects_cut(struct scene *s);
void objects_sleep(struct scene *s, bool asleep);
void objects_judge(struct scene *s);
void objects_undo(struct scene *s);
void objects_close(struct scene *s);
void op_sm_give(struct scene *s, unsigned who);
void op_sm_write(struct scene *s, unsigned who);
void op_sm_read(struct scene *s, unsigned who);
void op_sm_pin(struct scene *s, unsigned who);
void op_sm_run(struct scene *s, unsigned who);
void op_sm_attach(struct scene *s, unsigned who);
void op_sm_sleep(struct scene *s, unsigned who);
void op_sm_unregister(struct scene *s, unsigned who);
void op_sm_destroy(struct scene *s, unsigned who);
void op_sm_offer(struct scene *s, unsigned who);
void op_sm_want(struct scene *s, unsigned who);
void op_sm_write_offered(struct scene *s, unsigned who);
void op_sm_read_offered(struct scene *s, unsigned who);
void op_sm_resize(struct scene *s, unsigned who);
void op_sm_write_sized(struct scene *s, unsigned who);
void op_sm_out(struct scene *s, unsigned who);
void op_sm_in(struct scene *s, unsigned who);
void op_sm_write_away(struct scene *s, unsigned who);
void op_sm_read_away(struct scene *s, unsigned who);

#endif
