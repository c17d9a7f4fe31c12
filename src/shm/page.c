// SPDX-License-Identifier: Apache-2.0
/* Pages of an object: their words, frames that come and go. (page.h, E1-E3) */
#include "shm/shm.h"

/* ---- tables ---- */

/* page: below the capacity. */
kli_word *kli_shm_page(const struct kli_shm_object *object, uint32_t page)
{
    uint32_t tables = atomic_load_explicit(&object->tables, memory_order_acquire);

    for (uint32_t i = 0; i < tables; i++) {
        const struct kli_shm_pages *t = &object->table[i];

        if (page - t->first < t->n)
            return &t->word[page - t->first];
    }
    return NULL;
}

uint32_t kli_shm_capacity(const struct kli_shm_object *object)
{
    uint32_t tables = atomic_load_explicit(&object->tables, memory_order_acquire);

    return tables > 0 ? object->table[tables - 1].first + object->table[tables - 1].n : 0;
}

/* Words for so many pages. */
int kli_shm_grow(struct kl_shm *shm, struct kli_shm_object *object, uint32_t pages)
{
    uint32_t tables = atomic_load(&object->tables), have = kli_shm_capacity(object);
    struct kli_shm_pages *t = &object->table[tables];
    uint64_t n;

    if (pages <= have)
        return 0;
    n = tables > 0 ? kli_max(pages - have, have) : kli_max(pages, SHM_TABLE_LEAST);
    n = kli_min(n, UINT32_MAX - have);
    if (tables == SHM_TABLES || n > SIZE_MAX / sizeof(kli_word))
        return -KL_ENOMEM;
    t->word = kl_zone_meta_alloc(shm->zone, (size_t)n * sizeof(kli_word));
    if (!t->word)
        return -KL_ENOMEM;
    t->first = have;
    t->n = (uint32_t)n;
    atomic_store_explicit(&object->tables, tables + 1, memory_order_release);
    return 0;
}

void kli_shm_free_tables(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t tables = atomic_load(&object->tables);

    atomic_store(&object->tables, 0);
    for (uint32_t i = 0; i < tables; i++)
        kl_zone_meta_free(shm->zone, object->table[i].word, object->table[i].n * sizeof(kli_word));
    atomic_store(&object->bytes, 0);
    atomic_store(&object->pages, 0);
}

/* ---- waiting ---- */

bool kli_shm_wait(const struct kl_shm *shm, uint64_t *since, unsigned round, uint64_t ns)
{
    uint64_t now = shm->host.now_ns(shm->host.ctx);

    if (*since == 0)
        *since = now;
    if (now - *since >= ns)
        return false;
    shm->host.relax(shm->host.ctx, round);
    return true;
}

/* ---- frames ---- */

/* The private word says which page it is, from before the page says so. */
bool kli_shm_new_frame(struct kl_shm *shm, const struct kli_shm_object *object, uint32_t page,
                       kl_pfn *pfn)
{
    unsigned flags = KL_MOVABLE | object->flags | (shm->zone->backing.base ? KL_ZERO : 0);

    if (kl_frame_alloc(shm->zone, shm->order, shm->owner, flags, pfn) != 0)
        return false;
    kl_frame_set_private(shm->zone, *pfn, (uint64_t)(object->index + UINT64_C(1)) << 32 | page);
    return true;
}

/* With its lock, so that no callback is on its way. (E2) */
bool kli_shm_free_frame(struct kl_shm *shm, uint32_t nr)
{
    enum { LOOKS = 16 };
    kl_pfn pfn = kl_zone_pfn(shm->zone, nr);

    for (unsigned i = 0; !kl_frame_trylock(shm->zone, shm->owner, pfn); i++) {
        if (i == LOOKS)
            return false;
        shm->host.relax(shm->host.ctx, i);
    }
    KLI_REQUIRE(&shm->host, kl_frame_free(shm->zone, shm->owner, pfn) == 0);
    kl_frame_unlock(shm->zone, pfn);
    return true;
}

static void one_less(struct kl_shm *shm, struct kli_shm_object *object)
{
    atomic_fetch_sub(&shm->here, 1);
    atomic_fetch_sub(&object->here, 1);
}

/* A DOOMED page goes, if it can. */
static bool reap(struct kl_shm *shm, struct kli_shm_object *object, kli_word *word, bool is_locked)
{
    uint32_t nr = kli_p_nr(atomic_load(word));

    if (!kli_apply(word, kli_p_grab, nr, NULL))
        return false;
    KLI_TRACE_STEP(shm_reaping, shm->tag, object->index, nr);
    if (is_locked) {
        KLI_REQUIRE(&shm->host,
                    kl_frame_free(shm->zone, shm->owner, kl_zone_pfn(shm->zone, nr)) == 0);
    } else if (!kli_shm_free_frame(shm, nr)) {
        kli_apply(word, kli_p_keep, 0, NULL);
        return false;
    }
    KLI_TRACE_STEP(shm_reaped, shm->tag, object->index, nr);
    KLI_REQUIRE(&shm->host, kli_apply(word, kli_p_empty, 0, NULL));
    KLI_TRACE_STEP(shm_emptied, shm->tag, object->index, nr);
    one_less(shm, object);
    return true;
}

void kli_shm_doom(const struct kli_shm_object *object, uint32_t page)
{
    kli_apply(kli_shm_page(object, page), kli_p_doom, 0, NULL);
}

bool kli_shm_drop(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page, bool is_locked)
{
    kli_word *word = kli_shm_page(object, page);

    if (!kli_apply(word, kli_p_doom, 0, NULL))
        return true;
    KLI_TRACE_STEP(shm_doomed, shm->tag, object->index, page);
    return reap(shm, object, word, is_locked);
}

static bool is_empty(const struct kli_shm_object *object, uint32_t page)
{
    return kli_p_state(atomic_load(kli_shm_page(object, page))) == KLI_P_EMPTY;
}

bool kli_shm_drop_all(struct kl_shm *shm, struct kli_shm_object *object, uint32_t from, uint32_t to)
{
    uint64_t since = 0;

    for (uint32_t i = from; i < to; i++)
        kli_shm_drop(shm, object, i, false);
    for (uint32_t i = from; i < to; i++) {
        for (unsigned round = 0; !is_empty(object, i); round++) {
            kli_shm_drop(shm, object, i, false);
            if (!is_empty(object, i) && !kli_shm_wait(shm, &since, round, SHM_WAIT_PAGE_NS))
                return false;
        }
    }
    return true;
}

/* ---- entering ---- */

/* Of an EMPTY page that this has claimed. */
static int fill(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page, kli_word *word)
{
    kl_pfn pfn;

    KLI_TRACE_STEP(shm_claimed, shm->tag, object->index, page);
    if (!kli_shm_new_frame(shm, object, page, &pfn)) {
        kli_apply(word, kli_p_empty, 0, NULL);
        return -KL_ENOMEM;
    }
    atomic_fetch_add(&object->here, 1);
    atomic_fetch_add(&shm->here, 1);
    KLI_REQUIRE(&shm->host, kli_apply(word, kli_p_fill, kl_pfn_nr(pfn), NULL));
    KLI_TRACE_STEP(shm_filled, shm->tag, object->index, page);
    if (page < atomic_load(&object->pages)) /* the resize stores, then looks at the page */
        return 0;
    kli_shm_drop(shm, object, page, false);
    return -KL_ERANGE;
}

int kli_shm_enter(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page,
                  enum kli_shm_touch touch)
{
    kli_word *word = kli_shm_page(object, page);
    uint64_t since = 0;

    for (unsigned round = 0;; round++) {
        uint64_t seen;

        if (kli_apply(word, kli_p_enter, 0, &seen)) {
            KLI_TRACE_STEP(shm_entered, shm->tag, object->index, page);
            return 0;
        }
        if (kli_p_state(seen) == KLI_P_EMPTY) {
            int err = 0;

            if (touch == SHM_LOOK) {
                kli_read_fence(); /* who emptied it may have set PURGED before (U2) */
                return 1;
            }
            if (kli_apply(word, kli_p_claim, 0, NULL))
                err = fill(shm, object, page, word);
            if (err)
                return err;
            continue;
        }
        if (seen & KLI_P_DOOMED)
            reap(shm, object, word, false); /* E3 */
        if (!kli_shm_wait(shm, &since, round, SHM_WAIT_PAGE_NS))
            return -KL_EBUSY;
    }
}

void kli_shm_exit(struct kl_shm *shm, struct kli_shm_object *object, uint32_t page)
{
    kli_word *word = kli_shm_page(object, page);
    uint64_t seen;

    KLI_REQUIRE(&shm->host, kli_apply(word, kli_p_leave, 0, &seen));
    KLI_TRACE_STEP(shm_left, shm->tag, object->index, page);
    if ((seen & KLI_P_DOOMED) && kli_p_users(seen) == 1)
        reap(shm, object, word, false);
}

int kli_shm_populate(struct kl_shm *shm, struct kli_shm_object *object)
{
    uint32_t pages = atomic_load(&object->pages);

    for (uint32_t i = 0; i < pages; i++) {
        int err = kli_shm_enter(shm, object, i, SHM_FILL);

        if (err)
            return err;
        kli_shm_exit(shm, object, i);
    }
    return 0;
}
