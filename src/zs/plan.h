// SPDX-License-Identifier: Apache-2.0
/* Size classes by a dynamic program (plan.c), and what sizes a pool is planned for
 * (prior.c).  Pure functions over integers: no pool, no host, no allocation. */
#ifndef KLI_ZS_PLAN_H
#define KLI_ZS_PLAN_H

#include "base/bits.h"

enum {
    ZS_PLAN_STEP = 8,      /* sizes are multiples of it; a count for each */
    ZS_PLAN_CHAIN = 32,    /* frames a zspage, at most */
    ZS_PLAN_OBJECTS = 512, /* a zspage, at most */
    ZS_PLAN_SPAN = 524288, /* bytes a zspage, at most */
    ZS_PLAN_SHAPES = 4096, /* worth looking at; a test counts them */
    ZS_PLAN_STOPS = 2048,  /* sizes of those */
};

/* A class: objects of `size` bytes, so many in `chain` frames. */
struct zs_shape {
    uint32_t size;
    uint16_t chain;
    uint16_t objects;
};

/* What classes cost beside rounding and leftovers, in bytes. */
struct zs_plan_price {
    uint32_t class_bytes; /* a class, used or not: its descriptor */
    uint32_t tail_bytes;  /* a class in use: its last zspage is not full */
    uint32_t chain_bytes; /* the same, for each frame of its chain */
    uint32_t cross_bytes; /* a zspage, for each border of frames inside */
};

struct zs_plan_in {
    uint32_t frame_bytes; /* a power of two, 4 KiB to 64 KiB */
    uint32_t max_chain;   /* frames; objects that need more have a zspage of their own */
    uint32_t max_objects; /* a zspage; a power of two, frame_bytes / 8 at most */
    uint32_t largest;     /* size; a multiple of frame_bytes, 64 KiB at most */
    uint64_t pool_bytes;  /* of objects, when the pool is as full as it is planned for */
    uint32_t reach;       /* no class wastes over 1/reach of an object and 16 bytes; 0: any */
    struct zs_plan_price price;
    const uint32_t *counts; /* [largest / 8]: objects of 8 i + 1 to 8 i + 8 bytes */
};

/* All but `counts`, for a pool of so many frames at most: as it is half full, with zspages
 * that grow frame by frame. */
struct zs_plan_in zs_plan_for(uint32_t frame_bytes, uint32_t largest, uint64_t frames);

/* What a plan needs to work in; over 100 KiB. */
struct zs_plan_scratch;
size_t zs_plan_scratch_bytes(void);

/* Fills shapes, in ascending sizes, and returns how many: at most `max`, at least 1. */
uint32_t zs_plan(const struct zs_plan_in *in, struct zs_shape *shapes, uint32_t max,
                 struct zs_plan_scratch *scratch);

/* What these shapes would waste with these counts in a pool of that size, in millionths
 * of the objects' bytes: rounding, leftovers and tails. */
uint64_t zs_plan_waste(const struct zs_plan_in *in, const struct zs_shape *shapes, uint32_t n);

/* Counts for a pool that has seen nothing yet, whose common sizes go up to `typical`;
 * 0: nobody knows. */
void zs_plan_prior(uint32_t *counts, uint32_t largest, uint32_t typical);

/* Observed counts, and a little of the prior, so that other sizes are served too. */
void zs_plan_blend(uint32_t *counts, const uint32_t *observed, uint32_t largest, uint32_t typical);

#endif
