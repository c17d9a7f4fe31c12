// SPDX-License-Identifier: Apache-2.0
/* The memory behind a zone, as its caller describes it: is it possible at all?
 *
 * A backing with a base has addresses: every frame can be read and written here.
 * One without a base has offsets only: the zone hands frames out and takes them
 * back, and never touches what is in them.
 */
#include "frame/zone.h"

enum { LEAST_SHIFT = 12, MOST_SHIFT = 21, MOST_ORDER = 18 };

static bool shape_ok(const struct kl_backing *b)
{
    return b->bytes > 0 && b->frame_shift >= LEAST_SHIFT && b->frame_shift <= MOST_SHIFT &&
           b->block_order <= MOST_ORDER &&
           b->bytes % (UINT64_C(1) << (b->frame_shift + b->block_order)) == 0 &&
           (uintptr_t)b->base % (UINT64_C(1) << b->frame_shift) == 0;
}

/* Frames have numbers of 32 bits, blocks a size_t of bytes, addresses an end. */
static bool range_ok(const struct kl_backing *b)
{
    return b->bytes >> b->frame_shift < UINT32_MAX &&
           UINT64_C(1) << (b->frame_shift + b->block_order) <= SIZE_MAX &&
           (!b->base || b->bytes <= SIZE_MAX - (uintptr_t)b->base);
}

int kli_backing_check(const struct kl_backing *b)
{
    if (!b || b->size != sizeof(*b) || !shape_ok(b) || !b->populate != !b->release)
        return -KL_EINVAL;
    return range_ok(b) ? 0 : -KL_ERANGE;
}

int kl_backing_offsets(struct kl_backing *backing, uint64_t bytes, unsigned frame_shift,
                       unsigned block_order)
{
    struct kl_backing b = {
        .size = sizeof(b), .bytes = bytes, .frame_shift = frame_shift, .block_order = block_order};
    int err = backing ? kli_backing_check(&b) : -KL_EINVAL;

    if (!err)
        *backing = b;
    return err;
}

int kl_backing_memory(struct kl_backing *backing, void *base, uint64_t bytes, unsigned frame_shift,
                      unsigned block_order)
{
    struct kl_backing b = {.size = sizeof(b),
                           .base = base,
                           .bytes = bytes,
                           .frame_shift = frame_shift,
                           .block_order = block_order};
    int err = backing && base ? kli_backing_check(&b) : -KL_EINVAL;

    if (!err)
        *backing = b;
    return err;
}
