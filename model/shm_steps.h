// SPDX-License-Identifier: Apache-2.0
/* The C of the objects' model: one step is one edge of src/shm applied to one word, and then a
 * look at every invariant.  Beside the words stands what they are checked against: who has a
 * page alone, what is in each frame, what the device believes. */
#ifndef KLI_MODEL_SHM_STEPS_H
#define KLI_MODEL_SHM_STEPS_H

#include "shm/object.h"
#include "shm/page.h"
#include "shm_names.h"

struct shm {
    uint64_t life, use, page[PAGES];
    uint8_t frame[FRAMES];  /* the page whose it is, plus one */
    uint8_t locker[FRAMES]; /* the thread that has its lock, plus one */
    uint8_t held[FRAMES];   /* references of the framework's */
    uint8_t letter[FRAMES]; /* what is in it: 1 as it was, 2 written, 0 zero */
    uint8_t alone[PAGES];   /* the thread that has the page BUSY or MOVING, plus one */
    uint8_t away[PAGES];    /* what is in the place */
    uint8_t place;          /* it is there */
    uint8_t here;           /* pages with a frame */
    uint8_t pages;          /* its size */
    uint8_t generation;
    uint8_t ended, ends; /* the end has begun; its tables are gone */
    uint8_t on_list;     /* of those that could not be ended */
    uint8_t runs;        /* the device works by the addresses it was told */
    uint8_t told[PAGES]; /* these */
    uint8_t active;      /* in the driver's eyes */
};

extern void (*uerror)(char *what); /* of pan: ends the search with this error */

static void require(bool holds, const char *what)
{
    if (!holds)
        uerror((char *)what);
}

static struct kli_step grab_used(uint64_t w, uint64_t nr)
{
    return kli_p_grab(w % KLI_P_USER, nr);
}

static struct kli_step enter_doomed(uint64_t w, uint64_t arg)
{
    struct kli_step step = kli_p_enter(w & ~KLI_P_DOOMED, arg);

    step.next |= step.ok ? w & KLI_P_DOOMED : 0;
    return step;
}

static struct kli_step land_bare(uint64_t w, uint64_t nr)
{
    return kli_p_land(w & ~KLI_P_DOOMED, nr);
}

static struct kli_step want_purged(uint64_t w, uint64_t arg)
{
    struct kli_step step = kli_u_want(w % KLI_U_PURGER, arg);

    step.next += step.ok ? kli_u_purgers(w) * KLI_U_PURGER : 0;
    return step;
}

#define BATCHES (UINT64_C(0x3fff) * KLI_U_BATCH)

static struct kli_step attach_batch(uint64_t w, uint64_t device)
{
    struct kli_step step = kli_u_attach(w & ~BATCHES, device);

    step.next |= step.ok ? w & BATCHES : 0;
    return step;
}

static struct kli_step detach_batch(uint64_t w, uint64_t arg)
{
    struct kli_step step = kli_u_detach(w & ~BATCHES, arg);

    step.next |= step.ok ? w & BATCHES : 0;
    return step;
}

static struct kli_step batch_active(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_u_batch(w, true);
}

static struct kli_step visit_ending(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_l_state(w) >= KLI_L_ALIVE ? KLI_STEP(w + KLI_L_VISIT) : KLI_REFUSED;
}

static struct kli_step whole_pinned(uint64_t w, uint64_t away)
{
    uint64_t held = w & UINT64_C(0xffffffff);
    struct kli_step step = kli_u_whole(w - held, away);

    step.next += step.ok ? held : 0;
    return step;
}

/* The real edge, unless this is what shall be broken. */
#define EDGE(edge, name, broken_edge) (BREAK == (name) ? (broken_edge) : (edge))

static kli_edge *const edges[] = {
    [L_VISIT] = EDGE(kli_l_visit, VISIT_ENDING, visit_ending),
    [L_LEAVE] = kli_l_leave,
    [L_DESTROY] = kli_l_destroy,
    [L_END] = kli_l_end,
    [U_ACTIVATE] = kli_u_activate,
    [U_DEACTIVATE] = kli_u_deactivate,
    [U_BATCH] = EDGE(kli_u_batch, ASYNC_ACTIVE, batch_active),
    [U_MOVED] = kli_u_moved,
    [U_BATCH_END] = kli_u_batch_end,
    [U_ATTACH] = EDGE(kli_u_attach, ATTACH_BATCH, attach_batch),
    [U_DETACH] = EDGE(kli_u_detach, DETACH_BATCH, detach_batch),
    [U_WHOLE] = EDGE(kli_u_whole, WHOLE_PINNED, whole_pinned),
    [U_WHOLE_END] = kli_u_whole_end,
    [U_PURGE] = kli_u_purge,
    [U_PURGE_END] = kli_u_purge_end,
    [U_WANT] = EDGE(kli_u_want, WANT_PURGED, want_purged),
    [U_WANTED] = kli_u_wanted,
    [P_CLAIM] = kli_p_claim,
    [P_FILL] = kli_p_fill,
    [P_EMPTY] = kli_p_empty,
    [P_ENTER] = EDGE(kli_p_enter, ENTER_DOOMED, enter_doomed),
    [P_LEAVE] = kli_p_leave,
    [P_ISOLATE] = kli_p_isolate,
    [P_PUTBACK] = kli_p_putback,
    [P_REFUSE] = kli_p_refuse,
    [P_GRAB] = EDGE(kli_p_grab, GRAB_USED, grab_used),
    [P_GRAB_AWAY] = kli_p_grab_away,
    [P_KEEP] = kli_p_keep,
    [P_LAND] = EDGE(kli_p_land, LOST_DOOM, land_bare),
    [P_DOOM] = kli_p_doom,
    [P_AWAY] = kli_p_away,
};

/* ---- invariants ---- */

static bool is_alone(uint64_t w)
{
    return kli_p_state(w) == KLI_P_BUSY || kli_p_state(w) == KLI_P_MOVING;
}

static void check_page(const struct shm *s, unsigned p)
{
    uint64_t w = s->page[p];
    enum kli_page_state state = kli_p_state(w);

    require(kli_p_users(w) == 0 || state == KLI_P_HERE || state == KLI_P_AWAY,
            "E1: somebody copies where nothing is");
    require(!is_alone(w) == !s->alone[p], "E1: a page in work without its worker");
    require(state != KLI_P_HERE || s->frame[kli_p_nr(w)] == p + 1, "E2: a page without its frame");
    require(!(w & KLI_P_REFUSED) || (w & KLI_P_ISOLATED), "T2: refused and not isolated");
    require(state != KLI_P_AWAY || s->place, "W3: away, and the place is gone");
}

static void check(const struct shm *s)
{
    uint64_t u = s->use;

    for (unsigned p = 0; p < PAGES; p++)
        check_page(s, p);
    require(!kli_u_is_held(u) || !(u & (KLI_U_NOT_HERE)), "U1: held, and not here");
    require(kli_u_moving(u) <= kli_u_batches(u), "U3: more is moving than there are batches");
    require(kli_u_purgers(u) == 0 || (u & KLI_U_PURGEABLE), "U2: purged and wanted");
    require(!s->ended || kli_l_visits(s->life) == 0, "L1: a visit of what has ended");
}

/* Whose turn it is to take that edge. */
static void judge(struct shm *s, int word, int edge, uint64_t old, uint64_t new, int who)
{
    unsigned p = (unsigned)(word - PAGE);

    if (word == USE) {
        if (kli_u_batches(old) > 0) {
            require(kli_u_device(old) == kli_u_device(new), "U3: the device of a batch changes");
            require(edge != U_ACTIVATE, "U3: an activity begins in a batch");
        }
        if (edge == U_WHOLE_END || edge == U_WANTED)
            require(old & KLI_U_WHOLE, "U1: the end of nothing");
        return;
    }
    if (word < PAGE)
        return;
    require(!s->ends, "L3: a page of what is gone");
    if (is_alone(old) && edge != P_DOOM && edge != P_PUTBACK && edge != P_REFUSE)
        require(s->alone[p] == who + 1, "E1: a page in other hands is changed");
    if (edge == P_ENTER)
        require(!(old & KLI_P_DOOMED), "E3: a doomed page is entered");
    if (edge == P_LAND)
        require((old & KLI_P_DOOMED) == (new &KLI_P_DOOMED), "E3: a doom is lost");
    s->alone[p] = is_alone(new) ? (is_alone(old) ? s->alone[p] : (uint8_t)(who + 1)) : 0;
}

static uint64_t *word_of(struct shm *s, int word)
{
    return word == LIFE ? &s->life : word == USE ? &s->use : &s->page[word - PAGE];
}

/* U4 is the caller's to know: arg is whether it may wait. */
static bool step(struct shm *s, int word, int edge, uint64_t arg, int who)
{
    uint64_t *w = word_of(s, word), old = *w;
    struct kli_step next = edges[edge](old, arg);

    if (!next.ok)
        return false;
    require(edge != U_BATCH || arg || kli_u_active(old) == 0,
            "U4: a batch that must not wait has what is active");
    *w = next.next;
    judge(s, word, edge, old, next.next, who);
    check(s);
    return true;
}

static bool sees(const struct shm *s, int word, int what)
{
    uint64_t w = word == LIFE ? s->life : word == USE ? s->use : s->page[word - PAGE];

    switch (what) {
    case IS_DOOMED:
        return w & KLI_P_DOOMED;
    case IS_REFUSED:
        return w & KLI_P_REFUSED;
    case IS_EMPTY:
        return kli_p_state(w) == KLI_P_EMPTY;
    case IS_AWAY:
        return kli_p_state(w) == KLI_P_AWAY;
    case IS_BUSY:
        return kli_p_state(w) == KLI_P_BUSY;
    case IS_PURGED:
        return (w & KLI_U_PURGED) != 0;
    case HAS_BATCH:
        return kli_u_batches(w) > 0;
    case IS_ENDING:
        return kli_l_is_ending(w);
    case IS_MOVING:
        return kli_u_moving(w) > 0 && kli_u_active(w) > 0;
    default:
        return kli_p_state(w) == KLI_P_HERE;
    }
}

/* ---- frames; their own words are the other model's ---- */

static unsigned new_frame(struct shm *s, unsigned p, int locker)
{
    for (unsigned nr = 0; nr < FRAMES; nr++) {
        if (s->frame[nr] == 0 && s->locker[nr] == 0 && s->held[nr] == 0) {
            s->frame[nr] = (uint8_t)(p + 1);
            s->locker[nr] = (uint8_t)locker;
            s->letter[nr] = 0;
            return nr;
        }
    }
    require(false, "the model has too few frames");
    return NOWHERE;
}

static bool lock_frame(struct shm *s, unsigned nr, int who)
{
    if (s->frame[nr] == 0 || s->locker[nr])
        return false;
    s->locker[nr] = (uint8_t)(who + 1);
    return true;
}

static void unlock_frame(struct shm *s, unsigned nr, int who)
{
    require(s->locker[nr] == who + 1, "another's lock");
    s->locker[nr] = 0;
}

/* What a copy finds in the page, or leaves there; with the page entered. */
static unsigned touch_page(struct shm *s, unsigned p, bool writes)
{
    uint64_t w = s->page[p];
    uint8_t *letter = kli_p_state(w) == KLI_P_AWAY ? &s->away[p] : &s->letter[kli_p_nr(w)];

    require(*letter != 3, "a copy of somebody else's frame");
    if (writes)
        *letter = 2;
    return *letter;
}

static void free_frame(struct shm *s, unsigned nr, int who)
{
    require(s->frame[nr] > 0, "a frame is freed twice");
    require(s->locker[nr] == who + 1, "E2: a frame is freed without its lock");
    for (unsigned p = 0; p < PAGES; p++)
        require(!s->runs || s->told[p] != nr + 1, "a frame is freed that the device works on");
    s->frame[nr] = 0;
    s->letter[nr] = 3; /* somebody else's */
}

/* The contents go to another frame; the old one is nobody's when its lock is dropped. */
static void copy_frame(struct shm *s, unsigned dst, unsigned src)
{
    for (unsigned p = 0; p < PAGES; p++)
        require(!s->runs || s->told[p] != src + 1, "a frame moves that the device works on");
    s->letter[dst] = s->letter[src];
}

/* ---- the device ---- */

/* kl_shm_sg: where the pages are, or no addresses. */
static bool tell(struct shm *s)
{
    if (BREAK != TELL_MOVING && sees(s, USE, IS_MOVING))
        return false;
    for (unsigned p = 0; p < s->pages; p++) {
        if (kli_p_state(s->page[p]) != KLI_P_HERE)
            return false;
    }
    for (unsigned p = 0; p < PAGES; p++)
        s->told[p] = p < s->pages ? (uint8_t)(kli_p_nr(s->page[p]) + 1) : 0;
    s->runs = 1;
    return true;
}

/* ---- beginning and end ---- */

static void begin(struct shm *s, uint64_t use, bool is_away)
{
    s->life = kli_l_publish(kli_l_make(0, 0).next, 0).next;
    s->use = use | (is_away ? KLI_U_AWAY : 0);
    s->pages = PAGES;
    for (unsigned p = 0; p < PAGES; p++) {
        if (is_away) {
            s->page[p] = kli_p_make(KLI_P_AWAY, 0);
            s->away[p] = 1;
            s->place = 1;
        } else {
            unsigned nr = new_frame(s, p, 0);

            s->page[p] = kli_p_make(KLI_P_HERE, nr);
            s->letter[nr] = 1;
            s->here++;
        }
    }
    s->life += is_away ? KLI_L_VISIT : 0;
    check(s);
}

static void end(const struct shm *s)
{
    unsigned here = 0;

    for (unsigned p = 0; p < PAGES; p++) {
        uint64_t w = s->page[p];

        require(!is_alone(w) && kli_p_users(w) == 0, "a page is in work at the end");
        require(!(w & KLI_P_ISOLATED), "a page is isolated at the end");
        here += kli_p_state(w) == KLI_P_HERE;
        require(p < s->pages || kli_p_state(w) != KLI_P_HERE || (w & KLI_P_DOOMED),
                "a page behind the end stays");
    }
    require(here == s->here, "frames are miscounted at the end");
    for (unsigned nr = 0; nr < FRAMES; nr++)
        require(!s->locker[nr], "a frame is locked at the end");
    require(kli_u_batches(s->use) == 0 && kli_u_purgers(s->use) == 0 && !(s->use & KLI_U_WHOLE),
            "U3: a batch or a purge at the end");
    require(!kli_l_is_ending(s->life) || s->on_list || s->ends, "L2: nobody ends it");
}

#endif
