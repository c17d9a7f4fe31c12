// SPDX-License-Identifier: Apache-2.0
/* klotski/linux.h - the host for Linux: memory from hugetlb or a memfd, futexes,
 * compressors, and a way to hand taken memory to another process.
 */
#ifndef KLOTSKI_LINUX_H
#define KLOTSKI_LINUX_H

#include "host.h"
#include "shm.h"
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
/* Takes the memory back and closes the descriptor.  Once: as with close(2) the number may be
 * another file's afterwards.
 * -KL_EINVAL: a number below 0, or a file that can't be cut off.  -KL_EIO: no open file. */
int kl_linux_lease_revoke(int fd);

/* An object (klotski/shm.h) that another process has: its contents are in a file of their own,
 * an ordinary memfd, until it is taken back.  The file is all that the other process ever
 * gets; nothing of the zone can be reached from it.  Meanwhile the object counts as pinned,
 * kl_shm_read and kl_shm_write go to the file, and the zone pays for it (kl_shm_move_out).
 *
 * *fd is the peer's: an open file of its own, to be sent (SCM_RIGHTS) and closed.  The file
 * can't be made longer, nor sealed further.  Read-only: it is sealed against every write but
 * this library's own (F_SEAL_FUTURE_WRITE), and its descriptor can't be opened again for
 * writing by another user.
 * A peer may do as it likes, also after the end: what it has mapped raises SIGBUS for it,
 * what it reads is empty.  It can spoil the contents of an object that it may write, and
 * no more: what was cut off or punched out comes back as zero.  Pages that a peer has
 * pinned for a device of its own leave the file at once, but are free only when it unpins
 * them.
 * Not while other processes of the same user are hostile: they could as well debug this one. */
struct kl_linux_export;

enum kl_linux_export_flags {
    KL_LINUX_EXPORT_WRITE = 1u << 0, /* the peer may write */
};

struct kl_linux_peers; /* below */

struct kl_linux_export_config {
    size_t size; /* sizeof(struct kl_linux_export_config) */
    unsigned flags;
    int peer; /* a connected socket to the peer, or a pidfd of it: copied; -1: none (to be
               * written so: 0 is a descriptor) */
    struct kl_linux_peers *peers; /* ends it when the peer is gone; NULL: nobody does */
};

/* out may be NULL if there are peers to end it: then nobody else can.
 * -KL_EINVAL: config, or an object of no bytes; or peers, and nothing to look out for.
 * -KL_ENOTSUP: no such seals, or no /proc here.
 * Else as kl_shm_move_out.  Waits as that does. */
int kl_linux_export_create(struct kl_shm *shm, kl_shm_id object,
                           const struct kl_linux_export_config *config,
                           struct kl_linux_export **out, int *fd);
/* The peer has closed its end, or has ended.  Never waits; thread-safe. */
bool kl_linux_export_is_gone(const struct kl_linux_export *exported);
/* The contents come back, the file is emptied, the export is freed; whether the peer is gone
 * or not.  One that kl_linux_peers has ended, or whose object kl_shm_move_in has got back, is
 * only freed; one that the peers are at is waited for.  Once for each export that the program has.
 * What a peer writes meanwhile may be lost.  An object that is destroyed, and has no users, does
 * not come back: it goes. -KL_ENOMEM: no frames for it; -KL_EBUSY: somebody copies, for long: the
 * export is as it was. */
int kl_linux_export_end(struct kl_linux_export *exported);

/* Looks out for the peers of exports, and ends the exports of those that are gone.  Behind a
 * descriptor; a worker (below) watches it along with the zone's own work, or the program
 * polls it:
 *
 *   kl_linux_peers_create(NULL, &peers);
 *   config.peers = peers; kl_linux_export_create(shm, object, &config, NULL, &fd);
 *   ... poll(kl_linux_peers_fd(peers)) for POLLIN: kl_linux_peers_look(peers);
 *
 * Gone is a peer that has closed its end of the socket, or whose process has ended; what it
 * writes to the socket is nothing to this.  Exports of any kl_shm, and several of one peer.
 * An end for which there are no frames just now is tried again, after 10 ms, then 20, up to
 * 1 s: the descriptor becomes readable then. */
struct kl_linux_peers_config {
    size_t size; /* sizeof(struct kl_linux_peers_config) */

    /* Called with ctx by whoever looks, a worker's thread perhaps, when the contents of an
     * object are back, or nobody wanted them; NULL: nobody.  It may do what it likes but look,
     * destroy the kl_linux_peers or end that worker; end the export, too, if the program has
     * it. */
    void (*ended)(void *ctx, struct kl_shm *shm, kl_shm_id object);
    void *ctx;
};

/* config may be NULL.  -KL_EINVAL.  -KL_ENOMEM: no memory or descriptor. */
int kl_linux_peers_create(const struct kl_linux_peers_config *config,
                          struct kl_linux_peers **peers);
/* Ends the exports that the program does not have, whether the peer is gone or not.  Nobody
 * uses it any more, a worker neither.  NULL is nothing.
 * -KL_EBUSY: the program has exports of it; nothing has changed.  Else what
 * kl_linux_export_end answers: the others are left. */
int kl_linux_peers_destroy(struct kl_linux_peers *peers);

/* Readable when there is something to look at.  Only poll it. */
int kl_linux_peers_fd(const struct kl_linux_peers *peers);

/* Ends exports whose peers are gone, up to 16 of them; as long as there are more the descriptor
 * stays readable.  Returns how many it has ended.  Waits as kl_linux_export_end.  Thread-safe;
 * not from a callback. */
int kl_linux_peers_look(struct kl_linux_peers *peers);

struct kl_linux_peers_stats {
    size_t size;      /* sizeof(struct kl_linux_peers_stats), set by the caller */
    uint64_t watched; /* exports now */
    uint64_t due;     /* of these: the peer is gone, they could not be ended yet */
    uint64_t gone;    /* peers found gone, by export; ever, as the next */
    uint64_t ended;   /* exports, not counting those that the program has ended */
    uint64_t failed;  /* ends that were put off */
    uint64_t bytes;   /* of files, in those that were ended */
};
void kl_linux_peers_get_stats(struct kl_linux_peers *peers, struct kl_linux_peers_stats *stats);

/* "lz4" (level: acceleration, 0 = default) or "zstd" (level 0 = default 3).
 * -KL_EINVAL: no such compressor or level. */
int kl_linux_codec(const char *name, int level, struct kl_codec *codec);

/* XXH3 of 64 bits, for kl_store_config.hash. */
uint64_t kl_linux_hash(const void *bytes, size_t n);

/* A target for write-back (klotski/writeback.h) in a file or on a block device, served by
 * two threads.  A file is made, sparse, and removed in the end; one that is there has to
 * be empty or left over from another such target, and stays, emptied.  A page of it is not for the
 * user.  `bytes` is how many he gets; 0: as many as the device has.
 * -KL_EINVAL: a pointer is NULL; no size for a file; a device that is smaller; or it is
 * neither.  -KL_EEXIST: the file holds something else.  -KL_EBUSY: somebody uses it.
 * -KL_ENOENT: no such folder.  -KL_ENOSPC, -KL_EIO: the system refuses.  -KL_ENOMEM. */
struct kl_linux_target;
int kl_linux_target_create(const char *path, uint64_t bytes, struct kl_linux_target **target);
/* After the store that has it.  NULL is nothing. */
void kl_linux_target_destroy(struct kl_linux_target *target);
const struct kl_target *kl_linux_target_get(const struct kl_linux_target *target);

/* Pressure of the machine, or of this process's memory cgroup: looks out for it, and has
 * the zone give back (klotski/pressure.h) before the kernel kills.  Behind a descriptor; a
 * worker (below) watches it along with the zone's own work, or the program polls it:
 *
 *   kl_linux_pressure_create(zone, NULL, &pressure);
 *   ... poll(kl_linux_pressure_fd(pressure)) for POLLIN: kl_linux_pressure_look(pressure);
 *
 * Where it hears of it:
 *   PSI     pressure stall information (Documentation/accounting/psi.rst): tasks stalled for
 *           want of memory for a tenth of a window ("some"), or all of them ("full").  The
 *           machine's, and with cgroup v2 the group's own.  Windows of 1 s; of 2 s where the
 *           kernel allows no other to this user.
 *   cgroup  how near the group, and those above it, are to their limits: looked at each
 *           second, and at once when the kernel says that a mark is passed (v1: a threshold of
 *           memory.usage_in_bytes and memory.pressure_level; v2: memory.events)
 *   poll    the same figures and MemAvailable of the machine, by looking alone
 *
 * When an eighth of a limit is left (of the machine's memory: a sixteenth), all idle memory
 * goes back; when half of that is left, or all tasks are stalled, cold blocks go as well. */
enum kl_linux_pressure_kind {
    KL_LINUX_PRESSURE_AUTO = 0, /* a limit, if there is one below the machine's memory, and
                                 * PSI; without either of them poll */
    KL_LINUX_PRESSURE_PSI = 1,  /* that alone */
    KL_LINUX_PRESSURE_CGROUP = 2,
    KL_LINUX_PRESSURE_POLL = 3,
};

struct kl_linux_pressure_config {
    size_t size; /* sizeof(struct kl_linux_pressure_config) */
    enum kl_linux_pressure_kind kind;
    unsigned interval_ms; /* between two looks; 0: 1000 */
};

struct kl_linux_pressure;

/* config may be NULL.  The zone must outlive it.
 * -KL_EINVAL: a pointer, the kind or the size.  -KL_ENOTSUP: the machine has no PSI, or lets us
 * have none; there is no limit; or it does not say what it has.  -KL_ENOMEM. */
int kl_linux_pressure_create(struct kl_zone *zone, const struct kl_linux_pressure_config *config,
                             struct kl_linux_pressure **pressure);
/* Tells the zone that the pressure is over.  Nobody uses it any more; after a worker that
 * watches it.  NULL is nothing. */
void kl_linux_pressure_destroy(struct kl_linux_pressure *pressure);

/* Readable when there is something to look at.  Only poll it. */
int kl_linux_pressure_fd(const struct kl_linux_pressure *pressure);

/* Looks at what has happened, and at the limits, and tells the zone.  Waits for nothing but
 * the reads of a few files of the kernel's.  Thread-safe; not from a callback. */
void kl_linux_pressure_look(struct kl_linux_pressure *pressure);

enum kl_linux_pressure_source {
    KL_LINUX_BY_PSI = 1u << 0,
    KL_LINUX_BY_CGROUP = 1u << 1, /* a limit of it */
    KL_LINUX_BY_EVENTS = 1u << 2, /* and the kernel says when a mark of it is passed */
    KL_LINUX_BY_POLLING = 1u << 3,
};

struct kl_linux_pressure_stats {
    size_t size;                  /* sizeof(struct kl_linux_pressure_stats), set by the caller */
    unsigned sources;             /* enum kl_linux_pressure_source: what is at work */
    unsigned level;               /* enum kl_pressure_level now */
    unsigned cgroup;              /* version of the group whose limit it is, 1 or 2; 0: none */
    unsigned window_ms, stall_ms; /* of PSI; 0: it is not at work */
    unsigned interval_ms;         /* between two looks; 0: none, PSI alone says when */
    uint64_t limit_bytes;         /* the one that is nearest, the machine's memory perhaps */
    uint64_t room_bytes;          /* and how much was left of it at the last look */
    uint64_t stalls;              /* events of PSI */
    uint64_t events;              /* of the group */
    uint64_t looks;
    uint64_t fired;          /* times that the zone was told of pressure that was new */
    uint64_t returned_bytes; /* what the zone gave back for pressure since the creation */
};
void kl_linux_pressure_get_stats(struct kl_linux_pressure *pressure,
                                 struct kl_linux_pressure_stats *stats);

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

    /* Watched by the thread along with the zone's work; it must outlive the worker.  While
     * there is pressure, the thread does not keep to its share of a CPU nor, where it may
     * raise itself, to its nice value: it works as long as there is memory to be given back.
     * A program without the thread polls it by itself.  NULL: none. */
    struct kl_linux_pressure *pressure;

    /* As well; each time that a peer is gone the thread ends what it had.  NULL: none. */
    struct kl_linux_peers *peers;
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
 * -KL_EEXIST: it runs.  -KL_ENOENT: it does not.  -KL_ENOMEM: the system has none.
 * -KL_EBUSY: (stop) this is the thread itself. */
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

/* A copy engine in software: a queue of commands that a thread of its own executes in memory that
 * is mapped here.  What a device's copy queue is to its memory (klotski/heap.h); a program
 * with such a queue gives kl_heap_ops its own submit instead.
 *
 *   kl_linux_engine_create(&config, &engine);
 *   submit(ctx, copies, n, batch): return kl_linux_engine_submit(engine, copies, n, batch);
 *
 * Batches are executed, and reported done, in the order in which they came. */
struct kl_linux_engine;
struct kl_copy;       /* klotski/heap.h */
struct kl_heap_batch; /* the same */

struct kl_linux_engine_config {
    size_t size;      /* sizeof(struct kl_linux_engine_config) */
    void *base;       /* where offset 0 is; NULL: nothing is copied, but it takes its time */
    uint64_t bytes;   /* of that memory, which outlives the engine */
    unsigned batches; /* that the queue holds, the one under way included; 0: 64 */
    unsigned copies;  /* that these have together; 0: 4096 */
    uint64_t bytes_per_second; /* not faster than that; 0: as fast as it goes */
    const char *name;          /* of the thread, 15 characters are kept; NULL: "klotski-copy" */

    /* Called by the engine's thread when a batch is done; result: 0.  NULL: kl_heap_done.  May
     * submit, but neither wait for the engine nor destroy it. */
    void (*done)(struct kl_heap_batch *batch, int result);
};

/* -KL_EINVAL: a pointer or size; bytes is 0, or the memory goes beyond the end of the
 * address space; no base and no bytes_per_second.  -KL_ENOMEM: no memory, or no thread. */
int kl_linux_engine_create(const struct kl_linux_engine_config *config,
                           struct kl_linux_engine **engine);
/* Executes and reports what is queued, then ends.  Nobody submits any more.  NULL is nothing. */
void kl_linux_engine_destroy(struct kl_linux_engine *engine);

/* Queues n copies as one batch, all or none; `copies` is read before it returns.  0: done will be
 * called for it once, perhaps before this returns.  Never waits but for a short lock;
 * thread-safe; also from done.
 * -KL_EAGAIN: the queue is full now.  -KL_ENOSPC: more copies than it ever holds.
 * -KL_ERANGE: a copy reaches beyond the memory.  -KL_EINVAL: n is 0, or a copy has no bytes or
 * overlaps its own source. */
int kl_linux_engine_submit(struct kl_linux_engine *engine, const struct kl_copy *copies, size_t n,
                           struct kl_heap_batch *batch);

/* Waits until all batches are reported that were queued before the call. */
void kl_linux_engine_wait(struct kl_linux_engine *engine);

struct kl_linux_engine_stats {
    size_t size;      /* sizeof(struct kl_linux_engine_stats), set by the caller */
    uint64_t batches; /* reported done */
    uint64_t copies;  /* in these */
    uint64_t bytes;   /* that they copied */
    uint64_t full;    /* submits that found no room */
    uint64_t refused; /* that were not valid */
    uint32_t queued;  /* batches now */
    uint32_t most;    /* that there were at a time */
    uint64_t busy_ns; /* time from a batch's beginning to its end, all together */
    uint64_t cpu_ns;  /* the thread's processor time, done included, up to the last batch */
};
void kl_linux_engine_get_stats(struct kl_linux_engine *engine, struct kl_linux_engine_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
