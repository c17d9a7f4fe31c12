// SPDX-License-Identifier: Apache-2.0
/* Shares: how many frames an owner has, and may have.
 *
 * An owner is counted from its first share on.  Each of its frames has CHARGED in its state
 * word and is one of share->used; so a free, which looks at the word alone, knows what to
 * give back, and an owner that was never counted pays one test of a register.
 *
 * A CPU keeps some of what was charged as a stock, for the next allocation there; that is
 * in `used`, too.
 *
 * Invariants
 * (A1) used == frames with CHARGED, and those about to have it, + all stocks; but for who
 *      is in between, who has used too high, never too low.
 * (A2) used <= hard: it is raised by compare-and-swap before the frame is taken, and lowered
 *      after its word is zero; who raised it looks at hard again, who lowers hard looks at
 *      used after that, all sequentially consistent (as L1 of limit.c).
 * (A3) Nobody is refused while stocks hold what he wants: they are drained first.  Within
 *      SLACK of a bound nothing goes into a stock.
 * (A4) A frame that moves keeps one charge: who commits charges src if it should be and is
 *      not yet, then src's CHARGED goes with its identity to dst.  The walk of the first
 *      share sets `counted` before it looks at a word: either the commit sees that, or the
 *      walk sees dst, which was reserved before, and charges it.  A dst with a charge of its
 *      own gets no second one.
 * (A5) The stocks of a slot stay until the zone ends: a late free never finds them gone.
 */
#ifndef KLI_FRAME_SHARE_H
#define KLI_FRAME_SHARE_H

#include "frame/zone.h"

enum { KLI_STOCK = 32 };

struct kli_stock {
    _Alignas(64) _Atomic uint32_t n;
};

static inline bool kli_is_counted(const struct kl_zone *zone, unsigned owner)
{
    return atomic_load(&zone->owner[owner].share.counted);
}

/* false: the hard bound. (A2, A3) */
bool kli_share_charge(struct kl_zone *zone, unsigned owner, uint64_t n);
void kli_share_drain(struct kl_zone *zone, unsigned owner);
/* Frames that it has, about; those beyond its soft bound, 0 without one. */
uint64_t kli_share_used(struct kl_zone *zone, unsigned owner);
uint64_t kli_share_excess(struct kl_zone *zone, unsigned owner);
/* Counts what it has, from now on too. (A4)  -KL_ENOMEM */
int kli_share_begin(struct kl_zone *zone, unsigned owner);
/* The same with CHARGED, in a kli_ask's or a taker's flags; 0: it is not counted. */
static inline uint64_t kli_share_flag(const struct kl_zone *zone, unsigned owner)
{
    return kli_is_counted(zone, owner) ? KLI_F_CHARGED : 0;
}

/* A migration, src locked: before its identity goes; and when it has gone, of the word
 * that src had, to dst, not published yet. (A4) */
void kli_share_before(struct kl_zone *zone, uint32_t src);
void kli_share_carry(struct kl_zone *zone, uint64_t src_word, uint32_t dst);

/* A slot's new life, and its end: false: a free is under way still. */
void kli_share_reset(struct kl_zone *zone, unsigned owner);
bool kli_share_end(struct kl_zone *zone, unsigned owner);
/* With the zone. */
void kli_share_free_stocks(struct kl_zone *zone);

#endif
