// SPDX-License-Identifier: Apache-2.0
/* Slots and lists of a share (P1), and finding shares.  Lists are last in, first out: what
 * was used last is still in a CPU's cache. */
#include "pool/pool.h"

static void set(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static uint32_t look(const _Atomic uint32_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void add(_Atomic uint32_t *word, uint32_t n)
{
    set(word, look(word) + n);
}

/* How many are idle in all, about; wants more when they are few. */
static void weigh(struct kl_pool *pool, struct pool_share *share, int32_t n)
{
    int64_t idle;

    if (pool->low == 0)
        return;
    share->balance += n;
    if (share->balance > -pool->coarse && share->balance < pool->coarse)
        return;
    idle = atomic_fetch_add(&pool->idle_about, share->balance) + share->balance;
    share->balance = 0;
    if (idle < (int64_t)pool->low)
        kli_pool_want(pool);
}

void kli_pool_link(struct kl_pool *pool, struct pool_share *share, uint32_t i, unsigned list)
{
    struct pool_slot *slot = &pool->slot[i];
    uint32_t head = share->head[list];

    slot->list = (uint16_t)list;
    slot->prev = POOL_NONE;
    slot->next = head;
    if (head != POOL_NONE)
        pool->slot[head].prev = i;
    share->head[list] = i;
    add(&share->n[list], 1);
    set(&share->have, look(&share->have) | 1u << list);
    weigh(pool, share, 1);
}

static _Atomic uint32_t *count_of(struct pool_share *share, unsigned state)
{
    return state == POOL_ISOLATED ? &share->isolated : &share->zeroing;
}

/* Off its list; to: POOL_ISOLATED, POOL_ZEROING, or POOL_FREE, which also frees the slot. */
void kli_pool_unlink(struct kl_pool *pool, struct pool_share *share, uint32_t i, unsigned to)
{
    struct pool_slot *slot = &pool->slot[i];
    unsigned list = slot->list;

    KLI_ASSERT(&pool->host, list < POOL_LISTS);
    if (slot->prev == POOL_NONE)
        share->head[list] = slot->next;
    else
        pool->slot[slot->prev].next = slot->next;
    if (slot->next != POOL_NONE)
        pool->slot[slot->next].prev = slot->prev;
    add(&share->n[list], UINT32_MAX);
    if (share->head[list] == POOL_NONE)
        set(&share->have, look(&share->have) & ~(1u << list));
    slot->was = (uint16_t)list;
    slot->list = (uint16_t)to;
    if (to == POOL_FREE)
        kli_pool_slot_free(pool, share, i);
    else
        add(count_of(share, to), 1);
    weigh(pool, share, -1);
}

void kli_pool_slot_free(struct kl_pool *pool, struct pool_share *share, uint32_t i)
{
    struct pool_slot *slot = &pool->slot[i];

    slot->list = POOL_FREE;
    slot->next = share->free;
    share->free = i;
    add(&share->room, 1);
}

/* A slot that is on no list; POOL_NONE: there is none. */
uint32_t kli_pool_slot_take(struct kl_pool *pool, struct pool_share *share)
{
    uint32_t i = share->free;

    if (i == POOL_NONE)
        return i;
    share->free = pool->slot[i].next;
    add(&share->room, UINT32_MAX);
    return i;
}

void kli_pool_lists_init(struct kl_pool *pool)
{
    for (uint32_t s = 0; s < pool->shares; s++) {
        kli_lock_init(&pool->share[s].lock, KLI_RANK_POOL);
        pool->share[s].free = POOL_NONE;
        for (unsigned list = 0; list < POOL_LISTS; list++)
            pool->share[s].head[list] = POOL_NONE;
    }
    for (uint32_t i = pool->limit; i-- > 0;)
        kli_pool_slot_free(pool, pool_share_of(pool, i), i);
}

/* Which lists suit a unit by where it is: POOL_LOW, POOL_ASTRAY. */
unsigned kli_pool_place(const struct kl_pool *pool, uint32_t nr)
{
    uint64_t block = kli_block_word(pool->zone, kli_block_of(pool->zone, nr));
    bool low = nr < pool->low_below && pool_unit(pool) <= pool->low_below - nr;

    return (low ? POOL_LOW : 0) | ((block & KLI_B_UNMOVABLE) ? 0 : POOL_ASTRAY);
}

uint64_t kli_pool_listed(const struct kl_pool *pool, unsigned lists)
{
    uint64_t n = 0;

    for (uint32_t s = 0; s < pool->shares; s++) {
        for (unsigned list = 0; list < POOL_LISTS; list++) {
            if (lists & 1u << list)
                n += look(&pool->share[s].n[list]);
        }
    }
    return n;
}

struct pool_share *kli_pool_own_share(struct kl_pool *pool)
{
    unsigned cpu = kli_cpu(pool->zone);

    if (cpu >= pool->shares)
        cpu %= (unsigned)kli_max(1, pool->shares);
    return &pool->share[cpu];
}

/* Goes round. */
struct pool_share *kli_pool_next_share(struct kl_pool *pool, struct pool_share *share)
{
    return share + 1 == pool->share + pool->shares ? pool->share : share + 1;
}
