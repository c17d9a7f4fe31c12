// SPDX-License-Identifier: Apache-2.0
/* writeback.h - where a disk's cold blocks go: a file, a block device, an NBD server. */
#ifndef KLI_NBDKIT_WRITEBACK_H
#define KLI_NBDKIT_WRITEBACK_H

#include "params.h"

struct kli_writeback;

/* Can the target be had?  Leaves nothing behind.  0, or -1 after nbdkit_error. */
int kli_writeback_probe(const struct kli_params *params);

/* *writeback is NULL where none is asked for.  0, or -1 after nbdkit_error. */
int kli_writeback_open(const struct kli_params *params, struct kl_store *store,
                       struct kli_writeback **writeback);
/* After the store.  NULL is nothing. */
void kli_writeback_close(struct kli_writeback *writeback);

/* Says it, once, when the state of the target has changed.  One thread at a time. */
void kli_writeback_watch(void *writeback);

#endif
