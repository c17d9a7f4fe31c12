// SPDX-License-Identifier: Apache-2.0
/* Compressors that count their calls, fail when they are told to, and call back in the
 * middle. */
#ifndef TESTS_CODECS_H
#define TESTS_CODECS_H

#include "support/fixture.h"

struct codec_watch {
    struct kl_codec inner;
    atomic_uint contexts; /* made */
    atomic_uint packs;
    atomic_uint unpacks;
    atomic_bool no_context;           /* none is made */
    void (*while_packing)(void *arg); /* once, before the next compression */
    void (*while_unpacking)(void *arg);
    void *arg;
};

enum { CODEC_WATCHES = 2 };
extern struct codec_watch codec_watch[CODEC_WATCHES];

/* The compressor of this name, watched by codec_watch[which], which begins at zero. */
struct kl_codec codec_watched(unsigned which, const char *name, int level);

#endif
