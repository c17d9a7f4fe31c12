// SPDX-License-Identifier: Apache-2.0
/* device.h - what the parts of devicebench share: traces of what programs ask of a device's
 * memory, worlds that live through them, and the oracle. */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include "kit.h"

#include "klotski/klotski.h"

#include <pthread.h>

enum {
    FRAME = 1 << 16, /* of the zone; a frame of the program is a TICK */
    BLOCKS = 64,     /* of the zone */
};

/* ---- traces (device_traces.c) ---- */

enum op {
    OP_ALLOC, /* id, bytes */
    OP_FREE,  /* id */
    OP_USE,   /* id: the device works on it, until OP_UNUSE */
    OP_UNUSE,
    OP_TICK, /* a frame, or a step, is over */
    OP_ASK,  /* two large buffers are asked for, one after the other, and given back */
};
struct event {
    uint32_t op, id;
    uint64_t bytes;
};
struct trace {
    struct event *event;
    size_t n, room;
    uint32_t ids; /* all are below; none is used again */
};

/* For a zone of so many bytes, 2 GiB or a 2^n-th of it (sizes are, too). */
struct trace trace_games(uint64_t zone_bytes, uint32_t ticks, uint64_t seed);
struct trace trace_inference(uint64_t zone_bytes, uint32_t ticks, uint64_t seed);
void trace_free(struct trace *trace);

/* ---- worlds (device_world.c) ---- */

struct item {
    kl_buffer_id id;
    uint64_t bytes;
    uint32_t uses;
    bool there;
    bool dying; /* goes when it is not in use any more */
};

struct world {
    struct kl_zone *zone;
    struct kl_heap *heap;
    bool moves;
    uint64_t block_bytes;
    uint32_t ids;
    struct item *item;
    uint64_t allocs, refused, skipped; /* skipped: uses of a buffer that was being copied */
    uint64_t in_use;                   /* bytes of live buffers, as asked */
    uint64_t passes, pass_bytes, pass_moves;
    uint64_t under_way, most; /* of the pass that has begun; 0: none */

    uint64_t *tag; /* modelled: what each frame holds; copied at once */

    unsigned char *memory; /* real: and an engine with a thread */
    struct kl_linux_engine *engine;
    struct pace *pace;
};

/* moves: with migration.  pace: memory that is really there, and copied by an engine; NULL: a
 * model of it. */
void world_open(struct world *w, uint64_t bytes, uint32_t ids, bool moves, struct pace *pace);
/* Looks at all contents, frees all, recounts. */
void world_close(struct world *w);
void world_do(struct world *w, const struct event *event);
/* A pass of at most so many bytes: how many it moves, 0: there is nothing to do; and its end, for
 * which the program waits. */
uint64_t world_pass_begin(struct world *w, uint64_t most);
void world_pass_end(struct world *w);
struct kl_zone_stats world_stats(const struct world *w);

/* ---- how long passes take (device_pace.c) ---- */

struct pace {
    double budget_us;
    double last[64]; /* ns for a byte */
    uint32_t lasts;
    double *cpu, *wall; /* in us, of the passes that had half of what they might, or more */
    size_t n, room;
    size_t passes; /* all of them */

    uint64_t cpu_begin, wall_begin, submitted; /* of the pass under way */
    uint64_t engine_before;
    pthread_mutex_t lock; /* of what follows, the engine's thread's */
    uint64_t engine_cpu, engine_end;
};
void pace_open(struct pace *pace, double budget_us);
void pace_learnt(struct pace *pace);
void pace_close(struct pace *pace);
uint64_t pace_bytes(const struct pace *pace);
void pace_begin(struct pace *pace);
void pace_submitted(struct pace *pace);
void pace_report(struct pace *pace); /* by the engine's thread, after a batch */
void pace_end(struct pace *pace, uint64_t bytes, uint64_t most);

/* ---- the oracle (device_oracle.c) ---- */

/* least[n]: bytes that any plan must move to have n blocks free that are not free now; UINT64_MAX:
 * no plan can, since something there can't move, or there is no room. */
struct optimum {
    uint32_t free_blocks;
    uint64_t least[BLOCKS + 1];
};
struct optimum find_optimum(const struct world *w);

#endif
