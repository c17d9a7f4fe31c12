// SPDX-License-Identifier: Apache-2.0
#include "interleave/tables.h"

/* Who may wait for whom, while that one stands at a point; all three by how their
 * names begin.  (What waits for the test owner's own lock is not the library's.) */
static struct wait {
    const char *point, *standing, *waiting;
    bool met;
} waits[] = {
    /* A drain of the CPUs' caches waits for another one. */
    {"block_stepped", "", "give", false},
    {"free_bits", "", "give", false},
    {"free_counted", "", "give", false},
    /* An allocation that found nothing, for a free that has cleared bits and not counted
     * them yet: it is a moment, and the frames are there then. */
    {"free_bits", "free", "alloc", false},
    /* Nor counts a reservation that may be given back. */
    {"alloc_reserved", "", "alloc", false},
    /* An isolation ends under the frame's lock, which the owner has just now. */
    {"free_", "free locked", "", false},
    {"free_", "zs free", "give", false},
    {"zs_bury_locked", "zs free", "give", false},
    /* Object compaction holds the class over the copy of one zspage, and the object. */
    {"zs_compact_", "", "give", false},
    {"zs_compact_", "", "contig", false},
    {"zs_compact_source", "", "zs free one", false},
    {"zs_compact_", "", "zs open one", false},
    /* A reader waits for the copy of its object's frame. */
    {"zs_migrate_alone", "", "zs read", false},
    {"zs_migrate_copied", "", "zs read", false},
    {"zs_migrate_chained", "", "zs read", false},
    {"zs_migrate_alone", "", "zs open", false},
    {"zs_migrate_copied", "", "zs open", false},
    {"zs_migrate_chained", "", "zs open", false},
    {"zs_migrate_alone", "", "st part", false},
    {"zs_migrate_copied", "", "st part", false},
    {"zs_migrate_chained", "", "st part", false},
    {"zs_migrate_alone", "", "st read", false},
    {"zs_migrate_copied", "", "st read", false},
    {"zs_migrate_chained", "", "st read", false},
    {"zs_migrate_alone", "", "st recompress", false},
    {"zs_migrate_copied", "", "st recompress", false},
    {"zs_migrate_chained", "", "st recompress", false},
    /* So does write-back, which a shrinker begins. */
    {"zs_migrate_copied", "", "shrink", false},
    /* Who writes a part of a block waits for who has claimed its object. */
    {"zs_claimed", "st ", "st part", false},
    {"zs_look_", "st part", "st part", false},
    {"zs_put", "st part", "st part", false},
    {"zs_put", "st recompress", "st part", false},
    /* Object compaction holds the class, and WRITER where objects slide. */
    {"zs_compact_", "", "st write", false},
    {"zs_compact_", "", "st part", false},
    {"zs_compact_", "", "st discard", false},
    {"zs_compact_", "", "st move", false},
    {"zs_compact_", "", "st read one", false},
    {"zs_compact_", "", "st recompress", false},
    {"zs_cut_locked", "", "give", false},
    {"zs_cut_locked", "", "contig", false},
    {"zs_cut_locked", "", "st write", false},
    {"zs_cut_locked", "", "st part", false},
    {"zs_cut_locked", "", "st discard", false},
    {"zs_cut_locked", "", "st move", false},
    {"zs_cut_locked", "", "st read one", false},
    {"zs_cut_locked", "", "st recompress", false},
    /* ... also while it frees the frames that it cuts off. */
    {"free_", "zs compact", "st ", false},
    {"free_", "shrink", "st ", false},
    /* Who writes a part of a block that is just being compared and shared; no one else does,
     * and nobody waits at any step of a shared entry's life. */
    {"zs_claimed", "dd join", "dd part", false},
    {"zs_look_", "dd join", "dd part", false},
    {"zs_put", "dd join", "dd part", false},
    {"st_share", "dd join", "dd part", false},
    {"zs_claimed", "st recompress", "dd part", false},
    /* Moves of frames and objects, as above. */
    {"zs_migrate_alone", "", "dd ", false},
    {"zs_migrate_copied", "", "dd ", false},
    {"zs_migrate_chained", "", "dd ", false},
    {"zs_compact_", "", "dd ", false},
    {"zs_cut_locked", "", "dd ", false},
    {"free_", "zs compact", "dd ", false},
    {"free_", "shrink", "dd ", false},
    /* Write-back holds up nobody, but the copy that it makes waits for a frame that is moved;
     * parts of blocks as in the store's scene, the new object's frame included. */
    {"zs_migrate_alone", "", "wb ", false},
    {"zs_migrate_copied", "", "wb ", false},
    {"zs_migrate_chained", "", "wb ", false},
    {"zs_claimed", "wb part", "wb part", false},
    {"zs_put", "wb part", "wb part", false},
    {"zs_look_", "wb part away", "wb part away", false},
    {"zs_grow", "wb part away", "wb part away", false},
    {"zs_stocked", "wb part away", "wb part away", false},
    {"alloc_", "wb part away", "wb part away", false},
    {"block_stepped", "wb part away", "wb part away", false},
    /* An area gives what it keeps, a block at a time, with its lock held, whoever asks. */
    {"kept_raised", "", "", false},
    {"cma_returned", "", "", false},
    {"free_bits", "", "ar ", false},
    {"free_bits", "ar off", "", false},
    {"free_counted", "", "ar ", false},
    {"free_counted", "ar ", "", false},
    {"block_stepped", "", "ar ", false},
    {"block_stepped", "ar ", "", false},
    {"block_stepped", "shrink", "shrink", false},
    {"block_stepped", "alloc block", "shrink", false},
    {"index_mend", "", "ar ", false},
    {"index_mend", "", "give", false},
    {"free_bits", "", "shrink", false},
    {"free_counted", "", "shrink", false},
    /* A pool of frames hands a unit over with the lock of its share of the slots. */
    {"pool_lent", "", "", false},
    {"pool_slot", "", "", false},
    {"pool_rested", "", "", false},
    /* A page of an object that is made, moved, or on its way out or in; and who wants it alone,
     * for those who copy. */
    {"shm_alone", "sm give", "sm ", false},
    {"shm_copied", "sm give", "sm ", false},
    {"shm_claimed", "sm write sized", "sm ", false},
    {"shm_out_", "sm out", "sm write sized", false},
    {"free_", "sm out", "sm write sized", false},
    {"shm_in_", "sm in", "sm write away", false},
    {"shm_in_", "sm in", "sm read away", false},
    {"shm_entered", "sm write sized", "sm out", false},
    {"shm_entered", "sm write away", "sm in", false},
    {"shm_entered", "sm read away", "sm in", false},
    /* Pages that go: for the run that has their frames locked. */
    {"shm_migrated", "sm give", "sm resize", false},
    {"shm_migrated", "sm give", "sm out", false},
    {"shm_refused", "sm give", "sm resize", false},
    {"shm_refused", "sm give", "sm out", false},
    {"migrate_", "sm give", "sm resize", false},
    {"migrate_", "sm give", "sm out", false},
    /* ... and the other way round. */
    {"free_", "sm resize", "sm give", false},
    {"free_", "sm out", "sm give", false},
    {"free_", "sm destroy", "sm give", false},
    /* Who wants an object again waits until nobody purges it. */
    {"shm_purg", "", "sm want", false},
    {"shm_doomed", "", "sm want", false},
    {"shm_reap", "", "sm want", false},
    {"shm_emptied", "", "sm want", false},
    {"free_", "shrink", "sm want", false},
    {"free_", "sm give", "sm want", false},
    /* A pool that is destroyed waits until the framework lets go of its frames. */
    {"alloc_", "", "zs destroy", false},
    {"free_gone", "", "zs destroy", false},
    {"isolate_", "", "zs destroy", false},
    {"migrate_", "", "zs destroy", false},
    {"stall_frame", "", "zs destroy", false},
    {"zs_isolate", "", "zs destroy", false},
    {"zs_migrate", "", "zs destroy", false},
};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

void note_wait(int point, const struct op *standing, const struct op *waiting)
{
    bool may = false;

    for (unsigned i = 0; i < WAITS; i++) {
        struct wait *w = &waits[i];

        if (begins(stage_point_name(point), w->point) && begins(standing->name, w->standing) &&
            begins(waiting->name, w->waiting))
            may = w->met = true;
    }
    if (!may)
        fail_msg("\"%s\" waits for \"%s\" at %s; %s", waiting->name, standing->name,
                 stage_point_name(point), stage_now);
}

void every_wait_was_met(void)
{
    for (unsigned i = 0; i < WAITS; i++) {
        if (!waits[i].met)
            fail_msg("\"%s\" never waits for \"%s\" at %s", waits[i].waiting, waits[i].standing,
                     waits[i].point);
    }
}
