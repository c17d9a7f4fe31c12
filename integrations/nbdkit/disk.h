// SPDX-License-Identifier: Apache-2.0
/* disk.h - a disk's parts, made and unmade in the right order. */
#ifndef KLI_DISK_H
#define KLI_DISK_H

#include "params.h"

struct kli_control;
struct kli_writeback;

struct kli_disk {
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    struct kl_cma *area; /* for klotski take, or NULL */
    struct kl_store *store;
    struct kli_writeback *writeback;
    struct kl_linux_pressure *pressure;
    struct kl_linux_worker *worker;
    struct kli_control *control;
    bool populated; /* it got all its memory at the start */
};

/* Is there memory of the kind that is asked for, and a place for the control
 * socket?  Takes neither.  To be called while whoever started the server still
 * listens to it. */
int kli_disk_probe(const struct kli_params *params);

/* Everything, threads included, so only after the last fork.
 * 0, or -1 after nbdkit_error; then the disk is empty again. */
int kli_disk_open(struct kli_disk *disk, const struct kli_params *params);

/* Ends the threads, ends leases, gives all memory back.  An empty one is fine. */
void kli_disk_close(struct kli_disk *disk);

#endif
