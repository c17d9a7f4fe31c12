// SPDX-License-Identifier: Apache-2.0
/* internal.h - what the files of the Linux host share.
 *
 * A memory file is a memfd of ordinary or of huge pages.  Its memory is always
 * taken by fallocate before anybody touches it: a page that is missing is then
 * an error there and never a SIGBUS later.
 */
#ifndef KLI_LINUX_INTERNAL_H
#define KLI_LINUX_INTERNAL_H

#include <klotski/linux.h>
#include <klotski/pressure.h>

#include <limits.h>

#define KLI_HUGE_SHIFT    21u
#define KLI_HUGE_BYTES    ((uint64_t)1 << KLI_HUGE_SHIFT)
#define KLI_HUGE_SHIFT_1G 30u

/* What memory files are made of. */
struct kli_memory {
    enum kl_linux_kind kind; /* not KL_LINUX_AUTO */
    unsigned numa;           /* as kl_linux_backing_config.numa */
};

/* The huge pages of that kind; 0: it has none. */
static inline uint64_t kli_huge_bytes(enum kl_linux_kind kind)
{
    if (kind == KL_LINUX_HUGETLB_1G)
        return (uint64_t)1 << KLI_HUGE_SHIFT_1G;
    return kind == KL_LINUX_HUGETLB ? KLI_HUGE_BYTES : 0;
}

/* An error of a system call as one of Klotski's, negative. */
int kli_linux_error(int err);

/* A new file of `bytes`, without memory.
 * The descriptor, or -KL_ENOTSUP: no such pages on this machine; -KL_ENOMEM. */
int kli_memfile_create(enum kl_linux_kind kind, uint64_t bytes, bool sealable);

/* Gets zeroed memory for a range that has none.  On failure it has none again. */
int kli_memfile_populate(int fd, const struct kli_memory *memory, uint64_t offset, uint64_t bytes);

/* Gives the memory of a range back to the system. */
int kli_memfile_release(int fd, uint64_t offset, uint64_t bytes);

/* What a backing is made of. */
const struct kli_memory *kli_linux_backing_memory(const struct kl_linux_backing *backing);

/* Free huge pages that nobody has reserved; -1 when there is no pool. */
int64_t kli_hugepages_unreserved(enum kl_linux_kind kind, unsigned numa);

/* numa.c.  The policy of a thread, while it populates. */
#define KLI_NUMA_NODES 1024u
#define KLI_NUMA_WORDS (KLI_NUMA_NODES / (8 * sizeof(unsigned long)))
struct kli_numa_policy {
    int mode;
    unsigned long mask[KLI_NUMA_WORDS];
};
/* -KL_ENOTSUP: no libnuma, or a system without nodes.  -KL_EINVAL: no such node. */
int kli_numa_check(unsigned numa);
int kli_numa_bind(void *base, uint64_t bytes, unsigned numa);
int kli_numa_enter(unsigned numa, struct kli_numa_policy *before);
void kli_numa_leave(unsigned numa, const struct kli_numa_policy *before);

/* The number after the first line's beginning that is `key` ("": the first line)
 * of a file; -1 when there is none. */
int64_t kli_read_number(const char *folder, const char *name, const char *key);

/* A memory cgroup: where its files are, and how long the path of the topmost one is that
 * is mounted. */
struct kli_group {
    bool v2;
    char folder[PATH_MAX];
    size_t top;
};
/* What is left of a limit, caches that can go counted as left; -1, -1: there is none. */
struct kli_room {
    int64_t room;
    int64_t limit;
};
/* This process's own group; false: there is no such hierarchy. */
bool kli_memory_group(const char *root, bool v2, struct kli_group *found);
/* The one above it; false: it is the top. */
bool kli_memory_group_up(struct kli_group *group);
struct kli_room kli_memory_group_room(const struct kli_group *group);
/* Of the machine's memory. */
struct kli_room kli_memory_machine_room(const char *root);

/* kl_linux_memory_available of a system whose files are below root. */
int64_t kli_memory_available(const char *root);

/* How long the worker's thread pauses after it took so much of a CPU, so that it has
 * `percent` (1 to 100) of it. */
uint64_t kli_worker_pause(uint64_t cpu_ns, unsigned percent);

/* Sets the host's cpu_pop, cpu_push and cpu_fence where this machine has them. */
void kli_rseq_offer(struct kl_host *host);

/* The two compressors.  -KL_EINVAL: no such level. */
int kli_codec_lz4(int level, struct kl_codec *codec);
int kli_codec_zstd(int level, struct kl_codec *codec);

#endif
