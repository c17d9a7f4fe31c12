// SPDX-License-Identifier: Apache-2.0
/* Guards of objects and wiping, in the hardened build (guard.h). */
#include "zs/guard.h"

#if KL_HARDENED

static uint64_t mix(uint64_t v)
{
    v = (v ^ (v >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    v = (v ^ (v >> 29)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return v ^ (v >> 32);
}

static uint64_t mark_of(const struct kl_zs *pool)
{
    return mix(pool->secret ^ (uintptr_t)pool) | 1;
}

void zs_guard_begin(struct kl_zs *pool)
{
    uint64_t here = 0;

    pool->secret = mix(pool->host.now_ns(pool->host.ctx));
    pool->secret = mix(pool->secret ^ (uintptr_t)pool);
    pool->secret = mix(pool->secret ^ (uintptr_t)&here);
    pool->secret =
        mix(pool->secret ^ (uintptr_t)kl_frame_addr(pool->zone, kl_zone_pfn(pool->zone, 0)));
    pool->secret = mix(pool->secret ^ pool->host.thread(pool->host.ctx));
    pool->mark = mark_of(pool);
}

void zs_guard_end(struct kl_zs *pool)
{
    pool->mark = 0;
    pool->secret = 0;
}

void zs_guard_pool(const struct kl_zs *pool)
{
    KLI_REQUIRE(&pool->host, pool->mark == mark_of(pool) && "a pool that is not destroyed");
}

/* Never zero, which is what a wiped slot has there. */
static uint64_t guard_of(const struct kl_zs *pool, uint32_t index)
{
    return mix(pool->secret + index) | 1;
}

uint64_t zs_guard_generation(const struct kl_zs *pool, uint32_t index)
{
    return mix(~pool->secret + index) & 0xffff;
}

struct text {
    char at[160];
    size_t n;
};

static void add(struct text *text, const char *more)
{
    kli_text(text->at + text->n, sizeof(text->at) - text->n, more);
    while (text->at[text->n])
        text->n++;
}

static void add_number(struct text *text, uint32_t number)
{
    char digits[11];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add(text, digits + at);
}

static KLI_NOINLINE void die(struct kl_zs *pool, struct zspage *page, uint32_t slot,
                             const char *what, uint32_t index, const char *by)
{
    struct text text = {.n = 0};

    add(&text, "zsmalloc: object ");
    add_number(&text, index);
    add(&text, " of up to ");
    add_number(&text, zs_holds(zs_class_of(pool, page)));
    add(&text, " bytes (zspage ");
    add_number(&text, page->id);
    add(&text, ", slot ");
    add_number(&text, slot);
    add(&text, ") ");
    add(&text, what);
    add(&text, ", found by ");
    add(&text, by);
    pool->host.fatal(pool->host.ctx, text.at, __FILE__, __LINE__);
}

static size_t slot_at(struct kl_zs *pool, const struct zspage *page, uint32_t slot)
{
    return (size_t)zs_class_of(pool, page)->size * slot;
}

/* Sizes are multiples of 8, so it never crosses frames. */
static char *guard_at(struct kl_zs *pool, struct zspage *page, uint32_t slot)
{
    size_t len;

    return zs_object_run(pool, page, slot_at(pool, page, slot) + zs_holds(zs_class_of(pool, page)),
                         &len);
}

static bool guard_right(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index)
{
    uint64_t guard;

    memcpy(&guard, guard_at(pool, page, slot), sizeof(guard));
    return guard == guard_of(pool, index);
}

static bool is_zero(struct kl_zs *pool, struct zspage *page, uint32_t slot)
{
    size_t at = slot_at(pool, page, slot), left = zs_class_of(pool, page)->size, n;

    for (; left > 0; left -= n, at += n) {
        const char *run = zs_object_run(pool, page, at, &n);

        n = kli_min(n, left);
        if (run[0] != 0 || memcmp(run, run + 1, n - 1) != 0)
            return false;
    }
    return true;
}

void zs_guard_new(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index)
{
    uint64_t guard = guard_of(pool, index);

    if (!is_zero(pool, page, slot))
        die(pool, page, slot, "was given a slot that somebody wrote to while it was free", index,
            "malloc");
    memcpy(guard_at(pool, page, slot), &guard, sizeof(guard));
}

void zs_guard_seen(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index,
                   uint64_t guard)
{
    if (guard != guard_of(pool, index))
        die(pool, page, slot, "was overwritten beyond its end", index, "read");
}

void zs_guard_look(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index,
                   const char *by)
{
    if (!guard_right(pool, page, slot, index))
        die(pool, page, slot, "was overwritten beyond its end, or freed before", index, by);
}

const char *zs_guard_check(struct kl_zs *pool, struct zspage *page, uint32_t slot, bool live,
                           uint32_t index)
{
    if (live)
        return guard_right(pool, page, slot, index) ? NULL
                                                    : "an object was overwritten beyond its end";
    return is_zero(pool, page, slot) ? NULL : "a free slot was written to"; /* G2 */
}

void zs_guard_wipe(struct kl_zs *pool, struct zspage *page, uint32_t slot)
{
    size_t at = slot_at(pool, page, slot), left = zs_class_of(pool, page)->size, n;

    zs_puts_raise(page); /* G3 */
    for (; left > 0; left -= n, at += n) {
        char *run = zs_object_run(pool, page, at, &n);

        n = kli_min(n, left);
        memset(run, 0, n);
    }
    atomic_signal_fence(memory_order_seq_cst); /* the stores are made */
}

void zs_guard_free(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index)
{
    for (unsigned round = 0; !zs_users_try(page); round++)
        pool->host.relax(pool->host.ctx, round); /* a frame of it is being moved */
    zs_guard_look(pool, page, slot, index, "free");
    zs_guard_wipe(pool, page, slot);
    zs_users_drop(page);
}

void zs_guard_wipe_frame(struct kl_zs *pool, kl_pfn pfn)
{
    memset(kl_frame_addr(pool->zone, pfn), 0, (size_t)1 << pool->frame_shift);
    atomic_signal_fence(memory_order_seq_cst); /* the stores are made */
}

#else

typedef int zs_no_guards; /* C wants something in a file */

#endif
