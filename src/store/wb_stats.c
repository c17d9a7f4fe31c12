// SPDX-License-Identifier: Apache-2.0
/* Figures of write-back, and its recount. */
#include "store/writeback.h"

/* A write or a flush that is older than the timeout. */
static bool is_late(const struct store_writeback *wb, const struct wb_job *job, uint64_t now)
{
    return atomic_load(&job->state) == WB_ASKED &&
           now > atomic_load(&job->asked_ns) + wb->config.timeout_ns;
}

static bool is_stalled(const struct store_writeback *wb)
{
    uint64_t now = wb_now(wb);

    if (wb_is_silent(wb) || is_late(wb, &wb->flush, now))
        return true;
    for (unsigned i = 0; i < WB_WRITES; i++) {
        if (is_late(wb, &wb->writes[i], now))
            return true;
    }
    return false;
}

static void describe(const struct store_writeback *wb, struct kl_writeback_stats *s)
{
    static const char *const texts[] = {
        [KL_WRITEBACK_OK] = "well",           [KL_WRITEBACK_FULL] = "full",
        [KL_WRITEBACK_FAILING] = "failing",   [KL_WRITEBACK_STALLED] = "stalled",
        [KL_WRITEBACK_GONE] = "disconnected",
    };
    char said[96] = "";
    size_t n;

    s->state = KL_WRITEBACK_OK;
    if (wb->target.status(wb->target.ctx, said, sizeof(said)) != 0)
        s->state = KL_WRITEBACK_GONE;
    else if (is_stalled(wb))
        s->state = KL_WRITEBACK_STALLED;
    else if (atomic_load_explicit(&wb->failing, memory_order_relaxed))
        s->state = KL_WRITEBACK_FAILING;
    else if (atomic_load_explicit(&wb->full, memory_order_relaxed))
        s->state = KL_WRITEBACK_FULL;
    kli_text(s->text, sizeof(s->text), texts[s->state]);
    for (n = 0; s->text[n];)
        n++;
    if (said[0]) {
        kli_text(s->text + n, sizeof(s->text) - n, ": ");
        kli_text(s->text + n + 2, sizeof(s->text) - n - 2, said);
    }
}

void kl_store_writeback_stats(struct kl_store *store, struct kl_writeback_stats *stats)
{
    struct kl_writeback_stats s = {.size = sizeof(s)};
    struct store_writeback *wb = wb_of(store);

    if (wb) {
        uint64_t c[WB_COUNTERS];

        for (unsigned i = 0; i < WB_COUNTERS; i++)
            c[i] = atomic_load_explicit(&wb->counter[i], memory_order_relaxed);
        describe(wb, &s);
        s.target_bytes = wb->units * WB_UNIT;
        s.retired_bytes = c[WB_C_RETIRED] * WB_UNIT;
        s.used_bytes = atomic_load(&wb->used) * WB_UNIT - s.retired_bytes;
        s.blocks = store_sum(store, STORE_WRITTEN);
        s.pending = atomic_load(&wb->pending);
        s.written = c[WB_C_WRITTEN];
        s.written_bytes = c[WB_C_WRITTEN_BYTES];
        s.read = c[WB_C_READ];
        s.read_back = c[WB_C_READ_BACK];
        s.failed_writes = c[WB_C_FAILED_WRITES];
        s.failed_reads = c[WB_C_FAILED_READS];
        s.lost = c[WB_C_LOST];
        s.overwritten = c[WB_C_OVERWRITTEN];
        s.waited = c[WB_C_WAITED];
    }
    kli_stats_out(stats, &s, sizeof(s));
}

static bool is_taken(const struct store_writeback *wb, uint64_t unit)
{
    return atomic_load(&wb->map[unit / 64]) >> (unit % 64) & 1;
}

/* The units of words and jobs are taken, and no others but the retired ones; a word
 * with WRITING has a job. */
const char *store_writeback_check(struct kl_store *store)
{
    struct store_writeback *wb = wb_of(store);
    uint64_t named = 0, taken = 0;

    if (!wb)
        return store_sum(store, STORE_WRITTEN) ? "written blocks without a target" : NULL;
    for (uint64_t block = 0; block < store->blocks; block++) {
        uint64_t word = atomic_load(&store->table[block]);

        if ((word & STORE_W_WRITING) && !wb_has_job(wb, block))
            return "a block is on its way without a job"; /* T1 */
        if (store_kind(word) != KL_STORE_WRITTEN)
            continue;
        for (uint64_t i = 0; i < wb_units(store, word); i++, named++) {
            if (wb_first(word) + i >= wb->units || !is_taken(wb, wb_first(word) + i))
                return "a written block's units are free"; /* T3 */
        }
    }
    for (unsigned i = 0; i < WB_WRITES; i++)
        named += atomic_load(&wb->writes[i].state) == WB_FREE ? 0 : wb->writes[i].units;
    named += atomic_load(&wb->trim.units);
    for (uint64_t unit = 0; unit < wb->units; unit++)
        taken += is_taken(wb, unit);
    if (taken != named + atomic_load(&wb->counter[WB_C_RETIRED]) || taken != atomic_load(&wb->used))
        return "units of the target are miscounted";
    return NULL;
}
