// SPDX-License-Identifier: Apache-2.0
/* objects_costs.c - what objects cost one by one, beside what one would do without them.
 * CPU time on one CPU, medians of rounds; ours and theirs take turns.
 *
 *   move   frames of active objects moved for a contiguous range, all included, over a memcpy
 *          of as many pages in random order
 *   pin    an object of 2 MiB pinned and unpinned, over mlock and munlock of 2 MiB that are there
 *   read, write   64 KiB of an object, over memcpy from or to shared memory
 *
 * Memory of the peers is of the kernel's shmem, too, in pages of the same size.
 */
#include "objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ZONE = 128 << 20,
    RANGE = (32 << 20) / PAGE,
    PINNED_BYTES = 2 << 20,
    PIECE = 64 << 10,
    PIECES = 256,
    PINS = 16
};

static struct arena arena;

static char *shared(size_t bytes)
{
    char *mem =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (mem == MAP_FAILED)
        die("no memory");
    return mem;
}

/* ns a page, of pages in random order. */
static double memcpy_pages(uint32_t pages)
{
    static char *from, *to;
    uint32_t *order = shuffled(ZONE / PAGE, pages);
    uint64_t since;

    if (!from) {
        from = shared(ZONE);
        to = shared(ZONE);
    }
    pages = pages < ZONE / PAGE ? pages : ZONE / PAGE;
    since = cpu_ns();
    for (uint32_t i = 0; i < pages; i++)
        memcpy(to + (size_t)order[i] * PAGE, from + (size_t)order[pages - 1 - i] * PAGE, PAGE);
    since = cpu_ns() - since;
    free(order);
    return (double)since / pages;
}

static void move(unsigned rounds, uint64_t seed)
{
    double *ratio = need(rounds * sizeof(*ratio));
    struct device *d = need(sizeof(*d));
    kl_owner_id owner;

    device_open(d, arena.zone, HOOKS, seed);
    must(kl_owner_register(arena.zone, NULL, NULL, &owner), "owner");
    for (unsigned i = 0; i < rounds; i++) {
        struct kl_report report = {.size = sizeof(report)};
        uint64_t since;
        kl_pfn first;

        buffers_churn(d, 0.92, 0.60);
        since = cpu_ns();
        must(kl_contig_alloc(arena.zone, owner, RANGE, 1, KL_SYNC, &first, &report), "range");
        since = cpu_ns() - since;
        must(kl_contig_free(arena.zone, owner, first, RANGE), "range's end");
        if (report.migrated == 0)
            die("nothing was in the way");
        ratio[i] = (double)since / report.migrated / memcpy_pages(report.migrated);
    }
    printf("RATIO objects.move_vs_memcpy %.3f\n", median(ratio, rounds));
    must(kl_owner_unregister(arena.zone, owner), "owner's end");
    device_close(d);
    free(d);
    free(ratio);
}

static void pin(struct kl_shm *shm, kl_shm_id object, unsigned rounds)
{
    double *ratio = need(rounds * sizeof(*ratio));
    char *mem = shared(PINNED_BYTES);

    for (unsigned i = 0; i < rounds; i++) {
        uint64_t ours, theirs, since = cpu_ns();
        kl_pin_id id;

        for (unsigned k = 0; k < PINS; k++) {
            must(kl_shm_pin(shm, object, "bench", &id), "pin");
            must(kl_shm_unpin(shm, object, id), "unpin");
        }
        ours = cpu_ns() - since;
        since = cpu_ns();
        for (unsigned k = 0; k < PINS; k++) {
            if (mlock(mem, PINNED_BYTES) != 0 || munlock(mem, PINNED_BYTES) != 0)
                die("mlock is refused");
        }
        theirs = cpu_ns() - since;
        ratio[i] = (double)ours / (double)theirs;
    }
    printf("RATIO objects.pin_vs_mlock %.3f\n", median(ratio, rounds));
    munmap(mem, PINNED_BYTES);
    free(ratio);
}

/* Of 256 pieces in random order: by us, or by memcpy to or from memory alike. */
static double pieces(struct kl_shm *shm, kl_shm_id object, char *mem, bool write, uint32_t seed)
{
    static char piece[PIECE];
    uint32_t *order = shuffled(PIECES, seed);
    uint64_t since = cpu_ns();

    for (uint32_t i = 0; i < PIECES; i++) {
        uint64_t at = (uint64_t)order[i] * PIECE;

        if (mem)
            memcpy(write ? mem + at : piece, write ? piece : mem + at, PIECE);
        else if (write)
            must(kl_shm_write(shm, object, at, piece, PIECE), "write");
        else
            must(kl_shm_read(shm, object, at, piece, PIECE), "read");
        __asm__ volatile("" ::: "memory");
    }
    since = cpu_ns() - since;
    free(order);
    return (double)since;
}

static void copy(struct kl_shm *shm, kl_shm_id object, unsigned rounds)
{
    double *ratio = need(rounds * sizeof(*ratio));
    char *mem = shared((size_t)PIECES * PIECE);

    for (unsigned write = 2; write-- > 0;) {
        pieces(shm, object, NULL, true, 1); /* frames are got now */
        for (unsigned i = 0; i < rounds; i++)
            ratio[i] =
                pieces(shm, object, NULL, write, i + 1) / pieces(shm, object, mem, write, i + 1);
        printf("RATIO objects.%s_vs_memcpy %.3f\n", write ? "write" : "read",
               median(ratio, rounds));
    }
    munmap(mem, (size_t)PIECES * PIECE);
    free(ratio);
}

void costs(unsigned rounds, uint64_t seed)
{
    kl_shm_id one, large;
    struct kl_shm *shm;

    arena = arena_open(ZONE);
    move(rounds, seed);
    must(kl_shm_create(arena.zone, NULL, &shm), "objects");
    must(kl_shm_object_create(shm, PINNED_BYTES, 0, &one), "object");
    must(kl_shm_object_create(shm, (uint64_t)PIECES * PIECE, 0, &large), "object");
    pin(shm, one, rounds);
    copy(shm, large, rounds);
    must(kl_shm_object_destroy(shm, one), "object's end");
    must(kl_shm_object_destroy(shm, large), "object's end");
    must(kl_shm_destroy(shm), "objects' end");
    arena_close(&arena);
}
