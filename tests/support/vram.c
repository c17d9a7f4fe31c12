// SPDX-License-Identifier: Apache-2.0
#include "support/vram.h"

#include <limits.h>
#include <string.h>

struct vram vram;

static struct fixture fixture; /* for its host */

static void finish(const struct vram_job *job)
{
    for (size_t i = 0; i < job->n && vram.result == 0; i++) {
        const struct kl_copy *c = &job->copies[i];

        memcpy(vram.memory + c->dst, vram.memory + c->src, c->bytes);
        vram.copied++;
    }
    kl_heap_done(job->batch, vram.result);
}

static int submit(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch)
{
    struct vram_job job = {copies, n, batch};

    assert_ptr_equal(ctx, &vram);
    assert_true(n > 0);
    vram.submits++;
    if (vram.refuses)
        return vram.refuses;
    if (vram.at_once)
        finish(&job);
    else if (vram.jobs == VRAM_JOBS)
        return -KL_EAGAIN;
    else
        vram.job[vram.jobs++] = job;
    return 0;
}

static unsigned work(bool passes)
{
    struct vram_job job[VRAM_JOBS];
    unsigned n = vram.jobs, done = 0;

    memcpy(job, vram.job, sizeof(job));
    vram.jobs = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!passes && job[i].batch->move)
            vram.job[vram.jobs++] = job[i];
    }
    for (unsigned i = 0; i < n; i++) {
        if (!passes && job[i].batch->move)
            continue;
        finish(&job[i]);
        done++;
    }
    return done;
}

unsigned vram_work(void)
{
    return work(true);
}

static enum kl_heap_choice choose(void *ctx, const struct kl_heap_move *move)
{
    assert_ptr_equal(ctx, &vram);
    assert_ptr_equal(move->user, &vram);
    assert_int_not_equal(move->dst, move->src);
    vram.chosen++;
    if (vram.on_choose)
        vram.on_choose(move);
    return vram.odd.v == move->buffer.v ? vram.odd_choice : vram.choice;
}

static void moved(void *ctx, const struct kl_heap_move *move)
{
    uint64_t at;

    assert_ptr_equal(ctx, &vram);
    vram.told++;
    if (kl_heap_where(vram.heap, move->buffer, &at, NULL) == 0)
        assert_int_equal(at, move->dst);
    if (vram.on_moved)
        vram.on_moved(move);
}

static void (*next_relax)(void *ctx, unsigned round);

static void relax(void *ctx, unsigned round)
{
    vram.waits++;
    if (vram.jobs > 0) /* runs wait for their batches, and not for passes */
        work(vram.waits > vram.patience);
    next_relax(ctx, round);
}

void vram_open(unsigned blocks, unsigned order)
{
    static const struct kl_heap_ops ops = {
        .size = sizeof(ops), .name = "vram", .choose = choose, .submit = submit, .moved = moved};
    uint64_t bytes = (uint64_t)blocks << (12 + order);
    struct kl_backing backing;
    struct kl_zone_config config = {.size = sizeof(config), .backing = &backing};
    struct kl_host host;

    fixture_open(&fixture, 1, 0, 0);
    host = *kl_zone_host(fixture.zone);
    next_relax = host.relax;
    host.relax = relax;
    config.host = &host;
    memset(&vram, 0, sizeof(vram));
    vram.patience = UINT_MAX;
    assert_int_equal(kl_backing_offsets(&backing, bytes, 12, order), 0);
    assert_int_equal(kl_zone_create(&config, &vram.zone), 0);
    vram.memory = calloc(1, bytes);
    assert_non_null(vram.memory);
    assert_int_equal(kl_heap_create(vram.zone, &ops, &vram, &vram.heap), 0);
}

void vram_check(void)
{
    const char *what = "";

    if (kl_heap_check(vram.heap, &what) != 0)
        fail_msg("heap: %s", what);
    for (uint32_t b = 0; b < kl_zone_blocks(vram.zone); b++) /* M3 of move/empty.c */
        if ((kli_block_word(vram.zone, b) & KLI_B_SHUNNED) && b != vram.heap->emptier.begun)
            fail_msg("block %u is shunned, and nobody empties it", b);
    assert_zone_ok(vram.zone);
}

void vram_close(void)
{
    vram_check();
    assert_int_equal(kl_heap_destroy(vram.heap), 0);
    assert_zone_ok(vram.zone);
    assert_int_equal(kl_zone_destroy(vram.zone), 0);
    free(vram.memory);
    fixture_close(&fixture);
}

kl_buffer_id vram_make(unsigned frames)
{
    kl_buffer_id id;
    uint64_t at, bytes;

    assert_int_equal(kl_heap_alloc(vram.heap, (uint64_t)frames * VRAM_FRAME, 0, &vram, &id), 0);
    assert_int_equal(kl_heap_where(vram.heap, id, &at, &bytes), 0);
    fill_bytes(vram.memory + at, bytes, id.v);
    return id;
}

bool vram_right(kl_buffer_id id)
{
    uint64_t at, bytes;

    assert_int_equal(kl_heap_where(vram.heap, id, &at, &bytes), 0);
    return bytes_are(vram.memory + at, bytes, id.v);
}

void vram_free(kl_buffer_id id)
{
    assert_int_equal(kl_heap_free(vram.heap, id), 0);
}

uint64_t vram_where(kl_buffer_id id)
{
    uint64_t at;

    assert_int_equal(kl_heap_where(vram.heap, id, &at, NULL), 0);
    return at;
}

unsigned vram_block(kl_buffer_id id)
{
    return (unsigned)(vram_where(id) / kl_zone_block_bytes(vram.zone));
}

unsigned vram_used(unsigned block)
{
    return vram.zone->block_frames - kli_b_free(kli_block_word(vram.zone, block));
}

unsigned vram_whole_blocks(void)
{
    unsigned n = 0;

    for (uint32_t b = 0; b < kl_zone_blocks(vram.zone); b++)
        n += vram_used(b) == 0;
    return n;
}

unsigned vram_scatter(kl_buffer_id *kept, unsigned blocks, unsigned keep)
{
    static kl_buffer_id id[VRAM_MOST];
    unsigned n = 0, all = blocks * vram.zone->block_frames;

    assert_true(all <= VRAM_MOST);
    for (unsigned i = 0; i < all; i++)
        id[i] = vram_make(1);
    for (unsigned i = 0; i < all; i++) {
        if (vram_where(id[i]) / VRAM_FRAME % vram.zone->block_frames % keep == 0)
            kept[n++] = id[i];
        else
            vram_free(id[i]);
    }
    return n;
}

void vram_all_right(const kl_buffer_id *id, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_true(vram_right(id[i]));
}

void vram_free_all(const kl_buffer_id *id, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        vram_free(id[i]);
}

struct kl_pass vram_pass(uint64_t max_bytes, uint32_t max_moves)
{
    struct kl_pass pass = {.size = sizeof(pass), .max_bytes = max_bytes, .max_moves = max_moves};

    assert_int_equal(kl_heap_pass(vram.heap, &pass), 0);
    return pass;
}

struct kl_heap_stats vram_stats(void)
{
    struct kl_heap_stats stats = {.size = sizeof(stats)};

    kl_heap_get_stats(vram.heap, &stats);
    return stats;
}
