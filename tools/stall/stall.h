// SPDX-License-Identifier: Apache-2.0
/* One thread moves frames and is stalled on the way: in an owner's callback that
 * sleeps, or by a reader who keeps an object open.  Another one allocates, frees,
 * reads and writes what has nothing to do with it, and is timed.
 *
 * The sleep lasts as long as it is told to, and at least until `least` operations
 * were done meanwhile: whoever waited for the stalled thread would wait for ever. */
#ifndef TOOLS_STALL_H
#define TOOLS_STALL_H

#include <stdint.h>

enum stall_where { STALL_ISOLATE, STALL_PREPARE, STALL_MIGRATE, STALL_READ, STALLS };

struct stall_result {
    uint64_t ops;   /* done while it slept */
    uint64_t waits; /* of them for anything: sleeps and pauses of the host's */
    uint64_t p50_ns, p99_ns, max_ns;
};

const char *stall_name(enum stall_where where);
/* 0; else a negative error, with nothing left. */
int stall_run(enum stall_where where, unsigned ms, uint64_t least, struct stall_result *result);

#endif
