// SPDX-License-Identifier: Apache-2.0
/* device_world.c - a zone of offsets, a heap in it, and the device behind: a model, or memory
 * that an engine copies.
 *
 * The model has a word for each frame of 64 KiB, which says whose it is; its engine copies these
 * words at once.  The other one has all the bytes, and an engine with a thread of its own.  Either
 * way a buffer is looked at as a whole when it is freed. */
#include "device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- the device ----------------------------------------------------------- */

static struct pace *reported; /* the engine's report has no place for it */

static void engine_done(struct kl_heap_batch *batch, int result)
{
    if (batch) /* none: it was to learn the rate */
        kl_heap_done(batch, result);
    pace_report(reported);
}

/* The engine's rate, before anything is there that it could spoil. */
static void learn_rate(struct world *w, uint64_t bytes)
{
    enum { TIMES = 24 };

    for (uint64_t i = 0; i < TIMES; i++) {
        uint64_t half = bytes / 2, n = w->block_bytes / 2;
        struct kl_copy copy = {.dst = i * n, .src = half + i * n, .bytes = n};

        pace_begin(w->pace);
        must(kl_linux_engine_submit(w->engine, &copy, 1, NULL), "a copy");
        pace_submitted(w->pace);
        kl_linux_engine_wait(w->engine);
        pace_end(w->pace, n, n);
    }
    pace_learnt(w->pace);
}

static int submit(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch)
{
    struct world *w = ctx;

    if (w->engine)
        return kl_linux_engine_submit(w->engine, copies, n, batch);
    for (size_t i = 0; i < n; i++)
        memcpy(&w->tag[copies[i].dst / FRAME], &w->tag[copies[i].src / FRAME],
               (copies[i].bytes + FRAME - 1) / FRAME * sizeof(w->tag[0]));
    kl_heap_done(batch, 0);
    return 0;
}

static void moved(void *ctx, const struct kl_heap_move *move)
{
    (void)ctx, (void)move;
}

static uint64_t word(uint32_t id, uint64_t i)
{
    return (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(id + 1) << 32;
}

/* Writes the contents, or compares them; false: they are wrong. */
static bool contents(struct world *w, uint32_t id, bool write)
{
    uint64_t offset, bytes, n;
    uint64_t *at;

    must(kl_heap_where(w->heap, w->item[id].id, &offset, &bytes), "where");
    at = w->engine ? (uint64_t *)(void *)(w->memory + offset) : &w->tag[offset / FRAME];
    n = w->engine ? w->item[id].bytes / 8 : (w->item[id].bytes + FRAME - 1) / FRAME;
    for (uint64_t i = 0; i < n; i++) {
        if (write)
            at[i] = word(id, i);
        else if (at[i] != word(id, i))
            return false;
    }
    return true;
}

static void open_device(struct world *w, uint64_t bytes, struct pace *pace)
{
    struct kl_linux_engine_config config = {
        .size = sizeof(config), .bytes = bytes, .done = engine_done};

    if (!pace) {
        w->tag = need(bytes / FRAME * sizeof(*w->tag));
        return;
    }
    w->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (w->memory == MAP_FAILED)
        die("no memory for a device");
    config.base = w->memory;
    reported = w->pace = pace;
    must(kl_linux_engine_create(&config, &w->engine), "engine");
    learn_rate(w, bytes);
}

/* ---- begin and end -------------------------------------------------------- */

void world_open(struct world *w, uint64_t bytes, uint32_t ids, bool moves, struct pace *pace)
{
    static const struct kl_heap_ops ops = {
        .size = sizeof(ops), .name = "bench", .submit = submit, .moved = moved};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_backing backing;
    unsigned order = 0;

    *w = (struct world){.moves = moves, .ids = ids, .block_bytes = bytes / BLOCKS};
    while ((uint64_t)FRAME << order < w->block_bytes)
        order++;
    must(kl_backing_offsets(&backing, bytes, 16, order), "backing");
    config.backing = &backing;
    config.flags = moves ? 0 : KL_ZONE_NO_MIGRATION;
    must(kl_zone_create(&config, &w->zone), "zone");
    must(kl_heap_create(w->zone, &ops, w, &w->heap), "heap");
    w->item = need(ids * sizeof(*w->item));
    open_device(w, bytes, pace);
}

static void drop(struct world *w, uint32_t id)
{
    struct item *item = &w->item[id];

    if (!contents(w, id, false))
        die("the contents of buffer %u are wrong", id);
    must(kl_heap_free(w->heap, item->id), "free");
    w->in_use -= item->bytes;
    item->there = false;
}

void world_close(struct world *w)
{
    uint64_t bytes = w->block_bytes * BLOCKS;
    const char *what = NULL;

    if (w->under_way)
        world_pass_end(w);
    for (uint32_t i = 0; i < w->ids; i++) {
        for (; w->item[i].uses > 0; w->item[i].uses--)
            must(kl_heap_unuse(w->heap, w->item[i].id), "unuse");
        if (w->item[i].there)
            drop(w, i);
    }
    must(kl_heap_destroy(w->heap), "heap's end");
    if (kl_zone_check(w->zone, &what) != 0)
        die("the recount is wrong: %s", what);
    must(kl_zone_destroy(w->zone), "zone's end");
    kl_linux_engine_destroy(w->engine);
    if (w->memory)
        munmap(w->memory, bytes);
    free(w->tag);
    free(w->item);
}

struct kl_zone_stats world_stats(const struct world *w)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(w->zone, &s);
    return s;
}

/* ---- passes --------------------------------------------------------------- */

uint64_t world_pass_begin(struct world *w, uint64_t most)
{
    struct kl_pass pass = {.size = sizeof(pass), .max_bytes = most};
    int err;

    if (w->pace)
        pace_begin(w->pace);
    err = kl_heap_pass(w->heap, &pass);
    if (err && err != -KL_EAGAIN)
        must(err, "pass");
    if (pass.bytes > most)
        die("a pass moves more than it may");
    if (pass.moves == 0)
        return 0;
    if (w->pace)
        pace_submitted(w->pace);
    w->passes++;
    w->pass_bytes += pass.bytes;
    w->pass_moves += pass.moves;
    w->under_way = pass.bytes;
    w->most = most;
    return pass.bytes;
}

void world_pass_end(struct world *w)
{
    if (w->engine)
        kl_linux_engine_wait(w->engine);
    if (w->pace)
        pace_end(w->pace, w->under_way, w->most);
    w->under_way = 0;
}

/* ---- events --------------------------------------------------------------- */

static void take(struct world *w, uint32_t id, uint64_t bytes)
{
    struct item *item = &w->item[id];
    int err = kl_heap_alloc(w->heap, bytes, KL_NO_MOVE, NULL, &item->id);

    if (err && err != -KL_ENOMEM)
        must(err, "alloc");
    w->allocs++;
    if (err) {
        w->refused++;
        return;
    }
    item->bytes = bytes;
    item->there = true;
    w->in_use += bytes;
    contents(w, id, true);
}

/* A buffer that is being copied is left out. */
static void use(struct world *w, uint32_t id)
{
    uint64_t offset;
    int err = kl_heap_use(w->heap, w->item[id].id, KL_ASYNC, &offset);

    if (err && err != -KL_EBUSY && err != -KL_EAGAIN)
        must(err, "use");
    if (err)
        w->skipped++;
    else
        w->item[id].uses++;
}

/* Who frees what is in use frees it after that. */
static void unuse(struct world *w, uint32_t id)
{
    struct item *item = &w->item[id];

    if (item->uses == 0)
        return;
    must(kl_heap_unuse(w->heap, item->id), "unuse");
    item->uses--;
    if (item->dying && item->uses == 0)
        drop(w, id);
}

void world_do(struct world *w, const struct event *event)
{
    struct item *item = &w->item[event->id];

    switch (event->op) {
    case OP_ALLOC:
        take(w, event->id, event->bytes);
        break;
    case OP_FREE:
        item->dying = true;
        if (item->there && item->uses == 0)
            drop(w, event->id);
        break;
    case OP_USE:
        if (item->there && !item->dying)
            use(w, event->id);
        break;
    case OP_UNUSE:
        unuse(w, event->id);
        break;
    default:
        break;
    }
}
