// SPDX-License-Identifier: Apache-2.0
/* A scene's store with a write-back target, and the operations on it (store.c).  The target
 * is memory and answers at once, in the thread that asks.
 *
 *   blocks 1, 2  on the target: raw, compressed
 *   3, 0         in memory, old: raw, compressed; they go in this order, and there is just
 *                enough room for both on the target
 *   4            what an actor writes, who then has it written where block 1 was
 */
#include "interleave/scene.h"

#include <string.h>

enum { RAW_UNITS = 9, SMALL_UNITS = 3, UNITS = 2 * (RAW_UNITS + SMALL_UNITS) };

static char memory[UNITS * KL_TARGET_UNIT];

static int submit(void *ctx, struct kl_target_io *io)
{
    (void)ctx;
    if (io->op == KL_TARGET_WRITE)
        memcpy(memory + io->offset, io->buf, io->bytes);
    else if (io->op == KL_TARGET_READ)
        memcpy(io->buf, memory + io->offset, io->bytes);
    io->done(io, 0);
    return 0;
}

static void cancel(void *ctx)
{
    (void)ctx;
}

static int status(void *ctx, char *text, size_t bytes)
{
    (void)ctx;
    if (bytes > 0)
        text[0] = 0;
    return 0;
}

static const struct kl_target target = {.size = sizeof(target),
                                        .bytes = sizeof(memory),
                                        .flags = KL_TARGET_NEEDS_FLUSH,
                                        .submit = submit,
                                        .cancel = cancel,
                                        .status = status};

void away_scene(struct scene *s)
{
    struct kl_writeback_config config = {
        .size = sizeof(config), .target = &target, .timeout_ns = 1000000000};

    blocks_open(s, &(struct kl_store_config){0});
    assert_int_equal(kl_store_writeback_start(s->store, &config), 0);
    blocks_put(s, 1, 0, STORE_SECTORS, 1);
    blocks_put(s, 2, 0, 2, 1);
    assert_int_equal(kl_store_writeback_now(s->store, 2, 0), 2);
    blocks_put(s, 3, 0, STORE_SECTORS, 1);
    blocks_put(s, 0, 0, 2, 1);
    assert_int_equal(kl_store_kind(s->store, 1), KL_STORE_WRITTEN);
    assert_int_equal(kl_store_age(s->store, 0), 0);
}

/* Two blocks, or none if somebody else is at it. */
void op_wb_out(struct scene *s, unsigned who)
{
    s->ret[who] = kl_store_writeback_now(s->store, 2, 1) < 0;
}

/* Its steps alone, as background work does them. */
void op_wb_step(struct scene *s, unsigned who)
{
    (void)who;
    for (int i = 0; i < 4; i++)
        (void)kl_store_writeback(s->store, 0);
}

/* Others are where block 1 was. */
void op_wb_swap(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 1);
    s->second[who] = s->effect[who];
    (void)kl_store_writeback_now(s->store, 2, 1);
    blocks_write(s, who, 4, 0, STORE_SECTORS, 10 + who);
    (void)kl_store_writeback_now(s->store, 1, 0);
}

void op_wb_write(struct scene *s, unsigned who)
{
    blocks_write(s, who, 3, 0, 5, 10 + who);
}

void op_wb_write_away(struct scene *s, unsigned who)
{
    blocks_write(s, who, 1, 0, 5, 10 + who);
}

void op_wb_part(struct scene *s, unsigned who)
{
    blocks_part(s, who, 3, who);
}

void op_wb_part_away(struct scene *s, unsigned who)
{
    blocks_part(s, who, 1, who);
}

void op_wb_read(struct scene *s, unsigned who)
{
    blocks_read(s, who, 3);
}

void op_wb_read_away(struct scene *s, unsigned who)
{
    blocks_read(s, who, 1);
}

void op_wb_discard(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 3);
}

void op_wb_discard_away(struct scene *s, unsigned who)
{
    blocks_discard(s, who, 1);
}
