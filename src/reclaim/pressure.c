// SPDX-License-Identifier: Apache-2.0
/* Pressure: the host says that the machine is short, and the zone's steps give back.
 *
 *              a call                       a piece brought nothing
 *   NONE -----------------> due at once ---------------------------> due after a pause
 *     ^  <-----------------       ^      <---------------------------
 *        the call says NONE       |      the pause is over, or a call, LEAST_NS since
 *                                 '- a piece brought something
 *
 * A piece asks idle shrinkers, packs objects, packs blocks, gives free blocks back, each
 * within the budget; only when all of that brought nothing, and what was asked for is not
 * back yet, cold things are asked for.
 *
 * (E1) level, calls and goal are the caller's; due, back_off and tried are the step's, one
 *      at a time.  A piece stores in `seen` the calls that it has seen before it looks at
 *      anything: a call in the midst of it brings another one.
 * (E2) Nothing here is a bit of zone->wanted: who calls always kicks, since the step may
 *      rest, and a rest is a few loads long.
 */
#include "klotski/pressure.h"
#include "move/run.h"
#include "reclaim/reclaim.h"

static const uint64_t FIRST_NS = 10000000;
static const uint64_t LEAST_NS = 100000000; /* between two pieces in vain, whoever calls */
enum { MOST_BACK_OFF = 9 };

static uint64_t now_ns(const struct kl_zone *zone)
{
    return zone->host.now_ns(zone->host.ctx);
}

int kl_zone_pressure(struct kl_zone *zone, enum kl_pressure_level level, uint64_t bytes)
{
    struct kli_pressure *p = &zone->pressure;
    uint64_t returned = atomic_load(&p->returned);

    if ((unsigned)level > KL_PRESSURE_COLD)
        return -KL_EINVAL;
    atomic_store(&p->goal, bytes && bytes < UINT64_MAX - returned ? returned + bytes : UINT64_MAX);
    if (atomic_exchange(&p->level, level) == KL_PRESSURE_NONE)
        atomic_store(&p->fresh, true);
    if (level == KL_PRESSURE_NONE)
        return 0;
    atomic_fetch_add(&p->calls, 1); /* E1 */
    kli_kick(zone);                 /* E2 */
    return 0;
}

enum kl_pressure_level kl_zone_pressure_level(const struct kl_zone *zone)
{
    return (enum kl_pressure_level)atomic_load(&zone->pressure.level);
}

uint64_t kli_pressure_in(struct kl_zone *zone)
{
    struct kli_pressure *p = &zone->pressure;
    uint64_t due, now;

    if (atomic_load(&p->level) == KL_PRESSURE_NONE)
        return KLI_WORK_NEVER;
    due = atomic_load(&p->due);
    if (atomic_load(&p->calls) != atomic_load(&p->seen))
        due = kli_min(due, atomic_load(&p->tried) + LEAST_NS);
    if (due == 0)
        return 0;
    now = now_ns(zone);
    return due > now ? due - now : 0;
}

/* So many objects at most, of all that there are. */
static bool ask(struct kl_zone *zone, enum kli_stage stage, unsigned priority, uint32_t most)
{
    const struct kli_shrink_ask all = {
        .stage = stage, .priority = priority, .want = most, .most = most, .mode = KL_ASYNC};

    return kli_shrink(zone, &all) > 0;
}

bool kli_pressure_gave(struct kl_zone *zone, int n)
{
    if (n > 0 && atomic_load(&zone->pressure.level) != KL_PRESSURE_NONE)
        atomic_fetch_add(&zone->pressure.returned, (uint64_t)n * kli_block_bytes(zone));
    return n > 0;
}

/* Blocks that are free go back to the system.  One costs as much as to move some frames. */
static bool give_free(struct kl_zone *zone, uint32_t budget)
{
    enum { FRAMES_A_BLOCK = 32 };
    return kli_pressure_gave(zone, kli_trim(zone, 0, budget / FRAMES_A_BLOCK + 1));
}

static bool pack_blocks(struct kl_zone *zone, uint32_t budget)
{
    struct kl_report report = {.size = sizeof(report)};

    kl_zone_compact(zone, KL_ASYNC, budget, &report);
    return report.migrated > 0;
}

static bool may_take_cold(const struct kl_zone *zone)
{
    return atomic_load(&zone->pressure.level) == KL_PRESSURE_COLD &&
           atomic_load(&zone->pressure.returned) < atomic_load(&zone->pressure.goal);
}

/* Cold things; where somebody said how much he lacks others, too, the coldest first: that is
 * priority 0, for who can't go on without. */
static bool take_cold(struct kl_zone *zone, uint32_t budget)
{
    bool lacking = atomic_load(&zone->pressure.goal) != UINT64_MAX;

    return may_take_cold(zone) && ask(zone, KLI_STAGE_COLD, !lacking, budget);
}

static bool piece(struct kl_zone *zone, uint32_t budget)
{
    bool done = ask(zone, KLI_STAGE_PACK, 0, budget);

    done |= pack_blocks(zone, budget);
    done |= give_free(zone, budget);
    return done || take_cold(zone, budget);
}

void kli_pressure_piece(struct kl_zone *zone, uint32_t budget)
{
    struct kli_pressure *p = &zone->pressure;
    uint64_t now;
    bool done;

    atomic_store(&p->seen, atomic_load(&p->calls)); /* E1 */
    if (atomic_exchange(&p->fresh, false))
        p->back_off = 0;
    done = piece(zone, budget ? budget : zone->frames);
    atomic_fetch_add_explicit(&p->pieces, 1, memory_order_relaxed);
    if (done) {
        p->back_off = 0;
        atomic_store(&p->due, 0);
        return;
    }
    now = now_ns(zone);
    atomic_store(&p->tried, now);
    atomic_store(&p->due, now + (FIRST_NS << p->back_off));
    if (p->back_off < MOST_BACK_OFF)
        p->back_off++;
}
