// SPDX-License-Identifier: Apache-2.0
/* look.c - what is said of a zone's free memory, of its runs, and of zones too large
 * for a map of every block.  Changes nothing. */
#include "internal.h"

static struct json_object *one_index(const struct kl_free_runs *runs, unsigned order)
{
    struct json_object *object = json_object_new_object();
    int unusable = 0, fragmentation = 0;

    kl_runs_unusable_index(runs, order, &unusable);
    kl_runs_fragmentation_index(runs, order, &fragmentation);
    kli_reply_add(object, "order", order);
    json_object_object_add(object, "unusable", json_object_new_int(unusable));
    json_object_object_add(object, "fragmentation", json_object_new_int(fragmentation));
    return object;
}

/* Of orders 3 and 9 and of the block's, those that the zone has. */
static struct json_object *indexes(const struct kl_free_runs *runs, unsigned block_order)
{
    const unsigned orders[] = {3, 9, block_order};
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < 3; i++) {
        bool again = i == 2 && (block_order == 3 || block_order == 9);

        if (orders[i] < runs->orders && !again)
            json_object_array_add(list, one_index(runs, orders[i]));
    }
    return list;
}

void kli_look_free(struct json_object *object, struct kl_zone *zone)
{
    uint64_t per_block = kl_zone_block_bytes(zone) / kl_zone_frame_bytes(zone);
    struct kl_free_runs runs = {.size = sizeof(runs)};
    struct json_object *list = json_object_new_array();
    unsigned block_order = 0;

    kl_zone_get_free_runs(zone, &runs);
    while (per_block >> block_order > 1)
        block_order++;
    for (uint32_t o = 0; o < runs.orders; o++)
        json_object_array_add(list, json_object_new_uint64(runs.run[o]));
    kli_reply_add(object, "block_order", block_order);
    json_object_object_add(object, "free_runs", list);
    json_object_object_add(object, "indexes", indexes(&runs, block_order));
}

struct json_object *kli_look_runs(const struct kl_run_stats *runs)
{
    struct json_object *object = json_object_new_object();

    kli_reply_add(object, "asked", runs->asked);
    kli_reply_add(object, "succeeded", runs->succeeded);
    kli_reply_add(object, "again", runs->again);
    kli_reply_add(object, "nomem", runs->nomem);
    kli_reply_add(object, "busy", runs->busy);
    kli_reply_add(object, "other", runs->other);
    return object;
}

/* [present, free, stuck, fenced, area] of the blocks [first, end); frames, but for the
 * last two. */
static struct json_object *one_cell(struct kl_zone *zone, uint64_t per_block, uint64_t first,
                                    uint64_t end)
{
    struct json_object *cell = json_object_new_array_ext(5);
    uint64_t sums[5] = {0};

    for (uint64_t i = first; i < end; i++) {
        struct kl_block_info info = {0};

        kl_zone_block_info(zone, (kl_block){(uint32_t)i}, &info);
        sums[0] += info.present ? per_block : 0;
        sums[1] += info.free;
        sums[2] += info.stuck;
        sums[3] += info.fenced;
        sums[4] += info.cma;
    }
    for (size_t i = 0; i < 5; i++)
        json_object_array_add(cell, json_object_new_uint64(sums[i]));
    return cell;
}

struct json_object *kli_report_cells(struct kli_control *control, uint64_t most)
{
    struct kl_zone *zone = control->config.zone;
    uint64_t blocks = kl_zone_blocks(zone), per_block = kl_zone_frames(zone) / blocks, per_cell = 1;
    struct json_object *list = json_object_new_array();
    struct json_object *reply = kli_reply_ok();

    while ((blocks + per_cell - 1) / per_cell > most)
        per_cell *= 2;
    for (uint64_t first = 0; first < blocks; first += per_cell) {
        uint64_t end = first + per_cell < blocks ? first + per_cell : blocks;

        json_object_array_add(list, one_cell(zone, per_block, first, end));
    }
    kli_reply_add(reply, "frames_per_block", per_block);
    kli_reply_add(reply, "frame_bytes", kl_zone_frame_bytes(zone));
    kli_reply_add(reply, "zone_blocks", blocks);
    kli_reply_add(reply, "blocks_per_cell", per_cell);
    json_object_object_add(reply, "cells", list);
    return reply;
}
