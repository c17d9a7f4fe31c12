// SPDX-License-Identifier: Apache-2.0
/* Numbers that the Promela and the C of the model both use: macros only. */
#ifndef KLI_MODEL_NAMES_H
#define KLI_MODEL_NAMES_H

/* Two blocks of two frames. */
#define BLOCKS       2
#define BLOCK_FRAMES 2
#define FRAMES       4
#define OBJECTS      2
#define NOWHERE      255
#define OWNER        1

/* Edges of a frame's word. */
#define F_GET          0
#define F_PUT          1
#define F_TRYLOCK      2
#define F_UNLOCK       3
#define F_ISOLATE      4
#define F_RELEASE      5
#define F_MOVED        6
#define F_PUBLISH      7
#define F_FREE         8
#define F_PIN          9
#define F_UNPIN        10
#define F_PIN_OBJECT   11
#define F_UNPIN_OBJECT 12
#define F_HAND         13 /* arg 0: to unmovable; 1: back */

/* Edges of a block's word. */
#define B_RESERVE 0
#define B_RAISE   1
#define B_STICK   2
#define B_UNSTICK 3
#define B_FENCE   4
#define B_UNFENCE 5
#define B_CLAIM   6
#define B_VACATE  7
#define B_SUMMON  8
#define B_ARRIVED 9  /* settle: memory came */
#define B_LEFT    10 /* settle: there is none */
#define B_STAYED  11 /* settle: it could not go */

/* Kinds of a new frame. */
#define UNMOVABLE 0
#define MOVABLE   1
#define TARGET    2 /* locked, not movable yet */

/* What a load of a frame's word is asked. */
#define MAY_ISOLATE 0
#define IS_MOVABLE  1
#define IS_PAIR     2
#define IS_OWNED    3

/* The owner's slot. */
#define REGISTERED 0
#define LEAVING    1
#define GONE       2

/* What is broken on purpose. */
#define NOTHING_BROKEN   0
#define PUBLISH_DYING    1  /* publish makes a freed frame movable */
#define RELEASE_UNLOCKED 2  /* the mark is taken off without the lock */
#define RAISE_FIRST      3  /* free count raised before the bits are clear */
#define FREE_PINNED      4  /* free does not look at the pins */
#define PIN_ISOLATED     5  /* pin does not look at the mark */
#define VACATE_STUCK     6  /* vacate does not wait for unpins to be counted */
#define ISOLATE_TWICE    7  /* nobody looks at the mark before isolating */
#define ZERO_LOCKED      8  /* free does not wait for the unlock */
#define NO_PUTBACK       9  /* a mark that fails is not taken back at the owner */
#define FENCE_TWICE      10 /* two may fence one block */
#define RESERVE_FENCED   11 /* an allocation enters a fenced block */
#define LEAVE_EARLY      12 /* nobody looks at the owner after reserving */
#define FORGET_TARGET    13 /* a destination that was not used is not freed */
#define PASS_BY_USED     14 /* who leaves does not look into blocks that are partly used */
#define HAND_LOCKED      15 /* a hand over does not look at the lock */
#define HAND_PINNED      16 /* nor at the pins */

#endif
