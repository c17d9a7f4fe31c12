// SPDX-License-Identifier: Apache-2.0
/* A block on its way out of memory: T1, T2, T3, T5.  Everything here is done with busy,
 * but for what makes the word what it is. */
#include "base/trace.h"
#include "store/writeback.h"

/* An object whose contents are not on their way yet. */
static struct kli_step w_writing(uint64_t word, uint64_t seen)
{
    if (word != seen || (word & STORE_W_WRITING) || !store_has_object(word))
        return KLI_REFUSED;
    return KLI_STEP(word | STORE_W_WRITING);
}

static struct kli_step w_stay(uint64_t word, uint64_t arg)
{
    (void)arg;
    if (!(word & STORE_W_WRITING))
        return KLI_REFUSED;
    return KLI_STEP(word & ~STORE_W_WRITING);
}

/* next: what says where it is on the target; only while nobody has the object. */
static struct kli_step w_leave(uint64_t word, uint64_t next)
{
    if (!(word & STORE_W_WRITING) || (word & ZS_W_CLAIMED))
        return KLI_REFUSED;
    return KLI_STEP(next);
}

bool wb_has_job(const struct store_writeback *wb, uint64_t block)
{
    for (unsigned i = 0; i < WB_WRITES; i++) {
        if (atomic_load(&wb->writes[i].state) != WB_FREE && wb->writes[i].block == block)
            return true;
    }
    return false;
}

static struct wb_job *free_job(struct store_writeback *wb)
{
    for (unsigned i = 0; i < WB_WRITES; i++) {
        if (atomic_load_explicit(&wb->writes[i].state, memory_order_acquire) == WB_FREE)
            return &wb->writes[i];
    }
    return NULL;
}

/* Copies the object, wherever it is by now; job->word is what was copied.  -KL_ESTALE:
 * the contents are others. */
static int copy(struct store_writeback *wb, struct wb_job *job)
{
    struct kl_store *store = wb->store;
    char *to = job->buf + sizeof(struct wb_head);
    int err;

    do {
        job->word = atomic_load_explicit(&store->table[job->block], memory_order_acquire);
        if (!(job->word & STORE_W_WRITING))
            return -KL_ESTALE;
        err = zs_direct_get(store->zs, (uint32_t)job->block, job->word, to,
                            wb_bytes(store, job->word));
    } while (err == -KL_ESTALE);
    return err;
}

static void seal(struct store_writeback *wb, struct wb_job *job)
{
    struct wb_head head = {
        .tag = wb->tag, .block = (uint32_t)job->block, .serial = job->serial = ++wb->serial};
    uint32_t end = sizeof(head) + wb_bytes(wb->store, job->word);

    memset(job->buf + end, 0, wb_units(wb->store, job->word) * WB_UNIT - end);
    memcpy(job->buf, &head, sizeof(head));
    head.check = wb_check(wb, (const struct wb_head *)(const void *)job->buf, job->word);
    memcpy(job->buf, &head, sizeof(head));
}

static void pace(struct store_writeback *wb, uint64_t bytes)
{
    enum { BURST_NS = 50000000 };
    uint64_t now = wb_now(wb), rate = wb->config.bytes_per_second;
    uint64_t next = atomic_load_explicit(&wb->next_ns, memory_order_relaxed);

    if (rate == 0)
        return;
    if (next + BURST_NS < now)
        next = now - BURST_NS;
    next += bytes * 1000000000 / rate; /* a block, so no overflow */
    atomic_store_explicit(&wb->next_ns, next, memory_order_relaxed);
}

/* 0: it is under way.  -KL_ENOSPC: no room on the target; -KL_EBUSY: no job is free;
 * -KL_ESTALE: not this one; or what the target said. */
int wb_begin(struct store_writeback *wb, uint64_t block)
{
    kli_word *entry = &wb->store->table[block];
    struct wb_job *job = free_job(wb);
    uint64_t first, units;
    int err;

    if (!job)
        return -KL_EBUSY;
    if (!wb_buffer(job))
        return -KL_ENOMEM;
    job->block = block;
    if (!kli_apply(entry, w_writing, atomic_load(entry), NULL))
        return -KL_ESTALE;
    KLI_TRACE_STEP(wb_marked, block, wb->serial, 0);
    err = copy(wb, job);
    if (err == 0) {
        units = wb_units(wb->store, job->word);
        err = wb_take(wb, units, &first) ? 0 : -KL_ENOSPC;
    }
    if (err) {
        kli_apply(entry, w_stay, 0, NULL);
        return err;
    }
    KLI_TRACE_STEP(wb_copied, block, job->word, first);
    seal(wb, job);
    pace(wb, units * WB_UNIT);
    wb_tick(wb, WB_C_WRITTEN_BYTES, units * WB_UNIT);
    wb_ask(job, KL_TARGET_WRITE, first, units);
    return 0;
}

/* The target has it: the word says so, if it is still the one that was copied.  false:
 * somebody has claimed it; later. */
static bool leave(struct store_writeback *wb, struct wb_job *job)
{
    struct kl_store *store = wb->store;
    uint64_t first = atomic_load(&job->first), units = atomic_load(&job->units);
    uint64_t place = first | (uint64_t)(job->serial & 63) << WB_SLOT_BITS, old;
    uint64_t next = store_with_codec(store_word(KL_STORE_WRITTEN, place, store_bytes(job->word)),
                                     store_codec(job->word));

    store_count(store, job->block, next, 1);
    KLI_TRACE_STEP(wb_leave, job->block, next, first);
    if (kli_apply(&store->table[job->block], w_leave, next, &old)) { /* T1, T2 */
        KLI_TRACE_STEP(wb_left, job->block, old, first);
        store_count(store, job->block, old, -1);
        zs_direct_free(store->zs, (uint32_t)job->block, old);
        wb_tick(wb, WB_C_WRITTEN, 1);
        return true;
    }
    store_count(store, job->block, next, -1);
    if (old & STORE_W_WRITING)
        return false;
    KLI_TRACE_STEP(wb_in_vain, job->block, first, units);
    wb_free(wb, first, units);
    wb_tick(wb, WB_C_OVERWRITTEN, 1);
    return true;
}

/* After some in a row it is left alone for a while, longer and longer. */
static void count_failure(struct store_writeback *wb, unsigned *in_a_row)
{
    enum { PATIENCE = 8, FIRST_NS = 20000000, DOUBLINGS = 7 };

    atomic_store_explicit(&wb->failing, true, memory_order_relaxed);
    if (++*in_a_row >= PATIENCE)
        atomic_store_explicit(&wb->retry_ns,
                              wb_now(wb) +
                                  ((uint64_t)FIRST_NS << kli_min(*in_a_row - PATIENCE, DOUBLINGS)),
                              memory_order_relaxed);
}

static void failed(struct store_writeback *wb, struct wb_job *job)
{
    uint64_t units = atomic_load(&job->units);

    if (job->err == -KL_ECANCELED)
        wb_tick(wb, WB_C_RETIRED, units); /* T5 */
    else
        wb_free(wb, atomic_load(&job->first), units);
    kli_apply(&wb->store->table[job->block], w_stay, 0, NULL);
    wb_tick(wb, WB_C_FAILED_WRITES, 1);
}

/* Safe, or failed: the end of a job; true when it is over. */
static bool finish(struct store_writeback *wb, struct wb_job *job)
{
    if (job->err) {
        if (atomic_load(&job->state) == WB_DONE)
            count_failure(wb, &wb->failed_writes); /* a flush counts by itself */
        failed(wb, job);
    } else {
        if (!leave(wb, job))
            return false;
        atomic_store_explicit(&wb->failing, false, memory_order_relaxed);
    }
    atomic_store(&job->units, 0);
    atomic_store_explicit(&job->state, WB_FREE, memory_order_release);
    return true;
}

/* What the flush says is said of all that it was for. */
static void end_flush(struct store_writeback *wb)
{
    if (atomic_load_explicit(&wb->flush.state, memory_order_acquire) != WB_DONE)
        return;
    for (unsigned i = 0; i < WB_WRITES; i++) {
        struct wb_job *job = &wb->writes[i];

        if (atomic_load(&job->state) != WB_FLUSHING)
            continue;
        job->err = wb->flush.err ? -KL_EIO : 0; /* the write itself is over */
        atomic_store(&job->state, WB_SAFE);
    }
    if (wb->flush.err)
        count_failure(wb, &wb->failed_flushes);
    else
        wb->failed_flushes = 0;
    atomic_store(&wb->flush.state, WB_FREE);
}

static void begin_flush(struct store_writeback *wb)
{
    bool any = false;

    if (atomic_load(&wb->flush.state) != WB_FREE)
        return;
    for (unsigned i = 0; i < WB_WRITES; i++) {
        if (atomic_load(&wb->writes[i].state) == WB_WRITTEN) {
            atomic_store(&wb->writes[i].state, WB_FLUSHING);
            any = true;
        }
    }
    if (any)
        wb_ask(&wb->flush, KL_TARGET_FLUSH, 0, 0);
}

/* Sees to all that the target has answered. */
void wb_reap(struct store_writeback *wb)
{
    bool flushes = wb->target.flags & KL_TARGET_NEEDS_FLUSH;
    bool ended = false;

    end_flush(wb);
    for (unsigned i = 0; i < WB_WRITES; i++) {
        struct wb_job *job = &wb->writes[i];
        uint32_t state = atomic_load_explicit(&job->state, memory_order_acquire);

        if (state == WB_DONE && job->err == 0)
            wb->failed_writes = 0;
        if (state == WB_DONE && flushes && job->err == 0)
            atomic_store(&job->state, WB_WRITTEN);
        else if (state == WB_DONE || state == WB_SAFE)
            ended |= finish(wb, job);
    }
    begin_flush(wb);
    if (ended) {
        atomic_fetch_add(&wb->events, 1);
        wb->host->wake(wb->host->ctx, (const uint32_t *)&wb->events, true);
    }
}
