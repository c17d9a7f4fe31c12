// SPDX-License-Identifier: Apache-2.0
/* klotski/zsmalloc.h - objects of any size, packed densely, that can move.
 *
 * After the kernel's zsmalloc with page migration (2016 and after).  Objects of
 * one size class lie packed in a zspage, a chain of single frames; an object may
 * cross frames.  A handle names an object wherever it is: both objects (by
 * kl_zs_compact) and frames (by migration) move under it.
 *
 * Handles carry a generation and the pool's tag in every build: a stale handle,
 * a double free, a handle of another pool are -KL_ESTALE, and nothing is touched.
 *
 * A library built with -Dhardened=true has 8 bytes more behind each object, which say
 * whether anybody wrote there, and wipes what is freed, or moved away.  What it finds
 * broken ends the process (kl_host.fatal), with a text that names the object: the number
 * in it is the handle's upper 32 bits, or a store's block.
 *
 * Thread safety: everything may run together with everything, migration and
 * compaction included, except create and destroy.  Two callers that write, or
 * read and write, *one* object must order themselves; else its contents are a
 * mixture, and nothing else is touched.  A free that meets a reader of the same
 * object is completed by that reader.
 *
 *                 malloc  free  read  write  begin..end  compact  migration
 *   same object     -      1     2      3        2          4         4
 *   other object   yes    yes   yes    yes      yes        yes       yes
 *     1 one of the two gets -KL_ESTALE
 *     2 the reader sees the object whole, or gets -KL_ESTALE
 *     3 the callers' business, as said
 *     4 never moves what is being read or written; retries elsewhere or later
 */
#ifndef KLOTSKI_ZSMALLOC_H
#define KLOTSKI_ZSMALLOC_H

#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_zs;

/* An object.  All zero names none.  Bits: 28 index, 16 generation, 16 tag. */
typedef struct kl_handle {
    uint64_t v;
} kl_handle;

#define KL_ZS_MAX_SIZE 65536u /* the largest object, in bytes */

enum kl_zs_flags {
    /* The table of classes stays as it was planned at creation.  Else a pool that may
     * have 8 MiB or more looks once at the sizes that came (of typical_bytes and less, if
     * that is given), when it has 1/32 of the frames that it may have: a malloc that finds
     * no free slot then plans anew, in less than a millisecond (not with KL_NOWAIT).  If
     * that saves 0.5 % of its bytes or more, there are some more classes for the sizes that
     * are common, and those that they replace retire: they get no new objects, and are
     * packed by object compaction as their objects are freed.  Nothing moves for that at
     * once, and a pool that can't have the memory for it stays as it is. */
    KL_ZS_FIXED_CLASSES = 1u << 0,
};

struct kl_zs_config {
    size_t size;           /* sizeof(struct kl_zs_config) */
    const char *name;      /* of the owner in statistics; must outlive the pool */
    uint64_t limit_frames; /* the pool never has more frames; 0: no limit */
    /* Objects are mostly of this size or less, as the blocks of a store; 0: nobody
     * knows.  Size classes are planned for that, for the limit, or else the zone's
     * size: a pool that is small has fewer classes. */
    uint32_t typical_bytes;
    /* Automatic compaction, by the zone's steps (klotski/step.h): from the time that object
     * compaction could free more than start per cent of the pool's frames, and more than 32,
     * until that is stop per cent.  Both 0: 5 and 2.  A start of 100 or more: never. */
    uint32_t auto_start_percent;
    uint32_t auto_stop_percent;
    unsigned flags; /* enum kl_zs_flags */
};

/* The pool is an owner in the zone, and a shrinker (klotski/shrinker.h) as long as
 * the zone has a place for one: it counts the freeable frames, and compacts when it is
 * asked; and by itself, as said above, when somebody does the zone's steps.  config may
 * be NULL.
 * -KL_ENOMEM: no metadata.  -KL_ENOSPC: too many owners.
 * -KL_EINVAL: frames larger than 64 KiB, typical_bytes over KL_ZS_MAX_SIZE, a stop over
 * its start or over 100, or a flag that there is not.
 * -KL_ENOTSUP: the zone has offsets only. */
int kl_zs_create(struct kl_zone *zone, const struct kl_zs_config *config, struct kl_zs **pool);

/* Frees the pool with all its objects; NULL is none.  Waits for migrations under way.
 * -KL_EBUSY: an object is between begin and end, or this is called from a shrinker's
 * callback while the pool is being shrunk; the pool is as it was. */
int kl_zs_destroy(struct kl_zs *pool);

/* A new object of `size` bytes or a little more; the caller remembers how many, and the
 * handle.  flags: 0, which may wait and may call shrinkers and owners when frames are
 * short, or KL_NOWAIT, which does neither.  Contents undefined.
 * -KL_EINVAL: size is 0 or over KL_ZS_MAX_SIZE, or other flags.  -KL_ENOMEM: no frames,
 * or no metadata.  -KL_ENOSPC: the limit.
 * -KL_ENOTSUP: the pool is a store's.  *handle is not touched then. */
int kl_zs_malloc(struct kl_zs *pool, size_t size, unsigned flags, kl_handle *handle);

/* The end of an object; its handle names nothing from now on.  Never waits for readers.
 * -KL_ESTALE: no object of this pool, or not any more. */
int kl_zs_free(struct kl_zs *pool, kl_handle handle);

/* Copies len bytes at offset out of or into the object; never touches buf with a lock held.
 * -KL_ESTALE: no such object.  -KL_ERANGE: beyond what it can hold (kl_zs_object_size).
 * -KL_EAGAIN, of a write: no more pins of it are to be had; of a read only if it is being moved
 * again and again, too. */
int kl_zs_read(struct kl_zs *pool, kl_handle handle, size_t offset, void *buf, size_t len);
int kl_zs_write(struct kl_zs *pool, kl_handle handle, size_t offset, const void *buf, size_t len);

/* What the object can hold, its size rounded up to its class; 0 when stale. */
size_t kl_zs_object_size(struct kl_zs *pool, kl_handle handle);

/* Who works in place.  begin pins the object and its zspage (neither moves until end), and
 * kl_zs_run says where its bytes are: within one frame they are contiguous, so an object
 * of several frames has several runs.  They may be written, too.  A pin is the caller's;
 * end ends it, once, in any thread.  Pins nest, 61 an object at most,
 * and 4095 for the objects of one zspage together (then -KL_EAGAIN).
 * Hold them briefly: a pin is in the way of giving memory back.
 * begin: -KL_ESTALE: no such object.  May wait, for moments, while the object is moved. */
struct kl_zs_pin {
    struct kl_zs *pool;
    kl_handle handle;
    uint64_t priv[2];
    size_t bytes; /* what the object can hold, as kl_zs_object_size */
};
int kl_zs_begin(struct kl_zs *pool, kl_handle handle, struct kl_zs_pin *pin);
/* The run at offset: its address, and in *len how many bytes follow there.
 * NULL at or beyond the end. */
void *kl_zs_run(const struct kl_zs_pin *pin, size_t offset, size_t *len);
void kl_zs_end(struct kl_zs_pin *pin);

/* Object compaction: moves objects from sparse to dense zspages and frees those
 * that become empty.  About budget objects are moved (0: no bound).  Returns the
 * frames freed, or -KL_EAGAIN when another thread compacts this pool.  Also
 * frees what had to be deferred. */
int64_t kl_zs_compact(struct kl_zs *pool, uint32_t budget);

struct kl_zs_stats {
    size_t size;           /* sizeof(struct kl_zs_stats), set by the caller */
    uint64_t objects;      /* live */
    uint64_t object_bytes; /* live, in sizes of their classes */
    uint64_t frames;       /* the pool's ("total pages") */
    uint64_t zspages;
    uint64_t freeable_frames; /* what object compaction could free */
    uint64_t metadata_bytes;  /* taken from the host */
    uint64_t objects_moved;
    uint64_t frames_freed_by_compaction;
    uint64_t frames_migrated;
    uint64_t deferred; /* empty zspages waiting to be freed */
    uint32_t classes;
    uint32_t huge_class_size;      /* objects above have a zspage of their own */
    uint64_t automatic_runs;       /* of compaction that began by itself */
    uint64_t learned;              /* 1: the table of classes is a learned one */
    uint64_t learned_saving_bytes; /* what that was expected to save in a half-full pool */
    uint64_t learned_moved_bytes;  /* of objects compacted in classes that retired */
};
void kl_zs_get_stats(struct kl_zs *pool, struct kl_zs_stats *stats);

/* One row of the table of classes: in ascending sizes, and then those that were learned. */
struct kl_zs_class_stats {
    size_t size;                /* sizeof(struct kl_zs_class_stats), set by the caller */
    uint32_t object_size;       /* what an object of it can hold, bytes */
    uint32_t frames_per_zspage; /* of a whole one; the last ones have fewer */
    uint32_t objects_per_zspage;
    uint32_t zspages;
    uint64_t objects;
    uint64_t freeable_frames; /* what object compaction could free of them */
    uint32_t fullness[12];    /* zspages by how much is in use: [0] nothing, [1] to [10] deciles
                               * up to 99 %, [11] all */
    uint64_t frames;          /* of its zspages */
    uint32_t retired;         /* 1: it gets no new objects */
};
/* -KL_ERANGE: index >= classes. */
int kl_zs_get_class_stats(struct kl_zs *pool, uint32_t index, struct kl_zs_class_stats *stats);

/* Recounts everything and changes nothing; 0, or -KL_EIO with the first broken
 * invariant in *what (may be NULL).  Only while nothing else runs. */
int kl_zs_check(struct kl_zs *pool, const char **what);

#ifdef __cplusplus
}
#endif
#endif
