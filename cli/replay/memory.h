// SPDX-License-Identifier: Apache-2.0
/* memory.h - a zone of a given shape and the memory behind it. */
#ifndef REPLAY_MEMORY_H
#define REPLAY_MEMORY_H

#include "replay.h"

struct replay_zone {
    struct kl_zone *zone;
    struct kl_linux_backing *file; /* REPLAY_MEMFD */
    void *map;                     /* REPLAY_OWN */
    size_t map_bytes;
};

/* flags: enum kl_zone_flags.  0 or a negative error, with nothing left. */
int replay_zone_open(struct replay_zone *z, const struct replay_shape *shape,
                     enum replay_memory memory, unsigned flags);
/* As kl_zone_destroy; the memory goes if the zone does. */
int replay_zone_close(struct replay_zone *z);

#endif
