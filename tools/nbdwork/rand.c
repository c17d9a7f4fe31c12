// SPDX-License-Identifier: Apache-2.0
/* rand.c - randread and randwrite: requests a second at random places, of one
 * block each.  What is written is taken from a file, at random places too: real
 * data, which compresses as real data does. */
#include "nbdwork.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct rnd {
    const struct options *options;
    bool write;
    uint64_t blocks; /* of the disk, or of the part of it in --bytes */
    uint64_t state;
    uint64_t end; /* ns */
    const unsigned char *data;
    uint64_t data_bytes;
};

static bool rand_next(struct job *job, struct op *op)
{
    struct rnd *rnd = job->ctx;

    if (now_ns() >= rnd->end)
        return false;
    op->block[0] = random_next(&rnd->state) % rnd->blocks;
    op->block[1] = rnd->write ? random_next(&rnd->state) % (rnd->data_bytes / job->block_bytes) : 0;
    return true;
}

static int rand_step(struct job *job, struct conn *conn, struct op *op)
{
    struct rnd *rnd = job->ctx;

    if (op->error != 0) {
        complain("block %ju: %s", (uintmax_t)op->block[0], strerror(op->error));
        return -1;
    }
    if (op->stage > 0)
        return 0;
    if (!rnd->write)
        return op_read(conn, op, 0);
    memcpy(op->buf[0], rnd->data + op->block[1] * job->block_bytes, job->block_bytes);
    return op_write(conn, op, 0);
}

static bool map_data(struct rnd *rnd)
{
    struct stat st;
    int fd = open(rnd->options->from, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < (off_t)rnd->options->block) {
        complain("%s: %s", rnd->options->from, fd < 0 ? strerror(errno) : "shorter than a block");
        if (fd >= 0)
            close(fd);
        return false;
    }
    rnd->data_bytes = (uint64_t)st.st_size;
    void *data = mmap(NULL, rnd->data_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (data == MAP_FAILED) {
        complain("%s: %s", rnd->options->from, strerror(errno));
        return false;
    }
    rnd->data = data;
    return true;
}

static bool run(const struct options *options, bool write)
{
    struct rnd rnd = {.options = options, .write = write, .state = options->seed};
    uint64_t bytes = disk_size(options->uri);

    if (bytes == 0 || (write && !map_data(&rnd)))
        return false;
    if (options->bytes != 0 && options->bytes < bytes)
        bytes = options->bytes;
    rnd.blocks = bytes / options->block;
    struct job job = job_of(options, options->block, &rnd);
    job.next = rand_next;
    job.step = rand_step;
    uint64_t start = now_ns();
    rnd.end = start + options->seconds * UINT64_C(1000000000);
    bool good = rnd.blocks > 0 && job_run(&job, NULL);
    if (good)
        printf("IOPS %.0f\n", (double)atomic_load(&job.done) * 1e9 / (double)(now_ns() - start));
    if (rnd.data != NULL)
        munmap((void *)rnd.data, rnd.data_bytes);
    return good;
}

bool verb_randread(const struct options *options)
{
    return run(options, false);
}

bool verb_randwrite(const struct options *options)
{
    return run(options, true);
}
