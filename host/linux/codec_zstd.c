// SPDX-License-Identifier: Apache-2.0
/* codec_zstd.c - zstd frames without their first six bytes.
 *
 * A frame of ours always begins alike (RFC 8878): four bytes of magic, a
 * descriptor of zero (no checksum, no content size, no dictionary), a byte for
 * the window.  A block of 4 KiB compresses to a good kilobyte, so six bytes are
 * half a per cent.  They are left out and put in front again to decompress; the
 * window is then that of the largest block, which only bounds distances.
 *
 * A context is a compressor, a decompressor and a buffer for a whole frame, all
 * used again and again.  The buffer also lets a frame just as large as its
 * destination be kept: the library by itself wants some bytes to spare.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define SRC_MAX   65536u /* the largest block of a store */
#define FRAME_MAX ZSTD_COMPRESSBOUND(SRC_MAX)
#define HEAD      6u

/* Magic, descriptor, window of 2^(10 + 6) bytes. */
static const unsigned char frame_head[HEAD] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 6u << 3};

struct zstd_context {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    unsigned char frame[FRAME_MAX];
};

static bool zstd_set(ZSTD_CCtx *compressor, int level)
{
    static const ZSTD_cParameter off[] = {ZSTD_c_contentSizeFlag, ZSTD_c_checksumFlag,
                                          ZSTD_c_dictIDFlag};

    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(compressor, off[i], 0)))
            return false;
    }
    return !ZSTD_isError(ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, level));
}

static void zstd_context_destroy(const struct kl_codec *codec, void *mem)
{
    struct zstd_context *context = mem;

    (void)codec;
    if (!context)
        return;
    ZSTD_freeCCtx(context->compressor);
    ZSTD_freeDCtx(context->decompressor);
    free(context);
}

static void *zstd_context_create(const struct kl_codec *codec)
{
    struct zstd_context *context = malloc(sizeof(*context));

    if (!context)
        return NULL;
    context->compressor = ZSTD_createCCtx();
    context->decompressor = ZSTD_createDCtx();
    if (!context->compressor || !context->decompressor ||
        !zstd_set(context->compressor, codec->level)) {
        zstd_context_destroy(codec, context);
        return NULL;
    }
    return context;
}

static size_t zstd_compress(const struct kl_codec *codec, void *mem, void *dst, size_t dst_bytes,
                            const void *src, size_t src_bytes)
{
    struct zstd_context *context = mem;
    unsigned char *frame = context->frame;
    size_t size;

    (void)codec;
    if (src_bytes > SRC_MAX)
        return 0;
    size = ZSTD_compress2(context->compressor, frame, FRAME_MAX, src, src_bytes);
    if (ZSTD_isError(size) || size <= HEAD || memcmp(frame, frame_head, HEAD - 1) != 0)
        return 0;
    if (size - HEAD > dst_bytes)
        return 0;
    memcpy(dst, frame + HEAD, size - HEAD);
    return size - HEAD;
}

static bool zstd_decompress(const struct kl_codec *codec, void *mem, void *dst, size_t dst_bytes,
                            const void *src, size_t src_bytes)
{
    struct zstd_context *context = mem;
    unsigned char *frame = context->frame;
    size_t size;

    (void)codec;
    if (src_bytes > FRAME_MAX - HEAD)
        return false;
    memcpy(frame, frame_head, HEAD);
    memcpy(frame + HEAD, src, src_bytes);
    size = ZSTD_decompressDCtx(context->decompressor, dst, dst_bytes, frame, src_bytes + HEAD);
    return !ZSTD_isError(size) && size == dst_bytes;
}

int kli_codec_zstd(int level, struct kl_codec *codec)
{
    if (level < ZSTD_minCLevel() || level > ZSTD_maxCLevel())
        return -KL_EINVAL;
    *codec = (struct kl_codec){
        .size = sizeof(*codec),
        .name = "zstd",
        .level = level ? level : ZSTD_CLEVEL_DEFAULT,
        .context_create = zstd_context_create,
        .context_destroy = zstd_context_destroy,
        .compress = zstd_compress,
        .decompress = zstd_decompress,
    };
    return 0;
}
