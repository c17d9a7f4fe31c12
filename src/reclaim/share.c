// SPDX-License-Identifier: Apache-2.0
/* Setting an owner's share, and room within it: by asking its own shrinkers. */
#include "klotski/share.h"
#include "frame/share.h"
#include "reclaim/reclaim.h"

/* Has the owner's shrinkers free about so many, at this priority. */
static uint64_t ask_own(struct kl_zone *zone, unsigned owner, uint64_t n, unsigned priority,
                        unsigned flags)
{
    const struct kli_shrink_ask ask = {.stage = KLI_STAGE_ALL,
                                       .priority = priority,
                                       .want = n,
                                       .mode = KL_SYNC_LIGHT,
                                       .flags = flags,
                                       .owner = owner};

    return kli_shrink(zone, &ask);
}

bool kli_share_get(struct kl_zone *zone, unsigned owner, uint64_t n, unsigned flags)
{
    if (kli_share_charge(zone, owner, n))
        return true;
    if (!(flags & (KL_NOWAIT | KL_ATOMIC | KL_NO_SHRINK))) {
        for (unsigned i = 0; i <= KL_SHRINK_PRIORITY; i++) {
            uint64_t freed = ask_own(zone, owner, n, KL_SHRINK_PRIORITY - i, flags);

            if (freed > 0 && kli_share_charge(zone, owner, n))
                return true;
        }
    }
    atomic_fetch_add(&zone->owner[owner].share.refused, 1);
    kli_count(zone, KLI_C_REFUSED, 1);
    KLI_TRACE(alloc_failed, KLI_TAG(zone), kli_lowest(n), owner);
    return false;
}

/* It holds from now on, if it can be kept. (A2) */
static int set_hard(struct kl_zone *zone, unsigned owner, uint64_t hard)
{
    struct kli_share *share = &zone->owner[owner].share;
    uint64_t before = atomic_exchange(&share->hard, hard), used;

    KLI_TRACE_STEP(share_set, KLI_TAG(zone), owner, hard);
    for (unsigned i = 0; i <= KL_SHRINK_PRIORITY; i++) {
        kli_share_drain(zone, owner); /* each time: who raised `used` before fills his stock now */
        used = atomic_load(&share->used);
        if (used <= hard)
            return 0;
        ask_own(zone, owner, used - hard, KL_SHRINK_PRIORITY - i, 0);
    }
    if (atomic_load(&share->used) <= hard)
        return 0;
    atomic_store(&share->hard, before);
    return -KL_EBUSY;
}

static uint64_t or_none(uint64_t frames)
{
    return frames ? frames : UINT64_MAX;
}

int kl_owner_set_share(struct kl_zone *zone, kl_owner_id owner, const struct kl_share *share)
{
    int err;

    if (!share || share->size != sizeof(*share) || or_none(share->hard) < share->soft)
        return -KL_EINVAL;
    if (!kli_owner_is(zone, owner.v))
        return -KL_ENOENT;
    err = kli_share_begin(zone, owner.v);
    if (!err)
        err = set_hard(zone, owner.v, or_none(share->hard));
    if (!err)
        atomic_store(&zone->owner[owner.v].share.soft, or_none(share->soft));
    return err;
}
