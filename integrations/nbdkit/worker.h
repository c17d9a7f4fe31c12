// SPDX-License-Identifier: Apache-2.0
/* worker.h - the thread that compacts a disk while that gains memory, and does the
 * background work of the zone's clients. */
#ifndef KLI_WORKER_H
#define KLI_WORKER_H

#include <klotski/klotski.h>

struct kli_worker;

struct kli_worker_config {
    struct kl_zone *zone; /* all are borrowed and must outlive the worker */
    struct kl_store *store;
    bool compact;                 /* else only the clients' work */
    void (*watch)(void *watched); /* now and then, or NULL */
    void *watched;
};

/* -KL_ENOMEM: no thread. */
int kli_worker_start(const struct kli_worker_config *config, struct kli_worker **worker);

/* Ends the thread, at once but for the step under way.  NULL is nothing. */
void kli_worker_stop(struct kli_worker *worker);

#endif
