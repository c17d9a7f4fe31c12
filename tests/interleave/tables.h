// SPDX-License-Identifier: Apache-2.0
/* The tables of the forced interleavings: how each point is reached, and who may wait for
 * whom. */
#ifndef TESTS_INTERLEAVE_TABLES_H
#define TESTS_INTERLEAVE_TABLES_H

#include "interleave/scene.h"

#include <string.h>

struct way {
    int point;
    enum scene_kind kind;
    const char *op;
    struct cue cue[STAGE_CUES];
    int after; /* not before it has passed this one; or STAGE_NEVER */
};

/* ways.c */
extern const struct way ways[];
extern const unsigned ways_n;
/* Of a scene, by a third party. */
void cue_free_subject(void *scene);

/* waits.c */
/* Before any process is made. */
void share_waits(void);
/* Somebody polled on and on while the other one stood at this point. */
void note_wait(int point, const struct op *standing, const struct op *waiting);
void every_wait_was_met(void);

static inline bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

#endif
