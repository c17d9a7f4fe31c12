// SPDX-License-Identifier: Apache-2.0
/* lease.c - blocks that are taken out of the zone, until they are given again.
 *
 * Order of a take: empty the blocks, which returns their memory to the system,
 * then, if asked, get as much again in a fresh memory file.  Order of a give:
 * the file's memory goes back first, then the zone may populate again.  So the
 * disk never holds more than its zone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Why a take failed, and who was in the way. */
static struct json_object *refuse(struct kli_control *control, int err,
                                  const struct kl_report *report)
{
    struct kl_zone *zone = control->config.zone;
    struct json_object *reply = kli_reply_error(err, NULL);
    struct json_object *culprit;
    uint32_t frames_per_block;
    uint32_t frame;

    if (!report->culprit.v || !reply)
        return reply;
    frames_per_block = (uint32_t)(kl_zone_block_bytes(zone) / kl_zone_frame_bytes(zone));
    frame = kl_pfn_nr(report->culprit);
    culprit = json_object_new_object();
    kli_reply_add(culprit, "frame", frame);
    kli_reply_add(culprit, "block", frame / frames_per_block);
    json_object_object_add(culprit, "owner", json_object_new_string(report->culprit_name));
    json_object_object_add(reply, "culprit", culprit);
    return reply;
}

static struct kli_lease *lease_add(struct kli_control *control, uint32_t blocks)
{
    struct kli_lease *lease = malloc(sizeof(*lease));

    if (!lease)
        return NULL;
    *lease = (struct kli_lease){
        .next = control->leases,
        .id = ++control->last_id,
        .blocks = blocks,
        .fd = -1,
    };
    control->leases = lease;
    return lease;
}

/* A client that was never sent the descriptor does not get a stale one. */
static void forget_fd(struct kli_client *client, int fd)
{
    if (client && client->out_fd == fd)
        client->out_fd = -1;
}

/* Ends the lease that *link points at; returns its blocks. */
static uint32_t lease_drop(struct kli_control *control, struct kli_lease **link)
{
    struct kli_lease *lease = *link;
    uint32_t blocks = lease->blocks;

    *link = lease->next;
    if (lease->fd >= 0) {
        forget_fd(lease->client, lease->fd);
        kl_linux_lease_revoke(lease->fd);
    }
    kl_zone_lend(control->config.zone, blocks);
    free(lease);
    return blocks;
}

/* The memory file for a lease. */
static int lease_hand_out(struct kli_control *control, struct kli_lease *lease,
                          struct kli_client *client, uint64_t bytes)
{
    int err = kl_linux_lease_create(control->config.backing, bytes, &lease->fd);

    if (!err)
        lease->client = client;
    return err;
}

static struct json_object *granted(const struct kli_lease *lease, uint64_t bytes,
                                   const struct kl_report *report, uint64_t ns)
{
    struct json_object *reply = kli_reply_ok();

    kli_reply_add(reply, "id", lease->id);
    kli_reply_add(reply, "bytes", bytes);
    kli_reply_add(reply, "blocks", lease->blocks);
    kli_reply_add(reply, "migrated", report->migrated);
    kli_reply_add(reply, "put_back", report->put_back);
    kli_reply_add(reply, "ns", ns);
    return reply;
}

struct json_object *kli_lease_take(struct kli_control *control, struct kli_client *client,
                                   uint64_t bytes, bool with_fd, int *fd)
{
    struct kl_zone *zone = control->config.zone;
    struct kl_report report = {.size = sizeof(report)};
    uint64_t block_bytes = kl_zone_block_bytes(zone);
    uint64_t blocks = (bytes + block_bytes - 1) / block_bytes;
    uint64_t start = now_ns();
    struct kli_lease *lease;
    int err;

    if (blocks == 0 || blocks > kl_zone_blocks(zone))
        return kli_reply_error(-KL_EINVAL, "bytes: not from 1 to the size of the zone");
    lease = lease_add(control, (uint32_t)blocks);
    if (!lease)
        return kli_reply_error(-KL_ENOMEM, NULL);
    err = kl_zone_give_back(zone, (uint32_t)blocks, KL_SYNC, &report);
    if (err) {
        control->leases = lease->next; /* nothing was taken: nothing to lend */
        free(lease);
        return refuse(control, err, &report);
    }
    if (with_fd)
        err = lease_hand_out(control, lease, client, blocks * block_bytes);
    if (err) {
        lease_drop(control, &control->leases);
        return kli_reply_error(err, "the system has not got the memory that was returned to it");
    }
    *fd = lease->fd;
    return granted(lease, blocks * block_bytes, &report, now_ns() - start);
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
