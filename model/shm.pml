// SPDX-License-Identifier: Apache-2.0
/* One object of two pages, and who copies, moves, drops, cuts, attaches, activates, carries away
 * and ends it: every interleaving of a few threads.
 *
 * What runs are the transition functions of src/shm/object.h and page.h themselves, each as one
 * atomic step (shm_steps.h).  The order of the steps is a transcript of src/shm/{page,object,
 * io,batch,migrate,purge,away,device}.c, whose functions are named.
 *
 * Modelled: the object's two words, its pages', its size and generation, frames with a lock and
 *   with what is in them, a device that works by the addresses it was told, a place.
 * Checked: E1-E3, U1-U4, L1-L3, T2 and W3 after every step; a page in work is changed by its
 *   worker only; no frame is freed twice, without its lock, or under a device that works on it;
 *   nobody copies from a frame that is somebody else's; a copy that says nothing of a purge saw
 *   all pages before it, or all after; all is recounted at the end, and every thread gets there.
 * Not modelled: weak memory orders; the states of frames (frame.pml); pins; lists; what fails.
 * A try that may be repeated is tried once or twice, at any time.
 *
 * SCENE is what runs, BREAK what is wrong on purpose; tests/model/run.sh has both. */

#include "shm_names.h"

c_decl {
    \#include "shm_steps.h"
};
c_state "struct shm s" "Global"

#define MOVE  1
#define DRIVE 2
#define SIZE  3
#define PURGE 4
#define END   5
#define TRIP  6
#define WHOLE 7
#define OUT   8

hidden byte in_word, in_edge, in_arg, in_nr, in_page, in_who;
hidden byte out_ok, out_last, out_nr;

/* What a thread keeps of its last step. */
#define LAST bool ok; byte nr

inline on(word, edge, arg) {
    d_step {
        in_word = word; in_edge = edge; in_arg = arg; in_who = _pid;
        c_code {
            uint64_t a = in_edge == U_WHOLE || in_edge == U_WHOLE_END
                             ? (in_arg ? KLI_U_AWAY : 0)
                             : in_arg;
            out_ok = step(&now.s, in_word, in_edge, a, in_who);
            out_last = out_ok && kli_l_is_ending(now.s.life);
        };
        ok = out_ok
    }
}

inline see(word, what) {
    d_step {
        in_word = word; in_arg = what;
        c_code { out_ok = sees(&now.s, in_word, in_arg); };
        ok = out_ok
    }
}

/* A frame that the page names. */
inline nr_of(p) {
    d_step { in_page = p; c_code { out_nr = kli_p_nr(now.s.page[in_page]) % FRAMES; }; nr = out_nr }
}

inline lock(n) {
    d_step { in_nr = n; in_who = _pid; c_code { out_ok = lock_frame(&now.s, in_nr, in_who); }; ok = out_ok }
}

inline unlock(n) {
    d_step { in_nr = n; in_who = _pid; c_code { unlock_frame(&now.s, in_nr, in_who); } }
}

inline free(n) {
    d_step { in_nr = n; in_who = _pid; c_code { free_frame(&now.s, in_nr, in_who); } }
}

inline less() {
    d_step { c_code { now.s.here--; } }
}

/* ---- page.c ---- */

inline reap(p, locked) {
    nr_of(p);
    on(PAGE + p, P_GRAB, nr);
    if
    :: ok ->
        if
        :: locked -> free(nr)
        :: else ->
#if BREAK == FREE_UNLOCKED
            free(nr)
#else
            lock(nr);
            if
            :: ok -> free(nr); unlock(nr); ok = true
            :: else -> on(PAGE + p, P_KEEP, 0); ok = false
            fi
#endif
        fi;
        if
        :: ok ->
#if BREAK == COUNT_FIRST
            less();
            on(PAGE + p, P_EMPTY, 0);
#else
            on(PAGE + p, P_EMPTY, 0);
            less();
#endif
        :: else
        fi
    :: else
    fi
}

inline drop(p, locked) {
    on(PAGE + p, P_DOOM, 0);
    if
    :: ok -> reap(p, locked)
    :: else
    fi
}

/* got: 0 busy, 1 entered, 2 nothing there (not to be filled, or behind the end). */
inline enter(p, fills, got) {
    got = 0;
    on(PAGE + p, P_ENTER, 0);
    if
    :: ok -> got = 1
    :: else ->
        see(PAGE + p, IS_EMPTY);
        if
        :: ok && !fills -> got = 2
        :: ok && fills ->
            on(PAGE + p, P_CLAIM, 0);
            if
            :: ok ->
                d_step {
                    in_page = p;
                    c_code { out_nr = new_frame(&now.s, in_page, 0); now.s.here++; };
                    nr = out_nr
                };
                on(PAGE + p, P_FILL, nr);
                d_step { in_page = p; c_code { out_ok = in_page < now.s.pages; }; ok = out_ok };
                if
                :: ok -> on(PAGE + p, P_ENTER, 0); got = ok
                :: else -> drop(p, false); got = 2
                fi
            :: else
            fi
        :: else ->
            see(PAGE + p, IS_DOOMED);
            if
            :: ok -> reap(p, false)
            :: else
            fi
        fi
    fi
}

inline exit(p) {
    d_step {
        in_word = PAGE + p; in_who = _pid;
        c_code {
            uint64_t w = now.s.page[in_word - PAGE];
            step(&now.s, in_word, P_LEAVE, 0, in_who);
            out_ok = (w & KLI_P_DOOMED) && kli_p_users(w) == 1;
        };
        ok = out_ok
    };
    if
    :: ok -> reap(p, false)
    :: else
    fi
}

/* ---- object.c ---- */

inline end_it() {
    drop(0, false);
    drop(1, false);
    d_step { c_code { out_ok = now.s.here > 0; }; ok = out_ok };
    if
    :: ok -> d_step { c_code { now.s.on_list = 1; } }
    :: else -> d_step { c_code { now.s.ends = 1; } }; on(LIFE, L_END, 0)
    fi
}

/* Takes the edge that may be the one which leaves nobody. */
inline depart(edge, arg) {
    atomic {
        on(LIFE, edge, arg);
        last = out_last;
        if
        :: last -> c_code { require(!now.s.ended, "L2: two end it"); now.s.ended = 1; }
        :: else
        fi
    };
    if
    :: last -> last = false; end_it()
    :: else
    fi
}

inline visit() {
    on(LIFE, L_VISIT, 1)
}

proctype destroyer() {
    LAST;
    bool last;

    depart(L_DESTROY, 1)
}

proctype sweeper() {
    LAST;
    bool mine;

    d_step { c_code { out_ok = now.s.on_list; now.s.on_list = 0; }; mine = out_ok };
    if
    :: mine -> end_it()
    :: else
    fi
}

/* ---- io.c ---- */

proctype copier(bool writes) {
    LAST;
    bool last;
    byte got, p, generation, bytes, first, letter;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    d_step { c_code { out_nr = now.s.pages; }; bytes = out_nr };
    d_step { c_code { out_nr = now.s.generation; }; generation = out_nr };
    do
    :: p < bytes ->
        see(USE, IS_PURGED);
        if
        :: ok -> got = 0
        :: else -> enter(p, writes, got)
        fi;
        if
        :: got == 0 -> goto leave
        :: got == 1 ->
            d_step {
                in_page = p; in_arg = writes;
                c_code { out_nr = touch_page(&now.s, in_page, in_arg); };
                letter = out_nr
            };
            exit(p)
        :: got == 2 -> letter = 0
        fi;
        if
        :: p == 0 -> first = letter
        :: else
        fi;
        p++
    :: else -> break
    od;
    see(USE, IS_PURGED);
    if
    :: ok -> goto leave
    :: else
    fi;
#if BREAK != OLD_COPY
    d_step { in_arg = generation; c_code { out_ok = now.s.generation != in_arg; }; ok = out_ok };
    if
    :: ok -> goto leave
    :: else
    fi;
#endif
    if
    :: !writes && bytes == PAGES && SCENE != SIZE -> assert(first == letter)
    :: else
    fi;
leave:
    depart(L_LEAVE, 0);
done:
    skip
}

inline set_pages(n) {
    d_step { in_arg = n; c_code { now.s.pages = in_arg; } }
}

/* drop_all of page 1: is it gone? */
inline drop_wait(p, gone) {
    drop(p, false);
    see(PAGE + p, IS_EMPTY);
    if
    :: ok
    :: else ->
        drop(p, false);
        see(PAGE + p, IS_EMPTY)
    fi;
    gone = ok
}

proctype resizer() {
    LAST;
    bool last, gone;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    on(USE, U_WHOLE, 0);
    if
    :: ok ->
#if BREAK == LATE_SIZE
        drop_wait(1, gone);
        if
        :: gone -> set_pages(1)
        :: else
        fi;
#else
        set_pages(1);
        drop_wait(1, gone);
        if
        :: gone
        :: else -> set_pages(2)
        fi;
#endif
        on(USE, U_WHOLE_END, 0)
    :: else
    fi;
    depart(L_LEAVE, 0);
done:
    skip
}

/* ---- batch.c and migrate.c: a run of one frame ---- */

#define DRIVER_FREE (driver == 0)
byte driver; /* the driver's lock */

inline purge_isolated(p) {
    on(USE, U_PURGE, 0);
    if
    :: ok ->
        on(PAGE + p, P_DOOM, 0);
        on(USE, U_PURGE_END, 0);
        drop(p, true);
        ok = false
    :: else ->
        on(PAGE + p, P_ISOLATE, src);
        if
        :: ok
        :: else ->
            see(PAGE + p, IS_DOOMED);
            if
            :: ok -> drop(p, true)
            :: else
            fi;
            ok = false
        fi
    fi
}

inline prepare(p, sync) {
    visit();
    visited = ok;
    if
    :: visited ->
        on(USE, U_BATCH, sync);
        in = ok;
        if
        :: in -> d_step { c_code { out_ok = kli_u_device(now.s.use) > 0; }; has = out_ok }
        :: else
        fi;
        if
        :: in && has ->
            if
            :: atomic { DRIVER_FREE -> d_step { c_code { now.s.runs = 0; } } }
            :: on(USE, U_MOVED, 0); on(USE, U_BATCH_END, 0); in = false /* it refuses */
            fi
        :: else
        fi;
        if
        :: !in -> on(PAGE + p, P_REFUSE, src)
        :: else
        fi
    :: else
    fi
}

inline is_ours(p) {
    d_step { in_nr = src; in_page = p; c_code { out_ok = now.s.frame[in_nr] == in_page + 1; }; ok = out_ok }
}

/* With the frame locked. */
inline migrate(p) {
    see(PAGE + p, IS_REFUSED);
    if
    :: ok -> ok = false
    :: else -> see(PAGE + p, IS_DOOMED); ok = !ok
    fi;
    if
    :: ok -> on(PAGE + p, P_GRAB, src)
    :: else
    fi;
    if
    :: ok ->
        see(USE, HAS_BATCH);
        if
        :: ok ->
            d_step {
                in_page = p; in_nr = src; in_who = _pid;
                c_code {
                    out_nr = new_frame(&now.s, in_page, in_who + 1);
                    copy_frame(&now.s, out_nr, in_nr);
                };
                nr = out_nr
            };
            on(PAGE + p, P_LAND, nr);
            moved = true;
            d_step { in_nr = src; c_code { now.s.frame[in_nr] = 0; now.s.letter[in_nr] = 3; } };
            unlock(nr)
        :: else -> on(PAGE + p, P_KEEP, 0)
        fi
    :: else
    fi
}

inline lock_wait() {
    atomic { c_expr { now.s.locker[Prunner->src] == 0 } ->
        d_step { in_nr = src; in_who = _pid; c_code { now.s.locker[in_nr] = in_who + 1; } } }
}

inline finish() {
    if
    :: in ->
        on(USE, U_MOVED, 0);
        if
        :: has -> atomic { DRIVER_FREE -> d_step { c_code { if (now.s.active) tell(&now.s); } } }
        :: else
        fi;
        on(USE, U_BATCH_END, 0);
        assert(ok)
    :: else
    fi;
    if
    :: visited -> depart(L_LEAVE, 0)
    :: else
    fi
}

proctype runner(byte p; bool sync) {
    LAST;
    bool last, marked, visited, in, has, moved;
    byte src;

    atomic {
        nr_of(p);
        src = nr;
        lock(src);
        if
        :: ok -> is_ours(p)
        :: else -> goto done
        fi;
        if
        :: ok -> d_step { in_nr = src; c_code { now.s.held[in_nr]++; } }
        :: else -> unlock(src); goto done
        fi
    };
    purge_isolated(p);
    marked = ok;
    unlock(src);
    if
    :: marked ->
        prepare(p, sync);
        lock_wait();
        is_ours(p);
        if
        :: ok ->
            migrate(p);
            if
            :: moved
            :: else ->
                on(PAGE + p, P_PUTBACK, src);
                see(PAGE + p, IS_DOOMED);
                if
                :: ok -> drop(p, true)
                :: else
                fi
            fi
        :: else
        fi;
        unlock(src);
        finish()
    :: else
    fi;
    d_step { in_nr = src; c_code { now.s.held[in_nr]--; } };
done:
    skip
}

/* ---- device.c ---- */

/* Activity: the device is told where to work, works, and is done. */
inline populate(p, got) {
    do
    :: atomic { c_expr { Pdriver_thread->p < now.s.pages } -> got = 0 };
        enter(p, true, got);
        if
        :: got == 1 -> exit(p); p++
        :: else -> break
        fi
    :: atomic { c_expr { Pdriver_thread->p >= now.s.pages } -> got = 1 }; break
    od
}

proctype driver_thread() {
    LAST;
    bool last;
    byte p, got;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    on(USE, U_ACTIVATE, 0);
    if
    :: ok ->
        populate(p, got);
        if
        :: got == 1 ->
            atomic { DRIVER_FREE -> driver = 1 };
            d_step { c_code { now.s.active = 1; tell(&now.s); } };
            driver = 0;
            atomic { DRIVER_FREE -> d_step { c_code { now.s.active = 0; now.s.runs = 0; } } }
        :: else
        fi;
        on(USE, U_DEACTIVATE, 0);
        assert(ok)
    :: else
    fi;
    depart(L_LEAVE, 0);
done:
    skip
}

proctype attacher() {
    LAST;

    on(USE, U_DETACH, 0);
    if
    :: ok -> on(USE, U_ATTACH, DEVICE)
    :: else
    fi
}

/* ---- purge.c ---- */

proctype shrinker() {
    LAST;
    bool last;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    on(USE, U_PURGE, 0);
    if
    :: ok ->
        drop(0, false);
        drop(1, false);
        on(USE, U_PURGE_END, 0);
        assert(ok)
    :: else
    fi;
    depart(L_LEAVE, 0);
done:
    skip
}

/* The owner wants it again. */
proctype wanter() {
    LAST;
    bool last, gone;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    d_step {
        in_who = _pid;
        c_code {
            out_nr = (now.s.use & KLI_U_PURGED) != 0;
            out_ok = step(&now.s, USE, U_WANT, 0, in_who);
            out_nr = out_nr && out_ok;
        };
        gone = out_nr
    };
    if
    :: gone ->
        drop_wait(0, gone);
        if
        :: gone -> drop_wait(1, gone)
        :: else
        fi;
        if
        :: gone ->
            d_step { c_code { now.s.generation++; } };
            on(USE, U_WANTED, 0)
        :: else -> on(USE, U_WHOLE_END, 0)
        fi
    :: else
    fi;
    depart(L_LEAVE, 0);
done:
    skip
}

/* ---- away.c ---- */

/* For oneself, from HERE; tried twice.  EMPTY pages are not in this scene. */
inline grab(p) {
    nr_of(p);
    on(PAGE + p, P_GRAB, nr);
    if
    :: ok
    :: else -> nr_of(p); on(PAGE + p, P_GRAB, nr)
    fi
}

inline copy_out(p) {
    d_step {
        in_page = p;
        c_code { now.s.away[in_page] = now.s.letter[kli_p_nr(now.s.page[in_page])]; }
    }
}

inline commit_out(p) {
    nr_of(p);
    atomic {
        c_expr { now.s.locker[Pgoer->nr] == 0 } -> lock(nr)
    };
    free(nr);
    unlock(nr);
    less();
    d_step { c_code { now.s.place = 1; } };
    on(PAGE + p, P_AWAY, 0)
}

proctype goer() {
    LAST;
    bool last;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    on(USE, U_WHOLE, 0);
    if
    :: !ok -> goto leave
    :: else
    fi;
    grab(0);
    if
    :: ok ->
        copy_out(0);
        grab(1);
        if
        :: ok -> copy_out(1); commit_out(0); commit_out(1)
        :: else -> on(PAGE + 0, P_KEEP, 0); ok = false
        fi
    :: else
    fi;
    if
    :: ok -> on(USE, U_WHOLE_END, 1); goto done /* the visit stays */
    :: else -> on(USE, U_WHOLE_END, 0)
    fi;
leave:
    depart(L_LEAVE, 0);
done:
    skip
}

inline grab_away(p) {
    on(PAGE + p, P_GRAB_AWAY, 0)
}

inline copy_in(p) {
    d_step {
        in_page = p;
        c_code {
            out_nr = new_frame(&now.s, in_page, 0);
            now.s.letter[out_nr] = now.s.away[in_page];
            now.s.here++;
        };
        nr = out_nr
    };
    on(PAGE + p, P_FILL, nr)
}

inline is_wanted() {
    d_step {
        c_code {
            out_ok = kli_l_state(now.s.life) == KLI_L_ALIVE || kli_l_users(now.s.life) > 0 ||
                     kli_l_visits(now.s.life) > 2;
        };
        ok = out_ok
    }
}

proctype comer() {
    LAST;
    bool last, wanted;

    visit();
    if
    :: !ok -> goto done
    :: else
    fi;
    on(USE, U_WHOLE, 1);
    if
    :: !ok -> goto leave
    :: else
    fi;
    is_wanted();
    wanted = ok;
    grab_away(0);
    if
    :: ok ->
        grab_away(1);
        if
        :: ok
        :: else -> on(PAGE + 0, P_AWAY, 0); ok = false
        fi
    :: else
    fi;
    if
    :: !ok -> on(USE, U_WHOLE_END, 1); goto leave
    :: ok && wanted -> copy_in(0); copy_in(1)
    :: ok && !wanted ->
#if BREAK != FORGET_SILENTLY
        d_step { c_code { now.s.generation++; } };
#endif
        on(PAGE + 0, P_EMPTY, 0); on(PAGE + 1, P_EMPTY, 0)
    fi;
    on(USE, U_WHOLE_END, 0);
    d_step { c_code { now.s.place = 0; } };
    depart(L_LEAVE, 0); /* the stay's */
leave:
    depart(L_LEAVE, 0);
done:
    skip
}

init {
    atomic {
#if SCENE == MOVE /* two runs, and the device comes and goes */
        c_code { begin(&now.s, DEVICE * KLI_U_DEVICE, false); };
        run runner(0, true);
        run runner(1, false);
        run attacher();
        run copier(true);
#elif SCENE == DRIVE /* two runs, and it works */
        c_code { begin(&now.s, DEVICE * KLI_U_DEVICE, false); };
        run runner(0, true);
        run runner(1, false);
        run driver_thread();
#elif SCENE == WHOLE /* its size is changed meanwhile */
        c_code { begin(&now.s, DEVICE * KLI_U_DEVICE, false); };
        run runner(1, true);
        run driver_thread();
        run resizer();
#elif SCENE == SIZE /* cut off while it is written and moved */
        c_code { begin(&now.s, 0, false); };
        run resizer();
        run copier(true);
        run runner(1, true);
#elif SCENE == PURGE
        c_code { begin(&now.s, KLI_U_PURGEABLE, false); };
        run copier(false);
        run shrinker();
        run wanter();
        run runner(0, true);
#elif SCENE == END
        c_code { begin(&now.s, 0, false); };
        run copier(true);
        run destroyer();
        run runner(0, true);
        run sweeper();
#elif SCENE == TRIP
        c_code { begin(&now.s, 0, true); };
        run comer();
        run copier(false);
        run destroyer();
#elif SCENE == OUT
        c_code { begin(&now.s, 0, false); };
        run goer();
        run copier(true);
        run runner(0, true);
#else
#error "SCENE is none of these"
#endif
    };
    _nr_pr == 1 ->
    c_code { end(&now.s); }
}
