// SPDX-License-Identifier: Apache-2.0
/* A large buffer from an area that others use meanwhile: a zone of ordinary memory, movable
 * frames in it, ranges that push them aside, and one that is kept for the next time. */
#include <klotski/klotski.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 6000, RANGE = 8 << 8 /* 8 MiB */ };

static struct kl_zone *zone;
static kl_pfn place[FRAMES]; /* where our frames are; one thread, so no lock */

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, kl_err_text(err));
    exit(1);
}

/* The owner of the movable frames: the private word is the index + 1. */
static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    (void)ctx, (void)mode;
    return kl_frame_private(zone, frame) != 0;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    uint64_t index = kl_frame_private(zone, src);

    (void)ctx, (void)mode;
    must(kl_frame_copy(zone, dst, src), "copy");
    kl_frame_set_private(zone, dst, index);
    place[index - 1] = dst;
    return 0;
}

static void putback(void *ctx, kl_pfn frame)
{
    (void)ctx, (void)frame;
}

static void fill(kl_owner_id owner)
{
    for (uint64_t i = 0; i < FRAMES; i++) {
        must(kl_frame_alloc(zone, 0, owner, KL_MOVABLE, &place[i]), "a frame");
        kl_frame_set_private(zone, place[i], i + 1);
        memcpy(kl_frame_addr(zone, place[i]), &i, sizeof(i));
    }
}

static void take(struct kl_cma *area, const char *when)
{
    struct kl_report report = {.size = sizeof(report)};
    struct kl_cma_stats s = {.size = sizeof(s)};
    kl_pfn first;

    must(kl_cma_alloc(area, RANGE, 1, 0, KL_SYNC, &first, &report), "a range");
    kl_cma_get_stats(area, &s);
    printf("%-6s frames %5u to %5u, %4u moved, %u kept\n", when, kl_pfn_nr(first),
           kl_pfn_nr(first) + RANGE - 1, report.migrated, s.kept_frames);
    memset(kl_frame_addr(zone, first), 0xab, RANGE * kl_zone_frame_bytes(zone));
    must(kl_cma_release(area, first, RANGE), "release");
}

int main(void)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 32u << 20};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_owner_ops ops = {.size = sizeof(ops),
                               .name = "frames",
                               .isolate = isolate,
                               .migrate = migrate,
                               .putback = putback};
    struct kl_cma_config buffers = {
        .size = sizeof(buffers), .name = "buffers", .frames = 12 << 8, .defer_bytes = UINT64_MAX};
    struct kl_cma_stats s = {.size = sizeof(s)};
    struct kl_linux_backing *backing;
    struct kl_cma *area;
    kl_owner_id owner;

    must(kl_linux_backing_create(&memory, &backing), "memory");
    config.backing = kl_linux_backing_get(backing);
    must(kl_zone_create(&config, &zone), "zone");
    must(kl_cma_create(zone, &buffers, &area), "area"); /* wherever there is room */
    must(kl_owner_register(zone, &ops, NULL, &owner), "owner");
    fill(owner); /* in the area, too */
    take(area, "first");
    take(area, "again"); /* what was kept: nothing moves */
    kl_cma_get_stats(area, &s);
    for (uint64_t i = 0, is; i < FRAMES; i++) {
        memcpy(&is, kl_frame_addr(zone, place[i]), sizeof(is));
        if (is != i)
            return 1;
        must(kl_frame_free(zone, owner, place[i]), "free");
    }
    must(kl_cma_destroy(area), "area's end"); /* gives back what it keeps */
    must(kl_owner_unregister(zone, owner), "owner's end");
    must(kl_zone_destroy(zone), "zone's end");
    kl_linux_backing_destroy(backing);
    return s.exact == 1 && s.migrated > 0 ? 0 : 1;
}
