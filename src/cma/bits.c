// SPDX-License-Identifier: Apache-2.0
/* Rows of bits.  They change under the area's lock; whoever looks for a window reads them
 * without it (A4), so that each word is read and written as a whole. */
#include "cma/cma.h"

static uint64_t word_of(const kli_word *bits, uint32_t index)
{
    return atomic_load_explicit(&bits[index], memory_order_relaxed);
}

/* The part of a row that lies in its first word. */
static uint64_t head_mask(struct cma_run *run, uint32_t *index)
{
    uint32_t at = run->first, n = (uint32_t)kli_min(run->n, 64 - at % 64);

    *index = at / 64;
    run->first += n;
    run->n -= n;
    return kli_mask(n, at % 64);
}

bool cma_bit(const kli_word *bits, uint32_t at)
{
    return word_of(bits, at / 64) >> at % 64 & 1;
}

void cma_set(kli_word *bits, struct cma_run run)
{
    while (run.n > 0) {
        uint32_t i;
        uint64_t mask = head_mask(&run, &i);

        atomic_store_explicit(&bits[i], word_of(bits, i) | mask, memory_order_relaxed);
    }
}

void cma_clear(kli_word *bits, struct cma_run run)
{
    while (run.n > 0) {
        uint32_t i;
        uint64_t mask = head_mask(&run, &i);

        atomic_store_explicit(&bits[i], word_of(bits, i) & ~mask, memory_order_relaxed);
    }
}

bool cma_are(const kli_word *bits, struct cma_run run, bool set)
{
    while (run.n > 0) {
        uint32_t i;
        uint64_t mask = head_mask(&run, &i);

        if ((word_of(bits, i) & mask) != (set ? mask : 0))
            return false;
    }
    return true;
}

uint32_t cma_next(const kli_word *bits, uint32_t from, uint32_t to, bool set)
{
    uint64_t flip = set ? 0 : ~UINT64_C(0), word;

    for (uint32_t i = from / 64; from < to; i++, from = i * 64) {
        word = (word_of(bits, i) ^ flip) & ~UINT64_C(0) << from % 64;
        if (word)
            return (uint32_t)kli_min(i * 64 + kli_lowest(word), to);
    }
    return to;
}

static unsigned highest(uint64_t v)
{
    unsigned n = 0;

    for (unsigned shift = 32; shift > 0; shift /= 2) {
        if (v >> shift == 0)
            continue;
        v >>= shift;
        n += shift;
    }
    return n;
}

uint32_t cma_last_set(const kli_word *bits, uint32_t at)
{
    uint32_t i = at / 64;
    uint64_t word = word_of(bits, i) & kli_mask(at % 64 + 1, 0);

    while (word == 0)
        word = word_of(bits, --i);
    return i * 64 + highest(word);
}
