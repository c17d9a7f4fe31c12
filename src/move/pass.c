// SPDX-License-Identifier: Apache-2.0
/* A pass over the block words for windows of whole blocks: the one with the most idle
 * frames among those that begin at multiples of `stride` blocks.
 *
 * Blocks in the way cut the zone into stretches.  Whether a window is in one is seen
 * from its far end back: what lies before a block in the way need not be looked at.
 * Along a stretch the window slides, and the sum of what its blocks are worth with it;
 * by groups of blocks where no window can be better than the best one so far.
 *
 * Invariants
 * (W1) Every window without a block in the way is in a stretch, and is weighed or could
 *      not have been better: of equal ones the first is found.
 * (W2) Words change meanwhile, so that what leaves a sum may not be what came in: what is
 *      found is a hint.
 */
#include "move/window.h"

struct pass {
    const struct kli_search *search;
    const kli_word *block;
    unsigned order;          /* of a block */
    uint64_t absent;         /* what an absent block is worth */
    uint64_t bad;            /* a block with any of these bits is in the way, */
    uint64_t least;          /* and one with less frames idle, unless it is absent */
    uint64_t m, stride, end; /* in blocks */
    uint64_t best, most;     /* what the next window must have at least; all that one can have */
    uint64_t sum;
    uint64_t found; /* UINT64_MAX: none yet */
};

/* What a block is worth to a window: frames that need not be moved, and above
 * ABSENT_ONE whether memory must be got for it; sums of both fit into one
 * number, since a zone has less than 2^32 of each.  An absent one has none free (block.h,
 * B4), and ABSENT is the highest bit of a word. */
#define ABSENT_ONE (UINT64_C(1) << 32)

static inline uint64_t worth(uint64_t word, uint64_t absent)
{
    return kli_b_free(word) + word / KLI_B_ABSENT * absent;
}

static inline uint64_t word_at(const struct pass *p, uint64_t block)
{
    return atomic_load_explicit(&p->block[block], memory_order_relaxed);
}

static bool is_in_way(const struct pass *p, uint64_t word)
{
    uint64_t idle = kli_b_free(word) + (word / KLI_B_ABSENT << 20);

    return (word & p->bad) || idle < p->least;
}

/* Behind the last block of [from, to) that is in the way; 0: none is. */
static uint64_t behind_in_way(const struct pass *p, uint64_t from, uint64_t to)
{
    while (to > from) {
        if (is_in_way(p, word_at(p, to - 1)))
            return to;
        to--;
    }
    return 0;
}

/* Behind the last block of [from, to) that is to be avoided; 0: none is. */
static uint64_t behind_avoided(const struct pass *p, uint64_t from, uint64_t to)
{
    const struct kli_avoid *avoid = &p->search->avoid;
    uint64_t behind = 0;

    for (unsigned i = 0; i < avoid->n; i++) {
        uint64_t block = avoid->nr[i] >> p->order;

        if (block >= from && block < to)
            behind = kli_max(behind, block + 1);
    }
    return behind;
}

/* The first block from `from` on that is to be avoided, or the end. */
static uint64_t next_avoided(const struct pass *p, uint64_t from)
{
    const struct kli_avoid *avoid = &p->search->avoid;
    uint64_t next = p->end;

    for (unsigned i = 0; i < avoid->n; i++) {
        uint64_t block = avoid->nr[i] >> p->order;

        if (block >= from)
            next = kli_min(next, block);
    }
    return next;
}

/* The first window from `from` on without a block in the way. */
static bool next_stretch(const struct pass *p, uint64_t from, uint64_t *start)
{
    uint64_t seen = from, behind = from; /* no block of [from, seen) is in the way */

    do {
        uint64_t at = kli_align_up(behind, p->stride), to = at + p->m;

        if (to > p->end)
            return false;
        *start = at;
        behind = kli_max(behind_in_way(p, kli_max(at, seen), to), behind_avoided(p, at, to));
        seen = to;
    } while (behind > 0);
    return true;
}

/* The window that ends before block `end`. */
static void weigh(struct pass *p, uint64_t end)
{
    uint64_t start = end - p->m, frames = p->sum % ABSENT_ONE;

    if (frames < p->best || p->sum / ABSENT_ONE > p->search->spare ||
        (start & (p->stride - 1)) != 0)
        return;
    p->best = frames + 1;
    p->found = start;
}

/* Slides over GROUP blocks, unless one of them is in the way, a block of the window is
 * absent, or a window that ends there may be better.  Most groups are such. */
enum { GROUP = 64 };
static bool slide_group(struct pass *p, uint64_t at)
{
    const uint64_t mask = KLI_B_ABSENT | 0xfffff; /* absent ones make the sum too large */
    const kli_word *in = p->block + at, *out = in - p->m;
    uint64_t sum = p->sum, most = sum, seen = 0;

    for (unsigned i = 0; i < GROUP; i++) {
        uint64_t word = atomic_load_explicit(&in[i], memory_order_relaxed);

        seen |= word;
        sum += word & mask;
        sum -= atomic_load_explicit(&out[i], memory_order_relaxed) & mask;
        most = sum > most ? sum : most;
    }
    if (most >= p->best || (seen & p->bad))
        return false;
    p->sum = sum;
    return true;
}

/* Slides from `at` up to `to`, less far when a block is in the way or the pass is over:
 * returns where it has come. */
static uint64_t slide_singly(struct pass *p, uint64_t at, uint64_t to)
{
    uint64_t sum = p->sum, word;

    for (; at < to && !is_in_way(p, word = word_at(p, at)); at++) {
        sum += worth(word, p->absent);
        sum -= worth(word_at(p, at - p->m), p->absent);
        if (sum % ABSENT_ONE < p->best)
            continue;
        p->sum = sum;
        weigh(p, at + 1);
        if (p->best > p->most)
            break;
    }
    p->sum = sum;
    return at;
}

/* Along the stretch that begins at `start`; returns where the next one may begin.  Groups
 * only after as many blocks singly: many stretches are short. */
static uint64_t slide_along(struct pass *p, uint64_t start)
{
    uint64_t at = start, limit = next_avoided(p, start);
    bool singly = true;

    p->sum = 0;
    for (; at < start + p->m; at++)
        p->sum += worth(word_at(p, at), p->absent);
    weigh(p, at);
    if (p->best > p->most)
        return p->end;
    while (at < limit) {
        uint64_t to = kli_min(at + GROUP, limit);

        if (!singly && to - at == GROUP && slide_group(p, at)) {
            at = to;
            continue;
        }
        at = slide_singly(p, at, to);
        if (p->best > p->most)
            return p->end;
        if (at < to)
            return at + 1;
        singly = false;
    }
    return limit;
}

bool kli_pass(const struct kli_search *search, uint32_t m, uint32_t stride, uint32_t *first)
{
    const struct kl_zone *zone = search->run->zone;
    struct pass p = {.search = search,
                     .block = zone->block,
                     .order = zone->block_order,
                     .absent = ABSENT_ONE + zone->block_frames,
                     .bad = UINT64_C(0xfffff) * KLI_B_STUCK | KLI_B_FENCED,
                     .m = m,
                     .stride = stride,
                     .end = search->end,
                     .most = (uint64_t)zone->block_frames * m,
                     .found = UINT64_MAX};
    uint64_t start = 0;

    if (search->spare == 0)
        p.bad |= KLI_B_ABSENT;
    if (kli_is_barred(search, KLI_B_CMA))
        p.bad |= KLI_B_CMA;
    if (search->run->idle || atomic_load(&zone->migration_off)) {
        p.best = p.most;
        p.least = zone->block_frames;
    }
    while (next_stretch(&p, start, &start))
        start = slide_along(&p, start);
    *first = (uint32_t)p.found << zone->block_order;
    return p.found != UINT64_MAX;
}
