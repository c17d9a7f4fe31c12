// SPDX-License-Identifier: Apache-2.0
/* The side table: which objects are pinned, whose, since when and what for.
 *
 * A frame's word counts the pins of objects apart from those without a name
 * (state.h), so that neither kind can end the other's.  What the count does not say
 * is here: a record for each pin, with the frames as runs of heads of one order.
 *
 * A slot of the table is free, or has a record; a pin's id is the slot's number,
 * a serial that differs from that of any other pin for a long time, and the tag of
 * the zone.
 *
 *   begin: pin every frame (undone when one refuses) -> make the record -> file it
 *   end:   take the record out -> unpin every frame -> free it
 *
 * (N1) At rest a frame's count of objects' pins is the number of times that the
 *      records name it.
 * (N2) Between filing and taking out, every frame that a record names is pinned: it
 *      is neither moved nor freed, and its order stays.
 * (N3) Who takes a record out of its slot is the only one to have it.
 *
 * The lock is a leaf, held for moments, never over a callback nor over a call of the
 * host's for memory.  kli_pin_find looks at all records: for whoever has failed
 * already, or asks.
 */
#include "frame/zone.h"

/* heads allocations of 2^order frames, one after the other. */
struct kli_range {
    uint32_t nr;
    uint32_t heads;
    uint32_t order;
};

struct kli_pin {
    size_t bytes; /* of all this */
    uint64_t object;
    uint64_t since_ns;
    uint32_t serial;
    uint32_t owner;
    char why[KL_WHY_BYTES];
    size_t n;
    struct kli_range range[];
};

enum { INDEX_BITS = 24, MAX_SLOTS = (1 << INDEX_BITS) - 1 };

static uint64_t id_of(const struct kl_zone *zone, uint32_t slot, uint32_t serial)
{
    return (slot + 1) | (uint64_t)serial << INDEX_BITS | (zone->tag >> 32) << 48;
}

/* ---- frames ---- */

static void unpin_one(struct kl_zone *zone, uint32_t owner, uint32_t nr)
{
    uint64_t seen;

    KLI_TRACE_STEP(unpin_begin, KLI_TAG(zone), nr, owner);
    KLI_REQUIRE(&zone->host,
                kli_apply(&zone->frame[nr].state, kli_f_unpin_object, owner, &seen)); /* N2 */
    KLI_TRACE_STEP(unpin_marked, KLI_TAG(zone), nr, owner);
    if (kli_f_pins(seen) == 1)
        kli_count_stuck(zone, nr, seen, kli_b_unstick);
    KLI_TRACE(unpin_done, KLI_TAG(zone), nr, owner);
}

static void unpin_first(struct kl_zone *zone, kl_owner_id owner, const kl_pfn *frames, size_t n)
{
    while (n-- > 0)
        unpin_one(zone, owner.v, kl_pfn_nr(frames[n]));
}

static int pin_all(struct kl_zone *zone, kl_owner_id owner, const kl_pfn *frames, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int err = kli_frame_pin(zone, owner, kli_f_pin_object, frames[i]);

        /* After it counts as stuck, which is what an area's coming looks at (block.h, B6). */
        if (!err && (kli_block_word(zone, kli_block_of(zone, kl_pfn_nr(frames[i]))) & KLI_B_CMA)) {
            unpin_one(zone, owner.v, kl_pfn_nr(frames[i]));
            err = -KL_EAGAIN;
        }
        if (err) {
            unpin_first(zone, owner, frames, i);
            return err;
        }
    }
    return 0;
}

/* ---- records ---- */

/* The runs of these pinned frames; to may be NULL: how many there are. */
static size_t make_ranges(const struct kl_zone *zone, const kl_pfn *frames, size_t n,
                          struct kli_range *to)
{
    struct kli_range run = {0};
    size_t runs = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t nr = kl_pfn_nr(frames[i]), order = kli_f_order(kli_state(zone, nr)); /* N2 */

        if (runs > 0 && run.order == order && nr == run.nr + (uint64_t)(run.heads << order)) {
            run.heads++;
        } else {
            run = (struct kli_range){nr, 1, order};
            runs++;
        }
        if (to)
            to[runs - 1] = run;
    }
    return runs;
}

static struct kli_pin *make_pin(struct kl_zone *zone, kl_owner_id owner,
                                const struct kl_pin_config *config, const kl_pfn *frames, size_t n)
{
    size_t runs = make_ranges(zone, frames, n, NULL);
    size_t bytes = sizeof(struct kli_pin) + runs * sizeof(struct kli_range);
    struct kli_pin *pin = kl_zone_meta_alloc(zone, bytes);

    if (!pin)
        return NULL;
    pin->bytes = bytes;
    pin->object = config->object;
    pin->owner = owner.v;
    pin->since_ns = zone->host.now_ns(zone->host.ctx);
    kli_text(pin->why, sizeof(pin->why), config->why);
    pin->n = make_ranges(zone, frames, n, pin->range);
    return pin;
}

static void free_pin(struct kl_zone *zone, struct kli_pin *pin)
{
    kl_zone_meta_free(zone, pin, pin->bytes);
}

static void unpin_ranges(struct kl_zone *zone, const struct kli_pin *pin)
{
    for (size_t i = 0; i < pin->n; i++) {
        const struct kli_range *run = &pin->range[i];

        for (uint32_t h = 0; h < run->heads; h++)
            unpin_one(zone, pin->owner, run->nr + (h << run->order));
    }
}

static bool names(const struct kli_pin *pin, uint32_t nr)
{
    for (size_t i = 0; i < pin->n; i++) {
        const struct kli_range *run = &pin->range[i];

        if (nr >= run->nr && (nr - run->nr) >> run->order < run->heads)
            return true;
    }
    return false;
}

/* ---- the table ---- */

static void free_slots(struct kl_zone *zone, struct kli_pin_slot *slot, uint32_t n)
{
    if (slot && slot != zone->pins.few)
        kl_zone_meta_free(zone, slot, n * sizeof(*slot));
}

/* Puts slots [from, slots) on the free list. */
static void chain(struct kli_pins *pins, uint32_t from)
{
    for (uint32_t i = pins->slots; i-- > from;) {
        pins->slot[i] = (struct kli_pin_slot){NULL, pins->free};
        pins->free = i + 1;
    }
}

static void use_few(struct kli_pins *pins)
{
    pins->slot = pins->few;
    pins->slots = KLI_PINS_INLINE;
    pins->free = 0;
    chain(pins, 0);
}

void kli_pins_init(struct kl_zone *zone)
{
    kli_lock_init(&zone->pins.lock, KLI_RANK_ZONE_PINS);
    use_few(&zone->pins);
}

/* false: all slots are taken. */
static bool file_in_slot(struct kl_zone *zone, struct kli_pin *pin, kl_pin_id *id)
{
    struct kli_pins *pins = &zone->pins;
    uint32_t slot = pins->free - 1;

    if (pins->free == 0)
        return false;
    pins->free = pins->slot[slot].next;
    pins->slot[slot] = (struct kli_pin_slot){.pin = pin};
    pins->used++;
    pins->serial = (pins->serial + 1) & (uint32_t)kli_mask(INDEX_BITS, 0);
    pin->serial = pins->serial;
    *id = (kl_pin_id){id_of(zone, slot, pin->serial)};
    return true;
}

/* The larger table in the place of one of `was` slots, unless somebody was faster;
 * returns the one that nobody needs now, and in *n how large that is. */
static struct kli_pin_slot *exchange(struct kli_pins *pins, struct kli_pin_slot *larger,
                                     uint32_t was, uint32_t *n)
{
    struct kli_pin_slot *old = pins->slot;

    if (pins->slots != was)
        return larger;
    memcpy(larger, old, was * sizeof(*old));
    pins->slot = larger;
    pins->slots = *n;
    chain(pins, was);
    *n = was;
    return old;
}

static int grow(struct kl_zone *zone, uint32_t was)
{
    const struct kl_host *host = &zone->host;
    uint32_t n = (uint32_t)kli_min(MAX_SLOTS, (uint64_t)was * 2);
    struct kli_pin_slot *larger;

    if (was == MAX_SLOTS)
        return -KL_ENOSPC;
    larger = kl_zone_meta_alloc(zone, n * sizeof(*larger));
    if (!larger)
        return -KL_ENOMEM;
    kli_lock_take(host, &zone->pins.lock);
    larger = exchange(&zone->pins, larger, was, &n);
    kli_lock_drop(host, &zone->pins.lock);
    free_slots(zone, larger, n);
    return 0;
}

static int file(struct kl_zone *zone, struct kli_pin *pin, kl_pin_id *id)
{
    const struct kl_host *host = &zone->host;
    int err = 0;

    while (!err) {
        uint32_t slots;
        bool filed;

        kli_lock_take(host, &zone->pins.lock);
        filed = file_in_slot(zone, pin, id);
        slots = zone->pins.slots;
        kli_lock_drop(host, &zone->pins.lock);
        if (filed)
            return 0;
        err = grow(zone, slots);
    }
    return err;
}

static struct kli_pin *pin_in(const struct kl_zone *zone, kl_pin_id id)
{
    uint32_t slot = (uint32_t)kli_field(id.v, 0, INDEX_BITS) - 1;
    struct kli_pin *pin = slot < zone->pins.slots ? zone->pins.slot[slot].pin : NULL;

    return pin && id_of(zone, slot, pin->serial) == id.v ? pin : NULL;
}

/* With the last pin the table shrinks: the returned one is not needed any more. */
static struct kli_pin_slot *leave_slot(struct kli_pins *pins, uint32_t slot, uint32_t *n)
{
    struct kli_pin_slot *old = pins->slot;

    pins->slot[slot] = (struct kli_pin_slot){NULL, pins->free};
    pins->free = slot + 1;
    pins->used--;
    *n = pins->slots;
    if (pins->used > 0 || old == pins->few)
        return NULL;
    use_few(pins);
    return old;
}

/* Takes the owner's record out. (N3) */
static int take_out(struct kl_zone *zone, kl_owner_id owner, kl_pin_id id, struct kli_pin **pin)
{
    struct kli_pin_slot *old = NULL;
    uint32_t n = 0;
    int err = 0;

    kli_lock_take(&zone->host, &zone->pins.lock);
    *pin = pin_in(zone, id);
    if (!*pin)
        err = -KL_ESTALE;
    else if ((*pin)->owner != owner.v)
        err = -KL_EINVAL;
    else
        old = leave_slot(&zone->pins, (uint32_t)kli_field(id.v, 0, INDEX_BITS) - 1, &n);
    kli_lock_drop(&zone->host, &zone->pins.lock);
    free_slots(zone, old, n);
    return err;
}

/* ---- the public face ---- */

int kl_pin_begin(struct kl_zone *zone, kl_owner_id owner, const struct kl_pin_config *config,
                 const kl_pfn *frames, size_t n, kl_pin_id *id)
{
    struct kli_pin *pin;
    int err;

    if (!config || config->size != sizeof(*config) || !config->why || config->flags != 0 ||
        !frames || n == 0 || n > SIZE_MAX / sizeof(struct kli_range) - sizeof(struct kli_pin) ||
        !id || !kli_owner_is(zone, owner.v))
        return -KL_EINVAL;
    err = pin_all(zone, owner, frames, n);
    if (err)
        return err;
    pin = make_pin(zone, owner, config, frames, n);
    err = pin ? file(zone, pin, id) : -KL_ENOMEM;
    if (err) {
        if (pin)
            free_pin(zone, pin);
        unpin_first(zone, owner, frames, n);
    }
    return err;
}

int kl_pin_end(struct kl_zone *zone, kl_owner_id owner, kl_pin_id id)
{
    struct kli_pin *pin;
    int err = take_out(zone, owner, id, &pin);

    if (err)
        return err;
    unpin_ranges(zone, pin);
    free_pin(zone, pin);
    return 0;
}

/* ---- who asks ---- */

/* The one that has pinned it longest. */
bool kli_pin_find(struct kl_zone *zone, uint32_t nr, struct kli_pin_info *info)
{
    const struct kli_pins *pins = &zone->pins;
    bool found = false;

    kli_lock_take(&zone->host, &zone->pins.lock);
    for (uint32_t i = 0; i < pins->slots; i++) {
        const struct kli_pin *pin = pins->slot[i].pin;

        if (!pin || (found && pin->since_ns >= info->since_ns) || !names(pin, nr))
            continue;
        info->object = pin->object;
        info->since_ns = pin->since_ns;
        memcpy(info->why, pin->why, sizeof(info->why));
        found = true;
    }
    kli_lock_drop(&zone->host, &zone->pins.lock);
    return found;
}

/* Every frame that the record names is pinned for an object; how often in all. */
static uint64_t count_named(const struct kl_zone *zone, const struct kli_pin *pin, bool *broken)
{
    uint64_t n = 0;

    for (size_t i = 0; i < pin->n; i++) {
        const struct kli_range *run = &pin->range[i];

        for (uint32_t h = 0; h < run->heads; h++) {
            uint64_t word = kli_state(zone, run->nr + (h << run->order));

            *broken |= kli_f_object_pins(word) == 0 || kli_f_order(word) != run->order ||
                       kli_f_owner(word) != pin->owner;
        }
        n += run->heads;
    }
    return n;
}

const char *kli_pins_check(struct kl_zone *zone)
{
    const struct kli_pins *pins = &zone->pins;
    uint64_t counted = 0, named = 0;
    uint32_t used = 0;
    bool broken = false;

    for (uint32_t nr = 0; nr < zone->frames; nr++)
        counted += kli_f_object_pins(kli_state(zone, nr));
    for (uint32_t i = 0; i < pins->slots; i++) {
        if (!pins->slot[i].pin)
            continue;
        named += count_named(zone, pins->slot[i].pin, &broken);
        used++;
    }
    if (broken)
        return "N2: a frame of a pinned object is not pinned";
    if (counted != named)
        return "N1: pins of objects and their records differ";
    if (used != pins->used || (used == 0 && pins->slot != pins->few))
        return "the table of pinned objects is miscounted";
    return NULL;
}
