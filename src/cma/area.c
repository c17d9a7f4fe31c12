// SPDX-License-Identifier: Apache-2.0
/* Creation and end of an area, and its settings. */
#include "cma/cma.h"

static bool shape_ok(const struct kl_zone *zone, const struct kl_cma_config *c)
{
    uint32_t nr = kl_pfn_nr(c->base);

    if (c->frames == 0 || c->frames % zone->block_frames != 0 || c->frames > zone->frames ||
        c->order_per_bit > zone->block_order || (c->align && !kli_is_pow2(c->align)))
        return false;
    if (c->base.v == 0)
        return true;
    return c->align == 0 && kli_pfn_ok(zone, c->base) && nr % zone->block_frames == 0 &&
           c->frames <= zone->frames - nr;
}

/* One piece of metadata: the area, then its bitmaps. */
static struct kl_cma *alloc_area(struct kl_zone *zone, const struct kl_cma_config *c)
{
    uint32_t units = c->frames >> c->order_per_bit;
    size_t words = (size_t)kli_div_up(units, 64), head = kli_align_up(sizeof(struct kl_cma), 64);
    size_t bytes = head + 4 * words * sizeof(kli_word);
    struct kl_cma *area = kl_zone_meta_alloc(zone, bytes);

    if (!area)
        return NULL;
    *area = (struct kl_cma){.zone = zone,
                            .frames = c->frames,
                            .units = units,
                            .order = c->order_per_bit,
                            .bytes = bytes,
                            .cap = c->defer_bytes,
                            .age_ns = c->defer_ns};
    area->held = (void *)((char *)area + head);
    area->kept = area->held + words;
    area->cut = area->kept + words;
    area->away = area->cut + words;
    memcpy(area->name, "cma ", 5);
    kli_text(area->name + 4, sizeof(area->name) - 4, c->name);
    kli_lock_init(&area->lock, KLI_RANK_CMA);
    return area;
}

static int enroll(struct kl_cma *area, const struct kl_cma_config *c)
{
    struct kl_zone *zone = area->zone;
    uint32_t blocks = area->frames >> zone->block_order, block = kl_pfn_nr(c->base);
    uint32_t stride = (uint32_t)kli_max(1, c->align >> zone->block_order);
    int err;

    block >>= zone->block_order;
    err =
        c->base.v ? cma_enroll(zone, block, blocks) : cma_enroll_any(zone, blocks, stride, &block);
    area->first = block << zone->block_order;
    area->view = (struct kli_area){area->kept, area->first, area->order};
    return err;
}

/* Owner, shrinker, keeper: from then on others know it. */
static int make_known(struct kl_cma *area)
{
    const struct kl_owner_ops ops = {.size = sizeof(ops), .name = area->name};
    struct kl_zone *zone = area->zone;
    int err = kl_owner_register(zone, &ops, area, &area->owner);

    if (err)
        return err;
    err = cma_shrinker_register(area);
    if (!err) {
        err = kli_keeper_register(zone, cma_give_for, area, &area->keeper);
        if (err)
            KLI_REQUIRE(&zone->host, kl_shrinker_unregister(zone, area->shrinker) == 0);
    }
    if (err)
        KLI_REQUIRE(&zone->host, kl_owner_unregister(zone, area->owner) == 0);
    return err;
}

int kl_cma_create(struct kl_zone *zone, const struct kl_cma_config *config, struct kl_cma **out)
{
    struct kl_cma *area;
    int err;

    if (!out || !config || config->size != sizeof(*config) || !config->name ||
        !shape_ok(zone, config))
        return -KL_EINVAL;
    area = alloc_area(zone, config);
    if (!area)
        return -KL_ENOMEM;
    err = enroll(area, config);
    if (!err) {
        err = make_known(area);
        if (err)
            cma_dismiss(zone, area->first >> zone->block_order, area->frames >> zone->block_order);
    }
    if (err) {
        kl_zone_meta_free(zone, area, area->bytes);
        return err;
    }
    atomic_fetch_add(&zone->areas, 1);
    *out = area;
    return 0;
}

static bool is_allocated(struct kl_cma *area)
{
    bool any;

    cma_lock(area);
    any = area->nheld > area->nkept;
    cma_unlock(area);
    return any;
}

/* A frame may be held for a moment by who looked at it (move/isolate.c). */
static void end_owner(struct kl_cma *area)
{
    const struct kl_host *host = &area->zone->host;

    for (unsigned i = 0; kl_owner_unregister(area->zone, area->owner) != 0; i++)
        host->relax(host->ctx, i);
}

int kl_cma_destroy(struct kl_cma *area)
{
    struct kl_zone *zone;
    int err;

    if (!area)
        return 0;
    zone = area->zone;
    if (is_allocated(area))
        return -KL_EBUSY;
    err = kl_shrinker_unregister(zone, area->shrinker);
    if (err)
        return -KL_EBUSY;
    cma_give(area, area->frames, CMA_CAP);
    kli_keeper_unregister(zone, area->keeper);
    end_owner(area);
    cma_dismiss(zone, area->first >> zone->block_order, area->frames >> zone->block_order);
    atomic_fetch_sub(&zone->areas, 1);
    kl_zone_meta_free(zone, area, area->bytes);
    return 0;
}

void kl_cma_defer(struct kl_cma *area, uint64_t defer_bytes, uint64_t defer_ns)
{
    bool ages;

    cma_lock(area);
    area->cap = defer_bytes;
    area->age_ns = defer_ns;
    ages = defer_ns > 0 && area->nkept > 0;
    area->armed |= ages;
    cma_unlock(area);
    if (ages)
        kl_shrinker_want(area->zone, area->shrinker); /* what was younger before may be old now */
    cma_give_beyond_cap(area);
}
