// SPDX-License-Identifier: Apache-2.0
/* Units of the target: a bit each, taken in runs where the last run ended (next fit). */
#include "base/trace.h"
#include "store/writeback.h"

/* The first unit after those of [first, first + units) that a reader shows; 0: none
 * does. (T4) */
static uint64_t shown_until(const struct store_writeback *wb, uint64_t first, uint64_t units)
{
    for (unsigned i = 0; i < WB_READS; i++) {
        uint64_t n = atomic_load(&wb->reads[i].units), at = atomic_load(&wb->reads[i].first);

        if (n > 0 && at < first + units && first < at + n)
            return at + n;
    }
    return 0;
}

/* Free units from at on, as far as this word of the map says; 0: it is taken, and
 * *skip are. */
static unsigned free_here(const struct store_writeback *wb, uint64_t at, unsigned *skip)
{
    uint64_t bits = atomic_load(&wb->map[at / 64]) >> (at % 64);
    unsigned rest = 64 - (unsigned)(at % 64);

    *skip = 0;
    if (bits == 0)
        return rest;
    if (!(bits & 1)) {
        unsigned n = (unsigned)__builtin_ctzll(bits);

        return n < rest ? n : rest;
    }
    *skip = rest;
    if (~bits && (unsigned)__builtin_ctzll(~bits) < rest)
        *skip = (unsigned)__builtin_ctzll(~bits);
    return 0;
}

/* A run within [from, to); false: there is none. */
static bool find(const struct store_writeback *wb, uint64_t from, uint64_t to, uint64_t units,
                 uint64_t *first)
{
    uint64_t start = from, at = from, shown;

    while (start + units <= to) {
        unsigned skip, n = free_here(wb, at, &skip);

        at += n + skip;
        if (skip > 0)
            start = at;
        if (at - start < units)
            continue;
        shown = shown_until(wb, start, units);
        if (!shown) {
            *first = start;
            return true;
        }
        start = at = shown;
        if (at >= to)
            break;
    }
    return false;
}

/* The bits of [*at, end) that are in the word of *at; *at goes on. */
static uint64_t next_bits(uint64_t *at, uint64_t end)
{
    unsigned shift = (unsigned)(*at % 64);
    uint64_t n = kli_min(64 - shift, end - *at);

    *at += n;
    return (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << shift;
}

static void take(struct store_writeback *wb, uint64_t first, uint64_t units)
{
    uint64_t end = first + units;

    for (uint64_t region = first / WB_REGION; wb->dirty && region * WB_REGION < end; region++)
        wb->dirty[region / 64] |= UINT64_C(1) << (region % 64);
    for (uint64_t at = first; at < end;) {
        uint64_t word = at / 64;

        atomic_fetch_or(&wb->map[word], next_bits(&at, end));
    }
    atomic_fetch_add_explicit(&wb->used, units, memory_order_relaxed);
}

/* With busy. (T3) */
bool wb_take(struct store_writeback *wb, uint64_t units, uint64_t *first)
{
    uint64_t frees = atomic_load(&wb->frees);
    bool found;

    if (wb->full_units && units >= wb->full_units && frees == wb->full_at)
        return false;
    found = find(wb, wb->unit_cursor, wb->units, units, first) ||
            find(wb, 0, kli_min(wb->unit_cursor + units, wb->units), units, first);
    atomic_store_explicit(&wb->full, !found, memory_order_relaxed);
    wb->full_units = found ? 0 : units;
    wb->full_at = frees;
    if (!found)
        return false;
    KLI_TRACE_STEP(wb_found, *first, units, 0);
    wb->unit_cursor = *first + units;
    take(wb, *first, units);
    return true;
}

/* These, which are free; false: a reader shows some. */
bool wb_take_at(struct store_writeback *wb, uint64_t first, uint64_t units)
{
    if (shown_until(wb, first, units))
        return false;
    take(wb, first, units);
    return true;
}

void wb_free(struct store_writeback *wb, uint64_t first, uint64_t units)
{
    KLI_TRACE_STEP(wb_free, first, units, 0);
    atomic_fetch_sub_explicit(&wb->used, units, memory_order_relaxed);
    for (uint64_t at = first; at < first + units;) {
        uint64_t word = at / 64, bits = next_bits(&at, first + units);
        uint64_t old = atomic_fetch_and(&wb->map[word], ~bits);

        KLI_REQUIRE(wb->host, (old & bits) == bits);
    }
    atomic_fetch_add(&wb->frees, 1);
}

/* The word was swapped out: its units are free, if it had any. */
void store_written_free(struct kl_store *store, uint64_t word)
{
    if (store_kind(word) == KL_STORE_WRITTEN)
        wb_free(wb_of(store), wb_first(word), wb_units(store, word));
}
