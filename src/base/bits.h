// SPDX-License-Identifier: Apache-2.0
/* Small arithmetic on words. */
#ifndef KLI_BASE_BITS_H
#define KLI_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool kli_is_pow2(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

static inline uint64_t kli_div_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

static inline uint64_t kli_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t kli_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t kli_align_up(uint64_t v, uint64_t pow2)
{
    return (v + pow2 - 1) & ~(pow2 - 1);
}

/* By hand: the compiler's own may call a library that a bare machine has not. */
static inline unsigned kli_popcount(uint64_t v)
{
    v -= (v >> 1) & UINT64_C(0x5555555555555555);
    v = (v & UINT64_C(0x3333333333333333)) + ((v >> 2) & UINT64_C(0x3333333333333333));
    v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)((v * UINT64_C(0x0101010101010101)) >> 56);
}

/* The lowest set bit; v != 0. */
static inline unsigned kli_lowest(uint64_t v)
{
    return (unsigned)__builtin_ctzll(v);
}

/* n ones from bit `shift` on; n is 1 to 64. */
static inline uint64_t kli_mask(unsigned n, unsigned shift)
{
    return (n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << shift;
}

#endif
