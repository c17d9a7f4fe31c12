// SPDX-License-Identifier: Apache-2.0
/* Leaving a gate, and closing it. */
#include "base/gate.h"

void kli_gate_leave(const struct kl_host *host, struct kli_gate *gate)
{
    uint64_t seen;

    KLI_REQUIRE(host, kli_apply(&gate->word, kli_g_leave, 0, &seen));
    if (kli_g_state(seen) != KLI_G_LEAVING || kli_g_users(seen) > 1)
        return;
    atomic_fetch_add(&gate->ends, 1); /* G3 */
    host->wake(host->ctx, (const uint32_t *)&gate->ends, true);
}

static int quit(struct kli_gate *gate, uint64_t generation)
{
    uint64_t seen;

    if (kli_apply(&gate->word, kli_g_quit, generation, &seen))
        return 0;
    return kli_g_is(seen, generation) ? -KL_EBUSY : -KL_ENOENT;
}

int kli_gate_close(const struct kl_host *host, struct kli_gate *gate, uint64_t generation,
                   bool wait)
{
    if (!wait)
        return quit(gate, generation);
    if (!kli_apply(&gate->word, kli_g_shut, generation, NULL))
        return -KL_ENOENT;
    for (;;) {
        uint32_t ends = atomic_load(&gate->ends); /* before the look at users */

        if (kli_apply(&gate->word, kli_g_end, 0, NULL))
            return 0;
        host->wait(host->ctx, (const uint32_t *)&gate->ends, ends, UINT64_MAX);
    }
}
