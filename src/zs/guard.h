// SPDX-License-Identifier: Apache-2.0
/* The hardened build (KL_HARDENED, meson option `hardened`): an object's slot ends with a
 * guard, 8 bytes that nobody can guess and that move with it; what is free is wiped.
 * Elsewhere all of this is empty, and a slot is its object's alone.
 *
 * (G1) The last 8 bytes that a slot has for its object are the guard of its entry's
 *      index, from before the object's name is known until it is freed.
 * (G2) Every other byte of a zspage's frames is zero: slots that are free, what is left
 *      over at the end.  A frame that leaves a zspage is zero altogether.
 * (G3) A slot is wiped when its entry does not name it any more, after puts was raised,
 *      by a user of the zspage, or with its chain fixed by other means: so a look either
 *      began before, and fails, or finds that the entry is another one.  The slot is
 *      free for others after that.
 *
 * A guard that is not what it should be means that somebody wrote where he must not, and
 * nobody knows what else he wrote.  So who finds it ends the process, by the host's
 * fatal, with a text that names the object; kl_zs_check, which changes nothing, says it.
 * It is looked at by free, read, write, the end of a pin and object compaction; that a
 * free slot is zero, when it is taken.
 *
 * Guards come from a secret of the pool, made of what the host has to offer: the time and
 * where things lie in memory.  That is against accidents and blind overwriting, not
 * against somebody who can read this memory.
 */
#ifndef KLI_ZS_GUARD_H
#define KLI_ZS_GUARD_H

#include "zs/zs.h"

/* What an object of the class can hold. */
static inline uint32_t zs_holds(const struct zs_class *class)
{
    return (uint32_t)kli_min(class->size - ZS_GUARD_BYTES, KL_ZS_MAX_SIZE);
}

/* Sizes that a slot can have, at most. */
enum { ZS_SLOT_SIZES = (KL_HARDENED ? 2 : 1) * KL_ZS_MAX_SIZE / ZS_ALIGN };

/* The largest slot. */
static inline uint32_t zs_largest(const struct kl_zs *pool)
{
    return KL_ZS_MAX_SIZE + (KL_HARDENED ? UINT32_C(1) << pool->frame_shift : 0);
}

/* The slot of the largest common size; 0: nobody knows. */
static inline uint32_t zs_typical(const struct kl_zs *pool)
{
    return pool->typical_bytes ? pool->typical_bytes + ZS_GUARD_BYTES : 0;
}

#if KL_HARDENED

void zs_guard_begin(struct kl_zs *pool);
void zs_guard_end(struct kl_zs *pool);

/* Ends the process unless this is a pool. */
void zs_guard_pool(const struct kl_zs *pool);

/* The generation that a new handle begins with. */
uint64_t zs_guard_generation(const struct kl_zs *pool, uint32_t index);

/* The chain is fixed.  A slot that was just taken. */
void zs_guard_new(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index);

/* The chain is fixed.  `by`: who looks, for the text. */
void zs_guard_look(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index,
                   const char *by);

/* The same, of a guard that was copied. */
void zs_guard_seen(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index,
                   uint64_t guard);

/* What is wrong with a slot, or NULL; index: of its entry, if it is live. */
const char *zs_guard_check(struct kl_zs *pool, struct zspage *page, uint32_t slot, bool live,
                           uint32_t index);

/* The object is about to be freed, and this thread's; waits while a frame of it is moved.
 * No lock is held. */
void zs_guard_free(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint32_t index);

/* No entry names the slot any more; the chain is fixed. */
void zs_guard_wipe(struct kl_zs *pool, struct zspage *page, uint32_t slot);

/* Nobody will look at the frame with success. */
void zs_guard_wipe_frame(struct kl_zs *pool, kl_pfn pfn);

#else

static inline void zs_guard_begin(struct kl_zs *pool)
{
    (void)pool;
}
static inline void zs_guard_end(struct kl_zs *pool)
{
    (void)pool;
}
static inline void zs_guard_pool(const struct kl_zs *pool)
{
    (void)pool;
}
static inline uint64_t zs_guard_generation(const struct kl_zs *pool, uint32_t index)
{
    (void)pool, (void)index;
    return 1;
}
static inline void zs_guard_new(struct kl_zs *pool, struct zspage *page, uint32_t slot,
                                uint32_t index)
{
    (void)pool, (void)page, (void)slot, (void)index;
}
static inline void zs_guard_look(struct kl_zs *pool, struct zspage *page, uint32_t slot,
                                 uint32_t index, const char *by)
{
    (void)pool, (void)page, (void)slot, (void)index, (void)by;
}
static inline void zs_guard_seen(struct kl_zs *pool, struct zspage *page, uint32_t slot,
                                 uint32_t index, uint64_t guard)
{
    (void)pool, (void)page, (void)slot, (void)index, (void)guard;
}
static inline const char *zs_guard_check(struct kl_zs *pool, struct zspage *page, uint32_t slot,
                                         bool live, uint32_t index)
{
    (void)pool, (void)page, (void)slot, (void)live, (void)index;
    return NULL;
}
static inline void zs_guard_free(struct kl_zs *pool, struct zspage *page, uint32_t slot,
                                 uint32_t index)
{
    (void)pool, (void)page, (void)slot, (void)index;
}
static inline void zs_guard_wipe(struct kl_zs *pool, struct zspage *page, uint32_t slot)
{
    (void)pool, (void)page, (void)slot;
}
static inline void zs_guard_wipe_frame(struct kl_zs *pool, kl_pfn pfn)
{
    (void)pool, (void)pfn;
}

#endif
#endif
