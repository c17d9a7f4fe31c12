// SPDX-License-Identifier: Apache-2.0
/* The word of the blocks that a zone does not have, by who keeps them from it.
 *
 *   bits  0-31  leased    given back by kl_zone_give_back, not lent again
 *   bits 32-63  withheld  above the zone's size (kl_zone_resize)
 *
 * (Z1) leased + withheld + zone->parted, the blocks that areas have parted with,
 *      <= given (zone->budget, present.c); equal at rest.  A block
 *      is counted as given before it is counted here, and the other way round on its
 *      way back; so whoever takes n out of one of these counts may lend n.
 * (Z2) Only a lend takes out of leased, only a resize out of withheld: what was taken
 *      for a lease never comes back because the zone grows.
 */
#ifndef KLI_FRAME_SIZE_H
#define KLI_FRAME_SIZE_H

#include "base/word.h"

static inline uint32_t kli_z_leased(uint64_t w)
{
    return (uint32_t)w;
}

static inline uint32_t kli_z_withheld(uint64_t w)
{
    return (uint32_t)(w >> 32);
}

static inline struct kli_step kli_z_lease(uint64_t w, uint64_t n)
{
    return KLI_STEP(w + n);
}

static inline struct kli_step kli_z_lend(uint64_t w, uint64_t n)
{
    return kli_z_leased(w) < n ? KLI_REFUSED : KLI_STEP(w - n);
}

/* Makes withheld what it shall be (the low half of arg), with as many blocks as are
 * withheld and the caller has given besides (the high half); the rest of both is the
 * caller's to lend.  Refused: these are too few. */
static inline struct kli_step kli_z_resize(uint64_t w, uint64_t arg)
{
    uint64_t want = (uint32_t)arg;

    if (kli_z_withheld(w) + (arg >> 32) < want)
        return KLI_REFUSED;
    return KLI_STEP(kli_z_leased(w) | want << 32);
}

#endif
