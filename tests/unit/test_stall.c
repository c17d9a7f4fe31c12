// SPDX-License-Identifier: Apache-2.0
/* A callback asleep for a second, a read left open: everybody else goes on.
 *
 * The sleep ends only when enough operations were done beside it, so that one which
 * waits for the stalled thread never ends, and the test with it.  How long they took
 * is printed and decides nothing. */
#include "../../tools/stall/stall.h"

#include "support/fixture.h"

#include <inttypes.h>
#include <stdio.h>

enum { LEAST = 20000 };

static void others_go_on(void **state)
{
    enum stall_where where = (enum stall_where)(uintptr_t)*state;
    struct stall_result r;

    assert_int_equal(stall_run(where, 1000, LEAST, &r), 0);
    printf("# %s: %" PRIu64 " operations, p50 %" PRIu64 " ns, p99 %" PRIu64 " ns, longest %" PRIu64
           " ns, %" PRIu64 " waits\n",
           stall_name(where), r.ops, r.p50_ns, r.p99_ns, r.max_ns, r.waits);
    assert_true(r.ops >= LEAST);
    if (where != STALL_READ) /* there frames move meanwhile, and readers wait for copies */
        assert_int_equal(r.waits, 0);
}

#define CASE(where) cmocka_unit_test_prestate(others_go_on, (void *)(uintptr_t)(where))

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(STALL_ISOLATE),
        CASE(STALL_PREPARE),
        CASE(STALL_MIGRATE),
        CASE(STALL_READ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
