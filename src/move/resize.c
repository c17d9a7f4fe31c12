// SPDX-License-Identifier: Apache-2.0
/* How many blocks a zone may have.
 *
 * The zone's size is one count, withheld (frame/size.h): the blocks that it may not
 * have.  A resize is one edge of that word.  If the zone shrinks, blocks are given
 * back first, until there are enough for the edge; what the edge leaves over is lent
 * again.  So no lock is needed: of several resizes at a time each one makes the size
 * what it was asked for, at one moment, or nothing.
 *
 * (Y1) A resize that fails has lent all that it gave.
 * (Y2) It is a hold (frame/zone.h) until then: what it gave may come back.
 */
#include "frame/size.h"
#include "move/run.h"

/* Gives blocks back until `want` can be withheld; *spare: how many are left over. */
static int settle(struct kl_zone *zone, uint32_t want, enum kl_mode mode, struct kl_report *report,
                  uint32_t *spare)
{
    uint64_t given = 0, seen;

    while (!kli_apply(&zone->away, kli_z_resize, want | given << 32, &seen)) {
        uint32_t n = (uint32_t)(want - kli_z_withheld(seen) - given);
        int err = kli_give(zone, n, mode, report);

        if (err) {
            *spare = (uint32_t)given; /* Y1 */
            return err;
        }
        given += n;
    }
    *spare = (uint32_t)(kli_z_withheld(seen) + given - want);
    return 0;
}

int kl_zone_resize(struct kl_zone *zone, uint32_t blocks, enum kl_mode mode,
                   struct kl_report *report)
{
    uint32_t spare;
    int err;

    kli_report_clear(report);
    if (blocks == 0 || blocks > zone->blocks || (unsigned)mode > KL_SYNC)
        return -KL_EINVAL;
    kli_hold(zone); /* Y2 */
    err = settle(zone, zone->blocks - blocks, mode, report, &spare);
    if (spare > 0)
        KLI_REQUIRE(&zone->host, kli_lend(zone, spare) == 0); /* Z1 */
    kli_let_go(zone, spare > 0);
    return err;
}
