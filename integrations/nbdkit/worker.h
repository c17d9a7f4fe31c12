// SPDX-License-Identifier: Apache-2.0
/* worker.h - the thread that compacts a disk while that gains memory, and does the
 * background work of the zone's clients. */
#ifndef KLI_WORKER_H
#define KLI_WORKER_H

#include <klotski/klotski.h>

struct kli_worker;

/* Both are borrowed and must outlive the worker.  compact: else only the clients' work.
 * -KL_ENOMEM: no thread. */
int kli_worker_start(struct kl_zone *zone, struct kl_store *store, bool compact,
                     struct kli_worker **worker);

/* Ends the thread, at once but for the step under way.  NULL is nothing. */
void kli_worker_stop(struct kli_worker *worker);

#endif
