// SPDX-License-Identifier: Apache-2.0
/* Whatever comes in between: thread A makes a pass (whose engine is done within submit), frees,
 * uses or allocates a buffer, and is stopped at every trace point that it passes, while thread B
 * does one thing to a buffer that is on its way.  Contents and counts afterwards. */
#include "support/meanwhile.h"
#include "support/vram.h"

enum { ORDER = 3, FRAMES = 1 << ORDER, BLOCKS = 8, MOST = BLOCKS * FRAMES, NTH = 3 };

static kl_buffer_id kept[MOST];
static unsigned n;
static kl_buffer_id other; /* B's; all zero: none */
static kl_owner_id plain;

static enum heap_state state_of(kl_buffer_id id)
{
    struct heap_slot *slot;

    if (kli_heap_find(vram.heap, id, &slot) != 0)
        return HEAP_EMPTY;
    return heap_state(atomic_load(&slot->word));
}

/* One that is on its way, if there is. */
static kl_buffer_id victim(void)
{
    for (unsigned i = 0; i < n; i++)
        if (state_of(kept[i]) == HEAP_LANDED)
            return kept[i];
    for (unsigned i = 0; i < n; i++)
        if (state_of(kept[i]) == HEAP_HELD)
            return kept[i];
    return kept[0];
}

static void b_free(void)
{
    int err = kl_heap_free(vram.heap, victim());

    if (err != 0 && err != -KL_EBUSY && err != -KL_ESTALE)
        abort();
}

static void b_free_all(void)
{
    for (unsigned i = 0; i < n; i++)
        kl_heap_free(vram.heap, kept[i]);
}

static void b_use(void)
{
    kl_buffer_id id = victim();
    uint64_t at, again;

    if (kl_heap_use(vram.heap, id, KL_ASYNC, &at) != 0)
        return;
    if (kl_heap_where(vram.heap, id, &again, NULL) != 0 || again != at)
        abort();
    if (kl_heap_unuse(vram.heap, id) != 0)
        abort();
}

static void b_alloc(void)
{
    uint64_t at;

    if (kl_heap_alloc(vram.heap, 1, KL_NOWAIT, &vram, &other) != 0)
        abort();
    if (kl_heap_use(vram.heap, other, KL_ASYNC, &at) != 0)
        return;
    fill_bytes(vram.memory + at, VRAM_FRAME, other.v);
    kl_heap_unuse(vram.heap, other);
    kept[n++] = other;
    other.v = 0;
}

static void b_pass(void)
{
    struct kl_pass pass = {.size = sizeof(pass)};
    int err = kl_heap_pass(vram.heap, &pass);

    if (err != 0 && err != -KL_EAGAIN)
        abort();
}

static void b_take(void)
{
    if (kl_zone_give_back(vram.zone, 5, KL_ASYNC, NULL) == 0)
        kl_zone_lend(vram.zone, 5);
}

/* Takes and gives back a block and a half, wherever they are. */
static void b_range(void)
{
    kl_pfn first;

    if (kl_contig_alloc(vram.zone, plain, FRAMES + FRAMES / 2, FRAMES, KL_ASYNC, &first, NULL) ==
            0 &&
        kl_contig_free(vram.zone, plain, first, FRAMES + FRAMES / 2) != 0)
        abort();
}

static void a_pass(void)
{
    vram_pass(0, 0);
}

/* What the engine and the owner say stays as it is: B may be at work still. */
static void a_step(void)
{
    vram_pass(0, 3);
    vram_pass(0, 2);
}

static void a_failure(void)
{
    vram.result = -KL_EIO;
    vram_pass(0, 0);
}

static void a_refusal(void)
{
    struct kl_pass pass = {.size = sizeof(pass)};
    int err;

    vram.refuses = -KL_EAGAIN;
    err = kl_heap_pass(vram.heap, &pass);
    assert_true(err == -KL_EAGAIN || err == 0); /* 0: B has left nothing to do */
    assert_int_equal(pass.moves, 0);
}

static void a_choice(void)
{
    struct kl_heap_stats before = vram_stats();
    struct kl_pass pass;

    vram.choice = KL_HEAP_DESTROY;
    vram.odd = kept[n - 1];
    vram.odd_choice = KL_HEAP_IGNORE;
    pass = vram_pass(0, 0);
    assert_true(pass.destroyed <= vram_stats().destroyed - before.destroyed); /* B's, too */
}

static void a_free(void)
{
    int err = kl_heap_free(vram.heap, kept[1]);

    assert_true(err == 0 || err == -KL_ESTALE || err == -KL_EBUSY);
}

static void a_use(void)
{
    if (kl_heap_use(vram.heap, kept[0], KL_SYNC, NULL) == 0)
        assert_int_equal(kl_heap_unuse(vram.heap, kept[0]), 0);
}

static void a_alloc(void)
{
    uint64_t at, bytes = 2 * VRAM_FRAME;
    kl_buffer_id id;

    assert_int_equal(kl_heap_alloc(vram.heap, bytes, 0, &vram, &id), 0);
    if (kl_heap_use(vram.heap, id, KL_ASYNC, &at) == 0) { /* B's run may have it */
        fill_bytes(vram.memory + at, bytes, id.v);
        assert_true(vram_right(id));
        assert_int_equal(kl_heap_unuse(vram.heap, id), 0);
    }
    vram_free(id);
}

static void (*const as[])(void) = {a_pass,   a_step, a_failure, a_refusal,
                                   a_choice, a_free, a_use,     a_alloc};
static void (*const bs[])(void) = {b_free, b_free_all, b_use, b_alloc, b_pass, b_take, b_range};

/* false: A does not come there so often. */
static bool play(unsigned point, unsigned nth, void (*a)(void), void (*b)(void))
{
    unsigned left = 0;
    bool begun;

    other.v = 0;
    vram_open(BLOCKS, ORDER);
    n = vram_scatter(kept, 4, 2);
    vram.at_once = true;
    assert_int_equal(kl_owner_register(vram.zone, NULL, NULL, &plain), 0);
    meanwhile(point, nth, b);
    a();
    begun = meanwhile_end();
    assert_int_equal(kl_owner_unregister(vram.zone, plain), 0);
    if (other.v)
        vram_free(other);
    vram_check();
    for (unsigned i = 0; i < n; i++)
        if (kl_heap_where(vram.heap, kept[i], NULL, NULL) == 0)
            kept[left++] = kept[i];
    vram_all_right(kept, left);
    vram_free_all(kept, left);
    vram_close();
    return begun;
}

static void whatever_comes_in_between(void **state)
{
    unsigned played = 0;

    (void)state;
    if (!KL_DEBUG) {
        print_message("# trace points are in debug builds\n");
        skip();
    }
    fixture_host = meanwhile_host;
    for (unsigned point = 0; point < KLI_TRACE_COUNT; point++) {
        for (unsigned a = 0; a < sizeof(as) / sizeof(as[0]); a++) {
            if (!play(point, 1, as[a], bs[0]))
                continue;
            for (unsigned b = 0; b < sizeof(bs) / sizeof(bs[0]); b++)
                for (unsigned nth = 1; nth <= NTH; nth++)
                    played += play(point, nth, as[a], bs[b]);
        }
    }
    fixture_host = NULL;
    print_message("# %u ways to meet\n", played);
    assert_true(played > 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_comes_in_between)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
