// SPDX-License-Identifier: Apache-2.0
/* Emptying blocks in steps, whose copies are made between two halves (empty.c). */
#ifndef KLI_MOVE_EMPTY_H
#define KLI_MOVE_EMPTY_H

#include "move/run.h"

#define KLI_NO_BLOCK UINT32_MAX

/* What an owner empties, and how far it is; one step of it at a time. */
struct kli_emptier {
    struct kl_zone *zone;
    unsigned owner;
    size_t bytes;
    uint32_t *block; /* the plan: sources, sparse ones first; then those that stay */
    uint32_t *used;  /* of each block of the zone, when it was planned */
    uint32_t *place; /* by frames in use: where in the plan */
    uint32_t n;
    uint32_t source;             /* of the plan: the next one to be emptied */
    uint32_t bound;              /* targets are behind it */
    uint32_t target[KLI_ORDERS]; /* by order: those behind it have no room */
    uint32_t begun;              /* the block that is half emptied, or KLI_NO_BLOCK */
    uint32_t last;               /* where the last moves are from */
    uint32_t taken;              /* sources since the plan was made */
    bool fresh;                  /* it was made in this step */
    bool any;                    /* something was isolated in this step, */
    bool over;                   /* and no more is to be: a block is half emptied */
    bool unsure;                 /* something was in the way that may be gone next time */
    uint64_t largest;            /* unit that a step may move, in frames */
    uint64_t changes;
    bool vain; /* nothing could be gained, and so it is as long as these are the same: */
    uint64_t vain_free, vain_largest, vain_changes;
    unsigned vain_steps; /* and not for longer than some steps */
};

/* What a step may do. */
struct kli_empty_most {
    uint32_t moves;
    uint64_t frames;
};

/* -KL_ENOMEM: no metadata.  Nothing later needs any. */
int kli_empty_init(struct kli_emptier *e, struct kl_zone *zone, unsigned owner);
void kli_empty_free(struct kli_emptier *e);

/* A step begins, of so many frames at most.  changes: differs from last time when the owner has
 * freed something, or let something go that could not move. */
void kli_empty_step(struct kli_emptier *e, uint64_t frames, uint64_t changes);

/* Isolates frames of the next block that is to be emptied, no more than `most`, which falls
 * by them.  Returns how many; 0: nothing more is to be done in this step. */
size_t kli_empty_some(struct kli_emptier *e, struct kli_run *run, struct kli_empty_most *most,
                      struct kl_move *moves);

/* The block of the last moves, which were put back, is not to be emptied after all. */
void kli_empty_give_up(struct kli_emptier *e);

/* The last moves have ended already, all of them: none will be in what has settled. */
void kli_empty_over(struct kli_emptier *e);

/* The moves have ended: their blocks are like others again, but for the one that is begun.
 * ok: they were made; else what they were for is planned again. */
void kli_empty_settle(struct kli_emptier *e, const struct kl_move *moves, size_t n, bool ok);

/* plan.c: for such a run. */
bool kli_empty_target(struct kli_emptier *e, unsigned order, uint32_t *nr);

#endif
