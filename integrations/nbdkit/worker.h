// SPDX-License-Identifier: Apache-2.0
/* worker.h - the thread that compacts a disk while that gains memory. */
#ifndef KLI_WORKER_H
#define KLI_WORKER_H

#include <klotski/klotski.h>

struct kli_worker;

/* Both are borrowed and must outlive the worker.  -KL_ENOMEM: no thread. */
int kli_worker_start(struct kl_zone *zone, struct kl_store *store, struct kli_worker **worker);

/* Ends the thread, at once but for the step under way.  NULL is nothing. */
void kli_worker_stop(struct kli_worker *worker);

#endif
