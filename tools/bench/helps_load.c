// SPDX-License-Identifier: Apache-2.0
/* helps_load.c - the history of two zones: a store, pools and an area at work.
 *
 * A chunk is planned once and done in both worlds, the one or the other first by turns.
 * The plan depends on the seed and on what was planned before, never on what a world
 * could do: what it refuses is counted, and lacks there. */
#include "helps.h"

#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world world[WORLDS];
uint32_t zone_frames;

static const unsigned pool_order[POOLS] = {0, 2, 4};

/* What is planned: the state of both worlds, were nothing refused. */
static struct {
    const struct corpus *corpus;
    uint16_t *packed;      /* bytes that a page of the corpus takes */
    uint32_t page[BLOCKS]; /* as world.has */
    uint32_t last[BLOCKS]; /* the chunk that it was planned in, and 1: once in each */
    uint8_t units[USERS];  /* less one, of one that is there */
    uint8_t pool[USERS];
    bool there[USERS];
    uint64_t store_bytes, used_frames;
    uint32_t chunk;
    uint32_t aim; /* per cent of the zone */
    uint64_t random;
} plan;

static uint32_t below(uint32_t n)
{
    return (uint32_t)((rng_next(&plan.random) & UINT32_MAX) * n >> 32);
}

struct kl_zone_stats zone_stats(const struct world *w)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(w->zone, &s);
    return s;
}

/* ---- begin ---- */

static void open_zone(struct world *w, bool on)
{
    const struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = (uint64_t)zone_frames * PAGE};
    const struct kl_zone_marks marks = {
        .size = sizeof(marks), .waste_start = 100, .waste_stop = 50, .waste_blocks = 4};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .flags = KL_ZONE_POPULATE};
    const struct kl_cma_config area = {
        .size = sizeof(area), .name = "device", .frames = AREA, .align = 512};

    must(kl_linux_backing_create(&memory, &w->backing), "backing");
    config.backing = kl_linux_backing_get(w->backing);
    must(kl_zone_create(&config, &w->zone), "zone");
    kl_zone_set_migration(w->zone, on);
    must(kl_zone_set_marks(w->zone, &marks), "marks");
    must(kl_owner_register(w->zone, NULL, NULL, &w->owner), "owner");
    must(kl_cma_create(w->zone, &area, &w->area), "area");
}

static void open_clients(struct world *w)
{
    struct kl_codec lz4;
    struct kl_store_config store = {
        .size = sizeof(store), .blocks = BLOCKS, .block_bytes = PAGE, .codec = &lz4};

    must(kl_linux_codec("lz4", 0, &lz4), "lz4");
    must(kl_store_create(w->zone, &store, &w->store), "store");
    for (unsigned i = 0; i < POOLS; i++) {
        const struct kl_pool_config pool = {
            .size = sizeof(pool), .order = pool_order[i], .limit = 2u * MIB >> pool_order[i]};

        must(kl_pool_create(w->zone, &pool, &w->pool[i]), "pool");
    }
}

void load_open(const struct corpus *corpus, uint64_t seed, uint32_t chunks)
{
    char out[LZ4_COMPRESSBOUND(PAGE)];

    plan.corpus = corpus;
    plan.random = seed;
    plan.packed = need(corpus->pages * sizeof(*plan.packed));
    for (uint32_t i = 0; i < corpus->pages; i++) {
        int n = LZ4_compress_default((const char *)corpus_page(corpus, i), out, PAGE, sizeof(out));

        plan.packed[i] = same_filled(corpus_page(corpus, i)) ? 0 : (uint16_t)(n < PAGE ? n : PAGE);
    }
    for (unsigned i = 0; i < WORLDS; i++) {
        open_zone(&world[i], i == ON);
        open_clients(&world[i]);
        for (unsigned k = 0; k < KINDS; k++)
            world[i].ns_each[k] = need((size_t)chunks * sizeof(double));
    }
}

/* ---- the plan of a chunk ---- */

struct op {
    uint32_t block, page; /* page: as world.has; 0: a trim */
};

struct use {
    uint32_t user, frames; /* 0: it goes */
};

static bool full(void)
{
    return plan.store_bytes / PAGE + plan.used_frames > (uint64_t)zone_frames * plan.aim / 100;
}

/* A block by chance that has something, or has not. */
static uint32_t any_block(bool written)
{
    uint32_t block = below(BLOCKS);

    while ((plan.page[block] != 0) != written || plan.last[block] == plan.chunk + 1)
        block = below(BLOCKS);
    plan.last[block] = plan.chunk + 1;
    return block;
}

static struct op plan_op(void)
{
    bool again = below(4) == 0, drop = !again && full();
    struct op op = {.block = any_block(again || drop),
                    .page = drop ? 0 : 1 + below(plan.corpus->pages)};
    uint32_t old = plan.page[op.block];

    plan.store_bytes -= old ? plan.packed[old - 1] : 0;
    plan.store_bytes += op.page ? plan.packed[op.page - 1] : 0;
    plan.page[op.block] = op.page;
    return op;
}

static struct use plan_use(uint32_t user)
{
    uint32_t order, units;
    struct use use = {.user = user};

    if (plan.there[user]) {
        order = pool_order[plan.pool[user]];
        plan.used_frames -= ((uint32_t)plan.units[user] + 1) << order;
    } else {
        plan.pool[user] = (uint8_t)below(POOLS);
        order = pool_order[plan.pool[user]];
        units = (1 + below(BURST)) >> order;
        units = units ? units : 1;
        plan.units[user] = (uint8_t)(units - 1);
        use.frames = units << order;
        plan.used_frames += use.frames;
    }
    plan.there[user] = !plan.there[user];
    return use;
}

/* ---- what a world does of it ---- */

static void do_store(struct world *w, const struct op *op)
{
    int err;

    if (op->page == 0)
        err = kl_store_discard(w->store, op->block, 0, PAGE);
    else
        err = kl_store_write(w->store, op->block, 0, corpus_page(plan.corpus, op->page - 1), PAGE);
    if (err == 0)
        w->has[op->block] = op->page;
    else if (err != -KL_ENOSPC)
        must(err, "store");
    else
        w->refused[op->page ? WRITE : TRIM]++;
}

static void do_use(struct world *w, const struct use *use)
{
    struct kl_pool *pool = w->pool[plan.pool[use->user]];
    kl_pfn *unit = w->unit[use->user];
    uint32_t n = (uint32_t)plan.units[use->user] + 1;

    for (uint32_t i = 0; i < n; i++) {
        if (use->frames == 0) {
            if (unit[i].v)
                must(kl_pool_free(pool, unit[i]), "a unit's end");
            unit[i] = (kl_pfn){0};
        } else if (kl_pool_alloc(pool, 0, &unit[i]) == 0) {
            memset(kl_frame_addr(w->zone, unit[i]), 0xa5, 64);
        } else {
            unit[i] = (kl_pfn){0};
            w->refused[USE]++;
        }
    }
    w->done[USE] += n;
}

static void release_range(struct world *w)
{
    if (w->range_frames > 0)
        must(kl_cma_release(w->area, w->range, w->range_frames), "release");
    w->range_frames = 0;
}

static void do_drive(struct world *w, uint32_t frames)
{
    release_range(w);
    if (kl_cma_alloc(w->area, frames, 1, KL_CMA_ANY_CONTENTS, KL_SYNC, &w->range, NULL) == 0)
        w->range_frames = frames;
    else
        w->refused[DRIVE]++;
    w->done[DRIVE]++;
}

static void do_step(struct world *w)
{
    struct kl_step step = {.size = sizeof(step), .budget = STEP_BUDGET, .flags = KL_STEP_WANTED};

    kl_zone_step(w->zone, &step, NULL);
    w->done[STEP]++;
}

/* The time since *start is that of n operations of a kind. */
static void lap(struct world *w, unsigned kind, uint32_t chunk, uint64_t n, uint64_t *start)
{
    uint64_t now = cpu_ns();

    w->ns[kind] += now - *start;
    w->ns_each[kind][chunk] = n ? (double)(now - *start) / (double)n : 0;
    *start = cpu_ns();
}

struct chunk {
    struct op op[CHUNK];
    struct use use[USES];
    uint32_t frames; /* a device's; 0: not in this chunk */
};

static void do_chunk(struct world *w, const struct chunk *c, uint32_t nr)
{
    uint64_t n[2] = {0}, units = w->done[USE], start = cpu_ns();

    for (unsigned kind = WRITE; kind <= TRIM; kind++) {
        for (unsigned i = 0; i < CHUNK; i++) {
            if ((c->op[i].page == 0) != (kind == TRIM))
                continue;
            do_store(w, &c->op[i]);
            n[kind]++;
        }
        w->done[kind] += n[kind];
        lap(w, kind, nr, n[kind], &start);
    }
    for (unsigned i = 0; i < USES; i++)
        do_use(w, &c->use[i]);
    lap(w, USE, nr, w->done[USE] - units, &start);
    if (c->frames > 0)
        do_drive(w, c->frames);
    lap(w, DRIVE, nr, c->frames > 0, &start);
    do_step(w);
    lap(w, STEP, nr, 1, &start);
}

void load_chunk(uint32_t nr)
{
    static struct chunk c;
    bool taken[USERS] = {false};
    unsigned first = nr % 2;

    if (nr % EPOCH == 0)
        plan.aim = 58 + below(35);
    plan.chunk = nr + 1; /* 0: to fill */
    for (unsigned i = 0; i < CHUNK; i++)
        c.op[i] = plan_op();
    for (unsigned i = 0; i < USES; i++) { /* each user once, for the plan has the last of them */
        do
            c.use[i].user = below(USERS);
        while (taken[c.use[i].user]);
        taken[c.use[i].user] = true;
        c.use[i] = plan_use(c.use[i].user);
    }
    c.frames = nr % DEVICE == DEVICE / 2 ? (1 + below(16)) * MIB : 0;
    do_chunk(&world[first], &c, nr);
    do_chunk(&world[1 - first], &c, nr);
}

void load_idle(void)
{
    release_range(&world[OFF]);
    release_range(&world[ON]);
}

/* Writes only, until the zones are as full as planned. */
void load_fill(void)
{
    plan.aim = 75;
    while (!full()) {
        struct op op = {.block = any_block(false), .page = 1 + below(plan.corpus->pages)};

        plan.store_bytes += plan.packed[op.page - 1];
        plan.page[op.block] = op.page;
        do_store(&world[OFF], &op);
        do_store(&world[ON], &op);
    }
}

/* ---- the end ---- */

static void look_at(struct world *w)
{
    static const unsigned char zero[PAGE];
    unsigned char got[PAGE];

    for (uint32_t i = 0; i < BLOCKS; i++) {
        must(kl_store_read(w->store, i, 0, got, PAGE), "a block");
        if (memcmp(got, w->has[i] ? corpus_page(plan.corpus, w->has[i] - 1) : zero, PAGE) != 0)
            die("block %" PRIu32 " is damaged", i);
    }
    must(kl_store_check(w->store, NULL), "the store's recount");
    must(kl_cma_check(w->area, NULL), "the area's recount");
    must(kl_zone_check(w->zone, NULL), "the zone's recount");
}

static void close_world(struct world *w)
{
    look_at(w);
    release_range(w);
    for (uint32_t user = 0; user < USERS; user++) {
        if (plan.there[user])
            do_use(w, &(struct use){.user = user});
    }
    for (unsigned i = 0; i < POOLS; i++)
        must(kl_pool_destroy(w->pool[i]), "pool's end");
    must(kl_store_destroy(w->store), "store's end");
    must(kl_cma_destroy(w->area), "area's end");
    must(kl_owner_unregister(w->zone, w->owner), "owner's end");
    must(kl_zone_destroy(w->zone), "zone's end");
    kl_linux_backing_destroy(w->backing);
    for (unsigned k = 0; k < KINDS; k++)
        free(w->ns_each[k]);
}

void load_close(void)
{
    close_world(&world[OFF]);
    close_world(&world[ON]);
    free(plan.packed);
}
