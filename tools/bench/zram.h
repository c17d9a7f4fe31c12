// SPDX-License-Identifier: Apache-2.0
/* zram.h - the kernel's compressed disk as a peer: /dev/zram0 with lz4.  It is taken
 * only where it is unused, under a lock, and is reset when this process has ended, however
 * that comes (a second process sees to it).  Open it before there are threads. */
#ifndef BENCH_ZRAM_H
#define BENCH_ZRAM_H

#include <stdint.h>

/* A descriptor for direct access to a disk of so many bytes; -1 with the reason in
 * *why when there is none to be had.  One at a time. */
int zram_open(uint64_t bytes, const char **why);
void zram_close(void);

struct zram_stat {
    uint64_t payload;  /* compr_data_size */
    uint64_t used;     /* mem_used_total, bytes of frames */
    uint64_t same;     /* pages of one word, which cost nothing */
    uint64_t raw;      /* pages that did not compress */
    uint64_t metadata; /* estimated: it says nothing itself (zram.c) */
};
struct zram_stat zram_stat(void);
void zram_compact(void);
/* Pages from first on; they cost nothing afterwards. */
void zram_discard(uint64_t first, uint64_t pages);

#endif
