// SPDX-License-Identifier: Apache-2.0
/* memory.c - a memory file, or memory of the process as a caller would bring it. */
#include "memory.h"

#include <sys/mman.h>

static unsigned log2_of(uint32_t v)
{
    unsigned n = 0;

    while (v >> n > 1)
        n++;
    return n;
}

static uint64_t bytes_of(const struct replay_shape *s)
{
    return ((uint64_t)s->blocks << s->block_order) * s->frame_bytes;
}

/* A backing of the file's that has frames of the trace's size: blocks are the same
 * bytes either way. */
static int open_file(struct replay_zone *z, const struct replay_shape *s, struct kl_backing *b)
{
    unsigned shift = log2_of(s->frame_bytes);
    struct kl_linux_backing_config config = {.size = sizeof(config),
                                             .kind = KL_LINUX_MEMFD,
                                             .bytes = bytes_of(s),
                                             .block_order = s->block_order + shift - 12};
    int err = kl_linux_backing_create(&config, &z->file);

    if (err)
        return err;
    *b = *kl_linux_backing_get(z->file);
    b->frame_shift = shift;
    b->block_order = s->block_order;
    return 0;
}

static int open_own(struct replay_zone *z, const struct replay_shape *s, struct kl_backing *b)
{
    uint64_t bytes = bytes_of(s), room = bytes + s->frame_bytes;

    if (room != (size_t)room)
        return -KL_ENOMEM;
    z->map_bytes = (size_t)room;
    z->map = mmap(NULL, z->map_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (z->map == MAP_FAILED) {
        z->map = NULL;
        return -KL_ENOMEM;
    }
    *b = (struct kl_backing){
        .size = sizeof(*b),
        .base = (char *)z->map + (-(uintptr_t)z->map & (s->frame_bytes - 1)),
        .bytes = bytes,
        .frame_shift = log2_of(s->frame_bytes),
        .block_order = s->block_order,
    };
    return 0;
}

static void drop_memory(struct replay_zone *z)
{
    if (z->file)
        kl_linux_backing_destroy(z->file);
    if (z->map)
        munmap(z->map, z->map_bytes);
    *z = (struct replay_zone){0};
}

int replay_zone_open(struct replay_zone *z, const struct replay_shape *shape,
                     enum replay_memory memory, unsigned flags)
{
    struct kl_backing backing;
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = &backing, .flags = flags};
    int err;

    *z = (struct replay_zone){0};
    err = memory == REPLAY_MEMFD ? open_file(z, shape, &backing) : open_own(z, shape, &backing);
    if (!err)
        err = kl_zone_create(&config, &z->zone);
    if (err)
        drop_memory(z);
    return err;
}

int replay_zone_close(struct replay_zone *z)
{
    int err = kl_zone_destroy(z->zone);

    if (!err)
        drop_memory(z);
    return err;
}
