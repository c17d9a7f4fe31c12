// SPDX-License-Identifier: Apache-2.0
/* lease.c - blocks that are taken out of the zone, until they are given again.
 *
 * Order of a take: empty the blocks, which returns their memory to the system,
 * then, if asked, get as much again in a fresh memory file.  Order of a give:
 * the file's memory goes back first, then the zone may populate again.  So the
 * disk never holds more than its zone.
 *
 * A zone with an area (klotski/cma.h) is asked there first: a range of whole blocks is
 * allocated, and its memory given back.  It stays allocated until a give has got that
 * memory again.  Where the system has none, the range is owed: nobody's, and tried again
 * by kli_lease_settle until it is there.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t frames_a_block(const struct kli_control *control)
{
    return kl_zone_frames(control->config.zone) / kl_zone_blocks(control->config.zone);
}

/* Blocks that a take could have now, those without memory included. */
static uint32_t emptiable(const struct kli_control *control, const struct kl_zone_stats *stats)
{
    uint32_t n = stats->size_blocks - stats->present_blocks - stats->given_blocks;

    for (uint32_t i = 0; i < stats->blocks; i++) {
        struct kl_block_info info = {0};

        kl_zone_block_info(control->config.zone, (kl_block){i}, &info);
        if (info.present && !info.cma && !info.fenced && info.stuck == 0 &&
            (info.used == 0 || !control->migration_off))
            n++;
    }
    return n;
}

/* The frames in use, and the room for them in the blocks that would be left. */
static bool say_no_room(const struct kl_zone_stats *stats, uint32_t want, char *text, size_t bytes)
{
    uint64_t left = (uint64_t)(stats->size_blocks - stats->given_blocks - want) *
                    (stats->frames / stats->blocks) * stats->frame_bytes;
    uint64_t used = (uint64_t)stats->used_frames * stats->frame_bytes;

    if (used <= left)
        return false; /* somebody has freed something since */
    snprintf(text, bytes,
             "too few frames are free outside of the blocks: %llu bytes are in use, there would "
             "be room for %llu",
             (unsigned long long)used, (unsigned long long)left);
    return true;
}

/* Why want blocks can't be taken, in words, with figures as far as they still
 * explain it: the disk goes on meanwhile. */
static void explain(struct kli_control *control, int err, uint32_t want, char *text, size_t bytes)
{
    struct kl_zone_stats stats = {.size = sizeof(stats)};
    uint32_t could;

    kl_zone_get_stats(control->config.zone, &stats);
    snprintf(text, bytes, "%s", kl_err_text(err));
    if (stats.given_blocks + want > stats.size_blocks) {
        snprintf(text, bytes, "%u blocks are wanted, and of the zone's %u, %u are taken already",
                 want, stats.size_blocks, stats.given_blocks);
    } else if (err == -KL_ENOMEM) {
        if (!say_no_room(&stats, want, text, bytes))
            snprintf(text, bytes, "too few frames are free outside of the blocks");
    } else if (err == -KL_EBUSY) {
        could = emptiable(control, &stats);
        if (could < want)
            snprintf(text, bytes, "%u blocks are wanted, %u can be emptied%s", want, could,
                     control->migration_off ? " while migration is off" : "");
        else
            snprintf(text, bytes, "too few blocks could be emptied just now");
    }
}

static struct kl_obstacle culprit_of(const struct kl_report *report)
{
    struct kl_obstacle o = {.frame = report->culprit,
                            .block = report->culprit_block,
                            .order = report->culprit_order,
                            .kind = report->culprit_kind,
                            .pins = report->culprit_pins,
                            .owner = report->culprit_owner,
                            .object = report->culprit_object,
                            .since_ns = report->culprit_since_ns};

    memcpy(o.owner_name, report->culprit_name, sizeof(o.owner_name));
    memcpy(o.why, report->culprit_why, sizeof(o.why));
    return o;
}

/* Why a take failed, and who was in the way. */
static struct json_object *refuse(struct kli_control *control, int err, uint32_t want,
                                  const struct kl_report *report)
{
    struct json_object *reply;
    struct kl_obstacle culprit = culprit_of(report);
    char text[160];

    explain(control, err, want, text, sizeof(text));
    reply = kli_reply_error(err, text);
    if (reply &&
        (culprit.frame.v || culprit.kind == KL_IN_WAY_FENCED || culprit.kind == KL_IN_WAY_AREA))
        json_object_object_add(reply, "culprit",
                               kli_report_obstacle(control->config.zone, &culprit));
    return reply;
}

/* A client that was never sent the descriptor does not get a stale one. */
static void forget_fd(struct kli_client *client, int fd)
{
    if (client->out_fd == fd)
        client->out_fd = -1;
}

/* Gets memory for the area's range again; false: not now. */
static bool repay(struct kli_control *control, const struct kli_lease *lease)
{
    struct kl_cma *area = control->config.area;
    uint32_t frames = lease->blocks * frames_a_block(control);

    return kl_cma_get_back(area, lease->first, frames) == 0 &&
           kl_cma_release(area, lease->first, frames) == 0;
}

/* The end of what was taken: the zone has it again, or is owed it. */
static void put_back(struct kli_control *control, struct kli_lease *lease)
{
    if (!lease->from_area) {
        kl_zone_lend(control->config.zone, lease->blocks);
    } else if (!repay(control, lease)) {
        lease->next = control->owed;
        control->owed = lease;
        return;
    }
    free(lease);
}

void kli_lease_settle(struct kli_control *control)
{
    struct kli_lease **link = &control->owed;

    while (*link) {
        struct kli_lease *lease = *link;

        if (repay(control, lease)) {
            *link = lease->next;
            free(lease);
        } else {
            link = &lease->next;
        }
    }
}

uint64_t kli_lease_owed(const struct kli_control *control)
{
    struct kl_cma_stats stats = {.size = sizeof(stats)};
    uint64_t leased = 0;

    if (!control->owed)
        return 0;
    kl_cma_get_stats(control->config.area, &stats);
    for (const struct kli_lease *lease = control->leases; lease; lease = lease->next)
        leased += lease->from_area ? lease->blocks : 0;
    return stats.given_frames * (uint64_t)kl_zone_frame_bytes(control->config.zone) -
           leased * kl_zone_block_bytes(control->config.zone);
}

/* Ends the lease that *link points at; returns its blocks. */
static uint32_t lease_drop(struct kli_control *control, struct kli_lease **link)
{
    struct kli_lease *lease = *link;
    uint32_t blocks = lease->blocks;

    *link = lease->next;
    if (lease->client) {
        forget_fd(lease->client, lease->fd);
        kl_linux_lease_revoke(lease->fd);
        lease->client->held--;
        control->held--;
    }
    put_back(control, lease);
    return blocks;
}

/* Makes a lease of what was taken.  On failure the lease is gone and the zone has
 * its blocks again. */
static int lease_begin(struct kli_control *control, struct kli_lease *lease,
                       struct kli_client *client)
{
    struct kl_zone *zone = control->config.zone;
    int err = 0;

    if (client)
        err = kl_linux_lease_create(control->config.backing,
                                    lease->blocks * kl_zone_block_bytes(zone), &lease->fd);
    if (err) {
        put_back(control, lease);
        return err;
    }
    if (client) {
        lease->client = client;
        client->held++;
        control->held++;
    }
    lease->id = ++control->last_id;
    lease->next = control->leases;
    control->leases = lease;
    return 0;
}

static struct json_object *granted(const struct kli_lease *lease, uint64_t bytes,
                                   const struct kl_report *report, uint64_t ns)
{
    struct json_object *reply = kli_reply_ok();

    kli_reply_add(reply, "id", lease->id);
    kli_reply_add(reply, "bytes", bytes);
    kli_reply_add(reply, "blocks", lease->blocks);
    json_object_object_add(reply, "from",
                           json_object_new_string(lease->from_area ? "area" : "zone"));
    kli_reply_add(reply, "migrated", report->migrated);
    kli_reply_add(reply, "put_back", report->put_back);
    kli_reply_add(reply, "ns", ns);
    return reply;
}

/* A range of the area, whole.  On failure nothing is taken; *owed: but the lease is, of what
 * was given back before that and can't be had again. */
static int take_from_area(struct kli_control *control, struct kli_lease *lease, bool *owed,
                          struct kl_report *report)
{
    struct kl_cma *area = control->config.area;
    uint32_t per_block = frames_a_block(control), frames = lease->blocks * per_block, given;
    kl_pfn rest;
    int err =
        kl_cma_alloc(area, frames, per_block, KL_CMA_ANY_CONTENTS, KL_SYNC, &lease->first, report);

    *owed = false;
    if (err)
        return err;
    err = kl_cma_give_back(area, lease->first, frames, &given);
    if (!err)
        return 0;
    rest = kl_zone_pfn(control->config.zone, kl_pfn_nr(lease->first) + given);
    kl_cma_release(area, rest, frames - given);
    *owed = given > 0 && (kl_cma_get_back(area, lease->first, given) != 0 ||
                          kl_cma_release(area, lease->first, given) != 0);
    lease->blocks = given / per_block;
    return err;
}

/* From the area if there is one and it has such a range, else from anywhere.  On failure
 * the lease is gone. */
static int take_blocks(struct kli_control *control, struct kli_lease *lease,
                       struct kl_report *report)
{
    uint32_t blocks = lease->blocks;
    bool owed = false;
    int err;

    kli_lease_settle(control);
    lease->from_area = control->config.area != NULL;
    if (lease->from_area) {
        err = take_from_area(control, lease, &owed, report);
        if (!err)
            return 0;
        if (owed) {
            lease->next = control->owed;
            control->owed = lease;
            return err;
        }
        lease->from_area = false;
        lease->blocks = blocks;
    }
    err = kl_zone_give_back(control->config.zone, blocks, KL_SYNC, report);
    if (err)
        free(lease); /* nothing was taken: nothing to lend */
    return err;
}

struct json_object *kli_lease_take(struct kli_control *control, struct kli_client *client,
                                   uint64_t bytes, bool with_fd, int *fd)
{
    struct kl_zone *zone = control->config.zone;
    struct kl_report report = {.size = sizeof(report)};
    uint64_t block_bytes = kl_zone_block_bytes(zone);
    uint64_t blocks = bytes / block_bytes + (bytes % block_bytes != 0);
    uint64_t start = kli_now_ns();
    struct kli_lease *lease;
    int err;

    if (blocks == 0 || blocks > kl_zone_blocks(zone))
        return kli_reply_error(-KL_EINVAL, "bytes: not from 1 to the size of the zone");
    if (with_fd && control->held >= KLI_HELD_MAX)
        return kli_reply_error(-KL_ENOSPC, "too many leases with a descriptor are held already");
    lease = malloc(sizeof(*lease));
    if (!lease)
        return kli_reply_error(-KL_ENOMEM, "no memory is left for the lease itself");
    *lease = (struct kli_lease){.blocks = (uint32_t)blocks, .fd = -1};
    err = take_blocks(control, lease, &report);
    if (err)
        return refuse(control, err, (uint32_t)blocks, &report);
    err = lease_begin(control, lease, with_fd ? client : NULL);
    if (err)
        return kli_reply_error(err, "the system has not got the memory that was returned to it");
    *fd = lease->fd;
    return granted(lease, blocks * block_bytes, &report, kli_now_ns() - start);
}

struct json_object *kli_lease_give(struct kli_control *control, uint64_t id)
{
    uint64_t block_bytes = kl_zone_block_bytes(control->config.zone);
    struct kli_lease **link = &control->leases;
    struct json_object *reply;
    uint64_t blocks = 0;
    bool found = id == 0;

    while (*link) {
        if (id == 0 || (*link)->id == id) {
            blocks += lease_drop(control, link);
            found = true;
        } else {
            link = &(*link)->next;
        }
    }
    if (!found)
        return kli_reply_error(-KL_ENOENT, "no lease has this id");
    reply = kli_reply_ok();
    kli_reply_add(reply, "bytes", blocks * block_bytes);
    if (control->owed)
        kli_reply_add(reply, "owed", kli_lease_owed(control));
    return reply;
}

void kli_lease_end(struct kli_control *control, const struct kli_client *client)
{
    struct kli_lease **link = &control->leases;

    while (*link) {
        if (!client || (*link)->client == client)
            lease_drop(control, link);
        else
            link = &(*link)->next;
    }
}
