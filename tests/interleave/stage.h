// SPDX-License-Identifier: Apache-2.0
/* Two threads on a stage, each of which can be stopped at a trace point.
 *
 * Time is counted, not measured: a wait or a relax of the library is one poll,
 * which advances a clock of our own.  So a wait with a bound ends by itself, and a
 * thread that has polled more often than any bound allows, while the other one is
 * stopped, provably waits for it: then the other one is let go (waited).  No
 * verdict depends on how fast the machine is.
 *
 * Everything that threads share here is atomic or under the stage's lock.
 */
#ifndef TESTS_INTERLEAVE_STAGE_H
#define TESTS_INTERLEAVE_STAGE_H

#include "base/trace.h"
#include "support/fixture.h"

#include <pthread.h>

enum { STAGE_ANY = -1, STAGE_NEVER = -2, STAGE_CUES = 3 };

/* Something that a thread itself does at the first passing of a point, before it
 * may be stopped there: what a third party could have done in this moment. */
struct cue {
    int at; /* a point; 0 with act == NULL: none */
    void (*act)(void *arg);
};

struct actor {
    pthread_t thread;
    unsigned cpu;
    struct actor *other;
    void (*run)(void *arg, unsigned cpu);
    void *arg;
    int stop;                   /* the point; STAGE_ANY: the nth that is new to it; STAGE_NEVER */
    unsigned nth;               /* passing, from 1 */
    int after;                  /* it does not stop before it has passed this one */
    unsigned hits, news;        /* how often it passed its stop; points that were new */
    bool seen[KLI_TRACE_COUNT]; /* of its own thread */
    const struct cue *cue;      /* STAGE_CUES of them, or NULL */
    bool cued[STAGE_CUES];
    int stopped_at; /* a point, or -1; under the lock, like the rest */
    bool done;
    bool open; /* may pass its stop */
    atomic_bool stands;
    atomic_bool waited;       /* polled on and on while the other one stood */
    atomic_bool owner_waited; /* for something of the test owner's own, not the library's */
    atomic_uint polls;
};

extern struct actor stage[2];

/* The host with the counted clock. */
const struct kl_host *stage_host(void);
/* One poll of somebody who waits for the test owner, not for the library. */
void stage_poll_owner(void);

/* Starts an actor; returns when it stands at its stop, or has ended. true: it
 * stands.  after: STAGE_NEVER if that does not matter. */
bool stage_start(unsigned who, void (*run)(void *arg, unsigned cpu), void *arg, int stop,
                 unsigned nth, int after, const struct cue *cue);
/* Lets it go on (if it stands), and waits for its end. */
void stage_finish(unsigned who);

const char *stage_point_name(int point);
/* What is played now, for messages. */
extern char stage_now[256];

#endif
