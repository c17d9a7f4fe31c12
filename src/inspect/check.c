// SPDX-License-Identifier: Apache-2.0
/* Recounts a zone that nobody uses just now: bits against words against states. */
#include "frame/share.h"
#include "frame/size.h"
#include "frame/zone.h"
#include "klotski/inspect.h"

struct tally {
    uint32_t used;
    uint32_t stuck;
    uint32_t parted; /* blocks */
    const char *broken;
};

static void expect(struct tally *t, bool ok, const char *what)
{
    if (!ok && !t->broken)
        t->broken = what;
}

/* One allocation, from its head. */
static uint32_t check_unit(const struct kl_zone *zone, uint32_t nr, uint64_t word, struct tally *t)
{
    uint32_t n = 1u << kli_f_order(word);

    expect(t, nr % n == 0, "an allocation is not aligned to its order");
    expect(t, !(word & (KLI_F_LOCKED | KLI_F_ISOLATED | KLI_F_DYING)),
           "a frame is locked, isolated or dying at rest");
    expect(t, kli_f_refs(word) == 1, "a reference was not put");
    expect(t, !(word & KLI_F_KIND) == !(word & KLI_F_MOVABLE), "MOVABLE does not fit KIND");
    expect(t, kli_owner_is(zone, kli_f_owner(word)), "a frame belongs to nobody");
    for (uint32_t i = 1; i < n && i < zone->frames - nr; i++)
        expect(t, kli_state(zone, nr + i) == 0, "a tail has a state");
    t->used += n;
    t->stuck += kli_f_stuck(word) ? n : 0;
    return n;
}

/* A unit of several blocks fills each of them. */
static void count_large(const struct kl_zone *zone, uint32_t first, struct tally *t)
{
    uint32_t head = kli_head_of(zone, first);

    if (kli_f_order(kli_state(zone, head)) > zone->block_order)
        t->used = t->stuck = zone->block_frames;
}

static void check_block(struct kl_zone *zone, uint32_t b, struct tally *all)
{
    uint32_t unmovable = kli_cache_count(zone, b, true);
    struct tally t = {.used = kli_cache_count(zone, b, false) + unmovable, .stuck = unmovable};
    uint64_t word = kli_block_word(zone, b);
    uint32_t first = b << zone->block_order, bits = kli_bits_used(zone, first, zone->block_frames);

    for (uint32_t nr = first; nr < first + zone->block_frames;) {
        uint64_t state = kli_state(zone, nr);

        nr += (state & KLI_F_HEAD) ? check_unit(zone, nr, state, &t) : 1;
        expect(&t, state == 0 || (state & KLI_F_HEAD), "a state without HEAD");
    }
    count_large(zone, first, &t);
    expect(&t, !(word & KLI_B_FENCED), "a block is fenced at rest");
    expect(&t, bits == t.used, "bits and allocations differ");
    if (kli_b_parted(word))
        expect(&t, kli_b_free(word) == 0 && bits == zone->block_frames,
               "an area has parted with a block that it does not have"); /* B4 */
    else if (word & KLI_B_ABSENT)
        expect(&t, kli_b_free(word) == 0 && bits == 0, "an absent block is not empty"); /* B4 */
    else
        expect(&t, kli_b_free(word) + bits == zone->block_frames, "a block's free count is wrong");
    expect(&t, kli_b_stuck(word) == t.stuck, "a block's stuck count is wrong");
    all->parted += kli_b_parted(word);
    all->used += !(word & KLI_B_ABSENT); /* here: blocks that are present */
    expect(all, !t.broken, t.broken);
}

static bool bit_of(const kli_word *words, uint32_t at)
{
    return atomic_load(&words[at / 64]) >> (at % 64) & 1;
}

/* The index of one class: its bits against the words, the summaries against both. */
static void check_index(const struct kl_zone *zone, enum kli_class class, struct tally *t)
{
    const struct kli_index *index = &zone->index[class];
    int64_t n = 0;

    for (uint32_t b = 0; b < zone->blocks; b++) {
        bool is = kli_b_class(kli_block_word(zone, b), zone->block_frames) == class;

        expect(t, bit_of(index->level[0], b) == is, "I1: a block is indexed wrongly");
        n += is;
    }
    expect(t, n == atomic_load(&zone->blocks_in[class]), "blocks of a class are miscounted");
    for (unsigned l = 0; l + 1 < index->levels; l++) {
        for (uint32_t i = 0; i < index->words[l]; i++)
            expect(t, bit_of(index->level[l + 1], i) == (atomic_load(&index->level[l][i]) != 0),
                   "I1: a summary is wrong");
    }
}

static void check_sums(const struct kl_zone *zone, struct tally *t)
{
    uint64_t free = 0;

    for (unsigned c = 0; c < KLI_CLASSES; c++)
        check_index(zone, (enum kli_class)c, t);
    for (uint32_t b = 0; b < zone->blocks; b++)
        free += kli_b_free(kli_block_word(zone, b));
    expect(t, free == kli_free_frames(zone), "free frames are miscounted");
}

/* A1 of share.h: of an owner that is counted, every frame is, and of others none. */
static void check_shares(struct kl_zone *zone, struct tally *t)
{
    uint64_t charged[KLI_MAX_OWNERS] = {0};

    for (uint32_t nr = 0; nr < zone->frames; nr++) {
        uint64_t word = kli_state(zone, nr);
        unsigned owner = kli_f_owner(word);

        if (!(word & KLI_F_HEAD))
            continue;
        expect(t, !(word & KLI_F_CHARGED) == !kli_is_counted(zone, owner),
               "A1: a frame is counted in no share, or not in its owner's");
        charged[owner] += (word & KLI_F_CHARGED) ? UINT64_C(1) << kli_f_order(word) : 0;
    }
    for (unsigned id = 1; id < KLI_MAX_OWNERS; id++) {
        expect(t, kli_share_used(zone, id) == charged[id], "A1: a share is miscounted");
        expect(t,
               atomic_load(&zone->owner[id].share.used) <= atomic_load(&zone->owner[id].share.hard),
               "A2: a hard bound is exceeded");
    }
}

int kl_zone_check(struct kl_zone *zone, const char **what)
{
    struct tally all = {0};
    uint64_t budget = atomic_load(&zone->budget), away = atomic_load(&zone->away);

    for (uint32_t b = 0; b < zone->blocks && !all.broken; b++)
        check_block(zone, b, &all);
    check_sums(zone, &all);
    check_shares(zone, &all);
    expect(&all, !kli_pins_check(zone), kli_pins_check(zone));
    expect(&all, all.broken || (uint32_t)budget == all.used, "present blocks are miscounted");
    expect(&all, (uint32_t)budget + (budget >> 32) <= zone->blocks, "P1 is broken");
    expect(&all, all.broken || all.parted == atomic_load(&zone->parted),
           "blocks that areas have parted with are miscounted");
    expect(&all,
           (uint64_t)kli_z_leased(away) + kli_z_withheld(away) + atomic_load(&zone->parted) ==
               budget >> 32,
           "Z1: given blocks are nobody's");
    expect(&all, atomic_load(&zone->holds) == 0, "a hold did not end");
    if (what)
        *what = all.broken;
    return all.broken ? -KL_EIO : 0;
}
