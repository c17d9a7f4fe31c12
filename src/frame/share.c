// SPDX-License-Identifier: Apache-2.0
/* Charging an owner's frames: share.h has the protocol. */
#include "frame/share.h"

static struct kli_share *share_of(struct kl_zone *zone, unsigned owner)
{
    return &zone->owner[owner].share;
}

static struct kli_stock *stock_here(struct kl_zone *zone, struct kli_share *share)
{
    return &atomic_load_explicit(&share->stocks, memory_order_acquire)[kli_cpu(zone)];
}

/* May something more go into stocks, with so much used? (A3) */
static bool is_far(const struct kl_zone *zone, const struct kli_share *share, uint64_t used)
{
    uint64_t slack = (uint64_t)4 * KLI_STOCK * zone->host.ncpus;
    uint64_t bound = kli_min(atomic_load_explicit(&share->soft, memory_order_relaxed),
                             atomic_load_explicit(&share->hard, memory_order_relaxed));

    return bound >= slack && used <= bound - slack;
}

static bool from_stock(struct kli_stock *stock, uint64_t n)
{
    uint32_t have = atomic_load_explicit(&stock->n, memory_order_relaxed);

    do {
        if (have < n)
            return false;
    } while (!atomic_compare_exchange_weak(&stock->n, &have, have - (uint32_t)n));
    return true;
}

static void lower(struct kli_share *share, uint64_t n)
{
    atomic_fetch_sub(&share->used, n);
}

/* A2; batch: only if it is far from the bounds then. */
static bool raise(const struct kl_zone *zone, struct kli_share *share, uint64_t n, bool batch)
{
    uint64_t hard = atomic_load(&share->hard), old = atomic_load(&share->used);

    do {
        if (old + n > hard || (batch && !is_far(zone, share, old + n)))
            return false;
        KLI_TRACE_STEP(share_look, KLI_TAG(zone), n, hard);
    } while (!atomic_compare_exchange_weak(&share->used, &old, old + n));
    KLI_TRACE_STEP(share_raised, KLI_TAG(zone), n, old + n);
    if (old + n <= atomic_load(&share->hard))
        return true;
    lower(share, n);
    return false;
}

/* How many there were. */
static uint64_t drain(struct kl_zone *zone, struct kli_share *share)
{
    struct kli_stock *stocks = atomic_load(&share->stocks);
    uint64_t sum = 0;

    for (unsigned cpu = 0; stocks && cpu < zone->host.ncpus; cpu++)
        sum += atomic_exchange(&stocks[cpu].n, 0);
    KLI_TRACE_STEP(share_drained, KLI_TAG(zone), sum, 0);
    if (sum)
        lower(share, sum);
    return sum;
}

void kli_share_drain(struct kl_zone *zone, unsigned owner)
{
    drain(zone, share_of(zone, owner));
}

bool kli_share_charge(struct kl_zone *zone, unsigned owner, uint64_t n)
{
    struct kli_share *share = share_of(zone, owner);
    struct kli_stock *stock = stock_here(zone, share);

    if (from_stock(stock, n))
        return true;
    if (n < KLI_STOCK && raise(zone, share, n + KLI_STOCK, true)) {
        atomic_fetch_add(&stock->n, KLI_STOCK);
        return true;
    }
    while (!raise(zone, share, n, false)) {
        if (drain(zone, share) == 0)
            return false;
    }
    return true;
}

void kli_share_uncharge(struct kl_zone *zone, unsigned owner, uint64_t n)
{
    struct kli_share *share = share_of(zone, owner);
    struct kli_stock *stock = stock_here(zone, share);

    if (n <= KLI_STOCK &&
        atomic_load_explicit(&stock->n, memory_order_relaxed) + n <= UINT64_C(2) * KLI_STOCK &&
        is_far(zone, share, atomic_load_explicit(&share->used, memory_order_relaxed)))
        atomic_fetch_add(&stock->n, (uint32_t)n);
    else
        lower(share, n);
}

uint64_t kli_share_used(struct kl_zone *zone, unsigned owner)
{
    struct kli_share *share = share_of(zone, owner);
    struct kli_stock *stocks = atomic_load(&share->stocks);
    uint64_t used = atomic_load(&share->used), kept = 0;

    for (unsigned cpu = 0; stocks && cpu < zone->host.ncpus; cpu++)
        kept += atomic_load(&stocks[cpu].n);
    return used > kept ? used - kept : 0;
}

uint64_t kli_share_excess(struct kl_zone *zone, unsigned owner)
{
    uint64_t soft = atomic_load(&share_of(zone, owner)->soft), used;

    if (!kli_is_counted(zone, owner) || soft == UINT64_MAX)
        return 0;
    used = kli_share_used(zone, owner);
    return used > soft ? used - soft : 0;
}

/* Charges a frame that stands there already, whatever the bounds are.  `used` goes up first:
 * who frees the frame lowers it as soon as the word says that it is counted. (A1) */
static void charge_frame(struct kl_zone *zone, uint32_t nr, unsigned owner)
{
    struct kli_share *share = share_of(zone, owner);
    uint64_t n = UINT64_C(1) << kli_f_order(kli_state(zone, nr)), seen, is = 0;

    atomic_fetch_add(&share->used, n);
    if (kli_apply(&zone->frame[nr].state, kli_f_charge, owner, &seen))
        is = UINT64_C(1) << kli_f_order(seen);
    if (is != n)
        lower(share, n - is); /* not any more; or it is another one by now */
}

static int make_stocks(struct kl_zone *zone, struct kli_share *share)
{
    size_t bytes = zone->host.ncpus * sizeof(struct kli_stock);
    struct kli_stock *none = NULL, *stocks;

    if (atomic_load(&share->stocks))
        return 0;
    stocks = kl_zone_meta_alloc(zone, bytes);
    if (!stocks)
        return -KL_ENOMEM;
    if (!atomic_compare_exchange_strong(&share->stocks, &none, stocks))
        kl_zone_meta_free(zone, stocks, bytes);
    return 0;
}

int kli_share_begin(struct kl_zone *zone, unsigned owner)
{
    struct kli_share *share = share_of(zone, owner);
    int err = make_stocks(zone, share);

    if (err || atomic_load(&share->counted))
        return err;
    atomic_store_explicit(&zone->owner[owner].quick_end, 0, memory_order_relaxed);
    atomic_fetch_add(&zone->shares, 1);
    atomic_store(&share->counted, true); /* A4: before the walk */
    for (uint32_t b = 0; b < zone->blocks; b++) {
        uint32_t first = b << zone->block_order;

        if ((kli_block_word(zone, b) & (KLI_B_ABSENT | KLI_B_CMA)) == KLI_B_ABSENT)
            continue;
        for (uint32_t nr = first; nr < first + zone->block_frames; nr++)
            if (atomic_load(&zone->frame[nr].state) & KLI_F_HEAD)
                charge_frame(zone, nr, owner);
    }
    return 0;
}

void kli_share_before(struct kl_zone *zone, uint32_t src)
{
    uint64_t word = kli_state(zone, src);

    if (!(word & KLI_F_CHARGED) && kli_is_counted(zone, kli_f_owner(word)))
        charge_frame(zone, src, kli_f_owner(word));
}

void kli_share_carry(struct kl_zone *zone, uint64_t src_word, uint32_t dst)
{
    unsigned owner = kli_f_owner(src_word);

    if ((src_word & KLI_F_CHARGED) &&
        !kli_apply(&zone->frame[dst].state, kli_f_charge, owner, NULL)) /* charged, or freed */
        kli_share_uncharge(zone, owner, UINT64_C(1) << kli_f_order(src_word));
}

void kli_share_reset(struct kl_zone *zone, unsigned owner)
{
    struct kli_share *share = share_of(zone, owner);

    atomic_store(&share->soft, UINT64_MAX);
    atomic_store(&share->hard, UINT64_MAX);
    atomic_store(&share->refused, 0);
}

bool kli_share_end(struct kl_zone *zone, unsigned owner)
{
    enum { PATIENCE = 1000 };
    struct kli_share *share = share_of(zone, owner);

    if (!atomic_load(&share->counted))
        return true;
    for (unsigned i = 0; i < PATIENCE; i++) {
        drain(zone, share);
        if (atomic_load(&share->used) == 0) {
            atomic_store(&share->counted, false);
            atomic_fetch_sub(&zone->shares, 1);
            return true;
        }
        zone->host.relax(zone->host.ctx, i);
    }
    return false;
}

void kli_share_free_stocks(struct kl_zone *zone)
{
    const struct kl_host *host = &zone->host;

    for (unsigned id = 0; id < KLI_MAX_OWNERS; id++) {
        struct kli_stock *stocks = atomic_load(&zone->owner[id].share.stocks);

        if (stocks)
            host->meta_free(host->ctx, stocks, host->ncpus * sizeof(*stocks));
    }
}
