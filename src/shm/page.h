// SPDX-License-Identifier: Apache-2.0
/* The word of one page of an object: its states, and every edge.
 *
 *   bits  0-31 nr       its frame (HERE, MOVING)
 *   bits 32-34 state
 *   bit  35    ISOLATED promised to a migration (HERE, MOVING)
 *   bit  36    REFUSED  its batch was: migrate answers "busy" (ISOLATED; also while somebody
 *                      has it MOVING, who may give up)
 *   bit  37    DOOMED   to be dropped as soon as nobody uses it
 *   bits 40-63 users    who copies to or from it
 *
 *            claim           fill                    grab (users == 0)
 *   EMPTY ----------> BUSY ----------> HERE ------------------------------> MOVING
 *     ^  ^             | ^              ^ |  isolate, putback, refuse         |
 *     |  '-------------' |              | '- enter, leave, doom               |
 *     |       empty      | grab         |                                     |
 *     |                  |              '----- land (another frame) ----------|
 *     |                AWAY             '----- keep (the same one) -----------|
 *     |                  ^------------------- away ---------------------------|
 *     |                  (also from BUSY)                                     |
 *     '----------------------- empty -----------------------------------------'
 *
 * Invariants
 * (E1) users > 0 in HERE and AWAY only; so who has BUSY or MOVING has the page alone.
 * (E2) A frame of ours whose private word names a page is named by that page, and is freed
 *      only by who holds the frame's lock, or is its callback.  So a callback that finds
 *      its page may use it and its object until it returns, or frees the frame.
 * (E3) DOOMED lets nobody enter.  The last one out reaps; who finds it reaps, too.
 */
#ifndef KLI_SHM_PAGE_H
#define KLI_SHM_PAGE_H

#include "base/word.h"

enum kli_page_state { KLI_P_EMPTY, KLI_P_BUSY, KLI_P_HERE, KLI_P_MOVING, KLI_P_AWAY };

#define KLI_P_STATE     (UINT64_C(1) << 32)
#define KLI_P_ISOLATED  (UINT64_C(1) << 35)
#define KLI_P_REFUSED   (UINT64_C(1) << 36)
#define KLI_P_DOOMED    (UINT64_C(1) << 37)
#define KLI_P_USER      (UINT64_C(1) << 40)
#define KLI_P_MAX_USERS UINT32_C(0xffffff)

static inline uint32_t kli_p_nr(uint64_t w)
{
    return (uint32_t)w;
}

static inline enum kli_page_state kli_p_state(uint64_t w)
{
    return (enum kli_page_state)kli_field(w, 32, 3);
}

static inline uint32_t kli_p_users(uint64_t w)
{
    return (uint32_t)kli_field(w, 40, 24);
}

/* Is it in this frame, and may be changed by who has the frame? */
static inline bool kli_p_is_in(uint64_t w, uint64_t nr)
{
    return kli_p_state(w) == KLI_P_HERE && kli_p_nr(w) == nr;
}

/* A word of that state and nothing else. */
static inline uint64_t kli_p_make(enum kli_page_state state, uint64_t nr)
{
    return state * KLI_P_STATE | nr;
}

/* Somebody is about to give it a frame, or to make it AWAY. */
static inline struct kli_step kli_p_claim(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (w != kli_p_make(KLI_P_EMPTY, 0))
        return KLI_REFUSED;
    return KLI_STEP(kli_p_make(KLI_P_BUSY, 0));
}

static inline struct kli_step kli_p_fill(uint64_t w, uint64_t nr)
{
    return kli_p_state(w) == KLI_P_BUSY ? KLI_STEP(kli_p_make(KLI_P_HERE, nr)) : KLI_REFUSED;
}

/* From BUSY, or MOVING when the frame is freed. */
static inline struct kli_step kli_p_empty(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_p_state(w) != KLI_P_BUSY && kli_p_state(w) != KLI_P_MOVING)
        return KLI_REFUSED;
    return KLI_STEP(kli_p_make(KLI_P_EMPTY, 0));
}

static inline struct kli_step kli_p_away(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_p_state(w) != KLI_P_BUSY && kli_p_state(w) != KLI_P_MOVING)
        return KLI_REFUSED;
    return KLI_STEP(kli_p_make(KLI_P_AWAY, 0));
}

/* E1, E3 */
static inline struct kli_step kli_p_enter(uint64_t w, uint64_t arg)
{
    enum kli_page_state state = kli_p_state(w);

    (void)arg;
    if ((state != KLI_P_HERE && state != KLI_P_AWAY) || (w & KLI_P_DOOMED) ||
        kli_p_users(w) == KLI_P_MAX_USERS)
        return KLI_REFUSED;
    return KLI_STEP(w + KLI_P_USER);
}

static inline struct kli_step kli_p_leave(uint64_t w, uint64_t arg)
{
    (void)arg;
    return kli_p_users(w) > 0 ? KLI_STEP(w - KLI_P_USER) : KLI_REFUSED;
}

static inline struct kli_step kli_p_isolate(uint64_t w, uint64_t nr)
{
    if (!kli_p_is_in(w, nr) || (w & (KLI_P_ISOLATED | KLI_P_DOOMED)))
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_P_ISOLATED);
}

/* Is it isolated, in this frame? */
static inline bool kli_p_is_isolated(uint64_t w, uint64_t nr)
{
    bool named = kli_p_state(w) == KLI_P_HERE || kli_p_state(w) == KLI_P_MOVING;

    return named && kli_p_nr(w) == nr && (w & KLI_P_ISOLATED);
}

static inline struct kli_step kli_p_putback(uint64_t w, uint64_t nr)
{
    if (!kli_p_is_isolated(w, nr))
        return KLI_REFUSED;
    return KLI_STEP(w & ~(KLI_P_ISOLATED | KLI_P_REFUSED));
}

static inline struct kli_step kli_p_refuse(uint64_t w, uint64_t nr)
{
    if (!kli_p_is_isolated(w, nr))
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_P_REFUSED);
}

/* The page for oneself (E1): of a frame, which stays named. */
static inline struct kli_step kli_p_grab(uint64_t w, uint64_t nr)
{
    if (!kli_p_is_in(w, nr) || kli_p_users(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(w + (KLI_P_MOVING - KLI_P_HERE) * KLI_P_STATE);
}

static inline struct kli_step kli_p_grab_away(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_p_state(w) != KLI_P_AWAY || kli_p_users(w) > 0)
        return KLI_REFUSED;
    return KLI_STEP(kli_p_make(KLI_P_BUSY, 0));
}

/* The same frame as before. */
static inline struct kli_step kli_p_keep(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_p_state(w) != KLI_P_MOVING)
        return KLI_REFUSED;
    return KLI_STEP(w - (KLI_P_MOVING - KLI_P_HERE) * KLI_P_STATE);
}

/* Another one: the migration is over. */
static inline struct kli_step kli_p_land(uint64_t w, uint64_t nr)
{
    if (kli_p_state(w) != KLI_P_MOVING)
        return KLI_REFUSED;
    return KLI_STEP(kli_p_make(KLI_P_HERE, nr) | (w & KLI_P_DOOMED));
}

static inline struct kli_step kli_p_doom(uint64_t w, uint64_t arg)
{
    (void)arg;
    if (kli_p_state(w) != KLI_P_HERE && kli_p_state(w) != KLI_P_MOVING)
        return KLI_REFUSED;
    return KLI_STEP(w | KLI_P_DOOMED);
}

#endif
