// SPDX-License-Identifier: Apache-2.0
/* who.c - who is in the way, of a take that has failed or of one that nobody has made
 * yet. */
#include "internal.h"

#include <stdlib.h>

#define LISTED_MAX 1000 /* obstacles in one reply */

static void add_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

/* The age of what began then, by the zone's own clock. */
static uint64_t age_ns(const struct kl_zone *zone, uint64_t since)
{
    const struct kl_host *host = kl_zone_host(zone);
    uint64_t now = host->now_ns(host->ctx);

    return now > since ? now - since : 0;
}

struct json_object *kli_report_obstacle(const struct kl_zone *zone, const struct kl_obstacle *o)
{
    struct json_object *object = json_object_new_object();

    if (o->frame.v)
        kli_reply_add(object, "frame", kl_pfn_nr(o->frame));
    kli_reply_add(object, "block", o->block.v);
    kli_reply_add(object, "frames", UINT64_C(1) << o->order);
    if (o->owner.v)
        add_text(object, "owner", o->owner_name);
    add_text(object, "kind", kl_in_way_name(o->kind));
    add_text(object, "text", kl_in_way_text(o->kind));
    if (o->pins)
        kli_reply_add(object, "pins", o->pins);
    if (o->since_ns) {
        kli_reply_add(object, "object", o->object);
        kli_reply_add(object, "age_ns", age_ns(zone, o->since_ns));
    }
    if (o->why[0])
        add_text(object, "why", o->why);
    return object;
}

static struct json_object *answer(struct kl_zone *zone, const struct kl_who *who,
                                  const struct kl_obstacle *list)
{
    uint64_t frame_bytes = kl_zone_frame_bytes(zone);
    struct json_object *obstacles = json_object_new_array();
    struct json_object *reply = kli_reply_ok();

    kli_reply_add(reply, "bytes", who->frames * frame_bytes);
    kli_reply_add(reply, "blocks", who->frames * frame_bytes / kl_zone_block_bytes(zone));
    if (who->first.v)
        kli_reply_add(reply, "first", kl_pfn_nr(who->first));
    kli_reply_add(reply, "found", who->found);
    kli_reply_add(reply, "to_move", who->to_move);
    kli_reply_add(reply, "room", who->room);
    json_object_object_add(reply, "lacks_room", json_object_new_boolean(who->lacks_room));
    for (uint32_t i = 0; i < who->listed; i++)
        json_object_array_add(obstacles, kli_report_obstacle(zone, &list[i]));
    json_object_object_add(reply, "obstacles", obstacles);
    return reply;
}

struct json_object *kli_report_who(struct kli_control *control, uint64_t bytes, uint64_t align)
{
    struct kl_zone *zone = control->config.zone;
    uint64_t unit = align ? kl_zone_frame_bytes(zone) : kl_zone_block_bytes(zone);
    uint64_t units = bytes / unit + (bytes % unit != 0);
    uint64_t align_units = align > unit ? align / unit : 1;
    struct kl_who who = {.size = sizeof(who)};
    struct json_object *reply;
    struct kl_obstacle *list;
    int err;

    if (units == 0 || units > (align ? kl_zone_frames(zone) : kl_zone_blocks(zone)))
        return kli_reply_error(-KL_EINVAL, "bytes: not from 1 to the size of the zone");
    if ((align & (align - 1)) != 0 || align_units > UINT32_MAX / 2)
        return kli_reply_error(-KL_EINVAL, "align: not a power of two, or too large");
    list = malloc(LISTED_MAX * sizeof(*list));
    if (!list)
        return kli_reply_error(-KL_ENOMEM, NULL);
    if (align)
        err = kl_zone_who(zone, (uint32_t)units, (uint32_t)align_units, &who, list, LISTED_MAX);
    else
        err = kl_zone_who_blocks(zone, (uint32_t)units, &who, list, LISTED_MAX);
    reply = err ? kli_reply_error(err, NULL) : answer(zone, &who, list);
    free(list);
    return reply;
}
