// SPDX-License-Identifier: Apache-2.0
/* Buffers in a device's memory: every call, every error, every state of a buffer's word. */
#include "support/cpus.h"
#include "support/vram.h"

#include <string.h>

enum { ORDER = 4, FRAMES = 1 << ORDER, BLOCKS = 16 };

static int no_submit(void *ctx, const struct kl_copy *copies, size_t n, struct kl_heap_batch *batch)
{
    (void)ctx, (void)copies, (void)n, (void)batch;
    return -KL_EIO;
}

static int try_alloc(uint64_t bytes, unsigned flags)
{
    kl_buffer_id id;
    int err = kl_heap_alloc(vram.heap, bytes, flags, &vram, &id);

    if (err == 0)
        vram_free(id);
    return err;
}

static void edges(void **state)
{
    uint64_t w = heap_e_open(0, 7).next;

    (void)state;
    assert_true(heap_is_at(w, HEAP_AT_REST, 7) && heap_is(w, 0) && !heap_is(w, 1));
    assert_false(heap_e_open(w, 8).ok || heap_e_open_range(w, 8).ok);
    assert_false(heap_e_unuse(w, 0).ok || heap_e_use(w, 1).ok || heap_e_free(w, 1).ok);
    assert_false(heap_e_hold(w, 8).ok || heap_e_release(w, 7).ok);
    w = heap_e_use(w, 0).next;
    assert_int_equal(heap_users(w), 1);
    assert_false(heap_e_hold(w, 7).ok || heap_e_free(w, 0).ok); /* H1 */
    w = heap_e_hold(heap_e_unuse(w, 0).next, 7).next;
    assert_true(heap_is_at(w, HEAP_HELD, 7));
    assert_false(heap_e_hold(w, 7).ok || heap_e_use(w, 0).ok);
    assert_false(heap_e_land(w, UINT64_C(8) << 32 | 9).ok); /* H2 */
    assert_true(heap_is_at(heap_e_release(w, 7).next, HEAP_AT_REST, 7));
    w = heap_e_land(w, UINT64_C(7) << 32 | 9).next;
    assert_true(heap_is_at(w, HEAP_LANDED, 9));
    assert_false(heap_e_release(w, 7).ok || heap_e_release(w, 9).ok || heap_e_use(w, 0).ok);
    assert_false(heap_e_settle(w, 7).ok);
    assert_true(heap_is_at(heap_e_settle(w, 9).next, HEAP_AT_REST, 9));
    w = heap_e_free(w, 0).next;
    assert_int_equal(w, HEAP_GENERATION);
    assert_false(heap_is(w, 1) || heap_e_free(w, 1).ok || heap_e_settle(w, 9).ok);
    w = heap_e_open_range(w, 3).next;
    assert_true(heap_is_at(w, HEAP_RANGE, 3) && heap_is(w, 1));
    assert_false(heap_e_hold(w, 3).ok);
    assert_int_equal(heap_generation(heap_e_free(w | 0xffff * HEAP_GENERATION, 0xffff).next), 0);
}

static void creation(void **state)
{
    struct kl_heap_ops ops = {.size = sizeof(ops), .submit = no_submit};
    struct kl_heap *heap = NULL;

    (void)state;
    vram_open(BLOCKS, ORDER);
    assert_int_equal(kl_heap_create(vram.zone, NULL, NULL, &heap), -KL_EINVAL);
    assert_int_equal(kl_heap_create(vram.zone, &ops, NULL, NULL), -KL_EINVAL);
    ops.submit = NULL;
    assert_int_equal(kl_heap_create(vram.zone, &ops, NULL, &heap), -KL_EINVAL);
    ops.submit = no_submit;
    ops.size--;
    assert_int_equal(kl_heap_create(vram.zone, &ops, NULL, &heap), -KL_EINVAL);
    ops.size++;
    for (int nth = 1;; nth++) {
        int err;

        fault_set(FAULT_META, nth);
        err = kl_heap_create(vram.zone, &ops, NULL, &heap);
        assert_zone_ok(vram.zone);
        if (err == 0)
            break;
        assert_int_equal(err, -KL_ENOMEM);
        assert_null(heap);
    }
    fault_set(FAULT_META, 0);
    assert_int_equal(kl_heap_destroy(heap), 0);
    assert_int_equal(kl_heap_destroy(NULL), 0);
    vram_close();
}

static void no_owner_is_left(void **state)
{
    static const struct kl_heap_ops ops = {.size = sizeof(ops), .submit = no_submit};
    kl_owner_id owner[KLI_MAX_OWNERS];
    struct kl_heap *heap;
    unsigned n = 0;

    (void)state;
    vram_open(BLOCKS, ORDER);
    while (kl_owner_register(vram.zone, NULL, NULL, &owner[n]) == 0)
        n++;
    assert_int_equal(kl_heap_create(vram.zone, &ops, NULL, &heap), -KL_ENOSPC);
    while (n > 0)
        assert_int_equal(kl_owner_unregister(vram.zone, owner[--n]), 0);
    vram_close();
}

static void sizes(void **state)
{
    uint64_t bytes;
    kl_buffer_id id;

    (void)state;
    vram_open(BLOCKS, ORDER);
    assert_int_equal(try_alloc(0, 0), -KL_EINVAL);
    assert_int_equal(try_alloc(UINT64_MAX, 0), -KL_EINVAL);
    assert_int_equal(try_alloc((uint64_t)BLOCKS * FRAMES * VRAM_FRAME + 1, 0), -KL_EINVAL);
    assert_int_equal(try_alloc(1, KL_ZERO), -KL_EINVAL);
    assert_int_equal(try_alloc(1, 1u << 20), -KL_EINVAL);
    assert_int_equal(try_alloc(1, KL_MOVABLE | KL_NOWAIT | KL_NO_SHRINK | KL_NO_MOVE), 0);
    assert_int_equal(try_alloc(1, KL_ATOMIC), 0);
    assert_int_equal(try_alloc((FRAMES + 1) * VRAM_FRAME, KL_NOWAIT), -KL_EINVAL);
    assert_int_equal(try_alloc((FRAMES + 1) * VRAM_FRAME, KL_NO_MOVE), -KL_EINVAL);
    assert_int_equal(try_alloc((FRAMES + 1) * VRAM_FRAME, KL_ATOMIC), -KL_EINVAL);
    assert_int_equal(kl_heap_alloc(vram.heap, 5 * VRAM_FRAME + 1, 0, &vram, &id), 0);
    assert_int_equal(kl_heap_where(vram.heap, id, NULL, &bytes), 0);
    assert_int_equal(bytes, 8 * VRAM_FRAME);
    vram_free(id);
    assert_int_equal(
        kl_heap_alloc(vram.heap, (uint64_t)BLOCKS * FRAMES * VRAM_FRAME, 0, &vram, &id), 0);
    assert_int_equal(vram_where(id), 0);
    assert_int_equal(try_alloc(1, KL_NOWAIT), -KL_ENOMEM);
    vram_free(id);
    vram_close();
}

/* Errors of all calls that take a buffer's id. */
static void expect_all(kl_buffer_id id, int err)
{
    uint64_t at = 77;

    assert_int_equal(kl_heap_free(vram.heap, id), err);
    assert_int_equal(kl_heap_where(vram.heap, id, &at, NULL), err);
    assert_int_equal(kl_heap_use(vram.heap, id, KL_SYNC, &at), err);
    assert_int_equal(kl_heap_unuse(vram.heap, id), err);
    assert_int_equal(at, 77);
}

static void ids(void **state)
{
    static const struct kl_heap_ops ops = {.size = sizeof(ops), .submit = no_submit};
    struct kl_heap *other;
    kl_buffer_id id, foreign;

    (void)state;
    vram_open(BLOCKS, ORDER);
    assert_int_equal(kl_heap_create(vram.zone, &ops, NULL, &other), 0);
    expect_all((kl_buffer_id){0}, -KL_EINVAL);
    expect_all((kl_buffer_id){UINT64_MAX}, -KL_EINVAL);
    id = vram_make(2);
    assert_int_not_equal(id.v, 0);
    expect_all((kl_buffer_id){id.v + 1000}, -KL_EINVAL); /* no such slot */
    expect_all((kl_buffer_id){id.v + 1}, -KL_ESTALE);    /* an empty one */
    expect_all((kl_buffer_id){id.v + (UINT64_C(1) << 32)}, -KL_ESTALE);
    assert_int_equal(kl_heap_alloc(other, 1, 0, NULL, &foreign), 0);
    expect_all(foreign, -KL_EINVAL);
    assert_int_equal(kl_heap_destroy(other), -KL_EBUSY);
    assert_int_equal(kl_heap_free(other, foreign), 0);
    assert_int_equal(kl_heap_destroy(other), 0);
    assert_int_equal(kl_heap_destroy(vram.heap), -KL_EBUSY);
    assert_int_equal(kl_heap_where(vram.heap, id, NULL, NULL), 0);
    vram_free(id);
    expect_all(id, -KL_ESTALE);
    vram_close();
}

/* A slot comes round only after all the others that are free, and with another generation. */
static void slots(void **state)
{
    enum { MANY = 200 };
    kl_buffer_id id[MANY], old;
    unsigned again = 0;

    (void)state;
    vram_open(BLOCKS, ORDER);
    for (unsigned i = 0; i < MANY; i++) {
        id[i] = vram_make(1);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(id[i].v, id[k].v);
    }
    vram_check();
    vram_free_all(id, MANY);
    vram_check();
    old = id[0];
    for (unsigned round = 0; round < 1000; round++) {
        kl_buffer_id now = vram_make(1);

        assert_int_not_equal(now.v, old.v);
        expect_all(old, -KL_ESTALE);
        again += (uint32_t)now.v == (uint32_t)old.v;
        vram_free(now);
        old = now;
    }
    assert_true(again <= 1000 / (64 + 128) + 1);
    assert_int_equal(kli_heap_slots(vram.heap), 64 + 128 + 256);
    vram_close();
}

static void no_metadata_for_slots(void **state)
{
    kl_buffer_id id[64], more;

    (void)state;
    vram_open(BLOCKS, ORDER);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_heap_alloc(vram.heap, 1, 0, &vram, &more), -KL_ENOMEM);
    vram_check();
    for (unsigned i = 0; i < 64; i++)
        id[i] = vram_make(1);
    fault_set(FAULT_META, 1);
    assert_int_equal(kl_heap_alloc(vram.heap, 1, 0, &vram, &more), -KL_ENOMEM);
    vram_check();
    vram_free_all(id, 64);
    vram_close();
}

static void uses(void **state)
{
    struct kl_report report = {.size = sizeof(report)};
    kl_buffer_id id;
    uint64_t at;

    (void)state;
    vram_open(2, ORDER);
    vram.at_once = true;
    id = vram_make(1);
    assert_int_equal(kl_heap_unuse(vram.heap, id), -KL_EINVAL);
    assert_int_equal(kl_heap_use(vram.heap, id, (enum kl_mode)3, NULL), -KL_EINVAL);
    assert_int_equal(kl_heap_use(vram.heap, id, KL_ASYNC, &at), 0);
    assert_int_equal(at, vram_where(id));
    assert_int_equal(kl_heap_use(vram.heap, id, KL_ASYNC, NULL), 0);
    assert_int_equal(vram_stats().uses, 2);
    assert_int_equal(kl_heap_free(vram.heap, id), -KL_EBUSY);
    assert_int_equal(kl_heap_unuse(vram.heap, id), 0);
    vram_check();
    assert_int_equal(kl_zone_give_back(vram.zone, 2, KL_SYNC, &report), -KL_EBUSY);
    assert_int_equal(report.culprit_kind, KL_IN_WAY_PINNED);
    assert_int_equal(report.culprit_owner.v, kl_heap_owner(vram.heap).v);
    assert_int_equal(kl_heap_unuse(vram.heap, id), 0);
    assert_int_equal(kl_heap_unuse(vram.heap, id), -KL_EINVAL);
    for (unsigned i = 0; i < HEAP_MOST_USERS; i++)
        assert_int_equal(kl_heap_use(vram.heap, id, KL_ASYNC, NULL), 0);
    assert_int_equal(kl_heap_use(vram.heap, id, KL_SYNC, NULL), -KL_ENOSPC);
    for (unsigned i = 0; i < HEAP_MOST_USERS; i++)
        assert_int_equal(kl_heap_unuse(vram.heap, id), 0);
    assert_int_equal(kl_zone_give_back(vram.zone, 1, KL_SYNC, NULL), 0);
    assert_true(vram_right(id));
    assert_int_equal(kl_zone_lend(vram.zone, 1), 0);
    vram_free(id);
    vram_close();
}

/* More than a block: the others make room for it, by the engine. */
static void ranges(void **state)
{
    kl_buffer_id kept[BLOCKS * FRAMES], range;
    unsigned n;

    (void)state;
    vram_open(BLOCKS, ORDER);
    vram.at_once = true;
    n = vram_scatter(kept, BLOCKS, 4);
    range = vram_make(5 * FRAMES + 3);
    assert_int_equal(vram_where(range) % kl_zone_block_bytes(vram.zone), 0);
    assert_true(vram.told > 0);
    vram_all_right(kept, n);
    assert_true(vram_right(range));
    vram_check();
    assert_int_equal(kl_heap_use(vram.heap, range, KL_ASYNC, NULL), 0);
    assert_int_equal(kl_heap_free(vram.heap, range), -KL_EBUSY);
    assert_int_equal(kl_heap_unuse(vram.heap, range), 0);
    assert_int_equal(try_alloc(12 * FRAMES * VRAM_FRAME, 0), -KL_ENOMEM);
    vram_free(range);
    for (int nth = 1, err = -1; err != 0; nth++) {
        fault_set(FAULT_META, nth);
        err = try_alloc(5 * FRAMES * VRAM_FRAME, 0);
        assert_true(err == 0 || err == -KL_ENOMEM);
        fault_set(FAULT_META, 0);
        vram_check();
    }
    vram_all_right(kept, n);
    vram_free_all(kept, n);
    vram_close();
}

static kl_pfn taken;

static int take_block(unsigned block, struct kl_report *report)
{
    taken = kl_zone_pfn(vram.zone, block * FRAMES);
    return kl_contig_alloc_at(vram.zone, kl_heap_owner(vram.heap), taken, FRAMES, KL_ASYNC, report);
}

/* Runs ask the owner and the engine, too. */
static void runs(void **state)
{
    kl_buffer_id id;
    struct kl_report report = {.size = sizeof(report)};

    (void)state;
    vram_open(2, ORDER);
    vram.at_once = true;
    id = vram_make(2);
    vram.choice = KL_HEAP_IGNORE;
    assert_int_equal(kl_zone_give_back(vram.zone, 2, KL_SYNC, &report), -KL_ENOMEM);
    assert_int_equal(vram.chosen, 0);
    vram.odd = vram_make(FRAMES); /* one block is full, the other one has two frames */
    vram.odd_choice = KL_HEAP_COPY;
    vram_free(vram.odd);
    assert_int_equal(kl_zone_give_back(vram.zone, 1, KL_SYNC, NULL), 0); /* the free one */
    assert_int_equal(kl_zone_lend(vram.zone, 1), 0);
    assert_int_equal(take_block(vram_block(id), &report), -KL_EBUSY);
    assert_int_equal(vram.chosen, 1);
    assert_int_equal(report.isolated, 1);
    assert_int_equal(report.put_back, 1);
    vram.choice = KL_HEAP_COPY;
    vram.refuses = -KL_EIO;
    assert_int_equal(take_block(vram_block(id), &report), -KL_EBUSY);
    assert_int_equal(report.failed, 1);
    vram.refuses = -KL_EAGAIN; /* full, and stays so */
    assert_int_equal(take_block(vram_block(id), &report), -KL_EBUSY);
    assert_int_equal(report.failed, 0);
    assert_int_equal(report.isolated, report.put_back);
    vram.refuses = 0;
    vram.result = -KL_EIO;
    assert_int_equal(take_block(vram_block(id), &report), -KL_EBUSY);
    assert_int_equal(vram_stats().failed, 1);
    vram_check();
    assert_true(vram_right(id));
    vram.result = 0;
    vram.choice = KL_HEAP_DESTROY;
    assert_int_equal(take_block(vram_block(id), &report), 0);
    assert_int_equal(report.freed, 1);
    assert_int_equal(kl_heap_free(vram.heap, id), -KL_ESTALE);
    assert_int_equal(vram_stats().destroyed, 1);
    assert_int_equal(kl_contig_free(vram.zone, kl_heap_owner(vram.heap), taken, FRAMES), 0);
    vram_close();
}

/* Memory with addresses is a device's, too. */
static void with_addresses(void **state)
{
    static const struct kl_heap_ops ops = {.size = sizeof(ops), .submit = no_submit};
    struct fixture f;
    struct kl_heap *heap;
    kl_buffer_id id;
    uint64_t at;

    (void)state;
    fixture_open(&f, 4, ORDER, 0);
    assert_int_equal(kl_heap_create(f.zone, &ops, NULL, &heap), 0);
    assert_int_equal(kl_heap_alloc(heap, 2 * VRAM_FRAME, KL_ZERO, NULL, &id), 0);
    assert_int_equal(kl_heap_where(heap, id, &at, NULL), 0);
    for (unsigned i = 0; i < 2 * VRAM_FRAME; i++)
        assert_int_equal(((char *)f.zone->backing.base)[at + i], 0);
    assert_int_equal(kl_heap_alloc(heap, FRAMES * VRAM_FRAME + 1, KL_ZERO, NULL, &id), -KL_EINVAL);
    assert_int_equal(kl_heap_free(heap, id), 0);
    assert_int_equal(kl_heap_check(heap, NULL), 0);
    assert_int_equal(kl_heap_destroy(heap), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges),
        cmocka_unit_test(creation),
        cmocka_unit_test(no_owner_is_left),
        cmocka_unit_test(sizes),
        cmocka_unit_test(ids),
        cmocka_unit_test(slots),
        cmocka_unit_test(no_metadata_for_slots),
        cmocka_unit_test(uses),
        cmocka_unit_test(ranges),
        cmocka_unit_test(runs),
        cmocka_unit_test(with_addresses),
    };

    fixture_host = cpus_soft; /* one processor: whose cache has which frames is always the same */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
