// SPDX-License-Identifier: Apache-2.0
/* kit.h - what densitybench, zsbench and storebench share: a corpus (tools/corpus.py),
 * numbers by chance, clocks, a process's own memory.  Every failure ends the program
 * with a message. */
#ifndef BENCH_KIT_H
#define BENCH_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE = 4096 };

struct kl_zone;
struct kl_linux_backing;

struct corpus {
    const unsigned char *page; /* mapped for reading */
    uint32_t pages;
};
struct corpus corpus_map(const char *path);
static inline const unsigned char *corpus_page(const struct corpus *corpus, uint32_t i)
{
    return corpus->page + (size_t)i * PAGE;
}
/* Whether the page is one word of 8 bytes again and again. */
bool same_filled(const unsigned char *page);

/* A pool or store lives in this: ordinary memory of whole blocks of 2 MiB. */
struct arena {
    struct kl_linux_backing *backing;
    struct kl_zone *zone;
};
struct arena arena_open(uint64_t bytes);
void arena_close(struct arena *arena);

/* The zone's background work, as an event loop would do it that has nothing else to do,
 * until none was wanted for a second (QUIET_MS), 30 s at most.  The marks are a disk's:
 * compaction of frames from 3 % waste to 1 %, one free block stays. */
void arena_settle(struct arena *arena);
/* All that is to be had: compaction of frames, and free blocks go back. */
void arena_compact(struct arena *arena);
uint64_t quiet_ns(void);

uint64_t rng_next(uint64_t *state);
/* The numbers below n in random order; to be freed. */
uint32_t *shuffled(uint32_t n, uint64_t seed);
void *need(size_t bytes); /* zeroed, and touched */

uint64_t now_ns(void);
uint64_t cpu_ns(void);                   /* of this thread */
double median(double *values, size_t n); /* sorts them */
void stay_on(unsigned cpu);              /* the n-th that this process may use */

/* What the system says that this process has of its own, in bytes. */
uint64_t anonymous_bytes(void);

void must(int err, const char *what); /* 0, or an error of Klotski's */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
