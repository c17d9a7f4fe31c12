// SPDX-License-Identifier: Apache-2.0
/* Buffers that come and go: a pool of zeroed units of 64 KiB, zeroed again in the
 * background, and what is idle of it when somebody else needs its memory. */
#include <klotski/klotski.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER = 4, BUFFERS = 32, ROUNDS = 3, BYTES = 4096 << ORDER };

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, kl_err_text(err));
    exit(1);
}

static void show(struct kl_pool *pool, const char *when)
{
    struct kl_pool_stats s = {.size = sizeof(s)};

    kl_pool_get_stats(pool, &s);
    printf("%-12s %2u zeroed, %2u dirty; %2llu hits, %2llu misses, %2llu moved\n", when, s.zeroed,
           s.dirty, (unsigned long long)s.hits, (unsigned long long)s.misses,
           (unsigned long long)s.moved);
}

/* A program's event loop does this when it has nothing else to do; or a worker
 * (klotski/linux.h) does it. */
static void background(struct kl_zone *zone)
{
    struct kl_step step = {.size = sizeof(step), .flags = KL_STEP_WANTED};

    while (kl_zone_step(zone, &step, NULL) == -KL_EAGAIN && step.again_ns == 0)
        ;
}

static kl_pfn use_buffers(struct kl_zone *zone, struct kl_pool *pool)
{
    static const char zero[BYTES];
    kl_pfn buffer[BUFFERS];

    for (int i = 0; i < BUFFERS; i++) {
        must(kl_pool_alloc(pool, 0, &buffer[i]), "alloc");
        if (memcmp(kl_frame_addr(zone, buffer[i]), zero, BYTES) != 0)
            exit(1); /* never */
        memset(kl_frame_addr(zone, buffer[i]), 'x', BYTES);
    }
    for (int i = 0; i < BUFFERS; i++)
        must(kl_pool_free(pool, buffer[i]), "free");
    return buffer[0];
}

/* Somebody wants the very block that the buffers lie in: idle ones go elsewhere, without a
 * copy. */
static void make_way(struct kl_zone *zone, struct kl_pool *pool, kl_pfn buffer)
{
    uint32_t frames = kl_zone_frames(zone) / kl_zone_blocks(zone);
    kl_pfn first = kl_zone_pfn(zone, kl_frame_block(zone, buffer).v * frames);

    must(kl_contig_alloc_at(zone, kl_pool_owner(pool), first, frames, KL_SYNC, NULL), "block");
    must(kl_contig_free(zone, kl_pool_owner(pool), first, frames), "block's end");
}

int main(void)
{
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = 16u << 20};
    struct kl_zone_config config = {.size = sizeof(config), .host = kl_linux_host()};
    struct kl_pool_config buffers = {
        .size = sizeof(buffers), .name = "buffers", .order = ORDER, .limit = BUFFERS};
    struct kl_pool_stats s = {.size = sizeof(s)};
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
    struct kl_pool *pool;
    kl_pfn last = {0};

    must(kl_linux_backing_create(&memory, &backing), "memory");
    config.backing = kl_linux_backing_get(backing);
    must(kl_zone_create(&config, &zone), "zone");
    must(kl_pool_create(zone, &buffers, &pool), "pool");
    for (int round = 0; round < ROUNDS; round++) {
        last = use_buffers(zone, pool);
        show(pool, "used:");
        background(zone);
        show(pool, "zeroed:");
    }
    make_way(zone, pool, last);
    show(pool, "made way:");
    background(zone);
    show(pool, "zeroed:");
    /* Somebody in the zone needs frames: idle units go. */
    if (kl_zone_shrink(zone, (uint32_t)BUFFERS << ORDER, KL_SYNC) < 1)
        return 1;
    show(pool, "shrunk:");
    kl_pool_get_stats(pool, &s);
    must(kl_pool_destroy(pool), "destroy");
    must(kl_zone_destroy(zone), "zone's end");
    kl_linux_backing_destroy(backing);
    return s.hits == (uint64_t)(ROUNDS - 1) * BUFFERS && s.moved > 0 && s.zeroed + s.dirty == 0 ? 0
                                                                                                : 1;
}
