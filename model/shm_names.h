// SPDX-License-Identifier: Apache-2.0
/* Numbers that the Promela and the C of the objects' model both use: macros only. */
#ifndef KLI_MODEL_SHM_NAMES_H
#define KLI_MODEL_SHM_NAMES_H

#define PAGES   2
#define FRAMES  4
#define NOWHERE 255
#define DEVICE  1

/* Words. */
#define LIFE 0
#define USE  1
#define PAGE 2 /* and the next ones */

/* Edges of `life`. */
#define L_VISIT   0
#define L_LEAVE   1
#define L_DESTROY 2
#define L_END     3
/* Edges of `use`. */
#define U_ACTIVATE   10
#define U_DEACTIVATE 11
#define U_BATCH      12
#define U_MOVED      13
#define U_BATCH_END  14
#define U_ATTACH     15
#define U_DETACH     16
#define U_WHOLE      17
#define U_WHOLE_END  18
#define U_PURGE      19
#define U_PURGE_END  20
#define U_WANT       21
#define U_WANTED     22
/* Edges of a page. */
#define P_CLAIM     30
#define P_FILL      31
#define P_EMPTY     32
#define P_ENTER     33
#define P_LEAVE     34
#define P_ISOLATE   35
#define P_PUTBACK   36
#define P_REFUSE    37
#define P_GRAB      38
#define P_GRAB_AWAY 39
#define P_KEEP      40
#define P_LAND      41
#define P_DOOM      42
#define P_AWAY      43

/* What a load is asked. */
#define IS_DOOMED  0
#define IS_REFUSED 1
#define IS_EMPTY   2
#define IS_AWAY    3
#define IS_BUSY    4
#define IS_PURGED  5
#define HAS_BATCH  6
#define IS_ENDING  7
#define IS_MOVING  8
#define IS_HERE    9

/* What is broken on purpose. */
#define NOTHING_BROKEN  0
#define GRAB_USED       1  /* a migration does not look at who copies */
#define ENTER_DOOMED    2  /* a copy does not look at DOOMED */
#define LOST_DOOM       3  /* a page lands without it */
#define WANT_PURGED     4  /* the owner does not wait for purgers */
#define OLD_COPY        5  /* a copy does not look at the generation */
#define ATTACH_BATCH    6  /* an attachment does not look at batches */
#define DETACH_BATCH    7  /* nor does the end of one */
#define ASYNC_ACTIVE    8  /* a batch that must not wait gets into what is active */
#define TELL_MOVING     9  /* who asks is told what is about to change */
#define VISIT_ENDING    10 /* a visit begins when nobody is there */
#define COUNT_FIRST     11 /* `here` falls before the page is EMPTY */
#define FREE_UNLOCKED   12 /* a frame is freed without its lock */
#define FORGET_SILENTLY 13 /* contents that are forgotten leave the generation */
#define WHOLE_PINNED    14 /* WHOLE does not look at pins and active */
#define LATE_SIZE       15 /* a resize looks at the pages, then stores the size */

#endif
