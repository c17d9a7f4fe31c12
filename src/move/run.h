// SPDX-License-Identifier: Apache-2.0
/* One run of moving frames: what compaction, giving back and contiguous ranges
 * have in common.
 *
 * A run fences blocks, empties them into target blocks, and lifts the fences.
 * It belongs to one thread; any number of runs may be under way in a zone.
 *
 * (R1) Between kli_run_begin and kli_run_end the run is a hold (frame/zone.h), so
 *      that an allocation about to fail waits for it.  Not one that only begins moves, or
 *      ends them (kli_run_half).
 * (R2) Every fence that a run sets, it lifts (or turns into an absent block).
 * (R3) No lock is held over a callback but the locks of the frames it names.
 * (R4) What is counted a frame at a time is counted in the run's own memory; shared
 *      counters get the sums, at the end or when another owner needs the place.
 */
#ifndef KLI_MOVE_RUN_H
#define KLI_MOVE_RUN_H

#include "frame/zone.h"
#include "klotski/contig.h"

/* The open blocks of a zone, sparse ones first. */
struct kli_plan {
    uint32_t *block;
    uint32_t n;
    uint32_t *end; /* by frames in use, 0 to all: behind the last block with so many */
    size_t bytes;  /* of both arrays */
    uint64_t free; /* frames free in all of them */
};

/* What a run has done for one owner and not yet added to the owner's counters. */
struct kli_tally {
    uint16_t owner;
    bool begun;
    uint32_t term; /* of the owner when it began */
    uint32_t n[KLI_C_STALLS];
};

/* The owner's place is its id modulo this: ids are given from 1 on, so with up to so
 * many owners a run writes each one's shared counters once. */
enum { KLI_TALLIES = 16 };

struct kli_run {
    struct kl_zone *zone;
    enum kl_mode mode;
    enum kli_want want;    /* what a target block may be */
    bool fenced;           /* it has kept others out of a block */
    bool idle;             /* nothing is to be moved: no callbacks */
    bool may_populate;     /* targets may be blocks that are absent now, */
    bool keep_soft;        /* but not beyond the soft limit */
    bool out_of_areas;     /* targets in areas (klotski/cma.h) only when there are no others */
    struct kli_run *outer; /* of a run within a run (room.c), else NULL */
    struct kli_emptier *emptier; /* it has targets of its own (empty.h), else NULL */
    unsigned hopeless; /* no room could be made for this order, nor for more; 0: none yet */
    uint32_t budget;   /* frames moved, after which it ends; 0: no bound */
    struct kl_report report;
    struct kli_tally tally[KLI_TALLIES];
    struct kli_plan plan;
    uint32_t target[KLI_ORDERS]; /* by order: from the plan's end; those >= are used up */
    uint32_t lowest;             /* first target */
    uint32_t keep_nr, keep_n;    /* a window that must stay free; its edge blocks, which
                                  * the run has fenced, may be targets beside it */
};

/* run.c */
void kli_run_begin(struct kli_run *run, struct kl_zone *zone, enum kl_mode mode);
void kli_run_end(struct kli_run *run, struct kl_report *report);
/* Half of one, that waits for nobody and that nobody waits for; its end. */
void kli_run_half(struct kli_run *run, struct kl_zone *zone);
void kli_run_half_end(struct kli_run *run);
/* To a caller's report, which may be shorter than ours, or NULL: what it is before a run. */
static inline void kli_report_clear(struct kl_report *report)
{
    const struct kl_report nothing = {.size = sizeof(nothing)};

    if (report)
        kli_stats_out(report, &nothing, sizeof(nothing));
}
/* What a run within a run has done becomes the outer one's. */
void kli_run_absorb(struct kli_run *outer, struct kli_run *inner);
/* One more of the owner's (0: nobody's), in the report too. */
void kli_tally(struct kli_run *run, unsigned owner, enum kli_counter counter);
/* A call that makes a run begins, and ends with err (returned). */
void kli_run_asked(struct kl_zone *zone, enum kli_run_kind kind);
int kli_run_ended(struct kl_zone *zone, enum kli_run_kind kind, int err);
bool kli_fence(struct kli_run *run, uint32_t block);
void kli_unfence(struct kli_run *run, uint32_t block);

/* blame.c: who is in the way.  The first frame that is blamed stays; a block or the
 * lack of room only as long as there is none. */
enum kl_in_way kli_in_way(const struct kl_zone *zone, uint64_t word);
void kli_describe(struct kl_zone *zone, uint32_t nr, uint64_t word, enum kl_in_way kind,
                  struct kl_obstacle *obstacle);
void kli_report_culprit(struct kl_report *report, const struct kl_obstacle *obstacle);
bool kli_explain(struct kl_zone *zone, uint32_t nr, char *text, size_t bytes);
void kli_blame(struct kli_run *run, uint32_t nr, uint64_t word);
void kli_blame_owner(struct kli_run *run, uint32_t nr, uint64_t word);
void kli_blame_fence(struct kli_run *run, uint32_t block);
void kli_blame_room(struct kli_run *run);
void kli_blame_any(struct kli_run *run, uint32_t from, uint32_t to);
void kli_blame_area(struct kli_run *run, uint32_t block);
void kli_absolve(struct kli_run *run);
/* At the end of a run: asks the culprit's owner, if it may be for a reason of its. */
void kli_ask_why(struct kli_run *run);

/* plan.c: built when it is first needed.  -KL_ENOMEM: no metadata. */
int kli_plan(struct kli_run *run);
void kli_plan_free(struct kli_run *run);
/* A locked frame of the owner's, not yet movable, in the densest block that has
 * room; false: there is none. */
bool kli_target(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr);

/* room.c: the same, for several frames, where others must move first. */
bool kli_make_room(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr);
/* settle.c: the same in a block of unmovable kind, for a run that wants that. */
bool kli_target_apart(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr);

/* isolate.c */
enum kli_found { KLI_ISOLATED, KLI_BUSY, KLI_STUCK, KLI_NO_ROOM, KLI_NOTHING };
enum kli_found kli_isolate(struct kli_run *run, uint32_t nr, struct kl_move *move);
bool kli_lock_frame(struct kl_zone *zone, uint32_t nr, enum kl_mode mode);
void kli_drop_target(struct kl_zone *zone, kl_pfn dst);

/* migrate.c */
enum { KLI_BATCH = 32 };
/* Ends the isolation of n frames, one way or the other.  What they could not
 * move is KLI_BUSY (may be tried again) or KLI_STUCK; else KLI_ISOLATED. */
enum kli_found kli_migrate(struct kli_run *run, struct kl_move *moves, size_t n);
/* The same of frames whose contents the owner has copied since they were isolated, so each
 * result says: 0, then the owner's migrate hands the identity over; or an error.  Outside of
 * a run, from any thread; waits for nothing but a frame's lock. */
void kli_arrive(struct kli_run *run, struct kl_move *moves, size_t n);

/* evacuate.c: empties n frames from nr on, whose blocks are fenced by the run.
 * 0: no allocation was there at one moment.  -KL_EBUSY, -KL_ENOMEM; -KL_EAGAIN: the
 * budget ended it. */
int kli_evacuate(struct kli_run *run, uint32_t nr, uint32_t n);
/* Waits a little after a round that got nothing done; false: long enough. */
bool kli_be_patient(struct kli_run *run, uint64_t since, unsigned idle_rounds);
/* Empties one block that this fences; on failure the fence is lifted again. */
int kli_evacuate_block(struct kli_run *run, uint32_t block);

/* giveback.c: n blocks, all or nothing; whose they are is the caller's to count. */
int kli_give(struct kl_zone *zone, uint32_t n, enum kl_mode mode, struct kl_report *report);
/* As kl_zone_trim, but `most` blocks at most. */
int kli_trim(struct kl_zone *zone, uint32_t keep, uint32_t most);

#endif
