// SPDX-License-Identifier: Apache-2.0
/* klotski/target.h - somewhere else that bytes can be kept: a file, a block device, a
 * server.  A store writes blocks back to one (klotski/writeback.h).
 *
 * Requests are asynchronous.  Who asks owns the request and its buffer until `done` is
 * called for it; until then they are the target's.  A target that is stalled just does
 * not call: nobody waits inside of it.
 *
 * On Linux kl_linux_target_create (klotski/linux.h) makes one of a file.
 */
#ifndef KLOTSKI_TARGET_H
#define KLOTSKI_TARGET_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KL_TARGET_UNIT 512u /* offsets and lengths are multiples of that many bytes */

enum kl_target_op {
    KL_TARGET_READ = 0,
    KL_TARGET_WRITE = 1,
    KL_TARGET_FLUSH = 2, /* what was written before is safe afterwards; no buffer */
    KL_TARGET_TRIM = 3,  /* nobody needs the contents any more; no buffer */
};

struct kl_target_io {
    enum kl_target_op op;
    uint32_t bytes;
    uint64_t offset;
    void *buf;
    /* Called once, from any thread, perhaps before submit returns; it is short and does
     * not block.  0, or
     *   -KL_EIO        it failed; a write has changed the range, or not, and won't any more
     *   -KL_ENOSPC     the same, for lack of room
     *   -KL_EAGAIN     not done, for there is no connection now; there may be one later
     *   -KL_ECANCELED  given up.  A write or a trim may still take effect at any time */
    void (*done)(struct kl_target_io *io, int err);
    struct kl_target_io *next; /* the target's, while the request is */
    uint64_t priv;             /* the same */
};

enum kl_target_flags {
    /* What was written may be lost when the target's machine fails, until it is flushed. */
    KL_TARGET_NEEDS_FLUSH = 1u << 0,
    KL_TARGET_CAN_TRIM = 1u << 1,
};

/* All functions are required, may be called from any thread at any time, and must not
 * call Klotski, but for done. */
struct kl_target {
    size_t size; /* sizeof(struct kl_target) */
    void *ctx;
    uint64_t bytes;
    unsigned flags;

    /* Takes the request; never waits.  Or an error, and done is not called. */
    int (*submit)(void *ctx, struct kl_target_io *io);

    /* Ends every request, those under way with -KL_ECANCELED.  After it each done has
     * returned.  Waits as long as that takes. */
    void (*cancel)(void *ctx);

    /* One line on how it is; 0: well.  -KL_EAGAIN: there is no connection now. */
    int (*status)(void *ctx, char *text, size_t bytes);
};

#ifdef __cplusplus
}
#endif
#endif
