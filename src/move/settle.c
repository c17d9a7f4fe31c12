// SPDX-License-Identifier: Apache-2.0
/* Before a long pin: frames leave the blocks that are meant to be emptied.
 *
 * A run like the others, but for two things: it goes by a list of frames and fences
 * nothing, and its destinations are in blocks of the unmovable kind, in use first,
 * then free ones, which take that kind.  The frames stay movable: only the pin makes
 * them count as stuck.
 *
 * (S1) A frame is moved only while it is its owner's and in a block of another kind.
 *      Whoever is moved or freed by others meanwhile is passed over.
 */
#include "move/run.h"

struct list {
    const kl_pfn *frames;
    size_t n;
    unsigned owner;
};

static bool apart_in(struct kli_run *run, uint32_t block, unsigned order, unsigned owner,
                     enum kli_want want, uint32_t *nr)
{
    return kli_alloc_in(run->zone, block, order, owner, KLI_F_LOCKED | KLI_F_KIND, want, nr);
}

/* Any block of the class, below the owner's bound. */
static bool apart_of(struct kli_run *run, enum kli_class class, unsigned order, unsigned owner,
                     uint32_t *nr)
{
    enum kli_want want = class == KLI_CLASS_FREE ? KLI_WANT_APART_FREE : KLI_WANT_APART;
    uint32_t end = kli_owner(run->zone, owner)->end;
    uint32_t block = kli_index_next(run->zone, class, 0);

    while (block < end) {
        if (apart_in(run, block, order, owner, want, nr))
            return true;
        block = kli_index_next(run->zone, class, block + 1);
    }
    return false;
}

/* Every block, in case the index is behind. (index.c, I3) */
static bool apart_anywhere(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    for (uint32_t b = 0; b < kli_owner(run->zone, owner)->end; b++) {
        if (apart_in(run, b, order, owner, KLI_WANT_APART, nr) ||
            apart_in(run, b, order, owner, KLI_WANT_APART_FREE, nr))
            return true;
    }
    return false;
}

bool kli_target_apart(struct kli_run *run, unsigned order, unsigned owner, uint32_t *nr)
{
    uint32_t end = kli_owner(run->zone, owner)->end, block;

    if (apart_of(run, KLI_CLASS_UNMOVABLE, order, owner, nr) ||
        apart_of(run, KLI_CLASS_FREE, order, owner, nr))
        return true;
    while (run->may_populate && kli_populate_one(run->zone, end, &block)) {
        if (apart_in(run, block, order, owner, KLI_WANT_APART_FREE, nr))
            return true;
    }
    return apart_anywhere(run, order, owner, nr);
}

/* S1 */
static bool must_leave(const struct kl_zone *zone, const struct list *list, size_t i)
{
    uint32_t nr = kl_pfn_nr(list->frames[i]);
    uint64_t word = kli_state(zone, nr);

    return (word & KLI_F_HEAD) && !(word & KLI_F_DYING) && (word & KLI_F_KIND) &&
           kli_f_owner(word) == list->owner &&
           !(kli_block_word(zone, kli_block_of(zone, nr)) & KLI_B_UNMOVABLE);
}

static enum kli_found worst(enum kli_found a, enum kli_found b)
{
    if (b == KLI_NOTHING)
        return a;
    return a > b ? a : b;
}

/* Isolates up to a batch from *at on; moves *at on. */
static size_t gather(struct kli_run *run, const struct list *list, size_t *at,
                     struct kl_move *moves, enum kli_found *found)
{
    size_t n = 0;

    for (; *at < list->n && n < KLI_BATCH && *found < KLI_STUCK; ++*at) {
        enum kli_found one;

        if (!must_leave(run->zone, list, *at))
            continue;
        one = kli_isolate(run, kl_pfn_nr(list->frames[*at]), &moves[n]);
        n += one == KLI_ISOLATED;
        *found = worst(*found, one);
    }
    return n;
}

/* What the worst of them has met. */
static enum kli_found one_round(struct kli_run *run, const struct list *list)
{
    struct kl_move moves[KLI_BATCH];
    enum kli_found found = KLI_ISOLATED;

    for (size_t at = 0; at < list->n && found < KLI_STUCK;) {
        size_t n = gather(run, list, &at, moves, &found);

        if (n > 0)
            found = worst(found, kli_migrate(run, moves, n));
    }
    return found;
}

/* The first one that is still there; list->n: all have left. */
static size_t first_left(const struct kl_zone *zone, const struct list *list)
{
    size_t i = 0;

    while (i < list->n && !must_leave(zone, list, i))
        i++;
    return i;
}

static int settle_run(struct kli_run *run, const struct list *list)
{
    const struct kl_host *host = &run->zone->host;
    uint64_t since = host->now_ns(host->ctx);
    size_t left;

    for (unsigned idle = 0; (left = first_left(run->zone, list)) < list->n; idle++) {
        uint32_t before = run->report.migrated + run->report.freed, nr;
        enum kli_found found;

        nr = kl_pfn_nr(list->frames[left]);
        if (atomic_load(&run->zone->migration_off) || !kli_be_patient(run, since, idle)) {
            kli_blame(run, nr, kli_state(run->zone, nr));
            return -KL_EBUSY;
        }
        found = one_round(run, list);
        if (found == KLI_STUCK)
            return -KL_EBUSY;
        if (found == KLI_NO_ROOM) {
            kli_blame_room(run);
            return -KL_ENOMEM;
        }
        if (run->report.migrated + run->report.freed != before) {
            since = host->now_ns(host->ctx);
            idle = 0;
        }
    }
    return 0;
}

static bool list_ok(const struct kl_zone *zone, const struct list *list)
{
    if (!list->frames || list->n == 0 || !kli_owner_is(zone, list->owner) ||
        !kli_owner(zone, list->owner)->movable)
        return false;
    for (size_t i = 0; i < list->n; i++) {
        if (!kli_pfn_ok(zone, list->frames[i]))
            return false;
    }
    return true;
}

int kl_pin_settle(struct kl_zone *zone, kl_owner_id owner, const kl_pfn *frames, size_t n,
                  enum kl_mode mode, struct kl_report *report)
{
    struct list list = {frames, n, owner.v};
    struct kli_run run;
    int err;

    kli_report_clear(report);
    if ((unsigned)mode > KL_SYNC || !list_ok(zone, &list))
        return -KL_EINVAL;
    kli_run_begin(&run, zone, mode);
    run.want = KLI_WANT_APART;
    run.may_populate = true;
    err = settle_run(&run, &list);
    if (err == 0)
        kli_absolve(&run);
    kli_run_end(&run, report);
    return err;
}
