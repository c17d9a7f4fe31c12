// SPDX-License-Identifier: Apache-2.0
/* How each point is reached: by which operation of the first actor, in which scene, with
 * which cues. */
#include "interleave/tables.h"

#include "frame/zone.h"
#include "zs/zs.h"

/* What a third party does in the moment that the cue names. */

void cue_free_subject(void *arg)
{
    struct scene *s = arg;
    kl_pfn pfn = mover_disown(s->m, s->subject);

    if (pfn.v)
        kl_frame_free(s->zone, s->m->owner, pfn);
}

static void pin_subject(void *arg)
{
    struct scene *s = arg;

    s->pins[0] += mover_pin(s->m, s->subject) == 0;
}

/* Any first frame: the subject's, or its zspage's. */
static void lock_first(void *arg)
{
    struct scene *s = arg;

    kli_apply(&s->zone->frame[0].state, kli_f_trylock, 0, NULL);
}

static void unlock_first(void *arg)
{
    struct scene *s = arg;

    kli_settle(s->zone, 0, kli_f_unlock, 0);
}

static void fence_first(void *arg)
{
    struct scene *s = arg;

    kli_block_step(s->zone, 0, kli_b_fence, 0);
}

static void unfence_first(void *arg)
{
    struct scene *s = arg;

    kli_block_step(s->zone, 0, kli_b_unfence, 0);
}

/* An allocation that was on its way in before the fence: it has the bit. */
static void take_bit(void *arg)
{
    struct scene *s = arg;

    kli_bits_take_at(s->zone, 1, 1);
}

static void drop_bit(void *arg)
{
    struct scene *s = arg;

    kli_bits_clear(s->zone, 1, 1);
}

/* An allocation that stays. */
static void enter_last(void *arg)
{
    struct scene *s = arg;

    s->range[0] = kl_zone_pfn(s->zone, 3u << SCENE_ORDER);
    if (kl_contig_alloc_at(s->zone, s->plain, s->range[0], 4, KL_ASYNC, NULL) == 0)
        s->range_n[0] = 4;
}

static void take_class(void *arg)
{
    struct scene *s = arg;
    uint64_t priv = atomic_load(&s->zone->frame[0].priv);

    kli_spin_take(&s->zone->host,
                  &zs_class_of(s->pool, zs_page(s->pool, (uint32_t)(priv >> 8)))->lock);
}

static void drop_class(void *arg)
{
    struct scene *s = arg;
    uint64_t priv = atomic_load(&s->zone->frame[0].priv);

    kli_spin_drop(&s->zone->host,
                  &zs_class_of(s->pool, zs_page(s->pool, (uint32_t)(priv >> 8)))->lock);
}

static void open_reader(void *arg)
{
    struct scene *s = arg;

    s->open = kl_zs_begin(s->pool, s->object[0].handle, &s->pin) == 0;
}

/* The block that goes out first. */
static void discard_first_out(void *arg)
{
    struct scene *s = arg;

    memset(s->model[3], 0, sizeof(s->model[3]));
    (void)kl_store_discard(s->store, 3, 0, STORE_BLOCK);
}

/* As by a third party, for the play. */
static void cut_and_grow(void *arg)
{
    objects_cut(arg);
}

static void purge_offered(void *arg)
{
    (void)kl_zone_shrink(((struct scene *)arg)->zone, 64, KL_ASYNC);
}

static void sleep_device(void *arg)
{
    objects_sleep(arg, true);
}

static void wake_device(void *arg)
{
    objects_sleep(arg, false);
}

#define C(name, does)                                                                              \
    {                                                                                              \
        KLI_T_##name, does                                                                         \
    }
#define WAY(name, kind, op)                                                                        \
    {                                                                                              \
        KLI_T_##name, kind, op, {{0}}, STAGE_NEVER                                                 \
    }
#define AFTER(first, name, kind, op)                                                               \
    {                                                                                              \
        KLI_T_##name, kind, op, {{0}}, KLI_T_##first                                               \
    }
#define CUED(name, kind, op, ...)                                                                  \
    {                                                                                              \
        KLI_T_##name, kind, op, {__VA_ARGS__}, STAGE_NEVER                                         \
    }
const struct way ways[] = {
    WAY(alloc_stage, FRAMES, "alloc block"),
    WAY(alloc_failed, FRAMES, "alloc large"),
    WAY(alloc_reserved, FRAMES, "alloc"),
    WAY(alloc_taken, FRAMES, "alloc pair"),
    WAY(free_begin, FRAMES, "free"),
    WAY(free_begin, FRAMES, "free pair"),
    WAY(free_dying, FRAMES, "free locked"),
    WAY(free_gone, FRAMES, "free"),
    WAY(free_gone, FRAMES, "free pair"),
    WAY(free_gone, FRAMES, "free locked"),
    WAY(free_bits, FRAMES, "free pair"),
    WAY(free_counted, FRAMES, "free pair"),
    WAY(pin_begin, FRAMES, "pin"),
    WAY(pin_begin, FRAMES, "pin bare"),
    WAY(pin_marked, FRAMES, "pin"),
    WAY(pin_marked, FRAMES, "pin bare"),
    WAY(pin_done, FRAMES, "pin"),
    WAY(pin_done, FRAMES, "pin bare"),
    WAY(pin_refused, FRAMES, "pin none"),
    WAY(unpin_begin, FRAMES, "unpin"),
    WAY(unpin_begin, FRAMES, "pin bare"),
    WAY(unpin_marked, FRAMES, "unpin"),
    WAY(unpin_marked, FRAMES, "pin bare"),
    WAY(unpin_done, FRAMES, "unpin"),
    WAY(isolate_begin, FRAMES, "give"),
    WAY(isolate_begin, FRAMES, "contig"),
    WAY(isolate_got, FRAMES, "give"),
    WAY(isolate_got, FRAMES, "compact"),
    WAY(isolate_target, FRAMES, "give"),
    WAY(isolate_target, FRAMES, "contig part"),
    WAY(isolate_locked, FRAMES, "give"),
    WAY(isolate_asked, FRAMES, "give"),
    WAY(isolate_asked, FRAMES, "compact"),
    WAY(isolate_refused, FRAMES, "give, refused"),
    WAY(isolate_marked, FRAMES, "give"),
    CUED(isolate_overtaken, FRAMES, "give", C(isolate_asked, pin_subject)),
    CUED(isolate_overtaken, FRAMES, "give", C(isolate_asked, cue_free_subject)),
    WAY(isolate_unlocked, FRAMES, "give"),
    WAY(isolate_unlocked, FRAMES, "give, refused"),
    WAY(isolate_undone, FRAMES, "give, refused"),
    CUED(isolate_undone, FRAMES, "give", C(isolate_asked, cue_free_subject)),
    WAY(isolate_end, FRAMES, "give"),
    WAY(migrate_begin, FRAMES, "give"),
    WAY(migrate_begin, FRAMES, "contig part"),
    WAY(prepare_begin, BATCH, "give"),
    WAY(prepare_end, BATCH, "give"),
    WAY(migrate_locked, FRAMES, "give"),
    WAY(migrate_locked, BATCH, "give"),
    CUED(migrate_unlockable, FRAMES, "give", C(migrate_begin, lock_first),
         C(migrate_unlockable, unlock_first)),
    WAY(migrate_call, FRAMES, "give"),
    WAY(migrate_call, BATCH, "give"),
    WAY(migrate_result, FRAMES, "give"),
    WAY(migrate_result, BATCH, "give"),
    WAY(migrate_result, FRAMES, "give, failing"),
    WAY(migrate_moved, FRAMES, "give"),
    WAY(migrate_published, FRAMES, "give"),
    WAY(migrate_end, FRAMES, "give"),
    WAY(putback_begin, FRAMES, "give, failing"),
    WAY(putback_begin, BATCH, "give, failing"),
    CUED(putback_begin, FRAMES, "give", C(migrate_begin, cue_free_subject)),
    WAY(putback_call, FRAMES, "give, failing"),
    CUED(putback_freed, FRAMES, "give", C(migrate_begin, cue_free_subject)),
    CUED(putback_freed, FRAMES, "give, failing", C(migrate_result, cue_free_subject)),
    WAY(putback_called, FRAMES, "give, failing"),
    CUED(putback_called, FRAMES, "give, failing", C(putback_call, cue_free_subject)),
    WAY(putback_dropped, FRAMES, "give, failing"),
    CUED(putback_dropped, FRAMES, "give", C(migrate_begin, cue_free_subject)),
    WAY(putback_released, FRAMES, "give, failing"),
    CUED(putback_released, FRAMES, "give", C(migrate_begin, cue_free_subject)),
    WAY(putback_end, FRAMES, "give, failing"),
    WAY(fence_begin, FRAMES, "give"),
    WAY(fence_begin, FRAMES, "contig"),
    WAY(fence_set, FRAMES, "give"),
    WAY(fence_set, FRAMES, "contig part"),
    WAY(fence_set, FRAMES, "compact"),
    WAY(fence_begin, SPARE, "trim"),
    WAY(fence_set, SPARE, "trim"),
    CUED(fence_lifted, SPARE, "trim", C(fence_begin, enter_last)),
    CUED(fence_refused, FRAMES, "contig", C(fence_begin, fence_first),
         C(fence_refused, unfence_first)),
    WAY(fence_lift, FRAMES, "contig"),
    WAY(fence_lift, FRAMES, "give, failing"),
    WAY(fence_lift, FRAMES, "compact"),
    WAY(fence_lifted, FRAMES, "contig"),
    WAY(claim_begin, FRAMES, "contig"),
    WAY(claim_begin, FRAMES, "contig part"),
    WAY(claim_counted, FRAMES, "contig"),
    WAY(claim_counted, FRAMES, "contig part"),
    WAY(claim_taken, FRAMES, "contig"),
    WAY(claim_taken, FRAMES, "contig part"),
    CUED(claim_refused, FRAMES, "contig part", C(claim_counted, take_bit),
         C(claim_refused, drop_bit)),
    WAY(block_stepped, FRAMES, "give"),
    WAY(block_stepped, FRAMES, "free pair"),
    WAY(block_stepped, ABSENT, "contig last"),
    WAY(index_mend, FRAMES, "give"),
    WAY(index_mend, FRAMES, "contig"),
    WAY(index_mend, ABSENT, "alloc block"),
    AFTER(fence_lift, index_mend, FRAMES, "compact"),
    WAY(populate_begin, ABSENT, "contig last"),
    WAY(populate_begin, ABSENT, "alloc block"),
    WAY(populate_summoned, ABSENT, "contig last"),
    WAY(populate_summoned, ABSENT, "alloc block"),
    WAY(populate_end, ABSENT, "contig last"),
    WAY(populate_end, ABSENT, "alloc block"),
    WAY(release_begin, FRAMES, "give"),
    WAY(release_begin, ABSENT, "give two"),
    WAY(release_vacated, FRAMES, "give"),
    WAY(release_vacated, ABSENT, "give two"),
    WAY(release_end, FRAMES, "give"),
    WAY(release_begin, SPARE, "trim"),
    WAY(release_vacated, SPARE, "trim"),
    WAY(release_end, SPARE, "trim"),
    WAY(release_looked, FRAMES, "give"),
    WAY(release_looked, SPARE, "trim"),
    WAY(evacuate_begin, FRAMES, "give"),
    WAY(evacuate_round, FRAMES, "give"),
    WAY(evacuate_end, FRAMES, "give"),
    WAY(compact_begin, FRAMES, "compact"),
    WAY(compact_end, FRAMES, "compact"),
    WAY(contig_begin, FRAMES, "contig"),
    WAY(contig_window, FRAMES, "contig"),
    WAY(contig_end, FRAMES, "contig"),
    WAY(shrink_begin, ZS, "shrink"),
    WAY(shrink_end, ZS, "shrink"),
    WAY(give_begin, FRAMES, "give"),
    WAY(give_end, FRAMES, "give"),
    WAY(zs_isolate_begin, ZS, "give"),
    WAY(zs_isolated, ZS, "give"),
    CUED(zs_isolate_refused, ZS, "compact", C(zs_isolate_begin, take_class),
         C(zs_isolate_refused, drop_class)),
    WAY(isolate_marked, ZS, "give"),
    WAY(migrate_begin, ZS, "give"),
    WAY(migrate_locked, ZS, "give"),
    WAY(migrate_result, ZS, "give"),
    WAY(migrate_published, ZS, "give"),
    WAY(migrate_end, ZS, "give"),
    WAY(zs_migrate_begin, ZS, "give"),
    CUED(zs_gave_way, ZS, "give", C(zs_migrate_begin, open_reader)),
    WAY(zs_migrate_alone, ZS, "give"),
    WAY(zs_migrate_copied, ZS, "give"),
    WAY(zs_migrate_chained, ZS, "give"),
    WAY(zs_migrate_open, ZS, "give"),
    WAY(zs_migrated, ZS, "give"),
    CUED(zs_putback_begin, ZS, "give", C(zs_migrate_begin, open_reader)),
    CUED(zs_putback, ZS, "give", C(zs_migrate_begin, open_reader)),
    WAY(zs_look_begun, ZS, "zs read"),
    WAY(zs_look_begun, ZS, "zs read one"),
    WAY(zs_look_found, ZS, "zs read"),
    WAY(zs_look_found, ZS, "zs read one"),
    WAY(zs_look_copied, ZS, "zs read"),
    WAY(zs_look_copied, ZS, "zs read one"),
    WAY(zs_pinned, ZS, "zs open"),
    WAY(zs_inside, ZS, "zs open"),
    WAY(zs_inside, ZS, "zs open one"),
    WAY(zs_unpin_begin, ZS, "zs open"),
    WAY(zs_unpin_left, ZS, "zs open"),
    WAY(zs_free_marked, ZS, "zs free"),
    WAY(zs_free_marked, ZS, "zs free one"),
    WAY(zs_free_marked, ZS, "zs free big"),
    WAY(zs_bury_begin, ZS, "zs free"),
    WAY(zs_bury_begin, ZS, "zs destroy"),
    WAY(zs_bury_alone, ZS, "zs free"),
    WAY(zs_bury_locked, ZS, "zs free"),
    WAY(zs_bury_locked, ZS, "zs destroy"),
    WAY(zs_buried, ZS, "zs free"),
    CUED(zs_deferred, ZS, "zs free", C(zs_bury_begin, lock_first), C(zs_deferred, unlock_first)),
    WAY(zs_compact_begin, ZS, "zs compact"),
    WAY(zs_compact_source, ZS, "zs compact"),
    WAY(zs_compact_claimed, ZS, "zs compact"),
    WAY(zs_compact_copied, ZS, "zs compact"),
    WAY(zs_compact_end, ZS, "zs compact"),
    WAY(zs_look_begun, STORE, "st read"),
    WAY(zs_look_begun, STORE, "st read one"),
    WAY(zs_look_begun, STORE, "st read two"),
    WAY(zs_look_found, STORE, "st read"),
    WAY(zs_look_found, STORE, "st read one"),
    WAY(zs_look_found, STORE, "st read two"),
    WAY(zs_look_found, STORE, "st part one"),
    WAY(zs_look_copied, STORE, "st read"),
    WAY(zs_look_copied, STORE, "st read one"),
    WAY(zs_look_copied, STORE, "st part two"),
    WAY(zs_grow, STORE, "st write"),
    WAY(zs_grow, STORE, "st write new"),
    WAY(zs_stocked, STORE, "st write"),
    WAY(zs_stocked, STORE, "st write new"),
    WAY(zs_put, STORE, "st write"),
    WAY(zs_put, STORE, "st write one"),
    WAY(zs_put, STORE, "st write new"),
    WAY(zs_put, STORE, "st part"),
    WAY(zs_put, STORE, "st part two"),
    WAY(zs_put, STORE, "st recompress"),
    WAY(zs_claimed, STORE, "st part"),
    WAY(zs_claimed, STORE, "st part one"),
    WAY(zs_claimed, STORE, "st recompress"),
    WAY(zs_out, STORE, "st write"),
    WAY(zs_out, STORE, "st discard"),
    WAY(zs_out, STORE, "st discard one"),
    WAY(zs_out, STORE, "st discard two"),
    WAY(zs_out, STORE, "st part one"),
    WAY(zs_out, STORE, "st recompress"),
    WAY(zs_bury_begin, STORE, "st discard"),
    WAY(zs_bury_alone, STORE, "st discard"),
    WAY(zs_bury_locked, STORE, "st discard"),
    WAY(zs_compact_source, STORE, "zs compact"),
    WAY(zs_compact_claimed, STORE, "zs compact"),
    WAY(zs_compact_copied, STORE, "zs compact"),
    WAY(zs_compact_slid, STORE, "zs compact"),
    WAY(zs_cut_locked, STORE, "zs compact"),
    WAY(zs_migrate_alone, STORE, "give"),
    WAY(zs_migrate_copied, STORE, "give"),
    WAY(zs_migrate_chained, STORE, "give"),
    WAY(zs_migrate_open, STORE, "give"),
    WAY(release_vacated, STORE, "give"),
    WAY(release_looked, STORE, "give"),
    WAY(release_end, STORE, "give"),
    WAY(st_swap, DEDUP, "dd write"),
    WAY(st_swap, DEDUP, "dd join"),
    WAY(st_swap, DEDUP, "dd join two"),
    WAY(st_swap, DEDUP, "dd discard one"),
    WAY(zs_claimed, DEDUP, "dd join"),
    WAY(zs_look_copied, DEDUP, "dd join"),
    WAY(st_share_equal, DEDUP, "dd join"),
    WAY(st_shared_pop, DEDUP, "dd join"),
    WAY(zs_put, DEDUP, "dd join"),
    WAY(st_shared_filled, DEDUP, "dd join"),
    WAY(st_shared_born, DEDUP, "dd join"),
    WAY(st_share_made, DEDUP, "dd join"),
    WAY(zs_out, DEDUP, "dd join"),
    WAY(st_share_got, DEDUP, "dd join two"),
    WAY(st_share_got, DEDUP, "dd join one"),
    WAY(st_share_got, DEDUP, "dd differ"),
    WAY(zs_look_begun, DEDUP, "dd join two"),
    WAY(zs_look_copied, DEDUP, "dd join one"),
    WAY(st_shared_last, DEDUP, "dd write one"),
    WAY(st_shared_last, DEDUP, "dd discard one"),
    WAY(st_shared_last, DEDUP, "dd part one"),
    WAY(st_shared_gone, DEDUP, "dd discard one"),
    WAY(st_shared_gone, DEDUP, "dd write one"),
    WAY(st_shared_push, DEDUP, "dd discard one"),
    WAY(zs_out, DEDUP, "dd discard one"),
    WAY(st_shared_pop, DEDUP, "dd cycle"),
    WAY(st_shared_push, DEDUP, "dd cycle"),
    WAY(st_shared_last, DEDUP, "dd cycle"),
    WAY(st_shared_born, DEDUP, "dd cycle"),
    WAY(st_shared_look, DEDUP, "dd read two"),
    WAY(st_shared_look, DEDUP, "dd read one"),
    WAY(st_shared_read, DEDUP, "dd read two"),
    WAY(st_shared_read, DEDUP, "dd read one"),
    WAY(st_shared_look, DEDUP, "dd part one"),
    WAY(st_shared_read, DEDUP, "dd part one"),
    WAY(zs_look_found, DEDUP, "dd read one"),
    WAY(zs_claimed, DEDUP, "st recompress"),
    WAY(zs_put, DEDUP, "st recompress"),
    WAY(zs_compact_claimed, DEDUP, "zs compact"),
    WAY(zs_compact_slid, DEDUP, "zs compact"),
    WAY(zs_migrate_copied, DEDUP, "give"),
    WAY(wb_marked, AWAY, "wb out"),
    WAY(zs_look_copied, AWAY, "wb out"),
    WAY(wb_found, AWAY, "wb out"),
    WAY(wb_copied, AWAY, "wb out"),
    WAY(wb_leave, AWAY, "wb out"),
    WAY(wb_left, AWAY, "wb out"),
    WAY(zs_out, AWAY, "wb out"),
    WAY(wb_found, AWAY, "wb swap"),
    WAY(wb_leave, AWAY, "wb swap"),
    WAY(wb_free, AWAY, "wb swap"),
    WAY(wb_free, AWAY, "wb discard away"),
    WAY(wb_free, AWAY, "wb write away"),
    WAY(wb_fetch, AWAY, "wb read away"),
    WAY(wb_shown, AWAY, "wb read away"),
    WAY(wb_fetched, AWAY, "wb read away"),
    WAY(wb_right, AWAY, "wb read away"),
    WAY(wb_back, AWAY, "wb read away"),
    WAY(wb_free, AWAY, "wb read away"),
    WAY(zs_put, AWAY, "wb read away"),
    WAY(wb_fetch, AWAY, "wb part away"),
    WAY(wb_right, AWAY, "wb part away"),
    WAY(wb_back, AWAY, "wb part away"),
    WAY(wb_free, AWAY, "wb part away"),
    WAY(st_swap, AWAY, "wb write away"),
    WAY(st_swap, AWAY, "wb write"),
    WAY(zs_claimed, AWAY, "wb part"),
    WAY(zs_put, AWAY, "wb part"),
    WAY(zs_out, AWAY, "wb write"),
    WAY(zs_look_found, AWAY, "wb read"),
    CUED(wb_in_vain, AWAY, "wb out", C(wb_copied, discard_first_out)),
    WAY(zs_claimed, AWAY, "st recompress"),
    WAY(zs_migrate_copied, AWAY, "give"),
    WAY(cma_alloc_begin, AREA, "ar alloc"),
    WAY(cma_alloc_begin, AREA, "ar alloc at"),
    WAY(cma_missed, AREA, "ar alloc big"),
    WAY(cma_missed, AREA, "ar alloc mixed"),
    WAY(cma_window, AREA, "ar alloc big"),
    WAY(cma_window, AREA, "ar alloc mixed"),
    WAY(cma_alloc_end, AREA, "ar alloc"),
    WAY(cma_alloc_end, AREA, "ar alloc mixed"),
    WAY(cma_release, AREA, "ar release"),
    WAY(cma_release, AREA, "ar release part"),
    WAY(cma_returned, AREA, "ar alloc mixed"),
    WAY(cma_returned, AREA, "ar off"),
    WAY(cma_returned, AREA, "ar take run"),
    WAY(cma_gave, AREA, "ar alloc mixed"),
    WAY(cma_gave, AREA, "ar off"),
    WAY(cma_gave, AREA, "shrink"),
    WAY(kept_begin, AREA, "ar take"),
    WAY(kept_begin, AREA, "ar take run"),
    WAY(kept_begin, AREA, "give"),
    WAY(kept_raised, AREA, "ar take"),
    WAY(kept_raised, AREA, "ar alloc mixed"),
    WAY(kept_gave, AREA, "ar take"),
    WAY(kept_gave, AREA, "ar take run"),
    WAY(free_bits, AREA, "ar off"),
    WAY(fence_set, AREA, "ar alloc mixed"),
    WAY(isolate_marked, AREA, "ar alloc mixed"),
    WAY(migrate_moved, AREA, "ar alloc big"),
    WAY(claim_counted, AREA, "ar alloc mixed"),
    WAY(fence_set, AREA, "discard"),
    WAY(fence_lift, FRAMES, "discard"),
    WAY(pool_lent, POOL, "pl alloc"),
    WAY(pool_lent, POOL, "pl cycle"),
    WAY(pool_hot, POOL, "pl cycle"),
    WAY(pool_got, POOL, "pl cycle"),
    WAY(pool_alloc, POOL, "pl alloc"),
    WAY(pool_slot, POOL, "pl free"),
    WAY(pool_rested, POOL, "pl free"),
    WAY(pool_rested, POOL, "pl cycle"),
    WAY(pool_free, POOL, "pl free"),
    WAY(pool_zeroing, POOL, "pl zero"),
    WAY(pool_zeroing, POOL, "pl prefill"),
    WAY(pool_unlocked, POOL, "pl zero"),
    WAY(pool_unlocked, POOL, "pl prefill"),
    WAY(pool_zeroed, POOL, "pl zero"),
    WAY(pool_guessed, POOL, "give"),
    WAY(pool_guessed, POOL, "contig part"),
    WAY(pool_filing, POOL, "give"),
    WAY(pool_filing, POOL, "contig part"),
    CUED(pool_filing, POOL, "give", C(migrate_begin, lock_first),
         C(migrate_unlockable, unlock_first)),
    WAY(pool_moved, POOL, "give"),
    WAY(pool_off, POOL, "pl trim"),
    WAY(pool_trim, POOL, "pl trim"),
    WAY(pool_off, POOL, "shrink"),
    WAY(pool_shrunk, POOL, "shrink"),
    WAY(isolate_begin, POOL, "give"),
    WAY(isolate_got, POOL, "give"),
    WAY(isolate_locked, POOL, "give"),
    WAY(isolate_asked, POOL, "give"),
    WAY(isolate_marked, POOL, "give"),
    WAY(migrate_locked, POOL, "give"),
    WAY(migrate_result, POOL, "give"),
    WAY(migrate_moved, POOL, "contig part"),
    WAY(shm_entered, SHM, "sm read"),
    WAY(shm_entered, SHM, "sm write away"),
    WAY(shm_left, SHM, "sm write"),
    WAY(shm_left, SHM, "sm read offered"),
    CUED(shm_claimed, SHM, "sm write sized", C(shm_entered, cut_and_grow)),
    CUED(shm_filled, SHM, "sm write sized", C(shm_entered, cut_and_grow)),
    WAY(shm_doomed, SHM, "sm resize"),
    WAY(shm_doomed, SHM, "shrink"),
    WAY(shm_reaping, SHM, "shrink"),
    WAY(shm_reaping, SHM, "sm resize"),
    WAY(shm_reaped, SHM, "shrink"),
    WAY(shm_reaped, SHM, "sm resize"),
    WAY(shm_emptied, SHM, "sm resize"),
    WAY(shm_emptied, SHM, "sm destroy"),
    WAY(shm_ending, SHM, "sm destroy"),
    WAY(shm_ended, SHM, "sm destroy"),
    WAY(shm_cut, SHM, "sm resize"),
    WAY(shm_settled, SHM, "sm pin"),
    WAY(shm_pinned, SHM, "sm pin"),
    WAY(shm_active, SHM, "sm run"),
    WAY(shm_attaching, SHM, "sm attach"),
    WAY(shm_detached, SHM, "sm attach"),
    WAY(shm_purging, SHM, "sm give"),
    WAY(shm_purging, SHM, "shrink"),
    WAY(shm_purged, SHM, "shrink"),
    WAY(shm_want, SHM, "sm want"),
    CUED(shm_tidied, SHM, "sm want", C(shm_want, purge_offered)),
    WAY(shm_counted_in, SHM, "sm give"),
    WAY(shm_prepared, SHM, "sm give"),
    WAY(shm_finish, SHM, "sm give"),
    WAY(shm_counted_out, SHM, "sm give"),
    WAY(shm_alone, SHM, "sm give"),
    WAY(shm_copied, SHM, "sm give"),
    WAY(shm_migrated, SHM, "sm give"),
    CUED(shm_refused, SHM, "sm give", C(shm_counted_in, sleep_device), C(shm_refused, wake_device)),
    WAY(shm_paid, SHM, "sm out"),
    WAY(shm_out_page, SHM, "sm out"),
    WAY(shm_out_freed, SHM, "sm out"),
    WAY(shm_out_end, SHM, "sm out"),
    WAY(shm_in_frames, SHM, "sm in"),
    WAY(shm_in_alone, SHM, "sm in"),
    WAY(shm_in_page, SHM, "sm in"),
    WAY(shm_in_end, SHM, "sm in"),
    WAY(isolate_asked, SHM, "sm give"),
    WAY(migrate_moved, SHM, "sm give"),
    WAY(share_look, SHARE, "alloc"),
    WAY(share_look, SHARE, "alloc pair"),
    WAY(share_raised, SHARE, "alloc"),
    WAY(share_raised, SHARE, "alloc pair"),
    WAY(alloc_reserved, SHARE, "alloc"),
    WAY(share_drained, SHARE, "sh lower"),
    WAY(share_set, SHARE, "sh lower"),
    WAY(share_set, SHARE, "sh lift"),
    WAY(free_gone, SHARE, "free pair"),
    WAY(migrate_moved, SHARE, "contig part"),
    WAY(migrate_result, SHARE, "contig part"),
};
const unsigned ways_n = sizeof(ways) / sizeof(ways[0]);
