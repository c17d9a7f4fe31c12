// SPDX-License-Identifier: Apache-2.0
/* A user of a direct pool (zs/direct.h), one at a time: a table of words that are the pool's
 * entries.  He keeps a seed in bits 38-63 of a word, from which size and contents of its
 * object follow: so each copy says by itself whether it is whole. */
#ifndef TESTS_DIRECTPOOL_H
#define TESTS_DIRECTPOOL_H

#include "support/fixture.h"
#include "zs/direct.h"
#include "zs/zs.h"

enum { DIRECT_MOST = 4000, DIRECT_BLOCKS = 24 }; /* bytes of an object; blocks of the zone */

extern struct fixture direct_zone;
extern struct kl_zs *direct_pool;
extern kli_word *direct_table;
extern uint32_t direct_entries;

void direct_open(uint32_t n, const struct kl_zs_config *config);
void direct_close(void);
uint64_t direct_objects(void);

uint64_t direct_seed(uint64_t word);
uint32_t direct_size(uint64_t seed);

/* An object for this entry that nobody knows yet; an error, or it must succeed. */
int direct_try_put(uint32_t index, uint64_t seed, uint64_t *word);
uint64_t direct_put(uint32_t index, uint64_t seed);
/* What was there is freed. */
void direct_swap_in(uint32_t index, uint64_t word);
uint64_t direct_set(uint32_t index, uint64_t seed);
uint64_t direct_now(uint32_t index);
void direct_change(uint32_t index);

enum { RIGHT = 0, WRONG = 1 }; /* or an error */
int direct_get(uint32_t index, uint64_t word);
void direct_all_right(void);

/* Something that happens once, in the thread that comes to that trace point, with its last
 * argument.  Debug builds have them; elsewhere the test is skipped. */
void direct_happens_at(enum kli_trace_point point, void (*fn)(uint32_t index));
void direct_nothing_more(void);
extern unsigned direct_happened;

#endif
