// SPDX-License-Identifier: Apache-2.0
/* Emptying a range of frames whose blocks are fenced.
 *
 * Rounds: each one isolates and migrates whatever stands in the range, in batches.
 * Busy frames get another round, until the mode's patience ends without anything
 * having moved; a frame that is stuck ends it at once.
 */
#include "move/run.h"

enum { LEAST_ROUNDS = 3 };

/* What one round met. */
struct round {
    bool stuck;
    bool busy;
    bool no_room;
};

static void note(struct round *round, enum kli_found found)
{
    round->stuck |= found == KLI_STUCK;
    round->busy |= found == KLI_BUSY;
    round->no_room |= found == KLI_NO_ROOM;
}

static uint32_t units_after(const struct kl_zone *zone, uint32_t nr)
{
    uint64_t word = kli_state(zone, nr);

    return (word & KLI_F_HEAD) ? 1u << kli_f_order(word) : 1;
}

/* Isolates up to a batch from *nr on; moves *nr on. */
static size_t gather(struct kli_run *run, uint32_t *nr, uint32_t end, struct kl_move *moves,
                     struct round *round)
{
    size_t n = 0;

    while (*nr < end && n < KLI_BATCH && !round->stuck && !round->no_room) {
        uint32_t skip = units_after(run->zone, *nr);
        enum kli_found found = kli_isolate(run, *nr, &moves[n]);

        note(round, found);
        n += found == KLI_ISOLATED;
        *nr += skip;
    }
    return n;
}

static bool is_spent(const struct kli_run *run)
{
    return run->budget && run->report.migrated >= run->budget;
}

static struct round one_round(struct kli_run *run, uint32_t nr, uint32_t end)
{
    struct kl_move moves[KLI_BATCH];
    struct round round = {0};

    nr = kli_head_of(run->zone, nr);
    while (nr < end && !round.stuck && !round.no_room && !is_spent(run)) {
        size_t n = gather(run, &nr, end, moves, &round);

        if (n > 0)
            note(&round, kli_migrate(run, moves, n));
    }
    return round;
}

static bool is_empty(const struct kl_zone *zone, uint32_t nr, uint32_t n)
{
    if (n == zone->block_frames && nr % n == 0)
        return kli_b_empty(kli_block_word(zone, kli_block_of(zone, nr)), n);
    return kli_bits_used(zone, nr, n) == 0;
}

/* Busy to the end: whoever stands there still. */
static void blame_first_in(struct kli_run *run, uint32_t nr, uint32_t n)
{
    for (uint32_t at = kli_head_of(run->zone, nr); at < nr + n; at++)
        kli_blame(run, at, kli_state(run->zone, at));
}

/* How long busy frames are waited for while nothing gets done. */
static const uint64_t patience_ns[] = {
    [KL_ASYNC] = 0, [KL_SYNC_LIGHT] = 5000000, [KL_SYNC] = 200000000};

bool kli_be_patient(struct kli_run *run, uint64_t since, unsigned idle_rounds)
{
    const struct kl_host *host = &run->zone->host;

    if (idle_rounds < LEAST_ROUNDS)
        return true;
    if (host->now_ns(host->ctx) - since >= patience_ns[run->mode])
        return false;
    host->relax(host->ctx, idle_rounds);
    return true;
}

static int evacuate(struct kli_run *run, uint32_t nr, uint32_t n)
{
    const struct kl_host *host = &run->zone->host;
    uint64_t since = host->now_ns(host->ctx);

    for (unsigned idle = 0; !is_empty(run->zone, nr, n); idle++) {
        uint32_t before = run->report.migrated + run->report.freed;
        struct round round;

        if (run->idle || atomic_load(&run->zone->migration_off) ||
            !kli_be_patient(run, since, idle)) {
            blame_first_in(run, nr, n);
            return -KL_EBUSY;
        }
        if (idle > 0)
            kli_cache_drain(run->zone); /* some may have got in (cache.c, C2) */
        KLI_TRACE(evacuate_round, KLI_TAG(run->zone), nr, idle);
        round = one_round(run, nr, nr + n);
        if (is_empty(run->zone, nr, n))
            break;
        if (is_spent(run))
            return -KL_EAGAIN;
        if (round.stuck)
            return -KL_EBUSY;
        if (round.no_room) {
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

int kli_evacuate(struct kli_run *run, uint32_t nr, uint32_t n)
{
    int err;

    KLI_TRACE(evacuate_begin, KLI_TAG(run->zone), nr, n);
    err = evacuate(run, nr, n);
    KLI_TRACE(evacuate_end, KLI_TAG(run->zone), nr, err);
    return err;
}

int kli_evacuate_block(struct kli_run *run, uint32_t block)
{
    int err;

    if (!kli_fence(run, block))
        return -KL_EBUSY;
    err = kli_evacuate(run, block << run->zone->block_order, run->zone->block_frames);
    if (err)
        kli_unfence(run, block);
    return err;
}
