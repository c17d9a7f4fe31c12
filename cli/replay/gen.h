// SPDX-License-Identifier: Apache-2.0
/* gen.h - what the generators share: random numbers, ids, lists of live units, and
 * how full the zone is.  One thread. */
#ifndef REPLAY_GEN_H
#define REPLAY_GEN_H

#include "generate.h"

/* Ids, in the order in which they came. */
struct gen_list {
    uint32_t *id;
    uint32_t n, room;
};

struct gen {
    FILE *out;
    uint64_t random;
    uint32_t frames; /* of the zone */
    uint32_t block_frames;
    uint32_t used;         /* frames, as if every request succeeded */
    uint32_t ids;          /* all ids so far are below */
    struct gen_list spare; /* ids to use again */
    uint32_t *size;        /* frames, by id */
    uint32_t size_room;
    bool failed; /* no memory: what is written is no good */
};

/* From 0 to n - 1. */
uint32_t gen_below(struct gen *g, uint32_t n);
static inline bool gen_chance(struct gen *g, uint32_t percent)
{
    return gen_below(g, 100) < percent;
}
/* About `mean`, often less and now and then much more; at least 1. */
uint32_t gen_skewed(struct gen *g, uint32_t mean);

/* Per cent of the zone, in frames. */
static inline uint32_t gen_percent(const struct gen *g, uint32_t percent)
{
    return (uint32_t)((uint64_t)g->frames * percent / 100);
}

void gen_alloc(struct gen *g, struct gen_list *to, unsigned order, bool movable);
void gen_contig(struct gen *g, struct gen_list *to, uint32_t frames, uint32_t align);
void gen_free(struct gen *g, uint32_t id);
void gen_say(struct gen *g, const char *op, uint32_t number);

/* Takes one out of a list that is not empty: any, or the oldest of about 64. */
uint32_t gen_take_any(struct gen *g, struct gen_list *list);
uint32_t gen_take_old(struct gen *g, struct gen_list *list);
void gen_push(struct gen *g, struct gen_list *list, uint32_t id);
void gen_free_all(struct gen *g, struct gen_list *list);
/* Forgets a list whose units stay live: a trace ends in the middle of things. */
void gen_leave(struct gen_list *list);
/* Frees some of a list until the zone has this many frames free, or it is empty. */
void gen_make_room(struct gen *g, struct gen_list *list, uint32_t frames);

/* The kinds. */
void gen_build(struct gen *g);
void gen_kv(struct gen *g);
void gen_netcache(struct gen *g);
void gen_video(struct gen *g);
void gen_inference(struct gen *g);

#endif
