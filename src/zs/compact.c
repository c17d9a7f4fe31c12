// SPDX-License-Identifier: Apache-2.0
/* Object compaction: objects go from sparse zspages to dense ones of their class,
 * and zspages that become empty are freed.
 *
 * One zspage at a time, with the class lock held and dropped in between, so that
 * others get their turn.  The source is COMPACTING and WRITER; each object is
 * claimed by its entry; the destination has us as a user, which keeps migration
 * off.  What is pinned stays.
 */
#include "zs/entry.h"
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
            if (zs_writer_try(zs_page(pool, id)))
                return zs_page(pool, id);
            if (++passed == PASSED_MAX)
                return NULL;
        }
    }
    return NULL;
}

/* One object; false: pinned or dying.  A free that comes in the meantime leaves
 * the object to us: it is ended at its new place. */
static bool move_object(struct kl_zs *pool, struct zs_class *class, struct zspage *dst,
                        struct zspage *src, uint32_t from)
{
    uint32_t index = zs_slots(src, class)[from] & ~ZS_SLOT_LIVE, to;
    kli_word *entry = zs_table_at(&pool->handles, index);
    uint64_t seen;

    if (!kli_apply(entry, zs_e_claim, 0, NULL))
        return false;
    KLI_TRACE_STEP(zs_compact_claimed, pool->tag, src->id, index);
    to = zs_slot_take(class, dst, index);
    zs_object_copy(pool, dst, to, src, from);
    KLI_TRACE_STEP(zs_compact_copied, pool->tag, src->id, index);
    zs_slot_free(pool, class, src, from);
    kli_apply(entry, zs_e_place, dst->id | ((uint64_t)to << 29), &seen);
    if (seen & ZS_E_DYING) {
        zs_slot_free(pool, class, dst, to); /* not its last one: dst had some before */
        zs_handle_release(pool, index);
    }
    return true;
}

/* Moves what it can out of src; returns how many. */
static uint32_t drain_page(struct kl_zs *pool, struct zs_class *class, struct zspage *src)
{
    struct zspage *dst = NULL;
    uint32_t moved = 0;

    for (uint32_t slot = 0; slot < class->objects && src->live > 0; slot++) {
        if (!(zs_slots(src, class)[slot] & ZS_SLOT_LIVE))
            continue;
        if (!dst)
            dst = densest(pool, class);
        if (!dst)
            break;
        moved += move_object(pool, class, dst, src, slot);
        if (dst->live == class->objects) {
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

/* Frames that the class could do without; under its lock. */
uint64_t zs_class_freeable(const struct zs_class *class)
{
    uint64_t slots = (uint64_t) class->zspages * class->objects;

    return (slots - class->live) / class->objects * class->chain;
}

static bool lock_class(struct kl_zs *pool, struct zs_class *class, bool may_wait)
{
    if (!may_wait)
        return kli_lock_try(&pool->host, &class->lock);
    kli_lock_take(&pool->host, &class->lock);
    return true;
}

/* One source; returns the objects moved, 0 when there is nothing to gain. */
static uint32_t compact_one(struct kl_zs *pool, struct zs_class *class, bool may_wait,
                            uint64_t *freed)
{
    struct zspage *src = NULL;
    uint32_t moved = 0;
    bool empty;

    if (!lock_class(pool, class, may_wait))
        return 0;
    if (zs_class_freeable(class) > 0)
        src = sparsest(pool, class);
    if (!src) {
        kli_lock_drop(&pool->host, &class->lock);
        return 0;
    }
    KLI_TRACE_STEP(zs_compact_source, pool->tag, src->id, src->live);
    zs_page_unlist(pool, class, src);
    src->flags |= ZS_COMPACTING;
    if (src->live > 0)
        moved = drain_page(pool, class, src);
    empty = src->live == 0;
    src->flags = empty ? ZS_EMPTY : 0;
    if (!empty)
        zs_page_list(pool, class, src);
    zs_writer_drop(src);
    kli_lock_drop(&pool->host, &class->lock);
    if (empty)
        *freed += zs_page_bury(pool, src);
    return moved ? moved : empty;
}

int64_t zs_compact(struct kl_zs *pool, const struct zs_goal *goal)
{
    uint64_t budget = goal->budget ? goal->budget : UINT64_MAX, freed, moved = 0;

    if (atomic_exchange(&pool->compacting, true))
        return -KL_EAGAIN;
    KLI_TRACE(zs_compact_begin, pool->tag, goal->budget, goal->frames);
    freed = zs_drain_deferred(pool);
    for (uint32_t i = 0; i < pool->nclasses && moved < budget && freed < goal->frames; i++) {
        uint32_t n;

        do {
            n = compact_one(pool, &pool->classes[i], goal->may_wait, &freed);
            moved += n;
        } while (n > 0 && moved < budget && freed < goal->frames);
    }
    atomic_fetch_add(&pool->objects_moved, moved);
    atomic_fetch_add(&pool->frames_freed, freed);
    atomic_store(&pool->compacting, false);
    KLI_TRACE(zs_compact_end, pool->tag, moved, freed);
    return (int64_t)freed;
}

int64_t kl_zs_compact(struct kl_zs *pool, uint32_t budget)
{
    const struct zs_goal goal = {.budget = budget, .frames = UINT64_MAX, .may_wait = true};

    return zs_compact(pool, &goal);
}
