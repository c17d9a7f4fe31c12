// SPDX-License-Identifier: Apache-2.0
/* What the tests share: a zone on a memfd, a host that can be made to fail, and
 * random numbers that a seed repeats. */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include "klotski/klotski.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct kl_linux_backing *memory;
    struct kl_zone *zone;
};

/* A zone of `blocks` blocks of 2^order frames of 4 KiB. */
void fixture_open(struct fixture *f, unsigned blocks, unsigned order, unsigned flags);
/* The same, but the zone's creation may fail: its error, with nothing left. */
int fixture_try(struct fixture *f, unsigned blocks, unsigned order, unsigned flags);
/* size: how many blocks the zone may have at first; 0: all. */
int fixture_try_size(struct fixture *f, unsigned blocks, unsigned order, unsigned flags,
                     unsigned size);
/* Checks the zone, and that nothing is left in it. */
void fixture_close(struct fixture *f);

/* Changes the host of zones that are opened from now on; NULL: nothing does. */
extern void (*fixture_host)(struct kl_host *host);
/* For it: all threads are on processor 0, without sequences. */
void fixture_one_cpu(struct kl_host *host);
/* For it: no time passes. */
void fixture_no_time(struct kl_host *host);

/* The zone's recount, with the broken invariant in the message. */
void assert_zone_ok(struct kl_zone *zone);
void assert_zs_ok(struct kl_zs *pool);
void assert_store_ok(struct kl_store *store);

/* Fault injection: the nth call from now on (1 = the next one) of that kind fails;
 * 0 switches it off.  Backing and host of every fixture obey. */
enum fault { FAULT_META, FAULT_POPULATE, FAULT_RELEASE, FAULT_DISCARD, FAULTS };
void fault_set(enum fault which, int nth);
/* It has not failed yet. */
bool fault_due(enum fault which);

/* xorshift; the seed is in KLOTSKI_SEED, or 1. */
struct rng {
    uint64_t state;
};
struct rng rng_new(uint64_t stream);
uint32_t rng_below(struct rng *rng, uint32_t n);

/* Bytes that can be told from any other seed's, and their test. */
void fill_bytes(void *buf, size_t n, uint64_t seed);
bool bytes_are(const void *buf, size_t n, uint64_t seed);

#endif
