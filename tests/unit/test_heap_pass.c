// SPDX-License-Identifier: Apache-2.0
/* Passes: what they move and what they leave, the owner's three choices, and what comes in
 * between the two halves: frees, allocations, uses, runs, an engine that fails or is full. */
#include "support/cpus.h"
#include "support/vram.h"

#include "frame/cache.h"

#include <string.h>

enum { ORDER = 4, FRAMES = 1 << ORDER, BLOCKS = 16, MOST = BLOCKS * FRAMES };

static kl_buffer_id kept[MOST];

/* 8 blocks, each a quarter full: as many as fit in two. */
static unsigned quarters(void)
{
    vram_open(BLOCKS, ORDER);
    return vram_scatter(kept, 8, 4);
}

static void close_quarters(unsigned n)
{
    vram_check();
    vram_all_right(kept, n);
    vram_free_all(kept, n);
    vram_close();
}

/* By the zone's counters, and the owner's. */
static void counters_agree(void)
{
    struct kl_zone_stats zone = {.size = sizeof(zone)};
    struct kl_owner_stats owner = {.size = sizeof(owner)};
    struct kl_heap_stats heap = vram_stats();

    kl_zone_get_stats(vram.zone, &zone);
    assert_int_equal(kl_owner_get_stats(vram.zone, kl_heap_owner(vram.heap), &owner), 0);
    assert_int_equal(zone.isolated, zone.migrated + zone.put_back + zone.freed_isolated);
    assert_int_equal(owner.isolations, owner.migrated + owner.put_back + owner.freed_isolated);
    assert_int_equal(owner.migrated, heap.moved);
    assert_int_equal(owner.put_back, heap.put_back);
    assert_int_equal(owner.freed_isolated, heap.freed);
    assert_int_equal(owner.isolated, 0);
}

static void blocks_are_gained(void **state)
{
    unsigned n = quarters();
    struct kl_pass pass = vram_pass(0, 0);

    (void)state;
    assert_int_equal(pass.moves, 6 * 4);
    assert_int_equal(pass.bytes, 6 * 4 * VRAM_FRAME);
    assert_int_equal(vram.copied, 0);
    assert_int_equal(vram_stats().under_way, 1);
    assert_int_equal(vram_work(), 1);
    assert_int_equal(vram.copied, 6 * 4);
    assert_int_equal(vram.told, 6 * 4);
    assert_int_equal(vram_whole_blocks(), BLOCKS - 2);
    pass = vram_pass(0, 0);
    assert_int_equal(pass.moves + pass.ignored + pass.destroyed, 0);
    assert_int_equal(vram_stats().moved, 24);
    assert_int_equal(vram_stats().passes, 1);
    counters_agree();
    close_quarters(n);
}

static void done_at_once(void **state)
{
    unsigned n = quarters();

    (void)state;
    vram.at_once = true;
    assert_int_equal(vram_pass(0, 0).moves, 6 * 4);
    assert_int_equal(vram.told, 6 * 4);
    assert_int_equal(vram_stats().under_way, 0);
    assert_int_equal(vram_whole_blocks(), BLOCKS - 2);
    close_quarters(n);
}

/* Bounded steps: no more than was said, the half emptied block first, nothing twice. */
static void bounded(void **state)
{
    unsigned n = quarters(), moves = 0, passes = 0;
    struct kl_pass pass;

    (void)state;
    do {
        unsigned empty = vram_whole_blocks(), partly = 0;

        pass = vram_pass(3 * VRAM_FRAME + 1, 0);
        assert_true(pass.moves <= 3 && pass.bytes <= 3 * VRAM_FRAME);
        assert_true(pass.moves == 3 || moves + pass.moves == 24 || pass.moves == 0);
        moves += pass.moves;
        passes++;
        vram_work();
        assert_true(vram_whole_blocks() >= empty);
        for (unsigned b = 0; b < BLOCKS; b++)
            partly += vram_used(b) > 0 && vram_used(b) < 4;
        assert_true(partly <= 1);
    } while (pass.moves > 0);
    assert_int_equal(moves, 24);
    assert_int_equal(passes, 9);
    assert_int_equal(vram_pass(0, 1).moves, 0);
    close_quarters(n);
}

/* A buffer that is larger than a pass may move keeps its block as it is. */
static void too_large(void **state)
{
    kl_buffer_id large, small, dense[FRAMES - 5];

    (void)state;
    vram_open(BLOCKS, ORDER);
    for (unsigned i = 0; i < FRAMES - 5; i++)
        dense[i] = vram_make(1);
    large = vram_make(8);
    small = vram_make(1);
    assert_int_not_equal(vram_block(large), vram_block(dense[0]));
    assert_int_equal(vram_pass(4 * VRAM_FRAME, 0).moves, 0);
    assert_int_equal(vram_pass(1, 0).moves, 0);
    vram_free(large);
    large = vram_make(4);
    (void)small;
    vram_work();
    vram_all_right(dense, FRAMES - 5);
    vram_free_all(dense, FRAMES - 5);
    vram_free(large);
    vram_free(small);
    vram_close();
}

/* A block that has become sparse since the first pass is the next one. */
static void sparse_since_then(void **state)
{
    unsigned n = quarters(), left = 0, block = BLOCKS - 1, freed = 0, whole;

    (void)state;
    assert_int_equal(vram_pass(0, 4).moves, 4);
    vram_work();
    whole = vram_whole_blocks();
    while (vram_used(block) != 4) /* not the next one of the first plan */
        block--;
    for (unsigned i = 0; i < n; i++) {
        if (vram_block(kept[i]) == block && freed++ < 3)
            vram_free(kept[i]);
        else
            kept[left++] = kept[i];
    }
    assert_int_equal(left, n - 3);
    kli_cache_drain(vram.zone);
    assert_int_equal(vram_pass(0, 1).moves, 1);
    vram_work();
    assert_int_equal(vram_whole_blocks(), whole + 1);
    assert_int_equal(vram_used(block), 0);
    close_quarters(left);
}

static void ignored_buffers(void **state)
{
    unsigned n = quarters(), block;
    struct kl_pass pass;

    (void)state;
    vram.odd = kept[0];
    vram.odd_choice = KL_HEAP_IGNORE;
    block = vram_block(kept[0]);
    pass = vram_pass(0, 0);
    assert_int_equal(pass.ignored, 1);
    vram_work();
    assert_int_equal(vram_block(kept[0]), block);
    assert_int_equal(vram_used(block), 4); /* as a whole */
    assert_true(vram_whole_blocks() >= BLOCKS - 3);
    vram_all_right(kept, n);
    counters_agree();
    vram.choice = KL_HEAP_IGNORE;
    vram.chosen = 0;
    pass = vram_pass(0, 0);
    assert_int_equal(pass.moves, 0);
    assert_int_equal(pass.ignored, vram.chosen);
    assert_true(vram.chosen <= 8);
    counters_agree();
    close_quarters(n);
}

static void destroyed_buffers(void **state)
{
    unsigned n = quarters(), left = 0;
    struct kl_pass pass;

    (void)state;
    vram.choice = KL_HEAP_DESTROY;
    vram.odd = kept[0];
    vram.odd_choice = KL_HEAP_COPY;
    pass = vram_pass(0, 0);
    assert_true(pass.destroyed >= 6 * 4 - 1);
    vram_work();
    for (unsigned i = 0; i < n; i++) {
        if (kl_heap_where(vram.heap, kept[i], NULL, NULL) == 0)
            kept[left++] = kept[i];
        else
            assert_int_equal(kl_heap_free(vram.heap, kept[i]), -KL_ESTALE);
    }
    assert_int_equal(left, n - pass.destroyed);
    assert_int_equal(vram_stats().destroyed, pass.destroyed);
    counters_agree();
    close_quarters(left);
}

static kl_buffer_id taken;

/* Where there is no run but in the block that is being emptied. */
static void take_the_rest(const struct kl_heap_move *move)
{
    (void)move;
    assert_int_equal(kl_heap_alloc(vram.heap, 8 * VRAM_FRAME, KL_NOWAIT, &vram, &taken), 0);
    fill_bytes(vram.memory + vram_where(taken), 8 * VRAM_FRAME, taken.v);
}

/* All that a pass was to move from a block is destroyed, and somebody has come in: the block is
 * like others again when the pass has ended. */
static void destroyed_and_taken(void **state)
{
    kl_buffer_id full[MOST], last;
    unsigned n = 0, block;

    (void)state;
    vram_open(2, ORDER);
    while (n < FRAMES)
        full[n++] = vram_make(1);
    last = vram_make(1);
    block = vram_block(last);
    vram_free(full[--n]);
    kli_cache_drain(vram.zone);
    assert_int_not_equal(vram_block(full[0]), block);
    vram.choice = KL_HEAP_DESTROY;
    vram.on_choose = take_the_rest;
    assert_int_equal(vram_pass(0, 0).destroyed, 1);
    assert_int_equal(vram_stats().under_way, 0);
    assert_int_equal(vram_block(taken), block);
    assert_int_equal(kli_block_word(vram.zone, block) & KLI_B_SHUNNED, 0);
    vram_all_right(full, n);
    vram_free_all(full, n);
    vram_free(taken);
    vram_close();
}

/* One is left in the block that was begun, and there is no room for it: the block is not to be
 * emptied any more, so what comes next goes there, and not into a free one. */
static void begun_and_no_room(void **state)
{
    unsigned n = quarters(), block = BLOCKS, whole;
    kl_buffer_id more[MOST], next;
    unsigned m = 0;

    (void)state;
    assert_int_equal(vram_pass(0, 3).moves, 3);
    vram_work();
    for (unsigned b = 0; b < BLOCKS; b++)
        if (kli_block_word(vram.zone, b) & KLI_B_SHUNNED)
            block = b;
    assert_true(block < BLOCKS);
    assert_int_equal(vram_used(block), 1);
    whole = vram_whole_blocks();
    for (unsigned i = 0; i < 7 * FRAMES - 31; i++) /* all other blocks that are in use */
        more[m++] = vram_make(1);
    kli_cache_drain(vram.zone);
    assert_int_equal(vram_whole_blocks(), whole);
    assert_int_equal(vram_pass(0, 0).moves, 0);
    next = vram_make(1);
    assert_int_equal(vram_block(next), block);
    assert_int_equal(vram_whole_blocks(), whole);
    vram_free(next);
    vram_free_all(more, m);
    close_quarters(n);
}

static void free_it(const struct kl_heap_move *move)
{
    vram_free(move->buffer);
}

/* What is freed while it is asked about was not destroyed. */
static void freed_and_destroyed(void **state)
{
    unsigned n = quarters(), left = 0;
    struct kl_pass pass;

    (void)state;
    vram.choice = KL_HEAP_DESTROY;
    vram.on_choose = free_it;
    pass = vram_pass(0, 0);
    assert_int_equal(pass.destroyed, vram_stats().destroyed);
    assert_int_equal(pass.destroyed, 0);
    for (unsigned i = 0; i < n; i++)
        if (kl_heap_where(vram.heap, kept[i], NULL, NULL) == 0)
            kept[left++] = kept[i];
    assert_int_equal(left, n - vram_stats().freed);
    counters_agree();
    close_quarters(left);
}

static unsigned used_in_all(void)
{
    unsigned sum = 0;

    kli_cache_drain(vram.zone);
    for (unsigned b = 0; b < BLOCKS; b++)
        sum += vram_used(b);
    return sum;
}

/* What is freed on its way is not used again before the engine has let go of it. */
static void freed_on_their_way(void **state)
{
    unsigned n = quarters(), moves, more = 0, left = 0;
    static kl_buffer_id other[MOST];

    (void)state;
    moves = vram_pass(0, 0).moves;
    for (unsigned i = 0; i < n; i++) {
        if (i % 2 == 0)
            vram_free(kept[i]);
        else
            kept[left++] = kept[i];
    }
    while (kl_heap_alloc(vram.heap, 1, KL_NOWAIT, &vram, &other[more]) == 0) {
        uint64_t at = vram_where(other[more]);

        for (size_t i = 0; i < vram.job[0].n; i++)
            assert_true(at != vram.job[0].copies[i].src && at != vram.job[0].copies[i].dst);
        fill_bytes(vram.memory + at, VRAM_FRAME, other[more].v);
        more++;
    }
    /* All that is neither a buffer, nor a source or a destination. */
    assert_int_equal(more, MOST - left - moves - vram_stats().freed);
    vram_work();
    counters_agree();
    vram_all_right(other, more);
    vram_free_all(other, more);
    close_quarters(left);
}

static void free_in_moved(const struct kl_heap_move *move)
{
    vram_free(move->buffer);
}

static void free_in_choose(const struct kl_heap_move *move)
{
    if (vram.chosen % 2)
        vram_free(move->buffer);
}

/* Freed within the callbacks. */
static void freed_by_callbacks(void **state)
{
    unsigned n = quarters(), left = 0;

    (void)state;
    vram.on_moved = free_in_moved;
    vram.on_choose = free_in_choose;
    vram_pass(0, 0);
    vram_work();
    assert_true(vram.told > 0);
    vram.on_moved = NULL;
    vram.on_choose = NULL;
    vram_check();
    for (unsigned i = 0; i < n; i++)
        if (kl_heap_where(vram.heap, kept[i], NULL, NULL) == 0)
            kept[left++] = kept[i];
    assert_int_equal(used_in_all(), left);
    close_quarters(left);
}

static void the_engine_fails(void **state)
{
    unsigned n = quarters();
    uint64_t at[MOST] = {0};

    (void)state;
    for (unsigned i = 0; i < n; i++)
        at[i] = vram_where(kept[i]);
    vram_pass(0, 0);
    vram_free(kept[--n]);
    vram.result = -KL_EIO;
    vram_work();
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(vram_where(kept[i]), at[i]);
    assert_int_equal(vram_stats().failed, 1);
    assert_int_equal(vram_stats().moved, 0);
    counters_agree();
    vram_check();
    vram.result = 5; /* no error, but not 0 either */
    assert_true(vram_pass(0, 0).moves > 0);
    vram_work();
    assert_int_equal(vram_stats().moved, 0);
    vram.result = 0;
    assert_true(vram_pass(0, 0).moves > 0);
    vram_work();
    assert_true(vram_whole_blocks() >= BLOCKS - 2);
    close_quarters(n);
}

static void the_queue_is_full(void **state)
{
    struct kl_pass pass = {.size = sizeof(pass), .max_moves = 6};
    unsigned n = quarters(), moves = 0;

    (void)state;
    vram.refuses = -KL_EAGAIN;
    assert_int_equal(kl_heap_pass(vram.heap, &pass), -KL_EAGAIN);
    assert_int_equal(pass.moves, 0);
    assert_int_equal(vram_stats().refused, 1);
    assert_int_equal(vram_stats().passes, 0);
    vram_check();
    vram_all_right(kept, n);
    vram.refuses = -KL_EIO;
    assert_int_equal(kl_heap_pass(vram.heap, &pass), -KL_EIO);
    vram.refuses = 1;
    assert_int_equal(kl_heap_pass(vram.heap, &pass), -KL_EINVAL);
    vram_check();
    vram.refuses = 0;
    do {
        pass = vram_pass(0, 6);
        moves += pass.moves;
        vram_work();
    } while (pass.moves > 0);
    assert_int_equal(moves, 24);
    counters_agree();
    close_quarters(n);
}

static void one_pass_at_a_time(void **state)
{
    struct kl_pass pass = {.size = sizeof(pass)}, bad = {.size = 1};
    unsigned n = quarters();

    (void)state;
    assert_int_equal(kl_heap_pass(vram.heap, NULL), -KL_EINVAL);
    assert_int_equal(kl_heap_pass(vram.heap, &bad), -KL_EINVAL);
    assert_int_equal(kl_heap_pass(vram.heap, &pass), 0);
    assert_int_equal(kl_heap_pass(vram.heap, &pass), -KL_EAGAIN);
    vram_free_all(kept, n);
    assert_int_equal(kl_heap_destroy(vram.heap), -KL_EBUSY);
    assert_int_equal(kl_heap_check(vram.heap, NULL), -KL_EIO);
    vram_work();
    close_quarters(0);
}

/* Free frames of blocks that are being emptied are the last to be taken, but they are. */
static void allocations_go_elsewhere(void **state)
{
    unsigned n = quarters(), moves, more = 0;
    static kl_buffer_id other[MOST];
    bool source[BLOCKS] = {false};

    (void)state;
    moves = vram_pass(0, 0).moves;
    for (size_t i = 0; i < vram.job[0].n; i++)
        source[vram.job[0].copies[i].src / kl_zone_block_bytes(vram.zone)] = true;
    while (kl_heap_alloc(vram.heap, 1, 0, &vram, &other[more]) == 0) {
        fill_bytes(vram.memory + vram_where(other[more]), VRAM_FRAME, other[more].v);
        if (more < 8 * FRAMES)
            assert_false(source[vram_block(other[more])]);
        more++;
    }
    assert_int_equal(more, MOST - n - moves);
    vram_work();
    vram_all_right(other, more);
    vram_free_all(other, more);
    close_quarters(n);
}

/* One that a pass has can't be used until it has arrived; used ones are not moved. */
static void uses(void **state)
{
    unsigned n = quarters(), busy = 0;

    (void)state;
    vram_pass(0, 0);
    for (unsigned i = 0; i < n; i++) {
        int err = kl_heap_use(vram.heap, kept[i], KL_ASYNC, NULL);

        assert_true(err == 0 || err == -KL_EBUSY);
        busy += err == -KL_EBUSY;
        if (err == 0)
            assert_int_equal(kl_heap_unuse(vram.heap, kept[i]), 0);
        else
            assert_int_equal(kl_heap_use(vram.heap, kept[i], KL_SYNC_LIGHT, NULL), -KL_EBUSY);
    }
    assert_int_equal(busy, 24);
    vram_work();
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(kl_heap_use(vram.heap, kept[i], KL_ASYNC, NULL), 0);
    vram_check();
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(kl_heap_unuse(vram.heap, kept[i]), 0);
    close_quarters(n);
}

static void used_blocks_stay(void **state)
{
    unsigned n = quarters(), block = vram_block(kept[0]);

    (void)state;
    assert_int_equal(kl_heap_use(vram.heap, kept[0], KL_ASYNC, NULL), 0);
    vram_pass(0, 0);
    vram_work();
    assert_int_equal(vram_block(kept[0]), block);
    assert_true(vram_used(block) >= 4); /* filled, not emptied */
    assert_int_equal(vram_whole_blocks(), BLOCKS - 2);
    assert_int_equal(kl_heap_unuse(vram.heap, kept[0]), 0);
    close_quarters(n);
}

/* Runs meet frames that an open pass has: bounded, or they wait for its engine. */
static void runs_meet_a_pass(void **state)
{
    struct kl_report report = {.size = sizeof(report)};
    unsigned n = quarters();

    (void)state;
    vram_pass(0, 0);
    assert_int_equal(kl_zone_give_back(vram.zone, 12, KL_ASYNC, &report), -KL_EBUSY);
    assert_int_equal(report.culprit_kind, KL_IN_WAY_BUSY);
    assert_int_equal(report.isolated, report.migrated + report.put_back + report.freed);
    assert_int_equal(kl_zone_give_back(vram.zone, 12, KL_SYNC_LIGHT, &report), -KL_EBUSY);
    assert_int_equal(kl_zone_give_back(vram.zone, 8, KL_ASYNC, NULL), 0); /* free ones */
    assert_int_equal(kl_zone_lend(vram.zone, 8), 0);
    vram.patience = vram.waits + 20;
    assert_int_equal(kl_zone_give_back(vram.zone, 12, KL_SYNC, &report), 0);
    assert_int_equal(kl_zone_lend(vram.zone, 12), 0);
    vram_work();
    vram_check();
    counters_agree();
    close_quarters(n);
}

static void a_range_meets_a_pass(void **state)
{
    unsigned n = quarters();
    kl_buffer_id range;

    (void)state;
    vram_pass(0, 0);
    assert_int_equal(kl_heap_alloc(vram.heap, 8 * FRAMES * VRAM_FRAME, 0, &vram, &range), 0);
    vram_free(range);
    vram.patience = vram.waits + 20;
    assert_int_equal(kl_heap_alloc(vram.heap, 12 * FRAMES * VRAM_FRAME, 0, &vram, &range), 0);
    vram_work();
    vram_free(range);
    counters_agree();
    close_quarters(n);
}

/* The only room for what is to be pinned for long is where a pass empties a block. */
static void settled_where_a_pass_is(void **state)
{
    kl_buffer_id full[MOST], last;
    kl_owner_id plain;
    kl_pfn pfn;
    unsigned n = 0;

    (void)state;
    vram_open(2, ORDER);
    while (n < FRAMES)
        full[n++] = vram_make(1);
    assert_int_equal(kl_owner_register(vram.zone, NULL, NULL, &plain), 0);
    assert_int_equal(kl_frame_alloc(vram.zone, 0, plain, 0, &pfn), 0);
    last = vram_make(1); /* beside it, in a block of that kind */
    assert_int_equal(kl_frame_free(vram.zone, plain, pfn), 0);
    assert_int_equal(kl_owner_unregister(vram.zone, plain), 0);
    vram_free(full[--n]);
    kli_cache_drain(vram.zone);
    assert_int_equal(vram_pass(0, 0).moves, 1);
    assert_true(kli_block_word(vram.zone, vram_block(last)) & KLI_B_SHUNNED);
    pfn = kl_zone_pfn(vram.zone, (uint32_t)(vram_where(full[0]) / VRAM_FRAME));
    assert_int_equal(kl_pin_settle(vram.zone, kl_heap_owner(vram.heap), &pfn, 1, KL_SYNC, NULL), 0);
    assert_int_equal(vram_block(full[0]), vram_block(last));
    vram_work();
    vram_all_right(full, n);
    vram_free_all(full, n);
    vram_free(last);
    vram_close();
}

/* Blocks with others' frames are left alone. */
static void others_frames(void **state)
{
    unsigned n = quarters();
    kl_owner_id owner;
    kl_pfn pfn[BLOCKS];

    (void)state;
    assert_int_equal(kl_owner_register(vram.zone, NULL, NULL, &owner), 0);
    for (unsigned b = 0; b < BLOCKS; b++) {
        pfn[b] = kl_zone_pfn(vram.zone, b * FRAMES + 5);
        if (vram_used(b) > 0)
            assert_int_equal(kl_contig_alloc_at(vram.zone, owner, pfn[b], 1, KL_ASYNC, NULL), 0);
        else
            pfn[b].v = 0;
    }
    assert_int_equal(vram_pass(0, 0).moves, 0);
    for (unsigned b = 0; b < BLOCKS; b++)
        if (pfn[b].v)
            assert_int_equal(kl_contig_free(vram.zone, owner, pfn[b], 1), 0);
    assert_int_equal(kl_owner_unregister(vram.zone, owner), 0);
    assert_int_equal(vram_pass(0, 0).moves, 24);
    vram_work();
    close_quarters(n);
}

/* No metadata is asked for, and a share and its bound stay right. */
static void no_metadata_within_a_share(void **state)
{
    unsigned n = quarters();
    struct kl_share share = {.size = sizeof(share), .hard = n};
    kl_buffer_id id;

    (void)state;
    assert_int_equal(kl_owner_set_share(vram.zone, kl_heap_owner(vram.heap), &share), 0);
    fault_set(FAULT_META, 1);
    vram_pass(0, 0);
    vram_free(kept[--n]);
    vram_work();
    assert_true(fault_due(FAULT_META));
    fault_set(FAULT_META, 0);
    vram_check();
    id = vram_make(1);
    assert_int_equal(kl_heap_alloc(vram.heap, 1, 0, &vram, &vram.odd), -KL_ENOMEM);
    vram_free(id);
    close_quarters(n);
}

static void migration_is_off(void **state)
{
    unsigned n = quarters();

    (void)state;
    kl_zone_set_migration(vram.zone, false);
    assert_int_equal(vram_pass(0, 0).moves, 0);
    kl_zone_set_migration(vram.zone, true);
    assert_int_equal(vram_pass(0, 0).moves, 24);
    vram_work();
    close_quarters(n);
}

static jmp_buf stopped;
static const char *why;

static void fatal(void *ctx, const char *what, const char *file, int line)
{
    (void)ctx, (void)file, (void)line;
    why = what;
    longjmp(stopped, 1);
}

static void done_twice(void **state)
{
    unsigned n = quarters();
    struct kl_heap_batch *batch;

    (void)state;
    vram_pass(0, 0);
    batch = vram.job[0].batch;
    vram_work();
    vram.zone->host.fatal = fatal;
    if (setjmp(stopped) == 0) {
        kl_heap_done(batch, 0);
        fail();
    }
    vram.zone->host.fatal = kl_linux_host()->fatal;
    assert_string_equal(why, "batch_was_sent");
    close_quarters(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_gained),
        cmocka_unit_test(done_at_once),
        cmocka_unit_test(bounded),
        cmocka_unit_test(too_large),
        cmocka_unit_test(sparse_since_then),
        cmocka_unit_test(ignored_buffers),
        cmocka_unit_test(destroyed_buffers),
        cmocka_unit_test(destroyed_and_taken),
        cmocka_unit_test(begun_and_no_room),
        cmocka_unit_test(freed_and_destroyed),
        cmocka_unit_test(freed_on_their_way),
        cmocka_unit_test(freed_by_callbacks),
        cmocka_unit_test(the_engine_fails),
        cmocka_unit_test(the_queue_is_full),
        cmocka_unit_test(one_pass_at_a_time),
        cmocka_unit_test(allocations_go_elsewhere),
        cmocka_unit_test(uses),
        cmocka_unit_test(used_blocks_stay),
        cmocka_unit_test(runs_meet_a_pass),
        cmocka_unit_test(a_range_meets_a_pass),
        cmocka_unit_test(settled_where_a_pass_is),
        cmocka_unit_test(others_frames),
        cmocka_unit_test(no_metadata_within_a_share),
        cmocka_unit_test(migration_is_off),
        cmocka_unit_test(done_twice),
    };

    fixture_host = cpus_soft; /* one processor: whose cache has which frames is always the same */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
