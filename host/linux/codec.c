// SPDX-License-Identifier: Apache-2.0
/* codec.c - compressors by name. */
#include "internal.h"

#include <string.h>

int kl_linux_codec(const char *name, int level, struct kl_codec *codec)
{
    if (!name || !codec)
        return -KL_EINVAL;
    if (strcmp(name, "lz4") == 0)
        return kli_codec_lz4(level, codec);
    if (strcmp(name, "zstd") == 0)
        return kli_codec_zstd(level, codec);
    return -KL_EINVAL;
}
