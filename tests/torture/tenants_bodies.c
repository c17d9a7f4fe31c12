// SPDX-License-Identifier: Apache-2.0
/* The tenants whose frames are looked at one by one: users of page pools, rangers of areas,
 * items of test owners; and objects of pools that learn. */
#include "torture/tenants.h"

#include "support/units.h"

#include <string.h>

enum { HELD = 50, RANGES = 12, ITEMS = 900, PINS = 8, OBJECTS = 800 };

static unsigned any_flags(struct rng *rng)
{
    static const unsigned flags[] = {0, KL_NOWAIT, KL_ATOMIC, KL_NO_SHRINK, KL_NO_MOVE};

    return flags[rng_below(rng, 5)];
}

static char *mem_of(uint32_t nr)
{
    return kl_frame_addr(f.zone, kl_zone_pfn(f.zone, nr));
}

/* ---- users of page pools ---- */

struct unit {
    kl_pfn pfn;
    uint64_t name; /* 0: there is none */
};

static void unit_get(struct unit *u, unsigned p, uint32_t me, struct rng *rng)
{
    unsigned flags = any_flags(rng);
    uint64_t *mem;
    int err;

    if (p == 1 && rng_below(rng, 3) == 0)
        flags |= KL_POOL_LOW;
    err = kl_pool_alloc(pools[p], flags, &u->pfn);
    torture_expect(err == 0 || err == -KL_ENOMEM || (p == 2 && err == -KL_EIO),
                   "a pool failed oddly");
    if (err)
        return;
    enter(kl_pfn_nr(u->pfn), 1u << orders[p], me);
    torture_expect(!(flags & KL_POOL_LOW) || kl_pfn_nr(u->pfn) + 4 <= 20 * PER, "a low is high");
    torture_expect(unit_is_zero(f.zone, u->pfn, orders[p]), "somebody else's data");
    u->name = atomic_fetch_add(&names, 1) + 1;
    mem = kl_frame_addr(f.zone, u->pfn);
    for (size_t i = 0; i < ((size_t)FRAME << orders[p]) / 8; i++)
        mem[i] = u->name;
    atomic_fetch_add_explicit(&got[GOT_UNITS], 1, memory_order_relaxed);
}

static void unit_check(const struct unit *u, unsigned order)
{
    const uint64_t *mem = kl_frame_addr(f.zone, u->pfn);
    size_t n = ((size_t)FRAME << order) / 8;

    torture_expect(mem[0] == u->name && memcmp(mem, mem + 1, (n - 1) * 8) == 0,
                   "a unit in use has changed");
}

static void unit_put(struct unit *u, unsigned p, uint32_t me, struct rng *rng)
{
    unsigned to = p == 0 || p == 3 ? 3 * rng_below(rng, 2) : p; /* these have one owner */
    int err;

    unit_check(u, orders[p]);
    leave(kl_pfn_nr(u->pfn), 1u << orders[p], me);
    if (rng_below(rng, 10) == 0)
        err = kl_frame_free(f.zone, kl_pool_owner(pools[p]), u->pfn);
    else
        err = kl_pool_free(pools[to], u->pfn);
    torture_expect(err == 0, "a unit can't be freed");
    u->name = 0;
}

static void tend(struct rng *rng)
{
    struct kl_pool *pool = pools[rng_below(rng, POOLS)];
    int err = 0;

    if (rng_below(rng, 2))
        kl_pool_trim(pool, rng_below(rng, 50));
    else
        err = kl_pool_prefill(pool, rng_below(rng, 2) ? KL_NOWAIT : 0, rng_below(rng, 20));
    torture_expect(err == 0 || err == -KL_ENOMEM || err == -KL_ENOSPC || err == -KL_EIO,
                   "a prefill failed oddly");
}

void *users(void *arg)
{
    struct unit all[POOLS][HELD] = {{{{0}, 0}}};
    uint32_t me = (uint32_t)(uintptr_t)arg + 1;
    struct rng rng = rng_new(me);

    while (torture_on()) {
        unsigned p = rng_below(&rng, POOLS);
        struct unit *u = &all[p][rng_below(&rng, HELD)];

        if (rng_below(&rng, 100) == 0)
            tend(&rng);
        else if (u->name == 0)
            unit_get(u, p, me, &rng);
        else if (rng_below(&rng, 4) == 0)
            unit_check(u, orders[p]);
        else
            unit_put(u, p, me, &rng);
    }
    for (unsigned i = 0; i < POOLS * HELD; i++) {
        if (all[i / HELD][i % HELD].name)
            unit_put(&all[i / HELD][i % HELD], i / HELD, me, &rng);
    }
    return NULL;
}

/* ---- rangers ---- */

struct range {
    unsigned area;
    uint32_t nr, n;
    uint64_t seed;
};

static void range_new(struct range *r, uint32_t me, struct rng *rng)
{
    enum kl_mode mode = (enum kl_mode)rng_below(rng, 3);
    unsigned a = rng_below(rng, AREAS), unit = a ? 4 : 1, any = rng_below(rng, 2);
    uint32_t n = unit * (1 + rng_below(rng, rng_below(rng, 4) ? 20 : 120) / unit);
    kl_pfn first = kl_zone_pfn(f.zone, base[a] + rng_below(rng, (size[a] - n) / unit) * unit);
    int err;

    if (rng_below(rng, 3))
        err = kl_cma_alloc(area[a], n, 1u << rng_below(rng, 7), any, mode, &first, NULL);
    else
        err = kl_cma_alloc_at(area[a], first, n, any, mode, NULL);
    torture_expect(err == 0 || err == -KL_EBUSY || err == -KL_ENOMEM, "a range failed oddly");
    if (err)
        return;
    *r = (struct range){.area = a, .nr = kl_pfn_nr(first), .n = n, .seed = rng->state};
    enter(r->nr, n, me);
    for (uint32_t i = r->nr; i < r->nr + n; i++) {
        torture_expect(any || unit_is_zero(f.zone, kl_zone_pfn(f.zone, i), 0),
                       "a range is not zero");
        fill_bytes(mem_of(i), FRAME, r->seed + i);
    }
    atomic_fetch_add_explicit(&got[GOT_RANGES], 1, memory_order_relaxed);
}

/* The first n frames of it. */
static void range_leave(struct range *r, uint32_t n, uint32_t me)
{
    for (uint32_t i = r->nr; i < r->nr + n; i++)
        torture_expect(bytes_are(mem_of(i), FRAME, r->seed + i), "a range is damaged");
    leave(r->nr, n, me);
    torture_expect(kl_cma_release(area[r->area], kl_zone_pfn(f.zone, r->nr), n) == 0,
                   "a release was refused");
    r->nr += n;
    r->n -= n;
}

void *rangers(void *arg)
{
    struct range all[RANGES] = {{0}};
    uint32_t me = (uint32_t)(uintptr_t)arg + 1;
    struct rng rng = rng_new(me);

    while (torture_on()) {
        struct range *r = &all[rng_below(&rng, RANGES)];
        uint32_t unit = r->area ? 4 : 1;

        if (r->n == 0)
            range_new(r, me, &rng);
        else if (rng_below(&rng, 3) == 0)
            range_leave(r, unit * (1 + rng_below(&rng, r->n / unit)), me);
        else
            range_leave(r, r->n, me);
    }
    for (unsigned i = 0; i < RANGES; i++) {
        if (all[i].n > 0)
            range_leave(&all[i], all[i].n, me);
    }
    return NULL;
}

/* ---- items of test owners ---- */

struct hold {
    kl_pin_id pin;
    unsigned item;
    bool on;
};

static void hold(struct mover *m, struct hold *h, unsigned i, struct rng *rng)
{
    int err;

    if (h->on) {
        mover_let_go(m, &h->item, 1, h->pin);
        h->on = false;
        return;
    }
    if (!m->item[i].here || m->item[i].pinned)
        return;
    h->item = i;
    err = mover_hold(m, &h->item, 1, &h->pin);
    torture_expect(err == 0 || err == -KL_EBUSY || err == -KL_EAGAIN || err == -KL_ENOMEM,
                   "an object's pin failed oddly");
    if (err == -KL_EAGAIN)
        (void)mover_settle(m, &h->item, 1, (enum kl_mode)rng_below(rng, 3));
    h->on = err == 0;
}

static void item(struct mover *m, unsigned i, struct rng *rng)
{
    unsigned order = rng_below(rng, 10) ? 0 : rng_below(rng, 4);
    unsigned movable = rng_below(rng, 16) ? KL_MOVABLE : 0;
    int err = 0;

    if (!m->item[i].here) {
        err = mover_alloc(m, i, order, any_flags(rng) | movable);
        atomic_fetch_add_explicit(&got[GOT_ITEMS], err == 0, memory_order_relaxed);
    } else if (m->item[i].pinned) {
        mover_unpin(m, i);
    } else if (rng_below(rng, 40) == 0) {
        err = mover_pin(m, i);
    } else if (rng_below(rng, 2) && m->item[i].held == 0) {
        torture_expect(mover_free(m, i), "an item was wrong when it was freed");
    } else {
        torture_expect(mover_right(m, i), "an item is wrong");
    }
    torture_expect(err == 0 || err == -KL_ENOMEM || err == -KL_EBUSY, "an item failed oddly");
}

void *items(void *arg)
{
    struct mover *m = &movers[(uintptr_t)arg & 1];
    struct rng rng = rng_new(20 + (uintptr_t)arg);
    struct hold holds[PINS] = {{{0}, 0, false}};

    while (torture_on()) {
        if (rng_below(&rng, 30) == 0)
            hold(m, &holds[rng_below(&rng, PINS)], rng_below(&rng, ITEMS), &rng);
        else
            item(m, rng_below(&rng, ITEMS), &rng);
    }
    for (unsigned i = 0; i < PINS; i++) {
        if (holds[i].on)
            mover_let_go(m, &holds[i].item, 1, holds[i].pin);
    }
    return NULL;
}

/* ---- objects of pools that learn ---- */

struct object {
    kl_handle handle;
    uint32_t size; /* 0: there is none */
    uint64_t seed;
};

static void object_step(struct kl_zs *zs, struct object *o, struct rng *rng)
{
    static char buf[FRAME];

    if (o->size == 0) {
        uint32_t n = 900 + rng_below(rng, 120) + rng_below(rng, 120);
        int err = kl_zs_malloc(zs, n, rng_below(rng, 8) ? 0 : KL_NOWAIT, &o->handle);

        torture_expect(err == 0 || err == -KL_ENOMEM, "a malloc failed oddly");
        if (err)
            return;
        *o = (struct object){.handle = o->handle, .size = n, .seed = rng->state};
        fill_bytes(buf, n, o->seed);
        torture_expect(kl_zs_write(zs, o->handle, 0, buf, n) == 0, "a write failed");
        return;
    }
    torture_expect(kl_zs_read(zs, o->handle, 0, buf, o->size) == 0, "a read failed");
    torture_expect(bytes_are(buf, o->size, o->seed), "an object is wrong");
    if (rng_below(rng, 3))
        return;
    torture_expect(kl_zs_free(zs, o->handle) == 0, "a free failed");
    o->size = 0;
}

void *lives(void *arg)
{
    static struct object object[OBJECTS];
    struct rng rng = rng_new((uintptr_t)arg);

    while (torture_on()) {
        struct kl_zs_config c = {.size = sizeof(c), .limit_frames = 4096, .typical_bytes = FRAME};
        struct kl_zs_stats s = {.size = sizeof(s)};
        struct kl_zs *zs;

        if (kl_zs_create(f.zone, &c, &zs) != 0)
            continue;
        for (unsigned i = 0; i < 6 * OBJECTS && torture_on(); i++) {
            object_step(zs, &object[rng_below(&rng, OBJECTS)], &rng);
            if (rng_below(&rng, 200) == 0)
                (void)kl_zs_compact(zs, 200);
        }
        kl_zs_get_stats(zs, &s);
        atomic_fetch_add(&learned, s.learned);
        for (unsigned i = 0; i < OBJECTS; i++) {
            if (object[i].size > 0)
                torture_expect(kl_zs_free(zs, object[i].handle) == 0, "a free failed");
            object[i].size = 0;
        }
        torture_expect(kl_zs_destroy(zs) == 0, "a zsmalloc pool can't end");
    }
    return NULL;
}
