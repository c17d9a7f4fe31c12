// SPDX-License-Identifier: Apache-2.0
/* Write-back: start and end, the steps, and room for a write that found none. */
#include "store/writeback.h"

enum {
    NAP_NS = 10000000,      /* between two looks, when nothing says that one is due */
    PENDING_NS = 100000000, /* the same, when the end of a request says so */
    FULL_NS = 1000000000,
    WORDS_A_STEP = 64 * 1024, /* that a step looks at */
    WORDS_COLD = 1024 * 1024, /* and somebody who is short */
    WORDS_NOW = 4 * 1024 * 1024
};

#define DEFAULT_TIMEOUT_NS UINT64_C(5000000000)

/* The background work, if a step of the zone does it. */
static void want(struct store_writeback *wb)
{
    uint64_t id = atomic_load(&wb->shrinker);

    if (id)
        kl_shrinker_want(wb->store->zone, (kl_shrinker_id){id});
}

static void heard(struct store_writeback *wb, int err)
{
    if (err == 0)
        atomic_store_explicit(&wb->silent, false, memory_order_relaxed);
    atomic_fetch_sub(&wb->pending, 1);
    atomic_fetch_add(&wb->events, 1);
    wb->host->wake(wb->host->ctx, (const uint32_t *)&wb->events, true);
}

/* From any thread.  A reader that has left leaves the job to us. (T6) */
static void done(struct kl_target_io *io, int err)
{
    struct wb_job *job = (struct wb_job *)(void *)io;
    struct store_writeback *wb = job->wb;
    bool reading = io->op == KL_TARGET_READ;

    job->err = err;
    if (atomic_exchange(&job->state, WB_DONE) == WB_LEFT) {
        wb_put_read(wb, job);
    } else if (reading) {
        wb->host->wake(wb->host->ctx, (const uint32_t *)&job->state, true);
    }
    heard(wb, err);
    if (!reading)
        want(wb);
}

/* Asks the target; whatever comes of it, the job is DONE at some time. */
void wb_ask(struct wb_job *job, enum kl_target_op op, uint64_t first, uint64_t units)
{
    struct store_writeback *wb = job->wb;
    int err;

    atomic_store(&job->first, first);
    atomic_store(&job->units, units);
    atomic_store_explicit(&job->asked_ns, wb_now(wb), memory_order_relaxed);
    job->io = (struct kl_target_io){.op = op,
                                    .bytes = (uint32_t)(units * WB_UNIT),
                                    .offset = first * WB_UNIT,
                                    .buf = job->buf,
                                    .done = done};
    atomic_store(&job->state, WB_ASKED);
    atomic_fetch_add(&wb->pending, 1);
    err = wb->target.submit(wb->target.ctx, &job->io);
    if (err)
        done(&job->io, err);
}

static size_t buffer_bytes(const struct store_writeback *wb)
{
    return (size_t)wb_units(wb->store, 0) * WB_UNIT; /* of a whole block */
}

bool wb_buffer(struct wb_job *job)
{
    struct kl_store *store = job->wb->store;

    if (job->buf)
        return true;
    job->buf = store_meta_get(store, buffer_bytes(job->wb));
    return job->buf != NULL;
}

bool wb_is_silent(const struct store_writeback *wb)
{
    return atomic_load_explicit(&wb->silent, memory_order_relaxed);
}

static bool config_ok(const struct kl_store *store, const struct kl_writeback_config *c)
{
    const struct kl_target *t = c->size == sizeof(*c) ? c->target : NULL;

    return t && t->size == sizeof(*t) && t->submit && t->cancel && t->status &&
           c->start_percent <= 100 && c->stop_percent <= 100 && c->age <= STORE_W_AGE_MAX &&
           (c->flags & ~(unsigned)KL_WRITEBACK_RAW) == 0 &&
           c->stop_percent <= (c->start_percent ? c->start_percent : 80) &&
           kli_min(c->bytes ? c->bytes : t->bytes, t->bytes) / WB_UNIT >= wb_units(store, 0);
}

static void defaults(struct kl_writeback_config *c)
{
    if (c->start_percent == 0)
        c->start_percent = 80;
    if (c->stop_percent == 0)
        c->stop_percent = (unsigned)kli_min(70, c->start_percent);
    if (c->age == 0)
        c->age = 2;
    if (c->timeout_ns == 0)
        c->timeout_ns = DEFAULT_TIMEOUT_NS;
    if (c->bytes == 0 || c->bytes > c->target->bytes)
        c->bytes = c->target->bytes;
}

static size_t map_bytes(const struct store_writeback *wb)
{
    return (size_t)((wb->units + 63) / 64 * sizeof(uint64_t));
}

static size_t dirty_bytes(const struct store_writeback *wb)
{
    return (size_t)(wb->units / WB_REGION / 64 + 1) * sizeof(uint64_t);
}

static void set_up(struct store_writeback *wb, const struct kl_writeback_config *config)
{
    wb->config = *config;
    defaults(&wb->config);
    wb->target = *config->target;
    wb->units = kli_min(wb->config.bytes / WB_UNIT, UINT64_C(1) << WB_SLOT_BITS);
    wb->level = STORE_W_AGE_MAX;
    wb->start_frames =
        wb_limit(wb) / 100 * wb->config.start_percent / kl_zone_frame_bytes(wb->store->zone);
    wb->tag = (uint32_t)((wb_now(wb) ^ (uintptr_t)wb) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    wb->flush.wb = wb;
    wb->trim.wb = wb;
    for (unsigned i = 0; i < WB_WRITES; i++)
        wb->writes[i].wb = wb;
    for (unsigned i = 0; i < WB_READS; i++)
        wb->reads[i].wb = wb;
}

static void release(struct store_writeback *wb)
{
    struct kl_store *store = wb->store;

    for (unsigned i = 0; i < WB_WRITES; i++)
        if (wb->writes[i].buf)
            store_meta_put(store, wb->writes[i].buf, buffer_bytes(wb));
    for (unsigned i = 0; i < WB_READS; i++)
        if (wb->reads[i].buf)
            store_meta_put(store, wb->reads[i].buf, buffer_bytes(wb));
    store_meta_put(store, wb->dirty, dirty_bytes(wb));
    if (wb->map)
        store_meta_put(store, (void *)wb->map, map_bytes(wb));
    store_meta_put(store, wb, sizeof(*wb));
}

/* By the zone's steps, from now on; where there is no place for a shrinker, only when it
 * is called. */
static void work_begin(struct store_writeback *wb)
{
    if (!wb->store->shrinker.v)
        (void)store_work_begin(wb->store);
    atomic_store(&wb->shrinker, wb->store->shrinker.v);
    want(wb);
}

int kl_store_writeback_start(struct kl_store *store, const struct kl_writeback_config *config)
{
    struct store_writeback *wb, *none = NULL;

    if (!config || !config_ok(store, config))
        return -KL_EINVAL;
    if (wb_of(store))
        return -KL_EEXIST;
    wb = store_meta_get(store, sizeof(*wb));
    if (!wb)
        return -KL_ENOMEM;
    wb->store = store;
    wb->host = &store->host;
    set_up(wb, config);
    wb->map = store_meta_get(store, map_bytes(wb));
    if (wb->target.flags & KL_TARGET_CAN_TRIM)
        wb->dirty = store_meta_get(store, dirty_bytes(wb));
    if (!wb->map || (wb->target.flags & KL_TARGET_CAN_TRIM && !wb->dirty)) {
        release(wb);
        return -KL_ENOMEM;
    }
    if (!atomic_compare_exchange_strong(&store->writeback, &none, wb)) {
        release(wb);
        return -KL_EEXIST;
    }
    work_begin(wb);
    return 0;
}

/* Nobody uses the store any more, but perhaps the target. */
void store_writeback_end(struct kl_store *store)
{
    struct store_writeback *wb = wb_of(store);

    if (!wb)
        return;
    wb->target.cancel(wb->target.ctx);
    release(wb);
}

static bool try_busy(struct store_writeback *wb)
{
    return !atomic_load_explicit(&wb->busy, memory_order_relaxed) &&
           !atomic_exchange_explicit(&wb->busy, true, memory_order_acquire);
}

static void end_busy(struct store_writeback *wb)
{
    atomic_store_explicit(&wb->busy, false, memory_order_release);
}

/* Nanoseconds until the next write may begin; 0: now.  Also asked without busy. */
static uint64_t hold_off(const struct store_writeback *wb)
{
    uint64_t now = wb_now(wb), next = atomic_load_explicit(&wb->next_ns, memory_order_relaxed);
    uint64_t retry = atomic_load_explicit(&wb->retry_ns, memory_order_relaxed);
    uint64_t until = next > retry ? next : retry;

    return until > now ? until - now : 0;
}

enum ends { ENOUGH, NO_BLOCK, NO_PLACE, NO_JOB, HOLD_OFF };

/* Has up to `blocks` more written, of that age at least, and looks at so many words; why
 * it ended. */
static enum ends begin_some(struct store_writeback *wb, uint64_t blocks, unsigned least,
                            uint64_t words)
{
    uint64_t block;

    while (blocks > 0) {
        int err;

        if (hold_off(wb) > 0)
            return HOLD_OFF;
        if (!wb_pick(wb, least, &words, &block))
            return words > 0 ? NO_BLOCK : ENOUGH;
        err = wb_begin(wb, block);
        if (err == -KL_EBUSY)
            return NO_JOB;
        if (err == -KL_ENOSPC || err == -KL_ENOMEM)
            return NO_PLACE;
        blocks -= err == 0;
    }
    return ENOUGH;
}

static uint64_t again_after(const struct store_writeback *wb, enum ends why)
{
    switch (why) {
    case ENOUGH:
        return 0;
    case HOLD_OFF:
        return hold_off(wb);
    case NO_JOB:
        return PENDING_NS;
    case NO_PLACE:
        return FULL_NS;
    default:
        return UINT64_MAX;
    }
}

uint64_t kl_store_writeback(struct kl_store *store, uint32_t blocks)
{
    struct store_writeback *wb = wb_of(store);
    uint64_t again = UINT64_MAX;
    bool over;

    if (!wb)
        return again;
    if (!try_busy(wb))
        return NAP_NS;
    wb_reap(wb);
    over = wb_over_share(wb);
    if (over)
        again = again_after(
            wb, begin_some(wb, blocks ? blocks : WB_WRITES, wb->config.age, WORDS_A_STEP));
    wb_trim_some(wb);
    atomic_store(&wb->watch, !over);
    if (atomic_load(&wb->pending) > 0)
        again = kli_min(again, PENDING_NS);
    end_busy(wb);
    return again;
}

/* There are so many frames: is it time? */
void store_watch_frames(struct kl_store *store, uint64_t frames)
{
    struct store_writeback *wb = wb_of(store);

    if (wb && frames > wb->start_frames && atomic_load_explicit(&wb->watch, memory_order_relaxed) &&
        atomic_exchange(&wb->watch, false))
        want(wb);
}

static uint64_t left_memory(const struct store_writeback *wb)
{
    return atomic_load_explicit(&wb->counter[WB_C_WRITTEN], memory_order_relaxed);
}

/* Writes that are not over. */
static unsigned underway(const struct store_writeback *wb)
{
    unsigned n = 0;

    for (unsigned i = 0; i < WB_WRITES; i++)
        n += atomic_load(&wb->writes[i].state) != WB_FREE;
    return n;
}

/* Until `goal` blocks have left memory since there were `before` of them, or *until has
 * passed.  true: some have. */
static bool drain(struct store_writeback *wb, uint64_t before, uint64_t goal, unsigned least,
                  uint64_t until)
{
    enum ends why = ENOUGH;

    for (;;) {
        uint32_t seen = atomic_load(&wb->events);
        uint64_t now, nap = NAP_NS;

        if (try_busy(wb)) {
            uint64_t gone;

            wb_reap(wb);
            gone = left_memory(wb) - before + underway(wb);
            if (gone < goal)
                why = begin_some(wb, goal - gone, least, WORDS_NOW);
            nap = kli_min(nap, hold_off(wb) ? hold_off(wb) : nap);
            end_busy(wb);
        }
        now = wb_now(wb);
        if (left_memory(wb) - before >= goal || now >= until ||
            ((why == NO_BLOCK || why == NO_PLACE) && underway(wb) == 0))
            return left_memory(wb) != before;
        wb->host->wait(wb->host->ctx, (const uint32_t *)&wb->events, seen,
                       kli_min(nap, until - now));
    }
}

int64_t kl_store_writeback_now(struct kl_store *store, uint64_t blocks, unsigned age)
{
    struct store_writeback *wb = wb_of(store);
    uint64_t before, n = 0;

    if (!wb)
        return 0;
    before = left_memory(wb);
    while (n < blocks) {
        uint64_t seen = left_memory(wb);

        if (!drain(wb, seen, kli_min(blocks - n, WB_LEAST), age,
                   wb_now(wb) + wb->config.timeout_ns))
            break;
        n = left_memory(wb) - before;
    }
    return (int64_t)n;
}

uint64_t store_cold_blocks(struct kl_store *store)
{
    struct store_writeback *wb = wb_of(store);

    if (!wb)
        return KL_SHRINK_EMPTY;
    if (wb_is_silent(wb) || hold_off(wb) > 0)
        return 0;
    return store_sum(store, STORE_COMPRESSED) + store_sum(store, STORE_RAW);
}

/* Only begins: what the target has leaves memory in the work that its answer wants, so that
 * no lock of the pool's is taken here. */
uint64_t store_cold_begin(struct kl_store *store, uint64_t blocks, unsigned priority)
{
    struct store_writeback *wb = wb_of(store);
    unsigned least, before, begun;

    if (!wb || !try_busy(wb))
        return 0;
    least = priority > KL_SHRINK_PRIORITY / 2 ? wb->config.age : priority > 0;
    before = underway(wb);
    begin_some(wb, kli_min(blocks, WB_WRITES), (unsigned)kli_min(least, wb->config.age),
               WORDS_COLD);
    begun = underway(wb) - before;
    end_busy(wb);
    return begun;
}

/* For a write that found no room, with nothing held: others go.  *until is when it has
 * waited enough, 0 at first.  false: there is nothing to be had. */
bool store_make_room(struct kl_store *store, uint64_t *until)
{
    struct store_writeback *wb = wb_of(store);
    uint64_t now;

    if (!wb || wb_is_silent(wb))
        return false;
    now = wb_now(wb);
    if (*until == 0) {
        *until = now + wb->config.timeout_ns;
        wb_tick(wb, WB_C_WAITED, 1);
    }
    return now < *until && drain(wb, left_memory(wb), WB_LEAST, 0, *until);
}
