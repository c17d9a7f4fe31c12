// SPDX-License-Identifier: Apache-2.0
/* params.c - the plugin's parameters.
 *
 * Each error is said here, once, by nbdkit_error, and names the parameter.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "params.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK_MIN     4096u
#define BLOCK_MAX     65536u
#define BLOCK_DEFAULT 4096u
#define BLOCKS_MAX    ((uint64_t)1 << 28)
#define MEMORY_MIN    ((uint64_t)2 << 20)
#define MEMORY_MAX    ((uint64_t)1 << 44)
#define NODE_MAX      4096u
#define IDLE_MAX      1000000u
#define IDLE_DEFAULT  300u
#define AGE_DEFAULT   60u
#define TIMEOUT_MAX   3600u

static int set_size(const char *key, const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
    int64_t n = nbdkit_parse_size(value); /* says what is wrong */

    if (n == -1)
        return -1;
    if ((uint64_t)n < min || (uint64_t)n > max) {
        nbdkit_error("%s=%s is out of range: %llu to %llu bytes", key, value,
                     (unsigned long long)min, (unsigned long long)max);
        return -1;
    }
    *out = (uint64_t)n;
    return 0;
}

static int set_bool(const char *value, bool *out)
{
    int b = nbdkit_parse_bool(value);

    if (b == -1)
        return -1;
    *out = b != 0;
    return 0;
}

static int set_block(const char *value, uint32_t *out)
{
    uint64_t block;

    if (set_size("block", value, BLOCK_MIN, BLOCK_MAX, &block) == -1)
        return -1;
    if (block & (block - 1)) {
        nbdkit_error("block=%s is not a power of two", value);
        return -1;
    }
    *out = (uint32_t)block;
    return 0;
}

static int set_backing(const char *value, enum kl_linux_kind *out)
{
    static const char *const names[] = {[KL_LINUX_AUTO] = "auto",
                                        [KL_LINUX_HUGETLB] = "hugetlb",
                                        [KL_LINUX_MEMFD] = "memfd",
                                        [KL_LINUX_HUGETLB_1G] = "hugetlb-1g"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = (enum kl_linux_kind)i;
            return 0;
        }
    }
    nbdkit_error("backing=%s: it is one of auto, hugetlb, hugetlb-1g, memfd", value);
    return -1;
}

static int set_pressure(const char *value, enum kli_pressure_param *out)
{
    static const char *const names[] = {[KLI_PRESSURE_AUTO] = "auto",
                                        [KLI_PRESSURE_PSI] = "psi",
                                        [KLI_PRESSURE_CGROUP] = "cgroup",
                                        [KLI_PRESSURE_POLL] = "poll",
                                        [KLI_PRESSURE_OFF] = "off"};

    for (unsigned i = KLI_PRESSURE_AUTO; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = (enum kli_pressure_param)i;
            return 0;
        }
    }
    nbdkit_error("pressure=%s: it is one of auto, psi, cgroup, poll, off", value);
    return -1;
}

/* Whether there is such a node is seen when memory is asked for. */
static int set_numa(const char *value, unsigned *out)
{
    unsigned node;

    if (nbdkit_parse_unsigned("numa", value, &node) == -1)
        return -1;
    *out = node < NODE_MAX ? KL_LINUX_NODE(node) : KL_LINUX_NODE(NODE_MAX);
    return 0;
}

static int set_idle(const char *value, unsigned *out)
{
    unsigned idle;

    if (nbdkit_parse_unsigned("idle", value, &idle) == -1)
        return -1;
    if (idle == 0 || idle > IDLE_MAX) {
        nbdkit_error("idle=%s is out of range: 1 to %u seconds", value, IDLE_MAX);
        return -1;
    }
    *out = idle;
    return 0;
}

static int set_number(const char *key, const char *value, unsigned max, unsigned *out)
{
    unsigned n;

    if (nbdkit_parse_unsigned(key, value, &n) == -1)
        return -1;
    if (n == 0 || n > max) {
        nbdkit_error("%s=%s is out of range: 1 to %u", key, value, max);
        return -1;
    }
    *out = n;
    return 0;
}

static int set_writeback(const char *value, struct kli_params *params)
{
    bool uri = strstr(value, "://") != NULL;
    char *copy = uri ? strdup(value) : nbdkit_absolute_path(value);
    struct stat st;

    if (!copy)
        return -1;
    free(params->writeback);
    params->writeback = copy;
    params->writeback_device = !uri && stat(copy, &st) == 0 && S_ISBLK(st.st_mode);
    return 0;
}

/* The parameters of write-back, all of which begin with "writeback". */
static int set_writeback_key(const char *key, const char *value, struct kli_params *params)
{
    if (strcmp(key, "writeback") == 0)
        return set_writeback(value, params);
    if (strcmp(key, "writeback-size") == 0)
        return set_size(key, value, (uint64_t)BLOCK_MAX * 2, MEMORY_MAX, &params->writeback_size);
    if (strcmp(key, "writeback-age") == 0)
        return set_number(key, value, IDLE_MAX, &params->writeback_age);
    if (strcmp(key, "writeback-share") == 0)
        return set_number(key, value, 100, &params->writeback_share);
    if (strcmp(key, "writeback-rate") == 0)
        return set_size(key, value, BLOCK_MAX, MEMORY_MAX, &params->writeback_rate);
    if (strcmp(key, "writeback-timeout") == 0)
        return set_number(key, value, TIMEOUT_MAX, &params->writeback_timeout);
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

/* NAME or NAME:LEVEL; 0, the default to the library, is no level that is given. */
static int set_codec(const char *key, const char *value, struct kl_codec *out)
{
    const char *colon = strchr(value, ':');
    char name[8] = "";
    size_t len = colon ? (size_t)(colon - value) : strlen(value);
    int level = 0;

    if (colon && nbdkit_parse_int(key, colon + 1, &level) == -1)
        return -1;
    if (len < sizeof(name))
        memcpy(name, value, len);
    if ((!colon || level != 0) && kl_linux_codec(name, level, out) == 0)
        return 0;
    nbdkit_error("%s=%s: it is lz4 or lz4:ACCEL (from 1 on), zstd or zstd:LEVEL (not 0)", key,
                 value);
    return -1;
}

static int set_control(const char *value, char **out)
{
    char *path = nbdkit_absolute_path(value); /* nbdkit changes the folder later */

    if (!path)
        return -1;
    free(*out);
    *out = path;
    return 0;
}

int kli_params_set(struct kli_params *params, const char *key, const char *value)
{
    if (strcmp(key, "size") == 0)
        return set_size(key, value, 1, INT64_MAX, &params->size);
    if (strcmp(key, "memory") == 0)
        return set_size(key, value, MEMORY_MIN, MEMORY_MAX, &params->memory);
    if (strcmp(key, "cma") == 0)
        return set_size(key, value, 1, MEMORY_MAX, &params->cma);
    if (strcmp(key, "limit") == 0)
        return set_size(key, value, BLOCK_MIN, MEMORY_MAX, &params->limit);
    if (strcmp(key, "block") == 0)
        return set_block(value, &params->block);
    if (strcmp(key, "backing") == 0)
        return set_backing(value, &params->backing);
    if (strcmp(key, "numa") == 0)
        return set_numa(value, &params->numa);
    if (strcmp(key, "compress") == 0)
        return set_codec(key, value, &params->codec);
    if (strcmp(key, "recompress") == 0)
        return set_codec(key, value, &params->recompress);
    if (strcmp(key, "idle") == 0)
        return set_idle(value, &params->idle);
    if (strcmp(key, "dedup") == 0)
        return set_bool(value, &params->dedup);
    if (strcmp(key, "control") == 0)
        return set_control(value, &params->control);
    if (strcmp(key, "auto-compact") == 0)
        return set_bool(value, &params->auto_compact);
    if (strcmp(key, "pressure") == 0)
        return set_pressure(value, &params->pressure);
    if (strcmp(key, "populate") == 0)
        return set_bool(value, &params->populate);
    if (strncmp(key, "writeback", 9) == 0)
        return set_writeback_key(key, value, params);
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

/* A block's age is counted in ticks, up to three. */
static int complete_writeback(struct kli_params *params)
{
    unsigned age = params->writeback_age ? params->writeback_age : AGE_DEFAULT;

    if (!params->writeback) {
        if (!params->writeback_size && !params->writeback_age && !params->writeback_share &&
            !params->writeback_rate && !params->writeback_timeout)
            return 0;
        nbdkit_error("a parameter of write-back without writeback=");
        return -1;
    }
    if (params->idle == 0)
        params->idle = (age + 1) / 2;
    params->writeback_ticks = (age + params->idle - 1) / params->idle;
    if (params->writeback_ticks > 3 && params->writeback_age) {
        nbdkit_error("writeback-age=%u is more than three times idle=%u", age, params->idle);
        return -1;
    }
    if (params->writeback_ticks > 3)
        params->writeback_ticks = 3;
    if (params->writeback_share == 0)
        params->writeback_share = 80;
    if (params->writeback_timeout == 0)
        params->writeback_timeout = 5;
    return 0;
}

static int check(const struct kli_params *params)
{
    if (params->size > params->block * BLOCKS_MAX) {
        nbdkit_error("size is too large: at most %llu blocks of %u bytes",
                     (unsigned long long)BLOCKS_MAX, params->block);
        return -1;
    }
    if (params->cma >= params->memory) {
        nbdkit_error("cma is not smaller than memory (%llu bytes)",
                     (unsigned long long)params->memory);
        return -1;
    }
    if (params->limit > params->memory) {
        nbdkit_error("limit is larger than memory (%llu bytes)",
                     (unsigned long long)params->memory);
        return -1;
    }
    return 0;
}

/* No more than data may use: so blocks that are partly used are within the limit, too. */
static uint64_t memory_default(const struct kli_params *params)
{
    uint64_t bytes = params->size;

    if (params->limit && params->limit < bytes)
        bytes = params->limit;
    return bytes < MEMORY_MIN ? MEMORY_MIN : bytes;
}

int kli_params_complete(struct kli_params *params)
{
    if (params->size == 0) {
        nbdkit_error("the size of the disk is missing: size=SIZE");
        return -1;
    }
    if (params->memory == 0)
        params->memory = memory_default(params);
    if (params->memory > MEMORY_MAX) {
        nbdkit_error("the disk is larger than a zone can be: give memory=SIZE too");
        return -1;
    }
    if (params->block == 0)
        params->block = BLOCK_DEFAULT;
    if (!params->codec.name && set_codec("compress", "zstd", &params->codec) == -1)
        return -1;
    if (params->recompress.name && params->idle == 0)
        params->idle = IDLE_DEFAULT;
    if (complete_writeback(params) == -1)
        return -1;
    return check(params);
}

void kli_params_free(struct kli_params *params)
{
    free(params->control);
    params->control = NULL;
    free(params->writeback);
    params->writeback = NULL;
}
