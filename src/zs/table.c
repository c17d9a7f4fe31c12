// SPDX-License-Identifier: Apache-2.0
/* A table that grows in chunks, each twice the one before, and never moves.
 * Index i lies in chunk log2(i + 2^10) - 10.  Growing is under its user's lock;
 * looking up is not: an index is only known after its chunk is there.  Behind the elements
 * of a chunk are their notes, if the table has notes. */
#include "zs/zs.h"

static size_t bytes_of(const struct zs_table *table, size_t elements)
{
    return (elements << table->log2) + (table->noted ? elements : 0);
}

static size_t chunk_bytes(const struct zs_table *table, unsigned chunk)
{
    return bytes_of(table, (size_t)1 << (ZS_CHUNK0_LOG2 + chunk));
}

/* n new elements in a row, in one chunk; what is skipped for that is lost. */
int zs_table_grow(struct kl_zs *pool, struct zs_table *table, uint32_t n, uint32_t *first)
{
    unsigned chunk = zs_chunk_of(table->used);
    char *mem;

    if (zs_chunk_of(table->used + n - 1) != chunk)
        chunk++;
    if (chunk >= ZS_CHUNKS - 1 || kli_max(table->used, zs_chunk_first(chunk)) + n > table->max)
        return -KL_ENOMEM;
    if (!atomic_load_explicit(&table->chunk[chunk], memory_order_relaxed)) {
        mem = kl_zone_meta_alloc(pool->zone, chunk_bytes(table, chunk));
        if (!mem)
            return -KL_ENOMEM;
        atomic_store_explicit(&table->chunk[chunk], mem, memory_order_release);
    }
    *first = (uint32_t)kli_max(table->used, zs_chunk_first(chunk));
    atomic_fetch_add_explicit(&pool->metadata_bytes, bytes_of(table, *first + n - table->used),
                              memory_order_relaxed);
    table->used = *first + n;
    return 0;
}

void zs_table_free(struct kl_zs *pool, struct zs_table *table)
{
    for (unsigned chunk = 0; chunk < ZS_CHUNKS; chunk++) {
        char *mem = atomic_load_explicit(&table->chunk[chunk], memory_order_relaxed);

        if (mem)
            kl_zone_meta_free(pool->zone, mem, chunk_bytes(table, chunk));
    }
}
