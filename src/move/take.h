// SPDX-License-Identifier: Apache-2.0
/* Taking a window of frames: emptied, and then somebody's. */
#ifndef KLI_MOVE_TAKE_H
#define KLI_MOVE_TAKE_H

#include "move/window.h"

/* For whom, and as what: units of 2^order frames with these flags of a state word. */
struct kli_taker {
    unsigned owner;
    unsigned order;
    uint64_t flags;

    /* Of an area: lets go of what it keeps of the window, whose blocks are fenced. */
    void (*yield)(void *ctx, const struct kli_window *w);
    void *ctx;
};

/* Looks for a window and takes it, and another one if that fails. */
int kli_take_any(struct kli_search *search, const struct kli_taker *taker, uint32_t *first);
/* This window and no other. */
int kli_take_exactly(struct kli_run *run, const struct kli_window *w,
                     const struct kli_taker *taker);

/* contig.c: a run of one's own.  search->run is set here; exact: NULL, or the one
 * window that will do.  -KL_EBUSY, -KL_ENOMEM as kl_contig_alloc. */
int kli_contig(struct kl_zone *zone, struct kli_search *search, const struct kli_window *exact,
               const struct kli_taker *taker, enum kl_mode mode, uint32_t *first,
               struct kl_report *report);

#endif
