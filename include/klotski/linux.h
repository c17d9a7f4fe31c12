// SPDX-License-Identifier: Apache-2.0
/* klotski/linux.h - the host for Linux: memory from hugetlb or a memfd, futexes,
 * compressors, and a way to hand taken memory to another process.
 */
#ifndef KLOTSKI_LINUX_H
#define KLOTSKI_LINUX_H

#include "host.h"
#include "store.h"
#include "target.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The host of this process.  Thread-safe, never NULL. */
const struct kl_host *kl_linux_host(void);

enum kl_linux_kind {
    KL_LINUX_AUTO = 0,       /* hugetlb if the pool has `bytes` free now, else memfd */
    KL_LINUX_HUGETLB = 1,    /* huge pages of 2 MiB: block = huge page */
    KL_LINUX_MEMFD = 2,      /* ordinary pages; blocks of 2 MiB */
    KL_LINUX_HUGETLB_1G = 3, /* huge pages of 1 GiB: block = huge page */
};

struct kl_linux_backing_config {
    size_t size; /* sizeof(struct kl_linux_backing_config) */
    enum kl_linux_kind kind;
    uint64_t bytes;       /* rounded up to whole blocks */
    unsigned block_order; /* memfd only: frames a block, 0 means blocks of 2 MiB */
    unsigned frame_shift; /* 12 (frames of 4 KiB) to 21 (2 MiB); 0 means 12 */
    unsigned numa;        /* KL_LINUX_NODE(n): memory of that node only; 0: of any */
};

/* A NUMA node's number in a config, where 0 says nothing. */
#define KL_LINUX_NODE(n) ((unsigned)(n) + 1)

struct kl_linux_backing;

/* Memory is reserved in the address space only; blocks are populated by the
 * zone, so that a missing huge page is an error and never SIGBUS.  Excluded from
 * core dumps and from fork.
 * numa binds mapping and memory to a node (mbind(2), MPOL_BIND): where that node has
 * no memory left, a populate fails, whatever others have.  The thread that populates
 * has its own memory policy changed meanwhile.
 * -KL_EINVAL: a figure is impossible, or this process may have no memory of that
 * node.  -KL_ENOMEM: no addresses.  -KL_ENOTSUP: no huge pages of that size here;
 * or numa without libnuma. */
int kl_linux_backing_create(const struct kl_linux_backing_config *config,
                            struct kl_linux_backing **backing);
/* After the zone. */
void kl_linux_backing_destroy(struct kl_linux_backing *backing);

/* For kl_zone_config.backing. */
const struct kl_backing *kl_linux_backing_get(const struct kl_linux_backing *backing);
enum kl_linux_kind kl_linux_backing_kind(const struct kl_linux_backing *backing);

/* What the system says this backing holds, in bytes: st_blocks of its file. */
uint64_t kl_linux_backing_resident(const struct kl_linux_backing *backing);

/* What the system says of its huge pages of 2 MiB; -1 when it has none. */
int64_t kl_linux_hugepages_free(void);
int64_t kl_linux_hugepages_total(void);
/* The same by size: of the pool that this kind of backing uses (-1: none, also for
 * ordinary pages), on all nodes (numa 0) or on one (KL_LINUX_NODE(n)). */
int64_t kl_linux_hugepages_free_of(enum kl_linux_kind kind, unsigned numa);
int64_t kl_linux_hugepages_total_of(enum kl_linux_kind kind, unsigned numa);

/* How many bytes of ordinary memory the system and the memory cgroups of this
 * process have left, without swap; -1 when they don't say.  Ask before
 * KL_ZONE_POPULATE of a memfd: Linux hands out more than there is and then kills. */
int64_t kl_linux_memory_available(void);
/* The same of one node (KL_LINUX_NODE(n)), at most; 0: as above. */
int64_t kl_linux_memory_available_on(unsigned numa);

/* A lease: memory that was taken from a zone and goes to another process, as a
 * fresh memfd of the backing's kind and node (never the zone's own descriptor).  The file
 * is fully allocated; ftruncate and fallocate can't make it longer and it can't be
 * sealed further, so that revoke always gets the memory back: whoever still maps
 * it gets SIGBUS.  (What a peer maps anew of hugetlb after that is its own affair
 * with the system's pool, as with MAP_HUGETLB.)
 * Give `bytes` back with kl_zone_give_back first.
 * -KL_EINVAL: bytes is 0, no multiple of the backing's block, or more than the
 * whole backing; or a pointer is NULL.
 * -KL_ENOMEM: the system has not got it (any more).
 * -KL_ENOTSUP, -KL_EIO: it refuses such a file, or to seal it. */
int kl_linux_lease_create(const struct kl_linux_backing *like, uint64_t bytes, int *fd);
/* Takes the memory back and closes the descriptor. */
int kl_linux_lease_revoke(int fd);

/* "lz4" (level: acceleration, 0 = default) or "zstd" (level 0 = default 3).
 * -KL_EINVAL: no such compressor or level. */
int kl_linux_codec(const char *name, int level, struct kl_codec *codec);

/* XXH3 of 64 bits, for kl_store_config.hash. */
uint64_t kl_linux_hash(const void *bytes, size_t n);

/* A target for write-back (klotski/writeback.h) in a file or on a block device, served by
 * two threads.  A file is made, sparse, and removed in the end; one that is there has to
 * be empty or left over from another such target, and stays.  A page of it is not for the
 * user.  `bytes` is how many he gets; 0: as many as the device has.
 * -KL_EINVAL: a pointer is NULL; no size for a file; a device that is smaller; or it is
 * neither.  -KL_EEXIST: the file holds something else.  -KL_EBUSY: somebody uses it.
 * -KL_ENOENT: no such folder.  -KL_ENOSPC, -KL_EIO: the system refuses.  -KL_ENOMEM. */
struct kl_linux_target;
int kl_linux_target_create(const char *path, uint64_t bytes, struct kl_linux_target **target);
/* After the store that has it.  NULL is nothing. */
void kl_linux_target_destroy(struct kl_linux_target *target);
const struct kl_target *kl_linux_target_get(const struct kl_linux_target *target);

/* A worker: a zone's background work (klotski/step.h) behind a descriptor, and on
 * request in a thread.  Without a thread the program polls the descriptor and, when
 * it is readable, calls step:
 *
 *   kl_linux_worker_create(zone, NULL, &worker);
 *   ... poll(kl_linux_worker_fd(worker)) for POLLIN: kl_linux_worker_step(worker); */
struct kl_linux_worker;

struct kl_linux_worker_config {
    size_t size;      /* sizeof(struct kl_linux_worker_config) */
    uint32_t budget;  /* frames that a step moves, about; 0: 512 */
    unsigned percent; /* of a CPU, the thread has no more of it; 1 to 100, 0: 10 */
    const char *name; /* of the thread, 15 characters are kept; NULL: "klotski" */
    unsigned flags;   /* of each step: KL_STEP_WANTED (klotski/step.h), or 0 */

    /* Called with ctx after each step, by the thread that did it; NULL: nobody.  It may do
     * what it likes but end the worker. */
    void (*stepped)(void *ctx);
    void *ctx;

    /* Called with ctx by the worker's own thread, once, when there was nothing to do for
     * quiet_ns since its start, or since a step.  NULL: nobody.  As stepped. */
    void (*quiet)(void *ctx);
    uint64_t quiet_ns;
};

/* config may be NULL.  The worker is the zone's kick; destroy it before the zone
 * (kl_zone_destroy is -KL_EBUSY until then).
 * -KL_EINVAL.  -KL_EEXIST: the zone has a kick.  -KL_ENOMEM: no memory or descriptor. */
int kl_linux_worker_create(struct kl_zone *zone, const struct kl_linux_worker_config *config,
                           struct kl_linux_worker **worker);
/* Ends the thread, if there is one.  Nobody else uses the worker any more. */
void kl_linux_worker_destroy(struct kl_linux_worker *worker);

/* Readable while a step is wanted.  The worker's own: only poll it. */
int kl_linux_worker_fd(const struct kl_linux_worker *worker);

/* One step, wanted or not; but only what is wanted with KL_STEP_WANTED, and when the
 * descriptor is readable because a time has come.  0: no more is wanted now.  -KL_EAGAIN: the
 * budget ended it, or it backs off, or a client wants to be called later; -KL_EBUSY: another thread
 * is in a step: the descriptor becomes readable again.  Else an error of kl_zone_step; the next
 * kick, or a client's time, makes the descriptor readable.  Thread-safe; not from a
 * callback. */
int kl_linux_worker_step(struct kl_linux_worker *worker);

/* A thread that does the steps: all signals blocked, nice 19, asleep when there is
 * nothing to do, and pausing after each step so that it keeps to its share of a CPU.
 * stop waits for the end of the step under way.  Start, stop and destroy are for one
 * thread at a time, and not from a callback.  A fork does not take the thread along.
 * -KL_EEXIST: it runs.  -KL_ENOENT: it does not.  -KL_ENOMEM: the system has none. */
int kl_linux_worker_start(struct kl_linux_worker *worker);
int kl_linux_worker_stop(struct kl_linux_worker *worker);

struct kl_linux_worker_stats {
    size_t size;        /* sizeof(struct kl_linux_worker_stats), set by the caller */
    uint64_t kicks;     /* times that work became wanted */
    uint64_t steps;     /* the thread's and others' */
    uint64_t cpu_ns;    /* processor time of the thread for which it has paused */
    uint64_t paused_ns; /* at least so long */
};
void kl_linux_worker_get_stats(const struct kl_linux_worker *worker,
                               struct kl_linux_worker_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
