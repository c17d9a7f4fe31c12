// SPDX-License-Identifier: Apache-2.0
/* Who has what of a zone: one pass over its frames, each of which is counted once, so that
 * the rows add up to the zone whatever happens meanwhile; and what idle memory owners have,
 * as their shrinkers count it. */
#include "frame/share.h"
#include "frame/size.h"
#include "klotski/inspect.h"
#include "reclaim/reclaim.h"

/* What the pass adds up. */
struct sums {
    uint64_t frames, movable, pinned;
};

/* In one block; from a unit that began in an earlier one, so many frames are left. */
static uint64_t count_block(const struct kl_zone *zone, uint32_t block, uint64_t left,
                            struct sums *sum, struct kl_budget *b)
{
    uint32_t first = block << zone->block_order, n = zone->block_frames;

    if (left >= n)
        return left - n;
    for (uint32_t i = (uint32_t)left; i < n;) {
        uint64_t word = kli_state(zone, first + i), frames = UINT64_C(1) << kli_f_order(word);
        struct sums *s = &sum[kli_f_owner(word)];

        if (!(word & KLI_F_HEAD)) {
            b->free_frames++;
            i++;
            continue;
        }
        frames = kli_min(frames, zone->frames - first - i);
        s->frames += frames;
        s->movable += (word & KLI_F_KIND) ? frames : 0;
        s->pinned += kli_f_pins(word) ? frames : 0;
        if (frames > n - i)
            return frames - (n - i);
        i += (uint32_t)frames;
    }
    return 0;
}

static void count_frames(const struct kl_zone *zone, struct sums *sum, struct kl_budget *b)
{
    uint64_t left = 0;

    for (uint32_t block = 0; block < zone->blocks; block++) {
        uint64_t word = kli_block_word(zone, block);

        if (left == 0 && (word & KLI_B_ABSENT))
            b->absent_frames += zone->block_frames;
        else if (left == 0 && kli_b_free(word) == zone->block_frames)
            b->free_frames += zone->block_frames;
        else
            left = count_block(zone, block, left, sum, b);
    }
}

/* Of the absent ones: those that are somebody else's now. */
static void split_absent(const struct kl_zone *zone, struct kl_budget *b)
{
    uint64_t away = atomic_load(&zone->away);
    uint64_t given = (uint64_t)kli_z_leased(away) + atomic_load(&zone->parted);

    b->given_frames = kli_min(given << zone->block_order, b->absent_frames);
    b->absent_frames -= b->given_frames;
    b->withheld_frames =
        kli_min((uint64_t)kli_z_withheld(away) << zone->block_order, b->absent_frames);
    b->absent_frames -= b->withheld_frames;
}

static void count_bytes(const struct kl_zone *zone, struct kl_budget *b)
{
    const struct kli_annex *annex = atomic_load(&zone->annex);
    uint64_t present = (uint32_t)atomic_load(&zone->budget) * kli_block_bytes(zone);

    b->charged_bytes = atomic_load(&zone->charge);
    b->zone_metadata_bytes = zone->metadata_bytes + (annex ? annex->bytes : 0);
    b->other_metadata_bytes = b->charged_bytes > present + b->zone_metadata_bytes
                                  ? b->charged_bytes - present - b->zone_metadata_bytes
                                  : 0;
}

/* By its shrinkers; 0 within a callback, for they may hold their locks. */
static uint64_t idle_of(struct kl_zone *zone, unsigned owner)
{
    const struct kl_shrink shrink = {.size = sizeof(shrink), .mode = KL_ASYNC};
    struct kli_shrinkers *all = kli_shrinkers(zone);
    struct kli_round round;
    uint64_t sum = 0;

    if (!all || !kli_round_begin(zone, all, &round))
        return 0;
    for (unsigned i = 0; i < KLI_SHRINKERS; i++) {
        struct kli_shrinker *s = &all->at[i];
        uint64_t n;

        if (!kli_gate_enter(&s->gate, KLI_G_ANY))
            continue;
        if (s->ops.owner.v == owner && !(s->ops.flags & KL_SHRINKER_COLD)) {
            n = s->ops.count(s->ctx, &shrink);
            sum += n >= KL_SHRINK_EMPTY ? 0 : kli_min(n, zone->frames);
        }
        kli_gate_leave(&zone->host, &s->gate);
    }
    kli_round_end(zone, all, &round);
    return sum;
}

static uint64_t or_zero(uint64_t bound)
{
    return bound == UINT64_MAX ? 0 : bound;
}

static void fill_row(struct kl_zone *zone, unsigned id, const struct sums *sum,
                     struct kl_budget_row *row)
{
    struct kli_share *share = &zone->owner[id].share;

    *row = (struct kl_budget_row){
        .owner = {(uint16_t)id},
        .frames = sum->frames,
        .movable = sum->movable,
        .pinned = sum->pinned,
        .idle = kli_min(idle_of(zone, id), sum->frames),
        .soft = or_zero(atomic_load(&share->soft)),
        .hard = or_zero(atomic_load(&share->hard)),
        .refused = atomic_load(&share->refused),
    };
    kli_owner_name(zone, id, row->name);
}

void kl_zone_get_budget(struct kl_zone *zone, struct kl_budget *budget, struct kl_budget_row *rows,
                        size_t max)
{
    struct sums sum[KLI_MAX_OWNERS] = {{0}};
    struct kl_budget b = {.size = sizeof(b), .frames = zone->frames};

    count_frames(zone, sum, &b);
    split_absent(zone, &b);
    count_bytes(zone, &b);
    for (unsigned id = 0; id < KLI_MAX_OWNERS; id++) {
        bool is = kli_owner_is(zone, id);

        if (is && b.owners < max)
            fill_row(zone, id, &sum[id], &rows[b.owners]);
        else
            b.other_frames += sum[id].frames;
        b.owners += is;
    }
    kli_stats_out(budget, &b, sizeof(b));
}
