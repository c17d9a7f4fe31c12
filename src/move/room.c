// SPDX-License-Identifier: Apache-2.0
/* Room for a destination of several frames, when there are free frames enough but no
 * run of them: the cheapest such run elsewhere is emptied of the smaller units that
 * stand in it, and taken for the destination.
 *
 * It is a run within a run (run.h).  Blocks that the outer one has fenced are out of
 * the question for it, and a window with a free frame holds units of lower orders
 * only, so that it goes down one order at least each time, and ends.
 */
#include "move/take.h"

/* The outermost run remembers what was tried in vain. */
static struct kli_run *outermost(struct kli_run *run)
{
    while (run->outer)
        run = run->outer;
    return run;
}

static unsigned depth_of(const struct kli_run *run)
{
    unsigned depth = 1;

    for (; run->outer; run = run->outer)
        depth++;
    return depth;
}

static int take_room(struct kli_run *run, struct kli_search *search, unsigned order, unsigned owner,
                     uint32_t *nr)
{
    struct kli_taker taker = {.owner = owner, .order = order, .flags = KLI_F_LOCKED | KLI_F_KIND};
    int err;

    search->run = run;
    search->end = kli_owner(run->zone, owner)->end;
    search->spare = run->may_populate ? kli_populatable(run->zone, !run->keep_soft) : 0;
    err = kli_take_any(search, &taker, nr);
    kli_plan_free(run);
    return err;
}

bool kli_make_room(struct kli_run *outer, unsigned order, unsigned owner, uint32_t *nr)
{
    struct kli_search search = {
        .n = 1u << order, .align = 1u << order, .tries = KLI_TRIES >> depth_of(outer)};
    struct kli_run *top = outermost(outer);
    struct kli_run run = {.zone = outer->zone,
                          .mode = outer->mode,
                          .want = KLI_WANT_ANY,
                          .may_populate = outer->may_populate,
                          .keep_soft = outer->keep_soft,
                          .outer = outer};
    int err;

    if (order == 0 || search.tries == 0 || outer->want != KLI_WANT_ANY ||
        (top->hopeless && order >= top->hopeless) || kli_free_frames(outer->zone) < search.n)
        return false;
    err = take_room(&run, &search, order, owner, nr);
    kli_run_absorb(outer, &run);
    if (err)
        top->hopeless = order;
    return err == 0;
}
