// SPDX-License-Identifier: Apache-2.0
/* What the library does, step by step: a transcript of the functions that are named,
 * each statement one access to what is shared.  It ends a step with ok = whether it
 * was done. */

/* ---- src/frame ---- */

/* alloc.c, frame_gone: the frames come back. (B1, F5) */
inline frame_gone(nr) {
#if BREAK == RAISE_FIRST
    on_counts(B_RAISE, nr / BLOCK_FRAMES, gone, kind);
    clear(nr, gone);
#else
    clear(nr, gone);
    on_counts(B_RAISE, nr / BLOCK_FRAMES, gone, kind);
#endif
}

/* alloc.c, kli_settle. */
inline settle(edge, nr, arg) {
    on_frame(edge, nr, arg);
    if
    :: gone > 0 -> frame_gone(nr); gone = 0
    :: else
    fi
}

/* alloc.c, kli_alloc_in: nr is NOWHERE when there is no room. */
inline alloc_in(b, order, as, nr) {
    d_step {
        nr = NOWHERE; MINE(b); in_arg = order; in_kind = as;
        c_code { out_ok = step_block(&now.z, B_RESERVE, in_nr, ask(in_arg, in_kind), in_who); };
        ok = out_ok
    };
    if
    :: ok ->
        d_step {
            MINE(b); in_arg = order;
            c_code { out_nr = take_bits(&now.z, in_nr, in_arg); };
            nr = out_nr
        };
        if
        :: nr == NOWHERE -> on_counts(B_RAISE, b, 1 << order, as)
        :: else ->
            d_step {
                MINE(nr); in_arg = order; in_kind = as;
                c_code { name_frame(&now.z, in_nr, in_arg, in_kind, in_who); }
            }
        fi
    :: else
    fi
}

/* ---- src/move ---- */

/* isolate.c, kli_drop_target. */
inline drop_target(nr) {
#if BREAK != FORGET_TARGET
    settle(F_FREE, nr, OWNER);
#endif
    settle(F_UNLOCK, nr, 0)
}

/* The owner's callbacks wait for its lock. */
inline call_isolate(nr) {
    atomic {
        OWNER_IDLE ->
        d_step {
            MINE(nr); c_code { out_ok = owner_isolate(&now.z, in_nr, in_who); }; ok = out_ok
        }
    }
}

inline call_migrate(to, from) {
    atomic {
        OWNER_IDLE ->
        d_step {
            MINE(from); in_other = to;
            c_code { out_ok = owner_migrate(&now.z, in_other, in_nr, in_who); };
            ok = out_ok
        }
    }
}

inline call_putback(nr) {
    atomic {
        OWNER_IDLE ->
        d_step { MINE(nr); c_code { owner_putback(&now.z, in_nr, in_who); } }
    }
}

/* isolate.c, ask_owner: with the frame locked. */
inline ask_owner(nr) {
    look(nr, MAY_ISOLATE);
    if
    :: ok ->
        if
        :: call_isolate(nr)
        :: ok = false /* it refuses */
        fi;
        if
        :: ok ->
            on_frame(F_ISOLATE, nr, 0);
            if
            :: ok
            :: else ->
                look(nr, IS_MOVABLE);
#if BREAK != NO_PUTBACK
                if
                :: ok -> call_putback(nr); ok = false
                :: else
                fi
#else
                ok = false
#endif
            fi
        :: else
        fi
    :: else
    fi
}

/* isolate.c, owner_stays. */
inline owner_stays() {
#if BREAK == LEAVE_EARLY
    ok = true
#else
    d_step { c_code { out_ok = now.z.owner.used == REGISTERED; }; ok = out_ok }
#endif
}

/* isolate.c, kli_isolate: marked says whether src is isolated now. */
inline isolate(src, dst, target, marked) {
    marked = false;
    on_frame(F_GET, src, 0);
    if
    :: ok ->
        dst = NOWHERE;
        look(src, MAY_ISOLATE);
        if
        :: ok ->
            look(src, IS_PAIR); /* constant while there is a reference */
            order = ok;
            alloc_in(target, order, TARGET, dst)
        :: else
        fi;
        if
        :: dst != NOWHERE ->
            owner_stays();
            if
            :: ok -> on_frame(F_TRYLOCK, src, 0)
            :: else
            fi;
            if
            :: ok ->
                ask_owner(src);
                marked = ok;
                settle(F_UNLOCK, src, 0)
            :: else
            fi;
            if
            :: marked
            :: else -> drop_target(dst)
            fi
        :: else
        fi;
        if
        :: marked
        :: else -> settle(F_PUT, src, 0)
        fi
    :: else
    fi
}

/* migrate.c, put_back_locked. */
inline put_back_locked(src, dst) {
    look(src, IS_MOVABLE);
    if
    :: ok -> call_putback(src)
    :: else
    fi;
    drop_target(dst);
#if BREAK == RELEASE_UNLOCKED
    settle(F_UNLOCK, src, 0);
    on_frame(F_RELEASE, src, 0);
    assert(ok)
#else
    on_frame(F_RELEASE, src, 0);
    assert(ok);
    settle(F_UNLOCK, src, 0)
#endif
    ;
    settle(F_PUT, src, 0)
}

/* migrate.c, commit: moved says whether it was done. */
inline commit(src, dst, moved) {
    on_frame(F_MOVED, src, 0);
    moved = ok;
    if
    :: moved ->
        settle(F_PUBLISH, dst, 0);
        assert(ok);
        settle(F_UNLOCK, src, 0);
        settle(F_PUT, src, 0)
    :: else
    fi
}

/* migrate.c, kli_migrate of one frame. */
inline migrate(src, dst, moved) {
    moved = false;
    on_frame(F_TRYLOCK, src, 0);
    if
    :: ok ->
        look(src, IS_MOVABLE);
        if
        :: ok ->
            if
            :: call_migrate(dst, src)
            :: ok = false /* it fails */
            fi;
            if
            :: ok -> commit(src, dst, moved)
            :: else
            fi
        :: else
        fi
    :: else -> /* put_back: wait for the lock */
        atomic {
            c_expr { !(now.z.frame[Pmover->src] & KLI_F_LOCKED) } ->
            on_frame(F_TRYLOCK, src, 0)
        }
    fi;
    if
    :: moved
    :: else -> put_back_locked(src, dst)
    fi
}

/* present.c, kli_release_block; then the fence ends, one way or the other. */
inline release_block(b) {
    on_block(B_VACATE, b, BLOCK_FRAMES);
    if
    :: ok ->
        if
        :: on_block(B_LEFT, b, 0)
        :: on_block(B_STAYED, b, 0); ok = false
        fi
    :: else
    fi;
    if
    :: ok
    :: else -> on_block(B_UNFENCE, b, 0); assert(ok)
    fi
}
