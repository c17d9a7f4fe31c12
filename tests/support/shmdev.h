// SPDX-License-Identifier: Apache-2.0
/* A simulated device that works on objects of a kl_shm by the addresses of their frames.
 * It keeps a scatter list of each, as a device's page table would, and looks at contents
 * through it.  With hooks it is quieted before frames move and told of the new ones after;
 * without, it pins.  What it finds wrong is in `broken`. */
#ifndef TESTS_SHMDEV_H
#define TESTS_SHMDEV_H

#include "support/fixture.h"

#include <pthread.h>

enum { SHMDEV_OBJECTS = 64, SHMDEV_RUNS = 256 };

struct shmdev_object {
    kl_shm_id id;
    uint64_t seed; /* of its contents */
    uint64_t bytes;
    struct kl_shm_run run[SHMDEV_RUNS];
    unsigned runs; /* 0: the device has no addresses */
    kl_pin_id pin;
    bool used;
};

struct shmdev {
    struct kl_shm *shm;
    kl_shm_device_id id;
    bool hooks;
    pthread_mutex_t lock; /* of the objects, and what the device does */
    struct shmdev_object object[SHMDEV_OBJECTS];
    atomic_int refuse;                    /* so many prepares from now on */
    atomic_uint prepared, finished, told; /* calls; objects in them */
    atomic_uint waits;                    /* prepares in KL_SYNC */
    const char *_Atomic broken;
};

void shmdev_open(struct shmdev *d, struct kl_shm *shm, bool hooks);
/* Ends the use of all objects, and destroys them. */
void shmdev_close(struct shmdev *d);

/* Object i, of so many bytes: made, filled, and in use by the device. */
int shmdev_add(struct shmdev *d, unsigned i, uint64_t bytes);
/* The device is done with it; it is destroyed. */
int shmdev_remove(struct shmdev *d, unsigned i);
/* It is idle for a moment: it may move in any mode then. */
void shmdev_rest(struct shmdev *d, unsigned i);
/* The device looks: are the contents where its scatter list says, all of them? */
bool shmdev_look(struct shmdev *d, unsigned i);

/* An object of so many bytes with the contents of that seed; has it those? */
kl_shm_id shm_filled(struct kl_shm *shm, size_t bytes, uint64_t seed);
bool shm_is_filled(struct kl_shm *shm, kl_shm_id id, size_t bytes, uint64_t seed);

void assert_shm_ok(struct kl_shm *shm);

#endif
