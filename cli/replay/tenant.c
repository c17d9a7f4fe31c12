// SPDX-License-Identifier: Apache-2.0
/* tenant.c - the two owners: contents, callbacks, units. */
#include "tenant.h"

#include <stdlib.h>
#include <string.h>

/* ---- contents ------------------------------------------------------------- */

static uint64_t word_of(uint32_t seed, size_t i)
{
    uint64_t v = (seed + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15) + i;

    return v ^ (v >> 31);
}

static size_t words_of(const struct replay_tenant *t, const struct replay_unit *u)
{
    return kl_zone_frame_bytes(t->zone) / sizeof(uint64_t) * u->frames;
}

static void fill(const struct replay_tenant *t, const struct replay_unit *u)
{
    uint64_t *word = kl_frame_addr(t->zone, u->pfn);

    for (size_t i = 0, n = words_of(t, u); i < n; i++)
        word[i] = word_of(u->seed, i);
}

static bool right(const struct replay_tenant *t, const struct replay_unit *u)
{
    const uint64_t *word = kl_frame_addr(t->zone, u->pfn);
    uint64_t differ = 0;

    for (size_t i = 0, n = words_of(t, u); i < n; i++)
        differ |= word[i] ^ word_of(u->seed, i);
    return differ == 0;
}

/* ---- callbacks ------------------------------------------------------------ */

static void breach(struct replay_tenant *t, const char *what)
{
    if (!t->breach)
        t->breach = what;
}

/* The unit that lives in the frame, or NULL: it is just being allocated or freed. */
static struct replay_unit *unit_of(struct replay_tenant *t, kl_pfn frame)
{
    uint64_t id = kl_frame_private(t->zone, frame);

    if (id > t->ids)
        breach(t, "a frame has a private word that nobody gave it");
    if (id == 0 || id > t->ids || t->unit[id - 1].pfn.v != frame.v)
        return NULL;
    return &t->unit[id - 1];
}

static bool isolate(void *ctx, kl_pfn frame, enum kl_mode mode)
{
    struct replay_tenant *t = ctx;
    struct replay_unit *u;
    bool yes;

    (void)mode;
    pthread_mutex_lock(&t->lock);
    u = unit_of(t, frame);
    yes = u && u->pins == 0;
    if (yes && u->moving)
        breach(t, "isolated twice");
    if (yes)
        u->moving = true;
    pthread_mutex_unlock(&t->lock);
    return yes;
}

static int migrate(void *ctx, kl_pfn dst, kl_pfn src, enum kl_mode mode)
{
    struct replay_tenant *t = ctx;
    struct replay_unit *u;

    (void)mode;
    pthread_mutex_lock(&t->lock);
    u = unit_of(t, src);
    if (u && !u->moving)
        breach(t, "migrated without being isolated");
    if (u) {
        kl_frame_copy(t->zone, dst, src);
        kl_frame_set_private(t->zone, dst, kl_frame_private(t->zone, src));
        u->pfn = dst;
        u->moving = false;
        t->moved += u->frames;
    }
    pthread_mutex_unlock(&t->lock);
    return u ? 0 : -KL_EBUSY;
}

static void putback(void *ctx, kl_pfn frame)
{
    struct replay_tenant *t = ctx;
    struct replay_unit *u;

    pthread_mutex_lock(&t->lock);
    u = unit_of(t, frame);
    if (u && !u->moving)
        breach(t, "put back without being isolated");
    if (u)
        u->moving = false;
    pthread_mutex_unlock(&t->lock);
}

/* ---- life ----------------------------------------------------------------- */

int replay_tenant_open(struct replay_tenant *t, struct kl_zone *zone, uint32_t ids, uint32_t seed)
{
    struct kl_owner_ops movable = {.size = sizeof(movable),
                                   .name = "movable",
                                   .isolate = isolate,
                                   .migrate = migrate,
                                   .putback = putback};
    struct kl_owner_ops unmovable = {.size = sizeof(unmovable), .name = "unmovable"};
    int err;

    *t = (struct replay_tenant){.zone = zone, .ids = ids, .seed = seed};
    t->unit = calloc(ids ? ids : 1, sizeof(*t->unit));
    if (!t->unit)
        return -KL_ENOMEM;
    err = kl_owner_register(zone, &movable, t, &t->movable);
    if (!err) {
        err = kl_owner_register(zone, &unmovable, t, &t->unmovable);
        if (err)
            kl_owner_unregister(zone, t->movable);
    }
    if (err) {
        free(t->unit);
        return err;
    }
    pthread_mutex_init(&t->lock, NULL);
    return 0;
}

int replay_tenant_close(struct replay_tenant *t)
{
    int err = 0;

    for (uint32_t id = 0; id < t->ids; id++) {
        while (t->unit[id].pins > 0 && !err)
            err = replay_unpin(t, id);
        if (t->unit[id].kind != REPLAY_NONE && replay_free(t, id) != 0)
            err = -KL_EIO;
    }
    if (kl_owner_unregister(t->zone, t->movable) != 0 ||
        kl_owner_unregister(t->zone, t->unmovable) != 0)
        err = -KL_EIO;
    pthread_mutex_destroy(&t->lock);
    free(t->unit);
    return err;
}

/* ---- units ---------------------------------------------------------------- */

/* The frame is ours; from its private word on it may be isolated. (N1) */
static void settle(struct replay_tenant *t, uint32_t id, kl_pfn pfn, uint32_t frames,
                   enum replay_unit_kind kind)
{
    struct replay_unit *u = &t->unit[id];

    pthread_mutex_lock(&t->lock);
    *u = (struct replay_unit){
        .pfn = pfn, .frames = frames, .seed = t->seed++, .kind = (uint8_t)kind};
    fill(t, u);
    kl_frame_set_private(t->zone, pfn, (uint64_t)id + 1);
    pthread_mutex_unlock(&t->lock);
}

static kl_owner_id owner_of(const struct replay_tenant *t, const struct replay_unit *u)
{
    return u->kind == REPLAY_MOVABLE ? t->movable : t->unmovable;
}

int replay_alloc(struct replay_tenant *t, uint32_t id, unsigned order, bool movable)
{
    kl_pfn pfn;
    int err = kl_frame_alloc(t->zone, order, movable ? t->movable : t->unmovable,
                             movable ? KL_MOVABLE : 0, &pfn);

    if (!err)
        settle(t, id, pfn, 1u << order, movable ? REPLAY_MOVABLE : REPLAY_UNMOVABLE);
    return err;
}

int replay_contig(struct replay_tenant *t, uint32_t id, uint32_t frames, uint32_t align,
                  struct kl_report *report)
{
    kl_pfn pfn;
    int err = kl_contig_alloc(t->zone, t->unmovable, frames, align, KL_SYNC, &pfn, report);

    if (!err)
        settle(t, id, pfn, frames, REPLAY_RANGE);
    return err;
}

int replay_pin(struct replay_tenant *t, uint32_t id)
{
    struct replay_unit *u = &t->unit[id];
    int err;

    pthread_mutex_lock(&t->lock);
    err = kl_frame_pin(t->zone, owner_of(t, u), u->pfn);
    u->pins += err == 0;
    pthread_mutex_unlock(&t->lock);
    return err;
}

int replay_unpin(struct replay_tenant *t, uint32_t id)
{
    struct replay_unit *u = &t->unit[id];
    int err;

    pthread_mutex_lock(&t->lock);
    err = kl_frame_unpin(t->zone, owner_of(t, u), u->pfn);
    u->pins -= err == 0;
    pthread_mutex_unlock(&t->lock);
    return err;
}

int replay_free(struct replay_tenant *t, uint32_t id)
{
    struct replay_unit *u = &t->unit[id];
    int err;

    pthread_mutex_lock(&t->lock);
    t->wrong += !right(t, u);
    if (u->kind == REPLAY_RANGE)
        err = kl_contig_free(t->zone, t->unmovable, u->pfn, u->frames);
    else
        err = kl_frame_free(t->zone, owner_of(t, u), u->pfn);
    if (!err)
        *u = (struct replay_unit){0};
    pthread_mutex_unlock(&t->lock);
    return err;
}

void replay_orders(const struct replay_tenant *t, uint8_t *order)
{
    memset(order, UINT8_MAX, kl_zone_frames(t->zone));
    for (uint32_t id = 0; id < t->ids; id++) {
        const struct replay_unit *u = &t->unit[id];
        uint8_t log = 0;

        if (u->kind != REPLAY_MOVABLE)
            continue;
        while (u->frames >> log > 1)
            log++;
        order[kl_pfn_nr(u->pfn)] = log;
    }
}
