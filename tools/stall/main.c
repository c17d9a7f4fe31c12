// SPDX-License-Identifier: Apache-2.0
/* stall [MS] - how long others take while one thread that moves frames is stalled
 * for MS milliseconds (1000); for bench/stall.sh.  One line a kind of stall: its
 * name, operations, and nanoseconds: median, 99 % and longest. */
#include "stall.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    unsigned ms = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;

    for (int w = 0; w < STALLS; w++) {
        struct stall_result r;
        int err = stall_run((enum stall_where)w, ms, 10000, &r);

        if (err) {
            fprintf(stderr, "stall: %s: error %d\n", stall_name((enum stall_where)w), err);
            return 1;
        }
        printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
               stall_name((enum stall_where)w), r.ops, r.p50_ns, r.p99_ns, r.max_ns, r.waits);
    }
    return 0;
}
