// SPDX-License-Identifier: Apache-2.0
/* replay_json.c - the figures of a replay, for programs. */
#include "cli.h"
#include "replay_print.h"

#include <json-c/json.h>

static void add_number(struct json_object *to, const char *name, uint64_t value)
{
    json_object_object_add(to, name, json_object_new_int64((int64_t)value));
}

static struct json_object *count_json(const struct replay_count *c, bool oracle)
{
    struct json_object *json = json_object_new_object();

    add_number(json, "asked", c->asked);
    add_number(json, "done", c->done);
    if (c->ns > 0)
        add_number(json, "cpu_ns", c->ns);
    if (oracle) {
        add_number(json, "feasible", c->feasible);
        add_number(json, "feasible_done", c->feasible_done);
    }
    return json;
}

static struct json_object *orders_json(const struct replay_result *r)
{
    struct json_object *list = json_object_new_array();

    for (unsigned order = 0; order <= REPLAY_MAX_ORDER; order++) {
        struct json_object *json;

        if (r->order[order].asked == 0)
            continue;
        json = json_object_new_object();
        add_number(json, "order", order);
        add_number(json, "asked", r->order[order].asked);
        add_number(json, "done", r->order[order].done);
        json_object_array_add(list, json);
    }
    return list;
}

static struct json_object *failures_json(const struct replay_result *r)
{
    struct json_object *list = json_object_new_array();

    for (unsigned i = 0; i < r->failures; i++) {
        const struct replay_failure *f = &r->failure[i];
        struct json_object *json = json_object_new_object();

        add_number(json, "line", f->line);
        json_object_object_add(json, "op", json_object_new_string(replay_name(f->op.what)));
        json_object_object_add(json, "error", json_object_new_string(kl_err_name(f->err)));
        json_object_object_add(json, "feasible", json_object_new_boolean(f->feasible));
        if (f->blamed) {
            add_number(json, "frame", f->frame);
            add_number(json, "block", f->block);
            json_object_object_add(json, "owner", json_object_new_string(f->owner));
        }
        if (f->blamed && f->id != UINT32_MAX)
            add_number(json, "id", f->id);
        json_object_array_add(list, json);
    }
    return list;
}

static void add_end(struct json_object *json, const struct replay_result *r)
{
    add_number(json, "blocks", r->blocks);
    add_number(json, "free_blocks", r->free_blocks);
    add_number(json, "absent_blocks", r->absent_blocks);
    add_number(json, "given_blocks", r->given_blocks);
    add_number(json, "free_frames", r->free_frames);
    add_number(json, "used_frames", r->used_frames);
    add_number(json, "stuck_frames", r->stuck_frames);
}

static struct json_object *run_json(const struct replay_column *column)
{
    const struct replay_result *r = &column->result;
    struct json_object *json = json_object_new_object();

    json_object_object_add(json, "movability",
                           json_object_new_string(column->migration ? "on" : "off"));
    json_object_object_add(json, "ok", json_object_new_boolean(replay_good(r)));
    json_object_object_add(json, "orders", orders_json(r));
    for (unsigned what = 0; what < REPLAY_WHATS; what++)
        json_object_object_add(
            json, replay_name(what),
            count_json(&r->what[what],
                       column->oracle && (what == REPLAY_contig || what == REPLAY_give)));
    if (column->oracle)
        json_object_object_add(json, "success_when_feasible",
                               json_object_new_double(replay_success_when_feasible(r)));
    add_number(json, "compacted", r->compacted);
    add_number(json, "frames_moved", r->moved);
    add_number(json, "skipped", r->skipped);
    add_number(json, "damaged", r->wrong);
    if (r->broken)
        json_object_object_add(json, "broken", json_object_new_string(r->broken));
    add_end(json, r);
    json_object_object_add(json, "failures", failures_json(r));
    return json;
}

void replay_print_json(const struct replay_trace *trace, const struct replay_column *column,
                       unsigned n)
{
    struct json_object *json = json_object_new_object();
    struct json_object *runs = json_object_new_array();
    bool ok = true;

    for (unsigned i = 0; i < n; i++) {
        ok &= replay_good(&column[i].result);
        json_object_array_add(runs, run_json(&column[i]));
    }
    json_object_object_add(json, "ok", json_object_new_boolean(ok));
    add_number(json, "operations", trace->n);
    add_number(json, "frame_bytes", trace->shape.frame_bytes);
    add_number(json, "block_order", trace->shape.block_order);
    json_object_object_add(json, "runs", runs);
    cli_print_json(json);
    json_object_put(json);
}
