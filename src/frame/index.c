// SPDX-License-Identifier: Apache-2.0
/* The index: for each class of blocks (block.h) a bitmap with a bit a block, and
 * above it a tree of summaries, 64 to one, so that a search costs the logarithm of
 * the zone and not its size.
 *
 * (I1) At rest a block's bit is set in the index of its class and in no other, and
 *      a summary bit is set if and only if the word under it is not zero.
 * (I2) Whoever changes a block's class mends its bits afterwards, and then looks at
 *      the word again; so does whoever makes a word of bits zero or not zero with
 *      the summary over it.  All these steps are sequentially consistent, so that
 *      of two who mend at a time the later one sees what holds, and I1 comes true.
 * (I3) Until then the index may be wrong for a moment.  It is a hint: who finds a
 *      block by it still has to reserve in the block's word; who finds none and
 *      must be sure looks at all of them.
 *
 * Every change of a block's word goes through kli_block_step, which also counts
 * the frames that are free; but for one that changes neither those nor the class (hand.c).
 */
#include "frame/zone.h"

/* Words at each level, in all. */
uint64_t kli_index_words(uint32_t blocks)
{
    uint64_t n = blocks, sum = 0;

    do {
        n = kli_div_up(n, 64);
        sum += n;
    } while (n > 1);
    return sum;
}

static void place_levels(struct kli_index *index, uint32_t blocks, kli_word *mem)
{
    uint64_t n = blocks;

    index->levels = 0;
    do {
        n = kli_div_up(n, 64);
        index->level[index->levels] = mem;
        index->words[index->levels++] = (uint32_t)n;
        mem += n;
    } while (n > 1);
}

/* For a zone that nobody knows yet. */
static void init_bit(kli_word *level, uint32_t at)
{
    uint64_t word = atomic_load_explicit(&level[at / 64], memory_order_relaxed);

    atomic_init(&level[at / 64], word | UINT64_C(1) << (at % 64));
}

static void init_summaries(const struct kli_index *index)
{
    for (unsigned l = 0; l + 1 < index->levels; l++) {
        for (uint32_t i = 0; i < index->words[l]; i++) {
            if (atomic_load_explicit(&index->level[l][i], memory_order_relaxed) != 0)
                init_bit(index->level[l + 1], i);
        }
    }
}

/* By the blocks' words, which are there already. */
void kli_index_init(struct kl_zone *zone)
{
    uint64_t words = kli_index_words(zone->blocks);

    for (unsigned c = 0; c < KLI_CLASSES; c++)
        place_levels(&zone->index[c], zone->blocks, zone->index_mem + c * words);
    for (uint32_t b = 0; b < zone->blocks; b++) {
        enum kli_class class = kli_b_class(kli_block_word(zone, b), zone->block_frames);

        atomic_fetch_add_explicit(&zone->blocks_in[class], 1, memory_order_relaxed);
        if (class < KLI_CLASSES)
            init_bit(zone->index[class].level[0], b);
    }
    for (unsigned c = 0; c < KLI_CLASSES; c++)
        init_summaries(&zone->index[c]);
}

/* Sets or clears one bit of a level; true: its word became zero, or is it no more. */
static bool put_bit(kli_word *level, uint32_t at, bool on)
{
    uint64_t bit = UINT64_C(1) << (at % 64), old;

    if (!(atomic_load(&level[at / 64]) & bit) == !on)
        return false;
    if (on)
        old = atomic_fetch_or(&level[at / 64], bit);
    else
        old = atomic_fetch_and(&level[at / 64], ~bit);
    return on ? old == 0 : old == bit;
}

/* The summaries over a word that has just become zero or not zero. (I2) */
static void mend_summaries(const struct kli_index *index, uint32_t at)
{
    for (unsigned l = 0; l + 1 < index->levels; l++) {
        bool on, turned = false;

        at /= 64;
        do {
            on = atomic_load(&index->level[l][at]) != 0;
            turned |= put_bit(index->level[l + 1], at, on);
        } while ((atomic_load(&index->level[l][at]) != 0) != on);
        if (!turned)
            return;
    }
}

static void mend_bits(struct kl_zone *zone, uint32_t block)
{
    enum kli_class class;

    do {
        class = kli_b_class(atomic_load(&zone->block[block]), zone->block_frames);
        KLI_TRACE_STEP(index_mend, KLI_TAG(zone), block, class);
        for (unsigned c = 0; c < KLI_CLASSES; c++) {
            if (put_bit(zone->index[c].level[0], block, c == class))
                mend_summaries(&zone->index[c], block);
        }
    } while (kli_b_class(atomic_load(&zone->block[block]), zone->block_frames) != class);
}

static uint32_t open_free(uint64_t word)
{
    return kli_b_open(word) ? kli_b_free(word) : 0;
}

bool kli_block_step(struct kl_zone *zone, uint32_t block, kli_edge *edge, uint64_t arg)
{
    enum kli_class from, to;
    uint64_t seen, next;

    if (!kli_apply(&zone->block[block], edge, arg, &seen))
        return false;
    next = edge(seen, arg).next;
    KLI_TRACE_STEP(block_stepped, KLI_TAG(zone), block, kli_b_free(next));
    from = kli_b_class(seen, zone->block_frames);
    to = kli_b_class(next, zone->block_frames);
    if (from != to) {
        atomic_fetch_sub_explicit(&zone->blocks_in[from], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&zone->blocks_in[to], 1, memory_order_relaxed);
        mend_bits(zone, block);
    }
    kli_free_add(zone, (int64_t)open_free(next) - open_free(seen)); /* looks at blocks_in */
    if (to == KLI_CLASS_FREE && from != to)
        kli_watch(zone);
    return true;
}

/* Down from bit `at` of level l to the first block under it; UINT64_MAX when it has
 * gone in the meantime. */
static uint64_t descend(const struct kli_index *index, unsigned l, uint64_t at)
{
    while (l-- > 0) {
        uint64_t word = atomic_load_explicit(&index->level[l][at], memory_order_relaxed);

        if (word == 0)
            return UINT64_MAX;
        at = at * 64 + kli_lowest(word);
    }
    return at;
}

/* Up from `from`, until a level has a bit at or behind it. */
static uint64_t climb(const struct kli_index *index, uint64_t from, unsigned *level)
{
    for (unsigned l = 0; l < index->levels; l++) {
        uint64_t word;

        if (from / 64 >= index->words[l])
            break;
        word = atomic_load_explicit(&index->level[l][from / 64], memory_order_relaxed) &
               ~UINT64_C(0) << from % 64;
        if (word) {
            *level = l;
            return from / 64 * 64 + kli_lowest(word);
        }
        from = from / 64 + 1;
    }
    return UINT64_MAX;
}

/* The first block of a class from `from` on; UINT32_MAX: there is none. */
uint32_t kli_index_next(const struct kl_zone *zone, enum kli_class class, uint32_t from)
{
    const struct kli_index *index = &zone->index[class];
    uint64_t next = from;

    for (;;) {
        unsigned level;
        uint64_t at = climb(index, next, &level), block;

        if (at == UINT64_MAX)
            return UINT32_MAX;
        block = descend(index, level, at);
        if (block != UINT64_MAX)
            return (uint32_t)block;
        next = (at + 1) << (6 * level); /* that one has gone */
    }
}

/* Counted per CPU and passed on in lumps, so that CPUs seldom share a line; in a small
 * zone in small ones. */
void kli_free_add(struct kl_zone *zone, int64_t n)
{
    _Atomic int64_t *mine = &zone->hint[kli_cpu(zone)].free;
    int64_t lump = (int64_t)kli_min(128, zone->frames / 256), sum;

    if (n == 0)
        return;
    sum = atomic_fetch_add_explicit(mine, n, memory_order_relaxed) + n;
    if (sum > lump || sum < -lump) {
        atomic_fetch_add_explicit(&zone->free,
                                  atomic_exchange_explicit(mine, 0, memory_order_relaxed),
                                  memory_order_relaxed);
        kli_watch(zone);
    }
}

/* Frames free in open blocks.  Exact when nothing is going on. */
uint64_t kli_free_frames(const struct kl_zone *zone)
{
    int64_t sum = atomic_load_explicit(&zone->free, memory_order_relaxed);

    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++)
        sum += atomic_load_explicit(&zone->hint[cpu].free, memory_order_relaxed);
    return sum > 0 ? (uint64_t)sum : 0;
}
