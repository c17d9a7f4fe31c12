// SPDX-License-Identifier: Apache-2.0
#include "support/away.h"

#include <string.h>

const struct kl_writeback_config AWAY_DEFAULT = {.size = sizeof(AWAY_DEFAULT),
                                                 .timeout_ns = 20000000000};

/* A store of ROOM bytes of frames. */
void away_open_on(struct away *s, const struct kl_target *target, struct kl_writeback_config config)
{
    struct kl_codec c;
    struct kl_store_config store = {.size = sizeof(store),
                                    .blocks = BLOCKS,
                                    .block_bytes = BLOCK,
                                    .codec = &c,
                                    .limit_bytes = ROOM};

    fixture_open(&s->f, 256, 6, 0);
    assert_int_equal(kl_linux_codec("lz4", 0, &c), 0);
    assert_int_equal(kl_store_create(s->f.zone, &store, &s->store), 0);
    config.target = target;
    assert_int_equal(kl_store_writeback_start(s->store, &config), 0);
}

/* And a target of so many. */
void away_open(struct away *s, uint64_t bytes, unsigned flags, struct kl_writeback_config config)
{
    fake_target_open(&s->fake, bytes, flags);
    away_open_on(s, &s->fake.target, config);
}

void away_close(struct away *s)
{
    assert_store_ok(s->store);
    assert_int_equal(kl_store_destroy(s->store), 0);
    fixture_close(&s->f);
    fake_target_close(&s->fake);
}

struct kl_writeback_stats away_figures(struct away *s)
{
    struct kl_writeback_stats stats = {.size = sizeof(stats)};

    kl_store_writeback_stats(s->store, &stats);
    return stats;
}

uint64_t away_frame_bytes(struct away *s)
{
    struct kl_store_stats stats = {.size = sizeof(stats)};

    kl_store_get_stats(s->store, &stats);
    return stats.frame_bytes;
}

/* Every third block is noise, the others compress to about a half. */
void away_make(char *buf, uint64_t block, uint64_t version)
{
    uint64_t seed = block * 1000 + version;

    memset(buf, (int)(seed % 251), BLOCK);
    fill_bytes(buf, block % 3 ? BLOCK / 2 : BLOCK, seed);
}

int away_put(struct away *s, uint64_t block, uint64_t version)
{
    char buf[BLOCK];

    away_make(buf, block, version);
    return kl_store_write(s->store, block, 0, buf, BLOCK);
}

void assert_away(struct away *s, uint64_t block, uint64_t version)
{
    char want[BLOCK], got[BLOCK];

    away_make(want, block, version);
    assert_int_equal(kl_store_read(s->store, block, 0, got, BLOCK), 0);
    assert_memory_equal(want, got, BLOCK);
}

/* With a timeout that is short, on a machine that may be slow. */
void assert_away_soon(struct away *s, uint64_t block, uint64_t version)
{
    char want[BLOCK], got[BLOCK];
    int err;

    do {
        err = kl_store_read(s->store, block, 0, got, BLOCK);
    } while (err == -KL_ETIMEDOUT);
    away_make(want, block, version);
    assert_int_equal(err, 0);
    assert_memory_equal(want, got, BLOCK);
}

void away_fill(struct away *s, uint64_t blocks)
{
    for (uint64_t b = 0; b < blocks; b++)
        assert_int_equal(away_put(s, b, 0), 0);
}

/* Until nothing is under way. */
void away_settle(struct away *s)
{
    while (away_figures(s).pending > 0 || kl_store_writeback(s->store, 0) != UINT64_MAX)
        ;
}
