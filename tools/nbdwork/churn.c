// SPDX-License-Identifier: Apache-2.0
/* churn.c - permute, trim and verify: work on blocks that `load` has written. */
#include "nbdwork.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct churn {
    const struct options *options;
    struct sums sums;
    uint64_t *list; /* live blocks, shuffled */
    uint64_t n, next;
    uint64_t touched; /* blocks, for progress */
    atomic_uint_fast64_t wrong;
};

static int report_error(const struct op *op, const char *what)
{
    complain("%s block %ju: %s", what, (uintmax_t)op->block[0], strerror(op->error));
    return -1;
}

/* ---- permute: each round exchanges random pairs ------------------------- */

static bool permute_next(struct job *job, struct op *op)
{
    struct churn *churn = job->ctx;

    if (churn->n - churn->next < 2)
        return false;
    op->block[0] = churn->list[churn->next++];
    op->block[1] = churn->list[churn->next++];
    churn->touched += 2;
    progress(churn->options, "overwritten", churn->touched * job->block_bytes, false);
    return true;
}

static void swap(uint64_t *a, uint64_t *b)
{
    uint64_t old = *a;

    *a = *b;
    *b = old;
}

/* Read both, write each where the other was. */
static int permute_step(struct job *job, struct conn *conn, struct op *op)
{
    struct churn *churn = job->ctx;

    if (op->error != 0)
        return report_error(op, "exchanging");
    if (op->stage == 0)
        return op_read(conn, op, 0) < 0 || op_read(conn, op, 1) < 0 ? -1 : 1;
    if (op->stage == 1) {
        swap(&op->block[0], &op->block[1]);
        return op_write(conn, op, 0) < 0 || op_write(conn, op, 1) < 0 ? -1 : 1;
    }
    swap(&churn->sums.sum[op->block[0]], &churn->sums.sum[op->block[1]]);
    return 0;
}

/* ---- trim --------------------------------------------------------------- */

static bool trim_next(struct job *job, struct op *op)
{
    struct churn *churn = job->ctx;

    if (churn->next >= churn->n)
        return false;
    op->block[0] = churn->list[churn->next++];
    progress(churn->options, "trimmed", churn->next * job->block_bytes, false);
    return true;
}

static int trim_step(struct job *job, struct conn *conn, struct op *op)
{
    struct churn *churn = job->ctx;

    if (op->error != 0)
        return report_error(op, "trimming");
    if (op->stage == 0)
        return op_trim(conn, op, 0);
    churn->sums.sum[op->block[0]] = 0;
    return 0;
}

/* ---- verify ------------------------------------------------------------- */

static bool verify_next(struct job *job, struct op *op)
{
    struct churn *churn = job->ctx;

    if (churn->next >= churn->sums.blocks)
        return false;
    op->block[0] = churn->next++;
    progress(churn->options, "verified", churn->next * job->block_bytes, false);
    return true;
}

static bool is_zero(const unsigned char *buf, size_t bytes)
{
    return buf[0] == 0 && memcmp(buf, buf + 1, bytes - 1) == 0;
}

static int verify_step(struct job *job, struct conn *conn, struct op *op)
{
    struct churn *churn = job->ctx;

    if (op->error != 0)
        return report_error(op, "reading");
    if (op->stage == 0)
        return op_read(conn, op, 0);
    uint64_t sum = churn->sums.sum[op->block[0]];
    bool good = sum == 0 ? is_zero(op->buf[0], job->block_bytes)
                         : sum == sum_of(op->buf[0], job->block_bytes);
    if (!good && atomic_fetch_add(&churn->wrong, 1) < 5)
        complain("block %ju is not what was written%s", (uintmax_t)op->block[0],
                 sum == 0 ? " (it was trimmed)" : "");
    return 0;
}

/* ---- the verbs ---------------------------------------------------------- */

static bool run(struct churn *churn, bool (*next)(struct job *, struct op *),
                int (*step)(struct job *, struct conn *, struct op *))
{
    struct job job = job_of(churn->options, churn->sums.block_bytes, churn);

    job.next = next;
    job.step = step;
    churn->next = 0;
    return job_run(&job, NULL);
}

static bool start(struct churn *churn, const struct options *options)
{
    *churn = (struct churn){.options = options};
    if (!sums_read(&churn->sums, options->sums))
        return false;
    churn->list = live_blocks(&churn->sums, &churn->n);
    return churn->list != NULL;
}

static void end(struct churn *churn)
{
    free(churn->list);
    sums_free(&churn->sums);
}

bool verb_permute(const struct options *options)
{
    struct churn churn;
    uint64_t seed = options->seed;
    bool good = start(&churn, options);

    for (unsigned round = 0; good && round < options->rounds; round++) {
        shuffle(churn.list, churn.n, &seed);
        good = run(&churn, permute_next, permute_step);
    }
    if (good) {
        progress(options, "overwritten", churn.touched * churn.sums.block_bytes, true);
        good = sums_write(&churn.sums, options->sums);
    }
    end(&churn);
    return good;
}

bool verb_trim(const struct options *options)
{
    struct churn churn;
    uint64_t seed = options->seed;
    bool good = start(&churn, options);

    if (good) {
        shuffle(churn.list, churn.n, &seed);
        churn.n = churn.n * options->percent / 100;
        good = run(&churn, trim_next, trim_step);
    }
    if (good) {
        progress(options, "trimmed", churn.n * churn.sums.block_bytes, true);
        good = sums_write(&churn.sums, options->sums);
    }
    end(&churn);
    return good;
}

bool verb_verify(const struct options *options)
{
    struct churn churn;
    bool good = start(&churn, options) && run(&churn, verify_next, verify_step);

    if (good) {
        uint64_t wrong = atomic_load(&churn.wrong);
        progress(options, "verified", churn.sums.blocks * churn.sums.block_bytes, true);
        printf("verified %ju blocks, %ju of them trimmed: %ju wrong\n",
               (uintmax_t)churn.sums.blocks, (uintmax_t)(churn.sums.blocks - churn.n),
               (uintmax_t)wrong);
        good = wrong == 0;
    }
    end(&churn);
    return good;
}
