// SPDX-License-Identifier: Apache-2.0
/* Reading, writing, and the size. */
#include "shm/shm.h"

/* A part of one page; `to` or `from` is NULL. */
struct part {
    uint32_t page;
    size_t at, n; /* within the page */
    char *to;
    const char *from;
};

static int copy_away(const struct kl_shm *shm, const struct kli_shm_object *object,
                     const struct part *p)
{
    uint64_t offset = ((uint64_t)p->page << shm->shift) + p->at;
    int err = p->to ? object->place.read(object->place_ctx, offset, p->to, p->n)
                    : object->place.write(object->place_ctx, offset, p->from, p->n);

    return err ? -KL_EIO : 0;
}

static int copy_here(const struct kl_shm *shm, uint32_t nr, const struct part *p)
{
    char *mem = (char *)kli_addr(shm->zone, nr) + p->at;

    if (p->to)
        memcpy(p->to, mem, p->n);
    else
        memcpy(mem, p->from, p->n);
    return 0;
}

static int copy_part(struct kl_shm *shm, struct kli_shm_object *object, const struct part *p)
{
    int err = kli_shm_enter(shm, object, p->page, p->to ? SHM_LOOK : SHM_FILL);
    uint64_t word;

    if (err > 0) {
        if (p->to)
            memset(p->to, 0, p->n);
        return 0;
    }
    if (err)
        return err;
    word = atomic_load(kli_shm_page(object, p->page));
    err = kli_p_state(word) == KLI_P_AWAY ? copy_away(shm, object, p)
                                          : copy_here(shm, kli_p_nr(word), p);
    kli_shm_exit(shm, object, p->page);
    return err;
}

static int copy(struct kl_shm *shm, struct kli_shm_object *object, uint64_t offset, char *to,
                const char *from, size_t n)
{
    size_t page_bytes = (size_t)1 << shm->shift;
    uint64_t bytes = atomic_load(&object->bytes), generation = atomic_load(&object->generation);
    int err = 0;

    if (offset > bytes || n > bytes - offset)
        return -KL_ERANGE;
    while (n > 0 && !err && !(atomic_load(&object->use) & KLI_U_PURGED)) {
        struct part p = {.page = (uint32_t)(offset >> shm->shift),
                         .at = offset & (page_bytes - 1),
                         .to = to,
                         .from = from};

        p.n = (size_t)kli_min(n, page_bytes - p.at);
        err = copy_part(shm, object, &p);
        offset += p.n;
        n -= p.n;
        to = to ? to + p.n : NULL;
        from = from ? from + p.n : NULL;
    }
    if ((atomic_load(&object->use) & KLI_U_PURGED) ||
        atomic_load(&object->generation) != generation)
        return -KL_ENODATA; /* U2 */
    return err;
}

static int visit_and_copy(struct kl_shm *shm, kl_shm_id id, uint64_t offset, void *to,
                          const void *from, size_t n)
{
    struct kli_shm_object *object;
    int err;

    if (!shm->zone->backing.base)
        return -KL_ENOTSUP;
    object = kli_shm_visit(shm, id);
    if (!object)
        return -KL_ESTALE;
    err = copy(shm, object, offset, to, from, n);
    kli_shm_leave(shm, object);
    return err;
}

int kl_shm_read(struct kl_shm *shm, kl_shm_id id, uint64_t offset, void *to, size_t n)
{
    return to || n == 0 ? visit_and_copy(shm, id, offset, to, NULL, n) : -KL_EINVAL;
}

int kl_shm_write(struct kl_shm *shm, kl_shm_id id, uint64_t offset, const void *from, size_t n)
{
    return from || n == 0 ? visit_and_copy(shm, id, offset, NULL, from, n) : -KL_EINVAL;
}

/* ---- the size ---- */

static void set_size(struct kl_shm *shm, struct kli_shm_object *object, uint64_t bytes)
{
    atomic_store(&object->bytes, bytes);
    atomic_store(&object->pages, kli_shm_pages_of(shm, bytes));
}

/* What is behind the end in the last page, when the object grows: it was cut there, or a device
 * or a place, which have whole pages, wrote there. */
static int clear_tail(struct kl_shm *shm, struct kli_shm_object *object, uint64_t bytes)
{
    size_t page_bytes = (size_t)1 << shm->shift, at = (size_t)(bytes & (page_bytes - 1));
    uint32_t page = (uint32_t)(bytes >> shm->shift);
    int err;

    if (at == 0 || !shm->zone->backing.base)
        return 0;
    err = kli_shm_enter(shm, object, page, SHM_LOOK);
    if (err)
        return err > 0 ? 0 : err;
    memset((char *)kli_addr(shm->zone, kli_p_nr(atomic_load(kli_shm_page(object, page)))) + at, 0,
           page_bytes - at);
    kli_shm_exit(shm, object, page);
    return 0;
}

static int cut(struct kl_shm *shm, struct kli_shm_object *object, uint64_t bytes)
{
    uint64_t before = atomic_load(&object->bytes);

    set_size(shm, object, bytes);
    KLI_TRACE_STEP(shm_cut, shm->tag, object->index, kli_shm_pages_of(shm, bytes));
    if (kli_shm_drop_all(shm, object, kli_shm_pages_of(shm, bytes), kli_shm_capacity(object)))
        return 0;
    set_size(shm, object, before);
    return -KL_EBUSY;
}

static int extend(struct kl_shm *shm, struct kli_shm_object *object, uint64_t bytes)
{
    int err = kli_shm_grow(shm, object, kli_shm_pages_of(shm, bytes));

    if (!err)
        err = clear_tail(shm, object, atomic_load(&object->bytes));
    if (!err)
        set_size(shm, object, bytes);
    return err;
}

static int resize(struct kl_shm *shm, struct kli_shm_object *object, uint64_t bytes)
{
    uint64_t seen;
    int err;

    if (!kli_apply(&object->use, kli_u_whole, 0, &seen))
        return (seen & KLI_U_PURGED) ? -KL_ENODATA : -KL_EBUSY;
    err =
        bytes < atomic_load(&object->bytes) ? cut(shm, object, bytes) : extend(shm, object, bytes);
    KLI_REQUIRE(&shm->host, kli_apply(&object->use, kli_u_whole_end, 0, NULL));
    return err;
}

int kl_shm_resize(struct kl_shm *shm, kl_shm_id id, uint64_t bytes)
{
    struct kli_shm_object *object;
    int err;

    if (kli_shm_too_large(shm, bytes))
        return -KL_ERANGE;
    object = kli_shm_visit(shm, id);
    if (!object)
        return -KL_ESTALE;
    err = resize(shm, object, bytes);
    kli_shm_leave(shm, object);
    return err;
}
