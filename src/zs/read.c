// SPDX-License-Identifier: Apache-2.0
/* Reading without a lock.
 *
 * Look at the sequences of the zspage, then at the entry; copy; look at all three again.
 * The entry named the object at the second of these moments, and since the first
 * one no frame of the chain was replaced (users), and nothing was put into a slot
 * (puts): so the copy is of that object, as it was then.  (An object that is freed and
 * kept at hand changes hands without that, but with its entry's generation.)  Nothing is written
 * but a count of this CPU's, which keeps the memory there (frame/look.h).
 */
#include "frame/look.h"
#include "zs/guard.h"
#include "zs/zs.h"

/* What is copied may change meanwhile, and is then of no use.  ThreadSanitizer is not to
 * see it: it would take the copy for a race, which it is, and for a fault, which it is
 * not. */
#ifdef KLI_TSAN
__attribute__((no_sanitize("thread"))) static void copy(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((volatile char *)to)[i] = ((const volatile char *)from)[i];
}
#else
static void copy(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
}
#endif

static void copy_runs(const struct kl_zs *pool, struct zspage *page, size_t at, char *buf,
                      size_t len)
{
    size_t n;

    for (; len > 0; len -= n, buf += n, at += n) {
        const void *run = zs_object_run(pool, page, at, &n);

        n = kli_min(n, len);
        KLI_TRACE_STEP(zs_look_found, pool->tag, page->id, at);
        copy(buf, run, n);
    }
}

bool zs_copy_out(struct kl_zs *pool, const kli_word *entry, uint32_t index, uint64_t word,
                 uint64_t but_for, size_t offset, void *buf, size_t len)
{
    struct zspage *page = zs_page(pool, zs_place_page(word));
    const struct zs_class *class = zs_class_of(pool, page);
    size_t at = (size_t) class->size * zs_place_slot(word);
    uint64_t guard = 0;
    kli_look *look = kli_look_begin(pool->zone);
    uint32_t users = atomic_load_explicit(&page->users, memory_order_acquire);
    uint32_t puts = atomic_load_explicit(&page->puts, memory_order_acquire);
    bool same = false;

    if (!(users & ZS_WRITER) &&
        !((atomic_load_explicit(entry, memory_order_acquire) ^ word) & ~but_for)) {
        KLI_TRACE_STEP(zs_look_begun, pool->tag, page->id, puts);
        copy_runs(pool, page, at + offset, buf, len);
        if (KL_HARDENED)
            copy_runs(pool, page, at + zs_holds(class), (char *)&guard, sizeof(guard));
        KLI_TRACE_STEP(zs_look_copied, pool->tag, page->id, puts);
        kli_read_fence();
        same = !((atomic_load_explicit(&page->users, memory_order_relaxed) ^ users) & ~ZS_USERS) &&
               atomic_load_explicit(&page->puts, memory_order_relaxed) == puts &&
               !((atomic_load_explicit(entry, memory_order_relaxed) ^ word) & ~but_for);
    }
    kli_look_end(look);
    if (same)
        zs_guard_seen(pool, page, zs_place_slot(word), index, guard);
    return same;
}
