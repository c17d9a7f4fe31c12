// SPDX-License-Identifier: Apache-2.0
/* The threads of which the scenes are made. */

/* A run: empties a block into the other one and gives its memory back.  Without
 * a fence (no run of the library is so) two runs meet on the same frames. */
proctype mover(byte block; bool fences) {
    LAST;
    bool marked, moved, order;
    byte src, dst, round, i;

    ok = true;
    if
    :: fences -> on_block(B_FENCE, block, 0)
    :: else
    fi;
    if
    :: !ok -> goto done
    :: else
    fi;
    do
    :: round < ROUNDS ->
        round++;
        i = 0;
        do
        :: i < BLOCK_FRAMES ->
            src = block * BLOCK_FRAMES + i;
            isolate(src, dst, 1 - block, marked);
            if
            :: marked -> migrate(src, dst, moved)
            :: else
            fi;
            i++
        :: else -> break
        od
    :: else -> break
    od;
    if
    :: fences -> release_block(block)
    :: else
    fi;
done:
    skip
}

/* What a thread of the owner's does with its object o. */

#define HAS_HOME now.z.owner.home[Puser->o] != 0
#define IS_IDLE  now.z.owner.lock == 0

inline bring() {
    atomic {
        c_expr { IS_IDLE && !(HAS_HOME) && !now.z.owner.coming[Puser->o] } ->
        c_code { now.z.owner.coming[Puser->o] = 1; };
        if
        :: b = 0
        :: b = 1
        fi
    };
    alloc_in(b, order, MOVABLE, nr);
    atomic {
        OWNER_IDLE ->
        d_step {
            MINE(nr); in_other = o;
            c_code { owner_gets(&now.z, in_other, in_nr); };
            nr = 0; b = 0
        }
    }
}

/* With the owner's lock from here to owner_forgets or owner_pinned. */
inline enter() {
    atomic {
        c_expr { IS_IDLE && HAS_HOME } ->
        d_step {
            in_who = _pid;
            c_code {
                now.z.owner.lock = in_who + 1;
                out_nr = now.z.owner.home[Puser->o] - 1;
            };
            nr = out_nr
        }
    }
}

inline forget(freed) {
    d_step { in_nr = o; in_arg = freed; c_code { owner_forgets(&now.z, in_nr, in_arg); }; nr = 0 }
}

inline drop() {
    enter();
    settle(F_FREE, nr, OWNER);
    forget(ok)
}

/* As a zspage goes: with the frame's lock, so that no callback is under way. */
inline drop_locked() {
    enter();
    on_frame(F_TRYLOCK, nr, OWNER);
    if
    :: ok ->
        on_frame(F_FREE, nr, OWNER);
        freed = ok;
        settle(F_UNLOCK, nr, 0);
        assert(ok)
    :: else
    fi;
    forget(freed);
    freed = false
}

/* Object 1 is pinned by its name (pin.c), object 0 without (owner.c). */
inline pin() {
    enter();
    on_frame((o == 0 -> F_PIN : F_PIN_OBJECT), nr, OWNER);
    if
    :: sticks > 0 -> on_stuck(B_STICK, nr / BLOCK_FRAMES, sticks); sticks = 0
    :: else
    fi;
    d_step { in_nr = o; in_arg = ok; c_code { owner_pinned(&now.z, in_nr, in_arg); }; nr = 0 }
}

/* Without the owner's lock: who has a pin knows where the frame is. */
inline unpin() {
    atomic {
        c_expr { IS_IDLE && now.z.owner.pinned[Puser->o] > 0 } ->
        d_step {
            c_code {
                now.z.owner.pinned[Puser->o]--;
                out_nr = now.z.owner.home[Puser->o] - 1;
            };
            nr = out_nr
        }
    };
    on_frame((o == 0 -> F_UNPIN : F_UNPIN_OBJECT), nr, OWNER);
    assert(ok);
    if
    :: sticks > 0 -> on_stuck(B_UNSTICK, nr / BLOCK_FRAMES, sticks); sticks = 0
    :: else
    fi;
    nr = 0
}

/* To unmovable, and back: pool/alloc.c, by frame/hand.c. */
inline hand_over() {
    enter();
    look(nr, IS_MOVABLE);
    if
    :: ok ->
        on_stuck(B_STICK, nr / BLOCK_FRAMES, 1);
        on_frame(F_HAND, nr, 0);
        if
        :: !ok -> on_stuck(B_UNSTICK, nr / BLOCK_FRAMES, 1)
        :: else
        fi
    :: else ->
        on_frame(F_HAND, nr, 1);
        if
        :: ok -> on_stuck(B_UNSTICK, nr / BLOCK_FRAMES, 1)
        :: else
        fi
    fi;
    forget(false)
}

proctype user(byte ops; bool order) {
    LAST;
    bool freed;
    byte o, nr, b;

    do
    :: ops > 0 ->
        ops--;
        if
        :: o = 0
        :: o = 1
        fi;
        if
#if SCENE != LEAVE
        :: bring()
#else
        :: atomic { c_expr { !(HAS_HOME) } -> ops = 0 } /* who leaves allocates no more */
#endif
        :: drop()
        :: drop_locked()
#if SCENE == HAND
        :: hand_over()
#endif
        :: pin()
        :: unpin()
        fi
    :: else -> break
    od
}

/* Frames of no object: one comes and goes. */
proctype tenant(byte ops) {
    LAST;
    bool order;
    byte nr, as, b;

    do
    :: ops > 0 ->
        ops--;
        if
        :: order = 0
        :: order = 1
        fi;
        if
        :: as = UNMOVABLE
        :: as = MOVABLE
        fi;
        alloc_in(b, order, as, nr);
        if
        :: nr != NOWHERE -> settle(F_FREE, nr, OWNER); assert(ok)
        :: else
        fi
    :: else -> break
    od
}

/* giveback.c, trim_block. */
proctype trimmer(byte b) {
    LAST;

    d_step {
        MINE(b);
        c_code { out_ok = kli_b_free(now.z.block[in_nr]) == BLOCK_FRAMES; };
        ok = out_ok
    };
    if
    :: ok -> on_block(B_FENCE, b, 0)
    :: else
    fi;
    if
    :: ok -> release_block(b)
    :: else
    fi
}

/* present.c, populate_entered. */
proctype populator(byte b; byte tries) {
    LAST;

    do
    :: tries > 0 ->
        tries--;
        on_block(B_SUMMON, b, 0);
        if
        :: ok ->
            if
            :: on_block(B_ARRIVED, b, 0)
            :: on_block(B_LEFT, b, 0)
            fi;
            assert(ok)
        :: else
        fi
    :: else -> break
    od
}

/* contig.c, claim_window and name_frames: n frames of a block are claimed, and
 * freed some time later. */
inline claim(b, n, first_nr) {
    on_block(B_CLAIM, b, n);
    if
    :: ok ->
        d_step {
            MINE(first_nr); in_arg = n;
            c_code { out_ok = take_bits_at(&now.z, in_nr, in_arg); };
            ok = out_ok
        };
        if
        :: ok
        :: else -> on_counts(B_RAISE, b, n, UNMOVABLE)
        fi
    :: else
    fi
}

proctype taker(byte b; byte n) {
    LAST;
    byte from, nr;

    from = b * BLOCK_FRAMES;
    on_block(B_FENCE, b, 0);
    if
    :: ok ->
        claim(b, n, from);
        n = (ok -> n : 0);
        nr = from;
        do
        :: nr < from + n ->
            d_step { MINE(nr); c_code { name_frame(&now.z, in_nr, 0, UNMOVABLE, in_who); } };
            nr++
        :: else -> break
        od;
        on_block(B_UNFENCE, b, 0);
        assert(ok);
        nr = from;
        do
        :: nr < from + n -> settle(F_FREE, nr, OWNER); assert(ok); nr++
        :: else -> break
        od
    :: else
    fi
}

/* owner.c, kl_owner_unregister. */
proctype leaver() {
    bool ok;
    byte nr;

    c_code { now.z.owner.used = LEAVING; };
    do
    :: nr < FRAMES ->
        if
        :: nr % BLOCK_FRAMES == 0 -> pass_by(nr / BLOCK_FRAMES)
        :: else -> ok = false
        fi;
        if
        :: ok -> nr = nr + BLOCK_FRAMES
        :: else ->
            look(nr, IS_OWNED);
            if
            :: ok -> break
            :: else
            fi;
            nr++
        fi
    :: else -> break
    od;
    skip; /* no jump into a d_step */
    d_step {
        in_arg = (nr < FRAMES -> REGISTERED : GONE);
        c_code { now.z.owner.used = in_arg; check(&now.z); }
    }
}
