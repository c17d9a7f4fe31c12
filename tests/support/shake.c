// SPDX-License-Identifier: Apache-2.0
#include "support/shake.h"

#include "move/run.h"

void shake_block(struct kl_zone *zone, uint32_t block, enum kl_mode mode, struct kl_report *report)
{
    struct kl_report r = {.size = sizeof(r)};
    struct kli_run run;

    kli_run_begin(&run, zone, mode);
    run.may_populate = true;
    if (kli_evacuate_block(&run, block) == 0)
        kli_unfence(&run, block);
    kli_run_end(&run, &r);
    report->isolated += r.isolated;
    report->migrated += r.migrated;
    report->put_back += r.put_back;
    report->freed += r.freed;
}
