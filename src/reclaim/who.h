// SPDX-License-Identifier: Apache-2.0
/* Who is in the way of a request that nobody has made yet.
 *
 * First a place is chosen (who_find.c), by one look at each frame; then all that is
 * in the way there is listed (who.c), by another.
 *
 * (W1) Nothing changes, but for a reference on a frame while its owner explains.
 * (W2) The choice is a hint; the list alone says what is in the way.  What is busy for
 *      a moment only, or read for a moment, does not get into it.
 */
#ifndef KLI_RECLAIM_WHO_H
#define KLI_RECLAIM_WHO_H

#include "klotski/who.h"
#include "move/run.h"

/* Where the obstacles go, and what is counted with them. */
struct kli_list {
    struct kl_zone *zone;
    struct kl_obstacle *list;
    size_t max;
    struct kl_who *who;
    uint32_t spare;      /* absent blocks that may still be populated */
    uint64_t free_there; /* frames */
};

/* who.c: what of [first, first + n) is in the way, has to move, is free. */
void kli_list_range(struct kli_list *list, uint32_t first, uint32_t n);
/* Is it, now?  NOTHING, or why; text: what its owner says. */
enum kl_in_way kli_way_now(struct kl_zone *zone, uint32_t nr, uint64_t word, char *text,
                           size_t bytes);

/* who_find.c: the window with the fewest obstacles.  -KL_ENOMEM. */
int kli_fewest_window(struct kl_zone *zone, uint32_t n, uint32_t align, uint32_t *first);

/* The n blocks, of those that are not idle, with the fewest; in ascending order.
 * *blocks is metadata of the host's, of *bytes.  -KL_ENOMEM. */
int kli_fewest_blocks(struct kl_zone *zone, uint32_t n, uint32_t **blocks, size_t *bytes);

#endif
