// SPDX-License-Identifier: Apache-2.0
/* load.c - `nbdwork load`: a stream onto the disk, from offset 0.
 *
 * A file that is too short is read again from its start; a pipe ends the load.
 * With --until-full the disk's own statistics are asked as the load goes, and it
 * also ends, as full, when the disk says ENOSPC.
 */
#include "nbdwork.h"

#include "integrations/control/wire.h"
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_EVERY 2097152 /* bytes between two questions to the disk */

struct load {
    const struct options *options;
    struct sums sums;
    int fd;
    int control; /* or -1 */
    uint64_t next, end;
    uint64_t last_asked;
    unsigned full; /* per cent, when last asked */
    atomic_bool no_space;
};

/* As many bytes as there are, the rest zero; a file starts again.  0: the end. */
static size_t read_block(int fd, unsigned char *buf, size_t bytes)
{
    size_t got = 0;
    bool rewound = false;

    while (got < bytes) {
        ssize_t n = read(fd, buf + got, bytes - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            complain("reading: %s", strerror(errno));
        if (n > 0) {
            got += (size_t)n;
            rewound = false;
            continue;
        }
        if (n < 0 || rewound || lseek(fd, 0, SEEK_SET) < 0)
            break;
        rewound = true;
    }
    memset(buf + got, 0, bytes - got);
    return got;
}

/* Frames in use, per cent of all; -1 after a message. */
static int ask_full(int control)
{
    char *text = NULL;
    int percent = -1;

    if (kli_wire_call(control, "{\"op\":\"stat\"}", &text, NULL) < 0) {
        complain("the disk does not answer on its control socket");
        return -1;
    }
    struct json_object *reply = json_tokener_parse(text), *zone, *used, *frames;
    if (reply != NULL && json_object_object_get_ex(reply, "zone", &zone) &&
        json_object_object_get_ex(zone, "used_frames", &used) &&
        json_object_object_get_ex(zone, "frames", &frames) && json_object_get_int64(frames) > 0)
        percent = (int)(json_object_get_int64(used) * 100 / json_object_get_int64(frames));
    else
        complain("the disk's statistics say nothing of frames");
    json_object_put(reply);
    free(text);
    return percent;
}

static bool is_full(struct job *job, struct load *load)
{
    uint64_t at = load->next * load->sums.block_bytes;

    if (load->control < 0 || at - load->last_asked < ASK_EVERY)
        return false;
    load->last_asked = at;
    int percent = ask_full(load->control);
    if (percent < 0) {
        atomic_store(&job->failed, true);
        return true;
    }
    load->full = (unsigned)percent;
    return load->full >= load->options->until_full;
}

static bool load_next(struct job *job, struct op *op)
{
    struct load *load = job->ctx;

    if (load->next == load->end || is_full(job, load))
        return false;
    if (read_block(load->fd, op->buf[0], job->block_bytes) == 0)
        return false;
    op->block[0] = load->next++;
    progress(load->options, "loaded", load->next * job->block_bytes, false);
    return true;
}

static int load_step(struct job *job, struct conn *conn, struct op *op)
{
    struct load *load = job->ctx;

    if (op->stage == 0)
        return op_write(conn, op, 0);
    if (op->error == ENOSPC && load->options->until_full != 0) {
        atomic_store(&load->no_space, true);
        atomic_store(&job->stop, true);
        return 0; /* the block is what it was: zeroes */
    }
    if (op->error != 0) {
        complain("writing block %ju: %s", (uintmax_t)op->block[0], strerror(op->error));
        return -1;
    }
    load->sums.sum[op->block[0]] = sum_of(op->buf[0], job->block_bytes);
    return 0;
}

static bool open_sources(struct load *load)
{
    const struct options *options = load->options;

    load->fd = STDIN_FILENO;
    load->control = -1;
    if (strcmp(options->from, "-") != 0)
        load->fd = open(options->from, O_RDONLY | O_CLOEXEC);
    if (load->fd < 0) {
        complain("%s: %s", options->from, strerror(errno));
        return false;
    }
    if (options->until_full == 0)
        return true;
    load->control = kli_wire_connect(options->control);
    if (load->control < 0)
        complain("%s: nobody answers", options->control);
    return load->control >= 0;
}

static bool run(struct load *load)
{
    struct job job = job_of(load->options, load->sums.block_bytes, load);

    job.next = load_next;
    job.step = load_step;
    bool good = job_run(&job, NULL);
    if (good && atomic_load(&load->no_space))
        load->full = 100;
    while (load->next > 0 && load->sums.sum[load->next - 1] == 0)
        load->next--;
    load->sums.blocks = load->next;
    progress(load->options, "loaded", load->next * load->sums.block_bytes, true);
    return good && sums_write(&load->sums, load->options->sums);
}

bool verb_load(const struct options *options)
{
    struct load load = {.options = options};
    uint64_t size = disk_size(options->uri);

    if (size == 0 || !open_sources(&load))
        return false;
    uint64_t bytes = options->bytes != 0 && options->bytes < size ? options->bytes : size;
    load.end = bytes / options->block;
    bool good = sums_create(&load.sums, options->block, load.end) && run(&load);
    if (good)
        printf("loaded %ju bytes\n", (uintmax_t)(load.next * options->block));
    if (load.control >= 0)
        close(load.control);
    if (load.fd != STDIN_FILENO)
        close(load.fd);
    sums_free(&load.sums);
    return good;
}
