// SPDX-License-Identifier: Apache-2.0
/* The scene of an owner with a share: as that of frames, and the owner may have a few more
 * than it has.  Whoever lowers the bound is told that it holds, or that it does not. */
#include "frame/share.h"
#include "interleave/scene.h"
#include "klotski/share.h"

#include <string.h>

enum { MORE = 3 };

static int set(struct scene *s, uint64_t hard)
{
    const struct kl_share share = {.size = sizeof(share), .hard = hard};

    return kl_owner_set_share(s->zone, s->m->owner, &share);
}

void share_open(struct scene *s)
{
    assert_int_equal(set(s, 1000), 0);
    s->has = kli_share_used(s->zone, s->m->owner.v);
    assert_int_equal(set(s, s->has + MORE), 0);
}

/* To what it had before the play. */
void op_sh_lower(struct scene *s, unsigned who)
{
    s->ret[who] = set(s, s->has);
}

void op_sh_lift(struct scene *s, unsigned who)
{
    s->ret[who] = set(s, 0);
}

/* Frames of the owner, by their words. */
static uint64_t frames_of(struct scene *s)
{
    uint64_t n = 0;

    for (uint32_t nr = 0; nr < s->zone->frames; nr++) {
        uint64_t word = kli_state(s->zone, nr);

        if ((word & KLI_F_HEAD) && kli_f_owner(word) == s->m->owner.v)
            n += UINT64_C(1) << kli_f_order(word);
    }
    return n;
}

void share_judge(struct scene *s)
{
    uint64_t used, hard = atomic_load(&s->zone->owner[s->m->owner.v].share.hard);

    kli_share_drain(s->zone, s->m->owner.v);
    used = kli_share_used(s->zone, s->m->owner.v);
    if (used != frames_of(s))
        fail_msg("a share is counted wrong; %s", stage_now);
    if (used > hard)
        fail_msg("more than the hard bound; %s", stage_now);
    for (unsigned who = 0; who < 2; who++) {
        bool lowered = s->op[who] == op_named("sh lower") && s->ret[who] == 0;

        if (lowered && s->op[!who] != op_named("sh lift") && used > s->has)
            fail_msg("a bound is said to hold and does not; %s", stage_now);
    }
}
