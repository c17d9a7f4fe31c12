// SPDX-License-Identifier: Apache-2.0
/* klotski/store.h - numbered blocks, compressed (what zram is in the kernel).
 *
 * A store has blocks 0 to n-1 of one size, which read as zeroes until written.
 * A block that is one 4-byte pattern repeated costs no memory; one that does not
 * compress is kept raw.
 *
 * Thread safety: everything may run together, except create and destroy.  There
 * are no locks: a write makes a new object and swaps it in; a reader that meets
 * the swap reads again.  Two writers of one block end with one of the two, whole;
 * a partial write is applied to the block as it is at one moment.
 */
#ifndef KLOTSKI_STORE_H
#define KLOTSKI_STORE_H

#include "zone.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kl_store;
struct kl_zs;

/* A compressor.  All four functions are required.  Contexts are created when they
 * are first needed, two a CPU at most, and used by one thread at a time; those that nobody
 * used for half a second go with the zone's next step (klotski/step.h).  While there
 * is no memory for one (context_create returns NULL) reads and writes that need it
 * end with -KL_ENOMEM.
 * kl_linux_codec() (klotski/linux.h) has lz4 and zstd. */
struct kl_codec {
    size_t size; /* sizeof(struct kl_codec) */
    const char *name;
    int level;
    void *(*context_create)(const struct kl_codec *codec); /* NULL: no memory */
    void (*context_destroy)(const struct kl_codec *codec, void *context);
    /* Bytes written to dst, or 0 when they are more than dst_bytes. */
    size_t (*compress)(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                       const void *src, size_t src_bytes);
    /* true: exactly dst_bytes came out. */
    bool (*decompress)(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                       const void *src, size_t src_bytes);
};

enum kl_store_flags {
    KL_STORE_DEDUP = 1u << 0, /* equal blocks share one object */
    /* Size classes stay as they were planned for block_bytes; else they are learned, once,
     * from what the blocks compress to (KL_ZS_FIXED_CLASSES, klotski/zsmalloc.h). */
    KL_STORE_FIXED_CLASSES = 1u << 1,
};

struct kl_store_config {
    size_t size;                  /* sizeof(struct kl_store_config) */
    uint64_t blocks;              /* 1 to 2^28 */
    uint32_t block_bytes;         /* power of two, 4 KiB to 64 KiB */
    const struct kl_codec *codec; /* copied */
    uint64_t limit_bytes;         /* of frames; 0: the zone's size is the limit */

    /* A second compressor, for blocks that were not read or written for that many ticks
     * (1 to 3; 0: 2), see kl_store_age; copied.  NULL: none. */
    const struct kl_codec *recompress;
    unsigned recompress_age;

    /* How long a tick of idle tracking is; 0: ticks come by kl_store_age alone.  Ticks, and
     * recompression after each, are done by the zone's steps then (klotski/step.h). */
    uint64_t idle_ns;

    unsigned flags; /* enum kl_store_flags */

    /* KL_STORE_DEDUP: a hash of a block, of 64 bits that are all as good; it may be called
     * by many threads at once.  kl_linux_hash() is one.  A bad one finds less, and that
     * is all: whatever it says, every byte is compared.
     * About 18 bytes a block are for finding and sharing (in metadata_bytes).  Some
     * duplicates are missed: of blocks that are being written or moved just then, and when
     * many blocks have hashes of the same 8. */
    uint64_t (*hash)(const void *bytes, size_t n);

    /* When the pool behind the store is compacted by itself, as in struct kl_zs_config:
     * both 0: from 5 % to 2 %; a start of 100: never. */
    uint32_t auto_start_percent;
    uint32_t auto_stop_percent;
};

/* -KL_EINVAL: a figure is out of range.  -KL_ENOMEM: no metadata.
 * -KL_ENOSPC: too many owners, or idle_ns and no place for a shrinker.
 * -KL_ENOTSUP: the zone has offsets only. */
int kl_store_create(struct kl_zone *zone, const struct kl_store_config *config,
                    struct kl_store **store);

/* Discards everything; NULL is none.  Waits for background work under way.  -KL_EBUSY as
 * kl_zs_destroy, and from the store's own background work. */
int kl_store_destroy(struct kl_store *store);

/* Reads or writes len bytes at offset of one block (offset + len <= block_bytes).
 * -KL_ERANGE: outside.  -KL_ENOSPC: a write beyond the limit, or the zone is
 * full: the block still has what it had.  -KL_EILSEQ: does not decompress.
 * -KL_ENOMEM: no memory for a compressor's context; nothing has changed.
 * -KL_EINVAL: nothing to write from.  Zeroes are best written by a discard.
 * With write-back (klotski/writeback.h) -KL_EIO: the target that has the block has lost
 * it, or can't read it; -KL_ETIMEDOUT: it does not answer.  A write of a whole block asks
 * no target, but for room. */
int kl_store_read(struct kl_store *store, uint64_t block, uint32_t offset, void *buf, uint32_t len);
int kl_store_write(struct kl_store *store, uint64_t block, uint32_t offset, const void *buf,
                   uint32_t len);

/* The block, or the part of it, reads as zeroes afterwards; a whole block costs
 * nothing then.  Discarding a whole block cannot fail for lack of memory; a part is
 * written, and may fail as a write does.  -KL_ERANGE: outside. */
int kl_store_discard(struct kl_store *store, uint64_t block, uint32_t offset, uint32_t len);

enum kl_store_kind {
    KL_STORE_HOLE = 0,       /* zeroes: costs nothing */
    KL_STORE_SAME = 1,       /* four bytes, repeated: costs nothing */
    KL_STORE_COMPRESSED = 2, /* in memory */
    KL_STORE_RAW = 3,        /* in memory, and did not compress */
    KL_STORE_SHARED = 4,     /* equals other blocks: one object in memory is for all of them */
    KL_STORE_WRITTEN = 5,    /* on the write-back target, not in memory */
};
/* What a block is now.  -KL_ERANGE: outside. */
int kl_store_kind(struct kl_store *store, uint64_t block);

/* Idle tracking.  A block in memory has an age: the ticks since it was last read or
 * written, 3 at most.  A block written just now has age 0; so has each without an object.
 *
 * A tick makes every block older by one.  kl_store_age does a piece of it: it goes on
 * where the last call of any thread ended, looks at up to `blocks` blocks (0: all that
 * are left), and returns how many are left of this tick; 0: it is over, and the next call
 * begins another. */
uint64_t kl_store_age(struct kl_store *store, uint64_t blocks);
/* -KL_ERANGE: outside. */
int kl_store_block_age(struct kl_store *store, uint64_t block);

/* Recompression: blocks, shared ones too, that are old enough are packed by the second compressor,
 * where that saves at least 64 bytes; those that it can't do better on are left alone until they
 * are written.  It goes on where the last call of any thread ended, looks at up to
 * `blocks` blocks (0: all that are left), and returns the bytes that it saved.
 * Reads and writes of the same blocks go on meanwhile; a write of a part of a block waits
 * for it.  -KL_ENOTSUP: there is no second compressor.  -KL_ENOSPC, -KL_ENOMEM: the
 * new object comes before the old one goes, and there is no room for it; what was
 * recompressed before stays so. */
int64_t kl_store_recompress(struct kl_store *store, uint64_t blocks);

/* Discards every block, in pieces: it goes on where the last call of any thread ended,
 * looks at up to `blocks` blocks (0: all that are left), and returns how many are left;
 * 0: all have been discarded once.  As discards of whole blocks otherwise. */
uint64_t kl_store_reset(struct kl_store *store, uint64_t blocks);

/* The high-water mark of frame_bytes begins again with what there is now. */
void kl_store_reset_peak(struct kl_store *store);

/* Object compaction, as kl_zs_compact. */
int64_t kl_store_compact(struct kl_store *store, uint32_t budget);

/* The pool behind it, for its statistics and kl_zs_check.  Its objects are the store's alone. */
struct kl_zs *kl_store_zs(struct kl_store *store);

struct kl_store_stats {
    size_t size; /* sizeof(struct kl_store_stats), set by the caller */
    uint64_t blocks;
    uint32_t block_bytes;
    uint64_t limit_bytes;
    uint64_t compressed; /* blocks of each kind now */
    uint64_t raw;
    uint64_t same;
    uint64_t payload_bytes;  /* sum of the compressed and raw sizes */
    uint64_t frame_bytes;    /* frames that hold them */
    uint64_t metadata_bytes; /* table, handles, descriptors, contexts */
    uint64_t reads;
    uint64_t writes;
    uint64_t discards;
    uint64_t refused; /* writes that ended with -KL_ENOSPC */
    uint64_t shared;  /* blocks of these kinds now */
    uint64_t written;
    uint64_t ticks;               /* of idle tracking that are over */
    uint64_t peak_frame_bytes;    /* the most that frame_bytes was after a write */
    uint64_t partial_writes;      /* that had to read the block first; discards, too */
    uint64_t recompressed_blocks; /* kept by the second compressor now */
    uint64_t shared_objects;      /* that the shared blocks have; payload_bytes has each once */
    uint64_t duplicates;          /* writes that found an equal block */
    uint64_t recompressions;
    uint64_t recompressions_in_vain; /* that saved nothing */
    uint64_t recompression_saved_bytes;
};
void kl_store_get_stats(struct kl_store *store, struct kl_store_stats *stats);

/* As kl_zs_check, for the store and the pool behind it. */
int kl_store_check(struct kl_store *store, const char **what);

#ifdef __cplusplus
}
#endif
#endif
