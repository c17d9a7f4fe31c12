// SPDX-License-Identifier: Apache-2.0
/* klotski.c - a compressed RAM disk whose memory can be taken back whole, as an
 * nbdkit plugin.
 *
 * Order of calls: config, config_complete, get_ready (still attached to whoever
 * started nbdkit: what can be refused is refused here), fork, after_fork (memory
 * and threads are made here, since neither survives a fork), requests from
 * many threads at a time, cleanup.
 *
 * Nothing is buffered outside of the store and the store is one for all
 * connections: flush has nothing to do, FUA is free, multi-conn is safe.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "disk.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define TO_TEXT(x) #x
#define TEXT(x)    TO_TEXT(x)
#define VERSION    TEXT(KL_VERSION_MAJOR) "." TEXT(KL_VERSION_MINOR) "." TEXT(KL_VERSION_PATCH)

#define REQUEST_MAX (32u << 20)

static struct kli_params params = {.auto_compact = true};
static struct kli_disk disk;

static int plugin_config(const char *key, const char *value)
{
    return kli_params_set(&params, key, value);
}

static int plugin_config_complete(void)
{
    return kli_params_complete(&params);
}

static int plugin_get_ready(void)
{
    return kli_disk_probe(&params);
}

static int plugin_after_fork(void)
{
    return kli_disk_open(&disk, &params);
}

static void plugin_cleanup(void)
{
    kli_disk_close(&disk);
}

static void plugin_unload(void)
{
    kli_disk_close(&disk); /* cleanup is not called when the start failed */
    kli_params_free(&params);
}

/* Requests of one connection run in parallel too, where that is safe.  nbdkit
 * 1.32.4 and 1.32.5 (Debian 12) end with an assertion when a client vanishes
 * that has several requests under way, and may even send its data to another
 * client (their commit 9d82aa4f has it).  The cure is in every nbdkit that has
 * nbdkit_disconnect; elsewhere each connection has one request at a time, and
 * several connections run in parallel all the same. */
static int plugin_thread_model(void)
{
    return dlsym(RTLD_DEFAULT, "nbdkit_disconnect") ? NBDKIT_THREAD_MODEL_PARALLEL
                                                    : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}

static void plugin_dump(void)
{
    int64_t total = kl_linux_hugepages_total();
    int64_t free = kl_linux_hugepages_free();

    printf("klotski_version=%s\n", VERSION);
    printf("klotski_codecs=lz4 zstd\n");
    printf("klotski_hugetlb=%s\n", total > 0 ? "yes" : "no");
    printf("klotski_hugepages_free=%lld\n", (long long)(free > 0 ? free : 0));
    free = kl_linux_hugepages_free_of(KL_LINUX_HUGETLB_1G, 0);
    printf("klotski_hugepages_1g_free=%lld\n", (long long)(free > 0 ? free : 0));
}

static void *plugin_open(int readonly)
{
    (void)readonly;
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t plugin_get_size(void *handle)
{
    (void)handle;
    return (int64_t)params.size;
}

static const char *plugin_export_description(void *handle)
{
    (void)handle;
    return nbdkit_printf_intern("klotski: compressed memory (%s), %u byte blocks",
                                params.codec.name, params.block);
}

static int plugin_yes(void *handle)
{
    (void)handle;
    return 1;
}

static int plugin_no(void *handle)
{
    (void)handle;
    return 0;
}

static int plugin_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

static int plugin_can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_NATIVE;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                             uint32_t *maximum)
{
    (void)handle;
    *minimum = 1;
    *preferred = params.block;
    *maximum = REQUEST_MAX;
    return 0;
}

/* Tells the client; the log hears of a full disk once, not once a request. */
static int refuse(const char *what, uint64_t block, int err)
{
    static atomic_bool full_said;

    if (err == -KL_ENOSPC || err == -KL_ENOMEM) {
        if (!atomic_exchange(&full_said, true))
            nbdkit_error("the disk's memory is full: writes fail until something is trimmed");
        nbdkit_set_error(ENOSPC);
        return -1;
    }
    if (params.writeback &&
        (err == -KL_EIO || err == -KL_ETIMEDOUT)) { /* its state is in the log */
        nbdkit_debug("%s of block %llu: %s", what, (unsigned long long)block, kl_err_text(err));
        nbdkit_set_error(EIO);
        return -1;
    }
    nbdkit_error("%s of block %llu: %s", what, (unsigned long long)block, kl_err_text(err));
    nbdkit_set_error(err == -KL_ERANGE || err == -KL_EINVAL ? EINVAL : EIO);
    return -1;
}

/* The part of a request that lies in one block. */
struct piece {
    uint64_t block;
    uint32_t offset;
    uint32_t len;
};

static struct piece first_piece(uint64_t offset, uint32_t count)
{
    struct piece piece = {
        .block = offset / params.block,
        .offset = (uint32_t)(offset % params.block),
    };

    piece.len = params.block - piece.offset;
    if (piece.len > count)
        piece.len = count;
    return piece;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    char *to = buf;

    (void)handle;
    (void)flags;
    while (count) {
        struct piece p = first_piece(offset, count);
        int err = kl_store_read(disk.store, p.block, p.offset, to, p.len);

        if (err)
            return refuse("read", p.block, err);
        to += p.len;
        offset += p.len;
        count -= p.len;
    }
    return 0;
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
                         uint32_t flags)
{
    const char *from = buf;

    (void)handle;
    (void)flags;
    while (count) {
        struct piece p = first_piece(offset, count);
        int err = kl_store_write(disk.store, p.block, p.offset, from, p.len);

        if (err)
            return refuse("write", p.block, err);
        from += p.len;
        offset += p.len;
        count -= p.len;
    }
    return 0;
}

/* Trim and zero are the same here: what is discarded reads as zeroes. */
static int plugin_discard(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    (void)flags;
    while (count) {
        struct piece p = first_piece(offset, count);
        int err = kl_store_discard(disk.store, p.block, p.offset, p.len);

        if (err)
            return refuse("discard", p.block, err);
        offset += p.len;
        count -= p.len;
    }
    return 0;
}

static int plugin_flush(void *handle, uint32_t flags)
{
    (void)handle;
    (void)flags;
    return 0;
}

static int plugin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    (void)count;
    (void)offset;
    (void)flags;
    return 0;
}

/* A block of zeroes is a hole in the store, however it was written. */
static uint32_t block_extent(uint64_t block)
{
    bool hole = kl_store_kind(disk.store, block) == KL_STORE_HOLE;

    return hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                          struct nbdkit_extents *extents)
{
    uint64_t end = offset + count;
    uint64_t start = offset - offset % params.block;

    (void)handle;
    while (start < end) {
        uint64_t at = start;
        uint32_t type = block_extent(at / params.block);

        do
            at += params.block;
        while (at < end && block_extent(at / params.block) == type);
        if (nbdkit_add_extent(extents, start, at - start, type) == -1)
            return -1;
        if (flags & NBDKIT_FLAG_REQ_ONE)
            break;
        start = at;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "klotski",
    .longname = "Klotski compressed RAM disk",
    .version = VERSION,
    .description = "A compressed RAM disk in memory whose every page can move: "
                   "huge pages can be taken back whole while it serves.",
    .config = plugin_config,
    .config_complete = plugin_config_complete,
    .config_help = KLI_PARAMS_HELP,
    .magic_config_key = "size",
    .dump_plugin = plugin_dump,
    .thread_model = plugin_thread_model,
    .get_ready = plugin_get_ready,
    .after_fork = plugin_after_fork,
    .cleanup = plugin_cleanup,
    .unload = plugin_unload,
    .open = plugin_open,
    .get_size = plugin_get_size,
    .export_description = plugin_export_description,
    .block_size = plugin_block_size,
    .is_rotational = plugin_no,
    .can_multi_conn = plugin_yes,
    .can_fast_zero = plugin_yes,
    .can_fua = plugin_can_fua,
    .can_cache = plugin_can_cache,
    .pread = plugin_pread,
    .pwrite = plugin_pwrite,
    .flush = plugin_flush,
    .trim = plugin_discard,
    .zero = plugin_discard,
    .cache = plugin_cache,
    .extents = plugin_extents,
};

struct nbdkit_plugin *plugin_init(void); /* the macro does not declare it */
NBDKIT_REGISTER_PLUGIN(plugin)
