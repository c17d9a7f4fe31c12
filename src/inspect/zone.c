// SPDX-License-Identifier: Apache-2.0
/* Figures of a zone and of its owners; nothing here changes anything. */
#include "frame/zone.h"
#include "frame/size.h"
#include "klotski/inspect.h"

static uint64_t counter(const struct kl_zone *zone, enum kli_counter which)
{
    return atomic_load_explicit(&zone->counter[which], memory_order_relaxed);
}

static void count_blocks(struct kl_zone *zone, struct kl_zone_stats *s)
{
    uint32_t cached, present;

    for (uint32_t b = 0; b < zone->blocks; b++) {
        uint64_t word = kli_block_word(zone, b);

        s->fenced_blocks += (word & KLI_B_FENCED) != 0;
        if (word & KLI_B_ABSENT)
            continue;
        s->present_blocks++;
        s->free_frames += kli_b_free(word);
        s->stuck_frames += kli_b_stuck(word);
        s->free_blocks += kli_b_free(word) == zone->block_frames;
    }
    s->free_frames += kli_cache_count(zone, UINT32_MAX, false);
    cached = kli_cache_count(zone, UINT32_MAX, true);
    s->free_frames += cached;
    s->stuck_frames -= (uint32_t)kli_min(s->stuck_frames, cached);
    present = s->present_blocks * zone->block_frames;
    /* one that went from a block to a cache meanwhile was counted twice */
    s->free_frames = (uint32_t)kli_min(s->free_frames, present);
    s->used_frames = present - s->free_frames;
}

static size_t annex_bytes(const struct kl_zone *zone)
{
    const struct kli_annex *annex = atomic_load(&zone->annex);

    return annex ? annex->bytes : 0;
}

static struct kl_run_stats runs(const struct kl_zone *zone, enum kli_run_kind kind)
{
    const _Atomic uint64_t *n = &zone->counter[KLI_C_RUNS + kind * KLI_RUN_ENDS];

    return (struct kl_run_stats){
        .asked = atomic_load_explicit(&n[KLI_RUN_ASKED], memory_order_relaxed),
        .succeeded = atomic_load_explicit(&n[KLI_RUN_DONE], memory_order_relaxed),
        .again = atomic_load_explicit(&n[KLI_RUN_AGAIN], memory_order_relaxed),
        .nomem = atomic_load_explicit(&n[KLI_RUN_NOMEM], memory_order_relaxed),
        .busy = atomic_load_explicit(&n[KLI_RUN_BUSY], memory_order_relaxed),
        .other = atomic_load_explicit(&n[KLI_RUN_OTHER], memory_order_relaxed),
    };
}

void kl_zone_get_stats(struct kl_zone *zone, struct kl_zone_stats *stats)
{
    uint64_t away = atomic_load(&zone->away);
    struct kl_zone_stats s = {
        .size = sizeof(s),
        .frames = zone->frames,
        .blocks = zone->blocks,
        .frame_bytes = 1u << zone->frame_shift,
        .size_blocks = zone->blocks - kli_z_withheld(away),
        .given_blocks = kli_z_leased(away) + atomic_load(&zone->parted),
        .metadata_bytes = zone->metadata_bytes + annex_bytes(zone),
        .charged_bytes = atomic_load(&zone->charge),
        .scanned = counter(zone, KLI_C_SCANNED),
        .isolated = counter(zone, KLI_C_ISOLATED),
        .migrated = counter(zone, KLI_C_MIGRATED),
        .failed = counter(zone, KLI_C_FAILED),
        .put_back = counter(zone, KLI_C_PUT_BACK),
        .freed_isolated = counter(zone, KLI_C_FREED),
        .stalls = counter(zone, KLI_C_STALLS),
        .blocks_given = counter(zone, KLI_C_GIVEN),
        .blocks_populated = counter(zone, KLI_C_POPULATED),
        .mixed = counter(zone, KLI_C_MIXED),
        .slow = counter(zone, KLI_C_SLOW),
        .compacted = counter(zone, KLI_C_COMPACTED),
        .refused = counter(zone, KLI_C_REFUSED),
        .compact = runs(zone, KLI_RUN_COMPACT),
        .contig = runs(zone, KLI_RUN_CONTIG),
        .give_back = runs(zone, KLI_RUN_GIVE_BACK),
        .wanted = atomic_load(&zone->wanted),
        .pressure_level = atomic_load(&zone->pressure.level),
        .pressure_calls = atomic_load(&zone->pressure.calls),
        .pressure_pieces = atomic_load(&zone->pressure.pieces),
        .pressure_bytes = atomic_load(&zone->pressure.returned),
    };

    if (s.pressure_level)
        s.wanted |= KL_WANTED_PRESSURE; /* reclaim/pressure.c, E2 */
    count_blocks(zone, &s);
    kli_stats_out(stats, &s, sizeof(s));
}

static void count_owner_in(const struct kl_zone *zone, uint32_t block, unsigned owner,
                           struct kl_owner_stats *s)
{
    uint32_t first = block << zone->block_order;

    for (uint32_t nr = first; nr < first + zone->block_frames; nr++) {
        uint64_t word = kli_state(zone, nr);
        uint64_t n = UINT64_C(1) << kli_f_order(word);

        if (!(word & KLI_F_HEAD) || kli_f_owner(word) != owner)
            continue;
        s->frames += n;
        s->movable += (word & KLI_F_KIND) ? n : 0;
        s->pinned += kli_f_pins(word) ? n : 0;
        s->isolated += (word & KLI_F_ISOLATED) ? n : 0;
    }
}

static void count_frames(const struct kl_zone *zone, unsigned owner, struct kl_owner_stats *s)
{
    for (uint32_t b = 0; b < zone->blocks; b++) {
        uint64_t word = kli_block_word(zone, b);

        if (!(word & KLI_B_ABSENT) && kli_b_free(word) != zone->block_frames)
            count_owner_in(zone, b, owner, s); /* in the others there is nobody */
    }
}

int kl_owner_get_stats(struct kl_zone *zone, kl_owner_id owner, struct kl_owner_stats *stats)
{
    const _Atomic uint64_t *n = zone->owner[owner.v % KLI_MAX_OWNERS].counter;
    struct kl_owner_stats s = {
        .size = sizeof(s),
        .scanned = atomic_load_explicit(&n[KLI_C_SCANNED], memory_order_relaxed),
        .isolations = atomic_load_explicit(&n[KLI_C_ISOLATED], memory_order_relaxed),
        .migrated = atomic_load_explicit(&n[KLI_C_MIGRATED], memory_order_relaxed),
        .put_back = atomic_load_explicit(&n[KLI_C_PUT_BACK], memory_order_relaxed),
        .freed_isolated = atomic_load_explicit(&n[KLI_C_FREED], memory_order_relaxed),
        .failed = atomic_load_explicit(&n[KLI_C_FAILED], memory_order_relaxed),
        .stalls = atomic_load_explicit(&n[KLI_C_STALLS], memory_order_relaxed),
    };

    if (!kli_owner_is(zone, owner.v))
        return -KL_ENOENT;
    kli_owner_name(zone, owner.v, s.name);
    count_frames(zone, owner.v, &s);
    kli_stats_out(stats, &s, sizeof(s));
    return 0;
}

int kl_zone_block_info(struct kl_zone *zone, kl_block block, struct kl_block_info *info)
{
    uint64_t word;

    if (block.v >= zone->blocks)
        return -KL_ERANGE;
    word = kli_block_word(zone, block.v);
    *info = (struct kl_block_info){
        .free = kli_b_free(word),
        .stuck = (word & KLI_B_ABSENT) ? 0 : kli_b_stuck(word),
        .present = !(word & KLI_B_ABSENT),
        .fenced = (word & KLI_B_FENCED) != 0,
        .unmovable = (word & KLI_B_UNMOVABLE) != 0,
        .cma = (word & KLI_B_CMA) != 0,
    };
    info->used = info->present ? zone->block_frames - info->free : 0;
    return 0;
}

static uint8_t kind_of(uint64_t word)
{
    if (word & KLI_F_ISOLATED)
        return KL_FRAME_ISOLATED;
    if (kli_f_pins(word))
        return KL_FRAME_PINNED;
    return (word & KLI_F_KIND) ? KL_FRAME_MOVABLE : KL_FRAME_UNMOVABLE;
}

int kl_zone_map(struct kl_zone *zone, uint32_t first, uint32_t n, uint8_t *map)
{
    if (first > zone->frames || n > zone->frames - first)
        return -KL_ERANGE;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t nr = first + i;
        uint64_t word = kli_state(zone, nr);

        if (kli_block_word(zone, kli_block_of(zone, nr)) & KLI_B_ABSENT) {
            map[i] = KL_FRAME_ABSENT;
            continue;
        }
        if (!(word & KLI_F_HEAD))
            word = kli_state(zone, kli_head_of(zone, nr));
        map[i] = (word & KLI_F_HEAD) ? kind_of(word) : KL_FRAME_FREE;
    }
    return 0;
}
