// SPDX-License-Identifier: Apache-2.0
/* request.c - one request in, one reply out.
 *
 * A request is a JSON object with a string "op"; unknown members are ignored.
 * It is checked completely before anything is done.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

struct json_object *kli_reply_error(int err, const char *what)
{
    struct json_object *reply = json_object_new_object();

    json_object_object_add(reply, "ok", json_object_new_boolean(false));
    json_object_object_add(reply, "error", json_object_new_string(kl_err_name(err)));
    json_object_object_add(reply, "message",
                           json_object_new_string(what ? what : kl_err_text(err)));
    return reply;
}

struct json_object *kli_reply_ok(void)
{
    struct json_object *reply = json_object_new_object();

    json_object_object_add(reply, "ok", json_object_new_boolean(true));
    return reply;
}

void kli_reply_add(struct json_object *object, const char *name, uint64_t value)
{
    json_object_object_add(object, name, json_object_new_uint64(value));
}

/* A whole number from 0 on; false when it is missing or anything else. */
static bool number(struct json_object *request, const char *name, uint64_t *value)
{
    struct json_object *member;
    int64_t n;

    if (!json_object_object_get_ex(request, name, &member) ||
        !json_object_is_type(member, json_type_int))
        return false;
    n = json_object_get_int64(member); /* a larger one comes out as INT64_MAX */
    if (n < 0)
        return false;
    *value = (uint64_t)n;
    return true;
}

/* A boolean; a missing one is as *value says. */
static bool boolean(struct json_object *request, const char *name, bool *value)
{
    struct json_object *member;

    if (!json_object_object_get_ex(request, name, &member))
        return true;
    if (!json_object_is_type(member, json_type_boolean))
        return false;
    *value = json_object_get_boolean(member);
    return true;
}

struct call {
    struct kli_control *control;
    struct kli_client *client;
    struct json_object *request;
    int *fd;
};

static struct json_object *op_stat(const struct call *call)
{
    return kli_report_stat(call->control);
}

static struct json_object *op_classes(const struct call *call)
{
    return kli_report_classes(call->control);
}

enum { CELLS_MAX = 65536 };

static struct json_object *op_map(const struct call *call)
{
    bool frames = false;
    uint64_t cells;

    if (!boolean(call->request, "frames", &frames))
        return kli_reply_error(-KL_EINVAL, "\"frames\" is true or false");
    if (json_object_object_get_ex(call->request, "cells", NULL)) {
        if (!number(call->request, "cells", &cells) || cells == 0 || cells > CELLS_MAX || frames)
            return kli_reply_error(-KL_EINVAL,
                                   "\"cells\" is a number from 1 to 65536, without \"frames\"");
        return kli_report_cells(call->control, cells);
    }
    return kli_report_map(call->control, frames);
}

uint64_t kli_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Object compaction; waits for one that the worker has under way. */
static int64_t compact_objects(struct kl_store *store)
{
    enum { TRIES = 200 };
    const struct timespec nap = {.tv_nsec = 5000000};
    int64_t freed = kl_store_compact(store, 0);

    for (int i = 0; freed == -KL_EAGAIN && i < TRIES; i++) {
        nanosleep(&nap, NULL);
        freed = kl_store_compact(store, 0);
    }
    return freed;
}

static struct json_object *op_compact(const struct call *call)
{
    const struct kli_control_config *config = &call->control->config;
    struct kl_zs *pool = kl_store_zs(config->store);
    struct kl_zs_stats before = {.size = sizeof(before)};
    struct kl_zs_stats after = {.size = sizeof(after)};
    struct kl_report report = {.size = sizeof(report)};
    uint64_t start = kli_now_ns();
    struct json_object *reply;
    int64_t freed;
    int trimmed;
    int err;

    kl_zs_get_stats(pool, &before);
    freed = compact_objects(config->store);
    if (freed < 0)
        return kli_reply_error((int)freed, NULL);
    kl_zs_get_stats(pool, &after);
    err = kl_zone_compact(config->zone, KL_SYNC, 0, &report);
    if (err)
        return kli_reply_error(err, NULL);
    trimmed = kl_zone_trim(config->zone, 0);
    if (trimmed < 0)
        return kli_reply_error(trimmed, NULL);
    reply = kli_reply_ok();
    kli_reply_add(reply, "objects_moved", after.objects_moved - before.objects_moved);
    kli_reply_add(reply, "zs_frames_freed", (uint64_t)freed);
    kli_reply_add(reply, "migrated", report.migrated);
    kli_reply_add(reply, "blocks_trimmed", (uint64_t)trimmed);
    kli_reply_add(reply, "ns", kli_now_ns() - start);
    return reply;
}

static struct json_object *op_who(const struct call *call)
{
    struct json_object *member;
    uint64_t bytes, align = 0;

    if (!number(call->request, "bytes", &bytes))
        return kli_reply_error(-KL_EINVAL, "bytes: a positive whole number is needed");
    if (json_object_object_get_ex(call->request, "align", &member) &&
        (!number(call->request, "align", &align) || align == 0))
        return kli_reply_error(-KL_EINVAL, "align: a positive whole number is needed");
    return kli_report_who(call->control, bytes, align);
}

static struct json_object *op_take(const struct call *call)
{
    uint64_t bytes;
    bool with_fd = false;

    if (!number(call->request, "bytes", &bytes))
        return kli_reply_error(-KL_EINVAL, "bytes: a positive whole number is needed");
    if (!boolean(call->request, "fd", &with_fd))
        return kli_reply_error(-KL_EINVAL, "fd: true or false is needed");
    return kli_lease_take(call->control, call->client, bytes, with_fd, call->fd);
}

static struct json_object *op_give(const struct call *call)
{
    uint64_t id;

    if (!number(call->request, "id", &id))
        return kli_reply_error(-KL_EINVAL, "id: a whole number is needed, 0 for all leases");
    return kli_lease_give(call->control, id);
}

static struct json_object *op_migration(const struct call *call)
{
    struct json_object *member;
    bool on = false;

    if (!json_object_object_get_ex(call->request, "on", &member) ||
        !boolean(call->request, "on", &on))
        return kli_reply_error(-KL_EINVAL, "on: true or false is needed");
    kl_zone_set_migration(call->control->config.zone, on);
    call->control->migration_off = !on;
    return kli_reply_ok();
}

static const struct {
    const char *name;
    struct json_object *(*run)(const struct call *call);
} ops[] = {
    {"stat", op_stat},           {"classes", op_classes}, {"map", op_map},
    {"take", op_take},           {"give", op_give},       {"compact", op_compact},
    {"migration", op_migration}, {"who", op_who},
};

static struct json_object *dispatch(const struct call *call)
{
    struct json_object *op;
    const char *name;
    size_t len;

    if (!json_object_is_type(call->request, json_type_object) ||
        !json_object_object_get_ex(call->request, "op", &op) ||
        !json_object_is_type(op, json_type_string))
        return kli_reply_error(-KL_EINVAL, "a request is an object with a string \"op\"");
    name = json_object_get_string(op);
    len = (size_t)json_object_get_string_len(op); /* a NUL may be in it */
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (len == strlen(ops[i].name) && memcmp(name, ops[i].name, len) == 0)
            return ops[i].run(call);
    }
    return kli_reply_error(-KL_EINVAL, "no such op");
}

/* Is the whole line JSON?  *request is the caller's then; NULL if it is null. */
static bool parse(const char *text, size_t len, struct json_object **request)
{
    enum { DEPTH = 8 };
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH);
    bool whole;

    *request = NULL;
    if (!tokener)
        return false;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    *request = json_tokener_parse_ex(tokener, text, (int)len + 1); /* with its NUL */
    whole = json_tokener_get_error(tokener) == json_tokener_success &&
            json_tokener_get_parse_end(tokener) >= len;
    if (!whole) { /* or something, a NUL for instance, came after it */
        json_object_put(*request);
        *request = NULL;
    }
    json_tokener_free(tokener);
    return whole;
}

struct json_object *kli_control_answer(struct kli_control *control, struct kli_client *client,
                                       const char *text, size_t len, int *fd, bool *last)
{
    struct call call = {.control = control, .client = client, .fd = fd};
    struct json_object *reply;

    *fd = -1;
    *last = !parse(text, len, &call.request);
    if (*last)
        return kli_reply_error(-KL_EINVAL, "a request is one line of JSON");
    reply = dispatch(&call);
    json_object_put(call.request);
    return reply;
}
