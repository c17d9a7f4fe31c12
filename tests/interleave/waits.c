// SPDX-License-Identifier: Apache-2.0
#include "interleave/tables.h"

#include <sys/mman.h>

/* Who may wait for whom, while that one stands at a point; all three by how their
 * names begin.  (What waits for the test owner's own lock is not the library's.) */
static const struct wait {
    const char *point, *standing, *waiting;
} waits[] = {
    /* A drain of the CPUs' caches waits for another one. */
    {"block_stepped", "", "give"},
    {"free_bits", "", "give"},
    {"free_counted", "", "give"},
    /* An allocation that found nothing, for a free that has cleared bits and not counted
     * them yet: it is a moment, and the frames are there then. */
    {"free_bits", "free", "alloc"},
    /* Nor counts a reservation that may be given back. */
    {"alloc_reserved", "", "alloc"},
    /* An isolation ends under the frame's lock, which the owner has just now. */
    {"free_", "free locked", ""},
    {"free_", "zs free", "give"},
    {"zs_bury_locked", "zs free", "give"},
    /* Object compaction holds the class over the copy of one zspage, and the object. */
    {"zs_compact_", "", "give"},
    {"zs_compact_", "", "contig"},
    {"zs_compact_source", "", "zs free one"},
    {"zs_compact_", "", "zs open one"},
    /* A reader waits for the copy of its object's frame. */
    {"zs_migrate_alone", "", "zs read"},
    {"zs_migrate_copied", "", "zs read"},
    {"zs_migrate_chained", "", "zs read"},
    {"zs_migrate_alone", "", "zs open"},
    {"zs_migrate_copied", "", "zs open"},
    {"zs_migrate_chained", "", "zs open"},
    {"zs_migrate_alone", "", "st part"},
    {"zs_migrate_copied", "", "st part"},
    {"zs_migrate_chained", "", "st part"},
    {"zs_migrate_alone", "", "st read"},
    {"zs_migrate_copied", "", "st read"},
    {"zs_migrate_chained", "", "st read"},
    {"zs_migrate_alone", "", "st recompress"},
    {"zs_migrate_copied", "", "st recompress"},
    {"zs_migrate_chained", "", "st recompress"},
    /* So does write-back, which a shrinker begins. */
    {"zs_migrate_copied", "", "shrink"},
    /* Who writes a part of a block waits for who has claimed its object. */
    {"zs_claimed", "st ", "st part"},
    {"zs_look_", "st part", "st part"},
    {"zs_put", "st part", "st part"},
    {"zs_put", "st recompress", "st part"},
    /* Object compaction holds the class, and WRITER where objects slide. */
    {"zs_compact_", "", "st write"},
    {"zs_compact_", "", "st part"},
    {"zs_compact_", "", "st discard"},
    {"zs_compact_", "", "st move"},
    {"zs_compact_", "", "st read one"},
    {"zs_compact_", "", "st recompress"},
    {"zs_cut_locked", "", "give"},
    {"zs_cut_locked", "", "contig"},
    {"zs_cut_locked", "", "st write"},
    {"zs_cut_locked", "", "st part"},
    {"zs_cut_locked", "", "st discard"},
    {"zs_cut_locked", "", "st move"},
    {"zs_cut_locked", "", "st read one"},
    {"zs_cut_locked", "", "st recompress"},
    /* ... also while it frees the frames that it cuts off. */
    {"free_", "zs compact", "st "},
    {"free_", "shrink", "st "},
    /* Who writes a part of a block that is just being compared and shared; no one else does,
     * and nobody waits at any step of a shared entry's life. */
    {"zs_claimed", "dd join", "dd part"},
    {"zs_look_", "dd join", "dd part"},
    {"zs_put", "dd join", "dd part"},
    {"st_share", "dd join", "dd part"},
    {"zs_claimed", "st recompress", "dd part"},
    /* Moves of frames and objects, as above. */
    {"zs_migrate_alone", "", "dd "},
    {"zs_migrate_copied", "", "dd "},
    {"zs_migrate_chained", "", "dd "},
    {"zs_compact_", "", "dd "},
    {"zs_cut_locked", "", "dd "},
    {"free_", "zs compact", "dd "},
    {"free_", "shrink", "dd "},
    /* Write-back holds up nobody, but the copy that it makes waits for a frame that is moved;
     * parts of blocks as in the store's scene, the new object's frame included. */
    {"zs_migrate_alone", "", "wb "},
    {"zs_migrate_copied", "", "wb "},
    {"zs_migrate_chained", "", "wb "},
    {"zs_claimed", "wb part", "wb part"},
    {"zs_put", "wb part", "wb part"},
    {"zs_look_", "wb part away", "wb part away"},
    {"zs_grow", "wb part away", "wb part away"},
    {"zs_stocked", "wb part away", "wb part away"},
    {"alloc_", "wb part away", "wb part away"},
    {"block_stepped", "wb part away", "wb part away"},
    /* An area gives what it keeps, a block at a time, with its lock held, whoever asks. */
    {"kept_raised", "", ""},
    {"cma_returned", "", ""},
    {"free_bits", "", "ar "},
    {"free_bits", "ar off", ""},
    {"free_counted", "", "ar "},
    {"free_counted", "ar ", ""},
    {"block_stepped", "", "ar "},
    {"block_stepped", "ar ", ""},
    {"block_stepped", "shrink", "shrink"},
    {"block_stepped", "alloc block", "shrink"},
    {"index_mend", "", "ar "},
    {"index_mend", "", "give"},
    {"free_bits", "", "shrink"},
    {"free_counted", "", "shrink"},
    /* A pool of frames hands a unit over with the lock of its share of the slots. */
    {"pool_lent", "", ""},
    {"pool_slot", "", ""},
    {"pool_rested", "", ""},
    /* A page of an object that is made, moved, or on its way out or in; and who wants it alone,
     * for those who copy. */
    {"shm_alone", "sm give", "sm "},
    {"shm_copied", "sm give", "sm "},
    {"shm_claimed", "sm write sized", "sm "},
    {"shm_out_", "sm out", "sm write sized"},
    {"free_", "sm out", "sm write sized"},
    {"shm_in_", "sm in", "sm write away"},
    {"shm_in_", "sm in", "sm read away"},
    {"shm_entered", "sm write sized", "sm out"},
    {"shm_entered", "sm write away", "sm in"},
    {"shm_entered", "sm read away", "sm in"},
    /* Pages that go: for the run that has their frames locked. */
    {"shm_migrated", "sm give", "sm resize"},
    {"shm_migrated", "sm give", "sm out"},
    {"shm_refused", "sm give", "sm resize"},
    {"shm_refused", "sm give", "sm out"},
    {"migrate_", "sm give", "sm resize"},
    {"migrate_", "sm give", "sm out"},
    /* ... and the other way round. */
    {"free_", "sm resize", "sm give"},
    {"free_", "sm out", "sm give"},
    {"free_", "sm destroy", "sm give"},
    /* Who wants an object again waits until nobody purges it. */
    {"shm_purg", "", "sm want"},
    {"shm_doomed", "", "sm want"},
    {"shm_reap", "", "sm want"},
    {"shm_emptied", "", "sm want"},
    {"free_", "shrink", "sm want"},
    {"free_", "sm give", "sm want"},
    /* A pool that is destroyed waits until the framework lets go of its frames. */
    {"alloc_", "", "zs destroy"},
    {"free_gone", "", "zs destroy"},
    {"isolate_", "", "zs destroy"},
    {"migrate_", "", "zs destroy"},
    {"stall_frame", "", "zs destroy"},
    {"zs_isolate", "", "zs destroy"},
    {"zs_migrate", "", "zs destroy"},
};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };
static bool *met; /* by a process of any group */

void share_waits(void)
{
    met = mmap(NULL, WAITS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(met, MAP_FAILED);
}

void note_wait(int point, const struct op *standing, const struct op *waiting)
{
    bool may = false;

    for (unsigned i = 0; i < WAITS; i++) {
        const struct wait *w = &waits[i];

        if (begins(stage_point_name(point), w->point) && begins(standing->name, w->standing) &&
            begins(waiting->name, w->waiting))
            may = met[i] = true;
    }
    if (!may)
        fail_msg("\"%s\" waits for \"%s\" at %s; %s", waiting->name, standing->name,
                 stage_point_name(point), stage_now);
}

void every_wait_was_met(void)
{
    for (unsigned i = 0; i < WAITS; i++) {
        if (!met[i])
            fail_msg("\"%s\" never waits for \"%s\" at %s", waits[i].waiting, waits[i].standing,
                     waits[i].point);
    }
}
