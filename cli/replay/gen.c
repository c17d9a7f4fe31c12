// SPDX-License-Identifier: Apache-2.0
/* gen.c - the tools of the generators, and the table of kinds. */
#include "gen.h"

#include "trace.h"

#include <stdlib.h>
#include <string.h>

/* ---- random numbers ------------------------------------------------------- */

uint32_t gen_below(struct gen *g, uint32_t n)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return (uint32_t)(((g->random >> 32) * n) >> 32);
}

/* The product of two uniform numbers: skewed enough, and the same everywhere, as
 * no logarithm is. */
uint32_t gen_skewed(struct gen *g, uint32_t mean)
{
    uint64_t a = gen_below(g, 2048) + 1, b = gen_below(g, 2048) + 1;
    uint64_t v = a * b * mean >> 20;

    return v ? (uint32_t)v : 1;
}

/* ---- lists ---------------------------------------------------------------- */

void gen_push(struct gen *g, struct gen_list *list, uint32_t id)
{
    if (list->n == list->room) {
        uint32_t room = list->room ? list->room * 2 : 256;
        uint32_t *ids = realloc(list->id, room * sizeof(*ids));

        if (!ids) {
            g->failed = true;
            return;
        }
        list->id = ids;
        list->room = room;
    }
    list->id[list->n++] = id;
}

static uint32_t take_at(struct gen_list *list, uint32_t at)
{
    uint32_t id = list->id[at];

    list->id[at] = list->id[--list->n];
    return id;
}

uint32_t gen_take_any(struct gen *g, struct gen_list *list)
{
    return take_at(list, gen_below(g, list->n));
}

/* The list is in order of age only roughly, since the last one moves up. */
uint32_t gen_take_old(struct gen *g, struct gen_list *list)
{
    return take_at(list, gen_below(g, list->n < 64 ? list->n : 64));
}

/* ---- operations ----------------------------------------------------------- */

static uint32_t new_id(struct gen *g, uint32_t frames)
{
    uint32_t id = g->spare.n > 0 ? g->spare.id[--g->spare.n] : g->ids++;

    if (id >= g->size_room) {
        uint32_t room = g->size_room ? g->size_room * 2 : 1024;
        uint32_t *size = realloc(g->size, room * sizeof(*size));

        if (!size) {
            g->failed = true;
            return id;
        }
        g->size = size;
        g->size_room = room;
    }
    g->size[id] = frames;
    g->used += frames;
    return id;
}

void gen_alloc(struct gen *g, struct gen_list *to, unsigned order, bool movable)
{
    uint32_t id = new_id(g, 1u << order);

    if (g->failed)
        return;
    fprintf(g->out, "alloc %u %u %c\n", id, order, movable ? 'm' : 'u');
    gen_push(g, to, id);
}

void gen_contig(struct gen *g, struct gen_list *to, uint32_t frames, uint32_t align)
{
    uint32_t id = new_id(g, frames);

    if (g->failed)
        return;
    fprintf(g->out, "contig %u %u %u\n", id, frames, align);
    gen_push(g, to, id);
}

void gen_free(struct gen *g, uint32_t id)
{
    fprintf(g->out, "free %u\n", id);
    g->used -= g->size[id];
    gen_push(g, &g->spare, id);
}

void gen_say(struct gen *g, const char *op, uint32_t number)
{
    fprintf(g->out, "%s %u\n", op, number);
}

void gen_leave(struct gen_list *list)
{
    free(list->id);
    *list = (struct gen_list){0};
}

void gen_free_all(struct gen *g, struct gen_list *list)
{
    while (list->n > 0)
        gen_free(g, list->id[--list->n]);
    gen_leave(list);
}

void gen_make_room(struct gen *g, struct gen_list *list, uint32_t frames)
{
    while (list->n > 0 && g->used + frames > g->frames)
        gen_free(g, gen_take_any(g, list));
}

/* ---- kinds ---------------------------------------------------------------- */

#define GEN_KINDS(X)                                                                               \
    X(build, "compilers: bursts of single frames, few of which survive", 4096, 9, 64)              \
    X(kv, "a key-value store whose values change their sizes", 4096, 9, 64)                        \
    X(netcache, "a page cache that fills memory, and network buffers of order 3", 4096, 9, 64)     \
    X(video, "a machine in use, of which video wants 64 MiB buffers now and then", 4096, 9, 128)   \
    X(inference, "key-value caches and workspaces of an inference server", 65536, 5, 96)

const struct replay_kind replay_kinds[] = {
#define GEN_ROW(name, brief, bytes, order, blocks) {#name, brief, bytes, order, blocks},
    GEN_KINDS(GEN_ROW)
#undef GEN_ROW
        {0},
};

static void (*const make[])(struct gen *) = {
#define GEN_ROW(name, brief, bytes, order, blocks) gen_##name,
    GEN_KINDS(GEN_ROW)
#undef GEN_ROW
};

const struct replay_kind *replay_find_kind(const char *name)
{
    for (const struct replay_kind *kind = replay_kinds; kind->name; kind++) {
        if (strcmp(kind->name, name) == 0)
            return kind;
    }
    return NULL;
}

bool replay_generate(FILE *out, const struct replay_kind *kind, uint32_t blocks, uint32_t seed)
{
    struct replay_shape shape = {kind->frame_bytes, kind->block_order, blocks};
    struct gen g = {.out = out,
                    .random = (seed + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15),
                    .block_frames = 1u << kind->block_order};
    const char *why;

    if (blocks < REPLAY_MIN_GENERATED || blocks > 4096 || !replay_shape_ok(&shape, &why))
        return false;
    g.frames = blocks << kind->block_order;
    fprintf(out, "klotski-trace %d frame=%u block-order=%u blocks=%u\n", REPLAY_VERSION,
            kind->frame_bytes, kind->block_order, blocks);
    fprintf(out, "# %s: %s; seed %u\n", kind->name, kind->brief, seed);
    make[kind - replay_kinds](&g);
    fputs("end\n", out);
    free(g.spare.id);
    free(g.size);
    return !g.failed;
}
