// SPDX-License-Identifier: Apache-2.0
/* nbdwork.h - the data worker of demo, tests and benchmarks: puts known data on
 * an NBD disk, churns it, and checks it.
 *
 * engine.c keeps requests in flight; every verb is a job of it: where the next
 * operation comes from, and what is done when its requests have completed.
 * sums.c remembers a checksum for each block.
 */
#ifndef NBDWORK_H
#define NBDWORK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- sums -------------------------------------------------------------- */

/* sum[i] is of block i; 0: nothing was written there, or it was trimmed, so that
 * it reads as zeroes (a real checksum of 0 is kept as 1). */
struct sums {
    uint32_t block_bytes;
    uint64_t blocks;
    uint64_t *sum;
};

/* Each prints why it fails. */
bool sums_create(struct sums *sums, uint32_t block_bytes, uint64_t blocks);
bool sums_read(struct sums *sums, const char *path);
bool sums_write(const struct sums *sums, const char *path);
void sums_free(struct sums *sums);
uint64_t sum_of(const void *data, size_t bytes);

/* ---- engine ------------------------------------------------------------ */

/* One operation: up to two requests at a time, each with a buffer. */
struct op {
    unsigned char *buf[2]; /* block_bytes each */
    uint64_t block[2];
    unsigned stage;   /* counts calls of step */
    unsigned pending; /* requests under way */
    int error;        /* of a request since the last step: an errno */
};

struct conn; /* a connection and its thread */

struct job {
    const char *uri;
    uint32_t block_bytes;
    unsigned depth; /* operations under way, over all connections */
    unsigned conns; /* if the server allows several */
    void *ctx;

    /* Fills op->block (and buffers); false: no more.  One call at a time. */
    bool (*next)(struct job *job, struct op *op);
    /* Called with op->stage 0, 1, ... whenever no request of op is pending.
     * Issues more and returns 1; 0: the operation is done; -1: stop all. */
    int (*step)(struct job *job, struct conn *conn, struct op *op);

    pthread_mutex_t lock; /* around next */
    atomic_bool stop;     /* no next operation */
    atomic_bool failed;
    atomic_uint_fast64_t done; /* operations */
};

/* Which of op's buffers and blocks. */
int op_read(struct conn *conn, struct op *op, unsigned which);
int op_write(struct conn *conn, struct op *op, unsigned which);
int op_trim(struct conn *conn, struct op *op, unsigned which);

/* A pointer for the job's own use, one a connection, NULL at first; it is given
 * to conn_free (may be NULL) at the end. */
void **conn_private(struct conn *conn);

/* Runs the job to its end; false after a message. */
bool job_run(struct job *job, void (*conn_free)(void *priv));

/* The disk's size in bytes, or 0 after a message. */
uint64_t disk_size(const char *uri);

/* ---- verbs ------------------------------------------------------------- */

struct options {
    const char *uri;
    const char *from;
    const char *control;
    const char *sums;
    const char *compress;
    uint64_t bytes;
    uint32_t block;
    unsigned until_full; /* per cent; 0: not given */
    unsigned percent;
    unsigned rounds;
    unsigned seconds;
    unsigned depth;
    unsigned conns;
    uint64_t seed;
    bool quiet;
};

bool verb_load(const struct options *options);
bool verb_permute(const struct options *options);
bool verb_trim(const struct options *options);
bool verb_verify(const struct options *options);
bool verb_payload(const struct options *options);
bool verb_randread(const struct options *options);
bool verb_randwrite(const struct options *options);

/* ---- odds and ends ----------------------------------------------------- */

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct job job_of(const struct options *options, uint32_t block_bytes, void *ctx);

/* Now and then, on stderr; rewrites its line on a terminal. */
void progress(const struct options *options, const char *what, uint64_t bytes, bool last);

/* Repeatable random numbers. */
uint64_t random_next(uint64_t *state);
void shuffle(uint64_t *list, uint64_t n, uint64_t *state);

/* Blocks with a sum, in order; NULL (after a message) or malloc'ed. */
uint64_t *live_blocks(const struct sums *sums, uint64_t *n);

uint64_t now_ns(void);

#endif
