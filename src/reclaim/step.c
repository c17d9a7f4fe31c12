// SPDX-License-Identifier: Apache-2.0
/* Background work in steps, and the kick that says when one is wanted.
 *
 * The kick stands behind a gate (base/gate.h): set is claim, write, open; taking it
 * away closes the gate and waits for those inside, which are on their way to an eventfd.
 */
#include "klotski/step.h"
#include "frame/zone.h"

int kl_zone_step(struct kl_zone *zone, const struct kl_step *step, struct kl_report *report)
{
    if (!step || step->size != sizeof(*step))
        return -KL_EINVAL;
    return kl_zone_compact(zone, KL_ASYNC, step->budget, report);
}

int kl_zone_set_kick(struct kl_zone *zone, void (*kick)(void *ctx), void *ctx)
{
    struct kli_gate *gate = &zone->kick.gate;

    if (!kick)
        return kli_gate_close(&zone->host, gate, KLI_G_ANY, true);
    if (!kli_apply(&gate->word, kli_g_claim, 0, NULL))
        return -KL_EEXIST;
    zone->kick.call = kick; /* G1 */
    zone->kick.ctx = ctx;
    kli_apply(&gate->word, kli_g_open, 0, NULL);
    return 0;
}
