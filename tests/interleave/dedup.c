// SPDX-License-Identifier: Apache-2.0
/* A scene's store with duplicate detection, and the operations on it (store.c).
 *
 * A hash here says which sectors are not zero, so contents of the same sectors are compared.
 *
 *   block 0     A, with an object to itself; block 5 a twin of A, which differs from it
 *   1 and 2     B, shared by both
 *   3           C, shared: the only one left of two
 *   6 to 9      two shared entries that are free again
 *   14, 4       what comes: of the first actor, of the second one
 *   10 to 13    where an actor shares two other contents, and ends the first of them
 */
#include "interleave/scene.h"

#include <string.h>

enum { SECTOR = STORE_BLOCK / STORE_SECTORS };
enum { A = COMMON, TWIN, B, C, D, E, X, Y };

static uint64_t sectors_in_use(const void *bytes, size_t n)
{
    static const char zero[SECTOR];
    uint64_t in_use = 0;

    for (size_t at = 0; at < n; at += SECTOR)
        in_use = in_use << 1 | (memcmp((const char *)bytes + at, zero, SECTOR) != 0);
    return in_use * 0x9e3779b97f4a7c15u;
}

void dedup_open(struct scene *s)
{
    blocks_open(s, &(struct kl_store_config){.flags = KL_STORE_DEDUP, .hash = sectors_in_use});
    blocks_put(s, 0, 0, 2, A);
    blocks_put(s, 5, 0, 2, TWIN);
    for (unsigned i = 0; i < 2; i++) {
        blocks_put(s, 1 + i, 1, 3, B);
        blocks_put(s, 3 + i, 2, 4, C);
        blocks_put(s, 6 + i, 3, 5, D);
        blocks_put(s, 8 + i, 4, 6, E);
    }
    for (unsigned i = 6; i < 10; i++)
        blocks_drop(s, i);
    blocks_drop(s, 4);
    assert_int_equal(kl_store_kind(s->store, 0), KL_STORE_COMPRESSED);
    assert_int_equal(kl_store_kind(s->store, 1), KL_STORE_SHARED);
    assert_int_equal(kl_store_kind(s->store, 3), KL_STORE_SHARED);
    assert_int_equal(kl_store_age(s->store, 0), 0);
}

static void come(struct scene *s, unsigned who, unsigned begin, uint64_t seed)
{
    blocks_write(s, who, who ? 4 : 14, begin, begin + 2, seed);
}

void op_dd_join(struct scene *s, unsigned who)
{
    come(s, who, 0, A);
}

void op_dd_join_two(struct scene *s, unsigned who)
{
    come(s, who, 1, B);
}

void op_dd_join_one(struct scene *s, unsigned who)
{
    come(s, who, 2, C);
}

/* Its hash is that of others. */
void op_dd_differ(struct scene *s, unsigned who)
{
    come(s, who, 1, 10 + who);
}

/* Two entries are taken, and the first of them is free again. */
void op_dd_cycle(struct scene *s, unsigned who)
{
    blocks_write(s, who, 10, 0, 3, X);
    blocks_write(s, who, 11, 0, 3, X);
    blocks_write(s, who, 12, 1, 4, Y);
    s->second[who] = s->effect[who];
    blocks_write(s, who, 13, 1, 4, Y);
    (void)kl_store_discard(s->store, 10, 0, STORE_BLOCK);
    (void)kl_store_discard(s->store, 11, 0, STORE_BLOCK);
}

void op_dd_write(struct scene *s, unsigned who)
{
    blocks_write(s, who, 0, 0, 5, 10 + who);
}

void op_dd_write_two(struct scene *s, unsigned who)
{
    blocks_write(s, who, 1, 0, 5, 10 + who);
}

void op_dd_write_one(struct scene *s, unsigned who)
{
    blocks_write(s, who, 3, 0, 5, 10 + who);
}

void op_dd_part(struct scene *s, unsigned who)
{
    blocks_part(s, who, 0, who);
}

void op_dd_part_two(struct scene *s, unsigned who)
{
    blocks_part(s, who, 1, 1 + who);
}

void op_dd_part_one(struct scene *s, unsigned who)
{
    blocks_part(s, who, 3, 2 + who);
}

void op_dd_read(struct scene *s, unsigned who)
{
    blocks_read(s, who, 0);
}

void op_dd_read_two(struct scene *s, unsigned who)
{
    blocks_read(s, who, 1);
}

void op_dd_read_one(struct scene *s, unsigned who)
{
    blocks_read(s, who, 3);
}

void op_dd_discard(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 0);
}

void op_dd_discard_one(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 3);
}
