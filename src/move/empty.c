// SPDX-License-Identifier: Apache-2.0
/* Emptying blocks in steps, for an owner whose frames are copied by somebody else, and later:
 * a step isolates frames and reserves their destinations, and returns; when the copies are
 * made, kli_arrive (migrate.c) ends the isolations.
 *
 * The plan: blocks by use, as in plan.c.  How many of the sparse ones can be emptied into the
 * others is counted at once, and these are the sources; all others are targets, dense ones
 * first.  When the targets have no runs for what a source holds, the densest source becomes a
 * target.  So nothing is moved into a block that is emptied later, and no frame moves twice.
 *
 * Invariants
 * (M1) source < bound: what was a source is never a target, by the same plan.
 * (M2) A block is begun only if all that stands in it is the owner's and can be moved, and the
 *      targets have runs for all of it (by order, largest first: sizes are powers of two, so
 *      that this count is exact while nobody interferes).
 * (M3) One block is half emptied at most, and it is the first one of the next step, also of a
 *      new plan; or, when a new plan has no room for it, a block like others.  It is SHUNNED
 *      (frame/block.h), as are those whose moves are under way, and no others: allocations
 *      go elsewhere, but none fails for that.
 * (M4) No fence is set and no hold taken: nobody waits for a step to end but who wants those
 *      very frames.  Between its halves the frames have a reference and ISOLATED, their
 *      destinations LOCKED.
 * (M5) No metadata is asked for in a step.  Block words are read, all of them, once for several
 *      emptied blocks; where they are few, in each step, since what was sparse when the plan was
 *      made may have been filled since.
 *
 * One step at a time; everybody else may do anything meanwhile.  All of the plan is a hint.
 */
#include "move/empty.h"

int kli_empty_init(struct kli_emptier *e, struct kl_zone *zone, unsigned owner)
{
    size_t blocks = zone->blocks, kinds = (size_t)zone->block_frames + 2;

    *e = (struct kli_emptier){.zone = zone, .owner = owner, .begun = KLI_NO_BLOCK};
    e->last = KLI_NO_BLOCK;
    e->bytes = (2 * blocks + kinds) * sizeof(uint32_t);
    e->block = kl_zone_meta_alloc(zone, e->bytes);
    if (!e->block)
        return -KL_ENOMEM;
    e->used = e->block + blocks;
    e->place = e->used + blocks;
    return 0;
}

static void shun(struct kli_emptier *e, uint32_t block)
{
    kli_block_step(e->zone, block, kli_b_shun, 0);
}

/* Whoever emptied it or took it may have done that already. (B7) */
static void unshun(struct kli_emptier *e, uint32_t block)
{
    if (kli_block_word(e->zone, block) & KLI_B_SHUNNED)
        kli_block_step(e->zone, block, kli_b_unshun, 0);
}

static void drop_begun(struct kli_emptier *e)
{
    if (e->begun != KLI_NO_BLOCK)
        unshun(e, e->begun);
    e->begun = KLI_NO_BLOCK;
}

void kli_empty_free(struct kli_emptier *e)
{
    if (!e->block)
        return;
    drop_begun(e);
    kl_zone_meta_free(e->zone, e->block, e->bytes);
    e->block = NULL;
}

/* Can't be emptied, or nothing is gained by it; but filled. */
static bool stays(uint64_t word)
{
    return (word & KLI_B_CMA) || kli_b_stuck(word) > 0;
}

/* Partly used, of the kind that movable frames go to? */
static bool is_target(const struct kl_zone *zone, uint64_t word)
{
    return kli_b_open(word) && !(word & (KLI_B_UNMOVABLE | KLI_B_SHUNNED)) &&
           kli_b_free(word) > 0 && kli_b_free(word) < zone->block_frames;
}

/* Its place in the order: by use, what is begun before all, what stays behind all. */
static uint32_t kind_of(const struct kli_emptier *e, uint32_t block, uint64_t word)
{
    uint32_t all = e->zone->block_frames;

    if (!kli_b_open(word) || kli_b_free(word) == all || (kli_b_free(word) == 0 && !stays(word)))
        return KLI_NO_BLOCK;
    if (stays(word))
        return is_target(e->zone, word) ? all + 1 : KLI_NO_BLOCK;
    return block == e->begun ? 0 : all - kli_b_free(word);
}

/* As many sources as have room elsewhere, by count of frames. */
static uint32_t count_sources(const struct kli_emptier *e, uint32_t movable, uint64_t room)
{
    uint64_t used = 0;
    uint32_t i;

    for (i = 0; i < movable; i++) {
        uint64_t word = kli_block_word(e->zone, e->block[i]);
        uint64_t own = is_target(e->zone, word) ? kli_b_free(word) : 0;

        used += e->zone->block_frames - kli_b_free(word);
        if (room < own || used > room - own)
            break;
        room -= own;
    }
    return i;
}

static void plan(struct kli_emptier *e)
{
    const struct kl_zone *zone = e->zone;
    uint32_t kinds = zone->block_frames + 2, sum = 0, movable = 0;
    uint64_t room = 0;

    memset(e->place, 0, kinds * sizeof(*e->place));
    for (uint32_t b = 0; b < zone->blocks; b++) {
        uint64_t word = kli_block_word(zone, b);

        e->used[b] = kind_of(e, b, word);
        if (e->used[b] == KLI_NO_BLOCK)
            continue;
        e->place[e->used[b]]++;
        movable += e->used[b] < kinds - 1;
        room += is_target(zone, word) ? kli_b_free(word) : 0;
    }
    for (uint32_t k = 0; k < kinds; k++) {
        uint32_t count = e->place[k];

        e->place[k] = sum;
        sum += count;
    }
    for (uint32_t b = 0; b < zone->blocks; b++) {
        if (e->used[b] != KLI_NO_BLOCK)
            e->block[e->place[e->used[b]]++] = b;
    }
    e->n = sum;
    e->source = 0;
    e->bound = count_sources(e, movable, room);
    e->taken = 0;
    e->fresh = true;
    for (unsigned o = 0; o < KLI_ORDERS; o++)
        e->target[o] = e->n;
    if (e->bound == 0 || e->block[0] != e->begun) /* it is no source any more */
        drop_begun(e);
}

/* In [bound, target), from the dense end. */
static bool target_planned(struct kli_emptier *e, unsigned order, uint32_t *nr)
{
    uint32_t end = kli_owner(e->zone, e->owner)->end;

    for (uint32_t i = e->target[order]; i-- > e->bound;) {
        if (e->block[i] < end && kli_alloc_in(e->zone, e->block[i], order, e->owner,
                                              KLI_F_LOCKED | KLI_F_KIND, KLI_WANT_OWN_KIND, nr))
            return true;
        e->target[order] = i;
    }
    return false;
}

bool kli_empty_target(struct kli_emptier *e, unsigned order, uint32_t *nr)
{
    if (target_planned(e, order, nr))
        return true;
    e->target[order] = e->n; /* frames may have become free behind us */
    return target_planned(e, order, nr);
}

/* What stands in a block, by order. */
struct survey {
    uint32_t unit[KLI_ORDERS];
    uint32_t units;
};

/* Is it the owner's, and may it go now? */
static bool may_go(const struct kli_emptier *e, uint64_t word)
{
    const uint64_t bits = KLI_F_MOVABLE | KLI_F_ISOLATED | KLI_F_DYING;

    return kli_f_owner(word) == e->owner && (word & bits) == KLI_F_MOVABLE && kli_f_pins(word) == 0;
}

static uint32_t first_of(const struct kli_emptier *e, uint32_t block)
{
    return block << e->zone->block_order;
}

/* The first frame with a state from nr on, or the end. */
static uint32_t next_unit(const struct kl_zone *zone, uint32_t nr, uint32_t end)
{
    while (nr < end && kli_state(zone, nr) == 0) {
        bool none =
            nr % 64 == 0 && atomic_load_explicit(&zone->bits[nr / 64], memory_order_relaxed) == 0;

        nr += none ? 64 : 1;
    }
    return nr < end ? nr : end;
}

/* false: it can't be emptied now. (M2) */
static bool survey(struct kli_emptier *e, uint32_t block, struct survey *s)
{
    const struct kl_zone *zone = e->zone;
    uint32_t end = first_of(e, block) + zone->block_frames;

    *s = (struct survey){.units = 0};
    for (uint32_t nr = next_unit(zone, first_of(e, block), end); nr < end;) {
        uint64_t word = kli_state(zone, nr);
        unsigned order = kli_f_order(word);

        if (word == 0) {
            nr = next_unit(zone, nr, end);
            continue;
        }
        if (!may_go(e, word)) {
            e->unsure |= kli_f_owner(word) == e->owner && (word & KLI_F_KIND);
            return false;
        }
        if (UINT64_C(1) << order > e->largest)
            return false;
        s->unit[order]++;
        s->units++;
        nr = next_unit(zone, nr + (1u << order), end);
    }
    return true;
}

/* Runs of one size are two of the next smaller one. */
static bool is_enough(const struct survey *s, const uint32_t *runs)
{
    uint64_t left = 0;

    for (unsigned o = KLI_ORDERS; o-- > 0;) {
        left = left * 2 + runs[o];
        if (left < s->unit[o])
            return false;
        left -= s->unit[o];
    }
    return true;
}

/* All runs behind the next source, once they have been counted. */
struct behind {
    bool known;
    uint32_t runs[KLI_ORDERS];
};

/* The next source has none behind it: what was counted with it. */
static void forget(const struct kli_emptier *e, struct behind *behind)
{
    uint32_t runs[KLI_ORDERS] = {0}, block = e->block[e->source];

    if (!behind->known || !is_target(e->zone, kli_block_word(e->zone, block)))
        return;
    kli_bits_runs(e->zone, block, runs);
    for (unsigned o = 0; o < KLI_ORDERS; o++)
        behind->runs[o] -= (uint32_t)kli_min(runs[o], behind->runs[o]);
}

/* Have the targets runs for all of that?  As many sources as it takes become targets. */
static bool fits(struct kli_emptier *e, const struct survey *s, struct behind *behind)
{
    uint32_t end = kli_owner(e->zone, e->owner)->end, runs[KLI_ORDERS] = {0};

    if (behind->known && !is_enough(s, behind->runs))
        return false;
    for (uint32_t i = e->n; i-- > e->source + 1;) {
        uint64_t word = kli_block_word(e->zone, e->block[i]);

        if (e->block[i] >= end || !is_target(e->zone, word))
            continue;
        kli_bits_runs(e->zone, e->block[i], runs);
        if (is_enough(s, runs)) {
            e->bound = (uint32_t)kli_min(e->bound, i);
            return true;
        }
    }
    behind->known = true;
    memcpy(behind->runs, runs, sizeof(runs));
    return false;
}

/* Isolates the block's units of one order, as far as it may.  false: one can't go. */
static bool isolate_order(struct kli_emptier *e, struct kli_run *run, uint32_t block,
                          unsigned order, struct kli_empty_most *most, struct kl_move *moves,
                          size_t *n)
{
    const struct kl_zone *zone = e->zone;
    uint32_t end = first_of(e, block) + zone->block_frames, step;

    for (uint32_t nr = next_unit(zone, first_of(e, block), end); nr < end;
         nr = next_unit(zone, nr + step, end)) {
        uint64_t word = kli_state(zone, nr);
        enum kli_found found;

        step = (word & KLI_F_HEAD) ? 1u << kli_f_order(word) : 1;
        if (word == 0 || kli_f_order(word) != order)
            continue;
        if (most->moves == 0 || most->frames < step)
            return true;
        found = kli_isolate(run, nr, &moves[*n]);
        if (found == KLI_NOTHING)
            continue;
        if (found != KLI_ISOLATED)
            return false;
        ++*n;
        most->moves--;
        most->frames -= step;
    }
    return true;
}

static void put_back(struct kli_run *run, struct kl_move *moves, size_t n)
{
    for (size_t i = 0; i < n; i++)
        moves[i].result = -KL_EAGAIN;
    kli_arrive(run, moves, n);
}

/* As much of the block as may be moved in this step: how much, in *n.  false: it can't be
 * emptied after all. */
static bool isolate_block(struct kli_emptier *e, struct kli_run *run, uint32_t block,
                          const struct survey *s, struct kli_empty_most *most,
                          struct kl_move *moves, size_t *n)
{
    struct kli_empty_most before = *most;
    bool ok = true;

    *n = 0;
    shun(e, block); /* M3 */
    for (unsigned o = e->zone->block_order + 1; ok && o-- > 0;)
        ok = s->unit[o] == 0 || isolate_order(e, run, block, o, most, moves, n);
    if (ok && *n > 0)
        return true;
    put_back(run, moves, *n);
    *most = before;
    if (block != e->begun)
        unshun(e, block);
    return ok;
}

/* A source that can't be emptied, or is empty. */
static void pass_by(struct kli_emptier *e)
{
    if (e->begun == e->block[e->source])
        drop_begun(e);
    e->source++;
}

/* Is it worth a look still?  Not when it has been filled since it was planned. */
static bool is_source(const struct kli_emptier *e, uint32_t block)
{
    uint64_t word = kli_block_word(e->zone, block);
    uint32_t all = e->zone->block_frames, used = all - kli_b_free(word);

    if (!kli_b_open(word) || stays(word) || used == 0)
        return false;
    return block == e->begun || (!(word & KLI_B_SHUNNED) && used <= e->used[block] + all / 8);
}

/* From the next source that can be emptied. */
static size_t next_moves(struct kli_emptier *e, struct kli_run *run, struct kli_empty_most *most,
                         struct kl_move *moves)
{
    struct behind behind = {.known = false};

    for (; e->source < e->bound; pass_by(e)) {
        uint32_t block = e->block[e->source];
        struct survey s;
        size_t n;

        forget(e, &behind);
        if (!is_source(e, block) || !survey(e, block, &s) || s.units == 0 || !fits(e, &s, &behind))
            continue;
        if (!isolate_block(e, run, block, &s, most, moves, &n)) {
            e->unsure = true;
            continue;
        }
        e->last = block;
        if (n == s.units) {
            e->begun = KLI_NO_BLOCK;
            e->source++;
            e->taken++;
            return n;
        }
        e->over = true; /* M3 */
        if (n > 0)
            e->begun = block;
        return n;
    }
    return 0;
}

static void plan_again(struct kli_emptier *e)
{
    kli_cache_drain(e->zone);
    e->unsure = false;
    plan(e);
}

/* Frames that nobody uses, those in caches too. */
static uint64_t idle_frames(struct kl_zone *zone)
{
    return kli_free_frames(zone) + kli_cache_count(zone, UINT32_MAX, false) +
           kli_cache_count(zone, UINT32_MAX, true);
}

/* Others' frames may have moved about without a change of the sum, so it is not for ever. */
static bool is_vain(struct kli_emptier *e)
{
    return e->vain && e->vain_changes == e->changes && e->vain_largest == e->largest &&
           e->vain_free == idle_frames(e->zone) && e->vain_steps-- > 0;
}

static void note_vain(struct kli_emptier *e)
{
    enum { STEPS = 16 };

    e->vain = true;
    e->vain_free = idle_frames(e->zone);
    e->vain_largest = e->largest;
    e->vain_changes = e->changes;
    e->vain_steps = STEPS;
}

void kli_empty_step(struct kli_emptier *e, uint64_t frames, uint64_t changes)
{
    enum { FEW = 4096, SOME = 8, PART = 16 };

    e->fresh = e->any = e->over = false;
    e->largest = frames;
    e->changes = changes;
    e->vain = is_vain(e);
    if (e->vain)
        return;
    if (e->source >= e->bound || e->taken >= kli_max(SOME, e->n / PART)) {
        plan_again(e);
    } else if (e->zone->blocks <= FEW) {
        plan(e);
        e->fresh = false; /* the caches were not drained */
    }
}

size_t kli_empty_some(struct kli_emptier *e, struct kli_run *run, struct kli_empty_most *most,
                      struct kl_move *moves)
{
    size_t n;

    if (e->vain || e->over || atomic_load(&e->zone->migration_off) || most->moves == 0)
        return 0;
    run->emptier = e;
    n = next_moves(e, run, most, moves);
    if (n == 0 && e->source >= e->bound && !e->fresh && !e->any) {
        plan_again(e);
        n = next_moves(e, run, most, moves);
    }
    run->emptier = NULL;
    e->any |= n > 0;
    if (!e->any && e->source >= e->bound && !e->unsure)
        note_vain(e);
    return n;
}

void kli_empty_give_up(struct kli_emptier *e)
{
    e->over = false;
    if (e->begun == e->last) {
        drop_begun(e);
        e->source++;
    }
    unshun(e, e->last);
}

void kli_empty_over(struct kli_emptier *e)
{
    if (e->last != e->begun)
        unshun(e, e->last);
}

void kli_empty_settle(struct kli_emptier *e, const struct kl_move *moves, size_t n, bool ok)
{
    uint32_t last = e->begun;

    if (!ok)
        e->source = e->bound;
    for (size_t i = 0; i < n; i++) {
        uint32_t block = kli_block_of(e->zone, kl_pfn_nr(moves[i].src));

        if (block != last && block != e->begun)
            unshun(e, block);
        last = block;
    }
}
