// SPDX-License-Identifier: Apache-2.0
/* An allocation is handed over: to another owner, or from movable to unmovable and back.
 *
 * Who has it idle hands it to a user, who hands it back (src/pool).  One edge of the
 * frame's word decides against migration (state.h, F6).  The block counts what ceases to move
 * before, so that an area can refuse it or not come (block.h, B6), and what begins to afterwards:
 * its count of stuck frames may be too low or too high for a moment (block.h, B5).  Nothing is free
 * that was not, so the block's class stays and nothing needs to be mended (index.c): its word is
 * changed without that.
 */
#include "frame/share.h"

/* The two words. */
static int change(struct kl_zone *zone, uint32_t nr, uint64_t pass, uint64_t *seen)
{
    uint64_t n = UINT64_C(1) << kli_field(pass, 16, 5);
    bool sticks = kli_field(pass, 21, 1) && !kli_field(pass, 22, 1);
    _Atomic uint64_t *block = &zone->block[kli_block_of(zone, nr)];

    if (sticks && !kli_apply(block, kli_b_stick_outside, n * KLI_B_STUCK, NULL))
        return -KL_EBUSY;
    if (kli_apply(&zone->frame[nr].state, kli_f_hand, pass, seen))
        return 0;
    if (sticks)
        kli_apply(block, kli_b_unstick, n * KLI_B_STUCK, NULL);
    if ((*seen & KLI_F_HEAD) && !(*seen & KLI_F_DYING) &&
        kli_f_owner(*seen) == kli_field(pass, 0, 8) &&
        (kli_f_pins(*seen) > 0 || (*seen & (KLI_F_LOCKED | KLI_F_ISOLATED))))
        return -KL_EBUSY;
    return -KL_EINVAL;
}

/* 0.  -KL_ENOMEM: its new owner has as many as its share allows.  -KL_EBUSY: it is pinned, or
 * somebody moves it or is just looking whether he can, or it would be unmovable in an area.
 * -KL_EINVAL: it is not as pass says.  Nothing is changed then. */
int kli_frame_hand(struct kl_zone *zone, uint32_t nr, uint64_t pass)
{
    uint64_t n = UINT64_C(1) << kli_field(pass, 16, 5), seen;
    bool was = kli_field(pass, 21, 1), is = kli_field(pass, 22, 1);
    unsigned to = (unsigned)kli_field(pass, 8, 8);
    bool charged = kli_share_flag(zone, to) != 0;
    uint32_t block = kli_block_of(zone, nr);
    int err;

    if (charged && !kli_share_charge(zone, to, n))
        return -KL_ENOMEM;
    pass |= (uint64_t)charged << 23;
    err = change(zone, nr, pass, &seen);
    if (err) {
        if (charged)
            kli_share_uncharge(zone, to, n);
        return err;
    }
    if (seen & KLI_F_CHARGED)
        kli_share_uncharge(zone, kli_f_owner(seen), n);
    if (!was && is)
        kli_apply(&zone->block[block], kli_b_unstick, n * KLI_B_STUCK, NULL);
    return 0;
}
