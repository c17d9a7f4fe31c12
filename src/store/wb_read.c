// SPDX-License-Identifier: Apache-2.0
/* A block that is on the target: read there, and brought back to memory. (T4, T6, T7) */
#include "base/trace.h"
#include "store/writeback.h"

enum { TRIES = 3, RETRY_NS = 20000000 };

#define PROBE_NS UINT64_C(10000000000)

/* Of the head without its check, what the word says, and the bytes. */
uint32_t wb_check(const struct store_writeback *wb, const struct wb_head *head, uint64_t word)
{
    const uint64_t prime = UINT64_C(0x9e3779b97f4a7c15);
    uint32_t n = wb_bytes(wb->store, word), i = 0;
    const char *from = (const char *)(head + 1);
    uint64_t h = ((uint64_t)head->tag << 32 | head->block) * prime ^ head->serial, part;

    h = (h ^ (uint64_t)n << 1 ^ store_codec(word)) * prime;
    for (; i + sizeof(part) <= n; i += sizeof(part)) {
        memcpy(&part, from + i, sizeof(part));
        h = (h ^ part) * prime;
        h ^= h >> 29;
    }
    part = 0;
    memcpy(&part, from + i, n - i);
    h = (h ^ part) * prime;
    return (uint32_t)(h ^ h >> 32);
}

static bool is_right(const struct store_writeback *wb, const struct wb_job *job)
{
    const struct wb_head *head = (const struct wb_head *)(const void *)job->buf;

    return head->tag == wb->tag && head->block == job->block &&
           (head->serial & 63) == kli_field(job->word, WB_SLOT_BITS, 6) &&
           head->check == wb_check(wb, head, job->word);
}

static struct wb_job *try_job(struct store_writeback *wb)
{
    for (unsigned i = 0; i < WB_READS; i++) {
        uint32_t free_state = WB_FREE;

        if (atomic_compare_exchange_strong(&wb->reads[i].state, &free_state, WB_TAKEN))
            return &wb->reads[i];
    }
    return NULL;
}

void wb_put_read(struct store_writeback *wb, struct wb_job *job)
{
    atomic_store(&job->units, 0);
    atomic_fetch_add(&wb->frees, 1); /* who was kept off these units looks again */
    atomic_store(&job->state, WB_FREE);
}

/* For `ns` at most, or until `until`, or something ends. */
static void wait_a_little(struct store_writeback *wb, uint32_t seen, uint64_t ns)
{
    wb->host->wait(wb->host->ctx, (const uint32_t *)&wb->events, seen, ns);
}

static int get_job(struct store_writeback *wb, uint64_t until, struct wb_job **job)
{
    for (;;) {
        uint32_t seen = atomic_load(&wb->events);

        *job = try_job(wb);
        if (*job)
            return 0;
        if (wb_now(wb) >= until)
            return -KL_ETIMEDOUT;
        wait_a_little(wb, seen, RETRY_NS);
    }
}

/* Nobody waits for the job any more, unless it was answered just now.  The target is said to
 * be silent before: the answer to a job that was left takes it back. */
static int leave(struct store_writeback *wb, struct wb_job *job, uint64_t now)
{
    uint32_t asked = WB_ASKED;
    bool was = atomic_exchange(&wb->silent, true);

    atomic_store(&wb->probe_ns, now);
    if (atomic_compare_exchange_strong(&job->state, &asked, WB_LEFT))
        return -KL_ETIMEDOUT;
    if (job->err == 0 || !was)
        atomic_store(&wb->silent, false);
    return job->err;
}

/* Until the target has answered.  -KL_ETIMEDOUT: the job is not ours any more. */
static int wait_for(struct store_writeback *wb, struct wb_job *job, uint64_t until)
{
    while (atomic_load_explicit(&job->state, memory_order_acquire) == WB_ASKED) {
        uint64_t now = wb_now(wb);

        if (now >= until)
            return leave(wb, job, now);
        wb->host->wait(wb->host->ctx, (const uint32_t *)&job->state, WB_ASKED, until - now);
    }
    return job->err;
}

/* While the target is silent, the answer to what it was asked before will say when it
 * is not; so one in a while may ask. */
static bool may_ask(struct store_writeback *wb)
{
    uint64_t now = wb_now(wb), last = atomic_load(&wb->probe_ns);

    if (!wb_is_silent(wb))
        return true;
    return (now - last >= PROBE_NS || atomic_load(&wb->pending) == 0) &&
           atomic_compare_exchange_strong(&wb->probe_ns, &last, now);
}

/* 0: *out has the block's bytes, of the word as it is now, which stays the same one while
 * it has that value.  -KL_ESTALE: it is another one. */
static int fetch_once(struct store_writeback *wb, uint64_t block, uint64_t word, uint64_t until,
                      struct wb_job **out)
{
    kli_word *entry = &wb->store->table[block];
    struct wb_job *job;
    int err;

    if (!may_ask(wb))
        return -KL_ETIMEDOUT;
    err = get_job(wb, until, &job);
    if (err)
        return err;
    KLI_TRACE_STEP(wb_fetch, block, word, 0);
    job->block = block;
    job->word = word;
    atomic_store(&job->first, wb_first(word));
    atomic_store(&job->units, wb_units(wb->store, word)); /* T4 */
    KLI_TRACE_STEP(wb_shown, block, word, 0);
    if (atomic_load(entry) != word)
        err = -KL_ESTALE;
    else if (!wb_buffer(job))
        err = -KL_ENOMEM;
    if (err == 0) {
        wb_ask(job, KL_TARGET_READ, wb_first(word), wb_units(wb->store, word));
        err = wait_for(wb, job, until);
        KLI_TRACE_STEP(wb_fetched, block, word, err);
        if (err == -KL_ETIMEDOUT)
            return atomic_load(entry) == word ? err : -KL_ESTALE;
        if (atomic_load(entry) != word)
            err = -KL_ESTALE;
        else if (err == 0 && !is_right(wb, job))
            err = -KL_EILSEQ;
    }
    KLI_TRACE_STEP(wb_right, block, word, err);
    if (err)
        wb_put_read(wb, job);
    else
        *out = job;
    return err;
}

/* The same, and again after errors that may pass. */
static int fetch(struct store_writeback *wb, uint64_t block, uint64_t word, struct wb_job **out)
{
    uint64_t until = wb_now(wb) + wb->config.timeout_ns;
    unsigned tries = 0;
    int err;

    for (;;) {
        uint32_t seen = atomic_load(&wb->events);

        err = fetch_once(wb, block, word, until, out);
        if (err == 0)
            wb_tick(wb, WB_C_READ, 1);
        if (err == 0 || err == -KL_ESTALE || err == -KL_ENOMEM)
            return err;
        if (err != -KL_EAGAIN && (err == -KL_ETIMEDOUT || ++tries == TRIES))
            break;
        if (wb_now(wb) >= until) {
            err = -KL_ETIMEDOUT;
            break;
        }
        if (err == -KL_EAGAIN)
            wait_a_little(wb, seen, RETRY_NS);
    }
    wb_tick(wb, WB_C_FAILED_READS, 1);
    if (err == -KL_EILSEQ)
        wb_tick(wb, WB_C_LOST, 1);
    return err == -KL_ETIMEDOUT ? err : -KL_EIO;
}

/* The bytes are those of the word that stands there still: an object in memory has them
 * from now on. */
static int bring_back(struct store_writeback *wb, const struct wb_job *job)
{
    struct kl_store *store = wb->store;
    uint32_t bytes = store_bytes(job->word), index = (uint32_t)job->block;
    uint64_t name, next, seen = job->word;
    int err = zs_direct_put(store->zs, index, job->buf + sizeof(struct wb_head),
                            wb_bytes(store, job->word), 0, &name);

    if (err)
        return -KL_ENOSPC;
    next = store_with_codec(store_word(bytes ? KL_STORE_COMPRESSED : KL_STORE_RAW, name, bytes),
                            store_codec(job->word));
    store_count(store, job->block, next, 1);
    KLI_TRACE_STEP(wb_back, job->block, seen, next);
    if (!atomic_compare_exchange_strong(&store->table[job->block], &seen, next)) {
        store_count(store, job->block, next, -1);
        zs_direct_free(store->zs, index, next);
        return -KL_ESTALE;
    }
    store_count(store, job->block, seen, -1);
    store_written_free(store, seen);
    wb_tick(wb, WB_C_READ_BACK, 1);
    return 0;
}

/* The bytes are the job's; a context is taken now. (T7) */
static int copy_out(struct kl_store *store, const struct wb_job *job, uint32_t offset, void *buf,
                    uint32_t len)
{
    const char *packed = job->buf + sizeof(struct wb_head);
    struct store_context *context;
    int err;

    if (store_bytes(job->word) == 0) {
        memcpy(buf, packed + offset, len);
        return 0;
    }
    context = store_context_get(store);
    if (!context)
        return -KL_ENOMEM;
    err = store_unpack(store, job->word, context, packed, context->plain);
    if (err == 0)
        memcpy(buf, context->plain + offset, len);
    store_context_put(context);
    return err;
}

/* Reads a part of a block whose word says that it is on the target; brings it back when
 * there is room.  -KL_ESTALE: look at the word again. */
int store_read_away(struct kl_store *store, uint64_t block, uint64_t word, uint32_t offset,
                    void *buf, uint32_t len)
{
    struct store_writeback *wb = wb_of(store);
    struct wb_job *job;
    int err = fetch(wb, block, word, &job);

    if (err)
        return err;
    err = copy_out(store, job, offset, buf, len);
    if (err == 0 && wb_has_room(wb))
        bring_back(wb, job);
    wb_put_read(wb, job);
    return err;
}

/* Has the block in memory, if it is on the target.  -KL_ENOSPC: no room for it. */
int store_bring_back(struct kl_store *store, uint64_t block)
{
    uint64_t word = atomic_load_explicit(&store->table[block], memory_order_acquire);
    struct wb_job *job;
    int err;

    if (store_kind(word) != KL_STORE_WRITTEN)
        return 0;
    err = fetch(wb_of(store), block, word, &job);
    if (err == 0) {
        err = bring_back(wb_of(store), job);
        wb_put_read(wb_of(store), job);
    }
    return err == -KL_ESTALE ? 0 : err;
}
