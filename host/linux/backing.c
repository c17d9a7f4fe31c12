// SPDX-License-Identifier: Apache-2.0
/* backing.c - the memory behind a zone: one memory file, mapped as a whole.
 *
 * Invariants
 *   1. The mapping is aligned to a huge page of its kind and covers the whole file.
 *   2. MAP_NORESERVE: no huge page is reserved for what is not populated.
 *   3. Memory comes and goes only by kli_memfile_populate and _release.
 *   4. The mapping is neither inherited by fork nor part of a core dump.
 *   5. Mapping and memory are of one NUMA node, if the config says so (numa.c).
 *
 * Thread safety: as the zone's; nothing here changes after creation.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAME_SHIFT_MIN   12u
#define FRAME_SHIFT_MAX   21u
#define BLOCK_ORDER_MAX   18u
#define BACKING_BYTES_MAX ((uint64_t)1 << 44) /* 2^32 frames of 4 KiB */

struct kl_linux_backing {
    struct kl_backing backing;
    struct kli_memory memory;
    int fd;
};

static int backing_populate(void *ctx, uint64_t offset, uint64_t bytes)
{
    struct kl_linux_backing *self = ctx;

    return kli_memfile_populate(self->fd, &self->memory, offset, bytes);
}

/* Where the system can (Linux 6.14), page tables of 2 MiB go with what they map, but only
 * when they are unmapped by name. */
static int backing_release(void *ctx, uint64_t offset, uint64_t bytes)
{
    struct kl_linux_backing *self = ctx;

    if (self->memory.kind == KL_LINUX_MEMFD)
        madvise((char *)self->backing.base + offset, (size_t)bytes, MADV_DONTNEED);
    return kli_memfile_release(self->fd, offset, bytes);
}

/* A hole in ordinary memory is filled when somebody touches it. */
static int backing_discard(void *ctx, uint64_t offset, uint64_t bytes)
{
    struct kl_linux_backing *self = ctx;

    return kli_memfile_release(self->fd, offset, bytes);
}

/* The file mapped at an aligned address, or NULL. */
static void *map_aligned(int fd, uint64_t bytes, uint64_t align)
{
    uint64_t room = bytes + align;
    uint64_t head;
    char *hole;
    char *base;

    if (room != (size_t)room) /* more than a 32-bit machine has addresses */
        return NULL;
    hole = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (hole == MAP_FAILED)
        return NULL;
    head = (uint64_t)(-(uintptr_t)hole & (align - 1));
    base = hole + head;
    if (head)
        munmap(hole, head);
    munmap(base + bytes, align - head);
    if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) ==
        MAP_FAILED) {
        munmap(base, bytes);
        return NULL;
    }
    return base;
}

static int backing_map(struct kl_linux_backing *self)
{
    struct kl_backing *backing = &self->backing;
    uint64_t page = kli_huge_bytes(self->memory.kind);
    int err;

    backing->base = map_aligned(self->fd, backing->bytes, page ? page : KLI_HUGE_BYTES);
    if (!backing->base)
        return -KL_ENOMEM;
    if (madvise(backing->base, backing->bytes, MADV_DONTFORK) != 0 ||
        madvise(backing->base, backing->bytes, MADV_DONTDUMP) != 0)
        err = kli_linux_error(errno);
    else
        err = kli_numa_bind(backing->base, backing->bytes, self->memory.numa);
    if (err)
        munmap(backing->base, backing->bytes);
    return err;
}

static unsigned frame_shift_of(const struct kl_linux_backing_config *config)
{
    return config->frame_shift ? config->frame_shift : FRAME_SHIFT_MIN;
}

/* Frames of a huge page; of 2 MiB for ordinary memory, unless it is said. */
static unsigned block_order_of(enum kl_linux_kind kind,
                               const struct kl_linux_backing_config *config)
{
    if (kind == KL_LINUX_MEMFD && config->block_order)
        return config->block_order;
    return (kind == KL_LINUX_HUGETLB_1G ? KLI_HUGE_SHIFT_1G : KLI_HUGE_SHIFT) -
           frame_shift_of(config);
}

/* Shape and file of one kind. */
static int backing_open(struct kl_linux_backing *self, enum kl_linux_kind kind,
                        const struct kl_linux_backing_config *config)
{
    struct kl_backing *backing = &self->backing;
    unsigned shift = frame_shift_of(config), order = block_order_of(kind, config);
    uint64_t block = (uint64_t)1 << (shift + order);
    int err;

    backing->size = sizeof(*backing);
    backing->ctx = self;
    backing->frame_shift = shift;
    backing->block_order = order;
    backing->bytes = (config->bytes + block - 1) & ~(block - 1);
    backing->populate = backing_populate;
    backing->release = backing_release;
    backing->discard = kind == KL_LINUX_MEMFD ? backing_discard : NULL;
    self->memory = (struct kli_memory){kind, config->numa};
    self->fd = kli_memfile_create(kind, backing->bytes, false);
    if (self->fd < 0)
        return self->fd;
    err = backing_map(self);
    if (err)
        close(self->fd);
    return err;
}

/* Huge pages where the pool has them all now, else ordinary ones. */
static int backing_open_auto(struct kl_linux_backing *self,
                             const struct kl_linux_backing_config *config)
{
    uint64_t pages = (config->bytes + KLI_HUGE_BYTES - 1) >> KLI_HUGE_SHIFT;
    int64_t free = kli_hugepages_unreserved(KL_LINUX_HUGETLB, config->numa);

    if (free >= 0 && (uint64_t)free >= pages && backing_open(self, KL_LINUX_HUGETLB, config) == 0)
        return 0;
    return backing_open(self, KL_LINUX_MEMFD, config);
}

static bool config_valid(const struct kl_linux_backing_config *config)
{
    if (!config || config->size < sizeof(*config))
        return false;
    if ((unsigned)config->kind > KL_LINUX_HUGETLB_1G || config->block_order > BLOCK_ORDER_MAX)
        return false;
    if (config->frame_shift &&
        (config->frame_shift < FRAME_SHIFT_MIN || config->frame_shift > FRAME_SHIFT_MAX))
        return false;
    if (kli_huge_bytes(config->kind) && config->block_order &&
        config->block_order != block_order_of(config->kind, config))
        return false;
    return config->bytes != 0 && config->bytes <= BACKING_BYTES_MAX;
}

int kl_linux_backing_create(const struct kl_linux_backing_config *config,
                            struct kl_linux_backing **backing)
{
    struct kl_linux_backing *self;
    int err;

    if (!backing || !config_valid(config))
        return -KL_EINVAL;
    err = kli_numa_check(config->numa);
    if (err)
        return err;
    self = calloc(1, sizeof(*self));
    if (!self)
        return -KL_ENOMEM;
    err = config->kind == KL_LINUX_AUTO ? backing_open_auto(self, config)
                                        : backing_open(self, config->kind, config);
    if (err) {
        free(self);
        return err;
    }
    *backing = self;
    return 0;
}

void kl_linux_backing_destroy(struct kl_linux_backing *backing)
{
    if (!backing)
        return;
    munmap(backing->backing.base, backing->backing.bytes);
    close(backing->fd);
    free(backing);
}

const struct kl_backing *kl_linux_backing_get(const struct kl_linux_backing *backing)
{
    return &backing->backing;
}

enum kl_linux_kind kl_linux_backing_kind(const struct kl_linux_backing *backing)
{
    return backing->memory.kind;
}

const struct kli_memory *kli_linux_backing_memory(const struct kl_linux_backing *backing)
{
    return &backing->memory;
}

uint64_t kl_linux_backing_resident(const struct kl_linux_backing *backing)
{
    struct stat st;

    if (fstat(backing->fd, &st) != 0)
        return 0;
    return (uint64_t)st.st_blocks * 512;
}
