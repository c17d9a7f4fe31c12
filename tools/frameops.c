// SPDX-License-Identifier: Apache-2.0
/* frameops WHAT ALLOCATOR - times order-0 allocation; for bench/frames.sh.
 *
 *   pair    one frame got and put, again and again
 *   two     the same by two threads at a time, on CPUs 0 and 1
 *   random  200,000 frames live, 90 % of the zone; one at random is replaced
 *   metadata  no time: metadata of the zone in per cent of its memory (klotski)
 *
 * ALLOCATOR: klotski, or malloc (4 KiB each; whichever malloc is loaded).
 * Prints nanoseconds per operation (a get and a put); for two threads the elapsed
 * time over the operations of both.
 */
#include "klotski/klotski.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAIRS = 4000000, LIVE = 200000, REPLACED = 4000000 };

static struct kl_zone *zone;
static kl_owner_id owner;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool open_zone(void)
{
    uint64_t frames = (uint64_t)LIVE / 9 * 10;
    struct kl_linux_backing_config memory = {
        .size = sizeof(memory), .kind = KL_LINUX_MEMFD, .bytes = frames * 4096};
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .flags = KL_ZONE_POPULATE};
    struct kl_linux_backing *backing;

    if (kl_linux_backing_create(&memory, &backing) != 0)
        return false;
    config.backing = kl_linux_backing_get(backing);
    return kl_zone_create(&config, &zone) == 0 && kl_owner_register(zone, NULL, NULL, &owner) == 0;
}

/* What an operation works on; the two allocators look alike from outside. */
union unit {
    kl_pfn pfn;
    void *mem;
};

static void get_frame(union unit *u)
{
    if (kl_frame_alloc(zone, 0, owner, 0, &u->pfn) != 0)
        abort();
}

static void put_frame(union unit *u)
{
    if (kl_frame_free(zone, owner, u->pfn) != 0)
        abort();
}

static void get_malloc(union unit *u)
{
    void *volatile mem = malloc(4096); /* not to be optimised away */

    if (!mem)
        abort();
    u->mem = mem;
}

static void put_malloc(union unit *u)
{
    free(u->mem);
}

static void (*get)(union unit *) = get_malloc;
static void (*put)(union unit *) = put_malloc;

/* Threads that begin on one CPU and go on on two would share lines of state words for as
 * long as they run (doc/CAVEATS.md): what is measured is two CPUs, each on its own. */
static void stay_on(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set); /* fails: as it comes */
}

static void *pairs(void *arg)
{
    union unit keep, u; /* one stays, so that nothing becomes free as a whole */

    if (arg)
        stay_on(*(unsigned *)arg);
    get(&keep);
    for (int i = 0; i < PAIRS; i++) {
        get(&u);
        put(&u);
    }
    put(&keep);
    return NULL;
}

static double one_thread(void)
{
    uint64_t t = now_ns();

    pairs(NULL);
    return (double)(now_ns() - t) / PAIRS;
}

static double two_threads(void)
{
    unsigned cpu[2] = {0, 1};
    pthread_t a, b;
    uint64_t t = now_ns();

    if (pthread_create(&a, NULL, pairs, &cpu[0]) || pthread_create(&b, NULL, pairs, &cpu[1]))
        abort();
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    return (double)(now_ns() - t) / (2.0 * PAIRS);
}

static double random_replacement(void)
{
    union unit *live = calloc(LIVE, sizeof(*live));
    uint64_t seed = 88172645463325252u, t;

    if (!live)
        abort();
    for (int i = 0; i < LIVE; i++)
        get(&live[i]);
    t = now_ns();
    for (int i = 0; i < REPLACED; i++) {
        union unit *u;

        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        u = &live[(seed >> 20) % LIVE];
        put(u);
        get(u);
    }
    t = now_ns() - t;
    free(live);
    return (double)t / REPLACED;
}

static double metadata_percent(void)
{
    struct kl_zone_stats s = {.size = sizeof(s)};

    kl_zone_get_stats(zone, &s);
    return 100.0 * (double)s.metadata_bytes / ((double)s.frames * s.frame_bytes);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    if (strcmp(argv[2], "klotski") == 0) {
        if (!open_zone())
            return 1;
        get = get_frame;
        put = put_frame;
    }
    if (strcmp(argv[1], "pair") == 0)
        printf("%.2f\n", one_thread());
    else if (strcmp(argv[1], "two") == 0)
        printf("%.2f\n", two_threads());
    else if (strcmp(argv[1], "random") == 0)
        printf("%.2f\n", random_replacement());
    else if (strcmp(argv[1], "metadata") == 0 && zone)
        printf("%.4f\n", metadata_percent());
    else
        return 2;
    return 0;
}
