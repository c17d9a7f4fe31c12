// SPDX-License-Identifier: Apache-2.0
/* Watched compressors: the level says which watch it is. */
#include "support/codecs.h"

#include <string.h>

struct codec_watch codec_watch[CODEC_WATCHES];

static struct codec_watch *watch_of(const struct kl_codec *codec)
{
    return &codec_watch[codec->level];
}

static void *create(const struct kl_codec *codec)
{
    struct codec_watch *w = watch_of(codec);

    if (atomic_load(&w->no_context))
        return NULL;
    atomic_fetch_add(&w->contexts, 1);
    return w->inner.context_create(&w->inner);
}

static void destroy(const struct kl_codec *codec, void *context)
{
    struct codec_watch *w = watch_of(codec);

    w->inner.context_destroy(&w->inner, context);
}

static size_t compress(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                       const void *src, size_t src_bytes)
{
    struct codec_watch *w = watch_of(codec);
    void (*call)(void *arg) = w->while_packing;

    if (call) {
        w->while_packing = NULL;
        call(w->arg);
    }
    atomic_fetch_add(&w->packs, 1);
    return w->inner.compress(&w->inner, context, dst, dst_bytes, src, src_bytes);
}

static bool decompress(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                       const void *src, size_t src_bytes)
{
    struct codec_watch *w = watch_of(codec);

    void (*call)(void *arg) = w->while_unpacking;

    if (call) {
        w->while_unpacking = NULL;
        call(w->arg);
    }
    atomic_fetch_add(&w->unpacks, 1);
    return w->inner.decompress(&w->inner, context, dst, dst_bytes, src, src_bytes);
}

struct kl_codec codec_watched(unsigned which, const char *name, int level)
{
    struct codec_watch *w = &codec_watch[which];

    memset(w, 0, sizeof(*w));
    assert_int_equal(kl_linux_codec(name, level, &w->inner), 0);
    return (struct kl_codec){.size = sizeof(struct kl_codec),
                             .name = name,
                             .level = (int)which,
                             .context_create = create,
                             .context_destroy = destroy,
                             .compress = compress,
                             .decompress = decompress};
}
