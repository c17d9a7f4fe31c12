// SPDX-License-Identifier: Apache-2.0
/* Object compaction: objects go from sparse zspages to dense ones of their class, and
 * zspages that become empty are freed.  What finds no room elsewhere goes together in the
 * first frames of its zspage, and the others are freed.
 *
 * One zspage at a time, with the class lock held and dropped in between, so that
 * others get their turn.  The lock keeps migration off the source, which is on no list, and
 * COMPACTING, so that nobody files it meanwhile; the destination has us as a user, too; each
 * object is claimed by its entry.
 * Only where objects move within their zspage we have WRITER, so that looks fail, for
 * their places may be overwritten.  What is pinned stays, and so does what no entry names:
 * it is on its way in or out.
 */
#include "zs/direct.h"
#include "zs/entry.h"
#include "zs/guard.h"
#include "zs/zs.h"

/* Sparse pages with readers inside that are passed over before giving up. */
enum { PASSED_MAX = 4 };

static struct zspage *densest(struct kl_zs *pool, struct zs_class *class)
{
    for (unsigned group = ZS_FULL - 1; group > 0; group--) {
        for (uint32_t id = class->list[group]; id; id = zs_page(pool, id)->next) {
            if (zs_users_try(zs_page(pool, id)))
                return zs_page(pool, id);
        }
    }
    return NULL;
}

static struct zspage *sparsest(struct kl_zs *pool, struct zs_class *class)
{
    unsigned passed = 0;

    for (unsigned group = 0; group < ZS_FULL; group++) {
        for (uint32_t id = class->list[group]; id; id = zs_page(pool, id)->next) {
            struct zspage *page = zs_page(pool, id);

            if ((atomic_load_explicit(&page->users, memory_order_relaxed) & ZS_USERS) == 0)
                return page;
            if (++passed == PASSED_MAX)
                return NULL;
        }
    }
    return NULL;
}

/* An object that is ours while it moves. */
struct moving {
    kli_word *entry;
    uint32_t index;
    uint64_t from; /* its place */
    uint16_t back;
};

static bool claim(struct kl_zs *pool, struct zspage *page, uint32_t slot, uint16_t back,
                  struct moving *m)
{
    *m = (struct moving){.from = zs_place(page->id, slot), .back = back};
    m->entry = zs_back_find(pool, back, m->from, &m->index);
    return m->entry &&
           kli_apply(m->entry, pool->direct ? zs_w_claim : zs_e_claim, m->from | ZS_W_OBJECT, NULL);
}

/* The user's bits may change meanwhile; false: the object was swapped out. (direct.h) */
static bool place_direct(kli_word *entry, uint64_t from, uint64_t to)
{
    uint64_t word = atomic_load(entry);

    do {
        if ((word & (ZS_W_NAME | ZS_W_CLAIMED)) != (from | ZS_W_OBJECT | ZS_W_CLAIMED))
            return false;
    } while (
        !atomic_compare_exchange_weak(entry, &word, (word & ~(ZS_W_PLACE | ZS_W_CLAIMED)) | to));
    return true;
}

/* It is at its new place; false: it was freed meanwhile, which is left to us. */
static bool place(struct kl_zs *pool, struct moving *m, uint64_t to)
{
    uint64_t seen;

    if (pool->direct)
        return place_direct(m->entry, m->from, to);
    kli_apply(m->entry, zs_e_place, to, &seen);
    if (seen & ZS_E_DYING)
        zs_handle_retire(pool, m->index);
    return !(seen & ZS_E_DYING);
}

/* One object; false: pinned, dying or not named. */
static bool move_object(struct kl_zs *pool, struct zs_class *class, struct zspage *dst,
                        struct zspage *src, uint32_t from)
{
    uint16_t back = zs_slots(src, class)[from] & (ZS_SLOT_LIVE - 1);
    struct moving m;
    uint32_t to;

    if (!claim(pool, src, from, back, &m))
        return false;
    KLI_TRACE_STEP(zs_compact_claimed, pool->tag, src->id, m.index);
    zs_guard_look(pool, src, from, m.index, "compaction");
    to = zs_slot_take(class, dst, back);
    zs_object_copy(pool, dst, to, src, from);
    KLI_TRACE_STEP(zs_compact_copied, pool->tag, src->id, m.index);
    zs_slot_free(pool, class, src, from);
    if (!place(pool, &m, zs_place(dst->id, to))) {
        zs_guard_wipe(pool, dst, to);
        zs_slot_free(pool, class, dst, to); /* not its last one: dst had some before */
    }
    zs_guard_wipe(pool, src, from);
    return true;
}

/* Moves what it can out of src; returns how many. */
static uint32_t drain_page(struct kl_zs *pool, struct zs_class *class, struct zspage *src)
{
    struct zspage *dst = NULL;
    uint32_t moved = 0;

    for (uint32_t slot = 0; slot < src->ready && src->live > 0; slot++) {
        if (!(zs_slots(src, class)[slot] & ZS_SLOT_LIVE))
            continue;
        if (!dst)
            dst = densest(pool, class);
        if (!dst)
            break;
        moved += move_object(pool, class, dst, src, slot);
        if (dst->live == dst->ready) {
            zs_page_refile(pool, class, dst);
            zs_users_drop(dst);
            dst = NULL;
        }
    }
    if (dst) {
        zs_page_refile(pool, class, dst);
        zs_users_drop(dst);
    }
    return moved;
}

/* From a slot to a lower one, which is free, of the same page; slots are not threaded. */
static bool slide(struct kl_zs *pool, struct zs_class *class, struct zspage *page, uint32_t from,
                  uint32_t to)
{
    uint16_t *slots = zs_slots(page, class);
    struct moving m;
    bool alive;

    if (!claim(pool, page, from, slots[from] & (ZS_SLOT_LIVE - 1), &m))
        return false;
    KLI_TRACE_STEP(zs_compact_claimed, pool->tag, page->id, m.index);
    zs_guard_look(pool, page, from, m.index, "compaction");
    zs_object_copy(pool, page, to, page, from);
    KLI_TRACE_STEP(zs_compact_slid, pool->tag, page->id, m.index);
    slots[to] = slots[from];
    slots[from] = 0;
    alive = place(pool, &m, zs_place(page->id, to));
    zs_guard_wipe(pool, page, from);
    if (alive)
        return true;
    zs_guard_wipe(pool, page, to);
    slots[to] = 0;
    page->live--;
    class->live--;
    return true;
}

/* Packs the page's objects into as few of its first frames as hold them, and frees the
 * others.  How many objects moved. */
static uint32_t squeeze(struct kl_zs *pool, struct zs_class *class, struct zspage *page,
                        uint64_t *freed)
{
    const uint16_t *slots = zs_slots(page, class);
    uint32_t end = zs_ready_in(pool, class, zs_frames_for(pool, class, page->live));
    uint32_t used = page->ready, to = 0, moved = 0;

    for (uint32_t from = page->ready; from-- > end;) {
        while (to < end && (slots[to] & ZS_SLOT_LIVE))
            to++;
        if (to < end && (slots[from] & ZS_SLOT_LIVE))
            moved += slide(pool, class, page, from, to);
    }
    while (used > 0 && !(slots[used - 1] & ZS_SLOT_LIVE))
        used--;
    *freed += zs_page_cut(pool, class, page, zs_frames_for(pool, class, used));
    return moved;
}

/* Frames that the class could do without, at least; under its lock. */
uint64_t zs_class_freeable(const struct kl_zs *pool, const struct zs_class *class)
{
    return ((class->ready - class->live) * class->size) >> pool->frame_shift;
}

static bool lock_class(struct kl_zs *pool, struct zs_class *class, bool may_wait)
{
    if (!may_wait)
        return kli_spin_try(&pool->host, &class->lock);
    zs_class_lock(pool, class);
    return true;
}

/* One source; returns the objects moved, 0 when there is nothing to gain. */
static uint32_t compact_one(struct kl_zs *pool, struct zs_class *class, bool may_wait,
                            uint64_t *freed)
{
    uint64_t before = *freed;
    struct zspage *src = NULL;
    uint32_t moved = 0;
    bool empty;

    if (!lock_class(pool, class, may_wait))
        return 0;
    if (class->list[0] || zs_class_freeable(pool, class) > 0) /* one that nobody used, too */
        src = sparsest(pool, class);
    if (!src) {
        zs_class_unlock(pool, class);
        return 0;
    }
    KLI_TRACE_STEP(zs_compact_source, pool->tag, src->id, src->live);
    zs_page_unlist(pool, class, src);
    src->flags |= ZS_COMPACTING;
    if (src->live > 0)
        moved = drain_page(pool, class, src);
    if (src->live > 0 && zs_writer_try(src)) {
        moved += squeeze(pool, class, src, freed);
        zs_writer_drop(src);
    }
    if (zs_is_retired(class))
        atomic_fetch_add(&pool->learn_moved, (uint64_t)moved * class->size);
    empty = src->live == 0;
    src->flags = empty ? ZS_EMPTY : 0;
    if (!empty)
        zs_page_list(pool, class, src);
    zs_class_unlock(pool, class);
    if (empty)
        *freed += zs_page_bury(pool, src);
    return moved ? moved : *freed > before;
}

int64_t zs_compact(struct kl_zs *pool, struct zs_goal *goal)
{
    uint64_t budget = goal->budget ? goal->budget : UINT64_MAX, freed, moved = 0;
    uint32_t looked = 0;

    if (atomic_exchange(&pool->compacting, true))
        return -KL_EAGAIN;
    KLI_TRACE(zs_compact_begin, pool->tag, goal->budget, goal->frames);
    freed = zs_drain_deferred(pool);
    if (!goal->keep)
        zs_kept_drain(pool, goal->may_wait, &freed);
    while (looked < pool->nclasses && moved < budget && freed < goal->frames) {
        uint32_t n = compact_one(pool, &pool->classes[goal->at], goal->may_wait, &freed);

        moved += n;
        if (n > 0)
            continue;
        looked++;
        goal->at = (goal->at + 1) % pool->nclasses;
    }
    goal->all = looked == pool->nclasses;
    atomic_fetch_add(&pool->objects_moved, moved);
    atomic_fetch_add(&pool->frames_freed, freed);
    atomic_store(&pool->compacting, false);
    KLI_TRACE(zs_compact_end, pool->tag, moved, freed);
    return (int64_t)freed;
}

int64_t kl_zs_compact(struct kl_zs *pool, uint32_t budget)
{
    struct zs_goal goal = {.budget = budget, .frames = UINT64_MAX, .may_wait = true};

    return zs_compact(pool, &goal);
}
