// SPDX-License-Identifier: Apache-2.0
/* codec_lz4.c - lz4 blocks without a frame; the level is the acceleration.
 *
 * A context is the compressor's state; decompression needs none.
 */
#include "internal.h"

#include <limits.h>
#include <lz4.h>
#include <stdlib.h>

#define LZ4_ACCEL_MAX 65537 /* the library clamps there */

static void *lz4_context_create(const struct kl_codec *codec)
{
    (void)codec;
    return malloc((size_t)LZ4_sizeofState());
}

static void lz4_context_destroy(const struct kl_codec *codec, void *context)
{
    (void)codec;
    free(context);
}

static size_t lz4_compress(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                           const void *src, size_t src_bytes)
{
    int out;

    if (src_bytes > LZ4_MAX_INPUT_SIZE)
        return 0;
    if (dst_bytes > INT_MAX)
        dst_bytes = INT_MAX;
    out =
        LZ4_compress_fast_extState(context, src, dst, (int)src_bytes, (int)dst_bytes, codec->level);
    return out > 0 ? (size_t)out : 0;
}

static bool lz4_decompress(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                           const void *src, size_t src_bytes)
{
    int out;

    (void)codec;
    (void)context;
    if (src_bytes > INT_MAX || dst_bytes > INT_MAX)
        return false;
    out = LZ4_decompress_safe(src, dst, (int)src_bytes, (int)dst_bytes);
    return out >= 0 && (size_t)out == dst_bytes;
}

int kli_codec_lz4(int level, struct kl_codec *codec)
{
    if (level < 0 || level > LZ4_ACCEL_MAX)
        return -KL_EINVAL;
    *codec = (struct kl_codec){
        .size = sizeof(*codec),
        .name = "lz4",
        .level = level ? level : 1,
        .context_create = lz4_context_create,
        .context_destroy = lz4_context_destroy,
        .compress = lz4_compress,
        .decompress = lz4_decompress,
    };
    return 0;
}
