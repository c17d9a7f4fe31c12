// SPDX-License-Identifier: Apache-2.0
/* A crowd on a store: some write, discard and read the same few blocks, others make them
 * older, recompress and compact.  A block is always one of its versions, whole, or zeroes;
 * what is anything else ends the process. */
#ifndef TESTS_CROWD_H
#define TESTS_CROWD_H

#include "support/fixture.h"

struct crowd {
    struct kl_store *store;
    uint64_t blocks; /* the first ones */
    uint64_t versions;
    void (*make)(char *buf, uint64_t block, uint64_t version);
    unsigned users, keepers;
};

/* Until the users have done their operations; then all blocks are checked. */
void crowd_run(const struct crowd *crowd);

struct kl_store_stats crowd_stats(struct kl_store *store);
/* Recounts, and ends store and zone. */
void crowd_close(struct fixture *f, struct kl_store *store);

#endif
