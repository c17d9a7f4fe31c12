// SPDX-License-Identifier: Apache-2.0
/* Frames that are isolated, migrated, put back, freed and pinned while their block
 * is fenced, emptied and given back: every interleaving of a few threads.
 *
 * What runs are the transition functions of src/frame/state.h and block.h
 * themselves, each as one atomic step (steps.h).  The order of the steps is a
 * transcript of src/frame/{alloc,owner,present}.c and src/move/{isolate,migrate,
 * evacuate,giveback,contig}.c: a plain load is a step of its own there and here
 * (library.pml).
 *
 * Modelled: two blocks of two frames; an owner with two objects, a lock, and what
 *   its callbacks do; threads that allocate, free (with and without the frame's
 *   lock), pin and unpin; runs that empty a block into the other one; memory of
 *   blocks that goes and comes; a window that is claimed; an owner that leaves.
 * Checked: F1-F6 and B1-B4 after every step; each lock, mark and fence is used by
 *   the one who has it; no isolation twice and exactly one outcome of each; no
 *   bits freed twice, none lost; a pinned object stays where it is and is not
 *   freed; an object's frame is its own; a vacated block has nobody in it; all is
 *   recounted at the end, and every thread gets there (no deadlock).
 * Not modelled: weak memory orders (all steps are sequentially consistent here);
 *   more than one word of the bitmap; batches, prepare and asynchronous migration;
 *   counts that reach their limits; the choice of blocks; waiting allocations.
 * A try that may be repeated is tried once, at any time; the loops have bounds
 * (ROUNDS, OPS), so that every run ends and liveness is a matter of the end state.
 *
 * SCENE is what runs, BREAK what is wrong on purpose; tests/model/run.sh has both.
 */

#include "names.h"

c_decl {
    \#include "owner.h"
};
c_state "struct zone z" "Global"

#define RACE        1
#define PAIRS       2
#define TWO_RUNS    3
#define ONE_FRAME   4
#define TARGET_GOES 5
#define MEMORY      6
#define WINDOW      7
#define LEAVE       8
#define HAND        9

#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef OPS
#define OPS 2
#endif

#include "steps.pml"
#include "library.pml"
#include "threads.pml"

inline object(o, nr, order) {
    d_step {
        MINE(nr); in_other = o; in_arg = order;
        c_code { settle_in(&now.z, in_other, in_nr, in_arg); }
    }
}

init {
    atomic {
        c_code { begin(&now.z); };
#if SCENE == RACE /* the owner's threads against a run */
        object(0, 0, 0);
        run mover(0, true);
        run user(OPS, 0);
        run user(OPS, 0);
#elif SCENE == PAIRS /* the same, and the allocations are of order 1 */
        object(0, 0, 1);
        run mover(0, true);
        run user(OPS, 1);
        run user(OPS, 1);
#elif SCENE == TWO_RUNS /* each one's targets are in the other's block */
        object(0, 0, 0);
        object(1, 2, 0);
        run mover(0, true);
        run mover(1, true);
        run user(OPS, 0);
#elif SCENE == ONE_FRAME /* two want the same frames, and no fence is between them */
        object(0, 0, 0);
        run mover(0, false);
        run mover(0, false);
        run user(OPS, 0);
#elif SCENE == TARGET_GOES /* the block of the targets is given back meanwhile */
        object(0, 0, 0);
        run mover(0, true);
        run trimmer(1);
        run populator(1, 1);
        run user(OPS, 0);
#elif SCENE == MEMORY /* allocations while their block goes and comes */
        run tenant(OPS);
        run tenant(OPS);
        run trimmer(0);
        run populator(0, 2);
#elif SCENE == WINDOW /* a window is claimed */
        run tenant(OPS);
        run taker(0, 1);
        run taker(0, 2);
        run mover(0, true);
#elif SCENE == LEAVE /* the owner is unregistered */
        object(0, 2, 0);
        run leaver();
        run mover(1, true);
        run user(OPS, 0);
#elif SCENE == HAND /* frames that are handed over, against a run */
        object(0, 0, 0);
        run mover(0, true);
        run user(OPS, 0);
#else
#error "SCENE is none of these"
#endif
    };
    _nr_pr == 1 ->
    c_code { end(&now.z); }
}
