// SPDX-License-Identifier: Apache-2.0
/* A write-back target that lies in memory, answers from a thread of its own, in any
 * order, late or never, and fails as it is told. */
#ifndef TESTS_TARGET_H
#define TESTS_TARGET_H

#include "support/fixture.h"

#include <pthread.h>

enum { FAKE_LATE = 64 };

struct fake_target {
    struct kl_target target; /* give this to the store */
    unsigned char *bytes;
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread;
    struct kl_target_io *first; /* a list, not a queue: any one may be next */
    unsigned n;
    bool stop;
    struct rng rng;
    /* Behaviour; may be changed at any time. */
    atomic_int fail_writes, fail_reads, fail_flushes; /* per cent of them */
    atomic_int error;                                 /* with this one; 0: -KL_EIO */
    atomic_int lie;           /* per cent of the reads come with a byte changed */
    atomic_int give_up;       /* per cent of the writes are given up, and take effect later */
    atomic_int give_up_trims; /* the same of trims */
    atomic_int delay_us;      /* that each answer takes at most */
    atomic_bool stalled;
    atomic_bool holding; /* reads are served, and not answered */
    struct kl_target_io *held;
    atomic_bool gone;   /* refuses what is submitted: -KL_EAGAIN */
    atomic_bool forget; /* acknowledges writes and does nothing */
    /* What it has seen. */
    atomic_uint writes, reads, flushes, trims, given_up;
    atomic_uint unflushed; /* writes since the last flush */
    struct fake_late {
        uint64_t offset;
        unsigned char *bytes;
        uint32_t n;
    } late[FAKE_LATE]; /* of the writes that were given up */
    unsigned nlate;
};

void fake_target_open(struct fake_target *t, uint64_t bytes, unsigned flags);
/* After the store. */
void fake_target_close(struct fake_target *t);
/* Lets a stalled one go on. */
void fake_target_stall(struct fake_target *t, bool stalled);
/* Reads from now on have the data of the moment when they come; their answers are held back
 * until this is over. */
void fake_target_hold(struct fake_target *t, bool hold);
/* What was given up takes effect now. */
void fake_target_land(struct fake_target *t);

#endif
