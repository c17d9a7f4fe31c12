// SPDX-License-Identifier: Apache-2.0
/* run.c - goes through a trace, one operation after the other.  What follows for an
 * id that could not be had is skipped.
 */
#include "memory.h"
#include "oracle.h"
#include "tenant.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct run {
    const struct replay_trace *trace;
    const struct replay_config *config;
    struct replay_result *result;
    struct replay_zone memory;
    struct replay_tenant tenant;
    uint32_t given;
    uint8_t *map; /* the oracle's: kinds, then orders */
};

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* ---- asking --------------------------------------------------------------- */

static uint32_t spare_blocks(struct kl_zone *zone)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return s.blocks - s.present_blocks - s.given_blocks;
}

static bool feasible(struct run *r, const struct replay_op *op)
{
    uint32_t frames = kl_zone_frames(r->memory.zone);
    struct replay_layout layout = {.frames = frames,
                                   .block_order = r->trace->shape.block_order,
                                   .spare = spare_blocks(r->memory.zone),
                                   .may_move = r->config->migration};

    if (!r->config->oracle || kl_zone_map(r->memory.zone, 0, frames, r->map) != 0)
        return false;
    layout.map = r->map;
    layout.order = r->map + frames;
    replay_orders(&r->tenant, r->map + frames);
    if (op->what == REPLAY_contig)
        return replay_feasible_contig(&layout, op->n, 1u << op->order) == 1;
    return replay_feasible_give(&layout, op->n) == 1;
}

static void note_failure(struct run *r, const struct replay_op *op, int err, bool was_feasible,
                         const struct kl_report *report)
{
    struct replay_failure *f = &r->result->failure[r->result->failures];
    uint64_t id;

    if (r->result->failures == REPLAY_FAILURES)
        return;
    r->result->failures++;
    *f = (struct replay_failure){
        .line = op->line, .op = *op, .err = err, .feasible = was_feasible, .id = UINT32_MAX};
    if (report->culprit.v == 0)
        return;
    f->blamed = true;
    f->frame = kl_pfn_nr(report->culprit);
    f->block = kl_frame_block(r->memory.zone, report->culprit).v;
    memcpy(f->owner, report->culprit_name, sizeof(f->owner));
    id = kl_frame_private(r->memory.zone, report->culprit);
    if (id > 0 && id <= r->tenant.ids)
        f->id = (uint32_t)id - 1;
}

/* ---- operations ----------------------------------------------------------- */

static void run_alloc(struct run *r, const struct replay_op *op)
{
    struct replay_count *count = &r->result->order[op->order];
    int err = replay_alloc(&r->tenant, op->id, op->order, op->movable);

    count->asked++;
    count->done += err == 0;
    r->result->what[REPLAY_alloc].done += err == 0;
}

/* contig, give: what the oracle has an opinion on. */
static void run_large(struct run *r, const struct replay_op *op)
{
    struct replay_count *count = &r->result->what[op->what];
    struct kl_report report = {.size = sizeof(report)};
    bool could = feasible(r, op);
    uint64_t start = cpu_ns();
    int err;

    if (op->what == REPLAY_contig)
        err = replay_contig(&r->tenant, op->id, op->n, 1u << op->order, &report);
    else
        err = kl_zone_give_back(r->memory.zone, op->n, KL_SYNC, &report);
    count->ns += cpu_ns() - start;
    count->done += err == 0;
    count->feasible += could;
    count->feasible_done += could && err == 0;
    if (op->what == REPLAY_give && err == 0)
        r->given += op->n;
    if (err)
        note_failure(r, op, err, could, &report);
}

/* Of blocks that could not be given back fewer come back, too. */
static void run_lend(struct run *r, const struct replay_op *op)
{
    uint32_t n = op->n < r->given ? op->n : r->given;

    if (n < op->n)
        r->result->skipped++;
    if (n > 0 && kl_zone_lend(r->memory.zone, n) == 0) {
        r->given -= n;
        r->result->what[REPLAY_lend].done++;
    }
}

static void run_compact(struct run *r)
{
    struct replay_count *count = &r->result->what[REPLAY_compact];
    uint64_t start = cpu_ns();

    count->done += kl_zone_compact(r->memory.zone, KL_SYNC, 0, NULL) == 0;
    count->ns += cpu_ns() - start;
}

/* free, pin, unpin: of what could be had. */
static void run_unit(struct run *r, const struct replay_op *op)
{
    const struct replay_unit *unit = &r->tenant.unit[op->id];
    int err;

    if (unit->kind == REPLAY_NONE || (op->what == REPLAY_unpin && unit->pins == 0) ||
        (op->what == REPLAY_free && unit->pins > 0)) {
        r->result->skipped++;
        return;
    }
    if (op->what == REPLAY_free)
        err = replay_free(&r->tenant, op->id);
    else if (op->what == REPLAY_pin)
        err = replay_pin(&r->tenant, op->id);
    else
        err = replay_unpin(&r->tenant, op->id);
    r->result->what[op->what].done += err == 0;
}

static void run_op(struct run *r, const struct replay_op *op)
{
    r->result->what[op->what].asked++;
    switch (op->what) {
    case REPLAY_alloc:
        run_alloc(r, op);
        break;
    case REPLAY_contig:
    case REPLAY_give:
        run_large(r, op);
        break;
    case REPLAY_lend:
        run_lend(r, op);
        break;
    case REPLAY_compact:
        run_compact(r);
        break;
    default:
        run_unit(r, op);
    }
}

/* ---- the whole ------------------------------------------------------------ */

static void recount(struct run *r)
{
    const char *what = "the recount does not say what";

    if (r->tenant.breach)
        r->result->broken = r->tenant.breach;
    if (!r->result->broken && kl_zone_check(r->memory.zone, &what) != 0)
        r->result->broken = what;
}

static void look_at_the_end(struct run *r)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(r->memory.zone, &s);
    r->result->blocks = s.blocks;
    r->result->free_blocks = s.free_blocks;
    r->result->absent_blocks = s.blocks - s.present_blocks;
    r->result->given_blocks = s.given_blocks;
    r->result->free_frames = s.free_frames;
    r->result->used_frames = s.used_frames;
    r->result->stuck_frames = s.stuck_frames;
    r->result->compacted = s.compacted;
    recount(r);
    if (r->config->at_end)
        r->config->at_end(r->config->ctx, r->memory.zone);
}

static int run_begin(struct run *r)
{
    unsigned flags = r->config->migration ? 0 : KL_ZONE_NO_MIGRATION;
    int err = replay_zone_open(&r->memory, &r->trace->shape, r->config->memory, flags);

    if (err)
        return err;
    if (r->config->oracle)
        r->map = malloc(2 * (size_t)kl_zone_frames(r->memory.zone));
    err = r->config->oracle && !r->map ? -KL_ENOMEM : 0;
    if (!err)
        err = replay_tenant_open(&r->tenant, r->memory.zone, r->trace->ids, r->config->seed);
    if (err) {
        free(r->map);
        replay_zone_close(&r->memory);
    }
    return err;
}

static int run_end(struct run *r)
{
    int err = replay_tenant_close(&r->tenant);

    r->result->moved = r->tenant.moved;
    r->result->wrong = r->tenant.wrong;
    recount(r);
    free(r->map);
    return err ? err : replay_zone_close(&r->memory);
}

int replay_run(const struct replay_trace *trace, const struct replay_config *config,
               struct replay_result *result)
{
    struct run r = {.trace = trace, .config = config, .result = result};
    int err;

    *result = (struct replay_result){0};
    err = run_begin(&r);
    if (err)
        return err;
    for (uint32_t i = 0; i < trace->n; i++)
        run_op(&r, &trace->ops[i]);
    look_at_the_end(&r);
    return run_end(&r);
}

double replay_success_when_feasible(const struct replay_result *result)
{
    uint64_t feasible = 0, done = 0;

    for (unsigned what = 0; what < REPLAY_WHATS; what++) {
        feasible += result->what[what].feasible;
        done += result->what[what].feasible_done;
    }
    return feasible ? (double)done / (double)feasible : 1.0;
}

bool replay_good(const struct replay_result *result)
{
    return !result->broken && result->wrong == 0 && replay_success_when_feasible(result) >= 1.0;
}
