// SPDX-License-Identifier: Apache-2.0
/* gen_server.c - what servers allocate for themselves: a key-value store, an
 * inference server.  doc/TRACE.md has the sources of the figures. */
#include "gen.h"

/* ---- key-value store ------------------------------------------------------- */

/* Values of one phase lie around one order; one in eight is larger or smaller. */
static unsigned value_order(struct gen *g, unsigned usual)
{
    if (gen_chance(g, 88))
        return usual;
    return usual > 0 && gen_chance(g, 50) ? usual - 1 : usual + 1;
}

static void put_value(struct gen *g, struct gen_list *values, unsigned usual)
{
    unsigned order = value_order(g, usual);

    while (values->n > 0 && g->used + (1u << order) > gen_percent(g, 92))
        gen_free(g, gen_take_any(g, values));
    gen_alloc(g, values, order, true);
}

/* A snapshot is written: some values are pinned while the disk reads them. */
static void snapshot(struct gen *g, struct gen_list *values)
{
    for (uint32_t i = 0; i < 16 && i < values->n; i++)
        gen_say(g, "pin", values->id[i]);
    gen_contig(g, values, 64, 64); /* its buffer */
    for (uint32_t i = 0; i < 16 && i < values->n - 1; i++)
        gen_say(g, "unpin", values->id[i]);
}

void gen_kv(struct gen *g)
{
    static const unsigned usual[] = {0, 1, 3, 0, 2, 0, 4, 1};
    struct gen_list values = {0}, table = {0};

    for (unsigned phase = 0; phase < sizeof(usual) / sizeof(usual[0]) && !g->failed; phase++) {
        for (uint32_t n = 2 * g->frames >> usual[phase]; n > 0; n--)
            put_value(g, &values, usual[phase]);
        snapshot(g, &values);
        gen_make_room(g, &values, 9 * g->block_frames);
        gen_contig(g, &table, 4 * g->block_frames, g->block_frames); /* the table doubles */
        if (table.n > 1)
            gen_free(g, gen_take_old(g, &table));
        gen_say(g, "give", 2); /* the machine wants some back */
        gen_say(g, "lend", 2);
    }
    gen_leave(&values);
    gen_leave(&table);
}

/* ---- inference ------------------------------------------------------------- */

enum { REQUESTS = 110, UNIT = 4 };

struct request {
    struct gen_list cache; /* blocks of 16 tokens */
    uint32_t tokens, left;
};

/* Prompts are 161 tokens long on average, answers 338. */
static void request_start(struct gen *g, struct request *r)
{
    r->tokens = gen_skewed(g, 161);
    r->left = gen_skewed(g, 338);
    for (uint32_t n = (r->tokens + 15) / 16; n > 0; n--)
        gen_alloc(g, &r->cache, gen_chance(g, 90) ? 0 : 1, true);
}

/* 16 tokens more; while a step runs the device reads the cache, pinned. */
static void request_step(struct gen *g, struct request *r)
{
    uint32_t last = r->cache.id[r->cache.n - 1];

    gen_say(g, "pin", last);
    gen_alloc(g, &r->cache, 0, true);
    gen_say(g, "unpin", last);
    r->left = r->left > 16 ? r->left - 16 : 0;
}

/* Another adapter in place of the one before, or a longer batch: weights or a
 * workspace of a few blocks.  Requests are preempted until there is room. */
static void load_adapter(struct gen *g, struct gen_list *adapter, struct request *request)
{
    uint32_t most = g->frames / g->block_frames / 8;
    uint32_t frames = (1 + most / 3 + gen_below(g, most)) * g->block_frames;

    while (adapter->n > 1)
        gen_free(g, gen_take_old(g, adapter));
    for (int i = 0; i < REQUESTS && g->used + frames + g->block_frames > g->frames; i++)
        gen_free_all(g, &request[i].cache);
    gen_contig(g, adapter, frames, g->block_frames);
}

void gen_inference(struct gen *g)
{
    enum { STEPS = 12000 };
    struct request request[REQUESTS] = {0};
    struct gen_list weights = {0}, adapter = {0};

    for (uint32_t n = g->frames / g->block_frames / 4; n > 0; n--)
        gen_alloc(g, &weights, UNIT, false);
    for (uint32_t step = 0; step < STEPS && !g->failed; step++) {
        struct request *r = &request[gen_below(g, REQUESTS)];

        if (r->cache.n > 0 && r->left > 0 && g->used + 2 <= g->frames) {
            request_step(g, r);
        } else {
            gen_free_all(g, &r->cache);
            if (g->used + 32 <= gen_percent(g, 95))
                request_start(g, r);
        }
        if (step % 600 == 599)
            load_adapter(g, &adapter, request);
    }
    for (int i = 0; i < REQUESTS; i++)
        gen_leave(&request[i].cache);
    gen_leave(&adapter);
    gen_leave(&weights);
}
