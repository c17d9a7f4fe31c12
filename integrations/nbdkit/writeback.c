// SPDX-License-Identifier: Apache-2.0
/* writeback.c - the target of a disk's write-back, and its state in nbdkit's log. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "writeback.h"

#include "../nbd/target.h"

#include <stdlib.h>
#include <string.h>

struct kli_writeback {
    struct kl_linux_target *file; /* or */
    struct kli_nbd *nbd;
    struct kl_store *store;
    enum kl_writeback_state said;
};

#if KLI_HAVE_NBD
static int open_nbd(struct kli_writeback *writeback, const struct kli_params *params)
{
    char why[128];

    if (kli_nbd_open(params->writeback, &writeback->nbd, why, sizeof(why)) == 0)
        return 0;
    nbdkit_error("writeback=%s: %s", params->writeback, why);
    return -1;
}

static void close_nbd(struct kli_writeback *writeback)
{
    kli_nbd_close(writeback->nbd);
}

static const struct kl_target *target_of(const struct kli_writeback *writeback)
{
    return writeback->nbd ? kli_nbd_target(writeback->nbd) : kl_linux_target_get(writeback->file);
}
#else
static int open_nbd(struct kli_writeback *writeback, const struct kli_params *params)
{
    (void)writeback;
    nbdkit_error("writeback=%s: this Klotski was built without libnbd", params->writeback);
    return -1;
}

static void close_nbd(struct kli_writeback *writeback)
{
    (void)writeback;
}

static const struct kl_target *target_of(const struct kli_writeback *writeback)
{
    return kl_linux_target_get(writeback->file);
}
#endif

static bool is_uri(const char *text)
{
    return strstr(text, "://") != NULL;
}

/* A file has no size of its own: room for every block, if none compresses. */
static uint64_t file_bytes(const struct kli_params *params)
{
    uint64_t blocks = params->size / params->block + 1;

    return params->writeback_size ? params->writeback_size
                                  : blocks * (params->block + KL_TARGET_UNIT);
}

static int open_file(struct kli_writeback *writeback, const struct kli_params *params)
{
    uint64_t bytes = params->writeback_device ? params->writeback_size : file_bytes(params);
    int err = kl_linux_target_create(params->writeback, bytes, &writeback->file);

    if (!err)
        return 0;
    if (err == -KL_EEXIST)
        nbdkit_error("writeback=%s: the file holds something that is not ours", params->writeback);
    else if (err == -KL_EINVAL)
        nbdkit_error("writeback=%s: neither a file nor a block device of that size",
                     params->writeback);
    else
        nbdkit_error("writeback=%s: %s", params->writeback, kl_err_text(err));
    return -1;
}

static int open_target(struct kli_writeback *writeback, const struct kli_params *params)
{
    return is_uri(params->writeback) ? open_nbd(writeback, params) : open_file(writeback, params);
}

void kli_writeback_close(struct kli_writeback *writeback)
{
    if (!writeback)
        return;
    close_nbd(writeback);
    kl_linux_target_destroy(writeback->file);
    free(writeback);
}

int kli_writeback_probe(const struct kli_params *params)
{
    struct kli_writeback *writeback;
    int err;

    if (!params->writeback)
        return 0;
    writeback = calloc(1, sizeof(*writeback));
    err = writeback ? open_target(writeback, params) : -1;
    kli_writeback_close(writeback);
    return err;
}

static int start(struct kli_writeback *writeback, const struct kli_params *params)
{
    const struct kl_writeback_config config = {
        .size = sizeof(config),
        .target = target_of(writeback),
        .bytes = params->writeback_size,
        .start_percent = params->writeback_share,
        .stop_percent = params->writeback_share > 10 ? params->writeback_share - 10 : 1,
        .age = params->writeback_ticks,
        .flags = KL_WRITEBACK_RAW,
        .bytes_per_second = params->writeback_rate,
        .timeout_ns = params->writeback_timeout * UINT64_C(1000000000),
    };
    int err = kl_store_writeback_start(writeback->store, &config);

    if (err == -KL_EINVAL)
        nbdkit_error("writeback=%s: it has no room for one block", params->writeback);
    else if (err)
        nbdkit_error("writeback=%s: %s", params->writeback, kl_err_text(err));
    return err ? -1 : 0;
}

int kli_writeback_open(const struct kli_params *params, struct kl_store *store,
                       struct kli_writeback **out)
{
    struct kli_writeback *writeback;

    *out = NULL;
    if (!params->writeback)
        return 0;
    writeback = calloc(1, sizeof(*writeback));
    if (!writeback) {
        nbdkit_error("writeback: no memory");
        return -1;
    }
    writeback->store = store;
    writeback->said = KL_WRITEBACK_OK;
    *out = writeback; /* also after an error: the store may have the target already */
    if (open_target(writeback, params) == -1 || start(writeback, params) == -1)
        return -1;
    return 0;
}

/* A target that is full is normal; what else is not well is an error. */
void kli_writeback_watch(void *arg)
{
    struct kl_writeback_stats stats = {.size = sizeof(stats)};
    struct kli_writeback *writeback = arg;

    kl_store_writeback_stats(writeback->store, &stats);
    if (stats.state == writeback->said)
        return;
    writeback->said = stats.state;
    if (stats.state == KL_WRITEBACK_OK || stats.state == KL_WRITEBACK_FULL)
        nbdkit_debug("write-back is %s", stats.text);
    else
        nbdkit_error("write-back is %s; what is not there yet stays in memory", stats.text);
}
