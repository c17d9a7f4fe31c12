// SPDX-License-Identifier: Apache-2.0
/* Size classes by a dynamic program.
 *
 * The model.  A class has objects of `size` bytes, k of them in a chain of n frames.
 * It serves the sizes above the next smaller class's.  Of each object it wastes
 *
 *     n * frame_bytes / k - its size
 *
 * which is its rounding up and its share of what is left over at the chain's end.
 * The class as a whole costs a descriptor, and the tail of its last zspage: about
 * half a frame where zspages grow frame by frame (half a chain where they don't).
 * A class of which less than one object is expected has as much less of a tail.
 * Borders of frames within a chain have a small price too, for objects that cross
 * them are copied in two runs.
 *
 * Which classes.  Only a size that fills some chain is worth having: else there is a
 * larger one with the same chain and as many objects.  Of these, (size, chain) is
 * dropped if a size as large or larger has a chain as short or shorter at a price as
 * low.  About 1400 shapes of 760 sizes (the "stops") are left at 4 KiB.  Chains longer
 * than max_chain have one object, which needs them.
 *
 * The program.  best[i] is the least waste for all sizes above stop i, where a class
 * ends: the minimum, over the stops j above and their shapes, of best[j] and what a
 * class from i to j wastes.  Exact but for the classes that `reach` forbids; those
 * keep sizes tolerable that nobody expected.  Going up from i, what a class wastes
 * only grows, so the search ends where that alone is more than the best so far.  A
 * plan of more classes than there may be is made again, with dearer ones.
 *
 * Arithmetic.  Counts are scaled so that all objects have 2^35 to 2^36 bytes; waste is
 * in 1/256 byte.  A sum of count * price is then below 2^58, a tail below 2^62.
 *
 * Invariants
 * (P1) Sizes ascend, are multiples of 8, and the last is `largest`.
 * (P2) Of each: 1 <= objects <= max_objects, chain <= max_chain unless objects == 1, and
 *      what is left over is less than an object.
 * (P3) The same input gives the same shapes, on every machine.
 */
#include "zs/plan.h"

enum {
    FRACTION = 8,   /* bits of a byte's fractions */
    MEAN_SHORT = 7, /* an object is 3.5 bytes smaller than its count's size: twice that */
    SCALE = 36,
    SLACK = 2 * ZS_PLAN_STEP, /* bytes */
};

struct shape {
    uint32_t price; /* an object: 1/256 byte of frames */
    uint16_t chain;
    uint16_t objects;
};

/* A size, and what there is of that size and below. */
struct stop {
    uint64_t count;
    uint64_t bytes; /* 1/256 */
    uint64_t best;  /* waste of all sizes above */
    uint32_t size;
    uint16_t first;       /* its shapes: to the next stop's first */
    uint16_t from, shape; /* the class above that `best` has: which stop, which shape */
};

struct scale {
    int up;        /* counts are scaled by 2^up */
    uint64_t unit; /* a byte of the pool: 1/256 byte of the counts */
};

struct zs_plan_scratch {
    struct shape shapes[ZS_PLAN_SHAPES];
    struct stop stops[ZS_PLAN_STOPS + 1]; /* descending; the last is 0 */
    uint32_t nstops;                      /* without the last */
    struct scale scale;
};

/* While shapes are listed: of each chain the next size, as it goes down. */
struct lister {
    uint32_t size[ZS_PLAN_CHAIN + 1];
    uint32_t objects[ZS_PLAN_CHAIN + 1];
    uint32_t least[ZS_PLAN_CHAIN + 1]; /* price so far of a chain as long or shorter */
    uint32_t shared;                   /* chains as long have more than one object */
    uint32_t chains;
};

size_t zs_plan_scratch_bytes(void)
{
    return sizeof(struct zs_plan_scratch);
}

static uint32_t price(const struct zs_plan_in *in, uint32_t chain, uint32_t objects)
{
    return ((chain * in->frame_bytes + (chain - 1) * in->price.cross_bytes) << FRACTION) / objects;
}

/* The next smaller size that chains of n frames are filled by; 0: none. */
static void next_size(const struct zs_plan_in *in, struct lister *l, uint32_t n)
{
    uint32_t bytes = n * in->frame_bytes, more = l->objects[n];

    l->size[n] = 0;
    if (more >= (n > l->shared ? 1 : in->max_objects))
        return;
    more++;
    l->size[n] = bytes / more & ~(ZS_PLAN_STEP - 1u);
    if (l->size[n] > 0)
        l->objects[n] = bytes / l->size[n];
}

static void list_begin(const struct zs_plan_in *in, struct lister *l)
{
    l->shared = (uint32_t)kli_min(in->max_chain, ZS_PLAN_SPAN / in->frame_bytes);
    l->chains = (uint32_t)kli_max(l->shared, in->largest / in->frame_bytes);
    for (uint32_t n = 0; n <= l->chains; n++) {
        l->least[n] = UINT32_MAX;
        l->size[n] = 0;
        l->objects[n] = (n * in->frame_bytes - 1) / in->largest;
        if (n > 0)
            next_size(in, l, n);
    }
}

static uint32_t largest_size(const struct lister *l)
{
    uint32_t size = 0;

    for (uint32_t n = 1; n <= l->chains; n++)
        size = (uint32_t)kli_max(size, l->size[n]);
    return size;
}

/* The shapes of this size, shortest chain first, each at a lower price. */
static uint32_t list_shapes(const struct zs_plan_in *in, struct lister *l, uint32_t size,
                            struct shape *shapes, uint32_t room)
{
    uint32_t found = 0;

    for (uint32_t n = 1; n <= l->chains; n++) {
        l->least[n] = (uint32_t)kli_min(l->least[n], l->least[n - 1]);
        if (l->size[n] != size)
            continue;
        uint32_t p = price(in, n, l->objects[n]);

        if (p < l->least[n] && found < room) {
            shapes[found++] = (struct shape){p, (uint16_t)n, (uint16_t)l->objects[n]};
            l->least[n] = p;
        }
        next_size(in, l, n);
    }
    return found;
}

static void list_stops(const struct zs_plan_in *in, struct zs_plan_scratch *p)
{
    struct lister l;
    uint32_t shapes = 0, found;

    list_begin(in, &l);
    p->nstops = 0;
    for (uint32_t size; (size = largest_size(&l)) > 0 && p->nstops < ZS_PLAN_STOPS;) {
        found = list_shapes(in, &l, size, p->shapes + shapes, ZS_PLAN_SHAPES - shapes);
        if (found == 0)
            continue;
        p->stops[p->nstops++] = (struct stop){.size = size, .first = (uint16_t)shapes};
        shapes += found;
    }
    p->stops[p->nstops] = (struct stop){.first = (uint16_t)shapes};
}

/* Twice the bytes of an object that bucket i counts. */
static uint64_t half_bytes(uint32_t i)
{
    return ((uint64_t)i + 1) * ZS_PLAN_STEP * 2 - MEAN_SHORT;
}

static struct scale scale_of(const struct zs_plan_in *in)
{
    uint64_t sum = 0, pool = kli_max(kli_min(in->pool_bytes, UINT64_C(1) << 42), in->frame_bytes);
    struct scale scale = {0};

    for (uint32_t i = 0; i < in->largest / ZS_PLAN_STEP; i++)
        sum += in->counts[i] * half_bytes(i);
    for (; sum >> (SCALE + 1); sum >>= 1)
        scale.up--;
    for (; sum && !(sum >> SCALE); sum <<= 1)
        scale.up++;
    scale.unit = kli_max(1, (sum << (FRACTION - 1)) / pool);
    return scale;
}

static uint64_t scaled(struct scale scale, uint64_t count)
{
    if (scale.up >= 0)
        return count << scale.up;
    return count == 0 ? 0 : kli_max(1, count >> -scale.up);
}

/* Adds what buckets from `i` to below `end` count. */
static void add_up(const struct zs_plan_in *in, struct scale scale, uint32_t i, uint32_t end,
                   uint64_t *count, uint64_t *bytes)
{
    for (; i < end; i++) {
        uint64_t c = scaled(scale, in->counts[i]);

        *count += c;
        *bytes += c * half_bytes(i) << (FRACTION - 1);
    }
}

static void count_stops(const struct zs_plan_in *in, struct zs_plan_scratch *p)
{
    uint64_t count = 0, bytes = 0;
    uint32_t below = 0;

    for (uint32_t i = p->nstops; i-- > 0;) {
        add_up(in, p->scale, below, p->stops[i].size / ZS_PLAN_STEP, &count, &bytes);
        below = p->stops[i].size / ZS_PLAN_STEP;
        p->stops[i].count = count;
        p->stops[i].bytes = bytes;
    }
}

/* The last zspage's; a whole one only if there is an object. */
static uint64_t tail(const struct zs_plan_in *in, uint64_t unit, uint32_t chain, uint64_t count)
{
    uint64_t bytes = in->price.tail_bytes + (uint64_t)in->price.chain_bytes * chain;

    return kli_min(bytes * unit, (bytes << FRACTION) * count);
}

/* A class may serve objects from `least` bytes on. */
static bool reaches(const struct zs_plan_in *in, uint32_t size_price, uint32_t least)
{
    return in->reach == 0 || size_price >> FRACTION <= least + least / in->reach + SLACK;
}

/* The class above stop i that is best. */
static void best_class(const struct zs_plan_in *in, struct zs_plan_scratch *p, uint32_t i)
{
    struct stop *low = &p->stops[i];

    low->best = UINT64_MAX;
    for (uint32_t j = i; j-- > 0;) {
        const struct stop *high = &p->stops[j];
        uint64_t count = high->count - low->count, bytes = high->bytes - low->bytes;
        bool reached = j + 1 == i;

        if (count * ((uint64_t)high->size << FRACTION) - bytes >= low->best && i - j > 1)
            return;
        for (uint16_t s = high->first; s < high[1].first; s++) {
            const struct shape *shape = &p->shapes[s];
            uint64_t waste = high->best + count * shape->price - bytes +
                             in->price.class_bytes * p->scale.unit +
                             tail(in, p->scale.unit, shape->chain, count);

            if (j + 1 < i && !reaches(in, shape->price, low->size + ZS_PLAN_STEP))
                continue;
            reached = true;
            if (waste >= low->best)
                continue;
            low->best = waste;
            low->from = (uint16_t)j;
            low->shape = s;
        }
        if (!reached)
            return;
    }
}

static uint32_t solve(const struct zs_plan_in *in, struct zs_plan_scratch *p)
{
    uint32_t classes = 0;

    p->stops[0].best = 0;
    for (uint32_t i = 1; i <= p->nstops; i++)
        best_class(in, p, i);
    for (uint32_t i = p->nstops; i > 0; i = p->stops[i].from)
        classes++;
    return classes;
}

uint32_t zs_plan(const struct zs_plan_in *in, struct zs_shape *shapes, uint32_t max,
                 struct zs_plan_scratch *scratch)
{
    struct zs_plan_in now = *in;
    uint32_t n = 0;

    list_stops(in, scratch);
    scratch->scale = scale_of(in);
    count_stops(in, scratch);
    for (unsigned round = 0; solve(&now, scratch) > max; round++) {
        scratch->scale.unit *= 2; /* dearer classes: fewer */
        now.price.class_bytes++;  /* were it 0 */
        if (round >= 8)
            now.reach = 0;
    }
    for (uint32_t i = scratch->nstops; i > 0; i = scratch->stops[i].from) {
        const struct stop *stop = &scratch->stops[i];
        const struct shape *shape = &scratch->shapes[stop->shape];

        shapes[n++] =
            (struct zs_shape){scratch->stops[stop->from].size, shape->chain, shape->objects};
    }
    return n;
}

uint64_t zs_plan_waste(const struct zs_plan_in *in, const struct zs_shape *shapes, uint32_t n)
{
    struct scale scale = scale_of(in);
    uint64_t waste = 0, all = 0;
    uint32_t below = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t count = 0, bytes = 0;
        uint64_t frames = (uint64_t)shapes[i].chain * in->frame_bytes << FRACTION;

        add_up(in, scale, below, shapes[i].size / ZS_PLAN_STEP, &count, &bytes);
        below = shapes[i].size / ZS_PLAN_STEP;
        waste += count * (frames / shapes[i].objects) - bytes;
        waste += tail(in, scale.unit, shapes[i].chain, count);
        all += bytes;
    }
    return waste / kli_max(1, all / 1000000);
}
