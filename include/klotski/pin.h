// SPDX-License-Identifier: Apache-2.0
/* klotski/pin.h - objects that are pinned: who stays where it is, since when and
 * what for.
 *
 * Memory that a device or asynchronous I/O writes to must stay where it is for as
 * long as that lasts.  Such a pin is an object's: its owner says which object it
 * is and why, and the zone can tell who asks (kl_report, kl_zone_who).  After the
 * kernel's pin_user_pages with FOLL_LONGTERM, which knows neither.
 *
 * How to pin for long:
 *
 *   1. without a lock: kl_pin_settle(the object's frames), so that they leave the
 *      blocks that are meant to be emptied;
 *   2. under the owner's lock, that its isolate and migrate take too: look up where
 *      the object is now, kl_pin_begin(those frames).  -KL_EBUSY: one of them is
 *      being moved; unlock, wait for the end of that (migrate or putback is
 *      called), begin again at 2.
 *   3. use the memory;
 *   4. kl_pin_end, with or without the lock.
 *
 * The owner's lock decides the race with a migration: what is pinned under it has
 * not been isolated and will not be; what was isolated before is refused.
 *
 * Costs: while it lasts, about 128 bytes of metadata and 12 for each run of frames
 * that follow one another; nothing when nothing is pinned.
 * Limits: 2^24 - 1 objects of a zone at a time; 65535 pins of one frame.
 *
 * Thread safety: everything may run together with everything.  Nothing here calls
 * back but kl_pin_settle.
 */
#ifndef KLOTSKI_PIN_H
#define KLOTSKI_PIN_H

#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A pinned object.  All zero names none.  Bits: 24 index, 24 serial, 16 tag of the
 * zone. */
typedef struct kl_pin_id {
    uint64_t v;
} kl_pin_id;

#define KL_WHY_BYTES 48 /* of a reason, with its end */

struct kl_pin_config {
    size_t size;     /* sizeof(struct kl_pin_config) */
    uint64_t object; /* the owner's name for it; the library only repeats it */
    const char *why; /* what for, as a person reads it; the first 47 bytes are copied */
    unsigned flags;  /* 0 */
};

/* Pins the object that lives in these n allocations (each named by its first
 * frame; movable or not; one named twice is pinned twice): all of them, or none.
 * Called under the owner's lock.  Asks the host for metadata, and does not wait.
 * -KL_EBUSY: one of them is isolated.  -KL_EAGAIN: one of them is in an area
 * (klotski/cma.h), where nothing may stay for long: begin again at 1.
 * -KL_EINVAL: one of them is not this owner's
 * or no allocation; n is 0; a bad config; no such owner.  -KL_ENOMEM: no metadata.
 * -KL_ENOSPC: a limit, above. */
int kl_pin_begin(struct kl_zone *zone, kl_owner_id owner, const struct kl_pin_config *config,
                 const kl_pfn *frames, size_t n, kl_pin_id *pin);

/* Unpins exactly what that pin has pinned.
 * -KL_ESTALE: no such pin, or it has ended, or it is another zone's.
 * -KL_EINVAL: it is another owner's. */
int kl_pin_end(struct kl_zone *zone, kl_owner_id owner, kl_pin_id pin);

struct kl_report; /* klotski/contig.h */

/* Before a long pin: moves these allocations of the owner's, each named by its first
 * frame, out of blocks that are meant to be emptied into blocks of the unmovable
 * kind; they stay movable.  By the owner's callbacks: called without its locks.  Then
 * look up where the object is now.  A name that is not an allocation of the owner's
 * (any more), or is in such a block already, is passed over, as are unmovable ones.
 * 0: none of those named is in another block.  Else some may have been moved:
 * -KL_EBUSY: one is pinned, or its owner does not let it go, or migration is off.
 * -KL_ENOMEM: there is no room in such a block, nor memory for one.
 * -KL_EINVAL: not a frame of this zone; no such owner, or it has no callbacks; mode.
 * report may be NULL.  May wait as mode says. */
int kl_pin_settle(struct kl_zone *zone, kl_owner_id owner, const kl_pfn *frames, size_t n,
                  enum kl_mode mode, struct kl_report *report);

#ifdef __cplusplus
}
#endif
#endif
