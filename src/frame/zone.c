// SPDX-License-Identifier: Apache-2.0
/* Creation and destruction of a zone, and the looks at one frame. */
#include "frame/zone.h"
#include "frame/share.h"
#include "frame/size.h"

static bool sequences_ok(const struct kl_host *h)
{
    return !h->cpu_pop == !h->cpu_push && !h->cpu_pop == !h->cpu_fence;
}

static bool host_ok(const struct kl_host *h)
{
    return h && h->size == sizeof(*h) && h->ncpus > 0 && h->meta_alloc && h->meta_free && h->cpu &&
           h->now_ns && h->wait && h->wake && h->relax && h->fatal && h->thread && sequences_ok(h);
}

static bool config_ok(const struct kl_zone_config *c)
{
    const struct kl_backing *b = c ? c->backing : NULL;

    return c && c->size == sizeof(*c) && host_ok(c->host) && kli_backing_check(b) == 0 &&
           c->blocks <= b->bytes >> (b->frame_shift + b->block_order) &&
           !(c->flags & ~(unsigned)(KL_ZONE_POPULATE | KL_ZONE_NO_MIGRATION));
}

/* Carves the arrays out of one piece of metadata; with base NULL only counts.  In
 * 64 bits: a zone of offsets may need more than a small machine has addresses. */
static uint64_t lay_out(struct kl_zone *zone, char *base)
{
    uint64_t at = 0;

#define CARVE(field, count)                                                                        \
    do {                                                                                           \
        if (base)                                                                                  \
            zone->field = (void *)(base + (size_t)at);                                             \
        at += kli_align_up((uint64_t)(count) * sizeof(*zone->field), 64);                          \
    } while (0)
    CARVE(frame, zone->frames);
    CARVE(bits, kli_div_up(zone->frames, 64));
    CARVE(block, zone->blocks);
    CARVE(index_mem, KLI_CLASSES * kli_index_words(zone->blocks));
    CARVE(hint, zone->host.ncpus);
    CARVE(cache, (size_t)KL_CPU_STACKS * zone->host.ncpus);
#undef CARVE
    return at;
}

static void set_shape(struct kl_zone *zone)
{
    static _Atomic uint32_t zones; /* tags differ between the zones of a process */
    uint64_t tag = atomic_fetch_add_explicit(&zones, 1, memory_order_relaxed) + 1;

    zone->frame_shift = zone->backing.frame_shift;
    zone->block_order = zone->backing.block_order;
    zone->frames = (uint32_t)(zone->backing.bytes >> zone->frame_shift);
    zone->block_frames = 1u << zone->block_order;
    zone->blocks = zone->frames >> zone->block_order;
    zone->tag = tag << 32;
}

/* CPUs begin far from each other. */
static void spread_hints(struct kl_zone *zone)
{
    for (unsigned cpu = 0; cpu < zone->host.ncpus; cpu++) {
        uint32_t start = (uint32_t)((uint64_t)zone->blocks * cpu / zone->host.ncpus);

        atomic_init(&zone->hint[cpu].block[0], start);
        atomic_init(&zone->hint[cpu].block[1], start);
    }
}

/* The first `present` blocks are there, the others absent, and those beyond the first
 * size withheld (size.h, Z1).  Nobody knows the zone yet. */
static void init_blocks(struct kl_zone *zone, uint32_t size, uint32_t present)
{
    uint64_t rest = (uint64_t)(zone->blocks - size) << 32;

    atomic_init(&zone->budget, rest | present);
    atomic_init(&zone->away, rest);
    for (uint32_t b = 0; b < zone->blocks; b++)
        atomic_init(&zone->block[b], b < present ? zone->block_frames : KLI_B_ABSENT);
    atomic_init(&zone->free, (int64_t)present * zone->block_frames);
    atomic_init(&zone->charge, zone->metadata_bytes + present * kli_block_bytes(zone));
    kli_count(zone, KLI_C_POPULATED, present);
    kli_index_init(zone);
}

static int populate_first(struct kl_zone *zone, uint32_t blocks)
{
    int err = 0;

    for (uint32_t b = 0; b < blocks && !err; b++)
        err = kli_populate(zone, b);
    return err;
}

/* Memory of all blocks goes back; the zone is not used any more. */
static void release_all(struct kl_zone *zone)
{
    if (!zone->backing.release)
        return;
    for (uint32_t b = 0; b < zone->blocks; b++) {
        if (kli_block_step(zone, b, kli_b_fence, 0))
            kli_release_block(zone, b, false);
    }
}

static void free_metadata(struct kl_zone *zone)
{
    struct kl_host host = zone->host;
    struct kli_annex *annex = atomic_load(&zone->annex);
    size_t arrays = (size_t)lay_out(zone, NULL);

    kli_share_free_stocks(zone);
    if (annex)
        host.meta_free(host.ctx, annex, annex->bytes);
    host.meta_free(host.ctx, zone->frame, arrays);
    host.meta_free(host.ctx, zone, sizeof(*zone));
}

static struct kl_zone *alloc_metadata(const struct kl_zone_config *config)
{
    const struct kl_host *host = config->host;
    struct kl_zone *zone = host->meta_alloc(host->ctx, sizeof(*zone));
    uint64_t arrays;
    char *mem;

    if (!zone)
        return NULL;
    zone->host = *host;
    zone->backing = *config->backing;
    set_shape(zone);
    arrays = lay_out(zone, NULL);
    mem = arrays <= SIZE_MAX ? host->meta_alloc(host->ctx, (size_t)arrays) : NULL;
    if (!mem) {
        host->meta_free(host->ctx, zone, sizeof(*zone));
        return NULL;
    }
    lay_out(zone, mem);
    zone->metadata_bytes = sizeof(*zone) + (size_t)arrays;
    atomic_init(&zone->soft, UINT64_MAX);
    atomic_init(&zone->hard, UINT64_MAX);
    return zone;
}

int kl_zone_create(const struct kl_zone_config *config, struct kl_zone **out)
{
    struct kl_zone *zone;
    uint32_t size;
    int err = 0;

    if (!out || !config_ok(config))
        return -KL_EINVAL;
    zone = alloc_metadata(config);
    if (!zone)
        return -KL_ENOMEM;
    size = config->blocks ? config->blocks : zone->blocks;
    kli_lock_init(&zone->owners_lock, KLI_RANK_ZONE_OWNERS);
    kli_pins_init(zone);
    kli_lock_init(&zone->limits_lock, KLI_RANK_LIMITS);
    kli_lock_init(&zone->looks_lock, KLI_RANK_LOOKS);
    atomic_init(&zone->migration_off, (config->flags & KL_ZONE_NO_MIGRATION) != 0);
    init_blocks(zone, size, zone->backing.populate ? 0 : size); /* all there: no populate */
    spread_hints(zone);
    kli_cache_init(zone);
    if ((config->flags & KL_ZONE_POPULATE) && zone->backing.populate)
        err = populate_first(zone, size);
    if (err) {
        release_all(zone);
        free_metadata(zone);
        return err;
    }
    *out = zone;
    return 0;
}

static bool in_use(const struct kl_zone *zone)
{
    const struct kli_annex *annex = atomic_load(&zone->annex);

    if ((annex && atomic_load(&annex->users) > 0) ||
        kli_g_state(atomic_load(&zone->kick.gate.word)) != KLI_G_FREE)
        return true;
    for (unsigned id = 1; id < KLI_MAX_OWNERS; id++) {
        if (atomic_load(&zone->owner[id].used))
            return true;
    }
    for (uint32_t b = 0; b < zone->blocks; b++) {
        uint64_t word = kli_block_word(zone, b);

        if ((word & KLI_B_FENCED) ||
            (!(word & KLI_B_ABSENT) && kli_b_free(word) != zone->block_frames))
            return true;
    }
    return false;
}

int kl_zone_destroy(struct kl_zone *zone)
{
    if (!zone)
        return 0;
    kli_cache_drain(zone);
    if (in_use(zone))
        return -KL_EBUSY;
    release_all(zone);
    free_metadata(zone);
    return 0;
}

size_t kl_zone_frame_bytes(const struct kl_zone *zone)
{
    return (size_t)1 << zone->frame_shift;
}

size_t kl_zone_block_bytes(const struct kl_zone *zone)
{
    return (size_t)1 << (zone->frame_shift + zone->block_order);
}

uint32_t kl_zone_frames(const struct kl_zone *zone)
{
    return zone->frames;
}

uint32_t kl_zone_blocks(const struct kl_zone *zone)
{
    return zone->blocks;
}

const struct kl_host *kl_zone_host(const struct kl_zone *zone)
{
    return &zone->host;
}

void kl_zone_set_migration(struct kl_zone *zone, bool on)
{
    atomic_store(&zone->migration_off, !on);
}

uint32_t kli_head_of(const struct kl_zone *zone, uint32_t nr)
{
    uint64_t block = kli_block_word(zone, kli_block_of(zone, nr));
    /* a unit of several blocks fills them, and can't move */
    unsigned last = kli_b_stuck(block) == zone->block_frames ? 31 : zone->block_order;

    for (unsigned order = 0; order <= last; order++) {
        uint32_t head = nr & ~((1u << order) - 1);
        uint64_t word = kli_state(zone, head);

        if (word & KLI_F_HEAD)
            return kli_f_order(word) >= order ? head : nr;
    }
    return nr;
}

kl_pfn kl_zone_pfn(const struct kl_zone *zone, uint32_t nr)
{
    return nr < zone->frames ? kli_pfn(zone, nr) : (kl_pfn){0};
}

kl_block kl_frame_block(const struct kl_zone *zone, kl_pfn pfn)
{
    return (kl_block){kli_pfn_ok(zone, pfn) ? kli_block_of(zone, kl_pfn_nr(pfn)) : 0};
}

void *kl_frame_addr(const struct kl_zone *zone, kl_pfn pfn)
{
    return kli_pfn_ok(zone, pfn) && zone->backing.base ? kli_addr(zone, kl_pfn_nr(pfn)) : NULL;
}

uint64_t kl_frame_offset(const struct kl_zone *zone, kl_pfn pfn)
{
    return kli_pfn_ok(zone, pfn) ? (uint64_t)kl_pfn_nr(pfn) << zone->frame_shift : UINT64_MAX;
}

void kl_frame_set_private(struct kl_zone *zone, kl_pfn pfn, uint64_t value)
{
    if (kli_pfn_ok(zone, pfn))
        atomic_store_explicit(&zone->frame[kl_pfn_nr(pfn)].priv, value, memory_order_release);
}

uint64_t kl_frame_private(const struct kl_zone *zone, kl_pfn pfn)
{
    if (!kli_pfn_ok(zone, pfn))
        return 0;
    return atomic_load_explicit(&zone->frame[kl_pfn_nr(pfn)].priv, memory_order_acquire);
}
