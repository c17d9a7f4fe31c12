// SPDX-License-Identifier: Apache-2.0
/* payload.c - `nbdwork payload`: what the data would need at best, compressed
 * block by block with nothing lost between them. */
#include "nbdwork.h"

#include <klotski/linux.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct payload {
    const struct options *options;
    struct kl_codec codec;
    uint64_t *list;
    uint64_t n, next;
    atomic_uint_fast64_t bytes;
};

/* What a connection's thread compresses with. */
struct room {
    const struct kl_codec *codec;
    void *context;
    unsigned char out[]; /* a block */
};

static void room_free(void *priv)
{
    struct room *room = priv;

    room->codec->context_destroy(room->codec, room->context);
    free(room);
}

static struct room *room_of(struct payload *payload, struct conn *conn, uint32_t bytes)
{
    void **priv = conn_private(conn);

    if (*priv == NULL) {
        struct room *room = malloc(sizeof(*room) + bytes);
        if (room == NULL)
            return NULL;
        room->codec = &payload->codec;
        room->context = payload->codec.context_create(&payload->codec);
        *priv = room;
    }
    return *priv;
}

static bool payload_next(struct job *job, struct op *op)
{
    struct payload *payload = job->ctx;

    if (payload->next >= payload->n)
        return false;
    op->block[0] = payload->list[payload->next++];
    progress(payload->options, "compressed", payload->next * job->block_bytes, false);
    return true;
}

static int payload_step(struct job *job, struct conn *conn, struct op *op)
{
    struct payload *payload = job->ctx;

    if (op->stage == 0)
        return op_read(conn, op, 0);
    struct room *room = room_of(payload, conn, job->block_bytes);
    if (op->error != 0 || room == NULL || room->context == NULL) {
        complain("block %ju: %s", (uintmax_t)op->block[0],
                 op->error != 0 ? strerror(op->error) : "no memory to compress it");
        return -1;
    }
    size_t packed = room->codec->compress(room->codec, room->context, room->out,
                                          job->block_bytes - 1, op->buf[0], job->block_bytes);
    atomic_fetch_add(&payload->bytes, packed != 0 ? packed : job->block_bytes);
    return 0;
}

static bool choose_codec(const char *text, struct kl_codec *codec)
{
    char name[16];
    int level = 0;
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);

    snprintf(name, sizeof(name), "%.*s", (int)len, text);
    if (colon != NULL)
        level = atoi(colon + 1);
    codec->size = sizeof(*codec);
    if (kl_linux_codec(name, level, codec) == 0)
        return true;
    complain("no such compressor: %s", text);
    return false;
}

bool verb_payload(const struct options *options)
{
    struct payload payload = {.options = options};
    struct sums sums;

    if (!choose_codec(options->compress, &payload.codec) || !sums_read(&sums, options->sums))
        return false;
    payload.list = live_blocks(&sums, &payload.n);
    struct job job = job_of(options, sums.block_bytes, &payload);
    job.next = payload_next;
    job.step = payload_step;
    bool good = payload.list != NULL && job_run(&job, room_free);
    if (good) {
        progress(options, "compressed", payload.n * sums.block_bytes, true);
        printf("payload %ju raw %ju\n", (uintmax_t)atomic_load(&payload.bytes),
               (uintmax_t)(payload.n * sums.block_bytes));
    }
    free(payload.list);
    sums_free(&sums);
    return good;
}
