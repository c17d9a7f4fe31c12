// SPDX-License-Identifier: Apache-2.0
/* Direct pools (direct.h): a place is a handle's index and eight bits of its generation. */
#include "zs/direct.h"
#include "zs/entry.h"
#include "zs/zs.h"

static kl_handle handle_of(const struct kl_zs *pool, uint64_t word)
{
    uint64_t index = word & ((1u << 28) - 1), generation = 0;
    const kli_word *entry = zs_table_at(&pool->handles, (uint32_t)index);

    if (entry)
        generation = zs_e_generation(atomic_load_explicit(entry, memory_order_acquire));
    if ((generation & 0xff) != kli_field(word, 28, 8))
        generation ^= 0xff; /* of an object that is gone */
    return (kl_handle){(index << 32) | (generation << 16) | pool->tag};
}

int zs_create_direct(struct kl_zone *zone, const struct kl_zs_config *config, kli_word *table,
                     uint32_t n, struct kl_zs **pool)
{
    int err = kl_zs_create(zone, config, pool);

    if (err == 0) {
        (*pool)->direct = table;
        (*pool)->direct_n = n;
    }
    return err;
}

int zs_direct_put(struct kl_zs *pool, uint32_t index, const void *bytes, uint32_t n, unsigned flags,
                  uint64_t *name)
{
    kl_handle handle;
    int err = kl_zs_malloc(pool, n, flags, &handle);

    (void)index;
    if (err)
        return err;
    err = kl_zs_write(pool, handle, 0, bytes, n);
    if (err)
        kl_zs_free(pool, handle);
    else
        *name = ZS_W_OBJECT | handle.v >> 32 | kli_field(handle.v, 16, 8) << 28;
    return err;
}

int zs_direct_get(struct kl_zs *pool, uint32_t index, uint64_t word, void *buf, uint32_t n)
{
    int err = kl_zs_read(pool, handle_of(pool, word), 0, buf, n);

    if (err == 0 && ((atomic_load(&pool->direct[index]) ^ word) & ZS_W_NAME))
        err = -KL_ESTALE;
    return err;
}

static void end_object(struct kl_zs *pool, uint64_t word)
{
    KLI_REQUIRE(&pool->host, kl_zs_free(pool, handle_of(pool, word)) == 0);
}

void zs_direct_free(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    (void)index;
    if ((word & ZS_W_OBJECT) && !(word & ZS_W_CLAIMED))
        end_object(pool, word);
}

bool zs_direct_claim(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    return kli_apply(&pool->direct[index], zs_w_claim, word & ZS_W_NAME, NULL);
}

void zs_direct_unclaim(struct kl_zs *pool, uint32_t index, uint64_t word)
{
    if (!kli_apply(&pool->direct[index], zs_w_unclaim, word & ZS_W_NAME, NULL))
        end_object(pool, word);
}

bool zs_direct_commit(struct kl_zs *pool, uint32_t index, uint64_t word, uint64_t next)
{
    uint64_t name = (word & ZS_W_NAME) | ZS_W_CLAIMED, seen = atomic_load(&pool->direct[index]);
    bool in = false;

    while (!in && (seen & (ZS_W_NAME | ZS_W_CLAIMED)) == name)
        in = atomic_compare_exchange_weak(&pool->direct[index], &seen, next);
    end_object(pool, word);
    return in;
}

size_t zs_direct_size(struct kl_zs *pool, uint64_t word)
{
    return kl_zs_object_size(pool, handle_of(pool, word));
}

uint64_t zs_direct_frames(const struct kl_zs *pool)
{
    return atomic_load_explicit(&pool->frames, memory_order_relaxed);
}
