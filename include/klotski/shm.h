// SPDX-License-Identifier: Apache-2.0
/* klotski/shm.h - shared-memory objects, whose memory can move while a device uses it.
 *
 * An object is a size in bytes over frames of the zone, which it gets when they are
 * first touched.  Its frames move by themselves.  A driver whose device has an object's
 * addresses attaches the object to its *device*: asked to move frames of it, the library
 * calls the driver's prepare, which quiets the device, and after the moves its finish,
 * which gives the device the new addresses.  After the hooks that were proposed for
 * shmem and the i915 driver (2016); the calls around a batch are those of today's drivers.
 *
 * States of an object, as a migration meets them:
 *
 *   idle       moves; attached to a device: with prepare and finish around
 *   pinned     counted, each with a reason: stays (klotski/pin.h)
 *   active     counted: the device works on it.  KL_SYNC: prepare waits for the device, within a
 *              bound; other modes: busy, at once
 *   asleep     its device sleeps and can't be told: busy
 *   purgeable  is not moved: the frame is dropped, with the object's contents
 *   away       in a file of its own, which another process has (klotski/linux.h);
 *              counts as pinned
 *
 * A busy object answers "busy", which ends the run that met it (-KL_EBUSY, the report says
 * why), and not "again".  What is meant for moments (a copy under way) answers "again".
 *
 * Names carry a generation: what is gone is -KL_ESTALE.  An object lives until it is
 * destroyed *and* its last user is done; after destroy there are no new users, but those that
 * there are may read, write and resize as before.  A user is a reference (kl_shm_get), a pin,
 * an activity, a stay elsewhere, or a call under way.
 *
 * Thread safety: everything here may run together with everything, except
 * kl_shm_destroy.  Two that write, or read and write, the same bytes order themselves.
 * Unless it says otherwise a function may wait for frames, as kl_frame_alloc
 * with the object's flags does, and shrinkers and owners may be called within;
 * what it waits for beside that is bounded.  A resize, a purge, kl_shm_check and the end of an
 * object look at each of its pages, touched or not: 1 GiB is nothing, 8 TiB some ten seconds.
 */
#ifndef KLOTSKI_SHM_H
#define KLOTSKI_SHM_H

#include "contig.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Objects that one driver, or one tenant, has in a zone: one owner of frames. */
struct kl_shm;

/* An object.  All zero names none.  Bits: 24 index, 24 generation, 16 tag. */
typedef struct kl_shm_id {
    uint64_t v;
} kl_shm_id;

/* A device of a kl_shm.  All zero names none. */
typedef struct kl_shm_device_id {
    uint64_t v;
} kl_shm_device_id;

struct kl_shm_config {
    size_t size;      /* sizeof(struct kl_shm_config) */
    const char *name; /* of the owner of its frames; NULL: "shm" */
    unsigned order;   /* a page of an object is 2^order frames; at most a block */
};

/* config may be NULL.  The zone must outlive it.
 * -KL_EINVAL.  -KL_ENOMEM: no metadata.  -KL_ENOSPC: the zone has too many owners. */
int kl_shm_create(struct kl_zone *zone, const struct kl_shm_config *config, struct kl_shm **shm);
/* -KL_EBUSY: there are objects or devices, a migration is about to end, or this is called
 * within a shrinker's callback; as it was. */
int kl_shm_destroy(struct kl_shm *shm);
struct kl_zone *kl_shm_zone(const struct kl_shm *shm);
/* Of its frames: for kl_owner_get_stats, and for a share (klotski/share.h), beyond which what is
 * purgeable goes.  Idle (kl_zone_get_budget) are the purgeable ones.  Don't allocate with it. */
kl_owner_id kl_shm_owner(const struct kl_shm *shm);
size_t kl_shm_page_bytes(const struct kl_shm *shm);

/* ---- Objects ---- */

/* An object of so many bytes, all zero; costs 8 bytes of metadata a page at once, frames
 * when they are touched.  flags: of enum kl_alloc_flags, KL_NOWAIT and below, for all frames
 * that it will get: for who touches it with locks held that shrinkers or owners take.
 * -KL_EINVAL: flags.  -KL_ERANGE: more than 2^32 - 2 pages.  -KL_ENOMEM.
 * -KL_ENOSPC: there are 2^24 - 1. */
int kl_shm_object_create(struct kl_shm *shm, uint64_t bytes, unsigned flags, kl_shm_id *object);

/* No new users from now on; with the last one the object goes, perhaps now.
 * Never waits.  -KL_ESTALE: destroyed before. */
int kl_shm_object_destroy(struct kl_shm *shm, kl_shm_id object);

/* A user's reference; he puts it once.  Neither waits.
 * get: -KL_ESTALE: destroyed.  -KL_ENOSPC: it has 65535.
 * put: -KL_EINVAL: nobody has one. */
int kl_shm_get(struct kl_shm *shm, kl_shm_id object);
int kl_shm_put(struct kl_shm *shm, kl_shm_id object);

/* What is cut off is gone; what is added is zero.
 * -KL_EBUSY: pinned, active, purgeable or away; or somebody copies to or from what is to
 * go, or moves the last page, for long.  -KL_ENOMEM: no metadata.  -KL_ERANGE.  The size is as
 * it was then, but what was to be cut off may be zero after that one of -KL_EBUSY. */
int kl_shm_resize(struct kl_shm *shm, kl_shm_id object, uint64_t bytes);

/* Copies.  A write gets the frames that are missing; a read doesn't: what was never
 * written is zero.  The caller's buffer is touched with no lock held, but the page at
 * hand does not move meanwhile: a buffer that may fault for long is in a migration's way.
 * -KL_ESTALE.  -KL_ERANGE: beyond the end; nothing copied.  -KL_ENOTSUP: the zone has no
 * addresses.  -KL_ENODATA: the contents were dropped (see below).  -KL_ENOMEM: a write's part
 * may be done.  -KL_EBUSY: a page is being changed, for longer than 2 s.
 * -KL_EIO: away, and the place doesn't answer. */
int kl_shm_read(struct kl_shm *shm, kl_shm_id object, uint64_t offset, void *to, size_t n);
int kl_shm_write(struct kl_shm *shm, kl_shm_id object, uint64_t offset, const void *from, size_t n);

/* ---- Pins and the scatter list ---- */

/* A run of frames that follow one another. */
struct kl_shm_run {
    kl_pfn first;
    uint32_t frames;
};

/* Pins the whole object, in frames that leave the blocks which are meant to be emptied
 * (kl_pin_settle, as far as there is room); missing ones are made first.  why: as in
 * struct kl_pin_config, whose object is the id.  A pin is a user.
 * -KL_EBUSY: it is being moved, or can't leave an area, for longer than 200 ms; purgeable,
 * away, or being resized.
 * -KL_ENODATA.  -KL_ENOMEM.  -KL_ESTALE.  -KL_ENOSPC: too many pins.
 * -KL_EINVAL: it has no bytes; no reason. */
int kl_shm_pin(struct kl_shm *shm, kl_shm_id object, const char *why, kl_pin_id *pin);
/* Never waits.  -KL_ESTALE: not a pin of this object, or ended before. */
int kl_shm_unpin(struct kl_shm *shm, kl_shm_id object, kl_pin_id pin);

/* The frames of an object that is pinned or active, from page `page` on, as runs: at most
 * n of them into `run`.  Returns how many; *next is the page after them.  Never waits.
 * Where they are: kl_frame_addr and kl_frame_offset of a run's first (klotski/zone.h).
 * Of an active one they hold until the driver's prepare is called, and are different
 * after finish.
 * -KL_EBUSY: neither pinned nor active, or it is being moved: a finish follows, which may
 * ask again (within one: that of another batch).  -KL_ERANGE: page.
 * -KL_EINVAL: n is 0.  -KL_ESTALE. */
int kl_shm_sg(struct kl_shm *shm, kl_shm_id object, uint64_t page, struct kl_shm_run *run, size_t n,
              uint64_t *next);

/* ---- Purgeable ---- */

/* on: the contents may be dropped, whenever frames are short (the oldest first) or
 * one of them is in a migration's way; all of them together.  Who reads or writes an
 * object that was dropped gets -KL_ENODATA, until off.
 * off: 0, or -KL_ENODATA: it was dropped; it is usable, and zero, and its generation
 * (kl_shm_object_info) one more.  As the kernel's MADV_FREE, and DRM's madvise.
 * -KL_EBUSY: (on) it is pinned, active, or away; or being changed as a whole; or (off) what
 * is to be dropped is used for long.  -KL_ESTALE. */
int kl_shm_set_purgeable(struct kl_shm *shm, kl_shm_id object, bool on);

/* ---- Devices ---- */

/* An object as a callback is told of it: what the object itself knows. */
struct kl_shm_ref {
    kl_shm_id object;
    void *device; /* kl_shm_device_register's */
    void *data;   /* kl_shm_attach's */
};

/* Nothing of Klotski is held over prepare and finish.  They come in pairs, each once a
 * batch of frames and device, with all of its objects in that batch; pairs of other
 * threads may come in between, of other objects or the same, and before an activate or an
 * attach has returned.  So who works on the device's behalf asks kl_shm_sg under the lock
 * that prepare takes, and does without addresses while that says -KL_EBUSY.  A driver's own locks
 * are to be tried, with a bound: who holds them may be waiting for frames, and so for this
 * migration.  Within a callback: nothing that touches, resizes, pins or moves objects;
 * kl_shm_sg (finish only) and kl_shm_deactivate are fine. */
struct kl_shm_ops {
    size_t size;      /* sizeof(struct kl_shm_ops) */
    const char *name; /* for reports; the first 31 characters are copied */

    /* Frames of these n objects, of one device, are about to move: the device is off them
     * when this returns 0.  mode KL_SYNC: may wait for the device, within a bound of the
     * driver's, 100 ms is plenty.  Else: not.  Active objects come with KL_SYNC only.
     * Negative: not now: these objects' frames stay, with "busy"; no finish. */
    int (*prepare)(const struct kl_shm_ref *objects, size_t n, enum kl_mode mode);

    /* The frames of the batch are where they will be, moved or not. */
    void (*finish)(const struct kl_shm_ref *objects, size_t n);

    /* May be NULL: the library copies.  Moves the contents of one page, number `page` of
     * the object, by the device's own means; both frames are locked.  0, or a negative error
     * (-KL_EAGAIN: again, a few times) with nothing changed.  Not to free or move anything. */
    int (*migrate)(const struct kl_shm_ref *object, uint64_t page, kl_pfn dst, kl_pfn src,
                   enum kl_mode mode);
};

/* -KL_EINVAL: ops.  -KL_ENOSPC: 32 are registered. */
int kl_shm_device_register(struct kl_shm *shm, const struct kl_shm_ops *ops, void *device,
                           kl_shm_device_id *id);
/* After 0 no callback of it runs and none will.  Never waits.
 * -KL_EBUSY: an object is attached to it (even one that is destroyed, and has users or
 * isolated frames left), or a batch under way.  -KL_ENOENT: no such device. */
int kl_shm_device_unregister(struct kl_shm *shm, kl_shm_device_id id);

/* asleep: the device can't be told of anything; its objects do not move, "busy".
 * -KL_EBUSY: (asleep) a batch is between prepare and finish.  Never waits. */
int kl_shm_device_sleep(struct kl_shm *shm, kl_shm_device_id id, bool asleep);

/* From now on the object's frames move with the device's hooks.  An object has one device.
 * That device may keep the addresses of an object that is not active any more, until prepare is
 * called; but who resizes it, makes it purgeable, moves it out or destroys it takes the
 * device off it first: no hook tells of that.
 * -KL_EEXIST: it has one.  -KL_EBUSY: it has been moving for longer than 200 ms.
 * -KL_ENOENT: no such device.  -KL_ESTALE.
 * detach: no callback of the device runs for the object any more and none will; the default
 * serves from now on.  -KL_EBUSY: active, or a batch of it is under way; try again.
 * -KL_ENOENT: it has none.  Never waits.  An object that goes is detached. */
int kl_shm_attach(struct kl_shm *shm, kl_shm_id object, kl_shm_device_id device, void *data);
int kl_shm_detach(struct kl_shm *shm, kl_shm_id object);

/* The device is about to work on the object, and is done.  Counted.  activate makes the
 * frames that are missing; from then on kl_shm_sg tells where they are.  An activity is a
 * user.  The driver's prepare quiets the device and need not deactivate.
 * mode: how long to wait for a batch of it under way: KL_ASYNC not, else 200 ms.
 * activate: -KL_EBUSY: a batch is under way; purgeable, away, being resized, or asleep.
 * -KL_ENOENT: not attached: pin it.  -KL_ENODATA, -KL_ENOMEM, -KL_ESTALE, -KL_ENOSPC.
 * deactivate: never waits.  -KL_EINVAL: it is not active. */
int kl_shm_activate(struct kl_shm *shm, kl_shm_id object, enum kl_mode mode);
int kl_shm_deactivate(struct kl_shm *shm, kl_shm_id object);

/* ---- Elsewhere ---- */

/* Where an object's contents can be instead of in frames of the zone.  For hosts; on
 * Linux it is a file that another process may have: kl_linux_export_create.  Pages are
 * copied whole; nobody calls back. */
struct kl_shm_place {
    size_t size;    /* sizeof(struct kl_shm_place) */
    uint64_t bytes; /* of memory that the place takes, which the zone is charged */
    int (*read)(void *ctx, uint64_t offset, void *to, size_t n);
    int (*write)(void *ctx, uint64_t offset, const void *from, size_t n);
    /* The last call: the contents are back, or nobody wants them. */
    void (*release)(void *ctx);
};

/* The contents go to the place, the frames are freed.  The zone pays for the place: its
 * hard limit counts the bytes, and as many blocks are given back as all places of a
 * kl_shm would fill.  Reads and writes go there.
 * -KL_EBUSY: pinned, active, purgeable, away already, or in use for long; or no blocks can
 * be given back.  -KL_ENOMEM: no room in the rest of the zone, or over the limit.
 * -KL_EIO: what the place said.  -KL_EINVAL, -KL_ESTALE, -KL_ENOTSUP.  The place isn't
 * released then, and the object as it was. */
int kl_shm_move_out(struct kl_shm *shm, kl_shm_id object, const struct kl_shm_place *place,
                    void *ctx);
/* And back; then the place is released.  A page that the place can't read is zero.
 * -KL_ENOENT: it isn't away.  -KL_ENOMEM: no frames; -KL_EBUSY: somebody copies, for
 * long: the object is away still.  -KL_ESTALE. */
int kl_shm_move_in(struct kl_shm *shm, kl_shm_id object);

/* ---- Figures ---- */

struct kl_shm_info {
    size_t size; /* sizeof(struct kl_shm_info), set by the caller */
    uint64_t bytes;
    uint64_t frames;     /* of the zone */
    uint64_t generation; /* goes up when contents that were dropped are acknowledged */
    uint32_t users;      /* references */
    uint32_t pins;
    uint32_t active;
    uint8_t attached, purgeable, purged, away;
};
/* -KL_ESTALE.  Never waits. */
int kl_shm_object_info(struct kl_shm *shm, kl_shm_id object, struct kl_shm_info *info);

struct kl_shm_stats {
    size_t size;      /* sizeof(struct kl_shm_stats), set by the caller */
    uint64_t objects; /* also those that are destroyed and not gone */
    uint64_t frames;
    uint64_t purgeable_frames; /* about */
    uint64_t away_bytes;       /* charged for places */
    uint64_t away_blocks;      /* given back for them */
    uint64_t migrated;         /* pages, ever */
    uint64_t purged;           /* objects whose contents were dropped */
    uint64_t refused;          /* pages, by "busy" */
    uint64_t batches;          /* pairs of prepare and finish */
};
void kl_shm_get_stats(struct kl_shm *shm, struct kl_shm_stats *stats);

/* Recounts everything of a kl_shm that nobody uses just now; changes nothing.
 * 0, or -KL_EIO with the first broken invariant in *what (may be NULL). */
int kl_shm_check(struct kl_shm *shm, const char **what);

#ifdef __cplusplus
}
#endif
#endif
