// SPDX-License-Identifier: Apache-2.0
/* objects.h - what the files of objectsbench share: buffers of a device, and the device. */
#ifndef BENCH_OBJECTS_H
#define BENCH_OBJECTS_H

#include "kit.h"

#include "klotski/klotski.h"

#include <pthread.h>
#include <stdatomic.h>

/* What the driver does so that its device keeps the addresses. */
enum keep {
    HOOKS,          /* attached and active: asked to, it quiets the device, and they move */
    PINNED,         /* pinned; the library packs what is pinned as it comes (kl_pin_settle) */
    PINNED_IN_PLACE /* pinned where it is, as without such a library */
};

/* state: GONE, BUSY (the device works on it), STOP for each batch that it is in. */
enum { BUSY = 1, GONE = 2, STOP = 4 };
struct buffer {
    kl_shm_id object;
    kl_pin_id pin;
    uint32_t pages;
    uint32_t *nr;  /* of frames, by page: what the device has of addresses */
    uint64_t *sum; /* by page: what the device wrote last */
    _Atomic uint32_t state;
};

enum { BUFFERS = 8192, LARGEST = 256 /* pages */ };

struct device {
    struct kl_zone *zone;
    struct kl_shm *shm;
    kl_shm_device_id id;
    enum keep keep;
    struct buffer buffer[BUFFERS];
    uint64_t random; /* of who makes buffers */
    uint64_t pages;  /* of all buffers */
    pthread_t thread;
    atomic_bool halt;
    _Atomic uint64_t bytes; /* that it has read and written */
    _Atomic uint64_t wrong; /* pages */
    uint64_t late;          /* prepares that gave up */
};

/* Registers it; the zone has nothing else.  Its thread works on all buffers, all the time. */
void device_open(struct device *d, struct kl_zone *zone, enum keep keep, uint64_t seed);
void device_start(struct device *d);
void device_stop(struct device *d);
void device_close(struct device *d);

/* A new buffer of a random size in a free place; false: no memory. */
bool buffer_add(struct device *d);
/* Its contents are looked at for the last time. */
void buffer_remove(struct device *d, struct buffer *b);
bool buffer_is(const struct buffer *b);

/* Buffers come until `most` of the zone's frames are in use, and go at random until
 * `least` are. */
void buffers_churn(struct device *d, double most, double least);
void buffers_drop_all(struct device *d);

/* objects_costs.c: one by one, without I/O. */
void costs(unsigned rounds, uint64_t seed);

#endif
