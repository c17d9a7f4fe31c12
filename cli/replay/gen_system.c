// SPDX-License-Identifier: Apache-2.0
/* gen_system.c - what kernels allocate for programs: a build, a page cache with
 * network buffers, video.  doc/TRACE.md has the sources of the figures. */
#include "gen.h"

/* ---- build ---------------------------------------------------------------- */

struct compiler {
    struct gen_list anonymous; /* goes when it exits */
    struct gen_list kernel;    /* its stack and page tables; go, too */
    uint32_t left;             /* frames that it is still going to ask for */
};

static void compiler_start(struct gen *g, struct compiler *c)
{
    c->left = gen_skewed(g, gen_percent(g, 14));
    gen_alloc(g, &c->kernel, 2, false); /* kernel stack of 16 KiB */
    for (int i = 0; i < 4; i++)
        gen_alloc(g, &c->kernel, 0, false); /* page tables */
}

/* One burst; a frame in 256 is a page table. */
static void compiler_step(struct gen *g, struct compiler *c)
{
    for (uint32_t n = 16 + gen_below(g, 48); n > 0 && c->left > 0; n--, c->left--) {
        if (c->left % 256 == 0)
            gen_alloc(g, &c->kernel, 0, false);
        gen_alloc(g, &c->anonymous, 0, true);
    }
}

/* The object file stays in the page cache, and a slab page for its name. */
static void compiler_exit(struct gen *g, struct compiler *c, struct gen_list *cache,
                          struct gen_list *slab)
{
    for (uint32_t n = c->anonymous.n / 24 + 2; n > 0; n--)
        gen_alloc(g, cache, 0, true);
    if (gen_chance(g, 25))
        gen_alloc(g, slab, gen_chance(g, 50) ? 1 : 0, false);
    gen_free_all(g, &c->anonymous);
    gen_free_all(g, &c->kernel);
}

/* A linker maps a huge page or two, and a large range. */
static void link_step(struct gen *g, struct gen_list *cache)
{
    struct gen_list large = {0};

    gen_make_room(g, cache, 4 * g->block_frames);
    gen_alloc(g, &large, 9, true);
    gen_alloc(g, &large, 9, true);
    gen_contig(g, &large, 2 * g->block_frames, g->block_frames);
    gen_free_all(g, &large);
}

void gen_build(struct gen *g)
{
    enum { JOBS = 4, COMPILES = 60, LINKS = 12 };
    struct compiler job[JOBS] = {0};
    struct gen_list cache = {0}, slab = {0};

    for (int i = 0; i < JOBS; i++)
        compiler_start(g, &job[i]);
    for (uint32_t done = 0; done < COMPILES && !g->failed;) {
        struct compiler *c = &job[gen_below(g, JOBS)];

        gen_make_room(g, &cache, 128);
        if (g->used + 128 > g->frames)
            c->left = 0;
        compiler_step(g, c);
        if (c->left > 0)
            continue;
        compiler_exit(g, c, &cache, &slab);
        if (++done % (COMPILES / LINKS) == 0)
            link_step(g, &cache);
        compiler_start(g, c);
    }
    for (int i = 0; i < JOBS; i++)
        compiler_exit(g, &job[i], &cache, &slab);
    gen_leave(&cache);
    gen_leave(&slab);
}

/* ---- page cache and network ------------------------------------------------ */

/* Readahead: a few pages of a file at a time; the cache makes room for itself. */
static void read_file(struct gen *g, struct gen_list *cache)
{
    uint32_t n = gen_skewed(g, 32);

    while (cache->n > 0 && g->used + n > gen_percent(g, 96))
        gen_free(g, gen_take_old(g, cache));
    for (; n > 0; n--)
        gen_alloc(g, cache, 0, true);
}

/* A burst of packets: the fragments that they are written into, 32 KiB each.  Most
 * go at once; a slow receiver holds on to some. */
static void packets(struct gen *g, struct gen_list *held, struct gen_list *cache)
{
    struct gen_list burst = {0};

    gen_make_room(g, cache, 8 * 24);
    for (uint32_t n = 1 + gen_below(g, 16); n > 0; n--)
        gen_alloc(g, gen_chance(g, 15) ? held : &burst, 3, false);
    gen_free_all(g, &burst);
    while (held->n > 12 || (held->n > 0 && gen_chance(g, 60)))
        gen_free(g, gen_take_any(g, held));
}

/* Direct I/O out of the page cache: a few of its frames are pinned for a while. */
static void direct_io(struct gen *g, struct gen_list *cache, struct gen_list *pinned, uint32_t most)
{
    while (pinned->n >= most) {
        uint32_t id = gen_take_old(g, pinned);

        gen_say(g, "unpin", id);
        gen_push(g, cache, id);
    }
    if (cache->n > 64) {
        uint32_t id = gen_take_any(g, cache);

        gen_say(g, "pin", id);
        gen_push(g, pinned, id);
    }
}

void gen_netcache(struct gen *g)
{
    enum { STEPS = 4000 };
    struct gen_list cache = {0}, held = {0}, pinned = {0}, ring = {0};

    for (int i = 0; i < 4; i++)
        gen_alloc(g, &ring, 3, false); /* the card's own rings */
    for (uint32_t step = 0; step < STEPS && !g->failed; step++) {
        read_file(g, &cache);
        if (gen_chance(g, 30))
            packets(g, &held, &cache);
        if (gen_chance(g, 5))
            direct_io(g, &cache, &pinned, 8);
        if (step % 500 == 499) { /* jumbo rings are set up anew */
            gen_make_room(g, &cache, 3 * g->block_frames);
            gen_contig(g, &ring, 2 * g->block_frames, g->block_frames);
            gen_free(g, gen_take_any(g, &ring));
        }
    }
    gen_leave(&pinned);
    gen_leave(&held);
    gen_leave(&ring);
    gen_leave(&cache);
}

/* ---- video ---------------------------------------------------------------- */

/* Programs and files come and go; the drivers' own memory hardly ever does. */
static void daily_use(struct gen *g, struct gen_list *memory, struct gen_list *driver)
{
    for (uint32_t n = gen_skewed(g, 128); n > 0; n--) {
        while (memory->n > 0 && g->used + 16 > gen_percent(g, 88))
            gen_free(g, gen_take_any(g, memory));
        if (gen_chance(g, 99) || driver->n > g->frames / 256)
            gen_alloc(g, memory, gen_chance(g, 94) ? 0 : 1 + gen_below(g, 3), true);
        else
            gen_alloc(g, driver, gen_below(g, 3), false);
    }
}

/* 64 MiB; a quarter of the zone if it is small.  What is cached makes room. */
static uint32_t video_frames(const struct gen *g)
{
    uint32_t quarter = g->frames / 4;

    return quarter < 16384 ? quarter : 16384;
}

void gen_video(struct gen *g)
{
    enum { SESSIONS = 12, USE = 60 };
    struct gen_list memory = {0}, driver = {0}, pinned = {0}, buffer = {0};

    for (uint32_t session = 0; session < SESSIONS && !g->failed; session++) {
        for (uint32_t i = 0; i < 4 * USE; i++) {
            daily_use(g, &memory, &driver);
            if (gen_chance(g, 10))
                direct_io(g, &memory, &pinned, 2);
        }
        gen_make_room(g, &memory, video_frames(g) + g->frames / 32);
        gen_contig(g, &buffer, video_frames(g), g->block_frames);
        for (uint32_t i = 0; i < USE; i++)
            daily_use(g, &memory, &driver);
        gen_free_all(g, &buffer);
    }
    gen_leave(&pinned);
    gen_leave(&driver);
    gen_leave(&memory);
}
