// SPDX-License-Identifier: Apache-2.0
/* device_traces.c - what a game, and a server of a language model, ask of a device's memory.
 *
 * Sizes are arithmetic from formats and models that are public; how many there are of each, and how
 * long they live, is made up unless a source is named.  For a zone of 2 GiB; for one
 * of a quarter all sizes are a quarter (textures of half the side).
 *
 * games: a world in cells, of which those near the player are resident.
 *   textures       square, with all mips, BC7 (1 byte a texel) or BC1 (half of that): sides 512
 *                  (one in five), 1024 (two), 2048 (one and a half), 4096 (half of one)
 *   meshes         vertices of 32 bytes and indices, 768 KiB on average, skewed
 *   cells          12 textures and 30 meshes; one in eight textures is shared, and stays when the
 * cell goes.  The player enters a cell every 24 frames; eight buffers a frame are streamed in; out
 * goes the oldest of four cells, when the zone is 88 % full ring buffers   3 of 8 MiB (one for each
 * frame in flight), the processor writes into them: in use from the beginning to the end render
 * targets 8 of 4 bytes a pixel, 2 of 8, and 4 shadow maps of 2048 x 2048 x 4 bytes; all go and come
 * anew when the resolution changes between 1280 x 720, 1920 x 1080 and 2560 x 1440, every 400
 * frames in use         24 buffers, for two frames
 *
 * inference: a server of a model of the shape of Llama 3.2 1B (config.json: 16 layers, hidden
 * size 2048, intermediate size 8192, 8 key-value heads of 64).
 *   weights        4 bits each: three tensors of 8 MiB a layer, two of 2 MiB, two of 512 KiB.  One
 * of two models goes and another one comes every 1500 steps KV cache       16 tokens a block (Kwon
 * and others, PagedAttention, SOSP 2023), 16 bits: 16 x 16 x 2 x 8 x 64 x 2 bytes = 512 KiB.
 * Prompts of 161, answers of 338 tokens on average (the paper's figures of ShareGPT); a step is a
 * token for each of up to 64 sequences; new ones begin while the zone is less than 88 % full
 *   adapters       LoRA of rank 16 for four matrices a layer: 64 buffers of 128 KiB; 12 are kept,
 *                  every 40 steps one goes (any) and one comes
 *   activations    2048 x 2 bytes x 8 a token of this step, of which there are up to 1000; for that
 * step in use         24 blocks, for two steps
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_MIB (UINT64_C(1) << 20)

struct list {
    uint32_t *id;
    uint32_t n, room;
};

struct gen {
    struct trace trace;
    uint64_t rng, zone, held; /* held: rounded as the zone does */
    unsigned shift;           /* sizes are divided by 2^shift */
    uint64_t *size;           /* by id; 0: it is free */
    uint32_t sizes;
    struct list live; /* some are free again */
    struct list used[2];
    uint32_t ticks;
};

/* ---- tools ---------------------------------------------------------------- */

static uint32_t below(struct gen *g, uint32_t n)
{
    return (uint32_t)((rng_next(&g->rng) & UINT32_MAX) * (uint64_t)n >> 32);
}

/* About the mean, often less and now and then four times as much. */
static uint64_t skewed(struct gen *g, uint64_t mean)
{
    uint64_t a = below(g, 2048) + 1, b = below(g, 2048) + 1;
    uint64_t v = (a * b * mean) >> 20;

    return v ? v : 1;
}

static void *grown(void *mem, uint32_t *room, size_t each)
{
    *room = *room ? *room * 2 : 256;
    mem = realloc(mem, *room * each);
    if (!mem)
        die("no memory for a trace");
    return mem;
}

static void push(struct list *list, uint32_t id)
{
    if (list->n == list->room)
        list->id = grown(list->id, &list->room, sizeof(*list->id));
    list->id[list->n++] = id;
}

static void emit(struct gen *g, enum op op, uint32_t id, uint64_t bytes)
{
    struct trace *t = &g->trace;

    if (t->n == t->room) {
        t->room = t->room ? t->room * 2 : 4096;
        t->event = realloc(t->event, t->room * sizeof(*t->event));
        if (!t->event)
            die("no memory for a trace");
    }
    t->event[t->n++] = (struct event){.op = op, .id = id, .bytes = bytes};
}

static uint64_t rounded(uint64_t bytes)
{
    uint64_t r = FRAME;

    while (r < bytes)
        r *= 2;
    return r;
}

static uint32_t add(struct gen *g, uint64_t bytes)
{
    uint32_t id = g->trace.ids++;

    bytes = (bytes >> g->shift) ? bytes >> g->shift : 1;
    if (id >= g->sizes)
        g->size = grown(g->size, &g->sizes, sizeof(*g->size));
    g->size[id] = bytes;
    g->held += rounded(bytes);
    push(&g->live, id);
    emit(g, OP_ALLOC, id, bytes);
    return id;
}

static void drop(struct gen *g, uint32_t id)
{
    if (!g->size[id])
        return;
    g->held -= rounded(g->size[id]);
    g->size[id] = 0;
    emit(g, OP_FREE, id, 0);
}

static void drop_all(struct gen *g, struct list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        drop(g, list->id[i]);
    list->n = 0;
}

static bool is_full(const struct gen *g, uint64_t more)
{
    return g->held + more > g->zone / 100 * 88;
}

static void forget_free(struct gen *g)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->live.n; i++) {
        if (g->size[g->live.id[i]])
            g->live.id[n++] = g->live.id[i];
    }
    g->live.n = n;
}

/* The device begins with some buffers, and is through with those of two ticks ago. */
static void tick(struct gen *g)
{
    struct list *used = &g->used[g->ticks % 2];

    for (uint32_t i = 0; i < used->n; i++)
        emit(g, OP_UNUSE, used->id[i], 0);
    used->n = 0;
    forget_free(g);
    for (uint32_t i = 0; i < 24 && g->live.n > 0; i++) {
        uint32_t id = g->live.id[below(g, g->live.n)];

        push(used, id);
        emit(g, OP_USE, id, 0);
    }
    emit(g, OP_TICK, 0, 0);
    if (++g->ticks % 64 == 0)
        emit(g, OP_ASK, 0, 0);
}

static struct gen begin(uint64_t zone_bytes, uint64_t seed)
{
    struct gen g = {.zone = zone_bytes, .rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1};

    for (int i = 0; i < 8; i++)
        rng_next(&g.rng);
    while (zone_bytes << g.shift < UINT64_C(2) << 30)
        g.shift++;
    return g;
}

static struct trace end(struct gen *g)
{
    for (int i = 0; i < 2; i++)
        free(g->used[i].id);
    free(g->live.id);
    free(g->size);
    return g->trace;
}

void trace_free(struct trace *trace)
{
    free(trace->event);
}

/* ---- games ---------------------------------------------------------------- */

enum { CELLS = 256, TEXTURES = 12, MESHES = 30, CELL_TICKS = 24, STREAMED = 8, TARGETS = 14 };

struct game {
    struct list cell[CELLS]; /* a ring, oldest first */
    uint32_t first, cells;
    uint32_t wanted; /* buffers of the newest cell that are still to come */
    struct list targets, shared;
};

static uint64_t texture(struct gen *g)
{
    static const uint32_t side[10] = {512, 512, 1024, 1024, 1024, 1024, 2048, 2048, 2048, 4096};
    uint64_t texels = side[below(g, 10)];

    texels *= texels;
    return (texels + texels / 3) >> (below(g, 10) < 3);
}

/* Cells go until there is room; of the four oldest any. */
static void leave_cells(struct gen *g, struct game *game, uint64_t more)
{
    while (is_full(g, more) && game->cells > 1) {
        uint32_t most = game->cells - 1 < 4 ? game->cells - 1 : 4;
        struct list *oldest = &game->cell[game->first % CELLS];
        struct list *any = &game->cell[(game->first + below(g, most)) % CELLS];
        struct list swap = *any;

        *any = *oldest;
        *oldest = swap;
        drop_all(g, oldest);
        game->first++;
        game->cells--;
    }
    while (is_full(g, more) && game->shared.n > 0)
        drop(g, game->shared.id[--game->shared.n]);
}

static void enter_cell(struct gen *g, struct game *game)
{
    if (game->cells == CELLS)
        leave_cells(g, game, g->zone);
    game->cells++;
    game->wanted = TEXTURES + MESHES;
    if (game->shared.n > 200) /* who remembers what these were for */
        drop(g, game->shared.id[--game->shared.n]);
}

static void stream(struct gen *g, struct game *game)
{
    struct list *cell;

    for (uint32_t i = 0; i < STREAMED && game->wanted > 0; i++, game->wanted--) {
        bool is_texture = below(g, TEXTURES + MESHES) < TEXTURES;
        uint64_t bytes = is_texture ? texture(g) : skewed(g, 768 << 10);

        leave_cells(g, game, rounded(bytes >> g->shift));
        cell = &game->cell[(game->first + game->cells - 1) % CELLS];
        push(is_texture && below(g, 8) == 0 ? &game->shared : cell, add(g, bytes));
    }
}

static void resize(struct gen *g, struct game *game)
{
    static const uint64_t pixels[3] = {UINT64_C(1280) * 720, UINT64_C(1920) * 1080,
                                       UINT64_C(2560) * 1440};
    uint64_t n = pixels[below(g, 3)];

    drop_all(g, &game->targets);
    leave_cells(g, game, g->zone / 8);
    for (int i = 0; i < TARGETS; i++) {
        uint64_t bytes = i < 8 ? n * 4 : i < 10 ? n * 8 : UINT64_C(2048) * 2048 * 4;

        push(&game->targets, add(g, bytes));
    }
}

struct trace trace_games(uint64_t zone_bytes, uint32_t ticks, uint64_t seed)
{
    struct gen g = begin(zone_bytes, seed);
    struct game *game = need(sizeof(*game));

    for (int i = 0; i < 3; i++) {
        uint32_t ring = add(&g, 8 * ROUND_MIB);

        emit(&g, OP_USE, ring, 0);
    }
    for (uint32_t i = 0; i < ticks; i++) {
        if (i % 400 == 0)
            resize(&g, game);
        if (i % CELL_TICKS == 0)
            enter_cell(&g, game);
        stream(&g, game);
        tick(&g);
    }
    for (int i = 0; i < CELLS; i++)
        free(game->cell[i].id);
    free(game->targets.id);
    free(game->shared.id);
    free(game);
    return end(&g);
}

/* ---- inference ------------------------------------------------------------ */

enum { LAYERS = 16, SEQUENCES = 64, TOKENS = 16, ADAPTERS = 12, MODELS = 2 };
#define KV_BLOCK (UINT64_C(512) << 10)

struct sequence {
    struct list cache;
    uint32_t tokens, left;
};

struct server {
    struct sequence sequence[SEQUENCES];
    struct list model[MODELS], adapter[ADAPTERS], scratch;
};

static void load_model(struct gen *g, struct list *model)
{
    drop_all(g, model);
    for (int i = 0; i < LAYERS; i++) {
        for (int k = 0; k < 7; k++)
            push(model, add(g, k < 3 ? 8 * ROUND_MIB : k < 5 ? 2 * ROUND_MIB : ROUND_MIB / 2));
    }
}

static void load_adapter(struct gen *g, struct list *adapter)
{
    drop_all(g, adapter);
    for (int i = 0; i < LAYERS * 4; i++)
        push(adapter, add(g, 128 << 10));
}

static void grow(struct gen *g, struct sequence *s, uint32_t tokens)
{
    s->tokens += tokens;
    while (s->cache.n * TOKENS < s->tokens)
        push(&s->cache, add(g, KV_BLOCK));
}

/* How many tokens' activations this step needs. */
static uint32_t step(struct gen *g, struct server *server)
{
    uint32_t tokens = 0;

    for (int i = 0; i < SEQUENCES; i++) {
        struct sequence *s = &server->sequence[i];

        if (s->left > 0 && !is_full(g, 0)) {
            grow(g, s, 1);
            s->left--;
            tokens++;
        } else if (s->left == 0 && !is_full(g, g->zone / 50) && tokens < 300) {
            uint32_t prompt = (uint32_t)skewed(g, 161);

            drop_all(g, &s->cache);
            s->tokens = 0;
            s->left = (uint32_t)skewed(g, 338);
            grow(g, s, prompt);
            tokens += prompt;
        } else if (s->left == 0) {
            drop_all(g, &s->cache);
        }
    }
    return tokens;
}

/* Sequences are preempted: what they had is computed anew some day. */
static void preempt(struct gen *g, struct server *server, uint64_t more)
{
    for (int i = 0; i < SEQUENCES && is_full(g, more); i++) {
        struct sequence *s = &server->sequence[below(g, SEQUENCES)];

        drop_all(g, &s->cache);
        s->left = 0;
    }
}

struct trace trace_inference(uint64_t zone_bytes, uint32_t ticks, uint64_t seed)
{
    struct gen g = begin(zone_bytes, seed);
    struct server *server = need(sizeof(*server));

    for (uint32_t i = 0; i < ticks; i++) {
        uint32_t tokens;

        if (i % 1500 == 0) {
            drop_all(&g, &server->model[i / 1500 % MODELS]);
            preempt(&g, server, g.zone / 4);
            load_model(&g, &server->model[i / 1500 % MODELS]);
        }
        if (i % 40 == 0)
            load_adapter(&g, &server->adapter[below(&g, ADAPTERS)]);
        tokens = step(&g, server);
        preempt(&g, server, 0);
        push(&server->scratch, add(&g, tokens * UINT64_C(2048) * 2 * 8 + 1));
        tick(&g);
        drop_all(&g, &server->scratch);
    }
    for (int i = 0; i < SEQUENCES; i++)
        free(server->sequence[i].cache.id);
    for (int i = 0; i < ADAPTERS; i++)
        free(server->adapter[i].id);
    for (int i = 0; i < MODELS; i++)
        free(server->model[i].id);
    free(server->scratch.id);
    free(server);
    return end(&g);
}
