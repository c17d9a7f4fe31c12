// SPDX-License-Identifier: Apache-2.0
/* The scene's store: blocks whose contents a model knows, and the operations on them.
 *
 * Each operation leaves a note of what it writes.  In the end each block must be as one of the
 * two orders of the two notes leaves it, and what a reader got is the block before or after
 * the other's.
 *
 * Compressors cut zeroes off: the first one behind the last sector that has something, the
 * second one before the first one, too. So sizes are known: block 0 has all sectors and is raw;
 * blocks 5 to 9 have two, in the two frames of one zspage; the others have sectors 1 and 2,
 * in two zspages. What is discarded leaves something to compact: blocks 8 and 9 slide within
 * their zspage, block 1 goes to the other one, and is what the second compressor gains on.
 */
#include "interleave/scene.h"

#include <string.h>

enum { SECTOR = STORE_BLOCK / STORE_SECTORS };

/* Seeds from COMMON on are the same in every block. */
static void sector_fill(char *buf, uint64_t seed, unsigned block, unsigned sector)
{
    if (seed >= COMMON)
        block = 0;
    if (seed == 0)
        memset(buf, 0, SECTOR);
    else
        fill_bytes(buf, SECTOR, seed * 1000 + block * STORE_SECTORS + sector);
}

static void block_fill(char *buf, const uint64_t *seeds, unsigned block)
{
    for (unsigned i = 0; i < STORE_SECTORS; i++)
        sector_fill(buf + (size_t)i * SECTOR, seeds[i], block, i);
}

static bool is_zero(const char *buf)
{
    static const char zero[SECTOR];

    return memcmp(buf, zero, SECTOR) == 0;
}

static char no_context;

static void *create(const struct kl_codec *codec)
{
    (void)codec;
    return &no_context;
}

static void destroy(const struct kl_codec *codec, void *context)
{
    (void)codec, (void)context;
}

/* First byte: the sectors that are cut off before; then the others. */
static size_t compress(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                       const void *src, size_t src_bytes)
{
    size_t from = 0, to = src_bytes / SECTOR;
    const char *in = src;
    char *out = dst;

    (void)context;
    while (to > 0 && is_zero(in + (to - 1) * SECTOR))
        to--;
    while (codec->level && from < to && is_zero(in + from * SECTOR))
        from++;
    if ((to - from) * SECTOR + 1 > dst_bytes)
        return 0;
    out[0] = (char)from;
    memcpy(out + 1, in + from * SECTOR, (to - from) * SECTOR);
    return (to - from) * SECTOR + 1;
}

static bool decompress(const struct kl_codec *codec, void *context, void *dst, size_t dst_bytes,
                       const void *src, size_t src_bytes)
{
    size_t from = *(const unsigned char *)src;

    (void)codec, (void)context;
    if ((src_bytes - 1) % SECTOR || from * SECTOR + src_bytes - 1 > dst_bytes)
        return false;
    memset(dst, 0, dst_bytes);
    memcpy((char *)dst + from * SECTOR, (const char *)src + 1, src_bytes - 1);
    return true;
}

static const struct kl_codec codecs[2] = {
    {sizeof(struct kl_codec), "tail", 0, create, destroy, compress, decompress},
    {sizeof(struct kl_codec), "both", 1, create, destroy, compress, decompress},
};

void blocks_put(struct scene *s, unsigned block, unsigned from, unsigned to, uint64_t seed)
{
    char buf[STORE_BLOCK];

    for (unsigned i = from; i < to; i++)
        s->model[block][i] = seed;
    block_fill(buf, s->model[block], block);
    assert_int_equal(kl_store_write(s->store, block, 0, buf, sizeof(buf)), 0);
}

void blocks_drop(struct scene *s, unsigned block)
{
    memset(s->model[block], 0, sizeof(s->model[block]));
    assert_int_equal(kl_store_discard(s->store, block, 0, STORE_BLOCK), 0);
}

void blocks_open(struct scene *s, const struct kl_store_config *config)
{
    struct kl_store_config mine = *config;

    mine.size = sizeof(mine);
    mine.blocks = STORE_BLOCKS;
    mine.block_bytes = STORE_BLOCK;
    mine.codec = &codecs[0];
    mine.recompress = &codecs[1];
    mine.recompress_age = 1;
    assert_int_equal(kl_store_create(s->zone, &mine, &s->store), 0);
    s->pool = kl_store_zs(s->store);
}

void store_open(struct scene *s)
{
    static const unsigned order[] = {2, 3, 4, 10, 12, 13, 14, 1}, gone[] = {3, 4, 5, 6, 7, 13, 14};

    blocks_open(s, &(struct kl_store_config){0});
    blocks_put(s, 0, 0, STORE_SECTORS, 1);
    for (unsigned i = 5; i < 10; i++)
        blocks_put(s, i, 0, 2, 1);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        blocks_put(s, order[i], 1, 3, 1);
    for (unsigned i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        blocks_drop(s, gone[i]);
    assert_int_equal(kl_store_age(s->store, 0), 0);
}

/* What this operation does to a block is known from now on. */
static void apply(const struct effect *e, int ret, unsigned block, uint64_t *seeds)
{
    if (ret != 0 || e->n == 0 || e->block != block)
        return;
    for (unsigned i = e->from; i < e->from + e->n; i++)
        seeds[i] = e->whole && (i < e->begin || i >= e->end) ? 0 : e->seed;
}

/* Is this the block, when those whose bits are in `who` have written, `last` last? */
static bool is_after(struct scene *s, const char *buf, unsigned block, unsigned who, unsigned last)
{
    uint64_t seeds[STORE_SECTORS];
    char want[STORE_BLOCK];

    memcpy(seeds, s->model[block], sizeof(seeds));
    for (unsigned i = 0; i < 2; i++) {
        unsigned actor = i ? last : !last;

        if (who & 1u << actor) {
            apply(&s->effect[actor], s->ret[actor], block, seeds);
            apply(&s->second[actor], 0, block, seeds);
        }
    }
    block_fill(want, seeds, block);
    return memcmp(buf, want, sizeof(want)) == 0;
}

void store_judge(struct scene *s)
{
    char buf[STORE_BLOCK];

    for (unsigned block = 0; block < STORE_BLOCKS; block++) {
        if (kl_store_read(s->store, block, 0, buf, sizeof(buf)) != 0)
            s->broken = "a block can't be read";
        else if (!is_after(s, buf, block, 3, 0) && !is_after(s, buf, block, 3, 1))
            s->broken = "a block is not what one order of the two leaves";
    }
    for (unsigned who = 0; who < 2; who++) {
        const struct effect *e = &s->effect[who];

        if (e->read && s->ret[who] == 0 && !is_after(s, s->got[who], e->block, 0, 0) &&
            !is_after(s, s->got[who], e->block, 1u << !who, 0))
            s->broken = "a reader saw what never was";
    }
}

void blocks_write(struct scene *s, unsigned who, unsigned block, unsigned begin, unsigned end,
                  uint64_t seed)
{
    uint64_t seeds[STORE_SECTORS] = {0};
    char buf[STORE_BLOCK];

    s->effect[who] = (struct effect){.block = block,
                                     .n = STORE_SECTORS,
                                     .begin = begin,
                                     .end = end,
                                     .whole = true,
                                     .seed = seed};
    for (unsigned i = begin; i < end; i++)
        seeds[i] = seed;
    block_fill(buf, seeds, block);
    s->ret[who] = kl_store_write(s->store, block, 0, buf, sizeof(buf));
}

void blocks_part(struct scene *s, unsigned who, unsigned block, unsigned sector)
{
    char buf[SECTOR];

    s->effect[who] = (struct effect){.block = block, .from = sector, .n = 1, .seed = 20 + who};
    sector_fill(buf, 20 + who, block, sector);
    s->ret[who] = kl_store_write(s->store, block, sector * SECTOR, buf, sizeof(buf));
}

void blocks_read(struct scene *s, unsigned who, unsigned block)
{
    s->effect[who] = (struct effect){.block = block, .read = true};
    s->ret[who] = kl_store_read(s->store, block, 0, s->got[who], STORE_BLOCK);
}

void blocks_discard(struct scene *s, unsigned who, unsigned block)
{
    s->effect[who] = (struct effect){.block = block, .n = STORE_SECTORS};
    s->ret[who] = kl_store_discard(s->store, block, 0, STORE_BLOCK);
}

void op_st_write(struct scene *s, unsigned who)
{
    blocks_write(s, who, 0, 0, STORE_SECTORS, 10 + who);
}

void op_st_write_one(struct scene *s, unsigned who)
{
    blocks_write(s, who, 9, 0, 2, 10 + who);
}

void op_st_write_two(struct scene *s, unsigned who)
{
    blocks_write(s, who, 1, 0, 3, 10 + who);
}

/* The first of its class: a new zspage. */
void op_st_write_new(struct scene *s, unsigned who)
{
    blocks_write(s, who, 11, 0, 1, 10 + who);
}

/* The place that block 9 had is block 6's. */
void op_st_move_one(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 9);
    s->second[who] = s->effect[who];
    blocks_write(s, who, 6, 0, 2, 10 + who);
}

void op_st_part(struct scene *s, unsigned who)
{
    blocks_part(s, who, 0, 7 - who);
}

void op_st_part_one(struct scene *s, unsigned who)
{
    blocks_part(s, who, 9, who);
}

void op_st_part_two(struct scene *s, unsigned who)
{
    blocks_part(s, who, 1, 1 + who);
}

void op_st_read(struct scene *s, unsigned who)
{
    blocks_read(s, who, 0);
}

void op_st_read_one(struct scene *s, unsigned who)
{
    blocks_read(s, who, 9);
}

void op_st_read_two(struct scene *s, unsigned who)
{
    blocks_read(s, who, 1);
}

void op_st_discard(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 0);
}

void op_st_discard_one(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 9);
}

void op_st_discard_two(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 1);
}

void op_st_recompress(struct scene *s, unsigned who)
{
    int64_t saved = kl_store_recompress(s->store, 0);

    s->ret[who] = saved < 0 ? (int)saved : 0;
}
