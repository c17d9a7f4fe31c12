// SPDX-License-Identifier: Apache-2.0
/* The owner of the model: what its callbacks do under its lock, each in one step.
 *
 * It does what klotski/movable.h asks and no more: its isolate does not look at
 * its own pins, its callbacks do nothing for a frame that is not its own any more.
 * So what keeps a pinned object in place is the framework alone.
 */
#ifndef KLI_MODEL_OWNER_H
#define KLI_MODEL_OWNER_H

#include "steps.h"

/* The object that lives there, or OBJECTS. */
static unsigned object_in(const struct zone *z, unsigned nr)
{
    unsigned o = 0;

    while (o < OBJECTS && z->owner.home[o] != nr + 1)
        o++;
    return o;
}

static void check_call(const struct zone *z, unsigned nr, int who)
{
    require(z->locker[nr] == who + 1, "a callback for a frame that is not locked");
    require(z->owner.used != GONE, "a callback of an owner that is gone");
}

static bool owner_isolate(struct zone *z, unsigned nr, int who)
{
    unsigned o = object_in(z, nr);

    check_call(z, nr, who);
    if (o == OBJECTS)
        return false;
    require(!z->owner.promised[o], "the owner is asked to isolate twice");
    z->owner.promised[o] = 1;
    return true;
}

static bool owner_migrate(struct zone *z, unsigned dst, unsigned src, int who)
{
    unsigned o = object_in(z, src);

    check_call(z, src, who);
    check_call(z, dst, who);
    if (o == OBJECTS)
        return false;
    require(z->owner.promised[o], "migrated without isolation");
    require(!z->owner.pinned[o], "a pinned object is moved");
    z->owner.home[o] = (uint8_t)(dst + 1);
    z->owner.promised[o] = 0;
    check(z);
    return true;
}

static void owner_putback(struct zone *z, unsigned nr, int who)
{
    unsigned o = object_in(z, nr);

    check_call(z, nr, who);
    if (o == OBJECTS)
        return;
    require(z->owner.promised[o], "put back without isolation");
    z->owner.promised[o] = 0;
}

/* The end of an allocation for it: where it lives now, or NOWHERE. */
static void owner_gets(struct zone *z, unsigned o, unsigned nr)
{
    z->owner.coming[o] = 0;
    z->owner.home[o] = (uint8_t)(nr == NOWHERE ? 0 : nr + 1);
    check(z);
}

/* The end of a free, with the owner's lock. */
static void owner_forgets(struct zone *z, unsigned o, bool freed)
{
    if (freed) {
        require(!z->owner.pinned[o], "a pinned object is freed");
        z->owner.home[o] = 0;
        z->owner.promised[o] = 0;
    }
    z->owner.lock = 0;
    check(z);
}

/* The end of a pin, with the owner's lock. */
static void owner_pinned(struct zone *z, unsigned o, bool pinned)
{
    z->owner.pinned[o] += pinned;
    z->owner.lock = 0;
    check(z);
}

/* An object that is there from the beginning. */
static void settle_in(struct zone *z, unsigned o, unsigned nr, unsigned order)
{
    unsigned n = 1u << order;

    z->bits |= (uint8_t)mask_of(nr, n);
    z->block[nr / BLOCK_FRAMES] -= n;
    z->frame[nr] = kli_f_make(order, OWNER, KLI_F_KIND | KLI_F_MOVABLE);
    z->owner.home[o] = (uint8_t)(nr + 1);
    check(z);
}

#endif
