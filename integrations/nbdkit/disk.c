// SPDX-License-Identifier: Apache-2.0
/* disk.c - a disk's parts: memory, zone, store, worker, control server.
 *
 * Each part uses those before it, so they go in the opposite order: the control
 * server first, which ends leases and lends their blocks again, then the worker,
 * then what they worked on.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "disk.h"

#include "../control/server.h"
#include "writeback.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

/* When a disk becomes denser by itself. */
enum {
    WASTE_START = 30, /* thousandths of its frames, free in blocks partly used */
    WASTE_STOP = 10,
    WASTE_BLOCKS = 2,
    SPARE_BLOCKS = 1,
    NEVER = 100,
    WORKER_PERCENT = 50, /* of a CPU, and at the lowest priority */
    QUIET_FRAMES = 8192, /* whose memory goes when the disk is left alone; 30 ms at most */
    MMAP_FROM = 128 << 10,
};
#define KEEP_NS  UINT64_C(2000000000) /* a range that was given again stays whole so long */
#define QUIET_NS UINT64_C(600000000)  /* longer than a store keeps a context that is not used */

/* The server's own memory.  With one arena, and large pieces apart from it, what is free can
 * be given back; with one for each thread that ever was, most of it stays. */
static void malloc_prepare(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM);
#endif
}

static void malloc_give_back(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static const char *backing_name(enum kl_linux_kind kind)
{
    if (kind == KL_LINUX_HUGETLB_1G)
        return "huge pages of 1 GiB";
    return kind == KL_LINUX_HUGETLB ? "huge pages" : "ordinary memory";
}

static const char *parameter_of(enum kl_linux_kind kind)
{
    return kind == KL_LINUX_HUGETLB_1G ? "hugetlb-1g" : "hugetlb";
}

static const char *page_of(enum kl_linux_kind kind)
{
    return kind == KL_LINUX_HUGETLB_1G ? "1 GiB" : "2 MiB";
}

/* Memory for all of a memfd has to be there, zone's own data included, before any
 * of it is taken: the system would not refuse it, but kill. */
static int memory_check(const struct kli_params *params, const struct kl_linux_backing *backing)
{
    uint64_t need = params->memory + params->memory / 64;
    int64_t there = kl_linux_memory_available_on(params->numa);

    if (!params->populate || kl_linux_backing_kind(backing) != KL_LINUX_MEMFD)
        return 0;
    if (there < 0 || need <= (uint64_t)there)
        return 0;
    nbdkit_error("populate=true: memory=%llu needs %llu bytes of ordinary memory, but %lld are "
                 "available (MemAvailable in /proc/meminfo, limits of memory cgroups, the node)",
                 (unsigned long long)params->memory, (unsigned long long)need, (long long)there);
    return -1;
}

/* Can memory of that node be had at all?  If not, says why. */
static bool numa_ok(const struct kli_params *params)
{
    const struct kl_linux_backing_config config = {
        .size = sizeof(config), .kind = KL_LINUX_MEMFD, .bytes = 1, .numa = params->numa};
    struct kl_linux_backing *backing;
    int err = kl_linux_backing_create(&config, &backing);

    if (!err)
        kl_linux_backing_destroy(backing);
    else if (err == -KL_ENOTSUP)
        nbdkit_error("numa: this Klotski was built without libnuma, or the system has no nodes");
    else
        nbdkit_error("numa=%u: there is no such node with memory for us", params->numa - 1);
    return !err;
}

static int backing_open(const struct kli_params *params, struct kl_linux_backing **backing)
{
    const struct kl_linux_backing_config config = {
        .size = sizeof(config),
        .kind = params->backing,
        .bytes = params->memory,
        .numa = params->numa,
    };
    int err = kl_linux_backing_create(&config, backing);

    if (!err && memory_check(params, *backing) == 0)
        return 0;
    if (!err) {
        kl_linux_backing_destroy(*backing);
        *backing = NULL;
        return -1;
    }
    if (params->numa && !numa_ok(params))
        return -1;
    if (err == -KL_ENOTSUP)
        nbdkit_error("backing=%s: this machine has no pool of %s huge pages for us",
                     parameter_of(params->backing), page_of(params->backing));
    else
        nbdkit_error("cannot map %llu bytes of %s: %s", (unsigned long long)params->memory,
                     backing_name(params->backing), kl_err_text(err));
    return -1;
}

/* The smallest pool that hugetlb can be of use with is one huge page; with
 * populate=true it has to have them all. */
static int pool_check(const struct kli_params *params)
{
    const uint64_t page = params->backing == KL_LINUX_HUGETLB_1G ? (uint64_t)1 << 30 : 2 << 20;
    uint64_t need = params->populate ? (params->memory + page - 1) / page : 1;
    int64_t free = kl_linux_hugepages_free_of(params->backing, params->numa);

    if ((params->backing != KL_LINUX_HUGETLB && params->backing != KL_LINUX_HUGETLB_1G) ||
        (free >= 0 && (uint64_t)free >= need))
        return 0;
    nbdkit_error("backing=%s: %lld huge pages of %s are free%s, %llu are needed "
                 "(/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages)",
                 parameter_of(params->backing), (long long)(free < 0 ? 0 : free),
                 page_of(params->backing), params->numa ? " on that node" : "",
                 (unsigned long long)need, (unsigned long long)(page >> 10));
    return -1;
}

int kli_disk_probe(const struct kli_params *params)
{
    struct kl_linux_backing *backing;
    char why[256];

    if (params->control && kli_control_probe(params->control, why, sizeof(why)) != 0) {
        nbdkit_error("control: %s", why);
        return -1;
    }

    if (backing_open(params, &backing) == -1)
        return -1;
    kl_linux_backing_destroy(backing);
    if (pool_check(params) == -1)
        return -1;
    return kli_writeback_probe(params);
}

static int zone_open(struct kli_disk *disk, const struct kli_params *params)
{
    const struct kl_zone_config config = {
        .size = sizeof(config),
        .host = kl_linux_host(),
        .backing = kl_linux_backing_get(disk->backing),
        .flags = params->populate ? KL_ZONE_POPULATE : 0,
    };
    int err = kl_zone_create(&config, &disk->zone);

    if (!err)
        return 0;
    nbdkit_error("cannot make a zone of %llu bytes of %s: %s", (unsigned long long)params->memory,
                 backing_name(kl_linux_backing_kind(disk->backing)), kl_err_text(err));
    return -1;
}

/* Takes and gives that follow one another closely find the range as it was. */
static int area_open(struct kli_disk *disk, const struct kli_params *params)
{
    uint64_t block = kl_zone_block_bytes(disk->zone),
             bytes = (params->cma + block - 1) / block * block;
    const struct kl_cma_config config = {
        .size = sizeof(config),
        .name = "take",
        .frames = (uint32_t)(bytes / kl_zone_frame_bytes(disk->zone)),
        .defer_bytes = bytes,
        .defer_ns = KEEP_NS,
    };
    int err;

    if (params->cma == 0)
        return 0;
    err = kl_cma_create(disk->zone, &config, &disk->area);
    if (!err)
        return 0;
    disk->area = NULL;
    nbdkit_error("cma: cannot make an area of %llu bytes: %s", (unsigned long long)bytes,
                 kl_err_text(err));
    return -1;
}

static int store_open(struct kli_disk *disk, const struct kli_params *params)
{
    const struct kl_store_config config = {
        .size = sizeof(config),
        .blocks = params->size / params->block + (params->size % params->block != 0),
        .block_bytes = params->block,
        .codec = &params->codec,
        .limit_bytes = params->limit,
        .recompress = params->recompress.name ? &params->recompress : NULL,
        .idle_ns = params->idle * UINT64_C(1000000000),
        .flags = params->dedup ? KL_STORE_DEDUP : 0,
        .hash = kl_linux_hash,
        .auto_start_percent = params->auto_compact ? 0 : NEVER,
    };
    int err = kl_store_create(disk->zone, &config, &disk->store);

    if (!err)
        return 0;
    nbdkit_error("cannot make a store of %llu blocks: %s", (unsigned long long)config.blocks,
                 kl_err_text(err));
    return -1;
}

/* The disk is left alone for a while: what is kept for the next request goes, too. */
static void grow_quiet(void *ctx)
{
    struct kli_disk *disk = ctx;

    if (!disk->populated) {
        (void)kl_zone_trim(disk->zone, 0);
        (void)kl_zone_discard(disk->zone, QUIET_FRAMES);
    }
    malloc_give_back();
}

static void after_step(void *ctx)
{
    struct kli_disk *disk = ctx;

    if (disk->writeback)
        kli_writeback_watch(disk->writeback);
}

static enum kli_pressure_param pressure_of(const struct kli_disk *disk,
                                           const struct kli_params *params)
{
    bool plain = kl_linux_backing_kind(disk->backing) == KL_LINUX_MEMFD && !params->populate;

    if (params->pressure != KLI_PRESSURE_DEFAULT)
        return params->pressure;
    return plain ? KLI_PRESSURE_AUTO : KLI_PRESSURE_OFF;
}

/* Asked for by name, what can't be had is an error. */
static int pressure_open(struct kli_disk *disk, const struct kli_params *params)
{
    enum kli_pressure_param what = pressure_of(disk, params);
    struct kl_linux_pressure_config config = {
        .size = sizeof(config),
        .kind = (enum kl_linux_pressure_kind)(what - KLI_PRESSURE_AUTO),
    };
    int err;

    if (what == KLI_PRESSURE_OFF)
        return 0;
    err = kl_linux_pressure_create(disk->zone, &config, &disk->pressure);
    if (!err)
        return 0;
    disk->pressure = NULL;
    if (params->pressure <= KLI_PRESSURE_AUTO && err == -KL_ENOTSUP) {
        nbdkit_debug("nothing here says when memory is short");
        return 0;
    }
    nbdkit_error("pressure: %s", err == -KL_ENOTSUP
                                     ? "this machine, or the memory cgroup, does not have that"
                                     : kl_err_text(err));
    return -1;
}

/* Compaction and giving back by the marks, and the store's own work. */
static int worker_open(struct kli_disk *disk, const struct kli_params *params)
{
    const struct kl_linux_worker_config config = {
        .size = sizeof(config),
        .percent = WORKER_PERCENT,
        .flags = KL_STEP_WANTED,
        .stepped = after_step,
        .quiet = grow_quiet,
        .quiet_ns = QUIET_NS,
        .ctx = disk,
        .pressure = disk->pressure,
    };
    struct kl_zone_marks marks = {.size = sizeof(marks),
                                  .waste_start = WASTE_START,
                                  .waste_stop = WASTE_STOP,
                                  .waste_blocks = WASTE_BLOCKS,
                                  /* what it was told to get at its start stays */
                                  .spare_blocks = params->populate ? 0 : SPARE_BLOCKS};
    int err = 0;

    if (!params->auto_compact && params->idle == 0 && !disk->pressure && !disk->area)
        return 0;
    marks.waste_blocks = kl_zone_blocks(disk->zone) < WASTE_BLOCKS ? 1 : WASTE_BLOCKS;
    if (params->auto_compact)
        err = kl_zone_set_marks(disk->zone, &marks);
    if (!err)
        err = kl_linux_worker_create(disk->zone, &config, &disk->worker);
    if (!err)
        err = kl_linux_worker_start(disk->worker);
    if (!err)
        return 0;
    nbdkit_error("cannot start the thread for work in the background: %s", kl_err_text(err));
    return -1;
}

static int control_open(struct kli_disk *disk, const struct kli_params *params)
{
    const struct kli_control_config config = {
        .zone = disk->zone,
        .store = disk->store,
        .backing = disk->backing,
        .area = disk->area,
        .pressure = disk->pressure,
        .path = params->control,
        .disk_bytes = params->size,
        .block_bytes = params->block,
        .compress = params->codec.name,
        .level = params->codec.level,
        .recompress = params->recompress.name,
        .recompress_level = params->recompress.level,
        .idle = params->idle,
        .dedup = params->dedup,
    };
    char why[256];

    if (!params->control || kli_control_start(&config, &disk->control, why, sizeof(why)) == 0)
        return 0;
    nbdkit_error("control: %s", why);
    return -1;
}

int kli_disk_open(struct kli_disk *disk, const struct kli_params *params)
{
    *disk = (struct kli_disk){.populated = params->populate};
    malloc_prepare();
    if (backing_open(params, &disk->backing) == 0 && zone_open(disk, params) == 0 &&
        area_open(disk, params) == 0 && store_open(disk, params) == 0 &&
        kli_writeback_open(params, disk->store, &disk->writeback) == 0 &&
        pressure_open(disk, params) == 0 && worker_open(disk, params) == 0 &&
        control_open(disk, params) == 0)
        return 0;
    kli_disk_close(disk);
    return -1;
}

void kli_disk_close(struct kli_disk *disk)
{
    int err = 0;

    kli_control_stop(disk->control);
    kl_linux_worker_destroy(disk->worker);
    kl_linux_pressure_destroy(disk->pressure);
    if (disk->store)
        err = kl_store_destroy(disk->store);
    if (!err)
        err = kl_cma_destroy(disk->area);
    if (!err && disk->zone)
        err = kl_zone_destroy(disk->zone);
    if (err) { /* the end of the process frees it */
        nbdkit_error("the disk is still in use at its end: %s", kl_err_text(err));
    } else {
        kli_writeback_close(disk->writeback);
        kl_linux_backing_destroy(disk->backing);
    }
    *disk = (struct kli_disk){0};
}
