// SPDX-License-Identifier: Apache-2.0
/* One step each, as Promela sees it: arguments go to steps.h and results come back
 * within one d_step.  ok, gone, kind and sticks are the calling thread's (LAST). */

/* From Promela to C and back, within one step. */
hidden byte in_edge, in_nr, in_other, in_arg, in_kind, in_who;
hidden byte out_ok, out_sticks, out_nr, out_gone, out_kind;

/* What a thread keeps of its last step. */
#define LAST bool ok; byte gone, kind, sticks

#define MINE(nr) in_nr = nr; in_who = _pid

inline on_frame(edge, nr, arg) {
    d_step {
        MINE(nr); in_edge = edge; in_arg = arg;
        c_code {
            struct result r = step_frame(&now.z, in_edge, in_nr, in_arg, in_who);
            out_ok = r.ok; out_gone = r.gone; out_kind = r.gone_kind; out_sticks = r.sticks;
        };
        ok = out_ok; gone = out_gone; kind = out_kind; sticks = out_sticks
    }
}

inline on_block(edge, b, arg) {
    d_step {
        MINE(b); in_edge = edge; in_arg = arg;
        c_code { out_ok = step_block(&now.z, in_edge, in_nr, in_arg, in_who); };
        ok = out_ok
    }
}

/* The word's counts by n frames of that kind. */
inline on_counts(edge, b, n, of_kind) {
    d_step {
        MINE(b); in_edge = edge; in_arg = n; in_kind = of_kind;
        c_code { step_block(&now.z, in_edge, in_nr, counts(in_arg, in_kind), in_who); }
    }
}

inline on_stuck(edge, b, n) {
    d_step {
        MINE(b); in_edge = edge; in_arg = n;
        c_code { step_block(&now.z, in_edge, in_nr, in_arg * KLI_B_STUCK, in_who); }
    }
}

inline clear(nr, n) {
    d_step { MINE(nr); in_arg = n; c_code { clear_bits(&now.z, in_nr, in_arg); } }
}

/* A load of the block's word: has it nobody? */
inline pass_by(b) {
    d_step {
        MINE(b);
        c_code {
            uint64_t w = now.z.block[in_nr];
#if BREAK == PASS_BY_USED
            out_ok = kli_b_free(w) > 0;
#else
            out_ok = (w & KLI_B_ABSENT) || kli_b_free(w) == BLOCK_FRAMES;
#endif
        };
        ok = out_ok
    }
}

/* A load of the frame's word: is that so? */
inline look(nr, what) {
    d_step {
        MINE(nr); in_arg = what;
        c_code { out_ok = sees(now.z.frame[in_nr], in_arg); };
        ok = out_ok
    }
}

#define OWNER_IDLE   c_expr { now.z.owner.lock == 0 }
