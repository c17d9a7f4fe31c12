// SPDX-License-Identifier: Apache-2.0
/* klotski/base.h - errors, identifiers and modes that every other header uses.
 *
 * Every function that can fail returns 0 or a negative error, as the kernel's
 * and liburing's do: `return -KL_EINVAL`.  The values are Linux's errno values,
 * but the core is freestanding and therefore brings its own names.
 */
#ifndef KLOTSKI_BASE_H
#define KLOTSKI_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Configs, tables of callbacks, statistics and reports begin with `size`, which the
 * caller sets to the sizeof of the struct that it was compiled with.  A config or table
 * of another size is -KL_EINVAL.  Statistics and reports are filled in as far as the
 * caller's size goes; size says afterwards how far that was. */

/* What is looked at.  Frames, handles and pins that are stale, foreign or made up are errors.
 * What a program got from a create (a zone, a pool, a store, an area, a backing) is taken at
 * its word: NULL, or one that was destroyed, is a fault of the program, as with free(3),
 * and so is NULL for what a function is to fill in.  Where it is said, NULL is allowed. */

#define KL_VERSION_MAJOR 0
#define KL_VERSION_MINOR 1
#define KL_VERSION_PATCH 0

/* The one list of errors: name, value, what it says. */
#define KL_ERRORS(X)                                                                               \
    X(ENOENT, 2, "no such thing")                                                                  \
    X(EIO, 5, "the memory behind the zone, or a target, failed")                                   \
    X(EAGAIN, 11, "busy for a moment, may be tried again")                                         \
    X(ENOMEM, 12, "no frame, or no metadata, is left")                                             \
    X(EBUSY, 16, "in use, pinned or not movable")                                                  \
    X(EEXIST, 17, "is there already")                                                              \
    X(EINVAL, 22, "not a valid argument")                                                          \
    X(ENOSPC, 28, "the limit is reached")                                                          \
    X(ERANGE, 34, "outside of the zone, the store or the object")                                  \
    X(ENODATA, 61, "its contents were dropped")                                                    \
    X(EILSEQ, 84, "stored data does not decompress to what was stored")                            \
    X(ENOTSUP, 95, "this host or backing cannot do that")                                          \
    X(ETIMEDOUT, 110, "not done within the bound")                                                 \
    X(ESTALE, 116, "a handle of something that is gone")                                           \
    X(ECANCELED, 125, "stopped before it was done")

enum kl_err {
    KL_OK = 0,
#define KL_ERR_ENUM(name, value, text) KL_##name = (value),
    KL_ERRORS(KL_ERR_ENUM)
#undef KL_ERR_ENUM
};

/* The name ("EINVAL") and the sentence for an error; both signs are taken.
 * Never NULL.  Thread-safe. */
const char *kl_err_name(int err);
const char *kl_err_text(int err);

/* A frame: one base page of a zone.  The low 32 bits are its number (the pfn,
 * 0 is the first frame of the zone), the bits above are the zone's tag, so that
 * a frame of another zone is refused.  An all-zero kl_pfn names no frame. */
typedef struct kl_pfn {
    uint64_t v;
} kl_pfn;

static inline uint32_t kl_pfn_nr(kl_pfn pfn)
{
    return (uint32_t)pfn.v;
}

/* A pageblock: the unit that is given back whole. */
typedef struct kl_block {
    uint32_t v;
} kl_block;

/* Who a frame belongs to.  0 is nobody. */
typedef struct kl_owner_id {
    uint16_t v;
} kl_owner_id;

/* How long a migration may wait (the kernel's migrate_mode):
 * KL_ASYNC never, KL_SYNC_LIGHT for locks but not for devices, KL_SYNC for both.
 * Every wait is bounded. */
enum kl_mode { KL_ASYNC = 0, KL_SYNC_LIGHT = 1, KL_SYNC = 2 };

#ifdef __cplusplus
}
#endif
#endif
