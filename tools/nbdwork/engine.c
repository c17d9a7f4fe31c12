// SPDX-License-Identifier: Apache-2.0
/* engine.c - keeps NBD requests in flight.
 *
 * One thread a connection; each has its share of the operations and alone
 * touches them.  libnbd calls `completed` within nbd_poll, in that thread, where
 * no new request may be issued: so the loop looks for operations with nothing
 * pending and steps them.
 */
#include "nbdwork.h"

#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONNS 16

struct conn {
    struct job *job;
    struct nbd_handle *nbd;
    struct op *ops;
    bool *busy;
    unsigned nops;
    pthread_t thread;
    void *priv;
};

void **conn_private(struct conn *conn)
{
    return &conn->priv;
}

static int completed(void *user_data, int *error)
{
    struct op *op = user_data;

    op->pending--;
    if (*error != 0)
        op->error = *error;
    return 1; /* libnbd forgets the command */
}

static int issued(struct op *op, int64_t cookie)
{
    if (cookie >= 0)
        return 1;
    op->pending--;
    complain("%s", nbd_get_error());
    return -1;
}

int op_read(struct conn *conn, struct op *op, unsigned which)
{
    nbd_completion_callback done = {.callback = completed, .user_data = op};
    uint32_t bytes = conn->job->block_bytes;

    op->pending++;
    return issued(
        op, nbd_aio_pread(conn->nbd, op->buf[which], bytes, op->block[which] * bytes, done, 0));
}

int op_write(struct conn *conn, struct op *op, unsigned which)
{
    nbd_completion_callback done = {.callback = completed, .user_data = op};
    uint32_t bytes = conn->job->block_bytes;

    op->pending++;
    return issued(
        op, nbd_aio_pwrite(conn->nbd, op->buf[which], bytes, op->block[which] * bytes, done, 0));
}

int op_trim(struct conn *conn, struct op *op, unsigned which)
{
    nbd_completion_callback done = {.callback = completed, .user_data = op};
    uint32_t bytes = conn->job->block_bytes;

    op->pending++;
    return issued(op, nbd_aio_trim(conn->nbd, bytes, op->block[which] * bytes, done, 0));
}

static void fail(struct job *job)
{
    atomic_store(&job->failed, true);
    atomic_store(&job->stop, true);
}

static bool fetch(struct job *job, struct op *op)
{
    if (atomic_load(&job->stop))
        return false;
    pthread_mutex_lock(&job->lock);
    bool more = !atomic_load(&job->stop) && job->next(job, op);
    pthread_mutex_unlock(&job->lock);
    if (!more)
        atomic_store(&job->stop, true);
    return more;
}

/* One step of an operation that has nothing pending; whether it goes on. */
static bool step(struct conn *conn, struct op *op)
{
    int rc = conn->job->step(conn->job, conn, op);

    op->stage++;
    op->error = 0;
    if (rc < 0)
        fail(conn->job);
    if (rc == 0)
        atomic_fetch_add(&conn->job->done, 1);
    return rc > 0 || op->pending > 0; /* a failed one is kept while the server has its buffer */
}

/* Steps what can be stepped.  Whether anything is under way. */
static bool turn(struct conn *conn)
{
    bool active = false;

    for (unsigned i = 0; i < conn->nops; i++) {
        struct op *op = &conn->ops[i];
        if (conn->busy[i] && op->pending == 0)
            conn->busy[i] = !atomic_load(&conn->job->failed) && step(conn, op);
        while (!conn->busy[i] && fetch(conn->job, op)) {
            op->stage = 0;
            op->error = 0;
            conn->busy[i] = step(conn, op);
        }
        active |= conn->busy[i];
    }
    return active;
}

static void *conn_main(void *arg)
{
    struct conn *conn = arg;

    while (turn(conn)) {
        if (nbd_poll(conn->nbd, -1) >= 0)
            continue;
        complain("%s", nbd_get_error());
        fail(conn->job);
        break;
    }
    return NULL;
}

static bool conn_open(struct conn *conn, struct job *job, unsigned nops)
{
    *conn = (struct conn){.job = job, .nbd = nbd_create(), .nops = nops};
    if (conn->nbd == NULL || nbd_connect_uri(conn->nbd, job->uri) != 0) {
        complain("%s: %s", job->uri, nbd_get_error());
        return false;
    }
    conn->ops = calloc(nops, sizeof(*conn->ops));
    conn->busy = calloc(nops, sizeof(*conn->busy));
    if (conn->ops == NULL || conn->busy == NULL)
        return false;
    for (unsigned i = 0; i < nops; i++) {
        conn->ops[i].buf[0] = malloc(2 * (size_t)job->block_bytes);
        if (conn->ops[i].buf[0] == NULL)
            return false;
        conn->ops[i].buf[1] = conn->ops[i].buf[0] + job->block_bytes;
    }
    return true;
}

static void conn_close(struct conn *conn, void (*conn_free)(void *priv))
{
    if (conn->priv != NULL && conn_free != NULL)
        conn_free(conn->priv);
    if (conn->nbd != NULL) { /* first: after it no request can touch a buffer */
        if (!atomic_load(&conn->job->failed))
            nbd_shutdown(conn->nbd, 0);
        nbd_close(conn->nbd);
    }
    for (unsigned i = 0; conn->ops != NULL && i < conn->nops; i++)
        free(conn->ops[i].buf[0]);
    free(conn->ops);
    free(conn->busy);
}

static unsigned how_many(const struct job *job, struct conn *first)
{
    unsigned n = nbd_can_multi_conn(first->nbd) == 1 ? job->conns : 1;

    if (n > MAX_CONNS)
        n = MAX_CONNS;
    return n > job->depth ? job->depth : n;
}

bool job_run(struct job *job, void (*conn_free)(void *priv))
{
    struct conn conns[MAX_CONNS] = {0};
    unsigned n = 1, started = 0;

    pthread_mutex_init(&job->lock, NULL);
    struct conn probe;
    bool good = conn_open(&probe, job, 1);
    if (good)
        n = how_many(job, &probe);
    conn_close(&probe, NULL);
    unsigned opened = 0;
    for (; good && opened < n; opened++)
        good = conn_open(&conns[opened], job, (job->depth + n - 1) / n);
    while (good && started < n) {
        good = pthread_create(&conns[started].thread, NULL, conn_main, &conns[started]) == 0;
        started += good;
    }
    if (!good)
        fail(job);
    for (unsigned i = 0; i < started; i++)
        pthread_join(conns[i].thread, NULL);
    for (unsigned i = 0; i < opened; i++)
        conn_close(&conns[i], conn_free);
    pthread_mutex_destroy(&job->lock);
    return !atomic_load(&job->failed);
}

uint64_t disk_size(const char *uri)
{
    struct nbd_handle *nbd = nbd_create();
    int64_t size = -1;

    if (nbd != NULL && nbd_connect_uri(nbd, uri) == 0)
        size = nbd_get_size(nbd);
    if (size <= 0)
        complain("%s: %s", uri, size == 0 ? "the disk is empty" : nbd_get_error());
    if (nbd != NULL)
        nbd_close(nbd);
    return size > 0 ? (uint64_t)size : 0;
}
