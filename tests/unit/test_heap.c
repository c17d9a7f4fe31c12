// SPDX-License-Identifier: Apache-2.0
/* Buffers in a device's memory: every call and every error, passes with all three choices,
 * what comes in between their halves, and an engine that fails, is full, or is done at once. */
#include "support/fixture.h"

#include <string.h>

#include "heap/heap.h"
#include "move/run.h"

enum { ORDER = 4, FRAMES = 1 << ORDER, BLOCKS = 16, FRAME = 4096, BATCHES = 16 };

/* An engine that works when it is told to. */
struct job {
    const struct kl_copy *copies;
    size_t n;
    struct kl_heap_batch *batch;
};

static struct {
    struct kl_zone *zone;
    struct kl_heap *heap;
    unsigned char *memory;
    struct job job[BATCHES];
    unsigned jobs;
    bool at_once; /* done within submit */
    int refuses;  /* what submit says */
    int result;   /* of the copies */
    unsigned submits, copied, told;
    enum kl_heap_choice choice; /* of every move, */
    kl_buffer_id odd;           /* but for this one: */
    enum kl_heap_choice odd_choice;
    unsigned chosen;
    struct kl_heap_move last;
} d;

static void make_copies(const struct kl_copy *copies, size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy(d.memory + copies[i].dst, d.memory + copies[i].src, copies[i].bytes);
    d.copied += (unsigned)n;
}

static void finish(const struct job *job)
{
    if (d.result == 0)
        make_copies(job->copies, job->n);
    kl_heap_done(job->batch, d.result);
}

static int submit(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch)
{
    struct job job = {copies, n, batch};

    assert_ptr_equal(ctx, &d);
    assert_true(n > 0);
    d.submits++;
    if (d.refuses)
        return d.refuses;
    if (d.at_once) {
        finish(&job);
        return 0;
    }
    if (d.jobs == BATCHES)
        return -KL_EAGAIN;
    d.job[d.jobs++] = job;
    return 0;
}

static enum kl_heap_choice choose(void *ctx, const struct kl_heap_move *move)
{
    assert_ptr_equal(ctx, &d);
    assert_true(move->dst != move->src);
    d.chosen++;
    return d.odd.v == move->buffer.v ? d.odd_choice : d.choice;
}

static void moved(void *ctx, const struct kl_heap_move *move)
{
    uint64_t at;

    assert_ptr_equal(ctx, &d);
    d.told++;
    d.last = *move;
    if (kl_heap_where(d.heap, move->buffer, &at, NULL) == 0)
        assert_int_equal(at, move->dst);
}

static const struct kl_heap_ops ops = {
    .size = sizeof(ops), .name = "vram", .choose = choose, .submit = submit, .moved = moved};

static void open_heap(unsigned blocks, unsigned order)
{
    uint64_t bytes = (uint64_t)blocks << (12 + order);
    struct kl_backing backing;
    struct kl_zone_config config = {
        .size = sizeof(config), .host = kl_linux_host(), .backing = &backing};
    struct kl_host host = *kl_linux_host();

    memset(&d, 0, sizeof(d));
    assert_int_equal(kl_backing_offsets(&backing, bytes, 12, order), 0);
    if (fixture_host) {
        fixture_host(&host);
        config.host = &host;
    }
    assert_int_equal(kl_zone_create(&config, &d.zone), 0);
    d.memory = calloc(1, bytes);
    assert_non_null(d.memory);
    d.at_once = true;
    assert_int_equal(kl_heap_create(d.zone, &ops, &d, &d.heap), 0);
}

static void check(void)
{
    const char *what = "";

    if (kl_heap_check(d.heap, &what) != 0)
        fail_msg("heap: %s", what);
    assert_zone_ok(d.zone);
}

static void close_heap(void)
{
    check();
    assert_int_equal(kl_heap_destroy(d.heap), 0);
    assert_zone_ok(d.zone);
    assert_int_equal(kl_zone_destroy(d.zone), 0);
    free(d.memory);
}

static kl_buffer_id make(unsigned frames)
{
    kl_buffer_id id;
    uint64_t at, bytes;

    assert_int_equal(kl_heap_alloc(d.heap, (uint64_t)frames * FRAME, 0, &d, &id), 0);
    assert_int_equal(kl_heap_where(d.heap, id, &at, &bytes), 0);
    fill_bytes(d.memory + at, bytes, id.v);
    return id;
}

static uint64_t where(kl_buffer_id id)
{
    uint64_t at;

    assert_int_equal(kl_heap_where(d.heap, id, &at, NULL), 0);
    return at;
}

static bool is_right(kl_buffer_id id)
{
    uint64_t at, bytes;

    assert_int_equal(kl_heap_where(d.heap, id, &at, &bytes), 0);
    return bytes_are(d.memory + at, bytes, id.v);
}

static struct kl_heap_pass a_pass(void)
{
    return (struct kl_heap_pass){.size = sizeof(struct kl_heap_pass)};
}

static unsigned whole_blocks(void)
{
    unsigned n = 0;

    for (uint32_t b = 0; b < kl_zone_blocks(d.zone); b++)
        n += kli_b_free(kli_block_word(d.zone, b)) == d.zone->block_frames;
    return n;
}

/* Fills `blocks` blocks with single frames, and frees all but those for which keep is true. */
static unsigned scatter(kl_buffer_id *kept, unsigned blocks,
                        bool (*keep)(unsigned block, unsigned i))
{
    kl_buffer_id id[BLOCKS * FRAMES];
    unsigned n = 0;

    for (unsigned i = 0; i < blocks * FRAMES; i++)
        id[i] = make(1);
    for (unsigned i = 0; i < blocks * FRAMES; i++) {
        uint64_t nr = where(id[i]) / FRAME;

        if (keep((unsigned)(nr / FRAMES), (unsigned)(nr % FRAMES)))
            kept[n++] = id[i];
        else
            assert_int_equal(kl_heap_free(d.heap, id[i]), 0);
    }
    return n;
}

static bool every_fourth(unsigned block, unsigned i)
{
    (void)block;
    return i % 4 == 0;
}

static void a_pass_empties_blocks(void **state)
{
    kl_buffer_id kept[BLOCKS * FRAMES];
    struct kl_heap_pass pass = a_pass();
    struct kl_heap_stats stats = {.size = sizeof(stats)};
    unsigned n;

    (void)state;
    open_heap(BLOCKS, ORDER);
    n = scatter(kept, 8, every_fourth);
    assert_int_equal(n, 8 * 4);
    assert_int_equal(kl_heap_pass(d.heap, &pass), 0);
    assert_int_equal(pass.moves, 6 * 4); /* 8 quarters fit in 2 */
    assert_int_equal(pass.bytes, 6 * 4 * FRAME);
    assert_int_equal(whole_blocks(), BLOCKS - 2);
    for (unsigned i = 0; i < n; i++)
        assert_true(is_right(kept[i]));
    assert_int_equal(kl_heap_pass(d.heap, &pass), 0);
    assert_int_equal(pass.moves, 0);
    kl_heap_get_stats(d.heap, &stats);
    assert_int_equal(stats.moved, 24);
    assert_int_equal(stats.moved_bytes, 24 * FRAME);
    assert_int_equal(d.told, 24);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(kl_heap_free(d.heap, kept[i]), 0);
    close_heap();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_empties_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
