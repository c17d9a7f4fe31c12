// SPDX-License-Identifier: Apache-2.0
/* Bytes of objects.  The caller keeps the chain fixed (users or WRITER). */
#include "zs/zs.h"

/* The run of a zspage that begins `at` bytes into its chain. */
void *zs_object_run(const struct kl_zs *pool, struct zspage *page, size_t at, size_t *len)
{
    size_t frame_bytes = (size_t)1 << pool->frame_shift, within = at & (frame_bytes - 1);
    uint32_t nr = atomic_load_explicit(&page->frame[at >> pool->frame_shift], memory_order_relaxed);
    char *base = kl_frame_addr(pool->zone, kl_zone_pfn(pool->zone, nr));

    *len = frame_bytes - within;
    return base + within;
}

/* Copies object `from` of src to `to` of dst, both of one class. */
void zs_object_copy(struct kl_zs *pool, struct zspage *dst, uint32_t to, struct zspage *src,
                    uint32_t from)
{
    size_t size = zs_class_of(pool, dst)->size, a = size * to, b = size * from;

    while (size > 0) {
        size_t out, in, n;
        void *d = zs_object_run(pool, dst, a, &out);
        const void *s = zs_object_run(pool, src, b, &in);

        n = kli_min(size, kli_min(in, out));
        memcpy(d, s, n);
        a += n;
        b += n;
        size -= n;
    }
}

/* Writes at `at` bytes into the chain. */
void zs_object_fill(struct kl_zs *pool, struct zspage *page, size_t at, const void *bytes,
                    size_t len)
{
    for (size_t done = 0, n; done < len; done += n) {
        char *run = zs_object_run(pool, page, at + done, &n);

        n = kli_min(n, len - done);
        memcpy(run, (const char *)bytes + done, n);
    }
}
